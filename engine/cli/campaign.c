/* sluice campaign: which campaigns there are, how far they got, and the hand on the brake. */
#include "cli/ask.h"
#include "cli/counts.h"
#include "cli/doubt.h"
#include "cli/text.h"
#include "proto/event.h"
#include "proto/number.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>

static void print_help(void)
{
    puts("usage: sluice campaign list [--json]\n"
         "       sluice campaign show ID [--json]\n"
         "       sluice campaign pause | resume | cancel ID\n"
         "       sluice campaign in-doubt ID [--json]\n"
         "       sluice campaign resolve ID --resend | --drop [--id ID ...] [--seq N ...]\n\n"
         "  list     all campaigns whose keys still exist, also those that are done\n"
         "  show     one campaign: its settings, its phase and why, its counts\n"
         "  pause    no message of it is started from a second after; what is in flight ends\n"
         "  resume   goes on with a paused campaign\n"
         "  cancel   ends it: what was not sent ends as `cancelled`; there is no way back\n"
         "  in-doubt who is held because nobody knows whether they had their message\n"
         "  resolve  decides about them: those with these ids or seqs, or else all\n"
         "           --resend  they are sent again, and may have two copies\n"
         "           --drop    they are not, and may have none: they end as `cancelled`, rule in-doubt");
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
} verbs[] = {{"list", NULL},      {"show", NULL},        {"in-doubt", NULL},     {"resolve", NULL},
             {"pause", "paused"}, {"resume", "running"}, {"cancel", "cancelled"}};
enum { VERB_LIST = 0, VERB_SHOW, VERB_DOUBTS, VERB_RESOLVE };

/* What the options say, for all verbs. */
struct said {
    bool as_json, resend, drop;
    struct doubt_choice choice;
};

static int with_one(struct ask *ask, size_t verb, const char *id, const struct said *said)
{
    struct counts counts = {0};
    int code = CLI_FAILED;
    if (look_at_one(ask, id, &counts))
        code = verb == VERB_DOUBTS ? doubt_list(ask, id, said->as_json) : doubt_resolve(ask, id, &said->choice);
    counts_free(&counts);
    return code;
}

static int act(struct cli *cli, size_t verb, const char *id, const struct said *said)
{
    struct ask ask;
    int code = CLI_FAILED;
    if (id && !counts_id_fits(id))
        return CLI_USAGE;
    struct config *config = cli_config(cli);
    if (config && ask_open(&ask, config)) {
        code = verb == VERB_LIST     ? list(&ask, said->as_json)
               : verb == VERB_SHOW   ? show(&ask, id, said->as_json)
               : verbs[verb].state   ? set_state(&ask, id, verbs[verb].state)
                                     : with_one(&ask, verb, id, said);
        ask_close(&ask);
    }
    config_free(config);
    return code;
}

/* False: one is wrong, and that was said. */
static bool take_options(struct cli *cli, int argc, char **argv, struct said *said)
{
    static const struct option options[] = {CLI_CONFIG_OPTION,
                                            CLI_HELP_OPTION,
                                            {"json", no_argument, NULL, 'j'},
                                            {"resend", no_argument, NULL, 'r'},
                                            {"drop", no_argument, NULL, 'd'},
                                            {"id", required_argument, NULL, 'i'},
                                            {"seq", required_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    struct doubt_choice *choice = &said->choice;
    int option;
    while ((option = cli_option(cli, argc, argv, "c:h", options, print_help)) > 0) {
        said->as_json |= option == 'j';
        said->resend |= option == 'r';
        said->drop |= option == 'd';
        if (option == 'i')
            choice->ids[choice->id_count++] = optarg;
        if (option == 's' && !number_parse(slice_of(optarg), UINT64_MAX, &choice->seqs[choice->seq_count++])) {
            cli->code = cli_usage("campaign", "--seq %s: a seq is a number from 0 on", optarg);
            return false;
        }
    }
    choice->resend = said->resend;
    return cli->code == CLI_GO_ON;
}

static int command(struct cli *cli, int argc, char **argv, struct said *said)
{
    if (!take_options(cli, argc, argv, said))
        return cli->code;
    if (optind == argc)
        return cli_usage("campaign", "one of list, show, pause, resume, cancel, in-doubt and resolve is needed");
    size_t verb = 0;
    while (verb < countof(verbs) && strcmp(argv[optind], verbs[verb].name) != 0)
        verb++;
    if (verb == countof(verbs))
        return cli_usage("campaign", "\"%s\" is not understood", argv[optind]);
    int wanted = verb == VERB_LIST ? 1 : 2;
    if (argc - optind != wanted)
        return cli_usage("campaign", "%s takes %s", verbs[verb].name, wanted == 1 ? "no campaign" : "one campaign id");
    if (said->as_json && (verbs[verb].state || verb == VERB_RESOLVE))
        return cli_usage("campaign", "--json goes with list, show and in-doubt");
    bool decides = said->resend || said->drop || said->choice.id_count || said->choice.seq_count;
    if (decides && verb != VERB_RESOLVE)
        return cli_usage("campaign", "--resend, --drop, --id and --seq go with resolve");
    if (verb == VERB_RESOLVE && said->resend == said->drop)
        return cli_usage("campaign", "resolve takes one of --resend and --drop");
    return act(cli, verb, wanted == 2 ? argv[optind + 1] : NULL, said);
}

int cli_campaign(struct cli *cli, int argc, char **argv)
{
    struct said said = {0};
    said.choice.ids = calloc((size_t)argc + 1, sizeof *said.choice.ids);
    said.choice.seqs = calloc((size_t)argc + 1, sizeof *said.choice.seqs);
    sluice_assert(said.choice.ids && said.choice.seqs);
    int code = command(cli, argc, argv, &said);
    free(said.choice.ids);
    free(said.choice.seqs);
    return code;
}
