/* Every step is written and answered in the same way; here is that way, so that store.c and lease.c hold nothing but
 * what is particular to each. */
#include "store/step.h"

#include "steps.h"
#include "store/replay.h"

#include <stdlib.h>

enum { OPS_MAX = 100000 };

/* The keys of a campaign in the order that steps.lua knows. */
static const char *const campaign_keys[] = {"campaign", "status", "recipients", "leases", "parked",
                                            "retry",    "held",   "events",     "totals", "unique", "steps"};

/* ---- writing ---- */

void step_text(struct store *store, const char *text) { resp_text(&store->command, slice_of(text)); }

/* Nothing that is asked may touch two slots: no server of a cluster could do it. */
static void in_slot(struct store *store, unsigned slot)
{
    sluice_assert(store->slot == SLOT_NONE || store->slot == slot);
    store->slot = slot;
}

void step_joined_key(struct store *store, const struct slice *parts, unsigned count)
{
    size_t n = 0;
    for (unsigned i = 0; i < count; i++)
        n += parts[i].n;
    resp_joined(&store->command, parts, count);
    in_slot(store, slot_of((struct slice){store->command.p + store->command.n - 2 - n, n})); /* before its \r\n */
}

void step_global_key(struct store *store, const char *name, struct slice tail)
{
    const struct slice parts[] = {slice_of(store->prefix), SLICE(":"), slice_of(name), tail};
    step_joined_key(store, parts, countof(parts));
}

void step_key(struct store *store, struct slice campaign, const char *name, struct slice tail)
{
    const struct slice parts[] = {slice_of(store->prefix), SLICE(":{"), campaign, SLICE("}:"), slice_of(name), tail};
    resp_joined(&store->command, parts, countof(parts));
    if (!slice_equal(campaign, slice_of(store->slot_campaign))) {
        slice_copy(store->slot_campaign, sizeof store->slot_campaign, campaign);
        store->campaign_slot = slot_of(campaign);
    }
    in_slot(store, store->campaign_slot);
}

void step_begin_function(struct store *store, const char *function, unsigned keys)
{
    const struct slice name[] = {SLICE(steps_library), SLICE("_"), slice_of(function)};
    step_begin_command(store, "FCALL");
    resp_joined(&store->command, name, countof(name));
    resp_unsigned(&store->command, keys);
}

void step_begin(struct store *store, const char *function, struct slice campaign, unsigned more_keys)
{
    sluice_assert(campaign.n > 0 && campaign.n <= LIMIT_CAMPAIGN_ID);
    step_begin_function(store, function, countof(campaign_keys) + more_keys);
    for (unsigned i = 0; i < countof(campaign_keys); i++)
        step_key(store, campaign, campaign_keys[i], SLICE(""));
}

void step_begin_lease(struct store *store, const char *function, struct slice campaign, struct slice lease,
                      unsigned more_keys)
{
    sluice_assert(lease.n > 0 && lease.n <= LIMIT_LEASE_ID);
    step_begin(store, function, campaign, 2 + more_keys);
    step_key(store, campaign, "ledger:", lease);
    step_key(store, campaign, "batch:", lease);
}

void step_fence(struct store *store, struct slice lease)
{
    resp_text(&store->command, lease);
    step_text(store, store->engine);
    step_text(store, store->incarnation);
    step_text(store, store->hand);
}

void step_begin_single(struct store *store, const char *function, const char *key, struct slice tail)
{
    step_begin_function(store, function, 1);
    step_global_key(store, key, tail);
}

void step_begin_command(struct store *store, const char *name)
{
    resp_begin(&store->command);
    store->slot = SLOT_NONE;
    step_text(store, name);
}

void step_begin_ops(struct store *store)
{
    step_begin_command(store, "XADD");
    step_global_key(store, "ops", SLICE(""));
    step_text(store, "MAXLEN");
    step_text(store, "~");
    resp_unsigned(&store->command, OPS_MAX);
    step_text(store, "*");
}

void step_ask(struct store *store, struct store_request *r,
              void (*read)(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated),
              unsigned flags)
{
    r->state = STEP_ASKED;
    r->read = read;
    link_ask(store->link, store->slot, &store->command, r, flags);
}

void step_ask_server(struct store *store, struct store_request *r, unsigned server,
                     void (*read)(struct store *store, struct store_request *r, const struct resp_node *reply,
                                  bool repeated))
{
    r->state = STEP_ASKED;
    r->read = read;
    link_ask_server(store->link, server, &store->command, r, 0);
}

void step_ask_numbered(struct store *store, struct store_request *r,
                       void (*read)(struct store *store, struct store_request *r, const struct resp_node *reply,
                                    bool repeated),
                       struct slice campaign, enum replay_step step)
{
    r->state = STEP_ASKED;
    r->read = read;
    replay_ask(store, r, campaign, step);
}

void step_send_numbered(struct store *store, void *owner, unsigned slot)
{
    sluice_assert(*(const uint8_t *)owner == STEP_NUMBERED);
    link_ask(store->link, slot, &store->command, owner, REDIS_OWED);
}

/* ---- answering ---- */

void step_answered(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer = {.result = STORE_REFUSED};
    step_items_clear(store);
    if (reply && reply->type != RESP_ERROR) {
        r->read(store, r, reply, repeated);
        return;
    }
    answer.error = reply ? reply->text : SLICE("the connection broke before the answer: it may have happened or not");
    step_done(store, r, &answer);
}

static enum store_state state_of(struct slice text)
{
    if (text.n == 0 || slice_equal(text, SLICE("running")))
        return STORE_RUNNING;
    /* What nobody knows is taken for a pause, here and in steps.lua: hardly anyone mistypes because more should go. */
    return slice_equal(text, SLICE("cancelled")) ? STORE_CANCELLED : STORE_PAUSED;
}

bool step_head(const struct resp_node *reply, struct store_answer *answer)
{
    const struct resp_node *code = resp_member(reply, 0);
    if (!code || code->type != RESP_NUMBER) {
        *answer = (struct store_answer){.result = STORE_REFUSED, .error = SLICE("Redis answered something unexpected")};
        return false;
    }
    *answer = (struct store_answer){.result = code->number == 1 ? STORE_OK : STORE_FENCED,
                                    .state = state_of(resp_to_text(resp_member(reply, 1)))};
    return answer->result == STORE_OK;
}

bool step_gone(const struct resp_node *reply) { return resp_to_number(resp_member(reply, 0)) == -1; }

void step_items_clear(struct store *store) { store->item_count = 0; }

void step_item(struct store *store, struct slice item)
{
    if (store->item_count == store->items_cap) {
        store->items_cap = store->items_cap ? 2 * store->items_cap : 1024;
        store->items = realloc(store->items, store->items_cap * sizeof *store->items);
        sluice_assert(store->items);
    }
    store->items[store->item_count++] = item;
}

void step_items_of(struct store *store, const struct resp_node *array)
{
    if (!array || array->type != RESP_ARRAY)
        return;
    const struct resp_node *node = array + 1;
    for (unsigned i = 0; i < array->count; i++, node += node->size)
        if (node->type != RESP_ARRAY)
            step_item(store, resp_to_text(node));
}

void step_done(struct store *store, struct store_request *r, struct store_answer *answer)
{
    answer->items = store->items;
    answer->item_count = store->item_count;
    store->item_count = 0;
    r->state = STEP_IDLE;
    r->done(r, answer);
}

void step_read_plain(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer;
    (void)repeated;
    if (step_head(reply, &answer))
        answer.number = resp_to_number(resp_member(reply, 2));
    step_done(store, r, &answer);
}

void step_read_command(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer = {.result = STORE_OK, .number = resp_to_number(reply)};
    (void)repeated;
    if (reply->type == RESP_ARRAY)
        step_items_of(store, reply);
    else if (reply->type == RESP_STRING)
        step_item(store, reply->text);
    step_done(store, r, &answer);
}
