/* Which campaigns there are, and whose turn it is to be leased from. What a lease brings is read in lease.c. */
#include "flow/intake.h"

#include "flow/lease.h"
#include "flow/portion.h"
#include "flow/turns.h"
#include "io/table.h"

#include <stdio.h>

enum {
    CAMPAIGNS = 1024,
    LOW_WATER = PORTION_LOW_WATER,
    RECORDS_MOST = 500, /* of one lease from a parked list or the retry set */
    LISTS_A_TURN = 8,   /* parked lists that are considered in one turn of a campaign */
    HIGH_OFTEN = 4,
    LEASE_MEMORY = 64 << 20,
    LEASE_MOST = 4 << 20, /* of one: LIMIT_LEASE_BYTES rounded up, and what its entries decode to */
};

static const nsec look_every = 500 * NSEC_PER_MS;
/* Those of priority high are looked at so much more often that what is pushed without a word is under way within 100 ms,
 * as long as they are few: all together cost a shard no more looks than HIGH_OFTEN of them at that pace. */
static const nsec look_at_high_every = 50 * NSEC_PER_MS;
/* Of events, at each look: far more than can have come since the last, and not so many that Redis stands still. */
static const nsec trim_bite = 10 * NSEC_PER_S;
/* When most of a range had to be parked the campaign's next range waits; when most from a bucket had to be, the next
 * from that bucket, longer each time. */
static const nsec rest = 100 * NSEC_PER_MS, rest_least = NSEC_PER_S, rest_most = 8 * NSEC_PER_S;

unsigned intake_attempts(const struct intake *intake) { return pool_in_use(&intake->attempt_pool); }

/* ---- campaigns ---- */

static struct campaign *campaign_find(struct intake *intake, struct slice id)
{
    for (struct campaign *campaign = intake->campaigns; campaign; campaign = campaign->next)
        if (slice_equal(slice_of(campaign->id), id))
            return campaign;
    return NULL;
}

/* ---- events that nobody reads ---- */

static void trimmed(struct store_request *request, const struct store_answer *answer)
{
    struct campaign *campaign = container_of(request, struct campaign, trim);
    campaign->unread = answer->result != STORE_OK || (uint64_t)answer->number >= campaign->intake->config->events_max;
}

/* Each shard asks for itself: what one has trimmed the others find gone. Until the answer nothing is leased. */
static void trim(struct intake *intake, struct campaign *campaign)
{
    if (campaign->view.events < intake->config->events_max)
        campaign->unread = false;
    else if (!store_request_busy(&campaign->trim))
        store_trim_events(intake->store, &campaign->trim, slice_of(campaign->id), intake->config->events_max,
                          trim_bite);
}

/* ---- what a look brings ---- */

/* ---- parked lists ---- */

enum { BUCKETS = 256 };

enum { DEALT = 1024, LISTS_OF_POOL = CONFIG_ISPS_MAX + BUCKETS + DEALT };

/* A configured ISP's list has its name; those of all others share the buckets "~000" to "~255". */
static uint16_t list_index(const struct config *config, struct slice name)
{
    unsigned isp = 0;
    if (memchr(name.p, '@', name.n)) /* of a source that is waited for; two that meet here rest together */
        return (uint16_t)(CONFIG_ISPS_MAX + BUCKETS + table_hash(name) % DEALT);
    while (isp < config->isp_count && !slice_equal(slice_of(config->isps[isp].name), name))
        isp++;
    if (isp < config->isp_count && !config->isps[isp].removed)
        return (uint16_t)isp;
    unsigned bucket = 0; /* also of an ISP that is not configured any more */
    for (size_t i = 1; i < name.n && name.n == 4 && name.p[0] == '~'; i++)
        bucket = bucket * 10 + (unsigned)(name.p[i] - '0');
    return (uint16_t)(CONFIG_ISPS_MAX + bucket % BUCKETS);
}

uint32_t intake_list_of(const struct campaign *campaign, unsigned n)
{
    sluice_assert(campaign->pool >= 0 && n < campaign->view.parked_count);
    return (uint32_t)campaign->pool * LISTS_OF_POOL + campaign->parked_index[n];
}

static bool is_bucket(int list) { return (unsigned)list % LISTS_OF_POOL >= CONFIG_ISPS_MAX; }

/* What was lost to us because Redis refused a step is taken over anew, with all that its ledger says. */
static void give_back_refused(struct intake *intake, const struct campaign *campaign)
{
    for (struct lease *lease = intake->leases, *next; lease; lease = next) {
        next = lease->next;
        if (lease->campaign == campaign && lease->refused)
            lease_give_back(intake, lease);
    }
}

static void campaign_looked(struct store_request *request, const struct store_answer *answer)
{
    struct campaign *campaign = container_of(request, struct campaign, look);
    struct intake *intake = campaign->intake;
    if (answer->result == STORE_OK) {
        campaign->seen_at = io_now(intake->io);
        for (unsigned i = 0; i < campaign->view.parked_count; i++)
            campaign->parked_index[i] = list_index(intake->config, slice_of(campaign->view.parked_lists[i].isp));
        campaign_update(campaign, intake->config, &intake->editions, answer->items, answer->item_count);
        give_back_refused(intake, campaign);
        neighbours_named(intake->neighbours, campaign->view.owners, campaign->view.owner_count);
        trim(intake, campaign);
    } else {
        campaign_refused(campaign, answer->error);
    }
    campaign_clock(campaign, io_wall(intake->io) / NSEC_PER_MS);
    intake_state(intake, campaign, answer->state);
    portion_looked(intake, campaign);
    intake->on->looked(intake->context, campaign);
}

static void look(struct intake *intake, struct campaign *campaign)
{
    campaign->look_again = false;
    campaign->looked_at = io_now(intake->io);
    const struct neighbours *neighbours = intake->neighbours;
    store_look_after(intake->store, &campaign->look, slice_of(campaign->id), &campaign->view, neighbours->dead,
                     neighbours->dead_count);
}

static void campaign_make(struct intake *intake, struct slice id)
{
    struct campaign *campaign = pool_take(&intake->campaign_pool);
    if (!campaign)
        return; /* more than 1,024 at once: it waits in sluice:campaigns until another is done */
    memset(campaign, 0, sizeof *campaign);
    campaign->intake = intake;
    campaign->number = ++intake->campaign_number;
    campaign->weight = TURNS_WEIGHT;
    campaign->look.done = campaign_looked;
    campaign->step.done = lease_stepped;
    campaign->trim.done = trimmed;
    campaign->pool = campaign->ran_in = -1;
    campaign->listed = true;
    slice_copy(campaign->id, sizeof campaign->id, id);
    campaign->next = intake->campaigns;
    if (campaign->next)
        campaign->next->prev = campaign;
    intake->campaigns = campaign;
}

static void campaign_free(struct intake *intake, struct campaign *campaign)
{
    if (intake->turn == campaign)
        intake->turn = campaign->next;
    *(campaign->prev ? &campaign->prev->next : &intake->campaigns) = campaign->next;
    if (campaign->next)
        campaign->next->prev = campaign->prev;
    campaign_drop(campaign);
    portion_forget(intake, campaign);
    pool_give(&intake->campaign_pool, campaign);
}

static bool campaign_unused(const struct campaign *campaign)
{
    return !campaign->listed && !campaign->attempts && !campaign->leases && !store_request_busy(&campaign->look) &&
           !store_request_busy(&campaign->step) && !store_request_busy(&campaign->phase) &&
           !store_request_busy(&campaign->trim) && !campaign->leasing;
}

static void listed(struct store_request *request, const struct store_answer *answer)
{
    struct intake *intake = container_of(request, struct intake, list);
    if (answer->result != STORE_OK)
        return;
    for (struct campaign *campaign = intake->campaigns; campaign; campaign = campaign->next)
        campaign->listed = false;
    for (unsigned i = 0; i < answer->item_count; i++) {
        if (!answer->items[i].n || answer->items[i].n > LIMIT_CAMPAIGN_ID)
            continue;
        struct campaign *campaign = campaign_find(intake, answer->items[i]);
        if (campaign)
            campaign->listed = true;
        else
            campaign_make(intake, answer->items[i]);
    }
    for (struct campaign *campaign = intake->campaigns, *next; campaign; campaign = next) {
        next = campaign->next;
        if (campaign_unused(campaign))
            campaign_free(intake, campaign);
    }
    metrics_set(intake->metrics, METRIC_CAMPAIGNS, pool_in_use(&intake->campaign_pool));
}

void intake_wake(struct intake *intake, struct slice id)
{
    struct campaign *campaign = id.n ? campaign_find(intake, id) : NULL;
    if (campaign)
        campaign->look_again = true;
    if (!campaign || !campaign->listed) /* new, or ended and going on */
        intake->list_again = true;
}

void intake_state(struct intake *intake, struct campaign *campaign, enum store_state state)
{
    int ran_in = campaign->ran_in;
    if (state != STORE_STATE_NONE)
        campaign->state = state;
    campaign->ran_in = campaign_runs(campaign) ? campaign->pool : -1;
    bool moves = campaign->moves;
    campaign->moves = false;
    if (ran_in >= 0 && (moves || ran_in != campaign->ran_in))
        intake->on->stopped(intake->context, campaign);
}

/* ---- whose turn it is ---- */

/* Recipients that wait in memory, or may soon. */
static unsigned waiting(const struct intake *intake)
{
    return intake_attempts(intake) - intake->on->carried(intake->context) + intake->asked * LIMIT_LEASE_RECIPIENTS;
}

static bool room_for_lease(const struct intake *intake, const struct campaign *campaign, unsigned most)
{
    unsigned leases = campaign->high ? 0 : PORTION_KEPT_LEASES, attempts = campaign->high ? 0 : PORTION_KEPT_ATTEMPTS;
    return intake->lease_count + intake->asked + leases < INTAKE_LEASES &&
           waiting(intake) + most + attempts <= INTAKE_ATTEMPTS &&
           buddy_has(&intake->memory, (intake->asked + (campaign->high ? 1 : 2)) * (size_t)LEASE_MOST);
}

static bool lease_orphan(struct intake *intake, struct campaign *campaign)
{
    if (!campaign->view.orphan_count || !room_for_lease(intake, campaign, LIMIT_LEASE_RECIPIENTS))
        return false;
    /* What another engine has left is shared by all that live: nobody takes more than it is through with soon. */
    while (campaign->view.orphan_count) {
        unsigned i = campaign->view.orphan_count - 1;
        struct slice owner = slice_of(campaign->view.orphan_owner[i]);
        uint64_t incarnation = campaign->view.orphan_incarnation[i];
        bool ours = slice_equal(owner, SLICE("-")) || slice_equal(owner, slice_of(intake->config->engine));
        if (!ours && waiting(intake) >= LOW_WATER)
            return false;
        enum neighbour_is is =
            ours ? NEIGHBOUR_DEAD : neighbours_ask(intake->neighbours, owner, incarnation, campaign->seen_at);
        if (is == NEIGHBOUR_UNKNOWN)
            return false;
        campaign->view.orphan_count--;
        if (is == NEIGHBOUR_DEAD) {
            lease_adopt(intake, campaign, slice_of(campaign->view.orphans[i]), owner, incarnation);
            return true;
        }
    }
    return false;
}

/* How many records of the campaign's n-th parked list to lease now. Not a few at a time, unless there are no more. */
static unsigned want_of(struct intake *intake, struct campaign *campaign, unsigned n, nsec now)
{
    const struct store_parked *parked = &campaign->view.parked_lists[n];
    const struct intake_list *list = &intake->lists[campaign->leasing_list];
    if (!parked->records || list->rest_until > now)
        return 0;
    unsigned room, all = intake->on->room(intake->context, campaign, slice_of(parked->isp));
    unsigned want = portion_parked(intake, campaign, all, &room);
    if (2 * want < room && want < parked->records)
        return 0;
    return want < RECORDS_MOST ? want : RECORDS_MOST;
}

static bool lease_parked(struct intake *intake, struct campaign *campaign, nsec now)
{
    struct store_view *view = &campaign->view;
    bool all = campaign_ends(campaign);
    unsigned look_at = view->parked_count < LISTS_A_TURN ? view->parked_count : LISTS_A_TURN;
    for (unsigned i = 0; i < look_at; i++) {
        unsigned n = campaign->parked_turn++ % view->parked_count;
        struct store_parked *parked = &view->parked_lists[n];
        campaign->leasing_list =
            all ? -1 : (int)intake_list_of(campaign, n);
        unsigned most = all ? (parked->records ? RECORDS_MOST : 0) : want_of(intake, campaign, n, now);
        if (!most || !room_for_lease(intake, campaign, most))
            continue;
        parked->records -= most < parked->records ? most : parked->records;
        lease_records(intake, campaign, slice_of(parked->isp), most);
        return true;
    }
    return false;
}

static bool lease_retry(struct intake *intake, struct campaign *campaign)
{
    int64_t now_ms = io_wall(intake->io) / NSEC_PER_MS;
    bool all = campaign_ends(campaign);
    if (!campaign->view.retry || (!all && campaign->view.retry_due_ms > now_ms) ||
        !room_for_lease(intake, campaign, RECORDS_MOST))
        return false;
    lease_due(intake, campaign, all ? INT64_MAX / 2 : now_ms, RECORDS_MOST);
    return true;
}

static bool lease_range(struct intake *intake, struct campaign *campaign, nsec now)
{
    unsigned most;
    if (campaign->view.taken >= campaign->view.pushed || campaign->rest_until > now)
        return false;
    most = campaign_ends(campaign) ? LIMIT_LEASE_RECIPIENTS : portion_range(intake, campaign, waiting(intake));
    if (!most || !room_for_lease(intake, campaign, LIMIT_LEASE_RECIPIENTS))
        return false;
    lease_list(intake, campaign, most);
    return true;
}

static bool may_lease(const struct intake *intake, struct campaign *campaign)
{
    if (!campaign->looked || campaign->leasing || campaign->unread || store_request_busy(&campaign->trim))
        return false;
    if (campaign_ends(campaign))
        return true;
    return campaign_runs(campaign) && campaign->pool >= 0 &&
           intake->on->serves(intake->context, campaign);
}

static void feed(struct intake *intake, struct campaign *campaign, bool high, nsec now)
{
    if (campaign->high != high || !may_lease(intake, campaign))
        return;
    if (!lease_orphan(intake, campaign) && !lease_parked(intake, campaign, now) && !lease_retry(intake, campaign))
        lease_range(intake, campaign, now);
}

/* A window opens or shuts at its second. Returns when that is next to be looked at. */
static nsec by_the_clock(struct intake *intake, struct campaign *campaign, nsec now, int64_t now_ms)
{
    if (!campaign->looked)
        return NSEC_NEVER;
    if (campaign_clock_is_due(campaign, now_ms)) {
        campaign_clock(campaign, now_ms);
        intake_state(intake, campaign, STORE_STATE_NONE);
    }
    int64_t left_ms = campaign->clock_ms - now_ms;
    return left_ms < 1000 ? now + left_ms * NSEC_PER_MS : NSEC_NEVER; /* a look comes before, and asks again */
}

static nsec look_after(const struct intake *intake, const struct campaign *campaign)
{
    if (!campaign->high || !campaign_runs(campaign))
        return look_every;
    return nsec_min(look_every, look_at_high_every * (intake->high_count / HIGH_OFTEN + 1));
}

nsec intake_turn(struct intake *intake, bool may)
{
    nsec now = io_now(intake->io);
    if (intake->draining || store_busy(intake->store))
        return NSEC_NEVER;
    nsec next = intake->listed_at + intake->config->poll;
    if (store_request_busy(&intake->list)) {
        next = NSEC_NEVER; /* its answer will turn the shard */
    } else if (intake->list_again || next <= now || !intake->listed_at) {
        intake->list_again = false;
        intake->listed_at = now;
        next = now + intake->config->poll;
        store_campaigns(intake->store, &intake->list);
    }
    int64_t now_ms = io_wall(intake->io) / NSEC_PER_MS;
    unsigned high_count = 0;
    for (struct campaign *campaign = intake->campaigns; campaign; campaign = campaign->next) {
        next = nsec_min(next, by_the_clock(intake, campaign, now, now_ms));
        high_count += campaign->high;
        nsec every = look_after(intake, campaign), due = campaign->looked_at + every;
        if (store_request_busy(&campaign->look))
            continue; /* its answer will turn the shard */
        if (campaign->look_again || !campaign->looked_at || due <= now) {
            look(intake, campaign);
            due = now + every;
        }
        next = nsec_min(next, due);
    }
    intake->high_count = high_count;
    if (!may)
        return next;
    /* Another campaign is first each turn, of those of priority high and then of the others. */
    struct campaign *first = intake->turn ? intake->turn : intake->campaigns;
    portion_count(intake, now);
    for (unsigned high = 2; high-- > 0;) {
        for (struct campaign *campaign = first; campaign; campaign = campaign->next)
            feed(intake, campaign, high, now);
        for (struct campaign *campaign = intake->campaigns; campaign != first; campaign = campaign->next)
            feed(intake, campaign, high, now);
    }
    intake->turn = first ? first->next : NULL;
    return next;
}

/* ---- the end of attempts and leases ---- */

void intake_left(struct intake *intake, const struct attempt *attempt)
{
    if (attempt->lease->list < 0)
        return;
    intake->lists[attempt->lease->list].here--;
    intake->lists[attempt->lease->list].high -= attempt->lease->high;
}

void intake_ended(struct intake *intake, struct attempt *attempt)
{
    sluice_assert(!attempt->pressed); /* whoever ended it has thrown that away */
    attempt->campaign->attempts--;
    pool_give(&intake->attempt_pool, attempt);
}

/* What is parked must not outrun what is sent. */
static void note_parked(struct intake *intake, const struct lease *lease)
{
    nsec now = io_now(intake->io);
    bool most = lease->parked * 10 > lease->count * 9;
    if (!lease->batch && most)
        lease->campaign->rest_until = now + rest;
    if (lease->list < 0 || !is_bucket(lease->list))
        return;
    struct intake_list *list = &intake->lists[lease->list];
    list->rest = most ? nsec_min(nsec_max(2 * list->rest, rest_least), rest_most) : 0;
    list->rest_until = now + list->rest;
}

void intake_answered(struct intake *intake, struct lease *lease)
{
    if (lease->open || lease->unanswered || lease->refused)
        return;
    note_parked(intake, lease);
    lease_free(intake, lease);
}

void intake_drain(struct intake *intake)
{
    intake->draining = true;
    for (struct lease *lease = intake->leases, *next; lease; lease = next) {
        next = lease->next;
        lease_give_back(intake, lease);
    }
}

bool intake_owes(const struct intake *intake)
{
    for (const struct lease *lease = intake->leases; lease; lease = lease->next)
        if (lease->unanswered)
            return true;
    return intake->asked > 0;
}

/* ---- start and end ---- */

bool intake_open(struct intake *intake, struct arena *arena, const struct intake_config *config,
                 const struct intake_events *on, void *context)
{
    *intake = (struct intake){.io = config->io,
                              .store = config->store,
                              .config = config->config,
                              .metrics = config->metrics,
                              .neighbours = config->neighbours,
                              .shard = config->shard,
                              .incarnation = config->incarnation,
                              .on = on,
                              .context = context};
    intake->list.done = listed;
    void *memory = arena_take(arena, LEASE_MEMORY, 4096);
    uint8_t *tags = arena_take(arena, buddy_tags_size(LEASE_MEMORY), 1);
    intake->tokens = arena_take(arena, RECIPIENT_TOKENS * sizeof *intake->tokens, sizeof(uint64_t));
    if (!memory || !tags || !intake->tokens)
        return false;
    buddy_init(&intake->memory, memory, LEASE_MEMORY, tags);
    intake->lists =
        arena_take(arena, (size_t)CONFIG_POOLS_MAX * LISTS_OF_POOL * sizeof *intake->lists, sizeof(nsec));
    return intake->lists && pool_open(&intake->campaign_pool, arena, sizeof(struct campaign), CAMPAIGNS) &&
           pool_open(&intake->lease_pool, arena, sizeof(struct lease), INTAKE_LEASES) &&
           pool_open(&intake->attempt_pool, arena, sizeof(struct attempt), intake_attempts_max(config->config));
}

void intake_drop(struct intake *intake)
{
    for (struct campaign *campaign = intake->campaigns; campaign; campaign = campaign->next)
        campaign_drop(campaign);
    intake->campaigns = NULL;
    editions_drop(&intake->editions);
}
