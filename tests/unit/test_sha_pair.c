/* test_sha_pair.c - two bodies hashed side by side have the hashes that each has by itself. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "sign/sha_pair.h"
#include "tests/unit/chance.h"

enum { BODY = 40000 };

/* Also where the CPU cannot, how two bodies are cut into blocks is shown with OpenSSL's. */
static void blocks_of_openssl(SHA256_CTX *a, const char *p, SHA256_CTX *b, const char *q, size_t count)
{
    assert_int_equal(a->num, 0);
    assert_int_equal(b->num, 0);
    for (; count; count--, p += SHA256_CBLOCK, q += SHA256_CBLOCK) {
        SHA256_Transform(a, (const unsigned char *)p);
        SHA256_Transform(b, (const unsigned char *)q);
    }
}

/* Long runs that are canonical, and between them what is not. */
static size_t random_body(char *to)
{
    static const char *const odd[] = {" ", "\t", " \r\n", "\r\n\r\n", "  ", "\n", "\r", "=\r\n"};
    size_t n = 0, limit = random_below(4) ? random_below(BODY) : random_below(600);
    while (n < limit) {
        const char *word = odd[random_below(countof(odd))];
        for (size_t run = random_below(8) ? random_below(3000) : random_below(80); run && n < limit; run--)
            to[n++] = run % 76 ? (char)('a' + random_below(26)) : ' ';
        for (; *word && n < limit; word++)
            to[n++] = *word;
    }
    return n;
}

struct cut {
    char *text;
    size_t n, at;
    struct dkim_body two, one;
};

/* The next piece, in memory of its own size: a read past its end is seen. */
static struct slice next_piece(struct cut *cut, char **memory)
{
    size_t n = random_below(3) ? random_below(BODY) : random_below(300);
    n = n < cut->n - cut->at ? n : cut->n - cut->at;
    *memory = malloc(n ? n : 1);
    memcpy(*memory, cut->text + cut->at, n);
    cut->at += n;
    return (struct slice){*memory, n};
}

static void compare(struct cut *cut)
{
    uint8_t two[DKIM_HASH], one[DKIM_HASH];
    dkim_body_final(&cut->two, two);
    dkim_body_final(&cut->one, one);
    assert_memory_equal(two, one, DKIM_HASH);
}

static void two_by_two(const struct dkim_pair *pair, unsigned turns)
{
    static char text[2][BODY];
    struct cut cuts[2];
    for (unsigned turn = 0; turn < turns; turn++) {
        for (unsigned i = 0; i < 2; i++) {
            cuts[i] = (struct cut){.text = text[i], .n = random_body(text[i])};
            dkim_body_init(&cuts[i].two);
            dkim_body_init(&cuts[i].one);
        }
        while (cuts[0].at < cuts[0].n || cuts[1].at < cuts[1].n) {
            char *memory[2];
            struct slice a = next_piece(&cuts[0], &memory[0]), b = next_piece(&cuts[1], &memory[1]);
            dkim_body_update_two(&cuts[0].two, a, &cuts[1].two, b, pair);
            dkim_body_update(&cuts[0].one, a);
            dkim_body_update(&cuts[1].one, b);
            free(memory[0]);
            free(memory[1]);
        }
        compare(&cuts[0]);
        compare(&cuts[1]);
    }
}

static void any_two_bodies(void **state)
{
    (void)state;
    static const struct dkim_pair openssl = {blocks_of_openssl};
    two_by_two(&openssl, 400);
    two_by_two(NULL, 20);
}

static bool cpu_says_it_can(void)
{
    static char line[8192];
    FILE *file = fopen("/proc/cpuinfo", "r");
    bool can = false;
    assert_non_null(file);
    while (!can && fgets(line, sizeof line, file))
        can = strstr(line, " sha_ni ") && strstr(line, " ssse3 ") && strstr(line, " sse4_1 ");
    fclose(file);
    return can;
}

/* Where the kernel says that the CPU has the instructions they are used, and agree. */
static void by_the_instructions(void **state)
{
    (void)state;
    const struct dkim_pair *pair = sha_pair();
    assert_int_equal(pair != NULL, cpu_says_it_can());
    if (pair)
        two_by_two(pair, 800);
}

/* More octets than 32 bits count in bits: 512 MiB. */
static void length_is_counted_in_64_bits(void **state)
{
    (void)state;
    enum { PIECE = 1 << 16, PIECES = (1 << 13) + 1 };
    static char text[PIECE];
    struct dkim_body a, b;
    uint8_t two[DKIM_HASH], one[DKIM_HASH];
    static const struct dkim_pair pair = {blocks_of_openssl};
    memset(text, 'x', sizeof text);
    dkim_body_init(&a);
    dkim_body_init(&b);
    /* All but the last pieces are taken as hashed. */
    uint64_t before = (uint64_t)(PIECES - 2) * PIECE * 8;
    a.any = b.any = true;
    a.sha.Nl = b.sha.Nl = (SHA_LONG)before;
    a.sha.Nh = b.sha.Nh = (SHA_LONG)(before >> 32);
    struct dkim_body single = a;
    for (unsigned i = 0; i < 2; i++) {
        dkim_body_update_two(&a, (struct slice){text, PIECE}, &b, (struct slice){text, PIECE}, &pair);
        dkim_body_update(&single, (struct slice){text, PIECE});
    }
    assert_int_equal(single.sha.Nh, 1);
    dkim_body_final(&a, two);
    dkim_body_final(&single, one);
    assert_memory_equal(two, one, DKIM_HASH);
    dkim_body_final(&b, two);
    assert_memory_equal(two, one, DKIM_HASH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(any_two_bodies, chance_begin),
        cmocka_unit_test_setup(by_the_instructions, chance_begin),
        cmocka_unit_test(length_is_counted_in_64_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
