/* effective.h - what a lane may do now: the least that its configuration and everybody who slows it down leave it.
 *
 * Each of those who slow lanes down (by hand, by what an ISP replies) says its own word and never undoes another's. In
 * force are the smallest percentage and the smallest number of connections that any of them says:
 *     interval  = the configured share's * 100 / percent, rounded up     (a lane with a rate)
 *     sessions  = the configured share's * percent / 100, at least 1     (a lane without)
 *     sessions <= connections of each who says so, at least 1
 * so that nothing is ever above the configuration. A change of the interval goes by throttle_change. */
#ifndef FLOW_EFFECTIVE_H
#define FLOW_EFFECTIVE_H

#include "flow/lane.h"

/* `percent` 1 .. 100 of the rate and at most `connections`; 0 for either: no word on that. */
void effective_slow(struct lane *lane, enum lane_slower who, unsigned percent, unsigned connections, nsec now);
/* What a lane without a configured rate has learned to keep to, as this shard's share; 0: nothing. Percentages are of
 * it then. */
void effective_learn(struct lane *lane, nsec interval_ns, nsec now);
/* Another configuration, as this shard's share: what was slowed down stays so, measured by the new one. */
void effective_configure(struct lane *lane, const struct throttle_limits *share, nsec now);
/* The percentage in force, 100 when nobody slows it down, and who says so. */
unsigned effective_percent(const struct lane *lane, enum lane_slower *who);

#endif
