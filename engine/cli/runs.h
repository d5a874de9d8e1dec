/* runs.h - puts any number of instants in order with a fixed amount of memory.
 *
 * RUNS_ITEMS at a time are sorted in memory; more go to temporary files (in $TMPDIR or /tmp, unlinked at once), which
 * are then read together. 16 bytes of disk for each, none up to RUNS_ITEMS. */
#ifndef CLI_RUNS_H
#define CLI_RUNS_H

#include "sluice/base.h"

#include <stdio.h>

enum { RUNS_ITEMS = 1 << 20, RUNS_MOST = 512 };

struct runs_item {
    int64_t at;
    uint64_t of; /* the caller's */
};

struct runs {
    struct runs_item *items; /* owned */
    size_t count, next;      /* in memory */
    unsigned run_count;
    struct runs_run {
        FILE *file;
        struct runs_item head;
        bool has_head;
    } runs[RUNS_MOST];
    bool failed;
};

/* False: no memory. */
must_use bool runs_open(struct runs *runs);
void runs_close(struct runs *runs);
/* False: there is no room on the disk, or more than RUNS_ITEMS * RUNS_MOST were added. */
must_use bool runs_add(struct runs *runs, int64_t at, uint64_t of);
/* After the last one was added. False: the same. */
must_use bool runs_sort(struct runs *runs);
/* The earliest that is left; false: none, or (runs->failed) the disk cannot be read. */
must_use bool runs_next(struct runs *runs, struct runs_item *item);

#endif
