/* route.h - where a domain's mail goes: its site, cached by time to live (RFC 5321 §5.1, RFC 7505).
 *
 * A *site* is an MX set with its hosts: domains that publish the same set share it, and so sessions. Its ISP is found
 * by MX suffix, else the set is an ISP of its own. A host that does not answer is remembered, address by address, for
 * one minute, doubling to one hour.
 *
 * Guarantees: an attempt's site stays as long as the attempt holds it (route_hold, route_release); the domain's own
 * address is used only if it has no MX; what is no answer from DNS is a failure to be retried, never a bounce. */
#ifndef FLOW_ROUTE_H
#define FLOW_ROUTE_H

#include "control/config.h"
#include "control/metrics.h"
#include "io/arena.h"
#include "io/pool.h"
#include "io/table.h"
#include "net/resolver.h"
#include "proto/policy/isp.h"
#include "proto/policy/mx.h"
#include "sluice/attempt.h"
#include "sluice/outcome.h"

struct host {
    struct table_link link;
    struct resolver_query query;
    struct route *route;
    char name[LIMIT_DOMAIN + 1];
    unsigned refs;      /* sites */
    bool asking, asked; /* a query is out; one was answered */
    enum resolver_status status;
    nsec expires;
    unsigned count;
    struct io_address addresses[LIMIT_HOST_ADDRESSES];
    struct {
        unsigned failures;
        nsec dead_until;
    } health[LIMIT_HOST_ADDRESSES];
};

struct site {
    struct table_link link;
    struct site *pending_next;
    unsigned refs; /* domains, attempts, sessions */
    bool pending;  /* its hosts are still being asked for */
    struct mx_route route;
    struct mx_record records[LIMIT_MX_HOSTS]; /* names are the hosts' */
    struct host *hosts[LIMIT_MX_HOSTS];       /* as in route.order */
    char isp[LIMIT_ISP_NAME + 1];
    char list[LIMIT_ISP_NAME + 1]; /* name of its parked list: the ISP's, or one of 256 buckets */
    uint64_t isp_hash;
    const struct config_limits *limits;
    nsec no_pipelining_until, no_across_until; /* what its servers could not stand */
    struct domain *waiting;                    /* domains that wait for its hosts */
    struct outcome last_failure;               /* the owner's: why its hosts are dead */
};

/* One address of one host. */
struct route_target {
    struct host *host;
    unsigned address; /* index */
};

struct route_failure {
    enum happening happening;
    char text[LIMIT_DOMAIN + 64];
};

struct route_events {
    void (*routed)(void *context, struct attempt *attempt); /* attempt->site is set and held */
    void (*failed)(void *context, struct attempt *attempt, const struct route_failure *failure);
};

struct route {
    struct io *io;
    struct resolver *resolver;
    const struct config *config;
    const struct route_events *on;
    void *context;
    struct metrics_shard *metrics;
    struct isp_table isps;
    struct pool domain_pool, site_pool, host_pool;
    struct table domain_table, site_table, host_table;
    struct domain *newest, *oldest; /* by last use */
    struct site *pending;
    unsigned waiting; /* attempts that wait for DNS */
};

/* False: the arena is too small. */
must_use bool route_open(struct route *route, struct arena *arena, struct io *io, struct resolver *resolver,
                         const struct config *config, const struct route_events *on, void *context,
                         struct metrics_shard *metrics, unsigned attempts_max);

enum route_result {
    ROUTE_BROKEN = 0,
    ROUTE_READY,  /* attempt->site is set and held */
    ROUTE_FAILED, /* *failure says why */
    ROUTE_WAITS,  /* `routed` or `failed` will be called */
};
/* By attempt->domain (A-labels). */
must_use enum route_result route_attempt(struct route *route, struct attempt *attempt, struct route_failure *failure);
void route_hold(struct site *site);
void route_release(struct route *route, struct site *site);

/* The address to try next, for a source: hosts by preference, equal ones shuffled, dead ones passed over. False: none
 * is alive; *alive_at says when one may be tried again, NSEC_NEVER if none can ever be reached from this source. */
must_use bool route_target(struct route *route, struct site *site, const struct io_address *source,
                           struct route_target *target, nsec *alive_at);
void route_failed(struct route *route, const struct route_target *target);
void route_worked(const struct route_target *target);

#endif
