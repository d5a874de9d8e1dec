/* weather.h - what the network and the providers of a random run are like, drawn from the world's seed.
 *
 * A swarm: each run has only some of the faults and moods, at its own rates, so that over many seeds each is met alone
 * as well as in company, and none hides behind one that is always there (Groce et al., "Swarm Testing", 2012). */
#ifndef TESTS_SIM_WEATHER_H
#define TESTS_SIM_WEATHER_H

#include "sim_mx.h"

/* Draws which faults strike how often, and the links' latency. About half of the kinds, between once in 100,000 and
 * once in 50 times. */
void weather_storm(struct sim_world *world);
/* No fault strikes any more, all partitions are healed: from now on everything must come to its end. */
void weather_calm(struct sim_world *world);

/* What providers do besides obliging. */
enum weather_trait {
    WEATHER_NO_PIPELINING = 1,
    WEATHER_NO_EHLO,
    WEATHER_BEHIND_DOT, /* objects to what stands behind the final dot */
    WEATHER_LATENCY,
    WEATHER_TARPIT,
    WEATHER_CONNECTIONS, /* a limit, over all or per source */
    WEATHER_MESSAGES,    /* a limit per connection, said or silent */
    WEATHER_RATE,
    WEATHER_IDLE,    /* closes idle connections soon */
    WEATHER_REFUSES, /* 4xx and 5xx at any stage */
    WEATHER_BLOCKS,  /* 421 or 554 in the greeting */
    WEATHER_UNKNOWN, /* the same recipients are refused for good at every try */
    WEATHER_GREYLISTS,
    WEATHER_BREAKS, /* hangs up, resets, falls silent */
    WEATHER_LOSES,  /* takes the message and hangs up instead of saying so */
    WEATHER_SMALL,  /* a small SIZE */
    WEATHER_TLS,    /* refuses STARTTLS, or spoils the handshake; where there is TLS */
    WEATHER_AUTH,   /* credentials that are right are refused, for now or for good; where there is AUTH */
    WEATHER_CHUNKS, /* refuses chunks that are not wanted any more, or not yet; where there is BDAT */
    WEATHER_TRAIT_COUNT
};
/* An obliging provider with a few traits of its own. Returns them as bits (1 << trait). */
unsigned weather_personality(struct sim_world *world, struct mx_personality *personality, const char *name);

/* What a provider is able to stays as it is in all of its moods: who says CHUNKING and swallows refused chunks does so
 * until the engine forgets that it does. Draws whether BDAT is there, and whether it is done badly. */
enum weather_ability { WEATHER_CHUNKING = 1, WEATHER_SPILLING, WEATHER_ABILITY_COUNT };
enum weather_ability weather_chunking(struct sim_world *world, struct mx_personality *personality);
/* The obliging one, with what the provider is able to. */
void weather_oblige(const struct sim_isp *isp, struct mx_personality *personality);

/* `count` moods at random instants in [from, until), and the obliging one from `until` on. Returns all traits. */
unsigned weather_moods(struct sim_isp *isp, nsec from, nsec until, unsigned count);

#endif
