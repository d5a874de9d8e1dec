/* bottleneck.h - what engines say of their lanes, added up for each ISP, and what holds each of them up, in words. */
#ifndef CLI_BOTTLENECK_H
#define CLI_BOTTLENECK_H

#include "control/config.h"
#include "sluice/limits.h"

struct json_t;

enum { BOTTLENECK_ISPS = 256 };

/* What the rows of one ISP come to, over sources, shards and engines. */
struct bottleneck_isp {
    char name[LIMIT_ISP_NAME + 8], why[160], why_source[LIMIT_SOURCE_NAME + 8];
    char wait[24]; /* of the row that waits for most, by its key */
    uint64_t sessions, allowed, waiting, parked, open, per_ks, message_us, percent, lanes;
    int64_t next_ms;
    uint64_t redis_parked; /* of the campaign */
};

struct bottleneck {
    uint64_t shards, busy_per_mille, redis_us, dns_waiting; /* of all engines, added up over their shards */
    struct bottleneck_isp isps[BOTTLENECK_ISPS];
    unsigned isp_count;
};

/* A member of a row, 0 or "" where there is none. */
uint64_t bottleneck_number(const struct json_t *row, const char *name);
const char *bottleneck_text(const struct json_t *row, const char *name);
/* The ISP of this name, made when there is none; what is too many is one, "(others)". */
struct bottleneck_isp *bottleneck_isp(struct bottleneck *found, const char *name);
/* The rows of a /status. */
void bottleneck_add_up(struct bottleneck *found, const struct json_t *rows);
/* What holds it up, with its numbers and the setting that would change it: follows "held up by". */
void bottleneck_say(const struct bottleneck *found, const struct config *config, const struct bottleneck_isp *isp,
                    char *text, size_t cap);
/* The shares of the time in which somebody waited, the largest first: "rate 93 %, going 7 %". */
void bottleneck_shares(const struct json_t *row, char *text, size_t cap);

#endif
