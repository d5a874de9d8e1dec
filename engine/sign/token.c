/* Bounces come back as mail from anybody: what they say is believed only when it carries what nobody else can make. */
#include "sign/token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/secret.h"
#include "sluice/limits.h"

enum { TOKEN_BYTES = 24 };

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

struct token_keys {
    struct secret secret;
    struct slice keys[TOKEN_KEYS_MAX];
    unsigned count;
};

/* ---- keys ---- */

void token_keys_free(struct token_keys *keys)
{
    if (keys)
        secret_free(&keys->secret);
    free(keys);
}

static bool take_keys(struct token_keys *keys, const char *path, char *error, size_t cap)
{
    struct slice rest = {keys->secret.bytes, keys->secret.n}, line;
    while (secret_line(&rest, &line)) {
        if (line.n < TOKEN_KEY_LEAST) {
            snprintf(error, cap, "%s: a key has %zu characters; at least %d are needed (openssl rand -hex 32)", path,
                     line.n, TOKEN_KEY_LEAST);
            return false;
        }
        if (keys->count == TOKEN_KEYS_MAX) {
            snprintf(error, cap, "%s: has more than %d keys", path, TOKEN_KEYS_MAX);
            return false;
        }
        keys->keys[keys->count++] = line;
    }
    if (!keys->count)
        snprintf(error, cap, "%s: holds no key; one a line is needed (openssl rand -hex 32)", path);
    return keys->count > 0;
}

struct token_keys *token_keys_load(const char *path, char *error, size_t error_cap)
{
    struct token_keys *keys = calloc(1, sizeof *keys);
    if (!keys) {
        snprintf(error, error_cap, "%s: no memory", path);
        return NULL;
    }
    if (secret_read(path, &keys->secret, error, error_cap) && take_keys(keys, path, error, error_cap))
        return keys;
    token_keys_free(keys);
    return NULL;
}

/* ---- tokens ---- */

static void make_tag(struct slice campaign, uint8_t tag[8])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256((const uint8_t *)campaign.p, campaign.n, digest);
    memcpy(tag, digest, 8);
}

static void big_endian(uint8_t *to, unsigned n, uint64_t value)
{
    for (unsigned i = n; i > 0; i--, value >>= 8)
        to[i - 1] = (uint8_t)value;
}

static void make_mac(struct slice key, struct slice campaign, uint64_t seq, uint8_t mac[10])
{
    uint8_t text[LIMIT_CAMPAIGN_ID + 9], digest[EVP_MAX_MD_SIZE];
    sluice_assert(campaign.n <= LIMIT_CAMPAIGN_ID);
    memcpy(text, campaign.p, campaign.n);
    text[campaign.n] = 0; /* no id holds a zero byte, so no two (id, seq) give the same text */
    big_endian(text + campaign.n + 1, 8, seq);
    sluice_assert(HMAC(EVP_sha256(), key.p, (int)key.n, text, campaign.n + 9, digest, NULL));
    memcpy(mac, digest, 10);
}

void token_make(const struct token_keys *keys, struct slice campaign, uint64_t seq, char text[TOKEN_TEXT])
{
    uint8_t bytes[TOKEN_BYTES];
    sluice_assert(seq <= TOKEN_SEQ_MAX);
    make_tag(campaign, bytes);
    big_endian(bytes + 8, 6, seq);
    make_mac(keys->keys[0], campaign, seq, bytes + 14);
    uint32_t bits = 0;
    unsigned have = 0, at = 0;
    for (unsigned i = 0; i < TOKEN_BYTES; i++) {
        bits = bits << 8 | bytes[i];
        for (have += 8; have >= 5; have -= 5)
            text[at++] = alphabet[bits >> (have - 5) & 31];
    }
    text[at++] = alphabet[bits << (5 - have) & 31];
    sluice_assert(at == TOKEN_TEXT);
}

/* The local part's end, so that a domain's '+' (there is none) or a bracket does not mislead. */
static struct slice find(struct slice text)
{
    while (text.n && (text.p[0] == '<' || text.p[0] == ' '))
        text.p++, text.n--;
    const char *at = memrchr(text.p, '@', text.n);
    if (at)
        text.n = (size_t)(at - text.p);
    const char *plus = memrchr(text.p, '+', text.n);
    if (plus)
        text = (struct slice){plus + 1, (size_t)(text.p + text.n - plus - 1)};
    return text;
}

bool token_read(struct slice text, struct token *token)
{
    uint8_t bytes[TOKEN_BYTES];
    uint32_t bits = 0;
    unsigned have = 0, n = 0;
    text = find(text);
    if (text.n != TOKEN_TEXT)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = ascii_lower(text.p[i]);
        const char *digit = c ? memchr(alphabet, c, 32) : NULL;
        if (!digit)
            return false;
        bits = bits << 5 | (uint32_t)(digit - alphabet);
        have += 5;
        if (have < 8)
            continue;
        have -= 8;
        bytes[n++] = (uint8_t)(bits >> have);
    }
    if (bits & ((1u << have) - 1)) /* what is left over of the last letter is nothing: each token has one text */
        return false;
    memcpy(token->tag, bytes, sizeof token->tag);
    token->seq = 0;
    for (unsigned i = 8; i < 14; i++)
        token->seq = token->seq << 8 | bytes[i];
    memcpy(token->mac, bytes + 14, sizeof token->mac);
    return true;
}

bool token_names(const struct token *token, struct slice campaign)
{
    uint8_t tag[8];
    make_tag(campaign, tag);
    return memcmp(tag, token->tag, sizeof tag) == 0;
}

bool token_verify(const struct token_keys *keys, const struct token *token, struct slice campaign)
{
    bool good = false;
    if (campaign.n > LIMIT_CAMPAIGN_ID || !token_names(token, campaign))
        return false;
    for (unsigned i = 0; i < keys->count; i++) {
        uint8_t mac[10];
        make_mac(keys->keys[i], campaign, token->seq, mac);
        good |= CRYPTO_memcmp(mac, token->mac, sizeof mac) == 0;
    }
    return good;
}
