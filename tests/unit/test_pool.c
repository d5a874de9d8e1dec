/* pool.c: every object once, the warmest first, and a wrong give ends the program. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/pool.h"

enum { SIZE = 72, CAPACITY = 1000 };

struct fixture {
    struct arena arena;
    struct pool pool;
};

static int set_up(void **state)
{
    struct fixture *fixture = test_calloc(1, sizeof *fixture);
    *state = fixture;
    return fixture && arena_open(&fixture->arena, pool_bytes(SIZE, CAPACITY)) &&
                   pool_open(&fixture->pool, &fixture->arena, SIZE, CAPACITY)
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    arena_drop(&fixture->arena);
    test_free(fixture);
    return 0;
}

static struct pool *pool_of(void **state) { return &((struct fixture *)*state)->pool; }

static void gives_every_object_once(void **state)
{
    struct pool *pool = pool_of(state);
    char *objects[CAPACITY];
    for (int i = 0; i < CAPACITY; i++) {
        objects[i] = pool_take(pool);
        assert_non_null(objects[i]);
        assert_int_equal((uintptr_t)objects[i] % 64, 0);
        memset(objects[i], i, SIZE);
    }
    assert_null(pool_take(pool));
    assert_int_equal(pool_in_use(pool), CAPACITY);
    for (int i = 0; i < CAPACITY; i++) {
        assert_int_equal(objects[i][0], (char)i);
        assert_int_equal(objects[i][SIZE - 1], (char)i);
        pool_give(pool, objects[i]);
    }
    assert_int_equal(pool_in_use(pool), 0);
}

static void the_last_given_back_is_the_first_taken(void **state)
{
    struct pool *pool = pool_of(state);
    void *a = pool_take(pool), *b = pool_take(pool), *c = pool_take(pool);
    pool_give(pool, a);
    pool_give(pool, c);
    assert_ptr_equal(pool_take(pool), c);
    assert_ptr_equal(pool_take(pool), a);
    pool_give(pool, b);
    assert_ptr_equal(pool_take(pool), b);
    assert_int_equal(pool->laid_out, 3); /* nothing else was ever touched */
    pool_give(pool, a);
    pool_give(pool, b);
    pool_give(pool, c);
}

static void random_taking_and_giving_never_hands_out_twice(void **state)
{
    struct pool *pool = pool_of(state);
    uint64_t seed = 0x5eed5eed5eedULL, x = seed;
    void *held[CAPACITY + 1]; /* one more is asked for, and refused */
    unsigned count = 0;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 100000; i++) {
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        unsigned choice = (unsigned)(x >> 33);
        if (count && choice % 100 < 48) {
            unsigned which = choice / 100 % count;
            uint64_t stamp;
            memcpy(&stamp, held[which], sizeof stamp);
            assert_true(stamp == (uint64_t)(uintptr_t)held[which]);
            memset(held[which], 0, SIZE);
            pool_give(pool, held[which]);
            held[which] = held[--count];
        } else if ((held[count] = pool_take(pool)) != NULL) {
            uint64_t stamp = (uint64_t)(uintptr_t)held[count++];
            memset(held[count - 1], 0xff, SIZE);
            memcpy(held[count - 1], &stamp, sizeof stamp);
        } else {
            assert_int_equal(count, CAPACITY);
        }
        assert_int_equal(pool_in_use(pool), count);
    }
    while (count)
        pool_give(pool, held[--count]);
}

static bool ends_the_program(struct pool *pool, void *object)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGILL, SIG_DFL); /* cmocka would take the trap for a failed test and go on */
        pool_give(pool, object);
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGILL;
}

static void a_wrong_give_ends_the_program(void **state)
{
    struct pool *pool = pool_of(state);
    char *a = pool_take(pool), *b = pool_take(pool), other[SIZE];
    pool_give(pool, b);
    assert_true(ends_the_program(pool, b));
    assert_true(ends_the_program(pool, a + 8));
    assert_true(ends_the_program(pool, other));
    assert_false(ends_the_program(pool, a));
    pool_give(pool, a);
}

static void an_arena_that_is_too_small_is_refused(void **state)
{
    struct arena arena;
    struct pool pool;
    (void)state;
    assert_true(arena_open(&arena, 4096));
    assert_false(pool_open(&pool, &arena, 4000, 2));
    arena_drop(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gives_every_object_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_given_back_is_the_first_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(random_taking_and_giving_never_hands_out_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_give_ends_the_program, set_up, tear_down),
        cmocka_unit_test(an_arena_that_is_too_small_is_refused),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
