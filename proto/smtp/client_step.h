/* client_step.h - the inside of client.c: what a session can meet, and the one function that changes its state.
 *
 * The answers to what it can meet stand in three files: client_open.c has the way to a session that is ready,
 * client_step.c what becomes of messages, client_end.c all ends. */
#ifndef PROTO_SMTP_CLIENT_STEP_H
#define PROTO_SMTP_CLIENT_STEP_H

#include "proto/smtp/client.h"

/* What a state can meet. Those up to LOST come from the peer, and one that a state has no answer to means that the peer
 * does not speak SMTP with us; the others come from the caller, and there it is our own bug. */
enum client_input {
    CLIENT_INPUT_BROKEN = 0, /* a reply that belongs nowhere: 3yz but not 334 or 354 */
    CLIENT_INPUT_OK,         /* 2yz */
    CLIENT_INPUT_MORE,       /* 334: AUTH goes on (RFC 4954 §4) */
    CLIENT_INPUT_GO,         /* 354 */
    CLIENT_INPUT_LATER,      /* 4yz */
    CLIENT_INPUT_NEVER,      /* 5yz */
    CLIENT_INPUT_CLOSING,    /* 421: the server ends the session (RFC 5321 §3.8) */
    CLIENT_INPUT_LOST,
    CLIENT_INPUT_SECURED, /* the connection is encrypted from now on */
    CLIENT_INPUT_OFFER,
    CLIENT_INPUT_BODY,
    CLIENT_INPUT_WITHDRAW,
    CLIENT_INPUT_QUIT,
    CLIENT_INPUT_COUNT
};

/* One input with all that belongs to it. */
struct client_turn {
    enum client_input input;
    enum happening happening;               /* of CLIENT_INPUT_LOST; HAPPENING_REPLY for a reply */
    const struct reply *reply;              /* of a reply */
    struct client_out *out;                 /* NULL where nothing can be written */
    const struct client_envelope *envelope; /* of CLIENT_INPUT_OFFER */
    unsigned slot;                          /* of CLIENT_INPUT_OFFER and CLIENT_INPUT_WITHDRAW */
};

/* True: MAIL, RCPT and DATA of a message go out together. */
bool client_step_pipelines(const struct client *client);
/* Groups of commands that are out, and of them those whose body is out too. */
unsigned client_step_groups(const struct client *client);
unsigned client_step_bodies(const struct client *client);
/* The group that went out last; NULL: none is out. */
const struct client_group *client_step_newest(const struct client *client);
void client_step(struct client *client, const struct client_turn *turn);

#endif
