/* A cap that several shards and engines share holds only if each of them starts nothing that it has no unit for; here
 * is what this shard has units for. budget_talk.c fetches them. */
#include "flow/budget.h"

#include <stdio.h>

enum { TALKS = 256, COUNTERS = 16384, TABLE_LOG2 = 12 };

static const nsec guard = NSEC_PER_S, soon = 2 * NSEC_PER_S;
/* A lane that was woken has this long to take its unit before another one is woken for it. */
static const nsec wake_again = NSEC_PER_S;
/* Somebody waits who took a unit so recently; what nobody took for so long is given back. */
static const nsec wanted_for = 15 * NSEC_PER_S, unused_for = 60 * NSEC_PER_S;
static const nsec settle_again = 100 * NSEC_PER_MS, report_every = 5 * NSEC_PER_S;

nsec budget_guard(void) { return guard; }

/* ---- pieces ---- */

static bool is_live(const struct budget_piece *piece, nsec now) { return piece->settled && now < piece->ends_at; }

/* When its next unit is free, NSEC_NEVER: never. */
static nsec next_unit(const struct budget_piece *piece, nsec now)
{
    if (!is_live(piece, now) || piece->used >= piece->units)
        return NSEC_NEVER;
    nsec at = piece->opens_at;
    if (piece->interval && __builtin_mul_overflow((nsec)piece->used, piece->interval, &at))
        return NSEC_NEVER;
    at = piece->interval ? piece->opens_at + at : piece->opens_at;
    return at < piece->ends_at ? at : NSEC_NEVER;
}

/* How many are free at an instant. */
static uint64_t free_at(const struct budget_piece *piece, nsec now, nsec at)
{
    if (!is_live(piece, now) || at < piece->opens_at)
        return 0;
    uint64_t open = piece->units;
    if (piece->interval && (uint64_t)((at - piece->opens_at) / piece->interval) < open)
        open = (uint64_t)((at - piece->opens_at) / piece->interval) + 1;
    open = open < piece->units ? open : piece->units;
    return open > piece->used ? open - piece->used : 0;
}

static uint64_t units_free(const struct budget_counter *counter, nsec now, nsec at)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < counter->piece_count; i++)
        count += free_at(&counter->pieces[i], now, at);
    return count;
}

static void throw_away(struct budget_counter *counter, unsigned i)
{
    struct budget_piece *piece = &counter->pieces[i];
    counter->budget->thrown_away += piece->units - piece->used;
    *piece = counter->pieces[--counter->piece_count];
}

void budget_drop_pieces(struct budget_counter *counter)
{
    while (counter->piece_count)
        throw_away(counter, counter->piece_count - 1);
    counter->gate = NSEC_NEVER;
}

void budget_add_piece(struct budget_counter *counter, const struct budget_piece *piece)
{
    sluice_assert(counter->piece_count < BUDGET_PIECES);
    struct budget_piece *added = &counter->pieces[counter->piece_count++];
    *added = *piece;
    added->serial = ++counter->budget->serials ? counter->budget->serials : ++counter->budget->serials;
    counter->budget->granted += piece->units;
}

/* It cannot be forgotten any more: the process that granted it was alive so long after. */
static bool has_settled(const struct budget *budget, const struct budget_piece *piece)
{
    nsec settle = budget->config->warmup_settle;
    return settle == 0 || store_alive_at(budget->store) >= piece->answered_at + settle;
}

/* Settles what can be settled and throws away what is over. Those that are used up stay while there is room, for a unit
 * that is released finds its piece. */
static void look_at_pieces(struct budget_counter *counter, nsec now)
{
    struct budget *budget = counter->budget;
    for (unsigned i = counter->piece_count; i-- > 0;) {
        struct budget_piece *piece = &counter->pieces[i];
        bool forgotten = !piece->settled && piece->epoch != store_epoch(budget->store);
        bool used_up = piece->used == piece->units && counter->piece_count > BUDGET_PIECES / 2;
        if (forgotten || now >= piece->ends_at || used_up) {
            throw_away(counter, i);
        } else if (!piece->settled && has_settled(budget, piece)) {
            piece->settled = true;
            piece->opens_at = now;
        }
    }
    nsec gate = NSEC_NEVER;
    for (unsigned i = 0; i < counter->piece_count && !counter->struck; i++)
        gate = nsec_min(gate, next_unit(&counter->pieces[i], now));
    counter->gate = gate;
}

bool budget_reserve(struct lane *lane, struct attempt *attempt, nsec now)
{
    struct budget_counter *counter = lane->counter;
    sluice_assert(!attempt->unit);
    if (!counter)
        return !lane->shared_gate;
    look_at_pieces(counter, now);
    for (unsigned i = 0; i < counter->piece_count && counter->gate <= now; i++) {
        struct budget_piece *piece = &counter->pieces[i];
        if (!free_at(piece, now, now))
            continue;
        piece->used++;
        counter->reserved++;
        counter->used_at = now;
        counter->woken_at = 0; /* who was woken has taken it: the next one need not wait */
        counter->budget->used++;
        attempt->unit = piece->serial;
        attempt->counter = counter;
        budget_look(counter, now);
        return true;
    }
    return false;
}

void budget_release(struct attempt *attempt, nsec now)
{
    struct budget_counter *counter = attempt->counter;
    uint32_t unit = attempt->unit;
    if (!unit)
        return;
    sluice_assert(counter->reserved);
    attempt->unit = 0;
    counter->reserved--;
    counter->budget->used--;
    for (unsigned i = 0; i < counter->piece_count; i++)
        if (counter->pieces[i].serial == unit) {
            counter->pieces[i].used--;
            budget_look(counter, now);
            return;
        }
    counter->budget->thrown_away++; /* its piece is over */
}

void budget_commit(struct attempt *attempt)
{
    if (!attempt->unit)
        return;
    sluice_assert(attempt->counter->reserved);
    attempt->unit = 0;
    attempt->counter->reserved--;
}

/* ---- who waits ---- */

bool budget_is_ours(const struct budget_counter *counter, nsec now)
{
    return counter->budget->lanes->held_until[counter->source] > now;
}

bool budget_is_wanted(const struct budget_counter *counter, nsec now)
{
    return counter->line.count || (counter->used_at && now - counter->used_at < wanted_for);
}

/* As many as there are units for now. Who takes none leaves it to those behind, a second later. */
static void wake_line(struct budget_counter *counter, nsec now)
{
    if (counter->gate > now || !counter->line.count || (counter->woken_at && now - counter->woken_at < wake_again))
        return;
    counter->woken_at = now;
    for (uint64_t units = units_free(counter, now, now); units && counter->line.count; units--) {
        struct lane *lane = counter->line.first;
        lane_line_leave(lane);
        counter->budget->wake(counter->budget->context, lane);
    }
}

bool budget_wait(struct lane *lane, nsec now)
{
    struct budget_counter *counter = lane->counter;
    if (!counter)
        return false;
    look_at_pieces(counter, now);
    if (counter->gate <= now)
        return false;
    lane_line_add(&counter->line, lane);
    budget_look(counter, now);
    return true;
}

unsigned budget_ahead(struct lane *lane, nsec now)
{
    if (!lane->counter)
        return UINT32_MAX;
    uint64_t units = units_free(lane->counter, now, now + soon);
    return units < UINT32_MAX ? (unsigned)units : UINT32_MAX;
}

unsigned budget_waiting(const struct budget *budget)
{
    unsigned waiting = 0;
    for (const struct budget_counter *counter = budget->counters; counter; counter = counter->next)
        waiting += counter->line.count;
    return waiting;
}

/* ---- what became of messages ---- */

void budget_count(struct budget_counter *counter, enum budget_end end, nsec now)
{
    struct warmup_counts *counts = &counter->counts;
    uint64_t *const which[] = {[BUDGET_ACCEPTED] = &counts->accepted, [BUDGET_DEFERRED] = &counts->deferred,
                               [BUDGET_BLOCKED] = &counts->blocked,   [BUDGET_STRUCK] = &counts->blocked,
                               [BUDGET_BOUNCED] = &counts->bounced,   [BUDGET_OTHER] = &counts->other};
    sluice_assert(end > BUDGET_END_BROKEN && end <= BUDGET_OTHER);
    ++*which[end];
    if (counter->report_at == NSEC_NEVER)
        counter->report_at = now + report_every;
    if (end == BUDGET_STRUCK) {
        counter->struck = true;
        counter->report_at = now;
    }
    budget_look(counter, now);
}

/* ---- the counter's times ---- */

/* What nobody took for long goes back; the record's day gets it if it is still that day. */
static void give_back(struct budget_counter *counter, nsec now, bool all)
{
    if (!all && (budget_is_wanted(counter, now) || now - counter->used_at < unused_for))
        return;
    for (unsigned i = counter->piece_count; i-- > 0;) {
        struct budget_piece *piece = &counter->pieces[i];
        bool same = !counter->give_back || counter->give_back_day == piece->day;
        if (is_live(piece, now) && same && (all || now - piece->opens_at >= unused_for)) {
            counter->give_back_day = piece->day;
            counter->give_back += piece->units - piece->used;
            counter->budget->returned += piece->units - piece->used;
            piece->units = piece->used;
        }
        if (is_live(piece, now) && piece->units == piece->used)
            throw_away(counter, i);
    }
    if (counter->give_back)
        counter->report_at = now;
}

static nsec next_time(const struct budget_counter *counter, nsec now)
{
    nsec next = counter->talk ? NSEC_NEVER : counter->report_at;
    nsec settle = counter->budget->config->warmup_settle;
    for (unsigned i = 0; i < counter->piece_count; i++) {
        const struct budget_piece *piece = &counter->pieces[i];
        nsec settles = piece->answered_at + settle;
        next = nsec_min(next, piece->ends_at);
        if (!piece->settled)
            next = nsec_min(next, nsec_max(settles, now + settle_again));
        else if (piece->used < piece->units)
            next = nsec_min(next, nsec_max(piece->opens_at, counter->used_at) + unused_for + NSEC_PER_MS);
    }
    if (counter->line.count)
        next = nsec_min(next, counter->gate > now ? counter->gate : counter->woken_at + wake_again);
    if (!counter->talk && budget_is_wanted(counter, now) && counter->piece_count < BUDGET_PIECES)
        next = nsec_min(next, counter->ask_at);
    return next;
}

void budget_look(struct budget_counter *counter, nsec now)
{
    look_at_pieces(counter, now);
    give_back(counter, now, false);
    wake_line(counter, now);
    if (!counter->talk) {
        bool piece = budget_is_wanted(counter, now) && now >= counter->ask_at && counter->piece_count < BUDGET_PIECES;
        if (piece || counter->report_at <= now)
            budget_talk_begin(counter, now, piece);
    }
    nsec next = next_time(counter, now);
    if (next == NSEC_NEVER)
        io_timer_clear(counter->budget->io, &counter->timer);
    else /* what could not be done now is tried again, but not at once */
        io_timer_set(counter->budget->io, &counter->timer, next > now ? next : now + settle_again);
}

static void on_timer(struct io_timer *timer)
{
    struct budget_counter *counter = container_of(timer, struct budget_counter, timer);
    budget_look(counter, io_now(counter->budget->io));
}

void budget_source(struct budget *budget, unsigned source, bool ours)
{
    nsec now = io_now(budget->io);
    for (struct budget_counter *counter = budget->counters; counter; counter = counter->next) {
        if (counter->source != source)
            continue;
        if (!ours) {
            budget_drop_pieces(counter);
            counter->known = false;
        }
        counter->ask_at = now;
        budget_look(counter, now);
    }
}

void budget_wake(struct budget *budget)
{
    nsec now = io_now(budget->io);
    for (struct budget_counter *counter = budget->counters; counter; counter = counter->next)
        if (counter->line.count && counter->gate > now) {
            counter->ask_at = now;
            budget_look(counter, now);
        }
}

void budget_finish(struct budget *budget)
{
    nsec now = io_now(budget->io);
    budget->finishing = true;
    for (struct budget_counter *counter = budget->counters; counter; counter = counter->next) {
        while (counter->line.first)
            lane_line_leave(counter->line.first);
        give_back(counter, now, true);
        if (counter->report_at != NSEC_NEVER)
            counter->report_at = now;
        budget_look(counter, now);
    }
}

bool budget_owes(const struct budget *budget)
{
    for (const struct budget_counter *counter = budget->counters; counter; counter = counter->next)
        if (counter->talk || (counter->known && counter->report_at != NSEC_NEVER))
            return true;
    return false;
}

/* ---- for people ---- */

nsec budget_say(const struct lane *lane, char *text, size_t cap, nsec now)
{
    const struct budget_counter *counter = lane->counter;
    const struct warmup_record *record = &counter->record;
    nsec next = counter->gate > now && counter->gate != NSEC_NEVER ? counter->gate : counter->ask_at;
    uint64_t most = counter->known ? warmup_cap(counter->plan, record) : 0;
    if (!counter->known)
        snprintf(text, cap, "warm-up: nothing has been granted yet");
    else if (record->state == WARMUP_PAUSED)
        snprintf(text, cap, "warm-up: paused by hand");
    else if (most == WARMUP_UNLIMITED)
        snprintf(text, cap, "warm-up: waits for Redis");
    else
        snprintf(text, cap, "warm-up: %llu of %llu today", (unsigned long long)record->granted,
                 (unsigned long long)most);
    return next > now ? next : NSEC_NEVER;
}

/* ---- making ---- */

static struct budget_counter *find(struct budget *budget, unsigned source, struct slice name)
{
    uint64_t hash = table_hash(name) + source;
    for (struct table_link *link = table_first(&budget->table, hash); link; link = table_next(link)) {
        struct budget_counter *counter = container_of(link, struct budget_counter, link);
        if (counter->source == source && slice_equal(slice_of(counter->name), name))
            return counter;
    }
    return NULL;
}

static struct budget_counter *get(struct budget *budget, unsigned source, struct slice name)
{
    struct budget_counter *counter = find(budget, source, name);
    if (counter || !(counter = pool_take(&budget->counter_pool)))
        return counter;
    *counter = (struct budget_counter){.next = budget->counters,
                                       .budget = budget,
                                       .source = source,
                                       .number = pool_in_use(&budget->counter_pool),
                                       .plan = config_warmup_of(budget->config, source, name),
                                       .gate = NSEC_NEVER,
                                       .report_at = NSEC_NEVER,
                                       .timer = {.fire = on_timer}};
    slice_copy(counter->name, sizeof counter->name, name);
    table_add(&budget->table, &counter->link, table_hash(name) + source);
    budget->counters = counter;
    return counter;
}

void budget_lane_made(struct budget *budget, struct lane *lane)
{
    struct slice isp = slice_of(lane->own.isp);
    bool all = lane->relay < 0 && config_warmup_all(budget->config, lane->source);
    bool own = lane->relay < 0 && config_warmup_plan(budget->config, lane->source, isp);
    struct budget_counter *whole = all ? get(budget, lane->source, SLICE("all")) : NULL;
    struct budget_counter *counter =
        own ? get(budget, lane->source, config_warmup_counter(budget->config, isp)) : whole;
    lane_line_leave(lane);
    lane->apart = (all || own) && budget->config->sources[lane->source].overflow == CONFIG_OVERFLOW_WAIT;
    lane->counter = NULL;
    lane->shared_gate = NULL;
    if (!all && !own)
        return;
    if (!counter || (all && !whole)) {
        lane->shared_gate = &budget->never;
        return;
    }
    counter->all = counter == whole ? NULL : whole;
    lane->counter = counter;
    lane->shared_gate = &counter->gate;
}

void budget_reload(struct budget *budget, const struct config *config)
{
    budget->config = config;
    for (struct budget_counter *counter = budget->counters; counter; counter = counter->next) {
        counter->plan = config_warmup_of(config, counter->source, slice_of(counter->name));
        if (!config_warmup_all(config, counter->source))
            counter->all = NULL;
        budget_drop_pieces(counter); /* by which curve they were granted is not known */
        counter->known = false;
        counter->ask_at = 0;
    }
}

bool budget_open(struct budget *budget, struct arena *arena, const struct budget_config *config)
{
    *budget = (struct budget){.io = config->io,
                              .store = config->store,
                              .config = config->config,
                              .log = config->log,
                              .lanes = config->lanes,
                              .wake = config->wake,
                              .context = config->context,
                              .never = NSEC_NEVER};
    return pool_open(&budget->counter_pool, arena, sizeof(struct budget_counter), COUNTERS) &&
           pool_open(&budget->talks, arena, sizeof(struct budget_talk), TALKS) &&
           table_open(&budget->table, arena, TABLE_LOG2);
}
