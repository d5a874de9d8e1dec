/* mx_command.c - what each command of RFC 5321 means to a server, and what its personality makes of it. */
#include "bench/mx_private.h"

#include <stdio.h>
#include <string.h>

static void reply(struct mx_conn *conn, nsec now, enum mx_stage stage, const char *text)
{
    mx_out_reply(conn, now, stage, text);
}

/* ---- arguments ---- */

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
        mx_violation(conn, MX_SYNTAX, *s); /* no space before a path: RFC 5321 §3.3 */
        mx_take_prefix(s, SLICE(" "));
    }
    if (!mx_take_prefix(s, SLICE("<")))
        return false;
    size_t end = path_end(*s);
    if (end == SIZE_MAX)
        return false;
    *path = (struct slice){s->p, end};
    *s = (struct slice){s->p + end + 1, s->n - end - 1};
    if (s->n && s->p[0] != ' ')
        return false;
    mx_take_prefix(s, SLICE(" "));
    return end == 0 ? empty_allowed : mailbox_is_possible(*path);
}

/* False: a parameter that EHLO's reply did not offer. */
static bool read_mail_parameters(struct mx_conn *conn, struct slice s)
{
    while (s.n) {
        struct slice word = mx_take_word(&s);
        if (conn->auth && mx_take_prefix(&word, SLICE("AUTH="))) {
            continue; /* RFC 4954 §5: believed by nobody here */
        } else if (conn->size && mx_take_prefix(&word, SLICE("SIZE="))) {
            if (!mx_take_number(word, &conn->said_size))
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

/* What may be told in EHLO's reply now: MX_CAN_... */
static unsigned abilities(const struct mx_conn *conn)
{
    const struct mx_personality *p = conn->server->personality;
    bool auth = p->auth && (conn->secure || p->auth_plain_text);
    unsigned all = (p->pipelining ? MX_CAN_PIPELINING : 0) | (p->size_max ? MX_CAN_SIZE : 0) |
                   (p->eight_bit ? MX_CAN_EIGHT_BIT : 0) | (p->enhanced ? MX_CAN_ENHANCED : 0) |
                   (p->chunking ? MX_CAN_CHUNKING : 0) | (auth ? MX_CAN_AUTH : 0);
    return all & ~(conn->secure ? p->plain_only : p->tls_only);
}

static void write_abilities(const struct mx_conn *conn, unsigned can, char *to, size_t cap)
{
    const struct mx_personality *personality = conn->server->personality;
    bool starttls = personality->starttls && !personality->starttls_hidden && !conn->link;
    char size[40] = "", auth[64] = "", mechanisms[48];
    if (can & MX_CAN_SIZE)
        snprintf(size, sizeof size, "\nSIZE %llu", (unsigned long long)personality->size_max);
    if (can & MX_CAN_AUTH) {
        mx_auth_offer(personality->auth, mechanisms, sizeof mechanisms);
        snprintf(auth, sizeof auth, "\nAUTH%s", mechanisms);
    }
    snprintf(to, cap, "%s%s%s%s%s%s%s", can & MX_CAN_PIPELINING ? "\nPIPELINING" : "", size,
             can & MX_CAN_EIGHT_BIT ? "\n8BITMIME" : "", can & MX_CAN_ENHANCED ? "\nENHANCEDSTATUSCODES" : "",
             can & MX_CAN_CHUNKING ? "\nCHUNKING" : "", starttls ? "\nSTARTTLS" : "", auth);
}

static void greet_back(struct mx_conn *conn, nsec now, struct slice argument, bool extended)
{
    const struct mx_personality *personality = conn->server->personality;
    if (argument.n == 0) {
        mx_violation(conn, MX_SYNTAX, SLICE("no name behind EHLO or HELO"));
        reply(conn, now, MX_EHLO, "501 5.5.4 who are you?");
        return;
    }
    if (extended && !personality->ehlo) {
        reply(conn, now, MX_EHLO, "500 5.5.1 command unrecognized");
        conn->last_reply = conn->replies_made;
        return;
    }
    unsigned can = extended ? abilities(conn) : 0;
    char usual[MX_NAME_MAX + 256], offer[224] = "";
    if (extended)
        write_abilities(conn, can, offer, sizeof offer);
    snprintf(usual, sizeof usual, "250 %s%s", personality->banner, offer);
    bool welcome = mx_answer(conn, now, MX_EHLO, (struct slice){0}, usual, NULL);
    conn->last_reply = conn->replies_made;
    if (!welcome)
        return;
    conn->state = MX_READY;
    mx_transaction_end(conn); /* RFC 5321 §4.1.4: EHLO resets */
    conn->pipelining = can & MX_CAN_PIPELINING;
    conn->eight_bit = can & MX_CAN_EIGHT_BIT;
    conn->size = can & MX_CAN_SIZE;
    conn->chunking = can & MX_CAN_CHUNKING;
    conn->auth = can & MX_CAN_AUTH;
}

static void on_ehlo(struct mx_conn *conn, nsec now, struct slice argument) { greet_back(conn, now, argument, true); }

static void on_helo(struct mx_conn *conn, nsec now, struct slice argument) { greet_back(conn, now, argument, false); }

/* False: this is no connection to take mail on, and that has been said. */
static bool is_safe(struct mx_conn *conn, nsec now)
{
    const struct mx_personality *personality = conn->server->personality;
    if (personality->demand && !conn->secure) {
        mx_violation(conn, MX_PLAIN_TEXT, SLICE("MAIL"));
        if (personality->demand == MX_DEMAND_REFUSED) {
            reply(conn, now, MX_MAIL, "530 5.7.0 STARTTLS first"); /* RFC 3207 §4 */
            return false;
        }
    }
    if (personality->auth_required && !conn->authenticated) {
        reply(conn, now, MX_MAIL, "530 5.7.0 authentication required"); /* RFC 4954 §6 */
        return false;
    }
    return true;
}

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
        mx_violation(conn, MX_SEQUENCE, SLICE("MAIL inside a transaction, or before EHLO"));
        reply(conn, now, MX_MAIL, "503 5.5.1 bad sequence of commands");
        return;
    }
    mx_transaction_end(conn);
    conn->mail_refused = true;
    if (!mx_take_prefix(&argument, SLICE("FROM:")) || !take_path(conn, &argument, &path, true)) {
        mx_violation(conn, MX_SYNTAX, whole);
        reply(conn, now, MX_MAIL, "501 5.5.4 syntax: MAIL FROM:<address>");
    } else if (!read_mail_parameters(conn, argument)) {
        mx_violation(conn, MX_PARAMETER, whole);
        reply(conn, now, MX_MAIL, "555 5.5.4 unsupported parameter");
    } else if (personality->size_max && conn->said_size > personality->size_max) {
        reply(conn, now, MX_MAIL, "552 5.3.4 message too big");
    } else if (is_safe(conn, now) && may_start(conn, now) &&
               mx_answer(conn, now, MX_MAIL, path, "250 2.1.0 ok", NULL)) {
        conn->mail_refused = false;
        conn->state = MX_ENVELOPE;
    }
    if (conn->mail_refused)
        conn->refused_by = conn->replies_made;
}

static void on_rcpt(struct mx_conn *conn, nsec now, struct slice argument)
{
    struct slice whole = argument, path;
    if (conn->state != MX_ENVELOPE) {
        if (!conn->mail_refused)
            mx_violation(conn, MX_SEQUENCE, SLICE("RCPT without MAIL"));
        reply(conn, now, MX_RCPT, "503 5.5.1 MAIL first");
        return;
    }
    conn->rcpt_refused = true;
    if (!mx_take_prefix(&argument, SLICE("TO:")) || !take_path(conn, &argument, &path, false)) {
        mx_violation(conn, MX_SYNTAX, whole);
        reply(conn, now, MX_RCPT, "501 5.1.3 syntax: RCPT TO:<address>");
    } else if (argument.n) {
        mx_violation(conn, MX_PARAMETER, whole);
        reply(conn, now, MX_RCPT, "555 5.5.4 unsupported parameter");
    } else if (conn->recipient_count == MX_RECIPIENTS_MAX) {
        reply(conn, now, MX_RCPT, "452 4.5.3 too many recipients");
    } else if (mx_answer(conn, now, MX_RCPT, path, "250 2.1.5 ok", NULL)) {
        conn->recipients =
            mx_grow(conn->recipients, &conn->recipients_cap, conn->recipients_used + path.n + 1, sizeof(char));
        conn->recipients_used += slice_copy(conn->recipients + conn->recipients_used, path.n + 1, path) + 1;
        conn->recipient_count++;
    }
    conn->refused_by = conn->recipient_count ? 0 : conn->replies_made;
}

static void on_data(struct mx_conn *conn, nsec now, struct slice argument)
{
    struct slice first = conn->recipient_count ? slice_of(conn->recipients) : (struct slice){0};
    conn->last_reply = conn->replies_made + 1; /* RFC 2920 §3.1: DATA ends its group */
    if (argument.n) {
        mx_violation(conn, MX_SYNTAX, argument);
        reply(conn, now, MX_DATA, "501 5.5.4 DATA takes no argument");
    } else if (conn->state != MX_ENVELOPE) {
        if (!conn->mail_refused)
            mx_violation(conn, MX_SEQUENCE, SLICE("DATA without MAIL"));
        reply(conn, now, MX_DATA, "503 5.5.1 MAIL first");
    } else if (conn->chunked) {
        mx_violation(conn, MX_SEQUENCE, SLICE("DATA in a transaction with BDAT"));
        reply(conn, now, MX_DATA, "503 5.5.1 go on with BDAT"); /* RFC 3030 §2 */
    } else if (!conn->recipient_count && !conn->rcpt_refused) {
        mx_violation(conn, MX_SEQUENCE, SLICE("DATA without RCPT"));
        reply(conn, now, MX_DATA, "503 5.5.1 RCPT first");
    } else if (!conn->recipient_count && !conn->server->personality->data_without_rcpt) {
        reply(conn, now, MX_DATA, "554 5.5.1 no valid recipients");
    } else if (mx_answer(conn, now, MX_DATA, first, "354 go ahead", NULL)) {
        conn->unwanted = conn->recipient_count == 0;
        conn->state = MX_TEXT;
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
    /* With CRLF: 512 and what the extensions add (RFC 1870 §3: 26, RFC 6152 §2: 17). */
    size_t line_max;
    void (*run)(struct mx_conn *conn, nsec now, struct slice argument);
} commands[] = {
    {{"MAIL", 4}, 512 + 26 + 17, on_mail},
    {{"RCPT", 4}, 512, on_rcpt},
    {{"DATA", 4}, 512, on_data},
    {{"BDAT", 4}, 512, mx_chunk_command},
    {{"EHLO", 4}, 512, on_ehlo},
    {{"HELO", 4}, 512, on_helo},
    {{"RSET", 4}, 512, on_rset},
    {{"NOOP", 4}, 512, on_noop},
    {{"VRFY", 4}, 512, on_vrfy},
    {{"QUIT", 4}, 512, on_quit},
    {{"STARTTLS", 8}, 512, mx_secure_command},
    {{"AUTH", 4}, MX_AUTH_LINE_MAX, mx_auth_command},
};

/* Commands that this server does not know are unknown to it in any state. */
static bool is_known(const struct mx_conn *conn, const struct command *command)
{
    const struct mx_personality *personality = conn->server->personality;
    if (command->run == mx_secure_command)
        return personality->starttls || conn->link;
    if (command->run == mx_auth_command)
        return personality->auth;
    return command->run != mx_chunk_command || personality->chunking;
}

void mx_command(struct mx_conn *conn, nsec now, struct slice line)
{
    bool crlf = line.n >= 2 && line.p[line.n - 2] == '\r';
    struct slice text = {line.p, line.n - (crlf ? 2 : 1)};
    if (!crlf)
        mx_violation(conn, MX_BARE_LF, line);
    if (memchr(text.p, '\r', text.n))
        mx_violation(conn, MX_BARE_CR, line);
    if (memchr(text.p, 0, text.n))
        mx_violation(conn, MX_NUL, line);
    bool spilt = conn->spill_left > 0, behind_chunk = conn->behind_chunk;
    conn->spill_left -= conn->spill_left < line.n ? conn->spill_left : line.n;
    conn->behind_chunk = false;
    struct slice argument = text;
    struct slice verb = mx_take_word(&argument);
    if (spilt && !slice_equal_nocase(verb, SLICE("NOOP")))
        mx_violation(conn, MX_SMUGGLED, (struct slice){line.p, line.n < 80 ? line.n : 80});
    for (size_t i = 0; i < countof(commands); i++) {
        if (!slice_equal_nocase(verb, commands[i].verb) || !is_known(conn, &commands[i]))
            continue;
        if (line.n > commands[i].line_max)
            break;
        uint64_t last_reply = conn->last_reply;
        commands[i].run(conn, now, argument);
        if (spilt) /* the client said no such thing: it may go on behind it */
            conn->last_reply = last_reply;
        return;
    }
    bool too_long = line.n > 512;
    if (!spilt)
        mx_violation(conn,
                     too_long       ? MX_LINE_TOO_LONG
                     : behind_chunk ? MX_CHUNK_SIZE
                                    : MX_SYNTAX,
                     (struct slice){line.p, line.n < 80 ? line.n : 80});
    reply(conn, now, MX_STAGE_BROKEN, too_long ? "500 5.5.6 line too long" : "500 5.5.2 command unrecognized");
}
