/* Stories of sessions: TLS that works, is broken, or is not there, and bodies by BDAT with servers that do it well or
 * badly. The exchangers judge each byte. An argument chooses among them by name. */
#include "town.h"

#include "flow/session_outcome.h"
#include "proto/policy/verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define BIG "big.example"

/* The keys of every town's servers: to make them takes longer than most of these stories. */
static struct mx_tls *keys; /* here, for the group's setup gets nothing from main */

static int make_keys(void **unused)
{
    (void)unused;
    keys = mx_tls_new();
    return 0;
}

static int free_keys(void **unused)
{
    (void)unused;
    mx_tls_free(keys);
    return 0;
}

static struct mx_personality secure(void)
{
    struct mx_personality personality;
    mx_personality_init(&personality, BIG);
    personality.starttls = true;
    return personality;
}

static struct mx_personality chunking(void)
{
    struct mx_personality personality;
    mx_personality_init(&personality, BIG);
    personality.chunking = true;
    for (unsigned stage = MX_MAIL; stage <= MX_BODY; stage++)
        personality.latency[stage] = (struct mx_latency){NSEC_PER_MS, 0};
    return personality;
}

static struct sim_isp *isp_new(struct town *town, const struct mx_personality *personality)
{
    struct sim_isp *isp = sim_isp_new(town->mail, BIG, personality, 1, false);
    sim_isp_domain(isp, BIG, 300, 1);
    return isp;
}

static struct town *begin(uint64_t seed, const char *settings, const struct mx_personality *personality, unsigned count)
{
    struct town *town = town_new(seed, 1, settings); /* what a session has learned its shard knows */
    town->mail->ledger.near = true;
    sim_mail_lend_tls(town->mail, keys);
    isp_new(town, personality);
    town_campaign(town, "c", "events full");
    town_push(town, "c", "r%llu@" BIG, 0, count);
    town_start(town);
    return town;
}

static struct mx_server *server_of(struct town *town) { return &sim_isp_find(town->mail, BIG)->server; }

static struct town_account end(struct town *town, nsec limit)
{
    if (!town_drain(town, limit))
        fail_msg("seed %llu: not done in time", (unsigned long long)town->seed);
    struct town_account account = town_judge(town, "c");
    town_judge_empty(town);
    town_judge_limits(town); /* among others: nothing in plain text where the personality demands TLS */
    town_finish(town);
    return account;
}

static void only(const struct town_account *account, enum event_type what, uint64_t count)
{
    for (int type = EVENT_BROKEN + 1; type < EVENT_TYPE_COUNT; type++)
        assert_int_equal(account->events[type], type == (int)what ? count : 0);
}

static void assert_told(struct town *town, const char *text)
{
    char *reply = fake_redis_do(town->redis, "XRANGE sluice:{c}:events - + COUNT 100");
    if (!strstr(reply, text))
        fail_msg("no event says '%s': %s", text, reply);
    free(reply);
}

/* ---- TLS ---- */

static void tls_where_it_is_offered(void **unused)
{
    (void)unused;
    struct mx_personality personality = secure();
    personality.demand = MX_DEMAND_COUNTED;
    struct town *town = begin(1, "", &personality, 500);
    struct town_account account = end(town, 60 * NSEC_PER_S);
    only(&account, EVENT_DELIVERED, 500);
    assert_int_equal(server_of(town)->accepted_tls, 500);
    assert_told(town, "TLSv1.3 TLS_");
    town_free(town);
}

/* What is said in plain text is not what is said inside, and what stands behind the 220 is said by nobody. */
static void words_in_plain_text_count_for_nothing(void **unused)
{
    (void)unused;
    struct mx_personality personality = secure();
    personality.demand = MX_DEMAND_COUNTED;
    personality.plain_only = MX_CAN_PIPELINING | MX_CAN_EIGHT_BIT;
    struct mx_rule *rule =
        mx_personality_rule(&personality, MX_STARTTLS, MX_CERTAIN, "250-x\r\n250 PIPELINING\r\n250 ok");
    rule->action = MX_INJECT;
    /* What arrives later than the 220 comes between the handshakes of both sides, and fails it: then it is tried again.
     */
    struct town *town = begin(2, "defaults { tls = required retry = {1m} }\n", &personality, 200);
    struct town_account account = end(town, 7200 * NSEC_PER_S);
    assert_int_equal(account.events[EVENT_DELIVERED], 200);
    assert_int_equal(account.finals, 200);
    assert_int_equal(server_of(town)->accepted_tls, 200);
    town_free(town);
}

static const struct {
    enum mx_stage stage;
    enum mx_action action;
    const char *reply;
} broken[] = {
    {MX_STARTTLS, MX_REPLY, "454 4.7.0 TLS not available"},
    {MX_STARTTLS, MX_REPLY, "501 5.5.4 no"},
    {MX_STARTTLS, MX_GARBAGE, "\1\2 what?"},
    {MX_STARTTLS, MX_HANG_UP, NULL},
    {MX_STARTTLS, MX_SILENCE, NULL},
    {MX_HANDSHAKE, MX_HANG_UP, NULL},
    {MX_HANDSHAKE, MX_ABORT, NULL},
    {MX_HANDSHAKE, MX_GARBAGE, "220 go on in plain text"},
    {MX_HANDSHAKE, MX_SILENCE, NULL},
};

static struct mx_personality broken_at(size_t i)
{
    struct mx_personality personality = secure();
    struct mx_rule *rule = mx_personality_rule(&personality, broken[i].stage, MX_CERTAIN, broken[i].reply);
    rule->action = broken[i].action;
    return personality;
}

/* Nobody waits for a host whose TLS is broken, where it need not have any; it is asked again when that is forgotten. */
static void broken_tls_that_need_not_be(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < countof(broken); i++) {
        struct mx_personality personality = broken_at(i), good = secure();
        struct town *town =
            begin(10 + i, "tls_broken_for = 10m\ndefaults { timeout_ehlo = 2s retry = {1m} }\n", &personality, 300);
        town_run(town, 20 * NSEC_PER_S);
        assert_int_equal(town->mail->ledger.accepted_count, 300);
        assert_int_equal(server_of(town)->accepted_tls, 0);
        sim_isp_mood(sim_isp_find(town->mail, BIG), sim_now(town->world), &good);
        town_campaign(town, "d", "");
        town_push(town, "d", "s%llu@" BIG, 0, 50);
        town_run(town, 60 * NSEC_PER_S);
        assert_int_equal(server_of(town)->accepted, 350);
        assert_int_equal(server_of(town)->accepted_tls, 0); /* remembered */
        town_run(town, 600 * NSEC_PER_S);
        town_campaign(town, "e", "");
        town_push(town, "e", "t%llu@" BIG, 0, 50);
        struct town_account account = end(town, 60 * NSEC_PER_S);
        only(&account, EVENT_DELIVERED, 300);
        assert_int_equal(server_of(town)->accepted_tls, 50);
        town_free(town);
    }
}

/* Where encryption is demanded nothing goes out in plain text, whatever the server does; nobody is bounced for it. */
static void broken_tls_that_must_be(void **unused)
{
    (void)unused;
    for (size_t i = 0; i <= countof(broken); i++) {
        struct mx_personality personality = secure();
        if (i < countof(broken))
            personality = broken_at(i);
        else
            personality.starttls_hidden = true;
        personality.demand = MX_DEMAND_COUNTED;
        struct town *town = begin(30 + i, "defaults { tls = required timeout_ehlo = 2s retry = {1m} expire = 10m }\n",
                                  &personality, 100);
        struct town_account account = end(town, 3600 * NSEC_PER_S);
        assert_int_equal(account.events[EVENT_EXPIRED], 100);
        assert_int_equal(account.events[EVENT_BOUNCED], 0);
        assert_int_equal(server_of(town)->mails, 0);
        assert_told(town, "starttls");
        if (i == countof(broken))
            assert_told(town, "TLS is demanded, and the server does not offer STARTTLS");
        assert_true(server_of(town)->connections < 400); /* it is tried again, not again and again */
        town_free(town);
    }
}

/* The certificate is looked at where it has to be verified, and only there. */
static void certificates(void **unused)
{
    (void)unused;
    static const enum mx_issue issues[] = {MX_ISSUE_CA, MX_ISSUE_SELF, MX_ISSUE_WRONG_NAME, MX_ISSUE_EXPIRED};
    char ca[64], settings[256];
    snprintf(ca, sizeof ca, "/tmp/sluice-sim-session-%d", (int)getpid());
    for (size_t i = 0; i < 2 * countof(issues); i++) {
        bool verified = i < countof(issues), good = i % countof(issues) == 0;
        snprintf(settings, sizeof settings, "tls_ca = \"%s\"\ndefaults { tls = %s retry = {1m} expire = 5m }\n", ca,
                 verified ? "verified" : "required");
        struct mx_personality personality = secure();
        personality.demand = MX_DEMAND_COUNTED;
        personality.tls.issue = issues[i % countof(issues)];
        struct town *town = town_new(50 + i, 1, settings);
        sim_mail_lend_tls(town->mail, keys);
        FILE *file = fopen(ca, "w");
        assert_non_null(file);
        fputs(mx_tls_ca(keys), file);
        assert_int_equal(fclose(file), 0);
        isp_new(town, &personality);
        town_campaign(town, "c", "events full");
        town_push(town, "c", "r%llu@" BIG, 0, 50);
        town_start(town);
        struct town_account account = end(town, 3600 * NSEC_PER_S);
        if (good || !verified)
            only(&account, EVENT_DELIVERED, 50);
        else
            assert_int_equal(account.events[EVENT_EXPIRED], 50);
        assert_int_equal(server_of(town)->accepted_tls, good || !verified ? 50 : 0);
        if (good && verified)
            assert_told(town, " verified");
        town_free(town);
    }
    unlink(ca);
}

/* ---- BDAT ---- */

static const char by_bdat[] = "defaults { connections = 1 chunking = {." BIG "} in_flight = 4 retry = {1m} }\n";

static void many_in_flight(void **unused)
{
    (void)unused;
    struct mx_personality personality = chunking();
    struct town *town = begin(70, by_bdat, &personality, 2000);
    struct town_account account = end(town, 120 * NSEC_PER_S);
    only(&account, EVENT_DELIVERED, 2000);
    assert_int_equal(server_of(town)->accepted_chunked, 2000);
    assert_in_range(server_of(town)->probes, 1, 16); /* a site is asked by the sessions of its start */
    town_free(town);
}

/* Hosts that are not on the list are not asked. */
static void nobody_is_asked_who_is_not_listed(void **unused)
{
    (void)unused;
    struct mx_personality personality = chunking();
    struct town *town = begin(71, "defaults { chunking = {mx.other.example} }\n", &personality, 100);
    struct town_account account = end(town, 60 * NSEC_PER_S);
    only(&account, EVENT_DELIVERED, 100);
    assert_int_equal(server_of(town)->accepted_chunked, 0);
    assert_int_equal(server_of(town)->probes, 0);
    town_free(town);
}

/* A server that takes the octets of a refused chunk for commands is found out before it has any of a message. */
static void a_server_that_spills(void **unused)
{
    (void)unused;
    struct mx_personality personality = chunking();
    personality.chunks_spill = true;
    mx_personality_rule(&personality, MX_RCPT, 200000, "550 5.1.1 no such user");
    struct town *town = begin(72, by_bdat, &personality, 500);
    struct town_account account = end(town, 600 * NSEC_PER_S);
    assert_int_equal(server_of(town)->accepted_chunked, 0);
    assert_int_equal(account.events[EVENT_DELIVERED] + account.events[EVENT_BOUNCED], 500);
    assert_int_equal(account.events[EVENT_DEFERRED], 0);
    town_free(town);
}

/* One that answers the first chunk twice is found out before a reply is taken for the next one's. */
static void a_server_that_says_it_twice(void **unused)
{
    (void)unused;
    struct mx_personality personality = chunking();
    struct mx_rule *twice = mx_personality_rule(&personality, MX_BODY, MX_CERTAIN, NULL);
    twice->action = MX_TWICE;
    twice->first = 16; /* more than there can be first messages */
    mx_personality_rule(&personality, MX_RCPT, 200000, "550 5.1.1 no such user")->sticky = true;
    struct town *town = begin(73, by_bdat, &personality, 500);
    struct town_account account = end(town, 3600 * NSEC_PER_S);
    assert_int_equal(account.events[EVENT_DELIVERED] + account.events[EVENT_BOUNCED], 500);
    assert_int_equal(account.events[EVENT_IN_DOUBT], 0);
    assert_in_range(server_of(town)->accepted_chunked, 1, 16);
    town_free(town);
}

/* Refusals at every stage with others in flight: each belongs to its message. */
static void refusals_in_flight(void **unused)
{
    (void)unused;
    for (uint64_t seed = 80; seed < 84; seed++) {
        struct mx_personality personality = chunking();
        mx_personality_rule(&personality, MX_MAIL, 50000, "451 4.7.1 later");
        mx_personality_rule(&personality, MX_RCPT, 100000, "550 5.1.1 no such user")->sticky = true;
        mx_personality_rule(&personality, MX_RCPT, 100000, "450 4.2.1 later");
        mx_personality_rule(&personality, MX_BODY, 50000, "554 5.7.1 not that")->sticky = true;
        mx_personality_rule(&personality, MX_BODY, 50000, "452 4.2.2 full");
        personality.messages_max = seed & 1 ? 17 : 0;
        struct town *town = begin(seed, by_bdat, &personality, 2000);
        struct town_account account = end(town, 7200 * NSEC_PER_S);
        assert_int_equal(account.events[EVENT_IN_DOUBT], 0);
        assert_true(account.events[EVENT_BOUNCED] > 100 && account.events[EVENT_DEFERRED] > 100);
        assert_true(server_of(town)->accepted_chunked > 1000);
        assert_int_equal(server_of(town)->accepted_chunked, server_of(town)->accepted);
        town_free(town);
    }
}

/* A crash with messages in flight: what may be in doubt is what was in flight, and nothing is lost or doubled. */
static void a_crash_in_flight(void **unused)
{
    (void)unused;
    for (uint64_t seed = 90; seed < 94; seed++) {
        struct mx_personality personality = chunking();
        personality.latency[MX_BODY] = (struct mx_latency){20 * NSEC_PER_MS, 0};
        struct town *town = begin(seed, by_bdat, &personality, 2000);
        while (town->mail->ledger.accepted_count < 2 * seed)
            town_run(town, NSEC_PER_MS);
        town_crash(town);
        town_start(town);
        if (!town_drain(town, 600 * NSEC_PER_S))
            fail_msg("not done in time");
        struct town_account account = town_judge(town, "c");
        assert_int_equal(account.doubled, 0);
        /* One session for each of the pool's sources on a shard, and in each five messages (in_flight and one more). */
        assert_in_range(account.events[EVENT_IN_DOUBT], 1, 5 * town->open_sessions);
        assert_int_equal(account.finals + account.in_doubt_open, 2000);
        town_finish(town);
        town_free(town);
    }
}

/* Redis is slow to answer and dies, and so do we: a chunk whose permit Redis never heard of has not left. */
static void no_chunk_leaves_before_its_permit(void **unused)
{
    (void)unused;
    for (uint64_t seed = 100; seed < 104; seed++) {
        struct mx_personality personality = chunking();
        struct town *town = begin(seed, by_bdat, &personality, 6000);
        sim_link(town->world, town->engine_host, town->redis_host, &(struct sim_link){20 * NSEC_PER_MS, 0, 0});
        town_set(town, "c", "in_doubt", "resend");
        town_run(town, 2500 * NSEC_PER_MS);
        town_redis_stop(town);
        town_run(town, 2 * NSEC_PER_MS);
        town_crash(town);
        assert_in_range(server_of(town)->accepted_chunked, 50, 5900);
        town_redis_start(town);
        town_start(town);
        if (!town_drain(town, 600 * NSEC_PER_S))
            fail_msg("not done in time");
        town_judge(town, "c"); /* no more copies than one and those in doubt */
        town_finish(town);
        town_free(town);
    }
}

/* A server that hangs up with messages in flight: those whose chunk was out are in doubt, and no other. */
static void a_close_in_flight(void **unused)
{
    (void)unused;
    struct mx_personality personality = chunking();
    struct mx_rule *rule = mx_personality_rule(&personality, MX_BODY, 20000, NULL);
    rule->action = MX_HANG_UP;
    struct town *town = begin(95, by_bdat, &personality, 2000);
    if (!town_drain(town, 3600 * NSEC_PER_S))
        fail_msg("not done in time");
    struct town_account account = town_judge(town, "c");
    uint64_t hung_up = server_of(town)->hang_ups;
    assert_in_range(hung_up, 10, 200);
    assert_in_range(account.events[EVENT_IN_DOUBT], hung_up, 4 * hung_up);
    assert_int_equal(account.finals + account.in_doubt_open, 2000);
    town_judge_limits(town);
    town_finish(town);
    town_free(town);
}

/* Whatever the kernel says of a connection, and whenever, means something for who waits for it. */
static void every_error_has_a_verdict(void **unused)
{
    (void)unused;
    for (int error = 0; error < 140; error++)
        for (unsigned stage = STAGE_CONNECT; stage < STAGE_COUNT; stage++) {
            struct outcome outcome = {.stage = (enum stage)stage,
                                      .happening = session_outcome_happening(-error, stage != STAGE_CONNECT)};
            struct verdict verdict = verdict_of(NULL, SLICE(""), &outcome);
            if (verdict.type != EVENT_DEFERRED)
                fail_msg("errno %d at %s", error, stage_name(outcome.stage));
            outcome.body_left = stage == STAGE_BODY;
            verdict = verdict_of(NULL, SLICE(""), &outcome);
            assert_int_equal(verdict.type, stage == STAGE_BODY ? EVENT_IN_DOUBT : EVENT_DEFERRED);
        }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_where_it_is_offered),
        cmocka_unit_test(words_in_plain_text_count_for_nothing),
        cmocka_unit_test(broken_tls_that_need_not_be),
        cmocka_unit_test(broken_tls_that_must_be),
        cmocka_unit_test(certificates),
        cmocka_unit_test(many_in_flight),
        cmocka_unit_test(nobody_is_asked_who_is_not_listed),
        cmocka_unit_test(a_server_that_spills),
        cmocka_unit_test(a_server_that_says_it_twice),
        cmocka_unit_test(refusals_in_flight),
        cmocka_unit_test(a_crash_in_flight),
        cmocka_unit_test(no_chunk_leaves_before_its_permit),
        cmocka_unit_test(a_close_in_flight),
        cmocka_unit_test(every_error_has_a_verdict),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
