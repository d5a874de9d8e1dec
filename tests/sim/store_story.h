/* store_story.h - some workers who lease, permit and end what is in a campaign's list, by the production store and the
 * fake Redis, until the list is empty; and the judge of what became of it. For those who test the store in bad weather.
 */
#ifndef STORE_STORY_H
#define STORE_STORY_H

#include "fake_cluster.h"
#include "sim/sim.h"
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { RECIPIENTS = 4000, WORKERS = 6, LEASE = 120, CHUNK = 17, AT_ONCE = 3, LIMIT_S = 7200 };

#define CAMPAIGN  SLICE("c")
#define KEY(name) "sluice:{c}:" name

struct ending {
    struct store_request request;
    struct worker *worker;
};

/* Takes leases and ends what is in them, with some steps on their way at once. */
struct worker {
    struct story *story;
    struct store_request lease, permit;
    struct ending endings[AT_ONCE];
    char id[32];
    uint64_t first;
    unsigned count, asked, leases, outstanding;
    bool permitted;
};

struct story {
    uint64_t seed;
    struct sim_world *world;
    struct sim_host *redis_host;
    struct io *redis_io, *io;
    struct fake_redis *fake;
    struct store *store;
    struct worker workers[WORKERS];
    unsigned working;
    void *context; /* of the test */
    uint64_t answers, delivered, deferred, in_doubt, parked;
    unsigned leased[RECIPIENTS]; /* how often each seq was */
};

static inline uint64_t story_draw(struct story *story, uint64_t below) { return sim_random(story->world) % below; }

/* A world with an engine and room for a Redis. */
struct story *story_new(uint64_t seed);
void story_free(struct story *story);                          /* with its store and its fake, if it has any */
void story_push(struct story *story, struct fake_redis *fake); /* the recipients */
void story_open_store(struct story *story, const char *url, nsec keeps);
/* A fake at an address, with a process and an io of its own on this host. */
struct io *story_serve(struct sim_host *host, struct fake_redis *fake, const char *address);
void story_redis_serve(struct story *story);
void story_redis_dies(struct story *story);
/* Until all workers found the list empty; once a turn, `happens` is called. */
void story_run(struct story *story, void (*happens)(struct story *story));
void story_turn_for(struct story *story, nsec duration);
void story_assert_count(struct story *story, const char *command, uint64_t expected);
/* Whatever was repeated happened once. */
void story_judge(struct story *story);

/* Further parts of the suite; the last one is all zero. */
enum { STORY_TESTS_MAX = 16 };
extern const struct CMUnitTest story_cluster_tests[STORY_TESTS_MAX], story_hostile_tests[STORY_TESTS_MAX];

#endif
