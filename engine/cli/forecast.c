/* sluice forecast: collects what is queued, lets sluice-forecast run it on the virtual clock, and shows when it ends.
 */
#include "cli/ask.h"
#include "cli/census.h"
#include "cli/child.h"
#include "cli/counts.h"
#include "cli/push.h"
#include "cli/text.h"
#include "proto/number.h"
#include "store/control.h"
#include "store/warmup.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <time.h>

enum { ENTRIES_AT_ONCE = 1000, ROWS_SHOWN = 24 };

static void print_help(void)
{
    puts(
        "usage: sluice forecast CAMPAIGN... [OPTIONS]\n"
        "       sluice forecast --to FILE [--pool POOL] [OPTIONS]\n\n"
        "When campaigns that are queued, or a list that is not pushed yet (CSV or JSON lines), will be finished, for "
        "each\n"
        "ISP: what goes today, tomorrow and later, and which limit holds it up. The engine's own lanes, throttles and\n"
        "warm-up run with this configuration on a virtual clock; recipients' domains are looked up in DNS. It assumes\n"
        "that every message is accepted at its first try, and that nothing else is sent meanwhile.\n\n"
        "  --to FILE        a list; - is standard input\n"
        "  --pool POOL      of the list; else default_pool, or the only one\n"
        "  --latency TIME   from MAIL to the answer to the message, in ms (250)\n"
        "  --connect TIME   from connect to the first MAIL, in ms (500)\n"
        "  --speed N        messages a second that the engine can do, all shards together; 0: any (10000)\n"
        "  --horizon DAYS   give up after so many days (400)\n"
        "  --json           the forecast as JSON\n\n"
        "Exit codes: 0 it ends within the horizon, 1 it does not, or something could not be asked.");
}

struct forecast {
    struct ask ask;
    struct config *config;
    json_t *demands, *records, *holds; /* owned */
    nsec start;
    const char *list, *pool;
    uint64_t latency_ms, connect_ms, speed, horizon;
    uint64_t recipients, invalid, unroutable, retries;
    unsigned domains, paused;
    bool as_json;
};

/* ---- what is queued ---- */

static const struct config_pool *pool_of(const struct config *config, struct slice name)
{
    const struct config_pool *pool = config_pool_meant(config, &name);
    if (!pool)
        cli_error("%s%.*s%s", name.n ? "there is no pool \"" : "no pool is named, and there is no default_pool",
                  (int)name.n, name.p, name.n ? "\" in the configuration" : "");
    return pool;
}

static bool add_census(struct forecast *f, struct census *census, const char *campaign, const struct config_pool *pool,
                       json_t *hours)
{
    unsigned count;
    if (!census_route(census, &f->ask))
        return false;
    const struct census_row *rows = census_rows(census, &count);
    for (unsigned i = 0; i < count; i++) {
        json_t *demand = json_pack("{ss ss ss sI sI}", "campaign", campaign, "isp", rows[i].isp, "pool", pool->name,
                                   "count", (json_int_t)rows[i].count, "not_before", (json_int_t)0);
        sluice_assert(demand && json_object_update(demand, hours) == 0 &&
                      json_array_append_new(f->demands, demand) == 0);
        f->recipients += rows[i].count;
    }
    f->invalid += census_invalid(census);
    f->unroutable += census_unroutable(census);
    f->domains += census_domains(census);
    return true;
}

/* Those in the list that nobody has taken yet, and those that wait in Redis by ISP. */
static bool count_queued(struct forecast *f, struct census *census, const char *campaign, const struct store_view *view)
{
    struct ask_answer answer = {0};
    bool good = true;
    for (uint64_t at = view->taken; good && at < view->pushed; at += answer.item_count) {
        store_entries(f->ask.store, ask_request(&answer), slice_of(campaign), at, ENTRIES_AT_ONCE);
        good = ask_wait(&f->ask, &answer);
        if (!good || !answer.item_count)
            break; /* an engine has taken them meanwhile */
        for (unsigned i = 0; i < answer.item_count; i++)
            census_entry(census, answer.items[i]);
    }
    ask_free(&answer);
    for (unsigned i = 0; i < view->parked_count; i++)
        census_isp(census, slice_of(view->parked_lists[i].isp), view->parked_lists[i].records);
    f->retries += view->retry;
    return good;
}

/* In the words of sluice-forecast's input: what the campaign says of when it may be sent. */
static json_t *hours_of(const struct counts *counts)
{
    static const char *const fields[][2] = {{"not_before", "from_ms"}, {"not_after", "until_ms"}};
    struct slice windows = counts_field(counts, "windows");
    json_t *hours = windows.n ? json_pack("{ss%}", "windows", windows.p, windows.n) : json_object();
    for (size_t i = 0; hours && i < countof(fields); i++) {
        uint64_t seconds = 0;
        if (number_parse(counts_field(counts, fields[i][0]), INT64_MAX / NSEC_PER_S, &seconds))
            json_object_set_new(hours, fields[i][1], json_integer((json_int_t)seconds * 1000));
    }
    return hours;
}

static bool take_campaign(struct forecast *f, const char *campaign)
{
    struct counts counts = {0};
    bool good = counts_id_fits(campaign) && counts_look(&f->ask, slice_of(campaign), &counts);
    if (good && !counts.view.exists && !counts.view.pushed) {
        cli_error("there is no campaign %s", campaign);
        good = false;
    }
    const struct config_pool *pool = good ? pool_of(f->config, counts_field(&counts, "pool")) : NULL;
    struct census *census = pool ? census_new(f->config, (unsigned)(pool - f->config->pools)) : NULL;
    if (census) {
        json_t *hours = hours_of(&counts);
        good = hours && count_queued(f, census, campaign, &counts.view) && add_census(f, census, campaign, pool, hours);
        json_decref(hours);
        census_free(census);
    }
    counts_free(&counts);
    return good && census;
}

static bool take_list(struct forecast *f)
{
    struct push_list list;
    struct slice entry;
    const struct config_pool *pool = pool_of(f->config, slice_of(f->pool ? f->pool : ""));
    if (!pool || !push_open(&list, f->list))
        return false;
    struct census *census = census_new(f->config, (unsigned)(pool - f->config->pools));
    struct input *input = input_open(list.stream, list.format);
    bool good = census && input;
    while (good && input_next(input, &entry) == INPUT_ENTRY)
        census_entry(census, entry);
    json_t *hours = json_object();
    good = good && hours && add_census(f, census, list.name, pool, hours);
    json_decref(hours);
    input_close(input);
    if (census)
        census_free(census);
    push_close(&list);
    return good;
}

/* ---- what is in force ---- */

/* How far each warm-up is. */
static bool take_records(struct forecast *f)
{
    struct ask_answer answer = {0};
    bool good = true;
    for (unsigned i = 0; good && i < f->config->source_count; i++) {
        const struct config_source *source = &f->config->sources[i];
        if (source->warmup < 0)
            continue;
        store_warmup_read(f->ask.store, ask_request(&answer), slice_of(source->name));
        good = ask_wait(&f->ask, &answer);
        for (unsigned j = 0; good && j + 1 < answer.item_count; j += 2) {
            struct slice counter = answer.items[j];
            char next[LIMIT_ISP_NAME + 8];
            if (counter.n > LIMIT_ISP_NAME || memchr(counter.p, '/', counter.n))
                continue;
            snprintf(next, sizeof next, SLICE_FORMAT "/next", SLICE_ARGS(counter));
            struct slice at = slice_field(answer.items, answer.item_count, slice_of(next));
            json_array_append_new(f->records,
                                  json_pack("{ss ss% ss% sI}", "source", source->name, "counter", counter.p, counter.n,
                                            "text", answer.items[j + 1].p, answer.items[j + 1].n, "next",
                                            (json_int_t)(at.n ? strtoll(at.p, NULL, 10) * NSEC_PER_US : 0)));
        }
    }
    ask_free(&answer);
    return good;
}

/* A campaign, or a pool, that rests begins when its pause ends; one without an end is taken as resumed now. */
static void hold_campaigns(struct forecast *f, const struct control_entry *entry)
{
    if (entry->kind != CONTROL_PAUSE)
        return;
    const char *key = entry->scope == CONTROL_POOL ? "pool" : "campaign";
    for (size_t i = 0; i < json_array_size(f->demands); i++) {
        json_t *demand = json_array_get(f->demands, i);
        if (!slice_equal(slice_of(json_string_value(json_object_get(demand, key))), entry->name))
            continue;
        if (!entry->until_ms)
            f->paused++;
        else if (entry->until_ms * NSEC_PER_MS > json_integer_value(json_object_get(demand, "not_before")))
            json_object_set_new(demand, "not_before", json_integer((json_int_t)entry->until_ms * NSEC_PER_MS));
    }
}

/* What people have said by hand. */
static bool take_holds(struct forecast *f)
{
    struct ask_answer answer = {0};
    struct control_entry entry;
    store_control(f->ask.store, ask_request(&answer));
    bool good = ask_wait(&f->ask, &answer);
    for (unsigned i = 0; good && i + 1 < answer.item_count; i += 2) {
        if (!control_parse(answer.items[i], answer.items[i + 1], &entry) ||
            (entry.until_ms && entry.until_ms * NSEC_PER_MS <= f->start))
            continue;
        if (entry.scope == CONTROL_CAMPAIGN || entry.scope == CONTROL_POOL) {
            hold_campaigns(f, &entry);
            continue;
        }
        struct slice source = entry.scope == CONTROL_ISP ? SLICE("") : entry.name;
        struct slice isp = entry.scope == CONTROL_ISP    ? entry.name
                           : entry.scope == CONTROL_LANE ? entry.isp
                                                         : SLICE("");
        json_array_append_new(f->holds, json_pack("{ss% ss% si sI}", "source", source.p, source.n, "isp", isp.p, isp.n,
                                                  "percent", entry.kind == CONTROL_SLOW ? (int)entry.percent : 0,
                                                  "until", (json_int_t)entry.until_ms * NSEC_PER_MS));
    }
    ask_free(&answer);
    return good;
}

/* ---- what comes of it ---- */

/* The limit that its lanes wait for, with its number. */
static void bound_text(const struct forecast *f, const json_t *row, char *text, size_t cap)
{
    const char *bound = json_string_value(json_object_get(row, "bound"));
    json_int_t sources = json_integer_value(json_object_get(row, "lanes"));
    const char *each = sources > 1 ? " from each source" : "";
    if (strcmp(bound, "rate") == 0)
        snprintf(text, cap, "rate = %s%s", json_string_value(json_object_get(row, "rate")), each);
    else if (strcmp(bound, "connections") == 0)
        snprintf(text, cap, "connections = %" JSON_INTEGER_FORMAT "%s",
                 json_integer_value(json_object_get(row, "connections")), each);
    else if (strcmp(bound, "hours") == 0)
        snprintf(text, cap, "its windows or not_before");
    else if (strcmp(bound, "speed") == 0)
        snprintf(text, cap, "the engine's own speed, %" PRIu64 "/s", f->speed);
    else
        snprintf(text, cap, "%s", bound);
}

static uint64_t on_days(const json_t *row, size_t from, size_t to)
{
    const json_t *days = json_object_get(row, "days");
    uint64_t sum = 0;
    for (size_t i = from; i < to && i < json_array_size(days); i++)
        sum += (uint64_t)json_integer_value(json_array_get(days, i));
    return sum;
}

static void add_row(const struct forecast *f, struct text_table *table, const json_t *row)
{
    char finish[32], bound[160];
    nsec end = json_integer_value(json_object_get(row, "finish"));
    bool finished = json_is_true(json_object_get(row, "finished"));
    text_time(end / NSEC_PER_MS, finish, sizeof finish);
    bound_text(f, row, bound, sizeof bound);
    TEXT_ROW(table, json_string_value(json_object_get(row, "campaign")), json_string_value(json_object_get(row, "isp")),
             text_number((uint64_t)json_integer_value(json_object_get(row, "count"))).text,
             text_number(on_days(row, 0, 1)).text, text_number(on_days(row, 1, 2)).text,
             text_number(on_days(row, 2, SIZE_MAX)).text,
             !finished ? "not within the horizon"
             : end     ? finish
                       : "all expire",
             bound);
}

static void print_rows(const struct forecast *f, const json_t *output)
{
    struct text_table table = {0};
    const json_t *rows = json_object_get(output, "demands");
    nsec end = 0;
    uint64_t expired = 0;
    char finish[32];
    TEXT_ROW(&table, "CAMPAIGN", "ISP", ">RECIPIENTS", ">TODAY", ">TOMORROW", ">LATER", "FINISHED", "HELD UP BY");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        end = nsec_max(end, json_integer_value(json_object_get(row, "finish")));
        expired += (uint64_t)json_integer_value(json_object_get(row, "expired"));
        if (i < ROWS_SHOWN)
            add_row(f, &table, row);
    }
    text_print(&table, stdout);
    text_free(&table);
    if (json_array_size(rows) > ROWS_SHOWN)
        printf("and %zu more ISPs; --json has them all\n", json_array_size(rows) - ROWS_SHOWN);
    text_time(end / NSEC_PER_MS, finish, sizeof finish);
    printf("\n%" PRIu64 " recipients of %u domains, %s %s.\n", f->recipients, f->domains,
           json_is_true(json_object_get(output, "finished")) ? "finished at"
                                                             : "not finished within the horizon; the last at",
           finish);
    if (expired)
        printf("%" PRIu64 " of them will not have started by not_after, and end as expired.\n", expired);
    if (f->invalid)
        printf("%" PRIu64 " entries are no recipients.\n", f->invalid);
    if (f->unroutable)
        printf("%" PRIu64 " recipients have a domain that takes no mail, or of which DNS says nothing.\n",
               f->unroutable);
    if (f->paused)
        puts("What is paused by hand without an end is taken as resumed now.");
    if (f->retries)
        printf("%" PRIu64 " wait for a retry, which is not in the forecast.\n", f->retries);
}

static json_t *run(const struct forecast *f)
{
    char *file = realpath(f->config->file, NULL);
    json_t *input = json_pack("{ss sI sI sI sI sI sO sO sO}", "config", file ? file : f->config->file, "start",
                              (json_int_t)f->start, "connect", (json_int_t)f->connect_ms * NSEC_PER_MS, "latency",
                              (json_int_t)f->latency_ms * NSEC_PER_MS, "speed", (json_int_t)f->speed, "horizon",
                              (json_int_t)f->horizon * 24 * 3600 * NSEC_PER_S, "demands", f->demands, "records",
                              f->records, "holds", f->holds);
    char *text = json_dumps(input, JSON_COMPACT);
    sluice_assert(text);
    char *said = child_run("sluice-forecast", text);
    json_t *output = said ? json_loads(said, 0, NULL) : NULL;
    if (said && !output)
        cli_error("sluice-forecast said nothing that can be read");
    free(said);
    free(text);
    json_decref(input);
    free(file);
    return output;
}

static int show(const struct forecast *f)
{
    json_t *output = run(f);
    if (!output)
        return CLI_FAILED;
    bool finished = json_is_true(json_object_get(output, "finished"));
    if (f->as_json) {
        json_object_set_new(output, "invalid", json_integer((json_int_t)f->invalid));
        json_object_set_new(output, "unroutable", json_integer((json_int_t)f->unroutable));
        json_object_set_new(output, "retries", json_integer((json_int_t)f->retries));
        json_dumpf(output, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        print_rows(f, output);
    }
    json_decref(output);
    return finished ? CLI_OK : CLI_FAILED;
}

/* ---- the command ---- */

static int take_option(struct forecast *f, int option)
{
    static const struct {
        int option;
        const char *name;
        uint64_t most;
    } numbers[] = {
        {'l', "latency", 3600000}, {'C', "connect", 3600000}, {'s', "speed", 1000000000}, {'H', "horizon", 400}};
    uint64_t *fields[] = {&f->latency_ms, &f->connect_ms, &f->speed, &f->horizon};
    size_t i = 0;
    while (i < countof(numbers) && numbers[i].option != option)
        i++;
    sluice_assert(i < countof(numbers));
    if (number_parse(slice_of(optarg), numbers[i].most, fields[i]))
        return CLI_OK;
    return cli_usage("forecast", "--%s is a whole number up to %" PRIu64, numbers[i].name, numbers[i].most);
}

static bool warms(const struct config *config)
{
    for (unsigned i = 0; i < config->source_count; i++)
        if (config->sources[i].warmup >= 0)
            return true;
    return false;
}

static int forecast(struct forecast *f, char **campaigns)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    f->start = now.tv_sec * NSEC_PER_S + now.tv_nsec;
    f->demands = json_array();
    f->records = json_array();
    f->holds = json_array();
    bool good = f->list ? take_list(f) : true;
    for (; good && *campaigns; campaigns++)
        good = take_campaign(f, *campaigns);
    /* A list can be forecast without Redis, for sources that are not warmed up. */
    good = good && (f->list && !warms(f->config) ? true : take_records(f) && take_holds(f));
    int code = good ? show(f) : CLI_FAILED;
    json_decref(f->demands);
    json_decref(f->records);
    json_decref(f->holds);
    return code;
}

int cli_forecast(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {CLI_CONFIG_OPTION,
                                            CLI_HELP_OPTION,
                                            {"to", required_argument, NULL, 't'},
                                            {"pool", required_argument, NULL, 'p'},
                                            {"latency", required_argument, NULL, 'l'},
                                            {"connect", required_argument, NULL, 'C'},
                                            {"speed", required_argument, NULL, 's'},
                                            {"horizon", required_argument, NULL, 'H'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    struct forecast f = {.latency_ms = 250, .connect_ms = 500, .speed = 10000, .horizon = 400};
    int option, code = CLI_OK;
    while (code == CLI_OK && (option = cli_option(cli, argc, argv, "c:h", options, print_help)) > 0) {
        switch (option) {
        case 't':
            f.list = optarg;
            break;
        case 'p':
            f.pool = optarg;
            break;
        case 'j':
            f.as_json = true;
            break;
        default:
            code = take_option(&f, option);
        }
    }
    if (cli->code != CLI_GO_ON)
        return cli->code;
    if (code != CLI_OK)
        return code;
    if (!f.list == (optind == argc))
        return cli_usage("forecast", "campaigns are needed, or --to FILE, and not both");
    if (f.pool && !f.list)
        return cli_usage("forecast", "--pool goes with --to; a campaign names its own");
    f.config = cli_config(cli);
    if (!f.config)
        return CLI_FAILED;
    code = CLI_FAILED;
    if (ask_open(&f.ask, f.config)) {
        code = forecast(&f, argv + optind);
        ask_close(&f.ask);
    }
    config_free(f.config);
    return code;
}
