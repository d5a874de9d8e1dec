/* Counts a list by ISP without keeping it: a million recipients are a few ten thousand domains. */
#include "cli/census.h"

#include "control/metrics.h"
#include "flow/entry.h"
#include "flow/relay.h"
#include "flow/route.h"

#include <stdlib.h>

enum { BUCKETS_LOG2 = 17, ASKED_AT_ONCE = 500 };

struct census_domain {
    struct table_link link;
    struct census_domain *next;
    struct attempt attempt; /* what is routed */
    uint64_t count;
    char name[LIMIT_DOMAIN + 1];
};

struct census {
    const struct config *config;
    unsigned pool;
    struct arena arena;
    struct table domains;
    struct census_domain *first;
    struct json_token *tokens;
    uint64_t invalid, unroutable;
    struct census_row *rows;
    unsigned row_count, row_cap;
    unsigned open; /* domains that DNS is being asked about */
};

struct census *census_new(const struct config *config, unsigned pool)
{
    struct census *census = calloc(1, sizeof *census);
    if (!census)
        return NULL;
    census->config = config;
    census->pool = pool;
    census->tokens = calloc(RECIPIENT_TOKENS, sizeof *census->tokens);
    if (census->tokens && arena_open(&census->arena, (size_t)1 << 30) &&
        table_open(&census->domains, &census->arena, BUCKETS_LOG2))
        return census;
    census_free(census);
    return NULL;
}

void census_free(struct census *census)
{
    for (struct census_domain *domain = census->first, *next; domain; domain = next) {
        next = domain->next;
        free(domain);
    }
    free(census->tokens);
    free(census->rows);
    arena_drop(&census->arena);
    free(census);
}

static struct census_domain *domain_of(struct census *census, struct slice name)
{
    uint64_t hash = table_hash(name);
    for (struct table_link *link = table_first(&census->domains, hash); link; link = table_next(link)) {
        struct census_domain *domain = container_of(link, struct census_domain, link);
        if (slice_equal_nocase(slice_of(domain->name), name))
            return domain;
    }
    struct census_domain *domain = calloc(1, sizeof *domain);
    sluice_assert(domain);
    slice_copy(domain->name, sizeof domain->name, name);
    domain->attempt.domain = slice_of(domain->name);
    domain->next = census->first;
    census->first = domain;
    table_add(&census->domains, &domain->link, hash);
    return domain;
}

void census_entry(struct census *census, struct slice raw)
{
    char room[RECIPIENT_ROOM];
    struct entry entry;
    size_t position;
    if (entry_read(raw, census->tokens, room, &entry, &position))
        census->invalid++;
    else
        domain_of(census, entry_domain(&entry))->count++;
}

void census_isp(struct census *census, struct slice isp, uint64_t count)
{
    for (unsigned i = 0; i < census->row_count; i++)
        if (slice_equal(slice_of(census->rows[i].isp), isp)) {
            census->rows[i].count += count;
            return;
        }
    if (census->row_count == census->row_cap) {
        census->row_cap = census->row_cap ? 2 * census->row_cap : 64;
        census->rows = realloc(census->rows, census->row_cap * sizeof *census->rows);
        sluice_assert(census->rows);
    }
    struct census_row *row = &census->rows[census->row_count++];
    *row = (struct census_row){.count = count};
    slice_copy(row->isp, sizeof row->isp, isp);
}

/* ---- routing ---- */

static void on_routed(void *context, struct attempt *attempt)
{
    struct census *census = context;
    struct census_domain *domain = container_of(attempt, struct census_domain, attempt);
    census->open--;
    census_isp(census, slice_of(attempt->site->isp), domain->count); /* the site stays held: routes end together */
}

static void on_failed(void *context, struct attempt *attempt, const struct route_failure *failure)
{
    struct census *census = context;
    (void)failure;
    census->open--;
    census->unroutable += container_of(attempt, struct census_domain, attempt)->count;
}

static void route_domain(struct census *census, struct route *route, const struct relay_table *relays,
                         struct census_domain *domain)
{
    struct route_failure failure;
    census->open++;
    switch (route_attempt(route, &domain->attempt, relay_of(relays, census->pool, domain->attempt.domain), &failure)) {
    case ROUTE_READY:
        on_routed(census, &domain->attempt);
        break;
    case ROUTE_FAILED:
        on_failed(census, &domain->attempt, &failure);
        break;
    default:
        break;
    }
}

static int by_count(const void *a, const void *b)
{
    const struct census_row *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1) : strcmp(x->isp, y->isp);
}

bool census_route(struct census *census, struct ask *ask)
{
    static const struct route_events events = {.routed = on_routed, .failed = on_failed};
    const struct config *config = census->config;
    char error[512] = "no memory";
    struct relay_table relays;
    struct route *route = calloc(1, sizeof *route);
    struct metrics *metrics = metrics_create(1);
    struct resolver_config asked = {.servers = config->resolver,
                                    .timeout = config->resolver_timeout,
                                    .tries = config->resolver_tries,
                                    .queries_max = 2 * ASKED_AT_ONCE};
    struct resolver *resolver = resolver_open(ask->io, &asked, error, sizeof error);
    struct route_config to = {.io = ask->io,
                              .resolver = resolver,
                              .config = config,
                              .metrics = metrics ? metrics_of(metrics, 0) : NULL,
                              .attempts_max = 2 * ASKED_AT_ONCE};
    bool good = route && metrics && resolver && relay_open(&relays, &census->arena, config) &&
                route_open(route, &census->arena, &to, &events, census);
    if (!good)
        cli_error("DNS cannot be asked: %s", error);
    struct census_domain *domain = census->first;
    while (good && (domain || census->open)) {
        for (; domain && census->open < ASKED_AT_ONCE; domain = domain->next)
            route_domain(census, route, &relays, domain);
        if (census->open)
            io_turn(ask->io, io_now(ask->io) + NSEC_PER_S);
    }
    if (good && census->row_count)
        qsort(census->rows, census->row_count, sizeof *census->rows, by_count);
    if (resolver)
        resolver_close(resolver);
    if (metrics)
        metrics_free(metrics);
    free(route);
    return good;
}

const struct census_row *census_rows(const struct census *census, unsigned *count)
{
    *count = census->row_count;
    return census->rows;
}

uint64_t census_invalid(const struct census *census) { return census->invalid; }
uint64_t census_unroutable(const struct census *census) { return census->unroutable; }
unsigned census_domains(const struct census *census) { return census->domains.count; }
