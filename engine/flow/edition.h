/* edition.h - one compiled version of a campaign's hash, and what all messages of it share.
 *
 * Editions belong to a shard and are counted: a campaign holds its newest, each pressed message the one that it was
 * pressed from. So a hash that changes pulls no bytes from under a message in flight, and no message is made of two
 * versions. What the bodies have in common, up to the first merge field, is encoded, made transparent, canonicalised
 * and hashed once, when the edition is made. */
#ifndef FLOW_EDITION_H
#define FLOW_EDITION_H

#include "proto/message/dkim.h"
#include "proto/message/message.h"
#include "proto/smtp/write.h"

struct sign_identity;

/* All of a shard. Zeroed: none. */
struct editions {
    struct edition *first;
    bool retired; /* one was retired; whoever has thrown away what was pressed from it takes this back */
};

struct edition {
    struct editions *all;
    struct edition *next, *prev;
    unsigned holds;
    bool old;                            /* retired: nothing may be pressed from it any more */
    const struct message_plan *plan;     /* owned, like all that it borrows */
    char return_path[LIMIT_ADDRESS + 1]; /* for MAIL, its domain as A-labels */
    size_t return_local;                 /* bytes of it before its '@' */
    bool verp;                           /* "+token" goes there, another one for each recipient (sign/token.h) */
    struct slice shared;                 /* the beginning of all bodies, transparent (RFC 5321 §4.5.2) */
    uint64_t shared_octets;              /* of it, without the dots that were stuffed */
    enum write_line shared_line;         /* where it leaves the line */
    char *stuffed;                       /* owned: `shared`, if dots had to be stuffed into it; or NULL */
    struct dkim_body body;               /* behind `shared` */

    /* The press's: */
    size_t own_guess;      /* a little more than the last message of it needed for itself */
    size_t field_room;     /* what it keeps free for signatures */
    uint64_t keys_version; /* of which the signers were looked up; 0: not yet */
    const struct sign_identity *signers[DKIM_SIGNATURES_MAX];
    unsigned signer_count;
};

/* Compiles a campaign's hash: names and values in turn, borrowed until return. The caller holds what it gets. NULL: it
 * is not complete; the reason is written. */
must_use struct edition *edition_make(struct editions *all, const struct slice *items, unsigned count, char *reason,
                                      size_t reason_cap);
struct edition *edition_hold(struct edition *edition); /* returns it */
void edition_release(struct edition *edition);         /* the last frees it */
/* Lets go of it for a newer one, or none: what was pressed from it and has not started is to be thrown away. */
void edition_retire(struct edition *edition);
/* Frees all, whoever holds them; at the end of the shard, when nothing is in flight. */
void editions_drop(struct editions *all);

#endif
