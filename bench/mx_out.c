/* mx_out.c - replies wait here until their instant has come, because lateness is most of what makes an ISP an ISP. */
#include "bench/mx_private.h"

#include <stdlib.h>
#include <string.h>

static struct mx_queued *enqueue(struct mx_conn *conn, nsec due, size_t size, enum mx_act act)
{
    if (conn->queue_at > conn->queue_used / 2) { /* a client with more in flight than one never lets it run empty */
        conn->queue_used -= conn->queue_at;
        memmove(conn->queue, conn->queue + conn->queue_at, conn->queue_used * sizeof *conn->queue);
        conn->queue_at = 0;
    }
    conn->queue = mx_grow(conn->queue, &conn->queue_cap, conn->queue_used + 1, sizeof *conn->queue);
    struct mx_queued *queued = &conn->queue[conn->queue_used++];
    *queued = (struct mx_queued){
        .due = due, .size = (uint32_t)size, .act = (uint8_t)act, .sealed = !conn->secure, .counted = true};
    conn->replies_made++;
    conn->busy_until = due;
    return queued;
}

static nsec due_at(struct mx_conn *conn, nsec now, enum mx_stage stage)
{
    const struct mx_latency *latency = &conn->server->personality->latency[stage];
    nsec due = nsec_max(conn->busy_until, now) + latency->base;
    if (latency->jitter > 0)
        due += (nsec)mx_server_random(conn->server, (uint64_t)latency->jitter);
    return due;
}

static void put(struct mx_conn *conn, const char *p, size_t n)
{
    memcpy(conn->out + conn->out_used, p, n);
    conn->out_used += n;
}

/* "550 a\nb" becomes "550-a CRLF 550 b CRLF" (RFC 5321 §4.2.1). Returns the bytes added. */
static size_t put_lines(struct mx_conn *conn, const char *text)
{
    size_t before = conn->out_used;
    const char *code = text;
    for (const char *line = text; line;) {
        const char *end = strchr(line, '\n');
        size_t n = end ? (size_t)(end - line) : strlen(line);
        if (line != text) {
            put(conn, code, 3);
            put(conn, end ? "-" : " ", 1);
            put(conn, line, n);
        } else {
            put(conn, line, n);
            if (end && n > 3)
                conn->out[before + 3] = '-';
        }
        put(conn, "\r\n", 2);
        line = end ? end + 1 : NULL;
    }
    return conn->out_used - before;
}

/* Makes room in `out`. False: there is none, and the connection is reset. */
static bool room_for(struct mx_conn *conn, nsec now, size_t most)
{
    if (conn->out_at > conn->out_used / 2) {
        conn->out_used -= conn->out_at;
        memmove(conn->out, conn->out + conn->out_at, conn->out_used);
        conn->out_at = 0;
    }
    if (conn->out_used + most > MX_OUT_MAX) {
        /* The peer writes without reading: nothing that it is owed is worth the memory. */
        conn->server->overruns++;
        conn->queue_at = conn->queue_used = conn->out_at = conn->out_used = 0;
        enqueue(conn, now, 0, MX_RESET);
        conn->ending = true;
        return false;
    }
    conn->out = mx_grow(conn->out, &conn->out_cap, conn->out_used + most, 1);
    return true;
}

void mx_out_bytes(struct mx_conn *conn, nsec now, enum mx_stage stage, struct slice bytes)
{
    if (bytes.n == 0 || !room_for(conn, now, bytes.n))
        return;
    nsec due = stage ? due_at(conn, now, stage) : nsec_max(conn->busy_until, now);
    put(conn, bytes.p, bytes.n);
    enqueue(conn, due, bytes.n, MX_SEND)->counted = false;
    conn->replies_made--; /* nobody has to wait for it */
}

unsigned mx_out_reply(struct mx_conn *conn, nsec now, enum mx_stage stage, const char *text)
{
    struct mx_server *server = conn->server;
    size_t length = strlen(text);
    sluice_assert(length >= 3 && text[0] >= '2' && text[0] <= '5');
    unsigned code = (unsigned)(text[0] - '0') * 100 + (unsigned)(text[1] - '0') * 10 + (unsigned)(text[2] - '0');
    server->replies[stage][text[0] - '0']++;
    if (!room_for(conn, now, length * 7 + 2)) /* a line of its own for every byte */
        return 0;
    nsec due = due_at(conn, now, stage);
    size_t size = put_lines(conn, text);
    enqueue(conn, due, size, MX_SEND);
    conn->busy_until = due + (nsec)(size - 1) * server->personality->tarpit;
    if (code == 421)
        mx_out_end(conn, now, MX_STAGE_BROKEN, MX_CLOSE);
    return code;
}

void mx_out_end(struct mx_conn *conn, nsec now, enum mx_stage stage, enum mx_act act)
{
    sluice_assert(act == MX_CLOSE || act == MX_RESET);
    enqueue(conn, stage ? due_at(conn, now, stage) : nsec_max(conn->busy_until, now), 0, act);
    conn->ending = true;
}

void mx_out_cut(struct mx_conn *conn, nsec now, enum mx_stage stage)
{
    mx_out_end(conn, now, stage, MX_CLOSE);
    conn->queue[conn->queue_used - 1].sealed = true;
}

void mx_out_silence(struct mx_conn *conn)
{
    enqueue(conn, NSEC_NEVER, 0, MX_WAIT);
    conn->ending = true;
}

/* Hands out bytes that TLS has ready. */
static void take_sealed(struct mx_conn *conn, char *to, size_t cap, size_t *n)
{
    if (conn->secure && *n < cap)
        *n += mx_link_take(conn->link, to + *n, cap - *n);
}

/* Moves what of the front reply may leave now; true when all of it has left, or lies ready in the layer of TLS. */
static bool take_reply(struct mx_conn *conn, nsec now, char *to, size_t cap, size_t *n)
{
    struct mx_queued *front = &conn->queue[conn->queue_at];
    nsec tarpit = conn->server->personality->tarpit;
    while (front->size && *n < cap && front->due <= now) {
        size_t piece = tarpit > 0 ? 1 : front->size;
        if (piece > cap - *n)
            piece = cap - *n;
        if (front->sealed) {
            memcpy(to + *n, conn->out + conn->out_at, piece);
            *n += piece;
        } else {
            mx_link_write(conn->link, (struct slice){conn->out + conn->out_at, piece});
            take_sealed(conn, to, cap, n);
        }
        conn->out_at += piece;
        front->size -= (uint32_t)piece;
        if (front->size)
            front->due += tarpit;
    }
    return front->size == 0;
}

/* Replies that leave at one instant leave in one record, as those of servers do that answer a group of pipelined
 * commands by one write (RFC 2920 §3.2): the front one goes with the next. */
static void join_next(struct mx_conn *conn, nsec now)
{
    struct mx_queued *front = &conn->queue[conn->queue_at], *next = front + 1;
    if (conn->queue_at + 1 < conn->queue_used && next->act == MX_SEND && next->due <= now && !next->sealed &&
        !front->sealed && conn->server->personality->tarpit == 0) {
        next->size += front->size;
        front->size = 0;
    }
}

static void close_if_idle(struct mx_conn *conn, nsec now)
{
    const struct mx_personality *personality = conn->server->personality;
    if (conn->ending || !personality->idle || now - conn->heard_at < personality->idle)
        return;
    if (personality->idle_silent || (conn->link && !conn->secure))
        mx_out_end(conn, now, MX_STAGE_BROKEN, MX_CLOSE);
    else
        mx_out_reply(conn, now, MX_STAGE_BROKEN, "421 4.4.2 idle for too long");
}

/* The connection ends here. MX_SEND: only when what was put into `to` has left. */
static enum mx_act take_end(struct mx_conn *conn, char *to, size_t cap, size_t *n)
{
    struct mx_queued *front = &conn->queue[conn->queue_at];
    if (front->act == MX_CLOSE && !front->sealed) {
        mx_link_end(conn->link);
        take_sealed(conn, to, cap, n);
        front->sealed = true;
    }
    if (*n)
        return MX_SEND;
    if (conn->replies_taken < conn->replies_made) {
        conn->replies_taken = conn->replies_made;
        if (front->act == MX_CLOSE)
            conn->server->hang_ups++;
        else
            conn->server->aborts++;
    }
    return front->act;
}

enum mx_act mx_conn_take(struct mx_conn *conn, nsec now, char *to, size_t cap, size_t *n)
{
    sluice_assert(cap > 0);
    *n = 0;
    take_sealed(conn, to, cap, n);
    if (conn->queue_at == conn->queue_used)
        close_if_idle(conn, now);
    while (conn->queue_at < conn->queue_used && conn->queue[conn->queue_at].due <= now) {
        struct mx_queued *front = &conn->queue[conn->queue_at];
        if (front->act != MX_SEND)
            return take_end(conn, to, cap, n);
        join_next(conn, now);
        if (!take_reply(conn, now, to, cap, n))
            break;
        conn->queue_at++;
        conn->replies_taken += front->counted;
        conn->verdicts_owed -= front->verdict;
        conn->heard_at = now;
    }
    return *n ? MX_SEND : MX_WAIT;
}

nsec mx_conn_due(const struct mx_conn *conn)
{
    if (conn->queue_at < conn->queue_used)
        return conn->queue[conn->queue_at].due;
    const struct mx_personality *personality = conn->server->personality;
    return personality->idle && !conn->ending ? conn->heard_at + personality->idle : NSEC_NEVER;
}
