/* stream.h - one face for a connection, TCP or (with tls.c) TLS over it.
 *
 * The owner embeds it, writes by handing over slices that it lends until `sent`, and is told of bytes and of the end.
 * Follows the rules of io.h: no callback runs inside a call. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "io/io.h"

struct stream;

struct stream_events {
    void (*connected)(struct stream *stream, int result); /* once after stream_connect: 0 or -errno */
    void (*bytes)(struct stream *stream, struct slice bytes); /* borrowed until return */
    void (*sent)(struct stream *stream, int result);      /* the last stream_send is over: >= 0, or -errno */
    void (*ended)(struct stream *stream, int result);     /* the peer closed (0) or the connection broke (-errno); the
                                                             owner calls stream_close */
    void (*closed)(struct stream *stream);                /* after stream_close: nothing is in flight any more, the
                                                             stream may be reused or freed */
};

enum stream_state { STREAM_CLOSED = 0, STREAM_CONNECTING, STREAM_OPEN, STREAM_CLOSING };

struct stream {
    const struct stream_events *on;
    struct io *io;
    enum stream_state state;
    int fd;
    struct io_address to; /* of the peer */
    struct io_op connect;
    struct io_recv recv;
    struct io_send send;
    struct io_timer closing; /* tells `closed` when nothing was in flight */
};

/* Requires STREAM_CLOSED, which a zeroed stream is. 0: connecting; -errno: no socket could be had, nothing was started. */
must_use int stream_connect(struct stream *stream, struct io *io, const struct stream_events *on,
                            const struct io_address *source, const struct io_address *to);
/* Requires STREAM_OPEN and no send in flight. Bytes are lent until `sent`, the array until return. */
void stream_send(struct stream *stream, const struct slice *parts, unsigned count);
bool stream_sending(const struct stream *stream);
/* From any state; `closed` follows, no other callback does. Closed already: does nothing. */
void stream_close(struct stream *stream);

#endif
