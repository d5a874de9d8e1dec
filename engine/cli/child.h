/* child.h - a program of ours that another program of ours runs. */
#ifndef CLI_CHILD_H
#define CLI_CHILD_H

#include "cli/cli.h"

/* Runs the program that stands beside this one, or in the place where it was installed, with `input` on its standard
 * input, all of which it reads before it writes. Returns what it wrote, malloced; NULL: it failed, said why. */
must_use char *child_run(const char *name, const char *input);

#endif
