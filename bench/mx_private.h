/* mx_private.h - what the files of mx share with each other and with nobody else. */
#ifndef BENCH_MX_PRIVATE_H
#define BENCH_MX_PRIVATE_H

#include "bench/mx.h"

enum mx_state {
    MX_STATE_BROKEN = 0,
    MX_STRANGER, /* neither EHLO nor HELO yet */
    MX_READY,    /* no transaction */
    MX_ENVELOPE, /* MAIL was taken */
    MX_TEXT,     /* DATA was taken: everything up to the dot is text */
};

/* mx_ledger.c */
/* Makes room for `need` elements; running out of memory ends the process, for this is a test's server. */
void *mx_grow(void *array, size_t *cap, size_t need, size_t element);
void mx_ledger_add(struct mx_ledger *ledger, const struct mx_conn *conn, nsec now);
void mx_ledger_start(struct mx_ledger *ledger, const struct mx_conn *conn, nsec now);
void mx_ledger_violation(struct mx_ledger *ledger, const struct mx_conn *conn, enum mx_violation violation,
                         struct slice evidence);

/* mx_server.c */
unsigned mx_server_source(struct mx_server *server, const struct mx_ip *ip); /* index into `sources` */
uint64_t mx_server_random(struct mx_server *server, uint64_t below);
/* The rule that hits, or NULL. `recipient` may be empty. */
const struct mx_rule *mx_server_draw(struct mx_server *server, enum mx_stage stage, struct slice recipient);
bool mx_server_rate(struct mx_server *server, struct mx_source *source, nsec now); /* false: over the rate */

/* mx_out.c */
/* Queues a reply; '\n' in `text` separates lines. A 421 ends the connection behind itself. Returns its code. */
unsigned mx_out_reply(struct mx_conn *conn, nsec now, enum mx_stage stage, const char *text);
/* Queues bytes as they stand; MX_STAGE_BROKEN: without a latency of their own. */
void mx_out_bytes(struct mx_conn *conn, nsec now, enum mx_stage stage, struct slice bytes);
/* Ends the connection without TLS's close_notify. */
void mx_out_cut(struct mx_conn *conn, nsec now, enum mx_stage stage);
void mx_out_end(struct mx_conn *conn, nsec now, enum mx_stage stage, enum mx_act act); /* MX_CLOSE, MX_RESET */
void mx_out_silence(struct mx_conn *conn);

/* mx.c */
void mx_violation(struct mx_conn *conn, enum mx_violation kind, struct slice evidence);
/* Answers at a stage by the personality, else with `usual`. True: the stage goes on as if all were well. `rule` is what
 * hit, or NULL. */
bool mx_answer(struct mx_conn *conn, nsec now, enum mx_stage stage, struct slice recipient, const char *usual,
               const struct mx_rule **rule);
void mx_transaction_end(struct mx_conn *conn);
void mx_greet(struct mx_conn *conn, nsec now);
/* Digests plain text; returns what stands behind a STARTTLS that was granted, which is nothing else. */
struct slice mx_plain_input(struct mx_conn *conn, nsec now, struct slice bytes);

/* mx_line.c */
/* Takes bytes up to an LF, or until the buffer holds `max`. True: `line` is a line with its LF, or a piece of a longer
 * one; valid until the next call and as long as the bytes. A CR at a piece's end stays, for it may be half of a CRLF.
 */
bool mx_line_take(struct mx_line *buffer, struct slice *bytes, size_t max, struct slice *line);
static inline size_t mx_line_pending(const struct mx_line *buffer) { return buffer->used - buffer->given; }
bool mx_take_prefix(struct slice *s, struct slice prefix); /* without case */
struct slice mx_take_word(struct slice *s);                /* and the spaces behind it */
bool mx_take_number(struct slice s, uint64_t *number);

/* mx_command.c */
void mx_command(struct mx_conn *conn, nsec now, struct slice line); /* one line with its LF */

/* mx_text.c */
void mx_text_begin(struct mx_conn *conn);
/* One line of DATA with its LF, or a piece of one that is too long. `more`: bytes stand behind it in this read. */
void mx_text_line(struct mx_conn *conn, nsec now, struct slice line, bool more);
/* The same of a message as it is, without stuffed dots. */
void mx_text_octets(struct mx_conn *conn, struct slice line);
void mx_text_verdict(struct mx_conn *conn, nsec now); /* all of the message is here: says what becomes of it */
void mx_text_over(struct mx_conn *conn, nsec now);    /* its transaction has ended: closes, if this was the last */

/* mx_chunk.c */
void mx_chunk_command(struct mx_conn *conn, nsec now, struct slice argument);
void mx_chunk_take(struct mx_conn *conn, nsec now, struct slice *bytes); /* while in_chunk */

/* mx_auth.c */
void mx_auth_command(struct mx_conn *conn, nsec now, struct slice argument);
void mx_auth_line(struct mx_conn *conn, nsec now, struct slice text); /* while auth_step; without CRLF */
size_t mx_auth_offer(unsigned mechanisms, char *to, size_t cap);      /* " PLAIN LOGIN" */

/* mx_secure.c */
void mx_secure_command(struct mx_conn *conn, nsec now, struct slice argument);
void mx_secure_begin(struct mx_conn *conn);
void mx_secure_input(struct mx_conn *conn, nsec now, struct slice bytes);

/* mx_tls.c: TLS over memory. A link whose handshake or read has failed may still have an alert to give. */
enum mx_link_result {
    MX_LINK_BROKEN = 0,
    MX_LINK_MORE, /* bytes are needed */
    MX_LINK_DONE,
    MX_LINK_OVER, /* the peer said close_notify */
    MX_LINK_FAILED,
};
must_use struct mx_link *mx_link_new(struct mx_tls *tls, const struct mx_personality *personality);
void mx_link_free(struct mx_link *link);
void mx_link_feed(struct mx_link *link, struct slice ciphertext);
enum mx_link_result mx_link_shake(struct mx_link *link);
bool mx_link_resumed(const struct mx_link *link);
bool mx_link_named(const struct mx_link *link); /* the client said whom it wants (SNI) */
enum mx_link_result mx_link_read(struct mx_link *link, char *to, size_t cap, size_t *n);
void mx_link_write(struct mx_link *link, struct slice plain);
void mx_link_end(struct mx_link *link);                          /* close_notify */
size_t mx_link_take(struct mx_link *link, char *to, size_t cap); /* ciphertext that is to be sent */

#endif
