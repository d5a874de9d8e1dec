/* Reads a campaign's state for the commands that show it. */
#include "cli/counts.h"

#include "proto/event.h"

#include <jansson.h>

bool counts_id_is_plain(const char *campaign)
{
    size_t n = strlen(campaign);
    bool plain = n >= 1 && n <= LIMIT_CAMPAIGN_ID;
    for (const char *p = campaign; plain && *p; p++)
        plain = ascii_is_alnum(*p) || strchr("._-", *p);
    return plain;
}

bool counts_id_fits(const char *campaign)
{
    bool fits = counts_id_is_plain(campaign);
    if (!fits)
        cli_error("\"%s\" is no campaign id; it is 1 to %d letters, digits and . _ -", campaign, LIMIT_CAMPAIGN_ID);
    return fits;
}

bool counts_look(struct ask *ask, struct slice campaign, struct counts *counts)
{
    static const enum event_type finals[] = {EVENT_DELIVERED,  EVENT_BOUNCED, EVENT_EXPIRED,
                                             EVENT_SUPPRESSED, EVENT_INVALID, EVENT_CANCELLED};
    store_look(ask->store, ask_request(&counts->answer), campaign, &counts->view);
    if (!ask_wait(ask, &counts->answer))
        return false;
    counts->state = counts->answer.state;
    counts->ended = 0;
    for (size_t i = 0; i < countof(finals); i++)
        counts->ended += counts->view.totals[finals[i]];
    /* In doubt is the end only where the campaign says that such recipients are dropped. */
    if (slice_equal(counts_field(counts, "in_doubt"), SLICE("drop")))
        counts->ended += counts->view.totals[EVENT_IN_DOUBT];
    counts->open = counts->view.pushed > counts->ended ? counts->view.pushed - counts->ended : 0;
    return true;
}

void counts_free(struct counts *counts) { ask_free(&counts->answer); }

const char *counts_phase(const struct counts *counts) { return counts->view.phase[0] ? counts->view.phase : "new"; }

bool counts_over(const struct counts *counts)
{
    return strcmp(counts->view.phase, "done") == 0 || strcmp(counts->view.phase, "cancelled") == 0;
}

bool counts_only_held(const struct counts *counts)
{
    const struct store_view *view = &counts->view;
    return strcmp(view->phase, "waiting") == 0 && view->held && view->taken == view->pushed && !view->leases &&
           !view->parked && !view->retry;
}

const char *counts_state(const struct counts *counts)
{
    return counts->state == STORE_PAUSED ? "paused" : counts->state == STORE_CANCELLED ? "cancelled" : "running";
}

struct slice counts_field(const struct counts *counts, const char *name)
{
    return slice_field(counts->answer.items, counts->answer.item_count, slice_of(name));
}

/* JSON takes UTF-8 only; what is none is left out. */
static void set_text(json_t *object, const char *name, struct slice text)
{
    json_t *value = json_stringn(text.p, text.n);
    json_object_set_new(object, name, value ? value : json_null());
}

json_t *counts_json(const struct counts *counts, const char *campaign)
{
    static const char *const fields[] = {"from", "subject", "pool", "sealed", "unique", "in_doubt"};
    const struct store_view *view = &counts->view;
    json_t *json = json_object(), *totals = json_object();
    set_text(json, "campaign", slice_of(campaign));
    set_text(json, "phase", slice_of(counts_phase(counts)));
    set_text(json, "reason", slice_of(view->reason));
    set_text(json, "state", slice_of(counts_state(counts)));
    for (size_t i = 0; i < countof(fields); i++)
        set_text(json, fields[i], counts_field(counts, fields[i]));
    json_object_set_new(json, "pushed", json_integer((json_int_t)view->pushed));
    json_object_set_new(json, "taken", json_integer((json_int_t)view->taken));
    json_object_set_new(json, "ended", json_integer((json_int_t)counts->ended));
    json_object_set_new(json, "parked", json_integer((json_int_t)view->parked));
    json_object_set_new(json, "retry", json_integer((json_int_t)view->retry));
    json_object_set_new(json, "held", json_integer((json_int_t)view->held));
    json_object_set_new(json, "leases", json_integer((json_int_t)view->leases));
    json_object_set_new(json, "retry_due_ms", json_integer(view->retry_due_ms));
    for (unsigned type = EVENT_DELIVERED; type < EVENT_TYPE_COUNT; type++) {
        struct slice name = event_type_name((enum event_type)type);
        char text[32];
        slice_copy(text, sizeof text, name);
        json_object_set_new(totals, text, json_integer((json_int_t)view->totals[type]));
    }
    json_object_set_new(json, "totals", totals);
    return json;
}
