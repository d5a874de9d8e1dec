/* sink_shard.c - carries bytes between sockets and bench/mx.c, which knows what to say to them. */
#include "bench/sink_shard.h"

#include "bench/sink_file.h"
#include "bench/sink_store.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SINK_OUT = 1024,         /* bytes of replies in one send */
    SINK_BACKLOG = 4096,     /* connections not yet accepted */
    SINK_CONNS_A_TIME = 256, /* connections are allocated so many together */
    SINK_POST_END = 1,
};

#define SINK_LINGER       (2 * NSEC_PER_S)    /* how long a client may take to close behind our FIN */
#define SINK_FLUSH_AFTER  (50 * NSEC_PER_MS)  /* how old a line may grow before it is written */
#define SINK_ACCEPT_AGAIN (100 * NSEC_PER_MS) /* when descriptors ran out */

struct sink_conn {
    struct sink_shard *shard;
    struct mx_conn mx;
    struct io_recv recv;
    struct io_send send;
    struct io_timer timer;
    struct sink_conn *next_dirty, *next_free;
    int fd;
    bool dirty, ended, lingering, closing;
    char out[SINK_OUT];
};

struct sink_listener {
    struct sink_shard *shard;
    struct mx_server *server;
    struct io_accept accept;
    struct io_timer again;
    int fd;
};

struct sink_shard {
    struct io *io;
    const struct sink_options *options;
    unsigned index;
    struct mx_ledger ledger;
    struct mx_server *servers; /* one for each personality */
    struct sink_listener *listeners;
    struct sink_conn *free, *dirty;
    struct sink_conn **chunks;
    size_t chunk_count, chunk_cap;
    unsigned conns_made;
    struct io_op signal;
    struct io_timer flush;
    bool ending;
    uint64_t stored; /* messages, in files */
    struct sink_file accepted, starts;
    void (*report)(void *context, const struct sink_shard *shard);
    void *context;
};

/* ---- files ---- */

static void add_line(struct sink_shard *shard, struct sink_file *file, const char *line, size_t n)
{
    sink_file_add(file, line, n);
    if (!io_timer_is_set(&shard->flush))
        io_timer_set(shard->io, &shard->flush, io_now(shard->io) + SINK_FLUSH_AFTER);
}

static void flush_files(struct sink_shard *shard)
{
    sink_file_flush(&shard->accepted);
    sink_file_flush(&shard->starts);
}

static void flush_due(struct io_timer *timer) { flush_files(container_of(timer, struct sink_shard, flush)); }

static void on_accepted_message(void *context, const struct mx_ledger *ledger, const struct mx_accepted *record,
                                struct slice text)
{
    struct sink_shard *shard = context;
    char line[MX_LEDGER_LINE];
    if (shard->options->store) /* before the line that tells of it */
        sink_store_message(shard->options->store, shard->index, ledger, record, shard->stored++, text);
    if (shard->options->ledger_fd >= 0)
        add_line(shard, &shard->accepted, line, mx_ledger_line(ledger, record, line, sizeof line));
}

static void write_starts(struct sink_shard *shard)
{
    for (size_t i = 0; i < shard->ledger.start_count; i++) {
        const struct mx_start *start = &shard->ledger.starts[i];
        const struct mx_server *server = mx_ledger_server(&shard->ledger, start->server);
        char line[256], ip[46];
        mx_ip_text(&server->sources[start->source].ip, ip);
        int n = snprintf(line, sizeof line, "%lld\t%s\t%s\t%u\n",
                         (long long)((start->at + shard->ledger.wall_offset) / NSEC_PER_US), server->personality->name,
                         ip, start->connection);
        add_line(shard, &shard->starts, line, (size_t)n);
    }
    shard->ledger.start_count = 0;
}

/* ---- one connection ---- */

static void conn_settle(struct sink_conn *conn)
{
    struct sink_shard *shard = conn->shard;
    if (io_op_busy(&conn->recv.op) || io_op_busy(&conn->send.op) || conn->dirty)
        return;
    io_timer_clear(shard->io, &conn->timer);
    io_close(shard->io, conn->fd);
    mx_conn_close(&conn->mx);
    conn->next_free = shard->free;
    shard->free = conn;
}

static void conn_close(struct sink_conn *conn)
{
    conn->closing = true;
    io_cancel(conn->shard->io, &conn->recv.op);
    io_cancel(conn->shard->io, &conn->send.op);
    conn_settle(conn);
}

static void conn_reset(struct sink_conn *conn)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger); /* else it is a FIN: no harm */
    conn_close(conn);
}

/* Closing with unread bytes would make a RST of the FIN, which may overtake the last reply: the client closes first,
 * or has had its time. */
static void conn_linger(struct sink_conn *conn)
{
    if (conn->ended) {
        conn_close(conn);
    } else if (!conn->lingering) {
        conn->lingering = true;
        io_shutdown(conn->shard->io, conn->fd);
        mx_conn_leave(&conn->mx);
        io_timer_set(conn->shard->io, &conn->timer, io_now(conn->shard->io) + SINK_LINGER);
    }
}

/* Does what the exchanger wants done now. */
static void conn_pump(struct sink_conn *conn)
{
    struct io *io = conn->shard->io;
    size_t n;
    if (conn->closing) {
        conn_settle(conn);
        return;
    }
    if (conn->lingering || io_op_busy(&conn->send.op)) {
        if (conn->ended && conn->lingering)
            conn_close(conn);
        return;
    }
    switch (mx_conn_take(&conn->mx, io_now(io), conn->out, sizeof conn->out, &n)) {
    case MX_SEND:
        io_send(io, &conn->send, conn->fd, &(struct slice){conn->out, n}, 1);
        return;
    case MX_CLOSE:
        conn_linger(conn);
        return;
    case MX_RESET:
        conn_reset(conn);
        return;
    case MX_WAIT:
        break;
    }
    if (conn->ended) {
        conn_close(conn);
        return;
    }
    nsec due = mx_conn_due(&conn->mx);
    if (due == NSEC_NEVER)
        io_timer_clear(io, &conn->timer);
    else
        io_timer_set(io, &conn->timer, due);
}

/* Pumped once at the end of the turn, so that all that came in it is answered in one send. */
static void conn_dirty(struct sink_conn *conn)
{
    if (conn->dirty)
        return;
    conn->dirty = true;
    conn->next_dirty = conn->shard->dirty;
    conn->shard->dirty = conn;
}

static void pump_dirty(struct sink_shard *shard)
{
    struct sink_conn *conn;
    while ((conn = shard->dirty) != NULL) {
        shard->dirty = conn->next_dirty;
        conn->dirty = false;
        conn_pump(conn);
    }
}

static void on_timer(struct io_timer *timer)
{
    struct sink_conn *conn = container_of(timer, struct sink_conn, timer);
    if (conn->lingering)
        conn_close(conn);
    else
        conn_dirty(conn);
}

static void on_bytes(struct io_recv *recv, struct slice bytes)
{
    struct sink_conn *conn = container_of(recv, struct sink_conn, recv);
    if (conn->lingering)
        return;
    mx_conn_input(&conn->mx, io_now(conn->shard->io), bytes);
    conn_dirty(conn);
}

static void on_end(struct io_op *op, int result)
{
    struct sink_conn *conn = container_of(op, struct sink_conn, recv.op);
    (void)result; /* a reset ends a connection as well as a FIN does */
    conn->ended = true;
    conn_dirty(conn);
}

static void on_sent(struct io_op *op, int result)
{
    struct sink_conn *conn = container_of(op, struct sink_conn, send.op);
    if (result < 0 && !conn->closing)
        conn_close(conn);
    else
        conn_dirty(conn);
}

/* ---- accepting ---- */

static struct sink_conn *conn_new(struct sink_shard *shard)
{
    if (!shard->free) {
        if (shard->conns_made >= shard->options->connections)
            return NULL;
        struct sink_conn *chunk = calloc(SINK_CONNS_A_TIME, sizeof *chunk);
        struct sink_conn **chunks = realloc(shard->chunks, (shard->chunk_count + 1) * sizeof(void *));
        sluice_assert(chunk && chunks);
        shard->chunks = chunks;
        shard->chunks[shard->chunk_count++] = chunk;
        for (int i = 0; i < SINK_CONNS_A_TIME; i++) {
            chunk[i].next_free = shard->free;
            shard->free = &chunk[i];
        }
        shard->conns_made += SINK_CONNS_A_TIME;
    }
    struct sink_conn *conn = shard->free;
    shard->free = conn->next_free;
    return conn;
}

static struct mx_ip ip_of(const struct io_address *address)
{
    struct mx_ip ip = mx_ip_v4(0, 0, 0, 0);
    if (address->storage.ss_family == AF_INET)
        memcpy(ip.b + 12, &((const struct sockaddr_in *)(const void *)&address->storage)->sin_addr, 4);
    else if (address->storage.ss_family == AF_INET6)
        memcpy(ip.b, &((const struct sockaddr_in6 *)(const void *)&address->storage)->sin6_addr, 16);
    return ip;
}

static void on_accept(struct io_accept *accept, int fd)
{
    struct sink_listener *listener = container_of(accept, struct sink_listener, accept);
    struct sink_shard *shard = listener->shard;
    struct io_address peer, local;
    struct sink_conn *conn = NULL;
    if (io_peer(shard->io, fd, &peer, &local)) /* else it has gone already */
        conn = conn_new(shard);
    if (!conn) {
        io_close(shard->io, fd);
        return;
    }
    conn->shard = shard;
    conn->fd = fd;
    conn->dirty = conn->ended = conn->lingering = conn->closing = false;
    conn->recv.op.done = on_end;
    conn->recv.bytes = on_bytes;
    conn->send.op.done = on_sent;
    conn->timer.fire = on_timer;
    struct mx_ip ip = ip_of(&peer);
    mx_conn_open(&conn->mx, listener->server, io_now(shard->io), &ip);
    io_recv(shard->io, &conn->recv, fd);
    conn_dirty(conn);
}

static void on_accept_again(struct io_timer *timer)
{
    struct sink_listener *listener = container_of(timer, struct sink_listener, again);
    if (!io_op_busy(&listener->accept.op))
        io_accept(listener->shard->io, &listener->accept, listener->fd);
}

static void on_accept_end(struct io_op *op, int result)
{
    struct sink_listener *listener = container_of(op, struct sink_listener, accept.op);
    (void)result; /* descriptors ran out: connections wait in the backlog until some are closed */
    io_timer_set(listener->shard->io, &listener->again, io_now(listener->shard->io) + SINK_ACCEPT_AGAIN);
}

/* "127.0.0.1:2525", "[::1]:2525" */
static bool parse_listen(const char *text, struct io_address *address)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    char *end;
    if (!colon || colon == text)
        return false;
    unsigned long port = strtoul(colon + 1, &end, 10);
    struct slice name = {text, (size_t)(colon - text)};
    if (name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']')
        name = (struct slice){name.p + 1, name.n - 2};
    slice_copy(host, sizeof host, name);
    return end != colon + 1 && *end == 0 && port > 0 && port <= UINT16_MAX &&
           io_address_parse(address, host, (uint16_t)port);
}

static bool open_listener(struct sink_shard *shard, unsigned i, char *error, size_t cap)
{
    const struct mx_listener *wanted = &shard->options->config->listeners[i];
    struct sink_listener *listener = &shard->listeners[i];
    struct io_address address;
    listener->shard = shard;
    listener->server = &shard->servers[wanted->personality];
    listener->accept.op.done = on_accept_end;
    listener->accept.accepted = on_accept;
    listener->again.fire = on_accept_again;
    if (!parse_listen(wanted->address, &address)) {
        snprintf(error, cap, "%s is no address to listen on; say 127.0.0.1:2525", wanted->address);
        return false;
    }
    listener->fd = io_listen(shard->io, &address, SINK_BACKLOG, shard->options->threads > 1);
    if (listener->fd < 0) {
        snprintf(error, cap, "cannot listen on %s: %s", wanted->address, strerror(-listener->fd));
        return false;
    }
    io_accept(shard->io, &listener->accept, listener->fd);
    return true;
}

/* ---- the shard ---- */

static void on_post(void *context, unsigned from, const struct io_post *post)
{
    struct sink_shard *shard = context;
    (void)from;
    if (post->kind == SINK_POST_END)
        shard->ending = true;
}

static void on_signal(struct io_op *op, int result)
{
    struct sink_shard *shard = container_of(op, struct sink_shard, signal);
    struct signalfd_siginfo info;
    while (result >= 0 && read(shard->options->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGUSR1) {
            flush_files(shard);
            shard->report(shard->context, shard);
            continue;
        }
        shard->ending = true;
        for (unsigned i = 1; i < shard->options->threads; i++) {
            struct io_post post = {.kind = SINK_POST_END};
            bool posted = io_post(shard->io, i, &post);
            sluice_assert(posted); /* nobody posts anything else */
        }
    }
    io_poll(shard->io, &shard->signal, shard->options->signal_fd, POLLIN);
}

static void set_up_servers(struct sink_shard *shard)
{
    const struct sink_options *options = shard->options;
    mx_ledger_init(&shard->ledger);
    shard->ledger.forgetful = true;
    shard->ledger.keep_starts = options->starts_fd >= 0;
    shard->ledger.wall_offset = io_wall(shard->io) - io_now(shard->io);
    shard->ledger.keep_text = options->store != NULL;
    if (options->ledger_fd >= 0 || options->store) {
        shard->ledger.on_accept = on_accepted_message;
        shard->ledger.context = shard;
    }
    sink_file_init(&shard->accepted, options->ledger_fd);
    sink_file_init(&shard->starts, options->starts_fd);
    shard->flush.fire = flush_due;
    shard->servers = calloc(options->config->personality_count, sizeof *shard->servers);
    shard->listeners = calloc(options->config->listener_count, sizeof *shard->listeners);
    sluice_assert(shard->servers && shard->listeners);
    for (unsigned i = 0; i < options->config->personality_count; i++) {
        mx_server_init(&shard->servers[i], &options->config->personalities[i], &shard->ledger,
                       options->seed + shard->index * 1000 + i);
        shard->servers[i].tls = options->tls;
    }
}

struct sink_shard *sink_shard_open(const struct sink_options *options, struct io_group *group, unsigned index,
                                   char *error, size_t error_cap)
{
    struct sink_shard *shard = calloc(1, sizeof *shard);
    sluice_assert(shard);
    shard->options = options;
    shard->index = index;
    shard->io = io_open(&(struct io_config){.group = group,
                                            .shard = index,
                                            .sessions_max = options->connections + options->config->listener_count},
                        error, error_cap);
    if (!shard->io) {
        free(shard);
        return NULL;
    }
    set_up_servers(shard);
    io_on_post(shard->io, on_post, shard);
    for (unsigned i = 0; i < options->config->listener_count; i++) {
        if (!open_listener(shard, i, error, error_cap)) {
            sink_shard_close(shard);
            return NULL;
        }
    }
    if (index == 0) {
        shard->signal.done = on_signal;
        io_poll(shard->io, &shard->signal, options->signal_fd, POLLIN);
    }
    return shard;
}

void sink_shard_run(struct sink_shard *shard, void (*report)(void *context, const struct sink_shard *shard),
                    void *context)
{
    shard->report = report;
    shard->context = context;
    while (!shard->ending) {
        io_turn(shard->io, NSEC_NEVER);
        pump_dirty(shard);
        write_starts(shard);
    }
    io_turn(shard->io, 0); /* what was posted to threads that sleep leaves with a turn */
    flush_files(shard);
}

void sink_shard_close(struct sink_shard *shard)
{
    io_close_all(shard->io);
    /* Connections that are still open own little allocations; each conn in a chunk that has a server is one of them. */
    for (size_t i = 0; i < shard->chunk_count; i++) {
        for (int j = 0; j < SINK_CONNS_A_TIME; j++)
            if (shard->chunks[i][j].mx.server)
                mx_conn_close(&shard->chunks[i][j].mx);
        free(shard->chunks[i]);
    }
    for (unsigned i = 0; i < shard->options->config->personality_count; i++)
        mx_server_free(&shard->servers[i]);
    mx_ledger_free(&shard->ledger);
    free(shard->chunks);
    free(shard->servers);
    free(shard->listeners);
    free(shard);
}

void sink_shard_add(const struct sink_shard *shard, struct sink_sum *sum)
{
    for (unsigned i = 0; i < shard->options->config->personality_count; i++)
        sink_report_add(&sum->totals[i], &shard->servers[i]);
    for (unsigned i = 0; i < MX_VIOLATION_COUNT; i++)
        sum->violations[i] += shard->ledger.violations[i];
    if (!sum->first_violation[0])
        slice_copy(sum->first_violation, sizeof sum->first_violation, slice_of(shard->ledger.first_violation));
}
