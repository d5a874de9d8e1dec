/* The engine's own shards in a simulated world: that they start, wait, die and leave as a process does. */
#include "sim_engine.h"
#include "sim_mx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char configuration[] = "redis = \"redis://192.0.2.99:6379\"\n"
                                    "shards = 2\n"
                                    "engine = one\n"
                                    "sessions_max = 64\n"
                                    "hostname = one.example\n"
                                    "pool p {\n"
                                    "  source 192.0.2.1 { ehlo = m1.example.com }\n"
                                    "  source 192.0.2.2 { ehlo = m2.example.com }\n"
                                    "}\n";

struct scene {
    struct sim_world *world;
    struct sim_host *here;
    struct sim_engine *engine;
    FILE *log;
};

static void scene_open(struct scene *s, uint64_t seed)
{
    print_message("seed %llu\n", (unsigned long long)seed);
    *s = (struct scene){.world = sim_world_new(seed), .log = tmpfile()};
    assert_non_null(s->log);
    s->here = sim_host_new(s->world, "here");
    sim_host_address(s->here, "192.0.2.1");
    sim_host_address(s->here, "192.0.2.2");
    sim_host_address(sim_host_new(s->world, "redis"), "192.0.2.99");
    s->engine = sim_engine_new(s->here, configuration, fileno(s->log));
}

static void scene_close(struct scene *s)
{
    sim_engine_free(s->engine);
    sim_world_free(s->world);
    fclose(s->log);
}

static unsigned lines_with(FILE *log, const char *text)
{
    char line[4096];
    unsigned n = 0;
    rewind(log);
    while (fgets(line, sizeof line, log))
        n += strstr(line, text) != NULL;
    return n;
}

/* Nobody listens at Redis' port for a day: it is said once and again each while, not a thousand times, and the engine
 * comes back for more in steps that grow. */
static void without_redis_it_waits(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, 1);
    sim_engine_start(s.engine);
    sim_run_until(s.world, sim_now(s.world) + 86400 * NSEC_PER_S);
    assert_int_equal(sim_engine_metric(s.engine, METRIC_STARTED), 0);
    assert_int_equal(sim_engine_metric(s.engine, METRIC_REDIS_CONNECTED), 0);
    unsigned said = lines_with(s.log, "redis");
    assert_in_range(said, 1, 2 * 24 * 12);
    assert_true(sim_events(s.world) < 2 * 86400 * 20);
    scene_close(&s);
}

static void it_dies_and_comes_back(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++) {
        struct scene s;
        scene_open(&s, seed);
        for (unsigned life = 1; life <= 3; life++) {
            sim_engine_start(s.engine);
            assert_int_equal(s.engine->incarnation, life);
            assert_true(sim_engine_runs(s.engine));
            sim_run_until(s.world, sim_now(s.world) + (nsec)(sim_random(s.world) % (uint64_t)(5 * NSEC_PER_S)));
            sim_engine_crash(s.engine);
            assert_false(sim_engine_runs(s.engine));
        }
        assert_false(sim_step(s.world)); /* nothing of it is left */
        scene_close(&s);
    }
}

static void it_leaves_when_asked(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, 2);
    sim_engine_start(s.engine);
    sim_run_until(s.world, sim_now(s.world) + 10 * NSEC_PER_S);
    assert_true(sim_engine_stop(s.engine, 30 * NSEC_PER_S, 60 * NSEC_PER_S));
    assert_false(sim_engine_runs(s.engine));
    assert_false(sim_step(s.world));
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_redis_it_waits),
        cmocka_unit_test(it_dies_and_comes_back),
        cmocka_unit_test(it_leaves_when_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
