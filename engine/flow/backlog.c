/* Who waits for a lane stands in a queue by site, in the order in which it came; this file keeps those queues, and says
 * how many may stand in them. */
#include "flow/lane.h"

#include "flow/campaign.h"
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

/* ---- rows ---- */

static uint64_t number_of(const struct campaign *campaign) { return campaign ? campaign->number : 0; }

static unsigned weight_of(const struct campaign *campaign) { return campaign ? campaign->weight : TURNS_WEIGHT; }

static struct row *row_of(const struct queue *queue, const struct campaign *campaign)
{
    struct row *row = queue->rows;
    while (row && row->turn->campaign != number_of(campaign))
        row = row->next;
    return row;
}

/* A row that becomes empty goes with the last of it, and so does a queue. */
static struct row *row_make(struct lanes *lanes, struct queue *queue)
{
    struct row *row = pool_take(&lanes->row_pool);
    if (!row)
        return NULL;
    *row = (struct row){.next = queue->rows};
    queue->rows = row;
    return row;
}

static void row_drop(struct lanes *lanes, struct queue *queue, struct row *row)
{
    struct row **at = &queue->rows;
    while (*at != row)
        at = &(*at)->next;
    *at = row->next;
    pool_give(&lanes->row_pool, row);
}

struct row *queue_next(const struct queue *queue)
{
    struct row *next = queue->rows;
    for (struct row *row = next->next; row; row = row->next)
        if (turns_before(row->turn, next->turn))
            next = row;
    return next;
}

static void row_insert(struct row *row, struct attempt *attempt, bool front)
{
    attempt->next = front ? row->first : NULL;
    attempt->prev = front ? NULL : row->last;
    *(attempt->next ? &attempt->next->prev : &row->last) = attempt;
    *(attempt->prev ? &attempt->prev->next : &row->first) = attempt;
    row->count++;
}

/* The row to stand in, with its turn. NULL: no room. */
static struct row *row_for(struct lanes *lanes, struct backlog *backlog, struct queue *queue,
                           const struct campaign *campaign)
{
    struct row *row = row_of(queue, campaign);
    struct turn *turn = turns_join(&lanes->turns, backlog->turns, campaign);
    if (!turn)
        return NULL;
    if (!row)
        row = row_make(lanes, queue);
    if (row)
        row->turn = turn;
    else
        turns_leave(turn);
    return row;
}

bool backlog_add(struct lanes *lanes, struct backlog *backlog, struct attempt *attempt, bool front, nsec now)
{
    sluice_assert(attempt->site && !attempt->session);
    struct queue *queue = backlog_queue(backlog, attempt->site);
    if (!queue)
        queue = queue_make(lanes, backlog, attempt->site);
    if (!queue)
        return false;
    struct row *row = row_for(lanes, backlog, queue, attempt->campaign);
    if (!row) {
        if (!queue->count)
            queue_drop(lanes, backlog, queue);
        return false;
    }
    row_insert(row, attempt, front);
    queue->count++;
    if (!backlog->waiting)
        backlog->moved_at = now;
    backlog->waiting++;
    backlog->high += row->turn->high;
    lanes->waiting++;
    return true;
}

static void take_out(struct lanes *lanes, struct backlog *backlog, struct queue *queue, struct row *row,
                     struct attempt *attempt)
{
    *(attempt->prev ? &attempt->prev->next : &row->first) = attempt->next;
    *(attempt->next ? &attempt->next->prev : &row->last) = attempt->prev;
    attempt->next = attempt->prev = NULL;
    backlog->waiting--;
    backlog->high -= row->turn->high;
    lanes->waiting--;
    turns_leave(row->turn);
    if (--row->count == 0)
        row_drop(lanes, queue, row);
    if (--queue->count == 0)
        queue_drop(lanes, backlog, queue);
}

void backlog_remove(struct lanes *lanes, struct backlog *backlog, struct queue *queue, struct attempt *attempt)
{
    take_out(lanes, backlog, queue, row_of(queue, attempt->campaign), attempt);
}

struct attempt *backlog_last(struct backlog *backlog, const struct site *site, struct queue **queue)
{
    *queue = site ? backlog_queue(backlog, site) : backlog->queues ? backlog->queues->prev : NULL;
    return *queue ? (*queue)->rows->last : NULL;
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
        for (struct row *row = queue->rows, *row_next; row; row = row_next) {
            row_next = row->next; /* so does a row */
            if (campaign && row->turn->campaign != campaign->number)
                continue;
            for (unsigned left = row->count; left; left--) {
                struct attempt *attempt = row->first;
                take_out(lanes, backlog, queue, row, attempt);
                *end = attempt;
                end = &attempt->next;
            }
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

/* ---- who goes to make room ---- */

/* The youngest of a row that was never parked. */
static struct attempt *sheddable(const struct row *row)
{
    struct attempt *attempt = row->last;
    while (attempt && attempt->lease->list >= 0)
        attempt = attempt->prev;
    return attempt;
}

/* Is `a` at least as much for its weight as `b`? */
static bool as_much(unsigned a, unsigned weight_a, unsigned b, unsigned weight_b)
{
    return (uint64_t)a * weight_b >= (uint64_t)b * weight_a;
}

struct victim {
    struct queue *queue;
    struct row *row;
    struct attempt *attempt;
};

static bool goes_before(const struct row *row, unsigned weight, const struct victim *victim)
{
    if (!victim->row || row->turn->high != victim->row->turn->high)
        return !victim->row || !row->turn->high;
    unsigned other = weight_of(victim->attempt->campaign);
    return !as_much(victim->row->count, other, row->count, weight);
}

static struct victim find_victim(const struct backlog *backlog)
{
    struct victim victim = {0};
    struct queue *queue = backlog->queues;
    for (unsigned seen = 0; queue && seen < backlog->waiting;) {
        queue = queue->prev;
        seen += queue->count;
        for (struct row *row = queue->rows; row; row = row->next) {
            struct attempt *attempt;
            if (goes_before(row, weight_of(row->last->campaign), &victim) && (attempt = sheddable(row)))
                victim = (struct victim){queue, row, attempt};
        }
    }
    return victim;
}

struct attempt *backlog_shed(struct lanes *lanes, struct backlog *backlog)
{
    struct victim victim = find_victim(backlog);
    if (victim.row)
        take_out(lanes, backlog, victim.queue, victim.row, victim.attempt);
    return victim.attempt;
}

static unsigned waiting_of(const struct backlog *backlog, const struct campaign *campaign)
{
    unsigned count = 0, seen = 0;
    for (const struct queue *queue = backlog->queues; queue && seen < backlog->waiting; queue = queue->next) {
        const struct row *row = row_of(queue, campaign);
        count += row ? row->count : 0;
        seen += queue->count;
    }
    return count;
}

struct attempt *backlog_yield(struct lanes *lanes, struct backlog *backlog, const struct campaign *campaign)
{
    if (backlog->queues && backlog->queues->rows->turn->campaign == campaign->number &&
        backlog->queues->rows->count == backlog->waiting)
        return NULL; /* mostly there is nobody else */
    struct victim victim = find_victim(backlog);
    if (!victim.row || (victim.row->turn->high && !campaign->high))
        return NULL;
    unsigned theirs = waiting_of(backlog, victim.attempt->campaign) - 1, mine = waiting_of(backlog, campaign) + 1;
    if (victim.row->turn->high == campaign->high &&
        !as_much(theirs, weight_of(victim.attempt->campaign), mine, campaign->weight))
        return NULL;
    take_out(lanes, backlog, victim.queue, victim.row, victim.attempt);
    return victim.attempt;
}
