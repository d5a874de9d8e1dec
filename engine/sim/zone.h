/* zone.h - what the name servers of a world know; sim.h tells how it is filled. */
#ifndef SIM_ZONE_H
#define SIM_ZONE_H

#include "sim/sim.h"

enum { ZONE_BUCKETS = 1024 };

struct zone_name;
struct sim_zone {
    struct zone_name *names[ZONE_BUCKETS];
    uint32_t negative_ttl_s;
    nsec latency, jitter;
};

struct sim_asked {
    enum resolver_kind kind;
    bool v4, v6; /* of addresses */
};

/* The answer but for what goes wrong on its way. `name` is in lower case. Records are borrowed from the zone. */
enum resolver_status sim_zone_look_up(struct sim_zone *zone, const char *name, const struct sim_asked *asked,
                                      struct resolver_answer *answer);
/* Nobody answers for this name. */
bool sim_zone_is_silent(struct sim_zone *zone, const char *name);
/* Lower case, without a trailing dot. */
void sim_zone_lower(char *to, size_t cap, struct slice name);

#endif
