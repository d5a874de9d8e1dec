/* audit.h - did a lane's starts keep to its rate, in every interval?
 *
 * Pure arithmetic, 40 ns and no memory for a start. For starts in order of time and the formula of throttle.h,
 *     starts in [a, b]  <=  burst + (b - a) / interval_ns,
 * the worst interval is the one by which the formula is exceeded the longest: that many ns too early did its last start
 * come (or that many were to spare); of several, the first, and the shortest. It begins and ends with a start, and is
 * found as throttle.c keeps a lane: by the instant at which all starts so far are paid for.
 *
 * Recorded starts are as exact as their clock: `grain_ns` is what they were rounded down to, and `skew_ppm` how much
 * faster or slower than the engine's own clock the wall clock may have run while it was being put right. An interval
 * counts as exceeded only when neither explains it. */
#ifndef PROTO_POLICY_AUDIT_H
#define PROTO_POLICY_AUDIT_H

#include "proto/policy/warmup.h"

struct audit {
    nsec interval_ns; /* 0: no limit */
    uint32_t burst;
    nsec grain_ns;
    uint64_t starts;
    nsec first, last;
    nsec owed;      /* at `last`: until all starts are paid for; EARN_MOST at most */
    nsec from;      /* where the interval that is worst for the next start begins */
    uint64_t since; /* starts since `from`, that one included */
    struct audit_window {
        nsec from, to;
        uint64_t starts, allowed; /* allowed: burst + (to - from) / interval, rounded down */
        nsec early;               /* > 0: the formula is exceeded by so long; else so long is to spare */
    } worst;                      /* starts 0: none yet */
    uint64_t paced;               /* intervals between starts within stretches of demand */
    nsec busy;                    /* how long these stretches were */
    nsec idle_ns;                 /* a gap longer than this ends a stretch: nobody waited */
};

void audit_begin(struct audit *audit, nsec interval_ns, uint32_t burst, nsec grain_ns, unsigned skew_ppm);
/* Requires at >= the one before, and >= 0. */
void audit_start(struct audit *audit, nsec at);
bool audit_exceeded(const struct audit *audit);
/* How much of the rate was used while starts followed each other with gaps of at most idle_ns, in parts per thousand;
 * 0 where that cannot be said. Gaps that are longer are taken for a lack of demand. */
unsigned audit_reached(const struct audit *audit);

/* ---- did a warm-up's starts keep to its cap, in every day? ---- */

/* One day of one counter (warmup.h). */
struct audit_day {
    int64_t day;
    uint64_t starts;
    bool known;            /* somebody recorded what follows */
    uint64_t cap, granted; /* when the day ended, or, of the record's own day, now; WARMUP_UNLIMITED: no cap */
};

/* What a counter's record (`now`, its own day) and its history say of the days. */
void audit_days_recorded(struct audit_day *days, size_t count, const struct warmup_past *now, struct slice history);
/* The day's cap; of a day in which it fell (a block, or by hand), what was granted before it did, if that is more.
 * WARMUP_UNLIMITED: nobody recorded it, or it had none. */
uint64_t audit_day_allowed(const struct audit_day *day);
bool audit_day_exceeded(const struct audit_day *day);

#endif
