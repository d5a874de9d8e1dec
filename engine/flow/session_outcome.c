/* What a session tells of an end is the same for all ends: put together here. */
#include "flow/session_outcome.h"

#include "flow/lack.h"

#include <errno.h>

static enum happening happening_of(int result)
{
    switch (result) {
    case 0:
        return HAPPENING_CLOSED;
    case -ECONNREFUSED:
        return HAPPENING_REFUSED;
    case -ETIMEDOUT:
        return HAPPENING_TIMEOUT;
    case -ENETUNREACH:
    case -EHOSTUNREACH:
    case -EACCES:
    case -EPERM:
        return HAPPENING_UNREACHABLE;
    default:
        return lack_of_connection(result) ? HAPPENING_LOCAL : HAPPENING_RESET;
    }
}

/* The kernel tells of a way that is lost in the words of one that was never there: of an ICMP message, when it has sent
 * again for long enough. */
enum happening session_outcome_happening(int result, bool stood)
{
    enum happening happening = happening_of(result);
    bool never = happening == HAPPENING_UNREACHABLE || happening == HAPPENING_REFUSED;
    return stood && never ? HAPPENING_RESET : happening;
}

static const char *what_is_lacking(const struct client_result *result)
{
    return result->stage == STAGE_STARTTLS
               ? "TLS is demanded, and the server does not offer STARTTLS"
               : "the server does not offer the AUTH that is configured, or not without TLS";
}

void session_outcome(const struct session *session, const struct client_result *result, struct outcome *outcome)
{
    memset(outcome, 0, sizeof *outcome);
    outcome->stage = result->stage;
    outcome->happening = result->happening;
    outcome->body_left = result->body_left;
    outcome->mail_left = result->mail_left;
    memcpy(outcome->mx, session->mx, sizeof outcome->mx);
    memcpy(outcome->ip, session->ip, sizeof outcome->ip);
    memcpy(outcome->tls, session->tls, sizeof outcome->tls);
    if (result->happening == HAPPENING_NOT_OFFERED)
        slice_copy(outcome->reply, sizeof outcome->reply, slice_of(what_is_lacking(result)));
    if (!result->reply)
        return;
    outcome->code = result->reply->code;
    slice_copy(outcome->status, sizeof outcome->status, slice_of(result->reply->status));
    slice_copy(outcome->reply, sizeof outcome->reply, result->reply->text);
}
