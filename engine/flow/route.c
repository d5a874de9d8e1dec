/* Domains repeat, MX sets repeat more, hosts most of all: three tables, each shared by the one before, so that a
 * campaign asks DNS once for what a hundred thousand recipients have in common. */
#include "flow/route.h"

#include "proto/policy/backoff.h"

#include <netinet/in.h>

enum { DOMAINS = 16384, TABLE_LOG2 = 15 };

static const nsec ttl_least = 10 * NSEC_PER_S, ttl_most = 3600 * NSEC_PER_S, ttl_failure = 10 * NSEC_PER_S;

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
    char name[LIMIT_DOMAIN + 1];
};

/* ---- hosts ---- */

static nsec lifetime(uint32_t ttl_s, nsec most) { return nsec_max(ttl_least, nsec_min(ttl_s * NSEC_PER_S, most)); }

static void settle_sites(struct route *route);

static const uint8_t *address_bytes(const struct io_address *address, size_t *n)
{
    if (address->storage.ss_family == AF_INET6) {
        *n = 16;
        return ((const struct sockaddr_in6 *)&address->storage)->sin6_addr.s6_addr;
    }
    *n = 4;
    return (const uint8_t *)&((const struct sockaddr_in *)&address->storage)->sin_addr;
}

static enum mx_address_kind kind_of(const struct io_address *address)
{
    size_t n;
    const uint8_t *bytes = address_bytes(address, &n);
    return mx_address_kind(bytes, n);
}

/* New addresses keep the health of those that were known before. */
static void take_addresses(struct host *host, const struct resolver_answer *answer, uint16_t port)
{
    struct host before = *host;
    host->count = 0;
    for (unsigned i = 0; i < answer->address_count; i++) {
        struct io_address address = answer->addresses[i];
        if (kind_of(&address) == MX_ADDRESS_UNUSABLE)
            continue;
        io_address_set_port(&address, port);
        unsigned at = host->count++;
        host->addresses[at] = address;
        host->health[at].failures = 0;
        host->health[at].dead_until = 0;
        for (unsigned j = 0; j < before.count; j++)
            if (io_address_equal(&before.addresses[j], &address))
                host->health[at] = before.health[j];
    }
}

static void host_answered(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct host *host = container_of(query, struct host, query);
    struct route *route = host->route;
    nsec now = io_now(route->io);
    host->asking = false;
    bool failure = answer->status == RESOLVER_SERVFAIL || answer->status == RESOLVER_TIMEOUT ||
                   answer->status == RESOLVER_CANCELED;
    metrics_add(route->metrics,
                failure                 ? METRIC_DNS_FAILED
                : answer->address_count ? METRIC_DNS_OK
                                        : METRIC_DNS_NEGATIVE,
                1);
    if (failure && host->count) {
        host->expires = now + ttl_failure; /* what was known stays in use while DNS is in trouble */
    } else {
        host->status = answer->status;
        host->expires = now + (failure ? ttl_failure : lifetime(answer->ttl_s, ttl_most));
        take_addresses(host, answer, route->config->smtp_port);
    }
    host->asked = true;
    settle_sites(route);
    if (host->refs == 0) {
        table_remove(&route->host_table, &host->link);
        pool_give(&route->host_pool, host);
    }
}

static void host_ask(struct route *route, struct host *host)
{
    host->asking = true;
    resolver_address_query(route->resolver, &host->query, slice_of(host->name), route->config->ipv4,
                           route->config->ipv6);
}

static struct host *host_get(struct route *route, struct slice name)
{
    uint64_t hash = table_hash(name);
    for (struct table_link *link = table_first(&route->host_table, hash); link; link = table_next(link)) {
        struct host *host = container_of(link, struct host, link);
        if (slice_equal_nocase(slice_of(host->name), name)) {
            host->refs++;
            return host;
        }
    }
    struct host *host = pool_take(&route->host_pool);
    if (!host)
        return NULL;
    memset(host, 0, sizeof *host);
    host->route = route;
    host->query.done = host_answered;
    host->refs = 1;
    slice_copy(host->name, sizeof host->name, name);
    table_add(&route->host_table, &host->link, hash);
    return host;
}

static void host_release(struct route *route, struct host *host)
{
    if (--host->refs || host->asking)
        return;
    table_remove(&route->host_table, &host->link);
    pool_give(&route->host_pool, host);
}

/* ---- sites ---- */

void route_hold(struct site *site) { site->refs++; }

void route_release(struct route *route, struct site *site)
{
    sluice_assert(site->refs > 0);
    if (--site->refs)
        return;
    for (unsigned i = 0; i < site->route.count; i++)
        host_release(route, site->hosts[i]);
    table_remove(&route->site_table, &site->link);
    pool_give(&route->site_pool, site);
}

static void name_isp(struct route *route, struct site *site, uint32_t isp)
{
    if (isp != ISP_NONE) {
        slice_copy(site->isp, sizeof site->isp, slice_of(route->config->isps[isp].name));
        memcpy(site->list, site->isp, sizeof site->list);
        site->limits = &route->config->isps[isp].limits;
    } else {
        isp_own_name(site->isp, slice_of(site->hosts[0]->name));
        unsigned bucket = isp_bucket(site->route.set);
        char list[] = {'~', (char)('0' + bucket / 100), (char)('0' + bucket / 10 % 10), (char)('0' + bucket % 10), 0};
        memcpy(site->list, list, sizeof list);
        site->limits = &route->config->defaults;
    }
    site->isp_hash = isp != ISP_NONE ? table_hash(slice_of(site->isp)) : site->route.set;
}

static struct site *site_find(struct route *route, const struct mx_route *mx, const struct mx_record *records)
{
    for (struct table_link *link = table_first(&route->site_table, mx->set); link; link = table_next(link)) {
        struct site *site = container_of(link, struct site, link);
        if (mx_same(mx, records, &site->route, site->records))
            return site;
    }
    return NULL;
}

/* The site of a route, made when there is none; held. NULL: too many. */
static struct site *site_get(struct route *route, struct mx_route *mx, struct slice domain,
                             const struct mx_record *records)
{
    struct mx_record own = {0, domain};
    if (mx->verdict == MX_IMPLICIT) { /* from here on a host like any other */
        records = &own;
        mx->count = 1;
        mx->order[0] = 0;
    }
    struct isp_choice choice = isp_of_route(&route->isps, mx, domain, records);
    isp_keep(mx, choice.usable);
    struct site *site = site_find(route, mx, records);
    if (site) {
        site->refs++;
        return site;
    }
    site = pool_take(&route->site_pool);
    if (!site)
        return NULL;
    memset(site, 0, sizeof *site);
    site->route = *mx;
    for (unsigned i = 0; i < mx->count; i++) {
        site->hosts[i] = host_get(route, records[mx->order[i]].host);
        if (!site->hosts[i]) {
            while (i--)
                host_release(route, site->hosts[i]);
            pool_give(&route->site_pool, site);
            return NULL;
        }
        site->records[i] = (struct mx_record){records[mx->order[i]].preference, slice_of(site->hosts[i]->name)};
        site->route.order[i] = (uint8_t)i;
    }
    site->refs = 1;
    name_isp(route, site, choice.isp);
    table_add(&route->site_table, &site->link, mx->set);
    return site;
}

/* Asks for hosts that are unknown or stale. True: the best that can be known now is known: walking by preference, all
 * hosts of the first level that has an address have answered. */
static bool site_known(struct route *route, struct site *site, nsec now)
{
    for (unsigned i = 0; i < site->route.count; i++) {
        struct host *host = site->hosts[i];
        if (!host->asking && (!host->asked || host->expires <= now))
            host_ask(route, host);
    }
    unsigned i = 0;
    while (i < site->route.count) {
        uint16_t level = site->records[i].preference;
        bool all = true, some = false;
        for (; i < site->route.count && site->records[i].preference == level; i++) {
            all = all && site->hosts[i]->asked;
            some = some || site->hosts[i]->count;
        }
        if (!all)
            return false;
        if (some)
            return true;
    }
    return true;
}

static bool site_has_address(const struct site *site, bool *dns_failed)
{
    *dns_failed = false;
    for (unsigned i = 0; i < site->route.count; i++) {
        if (site->hosts[i]->count)
            return true;
        enum resolver_status status = site->hosts[i]->status;
        *dns_failed = *dns_failed || (status != RESOLVER_NODATA && status != RESOLVER_NXDOMAIN);
    }
    return false;
}

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
            route_hold(attempt->site);
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
        route_release(route, domain->site);
    domain->site = NULL;
    tell_waiting(route, domain);
}

/* Its site's hosts are known as well as they can be now. */
static void domain_settled(struct route *route, struct domain *domain)
{
    bool dns_failed;
    if (site_has_address(domain->site, &dns_failed)) {
        domain->state = DOMAIN_READY;
        tell_waiting(route, domain);
        return;
    }
    nsec now = io_now(route->io);
    domain_failed(route, domain, dns_failed ? HAPPENING_DNS_FAILURE : HAPPENING_NO_ADDRESS,
                  dns_failed ? now + ttl_failure : domain->expires);
}

static void settle_sites(struct route *route)
{
    nsec now = io_now(route->io);
    for (struct site **at = &route->pending; *at;) {
        struct site *site = *at;
        if (!site_known(route, site, now)) {
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

/* Replaces the domain's site by that of the new answer. */
static bool domain_take_site(struct route *route, struct domain *domain, struct mx_route *mx,
                             const struct mx_record *records)
{
    struct site *site = site_get(route, mx, slice_of(domain->name), records);
    if (domain->site)
        route_release(route, domain->site);
    domain->site = site;
    return site != NULL;
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
    domain->expires = now + lifetime(answer->ttl_s, ttl_most);
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
    if (!domain_take_site(route, domain, &mx, records)) {
        domain_failed(route, domain, HAPPENING_DNS_FAILURE, now + ttl_failure);
        return;
    }
    if (site_known(route, domain->site, now))
        domain_settled(route, domain);
    else
        wait_for_hosts(route, domain);
}

static void domain_ask(struct route *route, struct domain *domain)
{
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
        route_release(route, domain->site);
    pool_give(&route->domain_pool, domain);
    return pool_take(&route->domain_pool);
}

static struct domain *domain_get(struct route *route, struct slice name)
{
    uint64_t hash = table_hash(name);
    for (struct table_link *link = table_first(&route->domain_table, hash); link; link = table_next(link)) {
        struct domain *domain = container_of(link, struct domain, link);
        if (slice_equal_nocase(slice_of(domain->name), name)) {
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

enum route_result route_attempt(struct route *route, struct attempt *attempt, struct route_failure *failure)
{
    struct domain *domain = domain_get(route, attempt->domain);
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
    if (!site_known(route, domain->site, now)) {
        wait_for_hosts(route, domain);
        return wait_for(route, domain, attempt);
    }
    metrics_add(route->metrics, METRIC_DNS_CACHED, 1);
    attempt->site = domain->site;
    route_hold(attempt->site);
    return ROUTE_READY;
}

/* ---- targets ---- */

static bool reachable(const struct io_address *source, const struct io_address *to)
{
    if (source->storage.ss_family != to->storage.ss_family)
        return false;
    /* Somebody else's MX at 127.0.0.1 would be ourselves; only a source that is there itself may go there. */
    return kind_of(to) != MX_ADDRESS_LOOPBACK || kind_of(source) == MX_ADDRESS_LOOPBACK;
}

bool route_target(struct route *route, struct site *site, const struct io_address *source, struct route_target *target,
                  nsec *alive_at)
{
    nsec now = io_now(route->io);
    struct mx_route mx = site->route;
    mx_shuffle(&mx, site->records, io_random(route->io));
    *alive_at = NSEC_NEVER;
    for (unsigned i = 0; i < mx.count; i++) {
        struct host *host = site->hosts[mx.order[i]];
        for (unsigned j = 0; j < host->count; j++) {
            if (!reachable(source, &host->addresses[j]))
                continue;
            if (host->health[j].dead_until <= now) {
                *target = (struct route_target){host, j};
                return true;
            }
            *alive_at = nsec_min(*alive_at, host->health[j].dead_until);
        }
    }
    return false;
}

void route_failed(struct route *route, const struct route_target *target)
{
    if (target->address >= target->host->count)
        return; /* its addresses were replaced meanwhile */
    nsec now = io_now(route->io);
    if (target->host->health[target->address].dead_until > now)
        return; /* several sessions failed together: that is one failure */
    unsigned failures = ++target->host->health[target->address].failures;
    target->host->health[target->address].dead_until = now + backoff_dead_host(failures);
}

void route_worked(const struct route_target *target)
{
    if (target->address < target->host->count)
        target->host->health[target->address].failures = 0;
}

/* ---- start ---- */

static bool open_isps(struct route *route, struct arena *arena)
{
    const struct config *config = route->config;
    uint32_t count = 0;
    for (unsigned i = 0; i < config->isp_count; i++)
        count += config->isps[i].mx_count;
    struct isp_suffix *rows = arena_take(arena, (count + 1) * sizeof *rows, sizeof(void *));
    uint32_t *slots = arena_take(arena, isp_slots(count) * sizeof *slots, sizeof *slots);
    if (!rows || !slots)
        return false;
    uint32_t at = 0;
    for (unsigned i = 0; i < config->isp_count; i++)
        for (unsigned j = 0; j < config->isps[i].mx_count; j++)
            rows[at++] = (struct isp_suffix){slice_of(config->isps[i].mx[j]), i};
    (void)isp_table_init(&route->isps, rows, count, slots); /* the configuration refused double suffixes */
    return true;
}

bool route_open(struct route *route, struct arena *arena, struct io *io, struct resolver *resolver,
                const struct config *config, const struct route_events *on, void *context,
                struct metrics_shard *metrics, unsigned attempts_max)
{
    *route = (struct route){
        .io = io, .resolver = resolver, .config = config, .on = on, .context = context, .metrics = metrics};
    unsigned sites = DOMAINS + 2 * attempts_max;
    return open_isps(route, arena) && pool_open(&route->domain_pool, arena, sizeof(struct domain), DOMAINS) &&
           pool_open(&route->site_pool, arena, sizeof(struct site), sites) &&
           pool_open(&route->host_pool, arena, sizeof(struct host), 2 * sites) &&
           table_open(&route->domain_table, arena, TABLE_LOG2) && table_open(&route->site_table, arena, TABLE_LOG2) &&
           table_open(&route->host_table, arena, TABLE_LOG2);
}
