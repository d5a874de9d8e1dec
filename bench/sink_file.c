/* sink_file.c - gathers lines, for a system call for each would cost more than the message it tells of. */
#include "bench/sink_file.h"

#include "sluice/base.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void sink_file_init(struct sink_file *file, int fd)
{
    file->fd = fd;
    file->used = 0;
}

void sink_file_flush(struct sink_file *file)
{
    for (size_t at = 0; at < file->used;) {
        ssize_t n = write(file->fd, file->bytes + at, file->used - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            perror("sluice-sink: cannot write");
            exit(1); /* a ledger with holes would acquit the guilty */
        }
        at += (size_t)n;
    }
    file->used = 0;
}

void sink_file_add(struct sink_file *file, const char *line, size_t n)
{
    sluice_assert(file->fd >= 0 && n <= sizeof file->bytes);
    if (file->used + n > sizeof file->bytes)
        sink_file_flush(file);
    memcpy(file->bytes + file->used, line, n);
    file->used += n;
}
