/* The fake Redis: replies, written as RESP2. */
#include "fake_command.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void fake_append(struct fake_buffer *out, struct slice bytes)
{
    if (out->cap - out->n < bytes.n + 1) {
        while (out->cap - out->n < bytes.n + 1)
            out->cap = out->cap ? 2 * out->cap : 64;
        out->p = realloc(out->p, out->cap);
        sluice_assert(out->p);
    }
    if (bytes.n)
        memcpy(out->p + out->n, bytes.p, bytes.n);
    out->n += bytes.n;
    out->p[out->n] = 0;
}

static void say_line(struct fake_buffer *out, char mark, const char *text)
{
    fake_append(out, (struct slice){&mark, 1});
    fake_append(out, slice_of(text));
    fake_append(out, SLICE("\r\n"));
}

static void say_count(struct fake_buffer *out, char mark, long long count)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", count);
    say_line(out, mark, text);
}

void fake_say_status(struct fake_buffer *out, const char *text) { say_line(out, '+', text); }

void fake_say_error(struct fake_buffer *out, const char *text, ...)
{
    char line[512];
    va_list args;
    va_start(args, text);
    vsnprintf(line, sizeof line, text, args);
    va_end(args);
    for (char *p = line; *p; p++)
        if (*p == '\r' || *p == '\n')
            *p = ' ';
    say_line(out, '-', line);
}

void fake_say_number(struct fake_buffer *out, int64_t number) { say_count(out, ':', number); }

void fake_say_text(struct fake_buffer *out, struct slice text)
{
    say_count(out, '$', (long long)text.n);
    fake_append(out, text);
    fake_append(out, SLICE("\r\n"));
}

void fake_say_score(struct fake_buffer *out, double score)
{
    char text[64];
    bool whole = score > -1e15 && score < 1e15 && score == (double)(int64_t)score;
    int n = whole ? snprintf(text, sizeof text, "%.0f", score) : snprintf(text, sizeof text, "%.17g", score);
    fake_say_text(out, (struct slice){text, (size_t)n});
}

void fake_say_nil(struct fake_buffer *out) { fake_append(out, SLICE("$-1\r\n")); }
void fake_say_nil_array(struct fake_buffer *out) { fake_append(out, SLICE("*-1\r\n")); }
void fake_say_array(struct fake_buffer *out, size_t count) { say_count(out, '*', (long long)count); }
