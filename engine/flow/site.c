/* Hosts repeat more than MX sets, and those more than domains: what was learned of a host, its addresses and its
 * deaths, is kept once. */
#include "flow/site.h"

#include <netinet/in.h>

#include "proto/policy/backoff.h"

enum { TABLE_LOG2 = 15 };

static const nsec ttl_least = 10 * NSEC_PER_S, ttl_most = 3600 * NSEC_PER_S, ttl_failure = 10 * NSEC_PER_S;

/* ---- hosts ---- */

nsec sites_lifetime(uint32_t ttl_s) { return nsec_max(ttl_least, nsec_min(ttl_s * NSEC_PER_S, ttl_most)); }

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

static void host_release(struct sites *sites, struct host *host)
{
    if (--host->refs || host->asking)
        return;
    table_remove(&sites->host_table, &host->link);
    pool_give(&sites->host_pool, host);
}

/* All that is asked of a host is answered. */
static void host_told(struct host *host)
{
    struct sites *sites = host->sites;
    host->asked = true;
    host->asking = false;
    host->refs++; /* the last site that has it may be released meanwhile */
    sites->answered(sites->context);
    host_release(sites, host);
}

static bool is_failure(const struct resolver_answer *answer)
{
    return answer->status != RESOLVER_OK && answer->status != RESOLVER_NODATA && answer->status != RESOLVER_NXDOMAIN;
}

/* ---- TLSA ---- */

static void dane_failed(struct host *host)
{
    struct sites *sites = host->sites;
    if (host->dane != HOST_DANE_FAILED)
        log_warning(sites->log, "a mail host's TLSA records are not to be had, it is passed over until they are",
                    log_text("host", host->name));
    host->dane = HOST_DANE_FAILED;
    host->expires = io_now(sites->io) + ttl_failure;
    metrics_add(sites->metrics, METRIC_DANE_FAILED, 1);
}

static void tlsa_answered(struct resolver_query *query, const struct resolver_answer *answer);

/* The name where the CNAMEs of its name lead comes first, then its own (RFC 7672 §2.2.2). */
static void tlsa_ask(struct host *host, const char *base)
{
    char name[LIMIT_DOMAIN + 1];
    bool fits = dane_name(slice_of(base), host->port, name);
    if (!fits) { /* where no name fits there is no record */
        base = host->name;
        fits = dane_name(slice_of(base), host->port, name);
    }
    slice_copy(host->tlsa_asked, sizeof host->tlsa_asked, slice_of(base));
    if (fits) {
        host->query.done = tlsa_answered;
        resolver_tlsa_query(host->sites->resolver, &host->query, slice_of(name));
        return;
    }
    host->dane = HOST_DANE_NONE;
    host_told(host);
}

static void tlsa_answered(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct host *host = container_of(query, struct host, query);
    struct sites *sites = host->sites;
    bool found = answer->status == RESOLVER_OK && answer->secure;
    if (is_failure(answer)) { /* also what does not validate: RFC 7672 §2.1.2 */
        dane_failed(host);
    } else if (!found && !slice_equal_nocase(slice_of(host->tlsa_asked), slice_of(host->name))) {
        tlsa_ask(host, host->name);
        return;
    } else {
        memcpy(host->tlsa_base, host->tlsa_asked, sizeof host->tlsa_base);
        host->tlsa_count = found ? dane_read_all(answer->records, answer->record_count, host->tlsa, LIMIT_TLSA) : 0;
        host->dane = !found             ? HOST_DANE_NONE
                     : host->tlsa_count ? HOST_DANE_RECORDS
                                        : HOST_DANE_TLS; /* RFC 7672 §2.2: "unusable" ones still demand TLS */
        host->expires = nsec_min(host->expires, io_now(sites->io) + sites_lifetime(answer->ttl_s));
        metrics_add(sites->metrics, found ? METRIC_DANE_OK : METRIC_DANE_NONE, 1);
    }
    host_told(host);
}

/* ---- addresses ---- */

static void host_answered(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct host *host = container_of(query, struct host, query);
    struct sites *sites = host->sites;
    nsec now = io_now(sites->io);
    bool failure = is_failure(answer);
    metrics_add(sites->metrics,
                failure                 ? METRIC_DNS_FAILED
                : answer->address_count ? METRIC_DNS_OK
                                        : METRIC_DNS_NEGATIVE,
                1);
    if (failure && host->count) {
        host->expires = now + ttl_failure; /* what was known stays in use while DNS is in trouble */
        if (host->secure && host->dane_wanted && host->dane == HOST_DANE_BROKEN)
            dane_failed(host);
    } else {
        bool was_secure = host->secure;
        host->status = answer->status;
        host->expires = now + (failure ? ttl_failure : sites_lifetime(answer->ttl_s));
        take_addresses(host, answer, host->port);
        host->secure = answer->secure && host->count;
        if (!was_secure)
            host->dane = HOST_DANE_BROKEN;
        if (host->secure && host->dane_wanted) {
            tlsa_ask(host, answer->name);
            return;
        }
    }
    host_told(host);
}

static void host_ask(struct sites *sites, struct host *host)
{
    host->asking = true;
    host->query.done = host_answered;
    resolver_address_query(sites->resolver, &host->query, slice_of(host->name), sites->config->ipv4,
                           sites->config->ipv6);
}

static struct host *host_get(struct sites *sites, struct slice name, uint16_t port)
{
    uint64_t hash = table_hash(name);
    for (struct table_link *link = table_first(&sites->host_table, hash); link; link = table_next(link)) {
        struct host *host = container_of(link, struct host, link);
        if (host->port == port && slice_equal_nocase(slice_of(host->name), name)) {
            host->refs++;
            return host;
        }
    }
    struct host *host = pool_take(&sites->host_pool);
    if (!host)
        return NULL;
    memset(host, 0, sizeof *host);
    host->sites = sites;
    host->refs = 1;
    host->port = port;
    slice_copy(host->name, sizeof host->name, name);
    table_add(&sites->host_table, &host->link, hash);
    return host;
}

/* ---- sites ---- */

void sites_hold(struct site *site) { site->refs++; }

void sites_release(struct sites *sites, struct site *site)
{
    sluice_assert(site->refs > 0);
    if (--site->refs)
        return;
    for (unsigned i = 0; i < site->route.count; i++)
        host_release(sites, site->hosts[i]);
    table_remove(&sites->site_table, &site->link);
    pool_give(&sites->site_pool, site);
}

static void name_isp(struct sites *sites, struct site *site, uint32_t isp)
{
    if (site->relay >= 0) {
        const struct config_relay *relay = &sites->config->relays[site->relay];
        slice_copy(site->isp, sizeof site->isp, slice_of(relay->name));
        memcpy(site->list, site->isp, sizeof site->list);
        site->limits = &relay->limits;
    } else if (isp != ISP_NONE) {
        slice_copy(site->isp, sizeof site->isp, slice_of(sites->config->isps[isp].name));
        memcpy(site->list, site->isp, sizeof site->list);
        site->limits = &sites->config->isps[isp].limits;
    } else {
        isp_own_name(site->isp, slice_of(site->hosts[0]->name));
        unsigned bucket = isp_bucket(site->route.set);
        char list[] = {'~', (char)('0' + bucket / 100), (char)('0' + bucket / 10 % 10), (char)('0' + bucket % 10), 0};
        memcpy(site->list, list, sizeof list);
        site->limits = &sites->config->defaults;
    }
    bool named = site->relay >= 0 || isp != ISP_NONE;
    site->isp_hash = named ? table_hash(slice_of(site->isp)) : site->route.set;
}

static struct site *site_find(struct sites *sites, const struct mx_route *mx, const struct mx_record *records,
                              int relay, struct site_safety safety)
{
    for (struct table_link *link = table_first(&sites->site_table, mx->set); link; link = table_next(link)) {
        struct site *site = container_of(link, struct site, link);
        if (!site->stale && site->relay == relay && site->secure == safety.secure && site->enforced == safety.enforced &&
            mx_same(mx, records, &site->route, site->records))
            return site;
    }
    return NULL;
}

static struct site *site_get(struct sites *sites, const struct mx_route *mx, const struct mx_record *records,
                             uint32_t isp, int relay, struct site_safety safety)
{
    uint16_t port = relay >= 0 ? sites->config->relays[relay].port : sites->config->smtp_port;
    struct site *site = site_find(sites, mx, records, relay, safety);
    if (site) {
        site->refs++;
        return site;
    }
    site = pool_take(&sites->site_pool);
    if (!site)
        return NULL;
    memset(site, 0, sizeof *site);
    site->relay = relay;
    site->secure = safety.secure;
    site->enforced = safety.enforced;
    site->route = *mx;
    for (unsigned i = 0; i < mx->count; i++) {
        site->hosts[i] = host_get(sites, records[mx->order[i]].host, port);
        if (!site->hosts[i]) {
            while (i--)
                host_release(sites, site->hosts[i]);
            pool_give(&sites->site_pool, site);
            return NULL;
        }
        site->hosts[i]->dane_wanted = site->hosts[i]->dane_wanted || safety.secure;
        site->records[i] = (struct mx_record){records[mx->order[i]].preference, slice_of(site->hosts[i]->name)};
        site->route.order[i] = (uint8_t)i;
    }
    site->refs = 1;
    name_isp(sites, site, isp);
    table_add(&sites->site_table, &site->link, mx->set);
    return site;
}

struct site *sites_get(struct sites *sites, struct mx_route *mx, struct slice domain, const struct mx_record *records,
                       struct site_safety safety)
{
    struct mx_record own = {0, domain};
    if (mx->verdict == MX_IMPLICIT) { /* from here on a host like any other */
        records = &own;
        mx->count = 1;
        mx->order[0] = 0;
    }
    struct isp_choice choice = isp_of_route(&sites->config->mx_table, mx, domain, records);
    isp_keep(mx, choice.usable);
    safety.secure = safety.secure && sites->config->dane;
    return site_get(sites, mx, records, choice.isp, -1, safety);
}

struct site *sites_relay(struct sites *sites, unsigned relay)
{
    struct slice host = slice_of(sites->config->relays[relay].host);
    struct mx_record own = {0, host};
    struct mx_route mx;
    mx_read(&mx, MX_ANSWER_NODATA, host, NULL, 0);
    mx.count = 1;
    mx.order[0] = 0;
    return site_get(sites, &mx, &own, ISP_NONE, (int)relay, (struct site_safety){.secure = false});
}

/* Are its hosts those of the ISP that it was made for, all of them? */
static bool is_as_it_was(const struct site *site, const struct config *config)
{
    if (site->relay >= 0) {
        const struct config_relay *relay = &config->relays[site->relay];
        return !relay->removed && site->hosts[0]->port == relay->port &&
               slice_equal_nocase(slice_of(site->hosts[0]->name), slice_of(relay->host));
    }
    struct isp_choice choice =
        isp_of_route(&config->mx_table, &site->route, slice_of(site->hosts[0]->name), site->records);
    char name[LIMIT_ISP_NAME + 1];
    if (choice.isp == ISP_NONE)
        isp_own_name(name, slice_of(site->hosts[0]->name));
    else
        slice_copy(name, sizeof name, slice_of(config->isps[choice.isp].name));
    return strcmp(name, site->isp) == 0 && choice.usable == (1u << site->route.count) - 1;
}

void sites_reload(struct sites *sites, const struct config *config)
{
    sites->config = config;
    for (uint64_t i = 0; i <= sites->site_table.mask; i++)
        for (struct table_link *link = sites->site_table.buckets[i]; link; link = link->next) {
            struct site *site = container_of(link, struct site, link);
            site->stale = site->stale || !is_as_it_was(site, config);
            site->limits = config_limits_for(config, slice_of(site->isp));
        }
}

/* May mail of this site go to the host, as far as DNS is concerned? */
static bool is_usable(const struct site *site, const struct host *host)
{
    enum host_dane dane = sites_dane(site, host);
    return host->count && dane != HOST_DANE_BROKEN && dane != HOST_DANE_FAILED;
}

bool sites_known(struct sites *sites, struct site *site)
{
    nsec now = io_lately(sites->io);
    for (unsigned i = 0; i < site->route.count; i++) {
        struct host *host = site->hosts[i];
        bool unknown = !host->asked || host->expires <= now || sites_dane(site, host) == HOST_DANE_BROKEN;
        if (unknown && !host->asking)
            host_ask(sites, host);
    }
    unsigned i = 0;
    while (i < site->route.count) {
        uint16_t level = site->records[i].preference;
        bool all = true, some = false;
        for (; i < site->route.count && site->records[i].preference == level; i++) {
            const struct host *host = site->hosts[i];
            bool usable = is_usable(site, host);
            /* What is of no use now may be when it is answered; and what was secure is so for its time alone. */
            bool waits = host->asking && (!usable || site->secure);
            all = all && host->asked && !waits;
            some = some || usable;
        }
        if (!all)
            return false;
        if (some)
            return true;
    }
    return true;
}

enum sites_reach sites_reach(const struct site *site)
{
    enum sites_reach reach = SITES_NO_ADDRESS;
    for (unsigned i = 0; i < site->route.count; i++) {
        const struct host *host = site->hosts[i];
        if (is_usable(site, host))
            return SITES_REACHED;
        if (host->count)
            reach = SITES_NOT_BELIEVED;
        else if (reach == SITES_NO_ADDRESS && host->status != RESOLVER_NODATA && host->status != RESOLVER_NXDOMAIN)
            reach = SITES_NO_ANSWER;
    }
    return reach;
}

/* ---- targets ---- */

static bool reachable(const struct io_address *source, const struct io_address *to)
{
    if (source->storage.ss_family != to->storage.ss_family)
        return false;
    /* Somebody else's MX at 127.0.0.1 would be ourselves; only a source that is there itself may go there. */
    return kind_of(to) != MX_ADDRESS_LOOPBACK || kind_of(source) == MX_ADDRESS_LOOPBACK;
}

bool sites_asking(const struct site *site)
{
    for (unsigned i = 0; i < site->route.count; i++)
        if (site->hosts[i]->asking && !is_usable(site, site->hosts[i]))
            return true;
    return false;
}

bool sites_target(struct sites *sites, struct site *site, const struct io_address *source, struct route_target *target,
                  nsec *alive_at)
{
    nsec now = io_now(sites->io);
    struct mx_route mx = site->route;
    mx_shuffle(&mx, site->records, io_random(sites->io));
    *alive_at = NSEC_NEVER;
    for (unsigned i = 0; i < mx.count; i++) {
        struct host *host = site->hosts[mx.order[i]];
        if (!is_usable(site, host)) {
            if (host->count) /* until its TLSA records are asked for again */
                *alive_at = nsec_min(*alive_at, host->expires);
            continue;
        }
        nsec fit_at = site->unfit[mx.order[i]].until;
        for (unsigned j = 0; j < host->count; j++) {
            if (!reachable(source, &host->addresses[j]))
                continue;
            nsec usable_at = nsec_max(host->health[j].dead_until, fit_at);
            if (usable_at <= now) {
                *target = (struct route_target){host, j};
                return true;
            }
            *alive_at = nsec_min(*alive_at, usable_at);
        }
    }
    return false;
}

void sites_failed(struct sites *sites, const struct route_target *target)
{
    if (target->address >= target->host->count)
        return; /* its addresses were replaced meanwhile */
    nsec now = io_now(sites->io);
    if (target->host->health[target->address].dead_until > now)
        return; /* several sessions failed together: that is one failure */
    unsigned failures = ++target->host->health[target->address].failures;
    target->host->health[target->address].dead_until = now + backoff_dead_host(failures);
}

void sites_worked(struct site *site, const struct route_target *target)
{
    if (target->address < target->host->count)
        target->host->health[target->address].failures = 0;
    for (unsigned i = 0; i < site->route.count; i++)
        if (site->hosts[i] == target->host)
            site->unfit[i].failures = 0;
}

void sites_unfit(struct sites *sites, struct site *site, const struct host *host)
{
    nsec now = io_now(sites->io);
    for (unsigned i = 0; i < site->route.count; i++)
        if (site->hosts[i] == host && site->unfit[i].until <= now)
            site->unfit[i].until = now + backoff_dead_host(++site->unfit[i].failures);
}

/* ---- start ---- */

bool sites_open(struct sites *sites, struct arena *arena, unsigned sites_max)
{
    return pool_open(&sites->site_pool, arena, sizeof(struct site), sites_max) &&
           pool_open(&sites->host_pool, arena, sizeof(struct host), 2 * sites_max) &&
           table_open(&sites->site_table, arena, TABLE_LOG2) && table_open(&sites->host_table, arena, TABLE_LOG2);
}
