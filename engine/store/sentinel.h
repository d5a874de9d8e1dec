/* sentinel.h - where the master is that sentinels watch, and that it is another one now.
 *
 * The sentinels are asked in turn, for each connection anew. One of them is listened to (+switch-master), so that a
 * connection to a master that was replaced is left at once, though it may be silent and not broken. */
#ifndef STORE_SENTINEL_H
#define STORE_SENTINEL_H

#include "store/access.h"
#include "store/redis.h"

struct sentinel;

/* `config` as of the connections to the master: the sentinels are its url's hosts; `access` has what they want to be
 * told of us. Both borrow until return. */
must_use struct sentinel *sentinel_open(struct io *io, const struct redis_config *config, const struct access *access);
void sentinel_close(struct sentinel *sentinel); /* as redis_close */
/* A connection that is to lead to the master. At most 2. */
must_use struct redis *sentinel_lead(struct sentinel *sentinel, const struct redis_config *config);
/* Why nobody knows the master; "" when nobody was asked for it. */
const char *sentinel_trouble(const struct sentinel *sentinel);

#endif
