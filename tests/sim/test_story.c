/* Stories: what a person would try first, on the virtual clock, each with every oracle. An argument chooses among them
 * by name: test_sim_story 'a_retry*'. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const nsec day = 24 * 3600 * NSEC_PER_S;

static struct sim_isp *isp_like(struct town *town, const struct mx_personality *personality, unsigned exchangers)
{
    struct sim_isp *isp = sim_isp_new(town->mail, personality->name, personality, exchangers, false);
    sim_isp_domain(isp, personality->name, 300, exchangers);
    return isp;
}

static struct sim_isp *isp_of(struct town *town, const char *name, unsigned exchangers)
{
    struct mx_personality personality;
    mx_personality_init(&personality, name);
    return isp_like(town, &personality, exchangers);
}

/* Every lane and protocol rule was kept, nothing is left in memory, and the engine leaves when asked. */
static void close_town(struct town *town)
{
    town_judge_empty(town);
    town_judge_limits(town);
    town_finish(town);
    town_free(town);
}

static void a_campaign_is_delivered(void **unused)
{
    (void)unused;
    for (unsigned shards = 1; shards <= 3; shards += 2) {
        struct town *town = town_new(1, shards, "");
        isp_of(town, "big.example", 2);
        isp_of(town, "small.example", 1);
        town_campaign(town, "c", "");
        town_push(town, "c", "{\"to\":\"r%llu@big.example\",\"name\":\"Ann\"}", 0, 1500);
        town_push(town, "c", "r%llu@small.example", 0, 700);
        town_start(town);
        assert_true(town_drain(town, 600 * NSEC_PER_S));
        assert_string_equal(town_phase(town, "c"), "done");
        struct town_account account = town_judge(town, "c");
        assert_int_equal(account.events[EVENT_DELIVERED], 2200);
        assert_int_equal(account.copies, 2200);
        close_town(town);
    }
}

/* adapt = no: it would hold a campaign back whose messages were refused as spam. Whom greylisting turned away is tried
 * again after five minutes, by the rule; that is before it expires. */
static void refusals_become_their_events(void **unused)
{
    (void)unused;
    struct town *town = town_new(2, 1, "defaults { retry = {10s, 30s}  expire = 10m  adapt = no }\n");
    struct mx_personality personality;
    mx_personality_init(&personality, "moody.example");
    struct mx_rule *rule = mx_personality_rule(&personality, MX_RCPT, MX_CERTAIN, "550 5.1.1 no such user");
    strcpy(rule->match, "dead*");
    rule = mx_personality_rule(&personality, MX_RCPT, MX_CERTAIN, "450 4.2.0 greylisted");
    strcpy(rule->match, "grey*");
    rule->first = 100;
    rule = mx_personality_rule(&personality, MX_RCPT, MX_CERTAIN, "452 4.2.2 full");
    strcpy(rule->match, "full*");
    rule = mx_personality_rule(&personality, MX_BODY, MX_CERTAIN, "554 5.7.1 spam");
    strcpy(rule->match, "spam*");
    isp_like(town, &personality, 1);
    sim_zone_mx(town->world, "null.example", 60, 0, "");
    sim_zone_mx(town->world, "nohost.example", 60, 10, "mx.nowhere.example");
    sim_zone_status(town->world, "broken.example", RESOLVER_SERVFAIL);
    town_campaign(town, "c", "events full");
    town_push(town, "c", "dead%llu@moody.example", 0, 50);
    town_push(town, "c", "grey%llu@moody.example", 0, 100);
    town_push(town, "c", "full%llu@moody.example", 0, 20);
    town_push(town, "c", "spam%llu@moody.example", 0, 30);
    town_push(town, "c", "good%llu@moody.example", 0, 100);
    town_push(town, "c", "x%llu@null.example", 0, 5);
    town_push(town, "c", "x%llu@nohost.example", 0, 5);
    town_push(town, "c", "x%llu@nosuch.example", 0, 5);
    town_push(town, "c", "x%llu@broken.example", 0, 5);
    town_start(town);
    assert_true(town_drain(town, 1800 * NSEC_PER_S));
    struct town_account account = town_judge(town, "c");
    assert_int_equal(account.events[EVENT_DELIVERED], 200);
    assert_int_equal(account.events[EVENT_BOUNCED], 50 + 30 + 15);
    assert_int_equal(account.events[EVENT_EXPIRED], 20 + 5);
    assert_true(account.events[EVENT_DEFERRED] >= 100 + 2 * 25);
    close_town(town);
}

/* An ISP that answers nothing and one that is very slow: the others go on, memory stays bounded. */
static void a_slow_isp_slows_nobody_else(void **unused)
{
    (void)unused;
    struct town *town = town_new(3, 1, "isp slow { mx = {.slow.example}  rate = 1/s }\n");
    struct mx_personality silent;
    mx_personality_init(&silent, "silent.example");
    mx_personality_rule(&silent, MX_MAIL, MX_CERTAIN, NULL)->action = MX_SILENCE;
    isp_like(town, &silent, 1);
    isp_of(town, "slow.example", 1);
    isp_of(town, "fast.example", 2);
    town_campaign(town, "c", "");
    for (uint64_t i = 0; i < 6000; i += 100) { /* as mixed as a real list */
        town_push(town, "c", "r%llu@silent.example", i, 100);
        town_push(town, "c", "r%llu@slow.example", i, 100);
        town_push(town, "c", "r%llu@fast.example", i, 100);
    }
    town_start(town);
    unsigned most = 0;
    for (unsigned second = 0; second < 120; second++) {
        town_run(town, NSEC_PER_S);
        unsigned attempts = intake_attempts(&town->engine->shards[0].shard->intake);
        most = attempts > most ? attempts : most;
    }
    assert_int_equal(judge_accepted(sim_isp_find(town->mail, "fast.example")), 6000);
    assert_in_range(judge_accepted(sim_isp_find(town->mail, "slow.example")), 4 * 110, 4 * 121);
    uint64_t parked = sim_engine_metric(town->engine, METRIC_PARKED);
    /* At most once for an attempt, and nobody had a second one yet; but of the bucket that holds the silent one a few
     * go to its end now and then, to let others pass. */
    assert_in_range(parked, 3000, 18000 + 2000);
    assert_true(most <= INTAKE_ATTEMPTS);
    town_judge_limits(town);
    town_set(town, "c", "state", "cancelled");
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    struct town_account account = town_judge(town, "c");
    assert_true(account.events[EVENT_CANCELLED] > 9000);
    close_town(town);
}

static void a_throttle_is_kept_and_reached(void **unused)
{
    (void)unused;
    for (unsigned shards = 1; shards <= 3; shards += 2) {
        struct town *town = town_new(4, shards,
                                     "isp one { mx = {.one.example}  connections = 4  rate = 50/s }\n"
                                     "isp two { mx = {.two.example}  connections = 9  rate = 600/min  burst = 3 }\n");
        isp_of(town, "one.example", 1);
        isp_of(town, "two.example", 2);
        town_campaign(town, "c", "");
        town_push(town, "c", "r%llu@one.example", 0, 12000);
        town_push(town, "c", "r%llu@two.example", 0, 6000);
        town_start(town);
        town_run(town, 60 * NSEC_PER_S);
        static const struct {
            const char *isp;
            uint64_t burst;
            nsec interval;
        } lanes[] = {{"one.example", 1, 20 * NSEC_PER_MS}, {"two.example", 3, 100 * NSEC_PER_MS}};
        for (unsigned i = 0; i < countof(lanes); i++)
            for (unsigned source = 0; source < TOWN_SOURCES; source++) {
                char address[16];
                snprintf(address, sizeof address, "203.0.113.%u", 10 + source);
                size_t count;
                nsec *starts = judge_starts(sim_isp_find(town->mail, lanes[i].isp), address, &count);
                if (count < 500)
                    fail_msg("%u shards: %s had %zu starts at %s", shards, address, count, lanes[i].isp);
                assert_int_equal(judge_rate(starts, count, lanes[i].burst, lanes[i].interval).excess, 0);
                unsigned reached = judge_rate_reached(starts, count, lanes[i].burst, lanes[i].interval);
                if (reached < 990)
                    fail_msg("%u shards: %s at %s reached %u per mille of its rate", shards, address, lanes[i].isp,
                             reached);
                free(starts);
            }
        assert_true(town_drain(town, 3600 * NSEC_PER_S));
        town_judge(town, "c");
        close_town(town);
    }
}

static size_t starts_after(const struct town *town, nsec at)
{
    size_t count = 0;
    for (size_t i = 0; i < town->mail->ledger.start_count; i++)
        count += town->mail->ledger.starts[i].at > at;
    return count;
}

static void a_pause_holds_and_a_resume_goes_on(void **unused)
{
    (void)unused;
    struct town *town = town_new(5, 2, "isp big { mx = {.big.example}  rate = 100/s }\n");
    isp_of(town, "big.example", 1);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 5000);
    town_start(town);
    town_run(town, 5 * NSEC_PER_S);
    town_set(town, "c", "state", "paused");
    nsec paused = sim_now(town->world);
    town_run(town, 20 * NSEC_PER_S);
    assert_int_equal(starts_after(town, paused + NSEC_PER_S), 0);
    assert_string_equal(town_phase(town, "c"), "waiting");
    town_set(town, "c", "state", "running");
    town_run(town, 2 * NSEC_PER_S);
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 5000);
    close_town(town);
}

static void a_campaign_is_cancelled(void **unused)
{
    (void)unused;
    struct town *town = town_new(6, 2, "isp big { mx = {.big.example}  rate = 20/s }\n");
    isp_of(town, "big.example", 1);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 4000);
    town_start(town);
    town_run(town, 5 * NSEC_PER_S);
    town_set(town, "c", "state", "cancelled");
    nsec at = sim_now(town->world);
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    assert_string_equal(town_phase(town, "c"), "cancelled");
    assert_int_equal(starts_after(town, at + NSEC_PER_S), 0);
    struct town_account account = town_judge(town, "c");
    assert_int_equal(account.events[EVENT_DELIVERED] + account.events[EVENT_CANCELLED], 4000);
    assert_true(account.events[EVENT_CANCELLED] > 3000);
    close_town(town);
}

/* SIGTERM in the middle: the rest is given back, and the next engine sends it; nobody is in doubt, nobody has two. */
static void an_engine_leaves_and_another_goes_on(void **unused)
{
    (void)unused;
    struct town *town = town_new(7, 2, "");
    struct mx_personality personality;
    mx_personality_init(&personality, "big.example");
    personality.latency[MX_BODY] = (struct mx_latency){20 * NSEC_PER_MS, 30 * NSEC_PER_MS};
    isp_like(town, &personality, 1);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 4000);
    for (unsigned i = 0; i < 4; i++) {
        town_start(town);
        town_run(town, 600 * NSEC_PER_MS);
        town_finish(town);
    }
    town_start(town);
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    struct town_account account = town_judge(town, "c");
    assert_int_equal(account.events[EVENT_DELIVERED], 4000);
    assert_int_equal(account.events[EVENT_IN_DOUBT], 0);
    assert_int_equal(account.copies, 4000);
    close_town(town);
}

static void crash_policy(const char *policy, uint64_t seed)
{
    struct town *town = town_new(seed, 2, "");
    struct mx_personality personality;
    mx_personality_init(&personality, "big.example");
    personality.latency[MX_BODY] = (struct mx_latency){20 * NSEC_PER_MS, 30 * NSEC_PER_MS};
    isp_like(town, &personality, 2);
    char fields[64];
    snprintf(fields, sizeof fields, "in_doubt %s", policy);
    town_campaign(town, "c", fields);
    town_push(town, "c", "r%llu@big.example", 0, 3000);
    for (unsigned i = 0; i < 3; i++) {
        town_start(town);
        town_run(town, 1500 * NSEC_PER_MS);
        town_crash(town);
        town_run(town, NSEC_PER_S);
    }
    town_start(town);
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    struct town_account account = town_judge(town, "c");
    assert_true(account.events[EVENT_IN_DOUBT] > 0);
    assert_true(account.events[EVENT_IN_DOUBT] <= 3 * town->open_sessions);
    if (strcmp(policy, "hold") == 0) {
        assert_string_equal(town_phase(town, "c"), "waiting");
        assert_int_equal(account.in_doubt_open, account.events[EVENT_IN_DOUBT]);
        town_set(town, "c", "state", "cancelled"); /* that is no word on them either */
        town_run(town, 10 * NSEC_PER_S);
        assert_string_equal(town_phase(town, "c"), "waiting");
        assert_int_equal(town_judge(town, "c").in_doubt_open, account.in_doubt_open);
    } else {
        assert_string_equal(town_phase(town, "c"), "done");
        assert_int_equal(account.finals, 3000);
    }
    close_town(town);
}

static void after_a_crash_the_policy_decides(void **unused)
{
    (void)unused;
    crash_policy("hold", 8);
    crash_policy("resend", 9);
    crash_policy("drop", 10);
}

static void redis_goes_and_comes_back(void **unused)
{
    (void)unused;
    struct town *town = town_new(11, 2, "isp big { mx = {.big.example}  rate = 100/s }\n");
    isp_of(town, "big.example", 1);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 6000);
    town_redis_stop(town);
    town_start(town); /* away at the start */
    town_run(town, 30 * NSEC_PER_S);
    assert_int_equal(town->mail->ledger.accepted_count, 0);
    town_redis_start(town);
    town_run(town, 15 * NSEC_PER_S); /* it gives nothing out in the first ten: replay.h */
    assert_true(town->mail->ledger.accepted_count > 0);
    for (unsigned i = 0; i < 3; i++) { /* away in the middle */
        town_redis_stop(town);
        nsec away = sim_now(town->world);
        town_run(town, 40 * NSEC_PER_S);
        assert_int_equal(starts_after(town, away + 10 * NSEC_PER_S), 0);
        town_redis_start(town);
        town_run(town, 3 * NSEC_PER_S);
    }
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    struct town_account account = town_judge(town, "c");
    assert_int_equal(account.events[EVENT_DELIVERED], 6000);
    assert_int_equal(account.events[EVENT_IN_DOUBT], 0);
    close_town(town);
}

/* Nothing breaks, nothing comes back: for all we know another engine holds our sources by now. */
static void without_a_heartbeat_nothing_starts(void **unused)
{
    (void)unused;
    struct town *town =
        town_new(23, 2, "isp big.example { mx = {.big.example}  connections = 20  rate = 1/s  burst = 20 }\n");
    isp_of(town, "big.example", 1);
    town_campaign(town, "c", "in_doubt resend");
    town_push(town, "c", "r%llu@big.example", 0, 400);
    town_start(town);
    town_run(town, 20 * NSEC_PER_S);
    nsec silent = sim_now(town->world);
    sim_partition(town->world, town->engine_host, town->redis_host, silent + 30 * NSEC_PER_S);
    town_run(town, 25 * NSEC_PER_S);
    assert_true(starts_after(town, silent) > 0);
    assert_int_equal(starts_after(town, silent + 5 * NSEC_PER_S), 0);
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 400);
    close_town(town);
}

static void bad_input_loses_nobody(void **unused)
{
    (void)unused;
    struct town *town = town_new(12, 1, "");
    isp_of(town, "big.example", 1);
    town_campaign(town, "c", "unique 1");
    static const char *const bad[] = {"{\"to\":",   "{}",           "no-at-sign",      "a@b@c..d",
                                      "{\"to\":7}", "\x01\xff\xfe", "{\"to\":\"a@\"}", "a b@big.example"};
    for (unsigned i = 0; i < countof(bad); i++)
        town_push_entry(town, "c", bad[i]);
    town_push(town, "c", "r%llu@big.example", 0, 50);
    town_push(town, "c", "R%llu@BIG.example", 0, 50); /* the same again, written otherwise */
    char *longest = malloc(LIMIT_RECIPIENT + 100);
    memset(longest, 'x', LIMIT_RECIPIENT + 99);
    longest[LIMIT_RECIPIENT + 99] = 0;
    town_push_entry(town, "c", longest);
    free(longest);
    town_start(town);
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    struct town_account account = town_judge(town, "c");
    assert_int_equal(account.events[EVENT_INVALID], countof(bad) + 1);
    assert_int_equal(account.events[EVENT_DELIVERED], 50);
    assert_int_equal(account.events[EVENT_SUPPRESSED], 50);
    close_town(town);
}

static void an_incomplete_campaign_waits_to_be_completed(void **unused)
{
    (void)unused;
    struct town *town = town_new(13, 1, "");
    isp_of(town, "big.example", 1);
    town_campaign(town, "c", "");
    town_set(town, "c", "from", "");
    town_campaign(town, "d", "pool nobody");
    town_campaign(town, "e", "in_doubt perhaps");
    town_push(town, "c", "r%llu@big.example", 0, 100);
    town_push(town, "d", "r%llu@big.example", 0, 100);
    town_push(town, "e", "r%llu@big.example", 0, 100);
    town_start(town);
    town_run(town, 30 * NSEC_PER_S);
    assert_string_equal(town_phase(town, "c"), "incomplete");
    assert_string_equal(town_phase(town, "d"), "waiting");
    assert_string_equal(town_phase(town, "e"), "incomplete");
    assert_int_equal(town->mail->ledger.accepted_count, 0);
    town_set(town, "c", "from", "Shop <news@shop.example>");
    town_set(town, "d", "pool", "p");
    town_set(town, "e", "in_doubt", "hold");
    town_run(town, 10 * NSEC_PER_S);
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    for (const char *id = "c\0d\0e\0"; *id; id += 2)
        assert_int_equal(town_judge(town, id).events[EVENT_DELIVERED], 100);
    close_town(town);
}

/* A retry comes from the address that was greylisted, for that is the one the server remembers. */
static void a_retry_keeps_its_source(void **unused)
{
    (void)unused;
    struct town *town = town_new(14, 1, "defaults { retry = {60s} }\n");
    struct mx_personality personality;
    mx_personality_init(&personality, "grey.example");
    mx_personality_rule(&personality, MX_RCPT, MX_CERTAIN, "450 4.2.0 greylisted")->first = 40;
    struct sim_isp *isp = isp_like(town, &personality, 1);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@grey.example", 0, 40);
    town_start(town);
    town_run(town, 30 * NSEC_PER_S);
    size_t first[TOWN_SOURCES], all[TOWN_SOURCES];
    for (unsigned i = 0; i < TOWN_SOURCES; i++) {
        char address[16];
        snprintf(address, sizeof address, "203.0.113.%u", 10 + i);
        free(judge_starts(isp, address, &first[i]));
    }
    assert_true(town_drain(town, day));
    for (unsigned i = 0; i < TOWN_SOURCES; i++) {
        char address[16];
        snprintf(address, sizeof address, "203.0.113.%u", 10 + i);
        free(judge_starts(isp, address, &all[i]));
        assert_int_equal(all[i], 2 * first[i]);
    }
    town_judge(town, "c");
    close_town(town);
}

/* All hosts dead: everybody is deferred, few connections are tried, and when they live again all is delivered. */
static void a_dead_isp_is_left_alone(void **unused)
{
    (void)unused;
    struct town *town = town_new(15, 1, "");
    struct sim_isp *isp = isp_of(town, "big.example", 2);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 500);
    sim_isp_stop(isp, 0);
    sim_isp_stop(isp, 1);
    town_start(town);
    town_run(town, 20 * NSEC_PER_S);
    assert_int_equal(sim_engine_metric(town->engine, METRIC_DEFERRED), 500);
    uint64_t tried = sim_engine_metric(town->engine, METRIC_SESSIONS_FAILED_CONNECT);
    assert_true(tried >= 2);
    town_push(town, "c", "r%llu@big.example", 500, 200);
    town_run(town, 20 * NSEC_PER_S);
    assert_int_equal(sim_engine_metric(town->engine, METRIC_DEFERRED), 700);
    assert_int_equal(sim_engine_metric(town->engine, METRIC_SESSIONS_FAILED_CONNECT), tried); /* it is remembered */
    town_free(town);
    town = town_new(15, 1, "");
    isp = isp_of(town, "big.example", 2);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 500);
    sim_isp_stop(isp, 0); /* one of two: nobody notices */
    town_start(town);
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    struct town_account account = town_judge(town, "c");
    assert_int_equal(account.events[EVENT_DELIVERED], 500);
    assert_int_equal(account.events[EVENT_DEFERRED], 0);
    close_town(town);
}

/* A host with two addresses, of which one is dead: nobody notices. */
static void a_host_has_other_addresses(void **unused)
{
    (void)unused;
    for (unsigned dead = 0; dead < 2; dead++) {
        struct town *town = town_new(17, 1, "");
        struct sim_isp *isp = isp_of(town, "big.example", 2);
        sim_zone_mx(town->world, "two.example", 300, 10, "both.big.example");
        sim_zone_address(town->world, "both.big.example", 300, "100.64.1.1");
        sim_zone_address(town->world, "both.big.example", 300, "100.64.1.2");
        town_campaign(town, "c", "");
        town_push(town, "c", "r%llu@two.example", 0, 100);
        sim_isp_stop(isp, dead);
        town_start(town);
        assert_true(town_drain(town, 600 * NSEC_PER_S));
        struct town_account account = town_judge(town, "c");
        assert_int_equal(account.events[EVENT_DELIVERED], 100);
        assert_int_equal(account.events[EVENT_DEFERRED], 0);
        close_town(town);
    }
}

/* The best host is dead, and the address of the next one is not known yet: they wait for it. */
static void a_host_is_waited_for_while_its_address_is_asked_for(void **unused)
{
    (void)unused;
    for (uint64_t seed = 40; seed < 50; seed++) {
        struct town *town = town_new(seed, 1, "");
        struct sim_isp *isp = isp_of(town, "big.example", 2);
        sim_zone_latency(town->world, NSEC_PER_MS, 2 * NSEC_PER_S);
        sim_zone_mx(town->world, "two.example", 300, 10, "first.big.example");
        sim_zone_mx(town->world, "two.example", 300, 20, "next.big.example");
        sim_zone_address(town->world, "first.big.example", 300, "100.64.1.1");
        sim_zone_address(town->world, "next.big.example", 300, "100.64.1.2");
        town_campaign(town, "c", "");
        town_push(town, "c", "r%llu@two.example", 0, 100);
        sim_isp_stop(isp, 0);
        town_start(town);
        assert_true(town_drain(town, 600 * NSEC_PER_S));
        struct town_account account = town_judge(town, "c");
        assert_int_equal(account.events[EVENT_DELIVERED], 100);
        assert_int_equal(account.events[EVENT_DEFERRED], 0);
        close_town(town);
    }
}

/* Redis is far away and the exchangers near, so that they are ready for a body long before its permit is acknowledged.
 * Then Redis dies, and what it had not read dies with the engine: no body may have left on the strength of that. */
static void no_body_leaves_before_its_permit(void **unused)
{
    (void)unused;
    for (uint64_t seed = 18; seed < 22; seed++) {
        struct town *town = town_new(seed, 2, "");
        sim_link(town->world, town->engine_host, town->redis_host, &(struct sim_link){20 * NSEC_PER_MS, 0, 0});
        isp_of(town, "big.example", 2);
        town_campaign(town, "c", "in_doubt resend");
        town_push(town, "c", "r%llu@big.example", 0, 6000);
        town_start(town);
        town_run(town, 1500 * NSEC_PER_MS);
        town_redis_stop(town);
        town_run(town, 2 * NSEC_PER_MS);
        town_crash(town);
        assert_in_range(town->mail->ledger.accepted_count, 100, 5900);
        town_redis_start(town);
        town_start(town);
        assert_true(town_drain(town, 600 * NSEC_PER_S));
        town_judge(town, "c");
        close_town(town);
    }
}

/* Servers that cannot stand bytes behind the dot, each in its way: nobody bounces for it. */
static void odd_servers_cost_nobody_a_message(void **unused)
{
    (void)unused;
    struct town *town = town_new(16, 1, "defaults { retry = {10s} }\n");
    struct mx_personality personality;
    mx_personality_init(&personality, "refuses.example");
    personality.behind_dot = MX_BEHIND_REFUSED;
    isp_like(town, &personality, 2);
    mx_personality_init(&personality, "closes.example");
    personality.behind_dot = MX_BEHIND_CLOSED;
    isp_like(town, &personality, 1);
    mx_personality_init(&personality, "plain.example");
    personality.pipelining = false;
    isp_like(town, &personality, 1);
    mx_personality_init(&personality, "old.example");
    personality.ehlo = false;
    personality.messages_max = 3;
    personality.messages_silent = true;
    isp_like(town, &personality, 1);
    town_campaign(town, "c", "in_doubt resend");
    town_push(town, "c", "r%llu@refuses.example", 0, 400);
    town_push(town, "c", "r%llu@closes.example", 0, 400);
    town_push(town, "c", "r%llu@plain.example", 0, 400);
    town_push(town, "c", "r%llu@old.example", 0, 400);
    town_start(town);
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    struct town_account account = town_judge(town, "c");
    assert_int_equal(account.events[EVENT_DELIVERED], 1600);
    assert_int_equal(account.events[EVENT_BOUNCED], 0);
    assert_int_equal(account.events[EVENT_DEFERRED], 0);
    assert_int_equal(account.events[EVENT_IN_DOUBT], 0);
    close_town(town);
}

/* With TLS and BDAT, so that it depends on the lengths of ciphertext, and on no byte of it. */
static uint64_t trace_of(uint64_t seed)
{
    struct town *town = town_new(seed, 2, "defaults { chunking = {.big.example}  connections = 1 }\n");
    struct mx_personality personality;
    weather_storm(town->world);
    mx_personality_init(&personality, "big.example");
    personality.starttls = personality.chunking = true;
    personality.messages_max = 5;
    struct sim_isp *isp = sim_isp_new(town->mail, "big.example", &personality, 2, false);
    sim_isp_domain(isp, "big.example", 300, 1);
    town_campaign(town, "c", "in_doubt resend");
    town_push(town, "c", "r%llu@big.example", 0, 300);
    town_start(town);
    town_run(town, 20 * NSEC_PER_S);
    town_crash(town);
    town_start(town);
    town_run(town, 20 * NSEC_PER_S);
    uint64_t trace = sim_trace(town->world);
    assert_true(isp->server.tls_full > 0 && isp->server.tls_resumed > 0);
    town_free(town);
    return trace;
}

static void the_same_seed_gives_the_same_trace(void **unused)
{
    (void)unused;
    assert_true(trace_of(77) == trace_of(77));
    assert_true(trace_of(77) != trace_of(79));
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_campaign_is_delivered),
        cmocka_unit_test(refusals_become_their_events),
        cmocka_unit_test(a_slow_isp_slows_nobody_else),
        cmocka_unit_test(a_throttle_is_kept_and_reached),
        cmocka_unit_test(a_pause_holds_and_a_resume_goes_on),
        cmocka_unit_test(a_campaign_is_cancelled),
        cmocka_unit_test(an_engine_leaves_and_another_goes_on),
        cmocka_unit_test(after_a_crash_the_policy_decides),
        cmocka_unit_test(redis_goes_and_comes_back),
        cmocka_unit_test(without_a_heartbeat_nothing_starts),
        cmocka_unit_test(bad_input_loses_nobody),
        cmocka_unit_test(an_incomplete_campaign_waits_to_be_completed),
        cmocka_unit_test(a_retry_keeps_its_source),
        cmocka_unit_test(a_dead_isp_is_left_alone),
        cmocka_unit_test(a_host_has_other_addresses),
        cmocka_unit_test(a_host_is_waited_for_while_its_address_is_asked_for),
        cmocka_unit_test(no_body_leaves_before_its_permit),
        cmocka_unit_test(odd_servers_cost_nobody_a_message),
        cmocka_unit_test(the_same_seed_gives_the_same_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
