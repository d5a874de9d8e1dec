/* post.h - the rings through which shards post to each other (io_post), and who sleeps.
 *
 * One ring for each ordered pair: one thread writes it, one reads it, no lock. A wake-up is needed only if the reader
 * sleeps, and exactly one of those who post to a sleeper is told to wake it:
 *     the reader  writes asleep = 1, then reads every ring's tail, then sleeps;
 *     a writer    writes its ring's tail, then reads asleep.
 * All four are sequentially consistent, so not both can miss the other. */
#ifndef IO_POST_H
#define IO_POST_H

#include "io/io.h"

/* `from` joins in on io_open: descriptor is what others wake it by (its ring). */
void post_join(struct io_group *group, unsigned shard, int descriptor);
void post_leave(struct io_group *group, unsigned shard);
unsigned post_shards(const struct io_group *group);

/* False: full. *wake: `to` slept, and the caller must now wake it. */
must_use bool post_put(struct io_group *group, unsigned from, unsigned to, const struct io_post *post, bool *wake);
int post_descriptor(struct io_group *group, unsigned shard); /* to wake it by; -1: not open */

/* The oldest post of the pair, in place until post_drop; NULL: none. */
const struct io_post *post_peek(struct io_group *group, unsigned from, unsigned to);
void post_drop(struct io_group *group, unsigned from, unsigned to);
unsigned post_count(struct io_group *group, unsigned from, unsigned to); /* as the reader sees it */

/* The reader is about to sleep. False: something has come, do not. */
must_use bool post_sleep(struct io_group *group, unsigned shard);
void post_awake(struct io_group *group, unsigned shard);

#endif
