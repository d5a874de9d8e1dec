/* test_mx_server.c - the judge must be right before it may judge: bench/mx.c against dialogues written out by hand. */
#include "bench/mx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct scene {
    struct mx_personality personality;
    struct mx_ledger ledger;
    struct mx_server server;
    struct mx_conn conn;
    struct mx_ip ip;
    nsec now;
    enum mx_act act; /* of the last take */
    char heard[16384];
};

static void begin(struct scene *s)
{
    memset(s, 0, sizeof *s);
    mx_personality_init(&s->personality, "test");
    mx_ledger_init(&s->ledger);
    s->ledger.keep_starts = true;
    s->ip = mx_ip_v4(127, 0, 1, 1);
    mx_server_init(&s->server, &s->personality, &s->ledger, 42);
}

static void end(struct scene *s)
{
    mx_server_free(&s->server);
    mx_ledger_free(&s->ledger);
}

/* All that the server says up to now. */
static const char *hear(struct scene *s)
{
    size_t used = 0, n;
    while ((s->act = mx_conn_take(&s->conn, s->now, s->heard + used, 7, &n)) == MX_SEND)
        used += n;
    s->heard[used] = 0;
    return s->heard;
}

static const char *say(struct scene *s, const char *text)
{
    mx_conn_input(&s->conn, s->now, slice_of(text));
    return hear(s);
}

static void meet(struct scene *s)
{
    mx_conn_open(&s->conn, &s->server, s->now, &s->ip);
    assert_string_equal(hear(s), "220 mx.test ESMTP\r\n");
}

static void meet_politely(struct scene *s)
{
    meet(s);
    assert_int_equal(strncmp(say(s, "EHLO me.example\r\n"), "250", 3), 0);
}

/* The connection is closed with nothing said amiss. */
static void part(struct scene *s, uint64_t violations)
{
    mx_conn_close(&s->conn);
    if (s->ledger.violation_total != violations)
        fail_msg("%llu violations, the first: %s", (unsigned long long)s->ledger.violation_total,
                 s->ledger.first_violation);
    assert_int_equal(s->server.open, 0);
    assert_int_equal(s->server.admitted, 0);
    end(s);
}

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
    assert_string_equal(line, "1005000\ttest\t127.0.1.1\t1\tspring\t77\tann@x.example\t69\n");
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

#define ENVELOPE "MAIL FROM:<a@b.example>|RCPT TO:<c@d.example>|DATA|"

/* '|' stands for CRLF and a pause until the server has answered. */
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

static void perform(struct scene *s, const char *script)
{
    for (const char *p = script; *p;) {
        size_t n = strcspn(p, "|");
        mx_conn_input(&s->conn, s->now, (struct slice){p, n});
        p += n;
        if (*p == '|') {
            mx_conn_input(&s->conn, s->now, SLICE("\r\n"));
            hear(s);
            p++;
        } else {
            hear(s);
        }
    }
}

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

static void test_behind_the_dot(void **state)
{
    (void)state;
    static const struct {
        enum mx_behind behind;
        const char *heard;
        unsigned accepted;
    } cases[] = {
        {MX_BEHIND_REFUSED, "503 5.5.0 pipelining not supported behind the message\r\n", 0},
        {MX_BEHIND_CLOSED, "250 2.0.0 ok 1-1\r\n554 5.5.0 no command may stand behind the message\r\n", 1},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct scene s;
        begin(&s);
        s.personality.behind_dot = cases[i].behind;
        meet_politely(&s);
        perform(&s, ENVELOPE);
        assert_string_equal(say(&s, "x\r\n.\r\nMAIL FROM:<a@b.example>\r\n"), cases[i].heard);
        assert_int_equal(s.act, MX_CLOSE);
        assert_int_equal(s.ledger.accepted_count, cases[i].accepted);
        part(&s, 0);

        begin(&s);
        s.personality.behind_dot = cases[i].behind;
        meet_politely(&s);
        perform(&s, ENVELOPE);
        assert_string_equal(say(&s, "x\r\n.\r\n"), "250 2.0.0 ok 1-1\r\n"); /* who waits is served */
        assert_string_equal(say(&s, "MAIL FROM:<a@b.example>\r\n"), "250 2.1.0 ok\r\n");
        part(&s, 0);
    }
}

static void test_no_ehlo(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    s.personality.ehlo = false;
    meet(&s);
    assert_string_equal(say(&s, "EHLO me.example\r\n"), "500 5.5.1 command unrecognized\r\n");
    assert_string_equal(say(&s, "HELO me.example\r\n"), "250 mx.test\r\n");
    assert_string_equal(say(&s, "MAIL FROM:<a@b.example> BODY=8BITMIME\r\n"), "555 5.5.4 unsupported parameter\r\n");
    assert_int_equal(s.ledger.violations[MX_PARAMETER], 1);
    part(&s, 1);
}

static void test_size_limit(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    s.personality.size_max = 10;
    meet_politely(&s);
    assert_string_equal(say(&s, "MAIL FROM:<a@b.example> SIZE=11\r\n"), "552 5.3.4 message too big\r\n");
    perform(&s, ENVELOPE "0123456789\r\n.|");
    assert_string_equal(s.heard, "552 5.3.4 message too big\r\n");
    assert_int_equal(s.ledger.accepted_count, 0);
    part(&s, 0);
}

/* Replies are late by their stage's latency, one behind the other, and a tarpit counts bytes. */
static void test_latency_and_tarpit(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    meet_politely(&s);
    s.personality.latency[MX_MAIL].base = 10 * NSEC_PER_MS;
    s.personality.latency[MX_RCPT].base = 5 * NSEC_PER_MS;
    assert_string_equal(say(&s, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"), "");
    assert_int_equal(mx_conn_due(&s.conn), 10 * NSEC_PER_MS);
    s.now = 10 * NSEC_PER_MS - 1;
    assert_string_equal(hear(&s), "");
    s.now = 10 * NSEC_PER_MS;
    assert_string_equal(hear(&s), "250 2.1.0 ok\r\n");
    assert_int_equal(mx_conn_due(&s.conn), 15 * NSEC_PER_MS);
    s.now = 15 * NSEC_PER_MS;
    assert_string_equal(hear(&s), "250 2.1.5 ok\r\n");
    assert_int_equal(mx_conn_due(&s.conn), NSEC_NEVER);
    s.personality.tarpit = NSEC_PER_S;
    assert_string_equal(say(&s, "RSET\r\n"), "2");
    s.now += NSEC_PER_S;
    assert_string_equal(hear(&s), "5");
    s.now += 5 * NSEC_PER_S;
    assert_string_equal(hear(&s), "0 2.0");
    s.now += 60 * NSEC_PER_S;
    assert_string_equal(hear(&s), ".0 ok\r\n");
    part(&s, 0);
}

static void test_connection_limits(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    s.personality.connections_per_source_max = 1;
    s.personality.connections_max = 2;
    meet(&s);
    struct mx_conn second, third, fourth;
    struct mx_ip other = mx_ip_v4(127, 0, 1, 2), another = mx_ip_v4(127, 0, 1, 3);
    char text[256];
    size_t n;
    mx_conn_open(&second, &s.server, s.now, &s.ip);
    assert_int_equal(mx_conn_take(&second, s.now, text, sizeof text, &n), MX_SEND);
    assert_memory_equal(text, "421 4.7.0 too many connections\r\n", n);
    assert_int_equal(mx_conn_take(&second, s.now, text, sizeof text, &n), MX_CLOSE);
    mx_conn_open(&third, &s.server, s.now, &other);
    assert_int_equal(mx_conn_take(&third, s.now, text, sizeof text, &n), MX_SEND);
    assert_memory_equal(text, "220", 3);
    mx_conn_open(&fourth, &s.server, s.now, &another);
    assert_int_equal(mx_conn_take(&fourth, s.now, text, sizeof text, &n), MX_SEND);
    assert_memory_equal(text, "421", 3);
    assert_int_equal(s.server.open_peak, 4);
    assert_int_equal(s.server.sources[0].open_peak, 2);
    assert_int_equal(s.server.connections_refused, 2);
    mx_conn_close(&second);
    mx_conn_close(&third);
    mx_conn_close(&fourth);
    part(&s, 0);
}

static void test_message_limits(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    s.personality.messages_max = 1;
    meet_politely(&s);
    perform(&s, ENVELOPE "x\r\n.|");
    assert_string_equal(say(&s, "MAIL FROM:<a@b.example>\r\n"), "421 4.7.0 too many messages on this connection\r\n");
    assert_int_equal(s.act, MX_CLOSE);
    part(&s, 0);

    begin(&s);
    s.personality.messages_max = 1;
    s.personality.messages_silent = true;
    meet_politely(&s);
    perform(&s, ENVELOPE "x\r\n.|");
    assert_string_equal(s.heard, "250 2.0.0 ok 1-1\r\n");
    assert_int_equal(s.act, MX_CLOSE);
    part(&s, 0);
}

static void test_rate(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    s.personality.rate = 2;
    s.personality.rate_per = NSEC_PER_S;
    meet_politely(&s);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(say(&s, "MAIL FROM:<a@b.example>\r\n"), "250 2.1.0 ok\r\n");
        say(&s, "RSET\r\n");
    }
    assert_string_equal(say(&s, "MAIL FROM:<a@b.example>\r\n"), "451 4.7.1 too many messages, try again later\r\n");
    s.now += NSEC_PER_S / 2 - 1;
    assert_memory_equal(say(&s, "MAIL FROM:<a@b.example>\r\n"), "451", 3);
    s.now += 1;
    assert_memory_equal(say(&s, "MAIL FROM:<a@b.example>\r\n"), "250", 3);
    assert_int_equal(s.server.limited, 2);
    assert_int_equal(s.ledger.start_count, 5);
    part(&s, 0);
}

static void test_idle(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    s.personality.idle = NSEC_PER_S;
    meet_politely(&s);
    assert_int_equal(mx_conn_due(&s.conn), NSEC_PER_S);
    s.now = NSEC_PER_S;
    assert_string_equal(hear(&s), "421 4.4.2 idle for too long\r\n");
    assert_int_equal(s.act, MX_CLOSE);
    part(&s, 0);
}

static void test_hang_up_reset_silence(void **state)
{
    (void)state;
    static const enum mx_action actions[] = {MX_HANG_UP, MX_ABORT, MX_SILENCE};
    static const enum mx_act acts[] = {MX_CLOSE, MX_RESET, MX_WAIT};
    for (unsigned stage = MX_GREETING; stage < MX_STAGE_COUNT; stage++) {
        for (size_t i = 0; i < countof(actions); i++) {
            struct scene s;
            begin(&s);
            struct mx_rule *rule = mx_personality_rule(&s.personality, (enum mx_stage)stage, MX_CERTAIN, NULL);
            rule->action = actions[i];
            rule->accept = i != 1;
            mx_conn_open(&s.conn, &s.server, s.now, &s.ip);
            hear(&s);
            perform(&s, "EHLO me.example|" ENVELOPE "x\r\n.|NOOP|");
            assert_string_equal(s.heard, "");
            assert_int_equal(s.act, acts[i]);
            assert_int_equal(mx_conn_due(&s.conn), i == 2 ? NSEC_NEVER : 0);
            assert_int_equal(s.ledger.accepted_count, stage == MX_BODY && i != 1);
            part(&s, 0);
        }
    }
}

static void test_percentages_add_up(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    mx_personality_rule(&s.personality, MX_MAIL, 300000, "450 4.0.0 a");
    mx_personality_rule(&s.personality, MX_MAIL, 700000, "550 5.0.0 b");
    meet_politely(&s);
    for (int i = 0; i < 2000; i++)
        say(&s, "MAIL FROM:<a@b.example>\r\n");
    assert_int_equal(s.server.replies[MX_MAIL][2], 0);
    assert_in_range(s.server.replies[MX_MAIL][4], 500, 700);
    assert_int_equal(s.server.replies[MX_MAIL][4] + s.server.replies[MX_MAIL][5], 2000);
    part(&s, 0);
}

static void test_sticky_and_first(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    mx_personality_rule(&s.personality, MX_RCPT, 500000, "550 5.1.1 never")->sticky = true;
    meet_politely(&s);
    unsigned refused = 0;
    for (int i = 0; i < 200; i++) {
        char rcpt[64], first[64];
        snprintf(rcpt, sizeof rcpt, "RCPT TO:<user%d@x.example>\r\n", i);
        say(&s, "MAIL FROM:<a@b.example>\r\n");
        snprintf(first, sizeof first, "%s", say(&s, rcpt));
        assert_string_equal(say(&s, rcpt), first);
        refused += first[0] == '5';
        say(&s, "RSET\r\n");
    }
    assert_in_range(refused, 60, 140);
    s.personality.rule_count = 0;
    mx_personality_rule(&s.personality, MX_MAIL, MX_CERTAIN, "451 4.7.1 greylisted")->first = 2;
    assert_memory_equal(say(&s, "MAIL FROM:<a@b.example>\r\n"), "451", 3);
    assert_memory_equal(say(&s, "MAIL FROM:<a@b.example>\r\n"), "451", 3);
    assert_memory_equal(say(&s, "MAIL FROM:<a@b.example>\r\n"), "250", 3);
    part(&s, 0);
}

static void test_long_replies(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    mx_personality_rule(&s.personality, MX_EHLO, MX_CERTAIN, "421 4.3.2 closed\nfor\nlunch");
    meet(&s);
    assert_string_equal(say(&s, "EHLO me.example\r\n"), "421-4.3.2 closed\r\n421-for\r\n421 lunch\r\n");
    assert_int_equal(s.act, MX_CLOSE);
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

static void test_file(void **state)
{
    (void)state;
    char path[] = "/tmp/mx-XXXXXX", error[256] = "";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    fputs("# a comment\n"
          "isp bigmail {\n"
          "  listen = {127.20.0.1:2525, \"[::1]:2525\"}\n"
          "  banner = mx1.bigmail.example\n"
          "  latency { greeting = 20ms..50ms rcpt = 5ms }\n"
          "  rate = 500/min  rate_by_source = true\n"
          "  connections = 100 connections_per_source = 20 messages = 50 behind_dot = refuse pipelining = false\n"
          "  rcpt { reply = \"550 5.1.1 no such user\" percent = 2.5 sticky = true match = \"bad-*\" }\n"
          "  body { action = close accept = true percent = 0.0001 }\n"
          "}\n"
          "isp small { listen = {127.20.0.2:2525} }\n",
          file);
    fclose(file);
    struct mx_config *config = mx_config_load(path, error, sizeof error);
    if (!config)
        fail_msg("%s", error);
    assert_int_equal(config->personality_count, 2);
    assert_int_equal(config->listener_count, 3);
    assert_string_equal(config->listeners[1].address, "[::1]:2525");
    assert_int_equal(config->listeners[2].personality, 1);
    const struct mx_personality *p = &config->personalities[0];
    assert_string_equal(p->name, "bigmail");
    assert_string_equal(p->banner, "mx1.bigmail.example");
    assert_int_equal(p->latency[MX_GREETING].base, 20 * NSEC_PER_MS);
    assert_int_equal(p->latency[MX_GREETING].jitter, 30 * NSEC_PER_MS);
    assert_int_equal(p->latency[MX_RCPT].jitter, 0);
    assert_int_equal(p->rate, 500);
    assert_int_equal(p->rate_per, 60 * NSEC_PER_S);
    assert_int_equal(p->behind_dot, MX_BEHIND_REFUSED);
    assert_false(p->pipelining);
    assert_int_equal(p->rule_count, 2);
    assert_int_equal(p->rules[0].chance, 25000);
    assert_string_equal(p->rules[0].match, "bad-*");
    assert_true(p->rules[0].sticky);
    assert_int_equal(p->rules[1].action, MX_HANG_UP);
    assert_int_equal(p->rules[1].chance, 1);
    assert_true(p->rules[1].accept);
    assert_string_equal(config->personalities[1].banner, "mx.small");
    mx_config_free(config);
    remove(path);
}

static void test_wrong_files(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "isp a { rcpt { reply = \"hello\" } }",
        "isp a { rcpt { action = dance } }",
        "isp a { body { action = close percent = 101 } }",
        "isp a { rate = fast }",
        "isp a { latency { rcpt = 5 } }",
        "isp a { tarpit = -1s }",
        "isp a { behind_dot = maybe }",
        "isp a { connections = -1 }",
        "isp a { latency { rcpt = 9ms..5ms } }",
        "isp a { rcpt { } }",
    };
    for (size_t i = 0; i < countof(wrong); i++) {
        char path[] = "/tmp/mx-XXXXXX", error[256] = "";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        FILE *file = fdopen(fd, "w");
        fputs(wrong[i], file);
        fclose(file);
        if (mx_config_load(path, error, sizeof error))
            fail_msg("was taken: %s", wrong[i]);
        assert_int_equal(strncmp(error, path, strlen(path)), 0);
        remove(path);
    }
    char error[256] = "";
    assert_null(mx_config_load("/nonexistent/mx", error, sizeof error));
    assert_non_null(strstr(error, "cannot be read"));
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
        cmocka_unit_test(test_behind_the_dot),
        cmocka_unit_test(test_no_ehlo),
        cmocka_unit_test(test_size_limit),
        cmocka_unit_test(test_latency_and_tarpit),
        cmocka_unit_test(test_connection_limits),
        cmocka_unit_test(test_message_limits),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_hang_up_reset_silence),
        cmocka_unit_test(test_percentages_add_up),
        cmocka_unit_test(test_sticky_and_first),
        cmocka_unit_test(test_long_replies),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_wrong_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
