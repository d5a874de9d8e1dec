/* The oracles: what the engine promised, held against what the providers and the stream of events say. */
#include "town.h"
#include "town_reading.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/event.h"

enum { FIELDS = 64 };

/* What the stream says of one seq. */
struct fate {
    uint32_t finals, in_doubt, events;
    uint32_t attempt;    /* of its last event */
    bool counted;        /* that was an attempt: the next event is of a later one */
    uint64_t next_at_ms; /* of its last deferral */
    uint64_t last_at_ms;
    enum event_type last; /* the final one */
};

static uint64_t stream_ms(struct slice id) { return strtoull(id.p, NULL, 10); }

/* Did this event use up one of the recipient's attempts? A 421 does not, nor does what came before MAIL. */
static bool counts(const struct event *event)
{
    static const char *const stages[] = {"mail", "rcpt", "data", "body"};
    if (event->type == EVENT_IN_DOUBT)
        return true;
    for (unsigned i = 0; i < countof(stages); i++)
        if (slice_equal(event->stage, slice_of(stages[i])))
            return event->type == EVENT_DEFERRED && event->code && event->code != 421;
    return false;
}

static void judge_event(struct town *town, const struct event *event, uint64_t at_ms, struct fate *fate, const char *id)
{
    unsigned long long seed = town->seed, seq = event->seq;
    if (fate->finals)
        fail_msg("seed %llu: %s/%llu has an event (%s) behind its final one", seed, id, seq,
                 event_type_name(event->type).p);
    if (event->attempt < fate->attempt + fate->counted)
        fail_msg("seed %llu: %s/%llu: attempt %u follows %u", seed, id, seq, event->attempt, fate->attempt);
    if (fate->next_at_ms && event->started_us && event->started_us / 1000 + 1 + town->wall_slack_ms < fate->next_at_ms)
        fail_msg("seed %llu: %s/%llu was tried %llu ms before its time", seed, id, seq,
                 (unsigned long long)(fate->next_at_ms - event->started_us / 1000));
    if (event->type == EVENT_DEFERRED && !event->next_at_ms)
        fail_msg("seed %llu: %s/%llu is deferred until never", seed, id, seq);
    fate->events++;
    fate->attempt = event->attempt;
    fate->counted = counts(event);
    fate->next_at_ms = event->type == EVENT_DEFERRED ? event->next_at_ms : 0;
    fate->last_at_ms = at_ms;
    fate->in_doubt += event->type == EVENT_IN_DOUBT;
    fate->finals += event->final;
    fate->last = event->type;
}

static void read_stream(struct town *town, const char *id, struct fate *fates, uint64_t count,
                        struct town_account *account)
{
    char *reply = fake_redis_do(town->redis, "XRANGE sluice:{%s}:events - +", id);
    struct reading r = {reply, reply + strlen(reply)};
    long long entries = read_number(&r, '*');
    for (long long i = 0; i < entries; i++) {
        struct event_field fields[FIELDS];
        read_number(&r, '*');
        uint64_t at_ms = stream_ms(read_text(&r));
        unsigned n = (unsigned)read_number(&r, '*') / 2;
        assert_true(n <= FIELDS);
        for (unsigned f = 0; f < n; f++) {
            fields[f].name = read_text(&r);
            fields[f].value = read_text(&r);
        }
        struct event event;
        assert_true(event_parse(fields, n, &event));
        if (event.seq >= count)
            fail_msg("seed %llu: %s: an event for seq %llu of %llu", (unsigned long long)town->seed, id,
                     (unsigned long long)event.seq, (unsigned long long)count);
        account->events[event.type]++;
        judge_event(town, &event, at_ms, &fates[event.seq], id);
    }
    free(reply);
}

static void judge_copies_of(struct town *town, const char *id, const struct fate *fates,
                            const struct judge_copies *copies, struct town_account *account)
{
    unsigned long long seed = town->seed;
    for (uint64_t seq = 0; seq < copies->count; seq++) {
        const struct fate *fate = &fates[seq];
        unsigned long long n = seq;
        uint32_t accepted = copies->copies[seq];
        account->copies += accepted;
        account->doubled += accepted > 1;
        account->finals += fate->finals;
        if (!fate->finals && fate->in_doubt)
            account->in_doubt_open++;
        else if (fate->finals != 1)
            fail_msg("seed %llu: %s/%llu was lost: it has %u final events (%u in all, copies %u)", seed, id, n,
                     fate->finals, fate->events, accepted);
        if (accepted > 1 + fate->in_doubt)
            fail_msg("seed %llu: %s/%llu was accepted %u times, in doubt %u times: doubled unknowingly", seed, id, n,
                     accepted, fate->in_doubt);
        if (fate->last == EVENT_DELIVERED && !accepted)
            fail_msg("seed %llu: %s/%llu was delivered, and nobody has it", seed, id, n);
        if (fate->last != EVENT_DELIVERED && accepted > fate->in_doubt)
            fail_msg("seed %llu: %s/%llu ended as %d and was accepted %u times, in doubt %u times", seed, id, n,
                     fate->last, accepted, fate->in_doubt);
    }
    if (copies->strangers)
        fail_msg("seed %llu: %s: %llu copies of nobody", seed, id, (unsigned long long)copies->strangers);
}

static void judge_totals(struct town *town, const char *id, const struct town_account *account)
{
    for (enum event_type type = EVENT_DELIVERED; type < EVENT_TYPE_COUNT; type++) {
        char *reply = fake_redis_do(town->redis, "HGET sluice:{%s}:totals %s", id, event_type_name(type).p);
        uint64_t total = reply[1] == '-' ? 0 : strtoull(strchr(reply, '\n') + 1, NULL, 10);
        free(reply);
        if (total != account->events[type])
            fail_msg("seed %llu: %s: totals say %llu %s, the stream has %llu", (unsigned long long)town->seed, id,
                     (unsigned long long)total, event_type_name(type).p, (unsigned long long)account->events[type]);
    }
}

static void judge_keys(struct town *town, const char *id)
{
    static const char *const names[] = {"leases", "retry", "parked", "recipients"};
    if (strcmp(town_phase(town, id), "done") != 0)
        return;
    for (unsigned i = 0; i < countof(names); i++)
        if (fake_redis_number(town->redis, "EXISTS sluice:{%s}:%s", id, names[i]))
            fail_msg("seed %llu: %s is done and has %s", (unsigned long long)town->seed, id, names[i]);
    char *keys = fake_redis_do(town->redis, "KEYS sluice:{%s}:ledger:*", id);
    if (strcmp(keys, "*0\r\n") != 0)
        fail_msg("seed %llu: %s is done and has ledgers: %s", (unsigned long long)town->seed, id, keys);
    free(keys);
}

struct town_account town_judge(struct town *town, const char *id)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < town->campaign_count; i++)
        if (strcmp(town->campaigns[i].id, id) == 0)
            count = town->campaigns[i].pushed;
    struct town_account account = {{0}, 0, 0, 0, 0};
    struct fate *fates = calloc(count + 1, sizeof *fates);
    read_stream(town, id, fates, count, &account);
    struct judge_copies copies = judge_copies(town->mail, id, count);
    judge_copies_of(town, id, fates, &copies, &account);
    judge_copies_free(&copies);
    judge_totals(town, id, &account);
    judge_keys(town, id);
    free(fates);
    return account;
}

static void judge_engine_empty(const struct sim_engine *engine)
{
    for (unsigned i = 0; i < engine->shard_count; i++) {
        const struct shard *shard = engine->shards[i].shard;
        assert_int_equal(intake_attempts(&shard->intake), 0);
        assert_int_equal(shard->intake.lease_count, 0);
        assert_int_equal(shard->intake.memory.used, 0);
        assert_int_equal(shard->lanes.waiting, 0);
        assert_int_equal(press_used(&shard->press), 0);
        assert_int_equal(pool_in_use(&shard->session_pool), shard->session_count);
    }
}

void town_judge_empty(struct town *town)
{
    for (unsigned i = 0; i < town->engine_count; i++)
        if (town->engine_count == 1 || town_runs(town, i))
            judge_engine_empty(town->engines[i].engine);
}

static void judge_lane(struct town *town, const struct sim_isp *isp, const struct config_source *from,
                       const struct config_limits *limits)
{
    char address[64];
    io_address_text(&from->address, address, sizeof address);
    unsigned peak = judge_connections_peak(isp, address);
    if (peak > limits->connections)
        fail_msg("seed %llu: %u connections from %s to %s, %u are allowed", (unsigned long long)town->seed, peak,
                 from->name, isp->name, limits->connections);
    if (!limits->rate)
        return;
    size_t count;
    nsec *starts = judge_starts(isp, address, &count);
    nsec interval = throttle_interval(limits->rate, limits->rate_per);
    struct judge_window worst = judge_rate(starts, count, limits->burst, interval);
    if (worst.excess)
        fail_msg("seed %llu: %s at %s: %llu starts in %lld ns, %llu too many", (unsigned long long)town->seed,
                 from->name, isp->name, (unsigned long long)worst.starts, (long long)(worst.to - worst.from),
                 (unsigned long long)worst.excess);
    free(starts);
}

/* By what arrived, whatever the session believed: each message, not only its MAIL. */
static void judge_secrecy(struct town *town, const struct sim_isp *isp, const struct config_limits *limits)
{
    const struct mx_ledger *ledger = &town->mail->ledger;
    if (limits->tls < CONFIG_TLS_REQUIRED)
        return;
    for (size_t i = 0; i < ledger->accepted_count; i++)
        if (ledger->accepted[i].server == isp->server.number && !ledger->accepted[i].tls)
            fail_msg("seed %llu: %s has %s in plain text", (unsigned long long)town->seed, isp->name,
                     mx_ledger_recipient(ledger, &ledger->accepted[i]));
}

void town_judge_limits(struct town *town)
{
    for (const struct sim_isp *isp = town->mail->isps; isp; isp = isp->next) {
        const struct config_limits *limits = config_limits_for(town->config, slice_of(isp->name));
        for (unsigned e = 0; e < town->engine_count; e++)
            for (unsigned i = 0; i < town->engines[e].engine->config->source_count; i++)
                judge_lane(town, isp, &town->engines[e].engine->config->sources[i], limits);
        judge_secrecy(town, isp, limits);
        if (isp->server.in_flight_peak > limits->in_flight)
            fail_msg("seed %llu: %u messages in flight to %s, %u are allowed", (unsigned long long)town->seed,
                     isp->server.in_flight_peak, isp->name, limits->in_flight);
        unsigned messages = judge_messages_peak(isp);
        if (limits->per_connection && messages > limits->per_connection)
            fail_msg("seed %llu: %u messages in one connection to %s, %u are allowed", (unsigned long long)town->seed,
                     messages, isp->name, limits->per_connection);
    }
    if (town->mail->ledger.violation_total)
        fail_msg("seed %llu: %llu breaches of the protocol, the first: %s", (unsigned long long)town->seed,
                 (unsigned long long)town->mail->ledger.violation_total, town->mail->ledger.first_violation);
}

struct town_account town_end(struct town *town, const char *id, nsec limit)
{
    if (!town_drain(town, limit))
        fail_msg("seed %llu: not done in time", (unsigned long long)town->seed);
    struct town_account account = town_judge(town, id);
    town_judge_empty(town);
    town_judge_limits(town);
    town_finish(town);
    return account;
}

void town_reach_add(struct town_reach *reach, struct town *town)
{
    for (enum sim_fault fault = SIM_REFUSED; fault < SIM_FAULT_COUNT; fault++)
        reach->faults[fault] += sim_fault_count(town->world, fault);
    const struct fake_redis_counts *counts = fake_redis_counts(town->redis);
    reach->fenced += counts->fenced;
    reach->gone += counts->gone;
    reach->crashes += town->crashes;
    reach->adopted += town_metric(town, METRIC_LEASED_ADOPTED);
    reach->parked += town_metric(town, METRIC_PARKED);
    reach->withdrawn += town_metric(town, METRIC_PERMITS_WITHDRAWN);
    for (unsigned i = 0; i < town->engine_count; i++)
        reach->states_seen |= town->engines[i].engine->states_seen;
    for (const struct sim_isp *isp = town->mail->isps; isp; isp = isp->next) {
        const struct mx_server *server = &isp->server;
        reach->tls_full += server->tls_full;
        reach->tls_resumed += server->tls_resumed;
        reach->tls_failed += server->tls_failed;
        reach->accepted_tls += server->accepted_tls;
        reach->accepted_chunked += server->accepted_chunked;
        reach->probes += server->probes;
        reach->logins += server->logins;
        reach->logins_refused += server->replies[MX_AUTH][4] + server->replies[MX_AUTH][5];
    }
}
