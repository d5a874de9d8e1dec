/* queue.h - commands with their bytes, in the order in which they are to be answered. */
#ifndef STORE_QUEUE_H
#define STORE_QUEUE_H

#include "store/resp.h"

struct queue_entry {
    void *owner;
    uint64_t at; /* offset of its bytes */
    size_t size;
    nsec asked_at;
    uint64_t number;              /* for whoever leads several connections: the order in which all was asked */
    unsigned slot;                /* of its keys */
    bool once, owed, repeated, refused; /* refused: repeated because of Redis' state */
};

/* All zero is an empty queue. */
struct queue {
    struct resp_out out;
    struct queue_entry *entries; /* a ring */
    unsigned first, count, cap;
};

struct queue_entry *queue_at(const struct queue *queue, unsigned i); /* requires i < count */
/* Adds an entry; its bytes are to be appended to `out` next, and `size` set by the caller. */
struct queue_entry *queue_add(struct queue *queue, struct queue_entry entry);
void queue_pop(struct queue *queue); /* its bytes stay until resp_out_drop */
/* Adds a copy of entry `i` of `from`, with its bytes. */
void queue_copy(struct queue *to, const struct queue *from, unsigned i);
void queue_free(struct queue *queue);

#endif
