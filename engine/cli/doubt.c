/* sluice campaign in-doubt, resolve: only people can weigh a copy too many against one too few. */
#include "cli/doubt.h"

#include "cli/held.h"
#include "cli/text.h"
#include "store/resolve.h"

#include <jansson.h>
#include <stdlib.h>

/* ---- listing ---- */

static void list_one(const struct held *held, struct text_table *table, json_t *array)
{
    const struct slice to = held->to, id = held->id;
    char address[LIMIT_ADDRESS + 1], name[LIMIT_RECIPIENT_ID + 1], first[32];
    if (array) {
        json_t *json = json_pack("{s:I, s:I, s:I}", "seq", (json_int_t)held->record.seq, "attempts",
                                 (json_int_t)held->record.attempt, "first_ms", (json_int_t)held->record.first_ms);
        json_object_set_new(json, "id", json_stringn(id.n ? id.p : "", id.n));
        json_object_set_new(json, "to", json_stringn(to.n ? to.p : "", to.n));
        json_array_append_new(array, json);
        return;
    }
    slice_copy(address, sizeof address, to);
    slice_copy(name, sizeof name, id);
    text_time(held->record.first_ms, first, sizeof first);
    TEXT_ROW(table, text_number(held->record.seq).text, text_safe(name), text_safe(address),
             text_number(held->record.attempt).text, first);
}

int doubt_list(struct ask *ask, const char *campaign, bool as_json)
{
    struct held_reader *reader = held_open(ask, campaign);
    struct text_table table = {0};
    json_t *array = as_json ? json_array() : NULL;
    const struct held *list;
    int count = HELD_PAGE;
    bool good = reader != NULL;
    TEXT_ROW(&table, ">SEQ", "ID", "TO", ">ATTEMPTS", "FIRST ATTEMPT");
    for (uint64_t first = 0; good && count == HELD_PAGE; first += HELD_PAGE) {
        count = held_read(reader, first, &list);
        good = count >= 0;
        for (int i = 0; i < count; i++)
            list_one(&list[i], &table, array);
    }
    if (good && as_json) {
        json_dumpf(array, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (good) {
        text_print(&table, stdout);
    }
    text_free(&table);
    json_decref(array);
    held_close(reader);
    return good ? CLI_OK : CLI_FAILED;
}

/* ---- deciding ---- */

struct decision {
    struct ask *ask;
    const char *campaign;
    const struct doubt_choice *choice;
    bool *found; /* by id, then by seq */
    struct store_resolution list[RESOLVE_MOST];
    struct event events[RESOLVE_MOST];
    unsigned count;
    uint64_t resolved;
};

static bool is_chosen(struct decision *decision, const struct held *held)
{
    const struct doubt_choice *choice = decision->choice;
    bool chosen = !choice->id_count && !choice->seq_count;
    for (unsigned i = 0; i < choice->id_count; i++)
        if (slice_equal(held->id, slice_of(choice->ids[i])))
            chosen = decision->found[i] = true;
    for (unsigned i = 0; i < choice->seq_count; i++)
        if (held->record.seq == choice->seqs[i])
            chosen = decision->found[choice->id_count + i] = true;
    return chosen;
}

static bool decide(struct decision *decision)
{
    struct ask_answer answer = {0};
    struct ask *ask = decision->ask;
    if (!decision->count)
        return true;
    store_resolve(ask->store, ask_request(&answer), slice_of(decision->campaign), decision->list, decision->count,
                  io_wall(ask->io) / NSEC_PER_MS);
    bool good = ask_wait(ask, &answer);
    decision->resolved += good ? (uint64_t)answer.number : 0;
    decision->count = 0;
    ask_free(&answer);
    return good;
}

static void take(struct decision *decision, const struct held *held)
{
    unsigned i = decision->count++;
    decision->events[i] = (struct event){.type = EVENT_CANCELLED,
                                         .seq = held->record.seq,
                                         .id = held->id,
                                         .to = held->to,
                                         .source = held->record.source,
                                         .attempt = held->record.attempt,
                                         .final = true,
                                         .stage = SLICE("body"),
                                         .rule = SLICE("in-doubt"),
                                         .reply = SLICE("in doubt, and by hand not sent again")};
    decision->list[i] = (struct store_resolution){.record = held->text,
                                                  .event = decision->choice->resend ? NULL : &decision->events[i]};
}

/* Those that are decided about leave the list, so the next page begins behind those that stay. */
static bool decide_all(struct decision *decision, struct held_reader *reader)
{
    const struct held *list;
    uint64_t first = 0;
    for (int count = HELD_PAGE; count == HELD_PAGE;) {
        count = held_read(reader, first, &list);
        for (int i = 0; i < count; i++) {
            if (!is_chosen(decision, &list[i])) {
                first++;
                continue;
            }
            take(decision, &list[i]);
            if (decision->count == RESOLVE_MOST && !decide(decision))
                return false;
        }
        if (count < 0 || !decide(decision))
            return false;
    }
    return true;
}

static bool all_found(const struct decision *decision)
{
    const char *campaign = decision->campaign;
    const struct doubt_choice *choice = decision->choice;
    bool all = true;
    for (unsigned i = 0; i < choice->id_count + choice->seq_count; i++) {
        if (decision->found[i])
            continue;
        all = false;
        if (i < choice->id_count)
            cli_error("campaign %s holds nobody with the id %s in doubt", campaign, choice->ids[i]);
        else
            cli_error("campaign %s does not hold seq %ju in doubt", campaign,
                      (uintmax_t)choice->seqs[i - choice->id_count]);
    }
    return all;
}

int doubt_resolve(struct ask *ask, const char *campaign, const struct doubt_choice *choice)
{
    struct decision *decision = calloc(1, sizeof *decision);
    struct ask_answer woken = {0};
    sluice_assert(decision);
    decision->ask = ask;
    decision->campaign = campaign;
    decision->choice = choice;
    decision->found = calloc(choice->id_count + choice->seq_count + 1, sizeof *decision->found);
    sluice_assert(decision->found);
    struct held_reader *reader = held_open(ask, campaign);
    bool good = reader && decide_all(decision, reader);
    if (decision->resolved)
        printf("campaign %s: %ju in doubt %s\n", campaign, (uintmax_t)decision->resolved,
               choice->resend ? "are sent again" : "are not sent again, and have ended");
    else if (good && !choice->id_count && !choice->seq_count)
        printf("campaign %s: nobody is held\n", campaign);
    good = good && all_found(decision);
    if (decision->resolved) {
        store_wake(ask->store, ask_request(&woken));
        good = ask_wait(ask, &woken) && good; /* else they look by themselves, a moment later */
    }
    ask_free(&woken);
    held_close(reader);
    free(decision->found);
    free(decision);
    return good ? CLI_OK : CLI_FAILED;
}
