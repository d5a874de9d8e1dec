/* test_bounce.c - what refusals mean, by stage, enhanced status and code. */
#include "proto/policy/bounce.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void every_class_and_kind_has_the_name_of_the_trade(void **state)
{
    (void)state;
    static const char *const names[] = {"",
                                        "bad-mailbox",
                                        "inactive-mailbox",
                                        "bad-domain",
                                        "quota-issues",
                                        "spam-related",
                                        "policy-related",
                                        "content-related",
                                        "routing-errors",
                                        "relaying-issues",
                                        "protocol-errors",
                                        "no-answer-from-host",
                                        "bad-connection",
                                        "bad-configuration",
                                        "invalid-sender",
                                        "message-expired",
                                        "virus-related",
                                        "other"};
    assert_int_equal(countof(names), BOUNCE_CLASS_COUNT - 1);
    for (unsigned i = 0; i < countof(names); i++)
        assert_string_equal(bounce_class_name((enum bounce_class)(i + 1)), names[i]);
    assert_string_equal(bounce_kind_name(BOUNCE_KIND_NONE), "");
    assert_string_equal(bounce_kind_name(BOUNCE_KIND_HARD), "hard");
    assert_string_equal(bounce_kind_name(BOUNCE_KIND_SOFT), "soft");
    assert_string_equal(bounce_kind_name(BOUNCE_KIND_BLOCK), "block");
}

static void known_refusals(void **state)
{
    (void)state;
    static const struct {
        enum stage stage;
        uint16_t code;
        const char *status, *class_, *kind, *rule;
    } cases[] = {
        {STAGE_RCPT, 550, "5.1.1", "bad-mailbox", "hard", "x.1.x"},
        {STAGE_RCPT, 550, "", "bad-mailbox", "hard", "rcpt-550"},
        {STAGE_RCPT, 553, "", "bad-mailbox", "hard", "rcpt-553"},
        {STAGE_RCPT, 550, "5.1.2", "bad-domain", "hard", "x.1.2"},
        {STAGE_RCPT, 556, "", "bad-domain", "hard", "rcpt-556"},
        {STAGE_RCPT, 556, "5.1.10", "bad-domain", "hard", "x.1.10"},
        {STAGE_RCPT, 550, "5.2.1", "inactive-mailbox", "hard", "x.2.1"},
        {STAGE_RCPT, 552, "5.2.2", "quota-issues", "soft", "x.2.2"},
        {STAGE_RCPT, 452, "4.2.2", "quota-issues", "soft", "x.2.2"},
        {STAGE_RCPT, 452, "4.1.1", "bad-mailbox", "soft", "x.1.x"},
        {STAGE_RCPT, 554, "", "policy-related", "block", "554"},
        {STAGE_RCPT, 550, "5.7.1", "policy-related", "block", "x.7.x"},
        {STAGE_RCPT, 450, "", "other", "soft", "4yz"},
        {STAGE_RCPT, 551, "", "relaying-issues", "block", "rcpt-551"},
        {STAGE_RCPT, 599, "", "other", "soft", "5yz"},
        {STAGE_RCPT, 421, "5.7.32", "policy-related", "soft", "x.7.x"},
        {STAGE_BODY, 554, "5.6.0", "content-related", "block", "x.6.x"},
        {STAGE_BODY, 550, "", "policy-related", "block", "body-550"},
        {STAGE_BODY, 550, "5.1.1", "bad-mailbox", "hard", "x.1.x"},
        {STAGE_BODY, 552, "5.3.4", "content-related", "block", "x.3.4"},
        {STAGE_MAIL, 552, "", "content-related", "block", "mail-552"},
        {STAGE_MAIL, 553, "", "invalid-sender", "block", "mail-553"},
        {STAGE_MAIL, 550, "5.1.8", "invalid-sender", "block", "x.1.8"},
        {STAGE_MAIL, 550, "5.1.1", "invalid-sender", "block", "x.1.x"},
        {STAGE_MAIL, 550, "5.7.27", "invalid-sender", "block", "x.7.27"},
        {STAGE_MAIL, 503, "", "protocol-errors", "block", "503"},
        {STAGE_MAIL, 530, "", "bad-configuration", "block", "530"},
        {STAGE_GREETING, 554, "", "policy-related", "block", "554"},
        {STAGE_GREETING, 550, "5.1.1", "policy-related", "block", "x.1.x"},
        {STAGE_GREETING, 421, "", "bad-connection", "soft", "421"},
        {STAGE_GREETING, 521, "", "routing-errors", "soft", "521"},
        {STAGE_STARTTLS, 454, "", "bad-configuration", "soft", "454"},
        {STAGE_DATA, 451, "4.3.0", "other", "soft", "x.3.x"},
        {STAGE_DATA, 454, "", "other", "soft", "4yz"},
        {STAGE_RCPT, 550, "5.4.4", "routing-errors", "soft", "x.4.x"},
        {STAGE_RCPT, 550, "5.4.1", "no-answer-from-host", "soft", "x.4.1"},
        {STAGE_BODY, 554, "5.4.7", "message-expired", "soft", "x.4.7"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct bounce bounce = bounce_classify(cases[i].stage, cases[i].code, cases[i].status, SLICE(""));
        if (strcmp(bounce_class_name(bounce.class_), cases[i].class_) != 0 ||
            strcmp(bounce_kind_name(bounce.kind), cases[i].kind) != 0 || strcmp(bounce.rule, cases[i].rule) != 0)
            fail_msg("%u %s at stage %u: %s %s %s", cases[i].code, cases[i].status, cases[i].stage,
                     bounce_class_name(bounce.class_), bounce_kind_name(bounce.kind), bounce.rule);
    }
}

static void malformed_status_counts_as_none(void **state)
{
    (void)state;
    static const char *const malformed[] = {"",        "5",       "5.",       "5.1",      "5.1.",  "5..1",   "3.1.1",
                                            "5.1.1.1", "5.1.1 ",  "5.1111.1", "5.1.1111", "x.1.1", "55.1.1", "5.0.0",
                                            "5.9.9",   "5.255.1", "5.1.x",    ".1.1",     "5,1,1", "1.2.3.4"};
    for (size_t i = 0; i < countof(malformed); i++)
        assert_string_equal(bounce_classify(STAGE_RCPT, 550, malformed[i], SLICE("")).rule, "rcpt-550");
    assert_string_equal(bounce_classify(STAGE_RCPT, 550, "5.2.002", SLICE("")).rule, "x.2.2");
}

static void no_hole_over_stages_codes_and_statuses(void **state)
{
    (void)state;
    for (unsigned stage = STAGE_GREETING; stage < STAGE_COUNT; stage++)
        for (uint16_t code = 400; code <= 599; code++)
            for (int subject = -1; subject <= 8; subject++)
                for (int detail = 0; detail <= 31; detail++) {
                    char status[32] = "";
                    if (subject >= 0)
                        snprintf(status, sizeof status, "%u.%d.%d", code / 100u, subject, detail);
                    struct bounce bounce = bounce_classify((enum stage)stage, code, status, SLICE(""));
                    assert_true(bounce.class_ > BOUNCE_NONE && bounce.class_ < BOUNCE_CLASS_COUNT);
                    assert_true(bounce.kind > BOUNCE_KIND_NONE && bounce.kind < BOUNCE_KIND_COUNT);
                    assert_true(bounce.rule && bounce.rule[0] != 0);
                    if (code < 500)
                        assert_int_equal(bounce.kind, BOUNCE_KIND_SOFT);
                    if (stage < STAGE_RCPT)
                        assert_int_not_equal(bounce.kind, BOUNCE_KIND_HARD);
                }
}

/* What a rule may say, and what is made of it. */
static void what_is_said_is_made_to_fit(void **state)
{
    (void)state;
    struct bounce hard = {BOUNCE_BAD_MAILBOX, BOUNCE_KIND_HARD, "a"};
    struct bounce fit = bounce_fitting(hard, STAGE_RCPT, 550);
    assert_true(fit.kind == BOUNCE_KIND_HARD && fit.class_ == BOUNCE_BAD_MAILBOX);
    assert_int_equal(bounce_fitting(hard, STAGE_RCPT, 450).kind, BOUNCE_KIND_SOFT);
    fit = bounce_fitting(hard, STAGE_MAIL, 550);
    assert_true(fit.kind == BOUNCE_KIND_BLOCK && fit.class_ == BOUNCE_INVALID_SENDER);
    fit = bounce_fitting(hard, STAGE_GREETING, 554);
    assert_true(fit.kind == BOUNCE_KIND_BLOCK && fit.class_ == BOUNCE_POLICY_RELATED);
    struct bounce block = {BOUNCE_SPAM_RELATED, BOUNCE_KIND_BLOCK, "b"};
    assert_int_equal(bounce_fitting(block, STAGE_RCPT, 450).kind, BOUNCE_KIND_BLOCK);
}

/* Words against numbers: who is accused decides. */
static void words_correct_numbers(void **state)
{
    (void)state;
    static const struct {
        enum stage stage;
        uint16_t code;
        const char *status, *text, *class_, *kind;
    } cases[] = {
        {STAGE_RCPT, 550, "", "mailbox unavailable", "bad-mailbox", "hard"},
        {STAGE_RCPT, 550, "", "Blocked by the administrator", "policy-related", "block"},
        {STAGE_RCPT, 550, "", "Spam detected", "spam-related", "block"},
        {STAGE_RCPT, 550, "", "Go away", "other", "soft"},
        {STAGE_RCPT, 550, "5.1.1", "your IP is on a blacklist", "policy-related", "block"},
        {STAGE_RCPT, 550, "5.1.1", "no such user; SPF failed", "policy-related", "block"},
        {STAGE_RCPT, 550, "5.1.0", "sender rejected", "invalid-sender", "block"},
        {STAGE_RCPT, 550, "5.1.1", "mailbox temporarily unavailable", "other", "soft"},
        {STAGE_RCPT, 550, "5.1.1", "mailbox is full", "quota-issues", "soft"},
        {STAGE_RCPT, 550, "5.7.1", "No such user!", "bad-mailbox", "hard"},
        {STAGE_RCPT, 450, "4.7.1", "No such user!", "bad-mailbox", "soft"},
        {STAGE_BODY, 550, "", "invalid mailbox", "bad-mailbox", "hard"},
        {STAGE_MAIL, 550, "5.7.1", "No such user!", "policy-related", "block"},
        {STAGE_RCPT, 550, "5.4.1", "Recipient address rejected: Access denied", "bad-mailbox", "hard"},
        {STAGE_RCPT, 550, "5.4.1", "no answer from host", "no-answer-from-host", "soft"},
        {STAGE_RCPT, 556, "", "takes no mail", "bad-domain", "hard"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct bounce bounce =
            bounce_classify(cases[i].stage, cases[i].code, cases[i].status, slice_of(cases[i].text));
        if (strcmp(bounce_class_name(bounce.class_), cases[i].class_) != 0 ||
            strcmp(bounce_kind_name(bounce.kind), cases[i].kind) != 0)
            fail_msg("%u %s %s: %s %s %s", cases[i].code, cases[i].status, cases[i].text,
                     bounce_class_name(bounce.class_), bounce_kind_name(bounce.kind), bounce.rule);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_and_kind_has_the_name_of_the_trade),
        cmocka_unit_test(known_refusals),
        cmocka_unit_test(malformed_status_counts_as_none),
        cmocka_unit_test(no_hole_over_stages_codes_and_statuses),
        cmocka_unit_test(what_is_said_is_made_to_fit),
        cmocka_unit_test(words_correct_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
