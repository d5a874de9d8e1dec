/* Rendering and signing cost more than sending: they are done in one place, with scratch memory that stays warm, and
 * their results live in one budget that no campaign can overrun. */
#include "flow/press_draft.h"

#include <stdio.h>

#include "proto/recipient.h"
#include "sign/sha_pair.h"

static const nsec good_for = PRESS_GOOD_FOR_S * NSEC_PER_S;

static const char too_large[] = "the message is larger than press_bytes";

/* ---- what waits ---- */

static void link_last(struct press *press, struct pressed *pressed)
{
    pressed->next = NULL;
    pressed->prev = press->last;
    *(press->last ? &press->last->next : &press->first) = pressed;
    press->last = pressed;
}

struct pressed *press_take(struct press *press, struct attempt *attempt)
{
    struct pressed *pressed = attempt->pressed;
    *(pressed->prev ? &pressed->prev->next : &press->first) = pressed->next;
    *(pressed->next ? &pressed->next->prev : &press->last) = pressed->prev;
    attempt->pressed = NULL;
    pressed->attempt = NULL;
    return pressed;
}

void press_give(struct press *press, struct pressed *pressed)
{
    edition_release(pressed->edition);
    buddy_give(&press->memory, pressed);
}

void press_forget(struct press *press, struct attempt *attempt)
{
    if (!attempt->pressed)
        return;
    press->thrown_away++;
    press_give(press, press_take(press, attempt));
}

void press_discard(struct press *press)
{
    while (press->first)
        press_forget(press, press->first->attempt);
}

/* A clock that was set back must not make it a message of the future. */
static bool is_good(const struct pressed *pressed, nsec wall)
{
    return !pressed->edition->old && wall >= pressed->wall && wall - pressed->wall <= good_for;
}

void press_sweep(struct press *press, nsec wall)
{
    for (struct pressed *pressed = press->first, *next; pressed; pressed = next) {
        next = pressed->next;
        if (!is_good(pressed, wall))
            press_forget(press, pressed->attempt);
    }
}

bool press_ready(struct press *press, struct attempt *attempt, nsec wall)
{
    if (attempt->pressed && !is_good(attempt->pressed, wall))
        press_forget(press, attempt);
    return attempt->pressed != NULL;
}

/* ---- memory ---- */

/* For what is `wanted` now those go that wait, the youngest first: their turn is furthest away. */
static struct pressed *take(struct press *press, size_t bytes, bool wanted)
{
    struct pressed *pressed;
    while (!(pressed = buddy_take(&press->memory, sizeof *pressed + bytes)) && wanted && press->last)
        press_forget(press, press->last->attempt);
    return pressed;
}

/* ---- rendering ---- */

/* Letters and digits that no two recipients of a campaign share, and that are the same for each attempt. */
static void make_token(char token[16], const struct attempt *attempt, const struct campaign *campaign)
{
    uint64_t h = table_hash(slice_of(campaign->id)) ^ (attempt->seq + 1) * 0x9e3779b97f4a7c15u;
    h ^= table_hash(attempt->raw);
    for (unsigned i = 0; i < 16; i++, h >>= 4)
        token[i] = "0123456789abcdef"[h & 15];
}

/* With VERP a bounce tells by its address whose it is (sign/token.h). */
static void write_return_path(const struct press *press, struct pressed *pressed, const struct edition *edition,
                              const struct attempt *attempt)
{
    memcpy(pressed->from, edition->return_path, sizeof pressed->from);
    const struct token_keys *keys = press->keys && edition->verp ? sign_keys_tokens(press->keys) : NULL;
    if (!keys || attempt->seq > TOKEN_SEQ_MAX)
        return;
    char *at = pressed->from + edition->return_local;
    *at = '+';
    token_make(keys, slice_of(attempt->campaign->id), attempt->seq, at + 1);
    slice_copy(at + 1 + TOKEN_TEXT, sizeof pressed->from - edition->return_local - 1 - TOKEN_TEXT,
               slice_of(edition->return_path + edition->return_local));
}

static void write_to(struct pressed *pressed, const struct attempt *attempt)
{
    size_t at = attempt->to.n;
    while (at && attempt->to.p[at - 1] != '@') /* a domain holds no '@', a quoted local part may */
        at--;
    struct slice local = {attempt->to.p, at};
    size_t n = slice_copy(pressed->to, sizeof pressed->to, local);
    slice_copy(pressed->to + n, sizeof pressed->to - n, attempt->domain);
}

/* Where what is a message's own begins, behind the room for its signatures. */
static char *own_bytes(struct pressed *pressed, const struct edition *edition)
{
    return (char *)(pressed + 1) + edition->field_room;
}

/* What the next will fit in, if it is not much larger than those before. */
static size_t guess(size_t before, size_t n)
{
    size_t now = n + n / 16;
    return now > before ? now : before - (before - now) / 16;
}

/* Renders what is the message's own, in a block that holds no edition yet. */
static enum press_result render(struct press *press, const struct attempt *attempt, struct message_recipient *recipient,
                                bool wanted, struct pressed **out)
{
    struct edition *edition = attempt->campaign->edition;
    struct slice shared = edition->shared;
    struct message_rendered rendered;
    for (size_t need = edition->own_guess;;) {
        struct pressed *pressed = take(press, edition->field_room + need, wanted);
        if (!pressed && press->memory.used)
            return PRESS_NO_ROOM;
        if (!pressed) {
            slice_copy(press->reason, sizeof press->reason, slice_of(too_large));
            return PRESS_INVALID;
        }
        memset(pressed, 0, sizeof *pressed);
        write_return_path(press, pressed, edition, attempt);
        write_to(pressed, attempt);
        recipient->to = slice_of(pressed->to);
        char *own = own_bytes(pressed, edition);
        enum message_result result = message_render_own(edition->plan, recipient, own, need, &rendered);
        if (result == MESSAGE_OK) {
            struct slice rest = {own + rendered.body, rendered.n - rendered.body};
            pressed->parts[0] = (struct slice){own, rendered.body};
            pressed->parts[1] = shared;
            pressed->parts[2] = rest;
            pressed->size = rendered.n + edition->shared_octets;
            pressed->message_id = rendered.message_id;
            pressed->utf8 = pressed->eight_bit = rendered.utf8;
            edition->own_guess = guess(edition->own_guess, rendered.n);
            *out = pressed;
            return PRESS_DONE;
        }
        buddy_give(&press->memory, pressed);
        if (result != MESSAGE_TOO_SMALL) {
            message_error_text(&rendered.error, press->reason, sizeof press->reason);
            return PRESS_INVALID;
        }
        need = rendered.n;
    }
}

/* Puts a dot before each that begins a line, in a block of its own. NULL: no room. */
static struct pressed *stuff(struct press *press, struct pressed *plain, const struct edition *edition, bool wanted)
{
    struct slice header = plain->parts[0], rest = plain->parts[2];
    enum write_line line = WRITE_LINE_START, behind = edition->shared_line;
    plain->transparent = edition->stuffed != NULL;
    if (write_is_plain(header, &line) && write_is_plain(rest, &behind))
        return plain;
    size_t cap = 2 * (header.n + rest.n) + 8;
    struct pressed *stuffed = take(press, edition->field_room + cap, wanted);
    if (!stuffed)
        return NULL;
    *stuffed = *plain;
    char *to = own_bytes(stuffed, edition);
    line = WRITE_LINE_START;
    behind = edition->shared_line;
    size_t n = write_stuffed(to, cap, &header, &line);
    size_t m = write_stuffed(to + n, cap - n, &rest, &behind);
    sluice_assert(header.n == 0 && rest.n == 0);
    stuffed->transparent = true;
    stuffed->parts[0] = (struct slice){to, n};
    stuffed->parts[2] = (struct slice){to + n, m};
    /* No header that precedes it begins with a dot (message.h), so it stands where it stood. */
    stuffed->message_id.p = to + (plain->message_id.p - plain->parts[0].p);
    buddy_give(&press->memory, plain);
    return stuffed;
}

/* ---- pressing ---- */

/* Renders the message and finds out who signs it. */
static enum press_result begin(struct press *press, struct press_draft *draft, struct attempt *attempt, nsec wall,
                               bool wanted)
{
    char room[RECIPIENT_ROOM], token[16];
    struct recipient parsed;
    struct recipient_fault fault;
    if (!recipient_parse(attempt->raw, press->tokens, RECIPIENT_TOKENS, room, &parsed, &fault)) {
        slice_copy(press->reason, sizeof press->reason, slice_of(fault.reason));
        return PRESS_INVALID;
    }
    make_token(token, attempt, attempt->campaign);
    struct message_recipient recipient = {.json = &parsed.json,
                                          .campaign = slice_of(attempt->campaign->id),
                                          .seq = attempt->seq,
                                          .token = {token, sizeof token},
                                          .wall = wall};
    struct edition *edition = attempt->campaign->edition;
    enum press_result result = render(press, attempt, &recipient, wanted, &draft->pressed);
    if (result != PRESS_DONE)
        return result;
    draft->attempt = attempt;
    draft->room = edition->field_room;
    draft->pressed->wall = wall;
    draft->count = press_draft_signers(press, edition, draft->pressed, draft->signers);
    return PRESS_DONE;
}

/* All that is left but the signatures, which are had for the whole batch; attempt->pressed waits for them. Whatever it
 * returns, the draft is used up. */
static enum press_result complete(struct press *press, struct press_draft *draft, bool wanted)
{
    char fields[DKIM_SIGNATURES_MAX * DKIM_FIELD_MAX];
    struct attempt *attempt = draft->attempt;
    struct edition *edition = attempt->campaign->edition;
    nsec wall = draft->pressed->wall;
    size_t n;
    while ((n = draft->count ? press_draft_fields(press, draft, fields) : 0) > draft->room) {
        buddy_give(&press->memory, draft->pressed);
        if (n == SIZE_MAX) {
            slice_copy(press->reason, sizeof press->reason, SLICE("the message has too many headers to be signed"));
            return PRESS_UNSIGNED;
        }
        if (edition->field_room < n)
            edition->field_room = n + n / 8;
        enum press_result result = begin(press, draft, attempt, wall, wanted);
        if (result != PRESS_DONE)
            return result;
        press_draft_hash(press, draft, 1);
    }
    struct pressed *pressed = draft->pressed;
    struct pressed *whole = message_plan_dotted(edition->plan) ? stuff(press, pressed, edition, wanted) : pressed;
    if (!whole) {
        buddy_give(&press->memory, pressed);
        slice_copy(press->reason, sizeof press->reason, slice_of(too_large));
        return press->memory.used ? PRESS_NO_ROOM : PRESS_INVALID;
    }
    press_draft_place(press, whole, draft->count, fields, n);
    whole->edition = edition_hold(edition);
    whole->attempt = attempt;
    attempt->pressed = whole;
    link_last(press, whole);
    press->rendered++;
    return PRESS_DONE;
}

/* Begins messages that are signed with the one that is wanted, while half of the budget is free. Returns how many. */
static unsigned begin_others(struct press *press, struct press_draft *drafts, struct attempt *const *others,
                             unsigned count, nsec wall)
{
    unsigned begun = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t more = others[i]->campaign->edition->own_guess;
        if (press->memory.used + more > press->memory.size / 2)
            break;
        /* Why it could not be had is told when it is wanted. */
        begun += begin(press, &drafts[begun], others[i], wall, false) == PRESS_DONE;
    }
    return begun;
}

/* The drafts of a batch; the first is wanted. Whether that one can be had may depend on what the others take up. */
static enum press_result complete_all(struct press *press, struct press_draft *drafts, unsigned count)
{
    struct attempt *wanted = drafts->attempt;
    nsec wall = drafts->pressed->wall;
    press_draft_hash(press, drafts, count);
    enum press_result result = complete(press, drafts, true);
    for (unsigned i = 1; i < count; i++) {
        if (result == PRESS_DONE)
            (void)complete(press, &drafts[i], false);
        else
            buddy_give(&press->memory, drafts[i].pressed);
    }
    if (result != PRESS_NO_ROOM || count == 1)
        return result;
    result = begin(press, drafts, wanted, wall, true);
    return result == PRESS_DONE ? complete_all(press, drafts, 1) : result;
}

enum press_result press_batch(struct press *press, struct attempt *wanted, struct attempt *const *others,
                              unsigned count, nsec wall, struct slice *reason)
{
    struct press_draft drafts[PRESS_BATCH];
    sluice_assert(!wanted->pressed && count < PRESS_BATCH);
    press->job_count = 0;
    enum press_result result = begin(press, drafts, wanted, wall, true);
    if (result == PRESS_DONE) {
        unsigned more = drafts->count ? begin_others(press, drafts + 1, others, count, wall) : 0;
        result = complete_all(press, drafts, 1 + more);
    }
    *reason = slice_of(press->reason);
    press->unsigned_ += result == PRESS_UNSIGNED;
    if (result != PRESS_DONE)
        return result;
    const char *name = press_draft_sign(press);
    if (wanted->pressed)
        return PRESS_DONE;
    press->unsigned_++;
    snprintf(press->reason, sizeof press->reason, "the message could not be signed with the key of dkim %s", name);
    *reason = slice_of(press->reason);
    return PRESS_UNSIGNED;
}

/* ---- start and end ---- */

bool press_open(struct press *press, struct arena *arena, size_t budget, struct sign_keys *keys)
{
    size_t size = BUDDY_SMALLEST;
    while (2 * size <= budget)
        size *= 2;
    void *memory = arena_take(arena, size, 4096);
    uint8_t *tags = arena_take(arena, buddy_tags_size(size), 1);
    press->tokens = arena_take(arena, RECIPIENT_TOKENS * sizeof *press->tokens, sizeof(uint64_t));
    press->fields = arena_take(arena, PRESS_JOBS * sizeof *press->fields, sizeof(uint64_t));
    press->jobs = arena_take(arena, PRESS_JOBS * sizeof *press->jobs, sizeof(uint64_t));
    press->signer = signer_open();
    press->pair = sha_pair();
    press->keys = keys ? sign_keys_hold(keys) : NULL;
    press->keys_version = 1;
    if (!memory || !tags || !press->tokens || !press->fields || !press->jobs || !press->signer)
        return false;
    signer_lanes(press->signer, keys && sign_keys_lanes(keys), NULL);
    buddy_init(&press->memory, memory, size, tags);
    return true;
}

void press_close(struct press *press)
{
    signer_close(press->signer);
    sign_keys_release(press->keys);
    press->signer = NULL;
    press->keys = NULL;
}

void press_rekey(struct press *press, struct sign_keys *keys)
{
    press_discard(press);
    signer_forget(press->signer);
    signer_lanes(press->signer, keys && sign_keys_lanes(keys), NULL);
    sign_keys_release(press->keys);
    press->keys = keys ? sign_keys_hold(keys) : NULL;
    press->keys_version++;
}
