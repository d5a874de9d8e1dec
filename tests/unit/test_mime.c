/* test_mime.c - bodies as MIME: what is built from text and html, and what becomes of messages that others built. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "proto/message/content.h"
#include "proto/message/message.h"
#include "proto/recipient.h"

static struct json_token tokens[4096];
static char room[RECIPIENT_ROOM];
static char out[1 << 20];
static struct message_error error;

/* Plans a whole message and renders it for one recipient; NULL if either is refused. */
static const char *render(const char *mime, const char *more_name, const char *more_value, const char *entry)
{
    struct slice items[] = {SLICE("mime"), slice_of(mime), slice_of(more_name), slice_of(more_value)};
    size_t size = message_plan_room(items, countof(items)), used;
    void *memory = malloc(size);
    struct message_plan *plan = message_plan_make(items, countof(items), memory, size, &used, &error);
    struct message_rendered rendered;
    struct recipient recipient;
    struct recipient_fault fault;
    const char *result = NULL;
    assert_true(used <= size);
    if (plan) {
        void *exact = malloc(used);
        plan = message_plan_make(items, countof(items), exact, used, NULL, &error);
        assert_non_null(plan);
        assert_true(recipient_parse(slice_of(entry), tokens, countof(tokens), room, &recipient, &fault));
        struct message_recipient to = {.json = &recipient.json,
                                       .to = recipient.to,
                                       .campaign = SLICE("c"),
                                       .seq = 1,
                                       .token = SLICE("t"),
                                       .wall = 1795284000 * NSEC_PER_S};
        if (message_render(plan, &to, out, sizeof(out) - 1, &rendered) == MESSAGE_OK) {
            out[rendered.n] = 0;
            result = out;
            for (size_t i = 0, column = 0; i < rendered.n; i++) {
                assert_true((unsigned char)out[i] < 0x80 && out[i] != 0);
                assert_int_equal(out[i] == '\r', out[i + 1] == '\n');
                column = out[i] == '\n' ? 0 : column + 1;
                assert_true(column <= LIMIT_TEXT_LINE + 1);
            }
        }
        error = rendered.error;
        free(exact);
    }
    free(memory);
    return result;
}

static void expect(const char *mime, const char *entry, const char *expected)
{
    const char *got = render(mime, "pool", "x", entry);
    if (!got) {
        char text[MESSAGE_ERROR_TEXT];
        message_error_text(&error, text, sizeof(text));
        fail_msg("%s", text);
    }
    assert_string_equal(got, expected);
}

#define OWN "Date: Sat, 21 Nov 2026 18:00:00 +0000\r\nMessage-ID: <c.1.t@b.example>\r\n"

static void the_smallest_message(void **state)
{
    (void)state;
    expect("From: a@b.example\n\nHi {{name}}, caf\xC3\xA9\n.\n", "{\"to\":\"x@y.example\",\"name\":\"<Ann>\"}",
           "From: a@b.example\r\nTo: x@y.example\r\n" OWN "X-Campaign: c/1\r\nMIME-Version: 1.0\r\n"
           "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
           "Hi <Ann>, caf=C3=A9\r\n=2E\r\n");
}

static void headers_are_filled_in_and_put_in_order(void **state)
{
    (void)state;
    expect("Subject: Hi {{name}},\r\n =?utf-8?Q?caf=C3=A9_=7B=7Bx=7D=7D?=\r\n"
           "X-Tag: one {{x}}\r\n"
           "X-Tag: two\r\n"
           "Date: yesterday\r\n"
           "Message-Id: <old@b.example>\r\n"
           "TO: {{name}} <{{to}}>\r\n"
           "MIME-version: 1.0 (x)\r\n"
           "From: =?iso-8859-1?Q?Caf=E9?= <a@b.example>\r\n"
           "List-Unsubscribe: <https://b.example/{{x}}>,\r\n <mailto:u@b.example>\r\n"
           "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
           "Content-Type: text/html;\r\n\tcharset=\"us-ascii\"; format=flowed\r\n"
           "Content-Transfer-Encoding: quoted-printable\r\n"
           "\r\n"
           "<p>{{na=\r\nme}} =3D</p>",
           "{\"to\":\"x@y.example\",\"name\":\"Ann, B\",\"x\":\"1 & 2\"}",
           "From: =?utf-8?B?Q2Fmw6k=?= <a@b.example>\r\n"
           "To: \"Ann, B\" <x@y.example>\r\n"
           "Subject: Hi Ann, B, =?utf-8?B?Y2Fmw6k=?= 1 & 2\r\n" OWN "X-Tag: one 1 & 2\r\n"
           "X-Tag: two\r\n"
           "List-Unsubscribe: <https://b.example/1%20%26%202>, <mailto:u@b.example>\r\n"
           "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
           "X-Campaign: c/1\r\n"
           "MIME-Version: 1.0\r\n"
           "Content-Type: text/html; format=flowed; charset=utf-8\r\n"
           "Content-Transfer-Encoding: quoted-printable\r\n"
           "\r\n"
           "<p>Ann, B =3D</p>\r\n");
}

static void parts_keep_their_structure(void **state)
{
    (void)state;
    expect("From: a@b.example\n"
           "Content-Type: multipart/mixed; boundary=\"out er\"\n"
           "Content-Transfer-Encoding: 8bit\n"
           "\n"
           "This is a multi-part message.\n"
           "--out er\n"
           "Content-Type: multipart/alternative;\n boundary=inner\n"
           "\n"
           "--inner\n"
           "\n"
           "Hi {{x}}\n"
           "--inner  \n"
           "Content-Type: text/html; charset=UTF-8\n"
           "Content-Transfer-Encoding: base64\n"
           "\n"
           "PHA+e3t4fX08L3A+\n" /* <p>{{x}}</p> */
           "--inner--\n"
           "nobody's\n"
           "--out er\n"
           "Content-Type: application/octet-stream; name=a.bin\n"
           "Content-Transfer-Encoding: BASE64\n"
           "Content-Disposition: attachment; filename=a.bin\n"
           "Content-ID: <1@b.example>\n"
           "\n"
           "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==\n"
           "--out er\n"
           "Content-Type: image/gif\n"
           "\n"
           "GIF\xFF\n"
           "--out er\n"
           "Content-Type: text/csv\n"
           "Content-Disposition: attachment\n"
           "\n"
           "a,{{x}}\n"
           "--out er\n"
           "Content-Type: text/plain; charset=koi8-r\n"
           "\n"
           "\xD0\xD1\n"
           "--out er\n"
           "Content-Type: message/rfc822\n"
           "\n"
           "From: c@d.example\n"
           "\n"
           "{{x}}\n"
           "--out er--\n",
           "{\"to\":\"x@y.example\",\"x\":\"&\\r\\n--inner\\n--out er--\\n\"}",
           "From: a@b.example\r\nTo: x@y.example\r\n" OWN "X-Campaign: c/1\r\nMIME-Version: 1.0\r\n"
           "Content-Type: multipart/mixed; boundary=\"out er\"\r\n"
           "\r\n"
           "--out er\r\n"
           "Content-Type: multipart/alternative; boundary=inner\r\n"
           "\r\n"
           "--inner\r\n"
           "Content-Type: text/plain; charset=utf-8\r\n"
           "Content-Transfer-Encoding: quoted-printable\r\n"
           "\r\n"
           "Hi &\r\n=2D-inner\r\n=2D-out er--\r\n"
           "\r\n--inner\r\n"
           "Content-Type: text/html; charset=utf-8\r\n"
           "Content-Transfer-Encoding: quoted-printable\r\n"
           "\r\n"
           "<p>&amp;\r\n=2D-inner\r\n=2D-out er--\r\n</p>\r\n"
           "\r\n--inner--\r\n"
           "\r\n--out er\r\n"
           "Content-Type: application/octet-stream; name=a.bin\r\n"
           "Content-Disposition: attachment; filename=a.bin\r\n"
           "Content-ID: <1@b.example>\r\n"
           "Content-Transfer-Encoding: base64\r\n"
           "\r\n"
           "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4\r\nOTo7PD0+Pw==\r\n"
           "\r\n--out er\r\n"
           "Content-Type: image/gif\r\n"
           "Content-Transfer-Encoding: base64\r\n"
           "\r\n"
           "R0lG/w==\r\n"
           "\r\n--out er\r\n"
           "Content-Type: text/csv\r\n"
           "Content-Disposition: attachment\r\n"
           "Content-Transfer-Encoding: quoted-printable\r\n"
           "\r\n"
           "a,{{x}}\r\n"
           "\r\n--out er\r\n"
           "Content-Type: text/plain; charset=koi8-r\r\n"
           "Content-Transfer-Encoding: quoted-printable\r\n"
           "\r\n"
           "=D0=D1\r\n"
           "\r\n--out er\r\n"
           "Content-Type: message/rfc822\r\n"
           "Content-Transfer-Encoding: 7bit\r\n"
           "\r\n"
           "From: c@d.example\r\n\r\n{{x}}\r\n"
           "\r\n--out er--\r\n");
}

static void the_hash_adds_what_the_message_lacks(void **state)
{
    (void)state;
    assert_null(render("Subject: x\n\nHi", "pool", "x", "x@y.example"));
    assert_string_equal(error.reason, "missing");
    assert_non_null(render("Subject: x\n\nHi", "from", "a@b.example", "x@y.example"));
    assert_non_null(strstr(out, "From: a@b.example\r\n"));
    assert_non_null(render("From: a@b.example\n\nHi", "from", "other@b.example", "x@y.example"));
    assert_non_null(strstr(out, "From: a@b.example\r\n"));
    assert_null(strstr(out, "other@"));
    assert_non_null(render("From: a@b.example\n\nHi", "subject", "Hello", "x@y.example"));
    assert_non_null(strstr(out, "Subject: Hello\r\n"));
    assert_non_null(render("From: a@b.example\n\nHi", "list_unsubscribe", "https://b.example/", "x@y.example"));
    assert_non_null(strstr(out, "List-Unsubscribe: <https://b.example/>\r\nList-Unsubscribe-Post: "));
    assert_null(render("From: a@b.example\nX-A: 1\n\nHi", "headers", "{\"X-A\":\"2\"}", "x@y.example"));
    assert_string_equal(error.reason, "this header is there twice");
    assert_null(render("From: a@b.example\n\nHi", "text", "Hi", "x@y.example"));
    assert_null(render("From: a@b.example\n\n{{x}}", "strict", "1", "x@y.example"));
    assert_string_equal(error.reason, "no such field");
}

static void what_cannot_be_sent_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *mime, *reason;
    } cases[] = {
        {"", "missing"},
        {"no header\n\nHi", "this line is no header"},
        {" From: a@b.example\n\nHi", "this line is no header"},
        {"From: a@b.example\nFrom: c@d.example\n\nHi", "this header is there twice"},
        {"From: a@b.example, c@d.example\n\nHi", "more than one address"},
        {"From: a@b.example\nReply-To: x@b.example\nReply-to: y@b.example\n\nHi", "this header is there twice"},
        {"From: a@b.example\nBcc: eve@z.example\n\nHi",
         "this header would appear twice or is not the sender's to write"},
        {"From: a@b.example\nReceived: x\n\nHi", "this header would appear twice or is not the sender's to write"},
        {"From: a@b.example\nSubject: =?big5?Q?x?=\n\nHi",
         "an encoded word is broken, or in a charset that is not known here"},
        {"From: a@b.example\nContent-Type: text/plain; charset={{x}}\nContent-Disposition: attachment\n\nHi",
         "merge fields are not filled in in this header"},
        {"From: a@b.example\nContent-Language: d\xC3\xA9\n\nHi", "this header must be ASCII in words that fit a line"},
        {"From: a@b.example\nContent-Type: text/plain; charset=koi8-r\n\n{{x}}",
         "a text with merge fields must be in UTF-8, not in"},
        {"From: a@b.example\n\n{{x}}\xFF", "not UTF-8"},
        {"From: a@b.example\n\n{{#x}}", "the section is not closed"},
        {"From: a@b.example\nContent-Transfer-Encoding: zip\n\nHi", "no Content-Transfer-Encoding has this name"},
        {"From: a@b.example\nContent-Transfer-Encoding: base64\n\n!", "a part's base64 is broken"},
        {"From: a@b.example\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\nAAA",
         "a part's base64 is broken"},
        {"From: a@b.example\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\nA=AA",
         "a part's base64 is broken"},
        {"From: a@b.example\nContent-Type: multipart/mixed\n\nHi", "a multipart has no boundary that RFC 2046 allows"},
        {"From: a@b.example\nContent-Type: multipart/mixed; boundary=\"\"\n\nHi",
         "a multipart has no boundary that RFC 2046 allows"},
        {"From: a@b.example\nContent-Type: multipart/mixed; boundary=b\n\nHi",
         "a multipart has no parts between its boundaries"},
        {"From: a@b.example\nContent-Type: multipart/mixed; boundary=b\n\n--b--\n",
         "a multipart has no parts between its boundaries"},
        {"From: a@b.example\nContent-Type: multipart/mixed; boundary=b\n\n--b\nno header\n\nHi\n--b--\n",
         "a part's header has a line that is no header"},
        {"From: a@b.example\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\nLS1i\n",
         "a multipart may not be encoded"},
        {"From: a@b.example\nContent-Type: multipart/signed; boundary=b\n\n--b\n\nHi\n--b--\n",
         "a signed part cannot be filled in"},
        {"From: a@b.example\nContent-Type: message/rfc822\n\nFrom: d\xC3\xA9\n",
         "a message inside the message must be ASCII in lines of at most 998"},
        {"From: a@b.example\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nAAAA\n",
         "a message inside the message may not be encoded"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        if (render(cases[i].mime, "pool", "x", "x@y.example"))
            fail_msg("rendered: %s", cases[i].mime);
        if (strcmp(error.reason, cases[i].reason) != 0)
            fail_msg("%s: %s", cases[i].mime, error.reason);
    }
}

static void long_and_deep_messages_are_bounded(void **state)
{
    (void)state;
    char mime[4096];
    for (unsigned depth = 8; depth <= 9; depth++) {
        size_t n = (size_t)snprintf(mime, sizeof(mime), "From: a@b.example\n");
        for (unsigned i = 0; i < depth; i++)
            n += (size_t)snprintf(mime + n, sizeof(mime) - n, "Content-Type: multipart/mixed; boundary=b%u\n\n--b%u\n",
                                  i, i);
        snprintf(mime + n, sizeof(mime) - n, "\nHi\n");
        assert_int_equal(render(mime, "pool", "x", "x@y.example") != NULL, depth == 8);
    }
    assert_string_equal(error.reason, "too many multiparts inside each other");
    for (unsigned length = 998; length <= 999; length++) {
        size_t n = (size_t)snprintf(mime, sizeof(mime), "From: a@b.example\nContent-Type: message/rfc822\n\n");
        memset(mime + n, 'x', length);
        mime[n + length] = 0;
        assert_int_equal(render(mime, "pool", "x", "x@y.example") != NULL, length == 998);
    }
    /* a text may have lines of any length, and a header words */
    size_t n = (size_t)snprintf(mime, sizeof(mime), "From: a@b.example\nSubject: ");
    memset(mime + n, 'x', 1500);
    n += 1500;
    n += (size_t)snprintf(mime + n, sizeof(mime) - n, "\n\n");
    memset(mime + n, 'x', 1500);
    mime[n + 1500] = 0;
    assert_non_null(render(mime, "pool", "x", "x@y.example"));
}

static void parameters_are_read(void **state)
{
    (void)state;
    struct content content = content_read(
        SLICE("content-TYPE: Multipart/Mixed ;\r\n\tx=\"a;b\\\"c\" ; BOUNDARY = \"=_b;\"; ;charset=utf-8\r\n"
              "Content-Disposition: ATTACHMENT; filename=x\r\n"));
    assert_true(slice_equal(content.type, SLICE("Multipart/Mixed")));
    assert_true(content_is(&content, SLICE("multipart")));
    assert_false(content_is(&content, SLICE("multi")));
    assert_true(slice_equal(content.boundary, SLICE("=_b;")));
    assert_true(slice_equal(content.charset, SLICE("utf-8")));
    assert_true(content.attachment);
    assert_int_equal(content.encoding, CONTENT_IDENTITY);
    content = content_read(SLICE(""));
    assert_true(slice_equal(content.type, SLICE("text/plain")));
    content = content_read(SLICE("Content-Type: text/html; =x; y; \"z\\"));
    assert_true(slice_equal(content.type, SLICE("text/html")));
    assert_int_equal(content.boundary.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_message),
        cmocka_unit_test(headers_are_filled_in_and_put_in_order),
        cmocka_unit_test(parts_keep_their_structure),
        cmocka_unit_test(the_hash_adds_what_the_message_lacks),
        cmocka_unit_test(what_cannot_be_sent_is_refused),
        cmocka_unit_test(long_and_deep_messages_are_bounded),
        cmocka_unit_test(parameters_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
