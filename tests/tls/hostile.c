/* Servers that are broken, or mean harm: each ends with one clear word, and nothing is left behind. */
#include "talk.h"

#include <errno.h>
#include <stdlib.h>

/* A handshake with such a server fails, and this is why. */
static void fails(struct house *house, const struct server_config *server, const struct manners *manners,
                  const char *reason)
{
    struct tls_demand demand = demand_any();
    struct talk talk;
    house_serve(house, server, manners);
    talk_open(&talk, house, &demand);
    assert_false(talk.result.ok);
    assert_false(talk.result.certificate || talk.result.local);
    if (strcmp(talk.result.reason, reason) != 0)
        fail_msg("it says \"%s\", not \"%s\"", talk.result.reason, reason);
    assert_int_equal(talk.stream.state, STREAM_SPENT);
    house_wait(house, 10 * NSEC_PER_MS); /* whatever else comes is not heard */
    talk_close(&talk);
    assert_int_equal(talk.ended, 0);
    assert_int_equal(tls_counts(house->tls).sessions, 0);
}

static void sends(struct house *house, struct slice raw, unsigned times, bool close, const char *reason)
{
    fails(house, &(struct server_config){0},
          &(struct manners){.raw = raw, .raw_times = times, .deaf = true, .close_after_raw = close}, reason);
}

static void no_tls_at_all(void **state)
{
    struct house *house = *state;
    sends(house, SLICE("220 mx.example ESMTP\r\n"), 1, false, "handshake: wrong version number");
    sends(house, SLICE("HTTP/1.1 400 Bad Request\r\n\r\n"), 1, true, "handshake: wrong version number");
    sends(house, SLICE("\0\0\0\0\0\0\0\0"), 1, true, "handshake: wrong version number");
    sends(house, SLICE("ok"), 1, true, "handshake: the peer closed");
}

static void truncated_records(void **state)
{
    struct house *house = *state;
    sends(house, SLICE("\x16\x03\x03\x40\x00\x02"), 1, true, "handshake: the peer closed");
    sends(house, SLICE("\x16\x03\x03\x50\x00\x02"), 1, false, "handshake: packet length too long");
    sends(house, SLICE("\x16\x03\x03\x00\x00"), 40, false, "handshake: record too small");
}

/* Closed, or reset, after each byte of the server's first flight and some more. */
static void closed_anywhere(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_any();
    unsigned failed = 0, well = 0;
    for (size_t cut = 1; cut < 3000; cut += 1 + house_random(house) % 170) {
        struct talk talk;
        house_serve(house, &(struct server_config){.tickets = 2},
                    &(struct manners){.cut_after = cut, .reset = cut % 2, .piece_most = 300});
        if (house->served_count == SERVED_MOST)
            break;
        demand.key = cut;
        talk_open(&talk, house, &demand);
        if (talk.result.ok) {
            well++;
            house_until(house, talk_is_ended, &talk);
        } else {
            failed++;
            assert_true(strcmp(talk.result.reason, "handshake: the peer closed") == 0 ||
                        strcmp(talk.result.reason, "handshake: the connection broke: Connection reset by peer") == 0);
            assert_false(talk.result.certificate || talk.result.local);
        }
        talk_close(&talk);
        if (well == 3)
            break;
    }
    assert_true(failed >= 3 && well >= 1);
}

static void versions_of_yore(void **state)
{
    struct house *house = *state;
    static const char hello[] = "\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x01"
                                "\x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04\x05\x06\x07\x08"
                                "\x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04\x05\x06\x07\x08"
                                "\x00\xc0\x14\x00";
    fails(house, &(struct server_config){.least = TLS1_VERSION, .most = TLS1_1_VERSION}, &(struct manners){0},
          "handshake: tlsv1 alert protocol version");
    /* One that insists. */
    sends(house, (struct slice){hello, sizeof hello - 1}, 1, false, "handshake: unsupported protocol");
}

static void handshakes_without_end(void **state)
{
    struct house *house = *state;
    /* HelloRequests may come at any time and are to be ignored within a handshake (RFC 5246 §7.4.1.1). */
    sends(house, SLICE("\x16\x03\x03\x00\x04\x00\x00\x00\x00"), 1000000, false, "handshake: it has no end");
    /* A message that says it is 16 MiB long. */
    sends(house, SLICE("\x16\x03\x03\x00\x08\x02\xff\xff\xff\x03\x03\x00\x00"), 1000, false,
          "handshake: excessive message size");
}

static void storms_of_alerts(void **state)
{
    struct house *house = *state;
    sends(house, SLICE("\x15\x03\x03\x00\x02\x01\x5a"), 100000, false, "handshake: too many warn alerts");
    sends(house, SLICE("\x15\x03\x03\x00\x02\x02\x28"), 1, false, "handshake: sslv3 alert handshake failure");
    sends(house, SLICE("\x15\x03\x03\x00\x02\x02\x50"), 1000, true, "handshake: tlsv1 alert internal error");
}

static void chains_without_end(void **state)
{
    struct house *house = *state;
    fails(house, &(struct server_config){.chain = 300}, &(struct manners){0}, "handshake: excessive message size");
}

static void renegotiation_is_refused(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_any();
    struct talk talk;
    house_serve(house, &(struct server_config){.most = TLS1_2_VERSION}, &(struct manners){.echo = true});
    talk_open(&talk, house, &demand);
    SSL *ssl = talk_served(&talk)->peer.ssl;
    uint64_t keys = 0, same = 0;
    assert_true(SSL_get_finished(ssl, &keys, sizeof keys) > 0);
    SSL_renegotiate(ssl);
    SSL_do_handshake(ssl);
    talk_say(&talk, "hello", 5);
    /* It goes on with the keys that it has, or not at all. */
    house_wait(house, 50 * NSEC_PER_MS);
    assert_true(SSL_get_finished(ssl, &same, sizeof same) > 0);
    assert_int_equal(keys, same);
    assert_int_equal(tls_counts(house->tls).full, 1);
    talk_close(&talk);
}

/* Bytes in the clear amid an encrypted connection, as in CVE-2011-0411, and records that somebody has touched. */
static void injected(struct house *house, struct slice bytes, int version)
{
    struct tls_demand demand = demand_any();
    struct talk talk;
    demand.key = house_random(house);
    house_serve(house, &(struct server_config){.most = version}, &(struct manners){0});
    talk_open(&talk, house, &demand);
    assert_true(talk.result.ok);
    struct served *served = talk_served(&talk);
    assert_int_equal(BIO_write(served->peer.out, bytes.p, (int)bytes.n), bytes.n);
    talk_say(&talk, "x", 1); /* so that it sends what it has */
    house_until(house, talk_is_ended, &talk);
    assert_int_equal(talk.end_result, -EPROTO);
    assert_int_equal(talk.got_n, 0);
    assert_int_equal(talk.stream.state, STREAM_SPENT);
    talk_close(&talk);
}

static void injections_end_the_connection(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < countof(versions); i++) {
        injected(*state, SLICE("250 injected\r\n"), versions[i]);
        injected(*state,
                 SLICE("\x17\x03\x03\x00\x20"
                       "01234567890123456789012345678901"),
                 versions[i]);
        injected(*state, SLICE("\x15\x03\x03\x00\x02\x02\x28"), versions[i]);
    }
}

/* Records without content for ever: tickets, in this case. */
static void tickets_without_end(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_any();
    struct talk talk;
    house_serve(house, &(struct server_config){.tickets = 1}, &(struct manners){0});
    talk_open(&talk, house, &demand);
    struct peer *peer = &talk_served(&talk)->peer;
    for (unsigned i = 0; i < 3000; i++) {
        assert_int_equal(SSL_new_session_ticket(peer->ssl), 1);
        assert_int_equal(SSL_do_handshake(peer->ssl), 1);
    }
    assert_true(peer_pending(peer) > TLS_BARREN_BYTES);
    talk_say(&talk, "x", 1);
    house_until(house, talk_is_ended, &talk);
    assert_int_equal(talk.end_result, -EPROTO);
    assert_int_equal(tls_counts(house->tls).sessions, 1);
    talk_close(&talk);
}

/* A server that goes away while much is being sent to it. */
static void gone_in_the_middle_of_a_send(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_any();
    struct talk talk;
    char *much = test_calloc(1, 8 << 20);
    house_serve(house, &(struct server_config){0}, &(struct manners){.reset = true});
    talk_open(&talk, house, &demand);
    stream_send(&talk.stream, &(struct slice){much, 8 << 20}, 1);
    io_cancel(house->io, &talk_served(&talk)->recv.op);
    house_until(house, talk_is_ended, &talk);
    /* The end alone is told, unless, in the simulation, all of it was on its way before the reset was. */
    assert_true(talk.sent == 0 || talk.send_result == 8 << 20);
    talk_close(&talk);
    test_free(much);
}

/* Many at once, cut off and closed at any moment: whatever happens, each is told in the order that stream.h gives, and
 * nothing is left. What talk.c checks in its callbacks is the test. */
static void a_bad_day(void **state)
{
    enum { TALKS = SERVED_MOST };
    struct house *house = *state;
    struct tls_demand demand = demand_any();
    struct talk *talks = test_calloc(TALKS, sizeof *talks);
    char *much = test_calloc(1, 1 << 18);
    unsigned well = 0, heard = 0;
    house_serve(
        house, &(struct server_config){.tickets = 2},
        &(struct manners){.echo = true, .piece_most = 3000, .cut_after = 200000, .cut_before = true, .reset = true});
    for (unsigned i = 0; i < TALKS; i++) {
        demand.key = i % 5;
        talks[i].close_in_secured = house_random(house) % 8 == 0;
        talks[i].close_in_bytes = house_random(house) % 8 == 0;
        talk_begin(&talks[i], house, &demand);
        for (unsigned j = 0; j <= i; j++) {
            struct talk *talk = &talks[j];
            bool open = talk->stream.state == STREAM_OPEN && !stream_sending(&talk->stream);
            if (open && house_random(house) % 2)
                stream_send(&talk->stream, &(struct slice){much, 1 + house_random(house) % (1 << 18)}, 1);
            else if (house_random(house) % 64 == 0)
                stream_close(&talk->stream);
        }
        house_wait(house, (nsec)(house_random(house) % 3) * NSEC_PER_MS / 2);
    }
    for (unsigned i = 0; i < TALKS; i++) {
        well += talks[i].secured && talks[i].result.ok;
        heard += talks[i].got_n > 0;
        stream_close(&talks[i].stream);
        house_until(house, talk_is_closed, &talks[i]);
        free(talks[i].got);
    }
    assert_true(well > TALKS / 8 && well < TALKS);
    assert_true(heard > 0);
    test_free(much);
    test_free(talks);
}

const struct CMUnitTest tls_hostile_tests[TLS_TESTS_MAX] = {
    cmocka_unit_test(no_tls_at_all),
    cmocka_unit_test(truncated_records),
    cmocka_unit_test(closed_anywhere),
    cmocka_unit_test(versions_of_yore),
    cmocka_unit_test(handshakes_without_end),
    cmocka_unit_test(storms_of_alerts),
    cmocka_unit_test(chains_without_end),
    cmocka_unit_test(renegotiation_is_refused),
    cmocka_unit_test(injections_end_the_connection),
    cmocka_unit_test(tickets_without_end),
    cmocka_unit_test(gone_in_the_middle_of_a_send),
    cmocka_unit_test(a_bad_day),
};
