/* plan.h - what a plan is made of: shared by message.c, which makes and renders it, line.c and mime.c. */
#ifndef PROTO_MESSAGE_PLAN_H
#define PROTO_MESSAGE_PLAN_H

#include "proto/message/message.h"
#include "proto/message/part.h"

enum {
    PLAN_MAILBOXES_MAX = 16,   /* in one header */
    PLAN_URLS_MAX = 4,         /* in list_unsubscribe */
    PLAN_VALUE_MAX = 8 * 1024, /* bytes of a header's value with its fields filled in */
};

enum line_kind {
    LINE_BROKEN = 0,
    LINE_STATIC,    /* `bytes`, rendered when the plan was made */
    LINE_TEXT,      /* one template, free text */
    LINE_WORDS,     /* one template, printable ASCII, never encoded */
    LINE_MAILBOXES, /* two templates a mailbox: display name, address */
    LINE_URLS,      /* one template a URL; writes List-Unsubscribe-Post too */
    LINE_TO,
    LINE_DATE,
    LINE_MESSAGE_ID,
    LINE_CAMPAIGN,
};

/* One header of the message. */
struct line {
    struct line *next;
    enum line_kind kind;
    bool sender;        /* its address is the sender's: From */
    struct slice field; /* of the campaign's hash, for errors */
    struct slice name;
    struct slice bytes;
    struct template *templates;
    unsigned count;
};

/* A stretch of the body: bytes, or a part. */
struct piece {
    struct piece *next;
    struct slice field; /* for errors */
    struct slice bytes;
    const struct part *part;
};

struct message_plan {
    struct line *lines, **last_line;
    struct piece *pieces, **last_piece;
    struct slice shared;      /* what all bodies begin with */
    const struct piece *rest; /* the first that is not wholly in it; NULL: all is */
    struct slice sender;      /* the address in From; empty when it holds merge fields */
    bool utf8;                /* a header that never changes holds UTF-8 */
    bool strict;
    bool dotted; /* a line may begin with a dot */
};

/* While a plan is made. */
struct planning {
    struct message_plan *plan;
    struct room *room;
    struct message_error *error;
};

static inline void plan_error(struct message_error *error, struct slice field, const char *reason, struct slice name)
{
    *error = (struct message_error){.field = field, .reason = reason};
    slice_copy(error->name, sizeof(error->name), name);
}

/* Sets the error; returns false. */
bool plan_fail(struct planning *planning, struct slice field, const char *reason, struct slice name);
/* The same with the error of a template whose source is the field's own value, so that its position means something. */
bool plan_fail_at(struct planning *planning, struct slice field, const struct template_error *error);

/* Append to the plan; false if the room is full. A fixed header line is whole, with its CRLF. */
must_use bool plan_line(struct planning *planning, struct slice bytes);
must_use bool plan_static(struct planning *planning, struct slice bytes);
must_use bool plan_part(struct planning *planning, struct slice field, const struct part *part);

#endif
