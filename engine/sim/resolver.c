/* resolver.c - DNS without servers: answers from a zone held in memory, as late and as broken as the world wants. */
#include "sim/world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ZONE_BUCKETS = 1024,
    CNAME_MOST = 8,
    QUERIES_MAX = 256, /* as dns.c, when the owner does not say */
    TRIES = 3,
};

/* ---- the zone ---- */

enum record_kind { RECORD_MX = 1, RECORD_ADDRESS, RECORD_CNAME };
struct record {
    struct record *next;
    enum record_kind kind;
    uint32_t ttl_s;
    uint16_t preference;
    struct io_address address;
    char target[LIMIT_DOMAIN + 1];
};
struct zone_name {
    struct zone_name *next;
    enum resolver_status status; /* OK, or what every query comes to */
    struct record *records;
    char name[LIMIT_DOMAIN + 1];
};
struct sim_zone {
    struct zone_name *names[ZONE_BUCKETS];
    uint32_t negative_ttl_s;
    nsec latency, jitter;
    uint64_t queries;
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

static void lower(char *to, size_t cap, struct slice name)
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
    lower(name, sizeof name, slice_of(text));
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
    lower(record->target, sizeof record->target, slice_of(host));
}

void sim_zone_address(struct sim_world *world, const char *name, uint32_t ttl_s, const char *address)
{
    bool parsed = io_address_parse(&record_add(world, name, RECORD_ADDRESS, ttl_s)->address, address, 0);
    sluice_assert(parsed);
}

void sim_zone_cname(struct sim_world *world, const char *name, uint32_t ttl_s, const char *target)
{
    struct record *record = record_add(world, name, RECORD_CNAME, ttl_s);
    lower(record->target, sizeof record->target, slice_of(target));
}

void sim_zone_status(struct sim_world *world, const char *name, enum resolver_status status)
{
    name_made(world, name)->status = status;
}

void sim_zone_remove(struct sim_world *world, const char *text)
{
    char name[LIMIT_DOMAIN + 1];
    lower(name, sizeof name, slice_of(text));
    struct zone_name **at = place_of(world->zone, name), *gone = *at;
    if (gone) {
        *at = gone->next;
        records_free(gone);
        free(gone);
    }
}

void sim_zone_negative_ttl(struct sim_world *world, uint32_t ttl_s) { world->zone->negative_ttl_s = ttl_s; }

void sim_zone_latency(struct sim_world *world, nsec latency, nsec jitter)
{
    world->zone->latency = latency;
    world->zone->jitter = jitter;
}

uint64_t sim_zone_queries(const struct sim_world *world) { return world->zone->queries; }

/* The name itself, else the wildcard nearest to it (RFC 4592 §3.3.1). */
static const struct zone_name *name_find(struct sim_zone *zone, const char *name)
{
    const struct zone_name *found = *place_of(zone, name);
    for (const char *dot = strchr(name, '.'); !found && dot; dot = strchr(dot + 1, '.')) {
        char wild[LIMIT_DOMAIN + 2];
        snprintf(wild, sizeof wild, "*%s", dot);
        found = *place_of(zone, wild);
    }
    return found;
}

/* ---- resolvers and their queries ---- */

struct sim_query {
    struct sim_query *next, *prev; /* among those of its resolver, in the order of asking */
    struct sim_event event;
    struct io_op op;
    struct resolver *resolver;
    struct resolver_query *query; /* the asker's */
    char name[LIMIT_DOMAIN + 1];
    bool running; /* holds one of queries_max */
    bool v4, v6;
    unsigned tries;
    enum resolver_status verdict; /* decided by fate; BROKEN: the zone decides */
};
struct resolver {
    struct resolver *next;
    struct io *io;
    struct resolver_config config;
    struct sim_query queries; /* ring */
    struct sim_query *spare;
    unsigned running;
};

static void start_waiting(struct resolver *resolver);

static void query_end(struct sim_query *q)
{
    struct resolver *resolver = q->resolver;
    if (q->running)
        resolver->running--;
    q->prev->next = q->next;
    q->next->prev = q->prev;
    q->next = resolver->spare;
    resolver->spare = q;
}

/* ---- answering ---- */

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

static unsigned add_address(struct resolver_answer *answer, const struct record *record, const struct sim_query *q)
{
    bool v6 = record->address.storage.ss_family == AF_INET6;
    if (v6 ? !q->v6 : !q->v4)
        return 0;
    if (answer->address_count < LIMIT_HOST_ADDRESSES)
        answer->addresses[answer->address_count++] = record->address;
    return 1;
}

static unsigned add_records(struct resolver_answer *answer, const struct zone_name *name, const struct sim_query *q)
{
    unsigned used = 0;
    for (const struct record *r = name->records; r; r = r->next) {
        unsigned n = 0;
        if (q->query->kind == RESOLVER_MX && r->kind == RECORD_MX)
            n = add_mx(answer, r);
        if (q->query->kind == RESOLVER_ADDRESSES && r->kind == RECORD_ADDRESS)
            n = add_address(answer, r, q);
        if (n && r->ttl_s < answer->ttl_s)
            answer->ttl_s = r->ttl_s;
        used += n;
    }
    return used;
}

/* Servers hand out what is equal in any order. */
static void shuffle(struct sim_world *world, struct resolver_answer *answer)
{
    for (unsigned i = answer->mx_count; i > 1; i--) {
        unsigned j = (unsigned)sim_below(world, i);
        struct resolver_mx mx = answer->mx[j];
        answer->mx[j] = answer->mx[i - 1];
        answer->mx[i - 1] = mx;
    }
    for (unsigned i = answer->address_count; i > 1; i--) {
        unsigned j = (unsigned)sim_below(world, i);
        struct io_address address = answer->addresses[j];
        answer->addresses[j] = answer->addresses[i - 1];
        answer->addresses[i - 1] = address;
    }
}

static const struct record *cname_of(const struct zone_name *name)
{
    for (const struct record *r = name->records; r; r = r->next)
        if (r->kind == RECORD_CNAME)
            return r;
    return NULL;
}

static enum resolver_status look_up(struct sim_zone *zone, const struct sim_query *q, struct resolver_answer *answer)
{
    const char *at = q->name;
    answer->ttl_s = UINT32_MAX;
    for (unsigned i = 0; i < CNAME_MOST; i++) {
        const struct zone_name *name = name_find(zone, at);
        const struct record *alias = name ? cname_of(name) : NULL;
        if (name && name->status != RESOLVER_OK)
            return name->status;
        if (!alias) {
            enum resolver_status none = name ? RESOLVER_NODATA : RESOLVER_NXDOMAIN;
            return name && add_records(answer, name, q) ? RESOLVER_OK : none;
        }
        if (alias->ttl_s < answer->ttl_s)
            answer->ttl_s = alias->ttl_s;
        at = alias->target;
    }
    return RESOLVER_SERVFAIL; /* a chain without end */
}

static void answer_now(struct io_op *op, int result)
{
    struct sim_query *q = container_of(op, struct sim_query, op);
    struct resolver *resolver = q->resolver;
    struct resolver_query *query = q->query;
    struct sim_world *world = resolver->io->world;
    struct resolver_answer answer;
    memset(&answer, 0, offsetof(struct resolver_answer, mx));
    answer.address_count = 0;
    if (result == -ECANCELED)
        answer.status = RESOLVER_CANCELED;
    else
        answer.status = q->verdict ? q->verdict : look_up(world->zone, q, &answer);
    if (answer.status == RESOLVER_NODATA || answer.status == RESOLVER_NXDOMAIN)
        answer.ttl_s = world->zone->negative_ttl_s;
    else if (answer.status != RESOLVER_OK)
        answer.ttl_s = 0;
    shuffle(world, &answer);
    sim_note(world, "answer", resolver->io->number, sim_hash(answer.status, q->name, strlen(q->name)));
    query->state = 0;
    query_end(q);
    start_waiting(resolver);
    query->done(query, &answer);
}

/* ---- asking ---- */

/* One try: an answer after the zone's latency, or none and the next try after the time-out. */
static void try_once(struct sim_query *q)
{
    struct resolver *resolver = q->resolver;
    struct sim_world *world = resolver->io->world;
    const struct zone_name *name = name_find(world->zone, q->name);
    bool lost = sim_strikes(world, SIM_DNS_LOST) || (name && name->status == RESOLVER_TIMEOUT);
    nsec after = lost ? resolver->config.timeout : world->zone->latency;
    q->tries++;
    if (lost) {
        q->verdict = RESOLVER_TIMEOUT;
    } else {
        after += (nsec)sim_below(world, (uint64_t)world->zone->jitter);
        q->verdict = sim_strikes(world, SIM_SERVFAIL) ? RESOLVER_SERVFAIL : RESOLVER_BROKEN;
    }
    sim_schedule(world, &q->event, world->now + after);
}

static void try_over(struct sim_event *event)
{
    struct sim_query *q = container_of(event, struct sim_query, event);
    if (q->verdict == RESOLVER_TIMEOUT && q->tries < q->resolver->config.tries)
        try_once(q);
    else
        sim_op_complete(q->resolver->io, &q->op, 0);
}

static void start_waiting(struct resolver *resolver)
{
    for (struct sim_query *q = resolver->queries.next; q != &resolver->queries; q = q->next) {
        if (resolver->running >= resolver->config.queries_max)
            return;
        if (q->running || q->op.state != OP_WAITING)
            continue;
        q->running = true;
        resolver->running++;
        try_once(q);
    }
}

/* What no server need be asked for: names that cannot be, as dns.c judges them, and no family at all. */
static enum resolver_status known_at_once(const struct resolver_query *query, struct slice name, bool v4, bool v6)
{
    if (name.n == 0 || name.n > LIMIT_DOMAIN || memchr(name.p, 0, name.n) || memchr(name.p, '\\', name.n))
        return RESOLVER_NXDOMAIN;
    return query->kind == RESOLVER_ADDRESSES && !v4 && !v6 ? RESOLVER_NODATA : RESOLVER_BROKEN;
}

static void ask(struct resolver *resolver, struct resolver_query *query, struct slice name, int kind, bool v4, bool v6)
{
    struct sim_query *q = resolver->spare;
    sluice_assert(query->state == 0 && query->done);
    if (q)
        resolver->spare = q->next;
    else
        q = malloc(sizeof *q);
    sluice_assert(q);
    memset(q, 0, sizeof *q);
    q->event.happen = try_over;
    q->op.done = answer_now;
    q->resolver = resolver;
    q->query = query;
    q->v4 = v4;
    q->v6 = v6;
    query->kind = (uint8_t)kind;
    q->verdict = known_at_once(query, name, v4, v6);
    lower(q->name, sizeof q->name, name);
    q->next = &resolver->queries;
    q->prev = resolver->queries.prev;
    q->prev->next = q;
    resolver->queries.prev = q;
    query->resolver = resolver;
    query->state = 1;
    query->scratch[0] = q;
    resolver->io->world->zone->queries++;
    sim_op_start(resolver->io, &q->op, OP_ANSWER);
    if (q->verdict)
        sim_op_complete(resolver->io, &q->op, 0);
    else if (resolver->running < resolver->config.queries_max) {
        q->running = true;
        resolver->running++;
        try_once(q);
    }
}

void resolver_mx_query(struct resolver *resolver, struct resolver_query *query, struct slice name)
{
    ask(resolver, query, name, RESOLVER_MX, false, false);
}

void resolver_address_query(struct resolver *resolver, struct resolver_query *query, struct slice name, bool want_ipv4,
                            bool want_ipv6)
{
    ask(resolver, query, name, RESOLVER_ADDRESSES, want_ipv4, want_ipv6);
}

void resolver_cancel(struct resolver *resolver, struct resolver_query *query)
{
    if (query->state == 0)
        return;
    struct sim_query *q = query->scratch[0];
    sim_unschedule(resolver->io->world, &q->event);
    io_cancel(resolver->io, &q->op);
}

/* ---- beginning and end ---- */

struct resolver *resolver_open(struct io *io, const struct resolver_config *config, char *error, size_t error_cap)
{
    struct resolver *resolver = calloc(1, sizeof *resolver);
    if (!resolver) {
        snprintf(error, error_cap, "no memory for a resolver");
        return NULL;
    }
    resolver->io = io;
    resolver->config = *config;
    if (!resolver->config.queries_max)
        resolver->config.queries_max = QUERIES_MAX;
    if (!resolver->config.tries)
        resolver->config.tries = TRIES;
    resolver->queries.next = resolver->queries.prev = &resolver->queries;
    resolver->next = io->resolvers;
    io->resolvers = resolver;
    return resolver;
}

static void resolver_free(struct resolver *resolver)
{
    for (struct sim_query *q = resolver->queries.next, *next; q != &resolver->queries; q = next) {
        next = q->next;
        sim_unschedule(resolver->io->world, &q->event);
        sim_op_drop(&q->op);
        free(q);
    }
    for (struct sim_query *q = resolver->spare, *next; q; q = next) {
        next = q->next;
        free(q);
    }
    free(resolver);
}

void resolver_close(struct resolver *resolver)
{
    struct resolver **at = &resolver->io->resolvers;
    while (*at != resolver)
        at = &(*at)->next;
    *at = resolver->next;
    resolver_free(resolver);
}

void sim_resolvers_free(struct io *io)
{
    while (io->resolvers)
        resolver_close(io->resolvers);
}
