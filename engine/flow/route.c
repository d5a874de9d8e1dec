/* Domains repeat, MX sets repeat more, hosts most of all: three tables, each shared by the one before, so that a
 * campaign asks DNS once for what a hundred thousand recipients have in common. */
#include "flow/route.h"

enum { DOMAINS = 16384, TABLE_LOG2 = 15 };

static const nsec ttl_failure = 10 * NSEC_PER_S, relay_again = 60 * NSEC_PER_S;

static const char dns_silent[] = "no answer from DNS for ";

enum domain_state { DOMAIN_BROKEN = 0, DOMAIN_ASKING, DOMAIN_HOSTS, DOMAIN_READY, DOMAIN_FAILED };

struct domain {
    struct table_link link;
    struct domain *newer, *older;
    struct domain *waiting_next; /* of its site */
    enum domain_state state;
    enum happening failure;
    const char *why; /* of the failure: a sentence that its name ends */
    bool told;       /* the log has it that the policy does not allow all of its hosts */
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
    failure->happening = domain->failure;
    size_t n = slice_copy(failure->text, sizeof failure->text, slice_of(domain->why));
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

static void domain_failed(struct route *route, struct domain *domain, enum happening happening, const char *why,
                          nsec expires)
{
    domain->state = DOMAIN_FAILED;
    domain->failure = happening;
    domain->why = why;
    domain->expires = expires;
    if (domain->site)
        sites_release(&route->sites, domain->site);
    domain->site = NULL;
    tell_waiting(route, domain);
}

/* Its site's hosts are known as well as they can be now. */
static void domain_settled(struct route *route, struct domain *domain)
{
    nsec soon = io_now(route->io) + ttl_failure;
    enum sites_reach reach = sites_reach(domain->site);
    if (reach == SITES_REACHED) {
        domain->state = DOMAIN_READY;
        tell_waiting(route, domain);
    } else if (domain->relay >= 0) {
        domain_failed(route, domain, HAPPENING_LOCAL, "the relay's host has no address: ", soon);
    } else if (reach == SITES_NO_ADDRESS) {
        domain_failed(route, domain, HAPPENING_NO_ADDRESS,
                      "no mail host of the domain has an address: ", domain->expires);
    } else if (reach == SITES_NO_ANSWER) {
        domain_failed(route, domain, HAPPENING_DNS_FAILURE, dns_silent, soon);
    } else {
        domain_failed(route, domain, HAPPENING_DNS_FAILURE,
                      "no answer from DNS about TLSA (DANE) of the mail hosts of ", soon);
    }
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
        domain_failed(route, domain, HAPPENING_LOCAL, "too many mail hosts are known to take in those of ",
                      io_now(route->io) + ttl_failure);
    else if (sites_known(&route->sites, site))
        domain_settled(route, domain);
    else
        wait_for_hosts(route, domain);
}

/* Leaves the hosts that the domain's MTA-STS policy allows (RFC 8461 §4.1, §5). False: there is none. */
static bool obey_policy(struct route *route, struct domain *domain, const struct inquiry *inquiry, struct mx_route *mx)
{
    const struct sts_policy *policy = &inquiry->policy;
    unsigned count = mx->verdict == MX_IMPLICIT ? 1 : mx->count, allowed = 0;
    for (unsigned i = 0; i < count; i++) {
        struct slice host = mx->verdict == MX_IMPLICIT ? slice_of(domain->name) : inquiry->mx[mx->order[i]].host;
        allowed |= (unsigned)sts_policy_allows(policy, host) << i;
    }
    bool enforced = policy->mode == STS_ENFORCE;
    if (allowed == (1u << count) - 1) {
        domain->told = false;
        return true;
    }
    metrics_add(route->metrics, enforced ? METRIC_STS_LEFT_OUT : METRIC_STS_WOULD_LEAVE_OUT, 1);
    if (!domain->told)
        log_info(route->log, "mail hosts of a domain are not those of its MTA-STS policy",
                 log_text("domain", domain->name), log_text("mode", sts_mode_name(policy->mode)),
                 log_number("hosts", count), log_number("allowed", __builtin_popcount(allowed)));
    domain->told = true;
    if (enforced && allowed && mx->verdict == MX_HOSTS)
        isp_keep(mx, (uint16_t)allowed);
    return !enforced || allowed;
}

/* The domain has mail hosts. */
static void take_hosts(struct route *route, struct domain *domain, const struct inquiry *inquiry, struct mx_route *mx)
{
    enum sts_mode mode = inquiry->policy.mode;
    if (mode != STS_NONE && !obey_policy(route, domain, inquiry, mx)) {
        domain_failed(route, domain, HAPPENING_STS, "the MTA-STS policy allows no mail host of ",
                      io_now(route->io) + ttl_failure);
        return;
    }
    struct site_safety safety = {.secure = inquiry->secure, .enforced = mode == STS_ENFORCE};
    domain_take_site(route, domain, sites_get(&route->sites, mx, slice_of(domain->name), inquiry->mx, safety));
}

static void inquired(void *context, struct inquiry *inquiry)
{
    struct route *route = context;
    struct domain *domain = inquiry->owner;
    nsec now = io_now(route->io);
    struct mx_route mx;
    mx_read(&mx, answer_of(inquiry->status), slice_of(domain->name), inquiry->mx, inquiry->mx_count);
    domain->expires = now + sites_lifetime(inquiry->ttl_s);
    metrics_add(route->metrics,
                mx.verdict == MX_FAILED  ? METRIC_DNS_FAILED
                : mx.verdict == MX_HOSTS ? METRIC_DNS_OK
                                         : METRIC_DNS_NEGATIVE,
                1);
    switch (mx.verdict) {
    case MX_HOSTS:
    case MX_IMPLICIT:
        take_hosts(route, domain, inquiry, &mx);
        break;
    case MX_NULL:
        domain_failed(route, domain, HAPPENING_NULL_MX, "domain takes no mail (null MX): ", domain->expires);
        break;
    case MX_NXDOMAIN:
        domain_failed(route, domain, HAPPENING_NXDOMAIN, "domain does not exist: ", domain->expires);
        break;
    case MX_UNUSABLE:
        domain_failed(route, domain, HAPPENING_NO_ADDRESS, "no MX of the domain names a host: ", domain->expires);
        break;
    default:
        domain_failed(route, domain, HAPPENING_DNS_FAILURE, dns_silent, now + ttl_failure);
        break;
    }
}

static void domain_ask(struct route *route, struct domain *domain)
{
    if (domain->relay >= 0) { /* its one host is known; whether that has an address is looked at now and then */
        domain->expires = io_now(route->io) + relay_again;
        domain_take_site(route, domain, sites_relay(&route->sites, (unsigned)domain->relay));
        return;
    }
    domain->state = DOMAIN_ASKING;
    if (!inquiry_begin(&route->inquiries, slice_of(domain->name), domain))
        domain_failed(route, domain, HAPPENING_LOCAL, "too many domains are being looked up to ask for ",
                      io_now(route->io));
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
    domain->relay = relay;
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
    nsec now = io_lately(route->io);
    if (domain->state == DOMAIN_BROKEN ||
        ((domain->expires <= now || (domain->site && domain->site->stale)) &&
         (domain->state == DOMAIN_READY || domain->state == DOMAIN_FAILED)))
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
    if (sites_reach(domain->site) != SITES_REACHED) { /* its hosts were asked for again since */
        domain_settled(route, domain);
        failure_text(domain, failure);
        return ROUTE_FAILED;
    }
    metrics_add(route->metrics, METRIC_DNS_CACHED, 1);
    attempt->site = domain->site;
    sites_hold(attempt->site);
    return ROUTE_READY;
}

/* ---- start ---- */

bool route_open(struct route *route, struct arena *arena, const struct route_config *config,
                const struct route_events *on, void *context)
{
    *route =
        (struct route){.io = config->io, .on = on, .context = context, .metrics = config->metrics, .log = config->log};
    route->inquiries = (struct inquiries){.io = config->io,
                                          .resolver = config->resolver,
                                          .sts = config->sts,
                                          .desk = config->desk,
                                          .metrics = config->metrics,
                                          .done = inquired,
                                          .context = route};
    route->sites = (struct sites){.io = config->io,
                                  .resolver = config->resolver,
                                  .config = config->config,
                                  .metrics = config->metrics,
                                  .log = config->log,
                                  .answered = settle_sites,
                                  .context = route};
    return sites_open(&route->sites, arena, DOMAINS + 2 * config->attempts_max) &&
           inquiries_open(&route->inquiries, arena, config->attempts_max) &&
           pool_open(&route->domain_pool, arena, sizeof(struct domain), DOMAINS) &&
           table_open(&route->domain_table, arena, TABLE_LOG2);
}
