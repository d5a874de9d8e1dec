/* What surrounds the shards: what the machine must allow, the private Redis, threads, signals. */
#include "control/engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/embedded.h"
#include "control/http.h"
#include "control/log.h"
#include "control/machine.h"
#include "control/metrics.h"
#include "control/relays.h"
#include "control/redis_access.h"
#include "control/reload.h"
#include "flow/shard.h"
#include "net/tls.h"
#include "sign/keys.h"

/* How soon a shard that sleeps sees a signal. */
static const nsec look_up = 200 * NSEC_PER_MS;

struct engine {
    const struct config *config;
    struct log log, sts_log;
    struct log_lost log_lost;
    struct metrics *metrics;
    struct io_group *group;
    struct embedded *embedded;
    struct http *http;
    struct sts *sts;        /* NULL: not in use */
    struct sign_keys *keys; /* held: those of the start */
    bool reload_asked;
    atomic_uint reloads_failed;
    struct relays *relays;
    char redis[1200];
    uint64_t incarnation, previous; /* previous: the one before, which is dead; 0: not known */
    unsigned shards;
    unsigned sessions; /* of one shard */
    atomic_int stopping; /* 1: finish, 2: now */
    atomic_int opened, failed, gone;
    int lock;
};

struct engine_thread {
    struct engine *engine;
    pthread_t thread;
    unsigned index;
    bool running;
    struct sign_keys *keys;          /* held, until the shard holds them */
    struct relays *relays;           /* held while the shard uses them */
    _Atomic(struct reload *) reload; /* owned; what the shard has not taken yet */
};

/* ---- what the machine must allow ---- */

/* With fewer descriptors than sessions_max needs it runs with fewer sessions, and says so. */
static bool allow_descriptors(struct engine *engine)
{
    char said[MACHINE_SAID];
    engine->sessions = machine_sessions(engine->config, engine->shards, said);
    if (engine->sessions < MACHINE_SESSIONS_LEAST)
        fprintf(stderr, "sluice: %s\n", said);
    else if (said[0])
        log_warning(&engine->log, "fewer sessions than sessions_max", log_text("why", said));
    return engine->sessions >= MACHINE_SESSIONS_LEAST;
}

static bool have_sources(const struct config *config)
{
    bool all = true;
    for (unsigned i = 0; i < config->source_count; i++) {
        char error[512];
        if (reload_has_source(&config->sources[i], error, sizeof error))
            continue;
        fprintf(stderr, "sluice: %s\n", error);
        all = false;
    }
    return all;
}

static void warn_of_ports(const struct engine *engine)
{
    char said[MACHINE_SAID];
    machine_ports(engine->config, said);
    if (said[0])
        log_warning(&engine->log, "fewer local ports than an isp's connections", log_text("why", said));
}

/* ---- a shard's thread ---- */

static void pin(unsigned index, unsigned shards)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || (unsigned)CPU_COUNT(&allowed) < shards)
        return; /* more shards than cores: the scheduler knows better */
    unsigned seen = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && seen++ == index) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            pthread_setaffinity_np(pthread_self(), sizeof one, &one);
            return;
        }
}

static struct shard *thread_open(struct engine_thread *thread)
{
    struct engine *engine = thread->engine;
    char error[512];
    struct io_config io_config = {
        .group = engine->group, .shard = thread->index, .sessions_max = engine->sessions};
    struct io *io = io_open(&io_config, error, sizeof error);
    struct shard *shard = NULL;
    if (io) {
        struct shard_config config = {.io = io,
                                      .config = engine->config,
                                      .metrics = metrics_of(engine->metrics, thread->index),
                                      .log = &engine->log,
                                      .redis = engine->redis,
                                      .sts = engine->sts,
                                      .keys = thread->keys,
                                      .relays = thread->relays,
                                      .index = thread->index,
                                      .shards = engine->shards,
                                      .sessions_most = engine->sessions,
                                      .incarnation = engine->incarnation,
                                      .previous = engine->previous};
        shard = shard_open(&config, error, sizeof error);
    }
    if (!shard)
        fprintf(stderr, "sluice: shard %u: %s\n", thread->index, error);
    sign_keys_release(thread->keys); /* the shard holds them */
    thread->keys = NULL;
    return shard;
}

/* Most turns find nothing, and pay for no more than a look. */
static void take_reload(struct engine_thread *thread, struct shard *shard)
{
    if (!atomic_load_explicit(&thread->reload, memory_order_relaxed))
        return;
    struct reload *reload = atomic_exchange(&thread->reload, NULL);
    if (reload->config != shard->config)
        shard_reload(shard, reload->config, reload->relays);
    shard_rekey(shard, reload->keys);
    relays_close(thread->relays);
    thread->relays = relays_hold(reload->relays);
    reload_free(reload);
}

static void *thread_main(void *argument)
{
    struct engine_thread *thread = argument;
    struct engine *engine = thread->engine;
    pin(thread->index, engine->shards);
    struct shard *shard = thread_open(thread);
    int before = atomic_fetch_add(shard ? &engine->opened : &engine->failed, 1);
    if (shard && before + 1 == (int)engine->shards)
        log_info(&engine->log, "engine runs", log_text("engine", shard->config->engine),
                 log_number("shards", engine->shards), log_number("sources", shard->config->source_count),
                 log_text("redis", shard->config->redis[0] ? "configured" : "private"));
    while (shard && atomic_load(&engine->opened) + atomic_load(&engine->failed) < (int)engine->shards)
        usleep(1000); /* a shard must not post to one that is not there */
    if (!shard)
        return NULL;
    if (!atomic_load(&engine->failed)) {
        nsec next = 0;
        while (!shard_is_gone(shard)) {
            nsec now = shard_now(shard);
            int stopping = atomic_load(&engine->stopping);
            if (stopping)
                shard_finish(shard, now + (stopping > 1 ? 0 : shard->config->shutdown));
            take_reload(thread, shard);
            if (thread->index == 0) {
                metrics_set(shard->metrics, METRIC_RELOADS_FAILED, atomic_load(&engine->reloads_failed));
                metrics_set(shard->metrics, METRIC_LOG_LOST, atomic_load(&engine->log_lost.lines));
            }
            next = shard_turn(shard, nsec_min(next, now + look_up));
        }
    }
    atomic_fetch_add(&engine->gone, 1);
    while (atomic_load(&engine->gone) < atomic_load(&engine->opened))
        usleep(1000); /* others may still post to this one */
    shard_close(shard, io_close_all);
    return NULL;
}

/* ---- signals ---- */

static void warn_of_key(void *engine, const char *sentence)
{
    log_warning(&((struct engine *)engine)->log, "a key that signs is weak", log_text("why", sentence));
}

/* To all threads; what one of them has not taken yet is older. False: no memory, and some threads may have it already:
 * those that have not get it with the next. */
static bool hand_out(struct engine *engine, struct engine_thread *threads, const struct reload *reload)
{
    bool all = true;
    for (unsigned i = 0; i < engine->shards; i++) {
        struct reload *copy = reload_copy(reload);
        all = all && copy;
        if (copy)
            reload_free(atomic_exchange(&threads[i].reload, copy));
    }
    return all;
}

/* The file and all that it names, as they are now. All or nothing: half a configuration is none, and a set of keys with
 * a hole would send mail unsigned. */
static void reload(struct engine *engine, struct engine_thread *threads)
{
    char error[4096];
    struct reload *next = reload_read(engine->config, &engine->log, warn_of_key, engine, error, sizeof error);
    if (!next || !hand_out(engine, threads, next)) {
        atomic_fetch_add(&engine->reloads_failed, 1);
        log_error(&engine->log, "the configuration was read again and is not good: all stay as they were",
                  log_text("error", next ? "no memory" : error));
        reload_free(next);
        return;
    }
    config_release(engine->config);
    relays_close(engine->relays);
    engine->config = config_hold(next->config); /* the first one lives in engine_run's caller: some borrow from it */
    engine->relays = relays_hold(next->relays);
    engine->log.level = (enum log_level)next->config->log_level;
    http_relays(engine->http, engine->relays);
    log_info(&engine->log, "keys were read again", log_number("keys", sign_keys_count(next->keys)));
    log_info(&engine->log, "the configuration was read again",
             log_number("generation", (int64_t)next->config->generation));
    reload_free(next);
}

static void on_signal(struct engine *engine, int signal)
{
    if (signal == SIGHUP) {
        engine->reload_asked = true;
        return;
    }
    log_info(&engine->log, "asked to end: open messages are finished, the rest is given back",
             log_text("signal", signal == SIGTERM ? "SIGTERM" : "SIGINT"));
    atomic_fetch_add(&engine->stopping, 1);
}

static bool run_threads(struct engine *engine)
{
    struct engine_thread *threads = calloc(engine->shards, sizeof *threads);
    if (!threads)
        return false;
    for (unsigned i = 0; i < engine->shards; i++) {
        threads[i].engine = engine;
        threads[i].index = i;
        threads[i].keys = sign_keys_hold(engine->keys);
        threads[i].relays = relays_hold(engine->relays);
        threads[i].running = pthread_create(&threads[i].thread, NULL, thread_main, &threads[i]) == 0;
        if (!threads[i].running)
            atomic_fetch_add(&engine->failed, 1);
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    struct timespec tenth = {.tv_nsec = 100 * NSEC_PER_MS};
    unsigned tenths = 0;
    while (atomic_load(&engine->gone) + atomic_load(&engine->failed) < (int)engine->shards) {
        int signal = sigtimedwait(&signals, NULL, &tenth);
        if (signal > 0)
            on_signal(engine, signal);
        if (engine->reload_asked && atomic_load(&engine->opened) == (int)engine->shards) {
            engine->reload_asked = false;
            reload(engine, threads);
        }
        if (++tenths % 10 != 0)
            continue;
        if (engine->embedded)
            embedded_tend(engine->embedded);
        relays_refresh(engine->relays, tenths / 10 * NSEC_PER_S);
    }
    for (unsigned i = 0; i < engine->shards; i++)
        if (threads[i].running)
            pthread_join(threads[i].thread, NULL);
    for (unsigned i = 0; i < engine->shards; i++) {
        reload_free(atomic_load(&threads[i].reload));
        sign_keys_release(threads[i].keys);
        relays_close(threads[i].relays);
    }
    free(threads);
    return atomic_load(&engine->failed) == 0;
}

/* ---- start and end ---- */

static uint64_t new_incarnation(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)(now.tv_nsec / NSEC_PER_MS);
}

static bool open_redis(struct engine *engine, char *error, size_t cap)
{
    if (engine->config->redis[0]) {
        snprintf(engine->redis, sizeof engine->redis, "%s", engine->config->redis);
        return true;
    }
    embedded_url(engine->config->state_dir, engine->redis, sizeof engine->redis);
    engine->embedded = embedded_open(engine->config->state_dir, &engine->log, error, cap);
    return engine->embedded != NULL;
}

static bool open_http(struct engine *engine, char *error, size_t cap)
{
    if (!engine->config->http[0])
        return true;
    struct http_config config = {
        .metrics = engine->metrics, .relays = engine->relays, .engine = engine->config->engine};
    if (!config_at(slice_of(engine->config->http), 0, &config.at)) {
        snprintf(error, cap, "http: \"%s\" is no address and port", engine->config->http);
        return false;
    }
    engine->http = http_open(&config, error, cap);
    return engine->http != NULL;
}

static bool open_sts(struct engine *engine, char *error, size_t cap)
{
    char file[512];
    engine->sts_log = engine->log;
    if (!engine->config->mta_sts)
        return true;
    snprintf(file, sizeof file, "%s/mta-sts", engine->config->state_dir);
    struct sts_config config = {
        .file = file, .ca_file = engine->config->tls_ca, .port = engine->config->sts_port, .log = &engine->sts_log};
    engine->sts = sts_open(&config, error, cap);
    return engine->sts != NULL;
}

static bool engine_open(struct engine *engine, char *error, size_t cap)
{
    if (!have_sources(engine->config) || !allow_descriptors(engine)) {
        snprintf(error, cap, "not started");
        return false;
    }
    engine->lock = embedded_lock(engine->config->state_dir, engine->config->engine, engine->incarnation,
                                 &engine->previous, error, cap);
    if (engine->lock < 0)
        return false;
    engine->metrics = metrics_create(engine->shards);
    engine->group = io_group_open(engine->shards);
    if (!engine->metrics || !engine->group) {
        snprintf(error, cap, "no memory");
        return false;
    }
    if (engine->config->tls_ca[0] && !tls_ca_usable("tls_ca", engine->config->tls_ca, error, cap))
        return false;
    if (!redis_access_usable(engine->config, error, cap))
        return false;
    engine->relays = relays_open(engine->config, &engine->log, error, cap);
    if (engine->relays)
        engine->keys = sign_keys_load(engine->config, warn_of_key, engine, error, cap);
    return engine->keys && open_redis(engine, error, cap) && open_http(engine, error, cap) &&
           open_sts(engine, error, cap);
}

static void engine_close(struct engine *engine)
{
    http_close(engine->http);
    if (engine->sts)
        sts_close(engine->sts);
    embedded_close(engine->embedded);
    if (engine->group)
        io_group_close(engine->group);
    if (engine->metrics)
        metrics_free(engine->metrics);
    relays_close(engine->relays);
    config_release(engine->config);
    sign_keys_release(engine->keys);
    if (engine->lock >= 0)
        close(engine->lock);
}

int engine_run(const struct config *config, unsigned shards)
{
    struct engine engine = {.config = config_hold(config), .incarnation = new_incarnation(), .lock = -1};
    engine.shards = machine_shards(config, shards);
    log_init(&engine.log, STDERR_FILENO, (enum log_level)config->log_level);
    engine.log.lost = &engine.log_lost;
    sigset_t signals; /* all threads inherit this: signals are waited for, never handled */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    char error[2048];
    if (!engine_open(&engine, error, sizeof error)) {
        fprintf(stderr, "sluice: %s\n", error);
        engine_close(&engine);
        return 1;
    }
    warn_of_ports(&engine);
    bool ran = run_threads(&engine);
    if (ran)
        log_info(&engine.log, "engine has ended", log_text("engine", config->engine));
    engine_close(&engine);
    return ran ? 0 : 1;
}
