/* sluice suppress: the list of those whom nobody should send to, by hand. */
#include "store/suppress.h"
#include "cli/counts.h"
#include "cli/listing.h"
#include "cli/text.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <time.h>

enum action { ACTION_BROKEN = 0, ACTION_ADD, ACTION_REMOVE, ACTION_CHECK, ACTION_IMPORT, ACTION_EXPORT };

struct order {
    enum action action;
    const char *from, *reason; /* NULL: not given */
    bool lines, as_json;
    char **addresses;
    int count;
};

static void print_help(void)
{
    puts(
        "usage: sluice suppress add|remove|check ADDRESS... [--from FILE] [--reason WORD] [--json]\n"
        "       sluice suppress import FILE [--reason WORD] [--json]\n"
        "       sluice suppress export [--json]\n\n"
        "The suppression list: addresses that no campaign is sent to. The engine adds to it whom a server refuses for\n"
        "good, as the configuration says (suppression, suppress CLASS). What is added here holds for every message "
        "that\n"
        "starts more than a minute later, and for every recipient that is pushed from now on.\n\n"
        "  add            puts addresses on the list; what stands there of them is replaced\n"
        "  remove         takes them off, and forgets refusals that counted against them\n"
        "  check          says for each whether it is on the list, why and since when\n"
        "  import FILE    as add --from FILE; - is standard input\n"
        "  export         writes the whole list to standard output, which import reads again\n\n"
        "  --from FILE    addresses of a file: CSV whose first line names columns, JSON lines, or with --lines an\n"
        "                 address a line. \"to\" (or \"email\") is the address; \"reason\", \"campaign\", \"seq\" and "
        "\"when\"\n"
        "                 (milliseconds since 1970) may be there, other columns are passed over\n"
        "  --lines        the file is no CSV: an address a line\n"
        "  --reason WORD  the reason of addresses that come without one; \"by-hand\" unless it is given\n"
        "  --json         JSON: a summary, or a line for each address\n\n"
        "Exit codes: 0 done (check: all were looked up and at least one is on the list), 1 not, or not all of it,\n"
        "2 not understood.");
}

/* ---- what is shown ---- */

/* As JSON, of which the caller owns what is given. */
static json_t *entry_json(const char *key, struct slice value)
{
    struct suppress_entry entry;
    suppress_read(value, &entry);
    json_t *json = json_object();
    json_object_set_new(json, "to", json_string(key));
    json_t *reason = json_stringn(entry.reason.p, entry.reason.n);
    json_object_set_new(json, "reason", reason ? reason : json_string("listed")); /* no UTF-8 */
    if (entry.campaign.n)
        json_object_set_new(json, "campaign", json_stringn(entry.campaign.p, entry.campaign.n));
    if (entry.has_seq)
        json_object_set_new(json, "seq", json_integer((json_int_t)entry.seq));
    if (entry.when_ms)
        json_object_set_new(json, "when", json_integer(entry.when_ms));
    return json;
}

static void print_json(json_t *json)
{
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(json);
}

/* A field of CSV (RFC 4180 §2), in quotes where it needs them. */
static void print_field(struct slice text, char end)
{
    bool quotes = false;
    for (size_t i = 0; i < text.n; i++)
        quotes = quotes || memchr(",\"\r\n", text.p[i], 4);
    if (quotes)
        putchar('"');
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '"')
            putchar('"');
        putchar(text.p[i]);
    }
    if (quotes)
        putchar('"');
    putchar(end);
}

static void print_csv(const char *key, struct slice value)
{
    struct suppress_entry entry;
    suppress_read(value, &entry);
    print_field(slice_of(key), ',');
    print_field(entry.reason, ',');
    print_field(entry.campaign, ',');
    if (entry.has_seq)
        printf("%llu", (unsigned long long)entry.seq);
    putchar(',');
    if (entry.when_ms)
        printf("%lld", (long long)entry.when_ms);
    putchar('\n');
}

static void print_checked(const struct listing_entry *entry, bool as_json)
{
    struct suppress_entry found;
    char key[sizeof entry->key], value[sizeof entry->value], when[32];
    if (as_json) {
        json_t *json = entry->listed ? entry_json(entry->key, slice_of(entry->value)) : json_object();
        json_object_set_new(json, "to", json_string(entry->key));
        json_object_set_new(json, "suppressed", json_boolean(entry->listed));
        print_json(json);
        return;
    }
    memcpy(key, entry->key, sizeof key);
    memcpy(value, entry->value, sizeof value);
    if (!entry->listed) {
        printf("%s: not suppressed\n", text_safe(key));
        return;
    }
    suppress_read(slice_of(text_safe(value)), &found);
    text_time(found.when_ms, when, sizeof when);
    printf("%s: suppressed, " SLICE_FORMAT, text_safe(key), SLICE_ARGS(found.reason));
    if (found.when_ms)
        printf(", since %s", when);
    if (found.campaign.n)
        printf(", campaign " SLICE_FORMAT, SLICE_ARGS(found.campaign));
    if (found.has_seq)
        printf(", recipient %llu", (unsigned long long)found.seq);
    putchar('\n');
}

static bool look_and_print(struct listing *listing)
{
    bool good = listing_look(listing);
    for (unsigned i = 0; good && i < listing->count; i++)
        print_checked(&listing->entries[i], listing->as_json);
    return good;
}

/* ---- the whole list ---- */

/* False: Redis is away. */
static bool export_bucket(struct ask *ask, uint8_t bucket, bool as_json)
{
    struct ask_answer answer = {0};
    char cursor[32] = "0";
    bool good;
    do {
        store_suppressed_scan(ask->store, ask_request(&answer), bucket, slice_of(cursor));
        good = ask_wait(ask, &answer) && answer.item_count > 0;
        for (unsigned i = 1; good && i + 1 < answer.item_count; i += 2)
            if (as_json)
                print_json(entry_json(answer.items[i].p, answer.items[i + 1]));
            else
                print_csv(answer.items[i].p, answer.items[i + 1]);
        if (good)
            slice_copy(cursor, sizeof cursor, answer.items[0]);
    } while (good && strcmp(cursor, "0") != 0 && !ferror(stdout));
    if (!ask->gave_up)
        ask_free(&answer);
    return good;
}

static int export_all(struct ask *ask, bool as_json)
{
    if (!as_json)
        puts("to,reason,campaign,seq,when");
    for (unsigned bucket = 0; bucket < SUPPRESS_BUCKETS && !ferror(stdout); bucket++)
        if (!export_bucket(ask, (uint8_t)bucket, as_json))
            return CLI_FAILED;
    return CLI_OK;
}

/* ---- all others ---- */

static void print_summary(const struct listing *listing, const struct order *order)
{
    unsigned long long addresses = listing->addresses, changed = listing->changed, left_out = listing->left_out;
    bool removes = order->action == ACTION_REMOVE;
    if (order->as_json)
        print_json(json_pack("{s:I, s:I, s:I}", "addresses", (json_int_t)addresses, removes ? "removed" : "new",
                             (json_int_t)changed, "left_out", (json_int_t)left_out));
    else if (removes)
        printf("%llu addresses, %llu of them were on the list\n", addresses, changed);
    else
        printf("%llu addresses, %llu of them new\n", addresses, changed);
}

static int list_all(struct listing *listing, const struct order *order)
{
    int code = CLI_OK;
    for (int i = 0; i < order->count && code == CLI_OK; i++)
        code = listing_add(listing, order->addresses[i]) ? CLI_OK : CLI_FAILED;
    if (code == CLI_OK && order->from)
        code = listing_read(listing, order->from, order->lines);
    if (!listing_end(listing))
        return CLI_FAILED;
    if (order->action != ACTION_CHECK)
        print_summary(listing, order);
    if (listing->left_out)
        cli_error("%llu lines are no addresses and were left out", (unsigned long long)listing->left_out);
    if (order->action == ACTION_CHECK && !listing->changed)
        code = CLI_FAILED;
    return listing->left_out ? CLI_FAILED : code;
}

static int run(struct cli *cli, const struct order *order)
{
    struct ask ask;
    struct timespec now;
    struct listing listing = {.ask = &ask, .as_json = order->as_json};
    int code = CLI_FAILED;
    struct config *config = cli_config(cli);
    clock_gettime(CLOCK_REALTIME, &now);
    listing.now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    listing_reason(listing.reason, order->reason ? order->reason : "by-hand");
    listing.flush = order->action == ACTION_REMOVE  ? listing_remove
                    : order->action == ACTION_CHECK ? look_and_print
                                                    : listing_write;
    listing.entries = calloc(LISTING_BATCH, sizeof *listing.entries);
    if (config && listing.entries && ask_open(&ask, config)) {
        code = order->action == ACTION_EXPORT ? export_all(&ask, order->as_json) : list_all(&listing, order);
        ask_close(&ask);
    }
    free(listing.entries);
    config_free(config);
    return code;
}

/* ---- what is asked for ---- */

static enum action action_of(const char *word)
{
    static const char *const words[] = {[ACTION_ADD] = "add",
                                        [ACTION_REMOVE] = "remove",
                                        [ACTION_CHECK] = "check",
                                        [ACTION_IMPORT] = "import",
                                        [ACTION_EXPORT] = "export"};
    for (enum action action = ACTION_ADD; action <= ACTION_EXPORT; action++)
        if (strcmp(word, words[action]) == 0)
            return action;
    return ACTION_BROKEN;
}

/* The words behind the options, put where they belong. CLI_OK, or has said what is wrong. */
static int sort_words(struct order *order, int count, char **words)
{
    order->action = count ? action_of(words[0]) : ACTION_BROKEN;
    if (order->action == ACTION_BROKEN)
        return cli_usage("suppress", "it is add, remove, check, import or export that is needed first");
    order->addresses = words + 1;
    order->count = count - 1;
    if (order->action == ACTION_IMPORT) {
        if (order->count != 1 || order->from)
            return cli_usage("suppress", "import needs one file; - is standard input");
        order->from = order->addresses[0];
        order->count = 0;
    }
    if (order->action == ACTION_EXPORT && (order->count || order->from || order->lines))
        return cli_usage("suppress", "export takes no addresses: it writes the whole list");
    if (order->action != ACTION_EXPORT && !order->count && !order->from)
        return cli_usage("suppress", "which addresses? They are named, or --from FILE");
    if (order->reason && order->action != ACTION_ADD && order->action != ACTION_IMPORT)
        return cli_usage("suppress", "--reason goes with add and import");
    if (order->reason && !suppress_is_reason(slice_of(order->reason)))
        return cli_usage("suppress", "a reason is 1 to %d letters, digits and . _ : -", SUPPRESS_REASON);
    if (order->lines && !order->from)
        return cli_usage("suppress", "--lines goes with --from FILE");
    return CLI_OK;
}

int cli_suppress(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {CLI_CONFIG_OPTION,
                                            CLI_HELP_OPTION,
                                            {"from", required_argument, NULL, 'f'},
                                            {"lines", no_argument, NULL, 'l'},
                                            {"reason", required_argument, NULL, 'r'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    struct order order = {.from = NULL};
    int option;
    while ((option = cli_option(cli, argc, argv, "c:h", options, print_help)) > 0) {
        switch (option) {
        case 'f':
            order.from = optarg;
            break;
        case 'l':
            order.lines = true;
            break;
        case 'r':
            order.reason = optarg;
            break;
        case 'j':
            order.as_json = true;
            break;
        }
    }
    if (cli->code != CLI_GO_ON)
        return cli->code;
    int code = sort_words(&order, argc - optind, argv + optind);
    return code == CLI_OK ? run(cli, &order) : code;
}
