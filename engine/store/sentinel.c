/* A master that fails is replaced by one of its replicas; who it is now the sentinels agree on. */
#include "store/sentinel.h"

#include "proto/number.h"
#include "store/scout.h"

#include <stdio.h>
#include <stdlib.h>

enum { LED = 2 };

struct led {
    struct sentinel *sentinel;
    struct redis *redis;
    bool waits;           /* to be told where */
    bool told;            /* of `next`, and has not been there yet */
    struct url_host next; /* by +switch-master */
};

struct sentinel {
    struct io *io;
    struct url url;
    struct scout *scout;
    struct redis *listener;
    unsigned listens_at;
    struct led led[LED];
    unsigned led_count;
};

static const struct url_host *host_of(void *context, unsigned at)
{
    const struct sentinel *sentinel = context;
    return &sentinel->url.hosts[at % sentinel->url.host_count];
}

static bool read_place(struct slice name, struct slice port, struct url_host *place)
{
    uint64_t number;
    if (!name.n || name.n > LIMIT_DOMAIN || !number_parse(port, UINT16_MAX, &number) || number == 0)
        return false;
    slice_copy(place->name, sizeof place->name, name);
    place->port = (uint16_t)number;
    return true;
}

/* ---- where it is ---- */

static void question(void *context, struct resp_command *command)
{
    const struct sentinel *sentinel = context;
    resp_text(command, SLICE("SENTINEL"));
    resp_text(command, SLICE("GET-MASTER-ADDR-BY-NAME"));
    resp_text(command, slice_of(sentinel->url.master));
}

static bool answer(void *context, const struct resp_node *nodes, const struct url_host *from, char *why, size_t why_cap)
{
    struct sentinel *sentinel = context;
    struct url_host place;
    (void)from;
    if (!read_place(resp_to_text(resp_member(nodes, 0)), resp_to_text(resp_member(nodes, 1)), &place)) {
        snprintf(why, why_cap, "knows no master named %.64s", sentinel->url.master);
        return false;
    }
    for (unsigned i = 0; i < sentinel->led_count; i++)
        if (sentinel->led[i].waits) {
            sentinel->led[i].waits = false;
            redis_found(sentinel->led[i].redis, &place);
        }
    return true;
}

static void on_where(void *context, struct redis *redis)
{
    struct led *led = context;
    led->redis = redis; /* asked for the first time within redis_open */
    if (led->told) {
        led->told = false;
        redis_found(redis, &led->next);
        return;
    }
    led->waits = true;
    scout_ask(led->sentinel->scout);
}

/* ---- that it is another one ---- */

/* "name old-host old-port host port" */
static void on_switch(void *context, struct slice payload)
{
    struct sentinel *sentinel = context;
    struct slice words[5] = {{0}};
    struct url_host place;
    char why[URL_HOST_TEXT + 64], text[URL_HOST_TEXT];
    for (unsigned i = 0; i < countof(words); i++) {
        const char *space = payload.n ? memchr(payload.p, ' ', payload.n) : NULL;
        words[i] = (struct slice){payload.p, space ? (size_t)(space - payload.p) : payload.n};
        size_t used = words[i].n + (space != NULL);
        payload = (struct slice){payload.p + used, payload.n - used};
    }
    if (!slice_equal(words[0], slice_of(sentinel->url.master)) || !read_place(words[3], words[4], &place))
        return;
    url_host_text(&place, text);
    snprintf(why, sizeof why, "the sentinels have made %s the master", text);
    for (unsigned i = 0; i < sentinel->led_count; i++) {
        struct led *led = &sentinel->led[i];
        const struct url_host *at = redis_at(led->redis);
        if (at->port == place.port && strcmp(at->name, place.name) == 0)
            continue;
        led->next = place;
        led->told = true;
        redis_leave(led->redis, why);
    }
}

static void on_listener_where(void *context, struct redis *redis)
{
    struct sentinel *sentinel = context;
    redis_found(redis, host_of(sentinel, sentinel->listens_at++));
}

/* ---- opening ---- */

static const struct redis_hooks led_hooks = {.where = on_where};
static const struct redis_hooks listener_hooks = {.where = on_listener_where};

struct sentinel *sentinel_open(struct io *io, const struct redis_config *config, const struct access *access)
{
    struct sentinel *sentinel = calloc(1, sizeof *sentinel);
    sluice_assert(sentinel);
    sentinel->io = io;
    sentinel->url = config->url;
    struct redis_config theirs = *config;
    theirs.url.database = 0;
    slice_copy(theirs.url.user, sizeof theirs.url.user, slice_of(access->sentinel_user));
    slice_copy(theirs.url.password, sizeof theirs.url.password, slice_of(access->sentinel_password));
    sentinel->scout = scout_open(
        io, &(struct scout_config){
                .redis = &theirs, .host = host_of, .question = question, .answer = answer, .context = sentinel});
    theirs.library = theirs.library_source = NULL;
    theirs.channel = "+switch-master";
    theirs.message = on_switch;
    theirs.context = theirs.hook_context = sentinel;
    theirs.hooks = &listener_hooks;
    sentinel->listener = redis_open(io, &theirs);
    return sentinel;
}

void sentinel_close(struct sentinel *sentinel)
{
    scout_close(sentinel->scout);
    redis_close(sentinel->listener);
    free(sentinel);
}

struct redis *sentinel_lead(struct sentinel *sentinel, const struct redis_config *config)
{
    sluice_assert(sentinel->led_count < LED);
    struct led *led = &sentinel->led[sentinel->led_count++];
    struct redis_config mine = *config;
    led->sentinel = sentinel;
    mine.master = true;
    mine.hooks = &led_hooks;
    mine.hook_context = led;
    led->redis = redis_open(sentinel->io, &mine);
    return led->redis;
}

const char *sentinel_trouble(const struct sentinel *sentinel)
{
    for (unsigned i = 0; i < sentinel->led_count; i++)
        if (sentinel->led[i].waits)
            return scout_trouble(sentinel->scout);
    return "";
}
