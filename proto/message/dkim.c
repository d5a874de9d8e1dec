/* Chooses what of a header is signed, hashes it in relaxed canonical form, and writes the field that says so (RFC 6376
 * §3.4.2, §3.5, §3.7). */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "proto/message/dkim.h"

#include "proto/message/encode.h"
#include "proto/message/gather.h"
#include "proto/message/header.h"
#include "proto/number.h"

/* ---- which fields ---- */

/* One name more in h= than there are fields: a field that is added later breaks the signature (§8.15). */
enum over {
    OVER_BROKEN = 0,
    OVER_ALWAYS, /* also when there is none: RFC 5322 §3.6 and RFC 2045 §3 allow one, and all readers show or obey it */
    OVER_THERE, /* when there is one: relays and lists on the way may add what was not there */
    OVER_NEVER, /* there may be several */
};

/* RFC 6376 §5.4.1, RFC 8058 §4, RFC 9477 §3.1, and Gmail's rules for Feedback-ID; in the order of h=. Lower case. */
static const struct {
    struct slice name;
    enum over over;
} covered[] = {
    {SLICE("from"), OVER_ALWAYS},
    {SLICE("sender"), OVER_THERE},
    {SLICE("reply-to"), OVER_ALWAYS},
    {SLICE("to"), OVER_ALWAYS},
    {SLICE("cc"), OVER_ALWAYS},
    {SLICE("subject"), OVER_ALWAYS},
    {SLICE("date"), OVER_ALWAYS},
    {SLICE("message-id"), OVER_ALWAYS},
    {SLICE("in-reply-to"), OVER_THERE},
    {SLICE("references"), OVER_THERE},
    {SLICE("mime-version"), OVER_ALWAYS},
    {SLICE("content-type"), OVER_ALWAYS},
    {SLICE("content-transfer-encoding"), OVER_ALWAYS},
    {SLICE("list-unsubscribe"), OVER_THERE},
    {SLICE("list-unsubscribe-post"), OVER_THERE},
    {SLICE("list-id"), OVER_THERE},
    {SLICE("feedback-id"), OVER_THERE},
    {SLICE("cfbl-address"), OVER_THERE},
    {SLICE("cfbl-feedback-id"), OVER_THERE},
    {SLICE("list-help"), OVER_NEVER},
    {SLICE("list-subscribe"), OVER_NEVER},
    {SLICE("list-owner"), OVER_NEVER},
    {SLICE("list-post"), OVER_NEVER},
    {SLICE("list-archive"), OVER_NEVER},
    {SLICE("x-campaign"), OVER_NEVER},
};
_Static_assert(countof(covered) + 16 <= DKIM_FIELDS_MAX, "each name, and room for those that stand there twice");

static bool is_wsp(char c) { return c == ' ' || c == '\t'; }

/* The next field of `rest`, with its last CRLF. False: the header ends here. */
static bool next_field(struct slice *rest, struct slice *field)
{
    const char *p = rest->p, *end = p + rest->n;
    if (p == end || *p == '\r' || *p == '\n')
        return false;
    do {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        p = lf ? lf + 1 : end;
    } while (p < end && is_wsp(*p)); /* folded: RFC 5322 §2.2.3 */
    *field = (struct slice){rest->p, (size_t)(p - rest->p)};
    *rest = (struct slice){p, (size_t)(end - p)};
    return true;
}

static struct slice name_of(struct slice field)
{
    const char *colon = memchr(field.p, ':', field.n);
    struct slice name = {field.p, colon ? (size_t)(colon - field.p) : 0};
    while (name.n && is_wsp(name.p[name.n - 1]))
        name.n--;
    return name;
}

/* ---- what is hashed (§3.4.2) ---- */

/* The field without the CRLF at its end; `name` is its name in lower case. */
static void hash_field(struct gather *gather, struct slice name, struct slice field)
{
    gather_write(gather, name.p, name.n);
    gather_write(gather, ":", 1);
    const char *p = (const char *)memchr(field.p, ':', field.n) + 1, *end = field.p + field.n;
    bool any = false, space = false;
    while (p < end) {
        if (is_wsp(*p) || *p == '\r' || *p == '\n') {
            space = space || is_wsp(*p); /* unfolding takes the line end alone */
            p++;
            continue;
        }
        const char *word = p;
        while (p < end && !is_wsp(*p) && *p != '\r' && *p != '\n')
            p++;
        if (space && any)
            gather_write(gather, " ", 1);
        gather_write(gather, word, (size_t)(p - word));
        any = true;
        space = false;
    }
}

/* The fields that are covered, in the order in which they stand. */
struct standing {
    unsigned count;
    uint8_t rows[DKIM_FIELDS_MAX];
    struct slice fields[DKIM_FIELDS_MAX];
};

static bool find_covered(struct standing *standing, struct slice rest)
{
    struct slice field;
    standing->count = 0;
    while (next_field(&rest, &field)) {
        struct slice name = name_of(field);
        for (unsigned row = 0; row < countof(covered); row++) {
            if (!slice_equal_nocase(covered[row].name, name))
                continue;
            if (standing->count == DKIM_FIELDS_MAX)
                return false;
            standing->rows[standing->count] = (uint8_t)row;
            standing->fields[standing->count++] = field;
            break;
        }
    }
    return true;
}

bool dkim_header_read(struct dkim_header *header, struct slice fields)
{
    struct standing standing;
    struct gather gather;
    header->count = 0;
    SHA256_Init(&header->sha);
    if (!find_covered(&standing, fields))
        return false;
    gather_start(&gather, &header->sha);
    for (unsigned row = 0; row < countof(covered); row++) {
        unsigned found = 0;
        for (unsigned i = standing.count; i-- > 0;) { /* §5.4.2: the last one first */
            if (standing.rows[i] != row)
                continue;
            hash_field(&gather, covered[row].name, standing.fields[i]);
            gather_write(&gather, "\r\n", 2);
            found++;
        }
        unsigned names = found + (covered[row].over == OVER_ALWAYS || (covered[row].over == OVER_THERE && found));
        if (names > DKIM_FIELDS_MAX - header->count)
            return false;
        while (names-- > 0)
            header->names[header->count++] = (uint8_t)row;
    }
    gather_flush(&gather);
    return true;
}

/* ---- the field (§3.5) ---- */

struct writer {
    struct out out;
    size_t column;
};

static void put(struct writer *w, struct slice text)
{
    out_slice(&w->out, text);
    w->column += text.n;
}

static void fold(struct writer *w)
{
    out_write(&w->out, "\r\n\t", 3);
    w->column = 1;
}

/* Makes room for `n` octets that belong together: by a space, or in a new line. */
static void gap(struct writer *w, size_t n)
{
    if (w->column + 1 + n > HEADER_LINE)
        fold(w);
    else
        put(w, SLICE(" "));
}

static void put_tag(struct writer *w, struct slice name, struct slice value)
{
    gap(w, name.n + value.n + 1);
    put(w, name);
    put(w, value);
    put(w, SLICE(";"));
}

static void put_time(struct writer *w, struct slice name, uint64_t seconds)
{
    char digits[NUMBER_DIGITS_MAX];
    put_tag(w, name, (struct slice){digits, number_write(digits, seconds)});
}

static void put_names(struct writer *w, const struct dkim_header *header)
{
    gap(w, 2 + covered[header->names[0]].name.n + 1);
    put(w, SLICE("h="));
    for (unsigned i = 0; i < header->count; i++) {
        struct slice name = covered[header->names[i]].name;
        if (w->column + name.n + 1 > HEADER_LINE)
            fold(w); /* white space may stand around the colons */
        put(w, name);
        put(w, i + 1 < header->count ? SLICE(":") : SLICE(";"));
    }
}

static void put_body_hash(struct writer *w, const uint8_t hash[DKIM_HASH])
{
    char text[(DKIM_HASH + 2) / 3 * 4];
    for (size_t i = 0, at = 0; i < DKIM_HASH; i += 3)
        at += encode_base64_group(hash + i, DKIM_HASH - i < 3 ? DKIM_HASH - i : 3, text + at);
    put_tag(w, SLICE("bh="), (struct slice){text, sizeof text});
}

/* Leaves room for the signature, folded as it will be. */
static void put_room(struct writer *w, size_t signature_bytes)
{
    static const char spaces[HEADER_LINE + 1] =
        "                                                                              ";
    for (size_t digits = (signature_bytes + 2) / 3 * 4, n; digits > 0; digits -= n) {
        if (w->column == HEADER_LINE)
            fold(w);
        n = digits < HEADER_LINE - w->column ? digits : HEADER_LINE - w->column;
        put(w, (struct slice){spaces, n});
    }
    out_write(&w->out, "\r\n", 2);
}

bool dkim_field_write(const struct dkim_header *header, const struct dkim_signing *signing, char *to, size_t cap,
                      struct dkim_field *field, uint8_t digest[DKIM_HASH])
{
    struct writer w = {.out = {to, cap, 0}};
    sluice_assert(header->count > 0 && signing->signature_bytes <= DKIM_SIGNATURE_BYTES);
    put(&w, SLICE("DKIM-Signature: v=1;"));
    put_tag(&w, SLICE("a="),
            signing->algorithm == DKIM_ED25519 ? SLICE("ed25519-sha256") : SLICE("rsa-sha256")); /* RFC 8301 §3.1 */
    put_tag(&w, SLICE("c="), SLICE("relaxed/relaxed"));
    put_tag(&w, SLICE("d="), signing->domain);
    put_tag(&w, SLICE("s="), signing->selector);
    put_time(&w, SLICE("t="), signing->signed_s);
    if (signing->expires_s)
        put_time(&w, SLICE("x="), signing->expires_s);
    put_names(&w, header);
    put_body_hash(&w, signing->body_hash);
    gap(&w, 2 + 4);
    put(&w, SLICE("b="));
    *field = (struct dkim_field){.p = to, .signature = w.out.n};
    put_room(&w, signing->signature_bytes);
    field->n = w.out.n;
    if (w.out.n > cap)
        return false;
    SHA256_CTX sha = header->sha;
    struct gather gather;
    gather_start(&gather, &sha);
    hash_field(&gather, SLICE("dkim-signature"),
               (struct slice){to, field->signature}); /* §3.7: b= is empty, and no CRLF follows */
    gather_flush(&gather);
    SHA256_Final(digest, &sha);
    return true;
}

void dkim_field_finish(const struct dkim_field *field, const uint8_t *signature, size_t n)
{
    char *p = field->p + field->signature, *end = field->p + field->n;
    for (size_t i = 0; i < n; i += 3) {
        char digits[4];
        encode_base64_group(signature + i, n - i < 3 ? n - i : 3, digits);
        for (size_t j = 0; j < sizeof digits; j++) {
            if (*p == '\r')
                p += 3; /* where put_room folded */
            sluice_assert(p < end && *p == ' ');
            *p++ = digits[j];
        }
    }
    sluice_assert(p + 2 == end); /* the signature has the length that was said */
}
