/* Servers cut their replies anywhere and format them loosely; this makes one well-defined value of each. */
#include "proto/smtp/reply.h"

#include "proto/smtp/utf8.h"

static const struct slice separator = {" / ", 3};

enum { PREFIX = 4 }; /* three digits and what is behind them */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

void reply_init(struct reply_parser *parser)
{
    /* Not the text: a parser is 8 KiB, and most replies need a hundredth of it. */
    memset(parser, 0, offsetof(struct reply_parser, spans));
}

bool reply_idle(const struct reply_parser *parser)
{
    return !parser->ended && (parser->complete || parser->reply_bytes == 0);
}

struct slice reply_line(const struct reply *reply, unsigned i)
{
    sluice_assert(i < reply->lines);
    if (i >= REPLY_LINES)
        return (struct slice){reply->text.p, 0};
    return (struct slice){reply->text.p + reply->spans[i].at, reply->spans[i].n};
}

/* Digits at the start of `s`, at most three (RFC 3463 §2). */
static size_t digits(struct slice s)
{
    size_t n = 0;
    while (n < s.n && n < 3 && is_digit(s.p[n]))
        n++;
    return n;
}

/* Length of the enhanced status at the very start of a line's text (RFC 2034 §4), 0 if there is none. An address such
 * as 5.7.1.100 or a version such as 2.0.1b is none. */
static size_t status_length(struct slice text)
{
    if (text.n < 5 || !(text.p[0] == '2' || text.p[0] == '4' || text.p[0] == '5') || text.p[1] != '.')
        return 0;
    size_t n = 2;
    size_t subject = digits((struct slice){text.p + n, text.n - n});
    n += subject;
    if (subject == 0 || n == text.n || text.p[n] != '.')
        return 0;
    n++;
    size_t detail = digits((struct slice){text.p + n, text.n - n});
    n += detail;
    if (detail == 0)
        return 0;
    if (n == text.n)
        return n;
    char next = text.p[n], lower = ascii_lower(next);
    if (is_digit(next) || (lower >= 'a' && lower <= 'z') || next == '-' || next == '_')
        return 0;
    if (next == '.' && n + 1 < text.n && is_digit(text.p[n + 1]))
        return 0;
    return n;
}

/* What goes into events and logs must not be able to forge their lines, nor break whoever decodes UTF-8. */
static void clean(char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t length = utf8_length(p + i, n - i);
        if (p[i] == '\t')
            p[i] = ' ';
        else if (length == 0 || utf8_is_control(p + i, length))
            memset(p + i, '?', length ? length : 1);
        i += length ? length : 1;
    }
}

/* The line being read has come to its LF, which is not among the bytes. */
static void finish_line(struct reply_parser *parser)
{
    char *line = parser->bytes + parser->line;
    size_t n = parser->end - parser->line;
    if (n > 0 && line[n - 1] == '\r')
        n--;
    size_t skip = status_length((struct slice){line, n});
    unsigned class = parser->line_code / 100u;
    if (skip > 0 && (class == 2 || class == 4 || class == 5)) /* 3yz has none (RFC 2034 §4) */
        slice_copy(parser->status, sizeof parser->status, (struct slice){line, skip});
    else
        skip = 0;
    clean(line + skip, n - skip);
    while (skip < n && line[skip] == ' ')
        skip++;
    while (n > skip && line[n - 1] == ' ')
        n--;
    n -= skip;
    memmove(line, line + skip, n);

    parser->last = (struct reply_span){(uint16_t)parser->line, (uint16_t)n};
    if (parser->lines < REPLY_LINES)
        parser->spans[parser->lines] = parser->last;
    parser->lines++;
    if (n > 0)
        parser->text = parser->line + n; /* an empty line leaves no separator behind */
    parser->end = parser->text;
    parser->code = parser->line_code;
    parser->line_code = 0;
    parser->line_bytes = 0;
}

/* One of the first four bytes of a line. False: this is no reply. */
static bool take_prefix(struct reply_parser *parser, char c)
{
    size_t position = parser->line_bytes++;
    parser->reply_bytes++;
    if (position < 3) {
        if (!is_digit(c) || (position == 0 && (c < '2' || c > '5'))) /* RFC 5321 §4.2.1: 2yz to 5yz */
            return false;
        parser->line_code = (uint16_t)(parser->line_code * 10 + (c - '0'));
        return true;
    }
    if (parser->lines > 0 && parser->line_code != parser->code) /* RFC 5321 §4.2.1: the code of each line is the same */
        return false;
    parser->more_lines = c == '-';
    parser->line = parser->text;
    if (parser->text > 0) {
        memcpy(parser->bytes + parser->text, separator.p, separator.n);
        parser->line += separator.n;
    }
    parser->end = parser->line;
    if (c == '\r')
        parser->bytes[parser->end++] = c;
    else if (c == '\n')
        finish_line(parser);
    return c == ' ' || c == '-' || c == '\r' || c == '\n';
}

/* Text behind the first four bytes, up to its LF if that has come. False: a limit is overrun. */
static bool take_text(struct reply_parser *parser, struct slice *bytes)
{
    size_t room = LIMIT_REPLY_LINE - parser->line_bytes;
    if (room > LIMIT_REPLY - parser->reply_bytes)
        room = LIMIT_REPLY - parser->reply_bytes;
    size_t n = bytes->n < room ? bytes->n : room;
    const char *lf = n ? memchr(bytes->p, '\n', n) : NULL;
    if (!lf && bytes->n > room)
        return false;
    size_t text = lf ? (size_t)(lf - bytes->p) : n;
    size_t taken = text + (lf ? 1 : 0);
    /* It fits: what joins the lines (3 bytes) is shorter than what began them (4). */
    sluice_assert(parser->end + text <= sizeof parser->bytes);
    memcpy(parser->bytes + parser->end, bytes->p, text);
    parser->end += text;
    parser->line_bytes += taken;
    parser->reply_bytes += taken;
    bytes->p += taken;
    bytes->n -= taken;
    if (lf)
        finish_line(parser);
    return true;
}

static enum reply_result give(struct reply_parser *parser, struct reply *reply)
{
    parser->complete = true;
    *reply = (struct reply){
        .code = parser->code,
        .lines = parser->lines,
        .text = {parser->bytes, parser->text},
        .last = {parser->bytes + parser->last.at, parser->last.n},
        .spans = parser->spans,
    };
    memcpy(reply->status, parser->status, sizeof reply->status);
    return REPLY_COMPLETE;
}

enum reply_result reply_parse(struct reply_parser *parser, struct slice *bytes, struct reply *reply)
{
    if (parser->complete)
        reply_init(parser);
    while (bytes->n > 0 && !parser->ended) {
        unsigned lines = parser->lines;
        if (parser->reply_bytes == LIMIT_REPLY) {
            parser->ended = REPLY_OVERRUN;
        } else if (parser->line_bytes < PREFIX) {
            if (!take_prefix(parser, *bytes->p))
                parser->ended = REPLY_GARBAGE;
            bytes->p++;
            bytes->n--;
        } else if (!take_text(parser, bytes)) {
            parser->ended = REPLY_OVERRUN;
        }
        if (!parser->ended && parser->lines > lines && !parser->more_lines)
            return give(parser, reply);
    }
    return parser->ended ? parser->ended : REPLY_MORE;
}
