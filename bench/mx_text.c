/* mx_text.c - the message itself, line by line: finds its end, and whatever no message may contain. */
#include "bench/mx_private.h"

#include <stdio.h>
#include <string.h>

void mx_text_begin(struct mx_conn *conn)
{
    conn->in_headers = true;
    conn->in_line = conn->text_overrun = conn->saw_eight_bit = false;
    conn->bytes = conn->line_bytes = 0;
    conn->message_used = 0;
    conn->campaign[0] = 0;
    conn->seq = UINT64_MAX;
}

/* "X-Campaign: <campaign>/<seq>"; anything else is no token. */
static void read_token(struct mx_conn *conn, struct slice line)
{
    static const char name[] = "x-campaign:";
    const size_t skip = sizeof name - 1;
    if (line.n < skip || !slice_equal_nocase((struct slice){line.p, skip}, (struct slice){name, skip}))
        return;
    line = (struct slice){line.p + skip, line.n - skip};
    while (line.n && line.p[0] == ' ')
        line = (struct slice){line.p + 1, line.n - 1};
    size_t slash = line.n;
    while (slash > 0 && line.p[slash - 1] != '/')
        slash--;
    if (slash < 2 || slash - 1 > MX_CAMPAIGN_MAX || slash == line.n)
        return;
    uint64_t seq = 0;
    for (size_t i = slash; i < line.n; i++) {
        if (line.p[i] < '0' || line.p[i] > '9' || seq > (UINT64_MAX - 9) / 10)
            return;
        seq = seq * 10 + (uint64_t)(line.p[i] - '0');
    }
    slice_copy(conn->campaign, sizeof conn->campaign, (struct slice){line.p, slash - 1});
    conn->seq = seq;
}

static bool has_eight_bit(struct slice text)
{
    size_t i = 0;
    for (; i + 8 <= text.n; i += 8) {
        uint64_t word;
        memcpy(&word, text.p + i, 8);
        if (word & 0x8080808080808080u)
            return true;
    }
    for (; i < text.n; i++)
        if (text.p[i] & 0x80)
            return true;
    return false;
}

static void check_octets(struct mx_conn *conn, struct slice text)
{
    if (memchr(text.p, '\r', text.n))
        mx_violation(conn, MX_BARE_CR, text);
    if (memchr(text.p, 0, text.n))
        mx_violation(conn, MX_NUL, text);
    if (!conn->saw_eight_bit && has_eight_bit(text)) {
        conn->saw_eight_bit = true;
        if (!conn->said_eight_bit)
            mx_violation(conn, MX_EIGHT_BIT_UNSAID, text);
    }
}

/* Bytes behind the dot in one read tell a server that its client did not wait. True: the message is not taken. */
static bool refuses_what_is_behind(struct mx_conn *conn, nsec now, bool more)
{
    if (!more || conn->server->personality->behind_dot != MX_BEHIND_REFUSED)
        return false;
    mx_out_reply(conn, now, MX_BODY, "503 5.5.0 pipelining not supported behind the message");
    mx_out_end(conn, now, MX_STAGE_BROKEN, MX_CLOSE);
    return true;
}

void mx_text_verdict(struct mx_conn *conn, nsec now)
{
    struct mx_server *server = conn->server;
    const struct mx_personality *personality = server->personality;
    if (personality->size_max && conn->bytes > personality->size_max) {
        mx_out_reply(conn, now, MX_BODY, "552 5.3.4 message too big");
        return;
    }
    if (conn->said_size && conn->bytes > conn->said_size)
        mx_violation(conn, MX_SIZE_EXCEEDED, slice_of(conn->recipients));
    char usual[64];
    snprintf(usual, sizeof usual, "250 2.0.0 ok %u-%u", conn->number, conn->messages);
    const struct mx_rule *rule;
    if (mx_answer(conn, now, MX_BODY, slice_of(conn->recipients), usual, &rule) || (rule && rule->accept)) {
        server->accepted += conn->recipient_count;
        server->accepted_tls += conn->secure ? conn->recipient_count : 0;
        server->accepted_chunked += conn->chunked ? conn->recipient_count : 0;
        server->accepted_authenticated += conn->authenticated ? conn->recipient_count : 0;
        server->sources[conn->source].accepted += conn->recipient_count;
        server->bytes += conn->bytes;
        mx_ledger_add(server->ledger, conn, now);
    }
}

void mx_text_over(struct mx_conn *conn, nsec now)
{
    const struct mx_personality *personality = conn->server->personality;
    if (!conn->ending && personality->messages_silent && personality->messages_max &&
        conn->messages >= personality->messages_max)
        mx_out_end(conn, now, MX_STAGE_BROKEN, MX_CLOSE);
}

static void end_message(struct mx_conn *conn, nsec now, bool more)
{
    conn->state = MX_READY;
    if (conn->unwanted) {
        if (conn->bytes)
            mx_violation(conn, MX_BODY_UNWANTED, slice_of(conn->campaign));
        mx_out_reply(conn, now, MX_BODY, "554 5.5.1 no valid recipients");
    } else if (refuses_what_is_behind(conn, now, more)) {
        return;
    } else {
        mx_text_verdict(conn, now);
    }
    mx_transaction_end(conn);
    if (more && !conn->ending && conn->server->personality->behind_dot == MX_BEHIND_CLOSED) {
        mx_out_reply(conn, now, MX_BODY, "554 5.5.0 no command may stand behind the message");
        mx_out_end(conn, now, MX_STAGE_BROKEN, MX_CLOSE);
    }
    mx_text_over(conn, now);
}

void mx_text_octets(struct mx_conn *conn, struct slice line)
{
    /* Only CR LF ends a line: "LF . CR LF" ends no message, or a forged one could hide behind it (RFC 5321 §4.1.1.4).
     */
    bool lf = line.p[line.n - 1] == '\n';
    bool crlf = lf && line.n >= 2 && line.p[line.n - 2] == '\r';
    struct slice text = {line.p, line.n - (crlf ? 2 : lf)};
    if (lf && !crlf)
        mx_violation(conn, MX_BARE_LF, line);
    conn->line_bytes += line.n;
    if (conn->line_bytes > MX_TEXT_LINE && !conn->text_overrun) {
        mx_violation(conn, MX_LINE_TOO_LONG, (struct slice){text.p, text.n < 80 ? text.n : 80});
        conn->text_overrun = true;
    }
    check_octets(conn, text);
    if (conn->in_headers && !conn->in_line) {
        if (text.n == 0 && crlf)
            conn->in_headers = false;
        else
            read_token(conn, text);
    }
    conn->bytes += line.n;
    if (conn->server->ledger->keep_text) {
        conn->message = mx_grow(conn->message, &conn->message_cap, conn->message_used + line.n, 1);
        memcpy(conn->message + conn->message_used, line.p, line.n);
        conn->message_used += line.n;
    }
    conn->in_line = !crlf;
    if (crlf) {
        conn->line_bytes = 0;
        conn->text_overrun = false;
    }
}

void mx_text_line(struct mx_conn *conn, nsec now, struct slice line, bool more)
{
    if (conn->in_line || line.p[0] != '.') {
        mx_text_octets(conn, line);
    } else if (line.n == 3 && memcmp(line.p, ".\r\n", 3) == 0) {
        end_message(conn, now, more);
    } else {
        /* Whoever doubles leading dots never sends a single one (RFC 5321 §4.5.2). */
        if (line.n > 1 && line.p[1] != '.')
            mx_violation(conn, MX_DOT_NOT_STUFFED, line);
        if (line.n > 1)
            mx_text_octets(conn, (struct slice){line.p + 1, line.n - 1});
    }
}
