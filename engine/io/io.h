/* io.h - all that the engine may learn from or do to the outside world, but for DNS (net/resolver.h).
 *
 * Two implementations, chosen by the linker: uring.c (the kernel's, one io_uring per thread) and sim/ (virtual clock,
 * byte pipes, faults from one seed). One contract suite (tests/io/) runs against both, so whatever this page says
 * holds in both.
 *
 * Rules of the seam:
 *  - One `struct io` per shard, used by one thread alone; only io_post may name another shard.
 *  - An operation is embedded in its owner. Its `done` is called exactly once, also after io_cancel. Until then the
 *    owner and every byte it lent stay where they are. Inside `done` the operation may be submitted again or freed.
 *    A receive, an accept and a poll may call their other callback many times before their one `done`.
 *  - No callback runs inside a call that submits, cancels or closes: io_turn collects completions first and runs
 *    callbacks then, so a callback never finds its caller half-way through. A callback may call anything but io_turn.
 *  - Results are >= 0, or -errno. A peer that resets, closes or refuses is data, never an error of ours.
 *  - Nothing here allocates after io_open but what a new descriptor costs. */
#ifndef SLUICE_IO_H
#define SLUICE_IO_H

#include "sluice/base.h"
#include "sluice/slice.h"

#include <sys/socket.h>
#include <sys/uio.h>

enum {
    IO_SEND_PARTS = 8,    /* slices in one send */
    IO_POST_BYTES = 112,  /* payload of one post */
    IO_POST_RING = 1024,  /* posts that fit between one pair of shards */
    IO_RECV_BYTES = 4096, /* most bytes that one io_recv callback is given at once */
};

/* An IPv4, IPv6 or Unix-domain address, ready for the kernel. length 0: none. */
struct io_address {
    socklen_t length;
    struct sockaddr_storage storage;
};

/* "203.0.113.10", "2001:db8::1" with a port, or an absolute path (Unix). False: `text` is no such address. */
must_use bool io_address_parse(struct io_address *address, const char *text, uint16_t port);
/* The address without the port, as people write it; the path for Unix. `cap` >= 110 always suffices. */
void io_address_text(const struct io_address *address, char *text, size_t cap);
uint16_t io_address_port(const struct io_address *address);
void io_address_set_port(struct io_address *address, uint16_t port);
bool io_address_equal(const struct io_address *a, const struct io_address *b); /* port included */

/* ---- the shard's io ---- */

struct io;

/* Shared by the shards of one process: who can be posted to. Made before the first io_open, freed after the last
 * io_close_all. In the simulation it belongs to a world (sim/sim.h), which makes it; the kernel's is made here. NULL:
 * no memory. */
struct io_group;
must_use struct io_group *io_group_open(unsigned shards);
void io_group_close(struct io_group *group);

struct io_config {
    struct io_group *group; /* borrows until io_close_all */
    unsigned shard;         /* 0 .. shards - 1 */
    unsigned sessions_max;  /* descriptors that may have operations in flight at once; sizes rings and buffers */
};

/* Opens the shard's io on the calling thread. NULL on failure, with a sentence in `error` that says what the
 * environment lacks (io_uring forbidden, too few descriptors, memory) and how to allow it. */
must_use struct io *io_open(const struct io_config *config, char *error, size_t error_cap);
/* Cancels nothing politely: closes every descriptor, forgets every operation without calling `done`, frees. Whatever
 * is in flight; but not inside a callback. */
void io_close_all(struct io *io);

/* Read freshly at each call; never goes back, and goes on while the process is stopped or its host sleeps. */
nsec io_now(struct io *io);
/* What the clock said when it was read last, in a callback no earlier than when the turn's callbacks began: <= io_now, by
 * no more than what was done since. To read the clock costs more than to look up a domain; so whoever only asks
 * whether seconds have passed asks this. Starts and their limits ask io_now. */
nsec io_lately(struct io *io);
nsec io_wall(struct io *io);       /* UTC since the Unix epoch; may jump */
/* What io_wall says of `at`, an instant of io_now within the last seconds: two instants are as far apart by this as by
 * io_now, but for jumps. By readings of both clocks, one after the other, they are not: the thread may be put aside
 * between the two. */
nsec io_wall_at(struct io *io, nsec at);
uint64_t io_random(struct io *io); /* 64 random bits; in the simulation from the seed */

/* One turn: hands everything submitted to the kernel in one go, waits until something completes, a timer is due, a
 * post arrives or `until` has come (`until` <= now: does not wait), then runs the callbacks of all that completed.
 * Returns the number of callbacks run. */
unsigned io_turn(struct io *io, nsec until);

/* ---- timers ---- */

struct io_timer {
    void (*fire)(struct io_timer *timer); /* set by the owner; called at most once for each io_timer_set */
    /* private */
    nsec at;
    uint32_t slot; /* 0: not set */
};

/* Fires in the first turn with now >= at, never before; timers that are due together fire in the order of `at`, equal
 * ones in the order of setting. Setting one that is set moves it. */
void io_timer_set(struct io *io, struct io_timer *timer, nsec at);
void io_timer_clear(struct io *io, struct io_timer *timer); /* not set: does nothing */
static inline bool io_timer_is_set(const struct io_timer *timer) { return timer->slot != 0; }

/* ---- descriptors and operations ---- */

struct io_op {
    void (*done)(struct io_op *op, int result); /* set by the owner before it submits */
    /* private to the backend */
    int fd, result;
    uint8_t kind, state;
    uint16_t flags;
    uint32_t generation;
    struct io_op *next, *prev;
    uint64_t scratch[4];
};

static inline bool io_op_busy(const struct io_op *op) { return op->state != 0; }

/* A stream socket towards an address of `family` (AF_INET, AF_INET6, AF_UNIX), TCP_NODELAY, close-on-exec, bound to
 * `source` unless that is NULL (IP_BIND_ADDRESS_NO_PORT: the port is chosen at connect). Descriptor or -errno;
 * EADDRNOTAVAIL: the source is no address of this machine. The last io_reserve descriptors that the process may have
 * are not for sockets with a source (EMFILE): mail must not keep Redis, DNS and those who ask what goes on from
 * theirs. */
must_use int io_socket(struct io *io, int family, const struct io_address *source);
static inline unsigned io_reserve(unsigned shards) { return 64 + 8 * shards; }

/* Result 0 or -errno. `to` is borrowed until done. */
void io_connect(struct io *io, struct io_op *op, int fd, const struct io_address *to);

struct io_send {
    struct io_op op; /* result: the sum of all parts, or -errno; never a short count */
    /* private */
    struct iovec parts[IO_SEND_PARTS];
    struct msghdr message;
    size_t total, sent;
};
/* `count` <= IO_SEND_PARTS slices go out as one write; their bytes are borrowed until done, the array until return.
 * At most one send per descriptor at a time. */
void io_send(struct io *io, struct io_send *send, int fd, const struct slice *parts, unsigned count);

struct io_recv {
    struct io_op op; /* done: 0 at end of file, -errno (-ECANCELED after io_cancel) */
    void (*bytes)(struct io_recv *recv, struct slice bytes); /* many times; borrowed until return; 1 .. IO_RECV_BYTES */
};
/* Receives until end of file, error or cancel, without owning a buffer while idle. After io_cancel no more `bytes`:
 * what had come by then and was not given is lost, so a receive is cancelled to end its connection. */
void io_recv(struct io *io, struct io_recv *recv, int fd);

/* A listening stream socket (SO_REUSEADDR; SO_REUSEPORT when `share`, so that several shards listen on one address).
 * Descriptor or -errno. */
must_use int io_listen(struct io *io, const struct io_address *at, int backlog, bool share);
struct io_accept {
    struct io_op op;                                    /* done: -errno */
    void (*accepted)(struct io_accept *accept, int fd); /* many times; the callee owns fd; TCP_NODELAY is set */
};
/* After io_cancel no more `accepted`: a connection that was accepted by then is closed. */
void io_accept(struct io *io, struct io_accept *accept, int fd);
must_use bool io_peer(struct io *io, int fd, struct io_address *peer, struct io_address *local);

/* Readiness of a descriptor that somebody else reads and writes (c-ares). Result: POLLIN, POLLOUT.. bits or -errno.
 * One shot. */
void io_poll(struct io *io, struct io_op *op, int fd, unsigned events);

/* Asks a busy operation to end now; `done` follows in a later turn with -ECANCELED, or with its own result if that
 * was faster. Not busy: does nothing. */
void io_cancel(struct io *io, struct io_op *op);

/* No more bytes will be written (FIN). */
void io_shutdown(struct io *io, int fd);
/* Closes. Requires that no operation on fd is busy. */
void io_close(struct io *io, int fd);

/* ---- posts between shards ---- */

struct io_post {
    uint32_t kind; /* the shard's own numbering; > 0 */
    uint32_t size; /* bytes used */
    char bytes[IO_POST_BYTES];
};
/* Values only, no pointers. Order is kept per pair. False: the ring of this pair is full; try in a later turn. Wakes
 * the other shard only if it sleeps. A shard may post to itself. */
must_use bool io_post(struct io *io, unsigned to_shard, const struct io_post *post);
void io_on_post(struct io *io, void (*receive)(void *context, unsigned from_shard, const struct io_post *post),
                void *context);

#endif
