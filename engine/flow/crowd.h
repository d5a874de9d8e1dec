/* crowd.h - who may open a session when sessions_max are open: lanes that have none stand in line.
 *
 * Guarantee: as long as sessions end or have had their turn, every lane in the line gets one. Of an idle session the
 * turn is over, of one of several of a lane after the message it is at, of a lane's only one after CROWD_TURN. A lane
 * for which somebody of priority high waits stands in front of the others, even if it has sessions at other sites, and
 * takes a place after the message that is at it. */
#ifndef FLOW_CROWD_H
#define FLOW_CROWD_H

#include "flow/lane.h"
#include "flow/session.h"

enum { CROWD_TURN = 20 };

struct crowd {
    struct pool *sessions; /* borrows until dropped */
    unsigned most;         /* may be open: fewer than the pool has while descriptors are short (lack.h) */
    struct lane *first, *last;
    unsigned count;   /* lanes in the line */
    unsigned high;    /* of them, those that came because of priority high */
    unsigned leaving; /* sessions that end to make room */
    unsigned idle;
};

/* May the lane open a session now? If not and it has none, or none at the site for which somebody of priority high
 * waits (`high`), it stands in line and is called. */
must_use bool crowd_may_open(struct crowd *crowd, struct lane *lane, bool high);
/* The next in line, if there is a place for it; NULL: nobody. It may open one at once, until `called` is taken back. */
must_use struct lane *crowd_call(struct crowd *crowd);
/* A session of the lane has ended. True: it was its last, others wait already, and it stands behind them. */
must_use bool crowd_stand_behind(struct crowd *crowd, struct lane *lane);
/* Must this session take no further message, so that another lane gets its place? */
must_use bool crowd_leaves(struct crowd *crowd, const struct lane *lane, struct session *session);
/* Are more idle sessions to end than do? */
static inline bool crowd_is_short(const struct crowd *crowd)
{
    return crowd->idle > 0 && crowd->leaving < crowd->count;
}
void crowd_closed(struct crowd *crowd, const struct session *session);

#endif
