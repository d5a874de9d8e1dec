/* mx.h - the server's side of SMTP as a pure state machine: the mail exchangers of the sink and of the simulation.
 *
 * Bytes come in, bytes and instants come out; no socket, clock or file. It is the judge of the client, so it shares
 * nothing with proto/smtp: it has its own reading of RFC 5321, 1870, 2920, 3030, 3207, 4954 and 6152, and counts every
 * breach of them in the ledger. What it answers, how late, and when it hangs up or lies is its *personality*.
 *
 * TLS (mx_tls.h) lies between the caller's bytes and the state machine, so whoever drives it needs not know: what goes
 * in and comes out is ciphertext from the handshake on. The handshake's flights wait for their instants in the same
 * queue as the replies.
 *
 * How it is driven. The caller owns the connection and, after mx_conn_open and after every mx_conn_input, calls
 * mx_conn_take until it says MX_WAIT, then comes again at mx_conn_due. All input is digested at once, replies are
 * queued with the instant at which each may leave: one server works on one command of a connection at a time, so a
 * reply is due `latency` after the later of its command and the reply before it. A message is accepted, and stands in
 * the ledger, the moment its dot is seen with a verdict of 2xx, whatever becomes of the reply.
 *
 * Memory: a connection allocates little and keeps at most MX_OUT_MAX bytes of replies; who sends commands without
 * reading is reset. Peers may send anything at all. One server, its connections and its ledger belong to one thread. */
#ifndef BENCH_MX_H
#define BENCH_MX_H

#include "sluice/base.h"
#include "sluice/slice.h"

enum {
    MX_LINE_MAX = 2048,      /* longest line that is looked at; RFC 5321 §4.5.3.1 allows 512 and 1000 */
    MX_TEXT_LINE = 1000,     /* octets with CRLF, RFC 5321 §4.5.3.1.6 */
    MX_REPLY_MAX = 512,      /* of a configured reply's text */
    MX_OUT_MAX = 64 * 1024,  /* replies not yet taken */
    MX_RECIPIENTS_MAX = 100, /* of one message; then 452 (RFC 5321 §4.5.3.1.8) */
    MX_RULES_MAX = 32,
    MX_SOURCES_MAX = 1024, /* client addresses told apart; more share the last entry */
    MX_NAME_MAX = 64,
    MX_PATTERN_MAX = 64,
    MX_PATH_MAX = 256,        /* RFC 5321 §4.5.3.1.3 */
    MX_AUTH_LINE_MAX = 12288, /* RFC 4954 §4: a line of AUTH may be as long, with CRLF */
    MX_ACCOUNTS_MAX = 4,
    MX_SECRET_MAX = 4096, /* a password, or a bearer token */
    MX_NAMES_MAX = 512,   /* of a certificate, with the spaces between them */
    MX_FILE_MAX = 256,    /* the path of a file */
    MX_CHUNK_PROBE = 6,   /* octets of "NOOP" CRLF: a chunk without a transaction that is no breach; see `probes` */
    MX_CAMPAIGN_MAX = 64,
    MX_CERTAIN = 1000000, /* a chance of one, in parts per million */
};

/* ---- personality: what a server is like. Set directly, or read from a file (mx_personality_load) ---- */

enum mx_stage {
    MX_STAGE_BROKEN = 0,
    MX_GREETING, /* the connection was accepted */
    MX_EHLO,     /* EHLO or HELO came */
    MX_MAIL,
    MX_RCPT,
    MX_DATA,      /* the DATA command */
    MX_BODY,      /* the final dot, or the last chunk */
    MX_CHUNK,     /* a chunk came that is not the last, in a transaction */
    MX_STARTTLS,  /* the STARTTLS command */
    MX_HANDSHAKE, /* the client's first flight came; the latency counts for each flight of ours */
    MX_AUTH,      /* credentials came, and are right; `match` sees the user */
    MX_STAGE_COUNT
};

enum mx_action {
    MX_ACTION_BROKEN = 0,
    MX_REPLY,    /* says `reply`; 421 closes behind it, 2xx goes on as usual */
    MX_HANG_UP,  /* closes without a word */
    MX_ABORT,    /* resets (RST) */
    MX_SILENCE,  /* never answers again on this connection */
    MX_GARBAGE,  /* says `reply` as it stands, which need not be SMTP, nor TLS at MX_HANDSHAKE; then closes */
    MX_INJECT,   /* answers as usual, and in the same bytes, in plain text behind it, stands `reply` */
    MX_TWICE,    /* answers as usual twice */
    MX_TRUNCATE, /* MX_HANDSHAKE alone: closes in the middle of its first record */
};

/* One thing that may happen at a stage. Rules of a stage are tried in their order against one draw, so that the
 * percentages of a stage add up; none hit: the usual positive reply. */
struct mx_rule {
    enum mx_stage stage;
    enum mx_action action;
    uint32_t chance;            /* parts per million of what comes by; MX_CERTAIN: always */
    bool sticky;                /* drawn from the recipient's address: the same one fares the same on every try */
    bool accept;                /* MX_BODY without a 2xx: the message is taken nevertheless (a lost reply) */
    uint32_t after;             /* lets the first so many pass that it would have hit on this server */
    uint32_t first;             /* hits only the first so many times on this server; 0: no limit */
    char match[MX_PATTERN_MAX]; /* local-part of the recipient (at MAIL: sender), `*` any run, without case; "": every
                                   one */
    char reply[MX_REPLY_MAX];   /* "550 5.1.1 no such user"; '\n' separates the lines of a longer one */
};

struct mx_latency {
    nsec base, jitter; /* a reply takes base + [0, jitter) */
};

/* What a server does to bytes that stand behind the final dot in the same read, though it advertised PIPELINING. */
enum mx_behind {
    MX_BEHIND_ALLOWED = 0,
    MX_BEHIND_REFUSED, /* as OpenSMTPD: 503 in place of the message's verdict, message not taken, close */
    MX_BEHIND_CLOSED,  /* message taken and answered, then 554 and close */
};

enum mx_demand {
    MX_DEMAND_NONE = 0,
    MX_DEMAND_COUNTED, /* MAIL in plain text is taken, and counted as MX_PLAIN_TEXT */
    MX_DEMAND_REFUSED, /* it is answered 530 5.7.0 (RFC 3207 §4) and counted */
};

enum mx_key_kind {
    MX_KEY_RSA = 0, /* RSA-2048: flights of one length whatever the key is, so a simulation's trace stays the same */
    MX_KEY_ECDSA,   /* P-256 */
};

enum mx_issue {
    MX_ISSUE_CA = 0,     /* by the test's own CA (mx_tls_ca) */
    MX_ISSUE_CHAIN,      /* the same, by way of an intermediate that is sent along */
    MX_ISSUE_BROKEN,     /* the same, but the intermediate is not sent */
    MX_ISSUE_SELF,       /* by itself */
    MX_ISSUE_STRANGER,   /* by a CA that nobody was told of */
    MX_ISSUE_EXPIRED,    /* by the CA, valid until 2001 */
    MX_ISSUE_WRONG_NAME, /* by the CA, for wrong.invalid */
};

/* How a server does TLS. Compared as a whole: servers of equal settings share a context and their tickets. */
struct mx_tls_settings {
    enum mx_key_kind key_kind;
    enum mx_issue issue;
    char names[MX_NAMES_MAX]; /* that the certificate is for, by spaces; "": the banner, its parent, and the parent's
                                 wildcard */
    char certificate_file[MX_FILE_MAX], key_file[MX_FILE_MAX]; /* PEM, the chain behind the leaf; "": made at start */
    uint16_t version_min, version_max;                         /* 0x0301 TLS 1.0 ... 0x0304 TLS 1.3; 0: 1.2, 1.3 */
    bool no_resumption;
    bool no_tickets; /* sessions are remembered here, not in tickets, whose lengths vary: for simulations */
};

/* What EHLO may say. */
enum {
    MX_CAN_PIPELINING = 1 << 0,
    MX_CAN_SIZE = 1 << 1,
    MX_CAN_EIGHT_BIT = 1 << 2,
    MX_CAN_ENHANCED = 1 << 3,
    MX_CAN_CHUNKING = 1 << 4,
    MX_CAN_AUTH = 1 << 5,
};

/* Mechanisms of AUTH. */
enum { MX_AUTH_PLAIN = 1 << 0, MX_AUTH_LOGIN = 1 << 1, MX_AUTH_XOAUTH2 = 1 << 2 };

struct mx_account {
    char user[MX_NAME_MAX];
    char secret[MX_SECRET_MAX]; /* a password; with XOAUTH2 the bearer token */
};

struct mx_ip {
    uint8_t b[16]; /* IPv6; IPv4 as ::ffff:a.b.c.d */
};

/* mx_personality_init gives a fast, obliging server, in plain text; every limit of 0 means none. */
struct mx_personality {
    char name[MX_NAME_MAX];   /* of the ISP, for ledger and statistics */
    char banner[MX_NAME_MAX]; /* host name in greeting and EHLO's reply */
    bool ehlo;                /* false: EHLO is answered 500, HELO works */
    bool pipelining;          /* advertised */
    bool eight_bit;           /* 8BITMIME advertised */
    bool enhanced;            /* ENHANCEDSTATUSCODES advertised */
    bool data_without_rcpt;   /* 354 although no recipient stands (RFC 2920 §3.1) */
    enum mx_behind behind_dot;
    uint64_t size_max; /* SIZE advertised and held to */

    bool starttls;         /* advertised, and there */
    bool starttls_hidden;  /* there, but left out of EHLO's reply, as by somebody in between */
    bool tls_implicit;     /* TLS from the first byte (RFC 8314 §3) */
    enum mx_demand demand; /* of TLS, before MAIL */
    unsigned plain_only;   /* MX_CAN_...: said before TLS alone */
    unsigned tls_only;     /* MX_CAN_...: said under TLS alone */
    struct mx_tls_settings tls;

    unsigned auth;        /* MX_AUTH_...: mechanisms advertised and taken; 0: no AUTH */
    bool auth_required;   /* MAIL before it is answered 530 5.7.0 */
    bool auth_plain_text; /* offered and taken without TLS too, which else is MX_AUTH_UNPROTECTED and 538 */
    unsigned account_count;
    struct mx_account accounts[MX_ACCOUNTS_MAX];

    bool chunking;     /* advertised, and there */
    bool chunks_spill; /* the octets of a refused chunk are read as commands (as go-smtp did), see MX_SMUGGLED */

    struct mx_latency latency[MX_STAGE_COUNT];
    nsec tarpit; /* between two bytes of every reply */

    uint32_t connections_max;            /* open at once; 421 in the greeting beyond */
    uint32_t connections_per_source_max; /* the same for one client address */
    char connections_reply[MX_REPLY_MAX];

    struct mx_ip blocked; /* this client is refused in the greeting; zero: nobody is */
    char blocked_reply[MX_REPLY_MAX];

    uint32_t messages_max; /* of a connection: accepted or not, counted at MAIL */
    bool messages_silent;  /* false: the next MAIL is answered 421; true: closes behind the last one's reply */

    uint64_t rate;                 /* MAIL commands in `rate_per`, at most `rate` at one instant */
    nsec rate_per;                 /* > 0 where rate is */
    bool rate_by_source;           /* each client address has a rate of its own */
    char rate_reply[MX_REPLY_MAX]; /* 451, or 421 which closes */

    nsec idle;        /* a connection that says nothing for so long is closed */
    bool idle_silent; /* false: with 421 */

    unsigned rule_count;
    struct mx_rule rules[MX_RULES_MAX];
};

void mx_personality_init(struct mx_personality *personality, const char *name);
/* Appends a rule with a chance and hands it out to be refined; asserts that there is room. The action is MX_REPLY when
 * `reply` is given, else the caller sets it. */
struct mx_rule *mx_personality_rule(struct mx_personality *personality, enum mx_stage stage, uint32_t chance,
                                    const char *reply);

/* What a file in libConfuse's syntax says: README.md beside this file shows one with every key. */
struct mx_listener {
    char address[64]; /* "127.0.0.1:2525", "[::1]:2525" */
    unsigned personality;
};
struct mx_config {
    struct mx_personality *personalities;
    unsigned personality_count;
    struct mx_listener *listeners;
    unsigned listener_count;
};
/* NULL on failure with a sentence in `error`; what libConfuse itself finds wrong it has written to stderr, with file
 * and line. Everything is owned by the config. */
must_use struct mx_config *mx_config_load(const char *file, char *error, size_t error_cap);
void mx_config_free(struct mx_config *config);

/* ---- ledger: what was accepted, when who started, and what the client did wrong ---- */

enum mx_violation {
    MX_VIOLATION_NONE = 0,
    MX_BARE_CR,       /* RFC 5321 §2.3.8 */
    MX_BARE_LF,       /* RFC 5321 §2.3.8 */
    MX_LINE_TOO_LONG, /* §4.5.3.1: commands 512 and what extensions add, text 1000 */
    MX_NUL,           /* RFC 5322 §2.3, RFC 6152 */
    MX_EARLY_TALK,    /* before the greeting (§4.3.1) */
    MX_PIPELINED,     /* before the reply before it, not advertised */
    MX_BEHIND_LAST, /* behind EHLO, DATA, QUIT, NOOP, VRFY before their reply (RFC 2920 §3.1); so a body before 354 */
    MX_DOT_NOT_STUFFED,  /* §4.5.2 */
    MX_BODY_UNWANTED,    /* 354 though no recipient stood, and then more than a lone dot */
    MX_PARAMETER,        /* a MAIL or RCPT parameter that was not advertised */
    MX_EIGHT_BIT_UNSAID, /* octets >= 0x80 without BODY=8BITMIME */
    MX_SIZE_EXCEEDED,    /* more octets than MAIL's SIZE= promised */
    MX_SEQUENCE,         /* commands out of order that no refusal explains */
    MX_SYNTAX,           /* no command, or no path */
    MX_BEHIND_STARTTLS,  /* bytes in plain text behind STARTTLS, before its reply (RFC 3207 §4) */
    MX_PLAIN_TEXT,       /* MAIL without TLS where the personality demands it */
    MX_AUTH_UNPROTECTED, /* AUTH without TLS where it was not offered so (RFC 4954 §4) */
    MX_CHUNK_UNWANTED,   /* BDAT though it was known that its transaction is refused (RFC 3030 §2); see `near` */
    MX_CHUNK_SIZE,       /* octets behind a chunk that are no command, or a message that ends without CRLF */
    MX_SMUGGLED,         /* a command, other than NOOP, that came out of a refused chunk */
    MX_VIOLATION_COUNT
};
const char *mx_violation_name(enum mx_violation violation); /* "bare-cr" */

struct mx_accepted {
    nsec at;                 /* `now` of its dot */
    uint64_t seq;            /* UINT64_MAX: the message had no token */
    uint32_t campaign;       /* mx_ledger_campaign */
    uint32_t recipient;      /* mx_ledger_recipient */
    uint32_t connection;     /* number of the connection, from 1, over all servers of the ledger */
    uint32_t bytes;          /* with the dots taken out, without the final one */
    uint16_t server, source; /* mx_ledger_server, and an index into that server's `sources` */
    bool tls, resumed, chunked, authenticated;
};

/* MAIL came: the start by which a throttle is judged. */
struct mx_start {
    nsec at;
    uint32_t connection;
    uint16_t server, source;
};

struct mx_server;

struct mx_ledger {
    struct mx_accepted *accepted; /* one for each accepted recipient of a message, in order */
    size_t accepted_count, accepted_cap;
    struct mx_start *starts; /* kept when keep_starts is set */
    size_t start_count, start_cap;
    bool keep_starts;
    bool near; /* clients know a reply as soon as it has left: MX_CHUNK_UNWANTED is looked for */
    uint64_t violations[MX_VIOLATION_COUNT];
    uint64_t violation_total;
    char first_violation[512]; /* what the first one looked like, printable */
    nsec wall_offset;          /* added to `at` where people read it: UTC minus `now` */
    uint32_t connections;      /* numbers given */
    /* Called for each accepted recipient, if set; the record lives until return, and so does the message's text: byte
     * for byte as it came, without stuffed dots and the final one. It is empty unless `keep_text` is set. */
    void (*on_accept)(void *context, const struct mx_ledger *ledger, const struct mx_accepted *record,
                      struct slice text);
    bool keep_text; /* connections hold what they take of a message, whatever its size */
    void *context;
    /* private */
    char *text;
    size_t text_used, text_cap;
    uint32_t *campaigns;
    size_t campaign_count, campaign_cap;
    const struct mx_server **servers;
    unsigned server_count;
    bool forgetful; /* keeps no records: on_accept has them */
};

void mx_ledger_init(struct mx_ledger *ledger);
void mx_ledger_free(struct mx_ledger *ledger);
const char *mx_ledger_campaign(const struct mx_ledger *ledger, const struct mx_accepted *record); /* "" without token */
const char *mx_ledger_recipient(const struct mx_ledger *ledger, const struct mx_accepted *record);
const struct mx_server *mx_ledger_server(const struct mx_ledger *ledger, unsigned server);
/* Tab-separated: "time_ms isp source connection campaign seq recipient bytes how"; time in UTC, seq "-" without token,
 * how: "tls", "resumed" (TLS, and its session was), "bdat", "auth", joined by commas, or "-".
 * Both return the length and a line with '\n' at its end; `cap` >= MX_LEDGER_LINE always suffices. */
enum { MX_LEDGER_LINE = 768 };
size_t mx_ledger_heading(char *line, size_t cap);
size_t mx_ledger_line(const struct mx_ledger *ledger, const struct mx_accepted *record, char *line, size_t cap);
void mx_ip_text(const struct mx_ip *ip, char text[static 46]);
struct mx_ip mx_ip_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d);

/* ---- server: one ISP's mail exchanger, on however many addresses ---- */

struct mx_source {
    struct mx_ip ip;
    uint32_t open, open_peak; /* refused ones are open too until they are closed */
    uint32_t admitted;        /* open and not refused in the greeting */
    uint64_t connections, mails, accepted;
    nsec paid_until; /* of its rate */
};

struct mx_tls; /* mx_tls.h */

struct mx_server {
    struct mx_tls *tls;                       /* borrowed; set behind mx_server_init where the personality has TLS */
    const struct mx_personality *personality; /* borrowed; may be exchanged at any time and holds from then on */
    struct mx_ledger *ledger;                 /* borrowed */
    uint16_t number;                          /* in the ledger */
    uint64_t random;                          /* state of the generator */
    uint64_t sticky_seed;
    nsec paid_until;               /* of the rate over all sources */
    uint32_t hits[MX_RULES_MAX];   /* of rules with `first`; zero both when the personality is exchanged */
    uint32_t passed[MX_RULES_MAX]; /* of rules with `after` */
    struct mx_source *sources;
    unsigned source_count;
    /* statistics */
    uint32_t open, open_peak, admitted;
    uint64_t connections, connections_refused, mails, accepted, bytes, limited;
    uint64_t replies[MX_STAGE_COUNT][6]; /* by first digit */
    uint64_t hang_ups, aborts, silences, overruns;
    uint64_t tls_full, tls_resumed, tls_failed; /* handshakes; failed: begun and not ended, by whomever */
    uint64_t tls_nameless;                      /* of the full ones: without SNI */
    uint64_t accepted_tls, accepted_chunked, accepted_authenticated; /* of `accepted` */
    uint64_t logins, logins_refused;
    uint32_t in_flight_peak; /* messages by BDAT that were here on one connection, their replies still to leave */
    uint64_t
        probes; /* chunks of "NOOP" CRLF without a transaction: a client asks whether refused chunks are swallowed */
};

/* Registers with the ledger, which must outlive it. Same seed and same calls: same answers. */
void mx_server_init(struct mx_server *server, const struct mx_personality *personality, struct mx_ledger *ledger,
                    uint64_t seed);
void mx_server_free(struct mx_server *server); /* after its last connection and the last look at the ledger */

/* ---- connection ---- */

enum mx_act {
    MX_WAIT = 0, /* nothing to do before mx_conn_due, or before there is input */
    MX_SEND,     /* `n` bytes were copied: send them, then ask again */
    MX_CLOSE,    /* close the connection (FIN), then mx_conn_close; it says so until then */
    MX_RESET,    /* the same with RST */
};

/* Fields are private; here so that owners can embed it. */
struct mx_queued {
    nsec due;
    uint32_t size; /* bytes of `out` that are left to send */
    uint8_t act;   /* enum mx_act */
    bool sealed;   /* leaves as it stands, also under TLS */
    bool counted;  /* in replies_made */
    bool verdict;  /* of a message by BDAT */
};
struct mx_line {
    char *p;                 /* an incomplete one */
    size_t used, cap, given; /* given: so much at its front has been handed out */
};
struct mx_link;
struct mx_conn {
    struct mx_server *server;
    struct mx_link *link; /* TLS; NULL: plain text */
    uint32_t number;
    uint16_t source;
    uint8_t state;
    bool admitted, ending, left;      /* ending: nothing more is read; left: not counted any more */
    bool pipelining, eight_bit, size; /* as advertised in EHLO's reply */
    bool chunking, auth;              /* the same */
    bool secure, resumed, shaken;     /* TLS is up; its session was resumed; MX_HANDSHAKE was drawn */
    bool authenticated;
    bool mail_refused, rcpt_refused;              /* what explains commands out of order */
    bool said_eight_bit, saw_eight_bit, unwanted; /* of the message */
    bool in_headers, in_line, text_overrun;       /* of its text; in_line: a bare LF was no end of it */
    bool line_overrun;                            /* the command that is being read is too long */
    uint64_t replies_made, replies_taken;
    uint64_t last_reply;         /* nothing may be sent before this one (RFC 2920 §3.1); 0: none */
    uint64_t greeting, starttls; /* last_reply is one of these */
    nsec busy_until, heard_at;
    uint32_t messages, recipient_count;
    uint64_t said_size, bytes, line_bytes, seq;
    char campaign[MX_CAMPAIGN_MAX + 1];
    uint64_t refused_by;                    /* the reply that refused the transaction; 0: none */
    uint64_t chunk_left;                    /* octets of the chunk that are to come */
    uint64_t spill_left;                    /* octets of a refused chunk that are to be read as commands */
    const char *chunk_refusal;              /* static; NULL: the chunk is wanted */
    bool in_chunk, chunk_last, chunk_probe; /* the chunk that is being read; probe: it may be one, by its size */
    bool chunked, behind_chunk;             /* of the transaction; of the line */
    uint32_t verdicts_owed;
    uint8_t auth_step;
    char user[MX_NAME_MAX];
    struct mx_line line, chunk_line; /* of commands and DATA; of chunks */
    char *message;                   /* under keep_text */
    size_t message_used, message_cap;
    char *recipients; /* accepted ones of this message, each with its zero byte */
    size_t recipients_used, recipients_cap;
    char *out;
    size_t out_at, out_used, out_cap;
    struct mx_queued *queue;
    size_t queue_at, queue_used, queue_cap;
};

/* The connection from `ip` was accepted; the greeting, or its refusal, is queued. */
void mx_conn_open(struct mx_conn *conn, struct mx_server *server, nsec now, const struct mx_ip *ip);
void mx_conn_input(struct mx_conn *conn, nsec now, struct slice bytes);
/* What is to be done at `now`; copies at most `cap` bytes (> 0) of replies that are due. */
enum mx_act mx_conn_take(struct mx_conn *conn, nsec now, char *to, size_t cap, size_t *n);
/* When to call mx_conn_take again though nothing came in; NSEC_NEVER: no need. */
nsec mx_conn_due(const struct mx_conn *conn);
/* We hung up (FIN): it is open no longer, though the peer has not hung up yet, who may come again before we see that.
 */
void mx_conn_leave(struct mx_conn *conn);
/* The connection is gone, by whomever: counts it out and frees. A message without its dot was never there. */
void mx_conn_close(struct mx_conn *conn);

#endif
