/* message.h - a campaign's message: planned once, rendered for each recipient (RFC 5322, RFC 2045-2049, RFC 8058).
 *
 * The plan is made from the campaign's hash. All that its messages share is encoded then, and a rendering copies it and
 * fills in the merge fields: no allocation, no clock, no randomness.
 *
 * Guarantees for every rendered message, whatever the merge fields hold:
 *  - octets below 0x80 alone (but for an address that needs SMTPUTF8, which `utf8` tells), lines end in CRLF and
 *    nowhere else stands a CR or LF, no NUL, no line is longer than LIMIT_TEXT_LINE; the last line ends in CRLF;
 *  - a merge field adds no header, no address and no MIME boundary;
 *  - From, To, Date, Message-ID and MIME-Version stand there once each; Message-ID is
 *    <campaign.seq.token@domain of the sender>, and the header X-Campaign holds campaign/seq, never folded;
 *  - text is in quoted-printable or base64, whichever is shorter for the template. Dots are not stuffed: that is the
 *    session's.
 *
 * Fields of the hash that are read; the others are passed over:
 *   from              one mailbox: "Shop <news@shop.example>" or "news@shop.example"
 *   subject           may be missing
 *   html, text        at least one; both give multipart/alternative, text first
 *   mime              instead of html and text: a whole message of one's own, see source.h
 *   reply_to          one or more mailboxes, separated by commas
 *   headers           a JSON object, name to string: headers of one's own. Refused: names that are none, a name given
 *                     twice, what Sluice writes, what only relays and receivers write. List-Unsubscribe-Post is passed
 *                     over: it comes with List-Unsubscribe
 *   list_unsubscribe  https URL, mailto URL, or both separated by a comma. Gives List-Unsubscribe and, with an https
 *                     URL, List-Unsubscribe-Post (RFC 8058)
 *   list_id, feedback_id, precedence, auto_submitted   see bulk.h
 *   strict            1: a recipient that lacks a merge field is invalid. Otherwise the field is empty
 *
 * All of these but `strict` are templates (template.h); values are HTML-escaped in html alone. In list_unsubscribe they
 * are percent-encoded, but for a field that an URL begins with: that holds the whole URL. In an address the display
 * name and the address are filled in apart from each other: neither can become the other. */
#ifndef PROTO_MESSAGE_MESSAGE_H
#define PROTO_MESSAGE_MESSAGE_H

#include "proto/json.h"
#include "sluice/limits.h"
#include "sluice/slice.h"

enum { MESSAGE_ERROR_NAME = 64 };

/* What is wrong, and where. Borrows nothing. */
struct message_error {
    struct slice field;            /* a constant: of the hash ("html"), or one of our headers; empty: the whole */
    const char *reason;            /* a constant: "the section is not closed" */
    char name[MESSAGE_ERROR_NAME]; /* beginning of the merge field's, section's or header's name; may be "" */
    bool has_position;
    size_t position; /* in the field's value, from 0 */
};
enum { MESSAGE_ERROR_TEXT = 256 };
/* The error as a sentence, `html: the section is not closed "items", at byte 120`; at most cap - 1 bytes and a zero. */
size_t message_error_text(const struct message_error *error, char *to, size_t cap);

struct message_plan;

/* Bytes of memory that certainly suffice to plan this hash; `items` are names and values in turn, as HGETALL gives. */
size_t message_plan_room(const struct slice *items, unsigned count);
/* Makes the plan inside `room`, which must be aligned for any type. The plan borrows `room` and the bytes of the hash
 * for as long as it is used; it holds nothing else, so dropping those drops it. `used` (may be NULL) is what the plan
 * took of the room; the same hash takes the same again, so a second call can use a room of exactly that size.
 * NULL: the campaign is incomplete, `error` says why. */
must_use struct message_plan *message_plan_make(const struct slice *items, unsigned count, void *room, size_t size,
                                                size_t *used, struct message_error *error);

/* The address in From, without brackets; empty when it holds merge fields. What the return path is unless the campaign
 * names one. */
struct slice message_plan_sender(const struct message_plan *plan);
/* What the bodies of all messages begin with: all that precedes the first merge field, encoded. The whole body if there
 * is none. */
struct slice message_plan_shared(const struct message_plan *plan);
/* False: no line of any message begins with a dot, so that there is nothing to stuff (RFC 5321 §4.5.2). */
bool message_plan_dotted(const struct message_plan *plan);

struct message_recipient {
    const struct json *json; /* merge fields, as recipient.h gives them */
    struct slice to;         /* for the To header: the address that RCPT names, its domain as A-labels */
    struct slice campaign;   /* id, [A-Za-z0-9._-] */
    uint64_t seq;
    struct slice token; /* makes this copy's Message-ID unique: letters and digits, at most 64 */
    nsec wall;          /* for Date, UTC */
};

enum message_result {
    MESSAGE_BROKEN = 0,
    MESSAGE_OK,
    MESSAGE_TOO_SMALL, /* `n` is what the message needs; nothing useful was written */
    MESSAGE_INVALID,   /* this recipient cannot be written to; `error` says why */
};

struct message_rendered {
    size_t n;                /* octets written, or needed */
    size_t body;             /* of them, those before the body: header and empty line */
    struct slice message_id; /* with its angle brackets; lies in `to` */
    bool utf8;               /* a header holds UTF-8: SMTPUTF8 is needed (RFC 6531) */
    struct message_error error;
};

must_use enum message_result message_render(const struct message_plan *plan, const struct message_recipient *recipient,
                                            char *to, size_t cap, struct message_rendered *rendered);
/* The same without message_plan_shared, whose place is at `body`. */
must_use enum message_result message_render_own(const struct message_plan *plan,
                                                const struct message_recipient *recipient, char *to, size_t cap,
                                                struct message_rendered *rendered);

#endif
