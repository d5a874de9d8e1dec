/* Random bytes as a message: the body's hash must not depend on how it is cut, nor on anything but its canonical form;
 * the header's field must keep its bounds, and be the same when the header was canonical before. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "proto/message/dkim.h"
#include "proto/message/dkim_record.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of its own size: a read past its end is seen. */
static char *copy_of(const void *p, size_t n)
{
    char *copy = malloc(n ? n : 1);
    sluice_assert(copy != NULL);
    if (n)
        memcpy(copy, p, n);
    return copy;
}

static void feed(struct dkim_body *body, const char *p, size_t n)
{
    char *copy = copy_of(p, n);
    dkim_body_update(body, (struct slice){copy, n});
    free(copy);
}

/* In pieces of `step` bytes and one more each time; 0: whole. Goes on with a copy of the state half-way. */
static void hash_body(const char *p, size_t n, size_t step, uint8_t hash[DKIM_HASH])
{
    struct dkim_body body, copy;
    dkim_body_init(&body);
    for (size_t at = 0, piece = step ? step : n; at<n; piece = piece> 7 ? piece + 1 : piece % 7 + 1) {
        size_t taken = piece < n - at ? piece : n - at;
        feed(&body, p + at, taken);
        at += taken;
        copy = body;
        body = copy;
    }
    dkim_body_final(&body, hash);
}

/* RFC 6376 §3.4.4, octet by octet. */
static size_t canonical(const char *p, size_t n, char *to)
{
    size_t m = 0, line_ends = 0;
    bool space = false, any = false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\r' && i + 1 < n && p[i + 1] == '\n') {
            line_ends++;
            space = false;
            i++;
        } else if (p[i] == ' ' || p[i] == '\t') {
            space = true;
        } else {
            for (; line_ends > 0; line_ends--) {
                to[m++] = '\r';
                to[m++] = '\n';
            }
            if (space)
                to[m++] = ' ';
            to[m++] = p[i];
            space = false;
            any = true;
        }
    }
    if (any) {
        to[m++] = '\r';
        to[m++] = '\n';
    }
    return m;
}

static void try_body(const char *p, size_t n)
{
    uint8_t expected[DKIM_HASH], hash[DKIM_HASH];
    char *text = malloc(n + 2);
    sluice_assert(text != NULL);
    size_t m = canonical(p, n, text);
    SHA256_CTX sha;
    SHA256_Init(&sha);
    SHA256_Update(&sha, text, m);
    SHA256_Final(expected, &sha);
    size_t steps[] = {0, n <= 256 ? 1 : n / 3, n > 0 ? (unsigned char)p[0] % 64 + 2u : 1};
    for (size_t i = 0; i < countof(steps); i++) {
        hash_body(p, n, steps[i], hash);
        sluice_assert(memcmp(hash, expected, DKIM_HASH) == 0);
    }
    hash_body(text, m, 0, hash); /* what is canonical stays as it is */
    sluice_assert(memcmp(hash, expected, DKIM_HASH) == 0);
    free(text);
}

static void try_header(const char *p, size_t n)
{
    static const uint8_t body_hash[DKIM_HASH], signature[DKIM_SIGNATURE_BYTES];
    struct dkim_signing signing = {.domain = SLICE("shop.example"),
                                   .selector = SLICE("s1"),
                                   .algorithm = n % 2 ? DKIM_RSA : DKIM_ED25519,
                                   .body_hash = body_hash,
                                   .signed_s = 1700000000,
                                   .signature_bytes = n % (DKIM_SIGNATURE_BYTES + 1)};
    struct dkim_header header;
    struct dkim_field field;
    uint8_t digest[DKIM_HASH];
    char *copy = copy_of(p, n), room[DKIM_FIELD_MAX];
    if (dkim_header_read(&header, (struct slice){copy, n})) {
        sluice_assert(header.count <= DKIM_FIELDS_MAX);
        sluice_assert(dkim_field_write(&header, &signing, room, sizeof room, &field, digest));
        dkim_field_finish(&field, signature, signing.signature_bytes);
        for (size_t i = 0, line = 0; i < field.n; i++) {
            line = field.p[i] == '\n' ? 0 : line + 1;
            sluice_assert(line <= 79 && (field.p[i] != '\n' || i + 1 == field.n || field.p[i + 1] == '\t'));
        }
    }
    free(copy);
}

static void try_record(const char *p, size_t n)
{
    static const char public[32] = "0123456789abcdef0123456789abcde";
    const char *why;
    char *copy = copy_of(p, n);
    struct slice records[2] = {{copy, n / 2}, {copy + n / 2, n - n / 2}};
    for (unsigned count = 0; count <= 2; count++)
        sluice_assert(dkim_record_check(records, count, count % 2 ? DKIM_RSA : DKIM_ED25519,
                                        (struct slice){public, sizeof public}, &why) != DKIM_RECORD_BROKEN &&
                      why != NULL);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    try_body(p, size);
    try_header(p, size);
    try_record(p, size);
    return 0;
}
