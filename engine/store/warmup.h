/* warmup.h - the records of warm-up counters in Redis (proto/policy/warmup.h), and the pieces that it grants of them.
 *
 * One hash for each source, `<prefix>:warmup:<source name>`, with these fields for each counter (an ISP's name, `other`
 * or `all`):
 *     <counter>           its record as warmup_record_write makes it
 *     <counter>/next      the instant before which nothing is granted, UTC in us
 *     <counter>/call      who asked last and what was answered: a call that is repeated is answered as before
 *     <counter>/history   days that have ended, the last one first (warmup_history_next)
 *     <counter>/told      a transition that is not in `<prefix>:ops` yet
 *
 * Guarantee: whatever is asked by whom and how often, of a counter's day no more is granted in all than the cap of the
 * record that was in force when it was. Redis' clock decides which day it is. A record changes, but for its `granted`
 * and counts, by compare-and-set alone. */
#ifndef STORE_WARMUP_H
#define STORE_WARMUP_H

#include "proto/policy/warmup.h"
#include "proto/zone.h"
#include "store/store.h"

enum { STORE_WARMUP_PARTS = 2, STORE_WARMUP_TOLD = 1024 };

/* ---- a piece ---- */

/* One counter of those that a unit counts for: the ISP's (or `other`), and `all`. */
struct store_warmup_part {
    struct slice counter;
    const struct warmup_record *record; /* what the cap was computed from; NULL: it is not known yet */
    uint64_t cap;                       /* WARMUP_UNLIMITED: none */
    nsec interval;                      /* warmup_pace */
    struct warmup_counts counts;        /* what became of messages since the last call: added */
};

struct store_warmup_ask {
    struct slice source;
    uint64_t call;       /* another one for each that is not a repetition */
    nsec wall;           /* ours: nothing is granted when Redis' clock shows a minute more or less */
    struct zone_day day; /* that the units are to be of */
    uint64_t wanted;     /* units; 0: only the counts are reported, and what is given back */
    uint64_t given_back; /* units of this day that were granted to the same caller, and that nobody will use */
    unsigned part_count;
    struct store_warmup_part parts[STORE_WARMUP_PARTS];
};

enum store_warmup_result {
    STORE_WARMUP_BROKEN = 0,
    STORE_WARMUP_GRANTED, /* `granted` units; also a call that wanted none */
    STORE_WARMUP_LATER,   /* not before `next` of the part that it is latest of */
    STORE_WARMUP_FULL,    /* a cap is used up */
    STORE_WARMUP_CHANGED, /* a record is missing, of an earlier day, or has another stage or state than it was asked
                             with: to be turned, or looked at again */
    STORE_WARMUP_EARLY,   /* a record is of a later day */
    STORE_WARMUP_OUTSIDE, /* by Redis' clock it is not that day */
    STORE_WARMUP_CLOCKS,  /* the clocks differ too much */
    STORE_WARMUP_RESULT_COUNT
};

struct store_warmup_view {
    enum store_warmup_result result;
    uint64_t granted;
    nsec now; /* Redis' wall clock, when it answered the first time */
    struct store_warmup_seen {
        bool exists;
        char text[WARMUP_RECORD_TEXT]; /* as it stands there */
        struct warmup_record record;   /* the same; exists is false where it cannot be read */
        nsec next;                     /* wall time by Redis' clock; 0: at once */
        char told[STORE_WARMUP_TOLD];  /* a transition that somebody still has to tell; "" : none */
    } parts[STORE_WARMUP_PARTS];
};
/* The view is the caller's until done. */
void store_warmup_ask(struct store *store, struct store_request *r, const struct store_warmup_ask *ask,
                      struct store_warmup_view *view);

/* ---- a transition ---- */

/* A record's compare-and-set. */
struct store_warmup_swap {
    struct slice source, counter;
    struct slice expected;              /* text; "" : there is none yet */
    const struct warmup_record *record; /* that stands there afterwards */
    struct slice history;               /* an item to be put in front (warmup_history_item); "" : none */
    struct slice told; /* "name=value" lines, each ended by \n, of the entry in `<prefix>:ops`; "" : none is due */
};
/* number: 1 if it stands there now, and the entry was made; 0: it was another one, items[0] as it stands ("" : none). A
 * new stage, state or day begins its pace anew. Borrows the swap and its texts until done. */
void store_warmup_swap(struct store *store, struct store_request *r, const struct store_warmup_swap *swap);
/* Makes the entry of a transition that was left untold: `source`, `counter` and `told` of the swap. */
void store_warmup_tell(struct store *store, struct store_request *r, const struct store_warmup_swap *swap);

/* The entry of a transition as such lines: "warmup=back-struck", source, isp (the counter), engine ("" : a person's),
 * day, from, to, from_cap, to_cap, and what it was decided by. Returns its length. */
size_t store_warmup_told(char to[STORE_WARMUP_TOLD], struct slice source, struct slice counter, struct slice engine,
                         const struct warmup_turned *turned);

/* ---- for people ---- */

/* items: field, value, field, value... of the source's hash. */
void store_warmup_read(struct store *store, struct store_request *r, struct slice source);

/* ---- what Redis keeps ---- */

/* Another number whenever another server process may be the one that answers: what was acknowledged before, and not
 * proved to last, may be forgotten. 0: none was connected to yet. */
uint64_t store_epoch(const struct store *store);
/* The same of the server that holds this campaign: in a cluster one of several. */
uint64_t store_epoch_of(const struct store *store, struct slice campaign);
/* The server was alive at this instant of our monotonic clock, by an answer to what was asked no earlier, in this
 * epoch; 0: not yet. With appendfsync everysec, what it acknowledged some seconds before that is on its disk. */
nsec store_alive_at(const struct store *store);
/* Could the server be told apart from another one (INFO)? If not, each new connection is a new epoch. */
bool store_knows_server(const struct store *store);
/* How the server writes to its disk. items[0]: appendonly, items[1]: appendfsync. STORE_REFUSED: we are not told. */
void store_durability(struct store *store, struct store_request *r);

#endif
