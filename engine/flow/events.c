/* One step for many recipients is what makes an event cheap: this file holds them back until the turn's end. */
#include "flow/events.h"

#include <stdalign.h>

struct events_batch {
    struct store_request request;
    struct events *events;
    struct lease *lease;
};

static void batch_answered(struct store_request *request, const struct store_answer *answer)
{
    struct events_batch *batch = container_of(request, struct events_batch, request);
    struct events *events = batch->events;
    struct lease *lease = batch->lease;
    pool_give(&events->batches, batch);
    if (answer->result != STORE_OK) {
        lease->lost = true; /* whoever has it now writes the events; a repeated close finds it gone, and that is fine */
        lease->refused |= answer->result == STORE_REFUSED;
        events->fenced++;
    }
    lease->unanswered--;
    events->answered(events->context, lease, answer->state);
}

bool events_open(struct events *events, struct arena *arena, struct store *store, unsigned attempts_max,
                 void (*answered)(void *context, struct lease *lease, enum store_state state), void *context)
{
    *events = (struct events){.store = store, .answered = answered, .context = context, .attempts_max = attempts_max};
    events->pending = arena_take(arena, EVENTS_PENDING * sizeof *events->pending, alignof(struct settlement));
    return events->pending &&
           pool_open(&events->batches, arena, sizeof(struct events_batch), 2 * attempts_max + EVENTS_PENDING);
}

bool events_has_room(const struct events *events)
{
    /* Whoever is in memory may end at any moment, at worst each in a step of its own. */
    return pool_in_use(&events->batches) <= events->attempts_max;
}

struct settlement *events_next(struct events *events)
{
    if (events->pending_count == EVENTS_PENDING)
        events_flush(events);
    return &events->pending[events->pending_count];
}

void events_add(struct events *events)
{
    struct settlement *settlement = &events->pending[events->pending_count];
    struct lease *lease = settlement->lease;
    sluice_assert(lease->open > 0);
    if (settlement->end.kind != STORE_END_PARK)
        settlement->end.event = &settlement->event;
    else
        lease->parked++;
    lease->open--;
    lease->unanswered++; /* stands for what is pending, until its step is on its way */
    events->pending_count++;
}

static void write_lease(struct events *events, struct lease *lease, unsigned first)
{
    struct store_end ends[EVENTS_PENDING];
    unsigned count = 0;
    for (unsigned i = first; i < events->pending_count; i++)
        if (events->pending[i].lease == lease) {
            ends[count++] = events->pending[i].end;
            events->pending[i].lease = NULL;
        }
    struct events_batch *batch = pool_take(&events->batches);
    sluice_assert(batch); /* nobody was taken into memory without events_has_room */
    memset(batch, 0, sizeof *batch);
    batch->request.done = batch_answered;
    batch->events = events;
    batch->lease = lease;
    lease->unanswered -= count;
    lease->unanswered++;
    store_end(events->store, &batch->request, slice_of(lease->campaign_id), slice_of(lease->id), ends, count,
              lease->open == 0);
}

void events_flush(struct events *events)
{
    for (unsigned i = 0; i < events->pending_count; i++)
        if (events->pending[i].lease)
            write_lease(events, events->pending[i].lease, i);
    events->pending_count = 0;
}
