/* throttle.c - keeps every lane to its rate, exactly, with one addition per start. */
#include "proto/policy/throttle.h"

/* A burst takes at most this long to earn (73 years), so that instants near it never overflow. */
#define EARN_MAX ((nsec)1 << 61)

static uint32_t burst_bounded(nsec interval_ns, uint32_t burst)
{
    if (burst == 0)
        burst = 1;
    if (interval_ns > 0 && burst > EARN_MAX / interval_ns)
        burst = (uint32_t)(EARN_MAX / interval_ns);
    return burst;
}

nsec throttle_interval(uint64_t rate, nsec per)
{
    sluice_assert(per > 0);
    if (rate == 0)
        return 0;
    uint64_t period = (uint64_t)per;
    return (nsec)(period / rate + (period % rate != 0));
}

void throttle_init(struct throttle *t, nsec interval_ns, uint32_t burst, nsec now)
{
    sluice_assert(interval_ns >= 0 && interval_ns <= EARN_MAX && now >= 0 && now <= EARN_MAX);
    t->interval_ns = interval_ns;
    t->burst = burst_bounded(interval_ns, burst);
    t->paid_until = now + (nsec)t->burst * interval_ns;
}

nsec throttle_ready_at(const struct throttle *t, nsec now)
{
    if (t->interval_ns == 0)
        return now;
    return nsec_max(now, t->paid_until - (nsec)(t->burst - 1) * t->interval_ns);
}

void throttle_take(struct throttle *t, nsec now)
{
    sluice_assert(throttle_ready_at(t, now) == now);
    t->paid_until = nsec_max(t->paid_until, now) + t->interval_ns;
}

void throttle_change(struct throttle *t, nsec interval_ns, uint32_t burst, nsec now)
{
    if (t->interval_ns == 0 || interval_ns == 0) {
        if (t->interval_ns != interval_ns)
            throttle_init(t, interval_ns, burst, now);
        else
            t->burst = burst_bounded(interval_ns, burst);
        return;
    }
    sluice_assert(interval_ns > 0 && interval_ns <= EARN_MAX);
    if (interval_ns != t->interval_ns && t->paid_until > now) {
        nsec owed = t->paid_until - now;
        nsec starts = owed / t->interval_ns + (owed % t->interval_ns != 0);
        t->paid_until = now + (starts > EARN_MAX / interval_ns ? EARN_MAX : starts * interval_ns);
    }
    t->interval_ns = interval_ns;
    t->burst = burst_bounded(interval_ns, burst);
}

/* Starts that are allowed at this instant. */
static nsec allowed_at_once(const struct throttle *t, nsec now)
{
    if (t->paid_until <= now)
        return t->burst;
    nsec owed = t->paid_until - now, starts = owed / t->interval_ns + (owed % t->interval_ns != 0);
    return starts < (nsec)t->burst ? (nsec)t->burst - starts : 0;
}

void throttle_reshare(struct throttle *t, nsec interval_ns, uint32_t burst, nsec now)
{
    sluice_assert((t->interval_ns == 0) == (interval_ns == 0) && interval_ns <= EARN_MAX);
    burst = burst_bounded(interval_ns, burst);
    if (interval_ns == t->interval_ns && burst == t->burst)
        return;
    if (interval_ns) {
        nsec kept = allowed_at_once(t, now);
        t->paid_until = now + ((nsec)burst - (kept < (nsec)burst ? kept : (nsec)burst)) * interval_ns;
    }
    t->interval_ns = interval_ns;
    t->burst = burst;
}

nsec throttle_part_interval(nsec interval_ns, unsigned held, unsigned parts)
{
    sluice_assert(held > 0 && held <= parts);
    nsec whole = interval_ns / held, rest = interval_ns % held;
    if (whole >= EARN_MAX / (nsec)parts - 1)
        return EARN_MAX;
    return whole * (nsec)parts + (rest * (nsec)parts + (nsec)held - 1) / (nsec)held;
}

bool throttle_splits(const struct throttle_limits *lane, unsigned shards)
{
    sluice_assert(shards > 0);
    if (lane->interval_ns > EARN_MAX / (nsec)shards || lane->connect_interval_ns > EARN_MAX / (nsec)shards)
        return false;
    return lane->connections >= shards && (lane->interval_ns == 0 || lane->burst >= shards) &&
           (lane->connect_interval_ns == 0 || lane->connect_burst >= shards);
}

/* `whole` in `shards` parts that differ by at most one and add up. */
static uint32_t part(uint32_t whole, unsigned shards, unsigned shard)
{
    return whole / shards + (shard < whole % shards ? 1 : 0);
}

struct throttle_limits throttle_share(const struct throttle_limits *lane, unsigned shards, unsigned shard)
{
    sluice_assert(throttle_splits(lane, shards) && shard < shards);
    struct throttle_limits share = {
        .connections = part(lane->connections, shards, shard),
        .burst = part(lane->burst, shards, shard),
        .interval_ns = lane->interval_ns * (nsec)shards,
        .connect_burst = part(lane->connect_burst, shards, shard),
        .connect_interval_ns = lane->connect_interval_ns * (nsec)shards,
    };
    if (share.burst == 0)
        share.burst = 1; /* only without a rate, where it limits nothing */
    if (share.connect_burst == 0)
        share.connect_burst = 1;
    return share;
}
