/* window.h - when a campaign may be sent: hours of days of the week, by the clocks of a zone.
 *
 *     windows = window *( ";" window ) [ zone ]            "mon-fri 08:00-20:00; sat 10:00-14:00 Europe/Paris"
 *     window  = [ days ] HH:MM "-" HH:MM                   without days: every day
 *     days    = day *( "," day ) ; a day may be a range    "mon-thu,sat"; "fri-mon" goes over the weekend
 *
 * The zone is UTC if none is named. A window whose end is not behind its beginning goes across midnight and ends on
 * the day after ("fri 22:00-02:00" ends on Saturday at two); 24:00 is the end of a day. Open is what a clock on the wall
 * shows to be within a window: where clocks are put forward the hour that is skipped is missing from it, where they are
 * put back the one that comes twice is open twice. A beginning is within, an end is not.
 *
 * Pure: the zone is given with each question. */
#ifndef PROTO_WINDOW_H
#define PROTO_WINDOW_H

#include "proto/zone.h"

enum { WINDOWS_MAX = 32 };

struct window {
    uint8_t days;       /* bit 0: Monday, by the day on which it begins */
    uint16_t from, to; /* minutes of the day, 0 .. 1440; to <= from: across midnight */
};

struct windows {
    struct window window[WINDOWS_MAX];
    unsigned count; /* 0: always open */
};

/* *zone borrows from text; empty: none is named. False, with a sentence in `why`: what is wrong, and where. */
must_use bool windows_parse(struct windows *windows, struct slice text, struct slice *zone, char *why, size_t why_cap);
bool windows_open(const struct windows *windows, const struct zone *zone, int64_t at_s);
/* The first second behind at_s at which it is otherwise than at at_s; INT64_MAX: within eight days it is not. */
int64_t windows_change(const struct windows *windows, const struct zone *zone, int64_t at_s);

/* All that a campaign says of when it may be sent. Empty: always. */
struct hours {
    struct windows windows;
    struct zone zone;                    /* of the windows */
    int64_t not_before_ms, not_after_ms; /* UTC; 0: none */
};

enum hours_now {
    HOURS_OPEN = 1,
    HOURS_OUTSIDE, /* no window is open */
    HOURS_EARLY,   /* not_before has not come */
    HOURS_OVER,    /* not_after has passed */
};

/* What the instant means. *until_ms: when that is to be asked again; INT64_MAX: never. */
enum hours_now hours_ask(const struct hours *hours, int64_t now_ms, int64_t *until_ms);

#endif
