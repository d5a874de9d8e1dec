/* Ending operations early, one by one and all at once: every `done` exactly once, or never after io_close_all. */
#include "contract.h"

#include <stdatomic.h>

static bool has_both_received(void *context)
{
    const struct end *ends = context;
    return ends[0].chunks > 0 && ends[1].chunks > 0;
}

static void cancelling_what_is_idle_does_nothing(void **state)
{
    struct stage *stage = *state;
    struct single single;
    single_init(&single, stage);
    io_cancel(stage->io, &single.op);
    stage_wait(stage, NSEC_PER_MS);
    assert_int_equal(single.done, 0);
}

static void a_cancelled_receive_is_done_once_and_gives_no_bytes(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    char *pattern = pattern_new(5000);
    pair_open(stage, AF_INET, &a, &b);
    end_recv(&b);
    stage_turn(stage, 0);
    end_send(&a, pattern, 5000); /* the bytes are on their way before the cancel is */
    stage_until(stage, end_is_sent, &a);
    uint64_t before = b.received;
    io_cancel(stage->io, &b.recv.op);
    io_cancel(stage->io, &b.recv.op);
    assert_int_equal(b.ended, 0);
    assert_true(io_op_busy(&b.recv.op));
    stage_until(stage, end_is_ended, &b);
    assert_int_equal(b.end_result, -ECANCELED);
    stage_wait(stage, 2 * NSEC_PER_MS);
    assert_int_equal(b.received, before);
    assert_int_equal(b.ended, 1);
    end_close(&a);
    end_close(&b);
    assert_int_equal(b.ended, 1);
    test_free(pattern);
}

static void a_receive_cancelled_before_its_first_turn_is_done_too(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    pair_open(stage, AF_INET, &a, &b);
    for (unsigned i = 1; i <= 20; i++) {
        end_recv(&b);
        io_cancel(stage->io, &b.recv.op);
        assert_int_equal(b.ended, i - 1);
        stage_until(stage, end_is_idle, &b);
        assert_int_equal(b.ended, i);
        assert_int_equal(b.end_result, -ECANCELED);
    }
    end_close(&a);
    end_close(&b);
}

static void cancel_the_other(struct end *end)
{
    struct end *other = end->context;
    if (other->chunks == 0)
        io_cancel(end->stage->io, &other->recv.op);
}

/* Both have bytes in the same turn; whoever is first cancels the other, whose bytes were collected already. */
static void a_cancel_from_another_callback_of_the_turn_counts(void **state)
{
    struct stage *stage = *state;
    struct end senders[2], receivers[2];
    char *pattern = pattern_new(100);
    for (int i = 0; i < 2; i++) {
        pair_open(stage, AF_INET, &senders[i], &receivers[i]);
        receivers[i].on_bytes = cancel_the_other;
        end_send(&senders[i], pattern, 100);
    }
    receivers[0].context = &receivers[1];
    receivers[1].context = &receivers[0];
    stage_until(stage, end_is_sent, &senders[0]);
    stage_until(stage, end_is_sent, &senders[1]);
    stage_wait(stage, 2 * NSEC_PER_MS);
    end_recv(&receivers[0]);
    end_recv(&receivers[1]);
    for (int i = 0; i < 100 && receivers[0].ended + receivers[1].ended == 0; i++)
        stage_turn(stage, io_now(stage->io) + NSEC_PER_MS);
    assert_false(has_both_received(receivers));
    assert_int_equal(receivers[0].chunks + receivers[1].chunks, 1);
    assert_int_equal(receivers[0].ended + receivers[1].ended, 1);
    for (int i = 0; i < 2; i++) {
        end_close(&senders[i]);
        end_close(&receivers[i]);
        assert_int_equal(receivers[i].end_result, -ECANCELED);
    }
    test_free(pattern);
}

static void a_blocked_send_can_be_cancelled(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    size_t total = (size_t)8 * 1024 * 1024;
    char *pattern = pattern_new(total);
    pair_open(stage, AF_INET, &a, &b);
    end_send(&a, pattern, total);
    stage_wait(stage, 5 * NSEC_PER_MS);
    assert_int_equal(a.sent, 0);
    io_cancel(stage->io, &a.send.op);
    assert_int_equal(a.sent, 0);
    stage_until(stage, end_is_sent, &a);
    assert_int_equal(a.sent, 1);
    assert_int_equal(a.send_result, -ECANCELED);
    end_close(&a);
    end_recv(&b); /* what had left arrives, unbroken, and then the end */
    stage_until(stage, end_is_ended, &b);
    assert_true(b.received < total);
    end_close(&b);
    test_free(pattern);
}

static void a_cancelled_connect_is_done_once(void **state)
{
    struct stage *stage = *state;
    struct listener listener;
    listener_open(&listener, stage, AF_INET);
    for (int turns = 0; turns < 4; turns++) {
        struct end end;
        end_init(&end, stage, io_socket(stage->io, AF_INET, NULL));
        io_connect(stage->io, &end.connect, end.fd, &listener.at);
        for (int i = 0; i < turns; i++)
            stage_turn(stage, 0);
        io_cancel(stage->io, &end.connect);
        stage_until(stage, end_is_idle, &end);
        assert_int_equal(end.connected, 1);
        assert_true(end.connect_result == 0 || end.connect_result == -ECANCELED);
        stage_wait(stage, NSEC_PER_MS);
        end_close(&end);
        assert_int_equal(end.connected, 1);
    }
    for (unsigned i = 0; i < listener.count; i++)
        io_close(stage->io, listener.accepted[i]);
    listener_close(&listener);
}

static void a_cancelled_accept_accepts_no_more_until_it_is_asked_again(void **state)
{
    struct stage *stage = *state;
    struct listener listener;
    struct end end;
    listener_open(&listener, stage, AF_INET);
    stage_turn(stage, 0);
    io_cancel(stage->io, &listener.accept.op);
    while (!listener.ended)
        stage_turn(stage, NSEC_NEVER);
    assert_int_equal(listener.result, -ECANCELED);
    end_init(&end, stage, io_socket(stage->io, AF_INET, NULL));
    io_connect(stage->io, &end.connect, end.fd, &listener.at);
    stage_until(stage, end_is_connected, &end);
    assert_int_equal(end.connect_result, 0); /* the backlog took it */
    stage_wait(stage, 2 * NSEC_PER_MS);
    assert_int_equal(listener.count, 0);
    io_accept(stage->io, &listener.accept, listener.fd);
    listener.wanted = 1;
    stage_until(stage, listener_has_wanted, &listener);
    io_close(stage->io, listener.accepted[0]);
    end_close(&end);
    listener_close(&listener);
}

struct door {
    struct listener listener;
    void (*accepted)(struct io_accept *accept, int fd); /* the listener's own */
};

static void accept_one(struct io_accept *accept, int fd)
{
    struct door *door = container_of(accept, struct door, listener.accept);
    door->accepted(accept, fd);
    io_cancel(door->listener.stage->io, &accept->op);
}

/* Several connections come in one turn, and the first one's callback says that it was enough. */
static void an_accept_cancelled_from_its_callback_accepts_no_more(void **state)
{
    enum { MANY = 10 };
    struct stage *stage = *state;
    struct door door;
    struct end ends[MANY];
    listener_open(&door.listener, stage, AF_INET);
    door.accepted = door.listener.accept.accepted;
    door.listener.accept.accepted = accept_one;
    for (int i = 0; i < MANY; i++) {
        end_init(&ends[i], stage, io_socket(stage->io, AF_INET, NULL));
        io_connect(stage->io, &ends[i].connect, ends[i].fd, &door.listener.at);
    }
    for (int i = 0; i < MANY; i++)
        stage_until(stage, end_is_connected, &ends[i]);
    stage_wait(stage, 2 * NSEC_PER_MS);
    assert_int_equal(door.listener.count, 1);
    assert_int_equal(door.listener.ended, 1);
    assert_int_equal(door.listener.result, -ECANCELED);
    io_close(stage->io, door.listener.accepted[0]);
    listener_close(&door.listener);
    for (int i = 0; i < MANY; i++)
        end_close(&ends[i]);
}

static void a_poll_tells_readiness_once(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    struct single poll;
    char *pattern = pattern_new(1);
    pair_open(stage, AF_INET, &a, &b);
    single_init(&poll, stage);
    io_poll(stage->io, &poll.op, b.fd, POLLOUT);
    assert_int_equal(poll.done, 0);
    stage_until(stage, single_is_done, &poll);
    assert_true(poll.result > 0 && (poll.result & POLLOUT));
    single_init(&poll, stage);
    io_poll(stage->io, &poll.op, b.fd, POLLIN);
    stage_wait(stage, 2 * NSEC_PER_MS);
    assert_int_equal(poll.done, 0);
    end_send(&a, pattern, 1);
    stage_until(stage, single_is_done, &poll);
    assert_true(poll.result > 0 && (poll.result & POLLIN));
    stage_wait(stage, 2 * NSEC_PER_MS);
    assert_int_equal(poll.done, 1);
    end_close(&a);
    end_close(&b);
    test_free(pattern);
}

static void a_cancelled_poll_is_done_once(void **state)
{
    struct stage *stage = *state;
    struct end a, b;
    struct single poll;
    pair_open(stage, AF_INET, &a, &b);
    single_init(&poll, stage);
    io_poll(stage->io, &poll.op, b.fd, POLLIN);
    stage_turn(stage, 0);
    io_cancel(stage->io, &poll.op);
    stage_until(stage, single_is_done, &poll);
    assert_int_equal(poll.result, -ECANCELED);
    stage_wait(stage, NSEC_PER_MS);
    assert_int_equal(poll.done, 1);
    end_close(&a);
    end_close(&b);
}

static void swallow(struct io_recv *recv, struct slice bytes)
{
    struct end *end = container_of(recv, struct end, recv);
    stage_enter(end->stage);
    assert_true(bytes.n >= 1 && bytes.n <= IO_RECV_BYTES && io_op_busy(&recv->op));
    end->chunks++;
    stage_leave(end->stage);
}

struct storm {
    struct end end;
    struct single poll;
    unsigned sends, receives, polls; /* started */
};

static void storm_step(struct stage *stage, struct storm *s, const char *bytes)
{
    struct slice part = {bytes, 1 + stage_random(stage) % 3000};
    uint64_t choice = stage_random(stage) % 7;
    if (choice == 0 && !io_op_busy(&s->end.send.op)) {
        s->sends++;
        io_send(stage->io, &s->end.send, s->end.fd, &part, 1);
    } else if (choice == 1 && !io_op_busy(&s->end.recv.op)) {
        s->receives++;
        end_recv(&s->end);
    } else if (choice == 2 && !io_op_busy(&s->poll.op)) {
        s->polls++;
        io_poll(stage->io, &s->poll.op, s->end.fd, stage_random(stage) % 2 ? POLLIN : POLLOUT);
    } else if (choice == 3) {
        io_cancel(stage->io, &s->end.send.op);
    } else if (choice == 4) {
        io_cancel(stage->io, &s->end.recv.op);
    } else if (choice == 5) {
        io_cancel(stage->io, &s->poll.op);
    } else {
        stage_turn(stage, stage_random(stage) % 2 ? 0 : io_now(stage->io) + 20 * NSEC_PER_US);
    }
}

/* A random life: whatever is idle may be started, whatever is busy may be cancelled; in the end every operation that
 * was started is done, and not one `done` more. */
static void a_storm_of_cancels_loses_no_done(void **state)
{
    enum { ENDS = 32, STEPS = 10000 };
    struct stage *stage = *state;
    struct storm *storm = test_calloc(ENDS, sizeof *storm);
    char *bytes = pattern_new(3000);
    unsigned cancelled = 0;
    print_message("seed %llu\n", (unsigned long long)stage->random);
    for (unsigned i = 0; i < ENDS; i += 2)
        pair_open(stage, AF_INET, &storm[i].end, &storm[i + 1].end);
    for (unsigned i = 0; i < ENDS; i++) {
        storm[i].end.recv.bytes = swallow; /* a cancelled receive loses bytes: the pattern would not hold */
        single_init(&storm[i].poll, stage);
    }
    for (int step = 0; step < STEPS; step++)
        storm_step(stage, &storm[stage_random(stage) % ENDS], bytes);
    for (unsigned i = 0; i < ENDS; i++) {
        io_cancel(stage->io, &storm[i].poll.op);
        io_cancel(stage->io, &storm[i].end.recv.op);
        io_cancel(stage->io, &storm[i].end.send.op);
    }
    stage_wait(stage, 2 * NSEC_PER_MS);
    for (unsigned i = 0; i < ENDS; i++) {
        struct storm *s = &storm[i];
        stage_until(stage, end_is_idle, &s->end);
        assert_false(io_op_busy(&s->poll.op));
        assert_int_equal(s->end.sent, s->sends);
        assert_int_equal(s->end.ended, s->receives);
        assert_int_equal(s->poll.done, s->polls);
        cancelled += s->end.end_result == -ECANCELED;
    }
    assert_true(cancelled > 0);
    for (unsigned i = 0; i < ENDS; i++)
        end_close(&storm[i].end);
    test_free(bytes);
    test_free(storm);
}

/* ---- io_close_all ---- */

struct doomed {
    struct listener listener;
    struct end ends[8];
    struct end refused;
    struct single poll;
    struct io_timer timer;
    struct io_post post;
};

static void must_not_fire(struct io_timer *timer)
{
    (void)timer;
    fail_msg("a timer fired after the crash");
}

/* Everything that can be in flight, left there after `turns` turns; then the memory goes as well. */
static void crash_after(struct stage *stage, int turns, const char *pattern, size_t n)
{
    struct doomed *d = test_calloc(1, sizeof *d);
    struct io_address nobody;
    backend_nobody(stage->backend, AF_UNIX, &nobody);
    listener_open(&d->listener, stage, AF_INET);
    pair_open(stage, AF_INET, &d->ends[0], &d->ends[1]);
    pair_open(stage, AF_UNIX, &d->ends[2], &d->ends[3]);
    end_recv(&d->ends[0]);
    end_send(&d->ends[0], pattern, n); /* blocks */
    end_send(&d->ends[3], pattern, 1000);
    end_recv(&d->ends[2]);
    for (int i = 4; i < 8; i++) {
        end_init(&d->ends[i], stage, io_socket(stage->io, AF_INET, NULL));
        io_connect(stage->io, &d->ends[i].connect, d->ends[i].fd, &d->listener.at);
    }
    end_init(&d->refused, stage, io_socket(stage->io, AF_UNIX, NULL));
    io_connect(stage->io, &d->refused.connect, d->refused.fd, &nobody);
    single_init(&d->poll, stage);
    io_poll(stage->io, &d->poll.op, d->ends[1].fd, POLLRDHUP);
    d->timer.fire = must_not_fire;
    io_timer_set(stage->io, &d->timer, io_now(stage->io) + 3600 * NSEC_PER_S);
    d->post.kind = 1;
    assert_true(io_post(stage->io, 0, &d->post));
    for (int i = 0; i < turns; i++)
        stage_turn(stage, 0);
    io_cancel(stage->io, &d->ends[2].recv.op);
    backend_restart(stage->backend);
    stage->io = backend_io(stage->backend);
    test_free(d);
}

static void all_can_be_dropped_at_any_moment(void **state)
{
    struct stage *stage = *state;
    size_t n = (size_t)8 * 1024 * 1024;
    char *pattern = pattern_new(n);
    for (int turns = 0; turns < 8; turns++) {
        crash_after(stage, turns, pattern, n);
        struct end a, b;
        pair_open(stage, AF_INET, &a, &b); /* and it lives again */
        end_recv(&b);
        end_send(&a, pattern, 3000);
        b.wanted = 3000;
        stage_until(stage, end_has_wanted, &b);
        end_close(&a);
        end_close(&b);
    }
    test_free(pattern);
}

/* On another shard: what it sees of a connection whose other side crashes. */
struct witness {
    struct backend *backend;
    struct io *io;
    struct io_address at;
    struct io_accept accept;
    struct io_recv recv;
    atomic_uint accepted, ended;
};

static void on_witness_accepted(struct io_accept *accept, int fd)
{
    struct witness *witness = container_of(accept, struct witness, accept);
    io_recv(witness->io, &witness->recv, fd);
    atomic_store(&witness->accepted, 1);
}

static void on_witness_done(struct io_op *op, int result) { (void)op, (void)result; }

static void on_witness_bytes(struct io_recv *recv, struct slice bytes) { (void)recv, (void)bytes; }

static void on_witness_ended(struct io_op *op, int result)
{
    struct witness *witness = container_of(op, struct witness, recv.op);
    (void)result; /* an end of file or a reset, as the kernel finds fit */
    atomic_store(&witness->ended, 1);
}

static void become_witness(struct io *io, void *context)
{
    struct witness *witness = context;
    witness->io = io;
    witness->accept.op.done = on_witness_done;
    witness->accept.accepted = on_witness_accepted;
    witness->recv.op.done = on_witness_ended;
    witness->recv.bytes = on_witness_bytes;
    io_accept(io, &witness->accept, backend_listen(witness->backend, io, AF_INET, false, &witness->at));
}

static bool has_accepted(void *witness) { return atomic_load(&((struct witness *)witness)->accepted) != 0; }
static bool saw_the_end(void *witness) { return atomic_load(&((struct witness *)witness)->ended) != 0; }

static void the_peers_of_what_is_dropped_see_the_end(void **state)
{
    struct stage *stage = *state;
    struct witness witness = {.backend = stage->backend};
    struct end *end = test_calloc(1, sizeof *end);
    backend_start(stage->backend, 1, become_witness, &witness);
    end_init(end, stage, io_socket(stage->io, AF_INET, NULL));
    io_connect(stage->io, &end->connect, end->fd, &witness.at);
    stage_until(stage, end_is_connected, end);
    assert_int_equal(end->connect_result, 0);
    end_recv(end); /* holds the connection in the kernel even if its descriptor is closed */
    stage_until(stage, has_accepted, &witness);
    backend_restart(stage->backend);
    stage->io = backend_io(stage->backend);
    test_free(end);
    stage_until(stage, saw_the_end, &witness);
    backend_stop(stage->backend, 1);
}

const struct CMUnitTest contract_cancel[CONTRACT_TESTS_MAX] = {
    cmocka_unit_test(cancelling_what_is_idle_does_nothing),
    cmocka_unit_test(a_cancelled_receive_is_done_once_and_gives_no_bytes),
    cmocka_unit_test(a_receive_cancelled_before_its_first_turn_is_done_too),
    cmocka_unit_test(a_cancel_from_another_callback_of_the_turn_counts),
    cmocka_unit_test(a_blocked_send_can_be_cancelled),
    cmocka_unit_test(a_cancelled_connect_is_done_once),
    cmocka_unit_test(a_cancelled_accept_accepts_no_more_until_it_is_asked_again),
    cmocka_unit_test(an_accept_cancelled_from_its_callback_accepts_no_more),
    cmocka_unit_test(a_poll_tells_readiness_once),
    cmocka_unit_test(a_cancelled_poll_is_done_once),
    cmocka_unit_test(a_storm_of_cancels_loses_no_done),
    cmocka_unit_test(all_can_be_dropped_at_any_moment),
    cmocka_unit_test(the_peers_of_what_is_dropped_see_the_end),
};
