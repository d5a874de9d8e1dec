/* sim_mx.c - carries bytes between the world's pipes and bench/mx.c, for as many providers as a story needs. */
#include "sim_mx.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BACKLOG = 1024, SESSIONS_MAX = 1024, REPLIES_A_SEND = 1024, ADDRESS_TTL_S = 3600 };

static const nsec LINGER = 2 * NSEC_PER_S; /* how long a client may take to close behind our FIN */

struct sim_session {
    struct sim_session *next, **link; /* of its exchanger */
    struct sim_exchanger *exchanger;
    struct mx_conn mx;
    struct io_recv recv;
    struct io_send send;
    struct io_timer timer;
    int fd;
    bool ended, lingering, closing, reset;
    char out[REPLIES_A_SEND];
};

static struct sim_mail *mail_of(const struct sim_session *session) { return session->exchanger->isp->mail; }
static struct io *io_of(const struct sim_session *session) { return session->exchanger->io; }

struct mx_ip sim_mx_ip(const struct io_address *address)
{
    struct mx_ip ip = {{0}};
    if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)&address->storage;
        memcpy(ip.b, &in6->sin6_addr, sizeof ip.b);
    } else {
        const struct sockaddr_in *in = (const void *)&address->storage;
        uint32_t v4 = ntohl(in->sin_addr.s_addr);
        ip = mx_ip_v4((uint8_t)(v4 >> 24), (uint8_t)(v4 >> 16), (uint8_t)(v4 >> 8), (uint8_t)v4);
    }
    return ip;
}

/* ---- one session ---- */

static void session_drop(struct sim_session *session)
{
    mx_conn_close(&session->mx);
    *session->link = session->next;
    if (session->next)
        session->next->link = session->link;
    free(session);
}

static void session_settle(struct sim_session *session)
{
    struct io *io = io_of(session);
    if (io_op_busy(&session->recv.op) || io_op_busy(&session->send.op))
        return;
    io_timer_clear(io, &session->timer);
    if (session->reset)
        sim_reset(io, session->fd);
    else
        io_close(io, session->fd);
    session_drop(session);
}

static void session_close(struct sim_session *session, bool reset)
{
    session->closing = true;
    session->reset = reset;
    io_cancel(io_of(session), &session->recv.op);
    io_cancel(io_of(session), &session->send.op);
    session_settle(session);
}

static void session_linger(struct sim_session *session)
{
    if (session->ended) {
        session_close(session, false);
        return;
    }
    session->lingering = true;
    io_shutdown(io_of(session), session->fd);
    io_timer_set(io_of(session), &session->timer, io_now(io_of(session)) + LINGER);
}

/* Does what the exchanger wants done now. Called in callbacks, and last in them: the session may be gone behind it. */
static void session_go_on(struct sim_session *session)
{
    struct io *io = io_of(session);
    size_t n = 0;
    if (session->closing) {
        session_settle(session);
        return;
    }
    if (session->lingering) {
        if (session->ended)
            session_close(session, false);
        return;
    }
    if (io_op_busy(&session->send.op))
        return;
    switch (mx_conn_take(&session->mx, io_now(io), session->out, sizeof session->out, &n)) {
    case MX_SEND:
        io_send(io, &session->send, session->fd, &(struct slice){session->out, n}, 1);
        return;
    case MX_CLOSE:
        session_linger(session);
        return;
    case MX_RESET:
        session_close(session, true);
        return;
    case MX_WAIT:
        break;
    }
    if (session->ended) {
        session_close(session, false);
        return;
    }
    nsec due = mx_conn_due(&session->mx);
    if (due == NSEC_NEVER)
        io_timer_clear(io, &session->timer);
    else
        io_timer_set(io, &session->timer, due);
}

static void on_timer(struct io_timer *timer)
{
    struct sim_session *session = container_of(timer, struct sim_session, timer);
    if (session->lingering)
        session_close(session, false);
    else
        session_go_on(session);
}

/* What came is digested in the pieces in which the client handed it over, so that each start is known to its instant.
 */
static void on_bytes(struct io_recv *recv, struct slice bytes)
{
    struct sim_session *session = container_of(recv, struct sim_session, recv);
    struct mx_ledger *ledger = &mail_of(session)->ledger;
    for (size_t at = 0, run; at < bytes.n && !session->lingering && !session->closing; at += run) {
        nsec sent_at = sim_sent_at(io_of(session), session->fd, at, &run);
        size_t start = ledger->start_count;
        run = run < bytes.n - at ? run : bytes.n - at;
        mx_conn_input(&session->mx, io_now(io_of(session)), (struct slice){bytes.p + at, run});
        for (; start < ledger->start_count; start++)
            ledger->starts[start].at = sent_at;
    }
    session_go_on(session);
}

static void on_ended(struct io_op *op, int result)
{
    struct sim_session *session = container_of(op, struct sim_session, recv.op);
    (void)result;
    session->ended = true;
    session_go_on(session);
}

static void on_sent(struct io_op *op, int result)
{
    struct sim_session *session = container_of(op, struct sim_session, send.op);
    if (result < 0 && !session->closing)
        session_close(session, false);
    else
        session_go_on(session);
}

/* ---- one exchanger ---- */

static void on_accept_over(struct io_op *op, int result) { (void)op, (void)result; }

static void on_accepted(struct sim_exchanger *exchanger, int fd)
{
    struct sim_session *session = calloc(1, sizeof *session);
    struct io_address peer;
    bool known = io_peer(exchanger->io, fd, &peer, NULL);
    sluice_assert(session && known);
    session->exchanger = exchanger;
    session->fd = fd;
    session->recv.op.done = on_ended;
    session->recv.bytes = on_bytes;
    session->send.op.done = on_sent;
    session->timer.fire = on_timer;
    session->next = exchanger->sessions;
    session->link = &exchanger->sessions;
    if (session->next)
        session->next->link = &session->next;
    exchanger->sessions = session;
    struct mx_ip ip = sim_mx_ip(&peer);
    mx_conn_open(&session->mx, &exchanger->isp->server, io_now(exchanger->io), &ip);
    io_recv(exchanger->io, &session->recv, fd);
    session_go_on(session);
}

static void on_accepted_v4(struct io_accept *accept, int fd)
{
    on_accepted(container_of(accept, struct sim_exchanger, accept[0]), fd);
}

static void on_accepted_v6(struct io_accept *accept, int fd)
{
    on_accepted(container_of(accept, struct sim_exchanger, accept[1]), fd);
}

static struct io *io_had(struct io_group *group)
{
    char error[256];
    struct io *io = io_open(&(struct io_config){.group = group, .sessions_max = SESSIONS_MAX}, error, sizeof error);
    sluice_assert(io);
    return io;
}

void sim_isp_start(struct sim_isp *isp, unsigned which)
{
    struct sim_exchanger *exchanger = &isp->exchangers[which];
    sluice_assert(which < isp->exchanger_count && !exchanger->io);
    exchanger->io = io_had(exchanger->group);
    for (unsigned i = 0; i < 2; i++) {
        if (!exchanger->at[i].length)
            continue;
        int fd = io_listen(exchanger->io, &exchanger->at[i], BACKLOG, false);
        sluice_assert(fd >= 0);
        exchanger->accept[i] =
            (struct io_accept){.op.done = on_accept_over, .accepted = i ? on_accepted_v6 : on_accepted_v4};
        io_accept(exchanger->io, &exchanger->accept[i], fd);
    }
    sim_serve(exchanger->io);
}

void sim_isp_stop(struct sim_isp *isp, unsigned which)
{
    struct sim_exchanger *exchanger = &isp->exchangers[which];
    sluice_assert(which < isp->exchanger_count && exchanger->io);
    sim_crash(exchanger->io);
    exchanger->io = NULL;
    while (exchanger->sessions)
        session_drop(exchanger->sessions);
}

/* ---- TLS ---- */

struct mx_tls *sim_mail_tls(struct sim_mail *mail)
{
    if (!mail->tls)
        mail->tls = mx_tls_new();
    return mail->tls;
}

void sim_mail_lend_tls(struct sim_mail *mail, struct mx_tls *tls)
{
    sluice_assert(!mail->tls);
    mail->tls = tls;
    mail->tls_borrowed = true;
}

static void behave(struct sim_isp *isp, const struct mx_personality *personality)
{
    isp->personality = *personality;
    isp->personality.tls.no_tickets = true; /* their lengths vary from run to run, as ECDSA's signatures do */
    sluice_assert(personality->tls.key_kind == MX_KEY_RSA);
    if (personality->starttls || personality->tls_implicit)
        isp->server.tls = sim_mail_tls(isp->mail);
}

/* ---- one provider ---- */

/* 100.64.0.0/10 (RFC 6598) and 2001:db8::/32 (RFC 3849) are nobody's. */
static void exchanger_init(struct sim_isp *isp, unsigned which, bool ipv6)
{
    struct sim_mail *mail = isp->mail;
    struct sim_exchanger *exchanger = &isp->exchangers[which];
    char text[64];
    exchanger->isp = isp;
    snprintf(exchanger->name, sizeof exchanger->name, "mx%u.%.50s", which + 1, isp->name);
    exchanger->host = sim_host_new(mail->world, exchanger->name);
    exchanger->group = sim_process(exchanger->host, 1);
    for (unsigned i = 0; i < (ipv6 ? 2 : 1); i++) {
        snprintf(text, sizeof text, i ? "2001:db8:%x::%x" : "100.64.%u.%u", isp->number, which + 1);
        sim_host_address(exchanger->host, text);
        sim_zone_address(mail->world, exchanger->name, ADDRESS_TTL_S, text);
        bool parsed = io_address_parse(&exchanger->at[i], text, mail->port);
        sluice_assert(parsed);
    }
    sim_isp_start(isp, which);
}

struct sim_isp *sim_isp_new(struct sim_mail *mail, const char *name, const struct mx_personality *personality,
                            unsigned exchangers, bool ipv6)
{
    struct sim_isp *isp = calloc(1, sizeof *isp);
    sluice_assert(isp && exchangers && exchangers <= SIM_ISP_HOSTS && mail->isp_count < SIM_ISPS);
    isp->mail = mail;
    isp->number = ++mail->isp_count;
    isp->next = mail->isps;
    mail->isps = isp;
    snprintf(isp->name, sizeof isp->name, "%s", name);
    mx_server_init(&isp->server, &isp->personality, &mail->ledger, sim_random(mail->world));
    behave(isp, personality);
    isp->exchanger_count = exchangers;
    for (unsigned i = 0; i < exchangers; i++)
        exchanger_init(isp, i, ipv6);
    return isp;
}

void sim_isp_domain(struct sim_isp *isp, const char *domain, uint32_t ttl_s, unsigned best)
{
    for (unsigned i = 0; i < isp->exchanger_count; i++)
        sim_zone_mx(isp->mail->world, domain, ttl_s, i < best ? 10 : 20, isp->exchangers[i].name);
}

struct sim_isp *sim_isp_plain(struct sim_mail *mail, const char *name, nsec body, unsigned exchangers)
{
    struct mx_personality personality;
    mx_personality_init(&personality, name);
    personality.latency[MX_BODY] = (struct mx_latency){body, 0};
    struct sim_isp *isp = sim_isp_new(mail, name, &personality, exchangers, false);
    sim_isp_domain(isp, name, 300, exchangers);
    return isp;
}

static void mood_comes(struct io_timer *timer)
{
    struct sim_mood *mood = container_of(timer, struct sim_mood, timer);
    behave(mood->isp, &mood->personality);
    memset(mood->isp->server.hits, 0, sizeof mood->isp->server.hits);
    memset(mood->isp->server.passed, 0, sizeof mood->isp->server.passed);
}

void sim_isp_mood(struct sim_isp *isp, nsec at, const struct mx_personality *personality)
{
    struct sim_mood *mood = calloc(1, sizeof *mood);
    sluice_assert(mood && isp->mood_count < SIM_ISP_MOODS);
    *mood = (struct sim_mood){.isp = isp, .timer.fire = mood_comes, .personality = *personality};
    isp->moods[isp->mood_count++] = mood;
    if (at <= sim_now(isp->mail->world))
        mood_comes(&mood->timer);
    else
        io_timer_set(isp->mail->director, &mood->timer, at);
}

struct sim_isp *sim_isp_find(struct sim_mail *mail, const char *name)
{
    struct sim_isp *isp = mail->isps;
    while (isp && strcmp(isp->name, name) != 0)
        isp = isp->next;
    return isp;
}

/* ---- all of them ---- */

static struct sim_isp *isp_at(struct sim_mail *mail, const struct io_address *address)
{
    struct sim_host *host = sim_host_at(mail->world, address);
    for (struct sim_isp *isp = mail->isps; isp; isp = isp->next)
        for (unsigned i = 0; i < isp->exchanger_count; i++)
            if (isp->exchangers[i].host == host)
                return isp;
    return NULL;
}

static struct sim_caller *caller_of(struct sim_isp *isp, const struct mx_ip *ip)
{
    for (unsigned i = 0; i < isp->caller_count; i++)
        if (memcmp(&isp->callers[i].ip, ip, sizeof *ip) == 0)
            return &isp->callers[i];
    isp->callers = realloc(isp->callers, (isp->caller_count + 1) * sizeof *isp->callers);
    sluice_assert(isp->callers);
    isp->callers[isp->caller_count] = (struct sim_caller){.ip = *ip};
    return &isp->callers[isp->caller_count++];
}

static void on_connection(void *context, const struct io_address *client, const struct io_address *server, bool open)
{
    struct sim_mail *mail = context;
    struct sim_isp *isp = server->storage.ss_family == AF_UNIX ? NULL : isp_at(mail, server);
    if (!isp)
        return;
    struct mx_ip ip = sim_mx_ip(client);
    struct sim_caller *caller = caller_of(isp, &ip);
    if (open) {
        caller->begun = realloc(caller->begun, (caller->connections + 1) * sizeof *caller->begun);
        sluice_assert(caller->begun);
        caller->begun[caller->connections++] = sim_now(isp->mail->world);
    }
    isp->open = open ? isp->open + 1 : isp->open - 1;
    isp->peak = isp->open > isp->peak ? isp->open : isp->peak;
    caller->open = open ? caller->open + 1 : caller->open - 1;
    caller->peak = caller->open > caller->peak ? caller->open : caller->peak;
}

struct sim_mail *sim_mail_new(struct sim_world *world, uint16_t port)
{
    struct sim_mail *mail = calloc(1, sizeof *mail);
    sluice_assert(mail);
    mail->world = world;
    mail->port = port;
    mx_ledger_init(&mail->ledger);
    mail->ledger.keep_starts = true;
    mail->director_host = sim_host_new(world, "director");
    mail->director = io_had(sim_process(mail->director_host, 1));
    sim_serve(mail->director);
    sim_watch(world, on_connection, mail);
    return mail;
}

void sim_mail_free(struct sim_mail *mail)
{
    sim_watch(mail->world, NULL, NULL);
    io_close_all(mail->director);
    for (struct sim_isp *isp = mail->isps, *next; isp; isp = next) {
        next = isp->next;
        for (unsigned i = 0; i < isp->exchanger_count; i++)
            if (isp->exchangers[i].io)
                sim_isp_stop(isp, i);
        for (unsigned i = 0; i < isp->mood_count; i++)
            free(isp->moods[i]);
        mx_server_free(&isp->server);
        for (unsigned i = 0; i < isp->caller_count; i++)
            free(isp->callers[i].begun);
        free(isp->callers);
        free(isp);
    }
    mx_ledger_free(&mail->ledger);
    if (!mail->tls_borrowed)
        mx_tls_free(mail->tls);
    free(mail);
}
