/* neighbours.h - which other engines are dead, so that what they had taken may be taken over.
 *
 * A heartbeat that is absent proves nothing by itself: after a Redis that was away the heartbeats of all have expired
 * while their engines live. So an engine counts another as dead only when its heartbeat was absent at every one of
 * several reads over a whole life of heartbeats, during which our own connection was up, our own heartbeat was accepted
 * and we had our turns. An engine that lives has renewed its own in that time, for it tries as soon as Redis is back. Its
 * sources are free by then: a heart that was not accepted asks for no source (beat.c).
 *
 * Whoever comes back has leases of its own at once, while we may think it dead for two seconds more. So before a lease is
 * taken over, its owner's heartbeat is read once more, after the lease was seen: none is taken by an engine whose heart
 * does not beat.
 *
 * That is no proof either (the other may be cut off from Redis, or stopped), and need not be: an engine grants itself
 * nothing once half a life has passed without its heartbeat, and its leases are fenced when they have been adopted. To
 * count one as dead who is not costs only what is in doubt then.
 *
 * Whoever is named is somebody who has leases. Each shard watches for itself: one GET for each of them every two
 * seconds. One thread's. */
#ifndef FLOW_NEIGHBOURS_H
#define FLOW_NEIGHBOURS_H

#include "control/log.h"
#include "store/store.h"

enum { NEIGHBOURS = 64, NEIGHBOURS_DEAD = 16 };

struct neighbours {
    struct io *io;
    struct store *store;
    struct log *log; /* NULL: another shard says it */
    nsec life;
    nsec due;                   /* nothing is to be done before */
    nsec sure_since, turned_at; /* since when we have been sure of ourselves without a break; 0: we are not */
    struct neighbour {
        struct store_request request;
        struct neighbours *all;
        struct store_owner who;
        nsec named_at; /* 0: nobody stands here */
        nsec asked_at, absent_since, absent_at; /* absent_at: when the last read that found it absent was asked for */
        unsigned absent; /* reads in a row */
        bool dead;
    } list[NEIGHBOURS];
    struct store_owner dead[NEIGHBOURS_DEAD];
    unsigned dead_count;
    uint64_t died; /* so far */
};

/* `life`: how long a heartbeat lasts. Store and log are borrowed until the end. */
void neighbours_open(struct neighbours *neighbours, struct io *io, struct store *store, struct log *log, nsec life);
/* A look found these: they have leases. */
void neighbours_named(struct neighbours *neighbours, const struct store_owner *owners, unsigned count);
/* Is the owner dead whose lease was seen at `seen`? Not known: it is being asked. */
enum neighbour_is { NEIGHBOUR_ALIVE, NEIGHBOUR_UNKNOWN, NEIGHBOUR_DEAD };
enum neighbour_is neighbours_ask(struct neighbours *neighbours, struct slice engine, uint64_t incarnation, nsec seen);
/* Once a turn, `sure`: Redis is there and our own heartbeat holds. Returns when it wants to be called again. */
nsec neighbours_turn(struct neighbours *neighbours, nsec now, bool sure);
bool neighbours_owe(const struct neighbours *neighbours);

#endif
