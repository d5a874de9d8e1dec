/* portion.h - how much of the intake's room a campaign may have, so that none fills it alone.
 *
 * Campaigns of one class that want some of a room have shares of it by weight; who wants none leaves it to the others.
 * One of priority high does not see what others have, and there is room in the intake that is kept for it. */
#ifndef FLOW_PORTION_H
#define FLOW_PORTION_H

#include "flow/intake.h"

enum {
    PORTION_LOW_WATER = 3000, /* recipients that wait below which a new range is leased */
    PORTION_RANGE_LEAST = 64, /* of a range, however many campaigns there are */
    /* For campaigns of priority high alone: */
    PORTION_KEPT_ATTEMPTS = LIMIT_LEASE_RECIPIENTS,
    PORTION_KEPT_LEASES = 64,
};

/* Who wants a range now, and how much they weigh together: once a turn, before it is asked for. */
void portion_count(struct intake *intake, nsec now);
bool portion_wants_range(const struct campaign *campaign, nsec now);
/* How many recipients the campaign may lease of the list now; 0: others come first. `waiting`: in all of the intake. */
unsigned portion_range(const struct intake *intake, const struct campaign *campaign, unsigned waiting);

/* What a look said of its parked lists counts from now on, instead of what an earlier one said; nothing does. */
void portion_looked(struct intake *intake, struct campaign *campaign);
void portion_forget(struct intake *intake, struct campaign *campaign);
/* How many records of campaign->leasing_list it may have in memory besides those that it has, of `room` for all; *whole:
 * how many in all. */
unsigned portion_parked(const struct intake *intake, const struct campaign *campaign, unsigned room, unsigned *whole);

#endif
