/* Makes the immutable struct out of what was read, fills in what was left out, and refuses what does not fit together.
 */
#include "control/config.h"

#include "control/config_read.h"
#include "control/config_table.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { POOL_SOURCES_MAX = countof(((struct config_pool *)0)->sources) };

struct build {
    struct config *config;
    cfg_t *root;
    bool hostname_given;
    char *error;
    size_t error_cap;
};

static bool printf_like(4, 5) fail(struct build *b, const char *file, unsigned line, const char *format, ...)
{
    va_list arguments;
    int n = snprintf(b->error, b->error_cap, "%s:%u: ", file, line);
    va_start(arguments, format);
    if (n >= 0 && (size_t)n < b->error_cap)
        vsnprintf(b->error + n, b->error_cap - (size_t)n, format, arguments);
    va_end(arguments);
    return false;
}

static bool fail_memory(struct build *b)
{
    snprintf(b->error, b->error_cap, "%s: no memory", b->config->file);
    return false;
}

/* Where a key of a section stands, for errors about several keys together; without the key, where the section ends. */
static unsigned line_of(cfg_t *section, const char *key)
{
    const struct config_value *value = cfg_getnptr(section, key, 0);
    return value ? value->line : (unsigned)section->line;
}

/* ---- rows ---- */

static bool store_default(struct build *b, const struct config_row *row, void *base, const char *text)
{
    struct config_value *values[CONFIG_RETRY_STEPS];
    unsigned count = 0;
    char why[512], item[256];
    bool stored = true;
    for (const char *p = text; stored; p++) {
        size_t n = config_row_is_list(row) ? strcspn(p, ",") : strlen(p);
        slice_copy(item, sizeof item, (struct slice){p, n});
        stored = config_value_parse(row, item, &values[count], why, sizeof why);
        sluice_assert(stored || why[0]);
        count += stored;
        p += n;
        if (!*p)
            break;
        while (p[1] == ' ')
            p++;
    }
    stored = stored && config_store(row, base, values, count);
    while (count)
        config_value_free(values[--count]);
    return stored || fail_memory(b);
}

static bool store_defaults(struct build *b, enum config_scope scope, void *base)
{
    size_t count;
    const struct config_row *rows = config_rows(&count);
    for (size_t i = 0; i < count; i++)
        if (rows[i].scope == scope && rows[i].fallback && !store_default(b, &rows[i], base, rows[i].fallback))
            return false;
    return true;
}

/* Stores what the section gives for the rows of `scope`. */
static bool store_given(struct build *b, cfg_t *section, enum config_scope scope, void *base)
{
    size_t count;
    const struct config_row *rows = config_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].scope != scope)
            continue;
        cfg_opt_t *opt = cfg_getopt(section, rows[i].name);
        unsigned n = cfg_opt_size(opt);
        if (n == 0 && (opt->flags & CFGF_MODIFIED))
            return fail(b, section->filename, (unsigned)section->line,
                        "%s is an empty list; it needs at least one item", rows[i].name);
        if (n == 0)
            continue;
        struct config_value **values = calloc(n, sizeof *values);
        for (unsigned j = 0; values && j < n; j++)
            values[j] = cfg_opt_getnptr(opt, j);
        bool stored = values && config_store(&rows[i], base, values, n);
        free(values);
        if (!stored)
            return fail_memory(b);
    }
    return true;
}

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

static bool fill_in(struct build *b)
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
    return (c->hostname && c->engine && c->state_dir) || fail_memory(b);
}

/* ---- pools and sources ---- */

static bool read_source(struct build *b, cfg_t *section, struct config_source *source)
{
    memset(source, 0, sizeof *source);
    if (section->title[0] == '/' || !io_address_parse(&source->address, section->title, 0))
        return fail(b, section->filename, (unsigned)section->line,
                    "source %s is no address; it is an IPv4 or IPv6 address of this machine", section->title);
    io_address_text(&source->address, source->name, sizeof source->name);
    if (!store_given(b, section, CONFIG_SOURCE, source))
        return false;
    if (!source->ehlo[0] && !b->hostname_given)
        return fail(b, section->filename, (unsigned)section->line,
                    "source %s has no ehlo; give it one (ehlo = m1.example.com), or set hostname for all",
                    section->title);
    if (!source->ehlo[0])
        slice_copy(source->ehlo, sizeof source->ehlo, slice_of(b->config->hostname));
    return true;
}

/* Index of the source, which is added unless it is known: a source may work for several pools. */
static bool add_source(struct build *b, cfg_t *section, unsigned *index)
{
    struct config *c = b->config;
    struct config_source source;
    unsigned line = (unsigned)section->line;
    if (!read_source(b, section, &source))
        return false;
    for (*index = 0; *index < c->source_count; (*index)++) {
        const struct config_source *known = &c->sources[*index];
        bool same_address = io_address_equal(&known->address, &source.address);
        bool same_name = strcmp(known->name, source.name) == 0;
        if (same_address && (!same_name || strcmp(known->ehlo, source.ehlo) != 0))
            return fail(b, section->filename, line,
                        "source %s has other settings in another pool (name %s, ehlo %s); they must be equal",
                        section->title, known->name, known->ehlo);
        if (same_name && !same_address)
            return fail(b, section->filename, line, "two sources have the name %s; a name stands for one address",
                        source.name);
        if (same_address)
            return true;
    }
    struct config_source *grown = realloc(c->sources, (c->source_count + 1) * sizeof *grown);
    if (!grown)
        return fail_memory(b);
    c->sources = grown;
    c->sources[c->source_count++] = source;
    return true;
}

static bool check_name(struct build *b, cfg_t *section, size_t most)
{
    const struct config_row row = {.name = section->name, .type = CONFIG_NAME, .min = 1, .max = (int64_t)most};
    char allowed[256];
    if (config_text_fits(&row, section->title))
        return true;
    config_row_allowed(&row, allowed, sizeof allowed);
    return fail(b, section->filename, (unsigned)section->line, "\"%.100s\" is no name of %s %s; it is %s",
                section->title, section->name[0] == 'i' ? "an" : "a", section->name, allowed);
}

static bool add_pool(struct build *b, cfg_t *section, struct config_pool *pool)
{
    unsigned count = cfg_size(section, "source");
    if (!check_name(b, section, LIMIT_POOL_NAME))
        return false;
    slice_copy(pool->name, sizeof pool->name, slice_of(section->title));
    if (count < 1 || count > POOL_SOURCES_MAX)
        return fail(b, section->filename, (unsigned)section->line, "pool %s has %u sources; it has from 1 to %d",
                    section->title, count, (int)POOL_SOURCES_MAX);
    for (unsigned i = 0; i < count; i++) {
        cfg_t *source = cfg_getnsec(section, "source", i);
        unsigned index;
        if (!add_source(b, source, &index))
            return false;
        /* libConfuse compares titles as text; one address may be written in several ways. */
        for (unsigned j = 0; j < pool->source_count; j++)
            if (pool->sources[j] == index)
                return fail(b, source->filename, (unsigned)source->line, "source %s is twice in pool %s", source->title,
                            pool->name);
        pool->sources[pool->source_count++] = index;
    }
    return true;
}

static bool add_pools(struct build *b)
{
    unsigned count = cfg_size(b->root, "pool");
    b->config->pools = calloc(count + 1, sizeof *b->config->pools);
    if (!b->config->pools)
        return fail_memory(b);
    for (unsigned i = 0; i < count; i++)
        if (!add_pool(b, cfg_getnsec(b->root, "pool", i), &b->config->pools[b->config->pool_count++]))
            return false;
    return true;
}

/* ---- ISPs ---- */

static bool add_isp(struct build *b, cfg_t *section, struct config_isp *isp)
{
    if (!check_name(b, section, LIMIT_ISP_NAME))
        return false;
    slice_copy(isp->name, sizeof isp->name, slice_of(section->title));
    isp->limits = b->config->defaults;
    if (!store_given(b, section, CONFIG_ISP, isp) || !store_given(b, section, CONFIG_LIMITS, &isp->limits))
        return false;
    if (!isp->mx_count)
        return fail(b, section->filename, (unsigned)section->line,
                    "isp %s has no mx; it names mail exchangers: mx = {.example.com, mx.example.net}", section->title);
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
static bool check_suffixes(struct build *b)
{
    unsigned isps = cfg_size(b->root, "isp"), total = 0, n = 0;
    bool good = true;
    for (unsigned i = 0; i < isps; i++)
        total += cfg_size(cfg_getnsec(b->root, "isp", i), "mx");
    struct suffix *all = calloc(total + 1, sizeof *all);
    if (!all)
        return fail_memory(b);
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
            good = fail(b, all[i].file, all[i].line, "%s is in the mx of isp %s and of isp %s; it belongs to one, once",
                        all[i].text, all[i - 1].isp, all[i].isp);
    free(all);
    return good;
}

static bool add_isps(struct build *b)
{
    unsigned count = cfg_size(b->root, "isp");
    b->config->isps = calloc(count + 1, sizeof *b->config->isps);
    if (!b->config->isps)
        return fail_memory(b);
    for (unsigned i = 0; i < count; i++)
        if (!add_isp(b, cfg_getnsec(b->root, "isp", i), &b->config->isps[b->config->isp_count++]))
            return false;
    return check_suffixes(b);
}

/* ---- all together ---- */

static bool add_defaults(struct build *b)
{
    cfg_t *second = cfg_size(b->root, "defaults") > 1 ? cfg_getnsec(b->root, "defaults", 1) : NULL;
    if (second)
        return fail(b, second->filename, (unsigned)second->line, "defaults is given twice; it may be given once");
    if (!store_defaults(b, CONFIG_LIMITS, &b->config->defaults))
        return false;
    return cfg_size(b->root, "defaults") == 0 ||
           store_given(b, cfg_getnsec(b->root, "defaults", 0), CONFIG_LIMITS, &b->config->defaults);
}

static bool is_loopback(const char *at)
{
    return slice_starts_with(slice_of(at), SLICE("127.")) || slice_starts_with(slice_of(at), SLICE("[::1]:"));
}

static bool check_whole(struct build *b)
{
    const struct config *c = b->config;
    if (c->http[0] && !is_loopback(c->http) && !c->http_public)
        return fail(
            b, c->file, line_of(b->root, "http"),
            "http = %s is no loopback address; whoever reaches it may read it: set http_public = yes to allow that",
            c->http);
    if (c->default_pool[0] && !config_pool_find(c, slice_of(c->default_pool)))
        return fail(b, c->file, line_of(b->root, "default_pool"), "default_pool = %s is no pool of this file",
                    c->default_pool);
    if (!c->ipv4 && !c->ipv6)
        return fail(b, c->file, line_of(b->root, "ipv6"), "ipv4 and ipv6 are both off; one is needed");
    return true;
}

static bool build_all(struct build *b)
{
    return store_defaults(b, CONFIG_TOP, b->config) && store_given(b, b->root, CONFIG_TOP, b->config) && fill_in(b) &&
           add_defaults(b) && add_pools(b) && add_isps(b) && check_whole(b);
}

struct config *config_parse(const char *file, struct slice text, char *error, size_t error_cap)
{
    struct build b = {.error = error, .error_cap = error_cap};
    sluice_assert(error_cap > 0);
    error[0] = 0;
    b.root = config_read(file, text, error, error_cap);
    if (!b.root)
        return NULL;
    b.config = calloc(1, sizeof *b.config);
    if (b.config)
        b.config->file = strdup(file);
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
    size_t count;
    const struct config_row *rows = config_rows(&count);
    if (!config)
        return;
    for (size_t i = 0; i < count; i++)
        if (rows[i].scope == CONFIG_TOP && config_row_is_owned_text(&rows[i]))
            free(*(char **)(void *)((char *)config + rows[i].offset));
    for (unsigned i = 0; i < config->isp_count; i++) {
        for (unsigned j = 0; j < config->isps[i].mx_count; j++)
            free((void *)(uintptr_t)config->isps[i].mx[j]);
        free(config->isps[i].mx);
    }
    free(config->isps);
    free(config->sources);
    free(config->pools);
    free(config->file);
    free(config);
}

const struct config_limits *config_limits_for(const struct config *config, struct slice isp)
{
    for (unsigned i = 0; i < config->isp_count; i++)
        if (slice_equal(slice_of(config->isps[i].name), isp))
            return &config->isps[i].limits;
    return &config->defaults;
}

const struct config_pool *config_pool_find(const struct config *config, struct slice name)
{
    for (unsigned i = 0; i < config->pool_count; i++)
        if (slice_equal(slice_of(config->pools[i].name), name))
            return &config->pools[i];
    return NULL;
}
