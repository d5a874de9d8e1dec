/* Lets a test read like a list of steps. */
#include "asker.h"

#include <stdio.h>
#include <stdlib.h>

enum { PATIENCE_S = 20 };

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "asker: %s\n", what);
    abort();
}

static struct slice keep(struct asker *asker, struct slice text)
{
    check(asker->bytes_n + text.n <= ASKER_BYTES, "the answer is too large for the test");
    struct slice kept = {asker->bytes + asker->bytes_n, text.n};
    if (text.n)
        memcpy(asker->bytes + asker->bytes_n, text.p, text.n);
    asker->bytes_n += text.n;
    return kept;
}

static void on_done(struct store_request *request, const struct store_answer *answer)
{
    struct asker *asker = container_of(request, struct asker, request);
    check(!asker->done && !store_request_busy(request), "an answer comes once");
    check(answer->item_count <= ASKER_ITEMS_MAX, "too many items for the test");
    asker->bytes_n = 0;
    asker->answer = *answer;
    slice_copy(asker->error, sizeof asker->error, answer->error);
    asker->answer.ledger = keep(asker, answer->ledger);
    for (unsigned i = 0; i < answer->item_count; i++)
        asker->items[i] = keep(asker, answer->items[i]);
    asker->answer.items = asker->items;
    asker->done = true;
    asker->answers++;
}

struct asker *asker_open(const char *url, const char *engine, uint64_t incarnation, struct asker *io_of)
{
    struct asker *asker = calloc(1, sizeof *asker);
    char error[512] = "";
    check(asker != NULL, "no memory");
    asker->bytes = malloc(ASKER_BYTES);
    check(asker->bytes != NULL, "no memory");
    if (io_of) {
        asker->io = io_of->io;
    } else {
        asker->group = io_group_open(1);
        check(asker->group != NULL, "io_group_open");
        struct io_config io_config = {.group = asker->group, .shard = 0, .sessions_max = 64};
        asker->io = io_open(&io_config, error, sizeof error);
        check(asker->io != NULL, error);
    }
    struct store_config config = {.url = url, .prefix = "sluice", .engine = engine, .incarnation = incarnation};
    asker->store = store_open(asker->io, NULL, &config, error, sizeof error);
    check(asker->store != NULL, error);
    asker->done = true;
    asker->request.done = on_done;
    return asker;
}

void asker_close(struct asker *asker)
{
    if (asker->group) {
        io_close_all(asker->io);
        io_group_close(asker->group);
    }
    store_close(asker->store);
    free(asker->bytes);
    free(asker);
}

struct store_request *asker_next(struct asker *asker)
{
    check(asker->done, "one step at a time");
    asker->done = false;
    return &asker->request;
}

const struct store_answer *asker_wait(struct asker *asker)
{
    nsec limit = io_now(asker->io) + PATIENCE_S * NSEC_PER_S;
    while (!asker->done) {
        store_flush(asker->store);
        if (io_now(asker->io) > limit)
            check(false, store_trouble(asker->store)[0] ? store_trouble(asker->store) : "no answer");
        io_turn(asker->io, limit);
    }
    return &asker->answer;
}

void asker_turn(struct asker *asker, nsec duration)
{
    nsec until = io_now(asker->io) + duration;
    while (io_now(asker->io) < until) {
        store_flush(asker->store);
        io_turn(asker->io, until);
    }
}
