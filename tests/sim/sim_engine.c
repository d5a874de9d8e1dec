/* sim_engine.c - does for the shards in a simulated world what control/engine.c does for them on threads. */
#include "sim_engine.h"

#include "control/config_align.h"
#include "control/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct config *read_text(const char *text, char *error, size_t error_cap)
{
    char file[] = "/tmp/sluice-sim-XXXXXX";
    int fd = mkstemp(file);
    size_t n = strlen(text);
    sluice_assert(fd >= 0 && write(fd, text, n) == (ssize_t)n);
    close(fd);
    struct config *config = config_load(file, error, error_cap);
    unlink(file);
    return config;
}

static struct config *config_of(const char *text)
{
    char error[512];
    struct config *config = read_text(text, error, sizeof error);
    if (!config)
        fprintf(stderr, "%s\n", error);
    sluice_assert(config);
    bool loaded = rules_load(config, error, sizeof error);
    if (!loaded)
        fprintf(stderr, "%s\n", error);
    sluice_assert(loaded);
    return config;
}

struct sim_engine *sim_engine_new(struct sim_host *host, const char *text, int log_fd)
{
    struct sim_engine *engine = calloc(1, sizeof *engine);
    sluice_assert(engine);
    engine->config = config_of(text);
    char error[1024];
    engine->keys = sign_keys_load(engine->config, NULL, NULL, error, sizeof error);
    if (!engine->keys)
        fprintf(stderr, "%s\n", error);
    sluice_assert(engine->keys);
    sluice_assert(engine->config->shards && engine->config->redis[0]); /* neither is guessed here */
    engine->shard_count = engine->config->shards;
    engine->world = sim_host_world(host);
    engine->group = sim_process(host, engine->shard_count);
    engine->shards = calloc(engine->shard_count, sizeof *engine->shards);
    sluice_assert(engine->shards);
    engine->logs = log_fd >= 0;
    if (engine->logs)
        log_init(&engine->log, log_fd, engine->config->log_level);
    engine->relays = relays_open(engine->config, engine->logs ? &engine->log : NULL, error, sizeof error);
    if (!engine->relays)
        fprintf(stderr, "%s\n", error);
    sluice_assert(engine->relays);
    return engine;
}

/* What io has brought is digested here; the states that it led to are still as they were left. */
static nsec turn(void *context)
{
    struct sim_shard *s = context;
    for (const struct session *session = s->shard->sessions; session; session = session->next)
        s->engine->states_seen |= 1ull << session->client.state;
    return shard_is_gone(s->shard) ? NSEC_NEVER : shard_turn(s->shard, 0);
}

void sim_engine_start(struct sim_engine *engine)
{
    char error[512];
    sluice_assert(!sim_engine_runs(engine));
    engine->incarnation++;
    engine->metrics = metrics_create(engine->shard_count);
    sluice_assert(engine->metrics);
    for (unsigned i = 0; i < engine->shard_count; i++) {
        struct io_config io = {.group = engine->group, .shard = i, .sessions_max = engine->config->sessions_max};
        struct shard_config config = {.io = io_open(&io, error, sizeof error),
                                      .config = engine->config,
                                      .metrics = metrics_of(engine->metrics, i),
                                      .log = engine->logs ? &engine->log : NULL,
                                      .redis = engine->config->redis,
                                      .keys = engine->keys,
                                      .sts = engine->config->mta_sts ? sim_sts(engine->world) : NULL,
                                      .relays = engine->shards[i].relays = relays_hold(engine->relays),
                                      .index = i,
                                      .shards = engine->shard_count,
                                      .incarnation = engine->incarnation,
                                      .previous = engine->incarnation - 1};
        engine->shards[i].engine = engine;
        engine->shards[i].shard = config.io ? shard_open(&config, error, sizeof error) : NULL;
        if (!engine->shards[i].shard)
            fprintf(stderr, "%s\n", error);
        sluice_assert(engine->shards[i].shard);
    }
    for (unsigned i = 0; i < engine->shard_count; i++)
        sim_on_turn(engine->shards[i].shard->io, turn, &engine->shards[i]);
}

bool sim_engine_runs(const struct sim_engine *engine) { return engine->metrics != NULL; }

static void end(struct sim_engine *engine, void (*how)(struct io *io))
{
    for (unsigned i = 0; i < engine->shard_count; i++) {
        shard_close(engine->shards[i].shard, how);
        engine->shards[i].shard = NULL;
        relays_close(engine->shards[i].relays);
        engine->shards[i].relays = NULL;
    }
    for (unsigned m = METRIC_BROKEN + 1; m < METRIC_SESSIONS; m++)
        engine->totals[m] += metrics_total(engine->metrics, (enum metric)m);
    metrics_free(engine->metrics);
    engine->metrics = NULL;
}

void sim_engine_crash(struct sim_engine *engine)
{
    sluice_assert(sim_engine_runs(engine));
    end(engine, sim_crash);
}

void sim_engine_freeze(struct sim_engine *engine, nsec duration)
{
    sluice_assert(sim_engine_runs(engine));
    for (unsigned i = 0; i < engine->shard_count; i++)
        sim_stop(engine->shards[i].shard->io, sim_now(engine->world) + duration);
}

bool sim_engine_reload(struct sim_engine *engine, const char *text, char *error, size_t error_cap)
{
    char changed[256];
    struct config *next = read_text(text, error, error_cap);
    if (!next)
        return false;
    struct relays *relays = NULL;
    struct sign_keys *keys = NULL;
    bool good = config_align(next, engine->config, changed, sizeof changed, error, error_cap) &&
                rules_load(next, error, error_cap) &&
                (relays = relays_open(next, engine->logs ? &engine->log : NULL, error, error_cap)) &&
                (keys = sign_keys_load(next, NULL, NULL, error, error_cap));
    if (!good) {
        relays_close(relays);
        config_free(next);
        return false;
    }
    config_free(engine->config);
    relays_close(engine->relays);
    sign_keys_release(engine->keys);
    engine->config = next;
    engine->relays = relays;
    engine->keys = keys;
    return true;
}

void sim_engine_take(struct sim_engine *engine, unsigned shard)
{
    struct sim_shard *s = &engine->shards[shard];
    if (!s->shard)
        return;
    shard_reload(s->shard, engine->config, engine->relays);
    shard_rekey(s->shard, engine->keys);
    relays_close(s->relays);
    s->relays = relays_hold(engine->relays);
    sim_on_turn(s->shard->io, turn, s); /* it has work */
}

static bool somebody_is_there(void *context)
{
    const struct sim_engine *engine = context;
    for (unsigned i = 0; i < engine->shard_count; i++)
        if (!shard_is_gone(engine->shards[i].shard))
            return true;
    return false;
}

void sim_engine_finish(struct sim_engine *engine, nsec grace)
{
    sluice_assert(sim_engine_runs(engine));
    for (unsigned i = 0; i < engine->shard_count; i++) {
        shard_finish(engine->shards[i].shard, sim_now(engine->world) + grace);
        sim_on_turn(engine->shards[i].shard->io, turn, &engine->shards[i]); /* the signal wakes it */
    }
}

bool sim_engine_stop(struct sim_engine *engine, nsec grace, nsec limit)
{
    nsec now = sim_now(engine->world);
    sim_engine_finish(engine, grace);
    if (!sim_run_while(engine->world, somebody_is_there, engine, now + limit))
        return false;
    end(engine, io_close_all);
    return true;
}

void sim_engine_free(struct sim_engine *engine)
{
    if (sim_engine_runs(engine))
        sim_engine_crash(engine);
    relays_close(engine->relays);
    sign_keys_release(engine->keys);
    config_free(engine->config);
    free(engine->shards);
    free(engine);
}

uint64_t sim_engine_metric(const struct sim_engine *engine, enum metric metric)
{
    uint64_t before = metric < METRIC_SESSIONS ? engine->totals[metric] : 0;
    return before + (engine->metrics ? metrics_total(engine->metrics, metric) : 0);
}
