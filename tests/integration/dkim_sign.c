/* dkim_sign.c - signs a message as the engine does, for verifiers that others wrote.
 *
 * usage: dkim_sign SEED EXPIRE_S [DOMAIN SELECTOR KEY-FILE]... <message >signed
 *
 * The message has CRLFs. Its body is hashed in pieces whose lengths come from SEED. */
#include "proto/message/dkim.h"
#include "sign/signer.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct slice read_all(FILE *stream)
{
    size_t cap = 1 << 20, n = 0, got;
    char *text = malloc(cap);
    while (text && (got = fread(text + n, 1, cap - n, stream)) > 0) {
        n += got;
        if (n == cap)
            text = realloc(text, cap *= 2);
    }
    return (struct slice){text, n};
}

static void hash_body(struct slice body, uint64_t seed, uint8_t hash[DKIM_HASH])
{
    struct dkim_body state;
    dkim_body_init(&state);
    while (body.n) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t n = (seed >> 33) % (seed >> 63 ? 5 : 5000);
        n = n < body.n ? n : body.n;
        dkim_body_update(&state, (struct slice){body.p, n});
        body = (struct slice){body.p + n, body.n - n};
    }
    dkim_body_final(&state, hash);
}

int main(int argc, char **argv)
{
    static char room[DKIM_SIGNATURES_MAX][DKIM_FIELD_MAX];
    static uint8_t signatures[DKIM_SIGNATURES_MAX][DKIM_SIGNATURE_BYTES];
    struct dkim_field fields[DKIM_SIGNATURES_MAX];
    struct sign_job jobs[DKIM_SIGNATURES_MAX] = {0};
    struct dkim_header header;
    uint8_t body_hash[DKIM_HASH];
    char error[1024];
    unsigned count = argc >= 3 ? (unsigned)(argc - 3) / 3 : 0;
    struct signer *signer = signer_open();
    struct slice message = read_all(stdin);
    const char *end = message.p ? memmem(message.p, message.n, "\r\n\r\n", 4) : NULL;
    if (!end || !signer || count == 0 || count > DKIM_SIGNATURES_MAX)
        return 2;
    struct slice body = {end + 4, (size_t)(message.p + message.n - end - 4)};
    hash_body(body, strtoull(argv[1], NULL, 10), body_hash);
    if (!dkim_header_read(&header, message))
        return 3;
    for (unsigned i = 0; i < count; i++) {
        char **words = argv + 3 + 3 * (size_t)i;
        struct sign_key *key = sign_key_load(words[2], error, sizeof error);
        if (!key) {
            fprintf(stderr, "%s\n", error);
            return 4;
        }
        uint64_t now = (uint64_t)time(NULL), expire = strtoull(argv[2], NULL, 10);
        struct dkim_signing signing = {.domain = slice_of(words[0]),
                                       .selector = slice_of(words[1]),
                                       .algorithm = sign_key_algorithm(key),
                                       .body_hash = body_hash,
                                       .signed_s = now,
                                       .expires_s = expire ? now + expire : 0,
                                       .signature_bytes = sign_key_signature_bytes(key)};
        jobs[i] = (struct sign_job){.key = key, .signature = signatures[i]};
        if (!dkim_field_write(&header, &signing, room[i], sizeof room[i], &fields[i], jobs[i].digest))
            return 5;
    }
    if (sign_batch(signer, jobs, count) != 0)
        return 6;
    for (unsigned i = 0; i < count; i++) {
        dkim_field_finish(&fields[i], signatures[i], sign_key_signature_bytes(jobs[i].key));
        fwrite(fields[i].p, 1, fields[i].n, stdout);
        sign_key_release(jobs[i].key);
    }
    fwrite(message.p, 1, message.n, stdout);
    signer_close(signer);
    free((void *)(uintptr_t)message.p);
    return fflush(stdout) == 0 ? 0 : 7;
}
