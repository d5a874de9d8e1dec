/* config_unit.h - numbers of the configuration and their units, as text and back.
 *
 * Private to config*.c. What reads returns false for a text that is none, whatever the row's limits are. */
#ifndef CONTROL_CONFIG_UNIT_H
#define CONTROL_CONFIG_UNIT_H

#include "sluice/base.h"

/* Digits at *p; moves *p behind them. False: none, or more than an int64_t holds. */
must_use bool config_unit_digits(const char **p, int64_t *number);
/* "1h30m": each unit at most once, the greater before the smaller. "0" stands for itself. config_duration_text shows
 * it. */
must_use bool config_unit_duration(const char *text, int64_t *number);
must_use bool config_unit_size(const char *text, int64_t *number);
must_use bool config_unit_rate(const char *text, int64_t *number, nsec *per);
must_use bool config_unit_bool(const char *text, int64_t *number);
/* "1.4" in thousandths, and "0.5%" in parts of 100,000. */
must_use bool config_unit_factor(const char *text, int64_t *number);
must_use bool config_unit_percent(const char *text, int64_t *number);

void config_unit_size_text(int64_t value, char *text, size_t cap);
void config_unit_rate_text(uint64_t rate, nsec per, char *text, size_t cap);
/* A number in thousandths, without zeros behind its last place. */
void config_unit_decimal_text(uint32_t thousandths, const char *unit, char *text, size_t cap);

#endif
