/* client_open.h - the way to a session that is ready: greeting, EHLO, STARTTLS, AUTH, and the proof that BDAT needs.
 * Answers of client_step.c's table. */
#ifndef PROTO_SMTP_CLIENT_OPEN_H
#define PROTO_SMTP_CLIENT_OPEN_H

#include "proto/smtp/client_step.h"

enum client_state client_open_greeted(struct client *client, const struct client_turn *turn);
enum client_state client_open_ehlo(struct client *client, const struct client_turn *turn);
enum client_state client_open_ehlo_unknown(struct client *client, const struct client_turn *turn);
enum client_state client_open_helo(struct client *client, const struct client_turn *turn);
enum client_state client_open_handshake(struct client *client, const struct client_turn *turn);
enum client_state client_open_secured(struct client *client, const struct client_turn *turn);
enum client_state client_open_auth_more(struct client *client, const struct client_turn *turn);
enum client_state client_open_authenticated(struct client *client, const struct client_turn *turn);
/* A chunk was refused as it should be, or the first one accepted: nothing is in flight, and nothing may be before it is
 * known that nothing follows. */
enum client_state client_open_ask(struct client *client, const struct client_turn *turn);
enum client_state client_open_trial_end(struct client *client, const struct client_turn *turn);
enum client_state client_open_trial_failed(struct client *client, const struct client_turn *turn);
enum client_state client_open_trial_garbage(struct client *client, const struct client_turn *turn);

#endif
