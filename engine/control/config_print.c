/* Shows a configuration as it is in force, and the manual of all that it may hold; both straight from the table. */
#include "control/config_build.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 512 * 1024 }; /* 1,024 suffixes of 255 bytes fit */

struct printer {
    void (*line)(void *context, const char *text);
    void *context;
    char *text, *value; /* LINE_MAX_BYTES each */
};

static void printf_like(2, 3) say(struct printer *p, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(p->text, LINE_MAX_BYTES, format, arguments);
    va_end(arguments);
    p->line(p->context, p->text);
}

/* ---- the file in force ---- */

/* What is printed goes into tickets and mails. Who reads it as a file again gives the password by the environment. */
static void hide_password(char *value)
{
    static const char instead[] = "${SLUICE_REDIS_PASSWORD:-hidden}";
    char *user = strstr(value, "://"), *at = strrchr(value, '@');
    if (!user || !at || at < user || user[3] == '/')
        return;
    char *password = strchr(user + 3, ':');
    if (!password || password > at)
        return;
    memmove(password + sizeof instead, at, strlen(at) + 1);
    memcpy(password + 1, instead, sizeof instead - 1);
}

static void print_rows(struct printer *p, enum config_scope scope, const void *base, const char *indent)
{
    size_t count;
    const struct config_row *rows = config_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].scope != scope)
            continue;
        config_format(&rows[i], base, p->value, LINE_MAX_BYTES);
        if (rows[i].type == CONFIG_URL)
            hide_password(p->value);
        if (rows[i].offset == offsetof(struct config, redis_access.sentinel_password) && scope == CONFIG_TOP &&
            p->value[0] && strcmp(p->value, "\"\"") != 0)
            snprintf(p->value, LINE_MAX_BYTES, "\"${SLUICE_SENTINEL_PASSWORD:-hidden}\"");
        bool unsaid = strcmp(p->value, "{}") == 0 || (strcmp(p->value, "\"\"") == 0 && rows[i].min > 0);
        if (!p->value[0] || unsaid) /* it was left out: no file can say so in other words */
            continue;
        say(p, "%s%s = %s", indent, rows[i].name, p->value);
    }
}

/* Of a source's limits only what it gives itself. */
static void print_given(struct printer *p, const struct config_limits *limits, const char *indent)
{
    size_t count;
    const struct config_row *rows = config_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (!config_limits_gives(limits, &rows[i]))
            continue;
        config_format(&rows[i], limits, p->value, LINE_MAX_BYTES);
        say(p, "%s%s = %s", indent, rows[i].name, p->value);
    }
}

static void print_source(struct printer *p, const struct config_source *source)
{
    char address[128];
    io_address_text(&source->address, address, sizeof address);
    say(p, "    source \"%s\" {", address);
    print_rows(p, CONFIG_SOURCE, source, "        ");
    print_given(p, &source->limits, "        ");
    for (unsigned i = 0; i < source->isp_count; i++) {
        say(p, "        isp \"%s\" {", source->isps[i].name);
        print_given(p, &source->isps[i].limits, "            ");
        say(p, "        }");
    }
    say(p, "    }");
}

static void print_pool(struct printer *p, const struct config *config, const struct config_pool *pool)
{
    p->line(p->context, "");
    say(p, "pool \"%s\" {", pool->name);
    for (unsigned i = 0; i < pool->source_count; i++) {
        print_source(p, &config->sources[pool->sources[i]]);
    }
    say(p, "}");
}

/* Of a secret its file's name alone is known here. */
static void print_relays(struct printer *p, const struct config *config)
{
    for (unsigned i = 0; i < config->relay_count; i++) {
        p->line(p->context, "");
        say(p, "relay \"%s\" {", config->relays[i].name);
        print_rows(p, CONFIG_RELAY, &config->relays[i], "    ");
        print_rows(p, CONFIG_TOTAL, &config->relays[i].total, "    ");
        print_rows(p, CONFIG_LIMITS, &config->relays[i].limits, "    ");
        say(p, "}");
    }
    for (unsigned i = 0; i < config->route_count; i++) {
        p->line(p->context, "");
        say(p, "route {");
        print_rows(p, CONFIG_ROUTE, &config->routes[i], "    ");
        say(p, "}");
    }
}

static void print_suppresses(struct printer *p, const struct config *config)
{
    for (unsigned i = 0; i < config->suppress_count; i++) {
        p->line(p->context, "");
        say(p, "suppress \"%s\" {", config->suppresses[i].name);
        print_rows(p, CONFIG_SUPPRESS, &config->suppresses[i], "    ");
        say(p, "}");
    }
}

static void print_dkims(struct printer *p, const struct config *config)
{
    for (unsigned i = 0; i < config->dkim_count; i++) {
        p->line(p->context, "");
        say(p, "dkim \"%s\" {", config->dkims[i].name);
        print_rows(p, CONFIG_DKIM, &config->dkims[i], "    ");
        say(p, "}");
    }
}

static void print_rules(struct printer *p, const struct config_rule *rules, unsigned count, const char *indent)
{
    char inner[16];
    snprintf(inner, sizeof inner, "%s    ", indent);
    for (unsigned i = 0; i < count; i++) {
        if (!indent[0])
            p->line(p->context, "");
        say(p, "%srule \"%s\" {", indent, rules[i].name);
        print_rows(p, CONFIG_RULE, &rules[i], inner);
        say(p, "%s}", indent);
    }
}

static void print_warmups(struct printer *p, const struct config *config)
{
    for (unsigned i = 0; i < config->warmup_count; i++) {
        const struct config_warmup *warmup = &config->warmups[i];
        p->line(p->context, "");
        say(p, "warmup \"%s\" {", warmup->name);
        print_rows(p, CONFIG_WARMUP, &warmup->plan, "    ");
        for (unsigned j = 0; j < warmup->part_count; j++) {
            say(p, "    isp \"%s\" {", warmup->parts[j].name);
            print_rows(p, CONFIG_WARMUP, &warmup->parts[j].plan, "        ");
            say(p, "    }");
        }
        if (warmup->all.kind != WARMUP_NONE) {
            say(p, "    all {");
            print_rows(p, CONFIG_WARMUP, &warmup->all, "        ");
            say(p, "    }");
        }
        say(p, "}");
    }
}

static bool printer_open(struct printer *p, void (*line)(void *context, const char *text), void *context)
{
    *p = (struct printer){line, context, malloc(LINE_MAX_BYTES), malloc(LINE_MAX_BYTES)};
    return p->text && p->value;
}

static void printer_close(struct printer *p)
{
    free(p->text);
    free(p->value);
}

void config_print(const struct config *config, void (*line)(void *context, const char *text), void *context)
{
    struct printer p;
    if (printer_open(&p, line, context)) {
        print_rows(&p, CONFIG_TOP, config, "");
        line(context, "");
        say(&p, "defaults {");
        print_rows(&p, CONFIG_LIMITS, &config->defaults, "    ");
        say(&p, "}");
        for (unsigned i = 0; i < config->pool_count; i++)
            print_pool(&p, config, &config->pools[i]);
        for (unsigned i = 0; i < config->isp_count; i++) {
            line(context, "");
            say(&p, "isp \"%s\" {", config->isps[i].name);
            print_rows(&p, CONFIG_ISP, &config->isps[i], "    ");
            print_rows(&p, CONFIG_TOTAL, &config->isps[i].total, "    ");
            print_rows(&p, CONFIG_LIMITS, &config->isps[i].limits, "    ");
            print_rules(&p, config->isps[i].rules, config->isps[i].rule_count, "    ");
            say(&p, "}");
        }
        print_relays(&p, config);
        print_dkims(&p, config);
        print_rules(&p, config->phrases, config->phrase_count, "");
        print_warmups(&p, config);
        print_suppresses(&p, config);
    }
    printer_close(&p);
}

/* ---- sluice.conf(5) ---- */

/* A hyphen in roff is typeset as a dash, and a backslash is a command. */
static void roff(const char *text, char *out, size_t cap)
{
    size_t n = 0;
    for (; *text && n + 3 < cap; text++) {
        if (*text == '-' || *text == '\\')
            out[n++] = '\\';
        out[n++] = *text == '\\' ? 'e' : *text;
    }
    out[n] = 0;
}

static void manual_row(struct printer *p, const struct config_row *row)
{
    char allowed[512], escaped[1024];
    say(p, ".TP");
    say(p, ".B %s", row->name);
    roff(row->doc, escaped, sizeof escaped);
    say(p, "%s", escaped);
    config_row_allowed(row, allowed, sizeof allowed);
    roff(allowed, escaped, sizeof escaped);
    say(p, "It is %s%s.", config_row_is_list(row) ? "a list in braces, each item " : "", escaped);
    roff(row->fallback && (row->fallback[0] || !row->fallback_doc) ? row->fallback : row->fallback_doc, escaped,
         sizeof escaped);
    say(p, "Default: %s%s%s.", escaped, row->fallback && row->fallback[0] && row->fallback_doc ? ", which means " : "",
        row->fallback && row->fallback[0] && row->fallback_doc ? row->fallback_doc : "");
}

static void manual_rows(struct printer *p, enum config_scope scope)
{
    size_t count;
    const struct config_row *rows = config_rows(&count);
    for (size_t i = 0; i < count; i++)
        if (rows[i].scope == scope)
            manual_row(p, &rows[i]);
}

static void manual_rules(struct printer *p)
{
    p->line(p->context, ".SH RULES");
    p->line(p->context, "What a refusal means is written rule NAME { ... }: in an isp block for what that ISP alone "
                        "says, at the top for");
    p->line(p->context, "phrases that many use. A rule fits when all that it names fits: stage, code, status and one "
                        "of its texts. The");
    p->line(p->context, "ISP's own rules are asked first, then the phrases, each in the order of the file, and the "
                        "first that fits decides.");
    p->line(p->context, "Where none does, the enhanced status and then the basic code do. \"sluice classify\" shows "
                        "what becomes of a reply.");
    manual_rows(p, CONFIG_RULE);
}

static void manual_warmups(struct printer *p)
{
    static const char *const lines[] = {
        ".SH WARM\\-UPS",
        "A warm\\-up is written warmup NAME { ... } and says how many messages a source that names it may send to each",
        "ISP on each of its days. ISPs without an isp block of the configuration count together, as other. Within it,",
        "isp NAME { ... } (also isp other) holds for that ISP alone and repeats only what differs, and all { ... } is a",
        "cap over all ISPs together, which needs a curve of its own. A unit of a cap is spent by every message that is",
        "sent as far as MAIL, whatever becomes of it. \"sluice warmup show\" tells where each stands.",
        ".PP",
        "Never more is sent than the cap of a day, whatever is restarted, reloaded or lost. When a curve is edited, the",
        "day of the curve stays, and the new cap holds at once: where more has gone already, nothing more goes today.",
        "The answers of a day after its end count for the next.",
    };
    for (size_t i = 0; i < countof(lines); i++)
        p->line(p->context, lines[i]);
    manual_rows(p, CONFIG_WARMUP);
}

static void manual_blocks(struct printer *p)
{
    p->line(p->context, ".SH POOLS");
    p->line(p->context,
            "A pool is written pool NAME { ... }, and has from 1 to 64 sources, each written source ADDRESS { ... }.");
    p->line(p->context, "The address is one of this machine. A source may be in several pools, with equal settings.");
    manual_rows(p, CONFIG_SOURCE);
    p->line(p->context, ".SH ISPS");
    p->line(p->context,
            "An ISP is written isp NAME { ... }. What it leaves out is as in defaults { ... }, which also holds for");
    p->line(p->context, "ISPs without a block. Limits hold for each source towards this ISP.");
    manual_rows(p, CONFIG_ISP);
    manual_rows(p, CONFIG_TOTAL);
    manual_rows(p, CONFIG_LIMITS);
    p->line(p->context, ".PP");
    p->line(p->context, "A source may give any of these limits too, for its own lanes, and in isp NAME { ... } within it "
                        "for its lane to that ISP");
    p->line(p->context, "or relay. Of two places that give a key the more specific one wins: defaults, isp or relay, "
                        "source, isp within the source.");
    p->line(p->context, "What a relay's tls is says its own block alone.");
    p->line(p->context, ".SH RELAYS");
    p->line(p->context,
            "A relay is written relay NAME { ... }: a smarthost that takes mail for others. It is an ISP of its "
            "name, and has");
    p->line(p->context, "all keys of one but mx; tls is verified unless it says otherwise. The host's own certificate "
                        "counts; DANE and");
    p->line(p->context, "MTA\\-STS of recipients' domains are the relay's business.");
    manual_rows(p, CONFIG_RELAY);
    p->line(p->context, ".SH ROUTES");
    p->line(p->context,
            "A route is written route { ... } and says whose mail goes to a relay. All conditions that it gives "
            "must hold;");
    p->line(p->context,
            "without any it is everybody's. The first one that fits decides, in the order of the file and then "
            "of what it");
    p->line(p->context, "includes; without one, mail goes to the domain's own mail exchangers.");
    manual_rows(p, CONFIG_ROUTE);
    p->line(p->context, ".SH DKIM");
    p->line(p->context, "A key that signs is written dkim NAME { ... } (RFC 6376). Those blocks sign a message that "
                        "have its From domain");
    p->line(
        p->context,
        "or, where there are none, the nearest domain above it that has any, and those that are always; at most four.");
    manual_rows(p, CONFIG_DKIM);
    manual_warmups(p);
    p->line(p->context, ".SH SUPPRESSION");
    p->line(p->context, "What puts an address on the suppression list is written suppress CLASS { ... }: bad\\-mailbox,");
    p->line(p->context, "inactive\\-mailbox, bad\\-domain, quota\\-issues, routing\\-errors or other, as in the events, or "
                        "hard, for hard refusals of");
    p->line(p->context, "classes without a block. Without blocks a hard refusal of the first three does at once, and a full "
                        "mailbox (quota\\-issues)");
    p->line(p->context, "the third time in 14 days; nothing else ever does. No 4yz, no block of the sender or the message and "
                        "no failed authentication");
    p->line(p->context, "counts, whatever is written here.");
    manual_rows(p, CONFIG_SUPPRESS);
    manual_rules(p);
}

void config_manual(void (*line)(void *context, const char *text), void *context)
{
    static const char *const head[] = {
        ".\\\" Made by \"sluice config --manual\" from the table of keys; change that.",
        ".TH SLUICE.CONF 5 \"\" \"sluice " SLUICE_VERSION "\" \"Sluice\"",
        ".SH NAME",
        "sluice.conf \\- configuration of the campaign sending engine",
        ".SH SYNOPSIS",
        ".nf",
        "redis = \"unix:/run/redis/redis.sock\"",
        "include = \"isp/*.conf\"",
        "defaults { connections = 10 }",
        "pool marketing {",
        "    source 203.0.113.10 { ehlo = m1.example.com }",
        "    source 203.0.113.11 { ehlo = m2.example.com }",
        "}",
        "isp gmail { mx = {.google.com, .googlemail.com}  connections = 20  rate = 500/min }",
        ".fi",
        ".SH DESCRIPTION",
        "All commands read the first of these that there is: the file of \\-c, $SLUICE_CONFIG, ./sluice.conf,",
        "/etc/sluice/sluice.conf. Comments begin with # or //, or stand between /* and */. Values with other "
        "characters",
        "than letters, digits and . _ : / \\- stand in quotes. ${NAME} and ${NAME:\\-default} stand for a variable of",
        "the environment. A list stands in braces with commas between; += adds to one.",
        ".PP",
        "An unknown key, a key given twice, or a value out of range is refused with the file, the line and what is",
        "allowed. \"sluice config \\-\\-check\" says whether a file is good, \"sluice config \\-\\-print\" shows all "
        "that is",
        "in force. A change takes effect on SIGHUP, but for keys that take a restart: those are named in the log and stay.",
        ".PP",
        "include names further files in the same syntax, relative to the file that names them; * and ? in their names",
        "stand for several.",
        ".SH KEYS AT THE TOP",
    };
    struct printer p;
    if (printer_open(&p, line, context)) {
        for (size_t i = 0; i < countof(head); i++)
            line(context, head[i]);
        manual_rows(&p, CONFIG_TOP);
        manual_blocks(&p);
        line(context, ".SH SEE ALSO");
        line(context, "sluice(1)");
    }
    printer_close(&p);
}
