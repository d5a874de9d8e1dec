/* encode.h - quoted-printable and base64 for bodies (RFC 2045 §6.7, §6.8), in pieces of any size.
 *
 * Guarantees, however the text is cut into pieces:
 *  - lines are at most 76 octets without their CRLF, and all octets are printable ASCII but for spaces and tabs;
 *  - decoding gives the text back with every line end (CRLF, or a CR or LF alone) as CRLF, ended by one;
 *  - no line ends in white space, and none begins with "." or "-" or with "From " (RFC 2049 §3): no line can be taken
 *    for the end of the message, for a MIME boundary, or for a mailbox' separator.
 * The text should be UTF-8 but may be anything. */
#ifndef PROTO_MESSAGE_ENCODE_H
#define PROTO_MESSAGE_ENCODE_H

#include "proto/message/out.h"

enum encoding {
    ENCODING_BROKEN = 0,
    ENCODING_QP,
    ENCODING_BASE64,
};

enum { ENCODE_LINE_MAX = 76 };

/* Where an encoder stands between two pieces. A plain value: a copy continues from the same place. */
struct encoder {
    enum encoding encoding;
    uint8_t column;
    uint8_t carried; /* base64: octets in `carry` */
    bool cr;         /* the last octet was a CR: a LF now belongs to it */
    bool open;       /* the text's last line has no line end yet */
    char held;       /* quoted-printable: white space that must be encoded if the line ends here; 0: none */
    unsigned char carry[2];
};

static inline struct encoder encoder_start(enum encoding encoding) { return (struct encoder){.encoding = encoding}; }

void encode_text(struct encoder *encoder, struct slice text, struct out *out);
/* Octets as they are, line ends too. Base64 alone. */
void encode_octets(struct encoder *encoder, struct slice octets, struct out *out);
/* Ends the current line by a soft break, so that what follows may have been encoded elsewhere from column 0. Requires
 * quoted-printable. */
void encode_soft_break(struct encoder *encoder, struct out *out);
/* Ends text: its last line gets its line end, base64 its padding. */
void encode_finish(struct encoder *encoder, struct out *out);
/* Ends octets: base64 gets its padding. */
void encode_finish_octets(struct encoder *encoder, struct out *out);

struct slice encoding_name(enum encoding encoding); /* "quoted-printable", as Content-Transfer-Encoding has it */

/* The four characters of three octets, or the two or three of one or two, with their padding; returns 4. For encoded
 * words too. */
size_t encode_base64_group(const unsigned char *octets, size_t n, char to[4]);

/* Decodes what others have encoded (RFC 2045); `to` needs as many bytes as there are in `text`. Returns what was
 * written, or SIZE_MAX if it is not decodable. Quoted-printable is read leniently (§6.7: an '=' that is no escape
 * stands for itself); base64 passes over line ends and white space. */
size_t decode_qp(struct slice text, char *to);
size_t decode_base64(struct slice text, char *to);

#endif
