/* outcome.h - what an attempt came to, as the session or the route reports it. Values only. */
#ifndef SLUICE_OUTCOME_H
#define SLUICE_OUTCOME_H

#include "sluice/base.h"
#include "sluice/limits.h"

/* How far the attempt had come when its fate was decided. */
enum stage {
    STAGE_BROKEN = 0,
    STAGE_RECIPIENT, /* the recipient's own entry: JSON, address */
    STAGE_ROUTE,     /* DNS and what follows from it */
    STAGE_CONNECT,   /* TCP */
    STAGE_GREETING,
    STAGE_EHLO, /* EHLO or HELO */
    STAGE_STARTTLS,
    STAGE_AUTH,
    STAGE_MAIL,
    STAGE_RCPT,
    STAGE_DATA, /* the DATA command, before any byte of the body */
    STAGE_BODY, /* the body left: the reply to the final dot, or its absence */
    STAGE_COUNT
};

/* What happened at that stage. A reply is what a server said; everything else is what we saw happen. */
enum happening {
    HAPPENING_BROKEN = 0,
    HAPPENING_REPLY,       /* `code` and `reply` hold it */
    HAPPENING_CLOSED,      /* the peer closed without a reply */
    HAPPENING_RESET,       /* ECONNRESET, EPIPE and their like */
    HAPPENING_TIMEOUT,     /* RFC 5321 §4.5.3.2 */
    HAPPENING_REFUSED,     /* connect: ECONNREFUSED */
    HAPPENING_UNREACHABLE, /* connect: no route, or every host of the ISP is held dead */
    HAPPENING_GARBAGE,     /* the peer does not speak SMTP, or overran a limit */
    HAPPENING_LOCAL,       /* we could not: no descriptor, port or memory; `reply` says it */
    HAPPENING_NXDOMAIN,    /* route: the domain does not exist */
    HAPPENING_NULL_MX,     /* route: RFC 7505 */
    HAPPENING_NO_ADDRESS,  /* route: neither MX nor address, or MX hosts without any address */
    HAPPENING_DNS_FAILURE, /* route: SERVFAIL or no answer */
    HAPPENING_STS,         /* route: the domain's MTA-STS policy allows none of its mail hosts (RFC 8461 §5) */
    HAPPENING_SIZE,        /* the message is larger than the server's SIZE (RFC 1870) */
    HAPPENING_EIGHT_BIT,   /* the message needs 8BITMIME or SMTPUTF8 and the server lacks it */
    HAPPENING_INVALID,     /* the entry is no recipient; `reply` holds the reason and the offending position */
    HAPPENING_DUPLICATE,   /* `unique`: the address has had this campaign */
    HAPPENING_SUPPRESSED,  /* the address is on the suppression list; `reply` says why and since when */
    HAPPENING_CANCELLED,   /* the campaign was cancelled */
    HAPPENING_EXPIRED,     /* given up by schedule */
    HAPPENING_IN_DOUBT,    /* recovered: permit without end */
    HAPPENING_TLS,         /* the handshake failed, or the certificate is not what is asked for; `reply` says how */
    HAPPENING_NOT_OFFERED, /* the server offers no STARTTLS, or no AUTH, where it is demanded */
    HAPPENING_COUNT
};

struct outcome {
    enum stage stage;
    enum happening happening;
    bool body_left;      /* a byte of the body may have left */
    bool mail_left;      /* its MAIL may have left */
    uint16_t code;       /* basic reply code, 0 when there was none */
    char status[12];     /* enhanced status "5.1.1" (RFC 3463), "" when there was none */
    uint64_t bytes;      /* of the message, as it was or would have been sent */
    nsec started_wall;   /* when MAIL was handed to the ring; 0 if it never was */
    nsec took;           /* from then to now */
    char mx[LIMIT_DOMAIN + 1];
    char ip[64];         /* of the peer */
    char tls[96];        /* "TLSv1.3 TLS_AES_256_GCM_SHA384 verified"; "" in plain text */
    char message_id[LIMIT_MESSAGE_ID + 1]; /* of what was rendered; "" when nothing was */
    char reply[LIMIT_EVENT_REPLY + 1]; /* the reply's lines joined with " / ", controls replaced; or our own sentence */
};

const char *stage_name(enum stage stage);             /* "rcpt"; proto/policy/verdict.c */
const char *happening_name(enum happening happening); /* "closed" */

#endif
