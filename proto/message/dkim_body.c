/* The relaxed canonical form of a body (RFC 6376 §3.4.4), hashed as it comes: what is canonical already, which is
 * nearly all of quoted-printable and base64, is handed to SHA-256 where it lies. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "proto/message/dkim.h"

#include "proto/message/gather.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static bool is_wsp(char c) { return c == ' ' || c == '\t'; }

/* ---- what is canonical as it stands ---- */

/* White space stops a span unless it is one space with something else than white space or a CR behind it. */
static bool stops(char c, char next) { return c == '\t' || (c == ' ' && (is_wsp(next) || next == '\r')); }

/* The first place in p[0 .. n) that stops a span, or n. Whether the last octet does, the next piece will tell: it is
 * taken to. */
static size_t find_stop(const char *p, size_t n)
{
    size_t i = 0;
#ifdef __SSE2__
    const __m128i tab = _mm_set1_epi8('\t'), space = _mm_set1_epi8(' '), cr = _mm_set1_epi8('\r');
    while (n - i > 32) {
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(p + i + 16));
        __m128i a_next = _mm_loadu_si128((const __m128i *)(const void *)(p + i + 1));
        __m128i b_next = _mm_loadu_si128((const __m128i *)(const void *)(p + i + 17));
        __m128i a_white = _mm_or_si128(_mm_cmpeq_epi8(a_next, space), _mm_cmpeq_epi8(a_next, cr));
        __m128i b_white = _mm_or_si128(_mm_cmpeq_epi8(b_next, space), _mm_cmpeq_epi8(b_next, cr));
        a_white = _mm_or_si128(a_white, _mm_cmpeq_epi8(a_next, tab));
        b_white = _mm_or_si128(b_white, _mm_cmpeq_epi8(b_next, tab));
        __m128i a_stop = _mm_or_si128(_mm_and_si128(_mm_cmpeq_epi8(a, space), a_white), _mm_cmpeq_epi8(a, tab));
        __m128i b_stop = _mm_or_si128(_mm_and_si128(_mm_cmpeq_epi8(b, space), b_white), _mm_cmpeq_epi8(b, tab));
        if (_mm_movemask_epi8(_mm_or_si128(a_stop, b_stop)))
            break;
        i += 32;
    }
#endif
    while (i + 1 < n && !stops(p[i], p[i + 1]))
        i++;
    return i + 1 == n && !is_wsp(p[i]) ? n : i;
}

/* How much of p[0 .. n), which begins with an octet that is neither white space nor of a line end, may be hashed as it
 * is. Line ends at its end are left: they may be the last ones of the body, which do not count. */
static size_t canonical_span(const char *p, size_t n)
{
    size_t span = find_stop(p, n);
    while (span > 1 && (p[span - 1] == '\n' || p[span - 1] == '\r'))
        span--;
    return span;
}

/* ---- octet by octet, where it is not ---- */

/* Something follows: what was held back counts (§3.4.4: runs of white space become one space, and go at line ends). */
static void write_held(struct dkim_body *body, struct gather *gather)
{
    for (; body->line_ends > 0; body->line_ends--)
        gather_write(gather, "\r\n", 2);
    if (body->space)
        gather_write(gather, " ", 1);
    body->space = false;
    body->any = true;
}

void dkim_body_init(struct dkim_body *body)
{
    memset(body, 0, sizeof *body);
    SHA256_Init(&body->sha);
}

void dkim_body_update(struct dkim_body *body, struct slice piece)
{
    struct gather gather;
    gather_start(&gather, &body->sha);
    for (const char *p = piece.p, *end = p + piece.n; p < end;) {
        if (body->cr && *p == '\n') {
            body->cr = body->space = false;
            body->line_ends++;
            p++;
        } else if (body->cr) { /* a CR alone */
            body->cr = false;
            write_held(body, &gather);
            gather_write(&gather, "\r", 1);
        } else if (*p == '\r') {
            body->cr = true;
            p++;
        } else if (is_wsp(*p)) {
            body->space = true;
            p++;
        } else {
            /* A LF alone is not looked behind: thousands in a row would be looked at again each time. */
            size_t span = *p == '\n' ? 1 : canonical_span(p, (size_t)(end - p));
            write_held(body, &gather);
            gather_write(&gather, p, span);
            p += span;
        }
    }
    gather_flush(&gather);
}

void dkim_body_final(struct dkim_body *body, uint8_t hash[DKIM_HASH])
{
    struct gather gather;
    gather_start(&gather, &body->sha);
    if (body->cr) {
        write_held(body, &gather);
        gather_write(&gather, "\r", 1);
    }
    /* §3.4.4: a body that is not empty ends in one CRLF, whether it had it or several. */
    if (body->any)
        gather_write(&gather, "\r\n", 2);
    gather_flush(&gather);
    SHA256_Final(hash, &body->sha);
}
