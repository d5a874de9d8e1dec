/* peer.h - the other side of the TLS tests: authorities, certificates, and servers over memory, made with OpenSSL
 * alone. The judge shares nothing with engine/net/tls*.c.
 *
 * Whatever cannot be had ends the test program with a message: these functions do not fail. */
#ifndef TESTS_TLS_PEER_H
#define TESTS_TLS_PEER_H

#include "sluice/base.h"
#include "sluice/slice.h"

#include <openssl/ssl.h>

/* A key and its certificate. */
struct party {
    EVP_PKEY *key;
    X509 *certificate;
    const struct party *issuer; /* NULL: itself */
};

struct party_config {
    const struct party *issuer; /* NULL: signs itself; borrowed until party_close */
    const char *common_name;    /* "" : none */
    const char *names;          /* alternative names, "DNS:mx.example,DNS:*.example"; "" : none */
    nsec from, until;           /* validity, UTC since the epoch */
    bool authority;
    bool rsa; /* else P-256 */
};
void party_open(struct party *party, const struct party_config *config);
void party_close(struct party *party);
/* Its certificate as a PEM file of its own under /tmp; the caller unlinks it. */
void party_save(const struct party *party, char *path, size_t cap);
/* SHA-256 of its certificate (selector 0) or public key (selector 1), as a TLSA record holds it. */
void party_digest(const struct party *party, unsigned selector, uint8_t digest[32]);

/* What a server is like. */
struct server_config {
    const struct party *party;
    unsigned chain;      /* how often its issuer's certificate is sent along */
    int least, most;     /* protocol versions; 0: OpenSSL's */
    unsigned tickets;    /* of a full handshake in TLS 1.3 */
    bool stateful;       /* sessions are kept by the server; the client gets an id (TLS 1.2) or a short ticket */
    bool lasting;        /* tickets are not renewed when they are used, as Postfix does it */
    const char *ciphers; /* TLS 1.2; NULL: OpenSSL's */
};
SSL_CTX *server_new(const struct server_config *config);

/* One connection of a server, over memory. */
struct peer {
    SSL *ssl;
    BIO *in, *out; /* of ssl */
    bool secured;  /* its handshake is over */
    bool said_goodbye, failed;
    char *got; /* plain text so far */
    size_t got_n, got_cap;
};
void peer_open(struct peer *peer, SSL_CTX *server);
void peer_close(struct peer *peer);
void peer_feed(struct peer *peer, const void *bytes, size_t n); /* ciphertext of the client */
void peer_say(struct peer *peer, const void *bytes, size_t n);  /* plain text to the client; after `secured` */
size_t peer_take(struct peer *peer, void *bytes, size_t cap);   /* ciphertext for the client */
size_t peer_pending(struct peer *peer);

void peer_check(bool held, const char *what); /* ends the program unless held */

#endif
