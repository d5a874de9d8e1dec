/* Encrypted streams and servers that behave. */
#include "talk.h"

#include <stdlib.h>

static char *random_new(struct house *house, size_t n)
{
    char *bytes = test_malloc(n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)house_random(house);
    return bytes;
}

static void a_stream_talks_in_secret(void **state)
{
    struct house *house = *state;
    struct talk talk;
    struct tls_demand demand = demand_pkix();
    talk_open(&talk, house, &demand);
    if (!talk.result.ok)
        fail_msg("%s", talk.result.reason);
    assert_false(talk.result.resumed);
    assert_string_equal(talk.result.version, "TLSv1.3");
    assert_string_equal(talk.result.cipher, "TLS_AES_256_GCM_SHA384");
    assert_int_equal(talk.stream.state, STREAM_OPEN);
    assert_string_equal(SSL_get_servername(talk_served(&talk)->peer.ssl, TLSEXT_NAMETYPE_host_name), "mx.example");
    talk_say(&talk, "EHLO\r\n", 6);
    talk_hear(&talk, 6);
    assert_memory_equal(talk.got, "EHLO\r\n", 6);
    assert_int_equal(tls_counts(house->tls).connections, 1);
    talk_close(&talk);
    assert_int_equal(tls_counts(house->tls).connections, 0);
    /* close_notify has been said (RFC 8446 §6.1). */
    house_until(house, served_is_left, talk_served(&talk));
    assert_true(talk_served(&talk)->peer.said_goodbye);
}

static void implicit_tls_begins_at_once(void **state)
{
    struct house *house = *state;
    struct talk talk = {.at_once = true, .say_in_secured = SLICE("EHLO\r\n")};
    struct tls_demand demand = demand_any();
    house_serve(house, &(struct server_config){.tickets = 1},
                &(struct manners){.echo = true, .greeting = SLICE("220 mx.example\r\n")});
    talk_begin(&talk, house, &demand);
    house_until(house, talk_is_secured, &talk);
    talk_hear(&talk, 22);
    assert_memory_equal(talk.got, "220 mx.example\r\nEHLO\r\n", 22);
    assert_int_equal(talk.sent, 1);
    assert_int_equal(talk.send_result, 6);
    talk_close(&talk);
}

static void a_closed_session_is_resumed(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct house *house = *state;
    for (size_t i = 0; i < countof(versions); i++) {
        struct tls_demand demand = demand_pkix();
        demand.key = i;
        house_serve(house, &(struct server_config){.tickets = 2, .most = versions[i]}, &(struct manners){.echo = true});
        for (unsigned visit = 0; visit < 3; visit++) {
            struct talk talk;
            talk_open(&talk, house, &demand);
            assert_true(talk.result.ok);
            assert_int_equal(talk.result.resumed, visit > 0);
            assert_string_equal(talk.result.version, i ? "TLSv1.3" : "TLSv1.2");
            talk_say(&talk, "x", 1);
            talk_hear(&talk, 1);
            talk_close(&talk);
        }
    }
    assert_int_equal(tls_counts(house->tls).full, 2);
    assert_int_equal(tls_counts(house->tls).resumed, 4);
}

/* An end without close_notify, of either side, is no reason to forget a session. */
static void a_cut_session_is_resumed(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_any();
    for (unsigned visit = 0; visit < 4; visit++) {
        struct talk talk;
        talk_open(&talk, house, &demand);
        assert_true(talk.result.ok);
        assert_int_equal(talk.result.resumed, visit > 0);
        talk_say(&talk, "x", 1);
        talk_hear(&talk, 1);
        struct served *served = talk_served(&talk);
        io_cancel(house->io, &served->recv.op);
        house_until(house, talk_is_ended, &talk);
        assert_int_equal(talk.end_result, 0);
        talk_close(&talk);
    }
}

static void the_servers_farewell_is_an_end(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_any();
    struct talk talk;
    house_serve(house, &(struct server_config){.tickets = 1}, &(struct manners){0});
    talk_open(&talk, house, &demand);
    struct served *served = talk_served(&talk);
    SSL_shutdown(served->peer.ssl);
    talk_say(&talk, "x", 1); /* makes it send what it has: close_notify first */
    house_until(house, talk_is_ended, &talk);
    assert_int_equal(talk.end_result, 0);
    assert_int_equal(talk.stream.state, STREAM_SPENT);
    /* What is sent now arrives or not; that it is over is said in any case. */
    stream_send(&talk.stream, &SLICE("late"), 1);
    house_until(house, talk_has_sent, &talk);
    assert_int_equal(talk.ended, 1);
    talk_close(&talk);
}

/* What is sent in parts of all sizes arrives as it was, and comes back so, however the bytes are split. */
static void exchange(struct house *house, size_t n, unsigned piece_most, int version)
{
    struct tls_demand demand = demand_any();
    struct talk talk;
    char *bytes = random_new(house, n);
    demand.key = house_random(house);
    house_serve(house, &(struct server_config){.tickets = 2, .most = version},
                &(struct manners){.echo = true, .piece_most = piece_most});
    talk_open(&talk, house, &demand);
    assert_true(talk.result.ok);
    for (size_t at = 0; at < n;) {
        struct slice parts[IO_SEND_PARTS];
        unsigned count = 1 + house_random(house) % IO_SEND_PARTS, before = talk.sent;
        size_t most = 1 + house_random(house) % (n / 2), all = 0;
        for (unsigned i = 0; i < count; i++) {
            size_t part = house_random(house) % 3 ? house_random(house) % 300 : house_random(house) % (most + 1);
            part = part < n - at ? part : n - at;
            parts[i] = (struct slice){bytes + at, part};
            at += part;
            all += part;
        }
        stream_send(&talk.stream, parts, count);
        house_until(house, talk_has_sent, &talk);
        assert_int_equal(talk.sent, before + 1);
        assert_int_equal(talk.send_result, all);
        assert_true(tls_counts(house->tls).buffers <= 1); /* perhaps an answer of its own is waiting */
    }
    talk_hear(&talk, n);
    assert_int_equal(talk_served(&talk)->peer.got_n, n);
    assert_memory_equal(talk_served(&talk)->peer.got, bytes, n);
    assert_int_equal(talk.got_n, n);
    assert_memory_equal(talk.got, bytes, n);
    talk_close(&talk);
    test_free(bytes);
}

static void short_and_long_sends_arrive(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < countof(versions); i++) {
        exchange(*state, 10, 3, versions[i]);
        exchange(*state, 20 * 1024, 1000, versions[i]);
        exchange(*state, 20 * 1024, 0, versions[i]);
        exchange(*state, 300 * 1024, 5000, versions[i]);
    }
    exchange(*state, 5 * 1024 * 1024, 0, 0);
}

static void a_block_cipher_does_as_well(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_any();
    struct talk talk;
    char *bytes = random_new(house, 100000);
    house_serve(house,
                &(struct server_config){
                    .tickets = 2, .most = TLS1_2_VERSION, .ciphers = "ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0"},
                &(struct manners){.echo = true});
    talk_open(&talk, house, &demand);
    assert_string_equal(talk.result.cipher, "ECDHE-ECDSA-AES256-SHA384");
    talk_say(&talk, bytes, 100000);
    talk_hear(&talk, 100000);
    assert_memory_equal(talk.got, bytes, 100000);
    talk_close(&talk);
    test_free(bytes);
}

static bool buffers_are_back(void *context)
{
    const struct house *house = context;
    return tls_counts(house->tls).buffers == 0;
}

static void an_idle_stream_holds_no_buffer(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_any();
    struct talk talks[20];
    for (size_t i = 0; i < countof(talks); i++) {
        talk_open(&talks[i], house, &demand);
        talk_say(&talks[i], "hello", 5);
        talk_hear(&talks[i], 5);
    }
    house_until(house, buffers_are_back, house);
    assert_int_equal(tls_counts(house->tls).connections, countof(talks));
    for (size_t i = 0; i < countof(talks); i++)
        talk_close(&talks[i]);
}

static void keys_are_updated(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_any();
    struct talk talk;
    talk_open(&talk, house, &demand);
    for (unsigned i = 1; i <= 50; i++) {
        SSL_key_update(talk_served(&talk)->peer.ssl, i % 2 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
        talk_say(&talk, "hello", 5);
        talk_hear(&talk, 5 * i);
    }
    assert_int_equal(talk_served(&talk)->peer.got_n, 250);
    talk_close(&talk);
}

/* ---- closing ---- */

static void closing_says_nothing_but_closed(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_any();
    char *bytes = random_new(house, 1 << 20);
    struct talk talk = {0};
    talk_begin(&talk, house, &demand); /* within the handshake */
    talk_close(&talk);
    assert_int_equal(talk.secured, 0);

    talk = (struct talk){.close_in_secured = true};
    talk_begin(&talk, house, &demand);
    house_until(house, talk_is_closed, &talk);
    assert_int_equal(talk.secured, 1);

    talk = (struct talk){.close_in_secured = true, .say_in_secured = SLICE("x")};
    talk_begin(&talk, house, &demand);
    house_until(house, talk_is_closed, &talk);
    assert_int_equal(talk.sent, 0);

    talk_open(&talk, house, &demand); /* with a send in flight */
    stream_send(&talk.stream, &(struct slice){bytes, 1 << 20}, 1);
    talk_close(&talk);
    assert_int_equal(talk.sent, 0);

    talk_open(&talk, house, &demand); /* within bytes, with more to come */
    talk.close_in_bytes = true;
    talk_say(&talk, bytes, 100000);
    house_until(house, talk_is_closed, &talk);
    assert_true(talk.got_n < 100000);
    assert_int_equal(talk.ended, 0);
    talk_close(&talk);
    test_free(bytes);
}

/* A peer that takes nothing cannot keep a stream from closing for long. */
static void closing_does_not_wait(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_any();
    struct talk talk = {0};
    house_serve(house, &(struct server_config){0}, &(struct manners){.slow = true});
    talk_begin(&talk, house, &demand);
    nsec before = io_now(house->io);
    house_wait(house, 10 * NSEC_PER_MS);
    talk_close(&talk);
    assert_true(io_now(house->io) - before < 5 * NSEC_PER_S);
    assert_int_equal(talk.secured, 0);
}

/* In a crash nobody closes anything; all of it goes with the io, tls and the arena. */
static void a_crash_in_the_middle(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_any();
    char *bytes = random_new(house, 1 << 20);
    struct talk talks[3] = {0};
    talk_open(&talks[0], house, &demand);
    talk_open(&talks[1], house, &demand);
    stream_send(&talks[1].stream, &(struct slice){bytes, 1 << 20}, 1);
    talk_begin(&talks[2], house, &demand);
    backend_restart(house->backend);
    house->io = backend_io(house->backend);
    house_trust(house, NULL);
    for (size_t i = 0; i < countof(talks); i++)
        free(talks[i].got);
    test_free(bytes);
}

static void a_demand_that_cannot_be_met_is_told_later(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_pkix();
    struct talk talk;
    house_trust(house, "/nowhere/ca.pem");
    talk_open(&talk, house, &demand);
    assert_false(talk.result.ok);
    assert_true(talk.result.local);
    assert_false(talk.result.certificate);
    assert_string_equal(talk.result.reason, "the file of trusted certificates cannot be read");
    assert_int_equal(talk.stream.state, STREAM_SPENT);
    talk_close(&talk);
    demand = demand_any(); /* needs no authority */
    talk_open(&talk, house, &demand);
    assert_true(talk.result.ok);
    talk_close(&talk);
}

const struct CMUnitTest tls_stream_tests[TLS_TESTS_MAX] = {
    cmocka_unit_test(a_stream_talks_in_secret),
    cmocka_unit_test(implicit_tls_begins_at_once),
    cmocka_unit_test(a_closed_session_is_resumed),
    cmocka_unit_test(a_cut_session_is_resumed),
    cmocka_unit_test(the_servers_farewell_is_an_end),
    cmocka_unit_test(short_and_long_sends_arrive),
    cmocka_unit_test(a_block_cipher_does_as_well),
    cmocka_unit_test(an_idle_stream_holds_no_buffer),
    cmocka_unit_test(keys_are_updated),
    cmocka_unit_test(closing_says_nothing_but_closed),
    cmocka_unit_test(closing_does_not_wait),
    cmocka_unit_test(a_crash_in_the_middle),
    cmocka_unit_test(a_demand_that_cannot_be_met_is_told_later),
};
