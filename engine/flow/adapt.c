/* What an ISP says changes what a lane may do from that moment on: this file turns verdicts into words for the state
 * machine, and what that says into gates, sessions and rates. */
#include "flow/adapt.h"

#include "flow/effective.h"
#include "flow/shard.h"

#include <stdio.h>

static const nsec hour = 3600 * NSEC_PER_S;

/* ---- lanes ---- */

static bool is_split(const struct shard *shard, unsigned source, struct slice isp)
{
    return shard->shards > 1 && lanes_splits(&shard->lanes, source, isp);
}

unsigned adapt_owner(const struct shard *shard, const struct lane *lane)
{
    return isp_bucket(lane->own.isp_hash) % shard->shards;
}

static struct adapt_scope *scope_of(const struct shard *shard, const struct lane *lane)
{
    return adapt_find(shard, RULE_LANE, lane->source, slice_of(lane->own.isp), SLICE(""));
}

static struct lane *lane_of(const struct shard *shard, unsigned source, struct slice isp)
{
    for (const struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next)
        for (unsigned i = 0; i < backlog->lane_count && slice_equal(slice_of(backlog->isp), isp); i++)
            if (backlog->lanes[i]->source == source)
                return backlog->lanes[i];
    return NULL;
}

/* ---- sessions that are too many ---- */

static bool is_silent(const struct lane *lane, nsec now) { return lane->gates[LANE_BACKOFF] > now; }

/* Those that do nothing first, then those that are not let in yet. */
static void trim(struct shard *shard, struct lane *lane)
{
    unsigned most = is_silent(lane, io_now(shard->io)) ? 0 : lane->allowed;
    for (unsigned turn = 0; turn < 3; turn++)
        for (struct session *session = lane->sessions, *next; session; session = next) {
            next = session->lane_next;
            if (lane->open - lane->ending <= most)
                return;
            if (!session->astray && (turn != 0 || session->in_idle) && (turn != 1 || !session->ready))
                carry_send_away(shard, session);
        }
}

bool adapt_waits(const struct lane *lane)
{
    for (const struct session *s = lane->sessions; s && lane->alone; s = s->lane_next)
        if (session_open_messages(s))
            return true;
    return false;
}

/* ---- what holds ---- */

/* This shard's of `n` sessions that the whole lane may have: the owner's come first. */
static unsigned share_of(const struct shard *shard, const struct lane *lane, unsigned n)
{
    unsigned at = (shard->index + shard->shards - adapt_owner(shard, lane)) % shard->shards;
    return n / shard->shards + (at < n % shard->shards);
}

/* Retries that preferred the lane go where the rest of their pool waits. */
static void leave_to_mates(struct shard *shard, struct lane *lane)
{
    struct queue *queue;
    struct attempt *attempt;
    while ((attempt = backlog_last(&lane->own, NULL, &queue))) {
        backlog_remove(&shard->lanes, &lane->own, queue, attempt);
        carry_place(shard, attempt, true);
    }
}

static void shut(struct shard *shard, struct lane *lane, nsec until)
{
    nsec before = lane->gates[LANE_BACKOFF], now = io_now(shard->io);
    lane_gate(lane, LANE_BACKOFF, until);
    if (until > now)
        carry_wake_at(shard, lane, until);
    if (until < before)
        carry_mark(shard, &lane->own);
}

static nsec gate_of(const struct adapt_scope *scope, const struct lane *lane, unsigned sessions, nsec now)
{
    const struct adapt_effect *e = &scope->effect;
    if (e->silent_until > now) /* the connections that are still there end first */
        return scope->mine && !lane->open ? e->silent_until : NSEC_NEVER;
    return e->sessions && !sessions ? NSEC_NEVER : 0;
}

static void apply(struct shard *shard, struct lane *lane)
{
    const struct adaptation *a = &shard->adaptation;
    nsec now = io_now(shard->io);
    struct adapt_scope *scope = scope_of(shard, lane);
    bool known = a->sources[lane->source].known && a->sources[CONFIG_SOURCES_MAX].known;
    if (lane->relay >= 0)
        return; /* relays have words of their own: smarthost.c */
    lane->alone = false;
    if (!known || !scope || !lane->limits->adapt.on) {
        effective_learn(lane, 0, now);
        effective_slow(lane, LANE_BY_REPLIES, 0, 0, now);
        shut(shard, lane, known ? 0 : NSEC_NEVER);
        return;
    }
    struct adapt_effect e = scope->effect;
    bool split = is_split(shard, lane->source, slice_of(lane->own.isp));
    unsigned sessions = split ? share_of(shard, lane, e.sessions) : e.sessions;
    lane->alone = e.one_message;
    effective_learn(lane, throttle_interval(e.rate, hour) * (nsec)(split ? shard->shards : 1), now);
    effective_slow(lane, LANE_BY_REPLIES, e.percent < 100 || e.rate ? e.percent : 0, sessions, now);
    shut(shard, lane, gate_of(scope, lane, sessions, now));
    trim(shard, lane);
    if (e.silent_until)
        leave_to_mates(shard, lane);
    else
        carry_mark(shard, &lane->own);
}

void adapt_apply_scope(struct adapt_scope *scope)
{
    struct shard *shard = scope->shard;
    struct lane *lane = NULL;
    if (scope->kind == RULE_LANE)
        lane = lane_of(shard, scope->source, slice_of(scope->isp));
    if (lane)
        apply(shard, lane);
}

void adapt_apply_source(struct shard *shard, unsigned source)
{
    for (struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next)
        for (unsigned i = 0; i < backlog->lane_count; i++)
            if (source == CONFIG_SOURCES_MAX || backlog->lanes[i]->source == source)
                adapt_lane_made(shard, backlog->lanes[i]);
}

void adapt_reconfigure(struct shard *shard) { adapt_apply_source(shard, CONFIG_SOURCES_MAX); }

void adapt_lane_made(struct shard *shard, struct lane *lane)
{
    struct adapt_scope *scope = scope_of(shard, lane);
    if (scope)
        scope->mine = adapt_owner(shard, lane) == shard->index;
    apply(shard, lane);
}

bool adapt_tick_scope(struct adapt_scope *scope, nsec now)
{
    struct shard *shard = scope->shard;
    const struct config_limits *limits = config_lane_limits(shard->config, scope->source, slice_of(scope->isp));
    unsigned connections = 1, open = 0;
    if (scope->kind != RULE_LANE) {
        limits = config_limits_for(shard->config, slice_of(scope->isp));
    } else {
        const struct lane *lane = lane_of(shard, scope->source, slice_of(scope->isp));
        connections = limits->connections;
        open = lane ? lane->open : 0;
    }
    return adapt_tick(&scope->state, &limits->adapt, connections, open, now);
}

/* ---- what was said ---- */

void adapt_remember(struct adapt_scope *scope, const struct adapt_word *word)
{
    scope->refused++;
    if (word->ask.what == ADAPT_REFUSED && scope->reply[0])
        return;
    slice_copy(scope->rule, sizeof scope->rule, slice_of(word->rule));
    slice_copy(scope->reply, sizeof scope->reply, slice_of(word->reply));
}

static void ask(struct shard *shard, unsigned source, struct slice isp, const struct lane *lane,
                const struct adapt_word *word)
{
    const struct config_limits *limits = config_lane_limits(shard->config, source, isp);
    bool split = is_split(shard, source, isp), must = word->ask.what != ADAPT_REFUSED;
    struct adapt_scope *scope = adapt_find(shard, RULE_LANE, source, isp, SLICE(""));
    if (!limits->adapt.on || (!scope && !must) ||
        (!scope && !(scope = adapt_get(shard, RULE_LANE, source, isp, SLICE("")))))
        return;
    struct adapt_lane view = {.connections = limits->connections,
                              .open = lane && !split ? lane->open : 0,
                              .rate = word->rate * (split ? shard->shards : 1),
                              .has_rate = limits->rate > 0,
                              .started = word->started};
    scope->mine = true;
    adapt_remember(scope, word);
    if (adapt_asked(&scope->state, &limits->adapt, &word->ask, &view, io_now(shard->io))) {
        scope->alert |= word->alert;
        adapt_changed(scope);
    }
}

void adapt_ask_lane(struct shard *shard, struct lane *lane, const struct adapt_word *word)
{
    unsigned owner = adapt_owner(shard, lane);
    if (owner == shard->index)
        ask(shard, lane->source, slice_of(lane->own.isp), lane, word);
    else
        adapt_post_word(shard, owner, (int)lane->source, slice_of(lane->own.isp), word);
}

void adapt_ask_absent(struct shard *shard, unsigned source, struct slice isp, const struct adapt_word *word)
{
    ask(shard, source, isp, lane_of(shard, source, isp), word);
}

/* Each lane once, though it may be of several pools. */
void adapt_ask_all(struct shard *shard, int source, struct slice isp, const struct adapt_word *word)
{
    for (struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next)
        for (unsigned i = 0; i < backlog->lane_count; i++) {
            struct lane *lane = backlog->lanes[i];
            bool fits = (source < 0 || lane->source == (unsigned)source) &&
                        (!isp.n || slice_equal(slice_of(backlog->isp), isp)) && lane->relay < 0;
            if (fits && adapt_owner(shard, lane) == shard->index &&
                lane_of(shard, lane->source, slice_of(backlog->isp)) == lane)
                ask(shard, lane->source, slice_of(backlog->isp), lane, word);
        }
}

void adapt_take_sign(struct shard *shard, unsigned source, struct slice isp, enum adapt_sign sign)
{
    struct adapt_scope *scope = adapt_find(shard, RULE_LANE, source, isp, SLICE(""));
    nsec now = io_now(shard->io);
    if (!scope || !scope->mine)
        return;
    const struct config_limits *limits = config_lane_limits(shard->config, source, isp);
    scope->accepted += sign == ADAPT_SIGN_ACCEPTED;
    bool changed = sign == ADAPT_SIGN_ACCEPTED ? adapt_accepted(&scope->state, &limits->adapt, limits->connections, now)
                                               : adapt_ended(&scope->state, now);
    if (changed)
        adapt_changed(scope);
}

static void give_sign(struct shard *shard, struct lane *lane, enum adapt_sign sign)
{
    const struct adapt_scope *scope = scope_of(shard, lane);
    if (!scope)
        return;
    if (scope->mine)
        adapt_take_sign(shard, lane->source, slice_of(lane->own.isp), sign);
    else if (sign == ADAPT_SIGN_ACCEPTED || scope->effect.silent_until)
        adapt_post_sign(shard, lane, sign);
}

/* ---- verdicts ---- */

static struct adapt_ask ask_of(const struct verdict *verdict, const struct session *session)
{
    static const enum adapt_what whats[RULE_ACTION_COUNT] = {
        [RULE_SLOW] = ADAPT_SLOW,   [RULE_CONNECTIONS] = ADAPT_FEWER,     [RULE_PAUSE] = ADAPT_PAUSE,
        [RULE_PROBE] = ADAPT_PROBE, [RULE_OTHER_SOURCE] = ADAPT_SHUT_OUT, [RULE_HOLD] = ADAPT_HOLD,
        [RULE_LEARN] = ADAPT_LEARN};
    struct adapt_ask ask = {.what = whats[verdict->action],
                            .wait = verdict->wait,
                            .factor = verdict->factor,
                            .connections = verdict->connections,
                            .messages = session->answered};
    if (!ask.what && verdict->trouble == TROUBLE_LANE)
        ask.what = ADAPT_REFUSED;
    return ask;
}

static void say_reply(const struct outcome *outcome, char *text, size_t cap)
{
    if (outcome->code)
        snprintf(text, cap, "%u%s%s %.170s", outcome->code, outcome->status[0] ? " " : "", outcome->status,
                 outcome->reply);
    else
        snprintf(text, cap, "%s %.170s", happening_name(outcome->happening), outcome->reply);
    for (char *p = text; *p; p++)
        if (*p == '\t')
            *p = ' ';
}

/* To whomever it is about. */
static void pass_on(struct shard *shard, struct session *session, const struct attempt *attempt,
                    const struct verdict *verdict, const struct adapt_word *word)
{
    struct lane *lane = session->owner;
    struct slice isp = slice_of(lane->own.isp);
    bool wide = attempt && (verdict->scope == RULE_FROM_DOMAIN || verdict->scope == RULE_CAMPAIGN);
    bool silences = word->ask.what >= ADAPT_PAUSE && word->ask.what <= ADAPT_SHUT_OUT;
    if (wide && silences) {
        adapt_ask_wide(shard, attempt->campaign, isp, verdict->scope, word);
    } else if (verdict->scope == RULE_ISP && word->ask.what != ADAPT_REFUSED) {
        if (adapt_owner(shard, lane) == shard->index)
            adapt_ask_all(shard, -1, isp, word);
        else
            adapt_post_word(shard, adapt_owner(shard, lane), -1, isp, word);
    } else if (verdict->scope == RULE_SOURCE && word->ask.what != ADAPT_REFUSED) {
        for (unsigned i = 0; i < shard->shards; i++)
            if (i != shard->index)
                adapt_post_word(shard, i, (int)lane->source, SLICE(""), word);
        adapt_ask_all(shard, (int)lane->source, SLICE(""), word);
    } else {
        adapt_ask_lane(shard, lane, word);
    }
}

/* What was taken of late is what a lane without a rate may learn to keep to: lane_pace. */
static void count_accepted(struct lane *lane, nsec now)
{
    static const nsec window = 60 * NSEC_PER_S;
    if (now - lane->pace.since >= window) {
        bool lately = now - lane->pace.since < 2 * window;
        lane->pace.before = lately ? lane->pace.since : now;
        lane->pace.earlier = lately ? lane->pace.count : 0;
        lane->pace.since = now;
        lane->pace.count = 0;
    }
    lane->pace.count++;
}

void carry_adapt(struct shard *shard, struct session *session, const struct attempt *attempt,
                 const struct outcome *outcome, const struct verdict *verdict)
{
    struct lane *lane = session->owner;
    nsec now = io_now(shard->io);
    char reply[ADAPT_REPLY + 1];
    if (session->site->relay >= 0)
        return;
    bool accepted = verdict->type == EVENT_DELIVERED;
    struct adapt_ask ask = ask_of(verdict, session);
    session->answered += attempt != NULL;
    if (accepted)
        count_accepted(lane, now);
    if (attempt && shard->adaptation.wide)
        adapt_end_wide(shard, attempt->campaign, slice_of(lane->own.isp), accepted);
    if (accepted || !ask.what) {
        give_sign(shard, lane, accepted ? ADAPT_SIGN_ACCEPTED : ADAPT_SIGN_ENDED);
        return;
    }
    say_reply(outcome, reply, sizeof reply);
    struct adapt_word word = {.ask = ask,
                              .started = outcome->started_wall ? now - outcome->took : session->opened_at,
                              .rate = lane_pace(lane, now),
                              .rule = verdict->rule ? verdict->rule->id : "",
                              .reply = reply,
                              .alert = verdict->alert};
    metrics_add(shard->metrics, METRIC_ADAPT_WORDS, ask.what != ADAPT_REFUSED);
    pass_on(shard, session, attempt, verdict, &word);
}

bool adapt_objects(struct shard *shard, struct session *session, const struct outcome *outcome)
{
    struct lane *lane = session->owner;
    if (outcome->happening != HAPPENING_REPLY || outcome->code < 400 || outcome->stage > STAGE_MAIL ||
        !session->answered || session->site->relay >= 0 || !lane->limits->adapt.on)
        return false;
    struct verdict verdict = verdict_of(&shard->rules, slice_of(lane->own.isp), outcome);
    if (verdict.action != RULE_LEARN)
        return false;
    carry_adapt(shard, session, NULL, outcome, &verdict);
    return true;
}

void adapt_session_closed(struct shard *shard, struct session *session, const struct outcome *why)
{
    struct lane *lane = session->owner;
    struct slice isp = slice_of(lane->own.isp);
    nsec now = io_now(shard->io);
    if (session->site->relay >= 0 || !lane->limits->adapt.on)
        return;
    bool silently = session->answered && !session->astray && why->happening == HAPPENING_CLOSED &&
                    why->stage >= STAGE_MAIL && !why->code;
    struct adapt_scope *scope = scope_of(shard, lane);
    if (silently && adapt_owner(shard, lane) == shard->index)
        scope = adapt_get(shard, RULE_LANE, lane->source, isp, SLICE(""));
    if (!scope)
        return;
    if (silently && adapt_owner(shard, lane) == shard->index)
        scope->mine = true;
    bool longer = session->answered > scope->state.closed_behind;
    if (scope->mine && (silently || longer) && adapt_closed(&scope->state, silently ? session->answered : 0, now))
        adapt_changed(scope);
    give_sign(shard, lane, ADAPT_SIGN_ENDED);
    if (scope->effect.silent_until && !lane->open)
        apply(shard, lane); /* the last one is gone: from here the silence is counted */
}

unsigned adapt_per_connection(struct shard *shard, const struct lane *lane, unsigned configured)
{
    const struct adapt_scope *scope = scope_of(shard, lane);
    unsigned learned = scope && lane->limits->adapt.on ? scope->effect.per_connection : 0;
    return learned && (!configured || learned < configured) ? learned : configured;
}

/* ---- for others ---- */

bool adapt_shuts_out(struct shard *shard, const struct backlog *backlog, struct outcome *outcome)
{
    const struct adapt_scope *scope = NULL;
    nsec now = io_lately(shard->io);
    if (backlog->lane_count < shard->config->pools[backlog->pool].source_count)
        return false;
    for (unsigned i = 0; i < backlog->lane_count; i++) {
        scope = scope_of(shard, backlog->lanes[i]);
        if (!scope || !scope->effect.silent_until || scope->effect.silent_until - now <= hour)
            return false;
    }
    if (!scope)
        return false;
    outcome_make(outcome, STAGE_CONNECT, HAPPENING_UNREACHABLE, SLICE(""));
    snprintf(outcome->reply, sizeof outcome->reply, "every source of the pool is silent towards this provider: %s",
             scope->reply);
    return true;
}

void adapt_say(const struct shard *shard, const struct lane *lane, char *text, size_t cap)
{
    const struct adapt_scope *scope = scope_of(shard, lane);
    text[0] = 0;
    if (!scope)
        return;
    const struct adapt_effect *e = &scope->effect;
    if (e->silent_until) {
        nsec wall = io_wall(shard->io) + e->silent_until - io_now(shard->io);
        int64_t minutes = wall / (60 * NSEC_PER_S) % (24 * 60);
        snprintf(text, cap, "silent until %02d:%02d UTC: %s", (int)(minutes / 60), (int)(minutes % 60), scope->reply);
    } else if (e->one_message) {
        snprintf(text, cap, "asks with one connection: %s", scope->reply);
    } else if (e->sessions) {
        snprintf(text, cap, "%u connections: %s", e->sessions, scope->reply);
    } else if (e->percent < 100 || e->rate) {
        snprintf(text, cap, "%u %% of its rate: %s", e->percent, scope->reply);
    }
}
