/* sluice events: reads a campaign's stream, for people or as JSON lines for programs. */
#include "cli/events.h"

#include "cli/counts.h"
#include "cli/text.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>

enum { BATCH = 1000, WAIT_S = 1 };

static void print_help(void)
{
    puts("usage: sluice events CAMPAIGN [--follow] [--after ID] [--json]\n\n"
         "Prints what became of each recipient, the oldest event first.\n\n"
         "  --follow     waits for more, until the campaign is done or cancelled\n"
         "  --after ID   only what comes after this stream id (the first word of a line)\n"
         "  --json       one JSON object a line, with the stream id as \"stream_id\"");
}

/* ---- one event ---- */

static bool is_number(const char *name)
{
    static const char *const numbers[] = {"seq", "code", "ms", "started", "attempt", "final", "bytes", "next_at"};
    for (size_t i = 0; i < countof(numbers); i++)
        if (strcmp(name, numbers[i]) == 0)
            return true;
    return false;
}

static json_t *value_json(const char *name, struct slice value)
{
    char *end;
    long long number = strtoll(value.p, &end, 10);
    if (is_number(name) && value.n && *end == 0)
        return json_integer(number);
    /* A server's words may be no UTF-8; JSON is. */
    json_t *text = json_stringn(value.p, value.n);
    if (text)
        return text;
    char *copy = strdup(value.p);
    sluice_assert(copy);
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    text = json_stringn(copy, strlen(copy));
    free(copy);
    return text;
}

static void print_json(const char *id, const struct slice *fields, unsigned count)
{
    json_t *json = json_object();
    json_object_set_new(json, "stream_id", json_stringn(id, strlen(id)));
    for (unsigned i = 0; i + 1 < count; i += 2)
        json_object_set_new(json, fields[i].p, value_json(fields[i].p, fields[i + 1]));
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(json);
}

static void print_line(const char *id, const struct slice *fields, unsigned count)
{
    char when[32];
    text_time(strtoll(id, NULL, 10), when, sizeof when);
    printf("%s %s", id, when);
    for (unsigned i = 0; i + 1 < count; i += 2) {
        char *value = strdup(fields[i + 1].p);
        sluice_assert(value);
        text_safe(value);
        if (strcmp(fields[i].p, "type") == 0)
            printf(" %s", value);
        else
            printf(strchr(value, ' ') ? " %s=\"%s\"" : " %s=%s", fields[i].p, value);
        free(value);
    }
    putchar('\n');
}

/* The flat answer of store_events: id, number of fields, field, value, ... False: it is none. */
static bool print_batch(struct events *events, const struct ask_answer *batch)
{
    unsigned at = 0;
    while (at + 2 <= batch->item_count) {
        const char *id = batch->items[at].p;
        unsigned long pairs = strtoul(batch->items[at + 1].p, NULL, 10);
        at += 2;
        if (pairs > (batch->item_count - at) / 2)
            return false;
        if (events->as_json)
            print_json(id, &batch->items[at], (unsigned)(2 * pairs));
        else
            print_line(id, &batch->items[at], (unsigned)(2 * pairs));
        snprintf(events->after, sizeof events->after, "%s", id);
        at += (unsigned)(2 * pairs);
    }
    return at == batch->item_count;
}

/* ---- the stream ---- */

int64_t events_print(struct events *events, nsec wait)
{
    struct ask_answer batch = {0};
    int64_t count = -1;
    store_events(events->ask->store, ask_request(&batch), slice_of(events->campaign), slice_of(events->after), BATCH,
                 wait);
    if (ask_wait(events->ask, &batch)) {
        count = batch.number;
        if (!print_batch(events, &batch)) {
            cli_error("the stream of campaign %s holds what is no event", events->campaign);
            count = -1;
        }
    }
    ask_free(&batch);
    return count;
}

static int print_stream(struct events *events, bool follow)
{
    struct counts counts = {0};
    bool over = false;
    if (!counts_look(events->ask, slice_of(events->campaign), &counts))
        return CLI_FAILED;
    bool exists = counts.view.exists;
    counts_free(&counts);
    if (!exists) {
        cli_error("there is no campaign %s", events->campaign);
        return CLI_FAILED;
    }
    for (;;) {
        int64_t count = events_print(events, 0);
        if (count < 0 || ferror(stdout))
            return CLI_FAILED;
        if (count > 0)
            continue;
        if (!follow || over)
            return CLI_OK;
        /* The phase is looked at before the last read, so that no event falls between the two. */
        if (!counts_look(events->ask, slice_of(events->campaign), &counts))
            return CLI_FAILED;
        over = counts_over(&counts) || !counts.view.exists;
        counts_free(&counts);
        fflush(stdout);
        if (!over && events_print(events, WAIT_S * NSEC_PER_S) < 0)
            return CLI_FAILED;
    }
}

int cli_events(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {CLI_CONFIG_OPTION,
                                            CLI_HELP_OPTION,
                                            {"follow", no_argument, NULL, 'f'},
                                            {"after", required_argument, NULL, 'a'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    struct ask ask;
    struct events events = {.ask = &ask, .after = "0"};
    bool follow = false;
    int option, code = CLI_FAILED;
    while ((option = cli_option(cli, argc, argv, "c:hf", options, print_help)) > 0) {
        switch (option) {
        case 'f':
            follow = true;
            break;
        case 'a':
            if (strlen(optarg) >= sizeof events.after || optarg[strspn(optarg, "0123456789-")])
                return cli_usage("events", "--after takes a stream id, such as 1793520000000-0");
            snprintf(events.after, sizeof events.after, "%s", optarg);
            break;
        case 'j':
            events.as_json = true;
            break;
        }
    }
    if (cli->code != CLI_GO_ON)
        return cli->code;
    if (argc - optind != 1)
        return cli_usage("events", "one campaign id is needed");
    events.campaign = argv[optind];
    if (!counts_id_fits(events.campaign))
        return CLI_USAGE;
    struct config *config = cli_config(cli);
    if (config && ask_open(&ask, config)) {
        code = print_stream(&events, follow);
        ask_close(&ask);
    }
    config_free(config);
    return code;
}
