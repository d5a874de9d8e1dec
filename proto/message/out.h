/* out.h - memory that is written front to back, and counted on when it is full.
 *
 * `n` always tells what the whole would take; bytes beyond `cap` are counted and dropped. So one pass both writes and
 * measures: if n > cap at the end, n is the room to come back with. */
#ifndef PROTO_MESSAGE_OUT_H
#define PROTO_MESSAGE_OUT_H

#include "sluice/slice.h"

struct out {
    char *p;
    size_t cap;
    size_t n;
};

static inline void out_write(struct out *out, const char *p, size_t n)
{
    if (n && out->n < out->cap)
        memcpy(out->p + out->n, p, n <= out->cap - out->n ? n : out->cap - out->n);
    out->n += n;
}

static inline void out_slice(struct out *out, struct slice s) { out_write(out, s.p, s.n); }

static inline void out_char(struct out *out, char c)
{
    if (out->n < out->cap)
        out->p[out->n] = c;
    out->n++;
}

#endif
