/* What became of one recipient, and where it is now: by its events, and else by where Redis has it. */
#include "cli/why.h"

#include "cli/counts.h"
#include "cli/text.h"
#include "proto/number.h"
#include "store/inspect.h"

#include <jansson.h>
#include <stdlib.h>
#include <strings.h>

enum { BATCH = 1000 };

struct search {
    struct ask *ask;
    const char *who;
    char campaign[LIMIT_CAMPAIGN_ID + 1];
    bool by_seq; /* `who` is one, of the campaign that was named */
    uint64_t seq;
    bool found, final; /* `seq` is known; it has its last event */
    uint64_t hits;     /* of all campaigns */
    json_t *events;    /* of this campaign; NULL: for people */
    char place[512];
};

static bool is_who(const struct search *search, struct slice text)
{
    return text.n == strlen(search->who) && strncasecmp(text.p, search->who, text.n) == 0;
}

/* An entry as it was pushed: JSON, or a bare address. */
static bool is_theirs(const struct search *search, struct slice raw)
{
    if (!raw.n || raw.p[0] != '{')
        return is_who(search, raw);
    json_t *json = json_loadb(raw.p, raw.n, 0, NULL);
    const char *to = json_string_value(json_object_get(json, "to")),
               *id = json_string_value(json_object_get(json, "id"));
    bool theirs = (to && is_who(search, slice_of(to))) || (id && is_who(search, slice_of(id)));
    json_decref(json);
    return theirs;
}

/* ---- events ---- */

static void show_event(struct search *search, struct slice stream_id, const struct slice *fields, unsigned count)
{
    static const char *const shown[] = {"type", "code", "status", "class", "source", "isp", "rule", "reply"};
    char when[32], text[600];
    text_time(strtoll(stream_id.p, NULL, 10), when, sizeof when);
    if (search->events) {
        json_t *json = json_object();
        json_object_set_new(json, "stream_id", json_stringn(stream_id.p, stream_id.n));
        for (unsigned i = 0; i + 1 < count; i += 2) {
            slice_copy(text, sizeof text, fields[i + 1]);
            for (char *p = text; *p; p++)
                if ((unsigned char)*p >= 0x80) /* a server's words may be no UTF-8 */
                    *p = '?';
            json_object_set_new(json, fields[i].p, json_string(text));
        }
        json_array_append_new(search->events, json);
        return;
    }
    printf("  %s", when);
    for (size_t i = 0; i < countof(shown); i++) {
        slice_copy(text, sizeof text, slice_field(fields, count, slice_of(shown[i])));
        if (text[0])
            printf(i == 0 ? " %s" : " %s=", i == 0 ? text_safe(text) : shown[i]);
        if (text[0] && i > 0)
            printf(strchr(text, ' ') ? "\"%s\"" : "%s", text_safe(text));
    }
    putchar('\n');
}

static bool take_event(struct search *search, struct slice stream_id, const struct slice *fields, unsigned count)
{
    uint64_t seq;
    if (!number_parse(slice_field(fields, count, SLICE("seq")), UINT64_MAX, &seq))
        return false;
    bool theirs = search->found ? seq == search->seq
                                : is_who(search, slice_field(fields, count, SLICE("to"))) ||
                                      is_who(search, slice_field(fields, count, SLICE("id")));
    if (!theirs)
        return false;
    search->found = true;
    search->seq = seq;
    search->final |= slice_equal(slice_field(fields, count, SLICE("final")), SLICE("1"));
    show_event(search, stream_id, fields, count);
    return true;
}

static bool read_events(struct search *search)
{
    char after[64] = "0";
    for (;;) {
        struct ask_answer batch = {0};
        unsigned at = 0;
        store_events(search->ask->store, ask_request(&batch), slice_of(search->campaign), slice_of(after), BATCH, 0);
        bool read = ask_wait(search->ask, &batch), more = batch.number > 0;
        while (read && at + 2 <= batch.item_count) {
            uint64_t pairs;
            if (!number_parse(batch.items[at + 1], (batch.item_count - at - 2) / 2, &pairs))
                break;
            (void)take_event(search, batch.items[at], &batch.items[at + 2], (unsigned)(2 * pairs));
            slice_copy(after, sizeof after, batch.items[at]);
            at += 2 + (unsigned)(2 * pairs);
        }
        ask_free(&batch);
        if (!read || !more)
            return read;
    }
}

/* ---- places ---- */

static bool is_record(struct search *search, struct slice text, struct store_record *record)
{
    if (!store_record_parse(text, record) ||
        (search->found ? record->seq != search->seq : !is_theirs(search, record->raw)))
        return false;
    search->found = true;
    search->seq = record->seq;
    return true;
}

/* False: not there, or Redis is away. */
static bool look_in(struct search *search, enum inspect_place place, const char *of, const char *says)
{
    unsigned step = place == INSPECT_RETRY ? 2 : 1;
    for (uint64_t first = 0;; first += BATCH) {
        struct ask_answer records = {0};
        bool there = false;
        store_inspect(search->ask->store, ask_request(&records), slice_of(search->campaign), place, slice_of(of), first,
                      BATCH);
        bool read = ask_wait(search->ask, &records);
        unsigned count = read ? records.item_count : 0;
        for (unsigned i = 0; !there && i + step <= count; i += step) {
            struct store_record record;
            there = is_record(search, records.items[i], &record);
            if (!there)
                continue;
            char due[32] = "";
            if (place == INSPECT_RETRY)
                text_time((int64_t)strtoll(records.items[i + 1].p, NULL, 10), due, sizeof due);
            snprintf(search->place, sizeof search->place, "%s%s%s, after %u attempts", says, of, due, record.attempt);
        }
        ask_free(&records);
        if (there || count < BATCH)
            return there;
    }
}

static bool look_in_parked(struct search *search, const struct store_view *view)
{
    for (unsigned i = 0; i < view->parked_count; i++)
        if (look_in(search, INSPECT_PARKED, view->parked_lists[i].isp, "parked for "))
            return true;
    return false;
}

/* "owner incarnation kind first count ..." */
static bool lease_has(const struct search *search, const char *lease, char owner[64])
{
    unsigned long long first, count;
    char kind[16];
    return sscanf(lease, "%63s %*s %15s %llu %llu", owner, kind, &first, &count) == 4 && strcmp(kind, "list") == 0 &&
           search->found && search->seq >= first && search->seq - first < count;
}

static bool look_in_leases(struct search *search)
{
    struct ask_answer leases = {0};
    bool there = false;
    char owner[64] = "";
    store_inspect_leases(search->ask->store, ask_request(&leases), slice_of(search->campaign));
    bool read = ask_wait(search->ask, &leases);
    for (unsigned i = 0; read && !there && i + 1 < leases.item_count; i += 2) {
        there = lease_has(search, leases.items[i + 1].p, owner) ||
                look_in(search, INSPECT_BATCH, leases.items[i].p, "in lease ");
        if (there)
            snprintf(search->place, sizeof search->place,
                     "in an engine's memory (engine %s, lease %s): it waits for its lane, or is on its way",
                     sscanf(leases.items[i + 1].p, "%63s", owner) == 1 ? owner : "?", leases.items[i].p);
    }
    ask_free(&leases);
    return there;
}

/* In the list, from where it was not taken yet; or, where it is still kept, what was. */
static bool look_in_list(struct search *search, const struct store_view *view)
{
    if (search->found) {
        bool waits = search->seq >= view->taken && search->seq < view->pushed;
        if (waits)
            snprintf(search->place, sizeof search->place, "in the campaign's list, not taken yet: %ju come before it",
                     (uintmax_t)(search->seq - view->taken));
        return waits;
    }
    for (uint64_t first = 0; first < view->pushed && !search->found;) {
        struct ask_answer entries = {0};
        store_entries(search->ask->store, ask_request(&entries), slice_of(search->campaign), first, BATCH);
        if (!ask_wait(search->ask, &entries))
            break;
        if (first < (uint64_t)entries.number) {
            first = (uint64_t)entries.number;
            ask_free(&entries);
            continue;
        }
        for (unsigned i = 0; i < entries.item_count && !search->found; i++)
            if (is_theirs(search, entries.items[i])) {
                search->found = true;
                search->seq = first + i;
            }
        first += entries.item_count;
        bool none = entries.item_count == 0;
        ask_free(&entries);
        if (none)
            break;
    }
    return search->found && look_in_list(search, view);
}

static void look_everywhere(struct search *search, const struct store_view *view)
{
    if (search->final) {
        snprintf(search->place, sizeof search->place, "done: it has its final event");
        return;
    }
    if (look_in_list(search, view) || look_in(search, INSPECT_RETRY, "", "waits for its next attempt at ") ||
        look_in(search, INSPECT_HELD, "", "held, for it is in doubt whether it had its message") ||
        look_in_parked(search, view) || look_in_leases(search))
        return;
    if (search->found)
        snprintf(search->place, sizeof search->place, "on its way between two of these: ask again");
}

/* ---- the answer ---- */

static int search_in(struct search *search, const char *campaign, json_t *all)
{
    struct counts counts = {0};
    bool as_json = all != NULL;
    slice_copy(search->campaign, sizeof search->campaign, slice_of(campaign));
    search->found = search->by_seq;
    search->final = false;
    search->place[0] = 0;
    search->events = as_json ? json_array() : NULL;
    if (!counts_look(search->ask, slice_of(campaign), &counts))
        return CLI_FAILED;
    bool exists = counts.view.exists && (!search->by_seq || search->seq < counts.view.pushed);
    if (!as_json && search->by_seq && exists)
        printf("campaign %s, seq %ju\n", campaign, (uintmax_t)search->seq);
    bool read = exists && read_events(search);
    if (read)
        look_everywhere(search, &counts.view);
    if (read && search->found && (search->place[0] || !search->by_seq)) {
        search->hits++;
        if (as_json)
            json_array_append_new(all, json_pack("{s:s, s:I, s:b, s:s, s:O}", "campaign", campaign, "seq",
                                                 (json_int_t)search->seq, "final", search->final, "now", search->place,
                                                 "events", search->events));
        else
            printf("campaign %s, seq %ju: %s\n", campaign, (uintmax_t)search->seq, text_safe(search->place));
    }
    json_decref(search->events);
    counts_free(&counts);
    return exists && !read ? CLI_FAILED : CLI_OK;
}

int whereabouts(struct ask *ask, const char *campaign, const char *who, bool as_json)
{
    struct search search = {.ask = ask, .who = who};
    struct ask_answer ids = {0};
    json_t *all = as_json ? json_array() : NULL;
    int code = CLI_OK;
    search.by_seq = campaign && number_parse(slice_of(who), UINT64_MAX, &search.seq);
    if (campaign) {
        code = search_in(&search, campaign, all);
    } else {
        store_all_campaigns(ask->store, ask_request(&ids));
        code = ask_wait(ask, &ids) ? CLI_OK : CLI_FAILED;
        for (unsigned i = 0; code == CLI_OK && i < ids.item_count; i++)
            code = search_in(&search, ids.items[i].p, all);
        ask_free(&ids);
    }
    if (code == CLI_OK && as_json) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(all);
    if (code == CLI_OK && !search.hits) {
        cli_error("nobody knows %s%s%s", who, campaign ? " in campaign " : "", campaign ? campaign : "");
        code = CLI_FAILED;
    }
    return code;
}
