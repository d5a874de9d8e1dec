/* fake_cluster.h - fake Redis servers that share 16384 slots among them as a Redis Cluster does, with all that a client
 * meets while slots move: MOVED, ASK, TRYAGAIN, CLUSTERDOWN, CROSSSLOT, and servers that are behind the times.
 *
 * As redis-server 7.0 does it (getNodeByQuery), with `again` saying which of its two habits: a server that gives a slot
 * away and has only some of a command's keys answers TRYAGAIN, or ASK. Each server has its own map, which learns of a
 * move when it takes part in it, and else by fake_cluster_gossip. */
#ifndef FAKE_CLUSTER_H
#define FAKE_CLUSTER_H

#include "fake_redis.h"

enum { FAKE_CLUSTER_NODES = 6, FAKE_CLUSTER_PORT = 6379 };

struct fake_cluster;

/* `count` servers that are not served yet; those before `masters` share the slots evenly. They live until
 * fake_cluster_free, which needs what fake_redis_free needs. Server i is at 10.0.1.(i + 1). */
must_use struct fake_cluster *fake_cluster_new(unsigned count, unsigned masters, bool again);
void fake_cluster_free(struct fake_cluster *cluster);
struct fake_redis *fake_cluster_node(const struct fake_cluster *cluster, unsigned node);
const char *fake_cluster_address(const struct fake_cluster *cluster, unsigned node);
/* Who has a slot, as it is. */
unsigned fake_cluster_owner(const struct fake_cluster *cluster, unsigned slot);

/* A slot begins to move; some of its keys go (what is left is returned); it ends, when none is left, and those two
 * know. One slot at a time may be on its way. */
void fake_cluster_move(struct fake_cluster *cluster, unsigned slot, unsigned to);
unsigned fake_cluster_carry(struct fake_cluster *cluster, unsigned keys);
void fake_cluster_arrive(struct fake_cluster *cluster);
bool fake_cluster_moves(const struct fake_cluster *cluster);
/* This one believes that another has the slot. */
void fake_cluster_mislead(struct fake_cluster *cluster, unsigned node, unsigned slot, unsigned believed);
/* All servers learn what is. */
void fake_cluster_gossip(struct fake_cluster *cluster);

/* `replica` gets what `master` holds at this instant; later it takes its place with that, and nothing newer. */
void fake_cluster_follow(struct fake_cluster *cluster, unsigned master, unsigned replica);
void fake_cluster_promote(struct fake_cluster *cluster, unsigned master, unsigned replica);
/* Nobody has any slot, as far as clients are told. */
void fake_cluster_down(struct fake_cluster *cluster, bool down);

struct fake_cluster_counts {
    uint64_t moved, ask, asking, again, down, maps;
};
const struct fake_cluster_counts *fake_cluster_counts(const struct fake_cluster *cluster);

#endif
