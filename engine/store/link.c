/* Whatever is behind the address of Redis, the store sees one thing to ask: here it is chosen which. */
#include "store/link.h"

#include "io/arena.h"
#include "store/cluster.h"
#include "store/sentinel.h"

#include <stdio.h>
#include <stdlib.h>

enum { TLS_CONNECTIONS = 256, TLS_SESSIONS = 256 };

struct link {
    struct io *io;
    struct redis_config config; /* of every connection */
    struct access access;       /* copies */
    struct arena arena;         /* of TLS */
    struct tls *tls;
    struct cluster *cluster;   /* NULL: it is none, and all goes to `redis` */
    struct sentinel *sentinel; /* NULL: nobody need be asked where that is */
    struct redis *redis;
    struct redis *wake; /* NULL until somebody subscribes */
};

static char *copy(const char *text)
{
    char *copied = text && text[0] ? strdup(text) : NULL;
    sluice_assert(copied || !text || !text[0]);
    return copied;
}

static bool open_tls(struct link *link)
{
    struct tls_config config = {.io = link->io,
                                .ca = link->access.ca,
                                .cert = link->access.cert,
                                .key = link->access.key,
                                .connections_max = TLS_CONNECTIONS,
                                .sessions_max = TLS_SESSIONS};
    if (!arena_open(&link->arena, tls_bytes(&config)))
        return false;
    link->tls = tls_open(&link->arena, &config);
    return link->tls != NULL;
}

static void forget(struct link *link)
{
    tls_close(link->tls);
    arena_drop(&link->arena);
    free(link->access.ca);
    free(link->access.cert);
    free(link->access.key);
    free(link->access.name);
    free(link->access.sentinel_user);
    free(link->access.sentinel_password);
    free(link);
}

struct link *link_open(struct io *io, const struct link_config *config, char *error, size_t error_cap)
{
    struct link *link = calloc(1, sizeof *link);
    const struct access *access = config->access;
    sluice_assert(link);
    link->io = io;
    link->config = config->redis;
    if (access)
        link->access = (struct access){.ca = copy(access->ca),
                                       .cert = copy(access->cert),
                                       .key = copy(access->key),
                                       .name = copy(access->name),
                                       .sentinel_user = copy(access->sentinel_user),
                                       .sentinel_password = copy(access->sentinel_password)};
    if (config->redis.url.is_tls && !open_tls(link)) {
        snprintf(error, error_cap, "no memory for TLS with Redis");
        forget(link);
        return NULL;
    }
    link->config.tls = link->tls;
    link->config.tls_name = link->access.name;
    if (link->config.url.kind == URL_CLUSTER)
        link->cluster = cluster_open(io, &link->config);
    else if (link->config.url.kind == URL_SENTINEL)
        link->sentinel = sentinel_open(io, &link->config, &link->access);
    if (!link->cluster)
        link->redis = link->sentinel ? sentinel_lead(link->sentinel, &link->config) : redis_open(io, &link->config);
    return link;
}

void link_subscribe(struct link *link, const char *channel)
{
    struct redis_config config = link->config;
    sluice_assert(!link->wake);
    config.library = config.library_source = NULL;
    config.channel = channel;
    if (link->cluster)
        link->wake = cluster_subscribe(link->cluster, &config);
    else
        link->wake = link->sentinel ? sentinel_lead(link->sentinel, &config) : redis_open(link->io, &config);
}

void link_close(struct link *link)
{
    tls_close(link->tls); /* before its connections' memory goes */
    link->tls = NULL;
    if (link->cluster)
        cluster_close(link->cluster);
    if (link->sentinel)
        sentinel_close(link->sentinel);
    if (link->redis)
        redis_close(link->redis);
    if (link->wake)
        redis_close(link->wake);
    forget(link);
}

void link_ask(struct link *link, unsigned slot, const struct resp_command *command, void *owner, unsigned flags)
{
    if (link->cluster)
        cluster_ask(link->cluster, slot, command, owner, flags);
    else
        redis_ask(link->redis, command, owner, slot, 0, flags);
}

unsigned link_servers(const struct link *link)
{
    unsigned servers = link->cluster ? cluster_servers(link->cluster) : 1;
    return servers ? servers : 1;
}

void link_ask_server(struct link *link, unsigned server, const struct resp_command *command, void *owner,
                     unsigned flags)
{
    if (link->cluster)
        cluster_ask_server(link->cluster, server, command, owner, flags);
    else
        redis_ask(link->redis, command, owner, SLOT_NONE, 0, flags);
}

void link_flush(struct link *link)
{
    if (link->cluster)
        cluster_flush(link->cluster);
    else
        redis_flush(link->redis);
}

bool link_connected(const struct link *link)
{
    return link->cluster ? cluster_connected(link->cluster) : redis_connected(link->redis);
}

const char *link_trouble(const struct link *link)
{
    if (link->cluster)
        return cluster_trouble(link->cluster);
    const char *unknown = link->sentinel ? sentinel_trouble(link->sentinel) : "";
    return unknown[0] ? unknown : redis_trouble(link->redis);
}

size_t link_unanswered(const struct link *link)
{
    return link->cluster ? cluster_unanswered(link->cluster) : redis_unanswered(link->redis);
}

uint64_t link_epoch(const struct link *link)
{
    return link->cluster ? cluster_epoch(link->cluster) : redis_epoch(link->redis);
}

nsec link_alive_at(const struct link *link)
{
    return link->cluster ? cluster_alive_at(link->cluster) : redis_alive_at(link->redis);
}

bool link_knows_server(const struct link *link)
{
    return link->cluster ? cluster_knows_server(link->cluster) : redis_knows_server(link->redis);
}

const char *link_server(const struct link *link) { return link->cluster ? "" : redis_server(link->redis); }

uint64_t link_epoch_of(const struct link *link, unsigned slot)
{
    return link->cluster ? cluster_epoch_of(link->cluster, slot) : redis_epoch(link->redis);
}

nsec link_alive_at_of(const struct link *link, unsigned slot)
{
    return link->cluster ? cluster_alive_at_of(link->cluster, slot) : redis_alive_at(link->redis);
}
