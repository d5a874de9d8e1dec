/* fuzz_recipient.c - whatever a producer pushes is a recipient or has a reason and a place within the entry. */
#include "proto/recipient.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct json_token tokens[RECIPIENT_TOKENS];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice entry = {(const char *)data, size};
    struct recipient recipient;
    struct recipient_fault fault;
    char room[RECIPIENT_ROOM], text[RECIPIENT_ROOM];
    if (!recipient_parse(entry, tokens, RECIPIENT_TOKENS, room, &recipient, &fault)) {
        sluice_assert(fault.reason && fault.position <= size);
        return 0;
    }
    sluice_assert(recipient.to.n > 0 && recipient.to.n <= RECIPIENT_TO_MAX && recipient.id.n <= LIMIT_RECIPIENT_ID);
    uint32_t to = json_member(&recipient.json, 0, SLICE("to"));
    sluice_assert(to != JSON_NONE && json_raw(&recipient.json, to).n <= sizeof(text));
    size_t n = json_text(&recipient.json, to, text);
    sluice_assert(json_string_equal(&recipient.json, to, (struct slice){text, n}) && n >= recipient.to.n);
    for (uint32_t i = 0; i < recipient.json.count; i++) {
        const struct json_token *token = &recipient.json.tokens[i];
        sluice_assert(token->start <= token->end && token->end <= recipient.json.text.n);
        sluice_assert(token->next > i && token->next <= recipient.json.count);
    }
    return 0;
}
