/* What people say by hand holds on every engine until they take it back; this file writes and reads it. */
#include "store/control.h"

#include "store/step.h"

#include <stdio.h>

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
    link_flush(store->link);
}

static void read_changed(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    (void)reply;
    (void)repeated;
    step_begin_command(store, "PUBLISH");
    step_global_key(store, "wake", SLICE(""));
    step_text(store, STORE_CONTROL_WAKE);
    step_ask(store, r, read_woken, 0);
    link_flush(store->link);
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
