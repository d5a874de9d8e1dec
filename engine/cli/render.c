/* sluice render: what a recipient will get, before anybody gets it. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/file.h"
#include "cli/letter.h"

#include "proto/json.h"
#include "proto/message/template.h"
#include "proto/number.h"

#include <getopt.h>
#include <stdlib.h>

static void print_help(void)
{
    puts("usage: sluice render CAMPAIGN [--seq N | --data JSON]\n"
         "       sluice render --template FILE [--data JSON] [--as html|text|url] [--strict]\n\n"
         "Writes to standard output what a recipient of a campaign in Redis gets, whole, as it goes over the wire and\n"
         "signed if the configuration has a key for it; or a Mustache template with data. Nothing is sent.\n\n"
         "  --seq N          the recipient's place in the campaign's list, from 0; else 0\n"
         "  --data JSON      the merge fields: JSON, or the path of a file that holds it; - is standard input.\n"
         "                   For a campaign, an entry as it would be pushed: an object with \"to\"\n"
         "  --template FILE  a template alone, instead of a campaign; - is standard input\n"
         "  --as WHAT        how variables are escaped in a template: html (the default), text (not at all), or url\n"
         "  --strict         a field that is missing is an error");
}

struct render {
    const char *campaign, *template, *data;
    uint64_t seq;
    bool seq_given, strict;
    enum template_escape escape;
};

/* ---- a template alone ---- */

static void print_text(struct template_sink *sink, uint32_t node, struct slice text)
{
    (void)sink;
    (void)node;
    fwrite(text.p, 1, text.n, stdout);
}

static void print_value(struct template_sink *sink, struct slice value)
{
    (void)sink;
    fwrite(value.p, 1, value.n, stdout);
}

static int say(const char *what, const struct template_error *error)
{
    cli_error("%s: %s%s" SLICE_FORMAT "%s, at byte %zu", what, error->reason, error->name.n ? " \"" : "",
              SLICE_ARGS(error->name), error->name.n ? "\"" : "", error->position);
    return CLI_FAILED;
}

static int print_template(const struct render *render, struct slice source, const struct json *json)
{
    struct template template;
    struct template_error error;
    struct template_sink sink = {print_text, print_value};
    if (!template_compile(source, NULL, 0, &template, &error))
        return say("the template", &error);
    struct template_node *nodes = calloc(template.count + 1, sizeof *nodes);
    sluice_assert(nodes && template_compile(source, nodes, template.count, &template, &error));
    bool rendered = template_render(&template, json, render->escape, render->strict, &sink, &error);
    free(nodes);
    return rendered ? CLI_OK : say("the template", &error);
}

/* JSON itself, or the name of a file that holds it. */
static int read_data(const char *data, struct file *file, struct slice *text)
{
    *text = slice_of(data);
    while (text->n && strchr(" \t\r\n", text->p[0]))
        text->p++, text->n--;
    char first = text->n ? text->p[0] : 0;
    bool is_json = first && (strchr("{[\"", first) || (first >= '0' && first <= '9') || strcmp(data, "null") == 0 ||
                             strcmp(data, "true") == 0 || strcmp(data, "false") == 0 || (first == '-' && text->n > 1));
    if (is_json)
        return CLI_OK;
    int code = file_read(data, file);
    *text = file->bytes;
    return code;
}

static int render_template(const struct render *render)
{
    struct file template = {0}, data = {0};
    struct slice text;
    struct json json;
    struct json_error error;
    struct json_token *tokens = NULL;
    int code = file_read(render->template, &template);
    if (code == CLI_OK)
        code = read_data(render->data ? render->data : "{}", &data, &text);
    if (code == CLI_OK) {
        uint32_t cap = (uint32_t)JSON_TOKENS_MAX(text.n);
        tokens = calloc(cap, sizeof *tokens);
        sluice_assert(tokens);
        if (json_scan(text, tokens, cap, &json, &error)) {
            code = print_template(render, template.bytes, &json);
        } else {
            cli_error("the data: %s, at byte %zu", error.reason, error.position);
            code = CLI_FAILED;
        }
    }
    free(tokens);
    file_free(&template);
    file_free(&data);
    return code;
}

/* ---- a recipient of a campaign ---- */

static int render_campaign(struct cli *cli, const struct render *render)
{
    struct file file = {0};
    struct slice entry = {NULL, 0};
    int code = render->data ? read_data(render->data, &file, &entry) : CLI_OK;
    if (code == CLI_OK)
        code = letter_print(cli, render->campaign, render->seq, entry);
    file_free(&file);
    return code;
}

/* ---- the command ---- */

static int take_number(const char *text, uint64_t *number)
{
    if (!number_parse(slice_of(text), UINT64_MAX, number))
        return cli_usage("render", "--seq takes a whole number, from 0");
    return CLI_OK;
}

static int take_escape(const char *word, enum template_escape *escape)
{
    static const struct {
        const char *word;
        enum template_escape escape;
    } words[] = {{"html", ESCAPE_HTML}, {"text", ESCAPE_NONE}, {"url", ESCAPE_URL}};
    for (size_t i = 0; i < countof(words); i++)
        if (strcmp(word, words[i].word) == 0) {
            *escape = words[i].escape;
            return CLI_OK;
        }
    return cli_usage("render", "--as takes html, text or url");
}

static int check_options(const struct render *render)
{
    if (!render->campaign == !render->template)
        return cli_usage("render", "a campaign's id is needed, or --template, and not both");
    if (render->template && render->seq_given)
        return cli_usage("render", "--seq goes with a campaign");
    if (render->campaign && (render->strict || render->escape != ESCAPE_HTML))
        return cli_usage("render", "--as and --strict go with --template; a campaign says them itself");
    if (render->data && render->seq_given)
        return cli_usage("render", "--seq names a recipient in Redis and --data is one: which of them is it?");
    if (render->template && render->data && strcmp(render->template, "-") == 0 && strcmp(render->data, "-") == 0)
        return cli_usage("render", "standard input can be the template or the data, not both");
    return CLI_OK;
}

int cli_render(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {CLI_CONFIG_OPTION,
                                            CLI_HELP_OPTION,
                                            {"template", required_argument, NULL, 't'},
                                            {"data", required_argument, NULL, 'd'},
                                            {"seq", required_argument, NULL, 's'},
                                            {"as", required_argument, NULL, 'a'},
                                            {"strict", no_argument, NULL, 'S'},
                                            {NULL, 0, NULL, 0}};
    struct render render = {.escape = ESCAPE_HTML};
    int option, code = CLI_OK;
    while (code == CLI_OK && (option = cli_option(cli, argc, argv, "c:h", options, print_help)) > 0) {
        switch (option) {
        case 't':
            render.template = optarg;
            break;
        case 'd':
            render.data = optarg;
            break;
        case 's':
            render.seq_given = true;
            code = take_number(optarg, &render.seq);
            break;
        case 'a':
            code = take_escape(optarg, &render.escape);
            break;
        case 'S':
            render.strict = true;
            break;
        }
    }
    if (cli->code != CLI_GO_ON)
        return cli->code;
    if (code != CLI_OK)
        return code;
    if (argc - optind > 1)
        return cli_usage("render", "more than one campaign");
    render.campaign = optind < argc ? argv[optind] : NULL;
    code = check_options(&render);
    if (code != CLI_OK)
        return code;
    return render.template ? render_template(&render) : render_campaign(cli, &render);
}
