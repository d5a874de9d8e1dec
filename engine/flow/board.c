/* What goes, what waits and why, as `sluice status` and /metrics show it. */
#include "flow/effective.h"
#include "flow/shard.h"

#include <stdio.h>

static uint64_t parked_in(const struct shard *shard, unsigned pool, const char *list)
{
    uint64_t records = 0;
    for (const struct campaign *campaign = shard->intake.campaigns; campaign; campaign = campaign->next) {
        if (campaign->pool != (int)pool)
            continue;
        for (unsigned i = 0; i < campaign->view.parked_count; i++)
            if (strcmp(campaign->view.parked_lists[i].isp, list) == 0)
                records += campaign->view.parked_lists[i].records;
    }
    return records;
}

static enum lane_why say_why(const struct shard *shard, const struct lane *lane, struct metrics_row *row)
{
    nsec now = io_now(shard->io), when;
    enum lane_why why = lane_ask(&shard->lanes, lane, now, &when);
    char said[METRICS_WHY];
    adapt_say(shard, lane, said, sizeof said);
    if (!lane_waited_for(lane) && !said[0])
        why = LANE_IDLE;
    else if (why == LANE_READY && lane->open >= lane->allowed)
        why = LANE_CONNECTIONS;
    if (when != NSEC_NEVER && when > now)
        row->next_ms = (io_wall(shard->io) + (when - now)) / NSEC_PER_MS;
    if (said[0] && (why == LANE_RATE || why == LANE_BACKOFF || why == LANE_CONNECTIONS))
        memcpy(row->why, said, sizeof said);
    else if (why == LANE_RATE)
        snprintf(row->why, sizeof row->why, "rate %llu per %llu s", (unsigned long long)lane->limits->rate,
                 (unsigned long long)(lane->limits->rate_per / NSEC_PER_S));
    else if (why == LANE_WARMUP)
        (void)carry_warm_say(shard, lane, row->why, sizeof row->why, &row->next_ms);
    else if (why == LANE_CONNECTIONS)
        snprintf(row->why, sizeof row->why, "all %u connections are busy", lane->allowed);
    else if (why != LANE_READY)
        snprintf(row->why, sizeof row->why, "%s", lane_why_text(why));
    return why;
}

/* What was found is taken for all the time since it was last looked at, about a second: exact enough for minutes, and
 * it costs a message nothing. */
static void account(struct shard *shard, struct lane *lane, enum lane_why why, struct metrics_row *row)
{
    _Static_assert((int)LANE_WHY_COUNT <= (int)METRICS_WAITS, "each reason has its place on the board");
    enum lane_slower who;
    nsec passed = lane->counted_at ? io_now(shard->io) - lane->counted_at : 0;
    if (why != LANE_IDLE)
        lane->account.waited[why] += passed;
    for (enum lane_why i = LANE_READY; i < LANE_WHY_COUNT; i++)
        row->waited_ms[i] = (uint64_t)(lane->account.waited[i] / NSEC_PER_MS);
    row->wait = why;
    row->allowed = lane->allowed;
    row->percent = effective_percent(lane, &who);
    if (lane->account.messages)
        row->message_us = (uint64_t)(lane->account.messages_ns / NSEC_PER_US) / lane->account.messages;
    if (lane->account.connects)
        row->connect_us = (uint64_t)(lane->account.connects_ns / NSEC_PER_US) / lane->account.connects;
}

static void put_lane(struct shard *shard, struct lane *lane, const struct backlog *backlog, bool first)
{
    struct metrics_row row = {.sessions = lane->open,
                              .connecting = lane->connecting,
                              .waiting = lane->own.waiting + (first ? backlog->waiting : 0),
                              .parked = first ? parked_in(shard, backlog->pool, backlog->isp) : 0,
                              .started = lane->started,
                              .delivered = lane->delivered,
                              .deferred = lane->deferred,
                              .bounced = lane->bounced};
    slice_copy(row.pool, sizeof row.pool, slice_of(shard->config->pools[backlog->pool].name));
    slice_copy(row.isp, sizeof row.isp, slice_of(backlog->isp));
    slice_copy(row.source, sizeof row.source, slice_of(shard->config->sources[lane->source].name));
    for (const struct session *session = lane->sessions; session; session = session->lane_next)
        row.open += session_open_messages(session);
    account(shard, lane, say_why(shard, lane, &row), &row);
    nsec passed = io_now(shard->io) - lane->counted_at;
    if (lane->counted_at && passed > 0)
        row.started_per_ks = (lane->started - lane->counted) * 1000 * (uint64_t)NSEC_PER_MS / (uint64_t)(passed / 1000);
    lane->counted_at = io_now(shard->io);
    lane->counted = lane->started;
    metrics_board_put(shard->metrics, &row);
}

static uint64_t busy_permille(struct shard *shard)
{
    nsec now = io_now(shard->io), passed = now - shard->busy_since, busy = shard->busy;
    shard->busy_since = now;
    shard->busy = 0;
    return passed > 0 ? (uint64_t)(nsec_min(busy, passed) * 1000 / passed) : 0;
}

static void set_gauges(struct shard *shard)
{
    unsigned busy = 0, connecting = 0, open = 0;
    for (const struct session *session = shard->sessions; session; session = session->next) {
        unsigned messages = session_open_messages(session);
        open += messages;
        busy += messages > 0;
        connecting += !session->ready;
    }
    metrics_set(shard->metrics, METRIC_SESSIONS, shard->session_count);
    metrics_set(shard->metrics, METRIC_SESSIONS_BUSY, busy);
    metrics_set(shard->metrics, METRIC_CONNECTING, connecting);
    metrics_set(shard->metrics, METRIC_LANES, pool_in_use(&shard->lanes.lane_pool));
    metrics_set(shard->metrics, METRIC_ATTEMPTS_WAITING, shard->lanes.waiting + shard->route.waiting + shard->suppress.waiting);
    metrics_set(shard->metrics, METRIC_ATTEMPTS_OPEN, open);
    metrics_set(shard->metrics, METRIC_PERMITS_GRANTED, shard->ledger.granted);
    metrics_set(shard->metrics, METRIC_PERMITS_REFUSED, shard->ledger.fenced);
    metrics_set(shard->metrics, METRIC_PERMITS_WITHDRAWN, shard->ledger.withdrawn);
    metrics_set(shard->metrics, METRIC_PERMITS_WAITING, shard->ledger.asked - shard->ledger.answered);
    metrics_set(shard->metrics, METRIC_STEPS_FENCED, shard->ledger.fenced + shard->events.fenced);
    metrics_set(shard->metrics, METRIC_RENDERED, shard->press.rendered);
    metrics_set(shard->metrics, METRIC_SIGNATURES, shard->press.signatures);
    struct signer_counts signed_by = signer_counts(shard->press.signer);
    metrics_set(shard->metrics, METRIC_SIGNED_IN_LANES, signed_by.lanes);
    metrics_set(shard->metrics, METRIC_SIGNED_AGAIN, signed_by.again);
    metrics_set(shard->metrics, METRIC_THROWN_AWAY, shard->press.thrown_away);
    metrics_set(shard->metrics, METRIC_UNSIGNED, shard->press.unsigned_);
    metrics_set(shard->metrics, METRIC_PRESS_BYTES, press_used(&shard->press));
    metrics_set(shard->metrics, METRIC_REDIS_US, (uint64_t)(shard->hand.round_trip / NSEC_PER_US));
    metrics_set(shard->metrics, METRIC_DNS_WAITING, shard->route.waiting);
    metrics_set(shard->metrics, METRIC_BUSY_PERMILLE, busy_permille(shard));
    metrics_set(shard->metrics, METRIC_REDIS_CONNECTED, store_connected(shard->store));
}

void carry_publish(struct shard *shard)
{
    set_gauges(shard);
    metrics_board_begin(shard->metrics);
    for (struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next)
        for (unsigned i = 0; i < backlog->lane_count; i++)
            put_lane(shard, backlog->lanes[i], backlog, i == 0);
    metrics_board_end(shard->metrics, io_wall(shard->io) / NSEC_PER_MS);
}
