/* resolver.c - DNS without servers: hands out what zone.c knows, as late and as broken as the world wants. */
#include "sim/world.h"
#include "sim/zone.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    QUERIES_MAX = 256, /* as dns.c, when the owner does not say */
    TRIES = 3,
};

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

static void answer_now(struct io_op *op, int result)
{
    struct sim_query *q = container_of(op, struct sim_query, op);
    struct resolver *resolver = q->resolver;
    struct resolver_query *query = q->query;
    struct sim_world *world = resolver->io->world;
    struct sim_asked asked = {.kind = (enum resolver_kind)query->kind, .v4 = q->v4, .v6 = q->v6};
    struct resolver_answer answer;
    memset(&answer, 0, offsetof(struct resolver_answer, mx));
    answer.address_count = answer.record_count = 0;
    answer.records_left_out = false;
    if (result == -ECANCELED)
        answer.status = RESOLVER_CANCELED;
    else
        answer.status = q->verdict ? q->verdict : sim_zone_look_up(world->zone, q->name, &asked, &answer);
    if (answer.status == RESOLVER_NODATA || answer.status == RESOLVER_NXDOMAIN)
        answer.ttl_s = world->zone->negative_ttl_s;
    else if (answer.status != RESOLVER_OK) {
        answer.ttl_s = 0;
        answer.secure = false;
    }
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
    bool lost = sim_strikes(world, SIM_DNS_LOST) || sim_zone_is_silent(world->zone, q->name);
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
    sim_zone_lower(q->name, sizeof q->name, name);
    q->next = &resolver->queries;
    q->prev = resolver->queries.prev;
    q->prev->next = q;
    resolver->queries.prev = q;
    query->resolver = resolver;
    query->state = 1;
    query->scratch[0] = q;
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

void resolver_txt_query(struct resolver *resolver, struct resolver_query *query, struct slice name)
{
    ask(resolver, query, name, RESOLVER_TXT, false, false);
}

void resolver_tlsa_query(struct resolver *resolver, struct resolver_query *query, struct slice name)
{
    ask(resolver, query, name, RESOLVER_TLSA, false, false);
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
