/* census.h - how many recipients each ISP has, of a list that was not sent yet: entries are read as a lease reads them,
 * and each domain's ISP is found by the engine's own routing, with real questions to DNS. */
#ifndef CLI_CENSUS_H
#define CLI_CENSUS_H

#include "cli/ask.h"

struct census;

/* `pool`: index into config.pools, whose routes count. Borrows the configuration. NULL: no memory. */
must_use struct census *census_new(const struct config *config, unsigned pool);
void census_free(struct census *census);
void census_entry(struct census *census, struct slice raw);
/* Recipients whose ISP is known. */
void census_isp(struct census *census, struct slice isp, uint64_t count);
/* Asks DNS for all domains. False: said why. */
must_use bool census_route(struct census *census, struct ask *ask);

/* The result, after census_route. */
struct census_row {
    char isp[LIMIT_ISP_NAME + 1];
    uint64_t count;
};
/* Larger ones first. Borrowed until census_free. */
const struct census_row *census_rows(const struct census *census, unsigned *count);
uint64_t census_invalid(const struct census *census);    /* entries that are no recipients */
uint64_t census_unroutable(const struct census *census); /* whose domain takes no mail, or of which DNS says nothing */
unsigned census_domains(const struct census *census);

#endif
