/* intake.h - from Redis' lists to attempts: campaigns, leases, and who is in them.
 *
 * Bounded: at most INTAKE_ATTEMPTS recipients wait and 64 MiB of their bytes are in memory, whatever waits in Redis. A
 * new range is leased only while few wait; what was parked or is due for a retry comes first. Of a parked list no more
 * is taken than has room, so that a slow ISP's recipients wait in Redis and not in the place of others.
 *
 * Each recipient of a lease is handed over exactly once, by `admit` or by `settle`, unless its ledger says that it has
 * ended. The attempt comes back by intake_ended. */
#ifndef FLOW_INTAKE_H
#define FLOW_INTAKE_H

#include "control/metrics.h"
#include "flow/campaign.h"
#include "flow/ledger.h"
#include "flow/neighbours.h"
#include "io/buddy.h"
#include "io/pool.h"
#include "sluice/attempt.h"
#include "sluice/outcome.h"

struct intake;

struct intake_events {
    /* A recipient that is to be sent to. */
    void (*admit)(void *context, struct attempt *attempt);
    /* One whose fate is decided already: invalid, a duplicate, cancelled, in doubt. */
    void (*settle)(void *context, struct attempt *attempt, const struct outcome *outcome);
    /* How many recipients from this parked list may be in memory, those in sessions included; 0: none, or it is another
     * shard's. */
    unsigned (*room)(void *context, const struct campaign *campaign, struct slice list);
    /* How many attempts sessions carry. */
    unsigned (*carried)(void *context);
    /* Does this engine hold a source of the campaign's pool? If not, another one may. */
    bool (*serves)(void *context, struct campaign *campaign);
    /* A look or a step showed that the campaign may not run any more as it did (paused, cancelled, incomplete, or to be
     * sent from another pool). */
    void (*stopped)(void *context, struct campaign *campaign);
    /* A look is back, with the numbers of the whole campaign. */
    void (*looked)(void *context, struct campaign *campaign);
};

/* What was leased from a pool's parked list, over all campaigns. */
struct intake_list {
    unsigned here;         /* in memory, or on their way to it */
    unsigned high;         /* of them, those of campaigns of priority high */
    unsigned wanting[2];   /* portion.h: how much those weigh together that have records there; high ones apart */
    nsec rest, rest_until; /* of a list of several ISPs: not before, for most of it was parked again */
};

struct intake {
    struct io *io;
    struct store *store;
    const struct config *config;
    const struct intake_events *on;
    void *context;
    struct metrics_shard *metrics;
    struct neighbours *neighbours;
    unsigned shard;
    uint64_t incarnation, lease_number, campaign_number;
    struct campaign *campaigns, *turn;
    unsigned wanting[2]; /* portion.h: the same of those that want a range of the list */
    unsigned high_count; /* campaigns of priority high */
    struct editions editions;
    struct pool campaign_pool, lease_pool, attempt_pool;
    struct lease *leases;
    unsigned lease_count, asked; /* open, and lease steps in flight */
    struct buddy memory;
    struct intake_list *lists; /* of each pool: one for each configured ISP, one for each bucket of the others */
    struct json_token *tokens;
    struct store_request list;
    nsec listed_at;
    bool list_again; /* woken while a look at the list was in flight */
    bool draining;
};

struct intake_config {
    struct io *io;
    struct store *store;
    const struct config *config;
    struct metrics_shard *metrics;
    struct neighbours *neighbours; /* who else has leases, and who of them is dead */
    unsigned shard;
    uint64_t incarnation;
};

enum { INTAKE_ATTEMPTS = 8192, INTAKE_LEASES = 1024 };

/* False: the arena is too small. */
must_use bool intake_open(struct intake *intake, struct arena *arena, const struct intake_config *config,
                          const struct intake_events *on, void *context);
/* Once a turn: looks, and leases where there is room, if it `may`. Returns when it wants to be called again. */
nsec intake_turn(struct intake *intake, bool may);
/* sluice:wake, or another shard's word: look at this campaign now ("" : at the list of campaigns). */
void intake_wake(struct intake *intake, struct slice campaign);
/* A step's answer carried the campaign's state. */
void intake_state(struct intake *intake, struct campaign *campaign, enum store_state state);
/* The attempt waits and is carried no more, whatever may still pin it. */
void intake_left(struct intake *intake, const struct attempt *attempt);
/* It has ended and nothing pins it. */
void intake_ended(struct intake *intake, struct attempt *attempt);
/* A step on this lease was answered: frees it when nothing is left. */
void intake_answered(struct intake *intake, struct lease *lease);
/* Gives back what has not started; no more leases. */
void intake_drain(struct intake *intake);
/* After intake_drain: is anything unanswered? */
bool intake_owes(const struct intake *intake);
unsigned intake_attempts(const struct intake *intake);
/* Most that can be in memory: those that wait, and two in each session. */
static inline unsigned intake_attempts_max(const struct config *config)
{
    return INTAKE_ATTEMPTS + 2 * config->sessions_max;
}
/* The index among intake->lists of the n-th parked list in the campaign's view. Requires a pool. */
uint32_t intake_list_of(const struct campaign *campaign, unsigned n);
/* Frees what campaigns have compiled; when nothing is in flight any more. */
void intake_drop(struct intake *intake);

#endif
