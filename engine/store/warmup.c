/* Warm-up promises hold across engines because one place counts what was granted; here is how it is asked, and when its
 * word can be relied on. */
#include "store/warmup.h"

#include "proto/number.h"
#include "store/step.h"

#include <stdio.h>

enum { REPLY_RESULT = 2, REPLY_COUNT, REPLY_NOW, REPLY_PARTS };

/* ---- a piece ---- */

/* Outwards and inwards: Redis dates in us, and cuts. */
static int64_t us_of(nsec wall) { return wall / NSEC_PER_US; }

static nsec wall_of(const struct resp_node *us)
{
    int64_t number = resp_to_number(us);
    return number < 0 || number > INT64_MAX / NSEC_PER_US ? 0 : number * NSEC_PER_US; /* no such time: none */
}

static void write_counts(struct store *store, const struct warmup_counts *counts)
{
    const uint64_t all[] = {counts->accepted, counts->deferred, counts->blocked, counts->bounced, counts->other};
    for (unsigned i = 0; i < countof(all); i++)
        resp_unsigned(&store->command, all[i]);
}

static void write_part(struct store *store, const struct store_warmup_part *part)
{
    const struct warmup_record *record = part->record;
    resp_text(&store->command, part->counter);
    step_text(store, record ? warmup_state_word(record->state) : "-");
    resp_unsigned(&store->command, record ? record->stage : 0);
    resp_number(&store->command, record ? record->day : 0);
    if (part->cap == WARMUP_UNLIMITED)
        resp_number(&store->command, -1);
    else
        resp_unsigned(&store->command, part->cap);
    resp_number(&store->command, us_of(part->interval));
    write_counts(store, &part->counts);
}

static void read_part(const struct resp_node *reply, struct store_warmup_seen *seen)
{
    struct slice text = resp_to_text(resp_member(reply, 0));
    slice_copy(seen->text, sizeof seen->text, text);
    seen->exists = warmup_record_parse(text, &seen->record);
    seen->next = wall_of(resp_member(reply, 1));
    slice_copy(seen->told, sizeof seen->told, resp_to_text(resp_member(reply, 2)));
}

static void read_ask(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_warmup_view *view = r->warmup;
    struct store_answer answer;
    (void)repeated;
    *view = (struct store_warmup_view){.result = STORE_WARMUP_BROKEN};
    if (step_head(reply, &answer)) {
        int64_t result = resp_to_number(resp_member(reply, REPLY_RESULT));
        view->result =
            result > 0 && result < STORE_WARMUP_RESULT_COUNT ? (enum store_warmup_result)result : STORE_WARMUP_BROKEN;
        view->granted = resp_to_unsigned(resp_member(reply, REPLY_COUNT));
        view->now = wall_of(resp_member(reply, REPLY_NOW));
        for (unsigned i = 0; i < STORE_WARMUP_PARTS && resp_member(reply, REPLY_PARTS + i); i++)
            read_part(resp_member(reply, REPLY_PARTS + i), &view->parts[i]);
    }
    step_done(store, r, &answer);
}

void store_warmup_ask(struct store *store, struct store_request *r, const struct store_warmup_ask *ask,
                      struct store_warmup_view *view)
{
    sluice_assert(ask->part_count > 0 && ask->part_count <= STORE_WARMUP_PARTS);
    r->warmup = view;
    step_begin_single(store, "warmup_ask", "warmup:", ask->source);
    step_text(store, store->hand);
    resp_unsigned(&store->command, ask->call);
    resp_number(&store->command, us_of(ask->wall));
    resp_number(&store->command, ask->day.number);
    resp_number(&store->command, us_of(ask->day.begins));
    resp_number(&store->command, us_of(ask->day.ends));
    resp_unsigned(&store->command, ask->wanted);
    resp_unsigned(&store->command, ask->given_back);
    for (unsigned i = 0; i < ask->part_count; i++)
        write_part(store, &ask->parts[i]);
    step_ask(store, r, read_ask, 0);
}

/* ---- a transition ---- */

/* What has to be told is kept in the source's hash until it stands in the stream: whoever dies in between has it told
 * by another, or twice. The answer of the swap itself waits in the request. */
static void read_noted(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer = {.result = STORE_OK, .number = r->number};
    (void)reply;
    (void)repeated;
    step_done(store, r, &answer);
}

static void read_told(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    (void)reply;
    (void)repeated;
    step_begin_single(store, "warmup_told", "warmup:", r->swap->source);
    resp_text(&store->command, r->swap->counter);
    resp_text(&store->command, r->swap->told);
    step_ask(store, r, read_noted, 0);
    link_flush(store->link);
}

/* "name=value" lines as fields. */
static void ask_tell(struct store *store, struct store_request *r)
{
    struct slice left = r->swap->told;
    step_begin_ops(store);
    while (left.n) {
        const char *end = memchr(left.p, '\n', left.n);
        struct slice line = {left.p, end ? (size_t)(end - left.p) : left.n};
        const char *sign = memchr(line.p, '=', line.n);
        size_t name = sign ? (size_t)(sign - line.p) : line.n, behind = sign ? name + 1 : line.n;
        resp_text(&store->command, (struct slice){line.p, name});
        resp_text(&store->command, (struct slice){line.p + behind, line.n - behind});
        left = (struct slice){line.p + line.n + (end != NULL), left.n - line.n - (end != NULL)};
    }
    step_ask(store, r, read_told, 0);
}

static void read_swap(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer;
    (void)repeated;
    if (!step_head(reply, &answer)) {
        step_done(store, r, &answer);
        return;
    }
    answer.number = r->number = resp_to_number(resp_member(reply, 2));
    if (r->number == 1 && r->swap->told.n) {
        ask_tell(store, r);
        link_flush(store->link);
        return;
    }
    step_item(store, resp_to_text(resp_member(reply, 3)));
    step_done(store, r, &answer);
}

void store_warmup_swap(struct store *store, struct store_request *r, const struct store_warmup_swap *swap)
{
    char record[WARMUP_RECORD_TEXT];
    size_t n = warmup_record_write(record, swap->record);
    r->swap = swap;
    step_begin_single(store, "warmup_swap", "warmup:", swap->source);
    resp_text(&store->command, swap->counter);
    resp_text(&store->command, swap->expected);
    resp_text(&store->command, (struct slice){record, n});
    resp_text(&store->command, swap->history);
    resp_text(&store->command, swap->told);
    step_ask(store, r, read_swap, 0);
}

void store_warmup_tell(struct store *store, struct store_request *r, const struct store_warmup_swap *swap)
{
    sluice_assert(swap->told.n);
    r->swap = swap;
    r->number = 0;
    ask_tell(store, r);
}

static size_t add_line(char *to, size_t n, const char *name, struct slice value)
{
    int more = value.n ? snprintf(to + n, STORE_WARMUP_TOLD - n, "%s=" SLICE_FORMAT "\n", name, SLICE_ARGS(value)) : 0;
    sluice_assert(more >= 0 && n + (size_t)more < STORE_WARMUP_TOLD);
    return n + (size_t)more;
}

static size_t add_number(char *to, size_t n, const char *name, uint64_t number)
{
    char digits[NUMBER_DIGITS_MAX];
    return number ? add_line(to, n, name, (struct slice){digits, number_write(digits, number)}) : n;
}

static size_t add_cap(char *to, size_t n, const char *name, uint64_t cap)
{
    return cap == WARMUP_UNLIMITED ? add_line(to, n, name, SLICE("unlimited")) : add_number(to, n, name, cap);
}

size_t store_warmup_told(char to[STORE_WARMUP_TOLD], struct slice source, struct slice counter, struct slice engine,
                         const struct warmup_turned *turned)
{
    size_t n = add_line(to, 0, "warmup", slice_of(warmup_reason_word(turned->reason)));
    n = add_line(to, n, "source", source);
    n = add_line(to, n, "isp", counter);
    n = add_line(to, n, "engine", engine);
    n = add_line(to, n, "state", slice_of(warmup_state_word(turned->record.state)));
    n = add_number(to, n, "day", (uint64_t)turned->record.day);
    n = add_number(to, n, "from", turned->from);
    n = add_number(to, n, "to", turned->to);
    n = add_cap(to, n, "from_cap", turned->from_cap);
    n = add_cap(to, n, "to_cap", turned->to_cap);
    n = add_number(to, n, "granted", turned->granted);
    n = add_number(to, n, "answered", turned->answered);
    n = add_number(to, n, "accepted", turned->judged.accepted);
    n = add_number(to, n, "deferred", turned->judged.deferred);
    n = add_number(to, n, "blocked", turned->judged.blocked);
    n = add_number(to, n, "bounced", turned->judged.bounced);
    n = add_number(to, n, "share_per_100000", turned->share);
    n = add_number(to, n, "limit_per_100000", turned->limit);
    return add_number(to, n, "idle_days", (uint64_t)(turned->idle > 0 ? turned->idle : 0));
}

/* ---- for people ---- */

void store_warmup_read(struct store *store, struct store_request *r, struct slice source)
{
    step_begin_command(store, "HGETALL");
    step_global_key(store, "warmup:", source);
    step_ask(store, r, step_read_command, 0);
}

/* ---- what Redis keeps ---- */

uint64_t store_epoch(const struct store *store) { return link_epoch(store->link); }
nsec store_alive_at(const struct store *store) { return link_alive_at(store->link); }
uint64_t store_epoch_of(const struct store *store, struct slice campaign)
{
    return link_epoch_of(store->link, slot_of(campaign));
}

bool store_knows_server(const struct store *store) { return link_knows_server(store->link); }

/* Its answer is names and values, in an order of its own. */
static void read_durability(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    static const char *const names[] = {"appendonly", "appendfsync"};
    struct store_answer answer = {.result = STORE_OK};
    (void)repeated;
    for (unsigned n = 0; n < countof(names); n++) {
        unsigned i = 0;
        while (resp_member(reply, i + 1) && !slice_equal(resp_to_text(resp_member(reply, i)), slice_of(names[n])))
            i += 2;
        step_item(store, resp_to_text(resp_member(reply, i + 1)));
    }
    step_done(store, r, &answer);
}

void store_durability(struct store *store, struct store_request *r)
{
    step_begin_command(store, "CONFIG");
    step_text(store, "GET");
    step_text(store, "append*");
    step_ask(store, r, read_durability, 0);
}
