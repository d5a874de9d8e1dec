/* gather.h - short pieces put together on their way into SHA-256, for each call of it has its price.
 *
 * Private to dkim*.c, which say OPENSSL_SUPPRESS_DEPRECATED: SHA256_* is the only interface of OpenSSL whose state can
 * be copied as a value. */
#ifndef PROTO_MESSAGE_GATHER_H
#define PROTO_MESSAGE_GATHER_H

#include "sluice/slice.h"

#include <openssl/sha.h>

enum { GATHER_BYTES = 1024, GATHER_DIRECT = 256 /* a longer piece is hashed where it lies */ };

/* `bytes` is left as it is when one is made: all of it would be cleared for nothing. */
struct gather {
    SHA256_CTX *sha;
    size_t n;
    char bytes[GATHER_BYTES];
};

static inline void gather_start(struct gather *gather, SHA256_CTX *sha)
{
    gather->sha = sha;
    gather->n = 0;
}

static inline void gather_flush(struct gather *gather)
{
    if (gather->n)
        SHA256_Update(gather->sha, gather->bytes, gather->n);
    gather->n = 0;
}

static inline void gather_write(struct gather *gather, const char *p, size_t n)
{
    if (n >= GATHER_DIRECT || n > sizeof gather->bytes - gather->n)
        gather_flush(gather);
    if (n >= GATHER_DIRECT) {
        SHA256_Update(gather->sha, p, n);
        return;
    }
    memcpy(gather->bytes + gather->n, p, n);
    gather->n += n;
}

#endif
