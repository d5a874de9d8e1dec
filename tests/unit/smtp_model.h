/* smtp_model.h - a server for test_walks.c, moody and strict: it answers as servers do, and fails the test where the
 * client says what no RFC allows. It shares no code with the client, least of all the reply parser. */
#ifndef TESTS_SMTP_MODEL_H
#define TESTS_SMTP_MODEL_H

#include "proto/smtp/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MESSAGES = 9, CHUNK = 22, PIPE = 16 * 1024, LINE = 600 };

/* ---- chance ---- */

static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = (*seed += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static unsigned pick(uint64_t *seed, unsigned below) { return (unsigned)(next_random(seed) % below); }
static bool chance(uint64_t *seed, unsigned percent) { return pick(seed, 100) < percent; }

struct pipe {
    char p[PIPE];
    size_t n;
};

static void push(struct pipe *pipe, const char *p, size_t n)
{
    assert_true(pipe->n + n <= sizeof pipe->p);
    memcpy(pipe->p + pipe->n, p, n);
    pipe->n += n;
}

static void drop(struct pipe *pipe, size_t n)
{
    pipe->n -= n;
    memmove(pipe->p, pipe->p + n, pipe->n);
}

/* ---- what the server knows of a message ---- */

struct known {
    bool body_came; /* a byte behind its 354 */
    bool accepted;  /* its text is the server's now */
    unsigned code;  /* of the first refusal, or of the acceptance after the dot */
    enum stage stage;
};

enum phase {
    PHASE_NONE = 0,
    PHASE_START,
    PHASE_COMMANDS,
    PHASE_TEXT,
    PHASE_CHUNK,
    PHASE_HANDSHAKE,
    PHASE_HUNG,
    PHASE_CLOSED
};

struct server {
    uint64_t *seed;
    const struct client *client; /* only to know what it has been taught already */
    const struct pipe *coming;   /* what it has sent and what has not arrived */
    struct pipe in, out;
    enum phase phase;
    bool pipelining;                     /* advertised */
    bool hates_pipelining, hates_across; /* and yet ... */
    bool sloppy;                         /* 354 without a recipient */
    bool starttls, auth;                 /* advertised */
    bool chunking;                       /* advertised with PIPELINING */
    bool spills, twice, sticky;          /* chunks: refused ones are commands, accepted ones have two replies, refused
                                            ones leave the transaction open */
    bool reset;                          /* what is in `out` at the end never arrives */
    unsigned trouble;                    /* percent of answers that are refusals */
    unsigned disaster;                   /* permille of answers that are 421, a close, garbage or silence */
    bool greeted, has_mail, has_rcpt, text_empty, out_of_step;
    bool last;           /* of the chunk that comes */
    unsigned chunk_left; /* octets of it */
    unsigned asked;      /* by AUTH LOGIN */
    bool authenticated;
    unsigned id, text_lines, last_code;
    unsigned objections;
    struct known known[MESSAGES];
};

static void say(struct server *server, unsigned code, const char *text)
{
    char line[LINE];
    unsigned lines = chance(server->seed, 10) ? 2 : 0;
    server->last_code = code;
    const char *end = chance(server->seed, 10) ? "\n" : "\r\n";
    for (unsigned i = 0; i < lines; i++)
        push(&server->out, line, (size_t)snprintf(line, sizeof line, "%u-%s%s", code, text, end));
    push(&server->out, line, (size_t)snprintf(line, sizeof line, "%u %s%s", code, text, end));
}

/* True: the server has gone wrong in one of the ways in which servers go wrong, in place of an answer. */
static bool disaster(struct server *server)
{
    if (pick(server->seed, 1000) >= server->disaster)
        return false;
    switch (pick(server->seed, 5)) {
    case 0:
        say(server, 421, "4.3.2 closing");
        server->phase = PHASE_CLOSED;
        break;
    case 1:
        server->phase = PHASE_CLOSED;
        break;
    case 2:
        server->phase = PHASE_CLOSED;
        server->reset = true;
        break;
    case 3:
        push(&server->out, "what?\r\n", 7);
        server->phase = PHASE_CLOSED;
        break;
    default:
        server->phase = PHASE_HUNG;
    }
    return true;
}

static void refuse(struct server *server, enum stage stage, unsigned code, const char *text)
{
    struct known *known = &server->known[server->id];
    if (known->code == 0) {
        known->code = code;
        known->stage = stage;
    }
    say(server, code, text);
}

/* The number behind `prefix` in a line such as "RCPT TO:<m3@x.example>". */
static bool id_in(const char *line, const char *prefix, unsigned *id)
{
    size_t n = strlen(prefix);
    if (strncmp(line, prefix, n) != 0)
        return false;
    assert_true(line[n] >= '0' && line[n] < '0' + MESSAGES && line[n + 1] == '@');
    *id = (unsigned)(line[n] - '0');
    return true;
}

static void on_mail(struct server *server, bool more)
{
    assert_false(server->has_mail); /* no MAIL within a transaction: RSET was owed */
    server->out_of_step = false;
    if (disaster(server))
        return;
    if (chance(server->seed, server->trouble)) {
        refuse(server, STAGE_MAIL, chance(server->seed, 50) ? 451 : 550, "5.7.1 not you");
        return;
    }
    server->has_mail = true;
    if (more && server->hates_pipelining && !server->client->pipelining_proved) {
        server->objections++;
        server->out_of_step = true;
    }
    say(server, 250, "2.1.0 ok");
}

static void on_rcpt(struct server *server)
{
    if (disaster(server))
        return;
    if (!server->has_mail || server->out_of_step)
        say(server, 503, "5.5.1 bad sequence");
    else if (chance(server->seed, server->trouble))
        refuse(server, STAGE_RCPT, chance(server->seed, 50) ? 450 : 550, "5.1.1 unknown");
    else {
        server->has_rcpt = true;
        say(server, 250, "2.1.5 ok");
    }
}

static void on_data(struct server *server)
{
    assert_int_equal(server->in.n + server->coming->n, 0); /* nothing behind DATA before its reply */
    if (disaster(server))
        return;
    if (server->has_rcpt ? !chance(server->seed, server->trouble) : server->sloppy) {
        server->phase = PHASE_TEXT;
        server->text_lines = 0;
        say(server, 354, "go ahead");
    } else if (server->has_rcpt) {
        refuse(server, STAGE_DATA, 451, "4.3.0 not now");
    } else {
        say(server, chance(server->seed, 50) ? 503 : 554, "5.5.1 nobody to send to");
    }
}

/* The dot has come: what becomes of the message is decided here. */
static void on_dot(struct server *server)
{
    struct known *known = &server->known[server->id];
    bool wanted = server->has_rcpt, more = server->in.n + server->coming->n > 0;
    server->phase = PHASE_COMMANDS;
    server->has_mail = server->has_rcpt = false;
    if (!wanted) {
        assert_int_equal(server->text_lines, 0); /* a lone dot, never a body */
        if (!disaster(server))
            say(server, chance(server->seed, 50) ? 250 : 554, "whatever");
        return;
    }
    assert_true(server->text_lines > 0); /* nobody gets an empty message */
    bool refused = chance(server->seed, server->trouble);
    server->last_code = 0;
    if (disaster(server)) { /* 421 is a reply; without one the message may have been accepted or not */
        known->accepted = server->last_code == 0 && !refused;
        return;
    }
    known->accepted = !refused;
    if (refused) {
        refuse(server, STAGE_BODY, chance(server->seed, 50) ? 452 : 554, "5.7.1 not that");
    } else {
        known->code = 250;
        known->stage = STAGE_BODY;
        say(server, 250, "2.0.0 queued");
    }
    if (more && server->hates_across && !server->client->across_proved) {
        server->objections++;
        say(server, 554, "5.5.0 out of turn");
        server->phase = PHASE_CLOSED;
    }
}

/* A body is "text N", a line of dots as it was before stuffing, and lines that begin with a dot. */
static void on_text(struct server *server, const char *line, size_t n)
{
    if (n == 1 && line[0] == '.') {
        on_dot(server);
        return;
    }
    unsigned id = MESSAGES;
    assert_true(server->has_rcpt);
    assert_true(line[0] != '.' || line[1] == '.'); /* stuffed */
    if (server->text_lines++ == 0) {
        assert_true(id_in(line, "text ", &id));
        assert_int_equal(id, server->id);
        server->known[id].body_came = true;
    }
}

/* All octets of a chunk have come. */
static void on_chunk(struct server *server, const char *octets, unsigned n)
{
    struct known *known = &server->known[server->id];
    unsigned id = MESSAGES;
    server->phase = PHASE_COMMANDS;
    if (!server->last) { /* the proof: no other chunk but the last is ever sent */
        assert_false(server->has_mail);
        assert_int_equal(n, 6);
        assert_memory_equal(octets, "NOOP\r\n", 6);
        if (disaster(server))
            return;
        say(server, 503, "5.5.1 need MAIL");
        if (server->spills)
            say(server, 250, "2.0.0 ok");
        return;
    }
    assert_false(server->spills); /* that was found out */
    assert_true(id_in(octets, "text ", &id));
    assert_int_equal(id, server->id);
    bool wanted = server->has_mail && server->has_rcpt, refused = !wanted || chance(server->seed, server->trouble);
    known->body_came |= wanted;
    if (!refused || !server->sticky)
        server->has_mail = server->has_rcpt = false;
    server->last_code = 0;
    if (disaster(server)) {
        known->accepted = server->last_code == 0 && !refused;
        return;
    }
    known->accepted = !refused;
    if (!wanted) {
        say(server, chance(server->seed, 50) ? 503 : 554, "5.5.1 nobody to send to");
    } else if (refused) {
        refuse(server, STAGE_BODY, chance(server->seed, 50) ? 452 : 554, "5.7.1 not that");
    } else {
        known->code = 250;
        known->stage = STAGE_BODY;
        say(server, 250, "2.6.0 queued");
        if (server->twice)
            say(server, 250, "2.6.0 queued");
    }
}

static void on_ehlo(struct server *server)
{
    server->has_mail = server->has_rcpt = false;
    if (disaster(server))
        return;
    if (chance(server->seed, server->greeted ? 0 : 10)) {
        say(server, 502, "5.5.2 no such thing");
        return;
    }
    server->greeted = true;
    push(&server->out, "250-mx.example\r\n", 16);
    if (server->pipelining)
        push(&server->out, "250-PIPELINING\r\n", 16);
    if (server->pipelining && server->chunking)
        push(&server->out, "250-CHUNKING\r\n", 14);
    if (server->starttls)
        push(&server->out, "250-STARTTLS\r\n", 14);
    if (server->auth)
        push(&server->out, "250-AUTH LOGIN\r\n", 16);
    push(&server->out, "250 HELP\r\n", 10);
}

static void on_starttls(struct server *server)
{
    assert_true(server->starttls);
    if (disaster(server))
        return;
    if (chance(server->seed, 10)) {
        say(server, 454, "4.7.0 not now");
        return;
    }
    server->starttls = false;
    server->phase = PHASE_HANDSHAKE;
    say(server, 220, "2.0.0 go");
    if (chance(server->seed, 30)) /* somebody in between */
        push(&server->out, "250 injected\r\n250 inje", 22);
}

/* A line of AUTH LOGIN, the first among them. */
static void on_auth(struct server *server)
{
    assert_false(server->authenticated);
    if (disaster(server))
        return;
    if (server->asked++ < 2)
        say(server, 334, "VXNlcm5hbWU6");
    else if (chance(server->seed, 20))
        say(server, chance(server->seed, 50) ? 535 : 454, "5.7.8 no");
    else {
        server->authenticated = true;
        say(server, 235, "2.7.0 welcome");
    }
}

static void on_command(struct server *server, const char *line)
{
    bool more = server->in.n + server->coming->n > 0;
    if (!server->pipelining)
        assert_false(more); /* one at a time */
    if (strcmp(line, "EHLO m1.example.com") == 0) {
        assert_false(more);
        on_ehlo(server);
    } else if (strcmp(line, "STARTTLS") == 0) {
        assert_false(more);
        on_starttls(server);
    } else if (strcmp(line, "AUTH LOGIN") == 0 || strcmp(line, "dXNlcg==") == 0 || strcmp(line, "cGFzcw==") == 0) {
        assert_false(more);
        assert_int_equal(server->asked, line[0] == 'A' ? 0 : line[0] == 'd' ? 1 : 2);
        on_auth(server);
    } else if (sscanf(line, "BDAT %u", &server->chunk_left) == 1) {
        server->last = strstr(line, " LAST");
        server->phase = PHASE_CHUNK;
    } else if (strcmp(line, "HELO m1.example.com") == 0) {
        assert_false(more);
        server->pipelining = server->starttls = server->auth = false;
        say(server, chance(server->seed, 90) ? 250 : 550, "mx.example");
    } else if (id_in(line, "MAIL FROM:<s", &server->id)) {
        on_mail(server, more);
    } else if (strncmp(line, "RCPT TO:<m", 10) == 0) {
        unsigned id = MESSAGES;
        assert_true(id_in(line, "RCPT TO:<m", &id));
        assert_int_equal(id, server->id);
        on_rcpt(server);
    } else if (strcmp(line, "DATA") == 0) {
        on_data(server);
    } else if (strcmp(line, "RSET") == 0) {
        server->has_mail = server->has_rcpt = server->out_of_step = false;
        if (!disaster(server))
            say(server, 250, "2.0.0 reset");
    } else if (strcmp(line, "QUIT") == 0) {
        assert_false(more);
        say(server, 221, "2.0.0 bye");
        server->phase = PHASE_CLOSED;
    } else {
        fail_msg("the client said '%s'", line);
    }
}

/* One line of what has come. False: there is none. */
static bool server_step(struct server *server)
{
    if (server->phase == PHASE_START) {
        assert_int_equal(server->in.n + server->coming->n, 0); /* nothing before the greeting */
        server->phase = PHASE_COMMANDS;
        if (!disaster(server))
            say(server, chance(server->seed, 95) ? 220 : 554, "mx.example ESMTP");
        return true;
    }
    if (server->phase == PHASE_CHUNK && server->in.n >= server->chunk_left) {
        char octets[LINE] = "";
        unsigned n = server->chunk_left;
        assert_true(n < sizeof octets);
        memcpy(octets, server->in.p, n);
        drop(&server->in, n);
        on_chunk(server, octets, n);
        return true;
    }
    if (server->phase != PHASE_COMMANDS && server->phase != PHASE_TEXT)
        return false;
    const char *end = memchr(server->in.p, '\n', server->in.n);
    if (!end)
        return false;
    size_t n = (size_t)(end - server->in.p);
    char line[LINE];
    assert_true(n > 0 && n < sizeof line && end[-1] == '\r'); /* no bare LF */
    memcpy(line, server->in.p, n - 1);
    line[n - 1] = 0;
    assert_null(memchr(line, '\r', n - 1)); /* no bare CR */
    drop(&server->in, n + 1);
    if (server->phase == PHASE_TEXT)
        on_text(server, line, n - 1);
    else
        on_command(server, line);
    return true;
}

#endif
