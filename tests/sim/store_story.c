/* The store is given something to do, and it is judged what it came to. */
#include "store_story.h"

/* ---- workers ---- */

static void take(struct worker *worker)
{
    worker->count = worker->asked = 0;
    worker->permitted = false;
    int n = snprintf(worker->id, sizeof worker->id, "w%d:%u", (int)(worker - worker->story->workers), worker->leases++);
    store_lease_list(worker->story->store, &worker->lease, CAMPAIGN, (struct slice){worker->id, (size_t)n},
                     1 + (unsigned)story_draw(worker->story, LEASE));
}

static void end_some(struct worker *worker, struct ending *ending)
{
    struct story *story = worker->story;
    struct store_end ends[CHUNK];
    struct event events[CHUNK];
    unsigned n = 1 + (unsigned)story_draw(story, CHUNK);
    if (n > worker->count - worker->asked)
        n = worker->count - worker->asked;
    for (unsigned i = 0; i < n; i++) {
        uint64_t seq = worker->first + worker->asked + i;
        enum store_end_kind kind = 1 + (enum store_end_kind)story_draw(story, STORE_END_RESEND);
        enum event_type type = kind == STORE_END_EVENT   ? EVENT_DELIVERED
                               : kind == STORE_END_RETRY ? EVENT_DEFERRED
                                                         : EVENT_IN_DOUBT;
        events[i] = (struct event){.type = type, .seq = seq, .attempt = 1, .final = kind == STORE_END_EVENT};
        ends[i] = (struct store_end){.kind = kind,
                                     .index = worker->asked + i,
                                     .event = &events[i],
                                     .isp = SLICE("isp"),
                                     .record = {.seq = seq, .raw = SLICE("r@x")}};
        story->delivered += kind == STORE_END_EVENT;
        story->deferred += kind == STORE_END_RETRY;
        story->in_doubt += kind == STORE_END_HOLD || kind == STORE_END_RESEND;
        story->parked += kind == STORE_END_PARK;
    }
    worker->asked += n;
    worker->outstanding++;
    store_end(story->store, &ending->request, CAMPAIGN, slice_of(worker->id), ends, n, worker->asked == worker->count);
}

/* The next steps on the lease, as many as may be on their way. */
static void go_on(struct worker *worker)
{
    for (unsigned i = 0; i < AT_ONCE && worker->asked < worker->count; i++)
        if (!store_request_busy(&worker->endings[i].request))
            end_some(worker, &worker->endings[i]);
    if (worker->outstanding == 0 && worker->asked == worker->count)
        take(worker);
}

static void answered(struct worker *worker, const struct store_answer *answer)
{
    worker->story->answers++;
    if (answer->result != STORE_OK)
        fail_msg("seed %llu: %s: result %d " SLICE_FORMAT, (unsigned long long)worker->story->seed, worker->id,
                 answer->result, SLICE_ARGS(answer->error));
}

static void on_ended(struct store_request *request, const struct store_answer *answer)
{
    struct worker *worker = container_of(request, struct ending, request)->worker;
    answered(worker, answer);
    worker->outstanding--;
    go_on(worker);
}

static void on_permitted(struct store_request *request, const struct store_answer *answer)
{
    struct worker *worker = container_of(request, struct worker, permit);
    answered(worker, answer);
    go_on(worker);
}

static void on_leased(struct store_request *request, const struct store_answer *answer)
{
    struct worker *worker = container_of(request, struct worker, lease);
    struct story *story = worker->story;
    uint32_t permits[LEASE];
    answered(worker, answer);
    worker->first = answer->first;
    worker->count = answer->item_count;
    if (!worker->count) {
        story->working--;
        return;
    }
    for (unsigned i = 0; i < worker->count; i++) {
        permits[i] = i;
        assert_true(answer->first + i < RECIPIENTS);
        story->leased[answer->first + i]++;
    }
    store_permit(story->store, &worker->permit, CAMPAIGN, slice_of(worker->id), permits, worker->count, NULL, 0);
}

/* ---- the world ---- */

struct io *story_serve(struct sim_host *host, struct fake_redis *fake, const char *address)
{
    struct io_address at;
    char error[256];
    struct io_config config = {.group = sim_process(host, 1), .sessions_max = 64};
    struct io *io = io_open(&config, error, sizeof error);
    assert_non_null(io);
    sim_serve(io);
    assert_true(io_address_parse(&at, address, 6379));
    fake_redis_serve(fake, io, &at);
    return io;
}

void story_redis_serve(struct story *story)
{
    story->redis_io = story_serve(story->redis_host, story->fake, "10.0.0.1");
}

void story_redis_dies(struct story *story)
{
    sim_crash(story->redis_io);
    fake_redis_crashed(story->fake);
}

void story_push(struct story *story, struct fake_redis *fake)
{
    (void)story;
    for (unsigned i = 0; i < RECIPIENTS; i++)
        (void)fake_redis_number(fake, "RPUSH " KEY("recipients") " r%u@x.example", i);
}

void story_open_store(struct story *story, const char *url, nsec keeps)
{
    char error[256];
    struct store_config config = {.url = url,
                                  .prefix = "sluice",
                                  .engine = "e",
                                  .incarnation = 1,
                                  .keeps = keeps,
                                  .settle = keeps ? NSEC_PER_S : 0,
                                  .backlog_bytes = 1 << 20};
    story->store = store_open(story->io, NULL, &config, error, sizeof error);
    assert_non_null(story->store);
}

struct story *story_new(uint64_t seed)
{
    struct story *story = calloc(1, sizeof *story);
    char error[256];
    story->seed = seed;
    story->world = sim_world_new(seed);
    story->redis_host = sim_host_new(story->world, "redis");
    sim_host_address(story->redis_host, "10.0.0.1");
    struct sim_host *host = sim_host_new(story->world, "engine");
    sim_host_address(host, "10.0.0.2");
    struct io_config config = {.group = sim_process(host, 1), .sessions_max = 64};
    story->io = io_open(&config, error, sizeof error);
    assert_non_null(story->io);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *worker = &story->workers[i];
        worker->story = story;
        worker->lease.done = on_leased;
        worker->permit.done = on_permitted;
        for (unsigned k = 0; k < AT_ONCE; k++) {
            worker->endings[k].worker = worker;
            worker->endings[k].request.done = on_ended;
        }
    }
    return story;
}

void story_free(struct story *story)
{
    sim_world_free(story->world);
    if (story->store)
        store_close(story->store);
    if (story->fake)
        fake_redis_free(story->fake);
    free(story);
}

void story_turn_for(struct story *story, nsec duration)
{
    nsec until = io_now(story->io) + duration;
    while (io_now(story->io) < until) {
        store_flush(story->store);
        io_turn(story->io, until);
    }
}

void story_run(struct story *story, void (*happens)(struct story *story))
{
    nsec limit = LIMIT_S * NSEC_PER_S;
    story->working = WORKERS;
    for (unsigned i = 0; i < WORKERS; i++)
        take(&story->workers[i]);
    while (story->working) {
        if (io_now(story->io) > limit)
            fail_msg("seed %llu: not over after %d s: %s", (unsigned long long)story->seed, LIMIT_S,
                     store_trouble(story->store));
        store_flush(story->store);
        io_turn(story->io, io_now(story->io) + NSEC_PER_S);
        if (happens)
            happens(story);
    }
}

void story_assert_count(struct story *story, const char *command, uint64_t expected)
{
    int64_t number = fake_redis_number(story->fake, "%s", command);
    if (number != (int64_t)expected)
        fail_msg("seed %llu: %s: %lld instead of %llu", (unsigned long long)story->seed, command, (long long)number,
                 (unsigned long long)expected);
}

void story_judge(struct story *story)
{
    for (unsigned i = 0; i < RECIPIENTS; i++)
        if (story->leased[i] != 1)
            fail_msg("seed %llu: seq %u was leased %u times", (unsigned long long)story->seed, i, story->leased[i]);
    assert_int_equal(story->delivered + story->deferred + story->in_doubt + story->parked, RECIPIENTS);
    story_assert_count(story, "XLEN " KEY("events"), RECIPIENTS - story->parked);
    story_assert_count(story, "LLEN " KEY("parked:isp"), story->parked);
    story_assert_count(story, "HINCRBY " KEY("parked") " isp 0", story->parked);
    story_assert_count(story, "HINCRBY " KEY("totals") " delivered 0", story->delivered);
    story_assert_count(story, "HINCRBY " KEY("totals") " deferred 0", story->deferred);
    story_assert_count(story, "HINCRBY " KEY("totals") " in_doubt 0", story->in_doubt);
    int64_t moved =
        fake_redis_number(story->fake, "ZCARD " KEY("retry")) + fake_redis_number(story->fake, "LLEN " KEY("held"));
    assert_int_equal(moved, story->deferred + story->in_doubt);
    story_assert_count(story, "EXISTS " KEY("leases") " " KEY("recipients"), 0);
    char *left = fake_redis_do(story->fake, "KEYS " KEY("ledger:*"));
    assert_string_equal(left, "*0\r\n");
    free(left);
}
