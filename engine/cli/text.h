/* text.h - tables, times and words for people at a terminal.
 *
 * Whatever came from others (names in Redis, servers' replies) passes through text_safe before it is shown: a control
 * byte would be a command to the terminal. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include "sluice/base.h"
#include "sluice/slice.h"

#include <stdio.h>

/* Replaces control bytes by '?', in place; returns `text`. */
char *text_safe(char *text);

/* "2026-11-01 08:00:00" in local time; "-" for 0. */
void text_time(int64_t wall_ms, char *text, size_t cap);
/* "1h05m", "42s": two units at most. */
void text_duration(int64_t seconds, char *text, size_t cap);

enum { TEXT_COLUMNS = 16 };

/* Rows of cells, aligned when printed; columns whose first row begins with '>' are aligned to the right. */
struct text_table {
    unsigned columns, rows, cap;
    char **cells; /* owned */
};
void text_row(struct text_table *table, unsigned columns, const char *const *cells);
#define TEXT_ROW(table, ...)                                                                                           \
    text_row((table), sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *), (const char *[]){__VA_ARGS__})
void text_print(const struct text_table *table, FILE *to);
void text_free(struct text_table *table);

/* Enough for a number as a cell: TEXT_NUMBER(n) lives until the end of the block. */
struct text_number {
    char text[24];
};
struct text_number text_number(uint64_t n);

#endif
