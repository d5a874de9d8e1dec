/* asker.h - a store on an io of its own, whose every step is waited for, with answers that stay. */
#ifndef ASKER_H
#define ASKER_H

#include "store/store.h"

enum { ASKER_ITEMS_MAX = 2048, ASKER_BYTES = 3 * 1024 * 1024 };

struct asker {
    struct io_group *group;
    struct io *io;
    struct store *store;
    struct store_request request;
    struct store_view view;
    /* Of the last step: a copy of its answer. */
    bool done;
    unsigned answers; /* given so far */
    struct store_answer answer;
    char error[256];
    struct slice items[ASKER_ITEMS_MAX];
    char *bytes;
    size_t bytes_n;
};

/* A store at `url` with an io of its own, or on that of another asker. */
struct asker *asker_open(const char *url, const char *engine, uint64_t incarnation, struct asker *io_of);
void asker_close(struct asker *asker); /* the owner of an io first: stores are closed after their io */
/* The request that the next step is to be asked with: store_x(asker->store, asker_next(asker), ...). */
struct store_request *asker_next(struct asker *asker);
/* Until the step is answered. Ends the test after 20 s. */
const struct store_answer *asker_wait(struct asker *asker);
/* Turns the io for so long. */
void asker_turn(struct asker *asker, nsec duration);

#define ASK(asker, step, ...) (step((asker)->store, asker_next(asker), ##__VA_ARGS__), asker_wait(asker))

#endif
