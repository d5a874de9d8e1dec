/* The world that the engine is tested in: the same seed gives the same trace, every fault strikes, and what a crash, a
 * partition or a jump of the clock does is what sim.h says. */
#include "sim/sim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- an echo server and its clients: load for the network ---- */

enum { ECHO_CONNECTIONS = 64, ECHO_BYTES = 8 * 1024 };

struct echo_connection {
    struct echo_server *server;
    int fd; /* -1: free */
    struct io_recv recv;
    struct io_send send;
    char bytes[2 * ECHO_BYTES];
    size_t waiting, sending;
    bool ended;
};
struct echo_server {
    struct io *io;
    struct io_accept accept;
    struct echo_connection *connections;
    unsigned accepted, resets;
};

static void echo_go_on(struct echo_connection *c)
{
    if (io_op_busy(&c->send.op))
        return;
    if (c->waiting && !c->ended) {
        c->sending = c->waiting;
        io_send(c->server->io, &c->send, c->fd, &(struct slice){c->bytes, c->waiting}, 1);
    } else if (c->ended && !io_op_busy(&c->recv.op)) {
        io_close(c->server->io, c->fd);
        c->fd = -1;
    }
}

static void echo_bytes(struct io_recv *recv, struct slice bytes)
{
    struct echo_connection *c = container_of(recv, struct echo_connection, recv);
    assert_true(c->waiting + bytes.n <= sizeof c->bytes);
    memcpy(c->bytes + c->waiting, bytes.p, bytes.n);
    c->waiting += bytes.n;
    echo_go_on(c);
}

static void echo_sent(struct io_op *op, int result)
{
    struct echo_connection *c = container_of(op, struct echo_connection, send.op);
    if (result < 0) {
        c->ended = true;
        io_cancel(c->server->io, &c->recv.op);
    } else {
        c->waiting -= c->sending;
        memmove(c->bytes, c->bytes + c->sending, c->waiting);
    }
    echo_go_on(c);
}

static void echo_ended(struct io_op *op, int result)
{
    struct echo_connection *c = container_of(op, struct echo_connection, recv.op);
    c->server->resets += result == -ECONNRESET;
    c->ended = true;
    echo_go_on(c);
}

static void echo_accepted(struct io_accept *accept, int fd)
{
    struct echo_server *server = container_of(accept, struct echo_server, accept);
    struct echo_connection *c = server->connections;
    while (c->fd >= 0)
        assert_true(++c < server->connections + ECHO_CONNECTIONS);
    *c = (struct echo_connection){.server = server, .fd = fd};
    c->recv.op.done = echo_ended;
    c->recv.bytes = echo_bytes;
    c->send.op.done = echo_sent;
    server->accepted++;
    io_recv(server->io, &c->recv, fd);
}

static void accept_over(struct io_op *op, int result) { (void)op, (void)result; }

static struct io *open_io(struct io_group *group, unsigned shard)
{
    char error[128];
    struct io_config config = {.group = group, .shard = shard, .sessions_max = 256};
    struct io *io = io_open(&config, error, sizeof error);
    assert_non_null(io);
    return io;
}

static struct io_address address(const char *text, uint16_t port)
{
    struct io_address at;
    assert_true(io_address_parse(&at, text, port));
    return at;
}

static void echo_open(struct echo_server *server, struct io_group *group, const char *at)
{
    struct io_address where = address(at, 7);
    *server = (struct echo_server){.io = open_io(group, 0)};
    server->connections = calloc(ECHO_CONNECTIONS, sizeof *server->connections);
    for (unsigned i = 0; i < ECHO_CONNECTIONS; i++)
        server->connections[i].fd = -1;
    int fd = io_listen(server->io, &where, 16, false);
    assert_true(fd >= 0);
    server->accept.op.done = accept_over;
    server->accept.accepted = echo_accepted;
    io_accept(server->io, &server->accept, fd);
    sim_serve(server->io);
}

struct client {
    struct io *io;
    int fd;
    struct io_address to;
    struct io_op connect;
    struct io_recv recv;
    struct io_send send;
    struct io_timer patience;
    char bytes[ECHO_BYTES];
    size_t size, echoed;
    int connected, end; /* results; 1: not yet */
    nsec connected_at, last_at, ended_at;
    bool stays, over;
};

static void client_close_if_idle(struct client *c)
{
    bool busy = io_op_busy(&c->connect) || io_op_busy(&c->recv.op) || io_op_busy(&c->send.op);
    if (!c->over || busy || c->fd < 0)
        return;
    io_timer_clear(c->io, &c->patience);
    io_close(c->io, c->fd);
    c->fd = -1;
}

static void client_finish(struct client *c)
{
    c->over = true;
    io_cancel(c->io, &c->connect);
    io_cancel(c->io, &c->recv.op);
    io_cancel(c->io, &c->send.op);
    client_close_if_idle(c);
}

static void client_bytes(struct io_recv *recv, struct slice bytes)
{
    struct client *c = container_of(recv, struct client, recv);
    assert_true(bytes.n >= 1 && bytes.n <= IO_RECV_BYTES);
    assert_true(c->echoed + bytes.n <= c->size);
    assert_memory_equal(c->bytes + c->echoed, bytes.p, bytes.n); /* in order, whole, once */
    c->echoed += bytes.n;
    c->last_at = io_now(c->io);
    if (c->echoed == c->size && !c->stays)
        client_finish(c);
}

static void client_ended(struct io_op *op, int result)
{
    struct client *c = container_of(op, struct client, recv.op);
    c->end = result;
    c->ended_at = io_now(c->io);
    client_finish(c);
}

static void client_sent(struct io_op *op, int result)
{
    struct client *c = container_of(op, struct client, send.op);
    assert_true(result < 0 || result == (int)c->size);
    client_close_if_idle(c);
}

static void client_connected(struct io_op *op, int result)
{
    struct client *c = container_of(op, struct client, connect);
    c->connected = result;
    c->connected_at = io_now(c->io);
    if (result < 0) {
        client_finish(c);
        return;
    }
    io_recv(c->io, &c->recv, c->fd);
    if (c->size)
        io_send(c->io, &c->send, c->fd, &(struct slice){c->bytes, c->size}, 1);
}

static void client_impatient(struct io_timer *timer) { client_finish(container_of(timer, struct client, patience)); }

static void client_start(struct client *c, struct io *io, const char *source, const char *to, size_t size)
{
    struct io_address from = address(source, 0);
    *c = (struct client){.io = io, .connected = 1, .end = 1, .size = size, .to = address(to, 7)};
    for (size_t i = 0; i < size; i++)
        c->bytes[i] = (char)io_random(io);
    c->connect.done = client_connected;
    c->recv.op.done = client_ended;
    c->recv.bytes = client_bytes;
    c->send.op.done = client_sent;
    c->patience.fire = client_impatient;
    c->fd = io_socket(io, from.storage.ss_family, &from);
    if (c->fd < 0) {
        c->over = true;
        return;
    }
    io_timer_set(io, &c->patience, io_now(io) + 3600 * NSEC_PER_S);
    io_connect(io, &c->connect, c->fd, &c->to);
}

/* ---- a small world: one host with a client process, one with the server ---- */

struct scene {
    struct sim_world *world;
    struct sim_host *here, *there;
    struct io_group *client_group, *server_group;
    struct io *io;
    struct echo_server server;
};

static void scene_open(struct scene *s, uint64_t seed)
{
    print_message("seed %llu\n", (unsigned long long)seed); /* the last one printed is the one that failed */
    *s = (struct scene){.world = sim_world_new(seed)};
    s->here = sim_host_new(s->world, "here");
    s->there = sim_host_new(s->world, "there");
    sim_host_address(s->here, "192.0.2.1");
    sim_host_address(s->here, "192.0.2.2");
    sim_host_address(s->there, "198.51.100.1");
    s->client_group = sim_process(s->here, 2);
    s->server_group = sim_process(s->there, 1);
    s->io = open_io(s->client_group, 0);
    sim_serve(s->io);
    echo_open(&s->server, s->server_group, "198.51.100.1");
}

static void scene_close(struct scene *s)
{
    sim_world_free(s->world);
    free(s->server.connections);
}

static bool clients_busy(void *context)
{
    struct client *const *list = context;
    for (; *list; list++)
        if ((*list)->fd >= 0)
            return true;
    return false;
}

static void run_clients(struct scene *s, struct client **list)
{
    assert_true(sim_run_while(s->world, clients_busy, list, sim_now(s->world) + 2 * 3600 * NSEC_PER_S));
}

enum { CROWD = 24 };

static void run_crowd(struct scene *s)
{
    struct client *crowd = calloc(CROWD, sizeof *crowd), *list[CROWD + 1] = {0};
    for (unsigned i = 0; i < CROWD; i++) {
        list[i] = &crowd[i];
        client_start(&crowd[i], s->io, i % 2 ? "192.0.2.1" : "192.0.2.2", "198.51.100.1",
                     1 + sim_random(s->world) % ECHO_BYTES);
        sim_run_until(s->world, sim_now(s->world) + (nsec)(sim_random(s->world) % (uint64_t)NSEC_PER_MS));
    }
    run_clients(s, list);
    sim_run_until(s->world, sim_now(s->world) + 3 * 3600 * NSEC_PER_S);
    assert_int_equal(sim_descriptors(s->io), 0);
    assert_int_equal(sim_timers(s->io), 0);
    free(crowd);
}

static void set_all_faults(struct sim_world *world, uint32_t per_million)
{
    for (enum sim_fault f = SIM_FAULT_BROKEN + 1; f < SIM_FAULT_COUNT; f++)
        sim_fault_set(world, f, per_million);
}

/* ---- determinism ---- */

static uint64_t trace_of(uint64_t seed, uint32_t faults)
{
    struct scene s;
    scene_open(&s, seed);
    set_all_faults(s.world, faults);
    run_crowd(&s);
    uint64_t trace = sim_trace(s.world);
    scene_close(&s);
    return trace;
}

static void same_seed_same_trace(void **state)
{
    (void)state;
    uint64_t traces[20];
    for (unsigned seed = 0; seed < 20; seed++) {
        traces[seed] = trace_of(seed, 20000);
        assert_int_equal(traces[seed], trace_of(seed, 20000));
        for (unsigned other = 0; other < seed; other++)
            assert_int_not_equal(traces[seed], traces[other]);
    }
}

static void a_quiet_world_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct scene s;
        struct client *c = calloc(1, sizeof *c), *list[] = {c, NULL};
        scene_open(&s, seed);
        client_start(c, s.io, "192.0.2.1", "198.51.100.1", ECHO_BYTES);
        run_clients(&s, list);
        assert_int_equal(c->connected, 0);
        assert_int_equal(c->echoed, ECHO_BYTES);
        free(c);
        scene_close(&s);
    }
}

/* ---- faults ---- */

static void ask_once(struct scene *s);

static void every_fault_strikes(void **state)
{
    (void)state;
    uint64_t struck[SIM_FAULT_COUNT] = {0};
    for (uint64_t seed = 100; seed < 130; seed++) {
        struct scene s;
        scene_open(&s, seed);
        set_all_faults(s.world, 50000);
        run_crowd(&s);
        ask_once(&s);
        for (unsigned i = 0; i < 10; i++) {
            bool posted = io_post(s.io, 0, &(struct io_post){.kind = 1});
            (void)posted;
        }
        for (enum sim_fault f = SIM_FAULT_BROKEN + 1; f < SIM_FAULT_COUNT; f++)
            struck[f] += sim_fault_count(s.world, f);
        scene_close(&s);
    }
    for (enum sim_fault f = SIM_FAULT_BROKEN + 1; f < SIM_FAULT_COUNT; f++) {
        if (!struck[f])
            print_error("never struck: %s\n", sim_fault_name(f));
        assert_true(struck[f] > 0);
    }
}

static void connect_faults(void **state)
{
    (void)state;
    struct scene s;
    struct client *c = calloc(1, sizeof *c), *list[] = {c, NULL};
    scene_open(&s, 1);
    sim_fault_set(s.world, SIM_REFUSED, 1000000);
    client_start(c, s.io, "192.0.2.1", "198.51.100.1", 10);
    run_clients(&s, list);
    assert_int_equal(c->connected, -ECONNREFUSED);
    sim_fault_set(s.world, SIM_REFUSED, 0);
    sim_fault_set(s.world, SIM_BLACK_HOLE, 1000000);
    nsec began = sim_now(s.world);
    client_start(c, s.io, "192.0.2.1", "198.51.100.1", 10);
    run_clients(&s, list);
    assert_int_equal(c->connected, -ETIMEDOUT);
    assert_in_range(c->connected_at - began, 60 * NSEC_PER_S, 130 * NSEC_PER_S);
    /* Sheltered hosts meet none. */
    sim_host_shelter(s.there, true);
    set_all_faults(s.world, 1000000);
    sim_fault_set(s.world, SIM_NO_SOCKET, 0);
    sim_fault_set(s.world, SIM_LACK, 0);
    sim_fault_set(s.world, SIM_NO_PORT, 0);
    client_start(c, s.io, "192.0.2.1", "198.51.100.1", ECHO_BYTES);
    run_clients(&s, list);
    assert_int_equal(c->echoed, ECHO_BYTES);
    free(c);
    scene_close(&s);
}

static void nobody_listens(void **state)
{
    (void)state;
    struct scene s;
    struct client *c = calloc(1, sizeof *c), *list[] = {c, NULL};
    scene_open(&s, 1);
    client_start(c, s.io, "192.0.2.1", "192.0.2.2", 10); /* a host without a listener */
    run_clients(&s, list);
    assert_int_equal(c->connected, -ECONNREFUSED);
    client_start(c, s.io, "192.0.2.1", "203.0.113.9", 10); /* nobody's address */
    run_clients(&s, list);
    assert_int_equal(c->connected, -ETIMEDOUT);
    struct io_address foreign = address("198.51.100.1", 0);
    assert_int_equal(io_socket(s.io, AF_INET, &foreign), -EADDRNOTAVAIL);
    free(c);
    scene_close(&s);
}

/* ---- crash ---- */

static void a_crash_is_an_end_or_a_reset(void **state)
{
    (void)state;
    unsigned ends = 0, resets = 0, short_of_bytes = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct scene s;
        struct client *c = calloc(1, sizeof *c), *list[] = {c, NULL};
        scene_open(&s, seed);
        client_start(c, s.io, "192.0.2.1", "198.51.100.1", ECHO_BYTES);
        c->stays = true;
        for (unsigned i = 0; i < 200 && c->echoed == 0; i++)
            sim_step(s.world);
        sim_crash(s.server.io);
        memset(s.server.connections, 0x5a, ECHO_CONNECTIONS * sizeof *s.server.connections); /* nobody calls it */
        run_clients(&s, list);
        ends += c->end == 0;
        resets += c->end == -ECONNRESET;
        short_of_bytes += c->echoed < ECHO_BYTES;
        /* It comes back at the same address. */
        free(s.server.connections);
        echo_open(&s.server, s.server_group, "198.51.100.1");
        client_start(c, s.io, "192.0.2.1", "198.51.100.1", 100);
        run_clients(&s, list);
        assert_int_equal(c->echoed, 100);
        free(c);
        scene_close(&s);
    }
    assert_int_equal(ends + resets, 200);
    assert_true(ends > 20 && resets > 20 && short_of_bytes > 20);
}

/* Turns are events, and the crash may stand behind each of them. */
static void crash_at_every_event(void **state)
{
    (void)state;
    bool went_through = false;
    for (uint64_t at = 0; !went_through; at++) {
        struct scene s;
        struct client *c = calloc(1, sizeof *c);
        scene_open(&s, 5);
        sim_batch(s.world, 1);
        client_start(c, s.io, "192.0.2.1", "198.51.100.1", 3000);
        uint64_t start = sim_events(s.world);
        while (c->fd >= 0 && sim_events(s.world) - start < at)
            assert_true(sim_step(s.world));
        went_through = c->fd < 0;
        sim_crash(s.io);
        memset(c, 0x5a, sizeof *c);
        free(c);
        sim_run_until(s.world, sim_now(s.world) + 60 * NSEC_PER_S);
        assert_int_equal(sim_descriptors(s.server.io), 1); /* the listener: the server has let go of the connection */
        scene_close(&s);
        assert_true(at < 1000);
    }
}

/* ---- partition, cut ---- */

static void a_partition_holds_back(void **state)
{
    (void)state;
    struct scene s;
    struct client *c = calloc(1, sizeof *c), *list[] = {c, NULL};
    scene_open(&s, 3);
    sim_partition(s.world, s.here, s.there, sim_now(s.world) + 10 * NSEC_PER_S);
    client_start(c, s.io, "192.0.2.1", "198.51.100.1", 100);
    nsec began = sim_now(s.world);
    run_clients(&s, list);
    assert_int_equal(c->echoed, 100); /* a later SYN came through: after 1 + 2 + 4 + 8 s */
    assert_in_range(c->connected_at - began, 15 * NSEC_PER_S, 16 * NSEC_PER_S);

    client_start(c, s.io, "192.0.2.1", "198.51.100.1", 100);
    c->stays = true;
    while (c->echoed < 100)
        assert_true(sim_step(s.world));
    sim_partition(s.world, s.there, NULL, NSEC_NEVER);
    c->echoed = 0;
    nsec cut = sim_now(s.world);
    io_send(s.io, &c->send, c->fd, &(struct slice){c->bytes, c->size}, 1);
    sim_run_until(s.world, cut + 300 * NSEC_PER_S);
    assert_int_equal(c->echoed, 0);
    sim_heal(s.world);
    sim_run_until(s.world, cut + 301 * NSEC_PER_S);
    assert_int_equal(c->echoed, 100);

    sim_partition(s.world, s.here, s.there, NSEC_NEVER);
    c->echoed = 0;
    cut = sim_now(s.world);
    io_timer_clear(s.io, &c->patience);
    io_send(s.io, &c->send, c->fd, &(struct slice){c->bytes, c->size}, 1);
    run_clients(&s, list);
    assert_int_equal(c->end, -ETIMEDOUT);
    assert_in_range(c->ended_at - cut, 900 * NSEC_PER_S, 901 * NSEC_PER_S);
    sim_heal(s.world);
    sim_run_until(s.world, sim_now(s.world) + NSEC_PER_S);
    assert_int_equal(c->echoed, 0); /* what was given up never arrives */
    assert_int_equal(sim_descriptors(s.server.io), 2);
    unsigned resets = s.server.resets;
    struct echo_connection *half_open = s.server.connections;
    while (half_open->fd < 0)
        half_open++;
    half_open->waiting = 1;
    echo_go_on(half_open);
    sim_run_until(s.world, sim_now(s.world) + NSEC_PER_S);
    assert_int_equal(s.server.resets, resets + 1);
    assert_int_equal(sim_descriptors(s.server.io), 1);
    free(c);
    scene_close(&s);
}

static void a_cut_resets_both_ends(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct scene s;
        struct client *c = calloc(1, sizeof *c), *list[] = {c, NULL};
        scene_open(&s, seed);
        client_start(c, s.io, "192.0.2.1", "198.51.100.1", ECHO_BYTES);
        c->stays = true;
        while (!s.server.accepted)
            assert_true(sim_step(s.world));
        assert_int_equal(sim_cut(s.world, s.there, s.server_group ? s.here : NULL), 1);
        run_clients(&s, list);
        sim_run_until(s.world, sim_now(s.world) + NSEC_PER_S);
        assert_int_equal(c->end, -ECONNRESET);
        assert_int_equal(sim_descriptors(s.server.io), 1);
        free(c);
        scene_close(&s);
    }
}

/* ---- time ---- */

static void latency_and_bandwidth_are_kept(void **state)
{
    (void)state;
    struct scene s;
    struct client *c = calloc(1, sizeof *c), *list[] = {c, NULL};
    scene_open(&s, 4);
    sim_link(s.world, s.here, s.there, &(struct sim_link){20 * NSEC_PER_MS, 0, 100 * 1000});
    nsec began = sim_now(s.world);
    client_start(c, s.io, "192.0.2.1", "198.51.100.1", 5000);
    run_clients(&s, list);
    assert_in_range(c->connected_at - began, 40 * NSEC_PER_MS, 40 * NSEC_PER_MS + 100 * NSEC_PER_US);
    /* There and back: 5000 bytes at 100 kB/s are 50 ms on each way; the echo starts with the first segment. */
    assert_in_range(c->last_at - c->connected_at, 90 * NSEC_PER_MS, 145 * NSEC_PER_MS);
    free(c);
    scene_close(&s);
}

struct ticker {
    struct io *io;
    struct io_timer timer;
    unsigned ticks;
};

static void tick(struct io_timer *timer)
{
    struct ticker *t = container_of(timer, struct ticker, timer);
    t->ticks++;
    io_timer_set(t->io, &t->timer, timer->at + 600 * NSEC_PER_S);
}

static void a_week_passes_and_the_wall_clock_jumps(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, 4);
    struct ticker t = {.io = s.io, .timer = {.fire = tick}};
    nsec start = io_now(s.io), wall = io_wall(s.io), other = io_wall(s.server.io);
    io_timer_set(s.io, &t.timer, start + 600 * NSEC_PER_S);
    sim_wall_jump(s.world, s.here, -3600 * NSEC_PER_S);
    assert_int_equal(io_wall(s.io), wall - 3600 * NSEC_PER_S);
    assert_int_equal(io_wall(s.server.io), other);
    sim_wall_jump(s.world, NULL, 5 * NSEC_PER_S);
    assert_int_equal(io_wall(s.server.io), other + 5 * NSEC_PER_S);
    assert_int_equal(io_now(s.io), start);
    sim_run_until(s.world, start + 7 * 86400 * NSEC_PER_S);
    assert_int_equal(t.ticks, 7 * 144);
    assert_int_equal(io_now(s.io), start + 7 * 86400 * NSEC_PER_S);
    io_timer_clear(s.io, &t.timer);
    scene_close(&s);
}

/* ---- the turn ---- */

struct sleeper {
    struct io *io;
    unsigned turns;
    nsec last;
};

static nsec sleeper_turn(void *context)
{
    struct sleeper *s = context;
    s->turns++;
    s->last = io_now(s->io);
    io_turn(s->io, s->last + 60 * NSEC_PER_S); /* says nothing: what the turn returns counts */
    return s->last + NSEC_PER_S;
}

static void until_wakes(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, 4);
    struct sleeper sleeper = {.io = open_io(s.client_group, 1)};
    sim_on_turn(sleeper.io, sleeper_turn, &sleeper);
    sim_run_until(s.world, sim_now(s.world) + 10 * NSEC_PER_S);
    assert_in_range(sleeper.turns, 10, 11);
    unsigned turns = sleeper.turns;
    nsec posted = sim_now(s.world);
    assert_true(io_post(s.io, 1, &(struct io_post){.kind = 9}));
    sim_run_until(s.world, posted + NSEC_PER_MS);
    assert_int_equal(sleeper.turns, turns + 1); /* woken */
    scene_close(&s);
}

static void a_full_ring_says_so(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, 4);
    for (unsigned i = 0; i < IO_POST_RING; i++)
        assert_true(io_post(s.io, 1, &(struct io_post){.kind = 1 + i}));
    assert_false(io_post(s.io, 1, &(struct io_post){.kind = 1}));
    scene_close(&s);
}

/* ---- what only a simulation can tell ---- */

struct stamped {
    struct io *io;
    struct io_accept accept;
    struct io_recv recv;
    struct io_address peer;
    int fd;
    nsec stamps[64];
    unsigned count;
};

static void stamped_bytes(struct io_recv *recv, struct slice bytes)
{
    struct stamped *s = container_of(recv, struct stamped, recv);
    for (size_t at = 0, run; at < bytes.n; at += run)
        s->stamps[s->count++] = sim_sent_at(s->io, s->fd, at, &run);
}

static void stamped_accepted(struct io_accept *accept, int fd)
{
    struct stamped *s = container_of(accept, struct stamped, accept);
    s->fd = fd;
    assert_true(io_peer(s->io, fd, &s->peer, NULL));
    s->recv.op.done = accept_over;
    s->recv.bytes = stamped_bytes;
    io_recv(s->io, &s->recv, fd);
}

static void bytes_know_when_they_were_sent_and_whence(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct scene s;
        struct client *c = calloc(1, sizeof *c);
        struct stamped reader = {.fd = -1};
        struct io_address at = address("198.51.100.1", 25);
        scene_open(&s, seed);
        sim_link(s.world, NULL, NULL, &(struct sim_link){NSEC_PER_MS, 30 * NSEC_PER_MS, 0});
        reader.io = s.server.io;
        reader.accept.op.done = accept_over;
        reader.accept.accepted = stamped_accepted;
        int listener = io_listen(reader.io, &at, 1, false);
        io_accept(reader.io, &reader.accept, listener);
        client_start(c, s.io, "192.0.2.2", "198.51.100.1", 0);
        io_address_set_port(&c->to, 25);
        sim_run_until(s.world, sim_now(s.world) + 200 * NSEC_PER_MS);
        nsec first = sim_now(s.world), second = first + 5 * NSEC_PER_MS;
        c->size = 1000;
        io_send(s.io, &c->send, c->fd, &(struct slice){c->bytes, 1000}, 1);
        sim_run_until(s.world, second);
        assert_false(io_op_busy(&c->send.op));
        io_send(s.io, &c->send, c->fd, &(struct slice){c->bytes, 1000}, 1);
        sim_run_until(s.world, second + NSEC_PER_S);
        assert_true(reader.count >= 2);
        assert_int_equal(reader.stamps[0], first);
        assert_int_equal(reader.stamps[reader.count - 1], second);
        for (unsigned i = 0; i < reader.count; i++)
            assert_true(reader.stamps[i] == first || reader.stamps[i] == second);
        char text[110];
        io_address_text(&reader.peer, text, sizeof text);
        assert_string_equal(text, "192.0.2.2");
        scene_close(&s);
        free(c);
    }
}

/* ---- the zone ---- */

struct question {
    struct resolver_query query;
    struct resolver_answer answer;
    nsec at;
    unsigned answers;
};

static void answered(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct question *q = container_of(query, struct question, query);
    q->answer = *answer;
    q->answers++;
}

static bool unanswered(void *context) { return ((struct question *)context)->answers == 0; }

static struct resolver *open_resolver(struct scene *s, unsigned tries, unsigned most)
{
    char error[128];
    struct resolver_config config = {.timeout = 2 * NSEC_PER_S, .tries = tries, .queries_max = most};
    struct resolver *resolver = resolver_open(s->io, &config, error, sizeof error);
    assert_non_null(resolver);
    return resolver;
}

static void ask_once(struct scene *s)
{
    struct resolver *resolver = open_resolver(s, 1, 4);
    for (unsigned i = 0; i < 10; i++) {
        struct question q = {.query.done = answered};
        resolver_mx_query(resolver, &q.query, SLICE("none.example"));
        assert_true(sim_run_while(s->world, unanswered, &q, NSEC_NEVER));
    }
    resolver_close(resolver);
}

static enum resolver_status ask(struct scene *s, struct resolver *resolver, const char *name, enum resolver_kind kind,
                                struct resolver_answer *answer)
{
    struct question *q = calloc(1, sizeof *q);
    q->query.done = answered;
    if (kind == RESOLVER_MX)
        resolver_mx_query(resolver, &q->query, slice_of(name));
    else if (kind == RESOLVER_TXT)
        resolver_txt_query(resolver, &q->query, slice_of(name));
    else if (kind == RESOLVER_TLSA)
        resolver_tlsa_query(resolver, &q->query, slice_of(name));
    else
        resolver_address_query(resolver, &q->query, slice_of(name), true, false);
    assert_int_equal(q->answers, 0); /* never inside the call */
    assert_true(sim_run_while(s->world, unanswered, q, NSEC_NEVER));
    assert_int_equal(q->query.state, 0);
    *answer = q->answer;
    free(q);
    return answer->status;
}

/* An answer is secure when every name on its way is in a signed zone, also the answer that there is nothing. */
static void some_of_the_zone_is_signed(void **state)
{
    (void)state;
    struct scene s;
    struct resolver_answer a;
    scene_open(&s, 6);
    struct resolver *r = open_resolver(&s, 2, 4);
    sim_zone_sign(s.world, "safe.example", true);
    sim_zone_txt(s.world, "text.safe.example", 30, "v=STSv1; id=1");
    sim_zone_txt(s.world, "text.safe.example", 20, "else");
    sim_zone_tlsa(s.world, "_25._tcp.mx.safe.example", 40, 3, 1, 1, SLICE("hash"));
    sim_zone_cname(s.world, "in.safe.example", 50, "text.safe.example");
    sim_zone_cname(s.world, "out.safe.example", 50, "plain.example");
    sim_zone_txt(s.world, "plain.example", 20, "text");
    assert_int_equal(ask(&s, r, "Text.safe.example", RESOLVER_TXT, &a), RESOLVER_OK);
    assert_int_equal(a.record_count, 2);
    assert_true(slice_equal(a.records[0], SLICE("v=STSv1; id=1")));
    assert_int_equal(a.ttl_s, 20);
    assert_true(a.secure);
    assert_int_equal(ask(&s, r, "_25._tcp.mx.safe.example", RESOLVER_TLSA, &a), RESOLVER_OK);
    assert_true(slice_equal(a.records[0], SLICE("\3\1\1hash")) && a.record_count == 1 && a.secure);
    assert_int_equal(ask(&s, r, "in.safe.example", RESOLVER_TXT, &a), RESOLVER_OK);
    assert_true(a.secure);
    assert_string_equal(a.name, "text.safe.example");
    assert_int_equal(ask(&s, r, "out.safe.example", RESOLVER_TXT, &a), RESOLVER_OK);
    assert_false(a.secure);
    assert_int_equal(ask(&s, r, "text.safe.example", RESOLVER_TLSA, &a), RESOLVER_NODATA);
    assert_true(a.secure);
    assert_int_equal(ask(&s, r, "nothing.safe.example", RESOLVER_TXT, &a), RESOLVER_NXDOMAIN);
    assert_true(a.secure);
    assert_int_equal(ask(&s, r, "safe.example", RESOLVER_TXT, &a), RESOLVER_NXDOMAIN); /* signed alone is no record */
    assert_int_equal(ask(&s, r, "xsafe.example", RESOLVER_TXT, &a), RESOLVER_NXDOMAIN);
    assert_false(a.secure);
    sim_zone_status(s.world, "text.safe.example", RESOLVER_SERVFAIL);
    assert_int_equal(ask(&s, r, "text.safe.example", RESOLVER_TXT, &a), RESOLVER_SERVFAIL);
    assert_false(a.secure);
    sim_zone_remove(s.world, "text.safe.example");
    assert_int_equal(ask(&s, r, "text.safe.example", RESOLVER_TXT, &a), RESOLVER_NXDOMAIN);
    resolver_close(r);
    scene_close(&s);
}

static void the_zone_answers(void **state)
{
    (void)state;
    struct scene s;
    struct resolver_answer a;
    scene_open(&s, 6);
    struct resolver *r = open_resolver(&s, 2, 4);
    sim_zone_mx(s.world, "Isp.Example", 300, 10, "MX1.isp.example");
    sim_zone_mx(s.world, "isp.example", 100, 20, "mx2.isp.example");
    sim_zone_address(s.world, "mx1.isp.example", 60, "198.51.100.1");
    sim_zone_address(s.world, "mx1.isp.example", 60, "2001:db8::1");
    sim_zone_mx(s.world, "null.example", 5, 0, "");
    sim_zone_cname(s.world, "alias.example", 50, "isp.example");
    sim_zone_cname(s.world, "loop.example", 50, "loop.example");
    sim_zone_mx(s.world, "*.wild.example", 9, 1, "mx1.isp.example");
    sim_zone_negative_ttl(s.world, 77);

    assert_int_equal(ask(&s, r, "isp.EXAMPLE", RESOLVER_MX, &a), RESOLVER_OK);
    assert_int_equal(a.mx_count, 2);
    assert_int_equal(a.ttl_s, 100);
    unsigned first = a.mx[0].preference == 10 ? 0 : 1;
    assert_string_equal(a.mx[first].host, "mx1.isp.example");
    assert_int_equal(ask(&s, r, "mx1.isp.example", RESOLVER_ADDRESSES, &a), RESOLVER_OK);
    assert_int_equal(a.address_count, 1); /* IPv4 alone was wanted */
    assert_int_equal(ask(&s, r, "isp.example", RESOLVER_ADDRESSES, &a), RESOLVER_NODATA);
    assert_int_equal(a.ttl_s, 77);
    assert_int_equal(ask(&s, r, "null.example", RESOLVER_MX, &a), RESOLVER_OK);
    assert_string_equal(a.mx[0].host, "");
    assert_int_equal(ask(&s, r, "alias.example", RESOLVER_MX, &a), RESOLVER_OK);
    assert_int_equal(a.ttl_s, 50);
    assert_int_equal(ask(&s, r, "loop.example", RESOLVER_MX, &a), RESOLVER_SERVFAIL);
    assert_int_equal(ask(&s, r, "a.b.wild.example", RESOLVER_MX, &a), RESOLVER_OK);
    assert_int_equal(ask(&s, r, "nobody.example", RESOLVER_MX, &a), RESOLVER_NXDOMAIN);

    struct question *odd = calloc(2, sizeof *odd);
    odd[0].query.done = odd[1].query.done = answered;
    resolver_mx_query(r, &odd[0].query, SLICE("isp.example\0.org"));
    resolver_address_query(r, &odd[1].query, SLICE("mx1.isp.example"), false, false);
    sim_run_until(s.world, sim_now(s.world) + NSEC_PER_S);
    assert_int_equal(odd[0].answer.status, RESOLVER_NXDOMAIN);
    assert_int_equal(odd[1].answer.status, RESOLVER_NODATA);
    free(odd);

    sim_zone_status(s.world, "isp.example", RESOLVER_SERVFAIL);
    assert_int_equal(ask(&s, r, "isp.example", RESOLVER_MX, &a), RESOLVER_SERVFAIL);
    sim_zone_status(s.world, "isp.example", RESOLVER_TIMEOUT);
    nsec began = sim_now(s.world);
    assert_int_equal(ask(&s, r, "isp.example", RESOLVER_MX, &a), RESOLVER_TIMEOUT);
    assert_in_range(sim_now(s.world) - began, 4 * NSEC_PER_S, 4 * NSEC_PER_S + NSEC_PER_MS); /* two tries */
    sim_zone_status(s.world, "isp.example", RESOLVER_OK);
    assert_int_equal(ask(&s, r, "isp.example", RESOLVER_MX, &a), RESOLVER_OK);
    sim_zone_remove(s.world, "isp.example");
    assert_int_equal(ask(&s, r, "isp.example", RESOLVER_MX, &a), RESOLVER_NXDOMAIN);
    resolver_close(r);
    scene_close(&s);
}

static void queries_wait_and_are_cancelled(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, 6);
    sim_zone_latency(s.world, NSEC_PER_S, 0);
    struct resolver *r = open_resolver(&s, 1, 1);
    struct question *q = calloc(4, sizeof *q);
    for (unsigned i = 0; i < 4; i++) {
        q[i].query.done = answered;
        resolver_mx_query(r, &q[i].query, SLICE("x.example"));
    }
    resolver_cancel(r, &q[1].query);
    assert_int_equal(q[1].answers, 0);
    sim_run_until(s.world, sim_now(s.world) + 1500 * NSEC_PER_MS);
    assert_int_equal(q[0].answer.status, RESOLVER_NXDOMAIN);
    assert_int_equal(q[1].answer.status, RESOLVER_CANCELED);
    assert_int_equal(q[2].answers, 0); /* one at a time */
    sim_run_until(s.world, sim_now(s.world) + NSEC_PER_S);
    assert_int_equal(q[2].answers, 1);
    assert_int_equal(q[3].answers, 0);
    sim_crash(s.io); /* the resolver goes with it, and q[3] is never answered */
    sim_run_until(s.world, sim_now(s.world) + 10 * NSEC_PER_S);
    assert_int_equal(q[3].answers, 0);
    free(q);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quiet_world_loses_nothing),
        cmocka_unit_test(same_seed_same_trace),
        cmocka_unit_test(every_fault_strikes),
        cmocka_unit_test(connect_faults),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(a_crash_is_an_end_or_a_reset),
        cmocka_unit_test(crash_at_every_event),
        cmocka_unit_test(a_partition_holds_back),
        cmocka_unit_test(a_cut_resets_both_ends),
        cmocka_unit_test(latency_and_bandwidth_are_kept),
        cmocka_unit_test(a_week_passes_and_the_wall_clock_jumps),
        cmocka_unit_test(until_wakes),
        cmocka_unit_test(a_full_ring_says_so),
        cmocka_unit_test(bytes_know_when_they_were_sent_and_whence),
        cmocka_unit_test(the_zone_answers),
        cmocka_unit_test(some_of_the_zone_is_signed),
        cmocka_unit_test(queries_wait_and_are_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
