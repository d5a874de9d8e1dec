/* bulk.h - what bulk mail says of itself in headers, besides List-Unsubscribe: each a field of the campaign's hash.
 *
 *   list_id         "Shop news <news.shop.example>" or "news.shop.example": List-Id (RFC 2919). No merge fields: it is
 *                   the list's name, the same for everybody
 *   feedback_id     "spring:c42:mail:shopexample": Feedback-ID as Gmail reads it: up to four fields with colons
 * between, the last one the sender's id of 5 to 15 letters, digits, '.', '_' or '-'. Merge fields are allowed but in
 * the last precedence      bulk, list or junk: Precedence (RFC 3834 §3.1.8 tells who looks at it) auto_submitted
 * auto-generated, auto-replied or no: Auto-Submitted (RFC 3834 §5) */
#ifndef PROTO_MESSAGE_BULK_H
#define PROTO_MESSAGE_BULK_H

#include "proto/message/plan.h"

enum bulk_header { BULK_BROKEN = 0, BULK_LIST_ID, BULK_FEEDBACK_ID, BULK_PRECEDENCE, BULK_AUTO_SUBMITTED, BULK_COUNT };

struct slice bulk_field(enum bulk_header header); /* of the hash: "list_id" */
struct slice bulk_name(enum bulk_header header);  /* of the header: "List-Id" */
/* Appends the header to the plan, or fails. `value` is borrowed as long as the plan is. */
must_use bool bulk_plan(struct planning *p, enum bulk_header header, struct slice value);

#endif
