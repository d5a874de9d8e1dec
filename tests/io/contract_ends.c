/* How connections begin and end: accepted, refused, closed, half-closed, reset. */
#include "contract.h"

static void both_ends_know_the_same_addresses(void **state)
{
    struct stage *stage = *state;
    for (int i = 0; i < 2; i++) {
        struct end a, b;
        struct io_address a_peer, a_local, b_peer, b_local;
        pair_open(stage, i ? AF_INET6 : AF_INET, &a, &b);
        assert_true(io_peer(stage->io, a.fd, &a_peer, &a_local));
        assert_true(io_peer(stage->io, b.fd, &b_peer, &b_local));
        assert_true(io_address_equal(&a_peer, &b_local));
        assert_true(io_address_equal(&a_local, &b_peer));
        assert_false(io_address_equal(&a_local, &a_peer));
        assert_true(io_address_port(&a_local) > 0);
        end_close(&a);
        end_close(&b);
    }
}

static void a_connection_comes_from_its_source(void **state)
{
    struct stage *stage = *state;
    struct listener listener;
    listener_open(&listener, stage, AF_INET);
    for (unsigned n = 0; n < 3; n++) {
        struct end end;
        struct io_address source, peer, local;
        char expected[128], seen[128];
        backend_source(stage->backend, n, &source);
        end_init(&end, stage, io_socket(stage->io, AF_INET, &source));
        assert_true(end.fd >= 0);
        io_connect(stage->io, &end.connect, end.fd, &listener.at);
        listener.wanted = n + 1;
        stage_until(stage, listener_has_wanted, &listener);
        stage_until(stage, end_is_connected, &end);
        assert_int_equal(end.connect_result, 0);
        assert_true(io_peer(stage->io, listener.accepted[n], &peer, &local));
        io_address_text(&source, expected, sizeof expected);
        io_address_text(&peer, seen, sizeof seen);
        assert_string_equal(seen, expected);
        assert_true(io_address_equal(&local, &listener.at));
        io_close(stage->io, listener.accepted[n]);
        end_close(&end);
    }
    listener_close(&listener);
}

static void a_source_that_is_not_ours_is_refused(void **state)
{
    struct stage *stage = *state;
    struct io_address foreign;
    assert_true(io_address_parse(&foreign, "203.0.113.77", 0));
    assert_int_equal(io_socket(stage->io, AF_INET, &foreign), -EADDRNOTAVAIL);
}

static void nobody_refuses(void **state)
{
    struct stage *stage = *state;
    const int families[] = {AF_INET, AF_INET6, AF_UNIX};
    for (size_t i = 0; i < countof(families); i++) {
        struct io_address at;
        struct end end;
        backend_nobody(stage->backend, families[i], &at);
        end_init(&end, stage, io_socket(stage->io, families[i], NULL));
        io_connect(stage->io, &end.connect, end.fd, &at);
        assert_int_equal(end.connected, 0);
        stage_until(stage, end_is_connected, &end);
        assert_true(end.connect_result == -ECONNREFUSED || (families[i] == AF_UNIX && end.connect_result == -ENOENT));
        end_close(&end);
        assert_int_equal(end.connected, 1);
    }
}

static void an_address_is_listened_on_once_unless_shared(void **state)
{
    struct stage *stage = *state;
    struct io_address at;
    int first = backend_listen(stage->backend, stage->io, AF_INET, false, &at);
    assert_int_equal(io_listen(stage->io, &at, 16, false), -EADDRINUSE);
    io_close(stage->io, first);
    int again = io_listen(stage->io, &at, 16, false);
    assert_true(again >= 0);
    io_close(stage->io, again);
    first = backend_listen(stage->backend, stage->io, AF_INET, true, &at);
    int second = io_listen(stage->io, &at, 16, true);
    assert_true(second >= 0 && second != first);
    io_close(stage->io, first);
    io_close(stage->io, second);
}

static void many_are_accepted_each_once(void **state)
{
    enum { MANY = 200 };
    struct stage *stage = *state;
    struct listener listener;
    struct end *ends = test_calloc(MANY, sizeof *ends);
    listener_open(&listener, stage, AF_INET);
    for (unsigned i = 0; i < MANY; i++) {
        end_init(&ends[i], stage, io_socket(stage->io, AF_INET, NULL));
        io_connect(stage->io, &ends[i].connect, ends[i].fd, &listener.at);
    }
    listener.wanted = MANY;
    stage_until(stage, listener_has_wanted, &listener);
    for (unsigned i = 0; i < MANY; i++) {
        stage_until(stage, end_is_connected, &ends[i]);
        assert_int_equal(ends[i].connect_result, 0);
    }
    stage_wait(stage, NSEC_PER_MS);
    assert_int_equal(listener.count, MANY);
    assert_int_equal(listener.ended, 0);
    for (unsigned i = 0; i < MANY; i++) {
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(listener.accepted[i], listener.accepted[k]);
        io_close(stage->io, listener.accepted[i]);
        end_close(&ends[i]);
        assert_int_equal(ends[i].connected, 1);
    }
    listener_close(&listener);
    assert_int_equal(listener.result, -ECANCELED);
    test_free(ends);
}

static void a_close_is_the_end_of_file_behind_the_last_byte(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    char *pattern = pattern_new(50000);
    pair_open(stage, AF_INET, &a, &b);
    end_send(&a, pattern, 50000);
    stage_until(stage, end_is_sent, &a);
    end_close(&a);
    end_recv(&b);
    stage_until(stage, end_is_ended, &b);
    assert_int_equal(b.end_result, 0);
    assert_int_equal(b.received, 50000);
    assert_int_equal(b.ended, 1);
    end_close(&b);
    test_free(pattern);
}

static void a_shutdown_closes_one_direction(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    char *pattern = pattern_new(2000);
    pair_open(stage, AF_INET, &a, &b);
    end_recv(&a);
    end_recv(&b);
    end_send(&a, pattern, 1000);
    stage_until(stage, end_is_sent, &a);
    io_shutdown(stage->io, a.fd);
    stage_until(stage, end_is_ended, &b);
    assert_int_equal(b.end_result, 0);
    assert_int_equal(b.received, 1000);
    end_send(&b, pattern, 2000);
    a.wanted = 2000;
    stage_until(stage, end_has_wanted, &a);
    assert_int_equal(a.ended, 0);
    end_close(&b);
    stage_until(stage, end_is_ended, &a);
    assert_int_equal(a.end_result, 0);
    end_close(&a);
    test_free(pattern);
}

static void a_reset_is_told_to_the_receiver_and_the_sender(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    char *pattern = pattern_new(100);
    pair_open(stage, AF_INET, &a, &b);
    end_recv(&b);
    stage_turn(stage, 0);
    backend_reset(stage->backend, stage->io, a.fd);
    stage_until(stage, end_is_ended, &b);
    assert_int_equal(b.end_result, -ECONNRESET);
    assert_int_equal(b.received, 0);
    end_send(&b, pattern, 100); /* no signal ends the program */
    stage_until(stage, end_is_sent, &b);
    assert_true(b.send_result == -EPIPE || b.send_result == -ECONNRESET);
    end_close(&b);
    assert_int_equal(b.ended, 1);
    test_free(pattern);
}

/* A descriptor's number comes back at once; nothing of the connection before may reach the new one. */
static void a_descriptor_used_again_is_a_fresh_one(void **state)
{
    struct stage *stage = *state;
    char *pattern = pattern_new(300);
    for (int i = 0; i < 50; i++) {
        struct end a, b;
        pair_open(stage, AF_INET, &a, &b);
        end_recv(&a);
        end_recv(&b);
        end_send(&a, pattern, 300);
        end_send(&b, pattern, 200);
        if (i % 2) {
            a.wanted = 200;
            stage_until(stage, end_has_wanted, &a);
        }
        end_close(&a);
        end_close(&b);
        assert_int_equal(a.ended, 1);
        assert_int_equal(a.sent, 1);
    }
    test_free(pattern);
}

const struct CMUnitTest contract_ends[CONTRACT_TESTS_MAX] = {
    cmocka_unit_test(both_ends_know_the_same_addresses),
    cmocka_unit_test(a_connection_comes_from_its_source),
    cmocka_unit_test(a_source_that_is_not_ours_is_refused),
    cmocka_unit_test(nobody_refuses),
    cmocka_unit_test(an_address_is_listened_on_once_unless_shared),
    cmocka_unit_test(many_are_accepted_each_once),
    cmocka_unit_test(a_close_is_the_end_of_file_behind_the_last_byte),
    cmocka_unit_test(a_shutdown_closes_one_direction),
    cmocka_unit_test(a_reset_is_told_to_the_receiver_and_the_sender),
    cmocka_unit_test(a_descriptor_used_again_is_a_fresh_one),
};
