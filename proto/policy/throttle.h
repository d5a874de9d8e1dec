/* throttle.h - when may this lane start its next message?
 *
 * Pure arithmetic: no clock, no I/O, no allocation. The caller passes `now`, any clock that does not go back.
 * Guarantee, for any closed interval [a, b] in which the rate does not change:
 *     starts in [a, b]  <=  burst + (b - a) / interval_ns      (interval_ns rounded up)
 * and for one in which it changes, at c:
 *     starts in [a, b]  <=  max(burst, burst') + (c - a) / interval_ns + (b - c) / interval_ns'
 * It holds across a restart too, because a lane begins empty: as if the burst had just been spent. */
#ifndef PROTO_POLICY_THROTTLE_H
#define PROTO_POLICY_THROTTLE_H

#include "sluice/base.h"

struct throttle {
    nsec interval_ns; /* the period divided by the starts allowed in it, rounded up; 0: no limit */
    uint32_t burst;   /* starts allowed at one instant; >= 1 */
    nsec paid_until;  /* the instant at which every past start is paid for */
};

/* `rate` starts in each `per`, as the interval between two; 0 for a rate of 0, which is no limit. Requires per > 0. */
nsec throttle_interval(uint64_t rate, nsec per);

/* The first start is allowed one interval after `now`, a full burst after `burst` intervals. Requires now >= 0. A
 * burst that would take longer than 70 years to earn is lowered to what can be earned in that time; 0 counts as 1. */
void throttle_init(struct throttle *t, nsec interval_ns, uint32_t burst, nsec now);

nsec throttle_ready_at(const struct throttle *t, nsec now); /* earliest instant >= now at which take is allowed */
void throttle_take(struct throttle *t, nsec now);           /* requires throttle_ready_at(t, now) == now */

/* A reload. What is owed stays owed, counted in starts and rounded up to a whole one; unchanged limits change nothing.
 * From no limit to one the lane begins empty. */
void throttle_change(struct throttle *t, nsec interval_ns, uint32_t burst, nsec now);

/* Another share of something that several have shares in, none of which may bring what another has spent. What may start
 * at once does not grow by it, so that for shares which never add up to more than the whole the starts of all obey
 *     starts in [a, b]  <=  burst + (b - a) / interval_ns      of the whole,
 * however often shares change. With interval_ns 0, no limit, it must have had none. */
void throttle_reshare(struct throttle *t, nsec interval_ns, uint32_t burst, nsec now);

/* The interval of `held` parts of a whole that has `parts`, rounded up. Requires 1 <= held <= parts. */
nsec throttle_part_interval(nsec interval_ns, unsigned held, unsigned parts);

/* What is split when a lane is split into one sub-lane per shard. */
struct throttle_limits {
    uint32_t connections;
    uint32_t burst;
    nsec interval_ns; /* 0: no limit */
    uint32_t connect_burst; /* the same two for connections that are begun */
    nsec connect_interval_ns;
};

/* True if the lane may be split: its connections and, where it has a rate, its burst are each at least the number of
 * shards, and so for the rate of connections. Else it stays whole, on one shard. */
must_use bool throttle_splits(const struct throttle_limits *lane, unsigned shards);

/* The share of `shard` (0 .. shards - 1). Connections and bursts of all shares add up to the lane's; the interval is
 * the lane's times the shards, so that all shares together keep the lane's guarantee. Requires throttle_splits. */
struct throttle_limits throttle_share(const struct throttle_limits *lane, unsigned shards, unsigned shard);

#endif
