/* buddy.h - blocks of very different sizes out of one fixed budget, without malloc.
 *
 * A binary buddy allocator (Knowlton, CACM 8(10), 1965): sizes are rounded up to a power of two of at least
 * BUDDY_SMALLEST, freed neighbours merge again, so that a budget once used for small messages serves large ones later.
 * The memory is borrowed from the caller and touched only where it is used. */
#ifndef IO_BUDDY_H
#define IO_BUDDY_H

#include "sluice/base.h"

enum { BUDDY_SMALLEST_LOG2 = 10, BUDDY_SMALLEST = 1 << BUDDY_SMALLEST_LOG2, BUDDY_ORDERS = 24 };

struct buddy_block {
    struct buddy_block *next, *prev;
};

struct buddy {
    char *memory; /* borrows until dropped */
    size_t size;  /* power of two */
    unsigned top; /* order of the whole */
    size_t used;  /* bytes in blocks that are out */
    uint8_t *tags; /* one for each smallest block: order of the block that begins here, and whether it is free */
    struct buddy_block *free[BUDDY_ORDERS];
};

/* Bytes of tags that a budget of `size` needs. */
size_t buddy_tags_size(size_t size);
/* `size`: a power of two times BUDDY_SMALLEST, at most 2^33; `tags` as large as buddy_tags_size says. */
void buddy_init(struct buddy *buddy, void *memory, size_t size, uint8_t *tags);
/* NULL: no block of that size is free now. Aligned to BUDDY_SMALLEST. */
must_use void *buddy_take(struct buddy *buddy, size_t size);
void buddy_give(struct buddy *buddy, void *block);
/* A take of `size` would succeed now. */
bool buddy_has(const struct buddy *buddy, size_t size);

#endif
