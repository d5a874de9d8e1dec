/* sink_file.h - lines on their way into a file that several threads append to: each write is of whole lines. */
#ifndef BENCH_SINK_FILE_H
#define BENCH_SINK_FILE_H

#include <stddef.h>

enum { SINK_FILE_BYTES = 64 * 1024 }; /* kept before they are written */

struct sink_file {
    int fd;
    size_t used;
    char bytes[SINK_FILE_BYTES];
};

void sink_file_init(struct sink_file *file, int fd); /* opened with O_APPEND; -1: nothing may be added */
void sink_file_add(struct sink_file *file, const char *line, size_t n);
void sink_file_flush(struct sink_file *file); /* ends the process if it cannot: a ledger must have no holes */

#endif
