/* file.h - a whole file, or standard input, in memory. */
#ifndef CLI_FILE_H
#define CLI_FILE_H

#include "cli/cli.h"
#include "sluice/slice.h"

/* Owned by whoever read it. */
struct file {
    struct slice bytes;
    char *memory; /* private */
};

/* "-" is standard input. CLI_OK, or the exit code and has said why; more than LIMIT_MESSAGE is refused. */
must_use int file_read(const char *path, struct file *file);
void file_free(struct file *file);

#endif
