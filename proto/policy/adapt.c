/* An ISP says little, and always the same few things: slower, fewer, be silent, go away. This file is what becomes of a
 * lane that is told so, and how it comes back. */
#include "proto/policy/adapt.h"

#include "proto/number.h"

static const nsec learned_for = 7 * 86400 * NSEC_PER_S, closes_for = 3600 * NSEC_PER_S;
static const uint64_t rate_least = 60;                /* an hour: what a lane learns at least */
enum { FACTOR = 50, LEARNED_TIMES = 4, VERSION = 1 }; /* a learned rate that has grown so many times is no limit */

void adapt_init(struct adapt *a) { *a = (struct adapt){.mode = ADAPT_OPEN, .percent = 100}; }

static unsigned at_least(unsigned least, unsigned n) { return n < least ? least : n; }

/* ---- silence ---- */

static void enter(struct adapt *a, enum adapt_mode mode, nsec now)
{
    a->mode = mode;
    a->since = now;
}

static bool silences(enum adapt_what what)
{
    return what == ADAPT_PAUSE || what == ADAPT_PROBE || what == ADAPT_HOLD || what == ADAPT_SHUT_OUT;
}

static nsec silence_of(const struct adapt *a, const struct adapt_limits *limits, nsec wait)
{
    switch (a->cause) {
    case ADAPT_PROBE:
        return nsec_max(ADAPT_SILENCE_LEAST, wait ? wait : limits->silence);
    case ADAPT_HOLD:
        return nsec_max(limits->hold, wait);
    case ADAPT_SHUT_OUT:
        if (a->times >= 3)
            return limits->shut_out_max;
        return nsec_min(limits->shut_out_max, nsec_max(limits->shut_out, wait) << (a->times - 1));
    default:
        wait = wait ? wait : limits->pause;
        for (unsigned i = 1; i < a->times && wait < limits->pause_max; i++)
            wait *= 2;
        return nsec_min(wait, nsec_max(limits->pause_max, limits->pause));
    }
}

/* Was it silent not long ago, measured by how long that was? Then it is being repeated. */
static bool is_again(const struct adapt *a, const struct adapt_limits *limits, nsec now)
{
    if (a->mode == ADAPT_PROBING || a->mode == ADAPT_RETURNING)
        return true;
    return a->times && now - a->since < nsec_max(a->wait, limits->interval);
}

static unsigned sessions_now(const struct adapt *a, unsigned connections)
{
    return a->cap && a->cap < connections ? a->cap : connections;
}

static bool fall_silent(struct adapt *a, const struct adapt_limits *limits, enum adapt_what cause, nsec wait,
                        const struct adapt_lane *lane, nsec now)
{
    bool again = is_again(a, limits, now);
    if (a->mode == ADAPT_OPEN)
        a->former = sessions_now(a, lane->connections);
    /* A block is worse than a pause, and counts from its own first. */
    a->times = again && a->cause == cause ? a->times + 1 : 1;
    a->cause = cause;
    a->wait = silence_of(a, limits, wait);
    a->until = now + a->wait;
    a->sessions = 1;
    enter(a, ADAPT_SILENT, now);
    return true;
}

/* The silence is over the moment it is over, whoever looks first. */
static bool wake(struct adapt *a, nsec now)
{
    if (a->mode != ADAPT_SILENT || now < a->until)
        return false;
    enter(a, ADAPT_PROBING, a->until);
    return true;
}

bool adapt_ended(struct adapt *a, nsec now)
{
    if (wake(a, now))
        return true;
    if (a->mode != ADAPT_SILENT || now + a->wait <= a->until)
        return false;
    a->until = now + a->wait;
    return true;
}

/* In the silence all are told together; a graver cause takes over. */
static bool asked_in_silence(struct adapt *a, const struct adapt_limits *limits, const struct adapt_ask *ask,
                             const struct adapt_lane *lane, nsec now)
{
    if (silences(ask->what) && ask->what > a->cause) {
        a->mode = ADAPT_OPEN; /* not once more: the same trouble, seen more clearly */
        a->times = a->cause == ask->what ? a->times : 0;
        unsigned former = a->former;
        fall_silent(a, limits, ask->what, ask->wait, lane, now);
        a->former = former;
        return true;
    }
    return adapt_ended(a, now);
}

/* The lane asked alone, or had not all its connections back. */
static bool asked_while_returning(struct adapt *a, const struct adapt_limits *limits, const struct adapt_ask *ask,
                                  const struct adapt_lane *lane, nsec now)
{
    if (silences(ask->what))
        return fall_silent(a, limits, ask->what, ask->wait, lane, now);
    if (a->mode == ADAPT_PROBING)
        return fall_silent(a, limits, a->cause, 0, lane, now);
    return false;
}

/* ---- rate ---- */

static bool slow_down(struct adapt *a, const struct adapt_limits *limits, unsigned factor,
                      const struct adapt_lane *lane, nsec now)
{
    bool fell = a->fell_at > 0;
    if (fell && (lane->started <= a->fell_at || now - a->fell_at < limits->settle))
        return false; /* it was on its way before: told together with those that made it fall */
    if (!lane->has_rate && !a->rate) {
        a->rate = a->rate_before = lane->rate < rate_least ? rate_least : lane->rate;
        a->percent = 100;
    }
    a->ceiling = a->percent;
    a->percent = at_least(limits->floor, a->percent * (factor ? factor : FACTOR) / 100);
    if (a->percent > a->ceiling)
        a->percent = a->ceiling;
    a->fell_at = now;
    a->well = false;
    return true;
}

static bool rise(struct adapt *a, const struct adapt_limits *limits, nsec now)
{
    if ((a->percent == 100 && !a->rate) || !a->well || now - nsec_max(a->fell_at, a->rose_at) < limits->interval)
        return false;
    unsigned step = limits->step;
    if (a->ceiling > a->percent) { /* half-way to where it was too fast; and, when it is there, past it */
        unsigned half = (a->ceiling - a->percent) / 2;
        step = half < step ? at_least(1, half) : step;
    } else {
        a->ceiling = 0;
    }
    a->percent += step;
    if (a->percent > 100 && a->rate)
        a->rate = a->rate * a->percent / 100 + 1;
    if (a->percent > 100)
        a->percent = 100;
    if (a->rate >= LEARNED_TIMES * a->rate_before)
        a->rate = a->rate_before = 0;
    a->rose_at = now;
    a->well = false;
    return true;
}

/* ---- connections, and messages in each ---- */

static bool take_fewer(struct adapt *a, const struct adapt_limits *limits, const struct adapt_ask *ask,
                       const struct adapt_lane *lane, nsec now)
{
    nsec until = now + (ask->wait ? ask->wait : limits->fewer_for);
    if (a->cap && lane->started <= a->capped_at)
        return false;
    unsigned had = sessions_now(a, lane->connections);
    if (lane->open && lane->open < had)
        had = lane->open;
    unsigned cap = ask->connections ? ask->connections : at_least(1, had / 2);
    if (a->cap && cap > a->cap)
        cap = a->cap;
    a->cap = cap;
    a->capped_at = now;
    a->cap_until = until;
    return true;
}

static bool one_more(struct adapt *a, const struct adapt_limits *limits, unsigned connections, nsec now)
{
    if (!a->cap || now < a->cap_until)
        return false;
    a->cap = a->cap + 1 < connections ? a->cap + 1 : 0;
    a->cap_until = a->cap ? now + limits->interval : 0;
    return true;
}

static bool learn(struct adapt *a, unsigned messages, nsec now)
{
    bool news = messages > 0 && (!a->per_connection || messages < a->per_connection);
    if (news)
        a->per_connection = messages;
    if (messages > 0)
        a->learned_at = now;
    return news;
}

bool adapt_closed(struct adapt *a, unsigned messages, nsec now)
{
    a->closes = messages && messages == a->closed_behind ? a->closes + 1 : messages > 0;
    a->closed_behind = messages;
    a->closed_at = now;
    return a->closes >= ADAPT_SILENT_CLOSES && learn(a, messages, now);
}

/* ---- what happens ---- */

bool adapt_asked(struct adapt *a, const struct adapt_limits *limits, const struct adapt_ask *ask,
                 const struct adapt_lane *lane, nsec now)
{
    sluice_assert(a->mode > ADAPT_BROKEN && a->mode < ADAPT_MODE_COUNT && lane->connections > 0);
    if (!limits->on)
        return false;
    wake(a, now);
    if (ask->what == ADAPT_LEARN)
        return learn(a, ask->messages, now);
    if (a->mode == ADAPT_SILENT)
        return asked_in_silence(a, limits, ask, lane, now);
    if (a->mode == ADAPT_PROBING || silences(ask->what)) {
        if (a->mode == ADAPT_OPEN)
            return fall_silent(a, limits, ask->what, ask->wait, lane, now);
        return asked_while_returning(a, limits, ask, lane, now);
    }
    if (ask->what == ADAPT_SLOW)
        return slow_down(a, limits, ask->factor, lane, now);
    return ask->what == ADAPT_FEWER && take_fewer(a, limits, ask, lane, now);
}

bool adapt_accepted(struct adapt *a, const struct adapt_limits *limits, unsigned connections, nsec now)
{
    (void)limits;
    a->well = true;
    wake(a, now);
    if (a->mode == ADAPT_SILENT)
        return adapt_ended(a, now);
    if (a->mode != ADAPT_PROBING && a->mode != ADAPT_RETURNING)
        return false;
    if (a->mode == ADAPT_PROBING)
        enter(a, ADAPT_RETURNING, now);
    if (++a->sessions >= a->former || a->sessions >= connections)
        enter(a, ADAPT_OPEN, now);
    return true;
}

static bool forget(struct adapt *a, nsec now)
{
    bool forgot = a->per_connection && now - a->learned_at >= learned_for;
    if (forgot)
        a->per_connection = 0;
    if (now - a->closed_at >= closes_for)
        a->closes = a->closed_behind = 0;
    return forgot;
}

bool adapt_tick(struct adapt *a, const struct adapt_limits *limits, unsigned connections, unsigned open, nsec now)
{
    bool changed = wake(a, now); /* each has its turn, whatever the ones before did */
    changed = forget(a, now) || changed;
    changed = rise(a, limits, now) || changed;
    changed = one_more(a, limits, connections, now) || changed;
    if (a->mode == ADAPT_SILENT && open)
        return adapt_ended(a, now) || changed;
    if (a->mode == ADAPT_OPEN && a->times && !is_again(a, limits, now)) {
        a->times = 0;
        a->cause = ADAPT_WHAT_BROKEN;
        return true;
    }
    return changed;
}

bool adapt_is_idle(const struct adapt *a, nsec now)
{
    return a->mode == ADAPT_OPEN && !a->times && a->percent == 100 && !a->rate && !a->cap &&
           (!a->per_connection || now - a->learned_at >= learned_for);
}

struct adapt_effect adapt_effect(const struct adapt *a)
{
    struct adapt_effect effect = {
        .percent = a->percent, .sessions = a->cap, .rate = a->rate, .per_connection = a->per_connection};
    if (a->mode == ADAPT_SILENT)
        effect.silent_until = a->until;
    effect.one_message = a->mode == ADAPT_SILENT || a->mode == ADAPT_PROBING;
    if (a->mode != ADAPT_OPEN && (!effect.sessions || a->sessions < effect.sessions))
        effect.sessions = a->sessions;
    return effect;
}

/* ---- as a text ---- */

/* An instant is written as milliseconds of UTC, 0 for none. A length as milliseconds. */
enum field { PLAIN, INSTANT, LENGTH, UNSIGNED };

static const struct {
    enum field kind;
    size_t offset;
} fields[] = {
    {UNSIGNED, offsetof(struct adapt, mode)},
    {UNSIGNED, offsetof(struct adapt, cause)},
    {INSTANT, offsetof(struct adapt, since)},
    {INSTANT, offsetof(struct adapt, until)},
    {LENGTH, offsetof(struct adapt, wait)},
    {UNSIGNED, offsetof(struct adapt, times)},
    {UNSIGNED, offsetof(struct adapt, sessions)},
    {UNSIGNED, offsetof(struct adapt, former)},
    {UNSIGNED, offsetof(struct adapt, percent)},
    {UNSIGNED, offsetof(struct adapt, ceiling)},
    {INSTANT, offsetof(struct adapt, fell_at)},
    {INSTANT, offsetof(struct adapt, rose_at)},
    {PLAIN, offsetof(struct adapt, rate)},
    {PLAIN, offsetof(struct adapt, rate_before)},
    {UNSIGNED, offsetof(struct adapt, cap)},
    {INSTANT, offsetof(struct adapt, cap_until)},
    {UNSIGNED, offsetof(struct adapt, per_connection)},
    {INSTANT, offsetof(struct adapt, learned_at)},
};
_Static_assert(sizeof(enum adapt_mode) == sizeof(unsigned) && sizeof(enum adapt_what) == sizeof(unsigned),
               "they are written as such");

static uint64_t get(const struct adapt *a, size_t i, nsec wall_minus_now)
{
    const char *at = (const char *)a + fields[i].offset;
    unsigned n;
    uint64_t big;
    nsec instant;
    switch (fields[i].kind) {
    case UNSIGNED:
        memcpy(&n, at, sizeof n);
        return n;
    case PLAIN:
        memcpy(&big, at, sizeof big);
        return big;
    default:
        memcpy(&instant, at, sizeof instant);
        if (fields[i].kind == INSTANT && instant)
            instant += wall_minus_now;
        return instant > 0 ? ((uint64_t)instant + NSEC_PER_MS - 1) / NSEC_PER_MS : 0;
    }
}

static void put(struct adapt *a, size_t i, uint64_t value, nsec wall_minus_now)
{
    char *at = (char *)a + fields[i].offset;
    unsigned n = (unsigned)value;
    nsec instant = (nsec)value * NSEC_PER_MS;
    switch (fields[i].kind) {
    case UNSIGNED:
        memcpy(at, &n, sizeof n);
        return;
    case PLAIN:
        memcpy(at, &value, sizeof value);
        return;
    default:
        if (fields[i].kind == INSTANT && value)
            instant -= wall_minus_now;
        memcpy(at, &instant, sizeof instant);
    }
}

size_t adapt_write(const struct adapt *a, nsec now, nsec wall, char *text, size_t cap)
{
    sluice_assert(cap > (countof(fields) + 1) * (NUMBER_DIGITS_MAX + 1));
    size_t n = number_write(text, VERSION);
    for (size_t i = 0; i < countof(fields); i++) {
        text[n++] = ' ';
        n += number_write(text + n, get(a, i, wall - now));
    }
    text[n] = 0;
    return n;
}

static bool next_number(struct slice *text, uint64_t max, uint64_t *value)
{
    const char *space = memchr(text->p, ' ', text->n);
    struct slice word = {text->p, space ? (size_t)(space - text->p) : text->n};
    text->p += word.n + (space != NULL);
    text->n -= word.n + (space != NULL);
    return number_parse(word, max, value);
}

static bool is_sound(const struct adapt *a)
{
    bool silent = a->mode == ADAPT_SILENT;
    return a->mode > ADAPT_BROKEN && a->mode < ADAPT_MODE_COUNT && a->cause < ADAPT_WHAT_COUNT && a->percent >= 1 &&
           a->percent <= 100 && (a->mode == ADAPT_OPEN || (a->sessions >= 1 && silences(a->cause) && a->times)) &&
           (!silent || a->wait > 0);
}

/* What is over stays over; what lies ahead must not lie further ahead than it can. */
static void bound(nsec *instant, nsec most)
{
    if (*instant > most)
        *instant = most;
}

bool adapt_read(struct adapt *a, struct slice text, nsec now, nsec wall)
{
    uint64_t value, most = INT64_MAX / NSEC_PER_MS;
    adapt_init(a);
    bool good = next_number(&text, VERSION, &value) && value == VERSION;
    for (size_t i = 0; good && i < countof(fields); i++) {
        good = next_number(&text, fields[i].kind == UNSIGNED ? UINT32_MAX : most, &value);
        if (good)
            put(a, i, value, wall - now);
    }
    if (!good || text.n || !is_sound(a)) {
        adapt_init(a);
        return false;
    }
    bound(&a->since, now);
    bound(&a->fell_at, now);
    bound(&a->rose_at, now);
    bound(&a->learned_at, now);
    bound(&a->until, now + a->wait);
    bound(&a->cap_until, now + learned_for);
    return true;
}

const char *adapt_mode_name(enum adapt_mode mode)
{
    static const char *const names[ADAPT_MODE_COUNT] = {[ADAPT_BROKEN] = "broken",
                                                        [ADAPT_OPEN] = "open",
                                                        [ADAPT_SILENT] = "silent",
                                                        [ADAPT_PROBING] = "probing",
                                                        [ADAPT_RETURNING] = "returning"};
    sluice_assert(mode < ADAPT_MODE_COUNT);
    return names[mode];
}

const char *adapt_what_name(enum adapt_what what)
{
    static const char *const names[ADAPT_WHAT_COUNT] = {
        [ADAPT_WHAT_BROKEN] = "",          [ADAPT_SLOW] = "slow",   [ADAPT_FEWER] = "connections",
        [ADAPT_PAUSE] = "pause",           [ADAPT_PROBE] = "probe", [ADAPT_HOLD] = "hold",
        [ADAPT_SHUT_OUT] = "other-source", [ADAPT_LEARN] = "learn", [ADAPT_REFUSED] = "refused",
    };
    sluice_assert(what < ADAPT_WHAT_COUNT);
    return names[what];
}
