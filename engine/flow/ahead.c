/* A message that has to be signed is cheap in the company of others: this file finds the company, those whose turn
 * comes next. */
#include "flow/shard.h"

enum {
    OTHERS = PRESS_BATCH - 1,
    LOOKED_AT = 64, /* in one queue: those in front may have their message already */
    SESSIONS = 32,  /* that are asked for whom they will carry next */
};

struct line {
    struct shard *shard;
    struct attempt *attempts[OTHERS];
    unsigned count;
};

static bool may_join(const struct line *line, const struct attempt *attempt)
{
    if (attempt->pressed || attempt->lease->lost || !campaign_runs(attempt->campaign) ||
        !press_signs(&line->shard->press, attempt))
        return false;
    for (unsigned i = 0; i < line->count; i++)
        if (line->attempts[i] == attempt)
            return false;
    return true;
}

static void join_row(struct line *line, const struct row *row, unsigned *looked, unsigned most)
{
    struct attempt *attempt = row->first;
    for (; attempt && *looked < LOOKED_AT && line->count < most; ++*looked, attempt = attempt->next)
        if (may_join(line, attempt))
            line->attempts[line->count++] = attempt;
}

static void join(struct line *line, const struct backlog *backlog, const struct site *site, unsigned most)
{
    const struct queue *queue = backlog_queue(backlog, site);
    const struct row *next = queue ? queue_next(queue) : NULL;
    unsigned looked = 0;
    if (next)
        join_row(line, next, &looked, most);
    for (const struct row *row = queue ? queue->rows : NULL; row; row = row->next)
        if (row != next)
            join_row(line, row, &looked, most);
}

/* Those that the lane's sessions at the site carry next. What it does not start as long as a message is good need not
 * be pressed yet. */
static void join_lane(struct line *line, const struct lane *lane, const struct site *site, unsigned most)
{
    nsec interval = lane->throttle.interval_ns;
    if (interval && PRESS_GOOD_FOR_S * NSEC_PER_S / interval < OTHERS)
        most = (unsigned)nsec_min(most, line->count + PRESS_GOOD_FOR_S * NSEC_PER_S / interval);
    join(line, &lane->own, site, most);
    for (unsigned i = 0; i < lane->backlog_count; i++)
        join(line, lane->backlogs[i], site, most);
}

/* The sessions that were begun last have not had a message, and want one as soon as they are let in. */
static void join_others(struct line *line)
{
    const struct session *session = line->shard->sessions;
    for (unsigned i = 0; session && i < SESSIONS && line->count < OTHERS; i++, session = session->next)
        if (!session->leaves && !session->quitting)
            join_lane(line, session->owner, session->site, line->count + 1);
}

enum press_result carry_press(struct shard *shard, const struct lane *lane, const struct site *site,
                              struct attempt *attempt, struct slice *reason)
{
    nsec wall = io_wall(shard->io);
    struct line line = {.shard = shard, .count = 0};
    if (press_ready(&shard->press, attempt, wall))
        return PRESS_DONE;
    if (press_signs(&shard->press, attempt)) {
        join_lane(&line, lane, site, OTHERS);
        join_others(&line);
    }
    return press_batch(&shard->press, attempt, line.attempts, line.count, wall, reason);
}
