/* signer.h - signs digests in batches; one signer per shard, used by one thread.
 *
 * The press gathers what is about to be sent and hands in all its digests at once: an RSA-2048 signature costs about
 * 300 us by itself, and a third of that where eight are computed together. Whatever computes them stands behind
 * sign_batch: today OpenSSL, one by one.
 *
 * Guarantee: a job that has not failed holds a signature that verifies. OpenSSL checks what it computes by the Chinese
 * remainder theorem; an engine of another kind that goes behind this call verifies each signature with the public key
 * before it lets go of it, for a faulty one gives the private key away (Boneh, DeMillo, Lipton 1997). */
#ifndef SIGN_SIGNER_H
#define SIGN_SIGNER_H

#include "sign/key.h"

struct signer;

struct sign_job {
    struct sign_key *key;      /* borrows until return; jobs of one batch may have different ones */
    uint8_t digest[DKIM_HASH]; /* of dkim_field_write */
    uint8_t *signature;        /* borrows until return; sign_key_signature_bytes of room, which are all written */
    bool failed;               /* out: there is no signature, the message must not leave */
};

/* NULL: no memory. */
must_use struct signer *signer_open(void);
void signer_close(struct signer *signer); /* NULL: does nothing */

/* Signs each job: PKCS #1 v1.5 with SHA-256 over the digest (RFC 6376 §3.3.1), or Ed25519 over its octets (RFC 8463
 * §3). Returns how many failed. Computes for as long as it takes: about 0.3 ms for each job. */
unsigned sign_batch(struct signer *signer, struct sign_job *jobs, unsigned count);
/* Lets go of the keys that it has prepared: after a reload. */
void signer_forget(struct signer *signer);

#endif
