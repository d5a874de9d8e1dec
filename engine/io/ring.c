/* Opens the ring with the flags that pay, and explains itself where the machine forbids it. */
#include "io/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

enum {
    RING_SQ_MIN = 128,
    RING_SQ_MAX = 4096,
    RING_CQ_MIN = 1024,
    RING_CQ_MAX = 65536,
    /* The kernel goes round the buffers, so all of them pass through the caches: no more than one turn can need. What
     * does not find one is told ENOBUFS and asks again. */
    RING_BUFFERS_MIN = 64,
    RING_BUFFERS_MAX = 1024,
    RING_PAGE = 4096,
};

static unsigned power_of_two(unsigned at_least, unsigned min, unsigned max)
{
    unsigned n = min;
    while (n < at_least && n < max)
        n *= 2;
    return n;
}

static unsigned buffers_for(unsigned sessions_max)
{
    return power_of_two(sessions_max, RING_BUFFERS_MIN, RING_BUFFERS_MAX);
}

size_t ring_bytes(unsigned sessions_max)
{
    return (size_t)buffers_for(sessions_max) * (IO_RECV_BYTES + sizeof(struct io_uring_buf)) + (size_t)4 * RING_PAGE;
}

/* The value of sysctl kernel.io_uring_disabled (Linux 6.6 and later); 0 where there is none. */
static int disabled_by_sysctl(void)
{
    char text[8] = "";
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 && text[0] >= '0' && text[0] <= '2' ? text[0] - '0' : 0;
}

static void explain(int problem, char *error, size_t cap)
{
    struct utsname name;
    const char *release = uname(&name) == 0 ? name.release : "unknown";
    int disabled = disabled_by_sysctl();

    if (problem == -EPERM && disabled == 2)
        snprintf(error, cap,
                 "io_uring is switched off on this machine (sysctl kernel.io_uring_disabled is 2); allow it with: "
                 "sysctl -w kernel.io_uring_disabled=0");
    else if (problem == -EPERM && disabled == 1)
        snprintf(error, cap,
                 "io_uring is reserved to a group on this machine (sysctl kernel.io_uring_disabled is 1); run Sluice "
                 "in the group that sysctl kernel.io_uring_group names, or: sysctl -w kernel.io_uring_disabled=0");
    else if (problem == -EPERM || problem == -EACCES)
        snprintf(error, cap,
                 "io_uring is forbidden here although the kernel has it: the seccomp profile of a container or "
                 "service manager must allow io_uring_setup, io_uring_enter and io_uring_register; Sluice's "
                 "seccomp.json does (docker run --security-opt seccomp=seccomp.json)");
    else if (problem == -ENOSYS)
        snprintf(error, cap,
                 "this system offers no io_uring (kernel %s): Sluice needs Linux 6.1 or later; in a container, its "
                 "seccomp profile must allow io_uring_setup, io_uring_enter and io_uring_register",
                 release);
    else if (problem == -EINVAL)
        snprintf(error, cap, "the io_uring of this kernel (%s) is too old: Sluice needs Linux 6.1 or later", release);
    else if (problem == -EMFILE || problem == -ENFILE)
        snprintf(error, cap, "no descriptor is left for an io_uring: raise `ulimit -n` (systemd: LimitNOFILE=1048576)");
    else if (problem == -ENOMEM)
        snprintf(error, cap,
                 "no memory for an io_uring: give the machine or container more memory, set fewer "
                 "sessions, or raise `ulimit -l` (systemd: LimitMEMLOCK=infinity)");
    else
        snprintf(error, cap, "io_uring cannot be opened: %s", strerror(-problem));
}

/* Every flag is in Linux 6.1. Where memory is scarce, smaller rings do: they only make more system calls. */
static int setup(struct io_uring *uring, unsigned sessions_max)
{
    unsigned sq = power_of_two(sessions_max, RING_SQ_MIN, RING_SQ_MAX);
    unsigned cq = power_of_two(4 * sessions_max, RING_CQ_MIN, RING_CQ_MAX);
    int result;
    do {
        struct io_uring_params params = {
            .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                     IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
            .cq_entries = cq,
        };
        result = io_uring_queue_init_params(sq, uring, &params);
        sq /= 2, cq /= 2;
    } while (result == -ENOMEM && sq >= RING_SQ_MIN / 2 && cq >= RING_CQ_MIN / 2);
    return result;
}

static int give_buffers(struct ring *ring, struct arena *arena, unsigned sessions_max)
{
    ring->buffer_count = buffers_for(sessions_max);
    ring->buffers = arena_take(arena, ring->buffer_count * sizeof(struct io_uring_buf), RING_PAGE);
    ring->buffer_bytes = arena_take(arena, (size_t)ring->buffer_count * IO_RECV_BYTES, RING_PAGE);
    if (!ring->buffers || !ring->buffer_bytes)
        return -ENOMEM;
    struct io_uring_buf_reg about = {
        .ring_addr = (uintptr_t)ring->buffers, .ring_entries = ring->buffer_count, .bgid = RING_BUFFER_GROUP};
    int result = io_uring_register_buf_ring(&ring->uring, &about, 0);
    if (result != 0)
        return result;
    io_uring_buf_ring_init(ring->buffers);
    for (unsigned id = 0; id < ring->buffer_count; id++)
        ring_recycle(ring, id);
    return 0;
}

bool ring_open(struct ring *ring, struct arena *arena, unsigned sessions_max, char *error, size_t error_cap)
{
    *ring = (struct ring){0};
    int result = setup(&ring->uring, sessions_max);
    if (result == 0) {
        /* Saves looking the descriptor up at every entry; nothing is lost where it is refused. */
        (void)io_uring_register_ring_fd(&ring->uring);
        result = give_buffers(ring, arena, sessions_max);
        if (result == 0)
            return true;
        io_uring_queue_exit(&ring->uring);
    }
    explain(result, error, error_cap);
    return false;
}

void ring_stop(struct ring *ring)
{
    struct io_uring_sync_cancel_reg all = {
        .fd = -1, .flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL, .timeout = {.tv_sec = 1}};
    (void)io_uring_register_sync_cancel(&ring->uring, &all);
    ring_reap(ring);
}

void ring_reap(struct ring *ring) { (void)io_uring_get_events(&ring->uring); }

void ring_close(struct ring *ring) { io_uring_queue_exit(&ring->uring); }

static bool nothing_to_enter_for(const struct io_uring *uring)
{
    unsigned flags = IO_URING_READ_ONCE(*uring->sq.kflags);
    return io_uring_sq_ready(uring) == 0 && !(flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

void ring_enter(struct ring *ring, nsec wait)
{
    struct io_uring *uring = &ring->uring;
    int result = 0;
    if (wait > 0) {
        struct io_uring_cqe *first;
        struct __kernel_timespec limit = {.tv_sec = wait / NSEC_PER_S, .tv_nsec = wait % NSEC_PER_S};
        result = io_uring_submit_and_wait_timeout(uring, &first, 1, wait == NSEC_NEVER ? NULL : &limit, NULL);
    } else if (!nothing_to_enter_for(uring)) {
        result = io_uring_submit_and_get_events(uring);
    }
    /* Time is up, a signal, completions to be read first, no memory just now: all are over with the next turn. */
    sluice_assert(result >= 0 || result == -ETIME || result == -EINTR || result == -EBUSY || result == -EAGAIN ||
                  result == -ENOMEM);
}

struct io_uring_sqe *ring_sqe(struct ring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    if (sqe)
        return sqe;
    (void)io_uring_submit(&ring->uring);
    return io_uring_get_sqe(&ring->uring);
}

void ring_recycle(struct ring *ring, unsigned id)
{
    io_uring_buf_ring_add(ring->buffers, ring_buffer(ring, id), IO_RECV_BYTES, (unsigned short)id,
                          io_uring_buf_ring_mask(ring->buffer_count), 0);
    io_uring_buf_ring_advance(ring->buffers, 1);
}
