/* test_dkim.c - what is hashed of a message, and the field that says so, against RFC 6376's examples and against a
 * canonicaliser written a second time, slowly. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "proto/message/dkim.h"
#include "proto/message/encode.h"
#include "tests/unit/chance.h"

static void sha256(struct slice text, uint8_t hash[DKIM_HASH])
{
    SHA256_CTX sha;
    SHA256_Init(&sha);
    SHA256_Update(&sha, text.p, text.n);
    SHA256_Final(hash, &sha);
}

static void base64(const uint8_t *p, size_t n, char *to)
{
    for (size_t i = 0; i < n; i += 3)
        to += encode_base64_group(p + i, n - i < 3 ? n - i : 3, to);
    *to = 0;
}

static void body_hash(struct slice text, uint8_t hash[DKIM_HASH])
{
    struct dkim_body body;
    dkim_body_init(&body);
    dkim_body_update(&body, text);
    dkim_body_final(&body, hash);
}

/* ---- the body ---- */

static void bodies_by_example(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        struct slice body, canonical;
    } cases[] = {
        {"RFC 6376 3.4.5", SLICE(" C \r\nD \t E\r\n\r\n\r\n"), SLICE(" C\r\nD E\r\n")},
        {"nothing", SLICE(""), SLICE("")},
        {"an empty line", SLICE("\r\n"), SLICE("")},
        {"empty lines", SLICE("\r\n\r\n\r\n"), SLICE("")},
        {"white space alone", SLICE(" \t"), SLICE("")},
        {"lines of white space", SLICE(" \r\n\t \r\n  "), SLICE("")},
        {"no line end", SLICE("a"), SLICE("a\r\n")},
        {"white space at the end", SLICE("a \t"), SLICE("a\r\n")},
        {"empty lines at the beginning", SLICE("\r\n\r\na\r\n"), SLICE("\r\n\r\na\r\n")},
        {"empty lines inside", SLICE("a\r\n \r\n\r\nb\r\n"), SLICE("a\r\n\r\n\r\nb\r\n")},
        {"a tab is a space", SLICE("a\tb\r\n"), SLICE("a b\r\n")},
        {"white space at a line's beginning", SLICE("\t a\r\n"), SLICE(" a\r\n")},
        {"a CR alone", SLICE("a \rb\r\r\n"), SLICE("a \rb\r\r\n")},
        {"a CR at the end", SLICE("a \r"), SLICE("a \r\r\n")},
        {"a LF alone", SLICE("a \nb\n"), SLICE("a \nb\n\r\n")},
        {"dots", SLICE(".\r\n..\r\n"), SLICE(".\r\n..\r\n")},
        {"what is not ASCII", SLICE("\xC3\xA9  \xA0\r\n"), SLICE("\xC3\xA9 \xA0\r\n")},
        {"a zero byte", SLICE("a\0  b\r\n"), SLICE("a\0 b\r\n")},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        uint8_t got[DKIM_HASH], expected[DKIM_HASH];
        body_hash(cases[i].body, got);
        sha256(cases[i].canonical, expected);
        if (memcmp(got, expected, DKIM_HASH) != 0)
            fail_msg("%s", cases[i].what);
    }
}

static void published_hashes(void **state)
{
    (void)state;
    static const struct {
        struct slice body;
        const char *hash;
    } cases[] = {
        /* RFC 6376 §3.4.4: of the empty body; then RFC 8463 A.3. */
        {SLICE(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
        {SLICE("Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"),
         "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        uint8_t hash[DKIM_HASH];
        char text[64];
        body_hash(cases[i].body, hash);
        base64(hash, sizeof hash, text);
        assert_string_equal(text, cases[i].hash);
    }
}

/* The rules of §3.4.4 one after the other, each over the whole text. */
static size_t canonical_body(struct slice body, char *to)
{
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < body.n; i++) { /* runs of white space */
        bool white = body.p[i] == ' ' || body.p[i] == '\t';
        if (!white)
            to[n++] = body.p[i];
        else if (n == 0 || to[n - 1] != ' ')
            to[n++] = ' ';
    }
    for (size_t i = 0; i < n; i++) { /* white space at line ends */
        bool before_end = to[i] == ' ' && (i + 1 == n || (i + 2 < n && to[i + 1] == '\r' && to[i + 2] == '\n'));
        if (!before_end)
            to[kept++] = to[i];
    }
    while (kept >= 2 && memcmp(to + kept - 2, "\r\n", 2) == 0) /* empty lines at the end */
        kept -= 2;
    if (kept) {
        memcpy(to + kept, "\r\n", 2);
        kept += 2;
    }
    return kept;
}

static size_t random_body(char *to, size_t most)
{
    static const char *const words[] = {" ",
                                        "  ",
                                        "\t",
                                        "\r\n",
                                        "\r\n\r\n",
                                        "\r",
                                        "\n",
                                        "a",
                                        "=20=\r\n",
                                        " b",
                                        "0123456789012345678901234567890123456789012345678901234567890123456789"};
    size_t n = 0, limit = random_below((uint32_t)most - 100);
    bool plain = random_below(2); /* as encoders write it: hardly any white space */
    while (n < limit) {
        const char *word = words[plain && random_below(8) ? 10 : random_below(countof(words))];
        size_t length = strlen(word);
        memcpy(to + n, word, length);
        n += length;
    }
    return n;
}

static void any_split_gives_the_same(void **state)
{
    (void)state;
    static char body[4096], canonical[4096];
    for (unsigned round = 0; round < 4000; round++) {
        struct slice whole = {body, random_body(body, sizeof body)};
        uint8_t expected[DKIM_HASH], got[DKIM_HASH];
        sha256((struct slice){canonical, canonical_body(whole, canonical)}, expected);
        struct dkim_body state_at, copy;
        uint32_t piece_most = random_below(2) ? 4 : 1 + random_below(2000);
        size_t copy_at = whole.n ? random_below((uint32_t)whole.n) : 0, copied = SIZE_MAX;
        dkim_body_init(&state_at);
        for (size_t at = 0; at < whole.n;) {
            size_t n = random_below(piece_most + 1);
            n = n < whole.n - at ? n : whole.n - at;
            char *piece = malloc(n ? n : 1); /* of its own size: a read past its end is seen */
            memcpy(piece, body + at, n);
            dkim_body_update(&state_at, (struct slice){piece, n});
            free(piece);
            at += n;
            if (at >= copy_at && copied == SIZE_MAX) {
                copy = state_at;
                copied = at;
            }
        }
        dkim_body_final(&state_at, got);
        if (memcmp(got, expected, DKIM_HASH) != 0)
            fail_msg("round %u: %zu octets in pieces of up to %u", round, whole.n, piece_most);
        if (copied != SIZE_MAX) {
            dkim_body_update(&copy, (struct slice){body + copied, whole.n - copied});
            dkim_body_final(&copy, got);
            assert_memory_equal(got, expected, DKIM_HASH);
        }
    }
}

/* ---- the header ---- */

static const uint8_t some_hash[DKIM_HASH] = {1, 2, 3};
static const struct dkim_signing some_signing = {.domain = {"shop.example", 12},
                                                 .selector = {"s1", 2},
                                                 .algorithm = DKIM_RSA,
                                                 .body_hash = some_hash,
                                                 .signed_s = 1700000000,
                                                 .signature_bytes = 256};
static char written[DKIM_FIELD_MAX];

static struct dkim_field write_field(struct slice fields, const struct dkim_signing *signing, uint8_t digest[DKIM_HASH])
{
    struct dkim_header header;
    struct dkim_field field;
    assert_true(dkim_header_read(&header, fields));
    assert_true(dkim_field_write(&header, signing, written, sizeof written, &field, digest));
    return field;
}

/* The value of a tag of `written`, without white space. */
static void tag_value(const struct dkim_field *field, const char *tag, char *to)
{
    struct slice rest = {field->p, field->n};
    const char *found = memmem(rest.p, rest.n, tag, strlen(tag));
    assert_non_null(found);
    for (found += strlen(tag); found < rest.p + rest.n && *found != ';'; found++)
        if (!strchr(" \t\r\n", *found))
            *to++ = *found;
    *to = 0;
}

#define ALWAYS_REST "cc:subject:date:message-id:mime-version:content-type:content-transfer-encoding"

static void headers_by_example(void **state)
{
    (void)state;
    /* Behind `canonical` the test adds the field itself, which it takes apart by other means. */
    static const struct {
        const char *what;
        struct slice fields;
        const char *names;
        struct slice canonical;
    } cases[] = {
        {"RFC 6376 3.4.5", SLICE("To: X\r\nFrom : Y\t\r\n\tZ  \r\n"), "from:from:reply-to:to:to:" ALWAYS_REST,
         SLICE("from:Y Z\r\nto:X\r\n")},
        {"a body is not looked at", SLICE("From: a\r\n\r\nTo: b\r\n"), "from:from:reply-to:to:" ALWAYS_REST,
         SLICE("from:a\r\n")},
        {"case, empty values, folds in words", SLICE("fRoM:A\r\n  b\r\n\tc \r\nTO:\r\nReply-To: \r\n x\r\n"),
         "from:from:reply-to:reply-to:to:to:" ALWAYS_REST, SLICE("from:A b c\r\nreply-to:x\r\nto:\r\n")},
        {"repeated ones from the bottom up", SLICE("To: 1\r\nFrom: a\r\nTo: 2\r\nTo: 3\r\n"),
         "from:from:reply-to:to:to:to:to:" ALWAYS_REST, SLICE("from:a\r\nto:3\r\nto:2\r\nto:1\r\n")},
        {"what is not covered",
         SLICE("Received: by x\r\nX-From: y\r\nFrom: a\r\nDKIM-Signature: v=1\r\nFromage: b\r\n"
               "Precedence: bulk\r\n"),
         "from:from:reply-to:to:" ALWAYS_REST, SLICE("from:a\r\n")},
        {"no colon, no last line end", SLICE("nonsense\r\nFrom: a"), "from:from:reply-to:to:" ALWAYS_REST,
         SLICE("from:a\r\n")},
        {"a campaign's",
         SLICE("From: Shop <news@shop.example>\r\nTo: ann@x.example\r\nSubject: =?utf-8?Q?Caf=C3=A9?=\r\n =?utf-8?Q?s?="
               "\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <c.1.t@shop.example>\r\nMIME-Version: 1.0\r\n"
               "X-Campaign: c/1\r\nList-Unsubscribe: <https://shop.example/u/1>,\r\n <mailto:u@shop.example>\r\n"
               "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nList-Id: News <news.shop.example>\r\n"
               "Feedback-ID: c:shop\r\nContent-Type: text/plain; charset=utf-8\r\n"
               "Content-Transfer-Encoding: quoted-printable\r\n\r\n"),
         "from:from:reply-to:to:to:cc:subject:subject:date:date:message-id:message-id:mime-version:mime-version:"
         "content-type:content-type:content-transfer-encoding:content-transfer-encoding:list-unsubscribe:"
         "list-unsubscribe:list-unsubscribe-post:list-unsubscribe-post:list-id:list-id:feedback-id:feedback-id:"
         "x-campaign",
         SLICE("from:Shop <news@shop.example>\r\nto:ann@x.example\r\nsubject:=?utf-8?Q?Caf=C3=A9?= =?utf-8?Q?s?=\r\n"
               "date:Sat, 21 Nov 2026 12:00:00 +0000\r\nmessage-id:<c.1.t@shop.example>\r\nmime-version:1.0\r\n"
               "content-type:text/plain; charset=utf-8\r\ncontent-transfer-encoding:quoted-printable\r\n"
               "list-unsubscribe:<https://shop.example/u/1>, <mailto:u@shop.example>\r\n"
               "list-unsubscribe-post:List-Unsubscribe=One-Click\r\nlist-id:News <news.shop.example>\r\n"
               "feedback-id:c:shop\r\nx-campaign:c/1\r\n")},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        uint8_t digest[DKIM_HASH], expected[DKIM_HASH];
        char names[2048], text[8192], *end;
        struct dkim_field field = write_field(cases[i].fields, &some_signing, digest);
        tag_value(&field, " h=", names);
        if (strcmp(names, cases[i].names) != 0)
            fail_msg("%s: h=%s", cases[i].what, names);
        memcpy(text, cases[i].canonical.p, cases[i].canonical.n);
        end = text + cases[i].canonical.n;
        end += sprintf(end, "dkim-signature:");
        for (size_t j = strlen("DKIM-Signature: "); j < field.signature; j++)
            if (field.p[j] != '\r' && field.p[j] != '\n')
                *end++ = field.p[j] == '\t' ? ' ' : field.p[j];
        sha256((struct slice){text, (size_t)(end - text)}, expected); /* no CRLF behind b= */
        if (memcmp(digest, expected, DKIM_HASH) != 0)
            fail_msg("%s: %.*s", cases[i].what, (int)(end - text), text);
    }
}

static void signatures_stand_side_by_side(void **state)
{
    (void)state;
    uint8_t alone[DKIM_HASH], behind[DKIM_HASH];
    write_field(SLICE("From: a\r\nSubject: b\r\n\r\n"), &some_signing, alone);
    write_field(SLICE("DKIM-Signature: v=1; a=rsa-sha256;\r\n\tb=abc\r\nFrom: a\r\nSubject: b\r\n\r\n"), &some_signing,
                behind);
    assert_memory_equal(alone, behind, DKIM_HASH);
}

static void tags(void **state)
{
    (void)state;
    uint8_t digest[DKIM_HASH];
    char value[1024];
    struct dkim_signing signing = some_signing;
    struct dkim_field field = write_field(SLICE("From: a\r\n"), &signing, digest);
    static const char *const pairs[][2] = {{" v=", "1"},
                                           {" a=", "rsa-sha256"},
                                           {" c=", "relaxed/relaxed"},
                                           {"d=", "shop.example"},
                                           {"s=", "s1"},
                                           {"t=", "1700000000"},
                                           {"bh=", "AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}};
    for (size_t i = 0; i < countof(pairs); i++) {
        tag_value(&field, pairs[i][0], value);
        assert_string_equal(value, pairs[i][1]);
    }
    assert_null(memmem(field.p, field.n, "x=", 2));
    assert_null(memmem(field.p, field.n, "l=", 2));
    signing.expires_s = 1700000600;
    signing.algorithm = DKIM_ED25519;
    signing.signature_bytes = 64;
    field = write_field(SLICE("From: a\r\n"), &signing, digest);
    tag_value(&field, "x=", value);
    assert_string_equal(value, "1700000600");
    tag_value(&field, "a=", value);
    assert_string_equal(value, "ed25519-sha256");
}

/* Whatever a key's size and a domain's length: lines fold, the length holds, and the signature can be read back. */
static void fields_of_all_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {64, 128, 256, 257, 258, 384, 512};
    for (unsigned round = 0; round < 2000; round++) {
        char domain[254], decoded[1024], value[1024];
        uint8_t signature[DKIM_SIGNATURE_BYTES], digest[DKIM_HASH];
        size_t domain_n = round % 2 ? 1 + random_below(40) : 1 + random_below(253);
        memset(domain, 'd', sizeof domain);
        struct dkim_signing signing = some_signing;
        signing.domain = (struct slice){domain, domain_n};
        signing.selector = (struct slice){domain, 1 + random_below(30)};
        signing.signature_bytes = sizes[random_below(countof(sizes))];
        signing.signed_s = random_below(2) ? 9 : UINT64_MAX / 2;
        signing.expires_s = random_below(2) ? 0 : UINT64_MAX;
        struct dkim_field field = write_field(SLICE("From: a\r\nSubject: b\r\nList-Id: c\r\n"), &signing, digest);
        for (size_t i = 0; i < signing.signature_bytes; i++)
            signature[i] = (uint8_t)random_below(256);
        size_t before = field.n;
        dkim_field_finish(&field, signature, signing.signature_bytes);
        assert_int_equal(field.n, before);
        assert_memory_equal(field.p + field.n - 2, "\r\n", 2);
        size_t line = 0;
        for (size_t i = 0; i < field.n; i++) {
            line = field.p[i] == '\n' ? 0 : line + 1;
            if (field.p[i] == '\n' && i + 1 < field.n)
                assert_int_equal(field.p[i + 1], '\t');
            assert_true(line <= 79 || domain_n > 60); /* 78 and its CR */
            assert_true(line < 998);
        }
        tag_value(&field, "b=", value);
        assert_int_equal(decode_base64(slice_of(value), decoded), signing.signature_bytes);
        assert_memory_equal(decoded, signature, signing.signature_bytes);
    }
}

static void bounds(void **state)
{
    (void)state;
    static char fields[64 * 1024];
    struct dkim_header header;
    struct dkim_field field;
    uint8_t digest[DKIM_HASH];
    size_t n = (size_t)sprintf(fields, "From: a\r\n");
    assert_true(dkim_header_read(&header, (struct slice){fields, n}));
    assert_true(dkim_field_write(&header, &some_signing, written, sizeof written, &field, digest));
    size_t needed = field.n;
    for (size_t cap = 0; cap < needed; cap++) {
        char *exact = malloc(cap ? cap : 1);
        assert_false(dkim_field_write(&header, &some_signing, exact, cap, &field, digest));
        assert_int_equal(field.n, needed);
        free(exact);
    }
    assert_true(dkim_field_write(&header, &some_signing, written, needed, &field, digest));
    /* 41 names at most without repetition; 64 with. */
    for (unsigned i = 0; i < DKIM_FIELDS_MAX - 13; i++) {
        n += (size_t)sprintf(fields + n, "To: b\r\n");
        if (!dkim_header_read(&header, (struct slice){fields, n}))
            fail_msg("%u are refused", i + 1);
    }
    assert_true(header.count <= DKIM_FIELDS_MAX);
    while (n < sizeof fields - 10)
        n += (size_t)sprintf(fields + n, "To: b\r\n");
    assert_false(dkim_header_read(&header, (struct slice){fields, n}));
}

/* A header of 64 KiB, for the largest that a template makes. */
static void large_header(void **state)
{
    (void)state;
    static char fields[64 * 1024], canonical[64 * 1024];
    size_t n = (size_t)sprintf(fields, "Subject:"), m = (size_t)sprintf(canonical, "subject:");
    while (n < sizeof fields - 100) {
        n += (size_t)sprintf(fields + n, "%s word%u", random_below(4) ? " " : "\r\n\t", random_below(1000));
    }
    n += (size_t)sprintf(fields + n, " \r\n");
    char *save, *copy = strndup(fields + 8, n - 8);
    for (char *word = strtok_r(copy, " \t\r\n", &save), *first = word; word; word = strtok_r(NULL, " \t\r\n", &save))
        m += (size_t)sprintf(canonical + m, "%s%s", word == first ? "" : " ", word);
    free(copy);
    m += (size_t)sprintf(canonical + m, "\r\n");
    struct dkim_header header;
    uint8_t got[DKIM_HASH], expected[DKIM_HASH];
    assert_true(dkim_header_read(&header, (struct slice){fields, n}));
    SHA256_Final(got, &header.sha);
    sha256((struct slice){canonical, m}, expected);
    assert_memory_equal(got, expected, DKIM_HASH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_by_example),
        cmocka_unit_test(published_hashes),
        cmocka_unit_test(any_split_gives_the_same),
        cmocka_unit_test(headers_by_example),
        cmocka_unit_test(signatures_stand_side_by_side),
        cmocka_unit_test(tags),
        cmocka_unit_test(fields_of_all_sizes),
        cmocka_unit_test(bounds),
        cmocka_unit_test(large_header),
    };
    return cmocka_run_group_tests_name("dkim", tests, chance_begin, NULL);
}
