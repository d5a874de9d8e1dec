/* promise.h - shard 0 asks each Redis process that it meets whether its settings keep what we promise
 * (store/promises.h), and logs what does not: a warning for each promise that is broken, a line for what people should
 * know.
 *
 * Said once for as long as it stays the same; another process is asked anew. */
#ifndef FLOW_PROMISE_H
#define FLOW_PROMISE_H

#include "control/log.h"
#include "store/promises.h"

struct promise_watch {
    struct store *store; /* borrows until the shard is closed */
    const struct log *log;
    struct store_request request;
    struct promises told;    /* by the server that is being asked */
    unsigned server, broken; /* of the servers before it: bits of promises.h */
    unsigned said;
    uint64_t epoch; /* the one that was asked last */
};

void promise_open(struct promise_watch *watch, struct store *store, const struct log *log);
/* About once a second. */
void promise_tick(struct promise_watch *watch);

#endif
