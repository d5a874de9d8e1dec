/* Promise 1 is kept here in the small: whatever an attempt came to, exactly one of event, retry, hold and park follows.
 */
#include "flow/outcome.h"

#include "proto/event.h"
#include "proto/policy/backoff.h"

void outcome_make(struct outcome *outcome, enum stage stage, enum happening happening, struct slice text)
{
    memset(outcome, 0, sizeof *outcome);
    outcome->stage = stage;
    outcome->happening = happening;
    slice_copy(outcome->reply, sizeof outcome->reply, text);
}

static struct store_record record_of(const struct attempt *attempt, uint32_t made, int64_t first_ms,
                                     struct slice source)
{
    return (struct store_record){
        .seq = attempt->seq, .attempt = made, .first_ms = first_ms, .source = source, .raw = attempt->raw};
}

void outcome_park(struct settlement *settlement, const struct attempt *attempt, struct slice isp)
{
    settlement->lease = attempt->lease;
    settlement->end = (struct store_end){
        .kind = STORE_END_PARK,
        .index = attempt->index,
        .isp = isp,
        .record = record_of(attempt, attempt->number - 1, attempt->first_ms, attempt->last_source),
    };
}

static void describe(struct settlement *s, const struct attempt *attempt, const struct verdict *verdict,
                     const struct outcome_world *world)
{
    const struct outcome *o = &s->outcome;
    s->event = (struct event){
        .type = verdict->type,
        .seq = attempt->seq,
        .id = attempt->id,
        .to = attempt->to,
        .source = world->source,
        .isp = world->isp,
        .status = slice_of(o->status[0] ? o->status : verdict->status),
        .code = o->code,
        .ms = o->started_wall && o->took > 0 ? (uint64_t)(o->took / NSEC_PER_MS) : 0,
        .started_us = (uint64_t)(o->started_wall / NSEC_PER_US),
        .attempt = attempt->number,
        .final = true,
        .stage = slice_of(stage_name(o->stage)),
        .class_ = slice_of(bounce_class_name(verdict->bounce.class_)),
        .kind = slice_of(bounce_kind_name(verdict->bounce.kind)),
        .rule = slice_of(s->rule),
        .reply = slice_of(o->reply),
        .mx = slice_of(o->mx),
        .ip = slice_of(o->ip),
        .tls = slice_of(o->tls),
        .bytes = o->bytes,
        .message_id = slice_of(o->message_id),
    };
}

/* What becomes of a recipient whose copy may have arrived: the campaign says (design: `in_doubt`). */
static void doubt(struct settlement *s, const struct attempt *attempt, const struct outcome_world *world)
{
    enum campaign_doubt policy = attempt->campaign->doubt;
    s->end.kind = policy == DOUBT_RESEND ? STORE_END_RESEND : policy == DOUBT_DROP ? STORE_END_EVENT : STORE_END_HOLD;
    s->event.final = policy == DOUBT_DROP;
    if (policy == DOUBT_RESEND) {
        s->end.due_ms = world->wall / NSEC_PER_MS;
        s->event.next_at_ms = (uint64_t)s->end.due_ms;
    }
}

static void defer(struct settlement *s, const struct attempt *attempt, const struct outcome_world *world,
                  int64_t first_ms)
{
    struct backoff_schedule schedule = {
        .delays = world->limits->retry, .count = world->limits->retry_count, .expire = world->limits->expire};
    struct backoff_next next =
        backoff_retry(&schedule, attempt->number, first_ms * NSEC_PER_MS, world->wall, world->random);
    nsec named = s->verdict.retry_after + s->verdict.retry_after / 4; /* at the earliest, after a fifth is taken off */
    if (named) {
        /* The first time the server is taken at its word; if it says so again and again, it is not asked more often than
         * anybody is. */
        schedule.delays = &named, schedule.count = 1;
        struct backoff_next asked = backoff_retry(&schedule, 1, first_ms * NSEC_PER_MS, world->wall, world->random);
        if (attempt->number <= 1 || asked.result == BACKOFF_EXPIRED ||
            (next.result == BACKOFF_RETRY && asked.due > next.due))
            next = asked;
    }
    int64_t not_after_ms = attempt->campaign->hours.not_after_ms;
    if (next.result == BACKOFF_EXPIRED || (not_after_ms && next.due / NSEC_PER_MS > not_after_ms)) {
        s->event.type = EVENT_EXPIRED;
        s->event.class_ = slice_of(bounce_class_name(BOUNCE_MESSAGE_EXPIRED));
        s->end.kind = STORE_END_EVENT;
        return;
    }
    s->end.kind = STORE_END_RETRY;
    s->end.due_ms = (next.due + NSEC_PER_MS - 1) / NSEC_PER_MS;
    s->event.next_at_ms = (uint64_t)s->end.due_ms;
    s->event.final = false;
}

void outcome_settle(struct settlement *s, const struct attempt *attempt, const struct outcome *outcome,
                    const struct outcome_world *world)
{
    struct verdict verdict = verdict_of(world->rules, world->isp, outcome);
    sluice_assert(verdict.type != EVENT_BROKEN);
    s->verdict = verdict;
    slice_copy(s->rule, sizeof s->rule, slice_of(verdict.bounce.rule));
    s->lease = attempt->lease;
    s->outcome = *outcome;
    describe(s, attempt, &verdict, world);
    int64_t first_ms = attempt->first_ms ? attempt->first_ms : world->wall / NSEC_PER_MS;
    uint32_t made = verdict.counts ? attempt->number : attempt->number - 1;
    s->end = (struct store_end){.kind = STORE_END_EVENT, .index = attempt->index, .full = attempt->campaign->full};
    if (verdict.type == EVENT_DEFERRED)
        defer(s, attempt, world, first_ms);
    else if (verdict.type == EVENT_IN_DOUBT)
        doubt(s, attempt, world);
    struct slice source = world->source.n ? world->source : attempt->last_source;
    s->end.record = record_of(attempt, made, first_ms, source);
}
