/* content.h - reads a MIME entity that somebody else wrote (RFC 5322 §2.2, RFC 2045 §5, RFC 2046 §5.1): its header, its
 * content type and, if it is a multipart, its parts. Line ends may be CRLF or LF. All slices borrow from the entity. */
#ifndef PROTO_MESSAGE_CONTENT_H
#define PROTO_MESSAGE_CONTENT_H

#include "sluice/slice.h"

/* Divides at the first empty line; without one all is header. */
void content_split(struct slice entity, struct slice *header, struct slice *body);

struct content_field {
    struct slice name;
    struct slice value; /* still folded, without white space around it */
};
/* Takes the next field off the header. False at its end, or, with `header` not empty, at a line that is no field. */
must_use bool content_next_field(struct slice *header, struct content_field *field);
/* The value without its line ends; `to` needs value.n bytes. Returns the bytes written. */
size_t content_unfold(struct slice value, char *to);

enum content_encoding {
    CONTENT_BROKEN = 0, /* no encoding of that name */
    CONTENT_IDENTITY,   /* 7bit, 8bit, binary, or not said */
    CONTENT_QP,
    CONTENT_BASE64,
};

struct content {
    struct slice type;     /* "text/html"; "text/plain" when there is no Content-Type (RFC 2045 §5.2) */
    struct slice value;    /* of Content-Type, with its parameters; empty when there is none */
    struct slice charset;  /* empty when not said */
    struct slice boundary; /* empty when not said */
    enum content_encoding encoding;
    bool attachment; /* Content-Disposition says so */
};
struct content content_read(struct slice header);

bool content_is(const struct content *content, struct slice major); /* "text", "multipart", "message" */

/* The next parameter of a field's value: takes "; name=value" off `rest`; the value is without its quotes. False when
 * there is no more. `whole` is the parameter as it stands, name to end. */
must_use bool content_next_parameter(struct slice *rest, struct slice *name, struct slice *value, struct slice *whole);

/* Takes the next part off a multipart's body; call first with `started` false: what precedes the first boundary is
 * passed over. The line end before a boundary is not the part's. */
must_use bool content_next_part(struct slice *body, struct slice boundary, bool *started, struct slice *part);

#endif
