/* Where an attempt waits, and how it ends: admission, parking, settling, deferring together. */
#include "flow/shard.h"

enum { BUCKET_ROOM = 100 }; /* recipients from a list of ISPs that have no entry: each may be of another */

bool carry_may_start(struct shard *shard)
{
    return shard->phase == SHARD_RUNNING && !shard->starved && store_connected(shard->store) &&
           !store_busy(shard->store) && events_has_room(&shard->events) && io_now(shard->io) < shard->alive_until &&
           hand_is_known(&shard->hand);
}

/* ---- marks: whose lanes are to be looked at when the turn ends ---- */

void carry_mark(struct shard *shard, struct backlog *backlog)
{
    if (backlog->marked)
        return;
    backlog->marked = true;
    backlog->marked_next = shard->marked;
    shard->marked = backlog;
}

void carry_mark_all(struct shard *shard)
{
    for (struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next)
        carry_mark(shard, backlog);
}

/* ---- the end of an attempt ---- */

static void end_attempt(struct shard *shard, struct attempt *attempt)
{
    press_forget(&shard->press, attempt);
    if (attempt->site)
        sites_release(&shard->route.sites, attempt->site);
    attempt->site = NULL;
    intake_left(&shard->intake, attempt);
    ledger_forget(&shard->ledger, attempt);
}

enum event_type carry_end(struct shard *shard, struct attempt *attempt, const struct outcome *outcome,
                          const struct lane *lane, struct session *session)
{
    const struct site *site = attempt->site;
    const char *source = lane ? shard->config->sources[lane->source].name : "";
    struct outcome_world world = {.limits = lane ? lane->limits : site ? site->limits : &shard->config->defaults,
                                  .source = slice_of(source),
                                  .isp = slice_of(site ? site->isp : ""),
                                  .rules = &shard->rules,
                                  .wall = io_wall(shard->io),
                                  .random = io_random(shard->io)};
    struct settlement *settlement = events_next(&shard->events);
    slice_copy(settlement->source, sizeof settlement->source, world.source); /* a reload may take the lane's away */
    world.source = slice_of(settlement->source);
    outcome_settle(settlement, attempt, outcome, &world);
    slice_copy(settlement->isp, sizeof settlement->isp, world.isp);
    settlement->event.isp = slice_of(settlement->isp);
    enum event_type type = settlement->event.type;
    suppress_note(&shard->suppress, attempt, settlement);
    carry_warm_ended(shard, attempt, outcome, &settlement->verdict);
    struct verdict verdict = settlement->verdict;
    metrics_event(shard->metrics, type);
    events_add(&shard->events);
    if (session)
        carry_adapt(shard, session, attempt, outcome, &verdict);
    end_attempt(shard, attempt);
    return type;
}

void carry_settle(struct shard *shard, struct attempt *attempt, const struct outcome *outcome)
{
    carry_end(shard, attempt, outcome, NULL, NULL);
}

static void park(struct shard *shard, struct attempt *attempt)
{
    struct settlement *settlement = events_next(&shard->events);
    carry_list_name(shard, attempt, settlement->isp);
    outcome_park(settlement, attempt, slice_of(settlement->isp));
    metrics_add(shard->metrics, METRIC_PARKED, 1);
    events_add(&shard->events);
    end_attempt(shard, attempt);
}

/* The lease is another's: whoever has it tells what becomes of the recipient. */
static void drop(struct shard *shard, struct attempt *attempt)
{
    struct lease *lease = attempt->lease;
    lease->open--;
    end_attempt(shard, attempt);
    intake_answered(&shard->intake, lease);
}

static void end_unsent(struct shard *shard, struct attempt *attempt, enum happening happening, const char *why)
{
    struct outcome outcome;
    outcome_make(&outcome, STAGE_RECIPIENT, happening, slice_of(why));
    carry_settle(shard, attempt, &outcome);
}

/* Ends what may not be started: true if it did. */
bool carry_stopped(struct shard *shard, struct attempt *attempt)
{
    struct campaign *campaign = attempt->campaign;
    if (campaign->clock_ms != INT64_MAX) { /* for most no hour matters, and no clock is read */
        int64_t now_ms = io_wall(shard->io) / NSEC_PER_MS;
        if (campaign_clock_is_due(campaign, now_ms))
            campaign_clock(campaign, now_ms);
    }
    if (attempt->lease->lost)
        drop(shard, attempt);
    else if (campaign->state == STORE_CANCELLED)
        end_unsent(shard, attempt, HAPPENING_CANCELLED, "the campaign was cancelled");
    else if (campaign_ends(campaign))
        end_unsent(shard, attempt, HAPPENING_EXPIRED, "not_after has passed");
    else if (!campaign_runs(campaign) || campaign->pool < 0 || !lanes_serve(&shard->lanes, (unsigned)campaign->pool))
        park(shard, attempt);
    else
        return false;
    return true;
}

/* ---- admission ---- */

static void post_look(struct shard *shard, unsigned to, const struct campaign *campaign)
{
    (void)shard_post(shard, to, SHARD_POST_LOOK, campaign->id, strlen(campaign->id)); /* a hint: it looks anyway */
}

static struct backlog *choose_backlog(struct shard *shard, struct attempt *attempt, struct backlog *backlog)
{
    int dealt = carry_dealt(shard, attempt);
    if (dealt >= 0)
        return carry_dealt_backlog(shard, backlog, (unsigned)dealt);
    if (!attempt->last_source.n)
        return backlog;
    nsec when;
    struct lane *lane = backlog_lane(&shard->lanes, backlog, attempt->last_source);
    if (!lane)
        return backlog;
    enum lane_why why = lane_ask(&shard->lanes, lane, io_now(shard->io), &when);
    bool rests = why == LANE_SOURCE || why == LANE_ABSENT || why == LANE_HELD || why == LANE_SLOW ||
                 why == LANE_QUOTA || why == LANE_PAUSED || why == LANE_BACKOFF || why == LANE_WARMUP || lane->apart;
    return rests ? backlog : &lane->own;
}

/* May one more wait here? What was parked before had its place reserved, so that nobody is parked twice for one
 * attempt; but who shares a bucket with a slow ISP gets past it only if the slow one's recipients go to its end. */
static bool has_place(struct shard *shard, const struct attempt *attempt, const struct backlog *backlog)
{
    bool reserved = attempt->lease->list >= 0 && attempt->site->list[0] != '~';
    unsigned waiting = attempt->campaign->high ? backlog->high : backlog->waiting;
    return reserved || waiting < backlog_room(backlog, io_lately(shard->io));
}

/* Whoever has more there than its share goes back to Redis for one who has less. True: there is a place now. */
static bool make_place(struct shard *shard, const struct attempt *attempt, struct backlog *backlog)
{
    if (attempt->lease->list >= 0)
        return false; /* nobody is parked for one who was himself */
    struct attempt *yields = backlog_yield(&shard->lanes, backlog, attempt->campaign);
    if (yields && !carry_stopped(shard, yields))
        park(shard, yields);
    return yields;
}

/* Could this source bring something to the site now or, when an address that is being asked for is known, soon? */
static bool can_reach(struct shard *shard, unsigned source, struct site *site)
{
    struct route_target target;
    nsec alive_at;
    return sites_target(&shard->route.sites, site, &shard->config->sources[source].address, &target, &alive_at) ||
           sites_asking(site);
}

static bool is_dead(struct shard *shard, struct site *site, const struct backlog *backlog)
{
    for (unsigned i = 0; i < backlog->lane_count; i++)
        if (can_reach(shard, backlog->lanes[i]->source, site))
            return false;
    return true;
}

static void why_dead(const struct site *site, struct outcome *outcome)
{
    if (sites_reach(site) == SITES_NOT_BELIEVED)
        outcome_make(outcome, STAGE_ROUTE, HAPPENING_DNS_FAILURE,
                     SLICE("no answer from DNS about TLSA (DANE) of the mail hosts"));
    else if (site->last_failure.stage)
        *outcome = site->last_failure;
    else
        outcome_make(outcome, STAGE_CONNECT, HAPPENING_UNREACHABLE,
                     SLICE("no mail host can be reached from the pool's sources"));
}

/* Nobody waits, here or in Redis, for what is known to be dead. */
static void park_or_defer(struct shard *shard, struct attempt *attempt, const struct backlog *backlog)
{
    struct outcome outcome;
    if (!backlog || !is_dead(shard, attempt->site, backlog)) {
        park(shard, attempt);
        return;
    }
    why_dead(attempt->site, &outcome);
    carry_settle(shard, attempt, &outcome);
}

bool carry_held(struct shard *shard, struct attempt *attempt, bool probe)
{
    struct outcome outcome;
    struct site *site = attempt->site;
    if (site->relay >= 0 || !adapt_holds(shard, attempt->campaign, slice_of(site->isp), probe))
        return false;
    if (site->list[0] != '~') { /* carry_room calls it from there when it may go */
        park(shard, attempt);
        return true;
    }
    outcome_make(&outcome, STAGE_ROUTE, HAPPENING_LOCAL, SLICE("what it says, or who from, is held at this provider"));
    carry_settle(shard, attempt, &outcome);
    return true;
}

/* All sources are, for longer than anybody should wait without a word. */
static bool shut_out(struct shard *shard, struct attempt *attempt, const struct backlog *backlog)
{
    struct outcome outcome;
    if (!adapt_shuts_out(shard, backlog, &outcome))
        return false;
    carry_settle(shard, attempt, &outcome);
    return true;
}

/* Routed: it waits here, or, if it cannot start soon or not here, in Redis. */
void carry_place(struct shard *shard, struct attempt *attempt, bool front)
{
    if (carry_stopped(shard, attempt))
        return;
    struct site *site = attempt->site;
    if (site->stale) {
        carry_place_anew(shard, attempt, front);
        return;
    }
    unsigned bucket = isp_bucket(site->isp_hash);
    int home = carry_dealt(shard, attempt) >= 0
                   ? (int)(bucket % shard->shards)
                   : lanes_shard_of(&shard->lanes, (unsigned)attempt->campaign->pool, slice_of(site->isp), bucket);
    if (home >= 0 && (unsigned)home != shard->index) {
        post_look(shard, (unsigned)home, attempt->campaign);
        park(shard, attempt);
        return;
    }
    nsec now = io_lately(shard->io);
    struct backlog *backlog = lanes_backlog(&shard->lanes, (unsigned)attempt->campaign->pool, slice_of(site->isp),
                                            site->isp_hash, now);
    if (carry_held(shard, attempt, false) || (backlog && shut_out(shard, attempt, backlog)))
        return;
    struct backlog *chosen = backlog ? choose_backlog(shard, attempt, backlog) : NULL;
    bool place = chosen && (front || has_place(shard, attempt, chosen) || make_place(shard, attempt, chosen));
    if (!place ||
        !backlog_add(&shard->lanes, chosen, attempt, front, now)) {
        park_or_defer(shard, attempt, backlog);
        return;
    }
    backlog->used_at = now;
    carry_mark(shard, chosen);
}

static void on_routed(void *context, struct attempt *attempt) { carry_place(context, attempt, false); }

static void on_unroutable(void *context, struct attempt *attempt, const struct route_failure *failure)
{
    struct shard *shard = context;
    struct outcome outcome;
    outcome_make(&outcome, STAGE_ROUTE, failure->happening, slice_of(failure->text));
    carry_settle(shard, attempt, &outcome);
}

static int relay_for(const struct shard *shard, const struct attempt *attempt)
{
    return relay_of(&shard->relay_table, (unsigned)attempt->campaign->pool, attempt->domain);
}

void carry_route(struct shard *shard, struct attempt *attempt)
{
    struct route_failure failure;
    switch (route_attempt(&shard->route, attempt, relay_for(shard, attempt), &failure)) {
    case ROUTE_READY:
        carry_place(shard, attempt, false);
        break;
    case ROUTE_FAILED:
        on_unroutable(shard, attempt, &failure);
        break;
    default:
        break;
    }
}

unsigned carry_room(struct shard *shard, const struct campaign *campaign, struct slice list)
{
    if (memchr(list.p, '@', list.n))
        return carry_dealt_room(shard, campaign, list);
    if (list.n == 4 && list.p[0] == '~') { /* ISPs without an entry of their own (route.c) */
        unsigned bucket =
            (unsigned)(list.p[1] - '0') * 100 + (unsigned)(list.p[2] - '0') * 10 + (unsigned)(list.p[3] - '0');
        int at = lanes_shard_of(&shard->lanes, (unsigned)campaign->pool, list, bucket);
        return at >= 0 && (unsigned)at != shard->index ? 0 : BUCKET_ROOM;
    }
    uint64_t hash = table_hash(list);
    int home = lanes_shard_of(&shard->lanes, (unsigned)campaign->pool, list, isp_bucket(hash));
    if (home >= 0 && (unsigned)home != shard->index)
        return 0;
    nsec now = io_now(shard->io);
    struct backlog *backlog = lanes_backlog(&shard->lanes, (unsigned)campaign->pool, list, hash, now);
    if (adapt_holds(shard, campaign, list, false))
        return 0;
    return backlog ? backlog_room(backlog, now) + backlog_open(backlog) : 0;
}

void carry_place_anew(struct shard *shard, struct attempt *attempt, bool front)
{
    if (attempt->site->relay == relay_for(shard, attempt) && !attempt->site->stale) {
        carry_place(shard, attempt, front);
        return;
    }
    sites_release(&shard->route.sites, attempt->site);
    attempt->site = NULL;
    carry_admit(shard, attempt);
}

void carry_stop(struct shard *shard, struct campaign *campaign)
{
    struct attempt *attempt = lanes_take_of(&shard->lanes, campaign);
    while (attempt) {
        struct attempt *next = attempt->next;
        attempt->next = NULL;
        if (!carry_stopped(shard, attempt)) /* it waits where the campaign's mail goes now */
            carry_place_anew(shard, attempt, false);
        attempt = next;
    }
}

static void shed(struct shard *shard, struct backlog *backlog, nsec now)
{
    unsigned room = backlog_room(backlog, now);
    struct attempt *attempt;
    while (backlog->waiting > room && (attempt = backlog_shed(&shard->lanes, backlog)))
        if (!carry_stopped(shard, attempt))
            park(shard, attempt);
}

void carry_shed(struct shard *shard)
{
    nsec now = io_now(shard->io);
    for (struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next) {
        shed(shard, backlog, now);
        for (unsigned i = 0; i < backlog->lane_count; i++)
            shed(shard, &backlog->lanes[i]->own, now);
    }
}

/* ---- deferring together ---- */

static void defer_waiting(struct shard *shard, struct backlog *backlog, const struct site *site,
                          const struct outcome *outcome, const struct lane *lane)
{
    struct queue *queue;
    struct attempt *attempt;
    while ((attempt = backlog_last(backlog, site, &queue))) {
        backlog_remove(&shard->lanes, backlog, queue, attempt);
        if (!carry_stopped(shard, attempt))
            carry_end(shard, attempt, outcome, lane, NULL);
    }
}

/* Could one of the pool's sources bring something to the site now? */
static bool somebody_can(struct shard *shard, const struct backlog *backlog, struct site *site)
{
    for (unsigned i = 0; i < backlog->lane_count; i++) {
        const struct lane *lane = backlog->lanes[i];
        bool turned_away = lane->failures >= CARRY_TURNED_AWAY && !lane->working;
        if (!turned_away && !lane->apart && shard->lanes.held_until[lane->source] && can_reach(shard, lane->source, site))
            return true;
    }
    return false;
}

static void leave_row_to_mates(struct shard *shard, struct lane *lane, struct backlog *backlog, struct queue *queue,
                               const struct row *row)
{
    struct attempt *at = row->first;
    for (unsigned left = row->count; left; left--) { /* the row goes with the last of it */
        struct attempt *attempt = at;
        at = at->next;
        if (attempt->campaign->pool != (int)backlog->pool || carry_dealt(shard, attempt) == (int)lane->source)
            continue;
        backlog_remove(&shard->lanes, &lane->own, queue, attempt);
        if (!backlog_add(&shard->lanes, backlog, attempt, false, io_now(shard->io)))
            park(shard, attempt);
    }
}

/* Retries that preferred the lane go where the rest of their pool waits. */
static void leave_to_mates(struct shard *shard, struct lane *lane, struct backlog *backlog, const struct site *site)
{
    struct queue *queue = backlog_queue(&lane->own, site);
    unsigned left = queue ? queue->count : 0;
    for (struct row *row = left ? queue->rows : NULL, *next; row && left; row = next) {
        next = row->next; /* and the queue with the last row */
        left -= row->count;
        leave_row_to_mates(shard, lane, backlog, queue, row);
    }
    carry_mark(shard, backlog);
}

void carry_leave_lane(struct shard *shard, struct lane *lane)
{
    while (lane->own.queues) {
        struct site *site = lane->own.queues->site;
        unsigned before = lane->own.waiting;
        sites_hold(site); /* the last attempt may be all that holds it */
        for (unsigned i = 0; i < lane->backlog_count; i++)
            leave_to_mates(shard, lane, lane->backlogs[i], site);
        sites_release(&shard->route.sites, site);
        if (lane->own.waiting == before)
            return; /* of pools that it is in no more: shed parks them */
    }
}

void carry_give_up(struct shard *shard, struct lane *lane, struct site *site, const struct outcome *outcome)
{
    struct outcome known;
    if (!outcome)
        why_dead(site, &known);
    outcome = outcome ? outcome : &known;
    sites_hold(site); /* the last attempt may be all that holds it */
    for (unsigned i = 0; i < lane->backlog_count; i++)
        if (somebody_can(shard, lane->backlogs[i], site))
            leave_to_mates(shard, lane, lane->backlogs[i], site);
        else
            defer_waiting(shard, lane->backlogs[i], site, outcome, lane);
    defer_waiting(shard, &lane->own, site, outcome, lane);
    sites_release(&shard->route.sites, site);
}

/* ---- start ---- */

bool carry_open_route(struct shard *shard)
{
    static const struct route_events events = {.routed = on_routed, .failed = on_unroutable};
    struct route_config config = {.io = shard->io,
                                  .resolver = shard->resolver,
                                  .sts = shard->sts,
                                  .desk = shard->sts_desk,
                                  .config = shard->config,
                                  .metrics = shard->metrics,
                                  .log = &shard->log,
                                  .attempts_max = INTAKE_ATTEMPTS};
    return route_open(&shard->route, &shard->arena, &config, &events, shard);
}
