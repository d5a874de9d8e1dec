/* What a counter and Redis say to each other: asking for a piece, reporting what became of messages, turning the day,
 * stepping back. One conversation a counter at a time; whatever goes wrong in it, it ends, and begins anew later. */
#include "flow/budget.h"

#include <stdio.h>

enum { UNLIMITED_PIECE = 100000 };

static const nsec span = 10 * NSEC_PER_S; /* a piece is what this much time needs */
/* Taken off the end of a day besides: to prove that a piece has settled, and to open a session for its last unit. */
static const nsec spare = 6 * NSEC_PER_S;
static const nsec away = 2 * NSEC_PER_S, refused_for = 10 * NSEC_PER_S, recheck = 600 * NSEC_PER_S;
static const nsec clocks_again = 5 * NSEC_PER_S, early_again = 60 * NSEC_PER_S, lost_race = 20 * NSEC_PER_MS;

static void go_on(struct budget_talk *talk);

/* ---- its end ---- */

static void end(struct budget_talk *talk)
{
    struct budget_counter *counter = talk->counter;
    counter->talk = NULL;
    pool_give(&counter->budget->talks, talk);
    budget_look(counter, io_now(counter->budget->io));
}

static void trouble(struct budget_counter *counter, const char *sentence, struct slice why)
{
    char detail[256];
    snprintf(detail, sizeof detail, "source %s, %s" SLICE_FORMAT,
             counter->budget->config->sources[counter->source].name, counter->name, SLICE_ARGS(why));
    log_trouble(counter->budget->log, &counter->budget->trouble, io_now(counter->budget->io), 60 * NSEC_PER_S, sentence,
                detail);
}

/* ---- records ---- */

static struct budget_counter *counter_of(const struct budget_talk *talk, unsigned part)
{
    return part == 0 ? talk->counter : talk->all;
}

static unsigned part_count(const struct budget_talk *talk) { return talk->all ? 2 : 1; }

/* The record as it is now. If it allows less than before, what was granted by it is not used any more. */
static void adopt(struct budget_counter *counter, const struct warmup_record *record)
{
    struct budget *budget = counter->budget;
    bool less = counter->known && (record->stage < counter->record.stage ||
                                   warmup_cap(counter->plan, record) < warmup_cap(counter->plan, &counter->record));
    counter->record = *record;
    counter->known = true;
    for (struct budget_counter *each = less ? budget->counters : NULL; each; each = each->next)
        if (each == counter || each->all == counter)
            budget_drop_pieces(each);
}

/* ---- turning the day, stepping back ---- */

static void told(struct budget_talk *talk, const struct budget_counter *counter)
{
    const struct warmup_turned *turned = &talk->turned;
    const struct config *config = counter->budget->config;
    store_warmup_told(talk->told, slice_of(config->sources[counter->source].name), slice_of(counter->name),
                      slice_of(config->engine), turned);
}

static void on_swapped(struct store_request *request, const struct store_answer *answer)
{
    struct budget_talk *talk = container_of(request, struct budget_talk, request);
    struct budget_counter *counter = counter_of(talk, talk->part);
    nsec now = io_now(counter->budget->io);
    if (answer->result == STORE_OK && answer->number == 1) {
        adopt(counter, &talk->turned.record);
        if (talk->struck) {
            talk->counter->struck = false;
            budget_drop_pieces(talk->counter);
        }
        talk->struck = false;
        talk->counter->ask_at = now;
        talk->part++;
        go_on(talk);
        return;
    }
    if (answer->result != STORE_OK)
        trouble(counter, "a warm-up record could not be written", SLICE(""));
    talk->counter->ask_at = now + (answer->result == STORE_OK ? lost_race : refused_for);
    end(talk);
}

static void swap(struct budget_talk *talk, struct budget_counter *counter, const struct store_warmup_seen *seen)
{
    const struct warmup_record *old = seen->exists ? &seen->record : NULL;
    size_t history = warmup_history_item(talk->history, counter->plan, old, &talk->turned);
    talk->told[0] = 0;
    if (talk->turned.told)
        told(talk, counter);
    talk->swap = (struct store_warmup_swap){.source = slice_of(counter->budget->config->sources[counter->source].name),
                                            .counter = slice_of(counter->name),
                                            .expected = slice_of(seen->text),
                                            .record = &talk->turned.record,
                                            .history = {talk->history, history},
                                            .told = slice_of(talk->told)};
    talk->request.done = on_swapped;
    store_warmup_swap(counter->budget->store, &talk->request, &talk->swap);
}

/* True: it is to be written. */
static bool turn(struct budget_talk *talk, struct budget_counter *counter, const struct store_warmup_seen *seen)
{
    struct budget *budget = counter->budget;
    nsec now = io_now(budget->io);
    if (talk->struck && talk->part == 0) {
        if (!seen->exists) { /* nothing was granted yet that we know of */
            counter->struck = talk->struck = false;
            return false;
        }
        warmup_struck(counter->plan, &seen->record, &talk->turned);
        if (!talk->turned.changed)
            counter->struck = talk->struck = false;
        return talk->turned.changed;
    }
    if (talk->view.result != STORE_WARMUP_CHANGED || (seen->exists && seen->record.day >= talk->day.number))
        return false;
    const struct warmup_record *old = seen->exists ? &seen->record : NULL;
    warmup_turn(counter->plan, old, config_warmup_since(budget->config, counter->source), talk->day.number,
                &talk->turned);
    if (talk->turned.reason == WARMUP_TOO_EARLY)
        talk->counter->ask_at = now + nsec_min(recheck, nsec_max(talk->day.ends - talk->view.now, NSEC_PER_S));
    return talk->turned.changed;
}

static void on_told(struct store_request *request, const struct store_answer *answer)
{
    (void)answer;
    end(container_of(request, struct budget_talk, request));
}

/* What somebody left untold. */
static bool tell(struct budget_talk *talk)
{
    for (unsigned i = 0; i < part_count(talk); i++) {
        struct budget_counter *counter = counter_of(talk, i);
        if (!talk->view.parts[i].told[0])
            continue;
        talk->swap =
            (struct store_warmup_swap){.source = slice_of(counter->budget->config->sources[counter->source].name),
                                       .counter = slice_of(counter->name),
                                       .told = slice_of(talk->view.parts[i].told)};
        talk->request.done = on_told;
        store_warmup_tell(counter->budget->store, &talk->request, &talk->swap);
        return true;
    }
    return false;
}

/* One record after the other; then what is left to be told. */
static void go_on(struct budget_talk *talk)
{
    for (; talk->part < part_count(talk); talk->part++) {
        struct budget_counter *counter = counter_of(talk, talk->part);
        const struct store_warmup_seen *seen = &talk->view.parts[talk->part];
        if (turn(talk, counter, seen)) {
            swap(talk, counter, seen);
            return;
        }
    }
    if (!tell(talk))
        end(talk);
}

/* ---- asking ---- */

static nsec until_next(const struct budget_talk *talk)
{
    nsec next = 0;
    for (unsigned i = 0; i < part_count(talk); i++)
        next = nsec_max(next, talk->view.parts[i].next - talk->view.now);
    return next;
}

static void granted(struct budget_talk *talk, nsec now)
{
    struct budget_counter *counter = talk->counter;
    const struct store_warmup_view *view = &talk->view;
    if (!view->granted)
        return;
    counter->ask_at = now + until_next(talk);
    struct budget_piece piece = {.epoch = store_epoch(counter->budget->store),
                                 .units = view->granted,
                                 .day = talk->day.number,
                                 .answered_at = now,
                                 .interval = view->granted > 1 ? talk->interval : 0,
                                 .ends_at = talk->asked_at + (talk->day.ends - view->now) - budget_guard()};
    budget_add_piece(counter, &piece);
    if (!budget_is_ours(counter, now))
        budget_drop_pieces(counter);
}

/* When to ask again after a refusal. */
static nsec again_after(struct budget_talk *talk)
{
    const struct store_warmup_view *view = &talk->view;
    struct budget_counter *counter = talk->counter;
    /* Not all at midnight. */
    nsec stagger = (nsec)((uint64_t)counter->number * 37 % 1000) * NSEC_PER_MS;
    switch (view->result) {
    case STORE_WARMUP_LATER:
        return until_next(talk);
    case STORE_WARMUP_FULL:
        return nsec_min(recheck, nsec_max(talk->day.ends - view->now, 0) + stagger);
    case STORE_WARMUP_EARLY:
        trouble(counter, "warm-up has seen a later day than this one, and nothing is granted before that", SLICE(""));
        return early_again;
    case STORE_WARMUP_CLOCKS:
        trouble(counter, "the clocks of Redis and this host differ by more than a minute, nothing is warmed up",
                SLICE(""));
        return clocks_again;
    case STORE_WARMUP_OUTSIDE:
        return view->now < talk->day.begins ? nsec_min(talk->day.begins - view->now, early_again) : lost_race;
    default:
        return lost_race;
    }
}

static void on_asked(struct store_request *request, const struct store_answer *answer)
{
    struct budget_talk *talk = container_of(request, struct budget_talk, request);
    struct budget_counter *counter = talk->counter;
    struct budget *budget = counter->budget;
    nsec now = io_now(budget->io);
    if (answer->result != STORE_OK) {
        trouble(counter, "Redis refuses to say what warm-up allows, nothing is warmed up", answer->error);
        counter->ask_at = now + refused_for;
        end(talk);
        return;
    }
    budget->redis_ahead = talk->view.now - now;
    if (!counter->plan || (talk->all && !talk->all->plan)) { /* a reload has come between */
        end(talk);
        return;
    }
    for (unsigned i = 0; i < part_count(talk); i++)
        if (talk->view.parts[i].exists)
            adopt(counter_of(talk, i), &talk->view.parts[i].record);
        else
            counter_of(talk, i)->known = false;
    if (talk->view.result == STORE_WARMUP_GRANTED)
        granted(talk, now);
    else
        counter->ask_at = now + again_after(talk);
    if (talk->view.result != STORE_WARMUP_CLOCKS && talk->view.result != STORE_WARMUP_EARLY)
        log_trouble_over(budget->log, &budget->trouble, now, "warm-up goes on");
    talk->part = 0;
    go_on(talk);
}

/* The cap of one counter, by what is known of it. Returns how many units to ask for. */
static uint64_t fill(struct store_warmup_part *part, const struct budget_counter *counter, const struct zone_day *day,
                     nsec left)
{
    const struct warmup_record *record = counter->known ? &counter->record : NULL;
    uint64_t done = record && record->day == day->number ? record->granted : 0;
    part->counter = slice_of(counter->name);
    part->record = record;
    part->cap = record ? warmup_cap(counter->plan, record) : 0;
    if (part->cap == WARMUP_UNLIMITED)
        return UNLIMITED_PIECE;
    part->interval = part->cap ? warmup_pace(counter->plan, day->ends - day->begins, left, part->cap, done) : 0;
    uint64_t piece = part->cap > done ? warmup_piece(part->interval, span, part->cap, done) : 0;
    return piece ? piece : 1; /* Redis may know more than we do */
}

static struct zone_day today(const struct budget *budget, nsec now, nsec *wall)
{
    *wall = budget->redis_ahead ? now + budget->redis_ahead : io_wall(budget->io);
    return zone_day(&budget->config->days, *wall);
}

/* What is left of the day for units that are granted from now on; at most 0: none can be used any more. */
static nsec left_of(const struct budget *budget, const struct zone_day *day, nsec wall)
{
    nsec most = (day->ends - day->begins) / 4; /* of a day that is shortened for tests */
    return day->ends - wall - nsec_min(budget->config->warmup_settle + budget_guard() + spare + span, most);
}

void budget_talk_begin(struct budget_counter *counter, nsec now, bool piece)
{
    struct budget *budget = counter->budget;
    nsec wall;
    if (!counter->plan) { /* warm since a reload */
        counter->report_at = counter->ask_at = NSEC_NEVER;
        return;
    }
    struct zone_day day = today(budget, now, &wall);
    nsec left = left_of(budget, &day, wall);
    bool reports = counter->report_at <= now;
    bool willing = store_connected(budget->store) && !store_busy(budget->store);
    piece = piece && !counter->struck && !budget->finishing;
    if (piece && (!willing || !budget_is_ours(counter, now))) {
        counter->ask_at = now + away;
        piece = false;
    } else if (piece && left <= 0) {
        counter->ask_at = now + (day.ends - wall);
        piece = false;
    }
    struct budget_talk *talk = willing && (piece || reports) ? pool_take(&budget->talks) : NULL;
    if (!talk) {
        if (reports)
            counter->report_at = now + away;
        if (piece)
            counter->ask_at = now + lost_race;
        return;
    }
    memset(talk, 0, offsetof(struct budget_talk, told));
    talk->counter = counter;
    talk->all = counter->all;
    talk->day = day;
    talk->asked_at = now;
    talk->struck = counter->struck;
    talk->request.done = on_asked;
    struct store_warmup_ask ask = {.source = slice_of(budget->config->sources[counter->source].name),
                                   .call = ++budget->calls,
                                   .wall = io_wall(budget->io),
                                   .day = day,
                                   .given_back = counter->give_back_day == day.number ? counter->give_back : 0,
                                   .part_count = part_count(talk)};
    uint64_t wanted = UINT64_MAX;
    for (unsigned i = 0; i < ask.part_count; i++) {
        uint64_t units = fill(&ask.parts[i], counter_of(talk, i), &day, left);
        wanted = units < wanted ? units : wanted;
        talk->interval = nsec_max(talk->interval, ask.parts[i].interval);
        ask.parts[i].counts = counter->counts;
    }
    ask.wanted = piece ? wanted : 0;
    counter->counts = (struct warmup_counts){0};
    counter->give_back = 0;
    counter->report_at = NSEC_NEVER;
    counter->talk = talk;
    store_warmup_ask(budget->store, &talk->request, &ask, &talk->view);
}
