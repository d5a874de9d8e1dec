/* descriptor.h - the sockets of one shard: made, remembered until closed, and closed all at once in a crash. */
#ifndef IO_DESCRIPTOR_H
#define IO_DESCRIPTOR_H

#include "io/arena.h"
#include "io/io.h"

struct descriptors {
    uint8_t *state;    /* by descriptor: 0 not ours, else 1 + the operations that are busy on it */
    int capacity, top; /* no descriptor >= top was ever ours */
    unsigned reserve;  /* io_reserve */
};

/* Descriptors of the whole process lie below this. Raises the soft RLIMIT_NOFILE to the hard one. */
int descriptor_limit(void);
/* The arena bytes that descriptor_open takes at most. */
size_t descriptor_bytes(int limit);
must_use bool descriptor_open(struct descriptors *table, struct arena *arena, int limit, unsigned reserve);
void descriptor_close_all(struct descriptors *table);

/* `fd` is ours from now on. -EMFILE: beyond the table; it has been closed. */
must_use int descriptor_add(struct descriptors *table, int fd);
void descriptor_close(struct descriptors *table, int fd); /* requires: ours, nothing busy */
/* An operation on `fd` begins. False: `fd` is somebody else's and not counted; it may be closed, and its number become
 * ours, before the operation ends. */
must_use bool descriptor_busy(struct descriptors *table, int fd);
void descriptor_idle(struct descriptors *table, int fd); /* ends; requires that it was counted */

/* As io_socket and io_listen say. */
must_use int descriptor_socket(struct descriptors *table, int family, const struct io_address *source);
must_use int descriptor_listen(struct descriptors *table, const struct io_address *at, int backlog, bool share);
/* As io_peer says. */
must_use bool descriptor_peer(int fd, struct io_address *peer, struct io_address *local);

#endif
