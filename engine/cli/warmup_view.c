/* Reads what Redis remembers of warm-ups, and says in words where one stands and what comes next. */
#include "cli/warmup.h"

#include "cli/text.h"
#include "store/warmup.h"

#include <inttypes.h>
#include <time.h>

/* ---- reading ---- */

bool warmup_read(struct ask *ask, struct ask_answer *answer, unsigned source)
{
    store_warmup_read(ask->store, ask_request(answer), slice_of(ask->config->sources[source].name));
    return ask_wait(ask, answer);
}

static struct slice field(const struct ask_answer *answer, struct slice counter, const char *tail)
{
    char name[LIMIT_ISP_NAME + 16];
    snprintf(name, sizeof name, SLICE_FORMAT "%s", SLICE_ARGS(counter), tail);
    return slice_field(answer->items, answer->item_count, slice_of(name));
}

bool warmup_look(struct ask *ask, const struct ask_answer *answer, unsigned source, struct slice counter,
                 struct warmup_view *view)
{
    const struct config *config = ask->config;
    *view = (struct warmup_view){.source = source, .config = config};
    slice_copy(view->counter, sizeof view->counter, counter);
    view->plan = config_warmup_of(config, source, counter);
    view->text = field(answer, counter, "");
    view->history = field(answer, counter, "/history");
    view->exists = view->text.n > 0;
    view->day = zone_day(&config->days, io_wall(ask->io));
    if (view->exists && !warmup_record_parse(view->text, &view->stored)) {
        cli_error("the record of %s at %s cannot be read: " SLICE_FORMAT, view->counter, config->sources[source].name,
                  SLICE_ARGS(view->text));
        return false;
    }
    if (!view->plan)
        return true;
    int64_t since = config_warmup_since(config, source);
    warmup_turn(view->plan, view->exists ? &view->stored : NULL, since, view->day.number, &view->today);
    if (view->today.record.stage)
        warmup_turn(view->plan, &view->today.record, since, view->today.record.day + 1, &view->tomorrow);
    return true;
}

static bool is_wanted(const struct warmup_view *view, bool all) { return view->plan && (all || view->exists); }

/* Every counter that the configuration knows, in its order; then `other` and `all`. */
static bool each_counter(struct ask *ask, const struct ask_answer *answer, unsigned source, const char *counter,
                         bool all, bool (*each)(void *context, const struct warmup_view *view), void *context)
{
    const struct config *config = ask->config;
    for (unsigned i = 0; i < config->isp_count + 2; i++) {
        const char *name = i < config->isp_count ? config->isps[i].name : i == config->isp_count ? "other" : "all";
        struct warmup_view view;
        if (counter && strcmp(counter, name) != 0)
            continue;
        if (!warmup_look(ask, answer, source, slice_of(name), &view) ||
            (is_wanted(&view, all) && !each(context, &view)))
            return false;
    }
    return true;
}

bool warmup_each(struct ask *ask, const char *source, const char *counter, bool all,
                 bool (*each)(void *context, const struct warmup_view *view), void *context)
{
    bool good = true;
    for (unsigned i = 0; i < ask->config->source_count && good; i++) {
        struct ask_answer answer = {0};
        if (ask->config->sources[i].warmup < 0 || (source && strcmp(source, ask->config->sources[i].name) != 0))
            continue;
        good = warmup_read(ask, &answer, i) && each_counter(ask, &answer, i, counter, all, each, context);
        ask_free(&answer);
    }
    return good;
}

/* ---- words ---- */

static struct grouped {
    char text[32];
} grouped(uint64_t n)
{
    struct grouped out;
    char digits[24];
    int count = snprintf(digits, sizeof digits, "%" PRIu64, n), at = 0;
    for (int i = 0; i < count; i++) {
        if (i && (count - i) % 3 == 0)
            out.text[at++] = ',';
        out.text[at++] = digits[i];
    }
    out.text[at] = 0;
    return out;
}

void warmup_cap_text(uint64_t cap, char *text, size_t cap_of_text)
{
    snprintf(text, cap_of_text, "%s", cap == WARMUP_UNLIMITED ? "no cap" : grouped(cap).text);
}

void warmup_day_text(const struct warmup_view *view, uint32_t stage, char *text, size_t cap)
{
    if (view->plan->stages && stage > view->plan->stages)
        snprintf(text, cap, "done");
    else if (view->plan->stages)
        snprintf(text, cap, "%" PRIu32 " of %" PRIu32, stage, view->plan->stages);
    else
        snprintf(text, cap, "%" PRIu32, stage);
}

void warmup_date_text(const struct config *config, int64_t day, char *text, size_t cap)
{
    int64_t year;
    int month, date;
    if (config->days.length) {
        text_time(zone_day_number(&config->days, day).begins / NSEC_PER_MS, text, cap);
        return;
    }
    zone_date_of(day, &year, &month, &date);
    snprintf(text, cap, "%04d-%02d-%02d", (int)year, month, date);
}

/* "5.16%" of parts of 100,000. */
static struct grouped share(uint32_t parts)
{
    struct grouped out;
    snprintf(out.text, sizeof out.text, "%u.%02u%%", parts / 1000, parts % 1000 / 10);
    return out;
}

static const char *what_is_judged(enum warmup_reason reason)
{
    switch (reason) {
    case WARMUP_HELD_DEFERRED:
    case WARMUP_BACK_DEFERRED:
        return "deferred";
    case WARMUP_HELD_BLOCKED:
    case WARMUP_BACK_BLOCKED:
        return "blocked";
    case WARMUP_HELD_BOUNCED:
    case WARMUP_BACK_BOUNCED:
        return "bounced";
    default:
        return "bad";
    }
}

/* "day 8 with 7,000" */
static void step_text(const struct warmup_view *view, uint32_t stage, char *text, size_t cap)
{
    uint64_t allowed = warmup_curve(view->plan, stage);
    if (allowed == WARMUP_UNLIMITED)
        snprintf(text, cap, "done, without a cap");
    else
        snprintf(text, cap, "day %" PRIu32 " with %s", stage, grouped(allowed).text);
}

static void stays_text(const struct warmup_view *view, const char *next, char *text, size_t cap)
{
    const struct warmup_turned *t = &view->tomorrow;
    const struct warmup_record *record = &view->today.record;
    switch (t->reason) {
    case WARMUP_AT_END:
        snprintf(text, cap, t->to_cap == WARMUP_UNLIMITED ? "done: nothing limits it" : "stays: the curve ends here");
        break;
    case WARMUP_LITTLE_VOLUME: {
        uint64_t needed = (t->from_cap * view->plan->volume + 99) / 100;
        snprintf(text, cap, "stays until %s are accepted in a day (today %s), then %s", grouped(needed).text,
                 grouped(record->today.accepted).text, next);
        break;
    }
    case WARMUP_INACTIVE:
        snprintf(text, cap, "stays until something is accepted, then %s", next);
        break;
    case WARMUP_STRUCK_TODAY:
        snprintf(text, cap, "stays: the ISP blocked it today");
        break;
    case WARMUP_FROZEN:
        snprintf(text, cap, "paused by hand: nothing goes, and its days do not count");
        break;
    case WARMUP_HELD_ON:
        if (t->answered < view->plan->health.samples)
            snprintf(text, cap, "held: its health is judged after %s answers (%s so far)",
                     grouped(view->plan->health.samples).text, grouped(t->answered).text);
        else
            snprintf(text, cap, "held: %s of %s are still bad, it goes on at %s", share(t->share).text,
                     grouped(t->answered).text, share(t->limit).text);
        break;
    case WARMUP_RECOVERED:
        snprintf(text, cap, "healthy again: goes on from tomorrow");
        break;
    default:
        snprintf(text, cap, "%s", warmup_reason_word(t->reason));
        break;
    }
}

void warmup_next_text(const struct warmup_view *view, char *text, size_t cap)
{
    const struct warmup_turned *t = &view->tomorrow;
    char date[32], next[64], to[64];
    if (view->today.reason == WARMUP_TOO_EARLY) {
        int64_t since = config_warmup_since(view->config, view->source);
        warmup_date_text(view->config, view->exists && view->stored.day > since ? view->stored.day : since, date,
                         sizeof date);
        snprintf(text, cap, "nothing goes before %s", date);
        return;
    }
    if (!view->exists) {
        snprintf(text, cap, "begins with its first message");
        return;
    }
    warmup_date_text(view->config, view->day.number + 1, date, sizeof date);
    step_text(view, view->today.record.stage + 1, next, sizeof next);
    step_text(view, t->to, to, sizeof to);
    switch (t->reason) {
    case WARMUP_ADVANCED:
    case WARMUP_FINISHED:
        if (view->plan->advance == WARMUP_VOLUME)
            snprintf(text, cap, "%s from %s on: %s accepted", to, date,
                     grouped(view->today.record.today.accepted).text);
        else
            snprintf(text, cap, "%s from %s on", to, date);
        break;
    case WARMUP_HELD_DEFERRED:
    case WARMUP_HELD_BLOCKED:
    case WARMUP_HELD_BOUNCED:
        snprintf(text, cap, "held: %s of %s %s, more than %s", share(t->share).text, grouped(t->answered).text,
                 what_is_judged(t->reason), share(t->limit).text);
        break;
    case WARMUP_BACK_DEFERRED:
    case WARMUP_BACK_BLOCKED:
    case WARMUP_BACK_BOUNCED:
        snprintf(text, cap, "back to %s from %s on: %s of %s %s, more than %s", to, date, share(t->share).text,
                 grouped(t->answered).text, what_is_judged(t->reason), share(t->limit).text);
        break;
    case WARMUP_BACK_IDLE:
        snprintf(text, cap, "back to %s from %s on: nothing was sent for %" PRId64 " days", to, date, t->idle);
        break;
    case WARMUP_RESTARTED_IDLE:
        snprintf(text, cap, "begins again on %s: nothing was sent for %" PRId64 " days", date, t->idle);
        break;
    default:
        stays_text(view, next, text, cap);
        break;
    }
}
