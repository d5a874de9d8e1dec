/* Redis may forget what it acknowledged, and learn late what was given up: here is what keeps either from mattering. */
#include "store/replay_private.h"

#include <stdlib.h>

enum { TRACKS_FEW = 64, WAIT_MOST_MS = 60000 };

static const nsec sweep_every = NSEC_PER_S, idle_most = 3600 * NSEC_PER_S;

/* ---- lists ---- */

void replay_append(struct replay_entry ***end, struct replay_entry *entry)
{
    entry->next = NULL;
    **end = entry;
    *end = &entry->next;
}

struct replay_entry *replay_unlink(struct replay_entry **at, struct replay_entry ***end)
{
    struct replay_entry *entry = *at;
    *at = entry->next;
    if (*end == &entry->next)
        *end = at;
    return entry;
}

/* ---- tracks ---- */

static struct replay_track **bucket_of(struct replay *replay, struct slice campaign)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < campaign.n; i++)
        hash = (hash ^ (unsigned char)campaign.p[i]) * 16777619u;
    return &replay->tracks[hash % REPLAY_TRACKS];
}

static bool is_idle(const struct replay_track *track, nsec now)
{
    return !track->log && !track->waiting && !track->held && !store_request_busy(&track->query) &&
           !store_request_busy(&track->doubt) && !track->takes_in_flight && now - track->used_at > idle_most;
}

/* Campaigns come and go; one that was used for an hour no more is forgotten. */
static void forget_idle(struct replay *replay)
{
    nsec now = io_now(replay->store->io);
    for (unsigned i = 0; i < REPLAY_TRACKS; i++)
        for (struct replay_track **at = &replay->tracks[i], *track; (track = *at);) {
            if (!is_idle(track, now)) {
                at = &track->next;
                continue;
            }
            *at = track->next;
            io_timer_clear(replay->store->io, &track->timer);
            io_timer_clear(replay->store->io, &track->settled);
            replay->track_count--;
            free(track);
        }
}

static void on_settled(struct io_timer *timer) { replay_pump(container_of(timer, struct replay_track, settled)); }

static struct replay_track *track_of(struct store *store, struct slice campaign)
{
    struct replay *replay = store->replay;
    struct replay_track **bucket = bucket_of(replay, campaign);
    for (struct replay_track *track = *bucket; track; track = track->next)
        if (slice_equal(slice_of(track->campaign), campaign))
            return track;
    if (replay->track_count > TRACKS_FEW)
        forget_idle(replay);
    struct replay_track *track = calloc(1, sizeof *track);
    sluice_assert(track && campaign.n < sizeof track->campaign);
    track->store = store;
    track->slot = store->slot;
    track->epoch = link_epoch_of(store->link, track->slot);
    slice_copy(track->campaign, sizeof track->campaign, campaign);
    track->log_end = &track->log;
    track->waiting_end = &track->waiting;
    track->timer.fire = replay_on_delay;
    track->settled.fire = on_settled;
    track->next = *bucket;
    *bucket = track;
    replay->track_count++;
    return track;
}

/* ---- sending ---- */

/* Behind the arguments that stand in store->command come those that numbered() of steps.lua takes off. */
static void send_written(struct replay_entry *entry)
{
    struct replay_track *track = entry->track;
    struct store *store = track->store;
    bool waits = !entry->acked && (entry->step == REPLAY_LEASE || entry->step == REPLAY_ADOPT) && store->replay->keeps;
    step_text(store, store->hand);
    resp_unsigned(&store->command, entry->number);
    resp_unsigned(&store->command, entry->before_take);
    resp_unsigned(&store->command, entry->before_work);
    step_text(store, entry->acked ? "1" : "0");
    resp_number(&store->command, waits ? store->replay->settle / NSEC_PER_MS : 0);
    step_text(store, store->replay->first);
    entry->in_flight = true;
    if (replay_is_take(entry))
        track->takes_in_flight++;
    else
        track->works_in_flight++;
    step_send_numbered(store, entry, track->slot);
}

void replay_send_kept(struct replay_entry *entry)
{
    struct resp_command *command = &entry->track->store->command;
    resp_begin(command);
    resp_raw(command, (struct slice){entry->bytes->p, entry->bytes->n}, entry->bytes->args);
    send_written(entry);
}

static void number(struct replay_entry *entry)
{
    struct replay_track *track = entry->track;
    entry->number = ++track->store->replay->number;
    entry->before_work = track->last_work;
    entry->before_take = replay_is_take(entry) ? track->last_take : track->done_take;
    if (replay_is_take(entry))
        track->last_take = entry->number;
    else
        track->last_work = entry->number;
    replay_append(&track->log_end, entry);
}

static bool may_go(const struct replay_track *track, const struct replay_entry *entry)
{
    if (!replay_is_take(entry))
        return true;
    if (track->takes_in_flight)
        return false;
    return entry->step == REPLAY_UNIQUE || io_now(track->store->io) >= track->settled_at;
}

void replay_pump(struct replay_track *track)
{
    bool sent = false;
    for (struct replay_entry **at = &track->waiting; *at && !track->held;) {
        struct replay_entry *entry = *at;
        if (!may_go(track, entry)) {
            at = &entry->next;
            continue;
        }
        replay_unlink(at, &track->waiting_end);
        number(entry);
        replay_send_kept(entry);
        sent = true;
    }
    if (sent)
        store_flush(track->store);
}

void replay_ask(struct store *store, struct store_request *r, struct slice campaign, enum replay_step step)
{
    struct replay_track *track = track_of(store, campaign);
    struct replay_entry *entry = replay_entry_take(track, step, r);
    track->used_at = io_now(store->io);
    if (!track->held && !track->waiting && may_go(track, entry)) {
        number(entry);
        send_written(entry);
        return;
    }
    replay_append(&track->waiting_end, entry);
    if (!track->held)
        replay_pump(track);
}

/* ---- answers ---- */

static void forget(struct replay_entry *entry)
{
    struct replay_track *track = entry->track;
    struct replay_entry **at = &track->log;
    while (*at != entry)
        at = &(*at)->next;
    replay_unlink(at, &track->log_end);
}

/* Others may have to claim what this lease would take: it waits for so long, as if it had not been asked. */
static void wait_for_others(struct replay_entry *entry, nsec wait)
{
    struct replay_track *track = entry->track;
    struct io *io = track->store->io;
    forget(entry);
    if (track->last_take == entry->number)
        track->last_take = entry->before_take;
    entry->number = 0;
    entry->next = track->waiting;
    if (!track->waiting)
        track->waiting_end = &entry->next;
    track->waiting = entry;
    track->settled_at = io_now(io) + wait;
    io_timer_clear(io, &track->settled);
    io_timer_set(io, &track->settled, track->settled_at);
}

static void not_done(struct replay_entry *entry, int64_t code, const struct resp_node *reply)
{
    struct replay_track *track = entry->track;
    entry->repeated = true;
    if (code == STEP_UNSETTLED) {
        uint64_t ms = resp_to_unsigned(resp_member(reply, 2)); /* whatever it says, it is asked again in a minute */
        wait_for_others(entry, (nsec)(ms < WAIT_MOST_MS ? ms : WAIT_MOST_MS) * NSEC_PER_MS);
        return;
    }
    if (code == STEP_NOT_YET && !entry->missed_at)
        entry->missed_at = io_now(track->store->io);
    replay_hold(track);
}

static void done(struct replay_entry *entry, const struct resp_node *reply)
{
    struct replay_track *track = entry->track;
    replay_keep(entry, reply);
    entry->acked = true;
    entry->acked_at = io_now(track->store->io);
    entry->missed_at = 0;
    entry->asker = NULL;
    if (replay_is_take(entry) && entry->number > track->done_take)
        track->done_take = entry->number;
    replay_settle(track);
}

void replay_answered(struct store *store, void *owner, const struct resp_node *reply, bool repeated)
{
    struct replay_entry *entry = owner;
    struct replay_track *track = entry->track;
    struct store_request *asker = entry->asker;
    bool refused = reply->type == RESP_ERROR;
    int64_t code = refused ? 0 : resp_to_number(resp_member(reply, 0));
    entry->in_flight = false;
    if (replay_is_take(entry))
        track->takes_in_flight--;
    else
        track->works_in_flight--;
    track->used_at = io_now(store->io);
    repeated |= entry->repeated;
    if (entry->abandoned) {
        replay_entry_give(store->replay, entry);
        asker = NULL;
    } else if (code == STEP_LOST || code == STEP_NOT_YET || code == STEP_UNSETTLED) {
        not_done(entry, code, reply);
        asker = NULL;
    } else
        done(entry, reply);
    replay_pump(track);
    replay_find_out(track);
    if (asker)
        step_answered(store, asker, reply, repeated);
}

/* ---- a turn ---- */

void replay_turn(struct store *store)
{
    struct replay *replay = store->replay;
    nsec now = io_now(store->io);
    replay_meet(replay);
    if (now - replay->swept_at < sweep_every)
        return;
    replay->swept_at = now;
    for (unsigned i = 0; i < REPLAY_TRACKS; i++)
        for (struct replay_track *track = replay->tracks[i]; track; track = track->next)
            replay_settle(track);
}

size_t replay_bytes(const struct replay *replay) { return replay->bytes; }

/* ---- start and end ---- */

struct replay *replay_open(struct store *store, nsec keeps, nsec settle_time, bool alone)
{
    struct replay *replay = calloc(1, sizeof *replay);
    sluice_assert(replay);
    replay->store = store;
    replay->keeps = keeps;
    replay->settle = settle_time;
    replay->alone = alone;
    return replay;
}

static void entries_free(struct replay_entry *entry)
{
    for (struct replay_entry *next; entry; entry = next) {
        next = entry->next;
        free(entry->bytes);
        free(entry);
    }
}

void replay_close(struct replay *replay)
{
    for (unsigned i = 0; i < REPLAY_TRACKS; i++)
        for (struct replay_track *track = replay->tracks[i], *next; track; track = next) {
            next = track->next;
            entries_free(track->log);
            entries_free(track->waiting);
            free(track);
        }
    replay_memory_free(replay);
    resp_command_free(&replay->command);
    free(replay);
}
