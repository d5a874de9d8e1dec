/* A connection to Redis may break at any byte; what was asked is kept here until it is answered, so that the rest of
 * the engine knows only "not yet". */
#include "store/redis.h"

#include "net/stream.h"
#include "store/greeting.h"
#include "store/queue.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { DELAY_MIN_MS = 50, DELAY_MAX_MS = 5000 };

enum redis_state {
    REDIS_BROKEN = 0,
    REDIS_WAITING, /* for the back-off to be over */
    REDIS_RESOLVING,
    REDIS_CONNECTING,
    REDIS_GREETING, /* one command at a time: see `greeting` */
    REDIS_OPEN,
    REDIS_CLOSING,
};

struct redis {
    struct io *io;
    struct redis_config config;
    enum redis_state state;
    struct stream stream;
    struct resolver_query query;
    struct io_timer reconnect, retry, watch;
    struct resp_in *in;
    struct queue asked;   /* not answered yet */
    unsigned sent;        /* so many of them are on their way */
    uint64_t sent_to;     /* offset up to which bytes were handed to the stream */
    uint64_t lent_from;   /* while the stream is sending: the lowest offset that it borrows */
    struct queue refused; /* wait to be repeated */
    bool retry_due;
    nsec reconnect_delay, retry_delay; /* the last ones; 0: all went well since */
    enum greeting greeting;            /* the step that is under way */
    bool greeting_waits;               /* the next one, for the stream to have sent the last */
    struct resp_out greeting_out;
    struct resp_command command; /* of the greeting */
    nsec waiting_since;
    char trouble[256];
    char server[64]; /* its process; "" : we are not told */
    uint64_t epoch;
    nsec alive_at;
};

/* ---- sending ---- */

static bool is_waiting(const struct redis *redis)
{
    return redis->state == REDIS_CONNECTING || redis->state == REDIS_GREETING ||
           (redis->state == REDIS_OPEN && redis->sent > 0);
}

static void watch_begin(struct redis *redis)
{
    redis->waiting_since = io_now(redis->io);
    if (!io_timer_is_set(&redis->watch))
        io_timer_set(redis->io, &redis->watch, redis->waiting_since + REDIS_SILENCE_S * NSEC_PER_S);
}

void redis_flush(struct redis *redis)
{
    if (redis->state != REDIS_OPEN || stream_sending(&redis->stream))
        return;
    /* While something waits to be repeated, nothing overtakes it; but what has begun to leave leaves. */
    uint64_t to = redis->asked.out.end;
    if (redis->refused.count) {
        const struct queue_entry *last = redis->sent ? queue_at(&redis->asked, redis->sent - 1) : NULL;
        to = last ? last->at + last->size : redis->sent_to;
    }
    if (redis->sent_to >= to)
        return;
    struct slice parts[IO_SEND_PARTS];
    unsigned count = resp_out_parts(&redis->asked.out, redis->sent_to, &to, parts, IO_SEND_PARTS);
    if (!redis->sent)
        watch_begin(redis);
    redis->lent_from = redis->sent_to;
    redis->sent_to = to;
    while (redis->sent < redis->asked.count && queue_at(&redis->asked, redis->sent)->at < to)
        redis->sent++;
    stream_send(&redis->stream, parts, count);
}

static void drop_answered(struct redis *redis)
{
    uint64_t needed = redis->asked.count ? queue_at(&redis->asked, 0)->at : redis->asked.out.end;
    if (stream_sending(&redis->stream) && redis->state == REDIS_OPEN && redis->lent_from < needed)
        needed = redis->lent_from;
    resp_out_drop(&redis->asked.out, needed);
}

/* Lays everything anew that is to be sent: what was refused before what was not answered. Requires that no byte of it
 * is lent. */
static void rebuild(struct redis *redis)
{
    struct queue fresh = {0};
    for (unsigned i = 0; i < redis->refused.count; i++)
        queue_copy(&fresh, &redis->refused, i);
    for (unsigned i = 0; i < redis->asked.count; i++) {
        if (i < redis->sent)
            queue_at(&redis->asked, i)->repeated = true;
        queue_copy(&fresh, &redis->asked, i);
    }
    queue_free(&redis->refused);
    queue_free(&redis->asked);
    redis->asked = fresh;
    redis->sent = 0;
    redis->sent_to = 0;
    redis->retry_due = false;
    io_timer_clear(redis->io, &redis->retry);
}

/* ---- ending a connection ---- */

/* Three quarters to five quarters of a delay that doubles. */
static nsec back_off(struct redis *redis, nsec *delay)
{
    *delay = *delay ? nsec_min(2 * *delay, DELAY_MAX_MS * NSEC_PER_MS) : DELAY_MIN_MS * NSEC_PER_MS;
    return *delay * 3 / 4 + (nsec)(io_random(redis->io) % (uint64_t)(*delay / 2));
}

static void wait_to_reconnect(struct redis *redis)
{
    redis->state = REDIS_WAITING;
    io_timer_clear(redis->io, &redis->watch);
    io_timer_set(redis->io, &redis->reconnect, io_now(redis->io) + back_off(redis, &redis->reconnect_delay));
}

/* Commands that must not run twice and were on their way are answered with "nobody knows". */
static void give_up_once(struct redis *redis)
{
    unsigned given_up = 0;
    struct queue kept = {0};
    void **owners = calloc(redis->sent ? redis->sent : 1, sizeof *owners);
    sluice_assert(owners);
    for (unsigned i = 0; i < redis->asked.count; i++) {
        struct queue_entry *entry = queue_at(&redis->asked, i);
        if (i < redis->sent && entry->once)
            owners[given_up++] = entry->owner;
        else
            queue_copy(&kept, &redis->asked, i);
    }
    if (given_up) {
        queue_free(&redis->asked);
        redis->asked = kept;
        redis->sent -= given_up;
    } else
        queue_free(&kept);
    rebuild(redis);
    for (unsigned i = 0; i < given_up; i++)
        redis->config.answer(redis->config.context, owners[i], NULL, true);
    free(owners);
}

static void on_closed(struct stream *stream)
{
    struct redis *redis = container_of(stream, struct redis, stream);
    give_up_once(redis);
    wait_to_reconnect(redis);
}

printf_like(2, 3) static void say_trouble(struct redis *redis, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(redis->trouble, sizeof redis->trouble, format, args);
    va_end(args);
}

/* The connection is of no use any more; `trouble` says why. */
static void drop(struct redis *redis)
{
    if (redis->stream.state == STREAM_CLOSED) {
        wait_to_reconnect(redis);
        return;
    }
    redis->state = REDIS_CLOSING;
    stream_close(&redis->stream);
}

static void drop_because(struct redis *redis, const char *what, int result)
{
    char where[LIMIT_DOMAIN + 64];
    url_text(&redis->config.url, where, sizeof where);
    say_trouble(redis, "%s %s: %s", what, where, result < 0 ? strerror(-result) : "closed by Redis");
    drop(redis);
}

static void on_ended(struct stream *stream, int result)
{
    drop_because(container_of(stream, struct redis, stream), "connection to", result);
}

static void on_watch(struct io_timer *timer)
{
    struct redis *redis = container_of(timer, struct redis, watch);
    nsec until = redis->waiting_since + REDIS_SILENCE_S * NSEC_PER_S;
    if (!is_waiting(redis))
        return;
    if (io_now(redis->io) < until)
        io_timer_set(redis->io, &redis->watch, until);
    else
        drop_because(redis, "connection to", -ETIMEDOUT);
}

/* ---- the greeting ---- */

static void opened(struct redis *redis)
{
    redis->state = REDIS_OPEN;
    if (redis->config.channel)
        redis->reconnect_delay = 0;
    redis->trouble[0] = 0;
    redis_flush(redis);
}

/* Sends the next command of the greeting, if there is one left. */
static void greet(struct redis *redis)
{
    if (stream_sending(&redis->stream)) {
        redis->greeting_waits = true;
        return;
    }
    resp_begin(&redis->command);
    while (redis->greeting != GREETING_DONE && !greeting_write(redis->greeting, &redis->config, &redis->command))
        redis->greeting++;
    if (redis->greeting == GREETING_DONE) {
        opened(redis);
        return;
    }
    struct slice parts[IO_SEND_PARTS];
    resp_out_free(&redis->greeting_out);
    resp_out_command(&redis->greeting_out, &redis->command);
    uint64_t to = redis->greeting_out.end;
    unsigned count = resp_out_parts(&redis->greeting_out, 0, &to, parts, IO_SEND_PARTS);
    sluice_assert(to == redis->greeting_out.end);
    stream_send(&redis->stream, parts, count);
}

/* Whoever cannot be told from others is taken for another one each time. */
static void meet(struct redis *redis, struct slice server)
{
    if (server.n && slice_equal(server, slice_of(redis->server)))
        return;
    slice_copy(redis->server, sizeof redis->server, server);
    redis->epoch++;
    redis->alive_at = 0;
}

static void greeted(struct redis *redis, const struct resp_node *reply)
{
    char error[sizeof redis->trouble];
    if (redis->greeting == GREETING_SERVER)
        meet(redis, greeting_server(reply));
    if (!greeting_answer(&redis->greeting, reply, error, sizeof error)) {
        say_trouble(redis, "Redis answers: %s", error);
        drop(redis);
        return;
    }
    greet(redis);
}

/* ---- answers ---- */

/* An error that is about Redis' state and will pass. */
static bool is_passing(struct slice error)
{
    static const char *const passing[] = {"LOADING",  "READONLY",    "OOM",        "BUSY",   "MASTERDOWN",
                                          "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS", "MISCONF"};
    for (unsigned i = 0; i < countof(passing); i++) {
        struct slice word = slice_of(passing[i]);
        if (slice_starts_with(error, word) && (error.n == word.n || error.p[word.n] == ' '))
            return true;
    }
    return false;
}

static void refuse_head(struct redis *redis, struct slice error)
{
    struct queue_entry *head = queue_at(&redis->asked, 0);
    head->repeated = head->refused = true;
    queue_copy(&redis->refused, &redis->asked, 0);
    say_trouble(redis, "Redis answers: " SLICE_FORMAT, SLICE_ARGS(error));
    if (!io_timer_is_set(&redis->retry) && !redis->retry_due)
        io_timer_set(redis->io, &redis->retry, io_now(redis->io) + back_off(redis, &redis->retry_delay));
}

static void repeat_refused(struct redis *redis)
{
    if (redis->state != REDIS_OPEN || !redis->retry_due || redis->sent || stream_sending(&redis->stream))
        return;
    rebuild(redis);
    redis_flush(redis);
}

static void on_retry(struct io_timer *timer)
{
    struct redis *redis = container_of(timer, struct redis, retry);
    redis->retry_due = true;
    repeat_refused(redis);
}

/* False: the connection was dropped. */
static bool answered(struct redis *redis, const struct resp_node *nodes)
{
    if (!redis->sent) {
        say_trouble(redis, "Redis answers what nobody asked");
        drop(redis);
        return false;
    }
    struct queue_entry head = *queue_at(&redis->asked, 0);
    bool is_error = nodes->type == RESP_ERROR;
    redis->reconnect_delay = 0;
    redis->alive_at = nsec_max(redis->alive_at, head.asked_at);
    if (is_error && slice_starts_with(nodes->text, SLICE("ERR Function not found"))) {
        /* Somebody flushed the functions; a new connection loads them, and asks again. */
        say_trouble(redis, "Redis answers: " SLICE_FORMAT, SLICE_ARGS(nodes->text));
        drop(redis);
        return false;
    }
    bool again = is_error && is_passing(nodes->text);
    if (again)
        refuse_head(redis, nodes->text);
    else if (head.refused) {
        redis->retry_delay = 0;
        if (!redis->refused.count)
            redis->trouble[0] = 0;
    }
    queue_pop(&redis->asked);
    redis->sent--;
    drop_answered(redis);
    if (!again)
        redis->config.answer(redis->config.context, head.owner, nodes, head.repeated);
    repeat_refused(redis);
    return true;
}

static void published(struct redis *redis, const struct resp_node *nodes)
{
    if (slice_equal(resp_to_text(resp_member(nodes, 0)), SLICE("message")))
        redis->config.message(redis->config.context, resp_to_text(resp_member(nodes, 2)));
}

static void on_bytes(struct stream *stream, struct slice bytes)
{
    struct redis *redis = container_of(stream, struct redis, stream);
    const struct resp_node *nodes;
    unsigned count;
    int got;
    redis->waiting_since = io_now(redis->io);
    resp_in_feed(redis->in, bytes);
    while ((got = resp_in_next(redis->in, &nodes, &count)) > 0) {
        if (redis->state == REDIS_GREETING)
            greeted(redis, nodes);
        else if (redis->config.channel)
            published(redis, nodes);
        else if (!answered(redis, nodes))
            return;
        if (redis->state != REDIS_GREETING && redis->state != REDIS_OPEN)
            return;
    }
    if (got < 0) {
        say_trouble(redis, "what answers does not speak Redis' protocol");
        drop(redis);
    }
}

static void on_sent(struct stream *stream, int result)
{
    struct redis *redis = container_of(stream, struct redis, stream);
    if (result < 0) {
        drop_because(redis, "connection to", result);
    } else if (redis->state == REDIS_GREETING && redis->greeting_waits) {
        redis->greeting_waits = false;
        greet(redis);
    } else if (redis->state == REDIS_OPEN) {
        drop_answered(redis);
        repeat_refused(redis);
        redis_flush(redis);
    }
}

/* ---- making a connection ---- */

static void on_connected(struct stream *stream, int result)
{
    struct redis *redis = container_of(stream, struct redis, stream);
    if (result < 0) {
        drop_because(redis, "connect", result);
        return;
    }
    redis->state = REDIS_GREETING;
    redis->greeting = GREETING_AUTH;
    redis->greeting_waits = false;
    resp_in_reset(redis->in);
    watch_begin(redis);
    greet(redis);
}

static const struct stream_events events = {
    .connected = on_connected, .bytes = on_bytes, .sent = on_sent, .ended = on_ended, .closed = on_closed};

static void connect_to(struct redis *redis, const struct io_address *to)
{
    redis->state = REDIS_CONNECTING;
    int result = stream_connect(&redis->stream, redis->io, &events, NULL, to);
    if (result < 0)
        drop_because(redis, "connect", result);
    else
        watch_begin(redis);
}

static void on_resolved(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct redis *redis = container_of(query, struct redis, query);
    if (answer->status == RESOLVER_OK && answer->address_count) {
        /* Another one at each try: one of several may be dead. */
        struct io_address to = answer->addresses[io_random(redis->io) % answer->address_count];
        io_address_set_port(&to, redis->config.url.port);
        connect_to(redis, &to);
        return;
    }
    say_trouble(redis, "the host name %s of Redis cannot be resolved", redis->config.url.host);
    wait_to_reconnect(redis);
}

static void begin(struct redis *redis)
{
    const struct url *url = &redis->config.url;
    struct io_address to;
    /* RFC 6761 §6.3: this name is loopback, whatever a server says. */
    const char *host = strcmp(url->host, "localhost") == 0 ? "127.0.0.1" : url->host;
    if (io_address_parse(&to, url->is_unix ? url->path : host, url->port)) {
        connect_to(redis, &to);
    } else if (redis->config.resolver) {
        redis->state = REDIS_RESOLVING;
        redis->query.done = on_resolved;
        resolver_address_query(redis->config.resolver, &redis->query, slice_of(host), true, true);
    } else {
        say_trouble(redis, "the host %s of Redis is no address, and there is no resolver", host);
        wait_to_reconnect(redis);
    }
}

static void on_reconnect(struct io_timer *timer) { begin(container_of(timer, struct redis, reconnect)); }

struct redis *redis_open(struct io *io, const struct redis_config *config)
{
    struct redis *redis = calloc(1, sizeof *redis);
    sluice_assert(redis);
    redis->io = io;
    redis->config = *config;
    redis->in = resp_in_open();
    redis->reconnect.fire = on_reconnect;
    redis->retry.fire = on_retry;
    redis->watch.fire = on_watch;
    say_trouble(redis, "not connected to Redis yet");
    begin(redis);
    return redis;
}

void redis_close(struct redis *redis)
{
    resp_in_free(redis->in);
    queue_free(&redis->asked);
    queue_free(&redis->refused);
    resp_out_free(&redis->greeting_out);
    resp_command_free(&redis->command);
    free(redis);
}

void redis_ask(struct redis *redis, const struct resp_command *command, void *owner, unsigned flags)
{
    struct queue_entry *entry =
        queue_add(&redis->asked,
                  (struct queue_entry){.owner = owner, .asked_at = io_now(redis->io), .once = flags & REDIS_ONCE});
    entry->size = resp_out_command(&redis->asked.out, command);
}

bool redis_connected(const struct redis *redis) { return redis->state == REDIS_OPEN && !redis->trouble[0]; }
const char *redis_trouble(const struct redis *redis) { return redis->trouble; }
uint64_t redis_epoch(const struct redis *redis) { return redis->epoch; }
nsec redis_alive_at(const struct redis *redis) { return redis->alive_at; }
bool redis_knows_server(const struct redis *redis) { return redis->server[0] != 0; }

size_t redis_unanswered(const struct redis *redis)
{
    uint64_t answered_to = redis->asked.count ? queue_at(&redis->asked, 0)->at : redis->asked.out.end;
    return (size_t)(redis->asked.out.end - answered_to) + (size_t)redis->refused.out.end;
}
