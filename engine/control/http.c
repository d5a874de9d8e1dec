/* Lets people and programs look at the engine without touching it. */
#include "control/http.h"

#include "flow/lane.h"

#include <errno.h>
#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 32, CONNECTION_TIMEOUT_S = 10, HEALTH_MAX = 512, SILENCE_S = 15 };

struct http {
    struct http_config config;
    struct MHD_Daemon *daemon;
    int64_t started_ms;
    pthread_mutex_t lock; /* of config.relays */
};

static struct relays *relays_of(struct http *http)
{
    pthread_mutex_lock(&http->lock);
    struct relays *relays = relays_hold(http->config.relays);
    pthread_mutex_unlock(&http->lock);
    return relays;
}

void http_relays(struct http *http, struct relays *relays)
{
    if (!http)
        return;
    pthread_mutex_lock(&http->lock);
    relays_close(http->config.relays);
    http->config.relays = relays_hold(relays);
    pthread_mutex_unlock(&http->lock);
}

static int64_t wall_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- boards ---- */

/* The boards of all shards in one list. */
struct boards {
    struct metrics_row *rows; /* owned */
    size_t count;
    uint64_t left_out;
    int64_t oldest_ms; /* when the shard that published first did so; 0: one has not yet */
};

static bool same_place(const struct metrics_row *a, const struct metrics_row *b)
{
    return strcmp(a->isp, b->isp) == 0 && strcmp(a->source, b->source) == 0 && strcmp(a->pool, b->pool) == 0;
}

/* A lane that is split over shards has a row from each: they are parts of one. */
static void add_up(struct metrics_row *sum, const struct metrics_row *part)
{
    sum->sessions += part->sessions;
    sum->connecting += part->connecting;
    sum->waiting += part->waiting;
    sum->parked += part->parked;
    sum->open += part->open;
    sum->started += part->started;
    sum->delivered += part->delivered;
    sum->deferred += part->deferred;
    sum->bounced += part->bounced;
    sum->started_per_ks += part->started_per_ks;
    if (!sum->why[0])
        memcpy(sum->why, part->why, sizeof sum->why);
    if (part->next_ms && (!sum->next_ms || part->next_ms < sum->next_ms))
        sum->next_ms = part->next_ms;
}

static bool boards_read(const struct metrics *metrics, struct boards *boards)
{
    unsigned shards = metrics_shards(metrics);
    *boards = (struct boards){.rows = calloc((size_t)shards * METRICS_BOARD_ROWS, sizeof(struct metrics_row))};
    struct metrics_row *one = calloc(METRICS_BOARD_ROWS, sizeof *one);
    bool good = boards->rows && one;
    for (unsigned i = 0; good && i < shards; i++) {
        struct metrics_board board;
        good = metrics_board_read(metrics_look(metrics, i), one, &board);
        for (unsigned j = 0; good && j < board.count; j++) {
            size_t at = 0;
            while (at < boards->count && !same_place(&boards->rows[at], &one[j]))
                at++;
            if (at < boards->count)
                add_up(&boards->rows[at], &one[j]);
            else
                boards->rows[boards->count++] = one[j];
        }
        if (good && (i == 0 || board.wall_ms < boards->oldest_ms))
            boards->oldest_ms = board.wall_ms;
        if (good)
            boards->left_out += board.left_out;
    }
    free(one);
    if (!good)
        free(boards->rows);
    return good;
}

/* ---- health ---- */

/* All shards are connected to Redis and have published their board of late. Else `reason` says what is not so. */
static bool shards_healthy(const struct metrics *metrics, int64_t wall_ms, char *reason, size_t cap)
{
    unsigned shards = metrics_shards(metrics);
    uint64_t connected = metrics_total(metrics, METRIC_REDIS_CONNECTED);
    for (unsigned i = 0; i < shards; i++) {
        int64_t published_ms = metrics_board_time(metrics_look(metrics, i));
        if (published_ms == 0) {
            snprintf(reason, cap, "shard %u is starting", i);
            return false;
        }
        if (wall_ms - published_ms > SILENCE_S * 1000) {
            snprintf(reason, cap, "shard %u has been silent for %jd seconds", i,
                     (intmax_t)(wall_ms - published_ms) / 1000);
            return false;
        }
    }
    if (connected < shards) {
        snprintf(reason, cap, "redis is away: %ju of %u shards are connected", (uintmax_t)connected, shards);
        return false;
    }
    snprintf(reason, cap, "ok");
    return true;
}

/* Also of relays that have stopped, although a restart would not help those. */
static bool health(struct http *http, int64_t wall_ms, char *reason, size_t cap)
{
    bool healthy = shards_healthy(http->config.metrics, wall_ms, reason, cap);
    struct relays *relays = relays_of(http);
    if (healthy && !relays_complaint(relays, reason, cap))
        snprintf(reason, cap, "ok");
    relays_close(relays);
    return healthy;
}

/* ---- status ---- */

/* For `sluice why`: what it waits for, and where its time went since it began. */
static bool add_waits(json_t *json, const struct metrics_row *row)
{
    json_t *waited = json_object();
    for (unsigned i = 0; i < LANE_WHY_COUNT; i++)
        if (row->waited_ms[i])
            json_object_set_new(waited, lane_why_key((enum lane_why)i), json_integer((json_int_t)row->waited_ms[i]));
    return json_object_set_new(json, "wait", json_string(lane_why_key((enum lane_why)row->wait))) == 0 &&
           json_object_set_new(json, "allowed", json_integer((json_int_t)row->allowed)) == 0 &&
           json_object_set_new(json, "percent", json_integer((json_int_t)row->percent)) == 0 &&
           json_object_set_new(json, "message_us", json_integer((json_int_t)row->message_us)) == 0 &&
           json_object_set_new(json, "connect_us", json_integer((json_int_t)row->connect_us)) == 0 &&
           json_object_set_new(json, "waited_ms", waited) == 0;
}

static json_t *row_json(struct metrics_row *row)
{
    /* A server's words may be in there, and JSON takes UTF-8 only. */
    for (char *p = row->why; *p; p++)
        if ((unsigned char)*p < ' ' || (unsigned char)*p > '~')
            *p = '?';
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "pool", row->pool, "isp", row->isp, "source", row->source,
                  "sessions", (json_int_t)row->sessions, "connecting", (json_int_t)row->connecting, "waiting",
                  (json_int_t)row->waiting, "parked", (json_int_t)row->parked, "open", (json_int_t)row->open);
    json_t *more = json_pack("{s:I, s:I, s:I, s:I, s:I, s:s, s:I}", "started", (json_int_t)row->started, "delivered",
                             (json_int_t)row->delivered, "deferred", (json_int_t)row->deferred, "bounced",
                             (json_int_t)row->bounced, "started_per_ks", (json_int_t)row->started_per_ks, "why",
                             row->why, "next_ms", (json_int_t)row->next_ms);
    if (json && more && json_object_update(json, more) == 0 && add_waits(json, row)) {
        json_decref(more);
        return json;
    }
    json_decref(json);
    json_decref(more);
    return NULL;
}

static json_t *totals_json(const struct metrics *metrics)
{
    static const struct {
        const char *name;
        enum metric metric;
    } shown[] = {
        {"delivered", METRIC_DELIVERED},
        {"deferred", METRIC_DEFERRED},
        {"bounced", METRIC_BOUNCED},
        {"expired", METRIC_EXPIRED},
        {"suppressed", METRIC_SUPPRESSED},
        {"invalid", METRIC_INVALID},
        {"cancelled", METRIC_CANCELLED},
        {"in_doubt", METRIC_IN_DOUBT},
        {"started", METRIC_STARTED},
        {"sessions", METRIC_SESSIONS},
        {"waiting", METRIC_ATTEMPTS_WAITING},
        {"open", METRIC_ATTEMPTS_OPEN},
        {"leases", METRIC_LEASES},
        {"campaigns", METRIC_CAMPAIGNS},
        {"redis_connected", METRIC_REDIS_CONNECTED},
        {"busy_per_mille", METRIC_BUSY_PERMILLE}, /* these two are added up over the shards */
        {"redis_us", METRIC_REDIS_US},
        {"dns_waiting", METRIC_DNS_WAITING},
    };
    json_t *totals = json_object();
    for (size_t i = 0; totals && i < countof(shown); i++)
        json_object_set_new(totals, shown[i].name, json_integer((json_int_t)metrics_total(metrics, shown[i].metric)));
    return totals;
}

static char *status_text(struct http *http)
{
    const struct metrics *metrics = http->config.metrics;
    struct boards boards;
    char reason[HEALTH_MAX], *text = NULL;
    int64_t now_ms = wall_now_ms();
    bool healthy = health(http, now_ms, reason, sizeof reason);
    if (!boards_read(metrics, &boards))
        return NULL;
    json_t *rows = json_array();
    for (size_t i = 0; i < boards.count; i++)
        json_array_append_new(rows, row_json(&boards.rows[i]));
    json_t *status =
        json_pack("{s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:b, s:s, s:o, s:o, s:I}", "version", SLUICE_VERSION, "engine",
                  http->config.engine, "pid", (int)getpid(), "shards", (int)metrics_shards(metrics), "started_ms",
                  (json_int_t)http->started_ms, "now_ms", (json_int_t)now_ms, "published_ms",
                  (json_int_t)boards.oldest_ms, "healthy", healthy, "health", reason, "totals", totals_json(metrics),
                  "rows", rows, "rows_left_out", (json_int_t)boards.left_out);
    if (status)
        text = json_dumps(status, JSON_COMPACT);
    json_decref(status);
    free(boards.rows);
    return text;
}

/* ---- metrics ---- */

struct growing {
    char *text;
    size_t n, cap;
};

static void add_line(void *context, const char *line)
{
    struct growing *g = context;
    size_t n = strlen(line);
    if (g->n + n + 2 > g->cap) {
        size_t cap = 2 * (g->n + n + 2);
        char *grown = realloc(g->text, cap);
        if (!grown)
            return;
        g->text = grown;
        g->cap = cap;
    }
    memcpy(g->text + g->n, line, n);
    memcpy(g->text + g->n + n, "\n", 2);
    g->n += n + 1;
}

/* ---- HTTP ---- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type, char *text)
{
    /* MHD_RESPMEM_MUST_FREE frees the text with free(), also json_dumps' and realloc's. */
    struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **request)
{
    struct http *http = context;
    char reason[HEALTH_MAX] = "", line[HEALTH_MAX + 2];
    unsigned status = MHD_HTTP_OK;
    const char *type = "text/plain; charset=utf-8";
    char *text = NULL;
    (void)version, (void)upload, (void)request;
    if (*upload_size) { /* nobody has anything to tell us */
        *upload_size = 0;
        return MHD_YES;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        status = MHD_HTTP_METHOD_NOT_ALLOWED;
        text = strdup("only GET\n");
    } else if (strcmp(url, "/metrics") == 0) {
        struct growing grown = {0};
        metrics_expose(http->config.metrics, add_line, &grown);
        struct relays *relays = relays_of(http);
        relays_expose(relays, add_line, &grown);
        relays_close(relays);
        text = grown.text;
        type = "text/plain; version=0.0.4; charset=utf-8";
    } else if (strcmp(url, "/health") == 0) {
        if (!health(http, wall_now_ms(), reason, sizeof reason))
            status = MHD_HTTP_SERVICE_UNAVAILABLE;
        snprintf(line, sizeof line, "%s\n", reason);
        text = strdup(line);
    } else if (strcmp(url, "/status") == 0) {
        text = status_text(http);
        type = "application/json";
    } else {
        status = MHD_HTTP_NOT_FOUND;
        text = strdup("/metrics, /health or /status\n");
    }
    if (!text) {
        status = MHD_HTTP_SERVICE_UNAVAILABLE;
        text = strdup("not now\n");
    }
    return text ? answer(connection, status, type, text) : MHD_NO;
}

struct http *http_open(const struct http_config *config, char *error, size_t error_cap)
{
    struct http *http = calloc(1, sizeof *http);
    char where[128];
    sigset_t all, before;
    if (!http) {
        snprintf(error, error_cap, "http: no memory");
        return NULL;
    }
    http->config = *config;
    http->config.relays = relays_hold(config->relays);
    pthread_mutex_init(&http->lock, NULL);
    http->started_ms = wall_now_ms();
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL;
    if (config->at.storage.ss_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    /* A thread inherits its maker's mask; signals are for the main thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = 0;
    http->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, http, MHD_OPTION_SOCK_ADDR, &config->at.storage,
                                    MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                                    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_TIMEOUT_S, MHD_OPTION_END);
    int failed = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!http->daemon) {
        io_address_text(&config->at, where, sizeof where);
        snprintf(error, error_cap, "http cannot listen on %s port %u: %s; change `http` in the configuration", where,
                 io_address_port(&config->at), failed ? strerror(failed) : "the address is in use");
        relays_close(http->config.relays);
        free(http);
        return NULL;
    }
    return http;
}

void http_close(struct http *http)
{
    if (!http)
        return;
    MHD_stop_daemon(http->daemon);
    relays_close(http->config.relays);
    pthread_mutex_destroy(&http->lock);
    free(http);
}
