/* test_recipient.c - entries of a recipients' list: which are recipients, what they hold, why the others are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "proto/recipient.h"

static struct json_token tokens[RECIPIENT_TOKENS];
static char room[RECIPIENT_ROOM];

static void entries_are_read(void **state)
{
    (void)state;
    static const struct {
        struct slice entry, to, id;
        bool in_room;
        uint32_t members;
    } cases[] = {
        {SLICE("bob@y.example"), SLICE("bob@y.example"), SLICE(""), false, 1},
        {SLICE(" \t bob@y.example\r\n"), SLICE("bob@y.example"), SLICE(""), false, 1},
        {SLICE("\"a\\\\b\"@y.example"), SLICE("\"a\\\\b\"@y.example"), SLICE(""), false, 1},
        {SLICE("j\xC3\xBCrgen@y.example"), SLICE("j\xC3\xBCrgen@y.example"), SLICE(""), false, 1},
        {SLICE("[rubbish"), SLICE("[rubbish"), SLICE(""), false, 1}, /* for address.h to refuse */
        {SLICE("{\"to\":\"ann@x.example\"}"), SLICE("ann@x.example"), SLICE(""), false, 1},
        {SLICE("  {\"to\":\" ann@x.example \",\"id\":\"42\",\"name\":\"Ann\"}\n"), SLICE("ann@x.example"), SLICE("42"),
         false, 3},
        {SLICE("{\"id\":42,\"to\":\"ann@x.example\"}"), SLICE("ann@x.example"), SLICE("42"), false, 2},
        {SLICE("{\"id\":null,\"to\":\"ann@x.example\"}"), SLICE("ann@x.example"), SLICE(""), false, 2},
        {SLICE("{\"id\":\"\",\"to\":\"ann@x.example\"}"), SLICE("ann@x.example"), SLICE(""), false, 2},
        {SLICE("{\"to\":\"ann\\u0040x.example\",\"id\":\"a\\/b\"}"), SLICE("ann@x.example"), SLICE("a/b"), true, 2},
        {SLICE("{\"to\":\"first@x.example\",\"to\":\"last@x.example\"}"), SLICE("last@x.example"), SLICE(""), false, 2},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct recipient recipient;
        struct recipient_fault fault;
        if (!recipient_parse(cases[i].entry, tokens, RECIPIENT_TOKENS, room, &recipient, &fault))
            fail_msg("%.*s: %s at %zu", SLICE_ARGS(cases[i].entry), fault.reason, fault.position);
        assert_true(slice_equal(recipient.to, cases[i].to));
        assert_true(slice_equal(recipient.id, cases[i].id));
        assert_int_equal(recipient.in_room, cases[i].in_room);
        assert_int_equal(recipient.json.tokens[0].type, JSON_OBJECT);
        assert_int_equal(recipient.json.count, 1 + 2 * cases[i].members);
        uint32_t to = json_member(&recipient.json, 0, SLICE("to"));
        if (cases[i].members == 1 && cases[i].entry.p[0] != '{')
            assert_true(json_string_equal(&recipient.json, to, cases[i].to));
    }
}

static void what_is_no_recipient_has_a_reason_and_a_place(void **state)
{
    (void)state;
    static const struct {
        struct slice entry;
        size_t position;
        const char *reason;
    } cases[] = {
        {SLICE(""), 0, "empty"},
        {SLICE(" \n "), 0, "empty"},
        {SLICE("  {\"to\":\"ann@x.example\""), 23, "expected ',' or '}'"},
        {SLICE("{\"to\":\"ann@x.example\"} x"), 23, "text behind the value"},
        {SLICE("{}"), 0, "no \"to\""},
        {SLICE(" {\"name\":\"Ann\"}"), 1, "no \"to\""},
        {SLICE("{\"a\":{\"to\":\"x@y\"}}"), 0, "no \"to\""},
        {SLICE("{\"to\":7}"), 6, "\"to\" is not a string"},
        {SLICE("{\"to\":null}"), 6, "\"to\" is not a string"},
        {SLICE("{\"to\":[\"ann@x.example\"]}"), 6, "\"to\" is not a string"},
        {SLICE("{\"to\":\"\"}"), 7, "\"to\" is empty"},
        {SLICE("{\"to\":\"  \"}"), 7, "\"to\" is empty"},
        {SLICE("{\"to\":\"a@b\",\"id\":true}"), 17, "\"id\" is neither a string nor a number"},
        {SLICE("{\"to\":\"a@b\",\"id\":{}}"), 17, "\"id\" is neither a string nor a number"},
        {SLICE("\x89PNG\r\n"), 0, "neither JSON nor an address: not UTF-8"},
        {SLICE(" ab\x01@y.example"), 3, "neither JSON nor an address: control character"},
        {SLICE("bob@y.example\r\nRCPT TO:<eve@z>"), 13, "neither JSON nor an address: control character"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct recipient recipient;
        struct recipient_fault fault;
        if (recipient_parse(cases[i].entry, tokens, RECIPIENT_TOKENS, room, &recipient, &fault))
            fail_msg("accepted: %.*s", SLICE_ARGS(cases[i].entry));
        if (fault.position != cases[i].position || strcmp(fault.reason, cases[i].reason) != 0)
            fail_msg("case %zu: \"%s\" at %zu, expected \"%s\" at %zu", i, fault.reason, fault.position,
                     cases[i].reason, cases[i].position);
    }
}

static bool parse_long(const char *before, size_t n, const char *filler, const char *after, struct recipient *recipient,
                       struct recipient_fault *fault)
{
    static char text[LIMIT_RECIPIENT + 1024];
    size_t length = 0;
    memcpy(text, before, strlen(before));
    length += strlen(before);
    for (size_t i = 0; i < n; i++, length += strlen(filler))
        memcpy(text + length, filler, strlen(filler));
    memcpy(text + length, after, strlen(after));
    length += strlen(after);
    return recipient_parse((struct slice){text, length}, tokens, RECIPIENT_TOKENS, room, recipient, fault);
}

static void lengths_are_limited(void **state)
{
    (void)state;
    struct recipient recipient;
    struct recipient_fault fault;
    /* {"to":"a@b","x":" + filler + "} */
    size_t around = strlen("{\"to\":\"a@b\",\"x\":\"") + 2;
    assert_true(parse_long("{\"to\":\"a@b\",\"x\":\"", LIMIT_RECIPIENT - around, "x", "\"}", &recipient, &fault));
    assert_false(parse_long("{\"to\":\"a@b\",\"x\":\"", LIMIT_RECIPIENT - around + 1, "x", "\"}", &recipient, &fault));
    assert_string_equal(fault.reason, "longer than a recipient may be");

    assert_true(parse_long("{\"to\":\"a@b\",\"id\":\"", LIMIT_RECIPIENT_ID, "1", "\"}", &recipient, &fault));
    assert_int_equal(recipient.id.n, LIMIT_RECIPIENT_ID);
    assert_true(parse_long("{\"to\":\"a@b\",\"id\":\"", LIMIT_RECIPIENT_ID, "\\u0031", "\"}", &recipient, &fault));
    assert_int_equal(recipient.id.n, LIMIT_RECIPIENT_ID);
    assert_false(parse_long("{\"to\":\"a@b\",\"id\":\"", LIMIT_RECIPIENT_ID + 1, "1", "\"}", &recipient, &fault));
    assert_string_equal(fault.reason, "\"id\" is too long");
    assert_false(parse_long("{\"to\":\"a@b\",\"id\":\"", 3000, "\\u0031", "\"}", &recipient, &fault));
    assert_string_equal(fault.reason, "\"id\" is too long");
    assert_false(parse_long("{\"to\":\"a@b\",\"id\":", LIMIT_RECIPIENT_ID + 1, "1", "}", &recipient, &fault));
    assert_string_equal(fault.reason, "\"id\" is too long");

    assert_true(parse_long("", RECIPIENT_TO_MAX, "\"", "", &recipient, &fault)); /* each needs two bytes of room */
    assert_false(parse_long("", RECIPIENT_TO_MAX + 1, "a", "", &recipient, &fault));
    assert_string_equal(fault.reason, "the address is too long");
    assert_true(parse_long("{\"to\":\"", RECIPIENT_TO_MAX, "a", "\"}", &recipient, &fault));
    assert_false(parse_long("{\"to\":\"", RECIPIENT_TO_MAX + 1, "a", "\"}", &recipient, &fault));
    assert_string_equal(fault.reason, "the address is too long");
    /* the most tokens that an entry can hold */
    assert_true(parse_long("{\"to\":\"a@b\",\"x\":[1", (LIMIT_RECIPIENT - 21) / 2, ",1", "]}", &recipient, &fault));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_read),
        cmocka_unit_test(what_is_no_recipient_has_a_reason_and_a_place),
        cmocka_unit_test(lengths_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
