/* rsa_lanes.h - RSA-2048 signatures eight at a time, in the lanes of AVX-512 IFMA registers.
 *
 * An optional engine behind sign_batch: less than a third of what OpenSSL takes for as many signatures, where the CPU
 * can and the keys fit; where not, only speed is lost. RSASP1 of RFC 8017 §5.2.1 by the Chinese remainder theorem.
 *
 * Guarantees:
 *   - A signature that is handed out has been verified, s^e mod n = em, against the public key as it was imported
 *     (Boneh, DeMillo, Lipton 1997). A lane that did not verify leaves zeros and its bit in what is returned.
 *   - No branch and no address depends on a private key, a message or a signature; of a batch only which lanes failed
 *     to verify is to be seen from outside.
 *   - Keys and all that is computed from them lie in memory that is locked (as far as RLIMIT_MEMLOCK lets us) and kept
 *     out of core dumps; what a batch leaves there, in registers and on the stack is wiped before it returns. */
#ifndef SIGN_RSA_LANES_H
#define SIGN_RSA_LANES_H

#include "sluice/base.h"

#include <openssl/types.h>

enum {
    RSA_LANES = 8,            /* signatures computed at once */
    RSA_LANES_WORTHWHILE = 3, /* fewer are done sooner one by one */
    RSA_LANES_BYTES = 256,    /* of a modulus, an encoded message and a signature, each big-endian */
    RSA_LANES_DIGEST = 32,    /* SHA-256 */
};

/* ---- a key, immutable, for any number of threads ---- */

struct rsa_lanes_key;

/* Prepares a private key; the caller owns what it gets, and it borrows nothing. NULL: no RSA key with two primes of
 * 1,024 bits and e = 65537, its parts do not fit together, or no memory. Takes some 0.2 ms. */
must_use struct rsa_lanes_key *rsa_lanes_key_new(const EVP_PKEY *key);
void rsa_lanes_key_free(struct rsa_lanes_key *key); /* wipes it; NULL: does nothing */
/* False: it may be swapped out, for RLIMIT_MEMLOCK is too low. */
bool rsa_lanes_key_locked(const struct rsa_lanes_key *key);

/* ---- the engine, one per shard ---- */

enum rsa_lanes_state {
    RSA_LANES_BROKEN = 0,
    RSA_LANES_READY,
    RSA_LANES_NO_CPU, /* or a build, or an operating system, without AVX-512 IFMA */
    RSA_LANES_NO_MEMORY,
    RSA_LANES_MISMATCH, /* the known-answer test failed: something is badly wrong with this machine or this build */
};

/* For tests: may change what has been computed before it is verified, a digit of 52 bits of all lanes in a row. */
struct rsa_lanes_fault {
    void (*strike)(void *context, uint64_t (*signature)[RSA_LANES]);
    void *context;
    bool at_start; /* the known batch is struck too */
};

struct rsa_lanes;

/* Asks CPU and operating system, takes some 60 KiB and signs a known batch, in 2 ms. NULL unless READY. `state` may not
 * be NULL. `fault`: NULL but in tests; its context is
 * borrowed until rsa_lanes_close. */
must_use struct rsa_lanes *rsa_lanes_open(const struct rsa_lanes_fault *fault, enum rsa_lanes_state *state);
void rsa_lanes_close(struct rsa_lanes *lanes); /* NULL: does nothing */
/* The same of what is computed. */
bool rsa_lanes_locked(const struct rsa_lanes *lanes);

/* EMSA-PKCS1-v1_5 of a SHA-256 digest (RFC 8017 §9.2). */
void rsa_lanes_encode(const uint8_t digest[RSA_LANES_DIGEST], uint8_t em[RSA_LANES_BYTES]);

/* Signs `count` (1 to RSA_LANES) encoded messages, each below the modulus of its key. Returns the lanes that failed,
 * one bit each; `signatures` of these are zero. Takes as long for one as for eight: some 0.9 ms. Keys are borrowed
 * until return and may be equal. */
must_use unsigned rsa_lanes_sign(struct rsa_lanes *lanes, const struct rsa_lanes_key *const keys[],
                                 const uint8_t (*em)[RSA_LANES_BYTES], uint8_t (*signatures)[RSA_LANES_BYTES],
                                 unsigned count);

#endif
