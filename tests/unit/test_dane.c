/* test_dane.c - which TLSA records may authenticate a mail server. */
#include "proto/policy/dane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>
#include <openssl/sha.h>

static uint8_t octets[4096];

static struct slice record_of(unsigned usage, unsigned selector, unsigned matching, size_t n)
{
    octets[0] = (uint8_t)usage;
    octets[1] = (uint8_t)selector;
    octets[2] = (uint8_t)matching;
    return (struct slice){(const char *)octets, 3 + n};
}

/* Every usage, selector, matching type and length that there could be. */
static void usable_are_these_alone(void **state)
{
    (void)state;
    unsigned usable = 0;
    memset(octets, 0, sizeof octets);
    for (unsigned usage = 0; usage < 256; usage++)
        for (unsigned selector = 0; selector < 4; selector++)
            for (unsigned matching = 0; matching < 5; matching++)
                for (size_t n = 0; n <= 80; n++) {
                    struct dane_record record;
                    bool right = (usage == 2 || usage == 3) && selector <= 1 &&
                                 ((matching == 1 && n == 32) || (matching == 2 && n == 64));
                    if (dane_read(record_of(usage, selector, matching, n), &record) != right)
                        fail_msg("%u %u %u with %zu octets is %s", usage, selector, matching, n,
                                 right ? "refused" : "taken");
                    usable += right;
                }
    assert_int_equal(usable, 8);
    struct dane_record record;
    for (size_t n = 0; n <= 3; n++)
        assert_false(dane_read((struct slice){"\3\1\1", n}, &record));
}

static void what_is_taken_is_what_was_there(void **state)
{
    (void)state;
    struct dane_record record;
    for (unsigned i = 0; i < 64; i++)
        octets[3 + i] = (uint8_t)(i + 1);
    assert_true(dane_read(record_of(DANE_TA, DANE_CERTIFICATE, DANE_SHA512, 64), &record));
    assert_int_equal(record.usage, DANE_TA);
    assert_int_equal(record.selector, DANE_CERTIFICATE);
    assert_int_equal(record.matching, DANE_SHA512);
    assert_int_equal(record.n, 64);
    assert_memory_equal(record.data, octets + 3, 64);
}

/* The whole key, in DER of each way to write a length. */
static void whole_values_become_their_hash(void **state)
{
    (void)state;
    static const struct {
        size_t content;
        uint8_t head[5];
        size_t head_n;
    } cases[] = {{0, {0x30, 0}, 2},
                 {127, {0x30, 127}, 2},
                 {128, {0x30, 0x81, 128}, 3},
                 {300, {0x30, 0x82, 1, 44}, 4},
                 {2000, {0x30, 0x83, 0, 7, 208}, 5}};
    for (size_t i = 0; i < countof(cases); i++) {
        struct dane_record record;
        uint8_t hash[32];
        size_t n = cases[i].head_n + cases[i].content;
        memset(octets, 'k', sizeof octets);
        memcpy(octets + 3, cases[i].head, cases[i].head_n);
        assert_true(dane_read(record_of(DANE_EE, DANE_KEY, DANE_FULL, n), &record));
        assert_int_equal(record.matching, DANE_SHA256);
        assert_int_equal(record.n, 32);
        SHA256(octets + 3, n, hash);
        assert_memory_equal(record.data, hash, 32);
        assert_false(dane_read(record_of(DANE_EE, DANE_KEY, DANE_FULL, n - 1), &record));
        assert_false(dane_read(record_of(DANE_EE, DANE_KEY, DANE_FULL, n + 1), &record));
        octets[3] = 0x31;
        assert_false(dane_read(record_of(DANE_EE, DANE_KEY, DANE_FULL, n), &record));
    }
    struct dane_record record;
    memcpy(octets + 3, "\x30\x84\0\0\0\1k", 7);
    assert_false(dane_read(record_of(DANE_EE, DANE_KEY, DANE_FULL, 7), &record));
    memcpy(octets + 3, "\x30\x82\1", 3);
    assert_false(dane_read(record_of(DANE_EE, DANE_KEY, DANE_FULL, 3), &record));
}

static void of_many_each_counts_once_and_servers_come_first(void **state)
{
    (void)state;
    char data[20][35];
    struct slice slices[20];
    struct dane_record records[16];
    memset(data, 0, sizeof data);
    for (unsigned i = 0; i < 20; i++) {
        data[i][0] = i < 10 ? 2 : 3;
        data[i][2] = 1;
        data[i][34] = (char)(i / 2); /* every other is the same again */
        slices[i] = (struct slice){data[i], sizeof data[i]};
    }
    data[0][0] = 1; /* not usable */
    assert_int_equal(dane_read_all(slices, 20, records, 16), 10);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(records[i].usage, i < 5 ? DANE_EE : DANE_TA);
    assert_int_equal(dane_read_all(slices, 20, records, 3), 3);
    assert_int_equal(records[2].usage, DANE_EE);
    assert_int_equal(dane_read_all(slices, 1, records, 16), 0);
    assert_int_equal(dane_read_all(NULL, 0, records, 16), 0);
}

static void names(void **state)
{
    (void)state;
    char name[256], base[256];
    assert_true(dane_name(SLICE("mx.example"), 25, name));
    assert_string_equal(name, "_25._tcp.mx.example");
    assert_true(dane_name(SLICE("mx.example"), 65535, name));
    assert_string_equal(name, "_65535._tcp.mx.example");
    memset(base, 'a', sizeof base);
    assert_true(dane_name((struct slice){base, 253 - 9}, 25, name));
    assert_int_equal(strlen(name), 253);
    assert_false(dane_name((struct slice){base, 253 - 8}, 25, name));
    assert_false(dane_name(SLICE(""), 25, name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usable_are_these_alone),
        cmocka_unit_test(what_is_taken_is_what_was_there),
        cmocka_unit_test(whole_values_become_their_hash),
        cmocka_unit_test(of_many_each_counts_once_and_servers_come_first),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
