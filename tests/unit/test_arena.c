/* arena.c: pieces are zeroed, aligned, apart from each other, and end with the arena. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "io/arena.h"

static bool is_zero(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static void takes_zeroed_aligned_pieces_apart(void **state)
{
    struct arena arena;
    char *pieces[64];
    (void)state;
    assert_true(arena_open(&arena, 1 << 20));
    for (size_t i = 0; i < countof(pieces); i++) {
        size_t align = (size_t)1 << i % 13;
        pieces[i] = arena_take(&arena, i + 1, align);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % align, 0);
        assert_true(is_zero(pieces[i], i + 1));
        memset(pieces[i], (int)i + 1, i + 1);
    }
    for (size_t i = 0; i < countof(pieces); i++)
        for (size_t k = 0; k <= i; k++)
            assert_int_equal(pieces[i][k], (char)(i + 1));
    arena_drop(&arena);
    assert_null(arena.base);
    arena_drop(&arena);
}

static void is_exhausted_exactly(void **state)
{
    struct arena arena;
    (void)state;
    assert_true(arena_open(&arena, 1));
    assert_true(arena.size >= 4096 && arena.size % 4096 == 0);
    assert_null(arena_take(&arena, arena.size + 1, 1));
    assert_null(arena_take(&arena, SIZE_MAX, 1));
    char *all = arena_take(&arena, arena.size, 1);
    assert_non_null(all);
    memset(all, 1, arena.size);
    assert_null(arena_take(&arena, 1, 1));
    arena_drop(&arena);
}

/* More than any machine has: address space alone is reserved, and what an empty or impossible arena is, is said. */
static void reserves_without_using(void **state)
{
    struct arena arena;
    (void)state;
    assert_true(arena_open(&arena, (size_t)1 << 36));
    char *p = arena_take(&arena, (size_t)1 << 35, 4096);
    assert_non_null(p);
    p[0] = p[((size_t)1 << 35) - 1] = 1;
    arena_drop(&arena);
    assert_false(arena_open(&arena, 0));
    assert_false(arena_open(&arena, SIZE_MAX));
    assert_false(arena_open(&arena, SIZE_MAX / 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_zeroed_aligned_pieces_apart),
        cmocka_unit_test(is_exhausted_exactly),
        cmocka_unit_test(reserves_without_using),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
