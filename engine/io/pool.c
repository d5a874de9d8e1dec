/* Keeps objects of one size where the memory is warm. */
#include "io/pool.h"

enum { POOL_ALIGN = 64, POOL_ARENA_SLACK = 1024 /* alignment of the three pieces, and what the arena adds */ };

static size_t stride_of(size_t object_size) { return (object_size + POOL_ALIGN - 1) / POOL_ALIGN * POOL_ALIGN; }

static size_t words_of(uint32_t capacity) { return ((size_t)capacity + 63) / 64; }

size_t pool_bytes(size_t object_size, uint32_t capacity)
{
    return stride_of(object_size) * capacity + sizeof(uint32_t) * capacity + sizeof(uint64_t) * words_of(capacity) +
           POOL_ARENA_SLACK;
}

bool pool_open(struct pool *pool, struct arena *arena, size_t object_size, uint32_t capacity)
{
    sluice_assert(object_size > 0 && capacity > 0);
    size_t stride = stride_of(object_size);
    *pool = (struct pool){.size = object_size, .stride = stride, .capacity = capacity};
    pool->objects = arena_take(arena, stride * capacity, POOL_ALIGN);
    pool->freed = arena_take(arena, sizeof(uint32_t) * capacity, sizeof(uint32_t));
    pool->taken = arena_take(arena, sizeof(uint64_t) * words_of(capacity), sizeof(uint64_t));
    /* What is not laid out yet stays open to AddressSanitizer: closing it would touch an eighth of all of it. */
    return pool->objects && pool->freed && pool->taken;
}

void *pool_take(struct pool *pool)
{
    uint32_t index;
    if (pool->freed_count)
        index = pool->freed[--pool->freed_count];
    else if (pool->laid_out < pool->capacity)
        index = pool->laid_out++;
    else
        return NULL;
    pool->taken[index / 64] |= UINT64_C(1) << index % 64;
    void *object = pool->objects + index * pool->stride;
    arena_unshut(object, pool->size);
    return object;
}

void pool_give(struct pool *pool, void *object)
{
    size_t offset = (size_t)((char *)object - pool->objects);
    size_t index = offset / pool->stride;
    sluice_assert((char *)object >= pool->objects && index < pool->laid_out && offset % pool->stride == 0);
    uint64_t bit = UINT64_C(1) << index % 64;
    sluice_assert(pool->taken[index / 64] & bit);
    pool->taken[index / 64] &= ~bit;
    pool->freed[pool->freed_count++] = (uint32_t)index;
    arena_shut(object, pool->size);
}
