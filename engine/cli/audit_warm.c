/* A curve is kept by the day, so whoever says that it was must count by the day; this does for `sluice audit`. */
#include "cli/audit_warm.h"

#include "cli/text.h"
#include "cli/warmup.h"

#include <stdlib.h>

struct audit_counter {
    unsigned source; /* index into config.sources */
    char name[LIMIT_ISP_NAME + 1];
    struct audit_day *days; /* owned; in order */
    size_t count, cap;
};

void audit_warm_open(struct audit_warm *warm, struct ask *ask) { *warm = (struct audit_warm){.ask = ask}; }

void audit_warm_close(struct audit_warm *warm)
{
    for (size_t i = 0; i < warm->count; i++) {
        free(warm->counters[i]->days);
        free(warm->counters[i]);
    }
    free(warm->counters);
}

/* ---- counting ---- */

static struct audit_counter *counter_of(struct audit_warm *warm, unsigned source, struct slice name)
{
    for (size_t i = 0; i < warm->count; i++)
        if (warm->counters[i]->source == source && slice_equal(slice_of(warm->counters[i]->name), name))
            return warm->counters[i];
    struct audit_counter *counter = calloc(1, sizeof *counter);
    warm->counters = realloc(warm->counters, (warm->count + 1) * sizeof(struct audit_counter *));
    sluice_assert(counter && warm->counters);
    counter->source = source;
    slice_copy(counter->name, sizeof counter->name, name);
    return warm->counters[warm->count++] = counter;
}

void audit_warm_of(struct audit_warm *warm, unsigned source, struct slice isp,
                   struct audit_counter *of[AUDIT_WARM_PARTS])
{
    const struct config *config = warm->ask->config;
    of[0] = of[1] = NULL;
    if (config_relay_of(config, isp) >= 0)
        return;
    if (config_warmup_plan(config, source, isp))
        of[0] = counter_of(warm, source, config_warmup_counter(config, isp));
    if (config_warmup_all(config, source))
        of[1] = counter_of(warm, source, SLICE("all"));
}

void audit_warm_start(struct audit_warm *warm, struct audit_counter *const of[AUDIT_WARM_PARTS], nsec at)
{
    for (unsigned i = 0; i < AUDIT_WARM_PARTS; i++) {
        struct audit_counter *counter = of[i];
        if (!counter)
            continue;
        if (at >= warm->day.ends || at < warm->day.begins)
            warm->day = zone_day(&warm->ask->config->days, at);
        if (!counter->count || counter->days[counter->count - 1].day != warm->day.number) {
            if (counter->count == counter->cap) {
                counter->cap = counter->cap ? 2 * counter->cap : 32;
                counter->days = realloc(counter->days, counter->cap * sizeof *counter->days);
                sluice_assert(counter->days);
            }
            counter->days[counter->count++] = (struct audit_day){.day = warm->day.number};
        }
        counter->days[counter->count - 1].starts++;
    }
}

/* ---- judging ---- */

static bool look(struct audit_warm *warm, const struct ask_answer *answer, struct audit_counter *counter)
{
    struct warmup_view view;
    if (!warmup_look(warm->ask, answer, counter->source, slice_of(counter->name), &view))
        return false;
    if (view.exists) {
        const struct warmup_record *record = &view.stored;
        struct warmup_past now = {.day = record->day,
                                  .stage = record->stage,
                                  .cap = warmup_cap(view.plan, record),
                                  .granted = record->granted};
        audit_days_recorded(counter->days, counter->count, &now, view.history);
    }
    warm->days += (unsigned)counter->count;
    for (size_t i = 0; i < counter->count; i++) {
        warm->unknown += !counter->days[i].known;
        warm->exceeded += audit_day_exceeded(&counter->days[i]);
    }
    return true;
}

bool audit_warm_judge(struct audit_warm *warm)
{
    bool good = true;
    for (size_t i = 0; good && i < warm->count; i++) {
        struct ask_answer answer = {0};
        good = warmup_read(warm->ask, &answer, warm->counters[i]->source) && look(warm, &answer, warm->counters[i]);
        ask_free(&answer);
    }
    return good;
}

/* ---- what came of it ---- */

static void verdict_text(const struct audit_day *day, char *text, size_t cap)
{
    uint64_t allowed = audit_day_allowed(day);
    if (!day->known)
        snprintf(text, cap, "nobody recorded its cap");
    else if (day->starts > allowed)
        snprintf(text, cap, "EXCEEDED: %ju too many", (uintmax_t)(day->starts - allowed));
    else if (day->granted > day->cap)
        snprintf(text, cap, "ok: its cap fell when %ju had been granted", (uintmax_t)day->granted);
    else
        snprintf(text, cap, "ok");
}

void audit_warm_print(const struct audit_warm *warm)
{
    struct text_table table = {0};
    TEXT_ROW(&table, "SOURCE", "WARM-UP", "DAY", ">STARTS", ">CAP", "VERDICT");
    for (size_t i = 0; i < warm->count; i++) {
        const struct audit_counter *counter = warm->counters[i];
        for (size_t j = 0; j < counter->count; j++) {
            const struct audit_day *day = &counter->days[j];
            char date[32], limit[32] = "-", verdict[96];
            warmup_date_text(warm->ask->config, day->day, date, sizeof date);
            if (day->known)
                warmup_cap_text(day->cap, limit, sizeof limit);
            verdict_text(day, verdict, sizeof verdict);
            TEXT_ROW(&table, warm->ask->config->sources[counter->source].name, counter->name, date,
                     text_number(day->starts).text, limit, verdict);
        }
    }
    if (table.rows > 1) {
        putchar('\n');
        text_print(&table, stdout);
        printf("%u days of warm-ups; %u of these exceeded their cap\n", warm->days, warm->exceeded);
    }
    if (warm->unknown)
        printf("%u days are not judged: their warm-up had not begun, or they are longer ago than is remembered\n",
               warm->unknown);
    text_free(&table);
}

static json_t *cap_json(const struct audit_day *day)
{
    return day->known && day->cap != WARMUP_UNLIMITED ? json_integer((json_int_t)day->cap) : json_null();
}

json_t *audit_warm_json(const struct audit_warm *warm)
{
    json_t *days = json_array();
    for (size_t i = 0; i < warm->count; i++) {
        const struct audit_counter *counter = warm->counters[i];
        for (size_t j = 0; j < counter->count; j++) {
            const struct audit_day *day = &counter->days[j];
            char date[32];
            warmup_date_text(warm->ask->config, day->day, date, sizeof date);
            json_array_append_new(days, json_pack("{s:s, s:s, s:s, s:I, s:b, s:o, s:I, s:b}", "source",
                                                  warm->ask->config->sources[counter->source].name, "isp",
                                                  counter->name, "date", date, "starts", (json_int_t)day->starts,
                                                  "known", day->known, "cap", cap_json(day), "granted",
                                                  (json_int_t)day->granted, "exceeded", audit_day_exceeded(day)));
        }
    }
    return days;
}
