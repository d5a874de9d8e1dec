/* A connection to Redis may break at any byte; what was asked is kept here until it is answered, so that the rest of
 * the engine knows only "not yet". */
#include "store/redis_private.h"

#include <stdlib.h>

/* ---- sending ---- */

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
        redis_watch(redis);
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

static void settle(struct redis *redis, const struct queue_entry *entry)
{
    const struct redis_hooks *hooks = redis->config.hooks;
    if (hooks && hooks->settled)
        hooks->settled(redis->config.hook_context, redis, entry->slot);
}

/* Commands that must not run twice and were on their way are answered with "nobody knows". */
static void give_up_once(struct redis *redis)
{
    unsigned given_up = 0;
    struct queue kept = {0};
    struct queue_entry *entries = calloc(redis->sent ? redis->sent : 1, sizeof *entries);
    sluice_assert(entries);
    for (unsigned i = 0; i < redis->asked.count; i++) {
        struct queue_entry *entry = queue_at(&redis->asked, i);
        if (i < redis->sent && entry->once)
            entries[given_up++] = *entry;
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
    for (unsigned i = 0; i < given_up; i++) {
        settle(redis, &entries[i]);
        redis->config.answer(redis->config.context, entries[i].owner, NULL, true);
    }
    free(entries);
}

static void on_closed(struct stream *stream)
{
    struct redis *redis = container_of(stream, struct redis, stream);
    give_up_once(redis);
    redis_wait_to_reconnect(redis);
}

static void on_ended(struct stream *stream, int result)
{
    redis_drop_because(container_of(stream, struct redis, stream), "connection to", result);
}

/* ---- the greeting ---- */

static void opened(struct redis *redis)
{
    redis->state = REDIS_OPEN;
    if (redis->config.channel)
        redis->reconnect_delay = 0;
    /* Whether it is willing again the command tells that was refused. */
    if (!redis->asked.count || !queue_at(&redis->asked, 0)->refused)
        redis->trouble[0] = 0;
    redis_flush(redis);
    if (redis->config.hooks && redis->config.hooks->opened)
        redis->config.hooks->opened(redis->config.hook_context, redis);
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
    if (redis->greeting_waits) { /* the step was not even asked */
        redis_say(redis, "Redis answers what nobody asked");
        redis_drop(redis);
        return;
    }
    if (redis->greeting == GREETING_SERVER)
        meet(redis, greeting_server(reply));
    if (!greeting_answer(&redis->greeting, reply, error, sizeof error)) {
        redis_say(redis, "Redis answers: %s", error);
        redis_drop(redis);
        return;
    }
    greet(redis);
}

/* ---- answers ---- */

enum refusal {
    REFUSAL_BROKEN = 0,
    REFUSAL_ANSWER,   /* none: it is the answer */
    REFUSAL_REPEATED, /* here, after a back-off */
    REFUSAL_TAKEN,    /* over, by whoever leads */
};

static bool begins_with_word(struct slice error, const char *text)
{
    struct slice word = slice_of(text);
    return slice_starts_with(error, word) && (error.n == word.n || error.p[word.n] == ' ');
}

/* An error that is about Redis' state and will pass. */
static bool is_passing(struct slice error, bool owed)
{
    static const char *const passing[] = {"LOADING",  "READONLY",    "OOM",        "BUSY",   "MASTERDOWN",
                                          "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS", "MISCONF"};
    for (unsigned i = 0; i < countof(passing); i++)
        if (begins_with_word(error, passing[i]))
            return true;
    return owed && begins_with_word(error, "NOPERM");
}

/* An error that is about the connection: another one may do better. The functions were flushed, and are loaded again;
 * or nobody knows any more who we are. */
static bool is_of_connection(struct slice error)
{
    return slice_starts_with(error, SLICE("ERR Function not found")) || begins_with_word(error, "NOAUTH");
}

static void refuse_head(struct redis *redis, struct slice error)
{
    struct queue_entry *head = queue_at(&redis->asked, 0);
    head->repeated = head->refused = true;
    redis->demoted |= begins_with_word(error, "READONLY");
    queue_copy(&redis->refused, &redis->asked, 0);
    redis_say(redis, "Redis answers: " SLICE_FORMAT, SLICE_ARGS(error));
    if (!io_timer_is_set(&redis->retry) && !redis->retry_due)
        io_timer_set(redis->io, &redis->retry, io_now(redis->io) + redis_back_off(redis, &redis->retry_delay));
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
    if (redis->demoted && redis->state == REDIS_OPEN)
        redis_drop(redis); /* by the same name another server may be found, that is the master now */
    else
        repeat_refused(redis);
}

/* The oldest command was answered by an error; what becomes of it? */
static enum refusal refusal_of(struct redis *redis, struct slice error)
{
    const struct redis_hooks *hooks = redis->config.hooks;
    queue_at(&redis->asked, 0)->repeated = true; /* if at all, it is asked again from here on */
    if (hooks && hooks->refused && hooks->refused(redis->config.hook_context, redis, &redis->asked, error))
        return REFUSAL_TAKEN;
    if (!is_passing(error, queue_at(&redis->asked, 0)->owed))
        return REFUSAL_ANSWER;
    refuse_head(redis, error);
    return REFUSAL_REPEATED;
}

/* False: the connection was dropped. */
static bool answered(struct redis *redis, const struct resp_node *nodes)
{
    if (!redis->sent) {
        redis_say(redis, "Redis answers what nobody asked");
        redis_drop(redis);
        return false;
    }
    struct queue_entry head = *queue_at(&redis->asked, 0);
    bool is_error = nodes->type == RESP_ERROR;
    redis->reconnect_delay = 0;
    redis->alive_at = nsec_max(redis->alive_at, head.asked_at);
    if (is_error && is_of_connection(nodes->text)) {
        redis_say(redis, "Redis answers: " SLICE_FORMAT, SLICE_ARGS(nodes->text));
        redis_drop(redis);
        return false;
    }
    enum refusal refusal = is_error ? refusal_of(redis, nodes->text) : REFUSAL_ANSWER;
    if (refusal == REFUSAL_ANSWER && head.refused) {
        redis->retry_delay = 0;
        if (!redis->refused.count)
            redis->trouble[0] = 0;
    }
    queue_pop(&redis->asked);
    redis->sent--;
    drop_answered(redis);
    if (refusal == REFUSAL_REPEATED && redis->config.master && slice_starts_with(nodes->text, SLICE("READONLY"))) {
        redis_say(redis, "Redis answers: " SLICE_FORMAT, SLICE_ARGS(nodes->text));
        redis_drop(redis); /* it is the master no more: whoever knows the master is asked again */
        return false;
    }
    if (refusal == REFUSAL_ANSWER) {
        settle(redis, &head);
        redis->config.answer(redis->config.context, head.owner, nodes, head.repeated);
    }
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
        redis_say(redis, "what answers does not speak Redis' protocol");
        redis_drop(redis);
    }
}

static void on_sent(struct stream *stream, int result)
{
    struct redis *redis = container_of(stream, struct redis, stream);
    if (result < 0) {
        redis_drop_because(redis, "connection to", result);
    } else if (redis->state == REDIS_GREETING && redis->greeting_waits) {
        redis->greeting_waits = false;
        greet(redis);
    } else if (redis->state == REDIS_OPEN) {
        drop_answered(redis);
        repeat_refused(redis);
        redis_flush(redis);
    }
}

/* ---- the connection ---- */

void redis_greet(struct redis *redis)
{
    redis->state = REDIS_GREETING;
    redis->demoted = false;
    redis->greeting = GREETING_AUTH;
    redis->greeting_waits = false;
    resp_in_reset(redis->in);
    redis_watch(redis);
    greet(redis);
}

const struct stream_events redis_stream_events = {.connected = redis_on_connected,
                                                  .secured = redis_on_secured,
                                                  .bytes = on_bytes,
                                                  .sent = on_sent,
                                                  .ended = on_ended,
                                                  .closed = on_closed};

static void on_reconnect(struct io_timer *timer) { redis_connect(container_of(timer, struct redis, reconnect)); }

struct redis *redis_open_at_rest(struct io *io, const struct redis_config *config)
{
    struct redis *redis = calloc(1, sizeof *redis);
    sluice_assert(redis);
    redis->io = io;
    redis->config = *config;
    redis->in = resp_in_open();
    redis->reconnect.fire = on_reconnect;
    redis->retry.fire = on_retry;
    redis_say(redis, "not connected to Redis yet");
    redis->state = REDIS_RESTING;
    return redis;
}

struct redis *redis_open(struct io *io, const struct redis_config *config)
{
    struct redis *redis = redis_open_at_rest(io, config);
    redis_connect(redis);
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

/* At rest nobody connects but for something. */
void redis_wake(struct redis *redis)
{
    if (redis->state == REDIS_RESTING) {
        redis->state = REDIS_WAITING;
        io_timer_set(redis->io, &redis->reconnect, io_now(redis->io));
    }
}

void redis_ask(struct redis *redis, const struct resp_command *command, void *owner, unsigned slot, uint64_t number,
               unsigned flags)
{
    struct queue_entry *entry = queue_add(&redis->asked, (struct queue_entry){.owner = owner,
                                                                              .asked_at = io_now(redis->io),
                                                                              .number = number,
                                                                              .slot = slot,
                                                                              .once = flags & REDIS_ONCE,
                                                                              .owed = flags & REDIS_OWED});
    entry->size = resp_out_command(&redis->asked.out, command);
    redis_wake(redis);
}

void redis_ask_again(struct redis *redis, const struct queue *taken, unsigned i)
{
    queue_copy(&redis->asked, taken, i);
    redis_wake(redis);
}

bool redis_is_open(const struct redis *redis) { return redis->state == REDIS_OPEN; }
const struct url_host *redis_at(const struct redis *redis) { return &redis->at; }
bool redis_connected(const struct redis *redis) { return redis->state == REDIS_OPEN && !redis->trouble[0]; }
const char *redis_trouble(const struct redis *redis) { return redis->trouble; }
uint64_t redis_epoch(const struct redis *redis) { return redis->epoch; }
nsec redis_alive_at(const struct redis *redis) { return redis->alive_at; }
bool redis_knows_server(const struct redis *redis) { return redis->server[0] != 0; }
const char *redis_server(const struct redis *redis) { return redis->server; }

size_t redis_unanswered(const struct redis *redis)
{
    uint64_t answered_to = redis->asked.count ? queue_at(&redis->asked, 0)->at : redis->asked.out.end;
    return (size_t)(redis->asked.out.end - answered_to) + (size_t)redis->refused.out.end;
}
