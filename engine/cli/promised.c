/* Before an engine is started is the time to hear that its Redis keeps nothing. */
#include "cli/promised.h"

#include "cli/ask.h"
#include "store/promises.h"

#include <stdio.h>

/* False: Redis is away; that was said. */
static bool read_server(struct ask *ask, struct ask_answer *answer, unsigned server, struct promises *told)
{
    store_info(ask->store, ask_request(answer), server);
    if (ask_wait(ask, answer) && answer->item_count)
        promises_info(told, answer->items[0]);
    if (!answer->done)
        return false;
    store_settings(ask->store, ask_request(answer), server);
    if (ask_wait(ask, answer))
        promises_settings(told, answer->items, answer->item_count);
    return answer->done;
}

static void print_broken(unsigned broken)
{
    for (unsigned i = 0; i < PROMISE_COUNT; i++) {
        struct promise_words words;
        if (!(broken & 1U << i))
            continue;
        words = promise_words(1U << i);
        fprintf(stderr, "sluice: %s: %s: %s. Set: %s\n", 1U << i & PROMISE_NOTES ? "note" : "warning", words.what,
                words.breaks, words.set);
    }
}

void promised_print(const struct config *config)
{
    struct ask ask;
    struct ask_answer answer = {.done = false};
    unsigned broken = 0;
    bool asked = ask_open(&ask, config);
    for (unsigned server = 0; asked && (server == 0 || server < store_servers(ask.store)); server++) {
        struct promises told = {0};
        asked = read_server(&ask, &answer, server, &told);
        if (asked)
            broken |= promises_judge(&told);
    }
    if (asked)
        print_broken(broken);
    else
        fprintf(stderr, "sluice: warning: whether Redis' settings keep what Sluice promises could not be checked\n");
    ask_free(&answer);
    if (ask.group)
        ask_close(&ask);
}
