/* doubt.h - recipients in doubt that are held: who they are, and what people decide about them. */
#ifndef CLI_DOUBT_H
#define CLI_DOUBT_H

#include "cli/ask.h"

struct doubt_choice {
    bool resend;      /* they are sent again, and may have two copies; else they are not, and may have none */
    const char **ids; /* those alone, by the `id` that they were pushed with ... */
    unsigned id_count;
    uint64_t *seqs; /* ... or by seq; without either: all */
    unsigned seq_count;
};

/* Both return the exit code; what fails is said. The campaign exists. */
int doubt_list(struct ask *ask, const char *campaign, bool as_json);
int doubt_resolve(struct ask *ask, const char *campaign, const struct doubt_choice *choice);

#endif
