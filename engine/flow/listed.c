/* Between the suppression list and the rest of the shard: where an attempt goes on when the list has been asked about
 * it. */
#include "flow/shard.h"

#include <stdio.h>

static const nsec say_again = 60 * NSEC_PER_S;

/* On its way out a shard begins nothing, and what it has in memory goes back with its lease. */
static bool goes_on(const struct shard *shard) { return shard->phase == SHARD_RUNNING; }

static void on_passed(void *context, struct attempt *attempt, bool aside)
{
    struct shard *shard = context;
    if (!goes_on(shard))
        return;
    if (!aside)
        carry_route(shard, attempt);
    else if (!carry_stopped(shard, attempt))
        carry_place_anew(shard, attempt, true);
}

static void settle(struct shard *shard, struct attempt *attempt, enum happening happening, struct slice text)
{
    struct outcome outcome;
    if (!goes_on(shard))
        return;
    outcome_make(&outcome, STAGE_RECIPIENT, happening, text);
    carry_settle(shard, attempt, &outcome);
}

static void on_found(void *context, struct attempt *attempt, struct slice reply)
{
    settle(context, attempt, HAPPENING_SUPPRESSED, reply);
}

static void trouble(struct shard *shard, struct slice error)
{
    char detail[192];
    slice_copy(detail, sizeof detail, error);
    log_trouble(&shard->log, &shard->list_trouble, io_now(shard->io), say_again, "redis refuses the suppression list",
                detail);
}

/* It waits until people have seen to that key. */
static void on_unknown(void *context, struct attempt *attempt, struct slice error)
{
    struct shard *shard = context;
    char text[256];
    int n = snprintf(text, sizeof text, "the suppression list cannot be asked: %.*s",
                     error.n < 128 ? (int)error.n : 128, error.n ? error.p : "");
    trouble(shard, error);
    settle(shard, attempt, HAPPENING_LOCAL, (struct slice){text, (size_t)n});
}

static void on_not_noted(void *context, struct slice error) { trouble(context, error); }

bool carry_open_list(struct shard *shard)
{
    static const struct suppress_events events = {
        .passed = on_passed, .found = on_found, .unknown = on_unknown, .not_noted = on_not_noted};
    struct suppress_config config = {.io = shard->io,
                                     .store = shard->store,
                                     .config = shard->config,
                                     .metrics = shard->metrics,
                                     .attempts_max = intake_attempts_max(shard->config)};
    return suppress_open(&shard->suppress, &shard->arena, &config, &events, shard);
}

void carry_admit(struct shard *shard, struct attempt *attempt)
{
    if (suppress_due(&shard->suppress, attempt, io_lately(shard->io)))
        suppress_give(&shard->suppress, attempt);
    else
        carry_route(shard, attempt);
}

bool carry_set_aside(struct shard *shard, struct attempt *attempt)
{
    if (!suppress_due(&shard->suppress, attempt, io_lately(shard->io)))
        return false;
    suppress_give(&shard->suppress, attempt);
    return true;
}
