/* sluice why: where the time of a campaign, an ISP or a recipient goes, and what would change it. */
#include "cli/why.h"

#include "cli/bottleneck.h"
#include "cli/counts.h"
#include "cli/fetch.h"
#include "cli/text.h"
#include "control/config_table.h"
#include "store/inspect.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <time.h>

enum { ENGINES = 16, LAST_EVENTS = 1000, REPLIES = 8 };

static void print_help(void)
{
    puts("usage: sluice why CAMPAIGN | ISP | RECIPIENT [--campaign ID] [--engine ADDRESS]... [--json]\n\n"
         "Says where the time goes. Of a campaign: what waits where, the pace, and for each ISP the bottleneck with "
         "its\n"
         "numbers and the setting that would change it; of an ISP: the same of each lane; of a recipient (an address, "
         "an\n"
         "id, or with --campaign also a seq): its events and where it is now.\n\n"
         "  --campaign ID     the argument is a recipient of this campaign\n"
         "  --engine ADDRESS  the `http` address of a further engine (HOST:PORT); the configuration's own is always "
         "asked\n"
         "  --json            one JSON object\n\n"
         "What waits in engines and why is theirs to say; without one that answers, what Redis tells is shown.");
}

struct why {
    struct ask *ask;
    const struct config *config;
    const char *engines[ENGINES];
    unsigned engine_count, answered;
    json_t *rows;    /* of all engines that answer, of the pool and ISP that are asked about */
    json_t *summary; /* of --json */
    struct bottleneck found;
    bool as_json;
};

/* ---- the engines ---- */

static void take_status(struct why *why, const json_t *status, const char *pool, const char *isp)
{
    const json_t *totals = json_object_get(status, "totals");
    size_t i;
    json_t *row;
    why->answered++;
    why->found.shards += bottleneck_number(status, "shards");
    why->found.busy_per_mille += bottleneck_number(totals, "busy_per_mille");
    why->found.redis_us += bottleneck_number(totals, "redis_us");
    why->found.dns_waiting += bottleneck_number(totals, "dns_waiting");
    json_array_foreach(json_object_get(status, "rows"), i, row)
    {
        if ((pool && strcmp(bottleneck_text(row, "pool"), pool) != 0) ||
            (isp && strcmp(bottleneck_text(row, "isp"), isp) != 0))
            continue;
        json_object_set_new(row, "engine", json_string(bottleneck_text(status, "engine")));
        json_array_append(why->rows, row);
    }
}

static void ask_engines(struct why *why, const char *pool, const char *isp)
{
    why->rows = json_array();
    for (unsigned i = 0; i < why->engine_count; i++) {
        char *text = fetch_status(why->engines[i]);
        json_t *status = text ? json_loads(text, 0, NULL) : NULL;
        if (json_is_object(status))
            take_status(why, status, pool, isp);
        else if (text)
            cli_error("what answers on http://%s/status is no sluice", why->engines[i]);
        json_decref(status);
        free(text);
    }
}

/* ---- rows ---- */

static void print_lanes(const struct why *why)
{
    struct text_table table = {0};
    size_t i;
    json_t *row;
    TEXT_ROW(&table, "ENGINE", "POOL", "SOURCE", ">SESSIONS", ">ALLOWED", ">WAITING", ">PARKED", ">PER SECOND",
             ">MESSAGE MS", ">CONNECT MS", "WAITS FOR", "TIME SO FAR");
    json_array_foreach(why->rows, i, row)
    {
        char pace[32], reason[160], times[128];
        uint64_t per_ks = bottleneck_number(row, "started_per_ks");
        snprintf(pace, sizeof pace, "%ju.%ju", (uintmax_t)per_ks / 1000, (uintmax_t)per_ks % 1000 / 100);
        snprintf(reason, sizeof reason, "%s", bottleneck_text(row, "why")[0] ? bottleneck_text(row, "why") : "-");
        bottleneck_shares(row, times, sizeof times);
        TEXT_ROW(
            &table, bottleneck_text(row, "engine"), bottleneck_text(row, "pool"), bottleneck_text(row, "source"),
            text_number(bottleneck_number(row, "sessions")).text, text_number(bottleneck_number(row, "allowed")).text,
            text_number(bottleneck_number(row, "waiting")).text, text_number(bottleneck_number(row, "parked")).text,
            pace, text_number(bottleneck_number(row, "message_us") / 1000).text,
            text_number(bottleneck_number(row, "connect_us") / 1000).text, text_safe(reason), times);
    }
    if (table.rows > 1)
        text_print(&table, stdout);
    text_free(&table);
}

static void print_isps(const struct why *why)
{
    for (unsigned i = 0; i < why->found.isp_count; i++) {
        const struct bottleneck_isp *isp = &why->found.isps[i];
        char sentence[600], eta[32];
        uint64_t left = isp->waiting + (isp->redis_parked ? isp->redis_parked : isp->parked);
        bottleneck_say(&why->found, why->config, isp, sentence, sizeof sentence);
        printf("  %s: %ju in memory, %ju parked, %ju under way, %ju.%ju/s", isp->name, (uintmax_t)isp->waiting,
               (uintmax_t)(left - isp->waiting), (uintmax_t)isp->open, (uintmax_t)isp->per_ks / 1000,
               (uintmax_t)isp->per_ks % 1000 / 100);
        if (left && isp->per_ks) {
            text_duration((int64_t)(left * 1000 / isp->per_ks), eta, sizeof eta);
            printf(", %s to go", eta);
        }
        printf("\n    held up by %s\n", text_safe(sentence));
    }
}

static json_t *isps_json(const struct why *why)
{
    json_t *array = json_array();
    for (unsigned i = 0; i < why->found.isp_count; i++) {
        const struct bottleneck_isp *isp = &why->found.isps[i];
        char sentence[600];
        bottleneck_say(&why->found, why->config, isp, sentence, sizeof sentence);
        json_array_append_new(array, json_pack("{s:s, s:I, s:I, s:I, s:I, s:s, s:s}", "isp", isp->name, "waiting",
                                               (json_int_t)isp->waiting, "parked",
                                               (json_int_t)(isp->redis_parked ? isp->redis_parked : isp->parked),
                                               "open", (json_int_t)isp->open, "started_per_ks", (json_int_t)isp->per_ks,
                                               "wait", isp->wait, "bottleneck", text_safe(sentence)));
    }
    return array;
}

static int finish(struct why *why, int code)
{
    if (why->as_json && code == CLI_OK) {
        json_object_set_new(why->summary, "engines", json_integer(why->answered));
        json_object_set_new(why->summary, "isps", isps_json(why));
        json_object_set(why->summary, "lanes", why->rows);
        json_dumpf(why->summary, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(why->summary);
    json_decref(why->rows);
    return code;
}

/* ---- an ISP ---- */

static int why_isp(struct why *why, const char *name)
{
    ask_engines(why, NULL, name);
    bottleneck_add_up(&why->found, why->rows);
    json_object_set_new(why->summary, "isp", json_string(name));
    if (!why->as_json && !why->answered)
        puts("no engine answers, and only they know what waits for an ISP and why");
    else if (!why->as_json && !why->found.isp_count)
        printf("nothing waits or goes to %s now\n", name);
    if (!why->as_json) {
        print_isps(why);
        print_lanes(why);
    }
    return finish(why, why->answered ? CLI_OK : CLI_FAILED);
}

/* ---- a campaign ---- */

static uint64_t due(struct why *why, const char *id, int64_t from_ms, int64_t to_ms)
{
    struct ask_answer answer = {0};
    store_inspect_due(why->ask->store, ask_request(&answer), slice_of(id), from_ms, to_ms);
    uint64_t count = ask_wait(why->ask, &answer) ? (uint64_t)answer.number : 0;
    ask_free(&answer);
    return count;
}

static void tell_retries(struct why *why, const char *id)
{
    static const struct {
        const char *name;
        int64_t to_ms;
    } spans[] = {{"now", 0},
                 {"in a minute", 60000},
                 {"in ten", 600000},
                 {"in an hour", 3600000},
                 {"in a day", 86400000},
                 {"later", INT64_MAX / 4}};
    int64_t now_ms = (int64_t)time(NULL) * 1000, from = 0;
    json_t *json = json_object();
    bool any = false;
    for (size_t i = 0; i < countof(spans); i++) {
        uint64_t count = due(why, id, from, now_ms + spans[i].to_ms);
        from = now_ms + spans[i].to_ms;
        json_object_set_new(json, spans[i].name, json_integer((json_int_t)count));
        if (!count || why->as_json)
            continue;
        printf("%s %ju %s", any ? "," : "  retries due:", (uintmax_t)count, spans[i].name);
        any = true;
    }
    if (any)
        putchar('\n');
    json_object_set_new(why->summary, "retries_due", json);
}

struct reply {
    char isp[LIMIT_ISP_NAME + 1], text[200];
    unsigned count;
};

static int more_often(const void *a, const void *b)
{
    const struct reply *x = a, *y = b;
    return (x->count < y->count) - (x->count > y->count);
}

/* What providers said to those that were put off or refused lately. */
static void tell_replies(struct why *why, const char *id)
{
    struct reply replies[64];
    unsigned count = 0, at = 0;
    struct ask_answer batch = {0};
    store_inspect_events(why->ask->store, ask_request(&batch), slice_of(id), LAST_EVENTS);
    bool read = ask_wait(why->ask, &batch);
    while (read && at + 2 <= batch.item_count) {
        unsigned n = 2 * (unsigned)strtoul(batch.items[at + 1].p, NULL, 10);
        const struct slice *fields = &batch.items[at + 2];
        if (n > batch.item_count - at - 2)
            break;
        at += 2 + n;
        struct slice type = slice_field(fields, n, SLICE("type")), reply = slice_field(fields, n, SLICE("reply"));
        if (!reply.n || slice_equal(type, SLICE("delivered")))
            continue;
        struct reply one = {.count = 1};
        slice_copy(one.isp, sizeof one.isp, slice_field(fields, n, SLICE("isp")));
        snprintf(one.text, sizeof one.text, "%.*s: %.*s", (int)type.n, type.p, (int)(reply.n < 150 ? reply.n : 150),
                 reply.p);
        unsigned i = 0;
        while (i < count && (strcmp(replies[i].isp, one.isp) != 0 || strcmp(replies[i].text, one.text) != 0))
            i++;
        if (i < count)
            replies[i].count++;
        else if (count < countof(replies))
            replies[count++] = one;
    }
    ask_free(&batch);
    qsort(replies, count, sizeof *replies, more_often);
    json_t *json = json_array();
    for (unsigned i = 0; i < count && i < REPLIES; i++) {
        for (char *p = replies[i].text; *p; p++)
            if ((unsigned char)*p >= 0x80)
                *p = '?';
        text_safe(replies[i].text);
        text_safe(replies[i].isp);
        json_array_append_new(json, json_pack("{s:s, s:s, s:I}", "isp", replies[i].isp, "said", replies[i].text,
                                              "count", (json_int_t)replies[i].count));
        if (!why->as_json)
            printf("%s    %ux %s %s\n", i ? "" : "  of the last 1,000 events:\n", replies[i].count, replies[i].isp,
                   replies[i].text);
    }
    json_object_set_new(why->summary, "replies", json);
}

static void tell_counts(struct why *why, const char *id, const struct counts *counts)
{
    const struct store_view *view = &counts->view;
    char reason[sizeof view->reason];
    snprintf(reason, sizeof reason, "%s", view->reason);
    uint64_t away = view->parked + view->retry + view->held, not_taken = view->pushed - view->taken;
    uint64_t leased = counts->open > away + not_taken ? counts->open - away - not_taken : 0;
    json_object_update_new(why->summary,
                           json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "campaign", id, "phase",
                                     counts_phase(counts), "state", counts_state(counts), "reason", text_safe(reason),
                                     "pushed", (json_int_t)view->pushed, "ended", (json_int_t)counts->ended,
                                     "not_taken", (json_int_t)not_taken, "in_engines", (json_int_t)leased, "parked",
                                     (json_int_t)view->parked, "retry", (json_int_t)view->retry, "held",
                                     (json_int_t)view->held));
    if (why->as_json)
        return;
    printf("campaign %s is %s%s%s%s, %s: %ju of %ju have ended\n", id, counts_phase(counts), reason[0] ? " (" : "",
           reason, reason[0] ? ")" : "", counts_state(counts), (uintmax_t)counts->ended, (uintmax_t)view->pushed);
    printf("  not taken %ju, in engines %ju, parked %ju, retry %ju, held %ju\n", (uintmax_t)not_taken,
           (uintmax_t)leased, (uintmax_t)view->parked, (uintmax_t)view->retry, (uintmax_t)view->held);
}

static void tell_engines(const struct why *why)
{
    if (!why->answered) {
        puts("  no engine answers: what Redis knows is all there is");
        return;
    }
    printf("  engines: CPU %ju %%, a small step of Redis %ju us, %ju recipients wait for DNS\n",
           (uintmax_t)(why->found.busy_per_mille / (why->found.shards ? why->found.shards : 1) / 10),
           (uintmax_t)(why->found.redis_us / (why->found.shards ? why->found.shards : 1)),
           (uintmax_t)why->found.dns_waiting);
}

static int why_campaign(struct why *why, const char *id, const struct counts *counts)
{
    char pool[LIMIT_POOL_NAME + 1];
    slice_copy(pool, sizeof pool, counts_field(counts, "pool"));
    if (!pool[0])
        snprintf(pool, sizeof pool, "%s",
                 why->config->default_pool[0] ? why->config->default_pool
                 : why->config->pool_count    ? why->config->pools[0].name
                                              : "");
    tell_counts(why, id, counts);
    if (counts->view.retry)
        tell_retries(why, id);
    if (!counts_over(counts))
        ask_engines(why, pool, NULL);
    else
        why->rows = json_array();
    bottleneck_add_up(&why->found, why->rows);
    for (unsigned i = 0; i < counts->view.parked_count; i++)
        bottleneck_isp(&why->found, counts->view.parked_lists[i].isp)->redis_parked +=
            counts->view.parked_lists[i].records;
    if (!why->as_json && !counts_over(counts))
        tell_engines(why);
    if (!why->as_json)
        print_isps(why);
    tell_replies(why, id);
    return finish(why, CLI_OK);
}

/* ---- the command ---- */

static bool is_isp(const struct why *why, const char *name)
{
    return slice_starts_with(slice_of(name), SLICE("mx:")) ||
           config_isp_index(why->config, slice_of(name)) < why->config->isp_count + why->config->relay_count;
}

static int answer(struct why *why, const char *of, const char *campaign)
{
    struct counts counts = {0};
    int code = CLI_FAILED;
    if (campaign || strchr(of, '@')) {
        json_decref(why->summary);
        return whereabouts(why->ask, campaign, of, why->as_json);
    }
    bool could = strlen(of) <= LIMIT_CAMPAIGN_ID && !strchr(of, ':');
    if (could && !counts_look(why->ask, slice_of(of), &counts)) {
        json_decref(why->summary);
        return CLI_FAILED;
    }
    if (could && counts.view.exists) {
        code = why_campaign(why, of, &counts);
    } else if (is_isp(why, of)) {
        code = why_isp(why, of);
    } else {
        json_decref(why->summary);
        code = whereabouts(why->ask, NULL, of, why->as_json);
        if (code == CLI_FAILED)
            cli_error(
                "%s is no campaign, no ISP of %s (one without an entry is mx:HOST), and no recipient's address or "
                "id; a seq needs --campaign",
                of, why->config->file);
    }
    counts_free(&counts);
    return code;
}

static int act(struct cli *cli, struct why *why, const char *of, const char *campaign)
{
    struct ask ask;
    int code = CLI_FAILED;
    if (campaign && !counts_id_fits(campaign))
        return CLI_USAGE;
    struct config *config = cli_config(cli);
    if (config && ask_open(&ask, config)) {
        why->ask = &ask;
        why->config = config;
        why->summary = json_object();
        if (config->http[0])
            why->engines[why->engine_count++] = config->http;
        code = answer(why, of, campaign);
        ask_close(&ask);
    }
    config_free(config);
    return code;
}

int cli_why(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {CLI_CONFIG_OPTION,
                                            CLI_HELP_OPTION,
                                            {"campaign", required_argument, NULL, 'C'},
                                            {"engine", required_argument, NULL, 'e'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    struct why *why = calloc(1, sizeof *why);
    const char *campaign = NULL;
    int option, code = -1;
    sluice_assert(why);
    while (code < 0 && (option = cli_option(cli, argc, argv, "c:h", options, print_help)) > 0) {
        if (option == 'C') {
            campaign = optarg;
        } else if (option == 'e' && why->engine_count < ENGINES - 1) {
            why->engines[why->engine_count++] = optarg;
        } else if (option == 'j') {
            why->as_json = true;
        } else {
            code = cli_usage("why", "--engine is given too often");
        }
    }
    code = code < 0 ? cli->code : code;
    if (code < 0 && argc - optind != 1)
        code = cli_usage("why", "one campaign, ISP or recipient is needed");
    if (code < 0)
        code = act(cli, why, argv[optind], campaign);
    free(why);
    return code;
}
