/* Lets our streams talk to TLS servers, good and bad, over the io backend that is linked. */
#include "talk.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DAY (86400 * NSEC_PER_S)

/* ---- time and chance ---- */

uint64_t house_random(struct house *house)
{
    house->random = house->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return house->random >> 33;
}

void house_until(struct house *house, bool (*condition)(void *context), void *context)
{
    house->turning = true;
    bool held = backend_until(house->backend, condition, context);
    house->turning = false;
    assert_true(held);
}

void house_wait(struct house *house, nsec duration)
{
    nsec until = io_now(house->io) + duration;
    house->turning = true;
    do
        backend_turn(house->backend, until);
    while (io_now(house->io) < until);
    backend_turn(house->backend, 0);
    house->turning = false;
}

/* ---- the server ---- */

static void served_end(struct served *served)
{
    served->closing = true;
    io_cancel(served->house->io, &served->recv.op);
    if (io_op_busy(&served->recv.op) || io_op_busy(&served->send.op) || served->fd < 0)
        return;
    if (served->house->manners.reset)
        backend_reset(served->house->backend, served->house->io, served->fd);
    else
        io_close(served->house->io, served->fd);
    served->fd = -1;
}

static size_t next_raw(struct served *served)
{
    const struct manners *manners = &served->house->manners;
    size_t n = 0;
    while (served->raw_begun && served->raw_left && n + manners->raw.n <= sizeof served->out) {
        memcpy(served->out + n, manners->raw.p, manners->raw.n);
        n += manners->raw.n;
        served->raw_left--;
    }
    return n;
}

static void served_pump(struct served *served)
{
    struct house *house = served->house;
    const struct manners *manners = &house->manners;
    struct peer *peer = &served->peer;
    if (served->closing || io_op_busy(&served->send.op))
        return;
    if (peer->secured && !served->greeted) {
        served->greeted = true;
        if (manners->greeting.n)
            peer_say(peer, manners->greeting.p, manners->greeting.n);
    }
    if (manners->echo && peer->got_n > served->echoed) {
        peer_say(peer, peer->got + served->echoed, peer->got_n - served->echoed);
        served->echoed = peer->got_n;
    }
    size_t most = manners->piece_most ? 1 + house_random(house) % manners->piece_most : sizeof served->out;
    if (served->cut_after && served->sent + most > served->cut_after)
        most = served->cut_after - served->sent;
    size_t n = next_raw(served);
    if (!n)
        n = peer_take(peer, served->out, most);
    bool over = (served->cut_after && served->sent + n == served->cut_after) ||
                (manners->close_after_raw && served->raw_begun && !served->raw_left);
    served->sent += n;
    if (n)
        io_send(house->io, &served->send, served->fd, &(struct slice){served->out, n}, 1);
    if (over)
        served_end(served);
}

static void on_served_bytes(struct io_recv *recv, struct slice bytes)
{
    struct served *served = container_of(recv, struct served, recv);
    for (size_t i = 0; i < bytes.n && served->heard < 5; i++)
        served->head[served->heard++] = (uint8_t)bytes.p[i];
    served->all_heard += bytes.n;
    bool hello = served->heard == 5 && served->all_heard >= 5u + 256u * served->head[3] + served->head[4];
    if (served->house->manners.raw.n && hello && !served->raw_begun) {
        served->raw_begun = true;
        served->raw_left = served->house->manners.raw_times ? served->house->manners.raw_times : 1;
    }
    if (!served->house->manners.deaf)
        peer_feed(&served->peer, bytes.p, bytes.n);
    served_pump(served);
}

static void on_served_end(struct io_op *op, int result)
{
    struct served *served = container_of(op, struct served, recv.op);
    (void)result;
    served->client_closed = true;
    served_end(served);
}

static void on_served_sent(struct io_op *op, int result)
{
    struct served *served = container_of(op, struct served, send.op);
    if (served->closing || result < 0)
        served_end(served);
    else
        served_pump(served);
}

void server_read(struct served *served) { io_recv(served->house->io, &served->recv, served->fd); }

static void on_accepted(struct io_accept *accept, int fd)
{
    struct house *house = container_of(accept, struct house, accept);
    struct served *served = calloc(1, sizeof *served);
    peer_check(served && house->served_count < SERVED_MOST, "too many connections");
    house->served[house->served_count++] = served;
    served->house = house;
    served->fd = fd;
    served->recv.op.done = on_served_end;
    served->recv.bytes = on_served_bytes;
    served->send.op.done = on_served_sent;
    served->cut_after = house->manners.cut_after;
    if (house->manners.cut_before)
        served->cut_after = 1 + house_random(house) % (house_random(house) % 2 ? served->cut_after : 2000);
    peer_open(&served->peer, house->server);
    if (!house->manners.slow)
        server_read(served);
}

static void on_listener_done(struct io_op *op, int result) { (void)op, (void)result; }

void house_serve(struct house *house, const struct server_config *config, const struct manners *manners)
{
    struct server_config with = *config;
    if (!with.party)
        with.party = &house->mx;
    SSL_CTX_free(house->server);
    house->server = server_new(&with);
    house->manners = *manners;
}

/* ---- the house ---- */

void house_trust(struct house *house, const char *ca)
{
    struct tls_config config = {.io = house->io, .ca = ca ? ca : house->ca, .connections_max = 128, .sessions_max = 32};
    tls_close(house->tls);
    arena_drop(&house->arena);
    assert_true(arena_open(&house->arena, tls_bytes(&config)));
    house->tls = tls_open(&house->arena, &config);
    assert_non_null(house->tls);
}

void house_open(struct house *house)
{
    const char *seed = getenv("TLS_SEED");
    *house = (struct house){.backend = backend_open(1), .random = seed ? strtoull(seed, NULL, 10) : 20261121};
    house->io = backend_io(house->backend);
    house->wall = io_wall(house->io);
    struct party_config authority = {.common_name = "Test Authority",
                                     .names = "",
                                     .from = house->wall - 10 * DAY,
                                     .until = house->wall + 10 * DAY,
                                     .authority = true};
    party_open(&house->authority, &authority);
    authority.common_name = "Strange Authority";
    party_open(&house->stranger, &authority);
    party_open(&house->mx, &(struct party_config){.issuer = &house->authority,
                                                  .common_name = "",
                                                  .names = "DNS:mx.example",
                                                  .from = house->wall - DAY,
                                                  .until = house->wall + DAY});
    party_save(&house->authority, house->ca, sizeof house->ca);
    house_serve(house, &(struct server_config){.tickets = 2}, &(struct manners){.echo = true});
    house_trust(house, NULL);
    house->fd = backend_listen(house->backend, house->io, AF_INET, false, &house->at);
    house->accept.accepted = on_accepted;
    house->accept.op.done = on_listener_done;
    io_accept(house->io, &house->accept, house->fd);
}

void house_close(struct house *house)
{
    struct tls_counts counts = tls_counts(house->tls);
    assert_int_equal(counts.connections, 0);
    assert_int_equal(counts.buffers, 0);
    assert_int_equal(ERR_peek_error(), 0);
    backend_close(house->backend);
    tls_close(house->tls);
    arena_drop(&house->arena);
    for (unsigned i = 0; i < house->served_count; i++) {
        peer_close(&house->served[i]->peer);
        free(house->served[i]);
    }
    SSL_CTX_free(house->server);
    party_close(&house->mx);
    party_close(&house->stranger);
    party_close(&house->authority);
    unlink(house->ca);
}

/* ---- the client ---- */

struct tls_demand demand_any(void)
{
    return (struct tls_demand){.check = TLS_CHECK_ANY, .server_name = "mx.example", .key = 1};
}

struct tls_demand demand_pkix(void)
{
    return (struct tls_demand){
        .check = TLS_CHECK_PKIX, .server_name = "mx.example", .names = {"mx.example"}, .name_count = 1, .key = 1};
}

static struct talk *enter(struct stream *stream)
{
    struct talk *talk = container_of(stream, struct talk, stream);
    assert_true(talk->house->turning);
    assert_int_equal(talk->closed, 0);
    talk->house->turning = false; /* a callback inside of this one would see it */
    return talk;
}

static void leave(struct talk *talk) { talk->house->turning = true; }

static void on_connected(struct stream *stream, int result)
{
    struct talk *talk = enter(stream);
    talk->connected++;
    talk->connect_result = result;
    if (result == 0 && talk->at_once)
        stream_secure(stream, talk->house->tls, &talk->demand);
    leave(talk);
}

static void on_secured(struct stream *stream, const struct tls_result *result)
{
    struct talk *talk = enter(stream);
    assert_int_equal(talk->secured++, 0);
    assert_int_equal(talk->ended, 0);
    assert_int_equal(result->ok, result->reason[0] == 0);
    assert_int_equal(result->ok, result->version[0] != 0 && result->cipher[0] != 0);
    talk->result = *result;
    if (result->ok && talk->say_in_secured.n)
        stream_send(stream, &talk->say_in_secured, 1);
    if (talk->close_in_secured)
        stream_close(stream);
    leave(talk);
}

static void on_bytes(struct stream *stream, struct slice bytes)
{
    struct talk *talk = enter(stream);
    assert_true(talk->secured && talk->result.ok && !talk->ended && bytes.n > 0);
    if (talk->got_cap - talk->got_n < bytes.n) {
        talk->got_cap = 2 * talk->got_cap + bytes.n;
        talk->got = realloc(talk->got, talk->got_cap);
        peer_check(talk->got, "memory");
    }
    memcpy(talk->got + talk->got_n, bytes.p, bytes.n);
    talk->got_n += bytes.n;
    if (talk->close_in_bytes)
        stream_close(stream);
    leave(talk);
}

static void on_sent(struct stream *stream, int result)
{
    struct talk *talk = enter(stream);
    assert_false(stream_sending(stream));
    talk->sent++;
    talk->send_result = result;
    leave(talk);
}

static void on_ended(struct stream *stream, int result)
{
    struct talk *talk = enter(stream);
    assert_true(talk->secured && talk->result.ok);
    assert_int_equal(talk->ended++, 0);
    talk->end_result = result;
    leave(talk);
}

static void on_closed(struct stream *stream)
{
    struct talk *talk = enter(stream);
    assert_int_equal(stream->state, STREAM_CLOSED);
    assert_null(stream->tls.tls);
    talk->closed++;
    leave(talk);
}

bool talk_is_secured(void *talk) { return ((struct talk *)talk)->secured; }
bool talk_is_ended(void *talk) { return ((struct talk *)talk)->ended; }
bool talk_is_closed(void *talk) { return ((struct talk *)talk)->closed; }
bool talk_has_sent(void *talk) { return !stream_sending(&((struct talk *)talk)->stream); }
static bool is_connected(void *talk) { return ((struct talk *)talk)->connected; }
static bool has_wanted(void *talk) { return ((struct talk *)talk)->got_n >= ((struct talk *)talk)->wanted; }

void talk_begin(struct talk *talk, struct house *house, const struct tls_demand *demand)
{
    static const struct stream_events events = {.connected = on_connected,
                                                .bytes = on_bytes,
                                                .sent = on_sent,
                                                .ended = on_ended,
                                                .closed = on_closed,
                                                .secured = on_secured};
    talk->house = house;
    talk->demand = *demand;
    assert_int_equal(stream_connect(&talk->stream, house->io, &events, NULL, &house->at), 0);
    house_until(house, is_connected, talk);
    assert_int_equal(talk->connect_result, 0);
    if (!talk->at_once)
        stream_secure(&talk->stream, house->tls, &talk->demand);
    assert_int_equal(talk->secured, 0);
}

static bool served_is_decided(void *context)
{
    const struct served *served = context;
    return served->peer.secured || served->peer.failed || served->closing;
}

void talk_open(struct talk *talk, struct house *house, const struct tls_demand *demand)
{
    *talk = (struct talk){0};
    talk_begin(talk, house, demand);
    house_until(house, talk_is_secured, talk);
    if (talk->result.ok) /* the server hears of it later */
        house_until(house, served_is_decided, talk_served(talk));
}

void talk_say(struct talk *talk, const void *bytes, size_t n)
{
    unsigned before = talk->sent;
    stream_send(&talk->stream, &(struct slice){bytes, n}, 1);
    assert_true(stream_sending(&talk->stream));
    house_until(talk->house, talk_has_sent, talk);
    assert_int_equal(talk->sent, before + 1);
    assert_int_equal(talk->send_result, n);
}

void talk_hear(struct talk *talk, size_t n)
{
    talk->wanted = n;
    house_until(talk->house, has_wanted, talk);
}

bool served_is_left(void *served) { return ((struct served *)served)->client_closed; }

void talk_close(struct talk *talk)
{
    unsigned before = talk->closed;
    stream_close(&talk->stream);
    assert_int_equal(talk->closed, before);
    house_until(talk->house, talk_is_closed, talk);
    free(talk->got);
    talk->got = NULL;
}

struct served *talk_served(struct talk *talk) { return talk->house->served[talk->house->served_count - 1]; }
