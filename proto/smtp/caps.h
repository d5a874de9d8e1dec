/* caps.h - what a server says it can, from its reply to EHLO (RFC 5321 §4.1.1.1).
 *
 * Tolerant: keywords in any case, unknown ones skipped, odd parameters ignored, the old "AUTH=" read like "AUTH ". */
#ifndef PROTO_SMTP_CAPS_H
#define PROTO_SMTP_CAPS_H

#include "proto/smtp/reply.h"

/* Bits of caps.auth (RFC 4954). */
enum {
    CAPS_AUTH_PLAIN = 1,
    CAPS_AUTH_LOGIN = 2,
    CAPS_AUTH_CRAM_MD5 = 4,
    CAPS_AUTH_XOAUTH2 = 8,
    CAPS_AUTH_OAUTHBEARER = 16,
    CAPS_AUTH_OTHER = 32,
};

struct caps {
    bool pipelining;      /* RFC 2920 */
    bool size;            /* RFC 1870: MAIL may carry SIZE= */
    uint64_t size_max;    /* octets; 0: the server names no limit */
    bool eight_bit_mime;  /* RFC 6152 */
    bool smtputf8;        /* RFC 6531 */
    bool chunking;        /* RFC 3030 */
    bool starttls;        /* RFC 3207 */
    bool dsn;             /* RFC 3461 */
    bool enhanced_status; /* RFC 2034 */
    unsigned auth;        /* CAPS_AUTH_* */
};

/* As after HELO: nothing. */
void caps_clear(struct caps *caps);
/* From a complete 2xx reply to EHLO; its first line is the server's name and greeting and says nothing. */
void caps_parse(struct caps *caps, const struct reply *reply);

#endif
