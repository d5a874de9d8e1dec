/* The client's table: every state against everything that a peer can do, and what may never come of it. */
#include "proto/smtp/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct run {
    struct client client;
    struct client_envelope envelope;
    unsigned offered, ended, closed;
    bool body_out[CLIENT_SLOTS_MAX];
    struct client_result close, last;
};

static void drain(struct run *run)
{
    struct client_result result;
    enum client_what what;
    while ((what = client_next(&run->client, &result)) == CLIENT_ENDED) {
        assert_true(result.slot < CLIENT_SLOTS_MAX);
        assert_false(result.untouched && result.body_left);
        assert_int_equal(result.body_left, result.stage == STAGE_BODY);
        assert_int_equal(result.reply != NULL, result.happening == HAPPENING_REPLY);
        assert_int_not_equal(result.happening, HAPPENING_BROKEN);
        assert_true(!result.body_left || run->body_out[result.slot]);
        run->body_out[result.slot] = false;
        run->ended++;
        run->last = result;
    }
    if (what == CLIENT_CLOSE) {
        assert_int_equal(run->ended, run->offered);
        run->closed++;
        run->close = result;
    }
}

static void reply(struct run *run, const char *bytes)
{
    static struct reply_parser parser;
    struct reply parsed;
    char room[CLIENT_OUT_MAX];
    struct client_out out = {.p = room, .cap = sizeof room};
    struct slice rest = slice_of(bytes);
    reply_init(&parser);
    assert_int_equal(reply_parse(&parser, &rest, &parsed), REPLY_COMPLETE);
    client_reply(&run->client, &parsed, &out);
    drain(run);
}

/* One letter is one step, so that a way into a state fits on a line. */
static void act(struct run *run, char step)
{
    char room[CLIENT_OUT_MAX];
    struct client_out out = {.p = room, .cap = sizeof room};
    switch (step) {
    case '2':
        reply(run, "250 ok\r\n");
        return;
    case 'P':
        reply(run, "250-mx\r\n250 PIPELINING\r\n");
        return;
    case '3':
        reply(run, "354 go\r\n");
        return;
    case 'x':
        reply(run, "334 VXNlcm5hbWU6\r\n");
        return;
    case 'T':
        reply(run, "250-mx\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 AUTH LOGIN\r\n");
        return;
    case 'K':
        reply(run, "250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
        return;
    case 's':
        client_secured(&run->client, &out);
        break;
    case 'n':
        client_lost(&run->client, HAPPENING_TLS);
        break;
    case '4':
        reply(run, "451 later\r\n");
        return;
    case '5':
        reply(run, "550 no\r\n");
        return;
    case '1':
        reply(run, "421 bye\r\n");
        return;
    case 'L':
        client_lost(&run->client, HAPPENING_CLOSED);
        break;
    case 'o':
        assert_true(client_wants(&run->client));
        (void)client_offer(&run->client, &run->envelope, &out);
        assert_true(out.n > 0);
        run->offered++;
        break;
    case 'b':
        run->body_out[client_body_slot(&run->client)] = true;
        (void)!client_body_written(&run->client, (unsigned)client_body_slot(&run->client), &out);
        break;
    case 'w':
        client_withdraw(&run->client, 0);
        break;
    case 'v':
        client_withdraw(&run->client, 1);
        break;
    case 'z':
        client_withdraw(&run->client, 2);
        break;
    case 'q':
        client_quit(&run->client, &out);
        assert_int_equal(out.n, 6);
        break;
    default:
        fail_msg("no step '%c'", step);
    }
    drain(run);
}

/* Letters ahead of a colon are options. */
static void begin(struct run *run, const char *steps)
{
    struct client_options options = {.ehlo = SLICE("m1.example.com"), .pipelining = true, .across = true};
    *run = (struct run){.envelope = {.from = SLICE("b@s.example"), .to = SLICE("ann@x.example"), .size = 6}};
    for (const char *colon = strchr(steps, ':'); colon && steps <= colon; steps++)
        switch (*steps) {
        case 't':
            options.starttls = true;
            break;
        case 'i':
            options.implicit = options.required = true;
            break;
        case 'a':
            options.credentials = (struct client_credentials){CLIENT_MECHANISM_LOGIN, SLICE("dXNlcg=="),
                                                              SLICE("cGFzcw=="), .in_clear = true};
            break;
        case 'f':
            options.in_flight = 2;
            break;
        case 'p':
            options.proved = true;
            break;
        }
    client_init(&run->client, &options);
    for (; *steps; steps++)
        act(run, *steps);
}

static const char inputs[] = "23x451L";

#define X CLIENT_BROKEN /* garbage: closed, and every slot with it */
#define C CLIENT_CLOSED
static const struct {
    const char *steps;
    enum client_state state;
    enum client_state next[sizeof inputs - 1]; /* in the order of `inputs` */
    enum { NEITHER, WANTS /* a message */, FLIES /* a chunk may follow, its envelope being unanswered */ } more;
} rows[] = {
    {"", CLIENT_GREETING, {CLIENT_EHLO, X, X, C, C, C, C}, NEITHER},
    {"2", CLIENT_EHLO, {CLIENT_READY, X, X, C, CLIENT_HELO, C, C}, NEITHER},
    {"25", CLIENT_HELO, {CLIENT_READY, X, X, C, C, C, C}, NEITHER},
    {"2P", CLIENT_READY, {X, X, X, X, X, C, C}, WANTS},
    {"252", CLIENT_READY, {X, X, X, X, X, C, C}, WANTS},
    /* MAIL, RCPT and DATA at once, and one by one */
    {"2Po", CLIENT_MAIL, {CLIENT_RCPT, X, X, CLIENT_SKIP_RCPT, CLIENT_SKIP_RCPT, C, C}, NEITHER},
    {"22o", CLIENT_MAIL, {CLIENT_RCPT, X, X, CLIENT_READY, CLIENT_READY, C, C}, NEITHER},
    {"2Po2", CLIENT_RCPT, {CLIENT_DATA, X, X, CLIENT_SKIP_DATA, CLIENT_SKIP_DATA, C, C}, NEITHER},
    {"22o2", CLIENT_RCPT, {CLIENT_DATA, X, X, CLIENT_RSET, CLIENT_RSET, C, C}, NEITHER},
    {"2Po22", CLIENT_DATA, {X, CLIENT_GO, X, CLIENT_RSET, CLIENT_RSET, C, C}, NEITHER},
    {"22o22", CLIENT_DATA, {X, CLIENT_GO, X, CLIENT_RSET, CLIENT_RSET, C, C}, NEITHER},
    {"2Po223", CLIENT_GO, {X, X, X, X, X, C, C}, NEITHER},
    /* the slot is over, its replies are not */
    {"2Pow", CLIENT_SKIP_MAIL, {CLIENT_SKIP_RCPT, X, X, CLIENT_SKIP_RCPT, CLIENT_SKIP_RCPT, C, C}, NEITHER},
    {"22ow", CLIENT_SKIP_MAIL, {CLIENT_RSET, X, X, CLIENT_RSET, CLIENT_RSET, C, C}, NEITHER},
    {"2Po5", CLIENT_SKIP_RCPT, {CLIENT_SKIP_DATA, X, X, CLIENT_SKIP_DATA, CLIENT_SKIP_DATA, C, C}, NEITHER},
    {"22o2w", CLIENT_SKIP_RCPT, {CLIENT_RSET, X, X, CLIENT_RSET, CLIENT_RSET, C, C}, NEITHER},
    {"2Po25", CLIENT_SKIP_DATA, {X, CLIENT_ABORT, X, CLIENT_RSET, CLIENT_RSET, C, C}, NEITHER},
    {"2Po52", CLIENT_SKIP_DATA, {X, C, X, CLIENT_RSET, CLIENT_RSET, C, C}, NEITHER},
    {"2Po22w", CLIENT_SKIP_DATA, {X, C, X, CLIENT_RSET, CLIENT_RSET, C, C}, NEITHER},
    {"2Po253", CLIENT_ABORT, {CLIENT_READY, X, X, CLIENT_READY, CLIENT_READY, C, C}, NEITHER},
    /* alone, with an envelope behind, and with one behind that was withdrawn */
    {"2Po223b", CLIENT_BODY, {CLIENT_READY, X, X, CLIENT_READY, CLIENT_READY, C, C}, WANTS},
    {"22o223b", CLIENT_BODY, {CLIENT_READY, X, X, CLIENT_READY, CLIENT_READY, C, C}, NEITHER},
    {"2Po223bo", CLIENT_BODY, {CLIENT_MAIL, X, X, CLIENT_MAIL, CLIENT_MAIL, C, C}, NEITHER},
    {"2Po223bov", CLIENT_BODY, {CLIENT_SKIP_MAIL, X, X, CLIENT_SKIP_MAIL, CLIENT_SKIP_MAIL, C, C}, NEITHER},
    {"2Po255", CLIENT_RSET, {CLIENT_READY, X, X, C, C, C, C}, WANTS},
    {"22o25", CLIENT_RSET, {CLIENT_READY, X, X, C, C, C, C}, NEITHER},
    {"2Po255o", CLIENT_RSET, {CLIENT_MAIL, X, X, C, C, C, C}, NEITHER},
    {"2Po255ow", CLIENT_RSET, {CLIENT_SKIP_MAIL, X, X, C, C, C, C}, NEITHER},
    /* STARTTLS and TLS from the first byte */
    {"t:2T", CLIENT_STARTTLS, {CLIENT_HANDSHAKE, X, X, C, C, C, C}, NEITHER},
    {"t:2T2", CLIENT_HANDSHAKE, {X, X, X, X, X, X, C}, NEITHER},
    {"t:2T2s", CLIENT_EHLO, {CLIENT_READY, X, X, C, CLIENT_HELO, C, C}, NEITHER},
    {"t:2T2sT", CLIENT_READY, {X, X, X, X, X, C, C}, WANTS},
    {"t:2T2n", CLIENT_CLOSED, {C, C, C, C, C, C, C}, NEITHER},
    {"i:", CLIENT_HANDSHAKE, {X, X, X, X, X, X, C}, NEITHER},
    {"i:s", CLIENT_GREETING, {CLIENT_EHLO, X, X, C, C, C, C}, NEITHER},
    /* AUTH LOGIN */
    {"a:2T", CLIENT_AUTH, {CLIENT_READY, X, CLIENT_AUTH_MORE, C, C, C, C}, NEITHER},
    {"a:2Tx", CLIENT_AUTH_MORE, {CLIENT_READY, X, CLIENT_AUTH_LAST, C, C, C, C}, NEITHER},
    {"a:2Txx", CLIENT_AUTH_LAST, {CLIENT_READY, X, X, C, C, C, C}, NEITHER},
    {"a:2Txx2", CLIENT_READY, {X, X, X, X, X, C, C}, WANTS},
    /* the proofs that BDAT needs: "5K" a refused chunk is swallowed, "2K" an accepted one has one reply */
    {"f:2K", CLIENT_TRIAL, {C, X, X, C, CLIENT_TRIAL_END, C, C}, NEITHER},
    {"f:2K5", CLIENT_TRIAL_END, {C, X, X, C, C, C, C}, NEITHER},
    {"f:2K5K", CLIENT_READY, {X, X, X, X, X, C, C}, WANTS},
    {"f:2K5Ko22b", CLIENT_BODY, {CLIENT_TRIAL_END, X, X, CLIENT_READY, CLIENT_READY, C, C}, NEITHER},
    {"f:2K5Ko22b2K", CLIENT_READY, {X, X, X, X, X, C, C}, WANTS},
    /* one chunk, and an envelope that is refused before there is any */
    {"fp:2Ko", CLIENT_MAIL, {CLIENT_RCPT, X, X, CLIENT_SKIP_RCPT, CLIENT_SKIP_RCPT, C, C}, NEITHER},
    {"fp:2Ko2", CLIENT_RCPT, {CLIENT_GO, X, X, CLIENT_READY, CLIENT_READY, C, C}, NEITHER},
    {"fp:2Ko22", CLIENT_GO, {X, X, X, X, X, C, C}, NEITHER},
    {"fp:2Ko22w", CLIENT_READY, {X, X, X, X, X, C, C}, WANTS},
    {"fp:2Ko5", CLIENT_SKIP_RCPT, {CLIENT_READY, X, X, CLIENT_READY, CLIENT_READY, C, C}, NEITHER},
    {"fp:2Ko55o", CLIENT_RSET, {CLIENT_MAIL, X, X, C, C, C, C}, NEITHER},
    {"fp:2Kow", CLIENT_SKIP_MAIL, {CLIENT_SKIP_RCPT, X, X, CLIENT_SKIP_RCPT, CLIENT_SKIP_RCPT, C, C}, NEITHER},
    {"fp:2Ko22b", CLIENT_BODY, {CLIENT_READY, X, X, CLIENT_READY, CLIENT_READY, C, C}, WANTS},
    {"fp:2Ko22bo", CLIENT_BODY, {CLIENT_RSET, X, X, CLIENT_RSET, CLIENT_RSET, C, C}, NEITHER},
    {"fp:2Ko22bov", CLIENT_BODY, {CLIENT_RSET, X, X, CLIENT_RSET, CLIENT_RSET, C, C}, NEITHER},
    {"fp:2Ko22bo2", CLIENT_RSET, {CLIENT_MAIL, X, X, C, C, C, C}, NEITHER},
    /* "o22bo2222b": two groups were answered as they should be, the second chunk is out; what follows flies */
    {"fp:2Ko22bo2222bob", CLIENT_BODY, {CLIENT_RSET, X, X, CLIENT_RSET, CLIENT_RSET, C, C}, WANTS},
    {"fp:2Ko22bo2222bobo", CLIENT_BODY, {CLIENT_RSET, X, X, CLIENT_RSET, CLIENT_RSET, C, C}, NEITHER},
    {"fp:2Ko22bo2222bob2", CLIENT_RSET, {CLIENT_MAIL, X, X, X, X, C, C}, WANTS},
    {"fp:2Ko22bo2222bob22", CLIENT_MAIL, {CLIENT_RCPT, X, X, CLIENT_VOID_RCPT, CLIENT_VOID_RCPT, C, C}, WANTS},
    {"fp:2Ko22bo2222bob222", CLIENT_RCPT, {CLIENT_BODY, X, X, CLIENT_SKIP_CHUNK, CLIENT_SKIP_CHUNK, C, C}, WANTS},
    {"fp:2Ko22bo2222bob225",
     CLIENT_VOID_RCPT,
     {CLIENT_VOID_CHUNK, X, X, CLIENT_VOID_CHUNK, CLIENT_VOID_CHUNK, C, C},
     WANTS},
    {"fp:2Ko22bo2222bob2252", CLIENT_VOID_CHUNK, {CLIENT_READY, X, X, CLIENT_READY, CLIENT_READY, C, C}, WANTS},
    {"fp:2Ko22bo2222bob2252o", CLIENT_VOID_CHUNK, {CLIENT_RSET, X, X, CLIENT_RSET, CLIENT_RSET, C, C}, FLIES},
    {"fp:2Ko22bo2222bob2225", CLIENT_SKIP_CHUNK, {CLIENT_READY, X, X, CLIENT_READY, CLIENT_READY, C, C}, WANTS},
    {"fp:2Ko22bo2222bob2225o", CLIENT_SKIP_CHUNK, {CLIENT_RSET, X, X, CLIENT_RSET, CLIENT_RSET, C, C}, FLIES},
    {"2Pq", CLIENT_QUIT, {C, X, X, C, C, C, C}, NEITHER},
    {"L", CLIENT_CLOSED, {C, C, C, C, C, C, C}, NEITHER},
};
#undef X
#undef C

static void test_every_state_and_input(void **state)
{
    (void)state;
    bool reached[CLIENT_STATE_COUNT] = {false};
    for (size_t i = 0; i < countof(rows); i++)
        for (size_t k = 0; k < sizeof inputs - 1; k++) {
            struct run run;
            begin(&run, rows[i].steps);
            assert_int_equal(run.client.state, rows[i].state);
            if (client_wants(&run.client) != (rows[i].more == WANTS))
                fail_msg("'%s' wants %d", rows[i].steps, client_wants(&run.client));
            assert_int_equal(client_body_slot(&run.client) >= 0, rows[i].state == CLIENT_GO || rows[i].more == FLIES);
            reached[rows[i].state] = true;

            act(&run, inputs[k]);
            enum client_state next = rows[i].next[k];
            if (next == CLIENT_BROKEN) {
                assert_int_equal(run.close.happening, HAPPENING_GARBAGE);
                next = CLIENT_CLOSED;
            }
            if (run.client.state != next)
                fail_msg("'%s' and then '%c' led to %d", rows[i].steps, inputs[k], run.client.state);
            assert_int_equal(run.closed, next == CLIENT_CLOSED);

            act(&run, 'L'); /* whatever is open ends now, and nothing ends twice */
            act(&run, '2');
            assert_int_equal(run.ended, run.offered);
            assert_int_equal(run.closed, 1);
        }
    for (unsigned i = CLIENT_GREETING; i < CLIENT_STATE_COUNT; i++)
        assert_true(reached[i]);
}

/* What is waited for, and for how long, is defined in every state; idle states wait for nothing. */
static void test_waits(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(rows); i++) {
        struct run run;
        begin(&run, rows[i].steps);
        bool idle = rows[i].state == CLIENT_READY || rows[i].state == CLIENT_GO || rows[i].state == CLIENT_CLOSED;
        assert_int_equal(client_waits_for(&run.client) == CLIENT_WAIT_NONE, idle);
    }
}

/* However the connection is lost: a body that was out is in doubt, nothing else is. */
static void test_losses(void **state)
{
    (void)state;
    static const enum happening losses[] = {HAPPENING_CLOSED, HAPPENING_RESET, HAPPENING_TIMEOUT, HAPPENING_GARBAGE};
    for (size_t i = 0; i < countof(rows); i++)
        for (size_t k = 0; k < countof(losses); k++) {
            struct run run;
            begin(&run, rows[i].steps);
            unsigned before = run.ended;
            client_lost(&run.client, losses[k]);
            struct client_result result;
            enum client_what what;
            while ((what = client_next(&run.client, &result)) == CLIENT_ENDED) {
                before++;
                if (result.happening ==
                    HAPPENING_REPLY) { /* its MAIL was refused; only the answer to its chunk is owed */
                    assert_int_equal(result.stage, STAGE_MAIL);
                    assert_true(rows[i].state == CLIENT_VOID_RCPT || rows[i].state == CLIENT_VOID_CHUNK);
                    continue;
                }
                assert_int_equal(result.happening, losses[k]);
                assert_int_equal(result.body_left, run.body_out[result.slot]);
                if (losses[k] == HAPPENING_CLOSED || losses[k] == HAPPENING_RESET)
                    assert_int_equal(result.untouched, !result.body_left);
            }
            assert_int_equal(what, rows[i].state == CLIENT_CLOSED ? CLIENT_NOTHING : CLIENT_CLOSE);
            assert_int_equal(before, run.offered);
        }
}

/* The longest that a call can say fits into CLIENT_OUT_MAX. */
static void test_room(void **state)
{
    (void)state;
    char address[LIMIT_ADDRESS], room[CLIENT_OUT_MAX];
    memset(address, 'a', sizeof address);
    struct run run;
    begin(&run, "2");
    reply(&run, "250-mx\r\n250-PIPELINING\r\n250-SIZE\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n");
    run.envelope = (struct client_envelope){.from = {address, sizeof address},
                                            .to = {address, sizeof address},
                                            .size = UINT64_MAX,
                                            .eight_bit = true,
                                            .utf8 = true};
    struct client_out out = {.p = room, .cap = sizeof room};
    assert_int_equal(client_offer(&run.client, &run.envelope, &out), 0);
    run.offered++;
    static const char end[] = ">\r\nDATA\r\n";
    assert_memory_equal(room + out.n - (sizeof end - 1), end, sizeof end - 1);
    act(&run, 'L');
}

/* What has been told must be taken before more is said: the slot's number is free only then. */
static void test_results_first(void **state)
{
    (void)state;
    char room[CLIENT_OUT_MAX];
    struct run run;
    begin(&run, "2");
    reply(&run, "250-mx\r\n250 SIZE 10\r\n");
    run.envelope.size = 11;
    struct client_out out = {.p = room, .cap = sizeof room};
    assert_int_equal(client_offer(&run.client, &run.envelope, &out), 0);
    run.offered++;
    assert_int_equal(out.n, 0);
    assert_false(client_wants(&run.client));
    struct client_result result;
    assert_int_equal(client_next(&run.client, &result), CLIENT_ENDED);
    assert_int_equal(result.happening, HAPPENING_SIZE);
    assert_int_equal(client_next(&run.client, &result), CLIENT_NOTHING);
    assert_true(client_wants(&run.client));
}

/* A server that answers what has not been said yet gets nothing by it: above all it is not given one secret behind the
 * other, nor a buffer that overflows. Only 421 may come at any time. */
static void test_answers_ahead(void **state)
{
    static const struct {
        enum client_mechanism mechanism;
        const char *bytes;
        enum happening happening;
    } ahead[] = {
        {CLIENT_MECHANISM_PLAIN, "220 mx\r\n250 mx\r\n", HAPPENING_GARBAGE},
        {CLIENT_MECHANISM_PLAIN, "250-mx\r\n250 AUTH PLAIN\r\n334 \r\n", HAPPENING_GARBAGE},
        {CLIENT_MECHANISM_XOAUTH2, "250-mx\r\n250 AUTH XOAUTH2\r\n334 \r\n", HAPPENING_GARBAGE},
        {CLIENT_MECHANISM_LOGIN, "250-mx\r\n250 AUTH LOGIN\r\n334 VXNlcm5hbWU6\r\n", HAPPENING_GARBAGE},
        {CLIENT_MECHANISM_PLAIN, "250-mx\r\n250 AUTH PLAIN\r\n235 ok\r\n", HAPPENING_GARBAGE},
        {CLIENT_MECHANISM_PLAIN, "500 what?\r\n250 mx\r\n", HAPPENING_GARBAGE},
        {CLIENT_MECHANISM_PLAIN, "250-mx\r\n250 AUTH PLAIN\r\n421 bye\r\n", HAPPENING_REPLY},
    };
    (void)state;
    for (size_t i = 0; i < countof(ahead); i++) {
        struct client_options options = {
            .ehlo = SLICE("client.example"),
            .credentials = {ahead[i].mechanism, SLICE("Zmlyc3Q="), SLICE("c2Vjb25k"), true}};
        struct client client;
        struct reply_parser parser;
        struct reply parsed;
        struct client_result result;
        char room[2 * CLIENT_OUT_MAX];
        struct client_out out = {.p = room, .cap = sizeof room};
        client_init(&client, &options);
        reply_init(&parser);
        struct slice rest = slice_of("220 mx\r\n");
        if (memcmp(ahead[i].bytes, "220", 3) != 0) {
            assert_int_equal(reply_parse(&parser, &rest, &parsed), REPLY_COMPLETE);
            client_reply(&client, &parsed, &out);
            out.n = 0; /* it has left */
        }
        rest = slice_of(ahead[i].bytes);
        enum client_what what = CLIENT_NOTHING;
        for (unsigned replies = 0; replies < 2; replies++) {
            assert_int_equal(what, CLIENT_NOTHING);
            assert_int_equal(reply_parse(&parser, &rest, &parsed), REPLY_COMPLETE);
            client_reply(&client, &parsed, &out);
            what = client_next(&client, &result);
        }
        assert_int_equal(what, CLIENT_CLOSE);
        assert_int_equal(result.happening, ahead[i].happening);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_state_and_input),
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_results_first),
        cmocka_unit_test(test_answers_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
