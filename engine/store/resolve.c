/* Whoever is in doubt waits for people, who alone can weigh a copy too many against one too few; this is their word. */
#include "store/resolve.h"

#include "store/step.h"

static void read_resolved(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer;
    if (step_head(reply, &answer))
        answer.number = repeated ? r->number : resp_to_number(resp_member(reply, 2));
    step_done(store, r, &answer);
}

void store_resolve(struct store *store, struct store_request *r, struct slice campaign,
                   const struct store_resolution *list, unsigned count, int64_t due_ms)
{
    sluice_assert(count > 0 && count <= RESOLVE_MOST);
    r->number = count;
    step_begin(store, "resolve", campaign, 0);
    resp_unsigned(&store->command, count);
    for (unsigned i = 0; i < count; i++) {
        step_text(store, list[i].event ? "D" : "R");
        resp_text(&store->command, list[i].record);
        if (list[i].event)
            step_event(store, list[i].event, false);
        else
            resp_number(&store->command, due_ms);
    }
    step_ask(store, r, read_resolved, 0);
}
