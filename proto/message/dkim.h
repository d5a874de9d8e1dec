/* dkim.h - DomainKeys Identified Mail: what is hashed, and the field that tells of it (RFC 6376, RFC 8301, RFC 8463).
 *
 * Canonicalises relaxed/relaxed and never sees a key: whoever has one signs the digest. The order of things:
 *
 *     dkim_body_init, dkim_body_update ..., dkim_body_final     the body, in pieces of any size        -> bh
 *     dkim_header_read                                          the fields above it, once a message
 *     dkim_field_write                                          once a signature                      -> digest
 *     (signs the digest)
 *     dkim_field_finish                                         the signature's bytes in base64
 *
 * Guarantees:
 *  - The body's hash is the same however the body is cut into pieces, and a struct dkim_body is a plain value: a copy
 *    goes on from the same place. So what many messages have in common is hashed once.
 *  - h= names every field of the list in dkim.c that is there, all instances, bottom-up (§5.4.2), and names one
 *    more than there are of those that may stand once (§8.15), so that nobody can add a second Subject or a Cc. There
 *    is no l= (§8.2), no i= and no z=.
 *  - Neither DKIM-Signature nor any field above the covered ones is covered: several signatures of one message do not
 *    depend on each other, and stand above the message in any order.
 *  - No field that is written is longer than DKIM_FIELD_MAX; its lines are <= 78 octets where a domain's length allows
 *    it; its length is known before it is signed.
 * No allocation; a message's header may have any size. */
#ifndef PROTO_MESSAGE_DKIM_H
#define PROTO_MESSAGE_DKIM_H

#include "sluice/slice.h"

#include <openssl/sha.h>

enum {
    DKIM_HASH = SHA256_DIGEST_LENGTH,
    DKIM_SIGNATURES_MAX = 4,    /* of one message */
    DKIM_SIGNATURE_BYTES = 512, /* RSA-4096, before base64 */
    DKIM_FIELDS_MAX = 64,       /* names in h= */
    DKIM_FIELD_MAX = 4096,      /* octets of one DKIM-Signature with its last CRLF */
};

/* ---- the body (§3.4.4) ---- */

/* Private, but for copying. */
struct dkim_body {
    SHA256_CTX sha;
    uint64_t line_ends; /* CRLFs since the last octet that was hashed: they count only if something follows */
    bool space;         /* white space since then, or since the last of them */
    bool cr;            /* the last octet was a CR: a LF now makes it a line end */
    bool any;           /* something has been hashed */
};

void dkim_body_init(struct dkim_body *body);
/* The next piece, without stuffed dots. A CR or LF alone counts as any other octet; Sluice writes none. */
void dkim_body_update(struct dkim_body *body, struct slice piece);
/* Who hashes two messages side by side. */
struct dkim_pair {
    /* `count` blocks of 64 octets each: from `p` on into `a`, from `q` on into `b`. Both stand at the end of a block;
     * their `h` is all that changes. */
    void (*blocks)(SHA256_CTX *a, const char *p, SHA256_CTX *b, const char *q, size_t count);
};
/* The next pieces of two bodies: as dkim_body_update for each. `pair` NULL: one after the other. */
void dkim_body_update_two(struct dkim_body *a, struct slice piece_a, struct dkim_body *b, struct slice piece_b,
                          const struct dkim_pair *pair);
/* Ends it; `body` is of no use afterwards. An empty body, or one of empty lines, has the hash of nothing. */
void dkim_body_final(struct dkim_body *body, uint8_t hash[DKIM_HASH]);

/* ---- the header (§3.4.2, §3.7) ---- */

/* What all signatures of a message share. Private; a plain value. */
struct dkim_header {
    SHA256_CTX sha;                 /* over the covered fields */
    uint8_t names[DKIM_FIELDS_MAX]; /* rows of the table, in the order of h= */
    unsigned count;
};

/* Reads the fields of a message: each ends in CRLF and may be folded; the empty line and what follows it may be there.
 * False: h= would hold more than DKIM_FIELDS_MAX names, which no rendering of ours comes to. */
must_use bool dkim_header_read(struct dkim_header *header, struct slice fields);

enum dkim_algorithm {
    DKIM_BROKEN = 0,
    DKIM_RSA,     /* rsa-sha256: PKCS #1 v1.5 over the digest */
    DKIM_ED25519, /* ed25519-sha256: PureEdDSA over the digest's 32 octets (RFC 8463 §3) */
};

struct dkim_signing {
    struct slice domain, selector; /* d=, s=; A-labels, together at most 512 octets */
    enum dkim_algorithm algorithm;
    const uint8_t *body_hash; /* DKIM_HASH octets */
    uint64_t signed_s;        /* t=, UTC */
    uint64_t expires_s;       /* x=, UTC; 0: none. Later than signed_s */
    size_t signature_bytes;   /* of the key's signatures: 256 for RSA-2048, 64 for Ed25519 */
};

/* A field as it stands in memory: borrows what it was written to. */
struct dkim_field {
    char *p;
    size_t n;         /* octets with the last CRLF; what a message grows by */
    size_t signature; /* where the value of b= begins */
};

/* Writes the field, with spaces where the signature will be, and the digest that is to be signed. False: `cap` is too
 * small; DKIM_FIELD_MAX always suffices. */
must_use bool dkim_field_write(const struct dkim_header *header, const struct dkim_signing *signing, char *to,
                               size_t cap, struct dkim_field *field, uint8_t digest[DKIM_HASH]);
/* Puts the signature in; `n` is the signature_bytes that the field was written for. */
void dkim_field_finish(const struct dkim_field *field, const uint8_t *signature, size_t n);

#endif
