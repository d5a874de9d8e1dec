/* relay.h - what a relay's refusal says of our way to it, rather than of a message.
 *
 * A relay (smarthost) knows who we are and counts what we send: it refuses for the sake of our account, and then every
 * message fares alike. Such a refusal is never held against a recipient, whatever its code: the message was not taken,
 * and waits. What is not found here is judged as that of any mail exchanger (verdict.h). Published texts: Amazon SES
 * (454 Throttling failure), Gmail's relay (450 4.2.1, 550 5.4.5), Microsoft 365 (432 4.3.2, 554 5.2.0), SendGrid. */
#ifndef PROTO_POLICY_RELAY_H
#define PROTO_POLICY_RELAY_H

#include "sluice/base.h"
#include "sluice/outcome.h"

enum relay_word {
    RELAY_WORD_BROKEN = 0,
    RELAY_WORD_NONE, /* nothing of the kind */
    RELAY_WORD_STOP, /* it does not know us: RFC 4954 §6 (530, 534, 535, 538), or AUTH refused for good, at any stage */
    RELAY_WORD_SLOW,  /* too fast: 454 or 4.7.0 before RCPT, and what says so in words */
    RELAY_WORD_QUOTA, /* the day's or month's number is used up */
    RELAY_WORD_FEWER, /* too many connections at once: 432 4.3.2, and what says so in words */
    RELAY_WORD_COUNT
};

/* Of a reply to a session with a relay; everything else is RELAY_WORD_NONE. */
enum relay_word relay_word_of(const struct outcome *outcome);
const char *relay_word_text(enum relay_word word); /* for people: "it refused our credentials" */

#endif
