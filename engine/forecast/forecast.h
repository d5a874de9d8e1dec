/* forecast.h - when will a campaign that is queued be finished, and what holds it up?
 *
 * The production scheduler (flow/lane.c, flow/backlog.c, proto/policy) runs on the virtual clock of sim/, in an
 * executable of its own, with the engine's configuration and what is queued: so it cannot drift from what the engine
 * does. What is not run is modelled: a session takes `connect` to be let in and `latency` for each message, every
 * message is accepted at its first try, and the engine starts at most `speed` messages a second.
 *
 * A *demand* is what one campaign has for one ISP. Everything belongs to one thread and is freed by forecast_free. */
#ifndef FORECAST_FORECAST_H
#define FORECAST_FORECAST_H

#include "control/config.h"
#include "flow/lane.h"
#include "proto/policy/warmup.h"
#include "proto/window.h"

enum { FORECAST_DAYS = 400, FORECAST_CAMPAIGNS = 64 };

struct forecast_demand {
    char campaign[LIMIT_CAMPAIGN_ID + 1];
    char isp[LIMIT_ISP_NAME + 1];
    unsigned pool; /* index into config.pools */
    uint64_t count;
    nsec not_before; /* UTC, by hand; 0: at once */
    struct hours hours; /* of the campaign; what its zone borrows from lives until forecast_free */
    /* The forecast: */
    uint64_t started, done;
    uint64_t expired; /* left when its not_after came */
    nsec shut;        /* how long it was kept waiting by `hours` */
    nsec first, finish;           /* UTC of the first start and the last reply; 0: none */
    uint64_t days[FORECAST_DAYS]; /* starts on the first local day, the second... */
    enum lane_why bound;          /* what its lanes waited for most of the time; LANE_READY: the engine's own speed */
    bool bound_by_hours;          /* it was rather kept waiting by `hours` */
    const struct config_limits *limits;
    unsigned lanes; /* of its pool */
};

struct forecast_plan {
    nsec start; /* UTC now */
    nsec connect, latency;
    uint64_t speed; /* starts a second; 0: no limit */
    nsec horizon;   /* given up then */
};

/* What people have said by hand (store/control.h) of lanes: a pause, or a slow-down to a percentage. */
struct forecast_hold {
    char source[LIMIT_SOURCE_NAME + 1], isp[LIMIT_ISP_NAME + 1]; /* "" : every one */
    unsigned percent;                                            /* 0: a pause */
    nsec until;                                                  /* UTC; 0: without end */
};

struct forecast;

/* Borrows the configuration. NULL: no memory. */
must_use struct forecast *forecast_new(const struct config *config, const struct forecast_plan *plan);
void forecast_free(struct forecast *forecast);
/* Copies it; to be called before forecast_run. Returns where it lives. */
struct forecast_demand *forecast_add(struct forecast *forecast, const struct forecast_demand *demand);
/* How far the warm-up of a counter of a source is, by Redis; to be called before forecast_run. `next`: UTC, nothing is
 * granted before. */
void forecast_record(struct forecast *forecast, struct slice source, struct slice counter,
                     const struct warmup_record *record, nsec next);
/* Copies it; to be called before forecast_run. A slow-down is taken as one without end. */
void forecast_hold(struct forecast *forecast, const struct forecast_hold *hold);
/* False: something is left when the horizon is reached. */
must_use bool forecast_run(struct forecast *forecast);
/* In the order in which they were added; NULL: there is none. */
const struct forecast_demand *forecast_demand(const struct forecast *forecast, unsigned i);
/* The number of local days from the start to this instant. */
unsigned forecast_day(const struct forecast *forecast, nsec utc);

#endif
