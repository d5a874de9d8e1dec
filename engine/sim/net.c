/* net.c - sockets of the simulated network: descriptors, what operations do to them, and how they end. */
#include "sim/world.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/un.h>

enum {
    FIRST_DESCRIPTOR = 3,
    FIRST_PORT = 32768,
    LAST_PORT = 60999,
};

/* ---- descriptors ---- */

struct sim_socket *sim_socket_at(struct io *io, int fd)
{
    unsigned i = (unsigned)(fd - FIRST_DESCRIPTOR);
    return fd >= FIRST_DESCRIPTOR && i < io->socket_cap ? io->sockets[i] : NULL;
}

unsigned sim_descriptors(const struct io *io) { return io->socket_count; }

/* The lowest free number, as kernels give them. */
struct sim_socket *sim_socket_new(struct io *io, int family)
{
    unsigned i = io->socket_free;
    while (i < io->socket_cap && io->sockets[i])
        i++;
    io->socket_free = i + 1;
    if (i == io->socket_cap) {
        unsigned cap = io->socket_cap ? 2 * io->socket_cap : 16;
        io->sockets = realloc(io->sockets, cap * sizeof *io->sockets);
        sluice_assert(io->sockets);
        memset(io->sockets + io->socket_cap, 0, (cap - io->socket_cap) * sizeof *io->sockets);
        io->socket_cap = cap;
    }
    struct sim_socket *socket = calloc(1, sizeof *socket);
    sluice_assert(socket);
    socket->io = io;
    socket->fd = (int)i + FIRST_DESCRIPTOR;
    socket->family = family;
    socket->queue_end = &socket->queue;
    io->sockets[i] = socket;
    io->socket_count++;
    return socket;
}

static void socket_free(struct sim_socket *socket)
{
    struct io *io = socket->io;
    unsigned i = (unsigned)(socket->fd - FIRST_DESCRIPTOR);
    io->sockets[i] = NULL;
    io->socket_free = i < io->socket_free ? i : io->socket_free;
    io->socket_count--;
    free(socket);
}

/* ---- addresses ---- */

bool sim_is_loopback(const struct io_address *address)
{
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&address->storage;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const void *)&address->storage;
    return address->storage.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

bool sim_is_any(const struct io_address *address)
{
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&address->storage;
        return in->sin_addr.s_addr == htonl(INADDR_ANY);
    }
    const struct sockaddr_in6 *in6 = (const void *)&address->storage;
    return address->storage.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
}

/* Whose address it is, seen from `from`. */
struct sim_host *sim_host_of(struct sim_host *from, const struct io_address *address)
{
    if (address->storage.ss_family == AF_UNIX)
        return from;
    struct sim_host *host = sim_host_at(from->world, address);
    return host ? host : sim_is_loopback(address) ? from : NULL;
}

uint16_t sim_port_take(struct sim_host *host)
{
    uint16_t port = host->port_next;
    host->port_next = port == LAST_PORT ? FIRST_PORT : (uint16_t)(port + 1);
    return port;
}

static bool lacks(const struct sim_host *host, int error)
{
    return host->lacks == error && host->world->now < host->lacks_until;
}

/* What an io_socket lacks; 0: nothing. */
static int socket_lack(struct io *io, const struct io_address *source)
{
    static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    struct sim_host *host = io->host;
    struct sim_world *world = host->world;
    if (!host->sheltered && sim_strikes(world, SIM_LACK))
        sim_lack(host, sim_below(world, 3) ? errors[sim_below(world, countof(errors))] : EADDRNOTAVAIL,
                 world->now + (nsec)sim_below(world, 30 * (uint64_t)NSEC_PER_S));
    if (!host->lacks || !lacks(host, host->lacks) || host->lacks == EADDRNOTAVAIL)
        return 0;
    if (host->lacks != EMFILE)
        return -host->lacks;
    if (source && io->lacks_until != host->lacks_until) {
        io->lacks_until = host->lacks_until;
        io->lacks_beyond = io->socket_count;
    }
    return source && io->socket_count >= io->lacks_beyond ? -EMFILE : 0;
}

bool sim_no_port(struct sim_socket *socket)
{
    struct sim_host *host = socket->io->host;
    return socket->source.length &&
           (lacks(host, EADDRNOTAVAIL) || (!host->sheltered && sim_strikes(host->world, SIM_NO_PORT)));
}

int io_socket(struct io *io, int family, const struct io_address *source)
{
    if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
        return -EAFNOSUPPORT;
    if (!io->host->sheltered && sim_strikes(io->world, SIM_NO_SOCKET))
        return sim_below(io->world, 2) ? -EMFILE : -ENOBUFS;
    int lack = socket_lack(io, source);
    if (lack)
        return lack;
    if (source && source->length) {
        if (source->storage.ss_family != family)
            return -EINVAL;
        if (!sim_is_any(source) && sim_host_of(io->host, source) != io->host)
            return -EADDRNOTAVAIL;
    }
    struct sim_socket *socket = sim_socket_new(io, family);
    if (source && !sim_is_any(source))
        socket->source = *source;
    return socket->fd;
}

int io_listen(struct io *io, const struct io_address *at, int backlog, bool share)
{
    struct sim_host *host = io->host;
    struct io_address local = *at;
    if (!sim_is_any(at) && sim_host_of(host, at) != host)
        return -EADDRNOTAVAIL;
    if (at->storage.ss_family != AF_UNIX && !io_address_port(at))
        io_address_set_port(&local, sim_port_take(host));
    for (struct sim_socket *l = host->listeners; l; l = l->next_listener)
        if (io_address_equal(&l->local, &local) && !(l->shared && share))
            return -EADDRINUSE;
    struct sim_socket *socket = sim_socket_new(io, at->storage.ss_family);
    socket->listening = true;
    socket->shared = share;
    socket->local = local;
    socket->backlog = backlog > 0 ? (unsigned)backlog : 1;
    socket->next_listener = host->listeners;
    host->listeners = socket;
    return socket->fd;
}

bool io_peer(struct io *io, int fd, struct io_address *peer, struct io_address *local)
{
    const struct sim_socket *socket = sim_socket_at(io, fd);
    if (!socket || (peer && !socket->conn))
        return false;
    if (peer)
        *peer = socket->peer;
    if (local)
        *local = socket->local;
    return true;
}

/* ---- operations ---- */

static bool is_open(const struct sim_socket *socket) { return socket->conn && !socket->connect; }

void sim_socket_poll(struct sim_socket *socket)
{
    struct io_op *op = socket->poll;
    if (!op || op->state != OP_WAITING)
        return;
    unsigned now = 0;
    if (socket->listening)
        now = socket->queue ? POLLIN : 0;
    else if (!socket->conn)
        now = POLLHUP;
    else if (is_open(socket)) {
        const struct sim_pipe *in = &socket->conn->pipe[socket->side];
        now |= sim_pipe_has_news(in) ? POLLIN : 0;
        now |= in->end < 0 ? POLLERR | POLLHUP : 0;
        now |= sim_pipe_room(&socket->conn->pipe[!socket->side]) ? POLLOUT : 0;
    }
    now &= socket->poll_events | POLLERR | POLLHUP;
    if (now)
        sim_op_complete(socket->io, op, (int)now);
}

/* Those that wait to be accepted are reset. */
static void turn_away(struct sim_socket *listener)
{
    for (struct sim_conn *conn; (conn = sim_dequeue(listener)) != NULL;) {
        sim_pipe_break(&conn->pipe[0], -ECONNRESET, false);
        conn->pipe[1].deaf = true;
        sim_conn_free_if_over(conn);
    }
}

void sim_socket_detach(struct sim_socket *socket, struct io_op *op)
{
    if (socket->connect == op) {
        socket->connect = NULL;
        /* Cancelled half-way: the kernel's socket would go on alone, but its owner can only close it. */
        if (socket->conn && socket->conn->phase != CONN_OPEN) {
            struct sim_conn *conn = socket->conn;
            sim_conn_let_go(conn);
            socket->conn = NULL;
            sim_conn_free(conn);
        }
    }
    if (socket->poll == op)
        socket->poll = NULL;
    if (socket->send && &socket->send->op == op)
        socket->send = NULL;
    if (socket->recv && &socket->recv->op == op)
        socket->recv = NULL;
    if (socket->accept && &socket->accept->op == op) {
        socket->accept = NULL;
        if (op->state == OP_READY || op->state == OP_RUNNING)
            turn_away(socket); /* a kernel's accept had them already */
    }
}

void sim_socket_apply(struct sim_socket *socket, struct io_op *op)
{
    bool streams = op->kind == OP_SEND || op->kind == OP_RECV;
    if (streams && !is_open(socket)) {
        sim_op_complete(socket->io, op, -ENOTCONN);
        return;
    }
    if (op->kind == OP_SEND && socket->shut) {
        sim_op_complete(socket->io, op, -EPIPE);
        return;
    }
    switch (op->kind) {
    case OP_CONNECT:
        sim_connect(socket, op);
        break;
    case OP_SEND:
        sluice_assert(!socket->send);
        socket->send = container_of(op, struct io_send, op);
        socket->send_at = socket->io->world->now;
        sim_pipe_pump(socket);
        break;
    case OP_RECV:
        sluice_assert(!socket->recv);
        socket->recv = container_of(op, struct io_recv, op);
        sim_pipe_readable(&socket->conn->pipe[socket->side]);
        break;
    case OP_ACCEPT:
        if (!socket->listening) {
            sim_op_complete(socket->io, op, -EINVAL);
            break;
        }
        sluice_assert(!socket->accept);
        socket->accept = container_of(op, struct io_accept, op);
        if (socket->queue)
            sim_op_ready(socket->io, op);
        break;
    default:
        sluice_assert(op->kind == OP_POLL && !socket->poll);
        socket->poll = op;
        socket->poll_events = (unsigned)op->scratch[0];
        sim_socket_poll(socket);
    }
}

/* ---- ends ---- */

void io_shutdown(struct io *io, int fd)
{
    struct sim_socket *socket = sim_socket_at(io, fd);
    if (!socket || !is_open(socket))
        return;
    sim_hand_over(io->world); /* what was submitted before it goes out before it */
    socket->shut = true;
    if (socket->conn && !socket->send)
        sim_pipe_close(&socket->conn->pipe[!socket->side]);
}

static void unlisten(struct sim_socket *listener)
{
    struct sim_socket **at = &listener->io->host->listeners;
    while (*at != listener)
        at = &(*at)->next_listener;
    *at = listener->next_listener;
    turn_away(listener);
}

enum farewell { FAREWELL_CLOSE = 1, FAREWELL_RESET, FAREWELL_LOSSY_RESET };

static void socket_close(struct sim_socket *socket, enum farewell farewell)
{
    struct sim_conn *conn = socket->conn;
    sim_note(socket->io->world, "close", conn ? conn->number : 0, farewell);
    if (socket->listening)
        unlisten(socket);
    if (conn) {
        struct sim_pipe *in = &conn->pipe[socket->side], *out = &conn->pipe[!socket->side];
        conn->socket[socket->side] = NULL;
        if (socket->side == 0)
            sim_conn_let_go(conn);
        /* A kernel that throws away what nobody read says so with RST (RFC 1122 §4.2.2.13). */
        if (farewell == FAREWELL_CLOSE && in->arrived > in->consumed)
            farewell = FAREWELL_RESET;
        if (farewell == FAREWELL_CLOSE)
            sim_pipe_close(out);
        else
            sim_pipe_break(out, -ECONNRESET, farewell == FAREWELL_LOSSY_RESET);
        in->deaf = true;
        in->consumed = in->arrived;
        sim_conn_free_if_over(conn);
    }
    socket_free(socket);
}

void io_close(struct io *io, int fd)
{
    struct sim_socket *socket = sim_socket_at(io, fd);
    sluice_assert(socket && !socket->busy);
    socket_close(socket, FAREWELL_CLOSE);
}

void sim_reset(struct io *io, int fd)
{
    struct sim_socket *socket = sim_socket_at(io, fd);
    sluice_assert(socket && !socket->busy);
    socket_close(socket, FAREWELL_RESET);
}

/* A crash leaves its connections to the kernel: most end in order, some with a part of what was on its way lost. */
void sim_sockets_drop(struct io *io, bool crash)
{
    for (unsigned i = 0; i < io->socket_cap; i++) {
        struct sim_socket *socket = io->sockets[i];
        if (!socket)
            continue;
        socket->send = NULL;
        socket->recv = NULL;
        socket->accept = NULL;
        socket->connect = socket->poll = NULL;
        socket_close(socket, crash && sim_below(io->world, 2) ? FAREWELL_LOSSY_RESET : FAREWELL_CLOSE);
    }
}

void sim_sockets_free(struct io *io)
{
    for (unsigned i = 0; i < io->socket_cap; i++)
        free(io->sockets[i]);
    free(io->sockets);
    io->sockets = NULL;
    io->socket_cap = 0;
}

unsigned sim_cut(struct sim_world *world, struct sim_host *a, struct sim_host *b)
{
    unsigned n = 0;
    for (struct sim_conn *c = world->conns; c; c = c->next) {
        bool between = (c->host[0] == a && (!b || c->host[1] == b)) || (c->host[1] == a && (!b || c->host[0] == b));
        if (!between || c->phase != CONN_OPEN)
            continue;
        sim_pipe_break(&c->pipe[0], -ECONNRESET, true);
        sim_pipe_break(&c->pipe[1], -ECONNRESET, true);
        n++;
    }
    return n;
}
