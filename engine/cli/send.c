/* sluice send: a campaign from the command line, checked before the first recipient is pushed. */
#include "cli/compose.h"
#include "cli/counts.h"
#include "cli/events.h"
#include "cli/progress.h"
#include "cli/push.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

enum { LOOK_MS = 200, SILENT_MS = 5000 };

static void print_help(void)
{
    puts(
        "usage: sluice send --from ADDRESS --subject TEXT --html FILE --text FILE --to FILE [OPTIONS]\n"
        "       sluice send --message FILE --to FILE [OPTIONS]\n\n"
        "Writes a campaign to Redis, pushes its recipients, and shows how it goes until it is done.\n"
        "{{name}} in any of the texts is filled in for each recipient.\n\n"
        "  --from ADDRESS         \"Shop <news@shop.example>\"\n"
        "  --subject TEXT\n"
        "  --html FILE            the body, as HTML, as plain text, or both\n"
        "  --text FILE\n"
        "  --message FILE         a whole MIME message instead, with merge fields\n"
        "  --to FILE              recipients: .csv (its first line names the columns; one is \"to\" or \"email\"),\n"
        "                         .jsonl (one JSON object a line), or - for standard input\n"
        "  --pool NAME            the pool of sources; else the configuration's default_pool\n"
        "  --campaign ID          letters, digits and . _ -; else one is made up\n"
        "  --unique               an address that occurs twice gets one message\n"
        "  --reply-to, --return-path, --list-unsubscribe VALUE\n"
        "  --set FIELD=VALUE      any other field of the campaign, such as not_before=1793520000\n"
        "  --test ADDRESS         sends one copy there and nothing else, with the merge fields of the first recipient\n"
        "                         of --to, if that is given. It is a campaign of its own, test-..., that is forgotten\n"
        "                         after an hour, and counts in no other\n"
        "  --no-wait              prints the campaign's id and ends once all is pushed");
}

struct send {
    struct compose compose;
    const char *to, *test, *wanted_id;
    bool no_wait;
    char id[LIMIT_CAMPAIGN_ID + 1];
};

/* ---- options ---- */

enum {
    OPTION_FIELD = 256,
    OPTION_FILE = 512,
    OPTION_TO = 1024,
    OPTION_TEST,
    OPTION_CAMPAIGN,
    OPTION_UNIQUE,
    OPTION_SET,
    OPTION_NO_WAIT
};

/* Options that are fields of the campaign; OPTION_FIELD or OPTION_FILE plus the index is getopt's value. */
static const char *const field_names[] = {"from", "subject", "pool", "reply_to", "return_path", "list_unsubscribe",
                                          "html", "text",    "mime"};

/* CLI_OK, or the exit code. */
static int take_option(struct send *send, int option)
{
    switch (option) {
    case OPTION_TO:
        send->to = optarg;
        return CLI_OK;
    case OPTION_TEST:
        send->test = optarg;
        return CLI_OK;
    case OPTION_CAMPAIGN:
        send->wanted_id = optarg;
        return CLI_OK;
    case OPTION_NO_WAIT:
        send->no_wait = true;
        return CLI_OK;
    case OPTION_UNIQUE:
        return compose_set(&send->compose, SLICE("unique"), SLICE("1"));
    case OPTION_SET:
        return compose_set_pair(&send->compose, optarg);
    default:
        break;
    }
    if (option >= OPTION_FILE && option < OPTION_FILE + (int)countof(field_names))
        return compose_set_file(&send->compose, field_names[option - OPTION_FILE], optarg);
    sluice_assert(option >= OPTION_FIELD && option < OPTION_FIELD + (int)countof(field_names));
    return compose_set(&send->compose, slice_of(field_names[option - OPTION_FIELD]), slice_of(optarg));
}

static int check_options(struct send *send)
{
    unsigned char random[2] = {0};
    time_t now = time(NULL);
    struct tm utc;
    char when[32];
    if (!send->to && !send->test)
        return cli_usage("send", "--to FILE is needed (or --test ADDRESS)");
    if (send->test && (send->no_wait || send->wanted_id))
        return cli_usage("send", "--test goes neither with --no-wait nor with --campaign: it is a campaign of its own");
    if (send->wanted_id && !counts_id_fits(send->wanted_id))
        return CLI_USAGE;
    gmtime_r(&now, &utc);
    strftime(when, sizeof when, "%Y%m%d-%H%M%S", &utc);
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return CLI_FAILED;
    snprintf(send->id, sizeof send->id, "%s-%s-%02x%02x", send->test ? "test" : "c", when, random[0], random[1]);
    if (send->wanted_id)
        snprintf(send->id, sizeof send->id, "%s", send->wanted_id);
    return CLI_OK;
}

/* ---- Redis ---- */

static bool create(struct ask *ask, const struct send *send)
{
    struct ask_answer answer = {0};
    struct counts counts = {0};
    bool good = counts_look(ask, slice_of(send->id), &counts);
    if (good && (counts.view.exists || counts.view.pushed)) {
        cli_error("campaign %s exists already; choose another id", send->id);
        good = false;
    }
    counts_free(&counts);
    if (good) {
        store_create(ask->store, ask_request(&answer), slice_of(send->id), send->compose.fields, send->compose.count);
        good = ask_wait(ask, &answer);
    }
    ask_free(&answer);
    return good;
}

/* Nothing more will be pushed; and now the engines may see it. */
static bool seal_and_start(struct ask *ask, const struct send *send)
{
    static const struct slice sealed[] = {{"sealed", 6}, {"1", 1}};
    struct ask_answer answer = {0};
    store_create(ask->store, ask_request(&answer), slice_of(send->id), sealed, countof(sealed));
    bool good = ask_wait(ask, &answer);
    if (good) {
        store_start(ask->store, ask_request(&answer), slice_of(send->id));
        good = ask_wait(ask, &answer);
    }
    ask_free(&answer);
    return good;
}

static int send_all(struct ask *ask, struct send *send, struct push_list *list)
{
    if (!create(ask, send) || !push_all(ask, list, send->id) || !seal_and_start(ask, send))
        return CLI_FAILED;
    if (send->no_wait) {
        puts(send->id);
        return CLI_OK;
    }
    fprintf(stderr, "campaign %s: %ju recipients pushed\n", send->id, (uintmax_t)list->count);
    return progress_watch(ask, send->id);
}

/* ---- --test ---- */

/* The first recipient's merge fields with the tester's address; malloced, NULL: no memory. */
static char *test_entry(const struct send *send, struct push_list *list)
{
    char *first = list ? push_first(list) : NULL;
    json_t *entry = first ? json_loads(first, 0, NULL) : NULL;
    if (!json_is_object(entry)) {
        json_decref(entry);
        entry = json_object();
    }
    json_object_set_new(entry, "to", json_stringn(send->test, strlen(send->test)));
    char *text = json_dumps(entry, JSON_COMPACT);
    json_decref(entry);
    free(first);
    return text;
}

/* Waits for the first thing that becomes of the copy. */
static int watch_test(struct ask *ask, const struct send *send)
{
    struct events events = {.ask = ask, .campaign = send->id, .after = "0"};
    struct counts counts = {0};
    nsec began = io_now(ask->io);
    bool told = false;
    int code = CLI_FAILED;
    for (;;) {
        int64_t printed = events_print(&events, 0);
        if (printed < 0 || !counts_look(ask, slice_of(send->id), &counts))
            break;
        if (printed > 0) {
            code = counts.view.totals[EVENT_DELIVERED] ? CLI_OK : CLI_FAILED;
            break;
        }
        if (strcmp(counts_phase(&counts), "incomplete") == 0) {
            cli_error("the campaign is incomplete: %s", counts.view.reason);
            break;
        }
        if (!told && io_now(ask->io) - began > SILENT_MS * NSEC_PER_MS) {
            told = true;
            fprintf(stderr, "waiting: %s\n",
                    !counts.view.phase[0]   ? "no engine has seen it yet; does `sluice run` run?"
                    : counts.view.reason[0] ? counts.view.reason
                                            : "it is on its way");
        }
        if (!ask_pause(ask, LOOK_MS * NSEC_PER_MS))
            break;
    }
    counts_free(&counts);
    return code;
}

static int send_test(struct ask *ask, struct send *send, struct push_list *list)
{
    static const struct slice cancelled[] = {{"state", 5}, {"cancelled", 9}};
    struct ask_answer answer = {0};
    char *text = test_entry(send, list);
    int code = CLI_FAILED;
    if (!text) {
        cli_error("--test %s: the address is not UTF-8", send->test);
        return CLI_FAILED;
    }
    struct slice entry = slice_of(text);
    if (create(ask, send)) {
        store_push(ask->store, ask_request(&answer), slice_of(send->id), &entry, 1);
        if (ask_wait(ask, &answer) && seal_and_start(ask, send))
            code = watch_test(ask, send);
        /* A copy that was deferred is not tried again behind the tester's back. */
        if (code != CLI_OK) {
            store_create(ask->store, ask_request(&answer), slice_of(send->id), cancelled, countof(cancelled));
            if (ask_wait(ask, &answer))
                cli_error("the test was not delivered");
        }
    }
    ask_free(&answer);
    free(text);
    return code;
}

/* ---- the command ---- */

static int act(struct cli *cli, struct send *send)
{
    struct push_list list = {0};
    struct ask ask;
    int code = CLI_FAILED;
    struct config *config = cli_config(cli);
    if (config && (!send->to || push_open(&list, send->to)) && ask_open(&ask, config)) {
        ask_hold_signals();
        code = send->test ? send_test(&ask, send, send->to ? &list : NULL) : send_all(&ask, send, &list);
        ask_close(&ask);
    }
    push_close(&list);
    config_free(config);
    return code;
}

int cli_send(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {CLI_CONFIG_OPTION,
                                            CLI_HELP_OPTION,
                                            {"from", required_argument, NULL, OPTION_FIELD + 0},
                                            {"subject", required_argument, NULL, OPTION_FIELD + 1},
                                            {"pool", required_argument, NULL, OPTION_FIELD + 2},
                                            {"reply-to", required_argument, NULL, OPTION_FIELD + 3},
                                            {"return-path", required_argument, NULL, OPTION_FIELD + 4},
                                            {"list-unsubscribe", required_argument, NULL, OPTION_FIELD + 5},
                                            {"html", required_argument, NULL, OPTION_FILE + 6},
                                            {"text", required_argument, NULL, OPTION_FILE + 7},
                                            {"message", required_argument, NULL, OPTION_FILE + 8},
                                            {"to", required_argument, NULL, OPTION_TO},
                                            {"test", required_argument, NULL, OPTION_TEST},
                                            {"campaign", required_argument, NULL, OPTION_CAMPAIGN},
                                            {"unique", no_argument, NULL, OPTION_UNIQUE},
                                            {"set", required_argument, NULL, OPTION_SET},
                                            {"no-wait", no_argument, NULL, OPTION_NO_WAIT},
                                            {NULL, 0, NULL, 0}};
    struct send *send = calloc(1, sizeof *send);
    int option, code = CLI_OK;
    sluice_assert(send);
    while (code == CLI_OK && (option = cli_option(cli, argc, argv, "c:h", options, print_help)) > 0)
        code = take_option(send, option);
    if (cli->code != CLI_GO_ON) {
        compose_free(&send->compose);
        free(send);
        return cli->code;
    }
    if (code == CLI_OK && optind != argc)
        code = cli_usage("send", "\"%s\" is not understood", argv[optind]);
    if (code == CLI_OK)
        code = check_options(send);
    if (code == CLI_OK && send->test)
        code = compose_set(&send->compose, SLICE("keep"), SLICE("3600"));
    if (code == CLI_OK)
        code = compose_check(&send->compose);
    if (code == CLI_OK)
        code = act(cli, send);
    compose_free(&send->compose);
    free(send);
    return code;
}
