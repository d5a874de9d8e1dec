/* Some mail does not go to its domain's own hosts: this file says which, and what we show at the door instead. */
#include "flow/relay.h"

#include "proto/message/encode.h"

static bool open_route(struct relay_table *table, struct arena *arena, unsigned at)
{
    const struct config_route *route = &table->config->routes[at];
    struct isp_suffix *rows = arena_take(arena, (route->domain_count + 1) * sizeof *rows, sizeof(void *));
    uint32_t *slots = arena_take(arena, isp_slots(route->domain_count) * sizeof *slots, sizeof *slots);
    if (!rows || !slots)
        return false;
    for (unsigned i = 0; i < route->domain_count; i++)
        rows[i] = (struct isp_suffix){slice_of(route->domains[i]), 0};
    (void)isp_table_init(&table->domains[at], rows, route->domain_count,
                         slots); /* one that stands twice does no harm */
    return true;
}

bool relay_open(struct relay_table *table, struct arena *arena, const struct config *config)
{
    table->config = config;
    table->domains = arena_take(arena, (config->route_count + 1) * sizeof *table->domains, sizeof(void *));
    table->auths = arena_take(arena, (config->relay_count + 1) * sizeof *table->auths, sizeof(void *));
    bool opened = table->domains && table->auths;
    for (unsigned i = 0; opened && i < config->route_count; i++)
        opened = open_route(table, arena, i);
    for (unsigned i = 0; opened && i < config->relay_count; i++) {
        table->auths[i].how = config->relays[i].auth;
        if (config->relays[i].secret_file)
            opened = (table->auths[i].text = arena_take(arena, RELAY_AUTH_TEXT, sizeof(void *)));
    }
    return opened;
}

void relay_close(struct relay_table *table)
{
    for (unsigned i = 0; table->auths && i < table->config->relay_count; i++)
        if (table->auths[i].text)
            explicit_bzero(table->auths[i].text, RELAY_AUTH_TEXT);
}

int relay_of(const struct relay_table *table, unsigned pool, struct slice domain)
{
    for (unsigned i = 0; i < table->config->route_count; i++) {
        const struct config_route *route = &table->config->routes[i];
        bool fits = route->pool_index < 0 || (unsigned)route->pool_index == pool;
        if (fits && route->domain_count)
            fits = isp_of_host(&table->domains[i], domain) != ISP_NONE;
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

static void say(struct relay_auth *auth, const char *user, const char *secret, size_t n)
{
    struct base64 out = {.to = auth->text};
    switch (auth->how) {
    case CONFIG_AUTH_PLAIN: /* RFC 4616 §2: nobody is acted for */
        put(&out, "", 1);
        put(&out, user, strlen(user) + 1);
        put(&out, secret, n);
        break;
    case CONFIG_AUTH_XOAUTH2:
        put(&out, "user=", 5);
        put(&out, user, strlen(user));
        put(&out, "\001auth=Bearer ", 13);
        put(&out, secret, n);
        put(&out, "\001\001", 2);
        break;
    default:
        put(&out, user, strlen(user));
        flush(&out);
        auth->first = (struct slice){auth->text, out.n};
        out.to += out.n;
        out.n = 0;
        put(&out, secret, n);
        flush(&out);
        auth->second = (struct slice){out.to, out.n};
        explicit_bzero(&out, sizeof out);
        return;
    }
    flush(&out);
    auth->first = (struct slice){auth->text, out.n};
    explicit_bzero(&out, sizeof out);
}

const struct relay_auth *relay_auth_of(struct relay_table *table, struct relays *relays, unsigned relay)
{
    struct relay_auth *auth = &table->auths[relay];
    char secret[RELAY_SECRET_MAX];
    size_t n;
    if (!auth->text)
        return NULL;
    uint64_t version = relays_secret(relays, relay, secret, &n);
    if (version != auth->version) {
        explicit_bzero(auth->text, RELAY_AUTH_TEXT);
        say(auth, table->config->relays[relay].user, secret, n);
        auth->version = version;
    }
    explicit_bzero(secret, sizeof secret);
    return auth;
}
