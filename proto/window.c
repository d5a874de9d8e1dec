/* People say when mail may go in the words of a timetable; clocks that are changed make that more than arithmetic. */
#include "proto/window.h"

#include <string.h>

enum { DAY_MIN = 24 * 60, DAY_S = 24 * 3600, WEEK = 7 };

/* ---- reading ---- */

static const char *const day_names[WEEK] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static void skip_blanks(struct slice *text)
{
    while (text->n && (text->p[0] == ' ' || text->p[0] == '\t'))
        text->p++, text->n--;
}

static bool take(struct slice *text, char c)
{
    if (!text->n || text->p[0] != c)
        return false;
    text->p++, text->n--;
    return true;
}

static bool take_day(struct slice *text, unsigned *day)
{
    for (*day = 0; *day < WEEK; ++*day) {
        const char *name = day_names[*day];
        if (text->n >= 3 && ascii_lower(text->p[0]) == name[0] && ascii_lower(text->p[1]) == name[1] &&
            ascii_lower(text->p[2]) == name[2]) {
            text->p += 3, text->n -= 3;
            return true;
        }
    }
    return false;
}

static bool take_days(struct slice *text, uint8_t *days)
{
    *days = 0;
    do {
        unsigned first, last;
        if (!take_day(text, &first))
            return false;
        last = first;
        if (take(text, '-') && !take_day(text, &last))
            return false;
        for (unsigned day = first;; day = (day + 1) % WEEK) {
            *days |= (uint8_t)(1u << day);
            if (day == last)
                break;
        }
    } while (take(text, ','));
    return true;
}

static bool take_two(struct slice *text, unsigned max, unsigned *n)
{
    if (text->n < 2 || !is_digit(text->p[0]) || !is_digit(text->p[1]))
        return false;
    *n = (unsigned)(text->p[0] - '0') * 10 + (unsigned)(text->p[1] - '0');
    text->p += 2, text->n -= 2;
    return *n <= max;
}

/* "08:00"; 24:00 may be an end alone. */
static bool take_clock(struct slice *text, unsigned max, uint16_t *minutes)
{
    unsigned hour, minute;
    if (!take_two(text, 24, &hour) || !take(text, ':') || !take_two(text, 59, &minute))
        return false;
    *minutes = (uint16_t)(hour * 60 + minute);
    return *minutes <= max;
}

static bool take_window(struct slice *text, struct window *window)
{
    window->days = (1u << WEEK) - 1;
    if (text->n && !is_digit(text->p[0]) && !take_days(text, &window->days))
        return false;
    skip_blanks(text);
    return take_clock(text, DAY_MIN - 1, &window->from) && take(text, '-') && take_clock(text, DAY_MIN, &window->to) &&
           window->from != window->to;
}

static bool wrong(char *why, size_t cap, const char *said)
{
    slice_copy(why, cap, (struct slice){said, strlen(said)});
    return false;
}

bool windows_parse(struct windows *windows, struct slice text, struct slice *zone, char *why, size_t cap)
{
    windows->count = 0;
    do {
        skip_blanks(&text);
        if (windows->count == WINDOWS_MAX)
            return wrong(why, cap, "there are more than 32 of them");
        if (!take_window(&text, &windows->window[windows->count]))
            return wrong(why, cap, "each must be as in mon-fri 08:00-20:00, with a semicolon between two and the zone "
                                   "behind the last; days are mon tue wed thu fri sat sun, hours 00:00 to 24:00");
        windows->count++;
        skip_blanks(&text);
    } while (take(&text, ';'));
    while (text.n && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\t'))
        text.n--;
    *zone = text;
    return true;
}

/* ---- asking ---- */

/* What the zone's clocks show: the day of the week, and seconds since midnight. */
static unsigned clocks(const struct zone *zone, int64_t at_s, int64_t *second)
{
    int64_t local = at_s + zone_offset(zone, at_s);
    int64_t day = local / DAY_S - (local % DAY_S < 0);
    *second = local - day * DAY_S;
    return (unsigned)(((day + 3) % WEEK + WEEK) % WEEK); /* 1970-01-01 was a Thursday */
}

static bool has(const struct window *window, unsigned day) { return window->days >> day & 1; }

static bool within(const struct window *window, unsigned day, int64_t second)
{
    int64_t from = window->from * 60, to = window->to * 60;
    if (from < to)
        return has(window, day) && second >= from && second < to;
    return (has(window, day) && second >= from) || (has(window, (day + WEEK - 1) % WEEK) && second < to);
}

bool windows_open(const struct windows *windows, const struct zone *zone, int64_t at_s)
{
    int64_t second;
    unsigned day = clocks(zone, at_s, &second);
    for (unsigned i = 0; i < windows->count; i++)
        if (within(&windows->window[i], day, second))
            return true;
    return windows->count == 0;
}

/* Seconds until these clocks, if nobody puts them otherwise, show a beginning, an end or midnight. */
static int64_t next_edge(const struct windows *windows, int64_t second)
{
    int64_t next = DAY_S;
    for (unsigned i = 0; i < windows->count; i++) {
        int64_t from = windows->window[i].from * 60, to = windows->window[i].to * 60;
        next = from > second && from < next ? from : next;
        next = to > second && to < next ? to : next;
    }
    return next - second;
}

/* The first second behind `from` and not behind `to` at which the clocks are ahead of UTC by other than at `from`. */
static int64_t put_otherwise(const struct zone *zone, int64_t from, int64_t to)
{
    int64_t before = zone_offset(zone, from);
    while (to - from > 1) {
        int64_t middle = from + (to - from) / 2;
        if (zone_offset(zone, middle) == before)
            from = middle;
        else
            to = middle;
    }
    return to;
}

int64_t windows_change(const struct windows *windows, const struct zone *zone, int64_t at_s)
{
    bool open = windows_open(windows, zone, at_s);
    for (int64_t at = at_s; windows->count && at - at_s <= 8 * (int64_t)DAY_S;) {
        int64_t second;
        (void)clocks(zone, at, &second);
        int64_t next = at + next_edge(windows, second);
        if (zone_offset(zone, next) != zone_offset(zone, at))
            next = put_otherwise(zone, at, next);
        if (windows_open(windows, zone, next) != open)
            return next;
        at = next;
    }
    return INT64_MAX;
}

enum hours_now hours_ask(const struct hours *hours, int64_t now_ms, int64_t *until_ms)
{
    int64_t now_s = now_ms / 1000 - (now_ms % 1000 < 0), change_s = INT64_MAX;
    enum hours_now is = HOURS_OPEN;
    *until_ms = INT64_MAX;
    if (hours->not_after_ms && now_ms > hours->not_after_ms)
        return HOURS_OVER;
    if (hours->not_after_ms)
        *until_ms = hours->not_after_ms + 1;
    if (hours->windows.count) {
        change_s = windows_change(&hours->windows, &hours->zone, now_s);
        is = windows_open(&hours->windows, &hours->zone, now_s) ? HOURS_OPEN : HOURS_OUTSIDE;
    }
    int64_t change_ms = change_s == INT64_MAX ? INT64_MAX : change_s * 1000;
    if (hours->not_before_ms > now_ms) {
        is = HOURS_EARLY;
        change_ms = hours->not_before_ms;
    }
    if (change_ms < *until_ms)
        *until_ms = change_ms;
    return is;
}
