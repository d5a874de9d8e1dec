/* uring.h - what the files of the kernel's backend share; nobody else includes it. */
#ifndef IO_URING_H
#define IO_URING_H

#include "io/arena.h"
#include "io/descriptor.h"
#include "io/io.h"
#include "io/left.h"
#include "io/post.h"
#include "io/ring.h"
#include "io/timer.h"

/* A completion carries the index and the generation of a slot, never a pointer: one that comes late, for an operation
 * that is over and perhaps freed, finds another generation and reaches nobody. */
struct slot {
    struct io_op *op; /* NULL: free */
    uint32_t generation;
    uint16_t kind; /* kept here too, for io_close_all, which may not look at operations */
};

/* user_data: the generation above, and below the slot's index + 1, or one of these. */
#define USER_NOBODY UINT64_C(0)         /* cancels, and the wake-ups that others send us */
#define USER_WAKE   (UINT64_C(1) << 31) /* a wake-up of ours; the lower bits are the shard */
#define USER_LOW    UINT64_C(0xffffffff)

struct op_list {
    struct io_op *first, *last;
};

struct operations {
    struct slot *slots;
    uint32_t *free_slots; /* a stack */
    uint32_t free_count;
    struct op_list backlog; /* want a place in the ring: to start, or to be cancelled */
    struct op_list ready;   /* over before they flew */
    unsigned ready_count;
};

struct completion {
    uint64_t user_data;
    int result;
    unsigned flags;
};

struct io {
    struct arena arena;
    struct ring ring;
    struct timers timers;
    struct descriptors descriptors;

    struct operations operations;
    struct completion *batch;
    unsigned batch_count, batch_next;
    unsigned callbacks; /* run in this turn */
    bool turning;
    nsec lately;
    nsec wall_ahead, wall_ahead_at; /* by how much io_wall is more than io_now; 0: never looked */

    struct io_group *group;
    unsigned shard, wakes_wanted;
    bool *wake_wanted; /* by shard: woken with the next entry */
    void (*receive)(void *context, unsigned from_shard, const struct io_post *post);
    void *receive_context;

    uint64_t random[4];
    struct io_left *left;
};

/* ---- operation.c: one operation's life; it also implements io_connect .. io_cancel ---- */

/* The arena bytes that operation_open takes at most, for `count` operations that are busy at once. */
size_t operation_bytes(uint32_t count);
must_use bool operation_open(struct operations *operations, struct arena *arena, uint32_t count);
/* What found no room in the ring gets it now. */
void operation_launch_backlog(struct io *io);
/* Runs the callbacks of one completion. False: it belongs to no operation. */
bool operation_completed(struct io *io, const struct completion *completion);
/* Calls `done` of the first of the ready list, which is not empty. */
void operation_finish_ready(struct io *io);
/* A descriptor that nobody will be told of any more, else -1. Looks at no operation. */
int operation_orphan(struct io *io, const struct completion *completion);

#endif
