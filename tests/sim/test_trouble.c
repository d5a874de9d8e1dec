/* Stories of trouble: people change their minds in the middle, Redis goes away at the wrong moment, clocks jump. An
 * argument chooses among them by name. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct sim_isp *isp_of(struct town *town, const char *name, nsec latency)
{
    return sim_isp_plain(town->mail, name, latency, 2);
}

static void close_town(struct town *town)
{
    town_judge_empty(town);
    town_judge_limits(town);
    town_finish(town);
    town_free(town);
}

static void redis(struct town *town, const char *command)
{
    char *reply = fake_redis_do(town->redis, "%s", command);
    if (reply[0] == '-')
        fail_msg("%s: %s", command, reply);
    free(reply);
}

static uint64_t turns(struct town *town) { return sim_engine_metric(town->engine, METRIC_TURNS); }

/* Sessions end while Redis is away, and their lanes are forgotten before it is back. */
static void redis_is_away_for_long(void **unused)
{
    (void)unused;
    struct town *town = town_new(1, 2, "");
    isp_of(town, "big.example", 0);
    isp_of(town, "small.example", 0);
    town_campaign(town, "c", "sealed 0");
    town_push(town, "c", "r%llu@big.example", 0, 500);
    town_push(town, "c", "r%llu@small.example", 0, 500);
    town_start(town);
    town_run(town, 4 * NSEC_PER_S);
    assert_int_equal(town->mail->ledger.accepted_count, 1000);
    town_redis_stop(town);
    town_run(town, 200 * NSEC_PER_S);
    town_redis_start(town);
    town_push(town, "c", "r%llu@big.example", 500, 500);
    town_run(town, 60 * NSEC_PER_S);
    assert_int_equal(town->mail->ledger.accepted_count, 1500);
    close_town(town);
}

/* Redis answers, but not what it is asked: nothing starts until it is willing, and the account is right. What was leased
 * is brought to its end while memory is short, and nothing new is leased. */
static void redis_is_unwilling(void **unused)
{
    (void)unused;
    struct town *town = town_new(19, 2, "isp big { mx = {.big.example}  rate = 20/s }\n");
    struct sim_isp *isp = isp_of(town, "big.example", 20 * NSEC_PER_MS);
    town_campaign(town, "c", "in_doubt resend"); /* whose body is out when it happens is not in doubt, if nobody dies */
    town_push(town, "c", "r%llu@big.example", 0, 9500);
    town_start(town);
    town_run(town, 3 * NSEC_PER_S);
    for (enum fake_redis_mode mode = FAKE_REDIS_WELL + 1; mode < FAKE_REDIS_MODE_COUNT; mode++) {
        uint64_t lost = sim_engine_metric(town->engine, METRIC_REDIS_LOST);
        uint64_t refused = fake_redis_counts(town->redis)->refused;
        fake_redis_set_mode(town->redis, mode);
        town_run(town, 2 * NSEC_PER_S);
        uint64_t accepted = judge_accepted(isp);
        town_run(town, 20 * NSEC_PER_S);
        if (mode != FAKE_REDIS_OOM && judge_accepted(isp) != accepted)
            fail_msg("mode %u: %llu were sent meanwhile", mode, (unsigned long long)(judge_accepted(isp) - accepted));
        assert_true(fake_redis_counts(town->redis)->refused > refused);
        fake_redis_set_mode(town->redis, FAKE_REDIS_WELL);
        town_run(town, 8 * NSEC_PER_S); /* the longest back-off, and then some */
        accepted = judge_accepted(isp);
        town_run(town, 2 * NSEC_PER_S);
        if (judge_accepted(isp) < accepted + 120)
            fail_msg("mode %u: %llu in the 2 s after it", mode, (unsigned long long)(judge_accepted(isp) - accepted));
        lost = sim_engine_metric(town->engine, METRIC_REDIS_LOST) - lost;
        if (lost < 1 || lost > 2) /* once for each shard */
            fail_msg("mode %u: %llu times away", mode, (unsigned long long)lost);
    }
    struct town_account account = town_end(town, "c", 600 * NSEC_PER_S);
    assert_int_equal(account.events[EVENT_DELIVERED], 9500);
    assert_int_equal(account.events[EVENT_IN_DOUBT], 0);
    assert_int_equal(account.doubled, 0);
    town_free(town);
}

/* It is slow, and a right is taken from us between a heartbeat and what is asked behind it: whoever is refused has not
 * heard that a source is another's. */
static void a_refusal_takes_no_source(void **unused)
{
    (void)unused;
    struct town *town = town_new(20, 2, "isp big { mx = {.big.example}  connections = 4 }\n");
    isp_of(town, "big.example", 500 * NSEC_PER_MS);
    town_campaign(town, "c", "in_doubt resend");
    town_push(town, "c", "r%llu@big.example", 0, 2000);
    town_start(town);
    fake_redis_set_faults(town->redis, &(struct fake_redis_faults){.delay = 300 * NSEC_PER_MS});
    for (unsigned i = 0; i < 10; i++) {
        town_run(town, 5 * NSEC_PER_S + (nsec)sim_random(town->world) % (2 * NSEC_PER_S));
        fake_redis_set_mode(town->redis, FAKE_REDIS_NOPERM);
        town_run(town, NSEC_PER_S);
        fake_redis_set_mode(town->redis, FAKE_REDIS_WELL);
    }
    struct town_account account = town_end(town, "c", 600 * NSEC_PER_S);
    assert_int_equal(account.events[EVENT_DELIVERED], 2000);
    assert_int_equal(account.events[EVENT_IN_DOUBT], 0);
    town_free(town);
}

/* While nothing can be done nothing is done: neither while Redis is away with recipients in memory, nor while it hangs,
 * nor for campaigns that are idle, paused, or have only retries for later. */
static void waiting_costs_no_turns(void **unused)
{
    (void)unused;
    struct town *town = town_new(2, 1, "defaults { retry = {1h} }\nisp big { mx = {.big.example}  rate = 1/s }\n");
    struct sim_isp *isp = isp_of(town, "big.example", 0);
    isp_of(town, "small.example", 0);
    town_campaign(town, "idle", "sealed 0");
    town_campaign(town, "paused", "state paused");
    town_campaign(town, "retries", "");
    town_push(town, "idle", "r%llu@small.example", 0, 100);
    town_push(town, "paused", "r%llu@small.example", 0, 100);
    sim_zone_status(town->world, "broken.example", RESOLVER_SERVFAIL);
    town_push(town, "retries", "r%llu@broken.example", 0, 100);
    town_start(town);
    town_run(town, 30 * NSEC_PER_S);
    uint64_t before = turns(town);
    town_run(town, 60 * NSEC_PER_S);
    if (turns(town) - before > 60 * 60)
        fail_msg("%llu turns a minute while nothing is to be done", (unsigned long long)(turns(town) - before));
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 5000);
    town_run(town, 5 * NSEC_PER_S);
    before = turns(town);
    town_run(town, 60 * NSEC_PER_S); /* four lanes, one start a second each */
    if (turns(town) - before > 60 * 200)
        fail_msg("%llu turns a minute for 240 messages", (unsigned long long)(turns(town) - before));
    sim_partition(town->world, town->engine_host, town->redis_host, sim_now(town->world) + 60 * NSEC_PER_S);
    before = turns(town);
    town_run(town, 59 * NSEC_PER_S);
    if (turns(town) - before > 60 * 60)
        fail_msg("%llu turns a minute while Redis hangs", (unsigned long long)(turns(town) - before));
    town_run(town, 30 * NSEC_PER_S);
    town_redis_stop(town);
    town_run(town, 10 * NSEC_PER_S);
    before = turns(town);
    town_run(town, 60 * NSEC_PER_S);
    if (turns(town) - before > 60 * 60)
        fail_msg("%llu turns a minute while Redis is away", (unsigned long long)(turns(town) - before));
    town_redis_start(town);
    town_run(town, 30 * NSEC_PER_S); /* to a Redis that was started anew nobody comes for work at once: replay.h */
    uint64_t accepted = judge_accepted(isp);
    town_run(town, 10 * NSEC_PER_S);
    assert_in_range(judge_accepted(isp) - accepted, 39, 41);
    town_finish(town);
    town_free(town);
}

/* Somebody deletes the campaign's hash, puts rubbish in its place, and writes it again as it was. */
static void a_hash_goes_and_comes_back(void **unused)
{
    (void)unused;
    struct town *town = town_new(3, 2, "isp big { mx = {.big.example}  rate = 50/s }\n");
    isp_of(town, "big.example", 20 * NSEC_PER_MS);
    isp_of(town, "small.example", 20 * NSEC_PER_MS);
    town_campaign(town, "c", "in_doubt resend"); /* what was out when no step was possible is in doubt */
    town_push(town, "c", "r%llu@big.example", 0, 4000);
    town_push(town, "c", "r%llu@small.example", 0, 4000);
    town_start(town);
    town_run(town, 2 * NSEC_PER_S);
    for (unsigned round = 0; round < 3; round++) {
        redis(town, "DEL sluice:{c}:campaign");
        if (round == 1)
            redis(town, "SET sluice:{c}:campaign rubbish");
        town_run(town, 5 * NSEC_PER_S);
        if (round != 1) /* where no step is possible the phase cannot be written either */
            assert_string_equal(town_phase(town, "c"), "incomplete");
        size_t accepted = town->mail->ledger.accepted_count;
        town_run(town, 5 * NSEC_PER_S);
        assert_int_equal(town->mail->ledger.accepted_count, accepted);
        redis(town, "DEL sluice:{c}:campaign");
        town_write(town, "c", "in_doubt resend");
        town_run(town, 3 * NSEC_PER_S);
        assert_true(town->mail->ledger.accepted_count > accepted);
    }
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 8000);
    close_town(town);
}

static void the_pool_is_changed_in_the_middle(void **unused)
{
    (void)unused;
    struct town *town = town_new(4, 1,
                                 "pool q { source 203.0.113.13 { name = s3  ehlo = s3.town.example } }\n"
                                 "isp big { mx = {.big.example}  rate = 20/s }\n");
    struct sim_isp *isp = isp_of(town, "big.example", 0);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 2000);
    town_start(town);
    town_run(town, 3 * NSEC_PER_S);
    town_set(town, "c", "pool", "q");
    town_run(town, NSEC_PER_S);
    size_t before, after;
    free(judge_starts(isp, "203.0.113.10", &before));
    assert_true(before > 0);
    town_run(town, 10 * NSEC_PER_S);
    free(judge_starts(isp, "203.0.113.10", &after));
    assert_int_equal(after, before);
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 2000);
    close_town(town);
}

/* SIGTERM while Redis cannot be reached: the engine ends within its limit, and the next one sorts it out. */
static void it_leaves_while_redis_is_away(void **unused)
{
    (void)unused;
    for (uint64_t seed = 5; seed < 9; seed++) {
        struct town *town = town_new(seed, 1 + (unsigned)(seed & 1), "");
        isp_of(town, "big.example", 50 * NSEC_PER_MS);
        town_campaign(town, "c", "in_doubt resend");
        town_push(town, "c", "r%llu@big.example", 0, 4000);
        town_start(town);
        town_run(town, 1100 * NSEC_PER_MS);
        town_redis_stop(town);
        town_run(town, (nsec)(seed - 5) * 20 * NSEC_PER_MS);
        town_finish(town);
        town_redis_start(town);
        town_start(town);
        assert_true(town_drain(town, 600 * NSEC_PER_S));
        struct town_account account = town_judge(town, "c");
        assert_int_equal(account.events[EVENT_DELIVERED], 4000);
        close_town(town);
    }
}

/* SIGTERM in the first moments of a life that begins with taking over what a dead one left. */
static void it_leaves_while_it_recovers(void **unused)
{
    (void)unused;
    struct town *town = town_new(9, 2, "");
    isp_of(town, "big.example", 50 * NSEC_PER_MS);
    town_campaign(town, "c", "in_doubt resend");
    town_push(town, "c", "r%llu@big.example", 0, 6000);
    for (unsigned i = 0; i < 12; i++) {
        town_start(town);
        town_run(town, (nsec)(i + 1) * 40 * NSEC_PER_MS);
        if (i % 3 == 0)
            town_crash(town);
        else
            town_finish(town);
    }
    town_start(town);
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 6000);
    close_town(town);
}

/* Recipients are pushed while it sends, in small portions; it is done when somebody says that it is sealed, and has
 * work again when there is more. */
static void recipients_come_while_it_sends(void **unused)
{
    (void)unused;
    struct town *town = town_new(10, 2, "");
    isp_of(town, "big.example", 5 * NSEC_PER_MS);
    town_campaign(town, "c", "sealed 0");
    town_start(town);
    uint64_t pushed = 0;
    for (unsigned i = 0; i < 100; i++) {
        uint64_t portion = 1 + sim_random(town->world) % 60;
        town_push(town, "c", "r%llu@big.example", pushed, portion);
        pushed += portion;
        town_run(town, (nsec)(sim_random(town->world) % 1000) * NSEC_PER_MS);
    }
    town_run(town, 5 * NSEC_PER_S);
    assert_string_equal(town_phase(town, "c"), "idle");
    town_set(town, "c", "sealed", "1");
    assert_true(town_drain(town, 60 * NSEC_PER_S));
    assert_string_equal(town_phase(town, "c"), "done");
    town_push(town, "c", "r%llu@big.example", pushed, 100);
    redis(town, "SADD sluice:campaigns c");
    town_run(town, 10 * NSEC_PER_S);
    assert_true(town_drain(town, 60 * NSEC_PER_S));
    assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], pushed + 100);
    close_town(town);
}

/* UTC jumps back and forth under an engine that retries. */
static void the_wall_clock_jumps(void **unused)
{
    (void)unused;
    struct town *town = town_new(11, 2, "defaults { retry = {20s, 40s} }\n");
    struct sim_isp *isp = isp_of(town, "big.example", 5 * NSEC_PER_MS);
    struct mx_personality personality;
    mx_personality_init(&personality, "big.example");
    mx_personality_rule(&personality, MX_RCPT, MX_CERTAIN / 2, "450 4.2.0 later");
    sim_isp_mood(isp, sim_now(town->world), &personality);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 2000);
    town_start(town);
    for (unsigned i = 0; i < 20; i++) {
        town_run(town, 5 * NSEC_PER_S);
        sim_wall_jump(town->world, town->engine_host, i % 2 ? 3600 * NSEC_PER_S : -3600 * NSEC_PER_S);
        town->wall_slack_ms = 3600 * 1000; /* who was due before a jump, and waited for its lane, starts behind it */
    }
    mx_personality_init(&personality, "big.example");
    sim_isp_mood(isp, sim_now(town->world), &personality);
    assert_true(town_drain(town, 7200 * NSEC_PER_S));
    assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 2000);
    close_town(town);
}

/* Twenty campaigns at once: each gets its share from the beginning. */
static void campaigns_have_their_turns(void **unused)
{
    (void)unused;
    struct town *town = town_new(12, 2, "");
    isp_of(town, "big.example", 20 * NSEC_PER_MS);
    char id[8];
    for (unsigned i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "c%u", i);
        town_campaign(town, id, "");
        town_push(town, id, "r%llu@big.example", i * 5000, 1000);
    }
    town_start(town);
    town_run(town, 5 * NSEC_PER_S); /* half of it, at 40 sessions and 50 messages a second each */
    for (unsigned i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "c%u", i);
        struct judge_copies copies = judge_copies(town->mail, id, 1000);
        unsigned accepted = 0;
        for (unsigned seq = 0; seq < 1000; seq++)
            accepted += copies.copies[seq];
        judge_copies_free(&copies);
        if (!accepted)
            fail_msg("%s had nothing within 5 s", id);
    }
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    for (unsigned i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "c%u", i);
        assert_int_equal(town_judge(town, id).events[EVENT_DELIVERED], 1000);
    }
    close_town(town);
}

/* Throttled lanes stay whole on one shard: what the other shard leased is handed over through Redis, whole and soon. */
static void shards_hand_over_what_is_not_theirs(void **unused)
{
    (void)unused;
    static const char *const names[] = {"a.example", "b.example", "c.example", "d.example", "e.example", "f.example"};
    char settings[1024];
    size_t n = 0;
    for (unsigned i = 0; i < countof(names); i++)
        n += (size_t)snprintf(settings + n, sizeof settings - n, "isp %c { mx = {.%s}  rate = 25/s }\n", 'a' + (int)i,
                              names[i]);
    for (uint64_t seed = 13; seed < 16; seed++) {
        struct town *town = town_new(seed, 2, settings);
        sim_fault_set(town->world, SIM_POST_FULL, seed == 15 ? 500000 : 0);
        town_campaign(town, "c", "");
        for (unsigned i = 0; i < countof(names); i++) {
            char format[64];
            isp_of(town, names[i], 5 * NSEC_PER_MS);
            for (unsigned k = 0; k < 1500; k++) {
                snprintf(format, sizeof format, "r%u@%s", k, names[i]);
                town_push_entry(town, "c", format);
            }
        }
        town_start(town);
        /* 1,500 at 4 x 25 a second take 15 s; without half of the posts, heartbeats among them, longer. */
        assert_true(town_drain(town, (seed == 15 ? 60 : 20) * NSEC_PER_S));
        assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 6 * 1500);
        close_town(town);
    }
}

/* Entries of 60 KB: a lease holds few of them, and memory as many leases as fit. */
static void large_entries(void **unused)
{
    (void)unused;
    struct town *town = town_new(16, 2, "");
    isp_of(town, "big.example", 5 * NSEC_PER_MS);
    town_campaign(town, "c", "unique 1");
    char *entry = malloc(70000);
    for (unsigned i = 0; i < 400; i++) {
        int n = sprintf(entry, "{\"to\":\"r%u@big.example\",\"note\":\"", i);
        memset(entry + n, 'x', 60000);
        strcpy(entry + n + 60000, "\"}");
        town_push_entry(town, "c", entry);
    }
    free(entry);
    town_start(town);
    assert_true(town_drain(town, 60 * NSEC_PER_S));
    assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 400);
    close_town(town);
}

/* The lease is fenced and the campaign paused in one answer. */
static void a_lost_lease_of_a_paused_campaign(void **unused)
{
    (void)unused;
    struct town *town = town_new(17, 1, "isp big { mx = {.big.example}  rate = 20/s }\n");
    isp_of(town, "big.example", 0);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 500);
    town_start(town);
    for (unsigned i = 0; i < 20; i++) { /* between two looks, so that it is a step that brings the news */
        town_run(town, 537 * NSEC_PER_MS);
        town_set(town, "c", "state", "paused");
        redis(town, "DEL sluice:{c}:leases");
        town_run(town, 700 * NSEC_PER_MS);
        town_set(town, "c", "state", "running");
    }
    town_crash(town);
    town_free(town);
}

/* Another engine has the sources: what waits here is left to it, in Redis; when they are ours again it goes on. */
static void sources_go_to_another_engine(void **unused)
{
    (void)unused;
    struct town *town = town_new(18, 2, "defaults { retry = {10s} }\nisp big { mx = {.big.example}  rate = 10/s }\n");
    struct sim_isp *isp = isp_of(town, "big.example", 0);
    struct mx_personality personality;
    mx_personality_init(&personality, "big.example");
    mx_personality_rule(&personality, MX_RCPT, MX_CERTAIN, "450 4.2.0 later")->first = 300;
    sim_isp_mood(isp, sim_now(town->world), &personality);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 2000);
    town_start(town);
    town_run(town, 20 * NSEC_PER_S);
    redis(town, "SET sluice:source:s0 other");
    town_run(town, 3 * NSEC_PER_S);
    size_t before, after;
    free(judge_starts(isp, "203.0.113.10", &before));
    town_run(town, 20 * NSEC_PER_S); /* the retries that preferred it are its mates' now */
    free(judge_starts(isp, "203.0.113.10", &after));
    assert_int_equal(after, before);
    for (unsigned i = 0; i < town->engine->shard_count; i++) {
        struct lanes *lanes = &town->engine->shards[i].shard->lanes;
        for (struct backlog *backlog = lanes->backlogs; backlog; backlog = backlog->next)
            assert_int_equal(backlog_lane(lanes, backlog, SLICE("s0"))->own.waiting, 0);
    }
    redis(town, "SET sluice:source:s1 other");
    redis(town, "SET sluice:source:s2 other");
    redis(town, "SET sluice:source:s3 other");
    town_run(town, 8 * NSEC_PER_S);
    for (unsigned i = 0; i < town->engine->shard_count; i++)
        assert_int_equal(intake_attempts(&town->engine->shards[i].shard->intake), 0);
    redis(town, "DEL sluice:source:s0");
    redis(town, "DEL sluice:source:s1");
    redis(town, "DEL sluice:source:s2");
    redis(town, "DEL sluice:source:s3");
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 2000);
    close_town(town);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(redis_is_away_for_long),
        cmocka_unit_test(redis_is_unwilling),
        cmocka_unit_test(a_refusal_takes_no_source),
        cmocka_unit_test(waiting_costs_no_turns),
        cmocka_unit_test(a_hash_goes_and_comes_back),
        cmocka_unit_test(the_pool_is_changed_in_the_middle),
        cmocka_unit_test(it_leaves_while_redis_is_away),
        cmocka_unit_test(it_leaves_while_it_recovers),
        cmocka_unit_test(recipients_come_while_it_sends),
        cmocka_unit_test(the_wall_clock_jumps),
        cmocka_unit_test(campaigns_have_their_turns),
        cmocka_unit_test(shards_hand_over_what_is_not_theirs),
        cmocka_unit_test(large_entries),
        cmocka_unit_test(a_lost_lease_of_a_paused_campaign),
        cmocka_unit_test(sources_go_to_another_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
