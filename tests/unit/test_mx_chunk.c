/* test_mx_chunk.c - BDAT as RFC 3030 means it: counted octets are swallowed whatever becomes of them, except by servers
 * that are known to get it wrong. */
#include "mx_scene.h"

#define HEADERS "Subject: x\r\nX-Campaign: c/7\r\n\r\n"

static void begin_chunks(struct scene *s)
{
    begin(s);
    s->personality.chunking = true;
    meet(s);
    assert_non_null(strstr(say(s, "EHLO me.example\r\n"), "CHUNKING"));
}

static const char *say_chunk(struct scene *s, const char *octets, bool last)
{
    char text[4096];
    int n = snprintf(text, sizeof text, "BDAT %zu%s\r\n%s", strlen(octets), last ? " LAST" : "", octets);
    assert_true(n > 0 && (size_t)n < sizeof text);
    return say(s, text);
}

static void say_envelope(struct scene *s)
{
    assert_string_equal(say(s, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"),
                        "250 2.1.0 ok\r\n250 2.1.5 ok\r\n");
}

static void test_one_chunk(void **state)
{
    (void)state;
    struct scene s;
    begin_chunks(&s);
    say_envelope(&s);
    assert_string_equal(say_chunk(&s, HEADERS "hello\r\n.\r\n..dot\r\n", true), "250 2.0.0 ok 1-1\r\n");
    assert_int_equal(s.ledger.accepted_count, 1);
    const struct mx_accepted *record = &s.ledger.accepted[0];
    assert_int_equal(record->seq, 7);
    assert_int_equal(record->bytes, strlen(HEADERS "hello\r\n.\r\n..dot\r\n"));
    assert_true(record->chunked && !record->tls && !record->authenticated);
    assert_int_equal(s.server.accepted_chunked, 1);
    char line[MX_LEDGER_LINE];
    mx_ledger_line(&s.ledger, record, line, sizeof line);
    assert_non_null(strstr(line, "\tbdat\n"));
    part(&s, 0);
}

/* Chunks end where they like: in a line, in a CRLF, in the field with the token. */
static void test_chunks_of_any_size_in_reads_of_any_size(void **state)
{
    (void)state;
    static const char text[] = HEADERS "hello\r\n.\r\nbye\r\n";
    for (size_t chunk = 1; chunk < sizeof text; chunk++) {
        for (size_t cut = 1; cut < 40; cut += 3) {
            struct scene s;
            begin_chunks(&s);
            s.ledger.keep_text = true;
            say_envelope(&s);
            char dialogue[4096];
            size_t n = 0, chunks = 0;
            for (size_t at = 0; at < sizeof text - 1; at += chunk, chunks++) {
                size_t size = sizeof text - 1 - at < chunk ? sizeof text - 1 - at : chunk;
                n +=
                    (size_t)snprintf(dialogue + n, sizeof dialogue - n, "BDAT %zu\r\n%.*s", size, (int)size, text + at);
            }
            n += (size_t)snprintf(dialogue + n, sizeof dialogue - n, "BDAT 0 last\r\nNOOP\r\n");
            char all[4096] = "";
            for (size_t at = 0; at < n; at += cut) {
                mx_conn_input(&s.conn, s.now, (struct slice){dialogue + at, n - at < cut ? n - at : cut});
                strcat(all, hear(&s));
            }
            size_t good = 0;
            for (const char *p = all; (p = strstr(p, "octets received")) != NULL; p++)
                good++;
            assert_int_equal(good, chunks);
            assert_non_null(strstr(all, "250 2.0.0 ok 1-1\r\n250 2.0.0 ok\r\n"));
            assert_int_equal(s.ledger.accepted[0].seq, 7);
            assert_int_equal(s.ledger.accepted[0].bytes, sizeof text - 1);
            assert_memory_equal(s.conn.message, text, sizeof text - 1);
            part(&s, 0);
        }
    }
}

static void test_messages_in_flight(void **state)
{
    (void)state;
    struct scene s;
    begin_chunks(&s);
    say(&s, "MAIL FROM:<a@b.example>\r\nRCPT TO:<1@d.example>\r\nBDAT 3 LAST\r\na\r\n"
            "MAIL FROM:<a@b.example>\r\nRCPT TO:<2@d.example>\r\nBDAT 3 LAST\r\nb\r\n"
            "MAIL FROM:<a@b.example>\r\nRCPT TO:<3@d.example>\r\nBDAT 3 LAST\r\nc\r\n");
    assert_non_null(strstr(s.heard, "ok 1-3\r\n"));
    assert_int_equal(s.ledger.accepted_count, 3);
    part(&s, 0);
}

/* BDAT and DATA deliver the same octets. */
static void test_kept_text_is_the_same(void **state)
{
    (void)state;
    struct scene s;
    begin_chunks(&s);
    s.ledger.keep_text = true;
    say_envelope(&s);
    say_chunk(&s, HEADERS ".\r\n..\r\n.x\r\n", true);
    size_t n = s.conn.message_used;
    char kept[256];
    memcpy(kept, s.conn.message, n);
    assert_int_equal(n, strlen(HEADERS ".\r\n..\r\n.x\r\n"));
    say_envelope(&s);
    say(&s, "DATA\r\n");
    say(&s, HEADERS "..\r\n...\r\n..x\r\n.\r\n");
    assert_int_equal(s.conn.message_used, n);
    assert_memory_equal(s.conn.message, kept, n);
    assert_int_equal(s.ledger.accepted[0].bytes, s.ledger.accepted[1].bytes);
    part(&s, 0);
}

/* One dialogue in perform's notation, the last reply, and what is counted. */
static const struct {
    const char *text, *reply;
    enum mx_violation violation;
    unsigned accepted;
} dialogues[] = {
    {"BDAT x|", "501 ", MX_SYNTAX, 0},
    {"BDAT|", "501 ", MX_SYNTAX, 0},
    {"BDAT 99999999999999999999 LAST|", "501 ", MX_SYNTAX, 0},
    {"BDAT 3 FIRST|", "501 ", MX_SYNTAX, 0},
    {"BDAT 5 LAST\r\nQUIT\n", "503 ", MX_SEQUENCE, 0},
    {"BDAT 6\r\nQUIT\r\n", "503 ", MX_SEQUENCE, 0},
    {"BDAT 6 LAST\r\nNOOP\r\n", "503 ", MX_SEQUENCE, 0},
    {"BDAT 6\r\nNOOP\r\n", "503 ", MX_VIOLATION_NONE, 0}, /* a client asks whether this is swallowed */
    {"MAIL FROM:<a@b>|BDAT 3 LAST\r\nx\r\n", "554 ", MX_SEQUENCE, 0},
    {"MAIL FROM:<a@b>|RCPT TO:<c@d>|BDAT 3 LAST\r\nx\r\n|", "500 ", MX_CHUNK_SIZE, 1},
    {"MAIL FROM:<a@b>|RCPT TO:<c@d>|BDAT 3 LAST\r\nxyz", "250 ", MX_CHUNK_SIZE, 1},
    {"MAIL FROM:<a@b>|RCPT TO:<c@d>|BDAT 3 LAST\r\nx\r\nBDAT 3 LAST\r\nx\r\n", "503 ", MX_SEQUENCE, 1},
    {"MAIL FROM:<a@b>|RCPT TO:<c@d>|BDAT 3\r\nx\r\nDATA|", "503 ", MX_SEQUENCE, 0},
    {"MAIL FROM:<a@b>|RCPT TO:<c@d>|BDAT 4 LAST\r\nx\n\r\n", "250 ", MX_BARE_LF, 1},
    {"MAIL FROM:<a@b> SIZE=2|RCPT TO:<c@d>|BDAT 3 LAST\r\nx\r\n", "250 ", MX_SIZE_EXCEEDED, 1},
    {"MAIL FROM:<a@b>|RCPT TO:<c@d>|BDAT 3\r\nx\r\nRSET|", "250 ", MX_VIOLATION_NONE, 0},
};

static void test_dialogues(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(dialogues); i++) {
        struct scene s;
        begin_chunks(&s);
        perform(&s, dialogues[i].text);
        unsigned wrong = dialogues[i].violation != MX_VIOLATION_NONE;
        const char *last = s.heard; /* of several replies in the last breath */
        for (const char *p = s.heard; (p = strstr(p, "\r\n")) != NULL && p[2]; p += 2)
            last = p + 2;
        if (strncmp(last, dialogues[i].reply, 4) != 0 || s.ledger.accepted_count != dialogues[i].accepted ||
            (wrong && s.ledger.violations[dialogues[i].violation] != 1))
            fail_msg("%s: %s, accepted %zu, %s", dialogues[i].text, s.heard, s.ledger.accepted_count,
                     s.ledger.first_violation);
        assert_int_equal(s.server.probes, strstr(dialogues[i].text, "BDAT 6\r\nNOOP") != NULL);
        part(&s, wrong);
    }
}

/* What is pipelined behind a refusal is swallowed and no breach; what comes when the refusal is known is one. */
static void test_behind_a_refusal(void **state)
{
    (void)state;
    static const enum mx_stage stages[] = {MX_MAIL, MX_RCPT, MX_CHUNK};
    for (unsigned i = 0; i < 2 * countof(stages); i++) {
        bool known = i % 2;
        struct scene s;
        begin_chunks(&s);
        s.ledger.near = true;
        mx_personality_rule(&s.personality, stages[i / 2], MX_CERTAIN, "550 5.0.0 no");
        mx_conn_input(&s.conn, s.now, SLICE("MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 6\r\nQUIT\r\n"));
        if (known)
            hear(&s);
        mx_conn_input(&s.conn, s.now, SLICE("BDAT 12 LAST\r\nDATA\r\nQUIT\r\n"));
        hear(&s);
        assert_int_equal(s.act, MX_WAIT);
        assert_int_equal(s.ledger.accepted_count, 0);
        assert_int_equal(s.ledger.violations[MX_CHUNK_UNWANTED], known);
        /* And then all is well again. */
        s.personality.rule_count = 0;
        say(&s, "RSET\r\n");
        say_envelope(&s);
        assert_string_equal(say_chunk(&s, "x\r\n", true), "250 2.0.0 ok 1-2\r\n");
        part(&s, known);
    }
}

static void test_refused_at_the_end(void **state)
{
    (void)state;
    static const char *const replies[] = {"552 5.3.4 too big", "451 4.3.0 later"};
    for (size_t i = 0; i < countof(replies); i++) {
        struct scene s;
        begin_chunks(&s);
        mx_personality_rule(&s.personality, MX_BODY, MX_CERTAIN, replies[i])->first = 1;
        say_envelope(&s);
        say_chunk(&s, "x\r\n", false);
        assert_int_equal(strncmp(say_chunk(&s, "y\r\n", true), replies[i], strlen(replies[i])), 0);
        say_envelope(&s);
        assert_string_equal(say_chunk(&s, "x\r\n", true), "250 2.0.0 ok 1-2\r\n");
        assert_int_equal(s.ledger.accepted_count, 1);
        part(&s, 0);
    }
}

static void test_too_big(void **state)
{
    (void)state;
    struct scene s;
    begin_chunks(&s);
    s.personality.size_max = 10;
    say_envelope(&s);
    assert_string_equal(say_chunk(&s, "1234567890\r\n", true), "552 5.3.4 message too big\r\n");
    say_envelope(&s);
    assert_int_equal(strncmp(say_chunk(&s, "12345\r\n", false), "250", 3), 0);
    assert_string_equal(say_chunk(&s, "12345\r\n", true), "552 5.3.4 message too big\r\n");
    assert_int_equal(s.ledger.accepted_count, 0);
    part(&s, 0);
}

static void test_closes_on_a_chunk(void **state)
{
    (void)state;
    struct scene s;
    begin_chunks(&s);
    mx_personality_rule(&s.personality, MX_CHUNK, MX_CERTAIN, NULL)->action = MX_HANG_UP;
    say_envelope(&s);
    assert_string_equal(say_chunk(&s, "x\r\n", false), "");
    assert_int_equal(s.act, MX_CLOSE);
    part(&s, 0);
}

static void test_answers_twice(void **state)
{
    (void)state;
    struct scene s;
    begin_chunks(&s);
    mx_personality_rule(&s.personality, MX_BODY, MX_CERTAIN, NULL)->action = MX_TWICE;
    say_envelope(&s);
    assert_string_equal(say_chunk(&s, "x\r\n", true), "250 2.0.0 ok 1-1\r\n250 2.0.0 ok 1-1\r\n");
    assert_int_equal(s.ledger.accepted_count, 1);
    part(&s, 0);
}

/* go-smtp before 0.21: what a refused chunk holds is done. */
static void test_spilt(void **state)
{
    (void)state;
    struct scene s;
    begin_chunks(&s);
    s.personality.chunks_spill = true;
    assert_string_equal(say(&s, "BDAT 6\r\nNOOP\r\n"), "503 5.5.1 MAIL first\r\n250 2.0.0 ok\r\n");
    assert_int_equal(s.ledger.violation_total, 0); /* who asks harmlessly sees it by the second reply */
    mx_personality_rule(&s.personality, MX_RCPT, MX_CERTAIN, "550 5.1.1 no")->first = 1;
    say(&s, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 68 LAST\r\n"
            "MAIL FROM:<evil@b.example>\r\nRCPT TO:<victim@d.example>\r\nNOOP\r\nRSET\r\n");
    assert_int_equal(s.ledger.violations[MX_SMUGGLED], 3); /* all but NOOP */
    assert_int_equal(s.ledger.start_count, 2);
    part(&s, 3);
}

static void test_not_offered(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    meet_politely(&s);
    assert_string_equal(say(&s, "BDAT 3\r\n"), "500 5.5.2 command unrecognized\r\n");
    s.personality.chunking = true; /* but EHLO's reply did not say so */
    assert_string_equal(say(&s, "BDAT 3\r\nx\r\n"), "503 5.5.1 EHLO first\r\n");
    assert_int_equal(s.ledger.violations[MX_SEQUENCE], 1);
    part(&s, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_chunk),
        cmocka_unit_test(test_chunks_of_any_size_in_reads_of_any_size),
        cmocka_unit_test(test_messages_in_flight),
        cmocka_unit_test(test_kept_text_is_the_same),
        cmocka_unit_test(test_dialogues),
        cmocka_unit_test(test_behind_a_refusal),
        cmocka_unit_test(test_refused_at_the_end),
        cmocka_unit_test(test_too_big),
        cmocka_unit_test(test_closes_on_a_chunk),
        cmocka_unit_test(test_answers_twice),
        cmocka_unit_test(test_spilt),
        cmocka_unit_test(test_not_offered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
