/* table.h - a hash table of things that carry their own link; fixed buckets, no allocation.
 *
 * The caller hashes and compares: walk `table_first(t, hash)` .. `table_next(link)` and look at each owner. */
#ifndef IO_TABLE_H
#define IO_TABLE_H

#include "io/arena.h"
#include "sluice/base.h"
#include "sluice/slice.h"

struct table_link {
    struct table_link *next;
    uint64_t hash;
};

struct table {
    struct table_link **buckets; /* borrowed from the arena until it is dropped */
    uint64_t mask;
    unsigned count;
};

/* FNV-1a (Fowler, Noll, Vo) over lower-cased bytes: names of hosts and domains compare without case. The final
 * mixing spreads it into the low bits that the table uses. */
static inline uint64_t table_hash(struct slice name)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (unsigned char)ascii_lower(name.p[i])) * 1099511628211u;
    h ^= h >> 32;
    return h * 0x9e3779b97f4a7c15u ^ h >> 29;
}

/* Borrows the arena until it is dropped. False: it is too small. */
must_use static inline bool table_open(struct table *table, struct arena *arena, unsigned buckets_log2)
{
    table->mask = ((uint64_t)1 << buckets_log2) - 1;
    table->count = 0;
    table->buckets = arena_take(arena, sizeof *table->buckets << buckets_log2, sizeof *table->buckets);
    return table->buckets != NULL;
}

static inline void table_add(struct table *table, struct table_link *link, uint64_t hash)
{
    link->hash = hash;
    link->next = table->buckets[hash & table->mask];
    table->buckets[hash & table->mask] = link;
    table->count++;
}

static inline void table_remove(struct table *table, struct table_link *link)
{
    struct table_link **at = &table->buckets[link->hash & table->mask];
    while (*at != link) {
        sluice_assert(*at);
        at = &(*at)->next;
    }
    *at = link->next;
    table->count--;
}

static inline struct table_link *table_first(const struct table *table, uint64_t hash)
{
    struct table_link *link = table->buckets[hash & table->mask];
    while (link && link->hash != hash)
        link = link->next;
    return link;
}

static inline struct table_link *table_next(struct table_link *link)
{
    uint64_t hash = link->hash;
    for (link = link->next; link && link->hash != hash; link = link->next)
        ;
    return link;
}

#endif
