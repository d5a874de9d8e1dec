/* lanes.h - what lanes have learned from replies (proto/policy/adapt.h), kept across restarts and take-overs.
 *
 *     sluice:lane:<source>   hash: ISP -> "version text"
 *     sluice:lane:*          hash: "ISP from DOMAIN", "ISP campaign ID" -> the same, of what is no source's alone
 *
 * The text is adapt_write's and what it came of. Versions grow: what comes late from an engine that lost the source
 * changes nothing. Both steps may be repeated. */
#ifndef STORE_LANES_H
#define STORE_LANES_H

#include "store/store.h"

/* Everything of one source, or of "*". items: field, "version text", ... */
void store_lanes(struct store *store, struct store_request *r, struct slice name);
/* Writes a field, or with an empty text takes it out. number: 1; 0: a newer version is there, and stays. */
void store_lane(struct store *store, struct store_request *r, struct slice name, struct slice field, uint64_t version,
                struct slice text);

#endif
