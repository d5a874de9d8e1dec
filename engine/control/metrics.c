/* The one table of what is counted, and the ways to read it from outside. */
#include "control/metrics.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

enum kind { KIND_BROKEN = 0, KIND_COUNTER, KIND_GAUGE };

/* Rows of one family stand together; the first has its help. */
struct row {
    enum metric metric;
    enum kind kind;
    const char *family, *labels, *help;
};

/* clang-format off */
static const struct row table[] = {
    {METRIC_DELIVERED, KIND_COUNTER, "sluice_messages_total", "event=\"delivered\"",
     "What became of recipients, by event type; deferred ones come again."},
    {METRIC_DEFERRED, KIND_COUNTER, "sluice_messages_total", "event=\"deferred\"", NULL},
    {METRIC_BOUNCED, KIND_COUNTER, "sluice_messages_total", "event=\"bounced\"", NULL},
    {METRIC_EXPIRED, KIND_COUNTER, "sluice_messages_total", "event=\"expired\"", NULL},
    {METRIC_SUPPRESSED, KIND_COUNTER, "sluice_messages_total", "event=\"suppressed\"", NULL},
    {METRIC_INVALID, KIND_COUNTER, "sluice_messages_total", "event=\"invalid\"", NULL},
    {METRIC_CANCELLED, KIND_COUNTER, "sluice_messages_total", "event=\"cancelled\"", NULL},
    {METRIC_IN_DOUBT, KIND_COUNTER, "sluice_messages_total", "event=\"in_doubt\"", NULL},
    {METRIC_LEASED_LIST, KIND_COUNTER, "sluice_leased_total", "from=\"list\"", "Recipients leased, by where they were."},
    {METRIC_LEASED_PARKED, KIND_COUNTER, "sluice_leased_total", "from=\"parked\"", NULL},
    {METRIC_LEASED_RETRY, KIND_COUNTER, "sluice_leased_total", "from=\"retry\"", NULL},
    {METRIC_LEASED_ADOPTED, KIND_COUNTER, "sluice_leased_total", "from=\"adopted\"", NULL},
    {METRIC_PARKED, KIND_COUNTER, "sluice_parked_total", "", "Recipients parked in Redis because their lane could not start them soon."},
    {METRIC_STARTED, KIND_COUNTER, "sluice_started_total", "", "Attempts whose MAIL was written."},
    {METRIC_BODY_BYTES, KIND_COUNTER, "sluice_body_bytes_total", "", "Bytes of message bodies written."},
    {METRIC_PERMITS_GRANTED, KIND_COUNTER, "sluice_permits_total", "result=\"granted\"", "Permits for bodies, by what became of them."},
    {METRIC_PERMITS_REFUSED, KIND_COUNTER, "sluice_permits_total", "result=\"refused\"", NULL},
    {METRIC_PERMITS_WITHDRAWN, KIND_COUNTER, "sluice_permits_total", "result=\"withdrawn\"", NULL},
    {METRIC_SESSIONS_OPENED, KIND_COUNTER, "sluice_sessions_opened_total", "", "SMTP sessions that became ready."},
    {METRIC_SESSIONS_FAILED_CONNECT, KIND_COUNTER, "sluice_sessions_failed_total", "stage=\"connect\"",
     "SMTP sessions that ended before they were ready, by what failed."},
    {METRIC_SESSIONS_FAILED_GREETING, KIND_COUNTER, "sluice_sessions_failed_total", "stage=\"greeting\"", NULL},
    {METRIC_SESSIONS_FAILED_TLS, KIND_COUNTER, "sluice_sessions_failed_total", "stage=\"starttls\"", NULL},
    {METRIC_LACKED_DESCRIPTORS, KIND_COUNTER, "sluice_sessions_lacked_total", "what=\"descriptors\"",
     "SMTP sessions that could not be begun, or go on, for a lack of this machine; their recipients wait."},
    {METRIC_LACKED_MEMORY, KIND_COUNTER, "sluice_sessions_lacked_total", "what=\"memory\"", NULL},
    {METRIC_LACKED_PORTS, KIND_COUNTER, "sluice_sessions_lacked_total", "what=\"ports\"", NULL},
    {METRIC_LACKED_SOURCE, KIND_COUNTER, "sluice_sessions_lacked_total", "what=\"source\"", NULL},
    {METRIC_SESSIONS_LOST, KIND_COUNTER, "sluice_sessions_lost_total", "", "Ready SMTP sessions that the peer or a time-out ended."},
    {METRIC_DNS_CACHED, KIND_COUNTER, "sluice_dns_lookups_total", "result=\"cached\"", "DNS look-ups, by result."},
    {METRIC_DNS_OK, KIND_COUNTER, "sluice_dns_lookups_total", "result=\"ok\"", NULL},
    {METRIC_DNS_NEGATIVE, KIND_COUNTER, "sluice_dns_lookups_total", "result=\"negative\"", NULL},
    {METRIC_DNS_FAILED, KIND_COUNTER, "sluice_dns_lookups_total", "result=\"failed\"", NULL},
    {METRIC_DANE_OK, KIND_COUNTER, "sluice_dane_lookups_total", "result=\"ok\"",
     "TLSA look-ups of mail hosts in signed zones, by result; hosts whose look-up failed are passed over."},
    {METRIC_DANE_NONE, KIND_COUNTER, "sluice_dane_lookups_total", "result=\"none\"", NULL},
    {METRIC_DANE_FAILED, KIND_COUNTER, "sluice_dane_lookups_total", "result=\"failed\"", NULL},
    {METRIC_STS_FETCHES, KIND_COUNTER, "sluice_sts_fetches_total", "", "MTA-STS policies that were asked for by HTTPS."},
    {METRIC_STS_LEFT_OUT, KIND_COUNTER, "sluice_sts_mismatches_total", "mode=\"enforce\"",
     "Look-ups of domains with mail hosts that their MTA-STS policy does not allow, by the policy's mode."},
    {METRIC_STS_WOULD_LEAVE_OUT, KIND_COUNTER, "sluice_sts_mismatches_total", "mode=\"testing\"", NULL},
    {METRIC_STEPS_FENCED, KIND_COUNTER, "sluice_redis_fenced_total", "", "Steps refused because the lease was another's."},
    {METRIC_REDIS_LOST, KIND_COUNTER, "sluice_redis_lost_total", "", "Times that Redis was found gone, looked at once a second."},
    {METRIC_RENDERED, KIND_COUNTER, "sluice_rendered_total", "", "Messages rendered."},
    {METRIC_SIGNATURES, KIND_COUNTER, "sluice_signatures_total", "", "DKIM signatures computed."},
    {METRIC_SIGNED_IN_LANES, KIND_COUNTER, "sluice_signatures_in_lanes_total", "",
     "Of these, RSA-2048 signatures that were computed several at a time."},
    {METRIC_SIGNED_AGAIN, KIND_COUNTER, "sluice_signatures_again_total", "",
     "Signatures that were computed wrongly, which was noticed, and then again by OpenSSL. More than 0: distrust the CPU."},
    {METRIC_THROWN_AWAY, KIND_COUNTER, "sluice_thrown_away_total", "", "Messages rendered ahead that were not sent."},
    {METRIC_LIST_ASKED, KIND_COUNTER, "sluice_suppression_asked_total", "",
     "Recipients that the suppression list was asked about."},
    {METRIC_LIST_FOUND, KIND_COUNTER, "sluice_suppression_found_total", "", "Of them, those that are on it."},
    {METRIC_LIST_AGAIN, KIND_COUNTER, "sluice_suppression_again_total", "",
     "Of them, those that were asked about again because they had waited for more than a minute."},
    {METRIC_LIST_STRIKES, KIND_COUNTER, "sluice_suppression_strikes_total", "",
     "Refusals that count against an address."},
    {METRIC_LIST_ADDED, KIND_COUNTER, "sluice_suppression_added_total", "",
     "Addresses that were put on the suppression list for such a refusal."},
    {METRIC_UNSIGNED, KIND_COUNTER, "sluice_unsigned_total", "", "Messages deferred because they could not be signed."},
    {METRIC_ADAPT_WORDS, KIND_COUNTER, "sluice_adapt_words_total", "", "Replies that asked us to be slower, fewer or silent."},
    {METRIC_WARMUP_GRANTED, KIND_COUNTER, "sluice_warmup_units_total", "result=\"granted\"",
     "Messages that warm-ups have allowed, by what became of the allowance."},
    {METRIC_WARMUP_USED, KIND_COUNTER, "sluice_warmup_units_total", "result=\"used\"", NULL},
    {METRIC_WARMUP_RETURNED, KIND_COUNTER, "sluice_warmup_units_total", "result=\"returned\"", NULL},
    {METRIC_WARMUP_THROWN_AWAY, KIND_COUNTER, "sluice_warmup_units_total", "result=\"thrown_away\"", NULL},
    {METRIC_TURNS, KIND_COUNTER, "sluice_turns_total", "", "Turns of the shards' loops."},
    {METRIC_POSTS_RECEIVED, KIND_COUNTER, "sluice_posts_total", "", "Posts received from other shards."},
    {METRIC_POSTS_DROPPED, KIND_COUNTER, "sluice_posts_dropped_total", "", "Posts that found a full ring; they are repeated."},
    {METRIC_SESSIONS, KIND_GAUGE, "sluice_sessions", "", "SMTP sessions that are open."},
    {METRIC_SESSIONS_BUSY, KIND_GAUGE, "sluice_sessions_busy", "", "SMTP sessions with a message."},
    {METRIC_CONNECTING, KIND_GAUGE, "sluice_sessions_connecting", "", "SMTP sessions that are not ready yet."},
    {METRIC_LANES, KIND_GAUGE, "sluice_lanes", "", "Lanes: pairs of source and ISP with work or memory of it."},
    {METRIC_LANES_SILENT, KIND_GAUGE, "sluice_lanes_silent", "", "Lanes, and From domains and campaigns at an ISP, that are silent because replies asked for it."},
    {METRIC_LANES_SLOWED, KIND_GAUGE, "sluice_lanes_slowed", "", "Those that go more slowly, or with fewer connections."},
    {METRIC_LANES_HELD, KIND_GAUGE, "sluice_lanes_held", "", "Of the silent ones, those that wait for people: held, or shut out. More than 0: look at sluice:ops."},
    {METRIC_WARMUP_WAITING, KIND_GAUGE, "sluice_warmup_lanes_waiting", "", "Lanes that wait because their warm-up has nothing left for now."},
    {METRIC_CAMPAIGNS, KIND_GAUGE, "sluice_campaigns", "", "Campaigns that shards are working on; one counts for each shard."},
    {METRIC_LEASES, KIND_GAUGE, "sluice_leases", "", "Leases held."},
    {METRIC_ATTEMPTS_WAITING, KIND_GAUGE, "sluice_attempts_waiting", "", "Attempts in memory that have not started."},
    {METRIC_ATTEMPTS_OPEN, KIND_GAUGE, "sluice_attempts_open", "", "Attempts that have started and have no outcome."},
    {METRIC_PERMITS_WAITING, KIND_GAUGE, "sluice_permits_waiting", "", "Permits asked for and not answered."},
    {METRIC_PRESS_BYTES, KIND_GAUGE, "sluice_press_bytes", "", "Memory that rendered messages hold."},
    {METRIC_REDIS_CONNECTED, KIND_GAUGE, "sluice_redis_connected", "", "Shards that are connected to Redis."},
    {METRIC_BUSY_PERMILLE, KIND_GAUGE, "sluice_busy_permille", "", "Parts per thousand of the last second in which a shard worked, added up over the shards."},
    {METRIC_REDIS_US, KIND_GAUGE, "sluice_redis_round_trip_microseconds", "", "What the last small step took, added up over the shards."},
    {METRIC_DNS_WAITING, KIND_GAUGE, "sluice_attempts_waiting_dns", "", "Attempts that wait for DNS."},
    {METRIC_LOG_LOST, KIND_COUNTER, "sluice_log_lines_lost_total", "", "Lines of the log that could not be written."},
    {METRIC_RELOADS_FAILED, KIND_COUNTER, "sluice_config_reloads_failed_total", "",
     "Configurations that were read again and not taken, because they were not good."},
    {METRIC_CONFIG_GENERATION, KIND_GAUGE, "sluice_config_generation", "", "Reloads of the configuration that were taken."},
    {METRIC_DKIM_WRONG, KIND_GAUGE, "sluice_dkim_records_wrong", "", "Keys that sign whose published record does not fit, or was not found."},
};

/* Upper bounds of the buckets; the last, +Inf, is not written down. Wide enough for a turn of 20 us and for the ten
 * minutes that RFC 5321 §4.5.3.2.6 gives the reply to the dot. */
static const struct {
    nsec bound;
    const char *text;
} buckets[METRICS_BUCKETS - 1] = {
    {20 * NSEC_PER_US, "2e-05"}, {100 * NSEC_PER_US, "0.0001"}, {500 * NSEC_PER_US, "0.0005"}, {1 * NSEC_PER_MS, "0.001"},
    {5 * NSEC_PER_MS, "0.005"},  {10 * NSEC_PER_MS, "0.01"},    {50 * NSEC_PER_MS, "0.05"},    {100 * NSEC_PER_MS, "0.1"},
    {250 * NSEC_PER_MS, "0.25"}, {500 * NSEC_PER_MS, "0.5"},    {1 * NSEC_PER_S, "1"},         {5 * NSEC_PER_S, "5"},
    {30 * NSEC_PER_S, "30"},     {120 * NSEC_PER_S, "120"},     {600 * NSEC_PER_S, "600"},
};

static const struct {
    enum metrics_histogram histogram;
    const char *family, *help;
} histograms[] = {
    {METRICS_MESSAGE, "sluice_message_seconds", "From MAIL to the reply to the final dot."},
    {METRICS_CONNECT, "sluice_connect_seconds", "From the socket to a session that is ready."},
    {METRICS_TURN, "sluice_turn_seconds", "The work of one turn of a shard's loop, without its sleep."},
};
/* clang-format on */

struct metrics {
    unsigned shards;
    struct metrics_shard *blocks;
};

struct metrics *metrics_create(unsigned shards)
{
    struct metrics *metrics = calloc(1, sizeof *metrics);
    size_t bytes = shards * sizeof *metrics->blocks;
    sluice_assert(shards > 0);
    if (metrics)
        metrics->blocks = aligned_alloc(_Alignof(struct metrics_shard), bytes);
    if (!metrics || !metrics->blocks) {
        free(metrics);
        return NULL;
    }
    memset(metrics->blocks, 0, bytes);
    metrics->shards = shards;
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    if (metrics)
        free(metrics->blocks);
    free(metrics);
}

unsigned metrics_shards(const struct metrics *metrics) { return metrics->shards; }

struct metrics_shard *metrics_of(struct metrics *metrics, unsigned shard)
{
    sluice_assert(shard < metrics->shards);
    return &metrics->blocks[shard];
}

const struct metrics_shard *metrics_look(const struct metrics *metrics, unsigned shard)
{
    sluice_assert(shard < metrics->shards);
    return &metrics->blocks[shard];
}

uint64_t metrics_total(const struct metrics *metrics, enum metric metric)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < metrics->shards; i++)
        total += metrics_get(&metrics->blocks[i], metric);
    return total;
}

/* ---- histograms ---- */

static void grow(uint64_t *value, uint64_t n)
{
    __atomic_store_n(value, __atomic_load_n(value, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

void metrics_observe(struct metrics_shard *shard, enum metrics_histogram histogram, nsec value)
{
    unsigned i = 0;
    value = nsec_max(value, 0);
    while (i < countof(buckets) && value > buckets[i].bound)
        i++;
    grow(&shard->histograms[histogram].buckets[i], 1);
    grow(&shard->histograms[histogram].sum_ns, (uint64_t)value);
}

/* ---- the board: a sequence lock ----
 *
 * Its rows are copied in words, so that no access is a data race. There are no fences, because ThreadSanitizer cannot
 * follow them: each word is written with release and read with acquire. So whoever reads a word of a board that is
 * being written also sees the odd version that was stored before it, and tries again. */

enum { ROW_WORDS = sizeof(struct metrics_row) / sizeof(uint64_t), BOARD_TRIES = 1000 };

void metrics_board_begin(struct metrics_shard *shard)
{
    uint64_t version = __atomic_load_n(&shard->board.version, __ATOMIC_RELAXED);
    sluice_assert(version % 2 == 0);
    __atomic_store_n(&shard->board.version, version + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&shard->board.count, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&shard->board.left_out, 0, __ATOMIC_RELEASE);
}

void metrics_board_put(struct metrics_shard *shard, const struct metrics_row *row)
{
    uint64_t words[ROW_WORDS];
    uint64_t count = __atomic_load_n(&shard->board.count, __ATOMIC_RELAXED);
    if (count == METRICS_BOARD_ROWS) {
        uint64_t left_out = __atomic_load_n(&shard->board.left_out, __ATOMIC_RELAXED);
        __atomic_store_n(&shard->board.left_out, left_out + 1, __ATOMIC_RELEASE);
        return;
    }
    memcpy(words, row, sizeof words);
    for (size_t i = 0; i < ROW_WORDS; i++)
        __atomic_store_n(&shard->board.rows[count * ROW_WORDS + i], words[i], __ATOMIC_RELEASE);
    __atomic_store_n(&shard->board.count, count + 1, __ATOMIC_RELEASE);
}

void metrics_board_end(struct metrics_shard *shard, int64_t wall_ms)
{
    uint64_t version = __atomic_load_n(&shard->board.version, __ATOMIC_RELAXED);
    sluice_assert(version % 2 == 1);
    __atomic_store_n(&shard->board.wall_ms, wall_ms, __ATOMIC_RELEASE);
    __atomic_store_n(&shard->board.version, version + 1, __ATOMIC_RELEASE);
}

static void copy_rows(const struct metrics_shard *shard, struct metrics_row *rows, unsigned count)
{
    uint64_t words[ROW_WORDS];
    for (unsigned i = 0; i < count; i++) {
        for (size_t j = 0; j < ROW_WORDS; j++)
            words[j] = __atomic_load_n(&shard->board.rows[i * ROW_WORDS + j], __ATOMIC_ACQUIRE);
        memcpy(&rows[i], words, sizeof words);
    }
}

bool metrics_board_read(const struct metrics_shard *shard, struct metrics_row *rows, struct metrics_board *board)
{
    for (unsigned i = 0; i < BOARD_TRIES; i++) {
        uint64_t before = __atomic_load_n(&shard->board.version, __ATOMIC_ACQUIRE);
        if (before % 2 == 0) {
            uint64_t count = __atomic_load_n(&shard->board.count, __ATOMIC_ACQUIRE);
            board->count = count < METRICS_BOARD_ROWS ? (unsigned)count : METRICS_BOARD_ROWS;
            board->left_out = __atomic_load_n(&shard->board.left_out, __ATOMIC_ACQUIRE);
            board->wall_ms = __atomic_load_n(&shard->board.wall_ms, __ATOMIC_ACQUIRE);
            copy_rows(shard, rows, board->count);
            if (__atomic_load_n(&shard->board.version, __ATOMIC_RELAXED) == before)
                return true;
        }
        sched_yield();
    }
    return false;
}

/* ---- exposition ---- */

struct out {
    void (*line)(void *context, const char *text);
    void *context;
    char text[512];
};

static void say_head(struct out *out, const char *family, const char *type, const char *help)
{
    snprintf(out->text, sizeof out->text, "# HELP %s %s", family, help);
    out->line(out->context, out->text);
    snprintf(out->text, sizeof out->text, "# TYPE %s %s", family, type);
    out->line(out->context, out->text);
}

static void say_row(struct out *out, const struct row *row, uint64_t value)
{
    if (row->help)
        say_head(out, row->family, row->kind == KIND_COUNTER ? "counter" : "gauge", row->help);
    if (row->labels[0])
        snprintf(out->text, sizeof out->text, "%s{%s} %" PRIu64, row->family, row->labels, value);
    else
        snprintf(out->text, sizeof out->text, "%s %" PRIu64, row->family, value);
    out->line(out->context, out->text);
}

static void say_histogram(struct out *out, const struct metrics *metrics, enum metrics_histogram histogram,
                          const char *family, const char *help)
{
    uint64_t cumulative = 0, sum_ns = 0;
    say_head(out, family, "histogram", help);
    for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
        for (unsigned s = 0; s < metrics->shards; s++)
            cumulative += __atomic_load_n(&metrics->blocks[s].histograms[histogram].buckets[i], __ATOMIC_RELAXED);
        snprintf(out->text, sizeof out->text, "%s_bucket{le=\"%s\"} %" PRIu64, family,
                 i < countof(buckets) ? buckets[i].text : "+Inf", cumulative);
        out->line(out->context, out->text);
    }
    for (unsigned s = 0; s < metrics->shards; s++)
        sum_ns += __atomic_load_n(&metrics->blocks[s].histograms[histogram].sum_ns, __ATOMIC_RELAXED);
    snprintf(out->text, sizeof out->text, "%s_sum %" PRIu64 ".%09" PRIu64, family, sum_ns / NSEC_PER_S,
             sum_ns % NSEC_PER_S);
    out->line(out->context, out->text);
    snprintf(out->text, sizeof out->text, "%s_count %" PRIu64, family, cumulative);
    out->line(out->context, out->text);
}

void metrics_expose(const struct metrics *metrics, void (*line)(void *context, const char *text), void *context)
{
    struct out out = {.line = line, .context = context};
    line(context, "# HELP sluice_build_info The version that runs.");
    line(context, "# TYPE sluice_build_info gauge");
    line(context, "sluice_build_info{version=\"" SLUICE_VERSION "\"} 1");
    snprintf(out.text, sizeof out.text, "sluice_shards %u", metrics->shards);
    line(context, "# HELP sluice_shards Threads that send.");
    line(context, "# TYPE sluice_shards gauge");
    line(context, out.text);
    for (size_t i = 0; i < countof(table); i++)
        say_row(&out, &table[i], metrics_total(metrics, table[i].metric));
    for (size_t i = 0; i < countof(histograms); i++)
        say_histogram(&out, metrics, histograms[i].histogram, histograms[i].family, histograms[i].help);
}
