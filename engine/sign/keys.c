/* Reads the keys that a configuration names, and finds those that sign for a domain. */
#include "sign/keys.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct sign_keys {
    atomic_uint holders;
    const struct config *config; /* held */
    struct token_keys *tokens; /* owned; NULL: none */
    unsigned count;
    bool lanes;
    struct sign_identity identities[];
};

/* ---- loading ---- */

struct load {
    void (*warn)(void *context, const char *sentence);
    void *context;
    char *error;
    size_t error_cap;
};

static bool refuse(const struct load *load, const struct config_dkim *dkim, const char *why)
{
    snprintf(load->error, load->error_cap, "%s:%u: dkim %s: %s", dkim->file, dkim->line, dkim->name, why);
    return false;
}

static bool load_identity(const struct load *load, const struct config_dkim *dkim, struct sign_identity *identity)
{
    char why[1536];
    *identity = (struct sign_identity){.name = dkim->name,
                                       .domain = slice_of(dkim->domain),
                                       .selector = slice_of(dkim->selector),
                                       .key = sign_key_load(dkim->key, why, sizeof why),
                                       .expire = dkim->expire,
                                       .always = dkim->always};
    if (!identity->key)
        return refuse(load, dkim, why);
    if (sign_key_algorithm(identity->key) == DKIM_ED25519 && !dkim->ed25519)
        return refuse(load, dkim,
                      "the key is Ed25519, which few receivers verify, and which can cost a message its DMARC pass at "
                      "Yahoo; ed25519 = yes allows it, besides an RSA key");
    if (sign_key_algorithm(identity->key) == DKIM_RSA && sign_key_bits(identity->key) < SIGN_RSA_BITS_ADVISED &&
        load->warn) {
        snprintf(why, sizeof why, "%s:%u: dkim %s: the key has %u bits; %d are advised (RFC 8301 3.2)", dkim->file,
                 dkim->line, dkim->name, sign_key_bits(identity->key), (int)SIGN_RSA_BITS_ADVISED);
        load->warn(load->context, why);
    }
    return true;
}

/* Tries the lanes out once for all shards, if there is a key that fits them. */
static bool try_lanes(const struct load *load, const struct config *config, const struct sign_keys *keys)
{
    bool fits = false;
    enum rsa_lanes_state state;
    for (unsigned i = 0; i < keys->count; i++)
        fits |= sign_key_lane(keys->identities[i].key) != NULL;
    if (!fits || config->dkim_engine != CONFIG_DKIM_AUTO)
        return false;
    rsa_lanes_close(rsa_lanes_open(NULL, &state));
    if (state == RSA_LANES_MISMATCH && load->warn)
        load->warn(load->context, "this CPU's AVX-512 IFMA computes wrong RSA signatures, so OpenSSL computes them; "
                                  "dkim_engine = openssl says that this is known");
    return state == RSA_LANES_READY;
}

struct sign_keys *sign_keys_load(const struct config *config, void (*warn)(void *context, const char *sentence),
                                 void *context, char *error, size_t error_cap)
{
    struct load load = {warn, context, error, error_cap};
    struct sign_keys *keys = calloc(1, sizeof *keys + (config->dkim_count + 1) * sizeof keys->identities[0]);
    if (!keys) {
        snprintf(error, error_cap, "%s: no memory", config->file);
        return NULL;
    }
    atomic_init(&keys->holders, 1);
    keys->config = config_hold(config);
    for (unsigned i = 0; i < config->dkim_count; i++)
        if (config->dkims[i].enabled && !load_identity(&load, &config->dkims[i], &keys->identities[keys->count++])) {
            sign_keys_release(keys);
            return NULL;
        }
    if (config->token_key[0]) {
        char why[1536];
        keys->tokens = token_keys_load(config->token_key, why, sizeof why);
        if (!keys->tokens) {
            snprintf(error, error_cap, "token_key: %s", why);
            sign_keys_release(keys);
            return NULL;
        }
    }
    keys->lanes = try_lanes(&load, config, keys);
    return keys;
}

struct sign_keys *sign_keys_hold(struct sign_keys *keys)
{
    atomic_fetch_add_explicit(&keys->holders, 1, memory_order_relaxed);
    return keys;
}

void sign_keys_release(struct sign_keys *keys)
{
    if (!keys || atomic_fetch_sub_explicit(&keys->holders, 1, memory_order_acq_rel) > 1)
        return;
    token_keys_free(keys->tokens);
    for (unsigned i = 0; i < keys->count; i++)
        sign_key_release(keys->identities[i].key);
    config_release(keys->config);
    free(keys);
}

/* ---- finding ---- */

/* The domain itself or one above it. */
static bool is_within(struct slice domain, struct slice parent)
{
    if (domain.n == parent.n)
        return slice_equal_nocase(domain, parent);
    return domain.n > parent.n && domain.p[domain.n - parent.n - 1] == '.' && slice_ends_with_nocase(domain, parent);
}

unsigned sign_keys_for(const struct sign_keys *keys, struct slice from_domain,
                       const struct sign_identity *found[DKIM_SIGNATURES_MAX])
{
    size_t nearest = 0;
    unsigned count = 0;
    for (unsigned i = 0; i < keys->count; i++) {
        struct slice domain = keys->identities[i].domain;
        if (domain.n > nearest && is_within(from_domain, domain))
            nearest = domain.n;
    }
    for (unsigned i = 0; i < keys->count && count < DKIM_SIGNATURES_MAX; i++) {
        const struct sign_identity *identity = &keys->identities[i];
        bool signs = identity->always || (identity->domain.n == nearest && is_within(from_domain, identity->domain));
        if (signs)
            found[count++] = identity;
    }
    return count;
}

bool sign_keys_lanes(const struct sign_keys *keys) { return keys->lanes; }

const struct token_keys *sign_keys_tokens(const struct sign_keys *keys) { return keys->tokens; }

unsigned sign_keys_count(const struct sign_keys *keys) { return keys->count; }

const struct sign_identity *sign_keys_at(const struct sign_keys *keys, unsigned index)
{
    sluice_assert(index < keys->count);
    return &keys->identities[index];
}
