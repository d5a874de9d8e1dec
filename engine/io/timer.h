/* timer.h - the timers of one shard, with exact deadlines.
 *
 * A heap with four children a node, ordered by (deadline, order of setting), not a wheel: a wheel's tick would round
 * every wait of a throttle up, and a lane must reach 99 % of its rate. Setting and clearing cost O(log n) and touch
 * few lines, since the keys lie in the heap itself.
 *
 * Both backends of io.h keep their timers here; the clock is theirs. */
#ifndef IO_TIMER_H
#define IO_TIMER_H

#include "io/arena.h"
#include "io/io.h"

struct timer_node {
    nsec at;
    uint64_t order; /* of setting: breaks ties */
    struct io_timer *timer;
};

struct timers {
    struct timer_node *heap; /* [1 .. count]; slot n of a timer is its place here */
    struct io_timer **due;   /* taken from the heap and not fired yet; NULL where cleared meanwhile */
    uint32_t capacity, count, due_count;
    uint64_t order;
};

/* The arena bytes that timer_open takes at most. */
size_t timer_bytes(uint32_t capacity);
/* Room for `capacity` timers set at once; one more is a bug. Borrows the arena until it is dropped. False: it is too
 * small. */
must_use bool timer_open(struct timers *timers, struct arena *arena, uint32_t capacity);

void timer_set(struct timers *timers, struct io_timer *timer, nsec at);
void timer_clear(struct timers *timers, struct io_timer *timer); /* not set: does nothing */

/* The earliest deadline; NSEC_NEVER: no timer is set. */
static inline nsec timer_next(const struct timers *timers) { return timers->count ? timers->heap[1].at : NSEC_NEVER; }

/* Fires those with at <= now, in order. One that `fire` sets, even for now, is left for the next call; one that `fire`
 * clears or moves does not fire in this one. Returns how many fired. */
unsigned timer_fire(struct timers *timers, nsec now);

#endif
