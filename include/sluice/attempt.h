/* attempt.h - one try to deliver to one recipient, from its lease to its outcome.
 *
 * Lives in its shard's pool; borrows its bytes from its lease, which stays until all of it has ended. */
#ifndef SLUICE_ATTEMPT_H
#define SLUICE_ATTEMPT_H

#include "sluice/base.h"
#include "sluice/slice.h"

struct budget_counter;
struct campaign;
struct lease;
struct pressed;
struct session;
struct site;

enum permit {
    PERMIT_NONE = 0,
    PERMIT_ASKED,   /* on its way to Redis */
    PERMIT_GRANTED, /* acknowledged: the body may leave */
    PERMIT_REFUSED, /* fenced: the lease is another's, the body must not leave */
};

struct attempt {
    struct attempt *next, *prev; /* in the one queue that it stands in */
    struct campaign *campaign;
    struct lease *lease;
    struct site *site;       /* where its domain's mail goes; NULL before it is routed */
    struct session *session; /* that carries it; NULL while it waits */
    struct pressed *pressed; /* its message, while it waits with it; NULL: none yet, or the session has it */
    uint64_t seq;
    uint32_t index;          /* within the lease */
    uint32_t number;         /* of this attempt, 1 for the first */
    int64_t first_ms;        /* UTC of the recipient's first attempt; 0: this is it */
    struct slice raw;        /* the recipient's entry as it was pushed */
    struct slice to;         /* the address as it was given */
    struct slice domain;     /* its domain as A-labels */
    struct slice id;         /* the recipient's own id; may be empty */
    nsec listed_at;          /* when the suppression list was last asked about it, in io_now's time; 0: not yet */
    struct budget_counter *counter; /* whose unit it has reserved */
    uint32_t unit;                  /* the piece that the unit is of; 0: none is reserved (flow/budget.h) */
    struct slice last_source; /* name of the source of the attempt before; may be empty */

    /* The ledger's. */
    struct attempt *dirty_next;
    enum permit permit;
    uint32_t asks;      /* how often a permit was asked for: an answer counts only for the last */
    uint16_t pins;      /* answers outstanding, and being dirty; the attempt stays until there are none */
    bool dirty;         /* stands in the list of this turn's changes */
    bool permit_wanted;
    bool permit_set;    /* Redis has the bit, or will when it has read what was sent */
    bool ended;         /* owes nothing more; freed when nothing pins it */
};

#endif
