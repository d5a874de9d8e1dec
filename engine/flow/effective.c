/* Several may slow one lane down, each for its own reason; here is what comes of it, in one place. */
#include "flow/effective.h"

unsigned effective_percent(const struct lane *lane, enum lane_slower *who)
{
    unsigned least = 100;
    for (enum lane_slower i = LANE_BY_HAND; i < LANE_SLOWERS; i++)
        if (lane->slowed[i].percent && lane->slowed[i].percent < least) {
            least = lane->slowed[i].percent;
            *who = i;
        }
    return least;
}

static nsec longer(nsec interval_ns, unsigned percent)
{
    nsec most = (nsec)1 << 60; /* what throttle.h can reckon with */
    if (interval_ns > most / 100)
        return interval_ns > most / 100 * percent ? most : interval_ns / percent * 100 + 100;
    return (interval_ns * 100 + percent - 1) / percent;
}

static void apply(struct lane *lane, nsec now)
{
    enum lane_slower who;
    unsigned percent = effective_percent(lane, &who), sessions = lane->configured.connections;
    nsec interval_ns = lane->configured.interval_ns ? lane->configured.interval_ns : lane->learned_interval_ns;
    if (interval_ns)
        interval_ns = longer(interval_ns, percent);
    else
        sessions = (unsigned)((uint64_t)sessions * percent / 100);
    for (enum lane_slower i = LANE_BY_HAND; i < LANE_SLOWERS; i++)
        if (lane->slowed[i].connections && lane->slowed[i].connections < sessions)
            sessions = lane->slowed[i].connections;
    if (interval_ns != lane->throttle.interval_ns || lane->throttle.burst != lane->configured.burst)
        lane_set_rate(lane, interval_ns, lane->configured.burst, now);
    lane_allow(lane, sessions ? sessions : 1);
}

void effective_slow(struct lane *lane, enum lane_slower who, unsigned percent, unsigned connections, nsec now)
{
    sluice_assert(percent <= 100 && who < LANE_SLOWERS);
    if (lane->slowed[who].percent == percent && lane->slowed[who].connections == connections)
        return;
    lane->slowed[who].percent = percent;
    lane->slowed[who].connections = connections;
    apply(lane, now);
}

void effective_learn(struct lane *lane, nsec interval_ns, nsec now)
{
    if (lane->learned_interval_ns == interval_ns)
        return;
    lane->learned_interval_ns = interval_ns;
    apply(lane, now);
}

void effective_configure(struct lane *lane, const struct throttle_limits *share, nsec now)
{
    lane->configured = *share;
    lane->connections = share->connections;
    apply(lane, now);
}
