/* scheduler.h - what forecast.c sets up and scheduler.c runs. Private to forecast/. */
#ifndef FORECAST_SCHEDULER_H
#define FORECAST_SCHEDULER_H

#include "flow/budget.h"
#include "flow/ledger.h"
#include "flow/site.h"
#include "forecast/forecast.h"
#include "sim/sim.h"
#include "sluice/attempt.h"

/* What one campaign still has for one ISP. */
struct forecast_stream {
    struct forecast_stream *next;
    struct forecast_group *group;
    struct forecast_demand *demand;
    uint64_t left; /* not waiting in memory yet */
    enum hours_now hours;
    nsec hours_until, shut_since; /* UTC: when they are to be asked again; NSEC_NEVER: never */
};

struct forecast_attempt {
    struct attempt attempt;
    struct forecast_stream *stream;
    struct forecast_attempt *next, *all_next; /* free; all */
};

/* A lane's view of where its time went; lane->context. */
struct forecast_lane {
    struct forecast *forecast;
    struct forecast_group *group;
    struct lane *lane;
    struct forecast_session *idle; /* by idle_next */
    bool in_line;                  /* for the engine's speed */
    struct forecast_lane *line_next;
    enum lane_why why;
    nsec since, waited[LANE_WHY_COUNT];
};

/* What all lanes to an ISP share (config_total); the whole of it is this engine's. */
struct forecast_total {
    struct forecast_total *next;
    char isp[LIMIT_ISP_NAME + 1];
    struct lane_total lane;
};

/* One backlog: (pool, ISP). */
struct forecast_group {
    struct forecast_group *next;
    struct forecast *forecast;
    unsigned pool;
    char isp[LIMIT_ISP_NAME + 1];
    struct forecast_stream *streams;
    struct backlog *backlog;
    struct site site; /* all of its mail exchangers */
    struct io_timer timer;
    struct forecast_lane lanes[LANES_OF_POOL];
};

struct forecast_session {
    struct lane *lane;
    struct attempt *attempt; /* in it; NULL: it is being let in, or is idle */
    struct io_timer timer;   /* when that ends */
    unsigned messages;
    bool is_idle;
    struct forecast_session *idle_next, *all_next;
};

struct forecast {
    const struct config *config;
    struct forecast_plan plan;
    struct sim_world *world;
    struct io *io;
    struct arena arena;
    struct lanes lanes;
    struct store *store; /* records.h */
    struct budget budget;
    struct lease lease;     /* everybody's: nobody leases here */
    struct throttle engine; /* its own speed */
    struct io_timer engine_timer;
    struct forecast_lane *line_first, *line_last;
    struct forecast_hold *holds;
    unsigned hold_count;
    uint64_t left;
    struct forecast_demand **demands;
    unsigned demand_count;
    struct forecast_total *totals;
    struct forecast_group *groups;
    unsigned group_count;
    struct forecast_attempt *attempts, *free_attempts;
    struct forecast_session *sessions, *free_sessions;
};

/* False: something is left at the horizon. */
must_use bool scheduler_run(struct forecast *forecast);
/* There may be a unit for it. */
void scheduler_wake(void *context, struct lane *lane);
/* What it has no use for any more. */
void scheduler_free(struct forecast *forecast);

#endif
