/* Replies: the same values come out however the bytes are cut, within bounds, and what is no reply is told apart. */
#include "proto/smtp/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SHOWN_MAX = 64 * 1024 };

struct shown {
    char p[SHOWN_MAX];
    size_t n;
    enum reply_result end;
};

static void show(struct shown *shown, const struct reply *reply)
{
    int n = snprintf(shown->p + shown->n, sizeof shown->p - shown->n, "%u|%s|%u|%.*s|%.*s\n", reply->code,
                     reply->status, reply->lines, SLICE_ARGS(reply->text), SLICE_ARGS(reply->last));
    assert_true(n > 0 && (size_t)n < sizeof shown->p - shown->n);
    shown->n += (size_t)n;
}

/* One chunk, a block of its own so that the sanitizer sees a read past its end. */
static void feed_chunk(struct reply_parser *parser, struct slice chunk, struct shown *shown)
{
    char *copy = malloc(chunk.n ? chunk.n : 1);
    assert_non_null(copy);
    if (chunk.n)
        memcpy(copy, chunk.p, chunk.n);
    struct slice rest = {copy, chunk.n};
    struct reply reply;
    while ((shown->end = reply_parse(parser, &rest, &reply)) == REPLY_COMPLETE)
        show(shown, &reply);
    if (shown->end == REPLY_MORE)
        assert_int_equal(rest.n, 0);
    free(copy);
}

static void feed(struct shown *shown, struct slice bytes, size_t first, size_t second)
{
    struct reply_parser parser;
    reply_init(&parser);
    shown->n = 0;
    shown->p[0] = 0;
    feed_chunk(&parser, (struct slice){bytes.p, first}, shown);
    feed_chunk(&parser, (struct slice){bytes.p + first, second - first}, shown);
    feed_chunk(&parser, (struct slice){bytes.p + second, bytes.n - second}, shown);
}

static const struct {
    struct slice bytes;
    const char *replies;
    enum reply_result end;
} corpus[] = {
#define ROW(bytes, replies, end)                                                                                       \
    {                                                                                                                  \
        {(bytes), sizeof(bytes) - 1}, (replies), (end)                                                                 \
    }
    ROW("", "", REPLY_MORE),
    ROW("220 mx.example ESMTP\r\n", "220||1|mx.example ESMTP|mx.example ESMTP\n", REPLY_MORE),
    ROW("250 2.1.0 Ok\r\n", "250|2.1.0|1|Ok|Ok\n", REPLY_MORE),
    ROW("250\r\n", "250||1||\n", REPLY_MORE),
    ROW("250\n", "250||1||\n", REPLY_MORE),
    ROW("250 \r\n", "250||1||\n", REPLY_MORE),
    ROW("250 ok\n354 go\n", "250||1|ok|ok\n354||1|go|go\n", REPLY_MORE),
    ROW("250-a\r\n250-b\r\n250 c\r\n", "250||3|a / b / c|c\n", REPLY_MORE),
    ROW("250-a\r\n250-\r\n250\r\n", "250||3|a|\n", REPLY_MORE),
    ROW("250-\r\n250 b\r\n", "250||2|b|b\n", REPLY_MORE),
    ROW("550-5.1.1 The email account\r\n550-5.1.1 that you tried\r\n550 5.1.1 does not exist - gsmtp\r\n",
        "550|5.1.1|3|The email account / that you tried / does not exist - gsmtp|does not exist - gsmtp\n", REPLY_MORE),
    ROW("550-5.7.1 first\r\n550-no status\r\n550 5.1.1 last\r\n", "550|5.1.1|3|first / no status / last|last\n",
        REPLY_MORE),
    ROW("250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data\r\n250 2.0.0 queued\r\n",
        "250|2.1.0|1|Ok|Ok\n250|2.1.5|1|Ok|Ok\n354||1|End data|End data\n250|2.0.0|1|queued|queued\n", REPLY_MORE),
    /* an enhanced status stands directly behind the code, and is none if it looks like something else */
    ROW("554 5.7.1.100 is listed\r\n", "554||1|5.7.1.100 is listed|5.7.1.100 is listed\n", REPLY_MORE),
    ROW("554 host 5.7.1 bad\r\n", "554||1|host 5.7.1 bad|host 5.7.1 bad\n", REPLY_MORE),
    ROW("554  5.7.1 two blanks\r\n", "554||1|5.7.1 two blanks|5.7.1 two blanks\n", REPLY_MORE),
    ROW("550 5.7.1\r\n", "550|5.7.1|1||\n", REPLY_MORE),
    ROW("550 5.7.1. Blocked\r\n", "550|5.7.1|1|. Blocked|. Blocked\n", REPLY_MORE),
    ROW("550 5.7.1: no\r\n", "550|5.7.1|1|: no|: no\n", REPLY_MORE),
    ROW("550 5.7.1234 no\r\n", "550||1|5.7.1234 no|5.7.1234 no\n", REPLY_MORE),
    ROW("550 5.7.1b no\r\n", "550||1|5.7.1b no|5.7.1b no\n", REPLY_MORE),
    ROW("550 3.7.1 no\r\n", "550||1|3.7.1 no|3.7.1 no\n", REPLY_MORE),
    ROW("550 5..1 no\r\n", "550||1|5..1 no|5..1 no\n", REPLY_MORE),
    ROW("550 5.1. no\r\n", "550||1|5.1. no|5.1. no\n", REPLY_MORE),
    ROW("550 5.1\r\n", "550||1|5.1|5.1\n", REPLY_MORE),
    ROW("550 5.123.123 x\r\n", "550|5.123.123|1|x|x\n", REPLY_MORE),
    ROW("354 2.0.0 go\r\n", "354||1|2.0.0 go|2.0.0 go\n", REPLY_MORE),
    /* what must not reach an event or a log */
    ROW("250 a\tb\001c\177\rd\r\n", "250||1|a b?c??d|a b?c??d\n", REPLY_MORE),
    ROW("250 nul\0byte\r\n", "250||1|nul?byte|nul?byte\n", REPLY_MORE),
    ROW("250 caf\xc3\xa9 \xff \xc3\r\n", "250||1|caf\xc3\xa9 ? ?|caf\xc3\xa9 ? ?\n", REPLY_MORE),
    ROW("250 \xc2\x85 \xed\xa0\x80 \xf0\x9f\x98\x80\r\n", "250||1|?? ??? \xf0\x9f\x98\x80|?? ??? \xf0\x9f\x98\x80\n",
        REPLY_MORE),
    ROW("250 trailing \t \r\r\n", "250||1|trailing   ?|trailing   ?\n", REPLY_MORE),
    ROW("250 trailing  \t\r\n", "250||1|trailing|trailing\n", REPLY_MORE),
    /* not finished */
    ROW("250-a\r\n250 b", "", REPLY_MORE),
    ROW("2", "", REPLY_MORE),
    ROW("250 a\r\n25", "250||1|a|a\n", REPLY_MORE),
    /* no replies */
    ROW("HTTP/1.1 400 Bad Request\r\n", "", REPLY_GARBAGE),
    ROW("\r\n250 ok\r\n", "", REPLY_GARBAGE),
    ROW("150 ok\r\n", "", REPLY_GARBAGE),
    ROW("650 ok\r\n", "", REPLY_GARBAGE),
    ROW("25 ok\r\n", "", REPLY_GARBAGE),
    ROW("2500 ok\r\n", "", REPLY_GARBAGE),
    ROW("250ok\r\n", "", REPLY_GARBAGE),
    ROW("250-a\r\n550 b\r\n", "", REPLY_GARBAGE),
    ROW("250-a\r\nb\r\n", "", REPLY_GARBAGE),
    ROW("250 ok\r\nSSH-2.0\r\n", "250||1|ok|ok\n", REPLY_GARBAGE),
    ROW("\x16\x03\x01\x02", "", REPLY_GARBAGE),
#undef ROW
};

static void test_corpus_at_every_split(void **state)
{
    (void)state;
    static struct shown shown;
    for (size_t i = 0; i < countof(corpus); i++)
        for (size_t first = 0; first <= corpus[i].bytes.n; first++)
            for (size_t second = first; second <= corpus[i].bytes.n; second++) {
                feed(&shown, corpus[i].bytes, first, second);
                assert_string_equal(shown.p, corpus[i].replies);
                assert_int_equal(shown.end, corpus[i].end);
            }
}

static void test_corpus_byte_by_byte(void **state)
{
    (void)state;
    static struct shown shown;
    for (size_t i = 0; i < countof(corpus); i++) {
        struct reply_parser parser;
        reply_init(&parser);
        shown.n = 0;
        shown.p[0] = 0;
        shown.end = REPLY_MORE;
        for (size_t at = 0; at < corpus[i].bytes.n; at++)
            feed_chunk(&parser, (struct slice){corpus[i].bytes.p + at, 1}, &shown);
        assert_string_equal(shown.p, corpus[i].replies);
        assert_int_equal(shown.end, corpus[i].end);
    }
}

/* `lines` lines of `each` bytes with their ends, the last of `last` bytes. */
static size_t make_lines(char *p, unsigned lines, size_t each, size_t last)
{
    size_t n = 0;
    for (unsigned i = 0; i < lines; i++) {
        size_t size = i + 1 < lines ? each : last;
        memset(p + n, 'x', size);
        memcpy(p + n, i + 1 < lines ? "250-" : "250 ", 4);
        memcpy(p + n + size - 2, "\r\n", 2);
        n += size;
    }
    return n;
}

static enum reply_result parse_cut(struct slice bytes, size_t cut, struct reply_parser *parser, struct reply *reply)
{
    reply_init(parser);
    struct slice first = {bytes.p, cut}, second = {bytes.p + cut, bytes.n - cut};
    enum reply_result result = reply_parse(parser, &first, reply);
    return result == REPLY_MORE ? reply_parse(parser, &second, reply) : result;
}

static void test_bounds(void **state)
{
    (void)state;
    static char bytes[2 * LIMIT_REPLY];
    static struct reply_parser parser;
    struct reply reply;
    size_t cuts[] = {0, 1, 3, 4, 5, 2045, 2046, 2047, 2048, 2049};
    for (size_t i = 0; i < countof(cuts); i++) {
        struct slice line = {bytes, make_lines(bytes, 1, 0, LIMIT_REPLY_LINE)};
        assert_int_equal(parse_cut(line, cuts[i] < line.n ? cuts[i] : line.n, &parser, &reply), REPLY_COMPLETE);
        assert_int_equal(reply.text.n, LIMIT_REPLY_LINE - 6);
        line.n = make_lines(bytes, 1, 0, LIMIT_REPLY_LINE + 1);
        assert_int_equal(parse_cut(line, cuts[i], &parser, &reply), REPLY_OVERRUN);
        struct slice more = SLICE("250 ok\r\n"); /* it stays so */
        assert_int_equal(reply_parse(&parser, &more, &reply), REPLY_OVERRUN);
    }
    struct slice whole = {bytes, make_lines(bytes, 8, LIMIT_REPLY / 8, LIMIT_REPLY / 8)};
    assert_int_equal(whole.n, LIMIT_REPLY);
    for (size_t cut = 0; cut <= whole.n; cut += 7)
        assert_int_equal(parse_cut(whole, cut, &parser, &reply), REPLY_COMPLETE);
    whole.n = make_lines(bytes, 8, LIMIT_REPLY / 8, LIMIT_REPLY / 8 + 1);
    for (size_t cut = 0; cut <= whole.n; cut += 7)
        assert_int_equal(parse_cut(whole, cut, &parser, &reply), REPLY_OVERRUN);
}

/* The joined text never outgrows what came, whatever the lines' lengths. */
static void test_many_short_lines(void **state)
{
    (void)state;
    static char bytes[2 * LIMIT_REPLY];
    static struct reply_parser parser;
    struct reply reply;
    size_t n = 0;
    unsigned lines = 0;
    while (n + 6 <= LIMIT_REPLY - 6) {
        memcpy(bytes + n, "250-x\n", 6);
        n += 6;
        lines++;
    }
    memcpy(bytes + n, "250 y\n", 6);
    struct slice rest = {bytes, n + 6};
    reply_init(&parser);
    assert_int_equal(reply_parse(&parser, &rest, &reply), REPLY_COMPLETE);
    assert_int_equal(reply.lines, lines + 1);
    assert_int_equal(reply.text.n, lines + 1 + 3 * lines);
    assert_true(slice_equal(reply.last, SLICE("y")));
    assert_true(slice_equal(reply_line(&reply, 0), SLICE("x")));
    assert_true(slice_equal(reply_line(&reply, REPLY_LINES - 1), SLICE("x")));
    assert_int_equal(reply_line(&reply, REPLY_LINES).n, 0);

    memcpy(bytes + n, "250-z\n250-z\n", 12); /* one reply that never ends is cut off */
    rest = (struct slice){bytes, n + 12};
    reply_init(&parser);
    assert_int_equal(reply_parse(&parser, &rest, &reply), REPLY_OVERRUN);
}

static void test_lines(void **state)
{
    (void)state;
    static struct reply_parser parser;
    struct reply reply;
    reply_init(&parser);
    struct slice bytes = SLICE("250-mx / x\r\n250-\r\n250-SIZE 1\r\n250 DSN\r\n");
    assert_true(reply_idle(&parser));
    struct slice start = {bytes.p, 3};
    assert_int_equal(reply_parse(&parser, &start, &reply), REPLY_MORE);
    assert_false(reply_idle(&parser));
    bytes = (struct slice){bytes.p + 3, bytes.n - 3};
    assert_int_equal(reply_parse(&parser, &bytes, &reply), REPLY_COMPLETE);
    assert_true(reply_idle(&parser));
    assert_int_equal(reply.lines, 4);
    assert_true(slice_equal(reply_line(&reply, 0), SLICE("mx / x")));
    assert_true(slice_equal(reply_line(&reply, 1), SLICE("")));
    assert_true(slice_equal(reply_line(&reply, 2), SLICE("SIZE 1")));
    assert_true(slice_equal(reply_line(&reply, 3), SLICE("DSN")));
    assert_true(slice_equal(reply.text, SLICE("mx / x / SIZE 1 / DSN")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus_at_every_split),
        cmocka_unit_test(test_corpus_byte_by_byte),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_many_short_lines),
        cmocka_unit_test(test_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
