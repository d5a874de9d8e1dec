/* progress.h - watches a campaign until it is over: a bar at a terminal, a line now and then elsewhere. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "cli/ask.h"

/* Returns when the campaign is done or cancelled (CLI_OK), when all that is left of it is held in doubt or Redis is
 * away (CLI_FAILED, said why), or at SIGINT and SIGTERM (CLI_OK: the campaign goes on without us, which it says).
 * Writes to standard error, and the last counts to standard output. */
int progress_watch(struct ask *ask, const char *campaign);

#endif
