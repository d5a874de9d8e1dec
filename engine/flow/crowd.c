/* With more ISPs than sessions somebody has to wait, and it must not be the same one for ever. */
#include "flow/crowd.h"

static bool is_full(const struct crowd *crowd) { return pool_in_use(crowd->sessions) >= crowd->sessions->capacity; }

/* Only who has none: a lane that would like one more must not take another's only one. */
static bool stand(struct crowd *crowd, struct lane *lane)
{
    if (lane->in_line || lane->open)
        return lane->in_line;
    lane->in_line = true;
    lane->line_next = NULL;
    *(crowd->last ? &crowd->last->line_next : &crowd->first) = lane;
    crowd->last = lane;
    crowd->count++;
    return true;
}

bool crowd_may_open(struct crowd *crowd, struct lane *lane)
{
    if (!is_full(crowd) && (lane->called || !crowd->count)) {
        lane->called = false;
        return true;
    }
    (void)stand(crowd, lane);
    return false;
}

struct lane *crowd_call(struct crowd *crowd)
{
    struct lane *lane = crowd->first;
    if (!lane || is_full(crowd))
        return NULL;
    crowd->first = lane->line_next;
    if (!crowd->first)
        crowd->last = NULL;
    crowd->count--;
    lane->in_line = false;
    lane->called = true;
    return lane;
}

bool crowd_stand_behind(struct crowd *crowd, struct lane *lane)
{
    return crowd->count && lane_waited_for(lane) && stand(crowd, lane);
}

/* One that is idle before its first message, because its lane has to wait for a moment, would only come back. */
static bool had_its_turn(const struct lane *lane, const struct session *session)
{
    if (session->in_idle)
        return session->messages || !lane_waited_for(lane);
    return session->messages >= (lane->open > 1 ? 1 : CROWD_TURN);
}

bool crowd_leaves(struct crowd *crowd, const struct lane *lane, struct session *session)
{
    if (!session->leaves && crowd->leaving < crowd->count && had_its_turn(lane, session)) {
        session->leaves = true;
        crowd->leaving++;
    }
    return session->leaves;
}

void crowd_closed(struct crowd *crowd, const struct session *session) { crowd->leaving -= session->leaves; }
