/* campaign.h - a campaign as one shard sees it: what Redis said last, compiled.
 *
 * The hash is people's: it may be missing, incomplete or wrong at any moment and right a second later. So a campaign
 * is either complete, or has a reason, and is looked at again; it is never refused for good. */
#ifndef FLOW_CAMPAIGN_H
#define FLOW_CAMPAIGN_H

#include "control/config.h"
#include "flow/edition.h"
#include "proto/window.h"
#include "store/store.h"

enum campaign_doubt { DOUBT_HOLD = 1, DOUBT_RESEND, DOUBT_DROP };

struct intake;

struct campaign {
    struct campaign *next, *prev;
    struct intake *intake;
    uint64_t number; /* no other of this shard has it, or will; > 0 */
    char id[LIMIT_CAMPAIGN_ID + 1];
    bool listed;     /* stands in sluice:campaigns */
    bool looked;     /* `view` and all below are valid */
    bool look_again; /* as soon as the look in flight is back */
    nsec looked_at;  /* 0: look at once */
    nsec seen_at;    /* when `view` came */
    enum store_state state;
    struct store_view view;
    int ran_in; /* the pool that it was sent from when that was last asked; -1: it did not run */
    struct store_request look;
    struct store_request step;  /* taking a lease */
    struct store_request phase; /* phase and finish */
    struct store_request trim;  /* of events that were read */
    bool held;                  /* by hand (hand.h), for this reason: */
    char held_why[192];
    bool unread;                /* events_max is reached, and they were not all read: nothing is leased */

    uint64_t version; /* hash of the fields that were compiled */
    bool complete;
    char reason[256]; /* why it is not complete, or waits */
    int pool;         /* index into config.pools; -1: none that we serve */
    bool unique, sealed, full;
    bool high;       /* priority high: before all others (turns.h) */
    bool moves;      /* that has changed: who waits is to be placed anew */
    unsigned weight; /* 1 .. TURNS_WEIGHT_MAX, among those of its class */
    enum campaign_doubt doubt;
    uint64_t keep_s;
    struct hours hours; /* its zone borrows from zone_bytes */
    char *zone_bytes;   /* owned */
    bool shut, over;   /* campaign_clock: it is outside its windows or before not_before; behind not_after */
    int64_t clock_ms;  /* until when that holds, UTC; 0: it was never asked */
    char shut_why[80];
    struct edition *edition;             /* held: the newest; not NULL while complete */

    unsigned attempts; /* in this shard's memory */
    unsigned carried;  /* of them, in sessions */
    unsigned leases;   /* open here */
    struct lease *first_lease;
    size_t bytes;      /* of their entries */
    struct {           /* portion.h: what it was counted with */
        unsigned count, weight;
        bool high;
        uint32_t lists[countof(((struct store_view *)0)->parked_lists)];
    } wanted;
    bool leasing;      /* a lease step is in flight: its kind (a metric) and the lease's id */
    unsigned leasing_kind;
    char leasing_id[LIMIT_LEASE_ID + 1];
    unsigned parked_turn;                                                   /* which parked list comes first */
    uint16_t parked_index[countof(((struct store_view *)0)->parked_lists)]; /* of the lists in `view`, within a pool */
    int leasing_list;                                                       /* of intake; -1: none */
    bool leasing_high;
    unsigned leasing_most;
    nsec rest_until; /* no range lease before: everything was parked */
    char said[16];   /* phase and reason that were logged last */
    char said_reason[256];
    nsec unserved_since; /* nobody else has leases of it, and we serve it not; 0: somebody may have */
    bool finishing;
};

/* Takes what a look brought. Compiles only what has changed. */
void campaign_update(struct campaign *campaign, const struct config *config, struct editions *editions,
                     const struct slice *items, unsigned count);
/* Redis refused a step on it for good, say because a key is of another type. */
void campaign_refused(struct campaign *campaign, struct slice error);
/* Lets go of what it holds. */
void campaign_drop(struct campaign *campaign);
/* Works out what the hour means for it. */
void campaign_clock(struct campaign *campaign, int64_t now_ms);
/* Does what was worked out last not hold any more? */
static inline bool campaign_clock_is_due(const struct campaign *campaign, int64_t now_ms)
{
    return now_ms >= campaign->clock_ms;
}
static inline bool campaign_is_on(const struct campaign *campaign)
{
    return campaign->complete && campaign->state == STORE_RUNNING && !campaign->held;
}
/* May recipients of it be started now? */
static inline bool campaign_runs(const struct campaign *campaign)
{
    return campaign_is_on(campaign) && !campaign->shut && !campaign->over;
}
/* Is all of it to end now, without being sent? */
static inline bool campaign_ends(const struct campaign *campaign)
{
    return campaign->state == STORE_CANCELLED || (campaign_is_on(campaign) && campaign->over);
}
/* The phase as people should see it, with the reason or "". */
const char *campaign_phase(const struct campaign *campaign, struct slice *reason);
bool campaign_owes_nothing(const struct campaign *campaign);

#endif
