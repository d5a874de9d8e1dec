/* ask.h - for a command that asks Redis a few things and ends.
 *
 * Opens an io and a store as a shard does, and turns the io until one request is answered. */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include "cli/cli.h"
#include "store/store.h"

struct ask {
    const struct config *config; /* borrows until ask_close */
    char where[512];             /* the address of Redis, without a password */
    char url[1200];
    struct io_group *group;
    struct io *io;
    struct resolver *resolver;
    struct store *store;
    bool gave_up; /* a request is still out, in memory that may be gone: the io is not turned again */
};

/* False: said why. */
must_use bool ask_open(struct ask *ask, const struct config *config);
void ask_close(struct ask *ask);

/* One request with a copy of its answer. Zero-initialised; give `request` to a step, then ask_wait. May be used again
 * and again; what the answer holds is freed by the next wait or by ask_free. */
struct ask_answer {
    struct store_request request;
    bool done;
    enum store_result result;
    enum store_state state;
    struct slice *items; /* each ends with a zero byte too; p is NULL where the step says that there is none */
    unsigned item_count;
    int64_t number;
    char *bytes; /* private: where the items lie */
    char error[256];
};
/* The request to hand to a step. */
struct store_request *ask_request(struct ask_answer *answer);
/* False: Redis is away or refused; said why. Once it was away all that follows fails too, without a word. */
must_use bool ask_wait(struct ask *ask, struct ask_answer *answer);
void ask_free(struct ask_answer *answer);

/* From now on SIGINT and SIGTERM are held back, and ask_interrupted tells of them. */
void ask_hold_signals(void);
bool ask_interrupted(void);
/* Turns the io for `pause`. False: interrupted, or Redis was given up. */
bool ask_pause(struct ask *ask, nsec pause);

#endif
