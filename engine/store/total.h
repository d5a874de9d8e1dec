/* total.h - an engine's share of what all engines together may send to an ISP, as Redis grants it. */
#ifndef STORE_TOTAL_H
#define STORE_TOTAL_H

#include "store/store.h"

/* The whole has `parts` (1 .. 720,720). The engine `uses` so many of those that it was granted before and will use no
 * more of them, and it `wants` some or has no use for any. number: how many it has from the moment of asking on, for
 * `life`. Shares that have not run out never add up to more than the whole, and those of engines that want one are as
 * equal as whole parts allow; where there are more engines than parts they take turns. Repeated, it does no harm. */
void store_total(struct store *store, struct store_request *r, struct slice isp, unsigned parts, unsigned uses,
                 bool wants, nsec life);

#endif
