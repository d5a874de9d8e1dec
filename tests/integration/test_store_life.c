/* The store against a real Redis: phases, sources, the command line, and a Redis that is away or unwilling. */
#include "store_fixture.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- phases ---- */

static void test_finish_waits_for_everybody(void **state)
{
    struct fixture *f = *state;
    struct event deferred = event_of(EVENT_DEFERRED, 0), doubt = event_of(EVENT_IN_DOUBT, 0);
    const enum store_end_kind kinds[] = {STORE_END_RETRY, STORE_END_PARK, STORE_END_HOLD};
    do_ok(f, "HSET " KEY("campaign") " from a@b.example");
    do_ok(f, "SADD sluice:campaigns news-1 other");
    push_numbers(f, 0, 3);
    ASK(f->a, store_finish, C, "done", 100);
    assert_int_equal(f->a->answer.number, 0);
    for (unsigned i = 0; i < 3; i++) {
        char lease[8];
        snprintf(lease, sizeof lease, "L%u", i);
        ASK(f->a, store_lease_list, C, slice_of(lease), 1);
        ASK(f->a, store_finish, C, "done", 100);
        assert_int_equal(f->a->answer.number, 0);
        const struct store_end end = {.kind = kinds[i],
                                      .event = kinds[i] == STORE_END_HOLD ? &doubt : &deferred,
                                      .isp = SLICE("gmail"),
                                      .record = record_of(i)};
        ASK(f->a, store_end, C, slice_of(lease), &end, 1, true);
        ASK(f->a, store_finish, C, "done", 100);
        assert_result(f->a, STORE_OK);
        assert_int_equal(f->a->answer.number, 0);
        if (kinds[i] == STORE_END_HOLD)
            do_ok(f, "DEL " KEY("held"));
        else if (kinds[i] == STORE_END_RETRY)
            ASK(f->a, store_lease_retry, C, SLICE("R"), 1, 1);
        else
            ASK(f->a, store_lease_parked, C, SLICE("P"), SLICE("gmail"), 1);
        if (kinds[i] != STORE_END_HOLD)
            end_range(f->a, kinds[i] == STORE_END_RETRY ? "R" : "P", i, 0, 1, true);
    }
    ASK(f->a, store_phase, C, "sending", SLICE(""));
    for (unsigned round = 0; round < 2; round++) {
        ASK(f->a, store_finish, C, "done", 100);
        assert_int_equal(f->a->answer.number, 1);
        assert_number(f, "SCARD sluice:campaigns", 1);
        assert_number(f, "EXISTS {sluice:campaigns}:ending", 0);
        assert_number(f, "SISMEMBER sluice:campaigns other", 1);
    }
    long long left = real_redis_number(f->redis, "TTL " KEY("events"));
    assert_true(left > 90 && left <= 100);
    assert_true(real_redis_number(f->redis, "TTL " KEY("status")) > 90);
    assert_number(f, "XLEN sluice:ops", 3); /* sending, and done at least once */
    /* More is pushed: it lives again. */
    push_numbers(f, 3, 1);
    ASK(f->a, store_lease_list, C, SLICE("L9"), 1);
    assert_int_equal(f->a->answer.first, 3);
    assert_number(f, "TTL " KEY("events"), -1);
    assert_number(f, "TTL " KEY("status"), -1);
    ASK(f->a, store_look, C, &f->a->view);
    assert_string_equal(f->a->view.phase, "sending");
}

static void test_phase_is_announced_once(void **state)
{
    struct fixture *f = *state;
    const char *const phases[] = {"waiting", "sending", "idle", "sending"};
    push_numbers(f, 0, 1);
    for (unsigned i = 0; i < countof(phases); i++) {
        ASK(f->a, store_phase, C, phases[i], SLICE("because"));
        assert_result(f->a, STORE_OK);
        ASK(f->a, store_look, C, &f->a->view);
        assert_string_equal(f->a->view.phase, phases[i]);
        assert_string_equal(f->a->view.reason, "because");
        assert_number(f, "XLEN sluice:ops", i >= 1);
    }
    assert_number(f, "HEXISTS " KEY("status") " started_at", 1);
}

/* An engine died between taking the campaign off the set and looking again. */
static void test_ending_campaigns_are_found(void **state)
{
    struct fixture *f = *state;
    do_ok(f, "SADD sluice:campaigns a b");
    do_ok(f, "SADD {sluice:campaigns}:ending b news-1");
    push_numbers(f, 0, 1);
    ASK(f->a, store_campaigns);
    assert_int_equal(f->a->answer.item_count, 3);
    /* It has work, so it does not end; once it has none, it goes from both. */
    ASK(f->a, store_finish, C, "done", 100);
    assert_int_equal(f->a->answer.number, 0);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 1);
    end_range(f->a, "L1", 0, 0, 1, true);
    ASK(f->a, store_finish, C, "cancelled", 100);
    assert_int_equal(f->a->answer.number, 1);
    ASK(f->a, store_campaigns);
    assert_int_equal(f->a->answer.item_count, 2);
}

static void test_unique(void **state)
{
    struct fixture *f = *state;
    const struct slice addresses[] = {SLICE("a@x"), SLICE("b@x"), SLICE("a@x")};
    const uint64_t seqs[] = {10, 11, 12};
    for (unsigned round = 0; round < 2; round++) {
        ASK(f->a, store_unique, C, addresses, seqs, 3);
        assert_int_equal(f->a->answer.item_count, 3);
        assert_text(f->a->items[0], "1");
        assert_text(f->a->items[1], "1");
        assert_text(f->a->items[2], "0");
    }
}

static void test_look_at_nothing(void **state)
{
    struct fixture *f = *state;
    ASK(f->a, store_look, C, &f->a->view);
    assert_result(f->a, STORE_OK);
    assert_false(f->a->view.exists);
    assert_int_equal(f->a->view.pushed + f->a->view.taken + f->a->view.leases, 0);
    do_ok(f, "HSET " KEY("campaign") " from a subject b");
    ASK(f->a, store_look, C, &f->a->view);
    assert_true(f->a->view.exists);
    assert_int_equal(f->a->answer.item_count, 4);
    assert_text(f->a->items[3], "b");
    assert_number(f, "DBSIZE", 1); /* looking leaves nothing behind */
}

/* ---- engines, sources, the command line ---- */

static void test_sources_are_held_by_one(void **state)
{
    struct fixture *f = *state;
    ASK(f->a, store_source_hold, SLICE("192.0.2.1"), 5 * NSEC_PER_S);
    assert_int_equal(f->a->answer.number, 1);
    ASK(f->b, store_source_hold, SLICE("192.0.2.1"), 5 * NSEC_PER_S);
    assert_int_equal(f->b->answer.number, 0);
    assert_text(f->b->items[0], "one");
    ASK(f->b, store_source_release, SLICE("192.0.2.1"));
    assert_number(f, "EXISTS sluice:source:192.0.2.1", 1);
    ASK(f->a, store_source_release, SLICE("192.0.2.1"));
    ASK(f->b, store_source_hold, SLICE("192.0.2.1"), 5 * NSEC_PER_S);
    assert_int_equal(f->b->answer.number, 1);
    assert_true(real_redis_number(f->redis, "PTTL sluice:source:192.0.2.1") > 4000);
    ASK(f->a, store_heartbeat, 0, 5 * NSEC_PER_S);
    assert_number(f, "EXISTS sluice:engine:one", 1);
    ASK(f->a, store_heartbeat_end);
    assert_number(f, "EXISTS sluice:engine:one", 0);
}

static void on_woken(void *context, struct slice campaign)
{
    unsigned *woken = context;
    assert_text(campaign, "news-1");
    (*woken)++;
}

static void test_console(void **state)
{
    struct fixture *f = *state;
    const struct slice fields[] = {SLICE("from"), SLICE("a@b"), SLICE("html"), SLICE("<p>\r\n</p>")};
    const struct slice entries[] = {SLICE("x@y"), SLICE("{\"to\":\"z@y\"}")};
    unsigned woken = 0;
    store_on_wake(f->b->store, on_woken, &woken);
    asker_turn(f->b, 50 * NSEC_PER_MS);
    ASK(f->a, store_create, C, fields, 4);
    ASK(f->a, store_push, C, entries, 2);
    assert_int_equal(f->a->answer.number, 2);
    ASK(f->a, store_start, C);
    for (unsigned i = 0; i < 100 && !woken; i++)
        asker_turn(f->b, 20 * NSEC_PER_MS);
    assert_int_equal(woken, 1);
    ASK(f->a, store_campaigns);
    assert_int_equal(f->a->answer.item_count, 1);
    for (unsigned i = 0; i < 3000; i++)
        do_ok(f, "SET noise:%u 1", i);
    do_ok(f, "HSET sluice:{old}:campaign from x");
    ASK(f->a, store_all_campaigns);
    assert_int_equal(f->a->answer.item_count, 2);
    ASK(f->a, store_ops, fields, 4);
    assert_number(f, "XLEN sluice:ops", 1);
}

/* ---- trouble ---- */

static void turn_until_heard_trouble(struct asker *asker, const char *word)
{
    for (unsigned i = 0; i < 500 && !strstr(store_trouble(asker->store), word); i++)
        asker_turn(asker, 10 * NSEC_PER_MS);
    if (!strstr(store_trouble(asker->store), word))
        fail_msg("the trouble is \"%s\", not %s", store_trouble(asker->store), word);
    assert_false(store_connected(asker->store));
    assert_true(store_busy(asker->store));
}

static void test_redis_dies(void **state)
{
    struct fixture *f = *state;
    push_numbers(f, 0, 4);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 2);
    assert_true(store_connected(f->a->store));
    assert_string_equal(store_trouble(f->a->store), "");
    real_redis_kill(f->redis);
    store_lease_list(f->a->store, asker_next(f->a), C, SLICE("L2"), 2);
    turn_until_heard_trouble(f->a, "connect");
    assert_false(f->a->done);
    real_redis_again(f->redis);
    asker_wait(f->a);
    assert_result(f->a, STORE_OK);
    assert_int_equal(f->a->answer.first, 2);
    assert_true(store_connected(f->a->store));
    end_range(f->a, "L1", 0, 0, 2, true);
    assert_int_equal(f->a->answer.number, 1);
}

static void test_redis_comes_back_empty(void **state)
{
    struct fixture *f = *state;
    push_numbers(f, 0, 4);
    ASK(f->a, store_lease_list, C, SLICE("L1"), 2);
    do_ok(f, "FLUSHALL");
    end_range(f->a, "L1", 0, 0, 2, true);
    assert_result(f->a, STORE_FENCED);
    do_ok(f, "FUNCTION FLUSH");
    ASK(f->a, store_look, C, &f->a->view); /* the library is loaded again by itself */
    assert_result(f->a, STORE_OK);
}

static void test_unwilling_redis(void **state)
{
    static const struct {
        const char *off, *on, *word;
    } rows[] = {
        {"REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "READONLY"},
        {"CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM"},
    };
    struct fixture *f = *state;
    push_numbers(f, 0, 8);
    for (unsigned i = 0; i < countof(rows); i++) {
        char lease[8];
        snprintf(lease, sizeof lease, "L%u", i);
        do_ok(f, "%s", rows[i].off);
        store_lease_list(f->a->store, asker_next(f->a), C, slice_of(lease), 2);
        turn_until_heard_trouble(f->a, rows[i].word);
        asker_turn(f->a, 200 * NSEC_PER_MS); /* refused more than once */
        assert_false(f->a->done);
        do_ok(f, "%s", rows[i].on);
        asker_wait(f->a);
        assert_result(f->a, STORE_OK);
        assert_int_equal(f->a->answer.first, 2 * i);
        assert_true(store_connected(f->a->store));
    }
    /* What was leased is brought to its end also while memory is short. */
    do_ok(f, "CONFIG SET maxmemory 1");
    end_range(f->a, "L0", 0, 0, 2, true);
    assert_int_equal(f->a->answer.number, 1);
    do_ok(f, "CONFIG SET maxmemory 0");
}

static void test_refused_for_good(void **state)
{
    struct fixture *f = *state;
    do_ok(f, "SET " KEY("recipients") " oops");
    ASK(f->a, store_lease_list, C, SLICE("L1"), 2);
    assert_result(f->a, STORE_REFUSED);
    assert_non_null(strstr(f->a->error, "WRONGTYPE"));
    ASK(f->a, store_look, SLICE("other"), &f->a->view);
    assert_result(f->a, STORE_OK);
}

static void test_push_is_not_repeated(void **state)
{
    struct fixture *f = *state;
    const struct slice entry = SLICE("x@y");
    ASK(f->a, store_look, C, &f->a->view);
    /* The push is written and Redis dies before it reads on: nobody can say what became of it. */
    do_ok(f, "CLIENT PAUSE 100000 WRITE");
    store_push(f->a->store, asker_next(f->a), C, &entry, 1);
    asker_turn(f->a, 50 * NSEC_PER_MS);
    assert_false(f->a->done);
    real_redis_kill(f->redis);
    asker_wait(f->a);
    assert_result(f->a, STORE_REFUSED);
    real_redis_again(f->redis);
    ASK(f->a, store_push, C, &entry, 1);
    assert_result(f->a, STORE_OK);
    assert_int_equal(f->a->answer.number, 1);
}

static void test_login(void **state)
{
    struct fixture *f = *state;
    char url[256];
    do_ok(f, "ACL SETUSER ann on >p@ss ~* &* +@all");
    snprintf(url, sizeof url, "unix://ann:wrong@%s", real_redis_url(f->redis) + 5);
    struct asker *ann = asker_open(url, "ann", 1, NULL);
    turn_until_heard_trouble(ann, "WRONGPASS");
    assert_null(strstr(store_trouble(ann->store), "wrong"));
    asker_close(ann);
    snprintf(url, sizeof url, "unix://ann:p%%40ss@%s", real_redis_url(f->redis) + 5);
    ann = asker_open(url, "ann", 1, NULL);
    ASK(ann, store_look, C, &ann->view);
    assert_result(ann, STORE_OK);
    asker_close(ann);
}

static void test_open_refuses(void **state)
{
    struct fixture *f = *state;
    static const struct store_config configs[] = {
        {.url = "redis:x", .prefix = "sluice", .engine = "e"},
        {.url = "unix:/x", .prefix = "sl{u}ice", .engine = "e"},
        {.url = "unix:/x", .prefix = "sluice", .engine = "an engine"},
        {.url = "unix:/x", .prefix = "sluice", .engine = "-"},
        {.url = "unix:/x", .prefix = "", .engine = "e"},
    };
    for (unsigned i = 0; i < countof(configs); i++) {
        char error[256] = "";
        assert_null(store_open(f->a->io, NULL, &configs[i], error, sizeof error));
        assert_true(strlen(error) > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_finish_waits_for_everybody),
        TEST(test_phase_is_announced_once),
        TEST(test_ending_campaigns_are_found),
        TEST(test_unique),
        TEST(test_look_at_nothing),
        TEST(test_sources_are_held_by_one),
        TEST(test_console),
        TEST(test_redis_dies),
        TEST(test_redis_comes_back_empty),
        TEST(test_unwilling_redis),
        TEST(test_refused_for_good),
        TEST(test_push_is_not_repeated),
        TEST(test_login),
        TEST(test_open_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
