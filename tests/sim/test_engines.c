/* Several engines on one Redis: one dies, is stopped for a while, is cut off, or has another's id. The providers'
 * ledger is the judge. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Replies to bodies take up to `slow`. */
static struct town *make(uint64_t seed, unsigned engines, unsigned shards, const char *settings, nsec slow)
{
    struct town *town = town_new_shared(seed, engines, shards, settings);
    struct mx_personality personality;
    mx_personality_init(&personality, "big.example");
    personality.latency[MX_BODY] = (struct mx_latency){slow / 2, slow / 2};
    sim_isp_domain(sim_isp_new(town->mail, "big.example", &personality, 2, false), "big.example", 300, 1);
    return town;
}

static uint64_t accepted_from(const struct town *town, unsigned engine, nsec since)
{
    const struct mx_ledger *ledger = &town->mail->ledger;
    uint64_t count = 0;
    for (size_t i = 0; i < ledger->accepted_count; i++) {
        const struct mx_accepted *a = &ledger->accepted[i];
        const struct mx_ip *ip = &mx_ledger_server(ledger, a->server)->sources[a->source].ip;
        for (unsigned s = engine * TOWN_SOURCES; a->at >= since && s < (engine + 1) * TOWN_SOURCES; s++) {
            char text[32];
            struct io_address address;
            snprintf(text, sizeof text, "203.0.113.%u", 10 + s);
            assert_true(io_address_parse(&address, text, 0));
            struct mx_ip own = sim_mx_ip(&address);
            count += memcmp(&own, ip, sizeof own) == 0;
        }
    }
    return count;
}

static struct town_account end(struct town *town, nsec limit)
{
    town_judge_places(town, "c");
    if (!town_drain(town, limit))
        fail_msg("seed %llu: not done in time: %s", (unsigned long long)town->seed, town_phase(town, "c"));
    town_judge_places(town, "c");
    struct town_account account = town_judge(town, "c");
    town_run(town, 5 * NSEC_PER_S); /* who has only just woken up learns that nothing is left for it */
    town_judge_empty(town);
    town_judge_limits(town);
    return account;
}

static void close_town(struct town *town)
{
    town_finish(town);
    town_free(town);
}

static void engines_share_a_campaign(void **unused)
{
    (void)unused;
    enum { ENGINES = 3, COUNT = 6000 };
    struct town *town = make(1, ENGINES, 2, "isp big.example { mx = {.big.example}  connections = 4  rate = 50/s }\n",
                             20 * NSEC_PER_MS);
    town_campaign(town, "c", "unique 1");
    town_push(town, "c", "r%llu@big.example", 0, COUNT);
    for (unsigned i = 0; i < ENGINES; i++)
        town_start_one(town, i);
    /* 12 sources of 50 a second: one engine alone takes 30 seconds. */
    struct town_account account = end(town, 20 * NSEC_PER_S);
    assert_int_equal(account.events[EVENT_DELIVERED], COUNT);
    assert_int_equal(account.doubled, 0);
    for (unsigned i = 0; i < ENGINES; i++)
        assert_in_range(accepted_from(town, i, 0), COUNT / 6, COUNT / 2);
    close_town(town);
}

/* One dies for ever, in the midst of it. */
static void the_dead_ones_leases_are_taken_over(void **unused)
{
    (void)unused;
    enum { COUNT = 4000 };
    static const char *const policies[] = {"in_doubt hold", "in_doubt resend", "in_doubt drop"};
    for (unsigned p = 0; p < countof(policies); p++) {
        struct town *town = make(10 + p, 3, 1 + p, "defaults { connections = 6 }\n", 200 * NSEC_PER_MS);
        town_campaign(town, "c", policies[p]);
        town_push(town, "c", "r%llu@big.example", 0, COUNT);
        for (unsigned i = 0; i < 3; i++)
            town_start_one(town, i);
        town_run(town, 3 * NSEC_PER_S);
        town_crash_one(town, 0);
        nsec dead = sim_now(town->world);
        uint64_t adopted = town_metric(town, METRIC_LEASED_ADOPTED);
        town_run(town, 18 * NSEC_PER_S); /* its heartbeat lasts up to 10 s, and its absence as long again */
        town_judge_places(town, "c");
        assert_int_equal(town_metric(town, METRIC_LEASED_ADOPTED), adopted);
        struct town_account account = end(town, 120 * NSEC_PER_S);
        assert_true(town_metric(town, METRIC_LEASED_ADOPTED) > adopted);
        assert_int_equal(accepted_from(town, 0, dead + 10 * NSEC_PER_S), 0);
        assert_true(account.events[EVENT_IN_DOUBT] > 0);
        assert_in_range(account.events[EVENT_IN_DOUBT], 1, 3 * town->open_sessions);
        assert_int_equal(account.in_doubt_open, p == 0 ? account.events[EVENT_IN_DOUBT] : 0);
        close_town(town);
    }
}

/* Two that live share what the dead one has left, which is more than one can hold. */
static void they_share_what_is_left(void **unused)
{
    (void)unused;
    enum { COUNT = 8000 };
    struct town *town =
        make(20, 3, 2, "isp big.example { mx = {.big.example}  connections = 4  rate = 40/s }\n", 20 * NSEC_PER_MS);
    town_campaign(town, "c", "in_doubt resend");
    town_push(town, "c", "r%llu@big.example", 0, COUNT);
    town_start_one(town, 0);
    town_run(town, 5 * NSEC_PER_S);
    town_crash_one(town, 0);
    town_start_one(town, 1);
    town_start_one(town, 2);
    nsec dead = sim_now(town->world);
    struct town_account account = end(town, 600 * NSEC_PER_S);
    assert_int_equal(account.finals, COUNT);
    assert_true(town_metric(town, METRIC_LEASED_ADOPTED) > 0);
    for (unsigned i = 1; i < 3; i++) {
        assert_true(accepted_from(town, i, dead) > COUNT / 4);
    }
    close_town(town);
}

/* Stopped with permits in its hands, and replies on their way to it. */
static void who_was_stopped_sends_nothing_of_what_it_lost(void **unused)
{
    (void)unused;
    enum { COUNT = 3000 };
    static const nsec durations[] = {1 * NSEC_PER_S, 7 * NSEC_PER_S, 15 * NSEC_PER_S, 90 * NSEC_PER_S};
    for (unsigned d = 0; d < countof(durations); d++)
        for (unsigned n = 0; n < 2; n++) {
            struct town *town =
                make(30 + 10 * d + n, 2, 1 + n % 2, "defaults { connections = 8 }\n", 300 * NSEC_PER_MS);
            town_campaign(town, "c", n % 2 ? "in_doubt resend" : "in_doubt drop");
            town_push(town, "c", "r%llu@big.example", 0, COUNT);
            town_start_one(town, 0);
            town_start_one(town, 1);
            town_run(town, 2 * NSEC_PER_S + (nsec)sim_random(town->world) % NSEC_PER_S);
            town_freeze(town, 0, durations[d]);
            nsec stopped = sim_now(town->world);
            town_run(town, durations[d]);
            /* What had left before is on its way for less than a second. */
            assert_int_equal(accepted_from(town, 0, stopped + NSEC_PER_S), 0);
            town_judge_places(town, "c");
            uint64_t fenced = town_metric(town, METRIC_STEPS_FENCED);
            struct town_account account = end(town, 600 * NSEC_PER_S);
            if (durations[d] >= 90 * NSEC_PER_S) { /* all had been taken from it, and it sends nothing any more */
                assert_true(town_metric(town, METRIC_LEASED_ADOPTED) > 0);
                assert_true(town_metric(town, METRIC_STEPS_FENCED) > fenced);
                assert_int_equal(accepted_from(town, 0, stopped + NSEC_PER_S), 0);
            } else if (durations[d] <= 7 * NSEC_PER_S) {
                assert_int_equal(town_metric(town, METRIC_LEASED_ADOPTED), 0);
            }
            assert_true(account.events[EVENT_IN_DOUBT] <=
                        3 * (town->open_sessions + town_metric(town, METRIC_SESSIONS_LOST)));
            close_town(town);
        }
}

/* While Redis is away all heartbeats expire, and nobody is dead. */
static void a_redis_that_was_away_kills_nobody(void **unused)
{
    (void)unused;
    enum { COUNT = 3000 };
    for (unsigned n = 0; n < 3; n++) {
        struct town *town =
            make(80 + n, 3, 1, "defaults { connections = 2 }\nisp big.example { mx = {.big.example}  rate = 20/s }\n",
                 50 * NSEC_PER_MS);
        town_campaign(town, "c", "");
        town_push(town, "c", "r%llu@big.example", 0, COUNT);
        for (unsigned i = 0; i < 3; i++)
            town_start_one(town, i);
        town_run(town, 2 * NSEC_PER_S);
        town_redis_stop(town);
        town_run(town, (nsec)(11 + 20 * n) * NSEC_PER_S);
        town_redis_start(town);
        struct town_account account = end(town, 600 * NSEC_PER_S);
        assert_int_equal(town_metric(town, METRIC_LEASED_ADOPTED), 0);
        assert_int_equal(account.events[EVENT_IN_DOUBT], 0);
        assert_int_equal(account.events[EVENT_DELIVERED], COUNT);
        close_town(town);
    }
}

enum { CUT_OFF_COUNT = 6000 };

/* Two share a campaign; the first one's cable has just been pulled, for so long. */
static struct town *make_cut_off(uint64_t seed, unsigned shards, const char *settings, nsec duration)
{
    struct town *town = make(seed, 2, shards, settings, 800 * NSEC_PER_MS);
    town_campaign(town, "c", "in_doubt resend");
    town_push(town, "c", "r%llu@big.example", 0, CUT_OFF_COUNT);
    town_start_one(town, 0);
    town_start_one(town, 1);
    town_run(town, 2 * NSEC_PER_S);
    town_cut_off(town, 0, duration);
    return town;
}

/* It lives, and cannot be heard: it is counted as dead, and knows in time that it may be. */
static void who_is_cut_off_stops_in_time(void **unused)
{
    (void)unused;
    for (unsigned n = 0; n < 2; n++) {
        struct town *town = make_cut_off(90 + n, 2, "defaults { connections = 8 }\n", 60 * NSEC_PER_S);
        nsec cut = sim_now(town->world);
        town_run(town, 50 * NSEC_PER_S);
        assert_int_equal(accepted_from(town, 0, cut + 10 * NSEC_PER_S), 0);
        for (unsigned i = 0; i < town->engines[0].engine->shard_count; i++)
            assert_int_equal(town->engines[0].engine->shards[i].shard->session_count, 0);
        town_judge_places(town, "c");
        assert_true(town_metric(town, METRIC_LEASED_ADOPTED) > 0);
        struct town_account account = end(town, 600 * NSEC_PER_S);
        assert_int_equal(account.finals, CUT_OFF_COUNT);
        close_town(town);
    }
}

/* It was taken for dead, and comes back: what it takes from then on is its own, and nobody in it is in doubt. */
static void who_is_back_keeps_what_it_takes(void **unused)
{
    (void)unused;
    for (unsigned n = 0; n < 2; n++) {
        struct town *town = make_cut_off(100 + n, 1 + n, "defaults { connections = 4 }\n", 40 * NSEC_PER_S);
        town_run(town, 40 * NSEC_PER_S);
        nsec back = sim_now(town->world);
        uint64_t adopted = town_metric(town, METRIC_LEASED_ADOPTED);
        assert_true(adopted > 0);
        town_run(town, 15 * NSEC_PER_S);
        assert_true(accepted_from(town, 0, back) > 0);
        assert_int_equal(town_metric(town, METRIC_LEASED_ADOPTED), adopted);
        struct town_account account = end(town, 600 * NSEC_PER_S);
        assert_in_range(account.events[EVENT_IN_DOUBT], 1, 3 * town->open_sessions);
        close_town(town);
    }
}

/* The same id twice, and the same sources: the second waits, and has it all once the first is gone. */
static void one_id_is_one_engine(void **unused)
{
    (void)unused;
    enum { COUNT = 2000 };
    struct town *town =
        make(100, 2, 1, "engine = twin\nisp big.example { mx = {.big.example}  connections = 2  rate = 10/s }\n",
             50 * NSEC_PER_MS);
    town_campaign(town, "c", "in_doubt resend");
    town_push(town, "c", "r%llu@big.example", 0, COUNT);
    town_start_one(town, 0);
    town_run(town, 5 * NSEC_PER_S);
    town_start_one(town, 1);
    town_run(town, 15 * NSEC_PER_S);
    assert_int_equal(accepted_from(town, 1, 0), 0);
    assert_int_equal(sim_engine_metric(town->engines[1].engine, METRIC_LEASED_ADOPTED), 0);
    assert_true(accepted_from(town, 0, 0) > 0);
    town_crash_one(town, 0);
    nsec dead = sim_now(town->world);
    struct town_account account = end(town, 600 * NSEC_PER_S);
    assert_int_equal(account.finals, COUNT);
    assert_int_equal(accepted_from(town, 1, 0), accepted_from(town, 1, dead + 5 * NSEC_PER_S));
    close_town(town);
}

/* ---- a new binary beside the old one ---- */

static struct mx_ip source_ip(const struct config_source *source) { return sim_mx_ip(&source->address); }

static unsigned sessions_of(const struct sim_engine *engine, const struct config_source *source)
{
    unsigned count = 0;
    for (unsigned i = 0; sim_engine_runs(engine) && i < engine->shard_count; i++)
        for (const struct session *s = engine->shards[i].shard->sessions; s; s = s->next)
            count += strcmp(engine->config->sources[((const struct lane *)s->owner)->source].name, source->name) == 0;
    return count;
}

/* Connections of this source that are open by the network's own account. */
static unsigned open_from(const struct town *town, const struct config_source *source)
{
    struct mx_ip ip = source_ip(source);
    unsigned open = 0;
    for (const struct sim_isp *isp = town->mail->isps; isp; isp = isp->next)
        for (unsigned i = 0; i < isp->caller_count; i++)
            open += memcmp(&isp->callers[i].ip, &ip, sizeof ip) == 0 ? isp->callers[i].open : 0;
    return open;
}

struct move {
    struct town *town;
    unsigned from, to; /* engines */
    uint64_t beside;   /* instants at which one source had moved and another had not */
    bool ends;         /* `from` is on its way out */
};

/* After every event: a source has connections of one engine alone. True while `from` is there. */
static bool moves(void *context)
{
    struct move *move = context;
    struct town *town = move->town;
    const struct sim_engine *from = town->engines[move->from].engine, *to = town->engines[move->to].engine;
    unsigned of_from = 0, of_to = 0; /* sessions */
    for (unsigned i = 0; i < to->config->source_count; i++) {
        const struct config_source *source = &to->config->sources[i];
        unsigned open = open_from(town, source), old = sessions_of(from, source), new = sessions_of(to, source);
        if (open && old && new)
            fail_msg("seed %llu: %s has %u connections: %u of the old engine, %u of the new one",
                     (unsigned long long)town->seed, source->name, open, old, new);
        if (new &&open > new)
            fail_msg("seed %llu: %s has %u connections, the engine that holds it knows of %u",
                     (unsigned long long)town->seed, source->name, open, new);
        of_from += old;
        of_to += new;
    }
    move->beside += of_from && of_to;
    for (unsigned i = 0; move->ends && i < from->shard_count; i++)
        if (!shard_is_gone(from->shards[i].shard))
            return true;
    return !move->ends;
}

/* The new one is there before the old one is asked to end. Bodies take from one second to twelve. */
static void sources_move_one_by_one(void **unused)
{
    (void)unused;
    enum { COUNT = 300 };
    static const char settings[] =
        "isp big.example { mx = {.big.example}  connections = 3  rate = 30/min  burst = 3 }\n";
    for (unsigned n = 1; n < 3; n++) {
        struct town *town = make(110 + n, 1, n, settings, 0);
        town->mail->isps->personality.latency[MX_BODY] = (struct mx_latency){NSEC_PER_S, 11 * NSEC_PER_S};
        town_add_beside(town, 3 - n, settings);
        town_campaign(town, "c", "");
        town_push(town, "c", "r%llu@big.example", 0, COUNT);
        town_start_one(town, 0);
        town_run(town, 20 * NSEC_PER_S);
        town_start_one(town, 1);
        struct move move = {.town = town, .from = 0, .to = 1};
        assert_false(sim_run_while(town->world, moves, &move, sim_now(town->world) + 5 * NSEC_PER_S));
        assert_int_equal(town->engines[1].engine->shards[0].shard->session_count, 0);
        sim_engine_finish(town->engines[0].engine, 60 * NSEC_PER_S);
        move.ends = true;
        assert_true(sim_run_while(town->world, moves, &move, sim_now(town->world) + 60 * NSEC_PER_S));
        assert_true(move.beside > 0);
        town_finish_one(town, 0);
        struct town_account account = end(town, 3600 * NSEC_PER_S);
        assert_int_equal(account.events[EVENT_DELIVERED], COUNT);
        assert_int_equal(account.events[EVENT_IN_DOUBT], 0);
        assert_int_equal(account.doubled, 0);
        close_town(town);
    }
}

/* The one that waits for two of its sources sends from the two others, so that it has lanes of all. What they saved up
 * while the first engine spent its own bursts is worth nothing when they are taken over. */
static void who_takes_a_source_over_has_saved_nothing(void **unused)
{
    (void)unused;
    enum { COUNT = 40 };
    static const char *const settings[] = {
        "pool p {\n  source 203.0.113.10 { name = s0  ehlo = s0.town.example }\n"
        "  source 203.0.113.11 { name = s1  ehlo = s1.town.example }\n}\n"
        "isp big.example { mx = {.big.example}  connections = 8  rate = 6/min  burst = 8 }\n",
        "pool p {\n  source 203.0.113.10 { name = s0  ehlo = s0.town.example }\n"
        "  source 203.0.113.11 { name = s1  ehlo = s1.town.example }\n"
        "  source 203.0.113.12 { name = s2  ehlo = s2.town.example }\n}\n"
        "isp big.example { mx = {.big.example}  connections = 8  rate = 6/min  burst = 8 }\n"};
    for (unsigned n = 0; n < 2; n++) {
        struct town *town = make(120 + n, 1, 1 + n, settings[0], 20 * NSEC_PER_MS);
        town_add_beside(town, 1 + n, settings[1]);
        town_campaign(town, "c", "");
        town_set(town, "c", "sealed", "0");
        town_push(town, "c", "r%llu@big.example", 0, 2);
        town_start_one(town, 0);
        town_run(town, 5 * NSEC_PER_S);
        town_start_one(town, 1);
        town_run(town, 120 * NSEC_PER_S);
        town_push(town, "c", "r%llu@big.example", 2, COUNT);
        town_run(town, 90 * NSEC_PER_S); /* all has been spent that was saved, and the lanes of the second wait */
        town_push(town, "c", "r%llu@big.example", 2 + COUNT, COUNT);
        town_set(town, "c", "sealed", "1");
        town_run(town, 20 * NSEC_PER_S);
        uint64_t before = accepted_from(town, 0, 0);
        assert_true(before > 0);
        if (n)
            town_finish_one(town, 0);
        else
            town_crash_one(town, 0);
        end(town, 3600 * NSEC_PER_S);
        assert_true(accepted_from(town, 0, 0) > before + 10); /* by the second's hand */
        close_town(town);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(engines_share_a_campaign),
        cmocka_unit_test(the_dead_ones_leases_are_taken_over),
        cmocka_unit_test(they_share_what_is_left),
        cmocka_unit_test(who_was_stopped_sends_nothing_of_what_it_lost),
        cmocka_unit_test(a_redis_that_was_away_kills_nobody),
        cmocka_unit_test(who_is_cut_off_stops_in_time),
        cmocka_unit_test(who_is_back_keeps_what_it_takes),
        cmocka_unit_test(one_id_is_one_engine),
        cmocka_unit_test(sources_move_one_by_one),
        cmocka_unit_test(who_takes_a_source_over_has_saved_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
