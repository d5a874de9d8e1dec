/* What the command line asks of the store: to write campaigns, to push recipients, to read events. */
#include "store/step.h"

#include <stdio.h>
#include <stdlib.h>

enum { EVENTS_WAIT_MAX_MS = 20 * 1000, SCAN_COUNT = 1000 };

void store_create(struct store *store, struct store_request *r, struct slice campaign, const struct slice *field_values,
                  unsigned count)
{
    sluice_assert(count > 0 && count % 2 == 0);
    step_begin_command(store, "HSET");
    step_key(store, campaign, "campaign", SLICE(""));
    for (unsigned i = 0; i < count; i++)
        resp_text(&store->command, field_values[i]);
    step_ask(store, r, step_read_command, 0);
}

void store_push(struct store *store, struct store_request *r, struct slice campaign, const struct slice *entries,
                unsigned count)
{
    step_begin_command(store, "RPUSH");
    step_key(store, campaign, "recipients", SLICE(""));
    for (unsigned i = 0; i < count; i++)
        resp_text(&store->command, entries[i]);
    step_ask(store, r, step_read_command, REDIS_ONCE);
}

static void read_added(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    (void)reply;
    (void)repeated;
    step_begin_command(store, "PUBLISH");
    step_global_key(store, "wake", SLICE(""));
    step_text(store, r->campaign);
    step_ask(store, r, step_read_command, 0);
    link_flush(store->link);
}

void store_wake(struct store *store, struct store_request *r)
{
    step_begin_command(store, "PUBLISH");
    step_global_key(store, "wake", SLICE(""));
    step_text(store, "");
    step_ask(store, r, step_read_command, 0);
}

void store_start(struct store *store, struct store_request *r, struct slice campaign)
{
    slice_copy(r->campaign, sizeof r->campaign, campaign);
    step_begin_command(store, "SADD");
    step_global_key(store, "campaigns", SLICE(""));
    resp_text(&store->command, campaign);
    step_ask(store, r, read_added, 0);
}

/* Entries: [[id, [field, value, ...]], ...]. */
void step_done_events(struct store *store, struct store_request *r, const struct resp_node *entries)
{
    struct store_answer answer = {.result = STORE_OK};
    unsigned count = entries && entries->type == RESP_ARRAY ? entries->count : 0;
    if (store->counts_cap < count) {
        store->counts_cap = count;
        store->counts = realloc(store->counts, count * sizeof *store->counts);
        sluice_assert(store->counts);
    }
    const struct resp_node *entry = entries + 1;
    for (unsigned i = 0; i < count; i++, entry += entry->size) {
        const struct resp_node *fields = resp_member(entry, 1);
        unsigned pairs = fields && fields->type == RESP_ARRAY ? fields->count / 2 : 0;
        int n = snprintf(store->counts[i], sizeof store->counts[i], "%u", pairs % 1000000);
        step_item(store, resp_to_text(resp_member(entry, 0)));
        step_item(store, (struct slice){store->counts[i], (size_t)n});
        step_items_of(store, fields);
    }
    answer.number = count;
    step_done(store, r, &answer);
}

/* One stream: [[key, entries]], or nil when the wait was over. */
static void read_events(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    (void)repeated;
    step_done_events(store, r, resp_member(resp_member(reply, 0), 1));
}

void store_events(struct store *store, struct store_request *r, struct slice campaign, struct slice after,
                  unsigned most, nsec wait)
{
    int64_t wait_ms = nsec_min(wait / NSEC_PER_MS, EVENTS_WAIT_MAX_MS);
    step_begin_command(store, "XREAD");
    step_text(store, "COUNT");
    resp_unsigned(&store->command, most);
    if (wait_ms > 0) {
        step_text(store, "BLOCK");
        resp_number(&store->command, wait_ms);
    }
    step_text(store, "STREAMS");
    step_key(store, campaign, "events", SLICE(""));
    resp_text(&store->command, after);
    step_ask(store, r, read_events, 0);
}

/* ---- which campaigns there are ---- */

static bool was_scanned(const struct store *store, struct slice id)
{
    for (size_t at = 0; at < store->scanned_n; at += strlen(store->scanned + at) + 1)
        if (slice_equal(slice_of(store->scanned + at), id))
            return true;
    return false;
}

/* A key "prefix:{id}:campaign" becomes its id. A scan may find a key twice. */
static void scanned(struct store *store, struct slice key)
{
    size_t before = strlen(store->prefix) + 2, behind = sizeof "}:campaign" - 1;
    if (key.n <= before + behind || key.n - before - behind > LIMIT_CAMPAIGN_ID)
        return;
    struct slice id = {key.p + before, key.n - before - behind};
    if (memchr(id.p, 0, id.n) || was_scanned(store, id))
        return;
    if (store->scanned_cap - store->scanned_n < id.n + 1) {
        store->scanned_cap = 2 * store->scanned_cap + LIMIT_CAMPAIGN_ID + 1;
        store->scanned = realloc(store->scanned, store->scanned_cap);
        sluice_assert(store->scanned);
    }
    slice_copy(store->scanned + store->scanned_n, id.n + 1, id);
    store->scanned_n += id.n + 1;
}

static void read_scan(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated);

static void ask_scan(struct store *store, struct store_request *r, struct slice cursor)
{
    const struct slice pattern[] = {slice_of(store->prefix), SLICE(":{*}:campaign")};
    step_begin_command(store, "SCAN");
    resp_text(&store->command, cursor);
    step_text(store, "MATCH");
    resp_joined(&store->command, pattern, countof(pattern));
    step_text(store, "COUNT");
    resp_unsigned(&store->command, SCAN_COUNT);
    step_ask_server(store, r, (unsigned)r->number, read_scan);
}

static void read_scan(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct slice cursor = resp_to_text(resp_member(reply, 0));
    const struct resp_node *keys = resp_member(reply, 1);
    struct store_answer answer = {.result = STORE_OK};
    (void)repeated;
    for (unsigned i = 0; keys && i < keys->count; i++)
        scanned(store, resp_to_text(resp_member(keys, i)));
    bool more = cursor.n && !slice_equal(cursor, SLICE("0"));
    if (!more)
        r->number++;
    if (more || r->number < link_servers(store->link)) {
        ask_scan(store, r, more ? cursor : SLICE("0"));
        link_flush(store->link);
        return;
    }
    for (size_t at = 0; at < store->scanned_n; at += strlen(store->scanned + at) + 1)
        step_item(store, slice_of(store->scanned + at));
    answer.number = store->item_count;
    step_done(store, r, &answer);
}

void store_all_campaigns(struct store *store, struct store_request *r)
{
    store->scanned_n = 0;
    r->number = 0; /* the server that is being asked */
    ask_scan(store, r, SLICE("0"));
}

static void read_entries(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer;
    (void)repeated;
    if (step_head(reply, &answer)) {
        answer.number = resp_to_number(resp_member(reply, 2));
        step_items_of(store, resp_member(reply, 3));
    }
    step_done(store, r, &answer);
}

void store_entries(struct store *store, struct store_request *r, struct slice campaign, uint64_t first, unsigned most)
{
    step_begin(store, "entries", campaign, 0);
    resp_unsigned(&store->command, first);
    resp_unsigned(&store->command, most);
    resp_unsigned(&store->command, LIMIT_RECIPIENT);
    step_ask(store, r, read_entries, 0);
}
