/* Weeks of warm-up: what each ISP got in each day of its own calendar, by the instants at which MAIL was handed over,
 * held against the caps. An argument chooses among the stories by name. */
#include "fake_redis.h"
#include "judge.h"
#include "sim_engine.h"
#include "sim_mx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ENGINES = 3, SOURCES = 4, AHEAD = 100 };

static const char redis_address[] = "192.0.2.1";
static const char *const addresses[SOURCES] = {"203.0.113.10", "203.0.113.11", "203.0.113.12", "203.0.113.13"};

struct village {
    uint64_t seed;
    struct sim_world *world;
    struct sim_mail *mail;
    struct sim_host *redis_host, *engine_host;
    struct fake_redis *redis;
    struct io *redis_io;
    struct sim_engine *engines[ENGINES];
    unsigned engine_count;
    const struct config *config;
    nsec base; /* wall clock less the world's own, when nobody has moved it */
    const char *domains[4];
    unsigned domain_count;
    uint64_t pushed;
};

/* ---- building ---- */

static void redis_start(struct village *v)
{
    struct io_config config = {.group = sim_process(v->redis_host, 1), .sessions_max = 64};
    char error[256];
    struct io_address at;
    v->redis_io = io_open(&config, error, sizeof error);
    assert_non_null(v->redis_io);
    assert_true(io_address_parse(&at, redis_address, 6379));
    fake_redis_serve(v->redis, v->redis_io, &at);
    sim_serve(v->redis_io);
}

/* Without what it was told in the last `lost`. */
static void redis_crash(struct village *v, nsec lost)
{
    nsec wall = io_wall(v->redis_io);
    sim_crash(v->redis_io);
    v->redis_io = NULL;
    fake_redis_crashed(v->redis);
    fake_redis_lose(v->redis, wall - lost);
}

static void redis_do(struct village *v, const struct slice *args, unsigned count)
{
    size_t n;
    char *reply = fake_redis_argv(v->redis, args, count, &n);
    if (n && reply[0] == '-')
        fail_msg("redis: %.*s", (int)n, reply);
    free(reply);
}

static void set(struct village *v, const char *field, const char *value)
{
    struct slice args[] = {SLICE("HSET"), SLICE("sluice:{c}:campaign"), slice_of(field), slice_of(value)};
    redis_do(v, args, countof(args));
}

static void config_text(char *text, size_t cap, unsigned engine, unsigned shards, const char *const *sources,
                        const char *settings)
{
    int n = snprintf(text, cap,
                     "shards = %u\nengine = e%u\nstate_dir = \"/nowhere\"\nredis = \"redis://192.0.2.1:6379\"\n"
                     "http = \"\"\nhostname = town.example\nsessions_max = 64\npress_bytes = 4MiB\npool p {\n",
                     shards, engine);
    for (unsigned i = 0; i < SOURCES && sources[i]; i++)
        n += snprintf(text + n, cap - (size_t)n, "  source %s { name = s%u  ehlo = s%u.town.example  %s }\n",
                      addresses[i], i, i, sources[i]);
    snprintf(text + n, cap - (size_t)n, "}\n%s\n", settings);
}

/* `sources`: keys of each; NULL: there are no more. `settings`: the rest of the configuration. */
static struct village *village_new(uint64_t seed, unsigned engines, unsigned shards, const char *const *sources,
                                   const char *settings)
{
    struct village *v = calloc(1, sizeof *v);
    assert_non_null(v);
    v->seed = seed;
    v->world = sim_world_new(seed);
    v->redis_host = sim_host_new(v->world, "redis");
    sim_host_address(v->redis_host, redis_address);
    v->engine_host = sim_host_new(v->world, "engine");
    v->mail = sim_mail_new(v->world, 25);
    v->mail->ledger.keep_starts = true;
    v->redis = fake_redis_new(3 * NSEC_PER_S);
    redis_start(v);
    v->base = io_wall(v->redis_io) - sim_now(v->world);
    for (unsigned i = 0; i < SOURCES; i++)
        sim_host_address(v->engine_host, addresses[i]);
    for (unsigned e = 0; e < engines; e++) {
        char text[8192];
        config_text(text, sizeof text, e, shards, sources, settings);
        v->engines[e] = sim_engine_new(v->engine_host, text, getenv("SIM_LOG") ? 2 : -1);
    }
    v->engine_count = engines;
    v->config = v->engines[0]->config;
    set(v, "from", "Shop <news@shop.example>");
    set(v, "subject", "Hi");
    set(v, "text", "Hello\r\n");
    set(v, "pool", "p");
    struct slice args[] = {SLICE("SADD"), SLICE("sluice:campaigns"), SLICE("c")};
    redis_do(v, args, countof(args));
    return v;
}

/* The first engine alone. */
static void reload(struct village *v, unsigned shards, const char *const *sources, const char *settings)
{
    char text[8192], error[512];
    config_text(text, sizeof text, 0, shards, sources, settings);
    if (!sim_engine_reload(v->engines[0], text, error, sizeof error))
        fail_msg("%s", error);
    for (unsigned i = 0; i < shards; i++)
        sim_engine_take(v->engines[0], i);
    v->config = v->engines[0]->config;
}

static void village_free(struct village *v)
{
    for (unsigned e = 0; e < v->engine_count; e++)
        sim_engine_free(v->engines[e]);
    if (v->redis_io) {
        sim_crash(v->redis_io);
        fake_redis_crashed(v->redis);
    }
    sim_mail_free(v->mail);
    sim_world_free(v->world);
    fake_redis_free(v->redis);
    free(v);
}

static struct sim_isp *isp_new(struct village *v, const char *name)
{
    struct mx_personality personality;
    mx_personality_init(&personality, name);
    struct sim_isp *isp = sim_isp_new(v->mail, name, &personality, 1, false);
    sim_isp_domain(isp, name, 300, 1);
    v->domains[v->domain_count++] = name;
    return isp;
}

/* ---- time ---- */

static struct zone_day day_at(const struct village *v, nsec at) { return zone_day(&v->config->days, v->base + at); }

static nsec day_begins(const struct village *v, int64_t number)
{
    return zone_day_number(&v->config->days, number).begins - v->base;
}

static void push(struct village *v, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        char entry[128];
        int n = snprintf(entry, sizeof entry, "r%llu@%s", (unsigned long long)v->pushed,
                         v->domains[v->pushed % v->domain_count]);
        struct slice args[] = {SLICE("RPUSH"), SLICE("sluice:{c}:recipients"), {entry, (size_t)n}};
        redis_do(v, args, countof(args));
        v->pushed++;
    }
}

/* There is always somebody for everybody. */
static void feed(struct village *v)
{
    uint64_t accepted[4] = {0}, least = UINT64_MAX;
    unsigned i = 0;
    for (i = 0; i < v->domain_count; i++) {
        accepted[i] = judge_accepted(sim_isp_find(v->mail, v->domains[i]));
        uint64_t left = v->pushed / v->domain_count - accepted[i];
        least = left < least ? left : least;
    }
    if (least < AHEAD)
        push(v, (AHEAD - least) * v->domain_count);
}

static void run_until(struct village *v, nsec at, nsec chunk)
{
    while (sim_now(v->world) < at) {
        feed(v);
        sim_run_until(v->world, nsec_min(at, sim_now(v->world) + chunk));
    }
}

/* ---- judging ---- */

/* Starts of a source at an ISP in a day of the calendar. */
static uint64_t starts_in(const struct village *v, const char *isp, unsigned source, const struct zone_day *day)
{
    size_t count;
    uint64_t in = 0;
    nsec *starts = judge_starts(sim_isp_find(v->mail, isp), addresses[source], &count);
    for (size_t i = 0; i < count; i++)
        in += starts[i] + v->base >= day->begins && starts[i] + v->base < day->ends;
    free(starts);
    return in;
}

static void starts_are(const struct village *v, const char *isp, unsigned source, int64_t number, uint64_t from,
                       uint64_t to)
{
    struct zone_day day = zone_day_number(&v->config->days, number);
    uint64_t starts = starts_in(v, isp, source, &day);
    if (starts < from || starts > to)
        fail_msg("seed %llu: day %lld: %llu starts of s%u at %s, not %llu to %llu", (unsigned long long)v->seed,
                 (long long)number, (unsigned long long)starts, source, isp, (unsigned long long)from,
                 (unsigned long long)to);
}

/* ---- stories ---- */

#define WEEKS                                                                                                          \
    "day_length = 60s\n"                                                                                               \
    "warmup w { kind = linear start = 2 step = 1 max = 1000 advance = calendar gate = none }\n"                        \
    "isp a.example { mx = mx1.a.example }\n"

/* As many as the curve says, on each of 45 days, for an ISP of its own and for `other` ones; and all day long. */
static void endless_demand(void **unused)
{
    (void)unused;
    const char *const sources[SOURCES] = {"warmup = w", "warmup = w", NULL};
    struct village *v = village_new(1, 1, 2, sources, WEEKS);
    isp_new(v, "a.example");
    isp_new(v, "b.example");
    int64_t first = day_at(v, sim_now(v->world)).number + 1;
    sim_run_until(v->world, day_begins(v, first) - 5 * NSEC_PER_S);
    sim_engine_start(v->engines[0]);
    run_until(v, day_begins(v, first + 45), 20 * NSEC_PER_S);
    for (int64_t day = 0; day < 45; day++)
        for (unsigned source = 0; source < 2; source++) {
            uint64_t cap = 2 + (uint64_t)day;
            starts_are(v, "a.example", source, first + day, cap, cap);
            starts_are(v, "b.example", source, first + day, cap, cap);
        }
    village_free(v);
}

static void sealed(struct village *v, uint64_t count)
{
    push(v, count);
    set(v, "sealed", "1");
    sim_engine_start(v->engines[0]);
}

static uint64_t starts_of(const struct village *v, unsigned source)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < v->domain_count; i++) {
        size_t count;
        free(judge_starts(sim_isp_find(v->mail, v->domains[i]), addresses[source], &count));
        sum += count;
    }
    return sum;
}

/* Seven a day are spread over the day: never two within half of what even shares would leave between them. */
static void seven_a_day(void **unused)
{
    (void)unused;
    const char *const sources[SOURCES] = {"warmup = w", NULL};
    struct village *v = village_new(2, 1, 2, sources,
                                    "day_length = 10m\nisp a.example { mx = mx1.a.example }\n"
                                    "warmup w { caps = {7, 7, 7} advance = calendar gate = none }\n");
    isp_new(v, "a.example");
    int64_t first = day_at(v, sim_now(v->world)).number + 1;
    sim_run_until(v->world, day_begins(v, first) - 5 * NSEC_PER_S);
    sim_engine_start(v->engines[0]);
    run_until(v, day_begins(v, first + 3), 20 * NSEC_PER_S);
    size_t count;
    nsec *starts = judge_starts(sim_isp_find(v->mail, "a.example"), addresses[0], &count);
    for (int64_t day = 0; day < 3; day++)
        starts_are(v, "a.example", 0, first + day, 7, 7);
    for (size_t i = 1; i < count; i++)
        assert_true(starts[i] - starts[i - 1] > 600 * NSEC_PER_S / 7 / 2);
    free(starts);
    village_free(v);
}

/* What the warming sources cannot take goes by the warm one at once, and by no other warming one. */
static void overflow_spills(void **unused)
{
    (void)unused;
    const char *const sources[SOURCES] = {"warmup = w", "warmup = w", "rate = 5/s", NULL};
    struct village *v = village_new(3, 1, 2, sources,
                                    "day_length = 1h\nisp a.example { mx = mx1.a.example }\n"
                                    "warmup w { caps = {40, 50} advance = calendar gate = none }\n");
    isp_new(v, "a.example");
    isp_new(v, "b.example");
    sim_run_until(v->world, day_begins(v, day_at(v, sim_now(v->world)).number + 1));
    sealed(v, 2000);
    sim_run_until(v->world, sim_now(v->world) + 300 * NSEC_PER_S);
    assert_int_equal(judge_accepted(sim_isp_find(v->mail, "a.example")), 1000);
    assert_int_equal(judge_accepted(sim_isp_find(v->mail, "b.example")), 1000);
    assert_in_range(starts_of(v, 0), 1, 80); /* two counters */
    assert_in_range(starts_of(v, 1), 1, 80);
    assert_int_equal(starts_of(v, 0) + starts_of(v, 1) + starts_of(v, 2), 2000);
    village_free(v);
}

/* With overflow = wait each source gets its share, and what is a warming one's waits for it, for days. */
static void overflow_waits(void **unused)
{
    (void)unused;
    const char *const sources[SOURCES] = {"warmup = w overflow = wait", "connections = 4", NULL};
    struct village *v = village_new(4, 1, 2, sources,
                                    "day_length = 5m\nisp a.example { mx = mx1.a.example }\n"
                                    "warmup w { caps = {10, 12, 20} advance = calendar gate = none }\n");
    isp_new(v, "a.example");
    int64_t first = day_at(v, sim_now(v->world)).number + 1;
    sim_run_until(v->world, day_begins(v, first));
    sealed(v, 80);
    sim_run_until(v->world, day_begins(v, first + 1) - NSEC_PER_S);
    assert_int_equal(starts_of(v, 1), 40);
    starts_are(v, "a.example", 0, first, 8, 10); /* the engine began when the day had */
    sim_engine_crash(v->engines[0]);             /* who waits, waits in Redis */
    sim_engine_start(v->engines[0]);
    sim_run_until(v->world, day_begins(v, first + 3) + 120 * NSEC_PER_S);
    starts_are(v, "a.example", 0, first + 1, 10, 12);
    starts_are(v, "a.example", 0, first + 2, 16, 20);
    assert_int_equal(starts_of(v, 1), 40);
    assert_in_range(starts_of(v, 0), 38, 40);
    sim_run_until(v->world, day_begins(v, first + 4));
    assert_int_equal(starts_of(v, 0), 40);
    assert_int_equal(judge_accepted(sim_isp_find(v->mail, "a.example")), 80);
    village_free(v);
}

/* A source may have a cap over all ISPs besides, and ISPs without a block share one. */
static void caps_over_all(void **unused)
{
    (void)unused;
    const char *const sources[SOURCES] = {"warmup = w", NULL};
    struct village *v = village_new(5, 1, 2, sources,
                                    "day_length = 5m\nisp a.example { mx = mx1.a.example }\n"
                                    "warmup w { caps = {30, 30} advance = calendar gate = none\n"
                                    "  all { caps = {40, 40} advance = calendar gate = none } }\n");
    isp_new(v, "a.example");
    isp_new(v, "b.example");
    isp_new(v, "c.example");
    int64_t first = day_at(v, sim_now(v->world)).number + 1;
    sim_run_until(v->world, day_begins(v, first) - 5 * NSEC_PER_S);
    sim_engine_start(v->engines[0]);
    run_until(v, day_begins(v, first + 2), 20 * NSEC_PER_S);
    for (int64_t day = first; day < first + 2; day++) {
        struct zone_day within = zone_day_number(&v->config->days, day);
        uint64_t a = starts_in(v, "a.example", 0, &within), b = starts_in(v, "b.example", 0, &within),
                 c = starts_in(v, "c.example", 0, &within);
        assert_in_range(a, 1, 30);
        assert_in_range(b + c, 1, 30);
        assert_true(b && c);
        assert_in_range(a + b + c, 38, 40);
    }
    village_free(v);
}

/* Clocks that differ by more than a minute: nothing is granted while they do, and no day is counted twice. */
static void clocks_jump(void **unused)
{
    (void)unused;
    const char *const sources[SOURCES] = {"warmup = w", NULL};
    struct village *v = village_new(6, 1, 2, sources,
                                    "day_length = 10m\nisp a.example { mx = mx1.a.example }\n"
                                    "warmup w { caps = {40, 60} advance = calendar gate = none }\n");
    isp_new(v, "a.example");
    int64_t first = day_at(v, sim_now(v->world)).number + 1;
    nsec begins = day_begins(v, first);
    sim_run_until(v->world, begins - 5 * NSEC_PER_S);
    sim_engine_start(v->engines[0]);
    run_until(v, begins + 100 * NSEC_PER_S, 20 * NSEC_PER_S);
    uint64_t before = starts_of(v, 0);
    assert_in_range(before, 4, 12);
    sim_wall_jump(v->world, v->engine_host, 3600 * NSEC_PER_S); /* the engine's alone: six days on */
    run_until(v, begins + 200 * NSEC_PER_S, 20 * NSEC_PER_S);
    assert_in_range(starts_of(v, 0), before, before + 4); /* what had been granted */
    sim_wall_jump(v->world, v->engine_host, -3600 * NSEC_PER_S);
    sim_wall_jump(v->world, v->redis_host, -3600 * NSEC_PER_S);
    before = starts_of(v, 0);
    run_until(v, begins + 300 * NSEC_PER_S, 20 * NSEC_PER_S);
    assert_in_range(starts_of(v, 0), before, before + 1);
    sim_wall_jump(v->world, v->redis_host, 3600 * NSEC_PER_S);
    run_until(v, begins + 600 * NSEC_PER_S, 20 * NSEC_PER_S);
    starts_are(v, "a.example", 0, first, 20, 40);
    run_until(v, begins + 1200 * NSEC_PER_S, 20 * NSEC_PER_S);
    starts_are(v, "a.example", 0, first + 1, 60, 60);
    village_free(v);
}

/* Of the record: its word `n`, as a number. */
static long long record_word(struct village *v, const char *counter, unsigned n)
{
    char *reply = fake_redis_do(v->redis, "HGET sluice:warmup:s0 %s", counter);
    const char *at = strchr(reply, '\n');
    assert_non_null(at);
    for (at++; n > 1; n--)
        at = strchr(at, ' ') + 1;
    long long number = strtoll(at, NULL, 10);
    free(reply);
    return number;
}

/* Where clocks are changed a day has 23 or 25 hours, and ends when it is midnight there. */
static void days_of_other_lengths(void **unused)
{
    static const struct {
        const char *zone;
        int month, day; /* that begins at `begins`, of 2026, and another one before it */
        int64_t begins;
    } cases[] = {{"Europe/Paris", 3, 30, 1774821600},     /* 22:00 UTC: the 29th had 23 hours */
                 {"America/Santiago", 4, 5, 1775361600}}; /* 04:00 UTC: the 4th had 25 */
    (void)unused;
    for (size_t i = 0; i < countof(cases); i++) {
        const char *const sources[SOURCES] = {"warmup = w", NULL};
        char settings[512];
        snprintf(settings, sizeof settings,
                 "zone = \"%s\"\nisp a.example { mx = mx1.a.example }\n"
                 "warmup w { caps = {4800, 9600} advance = calendar gate = none }\n",
                 cases[i].zone);
        struct village *v = village_new(7 + i, 1, 2, sources, settings);
        isp_new(v, "a.example");
        nsec jump = (cases[i].begins - 600) * NSEC_PER_S - io_wall(v->redis_io);
        sim_wall_jump(v->world, NULL, jump);
        v->base += jump;
        nsec midnight = cases[i].begins * NSEC_PER_S - v->base;
        sim_engine_start(v->engines[0]);
        run_until(v, midnight - NSEC_PER_MS, 20 * NSEC_PER_S);
        int64_t date = zone_date(2026, cases[i].month, cases[i].day);
        assert_int_equal(record_word(v, "a.example", 4), date - 1);
        uint64_t before = starts_of(v, 0);
        assert_in_range(before, 60, 140); /* at four times the even pace */
        run_until(v, midnight + 600 * NSEC_PER_S, 20 * NSEC_PER_S);
        assert_int_equal(record_word(v, "a.example", 4), date);
        assert_int_equal(record_word(v, "a.example", 3), 2);
        assert_in_range(starts_of(v, 0) - before, 50, 75); /* 400 an hour */
        village_free(v);
    }
}

/* A block takes a stage back at once, and it is told with its evidence. */
static void a_block_steps_back(void **unused)
{
    (void)unused;
    const char *const sources[SOURCES] = {"warmup = w", NULL};
    struct village *v = village_new(9, 1, 2, sources,
                                    "day_length = 5m\nisp a.example { mx = mx1.a.example }\n"
                                    "warmup w { caps = {40, 80, 90} advance = calendar }\n");
    struct sim_isp *isp = isp_new(v, "a.example");
    struct mx_personality blocks;
    mx_personality_init(&blocks, "a.example");
    mx_personality_rule(&blocks, MX_MAIL, MX_CERTAIN, "554 5.7.1 Your IP address 203.0.113.10 is blocked, blacklisted");
    int64_t first = day_at(v, sim_now(v->world)).number + 1;
    sim_run_until(v->world, day_begins(v, first) - 5 * NSEC_PER_S);
    sim_engine_start(v->engines[0]);
    sim_isp_mood(isp, day_begins(v, first + 1) + 150 * NSEC_PER_S, &blocks);
    run_until(v, day_begins(v, first + 1) + 140 * NSEC_PER_S, 20 * NSEC_PER_S);
    assert_int_equal(record_word(v, "a.example", 3), 2);
    uint64_t before = starts_of(v, 0);
    run_until(v, day_begins(v, first + 2) - 5 * NSEC_PER_S, 20 * NSEC_PER_S);
    assert_int_equal(record_word(v, "a.example", 3), 1);
    assert_in_range(starts_of(v, 0), before, before + 12);
    char *ops = fake_redis_do(v->redis, "XRANGE sluice:ops - +");
    assert_non_null(strstr(ops, "back-struck"));
    free(ops);
    village_free(v);
}

/* A server that turns every third message away has seen its MAIL all the same. */
static void what_was_seen_counts(void **unused)
{
    (void)unused;
    const char *const sources[SOURCES] = {"warmup = w", NULL};
    struct village *v = village_new(12, 1, 2, sources,
                                    "day_length = 5m\nisp a.example { mx = mx1.a.example adapt = no }\n"
                                    "warmup w { caps = {60, 60} advance = calendar gate = none }\n");
    struct sim_isp *isp = isp_new(v, "a.example");
    struct mx_personality busy;
    mx_personality_init(&busy, "a.example");
    mx_personality_rule(&busy, MX_MAIL, MX_CERTAIN / 3, "421 4.3.2 busy, come back");
    sim_isp_mood(isp, 0, &busy);
    int64_t first = day_at(v, sim_now(v->world)).number + 1;
    sim_run_until(v->world, day_begins(v, first) - 5 * NSEC_PER_S);
    sim_engine_start(v->engines[0]);
    run_until(v, day_begins(v, first + 2), 20 * NSEC_PER_S);
    starts_are(v, "a.example", 0, first, 20, 60);
    starts_are(v, "a.example", 0, first + 1, 20, 60);
    assert_in_range(judge_accepted(isp), 20, 110);
    village_free(v);
}

/* A slow server leaves much of a day's cap over; nothing of it is used in the next. */
static void a_piece_is_of_its_day(void **unused)
{
    (void)unused;
    const char *const sources[SOURCES] = {"warmup = w", NULL};
    struct village *v = village_new(13, 1, 2, sources,
                                    "day_length = 5m\nisp a.example { mx = mx1.a.example connections = 1 }\n"
                                    "warmup w { caps = {200, 220} advance = calendar gate = none }\n");
    struct sim_isp *isp = isp_new(v, "a.example");
    struct mx_personality slow, fast;
    mx_personality_init(&slow, "a.example");
    fast = slow;
    slow.latency[MX_BODY] = (struct mx_latency){8 * NSEC_PER_S, 0};
    sim_isp_mood(isp, 0, &slow);
    int64_t first = day_at(v, sim_now(v->world)).number + 1;
    sim_isp_mood(isp, day_begins(v, first + 1) - NSEC_PER_S, &fast);
    sim_run_until(v->world, day_begins(v, first) - 5 * NSEC_PER_S);
    sim_engine_start(v->engines[0]);
    run_until(v, day_begins(v, first + 2), 20 * NSEC_PER_S);
    starts_are(v, "a.example", 0, first, 20, 60);
    starts_are(v, "a.example", 0, first + 1, 200, 220);
    assert_true(sim_engine_metric(v->engines[0], METRIC_WARMUP_THROWN_AWAY) > 20);
    village_free(v);
}

#define RELOADED(caps)                                                                                                 \
    "day_length = 5m\nisp a.example { mx = mx1.a.example }\n"                                                          \
    "warmup w { caps = " caps " advance = calendar gate = none }\n"

/* A curve that is changed while its day goes on: what was granted counts, and neither cap is exceeded. */
static void a_curve_is_reloaded(void **unused)
{
    (void)unused;
    const char *const sources[SOURCES] = {"warmup = w", NULL};
    struct village *v = village_new(14, 1, 2, sources, RELOADED("{60, 60}"));
    isp_new(v, "a.example");
    int64_t first = day_at(v, sim_now(v->world)).number + 1;
    sim_run_until(v->world, day_begins(v, first) - 5 * NSEC_PER_S);
    sim_engine_start(v->engines[0]);
    run_until(v, day_begins(v, first) + 100 * NSEC_PER_S, 20 * NSEC_PER_S);
    assert_in_range(starts_of(v, 0), 10, 28);
    reload(v, 2, sources, RELOADED("{30, 30}"));
    run_until(v, day_begins(v, first + 1) + 100 * NSEC_PER_S, 20 * NSEC_PER_S);
    starts_are(v, "a.example", 0, first, 24, 30);
    reload(v, 2, sources, RELOADED("{30, 90}"));
    run_until(v, day_begins(v, first + 2), 20 * NSEC_PER_S);
    starts_are(v, "a.example", 0, first + 1, 80, 90);
    village_free(v);
}

/* ---- everything dies ---- */

static uint64_t draw(struct village *v, uint64_t n) { return sim_random(v->world) % n; }

/* One misfortune: an engine is killed or comes back, Redis loses its last moments, or nobody reaches it. */
static void misfortune(struct village *v, nsec *redis_back)
{
    struct sim_engine *engine = v->engines[draw(v, v->engine_count)];
    nsec now = sim_now(v->world);
    if (!v->redis_io && now >= *redis_back)
        redis_start(v);
    switch (draw(v, 6)) {
    case 0:
    case 1:
    case 2:
        if (sim_engine_runs(engine))
            sim_engine_crash(engine);
        else
            sim_engine_start(engine);
        break;
    case 3:
        if (v->redis_io) {
            redis_crash(v, (nsec)draw(v, 1900) * NSEC_PER_MS);
            *redis_back = now + (nsec)draw(v, 3000) * NSEC_PER_MS;
        }
        break;
    case 4:
        if (v->redis_io)
            sim_partition(v->world, v->redis_host, v->engine_host, now + (nsec)draw(v, 8000) * NSEC_PER_MS);
        break;
    default:
        break;
    }
}

#define DAYS                                                                                                           \
    "day_length = 60s\n"                                                                                               \
    "warmup w { kind = linear start = 3 step = 2 max = 1000 advance = calendar gate = none }\n"                        \
    "isp a.example { mx = mx1.a.example }\n"

static void everything_dies(void **unused)
{
    (void)unused;
    const char *const sources[SOURCES] = {"warmup = w", "warmup = w", "warmup = w", NULL};
    uint64_t total = 0, allowed = 0;
    for (uint64_t seed = 10; seed <= 18; seed += 8) { /* two that see what is not settled */
        struct village *v = village_new(seed, 3, 2, sources, DAYS);
        isp_new(v, "a.example");
        isp_new(v, "b.example");
        int64_t first = day_at(v, sim_now(v->world)).number + 1;
        sim_run_until(v->world, day_begins(v, first) - 5 * NSEC_PER_S);
        nsec redis_back = 0;
        while (sim_now(v->world) < day_begins(v, first + 10)) {
            feed(v);
            misfortune(v, &redis_back);
            sim_run_until(v->world, sim_now(v->world) + (nsec)(500 + draw(v, 12000)) * NSEC_PER_MS);
        }
        for (int64_t day = 0; day < 10; day++)
            for (unsigned source = 0; source < 3; source++)
                for (unsigned i = 0; i < v->domain_count; i++) {
                    struct zone_day within = zone_day_number(&v->config->days, first + day);
                    total += starts_in(v, v->domains[i], source, &within);
                    allowed += 3 + 2 * (uint64_t)day;
                    starts_are(v, v->domains[i], source, first + day, 0, 3 + 2 * (uint64_t)day);
                }
        village_free(v);
    }
    if (total < allowed / 4)
        fail_msg("hardly anything was sent: %llu of %llu", (unsigned long long)total, (unsigned long long)allowed);
}

/* Each day one engine is killed, and starts again, and Redis is out of reach for a while: what they held is all that the
 * day is short of. A piece is what ten seconds of the day's pace need, and is fetched three seconds and more ahead. */
static void only_pieces_are_lost(void **unused)
{
    (void)unused;
    enum { CAP = 240, DAYS_OF = 8, PIECE = 2 * CAP * 10 / 60 };
    const char *const sources[SOURCES] = {"warmup = w", "warmup = w", "warmup = w", NULL};
    struct village *v = village_new(30, ENGINES, 2, sources,
                                    "shipped_rules = no\nday_length = 60s\n"
                                    "warmup w { kind = table caps = {240} then = hold advance = calendar gate = none }\n"
                                    "isp a.example { mx = mx1.a.example }\n");
    isp_new(v, "a.example");
    int64_t first = day_at(v, sim_now(v->world)).number + 1;
    for (unsigned e = 0; e < ENGINES; e++)
        sim_engine_start(v->engines[e]);
    run_until(v, day_begins(v, first), NSEC_PER_S);
    uint64_t lost = 0;
    for (int64_t day = first; day < first + DAYS_OF; day++) {
        struct sim_engine *engine = v->engines[draw(v, ENGINES)];
        run_until(v, day_begins(v, day) + (nsec)(5 + draw(v, 15)) * NSEC_PER_S, NSEC_PER_S);
        sim_engine_crash(engine);
        sim_engine_start(engine);
        run_until(v, day_begins(v, day) + (nsec)(25 + draw(v, 10)) * NSEC_PER_S, NSEC_PER_S);
        sim_partition(v->world, v->redis_host, v->engine_host, sim_now(v->world) + 2 * NSEC_PER_S);
        run_until(v, day_begins(v, day + 1), NSEC_PER_S);
        struct zone_day within = zone_day_number(&v->config->days, day);
        for (unsigned source = 0; source < 3; source++) {
            starts_are(v, "a.example", source, day, CAP - PIECE, CAP);
            lost += CAP - starts_in(v, "a.example", source, &within);
        }
    }
    if (lost > DAYS_OF * PIECE) /* of one engine a day, not of every one */
        fail_msg("%llu units were lost in %d days of a killed engine each", (unsigned long long)lost, DAYS_OF);
    village_free(v);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endless_demand),        cmocka_unit_test(seven_a_day),
        cmocka_unit_test(overflow_spills),       cmocka_unit_test(overflow_waits),
        cmocka_unit_test(caps_over_all),         cmocka_unit_test(clocks_jump),
        cmocka_unit_test(days_of_other_lengths), cmocka_unit_test(a_block_steps_back),
        cmocka_unit_test(what_was_seen_counts),  cmocka_unit_test(a_piece_is_of_its_day),
        cmocka_unit_test(a_curve_is_reloaded),   cmocka_unit_test(everything_dies),
        cmocka_unit_test(only_pieces_are_lost),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
