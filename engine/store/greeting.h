/* greeting.h - what a new connection says before it is of use: who it is, which database, which functions. */
#ifndef STORE_GREETING_H
#define STORE_GREETING_H

#include "store/redis.h"

enum greeting {
    GREETING_BROKEN = 0,
    GREETING_AUTH,
    GREETING_SELECT,
    GREETING_ROLE,   /* is it a master? */
    GREETING_SERVER, /* which process is it? */
    GREETING_LIST,   /* is our library there? */
    GREETING_LOAD,
    GREETING_SUBSCRIBE,
    GREETING_DONE,
};

/* Writes the step's command. False: a connection of this config does not need it; nothing was written. */
must_use bool greeting_write(enum greeting step, const struct redis_config *config, struct resp_command *command);
/* Goes to the step that follows from the answer. False: there is no going on; `error` says why. */
must_use bool greeting_answer(enum greeting *step, const struct resp_node *answer, char *error, size_t error_cap);
/* Of the answer to GREETING_SERVER: what tells the server's process from all others, borrowed from it; empty where we
 * are not told (an ACL may forbid INFO). */
struct slice greeting_server(const struct resp_node *answer);
/* Of what INFO answers: the value behind "name:" at the beginning of a line, borrowed from it; empty: there is none. */
struct slice greeting_info(struct slice text, struct slice name);

#endif
