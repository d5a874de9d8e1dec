/* sluice pause, resume, slow and paused: what people say by hand to one part of the sending, on every engine. */
#include "cli/ask.h"
#include "cli/counts.h"
#include "cli/text.h"
#include "control/config_table.h"
#include "store/control.h"

#include <getopt.h>
#include <jansson.h>
#include <pwd.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 20, KNOWN_MAX = 1000, LONGEST_S = 10 * 366 * 24 * 3600 };

enum verb { VERB_PAUSE, VERB_SLOW, VERB_RESUME, VERB_LIST };
static const char *const verb_names[] = {"pause", "slow", "resume", "paused"};

struct hand_options {
    enum verb verb;
    char **scopes;
    int scope_count;
    unsigned percent;
    int64_t now_ms, until_ms; /* 0: no end */
    const char *reason;
    bool as_json;
};

static void print_help(enum verb verb)
{
    static const char *const usage[] = {
        "usage: sluice pause SCOPE... [--for DURATION | --until TIME] [--reason TEXT]\n"
        "       sluice pause --list\n\n"
        "Nothing more is started for these parts of the sending, on any engine, from within a second on until the end\n"
        "that is named or `sluice resume`. Messages that are on their way end. It survives restarts.",
        "usage: sluice slow SCOPE... --factor PERCENT [--for DURATION | --until TIME] [--reason TEXT]\n\n"
        "These lanes go at PERCENT (1 to 99) of their configured rate or, without a rate, with that part of their\n"
        "connections. Where several slow-downs fit, and the ones that replies asked for, the smallest holds.",
        "usage: sluice resume SCOPE... [--reason TEXT]\n\n"
        "Takes back what was said by `sluice pause` or `sluice slow`.",
        "usage: sluice paused [--json]\n\n"
        "Shows what is in force by hand."};
    puts(usage[verb]);
    if (verb != VERB_LIST)
        puts("\nScopes:\n"
             "  isp:NAME          all lanes to an ISP; mx:HOST as events name one without an entry\n"
             "  source:NAME       all lanes of a source\n"
             "  lane:SOURCE/ISP   one lane\n"
             "  campaign:ID       a campaign (pause alone; `sluice campaign pause` is for good)\n"
             "  pool:NAME         all campaigns of a pool (pause alone)");
    if (verb == VERB_PAUSE || verb == VERB_SLOW)
        puts("\n  --for DURATION    such as 90s, 2h30m, 1d\n"
             "  --until TIME      \"2026-11-01 08:00\", \"08:00\" (local time) or 2026-11-01T08:00:00Z");
}

/* ---- times ---- */

static bool read_time(const char *text, int64_t now_ms, int64_t *until_ms)
{
    static const char *const formats[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%H:%M"};
    for (size_t i = 0; i < countof(formats); i++) {
        time_t now = (time_t)(now_ms / 1000);
        struct tm tm = {0};
        if (i == 3) {
            localtime_r(&now, &tm);
            tm.tm_sec = 0;
        }
        const char *end = strptime(text, formats[i], &tm);
        if (!end || *end)
            continue;
        tm.tm_isdst = -1;
        time_t at = i == 0 ? timegm(&tm) : mktime(&tm);
        if (i == 3 && at <= now) { /* the next time that the clock says so */
            tm.tm_mday++;
            tm.tm_isdst = -1;
            at = mktime(&tm);
        }
        *until_ms = (int64_t)at * 1000;
        return at > 0;
    }
    return false;
}

static int read_for(struct hand_options *options, const char *text)
{
    int64_t ns;
    const char *verb = verb_names[options->verb];
    if (!config_read_duration(text, &ns) || ns < NSEC_PER_S || ns > (int64_t)LONGEST_S * NSEC_PER_S)
        return cli_usage(verb, "--for \"%s\": must be a duration from 1s to ten years, such as 90s, 2h30m or 1d", text);
    if (options->until_ms)
        return cli_usage(verb, "--for and --until do not go together, and each only once");
    options->until_ms = options->now_ms + ns / NSEC_PER_MS;
    return CLI_OK;
}

static int read_until(struct hand_options *options, const char *text)
{
    const char *verb = verb_names[options->verb];
    if (options->until_ms)
        return cli_usage(verb, "--for and --until do not go together, and each only once");
    if (!read_time(text, options->now_ms, &options->until_ms))
        return cli_usage(verb, "--until \"%s\": must be like \"2026-11-01 08:00\", \"08:00\" or 2026-11-01T08:00:00Z",
                         text);
    if (options->until_ms <= options->now_ms)
        return cli_usage(verb, "--until \"%s\": is in the past", text);
    return CLI_OK;
}

static int read_factor(struct hand_options *options, const char *text)
{
    char *end;
    long percent = strtol(text, &end, 10);
    if (strcmp(end, "%") == 0)
        end++;
    if (end == text || *end || percent < 1 || percent > 99)
        return cli_usage("slow", "--factor \"%s\": must be a whole number from 1 to 99, in percent", text);
    options->percent = (unsigned)percent;
    return CLI_OK;
}

/* ---- scopes ---- */

struct known {
    char text[KNOWN_MAX];
    size_t n;
    bool found;
};

static void know(struct known *known, const char *name, struct slice wanted)
{
    known->found |= slice_equal(slice_of(name), wanted);
    if (known->n + strlen(name) + 8 < sizeof known->text)
        known->n +=
            (size_t)snprintf(known->text + known->n, sizeof known->text - known->n, "%s%s", known->n ? ", " : "", name);
    else if (known->n + 6 < sizeof known->text && !slice_ends_with_nocase(slice_of(known->text), SLICE("...")))
        known->n += (size_t)snprintf(known->text + known->n, sizeof known->text - known->n, ", ...");
}

static bool is_known(const struct config *config, const char *kind, struct slice name)
{
    struct known known = {0};
    if (strcmp(kind, "isp") == 0) {
        known.found = slice_starts_with(name, SLICE("mx:"));
        for (unsigned i = 0; i < config->isp_count; i++)
            know(&known, config->isps[i].name, name);
        for (unsigned i = 0; i < config->relay_count; i++)
            know(&known, config->relays[i].name, name);
    } else if (strcmp(kind, "source") == 0) {
        for (unsigned i = 0; i < config->source_count; i++)
            know(&known, config->sources[i].name, name);
    } else {
        for (unsigned i = 0; i < config->pool_count; i++)
            know(&known, config->pools[i].name, name);
    }
    if (!known.found)
        cli_error("%s names no %s \"%.*s\"; it has %s%s", config->file, kind, (int)name.n, name.p,
                  known.n ? known.text : "none",
                  strcmp(kind, "isp") == 0 ? " (an ISP without an entry is mx:HOST, as its events say)" : "");
    return known.found;
}

static bool campaign_exists(struct ask *ask, struct slice id)
{
    char text[LIMIT_CAMPAIGN_ID + 2];
    struct counts counts = {0};
    slice_copy(text, sizeof text, id);
    if (!counts_id_fits(text) || !counts_look(ask, slice_of(text), &counts))
        return false;
    bool exists = counts.view.exists;
    counts_free(&counts);
    if (!exists)
        cli_error("there is no campaign %s", text);
    return exists;
}

static bool scope_exists(struct ask *ask, const struct control_entry *entry)
{
    switch (entry->scope) {
    case CONTROL_ISP:
        return is_known(ask->config, "isp", entry->name);
    case CONTROL_SOURCE:
        return is_known(ask->config, "source", entry->name);
    case CONTROL_LANE:
        return is_known(ask->config, "source", entry->name) && is_known(ask->config, "isp", entry->isp);
    case CONTROL_POOL:
        return is_known(ask->config, "pool", entry->name);
    default:
        return campaign_exists(ask, entry->name);
    }
}

static int check_scopes(const struct hand_options *options)
{
    const char *verb = verb_names[options->verb];
    for (int i = 0; i < options->scope_count; i++) {
        struct control_entry entry;
        if (!control_scope_parse(slice_of(options->scopes[i]), &entry))
            return cli_usage(verb,
                             "\"%s\" is no scope; they are isp:NAME, source:NAME, lane:SOURCE/ISP, campaign:ID and "
                             "pool:NAME",
                             options->scopes[i]);
        if (options->verb == VERB_SLOW && (entry.scope == CONTROL_CAMPAIGN || entry.scope == CONTROL_POOL))
            return cli_usage(
                verb, "\"%s\" has no rate of its own; slow goes with isp:, source: and lane:", options->scopes[i]);
    }
    return CLI_OK;
}

/* ---- what is in force ---- */

static void print_table(const struct ask_answer *all)
{
    struct text_table table = {0};
    TEXT_ROW(&table, "SCOPE", "WHAT", "UNTIL", "SINCE", "BY", "REASON");
    for (unsigned i = 0; i + 1 < all->item_count; i += 2) {
        struct control_entry entry;
        char scope[CONTROL_SCOPE_MAX + 1], what[24] = "paused", until[32] = "resumed", since[32],
                                           by[CONTROL_BY_MAX + 1], reason[CONTROL_REASON_MAX + 1];
        slice_copy(scope, sizeof scope, all->items[i]);
        if (!control_parse(all->items[i], all->items[i + 1], &entry))
            snprintf(what, sizeof what, "nothing: no scope");
        else if (entry.kind == CONTROL_SLOW)
            snprintf(what, sizeof what, "slowed to %u %%", entry.percent);
        if (entry.until_ms)
            text_time(entry.until_ms, until, sizeof until);
        text_time(entry.at_ms, since, sizeof since);
        slice_copy(by, sizeof by, entry.by);
        slice_copy(reason, sizeof reason, entry.reason);
        TEXT_ROW(&table, text_safe(scope), what, until, since, text_safe(by), text_safe(reason));
    }
    if (table.rows > 1)
        text_print(&table, stdout);
    else
        puts("nothing is paused or slowed down by hand");
    text_free(&table);
}

static void print_as_json(const struct ask_answer *all)
{
    json_t *array = json_array();
    for (unsigned i = 0; i + 1 < all->item_count; i += 2) {
        struct control_entry entry;
        if (!control_parse(all->items[i], all->items[i + 1], &entry))
            continue;
        json_t *json = json_pack("{s:s#, s:s, s:I, s:I, s:s#, s:s#}", "scope", all->items[i].p, (int)all->items[i].n,
                                 "kind", entry.kind == CONTROL_SLOW ? "slow" : "pause", "until_ms",
                                 (json_int_t)entry.until_ms, "at_ms", (json_int_t)entry.at_ms, "by", entry.by.p,
                                 (int)entry.by.n, "reason", entry.reason.p, (int)entry.reason.n);
        if (json && entry.kind == CONTROL_SLOW)
            json_object_set_new(json, "factor", json_integer(entry.percent));
        if (json)
            json_array_append_new(array, json);
    }
    json_dumpf(array, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(array);
}

/* ---- saying it ---- */

static void who_am_i(char by[CONTROL_BY_MAX + 1])
{
    char host[256] = "";
    const struct passwd *user = getpwuid(getuid());
    gethostname(host, sizeof host - 1);
    snprintf(by, CONTROL_BY_MAX + 1, "%.31s@%.31s", user ? user->pw_name : "?", host);
    for (char *p = by; *p; p++)
        if (*p == ' ')
            *p = '_';
}

static int say(struct ask *ask, const struct hand_options *options, const char *scope)
{
    struct ask_answer answer = {0};
    struct control_note note;
    char by[CONTROL_BY_MAX + 1], value[CONTROL_VALUE_MAX], until[32];
    who_am_i(by);
    struct control_entry entry = {.kind = options->verb == VERB_SLOW ? CONTROL_SLOW : CONTROL_PAUSE,
                                  .percent = options->percent,
                                  .until_ms = options->until_ms,
                                  .at_ms = options->now_ms,
                                  .by = slice_of(by),
                                  .reason = slice_of(options->reason)};
    size_t n = control_write(&entry, value);
    store_control_set(ask->store, ask_request(&answer), &note, slice_of(scope), (struct slice){value, n});
    bool done = ask_wait(ask, &answer);
    ask_free(&answer);
    if (!done)
        return CLI_FAILED;
    text_time(options->until_ms, until, sizeof until);
    if (options->verb == VERB_SLOW)
        printf("%s goes at %u %%", scope, options->percent);
    else
        printf("%s is paused", scope);
    if (options->until_ms)
        printf(" until %s\n", until);
    else
        printf(" until `sluice resume %s`\n", scope);
    return CLI_OK;
}

/* The value that stands there for the scope; p NULL: none. */
static struct slice value_of(const struct ask_answer *all, const char *scope)
{
    return slice_field(all->items, all->item_count, slice_of(scope));
}

static int take_back(struct ask *ask, const struct hand_options *options, const char *scope)
{
    struct ask_answer all = {0}, answer = {0};
    struct control_note note;
    char by[CONTROL_BY_MAX + 1];
    int code = CLI_FAILED;
    bool done = false, asked = true;
    who_am_i(by);
    for (unsigned i = 0; i < TRIES && asked && !done; i++) { /* somebody may say something else meanwhile */
        store_control(ask->store, ask_request(&all));
        asked = ask_wait(ask, &all);
        struct slice value = value_of(&all, scope);
        if (!asked || !value.n) {
            if (asked)
                cli_error("nothing was said by hand of %s; see `sluice paused`", scope);
            break;
        }
        store_control_remove(ask->store, ask_request(&answer), &note, slice_of(scope), value, slice_of(by),
                             slice_of(options->reason));
        asked = ask_wait(ask, &answer);
        done = asked && answer.number == 1;
    }
    if (done) {
        printf("%s goes on\n", scope);
        code = CLI_OK;
    }
    ask_free(&all);
    ask_free(&answer);
    return code;
}

static int act(struct ask *ask, const struct hand_options *options)
{
    struct ask_answer all = {0};
    int code = CLI_OK;
    store_control(ask->store, ask_request(&all));
    if (!ask_wait(ask, &all)) {
        code = CLI_FAILED;
    } else if (options->verb == VERB_LIST) {
        if (options->as_json)
            print_as_json(&all);
        else
            print_table(&all);
    } else if (options->verb != VERB_RESUME &&
               all.item_count / 2 + (unsigned)options->scope_count > CONTROL_ENTRIES_MAX) {
        cli_error("at most %d scopes can be paused or slowed down at once; see `sluice paused`", CONTROL_ENTRIES_MAX);
        code = CLI_FAILED;
    }
    for (int i = 0; code == CLI_OK && options->verb < VERB_RESUME && i < options->scope_count; i++) {
        struct control_entry entry;
        bool there = control_scope_parse(slice_of(options->scopes[i]), &entry) &&
                     (value_of(&all, options->scopes[i]).n || scope_exists(ask, &entry));
        code = there ? CLI_OK : CLI_FAILED;
    }
    for (int i = 0; code == CLI_OK && options->verb != VERB_LIST && i < options->scope_count; i++)
        code = options->verb == VERB_RESUME ? take_back(ask, options, options->scopes[i])
                                            : say(ask, options, options->scopes[i]);
    ask_free(&all);
    return code;
}

/* ---- the commands ---- */

static int check(struct hand_options *options)
{
    const char *verb = verb_names[options->verb];
    if (options->verb == VERB_LIST)
        return options->scope_count ? cli_usage(verb, "\"%s\" is not understood", options->scopes[0]) : CLI_OK;
    if (!options->scope_count)
        return cli_usage(verb, "a scope is needed, such as isp:gmail or campaign:42");
    if (options->verb == VERB_SLOW && !options->percent)
        return cli_usage(verb, "--factor is needed, from 1 to 99 percent");
    if (strlen(options->reason) > CONTROL_REASON_MAX)
        return cli_usage(verb, "--reason may have %d bytes", CONTROL_REASON_MAX);
    for (const char *p = options->reason; *p; p++)
        if ((unsigned char)*p < ' ')
            return cli_usage(verb, "--reason must be one line of text");
    return check_scopes(options);
}

static int hand(struct cli *cli, int argc, char **argv, enum verb verb)
{
    static const struct option options[] = {CLI_CONFIG_OPTION,
                                            CLI_HELP_OPTION,
                                            {"for", required_argument, NULL, 'f'},
                                            {"until", required_argument, NULL, 'u'},
                                            {"factor", required_argument, NULL, 'F'},
                                            {"reason", required_argument, NULL, 'r'},
                                            {"list", no_argument, NULL, 'l'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    struct hand_options said = {.verb = verb, .reason = "", .now_ms = (int64_t)time(NULL) * 1000};
    int option, code = CLI_OK;
    while (code == CLI_OK && (option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        bool ends = verb == VERB_PAUSE || verb == VERB_SLOW;
        if (option == 'c') {
            cli->config_file = optarg;
        } else if (option == 'h') {
            print_help(verb);
            return CLI_OK;
        } else if (option == 'f' && ends) {
            code = read_for(&said, optarg);
        } else if (option == 'u' && ends) {
            code = read_until(&said, optarg);
        } else if (option == 'F' && verb == VERB_SLOW) {
            code = read_factor(&said, optarg);
        } else if (option == 'r' && verb != VERB_LIST) {
            said.reason = optarg;
        } else if (option == 'l' && verb == VERB_PAUSE) {
            said.verb = VERB_LIST;
        } else if (option == 'j' && (verb == VERB_LIST || verb == VERB_PAUSE)) {
            said.as_json = true;
        } else {
            code = cli_usage(verb_names[verb], "this option is not understood, or not by %s", verb_names[verb]);
        }
    }
    said.scopes = argv + optind;
    said.scope_count = argc - optind;
    if (code == CLI_OK)
        code = check(&said);
    if (code != CLI_OK)
        return code;
    struct ask ask;
    struct config *config = cli_config(cli);
    code = CLI_FAILED;
    if (config && ask_open(&ask, config)) {
        code = act(&ask, &said);
        ask_close(&ask);
    }
    config_free(config);
    return code;
}

int cli_pause(struct cli *cli, int argc, char **argv) { return hand(cli, argc, argv, VERB_PAUSE); }
int cli_slow(struct cli *cli, int argc, char **argv) { return hand(cli, argc, argv, VERB_SLOW); }
int cli_resume(struct cli *cli, int argc, char **argv) { return hand(cli, argc, argv, VERB_RESUME); }
int cli_paused(struct cli *cli, int argc, char **argv) { return hand(cli, argc, argv, VERB_LIST); }
