/* fuzz_canary.c - a bug that can only be found byte by byte. If the fuzzer does not find it, it finds nothing. */
#include "sluice/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 5 && data[0] == 's' && data[1] == 'l' && data[2] == 'u' && data[3] == 'i' && data[4] == 'c')
        sluice_assert(size < 5);
    return 0;
}
