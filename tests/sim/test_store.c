/* The production store in a world where connections break, Redis dies and answers come late or not at all: every step
 * is answered once, and however often it had to be sent, it happened once. */
#include "fake_redis.h"
#include "sim/sim.h"
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { RECIPIENTS = 4000, WORKERS = 6, LEASE = 120, CHUNK = 17, AT_ONCE = 3, LIMIT_S = 7200 };

#define CAMPAIGN  SLICE("c")
#define KEY(name) "sluice:{c}:" name

struct ending {
    struct store_request request;
    struct worker *worker;
};

/* Takes leases and ends what is in them, with some steps on their way at once. */
struct worker {
    struct story *story;
    struct store_request lease, permit;
    struct ending endings[AT_ONCE];
    char id[32];
    uint64_t first;
    unsigned count, asked, leases, outstanding;
    bool permitted;
};

struct story {
    uint64_t seed;
    struct sim_world *world;
    struct sim_host *redis_host;
    struct io *redis_io, *io;
    struct fake_redis *fake;
    struct store *store;
    struct worker workers[WORKERS];
    unsigned working;
    uint64_t answers, delivered, deferred, in_doubt, parked;
    unsigned leased[RECIPIENTS]; /* how often each seq was */
};

static uint64_t draw(struct story *story, uint64_t below) { return sim_random(story->world) % below; }

/* ---- workers ---- */

static void take(struct worker *worker)
{
    worker->count = worker->asked = 0;
    worker->permitted = false;
    int n = snprintf(worker->id, sizeof worker->id, "w%d:%u", (int)(worker - worker->story->workers), worker->leases++);
    store_lease_list(worker->story->store, &worker->lease, CAMPAIGN, (struct slice){worker->id, (size_t)n},
                     1 + (unsigned)draw(worker->story, LEASE));
}

static void end_some(struct worker *worker, struct ending *ending)
{
    struct story *story = worker->story;
    struct store_end ends[CHUNK];
    struct event events[CHUNK];
    unsigned n = 1 + (unsigned)draw(story, CHUNK);
    if (n > worker->count - worker->asked)
        n = worker->count - worker->asked;
    for (unsigned i = 0; i < n; i++) {
        uint64_t seq = worker->first + worker->asked + i;
        enum store_end_kind kind = 1 + (enum store_end_kind)draw(story, STORE_END_RESEND);
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

static void serve(struct story *story)
{
    struct io_address at;
    char error[256];
    struct io_config config = {.group = sim_process(story->redis_host, 1), .sessions_max = 64};
    story->redis_io = io_open(&config, error, sizeof error);
    assert_non_null(story->redis_io);
    sim_serve(story->redis_io);
    assert_true(io_address_parse(&at, "10.0.0.1", 6379));
    fake_redis_serve(story->fake, story->redis_io, &at);
}

static struct story *story_new(uint64_t seed)
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
    story->fake = fake_redis_new(0);
    for (unsigned i = 0; i < RECIPIENTS; i++)
        (void)fake_redis_number(story->fake, "RPUSH " KEY("recipients") " r%u@x.example", i);
    serve(story);
    struct store_config store_config = {
        .url = "redis://10.0.0.1", .prefix = "sluice", .engine = "e", .incarnation = 1, .backlog_bytes = 1 << 20};
    story->store = store_open(story->io, NULL, &store_config, error, sizeof error);
    assert_non_null(story->store);
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

static void story_free(struct story *story)
{
    sim_world_free(story->world);
    store_close(story->store);
    fake_redis_free(story->fake);
    free(story);
}

static void redis_dies(struct story *story)
{
    sim_crash(story->redis_io);
    fake_redis_crashed(story->fake);
}

/* Until all workers found the list empty; now and then something happens to Redis. */
static void run(struct story *story, unsigned deaths_per_million)
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
        if (draw(story, 1000000) >= deaths_per_million)
            continue;
        redis_dies(story);
        nsec again = io_now(story->io) + (nsec)draw(story, 3 * NSEC_PER_S);
        while (io_now(story->io) < again)
            io_turn(story->io, again);
        serve(story);
    }
}

static void assert_count(struct story *story, const char *command, uint64_t expected)
{
    int64_t number = fake_redis_number(story->fake, "%s", command);
    if (number != (int64_t)expected)
        fail_msg("seed %llu: %s: %lld instead of %llu", (unsigned long long)story->seed, command, (long long)number,
                 (unsigned long long)expected);
}

/* Whatever was repeated happened once. */
static void judge(struct story *story)
{
    for (unsigned i = 0; i < RECIPIENTS; i++)
        if (story->leased[i] != 1)
            fail_msg("seed %llu: seq %u was leased %u times", (unsigned long long)story->seed, i, story->leased[i]);
    assert_int_equal(story->delivered + story->deferred + story->in_doubt + story->parked, RECIPIENTS);
    assert_count(story, "XLEN " KEY("events"), RECIPIENTS - story->parked);
    assert_count(story, "LLEN " KEY("parked:isp"), story->parked);
    assert_count(story, "HINCRBY " KEY("parked") " isp 0", story->parked);
    assert_count(story, "HINCRBY " KEY("totals") " delivered 0", story->delivered);
    assert_count(story, "HINCRBY " KEY("totals") " deferred 0", story->deferred);
    assert_count(story, "HINCRBY " KEY("totals") " in_doubt 0", story->in_doubt);
    int64_t moved =
        fake_redis_number(story->fake, "ZCARD " KEY("retry")) + fake_redis_number(story->fake, "LLEN " KEY("held"));
    assert_int_equal(moved, story->deferred + story->in_doubt);
    assert_count(story, "EXISTS " KEY("leases") " " KEY("recipients"), 0);
    char *left = fake_redis_do(story->fake, "KEYS " KEY("ledger:*"));
    assert_string_equal(left, "*0\r\n");
    free(left);
}

/* ---- stories ---- */

static void test_good_weather(void **state)
{
    (void)state;
    struct story *story = story_new(1);
    run(story, 0);
    judge(story);
    assert_true(store_connected(story->store));
    assert_int_equal(fake_redis_counts(story->fake)->connections, 1);
    story_free(story);
}

static void test_every_fault(void **state)
{
    struct fake_redis_counts reached = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct story *story = story_new(seed);
        struct fake_redis_faults faults = {.delay = (nsec)draw(story, 20) * NSEC_PER_MS,
                                           .cut_before_per_million = 20000,
                                           .cut_after_per_million = 20000,
                                           .refuse_per_million = 50000};
        fake_redis_set_faults(story->fake, &faults);
        sim_fault_set(story->world, SIM_REFUSED, 100000);
        sim_fault_set(story->world, SIM_RESET, 2000);
        sim_fault_set(story->world, SIM_CLOSE, 20000);
        sim_fault_set(story->world, SIM_STALL, 200);
        sim_fault_set(story->world, SIM_DELAY, 20000);
        sim_fault_set(story->world, SIM_SPLIT, 20000);
        run(story, 2000);
        judge(story);
        const struct fake_redis_counts *counts = fake_redis_counts(story->fake);
        reached.cut_before += counts->cut_before;
        reached.cut_after += counts->cut_after;
        reached.refused += counts->refused;
        reached.connections += counts->connections;
        reached.gone += counts->gone;
        story_free(story);
    }
    assert_true(reached.cut_before > 0 && reached.cut_after > 0 && reached.refused > 0 && reached.connections > 50);
    assert_true(reached.gone > 0); /* closing steps that were repeated after they had been done */
}

struct plain {
    struct store_request request;
    unsigned answers, items;
    enum store_result result;
};

static void on_plain(struct store_request *request, const struct store_answer *answer)
{
    struct plain *plain = container_of(request, struct plain, request);
    plain->answers++;
    plain->result = answer->result;
    plain->items = answer->item_count;
}

static void turn_for(struct story *story, nsec duration)
{
    nsec until = io_now(story->io) + duration;
    while (io_now(story->io) < until) {
        store_flush(story->store);
        io_turn(story->io, until);
    }
}

/* Whatever Redis has against it, the step waits, and is answered when Redis is well again. */
static void test_unwilling_redis(void **state)
{
    static const char *const words[FAKE_REDIS_MODE_COUNT] = {
        [FAKE_REDIS_LOADING] = "LOADING", [FAKE_REDIS_READONLY] = "READONLY",     [FAKE_REDIS_OOM] = "OOM",
        [FAKE_REDIS_BUSY] = "BUSY",       [FAKE_REDIS_MASTERDOWN] = "MASTERDOWN",
    };
    struct story *story = story_new(7);
    struct plain plain = {.request.done = on_plain};
    (void)state;
    for (unsigned round = 0; round < 2; round++) /* in the middle of a connection, and when it begins */
        for (enum fake_redis_mode mode = FAKE_REDIS_LOADING; mode < FAKE_REDIS_MODE_COUNT; mode++) {
            char id[32];
            int n = snprintf(id, sizeof id, "mode%u.%u", mode, round);
            fake_redis_set_mode(story->fake, mode);
            if (round)
                fake_redis_cut(story->fake);
            plain.answers = 0;
            store_lease_list(story->store, &plain.request, CAMPAIGN, (struct slice){id, (size_t)n}, 1);
            turn_for(story, 20 * NSEC_PER_S);
            assert_int_equal(plain.answers, 0);
            assert_non_null(strstr(store_trouble(story->store), words[mode]));
            assert_true(store_busy(story->store));
            fake_redis_set_mode(story->fake, FAKE_REDIS_WELL);
            turn_for(story, 10 * NSEC_PER_S); /* the longest back-off, and then some */
            assert_int_equal(plain.answers, 1);
            assert_int_equal(plain.result, STORE_OK);
            assert_int_equal(plain.items, 1);
            assert_string_equal(store_trouble(story->store), "");
            assert_false(store_busy(story->store));
        }
    assert_count(story, "HLEN " KEY("leases"), 10);
    story_free(story);
}

/* Nothing comes back, no connection breaks: after a while it is given up, and another one is made. */
static void test_silence(void **state)
{
    struct story *story = story_new(3);
    struct plain plain = {.request.done = on_plain};
    (void)state;
    turn_for(story, NSEC_PER_S);
    assert_true(store_connected(story->store));
    sim_partition(story->world, story->redis_host, NULL, io_now(story->io) + 600 * NSEC_PER_S);
    store_lease_list(story->store, &plain.request, CAMPAIGN, SLICE("x"), 1);
    turn_for(story, 20 * NSEC_PER_S);
    assert_true(store_connected(story->store)); /* merely slow, as far as one can tell */
    turn_for(story, 20 * NSEC_PER_S);
    assert_false(store_connected(story->store));
    sim_heal(story->world);
    turn_for(story, 60 * NSEC_PER_S);
    assert_int_equal(plain.answers, 1);
    assert_int_equal(plain.items, 1);
    assert_int_equal(fake_redis_number(story->fake, "HLEN " KEY("leases")), 1);
    story_free(story);
}

/* The last second of writes is lost with the machine, the one before it is not. */
static void test_lost_writes(void **state)
{
    struct fake_redis *fake;
    struct story *story = story_new(5);
    (void)state;
    redis_dies(story);
    fake_redis_free(story->fake);
    story->fake = fake = fake_redis_new(10 * NSEC_PER_S);
    serve(story);
    for (unsigned i = 0; i < 5; i++) {
        turn_for(story, NSEC_PER_S);
        (void)fake_redis_number(fake, "RPUSH " KEY("recipients") " r%u", i);
        (void)fake_redis_number(fake, "ZADD " KEY("retry") " 1 m%u", i);
        char *reply = fake_redis_do(fake, "SET counter %u", i);
        free(reply);
    }
    nsec wall = io_wall(story->io);
    redis_dies(story);
    fake_redis_lose(fake, wall - 1500 * NSEC_PER_MS);
    assert_int_equal(fake_redis_counts(fake)->writes_lost, 3 * 2);
    assert_int_equal(fake_redis_number(fake, "LLEN " KEY("recipients")), 3);
    assert_int_equal(fake_redis_number(fake, "ZCARD " KEY("retry")), 3);
    char *reply = fake_redis_do(fake, "GET counter");
    assert_string_equal(reply, "$1\r\n2\r\n");
    free(reply);
    fake_redis_empty(fake);
    assert_int_equal(fake_redis_number(fake, "DBSIZE"), 0);
    story_free(story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_weather), cmocka_unit_test(test_every_fault), cmocka_unit_test(test_unwilling_redis),
        cmocka_unit_test(test_silence),      cmocka_unit_test(test_lost_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
