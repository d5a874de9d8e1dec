/* recipient.h - one entry of a recipients' list: JSON {"to", "name", "id", ...} or a bare address.
 *
 * White space around the entry is passed over. An entry that begins with '{' is JSON; everything else is an address.
 * Whether `to` is an address that SMTP can carry is for proto/smtp/address.h to say. */
#ifndef PROTO_RECIPIENT_H
#define PROTO_RECIPIENT_H

#include "proto/json.h"
#include "sluice/limits.h"

enum {
    RECIPIENT_TO_MAX = 1024, /* bytes of `to`: an address in UTF-8 is longer than its A-labels */
    /* What `room` must hold: `to` once more as JSON, where a byte takes at most two, and `id`. */
    RECIPIENT_ROOM = 2 * RECIPIENT_TO_MAX + LIMIT_RECIPIENT_ID + 16,
    RECIPIENT_TOKENS = JSON_TOKENS_MAX(LIMIT_RECIPIENT), /* suffices for every entry */
};

/* Borrows the entry, the tokens and the room. */
struct recipient {
    struct slice to;  /* the address as it was given, un-escaped, white space around it left out */
    struct slice id;  /* the recipient's own id, a string or a number; empty if it has none */
    bool in_room;     /* `to` or `id` lies in the room, not in the entry: copy it before the room is used again */
    struct json json; /* its merge fields: an object. A bare address has one field, "to" */
};

struct recipient_fault {
    const char *reason; /* a constant: "no \"to\"" */
    size_t position;    /* in the entry as it was given, counted from 0 */
};

/* False: the entry is no recipient, `fault` says why and where. */
must_use bool recipient_parse(struct slice entry, struct json_token *tokens, uint32_t cap, char room[RECIPIENT_ROOM],
                              struct recipient *recipient, struct recipient_fault *fault);

#endif
