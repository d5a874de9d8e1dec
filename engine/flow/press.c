/* Rendering costs more than sending: it is done in one place, with scratch memory that stays warm, and its results
 * live in one budget that no campaign can overrun. */
#include "flow/press.h"

#include "proto/recipient.h"
#include "proto/smtp/write.h"

static const size_t guess_least = 4096;

static const char too_large[] = "the message is larger than press_bytes";

bool press_open(struct press *press, struct arena *arena, size_t budget)
{
    size_t size = BUDDY_SMALLEST;
    while (2 * size <= budget)
        size *= 2;
    void *memory = arena_take(arena, size, 4096);
    uint8_t *tags = arena_take(arena, buddy_tags_size(size), 1);
    press->tokens = arena_take(arena, RECIPIENT_TOKENS * sizeof *press->tokens, sizeof(uint64_t));
    press->guess = guess_least;
    if (!memory || !tags || !press->tokens)
        return false;
    buddy_init(&press->memory, memory, size, tags);
    return true;
}

void press_give(struct press *press, struct pressed *pressed) { buddy_give(&press->memory, pressed); }

static struct pressed *take(struct press *press, size_t bytes)
{
    return buddy_take(&press->memory, sizeof(struct pressed) + bytes);
}

/* Letters and digits that no two recipients of a campaign share, and that are the same for each attempt. */
static void make_token(char token[16], const struct attempt *attempt, const struct campaign *campaign)
{
    uint64_t h = table_hash(slice_of(campaign->id)) ^ (attempt->seq + 1) * 0x9e3779b97f4a7c15u;
    h ^= table_hash(attempt->raw);
    for (unsigned i = 0; i < 16; i++, h >>= 4)
        token[i] = "0123456789abcdef"[h & 15];
}

static void write_paths(struct pressed *pressed, const struct campaign *campaign, const struct attempt *attempt)
{
    memcpy(pressed->from, campaign->from, sizeof pressed->from);
    size_t at = attempt->to.n;
    while (at && attempt->to.p[at - 1] != '@') /* a domain holds no '@', a quoted local part may */
        at--;
    struct slice local = {attempt->to.p, at};
    size_t n = slice_copy(pressed->to, sizeof pressed->to, local);
    slice_copy(pressed->to + n, sizeof pressed->to - n, attempt->domain);
}

/* Most messages have no line that begins with a dot and go out as they were rendered. */
static struct pressed *make_transparent(struct press *press, struct pressed *plain, char *bytes, size_t n)
{
    enum write_line line = WRITE_LINE_START;
    struct slice message = {bytes, n};
    plain->transparent = false;
    memset(plain->parts, 0, sizeof plain->parts);
    if (write_is_plain(message, &line)) {
        sluice_assert(line == WRITE_LINE_START);
        plain->parts[0] = message;
        return plain;
    }
    struct pressed *stuffed = take(press, 2 * n + 8);
    if (!stuffed)
        return NULL;
    *stuffed = *plain;
    char *to = (char *)(stuffed + 1);
    size_t m = write_stuffed(to, 2 * n + 8, &message, &line);
    sluice_assert(message.n == 0 && line == WRITE_LINE_START);
    stuffed->transparent = true;
    stuffed->parts[0] = (struct slice){to, m};
    /* No line of a header begins with a dot, so what stands in it stands where it stood. */
    stuffed->message_id.p = to + (plain->message_id.p - bytes);
    press_give(press, plain);
    return stuffed;
}

enum press_result press_render(struct press *press, const struct campaign *campaign, const struct attempt *attempt,
                               nsec wall, struct pressed **out, struct slice *reason)
{
    char room[RECIPIENT_ROOM], token[16];
    struct recipient parsed;
    struct recipient_fault fault;
    if (!recipient_parse(attempt->raw, press->tokens, RECIPIENT_TOKENS, room, &parsed, &fault)) {
        *reason = slice_of(fault.reason);
        return PRESS_INVALID;
    }
    make_token(token, attempt, campaign);
    size_t need = press->guess;
    for (;;) {
        struct pressed *pressed = take(press, need);
        if (!pressed && press->memory.used)
            return PRESS_NO_ROOM;
        if (!pressed) {
            *reason = slice_of(too_large);
            return PRESS_INVALID;
        }
        write_paths(pressed, campaign, attempt);
        struct message_recipient recipient = {.json = &parsed.json,
                                              .to = slice_of(pressed->to),
                                              .campaign = slice_of(campaign->id),
                                              .seq = attempt->seq,
                                              .token = {token, sizeof token},
                                              .wall = wall};
        struct message_rendered rendered;
        char *bytes = (char *)(pressed + 1);
        enum message_result result = message_render(campaign->plan, &recipient, bytes, need, &rendered);
        if (result == MESSAGE_TOO_SMALL && rendered.n <= LIMIT_MESSAGE) {
            press_give(press, pressed);
            need = rendered.n;
            continue;
        }
        if (result != MESSAGE_OK) {
            press_give(press, pressed);
            if (result == MESSAGE_TOO_SMALL)
                slice_copy(press->reason, sizeof press->reason, SLICE("the message is larger than 50 MiB"));
            else
                message_error_text(&rendered.error, press->reason, sizeof press->reason);
            *reason = slice_of(press->reason);
            return PRESS_INVALID;
        }
        press->guess = nsec_max((nsec)guess_least, (nsec)(rendered.n + rendered.n / 16));
        pressed->size = rendered.n;
        pressed->message_id = rendered.message_id;
        pressed->utf8 = pressed->eight_bit = rendered.utf8;
        *out = make_transparent(press, pressed, bytes, rendered.n);
        if (*out)
            return PRESS_DONE;
        press_give(press, pressed);
        if (press->memory.used)
            return PRESS_NO_ROOM;
        *reason = slice_of(too_large);
        return PRESS_INVALID;
    }
}
