/* mx_line.c - puts lines together that come in pieces, and takes them apart again. */
#include "bench/mx_private.h"

#include <string.h>

bool mx_line_take(struct mx_line *buffer, struct slice *bytes, size_t max, struct slice *line)
{
    if (buffer->given) {
        buffer->used -= buffer->given;
        memmove(buffer->p, buffer->p + buffer->given, buffer->used);
        buffer->given = 0;
    }
    const char *lf = memchr(bytes->p, '\n', bytes->n);
    size_t n = lf ? (size_t)(lf - bytes->p) + 1 : bytes->n;
    if (lf && buffer->used == 0) {
        *line = (struct slice){bytes->p, n};
        *bytes = (struct slice){bytes->p + n, bytes->n - n};
        return true;
    }
    sluice_assert(n > 0 && buffer->used < max);
    if (n > max - buffer->used)
        n = max - buffer->used;
    buffer->p = mx_grow(buffer->p, &buffer->cap, buffer->used + n, 1);
    memcpy(buffer->p + buffer->used, bytes->p, n);
    *bytes = (struct slice){bytes->p + n, bytes->n - n};
    buffer->used += n;
    char last = buffer->p[buffer->used - 1];
    if (last != '\n' && buffer->used < max)
        return false;
    buffer->given = buffer->used - (last == '\r');
    *line = (struct slice){buffer->p, buffer->given};
    return true;
}

bool mx_take_prefix(struct slice *s, struct slice prefix)
{
    if (s->n < prefix.n || !slice_equal_nocase((struct slice){s->p, prefix.n}, prefix))
        return false;
    *s = (struct slice){s->p + prefix.n, s->n - prefix.n};
    return true;
}

struct slice mx_take_word(struct slice *s)
{
    size_t n = 0;
    while (n < s->n && s->p[n] != ' ')
        n++;
    struct slice word = {s->p, n};
    while (n < s->n && s->p[n] == ' ')
        n++;
    *s = (struct slice){s->p + n, s->n - n};
    return word;
}

bool mx_take_number(struct slice s, uint64_t *number)
{
    *number = 0;
    if (s.n == 0 || s.n > 19)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        *number = *number * 10 + (uint64_t)(s.p[i] - '0');
    }
    return true;
}
