/* Drives libConfuse: builds its options from the table, checks each value where it stands, and follows includes. */
#include "control/config_read.h"

#include "control/config_table.h"
#include "control/config_text.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 64, FILE_BYTES_MAX = 1024 * 1024, OPTIONS_MAX = 64, LIST_MAX = 1024 };

/* ---- errors ---- */

static enum config_scope scope_of(const cfg_t *section)
{
    static const struct {
        const char *name;
        enum config_scope scope;
    } scopes[] = {{"root", CONFIG_TOP},    {"defaults", CONFIG_LIMITS}, {"isp", CONFIG_ISP},  {"source", CONFIG_SOURCE},
                  {"relay", CONFIG_RELAY}, {"route", CONFIG_ROUTE},     {"dkim", CONFIG_DKIM},    {"suppress", CONFIG_SUPPRESS},
                  {"rule", CONFIG_RULE}};
    if (strcmp(section->opts->name, "kind") == 0) /* also `isp` and `all` within it, which begin alike */
        return CONFIG_WARMUP;
    for (size_t i = 0; i < countof(scopes); i++)
        if (strcmp(section->name, scopes[i].name) == 0)
            return scopes[i].scope;
    return CONFIG_SCOPE_BROKEN;
}

static void allowed_keys(const cfg_t *section, char *text, size_t cap)
{
    size_t n = 0;
    text[0] = 0;
    for (const cfg_opt_t *opt = section->opts; opt->name && n < cap; opt++)
        n += (size_t)snprintf(text + n, cap - n, "%s%s", n ? ", " : "", opt->name);
}

/* libConfuse passes no context to its error function, and mutable statics are not ours to have. The message is left in
 * the section's `comment`, which libConfuse frees with the section and uses for nothing unless CFGF_COMMENTS is set. */
static void printf_like(2, 0) on_error(cfg_t *cfg, const char *format, va_list arguments)
{
    char *text = NULL, *message = NULL, hint[1024] = "";
    if (cfg->comment || vasprintf(&text, format, arguments) < 0)
        return; /* only the first error counts: what follows comes of it */
    if (slice_starts_with(slice_of(text), SLICE("no such option"))) {
        size_t n = (size_t)snprintf(hint, sizeof hint, "; allowed here: ");
        allowed_keys(cfg, hint + n, sizeof hint - n);
    } else if (slice_starts_with(slice_of(text), SLICE("found duplicate title"))) {
        snprintf(hint, sizeof hint, "; each name may be given once");
    }
    if (asprintf(&message, "%s:%d: %s%s", cfg->filename ? cfg->filename : "", cfg->line, text, hint) >= 0)
        cfg->comment = message;
    free(text);
}

static const char *find_error(const cfg_t *cfg)
{
    if (cfg->comment)
        return cfg->comment;
    for (const cfg_opt_t *opt = cfg->opts; opt->name; opt++)
        for (unsigned i = 0; opt->type == CFGT_SEC && i < opt->nvalues; i++) {
            const char *found = find_error(opt->values[i]->section);
            if (found)
                return found;
        }
    return NULL;
}

/* ---- values ---- */

/* libConfuse lets a later value replace an earlier one without a word. Where the first one stood is kept as the
 * option's default text: it has no other use here, and is freed with the option. */
static bool given_once(cfg_t *cfg, cfg_opt_t *opt)
{
    if (opt->nvalues > 1) /* a further item of a list */
        return true;
    if (opt->def.string) {
        cfg_error(cfg, "%s is given twice; the first time at %s", opt->name, opt->def.string);
        return false;
    }
    char *where = NULL;
    if (asprintf(&where, "%s:%d", cfg->filename, cfg->line) >= 0)
        opt->def.string = where;
    return true;
}

static int read_value(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
    struct config_value *value = NULL;
    char why[1024];
    const struct config_row *row = config_row_find(scope_of(cfg), opt->name);
    if (!row) { /* a quoted key "isp|mx" reaches into another section */
        cfg_error(cfg, "no such option '%s'", opt->name);
        return -1;
    }
    if (!given_once(cfg, opt))
        return -1;
    unsigned most = row->type == CONFIG_DELAYS ? (unsigned)CONFIG_RETRY_STEPS
                    : row->type == CONFIG_CAPS ? (unsigned)WARMUP_CAPS_MAX
                                               : (unsigned)LIST_MAX;
    if (opt->nvalues > most) {
        cfg_error(cfg, "%s has more than %u items", opt->name, most);
        return -1;
    }
    if (!config_value_parse(row, text, &value, why, sizeof why)) {
        cfg_error(cfg, "%s", why);
        return -1;
    }
    value->line = (unsigned)cfg->line;
    *(struct config_value **)result = value;
    return 0;
}

static int read_include(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
    struct config_value *value = calloc(1, sizeof *value);
    if (value)
        value->text = strdup(text);
    if (!value || !value->text || !text[0]) {
        cfg_error(cfg, "%s names no file", opt->name);
        config_value_free(value);
        return -1;
    }
    value->line = (unsigned)cfg->line;
    *(struct config_value **)result = value;
    return 0;
}

/* ---- options ---- */

struct options {
    cfg_opt_t top[OPTIONS_MAX], limits[OPTIONS_MAX], isp[OPTIONS_MAX], source[OPTIONS_MAX], pool[2], relay[OPTIONS_MAX],
        route[OPTIONS_MAX], dkim[OPTIONS_MAX], warmup[OPTIONS_MAX], warmup_part[OPTIONS_MAX], suppress[OPTIONS_MAX], rule[OPTIONS_MAX];
};

static unsigned add_rows(cfg_opt_t *options, unsigned n, enum config_scope scope)
{
    size_t count;
    const struct config_row *rows = config_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].scope != scope)
            continue;
        sluice_assert(n + 9 < OPTIONS_MAX);
        cfg_flag_t flags = CFGF_NODEFAULT | (config_row_is_list(&rows[i]) ? CFGF_LIST : 0);
        options[n++] = (cfg_opt_t)CFG_PTR_CB(rows[i].name, NULL, flags, read_value, config_value_free);
    }
    return n;
}

static void make_options(struct options *o)
{
    cfg_flag_t titled = CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES;
    unsigned n;
    memset(o, 0, sizeof *o);
    add_rows(o->limits, 0, CONFIG_LIMITS);
    n = add_rows(o->isp, 0, CONFIG_ISP);
    n = add_rows(o->isp, n, CONFIG_TOTAL);
    n = add_rows(o->isp, n, CONFIG_LIMITS);
    add_rows(o->rule, 0, CONFIG_RULE);
    o->isp[n] = (cfg_opt_t)CFG_SEC("rule", o->rule, titled);
    n = add_rows(o->source, 0, CONFIG_SOURCE);
    n = add_rows(o->source, n, CONFIG_LIMITS);
    o->source[n] = (cfg_opt_t)CFG_SEC("isp", o->limits, titled);
    n = add_rows(o->relay, 0, CONFIG_RELAY);
    n = add_rows(o->relay, n, CONFIG_TOTAL);
    add_rows(o->relay, n, CONFIG_LIMITS);
    add_rows(o->route, 0, CONFIG_ROUTE);
    add_rows(o->dkim, 0, CONFIG_DKIM);
    add_rows(o->warmup_part, 0, CONFIG_WARMUP);
    n = add_rows(o->warmup, 0, CONFIG_WARMUP);
    o->warmup[n++] = (cfg_opt_t)CFG_SEC("isp", o->warmup_part, titled);
    o->warmup[n++] = (cfg_opt_t)CFG_SEC("all", o->warmup_part, CFGF_MULTI);
    add_rows(o->suppress, 0, CONFIG_SUPPRESS);
    o->pool[0] = (cfg_opt_t)CFG_SEC("source", o->source, titled);
    n = add_rows(o->top, 0, CONFIG_TOP);
    o->top[n++] = (cfg_opt_t)CFG_PTR_LIST_CB("include", NULL, CFGF_NODEFAULT, read_include, config_value_free);
    /* MULTI without a title: a second `defaults` shows as a second value, and is refused by the builder. */
    o->top[n++] = (cfg_opt_t)CFG_SEC("defaults", o->limits, CFGF_MULTI);
    o->top[n++] = (cfg_opt_t)CFG_SEC("pool", o->pool, titled);
    o->top[n++] = (cfg_opt_t)CFG_SEC("isp", o->isp, titled);
    o->top[n++] = (cfg_opt_t)CFG_SEC("relay", o->relay, titled);
    o->top[n++] = (cfg_opt_t)CFG_SEC("route", o->route, CFGF_MULTI);
    o->top[n++] = (cfg_opt_t)CFG_SEC("dkim", o->dkim, titled);
    o->top[n++] = (cfg_opt_t)CFG_SEC("warmup", o->warmup, titled);
    o->top[n++] = (cfg_opt_t)CFG_SEC("rule", o->rule, titled);
    o->top[n++] = (cfg_opt_t)CFG_SEC("suppress", o->suppress, titled);
}

/* ---- files ---- */

struct reading {
    cfg_t *cfg;
    char *error;
    size_t error_cap;
    char *files[FILES_MAX]; /* owned; [0] is the one that was asked for */
    unsigned count;
};

static bool load_file(const char *file, char **text, size_t *size, char *error, size_t cap)
{
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode))) {
        snprintf(error, cap, "%s: cannot be read: %s", file, fd < 0 ? strerror(errno) : "it is no file");
        if (fd >= 0)
            close(fd);
        return false;
    }
    char *buffer = malloc(FILE_BYTES_MAX + 1);
    size_t n = 0;
    ssize_t got = buffer ? 1 : -1;
    while (got > 0 && n <= FILE_BYTES_MAX) {
        got = read(fd, buffer + n, FILE_BYTES_MAX + 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    if (got < 0 || n > FILE_BYTES_MAX) {
        snprintf(error, cap, "%s: %s", file,
                 got < 0 ? strerror(errno) : "is larger than 1 MiB; this is no configuration");
        free(buffer);
        return false;
    }
    *text = buffer;
    *size = n;
    return true;
}

static bool parse_text(struct reading *r, const char *file, const char *text, size_t n)
{
    char why[256];
    cfg_t *cfg = r->cfg;
    bool parsed = false;
    char *clean = malloc(n + 1);
    FILE *stream = NULL;
    if (clean) {
        memcpy(clean, text, n);
        clean[n] = '\n'; /* so that the stream is never empty, which fmemopen refuses */
        unsigned wrong = config_text_clean(clean, n, why, sizeof why);
        if (wrong) {
            snprintf(r->error, r->error_cap, "%s:%u: %s", file, wrong, why);
            free(clean);
            return false;
        }
        stream = fmemopen(clean, n + 1, "r");
    }
    free(cfg->filename);
    cfg->filename = strdup(file);
    if (stream && cfg->filename) {
        parsed = cfg_parse_fp(cfg, stream) == CFG_SUCCESS;
        const char *message = find_error(cfg);
        if (!parsed && message)
            snprintf(r->error, r->error_cap, "%s", message);
        else if (!parsed)
            snprintf(r->error, r->error_cap, "%s:%d: this is not the syntax of a configuration", file, cfg->line);
    } else {
        snprintf(r->error, r->error_cap, "%s: %s", file, strerror(errno));
    }
    if (stream)
        fclose(stream);
    free(clean);
    return parsed;
}

static bool add_file(struct reading *r, const char *file, const char *from, unsigned line)
{
    for (unsigned i = 0; i < r->count; i++)
        if (strcmp(r->files[i], file) == 0) {
            snprintf(r->error, r->error_cap, "%s:%u: %s is read already; a file is included once", from, line, file);
            return false;
        }
    if (r->count == FILES_MAX || !(r->files[r->count] = strdup(file))) {
        snprintf(r->error, r->error_cap, "%s:%u: more than %d files are included", from, line, FILES_MAX);
        return false;
    }
    r->count++;
    return true;
}

/* Puts the files that `include` of the file just read names behind those that are known. */
static bool follow_includes(struct reading *r, const char *from)
{
    cfg_opt_t *opt = cfg_getopt(r->cfg, "include");
    const char *slash = strrchr(from, '/');
    bool good = true;
    for (unsigned i = 0; good && i < cfg_opt_size(opt); i++) {
        const struct config_value *value = cfg_opt_getnptr(opt, i);
        glob_t found;
        char *pattern = NULL;
        if (asprintf(&pattern, "%.*s%s", value->text[0] == '/' || !slash ? 0 : (int)(slash + 1 - from), from,
                     value->text) < 0)
            return false;
        int result = glob(pattern, 0, NULL, &found);
        if (result) {
            snprintf(r->error, r->error_cap, "%s:%u: include: there is no file %s", from, value->line, pattern);
            good = false;
        }
        for (size_t j = 0; good && j < found.gl_pathc; j++)
            good = add_file(r, found.gl_pathv[j], from, value->line);
        if (!result)
            globfree(&found);
        free(pattern);
    }
    /* The next file has includes of its own. */
    cfg_free_value(opt);
    free((void *)(uintptr_t)opt->def.string);
    opt->def.string = NULL;
    return good;
}

static bool read_all(struct reading *r, struct slice text)
{
    for (unsigned i = 0; i < r->count; i++) {
        char *loaded = NULL;
        size_t n = 0;
        bool given = i == 0 && text.p;
        if (!given && !load_file(r->files[i], &loaded, &n, r->error, r->error_cap))
            return false;
        bool good = given ? parse_text(r, r->files[i], text.p, text.n) : parse_text(r, r->files[i], loaded, n);
        free(loaded);
        if (!good || !follow_includes(r, r->files[i]))
            return false;
    }
    return true;
}

cfg_t *config_read(const char *file, struct slice text, char *error, size_t error_cap)
{
    struct reading r = {.error = error, .error_cap = error_cap};
    struct options *options = malloc(sizeof *options);
    bool good = false;
    snprintf(error, error_cap, "%s: no memory", file);
    if (options) {
        make_options(options);
        r.cfg = cfg_init(options->top, CFGF_NONE);
    }
    free(options); /* libConfuse keeps a copy */
    if (r.cfg) {
        cfg_set_error_function(r.cfg, on_error);
        good = add_file(&r, file, file, 0) && read_all(&r, text);
    }
    for (unsigned i = 0; i < r.count; i++)
        free(r.files[i]);
    if (!good && r.cfg)
        cfg_free(r.cfg);
    return good ? r.cfg : NULL;
}
