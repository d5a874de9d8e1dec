/* suppress.h - the steps on the suppression list; proto/policy/suppress.h says what its keys and values are.
 *
 *     sluice:suppressed:<00..ff>               hash: key of an address -> value
 *     {sluice:suppressed:<00..ff>}:strikes     hash: key of an address -> refusals that count:
 * "when:class:campaign:seq: attempt" with spaces between. Old ones go when others come
 *
 * Each bucket is a slot of its own, and its strikes are in the same. All of these may be repeated. */
#ifndef STORE_SUPPRESS_H
#define STORE_SUPPRESS_H

#include "proto/policy/suppress.h"
#include "store/store.h"

enum { STORE_SUPPRESS_MOST = 1000 }; /* addresses of one step */

/* Which of these keys, all of that bucket, are on the list? items: their values in order; p is NULL for one that is
 * not. */
void store_suppressed(struct store *store, struct store_request *r, uint8_t bucket, const struct slice *keys,
                      unsigned count);

/* A refusal that counts. When it is the `after`th of its class within `within`, or the first if that is enough, the
 * address is on the list from then on, unless it is already. It is the same refusal, whenever it is told, by campaign,
 * seq and attempt. number: 1 if it was put there by this. */
struct store_strike {
    struct slice key;    /* of the address */
    struct slice class_; /* the reason, when it comes to that */
    struct slice campaign;
    uint64_t seq;
    uint32_t attempt;
    int64_t now_ms; /* UTC */
    unsigned after; /* >= 1 */
    nsec within;
    nsec keep; /* the longest `within` of all: strikes that are older go */
};
void store_strike(struct store *store, struct store_request *r, const struct store_strike *strike);

/* ---- for the command line; all keys of one bucket ---- */
/* key, value, key, value... Replaces what is there. number: how many are new. */
void store_suppress(struct store *store, struct store_request *r, uint8_t bucket, const struct slice *keys_values,
                    unsigned count);
/* With their strikes. number: how many were there. */
void store_unsuppress(struct store *store, struct store_request *r, uint8_t bucket, const struct slice *keys,
                      unsigned count);
/* Some of the bucket, from `cursor` on ("0" at first). items: the next cursor ("0": that was all), then key, value, ...
 * An entry that changes meanwhile may come twice. */
void store_suppressed_scan(struct store *store, struct store_request *r, uint8_t bucket, struct slice cursor);

#endif
