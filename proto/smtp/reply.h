/* reply.h - bytes of a server into SMTP replies (RFC 5321 §4.2, RFC 2034).
 *
 * Incremental: however the bytes are cut into calls, the same replies come out. Bounded: a line is at most
 * LIMIT_REPLY_LINE bytes with its end, a reply LIMIT_REPLY; one byte more is REPLY_OVERRUN. Tolerant where servers are
 * known to be sloppy (a bare LF as line end, "250" without anything behind), strict where a guess could pair a reply
 * with the wrong command: every line of a reply carries the same code, and what is no reply is REPLY_GARBAGE.
 *
 *     while ((result = reply_parse(&parser, &bytes, &reply)) == REPLY_COMPLETE)
 *         client_reply(&client, &reply, &out);
 */
#ifndef PROTO_SMTP_REPLY_H
#define PROTO_SMTP_REPLY_H

#include "sluice/limits.h"
#include "sluice/slice.h"

enum {
    REPLY_LINES = 64,  /* lines that reply_line can give; the text holds them all */
    REPLY_STATUS = 12, /* "5.123.123" and its zero byte, with room */
};

enum reply_result {
    REPLY_BROKEN = 0,
    REPLY_MORE,     /* all bytes were taken, the reply is not complete yet */
    REPLY_COMPLETE, /* one reply; there may be bytes left, and a next reply in them */
    REPLY_GARBAGE,  /* not SMTP; stays so */
    REPLY_OVERRUN,  /* a line or a reply beyond its limit; stays so */
};

struct reply_span {
    uint16_t at, n;
};

/* Slices are borrowed from the parser until its next reply_parse or reply_init. Control bytes and bytes that are no
 * UTF-8 are '?', a tab is a space, and blanks at a line's end are gone. */
struct reply {
    uint16_t code;                  /* 200 .. 599 */
    char status[REPLY_STATUS];      /* enhanced status (RFC 3463) of the last line that has one, "" if none has */
    unsigned lines;                 /* >= 1 */
    struct slice text;              /* all lines that are not empty, joined by " / ", without codes and statuses */
    struct slice last;              /* the last line's part of it: with some providers that one decides */
    const struct reply_span *spans; /* private, for reply_line */
};

struct reply_parser {
    /* private */
    enum reply_result ended; /* REPLY_GARBAGE, REPLY_OVERRUN, or 0 */
    bool complete;           /* the last call gave a reply away: the next byte begins a new one */
    bool more_lines;         /* the line being read has '-' behind its code */
    uint16_t code, line_code;
    unsigned lines;
    size_t reply_bytes, line_bytes; /* as they came, ends of lines included */
    size_t text, line;              /* bytes of `bytes` that are finished; where the line being read begins */
    size_t end;                     /* bytes of `bytes` in use */
    char status[REPLY_STATUS];
    struct reply_span last;
    struct reply_span spans[REPLY_LINES]; /* from here on what was not written is not read, and not cleared */
    char bytes[LIMIT_REPLY];
};

void reply_init(struct reply_parser *parser);

/* Takes bytes from the front of `bytes` until a reply is complete, none are left, or they are no replies. */
must_use enum reply_result reply_parse(struct reply_parser *parser, struct slice *bytes, struct reply *reply);

/* True between two replies: no byte of a next one has come. */
bool reply_idle(const struct reply_parser *parser);

/* Line `i` < reply->lines, 0 the first, without code and status; empty from REPLY_LINES on. */
struct slice reply_line(const struct reply *reply, unsigned i);

#endif
