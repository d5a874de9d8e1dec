/* conformance.h - a fake and a real Redis side by side, and what is compared of them. */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include "asker.h"
#include "fake_redis.h"
#include "real_redis.h"

enum { CAMPAIGNS_MAX = 2, LEASES_MAX = 7, ISPS_MAX = 4, HANDS = 4, NAMES = HANDS + 1 };
enum { TEXT_MAX = 4 * 1024 * 1024, KEYS_MAX = 256, HELD_MAX = 512, REAL = 0, FAKE = 1 };

static const char *const campaigns[CAMPAIGNS_MAX] = {"one", "two.B"};
static const char *const leases[LEASES_MAX] = {"a:1", "a:2", "b:1", "b:2", "c:1", "c:2", "c:3"};
static const char *const isps[ISPS_MAX] = {"gmail", "yahoo", "other-17", "a:b c"};

struct text {
    char *p;
    size_t n;
};

struct conformance {
    uint64_t seed, random;
    unsigned step;
    char what[512]; /* the step that is compared */
    struct real_redis *real;
    struct fake_redis *fake;
    redisReader *reader;
    struct asker *hands[HANDS][2];
    struct text answers[2], dumps[2];
    long long lives_ms[2][KEYS_MAX]; /* left of the keys, in the order of the dump */
    char known_hands[2][NAMES][20];  /* as they stand in leases, in the order in which they were met */
    unsigned known[2];
    char library[96];                /* that both have */
    unsigned long long raw_number;   /* of the last step that was asked without a store */
    unsigned results[4], kinds[40], closed, trims[2]; /* reached; trims: of too many, those that took out none, some */
    unsigned resolved, raw[8][3];                     /* by kind: OK, fenced or gone, not yet */
    struct open_lease {
        unsigned hand, count; /* count 0: not open, as far as we know */
    } open[CAMPAIGNS_MAX][LEASES_MAX];
};

static inline uint64_t draw(struct conformance *c, uint64_t below)
{
    uint64_t z = c->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

static inline bool chance(struct conformance *c, unsigned percent) { return draw(c, 100) < percent; }

/* Text without zero bytes or other rubbish, as records of ours are. */
static inline bool is_text(const redisReply *reply, size_t cap)
{
    return reply->type == REDIS_REPLY_STRING && reply->len < cap && strlen(reply->str) == reply->len;
}

/* Two records that are held, mostly. */
void conformance_held(struct conformance *c, struct slice campaign, char records[2][HELD_MAX]);
/* A step that no store asks, of both. */
void conformance_raw(struct conformance *c);
const char *conformance_raw_missing(const struct conformance *c); /* what no raw step has shown yet, or NULL */
/* Says where it stands, and ends the test. */
printf_like(2, 3) void conformance_fail(const struct conformance *c, const char *format, ...);
/* One command of people. To be freed. */
redisReply *conformance_ask(struct conformance *c, int side, int argc, const char **argv);
#define ASK_SIDE(c, side, ...)                                                                                         \
    conformance_ask(c, side, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                            \
                    (const char *[]){__VA_ARGS__})

/* Ends the test unless both hold the same keys with the same content, instants and random ids aside. */
void conformance_keys(struct conformance *c);
/* What an asker was answered, as text. `is_set`: in any order; `has_ids`: of stream entries, which are instants. */
void conformance_answer(struct text *text, struct asker *asker, bool is_look, bool is_set, bool has_ids);
/* The same of a reply that no store has read. */
void conformance_reply(struct text *text, const redisReply *reply);
/* Ends the test unless the texts are equal. */
void conformance_equal(struct conformance *c, const char *name, const struct text *texts);

#endif
