/* Numbers of the configuration and their units, as text and back: "1h30m", "64MiB", "500/min", "0.5%". */
#include "control/config_unit.h"

#include "control/config_table.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- characters and numbers; not <ctype.h>, which asks the locale ---- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Digits at *p; moves *p behind them. False: none, or more than an int64_t holds. */
bool config_unit_digits(const char **p, int64_t *number)
{
    if (!is_digit(**p))
        return false;
    *number = 0;
    for (; is_digit(**p); (*p)++)
        if (__builtin_mul_overflow(*number, (int64_t)10, number) ||
            __builtin_add_overflow(*number, (int64_t)(**p - '0'), number))
            return false;
    return true;
}

struct unit {
    const char *name;
    int64_t value;
};

static const struct unit durations[] = {
    {"d", 24 * 3600 * NSEC_PER_S}, {"h", 3600 * NSEC_PER_S}, {"m", 60 * NSEC_PER_S}, {"s", NSEC_PER_S},
    {"ms", NSEC_PER_MS},
};
static const struct unit sizes[] = {
    {"GiB", 1 << 30},
    {"MiB", 1 << 20},
    {"KiB", 1 << 10},
    {"B", 1},
};
/* The first name of a value is the one that is shown. */
static const struct unit rates[] = {
    {"s", NSEC_PER_S},
    {"sec", NSEC_PER_S},
    {"second", NSEC_PER_S},
    {"min", 60 * NSEC_PER_S},
    {"m", 60 * NSEC_PER_S},
    {"minute", 60 * NSEC_PER_S},
    {"h", 3600 * NSEC_PER_S},
    {"hour", 3600 * NSEC_PER_S},
    {"day", 24 * 3600 * NSEC_PER_S},
    {"d", 24 * 3600 * NSEC_PER_S},
};

static const struct unit *unit_find(const struct unit *units, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal(name, slice_of(units[i].name)))
            return &units[i];
    return NULL;
}

/* "1h30m": each unit at most once, the greater before the smaller. "0" stands for itself. */
bool config_read_duration(const char *text, int64_t *number)
{
    *number = 0;
    if (strcmp(text, "0") == 0)
        return true;
    int64_t last = INT64_MAX;
    for (const char *p = text; *p || p == text;) {
        int64_t n, part;
        if (!config_unit_digits(&p, &n))
            return false;
        const char *name = p;
        while (*p && !is_digit(*p))
            p++;
        const struct unit *unit = unit_find(durations, countof(durations), (struct slice){name, (size_t)(p - name)});
        if (!unit || unit->value >= last || __builtin_mul_overflow(n, unit->value, &part) ||
            __builtin_add_overflow(*number, part, number))
            return false;
        last = unit->value;
    }
    return true;
}

bool config_unit_size(const char *text, int64_t *number)
{
    const char *p = text;
    if (!config_unit_digits(&p, number))
        return false;
    const struct unit *unit = unit_find(sizes, countof(sizes), *p ? slice_of(p) : SLICE("B"));
    return unit && !__builtin_mul_overflow(*number, unit->value, number);
}

bool config_read_rate(const char *text, int64_t *number, nsec *per)
{
    const char *p = text;
    if (!config_unit_digits(&p, number) || *p++ != '/')
        return false;
    const struct unit *unit = unit_find(rates, countof(rates), slice_of(p));
    *per = unit ? unit->value : 0;
    return unit;
}

bool config_unit_bool(const char *text, int64_t *number)
{
    struct slice s = slice_of(text);
    *number = slice_equal_nocase(s, SLICE("yes")) || slice_equal_nocase(s, SLICE("true")) ||
              slice_equal_nocase(s, SLICE("on"));
    return *number || slice_equal_nocase(s, SLICE("no")) || slice_equal_nocase(s, SLICE("false")) ||
           slice_equal_nocase(s, SLICE("off"));
}

/* "1.4" as `one` times that, with at most as many places behind the point as `one` has zeros. */
static bool read_decimal(const char **p, int64_t one, int64_t *number)
{
    int64_t whole, place = one;
    if (!config_unit_digits(p, &whole) || __builtin_mul_overflow(whole, one, number))
        return false;
    if (**p != '.')
        return true;
    ++*p;
    if (!is_digit(**p))
        return false;
    for (; is_digit(**p); ++*p) {
        place /= 10;
        if (place == 0)
            return false;
        *number += (**p - '0') * place;
    }
    return true;
}

bool config_unit_factor(const char *text, int64_t *number)
{
    const char *p = text;
    return read_decimal(&p, 1000, number) && *p == 0;
}

bool config_unit_percent(const char *text, int64_t *number)
{
    const char *p = text;
    return read_decimal(&p, 1000, number) && strcmp(p, "%") == 0;
}

/* ---- showing ---- */

void config_duration_text(nsec value, char *text, size_t cap)
{
    size_t n = 0;
    text[0] = 0;
    for (size_t i = 0; i < countof(durations) && n < cap; i++) {
        int64_t whole = value / durations[i].value;
        value %= durations[i].value;
        if (whole)
            n += (size_t)snprintf(text + n, cap - n, "%" PRId64 "%s", whole, durations[i].name);
    }
    if (!n)
        snprintf(text, cap, "0s");
}

void config_unit_size_text(int64_t value, char *text, size_t cap)
{
    const struct unit *unit = sizes;
    while (value % unit->value)
        unit++;
    if (value == 0)
        unit = &sizes[countof(sizes) - 1];
    snprintf(text, cap, "%" PRId64 "%s", value / unit->value, unit->name);
}

void config_unit_rate_text(uint64_t rate, nsec per, char *text, size_t cap)
{
    const struct unit *unit = rates;
    while (unit->value != per)
        unit++;
    snprintf(text, cap, "%" PRIu64 "/%s", rate, unit->name);
}

/* A number in thousandths, without zeros behind its last place. */
void config_unit_decimal_text(uint32_t thousandths, const char *unit, char *text, size_t cap)
{
    uint32_t rest = thousandths % 1000;
    int places = rest == 0 ? 0 : rest % 100 == 0 ? 1 : rest % 10 == 0 ? 2 : 3;
    for (int i = places; i < 3; i++)
        rest /= 10;
    if (places)
        snprintf(text, cap, "%" PRIu32 ".%0*" PRIu32 "%s", thousandths / 1000, places, rest, unit);
    else
        snprintf(text, cap, "%" PRIu32 "%s", thousandths / 1000, unit);
}
