/* zone.c - the records of a simulated world, and how a name server would answer from them. */
#include "sim/zone.h"
#include "sim/world.h"

#include <stdio.h>
#include <stdlib.h>

enum { CNAME_MOST = 8 };

/* ---- the zone ---- */

enum record_kind { RECORD_MX = 1, RECORD_ADDRESS, RECORD_CNAME, RECORD_TXT, RECORD_TLSA };
struct record {
    struct record *next;
    enum record_kind kind;
    uint32_t ttl_s;
    uint16_t preference;
    struct io_address address;
    char target[LIMIT_DOMAIN + 1];
    size_t n; /* octets of TXT and TLSA */
    char octets[LIMIT_DOMAIN];
};
struct zone_name {
    struct zone_name *next;
    enum resolver_status status; /* OK, or what every query comes to */
    bool exists;                 /* it has, or had, records of its own; else it only tells what is below it */
    bool is_signed;              /* it, and all that is below it */
    struct record *records;
    char name[LIMIT_DOMAIN + 1];
};

struct sim_zone *sim_zone_new(void)
{
    struct sim_zone *zone = calloc(1, sizeof *zone);
    sluice_assert(zone);
    zone->negative_ttl_s = 60;
    zone->latency = NSEC_PER_MS;
    zone->jitter = 4 * NSEC_PER_MS;
    return zone;
}

static void records_free(struct zone_name *name)
{
    for (struct record *r = name->records, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    name->records = NULL;
}

void sim_zone_free(struct sim_zone *zone)
{
    for (unsigned i = 0; i < ZONE_BUCKETS; i++)
        for (struct zone_name *n = zone->names[i], *next; n; n = next) {
            next = n->next;
            records_free(n);
            free(n);
        }
    free(zone);
}

void sim_zone_lower(char *to, size_t cap, struct slice name)
{
    if (name.n && name.p[name.n - 1] == '.')
        name.n--;
    size_t n = slice_copy(to, cap, name);
    for (size_t i = 0; i < n; i++)
        to[i] = ascii_lower(to[i]);
}

static struct zone_name **place_of(struct sim_zone *zone, const char *name)
{
    struct zone_name **at = &zone->names[sim_hash(1, name, strlen(name)) % ZONE_BUCKETS];
    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

static struct zone_name *name_made(struct sim_world *world, const char *text)
{
    char name[LIMIT_DOMAIN + 1];
    sim_zone_lower(name, sizeof name, slice_of(text));
    struct zone_name **at = place_of(world->zone, name);
    if (!*at) {
        *at = calloc(1, sizeof **at);
        sluice_assert(*at);
        (*at)->status = RESOLVER_OK;
        memcpy((*at)->name, name, sizeof name);
    }
    return *at;
}

static struct record *record_add(struct sim_world *world, const char *name, enum record_kind kind, uint32_t ttl_s)
{
    struct zone_name *owner = name_made(world, name);
    struct record *record = calloc(1, sizeof *record), **at = &owner->records;
    sluice_assert(record);
    owner->exists = true;
    record->kind = kind;
    record->ttl_s = ttl_s;
    while (*at)
        at = &(*at)->next;
    *at = record;
    return record;
}

void sim_zone_mx(struct sim_world *world, const char *name, uint32_t ttl_s, uint16_t preference, const char *host)
{
    struct record *record = record_add(world, name, RECORD_MX, ttl_s);
    record->preference = preference;
    sim_zone_lower(record->target, sizeof record->target, slice_of(host));
}

void sim_zone_address(struct sim_world *world, const char *name, uint32_t ttl_s, const char *address)
{
    bool parsed = io_address_parse(&record_add(world, name, RECORD_ADDRESS, ttl_s)->address, address, 0);
    sluice_assert(parsed);
}

void sim_zone_cname(struct sim_world *world, const char *name, uint32_t ttl_s, const char *target)
{
    struct record *record = record_add(world, name, RECORD_CNAME, ttl_s);
    sim_zone_lower(record->target, sizeof record->target, slice_of(target));
}

static void add_octets(struct record *record, const void *octets, size_t n)
{
    sluice_assert(n <= sizeof record->octets - record->n);
    memcpy(record->octets + record->n, octets, n);
    record->n += n;
}

void sim_zone_txt(struct sim_world *world, const char *name, uint32_t ttl_s, const char *text)
{
    add_octets(record_add(world, name, RECORD_TXT, ttl_s), text, strlen(text));
}

void sim_zone_tlsa(struct sim_world *world, const char *name, uint32_t ttl_s, uint8_t usage, uint8_t selector,
                   uint8_t matching, struct slice data)
{
    struct record *record = record_add(world, name, RECORD_TLSA, ttl_s);
    add_octets(record, (const uint8_t[]){usage, selector, matching}, 3);
    add_octets(record, data.p, data.n);
}

void sim_zone_sign(struct sim_world *world, const char *name, bool is_signed)
{
    name_made(world, name)->is_signed = is_signed;
}

void sim_zone_status(struct sim_world *world, const char *name, enum resolver_status status)
{
    struct zone_name *owner = name_made(world, name);
    owner->status = status;
    owner->exists = true;
}

void sim_zone_remove(struct sim_world *world, const char *text)
{
    char name[LIMIT_DOMAIN + 1];
    sim_zone_lower(name, sizeof name, slice_of(text));
    struct zone_name *gone = *place_of(world->zone, name);
    if (!gone)
        return;
    records_free(gone);
    gone->exists = false;
    gone->status = RESOLVER_OK;
}

void sim_zone_negative_ttl(struct sim_world *world, uint32_t ttl_s) { world->zone->negative_ttl_s = ttl_s; }

void sim_zone_latency(struct sim_world *world, nsec latency, nsec jitter)
{
    world->zone->latency = latency;
    world->zone->jitter = jitter;
}

static const struct zone_name *name_there(struct sim_zone *zone, const char *name)
{
    const struct zone_name *found = *place_of(zone, name);
    return found && found->exists ? found : NULL;
}

/* Is the name, or one that it is below of, signed? */
static bool is_signed(struct sim_zone *zone, const char *name)
{
    for (; name; name = strchr(name, '.') ? strchr(name, '.') + 1 : NULL) {
        const struct zone_name *found = *place_of(zone, name);
        if (found && found->is_signed)
            return true;
    }
    return false;
}

/* The name itself, else the wildcard nearest to it (RFC 4592 §3.3.1). */
static const struct zone_name *name_find(struct sim_zone *zone, const char *name)
{
    const struct zone_name *found = name_there(zone, name);
    for (const char *dot = strchr(name, '.'); !found && dot; dot = strchr(dot + 1, '.')) {
        char wild[LIMIT_DOMAIN + 2];
        snprintf(wild, sizeof wild, "*%s", dot);
        found = name_there(zone, wild);
    }
    return found;
}

/* ---- answers ---- */

static unsigned add_mx(struct resolver_answer *answer, const struct record *record)
{
    unsigned n = answer->mx_count;
    struct resolver_mx mx = {.preference = record->preference};
    memcpy(mx.host, record->target, sizeof mx.host);
    if (n < LIMIT_MX_HOSTS) {
        answer->mx[answer->mx_count++] = mx;
        return 1;
    }
    unsigned worst = 0;
    for (unsigned i = 1; i < n; i++)
        if (answer->mx[i].preference > answer->mx[worst].preference)
            worst = i;
    if (answer->mx[worst].preference > mx.preference)
        answer->mx[worst] = mx;
    return 1;
}

static unsigned add_address(struct resolver_answer *answer, const struct record *record, const struct sim_asked *asked)
{
    bool v6 = record->address.storage.ss_family == AF_INET6;
    if (v6 ? !asked->v6 : !asked->v4)
        return 0;
    if (answer->address_count < LIMIT_HOST_ADDRESSES)
        answer->addresses[answer->address_count++] = record->address;
    return 1;
}

static unsigned add_octet_record(struct resolver_answer *answer, const struct record *record)
{
    if (answer->record_count == RESOLVER_RECORDS)
        answer->records_left_out = true;
    else
        answer->records[answer->record_count++] = (struct slice){record->octets, record->n};
    return 1;
}

static unsigned add_records(struct resolver_answer *answer, const struct zone_name *name, const struct sim_asked *asked)
{
    unsigned used = 0;
    for (const struct record *r = name->records; r; r = r->next) {
        unsigned n = 0;
        if (asked->kind == RESOLVER_MX && r->kind == RECORD_MX)
            n = add_mx(answer, r);
        if (asked->kind == RESOLVER_ADDRESSES && r->kind == RECORD_ADDRESS)
            n = add_address(answer, r, asked);
        if ((asked->kind == RESOLVER_TXT && r->kind == RECORD_TXT) ||
            (asked->kind == RESOLVER_TLSA && r->kind == RECORD_TLSA))
            n = add_octet_record(answer, r);
        if (n && r->ttl_s < answer->ttl_s)
            answer->ttl_s = r->ttl_s;
        used += n;
    }
    return used;
}

static const struct record *cname_of(const struct zone_name *name)
{
    for (const struct record *r = name->records; r; r = r->next)
        if (r->kind == RECORD_CNAME)
            return r;
    return NULL;
}

enum resolver_status sim_zone_look_up(struct sim_zone *zone, const char *at, const struct sim_asked *asked,
                                      struct resolver_answer *answer)
{
    answer->ttl_s = UINT32_MAX;
    answer->secure = true;
    for (unsigned i = 0; i < CNAME_MOST; i++) {
        const struct zone_name *name = name_find(zone, at);
        const struct record *alias = name ? cname_of(name) : NULL;
        answer->secure = answer->secure && is_signed(zone, at);
        if (name && name->status != RESOLVER_OK)
            return name->status;
        if (!alias) {
            enum resolver_status none = name ? RESOLVER_NODATA : RESOLVER_NXDOMAIN;
            slice_copy(answer->name, sizeof answer->name, slice_of(at));
            return name && add_records(answer, name, asked) ? RESOLVER_OK : none;
        }
        if (alias->ttl_s < answer->ttl_s)
            answer->ttl_s = alias->ttl_s;
        at = alias->target;
    }
    return RESOLVER_SERVFAIL; /* a chain without end */
}

bool sim_zone_is_silent(struct sim_zone *zone, const char *name)
{
    const struct zone_name *found = name_find(zone, name);
    return found && found->status == RESOLVER_TIMEOUT;
}
