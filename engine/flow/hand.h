/* hand.h - what people have said by hand (store/control.h), as one shard keeps to it.
 *
 * Each shard reads sluice:control itself: twice a second, and at once when sluice:wake says so. Guarantees:
 *   - nothing starts before it was read once, so that a restart forgets no pause;
 *   - while Redis does not answer, what was read last holds;
 *   - a pause ends at its time by this engine's clock, without another read; a slow-down within half a second of it.
 * Where several entries fit, the longest pause and the smallest percentage hold.
 *
 * isp, source and lane shut the lane's gate LANE_PAUSED or slow it down (effective.h); campaign and pool hold campaigns
 * as `state paused` does: what waits in memory goes back to Redis. */
#ifndef FLOW_HAND_H
#define FLOW_HAND_H

#include "flow/campaign.h"
#include "flow/lane.h"
#include "store/control.h"

struct shard;

struct hand_entry {
    struct control_entry entry; /* borrows from the texts */
    char scope[CONTROL_SCOPE_MAX + 1], value[CONTROL_VALUE_MAX + 1];
    nsec until; /* of the shard's clock; NSEC_NEVER: no end */
};

struct hand {
    struct hand_entry *entries;
    unsigned count;
    bool known, too_many;
    bool again; /* was woken while a read was under way */
    nsec read_at;
    nsec offset;                        /* wall clock minus monotonic, when ends were last reckoned */
    uint64_t version;                   /* hash of all that was read */
    struct store_request read, removal; /* removal: shard 0 takes out what is over */
    struct control_note note;
    nsec round_trip; /* of the last read: what a step takes now */
    nsec asked_at;
    struct log_trouble trouble;
};

/* False: the arena is too small. */
must_use bool hand_open(struct shard *shard);
/* Once a turn; returns when it wants to be called again. */
nsec hand_turn(struct shard *shard, nsec now);
void hand_wake(struct shard *shard);
/* May anything start, as far as this is known? */
static inline bool hand_is_known(const struct hand *hand) { return hand->known && !hand->too_many; }
/* A lane has begun: it learns what holds for it. */
void hand_lane_made(struct shard *shard, struct lane *lane);
/* Takes over what holds for the campaign now. True: it is held. */
bool hand_campaign(struct shard *shard, struct campaign *campaign);
/* Is a step of this part unanswered? */
static inline bool hand_is_busy(const struct hand *hand)
{
    return store_request_busy(&hand->read) || store_request_busy(&hand->removal);
}

#endif
