/* dkim_judge.c - canonicalises anew, without an eye on how it was done on the other side, and lets OpenSSL's verifier
 * decide. */
#include "dkim_judge.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char rsa_pem[] = "-----BEGIN RSA PRIVATE KEY-----\n"
                              "MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi\n"
                              "Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM\n"
                              "KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB\n"
                              "AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm\n"
                              "6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe\n"
                              "zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy\n"
                              "6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc\n"
                              "uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy\n"
                              "WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd\n"
                              "WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a\n"
                              "licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst\n"
                              "o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe\n"
                              "uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL\n"
                              "-----END RSA PRIVATE KEY-----\n";
static const char ed25519_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                                  "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                                  "-----END PRIVATE KEY-----\n";

const char *dkim_judge_pem(enum dkim_judge_key key) { return key == DKIM_JUDGE_RSA ? rsa_pem : ed25519_pem; }

/* ---- pieces of a message ---- */

enum { FIELDS = 128 };

struct text {
    char *p;
    size_t n;
};

struct parsed {
    struct slice fields[FIELDS]; /* with their last CRLF */
    unsigned count;
    struct slice body;
};

static bool parse(struct slice message, struct parsed *parsed)
{
    const char *at = message.p, *end = message.p + message.n;
    parsed->count = 0;
    while (at < end && !(end - at >= 2 && memcmp(at, "\r\n", 2) == 0)) {
        const char *stop = at;
        do { /* as long as lines begin with white space */
            stop = memmem(stop, (size_t)(end - stop), "\r\n", 2);
            if (!stop)
                return false;
            stop += 2;
        } while (stop < end && (*stop == ' ' || *stop == '\t'));
        if (parsed->count == FIELDS || !memchr(at, ':', (size_t)(stop - at)))
            return false;
        parsed->fields[parsed->count++] = (struct slice){at, (size_t)(stop - at)};
        at = stop;
    }
    if (at == end)
        return false;
    parsed->body = (struct slice){at + 2, (size_t)(end - at - 2)};
    return true;
}

static bool is_named(struct slice field, const char *name, size_t n)
{
    return field.n > n && strncasecmp(field.p, name, n) == 0 && field.p[n] == ':';
}

unsigned dkim_judge_count(struct slice message, const char *name)
{
    struct parsed parsed;
    unsigned count = 0;
    if (!parse(message, &parsed))
        return 0;
    for (unsigned i = 0; i < parsed.count; i++)
        count += is_named(parsed.fields[i], name, strlen(name));
    return count;
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* ---- canonicalisation ---- */

/* §3.4.2: name in lower case, the value unfolded, its runs of white space as one space, none at its ends. */
static void relax_field(struct text *to, struct slice field)
{
    size_t i = 0;
    for (; field.p[i] != ':'; i++)
        if (!is_blank(field.p[i]))
            to->p[to->n++] = (char)(field.p[i] >= 'A' && field.p[i] <= 'Z' ? field.p[i] + 32 : field.p[i]);
    to->p[to->n++] = ':';
    bool gap = false, begun = false;
    for (i++; i < field.n; i++) {
        if (is_blank(field.p[i])) {
            gap = true;
            continue;
        }
        if (gap && begun)
            to->p[to->n++] = ' ';
        gap = false;
        begun = true;
        to->p[to->n++] = field.p[i];
    }
}

/* §3.4.4, line by line. */
static struct text relax_body(struct slice body)
{
    struct text to = {malloc(body.n + 3), 0};
    size_t kept = 0; /* behind the last line that is not empty */
    for (size_t i = 0; i < body.n;) {
        const char *crlf = memmem(body.p + i, body.n - i, "\r\n", 2);
        size_t end = crlf ? (size_t)(crlf - body.p) : body.n;
        size_t start = to.n;
        while (end > i && (body.p[end - 1] == ' ' || body.p[end - 1] == '\t'))
            end--;
        for (size_t j = i; j < end; j++) {
            bool white = body.p[j] == ' ' || body.p[j] == '\t';
            if (white && j > i && (body.p[j - 1] == ' ' || body.p[j - 1] == '\t'))
                continue;
            to.p[to.n++] = white ? ' ' : body.p[j];
        }
        bool empty = to.n == start;
        to.p[to.n++] = '\r';
        to.p[to.n++] = '\n';
        kept = empty ? kept : to.n;
        i = crlf ? (size_t)(crlf - body.p) + 2 : body.n;
    }
    to.n = kept;
    return to;
}

/* ---- tags ---- */

/* The value of a tag without white space, in `to`; false: it is not there. */
static bool tag(struct slice field, const char *name, char *to, size_t cap)
{
    const char *p = memchr(field.p, ':', field.n), *end = field.p + field.n;
    p = p + 1;
    while (p < end) {
        const char *stop = memchr(p, ';', (size_t)(end - p));
        stop = stop ? stop : end;
        const char *equals = memchr(p, '=', (size_t)(stop - p));
        while (p < stop && is_blank(*p))
            p++;
        if (equals && (size_t)(equals - p) == strlen(name) && memcmp(p, name, strlen(name)) == 0) {
            size_t n = 0;
            for (const char *c = equals + 1; c < stop && n + 1 < cap; c++)
                if (!is_blank(*c))
                    to[n++] = *c;
            to[n] = 0;
            return true;
        }
        p = stop + 1;
    }
    return false;
}

static size_t unbase64(const char *text, unsigned char *to)
{
    size_t n = strlen(text);
    int got = n && n % 4 == 0 ? EVP_DecodeBlock(to, (const unsigned char *)text, (int)n) : -1;
    if (got < 0)
        return 0;
    return (size_t)got - (text[n - 1] == '=') - (text[n - 2] == '=');
}

/* ---- one signature ---- */

/* Is this '=' the one of "b="? */
static bool begins_tag_b(struct slice field, size_t i)
{
    if (field.p[--i] != 'b')
        return false;
    while (is_blank(field.p[--i]))
        continue;
    return field.p[i] == ';' || field.p[i] == ':';
}

/* The fields that h= names, each instance from below, and the signature's own with an empty b= and no CRLF. */
static struct text signed_bytes(const struct parsed *parsed, unsigned own, const char *names)
{
    size_t room = 16;
    bool used[FIELDS] = {false};
    for (unsigned i = 0; i < parsed->count; i++)
        room += parsed->fields[i].n + 2;
    struct text to = {malloc(room), 0};
    for (const char *name = names; *name;) {
        size_t n = strcspn(name, ":");
        for (unsigned i = parsed->count; i-- > 0;) {
            if (used[i] || !is_named(parsed->fields[i], name, n))
                continue;
            used[i] = true;
            relax_field(&to, parsed->fields[i]);
            to.p[to.n++] = '\r';
            to.p[to.n++] = '\n';
            break;
        }
        name += n + (name[n] == ':');
    }
    struct slice field = parsed->fields[own];
    char *copy = malloc(field.n);
    size_t n = 0;
    for (size_t i = 0; i < field.n; i++) {
        copy[n++] = field.p[i];
        bool is_tag = field.p[i] == '=' && begins_tag_b(field, i);
        while (is_tag && i + 1 < field.n && field.p[i + 1] != ';')
            i++;
    }
    relax_field(&to, (struct slice){copy, n});
    free(copy);
    return to;
}

static bool verifies(struct text bytes, bool rsa, const unsigned char *signature, size_t n)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    const char *pem = dkim_judge_pem(rsa ? DKIM_JUDGE_RSA : DKIM_JUDGE_ED25519);
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    SHA256((const unsigned char *)bytes.p, bytes.n, digest);
    bool good = key && EVP_DigestVerifyInit(context, NULL, rsa ? EVP_sha256() : NULL, NULL, key) == 1;
    good = good && (rsa ? EVP_DigestVerify(context, signature, n, (const unsigned char *)bytes.p, bytes.n)
                        : EVP_DigestVerify(context, signature, n, digest, sizeof digest)) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    BIO_free(bio);
    return good;
}

static bool fail(struct dkim_judge_result *result, const char *fault)
{
    if (!result->fault[0])
        snprintf(result->fault, sizeof result->fault, "%s", fault);
    return false;
}

/* Whether h= names a field, and once more than it is there, so that nobody can add one. */
static bool covers(struct dkim_judge_result *result, const struct parsed *parsed, const char *names)
{
    static const char *const single[] = {"From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"};
    static const char *const others[] = {"List-Unsubscribe", "List-Unsubscribe-Post", "Feedback-ID", "List-Id"};
    for (unsigned i = 0; i < countof(single) + countof(others); i++) {
        bool is_single = i < countof(single);
        const char *name = is_single ? single[i] : others[i - countof(single)];
        unsigned there = 0, named = 0;
        for (unsigned j = 0; j < parsed->count; j++)
            there += is_named(parsed->fields[j], name, strlen(name));
        for (const char *at = names; *at;) {
            size_t n = strcspn(at, ":");
            named += n == strlen(name) && strncasecmp(at, name, n) == 0;
            at += n + (at[n] == ':');
        }
        if (named < there || (is_single && named < there + 1))
            return fail(result, name);
    }
    return true;
}

static bool judge_field(struct dkim_judge_result *result, const struct parsed *parsed, unsigned own)
{
    struct slice field = parsed->fields[own];
    static char names[8192], value[2048];
    unsigned char hash[SHA256_DIGEST_LENGTH], bytes[2048];
    if (!tag(field, "v", value, sizeof value) || strcmp(value, "1") != 0)
        return fail(result, "v= is not 1");
    if (tag(field, "l", value, sizeof value))
        return fail(result, "there is an l=");
    if (!tag(field, "c", value, sizeof value) || strcmp(value, "relaxed/relaxed") != 0)
        return fail(result, "c= is not relaxed/relaxed");
    if (!tag(field, "d", value, sizeof value) || strcmp(value, "shop.example") != 0)
        return fail(result, "d= is not the sender's");
    if (!tag(field, "t", value, sizeof value))
        return fail(result, "t= is missing");
    result->signed_s = strtoull(value, NULL, 10);
    if (!tag(field, "a", value, sizeof value))
        return fail(result, "a= is missing");
    bool rsa = strcmp(value, "rsa-sha256") == 0;
    if (!rsa && strcmp(value, "ed25519-sha256") != 0)
        return fail(result, "a= is unknown");
    struct text body = relax_body(parsed->body);
    SHA256((const unsigned char *)body.p, body.n, hash);
    free(body.p);
    if (!tag(field, "bh", value, sizeof value) || unbase64(value, bytes) != sizeof hash ||
        memcmp(bytes, hash, sizeof hash) != 0)
        return fail(result, "the body's hash is another");
    if (!tag(field, "h", names, sizeof names) || !covers(result, parsed, names))
        return fail(result, "h= is missing");
    if (!tag(field, "b", value, sizeof value))
        return fail(result, "b= is missing");
    size_t n = unbase64(value, bytes);
    struct text canonical = signed_bytes(parsed, own, names);
    bool good = verifies(canonical, rsa, bytes, n);
    free(canonical.p);
    if (!good)
        return fail(result, "the signature does not verify");
    result->rsa += rsa;
    result->ed25519 += !rsa;
    return true;
}

struct dkim_judge_result dkim_judge(struct slice message)
{
    struct dkim_judge_result result = {.fault = ""};
    struct parsed parsed;
    if (!parse(message, &parsed)) {
        fail(&result, "the header is none");
        return result;
    }
    for (unsigned i = 0; i < parsed.count; i++)
        if (is_named(parsed.fields[i], "DKIM-Signature", strlen("DKIM-Signature"))) {
            result.signatures++;
            (void)judge_field(&result, &parsed, i);
        }
    return result;
}
