/* io.c - a shard's operations, timers, posts and turns, as io/io.h promises them, on a world's virtual clock. */
#include "sim/world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    TIMERS_PER_SESSION = 16,
    TIMERS_BESIDES = 64 * 1024,
    TURN_TAKES = 1000, /* nsec until the same io can have its next turn: no turn repeats without time passing */
    WAKE_TAKES = 5000, /* at most, until an io that sleeps sees what came */
};

/* ---- rings of operations ---- */

static void ring_init(struct io_op *ring) { ring->next = ring->prev = ring; }
static bool ring_empty(const struct io_op *ring) { return ring->next == ring; }

static void ring_add(struct io_op *ring, struct io_op *op)
{
    op->next = ring;
    op->prev = ring->prev;
    op->prev->next = op;
    ring->prev = op;
}

static void ring_remove(struct io_op *op)
{
    if (!op->next)
        return;
    op->next->prev = op->prev;
    op->prev->next = op->next;
    op->next = op->prev = NULL;
}

/* All of `from` goes in front of `to`. */
static void ring_splice(struct io_op *from, struct io_op *to)
{
    if (ring_empty(from))
        return;
    from->prev->next = to->next;
    to->next->prev = from->prev;
    to->next = from->next;
    from->next->prev = to;
    ring_init(from);
}

/* ---- operations ---- */

static void mark_dirty(struct io *io)
{
    struct sim_world *world = io->world;
    if (io->is_dirty)
        return;
    io->is_dirty = true;
    io->next_dirty = NULL;
    *world->dirty_end = io;
    world->dirty_end = &io->next_dirty;
}

static void unmark_dirty(struct io *io)
{
    struct sim_world *world = io->world;
    struct io **at = &world->dirty;
    if (!io->is_dirty)
        return;
    while (*at != io)
        at = &(*at)->next_dirty;
    *at = io->next_dirty;
    if (world->dirty_end == &io->next_dirty)
        world->dirty_end = at;
    io->is_dirty = false;
}

void sim_op_start(struct io *io, struct io_op *op, int kind)
{
    (void)io;
    sluice_assert(op->state == OP_IDLE);
    op->kind = (uint8_t)kind;
    op->state = OP_WAITING;
    op->fd = -1;
    op->next = op->prev = NULL;
}

static void submit(struct io *io, struct io_op *op, int fd, int kind)
{
    sluice_assert(op->state == OP_IDLE && op->done);
    op->kind = (uint8_t)kind;
    op->state = OP_SUBMITTED;
    op->fd = fd;
    struct sim_socket *socket = sim_socket_at(io, fd);
    if (socket)
        socket->busy++;
    ring_add(&io->submitted, op);
    mark_dirty(io);
}

void sim_op_drop(struct io_op *op)
{
    ring_remove(op);
    op->state = OP_IDLE;
}

void sim_op_ready(struct io *io, struct io_op *op)
{
    op->state = OP_READY;
    ring_add(&io->ready, op);
    sim_wake(io);
}

void sim_op_complete(struct io *io, struct io_op *op, int result)
{
    struct sim_socket *socket = op->fd < 0 ? NULL : sim_socket_at(io, op->fd);
    sluice_assert(op->state != OP_IDLE && op->state != OP_COMPLETE);
    ring_remove(op);
    if (socket)
        sim_socket_detach(socket, op);
    op->state = OP_COMPLETE;
    op->result = result;
    ring_add(&io->ready, op);
    sim_wake(io);
}

unsigned sim_op_finish(struct io *io, struct io_op *op, int result)
{
    struct sim_socket *socket = op->fd < 0 ? NULL : sim_socket_at(io, op->fd);
    if (socket) {
        sluice_assert(socket->busy);
        socket->busy--;
        sim_socket_detach(socket, op);
    }
    sim_note(io->world, "done", io->number, (uint64_t)op->kind << 32 | (uint32_t)result);
    op->state = OP_IDLE;
    op->done(op, result);
    return 1;
}

static void hand_over(struct io *io)
{
    while (!ring_empty(&io->submitted)) {
        struct io_op *op = io->submitted.next;
        struct sim_socket *socket = sim_socket_at(io, op->fd);
        ring_remove(op);
        op->state = OP_WAITING;
        if (socket)
            sim_socket_apply(socket, op);
        else
            sim_op_complete(io, op, -EBADF);
    }
}

void sim_hand_over(struct sim_world *world)
{
    while (world->dirty) {
        struct io *io = world->dirty;
        unmark_dirty(io);
        hand_over(io);
    }
}

void io_cancel(struct io *io, struct io_op *op)
{
    if (op->state != OP_IDLE && op->state != OP_COMPLETE)
        sim_op_complete(io, op, -ECANCELED);
}

void io_connect(struct io *io, struct io_op *op, int fd, const struct io_address *to)
{
    op->scratch[0] = (uintptr_t)to;
    submit(io, op, fd, OP_CONNECT);
}

void io_send(struct io *io, struct io_send *send, int fd, const struct slice *parts, unsigned count)
{
    sluice_assert(count <= IO_SEND_PARTS);
    send->total = send->sent = 0;
    for (unsigned i = 0; i < IO_SEND_PARTS; i++) {
        send->parts[i] = i < count ? (struct iovec){(void *)(uintptr_t)parts[i].p, parts[i].n} : (struct iovec){0};
        send->total += send->parts[i].iov_len;
    }
    submit(io, &send->op, fd, OP_SEND);
}

void io_recv(struct io *io, struct io_recv *recv, int fd) { submit(io, &recv->op, fd, OP_RECV); }
void io_accept(struct io *io, struct io_accept *accept, int fd) { submit(io, &accept->op, fd, OP_ACCEPT); }

void io_poll(struct io *io, struct io_op *op, int fd, unsigned events)
{
    op->scratch[0] = events;
    submit(io, op, fd, OP_POLL);
}

/* ---- timers and clocks ---- */

nsec io_now(struct io *io) { return io->world->now; }
nsec io_lately(struct io *io) { return io->world->now; }

/* The epoch of all worlds: 2026-01-01, so that traces do not depend on today. */
nsec io_wall(struct io *io) { return (nsec)1767225600 * NSEC_PER_S + io->world->now + io->host->wall_offset; }
nsec io_wall_at(struct io *io, nsec at) { return io_wall(io) + at - io->world->now; }

uint64_t io_random(struct io *io) { return sim_draw(&io->random); }
void io_timer_clear(struct io *io, struct io_timer *timer) { timer_clear(&io->timers, timer); }

void io_timer_set(struct io *io, struct io_timer *timer, nsec at)
{
    timer_set(&io->timers, timer, at);
    if (io->on_turn && io->world->running != io && !(io->turn.place && io->world->heap[io->turn.place].at <= at))
        sim_schedule(io->world, &io->turn, at);
}

unsigned sim_timers(const struct io *io) { return io->timers.count; }

/* ---- posts ---- */

bool io_post(struct io *io, unsigned to, const struct io_post *post)
{
    struct io_group *group = io->group;
    sluice_assert(to < group->shards && post->kind && post->size <= IO_POST_BYTES);
    struct sim_ring *ring = &group->rings[io->shard * group->shards + to];
    if (ring->count == IO_POST_RING || sim_strikes(io->world, SIM_POST_FULL))
        return false;
    if (!ring->posts) {
        ring->posts = malloc(IO_POST_RING * sizeof *ring->posts);
        sluice_assert(ring->posts);
    }
    struct io_post *slot = &ring->posts[(ring->first + ring->count++) % IO_POST_RING];
    slot->kind = post->kind;
    slot->size = post->size;
    memcpy(slot->bytes, post->bytes, post->size);
    sim_note(io->world, "post", io->number, sim_hash(post->kind, slot->bytes, slot->size));
    struct io *target = group->ios[to];
    if (target) {
        target->posted = true;
        sim_wake(target);
    }
    return true;
}

void io_on_post(struct io *io, void (*receive)(void *context, unsigned from, const struct io_post *post), void *context)
{
    io->on_post = receive;
    io->post_context = context;
    io->posted = true;
    sim_wake(io);
}

/* What stood in the rings when the turn began; what its receivers post themselves is left for the next one. */
static unsigned deliver_posts(struct io *io)
{
    struct io_group *group = io->group;
    unsigned called = 0, start = (unsigned)sim_below(io->world, group->shards);
    if (!io->posted || !io->on_post)
        return 0;
    io->posted = false;
    for (unsigned i = 0; i < group->shards; i++) {
        unsigned from = (start + i) % group->shards;
        struct sim_ring *ring = &group->rings[from * group->shards + io->shard];
        for (unsigned n = ring->count; n; n--) {
            struct io_post post = ring->posts[ring->first];
            ring->first = (ring->first + 1) % IO_POST_RING;
            ring->count--;
            called++;
            io->on_post(io->post_context, from, &post);
        }
    }
    return called;
}

/* ---- turns ---- */

void sim_wake(struct io *io)
{
    struct sim_world *world = io->world;
    if (!io->on_turn || world->running == io)
        return;
    nsec at = nsec_max(world->now + (nsec)sim_below(world, WAKE_TAKES), io->busy_until);
    if (!io->turn.place || world->heap[io->turn.place].at > at)
        sim_schedule(world, &io->turn, at);
}

static bool something_is_due(struct io *io)
{
    return !ring_empty(&io->ready) || (io->posted && io->on_post) || timer_next(&io->timers) <= io->world->now;
}

static unsigned deliver_one(struct io *io, struct io_op *op, unsigned most)
{
    struct sim_socket *socket = op->fd < 0 ? NULL : sim_socket_at(io, op->fd);
    ring_remove(op);
    if (op->state == OP_READY && op->kind == OP_RECV)
        return sim_pipe_deliver(socket, container_of(op, struct io_recv, op), most);
    if (op->state == OP_READY)
        return sim_accept_deliver(socket, container_of(op, struct io_accept, op), most);
    sluice_assert(op->state == OP_COMPLETE);
    return sim_op_finish(io, op, op->result);
}

/* Collected first, handled then: what becomes ready meanwhile belongs to a later turn. */
static unsigned deliver_operations(struct io *io, unsigned most)
{
    unsigned called = 0;
    ring_splice(&io->ready, &io->batch);
    while (!ring_empty(&io->batch) && called < most)
        called += deliver_one(io, io->batch.next, most - called);
    ring_splice(&io->batch, &io->ready);
    return called;
}

static unsigned batch_of(struct sim_world *world)
{
    unsigned most = world->batch ? world->batch : UINT32_MAX;
    if (sim_below(world, 4))
        return most;
    unsigned few = 1 + (unsigned)sim_below(world, 8);
    return few < most ? few : most;
}

/* The kernel's backend runs timers before or after completions as it likes; here the seed decides. */
static unsigned run_what_is_due(struct io *io)
{
    struct sim_world *world = io->world;
    unsigned called = 0, most = batch_of(world);
    bool timers_first = sim_below(world, 2);
    if (timers_first)
        called += timer_fire(&io->timers, world->now);
    called += deliver_posts(io);
    called += deliver_operations(io, most);
    if (!timers_first)
        called += timer_fire(&io->timers, world->now);
    sim_note(world, "turn", io->number, called);
    return called;
}

unsigned io_turn(struct io *io, nsec until)
{
    struct sim_world *world = io->world;
    if (world->running == io)
        return run_what_is_due(io);
    sluice_assert(!world->running);
    sim_hand_over(world);
    while (!something_is_due(io) && until > world->now) {
        nsec limit = nsec_min(until, timer_next(&io->timers));
        if (!sim_advance(world, limit)) {
            sluice_assert(limit != NSEC_NEVER); /* it would sleep for ever */
            world->now = limit;
        }
        sim_hand_over(world);
    }
    world->running = io;
    unsigned called = run_what_is_due(io);
    world->running = NULL;
    sim_hand_over(world);
    return called;
}

static void take_turn(struct sim_event *event)
{
    struct io *io = container_of(event, struct io, turn);
    struct sim_world *world = io->world;
    world->events++;
    world->running = io;
    nsec until = io->on_turn(io->context);
    world->running = NULL;
    io->busy_until = world->now + TURN_TAKES;
    nsec at = something_is_due(io) ? world->now : nsec_min(until, timer_next(&io->timers));
    if (at != NSEC_NEVER)
        sim_schedule(world, &io->turn, nsec_max(at, io->busy_until));
}

void sim_on_turn(struct io *io, nsec (*turn)(void *context), void *context)
{
    io->on_turn = turn;
    io->context = context;
    if (turn)
        sim_schedule(io->world, &io->turn, nsec_max(io->world->now, io->busy_until));
    else
        sim_unschedule(io->world, &io->turn);
}

static nsec turn_alone(void *context)
{
    (void)io_turn(context, NSEC_NEVER);
    return NSEC_NEVER;
}

void sim_serve(struct io *io) { sim_on_turn(io, turn_alone, io); }

/* ---- beginning and end ---- */

struct io_group *sim_process(struct sim_host *host, unsigned shards)
{
    struct io_group *group = calloc(1, sizeof *group);
    sluice_assert(group && shards);
    group->world = host->world;
    group->host = host;
    group->shards = shards;
    group->ios = calloc(shards, sizeof *group->ios);
    group->rings = calloc((size_t)shards * shards, sizeof *group->rings);
    sluice_assert(group->ios && group->rings);
    group->next = host->world->groups;
    host->world->groups = group;
    return group;
}

struct io *io_open(const struct io_config *config, char *error, size_t error_cap)
{
    struct io_group *group = config->group;
    struct sim_world *world = group->world;
    uint32_t timers = config->sessions_max * TIMERS_PER_SESSION + TIMERS_BESIDES;
    sluice_assert(config->shard < group->shards && !group->ios[config->shard]);
    struct io *io = calloc(1, sizeof *io);
    if (!io || !arena_open(&io->arena, timer_bytes(timers)) || !timer_open(&io->timers, &io->arena, timers)) {
        snprintf(error, error_cap, "no memory for the timers of a shard");
        free(io);
        return NULL;
    }
    io->world = world;
    io->group = group;
    io->host = group->host;
    io->shard = config->shard;
    io->number = ++world->io_count;
    io->random = sim_random(world);
    io->turn.happen = take_turn;
    io->posted = true; /* what was posted before it came is still there */
    ring_init(&io->submitted);
    ring_init(&io->ready);
    ring_init(&io->batch);
    io->next = world->ios;
    if (io->next)
        io->next->prev = io;
    world->ios = io;
    group->ios[io->shard] = io;
    sim_note(world, "open", io->number, group->host->number);
    sim_tell(world, "open %u: shard %u on %s", io->number, io->shard, io->host->name);
    return io;
}

static void dispose(struct io *io)
{
    struct sim_world *world = io->world;
    unmark_dirty(io);
    sim_unschedule(world, &io->turn);
    sim_resolvers_free(io);
    sim_sockets_free(io);
    for (unsigned i = 0; i < io->group->shards; i++)
        io->group->rings[i * io->group->shards + io->shard].count = 0;
    io->group->ios[io->shard] = NULL;
    if (io->prev)
        io->prev->next = io->next;
    else
        world->ios = io->next;
    if (io->next)
        io->next->prev = io->prev;
    arena_drop(&io->arena);
    free(io);
}

void io_close_all(struct io *io)
{
    sluice_assert(io->world->running != io);
    sim_note(io->world, "shut", io->number, 0);
    sim_sockets_drop(io, false);
    dispose(io);
}

void sim_stop(struct io *io, nsec until)
{
    sluice_assert(io->world->running != io);
    sim_note(io->world, "stop", io->number, (uint64_t)until);
    io->busy_until = nsec_max(io->busy_until, until);
    if (io->on_turn)
        sim_schedule(io->world, &io->turn, io->busy_until);
}

void sim_crash(struct io *io)
{
    sluice_assert(io->world->running != io);
    sim_note(io->world, "crash", io->number, 0);
    if (sim_below(io->world, 2))
        hand_over(io);
    sim_sockets_drop(io, true);
    dispose(io);
}

void sim_groups_free(struct sim_world *world)
{
    while (world->ios)
        dispose(world->ios);
    for (struct io_group *g = world->groups, *next; g; g = next) {
        next = g->next;
        for (unsigned i = 0; i < g->shards * g->shards; i++)
            free(g->rings[i].posts);
        free(g->rings);
        free(g->ios);
        free(g);
    }
}
