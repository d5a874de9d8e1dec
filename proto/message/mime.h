/* mime.h - the body of a message as MIME (RFC 2045, 2046): parts between boundaries.
 *
 * No boundary can occur in a part: what is encoded here has no line that begins with "-" (encode.h). */
#ifndef PROTO_MESSAGE_MIME_H
#define PROTO_MESSAGE_MIME_H

#include "proto/message/plan.h"

/* Plans the body from the campaign's text or html, or both as multipart/alternative; a slice whose p is NULL is not
 * there. Appends MIME-Version and what follows from it to the headers. */
must_use bool mime_plan_bodies(struct planning *p, struct slice text, struct slice html);
/* Room that suffices for one of them. */
size_t mime_room(struct slice body);

#endif
