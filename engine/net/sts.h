/* sts.h - MTA-STS policies of an engine: kept, and fetched from their domains by HTTPS (RFC 8461 §3.3).
 *
 * The third seam: sts_fetch.c fetches with libcurl on one thread of the engine's and keeps what it has in a file; sim/
 * has a table of files instead. What is known and for how long is decided by sts_cache.c in both. A policy is fetched
 * from https://mta-sts.DOMAIN/.well-known/mta-sts.txt at the addresses that the asker has looked up, with a
 * certificate that verifies for that name, by TLS 1.2 or later, without redirects; it is text/plain with status 200 of
 * at most 64 KiB, within a minute. All else is a failure, and what was known stays.
 *
 * Every shard has a desk, which it alone uses; sts_look may be called by all at once. The rules of io.h hold for
 * `done`: called exactly once, in a turn of the desk's shard, never inside a call. */
#ifndef NET_STS_H
#define NET_STS_H

#include "control/log.h"
#include "io/io.h"
#include "net/sts_cache.h"

struct sts;
struct sts_desk;

struct sts_config {
    const char *file;      /* what is kept over a restart; borrows until return */
    const char *ca_file;   /* of those who may vouch for policy hosts; "": the system's. Borrows until sts_close */
    uint16_t port;         /* 443 */
    const struct log *log; /* borrows until sts_close; NULL: silent */
};

/* NULL with a sentence in `error`. In the simulation sim.h makes it. */
must_use struct sts *sts_open(const struct sts_config *config, char *error, size_t error_cap);
void sts_close(struct sts *sts); /* after all its desks; a transfer that goes on is cut off */

/* As sts_cache_look says. */
enum sts_advice sts_look(struct sts *sts, struct slice domain, struct slice id, nsec wall, struct sts_policy *policy);

enum { STS_FETCH_ADDRESSES = 8 };
struct sts_fetch {
    void (*done)(struct sts_fetch *fetch); /* set by the owner. Whatever came of it: look again */
    /* private to the implementation */
    struct sts_desk *desk;
    struct sts_fetch *next;
    struct io_timer timer;
    char domain[LIMIT_DOMAIN + 1];
    char id[STS_ID + 1];
    unsigned address_count;
    struct io_address addresses[STS_FETCH_ADDRESSES];
};

must_use struct sts_desk *sts_desk_open(struct sts *sts, struct io *io); /* NULL: no memory or descriptor */
/* After the end of the shard's io. Forgets its fetches without calling `done`. */
void sts_desk_close(struct sts_desk *desk);
/* No address is a failure like others. `addresses` are borrowed until return. Several fetches for one domain at once
 * are one transfer. */
void sts_fetch(struct sts_desk *desk, struct sts_fetch *fetch, struct slice domain, struct slice id,
               const struct io_address *addresses, unsigned count);

#endif
