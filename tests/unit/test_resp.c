/* Tests resp.c: what is written is RESP, what is read is the same however it is split. */
#include "store/resp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_commands(void **state)
{
    struct resp_command command = {0};
    const struct slice parts[] = {SLICE("a"), SLICE(""), SLICE("bc")};
    static const char expected[] = "*6\r\n$3\r\nSET\r\n$3\r\nabc\r\n$0\r\n\r\n$20\r\n-9223372036854775808\r\n"
                                   "$20\r\n18446744073709551615\r\n$1\r\n0\r\n";
    struct resp_out out = {0};
    struct slice got;
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        resp_begin(&command);
        resp_text(&command, SLICE("SET"));
        resp_joined(&command, parts, 3);
        resp_text(&command, SLICE(""));
        resp_number(&command, INT64_MIN);
        resp_unsigned(&command, UINT64_MAX);
        resp_number(&command, 0);
    }
    assert_int_equal(resp_out_command(&out, &command), sizeof expected - 1);
    uint64_t to = out.end;
    assert_int_equal(resp_out_parts(&out, 0, &to, &got, 1), 1);
    assert_int_equal(got.n, sizeof expected - 1);
    assert_memory_equal(got.p, expected, got.n);
    resp_out_free(&out);
    resp_command_free(&command);
}

/* What goes in comes out, in order, whatever is dropped in between; what is lent does not move. */
static void test_out_is_a_queue(void **state)
{
    struct resp_out out = {0};
    uint64_t dropped = 0;
    char bytes[1000];
    (void)state;
    for (uint64_t i = 0; i < 2000; i++) {
        size_t n = (i * 131) % sizeof bytes;
        for (size_t k = 0; k < n; k++)
            bytes[k] = (char)((out.end + k) * 7 >> 3);
        struct slice lent = {NULL, 0};
        uint64_t to = out.end < dropped + 5 ? out.end : dropped + 5;
        if (dropped < to)
            assert_int_equal(resp_out_parts(&out, dropped, &to, &lent, 1), 1);
        resp_out_append(&out, (struct slice){bytes, n});
        for (size_t k = 0; k < lent.n; k++)
            assert_int_equal(lent.p[k], (char)((dropped + k) * 7 >> 3));
        if (i % 3)
            continue;
        dropped += (out.end - dropped) * (i % 5) / 4;
        resp_out_drop(&out, dropped);
        uint64_t from = dropped;
        while (from < out.end) {
            struct slice parts[3];
            to = out.end;
            unsigned count = resp_out_parts(&out, from, &to, parts, 3);
            assert_true(to > from);
            for (unsigned p = 0; p < count; p++)
                for (size_t k = 0; k < parts[p].n; k++, from++)
                    assert_int_equal(parts[p].p[k], (char)(from * 7 >> 3));
            assert_true(from == to);
        }
    }
    resp_out_free(&out);
}

static const char reply[] =
    "*5\r\n:-7\r\n$5\r\na\r\nb\r\r\n*2\r\n*0\r\n*1\r\n+OK\r\n$-1\r\n$0\r\n\r\n-ERR no\r\n:42\r\n";

static void check_replies(struct resp_in *in, unsigned *seen)
{
    const struct resp_node *nodes;
    unsigned count;
    int got;
    while ((got = resp_in_next(in, &nodes, &count)) > 0) {
        switch ((*seen)++) {
        case 0:
            assert_int_equal(nodes->type, RESP_ARRAY);
            assert_int_equal(nodes->size, count);
            assert_int_equal(resp_to_number(resp_member(nodes, 0)), -7);
            assert_memory_equal(resp_to_text(resp_member(nodes, 1)).p, "a\r\nb\r", 5);
            assert_int_equal(resp_member(resp_member(nodes, 2), 0)->count, 0);
            assert_int_equal(resp_member(resp_member(resp_member(nodes, 2), 1), 0)->type, RESP_STATUS);
            assert_int_equal(resp_member(nodes, 3)->type, RESP_NIL);
            assert_int_equal(resp_member(nodes, 4)->type, RESP_STRING);
            assert_int_equal(resp_member(nodes, 4)->text.n, 0);
            assert_null(resp_member(nodes, 5));
            assert_null(resp_member(resp_member(nodes, 0), 0));
            break;
        case 1:
            assert_int_equal(nodes->type, RESP_ERROR);
            assert_memory_equal(nodes->text.p, "ERR no", 6);
            break;
        case 2:
            assert_int_equal(resp_to_number(nodes), 42);
            break;
        default:
            fail();
        }
    }
    assert_int_equal(got, 0);
}

static void test_replies_at_any_split(void **state)
{
    struct resp_in *in = resp_in_open();
    (void)state;
    for (size_t a = 0; a + 1 < sizeof reply; a++)
        for (size_t b = a; b + 1 < sizeof reply; b++) {
            unsigned seen = 0;
            resp_in_feed(in, (struct slice){reply, a});
            check_replies(in, &seen);
            resp_in_feed(in, (struct slice){reply + a, b - a});
            check_replies(in, &seen);
            resp_in_feed(in, (struct slice){reply + b, sizeof reply - 1 - b});
            check_replies(in, &seen);
            assert_int_equal(seen, 3);
        }
    resp_in_free(in);
}

static void test_rubbish_and_reset(void **state)
{
    struct resp_in *in = resp_in_open();
    const struct resp_node *nodes;
    unsigned count;
    (void)state;
    resp_in_feed(in, SLICE("*3\r\n:1\r\n$3\r\nab")); /* a reply that never ends */
    assert_int_equal(resp_in_next(in, &nodes, &count), 0);
    resp_in_reset(in);
    resp_in_feed(in, SLICE("HTTP/1.1 400 Bad Request\r\n"));
    assert_int_equal(resp_in_next(in, &nodes, &count), -1);
    resp_in_reset(in);
    resp_in_feed(in, SLICE(":5\r\n"));
    assert_int_equal(resp_in_next(in, &nodes, &count), 1);
    assert_int_equal(nodes->number, 5);
    resp_in_free(in);
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        uint64_t number;
    } rows[] = {{"", 0},
                {"0", 0},
                {"12x", 0},
                {"-1", 0},
                {"1e3", 0},
                {"1795285488057000000", 1795285488057000000},
                {"18446744073709551615", UINT64_MAX},
                {"18446744073709551616", 0}};
    (void)state;
    for (unsigned i = 0; i < countof(rows); i++) {
        struct resp_node node = {.type = RESP_STRING, .text = slice_of(rows[i].text)};
        assert_true(resp_to_unsigned(&node) == rows[i].number);
        assert_true(resp_to_number(&node) == (int64_t)(rows[i].number > INT64_MAX ? 0 : rows[i].number));
    }
    assert_int_equal(resp_to_number(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_out_is_a_queue),
        cmocka_unit_test(test_replies_at_any_split),
        cmocka_unit_test(test_rubbish_and_reset),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
