/* Makes rules that can be asked out of rules as they are written, those of the configuration and those that ship. */
#include "control/rules.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

#include "rules_shipped.h"

/* ---- words ---- */

bool rules_stage(const char *name, uint32_t *stages)
{
    if (strcmp(name, "connect") == 0) {
        *stages = 1u << STAGE_CONNECT | 1u << STAGE_GREETING;
        return true;
    }
    for (unsigned stage = STAGE_GREETING; stage < STAGE_COUNT; stage++)
        if (strcmp(stage_name((enum stage)stage), name) == 0) {
            *stages = 1u << stage;
            return true;
        }
    return false;
}

bool rules_codes(const char *text, struct rule_codes *codes)
{
    if (strlen(text) != 3 || (text[0] != '4' && text[0] != '5'))
        return false;
    uint16_t hundred = (uint16_t)(100 * (text[0] - '0'));
    *codes = (struct rule_codes){hundred, (uint16_t)(hundred + 99)};
    if (strcmp(text + 1, "yz") == 0)
        return true;
    if (text[1] < '0' || text[1] > '9' || text[2] < '0' || text[2] > '9')
        return false;
    codes->least = codes->most = (uint16_t)(hundred + 10 * (text[1] - '0') + (text[2] - '0'));
    return true;
}

/* One to three digits or an x, and what stands behind it. */
static const char *status_part(const char *p, int16_t *part)
{
    if (*p == 'x' || *p == 'X') {
        *part = RULE_ANY;
        return p + 1;
    }
    int value = 0;
    const char *from = p;
    for (; *p >= '0' && *p <= '9' && p - from < 3; p++)
        value = 10 * value + (*p - '0');
    *part = (int16_t)value;
    return p == from ? "?" : p;
}

bool rules_status(const char *text, struct rule_status *status)
{
    const char *p = status_part(text, &status->class_);
    if (*p++ != '.' || (status->class_ != RULE_ANY && status->class_ != 4 && status->class_ != 5))
        return false;
    p = status_part(p, &status->subject);
    if (*p++ != '.')
        return false;
    p = status_part(p, &status->detail);
    return *p == 0;
}

/* Bytes: what a server sends need not be UTF-8. */
static pcre2_code *compile(const char *pattern, char *why, size_t why_cap)
{
    int number;
    size_t offset;
    PCRE2_UCHAR message[128];
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_CASELESS | PCRE2_NEVER_UTF,
                                     &number, &offset, NULL);
    if (!code) {
        pcre2_get_error_message(number, message, sizeof message);
        snprintf(why, why_cap, "%s at byte %zu of it", (const char *)message, offset + 1);
    }
    return code;
}

bool rules_pattern_is_good(const char *pattern, char *why, size_t why_cap)
{
    pcre2_code *code = compile(pattern, why, why_cap);
    pcre2_code_free(code);
    return code;
}

/* ---- what is owned ---- */

/* `rules` is what others see of it. */
struct owned {
    struct rules rules;
    struct rule *all;
    unsigned count;
    const pcre2_code **texts;
    unsigned text_count;
    struct rule_isp *configured, *shipped;
    struct isp_suffix *suffixes;
    uint32_t *slots;
    struct config **files; /* the shipped ones, whose names the table of hosts borrows */
    unsigned file_count;
};

void rules_free(struct rules *rules)
{
    if (!rules)
        return;
    struct owned *o = container_of(rules, struct owned, rules);
    for (unsigned i = 0; i < o->text_count; i++)
        pcre2_code_free((pcre2_code *)(uintptr_t)o->texts[i]);
    for (unsigned i = 0; i < o->file_count; i++)
        config_free(o->files[i]);
    free(o->files);
    free(o->all);
    free(o->texts);
    free(o->configured);
    free(o->shipped);
    free(o->suffixes);
    free(o->slots);
    free(o);
}

/* ---- the making ---- */

struct making {
    struct owned *owned;
    const struct config *config; /* NULL: the shipped ones alone */
    char *error;
    size_t error_cap;
};

static bool fail(struct making *m, const char *why)
{
    snprintf(m->error, m->error_cap, "rules: %s", why);
    return false;
}

static bool parse_shipped(struct making *m)
{
    struct owned *o = m->owned;
    o->files = calloc(countof(embedded_files), sizeof(struct config *));
    if (!o->files)
        return fail(m, "no memory");
    for (; o->file_count < countof(embedded_files); o->file_count++) {
        const struct embedded_file *file = &embedded_files[o->file_count];
        o->files[o->file_count] = config_parse(file->name, slice_of(file->text), m->error, m->error_cap);
        if (!o->files[o->file_count])
            return false;
    }
    return true;
}

/* How many rules and patterns there are in all, and ISPs and names of hosts among the shipped. */
struct count {
    unsigned rules, texts, isps, hosts;
};

static void count_rules(struct count *count, const struct config_rule *rules, unsigned n)
{
    count->rules += n;
    for (unsigned i = 0; i < n; i++)
        count->texts += rules[i].text_count;
}

static void count_file(struct count *count, const struct config *config)
{
    for (unsigned i = 0; i < config->isp_count; i++) {
        count_rules(count, config->isps[i].rules, config->isps[i].rule_count);
        count->hosts += config->isps[i].mx_count;
    }
    count_rules(count, config->phrases, config->phrase_count);
    count->isps += config->isp_count;
}

static bool has(const struct config_rule *rules, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(rules[i].name, name) == 0)
            return true;
    return false;
}

/* A rule of this name in the configuration stands in the place of a shipped one. */
static bool is_replaced(const struct config *config, const char *name)
{
    if (!config)
        return false;
    for (unsigned i = 0; i < config->isp_count; i++)
        if (!config->isps[i].removed && has(config->isps[i].rules, config->isps[i].rule_count, name))
            return true;
    return has(config->phrases, config->phrase_count, name);
}

static bool add_texts(struct making *m, const struct config_rule *from, struct rule *to)
{
    struct owned *o = m->owned;
    to->texts = &o->texts[o->text_count];
    for (; to->text_count < from->text_count; to->text_count++) {
        char why[256];
        pcre2_code *code = compile(from->texts[to->text_count], why, sizeof why);
        if (!code)
            return fail(m, why);
        o->texts[o->text_count++] = code;
        /* Where there is no JIT, or no memory that may be written and executed (MemoryDenyWriteExecute of the unit), it
         * is interpreted: slower, and the same. */
        (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    }
    return true;
}

static bool add_rule(struct making *m, const struct config_rule *from)
{
    struct rule *to = &m->owned->all[m->owned->count++];
    *to = (struct rule){.class_ = from->class_,
                        .kind = from->kind,
                        .scope = from->scope,
                        .action = from->action,
                        .wait = from->wait,
                        .factor = from->factor,
                        .connections = from->connections,
                        .defer = from->defer,
                        .alert = from->alert};
    slice_copy(to->id, sizeof to->id, slice_of(from->name));
    for (unsigned i = 0; i < from->stage_count; i++) {
        uint32_t stages = 0;
        sluice_assert(rules_stage(from->stages[i], &stages)); /* config_rule.c has seen to that */
        to->stages |= stages;
    }
    for (; to->code_count < from->code_count; to->code_count++)
        sluice_assert(rules_codes(from->codes[to->code_count], &to->codes[to->code_count]));
    for (; to->status_count < from->status_count; to->status_count++)
        sluice_assert(rules_status(from->statuses[to->status_count], &to->statuses[to->status_count]));
    return add_texts(m, from, to);
}

static bool add_list(struct making *m, const struct config_rule *rules, unsigned count, bool shipped,
                     struct rule_list *list)
{
    unsigned first = m->owned->count;
    for (unsigned i = 0; i < count; i++)
        if (!(shipped && is_replaced(m->config, rules[i].name)) && !add_rule(m, &rules[i]))
            return false;
    list->rules = &m->owned->all[first];
    list->count = m->owned->count - first;
    return true;
}

static bool add_isp(struct making *m, const struct config_isp *from, bool shipped, struct rule_isp *to)
{
    slice_copy(to->name, sizeof to->name, slice_of(from->name));
    to->last_line = from->reply_line == CONFIG_REPLY_LAST;
    return add_list(m, from->rules, from->rule_count, shipped, &to->list);
}

static bool add_configured(struct making *m)
{
    const struct config *c = m->config;
    struct owned *o = m->owned;
    for (unsigned i = 0; i < c->isp_count; i++)
        if (!c->isps[i].removed && !add_isp(m, &c->isps[i], false, &o->configured[o->rules.configured_count++]))
            return false;
    return add_list(m, c->phrases, c->phrase_count, false, &o->rules.general[0]);
}

static bool add_shipped(struct making *m)
{
    struct owned *o = m->owned;
    uint32_t hosts = 0;
    for (unsigned f = 0; f < o->file_count; f++)
        for (unsigned i = 0; i < o->files[f]->isp_count; i++) {
            const struct config_isp *isp = &o->files[f]->isps[i];
            for (unsigned j = 0; j < isp->mx_count; j++)
                o->suffixes[hosts++] = (struct isp_suffix){slice_of(isp->mx[j]), o->rules.shipped_count};
            if (!add_isp(m, isp, true, &o->shipped[o->rules.shipped_count++]))
                return false;
        }
    if (isp_table_init(&o->rules.hosts, o->suffixes, hosts, o->slots) >= 0)
        return fail(m, "two shipped ISPs have the same mail exchanger");
    /* Phrases of several files become one list: nothing else is added between them. */
    unsigned first = o->count;
    struct rule_list list;
    for (unsigned f = 0; f < o->file_count; f++)
        if (!add_list(m, o->files[f]->phrases, o->files[f]->phrase_count, true, &list))
            return false;
    o->rules.general[1] = (struct rule_list){&o->all[first], o->count - first};
    return true;
}

static bool make(struct making *m)
{
    struct owned *o = m->owned;
    struct count count = {0}, own = {0};
    bool ships = !m->config || m->config->shipped_rules;
    if (m->config)
        count_file(&own, m->config);
    if (ships && !parse_shipped(m))
        return false;
    for (unsigned f = 0; f < o->file_count; f++)
        count_file(&count, o->files[f]);
    o->all = calloc(own.rules + count.rules + 1, sizeof *o->all);
    o->texts = calloc(own.texts + count.texts + 1, sizeof *o->texts);
    o->configured = calloc(own.isps + 1, sizeof *o->configured);
    o->shipped = calloc(count.isps + 1, sizeof *o->shipped);
    o->suffixes = calloc(count.hosts + 1, sizeof *o->suffixes);
    o->slots = calloc(isp_slots(count.hosts), sizeof *o->slots);
    if (!o->all || !o->texts || !o->configured || !o->shipped || !o->suffixes || !o->slots)
        return fail(m, "no memory");
    o->rules.configured = o->configured;
    o->rules.shipped = o->shipped;
    return (!m->config || add_configured(m)) && add_shipped(m);
}

static struct rules *rules_make(const struct config *config, char *error, size_t error_cap)
{
    struct making m = {.owned = calloc(1, sizeof *m.owned), .config = config, .error = error, .error_cap = error_cap};
    if (m.owned && make(&m))
        return &m.owned->rules;
    if (!m.owned)
        fail(&m, "no memory");
    else
        rules_free(&m.owned->rules);
    return NULL;
}

struct rules *rules_shipped(char *error, size_t error_cap) { return rules_make(NULL, error, error_cap); }

bool rules_load(struct config *config, char *error, size_t error_cap)
{
    sluice_assert(!config->rules);
    config->rules = rules_make(config, error, error_cap);
    return config->rules;
}

/* ---- readers ---- */

/* A pattern that goes back and forth more often than this over a reply of 1,000 bytes is given up: it does not fit. */
enum { MATCH_STEPS = 100 * 1000 };

bool rules_reader_open(struct rule_reader *reader, const struct rules *rules)
{
    reader->rules = rules;
    reader->match = pcre2_match_data_create(1, NULL); /* whether it fits is all that is asked */
    reader->context = pcre2_match_context_create(NULL);
    if (reader->match && reader->context) {
        pcre2_set_match_limit(reader->context, MATCH_STEPS);
        return true;
    }
    rules_reader_close(reader);
    return false;
}

void rules_reader_close(struct rule_reader *reader)
{
    pcre2_match_data_free(reader->match);
    pcre2_match_context_free(reader->context);
    *reader = (struct rule_reader){0};
}
