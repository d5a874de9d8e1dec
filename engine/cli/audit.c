/* sluice audit: replays the events of campaigns and says whether any lane ever went faster than it may. */
#include "proto/policy/audit.h"

#include "cli/ask.h"
#include "cli/audit_warm.h"
#include "cli/counts.h"
#include "cli/runs.h"
#include "cli/text.h"
#include "control/config_table.h"
#include "proto/number.h"
#include "proto/policy/throttle.h"

#include <getopt.h>
#include <search.h>
#include <stdlib.h>

enum { BATCH = 1000, PPM_MAX = 100000 };

static void print_help(void)
{
    puts(
        "usage: sluice audit CAMPAIGN... | --all [--rate RATE [--burst N]] [--clock PPM] [--json]\n\n"
        "Replays the events of these campaigns together and holds the starts of each lane (a source towards an ISP)\n"
        "against its limit, in every interval [a, b]:  starts <= burst + (b - a) * rate.  Shows the worst interval "
        "and\n"
        "how much of the rate was used while recipients waited (gaps of over a minute count as nobody waiting). Lanes\n"
        "are shared by campaigns: give all that were sent at the same time. Of sources that are warmed up, it also\n"
        "holds the starts of each day against the cap that Redis recorded of it.\n\n"
        "  --all         all campaigns whose events still exist\n"
        "  --rate RATE   this limit for every lane, such as 500/min, instead of the configuration's\n"
        "  --burst N     starts at one instant that go with --rate; else 1\n"
        "  --clock PPM   how far the wall clock may have been off while it was put right, in parts per million; else "
        "0\n"
        "  --json        one JSON object\n\n"
        "What it cannot see: starts without an event (a message that a lost session had not begun to carry is started\n"
        "again), and those of recipients in doubt, which are counted. Exit code: 1 if a limit or a cap was exceeded.");
}

struct lane {
    char *name; /* "source ISP", which has no spaces before its ISP */
    const char *isp;
    size_t index;
    uint64_t rate;
    nsec per;
    unsigned burst;
    bool known; /* the source stands in the configuration */
    struct audit audit;
    struct audit_counter *counters[AUDIT_WARM_PARTS]; /* that its starts count for, where it is warmed up */
};

struct review {
    struct ask *ask;
    const struct config *config;
    struct runs runs;
    struct audit_warm warm;
    void *tree; /* of lanes, by name */
    struct lane **lanes;
    size_t lane_count, lane_cap;
    uint64_t rate; /* 0: the configuration's */
    nsec per;
    unsigned burst, ppm;
    uint64_t events, starts, unknown; /* unknown: in doubt, so that nobody recorded when they started */
    bool as_json;
};

/* ---- lanes ---- */

static int by_name(const void *a, const void *b)
{
    const struct lane *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static void limit_of(struct review *review, struct lane *lane, struct slice source)
{
    const struct config_limits *limits = config_limits_for(review->config, slice_of(lane->isp));
    for (unsigned i = 0; i < review->config->source_count; i++)
        if (slice_equal(slice_of(review->config->sources[i].name), source)) {
            limits = config_lane_limits(review->config, i, slice_of(lane->isp));
            audit_warm_of(&review->warm, i, slice_of(lane->isp), lane->counters);
            lane->known = true;
        }
    lane->rate = review->rate ? review->rate : limits->rate;
    lane->per = review->rate ? review->per : limits->rate_per;
    lane->burst = review->rate ? review->burst : limits->burst;
    nsec interval = lane->rate ? throttle_interval(lane->rate, lane->per) : 0;
    audit_begin(&lane->audit, interval, lane->burst, NSEC_PER_US, review->ppm);
}

static struct lane *lane_make(struct review *review, const char *name, struct slice source)
{
    struct lane *lane = calloc(1, sizeof *lane);
    if (review->lane_count == review->lane_cap) {
        review->lane_cap = review->lane_cap ? 2 * review->lane_cap : 64;
        review->lanes = realloc(review->lanes, review->lane_cap * sizeof *review->lanes);
    }
    sluice_assert(lane && review->lanes);
    lane->name = strdup(name);
    sluice_assert(lane->name);
    lane->isp = lane->name + source.n + 1;
    lane->index = review->lane_count;
    limit_of(review, lane, source);
    review->lanes[review->lane_count++] = lane;
    return lane;
}

static struct lane *lane_of(struct review *review, struct slice source, struct slice isp)
{
    char name[LIMIT_SOURCE_NAME + LIMIT_ISP_NAME + 16];
    snprintf(name, sizeof name, "%.*s %.*s", (int)(source.n < LIMIT_SOURCE_NAME ? source.n : LIMIT_SOURCE_NAME),
             source.p, (int)(isp.n < LIMIT_ISP_NAME ? isp.n : LIMIT_ISP_NAME), isp.p);
    source.n = source.n < LIMIT_SOURCE_NAME ? source.n : LIMIT_SOURCE_NAME;
    struct lane key = {.name = name}, **found = tfind(&key, &review->tree, by_name);
    if (found)
        return *found;
    struct lane *lane = lane_make(review, name, source);
    sluice_assert(tsearch(lane, &review->tree, by_name));
    return lane;
}

static void review_free(struct review *review)
{
    for (size_t i = 0; i < review->lane_count; i++) {
        tdelete(review->lanes[i], &review->tree, by_name);
        free(review->lanes[i]->name);
        free(review->lanes[i]);
    }
    free(review->lanes);
    runs_close(&review->runs);
    audit_warm_close(&review->warm);
}

/* ---- reading ---- */

static bool take(struct review *review, const struct slice *fields, unsigned count)
{
    struct slice started = slice_field(fields, count, SLICE("started")),
                 source = slice_field(fields, count, SLICE("source")), isp = slice_field(fields, count, SLICE("isp"));
    uint64_t at_us;
    review->events++;
    if (!number_parse(started, INT64_MAX / 1000, &at_us) || !at_us || !source.n) {
        review->unknown += slice_equal(slice_field(fields, count, SLICE("type")), SLICE("in_doubt"));
        return true;
    }
    review->starts++;
    if (runs_add(&review->runs, (int64_t)at_us * 1000, lane_of(review, source, isp)->index))
        return true;
    cli_error("the starts do not fit on the disk; TMPDIR names the directory");
    return false;
}

/* The flat answer of store_events: id, number of fields, field, value, ... */
static bool take_batch(struct review *review, const struct ask_answer *batch, char after[64])
{
    unsigned at = 0;
    while (at + 2 <= batch->item_count) {
        uint64_t pairs;
        if (!number_parse(batch->items[at + 1], (batch->item_count - at - 2) / 2, &pairs))
            return false;
        slice_copy(after, 64, batch->items[at]);
        at += 2;
        if (!take(review, &batch->items[at], (unsigned)(2 * pairs)))
            return false;
        at += (unsigned)(2 * pairs);
    }
    return at == batch->item_count;
}

static bool read_campaign(struct review *review, const char *id)
{
    struct counts counts = {0};
    if (!counts_look(review->ask, slice_of(id), &counts))
        return false;
    bool exists = counts.view.exists || counts.view.events;
    counts_free(&counts);
    if (!exists) {
        cli_error("there is no campaign %s", id);
        return false;
    }
    char after[64] = "0";
    for (;;) {
        struct ask_answer batch = {0};
        store_events(review->ask->store, ask_request(&batch), slice_of(id), slice_of(after), BATCH, 0);
        bool read = ask_wait(review->ask, &batch), more = batch.number > 0;
        if (read && more && !take_batch(review, &batch, after)) {
            cli_error("the stream of campaign %s holds what is no event", id);
            read = false;
        }
        ask_free(&batch);
        if (!read || !more)
            return read;
    }
}

static bool read_all(struct review *review)
{
    struct ask_answer ids = {0};
    store_all_campaigns(review->ask->store, ask_request(&ids));
    bool read = ask_wait(review->ask, &ids);
    for (unsigned i = 0; read && i < ids.item_count; i++)
        read = read_campaign(review, ids.items[i].p);
    ask_free(&ids);
    return read;
}

static bool replay(struct review *review)
{
    struct runs_item item;
    bool sorted = runs_sort(&review->runs);
    while (sorted && runs_next(&review->runs, &item)) {
        struct lane *lane = review->lanes[item.of];
        audit_start(&lane->audit, item.at);
        audit_warm_start(&review->warm, lane->counters, item.at);
    }
    if (!sorted || review->runs.failed)
        cli_error("the starts do not fit on the disk; TMPDIR names the directory");
    return sorted && !review->runs.failed;
}

/* ---- what came of it ---- */

static int in_turn(const void *a, const void *b)
{
    const struct lane *const *x = a, *const *y = b;
    bool first = audit_exceeded(&(*x)->audit), second = audit_exceeded(&(*y)->audit);
    return first != second ? (first ? -1 : 1) : strcmp((*x)->name, (*y)->name);
}

static void worst_text(const struct audit *audit, char *text, size_t cap)
{
    const struct audit_window *w = &audit->worst;
    char when[32];
    text_time(w->from / NSEC_PER_MS, when, sizeof when);
    nsec length_us = (w->to - w->from) / NSEC_PER_US;
    snprintf(text, cap, "%s.%06jd, %jd.%06jd s: %ju of %ju", when, (intmax_t)(w->from / NSEC_PER_US % 1000000),
             (intmax_t)(length_us / 1000000), (intmax_t)(length_us % 1000000), (uintmax_t)w->starts,
             (uintmax_t)w->allowed);
}

static void print_lane(struct text_table *table, const struct lane *lane)
{
    const struct audit *audit = &lane->audit;
    char limit[64] = "none", worst[128] = "-", reached[32] = "-", verdict[96] = "no limit", isp[LIMIT_ISP_NAME + 1];
    char source[LIMIT_SOURCE_NAME + 1];
    slice_copy(source, sizeof source, (struct slice){lane->name, (size_t)(lane->isp - lane->name - 1)});
    snprintf(isp, sizeof isp, "%s", lane->isp);
    if (audit->interval_ns) {
        char per[32];
        config_duration_text(lane->per, per, sizeof per);
        snprintf(limit, sizeof limit, "%ju per %s, burst %u", (uintmax_t)lane->rate, per, lane->burst);
        worst_text(audit, worst, sizeof worst);
        unsigned permille = audit_reached(audit);
        if (permille)
            snprintf(reached, sizeof reached, "%u.%u %%", permille / 10, permille % 10);
        if (audit_exceeded(audit))
            snprintf(verdict, sizeof verdict, "EXCEEDED: its last start came %jd us too early",
                     (intmax_t)(audit->worst.early / NSEC_PER_US));
        else
            snprintf(verdict, sizeof verdict, "ok%s", lane->known ? "" : " (its source is not in the configuration)");
    }
    TEXT_ROW(table, text_safe(source), text_safe(isp), text_number(audit->starts).text, limit, worst, reached, verdict);
}

static void print_review(const struct review *review, unsigned exceeded)
{
    struct text_table table = {0};
    TEXT_ROW(&table, "SOURCE", "ISP", ">STARTS", "LIMIT", "WORST INTERVAL (FROM, LENGTH: STARTS OF ALLOWED)",
             ">RATE USED", "VERDICT");
    for (size_t i = 0; i < review->lane_count; i++)
        print_lane(&table, review->lanes[i]);
    if (table.rows > 1)
        text_print(&table, stdout);
    text_free(&table);
    printf("%ju events, %ju starts in %zu lanes; %u of these exceeded their limit\n", (uintmax_t)review->events,
           (uintmax_t)review->starts, review->lane_count, exceeded);
    audit_warm_print(&review->warm);
    if (review->unknown)
        printf("%ju recipients in doubt: nobody recorded when their messages started, if they did\n",
               (uintmax_t)review->unknown);
}

static json_t *lane_json(const struct lane *lane)
{
    const struct audit *audit = &lane->audit;
    const struct audit_window *w = &audit->worst;
    json_t *json = json_pack("{s:s#, s:s, s:I, s:b}", "source", lane->name, (int)(lane->isp - lane->name - 1), "isp",
                             lane->isp, "starts", (json_int_t)audit->starts, "exceeded", audit_exceeded(audit));
    if (json && audit->interval_ns)
        json_object_update_new(
            json, json_pack("{s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I}}", "rate", (json_int_t)lane->rate,
                            "rate_per_ms", (json_int_t)(lane->per / NSEC_PER_MS), "burst", (json_int_t)lane->burst,
                            "used_per_mille", (json_int_t)audit_reached(audit), "worst", "from_us",
                            (json_int_t)(w->from / NSEC_PER_US), "to_us", (json_int_t)(w->to / NSEC_PER_US), "starts",
                            (json_int_t)w->starts, "allowed", (json_int_t)w->allowed, "early_us",
                            (json_int_t)(w->early / NSEC_PER_US)));
    return json;
}

static void print_as_json(const struct review *review, unsigned exceeded)
{
    json_t *lanes = json_array();
    for (size_t i = 0; i < review->lane_count; i++)
        json_array_append_new(lanes, lane_json(review->lanes[i]));
    json_t *json = json_pack("{s:I, s:I, s:I, s:I, s:o, s:I, s:o}", "events", (json_int_t)review->events, "starts",
                             (json_int_t)review->starts, "in_doubt", (json_int_t)review->unknown, "exceeded",
                             (json_int_t)exceeded, "lanes", lanes, "days_exceeded", (json_int_t)review->warm.exceeded,
                             "days", audit_warm_json(&review->warm));
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
}

static int judge(struct review *review)
{
    unsigned exceeded = 0;
    if (!replay(review) || !audit_warm_judge(&review->warm))
        return CLI_FAILED;
    if (review->lane_count)
        qsort(review->lanes, review->lane_count, sizeof *review->lanes, in_turn);
    for (size_t i = 0; i < review->lane_count; i++)
        exceeded += audit_exceeded(&review->lanes[i]->audit);
    if (review->as_json)
        print_as_json(review, exceeded);
    else
        print_review(review, exceeded);
    return exceeded || review->warm.exceeded ? CLI_FAILED : CLI_OK;
}

/* ---- the command ---- */

static int act(struct cli *cli, struct review *review, int count, char **ids)
{
    struct ask ask;
    int code = CLI_FAILED;
    for (int i = 0; i < count; i++)
        if (!counts_id_fits(ids[i]))
            return CLI_USAGE;
    struct config *config = cli_config(cli);
    if (config && ask_open(&ask, config)) {
        review->ask = &ask;
        review->config = config;
        audit_warm_open(&review->warm, &ask);
        bool read = runs_open(&review->runs);
        if (read && !count)
            read = read_all(review);
        for (int i = 0; read && i < count; i++)
            read = read_campaign(review, ids[i]);
        if (read)
            code = judge(review);
        review_free(review);
        ask_close(&ask);
    }
    config_free(config);
    return code;
}

static bool read_count(const char *text, unsigned most, unsigned *to)
{
    uint64_t n;
    bool fits = number_parse(slice_of(text), most, &n);
    if (fits)
        *to = (unsigned)n;
    return fits;
}

int cli_audit(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {CLI_CONFIG_OPTION,
                                            CLI_HELP_OPTION,
                                            {"all", no_argument, NULL, 'a'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"burst", required_argument, NULL, 'b'},
                                            {"clock", required_argument, NULL, 'C'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    struct review review = {.burst = 1};
    int64_t rate = 0;
    bool all = false, burst = false;
    int option;
    while ((option = cli_option(cli, argc, argv, "c:h", options, print_help)) > 0) {
        switch (option) {
        case 'a':
            all = true;
            break;
        case 'r':
            if (!config_read_rate(optarg, &rate, &review.per) || rate < 1)
                return cli_usage("audit", "--rate \"%s\": must be a number per time, such as 500/min or 10/s", optarg);
            review.rate = (uint64_t)rate;
            break;
        case 'b':
            burst = true;
            if (!read_count(optarg, 1000000, &review.burst) || !review.burst)
                return cli_usage("audit", "--burst \"%s\": must be a whole number from 1 to 1000000", optarg);
            break;
        case 'C':
            if (!read_count(optarg, PPM_MAX, &review.ppm))
                return cli_usage("audit", "--clock \"%s\": must be a whole number from 0 to %d", optarg, PPM_MAX);
            break;
        case 'j':
            review.as_json = true;
            break;
        }
    }
    if (cli->code != CLI_GO_ON)
        return cli->code;
    if (burst && !review.rate)
        return cli_usage("audit", "--burst goes with --rate");
    if (all != (optind == argc))
        return cli_usage("audit", all ? "--all and a campaign do not go together" : "a campaign is needed, or --all");
    return act(cli, &review, argc - optind, argv + optind);
}
