/* Before the first message both sides say who they are, what they can, and that nobody listens; in this order. */
#include "proto/smtp/client_open.h"

#include "proto/smtp/client_end.h"
#include "proto/smtp/client_say.h"

/* ---- may BDAT be used? ---- */

static enum client_state try_chunking(struct client *client, const struct client_turn *turn)
{
    bool may = client->options.in_flight > 0 && client->caps.chunking && client_step_pipelines(client);
    if (!may || client->swallows)
        return CLIENT_READY;
    client_say_trial(turn->out);
    return CLIENT_TRIAL;
}

/* How many replies are still to come is anybody's guess now; so not even QUIT can be said. */
enum client_state client_open_trial_failed(struct client *client, const struct client_turn *turn)
{
    client->chunking_objected = turn->happening != HAPPENING_LOCAL;
    return client_end_session(client, turn);
}

/* 3yz answers neither a chunk nor EHLO. */
enum client_state client_open_trial_garbage(struct client *client, const struct client_turn *turn)
{
    client->chunking_objected = true;
    return client_end_garbage(client, turn);
}

/* RFC 3030 §2: a receiver that refuses BDAT accepts and discards the octets of its chunk. Does it? */
enum client_state client_open_ask(struct client *client, const struct client_turn *turn)
{
    client_say_ehlo(client, turn->out);
    return CLIENT_TRIAL_END;
}

/* Only the answer to EHLO names extensions: one to "NOOP", or a second one to a chunk, does not. */
enum client_state client_open_trial_end(struct client *client, const struct client_turn *turn)
{
    struct caps caps;
    caps_parse(&caps, turn->reply);
    if (!caps.chunking || !caps.pipelining)
        return client_open_trial_failed(client, turn);
    client->caps = caps;
    client->chunking_proved = client->swallows;
    client->swallows = true;
    return CLIENT_READY;
}

/* ---- AUTH (RFC 4954) ---- */

/* What is demanded was not offered: there is nothing more to say. */
static enum client_state lacks(struct client *client, const struct client_turn *turn, enum stage stage)
{
    struct client_turn lack = {.happening = HAPPENING_NOT_OFFERED};
    client_say_quit(turn->out);
    return client_end_close(client, &lack, stage);
}

static enum client_state authenticate(struct client *client, const struct client_turn *turn)
{
    static const unsigned offers[] = {[CLIENT_MECHANISM_PLAIN] = CAPS_AUTH_PLAIN,
                                      [CLIENT_MECHANISM_LOGIN] = CAPS_AUTH_LOGIN,
                                      [CLIENT_MECHANISM_XOAUTH2] = CAPS_AUTH_XOAUTH2};
    const struct client_credentials *credentials = &client->options.credentials;
    if (credentials->mechanism == CLIENT_MECHANISM_NONE)
        return try_chunking(client, turn);
    /* RFC 4616 §6: the password is readable to whoever reads along. */
    if (!(client->caps.auth & offers[credentials->mechanism]) || (!client->secure && !credentials->in_clear))
        return lacks(client, turn, STAGE_AUTH);
    client_say_auth(client, turn->out);
    return CLIENT_AUTH;
}

/* 334: LOGIN asks for the user and then for the password. A server that asks PLAIN though it was told, has it once
 * more (RFC 4954 §4: an initial response may be ignored). To XOAUTH2 this is an error in JSON, and the refusal comes
 * behind an empty answer. */
enum client_state client_open_auth_more(struct client *client, const struct client_turn *turn)
{
    const struct client_credentials *credentials = &client->options.credentials;
    if (credentials->mechanism == CLIENT_MECHANISM_XOAUTH2)
        client_say_nothing(turn->out);
    else if (client->state == CLIENT_AUTH)
        client_say_secret(turn->out, credentials->first);
    else
        client_say_secret(turn->out, credentials->second);
    bool first = client->state == CLIENT_AUTH && credentials->mechanism == CLIENT_MECHANISM_LOGIN;
    return first ? CLIENT_AUTH_MORE : CLIENT_AUTH_LAST;
}

enum client_state client_open_authenticated(struct client *client, const struct client_turn *turn)
{
    return try_chunking(client, turn);
}

/* ---- greeting, EHLO, STARTTLS ---- */

static enum client_state introduced(struct client *client, const struct client_turn *turn)
{
    if (!client->secure && client->options.starttls && client->caps.starttls) {
        client_say_starttls(turn->out);
        return CLIENT_STARTTLS;
    }
    if (!client->secure && client->options.required)
        return lacks(client, turn, STAGE_STARTTLS);
    return authenticate(client, turn);
}

enum client_state client_open_greeted(struct client *client, const struct client_turn *turn)
{
    client->greeted = true;
    client_say_ehlo(client, turn->out);
    return CLIENT_EHLO;
}

enum client_state client_open_ehlo(struct client *client, const struct client_turn *turn)
{
    caps_parse(&client->caps, turn->reply);
    return introduced(client, turn);
}

/* RFC 5321 §3.2: a server that does not know EHLO is asked in the old way. */
enum client_state client_open_ehlo_unknown(struct client *client, const struct client_turn *turn)
{
    client_say_helo(client, turn->out);
    return CLIENT_HELO;
}

enum client_state client_open_helo(struct client *client, const struct client_turn *turn)
{
    caps_clear(&client->caps);
    return introduced(client, turn);
}

enum client_state client_open_handshake(struct client *client, const struct client_turn *turn)
{
    (void)client;
    (void)turn;
    return CLIENT_HANDSHAKE;
}

/* RFC 3207 §4.2: what was said before counts no more, and EHLO should be the first command. */
enum client_state client_open_secured(struct client *client, const struct client_turn *turn)
{
    client->secure = true;
    caps_clear(&client->caps);
    if (!client->greeted) /* RFC 8314 §3: TLS came first */
        return CLIENT_GREETING;
    client_say_ehlo(client, turn->out);
    return CLIENT_EHLO;
}
