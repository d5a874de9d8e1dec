/* Builds the town and keeps it running; what it is found guilty of is decided in town_judge.c. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TOWN_TEXT = 16384 };

static const char redis_address[] = "192.0.2.1";

/* ---- Redis ---- */

void town_redis_start(struct town *town)
{
    struct io_config config = {.group = sim_process(town->redis_host, 1), .sessions_max = 64};
    char error[256];
    town->redis_io = io_open(&config, error, sizeof error);
    assert_non_null(town->redis_io);
    struct io_address at;
    assert_true(io_address_parse(&at, redis_address, 6379));
    fake_redis_serve(town->redis, town->redis_io, &at);
    sim_serve(town->redis_io);
}

void town_redis_stop(struct town *town)
{
    sim_crash(town->redis_io);
    town->redis_io = NULL;
    fake_redis_crashed(town->redis);
}

static void redis_do(struct town *town, const struct slice *args, unsigned count)
{
    size_t n;
    char *reply = fake_redis_argv(town->redis, args, count, &n);
    if (n && reply[0] == '-')
        fail_msg("redis: %.*s", (int)n, reply);
    free(reply);
}

static struct slice key_of(char *key, size_t cap, const char *id, const char *name)
{
    return (struct slice){key, (size_t)snprintf(key, cap, "sluice:{%s}:%s", id, name)};
}

void town_set(struct town *town, const char *id, const char *field, const char *value)
{
    char key[128];
    struct slice args[] = {SLICE("HSET"), key_of(key, sizeof key, id, "campaign"), slice_of(field), slice_of(value)};
    redis_do(town, args, countof(args));
}

void town_write(struct town *town, const char *id, const char *fields)
{
    town_set(town, id, "from", "Shop <news@shop.example>");
    town_set(town, id, "subject", "Hi {{name}}");
    town_set(town, id, "text", "Hello {{name}},\r\n.dot\r\nbye\r\n");
    town_set(town, id, "pool", "p");
    town_set(town, id, "sealed", "1");
    char copy[512];
    snprintf(copy, sizeof copy, "%s", fields);
    char *save, *name = strtok_r(copy, " ", &save);
    for (; name; name = strtok_r(NULL, " ", &save))
        town_set(town, id, name, strtok_r(NULL, " ", &save));
}

void town_campaign(struct town *town, const char *id, const char *fields)
{
    town_write(town, id, fields);
    struct slice args[] = {SLICE("SADD"), SLICE("sluice:campaigns"), slice_of(id)};
    redis_do(town, args, countof(args));
    struct town_campaign *campaign = &town->campaigns[town->campaign_count++];
    snprintf(campaign->id, sizeof campaign->id, "%s", id);
}

static struct town_campaign *campaign_of(struct town *town, const char *id)
{
    for (unsigned i = 0; i < town->campaign_count; i++)
        if (strcmp(town->campaigns[i].id, id) == 0)
            return &town->campaigns[i];
    fail_msg("no campaign %s", id);
    return NULL;
}

void town_push_entry(struct town *town, const char *id, const char *entry)
{
    char key[128];
    struct slice args[] = {SLICE("RPUSH"), key_of(key, sizeof key, id, "recipients"), slice_of(entry)};
    redis_do(town, args, countof(args));
    campaign_of(town, id)->pushed++;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
void town_push(struct town *town, const char *id, const char *format, uint64_t from, uint64_t count)
{
    for (uint64_t i = from; i < from + count; i++) {
        char entry[256];
        snprintf(entry, sizeof entry, format, (unsigned long long)i);
        town_push_entry(town, id, entry);
    }
}
#pragma GCC diagnostic pop

static void read_status(struct town *town, const char *id, const char *field, char *to, size_t cap)
{
    to[0] = 0;
    char *reply = fake_redis_do(town->redis, "HGET sluice:{%s}:status %s", id, field);
    char *at = reply[0] == '$' && reply[1] != '-' ? strchr(reply, '\n') : NULL;
    if (at)
        snprintf(to, cap, "%.*s", (int)strcspn(at + 1, "\r"), at + 1);
    free(reply);
}

const char *town_phase(struct town *town, const char *id)
{
    static _Thread_local char phase[32];
    read_status(town, id, "phase", phase, sizeof phase);
    return phase;
}

/* ---- the engine ---- */

void town_start_one(struct town *town, unsigned engine) { sim_engine_start(town->engines[engine].engine); }
void town_start(struct town *town) { town_start_one(town, 0); }

bool town_runs(const struct town *town, unsigned engine) { return sim_engine_runs(town->engines[engine].engine); }

static void count_sessions(struct town *town, const struct sim_engine *engine)
{
    for (unsigned i = 0; i < engine->shard_count; i++)
        town->open_sessions += engine->shards[i].shard->session_count;
}

void town_crash_one(struct town *town, unsigned engine)
{
    count_sessions(town, town->engines[engine].engine);
    town->crashes++;
    sim_engine_crash(town->engines[engine].engine);
}

void town_crash(struct town *town) { town_crash_one(town, 0); }

void town_finish_one(struct town *town, unsigned engine)
{
    count_sessions(town, town->engines[engine].engine);
    if (!sim_engine_stop(town->engines[engine].engine, 30 * NSEC_PER_S, 60 * NSEC_PER_S))
        fail_msg("seed %llu: engine %u did not end within a minute", (unsigned long long)town->seed, engine);
}

void town_finish(struct town *town)
{
    for (unsigned i = 0; i < town->engine_count; i++)
        if (town->engine_count == 1 || town_runs(town, i))
            town_finish_one(town, i);
}

void town_freeze(struct town *town, unsigned engine, nsec duration)
{
    count_sessions(town, town->engines[engine].engine);
    sim_engine_freeze(town->engines[engine].engine, duration);
}

void town_cut_off(struct town *town, unsigned engine, nsec duration)
{
    if (town_runs(town, engine))
        count_sessions(town, town->engines[engine].engine);
    sim_partition(town->world, town->engines[engine].host, town->redis_host, sim_now(town->world) + duration);
}

uint64_t town_metric(const struct town *town, enum metric metric)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < town->engine_count; i++)
        sum += sim_engine_metric(town->engines[i].engine, metric);
    return sum;
}

/* ---- running ---- */

void town_run(struct town *town, nsec duration) { sim_run_until(town->world, sim_now(town->world) + duration); }

/* Over: done, cancelled, or waiting for people to say what becomes of those in doubt. */
static bool is_over(struct town *town, const char *id)
{
    char reason[128];
    const char *phase = town_phase(town, id);
    if (strcmp(phase, "done") == 0 || strcmp(phase, "cancelled") == 0)
        return true;
    read_status(town, id, "reason", reason, sizeof reason);
    return strcmp(phase, "waiting") == 0 && strstr(reason, "in doubt");
}

static bool owes(struct town *town)
{
    for (unsigned i = 0; i < town->campaign_count; i++)
        if (!is_over(town, town->campaigns[i].id))
            return true;
    return false;
}

bool town_drain(struct town *town, nsec limit)
{
    nsec until = sim_now(town->world) + limit;
    while (sim_now(town->world) < until) {
        if (!owes(town))
            return true;
        town_run(town, 500 * NSEC_PER_MS);
    }
    return !owes(town);
}

/* ---- building ---- */

static void source_address(char *text, size_t cap, unsigned source) { snprintf(text, cap, "203.0.113.%u", 10 + source); }

/* With the sources that belong to engine `of`. */
static void write_config(char *text, size_t cap, unsigned engine, unsigned of, unsigned shards, const char *settings)
{
    char name[16] = "town", address[32];
    if (engine)
        snprintf(name, sizeof name, "town%u", engine);
    bool own_pool = strstr(settings, "pool p {");
    int n = snprintf(
        text, cap,
        "shards = %u\n%s%s\nstate_dir = \"/nowhere\"\nredis = \"redis://192.0.2.1:6379\"\nhttp = \"\"\n"
        "hostname = town.example\npoll = 1s\n%s%s%skeep = 1d\n%s",
        shards, strstr(settings, "engine = ") ? "" : "engine = ", strstr(settings, "engine = ") ? "" : name,
        strstr(settings, "sessions_max") ? "" : "sessions_max = 256\n",
        /* Each engine that starts would read some hundred rules, which takes longer than a story. */
        strstr(settings, "shipped_rules") ? "" : "shipped_rules = no\n",
        strstr(settings, "press_bytes") ? "" : "press_bytes = 4MiB\n", own_pool ? "" : "pool p {\n");
    for (unsigned i = of * TOWN_SOURCES; !own_pool && i < (of + 1) * TOWN_SOURCES; i++) {
        source_address(address, sizeof address, i);
        n += snprintf(text + n, cap - (size_t)n, "  source %s { name = s%u  ehlo = s%u.town.example }\n", address, i, i);
    }
    snprintf(text + n, cap - (size_t)n, "%s%s\n", own_pool ? "" : "}\n", settings);
}

void town_reload_one(struct town *town, unsigned engine, const char *settings, nsec stagger)
{
    char text[TOWN_TEXT], error[1024];
    struct sim_engine *one = town->engines[engine].engine;
    write_config(text, sizeof text, engine, town->engines[engine].of, one->shard_count, settings);
    if (!sim_engine_reload(one, text, error, sizeof error))
        fail_msg("seed %llu: %s", (unsigned long long)town->seed, error);
    town->config = town->engine->config;
    for (unsigned i = 0; i < one->shard_count; i++) {
        if (i && stagger)
            town_run(town, stagger);
        sim_engine_take(one, i);
    }
}

void town_reload(struct town *town, const char *settings, nsec stagger)
{
    town_reload_one(town, 0, settings, stagger);
}

/* `host` NULL: one of its own, with sources of its own; else the first engine's. */
static void add_engine(struct town *town, struct sim_host *host, unsigned shards, const char *settings)
{
    char name[32], text[TOWN_TEXT], address[32];
    unsigned n = town->engine_count++;
    struct town_engine *one = &town->engines[n];
    snprintf(name, sizeof name, n ? "engine%u" : "engine", n);
    one->host = host ? host : sim_host_new(town->world, name);
    for (unsigned i = n * TOWN_SOURCES; !host && i < (n + 1) * TOWN_SOURCES; i++) {
        source_address(address, sizeof address, i);
        sim_host_address(one->host, address);
    }
    one->of = host ? 0 : n;
    write_config(text, sizeof text, n, one->of, shards, settings);
    one->engine = sim_engine_new(one->host, text, getenv("SIM_LOG") ? 2 : -1);
    one->engine->incarnation = 1000 * n; /* no two are alike, whatever they are called */
}

struct town *town_new(uint64_t seed, unsigned shards, const char *settings)
{
    return town_new_shared(seed, 1, shards, settings);
}

struct town *town_new_shared(uint64_t seed, unsigned engines, unsigned shards, const char *settings)
{
    sluice_assert(engines >= 1 && engines <= TOWN_ENGINES);
    struct town *town = calloc(1, sizeof *town);
    town->seed = seed;
    town->world = sim_world_new(seed);
    town->redis_host = sim_host_new(town->world, "redis");
    sim_host_address(town->redis_host, redis_address);
    town->mail = sim_mail_new(town->world, TOWN_PORT);
    town->mail->ledger.keep_starts = true;
    town->redis = fake_redis_new(0);
    town_redis_start(town);
    if (getenv("SIM_TRACE")) /* and SIM_LOG: for who debugs */
        sim_trace_to(town->world, stderr);
    for (unsigned i = 0; i < engines; i++)
        add_engine(town, NULL, shards, settings);
    town->engine = town->engines[0].engine;
    town->engine_host = town->engines[0].host;
    town->config = town->engine->config;
    return town;
}

void town_add_beside(struct town *town, unsigned shards, const char *settings)
{
    sluice_assert(town->engine_count < TOWN_ENGINES);
    add_engine(town, town->engine_host, shards, settings);
}

void town_free(struct town *town)
{
    for (unsigned i = 0; i < town->engine_count; i++)
        sim_engine_free(town->engines[i].engine);
    if (town->redis_io)
        town_redis_stop(town);
    sim_mail_free(town->mail);
    sim_world_free(town->world);
    fake_redis_free(town->redis);
    free(town);
}
