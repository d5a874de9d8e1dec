/* dns_socket.h - the sockets of a c-ares channel, watched through io.h.
 *
 * c-ares opens, reads and closes them itself and only says what it waits for. A watch outlives its socket until io has
 * let go of the operation, so it is never used again too early. */
#ifndef NET_DNS_SOCKET_H
#define NET_DNS_SOCKET_H

#include "io/io.h"

#include <ares.h>

enum { DNS_SOCKETS = 64 }; /* with those that io has not let go of yet; c-ares uses two a server */

struct dns_sockets;

struct dns_watch {
    struct io_op op;
    struct dns_sockets *sockets;
    int fd; /* -1: free */
    unsigned events;
    bool leaving; /* c-ares has closed it; io still holds the operation */
};

struct dns_sockets {
    struct io *io;
    void *context;
    /* A socket is ready: to be handed to ares_process_fd. False: the owner has closed, nothing of it may be touched. */
    bool (*ready)(void *context, int readable_fd, int writable_fd);
    void (*starved)(void *context); /* a socket cannot be polled now: call dns_sockets_look soon */
    void (*idle)(void *context);    /* io has let go of the last operation */
    unsigned polls;                 /* operations that io holds */
    struct dns_watch watches[DNS_SOCKETS];
};

/* The owner has set io, context and the callbacks. */
void dns_sockets_init(struct dns_sockets *sockets);

/* What c-ares says: it waits to read from or write to `fd`, or for neither when it closes it. */
void dns_sockets_want(struct dns_sockets *sockets, int fd, bool readable, bool writable);

/* Tries the sockets that nobody polls, one after the other. False as `ready` says. */
must_use bool dns_sockets_look(struct dns_sockets *sockets, ares_channel channel);

/* c-ares gave up with this: because this machine had no socket or no memory to ask with? */
must_use bool dns_sockets_lacked(int result);

#endif
