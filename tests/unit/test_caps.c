/* Capabilities: what servers write, in the ways they write it. */
#include "proto/smtp/caps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct caps caps_of(const char *bytes)
{
    static struct reply_parser parser;
    struct reply reply;
    struct caps caps;
    struct slice rest = slice_of(bytes);
    reply_init(&parser);
    assert_int_equal(reply_parse(&parser, &rest, &reply), REPLY_COMPLETE);
    memset(&caps, 0xff, sizeof caps);
    caps_parse(&caps, &reply);
    return caps;
}

static void test_postfix(void **state)
{
    (void)state;
    struct caps caps = caps_of("250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-VRFY\r\n250-ETRN\r\n"
                               "250-STARTTLS\r\n250-AUTH PLAIN LOGIN\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n"
                               "250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n");
    assert_true(caps.pipelining && caps.size && caps.starttls && caps.enhanced_status && caps.eight_bit_mime);
    assert_true(caps.dsn && caps.smtputf8 && caps.chunking);
    assert_int_equal(caps.size_max, 10240000);
    assert_int_equal(caps.auth, CAPS_AUTH_PLAIN | CAPS_AUTH_LOGIN);
}

static void test_nothing(void **state)
{
    (void)state;
    struct caps caps = caps_of("250 mx.example\r\n"), none;
    caps_clear(&none);
    assert_false(caps.pipelining || caps.size || caps.eight_bit_mime || caps.smtputf8 || caps.chunking);
    assert_false(caps.starttls || caps.dsn || caps.enhanced_status);
    assert_int_equal(caps.size_max, 0);
    assert_int_equal(caps.auth, 0);
    assert_memory_equal(&caps, &none, sizeof caps);
}

/* The first line is the server's name, whatever it looks like; a keyword is a whole word. */
static void test_names_are_no_keywords(void **state)
{
    (void)state;
    struct caps caps =
        caps_of("250-PIPELINING\r\n250-XPIPELINING\r\n250-PIPELININGX\r\n250-X SIZE 5\r\n250 mx / DSN\r\n");
    assert_false(caps.pipelining || caps.size || caps.dsn);
}

static void test_sloppy(void **state)
{
    (void)state;
    struct caps caps = caps_of("250-x\n250-pipelining \n250- Size   77  \n250-AUTH=LOGIN cram-md5 X-OWN\n"
                               "250-auth XOAUTH2 OAUTHBEARER\n250-8BitMime foo\n250\n");
    assert_true(caps.pipelining && caps.size && caps.eight_bit_mime);
    assert_int_equal(caps.size_max, 77);
    assert_int_equal(caps.auth, CAPS_AUTH_LOGIN | CAPS_AUTH_CRAM_MD5 | CAPS_AUTH_OTHER | CAPS_AUTH_XOAUTH2 |
                                    CAPS_AUTH_OAUTHBEARER);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        uint64_t size;
    } rows[] = {
        {"250-x\r\n250 SIZE\r\n", 0},
        {"250-x\r\n250 SIZE 0\r\n", 0},
        {"250-x\r\n250 SIZE 1\r\n", 1},
        {"250-x\r\n250 SIZE ten\r\n", 0},
        {"250-x\r\n250 SIZE -5\r\n", 0},
        {"250-x\r\n250 SIZE 12x\r\n", 0},
        {"250-x\r\n250 SIZE 18446744073709551615\r\n", UINT64_MAX},
        {"250-x\r\n250 SIZE 18446744073709551616\r\n", 0},
        {"250-x\r\n250 SIZE 99999999999999999999999\r\n", 0},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct caps caps = caps_of(rows[i].bytes);
        assert_true(caps.size);
        assert_int_equal(caps.size_max, rows[i].size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_postfix), cmocka_unit_test(test_nothing), cmocka_unit_test(test_names_are_no_keywords),
        cmocka_unit_test(test_sloppy),  cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
