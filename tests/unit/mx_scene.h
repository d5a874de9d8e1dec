/* mx_scene.h - one server of bench/mx.c and one connection to it, on a clock of the test's own. */
#ifndef TESTS_MX_SCENE_H
#define TESTS_MX_SCENE_H

#include "bench/mx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct scene {
    struct mx_personality personality;
    struct mx_ledger ledger;
    struct mx_server server;
    struct mx_conn conn;
    struct mx_ip ip;
    nsec now;
    enum mx_act act; /* of the last take */
    char heard[16384];
};

static inline void begin(struct scene *s)
{
    memset(s, 0, sizeof *s);
    mx_personality_init(&s->personality, "test");
    mx_ledger_init(&s->ledger);
    s->ledger.keep_starts = true;
    s->ip = mx_ip_v4(127, 0, 1, 1);
    mx_server_init(&s->server, &s->personality, &s->ledger, 42);
}

static inline void end(struct scene *s)
{
    mx_server_free(&s->server);
    mx_ledger_free(&s->ledger);
}

/* All that the server says up to now. */
static inline const char *hear(struct scene *s)
{
    size_t used = 0, n;
    while ((s->act = mx_conn_take(&s->conn, s->now, s->heard + used, 7, &n)) == MX_SEND)
        used += n;
    s->heard[used] = 0;
    return s->heard;
}

static inline const char *say(struct scene *s, const char *text)
{
    mx_conn_input(&s->conn, s->now, slice_of(text));
    return hear(s);
}

static inline void meet(struct scene *s)
{
    mx_conn_open(&s->conn, &s->server, s->now, &s->ip);
    assert_string_equal(hear(s), "220 mx.test ESMTP\r\n");
}

static inline void meet_politely(struct scene *s)
{
    meet(s);
    assert_int_equal(strncmp(say(s, "EHLO me.example\r\n"), "250", 3), 0);
}

/* The connection is closed with nothing said amiss. */
static inline void part(struct scene *s, uint64_t violations)
{
    mx_conn_close(&s->conn);
    if (s->ledger.violation_total != violations)
        fail_msg("%llu violations, the first: %s", (unsigned long long)s->ledger.violation_total,
                 s->ledger.first_violation);
    assert_int_equal(s->server.open, 0);
    assert_int_equal(s->server.admitted, 0);
    end(s);
}

#define ENVELOPE "MAIL FROM:<a@b.example>|RCPT TO:<c@d.example>|DATA|"

/* Says a script in which '|' stands for CRLF and a pause until the server has answered. */
static inline void perform(struct scene *s, const char *script)
{
    for (const char *p = script; *p;) {
        size_t n = strcspn(p, "|");
        mx_conn_input(&s->conn, s->now, (struct slice){p, n});
        p += n;
        if (*p == '|') {
            mx_conn_input(&s->conn, s->now, SLICE("\r\n"));
            hear(s);
            p++;
        } else {
            hear(s);
        }
    }
}

#endif
