/* client_end.h - how slots and sessions end: what is told, and whose fault it is taken for. Part of client_step.c's
 * table. */
#ifndef PROTO_SMTP_CLIENT_END_H
#define PROTO_SMTP_CLIENT_END_H

#include "proto/smtp/client_step.h"

/* Queues the end of a slot for client_next. */
void client_end_tell(struct client *client, struct client_result result);
/* The end of a slot that went out. At STAGE_BODY its body has left; at any other stage nothing of it was taken. */
void client_end_slot(struct client *client, struct client_group *group, const struct client_turn *turn,
                     enum stage stage, bool untouched);
/* The same by the refusal that was kept. */
void client_end_kept(struct client *client, struct client_group *group);
/* True when this refusal or loss, in the first group of its kind, is to be held against pipelining; remembers it. */
bool client_end_objects(struct client *client, const struct client_turn *turn);
/* The same of what comes in place of an answer to what stands ahead of the first group behind a body. */
void client_end_ahead_objects(struct client *client, const struct client_turn *turn);

/* Answers of the table. The first closes the session while no slot is open. */
enum client_state client_end_close(struct client *client, const struct client_turn *turn, enum stage stage);
enum client_state client_end_session(struct client *client, const struct client_turn *turn);
enum client_state client_end_refused(struct client *client, const struct client_turn *turn); /* with QUIT */
enum client_state client_end_garbage(struct client *client, const struct client_turn *turn);
/* How far the front group is, in the words of an outcome. */
enum stage client_end_stage(const struct client *client);

#endif
