/* Redis is another process, or has forgotten something: what it knows is found out, and the rest is sent again. */
#include "store/replay_private.h"

#include <stdio.h>

static const nsec delay_least = 20 * NSEC_PER_MS, delay_most = 500 * NSEC_PER_MS;

/* ---- what Redis has forgotten ---- */

void replay_hold(struct replay_track *track)
{
    track->held = true;
    for (struct replay_entry *entry = track->log; entry; entry = entry->next)
        entry->acked_at = 0;
}

void replay_find_out(struct replay_track *track)
{
    struct io *io = track->store->io;
    if (!(track->held || track->unreported) || track->works_in_flight || store_request_busy(&track->query) ||
        store_request_busy(&track->doubt) || io_timer_is_set(&track->timer))
        return;
    if (track->held && track->delay)
        io_timer_set(io, &track->timer, io_now(io) + track->delay);
    else
        replay_ask_counts(track);
}

void replay_on_delay(struct io_timer *timer)
{
    struct replay_track *track = container_of(timer, struct replay_track, timer);
    if (track->held && !track->works_in_flight && !store_request_busy(&track->query) &&
        !store_request_busy(&track->doubt)) {
        replay_ask_counts(track);
        store_flush(track->store);
    }
}

static void fence(struct store *store, struct store_request *asker)
{
    struct store_answer answer = {.result = STORE_FENCED};
    step_items_clear(store);
    step_done(store, asker, &answer);
}

/* All is as if this hand had not asked anything yet. */
static void on_doubted(struct store_request *request, const struct store_answer *answer)
{
    struct replay_track *track = container_of(request, struct replay_track, doubt);
    struct store *store = track->store;
    struct replay_entry *log = track->log;
    (void)answer;
    track->log = NULL;
    track->log_end = &track->log;
    track->last_take = track->last_work = track->done_take = track->settled_take = track->settled_work = 0;
    track->upto = 0;
    track->held = false;
    if (store->lost)
        store->lost(store->lost_context, slice_of(track->campaign));
    for (struct replay_entry *entry = log, *next; entry; entry = next) {
        struct store_request *asker = entry->asker;
        next = entry->next;
        entry->asker = NULL;
        entry->abandoned = true;
        if (!entry->in_flight)
            replay_entry_give(store->replay, entry);
        if (asker)
            fence(store, asker);
    }
    replay_pump(track);
}

/* More is lost than is kept. What this hand had leased is left to whoever takes it over, in doubt. */
static void give_up(struct replay_track *track)
{
    struct store *store = track->store;
    if (store_request_busy(&track->doubt))
        return;
    track->doubt.done = on_doubted;
    step_begin(store, "doubt", slice_of(track->campaign), 0);
    step_text(store, store->engine);
    step_text(store, store->incarnation);
    step_text(store, store->hand);
    resp_unsigned(&store->command, track->upto);
    step_ask(store, &track->doubt, step_read_plain, 0);
}

/* Redis knows of takes and works up to these: what is behind is sent again. */
static void send_again(struct replay_track *track)
{
    nsec now = io_now(track->store->io);
    bool sent = false;
    for (struct replay_entry *entry = track->log; entry; entry = entry->next) {
        bool done = entry->number <= (replay_is_take(entry) ? track->query_take : track->query_work);
        if (entry->in_flight)
            continue;
        if (done && entry->acked) {
            entry->acked_at = now;
            continue;
        }
        if (entry->missed_at && now - entry->missed_at > REPLAY_CLAIM_S * NSEC_PER_S)
            replay_make_skip(entry);
        replay_send_kept(entry);
        sent = true;
    }
    track->delay = !sent ? 0 : track->delay ? nsec_min(2 * track->delay, delay_most) : delay_least;
    track->held = false;
    track->unreported = sent;
}

void replay_meet(struct replay *replay)
{
    if (replay->epoch == link_epoch(replay->store->link))
        return;
    if (!replay->epoch && replay->alone)
        snprintf(replay->first, sizeof replay->first, "%s", link_server(replay->store->link));
    replay->epoch = link_epoch(replay->store->link);
    for (unsigned i = 0; i < REPLAY_TRACKS; i++)
        for (struct replay_track *track = replay->tracks[i]; track; track = track->next) {
            uint64_t epoch = link_epoch_of(replay->store->link, track->slot);
            if (epoch == track->epoch)
                continue;
            if (track->epoch && track->log)
                replay_hold(track);
            else if (track->epoch && replay->keeps)
                track->unreported = true;
            track->epoch = epoch;
            replay_find_out(track);
        }
}

static void on_counts(struct store_request *request, const struct store_answer *answer)
{
    struct replay_track *track = container_of(request, struct replay_track, query);
    if (answer->result != STORE_OK) { /* refused for good, as all else will be */
        track->held = true;
        track->delay = delay_most;
        replay_find_out(track);
        return;
    }
    replay_meet(track->store->replay);
    if (track->held && !track->works_in_flight && !store_request_busy(&track->doubt)) {
        if (track->query_take < track->settled_take || track->query_work < track->settled_work)
            give_up(track);
        else
            send_again(track);
    } else
        track->unreported = false;
    replay_pump(track);
    replay_find_out(track);
    store_flush(track->store);
}

static void read_counts(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct replay_track *track = container_of(r, struct replay_track, query);
    struct store_answer answer;
    (void)repeated;
    if (step_head(reply, &answer)) {
        track->query_take = resp_to_unsigned(resp_member(reply, 2));
        track->query_work = resp_to_unsigned(resp_member(reply, 3));
    }
    step_done(store, r, &answer);
}

void replay_ask_counts(struct replay_track *track)
{
    struct store *store = track->store;
    track->query.done = on_counts;
    step_begin(store, "counts", slice_of(track->campaign), 0);
    step_text(store, store->hand);
    resp_unsigned(&store->command, track->done_take);
    resp_unsigned(&store->command, track->last_work);
    step_ask(store, &track->query, read_counts, 0);
}
