/* events.h - ends on their way to Redis: gathered for a turn, written a lease at a time.
 *
 * The event, the totals and the ended bit of a recipient change in one step, so a recipient whose event is there owes
 * nothing, and one whose event is not there is still owed one. */
#ifndef FLOW_EVENTS_H
#define FLOW_EVENTS_H

#include "flow/ledger.h"
#include "flow/outcome.h"
#include "io/arena.h"
#include "store/store.h"

struct events_batch;

struct events {
    struct store *store; /* borrows until dropped */
    void (*answered)(void *context, struct lease *lease, enum store_state state);
    void *context;
    struct settlement *pending;
    unsigned pending_count;
    struct events_batch *batches; /* not in flight */
    unsigned in_flight;
    uint64_t fenced; /* steps that found the lease another's, or gone */
};

enum { EVENTS_PENDING = 256 };

/* False: the arena is too small. */
must_use bool events_open(struct events *events, struct arena *arena, struct store *store,
                          void (*answered)(void *context, struct lease *lease, enum store_state state), void *context);
/* True while one more settlement can be taken; false only while Redis owes very many answers. */
bool events_has_room(const struct events *events);
/* The place for the next settlement, to be filled by outcome_settle or outcome_park and then closed with events_add.
 * Requires events_has_room. */
struct settlement *events_next(struct events *events);
void events_add(struct events *events);
/* Hands what is pending to the store. */
void events_flush(struct events *events);

#endif
