/* Stories of domains that demand a safe way: MTA-STS and DANE, with everything that can go wrong about them. The
 * exchangers here do not speak TLS: what demands it never arrives, and all else does. An argument chooses by name. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TTL_S = 60 };

static const char allows[] = "version: STSv1\nmode: enforce\nmx: *.big.example\nmax_age: 86400\n";
static const char allows_one[] = "version: STSv1\nmode: enforce\nmx: mx2.big.example\nmax_age: 86400\n";
static const char forbids[] = "version: STSv1\nmode: enforce\nmx: mx.elsewhere.example\nmax_age: 14400\n";
static const char tests_only[] = "version: STSv1\nmode: testing\nmx: mx.elsewhere.example\nmax_age: 86400\n";
static const char ends[] = "version: STSv1\nmode: none\nmax_age: 86400\n";

struct scene {
    struct town *town;
    struct sim_isp *isp;
};

/* big.example's exchangers mx1 and mx2, to which `domains` send; campaign c. */
static struct scene open_scene(uint64_t seed, const char *settings, const char *const *domains)
{
    char text[512];
    struct mx_personality personality;
    struct scene scene;
    snprintf(text, sizeof text, "defaults { retry = {1m}  expire = 7d }\n%s", settings);
    scene.town = town_new(seed, 2, text);
    mx_personality_init(&personality, "big.example");
    scene.isp = sim_isp_new(scene.town->mail, "big.example", &personality, 2, false);
    for (; *domains; domains++)
        sim_isp_domain(scene.isp, *domains, TTL_S, 2);
    sim_zone_negative_ttl(scene.town->world, TTL_S);
    town_campaign(scene.town, "c", "");
    return scene;
}

#define DOMAINS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void publish(struct scene *scene, const char *domain, const char *id, const char *file)
{
    char name[256], record[64];
    struct sim_world *world = scene->town->world;
    snprintf(name, sizeof name, "mta-sts.%s", domain);
    sim_zone_remove(world, name);
    sim_zone_address(world, name, TTL_S, "192.0.2.80");
    snprintf(name, sizeof name, "_mta-sts.%s", domain);
    sim_zone_remove(world, name);
    snprintf(record, sizeof record, "v=STSv1; id=%s;", id);
    if (id[0])
        sim_zone_txt(world, name, TTL_S, record);
    sim_sts_file(world, domain, file);
}

static uint64_t metric(const struct scene *scene, enum metric which)
{
    return sim_engine_metric(scene->town->engine, which);
}

static uint64_t accepted(const struct scene *scene) { return scene->town->mail->ledger.accepted_count; }

/* How many connections the exchanger has had from all sources. */
static uint64_t connections(const struct scene *scene)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < scene->isp->caller_count; i++)
        sum += scene->isp->callers[i].connections;
    return sum;
}

static void minutes(struct scene *scene, int64_t count) { town_run(scene->town, count * 60 * NSEC_PER_S); }

static void close_scene(struct scene *scene, uint64_t delivered)
{
    assert_true(town_drain(scene->town, 3600 * NSEC_PER_S));
    assert_int_equal(town_judge(scene->town, "c").events[EVENT_DELIVERED], delivered);
    assert_int_equal(accepted(scene), delivered);
    town_judge_empty(scene->town);
    town_judge_limits(scene->town);
    town_finish(scene->town);
    town_free(scene->town);
}

/* Nothing is sent to hosts that the policy does not name; when it names no host any more, for it has ended, all is. */
static void a_policy_that_names_no_mail_host(void **unused)
{
    (void)unused;
    struct scene scene = open_scene(1, "", DOMAINS("a.example", "free.example"));
    publish(&scene, "a.example", "1", forbids);
    town_push(scene.town, "c", "r%llu@a.example", 0, 200);
    town_start(scene.town);
    minutes(&scene, 10);
    assert_int_equal(accepted(&scene), 0);
    assert_int_equal(connections(&scene), 0);
    assert_true(metric(&scene, METRIC_DEFERRED) >= 200);
    assert_true(metric(&scene, METRIC_STS_LEFT_OUT) > 0);
    town_push(scene.town, "c", "r%llu@free.example", 0, 100);
    minutes(&scene, 1);
    assert_int_equal(accepted(&scene), 100);
    publish(&scene, "a.example", "2", ends);
    close_scene(&scene, 300);
}

static void testing_only_tells(void **unused)
{
    (void)unused;
    struct scene scene = open_scene(2, "", DOMAINS("a.example"));
    publish(&scene, "a.example", "1", tests_only);
    town_push(scene.town, "c", "r%llu@a.example", 0, 100);
    town_start(scene.town);
    minutes(&scene, 1);
    assert_true(metric(&scene, METRIC_STS_WOULD_LEAVE_OUT) > 0);
    assert_int_equal(metric(&scene, METRIC_STS_LEFT_OUT), 0);
    close_scene(&scene, 100);
}

/* The host that it does not name has no connection, not even when it is the only one that answers. */
static void a_policy_that_names_one_of_two(void **unused)
{
    (void)unused;
    struct scene scene = open_scene(3, "", DOMAINS("a.example"));
    publish(&scene, "a.example", "1", allows_one);
    sim_isp_stop(scene.isp, 1);
    town_push(scene.town, "c", "r%llu@a.example", 0, 50);
    town_start(scene.town);
    minutes(&scene, 10);
    assert_int_equal(scene.isp->server.connections, 0);
    sim_isp_start(scene.isp, 1);
    publish(&scene, "a.example", "2", ends);
    close_scene(&scene, 50);
}

/* Both publish the same MX set, and the exchangers do not speak TLS: nothing of the one ever goes in the sessions that
 * the other's mail opens. */
static void two_domains_of_one_mx_set(void **unused)
{
    (void)unused;
    struct scene scene = open_scene(4, "", DOMAINS("a.example", "free.example"));
    publish(&scene, "a.example", "1", allows);
    for (unsigned i = 0; i < 10; i++) {
        town_push(scene.town, "c", "r%llu@a.example", i * 20, 20);
        town_push(scene.town, "c", "r%llu@free.example", i * 20, 20);
    }
    town_start(scene.town);
    minutes(&scene, 10);
    assert_int_equal(accepted(&scene), 200);
    assert_true(metric(&scene, METRIC_DEFERRED) >= 200);
    publish(&scene, "a.example", "2", ends);
    close_scene(&scene, 400);
}

/* As long as no policy can be had there is none; once there is, it holds. */
static void a_policy_host_that_heals(void **unused)
{
    (void)unused;
    struct scene scene = open_scene(5, "", DOMAINS("a.example"));
    publish(&scene, "a.example", "1", NULL);
    town_set(scene.town, "c", "sealed", "0");
    town_push(scene.town, "c", "r%llu@a.example", 0, 100);
    town_start(scene.town);
    minutes(&scene, 1);
    assert_int_equal(accepted(&scene), 100);
    assert_in_range(sim_sts_fetches(scene.town->world), 1, 2); /* of two shards, and not one for each message */
    publish(&scene, "a.example", "1", forbids);
    minutes(&scene, 6); /* it was remembered that there is none */
    town_push(scene.town, "c", "r%llu@a.example", 100, 100);
    minutes(&scene, 5);
    assert_int_equal(accepted(&scene), 100);
    publish(&scene, "a.example", "2", ends);
    town_set(scene.town, "c", "sealed", "1");
    close_scene(&scene, 200);
}

/* A policy is kept when its record goes, when it cannot be fetched, and when the engine dies; until its time is over.
 */
static void a_policy_is_not_forgotten(void **unused)
{
    (void)unused;
    struct scene scene = open_scene(6, "", DOMAINS("a.example"));
    publish(&scene, "a.example", "1", forbids);
    town_push(scene.town, "c", "r%llu@a.example", 0, 20);
    town_start(scene.town);
    minutes(&scene, 5);
    publish(&scene, "a.example", "", NULL);
    minutes(&scene, 30);
    assert_int_equal(accepted(&scene), 0);
    publish(&scene, "a.example", "2", NULL);
    minutes(&scene, 30);
    assert_int_equal(accepted(&scene), 0);
    town_crash(scene.town);
    town_start(scene.town);
    minutes(&scene, 30);
    assert_int_equal(accepted(&scene), 0);
    publish(&scene, "a.example", "", NULL);
    minutes(&scene, 240); /* max_age */
    close_scene(&scene, 20);
}

/* Mail waits while the policy host takes its time, and goes by what it says. */
static void a_slow_policy_host(void **unused)
{
    (void)unused;
    struct scene scene = open_scene(7, "", DOMAINS("a.example", "b.example"));
    sim_sts_latency(scene.town->world, 50 * NSEC_PER_S);
    publish(&scene, "a.example", "1", forbids);
    publish(&scene, "b.example", "1", ends);
    town_push(scene.town, "c", "r%llu@a.example", 0, 50);
    town_push(scene.town, "c", "r%llu@b.example", 0, 50);
    town_start(scene.town);
    town_run(scene.town, 40 * NSEC_PER_S);
    assert_int_equal(accepted(&scene), 0);
    assert_int_equal(metric(&scene, METRIC_DEFERRED), 0);
    minutes(&scene, 2);
    assert_int_equal(accepted(&scene), 50);
    publish(&scene, "a.example", "2", ends);
    close_scene(&scene, 100);
}

static void mta_sts_switched_off(void **unused)
{
    (void)unused;
    struct scene scene = open_scene(8, "mta_sts = no", DOMAINS("a.example"));
    publish(&scene, "a.example", "1", forbids);
    town_push(scene.town, "c", "r%llu@a.example", 0, 50);
    town_start(scene.town);
    close_scene(&scene, 50);
}

/* ---- DANE ---- */

static void sign(struct scene *scene)
{
    sim_zone_sign(scene->town->world, "a.example", true);
    sim_zone_sign(scene->town->world, "big.example", true);
}

static const char *const tlsa_names[] = {"_25._tcp.mx1.big.example", "_25._tcp.mx2.big.example"};

static void bogus(struct scene *scene, unsigned host, enum resolver_status status)
{
    sim_zone_status(scene->town->world, tlsa_names[host], status);
}

/* An answer about TLSA that does not validate, or none at all: the host has no connection; with all hosts like this
 * mail waits; when it is known that there are no records, it goes. */
static void tlsa_that_cannot_be_believed(void **unused)
{
    (void)unused;
    struct scene scene = open_scene(9, "", DOMAINS("a.example", "free.example"));
    sign(&scene);
    bogus(&scene, 0, RESOLVER_SERVFAIL);
    bogus(&scene, 1, RESOLVER_TIMEOUT);
    town_push(scene.town, "c", "r%llu@a.example", 0, 100);
    town_start(scene.town);
    minutes(&scene, 10);
    assert_int_equal(accepted(&scene), 0);
    assert_int_equal(connections(&scene), 0);
    assert_true(metric(&scene, METRIC_DANE_FAILED) >= 2);
    assert_true(metric(&scene, METRIC_DEFERRED) >= 100);
    /* The same hosts, for a domain whose MX set nobody vouches for. */
    town_push(scene.town, "c", "r%llu@free.example", 0, 100);
    minutes(&scene, 1);
    assert_int_equal(accepted(&scene), 100);
    bogus(&scene, 1, RESOLVER_OK);
    minutes(&scene, 5);
    assert_int_equal(accepted(&scene), 200);
    close_scene(&scene, 200);
}

/* One host is bogus: all mail goes by the other. */
static void one_bogus_host_of_two(void **unused)
{
    (void)unused;
    struct scene scene = open_scene(10, "", DOMAINS("a.example"));
    sign(&scene);
    bogus(&scene, 0, RESOLVER_SERVFAIL);
    sim_isp_stop(scene.isp, 0); /* who went there would be told by a deferral */
    town_push(scene.town, "c", "r%llu@a.example", 0, 200);
    town_start(scene.town);
    minutes(&scene, 1);
    assert_int_equal(metric(&scene, METRIC_SESSIONS_FAILED_CONNECT), 0);
    close_scene(&scene, 200);
}

/* Records that appear later, and turn bogus in the middle: what was known is not kept in their place. */
static void tlsa_that_comes_and_goes(void **unused)
{
    (void)unused;
    struct scene scene = open_scene(11, "", DOMAINS("a.example"));
    struct sim_world *world = scene.town->world;
    static const char hash[32] = "nobody has a key like that......";
    sign(&scene);
    town_push(scene.town, "c", "r%llu@a.example", 0, 100);
    town_set(scene.town, "c", "sealed", "0");
    town_start(scene.town);
    minutes(&scene, 1);
    assert_int_equal(accepted(&scene), 100);
    for (unsigned i = 0; i < 2; i++)
        sim_zone_tlsa(world, tlsa_names[i], TTL_S, 3, 1, 1, (struct slice){hash, sizeof hash});
    minutes(&scene, 5);
    town_push(scene.town, "c", "r%llu@a.example", 100, 100); /* no TLS there: it waits */
    minutes(&scene, 5);
    assert_int_equal(accepted(&scene), 100);
    for (unsigned i = 0; i < 2; i++)
        bogus(&scene, i, RESOLVER_SERVFAIL);
    minutes(&scene, 5);
    assert_int_equal(accepted(&scene), 100);
    for (unsigned i = 0; i < 2; i++)
        sim_zone_remove(world, tlsa_names[i]);
    town_set(scene.town, "c", "sealed", "1");
    close_scene(&scene, 200);
}

/* Records that appear while sessions are open, in plain text: not one message more goes over these. */
static void tlsa_that_appears_over_open_sessions(void **unused)
{
    (void)unused;
    for (unsigned which = 0; which < 3; which++) {
        struct scene scene =
            open_scene(20 + which, "isp big { mx = {.big.example}  idle = 10m }", DOMAINS("a.example"));
        struct sim_world *world = scene.town->world;
        static const char hash[32] = "nobody has a key like that......";
        sign(&scene);
        town_push(scene.town, "c", "r%llu@a.example", 0, 100);
        town_set(scene.town, "c", "sealed", "0");
        town_start(scene.town);
        minutes(&scene, 1);
        assert_int_equal(accepted(&scene), 100);
        uint64_t before = connections(&scene);
        for (unsigned i = 0; i < 2; i++)
            if (which == 0)
                sim_zone_tlsa(world, tlsa_names[i], TTL_S, 3, 1, 1, (struct slice){hash, sizeof hash});
            else if (which == 1)
                sim_zone_tlsa(world, tlsa_names[i], TTL_S, 1, 1, 1, SLICE("short"));
            else
                bogus(&scene, i, RESOLVER_SERVFAIL);
        minutes(&scene, 2);
        assert_int_equal(connections(&scene), before); /* they are the same sessions */
        town_push(scene.town, "c", "r%llu@a.example", 100, 100);
        minutes(&scene, 5);
        assert_int_equal(accepted(&scene), 100);
        for (unsigned i = 0; i < 2; i++) {
            sim_zone_remove(world, tlsa_names[i]);
            bogus(&scene, i, RESOLVER_OK);
        }
        town_set(scene.town, "c", "sealed", "1");
        close_scene(&scene, 200);
    }
}

/* Records of no use still say that there is TLS (RFC 7672 §2.2). */
static void unusable_records_demand_tls(void **unused)
{
    (void)unused;
    struct scene scene = open_scene(12, "", DOMAINS("a.example"));
    sign(&scene);
    for (unsigned i = 0; i < 2; i++)
        sim_zone_tlsa(scene.town->world, tlsa_names[i], TTL_S, 1, 1, 1, SLICE("short"));
    town_push(scene.town, "c", "r%llu@a.example", 0, 100);
    town_start(scene.town);
    minutes(&scene, 10);
    assert_int_equal(accepted(&scene), 0);
    assert_true(metric(&scene, METRIC_DEFERRED) >= 100);
    for (unsigned i = 0; i < 2; i++)
        sim_zone_remove(scene.town->world, tlsa_names[i]);
    close_scene(&scene, 100);
}

/* Without a signature on the way nothing is asked, nothing is demanded: neither of the MX set nor of the addresses. */
static void what_is_not_signed_demands_nothing(void **unused)
{
    (void)unused;
    static const char *const signed_names[] = {"a.example", "big.example"};
    for (unsigned which = 0; which < 3; which++) {
        struct scene scene = open_scene(13 + which, which == 2 ? "dane = no" : "", DOMAINS("a.example"));
        sim_zone_sign(scene.town->world, signed_names[which % 2], true);
        if (which == 2)
            sign(&scene);
        for (unsigned i = 0; i < 2; i++)
            bogus(&scene, i, RESOLVER_SERVFAIL);
        town_push(scene.town, "c", "r%llu@a.example", 0, 50);
        town_start(scene.town);
        minutes(&scene, 1);
        assert_int_equal(metric(&scene, METRIC_DANE_FAILED), 0);
        close_scene(&scene, 50);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_that_names_no_mail_host),
        cmocka_unit_test(testing_only_tells),
        cmocka_unit_test(a_policy_that_names_one_of_two),
        cmocka_unit_test(two_domains_of_one_mx_set),
        cmocka_unit_test(a_policy_host_that_heals),
        cmocka_unit_test(a_policy_is_not_forgotten),
        cmocka_unit_test(a_slow_policy_host),
        cmocka_unit_test(mta_sts_switched_off),
        cmocka_unit_test(tlsa_that_cannot_be_believed),
        cmocka_unit_test(one_bogus_host_of_two),
        cmocka_unit_test(tlsa_that_comes_and_goes),
        cmocka_unit_test(tlsa_that_appears_over_open_sessions),
        cmocka_unit_test(unusable_records_demand_tls),
        cmocka_unit_test(what_is_not_signed_demands_nothing),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
