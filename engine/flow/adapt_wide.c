/* Some refusals are about who the mail says that it is from, or about what it says: others of the same lane go on, and
 * these wait. */
#include "flow/adapt.h"
#include "flow/shard.h"

static const nsec answer_within = 300 * NSEC_PER_S;
enum { HITS = 3 }; /* refusals of one campaign's content, with none taken in between, that hold it back */

static struct slice domain_of(struct slice address)
{
    const char *at = address.n ? memrchr(address.p, '@', address.n) : NULL;
    return at ? (struct slice){at + 1, address.n - (size_t)(at + 1 - address.p)} : SLICE("");
}

static struct slice from_domain(const struct campaign *campaign)
{
    if (!campaign->edition)
        return SLICE("");
    struct slice sender = message_plan_sender(campaign->edition->plan);
    return domain_of(sender.n ? sender : slice_of(campaign->edition->return_path));
}

static struct adapt_scope *wide_scope(const struct shard *shard, const struct campaign *campaign, struct slice isp,
                                      enum rule_scope kind)
{
    struct slice tail = kind == RULE_CAMPAIGN ? slice_of(campaign->id) : from_domain(campaign);
    return tail.n ? adapt_find(shard, kind, 0, isp, tail) : NULL;
}

void adapt_ask_wide(struct shard *shard, const struct campaign *campaign, struct slice isp, enum rule_scope kind,
                    const struct adapt_word *word)
{
    struct slice tail = kind == RULE_CAMPAIGN ? slice_of(campaign->id) : from_domain(campaign);
    struct adapt_scope *scope = tail.n ? adapt_get(shard, kind, 0, isp, tail) : NULL;
    const struct config_limits *limits = config_limits_for(shard->config, isp);
    struct adapt_lane view = {.connections = 1, .open = 1, .started = word->started};
    if (!scope || !limits->adapt.on)
        return;
    adapt_remember(scope, word);
    scope->asking_since = 0;
    scope->hit_at = io_now(shard->io);
    if (kind == RULE_CAMPAIGN && ++scope->hits < HITS && scope->state.mode == ADAPT_OPEN)
        return;
    if (adapt_asked(&scope->state, &limits->adapt, &word->ask, &view, io_now(shard->io))) {
        scope->alert |= word->alert;
        adapt_changed(scope);
    }
}

void adapt_end_wide(struct shard *shard, const struct campaign *campaign, struct slice isp, bool accepted)
{
    static const enum rule_scope kinds[] = {RULE_FROM_DOMAIN, RULE_CAMPAIGN};
    const struct config_limits *limits = config_limits_for(shard->config, isp);
    for (size_t i = 0; i < countof(kinds); i++) {
        struct adapt_scope *scope = wide_scope(shard, campaign, isp, kinds[i]);
        if (!scope)
            continue;
        scope->asking_since = 0;
        scope->accepted += accepted;
        scope->hits = accepted ? 0 : scope->hits;
        if (accepted && scope->state.mode != ADAPT_SILENT &&
            adapt_accepted(&scope->state, &limits->adapt, 1, io_now(shard->io)))
            adapt_changed(scope);
    }
}

bool adapt_holds(struct shard *shard, const struct campaign *campaign, struct slice isp, bool probe)
{
    static const enum rule_scope kinds[] = {RULE_FROM_DOMAIN, RULE_CAMPAIGN};
    struct adapt_scope *asks[countof(kinds)] = {NULL};
    if (!shard->adaptation.wide)
        return false;
    nsec now = io_now(shard->io);
    for (size_t i = 0; i < countof(kinds); i++) {
        struct adapt_scope *scope = wide_scope(shard, campaign, isp, kinds[i]);
        if (!scope || scope->state.mode == ADAPT_OPEN)
            continue;
        if (scope->state.mode == ADAPT_SILENT && now < scope->state.until)
            return true;
        if (scope->asking_since && now - scope->asking_since < answer_within)
            return true;
        asks[i] = scope;
    }
    for (size_t i = 0; i < countof(kinds) && probe; i++)
        if (asks[i])
            asks[i]->asking_since = now;
    return false;
}
