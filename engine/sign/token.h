/* token.h - what a VERP return path carries: which campaign and recipient a bounce is about, beyond forging.
 *
 * A token is 24 octets in base32 (RFC 4648 §6, lower case, no padding; read without regard to case, because some mail
 * servers change it):
 *     tag 8    the beginning of SHA-256(campaign's id): tells campaigns apart without naming them
 *     seq 6    the recipient's, big endian
 *     mac 10   the beginning of HMAC-SHA-256(key, campaign's id, 0, seq as 8 octets big endian) (RFC 2104)
 * So nobody who has not the key makes one that is taken, and one campaign's are not taken for another's. */
#ifndef SIGN_TOKEN_H
#define SIGN_TOKEN_H

#include "sluice/slice.h"

enum {
    TOKEN_TEXT = 39,                        /* letters and digits */
    TOKEN_KEYS_MAX = 8,                     /* in one file */
    TOKEN_KEY_LEAST = 32,                   /* bytes of a key's line */
    TOKEN_PREFIX_MAX = 64 - 1 - TOKEN_TEXT, /* what may stand before "+token" in a local part (RFC 5321 §4.5.3.1.1) */
};
#define TOKEN_SEQ_MAX (((uint64_t)1 << 48) - 1)

/* Immutable; may be used by all shards at once. */
struct token_keys;

/* A file of secrets, one a line (secret.h): the first makes tokens, all are good to verify them, so that a key can be
 * replaced. NULL: `error` says why. */
must_use struct token_keys *token_keys_load(const char *path, char *error, size_t error_cap);
void token_keys_free(struct token_keys *keys);

struct token {
    uint8_t tag[8], mac[10];
    uint64_t seq;
};

/* Requires seq <= TOKEN_SEQ_MAX. */
void token_make(const struct token_keys *keys, struct slice campaign, uint64_t seq, char text[TOKEN_TEXT]);
/* Reads a token, or one behind the last '+' of a local part, of a whole address or one in angle brackets. False: there
 * is none. */
must_use bool token_read(struct slice text, struct token *token);
/* Might it be of this campaign? Any key will do. */
bool token_names(const struct token *token, struct slice campaign);
/* Was it made for this campaign, with one of the keys? */
must_use bool token_verify(const struct token_keys *keys, const struct token *token, struct slice campaign);

#endif
