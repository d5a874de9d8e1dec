/* What people see of a campaign: shard 0 writes its phase, and ends it. */
#include "flow/shard.h"

static const nsec unserved = 10 * NSEC_PER_S; /* a heartbeat's life */

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

static bool is_said(const char *phase, struct slice reason, const char *said, const char *said_reason)
{
    return strcmp(phase, said) == 0 && slice_equal(reason, slice_of(said_reason));
}

/* That we lack its pool is no news to whoever reads what an engine that has it says. So it is said where nobody else
 * has said anything, or has a lease, for a while; and once: who says something else then serves it. */
static bool another_serves(const struct shard *shard, struct campaign *campaign, const char *phase, struct slice reason)
{
    const struct store_view *view = &campaign->view;
    bool lacks_pool = campaign->pool < 0 && strcmp(phase, "waiting") == 0 && reason.p == campaign->reason;
    if (!lacks_pool || !view->phase[0] ||
        is_said(view->phase, slice_of(view->reason), campaign->said, campaign->said_reason))
        return false;
    if (is_said(phase, reason, campaign->said, campaign->said_reason))
        return true;
    nsec now = io_now(shard->io);
    if (!campaign->unserved_since || view->owner_count > shard->neighbours.dead_count)
        campaign->unserved_since = now;
    return now - campaign->unserved_since < unserved;
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
    if (is_said(phase, reason, campaign->view.phase, campaign->view.reason) ||
        another_serves(shard, campaign, phase, reason))
        return;
    log_phase(shard, campaign, phase, reason);
    store_phase(shard->store, &campaign->phase, slice_of(campaign->id), phase, reason);
}
