/* signer.c: whatever computes a batch, the signatures are the same, and a lane that errs changes nothing but a count.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "sign/signer.h"

enum { RSA_2048_A, RSA_2048_B, RSA_1024, RSA_3072, ED25519, KINDS, JOBS_MAX = 21 };

struct batch {
    struct sign_job jobs[JOBS_MAX];
    uint8_t signatures[JOBS_MAX][DKIM_SIGNATURE_BYTES];
    unsigned count;
};

static struct sign_key *keys[KINDS];

static struct sign_key *make(EVP_PKEY *openssl)
{
    char file[] = "/tmp/sluice-signer-XXXXXX", error[512];
    FILE *stream = fdopen(mkstemp(file), "w");
    assert_int_equal(PEM_write_PrivateKey(stream, openssl, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(stream), 0);
    struct sign_key *key = sign_key_load(file, error, sizeof error);
    unlink(file);
    EVP_PKEY_free(openssl);
    assert_non_null(key);
    return key;
}

static int set_up(void **state)
{
    (void)state;
    keys[RSA_2048_A] = make(EVP_RSA_gen(2048));
    keys[RSA_2048_B] = make(EVP_RSA_gen(2048));
    keys[RSA_1024] = make(EVP_RSA_gen(1024));
    keys[RSA_3072] = make(EVP_RSA_gen(3072));
    keys[ED25519] = make(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KINDS; i++)
        sign_key_release(keys[i]);
    return 0;
}

/* Job i has key (i * stride) mod kinds, so that those for lanes lie among others. */
static void fill(struct batch *batch, unsigned count, unsigned stride, unsigned kinds)
{
    batch->count = count;
    memset(batch->signatures, 0x5a, sizeof batch->signatures);
    for (unsigned i = 0; i < count; i++) {
        batch->jobs[i] =
            (struct sign_job){.key = keys[i * stride % kinds], .signature = batch->signatures[i], .failed = true};
        memset(batch->jobs[i].digest, (int)(i + 16 * stride), DKIM_HASH);
    }
}

static void run(struct signer *signer, struct batch *batch)
{
    assert_int_equal(sign_batch(signer, batch->jobs, batch->count), 0);
    for (unsigned i = 0; i < batch->count; i++)
        assert_false(batch->jobs[i].failed);
}

static unsigned fitting(const struct batch *batch)
{
    unsigned count = 0;
    for (unsigned i = 0; i < batch->count; i++)
        count += sign_key_lane(batch->jobs[i].key) != NULL;
    return count;
}

/* Full batches, and what is left over from three on. */
static unsigned expected_in_lanes(unsigned fit)
{
    return fit % RSA_LANES >= RSA_LANES_WORTHWHILE ? fit : fit - fit % RSA_LANES;
}

#define SIGNER_WITH_LANES(fault)                                                                                       \
    struct signer *signer = signer_open();                                                                             \
    enum rsa_lanes_state lanes = signer_lanes(signer, true, fault);                                                    \
    if (lanes == RSA_LANES_NO_CPU) {                                                                                   \
        signer_close(signer);                                                                                          \
        print_message("skipped: this CPU has no AVX-512 IFMA\n");                                                      \
        skip();                                                                                                        \
    }                                                                                                                  \
    assert_int_equal(lanes, RSA_LANES_READY)

static void lanes_sign_what_openssl_signs(void **state)
{
    (void)state;
    SIGNER_WITH_LANES(NULL);
    struct signer *openssl = signer_open();
    uint64_t in_lanes = 0, all = 0;
    for (unsigned kinds = 1; kinds <= KINDS; kinds += KINDS - 1) {
        for (unsigned count = 0; count <= JOBS_MAX; count += count < RSA_LANES + 4 ? 1 : 3) {
            struct batch a, b;
            fill(&a, count, 3, kinds);
            fill(&b, count, 3, kinds);
            run(signer, &a);
            run(openssl, &b);
            assert_memory_equal(a.signatures, b.signatures, sizeof a.signatures);
            in_lanes += expected_in_lanes(fitting(&a));
            all += count;
            assert_int_equal(signer_counts(signer).lanes, in_lanes);
            assert_int_equal(signer_counts(signer).openssl, all - in_lanes);
        }
    }
    assert_int_equal(signer_counts(signer).again, 0);
    assert_int_equal(signer_counts(openssl).lanes, 0);
    assert_int_equal(signer_counts(openssl).openssl, all);
    signer_close(openssl);
    signer_close(signer);
}

/* What a reload says holds at once, and back again. */
static void lanes_can_be_given_up(void **state)
{
    (void)state;
    SIGNER_WITH_LANES(NULL);
    struct batch batch;
    fill(&batch, 8, 1, 1);
    run(signer, &batch);
    assert_int_equal(signer_counts(signer).lanes, 8);
    signer_lanes(signer, false, NULL);
    run(signer, &batch);
    assert_int_equal(signer_counts(signer).lanes, 8);
    assert_int_equal(signer_counts(signer).openssl, 8);
    assert_int_equal(signer_lanes(signer, true, NULL), RSA_LANES_READY);
    assert_int_equal(signer_lanes(signer, true, NULL), RSA_LANES_READY);
    run(signer, &batch);
    assert_int_equal(signer_counts(signer).lanes, 16);
    signer_close(signer);
}

static void strike(void *context, uint64_t (*signature)[RSA_LANES]) { signature[20][*(unsigned *)context] ^= 1; }

static void openssl_signs_what_lanes_got_wrong(void **state)
{
    (void)state;
    unsigned lane = 0;
    int said[2];
    char text[1024];
    struct log log;
    SIGNER_WITH_LANES((&(struct rsa_lanes_fault){.strike = strike, .context = &lane}));
    struct signer *openssl = signer_open();
    assert_int_equal(pipe(said), 0);
    log_init(&log, said[1], LOG_LEVEL_WARNING);
    signer_log(signer, &log);
    for (; lane < RSA_LANES; lane++) {
        struct batch a, b;
        fill(&a, 8, lane, 2);
        fill(&b, 8, lane, 2);
        run(signer, &a);
        run(openssl, &b);
        assert_memory_equal(a.signatures, b.signatures, sizeof a.signatures);
        assert_int_equal(signer_counts(signer).again, lane + 1);
    }
    assert_int_equal(signer_counts(signer).lanes, 7 * RSA_LANES);
    close(said[1]);
    ssize_t n = read(said[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = 0;
    char *first = strstr(text, "wrong signature");
    assert_non_null(first);
    assert_null(strstr(first + 1, "wrong signature")); /* eight times, said once */
    close(said[0]);
    signer_close(openssl);
    signer_close(signer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_sign_what_openssl_signs),
        cmocka_unit_test(lanes_can_be_given_up),
        cmocka_unit_test(openssl_signs_what_lanes_got_wrong),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
