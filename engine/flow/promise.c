/* Whoever runs the engine hears at its start what their Redis would not keep, and not when it has been lost. */
#include "flow/promise.h"

#include "store/warmup.h"

static void ask(struct promise_watch *watch);

static void say(struct promise_watch *watch)
{
    for (unsigned i = 0; i < PROMISE_COUNT; i++) {
        unsigned bit = 1U << i;
        if (!(watch->broken & bit) || (watch->said & bit))
            continue;
        struct promise_words words = promise_words(bit);
        const struct log_field fields[] = {log_text("so", words.breaks), log_text("set", words.set)};
        log_write(watch->log, bit & PROMISE_NOTES ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, words.what, fields,
                  countof(fields));
    }
    watch->said = watch->broken;
}

static void next_server(struct promise_watch *watch)
{
    watch->broken |= promises_judge(&watch->told);
    if (++watch->server < store_servers(watch->store))
        ask(watch);
    else
        say(watch);
}

static void on_settings(struct store_request *request, const struct store_answer *answer)
{
    struct promise_watch *watch = container_of(request, struct promise_watch, request);
    if (answer->result == STORE_OK)
        promises_settings(&watch->told, answer->items, answer->item_count);
    next_server(watch);
}

static void on_info(struct store_request *request, const struct store_answer *answer)
{
    struct promise_watch *watch = container_of(request, struct promise_watch, request);
    if (answer->result == STORE_OK && answer->item_count)
        promises_info(&watch->told, answer->items[0]);
    watch->request.done = on_settings;
    store_settings(watch->store, &watch->request, watch->server);
}

static void ask(struct promise_watch *watch)
{
    watch->told = (struct promises){0};
    watch->request.done = on_info;
    store_info(watch->store, &watch->request, watch->server);
}

void promise_open(struct promise_watch *watch, struct store *store, const struct log *log)
{
    *watch = (struct promise_watch){.store = store, .log = log};
}

void promise_tick(struct promise_watch *watch)
{
    uint64_t epoch = store_epoch(watch->store);
    if (epoch == watch->epoch || store_request_busy(&watch->request) || !store_connected(watch->store))
        return;
    watch->epoch = epoch;
    watch->server = watch->broken = 0;
    ask(watch);
}
