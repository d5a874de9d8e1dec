/* A lane starts one message at a time; this file sees to it that campaigns of which each would have it all get it as
 * their weights say. */
#include "flow/turns.h"

#include "flow/campaign.h"

enum { TABLE_LOG2 = 12 };

/* Each that waits has an attempt; as many again may keep a debt. */
static unsigned members_max(unsigned attempts) { return 2 * attempts; }

bool turns_open(struct turns_set *set, struct arena *arena, unsigned backlogs, unsigned attempts)
{
    return pool_open(&set->turns, arena, sizeof(struct turns), backlogs) &&
           pool_open(&set->members, arena, sizeof(struct turn), members_max(attempts)) &&
           table_open(&set->table, arena, TABLE_LOG2);
}

struct turns *turns_hold(struct turns_set *set, uint64_t isp_hash)
{
    struct turns *turns;
    for (struct table_link *link = table_first(&set->table, isp_hash); link; link = table_next(link)) {
        turns = container_of(link, struct turns, link);
        if (turns->isp_hash == isp_hash) {
            turns->holds++;
            return turns;
        }
    }
    turns = pool_take(&set->turns);
    if (!turns)
        return NULL;
    *turns = (struct turns){.isp_hash = isp_hash, .holds = 1};
    table_add(&set->table, &turns->link, isp_hash);
    return turns;
}

void turns_release(struct turns_set *set, struct turns *turns)
{
    sluice_assert(turns->holds > 0);
    if (--turns->holds)
        return;
    for (struct turn *turn = turns->first, *next; turn; turn = next) {
        next = turn->next;
        sluice_assert(!turn->waiting);
        pool_give(&set->members, turn);
    }
    table_remove(&set->table, &turns->link);
    pool_give(&set->turns, turns);
}

/* How much further it is than the floor of its class, which is what it owes. */
static int64_t owes(const struct turns *turns, const struct turn *turn)
{
    return (int64_t)(turn->at - turns->floor[turn->high]);
}

/* The campaign's, if it has one. On the way those are dropped that wait for nothing and owe nothing; all of them, if
 * nobody waits at all, for then there is nobody to whom anything is owed. */
static struct turn *find(struct turns_set *set, struct turns *turns, uint64_t campaign)
{
    struct turn *found = NULL;
    bool contended = false;
    for (const struct turn *turn = turns->first; turn; turn = turn->next)
        contended = contended || turn->waiting;
    for (struct turn **at = &turns->first, *turn; (turn = *at);) {
        if (!turn->waiting && (!contended || (turn->campaign != campaign && owes(turns, turn) <= 0))) {
            *at = turn->next;
            pool_give(&set->members, turn);
            continue;
        }
        if (turn->campaign == campaign)
            found = turn;
        at = &turn->next;
    }
    return found;
}

struct turn *turns_join(struct turns_set *set, struct turns *turns, const struct campaign *campaign)
{
    uint64_t number = campaign ? campaign->number : 0;
    bool high = campaign && campaign->high;
    struct turn *turn = turns->first;
    if (!turn || turn->campaign != number || !turn->waiting) /* mostly there is but one */
        turn = find(set, turns, number);
    if (!turn) {
        turn = pool_take(&set->members);
        if (!turn)
            return NULL;
        *turn = (struct turn){.next = turns->first, .campaign = number, .high = high, .at = turns->floor[high]};
        turns->first = turn;
    }
    if (!turn->waiting && turn->high != high) {
        turn->high = high;
        turn->at = turns->floor[high];
    }
    if (!turn->waiting && owes(turns, turn) < 0)
        turn->at = turns->floor[high];
    turn->waiting++;
    return turn;
}

void turns_leave(struct turn *turn)
{
    sluice_assert(turn->waiting > 0);
    turn->waiting--;
}

/* The floor is where the least of those stands that wait, and never falls. */
static void raise_floor(struct turns *turns, const struct turn *charged)
{
    int64_t least = owes(turns, charged);
    for (const struct turn *turn = turns->first; turn; turn = turn->next)
        if (turn->high == charged->high && turn->waiting && owes(turns, turn) < least)
            least = owes(turns, turn);
    if (least > 0)
        turns->floor[charged->high] += (uint64_t)least;
}

void turns_charge(struct turns *turns, const struct campaign *campaign)
{
    struct turn *turn = turns->first;
    while (turn && turn->campaign != campaign->number)
        turn = turn->next;
    if (!turn)
        return; /* nobody waited by the time it started */
    sluice_assert(campaign->weight > 0 && campaign->weight <= TURNS_WEIGHT_MAX);
    turn->at += TURNS_STRIDE / campaign->weight;
    raise_floor(turns, turn);
}
