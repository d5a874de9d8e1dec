/* Shows a message before it is sent: the campaign's hash, the recipient and the keys go through the same press as in
 * the engine, so that what is shown is what will leave. */
#include "cli/letter.h"

#include "cli/counts.h"
#include "flow/entry.h"
#include "flow/press.h"

#include <stdlib.h>
#include <time.h>

/* All that a press needs, without an engine. */
struct letter {
    struct arena arena;
    struct press press;
    struct editions editions;
    struct sign_keys *keys;
    struct campaign campaign;
    struct attempt attempt;
    char domain[LIMIT_DOMAIN + 1], *to;
};

static void print_warning(void *context, const char *sentence)
{
    (void)context;
    cli_error("%s", sentence);
}

static bool open_press(struct letter *letter, const struct config *config)
{
    char error[512];
    size_t budget = (size_t)256 * 1024 * 1024; /* the largest message, as buddies come */
    letter->keys = sign_keys_load(config, print_warning, NULL, error, sizeof error);
    if (!letter->keys)
        cli_error("%s", error);
    else if (!arena_open(&letter->arena, 2 * budget) ||
             !press_open(&letter->press, &letter->arena, budget, letter->keys))
        cli_error("no memory for a message");
    else
        return true;
    return false;
}

static bool take_recipient(struct letter *letter, struct slice raw)
{
    char room[RECIPIENT_ROOM];
    struct json_token *tokens = calloc(RECIPIENT_TOKENS, sizeof *tokens);
    struct entry entry;
    size_t position;
    sluice_assert(tokens);
    const char *wrong = entry_read(raw, tokens, room, &entry, &position);
    if (wrong) {
        cli_error("the recipient: %s, at byte %zu%s", wrong, position, entry.recipient.to.n ? " of the address" : "");
    } else {
        letter->to = malloc(entry.recipient.to.n + 1);
        sluice_assert(letter->to);
        slice_copy(letter->to, entry.recipient.to.n + 1, entry.recipient.to);
        slice_copy(letter->domain, sizeof letter->domain, entry_domain(&entry));
        letter->attempt.raw = raw;
        letter->attempt.to = slice_of(letter->to);
        letter->attempt.domain = slice_of(letter->domain);
    }
    free(tokens);
    return !wrong;
}

static int print(struct letter *letter)
{
    struct timespec now;
    struct slice reason;
    clock_gettime(CLOCK_REALTIME, &now);
    nsec wall = now.tv_sec * NSEC_PER_S + now.tv_nsec;
    if (press_batch(&letter->press, &letter->attempt, NULL, 0, wall, &reason) != PRESS_DONE) {
        cli_error("recipient %ju: " SLICE_FORMAT, (uintmax_t)letter->attempt.seq, SLICE_ARGS(reason));
        return CLI_FAILED;
    }
    struct pressed *pressed = press_take(&letter->press, &letter->attempt);
    bool line_start = true; /* dots that were stuffed for DATA are not the message's */
    for (unsigned i = 0; i < PRESSED_PARTS; i++)
        for (size_t j = 0; j < pressed->parts[i].n; j++) {
            char c = pressed->parts[i].p[j];
            if (!(line_start && c == '.' && pressed->transparent))
                putchar(c);
            line_start = c == '\n';
        }
    press_give(&letter->press, pressed);
    return CLI_OK;
}

static int press_and_print(struct letter *letter, const struct config *config, const struct counts *counts,
                           struct slice entry)
{
    char reason[MESSAGE_ERROR_TEXT];
    letter->campaign.edition =
        edition_make(&letter->editions, counts->answer.items, counts->answer.item_count, reason, sizeof reason);
    if (!letter->campaign.edition) {
        cli_error("campaign %s is incomplete: %s", letter->campaign.id, reason);
        return CLI_FAILED;
    }
    letter->campaign.complete = true;
    if (!open_press(letter, config) || !take_recipient(letter, entry))
        return CLI_FAILED;
    return print(letter);
}

static void letter_free(struct letter *letter)
{
    free(letter->to);
    press_close(&letter->press);
    editions_drop(&letter->editions);
    sign_keys_release(letter->keys);
    arena_drop(&letter->arena);
    free(letter);
}

static int from_redis(struct ask *ask, const struct config *config, const char *campaign, uint64_t seq,
                      struct slice entry)
{
    struct counts counts = {0};
    struct ask_answer answer = {0};
    int code = CLI_FAILED;
    bool good = counts_look(ask, slice_of(campaign), &counts);
    if (good && !counts.view.exists) {
        cli_error("there is no campaign %s", campaign);
        good = false;
    }
    if (good && !entry.p) {
        store_entries(ask->store, ask_request(&answer), slice_of(campaign), seq, 1);
        good = ask_wait(ask, &answer);
        if (good && !answer.item_count) {
            cli_error("campaign %s has no recipient %ju in its list; it holds those from %ju on, and %ju "
                      "were pushed. --data takes one of your own",
                      campaign, (uintmax_t)seq, (uintmax_t)answer.number, (uintmax_t)counts.view.pushed);
            good = false;
        }
        if (good)
            entry = answer.items[0];
    }
    if (good) {
        struct letter *letter = calloc(1, sizeof *letter);
        sluice_assert(letter);
        snprintf(letter->campaign.id, sizeof letter->campaign.id, "%s", campaign);
        letter->attempt.campaign = &letter->campaign;
        letter->attempt.seq = seq;
        letter->attempt.number = 1;
        code = press_and_print(letter, config, &counts, entry);
        letter_free(letter);
    }
    ask_free(&answer);
    counts_free(&counts);
    return code;
}

int letter_print(struct cli *cli, const char *campaign, uint64_t seq, struct slice entry)
{
    struct ask ask;
    int code = CLI_FAILED;
    if (!counts_id_fits(campaign))
        return CLI_USAGE;
    struct config *config = cli_config(cli);
    if (config && ask_open(&ask, config)) {
        code = from_redis(&ask, config, campaign, seq, entry);
        ask_close(&ask);
    }
    config_free(config);
    return code;
}
