/* resolve.h - what people have decided about recipients in doubt that are held: each is sent again, or is not.
 *
 * Deciding twice is harmless: whoever is not held any more is passed over, by whomever that was decided. */
#ifndef STORE_RESOLVE_H
#define STORE_RESOLVE_H

#include "store/store.h"

enum { RESOLVE_MOST = 100 }; /* records of one step */

struct store_resolution {
    struct slice record;       /* as it is held (store_inspect of INSPECT_HELD), to the byte */
    const struct event *event; /* its final event; NULL: it is sent again, and there is no event */
};
/* Those that are sent again are due at `due_ms`, UTC. number: how many were still held; where the answer was lost and
 * the step repeated, all that were asked for. */
void store_resolve(struct store *store, struct store_request *r, struct slice campaign,
                   const struct store_resolution *list, unsigned count, int64_t due_ms);

#endif
