/* Warm-up records in a real Redis: pieces, repetitions, turns, pace, and what is told. */
#include "store/warmup.h"
#include "store_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include <time.h>

static nsec wall_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * NSEC_PER_S + now.tv_nsec;
}

/* A day around now, of a counter at stage 2 in state running. */
static struct warmup_record record_at(int64_t day, uint64_t granted)
{
    return (struct warmup_record){
        .state = WARMUP_RUNNING, .stage = 2, .day = day, .granted = granted, .since = day - 1, .active_day = day - 1};
}

static struct store_warmup_ask ask_of(uint64_t call, const struct warmup_record *record, uint64_t cap, uint64_t wanted)
{
    return (struct store_warmup_ask){
        .source = SLICE("m1"),
        .call = call,
        .wall = wall_now(),
        .day = {.number = 100, .begins = wall_now() - 3600 * NSEC_PER_S, .ends = wall_now() + 3600 * NSEC_PER_S},
        .wanted = wanted,
        .part_count = 1,
        .parts = {{.counter = SLICE("gmail"), .record = record, .cap = cap}}};
}

static struct store_warmup_view view;

static enum store_warmup_result ask(struct asker *asker, const struct store_warmup_ask *what)
{
    ASK(asker, store_warmup_ask, what, &view);
    assert_result(asker, STORE_OK);
    return view.result;
}

static void swap_in(struct asker *asker, const char *expected, const struct warmup_record *record, const char *told)
{
    struct store_warmup_swap swap = {.source = SLICE("m1"),
                                     .counter = SLICE("gmail"),
                                     .expected = slice_of(expected),
                                     .record = record,
                                     .history = SLICE("99:1:50:50:50:0:0:0 "),
                                     .told = slice_of(told)};
    ASK(asker, store_warmup_swap, &swap);
    assert_result(asker, STORE_OK);
}

static void test_no_record_no_piece(void **state)
{
    struct fixture *f = *state;
    struct store_warmup_ask what = ask_of(1, NULL, 0, 10);
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_CHANGED);
    assert_false(view.parts[0].exists);
    assert_int_equal(view.granted, 0);
}

static void test_a_cap_is_granted_once(void **state)
{
    struct fixture *f = *state;
    struct warmup_record record = record_at(100, 0);
    swap_in(f->a, "", &record, "");
    assert_int_equal(f->a->answer.number, 1);
    struct store_warmup_ask what = ask_of(1, &record, 25, 10);
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_GRANTED);
    assert_int_equal(view.granted, 10);
    assert_int_equal(view.parts[0].record.granted, 10);
    assert_int_equal(view.parts[0].record.active_day, 100);
    nsec first = view.now;
    /* Repeated, and by then another engine has had some: the same answer, and nothing more. */
    struct store_warmup_ask other = ask_of(1, &record, 25, 10);
    assert_int_equal(ask(f->b, &other), STORE_WARMUP_GRANTED);
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_GRANTED);
    assert_int_equal(view.granted, 10);
    assert_true(view.now == first);
    assert_int_equal(view.parts[0].record.granted, 20);
    what = ask_of(2, &record, 25, 10);
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_GRANTED);
    assert_int_equal(view.granted, 5);
    what = ask_of(3, &record, 25, 10);
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_FULL);
    what = ask_of(4, &record, 25, 0);
    what.given_back = 3;
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_GRANTED);
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_GRANTED);
    assert_int_equal(view.parts[0].record.granted, 22);
    what = ask_of(5, &record, 20, 10); /* the curve was lowered below what was granted */
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_FULL);
}

static void test_pace_days_and_clocks(void **state)
{
    struct fixture *f = *state;
    struct warmup_record record = record_at(100, 0);
    swap_in(f->a, "", &record, "");
    struct store_warmup_ask what = ask_of(1, &record, 1000, 2);
    what.parts[0].interval = 100 * NSEC_PER_S;
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_GRANTED);
    assert_in_range(view.parts[0].next - view.now, 199 * NSEC_PER_S, 201 * NSEC_PER_S);
    what.call = 2;
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_LATER);
    what.call = 3;
    what.wall -= 61 * NSEC_PER_S;
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_CLOCKS);
    what = ask_of(4, &record, 1000, 2);
    what.day.ends = what.wall - NSEC_PER_S;
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_OUTSIDE);
    what = ask_of(5, &record, 1000, 2);
    what.day.number = 99;
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_EARLY);
    what.call = 6;
    what.day.number = 101;
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_CHANGED);
    struct warmup_record paused = record;
    paused.state = WARMUP_PAUSED;
    what = ask_of(7, &paused, 1000, 2);
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_CHANGED);
    assert_int_equal(view.parts[0].record.granted, 2);
}

static void test_counts_of_both_parts(void **state)
{
    struct fixture *f = *state;
    struct warmup_record record = record_at(100, 0);
    swap_in(f->a, "", &record, "");
    struct store_warmup_ask what = ask_of(1, &record, 1000, 5);
    what.part_count = 2;
    what.parts[1] = (struct store_warmup_part){.counter = SLICE("all"), .record = &record, .cap = 3};
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_CHANGED); /* `all` has no record yet */
    struct store_warmup_swap swap = {.source = SLICE("m1"), .counter = SLICE("all"), .record = &record};
    ASK(f->a, store_warmup_swap, &swap);
    what.call = 2;
    what.parts[0].counts = what.parts[1].counts =
        (struct warmup_counts){.accepted = 7, .deferred = 1, .blocked = 2, .bounced = 3, .other = 4};
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_GRANTED);
    assert_int_equal(ask(f->a, &what), STORE_WARMUP_GRANTED);
    assert_int_equal(view.granted, 3);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(view.parts[i].record.granted, 3);
        assert_int_equal(view.parts[i].record.today.accepted, 7);
        assert_int_equal(view.parts[i].record.today.blocked, 2);
        assert_int_equal(view.parts[i].record.today.other, 4);
    }
}

static void test_swap_compares_and_tells(void **state)
{
    struct fixture *f = *state;
    struct warmup_record record = record_at(100, 0), next = record_at(101, 0);
    char text[WARMUP_RECORD_TEXT];
    swap_in(f->a, "", &record, "");
    swap_in(f->b, "something else", &next, "warmup=advanced\n");
    assert_int_equal(f->b->answer.number, 0);
    warmup_record_write(text, &record);
    assert_text(f->b->items[0], text);
    assert_number(f, "XLEN sluice:ops", 0);
    swap_in(f->b, text, &next, "warmup=advanced\nsource=m1\n");
    assert_int_equal(f->b->answer.number, 1);
    swap_in(f->b, text, &next, ""); /* repeated: it stands there */
    assert_int_equal(f->b->answer.number, 1);
    assert_number(f, "XLEN sluice:ops", 1);
    assert_number(f, "HEXISTS sluice:warmup:m1 gmail/told", 0);
    assert_number(f, "HSTRLEN sluice:warmup:m1 gmail/history", 39); /* both turns, a blank between */
}

static void test_what_redis_keeps(void **state)
{
    struct fixture *f = *state;
    ASK(f->a, store_durability);
    assert_result(f->a, STORE_OK);
    assert_int_equal(f->a->answer.item_count, 2);
    assert_true(f->a->items[0].n && f->a->items[1].n);
    uint64_t epoch = store_epoch(f->a->store);
    nsec alive = store_alive_at(f->a->store);
    assert_true(epoch && alive && store_knows_server(f->a->store));
    do_ok(f, "CLIENT KILL TYPE normal SKIPME yes");
    ASK(f->a, store_campaigns);
    assert_true(store_epoch(f->a->store) == epoch); /* another connection, the same process */
    assert_true(store_alive_at(f->a->store) >= alive);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_record_no_piece),   TEST(test_a_cap_is_granted_once),   TEST(test_pace_days_and_clocks),
        TEST(test_counts_of_both_parts), TEST(test_swap_compares_and_tells), TEST(test_what_redis_keeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
