/* press.h - where messages are rendered and signed, in batches, ahead of the sessions, in a fixed budget of memory.
 *
 * A pressed message is what goes over the wire, in parts and without the final dot: CRLF canonical, made transparent
 * (RFC 5321 §4.5.2), its last line ended by CRLF.
 *
 * A signature costs many times what all else does, and eight together cost little more than three (sign/signer.h): so
 * who needs a message gets it with those of the next in line, which keep theirs in attempt->pressed until their turn.
 * Guarantees:
 *   - What waits is pressed only while half of the budget is free, and goes when a message that is wanted now needs
 *     its place: pressing ahead keeps nobody from starting.
 *   - A message starts no later than PRESS_GOOD_FOR after it was pressed, and never before (its Date and t= hold),
 *     from the campaign's newest edition and with the newest keys; what is older is pressed again.
 *   - Nothing leaves unsigned that somebody is to sign for. */
#ifndef FLOW_PRESS_H
#define FLOW_PRESS_H

#include "flow/campaign.h"
#include "io/arena.h"
#include "io/buddy.h"
#include "io/table.h"
#include "sign/keys.h"
#include "sign/signer.h"
#include "sluice/attempt.h"
#include "sluice/outcome.h"

enum {
    PRESS_BATCH = 8, /* messages that are signed together */
    PRESS_GOOD_FOR_S = 300,
    PRESSED_PARTS = 3,
};

/* Owned by the press; given back with press_give, or while it waits with press_forget. */
struct pressed {
    /* Its own header | what its body shares with others, borrowed from its edition | the rest of its body. A part may
     * be empty; the last that is not ends in CRLF. */
    struct slice parts[PRESSED_PARTS];
    uint64_t size;    /* octets of the message itself (RFC 1870): without the dots that were stuffed */
    bool transparent; /* dots were stuffed: what DATA carries, and BDAT may not */
    bool eight_bit, utf8;
    struct slice message_id;      /* within the header */
    char to[LIMIT_ADDRESS + 1];   /* for RCPT: the domain as A-labels */
    char from[LIMIT_ADDRESS + 1]; /* for MAIL */

    /* The press's: */
    struct edition *edition;     /* held */
    nsec wall;                   /* when it was pressed */
    struct attempt *attempt;     /* that waits with it */
    struct pressed *next, *prev; /* of those that wait */
    bool failed;                 /* a signature could not be had */
};

struct press_field;

struct press {
    struct buddy memory;
    struct json_token *tokens;
    struct sign_keys *keys; /* held; NULL: nothing is signed */
    uint64_t keys_version;
    struct signer *signer;        /* owned */
    const struct dkim_pair *pair; /* NULL: bodies are hashed one after the other */
    struct pressed *first, *last; /* that wait, the oldest first */
    struct press_field *fields;   /* of the batch that is being made: signatures and where they go */
    struct sign_job *jobs;
    unsigned job_count;
    char reason[MESSAGE_ERROR_TEXT];
    uint64_t rendered, signatures, thrown_away, unsigned_; /* counters; the last: messages without a signature */
};

enum press_result {
    PRESS_BROKEN = 0,
    PRESS_DONE,     /* attempt->pressed is there */
    PRESS_NO_ROOM,  /* try again when something was given back */
    PRESS_INVALID,  /* this recipient cannot be written to */
    PRESS_UNSIGNED, /* whoever is to sign it cannot: it may not be sent */
};

/* False: the arena is too small, or there is no memory. `budget` is rounded down to a power of two. Holds `keys`, which
 * may be NULL. */
must_use bool press_open(struct press *press, struct arena *arena, size_t budget, struct sign_keys *keys);
/* Lets go of all that is not in the arena. One that was never opened is left alone. */
void press_close(struct press *press);
/* Other keys from now on: what was signed with those before and waits is thrown away. */
void press_rekey(struct press *press, struct sign_keys *keys);

/* Has the attempt a message that may be sent now? One that may not be any more is thrown away. */
must_use bool press_ready(struct press *press, struct attempt *attempt, nsec wall);
/* Presses the message of `wanted`, which is not ready and whose campaign is complete, and with it those of up to
 * PRESS_BATCH - 1 others, if there is room and if they are to be signed; who of them has none afterwards will be told
 * why when its message is wanted. INVALID, UNSIGNED: *reason says why, borrowed until the next call. */
must_use enum press_result press_batch(struct press *press, struct attempt *wanted, struct attempt *const *others,
                                       unsigned count, nsec wall, struct slice *reason);
/* Does its message need a signature, so that it is worth while to press others with it? */
must_use bool press_signs(struct press *press, const struct attempt *attempt);
/* Takes the message of an attempt that has one; to be given back. */
must_use struct pressed *press_take(struct press *press, struct attempt *attempt);
void press_give(struct press *press, struct pressed *pressed);

/* Throws away the message of an attempt, if it has one: it ends, or waits elsewhere. */
void press_forget(struct press *press, struct attempt *attempt);
/* Throws away all that waits: nothing starts any more. */
void press_discard(struct press *press);
/* Throws away what waits and may not be sent any more. */
void press_sweep(struct press *press, nsec wall);

static inline size_t press_used(const struct press *press) { return press->memory.used; }

#endif
