/* test_mx_personality.c - a server has the manners that its personality, or the file about it, says. */
#include "mx_scene.h"

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
    for (unsigned stage = MX_GREETING; stage <= MX_BODY; stage++) {
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
        char rcpt[64];
        snprintf(rcpt, sizeof rcpt, "RCPT TO:<user%d@x.example>\r\n", i);
        say(&s, "MAIL FROM:<a@b.example>\r\n");
        char first = *say(&s, rcpt);
        assert_int_equal(*say(&s, rcpt), first);
        refused += first == '5';
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

static void test_file(void **state)
{
    (void)state;
    char path[] = "/tmp/mx-XXXXXX", error[256] = "";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    fputs(
        "# a comment\n"
        "isp bigmail {\n"
        "  listen = {127.20.0.1:2525, \"[::1]:2525\"}\n"
        "  banner = mx1.bigmail.example\n"
        "  latency { greeting = 20ms..50ms rcpt = 5ms }\n"
        "  rate = 500/min  rate_by_source = true\n"
        "  connections = 100 connections_per_source = 20 messages = 50 behind_dot = refuse pipelining = false\n"
        "  rcpt { reply = \"550 5.1.1 no such user\" percent = 2.5 sticky = true match = \"bad-*\" }\n"
        "  body { action = close accept = true percent = 0.0001 }\n"
        "}\n"
        "isp small { listen = {127.20.0.2:2525} }\n"
        "isp safe { tls = starttls tls_demand = refused certificate = self key = ecdsa names = {a.example, b.example}\n"
        "  tls_min = \"1.2\" tls_max = \"1.3\" resumption = false tickets = false plain_only = {size, auth}\n"
        "  certificate_file = \"/c\" key_file = \"/k\" tls_only = {chunking}\n"
        "  mechanisms = {plain, xoauth2} auth_required = true auth_plain_text = true\n"
        "  account \"ann@b.example\" { secret = geheim } account bob { }\n"
        "  chunking = true chunks_spill = true latency { handshake = 3ms }\n"
        "  handshake { action = truncate } starttls { action = inject reply = \"x\\r\\n\" }\n"
        "  auth { reply = \"535 5.7.8 no\" after = 3 } chunk { action = twice first = 1 } }\n"
        "isp hidden { tls = hidden } isp wrapped { tls = implicit }\n",
        file);
    fclose(file);
    struct mx_config *config = mx_config_load(path, error, sizeof error);
    if (!config)
        fail_msg("%s", error);
    assert_int_equal(config->personality_count, 5);
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
    p = &config->personalities[1];
    assert_false(p->starttls || p->tls_implicit || p->auth || p->chunking || p->demand || p->tls.no_tickets);
    p = &config->personalities[2];
    assert_true(p->starttls && !p->starttls_hidden && !p->tls_implicit && p->chunking && p->chunks_spill);
    assert_int_equal(p->demand, MX_DEMAND_REFUSED);
    assert_int_equal(p->tls.issue, MX_ISSUE_SELF);
    assert_int_equal(p->tls.key_kind, MX_KEY_ECDSA);
    assert_string_equal(p->tls.names, "a.example b.example");
    assert_int_equal(p->tls.version_min, 0x0303);
    assert_int_equal(p->tls.version_max, 0x0304);
    assert_true(p->tls.no_resumption && p->tls.no_tickets && p->auth_required && p->auth_plain_text);
    assert_string_equal(p->tls.certificate_file, "/c");
    assert_string_equal(p->tls.key_file, "/k");
    assert_int_equal(p->plain_only, MX_CAN_SIZE | MX_CAN_AUTH);
    assert_int_equal(p->tls_only, MX_CAN_CHUNKING);
    assert_int_equal(p->auth, MX_AUTH_PLAIN | MX_AUTH_XOAUTH2);
    assert_int_equal(p->account_count, 2);
    assert_string_equal(p->accounts[0].user, "ann@b.example");
    assert_string_equal(p->accounts[0].secret, "geheim");
    assert_int_equal(p->latency[MX_HANDSHAKE].base, 3 * NSEC_PER_MS);
    assert_int_equal(p->rule_count, 4);
    assert_int_equal(p->rules[0].action, MX_TWICE);
    assert_int_equal(p->rules[0].stage, MX_CHUNK);
    assert_int_equal(p->rules[1].action, MX_INJECT);
    assert_string_equal(p->rules[1].reply, "x\r\n");
    assert_int_equal(p->rules[2].action, MX_TRUNCATE);
    assert_int_equal(p->rules[3].after, 3);
    assert_true(config->personalities[3].starttls_hidden && config->personalities[3].starttls);
    assert_true(config->personalities[4].tls_implicit && !config->personalities[4].starttls);
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
        "isp a { rcpt { action = truncate } }",
        "isp a { rcpt { action = garbage } }",
        "isp a { tls = maybe }",
        "isp a { tls_demand = maybe }",
        "isp a { certificate = none }",
        "isp a { tls_min = \"1.3\" tls_max = \"1.2\" }",
        "isp a { names = {\"a b\"} }",
        "isp a { mechanisms = {digest-md5} }",
        "isp a { plain_only = {starttls} }",
        "isp a { account a { } account b { } account c { } account d { } account e { } }",
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latency_and_tarpit),
        cmocka_unit_test(test_connection_limits),
        cmocka_unit_test(test_message_limits),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_hang_up_reset_silence),
        cmocka_unit_test(test_percentages_add_up),
        cmocka_unit_test(test_sticky_and_first),
        cmocka_unit_test(test_long_replies),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_no_ehlo),
        cmocka_unit_test(test_size_limit),
        cmocka_unit_test(test_behind_the_dot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
