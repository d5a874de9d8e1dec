/* The scopes themselves: found by what they are about, kept in Redis, told to people and to the other shards. */
#include "flow/shard.h"
#include "proto/number.h"
#include "store/lanes.h"

#include <stdio.h>

enum { TABLE_LOG2 = 10, TEXT = 1024 };

static const nsec write_every = NSEC_PER_S, hits_for = 3600 * NSEC_PER_S;
static const char *const words[] = {[RULE_FROM_DOMAIN] = " from ", [RULE_CAMPAIGN] = " campaign "};

/* ---- by what they are about ---- */

static uint64_t key_of(enum rule_scope kind, unsigned source, struct slice isp, struct slice tail)
{
    uint64_t h = table_hash(isp) ^ ((uint64_t)kind << 40 | source) * 0x9e3779b97f4a7c15u;
    return (tail.n ? h ^ table_hash(tail) << 1 : h) * 0xff51afd7ed558ccdu;
}

struct adapt_scope *adapt_find(const struct shard *shard, enum rule_scope kind, unsigned source, struct slice isp,
                               struct slice tail)
{
    const struct adaptation *a = &shard->adaptation;
    if (!a->table.count)
        return NULL;
    struct table_link *link = table_first(&a->table, key_of(kind, source, isp, tail));
    for (; link; link = table_next(link)) {
        struct adapt_scope *scope = container_of(link, struct adapt_scope, link);
        if (scope->kind == kind && scope->source == source && slice_equal(slice_of(scope->isp), isp) &&
            slice_equal_nocase(slice_of(scope->tail), tail))
            return scope;
    }
    return NULL;
}

static void on_step(struct store_request *request, const struct store_answer *answer)
{
    (void)request, (void)answer; /* what Redis refuses for good is not remembered, and holds all the same */
}

struct adapt_scope *adapt_get(struct shard *shard, enum rule_scope kind, unsigned source, struct slice isp,
                              struct slice tail)
{
    struct adaptation *a = &shard->adaptation;
    struct adapt_scope *scope = adapt_find(shard, kind, source, isp, tail);
    if (scope || tail.n >= sizeof scope->tail || !(scope = pool_take(&a->pool)))
        return scope;
    memset(scope, 0, sizeof *scope);
    scope->shard = shard;
    scope->kind = kind;
    scope->source = source;
    scope->mine = kind != RULE_LANE;
    slice_copy(scope->isp, sizeof scope->isp, isp);
    slice_copy(scope->tail, sizeof scope->tail, tail);
    scope->write.done = scope->say.done = on_step;
    adapt_init(&scope->state);
    scope->effect = adapt_effect(&scope->state);
    scope->said = ADAPT_OPEN;
    scope->said_percent = 100;
    scope->next = a->first;
    if (scope->next)
        scope->next->prev = scope;
    a->first = scope;
    a->wide += kind != RULE_LANE;
    table_add(&a->table, &scope->link, key_of(kind, source, isp, tail));
    return scope;
}

static void drop(struct adaptation *a, struct adapt_scope *scope)
{
    *(scope->prev ? &scope->prev->next : &a->first) = scope->next;
    if (scope->next)
        scope->next->prev = scope->prev;
    a->wide -= scope->kind != RULE_LANE;
    table_remove(&a->table, &scope->link);
    pool_give(&a->pool, scope);
}

/* ---- Redis ---- */

static struct slice hash_of(const struct adapt_scope *scope)
{
    return scope->kind == RULE_LANE ? slice_of(scope->shard->config->sources[scope->source].name) : SLICE("*");
}

static struct slice field_of(const struct adapt_scope *scope, char *text, size_t cap)
{
    int n = snprintf(text, cap, "%s%s%s", scope->isp, scope->kind == RULE_LANE ? "" : words[scope->kind], scope->tail);
    return (struct slice){text, (size_t)n};
}

static void write_scope(struct adapt_scope *scope, nsec now)
{
    struct shard *shard = scope->shard;
    char field[LIMIT_ISP_NAME + LIMIT_DOMAIN + 16], text[TEXT];
    size_t n = 0;
    if (!adapt_is_idle(&scope->state, now)) {
        n = adapt_write(&scope->state, now, io_wall(shard->io), text, sizeof text);
        n += (size_t)snprintf(text + n, sizeof text - n, "\t%s\t%s", scope->rule, scope->reply);
    }
    scope->unwritten = false;
    scope->written_at = now;
    store_lane(shard->store, &scope->write, hash_of(scope), field_of(scope, field, sizeof field), scope->version,
               (struct slice){text, n});
}

static struct slice take_field(struct slice *rest, char end)
{
    const char *at = memchr(rest->p, end, rest->n);
    struct slice field = {rest->p, at ? (size_t)(at - rest->p) : rest->n};
    rest->p += field.n + (at != NULL);
    rest->n -= field.n + (at != NULL);
    return field;
}

static struct adapt_scope *scope_of_field(struct shard *shard, unsigned source, struct slice field)
{
    if (source < CONFIG_SOURCES_MAX)
        return adapt_get(shard, RULE_LANE, source, field, SLICE(""));
    struct slice isp = take_field(&field, ' '), kind = take_field(&field, ' ');
    if (slice_equal(kind, SLICE("from")))
        return adapt_get(shard, RULE_FROM_DOMAIN, 0, isp, field);
    return slice_equal(kind, SLICE("campaign")) ? adapt_get(shard, RULE_CAMPAIGN, 0, isp, field) : NULL;
}

/* "version numbers<TAB>rule<TAB>reply". What is newer here stays. */
static void take_over(struct shard *shard, unsigned source, struct slice field, struct slice value)
{
    struct adapt state;
    nsec now = io_now(shard->io);
    uint64_t version;
    struct slice number = take_field(&value, ' '), numbers = take_field(&value, '\t'), rule = take_field(&value, '\t');
    if (!number_parse(number, UINT64_MAX >> 1, &version) || !adapt_read(&state, numbers, now, io_wall(shard->io)) ||
        adapt_is_idle(&state, now))
        return;
    struct adapt_scope *scope = scope_of_field(shard, source, field);
    if (!scope || scope->version >= version)
        return;
    scope->state = state;
    scope->effect = adapt_effect(&state);
    scope->version = version;
    scope->said = state.mode;
    scope->said_percent = state.percent;
    scope->said_sessions = state.cap;
    scope->said_messages = state.per_connection;
    slice_copy(scope->rule, sizeof scope->rule, rule);
    slice_copy(scope->reply, sizeof scope->reply, value);
}

static void on_memory(struct store_request *request, const struct store_answer *answer);

static void read_memory(struct shard *shard, unsigned source)
{
    struct adapt_memory *memory = &shard->adaptation.sources[source];
    memory->shard = shard;
    memory->request.done = on_memory;
    memory->again = store_request_busy(&memory->request);
    if (!memory->again)
        store_lanes(shard->store, &memory->request,
                    source < CONFIG_SOURCES_MAX ? slice_of(shard->config->sources[source].name) : SLICE("*"));
}

static void on_memory(struct store_request *request, const struct store_answer *answer)
{
    struct adapt_memory *memory = container_of(request, struct adapt_memory, request);
    struct shard *shard = memory->shard;
    unsigned source = (unsigned)(memory - shard->adaptation.sources);
    if (memory->again) {
        read_memory(shard, source);
        return;
    }
    for (unsigned i = 0; i + 1 < answer->item_count; i += 2)
        take_over(shard, source, answer->items[i], answer->items[i + 1]);
    memory->known = true; /* also where Redis refuses: the key is of another type, and nobody can have written it */
    adapt_apply_source(shard, source);
}

void adapt_source_ours(struct shard *shard, unsigned source)
{
    struct adapt_memory *memory = &shard->adaptation.sources[source];
    memory->known = false;
    adapt_apply_source(shard, source);
    read_memory(shard, source);
}

/* ---- people ---- */

struct saying {
    struct slice fields[40];
    unsigned count;
    char numbers[8][NUMBER_DIGITS_MAX];
    unsigned numbered;
};

static void say_text(struct saying *s, const char *name, struct slice text)
{
    if (!text.n)
        return;
    sluice_assert(s->count + 2 <= countof(s->fields));
    s->fields[s->count++] = slice_of(name);
    s->fields[s->count++] = text;
}

static void say_number(struct saying *s, const char *name, uint64_t number)
{
    sluice_assert(s->numbered < countof(s->numbers));
    char *to = s->numbers[s->numbered++];
    say_text(s, name, (struct slice){to, number_write(to, number)});
}

static bool is_news(const struct adapt_scope *scope)
{
    const struct adapt *a = &scope->state;
    return a->mode != scope->said || a->percent != scope->said_percent || a->cap != scope->said_sessions ||
           a->per_connection != scope->said_messages;
}

static void say_scope(struct adapt_scope *scope)
{
    struct shard *shard = scope->shard;
    const struct adapt *a = &scope->state;
    struct saying s = {.count = 0};
    say_text(&s, "adapt", slice_of(rule_scope_name(scope->kind)));
    if (scope->kind == RULE_LANE)
        say_text(&s, "source", slice_of(shard->config->sources[scope->source].name));
    say_text(&s, "isp", slice_of(scope->isp));
    say_text(&s, scope->kind == RULE_CAMPAIGN ? "campaign" : "domain", slice_of(scope->tail));
    say_text(&s, "from", slice_of(adapt_mode_name(scope->said)));
    say_text(&s, "to", slice_of(adapt_mode_name(a->mode)));
    say_text(&s, "cause", slice_of(adapt_what_name(a->cause)));
    if (a->mode == ADAPT_SILENT)
        say_number(&s, "until_ms", (uint64_t)((io_wall(shard->io) + a->until - io_now(shard->io)) / NSEC_PER_MS));
    say_number(&s, "percent", a->percent);
    if (scope->effect.sessions)
        say_number(&s, "connections", scope->effect.sessions);
    if (a->per_connection)
        say_number(&s, "per_connection", a->per_connection);
    if (a->rate)
        say_number(&s, "rate_per_hour", a->rate);
    say_text(&s, "rule", slice_of(scope->rule));
    say_text(&s, "reply", slice_of(scope->reply));
    say_number(&s, "accepted", scope->accepted);
    say_number(&s, "refused", scope->refused);
    if (scope->alert || (a->mode == ADAPT_SILENT && (a->cause == ADAPT_HOLD || a->cause == ADAPT_SHUT_OUT)))
        say_text(&s, "alert", SLICE("1"));
    say_text(&s, "engine", slice_of(shard->config->engine));
    store_ops(shard->store, &scope->say, s.fields, s.count);
    log_info(&shard->log, "lane", log_text("isp", scope->isp), log_text("scope", rule_scope_name(scope->kind)),
             log_slice("source", scope->kind == RULE_LANE ? hash_of(scope) : slice_of(scope->tail)),
             log_text("from", adapt_mode_name(scope->said)), log_text("to", adapt_mode_name(a->mode)),
             log_text("reply", scope->reply));
    scope->said = a->mode;
    scope->said_percent = a->percent;
    scope->said_sessions = a->cap;
    scope->said_messages = a->per_connection;
    scope->accepted = scope->refused = 0;
    scope->alert = false;
}

/* ---- all together ---- */

void adapt_flush(struct adapt_scope *scope, nsec now)
{
    if (scope->unposted)
        scope->unposted = !adapt_post_effect(scope);
    if (!scope->mine)
        return;
    if (scope->unwritten && !store_request_busy(&scope->write) &&
        (!scope->written_at || now - scope->written_at >= write_every))
        write_scope(scope, now);
    scope->unsaid = scope->unsaid && is_news(scope);
    if (scope->unsaid && !store_request_busy(&scope->say)) {
        scope->unsaid = false;
        say_scope(scope);
    }
}

void adapt_changed(struct adapt_scope *scope)
{
    struct shard *shard = scope->shard;
    nsec now = io_now(shard->io);
    uint64_t wall_ms = (uint64_t)(io_wall(shard->io) / NSEC_PER_MS);
    scope->version = wall_ms > scope->version ? wall_ms : scope->version + 1;
    scope->effect = adapt_effect(&scope->state);
    scope->unwritten = scope->unsaid = true;
    scope->unposted = scope->kind == RULE_LANE && shard->shards > 1;
    adapt_apply_scope(scope);
    adapt_flush(scope, now);
}

static bool is_over(const struct adapt_scope *scope, nsec now)
{
    const struct adapt_effect *e = &scope->effect;
    if (store_request_busy(&scope->write) || store_request_busy(&scope->say) || scope->unwritten || scope->unposted ||
        scope->unsaid)
        return false;
    if (scope->mine)
        return adapt_is_idle(&scope->state, now) && !scope->state.closes &&
               (!scope->hits || now - scope->hit_at > hits_for);
    return scope->version && !e->silent_until && !e->one_message && !e->sessions && !e->rate && e->percent == 100 &&
           !e->per_connection;
}

void adapt_turn(struct shard *shard)
{
    nsec now = io_now(shard->io);
    unsigned silent = 0, slowed = 0, held = 0;
    for (struct adapt_scope *scope = shard->adaptation.first, *next; scope; scope = next) {
        next = scope->next;
        if (scope->mine && adapt_tick_scope(scope, now))
            adapt_changed(scope);
        adapt_flush(scope, now);
        silent += scope->mine && scope->state.mode == ADAPT_SILENT;
        slowed += scope->mine && scope->state.mode != ADAPT_SILENT && !adapt_is_idle(&scope->state, now);
        held += scope->mine && scope->state.mode == ADAPT_SILENT && scope->state.cause >= ADAPT_HOLD;
        if (is_over(scope, now))
            drop(&shard->adaptation, scope);
    }
    metrics_set(shard->metrics, METRIC_LANES_SILENT, silent);
    metrics_set(shard->metrics, METRIC_LANES_SLOWED, slowed);
    metrics_set(shard->metrics, METRIC_LANES_HELD, held);
}

bool adapt_is_busy(const struct shard *shard)
{
    for (const struct adapt_scope *scope = shard->adaptation.first; scope; scope = scope->next)
        if (scope->mine && (scope->unwritten || store_request_busy(&scope->write)))
            return true;
    return false;
}

bool adapt_open(struct shard *shard)
{
    struct adaptation *a = &shard->adaptation;
    a->sources = arena_take(&shard->arena, (CONFIG_SOURCES_MAX + 1) * sizeof *a->sources, sizeof(void *));
    if (!a->sources || !pool_open(&a->pool, &shard->arena, sizeof(struct adapt_scope), ADAPT_SCOPES) ||
        !table_open(&a->table, &shard->arena, TABLE_LOG2))
        return false;
    read_memory(shard, CONFIG_SOURCES_MAX);
    return true;
}
