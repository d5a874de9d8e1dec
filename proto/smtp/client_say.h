/* client_say.h - the client's commands, appended to what goes out.
 *
 * Arguments were looked at before: a line that cannot be written is our own bug. */
#ifndef PROTO_SMTP_CLIENT_SAY_H
#define PROTO_SMTP_CLIENT_SAY_H

#include "proto/smtp/client.h"

void client_say_ehlo(const struct client *client, struct client_out *out);
void client_say_helo(const struct client *client, struct client_out *out);
void client_say_starttls(struct client_out *out);
/* AUTH, with the initial response where the mechanism begins with one. */
void client_say_auth(const struct client *client, struct client_out *out);
void client_say_secret(struct client_out *out, struct slice secret); /* a line of its own */
void client_say_nothing(struct client_out *out);                     /* an empty line */
void client_say_trial(struct client_out *out);                       /* a chunk that reads "NOOP" */
void client_say_mail(const struct client *client, const struct client_envelope *envelope, struct client_out *out);
void client_say_rcpt(const struct client_envelope *envelope, struct client_out *out);
void client_say_data(struct client_out *out);
void client_say_chunk(const struct client_envelope *envelope, struct client_out *out);
void client_say_lone_dot(struct client_out *out);
void client_say_rset(struct client_out *out);
void client_say_quit(struct client_out *out);

#endif
