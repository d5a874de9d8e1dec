/* Numbers of steps: what comes late changes nothing, and what Redis has forgotten is done again, by several hands in
 * whatever order they come back; what cannot be done again is said. */
#include "fake_redis.h"
#include "flow/neighbours.h"
#include "sim/sim.h"
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { HANDS = 3, AT_FIRST = 2, KEEPS_S = 3, SETTLE_S = 10, MUSTER_S = 60 };

#define CAMPAIGN  SLICE("c")
#define KEY(name) "sluice:{c}:" name

struct hand {
    struct sim_host *host;
    struct io *io;
    struct store *store; /* NULL: not started yet */
    struct store_request request;
    struct store_view view;
    bool answered;
    enum store_result result;
    uint64_t first;
    unsigned items;
    int64_t number;
    unsigned lost; /* campaigns, as it was told */
};

struct scene {
    struct sim_world *world;
    struct sim_host *redis_host;
    struct io *redis_io;
    struct fake_redis *fake;
    struct hand hands[HANDS];
};

/* ---- the scene ---- */

static void on_answer(struct store_request *request, const struct store_answer *answer)
{
    struct hand *hand = container_of(request, struct hand, request);
    hand->answered = true;
    hand->result = answer->result;
    hand->first = answer->first;
    hand->items = answer->item_count;
    hand->number = answer->number;
}

static void on_lost(void *context, struct slice campaign)
{
    struct hand *hand = context;
    assert_true(slice_equal(campaign, CAMPAIGN));
    hand->lost++;
}

static void redis_starts(struct scene *scene)
{
    struct io_address at;
    char error[256];
    struct io_config config = {.group = sim_process(scene->redis_host, 1), .sessions_max = 64};
    scene->redis_io = io_open(&config, error, sizeof error);
    assert_non_null(scene->redis_io);
    sim_serve(scene->redis_io);
    assert_true(io_address_parse(&at, "10.0.0.1", 6379));
    fake_redis_serve(scene->fake, scene->redis_io, &at);
}

static void redis_dies(struct scene *scene)
{
    sim_crash(scene->redis_io);
    fake_redis_crashed(scene->fake);
}

static void pass(struct scene *scene, nsec duration)
{
    nsec until = sim_now(scene->world) + duration;
    while (sim_now(scene->world) < until) {
        for (unsigned i = 0; i < HANDS; i++)
            if (scene->hands[i].store)
                store_flush(scene->hands[i].store);
        sim_run_until(scene->world, sim_now(scene->world) + NSEC_PER_MS);
    }
}

/* Hands of one engine, "e", but for the last, which is "f"'s. */
static struct hand *hand_starts(struct scene *scene, unsigned i, bool alone)
{
    struct hand *hand = &scene->hands[i];
    char name[16], error[256];
    snprintf(name, sizeof name, "10.0.0.%u", 2 + i);
    hand->host = sim_host_new(scene->world, name);
    sim_host_address(hand->host, name);
    struct io_config config = {.group = sim_process(hand->host, 1), .sessions_max = 64};
    hand->io = io_open(&config, error, sizeof error);
    assert_non_null(hand->io);
    sim_serve(hand->io);
    struct store_config to = {.url = "redis://10.0.0.1",
                              .prefix = "sluice",
                              .engine = i < AT_FIRST ? "e" : "f",
                              .incarnation = 1,
                              .keeps = KEEPS_S * NSEC_PER_S,
                              .settle = SETTLE_S * NSEC_PER_S,
                              .alone = alone};
    hand->store = store_open(hand->io, NULL, &to, error, sizeof error);
    assert_non_null(hand->store);
    store_on_lost(hand->store, on_lost, hand);
    hand->request.done = on_answer;
    return hand;
}

static struct scene *scene_new(void)
{
    struct scene *scene = calloc(1, sizeof *scene);
    scene->world = sim_world_new(1);
    scene->redis_host = sim_host_new(scene->world, "redis");
    sim_host_address(scene->redis_host, "10.0.0.1");
    scene->fake = fake_redis_new(60 * NSEC_PER_S);
    redis_starts(scene);
    for (unsigned i = 0; i < AT_FIRST; i++)
        hand_starts(scene, i, false);
    for (unsigned i = 0; i < 40; i++)
        (void)fake_redis_number(scene->fake, "RPUSH " KEY("recipients") " r%u@x", i);
    char *made = fake_redis_do(scene->fake, "HSET " KEY("campaign") " from a@x");
    free(made);
    pass(scene, 5 * NSEC_PER_S);
    return scene;
}

static void scene_free(struct scene *scene)
{
    sim_world_free(scene->world);
    for (unsigned i = 0; i < HANDS; i++)
        if (scene->hands[i].store)
            store_close(scene->hands[i].store);
    fake_redis_free(scene->fake);
    free(scene);
}

/* Redis dies and comes back without what it acknowledged behind `since` (of its wall clock). */
static void redis_forgets(struct scene *scene, nsec since)
{
    redis_dies(scene);
    fake_redis_lose(scene->fake, since);
    redis_starts(scene);
}

/* All behind this instant can be forgotten, and nothing before it. */
static nsec mark(struct scene *scene)
{
    nsec wall = io_wall(scene->redis_io);
    pass(scene, 5 * NSEC_PER_MS);
    return wall;
}

/* ---- steps ---- */

static void wait_for(struct scene *scene, struct hand *hand)
{
    for (unsigned ms = 0; ms < 60000 && !hand->answered; ms += 5)
        pass(scene, 5 * NSEC_PER_MS);
    assert_true(hand->answered);
}

static void lease(struct scene *scene, struct hand *hand, const char *name, unsigned most)
{
    hand->answered = false;
    store_lease_list(hand->store, &hand->request, CAMPAIGN, slice_of(name), most);
    wait_for(scene, hand);
    assert_int_equal(hand->result, STORE_OK);
}

static void permit(struct scene *scene, struct hand *hand, const char *name, const uint32_t *permits, unsigned n,
                   const uint32_t *withdrawn, unsigned m)
{
    hand->answered = false;
    store_permit(hand->store, &hand->request, CAMPAIGN, slice_of(name), permits, n, withdrawn, m);
    wait_for(scene, hand);
}

/* Ends [from, to) of the lease. */
static void end(struct scene *scene, struct hand *hand, const char *name, enum store_end_kind kind, uint64_t first,
                unsigned from, unsigned to, bool close)
{
    struct store_end ends[20];
    struct event events[20];
    assert_true(to - from <= 20);
    for (unsigned i = from; i < to; i++) {
        events[i - from] = (struct event){.type = kind == STORE_END_EVENT ? EVENT_DELIVERED : EVENT_DEFERRED,
                                          .seq = first + i,
                                          .attempt = 1,
                                          .final = kind == STORE_END_EVENT};
        ends[i - from] = (struct store_end){.kind = kind,
                                            .index = i,
                                            .event = &events[i - from],
                                            .isp = SLICE("isp"),
                                            .due_ms = 1,
                                            .record = {.seq = first + i, .attempt = 1, .raw = SLICE("r@x")}};
    }
    hand->answered = false;
    store_end(hand->store, &hand->request, CAMPAIGN, slice_of(name), ends, to - from, close);
    wait_for(scene, hand);
    assert_int_equal(hand->result, STORE_OK);
}

static void assert_number(struct scene *scene, const char *command, int64_t expected)
{
    int64_t number = fake_redis_number(scene->fake, "%s", command);
    if (number != expected)
        fail_msg("%s: %lld instead of %lld", command, (long long)number, (long long)expected);
}

static void assert_reply(struct scene *scene, const char *command, const char *expected)
{
    char *reply = fake_redis_do(scene->fake, "%s", command);
    if (strcmp(reply, expected) != 0)
        fail_msg("%s: %s instead of %s", command, reply, expected);
    free(reply);
}

static bool has_permit(struct scene *scene, const char *name, unsigned index)
{
    return fake_redis_number(scene->fake, "GETBIT " KEY("ledger:%s") " %u", name, 2 * index) == 1;
}

/* ---- what comes late ---- */

/* A lease that was worked off and closed takes nobody by a name that nobody knows any more. */
static void a_late_lease_takes_nobody(void **state)
{
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0];
    (void)state;
    lease(scene, a, "l1", 10);
    end(scene, a, "l1", STORE_END_EVENT, 0, 0, 10, true);
    assert_int_equal(a->number, 1);
    assert_true(fake_redis_late(scene->fake, "lease_list", 0));
    assert_number(scene, "EXISTS " KEY("leases"), 0);
    assert_reply(scene, "HGET " KEY("status") " taken", "$2\r\n10\r\n");
    assert_true(fake_redis_late(scene->fake, "end", 0));
    assert_number(scene, "XLEN " KEY("events"), 10);
    scene_free(scene);
}

/* A permit that was withdrawn and given again stays, whatever comes late. */
static void a_late_withdrawal_clears_nothing(void **state)
{
    static const uint32_t one[] = {1};
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0];
    (void)state;
    lease(scene, a, "l1", 10);
    permit(scene, a, "l1", one, 1, NULL, 0);
    permit(scene, a, "l1", NULL, 0, one, 1);
    assert_false(has_permit(scene, "l1", 1));
    permit(scene, a, "l1", one, 1, NULL, 0);
    assert_true(fake_redis_late(scene->fake, "permit", 1));
    assert_true(has_permit(scene, "l1", 1));
    scene_free(scene);
}

/* Whoever has ended owes no second event, whatever is asked. */
static void who_has_ended_ends_no_more(void **state)
{
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0];
    (void)state;
    lease(scene, a, "l1", 10);
    end(scene, a, "l1", STORE_END_EVENT, 0, 0, 6, false);
    end(scene, a, "l1", STORE_END_RETRY, 0, 4, 8, false);
    assert_number(scene, "XLEN " KEY("events"), 8);
    assert_number(scene, "ZCARD " KEY("retry"), 2);
    end(scene, a, "l1", STORE_END_EVENT, 0, 0, 10, true);
    assert_number(scene, "XLEN " KEY("events"), 10);
    assert_number(scene, "HINCRBY " KEY("totals") " delivered 0", 8);
    scene_free(scene);
}

/* ---- what was forgotten ---- */

/* Nobody asks anything, and yet it is done again. */
static void what_was_forgotten_is_done_again(void **state)
{
    static const uint32_t both[] = {11, 12};
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0];
    (void)state;
    nsec before = mark(scene);
    lease(scene, a, "l1", 20);
    permit(scene, a, "l1", both, 2, NULL, 0);
    end(scene, a, "l1", STORE_END_EVENT, 0, 0, 8, false);
    end(scene, a, "l1", STORE_END_RETRY, 0, 8, 10, false);
    redis_forgets(scene, before);
    assert_number(scene, "EXISTS " KEY("leases") " " KEY("events"), 0);
    pass(scene, 8 * NSEC_PER_S);
    assert_number(scene, "HLEN " KEY("leases"), 1);
    assert_true(has_permit(scene, "l1", 11) && has_permit(scene, "l1", 12) && !has_permit(scene, "l1", 13));
    assert_number(scene, "XLEN " KEY("events"), 10);
    assert_number(scene, "HINCRBY " KEY("totals") " delivered 0", 8);
    assert_number(scene, "ZCARD " KEY("retry"), 2);
    end(scene, a, "l1", STORE_END_EVENT, 0, 10, 20, true);
    assert_int_equal(a->number, 1);
    assert_number(scene, "XLEN " KEY("events"), 20);
    assert_int_equal(a->lost, 0);
    scene_free(scene);
}

/* What stands on the disk is not done twice. */
static void what_was_kept_is_not_done_twice(void **state)
{
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0];
    (void)state;
    lease(scene, a, "l1", 20);
    end(scene, a, "l1", STORE_END_RETRY, 0, 0, 5, false);
    nsec then = mark(scene);
    end(scene, a, "l1", STORE_END_EVENT, 0, 5, 10, false);
    redis_forgets(scene, then);
    assert_number(scene, "XLEN " KEY("events"), 5);
    pass(scene, 8 * NSEC_PER_S);
    assert_number(scene, "XLEN " KEY("events"), 10);
    assert_number(scene, "ZCARD " KEY("retry"), 5);
    scene_free(scene);
}

/* A permit that is asked for while Redis is away is granted behind all that was forgotten, and no lease meanwhile. */
static void nothing_new_comes_first(void **state)
{
    static const uint32_t one[] = {15};
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0];
    struct hand *b = &scene->hands[1];
    (void)state;
    nsec before = mark(scene);
    lease(scene, a, "l1", 20);
    end(scene, a, "l1", STORE_END_EVENT, 0, 0, 10, false);
    redis_forgets(scene, before);
    nsec restarted = sim_now(scene->world);
    b->answered = false;
    store_lease_list(b->store, &b->request, CAMPAIGN, SLICE("l2"), 5);
    permit(scene, a, "l1", one, 1, NULL, 0);
    assert_int_equal(a->result, STORE_OK);
    assert_true(has_permit(scene, "l1", 15));
    assert_number(scene, "XLEN " KEY("events"), 10);
    wait_for(scene, b);
    assert_true(sim_now(scene->world) - restarted >= SETTLE_S * NSEC_PER_S);
    assert_int_equal(b->items, 5);
    assert_int_equal(b->first, 20);
    scene_free(scene);
}

/* ---- several hands ---- */

/* Whoever leased first may come back last: each has the recipients that it had. */
static void each_claims_its_own(void **state)
{
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0], *b = &scene->hands[1];
    (void)state;
    nsec before = mark(scene);
    lease(scene, a, "l1", 10);
    lease(scene, b, "l2", 10);
    assert_int_equal(b->first, 10);
    end(scene, b, "l2", STORE_END_EVENT, 10, 0, 5, false);
    sim_partition(scene->world, a->host, scene->redis_host, sim_now(scene->world) + 4 * NSEC_PER_S);
    redis_forgets(scene, before);
    pass(scene, 3 * NSEC_PER_S);
    assert_number(scene, "EXISTS " KEY("leases"), 0);
    pass(scene, 40 * NSEC_PER_S);
    assert_number(scene, "HLEN " KEY("leases"), 2);
    assert_reply(scene, "HGET " KEY("status") " taken", "$2\r\n20\r\n");
    assert_number(scene, "XLEN " KEY("events"), 5);
    end(scene, b, "l2", STORE_END_EVENT, 10, 5, 10, true);
    end(scene, a, "l1", STORE_END_EVENT, 0, 0, 10, true);
    assert_number(scene, "XLEN " KEY("events"), 20);
    assert_number(scene, "EXISTS " KEY("leases"), 0);
    scene_free(scene);
}

/* Records that one hand put back and another one leased are claimed when they are back. */
static void records_come_back_before_they_are_claimed(void **state)
{
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0], *b = &scene->hands[1];
    (void)state;
    nsec before = mark(scene);
    lease(scene, a, "l1", 10);
    end(scene, a, "l1", STORE_END_RETRY, 0, 0, 4, false);
    end(scene, a, "l1", STORE_END_PARK, 0, 4, 10, true);
    b->answered = false;
    store_lease_retry(b->store, &b->request, CAMPAIGN, SLICE("l2"), 5, 10);
    wait_for(scene, b);
    assert_int_equal(b->items, 4);
    b->answered = false;
    store_lease_parked(b->store, &b->request, CAMPAIGN, SLICE("l3"), SLICE("isp"), 5);
    wait_for(scene, b);
    assert_int_equal(b->items, 5);
    end(scene, b, "l2", STORE_END_EVENT, 0, 0, 4, true);
    sim_partition(scene->world, a->host, scene->redis_host, sim_now(scene->world) + 4 * NSEC_PER_S);
    redis_forgets(scene, before);
    pass(scene, 50 * NSEC_PER_S);
    assert_number(scene, "HLEN " KEY("leases"), 1);
    assert_number(scene, "LLEN " KEY("batch:l3"), 5);
    assert_number(scene, "LLEN " KEY("parked:isp"), 1);
    assert_number(scene, "HINCRBY " KEY("parked") " isp 0", 1);
    assert_number(scene, "EXISTS " KEY("retry"), 0);
    assert_number(scene, "HINCRBY " KEY("totals") " delivered 0", 4);
    scene_free(scene);
}

/* What one hand let go and another one adopted is let go and adopted again. */
static void what_changed_hands_changes_hands_again(void **state)
{
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0], *b = &scene->hands[1];
    (void)state;
    nsec before = mark(scene);
    lease(scene, a, "l1", 10);
    end(scene, a, "l1", STORE_END_EVENT, 0, 0, 3, false);
    a->answered = false;
    store_release(a->store, &a->request, CAMPAIGN, SLICE("l1"));
    wait_for(scene, a);
    b->answered = false;
    store_adopt(b->store, &b->request, CAMPAIGN, SLICE("l1"), SLICE("-"), 0);
    wait_for(scene, b);
    assert_int_equal(b->items, 10);
    end(scene, b, "l1", STORE_END_EVENT, 0, 3, 6, false);
    sim_partition(scene->world, a->host, scene->redis_host, sim_now(scene->world) + 4 * NSEC_PER_S);
    redis_forgets(scene, before);
    pass(scene, 50 * NSEC_PER_S);
    end(scene, b, "l1", STORE_END_EVENT, 0, 6, 10, true);
    assert_int_equal(b->number, 1);
    assert_number(scene, "XLEN " KEY("events"), 10);
    assert_number(scene, "EXISTS " KEY("leases"), 0);
    scene_free(scene);
}

/* Recipients that somebody else has by now are his: whoever had them is fenced. */
static void who_comes_too_late_is_fenced(void **state)
{
    static const uint32_t one[] = {9};
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0], *b = &scene->hands[1];
    (void)state;
    nsec before = mark(scene);
    lease(scene, a, "l1", 10);
    sim_partition(scene->world, a->host, scene->redis_host, sim_now(scene->world) + 40 * NSEC_PER_S);
    redis_forgets(scene, before);
    lease(scene, b, "l2", 5);
    assert_int_equal(b->first, 0);
    permit(scene, a, "l1", one, 1, NULL, 0);
    assert_int_equal(a->result, STORE_FENCED);
    assert_number(scene, "HLEN " KEY("leases"), 1);
    scene_free(scene);
}

/* ---- who is waited for ---- */

static nsec since(const struct scene *scene, nsec then) { return sim_now(scene->world) - then; }

/* An engine that was started just now knows of no other Redis, and yet takes nothing that others have to claim. */
static void who_is_new_waits_as_all_do(void **state)
{
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0];
    (void)state;
    nsec before = mark(scene);
    lease(scene, a, "l1", 10);
    sim_partition(scene->world, a->host, scene->redis_host, sim_now(scene->world) + 4 * NSEC_PER_S);
    redis_forgets(scene, before);
    nsec restarted = sim_now(scene->world);
    struct hand *f = hand_starts(scene, 2, false);
    lease(scene, f, "l2", 5);
    assert_int_equal(f->first, 10);
    assert_true(since(scene, restarted) >= SETTLE_S * NSEC_PER_S);
    assert_number(scene, "HLEN " KEY("leases"), 2);
    scene_free(scene);
}

/* Nobody has anything to claim of a Redis that we have started ourselves, nor of a process that lives on, nor of one
 * that began empty; of a later one they have. */
static void who_is_alone_waits_for_nobody(void **state)
{
    struct scene *scene = scene_new();
    (void)state;
    nsec before = mark(scene), then = sim_now(scene->world);
    lease(scene, &scene->hands[0], "l1", 5);
    assert_true(since(scene, then) < NSEC_PER_S);
    redis_forgets(scene, before);
    then = sim_now(scene->world);
    struct hand *f = hand_starts(scene, 2, true);
    pass(scene, NSEC_PER_S); /* nobody leases who has not looked */
    lease(scene, f, "l2", 5);
    assert_true(since(scene, then) < 2 * NSEC_PER_S);
    before = mark(scene);
    redis_forgets(scene, before);
    then = sim_now(scene->world);
    lease(scene, f, "l3", 5);
    assert_true(since(scene, then) >= SETTLE_S * NSEC_PER_S);
    then = sim_now(scene->world);
    lease(scene, &scene->hands[1], "l4", 5);
    assert_true(since(scene, then) < NSEC_PER_S);
    scene_free(scene);
}

/* One that has a lease and cannot reach Redis, as all others can, may have had more than Redis knows. */
static void who_has_leases_is_waited_for_longer(void **state)
{
    enum { AWAY_S = 30 };
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0], *b = &scene->hands[1];
    (void)state;
    lease(scene, a, "l1", 10);
    nsec before = mark(scene);
    lease(scene, a, "l2", 10);
    sim_partition(scene->world, a->host, scene->redis_host, sim_now(scene->world) + AWAY_S * NSEC_PER_S);
    redis_forgets(scene, before);
    nsec restarted = sim_now(scene->world);
    lease(scene, b, "l3", 5);
    assert_int_equal(b->first, 20);
    assert_in_range(since(scene, restarted) / NSEC_PER_S, AWAY_S, AWAY_S + 10);
    assert_number(scene, "HLEN " KEY("leases"), 3);
    scene_free(scene);
}

/* It has nothing to do but to say that it is there. */
static void who_is_idle_is_back_as_well(void **state)
{
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0], *b = &scene->hands[1];
    (void)state;
    lease(scene, a, "l1", 10);
    pass(scene, (KEEPS_S + 5) * NSEC_PER_S);
    permit(scene, a, "l1", NULL, 0, NULL, 0); /* proves that Redis has lived so long */
    pass(scene, (KEEPS_S + 5) * NSEC_PER_S);
    redis_forgets(scene, mark(scene));
    nsec restarted = sim_now(scene->world);
    lease(scene, b, "l2", 5);
    assert_in_range(since(scene, restarted) / NSEC_PER_S, SETTLE_S, SETTLE_S + 2);
    scene_free(scene);
}

/* Nobody is waited for who is known to be dead, and nobody for ever. */
static void the_dead_are_not_waited_for(void **state)
{
    static const struct store_owner dead = {"e", 1};
    (void)state;
    for (unsigned known = 0; known < 2; known++) {
        struct scene *scene = scene_new();
        struct hand *a = &scene->hands[0];
        lease(scene, a, "l1", 10);
        sim_partition(scene->world, a->host, scene->redis_host, sim_now(scene->world) + 1000 * NSEC_PER_S);
        redis_forgets(scene, mark(scene));
        nsec restarted = sim_now(scene->world);
        struct hand *f = hand_starts(scene, 2, false);
        f->answered = false;
        store_look_after(f->store, &f->request, CAMPAIGN, &f->view, &dead, known);
        wait_for(scene, f);
        pass(scene, SETTLE_S * NSEC_PER_S);
        lease(scene, f, "l2", 5);
        unsigned waited_s = known ? SETTLE_S : MUSTER_S;
        assert_in_range(since(scene, restarted) / NSEC_PER_S, waited_s, waited_s + 2);
        scene_free(scene);
    }
}

/* ---- who is dead ---- */

enum { LIFE_S = 10, READS_S = 2, READS = 4 };

static void watch(struct scene *scene, struct neighbours *n, unsigned seconds, bool sure)
{
    static const struct store_owner who = {"g", 7};
    for (unsigned i = 0; i < 10 * seconds; i++) {
        neighbours_named(n, &who, 1);
        (void)neighbours_turn(n, sim_now(scene->world), sure);
        pass(scene, NSEC_PER_S / 10);
    }
}

static void beats(struct scene *scene, bool on)
{
    free(fake_redis_do(scene->fake, on ? "SET sluice:engine:g 7" : "DEL sluice:engine:g"));
}

/* A heartbeat that is absent is no death before a whole life of it, in which we were sure of ourselves. */
static void a_beat_that_was_missed_is_no_death(void **state)
{
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0];
    struct neighbours *n = calloc(1, sizeof *n);
    (void)state;
    neighbours_open(n, a->io, a->store, NULL, LIFE_S * NSEC_PER_S);
    beats(scene, true);
    watch(scene, n, 2 * LIFE_S, true);
    assert_int_equal(n->died, 0);
    for (unsigned missed = 1; missed < READS; missed++) {
        beats(scene, false);
        watch(scene, n, missed * READS_S, true);
        beats(scene, true);
        watch(scene, n, READS_S, true);
        assert_int_equal(n->died, 0);
    }
    beats(scene, false);
    for (unsigned i = 0; i < 3; i++) { /* for a moment we are not sure: what was seen before counts no more */
        watch(scene, n, LIFE_S - 1, true);
        assert_int_equal(n->died, 0);
        watch(scene, n, 1, false);
    }
    watch(scene, n, LIFE_S - 1, true);
    pass(scene, 3 * READS_S * NSEC_PER_S); /* without turns of our own, as after SIGSTOP */
    watch(scene, n, LIFE_S - 1, true);
    assert_int_equal(n->died, 0);
    watch(scene, n, 2 * READS_S + 1, true);
    assert_int_equal(n->died, 1);
    assert_int_equal(n->dead_count, 1);
    beats(scene, true);
    watch(scene, n, READS_S + 1, true);
    assert_int_equal(n->dead_count, 0);
    scene_free(scene);
    free(n);
}

/* ---- what cannot be done again ---- */

static void more_is_lost_than_is_kept(void **state)
{
    static const uint32_t one[] = {9}, other[] = {8};
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0], *b = &scene->hands[1];
    (void)state;
    nsec before = mark(scene);
    lease(scene, a, "l1", 10);
    permit(scene, a, "l1", one, 1, NULL, 0);
    pass(scene, (KEEPS_S + 5) * NSEC_PER_S);
    permit(scene, a, "l1", other, 1, NULL, 0); /* proves that Redis has lived so long */
    pass(scene, 2 * NSEC_PER_S);
    redis_forgets(scene, before);
    permit(scene, a, "l1", one, 1, NULL, 0);
    assert_int_equal(a->result, STORE_FENCED);
    assert_int_equal(a->lost, 1);
    char name[64];
    snprintf(name, sizeof name, "lost:1:0");
    b->answered = false;
    store_adopt(b->store, &b->request, CAMPAIGN, slice_of(name), SLICE("-"), 0);
    wait_for(scene, b);
    assert_int_equal(b->result, STORE_OK);
    assert_int_equal(b->items, 10);
    for (unsigned i = 0; i < 10; i++)
        assert_true(has_permit(scene, name, i));
    lease(scene, a, "l3", 5);
    assert_int_equal(a->first, 10);
    scene_free(scene);
}

static void redis_comes_back_empty(void **state)
{
    static const uint32_t one[] = {9};
    struct scene *scene = scene_new();
    struct hand *a = &scene->hands[0];
    (void)state;
    lease(scene, a, "l1", 10);
    pass(scene, (KEEPS_S + 5) * NSEC_PER_S);
    permit(scene, a, "l1", one, 1, NULL, 0);
    pass(scene, 2 * NSEC_PER_S);
    redis_dies(scene);
    fake_redis_empty(scene->fake);
    redis_starts(scene);
    permit(scene, a, "l1", one, 1, NULL, 0);
    assert_int_equal(a->result, STORE_FENCED);
    assert_int_equal(a->lost, 1);
    assert_number(scene, "EXISTS " KEY("leases"), 0);
    (void)fake_redis_number(scene->fake, "RPUSH " KEY("recipients") " again@x");
    pass(scene, SETTLE_S * NSEC_PER_S);
    lease(scene, a, "l2", 5);
    assert_int_equal(a->items, 1);
    scene_free(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_late_lease_takes_nobody),
        cmocka_unit_test(a_late_withdrawal_clears_nothing),
        cmocka_unit_test(who_has_ended_ends_no_more),
        cmocka_unit_test(what_was_forgotten_is_done_again),
        cmocka_unit_test(what_was_kept_is_not_done_twice),
        cmocka_unit_test(nothing_new_comes_first),
        cmocka_unit_test(each_claims_its_own),
        cmocka_unit_test(records_come_back_before_they_are_claimed),
        cmocka_unit_test(what_changed_hands_changes_hands_again),
        cmocka_unit_test(who_comes_too_late_is_fenced),
        cmocka_unit_test(who_is_new_waits_as_all_do),
        cmocka_unit_test(who_is_alone_waits_for_nobody),
        cmocka_unit_test(who_has_leases_is_waited_for_longer),
        cmocka_unit_test(who_is_idle_is_back_as_well),
        cmocka_unit_test(the_dead_are_not_waited_for),
        cmocka_unit_test(a_beat_that_was_missed_is_no_death),
        cmocka_unit_test(more_is_lost_than_is_kept),
        cmocka_unit_test(redis_comes_back_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
