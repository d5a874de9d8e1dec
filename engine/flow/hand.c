/* Somebody has to be able to say "stop" to one part of the sending, and be obeyed by every shard of every engine. */
#include "flow/hand.h"

#include "flow/effective.h"
#include "flow/shard.h"

#include <stdio.h>

static const nsec read_every = NSEC_PER_S / 2, clock_slack = NSEC_PER_S / 20;

/* ---- which entries fit ---- */

static bool fits_lane(const struct shard *shard, const struct control_entry *entry, const struct lane *lane)
{
    struct slice source = slice_of(shard->config->sources[lane->source].name), isp = slice_of(lane->own.isp);
    switch (entry->scope) {
    case CONTROL_ISP:
        return slice_equal(entry->name, isp);
    case CONTROL_SOURCE:
        return slice_equal(entry->name, source);
    case CONTROL_LANE:
        return slice_equal(entry->name, source) && slice_equal(entry->isp, isp);
    default:
        return false;
    }
}

static bool fits_campaign(const struct shard *shard, const struct control_entry *entry, const struct campaign *campaign)
{
    if (entry->kind != CONTROL_PAUSE)
        return false;
    if (entry->scope == CONTROL_CAMPAIGN)
        return slice_equal(entry->name, slice_of(campaign->id));
    return entry->scope == CONTROL_POOL && campaign->pool >= 0 &&
           slice_equal(entry->name, slice_of(shard->config->pools[campaign->pool].name));
}

/* ---- keeping to them ---- */

void hand_lane_made(struct shard *shard, struct lane *lane)
{
    const struct hand *hand = &shard->hand;
    nsec now = io_now(shard->io), until = 0;
    unsigned percent = 0;
    for (unsigned i = 0; i < hand->count; i++) {
        const struct hand_entry *e = &hand->entries[i];
        if (e->until <= now || !fits_lane(shard, &e->entry, lane))
            continue;
        if (e->entry.kind == CONTROL_PAUSE)
            until = nsec_max(until, e->until);
        else if (!percent || e->entry.percent < percent)
            percent = e->entry.percent;
    }
    lane_gate(lane, LANE_PAUSED, until);
    effective_slow(lane, LANE_BY_HAND, percent, 0, now);
}

static void tell_backlog(struct shard *shard, struct backlog *backlog)
{
    for (unsigned i = 0; i < backlog->lane_count; i++) {
        struct lane *lane = backlog->lanes[i];
        hand_lane_made(shard, lane);
        if (lane->gates[LANE_PAUSED] > io_now(shard->io))
            carry_leave_lane(shard, lane);
        carry_mark(shard, &lane->own);
    }
    carry_mark(shard, backlog);
}

static void say_held(struct campaign *campaign, const struct control_entry *entry)
{
    char scope[CONTROL_SCOPE_MAX + 1];
    slice_copy(scope, sizeof scope, entry->name);
    snprintf(campaign->held_why, sizeof campaign->held_why, "%s%s%spaused by hand%s%.*s",
             entry->scope == CONTROL_POOL ? "pool " : "", entry->scope == CONTROL_POOL ? scope : "",
             entry->scope == CONTROL_POOL ? " " : "", entry->reason.n ? ": " : "",
             (int)(entry->reason.n < 100 ? entry->reason.n : 100), entry->reason.p);
}

bool hand_campaign(struct shard *shard, struct campaign *campaign)
{
    const struct hand *hand = &shard->hand;
    nsec now = io_now(shard->io);
    bool held = false;
    for (unsigned i = 0; i < hand->count && !held; i++) {
        const struct hand_entry *e = &hand->entries[i];
        held = e->until > now && fits_campaign(shard, &e->entry, campaign);
        if (held)
            say_held(campaign, &e->entry);
    }
    if (held == campaign->held)
        return held;
    campaign->held = held;
    intake_state(&shard->intake, campaign, STORE_STATE_NONE);
    return held;
}

static void tell_all(struct shard *shard)
{
    for (struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next)
        tell_backlog(shard, backlog);
    for (struct campaign *campaign = shard->intake.campaigns; campaign; campaign = campaign->next)
        (void)hand_campaign(shard, campaign);
}

/* ---- reading ---- */

static uint64_t version_of(const struct slice *items, unsigned count)
{
    uint64_t h = 14695981039346656037u;
    for (unsigned i = 0; i < count; i++)
        h = (h ^ table_hash(items[i])) * 1099511628211u;
    return h;
}

static void reckon_ends(struct shard *shard)
{
    struct hand *hand = &shard->hand;
    hand->offset = io_wall(shard->io) - io_now(shard->io);
    for (unsigned i = 0; i < hand->count; i++) {
        struct hand_entry *e = &hand->entries[i];
        e->until = e->entry.until_ms ? e->entry.until_ms * NSEC_PER_MS - hand->offset : NSEC_NEVER;
    }
}

static void take(struct shard *shard, const struct slice *items, unsigned count)
{
    struct hand *hand = &shard->hand;
    hand->count = 0;
    hand->too_many = count / 2 > CONTROL_ENTRIES_MAX;
    for (unsigned i = 0; i + 1 < count && !hand->too_many; i += 2) {
        struct hand_entry *e = &hand->entries[hand->count];
        if (items[i].n > CONTROL_SCOPE_MAX)
            continue;
        slice_copy(e->scope, sizeof e->scope, items[i]);
        slice_copy(e->value, sizeof e->value, items[i + 1].n <= CONTROL_VALUE_MAX ? items[i + 1] : SLICE("too long"));
        if (!control_parse(slice_of(e->scope), slice_of(e->value), &e->entry)) {
            log_trouble(&shard->log, &hand->trouble, io_now(shard->io), 60 * NSEC_PER_S,
                        "sluice:control names a scope that nobody knows", e->scope);
            continue;
        }
        hand->count++;
    }
}

static bool clock_moved(struct shard *shard)
{
    nsec moved = io_wall(shard->io) - io_now(shard->io) - shard->hand.offset;
    return moved > clock_slack || moved < -clock_slack;
}

/* A slow-down whose time has come: its lanes are told. A pause's gate opens by itself. */
static bool slow_has_ended(const struct hand *hand, nsec since, nsec now)
{
    for (unsigned i = 0; i < hand->count; i++)
        if (hand->entries[i].entry.kind == CONTROL_SLOW && hand->entries[i].until > since &&
            hand->entries[i].until <= now)
            return true;
    return false;
}

static void on_read(struct store_request *request, const struct store_answer *answer)
{
    struct hand *hand = container_of(request, struct hand, read);
    struct shard *shard = container_of(hand, struct shard, hand);
    nsec now = io_now(shard->io);
    hand->round_trip = now - hand->asked_at;
    if (answer->result != STORE_OK) {
        char detail[192];
        slice_copy(detail, sizeof detail, answer->error);
        log_trouble(&shard->log, &hand->trouble, now, 60 * NSEC_PER_S, "sluice:control cannot be read", detail);
        return;
    }
    uint64_t version = version_of(answer->items, answer->item_count);
    if (!hand->known || version != hand->version) {
        take(shard, answer->items, answer->item_count);
        hand->version = version;
        reckon_ends(shard);
        tell_all(shard);
    }
    if (hand->too_many)
        log_trouble(&shard->log, &hand->trouble, now, 60 * NSEC_PER_S, "sluice:control holds more than can be kept to",
                    "nothing starts; see `sluice paused`");
    hand->known = true;
}

/* ---- what is over ---- */

static void on_removed(struct store_request *request, const struct store_answer *answer)
{
    struct hand *hand = container_of(request, struct hand, removal);
    (void)answer;
    hand->again = true;
}

static void remove_what_is_over(struct shard *shard, nsec now)
{
    struct hand *hand = &shard->hand;
    if (shard->index != 0 || store_request_busy(&hand->removal))
        return;
    for (unsigned i = 0; i < hand->count; i++) {
        const struct hand_entry *e = &hand->entries[i];
        if (e->until > now)
            continue;
        store_control_remove(shard->store, &hand->removal, &hand->note, slice_of(e->scope), slice_of(e->value),
                             SLICE("sluice"), SLICE("its time is over"));
        return;
    }
}

/* ---- the turn ---- */

void hand_wake(struct shard *shard) { shard->hand.again = true; }

nsec hand_turn(struct shard *shard, nsec now)
{
    struct hand *hand = &shard->hand;
    if (store_request_busy(&hand->read))
        return NSEC_NEVER; /* its answer will turn the shard */
    if (!hand->again && now < hand->read_at)
        return hand->read_at;
    if (clock_moved(shard)) {
        reckon_ends(shard);
        tell_all(shard);
    } else if (slow_has_ended(hand, hand->asked_at, now)) {
        tell_all(shard);
    }
    for (struct campaign *campaign = shard->intake.campaigns; campaign; campaign = campaign->next)
        (void)hand_campaign(shard, campaign);
    remove_what_is_over(shard, now);
    hand->again = false;
    hand->asked_at = now;
    hand->read_at = now + read_every;
    store_control(shard->store, &hand->read);
    return NSEC_NEVER;
}

bool hand_open(struct shard *shard)
{
    struct hand *hand = &shard->hand;
    hand->read.done = on_read;
    hand->removal.done = on_removed;
    hand->entries = arena_take(&shard->arena, CONTROL_ENTRIES_MAX * sizeof *hand->entries, sizeof(nsec));
    return hand->entries != NULL;
}
