/* redis.h - one pipelined connection to one Redis, which outlives every connection it is made of.
 *
 * Commands leave in the order in which they were asked and are answered in that order. One that was not answered when
 * the connection broke is sent again on the next, in the same order, so **it may run twice**: only commands that may be
 * repeated are asked without REDIS_ONCE. Connections are made again after 50 ms, doubling to 5 s, with jitter.
 *
 * An answer that is about Redis' state and not about the command (LOADING, READONLY, OOM, BUSY, MASTERDOWN, TRYAGAIN,
 * CLUSTERDOWN, NOREPLICAS, MISCONF) is no answer: that command is repeated after a back-off, before anything that was
 * not on its way yet; those that were go on. Where `master` is wanted, READONLY ends the connection: it is none any
 * more; elsewhere it does when the back-off is over. NOAUTH ends it too: who we are is said again.
 *
 * Each new connection first makes sure that the library of functions is there. Its name holds a hash of its content,
 * so it is never replaced under its callers.
 *
 * With `tls` nothing is said in plain text: the server's certificate must be for the host that was meant, signed by an
 * authority that is trusted, and valid, or there is no connection.
 *
 * link.c and what it is made of alone use this. */
#ifndef STORE_REDIS_H
#define STORE_REDIS_H

#include "io/io.h"
#include "net/resolver.h"
#include "net/tls.h"
#include "store/resp.h"
#include "store/url.h"

struct redis;
struct queue;

/* For whoever leads several connections. Each may be NULL. `context` is hook_context. */
struct redis_hooks {
    /* A connection is to be made: answered, now or later, by redis_found. NULL: to the url's first host. */
    void (*where)(void *context, struct redis *redis);
    /* The oldest command, the first of `asked`, was answered by an error. True: the callee has taken it over
     * (queue_copy): it is none of this connection's any more, and nobody else is told. */
    bool (*refused)(void *context, struct redis *redis, const struct queue *asked, struct slice error);
    /* A command of this slot was answered, or given up (REDIS_ONCE); comes before `answer`. */
    void (*settled)(void *context, struct redis *redis, unsigned slot);
    /* A connection broke, or could not be made. `asked` is all that was not answered, in its order, perhaps nothing; the
     * callee takes it over (and empties it). */
    void (*lost)(void *context, struct redis *redis, struct queue *asked);
    void (*opened)(void *context, struct redis *redis); /* may be used from now on */
};

struct redis_config {
    struct url url;
    struct resolver *resolver;  /* may be NULL for a socket or a literal address */
    struct tls *tls;            /* NULL: plain text. Borrows until redis_close */
    const char *tls_name;       /* that certificates must be for; NULL or "": the host that is connected to. As above */
    bool master;                /* the server must say that it is one */
    nsec silence;               /* 0: REDIS_SILENCE_S */
    const char *library;        /* name of the function library; NULL: none is needed. Borrows until redis_close */
    const char *library_source; /* as above */
    const char *channel;        /* subscribes to this; then no commands may be asked. NULL: none. As above */
    /* An answer: `nodes[0]` is its root. NULL: a REDIS_ONCE command was on its way when the connection broke, so nobody
     * knows. `repeated`: it was sent more than once. Borrowed until return. May ask for more. */
    void (*answer)(void *context, void *owner, const struct resp_node *nodes, bool repeated);
    void (*message)(void *context, struct slice payload); /* of the channel */
    void *context;
    const struct redis_hooks *hooks; /* NULL: none */
    void *hook_context;
};

enum {
    REDIS_ONCE = 1, /* must not run twice */
    REDIS_OWED = 2, /* must happen: that we are not permitted to do it (NOPERM) is no answer either */
};
enum { REDIS_SILENCE_S = 30 }; /* a connection that owes answers and says nothing for so long is given up */
/* One that is not open yet is given up sooner: with the longest delay between two tries it must stay below the time for
 * which nobody leases from a server that was started anew (replay.h), or others take what this one has to claim. */
enum { REDIS_OPENING_S = 3 };

/* Starts connecting. Owns nothing of the config. */
must_use struct redis *redis_open(struct io *io, const struct redis_config *config);
/* The same, without connecting before something is asked, or redis_wake. */
must_use struct redis *redis_open_at_rest(struct io *io, const struct redis_config *config);
/* Forgets every command, frees. Requires that `io` is closed (io_close_all): the connection's operations are in it. */
void redis_close(struct redis *redis);

/* Encodes at once; leaves with the next flush. `owner` is handed back with the answer, `slot` with `settled`;
 * `number` stays with it (queue.h). */
void redis_ask(struct redis *redis, const struct resp_command *command, void *owner, unsigned slot, uint64_t number,
               unsigned flags);
/* The same for entry `i` of what was taken over from a connection. */
void redis_ask_again(struct redis *redis, const struct queue *taken, unsigned i);
/* All that was asked leaves in one write; what is asked while a write is under way leaves behind it by itself. */
void redis_flush(struct redis *redis);

/* ---- for whoever leads several ---- */

/* The answer to `where`: the host to connect to. NULL: there is none for now; it is asked again after a back-off. */
void redis_found(struct redis *redis, const struct url_host *host);
/* This connection is of no use any more, for this reason; another one is made. */
void redis_leave(struct redis *redis, const char *why);
/* No connection until something is asked again. Requires that nothing is unanswered. */
void redis_rest(struct redis *redis);
void redis_wake(struct redis *redis); /* from rest */
bool redis_is_open(const struct redis *redis);
const struct url_host *redis_at(const struct redis *redis); /* where the last connection was made to */
/* True: it is at rest, nothing is in flight, and redis_move may follow. */
bool redis_at_rest(const struct redis *redis);
void redis_move(struct redis *redis, const struct url_host *host);

bool redis_connected(const struct redis *redis);      /* and willing: nothing waits to be repeated */
const char *redis_trouble(const struct redis *redis); /* why not, as a sentence; "" when it is */
size_t redis_unanswered(const struct redis *redis);   /* bytes */
/* store/warmup.h: store_epoch, store_alive_at, store_knows_server. */
uint64_t redis_epoch(const struct redis *redis);
nsec redis_alive_at(const struct redis *redis);
bool redis_knows_server(const struct redis *redis);
const char *redis_server(const struct redis *redis); /* its process; "": we are not told */

#endif
