/* town_reading.h - what the fake Redis answers, read piece by piece; what is not as expected ends the test. */
#ifndef TESTS_SIM_TOWN_READING_H
#define TESTS_SIM_TOWN_READING_H

#include "sluice/slice.h"

struct reading {
    const char *p, *end;
};

/* What follows a ':', '$' or '*'. */
long long read_number(struct reading *r, char kind);
struct slice read_text(struct reading *r);

#endif
