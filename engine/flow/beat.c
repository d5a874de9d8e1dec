/* An engine works while its heart beats, and with the sources that it holds: shard 0 keeps both alive in Redis, and
 * tells all shards until when. */
#include "flow/shard.h"

#include <stdio.h>

static const nsec life = 10 * NSEC_PER_S, beat = 2 * NSEC_PER_S;

void shard_post_all(struct shard *shard, enum shard_post kind, const void *bytes, size_t n)
{
    for (unsigned i = 0; i < shard->shards; i++)
        (void)shard_post(shard, i, kind, bytes, n); /* looks, grants and holds are repeated every second or two */
}

struct held_post { /* without padding: what is posted has no bytes that nobody wrote */
    nsec until;
    uint64_t index;
};

/* Ours for a while; or, with `until` 0, another engine's, and what waited for it is placed anew. */
static void hold_source(struct shard *shard, const struct held_post *held)
{
    if (held->index >= shard->config->source_count || shard->config->sources[held->index].removed)
        return; /* of a configuration that this shard has not taken yet, or has taken already */
    nsec before = shard->lanes.held_until[held->index];
    shard->lanes.held_until[held->index] = held->until;
    if (held->until && before <= io_now(shard->io)) {
        adapt_source_ours(shard, (unsigned)held->index); /* another engine may have learned what we do not know */
        budget_source(&shard->budget, (unsigned)held->index, true);
        carry_mark_all(shard);
    }
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

/* ---- shard 0 ---- */

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
    nsec until = shard->heartbeat_asked + life / 2;
    shard_post_all(shard, SHARD_POST_ALIVE, &until, sizeof until);
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
    bool ours = answer->result == STORE_OK && answer->number == 1;
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
        store_heartbeat(shard->store, &shard->heartbeat, life);
    }
    for (unsigned i = 0; i < shard->config->source_count; i++) {
        struct shard_source *source = &shard->sources[i];
        if (store_request_busy(&source->request) || shard_let_go_of_source(shard, i))
            continue;
        source->asked_at = now;
        store_source_hold(shard->store, &source->request, slice_of(shard->config->sources[i].name), life);
    }
}

/* The farewell. */
void beat_end(struct shard *shard)
{
    for (unsigned i = 0; i < shard->config->source_count; i++) {
        shard->leaving++;
        if (!store_request_busy(&shard->sources[i].request))
            store_source_release(shard->store, &shard->sources[i].request, slice_of(shard->config->sources[i].name));
    }
    shard->leaving++;
    if (!store_request_busy(&shard->heartbeat))
        store_heartbeat_end(shard->store, &shard->heartbeat);
}

bool beat_open(struct shard *shard)
{
    shard->heartbeat.done = on_heartbeat;
    shard->sources =
        arena_take(&shard->arena, CONFIG_SOURCES_MAX * sizeof *shard->sources, sizeof(struct io_address *));
    for (unsigned i = 0; shard->sources && i < CONFIG_SOURCES_MAX; i++) {
        shard->sources[i].request.done = on_source;
        shard->sources[i].shard = shard;
    }
    return shard->sources != NULL;
}
