/* compose.h - a campaign's hash from what was said on the command line, and whether the engine could make messages of
 * it. */
#ifndef CLI_COMPOSE_H
#define CLI_COMPOSE_H

#include "cli/file.h"
#include "sluice/slice.h"

enum { COMPOSE_FIELDS_MAX = 64 };

struct compose {
    struct slice fields[2 * COMPOSE_FIELDS_MAX]; /* names and values in turn */
    unsigned count;
    struct file files[COMPOSE_FIELDS_MAX]; /* owned: values that were read from files */
    unsigned file_count;
};

/* All answer CLI_OK, or the exit code and have said why. Text is borrowed until compose_free. */
must_use int compose_set(struct compose *compose, struct slice name, struct slice value);
must_use int compose_set_file(struct compose *compose, const char *name, const char *path);
must_use int compose_set_pair(struct compose *compose, const char *text); /* "FIELD=VALUE" */
/* Plans the message as the engine will. */
must_use int compose_check(const struct compose *compose);
void compose_free(struct compose *compose);

#endif
