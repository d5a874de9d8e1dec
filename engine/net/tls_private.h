/* tls_private.h - what tls.c, tls_bio.c, tls_session.c and tls_verify.c share. */
#ifndef NET_TLS_PRIVATE_H
#define NET_TLS_PRIVATE_H

#include "io/pool.h"
#include "net/tls.h"

#include <openssl/ssl.h>

enum {
    TLS_CONTENT = SSL3_RT_MAX_PLAIN_LENGTH, /* of one record (RFC 8446 §5.1) */
    /* What a record may take beside its content: header, IV, MAC, padding; and room for a small record that OpenSSL
     * writes before it (a KeyUpdate). */
    TLS_OVERHEAD = SSL3_RT_HEADER_LENGTH + SSL3_RT_SEND_MAX_ENCRYPTED_OVERHEAD + 128,
    TLS_BUFFER = TLS_CONTENT + TLS_OVERHEAD,
    TLS_DATA_BUFFERS = TLS_LINK_BUFFERS - 1, /* one flight of content: 64 KiB */
    TLS_EXTRA_BUFFERS = 256,                 /* what all connections of a shard share beside their own two */
    TLS_TICKET_MOST = 4096,                  /* bytes of a ticket that is kept; it must fit in a ClientHello of ours */
};

struct tls_buffer {
    uint32_t n;
    char bytes[TLS_BUFFER];
};

/* One kept session. */
struct tls_kept {
    SSL_SESSION *session; /* owned; NULL: free */
    nsec until;           /* the server's word for the ticket, and relied_until */
    nsec relied_until;    /* what the full handshake has checked is not relied on longer, however often it is resumed */
    uint8_t identity[32];
    struct tls_kept *newer, *older; /* by last use */
    struct tls_kept *bucket_next;
};

struct tls_sessions {
    struct tls_kept *entries, **buckets;
    unsigned capacity, laid_out, count;
    struct tls_kept *newest, *oldest, *freed;
};

struct tls {
    struct io *io;
    const char *ca, *cert, *key;
    unsigned connections_max;
    OSSL_LIB_CTX *library; /* NULL until the first connection */
    BIO_METHOD *bio;
    EVP_MD *sha256;
    EVP_MD_CTX *digest;                    /* of demands, one after the other */
    SSL_CTX *contexts[TLS_CHECK_DANE + 1]; /* by check, each NULL until it is needed */
    struct tls_sessions sessions;
    struct pool buffers;
    unsigned extra; /* buffers in use that are nobody's by right */
    struct tls_link *links;
    struct tls_counts counts;
    char *content; /* TLS_CONTENT: what was decrypted */
    char *gather;  /* TLS_CONTENT: small parts of a send, on their way into one record */
};

/* tls_bio.c: OpenSSL reads what the ring lent, and writes into the connection's buffers. */
must_use BIO_METHOD *tls_bio_method(void); /* NULL: no memory */
/* The buffer that ciphertext goes to next, with at least `room` octets free; NULL: there is none to be had. */
struct tls_buffer *tls_bio_buffer(struct tls_link *link, size_t room);

/* tls_session.c */
must_use bool tls_sessions_open(struct tls_sessions *sessions, struct arena *arena, unsigned capacity);
size_t tls_sessions_bytes(unsigned capacity);
void tls_sessions_close(struct tls_sessions *sessions);
/* The session of this identity, or NULL; borrowed until the next call. */
const struct tls_kept *tls_sessions_find(struct tls_sessions *sessions, const uint8_t identity[32], nsec now);
/* Takes `session` over, in place of one that is there. */
void tls_sessions_keep(struct tls_sessions *sessions, const uint8_t identity[32], SSL_SESSION *session, nsec until,
                       nsec relied_until);
void tls_sessions_forget(struct tls_sessions *sessions, const uint8_t identity[32]);

/* tls_verify.c: what a demand asks of a certificate, and what was wrong in people's words. */
/* A hash of every field of the demand. False: no memory. */
must_use bool tls_identity(struct tls *tls, const struct tls_demand *demand, uint8_t identity[32]);
/* Sets up SNI, names, TLSA records and time. NULL: done; else why not. */
must_use const char *tls_verify_demand(SSL *ssl, const struct tls_demand *demand, nsec wall);
/* What a context of this check needs once. NULL: done; else why not. */
must_use const char *tls_verify_context(SSL_CTX *context, enum tls_check check, const char *ca);
/* Shows `cert`. NULL: done; else why not. */
must_use const char *tls_verify_show(SSL_CTX *context, const char *cert, const char *key);
/* The handshake is over: forgets the certificates that the server sent beside its own, 3 KiB each, which the connection
 * and every session of it would hold. */
void tls_verify_trim(const SSL *ssl);
/* How long what this connection has checked may be relied on, from `wall` on. */
nsec tls_verify_lasts(const SSL *ssl, enum tls_check check, nsec wall);
/* Why the handshake failed, from OpenSSL's queue of errors, which is empty after it. */
void tls_explain(const SSL *ssl, enum tls_check check, struct tls_result *result);
void tls_say(struct tls_result *result, const char *reason); /* printable, one line */

#endif
