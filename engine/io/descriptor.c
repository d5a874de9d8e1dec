/* Makes sockets with the options a sender of mail needs, and knows which ones are open. */
#include "io/descriptor.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <unistd.h>

enum { DESCRIPTORS_MAX = 1 << 24 /* some containers say a thousand million */, DESCRIPTOR_ARENA_SLACK = 512 };

int descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024;
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {limit.rlim_max, limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    return limit.rlim_cur < DESCRIPTORS_MAX ? (int)limit.rlim_cur : DESCRIPTORS_MAX;
}

size_t descriptor_bytes(int limit) { return (size_t)limit + DESCRIPTOR_ARENA_SLACK; }

bool descriptor_open(struct descriptors *table, struct arena *arena, int limit, unsigned reserve)
{
    sluice_assert(limit > 0);
    *table = (struct descriptors){arena_take(arena, (size_t)limit, 64), limit, 0, reserve};
    return table->state != NULL;
}

void descriptor_close_all(struct descriptors *table)
{
    for (int fd = 0; fd < table->top; fd++) {
        if (table->state[fd])
            close(fd);
        table->state[fd] = 0;
    }
    table->top = 0;
}

int descriptor_add(struct descriptors *table, int fd)
{
    if (fd >= table->capacity) {
        close(fd);
        return -EMFILE;
    }
    sluice_assert(fd >= 0 && !table->state[fd]);
    table->state[fd] = 1;
    if (fd >= table->top)
        table->top = fd + 1;
    return fd;
}

void descriptor_close(struct descriptors *table, int fd)
{
    sluice_assert(fd >= 0 && fd < table->top && table->state[fd] == 1);
    table->state[fd] = 0;
    close(fd); /* what it could say (EIO, EINTR) changes nothing: the descriptor is gone in every case */
}

bool descriptor_busy(struct descriptors *table, int fd)
{
    if (fd < 0 || fd >= table->top || !table->state[fd])
        return false;
    sluice_assert(table->state[fd] < UINT8_MAX);
    table->state[fd]++;
    return true;
}

void descriptor_idle(struct descriptors *table, int fd)
{
    sluice_assert(fd >= 0 && fd < table->top && table->state[fd] > 1);
    table->state[fd]--;
}

static int set(int fd, int level, int option)
{
    int one = 1;
    return setsockopt(fd, level, option, &one, sizeof one) == 0 ? 0 : -errno;
}

/* Closes `fd` unless `result` is 0. */
static int keep_if(struct descriptors *table, int fd, int result)
{
    if (result == 0)
        return descriptor_add(table, fd);
    close(fd);
    return result;
}

static int bind_to(int fd, const struct io_address *at)
{
    return bind(fd, (const struct sockaddr *)&at->storage, at->length) == 0 ? 0 : -errno;
}

/* Blocking sockets: the ring waits by itself, and hands -EAGAIN back where the descriptor says it must not. */
static int stream_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 ? fd : -errno;
}

/* The kernel gives the lowest number that is free, and the limit, which may be changed from outside at any time
 * (prlimit(1)), is one of numbers: from a number up there one knows that hardly any is left. */
static bool is_of_reserve(const struct descriptors *table, int fd)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)fd + table->reserve >= limit.rlim_cur;
}

int descriptor_socket(struct descriptors *table, int family, const struct io_address *source)
{
    int fd = stream_socket(family), result = 0;
    if (fd < 0)
        return fd;
    if (source && is_of_reserve(table, fd))
        result = -EMFILE;
    if (result == 0 && family != AF_UNIX)
        result = set(fd, IPPROTO_TCP, TCP_NODELAY);
    if (result == 0 && source) {
        /* Without this bind() takes a port away from every destination; with it connect() chooses one for this pair. */
        if (family != AF_UNIX)
            result = set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
        if (result == 0)
            result = bind_to(fd, source);
    }
    return keep_if(table, fd, result);
}

int descriptor_listen(struct descriptors *table, const struct io_address *at, int backlog, bool share)
{
    int family = at->storage.ss_family;
    int fd = stream_socket(family), result = 0;
    if (fd < 0)
        return fd;
    if (family != AF_UNIX) {
        result = set(fd, SOL_SOCKET, SO_REUSEADDR);
        if (result == 0 && share)
            result = set(fd, SOL_SOCKET, SO_REUSEPORT);
        if (result == 0 && family == AF_INET6)
            result = set(fd, IPPROTO_IPV6, IPV6_V6ONLY); /* 0.0.0.0 may be listened on beside :: */
        if (result == 0)
            result = set(fd, IPPROTO_TCP, TCP_NODELAY); /* what is accepted inherits it */
    }
    if (result == 0)
        result = bind_to(fd, at);
    if (result == 0 && listen(fd, backlog) != 0)
        result = -errno;
    return keep_if(table, fd, result);
}

bool descriptor_peer(int fd, struct io_address *peer, struct io_address *local)
{
    *peer = (struct io_address){.length = sizeof peer->storage};
    *local = (struct io_address){.length = sizeof local->storage};
    return getpeername(fd, (struct sockaddr *)&peer->storage, &peer->length) == 0 &&
           getsockname(fd, (struct sockaddr *)&local->storage, &local->length) == 0;
}
