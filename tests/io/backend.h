/* backend.h - what the io contract suite needs to know of the backend it is linked with.
 *
 * backend_kernel.c runs io_uring in real time, every shard but the first on a thread of its own; backend_simulated.c
 * runs a world of engine/sim on the virtual clock, all shards on the calling thread. contract.c cannot tell them apart:
 * what callbacks of another shard share with the test is atomic, and nothing asks the operating system.
 *
 * Whatever cannot be had ends the test program with a message: these functions do not fail. */
#ifndef TESTS_IO_BACKEND_H
#define TESTS_IO_BACKEND_H

#include "io/io.h"

struct backend;

/* A group of `shards`, shard 0's io opened for the calling thread (sessions_max 256). */
struct backend *backend_open(unsigned shards);
/* Stops the other shards, closes shard 0's io, frees. */
void backend_close(struct backend *backend);

/* Shard 0's io; another one after backend_restart. */
struct io *backend_io(struct backend *backend);
/* Shard 0 crashes, whatever is in flight, and comes back: io_close_all, then io_open. */
void backend_restart(struct backend *backend);

/* One io_turn of shard 0. In the simulation the world first lets what is due before `until` happen, moving its clock
 * at most there, as the kernel does by itself. Returns what io_turn returned. */
unsigned backend_turn(struct backend *backend, nsec until);
/* Turns until `condition` holds, which is also asked before the first turn. False: it did not within 20 s of the
 * backend's own time. */
bool backend_until(struct backend *backend, bool (*condition)(void *context), void *context);

/* Opens the io of `shard` > 0 and keeps turning it, until backend_stop: on its own thread, or, in the simulation,
 * within backend_turn and backend_until. `init` runs there before the first turn, and has run when this returns. */
void backend_start(struct backend *backend, unsigned shard, void (*init)(struct io *io, void *context), void *context);
/* Ends it with io_close_all; it has ended when this returns. */
void backend_stop(struct backend *backend, unsigned shard);

/* A listening descriptor of `io` (backlog 512) at an address nobody has used yet, which is written to `at`. `family`:
 * AF_INET, AF_INET6 or AF_UNIX. With `share` others may io_listen there too. */
int backend_listen(struct backend *backend, struct io *io, int family, bool share, struct io_address *at);
/* An address of `family` that refuses connections. */
void backend_nobody(struct backend *backend, int family, struct io_address *at);
/* An address of this machine to be bound as a source: `n` = 0, 1, 2 give different ones. */
void backend_source(struct backend *backend, unsigned n, struct io_address *source);
/* Closes `fd`, on which no operation is busy, so that the peer sees a reset. */
void backend_reset(struct backend *backend, struct io *io, int fd);

#endif
