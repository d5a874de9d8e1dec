/* chance.h - random choices that come again: the same for a seed, which is printed. SLUICE_SEED chooses another one.
 *
 * For one test program, whose only file includes this. Every test that makes choices begins with chance_begin. */
#ifndef TESTS_UNIT_CHANCE_H
#define TESTS_UNIT_CHANCE_H

#include <stdint.h>
#include <stdlib.h>

static uint64_t random_state;

/* From 0 to n - 1; n is not 0. */
static inline uint32_t random_below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % n);
}

/* Fits as a set-up function of cmocka; never fails. */
static inline int chance_begin(void **state)
{
    (void)state;
    const char *given = getenv("SLUICE_SEED");
    random_state = given ? strtoull(given, NULL, 0) : 20261121;
    print_message("seed %llu\n", (unsigned long long)random_state);
    return 0;
}

#endif
