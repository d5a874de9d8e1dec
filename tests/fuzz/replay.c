/* replay.c - reads every file of a directory into a fuzz harness, for compilers that have no libFuzzer. */
#include "sluice/base.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const char *path)
{
    enum { SIZE_MAX_BYTES = 1 << 20 };
    uint8_t *bytes = malloc(SIZE_MAX_BYTES);
    FILE *file = fopen(path, "rb");
    sluice_assert(bytes && file);
    size_t n = fread(bytes, 1, SIZE_MAX_BYTES, file);
    fclose(file);
    /* In a block of its own size, so that a sanitizer sees one byte too many. */
    uint8_t *exact = malloc(n ? n : 1);
    sluice_assert(exact);
    memcpy(exact, bytes, n);
    free(bytes);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

int main(int argc, char **argv)
{
    unsigned files = 0;
    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        if (!directory) {
            perror(argv[i]);
            return 1;
        }
        for (struct dirent *entry; (entry = readdir(directory));) {
            char path[4096];
            if (entry->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            replay(path);
            files++;
        }
        closedir(directory);
    }
    printf("%u files\n", files);
    return files > 0 ? 0 : 1; /* an empty corpus proves nothing */
}
