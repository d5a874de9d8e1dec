/* Shows things to people: aligned, in their time zone, and without a stranger's control bytes. */
#include "cli/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

char *text_safe(char *text)
{
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    return text;
}

void text_time(int64_t wall_ms, char *text, size_t cap)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm local;
    if (wall_ms == 0 || !localtime_r(&seconds, &local) || !strftime(text, cap, "%Y-%m-%d %H:%M:%S", &local))
        snprintf(text, cap, "-");
}

void text_duration(int64_t seconds, char *text, size_t cap)
{
    static const struct {
        int64_t seconds;
        char unit, lower_unit;
        int64_t lower;
    } units[] = {{86400, 'd', 'h', 3600}, {3600, 'h', 'm', 60}, {60, 'm', 's', 1}};
    for (size_t i = 0; i < countof(units); i++)
        if (seconds >= units[i].seconds) {
            snprintf(text, cap, "%" PRId64 "%c%02" PRId64 "%c", seconds / units[i].seconds, units[i].unit,
                     seconds % units[i].seconds / units[i].lower, units[i].lower_unit);
            return;
        }
    snprintf(text, cap, "%" PRId64 "s", seconds > 0 ? seconds : 0);
}

struct text_number text_number(uint64_t n)
{
    struct text_number number;
    snprintf(number.text, sizeof number.text, "%" PRIu64, n);
    return number;
}

/* ---- tables ---- */

void text_row(struct text_table *table, unsigned columns, const char *const *cells)
{
    sluice_assert(columns <= TEXT_COLUMNS && (table->rows == 0 || columns == table->columns));
    table->columns = columns;
    if (table->rows == table->cap) {
        table->cap = table->cap ? 2 * table->cap : 16;
        table->cells = realloc(table->cells, (size_t)table->cap * columns * sizeof *table->cells);
        sluice_assert(table->cells);
    }
    for (unsigned i = 0; i < columns; i++) {
        char *cell = strdup(cells[i]);
        sluice_assert(cell);
        table->cells[(size_t)table->rows * columns + i] = text_safe(cell);
    }
    table->rows++;
}

/* Characters, not bytes, as far as one character is one cell of the terminal. */
static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

void text_print(const struct text_table *table, FILE *to)
{
    size_t widths[TEXT_COLUMNS] = {0};
    bool right[TEXT_COLUMNS] = {0};
    for (unsigned column = 0; table->rows && column < table->columns; column++)
        right[column] = table->cells[column][0] == '>';
    for (unsigned row = 0; row < table->rows; row++)
        for (unsigned column = 0; column < table->columns; column++) {
            size_t width = width_of(table->cells[(size_t)row * table->columns + column]) - (row == 0 && right[column]);
            widths[column] = width > widths[column] ? width : widths[column];
        }
    for (unsigned row = 0; row < table->rows; row++) {
        for (unsigned column = 0; column < table->columns; column++) {
            const char *cell = table->cells[(size_t)row * table->columns + column];
            cell += row == 0 && right[column];
            int padding = (int)(widths[column] - width_of(cell));
            bool last = column + 1 == table->columns;
            if (right[column])
                fprintf(to, "%*s%s", padding, "", cell);
            else
                fprintf(to, "%s%*s", cell, last ? 0 : padding, "");
            fputs(last ? "\n" : "  ", to);
        }
    }
}

void text_free(struct text_table *table)
{
    for (size_t i = 0; i < (size_t)table->rows * table->columns; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct text_table){0};
}
