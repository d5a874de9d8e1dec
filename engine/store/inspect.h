/* inspect.h - for people who ask where somebody is: looks into a campaign's keys that change nothing. */
#ifndef STORE_INSPECT_H
#define STORE_INSPECT_H

#include "store/store.h"

enum inspect_place { INSPECT_BROKEN = 0, INSPECT_RETRY, INSPECT_HELD, INSPECT_PARKED, INSPECT_BATCH };

/* items: records from the `first`-th on, at most `most`; of RETRY each with the UTC ms at which it is due behind it.
 * `of`: PARKED: the
 * ISP; BATCH: the lease of records that somebody has taken. */
void store_inspect(struct store *store, struct store_request *r, struct slice campaign, enum inspect_place place,
                   struct slice of, uint64_t first, unsigned most);
/* number: retries due from `from_ms` on and before `to_ms` (UTC). */
void store_inspect_due(struct store *store, struct store_request *r, struct slice campaign, int64_t from_ms,
                       int64_t to_ms);
/* items: lease, what it is, lease, ...: "owner incarnation kind first count ...", kind "list" for a range of seqs. */
void store_inspect_leases(struct store *store, struct store_request *r, struct slice campaign);
/* The last events, the newest first: as store_events. */
void store_inspect_events(struct store *store, struct store_request *r, struct slice campaign, unsigned most);

#endif
