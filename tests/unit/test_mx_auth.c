/* test_mx_auth.c - AUTH of the judge: the three mechanisms, each way to get them wrong, and servers that do. */
#include "mx_scene.h"

#define PLAIN_GOOD    "AGFubgBzZWNyZXQ=" /* \0ann\0secret */
#define PLAIN_WRONG   "AGFubgB3cm9uZw==" /* \0ann\0wrong */
#define USER          "YW5u"
#define PASSWORD      "c2VjcmV0"
#define XOAUTH2_GOOD  "dXNlcj1hbm4BYXV0aD1CZWFyZXIgc2VjcmV0AQE="
#define XOAUTH2_WRONG "dXNlcj1hbm4BYXV0aD1CZWFyZXIgd3JvbmcBAQ=="
#define WELCOME       "235 2.7.0 welcome\r\n"
#define REFUSED       "535 5.7.8 credentials are wrong\r\n"

static void begin_auth(struct scene *s)
{
    begin(s);
    s->personality.auth = MX_AUTH_PLAIN | MX_AUTH_LOGIN | MX_AUTH_XOAUTH2;
    s->personality.auth_plain_text = s->personality.auth_required = true;
    s->personality.account_count = 1;
    strcpy(s->personality.accounts[0].user, "ann");
    strcpy(s->personality.accounts[0].secret, "secret");
    meet(s);
    assert_non_null(strstr(say(s, "EHLO me.example\r\n"), "250 AUTH PLAIN LOGIN XOAUTH2\r\n"));
}

/* Lines of the client, joined by '|', and the last reply. */
static const struct {
    const char *said, *reply;
    enum mx_violation violation;
} dialogues[] = {
    {"AUTH PLAIN " PLAIN_GOOD, WELCOME, 0},
    {"auth plain|" PLAIN_GOOD, WELCOME, 0},
    {"AUTH PLAIN " PLAIN_WRONG, REFUSED, 0},
    {"AUTH PLAIN =", "501 ", MX_SYNTAX},
    {"AUTH PLAIN YW5u", "501 ", MX_SYNTAX},
    {"AUTH PLAIN !!!!", "501 ", MX_SYNTAX},
    {"AUTH PLAIN YW5", "501 ", MX_SYNTAX},
    {"AUTH PLAIN Y===", "501 ", MX_SYNTAX},
    {"AUTH PLAIN|*", "501 5.7.0 cancelled\r\n", 0},
    {"AUTH LOGIN|" USER "|" PASSWORD, WELCOME, 0},
    {"AUTH LOGIN " USER "|" PASSWORD, WELCOME, 0},
    {"AUTH LOGIN|" USER "|" USER, REFUSED, 0},
    {"AUTH LOGIN|" USER "|*", "501 ", 0},
    {"AUTH XOAUTH2 " XOAUTH2_GOOD, WELCOME, 0},
    {"AUTH XOAUTH2|" XOAUTH2_GOOD, WELCOME, 0},
    {"AUTH XOAUTH2 " XOAUTH2_WRONG "|", "535 5.7.8 the token", 0},
    {"AUTH XOAUTH2 " XOAUTH2_WRONG "|RSET", "535 5.7.8 the token", MX_SYNTAX},
    {"AUTH XOAUTH2 " PLAIN_GOOD, "501 ", MX_SYNTAX},
    {"AUTH CRAM-MD5", "504 ", 0},
    {"AUTH PLAIN " PLAIN_GOOD "|AUTH PLAIN " PLAIN_GOOD, "503 ", MX_SEQUENCE},
    {"AUTH PLAIN " PLAIN_GOOD "|MAIL FROM:<a@b>|AUTH PLAIN " PLAIN_GOOD, "503 ", MX_SEQUENCE},
    {"MAIL FROM:<a@b>", "530 5.7.0 ", 0},
    {"AUTH PLAIN " PLAIN_GOOD "|MAIL FROM:<a@b> AUTH=<>", "250 2.1.0 ok\r\n", 0},
};

static void test_dialogues(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(dialogues); i++) {
        struct scene s;
        begin_auth(&s);
        for (const char *line = dialogues[i].said;; line++) {
            size_t n = strcspn(line, "|");
            mx_conn_input(&s.conn, s.now, (struct slice){line, n});
            say(&s, "\r\n");
            line += n;
            if (!*line)
                break;
        }
        if (strncmp(s.heard, dialogues[i].reply, strlen(dialogues[i].reply)) != 0 ||
            (dialogues[i].violation && s.ledger.violations[dialogues[i].violation] != 1))
            fail_msg("%s: %s; %s", dialogues[i].said, s.heard, s.ledger.first_violation);
        assert_int_equal(s.server.logins_refused, strncmp(dialogues[i].reply, "535", 3) == 0);
        part(&s, dialogues[i].violation != 0);
    }
}

static void test_an_authenticated_message(void **state)
{
    (void)state;
    struct scene s;
    begin_auth(&s);
    say(&s, "AUTH PLAIN " PLAIN_GOOD "\r\n");
    perform(&s, ENVELOPE "x\r\n.|");
    assert_int_equal(s.ledger.accepted_count, 1);
    assert_true(s.ledger.accepted[0].authenticated);
    assert_int_equal(s.server.accepted_authenticated, 1);
    assert_int_equal(s.server.logins, 1);
    part(&s, 0);
}

/* The error that XOAUTH2 tells is base64 of JSON. */
static void test_xoauth2_tells_why(void **state)
{
    (void)state;
    struct scene s;
    begin_auth(&s);
    assert_string_equal(say(&s, "AUTH XOAUTH2 " XOAUTH2_WRONG "\r\n"),
                        "334 eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiYmVhcmVyIiwic2NvcGUiOiJtYWlsIn0=\r\n");
    part(&s, 0);
}

static void test_in_plain_text(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    s.personality.auth = MX_AUTH_PLAIN;
    meet(&s);
    assert_null(strstr(say(&s, "EHLO me.example\r\n"), "AUTH"));
    assert_string_equal(say(&s, "AUTH PLAIN " PLAIN_GOOD "\r\n"), "538 5.7.11 not without TLS\r\n");
    assert_int_equal(s.ledger.violations[MX_AUTH_UNPROTECTED], 1);
    part(&s, 1);
}

static void test_a_long_token(void **state)
{
    (void)state;
    for (unsigned step = 0; step < 2; step++) {
        struct scene s;
        begin_auth(&s);
        /* Three thousand octets: "user=ann^Aauth=Bearer " AAAA... ^A^A */
        char line[5000] = "dXNlcj1hbm4BYXV0aD1CZWFyZXIg";
        memset(s.personality.accounts[0].secret, 'A', 3000);
        s.personality.accounts[0].secret[3000] = 0;
        while (strlen(line) < 28 + 4000)
            strcat(line, "QUFB"); /* AAA */
        strcat(line, "AQE=");
        mx_conn_input(&s.conn, s.now, step ? SLICE("AUTH XOAUTH2\r\n") : SLICE("AUTH XOAUTH2 "));
        hear(&s);
        for (const char *p = line; *p; p += strlen(p) < 700 ? strlen(p) : 700)
            mx_conn_input(&s.conn, s.now, (struct slice){p, strlen(p) < 700 ? strlen(p) : 700});
        assert_string_equal(say(&s, "\r\n"), WELCOME);
        part(&s, 0);
    }
    struct scene s;
    begin_auth(&s);
    char *endless = malloc(MX_AUTH_LINE_MAX + 100);
    memset(endless, 'A', MX_AUTH_LINE_MAX + 100);
    mx_conn_input(&s.conn, s.now, SLICE("AUTH PLAIN "));
    mx_conn_input(&s.conn, s.now, (struct slice){endless, MX_AUTH_LINE_MAX + 100});
    free(endless);
    assert_string_equal(say(&s, "\r\n"), "500 5.5.6 line too long\r\n");
    assert_int_equal(s.ledger.violations[MX_LINE_TOO_LONG], 1);
    part(&s, 1);
}

/* Throttled, broken, and refusing from the third on. */
static void test_personalities(void **state)
{
    (void)state;
    struct scene s;
    begin_auth(&s);
    mx_personality_rule(&s.personality, MX_AUTH, MX_CERTAIN, "454 4.7.0 throttled")->first = 1;
    assert_string_equal(say(&s, "AUTH PLAIN " PLAIN_GOOD "\r\n"), "454 4.7.0 throttled\r\n");
    assert_string_equal(say(&s, "AUTH PLAIN " PLAIN_GOOD "\r\n"), WELCOME);
    mx_conn_close(&s.conn);
    s.personality.rule_count = 0;
    mx_personality_rule(&s.personality, MX_AUTH, MX_CERTAIN, "535 5.7.8 no more")->after = 2;
    for (unsigned i = 0; i < 4; i++) {
        meet_politely(&s);
        assert_string_equal(say(&s, "AUTH PLAIN " PLAIN_GOOD "\r\n"), i < 2 ? WELCOME : "535 5.7.8 no more\r\n");
        mx_conn_close(&s.conn);
    }
    s.personality.rule_count = 0;
    mx_personality_rule(&s.personality, MX_AUTH, MX_CERTAIN, "what? \1\2\r\n")->action = MX_GARBAGE;
    meet_politely(&s);
    assert_string_equal(say(&s, "AUTH PLAIN " PLAIN_GOOD "\r\n"), "what? \1\2\r\n");
    assert_int_equal(s.act, MX_CLOSE);
    part(&s, 0);
}

/* Who does not wait for a challenge may be answering another question. */
static void test_not_waiting(void **state)
{
    (void)state;
    struct scene s;
    begin_auth(&s);
    say(&s, "AUTH LOGIN\r\n" USER "\r\n");
    assert_int_equal(s.ledger.violations[MX_BEHIND_LAST], 1);
    part(&s, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialogues),         cmocka_unit_test(test_an_authenticated_message),
        cmocka_unit_test(test_xoauth2_tells_why), cmocka_unit_test(test_in_plain_text),
        cmocka_unit_test(test_a_long_token),      cmocka_unit_test(test_personalities),
        cmocka_unit_test(test_not_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
