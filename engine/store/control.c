/* What people say by hand holds on every engine until they take it back; this file writes and reads it. */
#include "store/control.h"

#include "proto/number.h"
#include "store/step.h"

#include <stdio.h>

static const char wake[] = ":control";

/* ---- scopes and values ---- */

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

/* ---- steps ---- */

bool store_control_woken(struct slice message) { return slice_equal(message, slice_of(wake)); }

void store_control(struct store *store, struct store_request *r)
{
    step_begin_command(store, "HGETALL");
    step_global_key(store, "control", SLICE(""));
    step_ask(store, r, step_read_command, 0);
}

static void read_told(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer = {.result = STORE_OK, .number = r->number};
    (void)reply;
    (void)repeated;
    step_done(store, r, &answer);
}

/* The entry of sluice:ops was put together when the step was asked for. */
static void read_woken(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    (void)reply;
    (void)repeated;
    const struct control_note *note = r->control;
    const char *const pairs[][2] = {{"control", note->scope},
                                    {"change", note->change},
                                    {"by", note->by},
                                    {"reason", note->reason},
                                    {"engine", store->engine}};
    step_begin_ops(store);
    for (size_t i = 0; i < countof(pairs); i++) {
        step_text(store, pairs[i][0]);
        step_text(store, pairs[i][1]);
    }
    step_ask(store, r, read_told, 0);
    redis_flush(store->redis);
}

static void read_changed(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    (void)reply;
    (void)repeated;
    step_begin_command(store, "PUBLISH");
    step_global_key(store, "wake", SLICE(""));
    step_text(store, wake);
    step_ask(store, r, read_woken, 0);
    redis_flush(store->redis);
}

static void take_note(struct store_request *r, struct control_note *note, struct slice scope, struct slice by,
                      struct slice reason)
{
    r->control = note;
    slice_copy(note->scope, sizeof note->scope, scope);
    slice_copy(note->by, sizeof note->by, by);
    slice_copy(note->reason, sizeof note->reason, reason);
}

void store_control_set(struct store *store, struct store_request *r, struct control_note *note, struct slice scope,
                       struct slice value)
{
    struct control_entry entry;
    bool parsed = control_parse(scope, value, &entry);
    sluice_assert(parsed);
    r->number = 1;
    take_note(r, note, scope, entry.by, entry.reason);
    size_t n = (size_t)snprintf(note->change, sizeof note->change, "%s", entry.kind == CONTROL_SLOW ? "slow" : "pause");
    if (entry.kind == CONTROL_SLOW)
        n += (size_t)snprintf(note->change + n, sizeof note->change - n, " to %u %%", entry.percent);
    if (entry.until_ms)
        snprintf(note->change + n, sizeof note->change - n, " until %lld", (long long)entry.until_ms);
    step_begin_command(store, "HSET");
    step_global_key(store, "control", SLICE(""));
    resp_text(&store->command, scope);
    resp_text(&store->command, value);
    step_ask(store, r, read_changed, 0);
}

/* Where the answer was lost and the entry is gone now, it may be us who took it out: that is told twice rather than not
 * at all. */
static void read_removed(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    r->number = resp_to_number(resp_member(reply, 0)) == 1 || repeated;
    if (r->number)
        read_changed(store, r, reply, repeated);
    else
        read_told(store, r, reply, repeated);
}

void store_control_remove(struct store *store, struct store_request *r, struct control_note *note, struct slice scope,
                          struct slice value, struct slice by, struct slice why)
{
    take_note(r, note, scope, by, why);
    snprintf(note->change, sizeof note->change, "resume");
    step_begin_single(store, "control_remove", "control", SLICE(""));
    resp_text(&store->command, scope);
    resp_text(&store->command, value);
    step_ask(store, r, read_removed, 0);
}
