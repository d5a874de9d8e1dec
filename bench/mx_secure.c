/* mx_secure.c - STARTTLS, and how the layer of TLS is brought up, badly where the personality says so. */
#include "bench/mx_private.h"

#include <string.h>

enum { RECORD = 16 * 1024 }; /* RFC 8446 §5.1: the most that a record holds */

void mx_secure_begin(struct mx_conn *conn) { conn->link = mx_link_new(conn->server->tls, conn->server->personality); }

void mx_secure_command(struct mx_conn *conn, nsec now, struct slice argument)
{
    if (argument.n) {
        mx_violation(conn, MX_SYNTAX, argument);
        mx_out_reply(conn, now, MX_STARTTLS, "501 5.5.4 STARTTLS takes no argument"); /* RFC 3207 §4 */
    } else if (conn->link) {
        mx_violation(conn, MX_SEQUENCE, SLICE("STARTTLS under TLS"));
        mx_out_reply(conn, now, MX_STARTTLS, "503 5.5.1 this is TLS already");
    } else if (mx_answer(conn, now, MX_STARTTLS, (struct slice){0}, "220 2.0.0 ready to start TLS", NULL)) {
        mx_secure_begin(conn);
    }
    conn->last_reply = conn->starttls = conn->replies_made;
}

/* Half of the first record, by the length in its head (RFC 8446 §5.1). */
static struct slice truncated(struct slice flight)
{
    size_t length = flight.n < 5 ? 0 : (size_t)((unsigned char)flight.p[3] << 8 | (unsigned char)flight.p[4]);
    size_t half = 5 + length / 2;
    return (struct slice){flight.p, half < flight.n ? half : flight.n / 2};
}

/* Lets TLS speak: what it has to say becomes one flight, spoilt as `rule` (or NULL) says. */
static void send_flight(struct mx_conn *conn, nsec now, const struct mx_rule *rule)
{
    char flight[RECORD];
    enum mx_action action = rule ? rule->action : MX_ACTION_BROKEN;
    enum mx_stage stage = MX_HANDSHAKE; /* the latency is the flight's, once */
    for (size_t n; (n = mx_link_take(conn->link, flight, sizeof flight)) > 0; stage = MX_STAGE_BROKEN) {
        struct slice bytes = {flight, n};
        if (action == MX_TRUNCATE) {
            mx_out_bytes(conn, now, stage, truncated(bytes));
            mx_out_cut(conn, now, MX_STAGE_BROKEN);
            return;
        }
        mx_out_bytes(conn, now, stage, bytes);
        if (action == MX_TWICE)
            mx_out_bytes(conn, now, MX_STAGE_BROKEN, bytes);
    }
    if (action == MX_INJECT)
        mx_out_bytes(conn, now, MX_STAGE_BROKEN, slice_of(rule->reply));
}

/* The client's first bytes came. False: there will be no handshake. */
static bool answer_hello(struct mx_conn *conn, nsec now, const struct mx_rule **rule)
{
    *rule = mx_server_draw(conn->server, MX_HANDSHAKE, (struct slice){0});
    conn->shaken = true;
    switch (*rule ? (*rule)->action : MX_TWICE) {
    case MX_REPLY:
        mx_out_reply(conn, now, MX_HANDSHAKE, (*rule)->reply);
        break;
    case MX_GARBAGE:
        mx_out_bytes(conn, now, MX_HANDSHAKE, slice_of((*rule)->reply));
        break;
    case MX_HANG_UP:
        mx_out_cut(conn, now, MX_HANDSHAKE);
        return false;
    case MX_ABORT:
        mx_out_end(conn, now, MX_HANDSHAKE, MX_RESET);
        return false;
    case MX_SILENCE:
        conn->server->silences++;
        mx_out_silence(conn);
        return false;
    default: /* those that spoil a real flight */
        return true;
    }
    if (!conn->ending)
        mx_out_cut(conn, now, MX_STAGE_BROKEN);
    return false;
}

static void secured(struct mx_conn *conn, nsec now)
{
    struct mx_server *server = conn->server;
    conn->secure = true;
    conn->resumed = mx_link_resumed(conn->link);
    server->tls_resumed += conn->resumed;
    server->tls_full += !conn->resumed;
    server->tls_nameless += !conn->resumed && !mx_link_named(conn->link);
    if (conn->greeting == 0) {
        mx_greet(conn, now);
        return;
    }
    /* RFC 3207 §4.2: what the client said before, and what it was told, is forgotten. */
    conn->state = MX_STRANGER;
    mx_transaction_end(conn);
    conn->pipelining = conn->eight_bit = conn->size = conn->chunking = conn->auth = conn->authenticated = false;
    conn->last_reply = 0;
}

static void shake(struct mx_conn *conn, nsec now)
{
    const struct mx_rule *rule = NULL;
    if (!conn->shaken && !answer_hello(conn, now, &rule))
        return;
    enum mx_link_result result = mx_link_shake(conn->link);
    send_flight(conn, now, rule);
    if (conn->ending || result == MX_LINK_MORE)
        return;
    if (result == MX_LINK_DONE)
        secured(conn, now);
    else
        mx_out_cut(conn, now, MX_STAGE_BROKEN);
}

/* Reads what TLS has deciphered. */
static void read_plain(struct mx_conn *conn, nsec now)
{
    char plain[RECORD];
    enum mx_link_result result = MX_LINK_DONE;
    while (result == MX_LINK_DONE && !conn->ending) {
        size_t n;
        result = mx_link_read(conn->link, plain, sizeof plain, &n);
        if (n)
            (void)mx_plain_input(conn, now, (struct slice){plain, n}); /* no STARTTLS is granted here */
    }
    if (conn->ending)
        return;
    if (result == MX_LINK_OVER)
        mx_out_end(conn, now, MX_STAGE_BROKEN, MX_CLOSE);
    else if (result == MX_LINK_FAILED)
        mx_out_cut(conn, now, MX_STAGE_BROKEN);
}

void mx_secure_input(struct mx_conn *conn, nsec now, struct slice bytes)
{
    if (conn->starttls && conn->replies_taken < conn->starttls) {
        /* Plain text, whatever it looks like; RFC 3207 §4: nothing before the reply. */
        mx_violation(conn, MX_BEHIND_STARTTLS, (struct slice){bytes.p, bytes.n < 80 ? bytes.n : 80});
        return;
    }
    mx_link_feed(conn->link, bytes);
    if (!conn->secure)
        shake(conn, now);
    if (conn->secure)
        read_plain(conn, now);
}
