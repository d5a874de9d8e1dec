/* keys.h - whose keys sign a message: all `dkim` blocks of a configuration, with their keys, as one immutable set.
 *
 * A set is counted like its keys. An edition of a campaign looks its signers up once and holds the set; a reload makes
 * a new set and leaves the old one to those that still hold it. */
#ifndef SIGN_KEYS_H
#define SIGN_KEYS_H

#include "control/config.h"
#include "sign/key.h"
#include "sign/token.h"

/* Borrows all from its set. */
struct sign_identity {
    const char *name;    /* of the block */
    struct slice domain; /* d=, lower case */
    struct slice selector;
    struct sign_key *key;
    nsec expire; /* x= is this long after t=; 0: no x= */
    bool always; /* signs whatever the From domain is */
};

struct sign_keys;

/* Loads the keys of all blocks that are enabled, and those of VERP tokens. The caller holds the set; one without blocks
 * is empty. NULL with "FILE:LINE: ..." of the block in `error`. `warn` (may be NULL) is told of keys that are good but
 * weak, and of lanes that compute wrongly. Holds the configuration for as long as the set is held. */
must_use struct sign_keys *sign_keys_load(const struct config *config,
                                          void (*warn)(void *context, const char *sentence), void *context, char *error,
                                          size_t error_cap);
struct sign_keys *sign_keys_hold(struct sign_keys *keys); /* returns it */
void sign_keys_release(struct sign_keys *keys);           /* NULL: does nothing */

/* Who signs for this From domain: the blocks of that very domain or, if there are none, of its nearest parent that has
 * any (relaxed alignment, RFC 7489 §3.1.1), and all that are `always`; in the order of the configuration. 0: nobody.
 * Borrows until sign_keys_release. */
unsigned sign_keys_for(const struct sign_keys *keys, struct slice from_domain,
                       const struct sign_identity *found[DKIM_SIGNATURES_MAX]);

/* May the keys be put into lanes (signer_lanes)? By `dkim_engine`, and unless lanes computed wrongly when the set was
 * loaded. */
bool sign_keys_lanes(const struct sign_keys *keys);
/* What makes and verifies VERP tokens, from `token_key`; NULL: none. Borrows until sign_keys_release. */
const struct token_keys *sign_keys_tokens(const struct sign_keys *keys);
unsigned sign_keys_count(const struct sign_keys *keys);
const struct sign_identity *sign_keys_at(const struct sign_keys *keys, unsigned index);

#endif
