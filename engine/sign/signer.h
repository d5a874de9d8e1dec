/* signer.h - signs digests in batches; one signer per shard, used by one thread.
 *
 * The press gathers what is about to be sent and hands in all its digests at once: an RSA-2048 signature costs about
 * 300 us by itself, and a third of that where eight are computed together. So RSA-2048 goes through the lanes of
 * rsa_lanes.h, three to eight jobs of a batch at once, where the CPU has them; what is left over, and all else, OpenSSL
 * signs one by one.
 *
 * Guarantee: a job that has not failed holds a signature that verifies. OpenSSL checks what it computes by the Chinese
 * remainder theorem, and the lanes verify each signature with the public key before it leaves, for a faulty one gives
 * the private key away (Boneh, DeMillo, Lipton 1997); OpenSSL signs again what the lanes got wrong. */
#ifndef SIGN_SIGNER_H
#define SIGN_SIGNER_H

#include "control/log.h"
#include "sign/key.h"

struct signer;

struct sign_job {
    struct sign_key *key;      /* borrows until return; jobs of one batch may have different ones */
    uint8_t digest[DKIM_HASH]; /* of dkim_field_write */
    uint8_t *signature;        /* borrows until return; sign_key_signature_bytes of room, which are all written */
    bool failed;               /* out: there is no signature, the message must not leave */
};

struct signer_counts {
    uint64_t lanes;   /* signatures that came out of lanes */
    uint64_t openssl; /* of OpenSSL, Ed25519 ones too */
    uint64_t again;   /* among these: those that a lane got wrong */
};

/* With OpenSSL alone. NULL: no memory. */
must_use struct signer *signer_open(void);
void signer_close(struct signer *signer); /* NULL: does nothing */

/* Takes lanes from now on, or takes them no more; tries them out first, in 2 ms. How they fared: READY, or why it stays
 * with OpenSSL. `fault`: NULL but in tests. */
enum rsa_lanes_state signer_lanes(struct signer *signer, bool lanes, const struct rsa_lanes_fault *fault);
/* Where a lane's failure is told: the first, and every thousandth; borrows until signer_close. */
void signer_log(struct signer *signer, const struct log *log);
struct signer_counts signer_counts(const struct signer *signer);

/* Signs each job: PKCS #1 v1.5 with SHA-256 over the digest (RFC 6376 §3.3.1), or Ed25519 over its octets (RFC 8463
 * §3). Returns how many failed. Computes for as long as it takes: about 0.3 ms for each job,
 * or 0.9 for eight in lanes. */
unsigned sign_batch(struct signer *signer, struct sign_job *jobs, unsigned count);
/* Lets go of the keys that it has prepared: after a reload. */
void signer_forget(struct signer *signer);

#endif
