/* What is demanded of a session: every combination of configuration, MTA-STS, DANE and what is known to be broken. */
#include "flow/security.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const enum config_tls settings[] = {CONFIG_TLS_OFF, CONFIG_TLS_OPPORTUNISTIC, CONFIG_TLS_REQUIRED,
                                           CONFIG_TLS_VERIFIED};
static const enum host_dane danes[] = {HOST_DANE_NONE, HOST_DANE_TLS, HOST_DANE_RECORDS};

struct scene {
    struct arena arena;
    struct security security;
    struct config_limits limits;
    struct site *site;
    struct host *host;
};

static struct tls *const tls = (struct tls *)(void *)"never looked at";

static void open_scene(struct scene *scene)
{
    assert_true(arena_open(&scene->arena, 8 << 20));
    assert_true(security_open(&scene->security, &scene->arena));
    scene->site = arena_take(&scene->arena, sizeof *scene->site, 64);
    scene->host = arena_take(&scene->arena, sizeof *scene->host, 64);
    assert_true(scene->site && scene->host);
    scene->limits = (struct config_limits){.tls = CONFIG_TLS_OPPORTUNISTIC};
    scene->host->dane = HOST_DANE_NONE;
    slice_copy(scene->host->name, sizeof scene->host->name, SLICE("mx.example"));
}

static struct session_security ask(const struct scene *scene, bool implicit, nsec now)
{
    return security_of(&scene->security, tls, &scene->limits, scene->site, scene->host, 25, implicit, now);
}

/* Nobody's demand is lowered by another's, and nothing that is remembered matters where there is one. */
static void the_most_that_anybody_asks_for(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    for (unsigned i = 0; i < countof(settings) * countof(danes) * 8; i++) {
        bool implicit = i & 1, enforced = i & 2, broken = i & 4;
        scene.limits.tls = settings[i / 8 % countof(settings)];
        enum host_dane dane = danes[i / 8 / countof(settings)];
        scene.site->enforced = enforced;
        scene.site->secure = scene.host->secure = true;
        scene.host->dane = dane;
        nsec now = i * NSEC_PER_S;
        struct session_security plain = {.host = scene.host, .port = 25};
        if (broken)
            assert_true(security_failed(&scene.security, &plain, now, now + 1));

        struct session_security need = ask(&scene, implicit, now);
        bool demanded = scene.limits.tls >= CONFIG_TLS_REQUIRED || enforced || dane != HOST_DANE_NONE;
        bool encrypts = demanded || implicit || (scene.limits.tls == CONFIG_TLS_OPPORTUNISTIC && !broken);
        assert_int_equal(need.required, demanded);
        assert_int_equal(need.tls != NULL, encrypts);
        assert_int_equal(need.implicit, implicit);
        assert_int_equal(need.starttls, encrypts && !implicit);
        if (!encrypts)
            continue;
        enum tls_check check = dane == HOST_DANE_RECORDS                             ? TLS_CHECK_DANE
                               : enforced || scene.limits.tls == CONFIG_TLS_VERIFIED ? TLS_CHECK_PKIX
                                                                                     : TLS_CHECK_ANY;
        assert_int_equal(need.check, check);
        assert_string_equal(security_proof(&need), check == TLS_CHECK_DANE   ? "dane"
                                                   : check == TLS_CHECK_PKIX ? "verified"
                                                                             : "");
        assert_int_equal(security_failed(&scene.security, &need, now, now), false);
        if (demanded || implicit)
            assert_false(security_failed(&scene.security, &need, now, now + NSEC_PER_S));
    }
    arena_drop(&scene.arena);
}

/* A host that is secure in itself says nothing to a site that is not. */
static void dane_needs_a_secure_site(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    scene.host->secure = true;
    scene.host->dane = HOST_DANE_RECORDS;
    assert_false(ask(&scene, false, 0).required);
    scene.site->secure = true;
    assert_true(ask(&scene, false, 0).required);
    arena_drop(&scene.arena);
}

static void demands(void **state)
{
    (void)state;
    struct scene scene;
    struct tls_demand demand;
    open_scene(&scene);
    scene.limits.tls = CONFIG_TLS_VERIFIED;
    struct session_security need = ask(&scene, false, 0);
    assert_true(security_demand(&need, &demand));
    assert_int_equal(demand.check, TLS_CHECK_PKIX);
    assert_int_equal(demand.name_count, 1);
    assert_string_equal(demand.names[0], "mx.example");
    assert_string_equal(demand.server_name, "mx.example");
    uint64_t key = demand.key;
    need.port = 465;
    assert_true(security_demand(&need, &demand));
    assert_true(demand.key != key); /* sessions are not resumed on another port */

    scene.site->secure = scene.host->secure = true;
    scene.host->dane = HOST_DANE_RECORDS;
    scene.host->tlsa_count = 2;
    scene.host->tlsa[0] = (struct dane_record){DANE_EE, DANE_KEY, DANE_SHA256, 32, "key"};
    scene.host->tlsa[1] = (struct dane_record){DANE_TA, DANE_CERTIFICATE, DANE_SHA512, 64, "authority"};
    slice_copy(scene.host->tlsa_base, sizeof scene.host->tlsa_base, SLICE("base.example"));
    need = ask(&scene, false, 0);
    assert_true(security_demand(&need, &demand));
    assert_int_equal(demand.check, TLS_CHECK_DANE);
    assert_string_equal(demand.server_name, "base.example");
    assert_int_equal(demand.name_count, 2);
    assert_string_equal(demand.names[0], "base.example");
    assert_string_equal(demand.names[1], "mx.example");
    assert_int_equal(demand.tlsa_count, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(demand.tlsa[i].usage, scene.host->tlsa[i].usage);
        assert_int_equal(demand.tlsa[i].selector, scene.host->tlsa[i].selector);
        assert_int_equal(demand.tlsa[i].matching, scene.host->tlsa[i].matching);
        assert_int_equal(demand.tlsa[i].data.n, scene.host->tlsa[i].n);
        assert_memory_equal(demand.tlsa[i].data.p, scene.host->tlsa[i].data, demand.tlsa[i].data.n);
    }
    scene.host->dane = HOST_DANE_FAILED; /* DNS has answered since: it is not taken for a host without records */
    assert_false(security_demand(&need, &demand));
    arena_drop(&scene.arena);
}

/* Remembered until then, for that host and port alone; however many there are, memory is what it was. */
static void broken_hosts(void **state)
{
    (void)state;
    struct scene scene;
    open_scene(&scene);
    struct session_security need = ask(&scene, false, 0);
    assert_true(need.starttls && !need.required);
    assert_true(security_failed(&scene.security, &need, 5, 100));
    assert_null(ask(&scene, false, 5).tls);
    assert_null(ask(&scene, false, 99).tls);
    assert_non_null(ask(&scene, false, 100).tls);
    need.port = 26;
    assert_true(security_failed(&scene.security, &need, 200, 300));
    assert_non_null(ask(&scene, false, 200).tls);
    need.port = 25;
    assert_true(security_failed(&scene.security, &need, 200, 300));
    security_wanted(&scene.security, scene.host, 26);
    assert_null(ask(&scene, false, 200).tls);
    security_wanted(&scene.security, scene.host, 25); /* the host will not have it in plain text */
    assert_non_null(ask(&scene, false, 200).tls);
    unsigned forgotten = 0;
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(scene.host->name, sizeof scene.host->name, "mx%u.example", i);
        assert_true(security_failed(&scene.security, &need, 1000, 2000 + i));
        assert_null(ask(&scene, false, 1500).tls);
    }
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(scene.host->name, sizeof scene.host->name, "mx%u.example", i);
        forgotten += ask(&scene, false, 1500).tls != NULL;
    }
    assert_in_range(forgotten, 100000 - SECURITY_SETS * SECURITY_WAYS, 100000 - SECURITY_SETS);
    arena_drop(&scene.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_that_anybody_asks_for),
        cmocka_unit_test(dane_needs_a_secure_site),
        cmocka_unit_test(demands),
        cmocka_unit_test(broken_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
