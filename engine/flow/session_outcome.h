/* session_outcome.h - how what happened to a session is told: values only, nothing borrowed. Part of session.c. */
#ifndef FLOW_SESSION_OUTCOME_H
#define FLOW_SESSION_OUTCOME_H

#include "flow/session.h"

/* What an io result (0: end of file, or -errno) means for a connection, and whether that stood by then. */
enum happening session_outcome_happening(int result, bool stood);
void session_outcome(const struct session *session, const struct client_result *result, struct outcome *outcome);

#endif
