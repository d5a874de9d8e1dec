/* world.h - what the files of the simulation know of each other; nobody else includes it.
 *
 * world.c owns time: the heap of events, hosts, partitions, faults, the trace. io.c owns a shard's operations and
 * turns. net.c owns sockets, connect.c how connections begin, pipe.c the bytes between their two ends. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "io/arena.h"
#include "io/timer.h"
#include "sim/sim.h"

/* ---- events: embedded in what they happen to ---- */

struct sim_event {
    void (*happen)(struct sim_event *event);
    size_t place; /* in the heap, from 1; 0: not scheduled */
};
struct sim_heap_entry {
    nsec at;
    uint64_t salt; /* drawn at scheduling: decides among equal instants */
    struct sim_event *event;
};

/* ---- hosts ---- */

struct sim_socket;
struct sim_host {
    struct sim_host *next;
    struct sim_world *world;
    char name[64];
    unsigned number;
    bool sheltered;
    nsec wall_offset;
    uint16_t port_next; /* ephemeral */
    struct io_address first_v4, first_v6;
    struct sim_socket *listeners;
    int lacks;         /* errno, until then */
    nsec lacks_until;
};
struct sim_owned_address {
    struct sim_owned_address *next;
    struct io_address address;
    struct sim_host *host;
    bool absent;
};
struct sim_pair_link {
    struct sim_host *a, *b;
    struct sim_link link;
};
struct sim_partition {
    struct sim_host *a, *b;
    nsec until;
};

enum { SIM_ADDRESS_BUCKETS = 4096 };

struct sim_world {
    nsec now;
    uint64_t seed, random;
    struct sim_heap_entry *heap; /* heap[1] is the next */
    size_t heap_count, heap_cap;
    struct io *ios, *dirty, **dirty_end; /* dirty: have something submitted that was not handed over */
    struct io *running;                  /* whose turn it is */
    struct io_group *groups;
    struct sim_host *hosts;
    struct sim_owned_address *addresses[SIM_ADDRESS_BUCKETS];
    struct sim_conn *conns, *spare;
    unsigned host_count, io_count;
    uint64_t conn_count;
    struct sim_link link;
    struct sim_pair_link *links;
    unsigned link_count;
    struct sim_partition *partitions;
    unsigned partition_count;
    uint32_t rates[SIM_FAULT_COUNT];
    uint64_t struck[SIM_FAULT_COUNT];
    unsigned batch;
    uint64_t events, trace;
    void (*watch)(void *context, const struct io_address *client, const struct io_address *server, bool open);
    void *watch_context;
    FILE *text;
    struct sim_zone *zone;
    struct sts *sts; /* NULL: nobody asked for it */
};

uint64_t sim_draw(uint64_t *state);
uint64_t sim_below(struct sim_world *world, uint64_t n); /* 0 .. n - 1; 0 for n = 0 */
/* Draws whether a fault strikes, and counts it. */
bool sim_strikes(struct sim_world *world, enum sim_fault fault);
nsec sim_link_delay(struct sim_world *world, const struct sim_link *link);
struct sim_link sim_link_between(struct sim_world *world, struct sim_host *a, struct sim_host *b);
nsec sim_apart_until(struct sim_world *world, struct sim_host *a, struct sim_host *b); /* 0: they are not */

void sim_schedule(struct sim_world *world, struct sim_event *event, nsec at); /* moves one that is scheduled */
void sim_unschedule(struct sim_world *world, struct sim_event *event);
/* Makes the earliest event happen. False: there is none at or before `limit`. */
bool sim_advance(struct sim_world *world, nsec limit);

/* Into the trace: what happened to whom. */
void sim_note(struct sim_world *world, const char *what, uint64_t who, uint64_t number);
/* Only into the text: what people want to see beside it. */
void sim_tell(struct sim_world *world, const char *format, ...) printf_like(2, 3);
void sim_tell_bytes(struct sim_world *world, uint64_t who, const char *bytes, size_t n);
uint64_t sim_hash(uint64_t hash, const char *bytes, size_t n);

/* ---- io.c ---- */

enum { OP_CONNECT = 1, OP_SEND, OP_RECV, OP_ACCEPT, OP_POLL, OP_ANSWER };
enum {
    OP_IDLE = 0,
    OP_SUBMITTED, /* not yet handed over */
    OP_WAITING,
    OP_READY,    /* in the ready list: bytes or connections are to be delivered */
    OP_RUNNING,  /* they are being delivered */
    OP_COMPLETE, /* in the ready list: `done` is due */
};

struct io {
    struct io *next, *prev, *next_dirty;
    struct sim_world *world;
    struct io_group *group;
    struct sim_host *host;
    unsigned shard, number;
    uint64_t random;
    struct sim_event turn;
    nsec (*on_turn)(void *context);
    void *context;
    bool is_dirty, posted;
    nsec busy_until;
    struct arena arena; /* of the timers */
    struct timers timers;
    struct io_op submitted, ready, batch; /* rings with themselves as sentinels */
    struct sim_socket **sockets;
    unsigned socket_cap, socket_count, socket_free;
    unsigned lacks_beyond; /* EMFILE from so many on, */
    nsec lacks_until;      /* in the lack that ends then */
    struct resolver *resolvers;
    void (*on_post)(void *context, unsigned from, const struct io_post *post);
    void *post_context;
};

struct sim_ring {
    struct io_post *posts;
    unsigned first, count, cap;
};
struct io_group {
    struct io_group *next;
    struct sim_world *world;
    struct sim_host *host;
    unsigned shards;
    struct io **ios;
    struct sim_ring *rings; /* [from * shards + to] */
};

void sim_groups_free(struct sim_world *world);
void sim_hand_over(struct sim_world *world); /* all that was submitted takes effect */
void sim_wake(struct io *io);
void sim_op_start(struct io *io, struct io_op *op, int kind); /* idle -> waiting: an operation of the resolver */
void sim_op_drop(struct io_op *op);                           /* `done` is never called */
void sim_op_ready(struct io *io, struct io_op *op);
void sim_op_complete(struct io *io, struct io_op *op, int result);
unsigned sim_op_finish(struct io *io, struct io_op *op, int result); /* inside a turn: calls `done`; returns 1 */

/* ---- net.c ---- */

struct sim_socket {
    struct io *io;
    int fd, family;
    bool listening, shared, shut;
    bool told;     /* the connection's error was reported */
    unsigned busy; /* operations submitted and not done */
    struct io_address source, local, peer;
    struct sim_conn *conn;
    unsigned side;
    struct io_op *connect, *poll;
    struct io_recv *recv;
    struct io_send *send;
    struct io_accept *accept;
    unsigned poll_events;
    nsec send_at; /* when its send was handed over */
    /* listening */
    struct sim_socket *next_listener;
    struct sim_conn *queue, **queue_end;
    unsigned queued, backlog;
};

struct sim_socket *sim_socket_at(struct io *io, int fd); /* NULL: no such descriptor */
void sim_socket_apply(struct sim_socket *socket, struct io_op *op);
void sim_socket_detach(struct sim_socket *socket, struct io_op *op);
void sim_socket_poll(struct sim_socket *socket);  /* its readiness may have changed */
void sim_sockets_drop(struct io *io, bool crash); /* peers see it */
void sim_sockets_free(struct io *io);             /* at the world's end: nobody sees it */

struct sim_socket *sim_socket_new(struct io *io, int family);
uint16_t sim_port_take(struct sim_host *host);
bool sim_no_port(struct sim_socket *socket); /* every port of its source is in use */
bool sim_is_loopback(const struct io_address *address);
bool sim_is_any(const struct io_address *address);
struct sim_host *sim_host_of(struct sim_host *from,
                             const struct io_address *address); /* whose it is, seen from there */

/* ---- pipe.c ---- */

/* What one send, or a part of it, became on its way. */
struct sim_segment {
    nsec sent, at;
    uint64_t upto; /* bytes of the pipe up to its end */
    int end;       /* 0; 1: FIN; -errno: RST */
};
/* One direction: the bytes on their way to side `to`. */
struct sim_pipe {
    struct sim_event arrival;
    struct sim_conn *conn;
    unsigned to;
    char *ring;
    size_t cap; /* a power of two */
    uint64_t written, arrived, consumed, cut_at;
    struct sim_segment *segments; /* those not yet read */
    unsigned first, count, segment_cap, landed;
    nsec last_at, line_free_at, blocked_since;
    size_t singles; /* so many bytes are delivered one by one */
    bool sealed;    /* its FIN is on its way */
    bool broken;    /* its RST is on its way */
    bool deaf;      /* nobody reads: what is written meets a RST */
    bool secret;    /* a record of TLS has begun: from here on bytes differ from run to run */
    int end;        /* has arrived: 0; 1: end of file; -errno */
};

enum { CONN_DIALLING = 0, CONN_ANSWERED, CONN_OPEN };
struct sim_conn {
    struct sim_conn *next, *prev;
    struct sim_world *world;
    uint64_t number;
    struct sim_event opening;
    int phase, tries, refused;
    bool black_hole, doomed, queued, sheltered, watched;
    struct sim_link link;
    struct sim_host *host[2];
    struct sim_socket *socket[2];
    struct io_address address[2];
    struct sim_pipe pipe[2]; /* pipe[i] leads to side i */
    struct sim_conn *next_queued;
};

void sim_pipe_init(struct sim_pipe *pipe, struct sim_conn *conn, unsigned to);
void sim_pipe_pump(struct sim_socket *socket);                     /* moves what its send still has into the pipe */
void sim_pipe_close(struct sim_pipe *pipe);                        /* FIN behind what was written */
void sim_pipe_break(struct sim_pipe *pipe, int error, bool lossy); /* RST; lossy: a random end of it is lost */
void sim_pipe_readable(struct sim_pipe *pipe);                     /* its reader may have something to do */
unsigned sim_pipe_deliver(struct sim_socket *socket, struct io_recv *recv, unsigned most);
bool sim_pipe_has_news(const struct sim_pipe *pipe); /* bytes, or its end */
size_t sim_pipe_room(const struct sim_pipe *pipe);

/* ---- connect.c ---- */

void sim_connect(struct sim_socket *socket, struct io_op *op);
unsigned sim_accept_deliver(struct sim_socket *listener, struct io_accept *accept, unsigned most);
struct sim_conn *sim_dequeue(struct sim_socket *listener); /* the oldest that is not accepted yet; NULL: none */
void sim_conn_let_go(struct sim_conn *conn); /* the client's descriptor is closed, or its connect failed */
void sim_conn_free(struct sim_conn *conn);
void sim_conn_free_if_over(struct sim_conn *conn); /* neither end is held any more */
void sim_conns_free(struct sim_world *world);

/* ---- zone.c, resolver.c ---- */

struct sim_zone *sim_zone_new(void);
void sim_zone_free(struct sim_zone *zone);
void sim_resolvers_free(struct io *io);

/* ---- sts.c ---- */

void sim_sts_free(struct sts *sts); /* NULL: does nothing */

#endif
