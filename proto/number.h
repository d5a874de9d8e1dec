/* number.h - decimal digits to and from unsigned integers, without libc's locale or errno. */
#ifndef PROTO_NUMBER_H
#define PROTO_NUMBER_H

#include "sluice/slice.h"

enum { NUMBER_DIGITS_MAX = 20 }; /* of an uint64_t */

/* Writes the digits of `value`, no sign, no zero byte; returns how many, at most NUMBER_DIGITS_MAX. */
static inline size_t number_write(char *to, uint64_t value)
{
    char digits[NUMBER_DIGITS_MAX];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    for (size_t i = 0; i < n; i++)
        to[i] = digits[n - 1 - i];
    return n;
}

/* Accepts one or more digits and nothing else, up to `max`. */
must_use static inline bool number_parse(struct slice text, uint64_t max, uint64_t *value)
{
    uint64_t sum = 0;
    if (text.n == 0)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text.p[i] - '0');
        if (sum > (max - digit) / 10 || digit > max)
            return false;
        sum = sum * 10 + digit;
    }
    *value = sum;
    return true;
}

#endif
