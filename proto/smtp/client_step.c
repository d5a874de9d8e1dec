/* A session is a conversation with a stranger who may say anything at any time; this table knows what follows. */
#include "proto/smtp/client_step.h"

#include "proto/smtp/write.h"

/* ---- what goes out ---- */

static char *room(struct client_out *out) { return out->p + out->n; }

/* Arguments were looked at before: a line that cannot be written is our own bug. */
static void wrote(struct client_out *out, size_t n)
{
    sluice_assert(n > 0);
    out->n += n;
}

static void say_mail(struct client *client, const struct client_envelope *envelope, struct client_out *out)
{
    struct write_mail mail = {
        .from = envelope->from,
        .size = client->caps.size ? envelope->size : 0,
        .eight_bit = envelope->eight_bit && client->caps.eight_bit_mime,
        .utf8 = envelope->utf8,
    };
    wrote(out, write_mail(room(out), out->cap - out->n, &mail));
}

static void say_rcpt(const struct client_envelope *envelope, struct client_out *out)
{
    wrote(out, write_rcpt(room(out), out->cap - out->n, envelope->to, envelope->utf8));
}

static void say_data(struct client_out *out) { wrote(out, write_data(room(out), out->cap - out->n)); }
static void say_rset(struct client_out *out) { wrote(out, write_rset(room(out), out->cap - out->n)); }
static void say_quit(struct client_out *out) { wrote(out, write_quit(room(out), out->cap - out->n)); }

static void say_lone_dot(struct client_out *out)
{
    sluice_assert(out->cap - out->n >= WRITE_END_MAX);
    wrote(out, write_end(room(out), out->cap - out->n, WRITE_LINE_START));
}

/* ---- what is told ---- */

void client_step_tell(struct client *client, struct client_result result)
{
    sluice_assert(client->results_count < countof(client->results));
    result.what = CLIENT_ENDED;
    client->results[client->results_count++] = result;
}

/* The one place where a slot that went out ends. */
static void end_slot(struct client *client, struct client_group *group, const struct client_turn *turn,
                     enum stage stage, bool untouched)
{
    sluice_assert(group->out && group->envelope && !(group->body_out && untouched));
    client_step_tell(client, (struct client_result){.slot = group->slot,
                                                    .stage = stage,
                                                    .happening = turn->happening,
                                                    .body_left = group->body_out,
                                                    .untouched = untouched,
                                                    .reply = turn->reply});
    group->envelope = NULL;
}

/* How far the front group is, in the words of an outcome. */
static enum stage stage_of(enum client_state state)
{
    static const enum stage stages[CLIENT_STATE_COUNT] = {
        [CLIENT_GREETING] = STAGE_GREETING, [CLIENT_EHLO] = STAGE_EHLO,      [CLIENT_HELO] = STAGE_EHLO,
        [CLIENT_MAIL] = STAGE_MAIL,         [CLIENT_RCPT] = STAGE_RCPT,      [CLIENT_DATA] = STAGE_DATA,
        [CLIENT_SKIP_MAIL] = STAGE_MAIL,    [CLIENT_SKIP_RCPT] = STAGE_RCPT, [CLIENT_SKIP_DATA] = STAGE_DATA,
        [CLIENT_GO] = STAGE_DATA,           [CLIENT_ABORT] = STAGE_DATA,     [CLIENT_BODY] = STAGE_BODY,
        [CLIENT_RSET] = STAGE_MAIL,
    };
    return stages[state]; /* STAGE_BROKEN: between messages */
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
 * anything else of commands that are in order. Behind a dot 554 at MAIL and DATA and 421 are taken so too: giving the
 * message back costs one more try. Not 554 at RCPT: with some providers that is an unknown user. */
static bool refusal_objects(const struct client *client, const struct reply *reply, bool across)
{
    if (reply->code == 500 || reply->code == 503 || names_pipelining(reply))
        return true;
    return across && (reply->code == 421 || (reply->code == 554 && client->state != CLIENT_RCPT));
}

/* True when this refusal or loss, in the first group of its kind, is to be held against pipelining; remembers it. */
static bool objects(struct client *client, const struct client_turn *turn)
{
    const struct client_group *front = &client->front;
    if (front->across && !client->across_proved && (!turn->reply || refusal_objects(client, turn->reply, true)))
        return client->across_objected = true;
    if (front->whole && !client->pipelining_proved && turn->reply && refusal_objects(client, turn->reply, false))
        return client->pipelining_objected = true;
    return false;
}

/* A message whose reply never comes is in doubt, and that is too high a price for finding out slowly: a server that is
 * lost, or complains, while it has our first group behind a dot is not given another. */
static void dot_objects(struct client *client, const struct client_turn *turn)
{
    if (client->state != CLIENT_BODY || !client->behind.out || client->across_proved)
        return;
    if (!turn->reply || turn->reply->code == 421)
        client->across_objected = true;
    else if (turn->input != CLIENT_INPUT_OK && refusal_objects(client, turn->reply, false))
        client->across_objected = true;
}

bool client_step_pipelines(const struct client *client)
{
    return client->options.pipelining && client->caps.pipelining && !client->pipelining_objected;
}

/* A whole group was answered as it should be: from now on a refusal means the message. */
static void prove(struct client *client)
{
    client->pipelining_proved |= client->front.whole;
    client->across_proved |= client->front.across;
}

/* ---- answers: each does what an input asks for and names the state that follows ---- */

static enum client_state close_session(struct client *client, const struct client_turn *turn, enum stage stage)
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

/* The session is over, and every slot with it. */
static enum client_state session_over(struct client *client, const struct client_turn *turn)
{
    struct client_group *front = &client->front, *behind = &client->behind;
    dot_objects(client, turn);
    if (front->envelope) {
        bool untouched = !front->body_out && (objects(client, turn) || !blames_message(client, turn));
        end_slot(client, front, turn, stage_of(client->state), untouched);
    }
    if (behind->envelope)
        end_slot(client, behind, turn, STAGE_MAIL, true);
    return close_session(client, turn, stage_of(client->state));
}

/* An input that the table has no answer to. */
static enum client_state broken(struct client *client, const struct client_turn *turn)
{
    sluice_assert(turn->input <= CLIENT_INPUT_LOST);
    struct client_turn garbage = {.input = CLIENT_INPUT_LOST, .happening = HAPPENING_GARBAGE};
    return session_over(client, &garbage);
}

static enum client_state stay(struct client *client, const struct client_turn *turn)
{
    (void)turn;
    return client->state;
}

static enum client_state greeted(struct client *client, const struct client_turn *turn)
{
    wrote(turn->out, write_ehlo(room(turn->out), turn->out->cap - turn->out->n, client->options.ehlo));
    return CLIENT_EHLO;
}

/* RFC 5321 §3.1: a server that refuses in its greeting waits for QUIT. */
static enum client_state session_refused(struct client *client, const struct client_turn *turn)
{
    say_quit(turn->out);
    return session_over(client, turn);
}

static enum client_state ehlo_accepted(struct client *client, const struct client_turn *turn)
{
    caps_parse(&client->caps, turn->reply);
    return CLIENT_READY;
}

/* RFC 5321 §3.2: a server that does not know EHLO is asked in the old way. */
static enum client_state ehlo_unknown(struct client *client, const struct client_turn *turn)
{
    wrote(turn->out, write_helo(room(turn->out), turn->out->cap - turn->out->n, client->options.ehlo));
    return CLIENT_HELO;
}

static enum client_state ready(struct client *client, const struct client_turn *turn)
{
    (void)turn;
    client->front = (struct client_group){0};
    return CLIENT_READY;
}

/* Writes a message's envelope as `group`, all of it where the server pipelines. */
static void send_envelope(struct client *client, const struct client_turn *turn, struct client_group *group)
{
    sluice_assert(!group->out);
    *group = (struct client_group){
        .envelope = turn->envelope,
        .slot = turn->slot,
        .out = true,
        .whole = client_step_pipelines(client),
        .across = client->state == CLIENT_BODY,
    };
    client->offered++;
    say_mail(client, turn->envelope, turn->out);
    if (group->whole) { /* RFC 2920 §3.1: DATA may stand last in a group */
        say_rcpt(turn->envelope, turn->out);
        say_data(turn->out);
    }
}

static enum client_state offered(struct client *client, const struct client_turn *turn)
{
    send_envelope(client, turn, &client->front);
    return CLIENT_MAIL;
}

/* RFC 2920 §3.1: a message's text may be the first, RSET and MAIL may be anywhere in a group. */
static enum client_state offered_behind(struct client *client, const struct client_turn *turn)
{
    sluice_assert(client_step_pipelines(client));
    send_envelope(client, turn, &client->behind);
    return client->state;
}

static enum client_state mail_accepted(struct client *client, const struct client_turn *turn)
{
    if (!client->front.whole)
        say_rcpt(client->front.envelope, turn->out);
    return CLIENT_RCPT;
}

static enum client_state rcpt_accepted(struct client *client, const struct client_turn *turn)
{
    client->front.rcpt_accepted = true;
    if (!client->front.whole)
        say_data(turn->out);
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
    say_rset(turn->out);
    return CLIENT_RSET;
}

static enum client_state mail_refused(struct client *client, const struct client_turn *turn)
{
    end_slot(client, &client->front, turn, STAGE_MAIL, objects(client, turn));
    return client->front.whole ? CLIENT_SKIP_RCPT : ready(client, turn);
}

static enum client_state rcpt_refused(struct client *client, const struct client_turn *turn)
{
    end_slot(client, &client->front, turn, STAGE_RCPT, objects(client, turn));
    return client->front.whole ? CLIENT_SKIP_DATA : reset(client, turn);
}

static enum client_state data_refused(struct client *client, const struct client_turn *turn)
{
    end_slot(client, &client->front, turn, STAGE_DATA, objects(client, turn));
    return reset(client, turn);
}

static enum client_state skipped_mail(struct client *client, const struct client_turn *turn)
{
    return client->front.whole ? CLIENT_SKIP_RCPT : reset(client, turn);
}

static enum client_state skipped_rcpt(struct client *client, const struct client_turn *turn)
{
    client->front.rcpt_accepted |= turn->input == CLIENT_INPUT_OK;
    return client->front.whole ? CLIENT_SKIP_DATA : reset(client, turn);
}

/* The server waits for a body that nobody will write. A lone dot is the way back (RFC 2920 §3.1), but only where no
 * recipient was accepted: there it would deliver an empty message, and closing is what stops it (RFC 5321 §4.1.1.4). */
static enum client_state skipped_data_go(struct client *client, const struct client_turn *turn)
{
    if (client->front.rcpt_accepted) {
        struct client_turn local = {.happening = HAPPENING_LOCAL};
        return close_session(client, &local, STAGE_DATA);
    }
    say_lone_dot(turn->out);
    return CLIENT_ABORT;
}

static enum client_state body_written(struct client *client, const struct client_turn *turn)
{
    (void)turn;
    client->front.body_out = true;
    return CLIENT_BODY;
}

/* What was behind the dot or the RSET is in front now. */
static enum client_state advance(struct client *client)
{
    client->front = client->behind;
    client->behind = (struct client_group){0};
    if (!client->front.out)
        return CLIENT_READY;
    return client->front.envelope ? CLIENT_MAIL : CLIENT_SKIP_MAIL;
}

static enum client_state body_answered(struct client *client, const struct client_turn *turn)
{
    dot_objects(client, turn);
    end_slot(client, &client->front, turn, STAGE_BODY, false);
    return advance(client);
}

static enum client_state was_reset(struct client *client, const struct client_turn *turn)
{
    (void)turn;
    return advance(client);
}

static enum client_state withdrawn(struct client *client, const struct client_turn *turn)
{
    end_slot(client, &client->front, turn, stage_of(client->state), true);
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

/* The server waits for the body: as skipped_data_go has it, only closing makes sure that nothing is delivered. */
static enum client_state withdrawn_go(struct client *client, const struct client_turn *turn)
{
    end_slot(client, &client->front, turn, STAGE_DATA, true);
    return close_session(client, turn, STAGE_DATA);
}

static enum client_state withdrawn_behind(struct client *client, const struct client_turn *turn)
{
    end_slot(client, &client->behind, turn, STAGE_MAIL, true);
    return client->state;
}

static enum client_state quit(struct client *client, const struct client_turn *turn)
{
    (void)client;
    say_quit(turn->out);
    return CLIENT_QUIT;
}

/* ---- the table ---- */

struct row {
    enum client_state (*on[CLIENT_INPUT_COUNT])(struct client *client, const struct client_turn *turn);
};

/* clang-format off */
static const struct row table[CLIENT_STATE_COUNT] = {
    [CLIENT_GREETING] = {{
        [CLIENT_INPUT_OK] = greeted, [CLIENT_INPUT_LATER] = session_refused, [CLIENT_INPUT_NEVER] = session_refused,
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over}},
    [CLIENT_EHLO] = {{
        [CLIENT_INPUT_OK] = ehlo_accepted, [CLIENT_INPUT_LATER] = session_refused, [CLIENT_INPUT_NEVER] = ehlo_unknown,
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over}},
    [CLIENT_HELO] = {{
        [CLIENT_INPUT_OK] = ready, [CLIENT_INPUT_LATER] = session_refused, [CLIENT_INPUT_NEVER] = session_refused,
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over}},
    [CLIENT_READY] = {{
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over,
        [CLIENT_INPUT_OFFER] = offered, [CLIENT_INPUT_QUIT] = quit}},
    [CLIENT_MAIL] = {{
        [CLIENT_INPUT_OK] = mail_accepted, [CLIENT_INPUT_LATER] = mail_refused, [CLIENT_INPUT_NEVER] = mail_refused,
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over, [CLIENT_INPUT_WITHDRAW] = withdrawn}},
    [CLIENT_RCPT] = {{
        [CLIENT_INPUT_OK] = rcpt_accepted, [CLIENT_INPUT_LATER] = rcpt_refused, [CLIENT_INPUT_NEVER] = rcpt_refused,
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over, [CLIENT_INPUT_WITHDRAW] = withdrawn}},
    [CLIENT_DATA] = {{
        [CLIENT_INPUT_GO] = data_accepted, [CLIENT_INPUT_LATER] = data_refused, [CLIENT_INPUT_NEVER] = data_refused,
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over, [CLIENT_INPUT_WITHDRAW] = withdrawn}},
    [CLIENT_SKIP_MAIL] = {{
        [CLIENT_INPUT_OK] = skipped_mail, [CLIENT_INPUT_LATER] = skipped_mail, [CLIENT_INPUT_NEVER] = skipped_mail,
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over}},
    [CLIENT_SKIP_RCPT] = {{
        [CLIENT_INPUT_OK] = skipped_rcpt, [CLIENT_INPUT_LATER] = skipped_rcpt, [CLIENT_INPUT_NEVER] = skipped_rcpt,
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over}},
    [CLIENT_SKIP_DATA] = {{
        [CLIENT_INPUT_GO] = skipped_data_go, [CLIENT_INPUT_LATER] = reset, [CLIENT_INPUT_NEVER] = reset,
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over}},
    [CLIENT_GO] = {{
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over,
        [CLIENT_INPUT_BODY] = body_written, [CLIENT_INPUT_WITHDRAW] = withdrawn_go}},
    [CLIENT_ABORT] = {{ /* whatever the lone dot is answered, even 250: its slot was over before */
        [CLIENT_INPUT_OK] = ready, [CLIENT_INPUT_LATER] = ready, [CLIENT_INPUT_NEVER] = ready,
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over}},
    [CLIENT_BODY] = {{
        [CLIENT_INPUT_OK] = body_answered, [CLIENT_INPUT_LATER] = body_answered, [CLIENT_INPUT_NEVER] = body_answered,
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over,
        [CLIENT_INPUT_OFFER] = offered_behind, [CLIENT_INPUT_WITHDRAW] = withdrawn_behind}},
    [CLIENT_RSET] = {{ /* RFC 5321 §4.1.1.5: it cannot be refused; who does so is left */
        [CLIENT_INPUT_OK] = was_reset, [CLIENT_INPUT_LATER] = session_over, [CLIENT_INPUT_NEVER] = session_over,
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over,
        [CLIENT_INPUT_OFFER] = offered_behind, [CLIENT_INPUT_WITHDRAW] = withdrawn_behind}},
    [CLIENT_QUIT] = {{
        [CLIENT_INPUT_OK] = session_over, [CLIENT_INPUT_LATER] = session_over, [CLIENT_INPUT_NEVER] = session_over,
        [CLIENT_INPUT_CLOSING] = session_over, [CLIENT_INPUT_LOST] = session_over}},
    [CLIENT_CLOSED] = {{ /* what was on its way when the session ended */
        [CLIENT_INPUT_BROKEN] = stay, [CLIENT_INPUT_OK] = stay, [CLIENT_INPUT_GO] = stay,
        [CLIENT_INPUT_LATER] = stay, [CLIENT_INPUT_NEVER] = stay, [CLIENT_INPUT_CLOSING] = stay,
        [CLIENT_INPUT_LOST] = stay}},
};
/* clang-format on */

/* The only function that changes the state. */
void client_step(struct client *client, const struct client_turn *turn)
{
    sluice_assert(client->state > CLIENT_BROKEN && client->state < CLIENT_STATE_COUNT);
    sluice_assert(turn->input < CLIENT_INPUT_COUNT);
    enum client_state (*answer)(struct client *, const struct client_turn *) = table[client->state].on[turn->input];
    client->state = answer ? answer(client, turn) : broken(client, turn);
}
