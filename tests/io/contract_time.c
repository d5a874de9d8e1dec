/* The clock, chance, timers, and what one turn waits for. */
#include "contract.h"

#include <stdlib.h>

enum { TIMERS = 10000 };

struct ticker {
    struct io_timer timer;
    struct stage *stage;
    struct ticker **log; /* of those that fired, in order */
    unsigned *logged;
    void (*also)(struct ticker *ticker);
    struct ticker *other;
    nsec at, fired_at;
    uint64_t order;
    bool set;
    unsigned fired;
};

static void on_fire(struct io_timer *timer)
{
    struct ticker *ticker = container_of(timer, struct ticker, timer);
    stage_enter(ticker->stage);
    assert_false(io_timer_is_set(timer));
    ticker->fired++;
    ticker->fired_at = io_lately(ticker->stage->io);
    if (ticker->log)
        ticker->log[(*ticker->logged)++] = ticker;
    if (ticker->also)
        ticker->also(ticker);
    stage_leave(ticker->stage);
}

static bool has_fired(void *context)
{
    const struct ticker *ticker = context;
    return ticker->fired > 0;
}

static void the_clock_never_goes_back(void **state)
{
    struct stage *stage = *state;
    nsec last = io_now(stage->io);
    for (int i = 0; i < 1000; i++) {
        stage_turn(stage, 0);
        nsec now = io_now(stage->io);
        assert_true(now >= last);
        last = now;
    }
    assert_true(io_wall(stage->io) > 0);
}

/* Starts are recorded by the one clock and paced by the other; an audit compares the two. */
static void an_instant_has_one_wall_time(void **state)
{
    struct stage *stage = *state;
    nsec first = io_now(stage->io), wall = io_wall_at(stage->io, first);
    assert_true(llabs(wall - io_wall(stage->io)) < 60 * NSEC_PER_S);
    for (int i = 0; i < 20; i++) {
        stage_turn(stage, io_now(stage->io) + 200 * NSEC_PER_US);
        nsec now = io_now(stage->io), moved = io_wall_at(stage->io, now) - wall - (now - first);
        nsec past = io_wall_at(stage->io, first) - wall;
        assert_true(llabs(moved) < NSEC_PER_MS && llabs(past) < NSEC_PER_MS);
    }
}

static void the_last_look_at_the_clock(void **state)
{
    struct stage *stage = *state;
    for (int i = 0; i < 1000; i++) {
        nsec before = io_now(stage->io);
        stage_turn(stage, 0);
        nsec lately = io_lately(stage->io);
        assert_true(before <= lately && lately <= io_now(stage->io));
    }
    /* A turn in which nothing happens looks at the clock behind its wait all the same. */
    nsec until = io_now(stage->io) + 5 * NSEC_PER_MS;
    stage_turn(stage, until);
    assert_true(io_lately(stage->io) >= until);
}

static void random_bits_differ(void **state)
{
    struct stage *stage = *state;
    uint64_t ones = 0, zeros = 0, last = io_random(stage->io);
    for (int i = 0; i < 1000; i++) {
        uint64_t next = io_random(stage->io);
        assert_true(next != last);
        ones |= next;
        zeros |= ~next;
        last = next;
    }
    assert_true(ones == UINT64_MAX && zeros == UINT64_MAX);
}

static void a_turn_ends_at_until_and_waits_no_longer(void **state)
{
    struct stage *stage = *state;
    struct ticker far = {.timer.fire = on_fire, .stage = stage};
    nsec start = io_now(stage->io);
    io_timer_set(stage->io, &far.timer, start + 3600 * NSEC_PER_S);
    /* In the past, now, never yet: if one of these waited for the timer, the test would not end. */
    assert_int_equal(stage_turn(stage, start - NSEC_PER_S), 0);
    assert_int_equal(stage_turn(stage, io_now(stage->io)), 0);
    while (io_now(stage->io) < start + 5 * NSEC_PER_MS)
        assert_int_equal(stage_turn(stage, start + 5 * NSEC_PER_MS), 0);
    assert_int_equal(far.fired, 0);
    io_timer_clear(stage->io, &far.timer);
}

static void a_turn_waits_for_the_next_timer(void **state)
{
    struct stage *stage = *state;
    struct ticker soon = {.timer.fire = on_fire, .stage = stage};
    nsec at = io_now(stage->io) + 3 * NSEC_PER_MS + 17;
    io_timer_set(stage->io, &soon.timer, at);
    while (!soon.fired) /* turns without a limit of their own */
        stage_turn(stage, NSEC_NEVER);
    assert_true(soon.fired_at >= at);
    assert_int_equal(soon.fired, 1);
}

static void timers_fire_in_order_and_once(void **state)
{
    struct stage *stage = *state;
    struct ticker tickers[5], *log[5];
    unsigned logged = 0;
    nsec base = io_now(stage->io) + NSEC_PER_MS;
    const nsec at[5] = {base + 30, base + 10, base + 20, base + 10, base - NSEC_PER_S};
    const unsigned expected[5] = {4, 1, 3, 2, 0};
    for (int i = 0; i < 5; i++) {
        tickers[i] = (struct ticker){.timer.fire = on_fire, .stage = stage, .log = log, .logged = &logged};
        io_timer_set(stage->io, &tickers[i].timer, at[i]);
        assert_true(io_timer_is_set(&tickers[i].timer));
    }
    stage_wait(stage, 3 * NSEC_PER_MS);
    assert_int_equal(logged, 5);
    for (int i = 0; i < 5; i++)
        assert_ptr_equal(log[i], &tickers[expected[i]]);
}

static void setting_moves_and_clearing_stops(void **state)
{
    struct stage *stage = *state;
    struct ticker moved = {.timer.fire = on_fire, .stage = stage}, cleared = moved, last = moved;
    nsec now = io_now(stage->io);
    io_timer_set(stage->io, &moved.timer, now + 3600 * NSEC_PER_S);
    io_timer_set(stage->io, &moved.timer, now + NSEC_PER_MS);
    io_timer_set(stage->io, &cleared.timer, now + NSEC_PER_MS);
    io_timer_clear(stage->io, &cleared.timer);
    io_timer_clear(stage->io, &cleared.timer);
    assert_false(io_timer_is_set(&cleared.timer));
    io_timer_set(stage->io, &last.timer, now + 2 * NSEC_PER_MS);
    stage_until(stage, has_fired, &last);
    assert_int_equal(moved.fired, 1);
    assert_int_equal(cleared.fired, 0);
}

static void clear_other(struct ticker *ticker) { io_timer_clear(ticker->stage->io, &ticker->other->timer); }

static void a_due_timer_may_be_cleared_by_one_before_it(void **state)
{
    struct stage *stage = *state;
    struct ticker second = {.timer.fire = on_fire, .stage = stage}, third = second;
    struct ticker first = {.timer.fire = on_fire, .stage = stage, .also = clear_other, .other = &second};
    nsec at = io_now(stage->io);
    io_timer_set(stage->io, &first.timer, at);
    io_timer_set(stage->io, &second.timer, at);
    io_timer_set(stage->io, &third.timer, at);
    stage_until(stage, has_fired, &third);
    assert_int_equal(first.fired, 1);
    assert_int_equal(second.fired, 0);
}

static void set_again(struct ticker *ticker) { io_timer_set(ticker->stage->io, &ticker->timer, ticker->at); }

static void a_timer_that_sets_itself_for_now_lets_the_turn_end(void **state)
{
    struct stage *stage = *state;
    struct ticker ticker = {.timer.fire = on_fire, .stage = stage, .also = set_again, .at = io_now(stage->io)};
    io_timer_set(stage->io, &ticker.timer, ticker.at);
    for (unsigned i = 1; i <= 5; i++) {
        assert_int_equal(stage_turn(stage, NSEC_NEVER), 1);
        assert_int_equal(ticker.fired, i);
    }
    io_timer_clear(stage->io, &ticker.timer);
    assert_int_equal(stage_turn(stage, 0), 0);
}

static int by_deadline(const void *a, const void *b)
{
    const struct ticker *x = *(struct ticker *const *)a, *y = *(struct ticker *const *)b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* Those still set by the model, sorted, are what must have fired, in that order. */
static void many_random_timers_agree_with_a_sorted_list(void **state)
{
    struct stage *stage = *state;
    struct ticker *tickers = test_calloc(TIMERS, sizeof *tickers);
    struct ticker **log = test_calloc(TIMERS, sizeof(struct ticker *));
    struct ticker **expected = test_calloc(TIMERS, sizeof(struct ticker *));
    unsigned logged = 0, count = 0;
    nsec start = io_now(stage->io) + 100 * NSEC_PER_MS; /* nothing is due while they are set */
    print_message("seed %llu\n", (unsigned long long)stage->random);
    for (unsigned i = 0; i < TIMERS; i++)
        tickers[i] = (struct ticker){.timer.fire = on_fire, .stage = stage, .log = log, .logged = &logged};
    for (unsigned i = 0; i < 3 * TIMERS; i++) {
        struct ticker *ticker = &tickers[stage_random(stage) % TIMERS];
        if (stage_random(stage) % 5 == 0) {
            io_timer_clear(stage->io, &ticker->timer);
            ticker->set = false;
        } else {
            ticker->at = start + (nsec)(stage_random(stage) % 3000) * 10 * NSEC_PER_US;
            ticker->order = i;
            ticker->set = true;
            io_timer_set(stage->io, &ticker->timer, ticker->at);
        }
        assert_int_equal(io_timer_is_set(&ticker->timer), ticker->set);
    }
    for (unsigned i = 0; i < TIMERS; i++)
        if (tickers[i].set)
            expected[count++] = &tickers[i];
    qsort(expected, count, sizeof(struct ticker *), by_deadline);
    stage_wait(stage, start - io_now(stage->io) + 40 * NSEC_PER_MS);
    assert_int_equal(logged, count);
    for (unsigned i = 0; i < count; i++) {
        assert_ptr_equal(log[i], expected[i]);
        assert_true(log[i]->fired_at >= log[i]->at);
    }
    test_free(expected);
    test_free(log);
    test_free(tickers);
}

const struct CMUnitTest contract_time[CONTRACT_TESTS_MAX] = {
    cmocka_unit_test(the_clock_never_goes_back),
    cmocka_unit_test(an_instant_has_one_wall_time),
    cmocka_unit_test(the_last_look_at_the_clock),
    cmocka_unit_test(random_bits_differ),
    cmocka_unit_test(a_turn_ends_at_until_and_waits_no_longer),
    cmocka_unit_test(a_turn_waits_for_the_next_timer),
    cmocka_unit_test(timers_fire_in_order_and_once),
    cmocka_unit_test(setting_moves_and_clearing_stops),
    cmocka_unit_test(a_due_timer_may_be_cleared_by_one_before_it),
    cmocka_unit_test(a_timer_that_sets_itself_for_now_lets_the_turn_end),
    cmocka_unit_test(many_random_timers_agree_with_a_sorted_list),
};
