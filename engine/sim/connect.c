/* connect.c - how connections of the simulated network begin: a SYN finds a listener, a closed port, or nobody. */
#include "sim/world.h"

#include <errno.h>
#include <stdlib.h>

enum {
    CONNECT_TRIES = 7,    /* SYNs; the last wait ends after 127 s */
    CUT_WITHIN_BITS = 15, /* 32 KiB */
};

static bool listens_at(const struct sim_socket *listener, const struct io_address *at)
{
    if (io_address_equal(&listener->local, at))
        return true;
    return sim_is_any(&listener->local) && listener->family == at->storage.ss_family &&
           io_address_port(&listener->local) == io_address_port(at);
}

/* One of those that share the address, by chance, as SO_REUSEPORT spreads them. */
static struct sim_socket *listener_at(struct sim_host *host, const struct io_address *at)
{
    struct sim_socket *found = NULL;
    uint64_t seen = 0;
    for (struct sim_socket *l = host->listeners; l; l = l->next_listener)
        if (listens_at(l, at) && (!seen++ || !sim_below(host->world, seen)))
            found = l;
    return found;
}

static struct io_address local_towards(struct sim_socket *socket, const struct io_address *to)
{
    struct sim_host *host = socket->io->host;
    struct io_address local = socket->source;
    if (socket->family == AF_UNIX) {
        local.length = sizeof(sa_family_t);
        local.storage.ss_family = AF_UNIX;
        return local;
    }
    if (!local.length)
        local = sim_is_loopback(to) ? *to : socket->family == AF_INET6 ? host->first_v6 : host->first_v4;
    if (!local.length) {
        bool parsed = io_address_parse(&local, socket->family == AF_INET6 ? "::1" : "127.0.0.1", 0);
        sluice_assert(parsed);
    }
    io_address_set_port(&local, sim_port_take(host));
    return local;
}

/* ---- connections ---- */

void sim_conn_free(struct sim_conn *conn)
{
    struct sim_world *world = conn->world;
    sim_unschedule(world, &conn->opening);
    sim_unschedule(world, &conn->pipe[0].arrival);
    sim_unschedule(world, &conn->pipe[1].arrival);
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        world->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    conn->next = world->spare;
    world->spare = conn;
}

void sim_conn_free_if_over(struct sim_conn *conn)
{
    bool coming = conn->phase == CONN_OPEN && conn->opening.place; /* to the listener */
    if (!conn->socket[0] && !conn->socket[1] && !conn->queued && !coming)
        sim_conn_free(conn);
}

void sim_conns_free(struct sim_world *world)
{
    while (world->conns)
        sim_conn_free(world->conns);
    for (struct sim_conn *c = world->spare, *next; c; c = next) {
        next = c->next;
        for (unsigned i = 0; i < 2; i++) {
            free(c->pipe[i].ring);
            free(c->pipe[i].segments);
        }
        free(c);
    }
}

void sim_conn_let_go(struct sim_conn *conn)
{
    if (conn->watched)
        conn->world->watch(conn->world->watch_context, &conn->address[0], &conn->address[1], false);
    conn->watched = false;
}

void sim_watch(struct sim_world *world,
               void (*watch)(void *context, const struct io_address *client, const struct io_address *server,
                             bool open),
               void *context)
{
    world->watch = watch;
    world->watch_context = context;
}

static nsec hop(struct sim_conn *conn) { return conn->world->now + sim_link_delay(conn->world, &conn->link); }

static void connect_over(struct sim_conn *conn, int result)
{
    struct sim_socket *client = conn->socket[0];
    sim_note(conn->world, "connect", conn->number, (uint32_t)result);
    if (result < 0) {
        sim_conn_let_go(conn);
        client->conn = NULL;
        conn->socket[0] = NULL;
    }
    sim_op_complete(client->io, client->connect, result);
    if (result < 0)
        sim_conn_free(conn);
}

/* A SYN is lost; the kernel repeats it after 1, 2, 4... seconds. */
static void dial_again(struct sim_conn *conn)
{
    if (conn->tries >= CONNECT_TRIES)
        connect_over(conn, -ETIMEDOUT);
    else
        sim_schedule(conn->world, &conn->opening, conn->world->now + ((nsec)1 << (conn->tries - 1)) * NSEC_PER_S);
}

/* The SYN comes to where it was sent. */
static void dial(struct sim_conn *conn)
{
    struct sim_world *world = conn->world;
    struct sim_host *there = sim_host_of(conn->host[0], &conn->address[1]);
    conn->tries++;
    if (conn->black_hole || !there || sim_apart_until(world, conn->host[0], there)) {
        dial_again(conn);
        return;
    }
    struct sim_socket *listener = listener_at(there, &conn->address[1]);
    if (listener && listener->queued >= listener->backlog) {
        dial_again(conn);
        return;
    }
    conn->phase = CONN_ANSWERED;
    conn->doomed = conn->doomed || !listener;
    sim_schedule(world, &conn->opening, hop(conn));
}

/* The SYN-ACK, or the RST, is back at the client; what it sends from now on follows its ACK. */
static void answered(struct sim_conn *conn)
{
    if (conn->doomed) {
        connect_over(conn, -ECONNREFUSED);
        return;
    }
    conn->phase = CONN_OPEN;
    conn->pipe[1].last_at = hop(conn);
    sim_schedule(conn->world, &conn->opening, conn->pipe[1].last_at);
    connect_over(conn, 0);
}

/* The ACK is at the server. */
static void queue_up(struct sim_conn *conn)
{
    struct sim_socket *listener = listener_at(conn->host[1], &conn->address[1]);
    if (!listener) {
        sim_pipe_break(&conn->pipe[0], -ECONNRESET, false);
        conn->pipe[1].deaf = true;
        sim_conn_free_if_over(conn);
        return;
    }
    conn->queued = true;
    conn->next_queued = NULL;
    *listener->queue_end = conn;
    listener->queue_end = &conn->next_queued;
    listener->queued++;
    if (listener->accept && listener->accept->op.state == OP_WAITING)
        sim_op_ready(listener->io, &listener->accept->op);
}

static void go_on(struct sim_event *event)
{
    struct sim_conn *conn = container_of(event, struct sim_conn, opening);
    switch (conn->phase) {
    case CONN_DIALLING:
        dial(conn);
        break;
    case CONN_ANSWERED:
        answered(conn);
        break;
    default:
        queue_up(conn);
    }
}

static struct sim_conn *conn_new(struct sim_world *world)
{
    struct sim_conn *conn = world->spare, clean = {.world = world, .number = ++world->conn_count};
    if (conn) {
        world->spare = conn->next;
        memcpy(clean.pipe, conn->pipe, sizeof clean.pipe); /* keeps their memory */
    } else {
        conn = malloc(sizeof *conn);
        sluice_assert(conn);
    }
    *conn = clean;
    conn->opening.happen = go_on;
    sim_pipe_init(&conn->pipe[0], conn, 0);
    sim_pipe_init(&conn->pipe[1], conn, 1);
    conn->next = world->conns;
    if (conn->next)
        conn->next->prev = conn;
    world->conns = conn;
    return conn;
}

static void draw_fate(struct sim_conn *conn)
{
    struct sim_world *world = conn->world;
    if (conn->sheltered)
        return;
    conn->doomed = sim_strikes(world, SIM_REFUSED);
    conn->black_hole = !conn->doomed && sim_strikes(world, SIM_BLACK_HOLE);
    if (conn->host[1] && conn->host[1] != conn->host[0] && sim_strikes(world, SIM_PARTITION))
        sim_partition(world, conn->host[0], conn->host[1],
                      world->now + 1 + (nsec)sim_below(world, 60 * (uint64_t)NSEC_PER_S));
    if (world->rates[SIM_CLOSE] && sim_below(world, 1000000) < world->rates[SIM_CLOSE]) {
        /* Every order of magnitude alike: few conversations come to many KiB. */
        uint64_t within = 2u << sim_below(world, CUT_WITHIN_BITS);
        uint64_t direction = sim_below(world, 2);
        conn->pipe[direction].cut_at = 1 + sim_below(world, within);
    }
}

static void tell_ends(const struct sim_conn *conn)
{
    char from[128], to[128];
    io_address_text(&conn->address[0], from, sizeof from);
    io_address_text(&conn->address[1], to, sizeof to);
    sim_tell(conn->world, "connect %llu: %s port %u to %s port %u, pipes %llu and %llu",
             (unsigned long long)conn->number, from, io_address_port(&conn->address[0]), to,
             io_address_port(&conn->address[1]), (unsigned long long)(2 * conn->number),
             (unsigned long long)(2 * conn->number + 1));
}

void sim_connect(struct sim_socket *socket, struct io_op *op)
{
    struct sim_world *world = socket->io->world;
    const struct io_address *to = (const struct io_address *)(uintptr_t)op->scratch[0];
    if (socket->conn || socket->listening || to->storage.ss_family != socket->family) {
        sim_op_complete(socket->io, op, socket->conn ? -EISCONN : socket->listening ? -EINVAL : -EAFNOSUPPORT);
        return;
    }
    if (sim_no_port(socket)) {
        sim_op_complete(socket->io, op, -EADDRNOTAVAIL);
        return;
    }
    struct sim_conn *conn = conn_new(world);
    conn->host[0] = socket->io->host;
    conn->host[1] = sim_host_of(socket->io->host, to);
    conn->link = sim_link_between(world, conn->host[0], conn->host[1]);
    conn->sheltered = conn->host[0]->sheltered || (conn->host[1] && conn->host[1]->sheltered);
    conn->address[1] = socket->peer = *to;
    conn->address[0] = socket->local = local_towards(socket, to);
    conn->socket[0] = socket;
    socket->conn = conn;
    socket->side = 0;
    socket->connect = op;
    draw_fate(conn);
    if (world->text)
        tell_ends(conn);
    conn->watched = world->watch != NULL;
    if (conn->watched)
        world->watch(world->watch_context, &conn->address[0], &conn->address[1], true);
    sim_schedule(world, &conn->opening, hop(conn));
}

struct sim_conn *sim_dequeue(struct sim_socket *listener)
{
    struct sim_conn *conn = listener->queue;
    if (conn) {
        listener->queue = conn->next_queued;
        if (!listener->queue)
            listener->queue_end = &listener->queue;
        listener->queued--;
        conn->queued = false;
    }
    return conn;
}

unsigned sim_accept_deliver(struct sim_socket *listener, struct io_accept *accept, unsigned most)
{
    unsigned called = 0;
    accept->op.state = OP_RUNNING;
    while (called < most && accept->op.state == OP_RUNNING && listener->queue) {
        struct sim_conn *conn = sim_dequeue(listener);
        struct sim_socket *socket = sim_socket_new(listener->io, listener->family);
        socket->conn = conn;
        socket->side = 1;
        socket->local = conn->address[1];
        socket->peer = conn->address[0];
        conn->socket[1] = socket;
        called++;
        sim_note(conn->world, "accept", conn->number, (uint64_t)socket->fd);
        accept->accepted(accept, socket->fd);
    }
    if (accept->op.state == OP_RUNNING) {
        accept->op.state = OP_WAITING;
        if (listener->queue)
            sim_op_ready(listener->io, &accept->op);
    }
    return called;
}
