/* Stories of the suppression list: who is on it is not sent to, however long its mail waited, and who is refused for
 * good comes on it, whenever the engine dies. An argument chooses by name. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const nsec minute = 60 * NSEC_PER_S;

static const char big[] = "big.example";

static struct town *open_town(uint64_t seed, unsigned shards, const char *settings)
{
    char text[1024];
    struct mx_personality personality;
    snprintf(text, sizeof text, "defaults { retry = {5s}  expire = 20s }\n%s", settings);
    struct town *town = town_new(seed, shards, text);
    mx_personality_init(&personality, big);
    static const struct {
        const char *match, *reply;
        enum mx_stage stage;
    } rules[] = {
        {"dead*", "550 5.1.1 no such user", MX_RCPT},     {"full*", "554 5.2.2 mailbox is full", MX_RCPT},
        {"later*", "450 4.2.1 try again later", MX_RCPT}, {"quota*", "452 4.2.2 mailbox is full", MX_RCPT},
        {"gone4*", "450 5.1.1 no such user", MX_RCPT},    {"spam*", "554 5.7.1 looks like spam", MX_BODY},
        {"auth*", "550 5.7.26 unauthenticated", MX_BODY}, {"odd*", "554 5.0.0 no pigeons here", MX_RCPT},
    };
    for (size_t i = 0; i < countof(rules); i++)
        strcpy(mx_personality_rule(&personality, rules[i].stage, MX_CERTAIN, rules[i].reply)->match, rules[i].match);
    sim_isp_domain(sim_isp_new(town->mail, big, &personality, 1, false), big, 300, 1);
    return town;
}

static void close_town(struct town *town)
{
    town_judge_empty(town);
    town_judge_limits(town);
    town_finish(town);
    town_free(town);
}

static uint64_t metric(const struct town *town, enum metric which) { return sim_engine_metric(town->engine, which); }

static struct town_account run_campaign(struct town *town, const char *id)
{
    assert_true(town_drain(town, 60 * minute));
    return town_judge(town, id);
}

/* Also in other letters, in a campaign that is pushed to an engine that runs, and with values that nobody understands.
 */
static void who_is_on_the_list_is_not_sent_to(void **unused)
{
    (void)unused;
    for (unsigned shards = 1; shards <= 3; shards += 2) {
        struct town *town = open_town(1, shards, "");
        town_campaign(town, "a", "");
        town_push(town, "a", "r%llu@big.example", 0, 1500);
        for (unsigned i = 0; i < 1500; i += 10) {
            char key[64];
            snprintf(key, sizeof key, "r%u@big.example", i);
            town_suppress(town, key, i % 20 ? "complaint - - 1795309200000" : "asked us to, on the phone");
        }
        town_start(town);
        struct town_account account = run_campaign(town, "a");
        assert_int_equal(account.events[EVENT_SUPPRESSED], 150);
        assert_int_equal(account.events[EVENT_DELIVERED], 1350);
        assert_int_equal(metric(town, METRIC_LIST_FOUND), 150);
        town_suppress(town, "new@big.example", "");
        town_campaign(town, "b", "");
        town_push_entry(town, "b", "{\"to\":\"New@BIG.example\"}");
        town_push_entry(town, "b", "R10@Big.Example");
        town_push_entry(town, "b", "other@big.example");
        account = run_campaign(town, "b");
        assert_int_equal(account.events[EVENT_SUPPRESSED], 2);
        assert_int_equal(account.events[EVENT_DELIVERED], 1);
        close_town(town);
    }
}

/* One a minute: what waits in memory was asked about long before its turn. */
static void mail_that_waits_is_asked_about_again(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct town *town = open_town(seed, 2, "isp big { mx = {.big.example}  rate = 4/min  burst = 20 }");
        nsec since[60] = {0};
        town_campaign(town, "a", "");
        town_push(town, "a", "r%llu@big.example", 0, 60);
        town_start(town);
        town_run(town, 10 * NSEC_PER_S);
        for (unsigned i = 0; i < 60; i += 3) { /* one every seven seconds */
            char key[64];
            snprintf(key, sizeof key, "r%u@big.example", i);
            town_suppress(town, key, "complaint - - 1795309200000");
            since[i] = sim_now(town->world);
            if (seed == 2 && i % 15 == 0) { /* whatever happens meanwhile */
                town_crash(town);
                town_start(town);
            }
            if (seed == 3 && i % 15 == 0)
                town_set(town, "a", "state", i % 30 ? "running" : "paused");
            if (seed == 4 && i % 15 == 0) {
                town_redis_stop(town);
                town_run(town, 3 * NSEC_PER_S);
                town_redis_start(town);
            }
            town_run(town, 7 * NSEC_PER_S);
        }
        town_set(town, "a", "state", "running");
        assert_true(town_drain(town, 60 * minute));
        struct town_account account = town_judge(town, "a");
        for (unsigned i = 0; i < 60; i += 3) {
            char key[64];
            snprintf(key, sizeof key, "r%u@big.example", i);
            town_judge_suppressed(town, key, since[i]);
        }
        assert_true(account.events[EVENT_SUPPRESSED] >= 5 && account.events[EVENT_DELIVERED] >= 40);
        if (seed == 1)
            assert_true(metric(town, METRIC_LIST_AGAIN) > 0);
        close_town(town);
    }
}

/* A hard bounce of one campaign is not sent to in the next; nothing else is held back. */
static void a_hard_bounce_is_remembered(void **unused)
{
    (void)unused;
    static const char *const others[] = {"later", "quota", "gone4", "spam", "auth", "full", "good"};
    struct town *town = open_town(2, 2, "");
    char format[64], value[256];
    sim_zone_mx(town->world, "null.example", 60, 0, "");
    for (unsigned round = 0; round < 2; round++) {
        const char *id = round ? "b" : "a";
        town_campaign(town, id, "events full");
        town_push(town, id, "dead%llu@big.example", 0, 100);
        town_push(town, id, "x%llu@null.example", 0, 10);
        town_push(town, id, "x%llu@nosuch.example", 0, 10);
        for (size_t i = 0; i < countof(others); i++) {
            snprintf(format, sizeof format, "%s%%llu@big.example", others[i]);
            town_push(town, id, format, 0, 20);
        }
        if (!round)
            town_start(town);
        struct town_account account = run_campaign(town, id);
        assert_int_equal(account.events[EVENT_SUPPRESSED], round ? 120 : 0);
        assert_int_equal(account.events[EVENT_BOUNCED], round ? 60 : 180);
        assert_int_equal(account.events[EVENT_EXPIRED], 60);
        assert_int_equal(account.events[EVENT_DELIVERED], 20);
        assert_int_equal(town_judge_listed(town, id), round ? 0 : 100);
    }
    town_suppressed(town, "dead7@big.example", value, sizeof value);
    assert_true(strncmp(value, "bad-mailbox a 7 ", 16) == 0);
    town_suppressed(town, "x3@null.example", value, sizeof value);
    assert_true(strncmp(value, "bad-domain a 103 ", 17) == 0);
    for (size_t i = 0; i < countof(others); i++)
        for (unsigned n = 0; n < 20; n++) {
            snprintf(format, sizeof format, "%s%u@big.example", others[i], n);
            town_suppressed(town, format, value, sizeof value);
            if (value[0])
                fail_msg("%s is on the list: %s", format, value);
        }
    assert_int_equal(metric(town, METRIC_LIST_ADDED), 120);
    assert_int_equal(metric(town, METRIC_LIST_STRIKES), 120 + 40);
    close_town(town);
}

/* Three in the time that is configured are, three over a longer time are not; 4yz never. */
static void a_full_mailbox_three_times(void **unused)
{
    (void)unused;
    struct town *town = open_town(3, 1, "suppress quota-issues { after = 3  within = 10m }");
    char value[256];
    town_start(town);
    for (unsigned round = 0; round < 5; round++) {
        char id[8];
        snprintf(id, sizeof id, "c%u", round);
        town_campaign(town, id, "");
        town_push_entry(town, id, "full-often@big.example");
        town_push_entry(town, id, "quota-often@big.example");
        if (round == 0 || round == 2 || round == 4) /* at 0, 8 and 16 minutes */
            town_push_entry(town, id, "full-seldom@big.example");
        assert_true(town_drain(town, 2 * minute));
        struct town_account account = town_judge(town, id);
        assert_int_equal(account.events[EVENT_SUPPRESSED], round >= 3);
        town_suppressed(town, "full-often@big.example", value, sizeof value);
        assert_int_equal(value[0] != 0, round >= 2);
        assert_true(!value[0] || strncmp(value, "quota-issues c2 0 ", 18) == 0);
        nsec next = (round + 1) * 4 * minute;
        if (sim_now(town->world) < next)
            town_run(town, next - sim_now(town->world));
    }
    town_suppressed(town, "full-seldom@big.example", value, sizeof value);
    assert_string_equal(value, "");
    town_suppressed(town, "quota-often@big.example", value, sizeof value);
    assert_string_equal(value, "");
    close_town(town);
}

/* Whenever it dies: a recipient whose bounce was told is on the list. */
static void a_death_between_list_and_event(void **unused)
{
    (void)unused;
    unsigned listed = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct town *town = open_town(seed, 1, "");
        sim_batch(town->world, 1);
        town_campaign(town, "a", "in_doubt resend");
        town_push(town, "a", "dead%llu@big.example", 0, 30);
        town_start(town);
        for (unsigned death = 0; death < 4; death++) {
            for (uint64_t until = sim_events(town->world) + 40 * seed + 211 * death; sim_events(town->world) < until;)
                sim_step(town->world);
            town_crash(town);
            if (death % 2)
                (void)town_judge_listed(town, "a");
            town_start(town);
        }
        assert_true(town_drain(town, 600 * NSEC_PER_S));
        struct town_account account = town_judge(town, "a");
        assert_int_equal(account.copies, 0);
        listed += town_judge_listed(town, "a");
        close_town(town);
    }
    assert_true(listed > 40 * 10);
}

/* What should be a hash is none: everybody waits, nobody is sent to blindly. */
static void a_list_that_cannot_be_asked(void **unused)
{
    (void)unused;
    struct town *town = open_town(5, 2, "");
    for (unsigned i = 0; i < 256; i++)
        free(fake_redis_do(town->redis, "SET sluice:suppressed:%02x nonsense", i));
    town_campaign(town, "a", "");
    town_push(town, "a", "r%llu@big.example", 0, 100);
    town_start(town);
    town_run(town, 8 * NSEC_PER_S);
    assert_int_equal(town->mail->ledger.accepted_count, 0);
    assert_true(metric(town, METRIC_DEFERRED) >= 100);
    for (unsigned i = 0; i < 256; i++)
        free(fake_redis_do(town->redis, "DEL sluice:suppressed:%02x", i));
    assert_int_equal(run_campaign(town, "a").events[EVENT_DELIVERED], 100);
    close_town(town);
}

static void a_list_that_is_switched_off(void **unused)
{
    (void)unused;
    struct town *town = open_town(6, 1, "suppression = no");
    town_suppress(town, "r1@big.example", "complaint - - 0");
    town_campaign(town, "a", "");
    town_push(town, "a", "r%llu@big.example", 0, 10);
    town_push(town, "a", "dead%llu@big.example", 0, 10);
    town_start(town);
    struct town_account account = run_campaign(town, "a");
    assert_int_equal(account.events[EVENT_DELIVERED], 10);
    assert_int_equal(account.events[EVENT_BOUNCED], 10);
    char value[64];
    town_suppressed(town, "dead1@big.example", value, sizeof value);
    assert_string_equal(value, "");
    close_town(town);
}

/* From a reload on, each shard at its own time: mail that waits and was never asked about is, what is switched off is
 * asked no more, and what counts and what replies mean is as the new file has it. */
static void a_reload_takes_the_list_and_the_rules(void **unused)
{
    (void)unused;
    static const char off[] = "isp big { mx = {.big.example}  rate = 4/s  connections = 4 }\nsuppression = no";
    static const char on[] = "isp big { mx = {.big.example}  rate = 40/s  connections = 4\n"
                             "  rule pigeons { stage = rcpt  text = \"no pigeons\"  class = bad-mailbox  kind = hard\n"
                             "    action = suppress } }\nsuppress quota-issues { after = 2  within = 10m }";
    char value[64];
    for (unsigned shards = 1; shards <= 2; shards++) {
        struct town *town = open_town(7, shards, off);
        town_campaign(town, "a", "");
        town_push(town, "a", "r%llu@big.example", 0, 200);
        for (unsigned i = 0; i < 200; i++) {
            char key[64];
            snprintf(key, sizeof key, "r%u@big.example", i);
            town_suppress(town, key, "complaint - - 0");
        }
        town_start(town);
        town_run(town, 3 * NSEC_PER_S);
        uint64_t before = town->mail->ledger.accepted_count;
        assert_in_range(before, 10, 150);
        assert_int_equal(metric(town, METRIC_LIST_ASKED), 0);
        town_reload(town, on, 50 * NSEC_PER_MS);
        struct town_account account = run_campaign(town, "a");
        assert_int_equal(account.events[EVENT_DELIVERED] + account.events[EVENT_SUPPRESSED], 200);
        assert_in_range(account.events[EVENT_DELIVERED], before, before + 8); /* that were under way */

        town_campaign(town, "b", "events full");
        town_push_entry(town, "b", "full1@big.example");
        town_push_entry(town, "b", "full1@big.example");
        town_push_entry(town, "b", "odd1@big.example");
        (void)run_campaign(town, "b");
        town_suppressed(town, "full1@big.example", value, sizeof value);
        assert_true(strncmp(value, "quota-issues b ", 15) == 0);
        town_suppressed(town, "odd1@big.example", value, sizeof value);
        assert_true(strncmp(value, "bad-mailbox b 2 ", 16) == 0);

        town_reload(town, off, 50 * NSEC_PER_MS);
        uint64_t asked = metric(town, METRIC_LIST_ASKED);
        town_campaign(town, "c", "");
        town_push(town, "c", "r%llu@big.example", 0, 10);
        town_push(town, "c", "dead%llu@big.example", 0, 1);
        account = run_campaign(town, "c");
        assert_int_equal(account.events[EVENT_DELIVERED], 10);
        assert_int_equal(metric(town, METRIC_LIST_ASKED), asked);
        town_suppressed(town, "dead0@big.example", value, sizeof value);
        assert_string_equal(value, "");
        town_judge_empty(town);
        town_finish(town);
        town_free(town);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_on_the_list_is_not_sent_to), cmocka_unit_test(mail_that_waits_is_asked_about_again),
        cmocka_unit_test(a_hard_bounce_is_remembered),       cmocka_unit_test(a_full_mailbox_three_times),
        cmocka_unit_test(a_death_between_list_and_event),    cmocka_unit_test(a_list_that_cannot_be_asked),
        cmocka_unit_test(a_list_that_is_switched_off),       cmocka_unit_test(a_reload_takes_the_list_and_the_rules),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
