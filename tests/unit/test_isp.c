/* test_isp.c - which ISP a host, and a domain by its hosts, belongs to. */
#include "proto/policy/isp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { GMAIL = 1, OUTLOOK, M365, FREE_FR, NINE };

#define ROW(text, isp)                                                                                                 \
    {                                                                                                                  \
        {text, sizeof(text) - 1}, isp                                                                                  \
    }
static const struct isp_suffix rows[] = {
    ROW(".google.com", GMAIL),    ROW(".googlemail.com", GMAIL),
    ROW(".outlook.com", OUTLOOK), ROW(".mail.protection.outlook.com", M365),
    ROW("mx1.free.fr", FREE_FR),  ROW("mx9.google.com.", NINE),
};
static uint32_t slots[64];

static struct isp_table table_of_rows(void)
{
    struct isp_table table;
    assert_true(isp_slots(countof(rows)) <= countof(slots));
    assert_int_equal(isp_table_init(&table, rows, countof(rows), slots), -1);
    return table;
}

static void suffixes_match_below_themselves_only(void **state)
{
    (void)state;
    struct isp_table table = table_of_rows();
    static const struct {
        const char *host;
        uint32_t isp;
    } cases[] = {
        {"mx.google.com", GMAIL},
        {"ASPMX.L.Google.COM.", GMAIL},
        {"google.com", ISP_NONE},
        {"xgoogle.com", ISP_NONE},
        {"mx.xgoogle.com", ISP_NONE},
        {"mx.google.com.example", ISP_NONE},
        {".google.com", GMAIL},
        {"a.outlook.com", OUTLOOK},
        {"x.mail.protection.outlook.com", M365},
        {"mail.protection.outlook.com", OUTLOOK},
        {"mx1.free.fr", FREE_FR},
        {"MX1.FREE.FR.", FREE_FR},
        {"a.mx1.free.fr", ISP_NONE},
        {"mx2.free.fr", ISP_NONE},
        {"mx9.google.com", NINE},
        {"a.mx9.google.com", GMAIL},
        {"", ISP_NONE},
        {".", ISP_NONE},
        {"com", ISP_NONE},
    };
    for (size_t i = 0; i < countof(cases); i++)
        if (isp_of_host(&table, slice_of(cases[i].host)) != cases[i].isp)
            fail_msg("%s", cases[i].host);
}

static void a_repeated_suffix_is_named_and_the_first_wins(void **state)
{
    (void)state;
    static const struct isp_suffix twice[] = {ROW(".a.example", 1), ROW(".b.example", 2), ROW(".A.Example.", 3)};
    struct isp_table table;
    assert_int_equal(isp_table_init(&table, twice, 3, slots), 2);
    assert_int_equal(isp_of_host(&table, SLICE("x.a.example")), 1);
}

static void an_empty_table_knows_nobody(void **state)
{
    (void)state;
    struct isp_table table;
    assert_int_equal(isp_table_init(&table, NULL, 0, slots), -1);
    assert_int_equal(isp_of_host(&table, SLICE("mx.google.com")), ISP_NONE);
}

static void a_large_table_finds_every_row(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    static struct isp_suffix many[COUNT];
    static char names[COUNT][32];
    static uint32_t room[8192];
    for (uint32_t i = 0; i < COUNT; i++) {
        int n = snprintf(names[i], sizeof names[i], ".isp%u.example", i);
        many[i] = (struct isp_suffix){{names[i], (size_t)n}, i};
    }
    assert_true(isp_slots(COUNT) <= countof(room));
    struct isp_table table;
    assert_int_equal(isp_table_init(&table, many, COUNT, room), -1);
    for (uint32_t i = 0; i < COUNT; i++) {
        char host[48];
        int n = snprintf(host, sizeof host, "mx%u%s", i % 7, names[i]);
        assert_int_equal(isp_of_host(&table, (struct slice){host, (size_t)n}), i);
    }
}

#define MX(preference, host)                                                                                           \
    {                                                                                                                  \
        preference, { host, sizeof(host) - 1 }                                                                         \
    }

static struct isp_choice choose(const struct mx_record *records, unsigned count, struct mx_route *route)
{
    struct isp_table table = table_of_rows();
    mx_read(route, MX_ANSWER_OK, SLICE("shop.example"), records, count);
    return isp_of_route(&table, route, SLICE("shop.example"), records);
}

static void the_best_hosts_decide(void **state)
{
    (void)state;
    struct mx_route route;
    const struct mx_record plain[] = {MX(1, "aspmx.l.google.com"), MX(5, "alt1.aspmx.l.google.com")};
    struct isp_choice choice = choose(plain, 2, &route);
    assert_int_equal(choice.isp, GMAIL);
    assert_int_equal(choice.usable, 3);

    /* A fallback of nobody's stays, one of another ISP goes: its limits are another lane's. */
    const struct mx_record mixed[] = {MX(1, "aspmx.l.google.com"), MX(5, "old.shop.example"), MX(9, "a.outlook.com")};
    choice = choose(mixed, 3, &route);
    assert_int_equal(choice.isp, GMAIL);
    assert_int_equal(choice.usable, 3);
    isp_keep(&route, choice.usable);
    assert_int_equal(route.count, 2);

    /* Own hosts first: its own ISP, though the fallback is Google's. */
    const struct mx_record own[] = {MX(1, "mx.shop.example"), MX(5, "aspmx.l.google.com")};
    choice = choose(own, 2, &route);
    assert_int_equal(choice.isp, ISP_NONE);
    assert_int_equal(choice.usable, 1);

    /* Several ISPs of equal preference: most hosts, then the smaller number. */
    const struct mx_record two[] = {MX(1, "a.outlook.com"), MX(1, "mx.google.com"), MX(1, "b.outlook.com")};
    choice = choose(two, 3, &route);
    assert_int_equal(choice.isp, OUTLOOK);
    assert_int_equal(choice.usable, 3);
    isp_keep(&route, choice.usable);
    assert_int_equal(route.count, 2);
    assert_int_equal(route.order[0], 0);
    assert_int_equal(route.order[1], 2);
    const struct mx_record even[] = {MX(1, "a.outlook.com"), MX(1, "mx.google.com")};
    choice = choose(even, 2, &route);
    assert_int_equal(choice.isp, GMAIL);
    assert_int_equal(choice.usable, 2);
    const struct mx_record half[] = {MX(1, "a.shop.example"), MX(1, "b.shop.example"), MX(1, "mx.google.com")};
    choice = choose(half, 3, &route);
    assert_int_equal(choice.isp, GMAIL);
    assert_int_equal(choice.usable, 7);
}

static void a_domain_without_mx_is_its_own_host(void **state)
{
    (void)state;
    struct isp_table table = table_of_rows();
    struct mx_route route;
    mx_read(&route, MX_ANSWER_NODATA, SLICE("mx1.free.fr"), NULL, 0);
    struct isp_choice choice = isp_of_route(&table, &route, SLICE("mx1.free.fr"), NULL);
    assert_int_equal(choice.isp, FREE_FR);
    assert_int_equal(choice.usable, 1);
    mx_read(&route, MX_ANSWER_NXDOMAIN, SLICE("mx1.free.fr"), NULL, 0);
    choice = isp_of_route(&table, &route, SLICE("mx1.free.fr"), NULL);
    assert_int_equal(choice.isp, ISP_NONE);
    assert_int_equal(choice.usable, 0);
}

static void buckets_are_even(void **state)
{
    (void)state;
    unsigned filled[ISP_BUCKETS] = {0};
    for (unsigned i = 0; i < ISP_BUCKETS * 100; i++) {
        char host[32];
        int n = snprintf(host, sizeof host, "mx.shop%u.example", i);
        const struct mx_record record = {10, {host, (size_t)n}};
        struct mx_route route;
        mx_read(&route, MX_ANSWER_OK, SLICE("x.example"), &record, 1);
        filled[isp_bucket(route.set)]++;
    }
    for (unsigned i = 0; i < ISP_BUCKETS; i++)
        assert_in_range(filled[i], 50, 160);
}

static void own_names_are_bounded_and_differ(void **state)
{
    (void)state;
    char name[LIMIT_ISP_NAME + 1], other[LIMIT_ISP_NAME + 1], host[LIMIT_DOMAIN];
    isp_own_name(name, SLICE("MX1.Shop.example."));
    assert_string_equal(name, "mx:mx1.shop.example");
    memset(host, 'a', sizeof host);
    isp_own_name(name, (struct slice){host, LIMIT_ISP_NAME - 3});
    assert_int_equal(strlen(name), LIMIT_ISP_NAME);
    assert_int_equal(name[3], 'a');
    isp_own_name(name, (struct slice){host, 200});
    host[0] = 'b';
    isp_own_name(other, (struct slice){host, 200});
    assert_int_equal(strlen(name), LIMIT_ISP_NAME);
    assert_int_equal(strlen(other), LIMIT_ISP_NAME);
    assert_string_not_equal(name, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(suffixes_match_below_themselves_only),
        cmocka_unit_test(a_repeated_suffix_is_named_and_the_first_wins),
        cmocka_unit_test(an_empty_table_knows_nobody),
        cmocka_unit_test(a_large_table_finds_every_row),
        cmocka_unit_test(the_best_hosts_decide),
        cmocka_unit_test(a_domain_without_mx_is_its_own_host),
        cmocka_unit_test(buckets_are_even),
        cmocka_unit_test(own_names_are_bounded_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
