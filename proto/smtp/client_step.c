/* A session is a conversation with a stranger who may say anything at any time; this table knows what follows. */
#include "proto/smtp/client_step.h"

#include "proto/smtp/client_end.h"
#include "proto/smtp/client_open.h"
#include "proto/smtp/client_say.h"

/* ---- what is out ---- */

bool client_step_pipelines(const struct client *client)
{
    return client->options.pipelining && client->caps.pipelining && !client->pipelining_objected;
}

unsigned client_step_groups(const struct client *client) { return client->front.out + client->behind_count; }

unsigned client_step_bodies(const struct client *client)
{
    unsigned bodies = client->front.out && client->front.body_out;
    for (unsigned i = 0; i < client->behind_count; i++)
        bodies += client->behind[i].body_out;
    return bodies;
}

const struct client_group *client_step_newest(const struct client *client)
{
    if (client->behind_count)
        return &client->behind[client->behind_count - 1];
    return client->front.out ? &client->front : NULL;
}

/* A whole group was answered as it should be: from now on a refusal means the message. */
static void prove(struct client *client)
{
    client->pipelining_proved |= client->front.whole;
    client->across_proved |= client->front.across;
}

/* ---- answers: each does what an input asks for and names the state that follows ---- */

static enum client_state stay(struct client *client, const struct client_turn *turn)
{
    (void)turn;
    return client->state;
}

/* What was behind the body or the RSET is in front now. */
static enum client_state advance(struct client *client)
{
    client->front = (struct client_group){0};
    if (!client->behind_count)
        return CLIENT_READY;
    if (client->behind[0].reset) {
        client->behind[0].reset = false;
        return CLIENT_RSET;
    }
    client->front = client->behind[0];
    client->behind_count--;
    memmove(client->behind, client->behind + 1, client->behind_count * sizeof *client->behind);
    return client->front.envelope ? CLIENT_MAIL : CLIENT_SKIP_MAIL;
}

/* The same behind what may have left a sender or a recipient with the server. */
static enum client_state advance_unclean(struct client *client)
{
    client->unclean = true;
    return advance(client);
}

static enum client_state ready(struct client *client, const struct client_turn *turn)
{
    (void)turn;
    return advance(client);
}

/* Writes a message's envelope as `group`, all of it where the server pipelines. */
static struct client_group envelope_sent(struct client *client, const struct client_turn *turn, bool across, bool reset)
{
    const struct client_envelope *envelope = turn->envelope;
    bool whole = client_step_pipelines(client);
    bool chunks = whole && client->options.in_flight > 0 && client->swallows && client->caps.chunking;
    struct client_group group = {
        .envelope = envelope,
        .slot = turn->slot,
        .out = true,
        .reset = reset,
        .whole = whole,
        .across = across,
        .chunked = chunks && !envelope->stuffed && envelope->size > 0,
    };
    client->offered++;
    if (reset)
        client_say_rset(turn->out);
    client_say_mail(client, envelope, turn->out);
    if (!whole)
        return group;
    client_say_rcpt(envelope, turn->out);
    if (!group.chunked) /* RFC 2920 §3.1: DATA may stand last in a group */
        client_say_data(turn->out);
    return group;
}

static enum client_state offered(struct client *client, const struct client_turn *turn)
{
    client->behind[client->behind_count++] = envelope_sent(client, turn, false, client->unclean);
    return advance(client);
}

/* RFC 2920 §3.1: a message's text may be the first, RSET and MAIL may be anywhere in a group. RFC 3030 §2: the state
 * behind a BDAT that failed is not known until RSET, and nobody knows yet whether those that are out will. */
static enum client_state offered_behind(struct client *client, const struct client_turn *turn)
{
    sluice_assert(client_step_pipelines(client) && client->behind_count < countof(client->behind));
    const struct client_group *newest = client_step_newest(client);
    bool across = newest && newest->body_out;
    bool reset = client->unclean || (across && newest->chunked);
    client->behind[client->behind_count++] = envelope_sent(client, turn, across, reset);
    return client->state;
}

static enum client_state mail_accepted(struct client *client, const struct client_turn *turn)
{
    if (!client->front.whole)
        client_say_rcpt(client->front.envelope, turn->out);
    return CLIENT_RCPT;
}

static enum client_state rcpt_accepted(struct client *client, const struct client_turn *turn)
{
    client->front.rcpt_accepted = true;
    if (client->front.chunked) {
        prove(client);
        return client->front.body_out ? CLIENT_BODY : CLIENT_GO;
    }
    if (!client->front.whole)
        client_say_data(turn->out);
    return CLIENT_DATA;
}

static enum client_state data_accepted(struct client *client, const struct client_turn *turn)
{
    (void)turn;
    prove(client);
    return CLIENT_GO;
}

/* Nothing of the front group is owed any more, but the server may hold a sender or a recipient of it. */
static enum client_state reset(struct client *client, const struct client_turn *turn)
{
    client->front = (struct client_group){0};
    client_say_rset(turn->out);
    return CLIENT_RSET;
}

/* Told when the chunk has its answer: should the server go on as if it had not refused, that answer counts. */
static enum client_state keep_refusal(struct client *client, const struct client_turn *turn)
{
    struct client_kept *kept = &client->kept;
    kept->reply = (struct reply){.code = turn->reply->code};
    memcpy(kept->reply.status, turn->reply->status, sizeof kept->reply.status);
    kept->reply.text.n = turn->reply->text.n < sizeof kept->text ? turn->reply->text.n : sizeof kept->text;
    kept->reply.text.p = kept->text;
    memcpy(kept->text, turn->reply->text.p, kept->reply.text.n);
    return CLIENT_VOID_RCPT;
}

static enum client_state mail_refused(struct client *client, const struct client_turn *turn)
{
    if (client->front.body_out)
        return keep_refusal(client, turn);
    client_end_slot(client, &client->front, turn, STAGE_MAIL, client_end_objects(client, turn));
    return client->front.whole ? CLIENT_SKIP_RCPT : advance(client);
}

/* A chunk for a message without a recipient goes to nobody, whatever it is answered. */
static enum client_state rcpt_refused(struct client *client, const struct client_turn *turn)
{
    bool untouched = !client->front.body_out && client_end_objects(client, turn);
    client_end_slot(client, &client->front, turn, STAGE_RCPT, untouched);
    if (client->front.chunked)
        return client->front.body_out ? CLIENT_SKIP_CHUNK : advance_unclean(client);
    return client->front.whole ? CLIENT_SKIP_DATA : reset(client, turn);
}

static enum client_state data_refused(struct client *client, const struct client_turn *turn)
{
    client_end_slot(client, &client->front, turn, STAGE_DATA, client_end_objects(client, turn));
    return reset(client, turn);
}

static enum client_state skipped_mail(struct client *client, const struct client_turn *turn)
{
    return client->front.whole ? CLIENT_SKIP_RCPT : reset(client, turn);
}

static enum client_state skipped_rcpt(struct client *client, const struct client_turn *turn)
{
    client->front.rcpt_accepted |= turn->input == CLIENT_INPUT_OK;
    if (client->front.chunked)
        return advance_unclean(client);
    return client->front.whole ? CLIENT_SKIP_DATA : reset(client, turn);
}

/* The server waits for a body that nobody will write. A lone dot is the way back (RFC 2920 §3.1), but only where no
 * recipient was accepted: there it would deliver an empty message, and closing is what stops it (RFC 5321 §4.1.1.4). */
static enum client_state skipped_data_go(struct client *client, const struct client_turn *turn)
{
    if (client->front.rcpt_accepted) {
        struct client_turn local = {.happening = HAPPENING_LOCAL};
        return client_end_close(client, &local, STAGE_DATA);
    }
    client_say_lone_dot(turn->out);
    return CLIENT_ABORT;
}

static enum client_state skipped_chunk(struct client *client, const struct client_turn *turn)
{
    (void)turn;
    return advance_unclean(client);
}

static enum client_state void_rcpt(struct client *client, const struct client_turn *turn)
{
    client->front.rcpt_accepted |= turn->input == CLIENT_INPUT_OK;
    return CLIENT_VOID_CHUNK;
}

static enum client_state void_chunk(struct client *client, const struct client_turn *turn)
{
    if (client->front.rcpt_accepted && turn->input == CLIENT_INPUT_OK)
        client_end_slot(client, &client->front, turn, STAGE_BODY, false);
    else
        client_end_kept(client, &client->front);
    return advance_unclean(client);
}

static enum client_state body_written(struct client *client, const struct client_turn *turn)
{
    struct client_group *group = client->behind_count ? &client->behind[client->behind_count - 1] : &client->front;
    group->body_out = true;
    if (group->chunked)
        client_say_chunk(group->envelope, turn->out);
    return client->state == CLIENT_GO ? CLIENT_BODY : client->state;
}

static enum client_state body_answered(struct client *client, const struct client_turn *turn)
{
    client_end_ahead_objects(client, turn);
    client_end_slot(client, &client->front, turn, STAGE_BODY, false);
    if (!client->front.chunked)
        return advance(client);
    if (turn->input != CLIENT_INPUT_OK)
        return advance_unclean(client);
    enum client_state next = advance(client);
    return client->chunking_proved ? next : client_open_ask(client, turn);
}

static enum client_state was_reset(struct client *client, const struct client_turn *turn)
{
    (void)turn;
    client->unclean = false;
    return advance(client);
}

/* RFC 5321 §4.1.1.5: it cannot be refused; who does so is left. The refusal is no answer to bodies behind it. */
static enum client_state not_reset(struct client *client, const struct client_turn *turn)
{
    return client_step_bodies(client) ? client_end_garbage(client, turn) : client_end_session(client, turn);
}

static enum client_state withdrawn_behind(struct client *client, const struct client_turn *turn)
{
    for (unsigned i = 0; i < client->behind_count; i++) {
        struct client_group *group = &client->behind[i];
        if (!group->envelope || group->slot != turn->slot)
            continue;
        sluice_assert(!group->body_out);
        client_end_slot(client, group, turn, STAGE_MAIL, true);
        return client->state;
    }
    sluice_assert(false);
    return CLIENT_BROKEN;
}

static enum client_state withdrawn(struct client *client, const struct client_turn *turn)
{
    if (!client->front.envelope || client->front.slot != turn->slot)
        return withdrawn_behind(client, turn);
    sluice_assert(!client->front.body_out);
    client_end_slot(client, &client->front, turn, client_end_stage(client), true);
    switch (client->state) {
    case CLIENT_MAIL:
        return CLIENT_SKIP_MAIL;
    case CLIENT_RCPT:
        return CLIENT_SKIP_RCPT;
    default:
        sluice_assert(client->state == CLIENT_DATA);
        return CLIENT_SKIP_DATA;
    }
}

/* Where the server waits for a body, only closing makes sure that nothing is delivered (see skipped_data_go). */
static enum client_state withdrawn_go(struct client *client, const struct client_turn *turn)
{
    client_end_slot(client, &client->front, turn, STAGE_DATA, true);
    if (client->front.chunked)
        return advance_unclean(client);
    return client_end_close(client, turn, STAGE_DATA);
}

static enum client_state quit(struct client *client, const struct client_turn *turn)
{
    (void)client;
    client_say_quit(turn->out);
    return CLIENT_QUIT;
}

/* ---- the table ---- */

struct row {
    enum client_state (*on[CLIENT_INPUT_COUNT])(struct client *client, const struct client_turn *turn);
};

/* What every state can meet, and whoever is to be answered it: the session ends. */
#define ENDS [CLIENT_INPUT_CLOSING] = client_end_session, [CLIENT_INPUT_LOST] = client_end_session
/* The reply is one that says yes, not now, or never. */
#define ANY(answer) [CLIENT_INPUT_OK] = answer, [CLIENT_INPUT_LATER] = answer, [CLIENT_INPUT_NEVER] = answer
#define NO(answer)  [CLIENT_INPUT_LATER] = answer, [CLIENT_INPUT_NEVER] = answer
/* It is one that belongs nowhere here. */
#define ODD(answer) [CLIENT_INPUT_BROKEN] = answer, [CLIENT_INPUT_MORE] = answer, [CLIENT_INPUT_GO] = answer
/* A chunk is out, and more may follow it. */
#define BEHIND                                                                                                         \
    [CLIENT_INPUT_OFFER] = offered_behind, [CLIENT_INPUT_BODY] = body_written,                                         \
    [CLIENT_INPUT_WITHDRAW] = withdrawn_behind

/* clang-format off */
static const struct row table[CLIENT_STATE_COUNT] = {
    [CLIENT_HANDSHAKE] = {{
        [CLIENT_INPUT_LOST] = client_end_session, [CLIENT_INPUT_SECURED] = client_open_secured}},
    [CLIENT_GREETING] = {{ENDS, [CLIENT_INPUT_OK] = client_open_greeted, NO(client_end_refused)}},
    [CLIENT_EHLO] = {{ENDS,
        [CLIENT_INPUT_OK] = client_open_ehlo, [CLIENT_INPUT_LATER] = client_end_refused,
        [CLIENT_INPUT_NEVER] = client_open_ehlo_unknown}},
    [CLIENT_HELO] = {{ENDS, [CLIENT_INPUT_OK] = client_open_helo, NO(client_end_refused)}},
    [CLIENT_STARTTLS] = {{ENDS, [CLIENT_INPUT_OK] = client_open_handshake, NO(client_end_refused)}},
    [CLIENT_AUTH] = {{ENDS,
        [CLIENT_INPUT_OK] = client_open_authenticated, [CLIENT_INPUT_MORE] = client_open_auth_more,
        NO(client_end_refused)}},
    [CLIENT_AUTH_MORE] = {{ENDS,
        [CLIENT_INPUT_OK] = client_open_authenticated, [CLIENT_INPUT_MORE] = client_open_auth_more,
        NO(client_end_refused)}},
    [CLIENT_AUTH_LAST] = {{ENDS, [CLIENT_INPUT_OK] = client_open_authenticated, NO(client_end_refused)}},
    [CLIENT_TRIAL] = {{ODD(client_open_trial_garbage),
        [CLIENT_INPUT_OK] = client_open_trial_failed, [CLIENT_INPUT_LATER] = client_open_trial_failed,
        [CLIENT_INPUT_NEVER] = client_open_ask,
        [CLIENT_INPUT_CLOSING] = client_open_trial_failed, [CLIENT_INPUT_LOST] = client_open_trial_failed}},
    [CLIENT_TRIAL_END] = {{ODD(client_open_trial_garbage),
        [CLIENT_INPUT_OK] = client_open_trial_end, NO(client_open_trial_failed),
        [CLIENT_INPUT_CLOSING] = client_open_trial_failed, [CLIENT_INPUT_LOST] = client_open_trial_failed}},
    [CLIENT_READY] = {{ENDS, [CLIENT_INPUT_OFFER] = offered, [CLIENT_INPUT_QUIT] = quit}},
    [CLIENT_MAIL] = {{ENDS,
        [CLIENT_INPUT_OK] = mail_accepted, NO(mail_refused),
        [CLIENT_INPUT_OFFER] = offered_behind, [CLIENT_INPUT_BODY] = body_written, [CLIENT_INPUT_WITHDRAW] = withdrawn}},
    [CLIENT_RCPT] = {{ENDS,
        [CLIENT_INPUT_OK] = rcpt_accepted, NO(rcpt_refused),
        [CLIENT_INPUT_OFFER] = offered_behind, [CLIENT_INPUT_BODY] = body_written, [CLIENT_INPUT_WITHDRAW] = withdrawn}},
    [CLIENT_DATA] = {{ENDS,
        [CLIENT_INPUT_GO] = data_accepted, NO(data_refused), [CLIENT_INPUT_WITHDRAW] = withdrawn}},
    [CLIENT_SKIP_MAIL] = {{ENDS, ANY(skipped_mail)}},
    [CLIENT_SKIP_RCPT] = {{ENDS, ANY(skipped_rcpt)}},
    [CLIENT_SKIP_DATA] = {{ENDS, [CLIENT_INPUT_GO] = skipped_data_go, NO(reset)}},
    [CLIENT_SKIP_CHUNK] = {{ENDS, ANY(skipped_chunk), BEHIND}},
    [CLIENT_VOID_RCPT] = {{ENDS, ANY(void_rcpt), BEHIND}},
    [CLIENT_VOID_CHUNK] = {{ENDS, ANY(void_chunk), BEHIND}},
    [CLIENT_GO] = {{ENDS, [CLIENT_INPUT_BODY] = body_written, [CLIENT_INPUT_WITHDRAW] = withdrawn_go}},
    [CLIENT_ABORT] = {{ENDS, ANY(ready)}}, /* whatever the lone dot is answered, even 250: its slot was over before */
    [CLIENT_BODY] = {{ENDS, ANY(body_answered), BEHIND}},
    [CLIENT_RSET] = {{ENDS, [CLIENT_INPUT_OK] = was_reset, NO(not_reset), BEHIND}},
    [CLIENT_QUIT] = {{ENDS, ANY(client_end_session)}},
    [CLIENT_CLOSED] = {{ /* what was on its way when the session ended */
        [CLIENT_INPUT_BROKEN] = stay, ANY(stay), [CLIENT_INPUT_MORE] = stay, [CLIENT_INPUT_GO] = stay,
        [CLIENT_INPUT_CLOSING] = stay, [CLIENT_INPUT_LOST] = stay}},
};
/* clang-format on */

/* The only function that changes the state. */
void client_step(struct client *client, const struct client_turn *turn)
{
    sluice_assert(client->state > CLIENT_BROKEN && client->state < CLIENT_STATE_COUNT);
    sluice_assert(turn->input < CLIENT_INPUT_COUNT);
    enum client_state (*answer)(struct client *, const struct client_turn *) = table[client->state].on[turn->input];
    client->state = answer ? answer(client, turn) : client_end_garbage(client, turn);
}
