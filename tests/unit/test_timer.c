/* timer.c: due timers fire in the order of their deadlines, equal ones in the order of setting, each once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "io/timer.h"

enum { CAPACITY = 20000 };

struct item {
    struct io_timer timer;
    struct fixture *fixture;
    void (*also)(struct item *item); /* when it fires */
    bool set;                        /* as the model sees it */
    nsec at;
    uint64_t order;
};

struct fixture {
    struct arena arena;
    struct timers timers;
    struct item items[CAPACITY];
    struct item *fired[CAPACITY];
    unsigned fired_count;
    uint64_t order, random;
};

static void on_fire(struct io_timer *timer)
{
    struct item *item = container_of(timer, struct item, timer);
    assert_false(io_timer_is_set(timer));
    assert_true(item->fixture->fired_count < CAPACITY);
    item->fixture->fired[item->fixture->fired_count++] = item;
    if (item->also)
        item->also(item);
}

static int set_up(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    *state = f;
    if (!arena_open(&f->arena, timer_bytes(CAPACITY)) || !timer_open(&f->timers, &f->arena, CAPACITY))
        return -1;
    for (unsigned i = 0; i < CAPACITY; i++)
        f->items[i] = (struct item){.timer.fire = on_fire, .fixture = f};
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    arena_drop(&f->arena);
    test_free(f);
    return 0;
}

static void set(struct fixture *f, unsigned i, nsec at) { timer_set(&f->timers, &f->items[i].timer, at); }

static void expect_fired(struct fixture *f, nsec now, unsigned count, const unsigned *expected)
{
    f->fired_count = 0;
    assert_int_equal(timer_fire(&f->timers, now), count);
    assert_int_equal(f->fired_count, count);
    for (unsigned i = 0; i < count; i++)
        assert_ptr_equal(f->fired[i], &f->items[expected[i]]);
}

static void fires_in_order_and_never_before(void **state)
{
    struct fixture *f = *state;
    assert_true(timer_next(&f->timers) == NSEC_NEVER);
    set(f, 0, 300);
    set(f, 1, 100);
    set(f, 2, 200);
    set(f, 3, 100);
    set(f, 4, -5);
    assert_true(timer_next(&f->timers) == -5);
    expect_fired(f, -6, 0, NULL);
    expect_fired(f, -5, 1, (unsigned[]){4});
    expect_fired(f, 99, 0, NULL);
    assert_true(timer_next(&f->timers) == 100);
    expect_fired(f, 299, 3, (unsigned[]){1, 3, 2});
    expect_fired(f, 300, 1, (unsigned[]){0});
    expect_fired(f, NSEC_NEVER, 0, NULL);
}

static void setting_again_moves_and_is_a_new_setting(void **state)
{
    struct fixture *f = *state;
    set(f, 0, 100);
    set(f, 1, 100);
    set(f, 2, 100);
    set(f, 0, 100); /* now behind 1 and 2 */
    set(f, 2, 50);
    expect_fired(f, 60, 1, (unsigned[]){2});
    set(f, 1, 500);
    expect_fired(f, 100, 1, (unsigned[]){0});
    timer_clear(&f->timers, &f->items[1].timer);
    timer_clear(&f->timers, &f->items[1].timer);
    assert_false(io_timer_is_set(&f->items[1].timer));
    expect_fired(f, 1000, 0, NULL);
}

static void clear_next(struct item *item) { timer_clear(&item->fixture->timers, &item[1].timer); }
static void move_next_later(struct item *item) { timer_set(&item->fixture->timers, &item[1].timer, 1000); }
static void set_again_now(struct item *item) { timer_set(&item->fixture->timers, &item->timer, 0); }

static void one_that_is_due_may_be_cleared_or_moved_by_another(void **state)
{
    struct fixture *f = *state;
    f->items[0].also = clear_next;
    f->items[2].also = move_next_later;
    for (unsigned i = 0; i < 5; i++)
        set(f, i, 10);
    expect_fired(f, 10, 3, (unsigned[]){0, 2, 4});
    assert_false(io_timer_is_set(&f->items[1].timer));
    assert_true(timer_next(&f->timers) == 1000);
    expect_fired(f, 1000, 1, (unsigned[]){3});
}

static void one_that_sets_itself_for_now_waits_for_the_next_call(void **state)
{
    struct fixture *f = *state;
    f->items[0].also = set_again_now;
    set(f, 0, 5);
    set(f, 1, 6);
    expect_fired(f, 10, 2, (unsigned[]){0, 1});
    expect_fired(f, 10, 1, (unsigned[]){0});
    f->items[0].also = NULL;
    expect_fired(f, 10, 1, (unsigned[]){0});
}

static uint64_t roll(struct fixture *f)
{
    f->random = f->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return f->random >> 33;
}

static int by_deadline(const void *a, const void *b)
{
    const struct item *x = *(struct item *const *)a, *y = *(struct item *const *)b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* What must fire at `now` by the model, which knows nothing of heaps: a sorted list. */
static unsigned expected_by_model(struct fixture *f, nsec now, struct item **expected)
{
    unsigned count = 0;
    for (unsigned i = 0; i < CAPACITY; i++)
        if (f->items[i].set && f->items[i].at <= now)
            expected[count++] = &f->items[i];
    qsort(expected, count, sizeof *expected, by_deadline);
    for (unsigned i = 0; i < count; i++)
        expected[i]->set = false;
    return count;
}

static void random_timers_agree_with_a_sorted_list(void **state)
{
    struct fixture *f = *state;
    struct item **expected = test_calloc(CAPACITY, sizeof *expected);
    nsec now = 0;
    f->random = 0x71335eed;
    print_message("seed %llu\n", (unsigned long long)f->random);
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < 400; i++) {
            struct item *item = &f->items[roll(f) % CAPACITY];
            if (roll(f) % 4 == 0) {
                timer_clear(&f->timers, &item->timer);
                item->set = false;
                continue;
            }
            item->at = now - 10 + (nsec)(roll(f) % 5000); /* some are due already, many are equal */
            item->order = f->order++;
            item->set = true;
            timer_set(&f->timers, &item->timer, item->at);
        }
        now += (nsec)(roll(f) % 500);
        unsigned count = expected_by_model(f, now, expected);
        f->fired_count = 0;
        assert_int_equal(timer_fire(&f->timers, now), count);
        assert_int_equal(f->fired_count, count);
        for (unsigned i = 0; i < count; i++)
            assert_ptr_equal(f->fired[i], expected[i]);
        for (unsigned i = 0; i < CAPACITY; i++)
            assert_int_equal(io_timer_is_set(&f->items[i].timer), f->items[i].set);
    }
    test_free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fires_in_order_and_never_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(setting_again_moves_and_is_a_new_setting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_is_due_may_be_cleared_or_moved_by_another, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_sets_itself_for_now_waits_for_the_next_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(random_timers_agree_with_a_sorted_list, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("timer", tests, NULL, NULL);
}
