/* Where somebody is can be asked without a running engine: Redis knows. */
#include "store/inspect.h"

#include "store/step.h"

void store_inspect(struct store *store, struct store_request *r, struct slice campaign, enum inspect_place place,
                   struct slice of, uint64_t first, unsigned most)
{
    sluice_assert(most > 0);
    step_begin_command(store, place == INSPECT_RETRY ? "ZRANGE" : "LRANGE");
    if (place == INSPECT_PARKED || place == INSPECT_BATCH)
        step_key(store, campaign, place == INSPECT_BATCH ? "batch:" : "parked:", of);
    else
        step_key(store, campaign, place == INSPECT_RETRY ? "retry" : "held", SLICE(""));
    resp_unsigned(&store->command, first);
    resp_unsigned(&store->command, first + most - 1);
    if (place == INSPECT_RETRY)
        step_text(store, "WITHSCORES");
    step_ask(store, r, step_read_command, 0);
}

void store_inspect_due(struct store *store, struct store_request *r, struct slice campaign, int64_t from_ms,
                       int64_t to_ms)
{
    step_begin_command(store, "ZCOUNT");
    step_key(store, campaign, "retry", SLICE(""));
    resp_number(&store->command, from_ms);
    resp_number(&store->command, to_ms - 1);
    step_ask(store, r, step_read_command, 0);
}

void store_inspect_leases(struct store *store, struct store_request *r, struct slice campaign)
{
    step_begin_command(store, "HGETALL");
    step_key(store, campaign, "leases", SLICE(""));
    step_ask(store, r, step_read_command, 0);
}

static void read_events(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    (void)repeated;
    step_done_events(store, r, reply);
}

void store_inspect_events(struct store *store, struct store_request *r, struct slice campaign, unsigned most)
{
    step_begin_command(store, "XREVRANGE");
    step_key(store, campaign, "events", SLICE(""));
    step_text(store, "+");
    step_text(store, "-");
    step_text(store, "COUNT");
    resp_unsigned(&store->command, most);
    step_ask(store, r, read_events, 0);
}
