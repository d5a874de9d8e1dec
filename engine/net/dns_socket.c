/* dns_socket.c - lets c-ares wait in the shard's one place for waiting. */
#include "net/dns_socket.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

static void on_poll(struct io_op *op, int result);

static void arm(struct dns_watch *watch)
{
    watch->op.done = on_poll;
    watch->sockets->polls++;
    io_poll(watch->sockets->io, &watch->op, watch->fd, watch->events);
}

static void on_poll(struct io_op *op, int result)
{
    struct dns_watch *watch = container_of(op, struct dns_watch, op);
    struct dns_sockets *sockets = watch->sockets;
    sockets->polls--;
    if (watch->leaving) {
        watch->leaving = false;
        watch->fd = -1;
        if (sockets->polls == 0)
            sockets->idle(sockets->context);
        return;
    }
    if (result > 0) {
        /* An error, such as an ICMP "port unreachable", is found by whoever reads or writes. */
        bool readable = result & ~POLLOUT, writable = (result & ~POLLIN) && (watch->events & POLLOUT);
        if (!sockets->ready(sockets->context, readable ? watch->fd : ARES_SOCKET_BAD,
                            writable ? watch->fd : ARES_SOCKET_BAD))
            return;
    }
    /* c-ares may have closed the socket meanwhile, and opened another that got this watch. */
    if (watch->fd < 0 || io_op_busy(&watch->op))
        return;
    if (result >= 0 || result == -ECANCELED) /* cancelled: for other events */
        arm(watch);
    else
        sockets->starved(sockets->context);
}

static struct dns_watch *find(struct dns_sockets *sockets, int fd)
{
    for (unsigned i = 0; i < DNS_SOCKETS; i++)
        if (sockets->watches[i].fd == fd && !sockets->watches[i].leaving)
            return &sockets->watches[i];
    return NULL;
}

void dns_sockets_init(struct dns_sockets *sockets)
{
    sockets->polls = 0;
    for (unsigned i = 0; i < DNS_SOCKETS; i++)
        sockets->watches[i] = (struct dns_watch){.sockets = sockets, .fd = -1};
}

static void forget(struct dns_sockets *sockets, struct dns_watch *watch)
{
    if (io_op_busy(&watch->op)) {
        watch->leaving = true;
        io_cancel(sockets->io, &watch->op);
    } else {
        watch->fd = -1;
    }
}

void dns_sockets_want(struct dns_sockets *sockets, int fd, bool readable, bool writable)
{
    struct dns_watch *watch = find(sockets, fd);
    if (!readable && !writable) {
        if (watch)
            forget(sockets, watch);
        return;
    }
    if (!watch && !(watch = find(sockets, -1))) {
        sockets->starved(sockets->context);
        return;
    }
    unsigned events = (readable ? POLLIN : 0u) | (writable ? POLLOUT : 0u);
    bool changed = watch->events != events;
    watch->fd = fd;
    watch->events = events;
    if (!io_op_busy(&watch->op))
        arm(watch);
    else if (changed)
        io_cancel(sockets->io, &watch->op); /* on_poll goes on with the new events */
}

bool dns_sockets_look(struct dns_sockets *sockets, ares_channel channel)
{
    ares_socket_t fds[ARES_GETSOCK_MAXNUM];
    int bits = ares_getsock(channel, fds, ARES_GETSOCK_MAXNUM);
    for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        bool readable = ARES_GETSOCK_READABLE((unsigned)bits, i), writable = ARES_GETSOCK_WRITABLE((unsigned)bits, i);
        struct dns_watch *watch = readable || writable ? find(sockets, fds[i]) : NULL;
        if ((!readable && !writable) || (watch && io_op_busy(&watch->op)))
            continue;
        dns_sockets_want(sockets, fds[i], readable, writable);
        if (!sockets->ready(sockets->context, readable ? fds[i] : ARES_SOCKET_BAD, writable ? fds[i] : ARES_SOCKET_BAD))
            return false;
    }
    return true;
}

/* c-ares has one word for a server that refuses and for a socket that could not be had. */
bool dns_sockets_lacked(int result)
{
    if (result != ARES_ECONNREFUSED)
        return result == ARES_ENOMEM;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), failed = errno;
    if (fd >= 0)
        close(fd);
    return fd < 0 && (failed == EMFILE || failed == ENFILE || failed == ENOBUFS || failed == ENOMEM);
}
