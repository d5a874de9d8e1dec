/* Sets a forecast up: the virtual world, the lanes, and one group of demands for each (pool, ISP). */
#include "forecast/forecast.h"

#include "flow/effective.h"
#include "forecast/records.h"
#include "forecast/scheduler.h"

#include <stdlib.h>

enum { SESSIONS_MAX = 100000, ENGINE_BURST = 64, ATTEMPTS_LEAST = 4096 };

struct forecast *forecast_new(const struct config *config, const struct forecast_plan *plan)
{
    char error[256];
    struct forecast *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->config = config;
    f->plan = *plan;
    f->lease.list = -1;
    f->world = sim_world_new(1);
    struct sim_host *host = f->world ? sim_host_new(f->world, "engine") : NULL;
    if (host)
        f->io = io_open(&(struct io_config){.group = sim_process(host, 1), .sessions_max = SESSIONS_MAX}, error,
                        sizeof error);
    if (!f->io) {
        forecast_free(f);
        return NULL;
    }
    f->store = records_new(f->io);
    sluice_assert(f->store);
    sim_wall_jump(f->world, NULL, plan->start - io_wall(f->io));
    throttle_init(&f->engine, throttle_interval(plan->speed, NSEC_PER_S), ENGINE_BURST, io_now(f->io));
    return f;
}

void forecast_free(struct forecast *f)
{
    if (f->io)
        io_close_all(f->io);
    if (f->world)
        sim_world_free(f->world);
    for (struct forecast_group *group = f->groups, *next; group; group = next) {
        next = group->next;
        for (struct forecast_stream *stream = group->streams, *after; stream; stream = after) {
            after = stream->next;
            free(stream->demand);
            free(stream);
        }
        free(group);
    }
    for (struct forecast_total *total = f->totals, *next; total; total = next) {
        next = total->next;
        free(total);
    }
    scheduler_free(f);
    if (f->store)
        records_free(f->store);
    free(f->demands);
    free(f->holds);
    arena_drop(&f->arena);
    free(f);
}

static struct forecast_group *group_of(struct forecast *f, const struct forecast_demand *demand)
{
    struct forecast_group *group = f->groups;
    while (group && (group->pool != demand->pool || strcmp(group->isp, demand->isp) != 0))
        group = group->next;
    if (group)
        return group;
    group = calloc(1, sizeof *group);
    sluice_assert(group);
    group->forecast = f;
    group->pool = demand->pool;
    memcpy(group->isp, demand->isp, sizeof group->isp);
    group->next = f->groups;
    f->groups = group;
    f->group_count++;
    return group;
}

struct forecast_demand *forecast_add(struct forecast *f, const struct forecast_demand *demand)
{
    struct forecast_group *group = group_of(f, demand);
    struct forecast_stream *stream = calloc(1, sizeof *stream);
    struct forecast_demand *copy = malloc(sizeof *copy);
    sluice_assert(stream && copy);
    *copy = *demand;
    *stream = (struct forecast_stream){.next = group->streams, .group = group, .demand = copy, .left = copy->count};
    group->streams = stream;
    f->left += copy->count;
    f->demands = realloc(f->demands, (f->demand_count + 1) * sizeof(struct forecast_demand *));
    sluice_assert(f->demands);
    f->demands[f->demand_count++] = copy;
    return copy;
}

void forecast_record(struct forecast *f, struct slice source, struct slice counter, const struct warmup_record *record,
                     nsec next)
{
    records_put(f->store, source, counter, record, next);
}

void forecast_hold(struct forecast *f, const struct forecast_hold *hold)
{
    f->holds = realloc(f->holds, (f->hold_count + 1) * sizeof *f->holds);
    sluice_assert(f->holds);
    f->holds[f->hold_count++] = *hold;
}

const struct forecast_demand *forecast_demand(const struct forecast *f, unsigned i)
{
    return i < f->demand_count ? f->demands[i] : NULL;
}

/* Made when the first lane to the ISP is. */
static struct lane_total *total_of(void *context, const struct config *config, struct slice isp)
{
    struct forecast *f = context;
    const struct config_total *limits = config_total_of(config, isp);
    for (struct forecast_total *total = f->totals; limits && total; total = total->next)
        if (slice_equal(slice_of(total->isp), isp))
            return &total->lane;
    if (!limits)
        return NULL;
    struct forecast_total *total = calloc(1, sizeof *total);
    sluice_assert(total);
    slice_copy(total->isp, sizeof total->isp, isp);
    total->lane.until = NSEC_NEVER;
    total->lane.connections = limits->connections ? limits->connections : UINT32_MAX;
    nsec now = io_now(f->io);
    throttle_init(&total->lane.starts, throttle_interval(limits->rate, limits->rate ? limits->rate_per : 1),
                  limits->burst, now);
    throttle_init(&total->lane.connects,
                  throttle_interval(limits->connection_rate, limits->connection_rate ? limits->connection_rate_per : 1),
                  1, now);
    total->next = f->totals;
    f->totals = total;
    return &total->lane;
}

static void on_lane_made(void *context, struct lane *lane)
{
    struct forecast *f = context;
    budget_lane_made(&f->budget, lane);
    for (unsigned i = 0; i < f->hold_count; i++) {
        const struct forecast_hold *hold = &f->holds[i];
        if ((hold->source[0] && strcmp(hold->source, f->config->sources[lane->source].name) != 0) ||
            (hold->isp[0] && strcmp(hold->isp, lane->own.isp) != 0))
            continue;
        nsec now = io_now(f->io), until = hold->until ? now + (hold->until - io_wall(f->io)) : NSEC_NEVER;
        if (hold->percent)
            effective_slow(lane, LANE_BY_HAND, hold->percent, 0, now);
        else if (until > lane->gates[LANE_PAUSED])
            lane_gate(lane, LANE_PAUSED, until);
    }
}

static bool open_lanes(struct forecast *f)
{
    unsigned most = 0;
    for (unsigned i = 0; i < f->config->pool_count; i++)
        if (f->config->pools[i].source_count > most)
            most = f->config->pools[i].source_count;
    unsigned attempts = ATTEMPTS_LEAST + f->group_count * (most + 1);
    size_t bytes = (size_t)attempts * (2 * sizeof(struct lane) + sizeof(struct backlog) + sizeof(struct queue) + 64);
    /* Address space: only what is touched is used. */
    if (!arena_open(&f->arena, 2 * bytes + ((size_t)1 << 30)) ||
        !lanes_open(&f->lanes, &f->arena, f->config, 0, 1, attempts))
        return false;
    for (unsigned i = 0; i < f->config->source_count; i++)
        f->lanes.held_until[i] = NSEC_NEVER; /* by this engine or another, somebody works with it */
    struct budget_config budget = {
        .io = f->io, .store = f->store, .config = f->config, .lanes = &f->lanes, .wake = scheduler_wake, .context = f};
    f->lanes.made = on_lane_made;
    f->lanes.made_context = f;
    f->lanes.total_of = total_of;
    f->lanes.total_context = f;
    return budget_open(&f->budget, &f->arena, &budget);
}

bool forecast_run(struct forecast *f)
{
    bool opened = open_lanes(f);
    sluice_assert(opened); /* the arena has room for them */
    return scheduler_run(f);
}

unsigned forecast_day(const struct forecast *f, nsec utc)
{
    return (unsigned)(zone_day(&f->config->days, utc).number - zone_day(&f->config->days, f->plan.start).number);
}
