/* The kernel's implementation of io.h: one io_uring for each shard's thread. */
#include "io/uring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
    URING_OPS_PER_SESSION = 4, /* receive, send, connect or poll, and one being cancelled */
    URING_OPS_EXTRA = 256,     /* listeners, c-ares, Redis */
    URING_DESCRIPTORS_EXTRA = 64,
    URING_TIMERS_MAX = 1 << 20,
    URING_BATCH = 4096,      /* completions of one turn; more wait for the next */
    URING_SLACK = 64 * 1024, /* for aligning what lies in the arena */
};

/* ---- clock and chance ---- */

static nsec clock_of(clockid_t clock)
{
    struct timespec time;
    int result = clock_gettime(clock, &time);
    sluice_assert(result == 0);
    return time.tv_sec * NSEC_PER_S + time.tv_nsec;
}

/* It goes on while the host sleeps, other than CLOCK_MONOTONIC: whoever wakes must know how old his heartbeat is. The
 * kernel's time-outs stand still meanwhile, so a wait is over late; but what is done then is done by this clock. */
nsec io_now(struct io *io) { return io->lately = clock_of(CLOCK_BOOTTIME); }

nsec io_lately(struct io *io) { return io->lately; }

nsec io_wall(struct io *io)
{
    (void)io;
    return clock_of(CLOCK_REALTIME);
}

/* They are put right alike, and only the wall clock jumps: it is enough to see every millisecond how far apart they
 * are, between two looks that nothing came between. */
nsec io_wall_at(struct io *io, nsec at)
{
    nsec now = io->lately, shortest = NSEC_NEVER;
    if (io->wall_ahead && now - io->wall_ahead_at < NSEC_PER_MS)
        return at + io->wall_ahead;
    for (int i = 0; i < 4 && shortest > NSEC_PER_US; i++) {
        nsec before = now = io_now(io), wall = io_wall(io), took = io_now(io) - before;
        if (took >= shortest)
            continue;
        shortest = took;
        io->wall_ahead = wall - before - took / 2;
    }
    io->wall_ahead_at = now;
    return at + io->wall_ahead;
}

static uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

/* xoshiro256** (Blackman, Vigna 2018), seeded by the kernel. */
uint64_t io_random(struct io *io)
{
    uint64_t *s = io->random, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

/* ---- what needs no ring ---- */

void io_timer_set(struct io *io, struct io_timer *timer, nsec at) { timer_set(&io->timers, timer, at); }

void io_timer_clear(struct io *io, struct io_timer *timer) { timer_clear(&io->timers, timer); }

int io_socket(struct io *io, int family, const struct io_address *source)
{
    return descriptor_socket(&io->descriptors, family, source);
}

int io_listen(struct io *io, const struct io_address *at, int backlog, bool share)
{
    return descriptor_listen(&io->descriptors, at, backlog, share);
}

bool io_peer(struct io *io, int fd, struct io_address *peer, struct io_address *local)
{
    (void)io;
    return descriptor_peer(fd, peer, local);
}

void io_shutdown(struct io *io, int fd)
{
    (void)io;
    (void)shutdown(fd, SHUT_WR); /* ENOTCONN: the peer was faster, as the receive will tell */
}

void io_close(struct io *io, int fd) { descriptor_close(&io->descriptors, fd); }

void io_on_post(struct io *io, void (*receive)(void *context, unsigned from_shard, const struct io_post *post),
                void *context)
{
    io->receive = receive;
    io->receive_context = context;
}

/* ---- waking others ---- */

static void wake(struct io *io, unsigned shard)
{
    io->wakes_wanted += !io->wake_wanted[shard];
    io->wake_wanted[shard] = true;
}

bool io_post(struct io *io, unsigned to_shard, const struct io_post *post)
{
    bool sleeps;
    if (!post_put(io->group, io->shard, to_shard, post, &sleeps))
        return false;
    if (sleeps)
        wake(io, to_shard);
    return true;
}

static void send_wakes(struct io *io)
{
    for (unsigned shard = 0; io->wakes_wanted && shard < post_shards(io->group); shard++) {
        int descriptor = post_descriptor(io->group, shard);
        if (!io->wake_wanted[shard])
            continue;
        struct io_uring_sqe *sqe = descriptor >= 0 ? ring_sqe(&io->ring) : NULL;
        if (descriptor >= 0 && !sqe)
            return; /* with the next turn */
        io->wake_wanted[shard] = false;
        io->wakes_wanted--;
        if (sqe) {
            io_uring_prep_msg_ring(sqe, descriptor, 0, USER_NOBODY, 0);
            io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
            io_uring_sqe_set_data64(sqe, USER_WAKE | shard);
        }
    }
}

/* ---- a turn ---- */

static void completed(struct io *io, const struct completion *c)
{
    if (operation_completed(io, c))
        return;
    if (c->flags & IORING_CQE_F_BUFFER)
        ring_recycle(&io->ring, c->flags >> IORING_CQE_BUFFER_SHIFT);
    /* A sleeper was not woken for want of memory: once more. If its ring is gone, it is gone too. */
    if (c->user_data & USER_WAKE && (c->result == -ENOMEM || c->result == -EAGAIN))
        wake(io, (unsigned)(c->user_data & ~USER_WAKE));
}

static nsec patience(struct io *io, nsec until)
{
    if (io->operations.ready_count || io->operations.backlog.first || io->wakes_wanted)
        return 0;
    until = nsec_min(until, timer_next(&io->timers));
    if (until == NSEC_NEVER)
        return NSEC_NEVER;
    return nsec_max(until - io_now(io), 0);
}

static void collect(struct io *io)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    io_uring_for_each_cqe(&io->ring.uring, head, cqe)
    {
        if (n == URING_BATCH)
            break;
        io->batch[n++] = (struct completion){cqe->user_data, cqe->res, cqe->flags};
    }
    io_uring_cq_advance(&io->ring.uring, n);
    io->batch_count = n;
    io->batch_next = 0;
}

static void deliver_posts(struct io *io)
{
    for (unsigned from = 0; from < post_shards(io->group); from++) {
        /* Only those that are there now: a shard that posts to itself must not keep the turn from ending. */
        for (unsigned n = post_count(io->group, from, io->shard); n; n--) {
            const struct io_post *post = post_peek(io->group, from, io->shard);
            if (io->receive) {
                io->callbacks++;
                io->receive(io->receive_context, from, post);
            }
            post_drop(io->group, from, io->shard);
        }
    }
}

static void run_callbacks(struct io *io)
{
    (void)io_now(io); /* for io_lately */
    unsigned ready = io->operations.ready_count; /* those that become ready meanwhile have their turn later */
    while (io->batch_next < io->batch_count)
        completed(io, &io->batch[io->batch_next++]);
    for (; ready; ready--)
        operation_finish_ready(io);
    if (timer_next(&io->timers) != NSEC_NEVER)
        io->callbacks += timer_fire(&io->timers, io_now(io));
    deliver_posts(io);
}

static void release(struct io *io)
{
    struct arena arena = io->arena; /* the io itself lies in it */
    arena_drop(&arena);
}

unsigned io_turn(struct io *io, nsec until)
{
    sluice_assert(!io->turning);
    operation_launch_backlog(io);
    send_wakes(io);
    nsec wait = patience(io, until);
    if (wait > 0 && post_sleep(io->group, io->shard)) {
        ring_enter(&io->ring, wait);
        post_awake(io->group, io->shard);
    } else {
        ring_enter(&io->ring, 0);
    }
    collect(io);
    io->turning = true;
    io->callbacks = 0;
    run_callbacks(io);
    io->turning = false;
    return io->callbacks;
}

/* ---- opening and closing ---- */

static bool describe(char *error, size_t cap, const char *sentence)
{
    snprintf(error, cap, "%s", sentence);
    return false;
}

static bool open_parts(struct io *io, const struct io_config *config, int limit, char *error, size_t cap)
{
    struct arena *arena = &io->arena;
    uint32_t operations = URING_OPS_PER_SESSION * config->sessions_max + URING_OPS_EXTRA;
    io->batch = arena_take(arena, sizeof *io->batch * URING_BATCH, 64);
    io->wake_wanted = arena_take(arena, post_shards(config->group), 1);
    if (!io->batch || !io->wake_wanted || !timer_open(&io->timers, arena, URING_TIMERS_MAX) ||
        !descriptor_open(&io->descriptors, arena, limit, io_reserve(post_shards(config->group))) || !operation_open(&io->operations, arena, operations))
        return describe(error, cap, "the shard's io does not fit into the memory reserved for it");
    if (getrandom(io->random, sizeof io->random, 0) != (ssize_t)sizeof io->random)
        return describe(error, cap, "the kernel gives no random numbers (getrandom)");
    return ring_open(&io->ring, arena, config->sessions_max, error, cap);
}

struct io *io_open(const struct io_config *config, char *error, size_t error_cap)
{
    struct arena arena;
    int limit = descriptor_limit();
    uint64_t wanted = ((uint64_t)config->sessions_max + URING_DESCRIPTORS_EXTRA) * post_shards(config->group);
    if ((uint64_t)limit < wanted) {
        snprintf(error, error_cap,
                 "%d descriptors are allowed, and %u shards of %u sessions need %llu: set fewer sessions, or raise "
                 "`ulimit -n` (systemd: LimitNOFILE=1048576)",
                 limit, post_shards(config->group), config->sessions_max, (unsigned long long)wanted);
        return NULL;
    }
    uint32_t operations = URING_OPS_PER_SESSION * config->sessions_max + URING_OPS_EXTRA;
    if (!arena_open(&arena, sizeof(struct io) + sizeof(struct completion) * URING_BATCH + post_shards(config->group) +
                                timer_bytes(URING_TIMERS_MAX) + descriptor_bytes(limit) + operation_bytes(operations) +
                                ring_bytes(config->sessions_max) + URING_SLACK)) {
        describe(error, error_cap,
                 "no address space for the shard's io: raise `ulimit -v` (systemd: LimitAS=infinity)");
        return NULL;
    }
    struct io *io = arena_take(&arena, sizeof *io, 64);
    sluice_assert(io);
    io->arena = arena;
    io->group = config->group;
    io->shard = config->shard;
    if (!open_parts(io, config, limit, error, error_cap)) {
        release(io);
        return NULL;
    }
    /* Waits end when they are due, not up to 50 microseconds later. */
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    (void)io_now(io); /* for io_lately */
    post_join(io->group, io->shard, io->ring.uring.ring_fd);
    return io;
}

/* Connections that the kernel accepted and nobody was told of. */
static void close_orphans(struct io *io)
{
    do {
        for (; io->batch_next < io->batch_count; io->batch_next++) {
            int fd = operation_orphan(io, &io->batch[io->batch_next]);
            if (fd >= 0)
                close(fd);
        }
        ring_reap(&io->ring);
        collect(io);
    } while (io->batch_count);
}

void left_leave(struct io *io, struct io_left *left)
{
    left->next = io->left;
    left->at = &io->left;
    if (left->next)
        left->next->at = &left->next;
    io->left = left;
}

void left_take(struct io_left *left)
{
    *left->at = left->next;
    if (left->next)
        left->next->at = left->at;
}

void io_close_all(struct io *io)
{
    sluice_assert(!io->turning);
    post_leave(io->group, io->shard);
    ring_stop(&io->ring);
    close_orphans(io);
    descriptor_close_all(&io->descriptors);
    ring_close(&io->ring);
    while (io->left) {
        struct io_left *left = io->left;
        left_take(left);
        free(left);
    }
    release(io);
}
