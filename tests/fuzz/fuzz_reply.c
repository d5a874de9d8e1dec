/* Random bytes through the reply parser, whole and cut at places that the input itself names: the same replies must
 * come out, within their bounds, and clean. */
#include "proto/smtp/caps.h"
#include "proto/smtp/reply.h"

#include "proto/smtp/utf8.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A digest of all that came out, order included. */
struct digest {
    uint64_t hash;
    size_t replies;
    enum reply_result end;
};

static void add(struct digest *digest, const void *p, size_t n)
{
    const unsigned char *bytes = p;
    for (size_t i = 0; i < n; i++)
        digest->hash = (digest->hash ^ bytes[i]) * 0x100000001b3u;
    digest->hash = (digest->hash ^ n) * 0x100000001b3u;
}

static void check_clean(struct slice text)
{
    for (size_t i = 0; i < text.n;) {
        size_t length = utf8_length(text.p + i, text.n - i);
        sluice_assert(length > 0 && !utf8_is_control(text.p + i, length));
        i += length;
    }
}

static void take(struct digest *digest, const struct reply *reply)
{
    sluice_assert(reply->code >= 200 && reply->code <= 599 && reply->lines >= 1);
    sluice_assert(reply->text.n <= LIMIT_REPLY && reply->last.n <= LIMIT_REPLY_LINE);
    sluice_assert(slice_ends_with_nocase(reply->text, reply->last));
    sluice_assert(memchr(reply->status, 0, sizeof reply->status) != NULL);
    check_clean(reply->text);
    for (unsigned i = 0; i < reply->lines; i++) {
        struct slice line = reply_line(reply, i);
        add(digest, line.p, line.n);
    }
    struct caps caps;
    caps_parse(&caps, reply);
    add(digest, &caps.size_max, sizeof caps.size_max);
    add(digest, &caps.auth, sizeof caps.auth);
    add(digest, &reply->code, sizeof reply->code);
    add(digest, reply->status, strlen(reply->status));
    add(digest, reply->text.p, reply->text.n);
    add(digest, reply->last.p, reply->last.n);
    digest->replies++;
}

static void feed(struct reply_parser *parser, struct digest *digest, const char *p, size_t n)
{
    char *copy = malloc(n ? n : 1); /* of its own size: a read past its end is seen */
    sluice_assert(copy != NULL);
    if (n)
        memcpy(copy, p, n);
    struct slice rest = {copy, n};
    struct reply reply;
    while ((digest->end = reply_parse(parser, &rest, &reply)) == REPLY_COMPLETE)
        take(digest, &reply);
    sluice_assert(digest->end != REPLY_BROKEN && (digest->end != REPLY_MORE || rest.n == 0));
    free(copy);
}

/* In pieces of `step` bytes and one more each time, so that cuts fall everywhere; 0: whole. */
static struct digest parse(const char *p, size_t n, size_t step)
{
    static struct reply_parser parser;
    struct digest digest = {.hash = 0xcbf29ce484222325u};
    reply_init(&parser);
    if (step == 0)
        feed(&parser, &digest, p, n);
    for (size_t at = 0, piece = step; step > 0 && (at < n || n == 0);
         at += piece, piece = piece > 7 ? piece + 1 : piece % 7 + 1) {
        feed(&parser, &digest, p + at, piece < n - at ? piece : n - at);
        if (n - at <= piece)
            break;
    }
    return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    struct digest whole = parse(p, size, 0);
    /* Byte by byte only what is short: each piece is a block of its own, and those are dear. */
    size_t steps[] = {size <= 256 ? 1 : size / 3, size > 0 ? data[0] % 64 + 8u : 1,
                      size > 1 ? data[size - 1] + 16u : 1};
    for (size_t i = 0; i < countof(steps); i++) {
        struct digest cut = parse(p, size, steps[i]);
        sluice_assert(cut.hash == whole.hash && cut.replies == whole.replies && cut.end == whole.end);
    }
    return 0;
}
