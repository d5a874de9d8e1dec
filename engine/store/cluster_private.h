/* cluster_private.h - what cluster.c and cluster_map.c share. */
#ifndef STORE_CLUSTER_PRIVATE_H
#define STORE_CLUSTER_PRIVATE_H

#include "store/cluster.h"
#include "store/queue.h"
#include "store/scout.h"

enum {
    /* Behind the slots of keys: SLOT_NONE, for commands without any, and one for each server, for what is asked of it.
     */
    CLUSTER_SLOT_SERVER = SLOT_NONE + 1,
    CLUSTER_SLOTS = CLUSTER_SLOT_SERVER + CLUSTER_SERVERS_MAX,
    CLUSTER_NOBODY = UINT16_MAX,
    /* Redirections that are followed at once; behind them, servers that do not agree are asked now and then. */
    CLUSTER_TURNS = 3,
};

struct cluster_slot {
    uint32_t in_flight; /* its commands that a connection has */
    uint32_t moves;     /* from one server to another, since it was asked for first */
    uint16_t server;    /* that has it, or CLUSTER_NOBODY */
    uint16_t ask;       /* that has what was asked for, this time, or CLUSTER_NOBODY */
    uint8_t turns;      /* how often its commands were led elsewhere since one was answered */
    bool used;
    bool held;
    bool waits; /* held: for the time to try again */
    bool down;  /* the cluster says that it is (CLUSTERDOWN) */
    bool ready; /* while commands are let go */
};

struct cluster_server {
    struct redis *redis; /* NULL: free */
    struct url_host at;
    bool mapped; /* has slots, as far as we know */
};

struct cluster {
    struct io *io;
    struct redis_config config;
    struct scout *scout;
    struct cluster_server servers[CLUSTER_SERVERS_MAX];
    struct cluster_slot slots[CLUSTER_SLOTS];
    bool mapped;        /* once */
    unsigned uncovered; /* slots of keys without a server */
    unsigned downs;     /* slots that are `down` */
    uint64_t moves;     /* of all slots */
    struct queue held;  /* commands of held slots */
    uint64_t asked;     /* commands so far: each one's number */
    struct io_timer soon, later;
    nsec pause; /* the last one before `later`; 0: all went well since */
    unsigned wake_at;
    struct resp_command asking;
    uint16_t next[SLOT_COUNT]; /* the map that is being read */
    char trouble[320];
};

/* cluster_map.c */
/* The server at this place, known already or new. CLUSTER_NOBODY: there are too many. */
unsigned cluster_server_of(struct cluster *cluster, const struct url_host *at);
void cluster_place_slot(struct cluster *cluster, unsigned slot, unsigned server);
must_use struct scout *cluster_map_open(struct cluster *cluster);
/* The i-th of the servers that have slots, over again when there is none left; CLUSTER_NOBODY: none is known. */
unsigned cluster_mapped(const struct cluster *cluster, unsigned i);

/* cluster.c */
void cluster_soon(struct cluster *cluster);  /* held slots may go on */
void cluster_later(struct cluster *cluster); /* the same, after a while */
/* A connection to one more server. */
must_use struct redis *cluster_connect(struct cluster *cluster, const struct url_host *at);

#endif
