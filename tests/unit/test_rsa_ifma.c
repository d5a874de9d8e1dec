/* rsa_ifma.c: products and squares of eight numbers at once are what BIGNUM makes of them, at every edge. */
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

#include "sign/rsa_ifma.h"
#include "sign/rsa_lanes.h"

enum { D = RSA_IFMA_DIGITS, BITS = RSA_IFMA_DIGIT_BITS, BOUND_BITS = 1024 + 8 /* of operands */ };

struct fixture {
    struct rsa_ifma_modulus modulus;
    alignas(64) uint64_t a[D][RSA_IFMA_LANES], b[D][RSA_IFMA_LANES], result[D][RSA_IFMA_LANES];
    alignas(64) uint64_t column[2 * D][RSA_IFMA_LANES];
    BIGNUM *m[RSA_IFMA_LANES], *edges[6 * D + 64];
    unsigned edge_count;
    BN_CTX *context;
};

static void put(uint64_t (*rows)[RSA_IFMA_LANES], unsigned lane, const BIGNUM *number)
{
    BIGNUM *rest = BN_dup(number);
    for (unsigned j = 0; j < D; j++) {
        BIGNUM *digit = BN_dup(rest);
        if (BN_num_bits(digit) > BITS)
            assert_true(BN_mask_bits(digit, BITS));
        rows[j][lane] = BN_get_word(digit);
        assert_true(BN_rshift(rest, rest, BITS));
        BN_free(digit);
    }
    assert_true(BN_is_zero(rest));
    BN_free(rest);
}

static void get(BIGNUM *number, const uint64_t (*rows)[RSA_IFMA_LANES], unsigned lane)
{
    BN_zero(number);
    for (unsigned j = D; j-- > 0;) {
        assert_true(rows[j][lane] >> BITS == 0); /* carried: else the next product would lose it */
        assert_true(BN_lshift(number, number, BITS) && BN_add_word(number, rows[j][lane]));
    }
}

/* Lane 0: all bits set; lane 1: the least; lane 2: digits of zeros; the rest by chance. */
static void set_modulus(struct fixture *fixture, unsigned lane)
{
    BIGNUM *m = fixture->m[lane];
    BN_zero(m);
    if (lane == 0)
        assert_true(BN_set_bit(m, 1024) && BN_sub_word(m, 1));
    else if (lane == 1)
        assert_true(BN_set_bit(m, 1023) && BN_add_word(m, 1));
    else if (lane == 2)
        assert_true(BN_set_bit(m, 1023) && BN_set_bit(m, 520) && BN_add_word(m, (UINT64_C(1) << BITS) - 1));
    else
        assert_true(BN_rand(m, 1024, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD));
    put(fixture->modulus.m, lane, m);
    uint64_t inverse = 1;
    for (int i = 0; i < 6; i++)
        inverse *= 2 - fixture->modulus.m[0][lane] * inverse;
    fixture->modulus.k[lane] = -inverse & ((UINT64_C(1) << BITS) - 1);
}

static BIGNUM *edge(struct fixture *fixture)
{
    assert_true(fixture->edge_count < sizeof(fixture->edges) / sizeof(fixture->edges[0]));
    return fixture->edges[fixture->edge_count++] = BN_new();
}

static int set_up(void **state)
{
    enum rsa_lanes_state why;
    struct rsa_lanes *lanes = rsa_lanes_open(NULL, &why);
    *state = NULL;
    if (!lanes)
        return why == RSA_LANES_NO_CPU ? 0 : -1;
    rsa_lanes_close(lanes);
    struct fixture *fixture = aligned_alloc(64, sizeof(*fixture));
    memset(fixture, 0, sizeof(*fixture));
    *state = fixture;
    fixture->context = BN_CTX_new();
    for (unsigned lane = 0; lane < RSA_IFMA_LANES; lane++) {
        fixture->m[lane] = BN_new();
        set_modulus(fixture, lane);
    }
    for (unsigned word = 0; word < 3; word++)
        BN_set_word(edge(fixture), word);
    for (unsigned j = 0; j < D; j++) { /* carries that begin, and that end, at every digit; and all ones in one digit */
        BN_set_bit(edge(fixture), (int)j * BITS);
        BIGNUM *ones = edge(fixture);
        BN_set_bit(ones, (int)(j + 1) * BITS < BOUND_BITS ? (int)(j + 1) * BITS : BOUND_BITS);
        BN_sub_word(ones, 1);
        BIGNUM *digit = edge(fixture);
        BN_set_bit(digit, j + 1 < D ? BITS : BOUND_BITS - (D - 1) * BITS);
        BN_sub_word(digit, 1);
        BN_lshift(digit, digit, (int)j * BITS);
    }
    for (int i = 0; i < 16; i++)
        BN_rand(edge(fixture), BOUND_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    if (!fixture)
        return 0;
    for (unsigned i = 0; i < fixture->edge_count; i++)
        BN_free(fixture->edges[i]);
    for (unsigned lane = 0; lane < RSA_IFMA_LANES; lane++)
        BN_free(fixture->m[lane]);
    BN_CTX_free(fixture->context);
    free(fixture);
    return 0;
}

/* result*R = a*b mod m, and result < a*b/R + m: the bound that lets it be an operand again. */
static void check(struct fixture *fixture, unsigned lane, const BIGNUM *a, const BIGNUM *b)
{
    BIGNUM *found = BN_new(), *product = BN_new(), *bound = BN_new();
    get(found, fixture->result, lane);
    assert_true(BN_mul(product, a, b, fixture->context));
    assert_true(BN_rshift(bound, product, D * BITS) && BN_add(bound, bound, fixture->m[lane]));
    assert_true(BN_cmp(found, bound) <= 0);
    assert_true(BN_lshift(found, found, D * BITS) && BN_sub(found, found, product));
    assert_true(BN_nnmod(found, found, fixture->m[lane], fixture->context));
    assert_true(BN_is_zero(found));
    BN_free(found);
    BN_free(product);
    BN_free(bound);
}

/* Lanes have their own edge, so that a lane that disturbs another is found too: `shift` turns them. */
static void all_pairs(struct fixture *fixture, unsigned count, BIGNUM *const *numbers[RSA_IFMA_LANES])
{
    for (unsigned i = 0; i < count; i++) {
        for (unsigned j = 0; j < count; j++) {
            const BIGNUM *a[RSA_IFMA_LANES], *b[RSA_IFMA_LANES];
            for (unsigned lane = 0; lane < RSA_IFMA_LANES; lane++) {
                put(fixture->a, lane, a[lane] = numbers[lane][(i + lane) % count]);
                put(fixture->b, lane, b[lane] = numbers[lane][(j + 3 * lane) % count]);
            }
            rsa_ifma_multiply(fixture->result, fixture->a, fixture->b, &fixture->modulus, fixture->column);
            for (unsigned lane = 0; lane < RSA_IFMA_LANES; lane++)
                check(fixture, lane, a[lane], b[lane]);
        }
        const BIGNUM *a[RSA_IFMA_LANES];
        for (unsigned lane = 0; lane < RSA_IFMA_LANES; lane++)
            put(fixture->a, lane, a[lane] = numbers[lane][(i + lane) % count]);
        rsa_ifma_square(fixture->result, fixture->a, &fixture->modulus, fixture->column);
        for (unsigned lane = 0; lane < RSA_IFMA_LANES; lane++)
            check(fixture, lane, a[lane], a[lane]);
    }
}

#define FIXTURE(state)                                                                                                 \
    struct fixture *fixture = *(state);                                                                                \
    if (!fixture) {                                                                                                    \
        print_message("skipped: this CPU has no AVX-512 IFMA\n");                                                      \
        skip();                                                                                                        \
    }

static void multiplies_at_every_digit(void **state)
{
    FIXTURE(state);
    BIGNUM *const *numbers[RSA_IFMA_LANES];
    for (unsigned lane = 0; lane < RSA_IFMA_LANES; lane++)
        numbers[lane] = fixture->edges;
    all_pairs(fixture, fixture->edge_count, numbers);
}

static void multiplies_around_the_modulus(void **state)
{
    FIXTURE(state);
    BIGNUM *around[RSA_IFMA_LANES][7], *const *numbers[RSA_IFMA_LANES];
    for (unsigned lane = 0; lane < RSA_IFMA_LANES; lane++) {
        for (unsigned i = 0; i < 7; i++) { /* 0, 1, m-1, m, m+1, 2m-1, 2m */
            around[lane][i] = BN_new();
            if (i == 1)
                BN_set_word(around[lane][i], 1);
            if (i >= 2)
                BN_copy(around[lane][i], fixture->m[lane]);
            if (i >= 5)
                BN_add(around[lane][i], around[lane][i], fixture->m[lane]);
            if (i == 2 || i == 5)
                BN_sub_word(around[lane][i], 1);
            if (i == 4)
                BN_add_word(around[lane][i], 1);
        }
        numbers[lane] = around[lane];
    }
    all_pairs(fixture, 7, numbers);
    for (unsigned lane = 0; lane < RSA_IFMA_LANES; lane++)
        for (unsigned i = 0; i < 7; i++)
            BN_free(around[lane][i]);
}

/* As in a power: what comes out goes in again, for long, and its operand's memory is its result's. */
static void feeds_itself(void **state)
{
    FIXTURE(state);
    BIGNUM *before[RSA_IFMA_LANES];
    for (unsigned lane = 0; lane < RSA_IFMA_LANES; lane++) {
        before[lane] = BN_dup(fixture->edges[fixture->edge_count - 1 - lane]);
        put(fixture->result, lane, before[lane]);
    }
    for (int step = 0; step < 200; step++) {
        rsa_ifma_square(fixture->result, fixture->result, &fixture->modulus, fixture->column);
        for (unsigned lane = 0; lane < RSA_IFMA_LANES; lane++) {
            check(fixture, lane, before[lane], before[lane]);
            get(before[lane], fixture->result, lane);
        }
    }
    for (unsigned lane = 0; lane < RSA_IFMA_LANES; lane++)
        BN_free(before[lane]);
}

#define EACH(what)                                                                                                     \
    what(0) what(1) what(2) what(3) what(4) what(5) what(6) what(7) what(8) what(9) what(10) what(11) what(12)         \
        what(13) what(14) what(15) what(16) what(17) what(18) what(19) what(20) what(21) what(22) what(23) what(24)    \
            what(25) what(26) what(27) what(28) what(29) what(30) what(31)
#define SET(n)  "vpternlogd $0xff, %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"
#define SHOW(n) "vmovdqu64 %%zmm" #n ", 64*" #n "(%0)\n\t"

static void forgets_registers(void **state)
{
    FIXTURE(state);
    (void)fixture;
    static uint8_t registers[32][64];
    static const uint8_t zeros[32][64];
    __asm__ volatile(EACH(SET)::: "memory");
    rsa_ifma_forget();
    __asm__ volatile(EACH(SHOW)::"r"(registers) : "memory");
    assert_memory_equal(registers, zeros, sizeof(zeros));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multiplies_at_every_digit),
        cmocka_unit_test(multiplies_around_the_modulus),
        cmocka_unit_test(feeds_itself),
        cmocka_unit_test(forgets_registers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
