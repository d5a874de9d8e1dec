/* The lane is what mailbox providers see of us: one address towards one of them. This file answers whether it may
 * start something now, and keeps in order who waits for it. */
#include "flow/lane.h"

enum { HOLD_STEPS = 9 };

/* A session that takes this long to be let in is begun that much before the throttle is ready. */
static const nsec open_ahead = 2 * NSEC_PER_S;
static const nsec pace_window = 60 * NSEC_PER_S;

struct lane *backlog_lane(const struct lanes *lanes, const struct backlog *backlog, struct slice source)
{
    for (unsigned i = 0; i < backlog->lane_count; i++)
        if (slice_equal(slice_of(lanes->config->sources[backlog->lanes[i]->source].name), source))
            return backlog->lanes[i];
    return NULL;
}

/* Of how many backlogs it takes from besides its own. */
static unsigned shared_backlogs(const struct lane *lane) { return lane->apart ? 0 : lane->backlog_count; }

/* The lane's own backlog, then those of its pools, another one first each time. */
static struct backlog *turn_of(struct lane *lane, unsigned i) { return i == 0 ? &lane->own : lane->backlogs[i - 1]; }

static void next_turn(struct lane *lane)
{
    struct backlog *first = lane->backlogs[0];
    memmove(lane->backlogs, lane->backlogs + 1, (lane->backlog_count - 1) * sizeof first);
    lane->backlogs[lane->backlog_count - 1] = first;
}

const struct turn *lane_turn_at(const struct lane *lane, const struct site *site)
{
    const struct queue *queue = backlog_queue(&lane->own, site);
    const struct turn *first = queue ? queue_next(queue)->turn : NULL;
    for (unsigned i = 0; i < shared_backlogs(lane); i++) {
        queue = backlog_queue(lane->backlogs[i], site);
        const struct turn *turn = queue ? queue_next(queue)->turn : NULL;
        if (turn && (!first || turns_before(turn, first)))
            first = turn;
    }
    return first;
}

struct attempt *lane_take(struct lanes *lanes, struct lane *lane, const struct site *site, nsec now)
{
    struct backlog *from = NULL;
    struct queue *queue = NULL;
    struct row *row = NULL;
    for (unsigned i = 0; i <= shared_backlogs(lane); i++) {
        struct queue *waits = backlog_queue(turn_of(lane, i), site);
        struct row *next = waits ? queue_next(waits) : NULL;
        if (!next || (row && !turns_before(next->turn, row->turn)))
            continue;
        from = turn_of(lane, i);
        queue = waits;
        row = next;
    }
    if (!row)
        return NULL;
    struct attempt *attempt = row->first;
    backlog_remove(lanes, from, queue, attempt);
    backlog_count_start(from == &lane->own ? lane->backlogs[0] : from, now);
    next_turn(lane);
    return attempt;
}

struct site *lane_site(struct lane *lane,
                       bool (*wanted)(void *context, struct lane *lane, struct site *site, unsigned waiting),
                       void *context)
{
    const struct turn *first = NULL;
    struct backlog *from = NULL;
    struct queue *best = NULL;
    for (unsigned i = 0; i <= shared_backlogs(lane); i++) {
        struct backlog *backlog = turn_of(lane, i);
        struct queue *queue = backlog->queues;
        for (unsigned seen = 0; queue && seen < backlog->waiting; queue = queue->next) {
            const struct turn *turn = queue_next(queue)->turn;
            seen += queue->count;
            if ((first && !turns_before(turn, first)) || !wanted(context, lane, queue->site, queue->count))
                continue;
            first = turn;
            from = backlog;
            best = queue;
        }
    }
    if (!best)
        return NULL;
    from->queues = best->next; /* the next time another site comes first */
    return best->site;
}

bool lane_waits_high(const struct lane *lane)
{
    unsigned high = lane->own.high;
    for (unsigned i = 0; i < shared_backlogs(lane); i++)
        high += lane->backlogs[i]->high;
    return high > 0;
}

bool lane_waits_high_at(const struct lane *lane, const struct site *site)
{
    const struct turn *first = lane_waits_high(lane) ? lane_turn_at(lane, site) : NULL;
    return first && first->high;
}

unsigned lane_waiting_at(const struct lane *lane, const struct site *site)
{
    const struct queue *queue = backlog_queue(&lane->own, site);
    unsigned waiting = queue ? queue->count : 0;
    for (unsigned i = 0; i < shared_backlogs(lane); i++) {
        queue = backlog_queue(lane->backlogs[i], site);
        waiting += queue ? queue->count : 0;
    }
    return waiting;
}

/* ---- lanes ---- */

bool lane_waited_for(const struct lane *lane)
{
    unsigned waiting = lane->own.waiting;
    for (unsigned i = 0; i < shared_backlogs(lane); i++)
        waiting += lane->backlogs[i]->waiting;
    return waiting > 0;
}

/* As many sessions as were let in when others were turned away may be opened again at any time. */
static bool is_held(const struct lane *lane, nsec now) { return lane->held_until > now && lane->open >= lane->let_in; }

nsec lane_gate_until(const struct lane *lane, enum lane_why why)
{
    bool shared = why == LANE_WARMUP && lane->shared_gate;
    return shared ? nsec_max(lane->gates[why], *lane->shared_gate) : lane->gates[why];
}

/* The one that opens last, or LANE_READY. */
static enum lane_why gate_that_is_shut(const struct lane *lane, nsec now)
{
    enum lane_why shut = LANE_READY;
    nsec latest = now;
    for (enum lane_why why = LANE_PAUSED; why < LANE_WHY_COUNT; why++)
        if (lane_gate_until(lane, why) > latest) {
            latest = lane_gate_until(lane, why);
            shut = why;
        }
    return shut;
}

void lane_gate(struct lane *lane, enum lane_why why, nsec until)
{
    sluice_assert(why >= LANE_PAUSED && why < LANE_WHY_COUNT);
    lane->gates[why] = until;
}

void lane_allow(struct lane *lane, unsigned sessions)
{
    sluice_assert(sessions >= 1);
    lane->allowed = sessions < lane->connections ? sessions : lane->connections;
}

void lane_set_rate(struct lane *lane, nsec interval_ns, unsigned burst, nsec now)
{
    throttle_change(&lane->throttle, interval_ns, burst, now);
}

/* NSEC_NEVER while this engine has no turn of the total: whoever gets one marks the lanes. */
static nsec total_ready_at(const struct lane *lane, nsec now)
{
    if (!lane->total)
        return now;
    return now < lane->total->until && lane->total->connections ? throttle_ready_at(&lane->total->starts, now)
                                                                : NSEC_NEVER;
}

static enum lane_why ask(const struct lanes *lanes, const struct lane *lane, nsec now, nsec *when)
{
    *when = NSEC_NEVER;
    if (lanes->held_until[lane->source] <= now)
        return LANE_SOURCE;
    if (lanes->absent_until[lane->source] > now) {
        *when = lanes->absent_until[lane->source];
        return LANE_ABSENT;
    }
    if (is_held(lane, now) && !lane->working) { /* sessions that work go on */
        *when = lane->held_until;
        return LANE_HELD;
    }
    if (lane->slow_until > now) {
        *when = lane->slow_until;
        return lane->slow_why;
    }
    enum lane_why shut = gate_that_is_shut(lane, now);
    if (shut != LANE_READY) {
        *when = lane_gate_until(lane, shut);
        return shut;
    }
    nsec ready = throttle_ready_at(&lane->throttle, now);
    nsec together = total_ready_at(lane, now);
    if (together > now && together >= ready) {
        *when = together;
        return LANE_TOTAL;
    }
    if (ready > now) {
        *when = ready;
        return LANE_RATE;
    }
    return LANE_READY;
}

enum lane_why lane_ask(const struct lanes *lanes, const struct lane *lane, nsec now, nsec *when)
{
    if (lane->relay < 0 || !lanes->stopped[lane->relay])
        return ask(lanes, lane, now, when);
    *when = NSEC_NEVER;
    return LANE_STOPPED;
}

bool lane_may_probe(const struct lanes *lanes, const struct lane *lane, nsec now)
{
    nsec when;
    return ask(lanes, lane, now, &when) == LANE_READY;
}

bool lane_may_begin(const struct lane *lane, nsec now, nsec *when)
{
    *when = NSEC_NEVER;
    if (lane->open >= lane->allowed)
        return false;
    *when = nsec_max(throttle_ready_at(&lane->connects, now), lane->lacks_until);
    if (lane->total) {
        if (now >= lane->total->until || lane->total->open >= lane->total->connections) {
            *when = NSEC_NEVER;
            return false;
        }
        *when = nsec_max(*when, throttle_ready_at(&lane->total->connects, now));
    }
    return *when <= now;
}

bool lane_may_open(const struct lanes *lanes, const struct lane *lane, nsec now, nsec *when)
{
    enum lane_why why = lane_ask(lanes, lane, now, when);
    if (is_held(lane, now)) {
        *when = lane->held_until;
        return false;
    }
    if ((why == LANE_RATE || why == LANE_TOTAL) && *when != NSEC_NEVER && *when - now > open_ahead) {
        *when -= open_ahead;
        return false;
    }
    bool soon = why == LANE_READY || why == LANE_RATE || (why == LANE_TOTAL && *when != NSEC_NEVER);
    return soon && lane_may_begin(lane, now, when);
}

unsigned lane_sessions_ahead(const struct lane *lane)
{
    if (lane->failures)
        return lane->connecting ? 0 : 1;
    if (!lane->throttle.interval_ns)
        return lane->allowed;
    nsec starts = nsec_max(NSEC_PER_S / lane->throttle.interval_ns, lane->open - lane->connecting);
    return starts < 1 ? 1 : starts < lane->allowed ? (unsigned)starts : lane->allowed;
}

void lane_start(struct lane *lane, nsec now)
{
    throttle_take(&lane->throttle, now);
    if (lane->total)
        throttle_take(&lane->total->starts, now);
    lane->started++;
}

uint64_t lane_pace(const struct lane *lane, nsec now)
{
    nsec passed = nsec_max(now - lane->pace.before, pace_window);
    uint64_t starts = (uint64_t)lane->pace.count + lane->pace.earlier;
    return starts * 3600 * 1000 / (uint64_t)(passed / NSEC_PER_MS);
}

void lane_opened(struct lane *lane, nsec now)
{
    sluice_assert(lane->open < lane->connections);
    throttle_take(&lane->connects, now);
    if (lane->total) {
        sluice_assert(lane->total->open < lane->total->connections);
        throttle_take(&lane->total->connects, now);
        lane->total->open++;
    }
    lane->open++;
    lane->connecting++;
}

void lane_ready(struct lane *lane)
{
    sluice_assert(lane->connecting > 0);
    lane->connecting--;
}

void lane_worked(struct lane *lane)
{
    if (++lane->working > lane->let_in)
        lane->failures = lane->let_in = 0;
}

void lane_closed(struct lane *lane, bool was_ready, bool worked)
{
    sluice_assert(lane->open > 0);
    lane->open--;
    if (lane->total)
        lane->total->open--;
    lane->working -= worked;
    if (!was_ready)
        lane->connecting--;
}

nsec lane_turned_away(struct lane *lane, nsec now)
{
    if (lane->held_until > now)
        return lane->held_until; /* several sessions failed together: that is one failure */
    unsigned step = lane->failures < HOLD_STEPS ? lane->failures : HOLD_STEPS;
    lane->failures++;
    lane->let_in = lane->working;
    nsec until = now + (NSEC_PER_S << step); /* 1 s doubling to 512 s */
    lane->held_until = nsec_max(lane->held_until, until);
    return lane->held_until;
}

nsec lane_slow_down(struct lane *lane, enum lane_why why, nsec now)
{
    static const struct {
        nsec first, most;
    } waits[LANE_WHY_COUNT] = {
        [LANE_SLOW] = {NSEC_PER_S, 600 * NSEC_PER_S}, [LANE_QUOTA] = {600 * NSEC_PER_S, 3600 * NSEC_PER_S}};
    sluice_assert(waits[why].first);
    if (lane->slow_until > now && (lane->slow_why == why || why == LANE_SLOW))
        return lane->slow_until; /* messages that were on their way together are told together */
    bool again = lane->slow_why == why && now - lane->slow_until < lane->slow_for;
    lane->slow_for = again ? nsec_min(2 * lane->slow_for, waits[why].most) : waits[why].first;
    lane->slow_why = why;
    lane->slow_until = now + lane->slow_for;
    return lane->slow_until;
}

const char *lane_why_text(enum lane_why why)
{
    static const char *const texts[LANE_WHY_COUNT] = {
        [LANE_BROKEN] = "broken",
        [LANE_READY] = "ready",
        [LANE_IDLE] = "nothing waits",
        [LANE_SOURCE] = "the source works on another engine",
        [LANE_ABSENT] = "the source's address is not on this machine",
        [LANE_CONNECTIONS] = "all connections are busy",
        [LANE_RATE] = "rate",
        [LANE_HELD] = "sessions were turned away",
        [LANE_SLOW] = "the relay said that this is too fast",
        [LANE_QUOTA] = "the relay said that its quota is used up",
        [LANE_STOPPED] = "the relay refuses our credentials",
        [LANE_PAUSED] = "paused by hand",
        [LANE_BACKOFF] = "the provider's replies ask for silence",
        [LANE_WARMUP] = "the warm-up has nothing left for now",
        [LANE_TOTAL] = "all sources together are at their limit",
        [LANE_RELOAD] = "new limits are being taken over",
    };
    return texts[why];
}

const char *lane_why_key(enum lane_why why)
{
    static const char *const keys[LANE_WHY_COUNT] = {
        [LANE_BROKEN] = "broken",
        [LANE_READY] = "going",
        [LANE_IDLE] = "idle",
        [LANE_SOURCE] = "source",
        [LANE_ABSENT] = "absent",
        [LANE_CONNECTIONS] = "connections",
        [LANE_RATE] = "rate",
        [LANE_HELD] = "turned-away",
        [LANE_SLOW] = "relay-slow",
        [LANE_QUOTA] = "relay-quota",
        [LANE_STOPPED] = "relay-stopped",
        [LANE_PAUSED] = "paused",
        [LANE_BACKOFF] = "backoff",
        [LANE_WARMUP] = "warmup",
        [LANE_TOTAL] = "total",
        [LANE_RELOAD] = "reload",
    };
    return keys[why];
}
