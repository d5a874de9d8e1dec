/* The program: finds the sub-command, and the configuration that all of them share. */
#include "cli/cli.h"

#include <getopt.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

struct command {
    const char *name;
    int (*run)(struct cli *cli, int argc, char **argv);
    const char *help;
};

static const struct command commands[] = {
    {"run", cli_run, "run the engine"},
    {"send", cli_send, "send a campaign and watch it go"},
    {"campaign", cli_campaign, "list, show, pause, resume or cancel campaigns"},
    {"events", cli_events, "what became of each recipient"},
    {"status", cli_status, "what the engine is doing: per pool, ISP and source"},
    {"pause", cli_pause, "stop one ISP, source, lane, campaign or pool"},
    {"slow", cli_slow, "slow down one ISP, source or lane"},
    {"resume", cli_resume, "take back a pause or a slow-down"},
    {"paused", cli_paused, "what is paused or slowed down by hand"},
    {"why", cli_why, "where the time of a campaign, an ISP or a recipient goes"},
    {"audit", cli_audit, "whether any lane ever went faster than it may, by the events"},
    {"render", cli_render, "the message that a recipient will get, or a template with data"},
    {"forecast", cli_forecast, "when a campaign that is queued, or a list, will be finished, and what holds it up"},
    {"classify", cli_classify, "what replies of mail servers mean"},
    {"warmup", cli_warmup, "new addresses: the day of each curve, what is used of its cap, and what comes next"},
    {"token", cli_token, "which campaign and recipient a bounce is about, if it is no forgery"},
    {"suppress", cli_suppress, "whom no campaign is sent to: add, remove, check, import, export"},
    {"config", cli_config_command, "check or print the configuration"},
};

static void print_help(FILE *to)
{
    fputs("Sluice sends campaigns: it takes recipients from Redis, sends each a message of its own straight to the\n"
          "recipient's mail exchanger, and writes what became of it back to Redis.\n\n"
          "usage: sluice [-c FILE] COMMAND [OPTIONS]\n\n",
          to);
    for (size_t i = 0; i < countof(commands); i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].help);
    fputs(
        "\n  -c, --config FILE   the configuration; else $SLUICE_CONFIG, ./sluice.conf or /etc/sluice/sluice.conf\n"
        "  -h, --help          this text; `sluice COMMAND --help` tells more of a command\n"
        "  -V, --version       the version\n\n"
        "A first campaign, with the engine running (`sluice run`):\n\n"
        "  sluice send --from 'Shop <news@shop.example>' --subject 'Hi {{name}}' --text letter.txt --to people.csv\n\n"
        "where people.csv begins with the line \"to,name\". `sluice send ... --test you@example.com` sends one copy "
        "to\n"
        "you first. Exit codes: 0 done, 1 failed, 2 not understood.\n",
        to);
}

void cli_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("sluice: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

int cli_usage(const char *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "sluice%s%s: ", command ? " " : "", command ? command : "");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\nTry `sluice%s%s --help`.\n", command ? " " : "", command ? command : "");
    va_end(arguments);
    return CLI_USAGE;
}

int cli_option(struct cli *cli, int argc, char **argv, const char *letters, const struct option *options,
               void (*help)(void))
{
    cli->code = CLI_GO_ON;
    for (;;) {
        int option = getopt_long(argc, argv, letters, options, NULL);
        if (option == 'c') {
            cli->config_file = optarg;
            continue;
        }
        if (option == 'h') {
            help();
            cli->code = CLI_OK;
        } else if (option == '?') {
            cli->code = cli_usage(argv[0], "this option is not understood");
        }
        return option == -1 || cli->code != CLI_GO_ON ? 0 : option;
    }
}

const char *cli_config_file(const struct cli *cli)
{
    static const char *const places[] = {"sluice.conf", "/etc/sluice/sluice.conf"};
    const char *file = cli->config_file ? cli->config_file : getenv("SLUICE_CONFIG");
    for (size_t i = 0; !file && i < countof(places); i++)
        if (access(places[i], F_OK) == 0)
            file = places[i];
    return file && file[0] ? file : NULL;
}

struct config *cli_config(const struct cli *cli)
{
    const char *file = cli_config_file(cli);
    char error[2048];
    if (!file) {
        cli_error("there is no configuration: neither -c FILE, $SLUICE_CONFIG, ./sluice.conf nor "
                  "/etc/sluice/sluice.conf");
        return NULL;
    }
    struct config *config = config_load(file, error, sizeof error);
    if (!config)
        cli_error("%s", error);
    return config;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        CLI_CONFIG_OPTION, CLI_HELP_OPTION, {"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0}};
    struct cli cli = {0};
    int option;
    signal(SIGPIPE, SIG_IGN); /* a peer that is gone is EPIPE, wherever it is written to */
    /* Before any library asks for OpenSSL: what a session may be is decided here and not by the machine's openssl.cnf,
     * and nothing is tidied up at exit while threads may still use it. */
    if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL)) {
        cli_error("OpenSSL does not start");
        return CLI_FAILED;
    }
    while ((option = getopt_long(argc, argv, "+c:hV", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            cli.config_file = optarg;
            break;
        case 'h':
            print_help(stdout);
            return CLI_OK;
        case 'V':
            puts("sluice " SLUICE_VERSION);
            return CLI_OK;
        default:
            return cli_usage(NULL, "what stands before the command is not understood");
        }
    }
    if (optind == argc) {
        print_help(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[optind];
    for (size_t i = 0; i < countof(commands); i++)
        if (strcmp(name, commands[i].name) == 0) {
            int count = argc - optind;
            char **rest = argv + optind;
            optind = 0; /* glibc: begin anew, each command reads its own options */
            int code = commands[i].run(&cli, count, rest);
            if (fflush(stdout) != 0 && code == CLI_OK) {
                cli_error("standard output cannot be written");
                code = CLI_FAILED;
            }
            return code;
        }
    return cli_usage(NULL, "there is no command \"%s\"", name);
}
