/* What is held are records with the entries that people pushed, read here as the engine reads them. */
#include "cli/held.h"

#include "flow/entry.h"
#include "store/inspect.h"

#include <stdlib.h>

struct held_reader {
    struct ask *ask;
    struct slice campaign;
    struct ask_answer page;
    struct json_token *tokens;
    struct held list[HELD_PAGE];
    char rooms[HELD_PAGE][RECIPIENT_ROOM]; /* what is not literally in the entry */
};

struct held_reader *held_open(struct ask *ask, const char *campaign)
{
    struct held_reader *reader = calloc(1, sizeof *reader);
    struct json_token *tokens = calloc(RECIPIENT_TOKENS, sizeof *tokens);
    if (!reader || !tokens) {
        cli_error("no memory");
        free(reader);
        free(tokens);
        return NULL;
    }
    reader->ask = ask;
    reader->campaign = slice_of(campaign);
    reader->tokens = tokens;
    return reader;
}

void held_close(struct held_reader *reader)
{
    if (!reader)
        return;
    ask_free(&reader->page);
    free(reader->tokens);
    free(reader);
}

int held_read(struct held_reader *reader, uint64_t first, const struct held **list)
{
    *list = reader->list;
    store_inspect(reader->ask->store, ask_request(&reader->page), reader->campaign, INSPECT_HELD, SLICE(""), first,
                  HELD_PAGE);
    if (!ask_wait(reader->ask, &reader->page))
        return -1;
    for (unsigned i = 0; i < reader->page.item_count; i++) {
        struct held *held = &reader->list[i];
        struct entry entry;
        size_t position;
        held->text = reader->page.items[i];
        if (!store_record_parse(held->text, &held->record)) {
            cli_error("campaign %.*s holds something that is no record", SLICE_ARGS(reader->campaign));
            return -1;
        }
        const char *wrong = entry_read(held->record.raw, reader->tokens, reader->rooms[i], &entry, &position);
        (void)wrong; /* then it has no more than is known of it */
        held->to = entry.recipient.to;
        held->id = entry.recipient.id;
    }
    return (int)reader->page.item_count;
}
