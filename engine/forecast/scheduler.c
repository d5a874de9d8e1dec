/* Drives the production lanes over what is queued, with sessions that are no more than a timer each. */
#include "forecast/scheduler.h"

#include <stdlib.h>

/* ---- what holds a lane up ---- */

static enum lane_why why_of(const struct forecast *f, const struct lane *lane, nsec now)
{
    nsec when;
    if (!lane_waited_for(lane))
        return LANE_IDLE;
    enum lane_why why = lane_ask(&f->lanes, lane, now, &when);
    if (why != LANE_READY || throttle_ready_at(&f->engine, now) > now)
        return why;
    return lane->open >= lane->allowed ? LANE_CONNECTIONS : LANE_READY;
}

static void account(struct forecast *f, struct lane *lane)
{
    struct forecast_lane *view = lane->context;
    nsec now = io_now(f->io);
    view->waited[view->why] += now - view->since;
    view->since = now;
    view->why = why_of(f, lane, now);
}

/* ---- demand: as many wait in memory as the engine would let ---- */

static struct attempt *take_attempt(struct forecast *f, struct forecast_stream *stream)
{
    struct forecast_attempt *one = f->free_attempts;
    if (one) {
        f->free_attempts = one->next;
    } else {
        one = malloc(sizeof *one);
        sluice_assert(one);
        one->all_next = f->attempts;
        f->attempts = one;
    }
    one->attempt = (struct attempt){.site = &stream->group->site, .lease = &f->lease};
    one->stream = stream;
    return &one->attempt;
}

static struct forecast_attempt *of(struct attempt *attempt)
{
    return container_of(attempt, struct forecast_attempt, attempt);
}

static bool is_due(const struct forecast *f, const struct forecast_stream *stream)
{
    return stream->left && stream->hours == HOURS_OPEN && stream->demand->not_before <= io_wall(f->io);
}

/* What waits goes back to its campaign, as the engine parks it. */
static void give_back(struct forecast *f, struct forecast_group *group)
{
    struct queue *queue;
    struct attempt *attempt;
    while ((attempt = backlog_last(group->backlog, &group->site, &queue))) {
        backlog_remove(&f->lanes, group->backlog, queue, attempt);
        struct forecast_attempt *one = of(attempt);
        one->stream->left++;
        one->next = f->free_attempts;
        f->free_attempts = one;
    }
}

static void ask_hours(struct forecast *f, struct forecast_stream *stream, nsec wall)
{
    struct forecast_demand *demand = stream->demand;
    int64_t until_ms;
    bool was_shut = stream->hours && stream->hours != HOURS_OPEN;
    stream->hours = hours_ask(&demand->hours, wall / NSEC_PER_MS, &until_ms);
    stream->hours_until = until_ms == INT64_MAX ? NSEC_NEVER : until_ms * NSEC_PER_MS;
    if (was_shut && stream->left)
        demand->shut += wall - stream->shut_since;
    stream->shut_since = wall;
    if (stream->hours == HOURS_OVER) {
        demand->expired += stream->left;
        f->left -= stream->left;
        stream->left = 0;
    }
}

/* Asks whose hour has come. Returns when the next one does, UTC. */
static nsec ask_all_hours(struct forecast *f, struct forecast_group *group)
{
    nsec wall = io_wall(f->io), next = NSEC_NEVER;
    for (struct forecast_stream *stream = group->streams; stream; stream = stream->next) {
        if (stream->demand->not_before > wall)
            next = nsec_min(next, stream->demand->not_before);
        if (!stream->hours || stream->hours_until <= wall)
            ask_hours(f, stream, wall);
        if (stream->left)
            next = nsec_min(next, stream->hours_until);
    }
    return next;
}

/* Campaigns of one ISP have their turns. */
static void top_up(struct forecast *f, struct forecast_group *group)
{
    nsec now = io_now(f->io);
    bool more = true;
    while (more && group->backlog->waiting < backlog_room(group->backlog, now)) {
        more = false;
        for (struct forecast_stream *stream = group->streams; stream; stream = stream->next) {
            if (!is_due(f, stream))
                continue;
            stream->left--;
            more = backlog_add(&f->lanes, group->backlog, take_attempt(f, stream), false, now);
            sluice_assert(more); /* queues suffice for one site each */
        }
    }
}

/* ---- sessions ---- */

static void pump(struct forecast *f, struct lane *lane);

static void on_lane_timer(struct io_timer *timer)
{
    struct lane *lane = container_of(timer, struct lane, timer);
    struct forecast_lane *view = lane->context;
    pump(view->forecast, lane);
}

static void wake_at(struct forecast *f, struct lane *lane, nsec when)
{
    if (when == NSEC_NEVER || (io_timer_is_set(&lane->timer) && lane->timer.at <= when))
        return;
    lane->timer.fire = on_lane_timer;
    io_timer_set(f->io, &lane->timer, when);
}

/* For a unit of its warm-up, or for an instant. */
static void wait_until(struct forecast *f, struct lane *lane, nsec when)
{
    if (lane_waited_for(lane) && !budget_wait(lane, io_now(f->io)))
        wake_at(f, lane, when);
}

/* Lanes that could start but for the engine's own speed stand in line, and each place in time wakes one. */
static void wait_for_engine(struct forecast *f, struct forecast_lane *view)
{
    if (view->in_line || !lane_waited_for(view->lane))
        return;
    view->in_line = true;
    view->line_next = NULL;
    *(f->line_first ? &f->line_last->line_next : &f->line_first) = view;
    f->line_last = view;
    if (!io_timer_is_set(&f->engine_timer))
        io_timer_set(f->io, &f->engine_timer, throttle_ready_at(&f->engine, io_now(f->io)));
}

static void on_engine_timer(struct io_timer *timer)
{
    struct forecast *f = container_of(timer, struct forecast, engine_timer);
    while (f->line_first && throttle_ready_at(&f->engine, io_now(f->io)) <= io_now(f->io)) {
        struct forecast_lane *view = f->line_first;
        f->line_first = view->line_next;
        view->in_line = false;
        pump(f, view->lane);
    }
    if (f->line_first)
        io_timer_set(f->io, &f->engine_timer, throttle_ready_at(&f->engine, io_now(f->io)));
}

static void unlink_idle(struct forecast_lane *view, struct forecast_session *session)
{
    struct forecast_session **at = &view->idle;
    while (*at != session)
        at = &(*at)->idle_next;
    *at = session->idle_next;
}

static void close_session(struct forecast *f, struct forecast_session *session)
{
    lane_closed(session->lane, true, session->messages > 0);
    session->idle_next = f->free_sessions;
    f->free_sessions = session;
}

static void count_start(struct forecast *f, struct forecast_demand *demand)
{
    nsec wall = io_wall(f->io);
    unsigned day = forecast_day(f, wall);
    if (!demand->started++)
        demand->first = wall;
    demand->days[day < FORECAST_DAYS ? day : FORECAST_DAYS - 1]++;
}

/* True: the session has a message. */
static bool feed(struct forecast *f, struct forecast_session *session)
{
    struct lane *lane = session->lane;
    struct forecast_lane *view = lane->context;
    nsec now = io_now(f->io), when;
    if (lane_ask(&f->lanes, lane, now, &when) != LANE_READY) {
        wait_until(f, lane, when);
        return false;
    }
    if (throttle_ready_at(&f->engine, now) > now) {
        wait_for_engine(f, view);
        return false;
    }
    session->attempt = lane_take(&f->lanes, lane, &view->group->site, now);
    if (!session->attempt)
        return false;
    bool reserved = budget_reserve(lane, session->attempt, now);
    sluice_assert(reserved); /* its gate was open */
    lane_start(lane, now);
    throttle_take(&f->engine, now);
    count_start(f, of(session->attempt)->stream->demand);
    io_timer_set(f->io, &session->timer, now + f->plan.latency);
    top_up(f, view->group);
    return true;
}

static void message_ends(struct forecast *f, struct forecast_session *session)
{
    struct forecast_attempt *one = of(session->attempt);
    budget_commit(session->attempt);
    if (session->lane->counter)
        budget_count(session->lane->counter, BUDGET_ACCEPTED, io_now(f->io));
    one->stream->demand->done++;
    one->stream->demand->finish = io_wall(f->io);
    f->left--;
    one->next = f->free_attempts;
    f->free_attempts = one;
    session->attempt = NULL;
    if (!session->messages++)
        lane_worked(session->lane);
}

/* A session has ended: the lane may open another one, or one that shares a total with it. */
static void pump_around(struct forecast *f, struct lane *lane)
{
    pump(f, lane);
    for (struct forecast_group *group = lane->total ? f->groups : NULL; group; group = group->next)
        for (unsigned i = 0; group->backlog && i < group->backlog->lane_count; i++)
            if (group->backlog->lanes[i]->total == lane->total && group->backlog->lanes[i] != lane)
                pump(f, group->backlog->lanes[i]);
}

static void on_session_timer(struct io_timer *timer)
{
    struct forecast_session *session = container_of(timer, struct forecast_session, timer);
    struct lane *lane = session->lane;
    struct forecast_lane *view = lane->context;
    struct forecast *f = view->forecast;
    account(f, lane);
    if (session->is_idle) { /* for as long as the limits let it */
        unlink_idle(view, session);
        close_session(f, session);
        pump_around(f, lane);
        return;
    }
    if (session->attempt)
        message_ends(f, session);
    else
        lane_ready(lane);
    bool full = lane->limits->per_connection && session->messages >= lane->limits->per_connection;
    if (full || lane->open > lane->allowed) {
        close_session(f, session);
        pump_around(f, lane);
        return;
    }
    if (feed(f, session))
        return;
    session->is_idle = true;
    session->idle_next = view->idle;
    view->idle = session;
    io_timer_set(f->io, &session->timer, io_now(f->io) + lane->limits->idle);
}

static void open_session(struct forecast *f, struct lane *lane)
{
    struct forecast_session *session = f->free_sessions;
    if (session) {
        f->free_sessions = session->idle_next;
    } else {
        session = calloc(1, sizeof *session);
        sluice_assert(session);
        session->timer.fire = on_session_timer;
        session->all_next = f->sessions;
        f->sessions = session;
    }
    session->lane = lane;
    session->messages = 0;
    session->is_idle = false;
    lane_opened(lane, io_now(f->io));
    io_timer_set(f->io, &session->timer, io_now(f->io) + f->plan.connect);
}

/* Idle sessions are fed, then as many are begun as are of use (as carry.c does). */
static void pump(struct forecast *f, struct lane *lane)
{
    struct forecast_lane *view = lane->context;
    nsec when;
    account(f, lane);
    while (view->idle) {
        struct forecast_session *session = view->idle;
        if (!feed(f, session))
            break;
        session->is_idle = false;
        view->idle = session->idle_next; /* its timer is the message's now */
    }
    unsigned idle = 0;
    for (const struct forecast_session *session = view->idle; session; session = session->idle_next)
        idle++;
    unsigned coming = lane->connecting + idle, waiting = lane_waiting_at(lane, &view->group->site);
    while (coming < waiting && coming < lane_sessions_ahead(lane)) {
        if (!lane_may_open(&f->lanes, lane, io_now(f->io), &when) || !lane_may_begin(lane, io_now(f->io), &when)) {
            wait_until(f, lane, when);
            return;
        }
        open_session(f, lane);
        coming++;
    }
}

void scheduler_wake(void *context, struct lane *lane)
{
    struct forecast *f = context;
    wake_at(f, lane, io_now(f->io));
}

static void pump_group(struct forecast *f, struct forecast_group *group)
{
    top_up(f, group);
    for (unsigned i = 0; i < group->backlog->lane_count; i++)
        pump(f, group->backlog->lanes[i]);
}

static void wait_for_hours(struct forecast *f, struct forecast_group *group)
{
    give_back(f, group);
    nsec next = ask_all_hours(f, group);
    pump_group(f, group);
    if (next != NSEC_NEVER)
        io_timer_set(f->io, &group->timer, io_now(f->io) + (next - io_wall(f->io)));
}

/* A campaign's time has come, or is over. */
static void on_group_timer(struct io_timer *timer)
{
    struct forecast_group *group = container_of(timer, struct forecast_group, timer);
    wait_for_hours(group->forecast, group);
}

static void begin_group(struct forecast *f, struct forecast_group *group)
{
    nsec now = io_now(f->io);
    group->backlog = lanes_backlog(&f->lanes, group->pool, slice_of(group->isp), table_hash(slice_of(group->isp)), now);
    sluice_assert(group->backlog); /* pools suffice for all groups */
    for (unsigned i = 0; i < group->backlog->lane_count; i++) {
        struct lane *lane = group->backlog->lanes[i];
        struct forecast_lane *view = &group->lanes[i];
        *view = (struct forecast_lane){.forecast = f, .group = group, .lane = lane, .why = LANE_IDLE, .since = now};
        lane->context = view;
    }
    group->timer.fire = on_group_timer;
    wait_for_hours(f, group);
}

/* ---- the run ---- */

static bool goes_on(void *context)
{
    const struct forecast *f = context;
    return f->left > 0;
}

static nsec turn(void *context)
{
    struct forecast *f = context;
    io_turn(f->io, NSEC_NEVER);
    return NSEC_NEVER;
}

/* What its lanes waited for longest, those that carried most first: a source at the beginning of its warm-up holds
 * nothing up where others do the work. */
static enum lane_why bound_of(struct forecast *f, struct forecast_group *group)
{
    nsec waited[LANE_WHY_COUNT] = {0};
    enum lane_why bound = LANE_READY;
    for (unsigned i = 0; i < group->backlog->lane_count; i++) {
        account(f, group->backlog->lanes[i]);
        for (enum lane_why why = LANE_READY; why < LANE_WHY_COUNT; why++)
            waited[why] += group->lanes[i].waited[why] / NSEC_PER_MS * (nsec)(1 + group->backlog->lanes[i]->started);
    }
    for (enum lane_why why = LANE_READY; why < LANE_WHY_COUNT; why++)
        if (why != LANE_IDLE && waited[why] > waited[bound])
            bound = why;
    return bound;
}

bool scheduler_run(struct forecast *f)
{
    f->engine_timer.fire = on_engine_timer;
    sim_on_turn(f->io, turn, f);
    for (struct forecast_group *group = f->groups; group; group = group->next)
        begin_group(f, group);
    bool done = sim_run_while(f->world, goes_on, f, sim_now(f->world) + f->plan.horizon);
    for (struct forecast_group *group = f->groups; group; group = group->next) {
        enum lane_why bound = bound_of(f, group);
        for (struct forecast_stream *stream = group->streams; stream; stream = stream->next) {
            struct forecast_demand *demand = stream->demand;
            demand->bound = bound;
            demand->bound_by_hours = demand->shut > nsec_max(demand->finish - f->plan.start, 0) / 2;
            demand->limits =
                group->backlog->lane_count ? group->backlog->lanes[0]->limits : &f->config->defaults;
            demand->lanes = group->backlog->lane_count;
        }
    }
    return done;
}

void scheduler_free(struct forecast *f)
{
    for (struct forecast_attempt *one = f->attempts, *next; one; one = next) {
        next = one->all_next;
        free(one);
    }
    for (struct forecast_session *session = f->sessions, *next; session; session = next) {
        next = session->all_next;
        free(session);
    }
}
