/* test_verdict.c - every stage with every happening and class of code: one meaning each, and no hole. */
#include "proto/policy/verdict.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct verdict judge(enum stage stage, enum happening happening, bool body_left, uint16_t code,
                            const char *status)
{
    struct outcome outcome = {.stage = stage, .happening = happening, .body_left = body_left, .code = code};
    slice_copy(outcome.status, sizeof outcome.status, slice_of(status));
    return verdict_of(NULL, SLICE(""), &outcome);
}

/* Which happenings a stage can have; everything else is our bug. Written down a second time on purpose. */
static bool is_possible(enum stage stage, enum happening happening)
{
    bool session = stage >= STAGE_GREETING;
    switch (happening) {
    case HAPPENING_REPLY:
    case HAPPENING_GARBAGE:
        return session;
    case HAPPENING_CLOSED:
    case HAPPENING_RESET:
    case HAPPENING_TIMEOUT:
        return stage >= STAGE_CONNECT;
    case HAPPENING_REFUSED:
        return stage == STAGE_CONNECT;
    case HAPPENING_UNREACHABLE:
        return stage == STAGE_CONNECT || stage == STAGE_ROUTE;
    case HAPPENING_NXDOMAIN:
    case HAPPENING_NULL_MX:
    case HAPPENING_NO_ADDRESS:
    case HAPPENING_DNS_FAILURE:
    case HAPPENING_STS:
        return stage == STAGE_ROUTE;
    case HAPPENING_SIZE:
    case HAPPENING_EIGHT_BIT:
        return stage == STAGE_EHLO || stage == STAGE_MAIL;
    case HAPPENING_TLS:
        return stage == STAGE_STARTTLS;
    case HAPPENING_NOT_OFFERED:
        return stage == STAGE_STARTTLS || stage == STAGE_AUTH;
    case HAPPENING_INVALID:
    case HAPPENING_DUPLICATE:
    case HAPPENING_SUPPRESSED:
        return stage == STAGE_RECIPIENT || stage == STAGE_ROUTE;
    case HAPPENING_LOCAL:
    case HAPPENING_CANCELLED:
    case HAPPENING_EXPIRED:
    case HAPPENING_IN_DOUBT:
        return true;
    default:
        return false;
    }
}

static void assert_whole(const struct verdict *v)
{
    assert_true(v->type > EVENT_BROKEN && v->type < EVENT_TYPE_COUNT);
    assert_true(v->bounce.class_ > BOUNCE_BROKEN && v->bounce.class_ < BOUNCE_CLASS_COUNT);
    assert_true(v->bounce.kind > BOUNCE_KIND_BROKEN && v->bounce.kind < BOUNCE_KIND_COUNT);
    assert_true(v->trouble > TROUBLE_BROKEN && v->trouble < TROUBLE_COUNT);
    assert_non_null(v->bounce.rule);
    assert_non_null(v->status);
    if (v->type == EVENT_DEFERRED || v->type == EVENT_BOUNCED) {
        assert_true(v->bounce.class_ != BOUNCE_NONE && v->bounce.kind != BOUNCE_KIND_NONE);
        assert_true(v->bounce.rule[0] != 0);
    }
    if (v->bounce.kind == BOUNCE_KIND_HARD)
        assert_int_equal(v->type, EVENT_BOUNCED);
}

static void no_hole(void **state)
{
    (void)state;
    static const uint16_t codes[] = {0,   99,  100, 199, 200, 250, 251, 299, 300, 354, 399, 400, 421, 450, 451,
                                     452, 454, 499, 500, 503, 521, 550, 552, 553, 554, 556, 599, 600, 999};
    static const char *const statuses[] = {"", "4.2.2", "5.1.1", "5.7.1", "5.2.2", "9.9.9"};
    unsigned reached[EVENT_TYPE_COUNT] = {0};
    for (unsigned stage = 0; stage <= STAGE_COUNT; stage++)
        for (unsigned happening = 0; happening <= HAPPENING_COUNT; happening++)
            for (unsigned body = 0; body < 2; body++)
                for (size_t c = 0; c < countof(codes); c++)
                    for (size_t s = 0; s < countof(statuses); s++) {
                        struct verdict v =
                            judge((enum stage)stage, (enum happening)happening, body, codes[c], statuses[s]);
                        bool valid = stage > STAGE_BROKEN && stage < STAGE_COUNT && happening > HAPPENING_BROKEN &&
                                     happening < HAPPENING_COUNT;
                        bool possible = valid && (body || is_possible((enum stage)stage, (enum happening)happening));
                        if ((v.type != EVENT_BROKEN) != possible)
                            fail_msg("stage %u happening %u body %u code %u", stage, happening, body, codes[c]);
                        if (possible)
                            assert_whole(&v);
                        reached[v.type]++;
                    }
    for (unsigned type = 0; type < EVENT_TYPE_COUNT; type++)
        assert_true(reached[type] > 0);
}

static void the_body_decides_about_doubt(void **state)
{
    (void)state;
    for (unsigned happening = HAPPENING_CLOSED; happening < HAPPENING_COUNT; happening++)
        for (unsigned stage = STAGE_RECIPIENT; stage < STAGE_COUNT; stage++)
            assert_int_equal(judge((enum stage)stage, (enum happening)happening, true, 0, "").type, EVENT_IN_DOUBT);
    /* A reply to the dot that says neither yes nor no leaves it open; one that does settles it. */
    assert_int_equal(judge(STAGE_BODY, HAPPENING_REPLY, true, 354, "").type, EVENT_IN_DOUBT);
    assert_int_equal(judge(STAGE_BODY, HAPPENING_REPLY, true, 0, "").type, EVENT_IN_DOUBT);
    assert_int_equal(judge(STAGE_BODY, HAPPENING_REPLY, true, 250, "").type, EVENT_DELIVERED);
    assert_int_equal(judge(STAGE_BODY, HAPPENING_REPLY, true, 299, "").type, EVENT_DELIVERED);
    assert_int_equal(judge(STAGE_BODY, HAPPENING_REPLY, true, 451, "").type, EVENT_DEFERRED);
    assert_int_equal(judge(STAGE_BODY, HAPPENING_REPLY, true, 554, "").type, EVENT_BOUNCED);
    assert_int_equal(judge(STAGE_DATA, HAPPENING_REPLY, true, 250, "").type, EVENT_IN_DOUBT);
    /* Before the body nothing is in doubt, and a 250 that nobody asked for delivers nothing. */
    assert_int_equal(judge(STAGE_BODY, HAPPENING_REPLY, false, 250, "").type, EVENT_DEFERRED);
    assert_int_equal(judge(STAGE_BODY, HAPPENING_CLOSED, false, 0, "").type, EVENT_DEFERRED);
    assert_string_equal(judge(STAGE_BODY, HAPPENING_RESET, true, 0, "").bounce.rule, "reset");
}

static void a_421_is_held_against_nobody(void **state)
{
    (void)state;
    for (unsigned stage = STAGE_GREETING; stage < STAGE_COUNT; stage++) {
        struct verdict v = judge((enum stage)stage, HAPPENING_REPLY, stage == STAGE_BODY, 421, "");
        assert_int_equal(v.type, EVENT_DEFERRED);
        assert_false(v.counts);
        assert_int_equal(v.bounce.kind, BOUNCE_KIND_SOFT);
        assert_true(v.trouble == TROUBLE_HOST || v.trouble == TROUBLE_LANE);
    }
}

static void before_rcpt_nothing_is_the_recipients_fault(void **state)
{
    (void)state;
    static const char *const statuses[] = {"", "5.1.1", "5.2.1", "5.1.2", "5.7.1", "5.2.2"};
    for (unsigned stage = STAGE_GREETING; stage <= STAGE_MAIL; stage++)
        for (uint16_t code = 400; code < 600; code++)
            for (size_t s = 0; s < countof(statuses); s++) {
                struct verdict v = judge((enum stage)stage, HAPPENING_REPLY, false, code, statuses[s]);
                assert_int_not_equal(v.bounce.kind, BOUNCE_KIND_HARD);
                assert_int_not_equal(v.trouble, TROUBLE_RECIPIENT);
                if (stage < STAGE_MAIL) {
                    assert_int_equal(v.type, EVENT_DEFERRED);
                    assert_false(v.counts);
                } else if (code == 530) { /* TLS or credentials first */
                    assert_int_equal(v.type, EVENT_DEFERRED);
                    assert_int_equal(v.bounce.kind, BOUNCE_KIND_SOFT);
                    assert_true(v.counts);
                } else if (code >= 500) {
                    assert_int_equal(v.type, EVENT_BOUNCED);
                    assert_int_equal(v.bounce.kind, BOUNCE_KIND_BLOCK);
                }
            }
    struct verdict v = judge(STAGE_GREETING, HAPPENING_REPLY, false, 554, "");
    assert_int_equal(v.bounce.class_, BOUNCE_POLICY_RELATED);
    assert_int_equal(v.trouble, TROUBLE_LANE);
}

static void from_rcpt_on_the_code_decides(void **state)
{
    (void)state;
    for (unsigned stage = STAGE_RCPT; stage < STAGE_COUNT; stage++)
        for (uint16_t code = 400; code < 600; code++) {
            struct verdict v = judge((enum stage)stage, HAPPENING_REPLY, stage == STAGE_BODY, code, "");
            bool temporary = code < 500 || (code == 552 && stage == STAGE_RCPT) || (code == 503 && stage == STAGE_BODY);
            assert_int_equal(v.type, temporary ? EVENT_DEFERRED : EVENT_BOUNCED);
            assert_int_equal(v.counts, code != 421);
        }
    assert_int_equal(judge(STAGE_RCPT, HAPPENING_REPLY, false, 550, "5.1.1").bounce.kind, BOUNCE_KIND_HARD);
    assert_int_equal(judge(STAGE_RCPT, HAPPENING_REPLY, false, 550, "5.1.1").trouble, TROUBLE_RECIPIENT);
    assert_int_equal(judge(STAGE_RCPT, HAPPENING_REPLY, false, 550, "5.7.1").trouble, TROUBLE_LANE);
    assert_int_equal(judge(STAGE_BODY, HAPPENING_REPLY, true, 554, "5.6.0").trouble, TROUBLE_MESSAGE);
    assert_int_equal(judge(STAGE_RCPT, HAPPENING_REPLY, false, 552, "5.1.1").bounce.kind, BOUNCE_KIND_SOFT);
    assert_int_equal(judge(STAGE_BODY, HAPPENING_REPLY, true, 503, "5.5.0").bounce.kind, BOUNCE_KIND_SOFT);
}

static void replies_that_a_stage_cannot_have(void **state)
{
    (void)state;
    static const uint16_t codes[] = {0, 100, 250, 354, 600};
    for (unsigned stage = STAGE_GREETING; stage < STAGE_COUNT; stage++)
        for (size_t c = 0; c < countof(codes); c++) {
            struct verdict v = judge((enum stage)stage, HAPPENING_REPLY, false, codes[c], "");
            assert_int_equal(v.type, EVENT_DEFERRED);
            assert_int_equal(v.bounce.class_, BOUNCE_PROTOCOL_ERRORS);
            assert_int_equal(v.trouble, TROUBLE_HOST);
        }
}

static void routes(void **state)
{
    (void)state;
    static const struct {
        enum happening happening;
        enum event_type type;
        enum bounce_class class_;
        enum bounce_kind kind;
        const char *status;
    } cases[] = {
        {HAPPENING_NXDOMAIN, EVENT_BOUNCED, BOUNCE_BAD_DOMAIN, BOUNCE_KIND_HARD, "5.1.2"},
        {HAPPENING_NULL_MX, EVENT_BOUNCED, BOUNCE_BAD_DOMAIN, BOUNCE_KIND_HARD, "5.1.10"},
        {HAPPENING_NO_ADDRESS, EVENT_BOUNCED, BOUNCE_BAD_DOMAIN, BOUNCE_KIND_HARD, "5.4.4"},
        {HAPPENING_DNS_FAILURE, EVENT_DEFERRED, BOUNCE_ROUTING_ERRORS, BOUNCE_KIND_SOFT, "4.4.3"},
        {HAPPENING_STS, EVENT_DEFERRED, BOUNCE_ROUTING_ERRORS, BOUNCE_KIND_SOFT, "4.4.4"},
        {HAPPENING_UNREACHABLE, EVENT_DEFERRED, BOUNCE_NO_ANSWER_FROM_HOST, BOUNCE_KIND_SOFT, "4.4.1"},
        {HAPPENING_INVALID, EVENT_INVALID, BOUNCE_NONE, BOUNCE_KIND_NONE, ""},
        {HAPPENING_DUPLICATE, EVENT_SUPPRESSED, BOUNCE_NONE, BOUNCE_KIND_NONE, ""},
        {HAPPENING_SUPPRESSED, EVENT_SUPPRESSED, BOUNCE_NONE, BOUNCE_KIND_NONE, ""},
        {HAPPENING_CANCELLED, EVENT_CANCELLED, BOUNCE_NONE, BOUNCE_KIND_NONE, ""},
        {HAPPENING_EXPIRED, EVENT_EXPIRED, BOUNCE_MESSAGE_EXPIRED, BOUNCE_KIND_SOFT, "5.4.7"},
        {HAPPENING_IN_DOUBT, EVENT_IN_DOUBT, BOUNCE_NONE, BOUNCE_KIND_NONE, ""},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct verdict v = judge(STAGE_ROUTE, cases[i].happening, false, 0, "");
        assert_int_equal(v.type, cases[i].type);
        assert_int_equal(v.bounce.class_, cases[i].class_);
        assert_int_equal(v.bounce.kind, cases[i].kind);
        assert_string_equal(v.status, cases[i].status);
        assert_string_equal(v.bounce.rule, happening_name(cases[i].happening));
    }
}

static void a_silent_close_between_messages_is_no_failure(void **state)
{
    (void)state;
    struct verdict v = judge(STAGE_MAIL, HAPPENING_CLOSED, false, 0, "");
    assert_int_equal(v.type, EVENT_DEFERRED);
    assert_int_equal(v.trouble, TROUBLE_NONE);
    assert_false(v.counts);
    v = judge(STAGE_RCPT, HAPPENING_CLOSED, false, 0, "");
    assert_true(v.counts);
    v = judge(STAGE_GREETING, HAPPENING_CLOSED, false, 0, "");
    assert_int_equal(v.trouble, TROUBLE_HOST);
}

static void names_are_there_and_differ(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STAGE_COUNT; i++)
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(stage_name((enum stage)i), stage_name((enum stage)j));
    for (unsigned i = 0; i < HAPPENING_COUNT; i++)
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(happening_name((enum happening)i), happening_name((enum happening)j));
    for (unsigned i = 0; i < TROUBLE_COUNT; i++)
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(verdict_trouble_name((enum verdict_trouble)i),
                                    verdict_trouble_name((enum verdict_trouble)j));
    assert_string_equal(stage_name(STAGE_RCPT), "rcpt");
    assert_string_equal(happening_name(HAPPENING_CLOSED), "closed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_hole),
        cmocka_unit_test(the_body_decides_about_doubt),
        cmocka_unit_test(a_421_is_held_against_nobody),
        cmocka_unit_test(before_rcpt_nothing_is_the_recipients_fault),
        cmocka_unit_test(from_rcpt_on_the_code_decides),
        cmocka_unit_test(replies_that_a_stage_cannot_have),
        cmocka_unit_test(routes),
        cmocka_unit_test(a_silent_close_between_messages_is_no_failure),
        cmocka_unit_test(names_are_there_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
