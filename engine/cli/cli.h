/* cli.h - what the sub-commands of `sluice` have in common.
 *
 * A sub-command gets its own argv (argv[0] is its name) and returns the exit code. Results go to standard output, all
 * else to standard error, so that `--json | program` works. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "control/config.h"
#include "sluice/base.h"

#include <getopt.h>
#include <stdio.h>

enum cli_exit {
    CLI_GO_ON = -1,
    CLI_OK = 0,
    CLI_FAILED = 1, /* it was understood and could not be done, or came to nothing */
    CLI_USAGE = 2,  /* it was not understood */
};

struct cli {
    const char *config_file; /* of -c before the sub-command, or of its own; NULL */
    int code;                /* what reading a sub-command's options came to: CLI_GO_ON, or its exit code */
};

/* "sluice: ...", with a line end. */
void printf_like(1, 2) cli_error(const char *format, ...);
/* The same, and where help is; returns CLI_USAGE. */
int printf_like(2, 3) cli_usage(const char *command, const char *format, ...);

/* The file of -c, $SLUICE_CONFIG, ./sluice.conf or /etc/sluice/sluice.conf: the first that is named or exists. NULL:
 * said why. The caller owns the configuration. */
must_use struct config *cli_config(const struct cli *cli);
/* Its name; NULL: there is none. */
const char *cli_config_file(const struct cli *cli);

/* The value of -c within a sub-command. */
#define CLI_CONFIG_OPTION                                                                                              \
    {                                                                                                                  \
        "config", required_argument, NULL, 'c'                                                                         \
    }
#define CLI_HELP_OPTION                                                                                                \
    {                                                                                                                  \
        "help", no_argument, NULL, 'h'                                                                                 \
    }

/* The next option of a sub-command that is its own (optarg: its value); 0: there is no other, and cli->code is
 * CLI_GO_ON. -c is taken, --help is printed and one that is not understood is said: then it is 0 too, and cli->code the
 * exit code. `letters`: of short options, "c:h" and the command's. */
int cli_option(struct cli *cli, int argc, char **argv, const char *letters, const struct option *options,
               void (*help)(void));

int cli_send(struct cli *cli, int argc, char **argv);
int cli_campaign(struct cli *cli, int argc, char **argv);
int cli_events(struct cli *cli, int argc, char **argv);
int cli_status(struct cli *cli, int argc, char **argv);
int cli_config_command(struct cli *cli, int argc, char **argv);
int cli_render(struct cli *cli, int argc, char **argv);
int cli_classify(struct cli *cli, int argc, char **argv);
int cli_token(struct cli *cli, int argc, char **argv);
int cli_warmup(struct cli *cli, int argc, char **argv);
int cli_forecast(struct cli *cli, int argc, char **argv);
int cli_pause(struct cli *cli, int argc, char **argv);
int cli_slow(struct cli *cli, int argc, char **argv);
int cli_resume(struct cli *cli, int argc, char **argv);
int cli_why(struct cli *cli, int argc, char **argv);
int cli_audit(struct cli *cli, int argc, char **argv);
int cli_paused(struct cli *cli, int argc, char **argv);
int cli_suppress(struct cli *cli, int argc, char **argv);
int cli_run(struct cli *cli, int argc, char **argv);

#endif
