/* press_draft.h - messages between rendering and signature: what press.c and press_draft.c share; nobody else includes
 * it. */
#ifndef FLOW_PRESS_DRAFT_H
#define FLOW_PRESS_DRAFT_H

#include "flow/press.h"

enum { PRESS_JOBS = PRESS_BATCH * DKIM_SIGNATURES_MAX };

/* A signature that is being had, and where it goes. */
struct press_field {
    struct dkim_field field;
    struct pressed *pressed;
    const char *name; /* of the key's block */
    uint8_t signature[DKIM_SIGNATURE_BYTES];
};

/* A message on its way to being pressed: rendered, and its body is to be hashed if somebody signs it. */
struct press_draft {
    struct attempt *attempt;
    struct pressed *pressed;
    size_t room; /* for its signatures' fields */
    const struct sign_identity *signers[DKIM_SIGNATURES_MAX];
    unsigned count; /* of signers */
    struct dkim_body body;
};

/* Who signs the message; returns how many. */
unsigned press_draft_signers(const struct press *press, struct edition *edition, const struct pressed *pressed,
                             const struct sign_identity *signers[DKIM_SIGNATURES_MAX]);
/* Hashes the bodies of those drafts that somebody signs. */
void press_draft_hash(const struct press *press, struct press_draft *drafts, unsigned count);
/* Writes the fields without their signatures to `to`, where DKIM_SIGNATURES_MAX of the longest have room, and puts
 * their digests among the jobs; the body has been hashed, which this ends. Returns the octets; SIZE_MAX: the message
 * cannot be signed. */
must_use size_t press_draft_fields(struct press *press, struct press_draft *draft, char *to);
/* The fields move to where they belong, above the header. */
void press_draft_place(struct press *press, struct pressed *pressed, unsigned count, const char *from, size_t n);
/* Fills the signatures in. Messages that lack one are thrown away; returns the name of a block whose key failed. */
must_use const char *press_draft_sign(struct press *press);

#endif
