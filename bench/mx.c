/* mx.c - reads a client's commands as RFC 5321 means them and answers as the server's personality does. */
#include "bench/mx_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void violation(struct mx_conn *conn, enum mx_violation kind, struct slice evidence)
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
        mx_out_end(conn, now, stage, MX_CLOSE);
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
    conn->said_size = 0;
}

/* ---- arguments ---- */

static bool take_prefix(struct slice *s, struct slice prefix)
{
    if (s->n < prefix.n || !slice_equal_nocase((struct slice){s->p, prefix.n}, prefix))
        return false;
    *s = (struct slice){s->p + prefix.n, s->n - prefix.n};
    return true;
}

static struct slice take_word(struct slice *s)
{
    size_t n = 0;
    while (n < s->n && s->p[n] != ' ')
        n++;
    struct slice word = {s->p, n};
    while (n < s->n && s->p[n] == ' ')
        n++;
    *s = (struct slice){s->p + n, s->n - n};
    return word;
}

/* The end of the path's inside, or SIZE_MAX; a quoted local-part may hold anything printable (RFC 5321 §4.1.2). */
static size_t path_end(struct slice s)
{
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c >= 0x7f)
            return SIZE_MAX;
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && c == '>')
            return i;
        else if (!quoted && (c == ' ' || c == '<'))
            return SIZE_MAX;
    }
    return SIZE_MAX;
}

static bool mailbox_is_possible(struct slice path)
{
    size_t at = path.n;
    while (at > 0 && path.p[at - 1] != '@')
        at--;
    if (at == 0)
        return slice_equal_nocase(path, SLICE("postmaster")); /* RFC 5321 §4.5.1 */
    size_t local = at - 1, domain = path.n - at;
    return local > 0 && local <= 64 && domain > 0 && domain <= 255 && path.n + 2 <= MX_PATH_MAX; /* §4.5.3.1 */
}

/* "<path> parameters": leaves the parameters in `s`. */
static bool take_path(struct mx_conn *conn, struct slice *s, struct slice *path, bool empty_allowed)
{
    if (s->n && s->p[0] == ' ') {
        violation(conn, MX_SYNTAX, *s); /* no space before a path: RFC 5321 §3.3 */
        take_prefix(s, SLICE(" "));
    }
    if (!take_prefix(s, SLICE("<")))
        return false;
    size_t end = path_end(*s);
    if (end == SIZE_MAX)
        return false;
    *path = (struct slice){s->p, end};
    *s = (struct slice){s->p + end + 1, s->n - end - 1};
    if (s->n && s->p[0] != ' ')
        return false;
    take_prefix(s, SLICE(" "));
    return end == 0 ? empty_allowed : mailbox_is_possible(*path);
}

static bool take_number(struct slice s, uint64_t *number)
{
    *number = 0;
    if (s.n == 0 || s.n > 19)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        *number = *number * 10 + (uint64_t)(s.p[i] - '0');
    }
    return true;
}

/* False: a parameter that EHLO's reply did not offer. */
static bool read_mail_parameters(struct mx_conn *conn, struct slice s)
{
    while (s.n) {
        struct slice word = take_word(&s);
        if (conn->size && take_prefix(&word, SLICE("SIZE="))) {
            if (!take_number(word, &conn->said_size))
                return false;
        } else if (conn->eight_bit && slice_equal_nocase(word, SLICE("BODY=8BITMIME"))) {
            conn->said_eight_bit = true;
        } else if (!(conn->eight_bit && slice_equal_nocase(word, SLICE("BODY=7BIT")))) {
            return false;
        }
    }
    return true;
}

/* ---- commands; each is handed what stands behind its verb ---- */

static void greet_back(struct mx_conn *conn, nsec now, struct slice argument, bool extended)
{
    const struct mx_personality *personality = conn->server->personality;
    if (argument.n == 0) {
        violation(conn, MX_SYNTAX, SLICE("no name behind EHLO or HELO"));
        reply(conn, now, MX_EHLO, "501 5.5.4 who are you?");
        return;
    }
    if (extended && !personality->ehlo) {
        reply(conn, now, MX_EHLO, "500 5.5.1 command unrecognized");
        conn->last_reply = conn->replies_made;
        return;
    }
    char usual[MX_NAME_MAX + 160], size[40] = "";
    if (personality->size_max)
        snprintf(size, sizeof size, "\nSIZE %llu", (unsigned long long)personality->size_max);
    snprintf(usual, sizeof usual, "250 %s%s%s%s%s", personality->banner,
             extended && personality->pipelining ? "\nPIPELINING" : "", extended ? size : "",
             extended && personality->eight_bit ? "\n8BITMIME" : "",
             extended && personality->enhanced ? "\nENHANCEDSTATUSCODES" : "");
    bool welcome = mx_answer(conn, now, MX_EHLO, (struct slice){0}, usual, NULL);
    conn->last_reply = conn->replies_made;
    if (!welcome)
        return;
    conn->state = MX_READY;
    mx_transaction_end(conn); /* RFC 5321 §4.1.4: EHLO resets */
    conn->pipelining = extended && personality->pipelining;
    conn->eight_bit = extended && personality->eight_bit;
    conn->size = extended && personality->size_max;
}

static void on_ehlo(struct mx_conn *conn, nsec now, struct slice argument) { greet_back(conn, now, argument, true); }

static void on_helo(struct mx_conn *conn, nsec now, struct slice argument) { greet_back(conn, now, argument, false); }

/* False: the personality wants no further message now, and has said so. */
static bool may_start(struct mx_conn *conn, nsec now)
{
    struct mx_server *server = conn->server;
    const struct mx_personality *personality = server->personality;
    struct mx_source *source = &server->sources[conn->source];
    server->mails++;
    source->mails++;
    mx_ledger_start(server->ledger, conn, now);
    if (personality->messages_max && conn->messages >= personality->messages_max) {
        if (personality->messages_silent)
            mx_out_end(conn, now, MX_MAIL, MX_CLOSE);
        else
            reply(conn, now, MX_MAIL, "421 4.7.0 too many messages on this connection");
        return false;
    }
    conn->messages++;
    if (!mx_server_rate(server, source, now)) {
        server->limited++;
        reply(conn, now, MX_MAIL, personality->rate_reply);
        return false;
    }
    return true;
}

static void on_mail(struct mx_conn *conn, nsec now, struct slice argument)
{
    struct slice whole = argument, path;
    const struct mx_personality *personality = conn->server->personality;
    if (conn->state != MX_READY) {
        violation(conn, MX_SEQUENCE, SLICE("MAIL inside a transaction, or before EHLO"));
        reply(conn, now, MX_MAIL, "503 5.5.1 bad sequence of commands");
        return;
    }
    mx_transaction_end(conn);
    conn->mail_refused = true;
    if (!take_prefix(&argument, SLICE("FROM:")) || !take_path(conn, &argument, &path, true)) {
        violation(conn, MX_SYNTAX, whole);
        reply(conn, now, MX_MAIL, "501 5.5.4 syntax: MAIL FROM:<address>");
    } else if (!read_mail_parameters(conn, argument)) {
        violation(conn, MX_PARAMETER, whole);
        reply(conn, now, MX_MAIL, "555 5.5.4 unsupported parameter");
    } else if (personality->size_max && conn->said_size > personality->size_max) {
        reply(conn, now, MX_MAIL, "552 5.3.4 message too big");
    } else if (may_start(conn, now) && mx_answer(conn, now, MX_MAIL, path, "250 2.1.0 ok", NULL)) {
        conn->mail_refused = false;
        conn->state = MX_ENVELOPE;
    }
}

static void on_rcpt(struct mx_conn *conn, nsec now, struct slice argument)
{
    struct slice whole = argument, path;
    if (conn->state != MX_ENVELOPE) {
        if (!conn->mail_refused)
            violation(conn, MX_SEQUENCE, SLICE("RCPT without MAIL"));
        reply(conn, now, MX_RCPT, "503 5.5.1 MAIL first");
        return;
    }
    conn->rcpt_refused = true;
    if (!take_prefix(&argument, SLICE("TO:")) || !take_path(conn, &argument, &path, false)) {
        violation(conn, MX_SYNTAX, whole);
        reply(conn, now, MX_RCPT, "501 5.1.3 syntax: RCPT TO:<address>");
    } else if (argument.n) {
        violation(conn, MX_PARAMETER, whole);
        reply(conn, now, MX_RCPT, "555 5.5.4 unsupported parameter");
    } else if (conn->recipient_count == MX_RECIPIENTS_MAX) {
        reply(conn, now, MX_RCPT, "452 4.5.3 too many recipients");
    } else if (mx_answer(conn, now, MX_RCPT, path, "250 2.1.5 ok", NULL)) {
        conn->recipients =
            mx_grow(conn->recipients, &conn->recipients_cap, conn->recipients_used + path.n + 1, sizeof(char));
        conn->recipients_used += slice_copy(conn->recipients + conn->recipients_used, path.n + 1, path) + 1;
        conn->recipient_count++;
    }
}

static void on_data(struct mx_conn *conn, nsec now, struct slice argument)
{
    struct slice first = conn->recipient_count ? slice_of(conn->recipients) : (struct slice){0};
    conn->last_reply = conn->replies_made + 1; /* RFC 2920 §3.1: DATA ends its group */
    if (argument.n) {
        violation(conn, MX_SYNTAX, argument);
        reply(conn, now, MX_DATA, "501 5.5.4 DATA takes no argument");
    } else if (conn->state != MX_ENVELOPE) {
        if (!conn->mail_refused)
            violation(conn, MX_SEQUENCE, SLICE("DATA without MAIL"));
        reply(conn, now, MX_DATA, "503 5.5.1 MAIL first");
    } else if (!conn->recipient_count && !conn->rcpt_refused) {
        violation(conn, MX_SEQUENCE, SLICE("DATA without RCPT"));
        reply(conn, now, MX_DATA, "503 5.5.1 RCPT first");
    } else if (!conn->recipient_count && !conn->server->personality->data_without_rcpt) {
        reply(conn, now, MX_DATA, "554 5.5.1 no valid recipients");
    } else if (mx_answer(conn, now, MX_DATA, first, "354 go ahead", NULL)) {
        conn->unwanted = conn->recipient_count == 0;
        mx_text_begin(conn);
    }
}

static void on_rset(struct mx_conn *conn, nsec now, struct slice argument)
{
    (void)argument;
    mx_transaction_end(conn);
    reply(conn, now, MX_STAGE_BROKEN, "250 2.0.0 ok");
}

static void on_noop(struct mx_conn *conn, nsec now, struct slice argument)
{
    (void)argument;
    reply(conn, now, MX_STAGE_BROKEN, "250 2.0.0 ok");
    conn->last_reply = conn->replies_made;
}

static void on_vrfy(struct mx_conn *conn, nsec now, struct slice argument)
{
    (void)argument;
    reply(conn, now, MX_STAGE_BROKEN, "252 2.0.0 send mail and see"); /* RFC 5321 §3.5.3 */
    conn->last_reply = conn->replies_made;
}

static void on_quit(struct mx_conn *conn, nsec now, struct slice argument)
{
    (void)argument;
    reply(conn, now, MX_STAGE_BROKEN, "221 2.0.0 bye");
    mx_out_end(conn, now, MX_STAGE_BROKEN, MX_CLOSE);
}

static const struct command {
    struct slice verb;
    size_t line_max; /* with CRLF: 512 and what the extensions add (RFC 1870 §3: 26, RFC 6152 §2: 17) */
    void (*run)(struct mx_conn *conn, nsec now, struct slice argument);
} commands[] = {
    {{"MAIL", 4}, 512 + 26 + 17, on_mail}, {{"RCPT", 4}, 512, on_rcpt}, {{"DATA", 4}, 512, on_data},
    {{"EHLO", 4}, 512, on_ehlo},           {{"HELO", 4}, 512, on_helo}, {{"RSET", 4}, 512, on_rset},
    {{"NOOP", 4}, 512, on_noop},           {{"VRFY", 4}, 512, on_vrfy}, {{"QUIT", 4}, 512, on_quit},
};

/* ---- lines ---- */

static void read_command(struct mx_conn *conn, nsec now, struct slice line)
{
    bool crlf = line.n >= 2 && line.p[line.n - 2] == '\r';
    struct slice text = {line.p, line.n - (crlf ? 2 : 1)};
    if (!crlf)
        violation(conn, MX_BARE_LF, line);
    if (memchr(text.p, '\r', text.n))
        violation(conn, MX_BARE_CR, line);
    if (memchr(text.p, 0, text.n))
        violation(conn, MX_NUL, line);
    struct slice argument = text;
    struct slice verb = take_word(&argument);
    for (size_t i = 0; i < countof(commands); i++) {
        if (!slice_equal_nocase(verb, commands[i].verb))
            continue;
        if (line.n > commands[i].line_max)
            break;
        commands[i].run(conn, now, argument);
        return;
    }
    bool too_long = line.n > 512;
    violation(conn, too_long ? MX_LINE_TOO_LONG : MX_SYNTAX, (struct slice){line.p, line.n < 80 ? line.n : 80});
    reply(conn, now, MX_STAGE_BROKEN, too_long ? "500 5.5.6 line too long" : "500 5.5.2 command unrecognized");
}

/* Was the client allowed to speak now? Asked at the first byte of each command and of each message. */
static void check_turn(struct mx_conn *conn, struct slice bytes)
{
    struct slice evidence = {bytes.p, bytes.n < 80 ? bytes.n : 80};
    if (conn->replies_taken < conn->last_reply) {
        violation(conn, conn->last_reply == 1 ? MX_EARLY_TALK : MX_BEHIND_LAST, evidence);
        conn->last_reply = 0;
    } else if (!conn->pipelining && conn->state != MX_TEXT && conn->replies_taken < conn->replies_made) {
        violation(conn, MX_PIPELINED, evidence);
    }
}

static void line_complete(struct mx_conn *conn, nsec now, struct slice line, bool more)
{
    if (conn->state == MX_TEXT) {
        mx_text_line(conn, now, line, more);
    } else if (conn->line_overrun || line.n > MX_LINE_MAX) {
        conn->line_overrun = false;
        violation(conn, MX_LINE_TOO_LONG, SLICE("a command"));
        reply(conn, now, MX_STAGE_BROKEN, "500 5.5.6 line too long");
    } else {
        read_command(conn, now, line);
    }
}

/* The buffer is full and the line goes on. A CR at its end may be half of a CRLF: it stays. */
static void line_spills(struct mx_conn *conn, nsec now)
{
    size_t keep = conn->line[conn->line_used - 1] == '\r';
    if (conn->state == MX_TEXT)
        mx_text_line(conn, now, (struct slice){conn->line, conn->line_used - keep}, true);
    else
        conn->line_overrun = true;
    conn->line[0] = '\r';
    conn->line_used = keep;
}

/* Gathers a line that comes in pieces; returns the bytes used. */
static size_t gather(struct mx_conn *conn, nsec now, struct slice bytes, const char *lf)
{
    if (!conn->line) {
        conn->line = malloc(MX_LINE_MAX);
        sluice_assert(conn->line);
    }
    size_t n = lf ? (size_t)(lf - bytes.p) + 1 : bytes.n;
    size_t room = MX_LINE_MAX - conn->line_used;
    if (n > room)
        n = room;
    memcpy(conn->line + conn->line_used, bytes.p, n);
    conn->line_used += n;
    if (conn->line[conn->line_used - 1] == '\n') {
        struct slice line = {conn->line, conn->line_used};
        conn->line_used = 0;
        line_complete(conn, now, line, n < bytes.n);
    } else if (conn->line_used == MX_LINE_MAX) {
        line_spills(conn, now);
    }
    return n;
}

void mx_conn_input(struct mx_conn *conn, nsec now, struct slice bytes)
{
    conn->heard_at = now;
    while (bytes.n && !conn->ending) {
        if (conn->line_used == 0 && !conn->line_overrun)
            check_turn(conn, bytes);
        const char *lf = memchr(bytes.p, '\n', bytes.n);
        size_t n = lf ? (size_t)(lf - bytes.p) + 1 : 0;
        if (lf && conn->line_used == 0)
            line_complete(conn, now, (struct slice){bytes.p, n}, n < bytes.n);
        else
            n = gather(conn, now, bytes, lf);
        bytes = (struct slice){bytes.p + n, bytes.n - n};
    }
}

/* ---- coming and going ---- */

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
    conn->last_reply = 1;
    if ((personality->connections_max && server->admitted >= personality->connections_max) ||
        (personality->connections_per_source_max && source->admitted >= personality->connections_per_source_max)) {
        server->connections_refused++;
        reply(conn, now, MX_GREETING, personality->connections_reply);
        if (!conn->ending)
            mx_out_end(conn, now, MX_STAGE_BROKEN, MX_CLOSE);
        return;
    }
    conn->admitted = true;
    server->admitted++;
    source->admitted++;
    char usual[MX_NAME_MAX + 32];
    snprintf(usual, sizeof usual, "220 %s ESMTP", personality->banner);
    if (!mx_answer(conn, now, MX_GREETING, (struct slice){0}, usual, NULL) && !conn->ending) {
        /* A 554 greeting may be followed by QUIT alone (RFC 5321 §3.1); this server does not wait for it. */
        mx_out_end(conn, now, MX_STAGE_BROKEN, MX_CLOSE);
    }
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
    free(conn->line);
    free(conn->recipients);
    free(conn->chunk_line);
    free(conn->message);
    free(conn->out);
    free(conn->queue);
    *conn = (struct mx_conn){0};
}
