/* Redis holds all of every campaign, and memory a little: whose that little is decides who is sent. */
#include "flow/portion.h"

#include "flow/ledger.h"

enum { BYTES = 32 << 20 }; /* of leases, of all campaigns that want more; half of what there is */

static unsigned part(unsigned whole, unsigned weight, unsigned all)
{
    unsigned n = all > weight ? (unsigned)((uint64_t)whole * weight / all) : whole;
    return n ? n : 1;
}

bool portion_wants_range(const struct campaign *campaign, nsec now)
{
    return campaign->looked && !campaign->unread && campaign_runs(campaign) && campaign->pool >= 0 &&
           campaign->view.taken < campaign->view.pushed && campaign->rest_until <= now;
}

void portion_count(struct intake *intake, nsec now)
{
    intake->wanting[false] = intake->wanting[true] = 0;
    for (const struct campaign *campaign = intake->campaigns; campaign; campaign = campaign->next)
        if (portion_wants_range(campaign, now))
            intake->wanting[campaign->high] += campaign->weight;
}

unsigned portion_range(const struct intake *intake, const struct campaign *campaign, unsigned waiting)
{
    unsigned all = intake->wanting[campaign->high], most = part(PORTION_LOW_WATER, campaign->weight, all);
    unsigned mine = campaign->attempts - campaign->carried;
    if (mine >= most || (!campaign->high && waiting >= PORTION_LOW_WATER) ||
        (all > campaign->weight && campaign->bytes >= (uint64_t)BYTES * campaign->weight / all))
        return 0;
    if (most < PORTION_RANGE_LEAST)
        return PORTION_RANGE_LEAST;
    return most < LIMIT_LEASE_RECIPIENTS ? most : LIMIT_LEASE_RECIPIENTS;
}

void portion_forget(struct intake *intake, struct campaign *campaign)
{
    for (unsigned i = 0; i < campaign->wanted.count; i++)
        intake->lists[campaign->wanted.lists[i]].wanting[campaign->wanted.high] -= campaign->wanted.weight;
    campaign->wanted.count = 0;
}

/* Lists of several names may meet in one place: a campaign does not compete with itself. */
static bool wants(const struct campaign *campaign, uint32_t list)
{
    for (unsigned i = 0; i < campaign->wanted.count; i++)
        if (campaign->wanted.lists[i] == list)
            return true;
    return false;
}

void portion_looked(struct intake *intake, struct campaign *campaign)
{
    portion_forget(intake, campaign);
    if (!campaign_runs(campaign) || campaign->pool < 0)
        return;
    campaign->wanted.weight = campaign->weight;
    campaign->wanted.high = campaign->high;
    for (unsigned i = 0; i < campaign->view.parked_count; i++) {
        uint32_t list = intake_list_of(campaign, i);
        if (wants(campaign, list))
            continue;
        campaign->wanted.lists[campaign->wanted.count++] = list;
        intake->lists[list].wanting[campaign->high] += campaign->weight;
    }
}

/* What it has in memory from this list. */
static unsigned has(const struct campaign *campaign)
{
    unsigned count = 0;
    for (const struct lease *lease = campaign->first_lease; lease; lease = lease->mate)
        if (lease->list == campaign->leasing_list)
            count += lease->open;
    return count;
}

unsigned portion_parked(const struct intake *intake, const struct campaign *campaign, unsigned room, unsigned *whole)
{
    const struct intake_list *list = &intake->lists[campaign->leasing_list];
    unsigned here = campaign->high ? list->high : list->here, all = list->wanting[campaign->high];
    unsigned free = room > here ? room - here : 0;
    *whole = room;
    if (!free || all <= campaign->weight)
        return free;
    *whole = part(room, campaign->weight, all);
    unsigned mine = has(campaign), more = *whole > mine ? *whole - mine : 0;
    return more < free ? more : free;
}
