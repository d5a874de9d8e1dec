/* test_json.c - the scanner accepts what RFC 8259 accepts, names the place of what it does not, and its tape is true.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "proto/json.h"
#include "tests/unit/chance.h"

#define TEXT(literal) SLICE(literal)

static struct json_token tokens[512];

/* Scans a copy at the end of a heap block, so that a sanitizer sees every read behind the text. */
static bool scan(struct slice text, struct json_error *error)
{
    struct json json;
    char *copy = malloc(text.n + 1);
    memcpy(copy + 1, text.p, text.n);
    *error = (struct json_error){NULL, 0};
    bool ok = json_scan((struct slice){copy + 1, text.n}, tokens, countof(tokens), &json, error);
    free(copy);
    return ok;
}

static void values_are_accepted(void **state)
{
    (void)state;
    static const struct slice good[] = {
        TEXT("null"),
        TEXT(" true\n"),
        TEXT("\tfalse\r"),
        TEXT("0"),
        TEXT("-0"),
        TEXT("-12.50e+10"),
        TEXT("1E5"),
        TEXT("0.1"),
        TEXT("\"\""),
        TEXT("\"plain text that is longer than eight bytes\""),
        TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\uDE00\""),
        TEXT("\"\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 \x7F\""),
        TEXT("[]"),
        TEXT("[ ]"),
        TEXT("[1,[2,[3]],{}]"),
        TEXT("{}"),
        TEXT("{ }"),
        TEXT("{\"a\":1,\"b\":{\"c\":[null,true]},\"\":\"\"}"),
        TEXT(" { \"a\" : 1 , \"b\" : [ 1 , 2 ] } "),
    };
    for (size_t i = 0; i < countof(good); i++) {
        struct json_error error;
        if (!scan(good[i], &error))
            fail_msg("%.*s: %s at %zu", SLICE_ARGS(good[i]), error.reason, error.position);
    }
}

static void the_offending_byte_is_named(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        size_t position;
        const char *reason;
    } bad[] = {
        {TEXT(""), 0, "expected a value"},
        {TEXT("  "), 2, "expected a value"},
        {TEXT("nul"), 0, "expected a value"},
        {TEXT("nope"), 0, "expected a value"},
        {TEXT("'a'"), 0, "expected a value"},
        {TEXT("+1"), 0, "expected a value"},
        {TEXT(".5"), 0, "expected a value"},
        {TEXT("\xEF\xBB\xBF{}"), 0, "expected a value"},
        {TEXT("-"), 1, "expected a digit"},
        {TEXT("1."), 2, "expected a digit"},
        {TEXT("1.e1"), 2, "expected a digit"},
        {TEXT("1e"), 2, "expected a digit"},
        {TEXT("1e+"), 3, "expected a digit"},
        {TEXT("01"), 1, "text behind the value"},
        {TEXT("1 2"), 2, "text behind the value"},
        {TEXT("{}}"), 2, "text behind the value"},
        {TEXT("nullx"), 4, "text behind the value"},
        {TEXT("\"abc"), 4, "unfinished string"},
        {TEXT("\"abcdefghijkl"), 13, "unfinished string"},
        {TEXT("\"a\\"), 3, "unfinished string"},
        {TEXT("\"a\\x\""), 2, "no such escape"},
        {TEXT("\"\\\0\""), 1, "no such escape"},
        {TEXT("\"\\u12\""), 1, "\\u needs four hex digits"},
        {TEXT("\"\\u12g4\""), 1, "\\u needs four hex digits"},
        {TEXT("\"\\ud800\""), 1, "half of a surrogate pair"},
        {TEXT("\"\\udc00\""), 1, "half of a surrogate pair"},
        {TEXT("\"\\ud800\\u0041\""), 1, "half of a surrogate pair"},
        {TEXT("\"12345678a\nb\""), 10, "control character in a string"},
        {TEXT("\"\0\""), 1, "control character in a string"},
        {TEXT("\"abc\xFF\""), 4, "not UTF-8"},
        {TEXT("\"\xC0\x80\""), 1, "not UTF-8"},
        {TEXT("\"\xE2\x82\""), 1, "not UTF-8"},
        {TEXT("\"\xED\xA0\x80\""), 1, "not UTF-8"},
        {TEXT("\"\xF5\x80\x80\x80\""), 1, "not UTF-8"},
        {TEXT("["), 1, "expected a value"},
        {TEXT("[1,]"), 3, "expected a value"},
        {TEXT("[,1]"), 1, "expected a value"},
        {TEXT("[1 2]"), 3, "expected ',' or ']'"},
        {TEXT("[1}"), 2, "expected ',' or ']'"},
        {TEXT("[1"), 2, "expected ',' or ']'"},
        {TEXT("{"), 1, "expected a name in quotes"},
        {TEXT("{a:1}"), 1, "expected a name in quotes"},
        {TEXT("{1:1}"), 1, "expected a name in quotes"},
        {TEXT("{\"a\":1,}"), 7, "expected a name in quotes"},
        {TEXT("{\"a\"}"), 4, "expected ':'"},
        {TEXT("{\"a\" 1}"), 5, "expected ':'"},
        {TEXT("{\"a\":}"), 5, "expected a value"},
        {TEXT("{\"a\":1]"), 6, "expected ',' or '}'"},
        {TEXT("{\"a\":1 \"b\":2}"), 7, "expected ',' or '}'"},
    };
    for (size_t i = 0; i < countof(bad); i++) {
        struct json_error error;
        if (scan(bad[i].text, &error))
            fail_msg("accepted: %.*s", SLICE_ARGS(bad[i].text));
        if (error.position != bad[i].position || strcmp(error.reason, bad[i].reason) != 0)
            fail_msg("%.*s: \"%s\" at %zu, expected \"%s\" at %zu", SLICE_ARGS(bad[i].text), error.reason,
                     error.position, bad[i].reason, bad[i].position);
    }
}

static void depth_and_room_are_bounded(void **state)
{
    (void)state;
    char text[2 * (JSON_DEPTH_MAX + 1)];
    struct json json;
    struct json_error error;
    for (unsigned depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        assert_int_equal(json_scan((struct slice){text, 2 * depth}, tokens, countof(tokens), &json, &error),
                         depth == JSON_DEPTH_MAX);
    }
    assert_string_equal(error.reason, "nested too deeply");
    assert_int_equal(error.position, JSON_DEPTH_MAX);
    assert_false(json_scan(TEXT("[1,2]"), tokens, 2, &json, &error));
    assert_string_equal(error.reason, "too many values");
    assert_int_equal(error.position, 3);
    static const struct slice dense[] = {TEXT("1"), TEXT("[]"), TEXT("[1]"), TEXT("[[1],1,1,[]]"), TEXT("{\"\":1}")};
    for (size_t i = 0; i < countof(dense); i++)
        assert_true(json_scan(dense[i], tokens, (uint32_t)JSON_TOKENS_MAX(dense[i].n), &json, &error));
}

static void the_tape_can_be_walked(void **state)
{
    (void)state;
    struct json json;
    struct json_error error;
    assert_true(json_scan(TEXT("{\"a\":[1,[2,3],\"x\"],\"b\":{},\"c\":true}"), tokens, countof(tokens), &json, &error));
    assert_int_equal(json.count, 12);
    assert_int_equal(json.tokens[0].type, JSON_OBJECT);
    assert_int_equal(json.tokens[0].next, 12);
    uint32_t a = json_member(&json, 0, TEXT("a"));
    const char *elements[] = {"1", "[2,3]", "x"};
    unsigned n = 0;
    for (uint32_t i = a + 1; i < json.tokens[a].next; i = json.tokens[i].next)
        assert_true(slice_equal(json_raw(&json, i), slice_of(elements[n++])));
    assert_int_equal(n, 3);
    assert_int_equal(json.tokens[json_member(&json, 0, TEXT("b"))].type, JSON_OBJECT);
    assert_int_equal(json.tokens[json_member(&json, 0, TEXT("c"))].type, JSON_TRUE);
    assert_int_equal(json_member(&json, 0, TEXT("d")), JSON_NONE);
    assert_int_equal(json_member(&json, a, TEXT("a")), JSON_NONE); /* an array has no members */
}

static void names_are_compared_unescaped_and_the_last_counts(void **state)
{
    (void)state;
    struct json json;
    struct json_error error;
    assert_true(json_scan(TEXT("{\"n\\u0061me\":1,\"nam\\u0065\":2,\"na\":3,\"name2\":4}"), tokens, countof(tokens),
                          &json, &error));
    assert_true(slice_equal(json_raw(&json, json_member(&json, 0, TEXT("name"))), TEXT("2")));
    assert_true(slice_equal(json_raw(&json, json_member(&json, 0, TEXT("na"))), TEXT("3")));
    assert_int_equal(json_member(&json, 0, TEXT("n")), JSON_NONE);
    assert_int_equal(json_member(&json, 0, TEXT("name3")), JSON_NONE);
}

static void strings_are_unescaped(void **state)
{
    (void)state;
    struct json json;
    struct json_error error;
    char room[64];
    struct slice text = TEXT("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\u00E9\\u20ac\\ud83d\\ude00z\"");
    struct slice expected = TEXT("a\"\\/\b\f\n\r\t\0\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z");
    assert_true(json_scan(text, tokens, countof(tokens), &json, &error));
    assert_true(json.tokens[0].escaped);
    size_t n = json_text(&json, 0, room);
    assert_true(slice_equal((struct slice){room, n}, expected));
    assert_true(json_string_equal(&json, 0, expected));
    assert_false(json_string_equal(&json, 0, (struct slice){expected.p, expected.n - 1}));
    assert_true(json_scan(TEXT("\"plain\""), tokens, countof(tokens), &json, &error));
    assert_false(json.tokens[0].escaped);
    assert_true(json_string_equal(&json, 0, TEXT("plain")));
}

/* Random values are written, damaged in one byte or not, and scanned: what was written undamaged is accepted, and no
 * damage makes the scanner read elsewhere or report a place outside the text. */
static size_t write_random(char *to, unsigned depth)
{
    static const char *const leaves[] = {
        "null", "true", "-1.5e3", "0", "\"\"", "\"\\u00e9\\n\"", "\"long enough, yes\"", "\"\xC3\xA9\""};
    size_t n = 0;
    unsigned kind = random_below(depth ? 4 : 2);
    if (kind < 2) {
        const char *leaf = leaves[random_below(countof(leaves))];
        memcpy(to, leaf, strlen(leaf));
        return strlen(leaf);
    }
    to[n++] = kind == 2 ? '[' : '{';
    for (unsigned i = random_below(4); i > 0; i--) {
        if (kind == 3) {
            memcpy(to + n, "\"k\": ", 5);
            n += 5;
        }
        n += write_random(to + n, depth - 1);
        if (i > 1)
            to[n++] = ',';
    }
    to[n++] = kind == 2 ? ']' : '}';
    return n;
}

static void random_values_and_damage(void **state)
{
    (void)state;
    chance_begin(state);
    static char text[1 << 16];
    for (int round = 0; round < 20000; round++) {
        size_t n = write_random(text, 5);
        struct json_error error;
        struct json_token *room = malloc(JSON_TOKENS_MAX(n) * sizeof(*room));
        struct json json;
        assert_true(json_scan((struct slice){text, n}, room, (uint32_t)JSON_TOKENS_MAX(n), &json, &error));
        assert_int_equal(json.tokens[0].next, json.count);
        text[random_below((uint32_t)n)] = (char)random_below(256);
        n -= random_below((uint32_t)n);
        if (n && !scan((struct slice){text, n}, &error))
            assert_true(error.reason && error.position <= n);
        free(room);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_accepted),
        cmocka_unit_test(the_offending_byte_is_named),
        cmocka_unit_test(depth_and_room_are_bounded),
        cmocka_unit_test(the_tape_can_be_walked),
        cmocka_unit_test(names_are_compared_unescaped_and_the_last_counts),
        cmocka_unit_test(strings_are_unescaped),
        cmocka_unit_test(random_values_and_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
