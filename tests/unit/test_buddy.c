/* buddy.c: blocks never overlap, merge back into the whole, and the budget is never exceeded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/buddy.h"

enum { SIZE = 1 << 20, BLOCKS = 300 };

struct held {
    unsigned char *p;
    size_t size;
    unsigned char mark;
};

static uint64_t step(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void check(const struct held *h)
{
    for (size_t i = 0; i < h->size; i++)
        assert_int_equal(h->p[i], h->mark);
}

static void random_blocks_never_overlap(void **unused)
{
    (void)unused;
    uint64_t seed = 20261121;
    print_message("seed %lu\n", (unsigned long)seed);
    void *memory = aligned_alloc(BUDDY_SMALLEST, SIZE);
    uint8_t *tags = malloc(buddy_tags_size(SIZE));
    struct buddy buddy;
    buddy_init(&buddy, memory, SIZE, tags);
    struct held held[BLOCKS] = {{0}};
    unsigned taken = 0, refused = 0;
    for (unsigned i = 0; i < 20000; i++) {
        struct held *h = &held[step(&seed) % BLOCKS];
        if (h->p) {
            check(h);
            buddy_give(&buddy, h->p);
            h->p = NULL;
            continue;
        }
        size_t size = 1 + step(&seed) % (step(&seed) % 8 ? 9000 : 200000);
        bool had = buddy_has(&buddy, size);
        h->p = buddy_take(&buddy, size);
        assert_int_equal(had, h->p != NULL);
        if (!h->p) {
            refused++;
            continue;
        }
        taken++;
        h->size = size;
        h->mark = (unsigned char)step(&seed);
        memset(h->p, h->mark, size);
    }
    assert_true(taken > 1000);
    assert_true(refused > 10);
    for (unsigned i = 0; i < BLOCKS; i++)
        if (held[i].p) {
            check(&held[i]);
            buddy_give(&buddy, held[i].p);
        }
    assert_int_equal(buddy.used, 0);
    void *whole = buddy_take(&buddy, SIZE);
    assert_ptr_equal(whole, memory);
    assert_null(buddy_take(&buddy, 1));
    free(memory);
    free(tags);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_blocks_never_overlap)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
