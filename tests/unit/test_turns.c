/* turns.c: whose turn it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "chance.h"
#include "flow/campaign.h"
#include "flow/turns.h"

enum { MEMBERS = 5, BACKLOGS = 4, ATTEMPTS = 64 };

struct fixture {
    struct arena arena;
    struct turns_set set;
    struct turns *turns;
    struct campaign campaigns[MEMBERS];
    struct turn *turn[MEMBERS];
    unsigned started[MEMBERS];
};

static void begin(struct fixture *f, const unsigned *weights)
{
    memset(f, 0, sizeof *f);
    assert_true(arena_open(&f->arena, 1 << 20));
    assert_true(turns_open(&f->set, &f->arena, BACKLOGS, ATTEMPTS));
    f->turns = turns_hold(&f->set, 7);
    assert_non_null(f->turns);
    for (unsigned i = 0; i < MEMBERS; i++) {
        f->campaigns[i].number = i + 1;
        f->campaigns[i].weight = weights[i];
    }
}

static void end(struct fixture *f)
{
    turns_release(&f->set, f->turns);
    assert_int_equal(pool_in_use(&f->set.members), 0);
    assert_int_equal(pool_in_use(&f->set.turns), 0);
    arena_drop(&f->arena);
}

static void join(struct fixture *f, unsigned i)
{
    f->turn[i] = turns_join(&f->set, f->turns, &f->campaigns[i]);
    assert_non_null(f->turn[i]);
}

/* One that waits starts, and has another one waiting unless `leaves`. Returns whose it was. */
static unsigned start(struct fixture *f, bool leaves)
{
    unsigned next = MEMBERS;
    for (unsigned i = 0; i < MEMBERS; i++)
        if (f->turn[i] && f->turn[i]->waiting && (next == MEMBERS || turns_before(f->turn[i], f->turn[next])))
            next = i;
    assert_true(next < MEMBERS);
    turns_leave(f->turn[next]);
    turns_charge(f->turns, &f->campaigns[next]);
    f->started[next]++;
    if (!leaves)
        join(f, next);
    return next;
}

static void leave_all(struct fixture *f)
{
    for (unsigned i = 0; i < MEMBERS; i++)
        while (f->turn[i] && f->turn[i]->waiting)
            turns_leave(f->turn[i]);
}

/* |starts / weight| differs by no more than one start of each, after every start. */
static void judge(const struct fixture *f, unsigned members)
{
    for (unsigned a = 0; a < members; a++)
        for (unsigned b = 0; b < members; b++) {
            uint64_t wa = f->campaigns[a].weight, wb = f->campaigns[b].weight;
            uint64_t slack = (wa + wb) * 101 / 100 + 1; /* TURNS_STRIDE / weight is rounded */
            if (f->started[a] * wb > f->started[b] * wa + slack)
                fail_msg("weights %u and %u: %u and %u starts", f->campaigns[a].weight, f->campaigns[b].weight,
                         f->started[a], f->started[b]);
        }
}

static void starts_are_as_the_weights(void **unused)
{
    (void)unused;
    static const unsigned sets[][MEMBERS] = {
        {100, 100, 100, 100, 100}, {300, 100, 1, 1000, 50}, {1, 2, 3, 5, 7}, {1000, 999, 1, 1, 500}};
    for (unsigned s = 0; s < countof(sets); s++) {
        struct fixture f;
        begin(&f, sets[s]);
        for (unsigned i = 0; i < MEMBERS; i++)
            join(&f, i);
        for (unsigned n = 0; n < 5000; n++) {
            start(&f, false);
            judge(&f, MEMBERS);
        }
        leave_all(&f);
        end(&f);
    }
}

static void to_have_waited_for_nothing_earns_no_credit(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, (unsigned[]){100, 100, 100, 100, 100});
    join(&f, 0);
    join(&f, 1);
    for (unsigned n = 0; n < 1000; n++)
        start(&f, false);
    join(&f, 2);
    memset(f.started, 0, sizeof f.started);
    for (unsigned n = 0; n < 30; n++)
        start(&f, false);
    judge(&f, 3);
    leave_all(&f);
    end(&f);
}

/* One whose recipients come one by one has no more than one who always has a hundred waiting. */
static void to_leave_for_a_moment_sheds_no_debt(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, (unsigned[]){100, 300, 1, 1, 1});
    join(&f, 0);
    join(&f, 1);
    for (unsigned n = 0; n < 4000; n++) {
        unsigned who = start(&f, true);
        join(&f, who);
        judge(&f, 2);
    }
    leave_all(&f);
    end(&f);
}

static void high_is_first_and_shares_with_its_like(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, (unsigned[]){100, 300, 1000, 1, 1});
    f.campaigns[0].high = f.campaigns[1].high = true;
    for (unsigned i = 0; i < 3; i++)
        join(&f, i);
    for (unsigned n = 0; n < 400; n++) {
        start(&f, false);
        judge(&f, 2);
    }
    assert_int_equal(f.started[2], 0);
    while (f.turn[0]->waiting)
        turns_leave(f.turn[0]);
    while (f.turn[1]->waiting)
        turns_leave(f.turn[1]);
    f.turn[0] = f.turn[1] = NULL; /* they may be gone by now */
    assert_int_equal(start(&f, false), 2);
    /* It is no more: where it stood among those it does not stand among these. */
    f.campaigns[0].high = false;
    join(&f, 0);
    memset(f.started, 0, sizeof f.started);
    for (unsigned n = 0; n < 110; n++)
        start(&f, false);
    assert_in_range(f.started[0], 9, 11);
    leave_all(&f);
    end(&f);
}

/* Members come and go at random: nobody is lost, and what nobody needs is dropped. */
static void members_come_and_go(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, (unsigned[]){1, 10, 100, 500, 1000});
    for (unsigned n = 0; n < 20000; n++) {
        unsigned i = random_below(MEMBERS), waiting = 0;
        for (unsigned k = 0; k < MEMBERS; k++)
            waiting += f.turn[k] ? f.turn[k]->waiting : 0;
        if (random_below(2) && waiting < ATTEMPTS)
            join(&f, i);
        else if (waiting)
            start(&f, true);
        assert_true(pool_in_use(&f.set.members) <= MEMBERS);
        for (unsigned k = 0; k < MEMBERS; k++)
            if (f.turn[k] && !f.turn[k]->waiting)
                f.turn[k] = NULL;
    }
    leave_all(&f);
    end(&f);
}

static void an_isp_has_one(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, (unsigned[]){1, 1, 1, 1, 1});
    assert_ptr_equal(turns_hold(&f.set, 7), f.turns);
    struct turns *other = turns_hold(&f.set, 8);
    assert_ptr_not_equal(other, f.turns);
    turns_release(&f.set, other);
    turns_release(&f.set, f.turns);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_are_as_the_weights),
        cmocka_unit_test(to_have_waited_for_nothing_earns_no_credit),
        cmocka_unit_test(to_leave_for_a_moment_sheds_no_debt),
        cmocka_unit_test(high_is_first_and_shares_with_its_like),
        cmocka_unit_test(members_come_and_go),
        cmocka_unit_test(an_isp_has_one),
    };
    return cmocka_run_group_tests_name("turns", tests, chance_begin, NULL);
}
