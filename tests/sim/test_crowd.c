/* Stories of plenty and of want: many ISPs, many campaigns, few sessions, and whoever would starve the others. An
 * argument chooses among them by name. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct sim_isp *isp_like(struct town *town, const struct mx_personality *personality)
{
    struct sim_isp *isp = sim_isp_new(town->mail, personality->name, personality, 1, false);
    sim_isp_domain(isp, personality->name, 300, 1);
    return isp;
}

static struct sim_isp *isp_of(struct town *town, const char *name)
{
    struct mx_personality personality;
    mx_personality_init(&personality, name);
    return isp_like(town, &personality);
}

/* Takes all connections and answers no MAIL. */
static struct sim_isp *silent_isp(struct town *town, const char *name)
{
    struct mx_personality personality;
    mx_personality_init(&personality, name);
    mx_personality_rule(&personality, MX_MAIL, MX_CERTAIN, NULL)->action = MX_SILENCE;
    return isp_like(town, &personality);
}

/* Domains d0.PROVIDER, d1.PROVIDER ..., each with an MX of its own: as many ISPs, though one machine answers for all.
 */
static void own_domains(struct town *town, const struct sim_isp *isp, unsigned count)
{
    char domain[80], host[96], address[64];
    io_address_text(&isp->exchangers[0].at[0], address, sizeof address);
    for (unsigned i = 0; i < count; i++) {
        snprintf(domain, sizeof domain, "d%u.%s", i, isp->name);
        snprintf(host, sizeof host, "mx.d%u.%s", i, isp->name);
        sim_zone_mx(town->world, domain, 3600, 10, host);
        sim_zone_address(town->world, host, 3600, address);
    }
}

static void push_own(struct town *town, const char *id, const char *isp, unsigned domains, unsigned each)
{
    for (unsigned i = 0; i < each; i++)
        for (unsigned d = 0; d < domains; d++) {
            char entry[96];
            snprintf(entry, sizeof entry, "r%u@d%u.%s", i, d, isp);
            town_push_entry(town, id, entry);
        }
}

static struct shard *shard_of(struct town *town, unsigned i) { return town->engine->shards[i].shard; }

static void close_town(struct town *town)
{
    town_judge_empty(town);
    town_finish(town);
    town_free(town);
}

/* 3,000 ISPs that share 64 sessions with one that always has work. */
static void small_isps_get_their_sessions(void **unused)
{
    (void)unused;
    struct town *town = town_new(1, 1, "sessions_max = 64\ndefaults { connections = 20 }\n");
    struct mx_personality slow;
    mx_personality_init(&slow, "big.example");
    slow.latency[MX_BODY] = (struct mx_latency){100 * NSEC_PER_MS, 0};
    isp_like(town, &slow);
    own_domains(town, isp_of(town, "small.example"), 3000);
    town_campaign(town, "a", "");
    town_push(town, "a", "r%llu@big.example", 0, 20000);
    town_campaign(town, "c", "");
    push_own(town, "c", "small.example", 3000, 2);
    town_start(town);
    for (unsigned i = 0; i < 60 && strcmp(town_phase(town, "c"), "done") != 0; i++)
        town_run(town, NSEC_PER_S);
    assert_string_equal(town_phase(town, "c"), "done");
    assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 6000);
    assert_true(judge_accepted(sim_isp_find(town->mail, "big.example")) > 30);
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    town_judge(town, "a");
    close_town(town);
}

/* What waits is spread over many leases and ISPs when the pause comes: all of it is parked at once. */
static void a_pause_of_many_leases(void **unused)
{
    (void)unused;
    struct town *town = town_new(2, 1, "sessions_max = 16\n");
    own_domains(town, silent_isp(town, "silent.example"), 800);
    town_campaign(town, "c", "sealed 0");
    town_start(town);
    town_run(town, 2 * NSEC_PER_S);
    for (unsigned lease = 0; lease < 250; lease++) {
        for (unsigned i = 0; i < 10; i++) {
            char entry[64];
            unsigned domain = (unsigned)(sim_random(town->world) % 800);
            snprintf(entry, sizeof entry, "r%u@d%u.silent.example", lease * 10 + i, domain);
            town_push_entry(town, "c", entry);
        }
        free(fake_redis_do(town->redis, "PUBLISH sluice:wake c"));
        town_run(town, 30 * NSEC_PER_MS);
    }
    assert_true(shard_of(town, 0)->lanes.waiting > 2000);
    assert_true(shard_of(town, 0)->intake.lease_count > 200);
    town_set(town, "c", "state", "paused");
    town_run(town, 2 * NSEC_PER_S);
    assert_int_equal(shard_of(town, 0)->lanes.waiting, 0);
    town_set(town, "c", "state", "cancelled");
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    town_judge(town, "c");
    close_town(town);
}

/* One ISP without an entry answers nothing, and has more than fits into memory: the others of its kind go on, and what
 * waits for it waits in Redis. */
static void a_silent_small_isp_fills_no_memory(void **unused)
{
    (void)unused;
    struct town *town = town_new(3, 1, "");
    silent_isp(town, "silent.example");
    isp_of(town, "fast.example");
    town_campaign(town, "c", "");
    for (uint64_t i = 0; i < 30000; i += 100) {
        town_push(town, "c", "r%llu@silent.example", i, 100);
        town_push(town, "c", "r%llu@fast.example", i, 100);
    }
    town_start(town);
    unsigned most = 0;
    for (unsigned i = 0; i < 60; i++) {
        town_run(town, NSEC_PER_S);
        unsigned attempts = intake_attempts(&shard_of(town, 0)->intake);
        most = i > 3 && attempts > most ? attempts : most;
    }
    assert_int_equal(judge_accepted(sim_isp_find(town->mail, "fast.example")), 30000);
    assert_in_range(intake_attempts(&shard_of(town, 0)->intake), 1, 400);
    town_set(town, "c", "state", "cancelled");
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    town_judge(town, "c");
    close_town(town);
}

/* 60 ISPs that answer nothing, each with as many waiting as memory has room for, and one that works. */
static void many_silent_isps_slow_nobody(void **unused)
{
    (void)unused;
    struct town *town = town_new(4, 1, "sessions_max = 4096\npress_bytes = 64MiB\n");
    own_domains(town, silent_isp(town, "silent.example"), 60);
    isp_of(town, "fast.example");
    town_campaign(town, "c", "");
    for (unsigned i = 0; i < 300; i++) {
        push_own(town, "c", "silent.example", 60, 1);
        town_push(town, "c", "r%llu@fast.example", i * 60, 60);
    }
    town_start(town);
    town_run(town, 120 * NSEC_PER_S);
    assert_int_equal(judge_accepted(sim_isp_find(town->mail, "fast.example")), 18000);
    town_set(town, "c", "state", "cancelled");
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    town_judge(town, "c");
    close_town(town);
}

/* More sessions wait for a silent server than messages fit into the press: the others wait until one is given back, and
 * do not ask again and again. */
static void a_full_press_costs_no_turns(void **unused)
{
    (void)unused;
    struct town *town = town_new(12, 1, "press_bytes = 1MiB\ndefaults { connections = 100  timeout_mail = 60s }\n");
    struct sim_isp *isp = silent_isp(town, "silent.example");
    town_campaign(town, "c", "");
    char text[5000] = "Hello {{name}}\n"; /* what stands behind a field is each message's own */
    memset(text + strlen(text), 'x', sizeof text - 1 - strlen(text));
    text[sizeof text - 1] = 0;
    town_set(town, "c", "text", text);
    town_push(town, "c", "r%llu@silent.example", 0, 2000);
    town_start(town);
    town_run(town, 10 * NSEC_PER_S);
    assert_true(press_used(&shard_of(town, 0)->press) > 900 * 1024);
    uint64_t before = sim_engine_metric(town->engine, METRIC_TURNS);
    town_run(town, 40 * NSEC_PER_S);
    assert_in_range(sim_engine_metric(town->engine, METRIC_TURNS) - before, 1, 40 * 60);
    struct mx_personality personality;
    mx_personality_init(&personality, "silent.example");
    sim_isp_mood(isp, sim_now(town->world), &personality);
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    town_judge(town, "c");
    close_town(town);
}

/* Retries prefer the source that was there before; when they all come due at once at a slow ISP, they wait in Redis. */
static void retries_of_a_slow_isp_fill_no_memory(void **unused)
{
    (void)unused;
    struct town *town = town_new(5, 1, "isp slow { mx = {.slow.example}  rate = 30/s  retry = {20s} }\n");
    struct mx_personality personality;
    mx_personality_init(&personality, "slow.example");
    mx_personality_rule(&personality, MX_RCPT, MX_CERTAIN, "450 4.2.0 later");
    struct sim_isp *isp = isp_like(town, &personality);
    isp_of(town, "fast.example");
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@slow.example", 0, 6000);
    town_start(town);
    town_run(town, 60 * NSEC_PER_S); /* all had their first attempt */
    mx_personality_init(&personality, "slow.example");
    personality.latency[MX_MAIL] = (struct mx_latency){60 * NSEC_PER_S, 0};
    sim_isp_mood(isp, sim_now(town->world), &personality);
    town_run(town, 60 * NSEC_PER_S);
    assert_in_range(intake_attempts(&shard_of(town, 0)->intake), 1, 500);
    town_push(town, "c", "r%llu@fast.example", 0, 5000);
    town_run(town, 10 * NSEC_PER_S);
    assert_int_equal(judge_accepted(sim_isp_find(town->mail, "fast.example")), 5000);
    town_set(town, "c", "state", "cancelled");
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    town_judge(town, "c");
    close_town(town);
}

/* More ISPs have a parked list than one look at a campaign tells of, and the longest of them are of no use. */
static void short_parked_lists_have_their_turn(void **unused)
{
    (void)unused;
    char settings[12288];
    size_t n = 0;
    for (unsigned i = 0; i < 80; i++)
        n += (size_t)snprintf(settings + n, sizeof settings - n, "isp i%u { mx = {mx.d%u.%s}  rate = %s }\n", i, i,
                              i < 70 ? "dead.example" : "fast.example", i < 70 ? "1/h" : "20/s");
    struct town *town = town_new(6, 1, settings);
    own_domains(town, isp_of(town, "dead.example"), 80);
    own_domains(town, isp_of(town, "fast.example"), 80);
    town_campaign(town, "c", "");
    push_own(town, "c", "dead.example", 70, 300);
    for (unsigned i = 70; i < 80; i++) {
        char format[64];
        snprintf(format, sizeof format, "r%%llu@d%u.fast.example", i);
        for (unsigned k = 0; k < 250; k++) {
            char entry[64];
            snprintf(entry, sizeof entry, "r%u@d%u.fast.example", k, i);
            town_push_entry(town, "c", entry);
        }
    }
    town_start(town);
    town_run(town, 60 * NSEC_PER_S);
    assert_int_equal(judge_accepted(sim_isp_find(town->mail, "fast.example")), 2500);
    assert_true(sim_engine_metric(town->engine, METRIC_SESSIONS_OPENED) < 2500); /* though more were wanted than fit */
    town_set(town, "c", "state", "cancelled");
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    town_judge(town, "c");
    close_town(town);
}

/* Each reply takes half a second: twenty-five sessions are needed for the rate, and they are there soon. */
static void a_throttle_is_reached_at_a_slow_server(void **unused)
{
    (void)unused;
    struct town *town = town_new(7, 1, "isp far.example { mx = {.far.example}  connections = 40  rate = 50/s }\n");
    struct mx_personality personality;
    mx_personality_init(&personality, "far.example");
    for (enum mx_stage stage = MX_GREETING; stage < MX_STAGE_COUNT; stage++)
        personality.latency[stage] = (struct mx_latency){100 * NSEC_PER_MS, 0};
    personality.latency[MX_BODY] = (struct mx_latency){400 * NSEC_PER_MS, 0};
    struct sim_isp *isp = isp_like(town, &personality);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@far.example", 0, 20000);
    town_start(town);
    town_run(town, 60 * NSEC_PER_S);
    for (unsigned source = 0; source < TOWN_SOURCES; source++) {
        char address[16];
        snprintf(address, sizeof address, "203.0.113.%u", 10 + source);
        size_t count;
        nsec *starts = judge_starts(isp, address, &count);
        assert_true(count > 0);
        unsigned reached = judge_rate_reached(starts, count, 1, 20 * NSEC_PER_MS);
        if (reached < 990)
            fail_msg("%s reached %u per mille of its rate", address, reached);
        free(starts);
    }
    town_judge_limits(town);
    town_set(town, "c", "state", "cancelled");
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    town_judge(town, "c");
    close_town(town);
}

/* An ISP of two MX sets, throttled: the session that is idle at the one does not keep the other waiting. */
static void sites_of_a_throttled_isp_share_its_rate(void **unused)
{
    (void)unused;
    struct town *town = town_new(8, 1,
                                 "isp two { mx = {.one.example, .other.example}  connections = 2  rate = 20/s "
                                 "idle = 5m }\n");
    isp_of(town, "one.example");
    isp_of(town, "other.example");
    town_campaign(town, "c", "sealed 0");
    town_push(town, "c", "r%llu@one.example", 0, 20);
    town_start(town);
    town_run(town, 5 * NSEC_PER_S);
    town_push(town, "c", "r%llu@other.example", 0, 20);
    town_run(town, 5 * NSEC_PER_S);
    assert_int_equal(judge_accepted(sim_isp_find(town->mail, "other.example")), 20);
    close_town(town);
}

/* A provider allows five connections where ten are configured: those five work on, and it is not hammered. */
static void a_provider_allows_few_connections(void **unused)
{
    (void)unused;
    struct town *town = town_new(9, 1, "");
    struct mx_personality personality;
    mx_personality_init(&personality, "few.example");
    personality.connections_per_source_max = 5;
    personality.latency[MX_BODY] = (struct mx_latency){50 * NSEC_PER_MS, 0};
    isp_like(town, &personality);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@few.example", 0, 20000);
    town_start(town);
    assert_true(town_drain(town, 90 * NSEC_PER_S)); /* 20 sessions, 20 messages a second each: 50 s */
    struct town_account account = town_judge(town, "c");
    assert_int_equal(account.events[EVENT_DELIVERED], 20000);
    assert_int_equal(account.events[EVENT_DEFERRED], 0);
    assert_in_range(sim_engine_metric(town->engine, METRIC_SESSIONS_FAILED_GREETING), 1, 20 + 4 * 20);
    close_town(town);
}

/* One source's sessions are turned away; its mates send what waits, and nobody is deferred for it. (Without adaptation,
 * that a lane keeps to this alone; with it: test_adapt.c.) */
static void a_blocked_source_leaves_its_mail_to_its_mates(void **unused)
{
    (void)unused;
    struct town *town = town_new(10, 1, "defaults { adapt = no }\n");
    struct mx_personality personality;
    mx_personality_init(&personality, "picky.example");
    personality.latency[MX_BODY] = (struct mx_latency){50 * NSEC_PER_MS, 0};
    mx_personality_rule(&personality, MX_GREETING, MX_CERTAIN, "554 5.7.1 blocked")->first = 10;
    isp_like(town, &personality);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@picky.example", 0, 5000);
    town_start(town);
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    struct town_account account = town_judge(town, "c");
    assert_int_equal(account.events[EVENT_DELIVERED], 5000);
    assert_int_equal(account.events[EVENT_DEFERRED], 0);
    close_town(town);
}

/* 421 at every first MAIL: a lane tries a few sessions, then what waits is deferred. */
static void an_isp_that_is_busy_is_asked_seldom(void **unused)
{
    (void)unused;
    struct town *town = town_new(11, 1, "defaults { adapt = no  retry = {10m} }\n");
    struct mx_personality personality;
    mx_personality_init(&personality, "busy.example");
    mx_personality_rule(&personality, MX_MAIL, MX_CERTAIN, "421 4.3.2 try later");
    isp_like(town, &personality);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@busy.example", 0, 400);
    town_start(town);
    town_run(town, 120 * NSEC_PER_S);
    assert_int_equal(sim_engine_metric(town->engine, METRIC_DEFERRED), 400);
    assert_true(sim_engine_metric(town->engine, METRIC_SESSIONS_OPENED) <= 4 * 20);
    town_set(town, "c", "state", "cancelled");
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    town_judge(town, "c");
    close_town(town);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_isps_get_their_sessions),
        cmocka_unit_test(a_pause_of_many_leases),
        cmocka_unit_test(a_silent_small_isp_fills_no_memory),
        cmocka_unit_test(many_silent_isps_slow_nobody),
        cmocka_unit_test(a_full_press_costs_no_turns),
        cmocka_unit_test(retries_of_a_slow_isp_fill_no_memory),
        cmocka_unit_test(short_parked_lists_have_their_turn),
        cmocka_unit_test(a_throttle_is_reached_at_a_slow_server),
        cmocka_unit_test(sites_of_a_throttled_isp_share_its_rate),
        cmocka_unit_test(a_provider_allows_few_connections),
        cmocka_unit_test(a_blocked_source_leaves_its_mail_to_its_mates),
        cmocka_unit_test(an_isp_that_is_busy_is_asked_seldom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
