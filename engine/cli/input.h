/* input.h - recipients from a file: CSV (RFC 4180) or JSON lines, one entry of the recipients' list at a time.
 *
 * CSV: the first record names the columns; one is "to" (or "email", which becomes "to"). Strict: a record has as many
 * fields as there are columns, quotes stand around a whole field, text is UTF-8. Each record becomes a JSON object of
 * strings. Empty lines are passed over, in both formats.
 *
 * JSON lines: each line is passed on as it is; whether it is a recipient is for the engine to say, which answers with
 * an `invalid` event. */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include "sluice/base.h"
#include "sluice/slice.h"

#include <stdio.h>

enum input_format { INPUT_FORMAT_BROKEN = 0, INPUT_CSV, INPUT_LINES };

enum input_result { INPUT_BROKEN = 0, INPUT_ENTRY, INPUT_END, INPUT_FAULT };

enum { INPUT_COLUMNS_MAX = 256 };

struct input; /* owns its buffers; borrows the stream until input_close */

/* NULL: no memory. */
must_use struct input *input_open(FILE *stream, enum input_format format);
void input_close(struct input *input);
/* ENTRY: `entry` is borrowed until the next call. FAULT: `entry` is a sentence that names the line; nothing follows. */
must_use enum input_result input_next(struct input *input, struct slice *entry);

/* Where the entry of the last call begins, from 1. */
unsigned long input_line(const struct input *input);

/* By the name's end (.csv, .jsonl, .ndjson, .json), else by the stream's first byte, which stays in it. */
enum input_format input_guess(const char *name, FILE *stream);

#endif
