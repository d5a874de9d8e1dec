/* audit_warm.h - the part of `sluice audit` that holds starts against the caps of warm-ups, day by day.
 *
 * Caps are those that Redis recorded: of today, and of as many days before as it remembers (WARMUP_HISTORY_DAYS). Days
 * are the configuration's, by the clock that stamped the events. */
#ifndef CLI_AUDIT_WARM_H
#define CLI_AUDIT_WARM_H

#include "cli/ask.h"
#include "proto/policy/audit.h"
#include "proto/zone.h"

#include <jansson.h>

enum { AUDIT_WARM_PARTS = 2 };

struct audit_counter;

struct audit_warm {
    struct ask *ask;                 /* borrowed until closed */
    struct audit_counter **counters; /* owned */
    size_t count;
    struct zone_day day; /* of the last start */
    unsigned days;       /* that were looked at */
    unsigned unknown;    /* of these: nobody recorded their cap */
    unsigned exceeded;
};

void audit_warm_open(struct audit_warm *warm, struct ask *ask);
void audit_warm_close(struct audit_warm *warm);
/* What the starts of a source (its index in the configuration) at an ISP count for: its counter there, and `all`.
 * NULL: nothing. */
void audit_warm_of(struct audit_warm *warm, unsigned source, struct slice isp,
                   struct audit_counter *of[AUDIT_WARM_PARTS]);
/* Requires at >= that of the start before. */
void audit_warm_start(struct audit_warm *warm, struct audit_counter *const of[AUDIT_WARM_PARTS], nsec at);
/* After the last start: reads the caps and judges. False: Redis is away, or a record cannot be read; said why. */
must_use bool audit_warm_judge(struct audit_warm *warm);
/* A row for each day; nothing where no source is warmed up. */
void audit_warm_print(const struct audit_warm *warm);
json_t *audit_warm_json(const struct audit_warm *warm);

#endif
