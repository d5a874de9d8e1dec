/* scout.h - asks one of several servers the same question, until one of them has a good answer: where the master is, or
 * which server of a cluster has which slot.
 *
 * Each server is asked on a connection that is made for it, the next one each time, so that one that is dead, cut off
 * or behind the times does not decide alone. One that does not answer within SCOUT_SILENCE_S is given up. */
#ifndef STORE_SCOUT_H
#define STORE_SCOUT_H

#include "store/redis.h"

enum { SCOUT_SILENCE_S = 3 };

struct scout;

struct scout_config {
    const struct redis_config *redis; /* resolver, tls, tls_name; user and password of its url. Borrows until return */
    /* The server that is asked in the `at`-th place; `at` grows without end. NULL: there is none. Borrowed until the
     * next call. */
    const struct url_host *(*host)(void *context, unsigned at);
    void (*question)(void *context, struct resp_command *command);
    /* False: this is no answer; `why` says why, and the next server is asked after a while. `from`: who answers. */
    bool (*answer)(void *context, const struct resp_node *nodes, const struct url_host *from, char *why,
                   size_t why_cap);
    void *context;
};

must_use struct scout *scout_open(struct io *io, const struct scout_config *config);
void scout_close(struct scout *scout); /* as redis_close */
/* Asks, unless it is being asked already. */
void scout_ask(struct scout *scout);
/* Why there is no answer yet; "" when none is owed. */
const char *scout_trouble(const struct scout *scout);

#endif
