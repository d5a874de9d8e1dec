/* Carries small values from one shard's thread to another's without a lock. */
#include "io/post.h"

#include "io/arena.h"

#include <stdalign.h>
#include <stdatomic.h>

/* Two lines, because processors fetch neighbours in pairs: what one side writes lies apart from what the other does. */
enum { POST_LINE = 128 };

struct post_ring {
    alignas(POST_LINE) _Atomic uint32_t tail; /* written by the sender */
    uint32_t head_seen;                       /* the sender's copy of head: it reads the other's line only when full */
    alignas(POST_LINE) _Atomic uint32_t head; /* written by the receiver */
    alignas(POST_LINE) struct io_post posts[IO_POST_RING];
};

struct post_shard {
    alignas(POST_LINE) _Atomic uint32_t asleep;
    _Atomic int descriptor;
};

struct io_group {
    struct arena arena;
    unsigned shards;
    struct post_shard *shard;
    struct post_ring *rings; /* [to * shards + from]: a reader's rings lie together */
};

struct io_group *io_group_open(unsigned shards)
{
    sluice_assert(shards > 0);
    size_t pairs = (size_t)shards * shards;
    struct arena arena;
    if (!arena_open(&arena, sizeof(struct io_group) + (sizeof(struct post_shard) + POST_LINE) * shards +
                                sizeof(struct post_ring) * pairs + (size_t)16 * POST_LINE))
        return NULL;
    struct io_group *group = arena_take(&arena, sizeof *group, POST_LINE);
    struct post_shard *shard = arena_take(&arena, sizeof *shard * shards, POST_LINE);
    struct post_ring *rings = arena_take(&arena, sizeof *rings * pairs, POST_LINE);
    sluice_assert(group && shard && rings);
    for (unsigned i = 0; i < shards; i++)
        atomic_store_explicit(&shard[i].descriptor, -1, memory_order_relaxed);
    *group = (struct io_group){arena, shards, shard, rings};
    return group;
}

void io_group_close(struct io_group *group)
{
    if (!group)
        return;
    struct arena arena = group->arena; /* the group itself lies in it */
    arena_drop(&arena);
}

static struct post_ring *ring_of(struct io_group *group, unsigned from, unsigned to)
{
    sluice_assert(from < group->shards && to < group->shards);
    return &group->rings[(size_t)to * group->shards + from];
}

unsigned post_shards(const struct io_group *group) { return group->shards; }

void post_join(struct io_group *group, unsigned shard, int descriptor)
{
    sluice_assert(shard < group->shards);
    int before = atomic_exchange(&group->shard[shard].descriptor, descriptor);
    sluice_assert(before == -1);
}

void post_leave(struct io_group *group, unsigned shard)
{
    post_awake(group, shard);
    atomic_store(&group->shard[shard].descriptor, -1);
}

int post_descriptor(struct io_group *group, unsigned shard)
{
    return atomic_load_explicit(&group->shard[shard].descriptor, memory_order_acquire);
}

bool post_put(struct io_group *group, unsigned from, unsigned to, const struct io_post *post, bool *wake)
{
    struct post_ring *ring = ring_of(group, from, to);
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    sluice_assert(post->kind > 0 && post->size <= IO_POST_BYTES);
    *wake = false;
    if (tail - ring->head_seen == IO_POST_RING) {
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (tail - ring->head_seen == IO_POST_RING)
            return false;
    }
    memcpy(&ring->posts[tail % IO_POST_RING], post, offsetof(struct io_post, bytes) + post->size);
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_seq_cst);
    _Atomic uint32_t *asleep = &group->shard[to].asleep;
    if (atomic_load_explicit(asleep, memory_order_seq_cst))
        *wake = atomic_exchange_explicit(asleep, 0, memory_order_seq_cst) != 0;
    return true;
}

unsigned post_count(struct io_group *group, unsigned from, unsigned to)
{
    struct post_ring *ring = ring_of(group, from, to);
    return atomic_load_explicit(&ring->tail, memory_order_acquire) -
           atomic_load_explicit(&ring->head, memory_order_relaxed);
}

const struct io_post *post_peek(struct io_group *group, unsigned from, unsigned to)
{
    struct post_ring *ring = ring_of(group, from, to);
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    return head == atomic_load_explicit(&ring->tail, memory_order_acquire) ? NULL : &ring->posts[head % IO_POST_RING];
}

void post_drop(struct io_group *group, unsigned from, unsigned to)
{
    struct post_ring *ring = ring_of(group, from, to);
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

bool post_sleep(struct io_group *group, unsigned shard)
{
    atomic_store_explicit(&group->shard[shard].asleep, 1, memory_order_seq_cst);
    for (unsigned from = 0; from < group->shards; from++) {
        struct post_ring *ring = ring_of(group, from, shard);
        if (atomic_load_explicit(&ring->tail, memory_order_seq_cst) !=
            atomic_load_explicit(&ring->head, memory_order_relaxed)) {
            post_awake(group, shard);
            return false;
        }
    }
    return true;
}

void post_awake(struct io_group *group, unsigned shard)
{
    atomic_store_explicit(&group->shard[shard].asleep, 0, memory_order_relaxed);
}
