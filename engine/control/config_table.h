/* config_table.h - every key of the configuration as one row, and how the value of a row is read, stored and shown.
 *
 * Private to config*.c and its tests. Texts are in the file's own syntax without quotes: "500/min", "1h30m", "64MiB".
 */
#ifndef CONTROL_CONFIG_TABLE_H
#define CONTROL_CONFIG_TABLE_H

#include "control/config.h"

enum { CONFIG_PATTERN_MAX = 4096 }; /* bytes of one pattern of a rule */

enum config_type {
    CONFIG_TYPE_BROKEN = 0,
    CONFIG_BOOL,      /* bool; yes, no, true, false, on, off */
    CONFIG_COUNT,     /* unsigned */
    CONFIG_BIG_COUNT, /* uint64_t */
    CONFIG_PORT,      /* uint16_t */
    CONFIG_SIZE,      /* size_t; bytes, with B, KiB, MiB, GiB */
    CONFIG_DURATION,  /* nsec; whole milliseconds, with ms, s, m, h, d, also put together */
    CONFIG_SECONDS,   /* uint64_t; a duration in whole seconds */
    CONFIG_RATE,      /* uint64_t followed by nsec: a count in a unit of time, or none */
    CONFIG_WORD,      /* an enum; one of the row's `words` */
    CONFIG_FACTOR,    /* uint32_t; a decimal number, in thousandths */
    CONFIG_PERCENT,   /* uint32_t; "0.5%", in parts of 100,000 */
    CONFIG_DATE,      /* int64_t; "2026-11-01", in days since 1970; INT64_MIN: none */
    CONFIG_CAPS,      /* list of counts: warmup_plan.caps */
    CONFIG_TEXT,      /* char *, owned; printable; min .. max are bytes, as in all below */
    CONFIG_PATH,      /* char *, owned; absolute, or empty */
    CONFIG_ID,        /* char *, owned; [A-Za-z0-9._:-] */
    CONFIG_HOST,      /* char *, owned; a host name */
    CONFIG_URL,       /* char *, owned; where Redis is, or empty */
    CONFIG_AT,        /* char *, owned; address:port, or empty */
    CONFIG_SERVERS,   /* char *, owned; addresses with or without ports, or empty */
    CONFIG_NAME,      /* char[max + 1]; [A-Za-z0-9._:-] */
    CONFIG_EHLO,      /* char[max + 1]; a host name or an address literal */
    CONFIG_DELAYS,    /* list of durations: config_limits.retry; max holds for each */
    CONFIG_SUFFIXES,  /* const char ** followed by unsigned, owned: a list of host names or suffixes */
    CONFIG_TEXTS,     /* const char ** followed by unsigned, owned: a list of printable texts */
    CONFIG_TYPE_COUNT
};

/* Where a key stands. */
enum config_scope {
    CONFIG_SCOPE_BROKEN = 0,
    CONFIG_TOP,    /* struct config */
    CONFIG_LIMITS, /* struct config_limits: `defaults`, `isp`, `relay`, `source`, and `isp` within that */
    CONFIG_ISP,    /* struct config_isp: `isp` alone */
    CONFIG_TOTAL,  /* struct config_total: `isp` and `relay` at the top */
    CONFIG_SOURCE, /* struct config_source: `source` */
    CONFIG_RELAY,  /* struct config_relay: `relay` alone */
    CONFIG_ROUTE,  /* struct config_route: `route` */
    CONFIG_DKIM,   /* struct config_dkim: `dkim` */
    CONFIG_RULE,   /* struct config_rule: `rule`, at the top and in `isp` */
    CONFIG_WARMUP, /* struct warmup_plan: `warmup`, and `isp` and `all` within that */
    CONFIG_SUPPRESS, /* struct config_suppress: `suppress` */
};

struct config_row {
    enum config_scope scope;
    const char *name;
    enum config_type type;
    int64_t min, max;         /* numbers, nanoseconds or bytes, as the type says */
    const char *const *words; /* CONFIG_WORD: the names of the values min .. max, by value */
    const char *fallback;     /* in the file's syntax, list items with commas between; NULL: `fallback_doc` says what */
    const char *fallback_doc;
    size_t offset;
    const char *doc;
};

const struct config_row *config_rows(size_t *count);
/* NULL: no such key there. In scopes CONFIG_ISP, CONFIG_RELAY and CONFIG_SOURCE the limits are found too, in the first
 * two the totals. */
const struct config_row *config_row_find(enum config_scope scope, const char *name);
/* Whether the row's field is a list of texts that the struct owns. */
static inline bool config_row_is_names(const struct config_row *row)
{
    return row->type == CONFIG_SUFFIXES || row->type == CONFIG_TEXTS;
}

static inline bool config_row_is_list(const struct config_row *row)
{
    return row->type == CONFIG_DELAYS || config_row_is_names(row) || row->type == CONFIG_CAPS;
}

/* Whether the row's field is a char * that the struct owns. */
static inline bool config_row_is_owned_text(const struct config_row *row)
{
    return row->type >= CONFIG_TEXT && row->type <= CONFIG_SERVERS;
}

/* One value as it was read. */
struct config_value {
    unsigned line;
    int64_t number; /* of all types but the textual ones */
    nsec per;       /* CONFIG_RATE */
    char *text;     /* of the textual ones, normalised; owned by this struct */
};
/* False: the text is no value of this row; `why` says what is wrong and what is allowed. `value` is malloced and freed
 * by config_value_free. */
must_use bool config_value_parse(const struct config_row *row, const char *text, struct config_value **value, char *why,
                                 size_t why_cap);
void config_value_free(void *value);

/* Whether a text fits a row of a textual type. */
bool config_text_fits(const struct config_row *row, const char *text);

/* Bytes that a row of CONFIG_LIMITS takes in its struct, from its offset on. */
size_t config_row_size(const struct config_row *row);

/* What this row allows, as one phrase: "a whole number from 1 to 10000". */
void config_row_allowed(const struct config_row *row, char *text, size_t cap);

/* Stores `count` values (one unless the row is a list) in the struct that the row's scope names. False: no memory. */
must_use bool config_store(const struct config_row *row, void *base, struct config_value *const *values,
                           unsigned count);
/* The row's value in that struct in the file's syntax, with quotes and braces where they are needed. `cap` >= 64 KiB
 * always suffices. */
void config_format(const struct config_row *row, const void *base, char *text, size_t cap);
/* `text` in quotes, safe for the lexer. */
void config_quote(const char *text, char *quoted, size_t cap);
void config_duration_text(nsec value, char *text, size_t cap);
/* "1h30m" and "500/min", as the file has them. False: it is none. */
must_use bool config_read_duration(const char *text, int64_t *ns);
must_use bool config_read_rate(const char *text, int64_t *rate, nsec *per);

#endif
