/* Reads key records as verifiers do, so that a wrong one is noticed here before receivers do. */
#include "proto/message/dkim_record.h"

#include "proto/message/encode.h"

/* Takes what stands before the next `separator` off `rest`. */
static struct slice take(struct slice *rest, char separator)
{
    const char *end = memchr(rest->p, separator, rest->n);
    struct slice item = {rest->p, end ? (size_t)(end - rest->p) : rest->n};
    size_t used = item.n + (end != NULL);
    *rest = (struct slice){rest->p + used, rest->n - used};
    return slice_trim(item);
}

/* Whether a colon-separated list holds one of two words. */
static bool list_holds(struct slice list, struct slice word, struct slice or_word)
{
    bool holds = false;
    while (list.n) {
        struct slice item = take(&list, ':');
        holds = holds || slice_equal(item, word) || slice_equal(item, or_word);
    }
    return holds;
}

/* ---- the tags ---- */

enum tag { TAG_V, TAG_H, TAG_K, TAG_P, TAG_S, TAG_T, TAG_COUNT };

struct tags {
    struct slice values[TAG_COUNT]; /* p NULL: not given */
    bool v_later;                   /* v= stands there, and not first */
    bool broken;
};

static bool is_tag_name(struct slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        char lower = ascii_lower(name.p[i]);
        bool letter = lower >= 'a' && lower <= 'z';
        if (!letter && (i == 0 || !((name.p[i] >= '0' && name.p[i] <= '9') || name.p[i] == '_')))
            return false;
    }
    return name.n > 0;
}

/* RFC 6376 §3.2. */
static struct tags read_tags(struct slice record)
{
    static const char letters[TAG_COUNT + 1] = "vhkpst";
    struct tags tags = {0};
    bool first = true;
    while (record.n) {
        struct slice tag = take(&record, ';');
        if (tag.n == 0 && record.n == 0) /* the last semicolon may stand there */
            break;
        const char *equals = memchr(tag.p, '=', tag.n);
        struct slice name = slice_trim((struct slice){tag.p, equals ? (size_t)(equals - tag.p) : 0});
        if (!is_tag_name(name)) {
            tags.broken = true;
            continue;
        }
        const char *letter = name.n == 1 ? memchr(letters, name.p[0], TAG_COUNT) : NULL;
        if (letter) {
            struct slice *value = &tags.values[letter - letters];
            tags.broken = tags.broken || value->p; /* §3.2: no name twice */
            *value = slice_trim((struct slice){equals + 1, (size_t)(tag.p + tag.n - equals - 1)});
            tags.v_later = tags.v_later || (letter == letters && !first);
        }
        first = false;
    }
    return tags;
}

/* ---- the key ---- */

/* SubjectPublicKeyInfo ends in the RSAPublicKey that it wraps, behind at most 24 octets. */
static bool is_bare_rsa(struct slice key, struct slice public)
{
    return key.n < public.n && public.n - key.n <= 24 && key.n > 16 && key.p[0] == 0x30 &&
           memcmp(public.p + (public.n - key.n), key.p, key.n) == 0;
}

static enum dkim_record unusable(const char **why, const char *reason)
{
    *why = reason;
    return DKIM_RECORD_UNUSABLE;
}

static enum dkim_record check_key(const struct tags *tags, enum dkim_algorithm algorithm, struct slice public,
                                  const char **why)
{
    char decoded[DKIM_RECORD_MAX];
    struct slice k = tags->values[TAG_K].p ? tags->values[TAG_K] : SLICE("rsa");
    bool rsa = slice_equal(k, SLICE("rsa"));
    if (!rsa && !slice_equal(k, SLICE("ed25519")))
        return unusable(why, "k= names a type of key that is not known");
    if (tags->values[TAG_P].n == 0)
        return DKIM_RECORD_REVOKED;
    if (rsa != (algorithm == DKIM_RSA)) {
        *why = "k= names another type of key";
        return DKIM_RECORD_OTHER_KEY;
    }
    size_t n = decode_base64(tags->values[TAG_P], decoded);
    if (n == SIZE_MAX)
        return unusable(why, "p= is no base64");
    struct slice key = {decoded, n};
    if (!slice_equal(key, public) && !(rsa && is_bare_rsa(key, public)))
        return DKIM_RECORD_OTHER_KEY;
    return DKIM_RECORD_OK;
}

static enum dkim_record check_one(const struct tags *tags, enum dkim_algorithm algorithm, struct slice public,
                                  const char **why)
{
    const struct slice *values = tags->values;
    if (tags->broken)
        return unusable(why, "it is no list of tags, or has one twice");
    if (values[TAG_V].p && (tags->v_later || !slice_equal(values[TAG_V], SLICE("DKIM1"))))
        return unusable(why, "v= is not DKIM1, or not the first tag");
    if (values[TAG_H].p && !list_holds(values[TAG_H], SLICE("sha256"), SLICE("sha256")))
        return unusable(why, "h= does not allow sha256");
    if (values[TAG_S].p && !list_holds(values[TAG_S], SLICE("email"), SLICE("*")))
        return unusable(why, "s= does not allow email");
    if (values[TAG_T].p && list_holds(values[TAG_T], SLICE("y"), SLICE("y")))
        *why = "t=y says that DKIM is only being tested";
    return check_key(tags, algorithm, public, why);
}

enum dkim_record dkim_record_check(const struct slice *records, unsigned count, enum dkim_algorithm algorithm,
                                   struct slice public, const char **why)
{
    enum dkim_record result = DKIM_RECORD_MISSING;
    *why = "";
    for (unsigned i = 0; i < count; i++) {
        if (records[i].n > DKIM_RECORD_MAX)
            return unusable(why, "it is too long");
        struct tags tags = read_tags(records[i]);
        bool is_key = tags.values[TAG_P].p || slice_starts_with(slice_trim(records[i]), SLICE("v=DKIM1"));
        if (!is_key) /* say SPF's, from a wildcard */
            continue;
        if (result != DKIM_RECORD_MISSING)
            return unusable(why, "there are several key records");
        result = tags.values[TAG_P].p ? check_one(&tags, algorithm, public, why) : unusable(why, "it has no p=");
    }
    return result;
}

const char *dkim_record_name(enum dkim_record result)
{
    static const char *const names[] = {
        [DKIM_RECORD_OK] = "ok",
        [DKIM_RECORD_MISSING] = "missing",
        [DKIM_RECORD_REVOKED] = "revoked",
        [DKIM_RECORD_OTHER_KEY] = "other key",
        [DKIM_RECORD_UNUSABLE] = "unusable",
    };
    return (size_t)result < countof(names) && names[result] ? names[result] : "broken";
}
