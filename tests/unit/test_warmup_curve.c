/* test_warmup_curve.c - curves day by day, the pace within a day, and records as text. */
#include "proto/policy/warmup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "chance.h"
#include "warmup_made.h"

enum { MONDAY = 20000 }; /* any day */

#define DAY (24 * 3600 * NSEC_PER_S)

static struct warmup_record first_day(const struct warmup_plan *plan)
{
    struct warmup_turned turned;
    warmup_turn(plan, NULL, INT64_MIN, MONDAY, &turned);
    return turned.record;
}

/* ---- curves ---- */

static void expect_curve(const struct warmup_plan *plan, const uint64_t *caps, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(warmup_curve(plan, i + 1), caps[i]);
}

static void tables_are_as_written(void **state)
{
    (void)state;
    static const uint64_t caps[] = {50, 50, 100, 500};
    struct warmup_plan plan = plan_of(table_of(caps, 4, WARMUP_HOLD));
    assert_int_equal(plan.stages, 4);
    expect_curve(&plan, (const uint64_t[]){50, 50, 100, 500, 500, 500}, 6);
    plan = plan_of(table_of(caps, 4, WARMUP_THEN_UNLIMITED));
    expect_curve(&plan, (const uint64_t[]){50, 50, 100, 500, WARMUP_UNLIMITED, WARMUP_UNLIMITED}, 6);
    struct warmup_plan on = table_of(caps, 4, WARMUP_CONTINUE);
    on.factor = 2000;
    on.every = 3;
    plan = plan_of(on);
    assert_int_equal(plan.stages, 0);
    expect_curve(&plan, (const uint64_t[]){50, 50, 100, 500, 1000, 1000, 1000, 2000, 2000, 2000, 4000}, 11);
    assert_int_equal(warmup_curve(&plan, 1000000), WARMUP_CAP_MAX);
    on.max = 3000;
    plan = plan_of(on);
    assert_int_equal(plan.stages, 11);
    expect_curve(&plan, (const uint64_t[]){50, 50, 100, 500, 1000, 1000, 1000, 2000, 2000, 2000, 3000, 3000}, 12);
    on.factor = 0;
    on.step = 1000;
    plan = plan_of(on);
    expect_curve(&plan, (const uint64_t[]){50, 50, 100, 500, 1500, 1500, 1500, 2500, 2500, 2500, 3000}, 11);
}

static void hours_are_a_24th_of_a_day(void **state)
{
    (void)state;
    static const uint64_t caps[] = {20, 28};
    struct warmup_plan hourly = table_of(caps, 2, WARMUP_HOLD);
    hourly.per = WARMUP_PER_HOUR;
    struct warmup_plan plan = plan_of(hourly);
    expect_curve(&plan, (const uint64_t[]){480, 672, 672}, 3);
}

/* Against the product itself, which 128 bits hold for this long, and with no rounding on the way. */
static void geometric_caps_are_rounded_down_once(void **state)
{
    (void)state;
    static const unsigned factors[] = {1400, 1500, 1100, 1250, 2000, 1333, 1010};
    for (size_t i = 0; i < countof(factors); i++)
        for (uint64_t start = 1; start < 2000; start = start * 3 + 1) {
            struct warmup_plan plan = plan_of((struct warmup_plan){
                .kind = WARMUP_GEOMETRIC, .start = start, .factor = factors[i], .max = 1000000000});
            unsigned __int128 product = start, whole = 1;
            for (uint32_t stage = 1; stage <= 9 && stage < plan.stages; stage++) {
                assert_int_equal(warmup_curve(&plan, stage), (uint64_t)(product / whole));
                product *= factors[i];
                whole *= 1000;
            }
        }
    /* SendGrid's table is 20 x 1.4^day an hour, to the nearest; a cap is never rounded up. */
    struct warmup_plan plan =
        plan_of((struct warmup_plan){.kind = WARMUP_GEOMETRIC, .start = 20, .factor = 1400, .max = 30000000});
    expect_curve(&plan, (const uint64_t[]){20, 28, 39, 54, 76, 107, 150, 210, 295, 413, 578, 809}, 12);
    assert_int_equal(warmup_curve(&plan, 26), 89997);
    assert_int_equal(warmup_curve(&plan, 42), 19601055);
}

static void formulas_end_at_max(void **state)
{
    (void)state;
    struct warmup_plan plan =
        plan_of((struct warmup_plan){.kind = WARMUP_GEOMETRIC, .start = 100, .factor = 2000, .every = 2, .max = 1000});
    assert_int_equal(plan.stages, 9);
    expect_curve(&plan, (const uint64_t[]){100, 100, 200, 200, 400, 400, 800, 800, 1000, 1000}, 10);
    plan = ten_days(WARMUP_VOLUME, WARMUP_THEN_UNLIMITED);
    assert_int_equal(plan.stages, 10);
    assert_int_equal(warmup_curve(&plan, 10), 1000);
    assert_int_equal(warmup_curve(&plan, 11), WARMUP_UNLIMITED);
}

static void what_is_no_curve_is_refused(void **state)
{
    (void)state;
    static const struct warmup_plan wrong[] = {
        {.kind = WARMUP_TABLE},
        {.kind = WARMUP_TABLE, .cap_count = 2, .caps = {0, 5}},
        {.kind = WARMUP_TABLE, .cap_count = 3, .caps = {5, 10, 9}},
        {.kind = WARMUP_TABLE, .cap_count = 1, .caps = {5}, .factor = 2000},
        {.kind = WARMUP_TABLE, .cap_count = 1, .caps = {5}, .start = 7},
        {.kind = WARMUP_TABLE, .cap_count = 1, .caps = {5}, .then = WARMUP_CONTINUE},
        {.kind = WARMUP_TABLE, .cap_count = 1, .caps = {5}, .then = WARMUP_CONTINUE, .step = 1, .factor = 2000},
        {.kind = WARMUP_TABLE, .cap_count = 1, .caps = {5}, .then = WARMUP_CONTINUE, .step = 1, .max = 5},
        {.kind = WARMUP_TABLE, .cap_count = 1, .caps = {UINT64_MAX}},
        {.kind = WARMUP_GEOMETRIC, .start = 5, .factor = 1000, .max = 10},
        {.kind = WARMUP_GEOMETRIC, .start = 5, .factor = 2000},
        {.kind = WARMUP_GEOMETRIC, .factor = 2000, .max = 10},
        {.kind = WARMUP_GEOMETRIC, .start = 5, .step = 5, .max = 10},
        {.kind = WARMUP_GEOMETRIC, .start = 11, .factor = 2000, .max = 10},
        {.kind = WARMUP_LINEAR, .start = 5, .max = 10},
        {.kind = WARMUP_LINEAR, .start = 5, .step = 5, .max = 10, .then = WARMUP_CONTINUE},
        {.kind = WARMUP_LINEAR, .start = 1, .step = 1, .max = 1000000},
    };
    for (size_t i = 0; i < countof(wrong); i++) {
        struct warmup_plan plan = wrong[i];
        const char *why = NULL;
        plan.then = plan.then ? plan.then : WARMUP_HOLD;
        plan.advance = WARMUP_VOLUME;
        plan.per = WARMUP_PER_DAY;
        plan.gate = WARMUP_GATE_NONE;
        plan.every = plan.catch_up = 1;
        if (warmup_plan_ready(&plan, &why))
            fail_msg("plan %zu was taken", i);
        assert_true(why && why[0]);
    }
}

/* ---- pace ---- */

/* A day of demand without end, from `begins` on: asks when it is due, later by up to `late`, and settles for `margin`
 * less than the day. Returns what was granted; *last: when the last unit was. */
static uint64_t demand(const struct warmup_plan *plan, uint64_t cap, nsec begins, nsec late, nsec margin, nsec *last)
{
    uint64_t granted = 0;
    nsec now = begins;
    while (now < DAY - margin) {
        nsec interval = warmup_pace(plan, DAY, DAY - margin - now, cap, granted);
        uint64_t piece = warmup_piece(interval, 10 * NSEC_PER_S, cap, granted);
        if (piece == 0)
            break;
        /* No faster than catch_up times the even pace, however late it is. */
        assert_true(interval * (nsec)plan->catch_up * (nsec)cap >= DAY);
        granted += piece;
        *last = now;
        assert_true(granted <= cap);
        now += (nsec)piece * interval + (late ? random_below((uint32_t)late) : 0);
    }
    return granted;
}

static void endless_demand_gives_exactly_the_cap(void **state)
{
    (void)state;
    static const uint64_t caps[] = {1,   2,    3,     7,     10,    23,      24,      25,      100,
                                    999, 1000, 86399, 86400, 86401, 1234567, 9999999, 10000000};
    struct warmup_plan plan = ten_days(WARMUP_VOLUME, WARMUP_HOLD);
    nsec last;
    for (size_t i = 0; i < countof(caps) + 300; i++) {
        uint64_t cap = i < countof(caps) ? caps[i] : 1 + random_below(random_below(2) ? 10000000 : 1000);
        assert_int_equal(demand(&plan, cap, 0, 0, 0, &last), cap);
        /* Answers take their time, and the end of the day cannot be used: it still comes to the cap. */
        if (demand(&plan, cap, 0, 2000000000, 5 * NSEC_PER_S, &last) != cap)
            fail_msg("of a cap of %llu not all was granted", (unsigned long long)cap);
        assert_true(last > (nsec)(DAY / cap * (cap - 1)) - DAY / 100 || cap == 1); /* until the end, not before */
    }
}

static void seven_a_day_are_spread(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_VOLUME, WARMUP_HOLD);
    nsec now = 0;
    for (uint64_t granted = 0; granted < 7; granted++) {
        nsec interval = warmup_pace(&plan, DAY, DAY - now, 7, granted);
        assert_int_equal(interval / NSEC_PER_S, DAY / 7 / NSEC_PER_S);
        assert_int_equal(warmup_piece(interval, 10 * NSEC_PER_S, 7, granted), 1);
        now += interval;
    }
    assert_true(now <= DAY && now > DAY - NSEC_PER_S);
    assert_int_equal(warmup_piece(DAY, 10 * NSEC_PER_S, 7, 7), 0);
}

static void a_late_start_is_no_burst(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_VOLUME, WARMUP_HOLD);
    nsec last;
    assert_int_equal(demand(&plan, 100000, DAY / 2, 0, 0, &last), 100000); /* twice as fast */
    uint64_t granted = demand(&plan, 100000, DAY / 10 * 9, 0, 0, &last);
    assert_true(granted <= 40000 + 100 && granted > 39900); /* four times, and no more */
    plan.catch_up = 1;
    granted = demand(&plan, 100000, DAY / 2, 0, 0, &last);
    assert_true(granted <= 50000 + 100 && granted > 49900);
    assert_int_equal(demand(&plan, 1000, 0, 0, 0, &last), 1000);
}

/* An hour's cap is one on the day of 23 hours too, and in any hour: what a piece has besides is ten seconds' worth. */
static void hours_keep_their_cap(void **state)
{
    (void)state;
    struct warmup_plan hourly = table_of((const uint64_t[]){360}, 1, WARMUP_HOLD);
    hourly.per = WARMUP_PER_HOUR;
    struct warmup_plan plan = plan_of(hourly);
    plan.catch_up = 1;
    uint64_t cap = warmup_curve(&plan, 1);
    nsec hour = DAY / 24;
    assert_int_equal(warmup_pace(&plan, DAY, DAY, cap, 0), hour / 360);
    assert_int_equal(warmup_pace(&plan, 23 * hour, 23 * hour, cap, 0), hour / 360);
    assert_int_equal(warmup_pace(&plan, 23 * hour, hour, cap, 0), hour / 360);
    assert_true(warmup_pace(&plan, 25 * hour, 25 * hour, cap, 0) > hour / 360);
    assert_int_equal(warmup_pace(&plan, 24 * NSEC_PER_S, 24 * NSEC_PER_S, cap, 0), NSEC_PER_S / 360 + 1);
}

static void no_cap_has_no_pace(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_VOLUME, WARMUP_THEN_UNLIMITED);
    assert_int_equal(warmup_pace(&plan, DAY, DAY, WARMUP_UNLIMITED, 1000000), 0);
    assert_true(warmup_piece(0, 10 * NSEC_PER_S, WARMUP_UNLIMITED, 1000000) >= 1000);
}

/* ---- records ---- */

static void broken_records_are_none(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_VOLUME, WARMUP_HOLD);
    struct warmup_record record = first_day(&plan), read;
    char text[WARMUP_RECORD_TEXT];
    size_t n = warmup_record_write(text, &record);
    assert_string_equal(text, "1 running 1 20000 0 0 0 0 0 0 0 0 0 0 0 20000 19999 -");
    for (size_t cut = 0; cut < n; cut++)
        assert_false(warmup_record_parse((struct slice){text, cut}, &read));
    static const char *const wrong[] = {"2 running 1 20000 0 0 0 0 0 0 0 0 0 0 0 20000 19999 -",
                                        "1 walking 1 20000 0 0 0 0 0 0 0 0 0 0 0 20000 19999 -",
                                        "1 running 0 20000 0 0 0 0 0 0 0 0 0 0 0 20000 19999 -",
                                        "1 running 1 - 0 0 0 0 0 0 0 0 0 0 0 20000 19999 -",
                                        "1 running 1 20000 0.5 0 0 0 0 0 0 0 0 0 0 20000 19999 -",
                                        "1 running 1 20000 -1 0 0 0 0 0 0 0 0 0 0 20000 19999 -",
                                        "1 running 1 20000 0 1e+15 0 0 0 0 0 0 0 0 0 20000 19999 -",
                                        "1  running 1 20000 0 0 0 0 0 0 0 0 0 0 0 20000 19999 -"};
    for (size_t i = 0; i < countof(wrong); i++)
        assert_false(warmup_record_parse(slice_of(wrong[i]), &read));
}

static void days_are_remembered(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_VOLUME, WARMUP_THEN_UNLIMITED);
    struct warmup_record record = first_day(&plan);
    struct warmup_past past;
    char item[256], all[600];
    record.granted = 95;
    record.today = (struct warmup_counts){90, 1, 2, 3, 4};
    struct warmup_turned turned, next;
    warmup_turn(&plan, &record, INT64_MIN, MONDAY, &turned);
    assert_int_equal(warmup_history_item(item, &plan, &record, &turned), 0);
    warmup_turn(&plan, &record, INT64_MIN, MONDAY + 1, &turned);
    size_t n = warmup_history_item(item, &plan, &record, &turned);
    assert_string_equal(item, "20000:1:100:95:90:1:2:3:4");
    assert_int_equal(n, strlen(item));
    turned.record.stage = 11;
    turned.record.state = WARMUP_DONE;
    warmup_turn(&plan, &turned.record, INT64_MIN, MONDAY + 2, &next);
    memcpy(all + warmup_history_item(all, &plan, &turned.record, &next), " ", 1);
    strcpy(strchr(all, ' ') + 1, item);
    struct slice text = slice_of(all);
    assert_true(warmup_history_next(&text, &past));
    assert_true(past.day == MONDAY + 1 && past.stage == 11 && past.cap == WARMUP_UNLIMITED);
    assert_true(warmup_history_next(&text, &past));
    assert_true(past.day == MONDAY && past.cap == 100 && past.granted == 95 && past.counts.other == 4);
    assert_false(warmup_history_next(&text, &past));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_as_written),
        cmocka_unit_test(hours_are_a_24th_of_a_day),
        cmocka_unit_test(geometric_caps_are_rounded_down_once),
        cmocka_unit_test(formulas_end_at_max),
        cmocka_unit_test(what_is_no_curve_is_refused),
        cmocka_unit_test_setup(endless_demand_gives_exactly_the_cap, chance_begin),
        cmocka_unit_test(seven_a_day_are_spread),
        cmocka_unit_test(a_late_start_is_no_burst),
        cmocka_unit_test(hours_keep_their_cap),
        cmocka_unit_test(no_cap_has_no_pace),
        cmocka_unit_test(broken_records_are_none),
        cmocka_unit_test(days_are_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
