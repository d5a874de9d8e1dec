/* What a shard does about sources that are warmed up (budget.h): who waits, what counts, and what people are told. */
#include "flow/shard.h"
#include "proto/number.h"

#include <stdio.h>

static const nsec durable_after = 2 * NSEC_PER_S; /* with appendfsync everysec: one second until it is written, one more
                                                     where the disk is slow (redis.conf) */

static void on_wake(void *context, struct lane *lane)
{
    struct shard *shard = context;
    carry_mark(shard, &lane->own);
}

static void on_durability(struct store_request *request, const struct store_answer *answer);

bool carry_open_budget(struct shard *shard)
{
    struct budget_config config = {.io = shard->io,
                                   .store = shard->store,
                                   .config = shard->config,
                                   .log = &shard->log,
                                   .lanes = &shard->lanes,
                                   .wake = on_wake,
                                   .context = shard};
    shard->durability.done = on_durability;
    return budget_open(&shard->budget, &shard->arena, &config);
}

/* ---- waiting ---- */

bool carry_warm_waits(struct shard *shard, struct lane *lane)
{
    return lane->counter && lane_waited_for(lane) && budget_wait(lane, io_now(shard->io));
}

bool carry_warm_has_place(struct shard *shard, struct lane *lane)
{
    if (!lane->counter)
        return true;
    unsigned coming = lane->connecting;
    for (const struct session *session = lane->idle; session; session = session->idle_next)
        coming++;
    return coming < budget_ahead(lane, io_now(shard->io));
}

/* ---- overflow = wait ---- */

static bool waits_for(const struct config *config, unsigned source, struct slice isp)
{
    return config->sources[source].warmup >= 0 && config->sources[source].overflow == CONFIG_OVERFLOW_WAIT &&
           (config_warmup_plan(config, source, isp) || config_warmup_all(config, source));
}

int carry_dealt(const struct shard *shard, const struct attempt *attempt)
{
    const struct site *site = attempt->site;
    if (site->relay >= 0)
        return -1;
    const struct config_pool *pool = &shard->config->pools[attempt->campaign->pool];
    if (!pool->source_count)
        return -1;
    unsigned source = pool->sources[attempt->seq % pool->source_count];
    return waits_for(shard->config, source, slice_of(site->isp)) ? (int)source : -1;
}

struct backlog *carry_dealt_backlog(struct shard *shard, struct backlog *backlog, unsigned source)
{
    struct lane *lane = backlog_lane(&shard->lanes, backlog, slice_of(shard->config->sources[source].name));
    return lane && shard->lanes.held_until[source] ? &lane->own : NULL;
}

void carry_list_name(const struct shard *shard, const struct attempt *attempt, char to[LIMIT_LIST_NAME + 1])
{
    int dealt = attempt->campaign->pool >= 0 ? carry_dealt(shard, attempt) : -1;
    if (dealt < 0)
        snprintf(to, LIMIT_LIST_NAME + 1, "%s", attempt->site->list);
    else
        snprintf(to, LIMIT_LIST_NAME + 1, "%s@%s", attempt->site->list, shard->config->sources[(unsigned)dealt].name);
}

static int source_named(const struct config *config, const struct config_pool *pool, struct slice name)
{
    for (unsigned i = 0; i < pool->source_count; i++)
        if (slice_equal(slice_of(config->sources[pool->sources[i]].name), name))
            return (int)pool->sources[i];
    return -1;
}

unsigned carry_dealt_room(struct shard *shard, const struct campaign *campaign, struct slice list)
{
    enum { ANYWHERE = 100, A_FEW = 4 };
    const char *at = memchr(list.p, '@', list.n);
    struct slice isp = {list.p, (size_t)(at - list.p)}, name = {at + 1, list.n - isp.n - 1};
    int source = source_named(shard->config, &shard->config->pools[campaign->pool], name);
    bool bucket = isp.n == 4 && isp.p[0] == '~';
    if (source < 0 || (!bucket && !waits_for(shard->config, (unsigned)source, isp)))
        return ANYWHERE; /* a reload has changed that: they are placed anew */
    uint64_t hash = table_hash(isp), number = 0;
    if (bucket && !number_parse((struct slice){isp.p + 1, isp.n - 1}, ISP_BUCKETS - 1, &number))
        return 0;
    unsigned home = (bucket ? (unsigned)number : isp_bucket(hash)) % shard->shards;
    if (home != shard->index || !shard->lanes.held_until[source])
        return 0;
    if (bucket)
        return A_FEW; /* each may be of another ISP, and all share one cap */
    nsec now = io_now(shard->io);
    struct backlog *backlog = lanes_backlog(&shard->lanes, (unsigned)campaign->pool, isp, hash, now);
    struct backlog *own = backlog ? carry_dealt_backlog(shard, backlog, (unsigned)source) : NULL;
    return own ? backlog_room(own, now) + own->owner->open : 0;
}

/* ---- what counts ---- */

/* A refusal that is about one recipient or one message says nothing of the source. */
static bool is_personal(const struct verdict *verdict)
{
    return verdict->scope == RULE_RECIPIENT || verdict->scope == RULE_MESSAGE;
}

static enum budget_end end_of(const struct verdict *verdict, const struct outcome *outcome)
{
    if (!verdict) /* given back: its session ended, or was asked for too much */
        return outcome->code / 100 == 4 ? BUDGET_DEFERRED : BUDGET_OTHER;
    if (verdict->type == EVENT_DELIVERED)
        return BUDGET_ACCEPTED;
    if (outcome->happening != HAPPENING_REPLY)
        return BUDGET_OTHER;
    bool ours = verdict->scope == RULE_SOURCE || verdict->scope == RULE_LANE || verdict->scope == RULE_ISP;
    if (verdict->bounce.kind == BOUNCE_KIND_BLOCK)
        return ours ? BUDGET_STRUCK : BUDGET_BLOCKED;
    if (verdict->bounce.kind == BOUNCE_KIND_HARD)
        return BUDGET_BOUNCED;
    return verdict->type == EVENT_DEFERRED && !is_personal(verdict) ? BUDGET_DEFERRED : BUDGET_OTHER;
}

void carry_warm_ended(struct shard *shard, struct attempt *attempt, const struct outcome *outcome,
                      const struct verdict *verdict)
{
    struct budget_counter *counter = attempt->counter;
    if (!attempt->unit)
        return;
    nsec now = io_now(shard->io);
    if (!outcome->mail_left) {
        budget_release(attempt, now);
        return;
    }
    budget_commit(attempt);
    budget_count(counter, end_of(verdict, outcome), now);
}

/* Turned away before its first message: no unit was used, but a block is a block. */
void carry_warm_closed(struct shard *shard, const struct lane *lane, const struct outcome *why)
{
    if (!lane->counter || why->stage == STAGE_BROKEN || why->happening != HAPPENING_REPLY)
        return;
    struct verdict verdict = verdict_of(&shard->rules, slice_of(lane->own.isp), why);
    if (end_of(&verdict, why) == BUDGET_STRUCK)
        budget_count(lane->counter, BUDGET_STRUCK, io_now(shard->io));
}

/* ---- what people are told ---- */

bool carry_warm_say(const struct shard *shard, const struct lane *lane, char *text, size_t cap, int64_t *next_ms)
{
    nsec now = io_now(shard->io);
    if (!lane->counter)
        return false;
    nsec next = budget_say(lane, text, cap, now);
    if (next != NSEC_NEVER)
        *next_ms = (io_wall(shard->io) + (next - now)) / NSEC_PER_MS;
    return true;
}

static void set_gauges(struct shard *shard)
{
    const struct budget *budget = &shard->budget;
    metrics_set(shard->metrics, METRIC_WARMUP_GRANTED, budget->granted);
    metrics_set(shard->metrics, METRIC_WARMUP_USED, budget->used);
    metrics_set(shard->metrics, METRIC_WARMUP_RETURNED, budget->returned);
    metrics_set(shard->metrics, METRIC_WARMUP_THROWN_AWAY, budget->thrown_away);
    metrics_set(shard->metrics, METRIC_WARMUP_WAITING, budget_waiting(budget));
}

static void warn(struct shard *shard, const char *sentence, struct slice why)
{
    log_warning(&shard->log, sentence, log_slice("because", why));
}

/* What a crash of Redis may make it forget, the caps that were used up are forgotten with. */
static void on_durability(struct store_request *request, const struct store_answer *answer)
{
    static const char sentence[] = "warm-up: no cap is sure to hold across a crash of Redis";
    struct shard *shard = container_of(request, struct shard, durability);
    if (answer->result != STORE_OK) {
        warn(shard,
             "warm-up: Redis does not say whether it keeps what it acknowledged (CONFIG GET); its append-only "
             "file has to be on",
             answer->error);
        return;
    }
    bool file = slice_equal(answer->items[0], SLICE("yes")), always = slice_equal(answer->items[1], SLICE("always"));
    if (!file)
        warn(shard, sentence, SLICE("appendonly is no"));
    else if (slice_equal(answer->items[1], SLICE("no")))
        warn(shard, sentence, SLICE("appendfsync is no"));
    else if (!always && shard->config->warmup_settle < durable_after)
        warn(shard, sentence, SLICE("warmup_settle is shorter than 2s, and appendfsync is everysec"));
    if (!store_knows_server(shard->store))
        warn(shard,
             "warm-up: Redis does not say which process it is (INFO server): less may be sent after each new "
             "connection",
             SLICE("no permission"));
}

void carry_warm_tick(struct shard *shard)
{
    bool any = false;
    set_gauges(shard);
    for (unsigned i = 0; i < shard->config->source_count && !any; i++)
        any = shard->config->sources[i].warmup >= 0;
    if (shard->index != 0 || !any || shard->asked_durability || !store_connected(shard->store))
        return;
    shard->asked_durability = true;
    store_durability(shard->store, &shard->durability);
}
