/* mx_auth.c - AUTH (RFC 4954) with the three mechanisms that relays ask for, because credentials are what a client may
 * least of all send to the wrong place. */
#include "bench/mx_private.h"

#include <stdio.h>
#include <string.h>

enum auth_step {
    AUTH_IDLE = 0,
    AUTH_PLAIN,     /* RFC 4616 */
    AUTH_USER,      /* LOGIN: draft-murchison-sasl-login */
    AUTH_PASSWORD,  /* the same */
    AUTH_XOAUTH2,   /* Google's and Microsoft's: user and bearer token at once */
    AUTH_XOAUTH2_NO /* the error was told; the client's empty line is awaited */
};

static const struct mechanism {
    struct slice name;
    unsigned bit;
    enum auth_step step;
    const char *challenge; /* when it came without an initial response */
} mechanisms[] = {
    {{"PLAIN", 5}, MX_AUTH_PLAIN, AUTH_PLAIN, "334 "},
    {{"LOGIN", 5}, MX_AUTH_LOGIN, AUTH_USER, "334 VXNlcm5hbWU6"},
    {{"XOAUTH2", 7}, MX_AUTH_XOAUTH2, AUTH_XOAUTH2, "334 "},
};

size_t mx_auth_offer(unsigned offered, char *to, size_t cap)
{
    size_t n = 0;
    to[0] = 0;
    for (size_t i = 0; i < countof(mechanisms); i++)
        if (offered & mechanisms[i].bit)
            n += (size_t)snprintf(to + n, cap - n, " %s", mechanisms[i].name.p);
    return n;
}

/* Every answer ends a group of commands: the client has to see it before it speaks on (RFC 4954 §4). */
static void say(struct mx_conn *conn, nsec now, const char *text)
{
    mx_out_reply(conn, now, MX_AUTH, text);
    conn->last_reply = conn->replies_made;
}

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* RFC 4648 §4, with all of its padding. `to` has room for three quarters of the text. */
static bool base64_decode(struct slice text, char *to, size_t *n)
{
    *n = 0;
    if (text.n % 4)
        return false;
    for (size_t i = 0; i < text.n; i += 4) {
        bool last = i + 4 == text.n;
        unsigned pad = last ? (text.p[i + 3] == '=') + (text.p[i + 3] == '=' && text.p[i + 2] == '=') : 0;
        uint32_t bits = 0;
        for (unsigned j = 0; j < 4; j++) {
            int value = j >= 4 - pad ? 0 : base64_value(text.p[i + j]);
            if (value < 0)
                return false;
            bits = bits << 6 | (uint32_t)value;
        }
        for (unsigned j = 0; j < 3 - pad; j++)
            to[(*n)++] = (char)(bits >> (16 - 8 * j));
    }
    return true;
}

static bool account_is(const struct mx_conn *conn, struct slice user, struct slice secret)
{
    const struct mx_personality *personality = conn->server->personality;
    for (unsigned i = 0; i < personality->account_count; i++)
        if (slice_equal(user, slice_of(personality->accounts[i].user)) &&
            slice_equal(secret, slice_of(personality->accounts[i].secret)))
            return true;
    return false;
}

static void decide(struct mx_conn *conn, nsec now, struct slice user, struct slice secret)
{
    struct mx_server *server = conn->server;
    bool bearer = conn->auth_step == AUTH_XOAUTH2;
    conn->auth_step = AUTH_IDLE;
    if (!account_is(conn, user, secret)) {
        server->logins_refused++;
        if (bearer)
            conn->auth_step = AUTH_XOAUTH2_NO;
        /* {"status":"400","schemes":"bearer","scope":"mail"}, and a 535 when it has been taken note of. */
        say(conn, now,
            bearer ? "334 eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiYmVhcmVyIiwic2NvcGUiOiJtYWlsIn0="
                   : "535 5.7.8 credentials are wrong");
        return;
    }
    conn->authenticated = mx_answer(conn, now, MX_AUTH, user, "235 2.7.0 welcome", NULL);
    conn->last_reply = conn->replies_made;
    if (conn->authenticated)
        server->logins++;
    else
        server->logins_refused++;
}

static bool take_until(struct slice *s, char end, struct slice *part)
{
    const char *at = s->n ? memchr(s->p, end, s->n) : NULL;
    if (!at)
        return false;
    *part = (struct slice){s->p, (size_t)(at - s->p)};
    *s = (struct slice){at + 1, s->n - part->n - 1};
    return true;
}

/* [authorization] NUL user NUL password (RFC 4616 §2) */
static bool read_plain(struct slice said, struct slice *user, struct slice *secret)
{
    struct slice other;
    if (!take_until(&said, 0, &other) || !take_until(&said, 0, user))
        return false;
    *secret = said;
    return user->n > 0 && (other.n == 0 || slice_equal(other, *user));
}

/* "user=" user ^A "auth=Bearer " token ^A ^A */
static bool read_xoauth2(struct slice said, struct slice *user, struct slice *secret)
{
    return mx_take_prefix(&said, SLICE("user=")) && take_until(&said, 1, user) &&
           mx_take_prefix(&said, SLICE("auth=Bearer ")) && take_until(&said, 1, secret) &&
           slice_equal(said, SLICE("\1"));
}

/* A response, or an initial one. */
static void respond(struct mx_conn *conn, nsec now, struct slice text)
{
    char decoded[MX_AUTH_LINE_MAX];
    struct slice said = {decoded, 0}, user = {0}, secret = {0};
    if (text.n > sizeof decoded || !base64_decode(text, decoded, &said.n)) {
        conn->auth_step = AUTH_IDLE;
        mx_violation(conn, MX_SYNTAX, SLICE("a response of AUTH that is no base64"));
        say(conn, now, "501 5.5.2 this is no base64");
        return;
    }
    bool good = true;
    switch ((enum auth_step)conn->auth_step) {
    case AUTH_PLAIN:
        good = read_plain(said, &user, &secret);
        break;
    case AUTH_XOAUTH2:
        good = read_xoauth2(said, &user, &secret);
        break;
    case AUTH_USER:
        slice_copy(conn->user, sizeof conn->user, said);
        conn->auth_step = AUTH_PASSWORD;
        say(conn, now, "334 UGFzc3dvcmQ6");
        return;
    case AUTH_PASSWORD:
        user = slice_of(conn->user);
        secret = said;
        break;
    case AUTH_IDLE:
    case AUTH_XOAUTH2_NO:
        sluice_assert(false);
    }
    if (good) {
        decide(conn, now, user, secret);
        return;
    }
    conn->auth_step = AUTH_IDLE;
    mx_violation(conn, MX_SYNTAX, SLICE("a response of AUTH in the wrong form"));
    say(conn, now, "501 5.5.2 this is no response of that mechanism");
}

void mx_auth_line(struct mx_conn *conn, nsec now, struct slice text)
{
    if (conn->auth_step == AUTH_XOAUTH2_NO) {
        if (text.n && !slice_equal(text, SLICE("*")))
            mx_violation(conn, MX_SYNTAX, SLICE("more than an empty line behind XOAUTH2's error"));
        conn->auth_step = AUTH_IDLE;
        say(conn, now, "535 5.7.8 the token is not accepted");
    } else if (slice_equal(text, SLICE("*"))) {
        conn->auth_step = AUTH_IDLE;
        say(conn, now, "501 5.7.0 cancelled"); /* RFC 4954 §4 */
    } else {
        respond(conn, now, text);
    }
}

void mx_auth_command(struct mx_conn *conn, nsec now, struct slice argument)
{
    const struct mx_personality *personality = conn->server->personality;
    struct slice name = mx_take_word(&argument);
    if (!conn->secure && !personality->auth_plain_text) {
        mx_violation(conn, MX_AUTH_UNPROTECTED, name);
        say(conn, now, "538 5.7.11 not without TLS");
        return;
    }
    if (conn->state != MX_READY || conn->authenticated || !conn->auth) {
        mx_violation(conn, MX_SEQUENCE, SLICE("AUTH before EHLO offered it, a second time, or in a transaction"));
        say(conn, now, "503 5.5.1 not now");
        return;
    }
    for (size_t i = 0; i < countof(mechanisms); i++) {
        const struct mechanism *mechanism = &mechanisms[i];
        if (!(personality->auth & mechanism->bit) || !slice_equal_nocase(name, mechanism->name))
            continue;
        conn->auth_step = (uint8_t)mechanism->step;
        if (argument.n == 0)
            say(conn, now, mechanism->challenge);
        else
            respond(conn, now, slice_equal(argument, SLICE("=")) ? (struct slice){argument.p, 0} : argument);
        return;
    }
    say(conn, now, "504 5.5.4 no such mechanism");
}
