/* press.h - where messages are rendered, ahead of the sessions, in a fixed budget of memory.
 *
 * A pressed message is what goes over the wire, in parts and without the final dot: CRLF canonical, made transparent
 * (RFC 5321 §4.5.2), its last line ended by CRLF. */
#ifndef FLOW_PRESS_H
#define FLOW_PRESS_H

#include "flow/campaign.h"
#include "io/arena.h"
#include "io/buddy.h"
#include "io/table.h"
#include "sluice/attempt.h"
#include "sluice/outcome.h"

enum { PRESSED_PARTS = 3 };

/* Owned by the press; given back with press_give. */
struct pressed {
    /* Its own header | what its body shares with others, borrowed from their edition | the rest of its body. A part may
     * be empty; the last that is not ends in CRLF. */
    struct slice parts[PRESSED_PARTS];
    uint64_t size;    /* octets of the message itself (RFC 1870): without the dots that were stuffed */
    bool transparent; /* dots were stuffed: what DATA carries, and BDAT may not */
    bool eight_bit, utf8;
    struct slice message_id;      /* within the header */
    char to[LIMIT_ADDRESS + 1];   /* for RCPT: the domain as A-labels */
    char from[LIMIT_ADDRESS + 1]; /* for MAIL */
};

struct press {
    struct buddy memory;
    size_t guess; /* a little more than the last message needed: the first try for the next */
    struct json_token *tokens;
    char reason[MESSAGE_ERROR_TEXT];
};

enum press_result {
    PRESS_BROKEN = 0,
    PRESS_DONE,
    PRESS_NO_ROOM, /* try again when something was given back */
    PRESS_INVALID, /* this recipient cannot be written to */
};

/* False: the arena is too small. `budget` is rounded down to a power of two. */
must_use bool press_open(struct press *press, struct arena *arena, size_t budget);
/* Renders one message for a complete campaign. INVALID: *reason says why, borrowed until the next call. */
must_use enum press_result press_render(struct press *press, const struct campaign *campaign,
                                        const struct attempt *attempt, nsec wall, struct pressed **pressed,
                                        struct slice *reason);
void press_give(struct press *press, struct pressed *pressed);
static inline size_t press_used(const struct press *press) { return press->memory.used; }

#endif
