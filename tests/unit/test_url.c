/* Tests url.c: every form that is allowed, and what is said about those that are not. */
#include "store/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_accepts(void **state)
{
    static const struct {
        const char *text, *host, *user, *password, *shown;
        uint16_t port;
        unsigned database;
    } rows[] = {
        {"redis://h", "h", "", "", "redis://h:6379/0", 6379, 0},
        {"redis://h/", "h", "", "", "redis://h:6379/0", 6379, 0},
        {"redis://h:1/15", "h", "", "", "redis://h:1/15", 1, 15},
        {"redis://192.0.2.1:65535", "192.0.2.1", "", "", "redis://192.0.2.1:65535/0", 65535, 0},
        {"redis://[2001:db8::1]", "2001:db8::1", "", "", "redis://[2001:db8::1]:6379/0", 6379, 0},
        {"redis://[::1]:7/3", "::1", "", "", "redis://[::1]:7/3", 7, 3},
        {"redis://:secret@h", "h", "", "secret", "redis://h:6379/0", 6379, 0},
        {"redis://ann:p%40s%2Fs@h:2", "h", "ann", "p@s/s", "redis://h:2/0", 2, 0},
        {"redis://ann:p@ss:w@h", "h", "ann", "p@ss:w", "redis://h:6379/0", 6379, 0},
    };
    (void)state;
    for (unsigned i = 0; i < countof(rows); i++) {
        struct url url;
        char text[300], error[300] = "";
        if (!url_parse(&url, rows[i].text, error, sizeof error))
            fail_msg("%s: %s", rows[i].text, error);
        assert_false(url.is_unix);
        assert_string_equal(url.host, rows[i].host);
        assert_int_equal(url.port, rows[i].port);
        assert_int_equal(url.database, rows[i].database);
        assert_string_equal(url.user, rows[i].user);
        assert_string_equal(url.password, rows[i].password);
        url_text(&url, text, sizeof text);
        assert_string_equal(text, rows[i].shown);
    }
}

static void test_accepts_unix(void **state)
{
    static const struct {
        const char *text, *path, *user, *password;
    } rows[] = {
        {"unix:/run/redis.sock", "/run/redis.sock", "", ""},
        {"unix:///run/redis.sock", "/run/redis.sock", "", ""},
        {"unix:/odd@path", "/odd@path", "", ""},
        {"unix://ann:pw@/run/r", "/run/r", "ann", "pw"},
    };
    (void)state;
    for (unsigned i = 0; i < countof(rows); i++) {
        struct url url;
        char text[300], error[300] = "";
        if (!url_parse(&url, rows[i].text, error, sizeof error))
            fail_msg("%s: %s", rows[i].text, error);
        assert_true(url.is_unix);
        assert_string_equal(url.path, rows[i].path);
        assert_string_equal(url.user, rows[i].user);
        assert_string_equal(url.password, rows[i].password);
        url_text(&url, text, sizeof text);
        assert_memory_equal(text, "unix:/", 6);
        assert_null(strstr(text, "pw"));
    }
}

static void test_refuses(void **state)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", "no address"},
        {"localhost:6379", "no address"},
        {"http://h", "no address"},
        {"redis:/h", "no address"},
        {"redis://", "no host"},
        {"redis://:6379", "no host"},
        {"redis://h:", "port"},
        {"redis://h:0", "port"},
        {"redis://h:65536", "port"},
        {"redis://h:99999999999999999999", "port"},
        {"redis://h:6379x", "port"},
        {"redis://h/16", "database"},
        {"redis://h/x", "database"},
        {"redis://[::1", "["},
        {"redis://[::1]x", "]"},
        {"redis://[]", "no host"},
        {"redis://ann@h", "user without a password"},
        {"redis://ann:@h", "password is empty"},
        {"redis://ann:%4@h", "%XX"},
        {"redis://ann:%zz@h", "%XX"},
        {"redis://ann:%00@h", "%XX"},
        {"unix:", "begin with /"},
        {"unix:relative", "begin with /"},
        {"unix://host", "begin with /"},
        {"rediss://h", "not supported yet"},
        {"sentinel://h", "not supported yet"},
        {"cluster://h", "not supported yet"},
    };
    (void)state;
    for (unsigned i = 0; i < countof(rows); i++) {
        struct url url;
        char error[300] = "";
        if (url_parse(&url, rows[i].text, error, sizeof error))
            fail_msg("%s was taken", rows[i].text);
        if (!strstr(error, rows[i].why) || !strstr(error, "unix:/path"))
            fail_msg("%s: %s", rows[i].text, error);
    }
}

static void test_lengths(void **state)
{
    char text[600], error[300];
    struct url url;
    (void)state;
    memset(text, 'a', sizeof text);
    memcpy(text, "unix:/", 6);
    text[5 + URL_PATH_MAX] = 0;
    assert_true(url_parse(&url, text, error, sizeof error));
    assert_int_equal(strlen(url.path), URL_PATH_MAX);
    memcpy(text + 5 + URL_PATH_MAX, "a", 2);
    assert_false(url_parse(&url, text, error, sizeof error));

    memset(text, 'a', sizeof text);
    memcpy(text, "redis://:", 9);
    memcpy(text + 9 + URL_PASSWORD_MAX, "@h", 3);
    assert_true(url_parse(&url, text, error, sizeof error));
    assert_int_equal(strlen(url.password), URL_PASSWORD_MAX);
    memset(text + 9 + URL_PASSWORD_MAX, 'a', 3);
    memcpy(text + 10 + URL_PASSWORD_MAX, "@h", 3);
    assert_false(url_parse(&url, text, error, sizeof error));
    assert_null(strstr(error, "aaa")); /* never the password */

    memset(text, 'a', sizeof text);
    memcpy(text, "redis://", 8);
    text[8 + LIMIT_DOMAIN] = 0;
    assert_true(url_parse(&url, text, error, sizeof error));
    memcpy(text + 8 + LIMIT_DOMAIN, "a", 2);
    assert_false(url_parse(&url, text, error, sizeof error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_accepts_unix),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
