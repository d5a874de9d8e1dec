/* rsa_lanes.c: each signature is the one that OpenSSL makes, and none leaves that does not verify.
 *
 *     test_rsa_lanes                        what the suite runs
 *     test_rsa_lanes SIGNATURES [SEED]      as many, with four new keys after every 8,000; a million takes some ten
 * minutes */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "sign/rsa_ifma.h"
#include "sign/rsa_lanes.h"

enum { BYTES = RSA_LANES_BYTES, KEYS_PER_SET = 4, SIGNATURES_PER_SET = 8000, DIGIT_BITS = 52, FLAGS = 512 };

struct pair {
    EVP_PKEY *openssl;
    EVP_PKEY_CTX *raw; /* the private operation alone */
    struct rsa_lanes_key *lane;
    BIGNUM *n, *p, *q;
};

struct fixture {
    struct rsa_lanes *lanes;
    struct pair keys[KEYS_PER_SET];
    unsigned long signatures;
    uint64_t chance;
};

static struct fixture the_fixture; /* for the group's setup gets nothing from main */

static uint64_t draw(struct fixture *fixture) /* splitmix64 */
{
    uint64_t z = fixture->chance += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static EVP_PKEY *generate(unsigned bits, unsigned primes, unsigned long exponent)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    BIGNUM *e = BN_new();
    assert_true(BN_set_word(e, exponent) && EVP_PKEY_keygen_init(context) == 1 &&
                EVP_PKEY_CTX_set_rsa_keygen_bits(context, (int)bits) == 1 &&
                EVP_PKEY_CTX_set_rsa_keygen_primes(context, (int)primes) == 1 &&
                EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context, e) == 1 && EVP_PKEY_generate(context, &key) == 1);
    BN_free(e);
    EVP_PKEY_CTX_free(context);
    return key;
}

static void pair_make(struct pair *pair)
{
    pair->openssl = generate(2048, 2, 65537);
    pair->raw = EVP_PKEY_CTX_new(pair->openssl, NULL);
    assert_true(EVP_PKEY_sign_init(pair->raw) == 1 && EVP_PKEY_CTX_set_rsa_padding(pair->raw, RSA_NO_PADDING) == 1 &&
                EVP_PKEY_get_bn_param(pair->openssl, OSSL_PKEY_PARAM_RSA_N, &pair->n) &&
                EVP_PKEY_get_bn_param(pair->openssl, OSSL_PKEY_PARAM_RSA_FACTOR1, &pair->p) &&
                EVP_PKEY_get_bn_param(pair->openssl, OSSL_PKEY_PARAM_RSA_FACTOR2, &pair->q));
    pair->lane = rsa_lanes_key_new(pair->openssl);
    assert_non_null(pair->lane);
}

static void pair_drop(struct pair *pair)
{
    EVP_PKEY_CTX_free(pair->raw);
    EVP_PKEY_free(pair->openssl);
    rsa_lanes_key_free(pair->lane);
    BN_free(pair->n);
    BN_free(pair->p);
    BN_free(pair->q);
    *pair = (struct pair){0};
}

static void pair_sign(const struct pair *pair, const uint8_t em[BYTES], uint8_t signature[BYTES])
{
    size_t size = BYTES;
    assert_int_equal(EVP_PKEY_sign(pair->raw, signature, &size, em, BYTES), 1);
    assert_int_equal(size, BYTES);
}

static int set_up(void **state)
{
    struct fixture *fixture = &the_fixture;
    enum rsa_lanes_state why;
    *state = fixture;
    fixture->lanes = rsa_lanes_open(NULL, &why);
    if (!fixture->lanes)
        return why == RSA_LANES_NO_CPU ? 0 : -1;
    for (unsigned i = 0; i < KEYS_PER_SET; i++)
        pair_make(&fixture->keys[i]);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < KEYS_PER_SET; i++)
        pair_drop(&fixture->keys[i]);
    rsa_lanes_close(fixture->lanes);
    return 0;
}

#define FIXTURE(state)                                                                                                 \
    struct fixture *fixture = *(state);                                                                                \
    if (!fixture->lanes) {                                                                                             \
        print_message("skipped: this CPU has no AVX-512 IFMA\n");                                                      \
        skip();                                                                                                        \
    }

/* Signs with both, and compares. */
static void batch_check(struct fixture *fixture, const struct pair *const pairs[], const uint8_t (*em)[BYTES],
                        unsigned count)
{
    const struct rsa_lanes_key *keys[RSA_LANES] = {0};
    uint8_t found[RSA_LANES][BYTES], expected[BYTES];
    memset(found, 0xa5, sizeof(found));
    for (unsigned i = 0; i < count; i++)
        keys[i] = pairs[i]->lane;
    assert_int_equal(rsa_lanes_sign(fixture->lanes, keys, em, found, count), 0);
    for (unsigned i = 0; i < count; i++) {
        pair_sign(pairs[i], em[i], expected);
        assert_memory_equal(found[i], expected, BYTES);
    }
    for (unsigned i = count; i < RSA_LANES; i++) /* nobody's memory is written */
        for (unsigned j = 0; j < BYTES; j++)
            assert_int_equal(found[i][j], 0xa5);
}

/* Digests by chance, keys in any mixture, batches of any size. */
static void signs_as_openssl_does(void **state)
{
    FIXTURE(state);
    unsigned long done = 0, renewed = 0;
    while (done < fixture->signatures) {
        const struct pair *pairs[RSA_LANES];
        uint8_t em[RSA_LANES][BYTES], digest[RSA_LANES_DIGEST];
        unsigned count = draw(fixture) % 4 == 0 ? 1 + (unsigned)(draw(fixture) % RSA_LANES) : RSA_LANES;
        for (unsigned i = 0; i < count; i++) {
            for (unsigned j = 0; j < sizeof(digest); j++)
                digest[j] = (uint8_t)draw(fixture);
            rsa_lanes_encode(digest, em[i]);
            pairs[i] = &fixture->keys[draw(fixture) % KEYS_PER_SET];
        }
        batch_check(fixture, pairs, em, count);
        done += count;
        if (done - renewed >= SIGNATURES_PER_SET) {
            renewed = done;
            for (unsigned i = 0; i < KEYS_PER_SET; i++) {
                pair_drop(&fixture->keys[i]);
                pair_make(&fixture->keys[i]);
            }
            print_message("%lu of %lu\n", done, fixture->signatures);
        }
    }
}

/* PKCS #1 v1.5 over a digest, made by OpenSSL from beginning to end. */
static void encodes_as_openssl_does(void **state)
{
    FIXTURE(state);
    struct pair *pair = &fixture->keys[0];
    uint8_t digest[RSA_LANES_DIGEST], em[1][BYTES], found[1][BYTES], expected[BYTES];
    for (unsigned j = 0; j < sizeof(digest); j++)
        digest[j] = (uint8_t)draw(fixture);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pair->openssl, NULL);
    size_t size = sizeof(expected);
    assert_true(EVP_PKEY_sign_init(context) == 1 && EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1 &&
                EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()) == 1 &&
                EVP_PKEY_sign(context, expected, &size, digest, sizeof(digest)) == 1);
    EVP_PKEY_CTX_free(context);
    rsa_lanes_encode(digest, em[0]);
    assert_int_equal(rsa_lanes_sign(fixture->lanes, (const struct rsa_lanes_key *[]){pair->lane}, em, found, 1), 0);
    assert_memory_equal(found[0], expected, BYTES);
}

/* Where a residue is 0, 1 or as large as can be, for one prime or for both, and where the two halves differ most. */
static void signs_at_the_edges(void **state)
{
    FIXTURE(state);
    enum { EDGES = 12 };
    for (unsigned turn = 0; turn < EDGES; turn++) {
        const struct pair *pairs[RSA_LANES];
        uint8_t em[RSA_LANES][BYTES];
        for (unsigned lane = 0; lane < RSA_LANES; lane++) {
            struct pair *pair = &fixture->keys[(lane + turn) % KEYS_PER_SET];
            BIGNUM *number = BN_new();
            pairs[lane] = pair;
            switch ((lane * 5 + turn) % EDGES) {
            case 0:
                BN_zero(number);
                break;
            case 1:
                BN_one(number);
                break;
            case 2:
                BN_set_word(number, 2);
                break;
            case 3:
                BN_copy(number, pair->n), BN_sub_word(number, 1);
                break;
            case 4:
                BN_copy(number, pair->p);
                break;
            case 5:
                BN_copy(number, pair->q);
                break;
            case 6:
                BN_copy(number, pair->p), BN_sub_word(number, 1);
                break;
            case 7:
                BN_copy(number, pair->q), BN_sub_word(number, 1);
                break;
            case 8:
                BN_copy(number, pair->p), BN_add_word(number, 1);
                break;
            case 9:
                BN_sub(number, pair->n, pair->p);
                break;
            case 10:
                BN_set_bit(number, 1040), BN_sub_word(number, 1);
                break; /* the lower half all ones */
            case 11:
                BN_set_bit(number, 1040);
                break;
            }
            assert_int_equal(BN_bn2binpad(number, em[lane], BYTES), BYTES);
            BN_free(number);
        }
        batch_check(fixture, pairs, em, RSA_LANES);
    }
}

static void refuses_other_keys(void **state)
{
    (void)state;
    EVP_PKEY *others[] = {generate(1024, 2, 65537), generate(1536, 2, 65537), generate(2048, 2, 3),
                          generate(2048, 3, 65537), EVP_EC_gen("P-256")};
    for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_non_null(others[i]);
        assert_null(rsa_lanes_key_new(others[i]));
        EVP_PKEY_free(others[i]);
    }
    rsa_lanes_key_free(NULL);
    rsa_lanes_close(NULL);
}

/* ---- faults ---- */

struct strike {
    unsigned lane, digit, bit; /* what is turned */
    const BIGNUM *add;         /* or, if set, added to the lane's signature */
    const BIGNUM *modulus;
};

static void strike(void *context, uint64_t (*signature)[RSA_LANES])
{
    struct strike *strike = context;
    if (!strike->add) {
        signature[strike->digit][strike->lane] ^= UINT64_C(1) << strike->bit;
        return;
    }
    BIGNUM *sum = BN_new();
    BN_CTX *bn = BN_CTX_new();
    for (unsigned j = 40; j-- > 0;)
        assert_true(BN_lshift(sum, sum, DIGIT_BITS) && BN_add_word(sum, signature[j][strike->lane]));
    assert_true(BN_mod_add(sum, sum, strike->add, strike->modulus, bn));
    for (unsigned j = 0; j < 40; j++) {
        signature[j][strike->lane] = 0;
        for (int bit = 0; bit < DIGIT_BITS; bit++)
            signature[j][strike->lane] |= (uint64_t)BN_is_bit_set(sum, (int)j * DIGIT_BITS + bit) << bit;
    }
    BN_CTX_free(bn);
    BN_free(sum);
}

static void struck(struct fixture *fixture, struct rsa_lanes *lanes, const struct strike *by)
{
    static const uint8_t zeros[BYTES];
    const struct rsa_lanes_key *keys[RSA_LANES];
    uint8_t em[RSA_LANES][BYTES], found[RSA_LANES][BYTES], expected[BYTES];
    for (unsigned i = 0; i < RSA_LANES; i++) {
        uint8_t digest[RSA_LANES_DIGEST];
        for (unsigned j = 0; j < sizeof(digest); j++)
            digest[j] = (uint8_t)draw(fixture);
        rsa_lanes_encode(digest, em[i]);
        keys[i] = fixture->keys[i % KEYS_PER_SET].lane;
    }
    assert_int_equal(rsa_lanes_sign(lanes, keys, em, found, RSA_LANES), 1u << by->lane);
    for (unsigned i = 0; i < RSA_LANES; i++) {
        pair_sign(&fixture->keys[i % KEYS_PER_SET], em[i], expected);
        assert_memory_equal(found[i], i == by->lane ? zeros : expected, BYTES);
    }
}

/* A bit turned anywhere, in any lane: that lane alone fails, and its signature stays inside. */
static void catches_every_turned_bit(void **state)
{
    FIXTURE(state);
    struct strike by = {0};
    enum rsa_lanes_state why;
    struct rsa_lanes *lanes = rsa_lanes_open(&(struct rsa_lanes_fault){.strike = strike, .context = &by}, &why);
    assert_non_null(lanes);
    for (unsigned digit = 0; digit < 40; digit++) {
        by = (struct strike){.lane = (unsigned)(draw(fixture) % RSA_LANES), .digit = digit};
        by.bit = (unsigned)(draw(fixture) % (digit < 39 ? 52 : 20));
        struck(fixture, lanes, &by);
    }
    rsa_lanes_close(lanes);
}

/* What a fault in one half of the computation leaves is right for the other prime, and would give both away by one gcd
 * (Boneh, DeMillo, Lipton 1997). */
static void catches_a_wrong_half(void **state)
{
    FIXTURE(state);
    struct strike by = {0};
    enum rsa_lanes_state why;
    struct rsa_lanes *lanes = rsa_lanes_open(&(struct rsa_lanes_fault){.strike = strike, .context = &by}, &why);
    assert_non_null(lanes);
    for (unsigned lane = 0; lane < RSA_LANES; lane++) {
        struct pair *pair = &fixture->keys[lane % KEYS_PER_SET];
        by = (struct strike){.lane = lane, .add = lane / KEYS_PER_SET % 2 ? pair->p : pair->q, .modulus = pair->n};
        struck(fixture, lanes, &by);
    }
    rsa_lanes_close(lanes);
}

static void is_not_used_where_the_known_batch_differs(void **state)
{
    FIXTURE(state);
    struct strike by = {.lane = 3, .digit = 7, .bit = 11};
    enum rsa_lanes_state why;
    assert_null(rsa_lanes_open(&(struct rsa_lanes_fault){.strike = strike, .context = &by, .at_start = true}, &why));
    assert_int_equal(why, RSA_LANES_MISMATCH);
}

/* ---- what is left of secrets ---- */

static void wipes_what_it_computed(void **state)
{
    FIXTURE(state);
    const struct pair *pairs[RSA_LANES];
    uint8_t em[RSA_LANES][BYTES] = {{0}};
    for (unsigned i = 0; i < RSA_LANES; i++) {
        pairs[i] = &fixture->keys[i % KEYS_PER_SET];
        em[i][BYTES - 1] = (uint8_t)(i + 2);
    }
    batch_check(fixture, pairs, em, RSA_LANES);
    const uint8_t *batch = (const uint8_t *)fixture->lanes; /* begins with it */
    for (size_t i = 0; i < sizeof(struct rsa_ifma_batch); i++)
        assert_int_equal(batch[i], 0);
}

/* The flags of the mapping that `address` lies in, from /proc/self/smaps. */
static void flags_of(const void *address, char flags[FLAGS])
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[FLAGS];
    bool here = false;
    flags[0] = 0;
    while (fgets(line, sizeof(line), maps)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = (unsigned long)(uintptr_t)address >= from && (unsigned long)(uintptr_t)address < to;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            snprintf(flags, FLAGS, "%s", line);
    }
    fclose(maps);
}

#if defined(__SANITIZE_ADDRESS__)
#define MLOCK_IS_REAL false /* AddressSanitizer makes it do nothing, and say that it did */
#elif defined(__has_feature)
#define MLOCK_IS_REAL !__has_feature(address_sanitizer)
#else
#define MLOCK_IS_REAL true
#endif

static void keeps_secrets_out_of_swap_and_dumps(void **state)
{
    FIXTURE(state);
    char flags[FLAGS];
    flags_of(fixture->lanes, flags);
    assert_non_null(strstr(flags, " dd"));
    if (MLOCK_IS_REAL)
        assert_int_equal(strstr(flags, " lo") != NULL, rsa_lanes_locked(fixture->lanes));
    flags_of(fixture->keys[0].lane, flags);
    assert_non_null(strstr(flags, " dd"));
    if (MLOCK_IS_REAL)
        assert_int_equal(strstr(flags, " lo") != NULL, rsa_lanes_key_locked(fixture->keys[0].lane));
}

int main(int argc, char **argv)
{
    the_fixture.signatures = argc > 1 ? strtoul(argv[1], NULL, 10) : 400;
    the_fixture.chance = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL);
    printf("seed %llu\n", (unsigned long long)the_fixture.chance);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_as_openssl_does),
        cmocka_unit_test(encodes_as_openssl_does),
        cmocka_unit_test(signs_at_the_edges),
        cmocka_unit_test(refuses_other_keys),
        cmocka_unit_test(catches_every_turned_bit),
        cmocka_unit_test(catches_a_wrong_half),
        cmocka_unit_test(is_not_used_where_the_known_batch_differs),
        cmocka_unit_test(wipes_what_it_computed),
        cmocka_unit_test(keeps_secrets_out_of_swap_and_dumps),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
