/* Gives the engine one connection to talk over: a socket's connect, receive and send as one thing that opens, ends and
 * closes. */
#include "net/stream.h"

#include <errno.h>

/* When nothing is in flight any more the socket goes and the owner gets its stream back. */
static void settle(struct stream *stream)
{
    if (io_op_busy(&stream->connect) || io_op_busy(&stream->recv.op) || io_op_busy(&stream->send.op))
        return;
    io_close(stream->io, stream->fd);
    stream->fd = -1;
    stream->state = STREAM_CLOSED;
    stream->on->closed(stream);
}

static void on_settle(struct io_timer *timer) { settle(container_of(timer, struct stream, soon)); }

static void on_sent(struct io_op *op, int result)
{
    struct stream *stream = container_of(op, struct stream, send.op);
    if (stream->state == STREAM_CLOSING)
        settle(stream);
    else
        stream->on->sent(stream, result);
}

static void on_bytes(struct io_recv *recv, struct slice bytes)
{
    struct stream *stream = container_of(recv, struct stream, recv);
    stream->on->bytes(stream, bytes);
}

static void on_received(struct io_op *op, int result)
{
    struct stream *stream = container_of(op, struct stream, recv.op);
    if (stream->state == STREAM_CLOSING)
        settle(stream);
    else
        stream->on->ended(stream, result);
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
    stream->soon.fire = on_settle;
    io_connect(io, &stream->connect, fd, &stream->to);
    return 0;
}

void stream_send(struct stream *stream, const struct slice *parts, unsigned count)
{
    sluice_assert(stream->state == STREAM_OPEN);
    io_send(stream->io, &stream->send, stream->fd, parts, count);
}

bool stream_sending(const struct stream *stream) { return io_op_busy(&stream->send.op); }

void stream_close(struct stream *stream)
{
    if (stream->state == STREAM_CLOSED || stream->state == STREAM_CLOSING)
        return;
    stream->state = STREAM_CLOSING;
    io_cancel(stream->io, &stream->connect);
    io_cancel(stream->io, &stream->recv.op);
    io_cancel(stream->io, &stream->send.op);
    /* Nothing in flight: nobody will come back and tell, and `closed` may not be called from here. */
    if (!io_op_busy(&stream->connect) && !io_op_busy(&stream->recv.op) && !io_op_busy(&stream->send.op))
        io_timer_set(stream->io, &stream->soon, io_now(stream->io));
}
