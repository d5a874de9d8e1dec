/* address.h - is this a mailbox that an SMTP command may name? (RFC 5321 §4.1.2, RFC 6531 §3.3)
 *
 * Narrower than the RFC where that is what keeps a command line whole: an address that passes has no CR, LF, NUL or
 * other control, no space and no angle bracket, quoted or not. Address literals (user@[192.0.2.1]) and source routes
 * are refused. Wider in one place: '_' in a domain passes, as it does in the DNS. */
#ifndef PROTO_SMTP_ADDRESS_H
#define PROTO_SMTP_ADDRESS_H

#include "sluice/limits.h"
#include "sluice/slice.h"

/* Slices borrow from the text that was parsed. */
struct address {
    struct slice local, domain; /* as written; a quoted local part keeps its quotes */
    bool quoted;                /* the local part is a quoted string */
    bool utf8_local;            /* the local part is not ASCII: SMTPUTF8 is needed */
    bool utf8_domain;           /* the domain is not ASCII: turn it into A-labels first */
};

/* Why it is none. */
struct address_fault {
    const char *reason; /* a constant, as in "the local part is longer than 64 octets" */
    size_t position;    /* of the offending byte, from 0; the text's length when something is missing at its end */
};

/* False: `fault` says why, `address` is unspecified. Lengths are LIMIT_LOCAL_PART, LIMIT_DOMAIN and LIMIT_ADDRESS. */
must_use bool address_parse(struct slice text, struct address *address, struct address_fault *fault);
/* The domain alone, as in an EHLO name. ASCII or UTF-8 labels; `utf8` says which. */
must_use bool address_domain(struct slice text, bool *utf8, struct address_fault *fault);

#endif
