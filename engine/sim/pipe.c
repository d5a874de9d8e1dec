/* pipe.c - the bytes between the two ends of a simulated connection: how they are cut up, how late they come, and what
 * is lost when it ends. */
#include "sim/world.h"

#include <errno.h>
#include <stdlib.h>

static const nsec GIVE_UP = 15 * 60 * NSEC_PER_S; /* as long as a kernel retransmits */

static struct sim_segment *segment(const struct sim_pipe *pipe, unsigned i)
{
    return &pipe->segments[(pipe->first + i) & (pipe->segment_cap - 1)];
}

static struct sim_pipe *reverse(const struct sim_pipe *pipe) { return &pipe->conn->pipe[!pipe->to]; }

static uint64_t pipe_name(const struct sim_pipe *pipe) { return 2 * pipe->conn->number + pipe->to; }

size_t sim_pipe_room(const struct sim_pipe *pipe)
{
    uint64_t used = pipe->deaf ? 0 : pipe->written - pipe->consumed;
    return used < SIM_PIPE_BYTES ? (size_t)(SIM_PIPE_BYTES - used) : 0;
}

bool sim_pipe_has_news(const struct sim_pipe *pipe) { return pipe->arrived > pipe->consumed || pipe->end; }

void sim_pipe_readable(struct sim_pipe *pipe)
{
    struct sim_socket *reader = pipe->conn->socket[pipe->to];
    if (!reader || reader->connect)
        return;
    if (reader->recv && reader->recv->op.state == OP_WAITING && sim_pipe_has_news(pipe))
        sim_op_ready(reader->io, &reader->recv->op);
    sim_socket_poll(reader);
}

/* Of what is on its way only the first `keep` bytes will arrive. */
static void lose(struct sim_pipe *pipe, uint64_t keep)
{
    struct sim_world *world = pipe->conn->world;
    pipe->written = pipe->arrived + keep;
    while (pipe->count > pipe->landed) {
        struct sim_segment *last = segment(pipe, pipe->count - 1);
        uint64_t from = pipe->count > 1 ? segment(pipe, pipe->count - 2)->upto : pipe->arrived;
        if (from < pipe->written && !last->end) {
            last->upto = pipe->written < last->upto ? pipe->written : last->upto;
            break;
        }
        pipe->count--;
    }
    if (pipe->count == pipe->landed)
        sim_unschedule(world, &pipe->arrival);
    pipe->last_at = pipe->count > pipe->landed ? segment(pipe, pipe->count - 1)->at : world->now;
}

/* ---- arriving ---- */

/* Somebody wrote to an end that is closed: its kernel answers with RST. */
static void refuse(struct sim_pipe *pipe)
{
    if (!reverse(pipe)->broken)
        sim_pipe_break(reverse(pipe), -ECONNRESET, false);
}

static void take_end(struct sim_pipe *pipe, int end)
{
    struct sim_socket *reader = pipe->conn->socket[pipe->to];
    pipe->end = end;
    sim_note(pipe->conn->world, "end", pipe_name(pipe), (uint64_t)(unsigned)end);
    if (end > 0)
        return;
    reverse(pipe)->sealed = reverse(pipe)->broken = true; /* a reset ends both directions */
    if (reader && reader->send && reader->send->op.state == OP_WAITING) {
        reader->told = true;
        sim_op_complete(reader->io, &reader->send->op, end);
    }
}

/* True: the two hosts are apart, and what is due now must wait. */
static bool held_back(struct sim_pipe *pipe)
{
    struct sim_conn *conn = pipe->conn;
    struct sim_world *world = conn->world;
    nsec until = sim_apart_until(world, conn->host[0], conn->host[1]);
    if (!until) {
        pipe->blocked_since = 0;
        return false;
    }
    if (!pipe->blocked_since)
        pipe->blocked_since = world->now;
    nsec give_up = pipe->blocked_since + GIVE_UP;
    if (world->now >= give_up) {
        /* The sender's kernel has had enough. The reader learns of it only if it writes, and is reset. */
        lose(pipe, 0);
        take_end(reverse(pipe), -ETIMEDOUT);
        pipe->broken = false;
        pipe->blocked_since = 0;
        sim_pipe_readable(reverse(pipe));
        return true;
    }
    nsec again = until == NSEC_NEVER ? give_up : until + (nsec)sim_below(world, 200 * NSEC_PER_MS);
    sim_schedule(world, &pipe->arrival, nsec_min(again, give_up));
    return true;
}

static void arrive(struct sim_event *event)
{
    struct sim_pipe *pipe = container_of(event, struct sim_pipe, arrival);
    struct sim_world *world = pipe->conn->world;
    if (held_back(pipe))
        return;
    while (pipe->landed < pipe->count && segment(pipe, pipe->landed)->at <= world->now) {
        const struct sim_segment *s = segment(pipe, pipe->landed++);
        pipe->arrived = s->upto;
        if (s->end)
            take_end(pipe, s->end);
    }
    if (pipe->landed < pipe->count)
        sim_schedule(world, event, segment(pipe, pipe->landed)->at);
    sim_note(world, "arrive", pipe_name(pipe), pipe->arrived);
    if (pipe->deaf && pipe->arrived > pipe->consumed) {
        pipe->consumed = pipe->arrived;
        refuse(pipe);
        return;
    }
    sim_pipe_readable(pipe);
}

void sim_pipe_init(struct sim_pipe *pipe, struct sim_conn *conn, unsigned to)
{
    char *ring = pipe->ring;
    struct sim_segment *segments = pipe->segments;
    size_t cap = pipe->cap;
    unsigned segment_cap = pipe->segment_cap;
    *pipe = (struct sim_pipe){.arrival = {.happen = arrive},
                              .conn = conn,
                              .to = to,
                              .ring = ring,
                              .cap = cap,
                              .segments = segments,
                              .segment_cap = segment_cap,
                              .cut_at = UINT64_MAX};
}

/* ---- leaving ---- */

static void push_segment(struct sim_pipe *pipe, nsec at, uint64_t upto, int end)
{
    struct sim_world *world = pipe->conn->world;
    if (pipe->count == pipe->segment_cap) {
        unsigned cap = pipe->segment_cap ? 2 * pipe->segment_cap : 8;
        struct sim_segment *grown = malloc(cap * sizeof *grown);
        sluice_assert(grown);
        for (unsigned i = 0; i < pipe->count; i++)
            grown[i] = *segment(pipe, i);
        free(pipe->segments);
        pipe->segments = grown;
        pipe->segment_cap = cap;
        pipe->first = 0;
    }
    pipe->last_at = nsec_max(at, pipe->last_at); /* TCP keeps the order */
    const struct sim_socket *sender = pipe->conn->socket[!pipe->to];
    nsec sent = sender && sender->send ? sender->send_at : world->now;
    *segment(pipe, pipe->count++) = (struct sim_segment){sent, pipe->last_at, upto, end};
    if (!pipe->arrival.place)
        sim_schedule(world, &pipe->arrival, pipe->last_at);
}

/* When bytes that leave now are there. */
static nsec travel(struct sim_pipe *pipe, size_t n)
{
    struct sim_world *world = pipe->conn->world;
    const struct sim_link *link = &pipe->conn->link;
    nsec leaves = nsec_max(world->now, pipe->line_free_at);
    if (link->bytes_per_s) {
        leaves += (nsec)((unsigned __int128)n * NSEC_PER_S / link->bytes_per_s);
        pipe->line_free_at = leaves;
    }
    return leaves + sim_link_delay(world, link);
}

void sim_pipe_close(struct sim_pipe *pipe)
{
    if (pipe->sealed || pipe->broken)
        return;
    pipe->sealed = true;
    push_segment(pipe, travel(pipe, 0), pipe->written, 1);
}

void sim_pipe_break(struct sim_pipe *pipe, int error, bool lossy)
{
    if (pipe->broken)
        return;
    pipe->sealed = pipe->broken = true;
    if (lossy)
        lose(pipe, sim_below(pipe->conn->world, pipe->written - pipe->arrived + 1));
    push_segment(pipe, travel(pipe, 0), pipe->written, error);
}

static void reserve(struct sim_pipe *pipe, size_t n)
{
    size_t used = (size_t)(pipe->written - pipe->consumed), cap = pipe->cap ? pipe->cap : 2048;
    while (cap < used + n)
        cap *= 2;
    if (cap == pipe->cap)
        return;
    char *grown = malloc(cap);
    sluice_assert(grown);
    for (uint64_t at = pipe->consumed; at < pipe->written; at++)
        grown[at & (cap - 1)] = pipe->ring[at & (pipe->cap - 1)];
    free(pipe->ring);
    pipe->ring = grown;
    pipe->cap = cap;
}

static void copy_in(struct sim_pipe *pipe, const char *bytes, size_t n)
{
    size_t at = (size_t)(pipe->written & (pipe->cap - 1)), tail = pipe->cap - at;
    memcpy(pipe->ring + at, bytes, n < tail ? n : tail);
    if (n > tail)
        memcpy(pipe->ring, bytes + tail, n - tail);
    pipe->written += n;
}

/* The bytes from `from` to `written` set out, in one segment or, as networks do, in a few. */
static void dispatch(struct sim_pipe *pipe, uint64_t from)
{
    struct sim_conn *conn = pipe->conn;
    struct sim_world *world = conn->world;
    nsec late = 0;
    if (!conn->sheltered && sim_strikes(world, SIM_STALL))
        late += (nsec)sim_below(world, 600 * (uint64_t)NSEC_PER_S);
    if (!conn->sheltered && sim_strikes(world, SIM_DELAY))
        late += (nsec)sim_below(world, 200 * (uint64_t)NSEC_PER_MS);
    if (!conn->sheltered && sim_strikes(world, SIM_SPLIT))
        pipe->singles = (size_t)(pipe->written - pipe->consumed);
    unsigned parts = sim_below(world, 8) ? 1 : 2 + (unsigned)sim_below(world, 3);
    for (; parts > 1 && pipe->written - from > 1; parts--) {
        uint64_t upto = from + 1 + sim_below(world, pipe->written - from - 1);
        push_segment(pipe, late + travel(pipe, (size_t)(upto - from)), upto, 0);
        from = upto;
    }
    push_segment(pipe, late + travel(pipe, (size_t)(pipe->written - from)), pipe->written, 0);
    if (!conn->sheltered && sim_strikes(world, SIM_RESET)) {
        sim_pipe_break(pipe, -ECONNRESET, true);
        sim_pipe_break(reverse(pipe), -ECONNRESET, true);
    }
}

/* A box between the two has closed the connection: both ends read an end of file, and meet a reset if they write on. */
static void sever(struct sim_pipe *pipe)
{
    sim_pipe_close(pipe);
    sim_pipe_close(reverse(pipe));
}

/* For the trace. Keys are drawn by OpenSSL, and by no world: what is encrypted counts by its length. */
static uint64_t hash_bytes(struct sim_pipe *pipe, uint64_t hash, const char *bytes, size_t n)
{
    pipe->secret = pipe->secret || (bytes[0] >= 20 && bytes[0] <= 23); /* RFC 8446 §5.1: ContentType */
    return pipe->secret ? sim_hash(hash ^ n, "", 0) : sim_hash(hash, bytes, n);
}

/* Takes as much of a send as there is room for; what nobody will read is taken and lost. */
static void move(struct sim_pipe *pipe, struct io_send *send)
{
    struct sim_world *world = pipe->conn->world;
    size_t skip = send->sent, room = sim_pipe_room(pipe);
    uint64_t from = pipe->written, hash = 0;
    if (pipe->sealed || pipe->deaf) {
        send->sent = send->total;
        refuse(pipe);
        return;
    }
    size_t n = send->total - send->sent < room ? send->total - send->sent : room;
    if (pipe->cut_at - pipe->written < n)
        n = (size_t)(pipe->cut_at - pipe->written);
    reserve(pipe, n);
    for (size_t i = 0, left = n; left; i++) {
        const struct iovec *part = &send->parts[i];
        if (skip >= part->iov_len) {
            skip -= part->iov_len;
            continue;
        }
        size_t take = part->iov_len - skip < left ? part->iov_len - skip : left;
        const char *bytes = (const char *)part->iov_base + skip;
        copy_in(pipe, bytes, take);
        sim_tell_bytes(world, pipe_name(pipe), bytes, take);
        hash = hash_bytes(pipe, hash, bytes, take);
        left -= take;
        skip = 0;
    }
    send->sent += n;
    sim_note(world, "write", pipe_name(pipe), hash);
    if (pipe->written > from)
        dispatch(pipe, from);
    if (pipe->written == pipe->cut_at) {
        pipe->cut_at = UINT64_MAX;
        world->struck[SIM_CLOSE]++;
        sever(pipe);
        send->sent = send->total;
    }
}

void sim_pipe_pump(struct sim_socket *socket)
{
    struct io_send *send = socket->send;
    if (!send || send->op.state != OP_WAITING || !socket->conn)
        return;
    struct sim_pipe *pipe = &socket->conn->pipe[!socket->side];
    int end = socket->conn->pipe[socket->side].end;
    if (end < 0) {
        sim_op_complete(socket->io, &send->op, socket->told ? -EPIPE : end);
        socket->told = true;
        return;
    }
    if (sim_pipe_room(pipe) || send->total == send->sent)
        move(pipe, send);
    if (send->op.state != OP_WAITING || send->sent < send->total)
        return;
    sim_op_complete(socket->io, &send->op, (int)send->total);
    if (socket->shut)
        sim_pipe_close(pipe);
}

/* ---- being read ---- */

static void release(struct sim_pipe *pipe)
{
    while (pipe->landed && segment(pipe, 0)->upto <= pipe->consumed && !segment(pipe, 0)->end) {
        pipe->first++;
        pipe->count--;
        pipe->landed--;
    }
}

static size_t chunk(struct sim_pipe *pipe)
{
    size_t n = (size_t)(pipe->arrived - pipe->consumed);
    size_t straight = pipe->cap - (size_t)(pipe->consumed & (pipe->cap - 1));
    if (pipe->singles) {
        pipe->singles--;
        return 1;
    }
    n = n < straight ? n : straight;
    n = n < IO_RECV_BYTES ? n : IO_RECV_BYTES;
    return sim_below(pipe->conn->world, 16) ? n : 1 + (size_t)sim_below(pipe->conn->world, n);
}

unsigned sim_pipe_deliver(struct sim_socket *socket, struct io_recv *recv, unsigned most)
{
    struct sim_pipe *pipe = &socket->conn->pipe[socket->side];
    unsigned called = 0;
    recv->op.state = OP_RUNNING;
    while (called < most && pipe->arrived > pipe->consumed && recv->op.state == OP_RUNNING) {
        size_t n = chunk(pipe);
        called++;
        sim_note(pipe->conn->world, "read", pipe_name(pipe), n);
        recv->bytes(recv, (struct slice){pipe->ring + (pipe->consumed & (pipe->cap - 1)), n});
        pipe->consumed += n;
        release(pipe);
    }
    struct sim_socket *writer = pipe->conn->socket[!pipe->to];
    if (called && writer) {
        sim_pipe_pump(writer);
        sim_socket_poll(writer);
    }
    if (recv->op.state != OP_RUNNING)
        return called; /* cancelled by its own callback */
    recv->op.state = OP_WAITING;
    if (pipe->arrived > pipe->consumed || (pipe->end && called >= most)) {
        sim_op_ready(socket->io, &recv->op);
        return called;
    }
    if (!pipe->end)
        return called;
    socket->told = socket->told || pipe->end < 0;
    return called + sim_op_finish(socket->io, &recv->op, pipe->end > 0 ? 0 : pipe->end);
}

nsec sim_sent_at(struct io *io, int fd, size_t offset, size_t *run)
{
    struct sim_socket *socket = sim_socket_at(io, fd);
    sluice_assert(socket && socket->conn);
    const struct sim_pipe *pipe = &socket->conn->pipe[socket->side];
    uint64_t at = pipe->consumed + offset;
    for (unsigned i = 0; i < pipe->landed; i++)
        if (segment(pipe, i)->upto > at) {
            *run = (size_t)(segment(pipe, i)->upto - at);
            return segment(pipe, i)->sent;
        }
    sluice_assert(!"no such byte was delivered");
    return 0;
}
