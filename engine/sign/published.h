/* published.h - looks up whether what DNS holds for our keys is what receivers will verify with.
 *
 * One for the engine, in shard 0. It asks for all keys when it starts, after a reload, every PUBLISHED_AGAIN_WRONG
 * while something is not as it should be, and else every PUBLISHED_AGAIN. It logs what it finds when it finds it first
 * and when that changes, with the record that is to be published; it stops nobody: DNS may be late, and a message that
 * was signed by a key whose record comes tomorrow is verified tomorrow. */
#ifndef SIGN_PUBLISHED_H
#define SIGN_PUBLISHED_H

#include "control/log.h"
#include "net/resolver.h"
#include "sign/keys.h"

#define PUBLISHED_AGAIN       (6 * 3600 * NSEC_PER_S)
#define PUBLISHED_AGAIN_WRONG (600 * NSEC_PER_S)

struct published {
    unsigned
        wrong; /* for others to read: keys whose record does not fit, or was not found, when it was last looked at */

    /* private */
    struct resolver *resolver;
    const struct log *log;
    struct sign_keys *keys; /* held */
    uint8_t *seen;          /* owned: by key, what was found last */
    unsigned count, next;   /* next == count: nothing is to be asked before again_at */
    bool asking, stale;     /* stale: the answer that is awaited is about keys of before */
    nsec again_at;          /* 0: to be set when the round is over */
    struct resolver_query query;
};

/* False: no memory. Holds `keys`; borrows the others until published_close. */
must_use bool published_open(struct published *published, struct resolver *resolver, const struct log *log,
                             struct sign_keys *keys);
/* Other keys of the same configuration: looked up from now on. */
void published_rekey(struct published *published, struct sign_keys *keys);
/* To be called about once a second. */
void published_tick(struct published *published, nsec now);
/* Requires that the resolver is closed or was never asked. One that was never opened is left alone. */
void published_close(struct published *published);

#endif
