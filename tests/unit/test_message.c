/* test_message.c - a campaign's hash becomes a plan or a reason, and every recipient a message or a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "proto/message/message.h"
#include "proto/recipient.h"

static struct json_token tokens[RECIPIENT_TOKENS];
static char room[RECIPIENT_ROOM];
static struct recipient recipient;
static char out[1 << 20];
static struct message_rendered rendered;

/* The instant of the examples, 2026-11-21 18:00:00 UTC. */
#define WALL (1795284000 * NSEC_PER_S)

struct campaign {
    struct slice items[20];
    unsigned count;
    void *memory;
    struct message_plan *plan;
    struct message_error error;
};

static void add(struct campaign *campaign, const char *name, const char *value)
{
    campaign->items[campaign->count++] = slice_of(name);
    campaign->items[campaign->count++] = slice_of(value);
}

/* Plans in a room of exactly the size that a first plan has used, so that a sanitizer sees every byte beyond it. */
static bool plan(struct campaign *campaign)
{
    size_t size = message_plan_room(campaign->items, campaign->count), used = 0, again = 0;
    void *first = malloc(size);
    bool made = message_plan_make(campaign->items, campaign->count, first, size, &used, &campaign->error) != NULL;
    free(first);
    assert_true(used <= size);
    if (!made)
        return false;
    campaign->memory = malloc(used);
    campaign->plan =
        message_plan_make(campaign->items, campaign->count, campaign->memory, used, &again, &campaign->error);
    assert_non_null(campaign->plan);
    assert_int_equal(again, used);
    return true;
}

/* What is this message's own, with what it shares put in its place, is the message. */
static void check_own(const struct campaign *campaign, const struct message_recipient *to)
{
    struct slice shared = message_plan_shared(campaign->plan);
    size_t n = rendered.n - shared.n, body = rendered.body;
    char *own = malloc(n);
    struct message_rendered again;
    assert_int_equal(message_render_own(campaign->plan, to, own, n, &again), MESSAGE_OK);
    assert_int_equal(again.n, n);
    assert_int_equal(again.body, body);
    assert_memory_equal(own, out, body);
    assert_memory_equal(shared.p, out + body, shared.n);
    assert_memory_equal(own + body, out + body + shared.n, n - body);
    assert_int_equal(again.message_id.p - own, rendered.message_id.p - out);
    bool dotted = out[0] == '.' || memmem(out, rendered.n, "\n.", 2);
    assert_true(!dotted || message_plan_dotted(campaign->plan));
    assert_int_equal(message_render_own(campaign->plan, to, own, n - 1, &again), MESSAGE_TOO_SMALL);
    assert_int_equal(again.n, n);
    free(own);
}

static enum message_result render(const struct campaign *campaign, const char *entry)
{
    struct recipient_fault fault;
    if (!recipient_parse(slice_of(entry), tokens, RECIPIENT_TOKENS, room, &recipient, &fault))
        fail_msg("%s: %s", entry, fault.reason);
    struct message_recipient to = {.json = &recipient.json,
                                   .to = recipient.to,
                                   .campaign = SLICE("spring"),
                                   .seq = 7,
                                   .token = SLICE("k3x9"),
                                   .wall = WALL};
    enum message_result result = message_render(campaign->plan, &to, out, sizeof(out) - 1, &rendered);
    if (result == MESSAGE_OK) {
        /* In a block of exactly its size it is the same; in one of a byte less, it says what it needs. */
        struct message_rendered again;
        char *exact = malloc(rendered.n);
        assert_int_equal(message_render(campaign->plan, &to, exact, rendered.n, &again), MESSAGE_OK);
        assert_memory_equal(exact, out, rendered.n);
        assert_int_equal(message_render(campaign->plan, &to, exact, rendered.n - 1, &again), MESSAGE_TOO_SMALL);
        assert_int_equal(again.n, rendered.n);
        check_own(campaign, &to);
        free(exact);
        out[rendered.n] = 0;
    }
    return result;
}

static void drop(struct campaign *campaign)
{
    free(campaign->memory);
    *campaign = (struct campaign){.count = 0};
}

static void a_message_is_written_to_the_letter(void **state)
{
    (void)state;
    struct campaign campaign = {.count = 0};
    add(&campaign, "pool", "marketing");
    add(&campaign, "from", "Shop <news@shop.example>");
    add(&campaign, "subject", "Hi {{name}}");
    add(&campaign, "text", "Hello {{name}},\nall is {{{what}}}.\n");
    add(&campaign, "html", "<p>Hello {{name}},</p>");
    add(&campaign, "reply_to", "help@shop.example");
    add(&campaign, "list_unsubscribe", "https://shop.example/u?e={{to}}, mailto:stop@shop.example");
    add(&campaign, "headers", "{\"Feedback-ID\":\"a:b:c:shop\",\"X-Tag\":\"{{name}}\"}");
    assert_true(plan(&campaign));
    assert_true(slice_equal(message_plan_sender(campaign.plan), SLICE("news@shop.example")));
    assert_int_equal(
        render(&campaign, "{\"to\":\"ann@x.example\",\"name\":\"Ann & J\xC3\xBCrgen\",\"what\":\"<well>\"}"),
        MESSAGE_OK);
    assert_string_equal(out, "From: Shop <news@shop.example>\r\n"
                             "To: ann@x.example\r\n"
                             "Subject: Hi Ann & =?utf-8?Q?J=C3=BCrgen?=\r\n"
                             "Date: Sat, 21 Nov 2026 18:00:00 +0000\r\n"
                             "Message-ID: <spring.7.k3x9@shop.example>\r\n"
                             "Reply-To: help@shop.example\r\n"
                             "List-Unsubscribe: <https://shop.example/u?e=ann%40x.example>,\r\n"
                             " <mailto:stop@shop.example>\r\n"
                             "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
                             "Feedback-ID: a:b:c:shop\r\n"
                             "X-Tag: Ann & =?utf-8?Q?J=C3=BCrgen?=\r\n"
                             "X-Campaign: spring/7\r\n"
                             "MIME-Version: 1.0\r\n"
                             "Content-Type: multipart/alternative; boundary=\"=_sluice_alternative\"\r\n"
                             "\r\n"
                             "--=_sluice_alternative\r\n"
                             "Content-Type: text/plain; charset=utf-8\r\n"
                             "Content-Transfer-Encoding: quoted-printable\r\n"
                             "\r\n"
                             "Hello Ann & J=C3=BCrgen,\r\n"
                             "all is <well>.\r\n"
                             "\r\n--=_sluice_alternative\r\n"
                             "Content-Type: text/html; charset=utf-8\r\n"
                             "Content-Transfer-Encoding: quoted-printable\r\n"
                             "\r\n"
                             "<p>Hello Ann &amp; J=C3=BCrgen,</p>\r\n"
                             "\r\n--=_sluice_alternative--\r\n");
    assert_true(slice_equal(rendered.message_id, SLICE("<spring.7.k3x9@shop.example>")));
    assert_int_equal(strncmp(out + rendered.body - 4, "\r\n\r\n--", 6), 0);
    assert_false(rendered.utf8);
    /* A bare address has one field. */
    assert_int_equal(render(&campaign, "bob@y.example"), MESSAGE_OK);
    assert_non_null(strstr(out, "\r\nSubject: Hi\r\n"));
    assert_non_null(strstr(out, "?e=bob%40y.example>"));
    drop(&campaign);
}

static void one_body_alone_needs_no_multipart(void **state)
{
    (void)state;
    struct campaign campaign = {.count = 0};
    add(&campaign, "from", "news@shop.example");
    add(&campaign, "html", "");
    assert_true(plan(&campaign));
    assert_int_equal(render(&campaign, "bob@y.example"), MESSAGE_OK);
    assert_string_equal(out, "From: news@shop.example\r\n"
                             "To: bob@y.example\r\n"
                             "Date: Sat, 21 Nov 2026 18:00:00 +0000\r\n"
                             "Message-ID: <spring.7.k3x9@shop.example>\r\n"
                             "X-Campaign: spring/7\r\n"
                             "MIME-Version: 1.0\r\n"
                             "Content-Type: text/html; charset=utf-8\r\n"
                             "Content-Transfer-Encoding: quoted-printable\r\n"
                             "\r\n");
    drop(&campaign);
    add(&campaign, "from", "news@shop.example");
    add(&campaign, "text", "\xE3\x81\x93\xE3\x82\x93\xE3\x81\xAB\xE3\x81\xA1\xE3\x81\xAF {{name}}");
    assert_true(plan(&campaign));
    assert_int_equal(render(&campaign, "{\"to\":\"bob@y.example\",\"name\":\"Bob\"}"), MESSAGE_OK);
    assert_non_null(strstr(out, "Content-Type: text/plain; charset=utf-8\r\n"
                                "Content-Transfer-Encoding: base64\r\n\r\n"
                                "44GT44KT44Gr44Gh44GvIEJvYg0K\r\n"));
    drop(&campaign);
}

static void what_is_incomplete_has_a_reason(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *expected;
    } cases[] = {
        {"from", "", "from: missing"},
        {"from", "news", "from: "},
        {"from", "Shop <news@shop.example", "from: '<' is not closed"},
        {"from", "\"Shop <news@shop.example>", "from: a quote is not closed"},
        {"from", "a@b.example, c@d.example", "from: more than one address"},
        {"from", "Shop <news@shop.example> x", "from: text behind the address"},
        {"from", "Shop <>", "from: an address is missing"},
        {"from", "Shop <news@sh\xC3\xB6p.example>", "from: the domain must be written as A-labels (xn--...)"},
        {"from", "{{name <news@shop.example>", "from: the tag is not closed"},
        {"from", "=?koi8-r?Q?=D0?= <news@shop.example>",
         "from: an encoded word is broken, or in a charset that is not known here \"From\""},
        {"subject", "{{#a}}", "subject: the section is not closed \"a\""},
        {"subject", "\xFF", "subject: not UTF-8"},
        {"html", "<p>{{#items}}</p>", "html: the section is not closed \"items\", at byte 3"},
        {"text", "ab{{>footer}}", "text: partials are not supported \"footer\", at byte 2"},
        {"text", "caf\xE9", "text: not UTF-8, at byte 3"},
        {"reply_to", "a@b.example,, c@d.example", "reply_to: an address is missing"},
        {"list_unsubscribe", "shop.example/u", "list_unsubscribe: neither an https nor a mailto URL"},
        {"list_unsubscribe", "https://a.example/, https://b.example/", "list_unsubscribe: more than one https URL"},
        {"list_unsubscribe", "https://a.example/ x",
         "list_unsubscribe: an URL holds a character that must be percent-encoded"},
        {"list_unsubscribe", "https://a.example/\r\nBcc: eve@z.example",
         "list_unsubscribe: an URL holds a character that must be percent-encoded"},
        {"list_unsubscribe", "<https://a.example/", "list_unsubscribe: an URL is missing or its '<' is not closed"},
        {"headers", "{\"X-A\":", "headers: expected a value, at byte 7"},
        {"headers", "[]", "headers: is not a JSON object"},
        {"headers", "{\"X-A\":1}", "headers: the value is not a string \"X-A\""},
        {"headers", "{\"X A\":\"\"}", "headers: no header can have this name \"X A\""},
        {"headers", "{\"X-A\\r\\nBcc\":\"\"}", "headers: no header can have this name \"X-A  Bcc\""},
        {"headers", "{\"\":\"\"}", "headers: no header can have this name"},
        {"headers", "{\"X-A\":\"1\",\"x-a\":\"2\"}", "headers: this header is there twice \"x-a\""},
        {"headers", "{\"FROM\":\"a@b.example\"}",
         "headers: this header would appear twice or is not the sender's to write \"FROM\""},
        {"headers", "{\"Content-Type\":\"text/plain\"}",
         "headers: this header would appear twice or is not the sender's to write \"Content-Type\""},
        {"headers", "{\"Bcc\":\"eve@z.example\"}",
         "headers: this header would appear twice or is not the sender's to write \"Bcc\""},
        {"headers", "{\"Feedback-ID\":\"caf\\u00e9\"}", "headers: this header can hold ASCII alone \"Feedback-ID\""},
        {"headers", "{\"Sender\":\"nobody\"}", "headers: "},
        {"strict", "yes", "strict: is 0 or 1"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct campaign campaign = {.count = 0};
        char text[MESSAGE_ERROR_TEXT];
        add(&campaign, "from", "Shop <news@shop.example>");
        add(&campaign, "text", "Hello");
        add(&campaign, cases[i].name, cases[i].value);
        if (plan(&campaign))
            fail_msg("planned: %s %s", cases[i].name, cases[i].value);
        message_error_text(&campaign.error, text, sizeof(text));
        size_t n = strlen(cases[i].expected);
        if (cases[i].expected[n - 1] == ' ' ? strncmp(text, cases[i].expected, n) != 0
                                            : strcmp(text, cases[i].expected) != 0)
            fail_msg("%s %s: \"%s\", expected \"%s\"", cases[i].name, cases[i].value, text, cases[i].expected);
    }
    struct campaign campaign = {.count = 0};
    add(&campaign, "from", "Shop <news@shop.example>");
    assert_false(plan(&campaign));
    assert_true(slice_equal(campaign.error.field, SLICE("html")));
}

static void error_texts_fit_their_room(void **state)
{
    (void)state;
    struct message_error error = {SLICE("html"), "no such field", "na\nme", true, 12};
    char text[MESSAGE_ERROR_TEXT];
    assert_int_equal(message_error_text(&error, text, sizeof(text)), 39);
    assert_int_equal(message_error_text(&error, text, 5), 4);
    assert_string_equal(text, "html");
    assert_int_equal(message_error_text(&error, text, sizeof(text)), 39);
    assert_string_equal(text, "html: no such field \"na me\", at byte 12");
}

static void a_room_that_is_too_small_is_told(void **state)
{
    (void)state;
    struct slice items[] = {SLICE("from"),
                            SLICE("\"S, hop\" <news@shop.example>"),
                            SLICE("subject"),
                            SLICE("=?utf-8?Q?a?= {{b}}"),
                            SLICE("html"),
                            SLICE("<p>{{x}} and a text that is longer than what is encoded with its field</p>"),
                            SLICE("headers"),
                            SLICE("{\"X-\\u0041\":\"{{a}}\",\"X-B\":\"\\u0041\"}"),
                            SLICE("list_unsubscribe"),
                            SLICE("{{url}}")};
    size_t size = message_plan_room(items, countof(items)), used;
    struct message_error error;
    void *memory = malloc(size);
    assert_non_null(message_plan_make(items, countof(items), memory, size, &used, &error));
    free(memory);
    for (size_t n = 0; n < used; n++) {
        char *exact = malloc(n + 1);
        assert_null(message_plan_make(items, countof(items), exact, n, NULL, &error));
        assert_string_equal(error.reason, "the room for its plan is too small");
        free(exact);
    }
}

static void strict_campaigns_need_every_field(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *expected;
    } cases[] = {
        {"subject", "Hi {{name}}", "subject: no such field \"name\""},
        {"text", "Hi {{a.b}}", "text: no such field \"a.b\", at byte 5"},
        {"html", "{{{list}}}", "html: the field has no text \"list\", at byte 3"},
        {"list_unsubscribe", "https://a.example/{{k}}", "list_unsubscribe: no such field \"k\""},
        {"headers", "{\"X-A\":\"{{k}}\"}", "headers: no such field \"k\""},
        {"text", "{{#name}}{{name}}{{/name}}{{^name}}you{{/name}}", NULL}, /* asked about, not needed */
        {"text", "{{nothing}}", NULL},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        for (unsigned strict = 0; strict < 2; strict++) {
            struct campaign campaign = {.count = 0};
            char text[MESSAGE_ERROR_TEXT];
            add(&campaign, "from", "Shop <news@shop.example>");
            add(&campaign, "text", "Hello");
            add(&campaign, cases[i].name, cases[i].value);
            add(&campaign, "strict", strict ? "1" : "0");
            assert_true(plan(&campaign));
            enum message_result result = render(&campaign, "{\"to\":\"a@b.example\",\"list\":[1],\"nothing\":null}");
            bool refuse = strict && cases[i].expected;
            assert_int_equal(result, refuse ? MESSAGE_INVALID : MESSAGE_OK);
            if (refuse) {
                message_error_text(&rendered.error, text, sizeof(text));
                assert_string_equal(text, cases[i].expected);
            }
            drop(&campaign);
        }
    }
}

static void recipients_that_cannot_be_written_to_are_invalid(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *entry;
    } cases[] = {
        {"from", "Rep <{{rep}}>", "{\"to\":\"a@b.example\",\"rep\":\"x@y.example, eve@z.example\"}"},
        {"from", "Rep <{{rep}}>", "{\"to\":\"a@b.example\",\"rep\":\"\"}"},
        {"from", "Rep <{{rep}}@shop.example>", "{\"to\":\"a@b.example\",\"rep\":\"x>\\r\\nBcc: <eve\"}"},
        {"reply_to", "{{rep}}", "{\"to\":\"a@b.example\",\"rep\":\"Eve <eve@z.example>\"}"},
        {"list_unsubscribe", "{{url}}", "{\"to\":\"a@b.example\",\"url\":\"javascript:alert(1)\"}"},
        {"list_unsubscribe", "{{url}}", "{\"to\":\"a@b.example\"}"},
        {"headers", "{\"Precedence\":\"{{x}}\"}", "{\"to\":\"a@b.example\",\"x\":\"\xC3\xA9\"}"},
        {"subject", "s", "a@b@c"},
        {"subject", "s", "<a@b.example>"},
        {"text", "{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}",
         "{\"to\":\"a@b.example\",\"l\":[1,2,3,4,5,6,7,8,9,10]}"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct campaign campaign = {.count = 0};
        if (strcmp(cases[i].name, "from") != 0)
            add(&campaign, "from", "Shop <news@shop.example>");
        if (strcmp(cases[i].name, "text") != 0)
            add(&campaign, "text", "Hello");
        add(&campaign, cases[i].name, cases[i].value);
        assert_true(plan(&campaign));
        if (render(&campaign, cases[i].entry) != MESSAGE_INVALID)
            fail_msg("rendered: %s %s %s", cases[i].name, cases[i].value, cases[i].entry);
        assert_non_null(rendered.error.reason);
        drop(&campaign);
    }
}

/* What strangers put into their names must stay in its place. */
static void merge_fields_inject_nothing(void **state)
{
    (void)state;
    struct campaign campaign = {.count = 0};
    add(&campaign, "from", "{{x}} <news@shop.example>");
    add(&campaign, "subject", "{{x}}");
    add(&campaign, "reply_to", "\"{{x}}\" <help@shop.example>, {{{x}}} <b@shop.example>");
    add(&campaign, "list_unsubscribe", "https://shop.example/{{x}}/{{{x}}}, mailto:u@shop.example?subject={{x}}");
    add(&campaign, "headers", "{\"X-Tag\":\"{{{x}}}\"}");
    add(&campaign, "text", "{{x}}");
    add(&campaign, "html", "{{{x}}}");
    assert_true(plan(&campaign));
    static const char *const values[] = {
        "\\r\\nBcc: eve@z.example\\r\\n\\r\\nbody",
        "\\nBcc: eve@z.example",
        "\\rBcc: eve@z.example",
        "\\u0000\\u0001",
        "Eve <eve@z.example>, ",
        "\\\", eve@z.example, \\\"",
        ">, <https://evil.example/",
        "\\u2028\\u0085Bcc: x",
        "\\r\\n.\\r\\nMAIL FROM:<eve@z.example>\\r\\n",
        "\\r\\n--=_sluice_alternative--\\r\\n",
        "--=_sluice_alternative",
        "=?utf-8?Q?=0D=0ABcc:_eve?=",
        "\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80 \xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D",
    };
    for (size_t i = 0; i < countof(values); i++) {
        char entry[512];
        snprintf(entry, sizeof(entry), "{\"to\":\"a@b.example\",\"x\":\"%s\"}", values[i]);
        assert_int_equal(render(&campaign, entry), MESSAGE_OK);
        assert_int_equal(strlen(out), rendered.n); /* no NUL */
        unsigned headers = 0, boundaries = 0;
        size_t column = 0;
        for (size_t at = 0; at < rendered.n; at++) {
            unsigned char c = (unsigned char)out[at];
            assert_true(c == '\r' || c == '\n' || c == '\t' || (c >= ' ' && c < 0x7F));
            assert_int_equal(c == '\r', out[at + 1] == '\n');
            if (column == 0) {
                headers += at < rendered.body && c != ' ' && c != '\r';
                boundaries += at >= rendered.body && c == '-';
                assert_int_not_equal(c, '.');
            }
            column = c == '\n' ? 0 : column + 1;
            assert_true(column <= LIMIT_TEXT_LINE + 1);
        }
        assert_int_equal(headers, 12);
        assert_int_equal(boundaries, 3);
        const char *bcc = strstr(out, "\r\nBcc");
        assert_true(!bcc || bcc > out + rendered.body); /* text may say so */
    }
    drop(&campaign);
}

static void dates_are_civil(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char *expected;
    } cases[] = {
        {0, "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"},
        {951782399, "Date: Mon, 28 Feb 2000 23:59:59 +0000\r\n"},
        {951782400, "Date: Tue, 29 Feb 2000 00:00:00 +0000\r\n"},
        {951868800, "Date: Wed, 01 Mar 2000 00:00:00 +0000\r\n"},
        {1709164800, "Date: Thu, 29 Feb 2024 00:00:00 +0000\r\n"},
        {1795284000, "Date: Sat, 21 Nov 2026 18:00:00 +0000\r\n"},
        {4107542399, "Date: Sun, 28 Feb 2100 23:59:59 +0000\r\n"},
        {4107542400, "Date: Mon, 01 Mar 2100 00:00:00 +0000\r\n"},
    };
    struct campaign campaign = {.count = 0};
    add(&campaign, "from", "news@shop.example");
    add(&campaign, "text", "");
    assert_true(plan(&campaign));
    assert_int_equal(render(&campaign, "a@b.example"), MESSAGE_OK);
    for (size_t i = 0; i < countof(cases); i++) {
        struct message_recipient to = {.json = &recipient.json,
                                       .to = recipient.to,
                                       .campaign = SLICE(".a..b."),
                                       .seq = UINT64_MAX,
                                       .token = SLICE("0"),
                                       .wall = cases[i].seconds * NSEC_PER_S + 999};
        assert_int_equal(message_render(campaign.plan, &to, out, sizeof(out), &rendered), MESSAGE_OK);
        assert_non_null(strstr(out, cases[i].expected));
    }
    /* A campaign's name may have dots where a Message-ID may not. */
    assert_true(slice_equal(rendered.message_id, SLICE("<_a_.b_.18446744073709551615.0@shop.example>")));
    assert_non_null(strstr(out, "\r\nX-Campaign: .a..b./18446744073709551615\r\n"));
    drop(&campaign);
}

static void an_address_may_need_smtputf8(void **state)
{
    (void)state;
    struct campaign campaign = {.count = 0};
    add(&campaign, "from", "news@shop.example");
    add(&campaign, "text", "");
    assert_true(plan(&campaign));
    assert_int_equal(render(&campaign, "j\xC3\xBCrgen@x.example"), MESSAGE_OK);
    assert_true(rendered.utf8);
    assert_non_null(strstr(out, "\r\nTo: j\xC3\xBCrgen@x.example\r\n"));
    assert_int_equal(render(&campaign, "a@x.example"), MESSAGE_OK);
    assert_false(rendered.utf8);
    drop(&campaign);
}

static void what_precedes_the_first_field_is_shared(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *shared;
        bool dotted;
    } cases[] = {
        {"text", "Hello, all the same.", "Hello, all the same.\r\n", false},
        {"text", "Dear {{name}}", "Dear", false},
        {"text", "One{{! two }} and three \n{{#name}}x{{/name}}", "One and three=20\r\n", false},
        {"text", "{{name}} is first", "", false},
        {"mime", "Content-Type: message/rfc822\n\nSubject: a\n\n.dot\n", "Subject: a\r\n\r\n.dot\r\n", true},
        {"headers", "{\".X\":\"{{name}}\"}", "a text\r\n", true},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct campaign campaign = {.count = 0};
        add(&campaign, "from", "a@shop.example");
        if (strcmp(cases[i].name, "headers") == 0)
            add(&campaign, "text", "a text");
        add(&campaign, cases[i].name, cases[i].value);
        if (!plan(&campaign))
            fail_msg("%s: %s", cases[i].value, campaign.error.reason);
        struct slice shared = message_plan_shared(campaign.plan);
        if (!slice_equal(shared, slice_of(cases[i].shared)))
            fail_msg("%s: %.*s", cases[i].value, SLICE_ARGS(shared));
        assert_int_equal(message_plan_dotted(campaign.plan), cases[i].dotted);
        assert_int_equal(render(&campaign, "{\"to\":\"ann@x.example\",\"name\":\"Ann\"}"), MESSAGE_OK);
        drop(&campaign);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_written_to_the_letter),
        cmocka_unit_test(one_body_alone_needs_no_multipart),
        cmocka_unit_test(what_is_incomplete_has_a_reason),
        cmocka_unit_test(error_texts_fit_their_room),
        cmocka_unit_test(a_room_that_is_too_small_is_told),
        cmocka_unit_test(strict_campaigns_need_every_field),
        cmocka_unit_test(recipients_that_cannot_be_written_to_are_invalid),
        cmocka_unit_test(merge_fields_inject_nothing),
        cmocka_unit_test(dates_are_civil),
        cmocka_unit_test(an_address_may_need_smtputf8),
        cmocka_unit_test(what_precedes_the_first_field_is_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
