/* slice.h - bytes that somebody else owns.
 *
 * A slice *borrows*: whoever hands one out says until when. It is not terminated by a zero byte. */
#ifndef SLUICE_SLICE_H
#define SLUICE_SLICE_H

#include "sluice/base.h"

#include <string.h>

struct slice {
    const char *p;
    size_t n;
};

#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})
#define SLICE_FORMAT   "%.*s"
#define SLICE_ARGS(s)  (int)(s).n, (s).p

static inline struct slice slice_of(const char *text) { return (struct slice){text, text ? strlen(text) : 0}; }

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* ASCII lower case; every other byte is left as it is. */
static inline char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c; }

static inline bool ascii_is_alnum(char c)
{
    return (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || (c >= '0' && c <= '9');
}

static inline bool ascii_is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* Without the white space at its ends. */
static inline struct slice slice_trim(struct slice s)
{
    while (s.n && ascii_is_space(s.p[0]))
        s.p++, s.n--;
    while (s.n && ascii_is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Equal but for the case of ASCII letters, as domains (RFC 5321 §2.4) and SMTP verbs are compared. */
static inline bool slice_equal_nocase(struct slice a, struct slice b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
            return false;
    return true;
}

static inline bool slice_starts_with(struct slice s, struct slice prefix)
{
    return s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0;
}

static inline bool slice_ends_with_nocase(struct slice s, struct slice suffix)
{
    return s.n >= suffix.n && slice_equal_nocase((struct slice){s.p + (s.n - suffix.n), suffix.n}, suffix);
}

/* The value behind this name in a flat list of names and values, as HGETALL gives them; "" if it is not there. */
static inline struct slice slice_field(const struct slice *items, unsigned count, struct slice name)
{
    for (unsigned i = 0; i + 1 < count; i += 2)
        if (slice_equal(items[i], name))
            return items[i + 1];
    return SLICE("");
}

/* Copies at most cap - 1 bytes and a zero byte; returns the number of bytes copied. */
static inline size_t slice_copy(char *to, size_t cap, struct slice s)
{
    size_t n = s.n < cap ? s.n : cap - 1;
    if (n)
        memcpy(to, s.p, n);
    to[n] = 0;
    return n;
}

#endif
