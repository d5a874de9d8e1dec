/* Gives the engine one connection to talk over: a socket's connect, receive and send, with TLS between them and the
 * owner where it wants that, as one thing that opens, ends and closes. */
#include "net/stream.h"

#include <errno.h>
#include <limits.h>

static const nsec FAREWELL = NSEC_PER_S; /* so long may a close_notify take to be taken */

static bool is_tls(const struct stream *stream) { return stream->tls.tls; }

/* When nothing is in flight any more the socket goes and the owner gets its stream back. */
static void settle(struct stream *stream)
{
    if (io_op_busy(&stream->connect) || io_op_busy(&stream->recv.op) || io_op_busy(&stream->send.op))
        return;
    io_timer_clear(stream->io, &stream->soon);
    tls_link_close(&stream->tls);
    io_close(stream->io, stream->fd);
    stream->fd = -1;
    stream->state = STREAM_CLOSED;
    stream->on->closed(stream);
}

/* ---- encrypted ---- */

/* All the ciphertext there is goes out as one write. */
static void flush(struct stream *stream)
{
    struct slice parts[IO_SEND_PARTS];
    if (io_op_busy(&stream->send.op))
        return;
    unsigned count = tls_link_take(&stream->tls, parts);
    if (count)
        io_send(stream->io, &stream->send, stream->fd, parts, count);
}

/* Encrypts what goes into buffers and sends it. If there is nothing to send, nobody would come back to tell. */
static void push(struct stream *stream)
{
    if (io_op_busy(&stream->send.op))
        return;
    bool well = tls_link_write(&stream->tls, stream->lent, stream->lent_count, &stream->encrypted);
    if (well)
        flush(stream);
    if (!io_op_busy(&stream->send.op))
        io_timer_set(stream->io, &stream->soon, io_now(stream->io));
}

static void tell_sent(struct stream *stream, int result)
{
    stream->sending = false;
    stream->on->sent(stream, result);
}

static int total(const struct stream *stream)
{
    return stream->lent_bytes < INT_MAX ? (int)stream->lent_bytes : INT_MAX;
}

static void tell_failed(struct stream *stream, const struct tls_result *result)
{
    stream->state = STREAM_SPENT;
    stream->on->secured(stream, result);
}

static void tell_ended(struct stream *stream, int result)
{
    stream->state = STREAM_SPENT;
    stream->on->ended(stream, result);
}

/* The peer is gone. What it said before may lie in the kernel yet, so the receive has the last word. */
static bool told_by_receive(struct stream *stream, int result)
{
    if ((result != -EPIPE && result != -ECONNRESET) || stream->state != STREAM_OPEN ||
        !io_op_busy(&stream->recv.op))
        return false;
    stream->cut = result;
    return true;
}

static void on_tls_sent(struct stream *stream, int result)
{
    tls_link_sent(&stream->tls);
    if (told_by_receive(stream, result))
        return;
    if (stream->sending && (result < 0 || stream->state == STREAM_SPENT || stream->encrypted == stream->lent_bytes))
        tell_sent(stream, result < 0 ? result : stream->encrypted == stream->lent_bytes ? total(stream) : -EPIPE);
    else if (stream->sending)
        push(stream);
    /* An answer to the peer that did not arrive needs no word of its own: the receive will hear of it. */
    if (stream->state != STREAM_CLOSING && result >= 0)
        flush(stream);
}

static void read_tls(struct stream *stream, struct slice bytes)
{
    struct tls_result result;
    struct slice content;
    enum tls_step step;
    if (stream->state != STREAM_OPEN && stream->state != STREAM_SECURING)
        return;
    tls_link_feed(&stream->tls, bytes);
    do {
        step = tls_link_read(&stream->tls, &content, &result);
        if (step == TLS_STEP_CONTENT) {
            stream->on->bytes(stream, content);
        } else if (step == TLS_STEP_SECURED) {
            stream->state = STREAM_OPEN;
            stream->on->secured(stream, &result);
        } else if (step == TLS_STEP_CLOSED) {
            tell_ended(stream, 0);
        } else if (step == TLS_STEP_FAILED && stream->state == STREAM_SECURING) {
            tell_failed(stream, &result);
        } else if (step == TLS_STEP_FAILED) {
            tell_ended(stream, -EPROTO);
        }
    } while (stream->state == STREAM_OPEN && step != TLS_STEP_WAIT);
    stream->tls.in = (struct slice){0}; /* the owner may have closed in the middle of it */
    if (stream->state != STREAM_CLOSING)
        flush(stream);
}

void stream_secure(struct stream *stream, struct tls *tls, const struct tls_demand *demand)
{
    sluice_assert(stream->state == STREAM_OPEN && !is_tls(stream) && !io_op_busy(&stream->send.op));
    stream->state = STREAM_SECURING;
    stream->refusal = tls_link_open(&stream->tls, tls, demand);
    if (stream->refusal)
        io_timer_set(stream->io, &stream->soon, io_now(stream->io));
    else
        flush(stream);
}

/* ---- told by the io ---- */

static void on_soon(struct io_timer *timer)
{
    struct stream *stream = container_of(timer, struct stream, soon);
    if (stream->state == STREAM_CLOSING) {
        io_cancel(stream->io, &stream->send.op); /* a farewell that nobody takes */
        settle(stream);
    } else if (stream->refusal) {
        struct tls_result result = {.local = true};
        slice_copy(result.reason, sizeof result.reason, slice_of(stream->refusal));
        stream->refusal = NULL;
        tell_failed(stream, &result);
    } else if (stream->sending && !io_op_busy(&stream->send.op)) {
        tell_sent(stream, stream->encrypted == stream->lent_bytes ? total(stream) : -EPROTO);
    }
}

static void on_sent(struct io_op *op, int result)
{
    struct stream *stream = container_of(op, struct stream, send.op);
    if (stream->state == STREAM_CLOSING) {
        if (is_tls(stream))
            tls_link_sent(&stream->tls);
        settle(stream);
    } else if (is_tls(stream)) {
        on_tls_sent(stream, result);
    } else if (!told_by_receive(stream, result)) {
        stream->on->sent(stream, result);
    }
}

static void on_bytes(struct io_recv *recv, struct slice bytes)
{
    struct stream *stream = container_of(recv, struct stream, recv);
    if (is_tls(stream))
        read_tls(stream, bytes);
    else if (stream->state == STREAM_OPEN)
        stream->on->bytes(stream, bytes);
}

static void on_received(struct io_op *op, int result)
{
    struct stream *stream = container_of(op, struct stream, recv.op);
    if (stream->state == STREAM_CLOSING) {
        settle(stream);
    } else if (stream->state == STREAM_SECURING && is_tls(stream)) {
        struct tls_result failed;
        tls_link_cut(&stream->tls, result, &failed);
        tell_failed(stream, &failed);
    } else if (stream->state == STREAM_OPEN) {
        stream->on->ended(stream, stream->cut ? stream->cut : result);
    }
}

static void on_connected(struct io_op *op, int result)
{
    struct stream *stream = container_of(op, struct stream, connect);
    if (stream->state == STREAM_CLOSING) {
        settle(stream);
        return;
    }
    if (result >= 0) {
        stream->state = STREAM_OPEN;
        io_recv(stream->io, &stream->recv, stream->fd);
    }
    stream->on->connected(stream, result);
}

/* ---- the owner's side ---- */

int stream_connect(struct stream *stream, struct io *io, const struct stream_events *on,
                   const struct io_address *source, const struct io_address *to)
{
    sluice_assert(stream->state == STREAM_CLOSED);
    int fd = io_socket(io, to->storage.ss_family, source);
    if (fd < 0)
        return fd;
    *stream = (struct stream){.on = on, .io = io, .state = STREAM_CONNECTING, .fd = fd, .to = *to};
    stream->connect.done = on_connected;
    stream->recv.op.done = on_received;
    stream->recv.bytes = on_bytes;
    stream->send.op.done = on_sent;
    stream->soon.fire = on_soon;
    io_connect(io, &stream->connect, fd, &stream->to);
    return 0;
}

void stream_send(struct stream *stream, const struct slice *parts, unsigned count)
{
    if (!is_tls(stream)) {
        sluice_assert(stream->state == STREAM_OPEN);
        io_send(stream->io, &stream->send, stream->fd, parts, count);
        return;
    }
    sluice_assert((stream->state == STREAM_OPEN || stream->state == STREAM_SPENT) && !stream->sending);
    sluice_assert(count <= IO_SEND_PARTS);
    memcpy(stream->lent, parts, count * sizeof *parts);
    stream->lent_count = count;
    stream->lent_bytes = stream->encrypted = 0;
    for (unsigned i = 0; i < count; i++)
        stream->lent_bytes += parts[i].n;
    stream->sending = true;
    push(stream);
}

bool stream_sending(const struct stream *stream)
{
    return stream->cut || (is_tls(stream) ? stream->sending : io_op_busy(&stream->send.op));
}

void stream_close(struct stream *stream)
{
    if (stream->state == STREAM_CLOSED || stream->state == STREAM_CLOSING)
        return;
    bool quiet = is_tls(stream) && !io_op_busy(&stream->send.op);
    stream->state = STREAM_CLOSING;
    io_cancel(stream->io, &stream->connect);
    io_cancel(stream->io, &stream->recv.op);
    io_cancel(stream->io, &stream->send.op);
    if (quiet) { /* the last word, close_notify or an alert, goes out by itself */
        tls_link_shut(&stream->tls);
        flush(stream);
    }
    if (io_op_busy(&stream->send.op) && quiet)
        io_timer_set(stream->io, &stream->soon, io_now(stream->io) + FAREWELL);
    /* Nothing in flight: nobody will come back and tell, and `closed` may not be called from here. */
    else if (!io_op_busy(&stream->connect) && !io_op_busy(&stream->recv.op) && !io_op_busy(&stream->send.op))
        io_timer_set(stream->io, &stream->soon, io_now(stream->io));
}
