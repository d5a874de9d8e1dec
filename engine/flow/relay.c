/* Some mail does not go to its domain's own hosts: this file says which, and what we show at the door instead. */
#include "flow/relay.h"

#include "proto/message/encode.h"

bool relay_open(struct relay_table *table, struct arena *arena, const struct config *config)
{
    table->config = config;
    table->auths = arena_take(arena, CONFIG_RELAYS_MAX * sizeof *table->auths, sizeof(void *));
    bool opened = table->auths;
    for (unsigned i = 0; i < CONFIG_RELAYS_MAX; i++)
        for (unsigned j = 0; opened && j < RELAY_AUTHS; j++) /* memory that is not touched is not used */
            opened = (table->auths[i][j].text = arena_take(arena, RELAY_AUTH_TEXT, sizeof(void *)));
    return opened;
}

void relay_close(struct relay_table *table)
{
    for (unsigned i = 0; table->auths && i < CONFIG_RELAYS_MAX; i++)
        for (unsigned j = 0; j < RELAY_AUTHS; j++)
            if (table->auths[i][j].version)
                explicit_bzero(table->auths[i][j].text, RELAY_AUTH_TEXT);
}

/* What sessions are signing in with stays theirs; the versions of secrets say that it is of no use to others. */
void relay_reload(struct relay_table *table, const struct config *config)
{
    table->config = config;
}

int relay_of(const struct relay_table *table, unsigned pool, struct slice domain)
{
    for (unsigned i = 0; i < table->config->route_count; i++) {
        const struct config_route *route = &table->config->routes[i];
        bool fits = route->pool_index < 0 || (unsigned)route->pool_index == pool;
        if (fits && route->domain_count)
            fits = isp_of_host(&route->table, domain) != ISP_NONE;
        if (fits)
            return route->relay;
    }
    return RELAY_NONE;
}

/* ---- signing in ---- */

struct base64 {
    char *to;
    size_t n;
    unsigned char held[3];
    size_t count; /* of `held` */
};

static void flush(struct base64 *out)
{
    if (out->count)
        out->n += encode_base64_group(out->held, out->count, out->to + out->n);
    out->count = 0;
}

static void put(struct base64 *out, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out->held[out->count++] = (unsigned char)bytes[i];
        if (out->count == sizeof out->held)
            flush(out);
    }
}

/* The text so far as a word of its own. */
static struct slice word(struct base64 *out)
{
    flush(out);
    struct slice text = {out->to, out->n};
    out->to += out->n;
    out->n = 0;
    return text;
}

static void say(struct relay_auth *auth, const struct config_relay *relay, const char *secret, size_t n)
{
    struct base64 out = {.to = auth->text};
    struct client_credentials *c = &auth->credentials;
    switch (relay->auth) {
    case CONFIG_AUTH_PLAIN: /* RFC 4616 §2: nobody is acted for */
        c->mechanism = CLIENT_MECHANISM_PLAIN;
        put(&out, "", 1);
        put(&out, relay->user, strlen(relay->user) + 1);
        put(&out, secret, n);
        c->first = word(&out);
        break;
    case CONFIG_AUTH_XOAUTH2:
        c->mechanism = CLIENT_MECHANISM_XOAUTH2;
        put(&out, "user=", 5);
        put(&out, relay->user, strlen(relay->user));
        put(&out, "\001auth=Bearer ", 13);
        put(&out, secret, n);
        put(&out, "\001\001", 2);
        c->first = word(&out);
        break;
    default:
        c->mechanism = CLIENT_MECHANISM_LOGIN;
        put(&out, relay->user, strlen(relay->user));
        c->first = word(&out);
        put(&out, secret, n);
        c->second = word(&out);
        break;
    }
    c->in_clear = relay->auth_plain_text;
    explicit_bzero(&out, sizeof out);
}

/* One that nobody holds, or else the newest. */
static struct relay_auth *place_for(struct relay_auth auths[RELAY_AUTHS])
{
    struct relay_auth *newest = &auths[0];
    for (unsigned i = 0; i < RELAY_AUTHS; i++) {
        if (!auths[i].held)
            return &auths[i];
        if (auths[i].version > newest->version)
            newest = &auths[i];
    }
    return newest;
}

struct relay_auth *relay_sign_in(struct relay_table *table, struct relays *relays, unsigned relay)
{
    struct relay_auth *auths = table->auths[relay], *auth = NULL;
    char secret[RELAY_SECRET_MAX];
    size_t n;
    uint64_t version = relays_secret(relays, relay, secret, &n);
    for (unsigned i = 0; i < RELAY_AUTHS; i++)
        if (auths[i].version == version)
            auth = &auths[i];
    if (!auth)
        auth = place_for(auths);
    if (!auth->held && auth->version != version) {
        explicit_bzero(auth->text, RELAY_AUTH_TEXT);
        say(auth, &table->config->relays[relay], secret, n);
        auth->version = version;
    }
    explicit_bzero(secret, sizeof secret);
    auth->held++;
    return auth;
}

void relay_signed_in(struct relay_auth *auth)
{
    sluice_assert(auth->held > 0);
    auth->held--;
}
