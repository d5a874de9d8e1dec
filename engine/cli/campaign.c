/* sluice campaign: which campaigns there are, how far they got, and the hand on the brake. */
#include "cli/ask.h"
#include "cli/counts.h"
#include "cli/text.h"
#include "proto/event.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>

static void print_help(void)
{
    puts("usage: sluice campaign list [--json]\n"
         "       sluice campaign show ID [--json]\n"
         "       sluice campaign pause | resume | cancel ID\n\n"
         "  list     all campaigns whose keys still exist, also those that are done\n"
         "  show     one campaign: its settings, its phase and why, its counts\n"
         "  pause    no message of it is started from a second after; what is in flight ends\n"
         "  resume   goes on with a paused campaign\n"
         "  cancel   ends it: what was not sent ends as `cancelled`; there is no way back");
}

static int by_name(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;
    return strcmp(x->p, y->p);
}

/* ---- list ---- */

static void list_row(struct text_table *table, const char *id, const struct counts *counts)
{
    const struct store_view *view = &counts->view;
    const uint64_t *totals = view->totals;
    TEXT_ROW(table, id, counts_phase(counts), counts_state(counts), text_number(view->pushed).text,
             text_number(counts->ended).text, text_number(totals[EVENT_DELIVERED]).text,
             text_number(totals[EVENT_BOUNCED]).text, text_number(view->retry).text,
             text_number(totals[EVENT_INVALID]).text, view->reason);
}

static int list(struct ask *ask, bool as_json)
{
    struct ask_answer ids = {0};
    struct text_table table = {0};
    json_t *array = json_array();
    int code = CLI_OK;
    TEXT_ROW(&table, "CAMPAIGN", "PHASE", "STATE", ">PUSHED", ">ENDED", ">DELIVERED", ">BOUNCED", ">RETRY", ">INVALID",
             "REASON");
    store_all_campaigns(ask->store, ask_request(&ids));
    if (!ask_wait(ask, &ids))
        code = CLI_FAILED;
    if (ids.item_count)
        qsort(ids.items, ids.item_count, sizeof *ids.items, by_name);
    for (unsigned i = 0; code == CLI_OK && i < ids.item_count; i++) {
        struct counts counts = {0};
        if (!counts_look(ask, ids.items[i], &counts))
            code = CLI_FAILED;
        else if (as_json)
            json_array_append_new(array, counts_json(&counts, ids.items[i].p));
        else
            list_row(&table, ids.items[i].p, &counts);
        counts_free(&counts);
    }
    if (code == CLI_OK && as_json) {
        json_dumpf(array, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (code == CLI_OK) {
        text_print(&table, stdout);
    }
    text_free(&table);
    json_decref(array);
    ask_free(&ids);
    return code;
}

/* ---- show ---- */

static void print_setting(const struct counts *counts, const char *name)
{
    char text[200];
    slice_copy(text, sizeof text, counts_field(counts, name));
    if (text[0])
        printf("%-12s %s\n", name, text_safe(text));
}

static void print_shown(const struct counts *counts, const char *id)
{
    static const char *const settings[] = {"from",   "subject",    "reply_to",  "pool",     "unique",
                                           "sealed", "not_before", "not_after", "in_doubt", "weight"};
    const struct store_view *view = &counts->view;
    char reason[sizeof view->reason], due[32];
    snprintf(reason, sizeof reason, "%s", view->reason);
    printf("%-12s %s\n", "campaign", id);
    printf("%-12s %s%s%s%s\n", "phase", counts_phase(counts), reason[0] ? " (" : "", text_safe(reason),
           reason[0] ? ")" : "");
    printf("%-12s %s\n", "state", counts_state(counts));
    for (size_t i = 0; i < countof(settings); i++)
        print_setting(counts, settings[i]);
    printf("%-12s %ju\n", "pushed", (uintmax_t)view->pushed);
    printf("%-12s %ju\n", "ended", (uintmax_t)counts->ended);
    for (unsigned type = EVENT_DELIVERED; type < EVENT_TYPE_COUNT; type++) {
        struct slice name = event_type_name((enum event_type)type);
        if (view->totals[type])
            printf("  %-10.*s %ju\n", (int)name.n, name.p, (uintmax_t)view->totals[type]);
    }
    printf("%-12s %ju\n", "waiting", (uintmax_t)counts->open);
    printf("  %-10s %ju\n  %-10s %ju\n", "not taken", (uintmax_t)(view->pushed - view->taken), "parked",
           (uintmax_t)view->parked);
    text_time(view->retry_due_ms, due, sizeof due);
    printf("  %-10s %ju%s%s\n", "retry", (uintmax_t)view->retry, view->retry ? ", the next at " : "",
           view->retry ? due : "");
    if (view->held)
        printf("  %-10s %ju (in doubt: each may have had its message, and nobody recorded it)\n", "held",
               (uintmax_t)view->held);
    for (unsigned i = 0; i < view->parked_count; i++) {
        char isp[LIMIT_ISP_NAME + 1];
        snprintf(isp, sizeof isp, "%s", view->parked_lists[i].isp);
        printf("    parked for %s: %ju\n", text_safe(isp), (uintmax_t)view->parked_lists[i].records);
    }
}

static bool look_at_one(struct ask *ask, const char *id, struct counts *counts)
{
    if (!counts_look(ask, slice_of(id), counts))
        return false;
    if (!counts->view.exists)
        cli_error("there is no campaign %s", id);
    return counts->view.exists;
}

static int show(struct ask *ask, const char *id, bool as_json)
{
    struct counts counts = {0};
    int code = look_at_one(ask, id, &counts) ? CLI_OK : CLI_FAILED;
    if (code == CLI_OK && as_json) {
        json_t *json = counts_json(&counts, id);
        json_dumpf(json, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(json);
    } else if (code == CLI_OK) {
        print_shown(&counts, id);
    }
    counts_free(&counts);
    return code;
}

/* ---- pause, resume, cancel ---- */

static int set_state(struct ask *ask, const char *id, const char *state)
{
    struct counts counts = {0};
    struct ask_answer answer = {0};
    int code = CLI_FAILED;
    if (!look_at_one(ask, id, &counts)) {
        counts_free(&counts);
        return CLI_FAILED;
    }
    if (counts_over(&counts)) {
        cli_error("campaign %s is %s already", id, counts.view.phase);
    } else if (counts.state == STORE_CANCELLED && strcmp(state, "cancelled") != 0) {
        cli_error("campaign %s was cancelled; there is no way back", id);
    } else {
        const struct slice fields[] = {SLICE("state"), slice_of(state)};
        store_create(ask->store, ask_request(&answer), slice_of(id), fields, countof(fields));
        if (ask_wait(ask, &answer)) {
            printf("campaign %s is %s\n", id, state);
            code = CLI_OK;
        }
    }
    ask_free(&answer);
    counts_free(&counts);
    return code;
}

/* ---- the command ---- */

static const struct {
    const char *name, *state;
} verbs[] = {{"list", NULL}, {"show", NULL}, {"pause", "paused"}, {"resume", "running"}, {"cancel", "cancelled"}};
enum { VERB_LIST = 0, VERB_SHOW };

static int act(struct cli *cli, size_t verb, const char *id, bool as_json)
{
    struct ask ask;
    int code = CLI_FAILED;
    if (id && !counts_id_fits(id))
        return CLI_USAGE;
    struct config *config = cli_config(cli);
    if (config && ask_open(&ask, config)) {
        code = verb == VERB_LIST   ? list(&ask, as_json)
               : verb == VERB_SHOW ? show(&ask, id, as_json)
                                   : set_state(&ask, id, verbs[verb].state);
        ask_close(&ask);
    }
    config_free(config);
    return code;
}

int cli_campaign(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {
        CLI_CONFIG_OPTION, CLI_HELP_OPTION, {"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
    bool as_json = false;
    while (cli_option(cli, argc, argv, "c:h", options, print_help) > 0)
        as_json = true; /* its only one */
    if (cli->code != CLI_GO_ON)
        return cli->code;
    if (optind == argc)
        return cli_usage("campaign", "one of list, show, pause, resume and cancel is needed");
    size_t verb = 0;
    while (verb < countof(verbs) && strcmp(argv[optind], verbs[verb].name) != 0)
        verb++;
    if (verb == countof(verbs))
        return cli_usage("campaign", "\"%s\" is not understood", argv[optind]);
    int wanted = verb == VERB_LIST ? 1 : 2;
    if (argc - optind != wanted)
        return cli_usage("campaign", "%s takes %s", verbs[verb].name, wanted == 1 ? "no campaign" : "one campaign id");
    if (as_json && verbs[verb].state)
        return cli_usage("campaign", "--json goes with list and show");
    return act(cli, verb, wanted == 2 ? argv[optind + 1] : NULL, as_json);
}
