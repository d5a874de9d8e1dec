/* Between the pure client and the ring stands somebody who watches the clock, lends memory to the kernel and takes it
 * back: this file. */
#include "flow/session.h"

#include "flow/session_outcome.h"

#include <errno.h>
#include <stdio.h>

static const nsec linger = 2 * NSEC_PER_S;

static void work(struct session *session);

/* ---- outcomes ---- */

/* The ring may still be reading a body whose attempt has ended: it is given back when the send is over. */
static void give(struct session *session, struct pressed *pressed)
{
    if (session->in_flight != pressed) {
        press_give(session->press, pressed);
        return;
    }
    sluice_assert(!session->flying);
    session->flying = pressed;
}

/* The dot of our first group behind it was answered 500 or 503: what was refused is the group, not the message (as
 * OpenSMTPD does), and a refused message was not taken. It may be sent again, and this way of sending is not. */
static bool only_the_group_was_refused(struct session *session, const struct client_result *result)
{
    bool objected = session->objected;
    session->objected = client_objects_to_across(&session->client);
    return session->objected && !objected && result->stage == STAGE_BODY && result->reply &&
           (result->reply->code == 500 || result->reply->code == 503);
}

static void end_slot(struct session *session, const struct client_result *result)
{
    struct session_slot *slot = &session->slots[result->slot];
    sluice_assert(slot->attempt);
    struct outcome outcome;
    session_outcome(session, result, &outcome);
    outcome.bytes = slot->pressed->size;
    slice_copy(outcome.message_id, sizeof outcome.message_id, slot->pressed->message_id);
    outcome.started_wall = slot->started_wall;
    outcome.took = io_now(session->io) - slot->started;
    struct attempt *attempt = slot->attempt;
    bool untouched = only_the_group_was_refused(session, result) || result->untouched;
    give(session, slot->pressed);
    slot->attempt = NULL;
    slot->pressed = NULL;
    attempt->session = NULL;
    session->on->ended(session->context, session, attempt, &outcome, untouched);
}

/* ---- the end of the connection ---- */

static void close_now(struct session *session)
{
    session->closing = true;
    io_timer_clear(session->io, &session->timer);
    stream_close(&session->stream);
}

static void on_closed(struct stream *stream)
{
    struct session *session = container_of(stream, struct session, stream);
    io_timer_clear(session->io, &session->timer);
    if (session->flying)
        press_give(session->press, session->flying);
    session->flying = session->in_flight = NULL;
    session->on->closed(session->context, session, &session->why);
}

/* Takes what the client still has to say; sets `over` when the connection is to be closed. */
static void drain(struct session *session)
{
    struct client_result result;
    while (!session->over) {
        switch (client_next(&session->client, &result)) {
        case CLIENT_NOTHING:
            return;
        case CLIENT_ENDED:
            end_slot(session, &result);
            break;
        case CLIENT_CLOSE:
            session_outcome(session, &result, &session->why);
            session->over = true;
            break;
        }
    }
}

static void end_unconnected(struct session *session, enum happening happening)
{
    session_outcome(session, &(struct client_result){.stage = STAGE_CONNECT, .happening = happening}, &session->why);
    session->over = true;
    close_now(session);
}

static enum happening note_lack(struct session *session, int result, enum happening happening)
{
    if (happening == HAPPENING_LOCAL)
        session->lacks = result;
    return happening;
}

static void lose(struct session *session, enum happening happening)
{
    if (session->over) {
        close_now(session);
        return;
    }
    client_lost(&session->client, happening);
    drain(session);
    sluice_assert(session->over);
    close_now(session);
}

static void break_down(struct session *session, int result)
{
    lose(session, note_lack(session, result, session_outcome_happening(result, true)));
}

/* ---- time ---- */

static nsec patience(const struct session *session)
{
    const struct config_limits *limits = session->limits;
    if (session->stream.state == STREAM_CONNECTING)
        return limits->timeout_connect;
    if (session->lingering)
        return linger;
    switch (client_waits_for(&session->client)) {
    case CLIENT_WAIT_GREETING:
        return limits->timeout_greeting;
    case CLIENT_WAIT_EHLO:
        return limits->timeout_ehlo;
    case CLIENT_WAIT_MAIL:
        return limits->timeout_mail;
    case CLIENT_WAIT_RCPT:
        return limits->timeout_rcpt;
    case CLIENT_WAIT_DATA:
        return limits->timeout_data;
    case CLIENT_WAIT_BODY:
        return limits->timeout_body;
    case CLIENT_WAIT_QUIT:
        return limits->timeout_quit;
    default:
        return limits->idle;
    }
}

/* A timer that is set too early looks at the deadline when it fires; so a session that goes on moves no timer. */
static void watch(struct session *session)
{
    session->deadline = io_lately(session->io) + patience(session);
    if (!io_timer_is_set(&session->timer) || session->timer.at > session->deadline)
        io_timer_set(session->io, &session->timer, session->deadline);
}

static void on_timer(struct io_timer *timer)
{
    struct session *session = container_of(timer, struct session, timer);
    if (io_now(session->io) < session->deadline) {
        io_timer_set(session->io, timer, session->deadline);
        return;
    }
    if (session->lingering)
        close_now(session);
    else if (session_is_idle(session) && client_waits_for(&session->client) == CLIENT_WAIT_NONE)
        session_quit(session);
    else
        session_abort(session, HAPPENING_TIMEOUT);
}

/* ---- writing ---- */

struct flight {
    struct slice parts[PRESSED_PARTS + 3]; /* commands, a message, its end, commands */
    unsigned count;
    size_t cut; /* bytes of `out` that are in the parts */
};

static void add_commands(struct session *session, struct flight *flight)
{
    if (session->out.n == flight->cut)
        return;
    flight->parts[flight->count++] = (struct slice){session->out.p + flight->cut, session->out.n - flight->cut};
    flight->cut = session->out.n;
}

/* The body goes only behind an acknowledged permit (ledger.h): the gate. */
static void add_body(struct session *session, struct flight *flight)
{
    int body = client_body_slot(&session->client);
    if (body < 0)
        return;
    struct session_slot *slot = &session->slots[body];
    if (slot->attempt->permit == PERMIT_REFUSED) {
        client_withdraw(&session->client, (unsigned)body);
        return;
    }
    if (slot->attempt->permit != PERMIT_GRANTED || !session->on->may_leave(session->context, session))
        return;
    enum client_body kind = client_body_written(&session->client, (unsigned)body, &session->out);
    add_commands(session, flight);
    for (unsigned i = 0; i < PRESSED_PARTS; i++)
        if (slot->pressed->parts[i].n)
            flight->parts[flight->count++] = slot->pressed->parts[i];
    if (kind == CLIENT_BODY_DOT)
        flight->parts[flight->count++] = SLICE(".\r\n"); /* a message ends in CRLF (press.h) */
    session->in_flight = slot->pressed;
}

/* Never copied: what has left is in nobody's memory but its owner's. */
static void add_secret(struct session *session, struct flight *flight)
{
    if (!session->out.secret.n)
        return;
    flight->parts[flight->count++] = session->out.secret;
    flight->parts[flight->count++] = SLICE("\r\n");
}

static void next_out(struct session *session)
{
    session->out_which ^= 1;
    session->out = (struct client_out){.p = session->out_bytes[session->out_which], .cap = SESSION_OUT};
}

/* One flight: what the client wants said, a body if its permit is there, and behind it the next message's MAIL. */
static bool fly(struct session *session)
{
    struct flight flight = {.count = 0};
    add_body(session, &flight);
    if (client_wants(&session->client) && !session->quitting)
        session->on->wants(session->context, session);
    add_commands(session, &flight);
    add_secret(session, &flight);
    if (!flight.count)
        return false;
    stream_send(&session->stream, flight.parts, flight.count);
    next_out(session);
    return true;
}

static void finish(struct session *session)
{
    bool said_quit = session->quitting && session->why.stage == STAGE_BROKEN;
    bool refused = session->why.happening == HAPPENING_REPLY || session->why.happening == HAPPENING_NOT_OFFERED;
    bool says_quit = session->out.n && refused && !stream_sending(&session->stream);
    if (!said_quit && !says_quit) {
        close_now(session);
        return;
    }
    if (says_quit) { /* refused before the first message: RFC 5321 §3.1 wants a QUIT all the same */
        stream_send(&session->stream, &(struct slice){session->out.p, session->out.n}, 1);
        next_out(session);
    }
    session->lingering = true; /* the server closes first, so that no TIME_WAIT stays on our side */
    watch(session);
}

/* The connection could not be encrypted as it must be. */
static void end_insecure(struct session *session, enum happening happening, const char *reason)
{
    client_lost(&session->client, happening);
    drain(session);
    sluice_assert(session->over);
    slice_copy(session->why.reply, sizeof session->why.reply, slice_of(reason));
    close_now(session);
}

/* RFC 3207 §4: nothing is said between STARTTLS and its answer, so what was sent has left. */
static void secure(struct session *session)
{
    struct tls_demand demand;
    if (session->securing || stream_sending(&session->stream))
        return;
    session->securing = true;
    if (security_demand(&session->security, &demand))
        stream_secure(&session->stream, session->security.tls, &demand);
    else
        end_insecure(session, HAPPENING_LOCAL, "DNS has changed what the server's certificate must be");
}

static void work(struct session *session)
{
    if (session->working || session->closing || session->lingering)
        return;
    if (client_secures(&session->client)) {
        watch(session);
        secure(session);
        return;
    }
    session->working = true;
    drain(session);
    while (!session->over && !stream_sending(&session->stream)) {
        bool flew = fly(session);
        drain(session);
        if (!flew)
            break;
    }
    session->working = false;
    if (session->over) {
        finish(session);
        return;
    }
    watch(session);
    if (!session_is_idle(session))
        return;
    if (client_wants(&session->client))
        session->on->idle(session->context, session);
    else
        session_quit(session); /* it has had its per_connection messages */
}

static void on_sent(struct stream *stream, int result)
{
    struct session *session = container_of(stream, struct session, stream);
    session->in_flight = NULL;
    if (session->flying)
        press_give(session->press, session->flying);
    session->flying = NULL;
    if (result < 0) {
        if (!session->lingering)
            break_down(session, result);
        return;
    }
    work(session);
}

/* ---- reading ---- */

static void on_bytes(struct stream *stream, struct slice bytes)
{
    struct session *session = container_of(stream, struct session, stream);
    struct reply reply;
    while (!session->closing && !session->lingering && !client_secures(&session->client)) {
        enum reply_result result = reply_parse(&session->parser, &bytes, &reply);
        if (result == REPLY_MORE)
            break;
        if (result != REPLY_COMPLETE) {
            lose(session, HAPPENING_GARBAGE);
            return;
        }
        client_reply(&session->client, &reply, &session->out);
        if (!session->ready && session->client.state == CLIENT_READY) {
            session->ready = true;
            session->on->ready(session->context, session);
        }
        drain(session); /* now, for a reply is borrowed until the next is parsed; writing waits for all of them */
        if (session->over)
            break;
    }
    /* RFC 3207 §4.2, CVE-2011-0411: what came in plain text behind the 220 anybody may have put there. */
    if (client_secures(&session->client))
        reply_init(&session->parser);
    work(session);
}

static void on_secured(struct stream *stream, const struct tls_result *result)
{
    struct session *session = container_of(stream, struct session, stream);
    if (result->ok) {
        const char *proof = security_proof(&session->security);
        snprintf(session->tls, sizeof session->tls, "%s %s%s%s", result->version, result->cipher, *proof ? " " : "",
                 proof);
        client_secured(&session->client, &session->out);
        work(session);
        return;
    }
    session->lacks = result->local ? -ENOMEM : 0;
    end_insecure(session, result->local || result->stale ? HAPPENING_LOCAL : HAPPENING_TLS, result->reason);
}

static void on_ended(struct stream *stream, int result)
{
    struct session *session = container_of(stream, struct session, stream);
    if (session->lingering)
        close_now(session);
    else
        break_down(session, result);
}

static void on_connected(struct stream *stream, int result)
{
    struct session *session = container_of(stream, struct session, stream);
    if (result < 0) {
        end_unconnected(session, note_lack(session, result, session_outcome_happening(result, false)));
        return;
    }
    work(session);
}

/* ---- the owner's side ---- */

int session_open(struct session *session, const struct session_config *config)
{
    static const struct stream_events events = {.connected = on_connected,
                                                .bytes = on_bytes,
                                                .sent = on_sent,
                                                .ended = on_ended,
                                                .closed = on_closed,
                                                .secured = on_secured};
    const struct session_security *security = &config->security;
    struct client_options options = {.ehlo = slice_of(config->ehlo),
                                     .pipelining = config->pipelining,
                                     .across = config->across,
                                     .messages_max = config->per_connection,
                                     .starttls = security->starttls,
                                     .required = security->required,
                                     .implicit = security->implicit,
                                     .in_flight = config->in_flight,
                                     .proved = config->chunking_proved};
    if (config->credentials)
        options.credentials = *config->credentials;
    session->io = config->io;
    session->press = config->press;
    session->on = config->on;
    session->context = config->context;
    session->limits = config->limits;
    session->ready = session->quitting = session->lingering = session->closing = session->working = false;
    session->over = session->objected = session->securing = false;
    session->security = config->security;
    session->tls[0] = 0;
    session->in_flight = session->flying = NULL;
    session->lacks = 0;
    memset(session->slots, 0, sizeof session->slots);
    memset(&session->why, 0, sizeof session->why);
    memset(&session->stream, 0, sizeof session->stream);
    session->timer = (struct io_timer){.fire = on_timer};
    slice_copy(session->mx, sizeof session->mx, slice_of(config->mx));
    io_address_text(config->to, session->ip, sizeof session->ip);
    session->out_which = 0;
    session->out = (struct client_out){.p = session->out_bytes[0], .cap = SESSION_OUT};
    reply_init(&session->parser);
    client_init(&session->client, &options);
    session->opened_at = io_now(session->io);
    int result = stream_connect(&session->stream, session->io, &events, config->source, config->to);
    if (result == 0)
        watch(session);
    return result;
}

void session_offer(struct session *session, struct attempt *attempt, struct pressed *pressed, nsec now, nsec wall)
{
    sluice_assert(client_wants(&session->client));
    struct client_envelope envelope = {.from = slice_of(pressed->from),
                                       .to = slice_of(pressed->to),
                                       .size = pressed->size,
                                       .eight_bit = pressed->eight_bit,
                                       .utf8 = pressed->utf8,
                                       .stuffed = pressed->transparent};
    unsigned which = 0;
    while (session->slots[which].attempt)
        which++;
    sluice_assert(which < CLIENT_SLOTS_MAX);
    struct session_slot *slot = &session->slots[which];
    *slot = (struct session_slot){
        .attempt = attempt, .pressed = pressed, .envelope = envelope, .started = now, .started_wall = wall};
    attempt->session = session;
    sluice_assert(client_offer(&session->client, &slot->envelope, &session->out) == which);
}

void session_kick(struct session *session) { work(session); }

void session_permit(struct session *session, struct attempt *attempt)
{
    unsigned slot = 0;
    while (session->slots[slot].attempt != attempt)
        slot++;
    if (attempt->permit == PERMIT_REFUSED && !session->over)
        client_withdraw(&session->client, slot);
    work(session);
}

void session_quit(struct session *session)
{
    if (session->quitting || session->closing)
        return;
    session->quitting = true;
    client_quit(&session->client, &session->out);
    work(session);
}

void session_abort(struct session *session, enum happening happening)
{
    if (session->closing)
        return;
    if (session->stream.state == STREAM_CONNECTING)
        end_unconnected(session, happening);
    else if (session->over)
        close_now(session);
    else
        lose(session, happening);
}
