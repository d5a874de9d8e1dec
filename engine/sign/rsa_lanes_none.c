/* Stands for rsa_lanes.c where the architecture or the compiler has no AVX-512 IFMA: nothing is ever ready. */
#include "sign/rsa_lanes.h"

struct rsa_lanes_key *rsa_lanes_key_new(const EVP_PKEY *key)
{
    (void)key;
    return NULL;
}

void rsa_lanes_key_free(struct rsa_lanes_key *key) { sluice_assert(!key); }

bool rsa_lanes_key_locked(const struct rsa_lanes_key *key)
{
    (void)key;
    return false;
}

struct rsa_lanes *rsa_lanes_open(const struct rsa_lanes_fault *fault, enum rsa_lanes_state *state)
{
    (void)fault;
    *state = RSA_LANES_NO_CPU;
    return NULL;
}

void rsa_lanes_close(struct rsa_lanes *lanes) { sluice_assert(!lanes); }

bool rsa_lanes_locked(const struct rsa_lanes *lanes)
{
    (void)lanes;
    return false;
}

void rsa_lanes_encode(const uint8_t digest[RSA_LANES_DIGEST], uint8_t em[RSA_LANES_BYTES])
{
    (void)digest;
    (void)em;
    sluice_assert(false); /* for whom? */
}

unsigned rsa_lanes_sign(struct rsa_lanes *lanes, const struct rsa_lanes_key *const keys[],
                        const uint8_t (*em)[RSA_LANES_BYTES], uint8_t (*signatures)[RSA_LANES_BYTES], unsigned count)
{
    (void)lanes;
    (void)keys;
    (void)em;
    (void)signatures;
    (void)count;
    sluice_assert(false); /* nobody can have lanes */
}
