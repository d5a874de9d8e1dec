/* sts_cache.h - what is known of whose MTA-STS policy, for how long, and when it is to be fetched (RFC 8461 §3.3, §5.1,
 * §10.2).
 *
 * No clock, no I/O, no lock: UTC comes in as `wall`, and its owner sees that one thread at a time is here. All memory
 * is reserved when it is opened. Guarantees:
 *   - a policy is used until its max_age is over, whatever becomes of its TXT record and of later fetches;
 *   - it is fetched again when the TXT record has another id, and when half of its time is over;
 *   - who has no policy that can be fetched is asked again after 5 minutes, doubling to an hour, not for each message.
 * When it is full, what was not used for longest makes room, policies after failures. */
#ifndef NET_STS_CACHE_H
#define NET_STS_CACHE_H

#include "proto/policy/sts.h"
#include "sluice/base.h"
#include "sluice/limits.h"

enum {
    STS_CACHE_DOMAINS = 8192,
    STS_CACHE_LINE = LIMIT_DOMAIN + STS_ID + STS_MX + 64, /* octets of a line of the file, its zero byte included */
};

enum sts_advice {
    STS_ADVICE_BROKEN = 0,
    STS_USE,     /* what is known is good */
    STS_REFRESH, /* it is good, and to be fetched again beside; said once an hour at most */
    STS_FETCH,   /* it is to be fetched before anything is sent */
};

struct sts_cache;

must_use struct sts_cache *sts_cache_open(void); /* NULL: no memory */
void sts_cache_close(struct sts_cache *cache);

/* What holds for `domain` (A-labels) now; `id` is that of its TXT record, empty when there is none or it is not known.
 * `policy` is filled with what is known, mode STS_NONE when that is nothing. */
enum sts_advice sts_cache_look(struct sts_cache *cache, struct slice domain, struct slice id, nsec wall,
                               struct sts_policy *policy);
/* A fetch for this id is over. */
void sts_cache_put(struct sts_cache *cache, struct slice domain, struct slice id, nsec wall,
                   const struct sts_policy *policy);
/* It failed; a policy that is known stays. True: it is the first failure in a row, and people may be told. */
bool sts_cache_failed(struct sts_cache *cache, struct slice domain, struct slice id, nsec wall);

/* The policies that have not expired as lines of text without their end, and back. False: it is no such line, or has
 * expired; it is passed over. */
void sts_cache_save(const struct sts_cache *cache, nsec wall, void (*line)(void *context, const char *text),
                    void *context);
bool sts_cache_load(struct sts_cache *cache, struct slice line, nsec wall);

#endif
