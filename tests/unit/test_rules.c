/* test_rules.c - rules as they are written, who is asked first, and what no rule may bring about. */
#include "control/rules.h"
#include "proto/policy/classify.h"
#include "proto/policy/verdict.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- a configuration with rules, and a reader of them ---- */

struct scene {
    struct config *config;
    struct rule_reader reader;
};

static void open_scene(struct scene *scene, const char *text)
{
    char error[1024] = "";
    scene->config = config_parse("test.conf", slice_of(text), error, sizeof error);
    if (!scene->config || !rules_load(scene->config, error, sizeof error))
        fail_msg("%s", error);
    assert_true(rules_reader_open(&scene->reader, scene->config->rules));
}

static void close_scene(struct scene *scene)
{
    rules_reader_close(&scene->reader);
    config_free(scene->config);
}

static struct verdict judge_at(const struct scene *scene, const char *isp, const char *mx, enum stage stage,
                               uint16_t code, const char *status, const char *reply)
{
    struct outcome outcome = {
        .stage = stage, .happening = HAPPENING_REPLY, .body_left = stage == STAGE_BODY, .code = code};
    slice_copy(outcome.status, sizeof outcome.status, slice_of(status));
    slice_copy(outcome.reply, sizeof outcome.reply, slice_of(reply));
    slice_copy(outcome.mx, sizeof outcome.mx, slice_of(mx));
    return verdict_of(&scene->reader, slice_of(isp), &outcome);
}

static struct verdict judge(const struct scene *scene, uint16_t code, const char *status, const char *reply)
{
    return judge_at(scene, "x", "", STAGE_RCPT, code, status, reply);
}

#define HARD "class = bad-mailbox  kind = hard  action = suppress"

/* ---- which rule ---- */

static void the_isps_own_rules_go_first(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, "shipped_rules = no\n"
                   "rule general { text = 'sorry'  " HARD " }\n"
                   "isp x { mx = {.x.example}  rule own { text = 'sorry'  class = other  kind = soft } }\n");
    assert_string_equal(judge(&s, 550, "5.1.1", "sorry").bounce.rule, "own");
    assert_string_equal(judge_at(&s, "y", "", STAGE_RCPT, 550, "5.1.1", "sorry").bounce.rule, "general");
    assert_string_equal(judge(&s, 550, "5.1.1", "no").bounce.rule, "x.1.x");
    assert_null(judge(&s, 550, "5.1.1", "no").rule);
    assert_string_equal(judge(&s, 550, "5.1.1", "sorry").rule->id, "own");
    close_scene(&s);
}

static void shipped_rules_hold_by_host_and_stand_behind(void **state)
{
    (void)state;
    struct scene s;
    const char *text = "our system has detected an unusual rate of unsolicited mail originating from your ip address";
    open_scene(&s, "");
    struct verdict v = judge_at(&s, "", "aspmx.l.google.com", STAGE_BODY, 421, "4.7.28", text);
    assert_non_null(v.rule);
    assert_int_equal(v.action, RULE_PROBE);
    assert_true(v.wait >= 600 * NSEC_PER_S);
    char own[512];
    snprintf(own, sizeof own,
             "isp mine { mx = {.google.com}  rule mine { text = 'unusual rate'  class = other  kind = soft } }\n");
    struct scene t;
    open_scene(&t, own);
    assert_string_equal(judge_at(&t, "mine", "aspmx.l.google.com", STAGE_BODY, 421, "4.7.28", text).bounce.rule,
                        "mine");
    close_scene(&t);
    /* One of the same name takes the place of a shipped one; here one that never fits. */
    snprintf(own, sizeof own, "rule %s { text = '^never$'  class = other  kind = soft }\n", v.rule->id);
    open_scene(&t, own);
    assert_true(
        strcmp(judge_at(&t, "", "aspmx.l.google.com", STAGE_BODY, 421, "4.7.28", text).bounce.rule, v.rule->id) != 0);
    close_scene(&t);
    open_scene(&t, "shipped_rules = no");
    assert_null(judge_at(&t, "", "aspmx.l.google.com", STAGE_BODY, 421, "4.7.28", text).rule);
    close_scene(&t);
    close_scene(&s);
}

static void all_that_a_rule_names_must_fit(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, "shipped_rules = no\n"
                   "rule a { stage = {mail, rcpt}  code = {550, 4yz}  status = {x.7.28, 5.1.x}  text = {'\\bone\\b', "
                   "\"t\\\\wo\"}\n"
                   "  class = policy-related  kind = block  scope = lane  action = slow  factor = 30 }\n");
    assert_string_equal(judge(&s, 550, "5.7.28", "ONE").bounce.rule, "a");
    assert_string_equal(judge(&s, 550, "5.1.9", "two").bounce.rule, "a");
    assert_string_equal(judge(&s, 451, "4.7.28", "t / wo one").bounce.rule, "a");
    assert_string_not_equal(judge(&s, 551, "5.7.28", "one").bounce.rule, "a");
    assert_string_not_equal(judge(&s, 550, "5.7.29", "one").bounce.rule, "a");
    assert_string_not_equal(judge(&s, 550, "", "one").bounce.rule, "a");
    assert_string_not_equal(judge(&s, 550, "5.7.28", "none").bounce.rule, "a");
    assert_string_not_equal(judge_at(&s, "x", "", STAGE_BODY, 550, "5.7.28", "one").bounce.rule, "a");
    struct verdict v = judge(&s, 550, "5.7.28", "one");
    assert_true(v.scope == RULE_LANE && v.action == RULE_SLOW && v.factor == 30);
    close_scene(&s);
}

static void the_last_line_decides_where_it_is_said_to(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, "shipped_rules = no\n"
                   "rule dead { text = 'mailbox unavailable'  " HARD " }\n"
                   "rule policy { text = 'policy'  class = policy-related  kind = block }\n"
                   "isp x { mx = {.x.example}  reply_line = last }\n"
                   "isp y { mx = {.y.example} }\n");
    const char *reply = "Requested action not taken: mailbox unavailable / Reject due to policy restrictions.";
    assert_string_equal(judge(&s, 550, "", reply).bounce.rule, "policy");
    assert_string_equal(judge_at(&s, "y", "", STAGE_RCPT, 550, "", reply).bounce.rule, "dead");
    close_scene(&s);
}

static void a_pattern_that_runs_away_does_not_fit(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, "shipped_rules = no\nrule a { text = '(x+x+)+y'  class = other  kind = soft }\n");
    char reply[LIMIT_EVENT_REPLY];
    memset(reply, 'x', sizeof reply);
    reply[sizeof reply - 1] = 0;
    assert_string_not_equal(judge(&s, 550, "", reply).bounce.rule, "a");
    assert_string_equal(judge(&s, 550, "", "xxy").bounce.rule, "a");
    close_scene(&s);
}

/* ---- what follows ---- */

static void later_is_deferred_and_a_named_time_wins(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, "shipped_rules = no\n"
                   "rule rate { text = 'frequency'  class = policy-related  kind = soft  scope = lane  action = pause  "
                   "wait = 1h  defer = yes }\n"
                   "rule grey { text = 'greylist'  class = policy-related  kind = soft  action = retry  wait = 5m }\n");
    struct verdict v = judge(&s, 550, "", "connection frequency limited");
    assert_int_equal(v.type, EVENT_DEFERRED);
    assert_true(v.action == RULE_PAUSE && v.wait == 3600 * NSEC_PER_S && v.retry_after == v.wait && !v.suppress);
    v = judge(&s, 451, "4.7.1", "greylisted");
    assert_true(v.action == RULE_RETRY && v.wait == 300 * NSEC_PER_S && v.retry_after == v.wait);
    v = judge(&s, 451, "4.7.1", "greylisted, try again in 90 seconds");
    assert_true(v.wait == 90 * NSEC_PER_S && v.retry_after == v.wait);
    v = judge(&s, 550, "5.7.1", "greylisted, try again in 90 seconds"); /* not deferred: nobody comes again */
    assert_true(v.type == EVENT_BOUNCED && v.retry_after == 0);
    close_scene(&s);
}

/* A rule that calls everything hard, against every stage, code and text: what verdict.h promises still holds. */
static void no_rule_breaks_the_promises(void **state)
{
    (void)state;
    struct scene s;
    static const char *const texts[] = {"sorry",
                                        "no such user",
                                        "user unknown; client host blocked using zen.spamhaus.org",
                                        "no such user, SPF check failed",
                                        "user unknown due to the DMARC policy of the domain",
                                        "no such user / try again in 5 minutes",
                                        "greylisted",
                                        ""};
    static const char *const statuses[] = {"", "4.1.1", "5.1.1", "5.7.1", "5.2.2", "5.7.26"};
    open_scene(&s, "shipped_rules = no\nrule all { text = '^'  " HARD " }\n");
    uint64_t suppressed = 0, seen = 0;
    for (unsigned stage = STAGE_GREETING; stage < STAGE_COUNT; stage++)
        for (uint16_t code = 400; code < 600; code++)
            for (size_t i = 0; i < countof(texts); i++)
                for (size_t j = 0; j < countof(statuses); j++) {
                    struct verdict v = judge_at(&s, "x", "", (enum stage)stage, code, statuses[j], texts[i]);
                    bool accuses_us = i >= 2 && i <= 4, temporary = code < 500 || code == 421;
                    seen++;
                    suppressed += v.suppress;
                    assert_string_equal(v.bounce.rule, "all");
                    if (temporary || stage < STAGE_RCPT || accuses_us) {
                        assert_int_not_equal(v.bounce.kind, BOUNCE_KIND_HARD);
                        assert_false(v.suppress);
                        assert_int_not_equal(v.action, RULE_SUPPRESS);
                    }
                    if (temporary || stage < STAGE_MAIL)
                        assert_int_equal(v.type, EVENT_DEFERRED);
                    assert_true(v.suppress == (v.bounce.kind == BOUNCE_KIND_HARD));
                }
    assert_true(suppressed > 0 && suppressed < seen / 4);
    close_scene(&s);
}

/* ---- what is refused ---- */

static void rules_that_contradict_themselves_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"rule a {\n text = {'x',\n '(y'}\n " HARD " }",
         "test.conf:3: rule a: text \"(y\": missing closing parenthesis at byte 3"},
        {"rule a { class = other  kind = soft }", "fit every refusal"},
        {"rule a { text = x  kind = soft }", "it has no class"},
        {"rule a { text = x  class = other }", "it has no kind"},
        {"rule a { text = x  class = nonsense  kind = soft }", "bad-mailbox"},
        {"rule a { stage = rctp  class = other  kind = soft }", "rctp is no stage; there are connect"},
        {"rule a { code = 250  class = other  kind = soft }", "250 is no code of a refusal"},
        {"rule a { code = 4xx  class = other  kind = soft }", "4xx is no code"},
        {"rule a { status = 5.1  class = other  kind = soft }", "5.1 is no enhanced status"},
        {"rule a { status = 5.1.y  class = other  kind = soft }", "5.1.y is no enhanced status"},
        {"rule a { code = 450  " HARD " }", "a 4yz is temporary"},
        {"rule a { code = {5yz, 4yz}  " HARD " }", "a 4yz is temporary"},
        {"rule a { status = 4.1.1  " HARD " }", "that is temporary"},
        {"rule a { stage = {rcpt, mail}  text = x  " HARD " }", "kind = hard at stage mail"},
        {"rule a { text = x  class = other  kind = soft  action = suppress }", "needs kind = hard"},
        {"rule a { text = x  class = bad-mailbox  kind = hard  defer = yes }", "is not tried again"},
        {"rule a { text = x  class = other  kind = soft  scope = lane  action = slow }", "needs factor"},
        {"rule a { text = x  class = other  kind = soft  scope = lane  action = connections }",
         "needs either connections"},
        {"rule a { text = x  class = other  kind = soft  scope = lane  action = pause }", "pause needs wait"},
        {"rule a { text = x  class = other  kind = soft  scope = lane  action = probe }", "probe needs wait"},
        {"rule a { text = x  class = other  kind = soft  action = pause  wait = 1h }", "not for recipient"},
        {"rule a { text = x  class = other  kind = soft  factor = 50 }", "factor is for"},
        {"rule a { text = x  class = other  kind = soft  connections = 5 }", "connections is for"},
        {"rule a { text = x  class = other  kind = soft  wait = 1h }", "without defer"},
        {"rule a { text = x  class = bad-mailbox  kind = hard  action = suppress  scope = lane }", "scope = recipient"},
        {"rule a { text = x  class = other  kind = soft }\nisp x { mx = {.x.example} rule a { text = y  class = other  "
         "kind = soft } }",
         "a name stands for one rule"},
        {"rule a { text = x  class = other  kind = soft  color = red }", "no such option"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char error[1024] = "";
        struct config *config = config_parse("test.conf", slice_of(cases[i].text), error, sizeof error);
        if (config || !strstr(error, cases[i].error))
            fail_msg("%s: %s", cases[i].text, error);
    }
}

struct lines {
    char text[64 * 1024];
    size_t n;
};

static void take_line(void *context, const char *line)
{
    struct lines *lines = context;
    lines->n += (size_t)snprintf(lines->text + lines->n, sizeof lines->text - lines->n, "%s\n", line);
}

static void what_is_printed_is_read_again(void **state)
{
    (void)state;
    static struct lines once, again;
    char error[1024];
    once.n = again.n = 0;
    struct config *config =
        config_parse("a.conf",
                     SLICE("rule a { text = {'\\b\"one\" $', 'x'} code = {550, 4yz} status = 5.7.x stage = "
                           "{rcpt, body} class = other kind = soft scope = lane action = slow factor = 9 }\n"
                           "isp x { mx = {.x.example} reply_line = last rule b { text = 'y' " HARD " } }"),
                     error, sizeof error);
    assert_non_null(config);
    config_print(config, take_line, &once);
    config_free(config);
    config = config_parse("b.conf", (struct slice){once.text, once.n}, error, sizeof error);
    if (!config)
        fail_msg("%s", error);
    assert_string_equal(config->phrases[0].texts[0], "\\b\"one\" $");
    assert_int_equal(config->isps[0].rule_count, 1);
    config_print(config, take_line, &again);
    config_free(config);
    assert_string_equal(once.text, again.text);
}

/* ---- what ships ---- */

/* Every file of deploy/isp is in the program: with all of them included, every name is one that ships. */
static void all_files_ship(void **state)
{
    (void)state;
    char error[1024] = "";
    struct rules *rules = rules_shipped(error, sizeof error);
    if (!rules)
        fail_msg("%s", error);
    struct config *all = config_parse("deploy/all.conf", SLICE("include = \"isp/*.conf\"\n"), error, sizeof error);
    if (!all)
        fail_msg("%s", error);
    assert_int_equal(all->isp_count, rules->shipped_count);
    assert_int_equal(all->phrase_count, rules->general[1].count);
    assert_true(all->phrase_count > 10);
    for (unsigned i = 0; i < all->isp_count; i++)
        for (unsigned j = 0; j < all->isps[i].mx_count; j++) {
            char host[LIMIT_DOMAIN + 8];
            snprintf(host, sizeof host, "%s%s", all->isps[i].mx[j][0] == '.' ? "mx" : "", all->isps[i].mx[j]);
            const struct rule_isp *isp = rule_isp_of(rules, slice_of(host));
            assert_non_null(isp);
            assert_string_equal(isp->name, all->isps[i].name);
        }
    config_free(all);
    rules_free(rules);
}

/* ---- replies without stage and host ---- */

static void bare_replies(void **state)
{
    (void)state;
    static const struct {
        enum stage stage;
        const char *mx, *reply, *kind;
        enum stage found;
        bool suppress;
    } cases[] = {
        {STAGE_BROKEN, "", "550 5.1.1 <ann@example.com>: user unknown", "hard", STAGE_RCPT, true},
        {STAGE_BROKEN, "", "450 4.1.1 <ann@example.com>: user unknown", "soft", STAGE_RCPT, false},
        {STAGE_BROKEN, "", "host mx.x[192.0.2.1] said: 550 5.1.1 no such user (in reply to end of DATA command)",
         "hard", STAGE_BODY, true},
        {STAGE_BROKEN, "", "550 5.1.1 no such user (in reply to MAIL FROM command)", "block", STAGE_MAIL, false},
        {STAGE_BROKEN, "", "554 IP=192.0.2.1 - None/bad reputation. Ask tosa@rx.t-online.de for reset. (NOWL)", "block",
         STAGE_BROKEN, false},
        {STAGE_BROKEN, "", "550 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
         "block", STAGE_BROKEN, false},
        {STAGE_MAIL, "", "550 5.1.1 user unknown", "block", STAGE_MAIL, false},
        {STAGE_RCPT, "x.mail.protection.outlook.com",
         "550 5.4.1 Recipient address rejected: Access denied. [x.prod.protection.outlook.com]", "hard", STAGE_RCPT,
         true},
        {STAGE_BROKEN, "", "250 2.1.5 OK", "", STAGE_BODY, false},
        {STAGE_BROKEN, "", "5.1.1 user unknown", "hard", STAGE_RCPT, true},
        {STAGE_BROKEN, "", "4.1.1 user unknown", "soft", STAGE_RCPT, false},
    };
    struct scene s;
    open_scene(&s, "");
    for (size_t i = 0; i < countof(cases); i++) {
        struct classify_question question = {
            .stage = cases[i].stage, .mx = slice_of(cases[i].mx), .reply = slice_of(cases[i].reply)};
        struct classified c;
        classify_reply(&s.reader, &question, &c);
        if (!c.is_reply || strcmp(bounce_kind_name(c.verdict.bounce.kind), cases[i].kind) != 0 ||
            c.verdict.suppress != cases[i].suppress || (cases[i].found && c.stage != cases[i].found))
            fail_msg("%s: %s %s at %s", cases[i].reply, bounce_kind_name(c.verdict.bounce.kind), c.verdict.bounce.rule,
                     stage_name(c.stage));
    }
    struct classify_question nothing = {.reply = SLICE("")};
    struct classified c;
    classify_reply(&s.reader, &nothing, &c);
    assert_false(c.is_reply);
    assert_false(c.verdict.suppress);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_isps_own_rules_go_first),
        cmocka_unit_test(shipped_rules_hold_by_host_and_stand_behind),
        cmocka_unit_test(all_that_a_rule_names_must_fit),
        cmocka_unit_test(the_last_line_decides_where_it_is_said_to),
        cmocka_unit_test(a_pattern_that_runs_away_does_not_fit),
        cmocka_unit_test(later_is_deferred_and_a_named_time_wins),
        cmocka_unit_test(no_rule_breaks_the_promises),
        cmocka_unit_test(rules_that_contradict_themselves_are_refused),
        cmocka_unit_test(what_is_printed_is_read_again),
        cmocka_unit_test(all_files_ship),
        cmocka_unit_test(bare_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
