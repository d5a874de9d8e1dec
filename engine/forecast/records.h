/* records.h - what Redis would answer about warm-up: store/warmup.h's steps on records in memory, in the place of
 * store/.
 *
 * flow/budget.c asks through the same functions as in the engine; the linker finds these. One caller, one server that
 * never dies, and every answer a millisecond later. */
#ifndef FORECAST_RECORDS_H
#define FORECAST_RECORDS_H

#include "io/io.h"
#include "store/warmup.h"

/* A store of records. Owned by whoever made it. */
must_use struct store *records_new(struct io *io);
void records_free(struct store *store);
/* A record as it stands in Redis now; `next`: wall time before which nothing is granted. */
void records_put(struct store *store, struct slice source, struct slice counter, const struct warmup_record *record,
                 nsec next);

#endif
