/* Tests url.c: every form that is allowed, and what is said about those that are not. */
#include "store/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct url accepted(const char *text)
{
    struct url url;
    char error[URL_ERROR] = "";
    if (!url_parse(&url, text, error, sizeof error))
        fail_msg("%s: %s", text, error);
    return url;
}

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
        char text[300];
        struct url url = accepted(rows[i].text);
        assert_int_equal(url.kind, URL_REDIS);
        assert_int_equal(url.host_count, 1);
        assert_string_equal(url.hosts[0].name, rows[i].host);
        assert_int_equal(url.hosts[0].port, rows[i].port);
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
        {"unix:////run//r", "/run//r", "", ""},
    };
    (void)state;
    for (unsigned i = 0; i < countof(rows); i++) {
        char text[300];
        struct url url = accepted(rows[i].text);
        assert_int_equal(url.kind, URL_UNIX);
        assert_string_equal(url.path, rows[i].path);
        assert_string_equal(url.user, rows[i].user);
        assert_string_equal(url.password, rows[i].password);
        url_text(&url, text, sizeof text);
        assert_memory_equal(text, "unix:/", 6);
        assert_null(strstr(text, "pw"));
    }
}

static void test_accepts_several(void **state)
{
    static const struct {
        const char *text, *shown, *first, *last, *master, *password;
        enum url_kind kind;
        unsigned hosts, database, port;
        bool is_tls;
    } rows[] = {
        {"rediss://h", "rediss://h:6379/0", "h", "h", "", "", URL_REDIS, 1, 0, 6379, true},
        {"rediss://a:b@h:1/2", "rediss://h:1/2", "h", "h", "", "b", URL_REDIS, 1, 2, 1, true},
        {"sentinel://h/m", "sentinel://h:26379/m/0", "h", "h", "m", "", URL_SENTINEL, 1, 0, 26379, false},
        {"sentinel://:p@h:1,[::1],i:3/my.m-_9/15", "sentinel://h:1,[::1]:26379,i:3/my.m-_9/15", "h", "i", "my.m-_9",
         "p", URL_SENTINEL, 3, 15, 3, false},
        {"sentinels://h/m/", "sentinels://h:26379/m/0", "h", "h", "m", "", URL_SENTINEL, 1, 0, 26379, true},
        {"cluster://h", "cluster://h:6379", "h", "h", "", "", URL_CLUSTER, 1, 0, 6379, false},
        {"cluster://u:p,w@h:1,i/", "cluster://h:1,i:6379", "h", "i", "", "p,w", URL_CLUSTER, 2, 0, 6379, false},
        {"clusters://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16:7",
         "clusters://1:6379,2:6379,3:6379,4:6379,5:6379,6:6379,7:6379,8:6379,9:6379,10:6379,11:6379,12:6379,13:6379,"
         "14:6379,15:6379,16:7",
         "1", "16", "", "", URL_CLUSTER, 16, 0, 7, true},
    };
    (void)state;
    for (unsigned i = 0; i < countof(rows); i++) {
        char text[300];
        struct url url = accepted(rows[i].text);
        url_text(&url, text, sizeof text);
        assert_string_equal(text, rows[i].shown);
        assert_int_equal(url.kind, rows[i].kind);
        assert_int_equal(url.is_tls, rows[i].is_tls);
        assert_int_equal(url.host_count, rows[i].hosts);
        assert_string_equal(url.hosts[0].name, rows[i].first);
        assert_string_equal(url.hosts[url.host_count - 1].name, rows[i].last);
        assert_int_equal(url.hosts[url.host_count - 1].port, rows[i].port);
        assert_string_equal(url.master, rows[i].master);
        assert_string_equal(url.password, rows[i].password);
        assert_int_equal(url.database, rows[i].database);
        url_text(&url, text, 9); /* too little room: cut */
        assert_int_equal(strlen(text), 8);
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
        {"redis://a,b", "several hosts"},
        {"rediss://", "no host"},
        {"sentinel://h", "no name"},
        {"sentinel://h/", "no name"},
        {"sentinel://h//1", "no name"},
        {"sentinel://h/a b", "letters, digits"},
        {"sentinel://h/name/16", "database"},
        {"sentinel://h/name/1/2", "database"},
        {"sentinel://h,/name", "no host"},
        {"sentinel://ann@h/name", "user without a password"},
        {"cluster://a,,b", "no host"},
        {"cluster://a/1", "a cluster has none"},
        {"cluster://a:x,b", "port"},
        {"cluster://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "more than 16"},
        {"Redis://h", "no address"},
    };
    (void)state;
    for (unsigned i = 0; i < countof(rows); i++) {
        struct url url;
        char error[URL_ERROR] = "";
        if (url_parse(&url, rows[i].text, error, sizeof error))
            fail_msg("%s was taken", rows[i].text);
        if (!strstr(error, rows[i].why) || !strstr(error, "unix:/path"))
            fail_msg("%s: %s", rows[i].text, error);
    }
}

static void test_lengths(void **state)
{
    char text[600], error[URL_ERROR];
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
        cmocka_unit_test(test_accepts), cmocka_unit_test(test_accepts_unix), cmocka_unit_test(test_accepts_several),
        cmocka_unit_test(test_refuses), cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
