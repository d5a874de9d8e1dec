/* Makes the engine's asynchronous store answer one question at a time, for people who wait at a terminal. */
#include "cli/ask.h"

#include "control/embedded.h"
#include "control/redis_access.h"
#include "store/url.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { AWAY_S = 5, SILENT_S = 60, SLICE_MS = 200 };

bool ask_open(struct ask *ask, const struct config *config)
{
    struct url url;
    char error[URL_ERROR] = "";
    *ask = (struct ask){.config = config};
    if (config->redis[0])
        snprintf(ask->url, sizeof ask->url, "%s", config->redis);
    else
        embedded_url(config->state_dir, ask->url, sizeof ask->url);
    if (!url_parse(&url, ask->url, error, sizeof error) || !redis_access_usable(config, error, sizeof error)) {
        cli_error("%s", error);
        return false;
    }
    url_text(&url, ask->where, sizeof ask->where);
    bool needs_names = url.kind != URL_UNIX;
    ask->group = io_group_open(1);
    if (ask->group)
        ask->io = io_open(&(struct io_config){.group = ask->group, .sessions_max = 128}, error, sizeof error);
    if (ask->io && needs_names)
        ask->resolver = resolver_open(ask->io,
                                      &(struct resolver_config){.servers = config->resolver,
                                                                .timeout = config->resolver_timeout,
                                                                .tries = config->resolver_tries},
                                      error, sizeof error);
    if (ask->io && (ask->resolver || !needs_names))
        ask->store = store_open(ask->io, ask->resolver,
                                &(struct store_config){.url = ask->url,
                                                       .access = &config->redis_access,
                                                       .prefix = config->prefix,
                                                       .engine = "sluice-command-line",
                                                       .incarnation = (uint64_t)time(NULL)},
                                error, sizeof error);
    if (ask->store)
        return true;
    cli_error("%s", error[0] ? error : "no memory");
    ask_close(ask);
    return false;
}

void ask_close(struct ask *ask)
{
    if (ask->resolver)
        resolver_close(ask->resolver);
    if (ask->io)
        io_close_all(ask->io);
    if (ask->store)
        store_close(ask->store);
    if (ask->group)
        io_group_close(ask->group);
    *ask = (struct ask){0};
}

/* ---- answers ---- */

static void copy_items(struct ask_answer *answer, const struct store_answer *from)
{
    size_t bytes = 1, at = 0;
    for (unsigned i = 0; i < from->item_count; i++)
        bytes += from->items[i].n + 1;
    answer->items = calloc(from->item_count + 1, sizeof *answer->items);
    answer->bytes = malloc(bytes);
    sluice_assert(answer->items && answer->bytes);
    for (unsigned i = 0; i < from->item_count; i++) {
        size_t n = from->items[i].n;
        answer->items[i] = (struct slice){from->items[i].p ? answer->bytes + at : NULL, n};
        if (n)
            memcpy(answer->bytes + at, from->items[i].p, n);
        answer->bytes[at + n] = 0;
        at += n + 1;
    }
    answer->item_count = from->item_count;
}

static void on_answer(struct store_request *request, const struct store_answer *from)
{
    struct ask_answer *answer = container_of(request, struct ask_answer, request);
    answer->done = true;
    answer->result = from->result;
    answer->state = from->state;
    answer->number = from->number;
    slice_copy(answer->error, sizeof answer->error, from->error);
    copy_items(answer, from);
}

void ask_free(struct ask_answer *answer)
{
    free(answer->items);
    free(answer->bytes);
    answer->items = NULL;
    answer->bytes = NULL;
    answer->item_count = 0;
}

struct store_request *ask_request(struct ask_answer *answer)
{
    ask_free(answer);
    *answer = (struct ask_answer){.request = {.done = on_answer}};
    return &answer->request;
}

static void say_away(const struct ask *ask)
{
    const char *trouble = store_trouble(ask->store);
    cli_error("redis does not answer: %s", trouble[0] ? trouble : ask->where);
    if (!ask->config->redis[0])
        cli_error("%s names no redis, so this is the engine's private one: does `sluice run` run with this "
                  "configuration, as this user?",
                  ask->config->file);
}

bool ask_wait(struct ask *ask, struct ask_answer *answer)
{
    nsec began = io_now(ask->io), connected = began;
    if (ask->gave_up)
        return false;
    store_flush(ask->store);
    while (!answer->done) {
        nsec now = io_now(ask->io);
        if (store_connected(ask->store))
            connected = now;
        if (now - connected > AWAY_S * NSEC_PER_S || now - began > SILENT_S * NSEC_PER_S) {
            say_away(ask);
            ask->gave_up = true;
            return false;
        }
        io_turn(ask->io, now + SLICE_MS * NSEC_PER_MS);
        store_flush(ask->store);
    }
    if (answer->result == STORE_OK)
        return true;
    cli_error("redis refused: %s", answer->error[0] ? answer->error : "no reason given");
    return false;
}

/* ---- signals ---- */

static void ending_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
}

void ask_hold_signals(void)
{
    sigset_t set;
    ending_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Signals that are not held back end the program by themselves, so there is none to be found then. */
bool ask_interrupted(void)
{
    sigset_t set;
    struct timespec none = {0};
    ending_signals(&set);
    return sigtimedwait(&set, NULL, &none) > 0;
}

bool ask_pause(struct ask *ask, nsec pause)
{
    nsec until = io_now(ask->io) + pause;
    for (nsec now; !ask->gave_up && (now = io_now(ask->io)) < until;) {
        if (ask_interrupted())
            return false;
        io_turn(ask->io, nsec_min(until, now + SLICE_MS * NSEC_PER_MS));
        store_flush(ask->store);
    }
    return !ask->gave_up;
}
