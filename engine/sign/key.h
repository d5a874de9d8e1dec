/* key.h - one private key that signs for a domain (RFC 6376 §3.3.3, RFC 8301 §3.2, RFC 8463).
 *
 * A key is immutable and counted: it may be used by any thread that holds it, and is wiped when the last one lets go of
 * it. Nothing of it is ever logged but its file's name. */
#ifndef SIGN_KEY_H
#define SIGN_KEY_H

#include "proto/message/dkim.h"
#include "sign/rsa_lanes.h"
#include "sluice/base.h"

#include <openssl/types.h>

enum {
    SIGN_RSA_BITS_MIN = 1024,     /* RFC 8301 §3.2: signers MUST use at least this many */
    SIGN_RSA_BITS_ADVISED = 2048, /* and SHOULD use these */
    SIGN_RSA_BITS_MAX = 4096,     /* what verifiers must be able to check */
    SIGN_KEY_RECORD = 1024,       /* room for any key's record */
};

struct sign_key;

/* Reads a private key in PEM: PKCS #8 or PKCS #1, RSA or Ed25519. The caller holds what it gets. NULL with a sentence
 * in `error` that names the file and the way out: it cannot be read, others may read it, somebody else owns it, it is
 * encrypted, it is a public key or none, its type or size is not supported, its parts do not fit together. */
must_use struct sign_key *sign_key_load(const char *file, char *error, size_t error_cap);
struct sign_key *sign_key_hold(struct sign_key *key); /* returns it */
void sign_key_release(struct sign_key *key);          /* NULL: does nothing */

enum dkim_algorithm sign_key_algorithm(const struct sign_key *key);
unsigned sign_key_bits(const struct sign_key *key);
size_t sign_key_signature_bytes(const struct sign_key *key); /* of each signature, always as many */
/* The public half as it is published (DER of SubjectPublicKeyInfo, or the 32 octets of RFC 8463 §4). */
struct slice sign_key_public(const struct sign_key *key);
/* "v=DKIM1; k=rsa; p=...", the text of the TXT record (RFC 6376 §3.6.1). `cap` >= SIGN_KEY_RECORD suffices. */
void sign_key_record(const struct sign_key *key, char *text, size_t cap);
/* For signers; nobody changes it. Borrows until sign_key_release. */
EVP_PKEY *sign_key_openssl(const struct sign_key *key);
/* The same key as it goes into a lane of rsa_lanes.h; NULL: it does not fit there. Borrows until sign_key_release. */
const struct rsa_lanes_key *sign_key_lane(const struct sign_key *key);

#endif
