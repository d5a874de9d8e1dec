/* sluice run: the engine, in the foreground, as systemd and people at a terminal both like it. */
#include "cli/cli.h"
#include "control/config_table.h"
#include "control/engine.h"
#include "control/rules.h"

#include <getopt.h>
#include <stdlib.h>

enum { SHARDS_MAX = 256 };

static void print_help(void)
{
    puts(
        "usage: sluice run [-c FILE] [--shards N] [--engine ID] [--http ADDRESS]\n\n"
        "Runs the engine in the foreground until SIGTERM or SIGINT; it then finishes open messages (`shutdown` in the\n"
        "configuration says within what time) and gives the rest back. A second signal ends it at once. It logs to\n"
        "standard error. Without `redis` in the configuration it starts a private redis-server of its own.\n\n"
        "  --shards N       threads that send, instead of the configuration's; 1 to 256\n"
        "  --engine ID      this engine's id, instead of the configuration's: for a new one that takes the place of one\n"
        "                   that runs by the same file\n"
        "  --http ADDRESS   where its figures are served, instead of where the configuration says; \"\" for nowhere");
}

/* As if the file said so. False: said why not. */
static bool set(struct config *config, const char *name, const char *text)
{
    char why[256];
    struct config_value *value = NULL;
    const struct config_row *row = config_row_find(CONFIG_TOP, name);
    bool good = text == NULL;
    if (!good && config_value_parse(row, text, &value, why, sizeof why))
        good = config_store(row, config, &value, 1);
    else if (!good)
        cli_error("--%s \"%s\": %s", name, text, why);
    config_value_free(value);
    return good;
}

int cli_run(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {
        CLI_CONFIG_OPTION,
        CLI_HELP_OPTION,
        {"shards", required_argument, NULL, 's'},
        {"engine", required_argument, NULL, 'e'},
        {"http", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0}};
    const char *engine = NULL, *http = NULL;
    unsigned long shards = 0;
    char *end;
    int option;
    while ((option = cli_option(cli, argc, argv, "c:h", options, print_help)) > 0) {
        switch (option) {
        case 's':
            shards = strtoul(optarg, &end, 10);
            if (*end || shards < 1 || shards > SHARDS_MAX || optarg[0] == '-')
                return cli_usage("run", "--shards is a whole number from 1 to %d", SHARDS_MAX);
            break;
        case 'e':
            engine = optarg;
            break;
        case 'p':
            http = optarg;
            break;
        }
    }
    if (cli->code != CLI_GO_ON)
        return cli->code;
    if (optind != argc)
        return cli_usage("run", "\"%s\" is not understood", argv[optind]);
    struct config *config = cli_config(cli);
    if (!config)
        return CLI_FAILED;
    if (!set(config, "engine", engine) || !set(config, "http", http)) {
        config_free(config);
        return CLI_USAGE;
    }
    if (!config_http_allowed(config)) {
        config_free(config);
        return cli_usage("run", "--http %s is no loopback address, and the configuration has no http_public = yes", http);
    }
    int code = CLI_FAILED;
    char error[1024];
    if (config->pool_count == 0)
        cli_error("%s has no pool, so there is nowhere to send from; add one: pool main { source ADDRESS { ehlo = "
                  "HOST } }",
                  config->file);
    else if (!rules_load(config, error, sizeof error))
        cli_error("%s", error);
    else
        code = engine_run(config, (unsigned)shards);
    config_free(config);
    return code;
}
