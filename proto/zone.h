/* zone.h - which civil day it is somewhere, and when that day begins and ends.
 *
 * Pure: a zone is read from the bytes of a TZif file (RFC 8536; RFC 9636), which stay the caller's. A day begins at
 * `starts` o'clock by the zone's own clocks: at the first instant at which they show that hour or a later one of that
 * date, so a day whose hour is skipped begins with the gap's end, and one whose hour comes twice at the first. A day
 * is known by the number of its date since 1970-01-01; it is 23 to 25 hours long where clocks are changed by an hour,
 * and days follow one another without a gap. (A date that a country skipped, as Samoa did 2011-12-30, has no length.)
 */
#ifndef PROTO_ZONE_H
#define PROTO_ZONE_H

#include "sluice/base.h"
#include "sluice/slice.h"

/* One of the two changes of a year in a TZ string. */
struct zone_change {
    char kind;                /* 'M'; 'J', of days that do not count 29 February; 'n', that do */
    int month, week, weekday; /* M */
    int day;                  /* J: 1 .. 365; n: 0 .. 365 */
    int64_t at_s;             /* seconds after midnight, may be negative or beyond a day (RFC 8536 3.3.1) */
};

struct zone {
    const uint8_t *times, *types, *infos; /* borrowed from the file's bytes; NULL: none */
    uint32_t time_count, info_count;
    unsigned time_bytes; /* 4 or 8 */
    bool has_rule;       /* the footer, for instants behind the last of `times` */
    bool rule_saves;     /* with summer time */
    int64_t rule_offset_s, rule_summer_s;
    struct zone_change rule_begin, rule_end;
};

void zone_utc(struct zone *zone);
/* The zone borrows `bytes` as long as it is used. False: this is no TZif file, or one that contradicts itself. */
must_use bool zone_read(struct zone *zone, struct slice bytes);
/* Seconds that the zone's clocks are ahead of UTC at an instant (seconds since 1970). */
int64_t zone_offset(const struct zone *zone, int64_t at_s);

/* What days are by: a zone and an hour, or, for tests, a length. */
struct zone_days {
    struct zone zone;
    unsigned starts; /* 0 .. 23 o'clock */
    nsec length;     /* 0: civil days; else every day is that long, and days are counted from 1970 in UTC */
};

struct zone_day {
    int64_t number;    /* of its date, since 1970-01-01; of the day, where days have a length of their own */
    nsec begins, ends; /* wall time; ends is the first instant of the next */
};
/* The day of an instant of wall time, any within +-200 years of 1970. */
struct zone_day zone_day(const struct zone_days *days, nsec wall);
/* The day of this number; within the same years. */
struct zone_day zone_day_number(const struct zone_days *days, int64_t number);

/* Dates of the proleptic Gregorian calendar. */
int64_t zone_date(int64_t year, int month, int day);
void zone_date_of(int64_t number, int64_t *year, int *month, int *day);
/* "2026-11-01"; false: it is no date. */
must_use bool zone_date_parse(struct slice text, int64_t *number);

#endif
