/* Which server has which slot: a map that is never quite new, and need not be. */
#include "store/cluster_private.h"

#include <stdio.h>

static bool is_at(const struct url_host *a, const struct url_host *b)
{
    return a->port == b->port && strcmp(a->name, b->name) == 0;
}

unsigned cluster_server_of(struct cluster *cluster, const struct url_host *at)
{
    unsigned free_one = CLUSTER_NOBODY;
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++) {
        struct cluster_server *server = &cluster->servers[i];
        if (server->redis && is_at(&server->at, at))
            return i;
        bool is_free = !server->redis || (!server->mapped && redis_at_rest(server->redis));
        if (free_one == CLUSTER_NOBODY && is_free)
            free_one = i;
    }
    if (free_one == CLUSTER_NOBODY)
        return free_one;
    struct cluster_server *server = &cluster->servers[free_one];
    server->at = *at;
    if (server->redis)
        redis_move(server->redis, at);
    else
        server->redis = cluster_connect(cluster, at);
    return free_one;
}

unsigned cluster_mapped(const struct cluster *cluster, unsigned i)
{
    unsigned count = cluster_servers(cluster);
    if (!count)
        return CLUSTER_NOBODY;
    i %= count;
    for (unsigned at = 0; at < CLUSTER_SERVERS_MAX; at++)
        if (cluster->servers[at].mapped && i-- == 0)
            return at;
    return CLUSTER_NOBODY;
}

unsigned cluster_servers(const struct cluster *cluster)
{
    unsigned count = 0;
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++)
        count += cluster->servers[i].mapped;
    return count;
}

void cluster_place_slot(struct cluster *cluster, unsigned slot, unsigned server)
{
    struct cluster_slot *s = &cluster->slots[slot];
    if (s->server == server)
        return;
    if (slot < SLOT_COUNT && s->used && s->server != CLUSTER_NOBODY) {
        s->moves++;
        cluster->moves++;
    }
    if (slot < SLOT_COUNT)
        cluster->uncovered = cluster->uncovered + (server == CLUSTER_NOBODY) - (s->server == CLUSTER_NOBODY);
    s->server = (uint16_t)server;
    s->waits = s->waits && s->turns > CLUSTER_TURNS;
    cluster_soon(cluster);
}

/* [from, to, [host, port, ...], replicas...]; a host that is empty or nil is the one that answers. */
static bool read_range(struct cluster *cluster, const struct resp_node *range, const struct url_host *from)
{
    uint64_t first = resp_to_unsigned(resp_member(range, 0)), last = resp_to_unsigned(resp_member(range, 1));
    const struct resp_node *master = resp_member(range, 2);
    struct slice name = resp_to_text(resp_member(master, 0));
    uint64_t port = resp_to_unsigned(resp_member(master, 1));
    struct url_host at = *from;
    if (first > last || last >= SLOT_COUNT || !master || port == 0 || port > UINT16_MAX || name.n > LIMIT_DOMAIN)
        return false;
    at.port = (uint16_t)port;
    if (slice_equal(name, SLICE("?"))) /* it has a name, and nobody knows which */
        return true;
    if (name.n)
        slice_copy(at.name, sizeof at.name, name);
    unsigned server = cluster_server_of(cluster, &at);
    for (uint64_t slot = first; slot <= last; slot++)
        cluster->next[slot] = (uint16_t)server;
    if (server != CLUSTER_NOBODY)
        cluster->servers[server].mapped = true;
    return true;
}

/* Commands that are on their way elsewhere are led back by the answers to them; here the new ones are turned. */
static void apply(struct cluster *cluster)
{
    cluster->mapped = true;
    unsigned any = cluster_mapped(cluster, 0);
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
        cluster_place_slot(cluster, slot, cluster->next[slot]);
    cluster_place_slot(cluster, SLOT_NONE, any);
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++) {
        struct cluster_server *server = &cluster->servers[i];
        cluster_place_slot(cluster, CLUSTER_SLOT_SERVER + i, server->mapped ? i : any);
        if (!server->redis)
            continue;
        if (server->mapped)
            redis_wake(server->redis);
        else if (!redis_unanswered(server->redis) && !redis_at_rest(server->redis))
            redis_rest(server->redis);
    }
}

static bool on_map(void *context, const struct resp_node *nodes, const struct url_host *from, char *why, size_t why_cap)
{
    struct cluster *cluster = context;
    unsigned count = nodes->type == RESP_ARRAY ? nodes->count : 0;
    snprintf(why, why_cap, "knows of no slots");
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
        cluster->next[slot] = CLUSTER_NOBODY;
    for (unsigned i = 0; count && i < CLUSTER_SERVERS_MAX; i++)
        cluster->servers[i].mapped = false;
    bool good = count > 0;
    const struct resp_node *range = nodes + 1;
    for (unsigned i = 0; i < count && good; i++, range += range->size) {
        good = read_range(cluster, range, from);
        if (!good)
            snprintf(why, why_cap, "answers CLUSTER SLOTS with something unexpected");
    }
    if (count)
        apply(cluster); /* what could be read of it */
    if (cluster->uncovered)
        cluster_later(cluster);
    return good;
}

static void question(void *context, struct resp_command *command)
{
    (void)context;
    resp_text(command, SLICE("CLUSTER"));
    resp_text(command, SLICE("SLOTS"));
}

/* Those that we were given, then those that we know of. */
static const struct url_host *host_of(void *context, unsigned at)
{
    const struct cluster *cluster = context;
    unsigned given = cluster->config.url.host_count;
    at %= given + cluster_servers(cluster);
    return at < given ? &cluster->config.url.hosts[at] : &cluster->servers[cluster_mapped(cluster, at - given)].at;
}

struct scout *cluster_map_open(struct cluster *cluster)
{
    return scout_open(
        cluster->io,
        &(struct scout_config){
            .redis = &cluster->config, .host = host_of, .question = question, .answer = on_map, .context = cluster});
}
