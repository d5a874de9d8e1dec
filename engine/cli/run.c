/* sluice run: the engine, in the foreground, as systemd and people at a terminal both like it. */
#include "cli/cli.h"
#include "control/engine.h"
#include "control/rules.h"

#include <getopt.h>
#include <stdlib.h>

enum { SHARDS_MAX = 256 };

static void print_help(void)
{
    puts(
        "usage: sluice run [-c FILE] [--shards N]\n\n"
        "Runs the engine in the foreground until SIGTERM or SIGINT; it then finishes open messages (`shutdown` in the\n"
        "configuration says within what time) and gives the rest back. A second signal ends it at once. It logs to\n"
        "standard error. Without `redis` in the configuration it starts a private redis-server of its own.\n\n"
        "  --shards N   threads that send, instead of the configuration's; 1 to 256");
}

int cli_run(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {
        CLI_CONFIG_OPTION, CLI_HELP_OPTION, {"shards", required_argument, NULL, 's'}, {NULL, 0, NULL, 0}};
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
        }
    }
    if (cli->code != CLI_GO_ON)
        return cli->code;
    if (optind != argc)
        return cli_usage("run", "\"%s\" is not understood", argv[optind]);
    struct config *config = cli_config(cli);
    if (!config)
        return CLI_FAILED;
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
