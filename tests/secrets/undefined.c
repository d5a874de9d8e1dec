/* Signs with keys and messages that MemorySanitizer takes for undefined, so that it reports each branch and each
 * address that depends on them (the trick of Langley's ctgrind). Built by secrets.py, of rsa_lanes.c and rsa_ifma.c
 * with clang.
 *
 *     undefined          no report, ends with 0
 *     undefined plant    branches on the signature before it is published: must be reported */
#include <sanitizer/msan_interface.h>
#include <stdio.h>

/* Whether a signature verifies is all that may be known of a batch; here it always does, so that it is given out. */
#define rsa_ifma_wrong verify_and_publish
#include "../../engine/sign/rsa_lanes.c"
#undef rsa_ifma_wrong
unsigned rsa_ifma_wrong(struct rsa_ifma_batch *batch);

unsigned verify_and_publish(struct rsa_ifma_batch *batch)
{
    unsigned wrong = rsa_ifma_wrong(batch);
    __msan_unpoison(&wrong, sizeof wrong);
    return wrong & 0;
}

/* Numbers that mean nothing, but the public half is public. */
static void key_fill(struct rsa_lanes_key *key)
{
    memset(key, 0x5a, sizeof *key);
    __msan_poison(key, sizeof *key);
    __msan_unpoison(key->n, sizeof key->n);
    __msan_unpoison(&key->n_k, sizeof key->n_k);
    __msan_unpoison(key->n_r2, sizeof key->n_r2);
}

int main(int argc, char **argv)
{
    static struct rsa_lanes lanes;
    static struct rsa_lanes_key keys[RSA_LANES];
    static uint8_t em[RSA_LANES][RSA_LANES_BYTES], signatures[RSA_LANES][RSA_LANES_BYTES];
    const struct rsa_lanes_key *pointers[RSA_LANES];
    (void)argv;
    if (!cpu_can()) {
        puts("this CPU has no AVX-512 IFMA");
        return 77;
    }
    for (unsigned i = 0; i < RSA_LANES; i++) {
        key_fill(&keys[i]);
        pointers[i] = &keys[i];
    }
    memset(em, 0x3c, sizeof em);
    __msan_poison(em, sizeof em);
    for (unsigned count = 1; count <= RSA_LANES; count += 7)
        if (rsa_lanes_sign(&lanes, pointers, em, signatures, count) != 0)
            return 1;
    if (__msan_test_shadow(signatures, sizeof signatures) != 0) {
        puts("the secrets were lost on the way: this proves nothing");
        return 1;
    }
    if (argc > 1 && signatures[0][0] & 1)
        puts("planted");
    return 0;
}
