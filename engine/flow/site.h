/* site.h - MX sets, their hosts and their addresses, shared by all domains that publish the same set.
 *
 * A host that does not answer is remembered address by address, for one minute, doubling to one hour. Addresses are
 * kept by their time to live; while DNS is in trouble, what was known stays in use.
 *
 * How safe the way to a host must be. A site is *secure* when its MX set was validated by DNSSEC, and *enforced* when
 * an MTA-STS policy in mode enforce holds for its domains; these are part of what a site is, so that mail for whom
 * less is demanded never shares its sessions. Of a secure site each host whose addresses were validated too has its
 * TLSA records asked for (RFC 7672 §2.2), and they are kept by their time to live. Guarantees:
 *   - while it is not known whether a host has TLSA records (no answer, or one that does not validate), a secure site
 *     does not use that host (RFC 7672 §2.1.2); it is never taken for a host without;
 *   - an enforced site has no host but those that the policy names (RFC 8461 §4.1).
 * What follows for a session: sites_dane and site->enforced. DANE goes before MTA-STS (RFC 8461 §2). */
#ifndef FLOW_SITE_H
#define FLOW_SITE_H

#include "control/config.h"
#include "control/log.h"
#include "control/metrics.h"
#include "io/arena.h"
#include "io/pool.h"
#include "io/table.h"
#include "net/resolver.h"
#include "proto/policy/dane.h"
#include "proto/policy/isp.h"
#include "proto/policy/mx.h"
#include "sluice/outcome.h"

struct sites;

/* A reload: each site's limits, and whether it is still what it was. */
void sites_reload(struct sites *sites, const struct config *config);
/* What DANE demands of a session with a host (RFC 7672 §2.2). */
enum host_dane {
    HOST_DANE_BROKEN = 0, /* not asked */
    HOST_DANE_NONE,       /* nothing: there are no records, or nothing that would make them believable */
    HOST_DANE_FAILED,     /* there was no answer to be believed: the host is not to be used now */
    HOST_DANE_TLS,        /* records, none of them usable: TLS, with whatever certificate */
    HOST_DANE_RECORDS,    /* TLS with a certificate that matches one of `tlsa` */
};

struct host {
    struct table_link link;
    struct resolver_query query;
    struct sites *sites;
    char name[LIMIT_DOMAIN + 1];
    uint16_t port;      /* of its addresses; what is known of one port says nothing of another */
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
    bool secure;                      /* its addresses were validated by DNSSEC */
    bool dane_wanted;                 /* a secure site has it */
    enum host_dane dane;              /* use sites_dane */
    char tlsa_base[LIMIT_DOMAIN + 1]; /* HOST_DANE_TLS, _RECORDS: the TLSA base domain (RFC 7672 §2.2.3), which is also
                                         the server's name in TLS; the host's own name counts beside it */
    char tlsa_asked[LIMIT_DOMAIN + 1]; /* private: the base domain that is asked about */
    unsigned tlsa_count;
    struct dane_record tlsa[LIMIT_TLSA];
};

struct site {
    struct table_link link;
    struct site *pending_next;
    unsigned refs; /* domains, attempts, sessions */
    bool pending;  /* its hosts are still being asked for */
    bool secure;   /* its MX set was validated by DNSSEC, and DANE is in use */
    bool enforced; /* by MTA-STS: TLS, with a certificate of a known authority for the host's name */
    bool stale;    /* since a reload its hosts are another ISP's: its domains are looked up anew */
    int relay;     /* index into config.relays; -1: a mail exchanger's */
    struct mx_route route;
    struct mx_record records[LIMIT_MX_HOSTS]; /* names are the hosts' */
    struct host *hosts[LIMIT_MX_HOSTS];       /* as in route.order */
    char isp[LIMIT_ISP_NAME + 1];
    char list[LIMIT_ISP_NAME + 1]; /* name of its parked list: the ISP's, or one of 256 buckets */
    uint64_t isp_hash;
    const struct config_limits *limits;
    nsec no_pipelining_until, no_across_until; /* what its servers could not stand */
    nsec no_chunking_until, chunking_until;    /* BDAT: what it needs was disproved, proved */
    struct {
        unsigned failures;
        nsec until;
    } unfit[LIMIT_MX_HOSTS];     /* hosts that are not encrypted as this site demands; for others they may do */
    struct domain *waiting;      /* domains that wait for its hosts */
    struct outcome last_failure; /* the owner's: why its hosts are dead */
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
    const struct log *log;
    void (*answered)(void *context); /* a host was answered: sites that were pending may be known now */
    void *context;
    struct pool site_pool, host_pool;
    struct table site_table, host_table;
};

/* False: the arena is too small. */
must_use bool sites_open(struct sites *sites, struct arena *arena, unsigned sites_max);
/* What is demanded of all hosts of a site. */
struct site_safety {
    bool secure;   /* the MX set, or that there is none, was validated by DNSSEC */
    bool enforced; /* by MTA-STS: the caller has left out what the policy does not allow */
};
/* The site of a route, made when there is none; held. NULL: too many are in use. */
must_use struct site *sites_get(struct sites *sites, struct mx_route *mx, struct slice domain,
                                const struct mx_record *records, struct site_safety safety);
/* The same for a relay: its host's own addresses, without a look at MX. */
must_use struct site *sites_relay(struct sites *sites, unsigned relay);
/* What DANE demands of a session of this site with one of its hosts: _NONE, _TLS or _RECORDS for a host that
 * sites_target gave. */
static inline enum host_dane sites_dane(const struct site *site, const struct host *host)
{
    return site->secure && host->secure ? host->dane : HOST_DANE_NONE;
}
void sites_hold(struct site *site);
void sites_release(struct sites *sites, struct site *site);
/* Asks for hosts that are unknown or stale. True: what can be known now is known: walking by preference, all hosts of
 * the first level that can be used have answered. */
bool sites_known(struct sites *sites, struct site *site);
/* What DNS says of a site's hosts. */
enum sites_reach {
    SITES_BROKEN = 0,
    SITES_REACHED,      /* one can be used at least */
    SITES_NO_ADDRESS,   /* none has an address */
    SITES_NO_ANSWER,    /* none has one, and of some there was no answer */
    SITES_NOT_BELIEVED, /* some have, but of these there was no answer about TLSA that could be believed */
};
enum sites_reach sites_reach(const struct site *site);
/* How long an answer is kept. */
nsec sites_lifetime(uint32_t ttl_s);

/* The address to try next, for a source: hosts by preference, equal ones shuffled, dead ones passed over. False: none
 * is alive; *alive_at says when one may be tried again, NSEC_NEVER if none can ever be reached from this source. */
must_use bool sites_target(struct sites *sites, struct site *site, const struct io_address *source,
                           struct route_target *target, nsec *alive_at);
/* Is the address of a host that has none yet being asked for? The answer, or its failure, comes within the resolver's
 * time-outs. */
bool sites_asking(const struct site *site);
void sites_failed(struct sites *sites, const struct route_target *target);
void sites_worked(struct site *site, const struct route_target *target);
/* This site does not use the host for a while, which is not encrypted as the site demands. */
void sites_unfit(struct sites *sites, struct site *site, const struct host *host);

#endif
