/* mx_reading.h - what the files that read personalities share: how a mistake is told, and the part about TLS, AUTH and
 * CHUNKING. */
#ifndef BENCH_MX_READING_H
#define BENCH_MX_READING_H

#include "bench/mx.h"

#include <confuse.h>

/* What is being read, for messages. */
struct mx_reading {
    const char *file;
    char *error;
    size_t error_cap;
};

/* Writes the sentence. */
void mx_reading_complain(const struct mx_reading *reading, cfg_t *section, const char *key, const char *value,
                         const char *allowed);
/* And returns false; here, so that compilers see that nobody goes on with what was not read. */
static inline bool mx_reading_wrong(const struct mx_reading *reading, cfg_t *section, const char *key,
                                    const char *value, const char *allowed)
{
    mx_reading_complain(reading, section, key, value, allowed);
    return false;
}

/* Keys of an ISP for TLS, AUTH and CHUNKING: as many as there are options, for a table that holds others too. */
enum { MX_READING_OPTIONS = 20 };
void mx_reading_options(cfg_opt_t to[static MX_READING_OPTIONS], cfg_opt_t *account);
must_use bool mx_reading_secure(const struct mx_reading *reading, cfg_t *section, struct mx_personality *personality);

#endif
