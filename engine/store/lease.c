/* The steps on a lease: taking it, its ledger, and what ends a recipient in it. */
#include "store/replay.h"

#include "proto/event.h"

#include <stdio.h>

enum { ENDS_MAX = 256 };

/* ---- taking and giving back ---- */

static void read_lease(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer;
    (void)repeated;
    if (step_head(reply, &answer)) {
        answer.first = resp_to_unsigned(resp_member(reply, 2));
        step_items_of(store, resp_member(reply, 3));
    }
    step_done(store, r, &answer);
}

static void lease_limits(struct store *store, unsigned most)
{
    sluice_assert(most >= 1 && most <= LIMIT_LEASE_RECIPIENTS);
    resp_unsigned(&store->command, most);
    resp_unsigned(&store->command, LIMIT_LEASE_BYTES);
    resp_unsigned(&store->command, LIMIT_RECIPIENT);
}

void store_lease_list(struct store *store, struct store_request *r, struct slice campaign, struct slice lease,
                      unsigned most)
{
    step_begin_lease(store, "lease_list", campaign, lease, 0);
    step_fence(store, lease);
    lease_limits(store, most);
    step_ask_numbered(store, r, read_lease, campaign, REPLAY_LEASE);
}

void store_lease_parked(struct store *store, struct store_request *r, struct slice campaign, struct slice lease,
                        struct slice isp, unsigned most)
{
    step_begin_lease(store, "lease_parked", campaign, lease, 1);
    step_key(store, campaign, "parked:", isp);
    step_fence(store, lease);
    lease_limits(store, most);
    resp_text(&store->command, isp);
    step_ask_numbered(store, r, read_lease, campaign, REPLAY_LEASE);
}

void store_lease_retry(struct store *store, struct store_request *r, struct slice campaign, struct slice lease,
                       int64_t due_ms, unsigned most)
{
    step_begin_lease(store, "lease_retry", campaign, lease, 0);
    step_fence(store, lease);
    lease_limits(store, most);
    resp_number(&store->command, due_ms);
    step_ask_numbered(store, r, read_lease, campaign, REPLAY_LEASE);
}

static void read_adopt(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer;
    (void)repeated;
    if (step_head(reply, &answer)) {
        answer.first = resp_to_unsigned(resp_member(reply, 2));
        answer.is_batch = resp_to_number(resp_member(reply, 3)) == 1;
        answer.ledger = resp_to_text(resp_member(reply, 4));
        step_items_of(store, resp_member(reply, 5));
    }
    step_done(store, r, &answer);
}

void store_adopt(struct store *store, struct store_request *r, struct slice campaign, struct slice lease,
                 struct slice owner, uint64_t incarnation)
{
    step_begin_lease(store, "adopt", campaign, lease, 0);
    step_fence(store, lease);
    resp_unsigned(&store->command, ++store->adoptions);
    resp_text(&store->command, owner);
    resp_unsigned(&store->command, incarnation);
    resp_unsigned(&store->command, LIMIT_RECIPIENT);
    step_ask_numbered(store, r, read_adopt, campaign, REPLAY_ADOPT);
}

void store_release(struct store *store, struct store_request *r, struct slice campaign, struct slice lease)
{
    step_begin_lease(store, "release", campaign, lease, 0);
    step_fence(store, lease);
    step_ask_numbered(store, r, step_read_plain, campaign, REPLAY_WORK);
}

/* ---- the ledger ---- */

void store_permit(struct store *store, struct store_request *r, struct slice campaign, struct slice lease,
                  const uint32_t *permits, unsigned permit_count, const uint32_t *withdrawn, unsigned withdrawn_count)
{
    step_begin_lease(store, "permit", campaign, lease, 0);
    step_fence(store, lease);
    resp_unsigned(&store->command, permit_count);
    for (unsigned i = 0; i < permit_count; i++)
        resp_unsigned(&store->command, permits[i]);
    for (unsigned i = 0; i < withdrawn_count; i++)
        resp_unsigned(&store->command, withdrawn[i]);
    step_ask_numbered(store, r, step_read_plain, campaign, REPLAY_WORK);
}

/* ---- records: "seq attempt first_ms source raw" ---- */

/* A source's name as one word of a record: "-" is none. */
static struct slice source_word(struct slice source)
{
    bool is_word = source.n > 0 && source.n <= LIMIT_SOURCE_NAME && !memchr(source.p, ' ', source.n);
    return is_word ? source : SLICE("-");
}

static void write_record(struct store *store, const struct store_record *record)
{
    char head[96];
    int n = snprintf(head, sizeof head, "%llu %u %lld ", (unsigned long long)record->seq, record->attempt,
                     (long long)record->first_ms);
    const struct slice parts[] = {{head, (size_t)n}, source_word(record->source), SLICE(" "), record->raw};
    resp_joined(&store->command, parts, countof(parts));
}

/* Takes digits and the space behind them off the front. */
static bool take_number(struct slice *text, uint64_t max, uint64_t *number)
{
    size_t n = 0;
    uint64_t value = 0;
    for (; n < text->n && text->p[n] >= '0' && text->p[n] <= '9'; n++) {
        uint64_t digit = (uint64_t)(text->p[n] - '0');
        if (value > (max - digit) / 10)
            return false;
        value = 10 * value + digit;
    }
    if (n == 0 || n == text->n || text->p[n] != ' ')
        return false;
    *text = (struct slice){text->p + n + 1, text->n - n - 1};
    *number = value;
    return true;
}

bool store_record_parse(struct slice text, struct store_record *record)
{
    uint64_t attempt, first_ms;
    *record = (struct store_record){0};
    if (!take_number(&text, UINT64_MAX, &record->seq) || !take_number(&text, UINT32_MAX, &attempt) ||
        !take_number(&text, INT64_MAX, &first_ms))
        return false;
    const char *space = text.n ? memchr(text.p, ' ', text.n) : NULL;
    if (!space || space == text.p)
        return false;
    record->attempt = (uint32_t)attempt;
    record->first_ms = (int64_t)first_ms;
    record->source = (struct slice){text.p, (size_t)(space - text.p)};
    record->raw = (struct slice){space + 1, text.n - record->source.n - 1};
    if (slice_equal(record->source, SLICE("-")))
        record->source = SLICE("");
    return true;
}

/* ---- ends ---- */

/* The lists of ISPs that a call parks to: each is a key of the step. */
struct parked_keys {
    unsigned count;
    uint16_t of_end[ENDS_MAX]; /* number of the list, from 1 */
    struct slice isps[ENDS_MAX];
};

static void find_parked_keys(struct parked_keys *keys, const struct store_end *ends, unsigned count)
{
    keys->count = 0;
    for (unsigned i = 0; i < count; i++) {
        if (ends[i].kind != STORE_END_PARK)
            continue;
        unsigned k = 0;
        while (k < keys->count && !slice_equal(keys->isps[k], ends[i].isp))
            k++;
        if (k == keys->count)
            keys->isps[keys->count++] = ends[i].isp;
        keys->of_end[i] = (uint16_t)(k + 1);
    }
}

void step_event(struct store *store, const struct event *event, bool full)
{
    struct event_field fields[EVENT_FIELDS_MAX];
    char scratch[EVENT_SCRATCH_MAX];
    sluice_assert(event);
    unsigned n = event_fields(event, full, fields, countof(fields), scratch, sizeof scratch);
    resp_unsigned(&store->command, 2 * n);
    for (unsigned i = 0; i < n; i++) {
        resp_text(&store->command, fields[i].name);
        resp_text(&store->command, fields[i].value);
    }
}

static void write_end(struct store *store, const struct store_end *end, unsigned list)
{
    static const char *const letters[] = {[STORE_END_EVENT] = "E",
                                          [STORE_END_RETRY] = "R",
                                          [STORE_END_PARK] = "P",
                                          [STORE_END_HOLD] = "H",
                                          [STORE_END_RESEND] = "R"};
    sluice_assert(end->kind > STORE_END_BROKEN && (unsigned)end->kind < countof(letters));
    step_text(store, letters[end->kind]);
    resp_unsigned(&store->command, end->index);
    if (end->kind == STORE_END_PARK) {
        resp_unsigned(&store->command, 0);
        resp_unsigned(&store->command, list);
        resp_text(&store->command, end->isp);
    } else
        step_event(store, end->event, end->full);
    if (end->kind == STORE_END_RETRY || end->kind == STORE_END_RESEND)
        resp_number(&store->command, end->due_ms);
    if (end->kind != STORE_END_EVENT)
        write_record(store, &end->record);
}

static void read_end(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer;
    if (step_head(reply, &answer))
        answer.number = resp_to_number(resp_member(reply, 2));
    else if (repeated && step_gone(reply)) {
        /* The lease was ours when this was asked and is gone since it was first sent: all of it is ended, by this very
         * step or by what was sent behind it, and only the answer was lost. */
        answer.result = STORE_OK;
        answer.number = r->closes;
    }
    step_done(store, r, &answer);
}

void store_end(struct store *store, struct store_request *r, struct slice campaign, struct slice lease,
               const struct store_end *ends, unsigned count, bool close)
{
    struct parked_keys parked;
    sluice_assert(count <= ENDS_MAX);
    find_parked_keys(&parked, ends, count);
    step_begin_lease(store, "end", campaign, lease, parked.count);
    for (unsigned i = 0; i < parked.count; i++)
        step_key(store, campaign, "parked:", parked.isps[i]);
    step_fence(store, lease);
    step_text(store, close ? "1" : "0");
    resp_unsigned(&store->command, count);
    for (unsigned i = 0; i < count; i++)
        write_end(store, &ends[i], parked.of_end[i]);
    r->closes = close;
    step_ask_numbered(store, r, read_end, campaign, REPLAY_WORK);
}

/* ---- unique addresses ---- */

static void read_unique(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer;
    (void)repeated;
    if (step_head(reply, &answer))
        step_items_of(store, resp_member(reply, 2));
    step_done(store, r, &answer);
}

void store_unique(struct store *store, struct store_request *r, struct slice campaign, const struct slice *addresses,
                  const uint64_t *seqs, unsigned count)
{
    step_begin(store, "unique", campaign, 0);
    for (unsigned i = 0; i < count; i++) {
        resp_unsigned(&store->command, seqs[i]);
        resp_text(&store->command, addresses[i]);
    }
    step_ask_numbered(store, r, read_unique, campaign, REPLAY_UNIQUE);
}
