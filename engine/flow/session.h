/* session.h - one SMTP connection: the pure client (proto/smtp/client.h) on a stream, encrypted as it must be, with
 * time-outs.
 *
 * Knows no lane: it asks its owner for messages and tells what became of them. Each attempt that is offered comes back
 * in exactly one `ended`, and the session itself in exactly one `closed`. */
#ifndef FLOW_SESSION_H
#define FLOW_SESSION_H

#include "control/config.h"
#include "flow/press.h"
#include "flow/security.h"
#include "flow/site.h"
#include "net/stream.h"
#include "proto/smtp/client.h"
#include "sluice/attempt.h"
#include "sluice/outcome.h"

struct session;

struct session_events {
    /* The session can take a message now: the owner may call session_offer once, or not. */
    void (*wants)(void *context, struct session *session);
    /* Nothing was offered and nothing is open: it is idle until session_kick or session_quit. */
    void (*idle)(void *context, struct session *session);
    /* A permit is there: may the body leave all the same? If not, whoever says so sees to it that the session ends. */
    bool (*may_leave)(void *context, struct session *session);
    /* Greeted and ready; `wants` follows. */
    void (*ready)(void *context, struct session *session);
    /* The attempt is over, or `untouched`: may be offered elsewhere. The outcome is borrowed until return. */
    void (*ended)(void *context, struct session *session, struct attempt *attempt, const struct outcome *outcome,
                  bool untouched);
    /* The connection is gone and the session may be freed. `why` says where and how it ended: STAGE_CONNECT,
     * STAGE_GREETING, _EHLO, _STARTTLS or _AUTH if it never became ready; STAGE_BROKEN when it ended in good order. At
     * STAGE_STARTTLS security_failed has to be told. At STAGE_AUTH see session_credentials_refused. */
    void (*closed)(void *context, struct session *session, const struct outcome *why);
};

struct session_slot {
    struct attempt *attempt; /* NULL: free */
    struct pressed *pressed;
    struct client_envelope envelope;
    nsec started;
    nsec started_wall;
};

enum { SESSION_OUT = 2 * CLIENT_OUT_MAX };

struct session {
    /* The owner's: */
    struct session *next, *prev;           /* all */
    struct session *lane_next, *lane_prev; /* of its lane */
    struct session *idle_next, *idle_prev; /* of its lane, while `in_idle` */
    void *owner;                           /* its lane */
    struct site *site;
    struct route_target target;
    bool in_idle;
    bool worked;                /* a message had an answer */
    bool gave_back;             /* a message came back untouched */
    const struct config *config; /* held: the one under which it was begun */
    bool astray;                /* takes no further message: its lane has too many, or it is not its lane any more */
    bool leaves;                /* takes no further message, to make room (crowd.h) */
    bool probes;                /* finds out whether a relay takes us again */
    bool bereft;                /* it ends because its source, or all of this engine, may be another's by now */
    bool scolded, one_too_many; /* the relay said something of us; that this session is too many */
    uint64_t signed_in;         /* version of the secret that it signs in with */
    struct relay_auth *auth;    /* held until it is ready; NULL: none */
    unsigned messages;
    unsigned answered; /* of them, those that had an answer */

    struct stream stream;
    struct io *io;
    struct press *press;
    const struct session_events *on;
    void *context;
    const struct config_limits *limits; /* borrows until closed */
    struct client client;
    struct reply_parser parser;
    struct session_slot slots[CLIENT_SLOTS_MAX];
    struct session_security security;
    struct io_timer timer;
    nsec deadline;
    bool securing;             /* stream_secure was called */
    bool ready;                /* greeted and let in */
    bool quitting;             /* QUIT was or will be written */
    bool over;                 /* the client has said CLOSE */
    bool lingering;            /* 221 came: the server is to close first */
    bool closing;              /* stream_close was called */
    bool objected;             /* the client has said that the server objects to what stands behind a dot */
    bool working;              /* inside work(): callbacks do not start it again */
    struct pressed *in_flight; /* the body that the ring is reading */
    struct pressed *flying;    /* that body, when its attempt has ended before its send */
    struct outcome why;
    int lacks; /* this machine's lack that ended it (-errno, lack.h); 0: none */
    char mx[LIMIT_DOMAIN + 1], ip[64], tls[sizeof((struct outcome *)0)->tls];
    unsigned out_which;
    struct client_out out; /* commands that wait for the next flight */
    char out_bytes[2][SESSION_OUT];
    nsec opened_at;
};

struct session_config {
    struct io *io;
    struct press *press;
    const struct session_events *on;
    void *context;
    const struct config_limits *limits;
    const struct io_address *source, *to;
    const char *ehlo; /* borrows until closed */
    const char *mx;   /* copied */
    bool pipelining, across;
    unsigned per_connection; /* messages; 0: no limit */
    unsigned in_flight;   /* by BDAT, at most CLIENT_IN_FLIGHT_MAX; 0: by DATA alone */
    bool chunking_proved; /* by a session before */
    struct session_security security;
    const struct client_credentials *credentials; /* NULL: no AUTH. What they point to is lent until `ready` or
                                                     `closed`; not copied, never logged */
};

/* 0, or -errno: nothing was begun and `closed` will not come. */
must_use int session_open(struct session *session, const struct session_config *config);
/* Only inside `wants`, at most once. Takes attempt and message until `ended`. */
void session_offer(struct session *session, struct attempt *attempt, struct pressed *pressed, nsec now, nsec wall);
/* There may be something for an idle session: it asks `wants` again. */
void session_kick(struct session *session);
/* A permit of one of its attempts was decided. */
void session_permit(struct session *session, struct attempt *attempt);
/* Ends an idle session in good order: QUIT, then the server closes. */
void session_quit(struct session *session);
/* Ends it now, whatever is open: bodies that are out are in doubt. */
void session_abort(struct session *session, enum happening happening);
/* Messages whose MAIL is out and that are not over. */
static inline unsigned session_open_messages(const struct session *session)
{
    unsigned open = 0;
    for (unsigned i = 0; i < CLIENT_SLOTS_MAX; i++)
        open += session->slots[i].attempt != NULL;
    return open;
}
/* The server will not have these credentials, today or tomorrow (RFC 4954 §6: 535, 534, 538 and other 5yz): nothing may
 * go this way before somebody has mended them. 4yz, 454 above all, is no such answer: that session was turned away like
 * one that was refused in the greeting. */
static inline bool session_credentials_refused(const struct outcome *why)
{
    return why->stage == STAGE_AUTH && why->happening == HAPPENING_REPLY && why->code >= 500;
}
/* Nothing is open and nothing outstanding, not even the reply to a RSET: session_quit is allowed. */
static inline bool session_is_idle(const struct session *session)
{
    return session->client.state == CLIENT_READY && session->ready && !session->quitting && !session->closing &&
           session_open_messages(session) == 0;
}

#endif
