/* test_sts.c - TXT records and policy files of MTA-STS, well-formed and otherwise, and which hosts they allow. */
#include "proto/policy/sts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The RFC's own, §3.1 and §3.2, first. */
static void records(void **state)
{
    (void)state;
    static const struct {
        const char *text, *id; /* NULL: malformed */
    } cases[] = {
        {"v=STSv1; id=20160831085700Z;", "20160831085700Z"},
        {"v=STSv1;id=1", "1"},
        {"v=STSv1; \t id=abc \t ; ", "abc"},
        {"v=STSv1; note=x_y; id=A1; other=$%!;", "A1"},
        {"v=STSv1; id=first; id=second", "first"}, /* §3.2: all entries except for the first SHALL be ignored */
        {"v=STSv1; id=12345678901234567890123456789012", "12345678901234567890123456789012"},
        {"v=STSv1; id=123456789012345678901234567890123", NULL},
        {"v=STSv1; id=", NULL},
        {"v=STSv1; id=a-b", NULL},
        {"v=STSv1; id=a b", NULL},
        {"v=STSv1; id=a; rubbish", NULL},
        {"v=STSv1; id=a;; x=y", NULL},
        {"v=STSv1; id=a; x=", NULL},
        {"v=STSv1; id=a; -x=y", NULL},
        {"v=STSv1; id=a; x=y=z", NULL},
        {"v=STSv1;", NULL},
        {"v=STSv1", NULL},
        {"v=STSv1 id=a", NULL},
        {"v=STSv2; id=a", NULL},
        {"V=STSv1; id=a", NULL},
        {" v=STSv1; id=a", NULL},
        {"id=a; v=STSv1;", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char id[STS_ID + 1] = "untouched";
        bool read = sts_record_read(slice_of(cases[i].text), id);
        if (read != (cases[i].id != NULL))
            fail_msg("\"%s\" is %s", cases[i].text, read ? "taken" : "refused");
        if (read)
            assert_string_equal(id, cases[i].id);
    }
}

static void one_record_alone_counts(void **state)
{
    (void)state;
    char id[STS_ID + 1];
    struct slice texts[3] = {SLICE("v=spf1 -all"), SLICE("v=STSv1; id=a"), SLICE("v=STSv10; id=b")};
    assert_true(sts_records_read(texts, 3, id));
    assert_string_equal(id, "a");
    texts[2] = SLICE("v=STSv1; id=b");
    assert_false(sts_records_read(texts, 3, id));
    texts[2] = SLICE("v=STSv1;broken");
    assert_false(sts_records_read(texts, 3, id));
    assert_false(sts_records_read(texts, 1, id));
    assert_false(sts_records_read(NULL, 0, id));
}

static struct sts_policy policy;
static const char *why;

static bool reads(const char *text) { return sts_policy_read(slice_of(text), &policy, &why); }

static void policies(void **state)
{
    (void)state;
    assert_true(reads("version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n"
                      "mx: backupmx.example.com\r\nmax_age: 604800\r\n"));
    assert_int_equal(policy.mode, STS_ENFORCE);
    assert_int_equal(policy.max_age_s, 604800);
    assert_int_equal(policy.mx_octets,
                     sizeof "mail.example.com" + sizeof "*.example.net" + sizeof "backupmx.example.com");
    /* Any order, bare LF, blanks, unknown fields, no end of the last line, an empty line. */
    assert_true(reads("max_age:9999999999\nmx:MX.Example \nfuture: what ever: it is\n\nmode:  testing\nversion:STSv1"));
    assert_int_equal(policy.mode, STS_TESTING);
    assert_int_equal(policy.max_age_s, STS_MAX_AGE_S);
    assert_string_equal(policy.mx, "mx.example");
    assert_true(reads("version: STSv1\nmode: none\nmax_age: 0\n"));
    assert_int_equal(policy.mode, STS_NONE);
    assert_int_equal(policy.max_age_s, 0);
    /* The first of each counts. */
    assert_true(
        reads("version: STSv1\nversion: STSv2\nmode: enforce\nmode: none\nmax_age: 5\nmax_age: x\nmx: a.example"));
    assert_int_equal(policy.mode, STS_ENFORCE);
    assert_int_equal(policy.max_age_s, 5);
}

static void malformed_policies(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "no version"},
        {"mode: none\nmax_age: 1\n", "no version"},
        {"version: STSv1\nmax_age: 1\nmx: a.example\n", "no mode"},
        {"version: STSv1\nmode: enforce\nmx: a.example\n", "no max_age"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\n", "no mx"},
        {"version: STSv1\nmode: testing\nmax_age: 1\n", "no mx"},
        {"version: STSv2\nmode: none\nmax_age: 1\n", "version is not STSv1"},
        {"version: stsv1\nmode: none\nmax_age: 1\n", "version is not STSv1"},
        {"version: STSv1\nmode: Enforce\nmax_age: 1\nmx: a.example\n", "mode is none of enforce, testing, none"},
        {"version: STSv1\nmode:\nmax_age: 1\n", "mode is none of enforce, testing, none"},
        {"version: STSv1\nmode: none\nmax_age: -1\n", "max_age is no number of seconds"},
        {"version: STSv1\nmode: none\nmax_age: 1d\n", "max_age is no number of seconds"},
        {"version: STSv1\nmode: none\nmax_age: 12345678901\n", "max_age is no number of seconds"},
        {"version: STSv1\nmode: none\nmax_age:\n", "max_age is no number of seconds"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\nmx: 192.0.2.1\n", "mx is no name of a host"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\nmx: *\n", "mx is no name of a host"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\nmx: *.\n", "mx is no name of a host"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\nmx: *.*.a.example\n", "mx is no name of a host"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\nmx: .a.example\n", "mx is no name of a host"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\nmx: a.example.\n", "mx is no name of a host"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\nmx: a.example, b.example\n", "mx is no name of a host"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\nmx:\n", "mx is no name of a host"},
        {"<!DOCTYPE html>\n", "a line is no field"},
        {"version: STSv1\nmode\n", "a line is no field"},
        {"version STSv1\n", "a line is no field"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        if (reads(cases[i].text))
            fail_msg("taken: %s", cases[i].text);
        assert_string_equal(why, cases[i].why);
    }
    assert_false(sts_policy_read(SLICE("version: STSv1\nmode: none\nmax_age: 1\nnote: \0\n"), &policy, &why));
}

static void too_many_hosts_are_no_policy(void **state)
{
    (void)state;
    char text[8192] = "version: STSv1\nmode: enforce\nmax_age: 1\n";
    size_t n = strlen(text), fit = 0;
    while (fit * sizeof "mx100.example" + sizeof "mx100.example" <= STS_MX)
        n += (size_t)snprintf(text + n, sizeof text - n, "mx: mx%zu.example\n", 100 + fit++);
    assert_true(reads(text));
    assert_true(sts_policy_allows(&policy, SLICE("mx100.example")));
    snprintf(text + n, sizeof text - n, "mx: mx%zu.example\n", 100 + fit);
    assert_false(reads(text));
    assert_string_equal(why, "too many mx");
}

/* §4.1 */
static void hosts(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        bool allowed;
    } cases[] = {
        {"mx.example.com", true},
        {"MX.Example.COM", true},
        {"mx.example.com.", true},
        {"a.example.net", true},
        {"A.EXAMPLE.net.", true},
        {"example.net", false},
        {"a.b.example.net", false},
        {"xexample.net", false},
        {".example.net", false},
        {"mx.example.com.evil", false},
        {"amx.example.com", false},
        {"a.mx.example.com", false},
        {"com", false},
        {"", false},
        {".", false},
        {"*.example.net", true}, /* a label like any other */
    };
    assert_true(reads("version: STSv1\nmode: enforce\nmax_age: 1\nmx: mx.example.com\nmx: *.example.net\n"));
    for (size_t i = 0; i < countof(cases); i++)
        if (sts_policy_allows(&policy, slice_of(cases[i].host)) != cases[i].allowed)
            fail_msg("%s is %s", cases[i].host, cases[i].allowed ? "refused" : "allowed");
}

/* A policy with one byte changed, or cut short, is read as a whole or not at all. */
static void broken_bytes(void **state)
{
    (void)state;
    static const char good[] = "version: STSv1\nmode: enforce\nmx: a.example\nmx: *.b.example\nmax_age: 604800\n";
    unsigned seed = getenv("SEED") ? (unsigned)atoi(getenv("SEED")) : 1;
    print_message("seed %u\n", seed);
    srand(seed);
    for (unsigned round = 0; round < 20000; round++) {
        char text[sizeof good];
        memcpy(text, good, sizeof good);
        for (unsigned i = 0; i <= round % 3; i++)
            text[(size_t)rand() % (sizeof good - 1)] = (char)rand();
        size_t n = round % 2 ? sizeof good - 1 : (size_t)rand() % sizeof good;
        char *exact = malloc(n ? n : 1); /* of that size, so that a sanitizer sees what is read behind it */
        memcpy(exact, text, n);
        bool read = sts_policy_read((struct slice){exact, n}, &policy, &why);
        free(exact);
        assert_true(read == (why[0] == 0));
        if (read)
            assert_true(policy.mode == STS_NONE || (policy.mx_octets > 0 && policy.mx[policy.mx_octets - 1] == 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records),
        cmocka_unit_test(one_record_alone_counts),
        cmocka_unit_test(policies),
        cmocka_unit_test(malformed_policies),
        cmocka_unit_test(too_many_hosts_are_no_policy),
        cmocka_unit_test(hosts),
        cmocka_unit_test(broken_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
