/* The least of all words holds, nothing is ever above the configuration, and taking a word back undoes it alone. */
#include "flow/effective.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct lane lane_with(nsec interval_ns, uint32_t burst, uint32_t connections)
{
    struct lane lane = {.connections = connections, .allowed = connections};
    lane.configured = (struct throttle_limits){.connections = connections, .burst = burst, .interval_ns = interval_ns};
    throttle_init(&lane.throttle, interval_ns, burst, 0);
    return lane;
}

static void the_smaller_one_holds(void **unused)
{
    (void)unused;
    for (unsigned hand = 0; hand <= 100; hand++)
        for (unsigned replies = 0; replies <= 100; replies++) {
            struct lane lane = lane_with(1000, 3, 10);
            enum lane_slower who = LANE_SLOWERS;
            unsigned least = 100;
            effective_slow(&lane, LANE_BY_HAND, hand, 0, 0);
            effective_slow(&lane, LANE_BY_REPLIES, replies, 0, 0);
            least = hand && hand < least ? hand : least;
            least = replies && replies < least ? replies : least;
            assert_int_equal(effective_percent(&lane, &who), least);
            assert_int_equal(lane.throttle.interval_ns, (100000 + least - 1) / least);
            assert_true(lane.throttle.interval_ns >= 1000);
            assert_int_equal(lane.allowed, 10); /* of a lane with a rate the rate is slowed down */
            assert_int_equal(lane.throttle.burst, 3);
            effective_slow(&lane, LANE_BY_HAND, 0, 0, 0);
            assert_int_equal(effective_percent(&lane, &who), replies ? replies : 100);
            effective_slow(&lane, LANE_BY_REPLIES, 0, 0, 0);
            assert_int_equal(lane.throttle.interval_ns, 1000);
        }
}

static void connections_without_a_rate(void **unused)
{
    (void)unused;
    struct lane lane = lane_with(0, 1, 10);
    effective_slow(&lane, LANE_BY_HAND, 55, 0, 0);
    assert_int_equal(lane.allowed, 5);
    effective_slow(&lane, LANE_BY_REPLIES, 0, 3, 0);
    assert_int_equal(lane.allowed, 3);
    effective_slow(&lane, LANE_BY_HAND, 1, 0, 0);
    assert_int_equal(lane.allowed, 1); /* never none */
    assert_int_equal(lane.throttle.interval_ns, 0);
    effective_slow(&lane, LANE_BY_HAND, 0, 0, 0);
    assert_int_equal(lane.allowed, 3);
    effective_slow(&lane, LANE_BY_REPLIES, 0, 30, 0);
    assert_int_equal(lane.allowed, 10); /* never above the configuration */
}

static void another_configuration(void **unused)
{
    (void)unused;
    struct lane lane = lane_with(1000, 1, 10);
    effective_slow(&lane, LANE_BY_HAND, 50, 4, 0);
    assert_int_equal(lane.allowed, 4);
    effective_configure(&lane, &(struct throttle_limits){.connections = 2, .burst = 5, .interval_ns = 300}, 0);
    assert_int_equal(lane.throttle.interval_ns, 600);
    assert_int_equal(lane.throttle.burst, 5);
    assert_int_equal(lane.allowed, 2);
    assert_int_equal(lane.connections, 2);
}

static void huge_intervals(void **unused)
{
    (void)unused;
    for (unsigned shift = 40; shift < 60; shift++)
        for (unsigned percent = 1; percent < 100; percent++) {
            struct lane lane = lane_with((nsec)1 << shift, 1, 1);
            effective_slow(&lane, LANE_BY_HAND, percent, 0, 0);
            assert_true(lane.throttle.interval_ns > (nsec)1 << shift);
            assert_true(lane.throttle.interval_ns <= (nsec)1 << 60);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smaller_one_holds),
        cmocka_unit_test(connections_without_a_rate),
        cmocka_unit_test(another_configuration),
        cmocka_unit_test(huge_intervals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
