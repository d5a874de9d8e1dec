/* config_build.h - a configuration in the making: what config*.c share while sections become structs.
 *
 * Private to config*.c. Every function that can fail leaves "FILE:LINE: what is wrong; what is allowed" in `error`. */
#ifndef CONTROL_CONFIG_BUILD_H
#define CONTROL_CONFIG_BUILD_H

#include "control/config_read.h"
#include "control/config_table.h"

struct config_build {
    struct config *config;
    cfg_t *root;
    bool hostname_given;
    char *error;
    size_t error_cap;
};

/* Both are always false, so that a check can end with them. */
bool printf_like(4, 5)
    config_build_fail(struct config_build *b, const char *file, unsigned line, const char *format, ...);
bool config_build_no_memory(struct config_build *b);
/* Where a key of a section stands, for errors about several keys together; without the key, where the section ends. */
unsigned config_build_line(cfg_t *section, const char *key);

/* Stores `text`, which is in the file's syntax, as the row's value. */
must_use bool config_build_default(struct config_build *b, const struct config_row *row, void *base, const char *text);
/* Stores the defaults of all rows of a scope. */
must_use bool config_build_defaults(struct config_build *b, enum config_scope scope, void *base);
/* Stores what the section gives for the rows of `scope`. */
must_use bool config_build_given(struct config_build *b, cfg_t *section, enum config_scope scope, void *base);
/* Is the section's title a name of at most `most` bytes? */
must_use bool config_build_name(struct config_build *b, cfg_t *section, size_t most);

/* config_limits.c: what sources give of their own, and once ISPs and relays are there, what holds for every lane. */
must_use bool config_build_source_limits(struct config_build *b, cfg_t *section, struct config_source *source);
void config_source_limits_free(struct config_source *source);
bool config_source_limits_equal(const struct config_source *a, const struct config_source *b);
must_use bool config_build_lanes(struct config_build *b);
/* Does the block give the key itself? The key's bit in `given`. */
bool config_limits_gives(const struct config_limits *limits, const struct config_row *row);
uint64_t config_limits_bit(const struct config_row *row);
/* config_mx.c: tables of what belongs to whom; made again after indices have changed. False: no memory. */
must_use bool config_build_tables(struct config *config);
void config_tables_free(struct config *config);
/* config_relay.c: relays and routes, once pools and ISPs are there. */
must_use bool config_build_relays(struct config_build *b);
void config_relays_free(struct config *config);
/* config_suppress.c: what puts an address on the suppression list. */
must_use bool config_build_suppresses(struct config_build *b);
/* config_rule.c: what refusals mean; once ISPs are there. */
must_use bool config_build_rules(struct config_build *b);
void config_rules_free(struct config_rule *rules, unsigned count);
/* config_warmup.c: curves, who follows which, and the zone of their days; once ISPs and relays are there. */
must_use bool config_build_warmups(struct config_build *b);
void config_warmups_free(struct config *config);
/* config_dkim.c: who signs. Keys are not read yet. */
must_use bool config_build_dkims(struct config_build *b);
void config_dkims_free(struct config *config);

/* Frees the texts and lists that rows of a scope own. */
void config_rows_free(enum config_scope scope, void *base);
/* The same of limits, which share with the defaults what they do not give themselves: those are freed last. */
void config_limits_free(const struct config *config, struct config_limits *limits);

#endif
