/* sim.h - a world in which a week passes in seconds: the second implementation of io/io.h and net/resolver.h.
 *
 * A world holds hosts with addresses, processes on them (`struct io_group`) and their shards (`struct io`), a network
 * of byte pipes between them, a DNS zone, and one virtual clock that jumps to the next event and never sleeps.
 * Everything that happens follows from the world's seed and from what its users do: same seed and same calls, same
 * trace (sim_trace). All of a world belongs to one thread.
 *
 * How it is driven. An io with a turn function (sim_on_turn) is called by sim_step whenever something is due for it;
 * its io_turn then runs what is due and returns at once, whatever `until` says. An io without one is turned by its
 * owner: its io_turn advances the world, others' turns included, until something is due for it.
 *
 * What is submitted takes effect when the turn that submitted it is over; a crash in between may lose it, as it would
 * lose what was not yet handed to the kernel. The world is test equipment: it allocates as it likes and frees all. */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "io/io.h"
#include "net/resolver.h"
#include "sluice/base.h"

#include <stdio.h>

struct sim_world;
struct sim_host;

/* ---- the world ---- */

must_use struct sim_world *sim_world_new(uint64_t seed);
void sim_world_free(struct sim_world *world); /* hosts, processes and every io that is left included */
nsec sim_now(const struct sim_world *world);
uint64_t sim_random(struct sim_world *world); /* for tests and peers that must follow the seed */

/* One event: the world goes on until one io has had its turn. False: nothing will ever happen again. */
bool sim_step(struct sim_world *world);
/* Steps until nothing is due at or before `at`; the clock then stands at `at`. */
void sim_run_until(struct sim_world *world, nsec at);
/* Steps while `more` says so. False: it still does, but nothing is due at or before `limit`. */
must_use bool sim_run_while(struct sim_world *world, bool (*more)(void *context), void *context, nsec limit);
uint64_t sim_events(const struct sim_world *world); /* turns run so far: the instants at which a crash may fall */

/* A hash of all that has happened: when, who, what, which bytes; of what TLS encrypts, how many. */
uint64_t sim_trace(const struct sim_world *world);
/* The same as text, a line each, with addresses and the first bytes of every send: `pipe` 2n + 1 leads from the client
 * of connection n to its server, 2n back. NULL: off. */
void sim_trace_to(struct sim_world *world, FILE *file);

/* Moves the wall clock of one host, or of all (NULL), by `by`; the monotonic clock knows nothing of it. */
void sim_wall_jump(struct sim_world *world, struct sim_host *host, nsec by);

/* ---- hosts and processes ---- */

struct sim_host *sim_host_new(struct sim_world *world, const char *name);
/* Gives the host an address ("203.0.113.1", "2001:db8::1"). Every host has its own 127.0.0.0/8 and ::1 besides, and
 * its own Unix-domain paths. An address is one host's; asserted. */
void sim_host_address(struct sim_host *host, const char *text);
/* The host to which an address belongs; NULL: nobody's. */
struct sim_host *sim_host_at(struct sim_world *world, const struct io_address *address);
struct sim_world *sim_host_world(struct sim_host *host);
/* Connections to and from a sheltered host meet no faults but those that are asked for by name (sim_cut and so on). */
void sim_host_shelter(struct sim_host *host, bool sheltered);

/* A process: what io_open takes as its group. The world owns it. */
must_use struct io_group *sim_process(struct sim_host *host, unsigned shards);

/* `turn` is called whenever something is due for the io: it calls io_turn once, does what follows from it, and returns
 * until when it may sleep, as shard_turn does. The first call comes at once. */
void sim_on_turn(struct io *io, nsec (*turn)(void *context), void *context);
/* For peers that only answer: their turn is io_turn alone. */
void sim_serve(struct io *io);
/* Most callbacks that one turn runs; 0 (default): all that are due, now and then fewer. 1 makes every callback an event
 * of its own. */
void sim_batch(struct sim_world *world, unsigned most);

/* The process dies between two turns: what was not yet handed over may be lost, its bytes in the pipes arrive or
 * lose a random end, peers see an end of file or a reset, nothing is called on this side. The io and its resolvers are
 * gone; shard number and source addresses may be used again. Not inside a turn of this io. */
void sim_crash(struct io *io);

/* The process is stopped (SIGSTOP), or its host sleeps: it has no turn before `until`, while bytes come in and peers run
 * out of patience. Not inside a turn of this io. */
void sim_stop(struct io *io, nsec until);

unsigned sim_descriptors(const struct io *io); /* open */
unsigned sim_timers(const struct io *io);      /* set */

/* ---- the network ---- */

struct sim_link {
    nsec latency, jitter; /* one way takes latency + [0, jitter) */
    uint64_t bytes_per_s; /* 0: no limit */
};
enum {
    SIM_PIPE_BYTES = 256 * 1024, /* sent and not yet read, one direction; a send beyond waits for the reader */
};
/* Of new connections between two hosts; `b` NULL: between `a` and anybody; both NULL: all others. The default is
 * 50 us + 20 us without a limit. A pair is preferred to one host. */
void sim_link(struct sim_world *world, struct sim_host *a, struct sim_host *b, const struct sim_link *link);

/* Nothing passes between two hosts (`b` NULL: between `a` and all others) until then, or until sim_heal. What was sent
 * waits and arrives afterwards; a connection whose bytes wait longer than 15 minutes is given up with ETIMEDOUT. */
void sim_partition(struct sim_world *world, struct sim_host *a, struct sim_host *b, nsec until);
void sim_heal(struct sim_world *world); /* ends all partitions */
/* Resets every connection between two hosts (`b` NULL: all of `a`). Returns their number. */
unsigned sim_cut(struct sim_world *world, struct sim_host *a, struct sim_host *b);
/* Closes with RST instead of FIN. Requires that no operation on fd is busy. */
void sim_reset(struct io *io, int fd);
/* Told of every connection from the client's own view: `open` when its connect is handed over, not `open` when it has
 * failed or its descriptor is closed, by a crash too. It must not touch the world. */
void sim_watch(struct sim_world *world,
               void (*watch)(void *context, const struct io_address *client, const struct io_address *server,
                             bool open),
               void *context);
/* Inside a `bytes` callback: when the byte at `offset` of what was delivered was handed over by its sender; `run` is
 * how many bytes from there on share that instant. */
nsec sim_sent_at(struct io *io, int fd, size_t offset, size_t *run);

/* ---- faults ---- */

enum sim_fault {
    SIM_FAULT_BROKEN = 0,
    SIM_REFUSED,    /* a connect: ECONNREFUSED */
    SIM_BLACK_HOLE, /* a connect: never answered, ETIMEDOUT after two minutes */
    SIM_NO_SOCKET,  /* an io_socket: EMFILE or ENOBUFS */
    SIM_RESET,      /* a send: the connection breaks, a random end of what is on its way is lost */
    SIM_CLOSE,      /* a connection: closed in the middle after up to 32 KiB in one direction */
    SIM_STALL,      /* a send: arrives up to 10 minutes late */
    SIM_DELAY,      /* a send: arrives up to 200 ms late */
    SIM_SPLIT,      /* a send: is received byte by byte */
    SIM_PARTITION,  /* a connect: nothing passes between the two hosts for up to a minute */
    SIM_POST_FULL,  /* an io_post: false */
    SIM_SERVFAIL,   /* a query */
    SIM_DNS_LOST,   /* one try of a query: no answer */
    SIM_LACK,       /* an io_socket: from then on up to half a minute of sim_lack */
    SIM_NO_PORT,    /* a connect from a source: EADDRNOTAVAIL */
    SIM_FAULT_COUNT
};
const char *sim_fault_name(enum sim_fault fault);
void sim_fault_set(struct sim_world *world, enum sim_fault fault, uint32_t per_million); /* 0: never */
uint32_t sim_fault_rate(const struct sim_world *world, enum sim_fault fault);
uint64_t sim_fault_count(const struct sim_world *world, enum sim_fault fault); /* how often it struck */

/* Until then `error` is all that the host's processes get: EADDRNOTAVAIL for every connect from a source of theirs
 * (ports); EMFILE for every io_socket with a source, for the others have a reserve, while as many descriptors are open
 * as at the first of them; any other (ENFILE, ENOBUFS, ENOMEM) for every io_socket. */
void sim_lack(struct sim_host *host, int error, nsec until);
/* The host has the address no more: io_socket says so to whoever would send from it. Or has it again. */
void sim_host_absent(struct sim_host *host, const char *text, bool absent);

/* ---- the zone: what every resolver of this world answers from; may be changed at any time ---- */

/* Adds a record; a name may have many. "*.isp.example" answers for names below that do not exist (RFC 4592).
 * `host` "" with preference 0 is a null MX. */
void sim_zone_mx(struct sim_world *world, const char *name, uint32_t ttl_s, uint16_t preference, const char *host);
void sim_zone_address(struct sim_world *world, const char *name, uint32_t ttl_s, const char *address);
void sim_zone_cname(struct sim_world *world, const char *name, uint32_t ttl_s, const char *target);
void sim_zone_txt(struct sim_world *world, const char *name, uint32_t ttl_s, const char *text); /* <= 255 octets */
void sim_zone_tlsa(struct sim_world *world, const char *name, uint32_t ttl_s, uint8_t usage, uint8_t selector,
                   uint8_t matching, struct slice data); /* <= 252 octets */
/* The name and all below it is in a signed zone or not (default): answers about it, all of their CNAMEs included, are
 * secure. What does not validate is sim_zone_status with RESOLVER_SERVFAIL. */
void sim_zone_sign(struct sim_world *world, const char *name, bool is_signed);
/* RESOLVER_SERVFAIL, RESOLVER_TIMEOUT: what every query for the name comes to; RESOLVER_OK: its records again. */
void sim_zone_status(struct sim_world *world, const char *name, enum resolver_status status);
void sim_zone_remove(struct sim_world *world, const char *name);           /* it does not exist any more */
void sim_zone_negative_ttl(struct sim_world *world, uint32_t ttl_s);       /* default 60 */
void sim_zone_latency(struct sim_world *world, nsec latency, nsec jitter); /* of an answer; default 1 ms + 4 ms */

/* ---- policy hosts: what net/sts.h fetches in this world ---- */

struct sts;
struct sts *
sim_sts(struct sim_world *world); /* what engines are given; owned by the world, and survives their crashes */
/* What mta-sts.DOMAIN serves; NULL (default): nothing that could be fetched. */
void sim_sts_file(struct sim_world *world, const char *domain, const char *text);
void sim_sts_latency(struct sim_world *world, nsec latency); /* of a fetch; default 100 ms */
uint64_t sim_sts_fetches(struct sim_world *world);           /* so far, those that failed included */

#endif
