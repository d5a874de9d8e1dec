/* utf8.h - where does a character end, and is it one? (RFC 3629) */
#ifndef PROTO_SMTP_UTF8_H
#define PROTO_SMTP_UTF8_H

#include "sluice/base.h"

static inline bool utf8_between(char c, unsigned char low, unsigned char high)
{
    return (unsigned char)c >= low && (unsigned char)c <= high;
}

/* Bytes of the character at `p`, of which `n` >= 1 bytes are there; 0: no well-formed one. Over-long forms,
 * surrogates and what is beyond U+10FFFF are none. */
static inline size_t utf8_length(const char *p, size_t n)
{
    unsigned char lead = (unsigned char)p[0];
    if (lead < 0x80)
        return 1;
    size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || n < length)
        return 0;
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (!utf8_between(p[1], low, high))
        return 0;
    for (size_t i = 2; i < length; i++)
        if (!utf8_between(p[i], 0x80, 0xbf))
            return 0;
    return length;
}

/* True: the character, `length` bytes of well-formed UTF-8, is one of U+0000..1F and U+007F..9F. */
static inline bool utf8_is_control(const char *p, size_t length)
{
    return length == 1 ? utf8_between(*p, 0, 0x1f) || *p == 0x7f
                       : length == 2 && utf8_between(p[0], 0xc2, 0xc2) && utf8_between(p[1], 0x80, 0x9f);
}

#endif
