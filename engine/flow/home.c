/* Which shard serves which lane, and with what share of its limits. */
#include "flow/lane.h"

static struct throttle_limits limits_of(const struct config_limits *limits)
{
    return (struct throttle_limits){
        .connections = limits->connections,
        .burst = limits->burst,
        .interval_ns = throttle_interval(limits->rate, limits->rate_per),
        .connect_burst = limits->connection_burst,
        .connect_interval_ns =
            limits->connection_rate ? throttle_interval(limits->connection_rate, limits->connection_rate_per) : 0};
}

bool lanes_splits(const struct lanes *lanes, unsigned source, struct slice isp)
{
    struct throttle_limits whole = limits_of(config_lane_limits(lanes->config, source, isp));
    if (config_total_of(lanes->config, isp))
        return false; /* what all sources share is kept count of in one place */
    if (config_warmup_plan(lanes->config, source, isp) || config_warmup_all(lanes->config, source))
        return false; /* so is what a source that is warmed up has left (budget.h) */
    return throttle_splits(&whole, lanes->shards);
}

bool lanes_share(const struct lanes *lanes, unsigned source, struct slice isp, unsigned bucket,
                 struct throttle_limits *share)
{
    struct throttle_limits whole = limits_of(config_lane_limits(lanes->config, source, isp));
    if (lanes->config->sources[source].removed)
        return false;
    if (lanes_splits(lanes, source, isp)) {
        *share = throttle_share(&whole, lanes->shards, lanes->shard);
        return true;
    }
    *share = whole;
    return bucket % lanes->shards == lanes->shard;
}

int lanes_shard_of(const struct lanes *lanes, unsigned pool, struct slice isp, unsigned bucket)
{
    const struct config_pool *sources = &lanes->config->pools[pool];
    if (lanes->shards == 1)
        return 0;
    for (unsigned i = 0; i < sources->source_count; i++)
        if (lanes->held_until[sources->sources[i]] && lanes_splits(lanes, sources->sources[i], isp))
            return -1; /* one that is another engine's serves nobody here, on no shard */
    return (int)(bucket % lanes->shards);
}

bool lanes_serve(const struct lanes *lanes, unsigned pool)
{
    const struct config_pool *sources = &lanes->config->pools[pool];
    for (unsigned i = 0; i < sources->source_count; i++)
        if (lanes->held_until[sources->sources[i]])
            return true;
    return false;
}
