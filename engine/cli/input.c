/* Reads people's lists of recipients, and refuses a broken one with its line before anything is sent. */
#include "cli/input.h"

#include "proto/utf8.h"
#include "sluice/limits.h"

#include <stdarg.h>
#include <stdlib.h>

struct text {
    char *p;
    size_t n, cap;
};

struct input {
    FILE *stream;
    enum input_format format;
    unsigned long line;   /* of the next byte, from 1 */
    unsigned long record; /* line where the current record begins */
    bool started, ended;
    unsigned columns;
    char *names[INPUT_COLUMNS_MAX]; /* owned */
    struct text fields;             /* of one record, each ended by a zero byte */
    size_t starts[INPUT_COLUMNS_MAX];
    struct text entry;
    char fault[256];
};

struct input *input_open(FILE *stream, enum input_format format)
{
    struct input *input = calloc(1, sizeof *input);
    if (input) {
        input->stream = stream;
        input->format = format;
        input->line = 1;
    }
    return input;
}

void input_close(struct input *input)
{
    if (!input)
        return;
    for (unsigned i = 0; i < input->columns; i++)
        free(input->names[i]);
    free(input->fields.p);
    free(input->entry.p);
    free(input);
}

static void add_byte(struct text *text, char c)
{
    if (text->n == text->cap) {
        text->cap = text->cap ? 2 * text->cap : 4096;
        text->p = realloc(text->p, text->cap);
        sluice_assert(text->p);
    }
    text->p[text->n++] = c;
}

static void add_bytes(struct text *text, struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        add_byte(text, s.p[i]);
}

static enum input_result printf_like(3, 4) fault(struct input *input, struct slice *entry, const char *format, ...)
{
    va_list arguments;
    int n = snprintf(input->fault, sizeof input->fault, "line %lu: ", input->record);
    va_start(arguments, format);
    vsnprintf(input->fault + n, sizeof input->fault - (size_t)n, format, arguments);
    va_end(arguments);
    input->ended = true;
    *entry = slice_of(input->fault);
    return INPUT_FAULT;
}

/* ---- bytes ---- */

/* The next byte, with CRLF as LF; EOF at the end. */
static int next_byte(struct input *input)
{
    int c = getc_unlocked(input->stream);
    if (c == '\r') {
        int after = getc_unlocked(input->stream);
        if (after == '\n')
            c = '\n';
        else if (after != EOF)
            ungetc(after, input->stream);
    }
    input->line += c == '\n';
    return c;
}

/* What some programs write in front of UTF-8. */
static void skip_byte_order_mark(struct input *input)
{
    static const char mark[] = "\xEF\xBB\xBF";
    int c = getc_unlocked(input->stream);
    if (c != (unsigned char)mark[0]) {
        if (c != EOF)
            ungetc(c, input->stream);
        return;
    }
    for (size_t i = 1; i < 3; i++)
        c = getc_unlocked(input->stream);
}

/* ---- JSON lines ---- */

static enum input_result next_line(struct input *input, struct slice *entry)
{
    int c;
    do {
        input->entry.n = 0;
        input->record = input->line;
        while ((c = next_byte(input)) != EOF && c != '\n') {
            add_byte(&input->entry, (char)c);
            /* An entry that is too long is invalid, but one without an end would fill the memory. */
            if (input->entry.n > (size_t)4 * LIMIT_RECIPIENT)
                return fault(input, entry, "is longer than %d bytes; these are no JSON lines", 4 * LIMIT_RECIPIENT);
        }
    } while (input->entry.n == 0 && c != EOF);
    *entry = (struct slice){input->entry.p, input->entry.n};
    return input->entry.n ? INPUT_ENTRY : INPUT_END;
}

/* ---- CSV ---- */

enum field_end { FIELD_BROKEN = 0, FIELD_COMMA, FIELD_LINE, FIELD_FILE, FIELD_FAULT };

static enum field_end end_of(int c)
{
    return c == ',' ? FIELD_COMMA : c == '\n' ? FIELD_LINE : c == EOF ? FIELD_FILE : FIELD_BROKEN;
}

static bool add_field_byte(struct input *input, int c, struct slice *entry)
{
    if (c == 0)
        fault(input, entry, "there is a zero byte; this is no text file");
    else if (input->fields.n > (size_t)4 * LIMIT_RECIPIENT)
        fault(input, entry, "the record is longer than %d bytes; is a quote missing?", 4 * LIMIT_RECIPIENT);
    else
        add_byte(&input->fields, (char)c);
    return !input->ended;
}

/* The rest of a field behind its opening quote (RFC 4180 §2.5-2.7), and the byte behind the closing one. */
static bool read_quoted(struct input *input, int *behind, struct slice *entry)
{
    for (;;) {
        int c = next_byte(input);
        if (c == EOF) {
            fault(input, entry, "a quoted field has no closing quote");
            return false;
        }
        if (c == '"') {
            c = next_byte(input);
            if (c != '"') {
                *behind = c;
                return true;
            }
        }
        if (!add_field_byte(input, c, entry))
            return false;
    }
}

static enum field_end read_field(struct input *input, struct slice *entry)
{
    int c = next_byte(input);
    if (c == '"') {
        if (!read_quoted(input, &c, entry))
            return FIELD_FAULT;
        if (end_of(c) == FIELD_BROKEN) {
            fault(input, entry, "text follows the closing quote of a field; a quote within is written twice");
            return FIELD_FAULT;
        }
        return end_of(c);
    }
    for (; end_of(c) == FIELD_BROKEN; c = next_byte(input)) {
        if (c == '"') {
            fault(input, entry, "a quote stands within a field that does not begin with one");
            return FIELD_FAULT;
        }
        if (!add_field_byte(input, c, entry))
            return FIELD_FAULT;
    }
    return end_of(c);
}

static struct slice field_at(const struct input *input, unsigned i)
{
    return slice_of(input->fields.p + input->starts[i]);
}

/* ENTRY: `count` fields of one record that is not empty. */
static enum input_result read_record(struct input *input, unsigned *count, struct slice *entry)
{
    enum field_end end;
    do {
        *count = 0;
        input->fields.n = 0;
        input->record = input->line;
        do {
            if (*count == INPUT_COLUMNS_MAX)
                return fault(input, entry, "there are more than %d fields", INPUT_COLUMNS_MAX);
            input->starts[*count] = input->fields.n;
            end = read_field(input, entry);
            if (end == FIELD_FAULT)
                return INPUT_FAULT;
            add_byte(&input->fields, 0);
            ++*count;
        } while (end == FIELD_COMMA);
    } while (input->fields.n == 1 && end == FIELD_LINE);
    if (input->fields.n == 1)
        return INPUT_END;
    size_t valid = utf8_valid_until((struct slice){input->fields.p, input->fields.n});
    if (valid < input->fields.n)
        return fault(input, entry, "this is not UTF-8 (byte 0x%02x); convert the file, as with iconv -f latin1 -t utf8",
                     (unsigned char)input->fields.p[valid]);
    return INPUT_ENTRY;
}

/* The column of addresses: "to", else "email", in any case. */
static bool name_address_column(struct input *input)
{
    static const char *const names[] = {"to", "email"};
    for (size_t j = 0; j < countof(names); j++)
        for (unsigned i = 0; i < input->columns; i++)
            if (slice_equal_nocase(slice_of(input->names[i]), slice_of(names[j]))) {
                memcpy(input->names[i], "to", 3);
                return true;
            }
    return false;
}

static enum input_result read_header(struct input *input, struct slice *entry)
{
    unsigned count;
    enum input_result result = read_record(input, &count, entry);
    if (result == INPUT_END)
        return fault(input, entry, "the file is empty; its first line names the columns, as in: to,name");
    if (result != INPUT_ENTRY)
        return result;
    for (unsigned i = 0; i < count; i++) {
        struct slice name = field_at(input, i);
        if (name.n == 0 || name.p[0] == ' ' || name.p[name.n - 1] == ' ')
            return fault(input, entry, "the name of column %u is empty, or begins or ends with a space", i + 1);
        for (unsigned j = 0; j < i; j++)
            if (slice_equal(name, slice_of(input->names[j])))
                return fault(input, entry, "two columns have the name %.60s", name.p);
        input->names[i] = strdup(name.p);
        sluice_assert(input->names[i]);
        input->columns = i + 1;
    }
    if (!name_address_column(input))
        return fault(input, entry, "no column is named \"to\" or \"email\"; the first line names the columns%s",
                     count == 1 && strpbrk(input->names[0], ";\t") ? ", with commas between" : ", as in: to,name");
    return INPUT_ENTRY;
}

static void add_string(struct text *text, struct slice s)
{
    add_byte(text, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char escaped[8];
        if (c == '"' || c == '\\') {
            add_byte(text, '\\');
            add_byte(text, (char)c);
        } else if (c < ' ') { /* RFC 8259 §7 */
            snprintf(escaped, sizeof escaped, "\\u%04x", c);
            add_bytes(text, slice_of(escaped));
        } else {
            add_byte(text, (char)c);
        }
    }
    add_byte(text, '"');
}

static enum input_result next_record(struct input *input, struct slice *entry)
{
    unsigned count;
    if (!input->started) {
        enum input_result header = read_header(input, entry);
        if (header != INPUT_ENTRY)
            return header;
    }
    enum input_result result = read_record(input, &count, entry);
    if (result != INPUT_ENTRY)
        return result;
    if (count != input->columns)
        return fault(input, entry, "there are %u fields, but %u columns", count, input->columns);
    input->entry.n = 0;
    for (unsigned i = 0; i < count; i++) {
        add_byte(&input->entry, i ? ',' : '{');
        add_string(&input->entry, slice_of(input->names[i]));
        add_byte(&input->entry, ':');
        add_string(&input->entry, field_at(input, i));
    }
    add_byte(&input->entry, '}');
    *entry = (struct slice){input->entry.p, input->entry.n};
    return INPUT_ENTRY;
}

enum input_result input_next(struct input *input, struct slice *entry)
{
    if (input->ended) {
        *entry = slice_of(input->fault);
        return input->fault[0] ? INPUT_FAULT : INPUT_END;
    }
    if (!input->started)
        skip_byte_order_mark(input);
    enum input_result result = input->format == INPUT_CSV ? next_record(input, entry) : next_line(input, entry);
    input->started = true;
    if (result == INPUT_END && ferror(input->stream))
        return fault(input, entry, "the file cannot be read");
    input->ended = result != INPUT_ENTRY;
    return result;
}

unsigned long input_line(const struct input *input) { return input->record; }

enum input_format input_guess(const char *name, FILE *stream)
{
    static const char *const lines[] = {".jsonl", ".ndjson", ".json"};
    if (slice_ends_with_nocase(slice_of(name), SLICE(".csv")))
        return INPUT_CSV;
    for (size_t i = 0; i < countof(lines); i++)
        if (slice_ends_with_nocase(slice_of(name), slice_of(lines[i])))
            return INPUT_LINES;
    int c = getc(stream);
    if (c != EOF)
        ungetc(c, stream);
    return c == '{' ? INPUT_LINES : INPUT_CSV;
}
