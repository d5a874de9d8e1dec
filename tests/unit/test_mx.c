/* test_mx.c - routing by RFC 5321 §5.1 and RFC 7505. */
#include "proto/policy/mx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define DOMAIN SLICE("shop.example")
#define MX(preference, host)                                                                                           \
    {                                                                                                                  \
        preference, { host, sizeof(host) - 1 }                                                                         \
    }

static struct mx_route read_ok(const struct mx_record *records, unsigned count)
{
    struct mx_route route;
    mx_read(&route, MX_ANSWER_OK, DOMAIN, records, count);
    return route;
}

static struct mx_route read_only(enum mx_answer answer)
{
    struct mx_route route;
    mx_read(&route, answer, DOMAIN, NULL, 0);
    return route;
}

static void preferences_ascend(void **state)
{
    (void)state;
    const struct mx_record records[] = {MX(30, "c.example"), MX(10, "a.example"), MX(65535, "d.example"),
                                        MX(20, "b.example")};
    struct mx_route route = read_ok(records, 4);
    assert_int_equal(route.verdict, MX_HOSTS);
    assert_int_equal(route.count, 4);
    static const uint8_t want[] = {1, 3, 0, 2};
    assert_memory_equal(route.order, want, 4);
    assert_true(route.set != 0);
}

static void answers_without_records(void **state)
{
    (void)state;
    assert_int_equal(read_only(MX_ANSWER_NODATA).verdict, MX_IMPLICIT);
    assert_true(read_only(MX_ANSWER_NODATA).set != 0);
    assert_int_equal(read_only(MX_ANSWER_NXDOMAIN).verdict, MX_NXDOMAIN);
    assert_int_equal(read_only(MX_ANSWER_FAILED).verdict, MX_FAILED);
    assert_int_equal(read_only(MX_ANSWER_OK).verdict, MX_FAILED);
}

static void null_mx_alone_and_beside_others(void **state)
{
    (void)state;
    const struct mx_record alone[] = {MX(0, "")}, dot[] = {MX(0, ".")}, twice[] = {MX(0, ""), MX(10, ".")};
    assert_int_equal(read_ok(alone, 1).verdict, MX_NULL);
    assert_int_equal(read_ok(dot, 1).verdict, MX_NULL);
    assert_int_equal(read_ok(twice, 2).verdict, MX_NULL);
    const struct mx_record beside[] = {MX(0, "."), MX(10, "a.example")};
    struct mx_route route = read_ok(beside, 2);
    assert_int_equal(route.verdict, MX_HOSTS);
    assert_int_equal(route.count, 1);
    assert_int_equal(route.order[0], 1);
}

static void unusable_hosts_never_lead_to_the_domain_itself(void **state)
{
    (void)state;
    const struct mx_record records[] = {MX(0, "192.0.2.1"), MX(5, "localhost."), MX(7, "[192.0.2.1]")};
    struct mx_route route = read_ok(records, 3);
    assert_int_equal(route.verdict, MX_UNUSABLE);
    assert_int_equal(route.left_out, 3);
    assert_int_equal(route.count, 0);
    const struct mx_record with_null[] = {MX(0, "."), MX(5, "127.0.0.1")};
    assert_int_equal(read_ok(with_null, 2).verdict, MX_UNUSABLE);
    const struct mx_record one_good[] = {MX(0, "127.0.0.1"), MX(5, "mx.example")};
    route = read_ok(one_good, 2);
    assert_int_equal(route.verdict, MX_HOSTS);
    assert_int_equal(route.count, 1);
    assert_int_equal(route.left_out, 1);
}

static void names_of_hosts(void **state)
{
    (void)state;
    static const char *const good[] = {"mx.example",   "mx.example.",  "MX1.Example",           "a",
                                       "1.mx.example", "mx_1.example", "xn--bcher-kva.example", "10.0.0.1x"};
    static const char *const bad[] = {"",
                                      ".",
                                      "192.0.2.1",
                                      "192.0.2.1.",
                                      "[192.0.2.1]",
                                      "::1",
                                      "2001:db8::1",
                                      "localhost",
                                      "LocalHost.",
                                      "a.localhost",
                                      "localhost.localdomain",
                                      "a..b",
                                      ".example",
                                      "a b.example",
                                      "m\xc3\xbc.example",
                                      "a.example..",
                                      "a/b.example",
                                      "1234",
                                      "mx.example.5"};
    for (size_t i = 0; i < countof(good); i++)
        if (!mx_host_is_name(slice_of(good[i])))
            fail_msg("%s is a name", good[i]);
    for (size_t i = 0; i < countof(bad); i++)
        if (mx_host_is_name(slice_of(bad[i])))
            fail_msg("%s is no name", bad[i]);
    char text[300];
    memset(text, 'a', sizeof text);
    assert_true(mx_host_is_name((struct slice){text, 63}));
    assert_false(mx_host_is_name((struct slice){text, 64}));
    for (size_t i = 49; i < sizeof text; i += 50)
        text[i] = '.';
    assert_true(mx_host_is_name((struct slice){text, 253}));
    assert_false(mx_host_is_name((struct slice){text, 255}));
}

static void the_set_key_ignores_order_case_and_repetition(void **state)
{
    (void)state;
    const struct mx_record a[] = {MX(10, "a.example"), MX(20, "b.example")};
    const struct mx_record b[] = {MX(20, "B.Example."), MX(10, "A.EXAMPLE"), MX(20, "b.example"), MX(30, "a.example")};
    struct mx_route x = read_ok(a, 2), y = read_ok(b, 4);
    assert_int_equal(y.count, 2);
    assert_true(x.set == y.set);
    assert_true(mx_same(&x, a, &y, b));
    const struct mx_record others[][2] = {{MX(10, "a.example"), MX(21, "b.example")},
                                          {MX(10, "a.example"), MX(20, "c.example")},
                                          {MX(20, "a.example"), MX(10, "b.example")}};
    for (size_t i = 0; i < countof(others); i++) {
        struct mx_route z = read_ok(others[i], 2);
        assert_true(z.set != x.set);
        assert_false(mx_same(&x, a, &z, others[i]));
    }
    struct mx_route shorter = read_ok(a, 1);
    assert_true(shorter.set != x.set);
    assert_false(mx_same(&x, a, &shorter, a));
    struct mx_route implicit = read_only(MX_ANSWER_NODATA), upper;
    mx_read(&upper, MX_ANSWER_NODATA, SLICE("SHOP.example."), NULL, 0);
    assert_true(implicit.set == upper.set);
    assert_false(mx_same(&implicit, NULL, &upper, NULL)); /* two domains of their own share nothing */
}

static void too_many_hosts_keep_the_best(void **state)
{
    (void)state;
    char names[40][16];
    struct mx_record records[40];
    for (unsigned i = 0; i < 40; i++) {
        int n = snprintf(names[i], sizeof names[i], "m%02u.example", i);
        records[i] = (struct mx_record){(uint16_t)(1000 - i), {names[i], (size_t)n}};
    }
    struct mx_route route = read_ok(records, 40);
    assert_int_equal(route.count, LIMIT_MX_HOSTS);
    for (unsigned i = 0; i < route.count; i++)
        assert_int_equal(route.order[i], 39 - i);
}

static void equal_preferences_are_shuffled_evenly(void **state)
{
    (void)state;
    const struct mx_record records[] = {MX(5, "first.example"), MX(10, "a.example"), MX(10, "b.example"),
                                        MX(10, "c.example"), MX(20, "last.example")};
    unsigned seen[5][5] = {{0}}, orders[27] = {0};
    enum { ROUNDS = 60000 };
    for (uint64_t i = 0; i < ROUNDS; i++) {
        struct mx_route route = read_ok(records, 5);
        mx_shuffle(&route, records, i * 0x2545f4914f6cdd1du);
        assert_int_equal(route.order[0], 0);
        assert_int_equal(route.order[4], 4);
        for (unsigned place = 0; place < 5; place++)
            seen[place][route.order[place]]++;
        orders[(route.order[1] - 1) * 9 + (route.order[2] - 1) * 3 + (route.order[3] - 1)]++;
    }
    for (unsigned place = 1; place < 4; place++)
        for (unsigned host = 1; host < 4; host++)
            assert_in_range(seen[place][host], ROUNDS / 3 - ROUNDS / 50, ROUNDS / 3 + ROUNDS / 50);
    unsigned different = 0;
    for (unsigned i = 0; i < 27; i++)
        if (orders[i]) {
            different++;
            assert_in_range(orders[i], ROUNDS / 6 - ROUNDS / 50, ROUNDS / 6 + ROUNDS / 50);
        }
    assert_int_equal(different, 6);
}

static void kinds_of_addresses(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[4];
        enum mx_address_kind kind;
    } four[] = {
        {{203, 0, 113, 9}, MX_ADDRESS_PUBLIC},   {{127, 0, 0, 1}, MX_ADDRESS_LOOPBACK},
        {{127, 9, 9, 9}, MX_ADDRESS_LOOPBACK},   {{0, 0, 0, 0}, MX_ADDRESS_UNUSABLE},
        {{10, 1, 2, 3}, MX_ADDRESS_PRIVATE},     {{172, 16, 0, 1}, MX_ADDRESS_PRIVATE},
        {{172, 31, 255, 1}, MX_ADDRESS_PRIVATE}, {{172, 32, 0, 1}, MX_ADDRESS_PUBLIC},
        {{192, 168, 0, 1}, MX_ADDRESS_PRIVATE},  {{169, 254, 1, 1}, MX_ADDRESS_PRIVATE},
        {{100, 64, 0, 1}, MX_ADDRESS_PRIVATE},   {{100, 128, 0, 1}, MX_ADDRESS_PUBLIC},
        {{224, 0, 0, 1}, MX_ADDRESS_UNUSABLE},   {{255, 255, 255, 255}, MX_ADDRESS_UNUSABLE},
    };
    for (size_t i = 0; i < countof(four); i++) {
        uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff};
        memcpy(mapped + 12, four[i].bytes, 4);
        assert_int_equal(mx_address_kind(four[i].bytes, 4), four[i].kind);
        assert_int_equal(mx_address_kind(mapped, 16), four[i].kind);
    }
    static const struct {
        uint8_t bytes[16];
        enum mx_address_kind kind;
    } six[] = {
        {{0x20, 0x01, 0x0d, 0xb8, [15] = 1}, MX_ADDRESS_PUBLIC},
        {{[15] = 1}, MX_ADDRESS_LOOPBACK},
        {{0}, MX_ADDRESS_UNUSABLE},
        {{[15] = 2}, MX_ADDRESS_PUBLIC},
        {{0xfe, 0x80, [15] = 1}, MX_ADDRESS_PRIVATE},
        {{0xfd, [15] = 1}, MX_ADDRESS_PRIVATE},
        {{0xff, 0x02, [15] = 1}, MX_ADDRESS_UNUSABLE},
    };
    for (size_t i = 0; i < countof(six); i++)
        assert_int_equal(mx_address_kind(six[i].bytes, 16), six[i].kind);
}

static void attempts_walk_hosts_and_their_addresses(void **state)
{
    (void)state;
    const struct mx_record records[] = {MX(10, "a.example"), MX(20, "b.example"), MX(30, "c.example")};
    struct mx_route route = read_ok(records, 3);
    struct mx_target targets[MX_TARGETS];
    const unsigned counts[] = {2, 0, 9};
    assert_int_equal(mx_targets(&route, counts, targets), 2 + MX_ADDRESSES_PER_HOST);
    assert_int_equal(targets[0].host, 0);
    assert_int_equal(targets[1].host, 0);
    assert_int_equal(targets[1].address, 1);
    for (unsigned i = 0; i < MX_ADDRESSES_PER_HOST; i++) {
        assert_int_equal(targets[2 + i].host, 2);
        assert_int_equal(targets[2 + i].address, i);
    }
    const unsigned none[] = {0, 0, 0};
    assert_int_equal(mx_targets(&route, none, targets), 0);
    struct mx_route implicit = read_only(MX_ANSWER_NODATA), null = read_only(MX_ANSWER_NXDOMAIN);
    assert_int_equal(mx_targets(&implicit, counts, targets), 2);
    assert_int_equal(mx_targets(&null, counts, targets), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preferences_ascend),
        cmocka_unit_test(answers_without_records),
        cmocka_unit_test(null_mx_alone_and_beside_others),
        cmocka_unit_test(unusable_hosts_never_lead_to_the_domain_itself),
        cmocka_unit_test(names_of_hosts),
        cmocka_unit_test(the_set_key_ignores_order_case_and_repetition),
        cmocka_unit_test(too_many_hosts_keep_the_best),
        cmocka_unit_test(equal_preferences_are_shuffled_evenly),
        cmocka_unit_test(kinds_of_addresses),
        cmocka_unit_test(attempts_walk_hosts_and_their_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
