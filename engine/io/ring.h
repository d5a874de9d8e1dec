/* ring.h - one io_uring and its receive buffers, opened the one way that is fast, or refused in plain words.
 *
 * Linux 6.1 at least. SINGLE_ISSUER with DEFER_TASKRUN: completions are worked on when this thread asks for them, so
 * a batch costs one switch (17 % of a message, measured). Received bytes come in buffers that the kernel picks from a
 * ring of them, so an idle session owns none. */
#ifndef IO_RING_H
#define IO_RING_H

#include "io/arena.h"
#include "io/io.h"

#include <liburing.h>

enum { RING_BUFFER_GROUP = 0 };

struct ring {
    struct io_uring uring;
    struct io_uring_buf_ring *buffers;
    char *buffer_bytes;
    unsigned buffer_count; /* a power of two */
};

/* The arena bytes that ring_open takes at most. */
size_t ring_bytes(unsigned sessions_max);
/* For the calling thread alone. False, with a sentence in `error`: what the environment lacks and how to allow it. */
must_use bool ring_open(struct ring *ring, struct arena *arena, unsigned sessions_max, char *error, size_t error_cap);
/* Ends everything in flight, waiting for it: after this the kernel touches no memory of an operation. Completions
 * that have not been looked at stay to be read until ring_close. */
void ring_stop(struct ring *ring);
void ring_close(struct ring *ring);

/* Submits what there is and waits for a completion, `wait` ns at most; 0: does not wait, NSEC_NEVER: no limit. */
void ring_enter(struct ring *ring, nsec wait);
/* Works on what has completed, and submits nothing. */
void ring_reap(struct ring *ring);
/* A place for one submission; those before it are handed over if there is no room. NULL: the kernel takes none now. */
struct io_uring_sqe *ring_sqe(struct ring *ring);

static inline char *ring_buffer(const struct ring *ring, unsigned id)
{
    return ring->buffer_bytes + (size_t)id * IO_RECV_BYTES;
}
void ring_recycle(struct ring *ring, unsigned id); /* the buffer may be filled again */

#endif
