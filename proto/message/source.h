/* source.h - `mime`: a whole message of the platform's own, taken apart, filled in and put together again.
 *
 * Headers: From, To, Subject and all others may hold merge fields; encoded words are decoded first, so that fields are
 * found inside them. Date, Message-ID and MIME-Version are Sluice's own, whatever the message says. What the message
 * lacks, the campaign's from, subject, reply_to, list_unsubscribe and headers add. Refused: Bcc and what only relays
 * and receivers write; a header there twice of which there may be one (RFC 5322 §3.6).
 *
 * Body: texts (text/... that are no attachments, in UTF-8 or ASCII, in any transfer encoding) are templates and encoded
 * anew; their charset becomes utf-8. A text in another charset is sent as it is and must have no merge fields. All else
 * is data: base64 is laid out in lines of 76, other encodings become base64. A message inside the message must be ASCII
 * with lines of at most 998, for RFC 2046 §5.2.1 lets nobody encode it. multipart/signed is refused: what is signed may
 * not be touched. Boundaries stay; what precedes the first and follows the last is left out. */
#ifndef PROTO_MESSAGE_SOURCE_H
#define PROTO_MESSAGE_SOURCE_H

#include "proto/message/content.h"
#include "proto/message/plan.h"

struct source {
    struct slice whole, header, body;
    struct content_field *fields; /* of the header, values unfolded */
    unsigned count;
};

/* Reads the header of the message; fails where a line is no header. */
must_use bool source_read(struct planning *p, struct slice mime, struct source *source);
/* The value of the first header of that name; p is NULL if there is none. */
struct slice source_value(const struct source *source, struct slice name);
/* Appends to the plan: the headers other than From, To, Subject and those that belong to the body; the body's own
 * headers and the body. */
must_use bool source_plan_headers(struct planning *p, const struct source *source);
must_use bool source_plan_body(struct planning *p, const struct source *source);

/* Room that suffices for all of it. */
size_t source_room(struct slice mime);

#endif
