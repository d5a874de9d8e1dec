/* The same refusal comes in many shapes, parsed or copied; rules are written for one of them, and this makes it. */
#include "proto/policy/wording.h"

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_control(char c) { return (unsigned char)c < ' ' || c == 0x7f; }

/* ---- numbers in front ---- */

/* One to three digits at the front, which go; false: none, or more. */
static bool take_number(struct slice *s, unsigned *value)
{
    size_t n = 0;
    *value = 0;
    for (; n < s->n && is_digit(s->p[n]); n++)
        if (n < 3)
            *value = 10 * *value + (unsigned)(s->p[n] - '0');
    s->p += n, s->n -= n;
    return n >= 1 && n <= 3;
}

/* "5.1.1" at the front, with an end behind it that no version and no address has; its length, or 0. */
static size_t status_length(struct slice s)
{
    struct slice rest = s;
    unsigned subject, detail;
    if (s.n < 5 || (s.p[0] != '2' && s.p[0] != '4' && s.p[0] != '5') || s.p[1] != '.')
        return 0;
    rest.p += 2, rest.n -= 2;
    if (!take_number(&rest, &subject) || !rest.n || rest.p[0] != '.')
        return 0;
    rest.p++, rest.n--;
    if (!take_number(&rest, &detail))
        return 0;
    if (rest.n && (ascii_is_alnum(rest.p[0]) || rest.p[0] == '_'))
        return 0;
    if (rest.n > 1 && rest.p[0] == '.' && is_digit(rest.p[1])) /* an IPv4 address: 5.7.1.100 */
        return 0;
    return s.n - rest.n;
}

bool wording_status(const char *status, unsigned *class_, unsigned *subject, unsigned *detail)
{
    struct slice rest = slice_of(status);
    if (status_length(rest) != rest.n || rest.n == 0)
        return false;
    *class_ = (unsigned)(rest.p[0] - '0');
    rest.p += 2, rest.n -= 2;
    bool good = take_number(&rest, subject);
    rest.p++, rest.n--;
    return good && take_number(&rest, detail);
}

/* A basic code at the front with an end behind it; 0: none. */
static uint16_t code_at(struct slice s)
{
    if (s.n < 3 || s.p[0] < '2' || s.p[0] > '5' || !is_digit(s.p[1]) || !is_digit(s.p[2]))
        return 0;
    if (s.n > 3 && s.p[3] != ' ' && s.p[3] != '-' && s.p[3] != '\t')
        return 0;
    return (uint16_t)(100 * (s.p[0] - '0') + 10 * (s.p[1] - '0') + (s.p[2] - '0'));
}

/* ---- the text ---- */

/* What a local part is made of, as far as it is told from what stands around it. */
static bool is_local(char c)
{
    return ascii_is_alnum(c) || (unsigned char)c >= 0x80 || (c && strchr("._+-%&~!#$*^{|}`", c));
}

static bool is_domain(char c) { return ascii_is_alnum(c) || (unsigned char)c >= 0x80 || c == '.' || c == '-'; }

static void put(struct wording *w, char c)
{
    if (c == ' ' && (w->n == 0 || w->text[w->n - 1] == ' '))
        return;
    if (w->n + 1 < sizeof w->text)
        w->text[w->n++] = c;
}

/* Length of the address whose '@' is at the front, without its local part, which is in the text already. */
static size_t domain_length(struct slice s)
{
    size_t n = 1;
    while (n < s.n && is_domain(s.p[n]))
        n++;
    while (n > 1 && (s.p[n - 1] == '.' || s.p[n - 1] == '-'))
        n--;
    return n;
}

/* Puts one stretch of text, addresses covered. */
static void put_text(struct wording *w, struct slice s)
{
    for (size_t i = 0; i < s.n && w->n + 1 < sizeof w->text;) {
        struct slice rest = {s.p + i, s.n - i};
        size_t domain = rest.p[0] == '@' ? domain_length(rest) : 0, local = w->n;
        while (domain > 1 && local > w->last && is_local(w->text[local - 1]))
            local--;
        if (domain > 1 && local < w->n) {
            w->n = local;
            put(w, 'x'), put(w, '@'), put(w, 'x');
            i += domain;
        } else {
            put(w, is_control(rest.p[0]) ? ' ' : rest.p[0]);
            i++;
        }
    }
}

static void end_text(struct wording *w)
{
    while (w->n && w->text[w->n - 1] == ' ')
        w->n--;
    if (w->last > w->n)
        w->last = w->n;
    w->text[w->n] = 0;
}

static void begin_line(struct wording *w)
{
    put(w, ' ');
    w->last = w->n;
}

/* A status that stands in the text by itself, of the code's class: "(#5.1.1)", "not allowed - 5.7.1 [BL23]". Only the
 * registry's subjects count, lest the version of somebody's software does. */
static void find_status(struct wording *w)
{
    if (w->status[0])
        return;
    for (size_t i = 0; i + 5 <= w->n; i++) {
        struct slice rest = {w->text + i, w->n - i};
        size_t n = status_length(rest);
        bool apart = i == 0 || strchr(" (#[,:;=", w->text[i - 1]);
        if (n && n < sizeof w->status && apart && rest.p[2] <= '7' && rest.p[3] == '.' &&
            (!w->code || rest.p[0] == '0' + w->code / 100)) {
            slice_copy(w->status, sizeof w->status, (struct slice){rest.p, n});
            return;
        }
    }
}

void wording_read(struct wording *w, uint16_t code, const char *status, struct slice text)
{
    w->code = code;
    w->n = w->last = 0;
    slice_copy(w->status, sizeof w->status, slice_of(status));
    for (size_t at = 0; at < text.n;) { /* proto/smtp/reply.h: " / " between lines */
        const char *end = memmem(text.p + at, text.n - at, " / ", 3);
        size_t n = end ? (size_t)(end - (text.p + at)) : text.n - at;
        put_text(w, (struct slice){text.p + at, n});
        at += n + (end ? 3 : 0);
        if (end)
            begin_line(w);
    }
    end_text(w);
    find_status(w);
}

/* ---- copied replies ---- */

static struct slice behind(struct slice s, size_t n) { return slice_trim((struct slice){s.p + n, s.n - n}); }

static bool begins_nocase(struct slice s, struct slice with)
{
    return s.n >= with.n && slice_equal_nocase((struct slice){s.p, with.n}, with);
}

/* Where the server's own words begin in what a mail program wrote around them: behind "smtp;" (RFC 3464 §2.3.6), or at
 * the first code that stands behind a colon: "host mx.example[192.0.2.1] said: 550 ...". */
static struct slice own_words(struct slice s)
{
    s = slice_trim(s);
    while (s.n && (s.p[0] == '"' || s.p[0] == '\''))
        s = behind(s, 1);
    for (size_t i = 0; i < s.n && !code_at(s); i++) {
        struct slice rest = {s.p + i, s.n - i};
        if (begins_nocase(rest, SLICE("smtp;")))
            return own_words(behind(rest, 5));
        if (rest.p[0] == ':' && code_at(behind(rest, 1)) >= 400)
            return behind(rest, 1);
    }
    return s;
}

/* Takes code and status off the front of a line. */
static struct slice take_numbers(struct wording *w, struct slice s)
{
    uint16_t code = code_at(s);
    if (code && (!w->code || code == w->code)) {
        w->code = code;
        s = behind(s, s.n > 3 ? 4 : 3);
    }
    size_t n = status_length(s);
    if (n && n < sizeof w->status) {
        slice_copy(w->status, sizeof w->status, (struct slice){s.p, n});
        s = behind(s, n);
        if (s.n && (s.p[0] == '-' || s.p[0] == ':') && s.n > 1 && s.p[1] == ' ')
            s = behind(s, 1);
    }
    return s;
}

/* Length of the line at the front: up to an end of line as people write it, or to where the code is said again, "550-"
 * or, once that was seen, "550 ". `skip`: bytes between the lines. */
static size_t line_length(const struct wording *w, struct slice s, bool continued, size_t *skip)
{
    for (size_t i = 1; i < s.n; i++) {
        struct slice rest = {s.p + i, s.n - i};
        *skip = rest.p[0] == '\n' || rest.p[0] == '\r' ? 1 : 0;
        if (begins_nocase(rest, SLICE("\\r\\n")))
            *skip = 4;
        else if (begins_nocase(rest, SLICE("\\n")))
            *skip = 2;
        else if (begins_nocase(rest, SLICE(" / ")))
            *skip = 3;
        if (*skip)
            return i;
        if (!ascii_is_space(s.p[i - 1]) || !w->code || code_at(rest) != w->code || rest.n < 5)
            continue;
        size_t status = status_length(behind(rest, 4));
        struct slice again = {behind(rest, 4).p, status};
        if (rest.p[3] == '-' || continued || (status && slice_equal(again, slice_of(w->status))))
            return i;
    }
    *skip = 0;
    return s.n;
}

void wording_scan(struct wording *w, struct slice raw)
{
    w->code = 0;
    w->status[0] = 0;
    w->n = w->last = 0;
    if (raw.n > LIMIT_REPLY) /* no reply is longer */
        raw.n = LIMIT_REPLY;
    struct slice rest = own_words(raw);
    bool continued = false, first = true;
    while (rest.n && w->n + 1 < sizeof w->text) {
        size_t skip;
        continued |= w->code == 0 && code_at(rest) && rest.n > 3 && rest.p[3] == '-';
        rest = take_numbers(w, rest);
        size_t n = line_length(w, rest, continued, &skip);
        if (!first && n)
            begin_line(w);
        first = false;
        put_text(w, (struct slice){rest.p, n});
        rest = n + skip < rest.n ? behind(rest, n + skip) : SLICE("");
    }
    end_text(w);
    find_status(w);
}
