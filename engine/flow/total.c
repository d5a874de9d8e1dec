/* An ISP that counts what comes from all our addresses is counted for here, once for all of them. */
#include "flow/total.h"

#include "flow/shard.h"

enum { TOTALS = CONFIG_ISPS_MAX + CONFIG_RELAYS_MAX, PARTS_MOST = 720720 };

static const nsec ask_every = 2 * NSEC_PER_S, look_every = 100 * NSEC_PER_MS;
/* Our clock and Redis' may differ so much in speed over a share's life. */
static const nsec guard = NSEC_PER_S;

bool totals_open(struct shard *shard)
{
    shard->totals.all = arena_take(&shard->arena, TOTALS * sizeof *shard->totals.all, sizeof(void *));
    return shard->totals.all;
}

/* ---- shares ---- */

unsigned total_parts(const struct config_total *limits)
{
    unsigned parts = PARTS_MOST;
    if (limits->connections && limits->connections < parts)
        parts = limits->connections;
    if (limits->rate && limits->burst < parts)
        parts = limits->burst;
    return limits->connection_rate ? 1 : parts;
}

unsigned total_needs(const struct config_total *limits, unsigned parts, unsigned connections)
{
    if (!limits->connections || !connections)
        return 0;
    uint64_t n = ((uint64_t)connections * parts + limits->connections - 1) / limits->connections;
    return n < parts ? (unsigned)n : parts;
}

struct share {
    nsec interval_ns, connect_interval_ns;
    uint32_t burst;
    unsigned connections;
};

static struct share share_of(const struct total *t)
{
    const struct config_total *l = &t->limits;
    struct share s = {.burst = 1, .connections = 0};
    if (!t->held)
        return s;
    if (l->rate) {
        s.interval_ns = throttle_part_interval(throttle_interval(l->rate, l->rate_per), t->held, t->parts);
        s.burst = (uint32_t)((uint64_t)l->burst * t->held / t->parts);
    }
    if (l->connection_rate)
        s.connect_interval_ns =
            throttle_part_interval(throttle_interval(l->connection_rate, l->connection_rate_per), t->held, t->parts);
    s.connections = l->connections ? (unsigned)((uint64_t)l->connections * t->held / t->parts) : UINT32_MAX;
    return s;
}

/* One that was not had until now begins empty: another engine may have spent it a moment ago. */
static void take(struct total *t, unsigned held, bool had, nsec now)
{
    t->held = held;
    struct share s = share_of(t);
    t->lane.connections = s.connections;
    if (!held)
        return;
    if (had) {
        throttle_reshare(&t->lane.starts, s.interval_ns, s.burst, now);
        throttle_reshare(&t->lane.connects, s.connect_interval_ns, 1, now);
    } else {
        throttle_init(&t->lane.starts, s.interval_ns, s.burst, now);
        throttle_init(&t->lane.connects, s.connect_interval_ns, 1, now);
    }
}

static void on_share(struct store_request *request, const struct store_answer *answer)
{
    struct total *t = container_of(request, struct total, request);
    struct shard *shard = t->shard;
    nsec now = io_now(shard->io), until = t->asked_at + TOTAL_LIFE - guard;
    if (answer->result != STORE_OK || answer->number < 0 || answer->number > t->parts)
        return; /* what we have runs out by itself */
    bool had = t->held && now < t->lane.until;
    bool more = !had || (unsigned)answer->number > t->held;
    take(t, until > now ? (unsigned)answer->number : 0, had, now);
    t->lane.until = until;
    if (more)
        carry_mark_all(shard);
}

static bool is_wanted(const struct shard *shard, const struct total *t)
{
    for (const struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next)
        for (unsigned i = 0; i < backlog->lane_count; i++)
            if (backlog->lanes[i]->total == &t->lane && (lane_waited_for(backlog->lanes[i]) || backlog->lanes[i]->open))
                return true;
    return false;
}

static void ask(struct shard *shard, struct total *t, nsec now)
{
    bool wants = t->parts && shard->phase == SHARD_RUNNING && is_wanted(shard, t);
    t->ask_at = now + look_every;
    if (now >= t->lane.until)
        t->held = 0;
    if (!wants && !t->held && !t->lane.until)
        return;
    unsigned parts = t->parts ? t->parts : 1;
    unsigned needs = total_needs(&t->limits, parts, t->lane.open), uses = t->held > needs ? t->held : needs;
    t->ask_at = now + ask_every;
    t->asked_at = now;
    if (!wants && !t->held)
        t->lane.until = 0; /* given back */
    store_total(shard->store, &t->request, slice_of(t->isp), parts, uses, wants, TOTAL_LIFE);
}

nsec totals_turn(struct shard *shard, nsec now)
{
    nsec next = NSEC_NEVER;
    for (unsigned i = 0; i < shard->totals.count; i++) {
        struct total *t = &shard->totals.all[i];
        if (now >= t->ask_at && !store_request_busy(&t->request))
            ask(shard, t, now);
        next = nsec_min(next, nsec_max(t->ask_at, now + look_every));
    }
    return next;
}

/* ---- which there are ---- */

static struct total *find(struct shard *shard, struct slice isp)
{
    for (unsigned i = 0; i < shard->totals.count; i++)
        if (slice_equal(slice_of(shard->totals.all[i].isp), isp))
            return &shard->totals.all[i];
    return NULL;
}

struct lane_total *totals_of(void *context, const struct config *config, struct slice isp)
{
    struct shard *shard = context;
    const struct config_total *limits = config_total_of(config, isp);
    if (!limits)
        return NULL;
    struct total *t = find(shard, isp);
    if (!t) {
        sluice_assert(shard->totals.count < TOTALS); /* each has a name of the configuration, which are not more */
        t = &shard->totals.all[shard->totals.count++];
        t->shard = shard;
        t->request.done = on_share;
        slice_copy(t->isp, sizeof t->isp, isp);
    }
    if (!t->parts) {
        t->limits = *limits;
        t->parts = total_parts(limits);
        t->ask_at = 0;
    }
    return &t->lane;
}

/* What was held stays the same part of the whole, rounded down; what is owed stays owed. */
void totals_reload(struct shard *shard, const struct config *config)
{
    static const struct config_total none;
    nsec now = io_now(shard->io);
    for (unsigned i = 0; i < shard->totals.count; i++) {
        struct total *t = &shard->totals.all[i];
        const struct config_total *limits = config_total_of(config, slice_of(t->isp));
        bool had = t->held && now < t->lane.until;
        unsigned parts = limits ? total_parts(limits) : 0;
        t->held = had && t->parts ? (unsigned)((uint64_t)t->held * parts / t->parts) : 0;
        t->parts = parts;
        t->limits = limits ? *limits : none;
        struct share s = share_of(t);
        t->lane.connections = s.connections;
        if (t->held) {
            throttle_change(&t->lane.starts, s.interval_ns, s.burst, now);
            throttle_change(&t->lane.connects, s.connect_interval_ns, 1, now);
        }
        t->ask_at = 0;
    }
}
