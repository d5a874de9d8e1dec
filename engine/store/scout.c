/* Whoever asks where to go must not depend on one that knows the way. */
#include "store/scout.h"

#include "store/slot.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAUSE_MIN_MS = 50, PAUSE_MAX_MS = 1000 };

struct scout {
    struct io *io;
    struct scout_config config;
    struct redis *redis;
    unsigned at;
    bool asking;
    struct io_timer again;
    nsec pause; /* the last one; 0: the last answer was good */
    struct resp_command command;
    char why[512]; /* the last answer was none */
};

static void on_where(void *context, struct redis *redis)
{
    struct scout *scout = context;
    redis_found(redis, scout->config.host(scout->config.context, scout->at++));
}

static void disappointed(struct scout *scout)
{
    scout->pause = scout->pause ? nsec_min(2 * scout->pause, PAUSE_MAX_MS * NSEC_PER_MS) : PAUSE_MIN_MS * NSEC_PER_MS;
    io_timer_set(scout->io, &scout->again, io_now(scout->io) + scout->pause);
}

/* All errors are alike here, also those that would pass: the next server may know better. */
static bool on_refused(void *context, struct redis *redis, const struct queue *asked, struct slice error)
{
    struct scout *scout = context;
    char from[URL_HOST_TEXT];
    (void)asked;
    url_host_text(redis_at(redis), from);
    snprintf(scout->why, sizeof scout->why, "%s answers: " SLICE_FORMAT, from, SLICE_ARGS(error));
    disappointed(scout);
    return true;
}

static void on_answer(void *context, void *owner, const struct resp_node *nodes, bool repeated)
{
    struct scout *scout = context;
    char why[128] = "", from[URL_HOST_TEXT];
    (void)owner;
    (void)repeated;
    if (scout->config.answer(scout->config.context, nodes, redis_at(scout->redis), why, sizeof why)) {
        scout->asking = false;
        scout->pause = 0;
        scout->why[0] = 0;
        redis_rest(scout->redis);
        return;
    }
    url_host_text(redis_at(scout->redis), from);
    snprintf(scout->why, sizeof scout->why, "%s %s", from, why);
    disappointed(scout);
}

static void ask(struct scout *scout)
{
    resp_begin(&scout->command);
    scout->config.question(scout->config.context, &scout->command);
    redis_ask(scout->redis, &scout->command, NULL, SLOT_NONE, 0, 0);
    redis_flush(scout->redis);
}

static void on_again(struct io_timer *timer)
{
    struct scout *scout = container_of(timer, struct scout, again);
    redis_leave(scout->redis, scout->why);
    ask(scout);
}

void scout_ask(struct scout *scout)
{
    if (scout->asking)
        return;
    scout->asking = true;
    ask(scout);
}

static const struct redis_hooks hooks = {.where = on_where, .refused = on_refused};

struct scout *scout_open(struct io *io, const struct scout_config *config)
{
    struct scout *scout = calloc(1, sizeof *scout);
    struct redis_config redis = *config->redis;
    sluice_assert(scout);
    scout->io = io;
    scout->config = *config;
    scout->config.redis = NULL;
    scout->again.fire = on_again;
    redis.library = redis.library_source = redis.channel = NULL;
    redis.url.database = 0;
    redis.master = false;
    redis.silence = SCOUT_SILENCE_S * NSEC_PER_S;
    redis.answer = on_answer;
    redis.context = redis.hook_context = scout;
    redis.hooks = &hooks;
    scout->redis = redis_open_at_rest(io, &redis);
    return scout;
}

void scout_close(struct scout *scout)
{
    redis_close(scout->redis);
    resp_command_free(&scout->command);
    free(scout);
}

const char *scout_trouble(const struct scout *scout)
{
    if (!scout->asking)
        return "";
    return scout->why[0] ? scout->why : redis_trouble(scout->redis);
}
