/* The client as its owner sees it: offers, replies and losses in, ends of slots out; what they lead to is
 * client_step.c. */
#include "proto/smtp/client_end.h"
#include "proto/smtp/write.h"

void client_init(struct client *client, const struct client_options *options)
{
    sluice_assert(options->in_flight <= CLIENT_IN_FLIGHT_MAX);
    sluice_assert(!options->required || options->starttls || options->implicit);
    *client = (struct client){.options = *options,
                              .state = options->implicit ? CLIENT_HANDSHAKE : CLIENT_GREETING,
                              .swallows = options->proved,
                              .chunking_proved = options->proved};
}

static enum client_input input_of(const struct reply *reply)
{
    switch (reply->code) {
    case 421:
        return CLIENT_INPUT_CLOSING;
    case 334:
        return CLIENT_INPUT_MORE;
    case 354:
        return CLIENT_INPUT_GO;
    }
    switch (reply->code / 100) {
    case 2:
        return CLIENT_INPUT_OK;
    case 4:
        return CLIENT_INPUT_LATER;
    case 5:
        return CLIENT_INPUT_NEVER;
    default:
        return CLIENT_INPUT_BROKEN;
    }
}

bool client_secures(const struct client *client) { return client->state == CLIENT_HANDSHAKE; }

void client_secured(struct client *client, struct client_out *out)
{
    sluice_assert(client_secures(client) && out->cap - out->n >= CLIENT_OUT_MAX);
    struct client_turn turn = {.input = CLIENT_INPUT_SECURED, .out = out};
    client_step(client, &turn);
}

void client_reply(struct client *client, const struct reply *reply, struct client_out *out)
{
    sluice_assert(out->cap - out->n >= CLIENT_OUT_MAX);
    struct client_turn turn = {.input = input_of(reply), .happening = HAPPENING_REPLY, .reply = reply, .out = out};
    /* Nothing else is outstanding when an answer of ours is written: who replies to what has not left yet, guesses. */
    if (out->n && turn.input != CLIENT_INPUT_CLOSING)
        turn = (struct client_turn){.input = CLIENT_INPUT_LOST, .happening = HAPPENING_GARBAGE, .out = out};
    client_step(client, &turn);
}

void client_lost(struct client *client, enum happening happening)
{
    sluice_assert(happening > HAPPENING_BROKEN && happening < HAPPENING_COUNT && happening != HAPPENING_REPLY);
    struct client_turn turn = {.input = CLIENT_INPUT_LOST, .happening = happening};
    client_step(client, &turn);
}

enum client_what client_next(struct client *client, struct client_result *result)
{
    if (client->results_told < client->results_count) {
        *result = client->results[client->results_told++];
        return result->what;
    }
    client->results_count = client->results_told = 0;
    if (client->close_owed) {
        client->close_owed = false;
        *result = client->close;
        return result->what;
    }
    *result = (struct client_result){.what = CLIENT_NOTHING};
    return CLIENT_NOTHING;
}

/* Behind a body that is out. */
static bool wants_another(const struct client *client)
{
    const struct client_group *newest = client_step_newest(client);
    if (!client_step_pipelines(client))
        return false;
    if (!newest)
        return client->state == CLIENT_RSET;
    if (!newest->body_out || !client->options.across || client->across_objected)
        return false;
    if (newest->chunked && !client->chunking_proved)
        return false;
    return client_step_groups(client) <= (newest->chunked ? client->options.in_flight : 1);
}

bool client_wants(const struct client *client)
{
    if (client->results_count > 0)
        return false;
    if (client->options.messages_max > 0 && client->offered >= client->options.messages_max)
        return false;
    switch (client->state) {
    case CLIENT_READY:
        return true;
    case CLIENT_MAIL:
    case CLIENT_RCPT:
    case CLIENT_SKIP_CHUNK:
    case CLIENT_VOID_RCPT:
    case CLIENT_VOID_CHUNK:
    case CLIENT_BODY:
    case CLIENT_RSET:
        return wants_another(client);
    default:
        return false;
    }
}

/* What rules a message out before a byte of it is written; false: nothing does. */
static bool ruled_out(const struct client *client, const struct client_envelope *envelope, struct client_result *why)
{
    const struct caps *caps = &client->caps;
    if (!write_address_safe(envelope->to, envelope->utf8))
        *why = (struct client_result){.stage = STAGE_RECIPIENT, .happening = HAPPENING_INVALID};
    else if (envelope->from.n > 0 && !write_address_safe(envelope->from, envelope->utf8))
        *why = (struct client_result){.stage = STAGE_MAIL, .happening = HAPPENING_INVALID};
    else if ((envelope->utf8 && !caps->smtputf8) || (envelope->eight_bit && !caps->eight_bit_mime))
        *why = (struct client_result){.stage = STAGE_MAIL, .happening = HAPPENING_EIGHT_BIT};
    else if (caps->size_max > 0 && envelope->size > caps->size_max) /* RFC 1870 §6.1 */
        *why = (struct client_result){.stage = STAGE_MAIL, .happening = HAPPENING_SIZE};
    else
        return false;
    return true;
}

unsigned client_offer(struct client *client, const struct client_envelope *envelope, struct client_out *out)
{
    sluice_assert(client_wants(client) && out->cap - out->n >= CLIENT_OUT_MAX);
    unsigned slot = 0;
    while (client->open & 1u << slot)
        slot++;
    sluice_assert(slot < CLIENT_SLOTS_MAX);
    client->open |= 1u << slot;
    struct client_result why;
    if (ruled_out(client, envelope, &why)) {
        why.slot = slot;
        client_end_tell(client, why);
        return slot;
    }
    struct client_turn turn = {.input = CLIENT_INPUT_OFFER, .out = out, .envelope = envelope, .slot = slot};
    client_step(client, &turn);
    return slot;
}

/* May the chunk of what went out last follow before its envelope is answered? Only where the server has shown that it
 * stands such a group, for a complaint about the group is no refusal of the message. */
static bool may_fly(const struct client *client, const struct client_group *newest)
{
    return newest->chunked && !newest->body_out && newest->envelope && client->pipelining_proved &&
           (!newest->across || client->across_proved) && client_step_bodies(client) < client->options.in_flight;
}

int client_body_slot(const struct client *client)
{
    if (client->state == CLIENT_GO)
        return (int)client->front.slot;
    const struct client_group *newest = client->state == CLIENT_CLOSED ? NULL : client_step_newest(client);
    return newest && may_fly(client, newest) ? (int)newest->slot : -1;
}

enum client_body client_body_written(struct client *client, unsigned slot, struct client_out *out)
{
    sluice_assert(client_body_slot(client) == (int)slot && out->cap - out->n >= CLIENT_OUT_MAX);
    enum client_body body = client_step_newest(client)->chunked ? CLIENT_BODY_CHUNK : CLIENT_BODY_DOT;
    struct client_turn turn = {.input = CLIENT_INPUT_BODY, .slot = slot, .out = out};
    client_step(client, &turn);
    return body;
}

void client_withdraw(struct client *client, unsigned slot)
{
    sluice_assert(client->open & 1u << slot);
    struct client_turn turn = {.input = CLIENT_INPUT_WITHDRAW, .happening = HAPPENING_LOCAL, .slot = slot};
    client_step(client, &turn);
}

void client_quit(struct client *client, struct client_out *out)
{
    sluice_assert(out->cap - out->n >= CLIENT_OUT_MAX);
    struct client_turn turn = {.input = CLIENT_INPUT_QUIT, .out = out};
    client_step(client, &turn);
}

enum client_wait client_waits_for(const struct client *client)
{
    static const enum client_wait waits[CLIENT_STATE_COUNT] = {
        [CLIENT_GREETING] = CLIENT_WAIT_GREETING, [CLIENT_EHLO] = CLIENT_WAIT_EHLO,
        [CLIENT_HELO] = CLIENT_WAIT_EHLO,         [CLIENT_STARTTLS] = CLIENT_WAIT_EHLO,
        [CLIENT_HANDSHAKE] = CLIENT_WAIT_EHLO,    [CLIENT_AUTH] = CLIENT_WAIT_EHLO,
        [CLIENT_AUTH_MORE] = CLIENT_WAIT_EHLO,    [CLIENT_AUTH_LAST] = CLIENT_WAIT_EHLO,
        [CLIENT_TRIAL] = CLIENT_WAIT_EHLO,        [CLIENT_TRIAL_END] = CLIENT_WAIT_EHLO,
        [CLIENT_MAIL] = CLIENT_WAIT_MAIL,         [CLIENT_RCPT] = CLIENT_WAIT_RCPT,
        [CLIENT_DATA] = CLIENT_WAIT_DATA,         [CLIENT_SKIP_MAIL] = CLIENT_WAIT_MAIL,
        [CLIENT_SKIP_RCPT] = CLIENT_WAIT_RCPT,    [CLIENT_SKIP_DATA] = CLIENT_WAIT_DATA,
        [CLIENT_SKIP_CHUNK] = CLIENT_WAIT_BODY,   [CLIENT_VOID_RCPT] = CLIENT_WAIT_RCPT,
        [CLIENT_VOID_CHUNK] = CLIENT_WAIT_BODY,   [CLIENT_ABORT] = CLIENT_WAIT_BODY,
        [CLIENT_BODY] = CLIENT_WAIT_BODY,         [CLIENT_RSET] = CLIENT_WAIT_MAIL,
        [CLIENT_QUIT] = CLIENT_WAIT_QUIT,
    };
    return waits[client->state];
}

bool client_objects_to_pipelining(const struct client *client) { return client->pipelining_objected; }
bool client_objects_to_across(const struct client *client) { return client->across_objected; }
bool client_objects_to_chunking(const struct client *client) { return client->chunking_objected; }
bool client_proved_chunking(const struct client *client) { return client->chunking_proved && !client->options.proved; }
