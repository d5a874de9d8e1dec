/* Which campaigns there are, and whose turn it is to be leased from. What a lease brings is read in lease.c. */
#include "flow/intake.h"

#include "flow/lease.h"

#include <stdio.h>

enum {
    CAMPAIGNS = 1024,
    LOW_WATER = 3000,   /* recipients in memory below which a new range is leased */
    RECORDS_MOST = 500, /* of one lease from a parked list or the retry set */
    LEASE_MEMORY = 64 << 20,
    LEASE_MOST = 4 << 20, /* of one: LIMIT_LEASE_BYTES rounded up, and what its entries decode to */
};

static const nsec look_every = 500 * NSEC_PER_MS;
/* Of events, at each look: far more than can have come since the last, and not so many that Redis stands still. */
static const nsec trim_bite = 10 * NSEC_PER_S;
/* When all of a range had to be parked, the next one waits: what is parked must not outrun what is sent. */
static const nsec rest = 100 * NSEC_PER_MS;

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
        campaign_update(campaign, intake->config, answer->items, answer->item_count);
        give_back_refused(intake, campaign);
        trim(intake, campaign);
    } else {
        campaign_refused(campaign, answer->error);
    }
    intake_state(intake, campaign, answer->state);
    intake->on->looked(intake->context, campaign);
}

static void look(struct intake *intake, struct campaign *campaign)
{
    campaign->look_again = false;
    campaign->looked_at = io_now(intake->io);
    store_look(intake->store, &campaign->look, slice_of(campaign->id), &campaign->view);
}

static void campaign_make(struct intake *intake, struct slice id)
{
    struct campaign *campaign = pool_take(&intake->campaign_pool);
    if (!campaign)
        return; /* more than 1,024 at once: it waits in sluice:campaigns until another is done */
    memset(campaign, 0, sizeof *campaign);
    campaign->intake = intake;
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
    if (ran_in >= 0 && ran_in != campaign->ran_in)
        intake->on->stopped(intake->context, campaign);
}

/* ---- whose turn it is ---- */

static bool room_for_lease(const struct intake *intake, unsigned most)
{
    unsigned asked = intake->asked * LIMIT_LEASE_RECIPIENTS;
    return intake->lease_count + intake->asked < INTAKE_LEASES &&
           intake_attempts(intake) + asked + most <= INTAKE_ATTEMPTS &&
           buddy_has(&intake->memory, (intake->asked + 1) * (size_t)LEASE_MOST);
}

static bool lease_orphan(struct intake *intake, struct campaign *campaign)
{
    if (!campaign->view.orphan_count || !room_for_lease(intake, LIMIT_LEASE_RECIPIENTS))
        return false;
    unsigned i = --campaign->view.orphan_count;
    lease_adopt(intake, campaign, slice_of(campaign->view.orphans[i]), slice_of(campaign->view.orphan_owner[i]),
                campaign->view.orphan_incarnation[i]);
    return true;
}

static bool lease_parked(struct intake *intake, struct campaign *campaign)
{
    struct store_view *view = &campaign->view;
    bool all = campaign->state == STORE_CANCELLED;
    for (unsigned n = 0; n < view->parked_count; n++) {
        struct store_parked *list = &view->parked_lists[campaign->parked_turn++ % view->parked_count];
        if (!list->records)
            continue;
        unsigned room = all ? RECORDS_MOST : intake->on->room(intake->context, campaign, slice_of(list->isp));
        room = room < RECORDS_MOST ? room : RECORDS_MOST;
        if (!room || !room_for_lease(intake, room))
            continue;
        list->records -= room < list->records ? room : list->records;
        lease_records(intake, campaign, slice_of(list->isp), room);
        return true;
    }
    return false;
}

static bool lease_retry(struct intake *intake, struct campaign *campaign)
{
    int64_t now_ms = io_wall(intake->io) / NSEC_PER_MS;
    bool all = campaign->state == STORE_CANCELLED;
    if (!campaign->view.retry || (!all && campaign->view.retry_due_ms > now_ms) ||
        !room_for_lease(intake, RECORDS_MOST))
        return false;
    lease_due(intake, campaign, all ? INT64_MAX / 2 : now_ms, RECORDS_MOST);
    return true;
}

static bool lease_range(struct intake *intake, struct campaign *campaign, nsec now)
{
    if (campaign->view.taken >= campaign->view.pushed || campaign->rest_until > now ||
        intake_attempts(intake) + intake->asked * LIMIT_LEASE_RECIPIENTS >= LOW_WATER ||
        !room_for_lease(intake, LIMIT_LEASE_RECIPIENTS))
        return false;
    lease_list(intake, campaign, LIMIT_LEASE_RECIPIENTS);
    return true;
}

static bool may_lease(const struct intake *intake, const struct campaign *campaign, int64_t now_ms)
{
    if (!campaign->looked || campaign->leasing || campaign->unread || store_request_busy(&campaign->trim))
        return false;
    if (campaign->state == STORE_CANCELLED)
        return true;
    return campaign_runs(campaign) && campaign->pool >= 0 && campaign->not_before_ms <= now_ms &&
           intake->on->serves(intake->context, campaign);
}

static void feed(struct intake *intake, struct campaign *campaign, nsec now)
{
    if (!may_lease(intake, campaign, io_wall(intake->io) / NSEC_PER_MS))
        return;
    if (!lease_orphan(intake, campaign) && !lease_parked(intake, campaign) && !lease_retry(intake, campaign))
        lease_range(intake, campaign, now);
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
    for (struct campaign *campaign = intake->campaigns; campaign; campaign = campaign->next) {
        nsec due = campaign->looked_at + look_every;
        if (store_request_busy(&campaign->look))
            continue; /* its answer will turn the shard */
        if (campaign->look_again || !campaign->looked_at || due <= now) {
            look(intake, campaign);
            due = now + look_every;
        }
        next = nsec_min(next, due);
    }
    if (!may)
        return next;
    /* Another campaign is first each turn. */
    struct campaign *first = intake->turn ? intake->turn : intake->campaigns;
    for (struct campaign *campaign = first; campaign; campaign = campaign->next)
        feed(intake, campaign, now);
    for (struct campaign *campaign = intake->campaigns; campaign != first; campaign = campaign->next)
        feed(intake, campaign, now);
    intake->turn = first ? first->next : NULL;
    return next;
}

/* ---- the end of attempts and leases ---- */

void intake_ended(struct intake *intake, struct attempt *attempt)
{
    attempt->campaign->attempts--;
    pool_give(&intake->attempt_pool, attempt);
}

void intake_answered(struct intake *intake, struct lease *lease)
{
    if (lease->open || lease->unanswered || lease->refused)
        return;
    struct campaign *campaign = lease->campaign;
    if (!lease->batch && lease->parked * 10 > lease->count * 9)
        campaign->rest_until = io_now(intake->io) + rest;
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
    return pool_open(&intake->campaign_pool, arena, sizeof(struct campaign), CAMPAIGNS) &&
           pool_open(&intake->lease_pool, arena, sizeof(struct lease), INTAKE_LEASES) &&
           pool_open(&intake->attempt_pool, arena, sizeof(struct attempt), INTAKE_ATTEMPTS);
}

void intake_drop(struct intake *intake)
{
    for (struct campaign *campaign = intake->campaigns; campaign; campaign = campaign->next)
        campaign_drop(campaign);
    intake->campaigns = NULL;
}
