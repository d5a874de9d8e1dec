/* The engine's own shards in a simulated world: that they start, wait, die and leave as a process does, and what they
 * do on a machine that runs short. An argument chooses among the tests by name. */
#include "town.h"

#include <errno.h>
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

/* ---- what this machine lacks is nobody's fault ---- */

/* Everybody was sent to once, at the first try, and nobody was told anything else. */
static void judge_nobody_was_blamed(struct town *town, uint64_t recipients)
{
    struct town_account account = town_judge(town, "c");
    assert_int_equal(account.events[EVENT_DELIVERED], recipients);
    assert_int_equal(account.events[EVENT_DEFERRED], 0);
    assert_int_equal(account.finals, recipients);
    assert_int_equal(account.events[EVENT_IN_DOUBT], 0);
    assert_int_equal(town_metric(town, METRIC_SESSIONS_FAILED_CONNECT), 0);
    assert_int_equal(town_metric(town, METRIC_SESSIONS_FAILED_GREETING), 0);
}

static void a_lack_for_two_minutes(int error, enum metric metric, uint64_t seed)
{
    struct town *town = town_new(seed, 1 + (unsigned)(seed & 1),
                                 "defaults { connections = 2 }\n"
                                 "isp big.example { mx = {.big.example}  per_connection = 5 }\n"
                                 "isp long.example { mx = {.long.example}  per_connection = 0  rate = 2/s }\n");
    sim_isp_plain(town->mail, "big.example", 40 * NSEC_PER_MS, 2);
    struct sim_isp *open = sim_isp_plain(town->mail, "long.example", 5 * NSEC_PER_MS, 2);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 1000);
    town_push(town, "c", "r%llu@long.example", 0, 300);
    town_start(town);
    town_run(town, 1500 * NSEC_PER_MS);
    nsec until = sim_now(town->world) + 20 * NSEC_PER_S;
    sim_lack(town->engine_host, error, until);
    town_run(town, NSEC_PER_S);
    uint64_t before = sim_engine_metric(town->engine, METRIC_TURNS);
    uint64_t accepted = town->mail->ledger.accepted_count, there = judge_accepted(open);
    town_run(town, 18 * NSEC_PER_S);
    assert_true(judge_accepted(open) > there + 80); /* sessions that are open go on */
    if (error == EMFILE) /* and hand on what they have when they end */
        assert_true(town->mail->ledger.accepted_count - accepted > judge_accepted(open) - there + 80);
    else
        assert_int_equal(town->mail->ledger.accepted_count - accepted, judge_accepted(open) - there);
    uint64_t turns = sim_engine_metric(town->engine, METRIC_TURNS) - before;
    if (turns > 18 * 1500)
        fail_msg("%llu turns while sessions cannot be begun", (unsigned long long)turns);
    assert_true(town_metric(town, metric) > 0);
    assert_true(town_metric(town, metric) < 18 * 64); /* once a second, or once for each lane */
    sim_run_until(town->world, until + 100 * NSEC_PER_S);
    assert_true(town_drain(town, 200 * NSEC_PER_S)); /* not an hour of back-off later */
    judge_nobody_was_blamed(town, 1300);
    town_judge_empty(town);
    town_judge_limits(town);
    town_finish(town);
    town_free(town);
}

static void sessions_that_cannot_be_begun_wait(void **unused)
{
    (void)unused;
    a_lack_for_two_minutes(EMFILE, METRIC_LACKED_DESCRIPTORS, 40);
    a_lack_for_two_minutes(ENFILE, METRIC_LACKED_DESCRIPTORS, 41);
    a_lack_for_two_minutes(ENOBUFS, METRIC_LACKED_MEMORY, 42);
    a_lack_for_two_minutes(ENOMEM, METRIC_LACKED_MEMORY, 43);
    a_lack_for_two_minutes(EADDRNOTAVAIL, METRIC_LACKED_PORTS, 44);
}

static size_t starts_from(const struct sim_isp *isp, const char *address)
{
    size_t count;
    free(judge_starts(isp, address, &count));
    return count;
}

/* A source's address goes: its mates take over, what has none waits, and all is well when it is back. */
static void a_source_whose_address_has_gone_rests(void **unused)
{
    (void)unused;
    struct town *town = town_new(45, 2, "pool alone { source 203.0.113.13 { name = s3  ehlo = s3.town.example } }\n"
                                        "defaults { per_connection = 5  connections = 2  retry = {10s} }\n");
    struct sim_isp *isp = sim_isp_plain(town->mail, "big.example", 40 * NSEC_PER_MS, 2);
    town_campaign(town, "c", "");
    town_campaign(town, "d", "pool alone");
    town_push(town, "c", "r%llu@big.example", 0, 5000);
    town_push(town, "d", "d%llu@big.example", 0, 600);
    town_start(town);
    town_run(town, 1500 * NSEC_PER_MS);
    assert_true(starts_from(isp, "203.0.113.10") > 0 && starts_from(isp, "203.0.113.13") > 0);
    sim_host_absent(town->engine_host, "203.0.113.10", true);
    sim_host_absent(town->engine_host, "203.0.113.13", true);
    town_run(town, NSEC_PER_S);
    size_t gone = starts_from(isp, "203.0.113.10"), alone = starts_from(isp, "203.0.113.13");
    size_t mate = starts_from(isp, "203.0.113.11");
    town_run(town, 5 * NSEC_PER_S);
    assert_int_equal(starts_from(isp, "203.0.113.10"), gone);
    assert_int_equal(starts_from(isp, "203.0.113.13"), alone);
    assert_true(starts_from(isp, "203.0.113.11") > mate);
    assert_in_range(town_metric(town, METRIC_LACKED_SOURCE), 2, 20); /* it is not tried again and again */
    sim_host_absent(town->engine_host, "203.0.113.10", false);
    sim_host_absent(town->engine_host, "203.0.113.13", false);
    town_run(town, 11 * NSEC_PER_S);
    assert_true(starts_from(isp, "203.0.113.13") > alone);
    assert_true(town_drain(town, 300 * NSEC_PER_S));
    struct town_account account = town_judge(town, "d");
    assert_int_equal(account.events[EVENT_DELIVERED], 600);
    assert_int_equal(account.events[EVENT_DEFERRED], 0);
    judge_nobody_was_blamed(town, 5000);
    town_judge_empty(town);
    town_judge_limits(town);
    town_finish(town);
    town_free(town);
}

/* An engine that has not got the campaign's pool says nothing in the place of one that has; but where nobody has it,
 * that is said. */
static void who_lacks_the_pool_leaves_the_phase(void **unused)
{
    (void)unused;
    struct town *town = town_new_shared(46, 2, 1, "isp big { mx = {.big.example}  rate = 20/s }\n");
    struct mx_personality personality;
    mx_personality_init(&personality, "big.example");
    sim_isp_domain(sim_isp_new(town->mail, "big.example", &personality, 1, false), "big.example", 300, 1);
    town_campaign(town, "c", "pool q sealed 0");
    town_push(town, "c", "r%llu@big.example", 0, 800);
    town_start_one(town, 1);
    town_run(town, 3 * NSEC_PER_S);
    assert_string_equal(town_phase(town, "c"), "waiting");
    town_start_one(town, 0);
    town_reload(town, "isp big { mx = {.big.example}  rate = 20/s }\n"
                      "pool q { source 203.0.113.13 { name = s3  ehlo = s3.town.example } }\n", 0);
    town_run(town, 5 * NSEC_PER_S);
    unsigned waiting = 0;
    for (unsigned i = 0; i < 400; i++) { /* first while it is sent, then while nothing is left to be sent */
        waiting += strcmp(town_phase(town, "c"), "waiting") == 0;
        town_run(town, 200 * NSEC_PER_MS);
    }
    assert_string_equal(town_phase(town, "c"), "idle");
    assert_int_equal(waiting, 0);
    town_finish_one(town, 1);
    town_start_one(town, 1); /* it knows nothing of what was said */
    for (unsigned i = 0; i < 150; i++) {
        waiting += strcmp(town_phase(town, "c"), "waiting") == 0;
        town_run(town, 200 * NSEC_PER_MS);
    }
    assert_string_equal(town_phase(town, "c"), "idle");
    assert_in_range(waiting, 0, 5); /* once at most, until the other says how it is */
    town_finish(town);
    town_free(town);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_redis_it_waits),
        cmocka_unit_test(it_dies_and_comes_back),
        cmocka_unit_test(it_leaves_when_asked),
        cmocka_unit_test(sessions_that_cannot_be_begun_wait),
        cmocka_unit_test(a_source_whose_address_has_gone_rests),
        cmocka_unit_test(who_lacks_the_pool_leaves_the_phase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
