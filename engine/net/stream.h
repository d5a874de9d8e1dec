/* stream.h - one face for a connection, TCP or TLS over it (tls.h).
 *
 * The owner embeds it, writes by handing over slices that it lends until `sent`, and is told of bytes and of the end.
 * Follows the rules of io.h: no callback runs inside a call.
 *
 * Encryption: stream_secure on a connection that is open and quiet, then `secured`, then stream_send and `bytes` as
 * before. For implicit TLS it is called in `connected`. For STARTTLS it is called when the reply was read: bytes that
 * came in plain text behind that reply are the caller's to drop (RFC 3207 §4.2), whatever comes after the call is taken
 * for TLS. The end of an encrypted connection without close_notify is not told apart from one with it: the protocols
 * that are spoken here know by themselves when something is complete. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "io/io.h"
#include "net/tls.h"

struct stream;

struct stream_events {
    void (*connected)(struct stream *stream, int result);     /* once after stream_connect: 0 or -errno */
    void (*bytes)(struct stream *stream, struct slice bytes); /* borrowed until return */
    void (*sent)(struct stream *stream, int result);          /* the last stream_send is over: >= 0, or -errno. Not told
                                                         where the peer is gone: `ended` is, behind all that it said */
    void (*ended)(struct stream *stream, int result); /* the peer closed (0), the connection broke (-errno), or what
                                                         came is no TLS any more (-EPROTO); the owner calls
                                                         stream_close */
    void (*closed)(struct stream *stream);            /* after stream_close: nothing is in flight any more, the
                                                         stream may be reused or freed */
    void (*secured)(struct stream *stream, const struct tls_result *result); /* once after stream_secure, borrowed
                                                             until return. Not ok, also when the peer closes within the
                                                             handshake: the owner calls stream_close, there is no way
                                                             back to plain text on this connection. May be NULL for
                                                             owners that never call stream_secure */
};

enum stream_state {
    STREAM_CLOSED = 0,
    STREAM_CONNECTING,
    STREAM_OPEN,
    STREAM_SECURING, /* between stream_secure and `secured` */
    STREAM_SPENT,    /* the handshake failed, or `ended` was told of an encrypted connection */
    STREAM_CLOSING
};

struct stream {
    const struct stream_events *on;
    struct io *io;
    enum stream_state state;
    int fd;
    struct io_address to; /* of the peer */
    struct io_op connect;
    struct io_recv recv;
    struct io_send send;
    struct io_timer soon; /* tells what may not be told from within a call; while closing, what ends a last send */
    struct tls_link tls;
    const char *refusal;              /* why stream_secure could not even begin */
    struct slice lent[IO_SEND_PARTS]; /* encrypted: the stream_send that is not over */
    unsigned lent_count;
    size_t lent_bytes, encrypted; /* of all parts; of these, what was turned into ciphertext */
    bool sending;
    int cut; /* -errno of the send that found the peer gone; 0: none did */
};

/* Requires STREAM_CLOSED, which a zeroed stream is. 0: connecting; -errno: no socket could be had, nothing was started.
 */
must_use int stream_connect(struct stream *stream, struct io *io, const struct stream_events *on,
                            const struct io_address *source, const struct io_address *to);
/* Requires STREAM_OPEN, no send in flight, and that it was not called before. `secured` follows; no `bytes`, `sent` or
 * `ended` before it. `tls` is borrowed until `closed`, the demand until return. */
void stream_secure(struct stream *stream, struct tls *tls, const struct tls_demand *demand);
/* Requires STREAM_OPEN and no send in flight. Bytes are lent until `sent`, the array until return. */
void stream_send(struct stream *stream, const struct slice *parts, unsigned count);
bool stream_sending(const struct stream *stream);
/* From any state; `closed` follows, no other callback does. An encrypted connection says close_notify first, unless a
 * send is in flight or the peer does not take it at once. Closed already: does nothing. */
void stream_close(struct stream *stream);

#endif
