/* test_mx_secure.c - TLS of the judge: brought up as RFC 3207 says, and spoilt in each way that a personality can. */
#include "mx_client.h"

#include "bench/mx_certificate.h"

#include <openssl/x509v3.h>
#include <unistd.h>

struct fixture {
    struct mx_tls *tls;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->tls = mx_tls_new();
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    mx_tls_free(fixture->tls);
    free(fixture);
    return 0;
}

static void begin_secure(struct scene *s, void **state, struct tls_client *client)
{
    struct fixture *fixture = *state;
    begin(s);
    s->personality.starttls = true;
    snprintf(s->personality.tls.names, sizeof s->personality.tls.names, "mx.test");
    s->server.tls = fixture->tls;
    tls_client_init(client, mx_tls_ca(fixture->tls));
}

static void end_secure(struct scene *s, struct tls_client *client, uint64_t violations)
{
    tls_client_end(client);
    tls_client_free(client);
    part(s, violations);
}

static void say_starttls(struct scene *s)
{
    meet(s);
    assert_non_null(strstr(say(s, "EHLO me.example\r\n"), "STARTTLS"));
    assert_string_equal(say(s, "STARTTLS\r\n"), "220 2.0.0 ready to start TLS\r\n");
}

#define MESSAGE "Subject: x\r\nX-Campaign: c/5\r\n\r\nhello\r\n.\r\n"

static void test_one_message_under_tls(void **state)
{
    static const size_t cuts[] = {8192, 1, 7};
    for (size_t i = 0; i < countof(cuts); i++) {
        struct scene s;
        struct tls_client client;
        begin_secure(&s, state, &client);
        s.personality.demand = MX_DEMAND_REFUSED;
        s.personality.tls.names[0] = 0;
        snprintf(s.personality.banner, sizeof s.personality.banner, "mx.big.example");
        mx_conn_open(&s.conn, &s.server, s.now, &s.ip);
        hear(&s);
        assert_non_null(strstr(say(&s, "EHLO me.example\r\n"), "STARTTLS"));
        assert_string_equal(say(&s, "STARTTLS\r\n"), "220 2.0.0 ready to start TLS\r\n");
        tls_client_begin(&client, i ? "mx2.big.example" : "big.example", false);
        assert_true(tls_client_shake(&client, &s, cuts[i]));
        assert_int_equal(client.verified, X509_V_OK);
        /* RFC 3207 §4.2: EHLO again, and STARTTLS is offered no more. */
        assert_null(strstr(tls_client_say(&client, &s, "EHLO me.example\r\n"), "STARTTLS"));
        assert_non_null(strstr(s.heard, "PIPELINING"));
        assert_string_equal(tls_client_say(&client, &s, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"),
                            "250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go ahead\r\n");
        assert_string_equal(tls_client_say(&client, &s, MESSAGE), "250 2.0.0 ok 1-1\r\n");
        assert_string_equal(tls_client_say(&client, &s, "QUIT\r\n"), "221 2.0.0 bye\r\n");
        assert_int_equal(s.act, MX_CLOSE);
        assert_int_equal(SSL_get_shutdown(client.ssl), SSL_RECEIVED_SHUTDOWN); /* close_notify came first */
        assert_int_equal(s.ledger.accepted_count, 1);
        assert_true(s.ledger.accepted[0].tls && !s.ledger.accepted[0].resumed && !s.ledger.accepted[0].chunked);
        assert_int_equal(s.server.accepted_tls, 1);
        assert_int_equal(s.server.tls_full, 1);
        assert_int_equal(s.server.tls_nameless, 0);
        char line[MX_LEDGER_LINE];
        mx_ledger_line(&s.ledger, &s.ledger.accepted[0], line, sizeof line);
        assert_non_null(strstr(line, "\ttls\n"));
        end_secure(&s, &client, 0);
    }
}

static void test_implicit(void **state)
{
    struct scene s;
    struct tls_client client;
    begin_secure(&s, state, &client);
    s.personality.tls_implicit = true;
    mx_conn_open(&s.conn, &s.server, s.now, &s.ip);
    assert_string_equal(hear(&s), "");
    tls_client_begin(&client, NULL, false);
    assert_true(tls_client_shake(&client, &s, 8192));
    assert_string_equal(tls_client_say(&client, &s, ""), "220 mx.test ESMTP\r\n");
    assert_null(strstr(tls_client_say(&client, &s, "EHLO me.example\r\n"), "STARTTLS"));
    assert_int_equal(s.server.tls_nameless, 1);
    assert_string_equal(tls_client_say(&client, &s, "STARTTLS\r\n"), "503 5.5.1 this is TLS already\r\n");
    assert_int_equal(s.ledger.violations[MX_SEQUENCE], 1);
    end_secure(&s, &client, 1);
}

/* Where nobody else may come in, that is said under TLS too. */
static void test_implicit_and_full(void **state)
{
    struct scene s;
    struct tls_client client;
    begin_secure(&s, state, &client);
    s.personality.tls_implicit = true;
    s.personality.connections_max = 1;
    struct mx_conn first;
    mx_conn_open(&first, &s.server, s.now, &s.ip);
    mx_conn_open(&s.conn, &s.server, s.now, &s.ip);
    tls_client_begin(&client, NULL, false);
    assert_true(tls_client_shake(&client, &s, 8192));
    assert_string_equal(tls_client_say(&client, &s, ""), "421 4.7.0 too many connections\r\n");
    assert_int_equal(s.act, MX_CLOSE);
    mx_conn_close(&first);
    assert_int_equal(s.server.tls_failed, 1);
    end_secure(&s, &client, 0);
}

/* Both kinds of session, both versions, tickets or memory. */
static void test_resumption(void **state)
{
    for (unsigned i = 0; i < 16; i++) {
        bool remembered = i & 1, old = i & 2, ecdsa = i & 4, never = i & 8;
        struct scene s;
        struct tls_client client;
        begin_secure(&s, state, &client);
        s.personality.tls.no_tickets = remembered;
        s.personality.tls.version_max = old ? TLS1_2_VERSION : 0;
        s.personality.tls.version_min = old ? 0 : TLS1_3_VERSION;
        s.personality.tls.key_kind = ecdsa ? MX_KEY_ECDSA : MX_KEY_RSA;
        s.personality.tls.no_resumption = never;
        for (unsigned round = 0; round < 2; round++) {
            say_starttls(&s);
            tls_client_begin(&client, "mx.test", round > 0);
            assert_true(tls_client_shake(&client, &s, 8192));
            assert_int_equal(SSL_version(client.ssl), old ? TLS1_2_VERSION : TLS1_3_VERSION);
            assert_int_equal(SSL_session_reused(client.ssl), round && !never);
            tls_client_say(&client, &s, "EHLO me.example\r\n");
            if (round == 0) {
                tls_client_say(&client, &s, "QUIT\r\n");
                tls_client_end(&client);
                mx_conn_close(&s.conn);
            }
        }
        assert_int_equal(s.server.tls_full, never ? 2 : 1);
        assert_int_equal(s.server.tls_resumed, never ? 0 : 1);
        end_secure(&s, &client, 0);
    }
}

static const struct {
    enum mx_issue issue;
    long verdict, other; /* of X509_V_ERR_...; `other` is as right */
} issues[] = {
    {MX_ISSUE_CA, X509_V_OK, X509_V_OK},
    {MX_ISSUE_CHAIN, X509_V_OK, X509_V_OK},
    {MX_ISSUE_BROKEN, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE},
    {MX_ISSUE_SELF, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE},
    {MX_ISSUE_STRANGER, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY},
    {MX_ISSUE_EXPIRED, X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_HAS_EXPIRED},
    {MX_ISSUE_WRONG_NAME, X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_HOSTNAME_MISMATCH},
};

static void test_each_issue_is_wrong_in_its_way(void **state)
{
    for (size_t i = 0; i < 2 * countof(issues); i++) {
        struct scene s;
        struct tls_client client;
        begin_secure(&s, state, &client);
        s.personality.tls.issue = issues[i / 2].issue;
        s.personality.tls.key_kind = i % 2 ? MX_KEY_ECDSA : MX_KEY_RSA;
        say_starttls(&s);
        tls_client_begin(&client, "mx.test", false);
        assert_true(tls_client_shake(&client, &s, 8192));
        if (client.verified != issues[i / 2].verdict && client.verified != issues[i / 2].other)
            fail_msg("issue %d: %s", (int)issues[i / 2].issue, X509_verify_cert_error_string(client.verified));
        assert_int_equal(EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_get0_peer_certificate(client.ssl))),
                         i % 2 ? EVP_PKEY_EC : EVP_PKEY_RSA);
        end_secure(&s, &client, 0);
    }
}

/* What a TLSA record would say is what the client sees. */
static void test_digests(void **state)
{
    struct fixture *fixture = *state;
    struct scene s;
    struct tls_client client;
    uint8_t told[32];
    unsigned char seen[32];
    unsigned n;
    begin_secure(&s, state, &client);
    say_starttls(&s);
    tls_client_begin(&client, "mx.test", false);
    assert_true(tls_client_shake(&client, &s, 8192));
    X509_digest(SSL_get0_peer_certificate(client.ssl), EVP_sha256(), seen, &n);
    mx_tls_digest(fixture->tls, &s.personality, MX_TLSA_LEAF, told);
    assert_memory_equal(told, seen, 32);
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(client.ssl);
    assert_int_equal(sk_X509_num(chain), 2);
    X509_digest(sk_X509_value(chain, 1), EVP_sha256(), seen, &n);
    mx_tls_digest(fixture->tls, &s.personality, MX_TLSA_CA, told);
    assert_memory_equal(told, seen, 32);
    unsigned char *der = NULL;
    int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(SSL_get0_peer_certificate(client.ssl)), &der);
    EVP_Digest(der, (size_t)length, seen, &n, EVP_sha256(), NULL);
    OPENSSL_free(der);
    mx_tls_digest(fixture->tls, &s.personality, MX_TLSA_LEAF_KEY, told);
    assert_memory_equal(told, seen, 32);
    char *pem = mx_tls_chain(fixture->tls, &s.personality);
    assert_ptr_equal(strstr(pem, "-----BEGIN CERTIFICATE-----"), pem);
    assert_non_null(strstr(pem, strchr(mx_tls_ca(fixture->tls), '\n'))); /* the CA stands behind the leaf */
    free(pem);
    end_secure(&s, &client, 0);
}

/* Whatever the keys are, as many bytes fly: a simulation's trace depends on it. */
static void test_lengths_are_the_same_in_every_run(void **state)
{
    (void)state;
    size_t flown[2][2] = {{0}};
    for (unsigned run = 0; run < 2; run++) {
        struct fixture fixture = {.tls = mx_tls_new()};
        void *own = &fixture;
        struct scene s;
        struct tls_client client;
        begin_secure(&s, &own, &client);
        s.personality.tls.no_tickets = true;
        for (unsigned round = 0; round < 2; round++) {
            say_starttls(&s);
            tls_client_begin(&client, "mx.test", round > 0);
            assert_true(tls_client_shake(&client, &s, 8192));
            tls_client_say(&client, &s, "EHLO me.example\r\n");
            flown[run][round] = client.flown;
            tls_client_say(&client, &s, "QUIT\r\n");
            if (round == 0) {
                tls_client_end(&client);
                mx_conn_close(&s.conn);
            }
        }
        end_secure(&s, &client, 0);
        mx_tls_free(fixture.tls);
    }
    assert_int_equal(flown[0][0], flown[1][0]);
    assert_int_equal(flown[0][1], flown[1][1]);
    assert_true(flown[0][1] < flown[0][0]);
}

/* Only what is old can be had here: nobody should want it. */
static void test_versions(void **state)
{
    struct scene s;
    struct tls_client client;
    begin_secure(&s, state, &client);
    s.personality.tls.version_max = TLS1_VERSION;
    say_starttls(&s);
    SSL_CTX_set_min_proto_version(client.context, TLS1_2_VERSION);
    tls_client_begin(&client, "mx.test", false);
    assert_false(tls_client_shake(&client, &s, 8192));
    assert_int_equal(s.act, MX_CLOSE);
    tls_client_end(&client);
    mx_conn_close(&s.conn);
    assert_int_equal(s.server.tls_failed, 1);
    SSL_CTX_set_min_proto_version(client.context, TLS1_VERSION);
    SSL_CTX_set_security_level(client.context, 0);
    SSL_CTX_set_cipher_list(client.context, "ALL:@SECLEVEL=0");
    say_starttls(&s);
    tls_client_begin(&client, "mx.test", false);
    assert_true(tls_client_shake(&client, &s, 8192));
    assert_int_equal(SSL_version(client.ssl), TLS1_VERSION);
    end_secure(&s, &client, 0);
}

static void test_refused(void **state)
{
    static const char *const replies[] = {"454 4.7.0 no TLS today", "500 5.5.1 what?"};
    for (size_t i = 0; i < countof(replies); i++) {
        struct scene s;
        struct tls_client client;
        char expected[64];
        begin_secure(&s, state, &client);
        mx_personality_rule(&s.personality, MX_STARTTLS, MX_CERTAIN, replies[i]);
        meet_politely(&s);
        snprintf(expected, sizeof expected, "%s\r\n", replies[i]);
        assert_string_equal(say(&s, "STARTTLS\r\n"), expected);
        assert_string_equal(say(&s, "MAIL FROM:<a@b.example>\r\n"), "250 2.1.0 ok\r\n");
        end_secure(&s, &client, 0);
    }
}

/* One way to spoil the handshake, and what the client is left with. */
static const struct {
    enum mx_action action;
    const char *reply;
    enum mx_act act;
} spoilt[] = {
    {MX_HANG_UP, "", MX_CLOSE},
    {MX_ABORT, "", MX_RESET},
    {MX_SILENCE, "", MX_WAIT},
    {MX_GARBAGE, "\1\2 this is no TLS \3", MX_CLOSE},
    {MX_REPLY, "454 4.7.0 TLS is out of order", MX_CLOSE},
    {MX_TRUNCATE, "", MX_CLOSE},
};

static void test_spoilt_handshakes(void **state)
{
    for (size_t i = 0; i < 2 * countof(spoilt); i++) {
        struct scene s;
        struct tls_client client;
        begin_secure(&s, state, &client);
        struct mx_rule *rule = mx_personality_rule(&s.personality, MX_HANDSHAKE, MX_CERTAIN, spoilt[i / 2].reply);
        rule->action = spoilt[i / 2].action;
        s.personality.tls_implicit = i % 2;
        if (i % 2)
            mx_conn_open(&s.conn, &s.server, s.now, &s.ip);
        else
            say_starttls(&s);
        tls_client_begin(&client, "mx.test", false);
        assert_false(tls_client_shake(&client, &s, 8192));
        if (s.act != spoilt[i / 2].act)
            fail_msg("action %d: act %d", (int)spoilt[i / 2].action, (int)s.act);
        bool spoke = spoilt[i / 2].reply[0] || spoilt[i / 2].action == MX_TRUNCATE;
        assert_int_equal(client.flown > 0, spoke);
        assert_int_equal(s.server.tls_full, 0);
        end_secure(&s, &client, 0);
    }
}

/* Bytes behind the 220 and before TLS (CVE-2011-0411), and a flight that comes twice. */
static void test_injected(void **state)
{
    struct scene s;
    struct tls_client client;
    begin_secure(&s, state, &client);
    mx_personality_rule(&s.personality, MX_STARTTLS, MX_CERTAIN, "250 injected\r\n")->action = MX_INJECT;
    meet_politely(&s);
    assert_string_equal(say(&s, "STARTTLS\r\n"), "220 2.0.0 ready to start TLS\r\n250 injected\r\n");
    tls_client_begin(&client, "mx.test", false);
    assert_true(tls_client_shake(&client, &s, 8192)); /* who drops it is served as usual */
    tls_client_end(&client);
    mx_conn_close(&s.conn);
    for (unsigned i = 0; i < 2; i++) {
        s.personality.rule_count = 0;
        mx_personality_rule(&s.personality, MX_HANDSHAKE, MX_CERTAIN, "xxxxxxxx")->action = i ? MX_TWICE : MX_INJECT;
        say_starttls(&s);
        tls_client_begin(&client, "mx.test", false);
        bool shaken = tls_client_shake(&client, &s, 8192);
        assert_true(!shaken || SSL_read(client.ssl, s.heard, 1) <= 0);
        if (i == 0) {
            tls_client_end(&client);
            mx_conn_close(&s.conn);
        }
    }
    end_secure(&s, &client, 0);
}

/* A client that does not wait for the 220 is a breach, and what it said is not heard under TLS. */
static void test_bytes_behind_starttls(void **state)
{
    for (unsigned late = 0; late < 2; late++) {
        struct scene s;
        struct tls_client client;
        begin_secure(&s, state, &client);
        s.personality.latency[MX_STARTTLS].base = NSEC_PER_S;
        meet_politely(&s);
        if (late) {
            say(&s, "STARTTLS\r\n");
            say(&s, "RSET\r\n");
        } else {
            say(&s, "STARTTLS\r\nRSET\r\n");
        }
        assert_int_equal(s.ledger.violations[MX_BEHIND_STARTTLS], 1);
        s.now += NSEC_PER_S;
        assert_string_equal(hear(&s), "220 2.0.0 ready to start TLS\r\n");
        tls_client_begin(&client, "mx.test", false);
        assert_true(tls_client_shake(&client, &s, 8192));
        assert_string_equal(tls_client_say(&client, &s, ""), "");
        end_secure(&s, &client, 1);
    }
    /* The same when it is refused. */
    struct scene s;
    struct tls_client client;
    begin_secure(&s, state, &client);
    mx_personality_rule(&s.personality, MX_STARTTLS, MX_CERTAIN, "454 4.7.0 no");
    meet_politely(&s);
    say(&s, "STARTTLS\r\nRSET\r\n");
    assert_int_equal(s.ledger.violations[MX_BEHIND_STARTTLS], 1);
    end_secure(&s, &client, 1);
}

static void test_plain_text_where_tls_is_demanded(void **state)
{
    struct scene s;
    struct tls_client client;
    begin_secure(&s, state, &client);
    s.personality.demand = MX_DEMAND_REFUSED;
    meet_politely(&s);
    assert_string_equal(say(&s, "MAIL FROM:<a@b.example>\r\n"), "530 5.7.0 STARTTLS first\r\n");
    s.personality.demand = MX_DEMAND_COUNTED;
    assert_string_equal(say(&s, "MAIL FROM:<a@b.example>\r\n"), "250 2.1.0 ok\r\n");
    assert_int_equal(s.ledger.violations[MX_PLAIN_TEXT], 2);
    end_secure(&s, &client, 2);
}

static void test_abilities_before_and_behind(void **state)
{
    struct scene s;
    struct tls_client client;
    begin_secure(&s, state, &client);
    s.personality.plain_only = MX_CAN_PIPELINING;
    s.personality.tls_only = MX_CAN_CHUNKING | MX_CAN_SIZE;
    s.personality.chunking = true;
    meet(&s);
    say(&s, "EHLO me.example\r\n");
    assert_true(strstr(s.heard, "PIPELINING") && !strstr(s.heard, "CHUNKING") && !strstr(s.heard, "SIZE"));
    say(&s, "STARTTLS\r\n");
    tls_client_begin(&client, "mx.test", false);
    assert_true(tls_client_shake(&client, &s, 8192));
    tls_client_say(&client, &s, "EHLO me.example\r\n");
    assert_true(!strstr(s.heard, "PIPELINING") && strstr(s.heard, "CHUNKING") && strstr(s.heard, "SIZE"));
    mx_conn_close(&s.conn);
    s.personality.starttls_hidden = true;
    meet(&s);
    assert_null(strstr(say(&s, "EHLO me.example\r\n"), "STARTTLS"));
    assert_string_equal(say(&s, "STARTTLS\r\n"), "220 2.0.0 ready to start TLS\r\n");
    end_secure(&s, &client, 0);
}

/* MAIL before EHLO was said again is out of order: what was known is forgotten. */
static void test_ehlo_is_due_again(void **state)
{
    struct scene s;
    struct tls_client client;
    begin_secure(&s, state, &client);
    say_starttls(&s);
    tls_client_begin(&client, "mx.test", false);
    assert_true(tls_client_shake(&client, &s, 8192));
    assert_int_equal(strncmp(tls_client_say(&client, &s, "MAIL FROM:<a@b.example>\r\n"), "503", 3), 0);
    assert_int_equal(s.ledger.violations[MX_SEQUENCE], 1);
    end_secure(&s, &client, 1);
}

/* Flights and replies are late by their stage's latency. */
static void test_latency(void **state)
{
    struct scene s;
    struct tls_client client;
    begin_secure(&s, state, &client);
    s.personality.latency[MX_HANDSHAKE].base = 30 * NSEC_PER_MS;
    s.personality.latency[MX_MAIL].base = 10 * NSEC_PER_MS;
    say_starttls(&s);
    tls_client_begin(&client, "mx.test", false);
    assert_int_equal(SSL_do_handshake(client.ssl), -1);
    tls_client_carry(&client, &s, 8192);
    assert_int_equal(client.flown, 0);
    assert_int_equal(mx_conn_due(&s.conn), 30 * NSEC_PER_MS);
    s.now = 30 * NSEC_PER_MS;
    tls_client_carry(&client, &s, 8192);
    assert_true(client.flown > 0);
    assert_true(tls_client_shake(&client, &s, 8192));
    s.now += 30 * NSEC_PER_MS; /* the tickets */
    tls_client_say(&client, &s, "EHLO me.example\r\n");
    nsec said = s.now;
    assert_string_equal(tls_client_say(&client, &s, "MAIL FROM:<a@b.example>\r\n"), "");
    assert_int_equal(mx_conn_due(&s.conn), said + 10 * NSEC_PER_MS);
    s.now = mx_conn_due(&s.conn);
    s.personality.tarpit = NSEC_PER_S;
    assert_string_equal(tls_client_say(&client, &s, ""), "2");
    s.now += 2 * NSEC_PER_S;
    assert_string_equal(tls_client_say(&client, &s, ""), "50");
    end_secure(&s, &client, 0);
}

/* Whoever sends no TLS, or breaks it later, is dropped; idle ones are too, in silence while there is no TLS. */
static void test_broken_by_the_client(void **state)
{
    struct scene s;
    struct tls_client client;
    begin_secure(&s, state, &client);
    say_starttls(&s);
    mx_conn_input(&s.conn, s.now, SLICE("EHLO me.example\r\n"));
    hear(&s);
    assert_int_equal(s.act, MX_CLOSE);
    mx_conn_close(&s.conn);

    say_starttls(&s);
    tls_client_begin(&client, "mx.test", false);
    assert_true(tls_client_shake(&client, &s, 8192));
    mx_conn_input(&s.conn, s.now, SLICE("\x17\x03\x03\x00\x20 thirty-two octets of no meaning."));
    tls_client_carry(&client, &s, 8192);
    assert_int_equal(s.act, MX_CLOSE);
    tls_client_end(&client);
    mx_conn_close(&s.conn);

    s.personality.idle = NSEC_PER_S;
    say_starttls(&s);
    s.now += NSEC_PER_S;
    assert_string_equal(hear(&s), "");
    assert_int_equal(s.act, MX_CLOSE);
    mx_conn_close(&s.conn);

    s.now += NSEC_PER_S;
    say_starttls(&s);
    tls_client_begin(&client, "mx.test", false);
    assert_true(tls_client_shake(&client, &s, 8192));
    SSL_shutdown(client.ssl);
    tls_client_carry(&client, &s, 8192);
    assert_int_equal(s.act, MX_CLOSE);
    end_secure(&s, &client, 0);
}

static void test_files(void **state)
{
    struct fixture *fixture = *state;
    struct scene s;
    struct tls_client client;
    char path[] = "/tmp/sluice-test-XXXXXX", error[512] = "";
    begin_secure(&s, state, &client);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    struct mx_authority authority;
    mx_authority_init(&authority);
    X509 *certificate = mx_certificate_new(&authority, &s.personality.tls, "mx.other.example");
    PEM_write_X509(file, certificate);
    PEM_write_PrivateKey(file, mx_certificate_key(&authority, MX_KEY_RSA), NULL, NULL, 0, NULL, NULL);
    X509_free(certificate);
    fclose(file);
    snprintf(s.personality.tls.certificate_file, MX_FILE_MAX, "%s", path);
    assert_true(mx_tls_prepare(fixture->tls, &s.personality, error, sizeof error));
    say_starttls(&s);
    tls_client_begin(&client, "mx.other.example", false);
    assert_true(tls_client_shake(&client, &s, 8192));
    assert_int_equal(X509_check_host(SSL_get0_peer_certificate(client.ssl), "mx.other.example", 0, 0, NULL), 1);
    unlink(path);
    snprintf(s.personality.tls.key_file, MX_FILE_MAX, "%s", path); /* new settings: looked at again */
    assert_false(mx_tls_prepare(fixture->tls, &s.personality, error, sizeof error));
    assert_non_null(strstr(error, path));
    mx_authority_free(&authority);
    end_secure(&s, &client, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_message_under_tls),
        cmocka_unit_test(test_implicit),
        cmocka_unit_test(test_implicit_and_full),
        cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_each_issue_is_wrong_in_its_way),
        cmocka_unit_test(test_digests),
        cmocka_unit_test(test_lengths_are_the_same_in_every_run),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_spoilt_handshakes),
        cmocka_unit_test(test_injected),
        cmocka_unit_test(test_bytes_behind_starttls),
        cmocka_unit_test(test_plain_text_where_tls_is_demanded),
        cmocka_unit_test(test_abilities_before_and_behind),
        cmocka_unit_test(test_ehlo_is_due_again),
        cmocka_unit_test(test_latency),
        cmocka_unit_test(test_broken_by_the_client),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
