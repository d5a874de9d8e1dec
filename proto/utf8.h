/* utf8.h - characters written, and whole texts checked (RFC 3629). */
#ifndef PROTO_UTF8_H
#define PROTO_UTF8_H

#include "proto/smtp/utf8.h"
#include "sluice/slice.h"

/* Writes the character `code`, which is a valid scalar value; returns its bytes, 1 to 4. */
static inline unsigned utf8_write(char *to, uint32_t code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xC0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xE0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 0x3F));
        to[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    to[0] = (char)(0xF0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 0x3F));
    to[2] = (char)(0x80 | (code >> 6 & 0x3F));
    to[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* Index of the first byte that is not UTF-8, or text.n if all of it is. */
static inline size_t utf8_valid_until(struct slice text)
{
    const char *p = text.p, *end = text.p + text.n;
    while (p < end) {
        size_t n = utf8_length(p, (size_t)(end - p));
        if (n == 0)
            break;
        p += n;
    }
    return (size_t)(p - text.p);
}

#endif
