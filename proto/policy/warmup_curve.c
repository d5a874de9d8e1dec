/* warmup_curve.c - what a curve allows on each of its days, and how that is spread over the day. */
#include "proto/policy/warmup.h"

enum { HOURS = 24, STAGES_MAX = 10 * 1000, PIECE_UNLIMITED = 1000 * 1000 };

#define PARTS ((uint64_t)1000 * 1000 * 1000 * 1000) /* of a unit, that a product keeps behind its point */

/* Longer or shorter than that is no civil day but one of a test, whose hours are shorter too. */
#define DAY_LEAST (20 * 3600 * NSEC_PER_S)
#define DAY_MOST  (28 * 3600 * NSEC_PER_S)

static uint64_t no_more_than(uint64_t value, uint64_t max)
{
    uint64_t most = max && max < WARMUP_CAP_MAX ? max : WARMUP_CAP_MAX;
    return value < most ? value : most;
}

/* start x (factor / 1000)^times, rounded down once, at the end: what is behind the point is kept to 10^-12. As long as
 * the exact product is a whole number nothing is cut off at all, and behind the first that is none no later one is. */
static uint64_t multiplied(uint64_t start, uint32_t factor, uint32_t times, uint64_t max)
{
    uint64_t whole = no_more_than(start, max), parts = 0;
    for (uint32_t i = 0; i < times && whole < no_more_than(UINT64_MAX, max); i++) {
        uint64_t product = whole * factor;
        parts = (parts * factor + product % 1000 * PARTS) / 1000;
        whole = product / 1000 + parts / PARTS;
        parts %= PARTS;
    }
    return no_more_than(whole, max);
}

static uint64_t added(uint64_t start, uint64_t step, uint32_t times, uint64_t max)
{
    uint64_t room = no_more_than(UINT64_MAX, max) - no_more_than(start, max);
    return step && times > room / step ? no_more_than(UINT64_MAX, max) : no_more_than(start + step * times, max);
}

/* In the unit that the plan is written in, at a stage that is not behind the last one. */
static uint64_t written(const struct warmup_plan *plan, uint32_t stage)
{
    switch (plan->kind) {
    case WARMUP_GEOMETRIC:
        return multiplied(plan->start, plan->factor, (stage - 1) / plan->every, plan->max);
    case WARMUP_LINEAR:
        return added(plan->start, plan->step, (stage - 1) / plan->every, plan->max);
    case WARMUP_TABLE:
        break;
    case WARMUP_NONE:
    case WARMUP_KIND_BROKEN:
        sluice_assert(false);
    }
    if (stage <= plan->cap_count)
        return plan->caps[stage - 1];
    uint32_t times = (stage - plan->cap_count - 1) / plan->every + 1;
    uint64_t last = plan->caps[plan->cap_count - 1];
    return plan->factor ? multiplied(last, plan->factor, times, plan->max) : added(last, plan->step, times, plan->max);
}

uint64_t warmup_curve(const struct warmup_plan *plan, uint32_t stage)
{
    sluice_assert(stage > 0);
    if (plan->kind == WARMUP_NONE)
        return WARMUP_UNLIMITED;
    if (plan->stages && stage > plan->stages) {
        if (plan->then == WARMUP_THEN_UNLIMITED)
            return WARMUP_UNLIMITED;
        stage = plan->stages;
    }
    return written(plan, stage) * (plan->per == WARMUP_PER_HOUR ? HOURS : 1);
}

/* ---- is it a curve? ---- */

static const char *table_fault(const struct warmup_plan *plan)
{
    if (plan->cap_count == 0)
        return "a table needs caps";
    for (unsigned i = 0; i < plan->cap_count; i++) {
        if (plan->caps[i] == 0)
            return "a cap of 0 sends nothing, and so the curve would never go on";
        if (plan->caps[i] > WARMUP_CAP_MAX / HOURS)
            return "a cap is too large";
        if (i && plan->caps[i] < plan->caps[i - 1])
            return "the curve falls: each cap is at least the one before it";
    }
    if (plan->start)
        return "start is for geometric and linear curves; a table begins with its first cap";
    if (plan->then != WARMUP_CONTINUE && (plan->factor || plan->step || plan->max))
        return "factor, step and max are of no use behind a table, unless then is continue";
    if (plan->then == WARMUP_CONTINUE && !plan->factor == !plan->step)
        return "then = continue needs a factor or a step, one of both";
    if (plan->max && plan->max <= plan->caps[plan->cap_count - 1])
        return "max is not above the last cap";
    return NULL;
}

static const char *formula_fault(const struct warmup_plan *plan)
{
    bool geometric = plan->kind == WARMUP_GEOMETRIC;
    if (plan->cap_count)
        return "caps are for a table";
    if (plan->start == 0)
        return "it needs a start, the cap of the first day";
    if (geometric ? plan->factor == 0 : plan->step == 0)
        return geometric ? "a geometric curve needs a factor" : "a linear curve needs a step";
    if (geometric ? plan->step : plan->factor)
        return geometric ? "a geometric curve has a factor and no step" : "a linear curve has a step and no factor";
    if (plan->max == 0)
        return "it needs a max, where the curve ends";
    if (plan->max < plan->start)
        return "max is below start";
    if (plan->then == WARMUP_CONTINUE)
        return "then = continue is for a table; this curve goes on up to its max anyway";
    return NULL;
}

static const char *fault(const struct warmup_plan *plan)
{
    if (plan->factor && plan->factor <= 1000)
        return "factor is not above 1, so the curve would not rise";
    if (plan->start > WARMUP_CAP_MAX / HOURS || plan->step > WARMUP_CAP_MAX / HOURS ||
        plan->max > WARMUP_CAP_MAX / HOURS || plan->factor > 100 * 1000)
        return "a number is too large";
    if (plan->every == 0 || plan->catch_up == 0)
        return "every and catch_up are at least 1";
    return plan->kind == WARMUP_TABLE ? table_fault(plan) : formula_fault(plan);
}

/* The first stage that has `max`. False: there are too many before it. */
static bool reach_max(struct warmup_plan *plan)
{
    uint32_t before = plan->kind == WARMUP_TABLE ? plan->cap_count : 0;
    for (uint32_t stage = before + 1; stage <= STAGES_MAX; stage += plan->every)
        if (written(plan, stage) >= plan->max) {
            plan->stages = stage;
            return true;
        }
    return false;
}

bool warmup_plan_ready(struct warmup_plan *plan, const char **why)
{
    *why = NULL;
    plan->stages = 0;
    sluice_assert(plan->kind != WARMUP_KIND_BROKEN && plan->then != WARMUP_THEN_BROKEN &&
                  plan->advance != WARMUP_ADVANCE_BROKEN && plan->per != WARMUP_PER_BROKEN &&
                  plan->gate != WARMUP_GATE_BROKEN && plan->cap_count <= WARMUP_CAPS_MAX);
    if (plan->kind == WARMUP_NONE)
        return true;
    *why = fault(plan);
    if (*why)
        return false;
    if (plan->kind == WARMUP_TABLE && plan->then != WARMUP_CONTINUE)
        plan->stages = plan->cap_count;
    else if (plan->max && !reach_max(plan))
        *why = "it takes more than 10000 days to reach max";
    return !*why;
}

/* ---- over the day ---- */

/* The time that one unit has when all are spread evenly, rounded up. A cap by the hour is one on days of any length. */
static nsec even_interval(const struct warmup_plan *plan, nsec day, uint64_t cap)
{
    uint64_t whole =
        (uint64_t)(plan->per == WARMUP_PER_HOUR && day > DAY_LEAST && day < DAY_MOST ? HOURS * 3600 * NSEC_PER_S : day);
    return (nsec)(whole / cap + (whole % cap != 0));
}

nsec warmup_pace(const struct warmup_plan *plan, nsec day, nsec left, uint64_t cap, uint64_t granted)
{
    sluice_assert(day > 0 && left <= day && plan->catch_up > 0);
    if (cap == WARMUP_UNLIMITED)
        return 0;
    if (granted >= cap)
        return day;
    uint64_t even = (uint64_t)even_interval(plan, day, cap);
    nsec least = (nsec)(even / plan->catch_up + (even % plan->catch_up != 0));
    return nsec_max(least, left > 0 ? (nsec)((uint64_t)left / (cap - granted)) : 0);
}

uint64_t warmup_piece(nsec interval, nsec span, uint64_t cap, uint64_t granted)
{
    sluice_assert(interval >= 0 && span >= 0);
    uint64_t left = granted < cap ? cap - granted : 0;
    uint64_t wanted = interval ? (uint64_t)(span / interval) : PIECE_UNLIMITED;
    if (wanted == 0)
        wanted = 1;
    if (wanted >= left)
        return left;
    /* What the next one would ask for when the day is all but over: an answer that comes late must not lose it. */
    return left - wanted < wanted ? left : wanted;
}
