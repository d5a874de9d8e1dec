/* test_zone.c - days of zones, judged by libc's clocks: it reads the same files with code of its own. */
#include "proto/zone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "chance.h"

enum { DAY_S = 86400, FILE_MAX = 64 * 1024 };

static char file[FILE_MAX];

/* Of tzdata, in tests/packages. libc is set to the same zone. */
static struct zone zone_of(const char *name)
{
    char path[256];
    struct zone zone;
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
    FILE *stream = fopen(path, "rb");
    if (!stream)
        fail_msg("%s cannot be read; the package tzdata is needed", path);
    size_t n = fread(file, 1, sizeof file, stream);
    fclose(stream);
    assert_true(zone_read(&zone, (struct slice){file, n}));
    setenv("TZ", name, 1);
    tzset();
    return zone;
}

static int64_t at(int64_t year, int month, int day, int hour, int minute, int second)
{
    return zone_date(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
}

static struct zone_day day_of(const struct zone_days *days, int64_t at_s) { return zone_day(days, at_s * NSEC_PER_S); }

static void dates_are_those_of_libc(void **state)
{
    (void)state;
    for (int64_t number = -80000; number < 80000; number++) {
        time_t seconds = (time_t)(number * DAY_S);
        struct tm tm;
        int64_t year;
        int month, day;
        gmtime_r(&seconds, &tm);
        zone_date_of(number, &year, &month, &day);
        assert_int_equal(year, tm.tm_year + 1900);
        assert_int_equal(month, tm.tm_mon + 1);
        assert_int_equal(day, tm.tm_mday);
        assert_int_equal(zone_date(year, month, day), number);
    }
}

static void dates_are_read_strictly(void **state)
{
    (void)state;
    int64_t number;
    assert_true(zone_date_parse(SLICE("1970-01-01"), &number));
    assert_int_equal(number, 0);
    assert_true(zone_date_parse(SLICE("2024-02-29"), &number));
    assert_int_equal(number, 19782);
    static const char *const wrong[] = {"",           "2026-1-1",   "2026-02-29", "2026-13-01",  "2026-00-10",
                                        "2026-01-00", "2026-04-31", "2026/01/01", "2026-01-011", " 2026-01-1"};
    for (size_t i = 0; i < countof(wrong); i++)
        assert_false(zone_date_parse(slice_of(wrong[i]), &number));
}

static const char *const names[] = {
    "Europe/Paris",      "America/Santiago", "America/New_York",   "Australia/Lord_Howe",
    "Asia/Kathmandu",    "Pacific/Apia",     "Europe/Dublin",      "Africa/Casablanca",
    "America/Sao_Paulo", "Asia/Tehran",      "Pacific/Kiritimati", "UTC",
    "Antarctica/Troll",  "Asia/Gaza",        "America/Nuuk",
};

static void clocks_are_those_of_libc(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(names); i++) {
        struct zone zone = zone_of(names[i]);
        for (int j = 0; j < 4000; j++) {
            time_t when = (time_t)at(1930 + (int64_t)random_below(220), 1, 1, 0, 0, 0) + random_below(366 * DAY_S);
            struct tm tm;
            localtime_r(&when, &tm);
            if (zone_offset(&zone, when) != tm.tm_gmtoff)
                fail_msg("%s at %lld: %lld, libc has %ld", names[i], (long long)when,
                         (long long)zone_offset(&zone, when), tm.tm_gmtoff);
        }
    }
}

/* By libc's clocks alone: does this instant show date and hour at or behind the beginning of that day? */
static bool has_begun(int64_t when, int64_t number, unsigned starts)
{
    time_t seconds = (time_t)when;
    struct tm tm;
    localtime_r(&seconds, &tm);
    int64_t shown = zone_date(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    return shown > number || (shown == number && tm.tm_hour >= (int)starts);
}

static void check_day(const struct zone_days *days, struct zone_day day, const char *name)
{
    int64_t begins = day.begins / NSEC_PER_S, ends = day.ends / NSEC_PER_S;
    assert_true(day.begins % NSEC_PER_S == 0 && day.begins < day.ends);
    if (!has_begun(begins, day.number, days->starts) || has_begun(begins - 1, day.number, days->starts) ||
        !has_begun(ends, day.number + 1, days->starts) || has_begun(ends - 1, day.number + 1, days->starts))
        fail_msg("%s, starts %u: day %lld is from %lld to %lld", name, days->starts, (long long)day.number,
                 (long long)begins, (long long)ends);
    assert_int_equal(day_of(days, begins).number, day.number);
    assert_int_equal(zone_day(days, day.ends - 1).number, day.number);
    struct zone_day next = zone_day(days, day.ends);
    assert_true(next.begins == day.ends && next.number > day.number);
}

/* Every day of years in which clocks are changed, at every hour that a day may begin at. */
static void days_follow_one_another(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t year;
    } years[] = {{"Europe/Paris", 2026},        {"America/Santiago", 2026}, {"America/Santiago", 2051},
                 {"Australia/Lord_Howe", 2027}, {"America/New_York", 2040}, {"Africa/Casablanca", 2026},
                 {"America/Sao_Paulo", 2018},   {"Pacific/Apia", 2011},     {"Asia/Gaza", 2026}};
    for (size_t i = 0; i < countof(years); i++) {
        struct zone_days days = {.zone = zone_of(years[i].name)};
        for (days.starts = 0; days.starts < 24; days.starts++) {
            struct zone_day day = day_of(&days, at(years[i].year, 1, 1, 12, 0, 0));
            for (int64_t last = zone_date(years[i].year + 1, 1, 2); day.number < last; day = zone_day(&days, day.ends))
                check_day(&days, day, years[i].name);
        }
    }
}

static void expect(const struct zone_days *days, int64_t year, int month, int day, int64_t begins, int64_t hours)
{
    struct zone_day found = zone_day_number(days, zone_date(year, month, day));
    assert_int_equal(found.begins / NSEC_PER_S, begins);
    assert_int_equal((found.ends - found.begins) / NSEC_PER_S, hours * 3600);
}

static void days_in_paris_have_23_or_25_hours(void **state)
{
    (void)state;
    struct zone_days days = {.zone = zone_of("Europe/Paris")};
    /* Clocks go from 2 to 3 on 2026-03-29, and from 3 back to 2 on 2026-10-25, both at 01:00 UTC. */
    expect(&days, 2026, 3, 28, at(2026, 3, 27, 23, 0, 0), 24);
    expect(&days, 2026, 3, 29, at(2026, 3, 28, 23, 0, 0), 23);
    expect(&days, 2026, 3, 30, at(2026, 3, 29, 22, 0, 0), 24);
    expect(&days, 2026, 10, 25, at(2026, 10, 24, 22, 0, 0), 25);
    expect(&days, 2026, 10, 26, at(2026, 10, 25, 23, 0, 0), 24);
    days.starts = 2; /* an hour that is skipped, and one that comes twice */
    expect(&days, 2026, 3, 29, at(2026, 3, 29, 1, 0, 0), 23);
    expect(&days, 2026, 10, 25, at(2026, 10, 25, 0, 0, 0), 25);
    assert_int_equal(day_of(&days, at(2026, 10, 25, 0, 59, 59)).number, zone_date(2026, 10, 25));
    assert_int_equal(day_of(&days, at(2026, 10, 25, 1, 0, 0)).number, zone_date(2026, 10, 25));
    days.starts = 3;
    expect(&days, 2026, 3, 28, at(2026, 3, 28, 2, 0, 0), 23);
    expect(&days, 2026, 3, 29, at(2026, 3, 29, 1, 0, 0), 24);
    expect(&days, 2026, 10, 24, at(2026, 10, 24, 1, 0, 0), 25);
}

static void santiago_skips_midnight(void **state)
{
    (void)state;
    struct zone_days days = {.zone = zone_of("America/Santiago")};
    /* Clocks go from 24 to 1 on 2026-09-06 at 04:00 UTC, and from 24 back to 23 on 2026-04-05 at 03:00 UTC. */
    expect(&days, 2026, 9, 5, at(2026, 9, 5, 4, 0, 0), 24);
    expect(&days, 2026, 9, 6, at(2026, 9, 6, 4, 0, 0), 23);
    expect(&days, 2026, 9, 7, at(2026, 9, 7, 3, 0, 0), 24);
    expect(&days, 2026, 4, 4, at(2026, 4, 4, 3, 0, 0), 25);
    expect(&days, 2026, 4, 5, at(2026, 4, 5, 4, 0, 0), 24);
    /* By the footer's rule, far behind the file's last instant. */
    expect(&days, 2099, 9, 6, at(2099, 9, 6, 4, 0, 0), 23);
}

static void utc_needs_no_file(void **state)
{
    (void)state;
    struct zone_days days = {.starts = 5};
    zone_utc(&days.zone);
    expect(&days, 2026, 3, 29, at(2026, 3, 29, 5, 0, 0), 24);
    assert_int_equal(day_of(&days, at(2026, 3, 29, 4, 59, 59)).number, zone_date(2026, 3, 28));
    assert_int_equal(zone_day(&days, -1).number, -1);
    assert_int_equal(day_of(&days, 5 * 3600).number, 0);
}

static void days_of_tests_are_as_long_as_is_said(void **state)
{
    (void)state;
    struct zone_days days = {.length = 7 * NSEC_PER_S};
    zone_utc(&days.zone);
    struct zone_day day = zone_day(&days, 700 * NSEC_PER_S - 1);
    assert_int_equal(day.number, 99);
    assert_int_equal(day.ends, 700 * NSEC_PER_S);
    assert_int_equal(day.begins, 693 * NSEC_PER_S);
    assert_int_equal(zone_day(&days, day.ends).number, 100);
}

/* Every file that is cut short, or has one byte changed, is a zone or none, and its days follow one another. */
static void broken_files_are_refused(void **state)
{
    (void)state;
    struct zone_days days = {.zone = zone_of("Europe/Paris")};
    FILE *stream = fopen("/usr/share/zoneinfo/Europe/Paris", "rb");
    assert_non_null(stream);
    size_t n = fread(file, 1, sizeof file, stream);
    fclose(stream);
    for (size_t cut = 0; cut < n; cut++) {
        char *part = malloc(cut + 1); /* so that a sanitizer sees whoever reads behind the end */
        memcpy(part, file, cut);
        char *exact = realloc(part, cut ? cut : 1);
        assert_false(zone_read(&days.zone, (struct slice){exact, cut}));
        free(exact);
    }
    for (int i = 0; i < 4000; i++) {
        size_t where = random_below((uint32_t)n);
        char before = file[where];
        file[where] = (char)random_below(256);
        if (zone_read(&days.zone, (struct slice){file, n})) {
            struct zone_day day = day_of(&days, at(2026, 1, 1, 0, 0, 0) + random_below(1000 * DAY_S));
            assert_true(day.begins < day.ends && zone_day(&days, day.ends).begins == day.ends);
        }
        file[where] = before;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_those_of_libc),
        cmocka_unit_test(dates_are_read_strictly),
        cmocka_unit_test_setup(clocks_are_those_of_libc, chance_begin),
        cmocka_unit_test(days_follow_one_another),
        cmocka_unit_test(days_in_paris_have_23_or_25_hours),
        cmocka_unit_test(santiago_skips_midnight),
        cmocka_unit_test(utc_needs_no_file),
        cmocka_unit_test(days_of_tests_are_as_long_as_is_said),
        cmocka_unit_test_setup(broken_files_are_refused, chance_begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
