/* Bytes through connections: all of them, in order, or an error. */
#include "contract.h"

#include <stdio.h>

enum { MEGABYTE = 1024 * 1024 };

static void round_trip(struct stage *stage, int family)
{
    struct end a, b;
    char *pattern = pattern_new(1000);
    pair_open(stage, family, &a, &b);
    end_recv(&a);
    end_recv(&b);
    a.wanted = b.wanted = 1000;
    end_send(&a, pattern, 1000);
    assert_int_equal(b.received, 0); /* nothing happens inside a call */
    stage_until(stage, end_has_wanted, &b);
    end_send(&b, pattern, 1000);
    stage_until(stage, end_has_wanted, &a);
    stage_until(stage, end_is_sent, &b);
    assert_int_equal(a.sent, 1);
    assert_int_equal(a.send_result, 1000);
    assert_int_equal(b.send_result, 1000);
    assert_int_equal(a.connected, 1);
    end_close(&a);
    end_close(&b);
    assert_int_equal(a.ended, 1);
    test_free(pattern);
}

static void bytes_go_both_ways_over_ipv4(void **state) { round_trip(*state, AF_INET); }
static void bytes_go_both_ways_over_ipv6(void **state) { round_trip(*state, AF_INET6); }
static void bytes_go_both_ways_over_a_unix_socket(void **state) { round_trip(*state, AF_UNIX); }

static void parts_go_out_in_order(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    char *pattern = pattern_new(9999);
    struct slice parts[IO_SEND_PARTS] = {{pattern, 1},          {pattern + 1, 0},      {pattern + 1, 10},
                                         {pattern + 11, 489},   {pattern + 500, 0},    {pattern + 500, 4096},
                                         {pattern + 4596, 403}, {pattern + 4999, 5000}};
    pair_open(stage, AF_INET, &a, &b);
    end_recv(&b);
    b.wanted = 9999;
    io_send(stage->io, &a.send, a.fd, parts, countof(parts));
    memset(parts, 0, sizeof parts); /* the array was lent until return only */
    stage_until(stage, end_has_wanted, &b);
    stage_until(stage, end_is_sent, &a);
    assert_int_equal(a.send_result, 9999);
    assert_int_equal(b.received, 9999);
    end_close(&a);
    end_close(&b);
    test_free(pattern);
}

static void an_empty_send_is_done_in_a_turn(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    struct slice nothing[2] = {{"", 0}, {"", 0}};
    pair_open(stage, AF_INET, &a, &b);
    for (unsigned parts = 0; parts <= 2; parts++) {
        io_send(stage->io, &a.send, a.fd, nothing, parts);
        assert_true(io_op_busy(&a.send.op));
        assert_int_equal(a.sent, parts);
        stage_until(stage, end_is_sent, &a);
        assert_int_equal(a.sent, parts + 1);
        assert_int_equal(a.send_result, 0);
    }
    end_close(&a);
    end_close(&b);
}

/* Many sends of random sizes, the next one from `done` of the one before. */
struct flood {
    const char *pattern;
    size_t total;
};

static void send_more(struct end *end)
{
    const struct flood *flood = end->context;
    size_t left = flood->total - (size_t)end->written;
    size_t n = 1 + stage_random(end->stage) % (stage_random(end->stage) % 4 ? 200 : 20000);
    assert_true(end->send_result >= 0);
    if (left)
        end_send(end, flood->pattern, n < left ? n : left);
}

static void chunks_of_any_size_arrive_in_order(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    struct flood flood = {pattern_new(MEGABYTE), MEGABYTE};
    print_message("seed %llu\n", (unsigned long long)stage->random);
    pair_open(stage, AF_INET, &a, &b);
    a.on_sent = send_more;
    a.context = &flood;
    b.wanted = MEGABYTE;
    end_recv(&b);
    send_more(&a);
    stage_until(stage, end_has_wanted, &b);
    stage_until(stage, end_is_sent, &a);
    assert_int_equal(b.received, MEGABYTE);
    assert_true(a.sent > 100);
    end_close(&a);
    end_close(&b);
    test_free((void *)(uintptr_t)flood.pattern);
}

static void a_large_send_waits_for_a_slow_reader(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    size_t total = 8 * (size_t)MEGABYTE;
    char *pattern = pattern_new(total);
    struct slice parts[3] = {{pattern, total / 2}, {pattern + total / 2, 1}, {pattern + total / 2 + 1, total / 2 - 1}};
    pair_open(stage, AF_INET, &a, &b);
    io_send(stage->io, &a.send, a.fd, parts, countof(parts));
    stage_wait(stage, 20 * NSEC_PER_MS);
    assert_int_equal(a.sent, 0); /* nobody reads: not all can be on its way */
    end_recv(&b);
    b.wanted = total;
    stage_until(stage, end_has_wanted, &b);
    stage_until(stage, end_is_sent, &a);
    assert_int_equal(a.sent, 1);
    assert_int_equal(a.send_result, total);
    assert_int_equal(b.received, total);
    end_close(&a);
    end_close(&b);
    test_free(pattern);
}

static void a_large_send_to_one_who_leaves_is_an_error_not_a_short_count(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    size_t total = 8 * (size_t)MEGABYTE;
    char *pattern = pattern_new(total);
    pair_open(stage, AF_INET, &a, &b);
    end_send(&a, pattern, total);
    end_recv(&b);
    b.wanted = 1;
    stage_until(stage, end_has_wanted, &b);
    end_close(&b);
    stage_until(stage, end_is_sent, &a);
    assert_int_equal(a.sent, 1);
    assert_true(a.send_result == -ECONNRESET || a.send_result == -EPIPE);
    end_close(&a);
    test_free(pattern);
}

static void echo(struct end *end)
{
    const char *pattern = end->context;
    if (!io_op_busy(&end->send.op) && end->received > end->written)
        end_send(end, pattern, (size_t)(end->received - end->written));
}

/* A callback sends, which is a call, and its own `done` comes back in a turn. */
static void a_receiver_may_send_from_its_callback(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    struct flood flood = {pattern_new(100000), 100000};
    pair_open(stage, AF_INET, &a, &b);
    a.on_sent = send_more;
    a.context = &flood;
    a.wanted = 100000;
    b.on_bytes = b.on_sent = echo;
    b.context = (void *)(uintptr_t)flood.pattern;
    end_recv(&a);
    end_recv(&b);
    send_more(&a);
    stage_until(stage, end_has_wanted, &a);
    assert_int_equal(a.received, 100000);
    assert_int_equal(a.ended + b.ended, 0);
    end_close(&a);
    end_close(&b);
    test_free((void *)(uintptr_t)flood.pattern);
}

static void an_idle_receive_says_nothing(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    char *pattern = pattern_new(1);
    pair_open(stage, AF_INET, &a, &b);
    end_recv(&b);
    stage_turn(stage, 0);
    nsec until = io_now(stage->io) + 20 * NSEC_PER_MS;
    while (io_now(stage->io) < until)
        assert_int_equal(stage_turn(stage, until), 0);
    assert_true(io_op_busy(&b.recv.op));
    end_send(&a, pattern, 1);
    b.wanted = 1;
    stage_until(stage, end_has_wanted, &b);
    end_close(&a);
    end_close(&b);
    test_free(pattern);
}

/* More receivers than the backend has buffers in reserve, all with much to read at once. */
static void many_receivers_at_once_lose_nothing(void **state)
{
    enum { PAIRS = 100, EACH = 60000 };
    struct stage *stage = *state;
    struct end *ends = test_calloc((size_t)2 * PAIRS, sizeof *ends);
    char *pattern = pattern_new(EACH);
    for (unsigned i = 0; i < PAIRS; i++) {
        pair_open(stage, AF_INET, &ends[2 * i], &ends[2 * i + 1]);
        end_send(&ends[2 * i], pattern, EACH);
    }
    stage_wait(stage, 5 * NSEC_PER_MS);
    for (unsigned i = 0; i < PAIRS; i++) {
        ends[2 * i + 1].wanted = EACH;
        end_recv(&ends[2 * i + 1]);
    }
    for (unsigned i = 0; i < PAIRS; i++)
        stage_until(stage, end_has_wanted, &ends[2 * i + 1]);
    for (unsigned i = 0; i < 2 * PAIRS; i++) {
        assert_int_equal(ends[i].ended, 0);
        end_close(&ends[i]);
    }
    test_free(pattern);
    test_free(ends);
}

/* Far more than one hand-over to the kernel takes, all started between two turns. */
static void hundreds_of_operations_start_at_once(void **state)
{
    enum { PAIRS = 100, POLLS = 2 };
    struct stage *stage = *state;
    struct end *ends = test_calloc((size_t)2 * PAIRS, sizeof *ends);
    struct single *polls = test_calloc((size_t)2 * PAIRS * POLLS, sizeof *polls);
    char *pattern = pattern_new(10);
    for (unsigned i = 0; i < PAIRS; i++)
        pair_open(stage, AF_UNIX, &ends[2 * i], &ends[2 * i + 1]);
    for (unsigned i = 0; i < 2 * PAIRS; i++) {
        ends[i].wanted = 10;
        end_recv(&ends[i]);
        end_send(&ends[i], pattern, 10);
        for (unsigned k = 0; k < POLLS; k++) {
            single_init(&polls[i * POLLS + k], stage);
            io_poll(stage->io, &polls[i * POLLS + k].op, ends[i].fd, POLLOUT);
        }
    }
    for (unsigned i = 0; i < 2 * PAIRS; i++) {
        stage_until(stage, end_has_wanted, &ends[i]);
        for (unsigned k = 0; k < POLLS; k++)
            stage_until(stage, single_is_done, &polls[i * POLLS + k]);
    }
    for (unsigned i = 0; i < 2 * PAIRS; i++)
        io_cancel(stage->io, &ends[i].recv.op);
    for (unsigned i = 0; i < 2 * PAIRS; i++) {
        end_close(&ends[i]);
        assert_int_equal(ends[i].sent, 1);
        assert_int_equal(ends[i].ended, 1);
        assert_int_equal(polls[i * POLLS].done, 1);
    }
    test_free(pattern);
    test_free(polls);
    test_free(ends);
}

const struct CMUnitTest contract_bytes[CONTRACT_TESTS_MAX] = {
    cmocka_unit_test(bytes_go_both_ways_over_ipv4),
    cmocka_unit_test(bytes_go_both_ways_over_ipv6),
    cmocka_unit_test(bytes_go_both_ways_over_a_unix_socket),
    cmocka_unit_test(parts_go_out_in_order),
    cmocka_unit_test(an_empty_send_is_done_in_a_turn),
    cmocka_unit_test(chunks_of_any_size_arrive_in_order),
    cmocka_unit_test(a_large_send_waits_for_a_slow_reader),
    cmocka_unit_test(a_large_send_to_one_who_leaves_is_an_error_not_a_short_count),
    cmocka_unit_test(a_receiver_may_send_from_its_callback),
    cmocka_unit_test(an_idle_receive_says_nothing),
    cmocka_unit_test(many_receivers_at_once_lose_nothing),
    cmocka_unit_test(hundreds_of_operations_start_at_once),
};
