/* lack.h - this machine has no descriptor, memory, port or address for a session.
 *
 * That is our trouble and nobody else's. Guarantee: whoever waits for the session waits on; there is no event, no
 * attempt is counted, no mail host is taken for dead and no lane for turned away. Sessions that are open go on. By
 * itself it is tried again, and what is lacking is told at most once a minute, and once when it has been over for a
 * minute:
 *   - descriptors of this process (EMFILE): for a second those sessions that are open are all that there may be, and
 * are shared out as such (crowd.h);
 *   - descriptors or memory of this machine (ENFILE, ENOBUFS, ENOMEM): no session is begun for a second;
 *   - ports: a source's are used up towards one ISP: that lane begins none for a second;
 *   - a source's address is not on this machine: its lanes rest for ten seconds (LANE_ABSENT), and what preferred it
 * goes by its mates.
 */
#ifndef FLOW_LACK_H
#define FLOW_LACK_H

#include "control/log.h"
#include "io/io.h"

struct lane;
struct shard;

enum lack_kind { LACK_NOTHING = 0, LACK_DESCRIPTORS, LACK_MEMORY, LACK_PORTS, LACK_SOURCE, LACK_KINDS };

struct lack_trouble {
    struct log_trouble trouble;
    nsec met_at;
    char said[192]; /* of when it began: the same trouble in other words is no other trouble */
};

struct lack {
    struct io_timer timer; /* sessions are begun again */
    nsec until;            /* none is begun before */
    struct lack_trouble troubles[LACK_SOURCE];
    struct lack_trouble *sources; /* by source */
};

/* What a session lacked: by what io_socket said, or, when there was a socket, by how its connection ended. */
enum lack_kind lack_of_socket(int result);
enum lack_kind lack_of_connection(int result);

must_use bool lack_open(struct shard *shard);
/* A session of the lane could not be begun, or go on, for this. */
void lack_met(struct shard *shard, struct lane *lane, enum lack_kind kind, int result);
/* May a session of the lane be begun now? If not, it is woken when it may. */
must_use bool lack_may_begin(struct shard *shard, struct lane *lane);
/* A session of this source was begun. */
void lack_begun(struct shard *shard, unsigned source);
/* To be called about once a second. */
void lack_tick(struct shard *shard);

#endif
