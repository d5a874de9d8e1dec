/* Everything around the kernel of rsa_ifma.c: keys, bytes to digits and back, locked memory, and whether to use it at
 * all. */
#include "sign/rsa_lanes.h"
#include "sign/rsa_ifma.h"

#include <endian.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>
#include <sys/mman.h>

enum { D = RSA_IFMA_DIGITS, BITS = RSA_IFMA_DIGIT_BITS, PUBLIC_EXPONENT = 65537, PRIME_BYTES = RSA_LANES_BYTES / 2 };

_Static_assert((int)RSA_LANES == (int)RSA_IFMA_LANES, "a job has a lane");

/* ---- memory for secrets ---- */

static void *secret_take(size_t bytes, bool *locked)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    *locked = mlock(memory, bytes) == 0;
    if (madvise(memory, bytes, MADV_DONTDUMP) == 0)
        return memory;
    munmap(memory, bytes);
    return NULL;
}

static void secret_give(void *memory, size_t bytes)
{
    OPENSSL_cleanse(memory, bytes);
    munmap(memory, bytes);
}

/* ---- bytes and digits ---- */

/* A big-endian number as digits of 52 bits. */
static void digits_read(const uint8_t *number, unsigned bytes, uint64_t *digits, unsigned count)
{
    uint8_t little[RSA_LANES_BYTES + 16] = {0}; /* a digit is read from the 8 bytes in which it begins */
    for (unsigned i = 0; i < bytes; i++)
        little[i] = number[bytes - 1 - i];
    for (unsigned j = 0; j < count; j++) {
        uint64_t word;
        memcpy(&word, little + j * BITS / 8, sizeof(word));
        digits[j] = le64toh(word) >> j * BITS % 8 & ((UINT64_C(1) << BITS) - 1);
    }
    OPENSSL_cleanse(little, sizeof(little));
}

/* And back: two digits are 13 bytes. */
static void digits_write(const uint64_t digits[2 * D], uint8_t number[RSA_LANES_BYTES])
{
    uint8_t little[2 * D * BITS / 8];
    for (unsigned j = 0; j < 2 * D; j += 2) {
        uint64_t lower = htole64(digits[j] | digits[j + 1] << BITS), upper = htole64(digits[j + 1] >> (64 - BITS));
        memcpy(little + j / 2 * 13, &lower, 8);
        memcpy(little + j / 2 * 13 + 8, &upper, 5);
    }
    for (unsigned i = 0; i < RSA_LANES_BYTES; i++)
        number[i] = little[RSA_LANES_BYTES - 1 - i];
}

/* ---- keys ---- */

/* What a prime contributes, as in struct rsa_ifma_prime, of one lane. */
struct prime {
    uint64_t m[D], k, r2[D], r3[D];
    uint8_t exponent[PRIME_BYTES];
};

struct rsa_lanes_key {
    struct prime p, q;
    uint64_t q_inverse[D];
    uint64_t n[2 * D], n_k, n_r2[2 * D];
    bool locked;
};

static bool digits_of(const BIGNUM *number, uint64_t *digits, unsigned count)
{
    uint8_t bytes[RSA_LANES_BYTES];
    unsigned size = count / D * PRIME_BYTES;
    bool fits = BN_bn2binpad(number, bytes, (int)size) == (int)size;
    if (fits)
        digits_read(bytes, size, digits, count);
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return fits;
}

/* -1/m mod 2^52, by Newton's iteration, which doubles the bits that are right. */
static uint64_t negative_inverse(uint64_t m)
{
    uint64_t inverse = m; /* m*m = 1 mod 8: three bits */
    for (int bits = 3; bits < BITS; bits *= 2)
        inverse *= 2 - m * inverse;
    return -inverse & ((UINT64_C(1) << BITS) - 1);
}

/* 2^shift mod m */
static bool power_of_two(uint64_t *digits, unsigned count, int shift, const BIGNUM *m, BN_CTX *context)
{
    BN_CTX_start(context);
    BIGNUM *power = BN_CTX_get(context);
    bool done = power && BN_one(power) && BN_lshift(power, power, shift) && BN_mod(power, power, m, context) &&
                digits_of(power, digits, count);
    BN_CTX_end(context);
    return done;
}

/* The exponent is that of p - 1: e*d = 1 mod p - 1. */
static bool prime_prepare(struct prime *prime, const BIGNUM *p, const BIGNUM *e, BN_CTX *context)
{
    if (BN_num_bits(p) != PRIME_BYTES * 8 || !BN_is_odd(p) || !digits_of(p, prime->m, D))
        return false;
    prime->k = negative_inverse(prime->m[0]);
    if (!power_of_two(prime->r2, D, 2 * D * BITS, p, context) || !power_of_two(prime->r3, D, 3 * D * BITS, p, context))
        return false;
    BN_CTX_start(context);
    BIGNUM *less = BN_CTX_get(context), *d = BN_CTX_get(context);
    bool done = d && BN_copy(less, p) && BN_sub_word(less, 1);
    if (done)
        BN_set_flags(less, BN_FLG_CONSTTIME);
    done = done && BN_mod_inverse(d, e, less, context) && BN_bn2binpad(d, prime->exponent, PRIME_BYTES) == PRIME_BYTES;
    BN_CTX_end(context);
    return done;
}

/* All but p, q and n = p*q follows from these, so nothing can contradict them. */
static bool key_prepare(struct rsa_lanes_key *key, const BIGNUM *p, const BIGNUM *q, const BIGNUM *n, BN_CTX *context)
{
    BN_CTX_start(context);
    BIGNUM *number = BN_CTX_get(context), *e = BN_CTX_get(context);
    bool done = e && BN_set_word(e, PUBLIC_EXPONENT) && BN_num_bits(n) == RSA_LANES_BYTES * 8 &&
                BN_mul(number, p, q, context) && BN_cmp(number, n) == 0 && BN_cmp(p, q) != 0 &&
                prime_prepare(&key->p, p, e, context) && prime_prepare(&key->q, q, e, context) &&
                digits_of(n, key->n, 2 * D) && power_of_two(key->n_r2, 2 * D, 4 * D * BITS, n, context) &&
                BN_mod_inverse(number, q, p, context) && BN_lshift(number, number, D * BITS) &&
                BN_mod(number, number, p, context) && digits_of(number, key->q_inverse, D);
    key->n_k = negative_inverse(key->n[0]);
    BN_CTX_end(context);
    return done;
}

static struct rsa_lanes_key *key_new(BIGNUM *p, BIGNUM *q, const BIGNUM *n)
{
    bool locked;
    struct rsa_lanes_key *key = secret_take(sizeof(*key), &locked);
    BN_CTX *context = BN_CTX_secure_new();
    BN_set_flags(p, BN_FLG_CONSTTIME);
    BN_set_flags(q, BN_FLG_CONSTTIME);
    if (key && context && key_prepare(key, p, q, n, context)) {
        key->locked = locked;
    } else {
        rsa_lanes_key_free(key);
        key = NULL;
    }
    BN_CTX_free(context);
    return key;
}

struct rsa_lanes_key *rsa_lanes_key_new(const EVP_PKEY *key)
{
    struct rsa_lanes_key *prepared = NULL;
    BIGNUM *n = NULL, *e = NULL, *p = NULL, *q = NULL;
    if (EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) &&
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) &&
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR1, &p) &&
        EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR2, &q) && BN_is_word(e, PUBLIC_EXPONENT))
        prepared = key_new(p, q, n);
    BN_free(n);
    BN_free(e);
    BN_clear_free(p);
    BN_clear_free(q);
    return prepared;
}

void rsa_lanes_key_free(struct rsa_lanes_key *key)
{
    if (key)
        secret_give(key, sizeof(*key));
}

bool rsa_lanes_key_locked(const struct rsa_lanes_key *key) { return key->locked; }

/* ---- a batch ---- */

struct rsa_lanes {
    struct rsa_ifma_batch batch;
    struct rsa_lanes_fault fault;
    bool locked;
};

static void lane_set(uint64_t (*rows)[RSA_LANES], unsigned lane, const uint64_t *digits, unsigned count)
{
    for (unsigned j = 0; j < count; j++)
        rows[j][lane] = digits[j];
}

static void lane_set_prime(struct rsa_ifma_prime *to, unsigned lane, const struct prime *from)
{
    lane_set(to->modulus.m, lane, from->m, D);
    to->modulus.k[lane] = from->k;
    lane_set(to->r2, lane, from->r2, D);
    lane_set(to->r3, lane, from->r3, D);
    _Static_assert(RSA_IFMA_WINDOW_BITS == 4, "a byte is two windows");
    for (unsigned i = 0; i < PRIME_BYTES; i++) {
        to->exponent[2 * i][lane] = from->exponent[i] >> 4;
        to->exponent[2 * i + 1][lane] = from->exponent[i] & 15;
    }
}

static void lane_set_job(struct rsa_ifma_batch *batch, unsigned lane, const struct rsa_lanes_key *key,
                         const uint8_t em[RSA_LANES_BYTES])
{
    lane_set_prime(&batch->p, lane, &key->p);
    lane_set_prime(&batch->q, lane, &key->q);
    lane_set(batch->q_inverse, lane, key->q_inverse, D);
    lane_set(batch->n, lane, key->n, 2 * D);
    batch->n_k[lane] = key->n_k;
    lane_set(batch->n_r2, lane, key->n_r2, 2 * D);
    uint64_t digits[2 * D];
    digits_read(em, RSA_LANES_BYTES, digits, 2 * D);
    lane_set(batch->message, lane, digits, 2 * D);
}

static void lane_get(const struct rsa_ifma_batch *batch, unsigned lane, uint8_t signature[RSA_LANES_BYTES])
{
    uint64_t digits[2 * D];
    for (unsigned j = 0; j < 2 * D; j++)
        digits[j] = batch->signature[j][lane];
    digits_write(digits, signature);
}

unsigned rsa_lanes_sign(struct rsa_lanes *lanes, const struct rsa_lanes_key *const keys[],
                        const uint8_t (*em)[RSA_LANES_BYTES], uint8_t (*signatures)[RSA_LANES_BYTES], unsigned count)
{
    sluice_assert(count > 0 && count <= RSA_LANES);
    struct rsa_ifma_batch *batch = &lanes->batch;
    for (unsigned lane = 0; lane < RSA_LANES; lane++) { /* lanes without a job do the first one's again */
        unsigned job = lane < count ? lane : 0;
        lane_set_job(batch, lane, keys[job], em[job]);
    }
    rsa_ifma_sign(batch);
    if (lanes->fault.strike)
        lanes->fault.strike(lanes->fault.context, batch->signature);
    unsigned wrong = rsa_ifma_wrong(batch) & ((1u << count) - 1);
    for (unsigned lane = 0; lane < count; lane++) {
        if (wrong >> lane & 1)
            memset(signatures[lane], 0, RSA_LANES_BYTES); /* a faulty one gives the key away */
        else
            lane_get(batch, lane, signatures[lane]);
    }
    OPENSSL_cleanse(batch, sizeof(*batch));
    rsa_ifma_forget();
    return wrong;
}

void rsa_lanes_encode(const uint8_t digest[RSA_LANES_DIGEST], uint8_t em[RSA_LANES_BYTES])
{
    /* RFC 8017 §9.2, notes 1: the DER of DigestInfo before a SHA-256 digest. */
    static const uint8_t info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                   0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
    enum { PADDING = RSA_LANES_BYTES - 3 - sizeof(info) - RSA_LANES_DIGEST };
    em[0] = 0;
    em[1] = 1;
    memset(em + 2, 0xff, PADDING);
    em[2 + PADDING] = 0;
    memcpy(em + 3 + PADDING, info, sizeof(info));
    memcpy(em + 3 + PADDING + sizeof(info), digest, RSA_LANES_DIGEST);
}

/* ---- whether to use it ---- */

/* A key that signs nothing but the known batch. */
static const char known_p[] = "d87a778b7d7455f9d0face46482945069e518b456ade0f3d266caaeab019a4dd"
                              "69b99c19568f5a3cfcef5ecdacfc7552849179a3f0392043f5049efd743216e5"
                              "fbc2b9d680e42cd86b46878963849235b2e737540439f8a42ee1d557e1e8e445"
                              "ca109f11d40fd6577cdd6c3ce814dda3d58c34072d132148d157789588e7eff9";
static const char known_q[] = "bb166feae898dc6a4250e9d90e44bb7e97eed58722b6c64227ec359d7648f7bc"
                              "a4d1908b4b544ff604acf8e44493870596a5b38c7c9d1de0b642b6f977dcbbdd"
                              "95a765c8466e36bfda52c6c77663bd414cc6ebe3fa32ec4a797b866e2c8fb72b"
                              "dcd6ae0130e79b3a67df6eea4c5139f73acb2b6c759315bb88ecf895c5f0bd6b";
/* SHA-256 of its eight signatures, computed with another program's arithmetic. */
static const uint8_t known_signatures[SHA256_DIGEST_LENGTH] = {
    0x0a, 0x1f, 0x3b, 0x13, 0x18, 0x00, 0xe8, 0x0d, 0x7e, 0x41, 0xbd, 0x7b, 0x7e, 0xf1, 0x02, 0x79,
    0x88, 0x24, 0x4a, 0x44, 0x71, 0x86, 0xf6, 0x09, 0x4e, 0xa5, 0x17, 0x00, 0xb1, 0xda, 0xac, 0x0e};

/* Signs digests that count up, in every second lane with the primes exchanged, which must not matter. */
static bool known_sign(struct rsa_lanes *lanes, const struct rsa_lanes_key *key, const struct rsa_lanes_key *exchanged)
{
    const struct rsa_lanes_key *keys[RSA_LANES];
    uint8_t em[RSA_LANES][RSA_LANES_BYTES], signatures[RSA_LANES][RSA_LANES_BYTES], found[SHA256_DIGEST_LENGTH];
    for (unsigned lane = 0; lane < RSA_LANES; lane++) {
        uint8_t digest[RSA_LANES_DIGEST];
        for (unsigned i = 0; i < RSA_LANES_DIGEST; i++)
            digest[i] = (uint8_t)(lane * RSA_LANES_DIGEST + i);
        rsa_lanes_encode(digest, em[lane]);
        keys[lane] = lane % 2 == 0 ? key : exchanged;
    }
    return rsa_lanes_sign(lanes, keys, em, signatures, RSA_LANES) == 0 &&
           SHA256((const uint8_t *)signatures, sizeof(signatures), found) &&
           memcmp(found, known_signatures, sizeof(found)) == 0;
}

static enum rsa_lanes_state known_test(struct rsa_lanes *lanes)
{
    enum rsa_lanes_state state = RSA_LANES_NO_MEMORY;
    BIGNUM *p = NULL, *q = NULL, *n = BN_new();
    BN_CTX *context = BN_CTX_new();
    struct rsa_lanes_key *key = NULL, *exchanged = NULL;
    if (n && context && BN_hex2bn(&p, known_p) && BN_hex2bn(&q, known_q) && BN_mul(n, p, q, context) &&
        (key = key_new(p, q, n)) && (exchanged = key_new(q, p, n)))
        state = known_sign(lanes, key, exchanged) ? RSA_LANES_READY : RSA_LANES_MISMATCH;
    rsa_lanes_key_free(exchanged);
    rsa_lanes_key_free(key);
    BN_CTX_free(context);
    BN_free(p);
    BN_free(q);
    BN_free(n);
    return state;
}

/* What the flags of rsa_ifma.c let the compiler use. libgcc and compiler-rt count AVX-512 only where XCR0 says that the
 * operating system keeps those registers. */
static bool cpu_can(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512ifma");
}

struct rsa_lanes *rsa_lanes_open(const struct rsa_lanes_fault *fault, enum rsa_lanes_state *state)
{
    bool locked;
    *state = RSA_LANES_NO_CPU;
    if (!cpu_can())
        return NULL;
    *state = RSA_LANES_NO_MEMORY;
    struct rsa_lanes *lanes = secret_take(sizeof(*lanes), &locked);
    if (!lanes)
        return NULL;
    lanes->locked = locked;
    if (fault && fault->at_start)
        lanes->fault = *fault;
    *state = known_test(lanes);
    if (*state != RSA_LANES_READY) {
        rsa_lanes_close(lanes);
        return NULL;
    }
    if (fault)
        lanes->fault = *fault;
    return lanes;
}

void rsa_lanes_close(struct rsa_lanes *lanes)
{
    if (lanes)
        secret_give(lanes, sizeof(*lanes));
}

bool rsa_lanes_locked(const struct rsa_lanes *lanes) { return lanes->locked; }
