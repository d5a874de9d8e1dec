/* tls.h - TLS 1.2 and 1.3 for the streams of one shard (RFC 8446, RFC 5246), with OpenSSL.
 *
 * A shard has one `struct tls`: OpenSSL's library context, one SSL_CTX for each kind of check, a cache of sessions for
 * resumption, and the buffers that ciphertext leaves in. Contexts are made when the first connection needs them, the
 * certificates of authorities are read when the first PKIX check does; so a shard that never encrypts pays nothing.
 * What is said with TLS goes through stream.h: stream_secure turns an open connection into an encrypted one.
 *
 * Guarantees.
 *  - A connection is `ok` only if what its demand asks for was checked, by this handshake or by the one whose session
 *    it resumes. A session is resumed only under a demand that is equal in every field, `key` included, and at most a
 *    day after the handshake that checked it; where a certificate was checked, not past the end of its validity.
 *  - Never below TLS 1.2, never compression, never renegotiation.
 *  - A peer can make us hold a bounded amount: a handshake or a run of records without a byte of content ends the
 *    connection after TLS_BARREN_BYTES, and OpenSSL refuses a chain of certificates of more than 100 KiB.
 *  - A connection that has something to send always finds a buffer for it, however many others are stuck.
 *  - An idle connection holds no buffer and no certificate but the server's own: with OpenSSL 3.0 that is 17.6 KB of
 *    OpenSSL's memory, 14.7 KB (TLS 1.3) or 11.4 KB (TLS 1.2) when it was resumed, however long the chain was.
 *
 * Everything lives in the arena that tls_open is given, but for OpenSSL's own objects; tls_close frees those, also of
 * connections that were never closed (a crash). Used by one thread alone; contexts are not shared between shards. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "io/arena.h"
#include "io/io.h"
#include "sluice/base.h"
#include "sluice/limits.h"
#include "sluice/slice.h"

enum {
    TLS_NAMES = 4,                 /* of one demand */
    TLS_TLSA_RECORDS = 16,         /* of one demand */
    TLS_REASON = 160,              /* bytes of a reason, with its zero byte */
    TLS_BARREN_BYTES = 256 * 1024, /* received without a handshake's end or a byte of content */
    TLS_LINK_BUFFERS = 5,          /* ciphertext buffers that one connection may hold */
};

enum tls_check {
    TLS_CHECK_BROKEN = 0,
    TLS_CHECK_ANY,  /* encrypt; any certificate will do (opportunistic, RFC 7435) */
    TLS_CHECK_PKIX, /* a chain to an authority in `ca`, valid now, in one of `names` (RFC 9525, RFC 8461 §4.1) */
    TLS_CHECK_DANE, /* one of `tlsa` matches (RFC 7672): DANE-EE(3) alone decides, without names or validity
                       (§3.1.1); DANE-TA(2) needs the chain, the validity and one of `names` (§3.1.2) */
};

/* One TLSA record (RFC 6698 §2.1). */
struct tls_tlsa {
    uint8_t usage, selector, matching;
    struct slice data; /* the certificate association data as it came */
};

/* What a connection must be. Borrows until return of the call it is passed to. */
struct tls_demand {
    enum tls_check check;
    const char *server_name; /* SNI (RFC 6066 §3), NULL or an IP address: none is sent. For DANE the TLSA base domain
                                (RFC 7672 §8.1) */
    const char *names[TLS_NAMES]; /* PKIX and DANE-TA: the certificate must be for one of these; for DANE the TLSA base
                                     domain is first, the next-hop domain may follow (RFC 7672 §3.2.2). A-labels */
    unsigned name_count;          /* >= 1 for PKIX and DANE */
    struct tls_tlsa tlsa[TLS_TLSA_RECORDS]; /* DANE: only records that tls_tlsa_usable likes, at least one */
    unsigned tlsa_count;
    uint64_t key; /* host and port, and whatever else may not share sessions; the other fields are told apart here */
};

/* How stream_secure ended. Values only. */
struct tls_result {
    bool ok;
    bool resumed;
    bool certificate; /* not ok: name, chain, validity or TLSA records were wrong, not the handshake as such */
    bool local;       /* not ok: for our own lack (memory, `ca` cannot be read); says nothing of the peer */
    bool stale; /* not ok: a session had been offered, which may be why. It is forgotten; another try says more, and
                   till then nothing is to be concluded of the peer */
    char version[12];        /* "TLSv1.3" */
    char cipher[48];         /* "TLS_AES_256_GCM_SHA384" */
    char reason[TLS_REASON]; /* not ok: one line of printable ASCII */
};

/* Whether a TLSA record can be used for SMTP: usages 2 and 3 only (RFC 7672 §3.1.3), selectors 0 and 1, matching types
 * 0 to 2 with data of their length. What this refuses counts as not there (RFC 7672 §2.2 says what to do without). */
must_use bool tls_tlsa_usable(const struct tls_tlsa *tlsa);

struct tls;

struct tls_config {
    struct io *io;          /* borrows until tls_close */
    const char *ca;         /* file of trusted certificates (PEM); NULL or "": the system's. Borrows until tls_close */
    const char *cert, *key; /* files (PEM) of the certificate that is shown to who asks for one, with its chain, and of
                               its key; NULL: none. As above */
    unsigned connections_max; /* encrypted at once; one more is refused with `local` */
    unsigned sessions_max;    /* kept for resumption, the least recently used goes first; about 5 KiB each */
};

/* Can the file of trusted certificates be read, and does it hold one? For whoever starts with it: a context reads it
 * when it needs it first. False: `error` names `what` asks for it, the file, and what is wrong. */
must_use bool tls_ca_usable(const char *what, const char *ca, char *error, size_t error_cap);
/* The same of a certificate with its chain, and of its key. */
must_use bool tls_cert_usable(const char *what, const char *cert, const char *key, char *error, size_t error_cap);
/* The arena bytes that tls_open takes at most; they are address space until they are used. */
size_t tls_bytes(const struct tls_config *config);
/* Taken from `arena` until it is dropped. NULL: the arena is too small. */
must_use struct tls *tls_open(struct arena *arena, const struct tls_config *config);
/* Frees what is OpenSSL's, live connections included; these may not be used any more. After the io's end, before the
 * memory of the streams and the arena goes. NULL: does nothing. */
void tls_close(struct tls *tls);

struct tls_counts {
    uint64_t full, resumed, failed; /* handshakes so far */
    unsigned connections;           /* encrypted now, handshakes included */
    unsigned buffers;               /* of ciphertext, in use now */
    unsigned sessions;              /* kept now */
};
struct tls_counts tls_counts(const struct tls *tls);

/* ---- what follows is between tls and stream.c ---- */

/* One connection, embedded in its stream. All zero: none. */
struct tls_link {
    struct tls *tls; /* NULL: plain text */
    struct ssl_st *ssl;
    struct tls_link *next, *prev; /* live ones of the shard */
    struct slice in;              /* ciphertext that has come and was not read yet; lent by the ring */
    uint32_t barren;              /* received since the last byte of content */
    enum tls_check check;
    bool secured;          /* the handshake is over */
    bool broken;           /* nothing more can be read or written */
    bool low;              /* TLS 1.3 was not offered, for the sake of a session */
    nsec relied_until;     /* of the session that was offered */
    uint8_t count, flying; /* buffers that hold something; the first `flying` of them are lent to a send */
    uint8_t extra;         /* of these, such as are not one's own by right */
    struct tls_buffer *buffers[TLS_LINK_BUFFERS];
    uint8_t identity[32]; /* of the demand */
};

enum tls_step {
    TLS_STEP_BROKEN = 0,
    TLS_STEP_WAIT,    /* for more bytes of the peer */
    TLS_STEP_SECURED, /* the handshake is over and well */
    TLS_STEP_CONTENT, /* `content` holds some */
    TLS_STEP_CLOSED,  /* close_notify */
    TLS_STEP_FAILED,  /* the handshake, or a connection that had been secured */
};

/* Begins a connection: the ClientHello is among its ciphertext. NULL: done; else a sentence why we cannot. */
must_use const char *tls_link_open(struct tls_link *link, struct tls *tls, const struct tls_demand *demand);
/* Ciphertext that came; to be read by tls_link_read until it says WAIT, CLOSED or FAILED, before `bytes` go. */
void tls_link_feed(struct tls_link *link, struct slice bytes);
/* One step on. `content` is borrowed until the next call for any link of the shard; `result` is filled in when a
 * handshake is over. */
must_use enum tls_step tls_link_read(struct tls_link *link, struct slice *content, struct tls_result *result);
/* The transport ended within the handshake: `error` is 0 for the end of file, or -errno. */
void tls_link_cut(struct tls_link *link, int error, struct tls_result *result);
/* Encrypts content from octet `*at` of all `parts` on, as far as buffers go, and moves `*at` behind it. Not while
 * ciphertext is lent. False: the connection is broken. */
must_use bool tls_link_write(struct tls_link *link, const struct slice *parts, unsigned count, size_t *at);
/* Adds close_notify to the ciphertext (RFC 8446 §6.1) if that can be. */
void tls_link_shut(struct tls_link *link);
/* All ciphertext there is, at most IO_SEND_PARTS slices, borrowed until tls_link_sent. 0: none. Not while some is lent.
 */
must_use unsigned tls_link_take(struct tls_link *link, struct slice parts[IO_SEND_PARTS]);
void tls_link_sent(struct tls_link *link);  /* what was taken has left, or never will */
void tls_link_close(struct tls_link *link); /* requires that nothing is lent. Zero: does nothing */

#endif
