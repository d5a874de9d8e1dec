/* sluice warmup plot: the days of one counter, planned against actual, as bars in the terminal. */
#include "cli/text.h"
#include "cli/warmup.h"

#include <inttypes.h>

enum { BAR = 44, AHEAD = 10, DAYS_MAX = WARMUP_HISTORY_DAYS + 2 };

struct plot {
    struct warmup_past days[DAYS_MAX]; /* the last one first; [0] is today */
    unsigned count;
    uint64_t most; /* the largest number that is shown */
};

/* Curves grow by a factor, so a bar is as long as its number has digits, with parts of one: a day of 100 and one of
 * 100,000 are both to be seen. Whole numbers suffice: between powers of two it is straight. */
static unsigned length_of(uint64_t n, uint64_t most)
{
    uint64_t parts[2];
    const uint64_t numbers[2] = {n + 1, most + 1};
    if (n == 0)
        return 0;
    for (unsigned i = 0; i < 2; i++) {
        unsigned bits = 63 - (unsigned)__builtin_clzll(numbers[i]);
        uint64_t within = bits >= 10 ? (numbers[i] >> (bits - 10)) - 1024 : (numbers[i] << (10 - bits)) - 1024;
        parts[i] = (uint64_t)bits * 1024 + within;
    }
    unsigned length = (unsigned)((parts[0] * BAR + parts[1] / 2) / parts[1]);
    return length < 1 ? 1 : length > BAR ? BAR : length;
}

/* '#' accepted, '+' used beyond that, '|' the day's cap. */
static void bar(const struct plot *plot, uint64_t cap, uint64_t used, uint64_t accepted, char text[BAR + 2])
{
    unsigned a = length_of(accepted, plot->most), u = length_of(used, plot->most);
    memset(text, ' ', BAR + 1);
    for (unsigned i = 0; i < BAR; i++)
        text[i] = i < a ? '#' : i < u ? '+' : ' ';
    unsigned end = cap == WARMUP_UNLIMITED ? BAR + 1 : length_of(cap, plot->most);
    for (unsigned i = u; i < end && i < BAR; i++)
        text[i] = text[i] == ' ' ? '.' : text[i];
    if (end <= BAR)
        text[end] = '|';
    for (end = BAR + 1; end && text[end - 1] == ' ';)
        end--;
    text[end] = 0;
}

static void gather(const struct warmup_view *view, struct plot *plot)
{
    struct slice history = view->history;
    const struct warmup_record *record = &view->today.record;
    char item[256];
    plot->days[plot->count++] = (struct warmup_past){record->day, record->stage, warmup_cap(view->plan, record),
                                                     record->granted, record->today};
    if (view->stored.day < record->day) { /* ended, and nobody has turned it yet */
        struct slice last = {item, warmup_history_item(item, view->plan, &view->stored, &view->today)};
        plot->count += warmup_history_next(&last, &plot->days[plot->count]);
    }
    while (plot->count < DAYS_MAX && warmup_history_next(&history, &plot->days[plot->count]))
        plot->count++;
}

/* What the curve had planned for a day: one stage for each since it began. */
static uint64_t planned(const struct warmup_view *view, int64_t day)
{
    int64_t since = view->today.record.since;
    return day < since || day - since > UINT32_MAX / 2 ? 0 : warmup_curve(view->plan, (uint32_t)(day - since) + 1);
}

static void row(struct text_table *table, const struct warmup_view *view, const struct plot *plot,
                const struct warmup_past *past, bool future)
{
    char date[32], stage[32], plan[32], cap[32] = "", used[32] = "", accepted[32] = "", line[BAR + 2];
    warmup_date_text(view->config, past->day, date, sizeof date);
    warmup_day_text(view, past->stage, stage, sizeof stage);
    warmup_cap_text(planned(view, past->day), plan, sizeof plan);
    warmup_cap_text(past->cap, cap, sizeof cap);
    if (!future) {
        warmup_cap_text(past->granted, used, sizeof used);
        warmup_cap_text(past->counts.accepted, accepted, sizeof accepted);
    }
    bar(plot, past->cap, past->granted, past->counts.accepted, line);
    TEXT_ROW(table, date, stage, plan, cap, used, accepted, line);
}

/* The days to come, if all goes well from now on. */
static unsigned add_future(const struct warmup_view *view, struct warmup_past ahead[AHEAD])
{
    struct warmup_record record = view->today.record;
    unsigned n = 0;
    while (n < AHEAD && record.state == WARMUP_RUNNING && !(view->plan->stages && record.stage >= view->plan->stages)) {
        struct warmup_turned next;
        record.today = (struct warmup_counts){.accepted = warmup_cap(view->plan, &record)};
        record.gathered = (struct warmup_counts){0};
        record.active_day = record.day;
        warmup_turn(view->plan, &record, INT64_MIN, record.day + 1, &next);
        record = next.record;
        ahead[n++] = (struct warmup_past){record.day, record.stage, warmup_cap(view->plan, &record), 0, {0}};
    }
    return n;
}

static bool plot_one(void *context, const struct warmup_view *view)
{
    unsigned *shown = context;
    struct plot plot = {.most = 1};
    struct text_table table = {0};
    struct warmup_past ahead[AHEAD];
    char next[256];
    printf("%s%s, %s (%s)\n", (*shown)++ ? "\n" : "", view->config->sources[view->source].name, view->counter,
           view->config->sources[view->source].warmup_name);
    warmup_next_text(view, next, sizeof next);
    if (!view->today.record.stage || !view->exists) {
        printf("%s\n", next);
        return true;
    }
    gather(view, &plot);
    unsigned future = add_future(view, ahead);
    for (unsigned i = 0; i < plot.count + future; i++) {
        const struct warmup_past *past = i < plot.count ? &plot.days[i] : &ahead[i - plot.count];
        uint64_t top = past->cap != WARMUP_UNLIMITED && past->cap > past->granted ? past->cap : past->granted;
        plot.most = top > plot.most ? top : plot.most;
    }
    TEXT_ROW(&table, "DATE", ">DAY", ">PLANNED", ">CAP", ">USED", ">ACCEPTED", "# accepted  + used  . left  | cap");
    for (unsigned i = plot.count; i-- > 0;)
        row(&table, view, &plot, &plot.days[i], false);
    for (unsigned i = 0; i < future; i++)
        row(&table, view, &plot, &ahead[i], true);
    text_print(&table, stdout);
    text_free(&table);
    printf("next: %s\n", next);
    return true;
}

int warmup_plot(struct ask *ask, const char *source, const char *counter)
{
    unsigned shown = 0;
    if (!warmup_each(ask, source, counter, source && counter, plot_one, &shown))
        return CLI_FAILED;
    if (!shown)
        puts("no warm-up has begun: nothing was sent from a source that is in one");
    return CLI_OK;
}
