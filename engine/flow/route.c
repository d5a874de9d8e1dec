/* Domains repeat, MX sets repeat more, hosts most of all: three tables, each shared by the one before, so that a
 * campaign asks DNS once for what a hundred thousand recipients have in common. */
#include "flow/route.h"

enum { DOMAINS = 16384, TABLE_LOG2 = 15 };

static const nsec ttl_failure = 10 * NSEC_PER_S, relay_again = 60 * NSEC_PER_S;

enum domain_state { DOMAIN_BROKEN = 0, DOMAIN_ASKING, DOMAIN_HOSTS, DOMAIN_READY, DOMAIN_FAILED };

struct domain {
    struct table_link link;
    struct domain *newer, *older;
    struct domain *waiting_next; /* of its site */
    struct resolver_query query;
    struct route *route;
    enum domain_state state;
    enum happening failure;
    nsec expires;
    struct site *site;
    struct attempt *first, *last; /* that wait for it */
    int relay;                    /* >= 0: stands for what goes to config.relays[relay]; `name` is its host */
    char name[LIMIT_DOMAIN + 1];
};

/* ---- domains ---- */

static void unlink_domain(struct route *route, struct domain *domain)
{
    *(domain->newer ? &domain->newer->older : &route->newest) = domain->older;
    *(domain->older ? &domain->older->newer : &route->oldest) = domain->newer;
}

static void use_domain(struct route *route, struct domain *domain)
{
    domain->newer = NULL;
    domain->older = route->newest;
    *(domain->older ? &domain->older->newer : &route->oldest) = domain;
    route->newest = domain;
}

static void failure_text(const struct domain *domain, struct route_failure *failure)
{
    static const char *const texts[HAPPENING_COUNT] = {
        [HAPPENING_NXDOMAIN] = "domain does not exist: ",
        [HAPPENING_NULL_MX] = "domain takes no mail (null MX): ",
        [HAPPENING_NO_ADDRESS] = "no mail host of the domain has an address: ",
        [HAPPENING_DNS_FAILURE] = "no answer from DNS for ",
        [HAPPENING_LOCAL] = "the relay's host has no address: ",
    };
    failure->happening = domain->failure;
    struct slice text = slice_of(texts[domain->failure]);
    size_t n = slice_copy(failure->text, sizeof failure->text, text);
    slice_copy(failure->text + n, sizeof failure->text - n, slice_of(domain->name));
}

static void tell_waiting(struct route *route, struct domain *domain)
{
    struct attempt *attempt = domain->first;
    domain->first = domain->last = NULL;
    while (attempt) {
        struct attempt *next = attempt->next;
        attempt->next = attempt->prev = NULL;
        route->waiting--;
        if (domain->state == DOMAIN_READY) {
            attempt->site = domain->site;
            sites_hold(attempt->site);
            route->on->routed(route->context, attempt);
        } else {
            struct route_failure failure;
            failure_text(domain, &failure);
            route->on->failed(route->context, attempt, &failure);
        }
        attempt = next;
    }
}

static void domain_failed(struct route *route, struct domain *domain, enum happening happening, nsec expires)
{
    domain->state = DOMAIN_FAILED;
    domain->failure = happening;
    domain->expires = expires;
    if (domain->site)
        sites_release(&route->sites, domain->site);
    domain->site = NULL;
    tell_waiting(route, domain);
}

/* Its site's hosts are known as well as they can be now. */
static void domain_settled(struct route *route, struct domain *domain)
{
    bool dns_failed;
    if (sites_has_address(domain->site, &dns_failed)) {
        domain->state = DOMAIN_READY;
        tell_waiting(route, domain);
        return;
    }
    nsec now = io_now(route->io);
    if (domain->relay >= 0)
        domain_failed(route, domain, HAPPENING_LOCAL, now + ttl_failure);
    else
        domain_failed(route, domain, dns_failed ? HAPPENING_DNS_FAILURE : HAPPENING_NO_ADDRESS,
                      dns_failed ? now + ttl_failure : domain->expires);
}

static void settle_sites(void *context)
{
    struct route *route = context;
    for (struct site **at = &route->pending; *at;) {
        struct site *site = *at;
        if (!sites_known(&route->sites, site)) {
            at = &site->pending_next;
            continue;
        }
        *at = site->pending_next;
        site->pending = false;
        struct domain *domain = site->waiting;
        site->waiting = NULL;
        while (domain) {
            struct domain *next = domain->waiting_next;
            domain_settled(route, domain); /* its hold keeps the site until the last of them */
            domain = next;
        }
    }
}

static void wait_for_hosts(struct route *route, struct domain *domain)
{
    struct site *site = domain->site;
    domain->state = DOMAIN_HOSTS;
    domain->waiting_next = site->waiting;
    site->waiting = domain;
    if (site->pending)
        return;
    site->pending = true;
    site->pending_next = route->pending;
    route->pending = site;
}

static enum mx_answer answer_of(enum resolver_status status)
{
    switch (status) {
    case RESOLVER_OK:
        return MX_ANSWER_OK;
    case RESOLVER_NODATA:
        return MX_ANSWER_NODATA;
    case RESOLVER_NXDOMAIN:
        return MX_ANSWER_NXDOMAIN;
    default:
        return MX_ANSWER_FAILED;
    }
}

/* Replaces the domain's site, and goes on with it. NULL: there is no room for one. */
static void domain_take_site(struct route *route, struct domain *domain, struct site *site)
{
    if (domain->site)
        sites_release(&route->sites, domain->site);
    domain->site = site;
    if (!site)
        domain_failed(route, domain, domain->relay >= 0 ? HAPPENING_LOCAL : HAPPENING_DNS_FAILURE,
                      io_now(route->io) + ttl_failure);
    else if (sites_known(&route->sites, site))
        domain_settled(route, domain);
    else
        wait_for_hosts(route, domain);
}

static void mx_answered(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct domain *domain = container_of(query, struct domain, query);
    struct route *route = domain->route;
    nsec now = io_now(route->io);
    struct mx_record records[LIMIT_MX_HOSTS];
    for (unsigned i = 0; i < answer->mx_count; i++)
        records[i] = (struct mx_record){answer->mx[i].preference, slice_of(answer->mx[i].host)};
    struct mx_route mx;
    mx_read(&mx, answer_of(answer->status), slice_of(domain->name), records, answer->mx_count);
    domain->expires = now + sites_lifetime(answer->ttl_s);
    metrics_add(route->metrics,
                mx.verdict == MX_FAILED  ? METRIC_DNS_FAILED
                : mx.verdict == MX_HOSTS ? METRIC_DNS_OK
                                         : METRIC_DNS_NEGATIVE,
                1);
    switch (mx.verdict) {
    case MX_HOSTS:
    case MX_IMPLICIT:
        break;
    case MX_NULL:
        domain_failed(route, domain, HAPPENING_NULL_MX, domain->expires);
        return;
    case MX_NXDOMAIN:
        domain_failed(route, domain, HAPPENING_NXDOMAIN, domain->expires);
        return;
    case MX_UNUSABLE:
        domain_failed(route, domain, HAPPENING_NO_ADDRESS, domain->expires);
        return;
    default:
        domain_failed(route, domain, HAPPENING_DNS_FAILURE, now + ttl_failure);
        return;
    }
    domain_take_site(route, domain, sites_get(&route->sites, &mx, slice_of(domain->name), records));
}

static void domain_ask(struct route *route, struct domain *domain)
{
    if (domain->relay >= 0) { /* its one host is known; whether that has an address is looked at now and then */
        domain->expires = io_now(route->io) + relay_again;
        domain_take_site(route, domain, sites_relay(&route->sites, (unsigned)domain->relay));
        return;
    }
    domain->state = DOMAIN_ASKING;
    resolver_mx_query(route->resolver, &domain->query, slice_of(domain->name));
}

/* The one that was not used for longest makes room. NULL: all are being asked for. */
static struct domain *domain_evict(struct route *route)
{
    struct domain *domain = route->oldest;
    while (domain && (domain->state == DOMAIN_ASKING || domain->state == DOMAIN_HOSTS))
        domain = domain->newer;
    if (!domain)
        return NULL;
    unlink_domain(route, domain);
    table_remove(&route->domain_table, &domain->link);
    if (domain->site)
        sites_release(&route->sites, domain->site);
    pool_give(&route->domain_pool, domain);
    return pool_take(&route->domain_pool);
}

static struct domain *domain_get(struct route *route, struct slice name, int relay)
{
    uint64_t hash = table_hash(name);
    for (struct table_link *link = table_first(&route->domain_table, hash); link; link = table_next(link)) {
        struct domain *domain = container_of(link, struct domain, link);
        if (domain->relay == relay && slice_equal_nocase(slice_of(domain->name), name)) {
            unlink_domain(route, domain);
            use_domain(route, domain);
            return domain;
        }
    }
    struct domain *domain = pool_take(&route->domain_pool);
    if (!domain)
        domain = domain_evict(route);
    if (!domain)
        return NULL;
    memset(domain, 0, sizeof *domain);
    domain->route = route;
    domain->relay = relay;
    domain->query.done = mx_answered;
    slice_copy(domain->name, sizeof domain->name, name);
    table_add(&route->domain_table, &domain->link, hash);
    use_domain(route, domain);
    return domain;
}

static enum route_result wait_for(struct route *route, struct domain *domain, struct attempt *attempt)
{
    attempt->next = NULL;
    attempt->prev = domain->last;
    *(domain->last ? &domain->last->next : &domain->first) = attempt;
    domain->last = attempt;
    route->waiting++;
    return ROUTE_WAITS;
}

enum route_result route_attempt(struct route *route, struct attempt *attempt, int relay, struct route_failure *failure)
{
    const struct config_relay *relays = route->sites.config->relays;
    struct domain *domain = domain_get(route, relay >= 0 ? slice_of(relays[relay].host) : attempt->domain, relay);
    if (!domain) {
        failure->happening = HAPPENING_LOCAL;
        slice_copy(failure->text, sizeof failure->text, SLICE("too many domains are being looked up"));
        return ROUTE_FAILED;
    }
    nsec now = io_now(route->io);
    if (domain->state == DOMAIN_BROKEN ||
        (domain->expires <= now && (domain->state == DOMAIN_READY || domain->state == DOMAIN_FAILED)))
        domain_ask(route, domain);
    if (domain->state == DOMAIN_FAILED) {
        metrics_add(route->metrics, METRIC_DNS_CACHED, 1);
        failure_text(domain, failure);
        return ROUTE_FAILED;
    }
    if (domain->state != DOMAIN_READY)
        return wait_for(route, domain, attempt);
    if (!sites_known(&route->sites, domain->site)) {
        wait_for_hosts(route, domain);
        return wait_for(route, domain, attempt);
    }
    metrics_add(route->metrics, METRIC_DNS_CACHED, 1);
    attempt->site = domain->site;
    sites_hold(attempt->site);
    return ROUTE_READY;
}

/* ---- start ---- */

bool route_open(struct route *route, struct arena *arena, struct io *io, struct resolver *resolver,
                const struct config *config, const struct route_events *on, void *context,
                struct metrics_shard *metrics, unsigned attempts_max)
{
    *route = (struct route){.io = io, .resolver = resolver, .on = on, .context = context, .metrics = metrics};
    route->sites = (struct sites){.io = io,
                                  .resolver = resolver,
                                  .config = config,
                                  .metrics = metrics,
                                  .answered = settle_sites,
                                  .context = route};
    return sites_open(&route->sites, arena, DOMAINS + 2 * attempts_max) &&
           pool_open(&route->domain_pool, arena, sizeof(struct domain), DOMAINS) &&
           table_open(&route->domain_table, arena, TABLE_LOG2);
}
