/* held.h - reads, page by page, the recipients in doubt that a campaign holds. */
#ifndef CLI_HELD_H
#define CLI_HELD_H

#include "cli/ask.h"

enum { HELD_PAGE = 1000 };

struct held {
    struct slice text; /* the record as Redis has it */
    struct store_record record;
    struct slice to, id; /* "" as far as they cannot be read */
};

struct held_reader;
/* NULL: no memory, and that was said. The campaign's id is borrowed until held_close. */
must_use struct held_reader *held_open(struct ask *ask, const char *campaign);
void held_close(struct held_reader *reader); /* NULL: does nothing */
/* Those from the `first`-th on: how many, at most HELD_PAGE; -1: that failed, and why was said. They are borrowed until
 * the next call. */
must_use int held_read(struct held_reader *reader, uint64_t first, const struct held **list);

#endif
