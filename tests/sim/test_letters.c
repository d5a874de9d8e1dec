/* What is pressed ahead of its time: it arrives whole, signed and fresh, or it is thrown away. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- a signer that can fail ---- */

static bool broken;
static uint64_t batches, jobs_in_batches;

unsigned __wrap_sign_batch(struct signer *signer, struct sign_job *jobs, unsigned count);
unsigned __real_sign_batch(struct signer *signer, struct sign_job *jobs, unsigned count);

unsigned __wrap_sign_batch(struct signer *signer, struct sign_job *jobs, unsigned count)
{
    unsigned failed = __real_sign_batch(signer, jobs, count);
    batches++;
    jobs_in_batches += count;
    for (unsigned i = 0; broken && i < count; i += 2) /* of each message one of the two */
        jobs[i].failed = true;
    return broken ? (count + 1) / 2 : failed;
}

/* ---- towns ---- */

static struct sim_isp *isp_of(struct town *town, const char *name)
{
    struct mx_personality personality;
    mx_personality_init(&personality, name);
    struct sim_isp *isp = sim_isp_new(town->mail, name, &personality, 1, false);
    sim_isp_domain(isp, name, 300, 1);
    return isp;
}

static void close_town(struct town *town)
{
    town_judge_letters(town);
    town_judge_limits(town);
    town_judge_empty(town);
    town_finish(town);
    town_free(town);
}

static struct press *press_of(const struct town *town) { return &town->engine->shards[0].shard->press; }

static uint64_t metric(const struct town *town, enum metric which) { return sim_engine_metric(town->engine, which); }

/* A town whose only ISP is slow, so that of what is pressed most waits; it has run for a moment. */
static struct town *slow_town(uint64_t seed, const char *fields, uint64_t count)
{
    struct town *town = town_new_signing(seed, 1, "isp slow { mx = {.slow.example}  rate = 4/s }\n");
    isp_of(town, "slow.example");
    town_campaign(town, "c", fields);
    town_push(town, "c", "{\"to\":\"r%llu@slow.example\",\"name\":\"Ann\"}", 0, count);
    town_start(town);
    for (unsigned i = 0; i < 100 && !press_of(town)->first; i++)
        town_run(town, 100 * NSEC_PER_MS);
    assert_non_null(press_of(town)->first);
    return town;
}

/* ---- stories ---- */

/* Of each message there are two signatures. */
static double messages_in_a_batch(void) { return (double)jobs_in_batches / 2 / (double)batches; }

/* Whether a list has one large provider or a hundred small ones: most are signed in company. */
static void most_are_signed_in_company(void **unused)
{
    (void)unused;
    for (unsigned isps = 1; isps <= 100; isps += 99) {
        struct town *town = town_new_signing(9, 1, "");
        town_campaign(town, "c", "");
        for (unsigned i = 0; i < isps; i++) {
            char name[32], entry[64];
            snprintf(name, sizeof name, "isp%u.example", i);
            isp_of(town, name);
            snprintf(entry, sizeof entry, "r%%llu@%s", name);
            town_push(town, "c", entry, 0, 600 / isps);
        }
        batches = jobs_in_batches = 0;
        town_start(town);
        assert_true(town_drain(town, 600 * NSEC_PER_S));
        print_message("%u providers: %.1f messages in a batch\n", isps, messages_in_a_batch());
        assert_true(messages_in_a_batch() > 4);
        close_town(town);
    }
}

static void every_letter_is_signed(void **unused)
{
    (void)unused;
    for (unsigned shards = 1; shards <= 3; shards += 2) {
        struct town *town = town_new_signing(1, shards, "");
        isp_of(town, "big.example");
        isp_of(town, "small.example");
        town_campaign(town, "c", "");
        town_push(town, "c", "{\"to\":\"r%llu@big.example\",\"name\":\"Ann\"}", 0, 800);
        town_push(town, "c", "r%llu@small.example", 0, 300);
        town_start(town);
        assert_true(town_drain(town, 600 * NSEC_PER_S));
        assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 1100);
        assert_int_equal(town->letters.count, 1100);
        town_run(town, 2 * NSEC_PER_S); /* until the counters are published */
        assert_int_equal(metric(town, METRIC_SIGNATURES), 2 * metric(town, METRIC_RENDERED));
        assert_int_equal(metric(town, METRIC_RENDERED), 1100 + metric(town, METRIC_THROWN_AWAY));
        assert_in_range(metric(town, METRIC_THROWN_AWAY), 0, 200);
        close_town(town);
    }
}

static void a_pause_throws_away_what_was_pressed(void **unused)
{
    (void)unused;
    struct town *town = slow_town(2, "", 60);
    town_set(town, "c", "state", "paused");
    town_run(town, 5 * NSEC_PER_S);
    uint64_t before = town->letters.count;
    assert_int_equal(press_used(press_of(town)), 0);
    assert_true(press_of(town)->thrown_away > 0);
    town_run(town, 3600 * NSEC_PER_S);
    assert_int_equal(town->letters.count, before);
    town_set(town, "c", "state", "running"); /* an hour later the Date is another */
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 60);
    close_town(town);
}

static void a_cancelled_campaign_frees_all(void **unused)
{
    (void)unused;
    struct town *town = slow_town(3, "", 60);
    town_set(town, "c", "state", "cancelled");
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    assert_int_equal(press_used(press_of(town)), 0);
    struct town_account account = town_judge(town, "c");
    assert_true(account.events[EVENT_CANCELLED] > 0);
    assert_int_equal(account.events[EVENT_CANCELLED] + account.events[EVENT_DELIVERED], 60);
    close_town(town);
}

/* A template that changes while it is sent: each letter is of the one or of the other. */
static void no_letter_mixes_two_editions(void **unused)
{
    (void)unused;
    struct town *town = town_new_signing(4, 1, "isp slow { mx = {.slow.example}  rate = 5/s }\n");
    isp_of(town, "slow.example");
    isp_of(town, "fast.example");
    town_campaign(town, "c", "subject edition-A text {{name}}-edition-A-{{name}}");
    town_push(town, "c", "{\"to\":\"r%llu@slow.example\",\"name\":\"Ann\"}", 0, 200);
    town_push(town, "c", "{\"to\":\"r%llu@fast.example\",\"name\":\"Ann\"}", 0, 200);
    town_start(town);
    town_run(town, 4 * NSEC_PER_S);
    free(fake_redis_do(town->redis, "HSET sluice:{c}:campaign subject edition-B text {{name}}-edition-B-{{name}}"));
    town_run(town, 700 * NSEC_PER_MS); /* until it has been looked at */
    uint64_t of_a = town->letters.of_a;
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 400);
    assert_int_equal(town->letters.of_a + town->letters.of_b, 400);
    assert_in_range(of_a, 220, 350);
    assert_in_range(town->letters.of_a, of_a, of_a + 2); /* at most what was in flight */
    close_town(town);
}

/* A slow lane's messages, pressed ahead, fill what they may; the fast one goes on nevertheless. */
static void who_waits_long_starves_nobody(void **unused)
{
    (void)unused;
    static char html[60000];
    struct town *town = town_new_signing(5, 1,
                                         "press_bytes = 1MiB\n"
                                         "isp slow { mx = {.slow.example}  rate = 2/min }\n");
    isp_of(town, "slow.example");
    isp_of(town, "fast.example");
    for (unsigned i = 0; i < 2; i++) {
        char id[8];
        snprintf(id, sizeof id, "c%u", i);
        memset(html, 'x', sizeof html - 1);
        memcpy(html, "{{name}}\n", 9);
        for (size_t at = 60; at < sizeof html - 1; at += 60)
            html[at] = '\n';
        html[sizeof html - 1] = 0;
        town_campaign(town, id, "");
        town_set(town, id, "html", html);
    }
    town_push(town, "c0", "{\"to\":\"r%llu@slow.example\",\"name\":\"Ann\"}", 0, 30);
    town_push(town, "c1", "{\"to\":\"r%llu@fast.example\",\"name\":\"Ann\"}", 0, 300);
    town_start(town);
    for (unsigned i = 0; i < 120 && strcmp(town_phase(town, "c1"), "done") != 0; i++) {
        town_run(town, NSEC_PER_S);
        assert_true(press_used(press_of(town)) <= 1 << 20);
    }
    assert_string_equal(town_phase(town, "c1"), "done");
    assert_string_not_equal(town_phase(town, "c0"), "done");
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    assert_int_equal(town_judge(town, "c0").events[EVENT_DELIVERED], 30);
    assert_int_equal(town_judge(town, "c1").events[EVENT_DELIVERED], 300);
    close_town(town);
}

/* A clock that jumps makes what waits too old, or a thing of the future: it is pressed anew, so that Date and t= hold.
 */
static void no_letter_is_of_another_time(void **unused)
{
    (void)unused;
    for (int sign = -1; sign <= 1; sign += 2) {
        struct town *town = slow_town(6, "", 60);
        sim_wall_jump(town->world, NULL, sign * 3600 * NSEC_PER_S);
        assert_true(town_drain(town, 600 * NSEC_PER_S));
        assert_int_equal(town_judge(town, "c").events[EVENT_DELIVERED], 60);
        town_run(town, 2 * NSEC_PER_S);
        assert_true(metric(town, METRIC_THROWN_AWAY) > 0);
        close_town(town);
    }
}

/* A key that fails: nobody gets an unsigned letter, nobody bounces, and when it works again all is sent. */
static void without_a_signature_nothing_leaves(void **unused)
{
    (void)unused;
    struct town *town = town_new_signing(7, 1, "defaults { retry = {30s} }\n");
    isp_of(town, "big.example");
    town_campaign(town, "c", "events full");
    town_push(town, "c", "r%llu@big.example", 0, 100);
    broken = true;
    town_start(town);
    town_run(town, 70 * NSEC_PER_S);
    broken = false;
    assert_int_equal(town->letters.count, 0);
    assert_true(metric(town, METRIC_UNSIGNED) >= 100);
    assert_true(town_drain(town, 600 * NSEC_PER_S));
    struct town_account account = town_judge(town, "c");
    assert_int_equal(account.events[EVENT_DELIVERED], 100);
    assert_true(account.events[EVENT_DEFERRED] >= 100);
    assert_int_equal(account.events[EVENT_BOUNCED], 0);
    char *events = fake_redis_do(town->redis, "XRANGE sluice:{c}:events - +");
    assert_non_null(strstr(events, "could not be signed with the key of dkim r"));
    free(events);
    close_town(town);
}

/* Whatever waits in the press and whatever flies when it dies, nothing is lost and nothing leaks. */
static void it_may_die_with_a_full_press(void **unused)
{
    (void)unused;
    for (uint64_t events = 0; events < 60; events++) {
        struct town *town = slow_town(8, "in_doubt resend", 20);
        for (uint64_t i = 0; i < events; i++)
            sim_step(town->world);
        if (events % 2)
            town_set(town, "c", "text", "another {{name}}");
        town_run(town, (nsec)events * 20 * NSEC_PER_MS);
        town_crash(town);
        town_start(town);
        assert_true(town_drain(town, 600 * NSEC_PER_S));
        town_judge(town, "c");
        close_town(town);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_letter_is_signed),
        cmocka_unit_test(most_are_signed_in_company),
        cmocka_unit_test(a_pause_throws_away_what_was_pressed),
        cmocka_unit_test(a_cancelled_campaign_frees_all),
        cmocka_unit_test(no_letter_mixes_two_editions),
        cmocka_unit_test(who_waits_long_starves_nobody),
        cmocka_unit_test(no_letter_is_of_another_time),
        cmocka_unit_test(without_a_signature_nothing_leaves),
        cmocka_unit_test(it_may_die_with_a_full_press),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
