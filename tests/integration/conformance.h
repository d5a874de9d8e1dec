/* conformance.h - a fake and a real Redis side by side, and what is compared of them. */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include "asker.h"
#include "fake_redis.h"
#include "real_redis.h"

enum { CAMPAIGNS_MAX = 2, LEASES_MAX = 7, HANDS = 4, TEXT_MAX = 4 * 1024 * 1024, KEYS_MAX = 256, REAL = 0, FAKE = 1 };

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
    char known_hands[2][HANDS][20];  /* as they stand in leases, in the order in which they were met */
    unsigned known[2];
    unsigned results[4], kinds[32], closed, trims[2]; /* reached; trims: of too many, those that took out none, some */
    struct open_lease {
        unsigned hand, count; /* count 0: not open, as far as we know */
    } open[CAMPAIGNS_MAX][LEASES_MAX];
};

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
/* Ends the test unless the texts are equal. */
void conformance_equal(struct conformance *c, const char *name, const struct text *texts);

#endif
