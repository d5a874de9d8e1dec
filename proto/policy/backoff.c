/* backoff.c - spaces out retries, so that neither a deferred recipient nor a silent host is asked too often. */
#include "proto/policy/backoff.h"

/* Within 20 % of `delay` either way, every nanosecond equally likely. */
static nsec jitter(nsec delay, uint64_t random)
{
    nsec fifth = delay / 5;
    return delay - fifth + (nsec)(random % (uint64_t)(2 * fifth + 1));
}

struct backoff_next backoff_retry(const struct backoff_schedule *schedule, uint32_t deferrals, nsec first, nsec now,
                                  uint64_t random)
{
    sluice_assert(schedule->count > 0 && schedule->expire > 0);
    unsigned step = deferrals == 0 ? 0 : deferrals - 1;
    if (step >= schedule->count)
        step = schedule->count - 1;
    nsec delay = schedule->delays[step];
    sluice_assert(delay > 0 && delay <= NSEC_NEVER / 4);
    nsec wait = jitter(delay, random);
    nsec age = now > first ? now - first : 0;
    if (age > schedule->expire || wait > schedule->expire - age)
        return (struct backoff_next){.result = BACKOFF_EXPIRED};
    return (struct backoff_next){.result = BACKOFF_RETRY, .due = now + wait};
}

nsec backoff_dead_host(unsigned failures)
{
    enum { MINUTES_MAX = 60 };
    if (failures == 0)
        return 0;
    nsec minutes = failures > 6 ? MINUTES_MAX : (nsec)1 << (failures - 1);
    return minutes * 60 * NSEC_PER_S;
}
