/* sts_cache.c - remembers policies as long as their domains asked for, since a policy that is forgotten protects nobody
 * (RFC 8461 §10.2). */
#include "net/sts_cache.h"

#include <inttypes.h>
#include <stdio.h>

#include "io/arena.h"
#include "io/pool.h"
#include "io/table.h"
#include "proto/number.h"

enum { TABLE_LOG2 = 14 };

static const nsec hold_least = 60 * NSEC_PER_S; /* for the mail that waited for it, though max_age be 0 */
static const nsec refresh_pause = 3600 * NSEC_PER_S, retry_first = 300 * NSEC_PER_S, retry_most = 3600 * NSEC_PER_S;

struct entry {
    struct table_link link;
    struct entry *newer, *older; /* by last use */
    nsec fetched, tried;         /* UTC */
    unsigned failures;           /* in a row */
    char domain[LIMIT_DOMAIN + 1];
    char id[STS_ID + 1];       /* of the policy */
    char tried_id[STS_ID + 1]; /* of the last fetch */
    struct sts_policy policy;  /* STS_BROKEN: none */
};

struct sts_cache {
    struct arena arena;
    struct pool pool;
    struct table table;
    struct entry *newest, *oldest;
};

struct sts_cache *sts_cache_open(void)
{
    struct arena arena;
    size_t bytes = sizeof(struct sts_cache) + pool_bytes(sizeof(struct entry), STS_CACHE_DOMAINS) +
                   (sizeof(struct table_link *) << TABLE_LOG2) + 4096;
    if (!arena_open(&arena, bytes))
        return NULL;
    struct sts_cache *cache = arena_take(&arena, sizeof *cache, sizeof(void *));
    sluice_assert(cache);
    cache->arena = arena;
    bool opened = pool_open(&cache->pool, &cache->arena, sizeof(struct entry), STS_CACHE_DOMAINS) &&
                  table_open(&cache->table, &cache->arena, TABLE_LOG2);
    sluice_assert(opened);
    return cache;
}

void sts_cache_close(struct sts_cache *cache)
{
    struct arena arena = cache->arena; /* the cache itself stands in it */
    arena_drop(&arena);
}

/* ---- entries ---- */

static void unlink_entry(struct sts_cache *cache, struct entry *entry)
{
    *(entry->newer ? &entry->newer->older : &cache->newest) = entry->older;
    *(entry->older ? &entry->older->newer : &cache->oldest) = entry->newer;
}

static void use_entry(struct sts_cache *cache, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = cache->newest;
    *(entry->older ? &entry->older->newer : &cache->oldest) = entry;
    cache->newest = entry;
}

static struct entry *find(struct sts_cache *cache, struct slice domain)
{
    for (struct table_link *link = table_first(&cache->table, table_hash(domain)); link; link = table_next(link)) {
        struct entry *entry = container_of(link, struct entry, link);
        if (slice_equal_nocase(slice_of(entry->domain), domain))
            return entry;
    }
    return NULL;
}

static bool holds(const struct entry *entry, nsec wall)
{
    nsec age = nsec_max(entry->policy.max_age_s * NSEC_PER_S, hold_least);
    return entry->policy.mode != STS_BROKEN && wall < entry->fetched + age;
}

static struct entry *evict(struct sts_cache *cache)
{
    enum { LOOKED_AT = 64 };
    struct entry *worst = cache->oldest, *entry = worst;
    for (unsigned i = 0; i < LOOKED_AT && entry; i++, entry = entry->newer)
        if (entry->policy.mode == STS_BROKEN) {
            worst = entry;
            break;
        }
    unlink_entry(cache, worst);
    table_remove(&cache->table, &worst->link);
    return worst;
}

static struct entry *get(struct sts_cache *cache, struct slice domain)
{
    struct entry *entry = find(cache, domain);
    if (entry) {
        unlink_entry(cache, entry);
        use_entry(cache, entry);
        return entry;
    }
    entry = pool_take(&cache->pool);
    if (!entry)
        entry = evict(cache);
    memset(entry, 0, offsetof(struct entry, policy));
    entry->policy.mode = STS_BROKEN;
    slice_copy(entry->domain, sizeof entry->domain, domain);
    table_add(&cache->table, &entry->link, table_hash(domain));
    use_entry(cache, entry);
    return entry;
}

/* ---- asking ---- */

static nsec retry_pause(unsigned failures)
{
    nsec pause = retry_first;
    for (unsigned i = 1; i < failures && pause < retry_most; i++)
        pause *= 2;
    return nsec_min(pause, retry_most);
}

/* Was this very id tried a short while ago, and could not be had? A clock that went back says no. */
static bool failed_lately(const struct entry *entry, struct slice id, nsec wall)
{
    return entry->failures && slice_equal(slice_of(entry->tried_id), id) && wall >= entry->tried &&
           wall < entry->tried + retry_pause(entry->failures);
}

static bool is_half_over(const struct entry *entry, nsec wall)
{
    return wall >= entry->fetched + entry->policy.max_age_s * NSEC_PER_S / 2;
}

enum sts_advice sts_cache_look(struct sts_cache *cache, struct slice domain, struct slice id, nsec wall,
                               struct sts_policy *policy)
{
    struct entry *entry = find(cache, domain);
    bool known = entry && holds(entry, wall);
    policy->mode = STS_NONE;
    policy->max_age_s = 0;
    policy->mx_octets = 0;
    if (entry) {
        unlink_entry(cache, entry);
        use_entry(cache, entry);
    }
    if (known)
        *policy = entry->policy;
    if (id.n && (!known || !slice_equal(slice_of(entry->id), id)))
        return entry && failed_lately(entry, id, wall) ? STS_USE : STS_FETCH;
    if (!known || !is_half_over(entry, wall) || (wall >= entry->tried && wall < entry->tried + refresh_pause))
        return STS_USE;
    /* Also without a TXT record: somebody who wants the policy to be forgotten could have taken it away (§10.2). */
    entry->tried = wall;
    return STS_REFRESH;
}

void sts_cache_put(struct sts_cache *cache, struct slice domain, struct slice id, nsec wall,
                   const struct sts_policy *policy)
{
    struct entry *entry = get(cache, domain);
    entry->policy = *policy;
    entry->fetched = entry->tried = wall;
    entry->failures = 0;
    if (id.n) /* a refresh without a TXT record: it is still that of the id before */
        slice_copy(entry->id, sizeof entry->id, id);
}

bool sts_cache_failed(struct sts_cache *cache, struct slice domain, struct slice id, nsec wall)
{
    struct entry *entry = get(cache, domain);
    entry->tried = wall;
    slice_copy(entry->tried_id, sizeof entry->tried_id, id);
    return entry->failures++ == 0;
}

/* ---- the file ---- */

/* DOMAIN ID FETCHED MODE MAX_AGE MX... with blanks between; an id that is not known is "-". */
static void write_line(const struct entry *entry, char line[STS_CACHE_LINE])
{
    int n =
        snprintf(line, STS_CACHE_LINE, "%s %s %" PRId64 " %s %" PRIu32, entry->domain, entry->id[0] ? entry->id : "-",
                 entry->fetched / NSEC_PER_S, sts_mode_name(entry->policy.mode), entry->policy.max_age_s);
    sluice_assert(n > 0 && (size_t)n + entry->policy.mx_octets < STS_CACHE_LINE);
    char *to = line + n;
    for (size_t at = 0; at < entry->policy.mx_octets; at++) { /* each pattern has a zero byte behind it */
        if (at == 0 || entry->policy.mx[at - 1] == 0)
            *to++ = ' ';
        if (entry->policy.mx[at])
            *to++ = entry->policy.mx[at];
    }
    *to = 0;
}

void sts_cache_save(const struct sts_cache *cache, nsec wall, void (*line)(void *context, const char *text),
                    void *context)
{
    char text[STS_CACHE_LINE];
    for (const struct entry *entry = cache->oldest; entry; entry = entry->newer)
        if (holds(entry, wall)) {
            write_line(entry, text);
            line(context, text);
        }
}

static struct slice word(struct slice *line)
{
    const char *blank = line->n ? memchr(line->p, ' ', line->n) : NULL;
    struct slice word = {line->p, blank ? (size_t)(blank - line->p) : line->n};
    size_t used = word.n + (blank != NULL);
    *line = (struct slice){line->p + used, line->n - used};
    return word;
}

bool sts_cache_load(struct sts_cache *cache, struct slice line, nsec wall)
{
    enum { FILE_OCTETS = 8 * STS_MX };
    struct slice domain = word(&line), id = word(&line), fetched = word(&line), mode = word(&line), age = word(&line);
    char file[FILE_OCTETS]; /* read as the policy that it was, so that nothing else can come in by this way */
    const char *why;
    struct sts_policy policy;
    uint64_t fetched_s;
    if (domain.n == 0 || domain.n > LIMIT_DOMAIN || id.n == 0 || id.n > STS_ID ||
        !number_parse(fetched, INT64_MAX / NSEC_PER_S / 2, &fetched_s))
        return false;
    int n = snprintf(file, sizeof file, "version: STSv1\nmode: " SLICE_FORMAT "\nmax_age: " SLICE_FORMAT "\n",
                     SLICE_ARGS(mode), SLICE_ARGS(age));
    while (line.n && n > 0 && (size_t)n < sizeof file) {
        struct slice mx = word(&line);
        n += snprintf(file + n, sizeof file - (size_t)n, "mx: " SLICE_FORMAT "\n", SLICE_ARGS(mx));
    }
    if (n < 0 || (size_t)n >= sizeof file || !sts_policy_read((struct slice){file, (size_t)n}, &policy, &why))
        return false;
    struct entry *entry = get(cache, domain);
    entry->policy = policy;
    entry->fetched = (nsec)fetched_s * NSEC_PER_S;
    slice_copy(entry->id, sizeof entry->id, slice_equal(id, SLICE("-")) ? SLICE("") : id);
    if (entry->fetched <= wall + 24 * 3600 * NSEC_PER_S && holds(entry, wall))
        return true;
    entry->policy.mode = STS_BROKEN;
    return false;
}
