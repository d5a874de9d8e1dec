/* test_mx_server.c - the judge must be right before it may judge: bench/mx.c against dialogues written out by hand. */
#include "mx_scene.h"

#define MESSAGE(token) "From: a@b.example\r\nX-Campaign: " token "\r\nSubject: x\r\n\r\nhello\r\n..dot\r\n.\r\n"

static void test_one_message(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    meet(&s);
    assert_string_equal(say(&s, "EHLO me.example\r\n"),
                        "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n"
                        "250 ENHANCEDSTATUSCODES\r\n");
    s.now = 5 * NSEC_PER_S;
    assert_string_equal(say(&s, "MAIL FROM:<a@b.example> SIZE=200 BODY=8BITMIME\r\n"), "250 2.1.0 ok\r\n");
    assert_string_equal(say(&s, "RCPT TO:<ann@x.example>\r\n"), "250 2.1.5 ok\r\n");
    assert_string_equal(say(&s, "DATA\r\n"), "354 go ahead\r\n");
    assert_string_equal(say(&s, MESSAGE("spring/77")), "250 2.0.0 ok 1-1\r\n");
    assert_string_equal(say(&s, "QUIT\r\n"), "221 2.0.0 bye\r\n");
    assert_int_equal(s.act, MX_CLOSE);

    assert_int_equal(s.ledger.accepted_count, 1);
    const struct mx_accepted *record = &s.ledger.accepted[0];
    assert_int_equal(record->seq, 77);
    assert_int_equal(record->at, 5 * NSEC_PER_S);
    assert_string_equal(mx_ledger_campaign(&s.ledger, record), "spring");
    assert_string_equal(mx_ledger_recipient(&s.ledger, record), "ann@x.example");
    assert_int_equal(record->bytes, strlen(MESSAGE("spring/77")) - 3 - 1);
    assert_int_equal(s.ledger.start_count, 1);
    assert_int_equal(s.ledger.starts[0].at, 5 * NSEC_PER_S);
    char line[MX_LEDGER_LINE];
    s.ledger.wall_offset = 1000 * NSEC_PER_S;
    mx_ledger_line(&s.ledger, record, line, sizeof line);
    assert_string_equal(line, "1005000\ttest\t127.0.1.1\t1\tspring\t77\tann@x.example\t69\t-\n");
    part(&s, 0);
}

/* However the bytes are cut, the server says and finds the same. */
static void test_any_split(void **state)
{
    (void)state;
    static const char dialogue[] = "EHLO me.example\r\n"
                                   "MAIL FROM:<a@b.example>\r\nRCPT TO:<ann@x.example>\r\nDATA\r\n" MESSAGE(
                                       "spring/1") "MAIL FROM:<>\r\nRCPT TO:<\"odd > local\"@x.example>\r\nDATA\r\n"
                                                   ".. two\r\n\r\n.\r\nQUIT\r\n";
    for (size_t cut = 1; cut < sizeof dialogue; cut++) {
        struct scene s;
        begin(&s);
        meet(&s);
        char all[2048] = "";
        for (size_t at = 0; at < sizeof dialogue - 1; at += cut) {
            size_t n = sizeof dialogue - 1 - at < cut ? sizeof dialogue - 1 - at : cut;
            mx_conn_input(&s.conn, s.now, (struct slice){dialogue + at, n});
            strcat(all, hear(&s));
        }
        assert_int_equal(s.act, MX_CLOSE);
        assert_non_null(strstr(all, "250 2.0.0 ok 1-1\r\n250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go ahead\r\n"
                                    "250 2.0.0 ok 1-2\r\n221 2.0.0 bye\r\n"));
        assert_int_equal(s.ledger.accepted_count, 2);
        assert_int_equal(s.ledger.accepted[0].seq, 1);
        assert_int_equal(s.ledger.accepted[1].seq, UINT64_MAX);
        assert_int_equal(s.ledger.accepted[1].bytes, 9);
        /* Cut finely, each byte behind DATA comes after its reply; in one piece the body runs ahead of the 354. */
        part(&s, s.ledger.violation_total);
    }
}

static void test_pipelining_across_messages(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    meet_politely(&s);
    say(&s, "MAIL FROM:<a@b.example>\r\nRCPT TO:<1@x.example>\r\nDATA\r\n");
    assert_string_equal(s.heard, "250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go ahead\r\n");
    say(&s, MESSAGE("c/1") "MAIL FROM:<a@b.example>\r\nRCPT TO:<2@x.example>\r\nDATA\r\n");
    assert_string_equal(s.heard, "250 2.0.0 ok 1-1\r\n250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go ahead\r\n");
    assert_string_equal(say(&s, MESSAGE("c/2")), "250 2.0.0 ok 1-2\r\n");
    assert_int_equal(s.ledger.accepted_count, 2);
    part(&s, 0);
}

/* A body that leaves before the 354 did is the worst that a client can do: the reply may have been 550. */
static void test_body_before_354(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    s.personality.latency[MX_DATA].base = 10 * NSEC_PER_MS;
    meet_politely(&s);
    say(&s, "MAIL FROM:<a@b.example>\r\nRCPT TO:<1@x.example>\r\nDATA\r\n");
    assert_int_equal(mx_conn_due(&s.conn), 10 * NSEC_PER_MS);
    say(&s, "Subject: early\r\n");
    assert_int_equal(s.ledger.violations[MX_BEHIND_LAST], 1);
    s.now = mx_conn_due(&s.conn);
    assert_string_equal(say(&s, "more\r\n.\r\n"), "354 go ahead\r\n250 2.0.0 ok 1-1\r\n");
    part(&s, 1);
}

struct breach {
    const char *text; /* behind a greeting, EHLO and its reply */
    enum mx_violation violation;
    unsigned accepted;
};

/* In perform's notation. */
static const struct breach breaches[] = {
    {"NOOP\n", MX_BARE_LF, 0},
    {"NOOP a\rb|", MX_BARE_CR, 0},
    {"BLURB|", MX_SYNTAX, 0},
    {"MAIL FROM: <a@b.example>|", MX_SYNTAX, 0},
    {"MAIL FROM:a@b.example|", MX_SYNTAX, 0},
    {"MAIL FROM:<a@b.example|", MX_SYNTAX, 0},
    {"MAIL FROM:<a@b.example>x|", MX_SYNTAX, 0},
    {"MAIL FROM:<a@b.example> RET=HDRS|", MX_PARAMETER, 0},
    {"MAIL FROM:<a@b.example> SIZE=x|", MX_PARAMETER, 0},
    {"MAIL FROM:<a@b.example>|RCPT TO:<c@d.example> NOTIFY=NEVER|", MX_PARAMETER, 0},
    {"MAIL FROM:<a@b.example>|RCPT TO:<>|", MX_SYNTAX, 0},
    {"MAIL FROM:<a@b.example>|RCPT TO:<@d.example>|", MX_SYNTAX, 0},
    {"MAIL FROM:<a@b.example>|MAIL FROM:<a@b.example>|", MX_SEQUENCE, 0},
    {"RCPT TO:<c@d.example>|", MX_SEQUENCE, 0},
    {"DATA|", MX_SEQUENCE, 0},
    {"MAIL FROM:<a@b.example>|DATA|", MX_SEQUENCE, 0},
    {"NOOP\r\nNOOP\r\n", MX_BEHIND_LAST, 0},
    {ENVELOPE "a\r\n.b\r\n.|", MX_DOT_NOT_STUFFED, 1},
    {ENVELOPE "a\nb\r\n.|", MX_BARE_LF, 1},
    {ENVELOPE "a\rb\r\n.|", MX_BARE_CR, 1},
    {ENVELOPE "a\r\r\n.|", MX_BARE_CR, 1},
    {ENVELOPE "gr\xc3\xbc\xc3\x9f"
              "e\r\n.|",
     MX_EIGHT_BIT_UNSAID, 1},
    {"MAIL FROM:<a@b.example> SIZE=3|RCPT TO:<c@d.example>|DATA|abc\r\n.|", MX_SIZE_EXCEEDED, 1},
};

static void test_each_breach_is_counted_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(breaches); i++) {
        struct scene s;
        begin(&s);
        meet_politely(&s);
        perform(&s, breaches[i].text);
        if (s.ledger.violations[breaches[i].violation] != 1 || s.ledger.accepted_count != breaches[i].accepted)
            fail_msg("%s: %s counted %llu times, accepted %zu; %s", breaches[i].text,
                     mx_violation_name(breaches[i].violation),
                     (unsigned long long)s.ledger.violations[breaches[i].violation], s.ledger.accepted_count,
                     s.ledger.first_violation);
        part(&s, 1);
    }
}

static void test_lines_too_long(void **state)
{
    (void)state;
    static const struct {
        size_t text; /* octets without CRLF */
        size_t chunk;
        unsigned violations;
    } cases[] = {{998, 4096, 0}, {998, 100, 0},   {999, 4096, 1},  {2045, 512, 1}, {2046, 4096, 1},
                 {2047, 1, 1},   {2047, 2048, 1}, {9000, 4096, 1}, {9000, 999, 1}, {4094, 2048, 1}};
    for (size_t i = 0; i < countof(cases); i++) {
        struct scene s;
        begin(&s);
        meet_politely(&s);
        perform(&s, ENVELOPE);
        char *text = malloc(cases[i].text + 5);
        memset(text, 'x', cases[i].text);
        memcpy(text + cases[i].text, "\r\n.\r\n", 5);
        size_t total = cases[i].text + 5;
        for (size_t at = 0; at < total; at += cases[i].chunk)
            mx_conn_input(&s.conn, s.now,
                          (struct slice){text + at, total - at < cases[i].chunk ? total - at : cases[i].chunk});
        free(text);
        assert_string_equal(hear(&s), "250 2.0.0 ok 1-1\r\n");
        assert_int_equal(s.ledger.violations[MX_LINE_TOO_LONG], cases[i].violations);
        assert_int_equal(s.ledger.accepted[0].bytes, cases[i].text + 2);
        part(&s, cases[i].violations);
    }
}

static void test_command_too_long(void **state)
{
    (void)state;
    for (size_t length = 500; length < 5000; length += 499) {
        struct scene s;
        begin(&s);
        meet_politely(&s);
        char *line = malloc(length + 3);
        memset(line, 'N', length);
        memcpy(line, "NOOP ", 5);
        memcpy(line + length, "\r\n", 3);
        bool fits = length + 2 <= 512;
        assert_string_equal(say(&s, line), fits ? "250 2.0.0 ok\r\n" : "500 5.5.6 line too long\r\n");
        assert_string_equal(say(&s, "NOOP\r\n"), "250 2.0.0 ok\r\n");
        free(line);
        part(&s, !fits);
    }
}

/* "LF . CR LF" must not end a message, or a second one could be hidden in it. */
static void test_no_smuggling(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    meet_politely(&s);
    perform(&s, ENVELOPE);
    assert_string_equal(say(&s, "a\n.\r\nMAIL FROM:<evil@x.example>\r\n"), "");
    assert_string_equal(say(&s, ".\r\n"), "250 2.0.0 ok 1-1\r\n");
    assert_int_equal(s.ledger.violations[MX_BARE_LF], 1);
    part(&s, 1);
}

static void test_pipelining_not_advertised(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    s.personality.pipelining = false;
    meet_politely(&s);
    assert_null(strstr(s.heard, "PIPELINING"));
    say(&s, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n");
    assert_int_equal(s.ledger.violations[MX_PIPELINED], 1);
    part(&s, 1);
}

static void test_early_talk(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    s.personality.latency[MX_GREETING].base = NSEC_PER_S;
    mx_conn_open(&s.conn, &s.server, s.now, &s.ip);
    assert_string_equal(say(&s, "EHLO me.example\r\n"), "");
    assert_int_equal(s.ledger.violations[MX_EARLY_TALK], 1);
    part(&s, 1);
}

/* What refusals of a pipelined envelope explain is no breach. */
static void test_refused_envelopes_are_no_breach(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    snprintf(mx_personality_rule(&s.personality, MX_RCPT, MX_CERTAIN, "550 5.1.1 no such user")->match, 64, "bad*");
    snprintf(mx_personality_rule(&s.personality, MX_MAIL, MX_CERTAIN, "451 4.7.1 not you")->match, 64, "you");
    meet_politely(&s);
    say(&s, "MAIL FROM:<a@b.example>\r\nRCPT TO:<BadOne@x.example>\r\nDATA\r\n");
    assert_string_equal(s.heard, "250 2.1.0 ok\r\n550 5.1.1 no such user\r\n554 5.5.1 no valid recipients\r\n");
    assert_string_equal(say(&s, "RSET\r\n"), "250 2.0.0 ok\r\n");
    say(&s, "MAIL FROM:<you@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n");
    assert_string_equal(s.heard, "451 4.7.1 not you\r\n503 5.5.1 MAIL first\r\n503 5.5.1 MAIL first\r\n");
    s.personality.data_without_rcpt = true;
    say(&s, "MAIL FROM:<a@b.example>\r\nRCPT TO:<bad@x.example>\r\nDATA\r\n");
    assert_string_equal(s.heard, "250 2.1.0 ok\r\n550 5.1.1 no such user\r\n354 go ahead\r\n");
    assert_string_equal(say(&s, ".\r\n"), "554 5.5.1 no valid recipients\r\n");
    assert_int_equal(s.ledger.violation_total, 0);
    say(&s, "MAIL FROM:<a@b.example>\r\nRCPT TO:<bad@x.example>\r\nDATA\r\n");
    say(&s, "a body\r\n.\r\n");
    assert_int_equal(s.ledger.violations[MX_BODY_UNWANTED], 1);
    assert_int_equal(s.ledger.accepted_count, 0);
    part(&s, 1);
}

/* Memory is for what is owed, not for what has been: with several messages in flight there is always a reply to come.
 */
static void test_always_something_in_flight(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    meet_politely(&s);
    s.personality.latency[MX_STAGE_BROKEN] = (struct mx_latency){10 * NSEC_PER_MS, 0};
    mx_conn_input(&s.conn, s.now, SLICE("RSET\r\n"));
    for (int i = 0; i < 100000; i++) {
        mx_conn_input(&s.conn, s.now, SLICE("RSET\r\n"));
        s.now += 10 * NSEC_PER_MS;
        assert_string_equal(hear(&s), "250 2.0.0 ok\r\n");
    }
    assert_true(s.conn.queue_cap < 64 && s.conn.out_cap < 4096);
    part(&s, 0);
}

/* Who never reads is dropped before it costs memory; who sends rubbish is answered. */
static void test_hostile(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    meet_politely(&s);
    for (int i = 0; i < 100000; i++)
        mx_conn_input(&s.conn, s.now, SLICE("RSET\r\n"));
    assert_true(s.conn.out_cap <= 2 * MX_OUT_MAX);
    assert_string_equal(hear(&s), "");
    assert_int_equal(s.act, MX_RESET);
    assert_int_equal(s.server.overruns, 1);
    mx_conn_close(&s.conn);
    end(&s);

    unsigned seed = 20240607;
    print_message("seed %u\n", seed);
    for (int round = 0; round < 200; round++) {
        begin(&s);
        s.personality.data_without_rcpt = round & 1;
        s.personality.pipelining = round & 2;
        meet(&s);
        for (int i = 0; i < 200; i++) {
            static const char *const words[] = {"MAIL FROM:<", "RCPT TO:<", "a@b",          ">",  "\r\n",
                                                "DATA\r\n",    ".",         "\r",           "\n", "EHLO x\r\n",
                                                "\"",          "\\",        " SIZE=",       "9",  "X-Campaign: c/9",
                                                "\xff",        "RSET\r\n",  "BODY=8BITMIME"};
            say(&s, words[(unsigned)rand_r(&seed) % countof(words)]);
            char noise[8];
            for (size_t j = 0; j < sizeof noise; j++)
                noise[j] = (char)rand_r(&seed);
            if (round % 5 == 0)
                mx_conn_input(&s.conn, s.now, (struct slice){noise, sizeof noise});
        }
        part(&s, s.ledger.violation_total);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_message),
        cmocka_unit_test(test_any_split),
        cmocka_unit_test(test_pipelining_across_messages),
        cmocka_unit_test(test_body_before_354),
        cmocka_unit_test(test_each_breach_is_counted_once),
        cmocka_unit_test(test_lines_too_long),
        cmocka_unit_test(test_command_too_long),
        cmocka_unit_test(test_no_smuggling),
        cmocka_unit_test(test_pipelining_not_advertised),
        cmocka_unit_test(test_early_talk),
        cmocka_unit_test(test_refused_envelopes_are_no_breach),
        cmocka_unit_test(test_always_something_in_flight),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
