/* mx.c - carries one connection from its greeting to its end: whose turn it is, and what the bytes belong to. */
#include "bench/mx_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mx_violation(struct mx_conn *conn, enum mx_violation kind, struct slice evidence)
{
    mx_ledger_violation(conn->server->ledger, conn, kind, evidence);
}

static void reply(struct mx_conn *conn, nsec now, enum mx_stage stage, const char *text)
{
    mx_out_reply(conn, now, stage, text);
}

bool mx_answer(struct mx_conn *conn, nsec now, enum mx_stage stage, struct slice recipient, const char *usual,
               const struct mx_rule **rule)
{
    const struct mx_rule *hit = mx_server_draw(conn->server, stage, recipient);
    if (rule)
        *rule = hit;
    if (!hit) {
        reply(conn, now, stage, usual);
        return true;
    }
    switch (hit->action) {
    case MX_REPLY:
        return mx_out_reply(conn, now, stage, hit->reply) / 100 == (unsigned)(usual[0] - '0');
    case MX_HANG_UP:
        mx_out_cut(conn, now, stage);
        return false;
    case MX_ABORT:
        mx_out_end(conn, now, stage, MX_RESET);
        return false;
    case MX_SILENCE:
        conn->server->silences++;
        mx_out_silence(conn);
        return false;
    case MX_GARBAGE:
        mx_out_bytes(conn, now, stage, slice_of(hit->reply));
        mx_out_end(conn, now, MX_STAGE_BROKEN, MX_CLOSE);
        return false;
    case MX_INJECT:
        reply(conn, now, stage, usual);
        mx_out_bytes(conn, now, MX_STAGE_BROKEN, slice_of(hit->reply));
        return true;
    case MX_TWICE:
        reply(conn, now, stage, usual);
        reply(conn, now, MX_STAGE_BROKEN, usual);
        return true;
    case MX_TRUNCATE: /* of a handshake alone */
    case MX_ACTION_BROKEN:
        break;
    }
    sluice_assert(false);
    return false;
}

void mx_transaction_end(struct mx_conn *conn)
{
    conn->state = conn->state == MX_STRANGER ? MX_STRANGER : MX_READY;
    conn->recipient_count = 0;
    conn->recipients_used = 0;
    conn->mail_refused = conn->rcpt_refused = conn->unwanted = conn->said_eight_bit = false;
    conn->chunked = false;
    conn->chunk_line.used = conn->chunk_line.given = 0;
    conn->said_size = conn->refused_by = 0;
}

/* ---- input ---- */

/* Was the client allowed to speak now? Asked at the first byte of each command and of each message. */
static void check_turn(struct mx_conn *conn, struct slice bytes)
{
    struct slice evidence = {bytes.p, bytes.n < 80 ? bytes.n : 80};
    if (conn->spill_left)
        return; /* this is what it never meant to say */
    if (conn->replies_taken < conn->last_reply) {
        mx_violation(conn,
                     conn->last_reply == conn->greeting   ? MX_EARLY_TALK
                     : conn->last_reply == conn->starttls ? MX_BEHIND_STARTTLS
                                                          : MX_BEHIND_LAST,
                     evidence);
        conn->last_reply = 0;
    } else if (!conn->pipelining && conn->state != MX_TEXT && conn->replies_taken < conn->replies_made) {
        mx_violation(conn, MX_PIPELINED, evidence);
    }
}

static void line_complete(struct mx_conn *conn, nsec now, struct slice line, bool more)
{
    bool auth = conn->auth_step != 0;
    struct slice text = {line.p, line.n - (line.n >= 2 && line.p[line.n - 2] == '\r' ? 2 : 1)};
    if (conn->state == MX_TEXT) {
        mx_text_line(conn, now, line, more);
    } else if (conn->line_overrun || line.n > MX_AUTH_LINE_MAX) {
        conn->line_overrun = false;
        conn->auth_step = 0;
        mx_violation(conn, MX_LINE_TOO_LONG, SLICE("a command"));
        reply(conn, now, MX_STAGE_BROKEN, "500 5.5.6 line too long");
    } else if (auth) {
        if (text.n + 2 != line.n)
            mx_violation(conn, MX_BARE_LF, SLICE("a line of AUTH"));
        mx_auth_line(conn, now, text);
    } else {
        mx_command(conn, now, line);
    }
}

/* The buffer is full and the line goes on. */
static void line_spills(struct mx_conn *conn, nsec now, struct slice piece)
{
    if (conn->state == MX_TEXT)
        mx_text_line(conn, now, piece, true);
    else
        conn->line_overrun = true;
}

/* How much of a line is looked at: AUTH's may be longer than others (RFC 4954 §4). */
static size_t line_max(const struct mx_conn *conn, struct slice bytes)
{
    static const char verb[] = "AUTH ";
    const struct mx_line *line = &conn->line;
    if (conn->auth_step)
        return MX_AUTH_LINE_MAX;
    if (conn->state == MX_TEXT || conn->line_overrun)
        return MX_LINE_MAX;
    for (size_t i = 0, n = mx_line_pending(line); i < sizeof verb - 1; i++) {
        if (i >= n + bytes.n)
            return MX_LINE_MAX;
        char c = i < n ? line->p[line->given + i] : bytes.p[i - n];
        if (ascii_lower(c) != ascii_lower(verb[i]))
            return MX_LINE_MAX;
    }
    return MX_AUTH_LINE_MAX;
}

struct slice mx_plain_input(struct mx_conn *conn, nsec now, struct slice bytes)
{
    const struct mx_link *before = conn->link;
    while (bytes.n && !conn->ending && conn->link == before) {
        struct slice line;
        if (conn->in_chunk) {
            mx_chunk_take(conn, now, &bytes);
            continue;
        }
        bool within = mx_line_pending(&conn->line) || conn->line_overrun || (conn->state == MX_TEXT && conn->in_line);
        if (!within)
            check_turn(conn, bytes);
        if (!mx_line_take(&conn->line, &bytes, line_max(conn, bytes), &line))
            continue;
        if (line.p[line.n - 1] == '\n')
            line_complete(conn, now, line, bytes.n > 0);
        else
            line_spills(conn, now, line);
    }
    return bytes;
}

void mx_conn_input(struct mx_conn *conn, nsec now, struct slice bytes)
{
    conn->heard_at = now;
    if (!conn->link)
        bytes = mx_plain_input(conn, now, bytes);
    if (bytes.n && !conn->ending)
        mx_secure_input(conn, now, bytes);
}

static bool is_blocked(const struct mx_conn *conn)
{
    static const struct mx_ip nobody;
    const struct mx_server *server = conn->server;
    const struct mx_ip *blocked = &server->personality->blocked;
    return memcmp(blocked, &nobody, sizeof nobody) != 0 &&
           memcmp(blocked, &server->sources[conn->source].ip, sizeof *blocked) == 0;
}

/* ---- coming and going ---- */

void mx_greet(struct mx_conn *conn, nsec now)
{
    const struct mx_personality *personality = conn->server->personality;
    conn->last_reply = conn->greeting = conn->replies_made + 1;
    if (!conn->admitted) {
        reply(conn, now, MX_GREETING,
              is_blocked(conn) ? personality->blocked_reply : personality->connections_reply);
        if (!conn->ending)
            mx_out_end(conn, now, MX_STAGE_BROKEN, MX_CLOSE);
        return;
    }
    char usual[MX_NAME_MAX + 32];
    snprintf(usual, sizeof usual, "220 %s ESMTP", personality->banner);
    if (!mx_answer(conn, now, MX_GREETING, (struct slice){0}, usual, NULL) && !conn->ending) {
        /* A 554 greeting may be followed by QUIT alone (RFC 5321 §3.1); this server does not wait for it. */
        mx_out_end(conn, now, MX_STAGE_BROKEN, MX_CLOSE);
    }
}

void mx_conn_open(struct mx_conn *conn, struct mx_server *server, nsec now, const struct mx_ip *ip)
{
    const struct mx_personality *personality = server->personality;
    unsigned index = mx_server_source(server, ip);
    struct mx_source *source = &server->sources[index];
    *conn = (struct mx_conn){.server = server, .number = ++server->ledger->connections, .source = (uint16_t)index};
    conn->state = MX_STRANGER;
    conn->busy_until = conn->heard_at = now;
    server->connections++;
    source->connections++;
    if (++server->open > server->open_peak)
        server->open_peak = server->open;
    if (++source->open > source->open_peak)
        source->open_peak = source->open;
    if ((personality->connections_max && server->admitted >= personality->connections_max) ||
        (personality->connections_per_source_max && source->admitted >= personality->connections_per_source_max) ||
        is_blocked(conn)) {
        server->connections_refused++;
    } else {
        conn->admitted = true;
        server->admitted++;
        source->admitted++;
    }
    if (personality->tls_implicit)
        mx_secure_begin(conn); /* RFC 8314 §3.3: the greeting stands behind the handshake */
    else
        mx_greet(conn, now);
}

void mx_conn_leave(struct mx_conn *conn)
{
    struct mx_server *server = conn->server;
    struct mx_source *source = &server->sources[conn->source];
    if (conn->left)
        return;
    conn->left = true;
    sluice_assert(server->open > 0 && source->open > 0);
    server->open--;
    source->open--;
    if (conn->admitted) {
        server->admitted--;
        source->admitted--;
    }
}

void mx_conn_close(struct mx_conn *conn)
{
    mx_conn_leave(conn);
    if (conn->link && !conn->secure)
        conn->server->tls_failed++;
    mx_link_free(conn->link);
    free(conn->line.p);
    free(conn->recipients);
    free(conn->chunk_line.p);
    free(conn->message);
    free(conn->out);
    free(conn->queue);
    *conn = (struct mx_conn){0};
}
