/* Relays and the routes to them: what must be given together is, and what could show a password to others is refused.
 */
#include "control/config.h"

#include "control/config_build.h"

#include <stdlib.h>

/* ---- relays ---- */

static bool fail_at(struct config_build *b, cfg_t *section, const char *key, const char *why)
{
    return config_build_fail(b, section->filename, config_build_line(section, key), "%s %s: %s", section->name,
                             section->title ? section->title : "", why);
}

static bool check_relay_name(struct config_build *b, cfg_t *section)
{
    if (!config_build_name(b, section, LIMIT_ISP_NAME))
        return false;
    if (strcmp(section->title, "none") == 0)
        return fail_at(b, section, "host", "none stands for no relay, and is no name of one");
    for (unsigned i = 0; i < b->config->isp_count; i++)
        if (strcmp(b->config->isps[i].name, section->title) == 0)
            return fail_at(b, section, "host",
                           "an isp has this name; events and limits go by it, so it stands for one");
    return true;
}

/* Who signs in needs a name and the one secret that goes with the way; who does not needs neither. */
static bool check_auth(struct config_build *b, cfg_t *section, const struct config_relay *relay)
{
    bool token = relay->auth == CONFIG_AUTH_XOAUTH2;
    if (relay->auth == CONFIG_AUTH_NONE) {
        if (relay->user[0] || relay->password_file[0] || relay->token_file[0])
            return fail_at(b, section,
                           relay->user[0]            ? "user"
                           : relay->password_file[0] ? "password_file"
                                                     : "token_file",
                           "auth is none, so this is of no use; set auth = plain, login or xoauth2");
        return true;
    }
    if (!relay->user[0])
        return fail_at(b, section, "auth", "auth needs a user");
    if (token && relay->password_file[0])
        return fail_at(b, section, "password_file", "xoauth2 takes a token_file instead");
    if (!token && relay->token_file[0])
        return fail_at(b, section, "token_file", "only xoauth2 takes a token; plain and login take a password_file");
    if (token ? !relay->token_file[0] : !relay->password_file[0])
        return fail_at(b, section, "auth",
                       token ? "xoauth2 needs a token_file" : "plain and login need a password_file");
    return true;
}

/* RFC 4954 §4: credentials in plain text are for those who say so, twice. */
static bool check_relay_tls(struct config_build *b, cfg_t *section, const struct config_relay *relay)
{
    enum config_tls tls = relay->limits.tls;
    if (relay->implicit_tls && tls == CONFIG_TLS_OFF)
        return fail_at(b, section, "tls", "tls is off, but the port has TLS from the first byte (implicit_tls)");
    if (relay->auth_plain_text && tls != CONFIG_TLS_OFF)
        return fail_at(b, section, "auth_plain_text", "this is for tls = off, which is not what is set");
    if (relay->auth == CONFIG_AUTH_NONE || tls == CONFIG_TLS_REQUIRED || tls == CONFIG_TLS_VERIFIED)
        return true;
    if (tls == CONFIG_TLS_OFF && relay->auth_plain_text)
        return true;
    return fail_at(b, section, "tls",
                   tls == CONFIG_TLS_OFF
                       ? "auth without TLS shows the secret to whoever listens; auth_plain_text = yes allows it"
                       : "with opportunistic whoever is in between can have the secret in plain text; set tls = "
                         "verified or required");
}

static bool add_relay(struct config_build *b, cfg_t *section, struct config_relay *relay)
{
    const struct config_row *tls = config_row_find(CONFIG_LIMITS, "tls");
    if (!check_relay_name(b, section))
        return false;
    slice_copy(relay->name, sizeof relay->name, slice_of(section->title));
    relay->limits = b->config->defaults;
    relay->limits.given = 0;
    if (!config_build_default(b, tls, &relay->limits, "verified") || !config_build_defaults(b, CONFIG_RELAY, relay) ||
        !config_build_given(b, section, CONFIG_RELAY, relay) ||
        !config_build_defaults(b, CONFIG_TOTAL, &relay->total) ||
        !config_build_given(b, section, CONFIG_TOTAL, &relay->total) ||
        !config_build_given(b, section, CONFIG_LIMITS, &relay->limits))
        return false;
    if (!relay->host)
        return fail_at(b, section, "host", "it has no host: host = smtp.example.com");
    if (cfg_size(section, "implicit_tls") == 0)
        relay->implicit_tls = relay->port == 465 || relay->port == 2465; /* RFC 8314 §3.3; Amazon has the second too */
    if (!check_auth(b, section, relay) || !check_relay_tls(b, section, relay))
        return false;
    if (relay->auth == CONFIG_AUTH_NONE)
        return true;
    bool token = relay->auth == CONFIG_AUTH_XOAUTH2;
    relay->secret_file = token ? relay->token_file : relay->password_file;
    relay->line = config_build_line(section, token ? "token_file" : "password_file");
    relay->file = strdup(section->filename);
    return relay->file || config_build_no_memory(b);
}

/* ---- routes ---- */

static bool add_route(struct config_build *b, cfg_t *section, struct config_route *route)
{
    const struct config *c = b->config;
    route->pool_index = route->relay = -1;
    if (!config_build_defaults(b, CONFIG_ROUTE, route) || !config_build_given(b, section, CONFIG_ROUTE, route))
        return false;
    if (!route->relay_name)
        return fail_at(b, section, "relay", "it has no relay: relay = NAME, or none for the domain's own hosts");
    for (unsigned i = 0; i < c->pool_count; i++)
        if (strcmp(c->pools[i].name, route->pool) == 0)
            route->pool_index = (int)i;
    if (route->pool[0] && route->pool_index < 0)
        return config_build_fail(b, section->filename, config_build_line(section, "pool"),
                                 "route: %s is no pool of this configuration", route->pool);
    for (unsigned i = 0; i < c->relay_count; i++)
        if (strcmp(c->relays[i].name, route->relay_name) == 0)
            route->relay = (int)i;
    if (route->relay < 0 && strcmp(route->relay_name, "none") != 0)
        return config_build_fail(b, section->filename, config_build_line(section, "relay"),
                                 "route: %s is no relay of this configuration", route->relay_name);
    return true;
}

/* ---- both ---- */

bool config_build_relays(struct config_build *b)
{
    struct config *c = b->config;
    unsigned relays = cfg_size(b->root, "relay"), routes = cfg_size(b->root, "route");
    c->relays = calloc(relays + 1, sizeof *c->relays);
    c->routes = calloc(routes + 1, sizeof *c->routes);
    if (!c->relays || !c->routes)
        return config_build_no_memory(b);
    for (unsigned i = 0; i < relays; i++)
        if (!add_relay(b, cfg_getnsec(b->root, "relay", i), &c->relays[c->relay_count++]))
            return false;
    for (unsigned i = 0; i < routes; i++)
        if (!add_route(b, cfg_getnsec(b->root, "route", i), &c->routes[c->route_count++]))
            return false;
    return true;
}

void config_relays_free(struct config *config)
{
    for (unsigned i = 0; i < config->relay_count; i++) {
        config_rows_free(CONFIG_RELAY, &config->relays[i]);
        config_limits_free(config, &config->relays[i].limits);
        free(config->relays[i].file);
    }
    for (unsigned i = 0; i < config->route_count; i++)
        config_rows_free(CONFIG_ROUTE, &config->routes[i]);
    free(config->relays);
    free(config->routes);
}
