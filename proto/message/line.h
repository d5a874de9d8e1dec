/* line.h - the headers of a message: planned as templates, rendered one by one. */
#ifndef PROTO_MESSAGE_LINE_H
#define PROTO_MESSAGE_LINE_H

#include "proto/message/plan.h"

/* Each appends one header to the plan, or fails. `field` is the hash's field that `value` comes from, for errors; name
 * and value are borrowed as long as the plan is. What has no merge field is rendered at once. */
must_use bool line_plan_text(struct planning *p, struct slice field, struct slice name, struct slice value);
must_use bool line_plan_words(struct planning *p, struct slice field, struct slice name, struct slice value);
/* At most `most` mailboxes. `sender`: it is the From of the message. */
must_use bool line_plan_mailboxes(struct planning *p, struct slice field, struct slice name, struct slice value,
                                  unsigned most, bool sender);
must_use bool line_plan_urls(struct planning *p, struct slice field, struct slice value);
/* A header that people named: written as its name demands; refused if it is Sluice's own or there already. `again`: one
 * of free text may be there more than once. List-Unsubscribe-Post is passed over, for List-Unsubscribe brings it. */
must_use bool line_plan_given(struct planning *p, struct slice field, struct slice name, struct slice value,
                              bool again);
/* TO, DATE, MESSAGE_ID, CAMPAIGN. */
must_use bool line_plan_own(struct planning *p, enum line_kind kind);

/* Room that suffices for headers made from so many bytes of values. */
size_t line_room(size_t bytes);

/* While a message is rendered. */
struct line_render {
    const struct message_recipient *recipient;
    bool strict;
    struct out *out;
    struct slice domain; /* of the sender; known once From is written, which is first */
    char domain_room[LIMIT_DOMAIN];
    bool utf8;
    size_t message_id_at, message_id_n; /* where it stands in `out` */
    struct message_error *error;
};
must_use bool line_render(struct line_render *r, const struct line *line);

#endif
