/* Stories of relays: they refuse us, slow us down and take us again, and no recipient suffers for it. An argument
 * chooses among them by name. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define RELAY "relay.example" /* its name in the configuration too: limits are judged by it */

static struct sim_isp *isp_new(struct town *town, const struct mx_personality *personality)
{
    struct sim_isp *isp = sim_isp_new(town->mail, personality->name, personality, 1, false);
    sim_isp_domain(isp, personality->name, 300, 1);
    return isp;
}

static struct sim_isp *plain_isp(struct town *town, const char *name)
{
    struct mx_personality personality;
    mx_personality_init(&personality, name);
    return isp_new(town, &personality);
}

static struct mx_personality relay_like(enum mx_stage stage, uint32_t chance, const char *reply)
{
    struct mx_personality personality;
    mx_personality_init(&personality, RELAY);
    personality.latency[MX_BODY] = (struct mx_latency){20 * NSEC_PER_MS, 0};
    if (reply)
        mx_personality_rule(&personality, stage, chance, reply);
    return personality;
}

static void only_delivered(const struct town_account *account, uint64_t count)
{
    for (int type = EVENT_BROKEN + 1; type < EVENT_TYPE_COUNT; type++)
        assert_int_equal(account->events[type], type == EVENT_DELIVERED ? count : 0);
}

static bool told(struct town *town, const char *text)
{
    char *reply = fake_redis_do(town->redis, "XRANGE sluice:{c}:events - + COUNT 100");
    bool found = strstr(reply, text);
    free(reply);
    return found;
}

/* ---- where mail goes ---- */

static const char routes[] = "relay " RELAY " { host = mx1." RELAY " port = 25 tls = off }\n"
                             "route { domain = b.example relay = none }\n"
                             "route { domain = {.example} pool = p relay = " RELAY " }\n";

static void routes_decide(void **unused)
{
    (void)unused;
    struct town *town = town_new(1, 2, routes);
    struct mx_personality personality = relay_like(MX_MAIL, 0, NULL);
    struct sim_isp *relay = isp_new(town, &personality), *a = plain_isp(town, "a.example"),
                   *b = plain_isp(town, "b.example");
    sim_zone_status(town->world, "broken.example", RESOLVER_SERVFAIL);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@a.example", 0, 50);
    town_push(town, "c", "r%llu@b.example", 50, 30);
    town_push(town, "c", "r%llu@m.deep.example", 80, 20); /* which has no MX, and needs none */
    town_push(town, "c", "r%llu@broken.example", 100, 7); /* nor does anybody ask */
    town_start(town);
    struct town_account account = town_end(town, "c", 60 * NSEC_PER_S);
    only_delivered(&account, 107);
    assert_int_equal(judge_accepted(relay), 77);
    assert_int_equal(judge_accepted(a), 0);
    assert_int_equal(judge_accepted(b), 30);
    assert_true(told(town, "isp\r\n$13\r\n" RELAY));
    assert_true(told(town, "isp\r\n$16\r\nmx:mx1.b.example"));
    town_free(town);
}

/* A relay whose name leads nowhere is our trouble: recipients are deferred, and none is bounced. */
static void a_relay_without_address(void **unused)
{
    (void)unused;
    struct town *town = town_new(2, 1,
                                 "defaults { retry = {1m} }\n"
                                 "relay " RELAY " { host = mx1." RELAY " port = 25 tls = off }\n"
                                 "route { relay = " RELAY " }\n");
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@a.example", 0, 10);
    town_start(town);
    town_run(town, 30 * NSEC_PER_S);
    assert_true(told(town, "the relay's host has no address: mx1." RELAY));
    struct mx_personality personality = relay_like(MX_MAIL, 0, NULL);
    isp_new(town, &personality);
    struct town_account account = town_end(town, "c", 600 * NSEC_PER_S);
    assert_int_equal(account.events[EVENT_BOUNCED], 0);
    assert_int_equal(account.events[EVENT_EXPIRED], 0);
    assert_int_equal(account.events[EVENT_DELIVERED], 10);
    assert_true(account.events[EVENT_DEFERRED] >= 10);
    town_free(town);
}

/* A campaign that is given another pool goes where that pool's mail goes, with what waits in memory and in Redis. */
static void another_pool_is_another_way(void **unused)
{
    (void)unused;
    struct town *town = town_new(3, 2,
                                 "pool q { source 203.0.113.12 { name = s2  ehlo = s2.town.example } }\n"
                                 "relay " RELAY " { host = mx1." RELAY " port = 25 tls = off rate = 5/s }\n"
                                 "route { pool = p relay = " RELAY " }\n");
    struct mx_personality personality = relay_like(MX_MAIL, 0, NULL);
    struct sim_isp *relay = isp_new(town, &personality), *a = plain_isp(town, "a.example");
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@a.example", 0, 2000);
    town_start(town);
    town_run(town, 20 * NSEC_PER_S);
    assert_in_range(judge_accepted(relay), 300, 420); /* four lanes */
    assert_int_equal(judge_accepted(a), 0);
    town_set(town, "c", "pool", "q");
    town_run(town, 5 * NSEC_PER_S);
    uint64_t accepted = judge_accepted(relay);
    struct town_account account = town_end(town, "c", 600 * NSEC_PER_S);
    only_delivered(&account, 2000);
    assert_int_equal(judge_accepted(relay), accepted);
    assert_int_equal(judge_accepted(a), 2000 - accepted);
    town_free(town);
}

/* ---- what a relay says ---- */

static const char slow[] = "relay " RELAY " { host = mx1." RELAY " port = 25 tls = off connections = 4 retry = {1h} }\n"
                           "route { relay = " RELAY " }\n";

/* Refused in the middle, at each stage at which that can be: whoever was on the way waits, and nothing is tried. */
static void a_relay_that_does_not_know_us(void **unused)
{
    static const struct {
        enum mx_stage stage;
        const char *reply;
    } cases[] = {
        {MX_MAIL, "530 5.7.0 Authentication required"},
        {MX_RCPT, "530 5.7.57 Client not authenticated"},
        {MX_DATA, "535 5.7.8 no"},
        {MX_BODY, "535 5.7.3 Authentication unsuccessful"},
    };
    (void)unused;
    for (size_t i = 0; i < countof(cases); i++) {
        struct town *town = town_new(10 + i, 2, slow);
        struct mx_personality good = relay_like(MX_MAIL, 0, NULL),
                              bad = relay_like(cases[i].stage, MX_CERTAIN, cases[i].reply);
        struct sim_isp *relay = isp_new(town, &good);
        sim_isp_mood(relay, 3 * NSEC_PER_S, &bad);
        town_campaign(town, "c", "in_doubt resend");
        town_push(town, "c", "r%llu@a.example", 0, 6000);
        town_start(town);
        town_run(town, 10 * NSEC_PER_S);
        assert_true(relays_stopped(town->engine->relays, 0));
        uint64_t accepted = judge_accepted(relay), mails = relay->server.mails, connections = relay->server.connections;
        assert_in_range(accepted, 100, 4500);
        town_run(town, 880 * NSEC_PER_S);
        assert_int_equal(relay->server.connections, connections); /* nothing is tried until the rest is over */
        assert_int_equal(relay->server.mails, mails);
        town_run(town, 1000 * NSEC_PER_S);
        assert_in_range(relay->server.connections, connections + 1, connections + 2);
        assert_in_range(relay->server.mails, mails + 1, mails + 4); /* by one session, in vain */
        assert_int_equal(judge_accepted(relay), accepted);
        assert_true(relays_stopped(town->engine->relays, 0));
        if (i == 0) { /* what waits is in Redis, and so is that it waits */
            town_crash(town);
            town_start(town);
        }
        sim_isp_mood(relay, sim_now(town->world), &good);
        struct town_account account = town_end(town, "c", 3600 * NSEC_PER_S);
        only_delivered(&account, 6000);
        assert_false(relays_stopped(town->engine->relays, 0));
        town_free(town);
    }
}

/* Too fast: it goes more slowly, and everybody arrives without an event in between. */
static void a_relay_that_throttles(void **unused)
{
    static const struct {
        enum mx_stage stage;
        const char *reply;
    } cases[] = {
        {MX_BODY, "454 Throttling failure: Maximum sending rate exceeded."},
        {MX_MAIL, "454 4.7.0 too fast"},
        {MX_RCPT, "450 4.2.1 Peak SMTP relay limit exceeded for customer."},
    };
    (void)unused;
    for (size_t i = 0; i < countof(cases); i++) {
        struct town *town = town_new(20 + i, 2, slow);
        struct mx_personality good = relay_like(MX_MAIL, 0, NULL),
                              bad = relay_like(cases[i].stage, MX_CERTAIN, cases[i].reply);
        struct sim_isp *relay = isp_new(town, &good);
        sim_isp_mood(relay, 2 * NSEC_PER_S, &bad);
        sim_isp_mood(relay, 400 * NSEC_PER_S, &good);
        town_campaign(town, "c", "");
        town_push(town, "c", "r%llu@a.example", 0, 5000);
        town_start(town);
        town_run(town, 5 * NSEC_PER_S);
        uint64_t mails = relay->server.mails;
        town_run(town, 390 * NSEC_PER_S);
        /* Four lanes on two shards, some nine times each, with as many sessions as they may have. */
        assert_in_range(relay->server.mails - mails, 8, 4 * 9 * 8);
        struct town_account account = town_end(town, "c", 3600 * NSEC_PER_S);
        only_delivered(&account, 5000);
        town_free(town);
    }
}

/* The day's quota is used up: nothing is tried for ten minutes, then for twenty. */
static void a_relay_whose_quota_is_used_up(void **unused)
{
    (void)unused;
    struct town *town = town_new(30, 1, slow);
    struct mx_personality good = relay_like(MX_MAIL, 0, NULL),
                          bad =
                              relay_like(MX_BODY, MX_CERTAIN, "454 Throttling failure: Daily message quota exceeded.");
    struct sim_isp *relay = isp_new(town, &bad);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@a.example", 0, 1000);
    town_start(town);
    town_run(town, 30 * NSEC_PER_S);
    uint64_t mails = relay->server.mails;
    assert_in_range(mails, 1, 32);
    town_run(town, 560 * NSEC_PER_S);
    assert_int_equal(relay->server.mails, mails);
    town_run(town, 60 * NSEC_PER_S);
    assert_true(relay->server.mails > mails);
    mails = relay->server.mails;
    town_run(town, 1100 * NSEC_PER_S);
    assert_int_equal(relay->server.mails, mails);
    sim_isp_mood(relay, sim_now(town->world), &good);
    struct town_account account = town_end(town, "c", 3600 * NSEC_PER_S);
    only_delivered(&account, 1000);
    town_free(town);
}

/* Too many connections, said to a message: fewer are open from then on, and all arrive. */
static void a_relay_with_few_connections(void **unused)
{
    (void)unused;
    struct town *town = town_new(40, 1, slow);
    struct mx_personality personality = relay_like(MX_MAIL, 100000, "432 4.3.2 Concurrent connections limit exceeded");
    isp_new(town, &personality);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@a.example", 0, 500);
    town_start(town);
    struct town_account account = town_end(town, "c", 7200 * NSEC_PER_S);
    assert_int_equal(account.events[EVENT_DELIVERED], 500);
    assert_int_equal(account.events[EVENT_BOUNCED], 0);
    town_free(town);
}

/* What a relay says of a recipient is that recipient's. */
static void a_recipient_that_a_relay_refuses(void **unused)
{
    (void)unused;
    struct town *town = town_new(50, 1, slow);
    struct mx_personality personality = relay_like(MX_MAIL, 0, NULL);
    struct mx_rule *rule = mx_personality_rule(&personality, MX_RCPT, MX_CERTAIN, "550 5.1.1 no such user");
    snprintf(rule->match, sizeof rule->match, "gone*");
    isp_new(town, &personality);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@a.example", 0, 100);
    town_push(town, "c", "gone%llu@a.example", 100, 10);
    town_start(town);
    struct town_account account = town_end(town, "c", 60 * NSEC_PER_S);
    assert_int_equal(account.events[EVENT_DELIVERED], 100);
    assert_int_equal(account.events[EVENT_BOUNCED], 10);
    town_free(town);
}

/* ---- signing in ---- */

struct account {
    struct town *town;
    struct sim_isp *relay;
    struct mx_personality personality;
    char secret[64];
};

static void put_secret(const struct account *a, const char *text)
{
    char next[80];
    snprintf(next, sizeof next, "%s.new", a->secret);
    FILE *file = fopen(next, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(next, a->secret), 0);
}

static void accept_secret(struct account *a, const char *secret)
{
    snprintf(a->personality.accounts[0].secret, sizeof a->personality.accounts[0].secret, "%s", secret);
    sim_isp_mood(a->relay, sim_now(a->town->world), &a->personality);
}

/* A relay at which "ann" signs in with "first". */
static void account_open(struct account *a, uint64_t seed, const char *how, unsigned mechanism, const char *more)
{
    char settings[1024];
    snprintf(a->secret, sizeof a->secret, "/tmp/sluice-sim-relay-%d", (int)getpid());
    put_secret(a, "first\n");
    snprintf(settings, sizeof settings,
             "relay " RELAY " { host = mx1." RELAY " port = 25 tls = off auth_plain_text = yes retry = {1h} %s\n"
             "  connections = 4 user = ann auth = %s %s = %s }\nroute { relay = " RELAY " }\n",
             more, how, strcmp(how, "xoauth2") == 0 ? "token_file" : "password_file", a->secret);
    a->town = town_new(seed, 2, settings);
    a->personality = relay_like(MX_MAIL, 0, NULL);
    a->personality.auth = mechanism;
    a->personality.auth_required = a->personality.auth_plain_text = true;
    a->personality.account_count = 1;
    snprintf(a->personality.accounts[0].user, sizeof a->personality.accounts[0].user, "ann");
    snprintf(a->personality.accounts[0].secret, sizeof a->personality.accounts[0].secret, "first");
    a->relay = isp_new(a->town, &a->personality);
    town_campaign(a->town, "c", "");
}

static void account_close(struct account *a)
{
    town_free(a->town);
    unlink(a->secret);
}

static const struct {
    const char *name;
    unsigned bit;
} mechanisms[] = {{"plain", MX_AUTH_PLAIN}, {"login", MX_AUTH_LOGIN}, {"xoauth2", MX_AUTH_XOAUTH2}};

static void every_mechanism_signs_in(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < countof(mechanisms); i++) {
        struct account a;
        account_open(&a, 60 + i, mechanisms[i].name, mechanisms[i].bit, "");
        town_push(a.town, "c", "r%llu@a.example", 0, 500);
        town_start(a.town);
        struct town_account account = town_end(a.town, "c", 60 * NSEC_PER_S);
        only_delivered(&account, 500);
        assert_int_equal(a.relay->server.accepted_authenticated, 500);
        account_close(&a);
    }
}

/* The password is wrong: nothing is sent, nobody hears of it but the log, and when the file has the right one, it goes
 * on within seconds and by itself. */
static void a_password_that_is_put_right(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < countof(mechanisms); i++) {
        struct account a;
        account_open(&a, 70 + i, mechanisms[i].name, mechanisms[i].bit, "");
        accept_secret(&a, "second");
        town_push(a.town, "c", "r%llu@a.example", 0, 2000);
        town_start(a.town);
        town_run(a.town, 600 * NSEC_PER_S);
        relays_refresh(a.town->engine->relays, 0); /* it has not changed */
        town_run(a.town, 100 * NSEC_PER_S);
        assert_true(relays_stopped(a.town->engine->relays, 0));
        assert_in_range(a.relay->server.connections, 1, 16); /* those that were begun together */
        assert_int_equal(a.relay->server.mails, 0);
        put_secret(&a, "second\n");
        town_run(a.town, NSEC_PER_S);
        assert_int_equal(a.relay->server.mails, 0);
        relays_refresh(a.town->engine->relays, 0);
        town_run(a.town, 3 * NSEC_PER_S);
        assert_false(relays_stopped(a.town->engine->relays, 0));
        assert_true(judge_accepted(a.relay) > 0);
        struct town_account account = town_end(a.town, "c", 60 * NSEC_PER_S);
        only_delivered(&account, 2000);
        account_close(&a);
    }
}

/* A token that expires each minute and is renewed in time costs nobody anything; one that is renewed late stops the
 * route for as long. */
static void a_token_that_is_renewed(void **unused)
{
    struct account a;
    (void)unused;
    account_open(&a, 80, "xoauth2", MX_AUTH_XOAUTH2, "rate = 5/s per_connection = 10");
    town_push(a.town, "c", "r%llu@a.example", 0, 6000);
    town_start(a.town);
    for (unsigned minute = 0; minute < 5; minute++) {
        char token[32];
        town_run(a.town, 60 * NSEC_PER_S);
        snprintf(token, sizeof token, "token-%u", minute);
        put_secret(&a, token);
        accept_secret(&a, token);
        if (minute == 3) { /* nobody looks at the file for a minute */
            town_run(a.town, 60 * NSEC_PER_S);
            assert_true(relays_stopped(a.town->engine->relays, 0));
        }
        relays_refresh(a.town->engine->relays, 0);
        town_run(a.town, 3 * NSEC_PER_S);
        assert_false(relays_stopped(a.town->engine->relays, 0));
    }
    struct town_account account = town_end(a.town, "c", 600 * NSEC_PER_S);
    only_delivered(&account, 6000);
    account_close(&a);
}

/* AUTH is not offered, or refused for a while: the first stops the route, the second does not. */
static void auth_that_is_not_there(void **unused)
{
    struct account a;
    (void)unused;
    account_open(&a, 90, "login", MX_AUTH_PLAIN, "");
    town_push(a.town, "c", "r%llu@a.example", 0, 100);
    town_start(a.town);
    town_run(a.town, 30 * NSEC_PER_S);
    assert_true(relays_stopped(a.town->engine->relays, 0));
    assert_int_equal(a.relay->server.mails, 0);
    a.personality.auth |= MX_AUTH_LOGIN;
    mx_personality_rule(&a.personality, MX_AUTH, MX_CERTAIN, "454 4.7.0 Temporary authentication failure");
    accept_secret(&a, "first");
    town_run(a.town, 1000 * NSEC_PER_S); /* the probe does not tell */
    assert_int_equal(a.relay->server.mails, 0);
    a.personality.rule_count = 0;
    accept_secret(&a, "first");
    struct town_account account = town_end(a.town, "c", 1800 * NSEC_PER_S);
    only_delivered(&account, 100);
    account_close(&a);
}

static void auth_that_is_busy(void **unused)
{
    struct account a;
    (void)unused;
    account_open(&a, 91, "plain", MX_AUTH_PLAIN, "");
    mx_personality_rule(&a.personality, MX_AUTH, MX_CERTAIN, "454 4.7.0 Temporary authentication failure");
    accept_secret(&a, "first");
    town_push(a.town, "c", "r%llu@a.example", 0, 1000);
    town_start(a.town);
    town_run(a.town, 300 * NSEC_PER_S);
    assert_false(relays_stopped(a.town->engine->relays, 0));
    assert_int_equal(a.relay->server.mails, 0);
    assert_in_range(a.relay->server.connections, 8, 4 * 9 * 8); /* ever more slowly */
    a.personality.rule_count = 0;
    accept_secret(&a, "first");
    struct town_account account = town_end(a.town, "c", 1800 * NSEC_PER_S);
    only_delivered(&account, 1000);
    account_close(&a);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_decide),
        cmocka_unit_test(a_relay_without_address),
        cmocka_unit_test(another_pool_is_another_way),
        cmocka_unit_test(a_relay_that_does_not_know_us),
        cmocka_unit_test(a_relay_that_throttles),
        cmocka_unit_test(a_relay_whose_quota_is_used_up),
        cmocka_unit_test(a_relay_with_few_connections),
        cmocka_unit_test(a_recipient_that_a_relay_refuses),
        cmocka_unit_test(every_mechanism_signs_in),
        cmocka_unit_test(a_password_that_is_put_right),
        cmocka_unit_test(a_token_that_is_renewed),
        cmocka_unit_test(auth_that_is_not_there),
        cmocka_unit_test(auth_that_is_busy),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("relays", tests, NULL, NULL);
}
