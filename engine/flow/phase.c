/* What people see of a campaign: shard 0 writes its phase, and ends it. */
#include "flow/shard.h"

static void on_phase(struct store_request *request, const struct store_answer *answer)
{
    struct campaign *campaign = container_of(request, struct campaign, phase);
    if (campaign->finishing && answer->result == STORE_OK && answer->number == 1)
        campaign->listed = false;
    campaign->finishing = false;
}

/* Once, however often Redis refuses to have it written. */
static void log_phase(struct shard *shard, struct campaign *campaign, const char *phase, struct slice reason)
{
    if (strcmp(campaign->said, phase) == 0 && slice_equal(reason, slice_of(campaign->said_reason)))
        return;
    slice_copy(campaign->said, sizeof campaign->said, slice_of(phase));
    slice_copy(campaign->said_reason, sizeof campaign->said_reason, reason);
    log_info(&shard->log, "campaign", log_text("campaign", campaign->id), log_text("phase", phase),
             log_slice("reason", reason));
}

void carry_say_phase(struct shard *shard, struct campaign *campaign)
{
    if (shard->index != 0 || shard->phase != SHARD_RUNNING || store_request_busy(&campaign->phase))
        return;
    if (!campaign->listed && campaign_owes_nothing(campaign))
        return; /* it has been ended, and told so; a look that was on its way then must not tell it again */
    struct slice reason;
    const char *phase = campaign_phase(campaign, &reason);
    campaign->phase.done = on_phase;
    if (strcmp(phase, "done") == 0 || strcmp(phase, "cancelled") == 0) {
        campaign->finishing = true;
        store_finish(shard->store, &campaign->phase, slice_of(campaign->id), phase, campaign->keep_s);
        return;
    }
    if (strcmp(phase, campaign->view.phase) == 0 && slice_equal(reason, slice_of(campaign->view.reason)))
        return;
    log_phase(shard, campaign, phase, reason);
    store_phase(shard->store, &campaign->phase, slice_of(campaign->id), phase, reason);
}
