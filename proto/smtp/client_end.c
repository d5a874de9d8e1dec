/* A message that ends wrongly is sent twice or never; what an end means is decided here, for all of them. */
#include "proto/smtp/client_end.h"

#include "proto/smtp/client_say.h"

/* ---- what is told ---- */

void client_end_tell(struct client *client, struct client_result result)
{
    sluice_assert(client->results_count < countof(client->results));
    sluice_assert(client->open & 1u << result.slot);
    result.what = CLIENT_ENDED;
    client->open &= ~(1u << result.slot);
    client->results[client->results_count++] = result;
}

void client_end_slot(struct client *client, struct client_group *group, const struct client_turn *turn,
                     enum stage stage, bool untouched)
{
    bool left = stage == STAGE_BODY;
    sluice_assert(group->out && group->envelope && !(left && untouched) && (group->body_out || !left));
    client_end_tell(client, (struct client_result){.slot = group->slot,
                                                   .stage = stage,
                                                   .happening = turn->happening,
                                                   .body_left = left,
                                                   .mail_left = true,
                                                   .untouched = untouched,
                                                   .reply = turn->reply});
    group->envelope = NULL;
}

void client_end_kept(struct client *client, struct client_group *group)
{
    struct client_turn refusal = {.happening = HAPPENING_REPLY, .reply = &client->kept.reply};
    client_end_slot(client, group, &refusal, STAGE_MAIL, false);
}

enum stage client_end_stage(const struct client *client)
{
    static const enum stage stages[CLIENT_STATE_COUNT] = {
        [CLIENT_GREETING] = STAGE_GREETING, [CLIENT_EHLO] = STAGE_EHLO,          [CLIENT_HELO] = STAGE_EHLO,
        [CLIENT_STARTTLS] = STAGE_STARTTLS, [CLIENT_AUTH] = STAGE_AUTH,          [CLIENT_AUTH_MORE] = STAGE_AUTH,
        [CLIENT_AUTH_LAST] = STAGE_AUTH,    [CLIENT_TRIAL] = STAGE_EHLO,         [CLIENT_TRIAL_END] = STAGE_EHLO,
        [CLIENT_MAIL] = STAGE_MAIL,         [CLIENT_RCPT] = STAGE_RCPT,          [CLIENT_DATA] = STAGE_DATA,
        [CLIENT_SKIP_MAIL] = STAGE_MAIL,    [CLIENT_SKIP_RCPT] = STAGE_RCPT,     [CLIENT_SKIP_DATA] = STAGE_DATA,
        [CLIENT_SKIP_CHUNK] = STAGE_BODY,   [CLIENT_VOID_RCPT] = STAGE_RCPT,     [CLIENT_VOID_CHUNK] = STAGE_BODY,
        [CLIENT_GO] = STAGE_DATA,           [CLIENT_ABORT] = STAGE_DATA,         [CLIENT_BODY] = STAGE_BODY,
        [CLIENT_RSET] = STAGE_MAIL,         [CLIENT_HANDSHAKE] = STAGE_STARTTLS,
    };
    return stages[client->state]; /* STAGE_BROKEN: between messages */
}

/* ---- does the server mind pipelining? ---- */

static bool mentions(struct slice text, struct slice word)
{
    for (size_t i = 0; i + word.n <= text.n; i++)
        if (slice_equal_nocase((struct slice){text.p + i, word.n}, word))
            return true;
    return false;
}

/* Exim says "synchronization error", Postfix "improper use of SMTP command pipelining". */
static bool names_pipelining(const struct reply *reply)
{
    return mentions(reply->text, SLICE("pipelin")) || mentions(reply->text, SLICE("synchroni"));
}

/* A refusal that may mean the way of sending and not the message. "Bad sequence" and "no such command" cannot mean
 * anything else of commands that are in order. Behind a body 554 at MAIL and DATA and 421 are taken so too: giving the
 * message back costs one more try. Not 554 at RCPT: with some providers that is an unknown user. */
static bool refusal_objects(const struct client *client, const struct reply *reply, bool across)
{
    if (reply->code == 500 || reply->code == 503 || names_pipelining(reply))
        return true;
    return across && (reply->code == 421 || (reply->code == 554 && client->state != CLIENT_RCPT));
}

bool client_end_objects(struct client *client, const struct client_turn *turn)
{
    const struct client_group *front = &client->front;
    if (front->across && !client->across_proved && (!turn->reply || refusal_objects(client, turn->reply, true)))
        return client->across_objected = true;
    if (front->whole && !client->pipelining_proved && turn->reply && refusal_objects(client, turn->reply, false))
        return client->pipelining_objected = true;
    return false;
}

/* A message whose reply never comes is in doubt, and that is too high a price for finding out slowly: a server that is
 * lost, or complains, while it has our first group behind a body is not given another. RSET cannot be refused. */
void client_end_ahead_objects(struct client *client, const struct client_turn *turn)
{
    if (!client->behind_count || !client->behind[0].across || client->across_proved)
        return;
    if (!turn->reply || turn->reply->code == 421 || client->state == CLIENT_RSET)
        client->across_objected = true;
    else if (client->state == CLIENT_BODY && turn->input != CLIENT_INPUT_OK &&
             refusal_objects(client, turn->reply, false))
        client->across_objected = true;
}

/* ---- the end of the session ---- */

enum client_state client_end_close(struct client *client, const struct client_turn *turn, enum stage stage)
{
    client->close = (struct client_result){
        .what = CLIENT_CLOSE, .stage = stage, .happening = turn->happening, .reply = turn->reply};
    client->close_owed = true;
    return CLIENT_CLOSED;
}

/* A peer that hangs or talks nonsense may do so because of the message in front. One that leaves does not, nor is it to
 * blame that a body's permit did not come in time. */
static bool blames_message(const struct client *client, const struct client_turn *turn)
{
    return turn->happening == HAPPENING_GARBAGE || (turn->happening == HAPPENING_TIMEOUT && client->state != CLIENT_GO);
}

static void end_front(struct client *client, const struct client_turn *turn)
{
    struct client_group *front = &client->front;
    bool refused = client->state == CLIENT_VOID_RCPT || client->state == CLIENT_VOID_CHUNK;
    if (refused && !front->rcpt_accepted)
        client_end_kept(client, front);
    else if (front->body_out)
        client_end_slot(client, front, turn, STAGE_BODY, false);
    else
        client_end_slot(client, front, turn, client_end_stage(client),
                        client_end_objects(client, turn) || !blames_message(client, turn));
}

enum client_state client_end_session(struct client *client, const struct client_turn *turn)
{
    client_end_ahead_objects(client, turn);
    if (client->front.envelope)
        end_front(client, turn);
    for (unsigned i = 0; i < client->behind_count; i++) {
        struct client_group *group = &client->behind[i];
        if (group->envelope)
            client_end_slot(client, group, turn, group->body_out ? STAGE_BODY : STAGE_MAIL, !group->body_out);
    }
    return client_end_close(client, turn, client_end_stage(client));
}

enum client_state client_end_garbage(struct client *client, const struct client_turn *turn)
{
    sluice_assert(turn->input <= CLIENT_INPUT_LOST);
    struct client_turn garbage = {.input = CLIENT_INPUT_LOST, .happening = HAPPENING_GARBAGE};
    return client_end_session(client, &garbage);
}

/* RFC 5321 §3.1: a server that refuses in its greeting waits for QUIT. */
enum client_state client_end_refused(struct client *client, const struct client_turn *turn)
{
    client_say_quit(turn->out);
    return client_end_session(client, turn);
}
