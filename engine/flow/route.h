/* route.h - where a domain's mail goes: its site, cached by time to live (RFC 5321 §5.1, RFC 7505).
 *
 * A *site* is an MX set with its hosts: domains that publish the same set share it, and so sessions. Its ISP is found
 * by MX suffix, else the set is an ISP of its own. A host that does not answer is remembered, address by address, for
 * one minute, doubling to one hour.
 *
 * A domain with an MTA-STS policy in mode enforce has mail sent to hosts that the policy names and to no other; where
 * it names none of them, its mail waits. Such domains, and those whose MX set is validated by DNSSEC, have sites apart
 * from others' (site.h).
 *
 * Guarantees: an attempt's site stays as long as the attempt holds it (sites_hold, sites_release); the domain's own
 * address is used only if it has no MX; what is no answer from DNS is a failure to be retried, never a bounce. */
#ifndef FLOW_ROUTE_H
#define FLOW_ROUTE_H

#include "flow/inquiry.h"
#include "flow/site.h"
#include "sluice/attempt.h"

struct route_failure {
    enum happening happening;
    char text[LIMIT_DOMAIN + 64];
};

struct route_events {
    void (*routed)(void *context, struct attempt *attempt); /* attempt->site is set and held */
    void (*failed)(void *context, struct attempt *attempt, const struct route_failure *failure);
};

struct route {
    struct sites sites;
    struct inquiries inquiries;
    struct io *io;
    const struct log *log;
    const struct route_events *on;
    void *context;
    struct metrics_shard *metrics;
    struct pool domain_pool;
    struct table domain_table;
    struct domain *newest, *oldest; /* by last use */
    struct site *pending;
    unsigned waiting; /* attempts that wait for DNS */
};

struct route_config {
    struct io *io;
    struct resolver *resolver;
    struct sts *sts;       /* NULL: MTA-STS is not in use */
    struct sts_desk *desk; /* the shard's */
    const struct config *config;
    struct metrics_shard *metrics;
    const struct log *log; /* borrows, as all the others, until the route is no longer used; NULL: silent */
    unsigned attempts_max; /* that may wait at once */
};
/* False: the arena is too small. */
must_use bool route_open(struct route *route, struct arena *arena, const struct route_config *config,
                         const struct route_events *on, void *context);

enum route_result {
    ROUTE_BROKEN = 0,
    ROUTE_READY,  /* attempt->site is set and held */
    ROUTE_FAILED, /* *failure says why */
    ROUTE_WAITS,  /* `routed` or `failed` will be called */
};
/* By attempt->domain (A-labels); or, with `relay` >= 0, to the host of config.relays[relay], whatever the domain's DNS
 * says. That the host has no address is our own trouble then, never the recipient's. */
must_use enum route_result route_attempt(struct route *route, struct attempt *attempt, int relay,
                                         struct route_failure *failure);

#endif
