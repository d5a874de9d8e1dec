/* entry.h - a recipient's entry as people pushed it, read as far as it takes to send there. */
#ifndef FLOW_ENTRY_H
#define FLOW_ENTRY_H

#include "proto/recipient.h"
#include "proto/smtp/address.h"

/* Borrows the entry, the tokens and the room that it was read with. */
struct entry {
    struct recipient recipient; /* to, id: empty as long as they could not be read */
    struct address address;
    char domain[LIMIT_DOMAIN + 1]; /* as A-labels, if the address's is none yet; else "" */
};

/* Its domain in the form that DNS and SMTP want. */
static inline struct slice entry_domain(const struct entry *entry)
{
    return entry->domain[0] ? slice_of(entry->domain) : entry->address.domain;
}

/* NULL, or what is wrong with it, a constant, and at which byte: of the entry, or, once `to` was read, of that.
 * `tokens`: RECIPIENT_TOKENS of them. */
must_use const char *entry_read(struct slice raw, struct json_token *tokens, char room[RECIPIENT_ROOM],
                                struct entry *entry, size_t *position);

#endif
