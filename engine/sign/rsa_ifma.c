/* Computes eight RSA private operations in the time of two or three: the kernel of rsa_lanes.c, compiled with flags of
 * its own.
 *
 * Written from: S. Gueron, V. Krasnov, "Software implementation of modular exponentiation, using advanced vector
 * instructions architectures" (WAIFI 2012): redundant digits, almost-Montgomery numbers, full scans of the table of
 * powers; N. Drucker, S. Gueron, "Fast modular squaring with AVX512IFMA" (ITNG 2019): a squaring of its own;
 * L.-S. Didier, N. El Mrabet, L. Glandus, J.-M. Robert, "Truncated multiplication and batch software SIMD AVX512
 * implementation for faster Montgomery multiplications and modular exponentiation" (IACR CiC 1(3), 2024): a lane for
 * each exponentiation.
 *
 * What bounds it is the rate of VPMADD52, two a cycle where there are two 512-bit ports: so the loops are unrolled
 * until all sums stand in registers, and a digit is loaded once for several products. Loops over constants
 * with UNROLLED are straight code; gcc keeps its order, which is laid out so that what the next digit waits for comes
 * first. */
#include "sign/rsa_ifma.h"

#include <immintrin.h>
#include <string.h>

#define UNROLLED _Pragma("GCC unroll 40")
#define ROLLED   _Pragma("GCC unroll 1")
#define INLINE   __attribute__((always_inline)) static inline
/* The compiler forgets what it knows about this pointer's memory: loads stay where they stand. Kept in registers across
 * rows they would push the sums out of these. */
#define RELOAD(pointer) __asm__("" : "+r"(pointer))

enum { D = RSA_IFMA_DIGITS, LANES = RSA_IFMA_LANES, BITS = RSA_IFMA_DIGIT_BITS };

INLINE __m512i zero(void) { return _mm512_setzero_si512(); }
INLINE __m512i mask(void) { return _mm512_set1_epi64((1LL << BITS) - 1); }
INLINE __m512i load(const uint64_t *row) { return _mm512_load_si512((const void *)row); }
INLINE void store(uint64_t *row, __m512i value) { _mm512_store_si512((void *)row, value); }
INLINE __m512i add(__m512i a, __m512i b) { return _mm512_add_epi64(a, b); }
INLINE __m512i carry(__m512i sum) { return _mm512_srli_epi64(sum, BITS); }
/* sum + the low, or the high, 52 bits of a product of two digits */
INLINE __m512i low(__m512i sum, __m512i a, __m512i b) { return _mm512_madd52lo_epu64(sum, a, b); }
INLINE __m512i high(__m512i sum, __m512i a, __m512i b) { return _mm512_madd52hi_epu64(sum, a, b); }

/* ---- products: column[0..40), sums of at most 80 parts, not carried ---- */

/* Columns first .. first + 7 of a*a. Each product of two different digits is computed once and doubled with its column
 * (a doubled digit would not fit into 52 bits). Eight columns are summed side by side, so that no sum waits for itself.
 */
INLINE void square_columns(uint64_t (*column)[LANES], const __m512i a[D], __m512i *next, const int first)
{
    __m512i sum[9];
    sum[0] = *next;
    UNROLLED for (int i = 1; i < 9; i++) sum[i] = zero();
    UNROLLED for (int step = 0; step < D / 2; step++)
    {
        UNROLLED for (int c = 0; c < 8; c++)
        {
            int i = (first + c - 1) / 2 - step, j = first + c - i;
            if (first + c > 0 && i >= 0 && j < D) {
                sum[c] = low(sum[c], a[i], a[j]);
                sum[c + 1] = high(sum[c + 1], a[i], a[j]);
            }
        }
    }
    UNROLLED for (int c = 0; c < 8; c++)
    {
        __m512i digit = a[(first + c) / 2], twice = add(sum[c], sum[c]);
        store(column[first + c], c % 2 == 0 ? low(twice, digit, digit) : high(twice, digit, digit));
    }
    *next = sum[8];
}

static __attribute__((noinline)) void square(uint64_t (*column)[LANES], const uint64_t (*number)[LANES])
{
    __m512i a[D], next = zero();
    UNROLLED for (int i = 0; i < D; i++) a[i] = load(number[i]);
    square_columns(column, a, &next, 0);
    square_columns(column, a, &next, 8);
    square_columns(column, a, &next, 16);
    square_columns(column, a, &next, 24);
    square_columns(column, a, &next, 32);
}

/* column[0..40) = a*b, or += where `adds`. Four digits of b a row, so that a digit of a is loaded once for eight
 * products. */
INLINE void product(uint64_t (*column)[LANES], const uint64_t (*a)[LANES], const uint64_t (*b)[LANES], const bool adds)
{
    __m512i sum[D + 4];
    UNROLLED for (int j = 0; j < D; j++) sum[j] = adds ? load(column[j]) : zero();
    ROLLED for (int i = 0; i < D; i += 4)
    {
        UNROLLED for (int j = D; j < D + 4; j++) sum[j] = adds ? load(column[i + j]) : zero();
        __m512i b0 = load(b[i]), b1 = load(b[i + 1]), b2 = load(b[i + 2]), b3 = load(b[i + 3]);
        UNROLLED for (int j = 0; j < D; j++)
        {
            __m512i digit = load(a[j]);
            sum[j] = low(sum[j], digit, b0);
            sum[j + 1] = high(sum[j + 1], digit, b0);
            sum[j + 2] = high(sum[j + 2], digit, b1);
            sum[j + 3] = high(sum[j + 3], digit, b2);
            sum[j + 1] = low(sum[j + 1], digit, b1);
            sum[j + 2] = low(sum[j + 2], digit, b2);
            sum[j + 3] = low(sum[j + 3], digit, b3);
            sum[j + 4] = high(sum[j + 4], digit, b3);
        }
        UNROLLED for (int j = 0; j < 4; j++) store(column[i + j], sum[j]);
        UNROLLED for (int j = 0; j < D; j++) sum[j] = sum[j + 4];
    }
    UNROLLED for (int j = 0; j < D; j++) store(column[D + j], sum[j]);
}

static __attribute__((noinline)) void multiply(uint64_t (*column)[LANES], const uint64_t (*a)[LANES],
                                               const uint64_t (*b)[LANES])
{
    product(column, a, b, false);
}

static __attribute__((noinline)) void multiply_add(uint64_t (*column)[LANES], const uint64_t (*a)[LANES],
                                                   const uint64_t (*b)[LANES])
{
    product(column, a, b, true);
}

/* ---- Montgomery's reduction ---- */

/* (y0 + y1*2^52) * m[from..to), for the columns of the pair after the one that found y0 and y1, so two lower. A digit
 * is loaded once for four products: what is loaded costs power, and so frequency. */
INLINE void reduce_part(__m512i sum[D + 2], const uint64_t (*m)[LANES], const __m512i y[2], const int from,
                        const int to)
{
    UNROLLED for (int j = from; j < to; j++)
    {
        __m512i digit = load(m[j]);
        sum[j - 2] = low(sum[j - 2], digit, y[0]);
        sum[j - 1] = low(sum[j - 1], digit, y[1]);
        sum[j] = high(sum[j], digit, y[1]);
        sum[j - 1] = high(sum[j - 1], digit, y[0]);
    }
}

/* Adds y[i]*m to columns i.. of column[0..40) so that the lower 20 become zero; leaves the upper 20 in `sum`. It goes
 * by pairs of y. Each needs the one before, so most of what a pair adds is added while the next is being computed: what
 * a column owes to the lowest two digits of m comes first, the rest in parts between. `quotient`: where the y go, or
 * NULL.
 *
 * The lowest 52 bits of sum + low(y*m[0]) are zero, so what is carried is sum / 2^52, rounded up. Whatever is above 52
 * bits of a sum, or of a y, does not count as a factor. */
INLINE void reduce_rows(__m512i sum[D + 2], const uint64_t (*column)[LANES], const uint64_t (*m)[LANES],
                        const uint64_t *inverse, uint64_t (*quotient)[LANES])
{
    __m512i k = load(inverse), y[2] = {zero(), zero()};
    UNROLLED for (int j = 0; j < D; j++) sum[j] = load(column[j]);
    UNROLLED for (int i = 0; i < D; i += 2)
    {
        const __m512i last[2] = {y[0], y[1]};
        const int whole = i > 0 ? D : 0; /* there is a pair before */
        RELOAD(m);
        reduce_part(sum, m, last, 2, whole ? 4 : 0);
        y[0] = low(zero(), sum[0], k);
        __m512i carried = carry(add(sum[0], mask()));
        reduce_part(sum, m, last, 4, whole ? 8 : 0);
        sum[1] = high(sum[1], y[0], load(m[0]));
        carried = low(carried, y[0], load(m[1]));
        sum[2] = high(sum[2], y[0], load(m[1]));
        reduce_part(sum, m, last, 8, whole ? 12 : 0);
        sum[1] = add(sum[1], carried);
        y[1] = low(zero(), sum[1], k);
        carried = carry(add(sum[1], mask()));
        reduce_part(sum, m, last, 12, whole ? 16 : 0);
        RELOAD(m);
        sum[2] = high(sum[2], y[1], load(m[0]));
        carried = low(carried, y[1], load(m[1]));
        sum[3] = high(sum[3], y[1], load(m[1]));
        reduce_part(sum, m, last, 16, whole);
        sum[2] = add(sum[2], carried);
        if (quotient) {
            store(quotient[i], y[0]);
            store(quotient[i + 1], y[1]);
        }
        sum[D] = load(column[D + i]);
        sum[D + 1] = load(column[D + i + 1]);
        UNROLLED for (int j = 0; j < D; j++) sum[j] = sum[j + 2];
    }
    RELOAD(m);
    reduce_part(sum, m, y, 2, D);
}

/* result = column[0..40) / R mod m, carried: digits of 52 bits. */
static __attribute__((noinline)) void reduce(uint64_t (*result)[LANES], const uint64_t (*column)[LANES],
                                             const struct rsa_ifma_modulus *modulus)
{
    __m512i sum[D + 2];
    reduce_rows(sum, column, modulus->m, modulus->k, NULL);
    UNROLLED for (int j = 0; j < D; j++)
    {
        if (j > 0)
            sum[j] = add(sum[j], carry(sum[j - 1]));
        store(result[j], _mm512_and_si512(sum[j], mask()));
    }
}

/* The same for half a modulus: leaves column[20..40) not carried, and the quotient. */
static __attribute__((noinline)) void reduce_half(uint64_t (*column)[LANES], const uint64_t (*m)[LANES],
                                                  const uint64_t *inverse, uint64_t (*quotient)[LANES])
{
    __m512i sum[D + 2];
    reduce_rows(sum, column, m, inverse, quotient);
    UNROLLED for (int j = 0; j < D; j++) store(column[D + j], sum[j]);
}

void rsa_ifma_multiply(uint64_t (*result)[LANES], const uint64_t (*a)[LANES], const uint64_t (*b)[LANES],
                       const struct rsa_ifma_modulus *modulus, uint64_t (*column)[LANES])
{
    multiply(column, a, b);
    reduce(result, column, modulus);
}

void rsa_ifma_square(uint64_t (*result)[LANES], const uint64_t (*a)[LANES], const struct rsa_ifma_modulus *modulus,
                     uint64_t (*column)[LANES])
{
    square(column, a);
    reduce(result, column, modulus);
}

/* ---- numbers of any length ---- */

/* Carries sums, which may be negative as a whole digit but not as a number. */
static void normalise(uint64_t (*result)[LANES], const uint64_t (*column)[LANES], int digits)
{
    __m512i carried = zero();
    for (int j = 0; j < digits; j++) {
        __m512i sum = add(load(column[j]), carried);
        store(result[j], _mm512_and_si512(sum, mask()));
        carried = _mm512_srai_epi64(sum, BITS);
    }
}

/* number mod m, for a number below 2m: the difference is always computed, and taken where it is not negative. */
static void subtract_once(uint64_t (*number)[LANES], const uint64_t (*m)[LANES], uint64_t (*difference)[LANES],
                          int digits)
{
    __m512i borrowed = zero();
    for (int j = 0; j < digits; j++) {
        __m512i sum = add(_mm512_sub_epi64(load(number[j]), load(m[j])), borrowed);
        store(difference[j], _mm512_and_si512(sum, mask()));
        borrowed = _mm512_srai_epi64(sum, BITS);
    }
    __mmask8 negative = _mm512_movepi64_mask(borrowed);
    for (int j = 0; j < digits; j++)
        store(number[j], _mm512_mask_blend_epi64(negative, load(difference[j]), load(number[j])));
}

/* ---- the private half ---- */

/* One of the powers for each lane. All of them are read; compare and move under a mask choose (Gueron and Krasnov). */
static __attribute__((noinline)) void choose(uint64_t (*result)[LANES], const uint64_t (*power)[D][LANES],
                                             const uint8_t window[LANES])
{
    __m512i index = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const void *)window)), chosen[D];
    UNROLLED for (int j = 0; j < D; j++) chosen[j] = load(power[0][j]);
    ROLLED for (int i = 1; i < RSA_IFMA_POWERS; i++)
    {
        __mmask8 here = _mm512_cmpeq_epi64_mask(index, _mm512_set1_epi64(i));
        UNROLLED for (int j = 0; j < D; j++) chosen[j] = _mm512_mask_mov_epi64(chosen[j], here, load(power[i][j]));
    }
    UNROLLED for (int j = 0; j < D; j++) store(result[j], chosen[j]);
}

static void set_one(uint64_t (*number)[LANES])
{
    memset(number, 0, sizeof(uint64_t[D][LANES]));
    store(number[0], _mm512_set1_epi64(1));
}

/* result = message^exponent * R mod m, below 2m. */
static void power(struct rsa_ifma_batch *batch, const struct rsa_ifma_prime *prime, uint64_t (*result)[LANES])
{
    const struct rsa_ifma_modulus *modulus = &prime->modulus;
    uint64_t(*column)[LANES] = batch->scratch.column, (*operand)[LANES] = batch->scratch.number[3];
    uint64_t(*powers)[D][LANES] = batch->scratch.power;
    set_one(operand);
    rsa_ifma_multiply(powers[0], operand, prime->r2, modulus, column);
    /* message = low + high*R; each half is below R, so what comes of it is below 2m, and both together below 4m */
    rsa_ifma_multiply(powers[1], batch->message, prime->r2, modulus, column);
    rsa_ifma_multiply(operand, batch->message + D, prime->r3, modulus, column);
    for (int j = 0; j < D; j++)
        store(operand[j], add(load(operand[j]), load(powers[1][j])));
    normalise(powers[1], operand, D);
    for (int i = 2; i < RSA_IFMA_POWERS; i += 2) {
        rsa_ifma_square(powers[i], powers[i / 2], modulus, column);
        rsa_ifma_multiply(powers[i + 1], powers[i], powers[1], modulus, column);
    }
    choose(result, powers, prime->exponent[0]);
    for (int i = 1; i < RSA_IFMA_WINDOWS; i++) {
        for (int bit = 0; bit < RSA_IFMA_WINDOW_BITS; bit++)
            rsa_ifma_square(result, result, modulus, column);
        choose(operand, powers, prime->exponent[i]);
        rsa_ifma_multiply(result, result, operand, modulus, column);
    }
}

void rsa_ifma_sign(struct rsa_ifma_batch *batch)
{
    uint64_t(*column)[LANES] = batch->scratch.column, (*one)[LANES] = batch->scratch.number[3];
    uint64_t(*sp)[LANES] = batch->scratch.number[0], (*sq)[LANES] = batch->scratch.number[1];
    uint64_t(*h)[LANES] = batch->scratch.number[2];
    power(batch, &batch->p, sp);
    power(batch, &batch->q, sq);
    /* Out of Montgomery's form: times 1 gives at most m itself. */
    set_one(one);
    rsa_ifma_multiply(sp, sp, one, &batch->p.modulus, column);
    rsa_ifma_multiply(sq, sq, one, &batch->q.modulus, column);
    subtract_once(sq, batch->q.modulus.m, h, D);
    /* h = (sp - sq) / q mod p. Both primes have 1,024 bits, so sq < 2p, and 0 < sp + 2p - sq < 4p. */
    for (int j = 0; j < D; j++) {
        __m512i p = load(batch->p.modulus.m[j]);
        store(column[j], _mm512_sub_epi64(add(load(sp[j]), add(p, p)), load(sq[j])));
    }
    normalise(h, column, D);
    rsa_ifma_multiply(h, h, batch->q_inverse, &batch->p.modulus, column);
    subtract_once(h, batch->p.modulus.m, sp, D);
    /* signature = sq + h*q < n, since h < p and sq < q */
    multiply(column, h, batch->q.modulus.m);
    for (int j = 0; j < D; j++)
        store(column[j], add(load(column[j]), load(sq[j])));
    normalise(batch->signature, column, 2 * D);
}

/* ---- the public half: 40 digits, R = 2^2080 ---- */

/* result = column[0..80) / R mod n, in halves of the quotient. */
static void reduce_public(struct rsa_ifma_batch *batch, uint64_t (*result)[LANES])
{
    uint64_t(*column)[LANES] = batch->scratch.column, (*quotient)[LANES] = batch->scratch.number[3];
    for (int half = 0; half < 2; half++, column += D) {
        reduce_half(column, batch->n, batch->n_k, quotient);
        multiply_add(column + D, quotient, batch->n + D);
    }
    normalise(result, column, 2 * D);
}

static void square_public(struct rsa_ifma_batch *batch, uint64_t (*number)[LANES])
{
    uint64_t(*column)[LANES] = batch->scratch.column, (*middle)[LANES] = batch->scratch.number[3];
    square(column, number);
    square(column + 2 * D, number + D);
    multiply(middle, number, number + D);
    for (int j = 0; j < 2 * D; j++) {
        __m512i sum = load(middle[j]);
        store(column[D + j], add(load(column[D + j]), add(sum, sum)));
    }
    reduce_public(batch, number);
}

static void multiply_public(struct rsa_ifma_batch *batch, uint64_t (*number)[LANES], const uint64_t (*b)[LANES])
{
    uint64_t(*column)[LANES] = batch->scratch.column;
    multiply(column, number, b);
    multiply(column + 2 * D, number + D, b + D);
    multiply_add(column + D, number, b + D);
    multiply_add(column + D, number + D, b);
    reduce_public(batch, number);
}

unsigned rsa_ifma_wrong(struct rsa_ifma_batch *batch)
{
    uint64_t(*number)[LANES] = batch->scratch.number[0];
    memcpy(number, batch->signature, sizeof(batch->signature));
    multiply_public(batch, number, batch->n_r2);
    for (int i = 0; i < 16; i++)
        square_public(batch, number);
    multiply_public(batch, number, batch->signature); /* which is not in Montgomery's form, nor is the result then */
    subtract_once(number, batch->n, batch->scratch.number[1], 2 * D);
    unsigned wrong = 0;
    for (int j = 0; j < 2 * D; j++)
        wrong |= _mm512_cmpneq_epi64_mask(load(number[j]), load(batch->message[j]));
    return wrong;
}

/* ---- what is left behind ---- */

static __attribute__((noinline)) void forget_stack(void)
{
    uint8_t below[8192];
    explicit_bzero(below, sizeof(below));
}

void rsa_ifma_forget(void)
{
    forget_stack();
    __asm__ volatile("vpxorq %%zmm16, %%zmm16, %%zmm16\n\tvpxorq %%zmm17, %%zmm17, %%zmm17\n\t"
                     "vpxorq %%zmm18, %%zmm18, %%zmm18\n\tvpxorq %%zmm19, %%zmm19, %%zmm19\n\t"
                     "vpxorq %%zmm20, %%zmm20, %%zmm20\n\tvpxorq %%zmm21, %%zmm21, %%zmm21\n\t"
                     "vpxorq %%zmm22, %%zmm22, %%zmm22\n\tvpxorq %%zmm23, %%zmm23, %%zmm23\n\t"
                     "vpxorq %%zmm24, %%zmm24, %%zmm24\n\tvpxorq %%zmm25, %%zmm25, %%zmm25\n\t"
                     "vpxorq %%zmm26, %%zmm26, %%zmm26\n\tvpxorq %%zmm27, %%zmm27, %%zmm27\n\t"
                     "vpxorq %%zmm28, %%zmm28, %%zmm28\n\tvpxorq %%zmm29, %%zmm29, %%zmm29\n\t"
                     "vpxorq %%zmm30, %%zmm30, %%zmm30\n\tvpxorq %%zmm31, %%zmm31, %%zmm31\n\t"
                     "vzeroall" ::
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                           "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20",
                           "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30",
                           "xmm31");
}
