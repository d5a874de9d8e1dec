/* Addresses: what passes, what does not, why, and at which byte. */
#include "proto/smtp/address.h"

#include "proto/smtp/write.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A copy of its own size, so that the sanitizer sees a read past its end. */
static bool parse(struct slice text, struct address *address, struct address_fault *fault)
{
    char *copy = malloc(text.n ? text.n : 1);
    assert_non_null(copy);
    if (text.n)
        memcpy(copy, text.p, text.n);
    bool ok = address_parse((struct slice){copy, text.n}, address, fault);
    if (ok) { /* let the slices point into what the caller still has */
        assert_true(address->local.p == copy);
        assert_int_equal(address->local.n + 1 + address->domain.n, text.n);
        address->local.p = text.p;
        address->domain.p = text.p + address->local.n + 1;
    }
    free(copy);
    return ok;
}

static void test_good(void **state)
{
    (void)state;
    static const struct {
        const char *text, *local, *domain;
        bool quoted, utf8_local, utf8_domain;
    } rows[] = {
        {"ann@x.example", "ann", "x.example", false, false, false},
        {"a@b", "a", "b", false, false, false},
        {"a.b.c+tag=1/2@x-y.example", "a.b.c+tag=1/2", "x-y.example", false, false, false},
        {"!#$%&'*+-/=?^_`{|}~@x.example", "!#$%&'*+-/=?^_`{|}~", "x.example", false, false, false},
        {"\"a..b@c\"@x.example", "\"a..b@c\"", "x.example", true, false, false},
        {"\"a\\\"b\\\\\"@x.example", "\"a\\\"b\\\\\"", "x.example", true, false, false},
        {"j\xc3\xb6rg@x.example", "j\xc3\xb6rg", "x.example", false, true, false},
        {"ann@b\xc3\xbc"
         "cher.example",
         "ann",
         "b\xc3\xbc"
         "cher.example",
         false, false, true},
        {"ann@xn--bcher-kva.example", "ann", "xn--bcher-kva.example", false, false, false},
        {"ann@a_b.example", "ann", "a_b.example", false, false, false},
        {"ann@163.com", "ann", "163.com", false, false, false},
        {"ANN@X.Example", "ANN", "X.Example", false, false, false},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct address address;
        struct address_fault fault;
        assert_true(parse(slice_of(rows[i].text), &address, &fault));
        assert_true(slice_equal(address.local, slice_of(rows[i].local)));
        assert_true(slice_equal(address.domain, slice_of(rows[i].domain)));
        assert_int_equal(address.quoted, rows[i].quoted);
        assert_int_equal(address.utf8_local, rows[i].utf8_local);
        assert_int_equal(address.utf8_domain, rows[i].utf8_domain);
    }
}

static const struct {
    struct slice text;
    size_t position;
    const char *reason;
} bad[] = {
#define ROW(text, position, reason)                                                                                    \
    {                                                                                                                  \
        {(text), sizeof(text) - 1}, (position), (reason)                                                               \
    }
    ROW("", 0, "the address is empty"),
    ROW("ann", 3, "the address has no @"),
    ROW("@x.example", 0, "the local part is missing"),
    ROW("ann@", 4, "the domain is missing"),
    ROW(".ann@x.example", 0, "the local part begins with a dot"),
    ROW("ann.@x.example", 3, "the local part ends in a dot"),
    ROW("a..b@x.example", 2, "two dots in the local part"),
    ROW("a b@x.example", 1, "a space"),
    ROW(" ann@x.example", 0, "a space"),
    ROW("ann@x.example ", 13, "a space"),
    ROW("<ann@x.example>", 0, "an angle bracket"),
    ROW("Ann <ann@x.example>", 3, "a space"),
    ROW("ann@x.example>", 13, "an angle bracket"),
    ROW("ann@x.example\r\nRSET", 13, "a control character"),
    ROW("an\nn@x.example", 2, "a control character"),
    ROW("an\0n@x.example", 2, "a control character"),
    ROW("an\177n@x.example", 2, "a control character"),
    ROW("an\xc2\x85n@x.example", 2, "a control character"),
    ROW("an\xff@x.example", 2, "not UTF-8"),
    ROW("an\xc3@x.example", 2, "not UTF-8"),
    ROW("ann@\xc0\xaf.example", 4, "not UTF-8"),
    ROW("a,b@x.example", 1, "a character that only a quoted local part may have"),
    ROW("a:b@x.example", 1, "a character that only a quoted local part may have"),
    ROW("a\"b\"@x.example", 1, "a character that only a quoted local part may have"),
    ROW("\"a b\"@x.example", 2, "a space"),
    ROW("\"a<b\"@x.example", 2, "an angle bracket"),
    ROW("\"a\\ b\"@x.example", 3, "a space"),
    ROW("\"a\rb\"@x.example", 2, "a control character"),
    ROW("\"a@x.example", 12, "the quoted local part has no end"),
    ROW("\"a\\", 3, "a backslash with nothing to quote"),
    ROW("\"a\\\xc3\xb6\"@x.example", 3, "a backslash with nothing to quote"),
    ROW("\"\"@x.example", 1, "the local part is empty"),
    ROW("\"a\"b@x.example", 3, "no @ behind the quoted local part"),
    ROW("\"a\"", 3, "the address has no @"),
    ROW("ann@[192.0.2.1]", 4, "an address literal, not a domain"),
    ROW("ann@192.0.2.1", 12, "the domain ends in a number"),
    ROW("ann@x.example.", 14, "the domain ends in a dot"),
    ROW("ann@.example", 4, "an empty label in the domain"),
    ROW("ann@x..example", 6, "an empty label in the domain"),
    ROW("ann@-x.example", 4, "a label of the domain begins with a hyphen"),
    ROW("ann@x-.example", 5, "a label of the domain ends in a hyphen"),
    ROW("ann@x.example-", 13, "a label of the domain ends in a hyphen"),
    ROW("ann@b@x.example", 5, "a character that no domain has"),
    ROW("ann@x,y.example", 5, "a character that no domain has"),
    ROW("ann@x.example,bob@y.example", 13, "a character that no domain has"),
#undef ROW
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(bad); i++) {
        struct address address;
        struct address_fault fault;
        if (parse(bad[i].text, &address, &fault))
            fail_msg("row %zu passed", i);
        assert_string_equal(fault.reason, bad[i].reason);
        assert_int_equal(fault.position, bad[i].position);
    }
}

static void assert_fault(struct slice text, size_t position, const char *reason)
{
    struct address address;
    struct address_fault fault;
    assert_false(parse(text, &address, &fault));
    assert_string_equal(fault.reason, reason);
    assert_int_equal(fault.position, position);
}

/* `local` octets, '@', and labels of 49 up to `domain` octets. */
static struct slice make(char *text, size_t local, size_t domain)
{
    memset(text, 'a', local + 1 + domain);
    text[local] = '@';
    for (size_t i = 49; i < domain - 1; i += 50)
        text[local + 1 + i] = '.';
    return (struct slice){text, local + 1 + domain};
}

static void test_lengths(void **state)
{
    (void)state;
    char text[600];
    struct address address;
    struct address_fault fault;
    assert_true(parse(make(text, LIMIT_LOCAL_PART, 100), &address, &fault));
    assert_fault(make(text, LIMIT_LOCAL_PART + 1, 100), LIMIT_LOCAL_PART, "the local part is longer than 64 octets");
    assert_true(parse(make(text, 10, LIMIT_ADDRESS - 11), &address, &fault));
    assert_fault(make(text, 10, LIMIT_ADDRESS - 10), LIMIT_ADDRESS, "the address is longer than 254 octets");
    assert_fault(make(text, 1, LIMIT_DOMAIN + 1), 2 + LIMIT_DOMAIN, "the domain is longer than 255 octets");
    struct slice label = make(text, 1, 70);
    memset(text + 2, 'a', 70);
    assert_fault(label, 2 + 63, "a label of the domain is longer than 63 octets");

    bool utf8;
    struct slice domain = make(text, 0, LIMIT_DOMAIN);
    assert_true(address_domain((struct slice){domain.p + 1, LIMIT_DOMAIN}, &utf8, &fault));
}

/* Whatever passes can stand in a command; random bytes of the kind that hurts, and single changes to a good one. */
static void test_what_passes_is_safe(void **state)
{
    (void)state;
    static const char alphabet[] = "ab.@\"\\ <>\r\n\t-_[]\xc3\xb6\x85\x7f";
    uint64_t seed = 0x5eed5eed, passed = 0;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (unsigned i = 0; i < 300000; i++) {
        char text[12];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t n = 3 + (seed >> 60) % 9;
        uint64_t bits = seed;
        for (size_t k = 0; k < n; k++) {
            bits = bits * 6364136223846793005u + 1442695040888963407u;
            text[k] = alphabet[(bits >> 33) % sizeof alphabet]; /* its zero byte too */
        }
        text[1] = i % 2 ? '@' : text[1];
        struct address address;
        struct address_fault fault;
        if (!parse((struct slice){text, n}, &address, &fault)) {
            assert_true(fault.position <= n);
            continue;
        }
        passed++;
        char line[64];
        assert_int_equal(write_rcpt(line, sizeof line, (struct slice){text, n}, true), 10 + n + 2);
        if (!address.utf8_local && !address.utf8_domain)
            assert_true(write_address_safe((struct slice){text, n}, false));
    }
    assert_true(passed > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_what_passes_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
