/* Lets a shard's memory be taken piecewise and dropped whole. */
#include "io/arena.h"

#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
enum { ARENA_GAP = 32 }; /* closed bytes between two pieces, so that running over an end is seen */
#else
enum { ARENA_GAP = 0 };
#endif

void arena_shut(const void *p, size_t bytes)
{
#ifdef ARENA_ASAN
    __asan_poison_memory_region(p, bytes);
#else
    (void)p, (void)bytes;
#endif
}

void arena_unshut(const void *p, size_t bytes)
{
#ifdef ARENA_ASAN
    __asan_unpoison_memory_region(p, bytes);
#else
    (void)p, (void)bytes;
#endif
}

/* The shadow of what a shard took is tens of megabytes, nearly all of them never touched: whole pages of it are given
 * back rather than zeroed, which says the same. Most of what a start of an engine cost in the simulation was this. */
static void unshut_all(const struct arena *arena)
{
#ifdef ARENA_ASAN
    size_t scale, offset, page = (size_t)sysconf(_SC_PAGESIZE);
    __asan_get_shadow_mapping(&scale, &offset);
    size_t granule = page << scale, base = (size_t)arena->base;
    size_t first = (base + granule - 1) / granule * granule, last = (base + arena->used) / granule * granule;
    if (first < last && madvise((void *)((first >> scale) + offset), (last - first) >> scale, MADV_DONTNEED) == 0) {
        arena_unshut(arena->base, first - base);
        arena_unshut((char *)last, base + arena->used - last);
        return;
    }
#endif
    arena_unshut(arena->base, arena->used);
}

bool arena_open(struct arena *arena, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    *arena = (struct arena){0};
    if (size == 0 || size > SIZE_MAX - page)
        return false;
    size = (size + page - 1) / page * page;
    /* MAP_NORESERVE: what is never touched is not counted against the machine either. */
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return false;
    *arena = (struct arena){base, size, 0};
    return true;
}

void *arena_take(struct arena *arena, size_t bytes, size_t align)
{
    sluice_assert(arena->base && align && (align & (align - 1)) == 0 && align <= 4096);
    size_t at = (arena->used + align - 1) & ~(align - 1), gap = ARENA_GAP;
    if (at > arena->size || bytes > arena->size - at)
        return NULL;
    arena->used = at + bytes;
    if (gap <= arena->size - arena->used) {
        arena_shut(arena->base + arena->used, gap);
        arena->used += gap;
    }
    return arena->base + at;
}

void arena_drop(struct arena *arena)
{
    if (!arena->base)
        return;
    unshut_all(arena); /* the next mapping may lie here */
    int result = munmap(arena->base, arena->size);
    sluice_assert(result == 0);
    *arena = (struct arena){0};
}
