/* Who waits for a lane stands in a queue by site, in the order in which it came; this file keeps those queues, and says
 * how many may stand in them. */
#include "flow/lane.h"

#include "flow/ledger.h"

enum { ROOM_FRESH = 500, ROOM_MOST = 4096 };

static const nsec fresh_for = NSEC_PER_S, stuck_after = 5 * NSEC_PER_S;
/* What cannot start within this time does not wait in memory. */
static const nsec horizon = 2 * NSEC_PER_S;

/* ---- queues ---- */

struct queue *backlog_queue(const struct backlog *backlog, const struct site *site)
{
    struct queue *queue = backlog->queues;
    if (!queue)
        return NULL;
    do {
        if (queue->site == site)
            return queue;
        queue = queue->next;
    } while (queue != backlog->queues);
    return NULL;
}

static struct queue *queue_make(struct lanes *lanes, struct backlog *backlog, struct site *site)
{
    struct queue *queue = pool_take(&lanes->queue_pool);
    if (!queue)
        return NULL;
    memset(queue, 0, sizeof *queue);
    queue->site = site;
    struct queue *head = backlog->queues;
    if (head) {
        queue->next = head;
        queue->prev = head->prev;
        head->prev->next = queue;
        head->prev = queue;
    } else {
        queue->next = queue->prev = queue;
        backlog->queues = queue;
    }
    return queue;
}

static void queue_drop(struct lanes *lanes, struct backlog *backlog, struct queue *queue)
{
    if (queue->next == queue) {
        backlog->queues = NULL;
    } else {
        queue->next->prev = queue->prev;
        queue->prev->next = queue->next;
        if (backlog->queues == queue)
            backlog->queues = queue->next;
    }
    pool_give(&lanes->queue_pool, queue);
}

bool backlog_add(struct lanes *lanes, struct backlog *backlog, struct attempt *attempt, bool front, nsec now)
{
    sluice_assert(attempt->site && !attempt->session);
    struct queue *queue = backlog_queue(backlog, attempt->site);
    if (!queue)
        queue = queue_make(lanes, backlog, attempt->site);
    if (!queue)
        return false;
    attempt->next = front ? queue->first : NULL;
    attempt->prev = front ? NULL : queue->last;
    if (attempt->next)
        attempt->next->prev = attempt;
    else
        queue->last = attempt;
    if (attempt->prev)
        attempt->prev->next = attempt;
    else
        queue->first = attempt;
    queue->count++;
    if (!backlog->waiting)
        backlog->moved_at = now;
    backlog->waiting++;
    lanes->waiting++;
    return true;
}

void backlog_remove(struct lanes *lanes, struct backlog *backlog, struct queue *queue, struct attempt *attempt)
{
    if (attempt->prev)
        attempt->prev->next = attempt->next;
    else
        queue->first = attempt->next;
    if (attempt->next)
        attempt->next->prev = attempt->prev;
    else
        queue->last = attempt->prev;
    attempt->next = attempt->prev = NULL;
    backlog->waiting--;
    lanes->waiting--;
    if (--queue->count == 0)
        queue_drop(lanes, backlog, queue);
}

struct attempt *backlog_last(struct backlog *backlog, const struct site *site, struct queue **queue)
{
    *queue = site ? backlog_queue(backlog, site) : backlog->queues ? backlog->queues->prev : NULL;
    return *queue ? (*queue)->last : NULL;
}

void backlog_count_start(struct backlog *backlog, nsec now)
{
    backlog->used_at = backlog->moved_at = now;
    if (now - backlog->second >= NSEC_PER_S) {
        backlog->rate = now - backlog->second < 2 * NSEC_PER_S ? backlog->taken : 0;
        backlog->taken = 0;
        backlog->second = now;
    }
    backlog->taken++;
}

/* Moves the campaign's from this backlog to *end; returns the new end. */
static struct attempt **take_of(struct lanes *lanes, struct backlog *backlog, const struct campaign *campaign,
                                struct attempt **end)
{
    struct queue *queue = backlog->queues, *last = queue ? queue->prev : NULL;
    for (bool more = queue != NULL; more;) {
        struct queue *next = queue->next; /* a queue that becomes empty goes */
        more = queue != last;
        for (struct attempt *attempt = queue->first, *after; attempt; attempt = after) {
            after = attempt->next;
            if (campaign && attempt->campaign != campaign)
                continue;
            backlog_remove(lanes, backlog, queue, attempt);
            *end = attempt;
            end = &attempt->next;
        }
        queue = next;
    }
    return end;
}

struct attempt *lanes_take_of(struct lanes *lanes, const struct campaign *campaign)
{
    struct attempt *first = NULL, **end = &first;
    for (struct backlog *backlog = lanes->backlogs; backlog; backlog = backlog->next) {
        end = take_of(lanes, backlog, campaign, end);
        for (unsigned i = 0; i < backlog->lane_count; i++)
            end = take_of(lanes, &backlog->lanes[i]->own, campaign, end);
    }
    return first;
}

/* ---- room ---- */

/* Starts that a lane's rate allows within the horizon; more than anybody needs where there is no rate. */
static unsigned allowed_soon(const struct lane *lane)
{
    if (!lane->throttle.interval_ns)
        return ROOM_MOST;
    nsec starts = horizon / lane->throttle.interval_ns + lane->throttle.burst;
    return starts < ROOM_MOST ? (unsigned)starts : ROOM_MOST;
}

unsigned backlog_open(const struct backlog *backlog)
{
    unsigned open = 0;
    for (unsigned i = 0; i < backlog->lane_count; i++)
        open += backlog->lanes[i]->open;
    return open;
}

unsigned backlog_room(const struct backlog *backlog, nsec now)
{
    if (backlog->owner) {
        const struct backlog *whole = backlog->owner->backlogs[0];
        return (backlog_room(whole, now) + whole->lane_count - 1) / whole->lane_count;
    }
    unsigned connections = 0, allowed = 0;
    for (unsigned i = 0; i < backlog->lane_count; i++) {
        connections += backlog->lanes[i]->connections;
        allowed += allowed_soon(backlog->lanes[i]);
    }
    unsigned drained = backlog->rate > backlog->taken ? backlog->rate : backlog->taken;
    unsigned room = 2 * (drained > connections ? drained : connections);
    if (now - backlog->made_at < fresh_for && room < ROOM_FRESH)
        room = ROOM_FRESH; /* nobody knows yet how fast it is */
    if (backlog->waiting && now - backlog->moved_at >= stuck_after)
        room = backlog->lane_count;
    if (room > allowed)
        room = allowed;
    return room < ROOM_MOST ? room : ROOM_MOST;
}

struct attempt *backlog_shed(struct lanes *lanes, struct backlog *backlog)
{
    struct queue *queue = backlog->queues;
    for (unsigned turns = 0; queue && turns < backlog->waiting; turns++) {
        queue = queue->prev;
        for (struct attempt *attempt = queue->last; attempt; attempt = attempt->prev)
            if (attempt->lease->list < 0) {
                backlog_remove(lanes, backlog, queue, attempt);
                return attempt;
            }
        if (queue == backlog->queues)
            break;
    }
    return NULL;
}
