/* events.h - ends on their way to Redis: gathered for a turn, written a lease at a time.
 *
 * The event, the totals and the ended bit of a recipient change in one step, so a recipient whose event is there owes
 * nothing, and one whose event is not there is still owed one. */
#ifndef FLOW_EVENTS_H
#define FLOW_EVENTS_H

#include "flow/ledger.h"
#include "flow/outcome.h"
#include "io/arena.h"
#include "io/pool.h"
#include "store/store.h"

struct events {
    struct store *store; /* borrows until dropped */
    void (*answered)(void *context, struct lease *lease, enum store_state state);
    void *context;
    struct settlement *pending;
    unsigned pending_count;
    struct pool batches; /* steps in flight */
    unsigned attempts_max;
    uint64_t fenced; /* steps that found the lease another's, or gone */
};

enum { EVENTS_PENDING = 256 };

/* `attempts_max`: that may be in memory at once. False: the arena is too small. */
must_use bool events_open(struct events *events, struct arena *arena, struct store *store, unsigned attempts_max,
                          void (*answered)(void *context, struct lease *lease, enum store_state state), void *context);
/* May recipients be taken into memory, and started? Not while Redis owes very many answers. Those who are in memory can
 * always be settled. */
bool events_has_room(const struct events *events);
/* The place for the next settlement, to be filled by outcome_settle or outcome_park and then closed with events_add. */
struct settlement *events_next(struct events *events);
void events_add(struct events *events);
/* Hands what is pending to the store. */
void events_flush(struct events *events);

#endif
