/* test_header.c - headers fold, encode and keep to their line whatever they hold; mailboxes are read as people write.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "proto/message/header.h"
#include "proto/utf8.h"
#include "tests/unit/chance.h"

static char written[1 << 16];

static void text_by_example(void **state)
{
    (void)state;
    static const struct {
        const char *value, *expected;
    } cases[] = {
        {"", "Subject:\r\n"},
        {"   ", "Subject:\r\n"},
        {"Hello", "Subject: Hello\r\n"},
        {"  Hello  world  ", "Subject: Hello  world\r\n"},
        {"a\r\nBcc: b", "Subject: a  Bcc: b\r\n"},
        {"a\tb\x01"
         "c\x7F"
         "d",
         "Subject: a b c d\r\n"},
        {"caf\xC3\xA9", "Subject: =?utf-8?B?Y2Fmw6k=?=\r\n"},
        {"A caf\xC3\xA9 here", "Subject: A =?utf-8?B?Y2Fmw6k=?= here\r\n"},
        {"Gr\xC3\xBC\xC3\x9F"
         "e and caf\xC3\xA9s, all of it",
         "Subject: =?utf-8?B?R3LDvMOfZSBhbmQgY2Fmw6lzLA==?= all of it\r\n"},
        {"=?utf-8?Q?a?=", "Subject: =?utf-8?B?PT91dGYtOD9RP2E/PQ==?=\r\n"},
        {"\xF0\x9F\x8E\x89 Sale", "Subject: =?utf-8?B?8J+OiQ==?= Sale\r\n"},
        {"The quick brown fox jumps over the lazy dog and then it does so once more, and again",
         "Subject: The quick brown fox jumps over the lazy dog and then it does so once\r\n more, and again\r\n"},
        {"A-word-that-is-longer-than-a-line-may-be-and-that-has-no-space-to-fold-it-at-so-it-stays-whole tail",
         "Subject:\r\n "
         "A-word-that-is-longer-than-a-line-may-be-and-that-has-no-space-to-fold-it-at-so-it-stays-whole\r\n tail\r\n"},
        {"\xE3\x81\x82\xE3\x81\x84\xE3\x81\x86\xE3\x81\x88\xE3\x81\x8A\xE3\x81\x8B\xE3\x81\x8D\xE3\x81\x8F\xE3\x81\x91"
         "\xE3\x81\x93\xE3\x81\x95\xE3\x81\x97\xE3\x81\x99\xE3\x81\x9B\xE3\x81\x9D",
         "Subject: =?utf-8?B?44GC44GE44GG44GI44GK44GL44GN44GP44GR44GT44GV44GX44GZ?=\r\n =?utf-8?B?44Gb44Gd?=\r\n"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct out out = {written, sizeof(written) - 1, 0};
        header_text(&out, SLICE("Subject"), slice_of(cases[i].value));
        written[out.n] = 0;
        assert_string_equal(written, cases[i].expected);
    }
}

static void mailboxes_by_example(void **state)
{
    (void)state;
    static const struct {
        struct mailbox mailboxes[2];
        unsigned count;
        const char *expected;
    } cases[] = {
        {{{SLICE(""), SLICE("a@b.example")}}, 1, "From: a@b.example\r\n"},
        {{{SLICE("Shop"), SLICE("a@b.example")}}, 1, "From: Shop <a@b.example>\r\n"},
        {{{SLICE(" The Shop "), SLICE("a@b.example")}}, 1, "From: The Shop <a@b.example>\r\n"},
        {{{SLICE("The  Shop"), SLICE("a@b.example")}}, 1, "From: \"The  Shop\" <a@b.example>\r\n"},
        {{{SLICE("Shop, Inc."), SLICE("a@b.example")}}, 1, "From: \"Shop, Inc.\" <a@b.example>\r\n"},
        {{{SLICE("The \"Shop\" \\o/"), SLICE("a@b.example")}},
         1,
         "From: \"The \\\"Shop\\\" \\\\o/\" <a@b.example>\r\n"},
        {{{SLICE("Eve\r\nBcc: x@y"), SLICE("a@b.example")}}, 1, "From: \"Eve  Bcc: x@y\" <a@b.example>\r\n"},
        {{{SLICE("Sh\xC3\xB6p, Inc."), SLICE("a@b.example")}},
         1,
         "From: =?utf-8?B?U2jDtnAsIEluYy4=?= <a@b.example>\r\n"},
        {{{SLICE("=?utf-8?Q?a?="), SLICE("a@b.example")}},
         1,
         "From: =?utf-8?B?PT91dGYtOD9RP2E/PQ==?= <a@b.example>\r\n"},
        {{{SLICE("A"), SLICE("a@b.example")}, {SLICE(""), SLICE("c@d.example")}},
         2,
         "From: A <a@b.example>, c@d.example\r\n"},
        {{{SLICE("A name, that is rather long and quoted"), SLICE("somebody.with.a.long.name@mail.shop.example")},
          {SLICE("C"), SLICE("c@d.example")}},
         2,
         "From: \"A name, that is rather long and quoted\"\r\n <somebody.with.a.long.name@mail.shop.example>, C "
         "<c@d.example>\r\n"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct out out = {written, sizeof(written) - 1, 0};
        header_mailboxes(&out, SLICE("From"), cases[i].mailboxes, cases[i].count);
        written[out.n] = 0;
        assert_string_equal(written, cases[i].expected);
    }
}

static void words_stay_as_they_are(void **state)
{
    (void)state;
    struct out out = {written, sizeof(written) - 1, 0};
    header_words(&out, SLICE("List-Unsubscribe"),
                 SLICE("<https://shop.example/unsubscribe/0123456789abcdef>, <mailto:a@b.example>\r\nX"));
    written[out.n] = 0;
    assert_string_equal(
        written,
        "List-Unsubscribe: <https://shop.example/unsubscribe/0123456789abcdef>,\r\n <mailto:a@b.example>  X\r\n");
}

/* One field, its lines within their limits, none blank, none with an octet that is no printable ASCII. */
static void check_field(struct slice field, size_t longest_word)
{
    size_t column = 0, line = 0;
    bool blank = true, encoded = memmem(field.p, field.n, "=?utf-8?", 8) != NULL;
    for (size_t i = 0; i < field.n; i++) {
        char c = field.p[i];
        assert_true((c >= ' ' && c < 0x7F) || c == '\r' || c == '\n');
        if (c == '\r') {
            size_t limit = encoded ? HEADER_ENCODED_LINE : HEADER_LINE;
            assert_int_equal(field.p[i + 1], '\n');
            assert_false(blank);
            /* 40 spaces and a word cannot be folded apart */
            assert_true(column <= limit || column <= longest_word + 44);
            assert_true(column <= 998);
            assert_true(i + 2 == field.n || field.p[i + 2] == ' ');
            i++;
            column = 0;
            line++;
            blank = true;
            continue;
        }
        blank = blank && c == ' ';
        column++;
    }
    assert_true(line > 0 && column == 0);
    for (const char *word = field.p; (word = memmem(word, (size_t)(field.p + field.n - word), "=?utf-8?", 8)); word++) {
        const char *close = memmem(word + 10, (size_t)(field.p + field.n - word - 10), "?=", 2);
        assert_non_null(close);
        assert_true(close + 2 - word <= 75);
        char content[128];
        size_t n = header_decode((struct slice){word, (size_t)(close + 2 - word)}, content);
        assert_int_equal(utf8_valid_until((struct slice){content, n}), n); /* no character is split */
    }
}

/* What the value means: controls are spaces, white space at its ends is not part of it. */
static size_t plain_value(struct slice value, char *to)
{
    size_t start = 0, n = 0;
    while (start < value.n && ((unsigned char)value.p[start] <= ' ' || value.p[start] == 0x7F))
        start++;
    for (size_t i = start; i < value.n; i++)
        to[n++] = (unsigned char)value.p[i] < ' ' || value.p[i] == 0x7F ? ' ' : value.p[i];
    while (n && to[n - 1] == ' ')
        n--;
    return n;
}

static size_t random_value(char *value, size_t *longest)
{
    static const char *const words[] = {"word",
                                        "caf\xC3\xA9",
                                        "\xF0\x9F\x98\x80",
                                        "=?utf-8?Q?x?=",
                                        "a-long-word-of-some-fifty-octets-that-fills-up-a-line",
                                        "\r\nBcc:",
                                        "\n",
                                        "\x01",
                                        "\xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D",
                                        "\"",
                                        "\\",
                                        ",",
                                        "<x@y>",
                                        ":",
                                        "(",
                                        "_",
                                        "?=",
                                        "=?"};
    size_t n = 0;
    for (uint32_t i = random_below(40); i > 0; i--) {
        const char *word = words[random_below(countof(words))];
        memcpy(value + n, word, strlen(word));
        n += strlen(word);
        for (uint32_t spaces = random_below(60) ? random_below(4) : random_below(100); spaces > 0; spaces--)
            value[n++] = ' ';
    }
    if (random_below(50) == 0)
        for (uint32_t i = random_below(2500); i > 0; i--)
            value[n++] = 'x';
    *longest = 0;
    for (size_t i = 0, run = 0; i < n; i++) {
        run = (unsigned char)value[i] <= ' ' || value[i] == 0x7F ? 0 : run + 1;
        *longest = run > *longest ? run : *longest;
    }
    return n;
}

/* Unfolds the field and takes its name off. */
static size_t unfold(struct slice field, char *to)
{
    size_t n = 0, at = (size_t)((const char *)memchr(field.p, ':', field.n) - field.p) + 1;
    for (; at < field.n; at++)
        if (field.p[at] != '\r' && field.p[at] != '\n')
            to[n++] = field.p[at];
    return n;
}

static void random_text_unfolds_to_itself(void **state)
{
    (void)state;
    static char value[16384], expected[16384], unfolded[1 << 16], decoded[1 << 17];
    for (int round = 0; round < 20000; round++) {
        size_t longest;
        struct slice text = {value, random_value(value, &longest)};
        struct out out = {written, sizeof(written), 0};
        header_text(&out,
                    random_below(2) ? SLICE("Subject")
                                    : SLICE("X-A-Rather-Long-Name-Of-A-Header-That-Leaves-Little-Room"),
                    text);
        check_field((struct slice){written, out.n}, longest);
        size_t n = plain_value(text, expected);
        size_t back =
            header_decode((struct slice){unfolded, unfold((struct slice){written, out.n}, unfolded)}, decoded);
        assert_true(back == 0 || decoded[0] == ' ');
        if (back != n + (n > 0) || memcmp(decoded + 1, expected, n) != 0)
            fail_msg("%.*s\n-> %.*s", (int)n, expected, (int)out.n, written);
    }
}

static void random_names_stay_names(void **state)
{
    (void)state;
    static char value[16384], expected[16384], unfolded[1 << 16], display[1 << 16], decoded[1 << 17];
    for (int round = 0; round < 20000; round++) {
        size_t longest;
        struct mailbox mailboxes[2] = {{{value, random_value(value, &longest)}, SLICE("news@shop.example")},
                                       {SLICE("B, C"), SLICE("other@shop.example")}};
        struct out out = {written, sizeof(written), 0};
        unsigned count = 1 + random_below(2);
        header_mailboxes(&out, SLICE("Reply-To"), mailboxes, count);
        check_field((struct slice){written, out.n}, 2 * longest + 20); /* quotes are escaped */
        struct slice list = {unfolded, unfold((struct slice){written, out.n}, unfolded)};
        for (unsigned i = 0; i < count; i++) {
            struct mailbox back;
            const char *reason;
            assert_true(header_next_mailbox(&list, &back, &reason));
            assert_true(slice_equal(back.address, mailboxes[i].address));
            struct slice name = {display, header_unquote(back.display, display)};
            size_t n = plain_value(mailboxes[i].display, expected);
            size_t got = header_decode(name, decoded);
            if (got != n || memcmp(decoded, expected, n) != 0)
                fail_msg("%.*s\n-> %.*s", (int)n, expected, (int)out.n, written);
        }
        assert_int_equal(list.n, 0);
    }
}

static void mailboxes_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *list, *display, *address, *rest, *reason;
    } cases[] = {
        {"a@b.example", "", "a@b.example", "", NULL},
        {" Shop <a@b.example> ", "Shop", "a@b.example", "", NULL},
        {"<a@b.example>", "", "a@b.example", "", NULL},
        {"\"Shop, \\\"Inc\\\"\" <a@b.example>, c@d.example", "Shop, \"Inc\"", "a@b.example", " c@d.example", NULL},
        {"\"{{x}}, {{{y}}}\" <{{a}}@b.example>", "{{x}}, {{{y}}}", "{{a}}@b.example", "", NULL},
        {"{{#a}}\"x\" <, >{{/a}} <a@b.example>", "{{#a}}x <, >{{/a}}", "a@b.example", "", "text behind the address"},
        {"{{a,\"b<c}} <a@b.example>,", "{{a,\"b<c}}", "a@b.example", "", NULL},
        {"a@b.example, c@d.example", "", "a@b.example", " c@d.example", NULL},
        {"Shop, Inc. <a@b.example>, c@d.example", "Shop, Inc.", "a@b.example", " c@d.example", NULL},
        {"{{a}}, {{b}}", "", "{{a}}", " {{b}}", NULL},
        {"Shop <a@b.example", NULL, NULL, NULL, "'<' is not closed"},
        {"Shop <>", NULL, NULL, NULL, "an address is missing"},
        {"", NULL, NULL, NULL, "an address is missing"},
        {", a@b.example", NULL, NULL, NULL, "an address is missing"},
        {"\"Shop <a@b.example>", NULL, NULL, NULL, "a quote is not closed"},
        {"Shop <a@b.example> Ltd", NULL, NULL, NULL, "text behind the address"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct slice list = slice_of(cases[i].list);
        struct mailbox mailbox;
        const char *reason = NULL;
        char display[256];
        bool ok = header_next_mailbox(&list, &mailbox, &reason);
        assert_int_equal(ok, cases[i].reason == NULL);
        if (!ok) {
            assert_string_equal(reason, cases[i].reason);
            continue;
        }
        assert_true(
            slice_equal((struct slice){display, header_unquote(mailbox.display, display)}, slice_of(cases[i].display)));
        assert_true(slice_equal(mailbox.address, slice_of(cases[i].address)));
        assert_true(slice_equal(list, slice_of(cases[i].rest)));
    }
}

static void encoded_words_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected; /* NULL: refused */
    } cases[] = {
        {"plain", "plain"},
        {"=?utf-8?Q?a_b=5F=C3=A9?=", "a b_\xC3\xA9"},
        {"=?UTF-8?b?Y2Fmw6k=?= au lait", "caf\xC3\xA9 au lait"},
        {"=?utf-8?Q?a?= =?utf-8?Q?b?=", "ab"},
        {"=?utf-8?Q?a?= \r\n =?utf-8?Q?b?= c", "ab c"},
        {"=?utf-8?Q?a?= x =?utf-8?Q?b?=", "a x b"},
        {"=?iso-8859-1?Q?caf=E9?=", "caf\xC3\xA9"},
        {"=?ISO-8859-1*fr?B?Y2Fm6Q==?=", "caf\xC3\xA9"},
        {"=?us-ascii?Q?Hi_=7B=7Bname=7D=7D?=", "Hi {{name}}"},
        {"=?utf-8?X?a?= =? =?utf-8?Q?a b?= =?utf-8?Q?a", "=?utf-8?X?a?= =? =?utf-8?Q?a b?= =?utf-8?Q?a"},
        {"=?koi8-r?Q?=D0?=", NULL},
        {"=?utf-8?B?Z?=", NULL},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char decoded[512];
        size_t n = header_decode(slice_of(cases[i].text), decoded);
        assert_int_equal(n == SIZE_MAX, cases[i].expected == NULL);
        if (cases[i].expected && !slice_equal((struct slice){decoded, n}, slice_of(cases[i].expected)))
            fail_msg("%s: %.*s", cases[i].text, (int)n, decoded);
    }
}

static void names_are_checked(void **state)
{
    (void)state;
    assert_true(header_is_name(SLICE("X-A")));
    assert_true(header_is_name(SLICE("a!#$%'*")));
    assert_false(header_is_name(SLICE("")));
    assert_false(header_is_name(SLICE("X A")));
    assert_false(header_is_name(SLICE("X:A")));
    assert_false(header_is_name(SLICE("X\nA")));
    assert_false(header_is_name(SLICE("X\xC3\xA9")));
    assert_false(
        header_is_name(SLICE("a234567890123456789012345678901234567890123456789012345678901234567890123456789")));
    assert_true(header_is_structured(SLICE("feedback-id")));
    assert_false(header_is_structured(SLICE("Subject")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_by_example),
        cmocka_unit_test(mailboxes_by_example),
        cmocka_unit_test(words_stay_as_they_are),
        cmocka_unit_test_setup(random_text_unfolds_to_itself, chance_begin),
        cmocka_unit_test_setup(random_names_stay_names, chance_begin),
        cmocka_unit_test(mailboxes_are_read),
        cmocka_unit_test(encoded_words_are_read),
        cmocka_unit_test(names_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
