/* A client that says anything, in any pieces, to an exchanger of any personality, which may change at any time: the
 * judge must not fall over, hoard, or lose count.
 *
 * The input begins with a personality. Each byte below 0x20 behind it, other than CR and LF, is something that happens;
 * all others, and what follows an escape, are the client's bytes: in plain text, or under TLS once it has begun that.
 */
#include "bench/mx_tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CONNECTIONS = 2, PIECE = 4096, MESSAGE_MAX = 1 << 20 };

struct peer {
    struct mx_conn conn;
    bool open;
    SSL *ssl; /* NULL: the client has not begun TLS */
    BIO *in, *out;
};

struct run {
    const uint8_t *p, *end;
    struct mx_personality personality;
    struct mx_server server;
    struct mx_ledger ledger;
    struct peer peers[CONNECTIONS];
    unsigned chosen, exchanged; /* exchanged: personalities */
    nsec now;
    char piece[PIECE];
    size_t pending, cut; /* bytes that the client hands over together; 0: up to what happens next */
    uint64_t accepted, input;
};

static uint8_t next(struct run *run) { return run->p < run->end ? *run->p++ : 0; }

/* ---- personalities: input of zeros is the obliging one ---- */

static void read_rule(struct run *run, struct mx_personality *to)
{
    static const char *const replies[] = {
        "421 4.3.2 closing", "450 4.2.1 busy", "550 5.1.1 nobody", "554 5.7.1 a\n5.7.1 b",
        "250 2.0.0 fine",    "354 go on",      "220 hello"};
    uint8_t what = next(run), how = next(run);
    enum mx_stage stage = (enum mx_stage)(1 + (what & 15) % (MX_STAGE_COUNT - 1));
    enum mx_action action = (enum mx_action)(1 + (what >> 4) % MX_TRUNCATE);
    if (action == MX_TRUNCATE && stage != MX_HANDSHAKE)
        action = MX_REPLY;
    struct mx_rule *rule =
        mx_personality_rule(to, stage, how & 8 ? MX_CERTAIN : MX_CERTAIN / 3, replies[(how & 7) % countof(replies)]);
    rule->action = action;
    rule->sticky = how & 16;
    rule->accept = how & 32;
    rule->first = how >> 6 == 1;
    rule->after = how >> 6 == 2;
    if (how >> 6 == 3)
        strcpy(rule->match, "a*n*");
}

static void read_secure(struct run *run, struct mx_personality *to)
{
    uint8_t tls = next(run), more = next(run), kind = next(run), auth = next(run);
    to->starttls = tls & 1;
    to->starttls_hidden = tls & 2;
    to->tls_implicit = tls & 4;
    to->demand = (enum mx_demand)((tls >> 3 & 3) % (MX_DEMAND_REFUSED + 1));
    to->chunking = tls & 32;
    to->chunks_spill = tls & 64;
    to->plain_only = more & 7;
    to->tls_only = more >> 3;
    to->tls.key_kind = kind & 1 ? MX_KEY_ECDSA : MX_KEY_RSA;
    to->tls.version_max = kind & 2 ? TLS1_2_VERSION : 0;
    to->tls.no_resumption = kind & 4;
    to->tls.no_tickets = kind & 8;
    to->auth = auth & 7;
    to->auth_required = auth & 8;
    to->auth_plain_text = auth & 16;
    to->account_count = 1;
    to->accounts[0] = (struct mx_account){"u", "p"};
}

static void read_personality(struct run *run)
{
    struct mx_personality *to = &run->personality;
    uint8_t can = next(run), limits = next(run), rates = next(run), late = next(run), manners = next(run);
    mx_personality_init(to, "fuzz.example");
    to->ehlo = !(can & 1);
    to->pipelining = !(can & 2);
    to->eight_bit = !(can & 4);
    to->enhanced = !(can & 8);
    to->data_without_rcpt = can & 16;
    to->behind_dot = (enum mx_behind)((can >> 5 & 3) % (MX_BEHIND_CLOSED + 1));
    to->size_max = can & 128 ? 100 : MESSAGE_MAX;
    to->connections_max = limits & 3;
    to->connections_per_source_max = limits >> 2 & 3;
    to->messages_max = limits >> 4;
    to->rate = rates & 7;
    to->rate_per = NSEC_PER_S;
    to->idle = (rates >> 3) * NSEC_PER_S / 2;
    to->latency[late % MX_STAGE_COUNT] = (struct mx_latency){(late >> 4) * 10 * NSEC_PER_MS, late};
    to->tarpit = manners & 1 ? NSEC_PER_MS : 0;
    to->rate_by_source = manners & 2;
    to->idle_silent = manners & 4;
    to->messages_silent = manners & 8;
    read_secure(run, to);
    for (unsigned rules = manners >> 4 & 7; rules; rules--)
        read_rule(run, to);
    memset(run->server.hits, 0, sizeof run->server.hits);
    memset(run->server.passed, 0, sizeof run->server.passed);
    run->exchanged++;
}

/* ---- what must hold ---- */

static void on_accept(void *context, const struct mx_ledger *ledger, const struct mx_accepted *record,
                      struct slice text)
{
    struct run *run = context;
    run->accepted++;
    sluice_assert(ledger == &run->ledger && text.n == record->bytes && text.n <= run->input);
    sluice_assert(record->connection && record->connection <= ledger->connections && record->server == 0);
    if (run->exchanged == 1) { /* else another was asked for, at MAIL */
        sluice_assert(record->tls || run->personality.demand != MX_DEMAND_REFUSED);
        sluice_assert(record->authenticated || !run->personality.auth_required);
        sluice_assert(!record->chunked || run->personality.chunking);
    }
    sluice_assert(!record->resumed || record->tls);
}

static void check_peer(const struct run *run, const struct mx_conn *conn)
{
    sluice_assert(conn->out_at <= conn->out_used && conn->out_used <= MX_OUT_MAX);
    sluice_assert(conn->out_cap <= 2 * MX_OUT_MAX);
    sluice_assert(conn->queue_at <= conn->queue_used && conn->queue_used <= MX_OUT_MAX);
    sluice_assert(conn->line.cap <= 2 * MX_AUTH_LINE_MAX && conn->chunk_line.cap <= 2 * MX_LINE_MAX);
    sluice_assert(conn->recipient_count <= MX_RECIPIENTS_MAX);
    sluice_assert(conn->recipients_cap <= 2 * (size_t)MX_RECIPIENTS_MAX * (MX_PATH_MAX + 1));
    sluice_assert(conn->message_used <= run->input);
    sluice_assert(conn->verdicts_owed <= conn->queue_used - conn->queue_at);
    sluice_assert(conn->replies_taken <= conn->replies_made);
}

static void check(const struct run *run)
{
    const struct mx_server *server = &run->server;
    uint64_t accepted = 0, mails = 0, violations = 0;
    unsigned open = 0, there = 0;
    for (unsigned i = 0; i < server->source_count; i++) {
        accepted += server->sources[i].accepted;
        mails += server->sources[i].mails;
        open += server->sources[i].open;
        sluice_assert(server->sources[i].admitted <= server->sources[i].open);
    }
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        there += run->peers[i].open && !run->peers[i].conn.left;
        if (run->peers[i].open)
            check_peer(run, &run->peers[i].conn);
    }
    for (unsigned v = MX_VIOLATION_NONE + 1; v < MX_VIOLATION_COUNT; v++)
        violations += run->ledger.violations[v];
    sluice_assert(accepted == server->accepted && accepted == run->accepted);
    sluice_assert(accepted == run->ledger.accepted_count);
    sluice_assert(mails == server->mails && mails == run->ledger.start_count);
    sluice_assert(open == server->open && open == there && server->admitted <= open);
    sluice_assert(violations == run->ledger.violation_total &&
                  (violations > 0) == (run->ledger.first_violation[0] != 0));
    sluice_assert(server->accepted_tls <= accepted && server->accepted_chunked <= accepted);
    sluice_assert(server->accepted_authenticated <= accepted && (!accepted || mails));
}

/* ---- the client ---- */

static void hand_over(struct run *run, const char *p, size_t n)
{
    struct peer *peer = &run->peers[run->chosen];
    char *exact = malloc(n ? n : 1); /* so that a sanitizer sees one byte too many */
    sluice_assert(exact);
    memcpy(exact, p, n);
    if (peer->open && n) {
        run->input += n;
        mx_conn_input(&peer->conn, run->now, (struct slice){exact, n});
        check(run);
    }
    free(exact);
}

static void hand_over_sealed(struct run *run)
{
    char *sealed;
    struct peer *peer = &run->peers[run->chosen];
    long n = BIO_get_mem_data(peer->out, &sealed);
    if (n > 0)
        hand_over(run, sealed, (size_t)n);
    (void)BIO_reset(peer->out);
}

static void say(struct run *run)
{
    struct peer *peer = &run->peers[run->chosen];
    size_t n = run->pending;
    run->pending = 0;
    if (peer->ssl && SSL_is_init_finished(peer->ssl)) {
        if (n)
            (void)SSL_write(peer->ssl, run->piece, (int)n);
        hand_over_sealed(run);
    } else {
        hand_over(run, run->piece, n);
    }
    ERR_clear_error();
}

static void hear(struct run *run, struct peer *peer, const char *p, size_t n)
{
    char plain[256];
    if (!peer->ssl)
        return;
    BIO_write(peer->in, p, (int)n);
    if (!SSL_is_init_finished(peer->ssl))
        (void)SSL_do_handshake(peer->ssl);
    while (SSL_is_init_finished(peer->ssl) && SSL_read(peer->ssl, plain, sizeof plain) > 0)
        ;
    hand_over_sealed(run);
    ERR_clear_error();
}

static void begin_tls(struct run *run, SSL_CTX *context)
{
    struct peer *peer = &run->peers[run->chosen];
    if (peer->ssl || !peer->open)
        return;
    peer->ssl = SSL_new(context);
    peer->in = BIO_new(BIO_s_mem());
    peer->out = BIO_new(BIO_s_mem());
    sluice_assert(peer->ssl && peer->in && peer->out);
    SSL_set_bio(peer->ssl, peer->in, peer->out);
    SSL_set_connect_state(peer->ssl);
    (void)SSL_do_handshake(peer->ssl);
    hand_over_sealed(run);
    ERR_clear_error();
}

static void open_peer(struct run *run)
{
    struct peer *peer = &run->peers[run->chosen];
    struct mx_ip ip = mx_ip_v4(127, 0, 0, (uint8_t)run->chosen);
    if (peer->open)
        return;
    *peer = (struct peer){.open = true};
    mx_conn_open(&peer->conn, &run->server, run->now, &ip);
    check(run);
}

static void close_peer(struct run *run)
{
    struct peer *peer = &run->peers[run->chosen];
    if (!peer->open)
        return;
    mx_conn_close(&peer->conn);
    SSL_free(peer->ssl);
    peer->ssl = NULL;
    peer->open = false;
    check(run);
}

/* Takes what is due, in pieces of `cap`. */
static void take(struct run *run, size_t cap)
{
    struct peer *peer = &run->peers[run->chosen];
    char to[PIECE];
    for (unsigned turns = 0; peer->open; turns++) {
        size_t n = 0;
        enum mx_act act = mx_conn_take(&peer->conn, run->now, to, cap, &n);
        check(run);
        sluice_assert(n <= cap && (act == MX_SEND) == (n > 0) && turns < 16 * MX_OUT_MAX);
        if (act == MX_SEND) {
            hear(run, peer, to, n);
            continue;
        }
        if (act == MX_WAIT)
            sluice_assert(mx_conn_due(&peer->conn) > run->now);
        else
            sluice_assert(mx_conn_take(&peer->conn, run->now, to, cap, &n) == act && n == 0);
        if (act != MX_WAIT)
            close_peer(run);
        return;
    }
}

static void act(struct run *run, uint8_t action, SSL_CTX *context)
{
    say(run);
    switch (action) {
    case 0x01:
        take(run, PIECE);
        break;
    case 0x02:
        take(run, 1 + next(run) % 16);
        break;
    case 0x03:
        run->now += NSEC_PER_S;
        take(run, PIECE);
        break;
    case 0x04:
        run->now += NSEC_PER_MS;
        take(run, PIECE);
        break;
    case 0x05:
        begin_tls(run, context);
        break;
    case 0x06:
        run->chosen = (run->chosen + 1) % CONNECTIONS;
        open_peer(run);
        break;
    case 0x07:
        close_peer(run);
        open_peer(run);
        break;
    case 0x08:
        read_personality(run);
        break;
    case 0x0b:
        if (run->peers[run->chosen].open)
            mx_conn_leave(&run->peers[run->chosen].conn);
        break;
    case 0x0c:
        run->cut = next(run);
        break;
    default: /* an escape */
        run->piece[run->pending++] = (char)next(run);
        break;
    }
}

static void end(struct run *run)
{
    say(run);
    for (run->chosen = 0; run->chosen < CONNECTIONS; run->chosen++) {
        for (unsigned i = 0; i < 8; i++) {
            run->now += NSEC_PER_S;
            take(run, PIECE);
        }
        close_peer(run);
    }
    sluice_assert(run->server.open == 0 && run->server.admitted == 0);
    mx_server_free(&run->server);
    mx_ledger_free(&run->ledger);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mx_tls *tls; /* keys are made once */
    static SSL_CTX *context;
    static struct run run;
    if (!tls) {
        tls = mx_tls_new();
        context = SSL_CTX_new(TLS_client_method());
    }
    memset(&run, 0, sizeof run);
    run.p = data;
    run.end = data + size;
    run.now = NSEC_PER_S;
    mx_ledger_init(&run.ledger);
    run.ledger.keep_starts = run.ledger.keep_text = true;
    run.ledger.on_accept = on_accept;
    run.ledger.context = &run;
    mx_server_init(&run.server, &run.personality, &run.ledger, 1);
    run.server.tls = tls;
    read_personality(&run);
    open_peer(&run);
    while (run.p < run.end) {
        uint8_t byte = next(&run);
        if (byte < 0x20 && byte != '\r' && byte != '\n')
            act(&run, byte, context);
        else
            run.piece[run.pending++] = (char)byte;
        if (run.pending == PIECE || (run.cut && run.pending >= run.cut))
            say(&run);
    }
    end(&run);
    return 0;
}
