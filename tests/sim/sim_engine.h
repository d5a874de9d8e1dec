/* sim_engine.h - an engine in a simulated world: the production's shards on a host, started, killed and stopped at
 * will. What it knew is in Redis; a start after a crash is one of a new incarnation. */
#ifndef TESTS_SIM_ENGINE_H
#define TESTS_SIM_ENGINE_H

#include "control/config.h"
#include "control/metrics.h"
#include "control/relays.h"
#include "flow/shard.h"
#include "sim/sim.h"

struct sim_engine {
    struct sim_world *world;
    struct io_group *group;
    struct config *config;
    struct sign_keys *keys;
    struct metrics *metrics; /* of this incarnation */
    struct relays *relays;   /* of all; relays_refresh is the test's to call */
    struct sim_shard {
        struct sim_engine *engine;
        struct shard *shard; /* NULL: not running */
        struct relays *relays; /* held: those that it uses */
    } * shards;
    unsigned shard_count;
    uint64_t incarnation;
    uint64_t totals[METRIC_COUNT]; /* counters of earlier incarnations */
    uint64_t states_seen;          /* of sessions' clients, by bit, behind any turn */
    struct log log;
    bool logs;
};

/* On `host`, which owns the sources' addresses. `text` is the configuration file, `redis` and `shards` included; a
 * wrong one ends the test. `log_fd` < 0: silent. Not started yet. */
must_use struct sim_engine *sim_engine_new(struct sim_host *host, const char *text, int log_fd);
void sim_engine_free(struct sim_engine *engine); /* crashes it if it runs */

void sim_engine_start(struct sim_engine *engine);
bool sim_engine_runs(const struct sim_engine *engine);
/* SIGKILL, between two turns. */
void sim_engine_crash(struct sim_engine *engine);
/* SIGSTOP, and SIGCONT so much later. */
void sim_engine_freeze(struct sim_engine *engine, nsec duration);
/* SIGTERM, and no more than that: sim_engine_stop sees it through. */
void sim_engine_finish(struct sim_engine *engine, nsec grace);
/* SIGTERM: lets the world go on until all shards have left, at most `limit` from now. False: they have not; it runs. */
must_use bool sim_engine_stop(struct sim_engine *engine, nsec grace, nsec limit);

/* SIGHUP, with this text in the file: made ready, or, with a sentence in `error`, refused as the engine does it. A shard
 * takes it when it is told to; one that does not run takes it when it starts. */
must_use bool sim_engine_reload(struct sim_engine *engine, const char *text, char *error, size_t error_cap);
void sim_engine_take(struct sim_engine *engine, unsigned shard);

/* A counter over all incarnations; a gauge of this one. */
uint64_t sim_engine_metric(const struct sim_engine *engine, enum metric metric);

#endif
