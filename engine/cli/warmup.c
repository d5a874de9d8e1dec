/* sluice warmup: where each warm-up stands and why, and what people may change of it by hand. */
#include "cli/warmup.h"

#include "cli/text.h"
#include "store/warmup.h"

#include <getopt.h>
#include <stdlib.h>

enum { TRIES = 50 };

enum verb { VERB_SHOW, VERB_PLOT, VERB_SET, VERB_PAUSE, VERB_RESUME, VERB_COUNT };
static const char *const verbs[] = {"show", "plot", "set-day", "pause", "resume"};

struct wish {
    struct ask *ask;
    enum verb verb;
    const char *source, *counter; /* counter NULL: all of the source's */
    uint32_t stage;               /* VERB_SET; 0: behind the last one */
    unsigned changed, looked_at;
};

static void print_help(void)
{
    puts(
        "usage: sluice warmup show [SOURCE [ISP]] [--json]\n"
        "       sluice warmup plot [SOURCE [ISP]]\n"
        "       sluice warmup set-day SOURCE ISP DAY\n"
        "       sluice warmup pause SOURCE[/ISP]\n"
        "       sluice warmup resume SOURCE[/ISP]\n\n"
        "A source that is warmed up has a counter for each ISP with a block in the configuration, one for all `other`\n"
        "ISPs and, where its curve has a cap over all, one for `all`; ISP is any of these.\n\n"
        "  show      the day of the curve, what is used of its cap today, what comes next and why\n"
        "  plot      the days, planned against actual: what the curve had planned had each day been a step, the cap\n"
        "            that was in force, and what was used and accepted of it\n"
        "  set-day   puts the curve on this day at once, or behind its last with `done`; what has gone today counts\n"
        "  pause     nothing more is sent, and the days do not count until resume: the curve neither rises nor falls\n"
        "  resume    goes on where it was paused\n\n"
        "  --json    one line of JSON for each counter\n\n"
        "What is changed holds for all engines at once; each change is an entry of sluice:ops.");
}

/* ---- changing ---- */

/* Compare-and-set. False: Redis is away. *written: it was not another one meanwhile. */
static bool swap(struct wish *wish, const struct warmup_view *view, const struct warmup_record *old,
                 const struct warmup_turned *turned, bool *written)
{
    struct ask_answer answer = {0};
    char told[STORE_WARMUP_TOLD] = "", history[256];
    const char *source = view->config->sources[view->source].name;
    size_t n = warmup_history_item(history, view->plan, old, turned);
    if (turned->told)
        store_warmup_told(told, slice_of(source), slice_of(view->counter), SLICE("by hand"), turned);
    const struct store_warmup_swap change = {.source = slice_of(source),
                                             .counter = slice_of(view->counter),
                                             .expected = view->text,
                                             .record = &turned->record,
                                             .history = {history, n},
                                             .told = slice_of(told)};
    store_warmup_swap(wish->ask->store, ask_request(&answer), &change);
    bool good = ask_wait(wish->ask, &answer);
    *written = good && answer.number == 1;
    ask_free(&answer);
    return good;
}

/* False, said why: this cannot be done to the record. */
static bool apply(const struct wish *wish, const struct warmup_view *view, struct warmup_turned *turned)
{
    const struct warmup_record *record = &view->today.record;
    const struct warmup_plan *plan = view->plan;
    uint32_t last = plan->stages + (plan->then == WARMUP_THEN_UNLIMITED);
    if (wish->verb == VERB_PAUSE) {
        warmup_pause(plan, record, turned);
        return true;
    }
    if (wish->verb == VERB_RESUME) {
        warmup_resume(plan, record, turned);
        return true;
    }
    if (wish->stage == 0 && (!plan->stages || last == plan->stages)) {
        cli_error("the curve of %s has no day on which it is done: %s", view->counter,
                  plan->stages ? "its last cap stays (then = hold)" : "it goes on without end");
        return false;
    }
    if (plan->stages && wish->stage > plan->stages) {
        cli_error("the curve of %s has %u days; DAY is from 1 to that%s", view->counter, plan->stages,
                  last > plan->stages ? ", or done" : "");
        return false;
    }
    warmup_set_stage(plan, record, wish->stage ? wish->stage : last, turned);
    return true;
}

static void say(const struct warmup_view *view, const struct warmup_turned *turned)
{
    char day[32], cap[32];
    const char *source = view->config->sources[view->source].name;
    warmup_day_text(view, turned->to, day, sizeof day);
    warmup_cap_text(warmup_curve(view->plan, turned->to), cap, sizeof cap);
    if (!turned->changed)
        printf("%s/%s is %s already, day %s (%s)\n", source, view->counter, warmup_state_word(turned->record.state),
               day, cap);
    else if (turned->record.state == WARMUP_PAUSED)
        printf("%s/%s is paused at day %s until `sluice warmup resume %s/%s`\n", source, view->counter, day, source,
               view->counter);
    else
        printf("%s/%s is %s at day %s (%s)\n", source, view->counter, warmup_state_word(turned->record.state), day,
               cap);
}

/* The day is turned first, if nobody has yet, so that each change is one of its own in sluice:ops. False: said why. */
static bool change(struct wish *wish, unsigned source, struct slice counter)
{
    for (unsigned i = 0; i < TRIES; i++) {
        struct ask_answer answer = {0};
        struct warmup_view view;
        struct warmup_turned turned;
        bool written = false,
             good = warmup_read(wish->ask, &answer, source) && warmup_look(wish->ask, &answer, source, counter, &view);
        bool done = false;
        if (good && !view.today.record.stage) {
            char next[256];
            warmup_next_text(&view, next, sizeof next);
            cli_error("%s/%s: %s, so there is nothing to change", wish->source, view.counter, next);
            good = false;
        } else if (good && view.today.changed) {
            good = swap(wish, &view, view.exists ? &view.stored : NULL, &view.today, &written);
        } else if (good) {
            good = apply(wish, &view, &turned);
            if (good && turned.changed)
                good = swap(wish, &view, &view.stored, &turned, &written);
            done = good && (written || !turned.changed);
        }
        if (done) {
            say(&view, &turned);
            wish->changed += turned.changed;
        }
        ask_free(&answer);
        if (done || !good)
            return good;
    }
    cli_error("%s/" SLICE_FORMAT " changes too fast to be changed by hand; try again", wish->source,
              SLICE_ARGS(counter));
    return false;
}

static bool change_one(void *context, const struct warmup_view *view)
{
    struct wish *wish = context;
    /* What has no record is not paused, so there is nothing to resume; but it is to begin paused. */
    if (wish->verb == VERB_RESUME && !wish->counter && (!view->exists || view->stored.state != WARMUP_PAUSED))
        return true;
    wish->looked_at++;
    return change(wish, view->source, slice_of(view->counter));
}

static int change_all(struct wish *wish)
{
    struct ask_answer answer = {0};
    bool good = warmup_each(wish->ask, wish->source, wish->counter, true, change_one, wish);
    if (good && !wish->looked_at)
        puts("nothing of it is paused");
    if (wish->changed) { /* engines that wait ask again at once */
        store_wake(wish->ask->store, ask_request(&answer));
        good = ask_wait(wish->ask, &answer) && good;
        ask_free(&answer);
    }
    return good ? CLI_OK : CLI_FAILED;
}

/* ---- what was asked for ---- */

static bool source_fits(const struct config *config, const char *name)
{
    bool any = false;
    for (unsigned i = 0; i < config->source_count; i++) {
        if (strcmp(config->sources[i].name, name) != 0)
            continue;
        if (config->sources[i].warmup >= 0)
            return true;
        cli_error("source %s is not warmed up: it has no warmup in %s", name, config->file);
        return false;
    }
    fprintf(stderr, "sluice: %s has no source %s; warmed up are", config->file, name);
    for (unsigned i = 0; i < config->source_count; i++)
        if (config->sources[i].warmup >= 0) {
            fprintf(stderr, "%s %s", any ? "," : "", config->sources[i].name);
            any = true;
        }
    fputs(any ? "\n" : " none\n", stderr);
    return false;
}

static bool counter_fits(const struct config *config, const char *source, const char *counter)
{
    for (unsigned i = 0; i < config->source_count; i++)
        if (strcmp(config->sources[i].name, source) == 0) {
            struct slice known = config_warmup_counter(config, slice_of(counter));
            bool named = slice_equal(known, slice_of(counter)) || strcmp(counter, "all") == 0;
            if (named && config_warmup_of(config, i, slice_of(counter)))
                return true;
            cli_error(named ? "%s has no cap for %s: its curve leaves that free"
                            : "%s: %s is no isp of the configuration, nor other or all",
                      source, counter);
        }
    return false;
}

static int run(struct cli *cli, struct wish *wish, bool as_json)
{
    struct ask ask;
    int code = CLI_FAILED;
    struct config *config = cli_config(cli);
    bool fits = config && (!wish->source || source_fits(config, wish->source)) &&
                (!wish->counter || counter_fits(config, wish->source, wish->counter));
    if (fits && ask_open(&ask, config)) {
        wish->ask = &ask;
        if (wish->verb == VERB_SHOW)
            code = warmup_show(&ask, wish->source, wish->counter, as_json);
        else if (wish->verb == VERB_PLOT)
            code = warmup_plot(&ask, wish->source, wish->counter);
        else
            code = change_all(wish);
        ask_close(&ask);
    }
    config_free(config);
    return code;
}

static bool read_stage(const char *text, uint32_t *stage)
{
    char *end;
    if (strcmp(text, "done") == 0) {
        *stage = 0;
        return true;
    }
    long number = strtol(text, &end, 10);
    *stage = (uint32_t)number;
    return end != text && *end == 0 && number >= 1 && number <= 1000000;
}

/* What stands behind the verb. `scope` holds a SOURCE/ISP that was taken apart. */
static int read_scope(struct wish *wish, int count, char **words, char *scope, size_t cap)
{
    const char *verb = verbs[wish->verb];
    bool by_hand = wish->verb == VERB_PAUSE || wish->verb == VERB_RESUME;
    if (count > 0)
        wish->source = words[0];
    if (count > 1 && !by_hand)
        wish->counter = words[1];
    if (wish->verb == VERB_SET)
        return count == 3 && read_stage(words[2], &wish->stage)
                   ? CLI_OK
                   : cli_usage("warmup", "set-day needs SOURCE, ISP and DAY: a number from 1 on, or done");
    if (!by_hand)
        return count <= 2 ? CLI_OK : cli_usage("warmup", "%s takes a SOURCE and an ISP", verb);
    if (count != 1)
        return cli_usage("warmup", "%s needs SOURCE or SOURCE/ISP", verb);
    slice_copy(scope, cap, slice_of(words[0]));
    char *slash = strchr(scope, '/');
    if (slash) {
        *slash = 0;
        wish->source = scope;
        wish->counter = slash + 1;
    }
    return CLI_OK;
}

int cli_warmup(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {
        CLI_CONFIG_OPTION, CLI_HELP_OPTION, {"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
    struct wish wish = {.verb = VERB_COUNT};
    char scope[LIMIT_SOURCE_NAME + LIMIT_ISP_NAME + 8];
    bool as_json = false;
    while (cli_option(cli, argc, argv, "c:h", options, print_help) > 0)
        as_json = true; /* its only one */
    if (cli->code != CLI_GO_ON)
        return cli->code;
    for (unsigned i = 0; i < VERB_COUNT && optind < argc; i++)
        if (strcmp(argv[optind], verbs[i]) == 0)
            wish.verb = (enum verb)i;
    if (wish.verb == VERB_COUNT)
        return cli_usage("warmup", "it is show, plot, set-day, pause or resume");
    if (as_json && wish.verb != VERB_SHOW)
        return cli_usage("warmup", "--json is for show");
    int code = read_scope(&wish, argc - optind - 1, argv + optind + 1, scope, sizeof scope);
    return code == CLI_OK ? run(cli, &wish, as_json) : code;
}
