/* address.c: addresses as text and back, the three families, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/io.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

static void text_comes_back_as_it_was(void **state)
{
    const struct {
        const char *text;
        int family;
        socklen_t length;
    } rows[] = {
        {"203.0.113.10", AF_INET, sizeof(struct sockaddr_in)},
        {"0.0.0.0", AF_INET, sizeof(struct sockaddr_in)},
        {"2001:db8::1", AF_INET6, sizeof(struct sockaddr_in6)},
        {"::", AF_INET6, sizeof(struct sockaddr_in6)},
        {"::ffff:192.0.2.1", AF_INET6, sizeof(struct sockaddr_in6)},
        {"/run/redis/redis.sock", AF_UNIX, offsetof(struct sockaddr_un, sun_path) + 22},
    };
    (void)state;
    for (size_t i = 0; i < countof(rows); i++) {
        struct io_address address;
        char text[110];
        assert_true(io_address_parse(&address, rows[i].text, 2525));
        assert_int_equal(address.storage.ss_family, rows[i].family);
        assert_int_equal(address.length, rows[i].length);
        assert_int_equal(io_address_port(&address), rows[i].family == AF_UNIX ? 0 : 2525);
        io_address_text(&address, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
}

static void what_is_no_address_is_refused(void **state)
{
    const char *rows[] = {"",      "localhost", "1.2.3",      "1.2.3.4.5",    "256.1.1.1",      "1.2.3.4 ", " 1.2.3.4",
                          "[::1]", "::1%lo",    "1.2.3.4:25", "2001:db8:::1", "run/redis.sock", "01.2.3.4"};
    struct io_address address;
    (void)state;
    for (size_t i = 0; i < countof(rows); i++)
        if (io_address_parse(&address, rows[i], 25) || address.length)
            fail_msg("\"%s\" was taken for an address", rows[i]);
}

static void a_path_as_long_as_the_kernel_takes_fits(void **state)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1], text[110];
    struct io_address address;
    (void)state;
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 2] = 0; /* 107 bytes */
    assert_true(io_address_parse(&address, path, 0));
    io_address_text(&address, text, sizeof text);
    assert_string_equal(text, path);
    path[sizeof path - 2] = 'x'; /* 108: no room for the zero byte */
    path[sizeof path - 1] = 0;
    assert_false(io_address_parse(&address, path, 0));
}

static void ports_and_equality(void **state)
{
    struct io_address a, b, none = {0};
    char text[110] = "x";
    (void)state;
    assert_true(io_address_parse(&a, "192.0.2.1", 25));
    assert_true(io_address_parse(&b, "192.0.2.1", 26));
    assert_false(io_address_equal(&a, &b));
    io_address_set_port(&b, 25);
    assert_true(io_address_equal(&a, &b));
    memset(((struct sockaddr_in *)&b.storage)->sin_zero, 7, 8); /* what the kernel leaves there says nothing */
    assert_true(io_address_equal(&a, &b));
    assert_true(io_address_parse(&b, "192.0.2.2", 25));
    assert_false(io_address_equal(&a, &b));
    assert_true(io_address_parse(&a, "2001:db8::1", 25));
    assert_false(io_address_equal(&a, &b));
    assert_true(io_address_parse(&b, "2001:db8:0::1", 1));
    io_address_set_port(&b, 25);
    assert_true(io_address_equal(&a, &b));
    assert_true(io_address_parse(&a, "/a/b", 0));
    assert_true(io_address_parse(&b, "/a/c", 0));
    assert_false(io_address_equal(&a, &b));
    assert_true(io_address_equal(&a, &a));
    assert_false(io_address_equal(&a, &none));
    assert_true(io_address_equal(&none, &none));
    assert_int_equal(io_address_port(&none), 0);
    io_address_set_port(&none, 25);
    io_address_text(&none, text, sizeof text);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_comes_back_as_it_was),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_path_as_long_as_the_kernel_takes_fits),
        cmocka_unit_test(ports_and_equality),
    };
    return cmocka_run_group_tests_name("io address", tests, NULL, NULL);
}
