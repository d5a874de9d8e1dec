/* People write a campaign's hash in any order and at any time; this file turns what is there now into something that
 * can be sent, or into the reason why it cannot. */
#include "flow/campaign.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/idn.h"
#include "proto/smtp/address.h"

static struct slice field(const struct slice *items, unsigned count, const char *name)
{
    for (unsigned i = 0; i + 1 < count; i += 2)
        if (slice_equal(items[i], slice_of(name)))
            return items[i + 1];
    return (struct slice){"", 0};
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

static bool take_settings(struct campaign *campaign, const struct config *config, const struct slice *items,
                          unsigned count)
{
    static const char *const doubts[] = {"hold", "resend", "drop"};
    static const char *const forms[] = {"brief", "full"};
    static const char *const states[] = {"running", "paused", "cancelled"};
    uint64_t not_before, not_after;
    struct slice keep = field(items, count, "keep");
    if (!flag(campaign, field(items, count, "unique"), "unique", &campaign->unique) ||
        !flag(campaign, field(items, count, "sealed"), "sealed", &campaign->sealed) ||
        !number(campaign, keep, "keep", &campaign->keep_s) ||
        !number(campaign, field(items, count, "not_before"), "not_before", &not_before) ||
        !number(campaign, field(items, count, "not_after"), "not_after", &not_after))
        return false;
    if (!keep.n)
        campaign->keep_s = config->keep_s;
    campaign->not_before_ms = (int64_t)not_before * 1000;
    campaign->not_after_ms = (int64_t)not_after * 1000;
    int doubt = word(campaign, field(items, count, "in_doubt"), "in_doubt", doubts, countof(doubts), 0);
    int form = word(campaign, field(items, count, "events"), "events", forms, countof(forms), 0);
    int state = word(campaign, field(items, count, "state"), "state", states, countof(states), 0);
    if (doubt < 0 || form < 0 || state < 0)
        return false;
    campaign->doubt = (enum campaign_doubt)(DOUBT_HOLD + doubt);
    campaign->full = form == 1;
    return true;
}

/* A pool that is not in this engine's configuration may be in another's: the campaign waits. */
static void take_pool(struct campaign *campaign, const struct config *config, struct slice name)
{
    if (!name.n)
        name = slice_of(config->default_pool);
    const struct config_pool *pool = name.n                    ? config_pool_find(config, name)
                                     : config->pool_count == 1 ? &config->pools[0]
                                                               : NULL;
    campaign->pool = pool ? (int)(pool - config->pools) : -1;
    if (!pool && name.n)
        snprintf(campaign->reason, sizeof campaign->reason, "no engine here serves pool \"%.*s\"",
                 (int)(name.n < LIMIT_POOL_NAME ? name.n : LIMIT_POOL_NAME), name.p);
    else if (!pool)
        snprintf(campaign->reason, sizeof campaign->reason, "names no pool, and there is no default_pool");
}

/* ---- the message ---- */

static bool take_return_path(struct campaign *campaign, struct slice given)
{
    struct slice from = given.n ? given : message_plan_sender(campaign->plan);
    const char *name = given.n ? "return_path" : "from";
    struct address address;
    struct address_fault fault;
    if (!from.n)
        return incomplete(campaign, "return_path: is needed, because the address in from holds merge fields");
    if (!address_parse(from, &address, &fault))
        return incomplete(campaign, "%s: %s, at byte %zu", name, fault.reason, fault.position);
    char domain[LIMIT_DOMAIN + 1];
    if (!idn_to_ascii(address.domain, domain))
        return incomplete(campaign, "%s: the domain is no host name", name);
    int n = snprintf(campaign->from, sizeof campaign->from, "%.*s@%s", (int)address.local.n, address.local.p, domain);
    if (n < 0 || (size_t)n >= sizeof campaign->from)
        return incomplete(campaign, "%s: is longer than %d octets", name, LIMIT_ADDRESS);
    return true;
}

static void forget_plan(struct campaign *campaign)
{
    free(campaign->fields);
    campaign->fields = NULL;
    campaign->plan = NULL;
    campaign->complete = false;
}

/* One block: the slices, the bytes they point to, and behind them the plan. */
static bool take_message(struct campaign *campaign, const struct slice *items, unsigned count)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++)
        bytes += items[i].n;
    size_t room = message_plan_room(items, count), head = count * sizeof(struct slice);
    head = (head + bytes + 63) & ~(size_t)63;
    campaign->fields = aligned_alloc(64, (head + room + 63) & ~(size_t)63);
    if (!campaign->fields)
        return incomplete(campaign, "no memory for a message of %zu bytes", bytes);
    char *at = (char *)(campaign->fields + count);
    for (unsigned i = 0; i < count; i++) {
        if (items[i].n)
            memcpy(at, items[i].p, items[i].n);
        campaign->fields[i] = (struct slice){at, items[i].n};
        at += items[i].n;
    }
    struct message_error error;
    campaign->plan = message_plan_make(campaign->fields, count, (char *)campaign->fields + head, room, NULL, &error);
    if (!campaign->plan) {
        message_error_text(&error, campaign->reason, sizeof campaign->reason);
        return false;
    }
    return take_return_path(campaign, field(campaign->fields, count, "return_path"));
}

void campaign_update(struct campaign *campaign, const struct config *config, const struct slice *items, unsigned count)
{
    campaign->looked = true;
    uint64_t version = version_of(items, count);
    if (version == campaign->version)
        return;
    campaign->version = version;
    campaign->reason[0] = 0;
    campaign->pool = -1;
    campaign->sealed = false;
    forget_plan(campaign);
    if (!campaign->view.exists || count == 0) {
        incomplete(campaign, "its hash does not exist yet");
        return;
    }
    campaign->complete = take_settings(campaign, config, items, count) && take_message(campaign, items, count);
    if (campaign->complete)
        take_pool(campaign, config, field(items, count, "pool"));
    else
        forget_plan(campaign);
}

void campaign_refused(struct campaign *campaign, struct slice error)
{
    campaign->complete = false;
    slice_copy(campaign->reason, sizeof campaign->reason, error);
    campaign->version = 0; /* the next look that is answered compiles it again */
}

void campaign_drop(struct campaign *campaign) { forget_plan(campaign); }

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

const char *campaign_phase(const struct campaign *campaign, int64_t now_ms, struct slice *reason)
{
    bool cancelled = campaign->state == STORE_CANCELLED;
    *reason = slice_of(campaign->reason);
    if (!cancelled && !campaign->complete)
        return "incomplete";
    if (campaign->state == STORE_PAUSED)
        return waits(reason, "paused");
    if (!cancelled && campaign->pool < 0)
        return "waiting";
    if (!cancelled && campaign->not_before_ms > now_ms)
        return waits(reason, "not_before has not come");
    *reason = SLICE("");
    if (campaign_owes_nothing(campaign))
        return cancelled ? "cancelled" : campaign->sealed ? "done" : "idle";
    if (campaign->unread)
        return waits(reason, "events not read");
    if (only_held_is_left(&campaign->view))
        return waits(reason, "recipients in doubt are held");
    return "sending";
}
