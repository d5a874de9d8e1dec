/* Makes the immutable struct out of what was read, fills in what was left out, and refuses what does not fit together.
 */
#include "control/config.h"

#include "control/config_build.h"
#include "control/rules.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { POOL_SOURCES_MAX = countof(((struct config_pool *)0)->sources) };

/* ---- what is left out ---- */

static void host_name(char *name, size_t cap)
{
    if (gethostname(name, cap) != 0)
        name[0] = 0;
    name[cap - 1] = 0;
    for (char *p = name; *p; p++)
        if (!(*p >= '0' && *p <= '9') && !(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') && !strchr("-.", *p))
            *p = '-';
    if (!name[0])
        snprintf(name, cap, "localhost");
}

static char *default_state_dir(void)
{
    const char *home = getenv("HOME"), *xdg = getenv("XDG_STATE_HOME");
    char *path = NULL;
    if (geteuid() == 0 || access("/var/lib/sluice", W_OK) == 0)
        return strdup("/var/lib/sluice");
    if (xdg && xdg[0] == '/')
        return asprintf(&path, "%s/sluice", xdg) < 0 ? NULL : path;
    return asprintf(&path, "%s/.local/state/sluice", home && home[0] == '/' ? home : "") < 0 ? NULL : path;
}

static unsigned usable_cores(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : (unsigned)count;
}

static bool fill_in(struct config_build *b)
{
    struct config *c = b->config;
    char name[64];
    host_name(name, sizeof name);
    b->hostname_given = c->hostname;
    if (!c->hostname)
        c->hostname = strdup(name);
    if (!c->engine)
        c->engine = strdup(name);
    if (!c->state_dir)
        c->state_dir = default_state_dir();
    if (!c->shards)
        c->shards = usable_cores();
    return (c->hostname && c->engine && c->state_dir) || config_build_no_memory(b);
}

static bool too_many(struct config_build *b, const char *kind, int most)
{
    const cfg_t *section = cfg_getnsec(b->root, kind, (unsigned)most);
    return config_build_fail(b, section->filename, (unsigned)section->line, "there are more than %d blocks of %s", most,
                             kind);
}

/* ---- pools and sources ---- */

static bool read_source(struct config_build *b, cfg_t *section, struct config_source *source)
{
    if (section->title[0] == '/' || !io_address_parse(&source->address, section->title, 0))
        return config_build_fail(b, section->filename, (unsigned)section->line,
                                 "source %s is no address; it is an IPv4 or IPv6 address of this machine",
                                 section->title);
    io_address_text(&source->address, source->name, sizeof source->name);
    source->since = INT64_MIN;
    source->overflow = CONFIG_OVERFLOW_SPILL;
    if (!config_build_given(b, section, CONFIG_SOURCE, source))
        return false;
    if (!source->ehlo[0] && !b->hostname_given)
        return config_build_fail(b, section->filename, (unsigned)section->line,
                                 "source %s has no ehlo; give it one (ehlo = m1.example.com), or set hostname for all",
                                 section->title);
    if (!source->ehlo[0])
        slice_copy(source->ehlo, sizeof source->ehlo, slice_of(b->config->hostname));
    return true;
}

/* Is it another than `known`? If they are one, they must be equal. */
static bool differs(struct config_build *b, cfg_t *section, const struct config_source *known,
                    const struct config_source *source, bool *other)
{
    unsigned line = (unsigned)section->line;
    bool same_name = strcmp(known->name, source->name) == 0;
    *other = !io_address_equal(&known->address, &source->address);
    if (*other && same_name)
        return config_build_fail(b, section->filename, line,
                                 "two sources have the name %s; a name stands for one address", source->name);
    if (*other)
        return true;
    if (!same_name || strcmp(known->ehlo, source->ehlo) != 0)
        return config_build_fail(b, section->filename, line,
                                 "source %s has other settings in another pool (name %s, ehlo %s); they must be equal",
                                 section->title, known->name, known->ehlo);
    if (strcmp(known->warmup_name, source->warmup_name) != 0 || known->since != source->since ||
        known->overflow != source->overflow)
        return config_build_fail(b, section->filename, line,
                                 "source %s has another warmup, since or overflow in another pool; they must be equal",
                                 section->title);
    if (!config_source_limits_equal(known, source))
        return config_build_fail(b, section->filename, line,
                                 "source %s has other limits in another pool; they must be equal", section->title);
    return true;
}

/* Index of the source, which is added unless it is known: a source may work for several pools. */
static bool add_source(struct config_build *b, cfg_t *section, unsigned *index)
{
    struct config *c = b->config;
    if (c->source_count == CONFIG_SOURCES_MAX)
        return config_build_fail(b, section->filename, (unsigned)section->line,
                                 "source %s is one too many; there may be %d", section->title, (int)CONFIG_SOURCES_MAX);
    struct config_source *grown = realloc(c->sources, (c->source_count + 1) * sizeof *grown);
    if (!grown)
        return config_build_no_memory(b);
    c->sources = grown;
    struct config_source *source = &c->sources[c->source_count];
    memset(source, 0, sizeof *source);
    c->source_count++; /* the configuration owns what it holds from here on */
    if (!read_source(b, section, source) || !config_build_source_limits(b, section, source))
        return false;
    for (*index = 0; *index < c->source_count - 1; (*index)++) {
        bool other;
        if (!differs(b, section, &c->sources[*index], source, &other))
            return false;
        if (!other) {
            config_source_limits_free(source);
            c->source_count--;
            return true;
        }
    }
    return true;
}

static bool add_pool(struct config_build *b, cfg_t *section, struct config_pool *pool)
{
    unsigned count = cfg_size(section, "source");
    if (!config_build_name(b, section, LIMIT_POOL_NAME))
        return false;
    slice_copy(pool->name, sizeof pool->name, slice_of(section->title));
    if (count < 1 || count > POOL_SOURCES_MAX)
        return config_build_fail(b, section->filename, (unsigned)section->line,
                                 "pool %s has %u sources; it has from 1 to %d", section->title, count,
                                 (int)POOL_SOURCES_MAX);
    for (unsigned i = 0; i < count; i++) {
        cfg_t *source = cfg_getnsec(section, "source", i);
        unsigned index = 0;
        if (!add_source(b, source, &index))
            return false;
        /* libConfuse compares titles as text; one address may be written in several ways. */
        for (unsigned j = 0; j < pool->source_count; j++)
            if (pool->sources[j] == index)
                return config_build_fail(b, source->filename, (unsigned)source->line, "source %s is twice in pool %s",
                                         source->title, pool->name);
        pool->sources[pool->source_count++] = index;
    }
    return true;
}

static bool add_pools(struct config_build *b)
{
    unsigned count = cfg_size(b->root, "pool");
    b->config->pools = calloc(count + 1, sizeof *b->config->pools);
    if (!b->config->pools)
        return config_build_no_memory(b);
    if (count > CONFIG_POOLS_MAX)
        return too_many(b, "pool", CONFIG_POOLS_MAX);
    for (unsigned i = 0; i < count; i++)
        if (!add_pool(b, cfg_getnsec(b->root, "pool", i), &b->config->pools[b->config->pool_count++]))
            return false;
    return true;
}

/* ---- ISPs ---- */

static bool add_isp(struct config_build *b, cfg_t *section, struct config_isp *isp)
{
    if (!config_build_name(b, section, LIMIT_ISP_NAME))
        return false;
    slice_copy(isp->name, sizeof isp->name, slice_of(section->title));
    isp->limits = b->config->defaults;
    isp->limits.given = 0;
    if (!config_build_defaults(b, CONFIG_ISP, isp) || !config_build_given(b, section, CONFIG_ISP, isp) ||
        !config_build_defaults(b, CONFIG_TOTAL, &isp->total) ||
        !config_build_given(b, section, CONFIG_TOTAL, &isp->total) ||
        !config_build_given(b, section, CONFIG_LIMITS, &isp->limits))
        return false;
    if (!isp->mx_count)
        return config_build_fail(b, section->filename, (unsigned)section->line,
                                 "isp %s has no mx; it names mail exchangers: mx = {.example.com, mx.example.net}",
                                 section->title);
    return true;
}

struct suffix {
    const char *text, *isp, *file;
    unsigned line;
};

static int suffix_order(const void *a, const void *b)
{
    const struct suffix *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

/* A mail exchanger belongs to one ISP; that a longer suffix lies within a shorter one is no contradiction. */
static bool check_suffixes(struct config_build *b)
{
    unsigned isps = cfg_size(b->root, "isp"), total = 0, n = 0;
    bool good = true;
    for (unsigned i = 0; i < isps; i++)
        total += cfg_size(cfg_getnsec(b->root, "isp", i), "mx");
    struct suffix *all = calloc(total + 1, sizeof *all);
    if (!all)
        return config_build_no_memory(b);
    for (unsigned i = 0; i < isps; i++) {
        cfg_t *section = cfg_getnsec(b->root, "isp", i);
        for (unsigned j = 0; j < cfg_size(section, "mx"); j++) {
            const struct config_value *value = cfg_getnptr(section, "mx", j);
            all[n++] = (struct suffix){value->text, section->title, section->filename, value->line};
        }
    }
    qsort(all, n, sizeof *all, suffix_order);
    for (unsigned i = 1; good && i < n; i++)
        if (strcmp(all[i - 1].text, all[i].text) == 0)
            good = config_build_fail(b, all[i].file, all[i].line,
                                     "%s is in the mx of isp %s and of isp %s; it belongs to one, once", all[i].text,
                                     all[i - 1].isp, all[i].isp);
    free(all);
    return good;
}

static bool add_isps(struct config_build *b)
{
    unsigned count = cfg_size(b->root, "isp");
    b->config->isps = calloc(count + 1, sizeof *b->config->isps);
    if (!b->config->isps)
        return config_build_no_memory(b);
    if (count > CONFIG_ISPS_MAX)
        return too_many(b, "isp", CONFIG_ISPS_MAX);
    for (unsigned i = 0; i < count; i++)
        if (!add_isp(b, cfg_getnsec(b->root, "isp", i), &b->config->isps[b->config->isp_count++]))
            return false;
    return check_suffixes(b);
}

/* ---- all together ---- */

static bool add_defaults(struct config_build *b)
{
    cfg_t *second = cfg_size(b->root, "defaults") > 1 ? cfg_getnsec(b->root, "defaults", 1) : NULL;
    if (second)
        return config_build_fail(b, second->filename, (unsigned)second->line,
                                 "defaults is given twice; it may be given once");
    if (!config_build_defaults(b, CONFIG_LIMITS, &b->config->defaults))
        return false;
    return cfg_size(b->root, "defaults") == 0 ||
           config_build_given(b, cfg_getnsec(b->root, "defaults", 0), CONFIG_LIMITS, &b->config->defaults);
}

static bool is_loopback(const char *at)
{
    return slice_starts_with(slice_of(at), SLICE("127.")) || slice_starts_with(slice_of(at), SLICE("[::1]:"));
}

bool config_http_allowed(const struct config *config)
{
    return !config->http[0] || is_loopback(config->http) || config->http_public;
}

static bool check_whole(struct config_build *b)
{
    const struct config *c = b->config;
    if (!config_http_allowed(c))
        return config_build_fail(
            b, c->file, config_build_line(b->root, "http"),
            "http = %s is no loopback address; whoever reaches it may read it: set http_public = yes to allow that",
            c->http);
    if (c->default_pool[0] && !config_pool_find(c, slice_of(c->default_pool)))
        return config_build_fail(b, c->file, config_build_line(b->root, "default_pool"),
                                 "default_pool = %s is no pool of this file", c->default_pool);
    if (!c->ipv4 && !c->ipv6)
        return config_build_fail(b, c->file, config_build_line(b->root, "ipv6"),
                                 "ipv4 and ipv6 are both off; one is needed");
    return true;
}

static bool build_all(struct config_build *b)
{
    return config_build_defaults(b, CONFIG_TOP, b->config) && config_build_given(b, b->root, CONFIG_TOP, b->config) &&
           fill_in(b) && add_defaults(b) && add_pools(b) && add_isps(b) && config_build_rules(b) &&
           config_build_relays(b) && config_build_lanes(b) &&
           (config_build_tables(b->config) || config_build_no_memory(b)) && config_build_dkims(b) &&
           config_build_warmups(b) && config_build_suppresses(b) && check_whole(b);
}

struct config *config_parse(const char *file, struct slice text, char *error, size_t error_cap)
{
    struct config_build b = {.error = error, .error_cap = error_cap};
    sluice_assert(error_cap > 0);
    error[0] = 0;
    b.root = config_read(file, text, error, error_cap);
    if (!b.root)
        return NULL;
    b.config = calloc(1, sizeof *b.config);
    if (b.config) {
        atomic_init(&b.config->holders, 1);
        b.config->file = strdup(file);
    }
    if (!b.config || !b.config->file)
        snprintf(error, error_cap, "%s: no memory", file);
    bool good = b.config && b.config->file && build_all(&b);
    cfg_free(b.root);
    if (!good) {
        config_free(b.config);
        return NULL;
    }
    return b.config;
}

struct config *config_load(const char *file, char *error, size_t error_cap)
{
    return config_parse(file, (struct slice){NULL, 0}, error, error_cap);
}

void config_free(struct config *config)
{
    if (!config || atomic_fetch_sub_explicit(&config->holders, 1, memory_order_acq_rel) > 1)
        return;
    config_tables_free(config);
    config_rows_free(CONFIG_TOP, config);
    config_relays_free(config);
    config_dkims_free(config);
    config_warmups_free(config);
    free(config->suppresses);
    for (unsigned i = 0; i < config->isp_count; i++) {
        config_rows_free(CONFIG_ISP, &config->isps[i]);
        config_limits_free(config, &config->isps[i].limits);
        config_rules_free(config->isps[i].rules, config->isps[i].rule_count);
    }
    config_rules_free(config->phrases, config->phrase_count);
    rules_free(config->rules);
    config_limits_free(config, &config->defaults);
    free(config->isps);
    free(config->lanes);
    free(config->lane_limits);
    for (unsigned i = 0; i < config->source_count; i++)
        config_source_limits_free(&config->sources[i]);
    free(config->sources);
    free(config->pools);
    free(config->file);
    free(config);
}

const struct config_pool *config_pool_find(const struct config *config, struct slice name)
{
    for (unsigned i = 0; i < config->pool_count; i++)
        if (!config->pools[i].removed && slice_equal(slice_of(config->pools[i].name), name))
            return &config->pools[i];
    return NULL;
}

unsigned config_pools(const struct config *config)
{
    unsigned count = 0;
    for (unsigned i = 0; i < config->pool_count; i++)
        count += !config->pools[i].removed;
    return count;
}

static const struct config_pool *only_pool(const struct config *config)
{
    const struct config_pool *only = config->pools;
    if (config_pools(config) != 1)
        return NULL;
    while (only->removed)
        only++;
    return only;
}

const struct config_pool *config_pool_meant(const struct config *config, struct slice *name)
{
    if (!name->n)
        *name = slice_of(config->default_pool);
    return name->n ? config_pool_find(config, *name) : only_pool(config);
}
