/* sluice config: is this file good, and what does it come to? */
#include "cli/cli.h"
#include "cli/promised.h"
#include "control/machine.h"
#include "control/redis_access.h"
#include "control/relays.h"
#include "net/tls.h"
#include "sign/keys.h"

#include <getopt.h>

static void print_help(void)
{
    puts("usage: sluice config [-c FILE] --check | --print | --manual\n\n"
         "  --check    says whether the file is good, or where it is not and what is allowed there; reads the keys\n"
         "             and secrets that it names, so whoever asks should be who runs the engine; and asks Redis\n"
         "             whether its settings keep what Sluice promises\n"
         "  --print    prints every key with the value in force, as a file that can be read again; the password of\n"
         "             Redis is not shown: it is read from SLUICE_REDIS_PASSWORD then\n"
         "  --manual   prints sluice.conf(5): man -l <(sluice config --manual)");
}

static void print_line(void *context, const char *line)
{
    (void)context;
    puts(line);
}

static void print_warning(void *context, const char *sentence)
{
    (void)context;
    fprintf(stderr, "sluice: %s\n", sentence);
}

/* By the limits of whoever asks: a service may have others. */
static void check_machine(const struct config *config)
{
    char said[MACHINE_SAID];
    (void)machine_sessions(config, machine_shards(config, 0), said);
    if (said[0])
        print_warning(NULL, said);
    machine_ports(config, said);
    if (said[0])
        print_warning(NULL, said);
}

/* What the engine reads at start besides the configuration: keys, secrets, trusted certificates. */
static int check(const struct config *config)
{
    char error[2048];
    struct relays *relays = NULL;
    struct sign_keys *keys = NULL;
    bool good = !config->tls_ca[0] || tls_ca_usable("tls_ca", config->tls_ca, error, sizeof error);
    good = good && redis_access_usable(config, error, sizeof error);
    if (good)
        relays = relays_open(config, NULL, error, sizeof error);
    if (relays)
        keys = sign_keys_load(config, print_warning, NULL, error, sizeof error);
    if (keys)
        printf("%s: good: %u pools, %u sources, %u isps, %u relays, %u dkim keys\n", config->file, config->pool_count,
               config->source_count, config->isp_count, config->relay_count, sign_keys_count(keys));
    else
        cli_error("%s", error);
    if (keys)
        check_machine(config);
    if (keys && config->redis[0])
        promised_print(config);
    relays_close(relays);
    sign_keys_release(keys);
    return keys ? CLI_OK : CLI_FAILED;
}

int cli_config_command(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {CLI_CONFIG_OPTION,
                                            CLI_HELP_OPTION,
                                            {"check", no_argument, NULL, 'k'},
                                            {"print", no_argument, NULL, 'p'},
                                            {"manual", no_argument, NULL, 'm'},
                                            {NULL, 0, NULL, 0}};
    int option, wanted = 0, count = 0;
    while ((option = cli_option(cli, argc, argv, "c:h", options, print_help)) > 0) {
        switch (option) {
        case 'k':
        case 'p':
        case 'm':
            wanted = option;
            count++;
            break;
        }
    }
    if (cli->code != CLI_GO_ON)
        return cli->code;
    if (optind != argc || count != 1)
        return cli_usage("config", "one of --check, --print and --manual is needed, and nothing else");
    if (wanted == 'm') {
        config_manual(print_line, NULL);
        return CLI_OK;
    }
    struct config *config = cli_config(cli);
    if (!config)
        return CLI_FAILED;
    int code = CLI_OK;
    if (wanted == 'p')
        config_print(config, print_line, NULL);
    else
        code = check(config);
    config_free(config);
    return code;
}
