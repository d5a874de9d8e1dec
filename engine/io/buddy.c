/* Messages and leases differ in size by a factor of thousands and share fixed budgets; a buddy allocator bounds both
 * the memory and the time without knowing their sizes beforehand. */
#include "io/buddy.h"

#include <string.h>

enum { TAG_FREE = 0x80, TAG_ORDER = 0x7f, TAG_NONE = 0x7f };

size_t buddy_tags_size(size_t size) { return size >> BUDDY_SMALLEST_LOG2; }

static unsigned order_of(size_t size)
{
    unsigned order = 0;
    while (((size_t)BUDDY_SMALLEST << order) < size)
        order++;
    return order;
}

static size_t index_of(const struct buddy *buddy, const void *block)
{
    return (size_t)((const char *)block - buddy->memory) >> BUDDY_SMALLEST_LOG2;
}

static void put(struct buddy *buddy, size_t index, unsigned order)
{
    struct buddy_block *block = (struct buddy_block *)(void *)(buddy->memory + (index << BUDDY_SMALLEST_LOG2));
    buddy->tags[index] = (uint8_t)(order | TAG_FREE);
    block->prev = NULL;
    block->next = buddy->free[order];
    if (block->next)
        block->next->prev = block;
    buddy->free[order] = block;
}

static void unlink_block(struct buddy *buddy, struct buddy_block *block, unsigned order)
{
    if (block->prev)
        block->prev->next = block->next;
    else
        buddy->free[order] = block->next;
    if (block->next)
        block->next->prev = block->prev;
    buddy->tags[index_of(buddy, block)] = TAG_NONE;
}

void buddy_init(struct buddy *buddy, void *memory, size_t size, uint8_t *tags)
{
    unsigned top = order_of(size);
    sluice_assert(top < BUDDY_ORDERS && ((size_t)BUDDY_SMALLEST << top) == size);
    *buddy = (struct buddy){.memory = memory, .size = size, .top = top, .tags = tags};
    memset(tags, TAG_NONE, buddy_tags_size(size));
    put(buddy, 0, top);
}

void *buddy_take(struct buddy *buddy, size_t size)
{
    unsigned want = order_of(size), order = want;
    while (order <= buddy->top && !buddy->free[order])
        order++;
    if (order > buddy->top)
        return NULL;
    struct buddy_block *block = buddy->free[order];
    unlink_block(buddy, block, order);
    size_t index = index_of(buddy, block);
    while (order > want) { /* the upper half stays free, so that low addresses are used first */
        order--;
        put(buddy, index + ((size_t)1 << order), order);
    }
    buddy->tags[index] = (uint8_t)want;
    buddy->used += (size_t)BUDDY_SMALLEST << want;
    return block;
}

void buddy_give(struct buddy *buddy, void *block)
{
    size_t index = index_of(buddy, block);
    unsigned order = buddy->tags[index];
    sluice_assert(order <= buddy->top); /* given twice, or no block of ours */
    buddy->used -= (size_t)BUDDY_SMALLEST << order;
    buddy->tags[index] = TAG_NONE;
    while (order < buddy->top) {
        size_t mate = index ^ ((size_t)1 << order);
        if (buddy->tags[mate] != (order | TAG_FREE))
            break;
        unlink_block(buddy, (struct buddy_block *)(void *)(buddy->memory + (mate << BUDDY_SMALLEST_LOG2)), order);
        index = index < mate ? index : mate;
        order++;
    }
    put(buddy, index, order);
}

bool buddy_has(const struct buddy *buddy, size_t size)
{
    for (unsigned order = order_of(size); order <= buddy->top; order++)
        if (buddy->free[order])
            return true;
    return false;
}
