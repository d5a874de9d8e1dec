/* Which lanes and backlogs there are: made when somebody waits, forgotten when they owe nothing, changed by a reload.
 */
#include "control/config_align.h"
#include "flow/effective.h"
#include "flow/lane.h"

enum { TABLE_LOG2 = 14 };

static const nsec forget_after = 60 * NSEC_PER_S;

bool lanes_open(struct lanes *lanes, struct arena *arena, const struct config *config, unsigned shard, unsigned shards,
                unsigned attempts_max)
{
    memset(lanes, 0, sizeof *lanes);
    lanes->config = config;
    lanes->shard = shard;
    lanes->shards = shards;
    lanes->held_until = arena_take(arena, CONFIG_SOURCES_MAX * sizeof(nsec), sizeof(nsec));
    lanes->absent_until = arena_take(arena, CONFIG_SOURCES_MAX * sizeof(nsec), sizeof(nsec));
    lanes->stopped = arena_take(arena, CONFIG_RELAYS_MAX * sizeof(bool), sizeof(nsec));
    if (!lanes->held_until || !lanes->absent_until || !lanes->stopped)
        return false;
    /* Each backlog that is in use has an attempt or a lane that owes something; each queue has an attempt. */
    return pool_open(&lanes->lane_pool, arena, sizeof(struct lane), 2 * attempts_max) &&
           pool_open(&lanes->backlog_pool, arena, sizeof(struct backlog), attempts_max) &&
           pool_open(&lanes->queue_pool, arena, sizeof(struct queue), attempts_max) &&
           pool_open(&lanes->row_pool, arena, sizeof(struct row), attempts_max) &&
           turns_open(&lanes->turns, arena, attempts_max, attempts_max) &&
           table_open(&lanes->lane_table, arena, TABLE_LOG2) && table_open(&lanes->backlog_table, arena, TABLE_LOG2);
}

/* ---- backlogs ---- */

static uint64_t backlog_hash(unsigned pool, uint64_t isp_hash)
{
    return (isp_hash ^ ((uint64_t)pool + 1) * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
}

/* Tells a lane's hash from a backlog's of the same numbers. */
static uint64_t lane_hash(unsigned source, uint64_t isp_hash) { return ~backlog_hash(source, isp_hash); }

static struct lane_total *total_of(const struct lanes *lanes, struct slice isp)
{
    return lanes->total_of ? lanes->total_of(lanes->total_context, lanes->config, isp) : NULL;
}

static struct lane *lane_make(struct lanes *lanes, const struct backlog *backlog, unsigned source,
                              const struct throttle_limits *share, nsec now)
{
    struct lane *lane = pool_take(&lanes->lane_pool);
    if (!lane)
        return NULL;
    memset(lane, 0, sizeof *lane);
    lane->source = source;
    lane->limits = config_lane_limits(lanes->config, source, slice_of(backlog->isp));
    lane->relay = config_relay_of(lanes->config, slice_of(backlog->isp));
    lane->total = total_of(lanes, slice_of(backlog->isp));
    lane->configured = *share;
    lane->connections = lane->allowed = share->connections;
    lane->own.pool = backlog->pool;
    lane->own.isp_hash = backlog->isp_hash;
    lane->own.owner = lane;
    memcpy(lane->own.isp, backlog->isp, sizeof lane->own.isp);
    throttle_init(&lane->throttle, share->interval_ns, share->burst, now);
    throttle_init(&lane->connects, share->connect_interval_ns, share->connect_burst, now);
    lane->splits = lanes_splits(lanes, source, slice_of(backlog->isp));
    if (lanes->settling) { /* who had it before may not have let go yet */
        lane->settles = true;
        lane_gate(lane, LANE_RELOAD, NSEC_NEVER);
    }
    table_add(&lanes->lane_table, &lane->link, lane_hash(source, backlog->isp_hash));
    if (lanes->made)
        lanes->made(lanes->made_context, lane);
    return lane;
}

static struct lane *lane_find(struct lanes *lanes, const struct backlog *backlog, unsigned source)
{
    struct table_link *link = table_first(&lanes->lane_table, lane_hash(source, backlog->isp_hash));
    for (; link; link = table_next(link)) {
        struct lane *lane = container_of(link, struct lane, link);
        if (lane->source == source && strcmp(lane->own.isp, backlog->isp) == 0)
            return lane;
    }
    return NULL;
}

static void lane_drop(struct lanes *lanes, struct lane *lane)
{
    lane_line_leave(lane);
    table_remove(&lanes->lane_table, &lane->link);
    pool_give(&lanes->lane_pool, lane);
}

static void lane_leave(struct lane *lane, const struct backlog *backlog)
{
    unsigned i = 0;
    while (lane->backlogs[i] != backlog)
        i++;
    lane->backlogs[i] = lane->backlogs[--lane->backlog_count];
}

static void backlog_drop(struct lanes *lanes, struct backlog *backlog)
{
    while (backlog->lane_count) {
        struct lane *lane = backlog->lanes[--backlog->lane_count];
        lane_leave(lane, backlog);
        if (!lane->backlog_count)
            lane_drop(lanes, lane);
    }
    turns_release(&lanes->turns, backlog->turns);
    pool_give(&lanes->backlog_pool, backlog);
}

/* The source's lane serves the backlog too, if it is one of this shard's. False: too many lanes are in use. */
static bool lane_join(struct lanes *lanes, struct backlog *backlog, unsigned source, nsec now)
{
    struct throttle_limits share;
    struct lane *lane = lane_find(lanes, backlog, source);
    if (!lanes_share(lanes, source, slice_of(backlog->isp), isp_bucket(backlog->isp_hash), &share))
        return true; /* another shard's */
    if (!lane)
        lane = lane_make(lanes, backlog, source, &share, now);
    if (!lane)
        return false;
    for (unsigned i = 0; i < backlog->lane_count; i++)
        if (backlog->lanes[i] == lane)
            return true;
    sluice_assert(lane->backlog_count < POOLS_OF_LANE && backlog->lane_count < LANES_OF_POOL);
    lane->own.turns = backlog->turns;
    lane->backlogs[lane->backlog_count++] = backlog;
    backlog->lanes[backlog->lane_count++] = lane;
    return true;
}

static struct backlog *backlog_make(struct lanes *lanes, unsigned pool, struct slice isp, uint64_t isp_hash, nsec now)
{
    struct backlog *backlog = pool_take(&lanes->backlog_pool);
    if (!backlog)
        return NULL;
    memset(backlog, 0, sizeof *backlog);
    backlog->pool = pool;
    backlog->isp_hash = isp_hash;
    backlog->turns = turns_hold(&lanes->turns, isp_hash);
    sluice_assert(backlog->turns); /* there is one for each backlog */
    backlog->second = backlog->used_at = backlog->made_at = backlog->moved_at = now;
    slice_copy(backlog->isp, sizeof backlog->isp, isp);
    const struct config_pool *sources = &lanes->config->pools[pool];
    for (unsigned i = 0; i < sources->source_count; i++)
        if (!lane_join(lanes, backlog, sources->sources[i], now)) {
            backlog_drop(lanes, backlog);
            return NULL;
        }
    table_add(&lanes->backlog_table, &backlog->link, backlog_hash(pool, isp_hash));
    backlog->next = lanes->backlogs;
    if (backlog->next)
        backlog->next->prev = backlog;
    lanes->backlogs = backlog;
    return backlog;
}

struct backlog *lanes_backlog(struct lanes *lanes, unsigned pool, struct slice isp, uint64_t isp_hash, nsec now)
{
    struct table_link *link = table_first(&lanes->backlog_table, backlog_hash(pool, isp_hash));
    for (; link; link = table_next(link)) {
        struct backlog *backlog = container_of(link, struct backlog, link);
        if (backlog->pool == pool && slice_equal(slice_of(backlog->isp), isp))
            return backlog;
    }
    return backlog_make(lanes, pool, isp, isp_hash, now);
}

/* ---- forgetting ---- */

/* The one that is shared stays shut without the lane. */
static bool own_gates_are_open(const struct lane *lane, nsec now)
{
    bool open = true;
    for (enum lane_why why = LANE_PAUSED; why < LANE_WHY_COUNT; why++)
        open = open && lane->gates[why] <= now;
    return open;
}

static bool idle(const struct lane *lane, nsec now)
{
    return lane->open == 0 && lane->own.waiting == 0 && !lane->own.marked && !lane->in_line &&
           lane->held_until <= now && lane->slow_until + lane->slow_for <= now && own_gates_are_open(lane, now) &&
           (lane->throttle.interval_ns == 0 || lane->throttle.paid_until <= now) &&
           (lane->connects.interval_ns == 0 || lane->connects.paid_until <= now) && !io_timer_is_set(&lane->timer);
}

static bool forgettable(const struct backlog *backlog, nsec now)
{
    if (backlog->waiting || backlog->marked || now - backlog->used_at < forget_after)
        return false;
    for (unsigned i = 0; i < backlog->lane_count; i++)
        if (!idle(backlog->lanes[i], now))
            return false;
    return true;
}

/* Lanes that a reload has taken out of all backlogs, once they hold nothing. */
static void forget_left(struct lanes *lanes, nsec now)
{
    for (struct lane **at = &lanes->left, *lane; (lane = *at);) {
        bool back = lane->backlog_count > 0;
        if (!back && !idle(lane, now)) {
            at = &lane->left_next;
            continue;
        }
        *at = lane->left_next;
        lane->is_left = false;
        if (!back)
            lane_drop(lanes, lane);
    }
}

unsigned lanes_forget(struct lanes *lanes, nsec now)
{
    unsigned count = 0;
    forget_left(lanes, now);
    for (struct backlog *backlog = lanes->backlogs, *next; backlog; backlog = next) {
        next = backlog->next;
        if (!forgettable(backlog, now))
            continue;
        if (backlog->prev)
            backlog->prev->next = backlog->next;
        else
            lanes->backlogs = backlog->next;
        if (backlog->next)
            backlog->next->prev = backlog->prev;
        table_remove(&lanes->backlog_table, &backlog->link);
        backlog_drop(lanes, backlog);
        count++;
    }
    return count;
}

/* ---- reload ---- */

/* Its sessions are counted in the one or in the other. */
static void set_total(struct lane *lane, struct lane_total *total)
{
    if (lane->total == total)
        return;
    if (lane->total) {
        lane->total->open -= lane->open;
        lane->total->ending -= lane->ending;
    }
    lane->total = total;
    if (total) {
        total->open += lane->open;
        total->ending += lane->ending;
    }
}

/* Limits that changed hold at once, by throttle_change's formula. A lane that is split otherwise than before, or whose
 * ISP has got hosts that were another's, starts nothing until all shards have let go of what they had, and begins empty
 * then. One that is not here any more never does. */
static void lane_reload(struct lanes *lanes, struct lane *lane, const struct config *before, nsec now)
{
    struct slice isp = slice_of(lane->own.isp);
    struct throttle_limits share;
    bool splits = lanes_splits(lanes, lane->source, isp), was_here = lane->connections > 0;
    lane->limits = config_lane_limits(lanes->config, lane->source, isp);
    lane->relay = config_relay_of(lanes->config, isp);
    set_total(lane, total_of(lanes, isp));
    if (!lanes_share(lanes, lane->source, isp, isp_bucket(lane->own.isp_hash), &share)) {
        lane->connections = lane->allowed = lane->configured.connections = 0;
        lane->settles = false;
        lane_gate(lane, LANE_RELOAD, NSEC_NEVER);
        return;
    }
    if (splits != lane->splits || !was_here || config_isp_gains(lanes->config, before, isp)) {
        lane->settles = true;
        lane_gate(lane, LANE_RELOAD, NSEC_NEVER);
    }
    lane->splits = splits;
    effective_configure(lane, &share, now);
    throttle_change(&lane->connects, share.connect_interval_ns, share.connect_burst, now);
}

static bool in_pool(const struct config_pool *pool, unsigned source)
{
    for (unsigned i = 0; i < pool->source_count; i++)
        if (pool->sources[i] == source)
            return true;
    return false;
}

/* The pool's sources as they are now. Where memory is short a lane is missing until the backlog is made anew. */
static void backlog_reload(struct lanes *lanes, struct backlog *backlog, nsec now)
{
    const struct config_pool *pool = &lanes->config->pools[backlog->pool];
    for (unsigned i = backlog->lane_count; i-- > 0;) {
        struct lane *lane = backlog->lanes[i];
        if (in_pool(pool, lane->source) && lane->connections)
            continue;
        backlog->lanes[i] = backlog->lanes[--backlog->lane_count];
        lane_leave(lane, backlog);
        if (lane->backlog_count || lane->is_left)
            continue;
        lane->is_left = true;
        lane->left_next = lanes->left;
        lanes->left = lane;
    }
    for (unsigned i = 0; i < pool->source_count; i++)
        if (!lane_join(lanes, backlog, pool->sources[i], now))
            break;
}

void lanes_reload(struct lanes *lanes, const struct config *config, nsec now)
{
    const struct config *before = lanes->config;
    sluice_assert(!lanes->waiting);
    lanes->config = config;
    lanes->settling = true;
    for (uint64_t i = 0; i <= lanes->lane_table.mask; i++)
        for (struct table_link *link = lanes->lane_table.buckets[i]; link; link = link->next)
            lane_reload(lanes, container_of(link, struct lane, link), before, now);
    for (struct backlog *backlog = lanes->backlogs; backlog; backlog = backlog->next)
        backlog_reload(lanes, backlog, now);
}

bool lanes_let_go(const struct lanes *lanes)
{
    for (uint64_t i = 0; i <= lanes->lane_table.mask; i++)
        for (struct table_link *link = lanes->lane_table.buckets[i]; link; link = link->next) {
            const struct lane *lane = container_of(link, struct lane, link);
            if ((lane->settles || !lane->connections) && lane->open > lane->connections)
                return false;
        }
    return true;
}

static void begin_empty(struct lane *lane, nsec now)
{
    throttle_init(&lane->throttle, lane->throttle.interval_ns, lane->throttle.burst, now);
    throttle_init(&lane->connects, lane->connects.interval_ns, lane->connects.burst, now);
}

void lanes_begin(struct lanes *lanes, unsigned source, nsec now)
{
    for (uint64_t i = 0; i <= lanes->lane_table.mask; i++)
        for (struct table_link *link = lanes->lane_table.buckets[i]; link; link = link->next) {
            struct lane *lane = container_of(link, struct lane, link);
            if (lane->source == source)
                begin_empty(lane, now);
        }
}

void lanes_settle(struct lanes *lanes, nsec now)
{
    lanes->settling = false;
    for (uint64_t i = 0; i <= lanes->lane_table.mask; i++)
        for (struct table_link *link = lanes->lane_table.buckets[i]; link; link = link->next) {
            struct lane *lane = container_of(link, struct lane, link);
            if (!lane->settles)
                continue;
            lane->settles = false;
            begin_empty(lane, now);
            lane_gate(lane, LANE_RELOAD, 0);
        }
}
