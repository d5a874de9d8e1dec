/* window.c: sending windows, by clocks that are put forward and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/zone_file.h"
#include "proto/window.h"

static int64_t at(int month, int day, int hour, int minute, int second)
{
    return zone_date(2026, month, day) * 86400 + hour * 3600 + minute * 60 + second;
}

struct scene {
    struct windows windows;
    struct zone zone;
    char *bytes;
};

static struct scene scene(const char *text)
{
    struct scene s = {.bytes = NULL};
    struct slice named;
    char why[256], name[64];
    if (!windows_parse(&s.windows, slice_of(text), &named, why, sizeof why))
        fail_msg("%s: %s", text, why);
    slice_copy(name, sizeof name, named.n ? named : SLICE("UTC"));
    if (!zone_file_read(name, &s.zone, &s.bytes, why, sizeof why))
        fail_msg("%s: %s", text, why);
    return s;
}

/* It changes at this second, and neither before nor twice. */
static void changes(const struct scene *s, int64_t from, int64_t to, bool opens)
{
    assert_int_equal(windows_open(&s->windows, &s->zone, from), !opens);
    assert_int_equal(windows_change(&s->windows, &s->zone, from), to);
    assert_int_equal(windows_open(&s->windows, &s->zone, to - 1), !opens);
    assert_int_equal(windows_open(&s->windows, &s->zone, to), opens);
}

static void office_hours_in_paris(void **unused)
{
    (void)unused;
    struct scene s = scene("mon-fri 08:00-20:00 Europe/Paris");
    assert_int_equal(s.windows.count, 1);
    /* 2026-11-20 is a Friday; Paris is an hour ahead. */
    changes(&s, at(11, 20, 6, 0, 0), at(11, 20, 7, 0, 0), true);
    changes(&s, at(11, 20, 7, 0, 0), at(11, 20, 19, 0, 0), false);
    changes(&s, at(11, 20, 19, 0, 0), at(11, 23, 7, 0, 0), true);
    free(s.bytes);
}

static void several_and_across_midnight(void **unused)
{
    (void)unused;
    struct scene s = scene(" sat,sun 10:00-14:00 ;FRI 22:00-02:00; wed 00:00-24:00 ");
    assert_int_equal(s.windows.count, 3);
    changes(&s, at(11, 20, 12, 0, 0), at(11, 20, 22, 0, 0), true);
    changes(&s, at(11, 20, 23, 59, 59), at(11, 21, 2, 0, 0), false); /* Saturday, though it says Friday */
    changes(&s, at(11, 21, 2, 0, 0), at(11, 21, 10, 0, 0), true);
    changes(&s, at(11, 22, 13, 0, 0), at(11, 22, 14, 0, 0), false);
    changes(&s, at(11, 22, 14, 0, 0), at(11, 25, 0, 0, 0), true);
    changes(&s, at(11, 25, 5, 0, 0), at(11, 26, 0, 0, 0), false);
    s = scene("00:00-24:00");
    assert_int_equal(windows_change(&s.windows, &s.zone, at(11, 22, 14, 0, 0)), INT64_MAX);
    s = scene("sat-mon 23:00-24:00;tue 00:00-01:00"); /* two that meet are one */
    changes(&s, at(11, 23, 23, 0, 0), at(11, 24, 1, 0, 0), false);
}

/* Clocks in Paris go from 2 to 3 on 2026-03-29, and from 3 back to 2 on 2026-10-25, both at 01:00 UTC. */
static void clocks_are_changed(void **unused)
{
    (void)unused;
    struct scene s = scene("02:15-02:45 Europe/Paris");
    changes(&s, at(3, 28, 1, 30, 0), at(3, 28, 1, 45, 0), false);
    changes(&s, at(3, 28, 1, 45, 0), at(3, 30, 0, 15, 0), true); /* on the 29th no clock shows it */
    changes(&s, at(10, 25, 0, 0, 0), at(10, 25, 0, 15, 0), true);
    changes(&s, at(10, 25, 0, 15, 0), at(10, 25, 0, 45, 0), false);
    changes(&s, at(10, 25, 0, 45, 0), at(10, 25, 1, 15, 0), true); /* and there they show it again */
    changes(&s, at(10, 25, 1, 15, 0), at(10, 25, 1, 45, 0), false);
    free(s.bytes);
    s = scene("01:00-02:30 Europe/Paris");
    changes(&s, at(3, 29, 0, 0, 0), at(3, 29, 1, 0, 0), false); /* what is left of it is skipped */
    changes(&s, at(10, 25, 0, 15, 0), at(10, 25, 0, 30, 0), false);
    changes(&s, at(10, 25, 0, 30, 0), at(10, 25, 1, 0, 0), true);
    changes(&s, at(10, 25, 1, 0, 0), at(10, 25, 1, 30, 0), false);
    free(s.bytes);
    s = scene("sat 22:00-04:00 Europe/Paris");
    changes(&s, at(3, 28, 22, 0, 0), at(3, 29, 2, 0, 0), false);
    changes(&s, at(10, 24, 22, 0, 0), at(10, 25, 3, 0, 0), false);
    free(s.bytes);
}

/* Against asking about every minute of a year. */
static void every_change_is_found(void **unused)
{
    (void)unused;
    static const char *const texts[] = {"mon-fri 08:00-20:00 America/New_York", "sun 23:30-03:10;wed 02:10-02:20 Europe/Paris",
                                        "fri-mon 00:00-24:00 America/Santiago"};
    for (unsigned i = 0; i < countof(texts); i++) {
        struct scene s = scene(texts[i]);
        int64_t from = at(1, 1, 0, 0, 0), next = windows_change(&s.windows, &s.zone, from);
        bool open = windows_open(&s.windows, &s.zone, from);
        for (int64_t t = from; t < from + 365 * (int64_t)86400; t += 60) {
            if (t >= next) {
                assert_int_equal(t, next);
                open = !open;
                next = windows_change(&s.windows, &s.zone, t);
            }
            assert_int_equal(windows_open(&s.windows, &s.zone, t), open);
        }
        free(s.bytes);
    }
}

static void what_is_no_window(void **unused)
{
    (void)unused;
    static const char *const texts[] = {"",          "mon",           "mon 8:00-20:00",    "mon 08:00-25:00",
                                        "08:00",     "mon 24:00-08:00", "mon-fri 08:00-08:00", "08:60-09:00",
                                        "mon, 08:00-09:00", "mo 08:00-09:00", "08:00-20:00;", "08:00-24:01"};
    for (unsigned i = 0; i < countof(texts); i++) {
        struct windows windows;
        struct slice zone;
        char why[256];
        if (windows_parse(&windows, slice_of(texts[i]), &zone, why, sizeof why))
            fail_msg("\"%s\" was taken", texts[i]);
        assert_true(strlen(why) > 10);
    }
    char many[1024] = "00:00-01:00";
    for (unsigned i = 1; i <= WINDOWS_MAX; i++)
        strcat(many, ";00:00-01:00");
    struct windows windows;
    struct slice zone;
    char why[256];
    assert_false(windows_parse(&windows, slice_of(many), &zone, why, sizeof why));
    assert_non_null(strstr(why, "32"));
}

static void asks(const struct hours *hours, int64_t at_ms, enum hours_now is, int64_t until_ms)
{
    int64_t until;
    assert_int_equal(hours_ask(hours, at_ms, &until), is);
    assert_int_equal(until, until_ms);
}

/* From 12:00 on the 22nd to 12:00 on the 23rd, and then only from 8 to 18 o'clock. */
static void windows_between_two_instants(void **unused)
{
    (void)unused;
    struct scene s = scene("08:00-18:00");
    int64_t from = at(11, 22, 12, 0, 0) * 1000, to = at(11, 23, 12, 0, 0) * 1000;
    struct hours hours = {.windows = s.windows, .zone = s.zone, .not_before_ms = from, .not_after_ms = to};
    asks(&hours, at(11, 22, 9, 0, 0) * 1000, HOURS_EARLY, from);
    asks(&hours, from - 1, HOURS_EARLY, from);
    asks(&hours, from, HOURS_OPEN, at(11, 22, 18, 0, 0) * 1000);
    asks(&hours, at(11, 22, 18, 0, 0) * 1000, HOURS_OUTSIDE, at(11, 23, 8, 0, 0) * 1000);
    asks(&hours, at(11, 23, 8, 0, 0) * 1000, HOURS_OPEN, to + 1);
    asks(&hours, to, HOURS_OPEN, to + 1);
    asks(&hours, to + 1, HOURS_OVER, INT64_MAX);
    asks(&(struct hours){0}, to, HOURS_OPEN, INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(office_hours_in_paris), cmocka_unit_test(several_and_across_midnight),
        cmocka_unit_test(clocks_are_changed),    cmocka_unit_test(every_change_is_found),
        cmocka_unit_test(what_is_no_window),    cmocka_unit_test(windows_between_two_instants),
    };
    return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
