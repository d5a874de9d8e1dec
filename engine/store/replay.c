/* Redis may forget what it acknowledged, and learn late what was given up: here is what keeps either from mattering. */
#include "store/replay.h"

#include <stdlib.h>

enum {
    TRACKS = 256, /* buckets */
    CLASS_LEAST = 9,
    CLASSES = 16, /* of memory: 512 bytes to 16 MiB */
    TRACKS_FEW = 64,
};

static const nsec delay_least = 20 * NSEC_PER_MS, delay_most = 500 * NSEC_PER_MS, sweep_every = NSEC_PER_S,
                  idle_most = 3600 * NSEC_PER_S;

struct bytes {
    struct bytes *next; /* of its class, while it is free */
    unsigned class, args;
    size_t n;
    char p[];
};

struct entry {
    uint8_t state; /* STEP_NUMBERED: tells its answers from those of others */
    enum replay_step step;
    bool in_flight, acked, repeated, skip, abandoned;
    struct entry *next;
    struct replay_track *track;
    struct store_request *asker; /* NULL: it has its answer */
    struct bytes *bytes;         /* encoded arguments, all but the last ones */
    uint64_t number, before_take, before_work;
    nsec acked_at;  /* 0: not since Redis was last found to be another, or to have forgotten something */
    nsec missed_at; /* of a claim: when it was first not to be had; 0: not yet */
};

/* What one hand asks of one campaign. */
struct replay_track {
    struct replay_track *next; /* in its bucket */
    struct store *store;
    unsigned slot;
    uint64_t epoch; /* of who has the slot */
    char campaign[LIMIT_CAMPAIGN_ID + 1];
    char server[64];                         /* the process that it was asked of last */
    struct entry *log, **log_end;            /* numbered, by number */
    struct entry *waiting, **waiting_end;    /* have no number yet */
    uint64_t last_work, last_take;           /* numbers given last */
    uint64_t done_take;                      /* answered last */
    uint64_t settled_work, settled_take;     /* of those that are kept no more */
    uint64_t upto;                           /* behind the last seq that was leased from the list */
    unsigned works_in_flight, takes_in_flight;
    bool held;         /* Redis has forgotten something, or is another: nothing is sent before that is known */
    bool server_known; /* `server` is the one that takes are to be asked of */
    struct store_request query, doubt;
    uint64_t query_take, query_work;
    struct io_timer timer;
    nsec delay;
    nsec used_at;
};

struct replay {
    struct store *store;
    nsec keeps, settle;
    uint64_t number; /* the last one given */
    uint64_t epoch;
    nsec settled_at; /* no lease before */
    struct io_timer settled;
    struct replay_track *tracks[TRACKS];
    unsigned track_count;
    nsec swept_at;
    struct bytes *free[CLASSES];
    struct entry *free_entries;
    size_t bytes;
    struct resp_command command;
};

static bool is_take(const struct entry *entry) { return entry->step != REPLAY_WORK; }

/* ---- memory ---- */

static struct bytes *bytes_take(struct replay *replay, size_t n)
{
    unsigned class = 0;
    while (((size_t)1 << (class + CLASS_LEAST)) < sizeof(struct bytes) + n)
        class++;
    sluice_assert(class < CLASSES);
    size_t size = (size_t)1 << (class + CLASS_LEAST);
    struct bytes *bytes = replay->free[class];
    if (bytes)
        replay->free[class] = bytes->next;
    else
        bytes = malloc(size);
    sluice_assert(bytes);
    bytes->class = class;
    bytes->n = 0;
    bytes->args = 0;
    replay->bytes += size;
    return bytes;
}

static void bytes_give(struct replay *replay, struct bytes *bytes)
{
    replay->bytes -= (size_t)1 << (bytes->class + CLASS_LEAST);
    bytes->next = replay->free[bytes->class];
    replay->free[bytes->class] = bytes;
}

static void bytes_add(struct bytes *bytes, const struct resp_command *command)
{
    memcpy(bytes->p + bytes->n, command->p, command->n);
    bytes->n += command->n;
    bytes->args += command->args;
}

static struct entry *entry_take(struct replay *replay)
{
    struct entry *entry = replay->free_entries;
    if (entry)
        replay->free_entries = entry->next;
    else
        entry = malloc(sizeof *entry);
    sluice_assert(entry);
    *entry = (struct entry){.state = STEP_NUMBERED};
    return entry;
}

static void entry_give(struct replay *replay, struct entry *entry)
{
    if (entry->bytes)
        bytes_give(replay, entry->bytes);
    entry->next = replay->free_entries;
    replay->free_entries = entry;
}

static void append(struct entry ***end, struct entry *entry)
{
    entry->next = NULL;
    **end = entry;
    *end = &entry->next;
}

/* Takes the entry that `*at` points to out of its list. */
static struct entry *unlink_at(struct entry **at, struct entry ***end)
{
    struct entry *entry = *at;
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
    return &replay->tracks[hash % TRACKS];
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
    for (unsigned i = 0; i < TRACKS; i++)
        for (struct replay_track **at = &replay->tracks[i], *track; (track = *at);) {
            if (!is_idle(track, now)) {
                at = &track->next;
                continue;
            }
            *at = track->next;
            io_timer_clear(replay->store->io, &track->timer);
            replay->track_count--;
            free(track);
        }
}

static void on_delay(struct io_timer *timer);

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
    track->timer.fire = on_delay;
    track->next = *bucket;
    *bucket = track;
    replay->track_count++;
    return track;
}

/* ---- sending ---- */

/* Behind the arguments that stand in store->command come those that numbered() of steps.lua takes off. */
static void send_written(struct entry *entry)
{
    struct replay_track *track = entry->track;
    struct store *store = track->store;
    bool guarded = !entry->acked && (entry->step == REPLAY_LEASE || entry->step == REPLAY_ADOPT);
    step_text(store, store->hand);
    resp_unsigned(&store->command, entry->number);
    resp_unsigned(&store->command, entry->before_take);
    resp_unsigned(&store->command, entry->before_work);
    step_text(store, entry->acked ? "1" : "0");
    step_text(store, guarded ? track->server : "");
    entry->in_flight = true;
    if (is_take(entry))
        track->takes_in_flight++;
    else
        track->works_in_flight++;
    step_send_numbered(store, entry, track->slot);
}

static void send_kept(struct entry *entry)
{
    struct resp_command *command = &entry->track->store->command;
    resp_begin(command);
    resp_raw(command, (struct slice){entry->bytes->p, entry->bytes->n}, entry->bytes->args);
    send_written(entry);
}

static void number(struct entry *entry)
{
    struct replay_track *track = entry->track;
    entry->number = ++track->store->replay->number;
    entry->before_work = track->last_work;
    entry->before_take = is_take(entry) ? track->last_take : track->done_take;
    if (is_take(entry))
        track->last_take = entry->number;
    else
        track->last_work = entry->number;
    append(&track->log_end, entry);
}

static bool may_go(const struct replay_track *track, const struct entry *entry)
{
    if (!is_take(entry))
        return true;
    if (track->takes_in_flight)
        return false;
    return entry->step == REPLAY_UNIQUE ||
           (track->server_known && io_now(track->store->io) >= track->store->replay->settled_at);
}

static void ask_counts(struct replay_track *track);

/* Sends what waits and may go. Works overtake takes. */
static void pump(struct replay_track *track)
{
    bool sent = false, wants_server = false;
    for (struct entry **at = &track->waiting; *at && !track->held;) {
        struct entry *entry = *at;
        wants_server |= is_take(entry) && entry->step != REPLAY_UNIQUE && !track->server_known;
        if (!may_go(track, entry)) {
            at = &entry->next;
            continue;
        }
        unlink_at(at, &track->waiting_end);
        number(entry);
        send_kept(entry);
        sent = true;
    }
    if (wants_server && !store_request_busy(&track->query)) {
        ask_counts(track);
        sent = true;
    }
    if (sent)
        store_flush(track->store);
}

void replay_ask(struct store *store, struct store_request *r, struct slice campaign, enum replay_step step)
{
    struct replay *replay = store->replay;
    struct replay_track *track = track_of(store, campaign);
    struct entry *entry = entry_take(replay);
    entry->track = track;
    entry->step = step;
    entry->asker = r;
    entry->bytes = bytes_take(replay, store->command.n);
    bytes_add(entry->bytes, &store->command);
    track->used_at = io_now(store->io);
    if (!track->held && !track->waiting && may_go(track, entry)) {
        number(entry);
        send_written(entry);
        return;
    }
    append(&track->waiting_end, entry);
    if (!track->held)
        pump(track);
}

/* ---- keeping ---- */

/* It changed nothing, or can be had no more: if Redis forgets it, only its number is told again. */
static void make_skip(struct entry *entry)
{
    struct store *store = entry->track->store;
    if (entry->skip)
        return;
    entry->skip = true;
    bytes_give(store->replay, entry->bytes);
    step_begin(store, is_take(entry) ? "skip_take" : "skip_work", slice_of(entry->track->campaign), 0);
    entry->bytes = bytes_take(store->replay, store->command.n);
    bytes_add(entry->bytes, &store->command);
}

/* If Redis forgets this lease, the same recipients are claimed: they follow its arguments. */
static void make_claim(struct entry *entry, const struct resp_node *reply)
{
    struct replay *replay = entry->track->store->replay;
    const struct resp_node *items = resp_member(reply, 3), *item = items + 1;
    uint64_t first = resp_to_unsigned(resp_member(reply, 2));
    resp_begin(&replay->command);
    resp_unsigned(&replay->command, first);
    for (unsigned i = 0; i < items->count; i++, item += item->size)
        resp_text(&replay->command, resp_to_text(item));
    struct bytes *bytes = bytes_take(replay, entry->bytes->n + replay->command.n);
    memcpy(bytes->p, entry->bytes->p, entry->bytes->n);
    bytes->n = entry->bytes->n;
    bytes->args = entry->bytes->args;
    bytes_add(bytes, &replay->command);
    bytes_give(replay, entry->bytes);
    entry->bytes = bytes;
    if (first + items->count > entry->track->upto)
        entry->track->upto = first + items->count;
}

static void keep(struct entry *entry, const struct resp_node *reply)
{
    const struct resp_node *items = resp_member(reply, 3);
    bool ok = reply->type != RESP_ERROR && resp_to_number(resp_member(reply, 0)) == 1;
    if (!ok || (entry->step == REPLAY_LEASE && (!items || items->type != RESP_ARRAY || !items->count)))
        make_skip(entry);
    else if (entry->step == REPLAY_LEASE && !entry->acked)
        make_claim(entry, reply);
}

static bool is_safe(const struct replay *replay, const struct entry *entry, nsec alive_at)
{
    if (!entry->acked || entry->in_flight || !entry->acked_at)
        return false;
    return !replay->keeps || alive_at >= entry->acked_at + replay->keeps;
}

/* Lets go of what Redis will not forget any more. A take that Redis refuses for a while does not keep the rest. */
static void settle(struct replay_track *track)
{
    struct replay *replay = track->store->replay;
    nsec alive_at = link_alive_at_of(track->store->link, track->slot);
    for (struct entry **at = &track->log; *at;) {
        struct entry *entry = *at;
        if (is_safe(replay, entry, alive_at)) {
            *(is_take(entry) ? &track->settled_take : &track->settled_work) = entry->number;
            entry_give(replay, unlink_at(at, &track->log_end));
        } else if (is_take(entry) && !entry->acked)
            at = &entry->next;
        else
            break;
    }
}

/* ---- what Redis has forgotten ---- */

/* Nothing is sent before it is known what Redis knows. */
static void hold(struct replay_track *track)
{
    track->held = true;
    for (struct entry *entry = track->log; entry; entry = entry->next)
        entry->acked_at = 0;
}

/* As soon as all is answered that may change it, Redis is asked what it knows. */
static void find_out(struct replay_track *track)
{
    struct io *io = track->store->io;
    if (!track->held || track->works_in_flight || store_request_busy(&track->query) ||
        store_request_busy(&track->doubt) || io_timer_is_set(&track->timer))
        return;
    if (track->delay)
        io_timer_set(io, &track->timer, io_now(io) + track->delay);
    else
        ask_counts(track);
}

static void on_delay(struct io_timer *timer)
{
    struct replay_track *track = container_of(timer, struct replay_track, timer);
    if (track->held && !track->works_in_flight && !store_request_busy(&track->query) &&
        !store_request_busy(&track->doubt)) {
        ask_counts(track);
        store_flush(track->store);
    }
}

/* For so long nobody leases anything: whoever has taken recipients that Redis has forgotten claims them meanwhile. */
static void wait_for_others(struct replay *replay)
{
    if (!replay->keeps)
        return;
    replay->settled_at = io_now(replay->store->io) + replay->settle;
    io_timer_clear(replay->store->io, &replay->settled);
    io_timer_set(replay->store->io, &replay->settled, replay->settled_at);
}

static void on_settled(struct io_timer *timer)
{
    struct replay *replay = container_of(timer, struct replay, settled);
    for (unsigned i = 0; i < TRACKS; i++)
        for (struct replay_track *track = replay->tracks[i]; track; track = track->next)
            pump(track);
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
    struct entry *log = track->log;
    (void)answer;
    track->log = NULL;
    track->log_end = &track->log;
    track->last_take = track->last_work = track->done_take = track->settled_take = track->settled_work = 0;
    track->upto = 0;
    track->held = false;
    if (store->lost)
        store->lost(store->lost_context, slice_of(track->campaign));
    for (struct entry *entry = log, *next; entry; entry = next) {
        struct store_request *asker = entry->asker;
        next = entry->next;
        entry->asker = NULL;
        entry->abandoned = true;
        if (!entry->in_flight)
            entry_give(store->replay, entry);
        if (asker)
            fence(store, asker);
    }
    pump(track);
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
    for (struct entry *entry = track->log; entry; entry = entry->next) {
        bool done = entry->number <= (is_take(entry) ? track->query_take : track->query_work);
        if (entry->in_flight)
            continue;
        if (done && entry->acked) {
            entry->acked_at = now;
            continue;
        }
        if (entry->missed_at && now - entry->missed_at > REPLAY_CLAIM_S * NSEC_PER_S)
            make_skip(entry);
        send_kept(entry);
        sent = true;
    }
    track->delay = !sent ? 0 : track->delay ? nsec_min(2 * track->delay, delay_most) : delay_least;
    track->held = false;
}

/* Another process answers: what it knows is found out before anything else. */
static void meet(struct replay *replay)
{
    bool first = !replay->epoch;
    if (replay->epoch == link_epoch(replay->store->link))
        return;
    replay->epoch = link_epoch(replay->store->link);
    if (!first)
        wait_for_others(replay);
    for (unsigned i = 0; i < TRACKS; i++)
        for (struct replay_track *track = replay->tracks[i]; track; track = track->next) {
            uint64_t epoch = link_epoch_of(replay->store->link, track->slot);
            if (epoch == track->epoch)
                continue;
            track->server_known = false;
            if (track->epoch && track->log)
                hold(track);
            track->epoch = epoch;
            find_out(track);
        }
}

static void on_counts(struct store_request *request, const struct store_answer *answer)
{
    struct replay_track *track = container_of(request, struct replay_track, query);
    if (answer->result != STORE_OK) { /* refused for good, as all else will be */
        track->held = true;
        track->delay = delay_most;
        find_out(track);
        return;
    }
    meet(track->store->replay);
    track->server_known = true; /* it is the one that has answered just now */
    if (track->held && !track->works_in_flight && !store_request_busy(&track->doubt)) {
        if (track->query_take < track->settled_take || track->query_work < track->settled_work)
            give_up(track);
        else
            send_again(track);
    }
    pump(track);
    find_out(track);
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
        slice_copy(track->server, sizeof track->server, resp_to_text(resp_member(reply, 4)));
    }
    step_done(store, r, &answer);
}

static void ask_counts(struct replay_track *track)
{
    struct store *store = track->store;
    track->query.done = on_counts;
    step_begin(store, "counts", slice_of(track->campaign), 0);
    step_text(store, store->hand);
    step_ask(store, &track->query, read_counts, 0);
}

/* ---- answers ---- */

static void forget(struct entry *entry)
{
    struct replay_track *track = entry->track;
    struct entry **at = &track->log;
    while (*at != entry)
        at = &(*at)->next;
    unlink_at(at, &track->log_end);
}

/* Another process answers than the one that this lease was asked of: it waits until everybody has come back, as if it
 * had not been asked. */
static void wait_again(struct entry *entry)
{
    struct replay_track *track = entry->track;
    forget(entry);
    if (track->last_take == entry->number)
        track->last_take = entry->before_take;
    entry->number = 0;
    entry->next = track->waiting;
    if (!track->waiting)
        track->waiting_end = &entry->next;
    track->waiting = entry;
    track->server_known = false;
    wait_for_others(track->store->replay);
}

static void not_done(struct entry *entry, int64_t code)
{
    struct replay_track *track = entry->track;
    entry->repeated = true;
    if (code == STEP_ELSEWHERE)
        wait_again(entry);
    if (code == STEP_NOT_YET && !entry->missed_at)
        entry->missed_at = io_now(track->store->io);
    hold(track);
}

static void done(struct entry *entry, const struct resp_node *reply)
{
    struct replay_track *track = entry->track;
    keep(entry, reply);
    entry->acked = true;
    entry->acked_at = io_now(track->store->io);
    entry->missed_at = 0;
    entry->asker = NULL;
    if (is_take(entry) && entry->number > track->done_take)
        track->done_take = entry->number;
    settle(track);
}

void replay_answered(struct store *store, void *owner, const struct resp_node *reply, bool repeated)
{
    struct entry *entry = owner;
    struct replay_track *track = entry->track;
    struct store_request *asker = entry->asker;
    bool refused = reply->type == RESP_ERROR;
    int64_t code = refused ? 0 : resp_to_number(resp_member(reply, 0));
    entry->in_flight = false;
    if (is_take(entry))
        track->takes_in_flight--;
    else
        track->works_in_flight--;
    track->used_at = io_now(store->io);
    repeated |= entry->repeated;
    if (entry->abandoned) {
        entry_give(store->replay, entry);
        asker = NULL;
    } else if (code == STEP_LOST || code == STEP_NOT_YET || code == STEP_ELSEWHERE) {
        not_done(entry, code);
        asker = NULL;
    } else
        done(entry, reply);
    pump(track);
    find_out(track);
    if (asker)
        step_answered(store, asker, reply, repeated);
}

/* ---- a turn ---- */

void replay_turn(struct store *store)
{
    struct replay *replay = store->replay;
    nsec now = io_now(store->io);
    meet(replay);
    if (now - replay->swept_at < sweep_every)
        return;
    replay->swept_at = now;
    for (unsigned i = 0; i < TRACKS; i++)
        for (struct replay_track *track = replay->tracks[i]; track; track = track->next)
            settle(track);
}

size_t replay_bytes(const struct replay *replay) { return replay->bytes; }

/* ---- start and end ---- */

struct replay *replay_open(struct store *store, nsec keeps, nsec settle_time)
{
    struct replay *replay = calloc(1, sizeof *replay);
    sluice_assert(replay);
    replay->store = store;
    replay->keeps = keeps;
    replay->settle = settle_time;
    replay->settled.fire = on_settled;
    return replay;
}

static void entries_free(struct entry *entry)
{
    for (struct entry *next; entry; entry = next) {
        next = entry->next;
        free(entry->bytes);
        free(entry);
    }
}

void replay_close(struct replay *replay)
{
    for (unsigned i = 0; i < TRACKS; i++)
        for (struct replay_track *track = replay->tracks[i], *next; track; track = next) {
            next = track->next;
            entries_free(track->log);
            entries_free(track->waiting);
            free(track);
        }
    for (unsigned i = 0; i < CLASSES; i++)
        for (struct bytes *bytes = replay->free[i], *next; bytes; bytes = next) {
            next = bytes->next;
            free(bytes);
        }
    for (struct entry *entry = replay->free_entries; entry;) {
        struct entry *next = entry->next;
        free(entry);
        entry = next;
    }
    resp_command_free(&replay->command);
    free(replay);
}
