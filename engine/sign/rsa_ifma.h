/* rsa_ifma.h - the arithmetic of eight RSA-2048 keys side by side, one in each 64-bit lane of AVX-512 registers.
 *
 * Only for rsa_lanes.c, its tests and the bench. The file behind it is compiled for a CPU that has the instructions,
 * and may be called only where rsa_lanes.c has found one.
 *
 * Numbers are arrays of digits of 52 bits, least significant first, digit j of lane l at [j][l]: what VPMADD52
 * multiplies. A number of 1,024 bits has 20 of them, so R = 2^1040, and the 16 bits above the modulus are what lets
 * products go without a final subtraction (Walter, "Montgomery exponentiation needs no final subtractions", 1999): with
 * a, b < 2^8 m, almost-Montgomery multiplication gives a*b/R mod m, plus m at most once:
 *     result < a*b/R + m <= 2m                    (Gueron and Krasnov 2012, "almost Montgomery")
 * No branch and no address depends on any digit or exponent. Nothing here allocates, nor keeps anything. */
#ifndef SIGN_RSA_IFMA_H
#define SIGN_RSA_IFMA_H

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    RSA_IFMA_LANES = 8,
    RSA_IFMA_DIGIT_BITS = 52,
    RSA_IFMA_DIGITS = 20, /* of a prime, and of what is computed modulo one; twice as many of a modulus */
    RSA_IFMA_WINDOW_BITS = 4,
    RSA_IFMA_WINDOWS = 1024 / RSA_IFMA_WINDOW_BITS,
    RSA_IFMA_POWERS = 1 << RSA_IFMA_WINDOW_BITS,
};

/* A modulus of 20 digits in each lane. */
struct rsa_ifma_modulus {
    alignas(64) uint64_t m[RSA_IFMA_DIGITS][RSA_IFMA_LANES]; /* odd, 2^1023 < m < 2^1024 */
    alignas(64) uint64_t k[RSA_IFMA_LANES];                  /* -1/m mod 2^52 */
};

/* All a prime contributes. */
struct rsa_ifma_prime {
    struct rsa_ifma_modulus modulus;
    alignas(64) uint64_t r2[RSA_IFMA_DIGITS][RSA_IFMA_LANES];      /* R^2 mod m */
    alignas(64) uint64_t r3[RSA_IFMA_DIGITS][RSA_IFMA_LANES];      /* R^3 mod m */
    alignas(8) uint8_t exponent[RSA_IFMA_WINDOWS][RSA_IFMA_LANES]; /* d mod (m - 1), windows, most significant first */
};

/* A batch: what goes in, what comes out, and all memory that is needed between. */
struct rsa_ifma_batch {
    struct rsa_ifma_prime p, q;
    alignas(64) uint64_t q_inverse[RSA_IFMA_DIGITS][RSA_IFMA_LANES]; /* R/q mod p */
    alignas(64) uint64_t n[2 * RSA_IFMA_DIGITS][RSA_IFMA_LANES];
    alignas(64) uint64_t n_k[RSA_IFMA_LANES];                            /* -1/n mod 2^52 */
    alignas(64) uint64_t n_r2[2 * RSA_IFMA_DIGITS][RSA_IFMA_LANES];      /* 2^4160 mod n */
    alignas(64) uint64_t message[2 * RSA_IFMA_DIGITS][RSA_IFMA_LANES];   /* < n */
    alignas(64) uint64_t signature[2 * RSA_IFMA_DIGITS][RSA_IFMA_LANES]; /* out, < n */
    struct {
        alignas(64) uint64_t power[RSA_IFMA_POWERS][RSA_IFMA_DIGITS][RSA_IFMA_LANES];
        alignas(64) uint64_t column[4 * RSA_IFMA_DIGITS][RSA_IFMA_LANES]; /* sums not yet carried */
        alignas(64) uint64_t number[4][2 * RSA_IFMA_DIGITS][RSA_IFMA_LANES];
    } scratch;
};

/* signature = message^d mod n, by p and q (Garner 1959). */
void rsa_ifma_sign(struct rsa_ifma_batch *batch);
/* Lanes, one bit each, in which signature^65537 mod n is not message. Uses no secret. */
unsigned rsa_ifma_wrong(struct rsa_ifma_batch *batch);
/* Clears the vector registers and the stack that the calls above have used. */
void rsa_ifma_forget(void);

/* The two primitives, for tests and the bench; operands and result may be the same memory. `column`: 40 rows of
 * scratch. */
void rsa_ifma_multiply(uint64_t (*result)[RSA_IFMA_LANES], const uint64_t (*a)[RSA_IFMA_LANES],
                       const uint64_t (*b)[RSA_IFMA_LANES], const struct rsa_ifma_modulus *modulus,
                       uint64_t (*column)[RSA_IFMA_LANES]);
void rsa_ifma_square(uint64_t (*result)[RSA_IFMA_LANES], const uint64_t (*a)[RSA_IFMA_LANES],
                     const struct rsa_ifma_modulus *modulus, uint64_t (*column)[RSA_IFMA_LANES]);

#endif
