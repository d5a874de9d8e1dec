/* Turns one text of the configuration into a value of its row's type, checks it, stores it and shows it again. */
#include "control/config_table.h"
#include "control/config_unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static bool read_word(const struct config_row *row, const char *text, int64_t *number)
{
    for (*number = row->min; *number <= row->max; ++*number)
        if (strcmp(text, row->words[*number]) == 0)
            return true;
    return false;
}

/* ---- reading ---- */

static bool is_textual(enum config_type type) { return type >= CONFIG_TEXT && type != CONFIG_DELAYS; }

static bool read_number(const struct config_row *row, const char *text, struct config_value *value)
{
    const char *p = text;
    int64_t least = row->min;
    bool read = false;
    switch (row->type) {
    case CONFIG_BOOL:
        read = config_unit_bool(text, &value->number);
        break;
    case CONFIG_WORD:
        read = read_word(row, text, &value->number);
        break;
    case CONFIG_SIZE:
        read = config_unit_size(text, &value->number);
        break;
    case CONFIG_DURATION:
    case CONFIG_DELAYS:
        read = config_read_duration(text, &value->number);
        break;
    case CONFIG_SECONDS:
        read = config_read_duration(text, &value->number) && value->number % NSEC_PER_S == 0;
        break;
    case CONFIG_FACTOR:
        read = config_unit_factor(text, &value->number);
        break;
    case CONFIG_PERCENT:
        read = config_unit_percent(text, &value->number);
        break;
    case CONFIG_DATE:
        return zone_date_parse(slice_of(text), &value->number);
    case CONFIG_RATE:
        if (strcmp(text, "none") == 0) {
            least = 0;
            value->per = NSEC_PER_S;
            read = true;
        } else {
            read = config_read_rate(text, &value->number, &value->per);
        }
        break;
    default:
        read = config_unit_digits(&p, &value->number) && *p == 0;
        break;
    }
    return read && value->number >= least && value->number <= row->max;
}

bool config_value_parse(const struct config_row *row, const char *text, struct config_value **value, char *why,
                        size_t why_cap)
{
    struct config_value *v = calloc(1, sizeof *v);
    bool fits = false;
    if (v && is_textual(row->type)) {
        v->text = strdup(text);
        fits = v->text && config_text_fits(row, text);
        /* Host names are compared without case, so the suffixes are kept in one. */
        for (char *p = v->text; fits && row->type == CONFIG_SUFFIXES && *p; p++)
            *p = ascii_lower(*p);
    } else if (v) {
        fits = read_number(row, text, v);
    }
    if (!fits) {
        char allowed[256];
        config_row_allowed(row, allowed, sizeof allowed);
        snprintf(why, why_cap, "%s = \"%.200s\" is not allowed; it is %s", row->name, text, allowed);
        config_value_free(v);
        return false;
    }
    *value = v;
    return true;
}

void config_value_free(void *value)
{
    struct config_value *v = value;
    if (v)
        free(v->text);
    free(v);
}

/* ---- storing ---- */

/* A field of type CONFIG_SUFFIXES. */
struct suffixes {
    const char **items;
    unsigned count;
};
_Static_assert(offsetof(struct config_isp, mx_count) - offsetof(struct config_isp, mx) ==
                       offsetof(struct suffixes, count) &&
                   offsetof(struct config_limits, chunking_count) - offsetof(struct config_limits, chunking) ==
                       offsetof(struct suffixes, count) &&
                   offsetof(struct config_route, domain_count) - offsetof(struct config_route, domains) ==
                       offsetof(struct suffixes, count),
               "a list of names is followed by its length");

static bool store_suffixes(struct suffixes *names, struct config_value *const *values, unsigned count)
{
    names->count = 0; /* in place of an inherited list */
    names->items = calloc(count + 1, sizeof *names->items);
    if (!names->items)
        return false;
    for (; names->count < count; names->count++) {
        names->items[names->count] = strdup(values[names->count]->text);
        if (!names->items[names->count])
            return false;
    }
    return true;
}

/* A field of type CONFIG_RATE. */
struct rate {
    uint64_t count;
    nsec per;
};
_Static_assert(
    offsetof(struct config_limits, rate_per) - offsetof(struct config_limits, rate) == offsetof(struct rate, per) &&
        offsetof(struct config_limits, connection_rate_per) - offsetof(struct config_limits, connection_rate) ==
            offsetof(struct rate, per) &&
        offsetof(struct config_total, rate_per) - offsetof(struct config_total, rate) == offsetof(struct rate, per) &&
        offsetof(struct config_total, connection_rate_per) - offsetof(struct config_total, connection_rate) ==
            offsetof(struct rate, per),
    "a rate is followed by its unit of time");

size_t config_row_size(const struct config_row *row)
{
    switch (row->type) {
    case CONFIG_BOOL:
        return sizeof(bool);
    case CONFIG_COUNT:
    case CONFIG_WORD:
        return sizeof(unsigned);
    case CONFIG_DURATION:
        return sizeof(nsec);
    case CONFIG_RATE:
        return sizeof(struct rate);
    case CONFIG_DELAYS:
        return offsetof(struct config_limits, retry_count) + sizeof(unsigned) - offsetof(struct config_limits, retry);
    case CONFIG_SUFFIXES:
        return sizeof(struct suffixes);
    default:
        sluice_assert(!"a limit of a type that no limit has");
        return 0;
    }
}

/* A field of type CONFIG_CAPS. */
static void store_caps(struct warmup_plan *plan, struct config_value *const *values, unsigned count)
{
    sluice_assert(count <= WARMUP_CAPS_MAX);
    for (unsigned i = 0; i < count; i++)
        plan->caps[i] = (uint64_t)values[i]->number;
    plan->cap_count = count;
}

static bool store_text(char **field, const char *text)
{
    free(*field);
    *field = strdup(text);
    return *field;
}

bool config_store(const struct config_row *row, void *base, struct config_value *const *values, unsigned count)
{
    void *field = (char *)base + row->offset;
    const struct config_value *v = values[0];
    struct config_limits *limits = base;
    switch (row->type) {
    case CONFIG_BOOL:
        *(bool *)field = v->number;
        break;
    case CONFIG_COUNT:
        *(unsigned *)field = (unsigned)v->number;
        break;
    case CONFIG_BIG_COUNT:
        *(uint64_t *)field = (uint64_t)v->number;
        break;
    case CONFIG_PORT:
        *(uint16_t *)field = (uint16_t)v->number;
        break;
    case CONFIG_SIZE:
        *(size_t *)field = (size_t)v->number;
        break;
    case CONFIG_DURATION:
        *(nsec *)field = v->number;
        break;
    case CONFIG_SECONDS:
        *(uint64_t *)field = (uint64_t)(v->number / NSEC_PER_S);
        break;
    case CONFIG_WORD: /* a C enum is as wide as an unsigned here */
        *(unsigned *)field = (unsigned)v->number;
        break;
    case CONFIG_NAME:
    case CONFIG_EHLO:
        slice_copy(field, (size_t)row->max + 1, slice_of(v->text));
        break;
    case CONFIG_RATE:
        *(struct rate *)field = (struct rate){(uint64_t)v->number, v->per};
        break;
    case CONFIG_DELAYS:
        sluice_assert(count <= CONFIG_RETRY_STEPS);
        for (unsigned i = 0; i < count; i++)
            limits->retry[i] = values[i]->number;
        limits->retry_count = count;
        break;
    case CONFIG_CAPS:
        store_caps(base, values, count);
        break;
    case CONFIG_FACTOR:
    case CONFIG_PERCENT:
        *(uint32_t *)field = (uint32_t)v->number;
        break;
    case CONFIG_DATE:
        *(int64_t *)field = v->number;
        break;
    case CONFIG_SUFFIXES:
    case CONFIG_TEXTS:
        return store_suffixes(field, values, count);
    default:
        return store_text(field, v->text);
    }
    return true;
}

/* ---- showing ---- */

/* What was left out is left out again: "". */
static void date_text(int64_t number, char *text, size_t cap)
{
    int64_t year;
    int month, day;
    text[0] = 0;
    if (number == INT64_MIN)
        return;
    zone_date_of(number, &year, &month, &day);
    snprintf(text, cap, "%04d-%02d-%02d", (int)year, month, day);
}

static void caps_text(const struct warmup_plan *plan, char *text, size_t cap)
{
    size_t n = (size_t)snprintf(text, cap, "{");
    for (unsigned i = 0; i < plan->cap_count && n < cap; i++)
        n += (size_t)snprintf(text + n, cap - n, "%s%" PRIu64, i ? ", " : "", plan->caps[i]);
    if (n < cap)
        snprintf(text + n, cap - n, "}");
}

void config_quote(const char *text, char *quoted, size_t cap)
{
    size_t n = 0;
    quoted[n++] = '"';
    for (; *text && n + 4 < cap; text++) {
        /* The lexer would take ${ as a variable of the environment. */
        if (strchr("\"\\$", *text))
            quoted[n++] = '\\';
        quoted[n++] = *text;
    }
    quoted[n++] = '"';
    quoted[n] = 0;
}

static void format_list(const struct config_row *row, const void *base, char *text, size_t cap)
{
    const struct config_limits *limits = base;
    const struct suffixes *names = (const void *)((const char *)base + row->offset);
    bool delays = row->type == CONFIG_DELAYS;
    unsigned count = delays ? limits->retry_count : names->count;
    size_t n = (size_t)snprintf(text, cap, "{");
    for (unsigned i = 0; i < count; i++) {
        char item[2 * CONFIG_PATTERN_MAX + 4];
        if (row->type == CONFIG_TEXTS)
            config_quote(names->items[i], item, sizeof item);
        else if (delays)
            config_duration_text(limits->retry[i], item, sizeof item);
        else
            slice_copy(item, sizeof item, slice_of(names->items[i]));
        if (n + strlen(item) + 4 < cap)
            n += (size_t)snprintf(text + n, cap - n, "%s%s", i ? ", " : "", item);
    }
    snprintf(text + n, cap - n, "}");
}

void config_format(const struct config_row *row, const void *base, char *text, size_t cap)
{
    const void *field = (const char *)base + row->offset;
    switch (row->type) {
    case CONFIG_BOOL:
        snprintf(text, cap, "%s", *(const bool *)field ? "yes" : "no");
        break;
    case CONFIG_COUNT:
        snprintf(text, cap, "%u", *(const unsigned *)field);
        break;
    case CONFIG_BIG_COUNT:
        snprintf(text, cap, "%" PRIu64, *(const uint64_t *)field);
        break;
    case CONFIG_PORT:
        snprintf(text, cap, "%u", *(const uint16_t *)field);
        break;
    case CONFIG_SIZE:
        config_unit_size_text((int64_t) * (const size_t *)field, text, cap);
        break;
    case CONFIG_DURATION:
        config_duration_text(*(const nsec *)field, text, cap);
        break;
    case CONFIG_SECONDS:
        config_duration_text((nsec) * (const uint64_t *)field * NSEC_PER_S, text, cap);
        break;
    case CONFIG_WORD:
        snprintf(text, cap, "%s", row->words[*(const unsigned *)field]);
        break;
    case CONFIG_RATE:
        if (((const struct rate *)field)->count)
            config_unit_rate_text(((const struct rate *)field)->count, ((const struct rate *)field)->per, text, cap);
        else
            snprintf(text, cap, "none");
        break;
    case CONFIG_NAME:
    case CONFIG_EHLO:
        config_quote(field, text, cap);
        break;
    case CONFIG_FACTOR:
        text[0] = 0;
        if (*(const uint32_t *)field)
            config_unit_decimal_text(*(const uint32_t *)field, "", text, cap);
        break;
    case CONFIG_PERCENT:
        config_unit_decimal_text(*(const uint32_t *)field, "%", text, cap);
        break;
    case CONFIG_DATE:
        date_text(*(const int64_t *)field, text, cap);
        break;
    case CONFIG_CAPS:
        caps_text(base, text, cap);
        break;
    case CONFIG_DELAYS:
    case CONFIG_SUFFIXES:
    case CONFIG_TEXTS:
        format_list(row, base, text, cap);
        break;
    default:
        config_quote(*(char *const *)field, text, cap);
        break;
    }
}

/* "error, warning, info or debug" */
static void words_text(const struct config_row *row, char *text, size_t cap)
{
    size_t n = 0;
    for (int64_t i = row->min; i <= row->max && n < cap; i++)
        n += (size_t)snprintf(text + n, cap - n, "%s%s",
                              i == row->min   ? ""
                              : i == row->max ? " or "
                                              : ", ",
                              row->words[i]);
}

/* The types that warm-ups alone have. */
static void warmup_allowed(const struct config_row *row, char *text, size_t cap)
{
    if (row->type == CONFIG_FACTOR)
        snprintf(text, cap, "a number from %" PRId64 ".%03" PRId64 " to %" PRId64 ", such as 1.4", row->min / 1000,
                 row->min % 1000, row->max / 1000);
    else
        snprintf(text, cap, "%s",
                 row->type == CONFIG_DATE ? "a date, such as 2026-11-01" : "a share from 0% to 100%, such as 0.5%");
}

static const char url_allowed[] =
    "unix:/path, redis://[user:password@]host[:port][/db], sentinel://[user:password@]host[:port],.../name[/db] and "
    "cluster://[user:password@]host[:port],..., with TLS rediss://, sentinels:// and clusters://";

void config_row_allowed(const struct config_row *row, char *text, size_t cap)
{
    char least[64], most[64];
    const char *empty = row->min == 0 ? ", or \"\"" : "";
    config_duration_text(row->min, least, sizeof least);
    config_duration_text(row->max, most, sizeof most);
    switch (row->type) {
    case CONFIG_BOOL:
        snprintf(text, cap, "yes or no");
        break;
    case CONFIG_WORD:
        words_text(row, text, cap);
        break;
    case CONFIG_DURATION:
    case CONFIG_DELAYS:
    case CONFIG_SECONDS:
        snprintf(text, cap, "a duration from %s to %s, such as %s", least, most,
                 row->type == CONFIG_SECONDS ? "12h or 30d" : "250ms, 30s or 1h30m");
        break;
    case CONFIG_SIZE:
        config_unit_size_text(row->min, least, sizeof least);
        config_unit_size_text(row->max, most, sizeof most);
        snprintf(text, cap, "a size from %s to %s, with the unit B, KiB, MiB or GiB", least, most);
        break;
    case CONFIG_RATE:
        snprintf(text, cap,
                 "none, or a count from %" PRId64 " to %" PRId64 " and a unit: 10/s, 500/min, 3000/h, 50000/day",
                 row->min, row->max);
        break;
    case CONFIG_FACTOR:
    case CONFIG_PERCENT:
    case CONFIG_DATE:
        warmup_allowed(row, text, cap);
        break;
    case CONFIG_PATH:
        snprintf(text, cap, "an absolute path of at most %" PRId64 " bytes%s", row->max, empty);
        break;
    case CONFIG_HOST:
        snprintf(text, cap, "a host name%s", empty);
        break;
    case CONFIG_EHLO:
        snprintf(text, cap, "a host name or an address literal such as [192.0.2.1]");
        break;
    case CONFIG_SUFFIXES:
        snprintf(text, cap, "a host name, or a suffix of host names such as .example.com");
        break;
    case CONFIG_URL:
        snprintf(text, cap, "%s%s", url_allowed, empty);
        break;
    case CONFIG_AT:
        snprintf(text, cap, "address:port, such as 127.0.0.1:9125 or [::1]:9125%s", empty);
        break;
    case CONFIG_SERVERS:
        snprintf(text, cap, "addresses with or without a port, with commas between: 127.0.0.1:5353, [::1]:53%s", empty);
        break;
    case CONFIG_ID:
    case CONFIG_NAME:
        snprintf(text, cap, "%s%" PRId64 " letters, digits and . _ : -%s", row->min ? "1 to " : "up to ", row->max,
                 empty);
        break;
    case CONFIG_TEXT:
    case CONFIG_TEXTS:
        snprintf(text, cap, "printable text of at most %" PRId64 " bytes", row->max);
        break;
    default:
        snprintf(text, cap, "a whole number from %" PRId64 " to %" PRId64, row->min, row->max);
        break;
    }
}
