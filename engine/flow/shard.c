/* The life of a shard: it starts empty, turns, keeps its engine's heart beating, and leaves owing nothing that Redis
 * does not know of. */
#include "flow/shard.h"

#include "control/rules.h"

#include <stdio.h>
#include <stdlib.h>

static const nsec board_every = NSEC_PER_S, patience = 2 * NSEC_PER_S;
enum { sessions_kept = 2048 }; /* of TLS, for resumption: as many mail exchangers as are hot at once */

/* ---- posts ---- */

bool shard_post(struct shard *shard, unsigned to, enum shard_post kind, const void *bytes, size_t n)
{
    struct io_post post = {.kind = kind, .size = (uint32_t)n};
    if (n)
        memcpy(post.bytes, bytes, n);
    if (io_post(shard->io, to, &post))
        return true;
    metrics_add(shard->metrics, METRIC_POSTS_DROPPED, 1);
    return false;
}

static void on_post(void *context, unsigned from, const struct io_post *post)
{
    struct shard *shard = context;
    metrics_add(shard->metrics, METRIC_POSTS_RECEIVED, 1);
    switch (post->kind) {
    case SHARD_POST_LOOK:
        intake_wake(&shard->intake, (struct slice){post->bytes, post->size});
        if (!post->size)
            budget_wake(&shard->budget);
        break;
    case SHARD_POST_ALIVE:
        memcpy(&shard->alive_until, post->bytes, sizeof shard->alive_until);
        break;
    case SHARD_POST_SOURCE:
        beat_told(shard, post->bytes);
        break;
    case SHARD_POST_LET_GO:
        memcpy(&shard->reload.let_go[from], post->bytes, sizeof shard->reload.let_go[from]);
        break;
    case SHARD_POST_PARTED:
        beat_parted(shard, post->bytes);
        break;
    case SHARD_POST_GONE:
        shard->gone++;
        break;
    case SHARD_POST_CONTROL:
        hand_wake(shard);
        budget_wake(&shard->budget);
        break;
    default:
        sluice_assert(post->kind >= SHARD_POST_ADAPT && post->kind <= SHARD_POST_ADAPT_LAST);
        adapt_post(shard, post->kind, post->bytes, post->size);
    }
}

/* ---- shard 0 ---- */

static void on_wake(void *context, struct slice campaign)
{
    struct shard *shard = context;
    if (store_control_woken(campaign)) {
        shard_post_all(shard, SHARD_POST_CONTROL, NULL, 0);
        return;
    }
    if (campaign.n > LIMIT_CAMPAIGN_ID)
        campaign.n = 0;
    shard_post_all(shard, SHARD_POST_LOOK, campaign.p, campaign.n);
}

/* ---- callbacks of the parts ---- */

static void on_admit(void *context, struct attempt *attempt) { carry_admit(context, attempt); }

static void on_settle(void *context, struct attempt *attempt, const struct outcome *outcome)
{
    carry_settle(context, attempt, outcome);
}

static unsigned on_room(void *context, const struct campaign *campaign, struct slice list)
{
    return carry_room(context, campaign, list);
}

static unsigned on_carried(void *context)
{
    const struct shard *shard = context;
    return shard->carried;
}

static bool on_serves(void *context, struct campaign *campaign)
{
    struct shard *shard = context;
    if (hand_campaign(shard, campaign))
        return false;
    const struct config_pool *pool = &shard->config->pools[campaign->pool];
    nsec now = io_now(shard->io);
    for (unsigned i = 0; i < pool->source_count; i++)
        if (shard->lanes.held_until[pool->sources[i]] > now)
            return true;
    return false;
}

static void on_stopped(void *context, struct campaign *campaign) { carry_stop(context, campaign); }

static void on_looked(void *context, struct campaign *campaign) { carry_say_phase(context, campaign); }

static void on_decided(void *context, struct attempt *attempt)
{
    (void)context;
    if (attempt->session)
        session_permit(attempt->session, attempt);
}

static void on_unpinned(void *context, struct attempt *attempt)
{
    struct shard *shard = context;
    intake_ended(&shard->intake, attempt);
}

static void on_answered(void *context, struct lease *lease, enum store_state state)
{
    struct shard *shard = context;
    lease->unanswered++; /* keeps it while its campaign hears of it: a campaign that stops may end the last of it */
    intake_state(&shard->intake, lease->campaign, state);
    lease->unanswered--;
    intake_answered(&shard->intake, lease);
}

/* ---- turns ---- */

/* Each turn: a connection may be gone and back within milliseconds. */
static void notice_redis(struct shard *shard)
{
    bool there = store_connected(shard->store);
    if (shard->redis_there && !there) {
        metrics_add(shard->metrics, METRIC_REDIS_LOST, 1);
        shard->redis_left = true;
        if (!shard->redis_trouble.count)
            slice_copy(shard->redis_said, sizeof shard->redis_said, slice_of(store_trouble(shard->store)));
    }
    shard->redis_there = there;
}

/* Once a second what is wrong by then, which tells more than how it began. How it fails changes while it comes back, so
 * that is said once. */
static void watch_redis(struct shard *shard, nsec now)
{
    if (now - shard->opened_at < patience)
        return; /* it is only just being connected to */
    if (!shard->redis_there && !shard->redis_trouble.count)
        slice_copy(shard->redis_said, sizeof shard->redis_said, slice_of(store_trouble(shard->store)));
    if (!shard->redis_there || shard->redis_left)
        log_trouble(&shard->log, &shard->redis_trouble, now, 0, "redis is away, sending stops", shard->redis_said);
    if (shard->redis_there)
        log_trouble_over(&shard->log, &shard->redis_trouble, now, "redis is back, sending goes on");
    shard->redis_left = false;
}

static void leave(struct shard *shard, nsec now)
{
    if (shard->index != 0) {
        if (shard_post(shard, 0, SHARD_POST_GONE, NULL, 0) || now >= shard->finish_by + 10 * NSEC_PER_S)
            shard->phase = SHARD_GONE;
        return;
    }
    shard->phase = SHARD_LEAVING;
    beat_end(shard);
}

/* What is left of the way out, each step only when the one before has been done. */
static void finish(struct shard *shard, nsec now)
{
    if (shard->phase == SHARD_FINISHING) {
        carry_finish(shard, now >= shard->finish_by);
        beat_part(shard);
        if (shard->sessions)
            return;
        shard->phase = SHARD_RETURNING;
        budget_finish(&shard->budget);
    }
    if (shard->phase == SHARD_RETURNING) {
        events_flush(&shard->events);
        ledger_flush(&shard->ledger);
        intake_drain(&shard->intake);
        bool owed = intake_owes(&shard->intake) || budget_owes(&shard->budget);
        if (owed && now < shard->finish_by + 5 * NSEC_PER_S)
            return;
        if (shard->index == 0 && shard->gone + 1 < shard->shards && now < shard->finish_by + 10 * NSEC_PER_S)
            return;
        leave(shard, now);
    }
    if (shard->phase == SHARD_LEAVING && (!shard->leaving || now >= shard->finish_by + 10 * NSEC_PER_S))
        shard->phase = SHARD_GONE;
}

void shard_finish(struct shard *shard, nsec by)
{
    shard->finish_by = shard->phase == SHARD_RUNNING ? by : nsec_min(by, shard->finish_by);
    if (shard->phase == SHARD_RUNNING)
        shard->phase = SHARD_FINISHING;
    press_discard(&shard->press);
}

void shard_rekey(struct shard *shard, struct sign_keys *keys)
{
    press_rekey(&shard->press, keys);
    if (shard->index == 0)
        published_rekey(&shard->published, keys);
}

nsec shard_turn(struct shard *shard, nsec until)
{
    io_turn(shard->io, until);
    nsec now = io_now(shard->io);
    metrics_add(shard->metrics, METRIC_TURNS, 1);
    nsec next = nsec_min(now + board_every, beat_watch(shard, now));
    if (shard->phase == SHARD_RUNNING)
        next = nsec_min(next, intake_turn(&shard->intake, now < shard->alive_until && events_has_room(&shard->events) &&
                                                              suppress_has_room(&shard->suppress)));
    else
        finish(shard, now);
    if (shard->index == 0 && shard->phase < SHARD_LEAVING) {
        if (now >= shard->beat_at)
            beat_keep(shard, now);
        next = nsec_min(next, shard->beat_at);
    }
    if (shard->phase == SHARD_RUNNING)
        next = nsec_min(next, hand_turn(shard, now));
    next = nsec_min(next, shard_settle(shard, now));
    next = nsec_min(next, totals_turn(shard, now));
    carry_pump(shard);
    notice_redis(shard);
    if (now >= shard->board_at) {
        shard->board_at = now + board_every;
        carry_publish(shard);
        adapt_turn(shard);
        carry_shed(shard);
        carry_probe_relays(shard);
        carry_warm_tick(shard);
        press_sweep(&shard->press, io_wall(shard->io));
        lanes_forget(&shard->lanes, now);
        lack_tick(shard);
        watch_redis(shard, now);
        if (shard->index == 0)
            promise_tick(&shard->promised);
        published_tick(&shard->published, now);
        metrics_set(shard->metrics, METRIC_DKIM_WRONG, shard->published.wrong);
    }
    suppress_flush(&shard->suppress);
    events_flush(&shard->events);
    ledger_flush(&shard->ledger);
    store_flush(shard->store);
    if (shard->phase != SHARD_RUNNING || (shard->marked && shard->could_start) || shard->ledger.dirty)
        next = nsec_min(next, now + NSEC_PER_MS);
    nsec took = io_now(shard->io) - now;
    shard->busy += took;
    metrics_observe(shard->metrics, METRICS_TURN, took);
    return next;
}

/* ---- start and end ---- */

static void on_lane_made(void *context, struct lane *lane)
{
    hand_lane_made(context, lane);
    adapt_lane_made(context, lane);
    budget_lane_made(&((struct shard *)context)->budget, lane);
}

static bool open_parts(struct shard *shard, const struct shard_config *config)
{
    static const struct ledger_events ledger_events = {
        .decided = on_decided, .unpinned = on_unpinned, .answered = on_answered};
    static const struct intake_events intake_events = {.admit = on_admit,
                                                       .settle = on_settle,
                                                       .room = on_room,
                                                       .carried = on_carried,
                                                       .serves = on_serves,
                                                       .stopped = on_stopped,
                                                       .looked = on_looked};
    struct arena *arena = &shard->arena;
    struct intake_config intake = {.io = shard->io,
                                   .store = shard->store,
                                   .config = shard->config,
                                   .metrics = shard->metrics,
                                   .neighbours = &shard->neighbours,
                                   .shard = shard->index,
                                   .incarnation = config->incarnation};
    if (!intake_open(&shard->intake, arena, &intake, &intake_events, shard) || !carry_open_route(shard) ||
        !relay_open(&shard->relay_table, arena, shard->config) || !security_open(&shard->security, arena) ||
        !lanes_open(&shard->lanes, arena, shard->config, shard->index, shard->shards, INTAKE_ATTEMPTS) ||
        !ledger_open(&shard->ledger, arena, shard->store, &ledger_events, shard) ||
        !events_open(&shard->events, arena, shard->store, intake_attempts_max(shard->config), on_answered, shard) ||
        !carry_open_list(shard) || !press_open(&shard->press, arena, shard->config->press_bytes, config->keys) ||
        !pool_open(&shard->session_pool, arena, sizeof(struct session), shard->config->sessions_max))
        return false;
    if (!rules_reader_open(&shard->rules, shard->config->rules) || !hand_open(shard) || !adapt_open(shard) ||
        !carry_open_budget(shard))
        return false;
    promise_open(&shard->promised, shard->store, &shard->log);
    shard->lanes.made = on_lane_made;
    shard->lanes.made_context = shard;
    signer_log(shard->press.signer, &shard->log);
    if (shard->index == 0 && config->keys &&
        !published_open(&shard->published, shard->resolver, &shard->log, config->keys))
        return false;
    shard->crowd.sessions = &shard->session_pool;
    if (!lack_open(shard))
        return false;
    shard->reload.let_go = arena_take(arena, shard->shards * sizeof *shard->reload.let_go, sizeof(uint64_t));
    shard->lanes.total_of = totals_of;
    shard->lanes.total_context = shard;
    return shard->reload.let_go && totals_open(shard) && beat_open(shard);
}

/* Redis is back without what no one can do again: from an old copy, or empty. */
static void on_lost(void *context, struct slice campaign)
{
    struct shard *shard = context;
    log_error(&shard->log, "Redis has lost a campaign: what was leased of it counts as in doubt",
              log_slice("campaign", campaign));
}

/* Longer than it takes any engine to come back to a Redis that was restarted: it tries every five seconds. */
static const nsec settle = 10 * NSEC_PER_S;

static bool open_connections(struct shard *shard, const struct shard_config *config, char *error, size_t error_cap)
{
    struct resolver_config resolver = {.servers = shard->config->resolver,
                                       .timeout = shard->config->resolver_timeout,
                                       .tries = shard->config->resolver_tries,
                                       .queries_max = 1000};
    shard->resolver = resolver_open(shard->io, &resolver, error, error_cap);
    if (!shard->resolver)
        return false;
    shard->sts = config->sts;
    shard->sts_desk = config->sts ? sts_desk_open(config->sts, shard->io) : NULL;
    if (config->sts && !shard->sts_desk) {
        snprintf(error, error_cap, "no memory or descriptor for MTA-STS");
        return false;
    }
    struct store_config store = {.url = config->redis,
                                 .access = &shard->config->redis_access,
                                 .prefix = shard->config->prefix,
                                 .engine = shard->config->engine,
                                 .incarnation = config->incarnation,
                                 .keeps = shard->config->redis_keeps,
                                 .settle = settle,
                                 .alone = !shard->config->redis[0]};
    shard->store = store_open(shard->io, shard->resolver, &store, error, error_cap);
    if (!shard->store)
        return false;
    store_on_lost(shard->store, on_lost, shard);
    return true;
}

static struct tls_config tls_of(const struct shard_config *config)
{
    return (struct tls_config){.io = config->io,
                               .ca = config->config->tls_ca,
                               .connections_max = config->config->sessions_max,
                               .sessions_max = sessions_kept};
}

struct shard *shard_open(const struct shard_config *config, char *error, size_t error_cap)
{
    struct tls_config tls = tls_of(config);
    /* Address space for all that the limits allow; only what is touched is used. */
    size_t sessions =
        (size_t)config->config->sessions_max * (sizeof(struct session) + 2 * sizeof(struct attempt) + 4096);
    struct arena arena;
    if (!arena_open(&arena, sessions + tls_bytes(&tls) + 2 * config->config->press_bytes + ((size_t)768 << 20))) {
        snprintf(error, error_cap, "no address space for a shard; see RLIMIT_AS (ulimit -v)");
        return NULL;
    }
    struct shard *shard = arena_take(&arena, sizeof *shard, 64);
    shard->arena = arena;
    shard->io = config->io;
    shard->config = config_hold(config->config);
    shard->metrics = config->metrics;
    shard->relays = config->relays;
    shard->index = config->index;
    shard->shards = config->shards;
    shard->previous = config->previous;
    shard->sessions_most = config->sessions_most ? config->sessions_most : config->config->sessions_max;
    shard->phase = SHARD_RUNNING;
    shard->opened_at = io_now(shard->io);
    if (config->log) {
        char who[LOG_WHO];
        snprintf(who, sizeof who, "shard=%u", config->index);
        log_part(&shard->log, config->log, who);
    }
    shard->tls = tls_open(&shard->arena, &tls);
    sluice_assert(shard->tls); /* the arena has its bytes */
    bool opened = open_connections(shard, config, error, error_cap);
    if (opened && !open_parts(shard, config)) {
        snprintf(error, error_cap, "the shard's memory does not suffice for its limits");
        opened = false;
    }
    if (!opened) {
        shard_close(shard, io_close_all);
        return NULL;
    }
    io_on_post(shard->io, on_post, shard);
    if (shard->index == 0)
        store_on_wake(shard->store, on_wake, shard);
    return shard;
}

void shard_close(struct shard *shard, void (*end)(struct io *io))
{
    if (shard->resolver)
        resolver_close(shard->resolver);
    end(shard->io);
    if (shard->sts_desk)
        sts_desk_close(shard->sts_desk);
    tls_close(shard->tls); /* while the streams are still there that it holds on to */
    if (shard->store)      /* its operations were the io's until now */
        store_close(shard->store);
    intake_drop(&shard->intake); /* bodies in flight had been borrowed from it */
    press_close(&shard->press);
    published_close(&shard->published);
    relay_close(&shard->relay_table);
    rules_reader_close(&shard->rules);
    for (struct session *session = shard->sessions; session; session = session->next)
        config_release(session->config);
    config_release(shard->config);
    struct arena arena = shard->arena;
    arena_drop(&arena);
}
