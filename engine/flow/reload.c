/* A configuration takes another's place in a shard that runs: between two turns and in one piece; and then the shards
 * wait for each other where one is to have what another had. */
#include "flow/shard.h"

#include <stdio.h>

static const nsec tell_every = NSEC_PER_S, look_every = 10 * NSEC_PER_MS;

/* They end after the message they are at: the lane or the hosts are not theirs any more. */
static void part_from_sessions(struct shard *shard)
{
    for (struct session *session = shard->sessions, *next; session; session = next) {
        next = session->next;
        if (session->site->stale || !((struct lane *)session->owner)->connections)
            carry_send_away(shard, session);
    }
}

static void place_anew(struct shard *shard, struct attempt *attempt)
{
    while (attempt) {
        struct attempt *next = attempt->next;
        attempt->next = NULL;
        if (!carry_stopped(shard, attempt))
            carry_place_anew(shard, attempt, false);
        attempt = next;
    }
}

static void said(struct store_request *request, const struct store_answer *answer)
{
    (void)request;
    (void)answer; /* the log has it too */
}

/* Whoever wonders later why it went otherwise from then on finds when that was. */
static void say(struct shard *shard)
{
    char generation[24];
    snprintf(generation, sizeof generation, "%llu", (unsigned long long)shard->config->generation);
    const struct slice fields[] = {SLICE("reload"), slice_of(generation), SLICE("engine"),
                                   slice_of(shard->config->engine)};
    metrics_set(shard->metrics, METRIC_CONFIG_GENERATION, shard->config->generation);
    if (store_request_busy(&shard->reload.ops))
        return;
    shard->reload.ops.done = said;
    store_ops(shard->store, &shard->reload.ops, fields, countof(fields));
}

void shard_reload(struct shard *shard, const struct config *config, struct relays *relays)
{
    const struct config *before = shard->config;
    struct attempt *waiting = lanes_take_of(&shard->lanes, NULL);
    shard->config = config_hold(config);
    shard->relays = relays;
    shard->log.level = config->log_level;
    shard->intake.config = config;
    shard->rules.rules = config->rules;
    suppress_reload(&shard->suppress, config);
    relay_reload(&shard->relay_table, config);
    sites_reload(&shard->route.sites, config);
    for (unsigned i = 0; i < config->source_count; i++)
        if (config->sources[i].removed)
            shard->lanes.held_until[i] = 0;
    budget_reload(&shard->budget, config);
    totals_reload(shard, config);
    lanes_reload(&shard->lanes, config, io_now(shard->io));
    for (struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next)
        for (unsigned i = 0; i < backlog->lane_count; i++)
            budget_lane_made(&shard->budget, backlog->lanes[i]);
    part_from_sessions(shard);
    place_anew(shard, waiting);
    adapt_reconfigure(shard);
    carry_mark_all(shard);
    if (shard->index == 0)
        say(shard);
    shard->reload.told_at = shard->reload.looked_at = 0;
    shard->beat_at = 0; /* new sources are asked for now */
    config_release(before);
}

/* ---- letting go ---- */

static bool has_stale(const struct shard *shard)
{
    for (const struct session *session = shard->sessions; session; session = session->next)
        if (session->site->stale)
            return true;
    return false;
}

static bool all_have_let_go(const struct shard *shard)
{
    for (unsigned i = 0; i < shard->shards; i++)
        if (shard->reload.let_go[i] < shard->config->generation)
            return false;
    return true;
}

nsec shard_settle(struct shard *shard, nsec now)
{
    uint64_t generation = shard->config->generation, *own = &shard->reload.let_go[shard->index];
    if (!generation)
        return NSEC_NEVER;
    if (*own < generation && now - shard->reload.looked_at >= look_every) {
        shard->reload.looked_at = now;
        if (lanes_let_go(&shard->lanes) && !has_stale(shard)) {
            *own = generation;
            shard->reload.told_at = 0;
        }
    }
    if (!shard->reload.told_at || now - shard->reload.told_at >= tell_every) { /* again and again: a post may be lost */
        shard->reload.told_at = now;
        for (unsigned i = 0; i < shard->shards; i++)
            if (i != shard->index)
                (void)shard_post(shard, i, SHARD_POST_LET_GO, own, sizeof *own);
    }
    if (shard->lanes.settling && all_have_let_go(shard)) {
        lanes_settle(&shard->lanes, now);
        carry_mark_all(shard);
    }
    return *own < generation ? now + look_every : NSEC_NEVER;
}

bool shard_let_go_of_source(struct shard *shard, unsigned index)
{
    struct shard_source *source = &shard->sources[index];
    if (!shard->config->sources[index].removed) {
        source->released = false;
        return false;
    }
    if (shard->lanes.settling)
        return false; /* messages are under way from it: it stays ours until they have ended */
    if (!source->released)
        store_source_release(shard->store, &source->request, slice_of(shard->config->sources[index].name));
    source->released = true;
    return true;
}
