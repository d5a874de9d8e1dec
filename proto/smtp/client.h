/* client.h - the client's side of one SMTP session as a pure state machine (RFC 5321, 2920, 1870, 6152).
 *
 * Bytes go out through a buffer of the caller; replies come in one at a time, parsed by reply.c; message bodies never
 * pass through here. No clock: client_waits_for says for what, the caller watches how long.
 *
 * One message is a *slot*. At most two are open at once: one whose body is out or being written, and, with PIPELINING
 * across messages (RFC 2920 §3.1: the MAIL of the next message may follow in the group of the dot before it), one whose
 * MAIL, RCPT and DATA went out behind that dot. Without it there is one.
 *
 * A server may advertise PIPELINING and yet not stand it. In its first group of commands, and in its first group behind
 * a dot, an answer that may mean just that (500, 503, 554, 421, a close) gives the message back untouched, and the
 * client goes on more slowly by itself.
 *
 * Guarantees:
 *  - every slot that was offered ends in exactly one CLIENT_ENDED;
 *  - nothing is written before the greeting, nothing behind EHLO, DATA, STARTTLS or QUIT before their reply;
 *  - DATA that was answered 354 though its RCPT was refused is closed by a lone dot (RFC 2920 §3.1), never by a body;
 *  - a refusal in the greeting, at EHLO or at MAIL is marked as not the recipient's fault (the stage says so);
 *  - 421 ends the session wherever it comes; slots whose body has not left are given back unharmed.
 */
#ifndef PROTO_SMTP_CLIENT_H
#define PROTO_SMTP_CLIENT_H

#include "proto/smtp/caps.h"
#include "proto/smtp/reply.h"
#include "sluice/outcome.h"
#include "sluice/slice.h"

enum client_state {
    CLIENT_BROKEN = 0,
    CLIENT_GREETING, /* connected, waiting for 220 */
    CLIENT_EHLO,
    CLIENT_HELO,
    CLIENT_READY, /* no open slot; a message may be offered */
    CLIENT_MAIL,  /* the reply to MAIL is outstanding; with PIPELINING those to RCPT and DATA behind it */
    CLIENT_RCPT,
    CLIENT_DATA,
    CLIENT_SKIP_MAIL, /* as the three above, but the slot is over: its replies are read and lead nowhere */
    CLIENT_SKIP_RCPT,
    CLIENT_SKIP_DATA,
    CLIENT_GO,    /* 354 came: the body may be written as soon as its permit is there */
    CLIENT_ABORT, /* 354 came for a refused envelope: a lone dot is out */
    CLIENT_BODY,  /* body and dot are out, the reply outstanding; perhaps a second slot's envelope behind it */
    CLIENT_RSET,  /* RSET is out; perhaps a slot's envelope behind it */
    CLIENT_QUIT,  /* QUIT is out */
    CLIENT_CLOSED,
    CLIENT_STATE_COUNT
};

struct client_options {
    struct slice ehlo;     /* our name; borrowed until the client ends */
    bool pipelining;       /* use PIPELINING where advertised */
    bool across;           /* and across messages */
    unsigned messages_max; /* per connection; 0: no limit */
};

/* What one offers. Borrowed until the slot ends. */
struct client_envelope {
    struct slice from; /* without angle brackets; empty: the null reverse-path */
    struct slice to;   /* without angle brackets, domain as A-labels */
    uint64_t size;     /* exact octets of the message without dot-stuffing (RFC 1870); 0: unknown */
    bool eight_bit;    /* the body has octets >= 0x80 */
    bool utf8;         /* the local part is not ASCII (RFC 6531) */
};

/* Bytes to be written; the caller lends room. A call appends at most CLIENT_OUT_MAX bytes. */
enum { CLIENT_OUT_MAX = 2048 };
struct client_out {
    char *p;
    size_t n, cap;
};

enum client_what {
    CLIENT_NOTHING = 0,
    CLIENT_ENDED, /* slot `slot` is over; the fields below say how. More may follow: call client_next again */
    CLIENT_CLOSE, /* close the connection now (after writing what is in `out`); no slot is open any more */
};

/* Of CLIENT_CLOSE, `stage`, `happening` and `reply` say where and why the session ended: STAGE_GREETING and STAGE_EHLO
 * if it never became ready; STAGE_BROKEN (0) if it ended between messages or by QUIT, which is no failure. */
struct client_result {
    enum client_what what;
    unsigned slot;    /* as returned by client_offer */
    enum stage stage; /* STAGE_RECIPIENT: the address could not be put into a command */
    enum happening happening;
    bool body_left;            /* the body was handed to the wire */
    bool untouched;            /* not the message's doing (421 or a close before its body, session refused): may be
                                  offered elsewhere at once, no attempt is counted */
    const struct reply *reply; /* borrowed until the next call; NULL when there was none */
};

struct client; /* defined at the end of this page; fields are private */

void client_init(struct client *client, const struct client_options *options);

/* A complete reply has come. Afterwards call client_next until it says NOTHING or CLOSE. */
void client_reply(struct client *client, const struct reply *reply, struct client_out *out);
/* The connection is gone (HAPPENING_CLOSED, _RESET, _UNREACHABLE, _LOCAL: anything but _REPLY), a deadline passed
 * (_TIMEOUT), or the peer's bytes are no SMTP (_GARBAGE). Then client_next as above; it ends with CLOSE. Before a body
 * is out, a message is given back untouched but for the last two, which may be its doing. */
void client_lost(struct client *client, enum happening happening);
must_use enum client_what client_next(struct client *client, struct client_result *result);

/* True when client_offer may be called now: READY, or with PIPELINING behind a dot or RSET that is out; false once the
 * per-connection maximum is reached, the session is ending, or client_next has not said NOTHING yet. */
bool client_wants(const struct client *client);
/* Writes MAIL (and RCPT, DATA with PIPELINING). Returns the slot number, 0 or 1. A message that the server's SIZE,
 * 8BITMIME or SMTPUTF8 rules out ends by itself, without a byte: client_next tells. Requires client_wants. */
unsigned client_offer(struct client *client, const struct client_envelope *envelope, struct client_out *out);
/* The slot whose body may be written now if its permit is there, or -1. */
int client_body_slot(const struct client *client);
/* The caller has appended the dot-stuffed body and ".\r\n" to its flight. Requires client_body_slot() == slot. */
void client_body_written(struct client *client, unsigned slot);
/* The permit was refused (the lease is another's): the slot must not be sent. Ends it as untouched, HAPPENING_LOCAL;
 * closes the session if the server waits for a body, now or when it comes to that. Requires that the slot is open and
 * its body has not been written. Then client_next. */
void client_withdraw(struct client *client, unsigned slot);

/* Writes QUIT if nothing is open; requires state READY. The caller then waits for 221 or the close, briefly. */
void client_quit(struct client *client, struct client_out *out);

/* How long the peer may take for the reply that is outstanding (RFC 5321 §4.5.3.2): index into the configured
 * time-outs; CLIENT_WAIT_NONE when nothing is outstanding (an idle session). */
enum client_wait {
    CLIENT_WAIT_NONE = 0,
    CLIENT_WAIT_GREETING, /* 5 min */
    CLIENT_WAIT_EHLO,     /* 5 min */
    CLIENT_WAIT_MAIL,     /* 5 min */
    CLIENT_WAIT_RCPT,     /* 5 min */
    CLIENT_WAIT_DATA,     /* 2 min */
    CLIENT_WAIT_BODY,     /* 10 min, after the dot */
    CLIENT_WAIT_QUIT,
    CLIENT_WAIT_COUNT
};
enum client_wait client_waits_for(const struct client *client);

/* What the session learned about its server, to be remembered for the ISP. */
bool client_objects_to_pipelining(const struct client *client); /* at all */
bool client_objects_to_across(const struct client *client);     /* behind the dot */

/* MAIL, RCPT and DATA of one message on their way. */
struct client_group {
    const struct client_envelope *envelope; /* NULL: the slot is over, only replies are owed */
    unsigned slot;
    bool out;           /* there is such a group */
    bool whole;         /* RCPT and DATA went out with MAIL */
    bool across;        /* behind a dot */
    bool rcpt_accepted; /* a body, even an empty one, would be delivered */
    bool body_out;
};

struct client {
    /* private */
    struct client_options options;
    struct caps caps;
    enum client_state state;
    struct client_group front;             /* whose replies are read now */
    struct client_group behind;            /* behind the dot or the RSET that is out */
    unsigned offered;                      /* messages whose MAIL was written */
    bool pipelining_proved, across_proved; /* a whole such group was answered as it should be */
    bool pipelining_objected, across_objected;
    bool close_owed; /* CLIENT_CLOSE is still to be told */
    unsigned results_count, results_told;
    struct client_result results[3], close;
};

#endif
