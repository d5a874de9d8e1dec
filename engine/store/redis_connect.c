/* How a connection to Redis comes about: where it goes, by which address, and through TLS, if it is to be private. */
#include "store/redis_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

enum { DELAY_MIN_MS = 50, DELAY_MAX_MS = 5000 };

/* ---- trouble, and ending a connection ---- */

nsec redis_back_off(struct redis *redis, nsec *delay)
{
    *delay = *delay ? nsec_min(2 * *delay, DELAY_MAX_MS * NSEC_PER_MS) : DELAY_MIN_MS * NSEC_PER_MS;
    return *delay * 3 / 4 + (nsec)(io_random(redis->io) % (uint64_t)(*delay / 2));
}

void redis_say(struct redis *redis, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(redis->trouble, sizeof redis->trouble, format, args);
    va_end(args);
}

void redis_wait_to_reconnect(struct redis *redis)
{
    const struct redis_hooks *hooks = redis->config.hooks;
    io_timer_clear(redis->io, &redis->watch);
    redis->state = REDIS_WAITING;
    if (hooks && hooks->lost) {
        struct queue taken = redis->asked;
        redis->asked = (struct queue){0};
        redis->sent_to = 0;
        hooks->lost(redis->config.hook_context, redis, &taken);
        sluice_assert(!taken.count);
    }
    if (redis->to_rest && !redis->asked.count)
        redis->state = REDIS_RESTING;
    else
        io_timer_set(redis->io, &redis->reconnect, io_now(redis->io) + redis_back_off(redis, &redis->reconnect_delay));
    redis->to_rest = false;
}

void redis_drop(struct redis *redis)
{
    if (redis->stream.state == STREAM_CLOSED) {
        redis_wait_to_reconnect(redis);
        return;
    }
    redis->state = REDIS_CLOSING;
    stream_close(&redis->stream);
}

static void place_text(const struct redis *redis, char text[URL_HOST_TEXT])
{
    if (redis->config.url.kind == URL_UNIX)
        snprintf(text, URL_HOST_TEXT, "unix:%s", redis->config.url.path);
    else
        url_host_text(&redis->at, text);
}

void redis_drop_because(struct redis *redis, const char *what, int result)
{
    char where[URL_HOST_TEXT];
    place_text(redis, where);
    redis_say(redis, "%s %s: %s", what, where, result < 0 ? strerror(-result) : "closed by Redis");
    redis_drop(redis);
}

static bool is_waiting(const struct redis *redis)
{
    return redis->state == REDIS_CONNECTING || redis->state == REDIS_GREETING ||
           (redis->state == REDIS_OPEN && redis->sent > 0);
}

static nsec silent_until(const struct redis *redis)
{
    bool opens = redis->state == REDIS_CONNECTING || redis->state == REDIS_GREETING;
    nsec silence = redis->config.silence ? redis->config.silence : REDIS_SILENCE_S * NSEC_PER_S;
    return redis->waiting_since + (opens ? nsec_min(silence, REDIS_OPENING_S * NSEC_PER_S) : silence);
}

static void on_watch(struct io_timer *timer)
{
    struct redis *redis = container_of(timer, struct redis, watch);
    if (!is_waiting(redis))
        return;
    if (io_now(redis->io) < silent_until(redis))
        io_timer_set(redis->io, &redis->watch, silent_until(redis));
    else
        redis_drop_because(redis, "connection to", -ETIMEDOUT);
}

void redis_watch(struct redis *redis)
{
    redis->waiting_since = io_now(redis->io);
    redis->watch.fire = on_watch;
    if (!io_timer_is_set(&redis->watch))
        io_timer_set(redis->io, &redis->watch, silent_until(redis));
}

/* ---- making one ---- */

/* Sessions of one server are not offered to another one. FNV-1a. */
static uint64_t place_key(const struct url_host *host)
{
    uint64_t hash = 14695981039346656037u ^ host->port;
    for (const char *p = host->name; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    return hash;
}

void redis_on_connected(struct stream *stream, int result)
{
    struct redis *redis = container_of(stream, struct redis, stream);
    const char *name = redis->config.tls_name;
    if (result < 0) {
        redis_drop_because(redis, "connect", result);
        return;
    }
    if (!redis->config.tls) {
        redis_greet(redis);
        return;
    }
    name = name && name[0] ? name : redis->at.name;
    struct tls_demand demand = {
        .check = TLS_CHECK_PKIX, .server_name = name, .names = {name}, .name_count = 1, .key = place_key(&redis->at)};
    stream_secure(stream, redis->config.tls, &demand);
}

void redis_on_secured(struct stream *stream, const struct tls_result *result)
{
    struct redis *redis = container_of(stream, struct redis, stream);
    if (result->ok) {
        redis_greet(redis);
        return;
    }
    char where[URL_HOST_TEXT];
    place_text(redis, where);
    redis_say(redis, "TLS with %s: %s", where, result->reason);
    redis_drop(redis);
}

static void connect_to(struct redis *redis, const struct io_address *to)
{
    redis->state = REDIS_CONNECTING;
    int result = stream_connect(&redis->stream, redis->io, &redis_stream_events, NULL, to);
    if (result < 0)
        redis_drop_because(redis, "connect", result);
    else
        redis_watch(redis);
}

static void on_resolved(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct redis *redis = container_of(query, struct redis, query);
    if (!redis->to_rest && answer->status == RESOLVER_OK && answer->address_count) {
        /* Another one at each try: one of several may be dead. */
        struct io_address to = answer->addresses[io_random(redis->io) % answer->address_count];
        io_address_set_port(&to, redis->at.port);
        connect_to(redis, &to);
        return;
    }
    redis_say(redis, "the host name %s of Redis cannot be resolved", redis->at.name);
    redis_wait_to_reconnect(redis);
}

static void connect_to_host(struct redis *redis)
{
    struct io_address to;
    bool is_unix = redis->config.url.kind == URL_UNIX;
    /* RFC 6761 §6.3: this name is loopback, whatever a server says. */
    const char *host = strcmp(redis->at.name, "localhost") == 0 ? "127.0.0.1" : redis->at.name;
    if (io_address_parse(&to, is_unix ? redis->config.url.path : host, redis->at.port)) {
        connect_to(redis, &to);
    } else if (redis->config.resolver) {
        redis->state = REDIS_RESOLVING;
        redis->query.done = on_resolved;
        resolver_address_query(redis->config.resolver, &redis->query, slice_of(host), true, true);
    } else {
        redis_say(redis, "the host %s of Redis is no address, and there is no resolver", host);
        redis_wait_to_reconnect(redis);
    }
}

void redis_connect(struct redis *redis)
{
    const struct redis_hooks *hooks = redis->config.hooks;
    redis->to_rest = false;
    if (hooks && hooks->where) {
        redis->state = REDIS_SEEKING;
        hooks->where(redis->config.hook_context, redis);
        return;
    }
    redis->at = redis->config.url.hosts[0];
    connect_to_host(redis);
}

void redis_found(struct redis *redis, const struct url_host *host)
{
    if (redis->state != REDIS_SEEKING)
        return;
    if (!host) {
        redis_wait_to_reconnect(redis);
        return;
    }
    redis->at = *host;
    connect_to_host(redis);
}

/* ---- led by others ---- */

void redis_leave(struct redis *redis, const char *why)
{
    if (redis->state != REDIS_CONNECTING && redis->state != REDIS_GREETING && redis->state != REDIS_OPEN)
        return;
    redis_say(redis, "%s", why);
    redis_drop(redis);
}

void redis_rest(struct redis *redis)
{
    sluice_assert(!redis->asked.count && !redis->refused.count);
    if (redis->state == REDIS_RESTING)
        return;
    redis->to_rest = true;
    if (redis->state == REDIS_WAITING || redis->state == REDIS_SEEKING) {
        io_timer_clear(redis->io, &redis->reconnect);
        redis_wait_to_reconnect(redis);
    } else if (redis->state != REDIS_RESOLVING && redis->state != REDIS_CLOSING)
        redis_drop(redis);
}

bool redis_at_rest(const struct redis *redis) { return redis->state == REDIS_RESTING; }

void redis_move(struct redis *redis, const struct url_host *host)
{
    sluice_assert(redis->state == REDIS_RESTING && !redis->asked.count);
    redis->config.url.hosts[0] = *host;
    redis->server[0] = 0; /* whoever answers there is another one */
    redis->reconnect_delay = 0;
}
