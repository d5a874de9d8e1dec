/* link.h - the Redis that a store talks to: one server, the master that sentinels name, or the masters of a cluster.
 *
 * Every command names the slot of its keys (slot.h). Commands of one slot are answered in the order in which they were
 * asked, as redis.h says, also across a move: while one of them is being led elsewhere (MOVED, ASK, TRYAGAIN,
 * CLUSTERDOWN, a connection that broke) those of the same slot that were not sent yet wait behind it, and those of
 * other slots go on. Between different slots there is no order.
 *
 * What is said of repetition in redis.h holds: only what may run twice is asked without REDIS_ONCE.
 *
 * store.c and step.c alone use this. */
#ifndef STORE_LINK_H
#define STORE_LINK_H

#include "store/access.h"
#include "store/redis.h"
#include "store/slot.h"

struct link;

struct link_config {
    struct redis_config redis; /* url, resolver, library, answer, message and context; the rest is link's own to set */
    const struct access *access; /* borrows until return */
};

/* Starts connecting. NULL with a sentence: there is no memory for TLS. */
must_use struct link *link_open(struct io *io, const struct link_config *config, char *error, size_t error_cap);
/* Subscribes to a channel on a connection of its own: `message` of the config is called for what comes. Once. Borrows
 * the name until link_close. */
void link_subscribe(struct link *link, const char *channel);
/* Forgets every command, frees. Requires that the io is closed (io_close_all). */
void link_close(struct link *link);

/* Encodes at once; leaves with the next flush. SLOT_NONE: no key, any server will do. */
void link_ask(struct link *link, unsigned slot, const struct resp_command *command, void *owner, unsigned flags);
/* The same, of one server that holds keys: 0 .. link_servers - 1. What is not of one slot (SCAN) is asked of each. A
 * server that has gone meanwhile answers through another one. */
unsigned link_servers(const struct link *link);
void link_ask_server(struct link *link, unsigned server, const struct resp_command *command, void *owner,
                     unsigned flags);
void link_flush(struct link *link);

/* Every server that holds keys is connected and willing, and nothing waits for a slot to be anywhere at all. */
bool link_connected(const struct link *link);
const char *link_trouble(const struct link *link); /* why not, as a sentence; "" when it is */
size_t link_unanswered(const struct link *link);   /* bytes */

/* Another number whenever another server process may be the one that answers for the slot, or any of them: what was
 * acknowledged before, and not proved to last, may be forgotten. A slot that moves from one server to another in order
 * gets another number too, though nothing is forgotten. 0: none was connected to yet. */
uint64_t link_epoch(const struct link *link);
uint64_t link_epoch_of(const struct link *link, unsigned slot);
/* Every server was alive at this instant of our monotonic clock, in this epoch; 0: one was not yet. */
nsec link_alive_at(const struct link *link);
nsec link_alive_at_of(const struct link *link, unsigned slot); /* the server that has the slot */
bool link_knows_server(const struct link *link);
/* The process that answers, where there is one server; "": we are not told, or there may be several. */
const char *link_server(const struct link *link);

#endif
