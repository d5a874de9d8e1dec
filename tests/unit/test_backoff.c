/* test_backoff.c - the retry schedule, its jitter and its end; how long a dead host rests. */
#include "proto/policy/backoff.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MINUTE (60 * NSEC_PER_S)
#define HOUR   (60 * MINUTE)

static const nsec delays[] = {10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR};
static const struct backoff_schedule schedule = {delays, countof(delays), 72 * HOUR};

static void each_deferral_has_its_delay_and_the_last_repeats(void **state)
{
    (void)state;
    static const nsec want[] = {10 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 4 * HOUR, 4 * HOUR};
    nsec now = 1000 * HOUR;
    for (uint32_t deferrals = 0; deferrals < countof(want); deferrals++) {
        nsec least = NSEC_NEVER, most = 0;
        for (uint64_t i = 0; i < 2000; i++) {
            struct backoff_next next = backoff_retry(&schedule, deferrals, now, now, i * 0x9e3779b97f4a7c15u);
            assert_int_equal(next.result, BACKOFF_RETRY);
            nsec wait = next.due - now;
            assert_true(wait >= want[deferrals] / 10 * 8 && wait <= want[deferrals] / 10 * 12);
            least = nsec_min(least, wait);
            most = nsec_max(most, wait);
        }
        /* The jitter uses its whole width. */
        assert_true(least < want[deferrals] / 100 * 81 && most > want[deferrals] / 100 * 119);
    }
    assert_int_equal(backoff_retry(&schedule, UINT32_MAX, now, now, 0).result, BACKOFF_RETRY);
}

static void the_jitter_reaches_both_edges(void **state)
{
    (void)state;
    nsec fifth = delays[0] / 5;
    assert_int_equal(backoff_retry(&schedule, 1, 0, 0, 0).due, delays[0] - fifth);
    assert_int_equal(backoff_retry(&schedule, 1, 0, 0, (uint64_t)(2 * fifth)).due, delays[0] + fifth);
    assert_int_equal(backoff_retry(&schedule, 1, 0, 0, (uint64_t)(2 * fifth) + 1).due, delays[0] - fifth);
}

static void it_expires_when_nothing_would_come_in_time(void **state)
{
    (void)state;
    nsec first = 500 * HOUR, fifth = delays[4] / 5, shortest = delays[4] - fifth;
    nsec last = first + schedule.expire - shortest;
    struct backoff_next next = backoff_retry(&schedule, 9, first, last, 0);
    assert_int_equal(next.result, BACKOFF_RETRY);
    assert_int_equal(next.due, first + schedule.expire);
    assert_int_equal(backoff_retry(&schedule, 9, first, last + 1, 0).result, BACKOFF_EXPIRED);
    assert_int_equal(backoff_retry(&schedule, 9, first, first + schedule.expire, 0).result, BACKOFF_EXPIRED);
    assert_int_equal(backoff_retry(&schedule, 1, first, first + 1000 * HOUR, 0).result, BACKOFF_EXPIRED);
}

static void a_whole_life_is_bounded(void **state)
{
    (void)state;
    nsec first = 1, now = first;
    uint32_t attempts = 1;
    for (;; attempts++) {
        assert_true(attempts < 100);
        struct backoff_next next = backoff_retry(&schedule, attempts, first, now, attempts * 0xdeadbeefu);
        if (next.result == BACKOFF_EXPIRED)
            break;
        assert_true(next.due > now && next.due <= first + schedule.expire);
        now = next.due;
    }
    assert_true(attempts >= 17 && attempts <= 27); /* 72 h in steps of 4 h +-20 %, and the four before */
    assert_true(now > first + schedule.expire - 5 * HOUR);
}

static void a_clock_that_jumped_back_does_no_harm(void **state)
{
    (void)state;
    struct backoff_next next = backoff_retry(&schedule, 1, 100 * HOUR, HOUR, 0);
    assert_int_equal(next.result, BACKOFF_RETRY);
    assert_int_equal(next.due, HOUR + 8 * MINUTE);
}

static void tiny_delays_stay_positive(void **state)
{
    (void)state;
    static const nsec one[] = {1};
    struct backoff_schedule tiny = {one, 1, 10};
    assert_int_equal(backoff_retry(&tiny, 1, 0, 5, UINT64_MAX).due, 6);
}

static void a_dead_host_rests_a_minute_doubling_to_an_hour(void **state)
{
    (void)state;
    static const nsec minutes[] = {0, 1, 2, 4, 8, 16, 32, 60, 60, 60};
    for (unsigned i = 0; i < countof(minutes); i++)
        assert_int_equal(backoff_dead_host(i), minutes[i] * MINUTE);
    assert_int_equal(backoff_dead_host(UINT32_MAX), HOUR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_deferral_has_its_delay_and_the_last_repeats),
        cmocka_unit_test(the_jitter_reaches_both_edges),
        cmocka_unit_test(it_expires_when_nothing_would_come_in_time),
        cmocka_unit_test(a_whole_life_is_bounded),
        cmocka_unit_test(a_clock_that_jumped_back_does_no_harm),
        cmocka_unit_test(tiny_delays_stay_positive),
        cmocka_unit_test(a_dead_host_rests_a_minute_doubling_to_an_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
