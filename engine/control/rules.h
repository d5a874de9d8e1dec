/* rules.h - the rules in force: what the configuration says, and what ships with the program, compiled.
 *
 * The files of deploy/isp/ travel inside the executable. Their rules are in force for the MX hosts that they name,
 * whether or not the configuration includes any of them; what the configuration says goes first, and a rule of the same
 * name takes the place of the shipped one. `shipped_rules = no` leaves the shipped ones out. */
#ifndef CONTROL_RULES_H
#define CONTROL_RULES_H

#include "control/config.h"
#include "proto/policy/rule.h"

/* Compiles them; config->rules holds them from now on and config_free ends them. To be called once, before the
 * configuration is handed to anybody. False, with a sentence in `error`: no memory, or a shipped file is broken, which
 * the tests rule out. One thread at a time, as config_load. */
must_use bool rules_load(struct config *config, char *error, size_t error_cap);
/* The shipped rules alone, for a program without a configuration. NULL as above. */
must_use struct rules *rules_shipped(char *error, size_t error_cap);
void rules_free(struct rules *rules);

/* A thread's own memory for matching. False: no memory. */
must_use bool rules_reader_open(struct rule_reader *reader, const struct rules *rules);
void rules_reader_close(struct rule_reader *reader);

/* ---- the words of a rule, as config_rule.c reads them too ---- */

/* A stage's name to its bit; "connect" is also the greeting, which is what a server says to a connection. */
must_use bool rules_stage(const char *name, uint32_t *stages);
must_use bool rules_codes(const char *text, struct rule_codes *codes);    /* "421", "5yz" */
must_use bool rules_status(const char *text, struct rule_status *status); /* "4.7.28", "x.7.28", "5.7.x" */
/* False, with PCRE2's own words and the place in `why`. */
must_use bool rules_pattern_is_good(const char *pattern, char *why, size_t why_cap);

#endif
