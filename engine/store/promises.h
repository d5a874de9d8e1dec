/* promises.h - do Redis' settings keep what we promise?
 *
 * What is acknowledged counts as kept. Whether it is depends on settings that are people's own, so they are read (INFO,
 * CONFIG GET) and each one that breaks a promise is told, with what to set instead. Where an ACL or a managed Redis
 * does not tell, that is told too: what could not be checked is not taken for good.
 *
 * The judgement is pure: no step is asked by it. */
#ifndef STORE_PROMISES_H
#define STORE_PROMISES_H

#include "store/store.h"

/* What one server said of itself. Zero-initialised: it has said nothing yet. */
struct promises {
    bool info, settings; /* it was told */
    char version[24], role[12], appendonly[8], appendfsync[12], on_rewrite[8], policy[24], write_status[8];
    uint64_t maxmemory; /* bytes; 0: no limit, or not told */
    uint64_t replicas;
};

/* One bit each, the gravest first. */
enum promise {
    PROMISE_VERSION = 1 << 0,
    PROMISE_REPLICA = 1 << 1,
    PROMISE_NO_FILE = 1 << 2,
    PROMISE_WRITE_FAILS = 1 << 3,
    PROMISE_NO_SYNC = 1 << 4,
    PROMISE_NO_SYNC_ON_REWRITE = 1 << 5,
    PROMISE_EVICTS = 1 << 6,
    PROMISE_UNTOLD = 1 << 7,      /* nothing at all could be checked */
    PROMISE_SYNC_UNTOLD = 1 << 8, /* CONFIG GET is refused; INFO tells the rest */
    PROMISE_EVERYSEC = 1 << 9,    /* a note: it is what most have, and the bound that it leaves is known */
    PROMISE_FAILOVER = 1 << 10,   /* a note */
    PROMISE_NOTES = PROMISE_EVERYSEC | PROMISE_FAILOVER,
};
enum { PROMISE_COUNT = 11 };

void promises_info(struct promises *p, struct slice text);                             /* the answer to INFO */
void promises_settings(struct promises *p, const struct slice *items, unsigned count); /* name, value, ... */
/* The bits of all that is not as it should be. */
unsigned promises_judge(const struct promises *p);
/* Of one bit: what is so, which promise that breaks, and what to set. */
struct promise_words {
    const char *what, *breaks, *set;
};
struct promise_words promise_words(enum promise promise);

/* ---- steps (settings.c); `server` is 0 .. store_servers - 1, of which a cluster has several ---- */
unsigned store_servers(const struct store *store);
void store_info(struct store *store, struct store_request *r, unsigned server);     /* items[0]: text */
void store_settings(struct store *store, struct store_request *r, unsigned server); /* items: name, value, ... */

#endif
