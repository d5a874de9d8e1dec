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

/* Goes on to the next span that is long enough to be hashed where it lies, and takes it off; what stands before it goes
 * through `gather`. Empty: the piece is at its end. */
static struct slice next_span(struct dkim_body *body, struct gather *gather, struct slice *piece)
{
    const char *p = piece->p, *end = p + piece->n;
    struct slice span = {0};
    while (p < end && !span.n) {
        if (body->cr && *p == '\n') {
            body->cr = body->space = false;
            body->line_ends++;
            p++;
        } else if (body->cr) { /* a CR alone */
            body->cr = false;
            write_held(body, gather);
            gather_write(gather, "\r", 1);
        } else if (*p == '\r') {
            body->cr = true;
            p++;
        } else if (is_wsp(*p)) {
            body->space = true;
            p++;
        } else {
            /* A LF alone is not looked behind: thousands in a row would be looked at again each time. */
            size_t n = *p == '\n' ? 1 : canonical_span(p, (size_t)(end - p));
            write_held(body, gather);
            if (n >= GATHER_DIRECT)
                span = (struct slice){p, n};
            else
                gather_write(gather, p, n);
            p += n;
        }
    }
    gather_flush(gather);
    *piece = (struct slice){p, (size_t)(end - p)};
    return span;
}

void dkim_body_update(struct dkim_body *body, struct slice piece)
{
    struct gather gather;
    gather_start(&gather, &body->sha);
    for (struct slice span; (span = next_span(body, &gather, &piece)).n;)
        SHA256_Update(&body->sha, span.p, span.n);
}

/* ---- two at once ---- */

/* One of two bodies, and what of it is to be hashed next. */
struct half {
    struct dkim_body *body;
    struct gather gather;
    struct slice piece, span;
};

static void half_start(struct half *half, struct dkim_body *body, struct slice piece)
{
    half->body = body;
    gather_start(&half->gather, &body->sha);
    half->piece = piece;
    half->span = next_span(body, &half->gather, &half->piece);
}

/* Hashes the next `n` octets of the span, and goes on to the next one behind its end. */
static void half_hash(struct half *half, size_t n)
{
    SHA256_Update(&half->body->sha, half->span.p, n);
    half->span = (struct slice){half->span.p + n, half->span.n - n};
    if (!half->span.n)
        half->span = next_span(half->body, &half->gather, &half->piece);
}

/* As SHA256_Update counts, in bits. */
static void half_skip(struct half *half, size_t blocks)
{
    SHA256_CTX *sha = &half->body->sha;
    uint64_t bits = ((uint64_t)sha->Nh << 32 | sha->Nl) + blocks * SHA256_CBLOCK * 8;
    sha->Nl = (SHA_LONG)bits;
    sha->Nh = (SHA_LONG)(bits >> 32);
    half->span = (struct slice){half->span.p + blocks * SHA256_CBLOCK, half->span.n - blocks * SHA256_CBLOCK};
    if (half->span.n < SHA256_CBLOCK)
        half_hash(half, half->span.n);
}

/* A span is longer than a block (gather.h), so of a block that was begun the rest is there. */
static void half_align(struct half *half)
{
    _Static_assert((int)GATHER_DIRECT > 2 * (int)SHA256_CBLOCK, "the rest of a block, and a block");
    if (half->body->sha.num)
        half_hash(half, SHA256_CBLOCK - half->body->sha.num);
}

void dkim_body_update_two(struct dkim_body *a, struct slice piece_a, struct dkim_body *b, struct slice piece_b,
                          const struct dkim_pair *pair)
{
    struct half x, y;
    if (!pair) {
        dkim_body_update(a, piece_a);
        dkim_body_update(b, piece_b);
        return;
    }
    half_start(&x, a, piece_a);
    half_start(&y, b, piece_b);
    while (x.span.n && y.span.n) {
        half_align(&x);
        half_align(&y);
        size_t n = (x.span.n < y.span.n ? x.span.n : y.span.n) / SHA256_CBLOCK;
        pair->blocks(&a->sha, x.span.p, &b->sha, y.span.p, n);
        half_skip(&x, n);
        half_skip(&y, n);
    }
    while (x.span.n)
        half_hash(&x, x.span.n);
    while (y.span.n)
        half_hash(&y, y.span.n);
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
