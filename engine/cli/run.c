/* `sluice run`: the engine itself. */
#include "cli/cli.h"

#include <getopt.h>
#include <stdlib.h>

#include "control/engine.h"

static void print_help(void)
{
    fputs(
        "usage: sluice run [-c FILE] [--shards N]\n\n"
        "Runs the engine in the foreground until SIGTERM or SIGINT. It then finishes the messages that are open, for\n"
        "at most the configuration's `shutdown`, and gives the rest back to Redis; a second signal ends it at once.\n\n"
        "  --shards N   threads, each with its own ring; else the configuration's, else one per usable core\n"
        "  -c FILE      the configuration\n"
        "  -h, --help   this text\n",
        stdout);
}

int cli_run(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {
        CLI_CONFIG_OPTION, CLI_HELP_OPTION, {"shards", required_argument, NULL, 's'}, {NULL, 0, NULL, 0}};
    unsigned long shards = 0;
    int option;
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1)
        switch (option) {
        case 'c':
            cli->config_file = optarg;
            break;
        case 's': {
            char *end;
            shards = strtoul(optarg, &end, 10);
            if (*end || shards < 1 || shards > 64)
                return cli_usage("run", "--shards wants a number from 1 to 64, not \"%s\"", optarg);
            break;
        }
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_usage("run", "option not understood");
        }
    if (optind < argc)
        return cli_usage("run", "nothing is expected behind the options: \"%s\"", argv[optind]);
    struct config *config = cli_config(cli);
    if (!config)
        return CLI_FAILED;
    int result = engine_run(config, (unsigned)shards);
    config_free(config);
    return result;
}
