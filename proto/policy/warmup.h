/* warmup.h - how much of a new address an ISP sees today, and why it is more tomorrow, or is not.
 *
 * Pure arithmetic: no clock, no I/O, no allocation; days are numbers that the caller has from a calendar (zone.h).
 * A *counter* is what a cap is kept for: (source, ISP), (source, `other`) or (source, `all`). Its *plan* is what the
 * configuration says, its *record* is what Redis remembers. A record's *stage* is the day of the curve, from 1 on.
 *
 * Guarantees:
 *     units granted in one day  <=  the largest cap that its record had in that day, and none once granted >= cap
 *     stage rises at most by one in a turn by activity or volume, and at most by the days that have passed in one by
 *     calendar; never after a day in which the ISP blocked the source, while it is held, or for days that are paused
 *     turning a record twice to the same day is turning it once */
#ifndef PROTO_POLICY_WARMUP_H
#define PROTO_POLICY_WARMUP_H

#include "sluice/base.h"
#include "sluice/slice.h"

enum { WARMUP_CAPS_MAX = 128, WARMUP_RECORD_TEXT = 512, WARMUP_HISTORY_DAYS = 64 };

#define WARMUP_CAP_MAX   ((uint64_t)1000 * 1000 * 1000 * 1000) /* no cap of a curve is above it */
#define WARMUP_UNLIMITED UINT64_MAX

/* ---- the plan ---- */

enum warmup_kind {
    WARMUP_KIND_BROKEN = 0,
    WARMUP_NONE,      /* this counter has no cap */
    WARMUP_TABLE,     /* caps, day by day */
    WARMUP_GEOMETRIC, /* stage k: start x factor^((k - 1) / every), rounded down, up to max */
    WARMUP_LINEAR,    /* stage k: start + step x ((k - 1) / every), up to max */
};

/* After the last stage. */
enum warmup_then {
    WARMUP_THEN_BROKEN = 0,
    WARMUP_HOLD,           /* the last cap stays */
    WARMUP_THEN_UNLIMITED, /* there is no cap any more */
    WARMUP_CONTINUE,       /* a table goes on from its last cap, by factor or step, up to max */
};

enum warmup_advance {
    WARMUP_ADVANCE_BROKEN = 0,
    WARMUP_CALENDAR, /* a day is a stage */
    WARMUP_ACTIVE,   /* a day in which something was accepted */
    WARMUP_VOLUME,   /* a day in which `volume` percent of the cap was accepted */
};

enum warmup_per {
    WARMUP_PER_BROKEN = 0,
    WARMUP_PER_DAY,
    WARMUP_PER_HOUR, /* the day's cap is 24 times that, and the pace is the hour's */
};

enum warmup_gate {
    WARMUP_GATE_BROKEN = 0,
    WARMUP_GATE_NONE,
    WARMUP_GATE_HEALTH, /* what is answered holds it, or takes it back */
};

/* Shares of what was answered, in parts of 100,000 (a thousandth of a percent). */
struct warmup_health {
    uint32_t hold_deferred, hold_blocked, hold_bounced; /* more than that: no step */
    uint32_t back_deferred, back_blocked, back_bounced; /* more than that: a step back, too */
    uint32_t recover;                                   /* percent of hold_*: what was held goes on at or below that */
    uint64_t samples; /* so many answers before anything is judged; days are added up until there are as many */
};

/* Fields are what the configuration's keys say; warmup_plan_ready completes it. */
struct warmup_plan {
    enum warmup_kind kind;
    enum warmup_then then;
    enum warmup_advance advance;
    uint64_t caps[WARMUP_CAPS_MAX]; /* of a table */
    unsigned cap_count;
    uint64_t start, step, max; /* max 0: no end */
    uint32_t factor;           /* in thousandths */
    uint32_t every;            /* stages of the same cap, >= 1; of a table: of what continues it */
    enum warmup_per per;       /* that all numbers above are of */
    uint32_t volume;           /* percent */
    enum warmup_gate gate;
    struct warmup_health health;
    uint32_t catch_up;     /* the pace is at most so many times the even one; >= 1 */
    uint32_t struck_back;  /* stages that a block takes back at once; 0: none */
    uint32_t idle_days;    /* one stage back for each so many idle days in a row; 0: never */
    uint32_t idle_restart; /* from the first stage again after so many; 0: never */
    /* made by warmup_plan_ready: */
    uint32_t stages; /* the last one; 0: no end */
};

/* Finds the last stage. False, with a sentence: this is no curve (it falls, begins at 0, never reaches max, ...). */
must_use bool warmup_plan_ready(struct warmup_plan *plan, const char **why);
/* The day's cap at a stage >= 1; behind the last one as `then` says. WARMUP_UNLIMITED: none. */
uint64_t warmup_curve(const struct warmup_plan *plan, uint32_t stage);

/* ---- the record ---- */

enum warmup_state {
    WARMUP_STATE_BROKEN = 0,
    WARMUP_RUNNING,
    WARMUP_HELD,   /* its health was bad: the stage stays until it is good again */
    WARMUP_PAUSED, /* by hand: nothing is granted, and the days do not count */
    WARMUP_DONE,   /* the curve is behind it and nothing limits it any more */
    WARMUP_STATE_COUNT
};

/* Messages whose end is known. A unit is counted once: accepted (2yz), deferred (a 4yz, or what the rules say is one,
 * that is not about the recipient alone), blocked (a verdict of kind block), bounced (hard), other (all else). */
struct warmup_counts {
    uint64_t accepted, deferred, blocked, bounced, other;
};

struct warmup_record {
    enum warmup_state state;
    uint32_t stage;                /* >= 1 */
    int64_t day;                   /* that granted and today are of */
    uint64_t granted;              /* in that day */
    struct warmup_counts today;    /* of that day */
    struct warmup_counts gathered; /* of days before, not judged yet for want of samples */
    int64_t since;                 /* the day on which the warm-up began, or began again */
    int64_t active_day;            /* the last day in which something was granted; days that are paused move it on */
    int64_t struck_day;            /* the last day in which the ISP blocked the source */
};

/* What the record allows in its day: 0 while paused. */
uint64_t warmup_cap(const struct warmup_plan *plan, const struct warmup_record *record);

/* The record as the value of a field of a hash: numbers and words with spaces between, a version in front. Lua may
 * change `granted` and the counts in place; parse and write are inverse. warmup_record_write returns its length,
 * < WARMUP_RECORD_TEXT, with a zero byte behind it. */
size_t warmup_record_write(char *to, const struct warmup_record *record);
must_use bool warmup_record_parse(struct slice text, struct warmup_record *record);

/* ---- what happens to it ---- */

enum warmup_reason {
    WARMUP_REASON_BROKEN = 0,
    WARMUP_UNCHANGED,     /* the day is the record's own */
    WARMUP_TOO_EARLY,     /* the day is before the record's, or before `since`: nothing is granted */
    WARMUP_BEGAN,         /* there was no record */
    WARMUP_BEGAN_AGAIN,   /* `since` is later than the record's */
    WARMUP_ADVANCED,      /* one stage on, or by calendar as many as days */
    WARMUP_FINISHED,      /* that was the last stage, and nothing limits it any more */
    WARMUP_AT_END,        /* it is in the last stage, which holds */
    WARMUP_LITTLE_VOLUME, /* less than `volume` percent of the cap was accepted */
    WARMUP_INACTIVE,      /* nothing was accepted */
    WARMUP_STRUCK_TODAY,  /* the ISP blocked the source in the day that ended: no stage rises after that */
    WARMUP_HELD_DEFERRED, /* too much was deferred */
    WARMUP_HELD_BLOCKED,
    WARMUP_HELD_BOUNCED,
    WARMUP_HELD_ON,       /* it was held, and is not good enough yet, or too little is known */
    WARMUP_RECOVERED,     /* it was held and is good again: from the next day on it may rise */
    WARMUP_BACK_DEFERRED, /* far too much: a stage back, and held */
    WARMUP_BACK_BLOCKED,
    WARMUP_BACK_BOUNCED,
    WARMUP_BACK_STRUCK,    /* the ISP blocks the source: back at once */
    WARMUP_STRUCK_ALREADY, /* the same, in a day in which the stage fell already, or at the first stage */
    WARMUP_BACK_IDLE,      /* back for idle days */
    WARMUP_RESTARTED_IDLE, /* from the first stage again, for many idle days */
    WARMUP_SHORTENED,      /* the curve has fewer stages than the record's */
    WARMUP_FROZEN,         /* it is paused */
    WARMUP_SET,            /* by hand: the stage */
    WARMUP_PAUSED_BY_HAND,
    WARMUP_RESUMED_BY_HAND,
    WARMUP_REASON_COUNT
};

/* What became of a record, and the evidence. */
struct warmup_turned {
    struct warmup_record record; /* as it is now */
    enum warmup_reason reason;
    bool changed;                /* the record is another one and is to be written */
    bool told;                   /* the stage or the state is another one: an entry of sluice:ops */
    uint32_t from, to;           /* stages */
    uint64_t from_cap, to_cap;   /* caps, WARMUP_UNLIMITED for none */
    struct warmup_counts judged; /* what was looked at */
    uint64_t answered;           /* their sum */
    uint32_t share, limit;       /* the rate that decided and what it may be, in parts of 100,000; else 0 */
    uint64_t granted;            /* in the day that ended */
    int64_t idle;                /* days in a row, until that day, in which nothing was granted */
};

/* The turn of the day: the record as it is on `today`. `old` NULL: there is none. `since`: the day that the
 * configuration names; INT64_MIN: none. The same day gives back the same record (WARMUP_UNCHANGED), but for a curve
 * that was edited. */
void warmup_turn(const struct warmup_plan *plan, const struct warmup_record *old, int64_t since, int64_t today,
                 struct warmup_turned *turned);
/* The ISP blocks the source, in the record's own day: at most one step back a day. */
void warmup_struck(const struct warmup_plan *plan, const struct warmup_record *old, struct warmup_turned *turned);
/* By hand, on a record that was turned to its day. `stage` is at least 1 and at most the last. */
void warmup_set_stage(const struct warmup_plan *plan, const struct warmup_record *old, uint32_t stage,
                      struct warmup_turned *turned);
void warmup_pause(const struct warmup_plan *plan, const struct warmup_record *old, struct warmup_turned *turned);
void warmup_resume(const struct warmup_plan *plan, const struct warmup_record *old, struct warmup_turned *turned);

/* "advanced", "back-struck"...: for sluice:ops and --json. */
const char *warmup_reason_word(enum warmup_reason reason);
const char *warmup_state_word(enum warmup_state state);

/* ---- pace ---- */

/* The time between two units from now on: what is left of the day (less what a piece needs to settle and its guard,
 * as the caller takes off) shared among the units that are left, rounded down; but never less than the day's even
 * interval (rounded up) divided by catch_up, so that a late start is no burst. 0 for no cap. `day` is the day's whole
 * length; `left` <= day. Pieces that are asked for when they are due give, by the day's end, exactly the cap. */
nsec warmup_pace(const struct warmup_plan *plan, nsec day, nsec left, uint64_t cap, uint64_t granted);
/* How many units to ask for at once: what `span` needs at that pace, at least 1, at most what is left of the cap; all
 * that is left when that is less than two such pieces. */
uint64_t warmup_piece(nsec interval, nsec span, uint64_t cap, uint64_t granted);

/* ---- history ---- */

/* The day that a turn ended, for `sluice warmup plot`, as an item of the field <counter>/history: put in front of what
 * is there, with a space between, and keep the first WARMUP_HISTORY_DAYS. "day:stage:cap:granted:accepted:deferred:
 * blocked:bounced". Returns its length; 0 for a turn that ended no day. */
struct warmup_past {
    int64_t day;
    uint32_t stage;
    uint64_t cap, granted;
    struct warmup_counts counts;
};
size_t warmup_history_item(char to[256], const struct warmup_plan *plan, const struct warmup_record *old,
                           const struct warmup_turned *turned);
/* The item at the front of `text`, taken off it. False: there is none that is one. */
must_use bool warmup_history_next(struct slice *text, struct warmup_past *past);

#endif
