/* town_control.h - what people do to campaigns in mid-run, and people and machines to engines, drawn from the world's
 * seed: for the swarm, whose oracles say whether anybody was lost or doubled by it.
 *
 * In a town of one engine, of several that have sources of their own, or of one whose place another takes now and then:
 * a new binary, on the same host and with the same sources (town_add_beside). */
#ifndef TESTS_SIM_TOWN_CONTROL_H
#define TESTS_SIM_TOWN_CONTROL_H

#include "town.h"

enum town_control {
    /* Of a campaign. */
    TOWN_PAUSED = 1,
    TOWN_CANCELLED,   /* for good */
    TOWN_UNCANCELLED, /* half-way */
    TOWN_REWRITTEN,   /* another text */
    TOWN_BROKEN,      /* a text that is no template, until it is mended */
    TOWN_MOVED,       /* to a pool that nobody has, and back */
    TOWN_PREFERRED,   /* weight and priority */
    TOWN_DOUBT,       /* what becomes of those in doubt */
    TOWN_ADDED_TWICE,
    TOWN_BEGUN_AGAIN, /* added again, and pushed to, when it is done */
    /* Of an engine. */
    TOWN_RELOADED, /* tighter limits in mid-run, and the old ones again */
    TOWN_LEFT,
    TOWN_KILLED,
    TOWN_KILLED_FOR_GOOD, /* others are there */
    TOWN_STALLED,
    TOWN_CUT_OFF,
    TOWN_REPLACED,            /* by a new binary beside it */
    TOWN_REPLACED_AND_KILLED, /* on its way out */
    TOWN_TAKEN_OVER,          /* leases of an engine that was killed for good were adopted by others */
    TOWN_CONTROL_COUNT
};
const char *town_control_name(enum town_control control);

struct town_controls {
    struct town *town;
    const char *settings;           /* of all engines; borrowed */
    const char *tighter;            /* none of its limits is above those of `settings`; NULL: nothing is reloaded */
    bool replaced;                  /* the town's two engines take each other's place */
    unsigned now;                   /* the one that works, if so */
    bool dead[TOWN_ENGINES];        /* for good */
    uint64_t adopted[TOWN_ENGINES]; /* by each, when the first was killed for good */
    nsec stopped_until[TOWN_ENGINES];
    const char *id;         /* the campaign that something was done to, */
    enum town_control undo; /* and what has to be undone; 0: nothing */
    uint64_t reach[TOWN_CONTROL_COUNT];
};

/* Does something to a campaign; to an engine that runs, which may take its time. town_controls_undo: ends what was
 * begun, and starts whoever does not run and is not dead for good. */
void town_controls_campaign(struct town_controls *controls);
void town_controls_engine(struct town_controls *controls);
void town_controls_undo(struct town_controls *controls);
/* One of those that run, by chance; -1: none does. */
int town_controls_pick(struct town_controls *controls);
/* Behind the first drain. */
void town_controls_begin_again(struct town_controls *controls);
/* At the very end. */
void town_controls_count(struct town_controls *controls);

#endif
