/* site.h - MX sets, their hosts and their addresses, shared by all domains that publish the same set.
 *
 * A host that does not answer is remembered address by address, for one minute, doubling to one hour. Addresses are
 * kept by their time to live; while DNS is in trouble, what was known stays in use. */
#ifndef FLOW_SITE_H
#define FLOW_SITE_H

#include "control/config.h"
#include "control/metrics.h"
#include "io/arena.h"
#include "io/pool.h"
#include "io/table.h"
#include "net/resolver.h"
#include "proto/policy/isp.h"
#include "proto/policy/mx.h"
#include "sluice/outcome.h"

struct sites;

struct host {
    struct table_link link;
    struct resolver_query query;
    struct sites *sites;
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

struct sites {
    struct io *io;
    struct resolver *resolver;
    const struct config *config;
    struct metrics_shard *metrics;
    void (*answered)(void *context); /* a host was answered: sites that were pending may be known now */
    void *context;
    struct isp_table isps;
    struct pool site_pool, host_pool;
    struct table site_table, host_table;
};

/* False: the arena is too small. */
must_use bool sites_open(struct sites *sites, struct arena *arena, unsigned sites_max);
/* The site of a route, made when there is none; held. NULL: too many are in use. */
must_use struct site *sites_get(struct sites *sites, struct mx_route *mx, struct slice domain,
                                const struct mx_record *records);
void sites_hold(struct site *site);
void sites_release(struct sites *sites, struct site *site);
/* Asks for hosts that are unknown or stale. True: what can be known now is known: walking by preference, all hosts of
 * the first level that has an address have answered. */
bool sites_known(struct sites *sites, struct site *site);
/* *dns_failed: a host without address had no proper answer either. */
bool sites_has_address(const struct site *site, bool *dns_failed);
/* How long an answer is kept. */
nsec sites_lifetime(uint32_t ttl_s);

/* The address to try next, for a source: hosts by preference, equal ones shuffled, dead ones passed over. False: none
 * is alive; *alive_at says when one may be tried again, NSEC_NEVER if none can ever be reached from this source. */
must_use bool sites_target(struct sites *sites, struct site *site, const struct io_address *source,
                           struct route_target *target, nsec *alive_at);
void sites_failed(struct sites *sites, const struct route_target *target);
void sites_worked(const struct route_target *target);

#endif
