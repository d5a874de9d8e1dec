/* ledger.c: which answer opens which gate. Redis is this file: what is asked stays here until a test answers it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "flow/ledger.h"

enum { ATTEMPTS = 300, ASKED = 8, INDICES = 128 };

struct asked {
    struct store_request *request;
    unsigned lease; /* index */
    unsigned permits, withdrawals;
    uint32_t permit[INDICES], withdrawn[INDICES];
};

struct fixture {
    struct arena arena;
    struct ledger ledger;
    struct lease leases[2];
    struct attempt attempts[ATTEMPTS];
    struct asked asked[ASKED]; /* unanswered and answered, in order */
    unsigned asked_count, decided, unpinned, answered;
};

/* The ledger borrows a store; here it is the fixture itself. */
void store_permit(struct store *store, struct store_request *r, struct slice campaign, struct slice lease,
                  const uint32_t *permits, unsigned permit_count, const uint32_t *withdrawn, unsigned withdrawn_count)
{
    struct fixture *f = (struct fixture *)(void *)store;
    assert_true(f->asked_count < ASKED && permit_count <= INDICES && withdrawn_count <= INDICES);
    assert_true(slice_equal(campaign, SLICE("c")) && lease.n == 1);
    struct asked *asked = &f->asked[f->asked_count++];
    *asked = (struct asked){
        .request = r, .lease = (unsigned)(lease.p[0] - '0'), .permits = permit_count, .withdrawals = withdrawn_count};
    memcpy(asked->permit, permits, permit_count * sizeof *permits);
    memcpy(asked->withdrawn, withdrawn, withdrawn_count * sizeof *withdrawn);
}

static void on_decided(void *context, struct attempt *attempt)
{
    struct fixture *f = context;
    assert_true(attempt->permit == PERMIT_GRANTED || attempt->permit == PERMIT_REFUSED);
    assert_false(attempt->ended);
    f->decided++;
}

static void on_unpinned(void *context, struct attempt *attempt)
{
    struct fixture *f = context;
    assert_true(attempt->ended && attempt->pins == 0);
    f->unpinned++;
}

static void on_answered(void *context, struct lease *lease, enum store_state state)
{
    struct fixture *f = context;
    assert_true(lease == &f->leases[0] || lease == &f->leases[1]);
    assert_int_equal(state, STORE_RUNNING);
    f->answered++;
}

/* The first lease has the even attempts, the second the odd ones. */
static void begin(struct fixture *f)
{
    static const struct ledger_events events = {
        .decided = on_decided, .unpinned = on_unpinned, .answered = on_answered};
    memset(f, 0, sizeof *f);
    assert_true(arena_open(&f->arena, 4 << 20));
    assert_true(ledger_open(&f->ledger, &f->arena, (struct store *)(void *)f, &events, f));
    for (unsigned i = 0; i < 2; i++) {
        f->leases[i].campaign_id = "c";
        f->leases[i].id[0] = (char)('0' + i);
    }
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        f->attempts[i].lease = &f->leases[i % 2];
        f->attempts[i].index = i / 2;
    }
}

static void end(struct fixture *f) { arena_drop(&f->arena); }

static void answer(struct fixture *f, unsigned asked, enum store_result result)
{
    struct store_request *request = f->asked[asked].request;
    request->done(request, &(struct store_answer){.result = result, .state = STORE_RUNNING});
}

static void what_a_turn_asks_of_a_lease_is_one_step(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f);
    for (unsigned i = 0; i < 6; i++)
        ledger_permit(&f.ledger, &f.attempts[i]);
    assert_int_equal(f.asked_count, 0); /* not before the turn ends */
    ledger_flush(&f.ledger);
    assert_int_equal(f.asked_count, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(f.asked[i].permits, 3);
        assert_int_equal(f.asked[i].withdrawals, 0);
        assert_int_equal(f.leases[i].unanswered, 1);
    }
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(f.attempts[i].permit, PERMIT_ASKED);
    answer(&f, 0, STORE_OK);
    assert_int_equal(f.decided, 3);
    answer(&f, 1, STORE_OK);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(f.attempts[i].permit, PERMIT_GRANTED);
    assert_int_equal(f.answered, 2);
    assert_int_equal(f.leases[0].unanswered + f.leases[1].unanswered, 0);
    ledger_flush(&f.ledger); /* nothing is left */
    assert_int_equal(f.asked_count, 2);
    end(&f);
}

static void more_than_a_step_holds_goes_in_several(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f);
    for (unsigned i = 0; i < ATTEMPTS; i++)
        ledger_permit(&f.ledger, &f.attempts[i]);
    ledger_flush(&f.ledger);
    unsigned permits = 0;
    for (unsigned i = 0; i < f.asked_count; i++)
        permits += f.asked[i].permits;
    assert_int_equal(permits, ATTEMPTS);
    for (unsigned i = 0, count = f.asked_count; i < count; i++)
        answer(&f, i, STORE_OK);
    assert_int_equal(f.decided, ATTEMPTS);
    end(&f);
}

/* Two attempts, one withdrawn and asked for again before the first answer. That answer is older than the withdrawal:
 * in Redis the bit is gone behind it. */
static void an_answer_is_for_the_ask_it_belongs_to(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f);
    struct attempt *again = &f.attempts[0], *other = &f.attempts[2];
    ledger_permit(&f.ledger, again);
    ledger_permit(&f.ledger, other);
    ledger_flush(&f.ledger);
    ledger_withdraw(&f.ledger, again);
    ledger_flush(&f.ledger);
    assert_int_equal(f.asked[1].withdrawals, 1);
    assert_int_equal(f.asked[1].withdrawn[0], again->index);
    ledger_permit(&f.ledger, again);
    ledger_flush(&f.ledger);
    assert_int_equal(f.asked_count, 3);
    answer(&f, 0, STORE_OK);
    assert_int_equal(other->permit, PERMIT_GRANTED);
    assert_int_equal(again->permit, PERMIT_ASKED);
    answer(&f, 1, STORE_OK);
    assert_int_equal(again->permit, PERMIT_ASKED);
    answer(&f, 2, STORE_OK);
    assert_int_equal(again->permit, PERMIT_GRANTED);
    assert_int_equal(f.decided, 2);
    end(&f);
}

static void what_is_taken_back_within_a_turn_asks_nothing(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f);
    ledger_permit(&f.ledger, &f.attempts[0]);
    ledger_withdraw(&f.ledger, &f.attempts[0]);
    ledger_flush(&f.ledger);
    assert_int_equal(f.asked_count, 0);
    assert_int_equal(f.attempts[0].permit, PERMIT_NONE);
    ledger_permit(&f.ledger, &f.attempts[2]);
    ledger_forget(&f.ledger, &f.attempts[2]); /* it ended before it was asked for */
    ledger_flush(&f.ledger);
    assert_int_equal(f.asked_count, 0);
    assert_int_equal(f.unpinned, 1);
    end(&f);
}

static void a_refusal_opens_nothing(void **unused)
{
    static const enum store_result refusals[] = {STORE_FENCED, STORE_REFUSED};
    (void)unused;
    for (unsigned i = 0; i < countof(refusals); i++) {
        struct fixture f;
        begin(&f);
        ledger_permit(&f.ledger, &f.attempts[0]);
        ledger_permit(&f.ledger, &f.attempts[1]);
        ledger_flush(&f.ledger);
        answer(&f, f.asked[0].lease == 0 ? 0 : 1, refusals[i]);
        assert_int_equal(f.attempts[0].permit, PERMIT_REFUSED);
        assert_true(f.leases[0].lost);
        assert_false(f.leases[1].lost);
        assert_int_equal(f.attempts[1].permit, PERMIT_ASKED);
        end(&f);
    }
}

/* Its memory may be given away only when no answer will touch it. */
static void an_attempt_stays_until_its_answers_have_come(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f);
    struct attempt *attempt = &f.attempts[0];
    ledger_permit(&f.ledger, attempt);
    ledger_flush(&f.ledger);
    ledger_withdraw(&f.ledger, attempt);
    ledger_permit(&f.ledger, attempt);
    ledger_flush(&f.ledger);
    ledger_forget(&f.ledger, attempt);
    assert_int_equal(f.unpinned, 0);
    answer(&f, 0, STORE_OK);
    assert_int_equal(f.unpinned, 0);
    answer(&f, 1, STORE_OK);
    assert_int_equal(f.unpinned, 1);
    assert_int_equal(f.decided, 0);
    assert_int_equal(f.answered, 2);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_turn_asks_of_a_lease_is_one_step),
        cmocka_unit_test(more_than_a_step_holds_goes_in_several),
        cmocka_unit_test(an_answer_is_for_the_ask_it_belongs_to),
        cmocka_unit_test(what_is_taken_back_within_a_turn_asks_nothing),
        cmocka_unit_test(a_refusal_opens_nothing),
        cmocka_unit_test(an_attempt_stays_until_its_answers_have_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
