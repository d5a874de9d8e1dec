/* sluice token: is this bounce about a message of ours, and whose? */
#include "sign/token.h"
#include "cli/ask.h"
#include "cli/counts.h"
#include "cli/text.h"

#include <getopt.h>
#include <jansson.h>

static void print_help(void)
{
    puts("usage: sluice token ADDRESS [--campaign ID] [--json]\n\n"
         "Reads the token of a VERP return path (bounce+TOKEN@domain, or the token alone) and says which campaign and\n"
         "recipient the message was for. A token that was not made with a key of the configuration's token_key is\n"
         "refused, whatever it says.\n\n"
         "  --campaign ID   the campaign that it should be of; else all campaigns that are in Redis are tried\n"
         "  --json          one line of JSON: campaign, seq, and the entry as it was pushed if it is still in the "
         "list\n\n"
         "Exit codes: 0 it is ours, 1 it is not, or Redis is away.");
}

struct verdict {
    char campaign[LIMIT_CAMPAIGN_ID + 1];
    struct token token;
    char *entry; /* what was pushed, in JSON or a bare address; "" when it is not in the list any more */
};

static void print_verdict(const struct verdict *verdict, bool as_json)
{
    if (!as_json) {
        printf("campaign %s, recipient %ju%s%s\n", verdict->campaign, (uintmax_t)verdict->token.seq,
               verdict->entry[0] ? ": " : "", verdict->entry);
        return;
    }
    json_t *json = json_pack("{s:s, s:I}", "campaign", verdict->campaign, "seq", (json_int_t)verdict->token.seq);
    json_t *entry = json_string(verdict->entry);
    if (entry && verdict->entry[0])
        json_object_set(json, "recipient", entry);
    json_decref(entry);
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(json);
}

/* The campaign of that token among those in Redis. */
static bool find_campaign(struct ask *ask, struct verdict *verdict)
{
    struct ask_answer ids = {0};
    bool found = false;
    store_all_campaigns(ask->store, ask_request(&ids));
    if (ask_wait(ask, &ids)) {
        for (unsigned i = 0; i < ids.item_count && !found; i++) {
            found = token_names(&verdict->token, ids.items[i]);
            if (found)
                slice_copy(verdict->campaign, sizeof verdict->campaign, ids.items[i]);
        }
        if (!found)
            cli_error("the token is of no campaign that is in Redis; --campaign ID tries one that is not");
    }
    ask_free(&ids);
    return found;
}

static int judge(const struct config *config, struct ask *ask, struct verdict *verdict, bool as_json)
{
    char error[512];
    struct ask_answer entry = {0};
    struct token_keys *keys = token_keys_load(config->token_key, error, sizeof error);
    int code = CLI_FAILED;
    if (!keys) {
        cli_error("token_key: %s", error);
    } else if (verdict->campaign[0] || find_campaign(ask, verdict)) {
        if (!token_verify(keys, &verdict->token, slice_of(verdict->campaign))) {
            cli_error("the token was not made for campaign %s with a key of %s: it is forged, or damaged",
                      verdict->campaign, config->token_key);
        } else {
            store_entries(ask->store, ask_request(&entry), slice_of(verdict->campaign), verdict->token.seq, 1);
            if (ask_wait(ask, &entry)) {
                char none[] = "";
                verdict->entry = entry.item_count ? text_safe(entry.bytes) : none;
                print_verdict(verdict, as_json);
                code = CLI_OK;
            }
        }
    }
    ask_free(&entry);
    token_keys_free(keys);
    return code;
}

static int run(struct cli *cli, struct verdict *verdict, bool as_json)
{
    struct ask ask;
    int code = CLI_FAILED;
    struct config *config = cli_config(cli);
    if (config && !config->token_key[0])
        cli_error("%s names no token_key, so no token can be verified", config->file);
    else if (config && ask_open(&ask, config)) {
        code = judge(config, &ask, verdict, as_json);
        ask_close(&ask);
    }
    config_free(config);
    return code;
}

int cli_token(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {CLI_CONFIG_OPTION,
                                            CLI_HELP_OPTION,
                                            {"campaign", required_argument, NULL, 'C'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    struct verdict verdict = {.entry = NULL};
    bool as_json = false;
    int option;
    while ((option = cli_option(cli, argc, argv, "c:h", options, print_help)) > 0) {
        switch (option) {
        case 'C':
            if (!counts_id_fits(optarg))
                return CLI_USAGE;
            slice_copy(verdict.campaign, sizeof verdict.campaign, slice_of(optarg));
            break;
        case 'j':
            as_json = true;
            break;
        }
    }
    if (cli->code != CLI_GO_ON)
        return cli->code;
    if (argc - optind != 1)
        return cli_usage("token", "one address or token is needed");
    if (!token_read(slice_of(argv[optind]), &verdict.token)) {
        cli_error("no token stands there; one is %d letters and digits, behind the last + of a return path",
                  TOKEN_TEXT);
        return CLI_FAILED;
    }
    return run(cli, &verdict, as_json);
}
