/* warmup.h - what the parts of `sluice warmup` share: a source's records as they stand today. */
#ifndef CLI_WARMUP_H
#define CLI_WARMUP_H

#include "cli/ask.h"
#include "proto/policy/warmup.h"
#include "proto/zone.h"

/* One counter of one source. */
struct warmup_view {
    unsigned source; /* index into config.sources */
    char counter[LIMIT_ISP_NAME + 1];
    const struct warmup_plan *plan;
    bool exists;                   /* there is a record */
    struct slice text;             /* as it stands in Redis; borrows from the answer */
    struct warmup_record stored;   /* the same */
    struct warmup_turned today;    /* turned to the day that it is */
    struct warmup_turned tomorrow; /* as if the day ended now */
    struct slice history;          /* borrows from the answer */
    const struct config *config;
    struct zone_day day;
};

/* The records of a source; the answer holds its hash. False: Redis is away, said why. */
must_use bool warmup_read(struct ask *ask, struct ask_answer *answer, unsigned source);
/* What is in the answer about one counter. False, said why: its record cannot be read. */
must_use bool warmup_look(struct ask *ask, const struct ask_answer *answer, unsigned source, struct slice counter,
                          struct warmup_view *view);

/* Calls `each` for every counter of the sources that are warmed up: those that have a record and, where `all`, those
 * that could have one. `source` and `counter`: of these alone; NULL: of all. False: said why, or `each` was false. */
must_use bool warmup_each(struct ask *ask, const char *source, const char *counter, bool all,
                          bool (*each)(void *context, const struct warmup_view *view), void *context);

/* "tomorrow day 8 with 7,000, if 4,500 are accepted (3,000 are)": what comes next, and why. */
void warmup_next_text(const struct warmup_view *view, char *text, size_t cap);
/* "7 of 30", "7", "done". */
void warmup_day_text(const struct warmup_view *view, uint32_t stage, char *text, size_t cap);
/* "5,000", "no cap". */
void warmup_cap_text(uint64_t cap, char *text, size_t cap_of_text);
/* "2026-11-22" for the day of that number; with a time where days are no civil ones. */
void warmup_date_text(const struct config *config, int64_t day, char *text, size_t cap);

int warmup_show(struct ask *ask, const char *source, const char *counter, bool as_json);
int warmup_plot(struct ask *ask, const char *source, const char *counter);

#endif
