/* What is said by hand stands in Redis as text for people, and may be anything; here it is understood. */
#include "store/control.h"

#include "proto/number.h"

#include <stdio.h>

static const struct {
    const char *prefix;
    enum control_scope scope;
} scopes[] = {{"isp:", CONTROL_ISP},
              {"source:", CONTROL_SOURCE},
              {"lane:", CONTROL_LANE},
              {"campaign:", CONTROL_CAMPAIGN},
              {"pool:", CONTROL_POOL}};

bool control_scope_parse(struct slice text, struct control_entry *entry)
{
    if (text.n > CONTROL_SCOPE_MAX)
        return false;
    for (size_t i = 0; i < countof(scopes); i++) {
        struct slice prefix = slice_of(scopes[i].prefix);
        if (!slice_starts_with(text, prefix) || text.n == prefix.n)
            continue;
        entry->scope = scopes[i].scope;
        entry->name = (struct slice){text.p + prefix.n, text.n - prefix.n};
        entry->isp = (struct slice){text.p, 0};
        if (entry->scope != CONTROL_LANE)
            return true;
        const char *slash = memchr(entry->name.p, '/', entry->name.n);
        if (!slash || slash == entry->name.p || slash + 1 == text.p + text.n)
            return false;
        entry->isp = (struct slice){slash + 1, (size_t)(text.p + text.n - slash - 1)};
        entry->name.n = (size_t)(slash - entry->name.p);
        return true;
    }
    return false;
}

/* The next word, taken off. */
static struct slice word(struct slice *text)
{
    const char *space = memchr(text->p, ' ', text->n);
    struct slice first = {text->p, space ? (size_t)(space - text->p) : text->n};
    size_t skip = first.n + (space != NULL);
    *text = (struct slice){text->p + skip, text->n - skip};
    return first;
}

static bool understand(struct slice value, struct control_entry *entry)
{
    static const uint64_t far = INT64_MAX / NSEC_PER_MS; /* the year 2262 */
    struct slice kind = word(&value);
    uint64_t percent, until_ms, at_ms;
    bool slow = slice_equal(kind, SLICE("slow"));
    if ((!slow && !slice_equal(kind, SLICE("pause"))) || !number_parse(word(&value), 99, &percent) ||
        !number_parse(word(&value), far, &until_ms) || !number_parse(word(&value), far, &at_ms) ||
        (slow && percent < 1))
        return false;
    entry->kind = slow ? CONTROL_SLOW : CONTROL_PAUSE;
    entry->percent = slow ? (unsigned)percent : 0;
    entry->until_ms = (int64_t)until_ms;
    entry->at_ms = (int64_t)at_ms;
    entry->by = word(&value);
    entry->reason = value;
    return true;
}

bool control_parse(struct slice scope, struct slice value, struct control_entry *entry)
{
    *entry = (struct control_entry){0};
    if (!control_scope_parse(scope, entry))
        return false;
    struct control_entry scoped = *entry;
    if (!understand(value, entry)) {
        *entry = scoped;
        entry->kind = CONTROL_PAUSE;
        entry->by = SLICE("?");
        entry->reason = SLICE("what stands in sluice:control is not understood");
    }
    return true;
}

size_t control_write(const struct control_entry *entry, char value[CONTROL_VALUE_MAX])
{
    int n =
        snprintf(value, CONTROL_VALUE_MAX, "%s %u %lld %lld %.*s %.*s", entry->kind == CONTROL_SLOW ? "slow" : "pause",
                 entry->percent, (long long)entry->until_ms, (long long)entry->at_ms,
                 (int)(entry->by.n < CONTROL_BY_MAX ? entry->by.n : CONTROL_BY_MAX), entry->by.p,
                 (int)(entry->reason.n < CONTROL_REASON_MAX ? entry->reason.n : CONTROL_REASON_MAX), entry->reason.p);
    sluice_assert(n > 0 && n < CONTROL_VALUE_MAX);
    return (size_t)n;
}

bool store_control_woken(struct slice message) { return slice_equal(message, SLICE(STORE_CONTROL_WAKE)); }
