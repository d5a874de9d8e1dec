/* ledger.h - leases, and the permits of their recipients.
 *
 * Guarantee: `decided` says GRANTED only when Redis has acknowledged the bit for this very ask under our lease, so no
 * body that waits for it can leave unrecorded. All of a turn's permits and withdrawals of a lease go in one step. */
#ifndef FLOW_LEDGER_H
#define FLOW_LEDGER_H

#include "io/arena.h"
#include "sluice/attempt.h"
#include "sluice/limits.h"
#include "store/store.h"

struct ledger;
struct permit_batch;
struct lease_extra;

/* A run of recipients that this shard has taken. */
struct lease {
    struct lease *next, *prev;
    struct lease *mate, *mate_before; /* of the same campaign */
    struct campaign *campaign;
    const char *campaign_id; /* the campaign's */
    char id[LIMIT_LEASE_ID + 1];
    bool batch;          /* of records, not a range of the list */
    bool high;           /* counted so in `list` */
    size_t size;         /* bytes of its entries */
    int list;            /* of intake: the parked list that it was leased from; -1: none. Their place is reserved */
    bool lost;           /* fenced: it is another's now */
    bool refused;        /* Redis refused a step on it for good: it is given back as soon as that is possible */
    bool releasing;      /* is being given back */
    uint32_t count;      /* recipients in it */
    uint32_t open;       /* not ended, as far as we asked */
    uint32_t unanswered; /* steps on it in flight */
    uint32_t parked;     /* of them, how many were parked (again) */
    uint64_t first;      /* seq of the first, ranges only */
    char *bytes;         /* the entries; owned by whoever made the lease, like all below but the last */
    struct lease_extra *extra;
    struct attempt *checked; /* wait for `unique` */
    struct store_request unique, give_back;
    struct permit_batch *batch_open; /* this turn's */
};

struct ledger_events {
    /* permit is GRANTED or REFUSED; the attempt has not ended */
    void (*decided)(void *context, struct attempt *attempt);
    /* the attempt has ended and nothing pins it */
    void (*unpinned)(void *context, struct attempt *attempt);
    /* an answer came for this lease (its `unanswered` fell) */
    void (*answered)(void *context, struct lease *lease, enum store_state state);
};

struct ledger {
    struct store *store; /* borrows until dropped */
    const struct ledger_events *on;
    void *context;
    struct attempt *dirty, **dirty_end;
    struct permit_batch *batches, *open;
    uint64_t asked, answered, granted, withdrawn, fenced; /* counters */
};

/* False: the arena is too small. */
must_use bool ledger_open(struct ledger *ledger, struct arena *arena, struct store *store,
                          const struct ledger_events *on, void *context);
/* The body of this attempt would like to leave. Asked with the next flush. */
void ledger_permit(struct ledger *ledger, struct attempt *attempt);
/* It will not be sent now. Withdrawn with the next flush, if it was asked for at all. */
void ledger_withdraw(struct ledger *ledger, struct attempt *attempt);
/* The attempt has ended: nothing more is owed to its permit. */
void ledger_forget(struct ledger *ledger, struct attempt *attempt);
void ledger_flush(struct ledger *ledger);

#endif
