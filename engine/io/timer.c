/* Says which timer is next, exactly. */
#include "io/timer.h"

enum {
    TIMER_CHILDREN = 4,
    TIMER_ARENA_SLACK = 512,
};
#define TIMER_DUE (UINT32_C(1) << 31) /* in a slot: an index into `due` instead of a place in the heap */

size_t timer_bytes(uint32_t capacity)
{
    return (sizeof(struct timer_node) + sizeof(struct io_timer *)) * ((size_t)capacity + 1) + TIMER_ARENA_SLACK;
}

bool timer_open(struct timers *timers, struct arena *arena, uint32_t capacity)
{
    sluice_assert(capacity < TIMER_DUE - 1);
    *timers = (struct timers){.capacity = capacity};
    timers->heap = arena_take(arena, sizeof *timers->heap * ((size_t)capacity + 1), 64);
    timers->due = arena_take(arena, sizeof *timers->due * capacity, 64);
    return timers->heap && timers->due;
}

static bool before(const struct timer_node *a, const struct timer_node *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void place(struct timers *timers, uint32_t slot, struct timer_node node)
{
    timers->heap[slot] = node;
    node.timer->slot = slot;
}

/* Moves the hole at `slot` up to where `node` belongs, and fills it. */
static void sift_up(struct timers *timers, uint32_t slot, struct timer_node node)
{
    while (slot > 1) {
        uint32_t parent = (slot - 2) / TIMER_CHILDREN + 1;
        if (!before(&node, &timers->heap[parent]))
            break;
        place(timers, slot, timers->heap[parent]);
        slot = parent;
    }
    place(timers, slot, node);
}

static void sift_down(struct timers *timers, uint32_t slot, struct timer_node node)
{
    for (;;) {
        uint64_t first = ((uint64_t)slot - 1) * TIMER_CHILDREN + 2;
        uint32_t least = 0;
        for (uint64_t child = first; child < first + TIMER_CHILDREN && child <= timers->count; child++)
            if (!least || before(&timers->heap[child], &timers->heap[least]))
                least = (uint32_t)child;
        if (!least || !before(&timers->heap[least], &node))
            break;
        place(timers, slot, timers->heap[least]);
        slot = least;
    }
    place(timers, slot, node);
}

static void sift(struct timers *timers, uint32_t slot, struct timer_node node)
{
    if (slot > 1 && before(&node, &timers->heap[(slot - 2) / TIMER_CHILDREN + 1]))
        sift_up(timers, slot, node);
    else
        sift_down(timers, slot, node);
}

static void heap_remove(struct timers *timers, uint32_t slot)
{
    struct timer_node last = timers->heap[timers->count--];
    if (slot <= timers->count)
        sift(timers, slot, last);
}

void timer_set(struct timers *timers, struct io_timer *timer, nsec at)
{
    if (timer->slot & TIMER_DUE)
        timer_clear(timers, timer);
    struct timer_node node = {at, timers->order++, timer};
    timer->at = at;
    if (timer->slot) {
        sluice_assert(timer->slot <= timers->count && timers->heap[timer->slot].timer == timer);
        sift(timers, timer->slot, node);
    } else {
        sluice_assert(timers->count < timers->capacity);
        sift_up(timers, ++timers->count, node);
    }
}

void timer_clear(struct timers *timers, struct io_timer *timer)
{
    uint32_t slot = timer->slot;
    if (!slot)
        return;
    timer->slot = 0;
    if (slot & TIMER_DUE) {
        slot &= ~TIMER_DUE;
        sluice_assert(slot < timers->due_count && timers->due[slot] == timer);
        timers->due[slot] = NULL;
    } else {
        sluice_assert(slot <= timers->count && timers->heap[slot].timer == timer);
        heap_remove(timers, slot);
    }
}

unsigned timer_fire(struct timers *timers, nsec now)
{
    unsigned fired = 0;
    while (timers->count && timers->heap[1].at <= now) {
        struct io_timer *timer = timers->heap[1].timer;
        heap_remove(timers, 1);
        timer->slot = TIMER_DUE | timers->due_count;
        timers->due[timers->due_count++] = timer;
    }
    for (uint32_t i = 0; i < timers->due_count; i++) {
        struct io_timer *timer = timers->due[i];
        if (!timer)
            continue;
        timers->due[i] = NULL;
        timer->slot = 0;
        fired++;
        timer->fire(timer);
    }
    timers->due_count = 0;
    return fired;
}
