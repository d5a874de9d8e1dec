/* cluster.h - the masters of a Redis Cluster, as one thing to ask.
 *
 * Which server has which slot is asked of the servers themselves (CLUSTER SLOTS), and asked again whenever one of them
 * says that a slot is elsewhere, or does not answer. A slot is *held* while one of its commands is being led elsewhere:
 * what is asked of it meanwhile waits, and when all that was on its way has been answered, refused or lost, it goes on
 * in the order in which it was asked. So does what was on its way to a server that went away.
 *
 * With a slot without any server, or a server away, the cluster counts as away as a whole: what belongs to no campaign
 * (sources, warm-ups, the heartbeat) is spread over all of them. A slot that is being moved makes its own commands
 * wait, and nobody else's. */
#ifndef STORE_CLUSTER_H
#define STORE_CLUSTER_H

#include "store/redis.h"
#include "store/slot.h"

struct cluster;

enum { CLUSTER_SERVERS_MAX = 128 };

/* `config` as of one connection; the url's hosts are servers of the cluster. Owns nothing of it. */
must_use struct cluster *cluster_open(struct io *io, const struct redis_config *config);
void cluster_close(struct cluster *cluster); /* as redis_close */
/* A connection of its own to any of the servers. Once. */
must_use struct redis *cluster_subscribe(struct cluster *cluster, const struct redis_config *config);

/* As in link.h. */
void cluster_ask(struct cluster *cluster, unsigned slot, const struct resp_command *command, void *owner,
                 unsigned flags);
void cluster_ask_server(struct cluster *cluster, unsigned server, const struct resp_command *command, void *owner,
                        unsigned flags);
unsigned cluster_servers(const struct cluster *cluster);
void cluster_flush(struct cluster *cluster);
bool cluster_connected(const struct cluster *cluster);
const char *cluster_trouble(const struct cluster *cluster);
size_t cluster_unanswered(const struct cluster *cluster);
uint64_t cluster_epoch(const struct cluster *cluster);
uint64_t cluster_epoch_of(const struct cluster *cluster, unsigned slot);
nsec cluster_alive_at(const struct cluster *cluster);
nsec cluster_alive_at_of(const struct cluster *cluster, unsigned slot);
bool cluster_knows_server(const struct cluster *cluster);

#endif
