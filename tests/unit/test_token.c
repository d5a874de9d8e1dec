/* test_token.c - tokens name what they were made for, survive what mail servers do to them, and cannot be forged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include <sys/stat.h>
#include <unistd.h>

#include "sign/token.h"

static char directory[] = "/tmp/sluice-token-XXXXXX";
static char path[64];

static const char *file(const char *text, mode_t mode)
{
    snprintf(path, sizeof path, "%s/keys", directory);
    unlink(path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static struct token_keys *load(const char *text)
{
    char error[256] = "";
    struct token_keys *keys = token_keys_load(file(text, 0600), error, sizeof error);
    if (!keys)
        fail_msg("%s", error);
    return keys;
}

static const char one[] = "# made in November\n0123456789abcdef0123456789abcdef\n";

/* Worked out by another program:
 *   python3 -c "import hmac,hashlib,base64; i=b'spring'; s=42; k=b'0123456789abcdef0123456789abcdef';
 *   print(base64.b32encode(hashlib.sha256(i).digest()[:8]+s.to_bytes(6,'big')+
 *   hmac.new(k,i+b'\0'+s.to_bytes(8,'big'),hashlib.sha256).digest()[:10]).decode().lower().rstrip('='))" */
static void a_token_is_what_the_header_says(void **state)
{
    (void)state;
    char text[TOKEN_TEXT + 1] = "";
    struct token_keys *keys = load(one);
    token_make(keys, SLICE("spring"), 42, text);
    assert_string_equal(text, "mivestj6vdd3uaaaaaaaakse7ayvua652omzomq");
    token_keys_free(keys);
}

static void it_is_found_in_an_address_whatever_its_case(void **state)
{
    (void)state;
    struct token_keys *keys = load(one);
    char text[TOKEN_TEXT + 1] = "", address[128];
    token_make(keys, SLICE("spring"), TOKEN_SEQ_MAX, text);
    static const char *const forms[] = {"%s", "bounce+%s", "bounce+%s@b.shop.example", "<b+x+%s@b.shop.example>"};
    for (size_t i = 0; i < countof(forms); i++)
        for (int upper = 0; upper < 2; upper++) {
            struct token token;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(address, sizeof address, forms[i], text);
#pragma GCC diagnostic pop
            for (char *p = address; upper && *p; p++)
                *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
            assert_true(token_read(slice_of(address), &token));
            assert_true(token.seq == TOKEN_SEQ_MAX);
            assert_true(token_verify(keys, &token, SLICE("spring")));
            assert_false(token_verify(keys, &token, SLICE("summer")));
        }
    token_keys_free(keys);
}

/* Every letter changed to every other one: no such token is read and taken for the recipient's or anybody's. */
static void no_changed_token_is_taken(void **state)
{
    (void)state;
    struct token_keys *keys = load(one);
    char text[TOKEN_TEXT];
    token_make(keys, SLICE("spring"), 7, text);
    for (unsigned i = 0; i < TOKEN_TEXT; i++) {
        char was = text[i];
        for (const char *c = "abcdefghijklmnopqrstuvwxyz234567"; *c; c++) {
            struct token token;
            text[i] = *c;
            bool taken =
                token_read((struct slice){text, TOKEN_TEXT}, &token) && token_verify(keys, &token, SLICE("spring"));
            assert_int_equal(taken, *c == was);
        }
        text[i] = was;
    }
    token_keys_free(keys);
}

static void what_is_no_token_is_not_read(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "bounce@shop.example",
                                        "abcdefghijklmnopqrstuvwxyz23456789abcde",
                                        "b+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@x",
                                        "b+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@x",
                                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
                                        "+",
                                        "@",
                                        "<",
                                        "\xFF+\xFF"};
    struct token token;
    for (size_t i = 0; i < countof(texts); i++)
        assert_false(token_read(slice_of(texts[i]), &token));
}

static void keys_are_replaced_one_after_the_other(void **state)
{
    (void)state;
    struct token_keys *old = load(one);
    struct token_keys *both = load("fedcba9876543210fedcba9876543210\n0123456789abcdef0123456789abcdef");
    struct token_keys *new = load("\nfedcba9876543210fedcba9876543210\r\n");
    char from_old[TOKEN_TEXT], from_both[TOKEN_TEXT];
    struct token token;
    token_make(old, SLICE("c"), 1, from_old);
    token_make(both, SLICE("c"), 1, from_both);
    assert_true(token_read((struct slice){from_old, TOKEN_TEXT}, &token));
    assert_true(token_verify(both, &token, SLICE("c")));
    assert_false(token_verify(new, &token, SLICE("c")));
    assert_true(token_read((struct slice){from_both, TOKEN_TEXT}, &token));
    assert_true(token_verify(new, &token, SLICE("c")));
    assert_false(token_verify(old, &token, SLICE("c")));
    token_keys_free(old);
    token_keys_free(both);
    token_keys_free(new);
}

static void bad_files_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        mode_t mode;
        const char *why;
    } rows[] = {
        {"", 0600, "holds no key"},
        {"# nothing but this\n", 0600, "holds no key"},
        {"short\n", 0600, "a key has 5 characters; at least 32"},
        {"0123456789abcdef0123456789abcdef\n", 0604, "has mode 0604, so others can use it; allowed is 0600"},
        {"0123456789abcdef0123456789abcdef\n", 0660, "has mode 0660, so others can use it"},
    };
    char error[256];
    for (size_t i = 0; i < countof(rows); i++) {
        assert_null(token_keys_load(file(rows[i].text, rows[i].mode), error, sizeof error));
        assert_non_null(strstr(error, rows[i].why));
        assert_int_equal(strncmp(error, path, strlen(path)), 0);
    }
    assert_null(token_keys_load("/nonexistent/keys", error, sizeof error));
    assert_string_equal(error, "/nonexistent/keys: No such file or directory");
    assert_null(token_keys_load(directory, error, sizeof error));
    assert_non_null(strstr(error, "is no regular file"));
}

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_what_the_header_says),
        cmocka_unit_test(it_is_found_in_an_address_whatever_its_case),
        cmocka_unit_test(no_changed_token_is_taken),
        cmocka_unit_test(what_is_no_token_is_not_read),
        cmocka_unit_test(keys_are_replaced_one_after_the_other),
        cmocka_unit_test(bad_files_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
