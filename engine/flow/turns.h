/* turns.h - whose turn it is, of the campaigns that wait for the lanes to one ISP.
 *
 * Start-time fair queueing, in whole numbers: each start takes its campaign TURNS_STRIDE / weight further, and whoever
 * is least far is next. Guarantees, for campaigns of one class and as long as each has somebody waiting where the next
 * start may be:
 *     |starts of a / weight of a  -  starts of b / weight of b|  <=  1 / weight of a + 1 / weight of b
 *   - who comes, or comes again, begins where the one that is least far stands, or where it was itself if that is
 *     further: to have waited for nothing earns no credit, and to leave for a moment sheds no debt;
 *   - `priority high` goes before all others; high ones share among themselves in the same way.
 * The lanes of all pools towards an ISP take from the same turns. */
#ifndef FLOW_TURNS_H
#define FLOW_TURNS_H

#include "io/arena.h"
#include "io/pool.h"
#include "io/table.h"
#include "sluice/base.h"

struct campaign;

enum { TURNS_STRIDE = 1 << 20, TURNS_WEIGHT_MAX = 1000, TURNS_WEIGHT = 100 };

/* What one campaign had there. */
struct turn {
    struct turn *next;
    uint64_t campaign; /* its number (campaign.h); 0: of none */
    uint64_t at;       /* how far it is; wraps */
    unsigned waiting;  /* attempts */
    bool high;         /* of the class of priority high; fixed while somebody waits */
};

struct turns {
    struct table_link link;
    uint64_t isp_hash;
    unsigned holds; /* of backlogs */
    struct turn *first;
    uint64_t floor[2]; /* of each class: where the one that is least far stood when something last started */
};

/* All of a shard. */
struct turns_set {
    struct pool turns, members;
    struct table table;
};

/* False: the arena is too small. At most `backlogs` are held; at most `attempts` wait. */
must_use bool turns_open(struct turns_set *set, struct arena *arena, unsigned backlogs, unsigned attempts);
/* The ISP's, held for one more backlog; NULL: too many are. */
must_use struct turns *turns_hold(struct turns_set *set, uint64_t isp_hash);
void turns_release(struct turns_set *set, struct turns *turns);

/* One more attempt of the campaign (NULL: of none) waits, one fewer. NULL: no room. */
must_use struct turn *turns_join(struct turns_set *set, struct turns *turns, const struct campaign *campaign);
void turns_leave(struct turn *turn);
/* It has started one. */
void turns_charge(struct turns *turns, const struct campaign *campaign);

/* Is the turn of `a` before that of `b`? */
static inline bool turns_before(const struct turn *a, const struct turn *b)
{
    return a->high != b->high ? a->high : (int64_t)(a->at - b->at) < 0;
}

#endif
