/* Holds an implementation of io.h to every sentence of that page; the same suite for the kernel and the simulation. */
#include "contract.h"

#include <stdio.h>

/* ---- the stage ---- */

void stage_open(struct stage *stage, unsigned shards)
{
    *stage = (struct stage){.backend = backend_open(shards), .random = 0x10c0ffee};
    stage->io = backend_io(stage->backend);
}

void stage_close(struct stage *stage) { backend_close(stage->backend); }

void stage_enter(struct stage *stage)
{
    assert_true(stage->turning);
    assert_int_equal(stage->depth, 0);
    stage->depth++;
}

void stage_leave(struct stage *stage) { stage->depth--; }

unsigned stage_turn(struct stage *stage, nsec until)
{
    stage->turning = true;
    unsigned callbacks = backend_turn(stage->backend, until);
    stage->turning = false;
    return callbacks;
}

void stage_until(struct stage *stage, bool (*condition)(void *context), void *context)
{
    stage->turning = true;
    bool held = backend_until(stage->backend, condition, context);
    stage->turning = false;
    assert_true(held);
}

void stage_wait(struct stage *stage, nsec duration)
{
    nsec until = io_now(stage->io) + duration;
    do
        stage_turn(stage, until);
    while (io_now(stage->io) < until);
    stage_turn(stage, 0); /* what was due by then */
}

uint64_t stage_random(struct stage *stage)
{
    stage->random = stage->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return stage->random >> 33;
}

/* ---- single operations ---- */

static void on_single(struct io_op *op, int result)
{
    struct single *single = container_of(op, struct single, op);
    stage_enter(single->stage);
    assert_false(io_op_busy(op));
    single->done++;
    single->result = result;
    stage_leave(single->stage);
}

void single_init(struct single *single, struct stage *stage)
{
    *single = (struct single){.op.done = on_single, .stage = stage};
}

bool single_is_done(void *context)
{
    const struct single *single = context;
    return single->done > 0;
}

/* ---- ends ---- */

char pattern_at(uint64_t position) { return (char)((position * 0x9e3779b97f4a7c15ULL) >> 56); }

char *pattern_new(size_t n)
{
    char *pattern = test_malloc(n);
    for (size_t i = 0; i < n; i++)
        pattern[i] = pattern_at(i);
    return pattern;
}

static void on_connected(struct io_op *op, int result)
{
    struct end *end = container_of(op, struct end, connect);
    stage_enter(end->stage);
    end->connected++;
    end->connect_result = result;
    stage_leave(end->stage);
}

static void on_bytes(struct io_recv *recv, struct slice bytes)
{
    struct end *end = container_of(recv, struct end, recv);
    stage_enter(end->stage);
    assert_true(io_op_busy(&recv->op));
    assert_true(bytes.n >= 1 && bytes.n <= IO_RECV_BYTES);
    for (size_t i = 0; i < bytes.n; i++)
        if (bytes.p[i] != pattern_at(end->received + i))
            fail_msg("byte %llu is wrong", (unsigned long long)(end->received + i));
    end->received += bytes.n;
    end->chunks++;
    if (end->on_bytes)
        end->on_bytes(end);
    stage_leave(end->stage);
}

static void on_ended(struct io_op *op, int result)
{
    struct end *end = container_of(op, struct end, recv.op);
    stage_enter(end->stage);
    assert_false(io_op_busy(op));
    end->ended++;
    end->end_result = result;
    stage_leave(end->stage);
}

static void on_sent(struct io_op *op, int result)
{
    struct end *end = container_of(op, struct end, send.op);
    stage_enter(end->stage);
    assert_false(io_op_busy(op));
    end->sent++;
    end->send_result = result;
    if (end->on_sent)
        end->on_sent(end);
    stage_leave(end->stage);
}

void end_init(struct end *end, struct stage *stage, int fd)
{
    *end = (struct end){.stage = stage, .fd = fd};
    end->connect.done = on_connected;
    end->recv.op.done = on_ended;
    end->recv.bytes = on_bytes;
    end->send.op.done = on_sent;
}

void end_recv(struct end *end) { io_recv(end->stage->io, &end->recv, end->fd); }

void end_send(struct end *end, const char *pattern, size_t n)
{
    struct slice part = {pattern + end->written, n};
    end->written += n;
    io_send(end->stage->io, &end->send, end->fd, &part, 1);
}

bool end_is_connected(void *context)
{
    const struct end *end = context;
    return end->connected > 0;
}

bool end_has_wanted(void *context)
{
    const struct end *end = context;
    return end->received >= end->wanted;
}

bool end_is_ended(void *context)
{
    const struct end *end = context;
    return end->ended > 0;
}

bool end_is_sent(void *context)
{
    const struct end *end = context;
    return !io_op_busy(&end->send.op);
}

bool end_is_idle(void *context)
{
    const struct end *end = context;
    return !io_op_busy(&end->connect) && !io_op_busy(&end->recv.op) && !io_op_busy(&end->send.op);
}

void end_close(struct end *end)
{
    io_cancel(end->stage->io, &end->connect);
    io_cancel(end->stage->io, &end->recv.op);
    io_cancel(end->stage->io, &end->send.op);
    stage_until(end->stage, end_is_idle, end);
    io_close(end->stage->io, end->fd);
}

/* ---- listeners ---- */

static void on_accepted(struct io_accept *accept, int fd)
{
    struct listener *listener = container_of(accept, struct listener, accept);
    stage_enter(listener->stage);
    assert_true(io_op_busy(&accept->op));
    assert_true(fd >= 0 && listener->count < countof(listener->accepted));
    listener->accepted[listener->count++] = fd;
    stage_leave(listener->stage);
}

static void on_listener_done(struct io_op *op, int result)
{
    struct listener *listener = container_of(op, struct listener, accept.op);
    stage_enter(listener->stage);
    listener->ended++;
    listener->result = result;
    stage_leave(listener->stage);
}

void listener_open(struct listener *listener, struct stage *stage, int family)
{
    *listener = (struct listener){.stage = stage};
    listener->fd = backend_listen(stage->backend, stage->io, family, false, &listener->at);
    listener->accept.op.done = on_listener_done;
    listener->accept.accepted = on_accepted;
    io_accept(stage->io, &listener->accept, listener->fd);
}

bool listener_has_wanted(void *context)
{
    const struct listener *listener = context;
    return listener->count >= listener->wanted;
}

static bool listener_is_idle(void *context)
{
    const struct listener *listener = context;
    return !io_op_busy(&listener->accept.op);
}

void listener_close(struct listener *listener)
{
    unsigned before = listener->ended;
    if (io_op_busy(&listener->accept.op)) {
        io_cancel(listener->stage->io, &listener->accept.op);
        stage_until(listener->stage, listener_is_idle, listener);
        assert_int_equal(listener->ended, before + 1);
    }
    io_close(listener->stage->io, listener->fd);
}

void pair_open(struct stage *stage, int family, struct end *a, struct end *b)
{
    struct listener listener;
    listener_open(&listener, stage, family);
    end_init(a, stage, io_socket(stage->io, family, NULL));
    assert_true(a->fd >= 0);
    io_connect(stage->io, &a->connect, a->fd, &listener.at);
    stage_until(stage, end_is_connected, a);
    assert_int_equal(a->connect_result, 0);
    listener.wanted = 1;
    stage_until(stage, listener_has_wanted, &listener);
    end_init(b, stage, listener.accepted[0]);
    listener_close(&listener);
}

/* ---- the suite ---- */

static int set_up(void **state)
{
    struct stage *stage = test_calloc(1, sizeof *stage);
    stage_open(stage, 4);
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    stage_close(*state);
    test_free(*state);
    return 0;
}

int main(void)
{
    const struct {
        const char *name;
        const struct CMUnitTest *tests;
    } parts[] = {{"io: time", contract_time},     {"io: bytes", contract_bytes}, {"io: ends", contract_ends},
                 {"io: cancel", contract_cancel}, {"io: post", contract_post},   {"stream", contract_stream}};
    struct CMUnitTest tests[CONTRACT_TESTS_MAX];
    int failed = 0;
    for (size_t i = 0; i < countof(parts); i++) {
        size_t count = 0;
        for (; count < countof(tests) && parts[i].tests[count].test_func; count++) {
            tests[count] = parts[i].tests[count];
            tests[count].setup_func = set_up;
            tests[count].teardown_func = tear_down;
        }
        failed += _cmocka_run_group_tests(parts[i].name, tests, count, NULL, NULL);
    }
    return failed != 0;
}
