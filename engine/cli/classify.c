/* sluice classify: what replies mean, by the rules in force. */
#include "proto/policy/classify.h"
#include "cli/cli.h"
#include "control/rules.h"
#include "proto/event.h"

#include <getopt.h>
#include <stdlib.h>

static void print_help(void)
{
    puts(
        "usage: sluice classify [-c FILE] [--isp NAME] < REPLIES\n\n"
        "Reads replies of mail servers, one a line: STAGE <tab> MX <tab> REPLY, or just the reply as it stands in a\n"
        "log. STAGE is greeting, ehlo, starttls, auth, mail, rcpt, data or body (the message itself), MX the host "
        "that\n"
        "said it; either may be empty. Prints one JSON object for each line: stage, isp, code, status, class, kind\n"
        "(hard, soft, block), scope, action, retry_after (seconds, if the text names a time), rule, suppress (whether\n"
        "the address would be suppressed) and event (deferred, bounced, delivered). Each is \"\" or null where there "
        "is\n"
        "nothing to say.\n\n"
        "  --isp NAME   whose replies they are: an isp block of the configuration, or one that ships (deploy/isp)\n\n"
        "Without a configuration the rules that ship with the program are in force. Exit codes: 0 done, 1 a line "
        "names\n"
        "a stage that there is not, or nothing could be read.");
}

/* ---- one line ---- */

struct line {
    struct classify_question question;
    bool stage_unknown;
};

/* "rcpt", "RCPT TO"; STAGE_BROKEN: there is none of that name. */
static enum stage stage_of(struct slice name)
{
    static const struct {
        const char *name;
        enum stage stage;
    } others[] = {{"connect", STAGE_GREETING}, {"helo", STAGE_EHLO}, {"mail from", STAGE_MAIL},
                  {"rcpt to", STAGE_RCPT},     {"dot", STAGE_BODY},  {"end of data", STAGE_BODY}};
    for (unsigned stage = STAGE_GREETING; stage < STAGE_COUNT; stage++)
        if (slice_equal_nocase(name, slice_of(stage_name((enum stage)stage))))
            return (enum stage)stage;
    for (size_t i = 0; i < countof(others); i++)
        if (slice_equal_nocase(name, slice_of(others[i].name)))
            return others[i].stage;
    return STAGE_BROKEN;
}

/* Up to the next tab, which goes too. False: there is none. */
static bool take_field(struct slice *rest, struct slice *field)
{
    const char *tab = memchr(rest->p, '\t', rest->n);
    if (!tab)
        return false;
    *field = slice_trim((struct slice){rest->p, (size_t)(tab - rest->p)});
    rest->n -= (size_t)(tab + 1 - rest->p);
    rest->p = tab + 1;
    return true;
}

/* Two tabs make it a line with a stage and a host, if what stands before the first could be a stage: one word, or two
 * as in "RCPT TO", without a digit. */
static struct line read_line(struct slice text, struct slice isp)
{
    struct line line = {.question = {.isp = isp, .reply = text}};
    struct slice rest = text, stage, mx;
    if (!take_field(&rest, &stage) || !take_field(&rest, &mx))
        return line;
    for (size_t i = 0; i < stage.n; i++)
        if (!(ascii_lower(stage.p[i]) >= 'a' && ascii_lower(stage.p[i]) <= 'z') && stage.p[i] != ' ')
            return line;
    line.question = (struct classify_question){.stage = stage_of(stage), .isp = isp, .mx = mx, .reply = rest};
    line.stage_unknown = stage.n && !line.question.stage;
    return line;
}

static void print_number(const char *name, uint64_t number)
{
    if (number)
        printf("\"%s\":%ju,", name, (uintmax_t)number);
    else
        printf("\"%s\":null,", name);
}

/* All texts are names of the program's or the configuration's, which need no escapes. */
static void print_classified(const struct classified *c)
{
    const struct verdict *v = &c->verdict;
    if (!c->is_reply) {
        puts("{\"stage\":\"\",\"isp\":\"\",\"code\":null,\"status\":\"\",\"class\":\"\",\"kind\":\"\",\"scope\":\"\","
             "\"action\":\"none\",\"retry_after\":null,\"rule\":\"\",\"suppress\":false,\"event\":\"\"}");
        return;
    }
    printf("{\"stage\":\"%s\",\"isp\":\"%s\",", stage_name(c->stage), c->isp);
    print_number("code", c->wording.code);
    printf("\"status\":\"%s\",\"class\":\"%s\",\"kind\":\"%s\",\"scope\":\"%s\",\"action\":\"%s\",", c->wording.status,
           bounce_class_name(v->bounce.class_), bounce_kind_name(v->bounce.kind), rule_scope_name(v->scope),
           rule_action_name(v->action));
    print_number("retry_after", (uint64_t)(c->named / NSEC_PER_S));
    printf("\"rule\":\"%s\",\"suppress\":%s,\"event\":\"" SLICE_FORMAT "\"}\n", v->bounce.rule,
           v->suppress ? "true" : "false", SLICE_ARGS(event_type_name(v->type)));
}

/* ---- all lines ---- */

/* The configuration's name for the hosts that it knows, which its rules go by. */
struct hosts {
    const struct config *config;
    struct isp_table table;
    struct isp_suffix *rows;
    uint32_t *slots;
};

static bool hosts_open(struct hosts *hosts, const struct config *config)
{
    uint32_t count = 0;
    for (unsigned i = 0; config && i < config->isp_count; i++)
        count += config->isps[i].mx_count;
    hosts->config = config;
    hosts->rows = calloc(count + 1, sizeof *hosts->rows);
    hosts->slots = calloc(isp_slots(count), sizeof *hosts->slots);
    if (!hosts->rows || !hosts->slots)
        return false;
    uint32_t n = 0;
    for (unsigned i = 0; config && i < config->isp_count; i++)
        for (unsigned j = 0; j < config->isps[i].mx_count; j++)
            hosts->rows[n++] = (struct isp_suffix){slice_of(config->isps[i].mx[j]), i};
    return isp_table_init(&hosts->table, hosts->rows, count, hosts->slots) < 0;
}

static void hosts_close(struct hosts *hosts)
{
    free(hosts->rows);
    free(hosts->slots);
}

static bool read_all(const struct rule_reader *reader, const struct hosts *hosts, struct slice isp)
{
    char *bytes = NULL;
    size_t cap = 0;
    ssize_t n;
    uint64_t number = 0;
    bool good = true;
    struct classified classified;
    while ((n = getline(&bytes, &cap, stdin)) >= 0) {
        struct line line = read_line(slice_trim((struct slice){bytes, (size_t)n}), isp);
        number++;
        if (bytes[0] == '\t' && n > 1) /* an empty stage is no blank */
            line = read_line((struct slice){bytes, (size_t)n}, isp);
        uint32_t known = line.question.isp.n ? ISP_NONE : isp_of_host(&hosts->table, line.question.mx);
        if (known != ISP_NONE)
            line.question.isp = slice_of(hosts->config->isps[known].name);
        if (line.stage_unknown) {
            cli_error(
                "line %ju: what stands before the first tab is no stage; there are greeting, ehlo, starttls, auth, "
                "mail, rcpt, data and body",
                (uintmax_t)number);
            good = false;
        }
        classify_reply(reader, &line.question, &classified);
        print_classified(&classified);
    }
    if (ferror(stdin)) {
        cli_error("standard input cannot be read");
        good = false;
    }
    free(bytes);
    return good;
}

static bool is_isp(const struct rules *rules, const char *name)
{
    for (unsigned i = 0; i < rules->configured_count; i++)
        if (strcmp(rules->configured[i].name, name) == 0)
            return true;
    for (unsigned i = 0; i < rules->shipped_count; i++)
        if (strcmp(rules->shipped[i].name, name) == 0)
            return true;
    return false;
}

static int run(const struct config *config, const struct rules *rules, const char *isp)
{
    struct rule_reader reader;
    struct hosts hosts = {0};
    int code = CLI_FAILED;
    if (isp && !is_isp(rules, isp)) {
        cli_error("there is no isp \"%s\", neither in the configuration nor among those that ship", isp);
        return CLI_FAILED;
    }
    if (!rules_reader_open(&reader, rules)) {
        cli_error("no memory");
        return CLI_FAILED;
    }
    if (!hosts_open(&hosts, config))
        cli_error("no memory");
    else if (read_all(&reader, &hosts, slice_of(isp ? isp : "")))
        code = CLI_OK;
    hosts_close(&hosts);
    rules_reader_close(&reader);
    return code;
}

int cli_classify(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {
        CLI_CONFIG_OPTION, CLI_HELP_OPTION, {"isp", required_argument, NULL, 'i'}, {NULL, 0, NULL, 0}};
    const char *isp = NULL;
    char error[2048];
    while (cli_option(cli, argc, argv, "c:h", options, print_help) > 0)
        isp = optarg; /* --isp is its only one */
    if (cli->code != CLI_GO_ON)
        return cli->code;
    if (optind != argc)
        return cli_usage("classify", "it reads standard input and nothing else");
    if (!cli_config_file(cli)) {
        struct rules *rules = rules_shipped(error, sizeof error);
        int code = rules ? run(NULL, rules, isp) : CLI_FAILED;
        if (!rules)
            cli_error("%s", error);
        rules_free(rules);
        return code;
    }
    struct config *config = cli_config(cli);
    int code = CLI_FAILED;
    if (config && rules_load(config, error, sizeof error))
        code = run(config, config->rules, isp);
    else if (config)
        cli_error("%s", error);
    config_free(config);
    return code;
}
