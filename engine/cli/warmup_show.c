/* sluice warmup show: per source and ISP the day of the curve, what is used of its cap, and what comes next. */
#include "cli/text.h"
#include "cli/warmup.h"

#include <inttypes.h>
#include <jansson.h>

struct showing {
    struct text_table table;
    bool as_json;
    unsigned count;
};

static void add_cap(json_t *json, const char *name, uint64_t cap)
{
    json_object_set_new(json, name, cap == WARMUP_UNLIMITED ? json_null() : json_integer((json_int_t)cap));
}

static void print_json(const struct warmup_view *view)
{
    const struct warmup_record *record = &view->today.record;
    const struct config_source *source = &view->config->sources[view->source];
    char next[256], date[32], since[32] = "";
    warmup_next_text(view, next, sizeof next);
    warmup_date_text(view->config, view->day.number, date, sizeof date);
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "source", source->name, "isp", view->counter, "warmup",
                  source->warmup_name, "date", date, "day_begins_ms", (json_int_t)(view->day.begins / NSEC_PER_MS),
                  "day_ends_ms", (json_int_t)(view->day.ends / NSEC_PER_MS));
    json_object_set_new(json, "days", view->plan->stages ? json_integer(view->plan->stages) : json_null());
    if (record->stage) {
        const struct warmup_counts *counts = &record->today;
        warmup_date_text(view->config, record->since, since, sizeof since);
        json_object_set_new(json, "state", json_string(warmup_state_word(record->state)));
        json_object_set_new(json, "day", json_integer(record->stage));
        add_cap(json, "cap", warmup_cap(view->plan, record));
        json_object_set_new(json, "used", json_integer((json_int_t)record->granted));
        json_object_set_new(json, "accepted", json_integer((json_int_t)counts->accepted));
        json_object_set_new(json, "deferred", json_integer((json_int_t)counts->deferred));
        json_object_set_new(json, "blocked", json_integer((json_int_t)counts->blocked));
        json_object_set_new(json, "bounced", json_integer((json_int_t)counts->bounced));
        json_object_set_new(json, "other", json_integer((json_int_t)counts->other));
        json_object_set_new(json, "since", json_string(since));
        json_object_set_new(json, "next_reason", json_string(warmup_reason_word(view->tomorrow.reason)));
        json_object_set_new(json, "next_day", json_integer(view->tomorrow.to));
        add_cap(json, "next_cap", view->tomorrow.to_cap);
    } else {
        json_object_set_new(json, "state", json_string("not begun"));
    }
    json_object_set_new(json, "next", json_string(next));
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(json);
}

static bool show_one(void *context, const struct warmup_view *view)
{
    struct showing *showing = context;
    const struct warmup_record *record = &view->today.record;
    char day[32] = "not begun", used[64] = "", cap[32], state[16] = "", next[256], stage[24];
    showing->count++;
    if (showing->as_json) {
        print_json(view);
        return true;
    }
    if (showing->table.rows == 0)
        TEXT_ROW(&showing->table, "SOURCE", "ISP", "DAY", ">TODAY", "STATE", "NEXT");
    if (record->stage) {
        uint64_t allowed = warmup_cap(view->plan, record);
        warmup_day_text(view, record->stage, stage, sizeof stage);
        snprintf(day, sizeof day, "%s%s", stage[0] == 'd' ? "" : "day ", stage);
        warmup_cap_text(record->granted, used, sizeof used);
        warmup_cap_text(allowed, cap, sizeof cap);
        snprintf(used + strlen(used), sizeof used - strlen(used), allowed == WARMUP_UNLIMITED ? " used" : " of %s used",
                 cap);
        snprintf(state, sizeof state, "%s", warmup_state_word(record->state));
    }
    warmup_next_text(view, next, sizeof next);
    TEXT_ROW(&showing->table, view->config->sources[view->source].name, view->counter, day, used, state, next);
    return true;
}

int warmup_show(struct ask *ask, const char *source, const char *counter, bool as_json)
{
    struct showing showing = {.as_json = as_json};
    bool good = warmup_each(ask, source, counter, source && counter, show_one, &showing);
    if (good && !as_json && showing.count)
        text_print(&showing.table, stdout);
    else if (good && !as_json)
        puts("no warm-up has begun: nothing was sent from a source that is in one");
    text_free(&showing.table);
    return good ? CLI_OK : CLI_FAILED;
}
