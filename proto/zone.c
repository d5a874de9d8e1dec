/* zone.c - finds where a day begins from what a zone's file says of its clocks, so that days across their changes have
 * 23 or 25 hours and none is counted twice. */
#include "proto/zone.h"

#include "proto/number.h"

enum { HOUR_S = 3600, DAY_S = 24 * HOUR_S, OFFSET_MAX_S = 26 * HOUR_S, HEAD = 44, CHANGE_HOURS_MAX = 167 };

/* ---- dates ---- */

static int64_t floor_of(int64_t a, int64_t b) { return a / b - (a % b < 0); }

static bool is_leap(int64_t year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

static int days_before(int64_t year, int month)
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    return before[month - 1] + (month > 2 && is_leap(year));
}

/* Days from 1970-01-01 to 1 January of a year. */
static int64_t days_to_year(int64_t year)
{
    int64_t y = year - 1;
    return 365 * (year - 1970) + (floor_of(y, 4) - 492) - (floor_of(y, 100) - 19) + (floor_of(y, 400) - 4);
}

int64_t zone_date(int64_t year, int month, int day)
{
    sluice_assert(month >= 1 && month <= 12);
    return days_to_year(year) + days_before(year, month) + day - 1;
}

static int64_t year_of(int64_t number)
{
    int64_t year = 1970 + floor_of(number * 400, 146097); /* 400 years have so many days: right to a year */
    while (days_to_year(year) > number)
        year--;
    while (days_to_year(year + 1) <= number)
        year++;
    return year;
}

void zone_date_of(int64_t number, int64_t *year, int *month, int *day)
{
    *year = year_of(number);
    int within = (int)(number - days_to_year(*year));
    *month = 1;
    while (*month < 12 && days_before(*year, *month + 1) <= within)
        ++*month;
    *day = within - days_before(*year, *month) + 1;
}

bool zone_date_parse(struct slice text, int64_t *number)
{
    uint64_t year, month, day;
    int64_t same_year;
    int same_month, same_day;
    if (text.n != 10 || text.p[4] != '-' || text.p[7] != '-' || !number_parse((struct slice){text.p, 4}, 9999, &year) ||
        !number_parse((struct slice){text.p + 5, 2}, 12, &month) || month == 0 ||
        !number_parse((struct slice){text.p + 8, 2}, 31, &day) || day == 0)
        return false;
    *number = zone_date((int64_t)year, (int)month, (int)day);
    zone_date_of(*number, &same_year, &same_month, &same_day);
    return same_month == (int)month && same_day == (int)day;
}

/* ---- a TZif file, RFC 8536 §3 ---- */

static int64_t big_endian(const uint8_t *p, unsigned bytes)
{
    uint64_t value = p[0] & 0x80 ? UINT64_MAX : 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | p[i];
    return (int64_t)value;
}

static uint32_t count_at(struct slice file, size_t at) { return (uint32_t)big_endian((const uint8_t *)file.p + at, 4); }

struct block {
    uint32_t times, types, chars;
    size_t bytes; /* with its head */
    uint8_t version;
};

/* The head of a block whose instants have `time_bytes` each, and whether all of it is there. */
static bool read_head(struct slice file, unsigned time_bytes, struct block *block)
{
    if (file.n < HEAD || memcmp(file.p, "TZif", 4) != 0)
        return false;
    uint64_t utc = count_at(file, 20), standard = count_at(file, 24), leaps = count_at(file, 28);
    block->version = (uint8_t)file.p[4];
    block->times = count_at(file, 32);
    block->types = count_at(file, 36);
    block->chars = count_at(file, 40);
    uint64_t bytes = HEAD + (uint64_t)block->times * (time_bytes + 1) + (uint64_t)block->types * 6 + block->chars +
                     leaps * (time_bytes + 4) + standard + utc;
    block->bytes = (size_t)bytes;
    /* With leap seconds counted, as in the "right" zones, an instant is not one of UTC. */
    return bytes <= file.n && leaps == 0 && block->types > 0 && block->types <= 256;
}

static bool take_block(struct zone *zone, struct slice file, unsigned time_bytes, const struct block *block)
{
    zone->times = (const uint8_t *)file.p + HEAD;
    zone->types = zone->times + (size_t)block->times * time_bytes;
    zone->infos = zone->types + block->times;
    zone->time_count = block->times;
    zone->info_count = block->types;
    zone->time_bytes = time_bytes;
    for (uint32_t i = 0; i < block->types; i++) {
        int64_t offset = big_endian(zone->infos + 6 * i, 4);
        if (offset > OFFSET_MAX_S || offset < -OFFSET_MAX_S)
            return false;
    }
    for (uint32_t i = 0; i < block->times; i++) {
        const uint8_t *at = zone->times + (size_t)i * time_bytes;
        if (zone->types[i] >= block->types ||
            (i && big_endian(at - time_bytes, time_bytes) >= big_endian(at, time_bytes)))
            return false;
    }
    return true;
}

/* ---- the footer: a TZ string, POSIX and RFC 8536 §3.3.1 ---- */

static bool take(struct slice *text, char c)
{
    if (text->n == 0 || text->p[0] != c)
        return false;
    text->p++, text->n--;
    return true;
}

static bool take_number(struct slice *text, int64_t max, int64_t *value)
{
    size_t n = 0;
    uint64_t number;
    while (n < text->n && text->p[n] >= '0' && text->p[n] <= '9')
        n++;
    if (!number_parse((struct slice){text->p, n}, (uint64_t)max, &number))
        return false;
    *value = (int64_t)number;
    text->p += n, text->n -= n;
    return true;
}

/* "<+0330>" or "CET". */
static bool take_name(struct slice *text)
{
    size_t n = 0;
    if (take(text, '<')) {
        while (n < text->n && text->p[n] != '>')
            n++;
        if (n == text->n)
            return false;
        text->p += n + 1, text->n -= n + 1;
        return n > 0;
    }
    while (n < text->n && ascii_lower(text->p[n]) >= 'a' && ascii_lower(text->p[n]) <= 'z')
        n++;
    text->p += n, text->n -= n;
    return n > 0;
}

/* "[+-]hh[:mm[:ss]]" */
static bool take_time(struct slice *text, int64_t hours_max, int64_t *seconds)
{
    int64_t hours, minutes = 0, rest = 0;
    bool negative = take(text, '-');
    if (!negative)
        (void)take(text, '+');
    if (!take_number(text, hours_max, &hours) ||
        (take(text, ':') && (!take_number(text, 59, &minutes) || (take(text, ':') && !take_number(text, 59, &rest)))))
        return false;
    *seconds = (hours * HOUR_S + minutes * 60 + rest) * (negative ? -1 : 1);
    return true;
}

static bool take_change(struct slice *text, struct zone_change *change)
{
    int64_t month, week, weekday, day = 0;
    *change = (struct zone_change){.at_s = 2 * HOUR_S};
    if (!take(text, ','))
        return false;
    if (take(text, 'M')) {
        change->kind = 'M';
        if (!take_number(text, 12, &month) || month == 0 || !take(text, '.') || !take_number(text, 5, &week) ||
            week == 0 || !take(text, '.') || !take_number(text, 6, &weekday))
            return false;
        change->month = (int)month;
        change->week = (int)week;
        change->weekday = (int)weekday;
    } else {
        change->kind = take(text, 'J') ? 'J' : 'n';
        if (!take_number(text, 365, &day) || (change->kind == 'J' && day == 0))
            return false;
        change->day = (int)day;
    }
    return !take(text, '/') || take_time(text, CHANGE_HOURS_MAX, &change->at_s);
}

static bool read_rule(struct zone *zone, struct slice text)
{
    int64_t west;
    if (!take_name(&text) || !take_time(&text, 24, &west))
        return false;
    zone->has_rule = true;
    zone->rule_offset_s = -west;
    if (text.n == 0)
        return true;
    zone->rule_saves = true;
    zone->rule_summer_s = zone->rule_offset_s + HOUR_S;
    if (!take_name(&text))
        return false;
    if (text.n && text.p[0] != ',') {
        if (!take_time(&text, 24, &west))
            return false;
        zone->rule_summer_s = -west;
    }
    return take_change(&text, &zone->rule_begin) && take_change(&text, &zone->rule_end) && text.n == 0;
}

void zone_utc(struct zone *zone) { *zone = (struct zone){.infos = NULL}; }

bool zone_read(struct zone *zone, struct slice bytes)
{
    struct block block;
    zone_utc(zone);
    if (!read_head(bytes, 4, &block))
        return false;
    if (block.version == 0)
        return take_block(zone, bytes, 4, &block);
    /* The second block holds the same and more, in instants of 64 bits. */
    bytes.p += block.bytes, bytes.n -= block.bytes;
    if (!read_head(bytes, 8, &block) || !take_block(zone, bytes, 8, &block))
        return false;
    struct slice footer = {bytes.p + block.bytes, bytes.n - block.bytes};
    const char *stop = footer.n > 1 ? memchr(footer.p + 1, '\n', footer.n - 1) : NULL;
    if (!take(&footer, '\n') || !stop)
        return false;
    footer.n = (size_t)(stop - footer.p);
    return footer.n == 0 || read_rule(zone, footer);
}

/* ---- what clocks show ---- */

/* The day of a year on which they are changed. */
static int64_t change_day(const struct zone_change *change, int64_t year)
{
    if (change->kind == 'n')
        return days_to_year(year) + change->day;
    if (change->kind == 'J')
        return days_to_year(year) + change->day - 1 + (is_leap(year) && change->day > 59);
    int64_t first = zone_date(year, change->month, 1);
    int64_t next = change->month == 12 ? days_to_year(year + 1) : zone_date(year, change->month + 1, 1);
    int64_t weekday = (first + 4) % 7; /* 1970-01-01 was a Thursday */
    weekday += weekday < 0 ? 7 : 0;
    int64_t day = first + (change->weekday - weekday + 7) % 7 + 7 * (change->week - 1);
    return day < next ? day : day - 7; /* the fifth is the last, RFC 8536 and POSIX */
}

static int64_t summer_begins(const struct zone *zone, int64_t year)
{
    return change_day(&zone->rule_begin, year) * DAY_S + zone->rule_begin.at_s - zone->rule_offset_s;
}

static int64_t summer_ends(const struct zone *zone, int64_t year)
{
    return change_day(&zone->rule_end, year) * DAY_S + zone->rule_end.at_s - zone->rule_summer_s;
}

/* Where the rule changes clocks last before or at `at`, or first behind it; a change may lie a week beside its day, so
 * the years beside are looked at too. */
static bool rule_change(const struct zone *zone, int64_t at, bool behind, int64_t *when, bool *to_summer)
{
    int64_t year = year_of(floor_of(at, DAY_S));
    bool found = false;
    for (int64_t y = year - 1; y <= year + 1; y++)
        for (int summer = 0; summer < 2; summer++) {
            int64_t change = summer ? summer_begins(zone, y) : summer_ends(zone, y);
            if ((behind ? change <= at : change > at) || (found && (behind ? change >= *when : change <= *when)))
                continue;
            found = true;
            *when = change;
            *to_summer = summer;
        }
    return found;
}

static int64_t rule_offset(const struct zone *zone, int64_t at)
{
    int64_t when;
    bool summer = false;
    if (!zone->rule_saves || !rule_change(zone, at, false, &when, &summer))
        return zone->rule_offset_s;
    return summer ? zone->rule_summer_s : zone->rule_offset_s;
}

static int64_t time_at(const struct zone *zone, uint32_t i)
{
    return big_endian(zone->times + (size_t)i * zone->time_bytes, zone->time_bytes);
}

/* How many of the zone's instants are at or before this one. */
static uint32_t times_before(const struct zone *zone, int64_t at)
{
    uint32_t low = 0, high = zone->time_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (time_at(zone, middle) <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int64_t zone_offset(const struct zone *zone, int64_t at_s)
{
    uint32_t before = times_before(zone, at_s);
    if (before == zone->time_count && zone->has_rule)
        return rule_offset(zone, at_s);
    if (!zone->infos)
        return 0;
    return big_endian(zone->infos + 6 * (size_t)(before ? zone->types[before - 1] : 0), 4);
}

/* The first instant behind `at` at which clocks may be changed. */
static int64_t next_change(const struct zone *zone, int64_t at)
{
    uint32_t before = times_before(zone, at);
    int64_t when;
    bool summer;
    if (before < zone->time_count)
        return time_at(zone, before);
    return zone->rule_saves && rule_change(zone, at, true, &when, &summer) ? when : INT64_MAX;
}

/* ---- days ---- */

/* The first instant at which clocks show at least this, in seconds since 1970-01-01 by themselves. */
static int64_t first_shown(const struct zone *zone, int64_t shown)
{
    int64_t at = shown - OFFSET_MAX_S - 1;
    for (;;) {
        int64_t offset = zone_offset(zone, at), next = next_change(zone, at);
        if (at + offset >= shown)
            return at;
        if (shown - offset < next)
            return shown - offset;
        at = next;
    }
}

static int64_t day_begins(const struct zone_days *days, int64_t number)
{
    return first_shown(&days->zone, number * DAY_S + (int64_t)days->starts * HOUR_S);
}

struct zone_day zone_day_number(const struct zone_days *days, int64_t number)
{
    if (days->length)
        return (struct zone_day){number, number * days->length, (number + 1) * days->length};
    return (struct zone_day){number, day_begins(days, number) * NSEC_PER_S, day_begins(days, number + 1) * NSEC_PER_S};
}

struct zone_day zone_day(const struct zone_days *days, nsec wall)
{
    sluice_assert(days->starts < 24 && days->length >= 0);
    if (days->length)
        return zone_day_number(days, floor_of(wall, days->length));
    int64_t at = floor_of(wall, NSEC_PER_S);
    int64_t shown = at + zone_offset(&days->zone, at) - (int64_t)days->starts * HOUR_S;
    int64_t number = floor_of(shown, DAY_S);
    while (day_begins(days, number) > at)
        number--;
    while (day_begins(days, number + 1) <= at) /* clocks were set back to before the hour at which it began */
        number++;
    return zone_day_number(days, number);
}
