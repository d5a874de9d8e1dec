/* step.h - what the files of the store share: how a step is written, and how its answer reaches its owner. Nobody else
 * includes it. */
#ifndef STORE_STEP_H
#define STORE_STEP_H

#include "store/link.h"
#include "store/store.h"

enum { STORE_PREFIX_MAX = 64, STORE_ENGINE_MAX = 63 };

struct store {
    struct io *io;
    struct link *link;
    size_t backlog_bytes;
    struct resp_command command; /* the one that is being written */
    unsigned slot;               /* of its keys, which are all of one; SLOT_NONE: none was written yet */
    char slot_campaign[LIMIT_CAMPAIGN_ID + 1]; /* the one whose slot was computed last */
    unsigned campaign_slot;
    struct slice *items;         /* of the answer that is being given */
    unsigned item_count, items_cap;
    uint64_t adoptions;
    struct replay *replay; /* numbers of steps */
    void (*lost)(void *context, struct slice campaign);
    void *lost_context;
    char prefix[STORE_PREFIX_MAX + 1];
    char engine[STORE_ENGINE_MAX + 1];
    char incarnation[24];
    char hand[24]; /* tells this store from the others of its engine */
    char channel[STORE_PREFIX_MAX + 8];
    void (*woken)(void *context, struct slice campaign);
    void *woken_context;
    char *scanned; /* ids found by the scan that is under way, a zero byte behind each */
    size_t scanned_n, scanned_cap;
    char (*counts)[8]; /* numbers as text, of the events that are being answered */
    size_t counts_cap;
};

/* ---- writing ---- */

void step_text(struct store *store, const char *text);
/* A key of any kind as the next argument. All keys of a command are of one slot. */
void step_joined_key(struct store *store, const struct slice *parts, unsigned count);
/* "prefix:name<tail>" as the next argument. */
void step_global_key(struct store *store, const char *name, struct slice tail);
/* "prefix:{campaign}:name<tail>" as the next argument. */
void step_key(struct store *store, struct slice campaign, const char *name, struct slice tail);
/* FCALL with the keys of a campaign. Keys of its own, `more_keys` of them, and its arguments follow. */
void step_begin(struct store *store, const char *function, struct slice campaign, unsigned more_keys);
/* The same for a step on a lease: its ledger and its batch are passed; `more_keys` follow. */
void step_begin_lease(struct store *store, const char *function, struct slice campaign, struct slice lease,
                      unsigned more_keys);
/* Lease, owner, incarnation and hand: the first arguments of a step on a lease. */
void step_fence(struct store *store, struct slice lease);
/* FCALL of a function; its keys, so many, and its arguments follow. */
void step_begin_function(struct store *store, const char *function, unsigned keys);
/* FCALL with one key outside of any campaign, or a command that is no function. */
void step_begin_single(struct store *store, const char *function, const char *key, struct slice tail);
void step_begin_command(struct store *store, const char *name);
/* XADD to sluice:ops; fields and values follow. */
void step_begin_ops(struct store *store);

/* An event: the number of strings, then names and values. */
void step_event(struct store *store, const struct event *event, bool full);

/* What `state` of a request says, and the first byte of whatever else is handed to step_send. */
enum { STEP_IDLE = 0, STEP_ASKED, STEP_NUMBERED };
/* Codes of steps that did not run, as steps.lua has them. */
enum { STEP_LOST = -2, STEP_NOT_YET = -3, STEP_UNSETTLED = -4 };

/* What was written is asked. `read` is given a reply that is no error, and ends with step_done or asks for more. */
void step_ask(struct store *store, struct store_request *r,
              void (*read)(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated),
              unsigned flags);

/* The same of one server of several (link.h). */
void step_ask_server(struct store *store, struct store_request *r, unsigned server,
                     void (*read)(struct store *store, struct store_request *r, const struct resp_node *reply,
                                  bool repeated));

enum replay_step;
/* The same for a change to a campaign by this hand: it gets a number (replay.h). */
void step_ask_numbered(struct store *store, struct store_request *r,
                       void (*read)(struct store *store, struct store_request *r, const struct resp_node *reply,
                                    bool repeated),
                       struct slice campaign, enum replay_step step);
/* What was written leaves; replay_answered is called with `owner`, which begins with STEP_NUMBERED. */
void step_send_numbered(struct store *store, void *owner, unsigned slot);

/* ---- answering ---- */

/* The reply to what was asked for this request; NULL: the connection broke before it. */
void step_answered(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated);


/* The head that every step on a campaign answers with: the code as a result, and the state. True: the code is OK. */
must_use bool step_head(const struct resp_node *reply, struct store_answer *answer);
/* Whether a lease was refused because it is gone, rather than another's. */
bool step_gone(const struct resp_node *reply);
/* Makes `items` of the answer. */
void step_items_clear(struct store *store);
void step_item(struct store *store, struct slice item);
void step_items_of(struct store *store, const struct resp_node *array); /* adds its members that are text */
/* The owner learns, with the items made since step_items_clear. Exactly once for each request. */
void step_done(struct store *store, struct store_request *r, struct store_answer *answer);

/* The same, with the entries of a stream as store_events gives them (console.c). */
void step_done_events(struct store *store, struct store_request *r, const struct resp_node *entries);

/* Readers for what several steps answer. */
void step_read_plain(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated);
void step_read_command(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated);

#endif
