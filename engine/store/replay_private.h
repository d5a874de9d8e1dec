/* replay_private.h - what the files of replay share: the steps that one hand asks of each campaign, and their bytes. */
#ifndef STORE_REPLAY_PRIVATE_H
#define STORE_REPLAY_PRIVATE_H

#include "store/replay.h"

enum {
    REPLAY_TRACKS = 256, /* buckets */
    REPLAY_CLASSES = 16, /* of memory: 512 bytes to 16 MiB */
};

struct replay_bytes {
    struct replay_bytes *next; /* of its class, while it is free */
    unsigned class, args;
    size_t n;
    char p[];
};

struct replay_entry {
    uint8_t state; /* STEP_NUMBERED: tells its answers from those of others */
    enum replay_step step;
    bool in_flight, acked, repeated, skip, abandoned;
    struct replay_entry *next;
    struct replay_track *track;
    struct store_request *asker; /* NULL: it has its answer */
    struct replay_bytes *bytes;  /* encoded arguments, all but the last ones */
    uint64_t number, before_take, before_work;
    nsec acked_at;  /* 0: not since Redis was last found to be another, or to have forgotten something */
    nsec missed_at; /* of a claim: when it was first not to be had; 0: not yet */
};

/* What one hand asks of one campaign. */
struct replay_track {
    struct replay_track *next; /* in its bucket */
    struct store *store;
    unsigned slot;
    uint64_t epoch; /* of who has the slot */
    char campaign[LIMIT_CAMPAIGN_ID + 1];
    struct replay_entry *log, **log_end;         /* numbered, by number */
    struct replay_entry *waiting, **waiting_end; /* have no number yet */
    uint64_t last_work, last_take;               /* numbers given last */
    uint64_t done_take;                          /* answered last */
    uint64_t settled_work, settled_take;         /* of those that are kept no more */
    uint64_t upto;                               /* behind the last seq that was leased from the list */
    unsigned works_in_flight, takes_in_flight;
    bool held; /* Redis has forgotten something, or is another: nothing is sent before that is known */
    bool unreported; /* it is another, and does not know that this hand is back */
    struct store_request query, doubt;
    uint64_t query_take, query_work;
    struct io_timer timer, settled;
    nsec delay;
    nsec settled_at; /* no lease before */
    nsec used_at;
};

struct replay {
    struct store *store;
    nsec keeps, settle;
    bool alone;      /* the process that is met first is nobody else's */
    char first[64];  /* that process; "": not met, or others use it, too */
    uint64_t number; /* the last one given */
    uint64_t epoch;
    struct replay_track *tracks[REPLAY_TRACKS];
    unsigned track_count;
    nsec swept_at;
    struct replay_bytes *free[REPLAY_CLASSES];
    struct replay_entry *free_entries;
    size_t bytes, held; /* of steps that are kept; with those that lie free */
    struct resp_command command;
};

static inline bool replay_is_take(const struct replay_entry *entry) { return entry->step != REPLAY_WORK; }

/* ---- replay.c ---- */

void replay_append(struct replay_entry ***end, struct replay_entry *entry);
/* Takes the entry that `*at` points to out of its list. */
struct replay_entry *replay_unlink(struct replay_entry **at, struct replay_entry ***end);
void replay_send_kept(struct replay_entry *entry);
/* Sends what waits and may go. Works overtake takes. */
void replay_pump(struct replay_track *track);

/* ---- replay_keep.c ---- */

/* Makes an entry of what stands in store->command. */
struct replay_entry *replay_entry_take(struct replay_track *track, enum replay_step step, struct store_request *asker);
void replay_entry_give(struct replay *replay, struct replay_entry *entry);
void replay_memory_free(struct replay *replay);
/* It changed nothing, or can be had no more: if Redis forgets it, only its number is told again. */
void replay_make_skip(struct replay_entry *entry);
/* What will be asked again if Redis forgets that it gave this answer. */
void replay_keep(struct replay_entry *entry, const struct resp_node *reply);
/* Lets go of what Redis will not forget any more. A take that Redis refuses for a while does not keep the rest. */
void replay_settle(struct replay_track *track);

/* ---- replay_lost.c ---- */

/* Nothing is sent before it is known what Redis knows. */
void replay_hold(struct replay_track *track);
/* As soon as all is answered that may change it, Redis is asked what it knows, and told that this hand is back if that
 * is all. */
void replay_find_out(struct replay_track *track);
/* Asks which steps are done. */
void replay_ask_counts(struct replay_track *track);
/* Another process answers, perhaps: what it knows is found out before anything else. */
void replay_meet(struct replay *replay);
void replay_on_delay(struct io_timer *timer);

#endif
