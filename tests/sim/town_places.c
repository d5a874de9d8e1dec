/* Where everybody is: nobody may be nowhere, and nobody in two places, at whatever instant one looks. */
#include "town.h"
#include "town_reading.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct places {
    struct town *town;
    const char *id;
    uint64_t count;
    uint8_t *seen; /* by seq: in how many places it is */
    const char **where;
};

long long read_number(struct reading *r, char kind)
{
    if (r->p >= r->end || *r->p != kind)
        fail_msg("RESP: expected %c at %.40s", kind, r->p);
    char *after;
    long long n = strtoll(r->p + 1, &after, 10);
    r->p = after + 2;
    return n;
}

struct slice read_text(struct reading *r)
{
    long long n = read_number(r, '$');
    struct slice text = {r->p, (size_t)n};
    r->p += n + 2;
    return text;
}

static void is_at(struct places *places, uint64_t seq, const char *where)
{
    unsigned long long seed = places->town->seed;
    if (seq >= places->count)
        fail_msg("seed %llu: %s/%llu is %s and was never taken", seed, places->id, (unsigned long long)seq, where);
    if (places->seen[seq]++)
        fail_msg("seed %llu: %s/%llu is in two places: %s, and %s", seed, places->id, (unsigned long long)seq,
                 places->where[seq], where);
    places->where[seq] = where;
}

/* Of those that `ended` says nothing of. */
static void read_records(struct places *places, char *reply, struct slice ledger, const char *where)
{
    struct reading r = {reply, reply + strlen(reply)};
    long long count = read_number(&r, '*');
    for (uint32_t i = 0; i < count; i++) {
        struct slice record = read_text(&r);
        uint32_t bit = 2 * i + 1;
        bool ended = bit / 8 < ledger.n && ((unsigned char)ledger.p[bit / 8] >> (7 - bit % 8) & 1);
        if (!ended)
            is_at(places, strtoull(record.p, NULL, 10), where);
    }
    free(reply);
}

static void read_lease(struct places *places, struct slice name, struct slice entry)
{
    struct town *town = places->town;
    char lease[LIMIT_LEASE_ID + 1], text[256], kind[16];
    unsigned long long first, count;
    size_t n;
    slice_copy(lease, sizeof lease, name);
    slice_copy(text, sizeof text, entry);
    if (sscanf(text, "%*s %*s %15s %llu %llu", kind, &first, &count) != 3)
        fail_msg("lease %s: %s", lease, text);
    char key[192];
    int length = snprintf(key, sizeof key, "sluice:{%s}:ledger:%s", places->id, lease);
    const struct slice get[] = {SLICE("GET"), {key, (size_t)length}};
    char *bits = fake_redis_argv(town->redis, get, countof(get), &n);
    struct reading r = {bits, bits + n};
    struct slice ledger = bits[1] == '-' ? (struct slice){"", 0} : read_text(&r);
    if (strcmp(kind, "list") != 0) {
        read_records(places, fake_redis_do(town->redis, "LRANGE sluice:{%s}:batch:%s 0 -1", places->id, lease), ledger,
                     "in a lease of records");
    } else {
        for (unsigned long long i = 0; i < count; i++) {
            unsigned long long bit = 2 * i + 1;
            if (bit / 8 >= ledger.n || !((unsigned char)ledger.p[bit / 8] >> (7 - bit % 8) & 1))
                is_at(places, first + i, "in a lease of the list");
        }
    }
    free(bits);
}

static void read_ended(struct places *places)
{
    char *reply = fake_redis_do(places->town->redis, "XRANGE sluice:{%s}:events - +", places->id);
    struct reading r = {reply, reply + strlen(reply)};
    for (long long entries = read_number(&r, '*'); entries > 0; entries--) {
        uint64_t seq = UINT64_MAX;
        bool final = false;
        read_number(&r, '*');
        (void)read_text(&r);
        for (long long fields = read_number(&r, '*'); fields > 0; fields -= 2) {
            struct slice name = read_text(&r), value = read_text(&r);
            if (slice_equal(name, SLICE("seq")))
                seq = strtoull(value.p, NULL, 10);
            final |= slice_equal(name, SLICE("final")) && value.p[0] == '1';
        }
        if (final)
            is_at(places, seq, "at its end");
    }
    free(reply);
}

void town_judge_places(struct town *town, const char *id)
{
    char *taken = fake_redis_do(town->redis, "HGET sluice:{%s}:status taken", id);
    struct places places = {.town = town, .id = id};
    places.count = taken[1] == '-' ? 0 : strtoull(strchr(taken, '\n') + 1, NULL, 10);
    free(taken);
    places.seen = calloc(places.count + 1, sizeof *places.seen);
    places.where = calloc(places.count + 1, sizeof *places.where);
    char *leases = fake_redis_do(town->redis, "HGETALL sluice:{%s}:leases", id);
    struct reading r = {leases, leases + strlen(leases)};
    for (long long fields = read_number(&r, '*'); fields > 0; fields -= 2) {
        struct slice name = read_text(&r);
        read_lease(&places, name, read_text(&r));
    }
    free(leases);
    char *parked = fake_redis_do(town->redis, "HGETALL sluice:{%s}:parked", id);
    r = (struct reading){parked, parked + strlen(parked)};
    for (long long fields = read_number(&r, '*'); fields > 0; fields -= 2) {
        struct slice isp = read_text(&r);
        (void)read_text(&r);
        read_records(&places, fake_redis_do(town->redis, "LRANGE sluice:{%s}:parked:%.*s 0 -1", id, SLICE_ARGS(isp)),
                     SLICE(""), "parked");
    }
    free(parked);
    read_records(&places, fake_redis_do(town->redis, "ZRANGE sluice:{%s}:retry 0 -1", id), SLICE(""),
                 "due for a retry");
    read_records(&places, fake_redis_do(town->redis, "LRANGE sluice:{%s}:held 0 -1", id), SLICE(""), "held");
    read_ended(&places);
    for (uint64_t seq = 0; seq < places.count; seq++)
        if (!places.seen[seq])
            fail_msg("seed %llu: %s/%llu is nowhere", (unsigned long long)town->seed, id, (unsigned long long)seq);
    free(places.seen);
    free(places.where);
}
