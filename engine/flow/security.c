/* Who may read a message on its way is decided by three parties; in one place, so that none of them is forgotten. */
#include "flow/security.h"

#include "io/table.h"

/* ---- where TLS is broken ---- */

static uint64_t place_of(const struct host *host, uint16_t port)
{
    return table_hash(slice_of(host->name)) ^ (port + 1u) * 0x9e3779b97f4a7c15u;
}

static struct security_broken *set_of(const struct security *security, uint64_t place)
{
    return security->broken[place % SECURITY_SETS];
}

static bool is_broken(const struct security *security, uint64_t place, nsec now)
{
    const struct security_broken *set = set_of(security, place);
    for (unsigned i = 0; i < SECURITY_WAYS; i++)
        if (set[i].host == place && set[i].until > now)
            return true;
    return false;
}

static void remember(struct security *security, uint64_t place, nsec until)
{
    struct security_broken *set = set_of(security, place), *to = set;
    for (unsigned i = 0; i < SECURITY_WAYS; i++) {
        if (set[i].host == place) {
            to = &set[i];
            break;
        }
        if (set[i].until < to->until)
            to = &set[i];
    }
    *to = (struct security_broken){place, until};
}

bool security_open(struct security *security, struct arena *arena)
{
    security->broken = arena_take(arena, SECURITY_SETS * sizeof *security->broken, sizeof(nsec));
    return security->broken != NULL;
}

/* ---- what is demanded ---- */

static enum tls_check check_of(const struct config_limits *limits, const struct site *site, const struct host *host)
{
    /* RFC 8461 §2: MTA-STS does not override DANE. A host that proves itself by its TLSA records is verified, too. */
    if (sites_dane(site, host) == HOST_DANE_RECORDS)
        return TLS_CHECK_DANE;
    return limits->tls == CONFIG_TLS_VERIFIED || site->enforced ? TLS_CHECK_PKIX : TLS_CHECK_ANY;
}

struct session_security security_of(const struct security *security, struct tls *tls,
                                    const struct config_limits *limits, const struct site *site,
                                    const struct host *host, uint16_t port, bool implicit, nsec now)
{
    /* RFC 7672 §2.2: records that are not usable still say that the server speaks TLS. */
    bool required = limits->tls == CONFIG_TLS_REQUIRED || limits->tls == CONFIG_TLS_VERIFIED || site->enforced ||
                    sites_dane(site, host) != HOST_DANE_NONE;
    bool wanted = limits->tls == CONFIG_TLS_OPPORTUNISTIC && !is_broken(security, place_of(host, port), now);
    if (!required && !implicit && !wanted)
        return (struct session_security){.site = site, .host = host, .port = port};
    return (struct session_security){.tls = tls,
                                     .starttls = !implicit,
                                     .required = required,
                                     .implicit = implicit,
                                     .check = check_of(limits, site, host),
                                     .site = site,
                                     .host = host,
                                     .port = port};
}

bool security_suffices(const struct session_security *had)
{
    switch (had->check == TLS_CHECK_DANE ? HOST_DANE_NONE : sites_dane(had->site, had->host)) {
    case HOST_DANE_NONE:
        return true;
    case HOST_DANE_TLS: /* which opportunism need not have come to */
        return had->required || had->implicit;
    default:
        return false;
    }
}

static void demand_dane(const struct host *host, struct tls_demand *demand)
{
    /* RFC 7672 §3.2.2 and §8.1: the TLSA base domain is the name, also for SNI. */
    demand->server_name = host->tlsa_base;
    demand->names[demand->name_count++] = host->tlsa_base;
    if (!slice_equal_nocase(slice_of(host->name), slice_of(host->tlsa_base)))
        demand->names[demand->name_count++] = host->name;
    for (unsigned i = 0; i < host->tlsa_count && i < TLS_TLSA_RECORDS; i++) {
        const struct dane_record *record = &host->tlsa[i];
        demand->tlsa[demand->tlsa_count++] = (struct tls_tlsa){.usage = record->usage,
                                                               .selector = record->selector,
                                                               .matching = record->matching,
                                                               .data = {(const char *)record->data, record->n}};
    }
}

bool security_demand(const struct session_security *need, struct tls_demand *demand)
{
    const struct host *host = need->host;
    *demand = (struct tls_demand){.check = need->check, .server_name = host->name, .key = place_of(host, need->port)};
    if (need->check == TLS_CHECK_DANE) {
        if (sites_dane(need->site, host) != HOST_DANE_RECORDS)
            return false;
        demand->name_count = 0;
        demand_dane(host, demand);
    } else {
        demand->names[demand->name_count++] = host->name; /* RFC 8461 §4.1: the MX host's own name */
    }
    return true;
}

/* ---- what became of it ---- */

bool security_failed(struct security *security, const struct session_security *need, nsec now, nsec until)
{
    if (need->required || need->implicit || until <= now)
        return false;
    remember(security, place_of(need->host, need->port), until);
    return true;
}

void security_wanted(struct security *security, const struct host *host, uint16_t port)
{
    uint64_t place = place_of(host, port);
    struct security_broken *set = set_of(security, place);
    for (unsigned i = 0; i < SECURITY_WAYS; i++)
        if (set[i].host == place)
            set[i].until = 0;
}

const char *security_proof(const struct session_security *need)
{
    return need->check == TLS_CHECK_DANE ? "dane" : need->check == TLS_CHECK_PKIX ? "verified" : "";
}
