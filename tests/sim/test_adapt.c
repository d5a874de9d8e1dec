/* Stories of providers that say: slower, fewer, be silent, go away. The shipped rules are in force, so what is tried is
 * what is shipped. An argument chooses among the stories by name. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S   NSEC_PER_S
#define MIN (60 * S)
#define H   (60 * MIN)

/* One source, so that what is seen is one lane. Its exchangers are called mx1.NAME: the rules are given here for them,
 * word for word those of deploy/isp/gmail.conf and so on are found by MX host, which nobody but Google has. */
#define RULES                                                                                                          \
    "rule law { code = 421 status = 4.7.28 class = policy-related kind = block scope = lane action = probe wait = "    \
    "10m }\n"                                                                                                          \
    "rule tss04 { text = 'TSS04' class = policy-related kind = block scope = lane action = pause wait = 5m }\n"        \
    "rule slow { text = 'S775' class = policy-related kind = block scope = lane action = slow factor = 50 }\n"         \
    "rule fewer { status = 4.7.652 class = policy-related kind = soft scope = lane action = connections connections "  \
    "= 2 "                                                                                                             \
    "wait = 1h }\n"                                                                                                    \
    "rule many { text = 'messages on this connection' class = policy-related kind = soft scope = lane action = learn " \
    "}\n"                                                                                                              \
    "rule blocked { text = 'S3150' class = spam-related kind = block scope = lane action = other-source wait = 4h "    \
    "alert "                                                                                                           \
    "= yes }\n"                                                                                                        \
    "rule dmarc { status = {4.7.32, 5.7.32} class = policy-related kind = block scope = from-domain action = hold "    \
    "alert = "                                                                                                         \
    "yes defer = yes }\n"

static const char one_source[] =
    "pool one { source 203.0.113.20 { name = only ehlo = only.town.example } }\ndefault_pool = one\n";
static const char only[] = "203.0.113.20";

static struct town *town_of(uint64_t seed, unsigned shards, const char *limits)
{
    char settings[8192];
    snprintf(settings, sizeof settings, "%sisp big.example { mx = {.big.example} %s\n%s }\n", one_source, limits,
             RULES);
    struct town *town = town_new(seed, shards, settings);
    sim_host_address(town->engine_host, only);
    return town;
}

static struct mx_personality good(const char *name)
{
    struct mx_personality personality;
    mx_personality_init(&personality, name);
    personality.latency[MX_BODY] = (struct mx_latency){200 * NSEC_PER_MS, 0};
    return personality;
}

static struct mx_personality saying(const char *name, enum mx_stage stage, const char *reply)
{
    struct mx_personality personality = good(name);
    mx_personality_rule(&personality, stage, MX_CERTAIN, reply);
    return personality;
}

static struct sim_isp *isp_new(struct town *town, const struct mx_personality *personality)
{
    struct sim_isp *isp = sim_isp_new(town->mail, personality->name, personality, 1, false);
    sim_isp_domain(isp, personality->name, 300, 1);
    return isp;
}

static void campaign(struct town *town, const char *pool, uint64_t count)
{
    char fields[64];
    snprintf(fields, sizeof fields, "pool %s", pool);
    town_campaign(town, "c", fields);
    town_push(town, "c", "r%llu@big.example", 0, count);
}

static struct town_account end(struct town *town, nsec limit)
{
    if (!town_drain(town, limit))
        fail_msg("seed %llu: not done in time: %s", (unsigned long long)town->seed, town_phase(town, "c"));
    struct town_account account = town_judge(town, "c");
    town_judge_empty(town);
    town_judge_limits(town);
    town_finish(town);
    return account;
}

/* Everything that the source did at the ISP, MAIL and connections, as the ISP's ledger has it. */
static uint64_t signs(const struct sim_isp *isp) { return isp->server.mails + isp->server.connections; }

static bool told(struct town *town, const char *text)
{
    char *reply = fake_redis_do(town->redis, "XRANGE sluice:ops - +");
    bool found = strstr(reply, text);
    free(reply);
    return found;
}

static void must_be_told(struct town *town, const char *text)
{
    if (!told(town, text))
        fail_msg("seed %llu: sluice:ops does not say %s", (unsigned long long)town->seed, text);
}

/* The longest time without a sign of a source, between two instants, by its MAILs. */
static void assert_silent(const struct sim_isp *isp, uint64_t before)
{
    if (signs(isp) != before)
        fail_msg("%llu signs of us in the silence", (unsigned long long)(signs(isp) - before));
}

/* ---- Google's law ---- */

/* From the moment at which the provider says 4.7.28: nothing for ten minutes after the last sign, then one connection
 * with one message; refused, ten more; accepted, one connection more per success. */
static void the_law(struct town *town, struct sim_isp *isp, const struct mx_personality *fine)
{
    struct mx_personality refuses = saying("big.example", MX_MAIL, "421-4.7.28 unusual rate\n421 4.7.28 try later");
    refuses.latency[MX_BODY] = fine->latency[MX_BODY];
    sim_isp_mood(isp, sim_now(town->world), &refuses);
    nsec said = sim_now(town->world);
    town_run(town, 5 * S); /* all that were on their way are told */
    uint64_t before = signs(isp), mails = isp->server.mails, connections = isp->server.connections;
    assert_int_equal(isp->server.open, 0);
    for (unsigned round = 1; round <= 3; round++) {
        while (sim_now(town->world) < said + 600 * S) { /* it cannot come before: at least since the refusal */
            assert_silent(isp, before);
            town_run(town, S);
        }
        nsec from = sim_now(town->world);
        while (isp->server.mails == mails && sim_now(town->world) < from + 20 * S)
            town_run(town, 100 * NSEC_PER_MS);
        town_run(town, 2 * S);
        assert_int_equal(isp->server.mails, mails + round);             /* one message */
        assert_int_equal(isp->server.connections, connections + round); /* of one connection */
        said = sim_now(town->world) - 2 * S - 100 * NSEC_PER_MS;
        before = signs(isp);
        mails = isp->server.mails - round;
        assert_int_equal(isp->server.open, 0);
    }
    sim_isp_mood(isp, sim_now(town->world), fine);
    while (signs(isp) == before)
        town_run(town, 50 * NSEC_PER_MS);
    assert_true(sim_now(town->world) >= said + 600 * S);
    assert_int_equal(isp->server.open, 1);
    /* Each answer lets one more in; the ISP never sees more than it has accepted since, and one. */
    uint64_t accepted = judge_accepted(isp);
    while (isp->server.open < 6 && sim_now(town->world) < said + 700 * S) {
        assert_true(isp->server.open <= 1 + judge_accepted(isp) - accepted);
        town_run(town, 10 * NSEC_PER_MS);
    }
    assert_int_equal(isp->server.open, 6);
}

static void googles_law(void **unused)
{
    static const unsigned shards[] = {1, 2};
    (void)unused;
    for (size_t i = 0; i < countof(shards); i++) {
        struct town *town = town_of(100 + i, shards[i], "connections = 6 across = no retry = {15m}");
        struct mx_personality fine = good("big.example");
        struct sim_isp *isp = isp_new(town, &fine);
        campaign(town, "one", 2000);
        town_start(town);
        town_run(town, 20 * S);
        assert_int_equal(isp->server.open, 6);
        the_law(town, isp, &fine);
        struct town_account account = end(town, 3 * H);
        assert_int_equal(account.events[EVENT_DELIVERED], 2000);
        must_be_told(town, "4.7.28");
        must_be_told(town, "probing");
        must_be_told(town, "returning");
        town_free(town);
    }
}

/* The engine dies in the middle of the silence, and starts again; another takes the source over. */
static void a_restart_keeps_the_silence(void **unused)
{
    (void)unused;
    for (unsigned shards = 1; shards <= 2; shards++) {
        struct town *town = town_of(110 + shards, shards, "connections = 6 retry = {15m}");
        struct mx_personality fine = good("big.example"),
                              bad = saying("big.example", MX_MAIL, "421 4.7.28 unusual rate");
        struct sim_isp *isp = isp_new(town, &fine);
        campaign(town, "one", 1000);
        town_start(town);
        town_run(town, 10 * S);
        sim_isp_mood(isp, sim_now(town->world), &bad);
        nsec said = sim_now(town->world);
        town_run(town, 5 * S);
        uint64_t before = signs(isp);
        for (unsigned i = 0; i < 4; i++) {
            town_run(town, 100 * S);
            town_crash(town);
            town_run(town, 30 * S);
            town_start(town);
        }
        sim_isp_mood(isp, sim_now(town->world), &fine);
        while (sim_now(town->world) < said + 600 * S) {
            assert_silent(isp, before);
            town_run(town, S);
        }
        town_run(town, 60 * S);
        assert_true(signs(isp) > before);
        struct town_account account = end(town, 3 * H);
        assert_int_equal(account.events[EVENT_DELIVERED], 1000);
        town_free(town);
    }
}

/* ---- others ---- */

/* Five minutes, ten, twenty, and no more. */
static void a_pause_that_doubles(void **unused)
{
    (void)unused;
    struct town *town = town_of(120, 1, "connections = 4 retry = {2m} pause_max = 20m");
    struct mx_personality fine = good("big.example"),
                          bad = saying("big.example", MX_MAIL, "421 4.7.0 [TSS04] Messages temporarily deferred");
    struct sim_isp *isp = isp_new(town, &fine);
    campaign(town, "one", 1000);
    town_start(town);
    town_run(town, 10 * S);
    sim_isp_mood(isp, sim_now(town->world), &bad);
    town_run(town, 10 * S);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t before = signs(isp);
        nsec length = i == 0 ? 5 * MIN : i == 1 ? 10 * MIN : 20 * MIN;
        town_run(town, length - 150 * S);
        assert_silent(isp, before);
        town_run(town, 160 * S);
        assert_int_equal(signs(isp), before + 2); /* one connection, one message */
    }
    must_be_told(town, "tss04");
    sim_isp_mood(isp, sim_now(town->world), &fine);
    struct town_account account = end(town, 24 * H);
    assert_int_equal(account.events[EVENT_DELIVERED], 1000);
    town_free(town);
}

/* 4.7.652: two connections for an hour, at the same rate. */
static void too_many_connections(void **unused)
{
    (void)unused;
    struct town *town = town_of(130, 1, "connections = 8 rate = 20/s retry = {1m}");
    struct mx_personality personality = good("big.example");
    personality.connections_per_source_max = 2;
    snprintf(personality.connections_reply, sizeof personality.connections_reply,
             "451 4.7.652 The mail server [203.0.113.20] has exceeded the maximum number of connections. (S3115)");
    struct sim_isp *isp = isp_new(town, &personality);
    campaign(town, "one", 6000);
    town_start(town);
    town_run(town, 30 * S);
    uint64_t refused = isp->server.connections_refused;
    assert_in_range(refused, 1, 8);
    uint64_t accepted = judge_accepted(isp);
    town_run(town, 300 * S);
    assert_int_equal(isp->server.connections_refused, refused);
    assert_true(judge_accepted(isp) - accepted > 9 * 300); /* two connections, five a second each, and no less */
    struct town_account account = end(town, 3 * H);
    assert_int_equal(account.events[EVENT_DELIVERED], 6000);
    town_free(town);
}

/* The number of messages per connection is learned, from a sentence or from silence, and costs nobody an attempt. */
static void messages_per_connection(void **unused)
{
    (void)unused;
    for (unsigned silent = 0; silent < 2; silent++) {
        struct town *town = town_of(140 + silent, 1, "connections = 2 retry = {1m} per_connection = 0");
        struct mx_personality personality = good("big.example");
        personality.messages_max = 7;
        personality.messages_silent = silent;
        personality.latency[MX_BODY] = (struct mx_latency){5 * NSEC_PER_MS, 0};
        struct sim_isp *isp = isp_new(town, &personality);
        campaign(town, "one", 800);
        town_start(town);
        town_run(town, 10 * S);
        uint64_t closed = isp->server.replies[MX_MAIL][4];
        struct town_account account = end(town, H);
        assert_int_equal(account.events[EVENT_DELIVERED], 800);
        assert_int_equal(account.events[EVENT_DEFERRED], 0); /* no penalty: as if they had not been tried */
        assert_int_equal(isp->server.replies[MX_MAIL][4], closed);
        assert_true(closed <= 4);
        must_be_told(town, "per_connection");
        town_free(town);
    }
}

static uint64_t connections_of(const struct sim_isp *isp, const char *source)
{
    struct io_address address;
    assert_true(io_address_parse(&address, source, 0));
    struct mx_ip ip = sim_mx_ip(&address);
    for (unsigned i = 0; i < isp->caller_count; i++)
        if (memcmp(&isp->callers[i].ip, &ip, sizeof ip) == 0)
            return isp->callers[i].connections;
    return 0;
}

/* A source that is blocked hands over to its mates, there and nowhere else. */
static void a_blocked_source(void **unused)
{
    (void)unused;
    char settings[8192];
    snprintf(settings, sizeof settings,
             "isp big.example { mx = {.big.example} connections = 2 rate = 2/s retry = {5m} shut_out = 1h\n%s }\n"
             "isp other.example { mx = {.other.example} connections = 2 rate = 2/s }\n%s",
             RULES, one_source);
    struct town *town = town_new(150, 2, settings);
    sim_host_address(town->engine_host, only);
    struct mx_personality fine = good("big.example"), other = good("other.example");
    struct sim_isp *isp = isp_new(town, &fine), *elsewhere = isp_new(town, &other);
    fine.blocked = mx_ip_v4(203, 0, 113, 11);
    snprintf(fine.blocked_reply, sizeof fine.blocked_reply,
             "550 5.7.1 Unfortunately, messages from [203.0.113.11] weren't sent. (S3150)");
    sim_isp_mood(isp, 30 * S, &fine);
    campaign(town, "p", 3000);
    town_campaign(town, "d", "");
    town_push(town, "d", "r%llu@other.example", 0, 3000);
    town_start(town);
    town_run(town, 60 * S);
    size_t there, here, before;
    free(judge_starts(isp, "203.0.113.11", &before));
    uint64_t connections = connections_of(isp, "203.0.113.11");
    town_run(town, 40 * MIN);
    assert_int_equal(connections_of(isp, "203.0.113.11"), connections);
    nsec *starts = judge_starts(isp, "203.0.113.11", &there);
    assert_int_equal(there, before);
    free(starts);
    free(judge_starts(elsewhere, "203.0.113.11", &here));
    assert_true(here > 500); /* everywhere else it works on */
    free(judge_starts(isp, only, &here));
    assert_int_equal(here, 0); /* of another pool */
    must_be_told(town, "other-source");
    must_be_told(town, "alert");
    struct town_account account = end(town, 10 * H);
    assert_int_equal(account.events[EVENT_DELIVERED], 3000);
    assert_int_equal(account.events[EVENT_BOUNCED], 0);
    account = town_judge(town, "d");
    assert_int_equal(account.events[EVENT_DELIVERED], 3000);
    town_free(town);
}

/* One From domain is not authenticated: its mail to this provider waits for people, everybody else's goes. */
static void a_from_domain_that_is_held(void **unused)
{
    (void)unused;
    struct town *town = town_of(160, 1, "connections = 4 retry = {15m} rate = 20/s hold = 30m");
    struct mx_personality fine = good("big.example"), bad = fine;
    struct mx_rule *rule = mx_personality_rule(&bad, MX_BODY, MX_CERTAIN, "421 4.7.32 From is not aligned");
    snprintf(rule->match, sizeof rule->match, "bad*");
    struct sim_isp *isp = isp_new(town, &bad);
    town_campaign(town, "c", "pool one");
    town_set(town, "c", "from", "Bad <news@bad.example>");
    town_push(town, "c", "bad%llu@big.example", 0, 500);
    town_campaign(town, "d", "pool one");
    town_push(town, "d", "r%llu@big.example", 0, 800);
    town_start(town);
    town_run(town, 60 * S);
    uint64_t refused = isp->server.replies[MX_BODY][4];
    assert_in_range(refused, 1, 40);
    town_run(town, 25 * MIN);
    assert_string_equal(town_phase(town, "d"), "done");
    assert_int_equal(isp->server.replies[MX_BODY][4], refused);
    must_be_told(town, "bad.example");
    must_be_told(town, "hold");
    town_run(town, 20 * MIN);
    assert_in_range(isp->server.replies[MX_BODY][4], refused + 1, refused + 1); /* looked at again, with one message */
    sim_isp_mood(isp, sim_now(town->world), &fine);
    struct town_account account = end(town, 12 * H);
    assert_int_equal(account.events[EVENT_DELIVERED], 500);
    town_free(town);
}

/* A limit that nobody told us of: how much of it is used, and how often do we run into it? */
static void a_hidden_limit(void **unused)
{
    static const struct {
        uint64_t hidden, configured; /* a minute */
    } cases[] = {{30, 100}, {60, 70}, {20, 0}};
    (void)unused;
    for (size_t i = 0; i < countof(cases); i++) {
        char limits[256];
        int n = snprintf(limits, sizeof limits, "connections = 10 retry = {10m} adapt_interval = 2m");
        if (cases[i].configured)
            snprintf(limits + n, sizeof limits - (size_t)n, " rate = %llu/min",
                     (unsigned long long)cases[i].configured);
        struct town *town = town_of(170 + i, 1, limits);
        struct mx_personality personality = good("big.example");
        personality.rate = cases[i].hidden;
        personality.rate_per = MIN;
        snprintf(personality.rate_reply, sizeof personality.rate_reply, "451 4.7.650 rate limited (S775)");
        struct sim_isp *isp = isp_new(town, &personality);
        campaign(town, "one", 100 * cases[i].hidden);
        town_start(town);
        town_run(town, 20 * MIN);
        uint64_t first = judge_accepted(isp);
        town_run(town, H);
        uint64_t possible = 60 * cases[i].hidden, used = judge_accepted(isp) - first;
        print_message("hidden %llu/min, configured %llu: %llu %% used in an hour, %llu replies to that\n",
                      (unsigned long long)cases[i].hidden, (unsigned long long)cases[i].configured,
                      (unsigned long long)(used * 100 / possible), (unsigned long long)isp->server.limited);
        assert_true(used * 100 > possible * 60);
        assert_true(isp->server.limited * 100 < judge_accepted(isp) * 5);
        town_free(town);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(googles_law),
        cmocka_unit_test(a_restart_keeps_the_silence),
        cmocka_unit_test(a_pause_that_doubles),
        cmocka_unit_test(too_many_connections),
        cmocka_unit_test(messages_per_connection),
        cmocka_unit_test(a_blocked_source),
        cmocka_unit_test(a_from_domain_that_is_held),
        cmocka_unit_test(a_hidden_limit),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("adapt", tests, NULL, NULL);
}
