/* People write a campaign's hash in any order and at any time; this file turns what is there now into something that
 * can be sent, or into the reason why it cannot. */
#include "flow/campaign.h"

#include "flow/turns.h"

#include "control/zone_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct slice field(const struct slice *items, unsigned count, const char *name)
{
    return slice_field(items, count, slice_of(name));
}

static uint64_t version_of(const struct slice *items, unsigned count)
{
    uint64_t h = 14695981039346656037u;
    for (unsigned i = 0; i < count; i++) {
        h = (h ^ items[i].n) * 1099511628211u; /* lengths keep "a","bc" and "ab","c" apart */
        for (size_t j = 0; j < items[i].n; j++)
            h = (h ^ (unsigned char)items[i].p[j]) * 1099511628211u;
    }
    return h | 1; /* 0 is: none yet */
}

printf_like(2, 3) static bool incomplete(struct campaign *campaign, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(campaign->reason, sizeof campaign->reason, format, arguments);
    va_end(arguments);
    return false;
}

/* ---- fields that are not the message's ---- */

static bool flag(struct campaign *campaign, struct slice value, const char *name, bool *to)
{
    *to = slice_equal(value, SLICE("1"));
    if (*to || value.n == 0 || slice_equal(value, SLICE("0")))
        return true;
    return incomplete(campaign, "%s: must be 0 or 1, is \"%.*s\"", name, (int)(value.n < 40 ? value.n : 40), value.p);
}

static bool number(struct campaign *campaign, struct slice value, const char *name, uint64_t *to)
{
    *to = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9' || i > 17)
            return incomplete(campaign, "%s: must be a whole number, is \"%.*s\"", name,
                              (int)(value.n < 40 ? value.n : 40), value.p);
        *to = *to * 10 + (uint64_t)(value.p[i] - '0');
    }
    return true;
}

static bool weight(struct campaign *campaign, struct slice value)
{
    uint64_t n = TURNS_WEIGHT;
    if (value.n && !number(campaign, value, "weight", &n))
        return false;
    if (n < 1 || n > TURNS_WEIGHT_MAX)
        return incomplete(campaign, "weight: must be 1 to %d, is %llu", TURNS_WEIGHT_MAX, (unsigned long long)n);
    campaign->weight = (unsigned)n;
    return true;
}

/* One of several words; the index of the one that stands there, or `otherwise` for an empty field; -1: none of them. */
static int word(struct campaign *campaign, struct slice value, const char *name, const char *const *words,
                unsigned count, int otherwise)
{
    if (!value.n)
        return otherwise;
    char allowed[128];
    size_t n = 0;
    for (unsigned i = 0; i < count; i++) {
        if (slice_equal(value, slice_of(words[i])))
            return (int)i;
        n += (size_t)snprintf(allowed + n, sizeof allowed - n, "%s%s", i ? ", " : "", words[i]);
    }
    incomplete(campaign, "%s: must be one of %s, is \"%.*s\"", name, allowed, (int)(value.n < 40 ? value.n : 40),
               value.p);
    return -1;
}

static void forget_windows(struct campaign *campaign)
{
    free(campaign->zone_bytes);
    campaign->zone_bytes = NULL;
    campaign->hours.windows.count = 0;
    campaign->clock_ms = 0;
    campaign->shut = campaign->over = false;
}

static bool take_windows(struct campaign *campaign, struct slice value)
{
    char why[256];
    forget_windows(campaign);
    return !value.n || zone_file_windows(value, &campaign->hours, &campaign->zone_bytes, why, sizeof why) ||
           incomplete(campaign, "windows: %s", why);
}

static bool take_settings(struct campaign *campaign, const struct config *config, const struct slice *items,
                          unsigned count)
{
    static const char *const doubts[] = {"hold", "resend", "drop"};
    static const char *const forms[] = {"brief", "full"};
    static const char *const states[] = {"running", "paused", "cancelled"};
    static const char *const priorities[] = {"normal", "high"};
    uint64_t not_before, not_after;
    bool verp;
    struct slice keep = field(items, count, "keep");
    if (!flag(campaign, field(items, count, "unique"), "unique", &campaign->unique) ||
        !flag(campaign, field(items, count, "sealed"), "sealed", &campaign->sealed) ||
        !flag(campaign, field(items, count, "verp"), "verp", &verp) ||
        !number(campaign, keep, "keep", &campaign->keep_s) || !weight(campaign, field(items, count, "weight")) ||
        !number(campaign, field(items, count, "not_before"), "not_before", &not_before) ||
        !number(campaign, field(items, count, "not_after"), "not_after", &not_after))
        return false;
    if (!take_windows(campaign, field(items, count, "windows")))
        return false;
    if (verp && !config->token_key[0])
        return incomplete(campaign, "verp: the engine's configuration names no token_key");
    if (!keep.n)
        campaign->keep_s = config->keep_s;
    campaign->hours.not_before_ms = (int64_t)not_before * 1000;
    campaign->hours.not_after_ms = (int64_t)not_after * 1000;
    int doubt = word(campaign, field(items, count, "in_doubt"), "in_doubt", doubts, countof(doubts), 0);
    int form = word(campaign, field(items, count, "events"), "events", forms, countof(forms), 0);
    int state = word(campaign, field(items, count, "state"), "state", states, countof(states), 0);
    int priority = word(campaign, field(items, count, "priority"), "priority", priorities, countof(priorities), 0);
    if (doubt < 0 || form < 0 || state < 0 || priority < 0)
        return false;
    campaign->moves |= campaign->high != (priority == 1);
    campaign->high = priority == 1;
    campaign->doubt = (enum campaign_doubt)(DOUBT_HOLD + doubt);
    campaign->full = form == 1;
    return true;
}

/* A pool that is not in this engine's configuration may be in another's: the campaign waits. */
static void take_pool(struct campaign *campaign, const struct config *config, struct slice name)
{
    const struct config_pool *pool = config_pool_meant(config, &name);
    campaign->pool = pool ? (int)(pool - config->pools) : -1;
    if (!pool && name.n)
        snprintf(campaign->reason, sizeof campaign->reason, "no engine here serves pool \"%.*s\"",
                 (int)(name.n < LIMIT_POOL_NAME ? name.n : LIMIT_POOL_NAME), name.p);
    else if (!pool)
        snprintf(campaign->reason, sizeof campaign->reason, "names no pool, and there is no default_pool");
}

/* ---- the message ---- */

static void forget_edition(struct campaign *campaign)
{
    if (campaign->edition)
        edition_retire(campaign->edition);
    campaign->edition = NULL;
    campaign->complete = false;
}

void campaign_update(struct campaign *campaign, const struct config *config, struct editions *editions,
                     const struct slice *items, unsigned count)
{
    campaign->looked = true;
    uint64_t version = version_of(items, count);
    if (version == campaign->version)
        return;
    campaign->version = version;
    campaign->reason[0] = 0;
    campaign->pool = -1;
    campaign->sealed = false;
    forget_edition(campaign);
    if (!campaign->view.exists || count == 0) {
        incomplete(campaign, "its hash does not exist yet");
        return;
    }
    if (!take_settings(campaign, config, items, count))
        return;
    campaign->edition = edition_make(editions, items, count, campaign->reason, sizeof campaign->reason);
    campaign->complete = campaign->edition != NULL;
    if (campaign->complete)
        take_pool(campaign, config, field(items, count, "pool"));
}

void campaign_refused(struct campaign *campaign, struct slice error)
{
    campaign->complete = false;
    slice_copy(campaign->reason, sizeof campaign->reason, error);
    campaign->version = 0; /* the next look that is answered compiles it again */
}

void campaign_drop(struct campaign *campaign)
{
    forget_edition(campaign);
    forget_windows(campaign);
}

/* ---- the hour ---- */

static void say_shut(struct campaign *campaign, const char *what, int64_t until_ms)
{
    time_t seconds = (time_t)(until_ms / 1000);
    struct tm tm;
    char until[32] = "later";
    if (gmtime_r(&seconds, &tm))
        strftime(until, sizeof until, "%Y-%m-%dT%H:%M:%SZ", &tm);
    snprintf(campaign->shut_why, sizeof campaign->shut_why, "%s%s", what, until);
}

void campaign_clock(struct campaign *campaign, int64_t now_ms)
{
    campaign->shut = campaign->over = false;
    campaign->clock_ms = INT64_MAX;
    if (!campaign->complete)
        return;
    enum hours_now is = hours_ask(&campaign->hours, now_ms, &campaign->clock_ms);
    campaign->over = is == HOURS_OVER;
    campaign->shut = is == HOURS_OUTSIDE || is == HOURS_EARLY;
    if (is == HOURS_OUTSIDE)
        say_shut(campaign, "outside its windows until ", campaign->clock_ms);
    if (is == HOURS_EARLY)
        say_shut(campaign, "not_before has not come: ", campaign->hours.not_before_ms);
}

bool campaign_owes_nothing(const struct campaign *campaign)
{
    const struct store_view *view = &campaign->view;
    return campaign->looked && view->taken == view->pushed && !view->parked && !view->retry && !view->held &&
           !view->leases && !campaign->attempts;
}

static const char *waits(struct slice *reason, const char *why)
{
    *reason = slice_of(why);
    return "waiting";
}

/* What is left waits for people to say whether it is sent again. */
static bool only_held_is_left(const struct store_view *view)
{
    return view->held && view->taken == view->pushed && !view->leases && !view->parked && !view->retry;
}

const char *campaign_phase(const struct campaign *campaign, struct slice *reason)
{
    bool cancelled = campaign->state == STORE_CANCELLED;
    *reason = slice_of(campaign->reason);
    if (!cancelled && !campaign->complete)
        return "incomplete";
    if (campaign->state == STORE_PAUSED)
        return waits(reason, "paused");
    if (!cancelled && campaign->held)
        return waits(reason, campaign->held_why);
    if (!cancelled && campaign->pool < 0)
        return "waiting";
    if (!campaign_ends(campaign) && campaign->shut)
        return waits(reason, campaign->shut_why);
    *reason = SLICE("");
    if (campaign_owes_nothing(campaign))
        return cancelled ? "cancelled" : campaign->sealed ? "done" : "idle";
    if (campaign->unread)
        return waits(reason, "events not read");
    if (only_held_is_left(&campaign->view))
        return waits(reason, "recipients in doubt are held");
    return "sending";
}
