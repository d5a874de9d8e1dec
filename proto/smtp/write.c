/* Everything that goes out to a server as a line is made here, so that one place answers for what a line may hold. */
#include "proto/smtp/write.h"

#include "proto/smtp/utf8.h"

/* ---- commands ---- */

/* A line in the making. One piece that does not fit spoils it all: half a command is never sent. */
struct line {
    char *to;
    size_t n, cap;
    bool spoilt;
};

static void put(struct line *line, struct slice piece)
{
    if (line->spoilt || piece.n > line->cap - line->n) {
        line->spoilt = true;
        return;
    }
    if (piece.n)
        memcpy(line->to + line->n, piece.p, piece.n);
    line->n += piece.n;
}

static void put_number(struct line *line, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    put(line, (struct slice){digits + at, sizeof digits - at});
}

static size_t finish(struct line *line)
{
    put(line, SLICE("\r\n"));
    return line->spoilt ? 0 : line->n;
}

static size_t write_verb(char *to, size_t cap, struct slice verb)
{
    struct line line = {to, 0, cap, false};
    put(&line, verb);
    return finish(&line);
}

/* Nothing that could end the line, part it into words, or close the angle brackets. */
static bool is_safe(struct slice s, bool utf8)
{
    for (size_t i = 0; i < s.n;) {
        size_t length = utf8_length(s.p + i, s.n - i);
        if (length == 0 || (length > 1 && !utf8) || utf8_is_control(s.p + i, length))
            return false;
        if (s.p[i] == ' ' || s.p[i] == '<' || s.p[i] == '>')
            return false;
        i += length;
    }
    return true;
}

bool write_address_safe(struct slice address, bool utf8)
{
    return address.n > 0 && address.n <= LIMIT_ADDRESS && is_safe(address, utf8);
}

static size_t write_greeting(char *to, size_t cap, struct slice verb, struct slice name)
{
    if (name.n == 0 || name.n > LIMIT_DOMAIN || !is_safe(name, false))
        return 0;
    struct line line = {to, 0, cap, false};
    put(&line, verb);
    put(&line, name);
    return finish(&line);
}

size_t write_ehlo(char *to, size_t cap, struct slice name) { return write_greeting(to, cap, SLICE("EHLO "), name); }
size_t write_helo(char *to, size_t cap, struct slice name) { return write_greeting(to, cap, SLICE("HELO "), name); }

size_t write_mail(char *to, size_t cap, const struct write_mail *mail)
{
    if (mail->from.n > 0 && !write_address_safe(mail->from, mail->utf8))
        return 0;
    struct line line = {to, 0, cap, false};
    put(&line, SLICE("MAIL FROM:<")); /* no space behind the colon: RFC 5321 §3.3 */
    put(&line, mail->from);
    put(&line, SLICE(">"));
    if (mail->size > 0) {
        put(&line, SLICE(" SIZE="));
        put_number(&line, mail->size);
    }
    if (mail->eight_bit)
        put(&line, SLICE(" BODY=8BITMIME"));
    if (mail->utf8)
        put(&line, SLICE(" SMTPUTF8"));
    return finish(&line);
}

size_t write_rcpt(char *to, size_t cap, struct slice address, bool utf8)
{
    if (!write_address_safe(address, utf8))
        return 0;
    struct line line = {to, 0, cap, false};
    put(&line, SLICE("RCPT TO:<"));
    put(&line, address);
    put(&line, SLICE(">"));
    return finish(&line);
}

size_t write_data(char *to, size_t cap) { return write_verb(to, cap, SLICE("DATA")); }
size_t write_rset(char *to, size_t cap) { return write_verb(to, cap, SLICE("RSET")); }
size_t write_quit(char *to, size_t cap) { return write_verb(to, cap, SLICE("QUIT")); }
size_t write_starttls(char *to, size_t cap) { return write_verb(to, cap, SLICE("STARTTLS")); }

bool write_base64_safe(struct slice text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    for (size_t i = 0; i < text.n; i++)
        if (!memchr(digits, text.p[i], sizeof digits - 1))
            return false;
    return text.n > 0;
}

size_t write_auth(char *to, size_t cap, struct slice mechanism, bool initial)
{
    struct line line = {to, 0, cap, false};
    put(&line, SLICE("AUTH "));
    put(&line, mechanism);
    if (!initial)
        return finish(&line);
    put(&line, SLICE(" "));
    return line.spoilt ? 0 : line.n;
}

size_t write_bdat(char *to, size_t cap, uint64_t size, bool last)
{
    struct line line = {to, 0, cap, false};
    put(&line, SLICE("BDAT "));
    put_number(&line, size);
    if (last)
        put(&line, SLICE(" LAST"));
    return finish(&line);
}

/* ---- bodies ---- */

/* The position behind one more byte of a body that is sent as it is. */
static enum write_line position_behind(char c)
{
    return c == '\n' ? WRITE_LINE_START : c == '\r' ? WRITE_LINE_CR : WRITE_LINE_MIDDLE;
}

bool write_is_plain(struct slice part, enum write_line *line)
{
    sluice_assert(*line != WRITE_LINE_BROKEN);
    if (part.n == 0)
        return true;
    const char *p = part.p, *end = part.p + part.n;
    if (*line == WRITE_LINE_START && *p == '.')
        return false;
    if ((*line == WRITE_LINE_CR) != (*p == '\n'))
        return false;
    if (*line == WRITE_LINE_CR) {
        if (++p < end && *p == '.')
            return false;
    }
    /* Line by line, with what the C library searches fastest: every CR has its LF behind it, no line has an LF before
     * its CR, and none begins with a dot. */
    while (p < end) {
        const char *cr = memchr(p, '\r', (size_t)(end - p));
        const char *stop = cr ? cr : end;
        if (memchr(p, '\n', (size_t)(stop - p)))
            return false;
        if (!cr || cr + 1 == end)
            break;
        if (cr[1] != '\n' || (cr + 2 < end && cr[2] == '.'))
            return false;
        p = cr + 2;
    }
    *line = position_behind(end[-1]);
    return true;
}

/* One byte of a body as it is sent; at most 3 bytes at `to`. A CR goes out at once and its LF with the byte behind it,
 * so that no byte need ever be looked at twice. */
static size_t stuff(char *to, char c, enum write_line *line)
{
    size_t n = 0;
    if (*line == WRITE_LINE_CR) { /* RFC 5321 §2.3.8: CR and LF only ever as a pair */
        to[n++] = '\n';
        *line = WRITE_LINE_START;
        if (c == '\n')
            return n;
    }
    if (c == '\n')
        to[n++] = '\r';
    else if (c == '.' && *line == WRITE_LINE_START) /* RFC 5321 §4.5.2 */
        to[n++] = '.';
    to[n++] = c;
    *line = position_behind(c);
    return n;
}

enum { WINDOW = 1024 }; /* more than a line: were the search not bounded, a body with LF alone would cost its square */

/* Bytes at the front of `part` that are sent as they are and leave the line in its middle. */
static size_t run_length(struct slice part, enum write_line line)
{
    if (line == WRITE_LINE_CR || (line == WRITE_LINE_START && *part.p == '.'))
        return 0;
    size_t n = part.n < WINDOW ? part.n : WINDOW;
    const char *cr = memchr(part.p, '\r', n);
    if (cr)
        n = (size_t)(cr - part.p);
    const char *lf = n ? memchr(part.p, '\n', n) : NULL;
    return lf ? (size_t)(lf - part.p) : n;
}

size_t write_stuffed(char *to, size_t cap, struct slice *part, enum write_line *line)
{
    sluice_assert(*line != WRITE_LINE_BROKEN && cap >= 3);
    size_t n = 0;
    while (part->n > 0 && cap - n >= 3) {
        size_t taken = run_length(*part, *line);
        if (taken > cap - n)
            taken = cap - n;
        if (taken > 0) {
            memcpy(to + n, part->p, taken);
            n += taken;
            *line = WRITE_LINE_MIDDLE;
        } else {
            n += stuff(to + n, *part->p, line);
            taken = 1;
        }
        part->p += taken;
        part->n -= taken;
    }
    return n;
}

size_t write_end(char *to, size_t cap, enum write_line line)
{
    static const struct slice ends[] = {
        [WRITE_LINE_START] = {".\r\n", 3},
        [WRITE_LINE_MIDDLE] = {"\r\n.\r\n", 5},
        [WRITE_LINE_CR] = {"\n.\r\n", 4},
    };
    sluice_assert(line > WRITE_LINE_BROKEN && line < countof(ends) && cap >= WRITE_END_MAX);
    memcpy(to, ends[line].p, ends[line].n);
    return ends[line].n;
}
