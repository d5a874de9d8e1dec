/* arena.h - one region of memory from which a shard takes all it needs at start, and which is dropped at once.
 *
 * Address space is reserved when the arena is opened; memory is used only where it is touched. Nothing is ever given
 * back singly, so a crash of a shard, real or simulated, is one arena_drop. What must be reused comes from pool.h. */
#ifndef IO_ARENA_H
#define IO_ARENA_H

#include "sluice/base.h"

struct arena {
    char *base; /* NULL: not open */
    size_t size, used;
};

/* Reserves `size` bytes, rounded up to pages. False: the address space or RLIMIT_AS does not allow it. */
must_use bool arena_open(struct arena *arena, size_t size);
/* Zeroed memory, aligned to `align` (a power of two, at most a page), until arena_drop. NULL: the rest is smaller. */
must_use void *arena_take(struct arena *arena, size_t bytes, size_t align);
/* Everything taken is gone. Not open: does nothing. */
void arena_drop(struct arena *arena);

/* For objects that are laid out in an arena and are free for now: AddressSanitizer, where it is built in, reports
 * every touch of what is closed. */
void arena_shut(const void *p, size_t bytes);
void arena_unshut(const void *p, size_t bytes);

#endif
