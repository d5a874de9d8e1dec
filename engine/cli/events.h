/* events.h - prints a campaign's stream as it goes. */
#ifndef CLI_EVENTS_H
#define CLI_EVENTS_H

#include "cli/ask.h"

struct events {
    struct ask *ask;      /* borrows while it is used */
    const char *campaign; /* likewise */
    bool as_json;
    char after[64]; /* stream id of the last event that was printed; "0" at first */
};

/* Prints the next events, at most 1,000, to standard output; waits up to `wait` for one. The number of events, or -1:
 * failed, said why. */
must_use int64_t events_print(struct events *events, nsec wait);

#endif
