/* Asking about each recipient alone would cost as much as its event: this file asks about a turn's together, a bucket
 * of the list at a time, and hands them back in the order in which they came. */
#include "flow/suppress.h"

#include "flow/ledger.h"

#include <stdalign.h>
#include <stdio.h>
#include <time.h>

enum { ASK_ATTEMPTS = 16 };

static const nsec fresh_for = SUPPRESS_FRESH_S * NSEC_PER_S;

/* Attempts of one bucket. */
struct suppress_ask {
    struct store_request request;
    struct suppress_batch *batch;
    struct suppress_ask *next; /* of the batch, while it is gathered */
    uint8_t bucket;
    unsigned count;
    struct attempt *attempts[ASK_ATTEMPTS];
};

struct chain {
    struct attempt *first, *last;
};

/* What was given in one turn. */
struct suppress_batch {
    struct suppress *suppress;
    struct suppress_ask *asks, **asks_end;
    nsec asked_at;
    unsigned unanswered;
    struct chain fresh, aside; /* in the order in which they were given */
};

struct strike {
    struct store_request request;
    struct suppress *suppress;
};

/* ---- chains ---- */

static void chain_add(struct chain *chain, struct attempt *attempt)
{
    attempt->next = NULL;
    attempt->prev = chain->last;
    *(chain->last ? &chain->last->next : &chain->first) = attempt;
    chain->last = attempt;
}

static void chain_remove(struct chain *chain, struct attempt *attempt)
{
    *(attempt->prev ? &attempt->prev->next : &chain->first) = attempt->next;
    *(attempt->next ? &attempt->next->prev : &chain->last) = attempt->prev;
    attempt->next = attempt->prev = NULL;
}

/* ---- answers ---- */

/* "on the suppression list since 2026-11-01T08:00:00Z: bad-mailbox (campaign spring, seq 4711)" */
static struct slice say_why(struct slice value, char *text, size_t cap)
{
    struct suppress_entry entry;
    char since[48] = "", by[LIMIT_CAMPAIGN_ID + 64] = "", seq[32] = "";
    suppress_read(value, &entry);
    time_t seconds = (time_t)(entry.when_ms / 1000);
    struct tm tm;
    if (entry.when_ms && gmtime_r(&seconds, &tm))
        strftime(since, sizeof since, " since %Y-%m-%dT%H:%M:%SZ", &tm);
    if (entry.has_seq)
        snprintf(seq, sizeof seq, ", seq %llu", (unsigned long long)entry.seq);
    if (entry.campaign.n)
        snprintf(by, sizeof by, " (campaign " SLICE_FORMAT "%s)", SLICE_ARGS(entry.campaign), seq);
    size_t reason = entry.reason.n < LIMIT_EVENT_REPLY / 2 ? entry.reason.n : LIMIT_EVENT_REPLY / 2;
    int n = snprintf(text, cap, "on the suppression list%s%s%.*s%s", since, reason ? ": " : "", (int)reason,
                     reason ? entry.reason.p : "", by);
    size_t length = (size_t)n < cap ? (size_t)n : cap - 1;
    for (size_t i = 0; i < length; i++) /* people may have written anything there */
        if ((unsigned char)text[i] < ' ' || text[i] == 127)
            text[i] = '?';
    return (struct slice){text, length};
}

static void leave(struct suppress *suppress, struct chain *chain, struct attempt *attempt)
{
    chain_remove(chain, attempt);
    suppress->waiting--;
}

static void found(struct suppress_batch *batch, struct attempt *attempt, struct slice value)
{
    struct suppress *suppress = batch->suppress;
    char text[LIMIT_EVENT_REPLY + 1];
    leave(suppress, attempt->site ? &batch->aside : &batch->fresh, attempt);
    metrics_add(suppress->metrics, METRIC_LIST_FOUND, 1);
    suppress->on->found(suppress->context, attempt, say_why(value, text, sizeof text));
}

/* Who was set aside comes back in front of others: the last first. */
static void hand_back(struct suppress_batch *batch)
{
    struct suppress *suppress = batch->suppress;
    struct attempt *attempt;
    while ((attempt = batch->fresh.first)) {
        leave(suppress, &batch->fresh, attempt);
        suppress->on->passed(suppress->context, attempt, false);
    }
    while ((attempt = batch->aside.last)) {
        leave(suppress, &batch->aside, attempt);
        suppress->on->passed(suppress->context, attempt, true);
    }
    pool_give(&suppress->batches, batch);
}

/* Redis will not say, for good: it is not sent to blindly. */
static void refused(struct suppress_batch *batch, struct suppress_ask *ask, struct slice error)
{
    struct suppress *suppress = batch->suppress;
    for (unsigned i = 0; i < ask->count; i++) {
        leave(suppress, ask->attempts[i]->site ? &batch->aside : &batch->fresh, ask->attempts[i]);
        suppress->on->unknown(suppress->context, ask->attempts[i], error);
    }
}

static void answered(struct store_request *request, const struct store_answer *answer)
{
    struct suppress_ask *ask = container_of(request, struct suppress_ask, request);
    struct suppress_batch *batch = ask->batch;
    struct suppress *suppress = batch->suppress;
    if (answer->result != STORE_OK || answer->item_count != ask->count) {
        refused(batch, ask, answer->result != STORE_OK ? answer->error : SLICE("Redis answered something unexpected"));
    } else {
        for (unsigned i = 0; i < ask->count; i++) {
            ask->attempts[i]->listed_at = batch->asked_at;
            if (answer->items[i].p)
                found(batch, ask->attempts[i], answer->items[i]);
        }
    }
    pool_give(&suppress->asks, ask);
    if (--batch->unanswered == 0)
        hand_back(batch);
}

/* ---- asking ---- */

bool suppress_due(const struct suppress *suppress, const struct attempt *attempt, nsec now)
{
    return suppress->enabled && (!attempt->listed_at || now - attempt->listed_at > fresh_for);
}

static size_t key_of(const struct attempt *attempt, char key[LIMIT_ADDRESS + 1])
{
    return suppress_key(key, suppress_local(attempt->to), attempt->domain);
}

static struct suppress_batch *batch_of_turn(struct suppress *suppress)
{
    struct suppress_batch *batch = suppress->gathering;
    if (batch)
        return batch;
    batch = pool_take(&suppress->batches);
    sluice_assert(batch); /* there are as many as attempts, and each has one */
    *batch = (struct suppress_batch){.suppress = suppress};
    batch->asks_end = &batch->asks;
    memset(suppress->open, 0, SUPPRESS_BUCKETS * sizeof *suppress->open);
    return suppress->gathering = batch;
}

static struct suppress_ask *ask_of_bucket(struct suppress *suppress, struct suppress_batch *batch, uint8_t bucket)
{
    struct suppress_ask *ask = suppress->open[bucket];
    if (ask && ask->count < ASK_ATTEMPTS)
        return ask;
    ask = pool_take(&suppress->asks);
    sluice_assert(ask);
    ask->request = (struct store_request){.done = answered};
    ask->batch = batch;
    ask->bucket = bucket;
    ask->count = 0;
    ask->next = NULL;
    *batch->asks_end = ask;
    batch->asks_end = &ask->next;
    return suppress->open[bucket] = ask;
}

void suppress_give(struct suppress *suppress, struct attempt *attempt)
{
    char key[LIMIT_ADDRESS + 1];
    struct suppress_batch *batch = batch_of_turn(suppress);
    uint8_t bucket = suppress_bucket((struct slice){key, key_of(attempt, key)});
    struct suppress_ask *ask = ask_of_bucket(suppress, batch, bucket);
    ask->attempts[ask->count++] = attempt;
    chain_add(attempt->site ? &batch->aside : &batch->fresh, attempt);
    suppress->waiting++;
    metrics_add(suppress->metrics, METRIC_LIST_ASKED, 1);
    metrics_add(suppress->metrics, METRIC_LIST_AGAIN, attempt->listed_at != 0);
}

void suppress_flush(struct suppress *suppress)
{
    struct suppress_batch *batch = suppress->gathering;
    char keys[ASK_ATTEMPTS][LIMIT_ADDRESS + 1];
    struct slice texts[ASK_ATTEMPTS];
    if (!batch)
        return;
    suppress->gathering = NULL;
    batch->asked_at = io_now(suppress->io);
    for (struct suppress_ask *ask = batch->asks; ask; ask = ask->next) {
        batch->unanswered++;
        for (unsigned i = 0; i < ask->count; i++)
            texts[i] = (struct slice){keys[i], key_of(ask->attempts[i], keys[i])};
        store_suppressed(suppress->store, &ask->request, ask->bucket, texts, ask->count);
    }
}

/* ---- what comes on the list ---- */

static void struck(struct store_request *request, const struct store_answer *answer)
{
    struct strike *strike = container_of(request, struct strike, request);
    struct suppress *suppress = strike->suppress;
    pool_give(&suppress->strikes, strike);
    if (answer->result == STORE_OK)
        metrics_add(suppress->metrics, METRIC_LIST_ADDED, answer->number == 1);
    else
        suppress->on->not_noted(suppress->context, answer->error);
}

void suppress_note(struct suppress *suppress, const struct attempt *attempt, const struct settlement *settlement)
{
    const struct verdict *verdict = &settlement->verdict;
    if (!suppress->enabled || !settlement->event.final)
        return;
    struct suppress_policy policy =
        suppress_counts(&suppress->policies, settlement->event.type, &verdict->bounce, &settlement->outcome);
    /* A rule may find an address dead and yet not want it listed. */
    if (!policy.after || (verdict->bounce.kind == BOUNCE_KIND_HARD && !verdict->suppress))
        return;
    struct strike *strike = pool_take(&suppress->strikes);
    sluice_assert(strike); /* nobody was taken into memory without suppress_has_room */
    *strike = (struct strike){.request.done = struck, .suppress = suppress};
    char key[LIMIT_ADDRESS + 1];
    struct store_strike step = {.key = {key, key_of(attempt, key)},
                                .class_ = slice_of(bounce_class_name(verdict->bounce.class_)),
                                .campaign = slice_of(attempt->lease->campaign_id),
                                .seq = attempt->seq,
                                .attempt = attempt->number,
                                .now_ms = io_wall(suppress->io) / NSEC_PER_MS,
                                .after = policy.after,
                                .within = policy.within,
                                .keep = suppress->keep};
    metrics_add(suppress->metrics, METRIC_LIST_STRIKES, 1);
    store_strike(suppress->store, &strike->request, &step);
}

bool suppress_has_room(const struct suppress *suppress)
{
    return pool_in_use(&suppress->strikes) <= suppress->attempts_max;
}

/* ---- start, and a reload ---- */

void suppress_reload(struct suppress *suppress, const struct config *config)
{
    suppress->enabled = config->suppression;
    suppress->policies = suppress_defaults();
    for (unsigned i = 0; i < config->suppress_count; i++) {
        const struct config_suppress *given = &config->suppresses[i];
        struct suppress_policy policy = {given->after, given->within};
        if (given->class_ == BOUNCE_BROKEN) {
            suppress->policies.hard = policy;
            suppress->policies.hard_given = true;
        } else {
            suppress->policies.classes[given->class_] = policy;
            suppress->policies.given[given->class_] = true;
        }
    }
    suppress->keep = suppress->policies.hard.within;
    for (unsigned i = 0; i < BOUNCE_CLASS_COUNT; i++)
        suppress->keep = nsec_max(suppress->keep, suppress->policies.classes[i].within);
}

bool suppress_open(struct suppress *suppress, struct arena *arena, const struct suppress_config *config,
                   const struct suppress_events *on, void *context)
{
    *suppress = (struct suppress){.io = config->io,
                                  .store = config->store,
                                  .metrics = config->metrics,
                                  .on = on,
                                  .context = context,
                                  .attempts_max = config->attempts_max};
    suppress_reload(suppress, config->config);
    suppress->open = arena_take(arena, SUPPRESS_BUCKETS * sizeof *suppress->open, alignof(struct suppress_ask *));
    return suppress->open &&
           pool_open(&suppress->batches, arena, sizeof(struct suppress_batch), config->attempts_max) &&
           pool_open(&suppress->asks, arena, sizeof(struct suppress_ask), config->attempts_max) &&
           pool_open(&suppress->strikes, arena, sizeof(struct strike), 2 * config->attempts_max);
}
