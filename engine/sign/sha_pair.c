/* Two streams of SHA-256 (FIPS 180-4 §6.2) keep the unit busy that one leaves idle at times. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "sign/sha_pair.h"

#ifdef __x86_64__

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

enum { BLOCK = 64 };

#define WITH_SHA __attribute__((target("sha,sse4.1")))
#define INLINE   static inline __attribute__((always_inline)) WITH_SHA

/* FIPS 180-4 §4.2.2 */
static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* The working variables as the instructions want them, highest first, and the last sixteen words of the schedule. */
struct stream {
    __m128i abef, cdgh, words[4];
};

INLINE void load_state(struct stream *s, const SHA256_CTX *sha)
{
    const __m128i *h = (const __m128i *)(const void *)sha->h;
    __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(h), 0xb1), efgh = _mm_shuffle_epi32(_mm_loadu_si128(h + 1), 0x1b);
    s->abef = _mm_alignr_epi8(cdab, efgh, 8);
    s->cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
}

INLINE void store_state(const struct stream *s, SHA256_CTX *sha)
{
    __m128i *h = (__m128i *)(void *)sha->h;
    __m128i feba = _mm_shuffle_epi32(s->abef, 0x1b), dchg = _mm_shuffle_epi32(s->cdgh, 0xb1);
    _mm_storeu_si128(h, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(h + 1, _mm_alignr_epi8(dchg, feba, 8));
}

INLINE void load_words(struct stream *s, const char *p)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    for (unsigned i = 0; i < 4; i++)
        s->words[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)p + i), big_endian);
}

/* Four rounds with the words of place `at`. */
INLINE void rounds(struct stream *s, unsigned at, const uint32_t *constant)
{
    __m128i sum = _mm_add_epi32(s->words[at], _mm_loadu_si128((const __m128i *)(const void *)constant));
    s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, sum);
    s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(sum, 0x0e));
}

/* The four words of the schedule that are sixteen behind those of place `at`. */
INLINE void schedule(struct stream *s, unsigned at)
{
    __m128i last = s->words[(at + 3) & 3];
    __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(s->words[at], s->words[(at + 1) & 3]),
                                _mm_alignr_epi8(last, s->words[(at + 2) & 3], 4));
    s->words[at] = _mm_sha256msg2_epu32(sum, last);
}

INLINE void step(struct stream *a, struct stream *b, unsigned at, const uint32_t *constant)
{
    rounds(a, at, constant);
    rounds(b, at, constant);
    schedule(a, at);
    schedule(b, at);
}

INLINE void last_step(struct stream *a, struct stream *b, unsigned at, const uint32_t *constant)
{
    rounds(a, at, constant);
    rounds(b, at, constant);
}

INLINE void add(struct stream *s, const struct stream *before)
{
    s->abef = _mm_add_epi32(s->abef, before->abef);
    s->cdgh = _mm_add_epi32(s->cdgh, before->cdgh);
}

WITH_SHA static void blocks_two(SHA256_CTX *a, const char *p, SHA256_CTX *b, const char *q, size_t count)
{
    struct stream x, y;
    load_state(&x, a);
    load_state(&y, b);
    for (; count; count--, p += BLOCK, q += BLOCK) {
        struct stream x_before = x, y_before = y;
        const uint32_t *k = constants;
        load_words(&x, p);
        load_words(&y, q);
        for (; k < constants + 48; k += 16) {
            step(&x, &y, 0, k);
            step(&x, &y, 1, k + 4);
            step(&x, &y, 2, k + 8);
            step(&x, &y, 3, k + 12);
        }
        last_step(&x, &y, 0, k);
        last_step(&x, &y, 1, k + 4);
        last_step(&x, &y, 2, k + 8);
        last_step(&x, &y, 3, k + 12);
        add(&x, &x_before);
        add(&y, &y_before);
    }
    store_state(&x, a);
    store_state(&y, b);
}

/* CPUID.1:ECX.SSSE3, .SSE4.1 and CPUID.7.0:EBX.SHA; the registers are SSE's, which every system keeps. */
static bool cpu_can(void)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_SSSE3) || !(ecx & bit_SSE4_1))
        return false;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && ebx & bit_SHA;
}

/* Three blocks of each, against OpenSSL. */
static bool stands_trial(void)
{
    enum { OCTETS = 3 * BLOCK };
    char text[2 * OCTETS];
    SHA256_CTX a, b, x, y;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 167 + 13);
    SHA256_Init(&a);
    SHA256_Init(&x);
    SHA256_Init(&b);
    SHA256_Update(&b, text, BLOCK); /* another state than the first one's */
    y = b;
    SHA256_Update(&a, text, OCTETS);
    SHA256_Update(&b, text + OCTETS, OCTETS);
    blocks_two(&x, text, &y, text + OCTETS, 3);
    return memcmp(a.h, x.h, sizeof a.h) == 0 && memcmp(b.h, y.h, sizeof b.h) == 0;
}

const struct dkim_pair *sha_pair(void)
{
    static const struct dkim_pair pair = {blocks_two};
    return cpu_can() && stands_trial() ? &pair : NULL;
}

#else

const struct dkim_pair *sha_pair(void) { return NULL; }

#endif
