/* write.h - what the client says: commands, and bodies made transparent (RFC 5321 §4.1.1, §4.5.2).
 *
 * Nothing that is passed in can end a line or start another: a command whose argument has a control, a space, an angle
 * bracket or too many bytes is not written at all. Every line ends in CRLF; no bare CR or LF ever goes out (§2.3.8). */
#ifndef PROTO_SMTP_WRITE_H
#define PROTO_SMTP_WRITE_H

#include "sluice/limits.h"
#include "sluice/slice.h"

/* ---- commands: each is written whole at `to`, and its length returned; 0: refused, or no room for it ---- */

/* `name`: our domain, or an address literal such as [192.0.2.1]. */
must_use size_t write_ehlo(char *to, size_t cap, struct slice name);
must_use size_t write_helo(char *to, size_t cap, struct slice name);

struct write_mail {
    struct slice from; /* empty: the null reverse-path */
    uint64_t size;     /* SIZE= (RFC 1870); 0: left out */
    bool eight_bit;    /* BODY=8BITMIME (RFC 6152) */
    bool utf8;         /* SMTPUTF8 (RFC 6531); without it an address that is not ASCII is refused */
};
must_use size_t write_mail(char *to, size_t cap, const struct write_mail *mail);
must_use size_t write_rcpt(char *to, size_t cap, struct slice address, bool utf8);
must_use size_t write_data(char *to, size_t cap);
must_use size_t write_rset(char *to, size_t cap);
must_use size_t write_quit(char *to, size_t cap);
must_use size_t write_starttls(char *to, size_t cap);
/* The line of AUTH (RFC 4954 §4), but without its end where an initial response is to follow. */
must_use size_t write_auth(char *to, size_t cap, struct slice mechanism, bool initial);
/* `size` octets follow at once (RFC 3030 §2). */
must_use size_t write_bdat(char *to, size_t cap, uint64_t size, bool last);

/* True: the address may stand between the angle brackets of MAIL or RCPT. The syntax of a mailbox is address.h's. */
bool write_address_safe(struct slice address, bool utf8);
/* True: base64 (RFC 4648 §4), or the "=" of an empty initial response: nothing that could end the line of AUTH. */
bool write_base64_safe(struct slice text);

/* ---- bodies ----
 *
 * A body comes as slices, in order; `line` holds what one slice leaves to the next. For each slice either
 * write_is_plain says that it may be sent as it is, or write_stuffed makes the bytes that are sent for it: a dot is put
 * before a dot that begins a line, a lone CR or LF becomes CRLF. The end is write_end, once. */

enum write_line {
    WRITE_LINE_BROKEN = 0,
    WRITE_LINE_START, /* a body begins so */
    WRITE_LINE_MIDDLE,
    WRITE_LINE_CR, /* the last byte was CR; if no LF follows, one is put there */
};

enum { WRITE_END_MAX = 5 }; /* most bytes of write_end */

/* True: `part` can go out unchanged, and `line` has moved behind it. False: `line` is as it was. */
must_use bool write_is_plain(struct slice part, enum write_line *line);
/* Writes at most `cap` >= 3 bytes, takes what they stand for from the front of `part`, and returns their number. All
 * is written when part->n is 0; until then call again with room. n bytes never become more than 2 n + 1. */
must_use size_t write_stuffed(char *to, size_t cap, struct slice *part, enum write_line *line);
/* The end of the last line if it has none, and ".\r\n". Returns its length; cap >= WRITE_END_MAX. */
must_use size_t write_end(char *to, size_t cap, enum write_line line);

#endif
