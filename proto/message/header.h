/* header.h - header fields on the wire (RFC 5322 §2.2, RFC 2047), and mailboxes as people write them.
 *
 * Guarantees, whatever the values hold:
 *  - each call writes one field "Name: ..." that ends in the only CRLF not followed by a space: CR, LF, NUL and other
 *    controls in a value become spaces, so a value adds no field;
 *  - lines are at most 78 octets (76 where there is an encoded word) if there is white space to fold at, and no folded
 *    line is white space alone;
 *  - what is not ASCII becomes UTF-8 encoded words of at most 75 octets, none split inside a character; so does text
 *    that only looks like an encoded word, and a word too long for a line. A reader who unfolds and decodes has the
 *    value again, without white space at its ends. */
#ifndef PROTO_MESSAGE_HEADER_H
#define PROTO_MESSAGE_HEADER_H

#include "proto/message/out.h"

enum {
    HEADER_LINE = 78,         /* RFC 5322 §2.1.1 */
    HEADER_ENCODED_LINE = 76, /* RFC 2047 §2 */
    HEADER_WORD_MAX = 900,    /* a longer word is encoded so that it can be folded: a line ends at 998 */
};

/* A field of free text: Subject, and all whose structure is not known. */
void header_text(struct out *out, struct slice name, struct slice value);
/* A field of words that must stay as they are: folded at spaces, never encoded. The words must be printable ASCII, or
 * UTF-8 where SMTPUTF8 is spoken; anything else becomes a space. */
void header_words(struct out *out, struct slice name, struct slice value);

/* display: without quotes, UTF-8, may be empty. address: a valid addr-spec. */
struct mailbox {
    struct slice display, address;
};
/* From, To, Reply-To: `count` mailboxes, at least one. */
void header_mailboxes(struct out *out, struct slice name, const struct mailbox *mailboxes, unsigned count);

/* A name that a field may have: printable ASCII without colon, at most 76 (RFC 5322 §3.6.8). */
bool header_is_name(struct slice name);
/* True for fields in whose values encoded words are not allowed, because their grammar has no free text. */
bool header_is_structured(struct slice name);

/* ---- reading what people wrote ---- */

/* Takes the next mailbox of a comma-separated list off `list`: `Shop <a@b>`, `"Shop, Inc." <a@b>`, or `a@b`. A comma
 * that no address precedes belongs to the name. The slices borrow from the list; the display name still has its quotes.
 * Merge fields {{...}} are passed over whole. False: there is none, `reason` says why. */
must_use bool header_next_mailbox(struct slice *list, struct mailbox *mailbox, const char **reason);
/* The display name without quotes and backslashes; `to` needs display.n bytes. Returns the bytes written. */
size_t header_unquote(struct slice display, char *to);
/* Replaces encoded words by the UTF-8 that they stand for; `to` needs 2 * text.n bytes. Returns the bytes written, or
 * SIZE_MAX if one is in a charset other than UTF-8, US-ASCII or ISO-8859-1. */
size_t header_decode(struct slice text, char *to);

#endif
