/* test_adapt.c - the states of adapt.h: tables of what is said and what follows, and what must hold whatever is said.
 */
#include "proto/policy/adapt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define S   NSEC_PER_S
#define MIN (60 * S)
#define H   (60 * MIN)

static const struct adapt_limits limits = {.on = true,
                                           .interval = 10 * MIN,
                                           .step = 10,
                                           .floor = 5,
                                           .settle = MIN,
                                           .silence = 10 * MIN,
                                           .pause = 30 * MIN,
                                           .pause_max = 4 * H,
                                           .hold = 4 * H,
                                           .shut_out = 4 * H,
                                           .shut_out_max = 24 * H,
                                           .fewer_for = H};
enum { CONNECTIONS = 6 };

static bool say_at(struct adapt *a, enum adapt_what what, nsec wait, nsec started, nsec now)
{
    struct adapt_ask ask = {.what = what, .wait = wait, .factor = 50};
    struct adapt_lane lane = {
        .connections = CONNECTIONS, .open = CONNECTIONS, .rate = 1200, .has_rate = true, .started = started};
    return adapt_asked(a, &limits, &ask, &lane, now);
}

static bool say(struct adapt *a, enum adapt_what what, nsec wait, nsec now)
{
    return say_at(a, what, wait, now - S, now);
}

static bool accept(struct adapt *a, nsec now) { return adapt_accepted(a, &limits, CONNECTIONS, now); }

static bool tick(struct adapt *a, nsec now) { return adapt_tick(a, &limits, CONNECTIONS, 0, now); }

/* Google's law, to the nanosecond. */
static void googles_law(void **unused)
{
    struct adapt a;
    nsec now = 100 * S;
    (void)unused;
    adapt_init(&a);
    assert_true(say(&a, ADAPT_PROBE, 0, now));
    assert_int_equal(adapt_effect(&a).silent_until, now + 10 * MIN);
    /* The last message that was on its way is over 3 s later, and the last connection 2 s behind it. */
    assert_true(say_at(&a, ADAPT_PROBE, 0, now - 5 * S, now + 3 * S));
    assert_true(adapt_ended(&a, now + 5 * S));
    nsec until = now + 5 * S + 10 * MIN;
    assert_int_equal(adapt_effect(&a).silent_until, until);
    assert_int_equal(a.times, 1);
    assert_false(tick(&a, until - 1));
    assert_true(tick(&a, until));
    assert_int_equal(a.mode, ADAPT_PROBING);
    struct adapt_effect effect = adapt_effect(&a);
    assert_true(effect.one_message && effect.sessions == 1 && !effect.silent_until && effect.percent == 100);
    /* Refused: ten more, not twenty. */
    now = until + 2 * S;
    assert_true(say(&a, ADAPT_PROBE, 0, now));
    assert_int_equal(adapt_effect(&a).silent_until, now + 10 * MIN);
    now += 10 * MIN;
    assert_true(tick(&a, now));
    for (unsigned sessions = 2; sessions < CONNECTIONS; sessions++) {
        assert_int_equal(adapt_effect(&a).sessions, sessions - 1);
        assert_true(accept(&a, now += S));
        assert_int_equal(adapt_effect(&a).sessions, sessions);
        assert_false(adapt_effect(&a).one_message);
    }
    assert_true(accept(&a, now += S));
    assert_int_equal(a.mode, ADAPT_OPEN);
    assert_int_equal(adapt_effect(&a).sessions, 0);
    assert_false(accept(&a, now += S));
    assert_int_equal(a.percent, 100); /* the law says nothing of rates */
}

static void silences_have_their_lengths(void **unused)
{
    static const struct {
        enum adapt_what what;
        nsec wait, lengths[5];
    } cases[] = {
        {ADAPT_PROBE, 0, {10 * MIN, 10 * MIN, 10 * MIN, 10 * MIN, 10 * MIN}},
        {ADAPT_PROBE, MIN, {10 * MIN, 10 * MIN, 10 * MIN, 10 * MIN, 10 * MIN}}, /* never less */
        {ADAPT_PROBE, 25 * MIN, {25 * MIN, 25 * MIN, 25 * MIN, 25 * MIN, 25 * MIN}},
        {ADAPT_PAUSE, 0, {30 * MIN, H, 2 * H, 4 * H, 4 * H}},
        {ADAPT_PAUSE, 2 * H, {2 * H, 4 * H, 4 * H, 4 * H, 4 * H}},
        {ADAPT_HOLD, 0, {4 * H, 4 * H, 4 * H, 4 * H, 4 * H}},
        {ADAPT_SHUT_OUT, 0, {4 * H, 8 * H, 24 * H, 24 * H, 24 * H}},
    };
    (void)unused;
    for (size_t i = 0; i < countof(cases); i++) {
        struct adapt a;
        nsec now = S;
        adapt_init(&a);
        for (unsigned j = 0; j < 5; j++) {
            assert_true(say(&a, cases[i].what, cases[i].wait, now));
            assert_int_equal(a.until - now, cases[i].lengths[j]);
            now = a.until;
            assert_true(tick(&a, now));
            now += S;
        }
        /* Accepted, and good for as long as it was silent: the next trouble is a first one. */
        for (unsigned j = 0; j < CONNECTIONS; j++)
            accept(&a, now);
        assert_int_equal(a.mode, ADAPT_OPEN);
        nsec good = cases[i].lengths[4] > limits.interval ? cases[i].lengths[4] : limits.interval;
        assert_false(tick(&a, now + good - 1));
        assert_true(tick(&a, now + good));
        assert_true(adapt_is_idle(&a, now + good));
        assert_true(say(&a, cases[i].what, cases[i].wait, now + good + S));
        assert_int_equal(a.wait, cases[i].lengths[0]);
    }
}

/* Whatever the rule, who asks and is refused is silent again; who is told of one recipient is not. */
static void a_probe_that_is_turned_away(void **unused)
{
    struct adapt a;
    (void)unused;
    adapt_init(&a);
    assert_false(say(&a, ADAPT_REFUSED, 0, S)); /* means nothing while all is well */
    assert_int_equal(a.mode, ADAPT_OPEN);
    say(&a, ADAPT_PAUSE, 0, S);
    tick(&a, a.until);
    nsec now = a.until + S;
    assert_false(adapt_ended(&a, now)); /* no such mailbox, say */
    assert_int_equal(a.mode, ADAPT_PROBING);
    assert_true(say(&a, ADAPT_REFUSED, 0, now));
    assert_int_equal(a.until - now, H);
    tick(&a, a.until);
    assert_true(say(&a, ADAPT_SLOW, 0, now = a.until + S)); /* "slower" to the only one there is */
    assert_int_equal(a.until - now, 2 * H);
    /* A block is graver than a pause, and what was told in the silence is not told twice. */
    assert_true(say(&a, ADAPT_SHUT_OUT, 0, now + S));
    assert_int_equal(a.until - now - S, 4 * H);
    assert_int_equal(a.cause, ADAPT_SHUT_OUT);
    say(&a, ADAPT_PAUSE, 0, now + 2 * S);
    assert_int_equal(a.cause, ADAPT_SHUT_OUT);
    assert_int_equal(a.until - now - 2 * S, 4 * H);
    assert_int_equal(a.former, CONNECTIONS);
}

/* Ten replies to what was on its way together are one; what started later is another, but not within `settle`. */
static void a_rate_falls_once_a_burst(void **unused)
{
    struct adapt a;
    nsec now = 1000 * S;
    (void)unused;
    adapt_init(&a);
    assert_true(say_at(&a, ADAPT_SLOW, 0, now - S, now));
    assert_int_equal(a.percent, 50);
    for (unsigned i = 1; i < 10; i++)
        assert_false(say_at(&a, ADAPT_SLOW, 0, now, now + (nsec)i * 20 * S));
    assert_false(say_at(&a, ADAPT_SLOW, 0, now + 1, now + MIN - 1));
    assert_true(say_at(&a, ADAPT_SLOW, 0, now + 1, now + MIN));
    assert_int_equal(a.percent, 25);
    for (unsigned i = 2; i < 20; i++)
        say_at(&a, ADAPT_SLOW, 0, now + (nsec)i * MIN, now + (nsec)i * MIN + S);
    assert_int_equal(a.percent, limits.floor);
}

static void it_rises_by_steps(void **unused)
{
    struct adapt a;
    nsec now = 1000 * S;
    (void)unused;
    adapt_init(&a);
    say(&a, ADAPT_SLOW, 0, now);            /* 50, too fast was 100 */
    assert_false(tick(&a, now + 10 * MIN)); /* nothing was accepted */
    accept(&a, now + 11 * MIN);
    assert_true(tick(&a, now += 11 * MIN));
    assert_int_equal(a.percent, 60);
    accept(&a, now + S);
    assert_false(tick(&a, now + 10 * MIN - 1));
    static const unsigned steps[] = {70, 80, 90, 95, 97, 98, 99, 100};
    for (size_t i = 0; i < countof(steps); i++) {
        accept(&a, now + S);
        assert_true(tick(&a, now += 10 * MIN));
        assert_int_equal(a.percent, steps[i]);
    }
    assert_true(adapt_is_idle(&a, now));
}

static void a_lane_without_a_rate_learns_one(void **unused)
{
    struct adapt a;
    struct adapt_ask ask = {.what = ADAPT_SLOW, .factor = 50};
    struct adapt_lane lane = {.connections = CONNECTIONS, .rate = 3000, .started = 5 * S};
    nsec now = 6 * S;
    (void)unused;
    adapt_init(&a);
    assert_true(adapt_asked(&a, &limits, &ask, &lane, now));
    assert_int_equal(adapt_effect(&a).rate, 3000);
    assert_int_equal(adapt_effect(&a).percent, 50);
    unsigned intervals = 0;
    while (adapt_effect(&a).rate) {
        accept(&a, now + S);
        assert_true(tick(&a, now += 10 * MIN));
        assert_true(intervals++ < 40);
    }
    assert_true(intervals > 15); /* from a half to four times as much */
    assert_true(adapt_is_idle(&a, now));
}

static void connections_are_halved_for_an_hour(void **unused)
{
    struct adapt a;
    nsec now = 1000 * S;
    (void)unused;
    adapt_init(&a);
    assert_true(say(&a, ADAPT_FEWER, 0, now));
    assert_int_equal(adapt_effect(&a).sessions, 3);
    assert_int_equal(adapt_effect(&a).percent, 100);
    assert_false(say_at(&a, ADAPT_FEWER, 0, now, now + S)); /* begun before */
    assert_true(say_at(&a, ADAPT_FEWER, 0, now + S, now + 2 * S));
    assert_int_equal(adapt_effect(&a).sessions, 1);
    assert_true(say_at(&a, ADAPT_FEWER, 0, now + 3 * S, now + 4 * S));
    assert_int_equal(adapt_effect(&a).sessions, 1); /* never none */
    now += 4 * S;
    assert_false(tick(&a, now + H - 1));
    for (unsigned n = 2; n < CONNECTIONS; n++) {
        assert_true(tick(&a, now + H + (nsec)(n - 2) * 10 * MIN));
        assert_int_equal(adapt_effect(&a).sessions, n);
    }
    assert_true(tick(&a, now + H + (nsec)(CONNECTIONS - 2) * 10 * MIN));
    assert_int_equal(adapt_effect(&a).sessions, 0);
    assert_true(adapt_is_idle(&a, now + 10 * H));
}

static void messages_per_connection_are_learned(void **unused)
{
    struct adapt a;
    (void)unused;
    adapt_init(&a);
    assert_false(adapt_closed(&a, 20, S));
    assert_false(adapt_closed(&a, 20, S));
    assert_false(adapt_closed(&a, 0, S)); /* one that carried more */
    assert_false(adapt_closed(&a, 20, S));
    assert_false(adapt_closed(&a, 20, S));
    assert_true(adapt_closed(&a, 20, S));
    assert_int_equal(adapt_effect(&a).per_connection, 20);
    struct adapt_ask ask = {.what = ADAPT_LEARN, .messages = 7};
    struct adapt_lane lane = {.connections = CONNECTIONS};
    assert_true(adapt_asked(&a, &limits, &ask, &lane, 2 * S));
    assert_int_equal(adapt_effect(&a).per_connection, 7);
    ask.messages = 9;
    assert_false(adapt_asked(&a, &limits, &ask, &lane, 3 * S));
    assert_int_equal(a.mode, ADAPT_OPEN);
    assert_int_equal(a.percent, 100); /* no penalty */
    assert_true(tick(&a, 8 * 24 * H));
    assert_true(adapt_is_idle(&a, 8 * 24 * H));
}

static void off_is_off(void **unused)
{
    struct adapt a;
    struct adapt_limits off = limits;
    off.on = false;
    (void)unused;
    for (enum adapt_what what = ADAPT_SLOW; what < ADAPT_WHAT_COUNT; what++) {
        struct adapt_ask ask = {.what = what, .messages = 1};
        struct adapt_lane lane = {.connections = 1};
        adapt_init(&a);
        assert_false(adapt_asked(&a, &off, &ask, &lane, S));
        assert_true(adapt_is_idle(&a, S));
    }
}

/* ---- whatever is said ---- */

static uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void same_state(const struct adapt *a, const struct adapt *b)
{
    struct adapt_effect x = adapt_effect(a), y = adapt_effect(b);
    assert_int_equal(a->mode, b->mode);
    assert_int_equal(a->cause, b->cause);
    assert_int_equal(a->times, b->times);
    assert_true(x.silent_until - y.silent_until < NSEC_PER_MS && y.silent_until - x.silent_until < NSEC_PER_MS);
    assert_true(y.silent_until >= x.silent_until); /* rounded up */
    assert_true(x.one_message == y.one_message && x.percent == y.percent && x.sessions == y.sessions &&
                x.rate == y.rate && x.per_connection == y.per_connection);
}

static void whatever_is_said(void **unused)
{
    enum { HISTORIES = 300, WORDS = 400 };
    uint64_t random = 20261122, seen[ADAPT_MODE_COUNT] = {0};
    (void)unused;
    for (unsigned h = 0; h < HISTORIES; h++) {
        struct adapt a, kept;
        nsec now = 100 * S, heard = 0, silent = 0;
        adapt_init(&a);
        for (unsigned i = 0; i < WORDS; i++) {
            now += (nsec)(random_next(&random) % (uint64_t)(8 * MIN)) >> (random_next(&random) % 12);
            if (random_next(&random) % 16 == 0)
                now += (nsec)(random_next(&random) % (uint64_t)(30 * H));
            if (a.mode == ADAPT_SILENT && now >= a.until)
                assert_true(now - heard >= 10 * MIN); /* its length from the last sign of us */
            enum adapt_mode before = a.mode == ADAPT_SILENT && now >= a.until ? ADAPT_PROBING : a.mode;
            unsigned percent = a.percent, sessions = a.mode == ADAPT_OPEN ? CONNECTIONS : a.sessions;
            switch (random_next(&random) % 8) {
            case 0:
                say_at(&a, ADAPT_SLOW + (enum adapt_what)(random_next(&random) % (ADAPT_WHAT_COUNT - 1)), 0,
                       now - (nsec)(random_next(&random) % (uint64_t)MIN), now);
                break;
            case 1:
                adapt_ended(&a, now);
                break;
            case 2:
            case 3:
                tick(&a, now);
                break;
            default:
                accept(&a, now);
            }
            if (before == ADAPT_SILENT && a.mode == ADAPT_SILENT && a.until != silent)
                heard = now;
            if (before != ADAPT_SILENT && a.mode == ADAPT_SILENT)
                heard = now;
            if (before == ADAPT_SILENT)
                assert_int_equal(a.mode, ADAPT_SILENT);
            if (a.mode == ADAPT_RETURNING)
                assert_true(a.sessions <= sessions + 1);
            silent = a.until;
            assert_in_range(a.percent, limits.floor, 100);
            assert_true(a.percent <= percent + limits.step);
            struct adapt_effect effect = adapt_effect(&a);
            assert_true(effect.sessions <= CONNECTIONS);
            if (a.mode == ADAPT_SILENT || a.mode == ADAPT_PROBING)
                assert_true(effect.sessions == 1 && effect.one_message);
            seen[a.mode]++;
            char text[ADAPT_TEXT];
            size_t n = adapt_write(&a, now, now + 777 * S, text, sizeof text);
            assert_true(adapt_read(&kept, (struct slice){text, n}, now, now + 777 * S));
            same_state(&a, &kept);
        }
    }
    for (enum adapt_mode mode = ADAPT_OPEN; mode < ADAPT_MODE_COUNT; mode++)
        assert_true(seen[mode] > 100);
}

static void texts_that_are_none(void **unused)
{
    static const char *const texts[] = {"",
                                        "1",
                                        "2 1 0 0 0 0 0 0 0 100 0 0 0 0 0 0 0 0 0",
                                        "1 2 0 0 0 0 0 0 0 100 0 0 0 0 0 0 0 0 0",
                                        "1 9 0 0 0 0 0 0 0 100 0 0 0 0 0 0 0 0 0",
                                        "1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
                                        "1 1 0 0 0 0 0 0 0 101 0 0 0 0 0 0 0 0 0",
                                        "1 1 0 0 0 0 0 0 0 100 0 0 0 0 0 0 0 0 0 0",
                                        "1 1 0 0 0 0 0 0 0 100 0 0 0 0 0 0 0 0 -1",
                                        "x"};
    struct adapt a;
    (void)unused;
    for (size_t i = 0; i < countof(texts); i++) {
        assert_false(adapt_read(&a, slice_of(texts[i]), S, S));
        assert_int_equal(a.mode, ADAPT_OPEN);
    }
    assert_true(adapt_read(&a, SLICE("1 1 0 0 0 0 0 0 0 100 0 0 0 0 0 0 0 0 0"), S, S));
}

/* A clock that was set back while nobody looked: the silence is no longer than it was to be. */
static void a_clock_that_was_moved(void **unused)
{
    struct adapt a, kept;
    char text[ADAPT_TEXT];
    (void)unused;
    adapt_init(&a);
    say(&a, ADAPT_PROBE, 0, 50 * S);
    size_t n = adapt_write(&a, 50 * S, 1000 * H, text, sizeof text);
    assert_true(adapt_read(&kept, (struct slice){text, n}, 7 * S, 900 * H));
    assert_int_equal(kept.until, 7 * S + 10 * MIN);
    assert_true(adapt_read(&kept, (struct slice){text, n}, 7 * S, 1000 * H + 4 * MIN));
    assert_int_equal(kept.until, 7 * S + 6 * MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(googles_law),
        cmocka_unit_test(silences_have_their_lengths),
        cmocka_unit_test(a_probe_that_is_turned_away),
        cmocka_unit_test(a_rate_falls_once_a_burst),
        cmocka_unit_test(it_rises_by_steps),
        cmocka_unit_test(a_lane_without_a_rate_learns_one),
        cmocka_unit_test(connections_are_halved_for_an_hour),
        cmocka_unit_test(messages_per_connection_are_learned),
        cmocka_unit_test(off_is_off),
        cmocka_unit_test(whatever_is_said),
        cmocka_unit_test(texts_that_are_none),
        cmocka_unit_test(a_clock_that_was_moved),
    };
    return cmocka_run_group_tests_name("adapt", tests, NULL, NULL);
}
