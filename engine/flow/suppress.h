/* suppress.h - asks the suppression list about a shard's recipients, many in one write.
 *
 * Guarantees: no MAIL is handed to the ring for an address of which the list had not been asked, and said no, within
 * the last minute (SUPPRESS_FRESH_S), counted from when it was asked; each attempt that is given comes back exactly
 * once, in the order in which those of its turn were given, unless the shard is on its way out.
 *
 * Nothing is remembered but when an attempt was asked for: an address that is put on the list before its recipient is
 * pushed is found, whatever was asked before. An attempt costs Redis a field of an HMGET, whose head it shares with
 * those of its turn and bucket. */
#ifndef FLOW_SUPPRESS_H
#define FLOW_SUPPRESS_H

#include "control/config.h"
#include "control/metrics.h"
#include "flow/outcome.h"
#include "io/arena.h"
#include "io/pool.h"
#include "store/suppress.h"

enum { SUPPRESS_FRESH_S = 60 };

struct suppress_ask;
struct suppress_batch;

/* What becomes of an attempt that was given: exactly one of the first three. `error` and `reply` are borrowed until
 * return. */
struct suppress_events {
    /* It is not on the list. `aside`: it had a site, and waited there, before it was given. Those that did come back
     * in the opposite order, each to stand in front of the one before. */
    void (*passed)(void *context, struct attempt *attempt, bool aside);
    /* It is; `reply` says so, for its event. */
    void (*found)(void *context, struct attempt *attempt, struct slice reply);
    /* Redis refused to say, for good. */
    void (*unknown)(void *context, struct attempt *attempt, struct slice error);
    /* Redis refused, for good, to note a refusal that counts. */
    void (*not_noted)(void *context, struct slice error);
};

struct suppress {
    struct io *io;
    struct store *store;
    struct metrics_shard *metrics;
    const struct suppress_events *on;
    void *context;
    bool enabled;
    struct suppress_policies policies;
    nsec keep; /* the longest time of theirs */
    unsigned attempts_max;
    struct pool batches, asks, strikes;
    struct suppress_batch *gathering; /* this turn's; NULL: none */
    struct suppress_ask **open;       /* of it: those that are being filled, by bucket */
    unsigned waiting;                 /* attempts that were given and have not come back */
};

struct suppress_config {
    struct io *io;
    struct store *store;
    const struct config *config; /* borrows until return; all above: until the shard is closed */
    struct metrics_shard *metrics;
    unsigned attempts_max; /* that may be in memory */
};

/* False: the arena is too small. */
must_use bool suppress_open(struct suppress *suppress, struct arena *arena, const struct suppress_config *config,
                            const struct suppress_events *on, void *context);
/* From now on another configuration says whether the list is asked and added to, and what counts. Borrows until return.
 * What was asked before is answered; an attempt that the list was not asked about is asked about before it starts. */
void suppress_reload(struct suppress *suppress, const struct config *config);
/* Must this attempt be asked about before it may start? */
bool suppress_due(const struct suppress *suppress, const struct attempt *attempt, nsec now);
/* Asks, with this turn's flush. The attempt stands in no queue until it comes back. */
void suppress_give(struct suppress *suppress, struct attempt *attempt);
void suppress_flush(struct suppress *suppress);
/* What a recipient's final outcome does to its address. Asked of Redis before the event is: dying between the two
 * leaves a recipient that still is owed its event, and an address that is on the list. */
void suppress_note(struct suppress *suppress, const struct attempt *attempt, const struct settlement *settlement);
/* May recipients be taken into memory? Not while Redis owes very many answers. */
bool suppress_has_room(const struct suppress *suppress);

#endif
