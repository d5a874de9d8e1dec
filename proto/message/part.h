/* part.h - one text of a message: a template whose text is encoded once, and whose fields are encoded as they come.
 *
 * The text between two fields is encoded ahead from the start of a line. It is joined to the field before it at its
 * first line end if that is near; else by a soft line break, which a decoder removes. */
#ifndef PROTO_MESSAGE_PART_H
#define PROTO_MESSAGE_PART_H

#include "proto/message/encode.h"
#include "proto/message/room.h"
#include "proto/message/template.h"

/* How a text node is written: `head` is encoded at its time, then, after a soft break if `soft`, `tail` is copied, and
 * the encoder continues from `after`. */
struct segment {
    struct slice head, tail;
    bool soft, has_tail;
    struct encoder after;
};

struct part {
    struct template template;
    struct segment *segments; /* one for each node */
    enum template_escape escape;
    enum encoding encoding;
    uint32_t shared;       /* texts that stand before the first field */
    struct encoder behind; /* where the encoder stands behind them */
};

/* Borrows `source` and lies in `room`, for as long as it is used. False: `error` says why; if room->full there was not
 * enough room and `error` is not set. */
must_use bool part_make(struct part *part, struct slice source, enum template_escape escape, struct room *room,
                        struct template_error *error);
/* Room that certainly suffices for part_make and its source. */
size_t part_room(struct slice source);

/* Appends the encoded text, ended by CRLF unless it is empty. */
must_use bool part_render(const struct part *part, const struct json *json, bool strict, struct out *out,
                          struct template_error *error);
/* The same in two pieces: what every rendering begins with, up to the first field, and what follows that. */
void part_render_shared(const struct part *part, struct out *out);
must_use bool part_render_rest(const struct part *part, const struct json *json, bool strict, struct out *out,
                               struct template_error *error);
/* True: there is no field, and the rest is empty. */
static inline bool part_is_shared(const struct part *part) { return part->shared == part->template.count; }

#endif
