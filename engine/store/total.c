/* Several engines share what an ISP takes from all of them: one place in Redis says who has how much. */
#include "store/total.h"

#include "store/step.h"

static void read_total(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer;
    (void)repeated;
    if (step_head(reply, &answer))
        answer.number = resp_to_number(resp_member(reply, 2));
    step_done(store, r, &answer);
}

void store_total(struct store *store, struct store_request *r, struct slice isp, unsigned parts, unsigned uses,
                 bool wants, nsec life)
{
    char tail[LIMIT_ISP_NAME + 2] = ":";
    slice_copy(tail + 1, sizeof tail - 1, isp);
    step_begin_single(store, "total", "total", slice_of(tail));
    step_text(store, store->engine);
    step_text(store, store->incarnation);
    resp_unsigned(&store->command, parts);
    resp_unsigned(&store->command, uses);
    resp_unsigned(&store->command, wants);
    resp_unsigned(&store->command, (uint64_t)(life / NSEC_PER_MS));
    step_ask(store, r, read_total, 0);
}
