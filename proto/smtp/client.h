/* client.h - the client's side of one SMTP session as a pure state machine (RFC 5321, 2920, 1870, 6152, 3207, 4954,
 * 3030).
 *
 * Bytes go out through a buffer of the caller; replies come in one at a time, parsed by reply.c; message bodies and
 * credentials never pass through here. No clock: client_waits_for says for what, the caller watches how long.
 *
 * One message is a *slot*. By DATA at most two are open at once: one whose body is out or being written, and, with
 * PIPELINING across messages (RFC 2920 §3.1: the MAIL of the next message may follow in the group of the dot before
 * it), one whose MAIL, RCPT and DATA went out behind that dot. Without it there is one. By BDAT (RFC 3030) there are up
 * to `in_flight` messages whose chunk is out and unanswered, and one more whose MAIL and RCPT are out behind them.
 *
 * A server may advertise what it does not stand. In its first group of commands, and in its first group behind a body,
 * an answer that may mean just that (500, 503, 554, 421, a close) gives the message back untouched, and the client goes
 * on more slowly by itself; no chunk goes out ahead of the answers to its own envelope until such a group was answered
 * as it should be. BDAT is used only where it is proved that the server swallows a refused chunk, lest a message be
 * taken for commands: with no transaction open it is sent a chunk that reads "NOOP", and EHLO when that is refused. The
 * proof is that the next reply is EHLO's. And several are in flight only where an accepted chunk has one reply, lest
 * each be taken for the next one's: behind the first EHLO is asked again. Anything else ends the session.
 *
 * Guarantees:
 *  - every slot that was offered ends in exactly one CLIENT_ENDED;
 *  - nothing is written before the greeting, nothing behind EHLO, DATA, STARTTLS, AUTH or QUIT before their reply;
 *  - with `starttls`, what is offered in plain text is forgotten: EHLO is said again inside (RFC 3207 §4.2);
 *  - with `required`, neither credentials nor MAIL go out before client_secured;
 *  - DATA that was answered 354 though its RCPT was refused is closed by a lone dot (RFC 2920 §3.1), never by a body;
 *  - behind an unanswered chunk each envelope begins with RSET: what became of the chunk, it begins afresh;
 *  - a refusal in the greeting, at EHLO, STARTTLS, AUTH or at MAIL is marked as not the recipient's fault (the stage
 *    says so);
 *  - 421 ends the session wherever it comes; it is the answer to every body that is out, for what stands behind it was
 *    not done, and slots whose body has not left are given back unharmed;
 *  - a reply that nobody waits for ends the session as garbage: bodies that are out are in doubt. */
#ifndef PROTO_SMTP_CLIENT_H
#define PROTO_SMTP_CLIENT_H

#include "proto/smtp/caps.h"
#include "proto/smtp/reply.h"
#include "sluice/outcome.h"
#include "sluice/slice.h"

enum {
    CLIENT_IN_FLIGHT_MAX = 8,                    /* messages by BDAT whose chunk is out and unanswered */
    CLIENT_SLOTS_MAX = CLIENT_IN_FLIGHT_MAX + 1, /* open at once: one more has its envelope out */
};

enum client_state {
    CLIENT_BROKEN = 0,
    CLIENT_HANDSHAKE, /* the caller is to secure the connection: at its beginning, or 220 to STARTTLS came */
    CLIENT_GREETING,  /* connected, waiting for 220 */
    CLIENT_EHLO,
    CLIENT_HELO,
    CLIENT_STARTTLS,
    CLIENT_AUTH,      /* AUTH is out */
    CLIENT_AUTH_MORE, /* LOGIN: the user is out */
    CLIENT_AUTH_LAST, /* the last thing is out that we have to say to it */
    CLIENT_TRIAL,     /* the chunk of the proof is out, its refusal outstanding */
    CLIENT_TRIAL_END, /* it was refused, or a first one accepted: is the next reply that to EHLO? */
    CLIENT_READY,     /* no open slot; a message may be offered */
    CLIENT_MAIL,      /* the reply to MAIL is outstanding; with PIPELINING those to RCPT and DATA behind it */
    CLIENT_RCPT,
    CLIENT_DATA,
    CLIENT_SKIP_MAIL, /* as the three above, but the slot is over: its replies are read and lead nowhere */
    CLIENT_SKIP_RCPT,
    CLIENT_SKIP_DATA,
    CLIENT_SKIP_CHUNK, /* the same of a chunk that is out */
    CLIENT_VOID_RCPT,  /* MAIL was refused, and the chunk is out: should RCPT be accepted all the same... */
    CLIENT_VOID_CHUNK, /* ...only the reply to the chunk tells what became of the message */
    CLIENT_GO,         /* the body may be written as soon as its permit is there: 354 came, or RCPT before a chunk was
                          accepted */
    CLIENT_ABORT,      /* 354 came for a refused envelope: a lone dot is out */
    CLIENT_BODY,       /* body and dot, or chunk, are out, the reply outstanding; perhaps more behind it */
    CLIENT_RSET,       /* RSET is out; perhaps slots' envelopes behind it */
    CLIENT_QUIT,       /* QUIT is out */
    CLIENT_CLOSED,
    CLIENT_STATE_COUNT
};

enum client_mechanism {
    CLIENT_MECHANISM_NONE = 0, /* no AUTH */
    CLIENT_MECHANISM_PLAIN,    /* RFC 4616 */
    CLIENT_MECHANISM_LOGIN,
    CLIENT_MECHANISM_XOAUTH2,
};

/* What AUTH says, in base64 as it goes out: opaque here, lent to the wire, never copied. Borrowed until the client is
 * ready or ends. */
struct client_credentials {
    enum client_mechanism mechanism;
    struct slice first;  /* PLAIN, XOAUTH2: the initial response; LOGIN: the user */
    struct slice second; /* LOGIN: the password */
    bool in_clear;       /* may go out in plain text */
};

struct client_options {
    struct slice ehlo;     /* our name; borrowed until the client ends */
    bool pipelining;       /* use PIPELINING where advertised */
    bool across;           /* and across messages */
    unsigned messages_max; /* per connection; 0: no limit */
    bool starttls;         /* use STARTTLS where advertised */
    bool required;         /* no plain text: without STARTTLS the session ends. Requires `starttls` or `implicit` */
    bool implicit;         /* encrypted from its first byte (RFC 8314 §3): begins in CLIENT_HANDSHAKE */
    unsigned in_flight;    /* use BDAT where advertised with PIPELINING; 0: never; at most CLIENT_IN_FLIGHT_MAX */
    bool proved;           /* an earlier session proved all that BDAT needs */
    struct client_credentials credentials;
};

/* What one offers. Borrowed until the slot ends. */
struct client_envelope {
    struct slice from; /* without angle brackets; empty: the null reverse-path */
    struct slice to;   /* without angle brackets, domain as A-labels */
    uint64_t size;     /* exact octets of the message without dot-stuffing (RFC 1870); 0: unknown */
    bool eight_bit;    /* the body has octets >= 0x80 */
    bool utf8;         /* the local part is not ASCII (RFC 6531) */
    bool stuffed;      /* the caller has the body with stuffed dots alone: by DATA (RFC 3030 §4.3 knows no dots) */
};

/* Bytes to be written; the caller lends room. A call appends at most CLIENT_OUT_MAX bytes. */
enum { CLIENT_OUT_MAX = 2048 };
struct client_out {
    char *p;
    size_t n, cap;
    struct slice secret; /* of the credentials: to be written behind these bytes, and CRLF behind it. Empty: none */
};

enum client_what {
    CLIENT_NOTHING = 0,
    CLIENT_ENDED, /* slot `slot` is over; the fields below say how. More may follow: call client_next again */
    CLIENT_CLOSE, /* close the connection now (after writing what is in `out`); no slot is open any more */
};

/* Of CLIENT_CLOSE, `stage`, `happening` and `reply` say where and why the session ended: STAGE_GREETING, _EHLO,
 * _STARTTLS or _AUTH if it never became ready; STAGE_BROKEN (0) if it ended between messages or by QUIT, which is no
 * failure. At STAGE_STARTTLS and _AUTH, HAPPENING_NOT_OFFERED: what is needed was not in the reply to EHLO (for AUTH:
 * or the connection is not encrypted); HAPPENING_TLS: client_lost said so. */
struct client_result {
    enum client_what what;
    unsigned slot;    /* as returned by client_offer */
    enum stage stage; /* STAGE_RECIPIENT: the address could not be put into a command */
    enum happening happening;
    bool body_left;            /* the body was handed to the wire, and the server may have taken it: by BDAT also one
                                  whose MAIL and RCPT were answered by nobody yet, but not one that was refused there */
    bool mail_left;            /* its MAIL was given out to be written: the server may have seen it */
    bool untouched;            /* not the message's doing (421 or a close before its body, session refused): may be
                                  offered elsewhere at once, no attempt is counted */
    const struct reply *reply; /* borrowed until the next call; NULL when there was none */
};

struct client; /* defined at the end of this page; fields are private */

void client_init(struct client *client, const struct client_options *options);

/* The caller is to drop what it has received in plain text, to reset its parser, to write nothing, and to secure the
 * connection; then to call client_secured, or client_lost (HAPPENING_TLS) where that failed. No reply is given to the
 * client before. */
bool client_secures(const struct client *client);
void client_secured(struct client *client, struct client_out *out);

/* A complete reply has come. `out` holds what was written and has not left: but for 421 nobody can answer that yet, and
 * the session ends as garbage. Afterwards call client_next until it says NOTHING or CLOSE, then look at client_secures.
 */
void client_reply(struct client *client, const struct reply *reply, struct client_out *out);
/* The connection is gone (HAPPENING_CLOSED, _RESET, _UNREACHABLE, _LOCAL, _TLS: anything but _REPLY), a deadline passed
 * (_TIMEOUT), or the peer's bytes are no SMTP (_GARBAGE). Then client_next as above; it ends with CLOSE. Before a body
 * is out, a message is given back untouched but for the last two, which may be its doing. */
void client_lost(struct client *client, enum happening happening);
must_use enum client_what client_next(struct client *client, struct client_result *result);

/* True when client_offer may be called now: READY, or with PIPELINING behind a body or RSET that is out; false once the
 * per-connection maximum is reached, the session is ending, or client_next has not said NOTHING yet. */
bool client_wants(const struct client *client);
/* Writes MAIL (and RCPT, DATA with PIPELINING). Returns the slot number, the lowest that is free. A message that the
 * server's SIZE, 8BITMIME or SMTPUTF8 rules out ends by itself, without a byte: client_next tells. Requires
 * client_wants. */
unsigned client_offer(struct client *client, const struct client_envelope *envelope, struct client_out *out);
/* The slot whose body may be written now if its permit is there, or -1. */
int client_body_slot(const struct client *client);
enum client_body {
    CLIENT_BODY_BROKEN = 0,
    CLIENT_BODY_DOT,   /* the dot-stuffed body and ".\r\n" */
    CLIENT_BODY_CHUNK, /* BDAT was written to `out` (RFC 3030 §2); behind it come the body's octets, envelope->size of
                          them, as they are */
};
/* The caller appends `out`, and behind it what is returned, to its flight. Requires client_body_slot() == slot. */
must_use enum client_body client_body_written(struct client *client, unsigned slot, struct client_out *out);
/* The permit was refused (the lease is another's): the slot must not be sent. Ends it as untouched, HAPPENING_LOCAL;
 * closes the session if the server waits for a body behind 354, now or when it comes to that. Requires that the slot is
 * open and its body has not been written. Then client_next. */
void client_withdraw(struct client *client, unsigned slot);

/* Writes QUIT if nothing is open; requires state READY. The caller then waits for 221 or the close, briefly. */
void client_quit(struct client *client, struct client_out *out);

/* How long the peer may take for the reply that is outstanding (RFC 5321 §4.5.3.2): index into the configured
 * time-outs; CLIENT_WAIT_NONE when nothing is outstanding (an idle session). */
enum client_wait {
    CLIENT_WAIT_NONE = 0,
    CLIENT_WAIT_GREETING, /* 5 min */
    CLIENT_WAIT_EHLO,     /* 5 min; STARTTLS, the handshake, AUTH and the proof of BDAT too */
    CLIENT_WAIT_MAIL,     /* 5 min */
    CLIENT_WAIT_RCPT,     /* 5 min */
    CLIENT_WAIT_DATA,     /* 2 min */
    CLIENT_WAIT_BODY,     /* 10 min, after the dot or chunk */
    CLIENT_WAIT_QUIT,
    CLIENT_WAIT_COUNT
};
enum client_wait client_waits_for(const struct client *client);

/* What the session learned about its server, to be remembered for the ISP. */
bool client_objects_to_pipelining(const struct client *client); /* at all */
bool client_objects_to_across(const struct client *client);     /* behind a body */
bool client_objects_to_chunking(const struct client *client);   /* the proof failed */
bool client_proved_chunking(const struct client *client);       /* by this session */

/* The commands of one message on their way. */
struct client_group {
    const struct client_envelope *envelope; /* NULL: the slot is over, only replies are owed */
    unsigned slot;
    bool out;           /* there is such a group */
    bool reset;         /* begins with RSET */
    bool whole;         /* RCPT, and DATA unless chunked, went out with MAIL */
    bool across;        /* behind a body */
    bool chunked;       /* its body goes by BDAT */
    bool rcpt_accepted; /* a body, even an empty one, would be delivered */
    bool body_out;
};

/* A refusal that is told later than it came. */
struct client_kept {
    struct reply reply;
    char text[LIMIT_EVENT_REPLY];
};

struct client {
    /* private */
    struct client_options options;
    struct caps caps;
    enum client_state state;
    bool greeted, secure;
    struct client_group front;                    /* whose replies are read now */
    struct client_group behind[CLIENT_SLOTS_MAX]; /* behind the bodies or the RSET that are out, in order */
    unsigned behind_count;
    uint32_t open;                         /* slots, by bit */
    bool unclean;                          /* behind a BDAT that failed, only RSET makes sure of the server's state */
    unsigned offered;                      /* messages whose MAIL was written */
    bool pipelining_proved, across_proved; /* a whole such group was answered as it should be */
    bool pipelining_objected, across_objected;
    bool swallows; /* refused chunks; `chunking_proved`: and answers accepted ones once */
    bool chunking_proved, chunking_objected;
    bool close_owed; /* CLIENT_CLOSE is still to be told */
    unsigned results_count, results_told;
    struct client_result results[CLIENT_SLOTS_MAX + 1], close;
    struct client_kept kept; /* of `front`, in CLIENT_VOID_RCPT and _CHUNK */
};

#endif
