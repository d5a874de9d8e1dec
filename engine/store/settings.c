/* Asks a server for its state and its settings; what they mean is judged elsewhere, where no server is needed. */
#include "store/promises.h"
#include "store/step.h"

unsigned store_servers(const struct store *store) { return link_servers(store->link); }

static void read_info(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer = {.result = STORE_OK};
    (void)repeated;
    step_item(store, resp_to_text(reply));
    step_done(store, r, &answer);
}

static void read_settings(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer = {.result = STORE_OK};
    (void)repeated;
    step_items_of(store, reply);
    step_done(store, r, &answer);
}

static void ask_server(struct store *store, struct store_request *r, unsigned server,
                       void (*read)(struct store *, struct store_request *, const struct resp_node *, bool))
{
    r->state = STEP_ASKED;
    r->read = read;
    link_ask_server(store->link, server, &store->command, r, 0);
}

void store_info(struct store *store, struct store_request *r, unsigned server)
{
    step_begin_command(store, "INFO");
    ask_server(store, r, server, read_info);
}

void store_settings(struct store *store, struct store_request *r, unsigned server)
{
    step_begin_command(store, "CONFIG");
    step_text(store, "GET");
    step_text(store, "*append*");
    step_text(store, "maxmemory*");
    ask_server(store, r, server, read_settings);
}
