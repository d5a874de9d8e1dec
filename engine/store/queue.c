/* Commands stay here, encoded, until they are answered, so that a broken connection costs a repetition and no more. */
#include "store/queue.h"

#include <stdlib.h>

struct queue_entry *queue_at(const struct queue *queue, unsigned i)
{
    return &queue->entries[(queue->first + i) % queue->cap];
}

struct queue_entry *queue_add(struct queue *queue, struct queue_entry entry)
{
    if (queue->count == queue->cap) {
        unsigned cap = queue->cap ? 2 * queue->cap : 256;
        struct queue_entry *entries = calloc(cap, sizeof *entries);
        sluice_assert(entries);
        for (unsigned i = 0; i < queue->count; i++)
            entries[i] = *queue_at(queue, i);
        free(queue->entries);
        queue->entries = entries;
        queue->first = 0;
        queue->cap = cap;
    }
    entry.at = queue->out.end;
    queue->count++;
    *queue_at(queue, queue->count - 1) = entry;
    return queue_at(queue, queue->count - 1);
}

void queue_pop(struct queue *queue)
{
    queue->first = (queue->first + 1) % queue->cap;
    queue->count--;
}

void queue_copy(struct queue *to, const struct queue *from, unsigned i)
{
    struct queue_entry entry = *queue_at(from, i);
    uint64_t at = entry.at, end = entry.at + entry.size;
    queue_add(to, entry);
    while (at < end) {
        struct slice part;
        uint64_t part_end = end;
        resp_out_parts(&from->out, at, &part_end, &part, 1);
        resp_out_append(&to->out, part);
        at = part_end;
    }
}

void queue_free(struct queue *queue)
{
    resp_out_free(&queue->out);
    free(queue->entries);
    *queue = (struct queue){0};
}
