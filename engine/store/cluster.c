/* Leads each command to the server that has its slot, and keeps a slot's commands in their order on the way. */
#include "store/cluster_private.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAUSE_MIN_MS = 50, PAUSE_MAX_MS = 500 };

/* ---- when to go on ---- */

void cluster_soon(struct cluster *cluster)
{
    if (!io_timer_is_set(&cluster->soon))
        io_timer_set(cluster->io, &cluster->soon, io_now(cluster->io));
}

void cluster_later(struct cluster *cluster)
{
    if (io_timer_is_set(&cluster->later))
        return;
    cluster->pause =
        cluster->pause ? nsec_min(2 * cluster->pause, PAUSE_MAX_MS * NSEC_PER_MS) : PAUSE_MIN_MS * NSEC_PER_MS;
    io_timer_set(cluster->io, &cluster->later, io_now(cluster->io) + cluster->pause);
}

static struct cluster_slot *slot_at(struct cluster *cluster, unsigned slot)
{
    sluice_assert(slot < CLUSTER_SLOTS);
    return &cluster->slots[slot];
}

/* Commands are given to connections that are there, and to no other: what a connection has goes where it goes. */
static unsigned open_server(const struct cluster *cluster, unsigned server)
{
    return server != CLUSTER_NOBODY && redis_is_open(cluster->servers[server].redis) ? server : CLUSTER_NOBODY;
}

static void hold(struct cluster *cluster, struct cluster_slot *s, bool waits)
{
    s->held = true;
    s->waits |= waits || s->turns > CLUSTER_TURNS;
    if (s->waits)
        cluster_later(cluster);
    else if (!s->in_flight)
        cluster_soon(cluster);
}

/* ---- letting go ---- */

struct held {
    uint64_t number;
    unsigned at;
};

static int by_number(const void *a, const void *b)
{
    uint64_t left = ((const struct held *)a)->number, right = ((const struct held *)b)->number;
    return (left > right) - (left < right);
}

static void let_go(struct cluster *cluster, struct cluster_slot *s, unsigned at)
{
    unsigned to = s->ask != CLUSTER_NOBODY ? s->ask : s->server;
    struct redis *redis = cluster->servers[to].redis;
    if (s->ask != CLUSTER_NOBODY) {
        redis_ask(redis, &cluster->asking, NULL, SLOT_NONE, 0, 0);
        slot_at(cluster, SLOT_NONE)->in_flight++;
    }
    redis_ask_again(redis, &cluster->held, at);
    s->in_flight++;
}

/* A held slot may go on when nothing of it is on its way any more, and whoever has it is there. */
static void look_ready(struct cluster *cluster, struct cluster_slot *s)
{
    unsigned to = s->ask != CLUSTER_NOBODY ? s->ask : s->server;
    if (s->ready || !s->held || s->waits || s->in_flight)
        return;
    s->ready = open_server(cluster, to) != CLUSTER_NOBODY;
    if (s->ready)
        return;
    if (to != CLUSTER_NOBODY)
        redis_wake(cluster->servers[to].redis);
    hold(cluster, s, true);
}

static void release(struct cluster *cluster)
{
    unsigned count = cluster->held.count;
    struct queue rest = {0};
    struct held *order = malloc((count ? count : 1) * sizeof *order);
    sluice_assert(order);
    for (unsigned i = 0; i < count; i++) {
        order[i] = (struct held){queue_at(&cluster->held, i)->number, i};
        look_ready(cluster, slot_at(cluster, queue_at(&cluster->held, i)->slot));
    }
    qsort(order, count, sizeof *order, by_number);
    for (unsigned i = 0; i < count; i++) {
        struct cluster_slot *s = slot_at(cluster, queue_at(&cluster->held, order[i].at)->slot);
        if (s->ready)
            let_go(cluster, s, order[i].at);
        else
            queue_copy(&rest, &cluster->held, order[i].at);
    }
    for (unsigned i = 0; i < count; i++) {
        struct cluster_slot *s = slot_at(cluster, queue_at(&cluster->held, i)->slot);
        if (!s->ready)
            continue;
        s->ready = false;
        s->turns += s->turns <= CLUSTER_TURNS;
        s->held = s->ask != CLUSTER_NOBODY; /* elsewhere, this time only: the next ones wait for its end */
        s->ask = CLUSTER_NOBODY;
    }
    queue_free(&cluster->held);
    cluster->held = rest;
    free(order);
    cluster_flush(cluster);
}

static void on_soon(struct io_timer *timer) { release(container_of(timer, struct cluster, soon)); }

static bool is_whole(const struct cluster *cluster)
{
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++)
        if (cluster->servers[i].mapped && !redis_is_open(cluster->servers[i].redis))
            return false;
    return cluster->mapped && !cluster->uncovered && !cluster->downs;
}

static void on_later(struct io_timer *timer)
{
    struct cluster *cluster = container_of(timer, struct cluster, later);
    for (unsigned i = 0; i < cluster->held.count; i++)
        slot_at(cluster, queue_at(&cluster->held, i)->slot)->waits = false;
    if (!is_whole(cluster)) {
        scout_ask(cluster->scout);
        cluster_later(cluster);
    }
    release(cluster);
}

/* ---- what connections tell ---- */

static void on_settled(void *context, struct redis *redis, unsigned slot)
{
    struct cluster *cluster = context;
    struct cluster_slot *s = slot_at(cluster, slot);
    (void)redis;
    sluice_assert(s->in_flight);
    s->in_flight--;
    s->turns = 0;
    cluster->downs -= s->down;
    s->down = false;
    if (slot < SLOT_COUNT)
        cluster->pause = 0;
    if (s->held && !s->in_flight)
        cluster_soon(cluster);
}

static unsigned server_at(struct cluster *cluster, const struct slot_place *place, const struct redis *redis)
{
    struct url_host at = *redis_at(redis);
    if (place->host.n > LIMIT_DOMAIN)
        return CLUSTER_NOBODY;
    if (place->host.n)
        slice_copy(at.name, sizeof at.name, place->host);
    at.port = place->port;
    unsigned server = cluster_server_of(cluster, &at);
    if (server != CLUSTER_NOBODY)
        redis_wake(cluster->servers[server].redis);
    return server;
}

static bool on_refused(void *context, struct redis *redis, const struct queue *asked, struct slice error)
{
    struct cluster *cluster = context;
    const struct queue_entry *entry = queue_at(asked, 0);
    struct cluster_slot *s = slot_at(cluster, entry->slot);
    struct slot_place place;
    enum slot_answer answer = slot_error(error, &place);
    if (answer == SLOT_ANSWER || !entry->owner)
        return false;
    queue_copy(&cluster->held, asked, 0);
    s->in_flight--;
    if (answer == SLOT_MOVED) {
        cluster_place_slot(cluster, entry->slot, server_at(cluster, &place, redis));
        scout_ask(cluster->scout);
    } else if (answer == SLOT_ASK) {
        s->ask = (uint16_t)server_at(cluster, &place, redis);
    } else if (slice_starts_with(error, SLICE("CLUSTERDOWN"))) {
        cluster->downs += !s->down;
        s->down = true;
        snprintf(cluster->trouble, sizeof cluster->trouble, "Redis answers: " SLICE_FORMAT, SLICE_ARGS(error));
    }
    hold(cluster, s, answer == SLOT_AGAIN);
    return true;
}

static void on_lost(void *context, struct redis *redis, struct queue *asked)
{
    struct cluster *cluster = context;
    (void)redis;
    for (unsigned i = 0; i < asked->count; i++) {
        const struct queue_entry *entry = queue_at(asked, i);
        struct cluster_slot *s = slot_at(cluster, entry->slot);
        s->in_flight--;
        if (!entry->owner) /* ASKING */
            continue;
        queue_copy(&cluster->held, asked, i);
        hold(cluster, s, true);
    }
    queue_free(asked);
    scout_ask(cluster->scout);
    cluster_later(cluster);
}

static void on_opened(void *context, struct redis *redis)
{
    struct cluster *cluster = context;
    for (unsigned i = 0; i < cluster->held.count; i++) {
        struct cluster_slot *s = slot_at(cluster, queue_at(&cluster->held, i)->slot);
        unsigned to = s->ask != CLUSTER_NOBODY ? s->ask : s->server;
        if (to != CLUSTER_NOBODY && cluster->servers[to].redis == redis && !s->down)
            s->waits = false;
    }
    cluster_soon(cluster);
}

static void on_answer(void *context, void *owner, const struct resp_node *nodes, bool repeated)
{
    struct cluster *cluster = context;
    if (owner)
        cluster->config.answer(cluster->config.context, owner, nodes, repeated);
}

static const struct redis_hooks hooks = {
    .refused = on_refused, .settled = on_settled, .lost = on_lost, .opened = on_opened};

struct redis *cluster_connect(struct cluster *cluster, const struct url_host *at)
{
    struct redis_config config = cluster->config;
    config.url.hosts[0] = *at;
    config.url.host_count = 1;
    config.answer = on_answer;
    config.context = config.hook_context = cluster;
    config.hooks = &hooks;
    return redis_open_at_rest(cluster->io, &config);
}

/* ---- asking ---- */

/* A command of a slot that is free goes straight to where the slot is; any other is held. */
static void ask(struct cluster *cluster, unsigned slot, const struct resp_command *command, void *owner, unsigned flags)
{
    struct cluster_slot *s = slot_at(cluster, slot);
    unsigned to = open_server(cluster, s->server);
    s->used = true;
    cluster->asked++;
    if (!s->held && to != CLUSTER_NOBODY) {
        s->in_flight++;
        redis_ask(cluster->servers[to].redis, command, owner, slot, cluster->asked, flags);
        return;
    }
    struct queue_entry *entry = queue_add(&cluster->held, (struct queue_entry){.owner = owner,
                                                                               .asked_at = io_now(cluster->io),
                                                                               .number = cluster->asked,
                                                                               .slot = slot,
                                                                               .once = flags & REDIS_ONCE,
                                                                               .owed = flags & REDIS_OWED});
    entry->size = resp_out_command(&cluster->held.out, command);
    hold(cluster, s, s->waits);
}

void cluster_ask(struct cluster *cluster, unsigned slot, const struct resp_command *command, void *owner,
                 unsigned flags)
{
    sluice_assert(slot <= SLOT_NONE && owner);
    ask(cluster, slot, command, owner, flags);
}

void cluster_ask_server(struct cluster *cluster, unsigned server, const struct resp_command *command, void *owner,
                        unsigned flags)
{
    unsigned at = cluster_mapped(cluster, server);
    sluice_assert(owner);
    ask(cluster, at == CLUSTER_NOBODY ? SLOT_NONE : CLUSTER_SLOT_SERVER + at, command, owner, flags);
}

void cluster_flush(struct cluster *cluster)
{
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++)
        if (cluster->servers[i].redis)
            redis_flush(cluster->servers[i].redis);
}

/* ---- as a whole ---- */

bool cluster_connected(const struct cluster *cluster)
{
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++)
        if (cluster->servers[i].mapped && !redis_connected(cluster->servers[i].redis))
            return false;
    return is_whole(cluster);
}

const char *cluster_trouble(const struct cluster *cluster)
{
    const char *scouts = scout_trouble(cluster->scout);
    if (!cluster->mapped)
        return scouts[0] ? scouts : "not connected to Redis yet";
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++)
        if (cluster->servers[i].mapped && !redis_connected(cluster->servers[i].redis))
            return redis_trouble(cluster->servers[i].redis);
    if (cluster->downs)
        return cluster->trouble;
    return cluster->uncovered ? "some of the cluster's slots have no server" : "";
}

size_t cluster_unanswered(const struct cluster *cluster)
{
    size_t bytes = (size_t)cluster->held.out.end;
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++)
        if (cluster->servers[i].redis)
            bytes += redis_unanswered(cluster->servers[i].redis);
    return bytes;
}

uint64_t cluster_epoch(const struct cluster *cluster)
{
    uint64_t epochs = 0;
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++) {
        const struct cluster_server *server = &cluster->servers[i];
        uint64_t epoch = server->redis ? redis_epoch(server->redis) : 0;
        if (server->mapped && !epoch)
            return 0; /* one was not met yet */
        epochs += epoch;
    }
    return epochs ? epochs + cluster->moves : 0;
}

uint64_t cluster_epoch_of(const struct cluster *cluster, unsigned slot)
{
    const struct cluster_slot *s = &cluster->slots[slot];
    uint64_t epoch = s->server != CLUSTER_NOBODY ? redis_epoch(cluster->servers[s->server].redis) : 0;
    return epoch ? ((uint64_t)s->moves << 32) + epoch : 0;
}

nsec cluster_alive_at(const struct cluster *cluster)
{
    nsec alive_at = NSEC_NEVER;
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++)
        if (cluster->servers[i].mapped)
            alive_at = nsec_min(alive_at, redis_alive_at(cluster->servers[i].redis));
    return alive_at == NSEC_NEVER ? 0 : alive_at;
}

nsec cluster_alive_at_of(const struct cluster *cluster, unsigned slot)
{
    const struct cluster_slot *s = &cluster->slots[slot];
    return s->server != CLUSTER_NOBODY ? redis_alive_at(cluster->servers[s->server].redis) : 0;
}

bool cluster_knows_server(const struct cluster *cluster)
{
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++)
        if (cluster->servers[i].mapped && !redis_knows_server(cluster->servers[i].redis))
            return false;
    return cluster->mapped;
}

/* ---- start and end ---- */

struct cluster *cluster_open(struct io *io, const struct redis_config *config)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    sluice_assert(cluster);
    cluster->io = io;
    cluster->config = *config;
    cluster->soon.fire = on_soon;
    cluster->later.fire = on_later;
    cluster->uncovered = SLOT_COUNT;
    for (unsigned i = 0; i < CLUSTER_SLOTS; i++)
        cluster->slots[i].server = cluster->slots[i].ask = CLUSTER_NOBODY;
    resp_begin(&cluster->asking);
    resp_text(&cluster->asking, SLICE("ASKING"));
    cluster->scout = cluster_map_open(cluster);
    scout_ask(cluster->scout);
    return cluster;
}

void cluster_close(struct cluster *cluster)
{
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++)
        if (cluster->servers[i].redis)
            redis_close(cluster->servers[i].redis);
    scout_close(cluster->scout);
    queue_free(&cluster->held);
    resp_command_free(&cluster->asking);
    free(cluster);
}

/* Messages are passed on between all servers of a cluster, so any will do. */
static void on_wake_where(void *context, struct redis *redis)
{
    struct cluster *cluster = context;
    unsigned server = cluster_mapped(cluster, cluster->wake_at++);
    redis_found(redis, server == CLUSTER_NOBODY ? NULL : &cluster->servers[server].at);
}

static const struct redis_hooks wake_hooks = {.where = on_wake_where};

struct redis *cluster_subscribe(struct cluster *cluster, const struct redis_config *config)
{
    struct redis_config mine = *config;
    mine.hooks = &wake_hooks;
    mine.hook_context = cluster;
    return redis_open(cluster->io, &mine);
}
