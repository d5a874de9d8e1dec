/* test_throttle.c - the guarantee of throttle.h, checked over every window of random histories. */
#include "proto/policy/throttle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t seed_of_run(void)
{
    const char *text = getenv("SLUICE_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 20261121;
    print_message("seed %llu\n", (unsigned long long)seed);
    return seed;
}

static void interval_is_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(throttle_interval(0, NSEC_PER_S), 0);
    assert_int_equal(throttle_interval(1, NSEC_PER_S), NSEC_PER_S);
    assert_int_equal(throttle_interval(3, NSEC_PER_S), 333333334);
    assert_int_equal(throttle_interval(500, 60 * NSEC_PER_S), 120 * NSEC_PER_MS);
    assert_int_equal(throttle_interval(UINT64_MAX, 1), 1);
    assert_int_equal(throttle_interval(7, 1), 1);
}

static void a_lane_begins_empty(void **state)
{
    (void)state;
    struct throttle t;
    throttle_init(&t, NSEC_PER_S, 3, 1000);
    assert_int_equal(throttle_ready_at(&t, 1000), 1000 + NSEC_PER_S);
    /* After a burst's worth of waiting, exactly a burst goes at one instant. */
    nsec now = 1000 + 3 * NSEC_PER_S;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(throttle_ready_at(&t, now), now);
        throttle_take(&t, now);
    }
    assert_int_equal(throttle_ready_at(&t, now), now + NSEC_PER_S);
    /* However long it waits, no more than a burst. */
    now += 1000 * NSEC_PER_S;
    for (int i = 0; i < 3; i++)
        throttle_take(&t, now);
    assert_int_equal(throttle_ready_at(&t, now), now + NSEC_PER_S);
}

static void a_rate_of_zero_is_no_limit(void **state)
{
    (void)state;
    struct throttle t;
    throttle_init(&t, throttle_interval(0, NSEC_PER_S), 1, 77);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(throttle_ready_at(&t, 77), 77);
        throttle_take(&t, 77);
    }
}

static void a_burst_that_cannot_be_earned_is_lowered(void **state)
{
    (void)state;
    struct throttle t;
    throttle_init(&t, 24 * 3600 * NSEC_PER_S, UINT32_MAX, 0);
    assert_true(t.burst >= 1 && t.burst < UINT32_MAX);
    assert_int_equal(throttle_ready_at(&t, 0), 24 * 3600 * NSEC_PER_S);
    throttle_init(&t, NSEC_PER_S, 0, 0);
    assert_int_equal(t.burst, 1);
}

enum { STARTS_MAX = 600, CHANGES_MAX = 4 };

/* One history: what was started when, and under which limits. */
struct history {
    unsigned count;
    nsec at[STARTS_MAX];
    unsigned changes;
    nsec changed_at[CHANGES_MAX];        /* limits [i] hold from here to the next */
    struct throttle limits[CHANGES_MAX]; /* interval_ns and burst are read */
};

/* Starts allowed by the rates alone between a and b, rounded down, in 128 bits: the sum of (time / interval) over the
 * limits that held, as a fraction of the product of the intervals is too large, so each part is kept in 2^-40ths,
 * rounded up: looser than the truth by less than 2^-36 starts. */
static uint64_t rate_allows(const struct history *h, nsec a, nsec b)
{
    unsigned __int128 sum = 0;
    for (unsigned i = 0; i < h->changes; i++) {
        nsec from = nsec_max(a, h->changed_at[i]);
        nsec to = i + 1 < h->changes ? nsec_min(b, h->changed_at[i + 1]) : b;
        if (from >= to)
            continue;
        unsigned __int128 part = (unsigned __int128)(to - from) << 40;
        unsigned __int128 interval = (unsigned __int128)h->limits[i].interval_ns;
        sum += part / interval + (h->changes > 1 && part % interval != 0);
    }
    return (uint64_t)(sum >> 40);
}

/* The largest burst of the limits that held at some instant of [a, b]. */
static uint32_t burst_of(const struct history *h, nsec a, nsec b)
{
    uint32_t burst = 0;
    for (unsigned i = 0; i < h->changes; i++) {
        bool over = i + 1 < h->changes && h->changed_at[i + 1] < a;
        if (!over && h->changed_at[i] <= b && h->limits[i].burst > burst)
            burst = h->limits[i].burst;
    }
    return burst;
}

static void assert_every_window(const struct history *h)
{
    for (unsigned i = 0; i < h->count; i++)
        for (unsigned j = i; j < h->count; j++) {
            uint64_t starts = j - i + 1;
            uint64_t allowed = burst_of(h, h->at[i], h->at[j]) + rate_allows(h, h->at[i], h->at[j]);
            if (starts > allowed)
                fail_msg("%llu starts in [%lld, %lld], %llu allowed", (unsigned long long)starts, (long long)h->at[i],
                         (long long)h->at[j], (unsigned long long)allowed);
        }
}

static nsec random_interval(uint64_t *random)
{
    static const nsec periods[] = {NSEC_PER_S, 60 * NSEC_PER_S, 3600 * NSEC_PER_S};
    return throttle_interval(1 + random_next(random) % 5000, periods[random_next(random) % countof(periods)]);
}

/* Runs on to `until` or until the history is full. Demand comes and goes: sometimes the lane is asked at the first
 * moment it may start, sometimes a while later. */
static nsec run(struct history *h, struct throttle *t, nsec now, nsec until, uint64_t *random)
{
    while (h->count < STARTS_MAX) {
        if (random_next(random) % 8 == 0)
            now += (nsec)(random_next(random) % (uint64_t)(3 * t->interval_ns + 1));
        nsec ready = throttle_ready_at(t, now);
        assert_true(ready >= now);
        if (ready > now)
            assert_true(throttle_ready_at(t, ready - 1) == ready);
        if (ready >= until)
            return nsec_max(now, until);
        now = ready;
        throttle_take(t, now);
        h->at[h->count++] = now;
    }
    return now;
}

static void the_guarantee_holds_over_all_windows(void **state)
{
    (void)state;
    uint64_t random = seed_of_run();
    for (int round = 0; round < 200; round++) {
        static struct history h;
        h = (struct history){.changes = 1};
        struct throttle t;
        nsec start = (nsec)(random_next(&random) % 1000000000000u);
        throttle_init(&t, random_interval(&random), 1 + (uint32_t)(random_next(&random) % 20), start);
        h.changed_at[0] = start;
        h.limits[0] = t;
        run(&h, &t, start, NSEC_NEVER, &random);
        assert_int_equal(h.count, STARTS_MAX);
        assert_every_window(&h);
    }
}

/* A restart forgets the throttle; the new one must keep the guarantee together with the starts of the old. */
static void the_guarantee_spans_a_restart(void **state)
{
    (void)state;
    uint64_t random = seed_of_run();
    for (int round = 0; round < 100; round++) {
        static struct history h;
        h = (struct history){.changes = 1};
        struct throttle t;
        nsec interval = random_interval(&random);
        uint32_t burst = 1 + (uint32_t)(random_next(&random) % 20);
        throttle_init(&t, interval, burst, 0);
        h.limits[0] = t;
        nsec now = 0;
        while (h.count < STARTS_MAX) {
            nsec life = interval * (nsec)(1 + random_next(&random) % 100);
            now = run(&h, &t, now, now + life, &random);
            if (h.count)
                now = nsec_max(now, h.at[h.count - 1]); /* killed right behind its last start, at worst */
            throttle_init(&t, interval, burst, now);
        }
        assert_every_window(&h);
    }
}

static void the_guarantee_spans_changes(void **state)
{
    (void)state;
    uint64_t random = seed_of_run();
    for (int round = 0; round < 200; round++) {
        static struct history h;
        h = (struct history){0};
        struct throttle t;
        throttle_init(&t, random_interval(&random), 1 + (uint32_t)(random_next(&random) % 20), 0);
        nsec now = 0;
        for (unsigned i = 0; i < CHANGES_MAX; i++) {
            if (i > 0) {
                nsec interval = random_next(&random) % 4 == 0 ? t.interval_ns : random_interval(&random);
                throttle_change(&t, interval, 1 + (uint32_t)(random_next(&random) % 20), now);
            }
            h.changed_at[i] = now;
            h.limits[i] = t;
            h.changes = i + 1;
            now = run(&h, &t, now, now + t.interval_ns * (nsec)(1 + random_next(&random) % 150), &random);
        }
        assert_every_window(&h);
    }
}

static void an_unchanged_limit_changes_nothing(void **state)
{
    (void)state;
    struct throttle t;
    throttle_init(&t, NSEC_PER_S, 4, 0);
    throttle_take(&t, 5 * NSEC_PER_S);
    struct throttle before = t;
    for (int i = 0; i < 100; i++)
        throttle_change(&t, NSEC_PER_S, 4, 5 * NSEC_PER_S + i);
    assert_int_equal(t.paid_until, before.paid_until);
    assert_int_equal(t.burst, before.burst);
}

static void a_change_to_and_from_no_limit(void **state)
{
    (void)state;
    struct throttle t;
    throttle_init(&t, NSEC_PER_S, 2, 0);
    throttle_change(&t, 0, 2, 10);
    assert_int_equal(throttle_ready_at(&t, 10), 10);
    throttle_take(&t, 10);
    throttle_change(&t, NSEC_PER_S, 2, 20);
    assert_int_equal(throttle_ready_at(&t, 20), 20 + NSEC_PER_S);
}

static void under_demand_the_rate_is_reached(void **state)
{
    (void)state;
    uint64_t random = seed_of_run();
    for (int round = 0; round < 100; round++) {
        struct throttle t;
        nsec interval = random_interval(&random);
        throttle_init(&t, interval, 1 + (uint32_t)(random_next(&random) % 20), 0);
        uint64_t starts = 0;
        nsec end = 1000 * interval;
        for (nsec now = throttle_ready_at(&t, 0); now <= end; now = throttle_ready_at(&t, now), starts++)
            throttle_take(&t, now);
        assert_true(starts >= 990);
        assert_true(starts <= 1000);
    }
}

static void shares_add_up(void **state)
{
    (void)state;
    uint64_t random = seed_of_run();
    for (int round = 0; round < 2000; round++) {
        unsigned shards = 1 + (unsigned)(random_next(&random) % 64);
        struct throttle_limits lane = {
            .connections = (uint32_t)(random_next(&random) % 200),
            .burst = 1 + (uint32_t)(random_next(&random) % 200),
            .interval_ns = random_next(&random) % 4 == 0 ? 0 : random_interval(&random),
        };
        bool fits = lane.connections >= shards && (lane.interval_ns == 0 || lane.burst >= shards);
        assert_int_equal(throttle_splits(&lane, shards), fits);
        if (!fits)
            continue;
        uint64_t connections = 0, burst = 0;
        for (unsigned shard = 0; shard < shards; shard++) {
            struct throttle_limits share = throttle_share(&lane, shards, shard);
            assert_true(share.connections >= 1 && share.burst >= 1);
            assert_int_equal(share.interval_ns, lane.interval_ns * shards);
            connections += share.connections;
            burst += share.burst;
        }
        assert_int_equal(connections, lane.connections);
        if (lane.interval_ns > 0)
            assert_int_equal(burst, lane.burst);
    }
}

static int by_instant(const void *a, const void *b)
{
    nsec x = *(const nsec *)a, y = *(const nsec *)b;
    return x < y ? -1 : x > y;
}

/* All shares together keep the guarantee of the lane they came from. */
static void shares_keep_the_lane_guarantee(void **state)
{
    (void)state;
    uint64_t random = seed_of_run();
    for (int round = 0; round < 50; round++) {
        static struct history h;
        unsigned shards = 2 + (unsigned)(random_next(&random) % 7);
        struct throttle_limits lane = {
            .connections = shards,
            .burst = shards + (uint32_t)(random_next(&random) % 10),
            .interval_ns = random_interval(&random),
        };
        h = (struct history){.changes = 1, .limits[0] = {.interval_ns = lane.interval_ns, .burst = lane.burst}};
        for (unsigned shard = 0; shard < shards; shard++) {
            struct throttle_limits share = throttle_share(&lane, shards, shard);
            struct throttle t;
            throttle_init(&t, share.interval_ns, share.burst, 0);
            run(&h, &t, 0, 60 * share.interval_ns, &random);
        }
        assert_true(h.count > shards);
        qsort(h.at, h.count, sizeof h.at[0], by_instant);
        assert_every_window(&h);
    }
}

/* Several with shares of one whole, which go from one to another again and again: the starts of all together keep the
 * whole's guarantee, and what one has spent another does not get once more. */
static void shares_that_move_keep_the_whole(void **state)
{
    (void)state;
    uint64_t random = seed_of_run();
    for (int round = 0; round < 50; round++) {
        static struct history h;
        enum { MOST = 4 };
        unsigned held[MOST] = {0}, parts = 1 + (unsigned)(random_next(&random) % 12);
        struct throttle_limits whole = {.burst = parts + (uint32_t)(random_next(&random) % 5),
                                        .interval_ns = random_interval(&random)};
        h = (struct history){.changes = 1, .limits[0] = {.interval_ns = whole.interval_ns, .burst = whole.burst}};
        struct throttle t[MOST];
        nsec now = 0;
        for (unsigned step = 0; step < 400 && h.count < countof(h.at) - 200; step++) {
            now += (nsec)(random_next(&random) % (uint64_t)whole.interval_ns) / 2;
            unsigned i = (unsigned)(random_next(&random) % MOST), free = parts, before = held[i];
            for (unsigned j = 0; j < MOST; j++)
                free -= j == i ? 0 : held[j];
            if (random_next(&random) % 4 == 0) {
                held[i] = (unsigned)(random_next(&random) % (free + 1));
                nsec interval_ns = held[i] ? throttle_part_interval(whole.interval_ns, held[i], parts) : 0;
                uint32_t burst = (uint32_t)((uint64_t)whole.burst * held[i] / parts);
                if (held[i] && !before)
                    throttle_init(&t[i], interval_ns, burst, now);
                else if (held[i])
                    throttle_reshare(&t[i], interval_ns, burst, now);
            }
            while (held[i] && throttle_ready_at(&t[i], now) == now) {
                throttle_take(&t[i], now);
                h.at[h.count++] = now;
            }
        }
        assert_every_window(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interval_is_rounded_up),
        cmocka_unit_test(a_lane_begins_empty),
        cmocka_unit_test(a_rate_of_zero_is_no_limit),
        cmocka_unit_test(a_burst_that_cannot_be_earned_is_lowered),
        cmocka_unit_test(the_guarantee_holds_over_all_windows),
        cmocka_unit_test(the_guarantee_spans_a_restart),
        cmocka_unit_test(the_guarantee_spans_changes),
        cmocka_unit_test(an_unchanged_limit_changes_nothing),
        cmocka_unit_test(a_change_to_and_from_no_limit),
        cmocka_unit_test(under_demand_the_rate_is_reached),
        cmocka_unit_test(shares_add_up),
        cmocka_unit_test(shares_keep_the_lane_guarantee),
        cmocka_unit_test(shares_that_move_keep_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
