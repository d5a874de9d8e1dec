/* A lease is a run of recipients that are ours until each has ended; this file turns its bytes into attempts. */
#include "flow/lease.h"

#include <stdio.h>

#include "flow/entry.h"
#include "flow/outcome.h"

enum { EXTRA_BYTES = 16 * 1024 };

/* Memory for what is decoded from entries, beyond the entries themselves. */
struct lease_extra {
    struct lease_extra *next;
    size_t used;
};

/* ---- asking ---- */

static struct slice new_lease_id(struct intake *intake, char id[LIMIT_LEASE_ID + 1])
{
    int n =
        snprintf(id, LIMIT_LEASE_ID + 1, "%.40s.%llx.%u.%llu", intake->config->engine,
                 (unsigned long long)intake->incarnation, intake->shard, (unsigned long long)++intake->lease_number);
    return (struct slice){id, (size_t)n};
}

static void begin(struct intake *intake, struct campaign *campaign, enum metric kind)
{
    sluice_assert(!campaign->leasing);
    campaign->leasing = true;
    campaign->leasing_kind = kind;
    intake->asked++;
}

void lease_list(struct intake *intake, struct campaign *campaign, unsigned most)
{
    begin(intake, campaign, METRIC_LEASED_LIST);
    store_lease_list(intake->store, &campaign->step, slice_of(campaign->id), new_lease_id(intake, campaign->leasing_id),
                     most);
}

static void count_here(struct intake_list *list, int n, bool high)
{
    list->here += (unsigned)n;
    list->high += high ? (unsigned)n : 0;
}

void lease_records(struct intake *intake, struct campaign *campaign, struct slice list, unsigned most)
{
    begin(intake, campaign, METRIC_LEASED_PARKED);
    campaign->leasing_most = most;
    campaign->leasing_high = campaign->high;
    if (campaign->leasing_list >= 0)
        count_here(&intake->lists[campaign->leasing_list], (int)most, campaign->high);
    store_lease_parked(intake->store, &campaign->step, slice_of(campaign->id),
                       new_lease_id(intake, campaign->leasing_id), list, most);
}

void lease_due(struct intake *intake, struct campaign *campaign, int64_t due_ms, unsigned most)
{
    begin(intake, campaign, METRIC_LEASED_RETRY);
    store_lease_retry(intake->store, &campaign->step, slice_of(campaign->id),
                      new_lease_id(intake, campaign->leasing_id), due_ms, most);
}

void lease_adopt(struct intake *intake, struct campaign *campaign, struct slice lease, struct slice owner,
                 uint64_t incarnation)
{
    begin(intake, campaign, METRIC_LEASED_ADOPTED);
    slice_copy(campaign->leasing_id, sizeof campaign->leasing_id, lease);
    store_adopt(intake->store, &campaign->step, slice_of(campaign->id), lease, owner, incarnation);
}

/* ---- memory ---- */

static char *extra_bytes(struct intake *intake, struct lease *lease, size_t n)
{
    struct lease_extra *extra = lease->extra;
    size_t cap = EXTRA_BYTES - sizeof *extra;
    if (!extra || extra->used + n > cap) {
        extra = buddy_take(&intake->memory, EXTRA_BYTES);
        sluice_assert(extra); /* room_for_lease has kept as much as its entries can decode to */
        extra->next = lease->extra;
        extra->used = 0;
        lease->extra = extra;
    }
    char *at = (char *)(extra + 1) + extra->used;
    extra->used += n;
    return at;
}

static struct slice keep(struct intake *intake, struct lease *lease, struct slice bytes)
{
    if (!bytes.n)
        return (struct slice){"", 0};
    char *at = extra_bytes(intake, lease, bytes.n);
    memcpy(at, bytes.p, bytes.n);
    return (struct slice){at, bytes.n};
}

void lease_free(struct intake *intake, struct lease *lease)
{
    while (lease->extra) {
        struct lease_extra *extra = lease->extra;
        lease->extra = extra->next;
        buddy_give(&intake->memory, extra);
    }
    if (lease->bytes)
        buddy_give(&intake->memory, lease->bytes);
    *(lease->prev ? &lease->prev->next : &intake->leases) = lease->next;
    if (lease->next)
        lease->next->prev = lease->prev;
    *(lease->mate_before ? &lease->mate_before->mate : &lease->campaign->first_lease) = lease->mate;
    if (lease->mate)
        lease->mate->mate_before = lease->mate_before;
    lease->campaign->leases--;
    lease->campaign->bytes -= lease->size;
    intake->lease_count--;
    metrics_set(intake->metrics, METRIC_LEASES, intake->lease_count);
    pool_give(&intake->lease_pool, lease);
}

static struct lease *lease_make(struct intake *intake, struct campaign *campaign, const struct store_answer *answer)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < answer->item_count; i++)
        bytes += answer->items[i].n;
    struct lease *lease = pool_take(&intake->lease_pool);
    char *memory = buddy_take(&intake->memory, bytes + 1);
    sluice_assert(lease && memory); /* room_for_lease has looked */
    memset(lease, 0, sizeof *lease);
    lease->campaign = campaign;
    lease->campaign_id = campaign->id;
    lease->bytes = memory;
    lease->size = bytes;
    campaign->bytes += bytes;
    lease->count = answer->item_count;
    lease->first = answer->first;
    slice_copy(lease->id, sizeof lease->id, slice_of(campaign->leasing_id));
    lease->next = intake->leases;
    if (lease->next)
        lease->next->prev = lease;
    intake->leases = lease;
    lease->mate = campaign->first_lease;
    if (lease->mate)
        lease->mate->mate_before = lease;
    campaign->first_lease = lease;
    intake->lease_count++;
    campaign->leases++;
    metrics_set(intake->metrics, METRIC_LEASES, intake->lease_count);
    return lease;
}

/* ---- reading ---- */

/* Two bits a recipient, in the order of SETBIT: the first is the highest of its byte. */
static bool ledger_bit(struct slice ledger, uint32_t bit)
{
    return bit / 8 < ledger.n && ((unsigned char)ledger.p[bit / 8] >> (7 - bit % 8) & 1);
}

static void settle_invalid(struct intake *intake, struct attempt *attempt, const char *reason, size_t position)
{
    struct outcome outcome;
    char text[256];
    int n = snprintf(text, sizeof text, "%s, at byte %zu", reason, position);
    outcome_make(&outcome, STAGE_RECIPIENT, HAPPENING_INVALID, (struct slice){text, (size_t)n});
    intake->on->settle(intake->context, attempt, &outcome);
}

static void settle_as(struct intake *intake, struct attempt *attempt, enum stage stage, enum happening happening,
                      const char *text)
{
    struct outcome outcome;
    outcome_make(&outcome, stage, happening, slice_of(text));
    intake->on->settle(intake->context, attempt, &outcome);
}

/* Fills in address and id as far as they can be read. Returns NULL, or what is wrong with the entry, and where. */
static const char *read_entry(struct intake *intake, struct attempt *attempt, size_t *position)
{
    char room[RECIPIENT_ROOM];
    struct entry entry;
    const char *wrong = entry_read(attempt->raw, intake->tokens, room, &entry, position);
    const struct recipient *recipient = &entry.recipient;
    if (!recipient->to.n)
        return wrong;
    attempt->to = recipient->in_room ? keep(intake, attempt->lease, recipient->to) : recipient->to;
    attempt->id = recipient->in_room ? keep(intake, attempt->lease, recipient->id) : recipient->id;
    if (wrong)
        return wrong;
    /* The address's own domain lies in attempt->to by now, if that was copied. */
    if (entry.domain[0])
        attempt->domain = keep(intake, attempt->lease, slice_of(entry.domain));
    else
        attempt->domain = (struct slice){attempt->to.p + (entry.address.domain.p - recipient->to.p),
                                         entry.address.domain.n};
    return NULL;
}

static void take_record(struct attempt *attempt, struct slice text)
{
    struct store_record record;
    attempt->number = 1;
    attempt->raw = text;
    if (!store_record_parse(text, &record))
        return; /* read_entry will name it invalid */
    attempt->seq = record.seq;
    attempt->number = record.attempt + 1;
    attempt->first_ms = record.first_ms;
    attempt->last_source = record.source;
    attempt->raw = record.raw;
}

static struct attempt *attempt_make(struct intake *intake, struct lease *lease, uint32_t index, struct slice text)
{
    struct attempt *attempt = pool_take(&intake->attempt_pool);
    sluice_assert(attempt); /* room_for_lease has looked */
    memset(attempt, 0, sizeof *attempt);
    attempt->campaign = lease->campaign;
    attempt->lease = lease;
    attempt->index = index;
    attempt->to = attempt->id = attempt->domain = attempt->last_source = (struct slice){"", 0};
    lease->campaign->attempts++;
    if (lease->batch) {
        take_record(attempt, text);
    } else {
        attempt->seq = lease->first + index;
        attempt->number = 1;
        attempt->raw = text;
    }
    return attempt;
}

static void admit(struct intake *intake, struct attempt *attempt)
{
    struct campaign *campaign = attempt->campaign;
    int64_t now_ms = io_wall(intake->io) / NSEC_PER_MS;
    if (campaign->state == STORE_CANCELLED)
        settle_as(intake, attempt, STAGE_RECIPIENT, HAPPENING_CANCELLED, "the campaign was cancelled");
    else if (campaign->hours.not_after_ms && now_ms > campaign->hours.not_after_ms)
        settle_as(intake, attempt, STAGE_RECIPIENT, HAPPENING_EXPIRED, "not_after has passed");
    else
        intake->on->admit(intake->context, attempt);
}

/* ---- `unique`: an address once per campaign ---- */

static void unique_answered(struct store_request *request, const struct store_answer *answer)
{
    struct lease *lease = container_of(request, struct lease, unique);
    struct intake *intake = lease->campaign->intake;
    struct attempt *attempt = lease->checked;
    lease->checked = NULL;
    for (unsigned i = 0; attempt; i++) {
        struct attempt *next = attempt->next;
        attempt->next = NULL;
        if (answer->result == STORE_OK && i < answer->item_count && !slice_equal(answer->items[i], SLICE("1")))
            settle_as(intake, attempt, STAGE_RECIPIENT, HAPPENING_DUPLICATE, "the address has had this campaign");
        else
            admit(intake, attempt);
        attempt = next;
    }
    lease->unanswered--;
    intake_answered(intake, lease);
}

static void check_unique(struct intake *intake, struct lease *lease, struct attempt *first)
{
    struct slice addresses[LIMIT_LEASE_RECIPIENTS];
    uint64_t seqs[LIMIT_LEASE_RECIPIENTS];
    unsigned count = 0;
    for (struct attempt *attempt = first; attempt; attempt = attempt->next) {
        char *lower = extra_bytes(intake, lease, attempt->to.n);
        for (size_t i = 0; i < attempt->to.n; i++)
            lower[i] = ascii_lower(attempt->to.p[i]);
        addresses[count] = (struct slice){lower, attempt->to.n};
        seqs[count++] = attempt->seq;
    }
    lease->checked = first;
    lease->unique.done = unique_answered;
    lease->unanswered++;
    store_unique(intake->store, &lease->unique, slice_of(lease->campaign_id), addresses, seqs, count);
}

/* ---- taking ---- */

/* Makes the attempts that the ledger does not say have ended. The bytes move into the lease's memory. */
static struct attempt *read_items(struct intake *intake, struct lease *lease, const struct store_answer *answer)
{
    struct attempt *first = NULL, **end = &first;
    char *at = lease->bytes;
    for (uint32_t i = 0; i < answer->item_count; i++) {
        if (ledger_bit(answer->ledger, 2 * i + 1))
            continue;
        struct slice item = {at, answer->items[i].n};
        memcpy(at, answer->items[i].p, item.n);
        at += item.n;
        struct attempt *attempt = attempt_make(intake, lease, i, item);
        attempt->permit_set = ledger_bit(answer->ledger, 2 * i);
        lease->open++;
        *end = attempt;
        end = &attempt->next;
    }
    return first;
}

/* What an earlier engine permitted and did not end may have left: nobody knows. */
static bool in_doubt(struct intake *intake, struct attempt *attempt)
{
    if (!attempt->permit_set)
        return false;
    size_t position;
    (void)read_entry(intake, attempt, &position); /* its event names the address if there is one */
    settle_as(intake, attempt, STAGE_BODY, HAPPENING_IN_DOUBT, "the engine ended while its body might have left");
    return true;
}

static void hand_over(struct intake *intake, struct lease *lease, struct attempt *attempt)
{
    struct attempt *check = NULL, **end = &check;
    while (attempt) {
        struct attempt *next = attempt->next;
        attempt->next = NULL;
        size_t position;
        const char *wrong = NULL;
        bool over = in_doubt(intake, attempt) || (wrong = read_entry(intake, attempt, &position));
        if (wrong) {
            settle_invalid(intake, attempt, wrong, position);
        } else if (!over && lease->campaign->unique && attempt->number == 1) {
            *end = attempt;
            end = &attempt->next;
        } else if (!over) {
            admit(intake, attempt);
        }
        attempt = next;
    }
    if (check)
        check_unique(intake, lease, check);
}

static void note_answer(struct campaign *campaign, const struct store_answer *answer)
{
    unsigned count = answer->item_count;
    struct store_view *view = &campaign->view;
    if (campaign->leasing_kind == METRIC_LEASED_LIST) {
        view->taken = count ? answer->first + count : view->pushed; /* until the next look */
    } else if (campaign->leasing_kind == METRIC_LEASED_RETRY) {
        view->retry -= count < view->retry ? count : view->retry;
        if (!count)
            view->retry_due_ms = INT64_MAX; /* until the next look */
    }
}

static void returned(struct store_request *request, const struct store_answer *answer)
{
    struct lease *lease = container_of(request, struct lease, give_back);
    lease->refused = answer->result == STORE_REFUSED; /* fenced: it is another's already */
    lease->releasing = lease->releasing && !lease->refused;
    lease->unanswered--;
    intake_answered(lease->campaign->intake, lease);
}

/* All of it had ended; only its keys are left. */
static void lease_close(struct intake *intake, struct lease *lease)
{
    lease->give_back.done = returned;
    lease->unanswered++;
    store_end(intake->store, &lease->give_back, slice_of(lease->campaign_id), slice_of(lease->id), NULL, 0, true);
}

void lease_give_back(struct intake *intake, struct lease *lease)
{
    if (lease->releasing || (!lease->open && !lease->refused) || store_request_busy(&lease->give_back))
        return; /* whoever wants it given back asks again and again */
    lease->releasing = true;
    lease->give_back.done = returned;
    lease->unanswered++;
    store_release(intake->store, &lease->give_back, slice_of(lease->campaign_id), slice_of(lease->id));
}

static void checked(struct store_request *request, const struct store_answer *answer)
{
    struct lease *lease = container_of(request, struct lease, give_back);
    struct intake *intake = lease->campaign->intake;
    if (answer->result != STORE_OK) {
        lease->lost = true;
        lease->refused |= answer->result == STORE_REFUSED;
        intake->on->stopped(intake->context, lease->campaign); /* what waits of it is let go */
    }
    lease->unanswered--;
    intake_answered(intake, lease);
}

void lease_check_all(struct intake *intake)
{
    for (struct lease *lease = intake->leases; lease; lease = lease->next) {
        if (!lease->open || lease->lost || store_request_busy(&lease->give_back))
            continue;
        lease->give_back.done = checked;
        lease->unanswered++;
        store_permit(intake->store, &lease->give_back, slice_of(lease->campaign_id), slice_of(lease->id), NULL, 0, NULL,
                     0);
    }
}

void lease_stepped(struct store_request *request, const struct store_answer *answer)
{
    struct campaign *campaign = container_of(request, struct campaign, step);
    struct intake *intake = campaign->intake;
    campaign->leasing = false;
    intake->asked--;
    bool parked = campaign->leasing_kind == METRIC_LEASED_PARKED;
    if (parked && campaign->leasing_list >= 0)
        count_here(&intake->lists[campaign->leasing_list], -(int)campaign->leasing_most, campaign->leasing_high);
    if (answer->result == STORE_REFUSED) {
        campaign_refused(campaign, answer->error);
        return;
    }
    if (answer->result != STORE_OK)
        return;
    note_answer(campaign, answer);
    if (answer->item_count) {
        struct lease *lease = lease_make(intake, campaign, answer);
        lease->batch = campaign->leasing_kind == METRIC_LEASED_ADOPTED ? answer->is_batch
                                                                       : campaign->leasing_kind != METRIC_LEASED_LIST;
        lease->list = parked ? campaign->leasing_list : -1;
        lease->high = campaign->leasing_high;
        metrics_add(intake->metrics, campaign->leasing_kind, answer->item_count);
        struct attempt *attempts = read_items(intake, lease, answer);
        if (lease->list >= 0)
            count_here(&intake->lists[lease->list], (int)lease->open, lease->high);
        intake_state(intake, campaign, answer->state);
        if (attempts)
            hand_over(intake, lease, attempts);
        else
            lease_close(intake, lease);
        if (intake->draining)
            lease_give_back(intake, lease);
        return;
    }
    intake_state(intake, campaign, answer->state);
}
