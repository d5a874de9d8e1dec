/* Letters, templates and data come from files that people name on the command line. */
#include "cli/file.h"

#include "sluice/limits.h"

#include <errno.h>
#include <stdlib.h>

/* At most LIMIT_MESSAGE + 1 bytes. False: errno says why. */
static bool read_stream(FILE *from, struct file *file)
{
    size_t cap = 0, n = 0;
    char *bytes = NULL;
    while (!feof(from) && !ferror(from) && n <= LIMIT_MESSAGE) {
        if (n == cap) {
            cap = cap ? 2 * cap : (size_t)64 * 1024;
            bytes = realloc(bytes, cap);
            sluice_assert(bytes);
        }
        n += fread(bytes + n, 1, cap - n, from);
    }
    *file = (struct file){.bytes = {bytes, n}, .memory = bytes};
    return !ferror(from);
}

int file_read(const char *path, struct file *file)
{
    bool is_input = strcmp(path, "-") == 0;
    FILE *from = is_input ? stdin : fopen(path, "re");
    *file = (struct file){.memory = NULL};
    bool good = from && read_stream(from, file);
    if (!good)
        cli_error("%s cannot be read: %s", path, strerror(errno));
    if (from && !is_input)
        fclose(from);
    if (good && file->bytes.n > LIMIT_MESSAGE) {
        cli_error("%s is longer than %d MiB", path, LIMIT_MESSAGE / 1024 / 1024);
        good = false;
    }
    if (!good)
        file_free(file);
    return good ? CLI_OK : CLI_FAILED;
}

void file_free(struct file *file)
{
    free(file->memory);
    *file = (struct file){.memory = NULL};
}
