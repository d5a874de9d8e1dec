/* What goes out: commands that nothing can be injected into, and bodies that stay transparent across any cut. */
#include "proto/smtp/write.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_written(const char *p, size_t n, const char *expected)
{
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(p, expected, n);
}

static void test_commands(void **state)
{
    (void)state;
    char p[600];
    assert_written(p, write_ehlo(p, sizeof p, SLICE("m1.example.com")), "EHLO m1.example.com\r\n");
    assert_written(p, write_ehlo(p, sizeof p, SLICE("[IPv6:2001:db8::1]")), "EHLO [IPv6:2001:db8::1]\r\n");
    assert_written(p, write_helo(p, sizeof p, SLICE("m1.example.com")), "HELO m1.example.com\r\n");
    assert_written(p, write_rcpt(p, sizeof p, SLICE("ann@x.example"), false), "RCPT TO:<ann@x.example>\r\n");
    assert_written(p, write_rcpt(p, sizeof p, SLICE("\"a\\\"b\"@x.example"), false),
                   "RCPT TO:<\"a\\\"b\"@x.example>\r\n");
    assert_written(p, write_data(p, sizeof p), "DATA\r\n");
    assert_written(p, write_rset(p, sizeof p), "RSET\r\n");
    assert_written(p, write_quit(p, sizeof p), "QUIT\r\n");
}

static void test_mail(void **state)
{
    (void)state;
    char p[600];
    struct write_mail mail = {.from = SLICE("b+1@x.example")};
    assert_written(p, write_mail(p, sizeof p, &mail), "MAIL FROM:<b+1@x.example>\r\n");
    mail.size = UINT64_MAX;
    assert_written(p, write_mail(p, sizeof p, &mail), "MAIL FROM:<b+1@x.example> SIZE=18446744073709551615\r\n");
    mail = (struct write_mail){.size = 10, .eight_bit = true};
    assert_written(p, write_mail(p, sizeof p, &mail), "MAIL FROM:<> SIZE=10 BODY=8BITMIME\r\n");
    mail = (struct write_mail){.from = SLICE("j\xc3\xb6rg@x.example"), .eight_bit = true, .utf8 = true};
    assert_written(p, write_mail(p, sizeof p, &mail), "MAIL FROM:<j\xc3\xb6rg@x.example> BODY=8BITMIME SMTPUTF8\r\n");
    mail.utf8 = false;
    assert_int_equal(write_mail(p, sizeof p, &mail), 0);
}

/* Every byte, at every place of an argument: what could end or part a line is refused, and nothing else gets in. */
static void test_no_injection(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++)
        for (size_t at = 0; at < 7; at++) {
            char text[] = "ab@c.de", p[100];
            text[at] = (char)c;
            struct slice argument = {text, 7};
            bool safe = c > ' ' && c < 0x7f && c != '<' && c != '>';
            struct write_mail mail = {.from = argument};
            assert_int_equal(write_rcpt(p, sizeof p, argument, false), safe ? 10 + 7 + 2 : 0);
            assert_int_equal(write_rcpt(p, sizeof p, argument, true), safe ? 10 + 7 + 2 : 0);
            assert_int_equal(write_mail(p, sizeof p, &mail), safe ? 12 + 7 + 2 : 0);
            assert_int_equal(write_ehlo(p, sizeof p, argument), safe ? 5 + 7 + 2 : 0);
            assert_int_equal(write_helo(p, sizeof p, argument), safe ? 5 + 7 + 2 : 0);
        }
    char p[100];
    assert_int_equal(write_rcpt(p, sizeof p, SLICE("\xc2\x85@x.example"), true), 0); /* U+0085, next line */
}

static void test_bounds(void **state)
{
    (void)state;
    char text[300], p[600];
    memset(text, 'a', sizeof text);
    assert_true(write_rcpt(p, sizeof p, (struct slice){text, LIMIT_ADDRESS}, false) > 0);
    assert_int_equal(write_rcpt(p, sizeof p, (struct slice){text, LIMIT_ADDRESS + 1}, false), 0);
    assert_int_equal(write_rcpt(p, sizeof p, (struct slice){text, 0}, false), 0);
    assert_int_equal(write_ehlo(p, sizeof p, (struct slice){text, 0}), 0);
    assert_int_equal(write_ehlo(p, sizeof p, (struct slice){text, LIMIT_DOMAIN + 1}), 0);
    for (size_t cap = 0; cap < 30; cap++) { /* no half command, and no byte beyond the room */
        char *exact = malloc(cap ? cap : 1);
        assert_non_null(exact);
        assert_int_equal(write_rcpt(exact, cap, SLICE("ann@x.example"), false), cap >= 25 ? 25 : 0);
        assert_int_equal(write_data(exact, cap), cap >= 6 ? 6 : 0);
        free(exact);
    }
}

/* ---- bodies ---- */

/* The definition, written as plainly as can be: all lines first, then dots. */
static size_t model(char *to, struct slice body)
{
    char line[600];
    size_t n = 0, length = 0;
    bool any = false;
    for (size_t i = 0; i < body.n; i++) {
        char c = body.p[i];
        bool ends = c == '\n' || c == '\r';
        if (c == '\r' && i + 1 < body.n && body.p[i + 1] == '\n')
            i++;
        if (!ends) {
            line[length++] = c;
            any = true;
            continue;
        }
        if (length > 0 && line[0] == '.')
            to[n++] = '.';
        memcpy(to + n, line, length);
        memcpy(to + n + length, "\r\n", 2);
        n += length + 2;
        length = 0;
        any = false;
    }
    if (any) {
        if (line[0] == '.')
            to[n++] = '.';
        memcpy(to + n, line, length);
        memcpy(to + n + length, "\r\n", 2);
        n += length + 2;
    }
    memcpy(to + n, ".\r\n", 3);
    return n + 3;
}

/* Sends one slice as the engine would: as it is where that is said to be right, through a small buffer otherwise. */
static void send_part(struct slice part, size_t room, enum write_line *line, char *to, size_t *n)
{
    char *copy = malloc(part.n ? part.n : 1);
    assert_non_null(copy);
    if (part.n)
        memcpy(copy, part.p, part.n);
    struct slice rest = {copy, part.n};
    enum write_line before = *line;
    if (write_is_plain(rest, line)) {
        if (part.n)
            memcpy(to + *n, copy, part.n);
        *n += part.n;
    } else {
        assert_int_equal(*line, before);
        size_t start = *n;
        while (rest.n > 0) {
            char *piece = malloc(room);
            assert_non_null(piece);
            size_t taken = rest.n, written = write_stuffed(piece, room, &rest, line);
            assert_true(written > 0 && written <= room && rest.n < taken);
            memcpy(to + *n, piece, written);
            *n += written;
            free(piece);
        }
        assert_true(*n - start <= 2 * part.n + 1);
        assert_true(*n - start != part.n || memcmp(to + start, part.p, part.n) != 0);
    }
    free(copy);
}

static size_t send_body(char *to, struct slice body, size_t first, size_t second, size_t room)
{
    size_t n = 0;
    enum write_line line = WRITE_LINE_START;
    send_part((struct slice){body.p, first}, room, &line, to, &n);
    send_part((struct slice){body.p + first, second - first}, room, &line, to, &n);
    send_part((struct slice){body.p + second, body.n - second}, room, &line, to, &n);
    return n + write_end(to + n, WRITE_END_MAX, line);
}

static void check_body(struct slice body)
{
    char expected[400], got[400];
    size_t n = model(expected, body);
    for (size_t first = 0; first <= body.n; first++)
        for (size_t second = first; second <= body.n; second++)
            for (size_t room = 3; room <= 5; room++) {
                assert_int_equal(send_body(got, body, first, second, room), n);
                assert_memory_equal(got, expected, n);
            }
}

/* All bodies of up to six bytes of the alphabet that matters, at every cut and with the smallest rooms. */
static void test_every_small_body(void **state)
{
    (void)state;
    static const char alphabet[] = {'.', '\r', '\n', 'a'};
    unsigned count = 1;
    for (size_t length = 0; length <= 6; length++, count *= 4)
        for (unsigned code = 0; code < count; code++) {
            char body[6];
            for (size_t i = 0; i < length; i++)
                body[i] = alphabet[code >> (2 * i) & 3];
            check_body((struct slice){body, length});
        }
}

static void test_bodies(void **state)
{
    (void)state;
    char got[400];
    size_t n = send_body(got, SLICE("Subject: x\r\n\r\n.hidden\r\n..\r\nend"), 13, 14, 3);
    assert_written(got, n, "Subject: x\r\n\r\n..hidden\r\n...\r\nend\r\n.\r\n");
    n = send_body(got, SLICE("a\n.\r\nMAIL FROM:<evil@x.example>\r\n"), 2, 3, 3); /* SMTP smuggling */
    assert_written(got, n, "a\r\n..\r\nMAIL FROM:<evil@x.example>\r\n.\r\n");
    check_body(SLICE("a\r\r\n\n.\r.\n..\r\n\r"));
}

/* A line longer than any window of the search, with and without its end. */
static void test_long_line(void **state)
{
    (void)state;
    static char body[5000], got[12000];
    memset(body, 'x', sizeof body);
    for (size_t i = 0; i < sizeof body; i += 1200)
        body[i] = '.';
    body[2399] = '\n';
    for (size_t room = 3; room < sizeof got; room = room * 3 + 1) {
        size_t n = 0;
        enum write_line line = WRITE_LINE_START;
        send_part((struct slice){body, sizeof body}, room, &line, got, &n);
        assert_int_equal(line, WRITE_LINE_MIDDLE);
        assert_int_equal(n, sizeof body + 3); /* two dots and a CR */
        assert_memory_equal(got, "..x", 3);
        assert_memory_equal(got + 1, body, 2399);
        assert_memory_equal(got + 2400, "\r\n..x", 5);
        assert_memory_equal(got + 2403, body + 2400, 2600);
    }
}

static void test_plain(void **state)
{
    (void)state;
    static const struct {
        struct slice part;
        enum write_line before;
        bool plain;
        enum write_line after;
    } rows[] = {
        {{"", 0}, WRITE_LINE_MIDDLE, true, WRITE_LINE_MIDDLE},
        {{"a\r\nb.\r\n", 7}, WRITE_LINE_START, true, WRITE_LINE_START},
        {{"a\r\n.b\r\n", 7}, WRITE_LINE_START, false, WRITE_LINE_START},
        {{".", 1}, WRITE_LINE_START, false, WRITE_LINE_START},
        {{".", 1}, WRITE_LINE_MIDDLE, true, WRITE_LINE_MIDDLE},
        {{"a\r", 2}, WRITE_LINE_MIDDLE, true, WRITE_LINE_CR},
        {{"\n", 1}, WRITE_LINE_CR, true, WRITE_LINE_START},
        {{"\n.", 2}, WRITE_LINE_CR, false, WRITE_LINE_CR},
        {{"a", 1}, WRITE_LINE_CR, false, WRITE_LINE_CR},
        {{"\n", 1}, WRITE_LINE_MIDDLE, false, WRITE_LINE_MIDDLE},
        {{"a\nb", 3}, WRITE_LINE_START, false, WRITE_LINE_START},
        {{"a\rb", 3}, WRITE_LINE_START, false, WRITE_LINE_START},
        {{"a\r\nb\nc\r\n", 8}, WRITE_LINE_START, false, WRITE_LINE_START},
        {{"a\r\nb", 4}, WRITE_LINE_START, true, WRITE_LINE_MIDDLE},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        enum write_line line = rows[i].before;
        assert_int_equal(write_is_plain(rows[i].part, &line), rows[i].plain);
        assert_int_equal(line, rows[i].after);
    }
}

/* What encrypts, signs in and announces chunks: whole lines, but for AUTH in front of its initial response. */
static void test_extensions(void **state)
{
    (void)state;
    char to[64];
    assert_int_equal(write_starttls(to, sizeof to), 10);
    assert_memory_equal(to, "STARTTLS\r\n", 10);
    assert_int_equal(write_starttls(to, 9), 0);
    assert_int_equal(write_auth(to, sizeof to, SLICE("LOGIN"), false), 12);
    assert_memory_equal(to, "AUTH LOGIN\r\n", 12);
    assert_int_equal(write_auth(to, sizeof to, SLICE("PLAIN"), true), 11);
    assert_memory_equal(to, "AUTH PLAIN ", 11);
    assert_int_equal(write_auth(to, 10, SLICE("PLAIN"), true), 0);
    assert_int_equal(write_bdat(to, sizeof to, 6, false), 8);
    assert_memory_equal(to, "BDAT 6\r\n", 8);
    assert_int_equal(write_bdat(to, sizeof to, UINT64_MAX, true), 32);
    assert_memory_equal(to, "BDAT 18446744073709551615 LAST\r\n", 32);
    assert_int_equal(write_bdat(to, 31, UINT64_MAX, true), 0);
    assert_true(write_base64_safe(SLICE("AZaz09+/=")));
    assert_false(write_base64_safe(SLICE("")));
    for (unsigned c = 0; c < 256; c++) {
        char text[3] = {'A', (char)c, 'A'};
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        assert_int_equal(write_base64_safe((struct slice){text, 3}), letter || c == '+' || c == '/' || c == '=');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),         cmocka_unit_test(test_mail),      cmocka_unit_test(test_no_injection),
        cmocka_unit_test(test_bounds),           cmocka_unit_test(test_bodies),    cmocka_unit_test(test_plain),
        cmocka_unit_test(test_every_small_body), cmocka_unit_test(test_long_line), cmocka_unit_test(test_extensions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
