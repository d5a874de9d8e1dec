/* test_relay.c - whose mail goes to which relay, what AUTH says there, and what a relay's refusals mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "flow/relay.h"
#include "proto/message/encode.h"
#include "proto/policy/relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct config *config_of(const char *text)
{
    char error[512];
    struct config *config = config_parse("x.conf", slice_of(text), error, sizeof error);
    if (!config)
        fail_msg("%s", error);
    return config;
}

/* ---- routes ---- */

static const char routes[] =
    "pool p { source 127.0.0.1 { ehlo = a.example } }\npool q { source 127.0.0.2 { ehlo = b.example } }\n"
    "relay a { host = a.example }\nrelay b { host = b.example }\nrelay c { host = c.example }\n"
    "route { domain = {own.example, .own.example} relay = none }\n"
    "route { pool = q domain = {.x.example, y.example} relay = a }\n"
    "route { domain = Y.example relay = b }\n"
    "route { pool = q relay = c }\n";

static void first_route_that_fits(void **state)
{
    enum { P = 0, Q = 1, A = 0, B = 1, C = 2 };
    static const struct {
        unsigned pool;
        const char *domain;
        int relay;
    } cases[] = {
        {P, "own.example", RELAY_NONE},
        {Q, "own.example", RELAY_NONE},
        {Q, "deep.er.OWN.example", RELAY_NONE},
        {Q, "notown.example", C},
        {Q, "m.x.example", A},
        {Q, "x.example", C}, /* a suffix stands for what is below it */
        {P, "m.x.example", RELAY_NONE},
        {Q, "y.example", A}, /* before the route that takes it from everybody */
        {P, "y.example", B},
        {P, "Y.EXAMPLE", B},
        {P, "m.y.example", RELAY_NONE},
        {Q, "elsewhere.example", C},
        {P, "elsewhere.example", RELAY_NONE},
    };
    struct config *config = config_of(routes);
    struct arena arena;
    struct relay_table table;
    (void)state;
    assert_true(arena_open(&arena, 16 << 20));
    assert_true(relay_open(&table, &arena, config));
    for (size_t i = 0; i < countof(cases); i++)
        if (relay_of(&table, cases[i].pool, slice_of(cases[i].domain)) != cases[i].relay)
            fail_msg("pool %u, %s: relay %d", cases[i].pool, cases[i].domain,
                     relay_of(&table, cases[i].pool, slice_of(cases[i].domain)));
    relay_close(&table);
    arena_drop(&arena);
    config_free(config);
}

static void without_conditions_everybody(void **state)
{
    struct config *config = config_of("relay a { host = a.example }\nroute { relay = a }\nroute { relay = none }\n");
    struct config *none = config_of("relay a { host = a.example }\n");
    struct arena arena;
    struct relay_table table;
    (void)state;
    assert_true(arena_open(&arena, 16 << 20));
    assert_true(relay_open(&table, &arena, config));
    assert_int_equal(relay_of(&table, 7, SLICE("x.example")), 0);
    assert_true(relay_open(&table, &arena, none));
    assert_int_equal(relay_of(&table, 0, SLICE("x.example")), RELAY_NONE);
    arena_drop(&arena);
    config_free(config);
    config_free(none);
}

/* ---- AUTH ---- */

static void put_secret(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    assert_int_equal(fclose(file), 0);
}

static void says(struct slice text, const char *bytes, size_t n)
{
    char *decoded = malloc(text.n + 1);
    assert_int_equal(decode_base64(text, decoded), n);
    assert_memory_equal(decoded, bytes, n);
    assert_int_equal(text.n, (n + 2) / 3 * 4);
    free(decoded);
}
#define SAYS(text, bytes) says(text, bytes, sizeof(bytes) - 1)

static void what_auth_says(void **state)
{
    char path[] = "/tmp/sluice-relay-XXXXXX", text[1024], error[512], secret[RELAY_SECRET_MAX];
    size_t n;
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    close(fd);
    put_secret(path, "s3cret of two words\n");
    snprintf(text, sizeof text,
             "relay p { host = a.example auth = plain user = ann password_file = %s }\n"
             "relay l { host = a.example auth = login user = ann password_file = %s tls = off auth_plain_text = yes }\n"
             "relay x { host = a.example auth = xoauth2 user = ann@a.example token_file = %s }\n"
             "relay n { host = a.example }\n",
             path, path, path);
    struct config *config = config_of(text);
    struct relays *relays = relays_open(config, NULL, error, sizeof error);
    struct arena arena;
    struct relay_table table;
    assert_non_null(relays);
    assert_true(arena_open(&arena, 16 << 20));
    assert_true(relay_open(&table, &arena, config));
    struct relay_auth *auth = relay_sign_in(&table, relays, 0);
    assert_int_equal(auth->credentials.mechanism, CLIENT_MECHANISM_PLAIN);
    assert_false(auth->credentials.in_clear);
    SAYS(auth->credentials.first, "\0ann\0s3cret of two words");
    assert_int_equal(auth->credentials.second.n, 0);
    assert_ptr_equal(relay_sign_in(&table, relays, 0), auth);
    relay_signed_in(auth);
    relay_signed_in(auth);
    auth = relay_sign_in(&table, relays, 1);
    assert_int_equal(auth->credentials.mechanism, CLIENT_MECHANISM_LOGIN);
    assert_true(auth->credentials.in_clear);
    SAYS(auth->credentials.first, "ann");
    SAYS(auth->credentials.second, "s3cret of two words");
    auth = relay_sign_in(&table, relays, 2);
    assert_int_equal(auth->credentials.mechanism, CLIENT_MECHANISM_XOAUTH2);
    SAYS(auth->credentials.first, "user=ann@a.example\001auth=Bearer s3cret of two words\001\001");

    /* Another one takes its place, but not under the hands of those who are saying the old one. */
    struct relay_auth *held[RELAY_AUTHS + 1];
    for (unsigned i = 0; i <= RELAY_AUTHS; i++) {
        char next[] = "other0";
        next[5] = (char)('0' + i);
        put_secret(path, next);
        relays_refresh(relays, 0);
        held[i] = relay_sign_in(&table, relays, 0);
        for (unsigned j = 0; i < RELAY_AUTHS && j < i; j++)
            assert_true(held[j] != held[i]);
    }
    SAYS(held[0]->credentials.first, "\0ann\0other0");
    SAYS(held[3]->credentials.first, "\0ann\0other3");
    assert_ptr_equal(held[4], held[3]); /* no place is free: the newest must do */
    relay_signed_in(held[1]);
    held[1] = relay_sign_in(&table, relays, 0);
    SAYS(held[1]->credentials.first, "\0ann\0other4");
    assert_true(held[1]->version != held[0]->version);
    assert_int_equal(relays_secret(relays, 0, secret, &n), held[1]->version);

    char *texts[] = {held[0]->text, held[1]->text, table.auths[1][0].text, table.auths[2][0].text};
    relay_close(&table);
    for (size_t i = 0; i < countof(texts) * RELAY_AUTH_TEXT; i++)
        assert_int_equal(texts[i / RELAY_AUTH_TEXT][i % RELAY_AUTH_TEXT], 0);
    arena_drop(&arena);
    relays_close(relays);
    config_free(config);
    unlink(path);
}

/* The longest that a file may hold still fits the line of RFC 4954 §4. */
static void the_longest_secret(void **state)
{
    char path[] = "/tmp/sluice-relay-XXXXXX", text[1024], error[512], longest[RELAY_SECRET_MAX + 1], user[256];
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    close(fd);
    memset(longest, 'x', RELAY_SECRET_MAX);
    longest[RELAY_SECRET_MAX] = 0;
    memset(user, 'u', 255);
    user[255] = 0;
    put_secret(path, longest);
    snprintf(text, sizeof text, "relay x { host = a.example auth = xoauth2 user = %s token_file = %s }", user, path);
    struct config *config = config_of(text);
    struct relays *relays = relays_open(config, NULL, error, sizeof error);
    struct arena arena;
    struct relay_table table;
    assert_non_null(relays);
    assert_true(arena_open(&arena, 16 << 20));
    assert_true(relay_open(&table, &arena, config));
    const struct relay_auth *auth = relay_sign_in(&table, relays, 0);
    assert_in_range(auth->credentials.first.n, RELAY_SECRET_MAX * 4 / 3, RELAY_AUTH_TEXT - sizeof "AUTH XOAUTH2 \r\n");
    arena_drop(&arena);
    relays_close(relays);
    config_free(config);
    unlink(path);
}

/* ---- words ---- */

static struct outcome said(enum stage stage, uint16_t code, const char *status, const char *reply)
{
    struct outcome outcome = {.stage = stage, .happening = HAPPENING_REPLY, .code = code};
    slice_copy(outcome.status, sizeof outcome.status, slice_of(status));
    slice_copy(outcome.reply, sizeof outcome.reply, slice_of(reply));
    return outcome;
}

static void what_refusals_mean(void **state)
{
    static const struct {
        enum stage stage;
        uint16_t code;
        const char *status, *reply;
        enum relay_word word;
    } cases[] = {
        {STAGE_AUTH, 535, "5.7.8", "535 5.7.8 Authentication credentials invalid", RELAY_WORD_STOP},
        {STAGE_AUTH, 535, "", "535 Authentication failed: Bad username / password", RELAY_WORD_STOP},
        {STAGE_AUTH, 534, "5.7.9", "534 5.7.9 Application-specific password required", RELAY_WORD_STOP},
        {STAGE_AUTH, 538, "5.7.11", "538 5.7.11 Encryption required", RELAY_WORD_STOP},
        {STAGE_AUTH, 504, "5.5.4", "504 5.5.4 Unrecognized authentication type", RELAY_WORD_STOP},
        {STAGE_AUTH, 454, "4.7.0", "454 4.7.0 Temporary authentication failure", RELAY_WORD_SLOW},
        {STAGE_AUTH, 451, "", "451 Authentication failed: Maximum credits exceeded", RELAY_WORD_QUOTA},
        {STAGE_AUTH, 421, "4.3.2", "421 4.3.2 shutting down", RELAY_WORD_NONE},
        {STAGE_MAIL, 530, "5.7.57", "530 5.7.57 Client not authenticated to send mail", RELAY_WORD_STOP},
        {STAGE_RCPT, 530, "", "530 Authentication required", RELAY_WORD_STOP},
        {STAGE_BODY, 535, "", "535 not signed in", RELAY_WORD_STOP},
        {STAGE_BODY, 454, "", "454 Throttling failure: Maximum sending rate exceeded.", RELAY_WORD_SLOW},
        {STAGE_BODY, 454, "", "454 Throttling failure: Daily message quota exceeded.", RELAY_WORD_QUOTA},
        {STAGE_MAIL, 432, "4.3.2", "432 4.3.2 Concurrent connections limit exceeded", RELAY_WORD_FEWER},
        {STAGE_MAIL, 421, "", "421 Too many connections from your account", RELAY_WORD_FEWER},
        {STAGE_MAIL, 450, "4.7.0", "450 4.7.0 later", RELAY_WORD_SLOW},
        {STAGE_MAIL, 450, "4.2.1", "450 4.2.1 Peak SMTP relay limit exceeded for customer.", RELAY_WORD_SLOW},
        {STAGE_RCPT, 550, "5.4.5", "550 5.4.5 Daily SMTP relay sending limit exceeded for user.", RELAY_WORD_QUOTA},
        {STAGE_RCPT, 550, "5.7.1", "550 5.7.1 Daily SMTP relay limit exceeded for customer.", RELAY_WORD_QUOTA},
        {STAGE_BODY, 554, "5.2.0", "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
         RELAY_WORD_QUOTA},
        {STAGE_BODY, 550, "5.1.90", "550 5.1.90 you've reached your Daily Limit for recipients", RELAY_WORD_QUOTA},
        /* A recipient's own trouble. */
        {STAGE_RCPT, 550, "5.1.1", "550 5.1.1 no such user", RELAY_WORD_NONE},
        {STAGE_RCPT, 552, "5.2.2", "552 5.2.2 mailbox quota exceeded", RELAY_WORD_NONE},
        {STAGE_RCPT, 452, "4.2.2", "452 4.2.2 over quota", RELAY_WORD_NONE},
        {STAGE_BODY, 554, "", "554 Message rejected: Email address is not verified.", RELAY_WORD_NONE},
        {STAGE_BODY, 451, "4.3.0", "451 4.3.0 later", RELAY_WORD_NONE},
        {STAGE_BODY, 250, "2.0.0", "250 2.0.0 daily limit is far", RELAY_WORD_NONE},
        /* Before we have said who we are. */
        {STAGE_GREETING, 421, "4.7.0", "421 4.7.0 too many connections", RELAY_WORD_NONE},
        {STAGE_RCPT, 454, "4.7.1", "454 4.7.1 <a@b.example>: Relay access denied", RELAY_WORD_NONE},
        {STAGE_RCPT, 450, "4.7.0", "450 4.7.0 <a@b.example>: greylisted", RELAY_WORD_NONE},
        {STAGE_BODY, 451, "4.7.0", "451 4.7.0 not this message, not now", RELAY_WORD_NONE},
        {STAGE_STARTTLS, 454, "4.7.0", "454 4.7.0 TLS not available", RELAY_WORD_NONE},
    };
    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct outcome outcome = said(cases[i].stage, cases[i].code, cases[i].status, cases[i].reply);
        enum relay_word word = relay_word_of(&outcome);
        if (word != cases[i].word)
            fail_msg("%s: %d", cases[i].reply, (int)word);
    }
    struct outcome none = {.stage = STAGE_AUTH, .happening = HAPPENING_NOT_OFFERED};
    assert_int_equal(relay_word_of(&none), RELAY_WORD_STOP);
    struct outcome lost = {.stage = STAGE_AUTH, .happening = HAPPENING_CLOSED};
    assert_int_equal(relay_word_of(&lost), RELAY_WORD_NONE);
    for (int word = RELAY_WORD_BROKEN; word < RELAY_WORD_COUNT; word++)
        assert_non_null(relay_word_text((enum relay_word)word));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_route_that_fits), cmocka_unit_test(without_conditions_everybody),
        cmocka_unit_test(what_auth_says),        cmocka_unit_test(the_longest_secret),
        cmocka_unit_test(what_refusals_mean),
    };
    return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
