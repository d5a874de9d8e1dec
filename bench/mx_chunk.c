/* mx_chunk.c - BDAT (RFC 3030): a message as counted octets, which must be swallowed also when they are not wanted, or
 * somebody's text becomes a command. */
#include "bench/mx_private.h"

#include <stdio.h>
#include <string.h>

static const struct slice probe = {"NOOP\r\n", MX_CHUNK_PROBE};

/* Why a chunk of this size cannot be had now; NULL: it can. */
static const char *refusal_of(struct mx_conn *conn, uint64_t size)
{
    const struct mx_personality *personality = conn->server->personality;
    if (!conn->chunking) {
        mx_violation(conn, MX_SEQUENCE, SLICE("BDAT before EHLO offered it"));
        return "503 5.5.1 EHLO first";
    }
    if (conn->server->ledger->near && conn->refused_by && conn->replies_taken >= conn->refused_by)
        mx_violation(conn, MX_CHUNK_UNWANTED, SLICE("BDAT"));
    if (conn->state != MX_ENVELOPE) {
        conn->chunk_probe = !conn->mail_refused && !conn->chunk_last && size == probe.n;
        if (!conn->mail_refused && !conn->chunk_probe)
            mx_violation(conn, MX_SEQUENCE, SLICE("BDAT without MAIL"));
        return "503 5.5.1 MAIL first";
    }
    if (!conn->recipient_count) {
        if (!conn->rcpt_refused)
            mx_violation(conn, MX_SEQUENCE, SLICE("BDAT without RCPT"));
        return "554 5.5.1 no valid recipients";
    }
    uint64_t before = conn->chunked ? conn->bytes : 0;
    if (personality->size_max && size > personality->size_max - (before < personality->size_max ? before : 0))
        return "552 5.3.4 message too big";
    return NULL;
}

/* What of this transaction follows is explained by a refusal. */
static void refuse(struct mx_conn *conn)
{
    if (conn->state != MX_ENVELOPE)
        return;
    mx_transaction_end(conn);
    conn->mail_refused = !conn->chunk_last;
    conn->refused_by = conn->chunk_last ? 0 : conn->replies_made;
}

static void last_chunk(struct mx_conn *conn, nsec now)
{
    size_t rest = mx_line_pending(&conn->chunk_line);
    if (rest)
        mx_text_octets(conn, (struct slice){conn->chunk_line.p + conn->chunk_line.given, rest});
    if (conn->in_line)
        mx_violation(conn, MX_CHUNK_SIZE, SLICE("a message that ends without CRLF"));
    mx_text_verdict(conn, now);
    conn->state = MX_READY;
    mx_transaction_end(conn);
    mx_text_over(conn, now);
}

/* The reply that was queued last is what became of a message. */
static void count_in_flight(struct mx_conn *conn)
{
    struct mx_server *server = conn->server;
    if (conn->ending)
        return;
    conn->queue[conn->queue_used - 1].verdict = true;
    if (++conn->verdicts_owed > server->in_flight_peak)
        server->in_flight_peak = conn->verdicts_owed;
}

/* All octets are here. RFC 3030 §2: only now is there an answer, whatever it is. */
static void chunk_end(struct mx_conn *conn, nsec now)
{
    conn->in_chunk = false;
    conn->behind_chunk = true;
    if (conn->chunk_refusal) {
        conn->server->probes += conn->chunk_probe;
        mx_out_reply(conn, now, conn->chunk_last ? MX_BODY : MX_CHUNK, conn->chunk_refusal);
        refuse(conn);
    } else if (conn->chunk_last) {
        last_chunk(conn, now);
    } else if (!mx_answer(conn, now, MX_CHUNK, slice_of(conn->recipients), "250 2.0.0 octets received", NULL)) {
        refuse(conn);
    }
    if (conn->chunk_last)
        count_in_flight(conn);
}

/* What go-smtp did before 0.21: the command is refused, and its octets are left in the stream. */
static void spill(struct mx_conn *conn, nsec now, uint64_t size)
{
    mx_out_reply(conn, now, MX_CHUNK, conn->chunk_refusal);
    refuse(conn);
    conn->spill_left = size;
    conn->in_chunk = false;
}

void mx_chunk_command(struct mx_conn *conn, nsec now, struct slice argument)
{
    struct slice whole = argument, size_text = mx_take_word(&argument);
    bool last = slice_equal_nocase(argument, SLICE("LAST"));
    uint64_t size;
    if (!mx_take_number(size_text, &size) || (argument.n && !last)) {
        mx_violation(conn, MX_SYNTAX, whole);
        mx_out_reply(conn, now, MX_CHUNK, "501 5.5.4 syntax: BDAT size [LAST]"); /* how much to swallow is unknown */
        return;
    }
    conn->chunk_last = last;
    conn->chunk_probe = false;
    conn->chunk_left = size;
    conn->in_chunk = true;
    conn->chunk_refusal = refusal_of(conn, size);
    if (conn->chunk_refusal && conn->server->personality->chunks_spill) {
        spill(conn, now, size);
        return;
    }
    if (!conn->chunk_refusal && !conn->chunked) {
        conn->chunked = true;
        mx_text_begin(conn);
    }
    if (size == 0)
        chunk_end(conn, now);
}

/* In lines, which go on from chunk to chunk. */
static void take_text(struct mx_conn *conn, struct slice bytes)
{
    struct slice line;
    while (bytes.n)
        if (mx_line_take(&conn->chunk_line, &bytes, MX_LINE_MAX, &line))
            mx_text_octets(conn, line);
}

void mx_chunk_take(struct mx_conn *conn, nsec now, struct slice *bytes)
{
    struct slice now_here = {bytes->p, bytes->n < conn->chunk_left ? bytes->n : (size_t)conn->chunk_left};
    if (!conn->chunk_refusal)
        take_text(conn, now_here);
    if (conn->chunk_probe && memcmp(now_here.p, probe.p + (probe.n - conn->chunk_left), now_here.n) != 0) {
        conn->chunk_probe = false;
        mx_violation(conn, MX_SEQUENCE, SLICE("BDAT without MAIL"));
    }
    conn->chunk_left -= now_here.n;
    *bytes = (struct slice){bytes->p + now_here.n, bytes->n - now_here.n};
    if (conn->chunk_left == 0)
        chunk_end(conn, now);
}
