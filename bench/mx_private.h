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
void mx_out_end(struct mx_conn *conn, nsec now, enum mx_stage stage, enum mx_act act); /* MX_CLOSE, MX_RESET */
void mx_out_silence(struct mx_conn *conn);

/* mx.c */
/* Answers at a stage by the personality, else with `usual`. True: the stage goes on as if all were well. `rule` is what
 * hit, or NULL. */
bool mx_answer(struct mx_conn *conn, nsec now, enum mx_stage stage, struct slice recipient, const char *usual,
               const struct mx_rule **rule);
void mx_transaction_end(struct mx_conn *conn);

/* mx_text.c */
void mx_text_begin(struct mx_conn *conn);
/* One line of a message with its LF, or a piece of one that is too long. `more`: bytes stand behind it in this read. */
void mx_text_line(struct mx_conn *conn, nsec now, struct slice line, bool more);

#endif
