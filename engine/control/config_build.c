/* What every section of a configuration needs done while it becomes a struct: rows stored, defaults filled in, and
 * errors said with file and line. */
#include "control/config_build.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool printf_like(4, 5)
    config_build_fail(struct config_build *b, const char *file, unsigned line, const char *format, ...)
{
    va_list arguments;
    int n = snprintf(b->error, b->error_cap, "%s:%u: ", file, line);
    va_start(arguments, format);
    if (n >= 0 && (size_t)n < b->error_cap)
        vsnprintf(b->error + n, b->error_cap - (size_t)n, format, arguments);
    va_end(arguments);
    return false;
}

bool config_build_no_memory(struct config_build *b)
{
    snprintf(b->error, b->error_cap, "%s: no memory", b->config->file);
    return false;
}

/* ---- rows ---- */

struct names {
    const char **items;
    unsigned count;
};

static void free_names(struct names *names)
{
    for (unsigned i = 0; i < names->count; i++)
        free((void *)(uintptr_t)names->items[i]);
    free(names->items);
}

void config_rows_free(enum config_scope scope, void *base)
{
    size_t count;
    const struct config_row *rows = config_rows(&count);
    for (size_t i = 0; i < count; i++)
        if (rows[i].scope == scope && config_row_is_owned_text(&rows[i]))
            free(*(char **)(void *)((char *)base + rows[i].offset));
        else if (rows[i].scope == scope && config_row_is_names(&rows[i]))
            free_names((void *)((char *)base + rows[i].offset));
}

void config_limits_free(const struct config *config, struct config_limits *limits)
{
    if (limits == &config->defaults || limits->chunking != config->defaults.chunking)
        config_rows_free(CONFIG_LIMITS, limits);
}

bool config_build_default(struct config_build *b, const struct config_row *row, void *base, const char *text)
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
    return stored || config_build_no_memory(b);
}

bool config_build_defaults(struct config_build *b, enum config_scope scope, void *base)
{
    size_t count;
    const struct config_row *rows = config_rows(&count);
    for (size_t i = 0; i < count; i++)
        if (rows[i].scope == scope && rows[i].fallback && !config_build_default(b, &rows[i], base, rows[i].fallback))
            return false;
    return true;
}

/* Stores what the section gives for the rows of `scope`. */
bool config_build_given(struct config_build *b, cfg_t *section, enum config_scope scope, void *base)
{
    size_t count;
    const struct config_row *rows = config_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].scope != scope)
            continue;
        cfg_opt_t *opt = cfg_getopt(section, rows[i].name);
        unsigned n = cfg_opt_size(opt);
        if (n == 0 && (opt->flags & CFGF_MODIFIED))
            return config_build_fail(b, section->filename, (unsigned)section->line,
                                     "%s is an empty list; it needs at least one item", rows[i].name);
        if (n == 0)
            continue;
        struct config_value **values = calloc(n, sizeof *values);
        for (unsigned j = 0; values && j < n; j++)
            values[j] = cfg_opt_getnptr(opt, j);
        bool stored = values && config_store(&rows[i], base, values, n);
        free(values);
        if (!stored)
            return config_build_no_memory(b);
        if (scope == CONFIG_LIMITS)
            ((struct config_limits *)base)->given |= config_limits_bit(&rows[i]);
    }
    return true;
}

unsigned config_build_line(cfg_t *section, const char *key)
{
    const struct config_value *value = cfg_getnptr(section, key, 0);
    return value ? value->line : (unsigned)section->line;
}

bool config_build_name(struct config_build *b, cfg_t *section, size_t most)
{
    const struct config_row row = {.name = section->name, .type = CONFIG_NAME, .min = 1, .max = (int64_t)most};
    char allowed[256];
    if (config_text_fits(&row, section->title))
        return true;
    config_row_allowed(&row, allowed, sizeof allowed);
    return config_build_fail(b, section->filename, (unsigned)section->line, "\"%.100s\" is no name of %s %s; it is %s",
                             section->title, section->name[0] == 'i' ? "an" : "a", section->name, allowed);
}
