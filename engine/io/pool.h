/* pool.h - objects of one size, taken and given back all day.
 *
 * The last one given back is the first one taken, and an object is laid out only when all before it are in use, so the
 * memory touched is that of the busiest moment. Nothing is zeroed. Giving back what is not taken is a bug that ends
 * the program; under AddressSanitizer so is touching what was given back. */
#ifndef IO_POOL_H
#define IO_POOL_H

#include "io/arena.h"

struct pool {
    char *objects;
    uint32_t *freed; /* indices of laid out objects that are free: a stack */
    uint64_t *taken; /* one bit an object */
    size_t size, stride;
    uint32_t capacity, laid_out, freed_count;
};

/* The arena bytes that pool_open takes at most. */
size_t pool_bytes(size_t object_size, uint32_t capacity);
/* Borrows the arena until it is dropped. False: it is too small. Objects are aligned to 64 bytes. */
must_use bool pool_open(struct pool *pool, struct arena *arena, size_t object_size, uint32_t capacity);
/* NULL: all `capacity` are in use. */
must_use void *pool_take(struct pool *pool);
void pool_give(struct pool *pool, void *object);
static inline uint32_t pool_in_use(const struct pool *pool) { return pool->laid_out - pool->freed_count; }

#endif
