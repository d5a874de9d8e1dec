/* total.h - what all sources together may send to an ISP: `total.*` of its block.
 *
 * All lanes to such an ISP are whole and on its home shard, where one `struct lane_total` (lane.h) counts for all of
 * them. Engines that share a Redis have each a share of it, in whole parts (store/total.h), asked for every 2 s and
 * good for TOTAL_LIFE from the moment of asking, by the engine's own clock. Guarantees, over all sources, shards and
 * engines: starts in [a, b]  <=  burst + (b - a) / interval_ns,  and so for connections begun; connections open  <=
 * total.connections however often shares change hands (throttle_reshare). A share that was not renewed in time is not
 * used any more; only messages that are under way then are finished, and with them their connections. */
#ifndef FLOW_TOTAL_H
#define FLOW_TOTAL_H

#include "flow/lane.h"
#include "store/total.h"

#define TOTAL_LIFE (10 * NSEC_PER_S)

struct shard;

struct total {
    struct lane_total lane;
    struct shard *shard;
    struct config_total limits; /* the whole; all 0 since a reload took it away */
    char isp[LIMIT_ISP_NAME + 1];
    unsigned parts, held; /* of the whole; of these, ours */
    nsec asked_at, ask_at;
    struct store_request request;
};

/* Of one shard. */
struct totals {
    struct total *all;
    unsigned count;
};

must_use bool totals_open(struct shard *shard);
/* The total that lanes to this ISP are counted in, made when there is none; NULL: the configuration has none. It is
 * good for nothing before its first share has come. */
struct lane_total *totals_of(void *shard, const struct config *config, struct slice isp);
/* Another configuration; lanes find their totals anew by themselves. */
void totals_reload(struct shard *shard, const struct config *config);
/* Once a turn: asks for shares. Returns when it wants to be called again. */
nsec totals_turn(struct shard *shard, nsec now);

/* How many of `parts` a whole of this much is divided into; so many connections need. */
unsigned total_parts(const struct config_total *limits);
unsigned total_needs(const struct config_total *limits, unsigned parts, unsigned connections);

#endif
