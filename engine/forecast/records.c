/* The forecast's Redis: as much of warmup.lua as one engine on a virtual clock can notice. */
#include "forecast/records.h"

#include <stdlib.h>

static const nsec answers_in = NSEC_PER_MS;

struct row {
    struct row *next;
    char source[LIMIT_SOURCE_NAME + 1], counter[LIMIT_ISP_NAME + 1];
    bool exists;
    struct warmup_record record;
    nsec next_at;
};

/* On its way back. */
struct reply {
    struct reply *next;
    struct store *store;
    struct io_timer timer;
    struct store_request *request;
    struct store_answer answer;
    struct slice item;
    char text[WARMUP_RECORD_TEXT];
};

struct store {
    struct io *io;
    struct row *rows;
    struct reply *replies;
};

struct store *records_new(struct io *io)
{
    struct store *store = calloc(1, sizeof *store);
    if (store)
        store->io = io;
    return store;
}

void records_free(struct store *store)
{
    for (struct row *row = store->rows, *next; row; row = next) {
        next = row->next;
        free(row);
    }
    for (struct reply *reply = store->replies, *next; reply; reply = next) {
        next = reply->next;
        free(reply);
    }
    free(store);
}

static struct row *row_of(struct store *store, struct slice source, struct slice counter)
{
    for (struct row *row = store->rows; row; row = row->next)
        if (slice_equal(slice_of(row->source), source) && slice_equal(slice_of(row->counter), counter))
            return row;
    struct row *row = calloc(1, sizeof *row);
    sluice_assert(row);
    slice_copy(row->source, sizeof row->source, source);
    slice_copy(row->counter, sizeof row->counter, counter);
    row->next = store->rows;
    store->rows = row;
    return row;
}

void records_put(struct store *store, struct slice source, struct slice counter, const struct warmup_record *record,
                 nsec next)
{
    struct row *row = row_of(store, source, counter);
    row->exists = true;
    row->record = *record;
    row->next_at = next;
}

/* ---- answers ---- */

static void on_time(struct io_timer *timer)
{
    struct reply *reply = container_of(timer, struct reply, timer);
    struct reply **at = &reply->store->replies;
    while (*at != reply)
        at = &(*at)->next;
    *at = reply->next;
    reply->request->state = 0;
    reply->request->done(reply->request, &reply->answer);
    free(reply);
}

static struct reply *answer_later(struct store *store, struct store_request *request)
{
    struct reply *reply = calloc(1, sizeof *reply);
    sluice_assert(reply && !store_request_busy(request));
    reply->store = store;
    reply->request = request;
    reply->answer.result = STORE_OK;
    reply->timer.fire = on_time;
    reply->next = store->replies;
    store->replies = reply;
    request->state = 1;
    io_timer_set(store->io, &reply->timer, io_now(store->io) + answers_in);
    return reply;
}

/* ---- a piece ---- */

static void take_in(struct row *row, const struct store_warmup_ask *ask, const struct warmup_counts *counts)
{
    struct warmup_counts *today = &row->record.today;
    if (!row->exists)
        return;
    today->accepted += counts->accepted;
    today->deferred += counts->deferred;
    today->blocked += counts->blocked;
    today->bounced += counts->bounced;
    today->other += counts->other;
    if (row->record.day == ask->day.number)
        row->record.granted -= ask->given_back < row->record.granted ? ask->given_back : row->record.granted;
}

static enum store_warmup_result may_grant(struct row *const *rows, const struct store_warmup_ask *ask, nsec now,
                                          uint64_t *units)
{
    *units = ask->wanted;
    for (unsigned i = 0; i < ask->part_count; i++) {
        const struct store_warmup_part *part = &ask->parts[i];
        const struct warmup_record *record = &rows[i]->record;
        if (rows[i]->exists && record->day > ask->day.number)
            return STORE_WARMUP_EARLY;
        if (!rows[i]->exists || record->day != ask->day.number || !part->record || part->record->day != record->day ||
            part->record->stage != record->stage || part->record->state != record->state)
            return STORE_WARMUP_CHANGED;
        if (part->cap == WARMUP_UNLIMITED)
            continue;
        uint64_t left = part->cap > record->granted ? part->cap - record->granted : 0;
        *units = left < *units ? left : *units;
    }
    if (!*units)
        return STORE_WARMUP_FULL;
    for (unsigned i = 0; i < ask->part_count; i++)
        if (now < rows[i]->next_at)
            return STORE_WARMUP_LATER;
    return STORE_WARMUP_GRANTED;
}

static void show(const struct row *row, struct store_warmup_seen *seen)
{
    *seen = (struct store_warmup_seen){.exists = row->exists, .record = row->record, .next = row->next_at};
    if (row->exists)
        warmup_record_write(seen->text, &row->record);
}

void store_warmup_ask(struct store *store, struct store_request *r, const struct store_warmup_ask *ask,
                      struct store_warmup_view *view)
{
    struct row *rows[STORE_WARMUP_PARTS];
    nsec now = io_wall(store->io);
    uint64_t units = 0;
    for (unsigned i = 0; i < ask->part_count; i++) {
        rows[i] = row_of(store, ask->source, ask->parts[i].counter);
        take_in(rows[i], ask, &ask->parts[i].counts);
    }
    view->now = now;
    if (!ask->wanted)
        view->result = STORE_WARMUP_GRANTED;
    else if (now < ask->day.begins || now >= ask->day.ends)
        view->result = STORE_WARMUP_OUTSIDE;
    else
        view->result = may_grant(rows, ask, now, &units);
    view->granted = view->result == STORE_WARMUP_GRANTED ? units : 0;
    for (unsigned i = 0; i < ask->part_count; i++) {
        if (view->granted) {
            rows[i]->record.granted += units;
            rows[i]->record.active_day = rows[i]->record.day;
            rows[i]->next_at = now + (nsec)units * ask->parts[i].interval;
        }
        show(rows[i], &view->parts[i]);
    }
    answer_later(store, r);
}

/* ---- transitions ---- */

void store_warmup_swap(struct store *store, struct store_request *r, const struct store_warmup_swap *swap)
{
    struct row *row = row_of(store, swap->source, swap->counter);
    struct reply *reply = answer_later(store, r);
    if (row->exists)
        warmup_record_write(reply->text, &row->record);
    if (!slice_equal(slice_of(reply->text), swap->expected)) {
        reply->item = slice_of(reply->text);
        reply->answer.items = &reply->item;
        reply->answer.item_count = 1;
        return;
    }
    if (!row->exists || row->record.day != swap->record->day || row->record.stage != swap->record->stage ||
        row->record.state != swap->record->state)
        row->next_at = 0;
    row->exists = true;
    row->record = *swap->record;
    reply->answer.number = 1;
}

/* Nobody reads a forecast's operations. */
void store_warmup_tell(struct store *store, struct store_request *r, const struct store_warmup_swap *swap)
{
    (void)swap;
    answer_later(store, r);
}

size_t store_warmup_told(char to[STORE_WARMUP_TOLD], struct slice source, struct slice counter, struct slice engine,
                         const struct warmup_turned *turned)
{
    (void)source, (void)counter, (void)engine, (void)turned;
    to[0] = 0;
    return 0;
}

/* ---- the server ---- */

uint64_t store_epoch(const struct store *store)
{
    (void)store;
    return 1;
}

nsec store_alive_at(const struct store *store) { return io_now(store->io); }

bool store_connected(const struct store *store)
{
    (void)store;
    return true;
}

bool store_busy(const struct store *store)
{
    (void)store;
    return false;
}
