/* An engine works while its heart beats, and with the sources that it holds: shard 0 keeps both alive in Redis, and
 * tells all shards until when. */
#include "flow/lease.h"
#include "flow/shard.h"

#include <stdio.h>

static const nsec life = 10 * NSEC_PER_S, beat = 2 * NSEC_PER_S;
/* Starts are granted for half a life. What is open goes on for so much longer, and has ended well before anybody else
 * can be granted the same. */
static const nsec beyond = 3 * NSEC_PER_S;

void shard_post_all(struct shard *shard, enum shard_post kind, const void *bytes, size_t n)
{
    for (unsigned i = 0; i < shard->shards; i++)
        (void)shard_post(shard, i, kind, bytes, n); /* looks, grants and holds are repeated every second or two */
}

struct held_post { /* without padding: what is posted has no bytes that nobody wrote */
    nsec until;
    uint64_t index;
};

/* ---- what must not go on ---- */

static void end_bereft(struct session *session)
{
    session->bereft = true;
    session_abort(session, HAPPENING_LOCAL);
}

/* Nobody can say whether the messages that are out were taken; all others are as they were. */
static void let_go_of(struct shard *shard, unsigned source)
{
    for (struct session *session = shard->sessions, *next; session; session = next) {
        next = session->next;
        if (((const struct lane *)session->owner)->source == source)
            end_bereft(session);
    }
}

static bool has_lapsed(nsec until, nsec now) { return until && now >= until + beyond; }

bool beat_may_leave(const struct shard *shard, const struct session *session)
{
    const struct lane *lane = session->owner;
    nsec now = io_now(shard->io), held = shard->lanes.held_until[lane->source];
    bool ours = held ? !has_lapsed(held, now) : shard->config->sources[lane->source].removed; /* then it is let go last */
    return ours && !has_lapsed(shard->alive_until, now);
}

/* A process that was stopped, or a host that slept, finds itself here in its first turn: before anything else can be
 * granted to it, all that it had begun ends. */
nsec beat_watch(struct shard *shard, nsec now)
{
    bool lapsed = has_lapsed(shard->alive_until, now);
    for (struct session *session = shard->sessions, *next; lapsed && session; session = next) {
        next = session->next;
        end_bereft(session);
    }
    if (shard->lapsed && !lapsed) /* our heart beats again */
        lease_check_all(&shard->intake);
    shard->lapsed = lapsed;
    if (now >= shard->lapse_at) {
        shard->lapse_at = now + NSEC_PER_S;
        for (unsigned i = 0; shard->sessions && i < shard->config->source_count; i++)
            if (has_lapsed(shard->lanes.held_until[i], now))
                let_go_of(shard, i);
    }
    return neighbours_turn(&shard->neighbours, now, store_connected(shard->store) && now < shard->alive_until);
}

/* ---- what shard 0 says ---- */

/* Ours for a while; or, with `until` 0, another engine's, and what waited for it is placed anew. */
static void hold_source(struct shard *shard, const struct held_post *held)
{
    if (held->index >= shard->config->source_count || shard->config->sources[held->index].removed)
        return; /* of a configuration that this shard has not taken yet, or has taken already */
    nsec before = shard->lanes.held_until[held->index], now = io_now(shard->io);
    shard->lanes.held_until[held->index] = held->until;
    if (held->until && before <= now) {
        lanes_begin(&shard->lanes, (unsigned)held->index, now);
        adapt_source_ours(shard, (unsigned)held->index); /* another engine may have learned what we do not know */
        budget_source(&shard->budget, (unsigned)held->index, true);
        carry_mark_all(shard);
    }
    if (!held->until)
        let_go_of(shard, (unsigned)held->index);
    if (held->until || !before)
        return;
    budget_source(&shard->budget, (unsigned)held->index, false);
    for (struct campaign *campaign = shard->intake.campaigns; campaign; campaign = campaign->next)
        carry_stop(shard, campaign);
}

void beat_told(struct shard *shard, const void *bytes)
{
    struct held_post held;
    memcpy(&held, bytes, sizeof held);
    hold_source(shard, &held);
}

/* No session is begun any more. With the last one in all shards a source is free, and whoever waits for it need not wait
 * for the sessions of the others. */
void beat_part(struct shard *shard)
{
    bool busy[CONFIG_SOURCES_MAX] = {false}, all = true;
    if (shard->parted_at == shard->session_count + 1)
        return;
    for (const struct session *session = shard->sessions; session; session = session->next)
        busy[((const struct lane *)session->owner)->source] = true;
    for (uint64_t i = 0; i < shard->config->source_count; i++)
        if (!busy[i] && !shard->parted[i])
            all &= shard->parted[i] = shard_post(shard, 0, SHARD_POST_PARTED, &i, sizeof i);
    shard->parted_at = all ? shard->session_count + 1 : 0;
}

/* ---- shard 0 ---- */

static bool has_parted(const struct shard *shard, unsigned index)
{
    return shard->sources[index].parted >= shard->shards;
}

/* Behind what was asked for it before: its request is not busy. */
static void release_source(struct shard *shard, unsigned index)
{
    struct shard_source *source = &shard->sources[index];
    if (source->released)
        return;
    source->released = true;
    store_source_release(shard->store, &source->request, slice_of(shard->config->sources[index].name));
}

void beat_parted(struct shard *shard, const void *bytes)
{
    uint64_t index;
    memcpy(&index, bytes, sizeof index);
    shard->sources[index].parted++;
    if (has_parted(shard, (unsigned)index) && !store_request_busy(&shard->sources[index].request))
        release_source(shard, (unsigned)index);
}

/* Only behind a heartbeat that was accepted: who is taken for dead has no source either. */
static void hold_sources(struct shard *shard, nsec now)
{
    for (unsigned i = 0; i < shard->config->source_count; i++) {
        struct shard_source *source = &shard->sources[i];
        if (store_request_busy(&source->request) || has_parted(shard, i) || shard_let_go_of_source(shard, i))
            continue;
        source->asked_at = now;
        store_source_hold(shard->store, &source->request, slice_of(shard->config->sources[i].name), life);
    }
}

/* For half the heartbeat's life after it was asked for, no other engine can think us dead. */
static void on_heartbeat(struct store_request *request, const struct store_answer *answer)
{
    struct shard *shard = container_of(request, struct shard, heartbeat);
    if (shard->phase == SHARD_LEAVING) {
        shard->leaving--;
        return;
    }
    if (answer->result != STORE_OK)
        return;
    nsec now = io_now(shard->io);
    if (answer->number != 1) {
        char detail[192];
        snprintf(detail, sizeof detail, "engine %s, incarnation %.*s: give each engine an id (engine = ...) of its own",
                 shard->config->engine, answer->item_count ? (int)answer->items[0].n : 1,
                 answer->item_count ? answer->items[0].p : "?");
        log_trouble(&shard->log, &shard->twin_trouble, now, 0,
                    "another engine with this id is alive, or was a moment ago: this one waits", detail);
        return;
    }
    log_trouble_over(&shard->log, &shard->twin_trouble, now, "no other engine has this id any more");
    nsec until = shard->heartbeat_asked + life / 2;
    shard_post_all(shard, SHARD_POST_ALIVE, &until, sizeof until);
    hold_sources(shard, now);
}

static void on_source(struct store_request *request, const struct store_answer *answer)
{
    struct shard_source *source = container_of(request, struct shard_source, request);
    struct shard *shard = source->shard;
    uint64_t index = (uint64_t)(source - shard->sources);
    if (shard->phase == SHARD_LEAVING) {
        shard->leaving--;
        return;
    }
    if (shard->config->sources[index].removed)
        return;
    if (has_parted(shard, (unsigned)index)) {
        release_source(shard, (unsigned)index);
        return;
    }
    if (answer->result != STORE_OK)
        return; /* nobody has said that it is another's; what was granted before lapses in its own time */
    bool ours = answer->number == 1;
    struct held_post held = {.until = ours ? source->asked_at + life / 2 : 0, .index = index};
    shard_post_all(shard, SHARD_POST_SOURCE, &held, sizeof held);
    const char *name = shard->config->sources[index].name;
    if (ours) {
        log_trouble_over(&shard->log, &source->trouble, io_now(shard->io), "source is ours now");
    } else {
        char detail[192];
        snprintf(detail, sizeof detail, "source %s is held by %.*s", name,
                 answer->item_count ? (int)answer->items[0].n : 1, answer->item_count ? answer->items[0].p : "?");
        log_trouble(&shard->log, &source->trouble, io_now(shard->io), 0, "source works on another engine", detail);
    }
}

void beat_keep(struct shard *shard, nsec now)
{
    shard->beat_at = now + beat;
    if (!store_request_busy(&shard->heartbeat)) {
        shard->heartbeat_asked = now;
        store_heartbeat(shard->store, &shard->heartbeat, shard->previous, life);
    }
}

/* The farewell. */
void beat_end(struct shard *shard)
{
    for (unsigned i = 0; i < shard->config->source_count; i++) {
        bool busy = store_request_busy(&shard->sources[i].request);
        shard->leaving += busy || !shard->sources[i].released;
        if (!busy)
            release_source(shard, i);
    }
    shard->leaving++;
    if (!store_request_busy(&shard->heartbeat))
        store_heartbeat_end(shard->store, &shard->heartbeat);
}

bool beat_open(struct shard *shard)
{
    shard->heartbeat.done = on_heartbeat;
    neighbours_open(&shard->neighbours, shard->io, shard->store, shard->index == 0 ? &shard->log : NULL, life);
    shard->sources =
        arena_take(&shard->arena, CONFIG_SOURCES_MAX * sizeof *shard->sources, sizeof(struct io_address *));
    for (unsigned i = 0; shard->sources && i < CONFIG_SOURCES_MAX; i++) {
        shard->sources[i].request.done = on_source;
        shard->sources[i].shard = shard;
    }
    shard->parted = arena_take(&shard->arena, CONFIG_SOURCES_MAX * sizeof *shard->parted, 1);
    return shard->sources && shard->parted;
}
