/* push.h - recipients from a file into a campaign's list. */
#ifndef CLI_PUSH_H
#define CLI_PUSH_H

#include "cli/ask.h"
#include "cli/input.h"

/* A list of recipients that was read to its end once without a fault. */
struct push_list {
    FILE *stream; /* owned; stands at its beginning */
    enum input_format format;
    const char *name; /* for messages */
    uint64_t count;
};

/* "-" is standard input, which is kept in a temporary file while it is checked. False: said why. */
must_use bool push_open(struct push_list *list, const char *file);
void push_close(struct push_list *list);

/* The first entry, malloced; NULL: there is none. The list stands at its beginning afterwards. */
char *push_first(struct push_list *list);

/* Pushes all entries, in batches. False: said why, and how many were pushed for certain. */
must_use bool push_all(struct ask *ask, struct push_list *list, const char *campaign);

#endif
