/* At the end of each turn: who of those that wait gets which session, and what must go to make place for them. */
#include "flow/shard.h"

/* May so few messages start that it matters which session has the next? */
static bool is_scarce(const struct lane *lane) { return lane->throttle.interval_ns || lane->total || lane->counter; }

static bool unserved_high(void *context, struct lane *lane, struct site *site, unsigned waiting)
{
    (void)context;
    (void)waiting;
    if (!lane_waits_high_at(lane, site))
        return false;
    for (const struct session *session = lane->sessions; session; session = session->lane_next)
        if (session->site == site && !session->leaves && !session->astray)
            return false;
    return true;
}

/* Somebody of priority high waits, but not here. If the next start would be taken from them, an idle session of theirs
 * has it instead; if they have no session and there is no place for one, they have this one's. */
bool carry_yields(struct shard *shard, struct lane *lane, struct session *session)
{
    if (!lane_waits_high(lane) || lane_waits_high_at(lane, session->site))
        return false;
    if (lane->open - lane->ending >= lane->allowed && session->messages && lane_site(lane, unserved_high, NULL)) {
        carry_send_away(shard, session);
        return true;
    }
    if (!is_scarce(lane))
        return false;
    for (const struct session *idle = lane->idle; idle; idle = idle->idle_next)
        if (idle != session && lane_waits_high_at(lane, idle->site)) {
            carry_mark(shard, &lane->own);
            return true;
        }
    return false;
}

/* Idle sessions make room for lanes that stand in line. */
static void make_room(struct shard *shard)
{
    for (struct session *session = shard->sessions; session && crowd_is_short(&shard->crowd); session = session->next)
        if (session->in_idle && crowd_leaves(&shard->crowd, session->owner, session))
            carry_end_idle(shard, session);
}

/* Does this site want one more session of the lane? One for each that waits, but no more ahead than are of use. */
static bool wants_session(void *context, struct lane *lane, struct site *site, unsigned waiting)
{
    unsigned coming = 0;
    if (!carry_warm_has_place(context, lane))
        return false;
    for (const struct session *session = lane->sessions; session; session = session->lane_next)
        coming += session->site == site && (!session->ready || session->in_idle);
    return coming < waiting && coming < lane_sessions_ahead(lane);
}

static bool site_waits(const struct lane *lane, const struct site *site) { return lane_waiting_at(lane, site) > 0; }

/* The idle session at whose site the next start is due. */
static struct session *idle_in_turn(const struct lane *lane)
{
    struct session *best = NULL;
    const struct turn *first = NULL;
    for (struct session *session = lane->idle; session; session = session->idle_next) {
        const struct turn *turn = lane_turn_at(lane, session->site);
        if (!turn || (first && !turns_before(turn, first)))
            continue;
        first = turn;
        best = session;
    }
    return best;
}

/* Idle sessions first: those whose site waits are asked; at the limit, one that serves nobody makes room. */
static void kick_idle(struct shard *shard, struct lane *lane)
{
    struct session *first = is_scarce(lane) ? idle_in_turn(lane) : NULL;
    nsec ready;
    if (first && lane_ask(&shard->lanes, lane, io_now(shard->io), &ready) == LANE_READY)
        session_kick(first);
    struct session *quits = NULL;
    for (struct session *session = lane->idle, *next; session; session = next) {
        next = session->idle_next;
        nsec when;
        if (!site_waits(lane, session->site)) {
            quits = session;
            continue;
        }
        if (lane_ask(&shard->lanes, lane, io_now(shard->io), &when) != LANE_READY &&
            !carry_relay_probes(shard, session)) { /* whose message was asked about for a while (carry_set_aside) */
            carry_wake_at(shard, lane, when);
            return;
        }
        session_kick(session);
    }
    if (quits && lane->open >= lane->allowed && lane_waited_for(lane)) {
        carry_end_idle(shard, quits);
    }
}

static void pump(struct shard *shard, struct lane *lane)
{
    kick_idle(shard, lane);
    nsec when;
    while (lane_waited_for(lane)) {
        if (!lane_may_open(&shard->lanes, lane, io_now(shard->io), &when)) {
            carry_wake_at(shard, lane, when);
            return;
        }
        struct site *site = lane_site(lane, wants_session, shard);
        if (!site || !carry_open_session(shard, lane, site, false))
            return;
    }
}

static void pump_backlog(struct shard *shard, struct backlog *backlog)
{
    backlog->marked = false;
    if (backlog->owner)
        pump(shard, backlog->owner);
    for (unsigned i = 0; i < backlog->lane_count; i++)
        pump(shard, backlog->lanes[i]);
}

void carry_pump(struct shard *shard)
{
    if (shard->intake.editions.retired)
        press_sweep(&shard->press, io_wall(shard->io));
    shard->intake.editions.retired = false;
    if (press_used(&shard->press) < shard->starved_at)
        shard->starved = false;
    bool may = carry_may_start(shard);
    if (may && !shard->could_start)
        carry_mark_all(shard);
    shard->could_start = may;
    if (!may)
        return; /* the marks stay */
    for (struct lane *lane; (lane = crowd_call(&shard->crowd));) {
        pump(shard, lane);
        lane->called = false;
    }
    struct backlog *marked = shard->marked, *others = NULL, **end = &others;
    shard->marked = NULL; /* what is marked from here on has its turn next time */
    while (marked) {
        struct backlog *backlog = marked;
        marked = backlog->marked_next;
        if (backlog->high) {
            pump_backlog(shard, backlog);
            continue;
        }
        backlog->marked_next = NULL;
        *end = backlog;
        end = &backlog->marked_next;
    }
    while (others) {
        struct backlog *backlog = others;
        others = backlog->marked_next;
        pump_backlog(shard, backlog);
    }
    make_room(shard);
}
