/* lease.h - taking leases and reading what is in them; a part of intake. */
#ifndef FLOW_LEASE_H
#define FLOW_LEASE_H

#include "flow/intake.h"
#include "proto/recipient.h"

/* One lease step of a campaign is in flight at a time (campaign->leasing). */
void lease_list(struct intake *intake, struct campaign *campaign, unsigned most);
void lease_records(struct intake *intake, struct campaign *campaign, struct slice list, unsigned most);
void lease_due(struct intake *intake, struct campaign *campaign, int64_t due_ms, unsigned most);
void lease_adopt(struct intake *intake, struct campaign *campaign, struct slice lease, struct slice owner,
                 uint64_t incarnation);
void lease_stepped(struct store_request *request, const struct store_answer *answer);
/* Lets whoever looks adopt the rest of it. */
void lease_give_back(struct intake *intake, struct lease *lease);
void lease_free(struct intake *intake, struct lease *lease);
/* Asks Redis whether each of the leases is still ours: after a while in which another engine may have taken them over. */
void lease_check_all(struct intake *intake);

#endif
