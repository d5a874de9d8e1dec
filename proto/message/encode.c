/* encode.c - bodies leave as 7-bit text whatever they hold, so that no relay on the way has a reason to touch them. */
#include "proto/message/encode.h"

static const char hex_digits[] = "0123456789ABCDEF";
static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Content of a quoted-printable line: one column is kept for the '=' of a soft break. */
enum { QP_CONTENT_MAX = ENCODE_LINE_MAX - 1 };

struct slice encoding_name(enum encoding encoding)
{
    return encoding == ENCODING_BASE64 ? SLICE("base64") : SLICE("quoted-printable");
}

/* ---- quoted-printable ---- */

static bool qp_literal(char c) { return c > ' ' && c < 0x7F && c != '='; }

static void qp_break(struct encoder *e, struct out *out, const char *line_end, size_t n)
{
    out_write(out, line_end, n);
    e->column = 0;
}

/* White space that turned out not to end its line. A column was kept for it when it was held. */
static void qp_release(struct encoder *e, struct out *out)
{
    if (!e->held)
        return;
    out_char(out, e->held);
    e->column++;
    e->held = 0;
}

static void qp_escape(struct encoder *e, char c, struct out *out)
{
    char escaped[3] = {'=', hex_digits[(unsigned char)c >> 4], hex_digits[(unsigned char)c & 15]};
    if (e->column + 3 > QP_CONTENT_MAX)
        qp_break(e, out, "=\r\n", 3);
    out_write(out, escaped, 3);
    e->column = (uint8_t)(e->column + 3);
}

static void qp_hold(struct encoder *e, char c, struct out *out)
{
    qp_release(e, out);
    if (e->column == QP_CONTENT_MAX)
        qp_break(e, out, "=\r\n", 3);
    e->held = c;
}

static void qp_line_end(struct encoder *e, struct out *out)
{
    if (e->held) { /* RFC 2045 §6.7 (3): white space must not end a line */
        char held = e->held;
        e->held = 0;
        qp_escape(e, held, out);
    }
    qp_break(e, out, "\r\n", 2);
    e->open = false;
}

/* At the start of a line: would this octet let the line be mistaken for something else? An 'F' is harmless when it is
 * known not to begin "From ". */
static bool qp_dangerous(const char *p, const char *end)
{
    return *p == '.' || *p == '-' || (*p == 'F' && (p + 1 == end || p[1] == 'r'));
}

/* A run of octets that stand for themselves, as many as fit the line; at least one. */
static const char *qp_run(struct encoder *e, const char *p, const char *end, struct out *out)
{
    const char *start = p;
    qp_release(e, out);
    if (e->column == QP_CONTENT_MAX)
        qp_break(e, out, "=\r\n", 3);
    if (e->column == 0 && qp_dangerous(p, end)) {
        qp_escape(e, *p, out);
        return p + 1;
    }
    const char *limit = end - p > QP_CONTENT_MAX - e->column ? p + (QP_CONTENT_MAX - e->column) : end;
    while (p < limit && (qp_literal(*p) || (*p == ' ' && p + 1 < end && qp_literal(p[1]))))
        p++;
    out_write(out, start, (size_t)(p - start));
    e->column = (uint8_t)(e->column + (p - start));
    return p;
}

static void qp_text(struct encoder *e, struct slice text, struct out *out)
{
    const char *p = text.p, *end = text.p + text.n;
    while (p < end) {
        bool after_cr = e->cr;
        e->cr = *p == '\r';
        if (*p == '\n' && after_cr) {
            p++;
        } else if (*p == '\r' || *p == '\n') {
            qp_line_end(e, out);
            p++;
        } else if (qp_literal(*p)) {
            p = qp_run(e, p, end, out);
            e->open = true;
        } else {
            if (*p == ' ' || *p == '\t') {
                qp_hold(e, *p, out);
            } else {
                qp_release(e, out);
                qp_escape(e, *p, out);
            }
            e->open = true;
            p++;
        }
    }
}

void encode_soft_break(struct encoder *encoder, struct out *out)
{
    sluice_assert(encoder->encoding == ENCODING_QP);
    qp_release(encoder, out);
    if (encoder->column)
        qp_break(encoder, out, "=\r\n", 3);
}

/* ---- base64 ---- */

size_t encode_base64_group(const unsigned char *octets, size_t n, char to[4])
{
    uint32_t group = (uint32_t)octets[0] << 16 | (n > 1 ? (uint32_t)octets[1] << 8 : 0) | (n > 2 ? octets[2] : 0);
    to[0] = base64_digits[group >> 18];
    to[1] = base64_digits[group >> 12 & 63];
    to[2] = n > 1 ? base64_digits[group >> 6 & 63] : '=';
    to[3] = n > 2 ? base64_digits[group & 63] : '=';
    return 4;
}

static void base64_group(struct encoder *e, const unsigned char *octets, size_t n, struct out *out)
{
    char digits[4];
    encode_base64_group(octets, n, digits);
    out_write(out, digits, 4);
    e->column = (uint8_t)(e->column + 4);
    if (e->column == ENCODE_LINE_MAX) {
        out_write(out, "\r\n", 2);
        e->column = 0;
    }
}

/* Whole lines of 57 octets at a time, for the bulk of a long text. */
static const unsigned char *base64_lines(const unsigned char *p, const unsigned char *end, struct out *out)
{
    char line[ENCODE_LINE_MAX + 2];
    while (end - p >= 57) {
        for (size_t i = 0; i < ENCODE_LINE_MAX; i += 4, p += 3)
            encode_base64_group(p, 3, line + i);
        line[76] = '\r';
        line[77] = '\n';
        out_write(out, line, sizeof(line));
    }
    return p;
}

static void base64_octets(struct encoder *e, struct slice octets, struct out *out)
{
    const unsigned char *p = (const unsigned char *)octets.p, *end = p + octets.n;
    while (p < end && e->carried) {
        unsigned char group[3] = {e->carry[0], e->carried > 1 ? e->carry[1] : *p, *p};
        p++;
        if (e->carried == 2) {
            base64_group(e, group, 3, out);
            e->carried = 0;
        } else {
            e->carry[e->carried++] = group[1];
        }
    }
    while (end - p >= 3) {
        if (e->column == 0)
            p = base64_lines(p, end, out);
        if (end - p < 3)
            break;
        base64_group(e, p, 3, out);
        p += 3;
    }
    while (p < end)
        e->carry[e->carried++] = *p++;
}

/* The text with its line ends canonical (RFC 2045 §6.8: line breaks must be CRLF before encoding). */
static void base64_text(struct encoder *e, struct slice text, struct out *out)
{
    const char *p = text.p, *end = text.p + text.n;
    while (p < end) {
        const char *start = p;
        bool after_cr = e->cr;
        e->cr = *p == '\r';
        if (*p == '\r' || *p == '\n') {
            if (*p == '\r' || !after_cr)
                base64_octets(e, SLICE("\r\n"), out);
            e->open = false;
            p++;
            continue;
        }
        while (p < end && *p != '\r' && *p != '\n')
            p++;
        base64_octets(e, (struct slice){start, (size_t)(p - start)}, out);
        e->open = true;
    }
}

/* ---- both ---- */

void encode_text(struct encoder *encoder, struct slice text, struct out *out)
{
    if (encoder->encoding == ENCODING_QP)
        qp_text(encoder, text, out);
    else
        base64_text(encoder, text, out);
}

void encode_octets(struct encoder *encoder, struct slice octets, struct out *out)
{
    sluice_assert(encoder->encoding == ENCODING_BASE64);
    base64_octets(encoder, octets, out);
}

void encode_finish_octets(struct encoder *encoder, struct out *out)
{
    sluice_assert(encoder->encoding == ENCODING_BASE64);
    if (encoder->carried)
        base64_group(encoder, encoder->carry, encoder->carried, out);
    encoder->carried = 0;
    if (encoder->column)
        out_write(out, "\r\n", 2);
    encoder->column = 0;
}

void encode_finish(struct encoder *encoder, struct out *out)
{
    if (encoder->open)
        encode_text(encoder, SLICE("\r\n"), out);
    if (encoder->encoding == ENCODING_BASE64)
        encode_finish_octets(encoder, out);
}

/* ---- decoding ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t decode_qp(struct slice text, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        /* §6.7 (3): literal white space before a line end was added on the way */
        if (text.p[i] == '\r' || text.p[i] == '\n')
            for (size_t j = i; j > 0 && (text.p[j - 1] == ' ' || text.p[j - 1] == '\t'); j--)
                n--;
        if (text.p[i] != '=') {
            to[n++] = text.p[i];
            continue;
        }
        size_t end = i + 1; /* a soft break may have white space behind its '=' */
        while (end < text.n && (text.p[end] == ' ' || text.p[end] == '\t'))
            end++;
        if (end == text.n || text.p[end] == '\n' || text.p[end] == '\r') {
            i = end + (end + 1 < text.n && text.p[end] == '\r' && text.p[end + 1] == '\n');
        } else if (i + 2 < text.n && hex_value(text.p[i + 1]) >= 0 && hex_value(text.p[i + 2]) >= 0) {
            to[n++] = (char)(hex_value(text.p[i + 1]) << 4 | hex_value(text.p[i + 2]));
            i += 2;
        } else {
            to[n++] = '=';
        }
    }
    return n;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t decode_base64(struct slice text, char *to)
{
    uint32_t group = 0;
    unsigned digits = 0, padding = 0;
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            continue;
        if (c == '=') {
            padding++;
            continue;
        }
        int value = base64_value(c);
        if (value < 0 || padding)
            return SIZE_MAX;
        group = group << 6 | (uint32_t)value;
        if (++digits % 4 == 0) {
            to[n++] = (char)(group >> 16);
            to[n++] = (char)(group >> 8);
            to[n++] = (char)group;
        }
    }
    if ((digits + padding) % 4 || padding > 2)
        return SIZE_MAX;
    if (padding == 1)
        to[n++] = (char)(group >> 10);
    if (padding)
        to[n++] = (char)(group >> (padding == 1 ? 2 : 4));
    return n;
}
