/* The shard's work on the wire: which lane gets a session, which session a message, and what it learned. */
#include "flow/shard.h"

#include <stdio.h>
#include <string.h>

static const nsec dns_soon = 50 * NSEC_PER_MS;

static void mark_lane(struct shard *shard, struct lane *lane) { carry_mark(shard, &lane->own); }

/* ---- sessions ---- */

static void link_session(struct shard *shard, struct lane *lane, struct session *session)
{
    session->prev = session->lane_prev = NULL;
    session->next = shard->sessions;
    session->lane_next = lane->sessions;
    if (session->next)
        session->next->prev = session;
    if (session->lane_next)
        session->lane_next->lane_prev = session;
    shard->sessions = lane->sessions = session;
    shard->session_count++;
}

static void unlink_session(struct shard *shard, struct lane *lane, struct session *session)
{
    *(session->prev ? &session->prev->next : &shard->sessions) = session->next;
    *(session->lane_prev ? &session->lane_prev->lane_next : &lane->sessions) = session->lane_next;
    if (session->next)
        session->next->prev = session->prev;
    if (session->lane_next)
        session->lane_next->lane_prev = session->lane_prev;
    shard->session_count--;
}

static void session_forget_idle(struct shard *shard, struct lane *lane, struct session *session)
{
    if (!session->in_idle)
        return;
    session->in_idle = false;
    shard->crowd.idle--;
    if (session->idle_prev)
        session->idle_prev->idle_next = session->idle_next;
    else
        lane->idle = session->idle_next;
    if (session->idle_next)
        session->idle_next->idle_prev = session->idle_prev;
}

void carry_end_idle(struct shard *shard, struct session *session)
{
    session_forget_idle(shard, session->owner, session);
    session_quit(session);
}

/* All that wait for the same ISP. */
static void mark_mates(struct shard *shard, const struct lane *lane)
{
    for (struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next)
        if (backlog->isp_hash == lane->own.isp_hash)
            carry_mark(shard, backlog);
}

void carry_send_away(struct shard *shard, struct session *session)
{
    struct lane *lane = session->owner;
    if (!session->astray) {
        lane->ending++;
        if (lane->total)
            lane->total->ending++;
    }
    session->astray = true;
    if (session->in_idle)
        carry_end_idle(shard, session);
}

/* More are open than the lane may have now. */
static bool is_too_many(struct shard *shard, struct lane *lane, struct session *session)
{
    const struct lane_total *total = lane->total;
    if (!session->astray && (lane->open - lane->ending > lane->allowed ||
                             (total && total->open - total->ending > total->connections)))
        carry_send_away(shard, session);
    return session->astray;
}

static void on_lane_timer(struct io_timer *timer)
{
    struct lane *lane = container_of(timer, struct lane, timer);
    mark_lane(lane->context, lane);
}

void carry_wake_at(struct shard *shard, struct lane *lane, nsec when)
{
    if (carry_warm_waits(shard, lane) || when == NSEC_NEVER ||
        (io_timer_is_set(&lane->timer) && lane->timer.at <= when))
        return;
    lane->timer.fire = on_lane_timer;
    lane->context = shard;
    io_timer_set(shard->io, &lane->timer, when);
}

/* It may not leave as it is, and that is not the recipient's fault: it waits until people have seen to the key. */
static void not_signed(struct shard *shard, struct attempt *attempt, struct slice reason)
{
    struct outcome outcome;
    char detail[192];
    snprintf(detail, sizeof detail, "campaign %s: %.*s", attempt->campaign->id, (int)reason.n, reason.p);
    log_trouble(&shard->log, &shard->sign_trouble, io_now(shard->io), 60 * NSEC_PER_S, "a message was not signed",
                detail);
    outcome_make(&outcome, STAGE_RECIPIENT, HAPPENING_LOCAL, reason);
    carry_settle(shard, attempt, &outcome);
}

/* Hands the attempt to the session with its message. True: the session has a message. */
static bool start(struct shard *shard, struct lane *lane, struct session *session, struct attempt *attempt, nsec now)
{
    struct slice reason;
    struct outcome outcome;
    if (!budget_reserve(lane, attempt, now)) { /* the gate has shut since it was asked */
        carry_place(shard, attempt, true);
        return true;
    }
    enum press_result pressed = carry_press(shard, lane, session->site, attempt, &reason);
    if (pressed != PRESS_DONE)
        budget_release(attempt, io_now(shard->io));
    switch (pressed) {
    case PRESS_DONE:
        break;
    case PRESS_NO_ROOM:
        shard->starved = true;
        shard->starved_at = press_used(&shard->press);
        carry_place(shard, attempt, true);
        return true; /* there is no use in trying another */
    case PRESS_UNSIGNED:
        not_signed(shard, attempt, reason);
        return false;
    default:
        outcome_make(&outcome, STAGE_RECIPIENT, HAPPENING_INVALID, reason);
        carry_settle(shard, attempt, &outcome);
        return false;
    }
    now = io_now(shard->io); /* to press takes time */
    lane_start(lane, now);
    lane_charge(lane, attempt->campaign);
    session_offer(session, attempt, press_take(&shard->press, attempt), now, io_wall_at(shard->io, now));
    shard->carried++;
    attempt->campaign->carried++;
    session->messages++;
    ledger_permit(&shard->ledger, attempt);
    metrics_add(shard->metrics, METRIC_STARTED, 1);
    return true;
}

static void on_wants(void *context, struct session *session)
{
    struct shard *shard = context;
    struct lane *lane = session->owner;
    nsec when;
    if (!carry_may_start(shard) || session->one_too_many || is_too_many(shard, lane, session) ||
        adapt_waits(lane) || !security_suffices(&session->security) || crowd_leaves(&shard->crowd, lane, session))
        return;
    nsec now = io_now(shard->io);
    if (lane_ask(&shard->lanes, lane, now, &when) != LANE_READY && !carry_relay_probes(shard, session)) {
        if (lane_waited_for(lane))
            carry_wake_at(shard, lane, when);
        return;
    }
    if (carry_yields(shard, lane, session))
        return;
    struct attempt *attempt;
    while ((attempt = lane_take(&shard->lanes, lane, session->site, now))) {
        if (carry_stopped(shard, attempt) || carry_held(shard, attempt, true) || carry_set_aside(shard, attempt))
            continue;
        if (start(shard, lane, session, attempt, now))
            break;
    }
    if (attempt)
        session_forget_idle(shard, lane, session);
}

static bool on_may_leave(void *context, struct session *session) { return beat_may_leave(context, session); }

static void on_idle(void *context, struct session *session)
{
    struct shard *shard = context;
    struct lane *lane = session->owner;
    if (shard->phase != SHARD_RUNNING || session->leaves || session->astray || session->one_too_many ||
        !security_suffices(&session->security)) {
        carry_end_idle(shard, session);
        return;
    }
    if (session->in_idle)
        return;
    session->in_idle = true;
    shard->crowd.idle++;
    session->idle_prev = NULL;
    session->idle_next = lane->idle;
    if (session->idle_next)
        session->idle_next->idle_prev = session;
    lane->idle = session;
    if (lane_waited_for(lane)) /* for another site: this session's place may be needed */
        mark_lane(shard, lane);
}

static void on_ready(void *context, struct session *session)
{
    struct shard *shard = context;
    lane_ready(session->owner);
    carry_relay_ready(shard, session);
    sites_worked(session->site, &session->target);
    metrics_add(shard->metrics, METRIC_SESSIONS_OPENED, 1);
    metrics_observe(shard->metrics, METRICS_CONNECT, io_now(shard->io) - session->opened_at);
    ((struct lane *)session->owner)->account.connects++;
    ((struct lane *)session->owner)->account.connects_ns += io_now(shard->io) - session->opened_at;
}

static void on_message_ended(void *context, struct session *session, struct attempt *attempt,
                             const struct outcome *outcome, bool untouched)
{
    struct shard *shard = context;
    struct lane *lane = session->owner;
    shard->carried--;
    attempt->campaign->carried--;
    if (adapt_objects(shard, session, outcome) || untouched || carry_relay_objects(shard, session, outcome)) {
        session->gave_back = true;
        carry_warm_ended(shard, attempt, outcome, NULL);
        ledger_withdraw(&shard->ledger, attempt);
        if (shard->phase == SHARD_RUNNING)
            carry_place(shard, attempt, true);
        return;
    }
    if (!session->worked)
        lane_worked(lane);
    session->worked = true;
    if (outcome->stage == STAGE_MAIL && outcome->code == 530 && !session->security.tls)
        security_wanted(&shard->security, session->target.host, session->target.host->port);
    if (outcome->body_left)
        metrics_add(shard->metrics, METRIC_BODY_BYTES, outcome->bytes);
    if (outcome->stage == STAGE_BODY) {
        metrics_observe(shard->metrics, METRICS_MESSAGE, outcome->took);
        lane->account.messages++;
        lane->account.messages_ns += outcome->took;
    }
    enum event_type type = carry_end(shard, attempt, outcome, lane, session);
    lane->delivered += type == EVENT_DELIVERED;
    lane->deferred += type == EVENT_DEFERRED;
    lane->bounced += type == EVENT_BOUNCED;
}

static void judge_session(struct shard *shard, struct session *session, const struct outcome *why)
{
    if (!why->stage)
        return;
    struct verdict verdict = verdict_of(&shard->rules, slice_of(session->site->isp), why);
    carry_adapt(shard, session, NULL, why, &verdict);
}

/* It was turned away, or gave back its first message: the lane waits, and if that goes on, its mates send what waits,
 * or, if they are turned away too, it is deferred. */
static void turned_away(struct shard *shard, struct lane *lane, struct session *session, const struct outcome *why)
{
    if (lane->gates[LANE_BACKOFF] > io_now(shard->io))
        return; /* its replies asked for silence, and that is longer */
    nsec until = lane_turned_away(lane, io_now(shard->io));
    carry_wake_at(shard, lane, until);
    if (lane->failures < CARRY_TURNED_AWAY || lane->working || !why->stage)
        return;
    carry_give_up(shard, lane, session->site, why);
}

static bool was_turned_away(const struct session *session, bool objected)
{
    return !session->worked && !objected && (session->gave_back || !session->ready);
}

static void on_closed(void *context, struct session *session, const struct outcome *why)
{
    struct shard *shard = context;
    struct lane *lane = session->owner;
    session_forget_idle(shard, lane, session);
    lane_closed(lane, session->ready, session->worked);
    adapt_session_closed(shard, session, why);
    carry_warm_closed(shard, lane, why);
    bool objected = carry_learn(shard, session), scolded = carry_relay_closed(shard, session, why);
    enum carry_insecure insecure = carry_learn_tls(shard, session, why);
    if (session->bereft) { /* nobody's fault */
        metrics_add(shard->metrics, METRIC_SESSIONS_LOST, why->stage != STAGE_BROKEN);
    } else if (session->lacks) {
        metrics_add(shard->metrics, METRIC_SESSIONS_LOST, session->ready);
    } else if (insecure == CARRY_INSECURE_LOCAL || (why->stage == STAGE_CONNECT && why->happening == HAPPENING_LOCAL)) {
        carry_wake_at(shard, lane, lane_turned_away(lane, io_now(shard->io)));
    } else if (why->stage == STAGE_CONNECT) {
        metrics_add(shard->metrics, METRIC_SESSIONS_FAILED_CONNECT, 1);
        sites_failed(&shard->route.sites, &session->target);
        session->site->last_failure = *why;
    } else if (insecure) {
        metrics_add(shard->metrics, METRIC_SESSIONS_FAILED_TLS, 1);
    } else if (scolded) {
        metrics_add(shard->metrics, METRIC_SESSIONS_FAILED_GREETING, !session->ready);
    } else if (shard->phase == SHARD_RUNNING && (session->one_too_many || was_turned_away(session, objected))) {
        metrics_add(shard->metrics, METRIC_SESSIONS_FAILED_GREETING, 1);
        judge_session(shard, session, why);
        turned_away(shard, lane, session, why);
    } else if (why->stage) {
        metrics_add(shard->metrics, METRIC_SESSIONS_LOST, 1);
    }
    int lacks = session->bereft ? 0 : session->lacks;
    unlink_session(shard, lane, session);
    lane->ending -= session->astray;
    if (lane->total) {
        lane->total->ending -= session->astray;
        mark_mates(shard, lane); /* one of them may have its place */
    }
    config_release(session->config);
    crowd_closed(&shard->crowd, session);
    if (!crowd_stand_behind(&shard->crowd, lane))
        mark_lane(shard, lane);
    sites_release(&shard->route.sites, session->site);
    pool_give(&shard->session_pool, session);
    if (lacks)
        lack_met(shard, lane, lack_of_connection(lacks), lacks);
}

bool carry_open_session(struct shard *shard, struct lane *lane, struct site *site, bool probes)
{
    static const struct session_events events = {.wants = on_wants,
                                                 .idle = on_idle,
                                                 .may_leave = on_may_leave,
                                                 .ready = on_ready,
                                                 .ended = on_message_ended,
                                                 .closed = on_closed};
    const struct config_source *source = &shard->config->sources[lane->source];
    struct route_target target;
    nsec alive_at;
    if (!probes && !carry_relay_may(shard, site))
        return false;
    if (!sites_target(&shard->route.sites, site, &source->address, &target, &alive_at)) {
        if (sites_asking(site)) /* what is known is dead, and more may be known soon */
            alive_at = nsec_min(alive_at, io_now(shard->io) + dns_soon);
        else
            carry_give_up(shard, lane, site, NULL);
        carry_wake_at(shard, lane, alive_at);
        return false;
    }
    if (!lane_may_begin(lane, io_now(shard->io), &alive_at)) {
        carry_wake_at(shard, lane, alive_at);
        return false;
    }
    if (!lack_may_begin(shard, lane))
        return false;
    if (!crowd_may_open(&shard->crowd, lane, lane_waits_high_at(lane, site)))
        return false;
    struct session *session = pool_take(&shard->session_pool);
    sluice_assert(session);
    memset(session, 0, offsetof(struct session, parser));
    session->owner = lane;
    session->site = site;
    session->target = target;
    session->probes = probes;
    struct session_config config = {.io = shard->io,
                                    .press = &shard->press,
                                    .on = &events,
                                    .context = shard,
                                    .source = &source->address,
                                    .to = &target.host->addresses[target.address],
                                    .ehlo = source->ehlo,
                                    .mx = target.host->name};
    carry_terms(shard, lane, session, &config);
    int result = session_open(session, &config);
    if (result < 0) {
        carry_relay_signed_in(session);
        pool_give(&shard->session_pool, session);
        lack_met(shard, lane, lack_of_socket(result), result);
        return false;
    }
    lack_begun(shard, lane->source);
    session->config = config_hold(shard->config);
    sites_hold(site);
    lane_opened(lane, io_now(shard->io));
    link_session(shard, lane, session);
    return true;
}

/* ---- the end ---- */

void carry_finish(struct shard *shard, bool now)
{
    for (struct session *session = shard->sessions, *next; session; session = next) {
        next = session->next;
        if (now)
            session_abort(session, HAPPENING_TIMEOUT);
        else if (!session->ready)
            session_abort(session, HAPPENING_LOCAL);
        else if (session_is_idle(session))
            session_quit(session);
    }
}
