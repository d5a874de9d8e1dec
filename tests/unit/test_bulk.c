/* test_bulk.c - the headers of bulk mail are right, or the campaign is told what is wrong with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "proto/message/message.h"

static char out[16 * 1024];

/* Plans a campaign with one more field, and renders it for a recipient whose field `part` is "spring". */
static bool make(const char *field, const char *value, const char *headers, char reason[MESSAGE_ERROR_TEXT])
{
    struct slice items[] = {
        SLICE("from"),   SLICE("news@shop.example"), SLICE("text"),    SLICE("hello"), slice_of(field),
        slice_of(value), SLICE("headers"),           slice_of(headers)};
    unsigned count = headers ? 8 : 6;
    struct message_error error;
    size_t size = message_plan_room(items, count);
    void *room = malloc(size);
    struct message_plan *plan = message_plan_make(items, count, room, size, NULL, &error);
    if (!plan) {
        message_error_text(&error, reason, MESSAGE_ERROR_TEXT);
        free(room);
        return false;
    }
    struct json_token tokens[16];
    struct json json;
    struct json_error json_error;
    assert_true(json_scan(SLICE("{\"part\":\"spring\\r\\nBcc: x\"}"), tokens, countof(tokens), &json, &json_error));
    struct message_recipient to = {
        .json = &json, .to = SLICE("ann@x.example"), .campaign = SLICE("c"), .token = SLICE("t"), .wall = NSEC_PER_S};
    struct message_rendered rendered;
    assert_int_equal(message_render(plan, &to, out, sizeof(out) - 1, &rendered), MESSAGE_OK);
    out[rendered.n] = 0;
    free(room);
    return true;
}

static void good_values_become_headers(void **state)
{
    (void)state;
    static const struct {
        const char *field, *value, *line;
    } rows[] = {
        {"list_id", "news.shop.example", "\r\nList-Id: <news.shop.example>\r\n"},
        {"list_id", "Shop news <news.shop.example>", "\r\nList-Id: Shop news <news.shop.example>\r\n"},
        {"list_id", "Caf\xC3\xA9 <a-b.c_d.example>", "\r\nList-Id: =?utf-8?B?Q2Fmw6k=?= <a-b.c_d.example>\r\n"},
        {"feedback_id", "shopexample", "\r\nFeedback-ID: shopexample\r\n"},
        {"feedback_id", "a:b:c:shop.example-1", "\r\nFeedback-ID: a:b:c:shop.example-1\r\n"},
        {"feedback_id", "{{part}}:shop1", "\r\nFeedback-ID: spring  Bcc: x:shop1\r\n"},
        {"precedence", "bulk", "\r\nPrecedence: bulk\r\n"},
        {"precedence", "list", "\r\nPrecedence: list\r\n"},
        {"precedence", "junk", "\r\nPrecedence: junk\r\n"},
        {"auto_submitted", "auto-generated", "\r\nAuto-Submitted: auto-generated\r\n"},
        {"auto_submitted", "auto-replied", "\r\nAuto-Submitted: auto-replied\r\n"},
        {"auto_submitted", "no", "\r\nAuto-Submitted: no\r\n"},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        char reason[MESSAGE_ERROR_TEXT] = "";
        if (!make(rows[i].field, rows[i].value, NULL, reason))
            fail_msg("%s %s: %s", rows[i].field, rows[i].value, reason);
        if (!strstr(out, rows[i].line))
            fail_msg("%s %s gave\n%s", rows[i].field, rows[i].value, out);
    }
}

static void others_refuse_the_campaign_with_a_reason(void **state)
{
    (void)state;
    static const struct {
        const char *field, *value, *reason;
    } rows[] = {
        {"list_id", "news", "list_id: must be like"},
        {"list_id", "News <news..example>", "list_id: must be like"},
        {"list_id", "News <.news.example>", "list_id: must be like"},
        {"list_id", "News <news.example-> ", "list_id: must be like"},
        {"list_id", "News <news@shop.example>", "list_id: must be like"},
        {"list_id", "{{part}} <news.shop.example>", "list_id: names the list"},
        {"feedback_id", "a:b:c:d:shop1", "feedback_id: has more than four"},
        {"feedback_id", "a:b:shop",
         "feedback_id: must end in a sender's id of 5 to 15 letters and digits, ends in \"shop\""},
        {"feedback_id", "a:0123456789abcdef", "feedback_id: must end in"},
        {"feedback_id", "a:b:{{part}}", "feedback_id: must end in"},
        {"precedence", "first-class", "precedence: must be bulk, list or junk, is \"first-class\""},
        {"auto_submitted", "yes", "auto_submitted: must be auto-generated, auto-replied or no, is \"yes\""},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        char reason[MESSAGE_ERROR_TEXT] = "";
        assert_false(make(rows[i].field, rows[i].value, NULL, reason));
        if (strncmp(reason, rows[i].reason, strlen(rows[i].reason)) != 0)
            fail_msg("%s %s: %s", rows[i].field, rows[i].value, reason);
    }
}

static void a_header_given_twice_is_refused(void **state)
{
    (void)state;
    char reason[MESSAGE_ERROR_TEXT] = "";
    assert_false(make("precedence", "bulk", "{\"precedence\":\"list\"}", reason));
    assert_string_equal(reason, "headers: this header is there twice \"precedence\"");
    assert_true(make("x-unknown", "bulk", "{\"Precedence\":\"list\"}", reason));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_values_become_headers),
        cmocka_unit_test(others_refuse_the_campaign_with_a_reason),
        cmocka_unit_test(a_header_given_twice_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
