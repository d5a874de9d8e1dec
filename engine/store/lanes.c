/* A back-off that a restart forgets is a back-off that an ISP sees broken: so it stands in Redis too. */
#include "store/lanes.h"

#include "store/step.h"

void store_lanes(struct store *store, struct store_request *r, struct slice name)
{
    step_begin_command(store, "HGETALL");
    step_global_key(store, "lane:", name);
    step_ask(store, r, step_read_command, 0);
}

static void read_written(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer = {.result = STORE_OK, .number = resp_to_number(resp_member(reply, 0))};
    (void)repeated;
    step_done(store, r, &answer);
}

void store_lane(struct store *store, struct store_request *r, struct slice name, struct slice field, uint64_t version,
                struct slice text)
{
    step_begin_single(store, "lane", "lane:", name);
    resp_text(&store->command, field);
    resp_unsigned(&store->command, version);
    resp_text(&store->command, text);
    step_ask(store, r, read_written, 0);
}
