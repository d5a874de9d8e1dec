/* outcome.h - what an attempt came to becomes what its recipient is told: ledger bits and one event. */
#ifndef FLOW_OUTCOME_H
#define FLOW_OUTCOME_H

#include "control/config.h"
#include "flow/campaign.h"
#include "proto/policy/verdict.h"
#include "sluice/attempt.h"
#include "sluice/outcome.h"
#include "store/store.h"

/* One end on its way to Redis, with everything that its event borrows but the lease's bytes. */
struct settlement {
    struct store_end end;
    struct event event;
    struct outcome outcome;
    struct lease *lease;
    struct verdict verdict;         /* what the outcome means; its rule may go when the turn is over */
    char rule[LIMIT_RULE_NAME + 1]; /* what the event borrows of it */
    char source[LIMIT_SOURCE_NAME + 1];
    char isp[LIMIT_LIST_NAME + 1]; /* for what borrows the name: the site may be gone before it is written */
};

struct outcome_world {
    const struct config_limits *limits; /* of the ISP: its retry schedule */
    const struct rule_reader *rules;    /* NULL: none */
    struct slice source, isp;           /* names; may be empty; constant or the configuration's */
    nsec wall;                          /* UTC now */
    uint64_t random;
};

/* Fills `settlement` from the attempt and its outcome: the event, and whether it is final, tried again, held or
 * resent, by the verdict, the schedule and the campaign's policy. Borrows the attempt's lease until the settlement is
 * handed to Redis; the attempt itself no longer. */
void outcome_settle(struct settlement *settlement, const struct attempt *attempt, const struct outcome *outcome,
                    const struct outcome_world *world);
/* The attempt goes to parked:<isp>, without an event. `isp` is borrowed like the lease. */
void outcome_park(struct settlement *settlement, const struct attempt *attempt, struct slice isp);
/* Sets stage and happening, and `text` as the reply; everything else is zero. */
void outcome_make(struct outcome *outcome, enum stage stage, enum happening happening, struct slice text);

#endif
