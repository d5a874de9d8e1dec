/* sluice status: asks the running engine what goes, what waits and why. */
#include "cli/cli.h"
#include "cli/fetch.h"
#include "cli/text.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>

static void print_help(void)
{
    puts("usage: sluice status [-c FILE] [--json]\n\n"
         "Shows, per pool, ISP and source, the open sessions, what waits in memory and what is parked in Redis, the\n"
         "pace, and why it does not go faster. It asks the engine over HTTP at the configuration's `http` address.\n\n"
         "  --json   prints the engine's own answer\n\n"
         "Exit code: 0 when the engine is healthy, else 1.");
}

static uint64_t number_of(const json_t *object, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(object, name));
    return n > 0 ? (uint64_t)n : 0;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static void print_rows(const json_t *rows, int64_t now_ms)
{
    struct text_table table = {0};
    size_t i;
    json_t *row;
    TEXT_ROW(&table, "POOL", "ISP", "SOURCE", ">SESSIONS", ">OPEN", ">WAITING", ">PARKED", ">PER SECOND", ">DELIVERED",
             ">DEFERRED", ">BOUNCED", "WHY IT WAITS");
    json_array_foreach(rows, i, row)
    {
        char pace[32], why[256];
        uint64_t per_ks = number_of(row, "started_per_ks");
        int64_t next_ms = (int64_t)number_of(row, "next_ms");
        snprintf(pace, sizeof pace, "%ju.%ju", (uintmax_t)per_ks / 1000, (uintmax_t)per_ks % 1000 / 100);
        if (next_ms > now_ms)
            snprintf(why, sizeof why, "%.150s%snext in %jd.%jd s", text_of(row, "why"),
                     text_of(row, "why")[0] ? ", " : "", (intmax_t)(next_ms - now_ms) / 1000,
                     (intmax_t)(next_ms - now_ms) % 1000 / 100);
        else
            snprintf(why, sizeof why, "%.200s", text_of(row, "why"));
        TEXT_ROW(&table, text_of(row, "pool"), text_of(row, "isp"), text_of(row, "source"),
                 text_number(number_of(row, "sessions")).text, text_number(number_of(row, "open")).text,
                 text_number(number_of(row, "waiting")).text, text_number(number_of(row, "parked")).text, pace,
                 text_number(number_of(row, "delivered")).text, text_number(number_of(row, "deferred")).text,
                 text_number(number_of(row, "bounced")).text, why);
    }
    if (table.rows > 1)
        text_print(&table, stdout);
    else
        puts("nothing to send");
    text_free(&table);
}

static int print_status(const json_t *status)
{
    static const char *const shown[] = {"delivered", "deferred",  "bounced",  "expired",  "suppressed",
                                        "invalid",   "cancelled", "in_doubt", "sessions", "waiting"};
    const json_t *totals = json_object_get(status, "totals");
    char up[32], health[200];
    bool healthy = json_is_true(json_object_get(status, "healthy"));
    int64_t now_ms = (int64_t)number_of(status, "now_ms");
    text_duration((now_ms - (int64_t)number_of(status, "started_ms")) / 1000, up, sizeof up);
    snprintf(health, sizeof health, "%s", text_of(status, "health"));
    printf("engine %s, sluice %s, pid %ju, up %s, %ju shards: %s\n", text_of(status, "engine"),
           text_of(status, "version"), (uintmax_t)number_of(status, "pid"), up, (uintmax_t)number_of(status, "shards"),
           text_safe(health));
    for (size_t i = 0; i < countof(shown); i++)
        printf("%s%s %ju", i ? ", " : "", shown[i], (uintmax_t)number_of(totals, shown[i]));
    puts("\n");
    print_rows(json_object_get(status, "rows"), now_ms);
    if (number_of(status, "rows_left_out"))
        printf("and %ju more rows that the engine left out\n", (uintmax_t)number_of(status, "rows_left_out"));
    return healthy ? CLI_OK : CLI_FAILED;
}

static int show(const struct config *config, bool as_json)
{
    json_error_t error;
    if (!config->http[0]) {
        cli_error("%s switches the engine's HTTP off (http = \"\"); without it there is no status", config->file);
        return CLI_FAILED;
    }
    char *text = fetch_status(config->http);
    if (!text)
        return CLI_FAILED;
    json_t *status = json_loads(text, 0, &error);
    int code = CLI_FAILED;
    if (!json_is_object(status)) {
        cli_error("what answers on http://%s/status is no sluice", config->http);
    } else if (as_json) {
        puts(text);
        code = json_is_true(json_object_get(status, "healthy")) ? CLI_OK : CLI_FAILED;
    } else {
        code = print_status(status);
    }
    json_decref(status);
    free(text);
    return code;
}

int cli_status(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {
        CLI_CONFIG_OPTION, CLI_HELP_OPTION, {"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
    bool as_json = false;
    while (cli_option(cli, argc, argv, "c:h", options, print_help) > 0)
        as_json = true; /* its only one */
    if (cli->code != CLI_GO_ON)
        return cli->code;
    if (optind != argc)
        return cli_usage("status", "\"%s\" is not understood", argv[optind]);
    struct config *config = cli_config(cli);
    if (!config)
        return CLI_FAILED;
    int code = show(config, as_json);
    config_free(config);
    return code;
}
