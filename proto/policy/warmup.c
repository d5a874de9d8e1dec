/* warmup.c - lets a warm-up rise by no more than it has earned, and fall as soon as it must. */
#include "proto/policy/warmup.h"

#define WHOLE ((uint64_t)100 * 1000) /* shares are parts of this */

/* Records are compared as bytes. */
_Static_assert(sizeof(struct warmup_record) == 2 * sizeof(uint32_t) + 15 * sizeof(uint64_t), "there is no padding");

/* ---- what every change shares ---- */

static void begin(struct warmup_turned *turned, const struct warmup_plan *plan, const struct warmup_record *old)
{
    *turned = (struct warmup_turned){.reason = WARMUP_UNCHANGED};
    if (!old)
        return;
    turned->record = *old;
    turned->from = old->stage;
    turned->from_cap = warmup_cap(plan, old);
    turned->granted = old->granted;
}

static void end(struct warmup_turned *turned, const struct warmup_plan *plan, const struct warmup_record *old,
                enum warmup_reason reason)
{
    const struct warmup_record *record = &turned->record;
    turned->reason = reason;
    turned->to = record->stage;
    turned->to_cap = record->stage ? warmup_cap(plan, record) : 0;
    turned->changed = record->stage && (!old || memcmp(record, old, sizeof *record) != 0);
    turned->told = record->stage && (!old || record->stage != old->stage || record->state != old->state);
}

uint64_t warmup_cap(const struct warmup_plan *plan, const struct warmup_record *record)
{
    return record->state == WARMUP_PAUSED ? 0 : warmup_curve(plan, record->stage);
}

/* The curve may have been edited: the stage is one that it has, and the state says whether that is behind the last. */
static void fit(const struct warmup_plan *plan, struct warmup_record *record)
{
    bool behind = plan->stages && record->stage > plan->stages, done = behind && plan->then == WARMUP_THEN_UNLIMITED;
    if (behind)
        record->stage = plan->stages + done;
    if (record->state == WARMUP_PAUSED)
        return;
    if (done)
        record->state = WARMUP_DONE;
    else if (record->state == WARMUP_DONE)
        record->state = WARMUP_RUNNING;
}

/* False: it is in the first stage already. */
static bool fall(struct warmup_record *record, uint64_t stages)
{
    uint32_t before = record->stage;
    record->stage = stages < before ? before - (uint32_t)stages : 1;
    return record->stage < before;
}

static void add(struct warmup_counts *sum, const struct warmup_counts *counts)
{
    sum->accepted += counts->accepted;
    sum->deferred += counts->deferred;
    sum->blocked += counts->blocked;
    sum->bounced += counts->bounced;
    sum->other += counts->other;
}

/* ---- health ---- */

/* Is `part` of `whole` more than `limit` says? Then the evidence is kept. */
static bool more_than(struct warmup_turned *turned, uint64_t part, uint32_t limit)
{
    uint64_t whole = turned->answered;
    bool more = part * WHOLE > limit * whole;
    if (more) {
        turned->share = (uint32_t)(part * WHOLE / whole);
        turned->limit = limit;
    }
    return more;
}

static enum warmup_reason judged_bad(struct warmup_turned *turned, const struct warmup_health *health)
{
    const struct warmup_counts *counts = &turned->judged;
    if (more_than(turned, counts->blocked, health->back_blocked))
        return WARMUP_BACK_BLOCKED;
    if (more_than(turned, counts->deferred, health->back_deferred))
        return WARMUP_BACK_DEFERRED;
    if (more_than(turned, counts->bounced, health->back_bounced))
        return WARMUP_BACK_BOUNCED;
    if (more_than(turned, counts->blocked, health->hold_blocked))
        return WARMUP_HELD_BLOCKED;
    if (more_than(turned, counts->deferred, health->hold_deferred))
        return WARMUP_HELD_DEFERRED;
    if (more_than(turned, counts->bounced, health->hold_bounced))
        return WARMUP_HELD_BOUNCED;
    return WARMUP_REASON_BROKEN;
}

/* What was held goes on when it is well below what held it, so that a rate near the limit does not flutter. */
static bool is_well(struct warmup_turned *turned, const struct warmup_health *health)
{
    const struct warmup_counts *counts = &turned->judged;
    return !more_than(turned, counts->blocked, (uint32_t)((uint64_t)health->hold_blocked * health->recover / 100)) &&
           !more_than(turned, counts->deferred, (uint32_t)((uint64_t)health->hold_deferred * health->recover / 100)) &&
           !more_than(turned, counts->bounced, (uint32_t)((uint64_t)health->hold_bounced * health->recover / 100));
}

static uint64_t sum_of(const struct warmup_counts *counts)
{
    return counts->accepted + counts->deferred + counts->blocked + counts->bounced + counts->other;
}

/* Looks at what was answered since it was last judged. WARMUP_REASON_BROKEN: nothing speaks against a step. */
static enum warmup_reason judge(const struct warmup_plan *plan, struct warmup_turned *turned)
{
    struct warmup_record *record = &turned->record;
    const struct warmup_health *health = &plan->health;
    bool held = record->state == WARMUP_HELD;
    if (plan->gate != WARMUP_GATE_HEALTH) {
        record->gathered = (struct warmup_counts){0};
        record->state = held ? WARMUP_RUNNING : record->state;
        return held ? WARMUP_RECOVERED : WARMUP_REASON_BROKEN;
    }
    add(&record->gathered, &record->today);
    turned->judged = record->gathered;
    turned->answered = sum_of(&turned->judged);
    if (turned->answered == 0 || turned->answered < health->samples)
        return held ? WARMUP_HELD_ON : WARMUP_REASON_BROKEN;
    record->gathered = (struct warmup_counts){0};
    enum warmup_reason bad = judged_bad(turned, health);
    if (bad) {
        if (bad == WARMUP_BACK_BLOCKED || bad == WARMUP_BACK_DEFERRED || bad == WARMUP_BACK_BOUNCED)
            fall(record, 1);
        record->state = WARMUP_HELD;
        return bad;
    }
    if (!held)
        return WARMUP_REASON_BROKEN;
    if (!is_well(turned, health))
        return WARMUP_HELD_ON;
    record->state = WARMUP_RUNNING;
    return WARMUP_RECOVERED;
}

/* ---- the turn of the day ---- */

static enum warmup_reason first_day(const struct warmup_plan *plan, struct warmup_turned *turned, int64_t since,
                                    int64_t today)
{
    const struct warmup_record before = turned->record;
    bool again = before.stage != 0, same_day = again && before.day == today;
    int64_t gone = since != INT64_MIN && plan->advance == WARMUP_CALENDAR ? today - since : 0;
    turned->record = (struct warmup_record){
        .state = WARMUP_RUNNING,
        .stage = gone < UINT32_MAX / 2 ? (uint32_t)gone + 1 : UINT32_MAX / 2,
        .day = today,
        .since = today - gone,
        .active_day = today - 1,
        .struck_day = INT64_MIN,
    };
    if (same_day) { /* what has gone today has gone */
        turned->record.granted = before.granted;
        turned->record.today = before.today;
        turned->record.active_day = before.active_day;
    }
    fit(plan, &turned->record);
    return again ? WARMUP_BEGAN_AGAIN : WARMUP_BEGAN;
}

static enum warmup_reason freeze(struct warmup_turned *turned, int64_t days)
{
    add(&turned->record.gathered, &turned->record.today);
    turned->record.active_day += days;
    return WARMUP_FROZEN;
}

/* Days in a row in which nothing was granted, of those that have passed until the morning of `day`. */
static int64_t idle_until(const struct warmup_record *record, int64_t day)
{
    return day - 1 > record->active_day ? day - 1 - record->active_day : 0;
}

/* Steps for idle days that are new since the turn before. WARMUP_REASON_BROKEN: there are none. */
static enum warmup_reason rest(const struct warmup_plan *plan, struct warmup_turned *turned, int64_t today)
{
    struct warmup_record *record = &turned->record;
    int64_t idle = idle_until(record, today), before = idle_until(record, record->day);
    turned->idle = idle;
    if (plan->idle_restart && idle >= plan->idle_restart && before < plan->idle_restart) {
        *record = (struct warmup_record){.state = WARMUP_RUNNING,
                                         .stage = 1,
                                         .day = record->day,
                                         .since = today,
                                         .active_day = record->active_day,
                                         .struck_day = record->struck_day};
        return WARMUP_RESTARTED_IDLE;
    }
    int64_t steps = plan->idle_days ? idle / plan->idle_days - before / plan->idle_days : 0;
    if (steps <= 0)
        return WARMUP_REASON_BROKEN;
    add(&record->gathered, &record->today);
    fall(record, (uint64_t)steps);
    fit(plan, record);
    return WARMUP_BACK_IDLE;
}

/* One stage on, if the day that ended has earned it. */
static enum warmup_reason rise(const struct warmup_plan *plan, struct warmup_turned *turned, int64_t days)
{
    struct warmup_record *record = &turned->record;
    uint64_t accepted = record->today.accepted, cap = warmup_curve(plan, record->stage);
    if (plan->stages && record->stage >= plan->stages && plan->then != WARMUP_THEN_UNLIMITED)
        return WARMUP_AT_END;
    if (record->struck_day == record->day)
        return WARMUP_STRUCK_TODAY;
    if (plan->advance == WARMUP_ACTIVE && accepted == 0)
        return WARMUP_INACTIVE;
    if (plan->advance == WARMUP_VOLUME && accepted * 100 < cap * plan->volume)
        return WARMUP_LITTLE_VOLUME;
    int64_t stages = plan->advance == WARMUP_CALENDAR ? days : 1;
    record->stage =
        stages < UINT32_MAX / 2 - (int64_t)record->stage ? record->stage + (uint32_t)stages : UINT32_MAX / 2;
    fit(plan, record);
    return record->state == WARMUP_DONE ? WARMUP_FINISHED : WARMUP_ADVANCED;
}

static enum warmup_reason next_day(const struct warmup_plan *plan, struct warmup_turned *turned, int64_t today)
{
    struct warmup_record *record = &turned->record;
    int64_t days = today - record->day;
    if (record->state == WARMUP_PAUSED)
        return freeze(turned, days);
    enum warmup_reason reason = rest(plan, turned, today);
    if (reason == WARMUP_REASON_BROKEN && record->state == WARMUP_DONE)
        reason = WARMUP_AT_END;
    if (reason == WARMUP_REASON_BROKEN)
        reason = judge(plan, turned);
    if (reason == WARMUP_REASON_BROKEN)
        reason = rise(plan, turned, days);
    return reason;
}

void warmup_turn(const struct warmup_plan *plan, const struct warmup_record *old, int64_t since, int64_t today,
                 struct warmup_turned *turned)
{
    enum warmup_reason reason;
    begin(turned, plan, old);
    struct warmup_record *record = &turned->record;
    if ((since != INT64_MIN && today < since) || (old && today < old->day)) {
        reason = WARMUP_TOO_EARLY;
    } else if (!old || (since != INT64_MIN && since > old->since)) {
        reason = first_day(plan, turned, since, today);
    } else {
        fit(plan, record);
        reason = record->stage < old->stage ? WARMUP_SHORTENED : WARMUP_UNCHANGED;
        if (today > record->day) {
            reason = next_day(plan, turned, today);
            record->day = today;
            record->granted = 0;
            record->today = (struct warmup_counts){0};
        }
    }
    end(turned, plan, old, reason);
}

/* ---- at once ---- */

void warmup_struck(const struct warmup_plan *plan, const struct warmup_record *old, struct warmup_turned *turned)
{
    enum warmup_reason reason = WARMUP_UNCHANGED;
    begin(turned, plan, old);
    struct warmup_record *record = &turned->record;
    if (plan->struck_back && (old->state == WARMUP_RUNNING || old->state == WARMUP_HELD)) {
        bool fell = old->struck_day != old->day && fall(record, plan->struck_back);
        record->struck_day = old->day;
        reason = fell ? WARMUP_BACK_STRUCK : WARMUP_STRUCK_ALREADY;
    }
    end(turned, plan, old, reason);
}

void warmup_set_stage(const struct warmup_plan *plan, const struct warmup_record *old, uint32_t stage,
                      struct warmup_turned *turned)
{
    sluice_assert(stage > 0);
    begin(turned, plan, old);
    struct warmup_record *record = &turned->record;
    record->stage = stage;
    record->gathered = (struct warmup_counts){0};
    if (record->state == WARMUP_HELD)
        record->state = WARMUP_RUNNING;
    fit(plan, record);
    end(turned, plan, old, WARMUP_SET);
}

void warmup_pause(const struct warmup_plan *plan, const struct warmup_record *old, struct warmup_turned *turned)
{
    begin(turned, plan, old);
    turned->record.state = WARMUP_PAUSED;
    end(turned, plan, old, old->state == WARMUP_PAUSED ? WARMUP_UNCHANGED : WARMUP_PAUSED_BY_HAND);
}

void warmup_resume(const struct warmup_plan *plan, const struct warmup_record *old, struct warmup_turned *turned)
{
    begin(turned, plan, old);
    struct warmup_record *record = &turned->record;
    if (old->state == WARMUP_PAUSED) {
        record->state = WARMUP_RUNNING;
        fit(plan, record);
    }
    end(turned, plan, old, old->state == WARMUP_PAUSED ? WARMUP_RESUMED_BY_HAND : WARMUP_UNCHANGED);
}
