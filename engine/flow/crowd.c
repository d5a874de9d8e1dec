/* With more ISPs than sessions somebody has to wait, and it must not be the same one for ever. */
#include "flow/crowd.h"

static bool is_full(const struct crowd *crowd)
{
    uint32_t open = pool_in_use(crowd->sessions);
    return open >= crowd->sessions->capacity || open >= crowd->most;
}

static void leave(struct crowd *crowd, struct lane *lane)
{
    struct lane **at = &crowd->first, *before = NULL;
    for (; *at != lane; at = &before->line_next)
        before = *at;
    *at = lane->line_next;
    if (crowd->last == lane)
        crowd->last = before;
    crowd->count--;
    crowd->high -= lane->in_line_high;
    lane->in_line = lane->in_line_high = false;
}

/* Behind those of priority high, or at the end. */
static void enter(struct crowd *crowd, struct lane *lane, bool high)
{
    struct lane **at = &crowd->first;
    while (*at && (!high || (*at)->in_line_high))
        at = &(*at)->line_next;
    lane->line_next = *at;
    *at = lane;
    if (!lane->line_next)
        crowd->last = lane;
    lane->in_line = true;
    lane->in_line_high = high;
    crowd->count++;
    crowd->high += high;
}

/* Only who has none: a lane that would like one more must not take another's only one, unless it is of priority high. */
static bool stand(struct crowd *crowd, struct lane *lane, bool high)
{
    if (lane->in_line && (!high || lane->in_line_high))
        return true;
    if (lane->open && !high)
        return false;
    if (lane->in_line)
        leave(crowd, lane);
    enter(crowd, lane, high);
    return true;
}

bool crowd_may_open(struct crowd *crowd, struct lane *lane, bool high)
{
    if (!is_full(crowd) && (lane->called || !crowd->count)) {
        lane->called = false;
        return true;
    }
    (void)stand(crowd, lane, high);
    return false;
}

struct lane *crowd_call(struct crowd *crowd)
{
    struct lane *lane = crowd->first;
    if (!lane || is_full(crowd))
        return NULL;
    leave(crowd, lane);
    lane->called = true;
    return lane;
}

bool crowd_stand_behind(struct crowd *crowd, struct lane *lane)
{
    return crowd->count && lane_waited_for(lane) && stand(crowd, lane, lane_waits_high(lane));
}

/* One that is idle before its first message, because its lane has to wait for a moment, would only come back. */
static bool had_its_turn(const struct crowd *crowd, const struct lane *lane, const struct session *session)
{
    if (session->in_idle)
        return session->messages || !lane_waited_for(lane);
    if (crowd->high && session->messages)
        return !lane_waits_high_at(lane, session->site);
    return session->messages >= (lane->open > 1 ? 1 : CROWD_TURN);
}

bool crowd_leaves(struct crowd *crowd, const struct lane *lane, struct session *session)
{
    if (!session->leaves && crowd->leaving < crowd->count && had_its_turn(crowd, lane, session)) {
        session->leaves = true;
        crowd->leaving++;
    }
    return session->leaves;
}

void crowd_closed(struct crowd *crowd, const struct session *session) { crowd->leaving -= session->leaves; }
