/* verdict.h - what does an attempt's outcome mean: which event, whose fault, and does it count?
 *
 * One pure function over every stage and happening. The rules, in this order:
 *  - a byte of the body may have left and no readable final reply came: in_doubt, whatever happened;
 *  - 2yz after the dot: delivered;
 *  - 421 anywhere: deferred, counted against nobody (RFC 5321 §3.8);
 *  - a refusal in the greeting, at EHLO, STARTTLS or AUTH: deferred; it is the lane's trouble, never the recipient's;
 *  - 4yz: deferred; 552 at RCPT: deferred (RFC 5321 §4.5.3.1.10), and 503 to a body;
 *  - 5yz at MAIL: bounced, but never hard, for the recipient was not even named; 5yz after that: bounced;
 *  - a reply that the stage cannot have (250 to DATA, 1yz, 3yz): deferred, protocol-errors;
 *  - no such domain, null MX, no address: bounced, hard; DNS trouble, no connection, a lost one: deferred. */
#ifndef PROTO_POLICY_VERDICT_H
#define PROTO_POLICY_VERDICT_H

#include "proto/policy/bounce.h"
#include "proto/policy/rule.h"
#include "sluice/base.h"
#include "sluice/event.h"
#include "sluice/outcome.h"

/* Whose trouble it is: what should be slower, or left alone, from now on. */
enum verdict_trouble {
    TROUBLE_BROKEN = 0,
    TROUBLE_NONE,      /* nobody's: delivered, or a peer that closed between two messages */
    TROUBLE_RECIPIENT, /* the recipient's or its domain's */
    TROUBLE_MESSAGE,   /* what is sent, or who sends it: others of the campaign may fare alike */
    TROUBLE_HOST,      /* this MX host does not work now: another may; see backoff_dead_host */
    TROUBLE_LANE,      /* this source is not wanted by this ISP now */
    TROUBLE_LOCAL,     /* ours */
    TROUBLE_COUNT
};

struct verdict {
    enum event_type type; /* EVENT_BROKEN: this stage cannot have had this happening, which is our bug: assert */
    struct bounce bounce; /* class, kind, rule */
    enum verdict_trouble trouble;
    bool counts;        /* as an attempt of the recipient: the retry schedule goes one step on */
    const char *status; /* to be reported when the outcome has none, "5.1.10"; "" : none */

    /* What follows from it, by the rule that decided or, where none did, by class, kind and stage. */
    const struct rule *rule; /* borrows from the rules that were asked; NULL: no rule decided. bounce.rule is its id */
    enum rule_scope scope;
    enum rule_action action;
    nsec wait;            /* RETRY: the time that was named, else the rule's. Else how long it lasts; 0: not said */
    nsec retry_after;     /* this recipient, if it is deferred, is not tried again before that is over; 0: not said */
    unsigned factor;      /* SLOW: percent, 1 .. 99. CONNECTIONS: the same, of those that there are, or 0 */
    unsigned connections; /* CONNECTIONS: at most so many; 0: `factor` is given */
    bool alert;
    bool suppress; /* the address is dead for good: bounced and hard, never for a 4yz or before RCPT */
};

/* For `deferred` the caller still asks backoff_retry, and reports `expired` instead when the schedule is at its end;
 * for `in_doubt` it follows the campaign's policy. `isp`: the name of the configuration's ISP, or "". `reader` may be
 * NULL: no rules. */
struct verdict verdict_of(const struct rule_reader *reader, struct slice isp, const struct outcome *outcome);

const char *verdict_trouble_name(enum verdict_trouble trouble); /* "host" */

#endif
