/* stream.c over whichever backend is linked: it opens, talks, ends and closes, and says each once. */
#include "contract.h"

#include "net/stream.h"

struct talk {
    struct stage *stage;
    struct stream stream;
    unsigned connected, sent, ended, closed;
    int connect_result, send_result, end_result;
    uint64_t received, wanted;
    bool close_in_bytes, close_in_connected, again_in_closed;
    struct io_address to;
};

static struct talk *talk_of(struct stream *stream) { return container_of(stream, struct talk, stream); }

static void on_connected(struct stream *stream, int result)
{
    struct talk *talk = talk_of(stream);
    stage_enter(talk->stage);
    talk->connected++;
    talk->connect_result = result;
    if (talk->close_in_connected)
        stream_close(stream);
    stage_leave(talk->stage);
}

static void on_bytes(struct stream *stream, struct slice bytes)
{
    struct talk *talk = talk_of(stream);
    stage_enter(talk->stage);
    assert_int_equal(stream->state, STREAM_OPEN);
    for (size_t i = 0; i < bytes.n; i++)
        assert_int_equal(bytes.p[i], pattern_at(talk->received + i));
    talk->received += bytes.n;
    if (talk->close_in_bytes)
        stream_close(stream);
    stage_leave(talk->stage);
}

static void on_sent(struct stream *stream, int result)
{
    struct talk *talk = talk_of(stream);
    stage_enter(talk->stage);
    talk->sent++;
    talk->send_result = result;
    stage_leave(talk->stage);
}

static void on_ended(struct stream *stream, int result)
{
    struct talk *talk = talk_of(stream);
    stage_enter(talk->stage);
    talk->ended++;
    talk->end_result = result;
    stage_leave(talk->stage);
}

static void on_closed(struct stream *stream);

static const struct stream_events talk_events = {
    .connected = on_connected, .bytes = on_bytes, .sent = on_sent, .ended = on_ended, .closed = on_closed};

static void on_closed(struct stream *stream)
{
    struct talk *talk = talk_of(stream);
    stage_enter(talk->stage);
    assert_int_equal(stream->state, STREAM_CLOSED);
    talk->closed++;
    if (talk->again_in_closed) {
        talk->again_in_closed = false;
        assert_int_equal(stream_connect(stream, talk->stage->io, &talk_events, NULL, &talk->to), 0);
    }
    stage_leave(talk->stage);
}

static bool is_connected(void *talk) { return ((struct talk *)talk)->connected > 0; }
static bool has_wanted(void *talk) { return ((struct talk *)talk)->received >= ((struct talk *)talk)->wanted; }
static bool has_sent(void *talk) { return ((struct talk *)talk)->sent > 0; }
static bool has_ended(void *talk) { return ((struct talk *)talk)->ended > 0; }
static bool is_closed(void *talk) { return ((struct talk *)talk)->stream.state == STREAM_CLOSED; }

static void talk_open(struct talk *talk, struct stage *stage, const struct io_address *to)
{
    *talk = (struct talk){.stage = stage, .to = *to};
    assert_int_equal(stream_connect(&talk->stream, stage->io, &talk_events, NULL, to), 0);
    assert_int_equal(talk->stream.state, STREAM_CONNECTING);
}

/* Connects to a listener of its own; `peer` is the other end, not receiving yet. */
static void talk_with(struct talk *talk, struct stage *stage, struct end *peer)
{
    struct listener listener;
    listener_open(&listener, stage, AF_INET);
    talk_open(talk, stage, &listener.at);
    listener.wanted = 1;
    stage_until(stage, listener_has_wanted, &listener);
    stage_until(stage, is_connected, talk);
    assert_int_equal(talk->connect_result, 0);
    assert_int_equal(talk->stream.state, STREAM_OPEN);
    end_init(peer, stage, listener.accepted[0]);
    listener_close(&listener);
}

static void talk_close(struct talk *talk)
{
    unsigned before = talk->closed;
    stream_close(&talk->stream);
    stream_close(&talk->stream);
    assert_int_equal(talk->closed, before);
    stage_until(talk->stage, is_closed, talk);
    assert_int_equal(talk->closed, before + 1);
    stream_close(&talk->stream);
    stage_turn(talk->stage, 0);
    assert_int_equal(talk->closed, before + 1);
}

static void a_stream_talks_both_ways(void **state)
{
    struct stage *stage = *state;
    struct talk talk;
    struct end peer;
    char *pattern = pattern_new(100000);
    struct slice parts[2] = {{pattern, 10}, {pattern + 10, 99990}};
    talk_with(&talk, stage, &peer);
    end_recv(&peer);
    assert_false(stream_sending(&talk.stream));
    stream_send(&talk.stream, parts, 2);
    assert_true(stream_sending(&talk.stream));
    end_send(&peer, pattern, 100000);
    talk.wanted = peer.wanted = 100000;
    stage_until(stage, end_has_wanted, &peer);
    stage_until(stage, has_wanted, &talk);
    stage_until(stage, has_sent, &talk);
    assert_int_equal(talk.send_result, 100000);
    assert_int_equal(talk.ended, 0);
    talk_close(&talk);
    stage_until(stage, end_is_ended, &peer);
    assert_int_equal(peer.end_result, 0);
    end_close(&peer);
    test_free(pattern);
}

static void a_stream_tells_how_it_ended(void **state)
{
    struct stage *stage = *state;
    for (int reset = 0; reset < 2; reset++) {
        struct talk talk;
        struct end peer;
        talk_with(&talk, stage, &peer);
        if (reset)
            backend_reset(stage->backend, stage->io, peer.fd);
        else
            end_close(&peer);
        stage_until(stage, has_ended, &talk);
        assert_int_equal(talk.end_result, reset ? -ECONNRESET : 0);
        talk_close(&talk); /* nothing is in flight: `closed` still comes in a turn */
        assert_int_equal(talk.ended, 1);
    }
}

static void a_refused_stream_says_so_and_closes(void **state)
{
    struct stage *stage = *state;
    struct talk talk;
    struct io_address nobody;
    backend_nobody(stage->backend, AF_INET, &nobody);
    talk_open(&talk, stage, &nobody);
    stage_until(stage, is_connected, &talk);
    assert_int_equal(talk.connect_result, -ECONNREFUSED);
    talk_close(&talk);
    assert_int_equal(talk.connected, 1);
}

static void a_closing_stream_says_nothing_but_closed(void **state)
{
    struct stage *stage = *state;
    struct talk talk;
    struct end peer;
    char *pattern = pattern_new((size_t)8 * 1024 * 1024);
    struct slice much = {pattern, (size_t)8 * 1024 * 1024};
    struct listener listener;
    /* While it connects. */
    listener_open(&listener, stage, AF_INET);
    talk_open(&talk, stage, &listener.at);
    talk_close(&talk);
    assert_int_equal(talk.connected, 0);
    stage_wait(stage, NSEC_PER_MS);
    for (unsigned i = 0; i < listener.count; i++)
        io_close(stage->io, listener.accepted[i]);
    listener_close(&listener);
    /* While it sends and the peer sends. */
    talk_with(&talk, stage, &peer);
    stream_send(&talk.stream, &much, 1);
    end_send(&peer, pattern, 5000);
    stage_until(stage, end_is_sent, &peer);
    uint64_t before = talk.received;
    talk_close(&talk);
    assert_int_equal(talk.sent, 0);
    assert_int_equal(talk.ended, 0);
    assert_int_equal(talk.received, before);
    end_close(&peer);
    test_free(pattern);
}

static void a_stream_may_be_closed_and_opened_again_from_its_callbacks(void **state)
{
    struct stage *stage = *state;
    struct talk talk;
    struct listener listener;
    struct end peer;
    char *pattern = pattern_new(10);
    listener_open(&listener, stage, AF_INET);
    talk_open(&talk, stage, &listener.at);
    talk.close_in_connected = talk.again_in_closed = true;
    while (talk.closed < 2) /* connected, closed, connected again, closed again */
        stage_turn(stage, NSEC_NEVER);
    assert_int_equal(talk.connected, 2);
    listener.wanted = 2;
    stage_until(stage, listener_has_wanted, &listener);
    talk_open(&talk, stage, &listener.at);
    talk.close_in_bytes = true;
    listener.wanted = 3;
    stage_until(stage, listener_has_wanted, &listener);
    end_init(&peer, stage, listener.accepted[2]);
    end_send(&peer, pattern, 10);
    stage_until(stage, has_wanted, (talk.wanted = 1, &talk));
    stage_until(stage, is_closed, &talk);
    assert_int_equal(talk.closed, 1);
    end_close(&peer);
    io_close(stage->io, listener.accepted[0]);
    io_close(stage->io, listener.accepted[1]);
    listener_close(&listener);
    test_free(pattern);
}

static void a_stream_that_cannot_have_its_source_does_not_start(void **state)
{
    struct stage *stage = *state;
    struct talk talk = {.stage = stage};
    struct io_address foreign, to;
    backend_nobody(stage->backend, AF_INET, &to);
    assert_true(io_address_parse(&foreign, "203.0.113.77", 0));
    assert_int_equal(stream_connect(&talk.stream, stage->io, &talk_events, &foreign, &to), -EADDRNOTAVAIL);
    assert_int_equal(talk.stream.state, STREAM_CLOSED);
    stage_wait(stage, NSEC_PER_MS);
    assert_int_equal(talk.connected + talk.closed, 0);
}

const struct CMUnitTest contract_stream[CONTRACT_TESTS_MAX] = {
    cmocka_unit_test(a_stream_talks_both_ways),
    cmocka_unit_test(a_stream_tells_how_it_ended),
    cmocka_unit_test(a_refused_stream_says_so_and_closes),
    cmocka_unit_test(a_closing_stream_says_nothing_but_closed),
    cmocka_unit_test(a_stream_may_be_closed_and_opened_again_from_its_callbacks),
    cmocka_unit_test(a_stream_that_cannot_have_its_source_does_not_start),
};
