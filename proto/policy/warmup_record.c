/* warmup_record.c - records and their history as text, so that Redis, the engine and the command line agree on them. */
#include "proto/number.h"
#include "proto/policy/warmup.h"

enum { COUNTS = 5 };

/* Of what a record counts: exact in Lua too, and a share of it never overflows. */
#define COUNT_MAX (10 * WARMUP_CAP_MAX)

static const char *const states[] = {
    [WARMUP_RUNNING] = "running", [WARMUP_HELD] = "held", [WARMUP_PAUSED] = "paused", [WARMUP_DONE] = "done"};

static const char *const reasons[] = {
    [WARMUP_UNCHANGED] = "unchanged",
    [WARMUP_TOO_EARLY] = "too-early",
    [WARMUP_BEGAN] = "began",
    [WARMUP_BEGAN_AGAIN] = "began-again",
    [WARMUP_ADVANCED] = "advanced",
    [WARMUP_FINISHED] = "finished",
    [WARMUP_AT_END] = "at-end",
    [WARMUP_LITTLE_VOLUME] = "little-volume",
    [WARMUP_INACTIVE] = "inactive",
    [WARMUP_STRUCK_TODAY] = "struck-today",
    [WARMUP_HELD_DEFERRED] = "held-deferred",
    [WARMUP_HELD_BLOCKED] = "held-blocked",
    [WARMUP_HELD_BOUNCED] = "held-bounced",
    [WARMUP_HELD_ON] = "held-on",
    [WARMUP_RECOVERED] = "recovered",
    [WARMUP_BACK_DEFERRED] = "back-deferred",
    [WARMUP_BACK_BLOCKED] = "back-blocked",
    [WARMUP_BACK_BOUNCED] = "back-bounced",
    [WARMUP_BACK_STRUCK] = "back-struck",
    [WARMUP_STRUCK_ALREADY] = "struck-already",
    [WARMUP_BACK_IDLE] = "back-idle",
    [WARMUP_RESTARTED_IDLE] = "restarted-idle",
    [WARMUP_SHORTENED] = "curve-shortened",
    [WARMUP_FROZEN] = "frozen",
    [WARMUP_SET] = "set-by-hand",
    [WARMUP_PAUSED_BY_HAND] = "paused-by-hand",
    [WARMUP_RESUMED_BY_HAND] = "resumed-by-hand",
};

const char *warmup_reason_word(enum warmup_reason reason)
{
    sluice_assert(reason > WARMUP_REASON_BROKEN && reason < WARMUP_REASON_COUNT);
    return reasons[reason];
}

const char *warmup_state_word(enum warmup_state state)
{
    sluice_assert(state > WARMUP_STATE_BROKEN && state < WARMUP_STATE_COUNT);
    return states[state];
}

/* ---- writing ---- */

static size_t put_text(char *to, const char *text)
{
    size_t n = strlen(text);
    memcpy(to, text, n);
    return n;
}

static size_t put_number(char *to, char before, uint64_t value)
{
    to[0] = before;
    return 1 + number_write(to + 1, value);
}

/* A day; INT64_MIN, which is none, as "-". */
static size_t put_day(char *to, char before, int64_t day)
{
    to[0] = before;
    if (day == INT64_MIN)
        return to[1] = '-', 2;
    if (day >= 0)
        return put_number(to, before, (uint64_t)day);
    return 1 + put_number(to + 1, '-', 0 - (uint64_t)day);
}

static size_t put_counts(char *to, char before, const struct warmup_counts *counts)
{
    const uint64_t all[COUNTS] = {counts->accepted, counts->deferred, counts->blocked, counts->bounced, counts->other};
    size_t n = 0;
    for (unsigned i = 0; i < COUNTS; i++)
        n += put_number(to + n, before, all[i]);
    return n;
}

size_t warmup_record_write(char *to, const struct warmup_record *record)
{
    size_t n = put_text(to, "1 ");
    n += put_text(to + n, warmup_state_word(record->state));
    n += put_number(to + n, ' ', record->stage);
    n += put_day(to + n, ' ', record->day);
    n += put_number(to + n, ' ', record->granted);
    n += put_counts(to + n, ' ', &record->today);
    n += put_counts(to + n, ' ', &record->gathered);
    n += put_day(to + n, ' ', record->since);
    n += put_day(to + n, ' ', record->active_day);
    n += put_day(to + n, ' ', record->struck_day);
    to[n] = 0;
    return n;
}

/* ---- reading ---- */

/* What stands before the next `between`, taken off; "" at the end. */
static struct slice word(struct slice *text, char between)
{
    const char *stop = text->n ? memchr(text->p, between, text->n) : NULL;
    struct slice found = {text->p, stop ? (size_t)(stop - text->p) : text->n};
    text->p += found.n + (stop != NULL);
    text->n -= found.n + (stop != NULL);
    return found;
}

static bool read_number(struct slice *text, char between, uint64_t max, uint64_t *value)
{
    return number_parse(word(text, between), max, value);
}

static bool read_day(struct slice *text, char between, int64_t *day)
{
    struct slice found = word(text, between);
    bool negative = found.n && found.p[0] == '-';
    uint64_t value;
    if (slice_equal(found, SLICE("-"))) {
        *day = INT64_MIN;
        return true;
    }
    if (negative)
        found.p++, found.n--;
    if (!number_parse(found, INT32_MAX * (uint64_t)1000, &value))
        return false;
    *day = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

static bool read_counts(struct slice *text, char between, struct warmup_counts *counts)
{
    const uint64_t most = COUNT_MAX;
    return read_number(text, between, most, &counts->accepted) && read_number(text, between, most, &counts->deferred) &&
           read_number(text, between, most, &counts->blocked) && read_number(text, between, most, &counts->bounced) &&
           read_number(text, between, most, &counts->other);
}

bool warmup_record_parse(struct slice text, struct warmup_record *record)
{
    uint64_t stage, version;
    *record = (struct warmup_record){.state = WARMUP_STATE_BROKEN};
    if (!read_number(&text, ' ', 1, &version) || version != 1)
        return false;
    struct slice state = word(&text, ' ');
    for (unsigned i = 1; i < WARMUP_STATE_COUNT; i++)
        if (slice_equal(state, slice_of(states[i])))
            record->state = (enum warmup_state)i;
    if (!record->state || !read_number(&text, ' ', UINT32_MAX / 2, &stage) || stage == 0)
        return false;
    record->stage = (uint32_t)stage;
    return read_day(&text, ' ', &record->day) && read_number(&text, ' ', COUNT_MAX, &record->granted) &&
           read_counts(&text, ' ', &record->today) && read_counts(&text, ' ', &record->gathered) &&
           read_day(&text, ' ', &record->since) && read_day(&text, ' ', &record->active_day) &&
           read_day(&text, ' ', &record->struck_day) && text.n == 0 && record->day != INT64_MIN &&
           record->since != INT64_MIN && record->active_day != INT64_MIN;
}

/* ---- history ---- */

size_t warmup_history_item(char to[256], const struct warmup_plan *plan, const struct warmup_record *old,
                           const struct warmup_turned *turned)
{
    to[0] = 0;
    if (!old || turned->record.day <= old->day)
        return 0;
    uint64_t cap = warmup_cap(plan, old);
    char day[32];
    size_t n = put_day(day, ' ', old->day);
    memcpy(to, day + 1, --n);
    n += put_number(to + n, ':', old->stage);
    if (cap == WARMUP_UNLIMITED)
        n += put_text(to + n, ":-");
    else
        n += put_number(to + n, ':', cap);
    n += put_number(to + n, ':', old->granted);
    n += put_counts(to + n, ':', &old->today);
    to[n] = 0;
    return n;
}

bool warmup_history_next(struct slice *text, struct warmup_past *past)
{
    struct slice item = word(text, ' ');
    uint64_t stage;
    *past = (struct warmup_past){.cap = WARMUP_UNLIMITED};
    if (!read_day(&item, ':', &past->day) || !read_number(&item, ':', UINT32_MAX / 2, &stage))
        return false;
    past->stage = (uint32_t)stage;
    struct slice cap = word(&item, ':');
    if (!slice_equal(cap, SLICE("-")) && !number_parse(cap, 24 * WARMUP_CAP_MAX, &past->cap))
        return false;
    return read_number(&item, ':', COUNT_MAX, &past->granted) && read_counts(&item, ':', &past->counts) && item.n == 0;
}
