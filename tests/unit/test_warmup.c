/* test_warmup.c - all that lets a stage rise, stay or fall. */
#include "proto/policy/warmup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "chance.h"
#include "warmup_made.h"

enum { DAYS = 45, MONDAY = 20000 }; /* any day */

static struct warmup_turned turned_to(const struct warmup_plan *plan, const struct warmup_record *old, int64_t day)
{
    struct warmup_turned turned;
    warmup_turn(plan, old, INT64_MIN, day, &turned);
    return turned;
}

static struct warmup_record begun(const struct warmup_plan *plan)
{
    struct warmup_turned turned = turned_to(plan, NULL, MONDAY);
    assert_int_equal(turned.reason, WARMUP_BEGAN);
    assert_true(turned.changed && turned.told);
    return turned.record;
}

/* What the store does when it grants, and when replies come. */
static void spend(struct warmup_record *record, uint64_t granted, struct warmup_counts counts)
{
    record->granted += granted;
    if (granted)
        record->active_day = record->day;
    record->today.accepted += counts.accepted;
    record->today.deferred += counts.deferred;
    record->today.blocked += counts.blocked;
    record->today.bounced += counts.bounced;
    record->today.other += counts.other;
}

static void send_all(const struct warmup_plan *plan, struct warmup_record *record)
{
    uint64_t cap = warmup_cap(plan, record);
    cap = cap == WARMUP_UNLIMITED ? 1000000 : cap;
    spend(record, cap, (struct warmup_counts){.accepted = cap});
}

/* A day of which so many were answered, half of the cap of it granted, then the turn. */
static struct warmup_turned after_day(const struct warmup_plan *plan, struct warmup_record *record,
                                      struct warmup_counts counts)
{
    spend(record, 1 + counts.accepted + counts.deferred + counts.blocked + counts.bounced + counts.other, counts);
    struct warmup_turned turned = turned_to(plan, record, record->day + 1);
    *record = turned.record;
    return turned;
}

/* ---- days ---- */

/* Infinite demand, all accepted: each mode gives the curve exactly. */
static void forty_five_days_give_the_curve(void **state)
{
    (void)state;
    static const enum warmup_advance modes[] = {WARMUP_CALENDAR, WARMUP_ACTIVE, WARMUP_VOLUME};
    static const enum warmup_then thens[] = {WARMUP_HOLD, WARMUP_THEN_UNLIMITED};
    for (unsigned m = 0; m < countof(modes); m++)
        for (unsigned t = 0; t < countof(thens); t++) {
            struct warmup_plan plan = plan_of((struct warmup_plan){.kind = WARMUP_GEOMETRIC,
                                                                   .start = 50,
                                                                   .factor = 1400,
                                                                   .max = 1000000,
                                                                   .advance = modes[m],
                                                                   .then = thens[t]});
            struct warmup_record record = begun(&plan);
            for (uint32_t day = 1; day <= DAYS; day++) {
                uint64_t cap = warmup_cap(&plan, &record);
                assert_int_equal(cap, warmup_curve(&plan, day));
                assert_int_equal(record.state, cap == WARMUP_UNLIMITED ? WARMUP_DONE : WARMUP_RUNNING);
                send_all(&plan, &record);
                record = turned_to(&plan, &record, record.day + 1).record;
            }
        }
}

static void volume_asks_for_nine_tenths(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_VOLUME, WARMUP_HOLD);
    struct warmup_record record = begun(&plan);
    struct warmup_turned turned = after_day(&plan, &record, (struct warmup_counts){.accepted = 89});
    assert_int_equal(turned.reason, WARMUP_LITTLE_VOLUME);
    assert_false(turned.told);
    assert_true(turned.changed);
    assert_int_equal(record.stage, 1);
    turned = after_day(&plan, &record, (struct warmup_counts){.accepted = 90});
    assert_int_equal(turned.reason, WARMUP_ADVANCED);
    assert_true(turned.told && turned.from == 1 && turned.to == 2 && turned.from_cap == 100 && turned.to_cap == 200);
    turned = after_day(&plan, &record, (struct warmup_counts){.accepted = 179, .other = 21});
    assert_int_equal(turned.reason, WARMUP_LITTLE_VOLUME);
    assert_int_equal(record.stage, 2);
}

static void activity_asks_for_one_message(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_ACTIVE, WARMUP_HOLD);
    struct warmup_record record = begun(&plan);
    assert_int_equal(after_day(&plan, &record, (struct warmup_counts){.other = 3}).reason, WARMUP_INACTIVE);
    assert_int_equal(after_day(&plan, &record, (struct warmup_counts){.accepted = 1}).reason, WARMUP_ADVANCED);
    assert_int_equal(record.stage, 2);
}

static void the_calendar_asks_for_nothing(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_CALENDAR, WARMUP_THEN_UNLIMITED);
    struct warmup_record record = begun(&plan);
    spend(&record, 1, (struct warmup_counts){.accepted = 1});
    struct warmup_turned turned = turned_to(&plan, &record, MONDAY + 3); /* two idle days are not three */
    assert_int_equal(turned.reason, WARMUP_ADVANCED);
    assert_int_equal(turned.to, 4);
    /* From the date on which it begins, whenever the first message comes. */
    warmup_turn(&plan, NULL, MONDAY - 6, MONDAY, &turned);
    assert_int_equal(turned.to, 7);
    warmup_turn(&plan, NULL, MONDAY - 60, MONDAY, &turned);
    assert_int_equal(turned.record.state, WARMUP_DONE);
    warmup_turn(&plan, NULL, MONDAY + 1, MONDAY, &turned);
    assert_int_equal(turned.reason, WARMUP_TOO_EARLY);
    assert_false(turned.changed);
    /* The other modes begin at the first stage, whatever the date. */
    struct warmup_plan volume = ten_days(WARMUP_VOLUME, WARMUP_HOLD);
    warmup_turn(&volume, NULL, MONDAY - 6, MONDAY, &turned);
    assert_int_equal(turned.to, 1);
}

static void a_later_date_begins_again(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_VOLUME, WARMUP_HOLD);
    struct warmup_record record = begun(&plan);
    record.stage = 7;
    send_all(&plan, &record);
    struct warmup_turned turned;
    warmup_turn(&plan, &record, MONDAY + 1, MONDAY, &turned);
    assert_int_equal(turned.reason, WARMUP_TOO_EARLY);
    warmup_turn(&plan, &record, MONDAY + 2, MONDAY + 2, &turned);
    assert_int_equal(turned.reason, WARMUP_BEGAN_AGAIN);
    assert_true(turned.told && turned.from == 7 && turned.to == 1 && turned.record.granted == 0);
    warmup_turn(&plan, &record, MONDAY - 5, MONDAY, &turned);
    assert_int_equal(turned.reason, WARMUP_UNCHANGED);
    /* In the middle of a day, what has gone has gone. */
    record.since = MONDAY - 9;
    warmup_turn(&plan, &record, MONDAY, MONDAY, &turned);
    assert_int_equal(turned.reason, WARMUP_BEGAN_AGAIN);
    assert_true(turned.record.granted == 700 && turned.to_cap == 100);
}

static void a_day_turns_once_and_never_back(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_VOLUME, WARMUP_HOLD);
    struct warmup_record record = begun(&plan);
    send_all(&plan, &record);
    struct warmup_turned turned = turned_to(&plan, &record, MONDAY);
    assert_true(turned.reason == WARMUP_UNCHANGED && !turned.changed && !turned.told);
    record = turned_to(&plan, &record, MONDAY + 1).record;
    turned = turned_to(&plan, &record, MONDAY + 1);
    assert_true(turned.reason == WARMUP_UNCHANGED && !turned.changed);
    turned = turned_to(&plan, &record, MONDAY);
    assert_true(turned.reason == WARMUP_TOO_EARLY && !turned.changed);
}

static void an_edited_curve_holds_at_once(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_VOLUME, WARMUP_HOLD);
    struct warmup_record record = begun(&plan);
    record.stage = 8;
    send_all(&plan, &record);
    struct warmup_plan lower = plan_of((struct warmup_plan){.kind = WARMUP_LINEAR, .start = 10, .step = 10, .max = 50});
    struct warmup_turned turned = turned_to(&lower, &record, MONDAY);
    assert_int_equal(turned.reason, WARMUP_SHORTENED);
    assert_true(turned.told && turned.to == 5 && turned.record.granted == 800 && turned.to_cap == 50);
    assert_int_equal(warmup_piece(1, 1, turned.to_cap, turned.record.granted), 0); /* nothing more today */
    /* A longer one goes on from where the shorter one ended. */
    struct warmup_plan done = ten_days(WARMUP_VOLUME, WARMUP_THEN_UNLIMITED);
    record.stage = 11;
    record.state = WARMUP_DONE;
    assert_int_equal(turned_to(&done, &record, MONDAY).reason, WARMUP_UNCHANGED);
    struct warmup_plan longer =
        plan_of((struct warmup_plan){.kind = WARMUP_LINEAR, .start = 100, .step = 100, .max = 2000});
    turned = turned_to(&longer, &record, MONDAY);
    assert_true(turned.record.state == WARMUP_RUNNING && turned.to == 11 && turned.to_cap == 1100);
}

/* ---- health ---- */

static void bad_health_holds_and_good_health_lets_go(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_VOLUME, WARMUP_HOLD);
    struct warmup_record record = begun(&plan);
    record.stage = 5;
    struct warmup_turned turned = after_day(&plan, &record, (struct warmup_counts){.accepted = 475, .deferred = 25});
    assert_int_equal(turned.reason, WARMUP_ADVANCED); /* 5% is not more than 5% */
    turned = after_day(&plan, &record, (struct warmup_counts){.accepted = 569, .deferred = 31});
    assert_int_equal(turned.reason, WARMUP_HELD_DEFERRED);
    assert_true(turned.told && turned.to == 6 && record.state == WARMUP_HELD);
    assert_true(turned.answered == 600 && turned.share == 5166 && turned.limit == 5000);
    /* Between half of the limit and the limit it stays held: a rate near the limit does not flutter. */
    turned = after_day(&plan, &record, (struct warmup_counts){.accepted = 580, .deferred = 20});
    assert_int_equal(turned.reason, WARMUP_HELD_ON);
    assert_false(turned.told);
    turned = after_day(&plan, &record, (struct warmup_counts){.accepted = 600, .deferred = 15});
    assert_int_equal(turned.reason, WARMUP_RECOVERED);
    assert_true(turned.told && record.state == WARMUP_RUNNING && record.stage == 6);
    assert_int_equal(after_day(&plan, &record, (struct warmup_counts){.accepted = 600}).reason, WARMUP_ADVANCED);
}

static void each_rate_has_its_limits(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_CALENDAR, WARMUP_HOLD);
    static const struct {
        struct warmup_counts counts;
        enum warmup_reason reason;
        uint32_t stage;
    } days[] = {
        {{950, 50, 0, 0, 0}, WARMUP_ADVANCED, 6},       {{949, 51, 0, 0, 0}, WARMUP_HELD_DEFERRED, 5},
        {{849, 151, 0, 0, 0}, WARMUP_BACK_DEFERRED, 4}, {{990, 0, 10, 0, 0}, WARMUP_ADVANCED, 6},
        {{989, 0, 11, 0, 0}, WARMUP_HELD_BLOCKED, 5},   {{949, 0, 51, 0, 0}, WARMUP_BACK_BLOCKED, 4},
        {{950, 0, 0, 50, 0}, WARMUP_ADVANCED, 6},       {{949, 0, 0, 51, 0}, WARMUP_HELD_BOUNCED, 5},
        {{899, 0, 0, 101, 0}, WARMUP_BACK_BOUNCED, 4},  {{0, 0, 0, 0, 1000}, WARMUP_ADVANCED, 6},
    };
    for (size_t i = 0; i < countof(days); i++) {
        struct warmup_record record = begun(&plan);
        record.stage = 5;
        struct warmup_turned turned = after_day(&plan, &record, days[i].counts);
        if (turned.reason != days[i].reason || record.stage != days[i].stage)
            fail_msg("day %zu: %s, stage %u", i, warmup_reason_word(turned.reason), record.stage);
    }
}

static void little_is_not_judged_but_gathered(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_ACTIVE, WARMUP_HOLD);
    struct warmup_record record = begun(&plan);
    /* 199 answers, half of them deferred, are no evidence; with the next day's they are. */
    assert_int_equal(after_day(&plan, &record, (struct warmup_counts){.accepted = 99, .deferred = 100}).reason,
                     WARMUP_ADVANCED);
    assert_int_equal(record.gathered.deferred, 100);
    struct warmup_turned turned = after_day(&plan, &record, (struct warmup_counts){.accepted = 1});
    assert_int_equal(turned.reason, WARMUP_BACK_DEFERRED);
    assert_true(turned.answered == 200 && record.stage == 1 && record.state == WARMUP_HELD);
    assert_int_equal(record.gathered.deferred, 0);
    /* What is held stays so until enough is known. */
    for (int i = 0; i < 3; i++)
        assert_int_equal(after_day(&plan, &record, (struct warmup_counts){.accepted = 60}).reason, WARMUP_HELD_ON);
    assert_int_equal(after_day(&plan, &record, (struct warmup_counts){.accepted = 60}).reason, WARMUP_RECOVERED);
}

static void without_the_gate_nothing_is_judged(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_ACTIVE, WARMUP_HOLD);
    struct warmup_record record = begun(&plan);
    plan.gate = WARMUP_GATE_NONE;
    assert_int_equal(after_day(&plan, &record, (struct warmup_counts){.accepted = 1, .bounced = 900}).reason,
                     WARMUP_ADVANCED);
    record.state = WARMUP_HELD; /* from before the gate was taken away */
    assert_int_equal(after_day(&plan, &record, (struct warmup_counts){.accepted = 1}).reason, WARMUP_RECOVERED);
}

static void a_block_steps_back_at_once_and_once_a_day(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_CALENDAR, WARMUP_HOLD);
    struct warmup_record record = begun(&plan);
    struct warmup_turned turned;
    record.stage = 5;
    spend(&record, 450, (struct warmup_counts){.accepted = 400});
    warmup_struck(&plan, &record, &turned);
    assert_int_equal(turned.reason, WARMUP_BACK_STRUCK);
    assert_true(turned.told && turned.to == 4 && turned.to_cap == 400 && turned.record.granted == 450);
    record = turned.record;
    assert_int_equal(warmup_piece(1, 1, warmup_cap(&plan, &record), record.granted), 0);
    warmup_struck(&plan, &record, &turned);
    assert_true(turned.reason == WARMUP_STRUCK_ALREADY && !turned.changed && turned.to == 4);
    turned = turned_to(&plan, &record, MONDAY + 1); /* a day with a block never lets it rise, not by calendar either */
    assert_int_equal(turned.reason, WARMUP_STRUCK_TODAY);
    assert_int_equal(turned.to, 4);
    record = turned.record;
    warmup_struck(&plan, &record, &turned);
    assert_int_equal(turned.to, 3);
    record.stage = 1;
    warmup_struck(&plan, &record, &turned);
    assert_true(turned.reason == WARMUP_STRUCK_ALREADY && turned.changed && turned.to == 1);
    plan.struck_back = 0;
    warmup_struck(&plan, &record, &turned);
    assert_true(turned.reason == WARMUP_UNCHANGED && !turned.changed);
}

/* ---- idle and paused days ---- */

static void idle_days_step_back(void **state)
{
    (void)state;
    static const struct {
        int64_t idle;
        uint32_t stage;
        enum warmup_reason reason;
    } gaps[] = {{0, 9, WARMUP_ADVANCED},        {1, 9, WARMUP_ADVANCED},   {2, 9, WARMUP_ADVANCED},
                {3, 7, WARMUP_BACK_IDLE},       {5, 7, WARMUP_BACK_IDLE},  {6, 6, WARMUP_BACK_IDLE},
                {21, 1, WARMUP_BACK_IDLE},      {29, 1, WARMUP_BACK_IDLE}, {30, 1, WARMUP_RESTARTED_IDLE},
                {400, 1, WARMUP_RESTARTED_IDLE}};
    struct warmup_plan plan = ten_days(WARMUP_ACTIVE, WARMUP_HOLD);
    for (size_t i = 0; i < countof(gaps); i++) {
        struct warmup_record record = begun(&plan);
        record.stage = 8;
        send_all(&plan, &record);
        struct warmup_turned turned = turned_to(&plan, &record, MONDAY + 1 + gaps[i].idle);
        assert_int_equal(turned.reason, gaps[i].reason);
        assert_int_equal(turned.to, gaps[i].stage);
        assert_int_equal(turned.idle, gaps[i].idle);
        assert_int_equal(turned.record.since, gaps[i].reason == WARMUP_RESTARTED_IDLE ? turned.record.day : MONDAY);
        /* Turned day by day, as by an engine that asks and is given nothing, it comes to the same. */
        for (int64_t day = 1; day <= 1 + gaps[i].idle; day++)
            record = turned_to(&plan, &record, MONDAY + day).record;
        if (gaps[i].idle >= 3)
            assert_int_equal(record.stage, gaps[i].idle >= 27 ? 1 : gaps[i].stage + 1); /* it rose on the first day */
    }
    /* What was done is warm no longer. */
    struct warmup_plan done = ten_days(WARMUP_ACTIVE, WARMUP_THEN_UNLIMITED);
    struct warmup_record record = begun(&done);
    record.stage = 11;
    record.state = WARMUP_DONE;
    send_all(&done, &record);
    assert_int_equal(turned_to(&done, &record, MONDAY + 3).record.state, WARMUP_DONE);
    struct warmup_turned turned = turned_to(&done, &record, MONDAY + 4);
    assert_true(turned.reason == WARMUP_BACK_IDLE && turned.to == 10 && turned.record.state == WARMUP_RUNNING);
    done.idle_days = done.idle_restart = 0;
    assert_int_equal(turned_to(&done, &record, MONDAY + 400).record.state, WARMUP_DONE);
}

static void paused_days_do_not_count(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_CALENDAR, WARMUP_HOLD);
    struct warmup_record record = begun(&plan);
    struct warmup_turned turned;
    record.stage = 5;
    spend(&record, 100, (struct warmup_counts){.accepted = 100});
    warmup_pause(&plan, &record, &turned);
    assert_true(turned.told && turned.to_cap == 0 && turned.to == 5);
    record = turned.record;
    warmup_pause(&plan, &record, &turned);
    assert_false(turned.changed);
    turned = turned_to(&plan, &record, MONDAY + 50);
    assert_int_equal(turned.reason, WARMUP_FROZEN);
    assert_true(!turned.told && turned.to == 5 && turned.record.gathered.accepted == 100);
    record = turned.record;
    warmup_resume(&plan, &record, &turned);
    assert_true(turned.told && turned.reason == WARMUP_RESUMED_BY_HAND && turned.to_cap == 500);
    record = turned.record;
    assert_int_equal(turned_to(&plan, &record, MONDAY + 51).reason, WARMUP_ADVANCED); /* no idle day among them */
    warmup_resume(&plan, &record, &turned);
    assert_false(turned.changed);
}

static void a_stage_is_set_by_hand(void **state)
{
    (void)state;
    struct warmup_plan plan = ten_days(WARMUP_VOLUME, WARMUP_THEN_UNLIMITED);
    struct warmup_record record = begun(&plan);
    struct warmup_turned turned;
    record.state = WARMUP_HELD;
    spend(&record, 90, (struct warmup_counts){.accepted = 90});
    warmup_set_stage(&plan, &record, 7, &turned);
    assert_true(turned.told && turned.reason == WARMUP_SET && turned.to == 7 && turned.to_cap == 700);
    assert_true(turned.record.state == WARMUP_RUNNING && turned.record.granted == 90);
    warmup_set_stage(&plan, &record, 11, &turned);
    assert_true(turned.record.state == WARMUP_DONE && turned.to_cap == WARMUP_UNLIMITED);
    record = turned.record;
    warmup_set_stage(&plan, &record, 3, &turned);
    assert_true(turned.record.state == WARMUP_RUNNING && turned.to_cap == 300);
}

/* ---- whatever happens ---- */

static struct warmup_counts any_counts(uint32_t most)
{
    return (struct warmup_counts){random_below(most), random_below(most / 4 + 1), random_below(most / 20 + 1),
                                  random_below(most / 10 + 1), random_below(most / 10 + 1)};
}

static void records_are_what_was_written(const struct warmup_record *record)
{
    struct warmup_record read;
    char text[WARMUP_RECORD_TEXT];
    size_t n = warmup_record_write(text, record);
    assert_true(n < sizeof text && text[n] == 0);
    assert_true(warmup_record_parse((struct slice){text, n}, &read));
    assert_memory_equal(&read, record, sizeof read);
}

static void no_history_breaks_a_promise(void **state)
{
    (void)state;
    for (int run = 0; run < 400; run++) {
        struct warmup_plan plan =
            ten_days((enum warmup_advance)(1 + random_below(3)), (enum warmup_then)(1 + random_below(2)));
        plan.gate = (enum warmup_gate)(1 + random_below(2));
        struct warmup_record record = begun(&plan);
        for (int i = 0; i < 120; i++) {
            struct warmup_turned turned;
            const struct warmup_record old = record;
            uint64_t cap = warmup_cap(&plan, &record);
            if (random_below(5) == 0) {
                warmup_struck(&plan, &record, &turned);
                assert_true(turned.to <= turned.from && turned.record.granted == old.granted);
                assert_true(old.struck_day != old.day || turned.to == turned.from);
            } else if (random_below(20) == 0) {
                (record.state == WARMUP_PAUSED ? warmup_resume : warmup_pause)(&plan, &record, &turned);
                assert_int_equal(turned.to, turned.from);
            } else if (random_below(3)) {
                if (cap != 0 && random_below(3))
                    spend(&record, random_below(cap > 1000 ? 1000 : (uint32_t)cap), any_counts(1200));
                continue;
            } else {
                int64_t days = 1 + random_below(random_below(4) ? 2 : 40);
                turned = turned_to(&plan, &record, record.day + days);
                bool rose = turned.to > turned.from;
                assert_true(!rose || (turned.reason == WARMUP_ADVANCED || turned.reason == WARMUP_FINISHED));
                assert_true(!rose || (old.struck_day != old.day && old.state == WARMUP_RUNNING));
                assert_true(!rose || turned.to - turned.from <= (plan.advance == WARMUP_CALENDAR ? days : 1));
                assert_true(turned.record.granted == 0 && turned.record.day == old.day + days);
                assert_true(old.state != WARMUP_PAUSED || turned.to == turned.from);
                assert_false(turned_to(&plan, &turned.record, turned.record.day).changed);
            }
            assert_true(turned.to >= 1 && turned.to <= plan.stages + (plan.then == WARMUP_THEN_UNLIMITED));
            assert_int_equal(turned.told, turned.to != turned.from || turned.record.state != old.state);
            assert_non_null(warmup_reason_word(turned.reason));
            record = turned.record;
            records_are_what_was_written(&record);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forty_five_days_give_the_curve),
        cmocka_unit_test(volume_asks_for_nine_tenths),
        cmocka_unit_test(activity_asks_for_one_message),
        cmocka_unit_test(the_calendar_asks_for_nothing),
        cmocka_unit_test(a_later_date_begins_again),
        cmocka_unit_test(a_day_turns_once_and_never_back),
        cmocka_unit_test(an_edited_curve_holds_at_once),
        cmocka_unit_test(bad_health_holds_and_good_health_lets_go),
        cmocka_unit_test(each_rate_has_its_limits),
        cmocka_unit_test(little_is_not_judged_but_gathered),
        cmocka_unit_test(without_the_gate_nothing_is_judged),
        cmocka_unit_test(a_block_steps_back_at_once_and_once_a_day),
        cmocka_unit_test(idle_days_step_back),
        cmocka_unit_test(paused_days_do_not_count),
        cmocka_unit_test(a_stage_is_set_by_hand),
        cmocka_unit_test_setup(no_history_breaks_a_promise, chance_begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
