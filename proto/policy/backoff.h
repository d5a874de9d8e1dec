/* backoff.h - when is a deferred recipient tried again, and for how long is a silent host left alone?
 *
 * Pure: `now` and randomness are parameters. RFC 5321 §4.5.4.1 asks for a schedule that can be configured and a
 * give-up time. */
#ifndef PROTO_POLICY_BACKOFF_H
#define PROTO_POLICY_BACKOFF_H

#include "sluice/base.h"

struct backoff_schedule {
    const nsec *delays; /* after the 1st, 2nd... deferral, each > 0; the last repeats; borrowed until return */
    unsigned count;     /* >= 1 */
    nsec expire;        /* given up this long after the first attempt; > 0 */
};

enum backoff_result {
    BACKOFF_BROKEN = 0,
    BACKOFF_RETRY,
    BACKOFF_EXPIRED,
};

struct backoff_next {
    enum backoff_result result;
    nsec due; /* RETRY: the next attempt, by the clock of `now` */
};

/* After the `deferrals`-th deferral (1: the first; 0 counts as 1) of a recipient whose first attempt was at `first`.
 * The delay is the schedule's +-20 %, from 64 random bits. EXPIRED when the next attempt would come later than
 * first + expire: nothing would be tried until then, so its sender learns it now. `first` and `now` are by one clock
 * (UTC, since they outlive the process); a `first` that lies after `now` counts as `now`. */
struct backoff_next backoff_retry(const struct backoff_schedule *schedule, uint32_t deferrals, nsec first, nsec now,
                                  uint64_t random);

/* For how long a host is held dead after `failures` in a row without an answer: one minute, doubling to one hour.
 * 0: not at all. */
nsec backoff_dead_host(unsigned failures);

#endif
