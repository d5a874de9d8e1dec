/* EHLO's answer decides what the client may say; servers write it in many ways that mean the same. */
#include "proto/smtp/caps.h"

void caps_clear(struct caps *caps) { memset(caps, 0, sizeof *caps); }

/* Cuts the next word off the front of `line`; empty at its end. '=' parts words too: "AUTH=PLAIN". */
static struct slice next_word(struct slice *line)
{
    size_t at = 0;
    while (at < line->n && (line->p[at] == ' ' || line->p[at] == '='))
        at++;
    size_t end = at;
    while (end < line->n && line->p[end] != ' ' && line->p[end] != '=')
        end++;
    struct slice word = {line->p + at, end - at};
    line->p += end;
    line->n -= end;
    return word;
}

/* 0, no limit, for what is not a number (RFC 1870 §4); a number beyond 64 bits is none either. */
static uint64_t size_of(struct slice digits)
{
    uint64_t size = 0;
    for (size_t i = 0; i < digits.n; i++) {
        unsigned digit = (unsigned)(unsigned char)digits.p[i] - '0';
        if (digit > 9 || size > (UINT64_MAX - digit) / 10)
            return 0;
        size = size * 10 + digit;
    }
    return size;
}

static unsigned auth_of(struct slice mechanism)
{
    static const struct {
        struct slice name;
        unsigned bit;
    } known[] = {
        {{"PLAIN", 5}, CAPS_AUTH_PLAIN},
        {{"LOGIN", 5}, CAPS_AUTH_LOGIN},
        {{"CRAM-MD5", 8}, CAPS_AUTH_CRAM_MD5},
        {{"XOAUTH2", 7}, CAPS_AUTH_XOAUTH2},
        {{"OAUTHBEARER", 11}, CAPS_AUTH_OAUTHBEARER},
    };
    for (size_t i = 0; i < countof(known); i++)
        if (slice_equal_nocase(mechanism, known[i].name))
            return known[i].bit;
    return CAPS_AUTH_OTHER;
}

static void parse_line(struct caps *caps, struct slice line)
{
    struct slice word = next_word(&line);
    if (slice_equal_nocase(word, SLICE("PIPELINING"))) {
        caps->pipelining = true;
    } else if (slice_equal_nocase(word, SLICE("SIZE"))) {
        caps->size = true;
        caps->size_max = size_of(next_word(&line));
    } else if (slice_equal_nocase(word, SLICE("8BITMIME"))) {
        caps->eight_bit_mime = true;
    } else if (slice_equal_nocase(word, SLICE("SMTPUTF8"))) {
        caps->smtputf8 = true;
    } else if (slice_equal_nocase(word, SLICE("CHUNKING"))) {
        caps->chunking = true;
    } else if (slice_equal_nocase(word, SLICE("STARTTLS"))) {
        caps->starttls = true;
    } else if (slice_equal_nocase(word, SLICE("DSN"))) {
        caps->dsn = true;
    } else if (slice_equal_nocase(word, SLICE("ENHANCEDSTATUSCODES"))) {
        caps->enhanced_status = true;
    } else if (slice_equal_nocase(word, SLICE("AUTH"))) {
        while ((word = next_word(&line)).n > 0)
            caps->auth |= auth_of(word);
    }
}

void caps_parse(struct caps *caps, const struct reply *reply)
{
    caps_clear(caps);
    for (unsigned i = 1; i < reply->lines; i++)
        parse_line(caps, reply_line(reply, i));
}
