/* A body may leave only behind an acknowledged permit; this file gathers the asking of one turn into few steps and
 * matches each answer to the ask that it belongs to. */
#include "flow/ledger.h"

#include <stdalign.h>

enum { BATCH_PERMITS = 128, BATCHES = 256 };

struct permit_batch {
    struct store_request request;
    struct permit_batch *next;
    struct ledger *ledger;
    struct lease *lease;
    unsigned permits, withdrawals;
    struct {
        struct attempt *attempt;
        uint32_t ask;
    } entries[BATCH_PERMITS];
    uint32_t permit_index[BATCH_PERMITS], withdrawn_index[BATCH_PERMITS];
};

static void unpin(struct ledger *ledger, struct attempt *attempt)
{
    sluice_assert(attempt->pins > 0);
    if (--attempt->pins == 0 && attempt->ended)
        ledger->on->unpinned(ledger->context, attempt);
}

static void batch_answered(struct store_request *request, const struct store_answer *answer)
{
    struct permit_batch *batch = container_of(request, struct permit_batch, request);
    struct ledger *ledger = batch->ledger;
    struct lease *lease = batch->lease;
    bool granted = answer->result == STORE_OK;
    if (!granted) {
        lease->lost = true;
        lease->refused |= answer->result == STORE_REFUSED;
        ledger->fenced++;
    }
    for (unsigned i = 0; i < batch->permits; i++) {
        struct attempt *attempt = batch->entries[i].attempt;
        /* Withdrawn and asked for again meanwhile: this answer is not for the later ask. */
        bool current = !attempt->ended && attempt->permit == PERMIT_ASKED && attempt->asks == batch->entries[i].ask;
        if (current) {
            attempt->permit = granted ? PERMIT_GRANTED : PERMIT_REFUSED;
            ledger->granted += granted;
        }
        if (current)
            ledger->on->decided(ledger->context, attempt);
        unpin(ledger, attempt);
    }
    ledger->answered += batch->permits;
    batch->next = ledger->batches;
    ledger->batches = batch;
    lease->unanswered--;
    ledger->on->answered(ledger->context, lease, answer->state);
}

bool ledger_open(struct ledger *ledger, struct arena *arena, struct store *store, const struct ledger_events *on,
                 void *context)
{
    *ledger = (struct ledger){.store = store, .on = on, .context = context};
    ledger->dirty_end = &ledger->dirty;
    struct permit_batch *batches = arena_take(arena, BATCHES * sizeof *batches, alignof(struct permit_batch));
    for (unsigned i = 0; batches && i < BATCHES; i++) {
        batches[i].ledger = ledger;
        batches[i].request.done = batch_answered;
        batches[i].next = ledger->batches;
        ledger->batches = &batches[i];
    }
    return batches != NULL;
}

static void mark(struct ledger *ledger, struct attempt *attempt)
{
    if (attempt->dirty)
        return;
    attempt->dirty = true;
    attempt->pins++; /* until the flush */
    attempt->dirty_next = NULL;
    *ledger->dirty_end = attempt;
    ledger->dirty_end = &attempt->dirty_next;
}

void ledger_permit(struct ledger *ledger, struct attempt *attempt)
{
    attempt->permit_wanted = true;
    attempt->permit = PERMIT_ASKED;
    attempt->asks++;
    mark(ledger, attempt);
}

void ledger_withdraw(struct ledger *ledger, struct attempt *attempt)
{
    attempt->permit_wanted = false;
    attempt->permit = PERMIT_NONE;
    mark(ledger, attempt);
}

void ledger_forget(struct ledger *ledger, struct attempt *attempt)
{
    sluice_assert(!attempt->ended);
    attempt->ended = true;
    if (attempt->pins == 0)
        ledger->on->unpinned(ledger->context, attempt);
}

static void send_batch(struct ledger *ledger, struct permit_batch *batch)
{
    struct lease *lease = batch->lease;
    lease->batch_open = NULL;
    lease->unanswered++;
    store_permit(ledger->store, &batch->request, slice_of(lease->campaign_id), slice_of(lease->id), batch->permit_index,
                 batch->permits, batch->withdrawn_index, batch->withdrawals);
}

/* The batch of the attempt's lease that is being filled; NULL when all are in flight. */
static struct permit_batch *batch_for(struct ledger *ledger, struct lease *lease)
{
    struct permit_batch *batch = lease->batch_open;
    if (batch && batch->permits < BATCH_PERMITS && batch->withdrawals < BATCH_PERMITS)
        return batch;
    if (!ledger->batches)
        return NULL;
    if (batch)
        send_batch(ledger, batch);
    batch = ledger->batches;
    ledger->batches = batch->next;
    batch->lease = lease;
    batch->permits = batch->withdrawals = 0;
    batch->next = ledger->open;
    ledger->open = batch;
    lease->batch_open = batch;
    return batch;
}

/* The pin stays, until the answer. */
static void ask(struct ledger *ledger, struct permit_batch *batch, struct attempt *attempt)
{
    batch->entries[batch->permits].attempt = attempt;
    batch->entries[batch->permits].ask = attempt->asks;
    batch->permit_index[batch->permits++] = attempt->index;
    attempt->permit_set = true;
    ledger->asked++;
}

static void withdraw(struct ledger *ledger, struct permit_batch *batch, struct attempt *attempt)
{
    batch->withdrawn_index[batch->withdrawals++] = attempt->index;
    attempt->permit_set = false;
    ledger->withdrawn++;
}

void ledger_flush(struct ledger *ledger)
{
    ledger->open = NULL;
    struct attempt *attempt;
    while ((attempt = ledger->dirty)) {
        /* Not: ended meanwhile, or asked and taken back within one turn. */
        bool changes = !attempt->ended && (attempt->permit_wanted || attempt->permit_set);
        struct permit_batch *batch = changes ? batch_for(ledger, attempt->lease) : NULL;
        if (changes && !batch)
            break; /* more than 256 steps unanswered: the rest is asked in a later turn */
        ledger->dirty = attempt->dirty_next;
        attempt->dirty = false;
        if (changes && attempt->permit_wanted)
            ask(ledger, batch, attempt);
        else if (changes)
            withdraw(ledger, batch, attempt);
        if (!changes || !attempt->permit_wanted)
            unpin(ledger, attempt);
    }
    if (!ledger->dirty)
        ledger->dirty_end = &ledger->dirty;
    for (struct permit_batch *batch = ledger->open, *next; batch; batch = next) {
        next = batch->next;
        if (batch->lease->batch_open == batch)
            send_batch(ledger, batch);
    }
}
