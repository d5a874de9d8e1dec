/* The worst interval, against one who looks at every pair of starts. */
#include "proto/policy/audit.h"

#include "proto/policy/throttle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "chance.h"

enum { STARTS = 60 };

static nsec brute(const nsec *starts, unsigned count, nsec interval, uint32_t burst)
{
    nsec worst = INT64_MIN;
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = i; j < count; j++)
            worst = nsec_max(worst, ((nsec)(j - i + 1) - (nsec)burst) * interval - (starts[j] - starts[i]));
    return worst;
}

static void like_one_who_looks_at_all(void **unused)
{
    (void)unused;
    for (unsigned round = 0; round < 20000; round++) {
        nsec starts[STARTS], at = (nsec)random_below(1000);
        unsigned count = 1 + (unsigned)random_below(STARTS);
        nsec interval = 1 + (nsec)random_below(50);
        uint32_t burst = 1 + (uint32_t)random_below(4);
        uint32_t spread = 1 + random_below(100);
        struct audit audit;
        audit_begin(&audit, interval, burst, 0, 0);
        for (unsigned i = 0; i < count; i++) {
            at += (nsec)random_below(spread);
            starts[i] = at;
            audit_start(&audit, at);
            nsec worst = brute(starts, i + 1, interval, burst);
            assert_int_equal(audit.worst.early, worst);
            assert_int_equal(audit_exceeded(&audit), worst > 0);
        }
        const struct audit_window *w = &audit.worst;
        assert_int_equal(((nsec)w->starts - (nsec)burst) * interval - (w->to - w->from), w->early);
        assert_int_equal(w->starts > w->allowed, w->early > 0);
    }
}

/* What throttle.c lets through is never too much, and under demand all of it. */
static void a_throttle_passes(void **unused)
{
    (void)unused;
    for (unsigned round = 0; round < 200; round++) {
        struct throttle throttle;
        struct audit audit;
        nsec now = 1000, interval = 1 + (nsec)random_below(1000000);
        uint32_t burst = 1 + (uint32_t)random_below(20);
        bool demand = round % 2;
        throttle_init(&throttle, interval, burst, now);
        audit_begin(&audit, interval, burst, 0, 0);
        for (unsigned i = 0; i < 2000; i++) {
            if (!demand)
                now += (nsec)random_below((uint32_t)(2 * interval));
            now = throttle_ready_at(&throttle, now);
            throttle_take(&throttle, now);
            audit_start(&audit, now);
        }
        assert_false(audit_exceeded(&audit));
        if (demand)
            assert_in_range(audit_reached(&audit), 990, 1000 + 1000 * burst / 2000 + 1);
    }
}

static void one_start_too_many(void **unused)
{
    (void)unused;
    struct audit audit;
    audit_begin(&audit, 1000, 1, 0, 0);
    for (nsec i = 0; i < 100; i++)
        audit_start(&audit, i * 1000);
    assert_false(audit_exceeded(&audit));
    assert_int_equal(audit.worst.early, 0);
    audit_start(&audit, 99999); /* one ns before its time */
    assert_true(audit_exceeded(&audit));
    assert_int_equal(audit.worst.early, 1);
    assert_int_equal(audit.worst.from, 99000); /* the shortest of those that are equally bad */
    assert_int_equal(audit.worst.starts, 2);
    assert_int_equal(audit.worst.allowed, 1);
}

/* A clock that rounds, and one that is being put right, explain what they can and no more. */
static void clocks(void **unused)
{
    (void)unused;
    struct audit audit;
    audit_begin(&audit, 10500, 1, 1000, 0); /* real starts 0, 10.5, 21 µs */
    audit_start(&audit, 0);
    audit_start(&audit, 10000);
    audit_start(&audit, 21000);
    assert_false(audit_exceeded(&audit));
    audit_start(&audit, 30000);
    assert_true(audit_exceeded(&audit));
    for (unsigned ppm = 0; ppm <= 500; ppm += 500) {
        audit_begin(&audit, 1000000, 1, 0, ppm);
        for (nsec i = 0; i < 1000; i++)
            audit_start(&audit, i * 999600); /* 400 ppm too fast */
        assert_int_equal(audit_exceeded(&audit), ppm == 0);
    }
}

static void no_limit_and_huge_numbers(void **unused)
{
    (void)unused;
    struct audit audit;
    audit_begin(&audit, 0, 1, 0, 0);
    for (unsigned i = 0; i < 10; i++)
        audit_start(&audit, 5);
    assert_false(audit_exceeded(&audit));
    assert_int_equal(audit_reached(&audit), 0);
    assert_int_equal(audit.starts, 10);
    audit_begin(&audit, (nsec)1 << 60, UINT32_MAX, 0, 0);
    for (unsigned i = 0; i < 1000; i++)
        audit_start(&audit, 5);
    assert_false(audit_exceeded(&audit));
    audit_begin(&audit, (nsec)1 << 60, 1, 0, 0);
    for (unsigned i = 0; i < 1000; i++)
        audit_start(&audit, 5);
    assert_true(audit_exceeded(&audit));
}

/* Where nobody waited, nothing was missed. */
static void gaps_are_no_demand(void **unused)
{
    (void)unused;
    struct audit audit;
    nsec at = 0;
    audit_begin(&audit, NSEC_PER_S, 1, 0, 0);
    for (unsigned stretch = 0; stretch < 3; stretch++, at += 3600 * NSEC_PER_S)
        for (unsigned i = 0; i < 100; i++, at += NSEC_PER_S)
            audit_start(&audit, at);
    assert_int_equal(audit_reached(&audit), 1000);
    assert_int_equal(audit.starts, 300);
}

/* Each day is held against its own record: the last one against the counter's, those before against its history. */
static void days_of_a_warm_up(void **unused)
{
    (void)unused;
    struct audit_day days[] = {{.day = 99, .starts = 7},  {.day = 100, .starts = 10}, {.day = 101, .starts = 21},
                               {.day = 102, .starts = 9}, {.day = 103, .starts = 11}, {.day = 104, .starts = 1000},
                               {.day = 106, .starts = 1}, {.day = 107, .starts = 30}, {.day = 108, .starts = 1}};
    const struct warmup_past now = {.day = 107, .stage = 4, .cap = 30, .granted = 30};
    /* 102 and 103: the cap fell from 20 to 5 when 10 had been granted; 104: no cap; 106: nothing may go. */
    audit_days_recorded(days, countof(days), &now,
                        SLICE("106:1:0:0:0:0:0:0:0 105:9:-:0:0:0:0:0:0 104:9:-:1000:0:0:0:0:0 103:2:5:10:0:0:0:0:0 "
                              "102:2:5:10:0:0:0:0:0 101:2:20:20:0:0:0:0:0 100:1:10:10:0:0:0:0:0"));
    static const uint64_t allowed[] = {WARMUP_UNLIMITED, 10, 20, 10, 10, WARMUP_UNLIMITED, 0, 30, WARMUP_UNLIMITED};
    static const bool exceeded[] = {false, false, true, false, true, false, true, false, false};
    for (size_t i = 0; i < countof(days); i++) {
        assert_int_equal(days[i].known, days[i].day >= 100 && days[i].day <= 107);
        assert_int_equal(audit_day_allowed(&days[i]), allowed[i]);
        assert_int_equal(audit_day_exceeded(&days[i]), exceeded[i]);
    }
    days[7].starts++;
    assert_true(audit_day_exceeded(&days[7]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(like_one_who_looks_at_all, chance_begin),
        cmocka_unit_test_setup(a_throttle_passes, chance_begin),
        cmocka_unit_test(one_start_too_many),
        cmocka_unit_test(clocks),
        cmocka_unit_test(no_limit_and_huge_numbers),
        cmocka_unit_test(gaps_are_no_demand),
        cmocka_unit_test(days_of_a_warm_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
