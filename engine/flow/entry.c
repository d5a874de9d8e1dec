/* What the engine refuses as no recipient, whoever looks at it: a lease, a preview, a forecast. */
#include "flow/entry.h"

#include "net/idn.h"

const char *entry_read(struct slice raw, struct json_token *tokens, char room[RECIPIENT_ROOM], struct entry *entry,
                       size_t *position)
{
    struct recipient_fault fault;
    struct address_fault address_fault;
    entry->domain[0] = 0;
    entry->recipient.to = entry->recipient.id = SLICE("");
    if (!recipient_parse(raw, tokens, RECIPIENT_TOKENS, room, &entry->recipient, &fault)) {
        entry->recipient.to = entry->recipient.id = SLICE("");
        *position = fault.position;
        return fault.reason;
    }
    if (!address_parse(entry->recipient.to, &entry->address, &address_fault)) {
        *position = address_fault.position;
        return address_fault.reason;
    }
    *position = entry->address.local.n + 1;
    if (entry->address.utf8_domain && !idn_to_ascii(entry->address.domain, entry->domain))
        return "the domain is no internationalised domain name";
    if (entry->address.local.n + 1 + entry_domain(entry).n > LIMIT_ADDRESS)
        return "the address is longer than 254 octets";
    return NULL;
}
