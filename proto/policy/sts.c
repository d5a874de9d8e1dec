/* sts.c - reads what a domain says of MTA-STS, so that nothing but a whole and well-formed policy is ever obeyed. */
#include "proto/policy/sts.h"

#include "proto/number.h"
#include "proto/policy/mx.h"

static const struct slice record_version = {"v=STSv1;", 8};

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static struct slice trim(struct slice s)
{
    while (s.n && is_blank(s.p[0]))
        s = (struct slice){s.p + 1, s.n - 1};
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Cuts `s` at the first `at`. False: there is none; `before` is all of it, and nothing is left. */
static bool cut(struct slice *s, char at, struct slice *before)
{
    const char *found = s->n ? memchr(s->p, at, s->n) : NULL;
    *before = *s;
    if (!found) {
        *s = (struct slice){s->p + s->n, 0};
        return false;
    }
    before->n = (size_t)(found - s->p);
    *s = (struct slice){found + 1, s->n - before->n - 1};
    return true;
}

/* A field's name: a letter or digit, then up to 31 of these or "_-." (§3.1, §3.2). */
static bool is_name(struct slice s)
{
    if (s.n == 0 || s.n > 32)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alnum(s.p[i]) && (i == 0 || !memchr("_-.", s.p[i], 3)))
            return false;
    return true;
}

/* ---- the TXT record ---- */

static bool is_id(struct slice s)
{
    if (s.n == 0 || s.n > STS_ID)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alnum(s.p[i]))
            return false;
    return true;
}

/* What stands behind the "=" of a field that we do not know: visible, without ";" and "=" (§3.1). */
static bool is_extension(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || s.p[i] == '=')
            return false;
    return s.n > 0;
}

bool sts_record_read(struct slice text, char id[STS_ID + 1])
{
    bool found = false;
    if (!slice_starts_with(text, record_version))
        return false;
    text = (struct slice){text.p + record_version.n, text.n - record_version.n};
    for (bool more = true; more;) {
        struct slice field, name;
        more = cut(&text, ';', &field);
        field = trim(field);
        if (field.n == 0 && !more)
            break; /* behind the last ";" */
        if (!cut(&field, '=', &name) || !is_name(name))
            return false;
        if (!slice_equal(name, SLICE("id"))) {
            if (!is_extension(field))
                return false;
        } else if (!is_id(field)) {
            return false;
        } else if (!found) { /* the first counts (§3.2) */
            slice_copy(id, STS_ID + 1, field);
            found = true;
        }
    }
    return found;
}

bool sts_records_read(const struct slice *texts, unsigned count, char id[STS_ID + 1])
{
    const struct slice *only = NULL;
    for (unsigned i = 0; i < count; i++) {
        if (!slice_starts_with(texts[i], record_version))
            continue;
        if (only)
            return false;
        only = &texts[i];
    }
    return only && sts_record_read(*only, id);
}

/* ---- the policy file ---- */

const char *sts_mode_name(enum sts_mode mode)
{
    static const char *const names[] = {
        [STS_BROKEN] = "broken", [STS_NONE] = "none", [STS_TESTING] = "testing", [STS_ENFORCE] = "enforce"};
    sluice_assert(mode < countof(names));
    return names[mode];
}

static enum sts_mode mode_of(struct slice text)
{
    for (enum sts_mode mode = STS_NONE; mode <= STS_ENFORCE; mode++)
        if (slice_equal(text, slice_of(sts_mode_name(mode))))
            return mode;
    return STS_BROKEN;
}

static bool add_pattern(struct sts_policy *policy, struct slice pattern, const char **why)
{
    struct slice name = pattern;
    if (slice_starts_with(name, SLICE("*.")))
        name = (struct slice){name.p + 2, name.n - 2};
    if (!mx_host_is_name(name) || name.p[name.n - 1] == '.') {
        *why = "mx is no name of a host";
        return false;
    }
    if (pattern.n + 1 > sizeof policy->mx - policy->mx_octets) {
        *why = "too many mx";
        return false;
    }
    for (size_t i = 0; i < pattern.n; i++)
        policy->mx[policy->mx_octets++] = ascii_lower(pattern.p[i]);
    policy->mx[policy->mx_octets++] = 0;
    return true;
}

struct seen {
    bool version, max_age;
};

static bool take_field(struct sts_policy *policy, struct slice name, struct slice value, struct seen *seen,
                       const char **why)
{
    uint64_t seconds;
    if (slice_equal(name, SLICE("mx")))
        return add_pattern(policy, value, why);
    if (slice_equal(name, SLICE("version")) && !seen->version) {
        seen->version = true;
        *why = "version is not STSv1";
        return slice_equal(value, SLICE("STSv1"));
    }
    if (slice_equal(name, SLICE("mode")) && policy->mode == STS_BROKEN) {
        policy->mode = mode_of(value);
        *why = "mode is none of enforce, testing, none";
        return policy->mode != STS_BROKEN;
    }
    if (slice_equal(name, SLICE("max_age")) && !seen->max_age) {
        seen->max_age = true;
        *why = "max_age is no number of seconds";
        if (value.n > 10 || !number_parse(value, UINT64_MAX, &seconds))
            return false;
        policy->max_age_s = seconds > STS_MAX_AGE_S ? STS_MAX_AGE_S : (uint32_t)seconds;
    }
    return true;
}

bool sts_policy_read(struct slice file, struct sts_policy *policy, const char **why)
{
    struct seen seen = {.version = false};
    policy->mode = STS_BROKEN;
    policy->max_age_s = 0;
    policy->mx_octets = 0;
    while (file.n) {
        struct slice line, name;
        cut(&file, '\n', &line);
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        line = trim(line);
        if (line.n == 0)
            continue; /* the grammar has no empty lines, editors have */
        *why = "a line is no field";
        if (memchr(line.p, 0, line.n) || !cut(&line, ':', &name) || !is_name(name))
            return false;
        if (!take_field(policy, name, trim(line), &seen, why))
            return false;
    }
    *why = !seen.version                                        ? "no version"
           : policy->mode == STS_BROKEN                         ? "no mode"
           : !seen.max_age                                      ? "no max_age"
           : policy->mode != STS_NONE && policy->mx_octets == 0 ? "no mx"
                                                                : "";
    return (*why)[0] == 0;
}

bool sts_policy_allows(const struct sts_policy *policy, struct slice host)
{
    if (host.n && host.p[host.n - 1] == '.')
        host.n--;
    struct slice below = host, label; /* what stands behind its first label */
    bool has_parent = cut(&below, '.', &label) && label.n && below.n;
    for (size_t at = 0; at < policy->mx_octets;) {
        struct slice pattern = slice_of(policy->mx + at);
        at += pattern.n + 1;
        if (!slice_starts_with(pattern, SLICE("*."))) {
            if (slice_equal_nocase(pattern, host))
                return true;
        } else if (has_parent && slice_equal_nocase((struct slice){pattern.p + 2, pattern.n - 2}, below)) {
            return true;
        }
    }
    return false;
}
