/* The executable behind `sluice forecast`: what is queued comes as one JSON object on standard input, the forecast
 * leaves as one on standard output. People call `sluice forecast`, which collects the one and shows the other. */
#include "control/zone_file.h"
#include "forecast/forecast.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *sentence)
{
    fprintf(stderr, "sluice-forecast: %s\n", sentence);
    return 1;
}

static nsec number(const json_t *object, const char *key) { return json_integer_value(json_object_get(object, key)); }

static struct forecast_plan read_plan(const json_t *input)
{
    return (struct forecast_plan){.start = number(input, "start"),
                                  .connect = number(input, "connect"),
                                  .latency = number(input, "latency"),
                                  .speed = (uint64_t)json_integer_value(json_object_get(input, "speed")),
                                  .horizon = number(input, "horizon")};
}

/* What a campaign says of when it may be sent; its zone's bytes are kept until the end. */
struct schedule {
    struct schedule *next;
    const char *windows; /* borrows from the input */
    struct hours hours;
    char *zone_bytes;
};

/* False: said why. */
static bool read_hours(struct schedule **schedules, const json_t *item, struct hours *hours)
{
    char why[256];
    const char *windows = json_string_value(json_object_get(item, "windows"));
    struct schedule *schedule = *schedules;
    while (schedule && windows && strcmp(schedule->windows, windows) != 0)
        schedule = schedule->next;
    if (windows && !schedule) {
        schedule = calloc(1, sizeof *schedule);
        sluice_assert(schedule);
        schedule->windows = windows;
        schedule->next = *schedules;
        *schedules = schedule;
        if (!zone_file_windows(slice_of(windows), &schedule->hours, &schedule->zone_bytes, why, sizeof why)) {
            fprintf(stderr, "sluice-forecast: campaign %s: windows: %s\n",
                    json_string_value(json_object_get(item, "campaign")), why);
            return false;
        }
    }
    if (windows)
        *hours = schedule->hours;
    hours->not_before_ms = number(item, "from_ms");
    hours->not_after_ms = number(item, "until_ms");
    return true;
}

static void free_schedules(struct schedule *schedule)
{
    for (struct schedule *next; schedule; schedule = next) {
        next = schedule->next;
        free(schedule->zone_bytes);
        free(schedule);
    }
}

static bool read_demand(struct forecast *forecast, const struct config *config, struct schedule **schedules,
                        const json_t *item)
{
    const char *campaign = json_string_value(json_object_get(item, "campaign"));
    const char *isp = json_string_value(json_object_get(item, "isp"));
    const char *pool = json_string_value(json_object_get(item, "pool"));
    const struct config_pool *found = pool ? config_pool_find(config, slice_of(pool)) : NULL;
    struct forecast_demand demand = {.count = (uint64_t)json_integer_value(json_object_get(item, "count")),
                                     .not_before = number(item, "not_before")};
    if (!campaign || !isp || !found) {
        fail("a demand names no campaign, no ISP, or a pool that the configuration does not have");
        return false;
    }
    if (!read_hours(schedules, item, &demand.hours))
        return false;
    slice_copy(demand.campaign, sizeof demand.campaign, slice_of(campaign));
    slice_copy(demand.isp, sizeof demand.isp, slice_of(isp));
    demand.pool = (unsigned)(found - config->pools);
    if (demand.count)
        forecast_add(forecast, &demand);
    return true;
}

static json_t *show_demand(const struct config *config, const struct forecast_demand *demand)
{
    json_t *days = json_array();
    uint64_t left = demand->started;
    for (unsigned i = 0; i < FORECAST_DAYS && left; i++) {
        json_array_append_new(days, json_integer((json_int_t)demand->days[i]));
        left -= demand->days[i];
    }
    char rate[64];
    const struct config_limits *limits = demand->limits;
    snprintf(rate, sizeof rate, "%llu per %llu s", (unsigned long long)limits->rate,
             (unsigned long long)(limits->rate_per / NSEC_PER_S));
    const char *bound = demand->bound_by_hours              ? "hours"
                        : demand->bound == LANE_CONNECTIONS ? "connections"
                        : demand->bound == LANE_RATE      ? "rate"
                        : demand->bound == LANE_READY     ? "speed"
                                                          : lane_why_text(demand->bound);
    return json_pack("{ss ss ss sI sI sI sI sI sb so ss sI sI ss}", "campaign", demand->campaign, "isp", demand->isp,
                     "pool", config->pools[demand->pool].name, "count", (json_int_t)demand->count, "done",
                     (json_int_t)demand->done, "expired", (json_int_t)demand->expired, "first",
                     (json_int_t)demand->first, "finish", (json_int_t)demand->finish,
                     "finished", demand->done + demand->expired == demand->count, "days", days, "bound", bound, "lanes",
                     (json_int_t)demand->lanes, "connections", (json_int_t)limits->connections, "rate", rate);
}

static struct slice text_of(const json_t *item, const char *key)
{
    const char *text = json_string_value(json_object_get(item, key));
    return slice_of(text ? text : "");
}

/* A record that cannot be read is one that the engine would begin anew. */
static void read_state(struct forecast *forecast, const json_t *input)
{
    size_t i;
    const json_t *item;
    struct warmup_record record;
    json_array_foreach(json_object_get(input, "records"), i,
                       item) if (warmup_record_parse(text_of(item, "text"), &record))
        forecast_record(forecast, text_of(item, "source"), text_of(item, "counter"), &record, number(item, "next"));
    json_array_foreach(json_object_get(input, "holds"), i, item)
    {
        struct forecast_hold hold = {.percent = (unsigned)number(item, "percent"), .until = number(item, "until")};
        slice_copy(hold.source, sizeof hold.source, text_of(item, "source"));
        slice_copy(hold.isp, sizeof hold.isp, text_of(item, "isp"));
        forecast_hold(forecast, &hold);
    }
}

static int forecast(const json_t *input, const struct config *config)
{
    struct forecast_plan plan = read_plan(input);
    struct forecast *forecast = forecast_new(config, &plan);
    if (!forecast)
        return fail("no memory");
    size_t i;
    const json_t *item;
    struct schedule *schedules = NULL;
    json_array_foreach(json_object_get(input, "demands"), i, item) if (!read_demand(forecast, config, &schedules, item))
    {
        forecast_free(forecast);
        free_schedules(schedules);
        return 1;
    }
    read_state(forecast, input);
    bool done = forecast_run(forecast);
    json_t *demands = json_array();
    const struct forecast_demand *demand;
    for (unsigned n = 0; (demand = forecast_demand(forecast, n)); n++)
        json_array_append_new(demands, show_demand(config, demand));
    json_t *output = json_pack("{sI sb so}", "start", (json_int_t)plan.start, "finished", done, "demands", demands);
    int printed = output ? json_dumpf(output, stdout, JSON_COMPACT) : -1;
    json_decref(output);
    forecast_free(forecast);
    free_schedules(schedules);
    return printed == 0 && putchar('\n') != EOF && fflush(stdout) == 0 ? 0 : fail("cannot write");
}

int main(void)
{
    char error[2048];
    json_error_t where;
    json_t *input = json_loadf(stdin, 0, &where);
    const char *file = json_string_value(json_object_get(input, "config"));
    if (!file) {
        json_decref(input);
        return fail("standard input is no forecast's input; `sluice forecast` makes it");
    }
    struct config *config = config_load(file, error, sizeof error);
    int code = config ? forecast(input, config) : fail(error);
    if (config)
        config_free(config);
    json_decref(input);
    return code;
}
