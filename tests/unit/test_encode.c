/* test_encode.c - what is encoded can be decoded, keeps its line limits and can be cut anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "proto/message/encode.h"
#include "tests/unit/chance.h"

static char encoded[1 << 17], decoded[1 << 17], canonical[1 << 17];

static struct slice encode(enum encoding encoding, struct slice text)
{
    struct out out = {encoded, sizeof(encoded), 0};
    struct encoder encoder = encoder_start(encoding);
    encode_text(&encoder, text, &out);
    encode_finish(&encoder, &out);
    assert_true(out.n <= sizeof(encoded));
    return (struct slice){encoded, out.n};
}

static void quoted_printable_by_example(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        struct slice text, expected;
    } cases[] = {
        {"nothing", SLICE(""), SLICE("")},
        {"a last line gets its end", SLICE("Hello"), SLICE("Hello\r\n")},
        {"a line", SLICE("Hello\r\n"), SLICE("Hello\r\n")},
        {"all line ends are one", SLICE("a\nb\rc\r\nd\r\re\n\nf"), SLICE("a\r\nb\r\nc\r\nd\r\n\r\ne\r\n\r\nf\r\n")},
        {"what is not ASCII", SLICE("caf\xC3\xA9 = 1\x7F\x01"), SLICE("caf=C3=A9 =3D 1=7F=01\r\n")},
        {"a zero byte", SLICE("a\0b"), SLICE("a=00b\r\n")},
        {"white space inside lines", SLICE("a  b\tc"), SLICE("a  b\tc\r\n")},
        {"white space at a line's end", SLICE("a \nb\t\nc  \n "), SLICE("a=20\r\nb=09\r\nc =20\r\n=20\r\n")},
        {"dots at a line's start", SLICE(".\n..a\na."), SLICE("=2E\r\n=2E.a\r\na.\r\n")},
        {"boundaries", SLICE("--x\n-- \n"), SLICE("=2D-x\r\n=2D-=20\r\n")},
        {"From at a line's start", SLICE("From a\nFor b\nF"), SLICE("=46rom a\r\nFor b\r\n=46\r\n")},
        {"a line of 75", SLICE("123456789012345678901234567890123456789012345678901234567890123456789012345"),
         SLICE("123456789012345678901234567890123456789012345678901234567890123456789012345\r\n")},
        {"a line of 76", SLICE("1234567890123456789012345678901234567890123456789012345678901234567890123456"),
         SLICE("123456789012345678901234567890123456789012345678901234567890123456789012345=\r\n6\r\n")},
        {"a dot where a line was cut",
         SLICE("123456789012345678901234567890123456789012345678901234567890123456789012345.6"),
         SLICE("123456789012345678901234567890123456789012345678901234567890123456789012345=\r\n=2E6\r\n")},
        {"white space where a line is cut",
         SLICE("12345678901234567890123456789012345678901234567890123456789012345678901234 \n6"),
         SLICE("12345678901234567890123456789012345678901234567890123456789012345678901234=\r\n=20\r\n6\r\n")},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct slice got = encode(ENCODING_QP, cases[i].text);
        if (!slice_equal(got, cases[i].expected))
            fail_msg("%s: %.*s", cases[i].what, SLICE_ARGS(got));
    }
}

static void base64_by_example(void **state)
{
    (void)state;
    /* RFC 4648 §10 for octets; text has its line end. */
    static const struct {
        struct slice octets, expected;
    } cases[] = {
        {SLICE(""), SLICE("")},
        {SLICE("f"), SLICE("Zg==\r\n")},
        {SLICE("fo"), SLICE("Zm8=\r\n")},
        {SLICE("foo"), SLICE("Zm9v\r\n")},
        {SLICE("foob"), SLICE("Zm9vYg==\r\n")},
        {SLICE("fooba"), SLICE("Zm9vYmE=\r\n")},
        {SLICE("foobar"), SLICE("Zm9vYmFy\r\n")},
        {SLICE("a\nb"), SLICE("YQpi\r\n")},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct out out = {encoded, sizeof(encoded), 0};
        struct encoder encoder = encoder_start(ENCODING_BASE64);
        encode_octets(&encoder, cases[i].octets, &out);
        encode_finish_octets(&encoder, &out);
        assert_true(slice_equal((struct slice){encoded, out.n}, cases[i].expected));
    }
    assert_true(slice_equal(encode(ENCODING_BASE64, SLICE("a\nb")), SLICE("YQ0KYg0K\r\n")));
    assert_true(slice_equal(encode(ENCODING_BASE64, SLICE("a\r\nb\r")), SLICE("YQ0KYg0K\r\n")));
    assert_true(slice_equal(encode(ENCODING_BASE64, SLICE("")), SLICE("")));
}

/* The text with every line end as CRLF and one at its end. */
static struct slice canonicalise(struct slice text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\n' && i && text.p[i - 1] == '\r')
            continue;
        if (text.p[i] == '\r' || text.p[i] == '\n') {
            canonical[n++] = '\r';
            canonical[n++] = '\n';
        } else {
            canonical[n++] = text.p[i];
        }
    }
    if (n && canonical[n - 1] != '\n') {
        canonical[n++] = '\r';
        canonical[n++] = '\n';
    }
    return (struct slice){canonical, n};
}

static void check_lines(struct slice lines)
{
    size_t column = 0;
    for (size_t i = 0; i < lines.n; i++) {
        char c = lines.p[i];
        assert_true((c >= ' ' && c < 0x7F) || c == '\t' || c == '\r' || c == '\n');
        if (c == '\n') {
            assert_true(i && lines.p[i - 1] == '\r' && column <= ENCODE_LINE_MAX + 1);
            assert_false(i > 1 && (lines.p[i - 2] == ' ' || lines.p[i - 2] == '\t'));
            column = 0;
            continue;
        }
        assert_true(c != '\r' || (i + 1 < lines.n && lines.p[i + 1] == '\n'));
        if (column++ == 0)
            assert_false(c == '.' || c == '-' || (lines.n - i > 4 && memcmp(lines.p + i, "From ", 5) == 0));
    }
    assert_int_equal(column, 0);
}

/* Random text, much of what is special, encoded in random pieces with soft breaks between some, against itself whole.
 */
static void random_text_comes_back(void **state)
{
    (void)state;
    static const char *const words[] = {" ",
                                        "  ",
                                        "\t",
                                        "\r",
                                        "\n",
                                        "\r\n",
                                        ".",
                                        "-",
                                        "--",
                                        "From ",
                                        "=",
                                        "=20",
                                        "word",
                                        "caf\xC3\xA9",
                                        "\xF0\x9F\x98\x80",
                                        "\xFF",
                                        "a-rather-long-word-without-any-space-that-fills-most-of-a-line"};
    static char text[8192];
    for (int round = 0; round < 6000; round++) {
        enum encoding encoding = round % 2 ? ENCODING_QP : ENCODING_BASE64;
        size_t n = 0;
        for (uint32_t i = random_below(random_below(100) + 1); i > 0; i--) {
            const char *word = words[random_below(countof(words))];
            memcpy(text + n, word, strlen(word));
            n += strlen(word);
        }
        struct encoder encoder = encoder_start(encoding);
        struct out out = {encoded, sizeof(encoded), 0};
        bool broken = false;
        for (size_t at = 0; at < n;) {
            size_t piece = 1 + random_below(round % 3 ? 200 : 3);
            piece = piece < n - at ? piece : n - at;
            encode_text(&encoder, (struct slice){text + at, piece}, &out);
            at += piece;
            if (encoding == ENCODING_QP && at < n && random_below(20) == 0) {
                encode_soft_break(&encoder, &out);
                broken = true;
            }
        }
        encode_finish(&encoder, &out);
        check_lines((struct slice){encoded, out.n});
        size_t back = encoding == ENCODING_QP ? decode_qp((struct slice){encoded, out.n}, decoded)
                                              : decode_base64((struct slice){encoded, out.n}, decoded);
        struct slice expected = canonicalise((struct slice){text, n});
        assert_int_equal(back, expected.n);
        assert_memory_equal(decoded, expected.p, back);
        if (!broken && encoding == ENCODING_BASE64) { /* pieces leave no trace */
            memcpy(decoded, encoded, out.n);
            struct slice whole = encode(encoding, (struct slice){text, n});
            assert_true(slice_equal(whole, (struct slice){decoded, out.n}));
        }
    }
}

static void what_does_not_fit_is_counted(void **state)
{
    (void)state;
    struct slice text =
        SLICE("caf\xC3\xA9 and a text that is longer than a line, so that there is a soft break in it\nend");
    for (enum encoding encoding = ENCODING_QP; encoding <= ENCODING_BASE64; encoding++) {
        size_t needed = encode(encoding, text).n;
        for (size_t cap = 0; cap <= needed; cap++) {
            char *small = malloc(cap + 1);
            struct out out = {small, cap, 0};
            struct encoder encoder = encoder_start(encoding);
            encode_text(&encoder, text, &out);
            encode_finish(&encoder, &out);
            assert_int_equal(out.n, needed);
            assert_memory_equal(small, encoded, cap);
            free(small);
        }
    }
}

static void others_encodings_are_read(void **state)
{
    (void)state;
    static const struct {
        struct slice text, expected;
    } qp[] = {
        {SLICE("a=3d=3Db"), SLICE("a==b")},        {SLICE("a=\r\nb=\nc= \t\r\nd"), SLICE("abcd")},
        {SLICE("a =20 \r\nb"), SLICE("a  \r\nb")}, {SLICE("50% = x =G1 ="), SLICE("50% = x =G1 ")},
        {SLICE("tail="), SLICE("tail")},           {SLICE("=4"), SLICE("=4")},
    };
    static const struct {
        struct slice text, expected;
        bool ok;
    } base64[] = {
        {SLICE("Zm9v YmE=\r\n"), SLICE("fooba"), true},
        {SLICE("Zg=="), SLICE("f"), true},
        {SLICE(""), SLICE(""), true},
        {SLICE("Zg="), SLICE(""), false},
        {SLICE("Z"), SLICE(""), false},
        {SLICE("Zg==Zg=="), SLICE(""), false},
        {SLICE("Zm9v!"), SLICE(""), false},
        {SLICE("===="), SLICE(""), false},
    };
    for (size_t i = 0; i < countof(qp); i++) {
        size_t n = decode_qp(qp[i].text, decoded);
        if (!slice_equal((struct slice){decoded, n}, qp[i].expected))
            fail_msg("%.*s: %.*s", SLICE_ARGS(qp[i].text), (int)n, decoded);
    }
    for (size_t i = 0; i < countof(base64); i++) {
        size_t n = decode_base64(base64[i].text, decoded);
        assert_int_equal(n != SIZE_MAX, base64[i].ok);
        if (base64[i].ok)
            assert_true(slice_equal((struct slice){decoded, n}, base64[i].expected));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quoted_printable_by_example),
        cmocka_unit_test(base64_by_example),
        cmocka_unit_test_setup(random_text_comes_back, chance_begin),
        cmocka_unit_test(what_does_not_fit_is_counted),
        cmocka_unit_test(others_encodings_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
