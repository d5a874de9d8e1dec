/* redis_private.h - what redis.c and redis_connect.c share. */
#ifndef STORE_REDIS_PRIVATE_H
#define STORE_REDIS_PRIVATE_H

#include "net/stream.h"
#include "store/greeting.h"
#include "store/queue.h"
#include "store/redis.h"

enum redis_state {
    REDIS_BROKEN = 0,
    REDIS_WAITING, /* for the back-off to be over */
    REDIS_RESTING, /* until something is asked */
    REDIS_SEEKING, /* `where` was asked */
    REDIS_RESOLVING,
    REDIS_CONNECTING, /* TLS included */
    REDIS_GREETING,   /* one command at a time: see `greeting` */
    REDIS_OPEN,
    REDIS_CLOSING,
};

struct redis {
    struct io *io;
    struct redis_config config;
    enum redis_state state;
    bool to_rest;       /* once the connection is closed */
    struct url_host at; /* where the last connection was made to */
    struct stream stream;
    struct resolver_query query;
    struct io_timer reconnect, retry, watch;
    struct resp_in *in;
    struct queue asked;   /* not answered yet */
    unsigned sent;        /* so many of them are on their way */
    uint64_t sent_to;     /* offset up to which bytes were handed to the stream */
    uint64_t lent_from;   /* while the stream is sending: the lowest offset that it borrows */
    struct queue refused; /* wait to be repeated */
    bool retry_due;
    bool demoted; /* one of them because what answers is a replica */
    nsec reconnect_delay, retry_delay; /* the last ones; 0: all went well since */
    enum greeting greeting;            /* the step that is under way */
    bool greeting_waits;               /* the next one, for the stream to have sent the last */
    struct resp_out greeting_out;
    struct resp_command command; /* of the greeting */
    nsec waiting_since;
    char trouble[256];
    char server[64]; /* its process; "" : we are not told */
    uint64_t epoch;
    nsec alive_at;
};

/* redis_connect.c: from no connection to one that may be greeted, and back. */
void redis_connect(struct redis *redis);
void redis_wait_to_reconnect(struct redis *redis);
/* Three quarters to five quarters of a delay that doubles. */
nsec redis_back_off(struct redis *redis, nsec *delay);
printf_like(2, 3) void redis_say(struct redis *redis, const char *format, ...);
/* The connection is of no use any more; `trouble` says why. */
void redis_drop(struct redis *redis);
/* The same, with what happened ("connection to") and -errno, 0 for the end of file, as the trouble. */
void redis_drop_because(struct redis *redis, const char *what, int result);
/* An answer of any kind is owed from now on. */
void redis_watch(struct redis *redis);
void redis_on_connected(struct stream *stream, int result);
void redis_on_secured(struct stream *stream, const struct tls_result *result);

/* redis.c */
extern const struct stream_events redis_stream_events;
void redis_greet(struct redis *redis); /* the connection is there, and private if it is to be */

#endif
