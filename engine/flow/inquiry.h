/* inquiry.h - all that is asked before it is known where a domain's mail may go: its MX, and its MTA-STS policy.
 *
 * MX and the TXT record _mta-sts.DOMAIN are asked for at the same time. Where the record tells of a policy that is not
 * known, or of another than is known, that is fetched first (RFC 8461 §5.1), and mail waits for it, for a minute at
 * most; one that is known and grows old is fetched again without anybody waiting. A policy that cannot be had is none,
 * unless one is known: the record alone obliges nobody, and DNS may lie (RFC 8461 §10.2). */
#ifndef FLOW_INQUIRY_H
#define FLOW_INQUIRY_H

#include "control/metrics.h"
#include "io/arena.h"
#include "io/pool.h"
#include "net/resolver.h"
#include "net/sts.h"
#include "proto/policy/mx.h"

struct inquiries;

struct inquiry {
    struct inquiries *all;
    void *owner;
    char domain[LIMIT_DOMAIN + 1];
    /* The answer about MX. */
    enum resolver_status status;
    uint32_t ttl_s;
    bool secure;
    unsigned mx_count;
    struct mx_record mx[LIMIT_MX_HOSTS]; /* names stand in `hosts` */
    /* The policy in force; mode STS_NONE when there is none. */
    struct sts_policy policy;

    /* private */
    unsigned open;   /* of MX and policy: not known yet */
    bool told;       /* `done` was called */
    bool refreshing; /* a fetch goes on for which nobody waits */
    char id[STS_ID + 1];
    struct resolver_query mx_query, policy_query; /* the second: the TXT record, then the policy host's addresses */
    struct sts_fetch fetch;
    char hosts[LIMIT_MX_HOSTS][LIMIT_DOMAIN + 1];
};

/* Of a shard. The owner sets the first part. */
struct inquiries {
    struct io *io;
    struct resolver *resolver;
    struct sts *sts;       /* NULL: policies are not asked for */
    struct sts_desk *desk; /* NULL if sts is */
    struct metrics_shard *metrics;
    void (*done)(void *context, struct inquiry *inquiry); /* all is known; the inquiry is not to be used afterwards */
    void *context;

    struct pool pool;
    unsigned refreshing;
};

/* False: the arena is too small. `most` may be open at once. */
must_use bool inquiries_open(struct inquiries *inquiries, struct arena *arena, unsigned most);
/* `domain` in A-labels. False: too many are open. `done` follows in a later turn. */
must_use bool inquiry_begin(struct inquiries *inquiries, struct slice domain, void *owner);

#endif
