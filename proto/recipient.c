/* recipient.c - producers push JSON, bare addresses and now and then rubbish; each entry becomes a recipient or a
 * reason. */
#include "proto/recipient.h"

#include "proto/utf8.h"

static bool fail(struct recipient_fault *fault, const char *reason, size_t position)
{
    *fault = (struct recipient_fault){reason, position};
    return false;
}

/* A bare address becomes {"to":"..."} in the room, so that templates know one kind of recipient. */
static bool parse_bare(struct slice address, size_t offset, struct json_token *tokens, uint32_t cap, char *room,
                       struct recipient *recipient, struct recipient_fault *fault)
{
    static const struct slice before = SLICE("{\"to\":\""), after = SLICE("\"}");
    char *p = room;
    if (address.n > RECIPIENT_TO_MAX)
        return fail(fault, "the address is too long", offset + RECIPIENT_TO_MAX);
    size_t valid = utf8_valid_until(address);
    if (valid < address.n)
        return fail(fault, "neither JSON nor an address: not UTF-8", offset + valid);
    memcpy(p, before.p, before.n);
    p += before.n;
    for (size_t i = 0; i < address.n; i++) {
        if ((unsigned char)address.p[i] < 0x20 || address.p[i] == 0x7F)
            return fail(fault, "neither JSON nor an address: control character", offset + i);
        if (address.p[i] == '"' || address.p[i] == '\\')
            *p++ = '\\';
        *p++ = address.p[i];
    }
    memcpy(p, after.p, after.n);
    p += after.n;
    struct json_error error;
    if (!json_scan((struct slice){room, (size_t)(p - room)}, tokens, cap, &recipient->json, &error))
        return fail(fault, error.reason, offset);
    recipient->to = address;
    return true;
}

/* The bytes of a string, in the room if they had to be un-escaped. */
static struct slice string_in(struct recipient *recipient, uint32_t index, char *room)
{
    if (!recipient->json.tokens[index].escaped)
        return json_raw(&recipient->json, index);
    recipient->in_room = true;
    return (struct slice){room, json_text(&recipient->json, index, room)};
}

static bool read_to(struct recipient *recipient, size_t offset, char *room, struct recipient_fault *fault)
{
    uint32_t index = json_member(&recipient->json, 0, SLICE("to"));
    if (index == JSON_NONE)
        return fail(fault, "no \"to\"", offset);
    const struct json_token *token = &recipient->json.tokens[index];
    if (token->type != JSON_STRING)
        return fail(fault, "\"to\" is not a string", offset + token->start);
    /* Un-escaping only shortens: what is refused here for its escapes alone is no address of this world. */
    if (token->end - token->start > RECIPIENT_TO_MAX)
        return fail(fault, "the address is too long", offset + token->start);
    recipient->to = slice_trim(string_in(recipient, index, room));
    if (recipient->to.n == 0)
        return fail(fault, "\"to\" is empty", offset + token->start);
    return true;
}

static bool read_id(struct recipient *recipient, size_t offset, char *room, struct recipient_fault *fault)
{
    uint32_t index = json_member(&recipient->json, 0, SLICE("id"));
    if (index == JSON_NONE || recipient->json.tokens[index].type == JSON_NULL)
        return true;
    const struct json_token *token = &recipient->json.tokens[index];
    if (token->type != JSON_STRING && token->type != JSON_NUMBER)
        return fail(fault, "\"id\" is neither a string nor a number", offset + token->start);
    struct slice raw = json_raw(&recipient->json, index);
    if (!token->escaped) {
        recipient->id = raw;
    } else {
        const char *p = raw.p, *end = raw.p + raw.n;
        size_t n = 0;
        while (p < end && n <= LIMIT_RECIPIENT_ID) {
            char piece_room[4];
            struct slice piece = json_string_piece(&p, end, piece_room);
            if (n + piece.n <= LIMIT_RECIPIENT_ID)
                memcpy(room + n, piece.p, piece.n);
            n += piece.n;
        }
        recipient->in_room = true;
        recipient->id = (struct slice){room, n};
    }
    if (recipient->id.n > LIMIT_RECIPIENT_ID)
        return fail(fault, "\"id\" is too long", offset + token->start);
    return true;
}

bool recipient_parse(struct slice entry, struct json_token *tokens, uint32_t cap, char room[RECIPIENT_ROOM],
                     struct recipient *recipient, struct recipient_fault *fault)
{
    struct slice text = slice_trim(entry);
    size_t offset = (size_t)(text.p - entry.p);
    *recipient = (struct recipient){.in_room = false};
    if (entry.n > LIMIT_RECIPIENT)
        return fail(fault, "longer than a recipient may be", LIMIT_RECIPIENT);
    if (text.n == 0)
        return fail(fault, "empty", 0);
    if (text.p[0] != '{')
        return parse_bare(text, offset, tokens, cap, room, recipient, fault);
    struct json_error error;
    if (!json_scan(text, tokens, cap, &recipient->json, &error))
        return fail(fault, error.reason, offset + error.position);
    return read_to(recipient, offset, room, fault) && read_id(recipient, offset, room + RECIPIENT_TO_MAX, fault);
}
