/* A configuration that takes another's place while it is in force: what bears the same name keeps its index, and what
 * only a restart can change stays as it is. */
#include "control/config_align.h"

#include "control/config_build.h"

#include <stdio.h>
#include <stdlib.h>

/* Memory, descriptors and connections are laid out by these at the start. */
static const char *const fixed[] = {"redis",
                                    "prefix",
                                    "engine",
                                    "state_dir",
                                    "shards",
                                    "sessions_max",
                                    "press_bytes",
                                    "resolver",
                                    "resolver_timeout",
                                    "resolver_tries",
                                    "smtp_port",
                                    "mta_sts",
                                    "sts_port",
                                    "tls_ca",
                                    "http",
                                    "http_public",
                                    "token_key",
                                    "dkim_engine",
                                    "redis_ca",
                                    "redis_name",
                                    "redis_cert",
                                    "redis_key",
                                    "redis_sentinel_user",
                                    "redis_sentinel_password"};

enum { TEXT = 64 * 1024 };

bool config_is_fixed(const char *key)
{
    for (size_t i = 0; i < countof(fixed); i++)
        if (strcmp(fixed[i], key) == 0)
            return true;
    return false;
}

/* The old value in the new one's place. */
static bool keep(const struct config_row *row, struct config *next, const struct config *now)
{
    char *field = (char *)next + row->offset;
    const char *old = (const char *)now + row->offset;
    if (config_row_is_owned_text(row)) {
        char *copy = strdup(*(char *const *)(const void *)old);
        if (copy) {
            free(*(char **)(void *)field);
            *(char **)(void *)field = copy;
        }
        return copy;
    }
    memcpy(field, old,
           row->type == CONFIG_PORT   ? sizeof(uint16_t)
           : row->type == CONFIG_SIZE ? sizeof(size_t)
                                      : config_row_size(row));
    return true;
}

static bool keep_fixed(struct config *next, const struct config *now, char *changed, size_t cap)
{
    size_t count, n = 0;
    const struct config_row *rows = config_rows(&count);
    char *text = malloc(2 * (size_t)TEXT);
    bool good = text;
    changed[0] = 0;
    for (size_t i = 0; good && i < count; i++) {
        if (rows[i].scope != CONFIG_TOP || !config_is_fixed(rows[i].name))
            continue;
        config_format(&rows[i], next, text, TEXT);
        config_format(&rows[i], now, text + TEXT, TEXT);
        if (strcmp(text, text + TEXT) == 0)
            continue;
        if (n < cap)
            n += (size_t)snprintf(changed + n, cap - n, "%s%s", n ? ", " : "", rows[i].name);
        good = keep(&rows[i], next, now);
    }
    free(text);
    return good;
}

/* ---- places ---- */

/* Where each of `count` new ones goes, in at[]: its old index, or one behind all old ones. Returns how many there are.
 */
static unsigned places(const char *(*name)(const void *config, unsigned i), const void *next, unsigned count,
                       const void *now, unsigned now_count, unsigned *at)
{
    unsigned total = now_count;
    for (unsigned i = 0; i < count; i++) {
        unsigned j = 0;
        while (j < now_count && strcmp(name(next, i), name(now, j)) != 0)
            j++;
        at[i] = j < now_count ? j : total++;
    }
    return total;
}

static const char *source_name(const void *c, unsigned i) { return ((const struct config *)c)->sources[i].name; }
static const char *pool_name(const void *c, unsigned i) { return ((const struct config *)c)->pools[i].name; }
static const char *isp_name(const void *c, unsigned i) { return ((const struct config *)c)->isps[i].name; }
static const char *relay_name(const void *c, unsigned i) { return ((const struct config *)c)->relays[i].name; }

static bool fits(unsigned total, unsigned most, const char *what, char *error, size_t cap)
{
    if (total > most)
        snprintf(error, cap, "with those that went since the start there are %u %s; more than %u need a restart", total,
                 what, most);
    return total <= most;
}

static bool align_sources(struct config *next, const struct config *now, unsigned *at, char *error, size_t cap)
{
    unsigned total = places(source_name, next, next->source_count, now, now->source_count, at);
    struct config_source *all = calloc(total + 1, sizeof *all);
    if (!all || !fits(total, CONFIG_SOURCES_MAX, "sources", error, cap)) {
        free(all);
        return false;
    }
    for (unsigned i = 0; i < now->source_count; i++) {
        all[i].removed = true;
        all[i].warmup = -1;
        all[i].since = INT64_MIN;
        all[i].overflow = CONFIG_OVERFLOW_SPILL;
        memcpy(all[i].name, now->sources[i].name, sizeof all[i].name);
        memcpy(all[i].ehlo, now->sources[i].ehlo, sizeof all[i].ehlo);
        all[i].address = now->sources[i].address;
    }
    for (unsigned i = 0; i < next->source_count; i++)
        all[at[i]] = next->sources[i];
    free(next->sources);
    next->sources = all;
    next->source_count = total;
    return true;
}

static bool align_pools(struct config *next, const struct config *now, const unsigned *source_at, unsigned *at,
                        char *error, size_t cap)
{
    unsigned total = places(pool_name, next, next->pool_count, now, now->pool_count, at);
    struct config_pool *all = calloc(total + 1, sizeof *all);
    if (!all || !fits(total, CONFIG_POOLS_MAX, "pools", error, cap)) {
        free(all);
        return false;
    }
    for (unsigned i = 0; i < now->pool_count; i++) {
        all[i].removed = true;
        memcpy(all[i].name, now->pools[i].name, sizeof all[i].name);
    }
    for (unsigned i = 0; i < next->pool_count; i++) {
        for (unsigned j = 0; j < next->pools[i].source_count; j++)
            next->pools[i].sources[j] = source_at[next->pools[i].sources[j]];
        all[at[i]] = next->pools[i];
    }
    free(next->pools);
    next->pools = all;
    next->pool_count = total;
    for (unsigned i = 0; i < next->route_count; i++)
        if (next->routes[i].pool_index >= 0)
            next->routes[i].pool_index = (int)at[next->routes[i].pool_index];
    return true;
}

static bool align_isps(struct config *next, const struct config *now, unsigned *at, char *error, size_t cap)
{
    unsigned total = places(isp_name, next, next->isp_count, now, now->isp_count, at);
    struct config_isp *all = calloc(total + 1, sizeof *all);
    if (!all || !fits(total, CONFIG_ISPS_MAX, "isps", error, cap)) {
        free(all);
        return false;
    }
    for (unsigned i = 0; i < now->isp_count; i++) {
        all[i].removed = true;
        memcpy(all[i].name, now->isps[i].name, sizeof all[i].name);
        all[i].limits = next->defaults;
    }
    for (unsigned i = 0; i < next->isp_count; i++)
        all[at[i]] = next->isps[i];
    free(next->isps);
    next->isps = all;
    next->isp_count = total;
    return true;
}

/* A relay that went keeps its host, for sessions are under way there. */
static bool stay(struct config_relay *relay, const struct config_relay *was, const struct config *next)
{
    memset(relay, 0, sizeof *relay);
    relay->removed = true;
    memcpy(relay->name, was->name, sizeof relay->name);
    relay->port = was->port;
    relay->implicit_tls = was->implicit_tls;
    relay->auth = CONFIG_AUTH_NONE;
    relay->limits = next->defaults;
    relay->host = strdup(was->host);
    relay->user = strdup("");
    relay->password_file = strdup("");
    relay->token_file = strdup("");
    return relay->host && relay->user && relay->password_file && relay->token_file;
}

static bool align_relays(struct config *next, const struct config *now, unsigned *at, char *error, size_t cap)
{
    unsigned total = places(relay_name, next, next->relay_count, now, now->relay_count, at);
    struct config_relay *all = calloc(total + 1, sizeof *all);
    if (!all || !fits(total, CONFIG_RELAYS_MAX, "relays", error, cap)) {
        free(all);
        return false;
    }
    for (unsigned i = 0; i < next->relay_count; i++)
        all[at[i]] = next->relays[i];
    free(next->relays);
    next->relays = all;
    next->relay_count = total;
    for (unsigned i = 0; i < now->relay_count; i++)
        if (!all[i].name[0] && !stay(&all[i], &now->relays[i], next))
            return false;
    for (unsigned i = 0; i < next->route_count; i++)
        if (next->routes[i].relay >= 0)
            next->routes[i].relay = (int)at[next->routes[i].relay];
    return true;
}

bool config_align(struct config *next, const struct config *now, char *changed, size_t changed_cap, char *error,
                  size_t error_cap)
{
    unsigned most = next->source_count + next->pool_count + next->isp_count + next->relay_count + 1;
    unsigned *source_at = calloc(most, sizeof *source_at), *at = calloc(most, sizeof *at);
    struct config_build b = {.config = next, .error = error, .error_cap = error_cap};
    snprintf(error, error_cap, "no memory");
    bool good = source_at && at && keep_fixed(next, now, changed, changed_cap) &&
                align_sources(next, now, source_at, error, error_cap) &&
                align_pools(next, now, source_at, at, error, error_cap) &&
                align_isps(next, now, at, error, error_cap) && align_relays(next, now, at, error, error_cap) &&
                config_build_lanes(&b) && config_build_tables(next);
    next->generation = now->generation + 1;
    free(source_at);
    free(at);
    return good;
}

/* ---- what has moved ---- */

static bool has_suffix(const struct config_isp *isp, const char *suffix)
{
    for (unsigned i = 0; i < isp->mx_count; i++)
        if (strcmp(isp->mx[i], suffix) == 0)
            return true;
    return false;
}

/* Are all of a's suffixes b's too? */
static bool within(const struct config_isp *a, const struct config_isp *b)
{
    for (unsigned i = 0; i < a->mx_count; i++)
        if (!has_suffix(b, a->mx[i]))
            return false;
    return true;
}

bool config_regroups(const struct config *next, const struct config *now)
{
    for (unsigned i = 0; i < next->isp_count; i++) {
        static const struct config_isp none;
        const struct config_isp *was = i < now->isp_count ? &now->isps[i] : &none;
        if (!within(was, &next->isps[i]) || !within(&next->isps[i], was))
            return true;
    }
    return false;
}

bool config_isp_gains(const struct config *next, const struct config *now, struct slice isp)
{
    unsigned index = config_isp_index(next, isp);
    bool named = index < next->isp_count;
    if (index >= next->isp_count && index < next->isp_count + next->relay_count)
        return false;
    if (named && (index >= now->isp_count || !within(&next->isps[index], &now->isps[index])))
        return true;
    for (unsigned i = 0; i < now->isp_count; i++)
        for (unsigned j = 0; j < now->isps[i].mx_count; j++) {
            const char *suffix = now->isps[i].mx[j];
            char host[LIMIT_DOMAIN + 2];
            if (has_suffix(&next->isps[i], suffix))
                continue;
            /* It lost this one: whose are its hosts now? */
            snprintf(host, sizeof host, "%s%s", suffix[0] == '.' ? "x" : "", suffix);
            uint32_t now_of = isp_of_host(&next->mx_table, slice_of(host));
            if (named ? now_of == index : now_of == ISP_NONE)
                return true;
        }
    return false;
}
