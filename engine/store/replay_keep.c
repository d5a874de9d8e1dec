/* Steps that may have to be asked again are kept as they were written; what they come to is kept with them. */
#include "store/replay_private.h"

#include <stdlib.h>

enum { CLASS_LEAST = 9 };

/* ---- memory ---- */

static size_t size_of(unsigned class) { return (size_t)1 << (class + CLASS_LEAST); }

/* What lies free of other sizes goes before more is asked of the machine than may be kept. */
static struct replay_bytes *bytes_make(struct replay *replay, size_t size)
{
    for (unsigned i = REPLAY_CLASSES; i-- > 0 && replay->held + size > REPLAY_BYTES;)
        for (struct replay_bytes *bytes; replay->held + size > REPLAY_BYTES && (bytes = replay->free[i]);) {
            replay->free[i] = bytes->next;
            replay->held -= size_of(i);
            free(bytes);
        }
    replay->held += size;
    return malloc(size);
}

static struct replay_bytes *bytes_take(struct replay *replay, size_t n)
{
    unsigned class = 0;
    while (size_of(class) < sizeof(struct replay_bytes) + n)
        class ++;
    sluice_assert(class < REPLAY_CLASSES);
    size_t size = size_of(class);
    struct replay_bytes *bytes = replay->free[class];
    if (bytes)
        replay->free[class] = bytes->next;
    else
        bytes = bytes_make(replay, size);
    sluice_assert(bytes);
    bytes->class = class;
    bytes->n = 0;
    bytes->args = 0;
    replay->bytes += size;
    return bytes;
}

static void bytes_give(struct replay *replay, struct replay_bytes *bytes)
{
    replay->bytes -= size_of(bytes->class);
    bytes->next = replay->free[bytes->class];
    replay->free[bytes->class] = bytes;
}

static void bytes_add(struct replay_bytes *bytes, const struct resp_command *command)
{
    memcpy(bytes->p + bytes->n, command->p, command->n);
    bytes->n += command->n;
    bytes->args += command->args;
}

struct replay_entry *replay_entry_take(struct replay_track *track, enum replay_step step, struct store_request *asker)
{
    struct store *store = track->store;
    struct replay *replay = store->replay;
    struct replay_entry *entry = replay->free_entries;
    if (entry)
        replay->free_entries = entry->next;
    else
        entry = malloc(sizeof *entry);
    sluice_assert(entry);
    *entry = (struct replay_entry){.state = STEP_NUMBERED, .track = track, .step = step, .asker = asker};
    entry->bytes = bytes_take(replay, store->command.n);
    bytes_add(entry->bytes, &store->command);
    return entry;
}

void replay_entry_give(struct replay *replay, struct replay_entry *entry)
{
    if (entry->bytes)
        bytes_give(replay, entry->bytes);
    entry->next = replay->free_entries;
    replay->free_entries = entry;
}

void replay_memory_free(struct replay *replay)
{
    for (unsigned i = 0; i < REPLAY_CLASSES; i++)
        for (struct replay_bytes *bytes = replay->free[i], *next; bytes; bytes = next) {
            next = bytes->next;
            free(bytes);
        }
    for (struct replay_entry *entry = replay->free_entries; entry;) {
        struct replay_entry *next = entry->next;
        free(entry);
        entry = next;
    }
}

/* ---- keeping ---- */

void replay_make_skip(struct replay_entry *entry)
{
    struct store *store = entry->track->store;
    if (entry->skip)
        return;
    entry->skip = true;
    bytes_give(store->replay, entry->bytes);
    step_begin(store, replay_is_take(entry) ? "skip_take" : "skip_work", slice_of(entry->track->campaign), 0);
    entry->bytes = bytes_take(store->replay, store->command.n);
    bytes_add(entry->bytes, &store->command);
}

/* If Redis forgets this lease, the same recipients are claimed: they follow its arguments. */
static void make_claim(struct replay_entry *entry, const struct resp_node *reply)
{
    struct replay *replay = entry->track->store->replay;
    const struct resp_node *items = resp_member(reply, 3), *item = items + 1;
    uint64_t first = resp_to_unsigned(resp_member(reply, 2));
    resp_begin(&replay->command);
    resp_unsigned(&replay->command, first);
    for (unsigned i = 0; i < items->count; i++, item += item->size)
        resp_text(&replay->command, resp_to_text(item));
    struct replay_bytes *bytes = bytes_take(replay, entry->bytes->n + replay->command.n);
    memcpy(bytes->p, entry->bytes->p, entry->bytes->n);
    bytes->n = entry->bytes->n;
    bytes->args = entry->bytes->args;
    bytes_add(bytes, &replay->command);
    bytes_give(replay, entry->bytes);
    entry->bytes = bytes;
    if (first + items->count > entry->track->upto)
        entry->track->upto = first + items->count;
}

void replay_keep(struct replay_entry *entry, const struct resp_node *reply)
{
    const struct resp_node *items = resp_member(reply, 3);
    bool ok = reply->type != RESP_ERROR && resp_to_number(resp_member(reply, 0)) == 1;
    if (!ok || (entry->step == REPLAY_LEASE && (!items || items->type != RESP_ARRAY || !items->count)))
        replay_make_skip(entry);
    else if (entry->step == REPLAY_LEASE && !entry->acked)
        make_claim(entry, reply);
}

static bool is_safe(const struct replay *replay, const struct replay_entry *entry, nsec alive_at)
{
    if (!entry->acked || entry->in_flight || !entry->acked_at)
        return false;
    return !replay->keeps || alive_at >= entry->acked_at + replay->keeps;
}

void replay_settle(struct replay_track *track)
{
    struct replay *replay = track->store->replay;
    nsec alive_at = link_alive_at_of(track->store->link, track->slot);
    for (struct replay_entry **at = &track->log; *at;) {
        struct replay_entry *entry = *at;
        if (is_safe(replay, entry, alive_at)) {
            *(replay_is_take(entry) ? &track->settled_take : &track->settled_work) = entry->number;
            replay_entry_give(replay, replay_unlink(at, &track->log_end));
        } else if (replay_is_take(entry) && !entry->acked)
            at = &entry->next;
        else
            break;
    }
}
