/* fuzz_config.c - whatever a configuration file holds, it is refused with its line or accepted, and what is accepted
 * prints as a file that is accepted and prints the same. Includes are not followed: they would read this machine. */
#include "../unit/gathered.h"
#include "control/config.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {size ? (const char *)data : "", size};
    char error[512] = "";
    if (size > 64 * 1024 || memmem(text.p, text.n, "include", 7))
        return 0;
    struct config *config = config_parse("fuzz.conf", text, error, sizeof error);
    if (!config) {
        sluice_assert(strncmp(error, "fuzz.conf:", 10) == 0 && error[10] >= '0' && error[10] <= '9');
        return 0;
    }
    struct gathered first = {0}, second = {0};
    config_print(config, gather, &first);
    config_free(config);
    config = config_parse("print.conf", (struct slice){first.text, first.n}, error, sizeof error);
    sluice_assert(config);
    config_print(config, gather, &second);
    config_free(config);
    sluice_assert(first.n == second.n && memcmp(first.text, second.text, first.n) == 0);
    free(first.text);
    free(second.text);
    return 0;
}
