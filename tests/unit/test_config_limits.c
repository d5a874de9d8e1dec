/* Which limit holds for which lane: the most specific place that gives a key, key by key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "config_judge.h"
#include "gathered.h"

static const char whole[] =
    "hostname = h.example\n"
    "defaults { connections = 7 rate = 70/min burst = 2 chunking = .d.example retry = {1m, 2m} }\n"
    "pool a {\n"
    "  source 127.0.0.1 { }\n"
    "  source 127.0.0.2 { rate = 30/min  idle = 9s\n"
    "    isp gmail { rate = 10/min  retry = 5m  chunking = {.g.example, x.example} }\n"
    "    isp ses { connections = 2 } }\n"
    "  source 127.0.0.3 { isp gmail { connection_rate = 6/min  connection_burst = 3 } tls = off }\n"
    "}\n"
    "isp gmail { mx = .google.com  connections = 20  rate = 50/min  total.rate = 100/min "
    "total.burst = 4  total.connections = 9 }\n"
    "isp web { mx = .web.example  rate = none }\n"
    "relay ses { host = r.example  rate = 5/s }\n";

static const struct config_limits *of(const struct config *config, unsigned source, const char *isp)
{
    return config_lane_limits(config, source, slice_of(isp));
}

static void most_specific_wins(void **state)
{
    (void)state;
    struct config *config = accepted(whole);
    static const struct {
        unsigned source;
        const char *isp;
        uint64_t rate;
        unsigned connections, retries, chunking;
        nsec idle;
    } rows[] = {
        {0, "gmail", 50, 20, 2, 1, 5 * NSEC_PER_S},   {0, "web", 0, 7, 2, 1, 5 * NSEC_PER_S},
        {0, "mx:other", 70, 7, 2, 1, 5 * NSEC_PER_S}, {0, "ses", 5, 7, 2, 1, 5 * NSEC_PER_S},
        {1, "gmail", 10, 20, 1, 2, 9 * NSEC_PER_S},   {1, "web", 30, 7, 2, 1, 9 * NSEC_PER_S},
        {1, "mx:other", 30, 7, 2, 1, 9 * NSEC_PER_S}, {1, "ses", 30, 2, 2, 1, 9 * NSEC_PER_S},
        {2, "gmail", 50, 20, 2, 1, 5 * NSEC_PER_S},   {2, "web", 0, 7, 2, 1, 5 * NSEC_PER_S},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        const struct config_limits *limits = of(config, rows[i].source, rows[i].isp);
        assert_int_equal(limits->rate, rows[i].rate);
        assert_int_equal(limits->connections, rows[i].connections);
        assert_int_equal(limits->retry_count, rows[i].retries);
        assert_int_equal(limits->chunking_count, rows[i].chunking);
        assert_int_equal(limits->idle, rows[i].idle);
        assert_int_equal(limits->burst, 2); /* of defaults, for all */
    }
    assert_int_equal(of(config, 2, "gmail")->connection_rate, 6);
    assert_int_equal(of(config, 2, "gmail")->connection_burst, 3);
    assert_int_equal(of(config, 2, "web")->connection_rate, 0);
    assert_ptr_equal(of(config, 0, "gmail"), config_limits_for(config, SLICE("gmail")));
    assert_int_equal(of(config, 1, "gmail")->retry[0], 300 * NSEC_PER_S);
    config_free(config);
}

/* A password's way is not weakened from elsewhere. */
static void tls_of_a_relay_is_its_own(void **state)
{
    (void)state;
    struct config *config = accepted(whole);
    assert_int_equal(of(config, 2, "gmail")->tls, CONFIG_TLS_OFF);
    assert_int_equal(of(config, 2, "ses")->tls, CONFIG_TLS_VERIFIED);
    assert_int_equal(config_relay_of(config, SLICE("ses")), 0);
    assert_int_equal(config_relay_of(config, SLICE("gmail")), -1);
    config_free(config);
    refused_at("hostname = h\nrelay r { host = r.example }\npool p {\n source 127.0.0.1 { isp r { tls = off } } }",
               "dir/x.conf:4: ", "r is a relay, whose own block alone says what tls is");
}

static void totals_are_of_isps_and_relays(void **state)
{
    (void)state;
    struct config *config = accepted(whole);
    const struct config_total *total = config_total_of(config, SLICE("gmail"));
    assert_non_null(total);
    assert_int_equal(total->rate, 100);
    assert_int_equal(total->rate_per, 60 * NSEC_PER_S);
    assert_int_equal(total->burst, 4);
    assert_int_equal(total->connections, 9);
    assert_int_equal(total->connection_rate, 0);
    assert_null(config_total_of(config, SLICE("web")));
    assert_null(config_total_of(config, SLICE("ses")));
    assert_null(config_total_of(config, SLICE("mx:other")));
    config_free(config);
    refused_at("defaults { total.rate = 5/s }", "dir/x.conf:1: ", "no such option 'total.rate'");
    refused_at("hostname = h pool p { source 127.0.0.1 { total.rate = 5/s } }",
               "dir/x.conf:1: ", "no such option 'total.rate'");
}

static void wrong_places_are_named(void **state)
{
    (void)state;
    refused_at("hostname = h\npool p {\n source 127.0.0.1 {\n isp nobody { rate = 1/s }\n } }",
               "dir/x.conf:4: ", "isp nobody is no isp and no relay of this configuration");
    refused_at("hostname = h\nisp x { mx = a }\npool p {\n source 127.0.0.1 {\n isp x { mx = b }\n } }",
               "dir/x.conf:5: ", "no such option 'mx'; allowed here: connections, per_connection, rate, burst");
    refused_at("hostname = h\nisp x { mx = a }\npool p { source 127.0.0.1 { rate = 1/s } }\n"
               "pool q { source 127.0.0.1 { rate = 2/s } }",
               "dir/x.conf:4: ", "has other limits in another pool; they must be equal");
    refused_at("hostname = h\nisp x { mx = a }\npool p { source 127.0.0.1 { isp x { rate = 1/s } } }\n"
               "pool q { source 127.0.0.1 { } }",
               "dir/x.conf:4: ", "has other limits in another pool; they must be equal");
    refused_at("hostname = h\nisp x { mx = a }\npool p { source 127.0.0.1 { isp x { } isp x { } } }",
               "dir/x.conf:3: ", "duplicate title");
    refused_at("hostname = h pool p { source 127.0.0.1 { rate = 5 } }", "dir/x.conf:1: ", "rate");
}

static void printed_and_read_again_it_is_the_same(void **state)
{
    (void)state;
    struct gathered first = {0}, second = {0};
    struct config *config = accepted(whole);
    config_print(config, gather, &first);
    struct config *again = accepted(first.text);
    config_print(again, gather, &second);
    assert_string_equal(first.text, second.text);
    static const char *const isps[] = {"gmail", "web", "ses", "mx:other"};
    for (unsigned source = 0; source < 3; source++)
        for (size_t i = 0; i < countof(isps); i++) {
            const struct config_limits *a = of(config, source, isps[i]), *b = of(again, source, isps[i]);
            assert_int_equal(a->rate, b->rate);
            assert_int_equal(a->connections, b->connections);
            assert_int_equal(a->connection_rate, b->connection_rate);
            assert_int_equal(a->retry_count, b->retry_count);
            assert_int_equal(a->chunking_count, b->chunking_count);
            assert_int_equal(a->tls, b->tls);
        }
    config_free(config);
    config_free(again);
    free(first.text);
    free(second.text);
}

/* One source in two pools is one source, with one set of limits. */
static void equal_twins_are_one(void **state)
{
    (void)state;
    struct config *config =
        accepted("hostname = h isp x { mx = a } pool p { source 127.0.0.1 { rate = 1/s isp x { burst = 3 } } }\n"
                 "pool q { source 127.0.0.1 { rate = 1/s isp x { burst = 3 } } }");
    assert_int_equal(config->source_count, 1);
    assert_int_equal(of(config, 0, "x")->burst, 3);
    config_release(config_hold(config));
    assert_int_equal(of(config, 0, "x")->rate, 1);
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(most_specific_wins),
        cmocka_unit_test(tls_of_a_relay_is_its_own),
        cmocka_unit_test(totals_are_of_isps_and_relays),
        cmocka_unit_test(wrong_places_are_named),
        cmocka_unit_test(printed_and_read_again_it_is_the_same),
        cmocka_unit_test(equal_twins_are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
