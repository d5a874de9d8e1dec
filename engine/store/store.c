/* The store itself, and the steps that are not on a lease: finding campaigns, their phases, engines, sources, and what
 * the command line asks. */
#include "store/store.h"

#include "proto/event.h"
#include "steps.h"
#include "store/replay.h"
#include "store/step.h"

#include <stdio.h>
#include <stdlib.h>

enum { BACKLOG_BYTES = 4 * 1024 * 1024 };

/* ---- the store ---- */

static void on_answer(void *context, void *owner, const struct resp_node *reply, bool repeated)
{
    if (*(const uint8_t *)owner == STEP_NUMBERED)
        replay_answered(context, owner, reply, repeated);
    else
        step_answered(context, owner, reply, repeated);
}

static void on_message(void *context, struct slice campaign)
{
    struct store *store = context;
    store->woken(store->woken_context, campaign);
}

/* Ids are parts of keys and of space-separated entries. */
static bool is_plain(const char *text, size_t max)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-");
    return n > 0 && n <= max && !text[n];
}

struct store *store_open(struct io *io, struct resolver *resolver, const struct store_config *config, char *error,
                         size_t error_cap)
{
    struct url url;
    if (!url_parse(&url, config->url, error, error_cap))
        return NULL;
    if (!is_plain(config->prefix, STORE_PREFIX_MAX)) {
        snprintf(error, error_cap, "the prefix must be 1 to %d of A-Z a-z 0-9 . _ : -", STORE_PREFIX_MAX);
        return NULL;
    }
    if (!is_plain(config->engine, STORE_ENGINE_MAX) || strcmp(config->engine, "-") == 0) {
        snprintf(error, error_cap, "the engine's id must be 1 to %d of A-Z a-z 0-9 . _ : -, and not - alone",
                 STORE_ENGINE_MAX);
        return NULL;
    }
    struct store *store = calloc(1, sizeof *store);
    sluice_assert(store);
    store->io = io;
    store->backlog_bytes = config->backlog_bytes ? config->backlog_bytes : BACKLOG_BYTES;
    snprintf(store->prefix, sizeof store->prefix, "%s", config->prefix);
    snprintf(store->engine, sizeof store->engine, "%s", config->engine);
    snprintf(store->incarnation, sizeof store->incarnation, "%llu", (unsigned long long)config->incarnation);
    snprintf(store->hand, sizeof store->hand, "%016llx", (unsigned long long)io_random(io));
    const struct link_config to = {.redis = {.url = url,
                                             .resolver = resolver,
                                             .library = steps_library,
                                             .library_source = steps_source,
                                             .answer = on_answer,
                                             .message = on_message,
                                             .context = store},
                                   .access = config->access};
    store->link = link_open(io, &to, error, error_cap);
    if (!store->link) {
        free(store);
        return NULL;
    }
    store->replay = replay_open(store, config->keeps, config->settle, config->alone);
    return store;
}

void store_close(struct store *store)
{
    link_close(store->link);
    replay_close(store->replay);
    resp_command_free(&store->command);
    free(store->items);
    free(store->scanned);
    free(store->counts);
    free(store);
}

void store_flush(struct store *store)
{
    replay_turn(store);
    link_flush(store->link);
}

void store_on_lost(struct store *store, void (*lost)(void *context, struct slice campaign), void *context)
{
    store->lost = lost;
    store->lost_context = context;
}

bool store_connected(const struct store *store) { return link_connected(store->link); }
const char *store_trouble(const struct store *store) { return link_trouble(store->link); }

bool store_busy(const struct store *store)
{
    return !link_connected(store->link) || link_unanswered(store->link) >= store->backlog_bytes ||
           replay_bytes(store->replay) >= REPLAY_BYTES;
}

/* ---- discovery ---- */

/* Campaigns on their way out stand in a second set of the same slot, so that no death in between loses one: see
 * store_finish. */
static void ending_key(struct store *store)
{
    const struct slice parts[] = {SLICE("{"), slice_of(store->prefix), SLICE(":campaigns}:ending")};
    step_joined_key(store, parts, countof(parts));
}

void store_campaigns(struct store *store, struct store_request *r)
{
    step_begin_command(store, "SUNION");
    step_global_key(store, "campaigns", SLICE(""));
    ending_key(store);
    step_ask(store, r, step_read_command, 0);
}

void store_on_wake(struct store *store, void (*woken)(void *context, struct slice campaign), void *context)
{
    snprintf(store->channel, sizeof store->channel, "%s:wake", store->prefix);
    store->woken = woken;
    store->woken_context = context;
    link_subscribe(store->link, store->channel);
}

static void read_totals(const struct resp_node *totals, struct store_view *view)
{
    for (unsigned i = 0; totals && i + 1 < totals->count; i += 2) {
        enum event_type type = event_type_parse(resp_to_text(resp_member(totals, i)));
        if (type != EVENT_BROKEN)
            view->totals[type] = resp_to_unsigned(resp_member(totals, i + 1));
    }
}

static void read_orphans(const struct resp_node *orphans, struct store_view *view)
{
    for (unsigned i = 0; orphans && i + 2 < orphans->count && view->orphan_count < countof(view->orphans); i += 3) {
        unsigned n = view->orphan_count++;
        slice_copy(view->orphans[n], sizeof view->orphans[n], resp_to_text(resp_member(orphans, i)));
        slice_copy(view->orphan_owner[n], sizeof view->orphan_owner[n], resp_to_text(resp_member(orphans, i + 1)));
        view->orphan_incarnation[n] = resp_to_unsigned(resp_member(orphans, i + 2));
    }
}

static void read_owners(const struct resp_node *owners, struct store_view *view)
{
    for (unsigned i = 0; owners && i + 1 < owners->count && view->owner_count < countof(view->owners); i += 2) {
        struct store_owner *owner = &view->owners[view->owner_count++];
        slice_copy(owner->engine, sizeof owner->engine, resp_to_text(resp_member(owners, i)));
        owner->incarnation = resp_to_unsigned(resp_member(owners, i + 1));
    }
}

static void read_parked(const struct resp_node *lists, struct store_view *view)
{
    for (unsigned i = 0; lists && i + 1 < lists->count && view->parked_count < countof(view->parked_lists); i += 2) {
        struct store_parked *list = &view->parked_lists[view->parked_count++];
        slice_copy(list->isp, sizeof list->isp, resp_to_text(resp_member(lists, i)));
        list->records = resp_to_unsigned(resp_member(lists, i + 1));
    }
}

static void read_look(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    enum { TAKEN = 2, PUSHED, PARKED, RETRY, HELD, LEASES, DUE, PHASE, REASON, TOTALS, ORPHANS, LISTS, EVENTS, HASH, OWNERS };
    struct store_answer answer;
    struct store_view *view = r->view;
    (void)repeated;
    *view = (struct store_view){0};
    if (step_head(reply, &answer)) {
        view->taken = resp_to_unsigned(resp_member(reply, TAKEN));
        view->pushed = resp_to_unsigned(resp_member(reply, PUSHED));
        view->parked = resp_to_unsigned(resp_member(reply, PARKED));
        view->retry = resp_to_unsigned(resp_member(reply, RETRY));
        view->held = resp_to_unsigned(resp_member(reply, HELD));
        view->leases = resp_to_unsigned(resp_member(reply, LEASES));
        view->retry_due_ms = resp_to_number(resp_member(reply, DUE));
        view->events = resp_to_unsigned(resp_member(reply, EVENTS));
        slice_copy(view->phase, sizeof view->phase, resp_to_text(resp_member(reply, PHASE)));
        slice_copy(view->reason, sizeof view->reason, resp_to_text(resp_member(reply, REASON)));
        read_totals(resp_member(reply, TOTALS), view);
        read_orphans(resp_member(reply, ORPHANS), view);
        read_parked(resp_member(reply, LISTS), view);
        read_owners(resp_member(reply, OWNERS), view);
        step_items_of(store, resp_member(reply, HASH));
        view->exists = store->item_count > 0;
    }
    step_done(store, r, &answer);
}

void store_look_after(struct store *store, struct store_request *r, struct slice campaign, struct store_view *view,
                      const struct store_owner *dead, unsigned dead_count)
{
    r->view = view;
    step_begin(store, "look", campaign, 0);
    step_text(store, store->engine);
    step_text(store, store->incarnation);
    resp_unsigned(&store->command, io_random(store->io) >> 32);
    for (unsigned i = 0; i < dead_count; i++) {
        step_text(store, dead[i].engine);
        resp_unsigned(&store->command, dead[i].incarnation);
    }
    step_ask(store, r, read_look, 0);
}

void store_look(struct store *store, struct store_request *r, struct slice campaign, struct store_view *view)
{
    store_look_after(store, r, campaign, view, NULL, 0);
}

void store_trim_events(struct store *store, struct store_request *r, struct slice campaign, uint64_t most, nsec bite)
{
    step_begin(store, "trim_events", campaign, 0);
    resp_unsigned(&store->command, most);
    resp_number(&store->command, bite / NSEC_PER_MS);
    step_ask(store, r, step_read_plain, 0);
}

/* ---- the campaign's phase ---- */

static void remember(struct store_request *r, struct slice campaign, const char *phase)
{
    sluice_assert(campaign.n <= LIMIT_CAMPAIGN_ID && strlen(phase) < sizeof r->phase);
    slice_copy(r->campaign, sizeof r->campaign, campaign);
    snprintf(r->phase, sizeof r->phase, "%s", phase);
}

static int64_t wall_ms(struct store *store) { return io_wall(store->io) / NSEC_PER_MS; }

/* Tells whoever follows sluice:ops. It comes before the mark that says it was told: dying between the two tells it
 * twice, never not at all. */
static void ask_ops(struct store *store, struct store_request *r, const char *what,
                    void (*read)(struct store *, struct store_request *, const struct resp_node *, bool))
{
    step_begin_ops(store);
    step_text(store, "campaign");
    step_text(store, r->campaign);
    step_text(store, "phase");
    step_text(store, what);
    step_text(store, "engine");
    step_text(store, store->engine);
    step_ask(store, r, read, 0);
    link_flush(store->link);
}

/* The last command of a step that took several. */
static void read_last(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer = {.result = STORE_OK, .state = r->campaign_state, .number = r->number};
    (void)reply;
    (void)repeated;
    step_done(store, r, &answer);
}

static void read_started(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    (void)reply;
    (void)repeated;
    step_begin_command(store, "HSETNX");
    step_key(store, slice_of(r->campaign), "status", SLICE(""));
    step_text(store, "started_at");
    resp_number(&store->command, wall_ms(store));
    step_ask(store, r, read_last, 0);
    link_flush(store->link);
}

static void read_phase(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer;
    (void)repeated;
    if (!step_head(reply, &answer) || resp_to_number(resp_member(reply, 2)) != 1) {
        step_done(store, r, &answer);
        return;
    }
    r->campaign_state = (uint8_t)answer.state;
    r->number = 0;
    ask_ops(store, r, "sending", read_started);
}

void store_phase(struct store *store, struct store_request *r, struct slice campaign, const char *phase,
                 struct slice reason)
{
    remember(r, campaign, phase);
    step_begin(store, "phase", campaign, 0);
    step_text(store, phase);
    resp_text(&store->command, reason);
    step_ask(store, r, read_phase, 0);
}

/* Ending a campaign takes commands on different slots. It is moved to the set of those that are ending, looked at once
 * more, put back if there is work, and only then taken out: whichever of these is the last that happens, the campaign
 * stands in one of the sets that engines look at, unless nothing is owed. A producer pushes before it adds the id. */
static void ask_set(struct store *store, struct store_request *r, const char *command, bool from_ending,
                    void (*read)(struct store *, struct store_request *, const struct resp_node *, bool))
{
    step_begin_command(store, command);
    if (!from_ending)
        step_global_key(store, "campaigns", SLICE(""));
    if (from_ending || strcmp(command, "SMOVE") == 0)
        ending_key(store);
    step_text(store, r->campaign);
    step_ask(store, r, read, 0);
    link_flush(store->link);
}

static void read_put_back(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    (void)reply;
    (void)repeated;
    ask_set(store, r, "SREM", true, read_last);
}

static void read_again(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer;
    if (!step_head(reply, &answer)) {
        step_done(store, r, &answer);
        return;
    }
    r->campaign_state = (uint8_t)answer.state;
    if (resp_to_number(resp_member(reply, 2)) != 1) {
        read_put_back(store, r, reply, repeated);
        return;
    }
    r->number = 0; /* it has work, so it has not ended */
    ask_set(store, r, "SADD", false, read_put_back);
}

static void read_moved(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    (void)reply;
    (void)repeated;
    step_begin(store, "again", slice_of(r->campaign), 0);
    step_ask(store, r, read_again, 0);
    link_flush(store->link);
}

static void read_finish_told(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    (void)reply;
    (void)repeated;
    ask_set(store, r, "SMOVE", false, read_moved);
}

static void read_finish(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer;
    (void)repeated;
    if (step_head(reply, &answer))
        answer.number = resp_to_number(resp_member(reply, 2));
    if (answer.number != 1) {
        step_done(store, r, &answer);
        return;
    }
    r->number = 1;
    ask_ops(store, r, r->phase, read_finish_told);
}

void store_finish(struct store *store, struct store_request *r, struct slice campaign, const char *phase,
                  uint64_t keep_s)
{
    remember(r, campaign, phase);
    step_begin(store, "finish", campaign, 0);
    step_text(store, phase);
    resp_unsigned(&store->command, keep_s);
    resp_number(&store->command, wall_ms(store));
    step_ask(store, r, read_finish, 0);
}

/* ---- engine and sources ---- */

static int64_t life_ms(nsec life) { return life < NSEC_PER_MS ? 1 : life / NSEC_PER_MS; }

static void read_hold(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer = {.result = STORE_OK, .number = resp_to_number(resp_member(reply, 0))};
    (void)repeated;
    step_item(store, resp_to_text(resp_member(reply, 1)));
    step_done(store, r, &answer);
}

void store_heartbeat(struct store *store, struct store_request *r, uint64_t previous, nsec life)
{
    step_begin_single(store, "beat", "engine:", slice_of(store->engine));
    step_text(store, store->incarnation);
    resp_unsigned(&store->command, previous);
    resp_number(&store->command, life_ms(life));
    step_ask(store, r, read_hold, 0);
}

void store_heartbeat_end(struct store *store, struct store_request *r)
{
    step_begin_single(store, "let_go", "engine:", slice_of(store->engine));
    step_text(store, store->incarnation);
    step_ask(store, r, read_hold, 0);
}

static void read_engine(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer = {.result = STORE_OK, .number = (int64_t)resp_to_unsigned(reply)};
    (void)repeated;
    step_done(store, r, &answer);
}

void store_engine(struct store *store, struct store_request *r, struct slice engine)
{
    step_begin_command(store, "GET");
    step_global_key(store, "engine:", engine);
    step_ask(store, r, read_engine, 0);
}

void store_source_hold(struct store *store, struct store_request *r, struct slice source, nsec life)
{
    step_begin_single(store, "hold", "source:", source);
    step_text(store, store->engine);
    resp_number(&store->command, life_ms(life));
    step_ask(store, r, read_hold, 0);
}

void store_source_release(struct store *store, struct store_request *r, struct slice source)
{
    step_begin_single(store, "let_go", "source:", source);
    step_text(store, store->engine);
    step_ask(store, r, read_hold, 0);
}

static void field_values(struct store *store, const struct slice *fields, unsigned count)
{
    sluice_assert(count > 0 && count % 2 == 0);
    for (unsigned i = 0; i < count; i++)
        resp_text(&store->command, fields[i]);
}

void store_ops(struct store *store, struct store_request *r, const struct slice *fields, unsigned count)
{
    step_begin_ops(store);
    field_values(store, fields, count);
    step_ask(store, r, step_read_command, 0);
}
