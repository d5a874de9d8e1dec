/* warmup_made.h - plans for tests of warm-ups, with what the configuration gives where it says nothing. */
#ifndef TESTS_UNIT_WARMUP_MADE_H
#define TESTS_UNIT_WARMUP_MADE_H

#include "proto/policy/warmup.h"

static inline struct warmup_plan plan_of(struct warmup_plan given)
{
    const char *why;
    given.then = given.then ? given.then : WARMUP_HOLD;
    given.advance = given.advance ? given.advance : WARMUP_VOLUME;
    given.per = given.per ? given.per : WARMUP_PER_DAY;
    given.gate = given.gate ? given.gate : WARMUP_GATE_HEALTH;
    given.every = given.every ? given.every : 1;
    given.volume = 90;
    given.catch_up = 4;
    given.struck_back = 1;
    given.idle_days = 3;
    given.idle_restart = 30;
    given.health = (struct warmup_health){5000, 1000, 5000, 15000, 5000, 10000, 50, 200};
    if (!warmup_plan_ready(&given, &why))
        fail_msg("%s", why);
    return given;
}

static inline struct warmup_plan table_of(const uint64_t *caps, unsigned count, enum warmup_then then)
{
    struct warmup_plan plan = {.kind = WARMUP_TABLE, .cap_count = count, .then = then};
    memcpy(plan.caps, caps, count * sizeof *caps);
    return plan;
}

/* 100, 200 ... 1000 */
static inline struct warmup_plan ten_days(enum warmup_advance advance, enum warmup_then then)
{
    return plan_of((struct warmup_plan){
        .kind = WARMUP_LINEAR, .start = 100, .step = 100, .max = 1000, .advance = advance, .then = then});
}

#endif
