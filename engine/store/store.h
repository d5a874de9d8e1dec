/* store.h - the closed list of steps that we ask of Redis. store.c is the only file that knows Redis' keys.
 *
 * A step is one atomic change (a function of steps.lua, or one command). Steps are pipelined on one connection per
 * store and answered in order. While Redis is away, or answers LOADING, READONLY, OOM, BUSY or MASTERDOWN, a step is
 * kept and repeated with back-off until it is answered: `done` comes exactly once, and never says "lost". That is safe
 * because **every step may be repeated**: lease ids are chosen by us, an ended bit is set once, and what was done
 * already is answered as done.
 *
 * The fence: steps on a lease name lease, owner and incarnation; if they are not the lease's, nothing is changed and
 * the answer is STORE_FENCED. A lease that is gone (all of it ended) answers STORE_FENCED too.
 *
 * Memory: a request is embedded in its owner, which must stay until `done`. What is passed in is encoded before the
 * call returns. Answers are borrowed until `done` returns. */
#ifndef STORE_H
#define STORE_H

#include "io/io.h"
#include "net/resolver.h"
#include "sluice/base.h"
#include "sluice/event.h"
#include "sluice/limits.h"
#include "sluice/slice.h"

struct store;
struct store_request;
struct resp_node;
struct control_note;
struct access;

struct store_config {
    const char *url;      /* store/url.h; borrows until return */
    const struct access *access; /* store/access.h; NULL: none. Borrows until return */
    const char *prefix;   /* "sluice" */
    const char *engine;   /* this engine's id */
    uint64_t incarnation; /* differs for every start of the engine, grows */
    nsec keeps;           /* what Redis acknowledged so long ago it will not forget (replay.h); 0: nothing at all */
    nsec settle;          /* no lease from a Redis that was restarted before, so that others may claim what is theirs */
    bool alone;           /* we have started this Redis: nobody else has anything to claim of it */
    size_t backlog_bytes; /* unanswered bytes at which store_busy says true; 0: 4 MiB */
};

/* The answer of every step. */
enum store_result {
    STORE_BROKEN = 0,
    STORE_OK,
    STORE_FENCED,  /* not our lease, or no such lease: nothing was changed */
    STORE_REFUSED, /* Redis refused for good (wrong type, no permission, ...); `error` says why */
};

/* The campaign's `state` as people set it; every step on a campaign answers with it. */
enum store_state { STORE_STATE_NONE = 0, STORE_RUNNING, STORE_PAUSED, STORE_CANCELLED };

struct store_answer {
    enum store_result result;
    enum store_state state;
    struct slice error;
    /* Which of the following is set depends on the step. */
    const struct slice *items; /* list of strings */
    unsigned item_count;
    uint64_t first;      /* leases of kind list: seq of items[0] */
    bool is_batch;       /* adopt: items are records (true) or entries of the recipients' list */
    struct slice ledger; /* adopt: bitmap, two bits a recipient: bit 2i permit, bit 2i+1 ended (SETBIT order) */
    int64_t number;
};

struct store_request {
    uint8_t state; /* private, and first: step.h */
    void (*done)(struct store_request *request, const struct store_answer *answer); /* set by the owner */
    /* private */
    void (*read)(struct store *store, struct store_request *request, const struct resp_node *reply, bool repeated);
    uint8_t campaign_state;
    bool closes;
    int64_t number;
    struct store_view *view;
    char campaign[LIMIT_CAMPAIGN_ID + 1], phase[16]; /* of steps that take several commands */
    struct control_note *control;                    /* likewise: borrows until done (control.h) */
    struct store_warmup_view *warmup;                /* warmup.h: borrows until done */
    const struct store_warmup_swap *swap;
};

static inline bool store_request_busy(const struct store_request *r) { return r->state != 0; }

/* Starts connecting at once; steps may be asked right away. NULL with a sentence on a bad URL. The resolver may be
 * NULL for Unix sockets and literal addresses. */
must_use struct store *store_open(struct io *io, struct resolver *resolver, const struct store_config *config,
                                  char *error, size_t error_cap);
/* Forgets requests without `done`, frees. Requires that the io is closed before (io_close_all, or a crash of the
 * simulated one): the operations of the store's connections are in its memory. */
void store_close(struct store *store);
/* All that was asked since the last flush leaves in one write. The shard calls it once a turn. */
void store_flush(struct store *store);
bool store_connected(const struct store *store);
/* Too much is unanswered, or Redis is away: do not start anything new. */
bool store_busy(const struct store *store);
/* Redis has forgotten more of this campaign than can be done again: what this store had leased of it counts as in doubt. */
void store_on_lost(struct store *store, void (*lost)(void *context, struct slice campaign), void *context);
/* Why it is not connected ("connect unix:/x: No such file or directory"); "" when it is. */
const char *store_trouble(const struct store *store);

/* ---- discovery ---- */
void store_campaigns(struct store *store, struct store_request *r); /* items: ids in sluice:campaigns */
/* Calls `woken` for each PUBLISH on sluice:wake; keeps a second connection for it. */
void store_on_wake(struct store *store, void (*woken)(void *context, struct slice campaign), void *context);

/* An engine, at one of its starts. */
struct store_owner {
    char engine[64];
    uint64_t incarnation;
};

/* The whole of a campaign at one instant, in one step. items: field, value, field, value... of the campaign's hash.
 * Numbers come in `view`, which the caller lends until done. */
struct store_view {
    bool exists;                  /* the campaign's hash exists */
    uint64_t taken;               /* recipients leased so far = seq of the next */
    uint64_t pushed;              /* recipients pushed so far */
    uint64_t parked, retry, held; /* records */
    uint64_t leases;              /* open leases of anybody */
    uint64_t events;              /* entries of the stream */
    int64_t retry_due_ms;         /* UTC of the earliest retry; 0: none */
    char phase[16], reason[256];
    uint64_t totals[EVENT_TYPE_COUNT];
    /* Leases that this engine may adopt: its own of an earlier incarnation, released ones, and those of the dead. At
     * most 16 a time. */
    unsigned orphan_count;
    char orphans[16][LIMIT_LEASE_ID + 1];
    char orphan_owner[16][64];
    uint64_t orphan_incarnation[16];
    /* Other engines that have leases, the dead ones too. */
    unsigned owner_count;
    struct store_owner owners[16];
    /* Parked lists with something in them, longer ones first. At most 64; of more, others in each look. */
    unsigned parked_count;
    struct store_parked {
        char isp[LIMIT_LIST_NAME + 1];
        uint64_t records;
    } parked_lists[64];
};
void store_look(struct store *store, struct store_request *r, struct slice campaign, struct store_view *view);
/* The same, and leases of these engines, which are known to be dead, may be adopted too. */
void store_look_after(struct store *store, struct store_request *r, struct slice campaign, struct store_view *view,
                      const struct store_owner *dead, unsigned dead_count);

/* If the stream holds `most` events or more: takes out those that all its consumer groups acknowledged, but none later
 * than `bite` after the oldest; ask again for more. Without a group nothing is acknowledged. number: events left. */
void store_trim_events(struct store *store, struct store_request *r, struct slice campaign, uint64_t most, nsec bite);

/* ---- leases. `lease` is 1 .. LIMIT_LEASE_ID bytes of [A-Za-z0-9._:-], never used before ---- */
/* Next range of the recipients' list: at most `most` entries and LIMIT_LEASE_BYTES, at least one entry if there is any.
 * No entries: no lease was made. Nothing is leased from a campaign that is paused. `first`: seq of the first. */
void store_lease_list(struct store *store, struct store_request *r, struct slice campaign, struct slice lease,
                      unsigned most);
/* Records from parked:<isp>, or retries due at or before `due_ms`; the items are records. */
void store_lease_parked(struct store *store, struct store_request *r, struct slice campaign, struct slice lease,
                        struct slice isp, unsigned most);
void store_lease_retry(struct store *store, struct store_request *r, struct slice campaign, struct slice lease,
                       int64_t due_ms, unsigned most);
/* Takes over a lease of (owner, incarnation): items, first, is_batch, ledger. FENCED: somebody was faster. */
void store_adopt(struct store *store, struct store_request *r, struct slice campaign, struct slice lease,
                 struct slice owner, uint64_t incarnation);
/* Gives a lease back: whoever looks may adopt it. */
void store_release(struct store *store, struct store_request *r, struct slice campaign, struct slice lease);

/* ---- the ledger ---- */
/* Sets the permit bits of `permits` and clears those of `withdrawn` (indices within the lease). */
void store_permit(struct store *store, struct store_request *r, struct slice campaign, struct slice lease,
                  const uint32_t *permits, unsigned permit_count, const uint32_t *withdrawn, unsigned withdrawn_count);

/* What ends a recipient in its lease. An index that is ended already is passed over. */
enum store_end_kind {
    STORE_END_BROKEN = 0,
    STORE_END_EVENT,  /* its final event */
    STORE_END_RETRY,  /* an event that is not final, and a record for the retry set due at due_ms */
    STORE_END_PARK,   /* no event; a record for parked:<isp> */
    STORE_END_HOLD,   /* an in_doubt event that is not final, and a record for the held list */
    STORE_END_RESEND, /* an in_doubt event that is not final, and a record for the retry set due at due_ms */
};
struct store_end {
    enum store_end_kind kind;
    uint32_t index;            /* within the lease */
    const struct event *event; /* EVENT, RETRY, HOLD, RESEND */
    bool full;                 /* the event's full form, though delivered */
    struct slice isp;          /* PARK: name of the list */
    int64_t due_ms;            /* RETRY, RESEND */
    struct store_record {      /* all but EVENT */
        uint64_t seq;
        uint32_t attempt;    /* attempts already made */
        int64_t first_ms;    /* UTC of the first; 0: none yet */
        struct slice source; /* the last one's name; "" : none */
        struct slice raw;    /* as it was pushed */
    } record;
};
/* `close`: all of the lease is ended with this; its keys go as soon as that is so (number: 1 if they went with this
 * step; later, when Redis still has to be asked again for a step before it). At most 256 ends a call. */
void store_end(struct store *store, struct store_request *r, struct slice campaign, struct slice lease,
               const struct store_end *ends, unsigned count, bool close);
/* Splits a record. False: it is none. */
must_use bool store_record_parse(struct slice text, struct store_record *record);

/* `unique 1`: which of these were first used by this seq? number: none; items: "1" (ours) or "0" (duplicate) each. */
void store_unique(struct store *store, struct store_request *r, struct slice campaign, const struct slice *addresses,
                  const uint64_t *seqs, unsigned count);

/* ---- the campaign's phase ---- */
void store_phase(struct store *store, struct store_request *r, struct slice campaign, const char *phase,
                 struct slice reason);
/* Done, or cancelled, if nothing is owed: sets the phase and done_at, lets the keys expire after keep_s, and only then
 * removes it from sluice:campaigns, looks again and puts it back if there is work. number: 1 if it ended. */
void store_finish(struct store *store, struct store_request *r, struct slice campaign, const char *phase,
                  uint64_t keep_s);

/* ---- engine and sources ---- */
/* number: 1 when this incarnation counts as alive for `life` from now; 0: another engine with our id does, and items[0]
 * is its incarnation. `previous`: our own incarnation before this one, which is known to be dead; 0: none is. */
void store_heartbeat(struct store *store, struct store_request *r, uint64_t previous, nsec life);
void store_heartbeat_end(struct store *store, struct store_request *r);
/* Is this engine alive? number: its incarnation; 0: it is not. */
void store_engine(struct store *store, struct store_request *r, struct slice engine);
/* number: 1 when the source is ours for `life` from now; 0: items[0] names the engine that has it. */
void store_source_hold(struct store *store, struct store_request *r, struct slice source, nsec life);
void store_source_release(struct store *store, struct store_request *r, struct slice source);
void store_ops(struct store *store, struct store_request *r, const struct slice *field_values, unsigned count);

/* ---- for the command line ---- */
void store_create(struct store *store, struct store_request *r, struct slice campaign, const struct slice *field_values,
                  unsigned count); /* HSET of the campaign's hash */
void store_push(struct store *store, struct store_request *r, struct slice campaign, const struct slice *entries,
                unsigned count); /* number: length of the list afterwards. NOT repeated when its answer was lost:
                                    answers STORE_REFUSED then, for a repeated push would double recipients */
void store_start(struct store *store, struct store_request *r, struct slice campaign); /* SADD and PUBLISH */
/* Everybody who waits looks anew, as after a change by hand. */
void store_wake(struct store *store, struct store_request *r);
/* Events after stream id `after` ("0", or one that was seen), at most `most`; waits up to `wait` for one. items: id,
 * number of fields, field, value, ... flat; number: events. At most 20 s are waited, and every step asked meanwhile
 * waits too: for the command line alone. */
void store_events(struct store *store, struct store_request *r, struct slice campaign, struct slice after,
                  unsigned most, nsec wait);
/* Ids of campaigns whose keys still exist, also those that are done (SCAN). One such request at a time. */
void store_all_campaigns(struct store *store, struct store_request *r);
/* items: at most `most` recipients from `first` on, as they were pushed; number: the first seq that is still in the
 * list, for what all leases are done with is trimmed. */
void store_entries(struct store *store, struct store_request *r, struct slice campaign, uint64_t first, unsigned most);

#endif
