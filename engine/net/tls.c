/* Speaks TLS for a shard's streams with OpenSSL over memory: bytes in, bytes out, and never a socket. */
#include "net/tls_private.h"

#include <openssl/err.h>
#include <stdio.h>

static const nsec KEPT_MOST = 24 * 3600 * NSEC_PER_S; /* what was checked longer ago is checked again */

/* ---- results ---- */

static void say_secured(const struct tls_link *link, struct tls_result *result)
{
    *result = (struct tls_result){.ok = true, .resumed = SSL_session_reused(link->ssl)};
    slice_copy(result->version, sizeof result->version, slice_of(SSL_get_version(link->ssl)));
    slice_copy(result->cipher, sizeof result->cipher, slice_of(SSL_get_cipher_name(link->ssl)));
}

/* A handshake failed: its session is not offered again, in case that was what the peer choked on. */
static void say_failed(struct tls_link *link, struct tls_result *result)
{
    *result = (struct tls_result){.stale = link->relied_until != 0};
    link->broken = true;
    link->tls->counts.failed++;
    tls_sessions_forget(&link->tls->sessions, link->identity);
}

void tls_link_cut(struct tls_link *link, int error, struct tls_result *result)
{
    say_failed(link, result);
    char reason[TLS_REASON];
    snprintf(reason, sizeof reason, "handshake: %s%s", error ? "the connection broke: " : "the peer closed",
             error ? strerror(-error) : "");
    tls_say(result, reason);
}

/* ---- reading ---- */

void tls_link_feed(struct tls_link *link, struct slice bytes)
{
    sluice_assert(link->ssl && link->in.n == 0);
    link->in = bytes;
    link->barren += (uint32_t)bytes.n;
}

static enum tls_step stop(struct tls_link *link, enum tls_step step)
{
    link->in = (struct slice){0};
    ERR_clear_error();
    return step;
}

/* OpenSSL wants more bytes; unless it had so many to no avail that the peer means no good. */
static bool may_wait(const struct tls_link *link, int error)
{
    return error == SSL_ERROR_WANT_READ && !link->broken && link->barren <= TLS_BARREN_BYTES;
}

static enum tls_step handshake(struct tls_link *link, struct tls_result *result)
{
    int done = SSL_do_handshake(link->ssl);
    if (done == 1) {
        link->secured = true;
        link->barren = (uint32_t)link->in.n;
        tls_verify_trim(link->ssl);
        say_secured(link, result);
        if (!result->resumed && link->low)
            tls_sessions_forget(&link->tls->sessions, link->identity);
        link->tls->counts.full += !result->resumed;
        link->tls->counts.resumed += result->resumed;
        return TLS_STEP_SECURED;
    }
    int error = SSL_get_error(link->ssl, done);
    if (may_wait(link, error))
        return stop(link, TLS_STEP_WAIT);
    bool flooded = link->broken || link->barren > TLS_BARREN_BYTES;
    say_failed(link, result);
    if (flooded && error == SSL_ERROR_WANT_READ)
        tls_say(result, "handshake: it has no end");
    else
        tls_explain(link->ssl, link->check, result);
    result->stale &= !result->certificate; /* that came of a full handshake */
    return stop(link, TLS_STEP_FAILED);
}

enum tls_step tls_link_read(struct tls_link *link, struct slice *content, struct tls_result *result)
{
    struct tls *tls = link->tls;
    size_t n;
    if (link->broken)
        return stop(link, TLS_STEP_FAILED);
    ERR_clear_error();
    if (!link->secured)
        return handshake(link, result);
    if (link->in.n == 0 && !SSL_has_pending(link->ssl)) /* to ask OpenSSL costs as much as a record */
        return stop(link, TLS_STEP_WAIT);
    int read = SSL_read_ex(link->ssl, tls->content, TLS_CONTENT, &n);
    if (read == 1) {
        link->barren = 0;
        *content = (struct slice){tls->content, n};
        return TLS_STEP_CONTENT;
    }
    int error = SSL_get_error(link->ssl, read);
    if (may_wait(link, error))
        return stop(link, TLS_STEP_WAIT);
    if (error == SSL_ERROR_ZERO_RETURN)
        return stop(link, TLS_STEP_CLOSED);
    link->broken = true;
    if (error == SSL_ERROR_SSL) /* RFC 5246 §7.2.2: a fatal alert ends the session too */
        tls_sessions_forget(&tls->sessions, link->identity);
    return stop(link, TLS_STEP_FAILED);
}

/* ---- writing ---- */

/* The next bytes that one record may hold: straight from a part that fills it or is the last, else gathered. */
static struct slice next_record(struct tls *tls, const struct slice *parts, unsigned count, size_t at, size_t most)
{
    unsigned i = 0;
    while (i < count && at >= parts[i].n)
        at -= parts[i++].n;
    if (i == count)
        return (struct slice){0};
    struct slice rest = {parts[i].p + at, parts[i].n - at};
    if (rest.n >= most || i + 1 == count)
        return (struct slice){rest.p, rest.n < most ? rest.n : most};
    size_t n = 0;
    for (;;) {
        size_t part = rest.n < most - n ? rest.n : most - n;
        if (part)
            memcpy(tls->gather + n, rest.p, part);
        n += part;
        if (n == most || ++i == count)
            return (struct slice){tls->gather, n};
        rest = parts[i];
    }
}

bool tls_link_write(struct tls_link *link, const struct slice *parts, unsigned count, size_t *at)
{
    struct tls *tls = link->tls;
    sluice_assert(!link->flying && link->secured);
    ERR_clear_error();
    for (;;) {
        if (link->broken)
            return false;
        struct slice record = next_record(tls, parts, count, *at, TLS_CONTENT);
        if (!record.n)
            return true;
        struct tls_buffer *buffer = tls_bio_buffer(link, record.n + TLS_OVERHEAD);
        if (!buffer) /* there is at least one, and it will be sent */
            buffer = tls_bio_buffer(link, TLS_OVERHEAD + 1);
        if (!buffer)
            return true;
        size_t room = sizeof buffer->bytes - buffer->n - TLS_OVERHEAD, written = 0;
        int wrote = SSL_write_ex(link->ssl, record.p, record.n < room ? record.n : room, &written);
        if (record.p == tls->gather) /* a password may be among it; 16 KiB cost a fifth of a microsecond */
            explicit_bzero(tls->gather, record.n);
        if (wrote != 1) {
            link->broken = true;
            ERR_clear_error();
            return false;
        }
        *at += written;
    }
}

void tls_link_shut(struct tls_link *link)
{
    if (!link->secured || link->broken)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(link->ssl);
    ERR_clear_error();
}

unsigned tls_link_take(struct tls_link *link, struct slice parts[IO_SEND_PARTS])
{
    _Static_assert((int)TLS_LINK_BUFFERS <= (int)IO_SEND_PARTS, "all that a connection holds is one send");
    sluice_assert(!link->flying);
    for (unsigned i = 0; i < link->count; i++)
        parts[i] = (struct slice){link->buffers[i]->bytes, link->buffers[i]->n};
    link->flying = link->count;
    return link->count;
}

static void give_buffers(struct tls_link *link, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        pool_give(&link->tls->buffers, link->buffers[i]);
    for (unsigned i = count; i < link->count; i++)
        link->buffers[i - count] = link->buffers[i];
    link->count = (uint8_t)(link->count - count);
    link->tls->extra -= link->extra;
    link->extra = 0; /* what is left, if anything, is the one that answers the peer */
    link->flying = 0;
}

void tls_link_sent(struct tls_link *link) { give_buffers(link, link->flying); }

/* ---- opening and closing ---- */

/* Called for each ticket (TLS 1.3) or at the end of a full handshake (TLS 1.2). OpenSSL gives each ticket an object of
 * its own, so that taking it over costs no copy. 1: taken over. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_link *link = SSL_get_app_data(ssl);
    struct tls *tls = link->tls;
    const unsigned char *ticket;
    size_t n;
    SSL_SESSION_get0_ticket(session, &ticket, &n);
    nsec now = io_now(tls->io), relied_until = link->relied_until, lasts = KEPT_MOST;
    unsigned long hint_s = SSL_SESSION_get_ticket_lifetime_hint(session); /* 0: unknown */
    if (hint_s && hint_s < (unsigned long)(KEPT_MOST / NSEC_PER_S))
        lasts = (nsec)hint_s * NSEC_PER_S;
    if (!SSL_session_reused(ssl))
        relied_until = now + nsec_min(KEPT_MOST, tls_verify_lasts(ssl, link->check, io_wall(tls->io)));
    /* A new session of a handshake that was kept low would keep the next ones low. */
    bool wanted = !link->low || SSL_session_reused(ssl);
    if (!wanted || n > TLS_TICKET_MOST || relied_until <= now)
        return 0;
    tls_sessions_keep(&tls->sessions, link->identity, session, now + lasts, relied_until);
    return 1;
}

static SSL_CTX *context_new(struct tls *tls, enum tls_check check, const char **why)
{
    SSL_CTX *context = SSL_CTX_new_ex(tls->library, NULL, TLS_client_method());
    *why = "no memory for TLS";
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION)) {
        SSL_CTX_free(context);
        return NULL;
    }
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    /* An idle connection holds no buffer. */
    SSL_CTX_set_mode(context,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_session);
    *why = tls_verify_context(context, check, tls->ca);
    if (!*why && tls->cert)
        *why = tls_verify_show(context, tls->cert, tls->key);
    if (!*why)
        return context;
    SSL_CTX_free(context);
    return NULL;
}

static SSL_CTX *context_of(struct tls *tls, enum tls_check check, const char **why)
{
    sluice_assert(check >= TLS_CHECK_ANY && check <= TLS_CHECK_DANE);
    *why = "no memory for TLS";
    if (!tls->library && !(tls->library = OSSL_LIB_CTX_new()))
        return NULL;
    if (!tls->bio && !(tls->bio = tls_bio_method()))
        return NULL;
    if (!tls->sha256 && !(tls->sha256 = EVP_MD_fetch(tls->library, "SHA256", NULL)))
        return NULL;
    if (!tls->digest && !(tls->digest = EVP_MD_CTX_new()))
        return NULL;
    if (!tls->contexts[check])
        tls->contexts[check] = context_new(tls, check, why);
    return tls->contexts[check];
}

static void link_add(struct tls *tls, struct tls_link *link)
{
    link->next = tls->links;
    if (link->next)
        link->next->prev = link;
    tls->links = link;
    tls->counts.connections++;
}

static void link_remove(struct tls *tls, struct tls_link *link)
{
    *(link->prev ? &link->prev->next : &tls->links) = link->next;
    if (link->next)
        link->next->prev = link->prev;
    tls->counts.connections--;
}

/* If there is none, or it cannot be offered, the handshake is a full one.
 * A copy is offered: OpenSSL marks a session of TLS 1.3 as used up once it was resumed, for the sake of people who must
 * not be followed from one connection to the next (RFC 8446 C.4). A mail server is to know us, and Postfix gives no
 * other ticket to who comes with one. */
static void offer_session(struct tls_link *link)
{
    struct tls *tls = link->tls;
    const struct tls_kept *kept = tls_sessions_find(&tls->sessions, link->identity, io_now(tls->io));
    SSL_SESSION *copy = kept ? SSL_SESSION_dup(kept->session) : NULL;
    bool offered = copy && SSL_set_session(link->ssl, copy);
    SSL_SESSION_free(copy);
    if (!offered)
        return;
    link->relied_until = kept->relied_until;
    /* To offer TLS 1.3 as well would take the making of a key that is not used, a third of such a handshake. */
    link->low = SSL_SESSION_get_protocol_version(kept->session) == TLS1_2_VERSION &&
                SSL_set_max_proto_version(link->ssl, TLS1_2_VERSION);
}

/* The SSL of the demand, with its ClientHello written; NULL: `why` says why not. */
static const char *begin(struct tls_link *link, SSL_CTX *context, const struct tls_demand *demand)
{
    struct tls *tls = link->tls;
    BIO *bio = NULL;
    link->ssl = SSL_new(context);
    if (!link->ssl || !(bio = BIO_new(tls->bio)))
        return "no memory for TLS";
    BIO_set_data(bio, link);
    SSL_set_bio(link->ssl, bio, bio);
    SSL_set_app_data(link->ssl, link);
    SSL_set_connect_state(link->ssl);
    const char *why = tls_verify_demand(link->ssl, demand, io_wall(tls->io));
    if (why)
        return why;
    if (!tls_identity(tls, demand, link->identity))
        return "no memory for TLS";
    offer_session(link);
    int done = SSL_do_handshake(link->ssl);
    return SSL_get_error(link->ssl, done) == SSL_ERROR_WANT_READ ? NULL : "the handshake cannot begin";
}

const char *tls_link_open(struct tls_link *link, struct tls *tls, const struct tls_demand *demand)
{
    const char *why;
    sluice_assert(!link->tls);
    if (tls->counts.connections == tls->connections_max)
        return "too many encrypted connections at once";
    ERR_clear_error();
    SSL_CTX *context = context_of(tls, demand->check, &why);
    if (context) {
        *link = (struct tls_link){.tls = tls, .check = demand->check};
        link_add(tls, link);
        why = begin(link, context, demand);
        if (why)
            tls_link_close(link);
    }
    ERR_clear_error();
    return why;
}

void tls_link_close(struct tls_link *link)
{
    if (!link->tls)
        return;
    sluice_assert(!link->flying);
    give_buffers(link, link->count);
    link_remove(link->tls, link);
    if (link->ssl) /* that its connection ends without close_notify is no fault of the session (RFC 8446 §6.1) */
        SSL_set_shutdown(link->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(link->ssl);
    *link = (struct tls_link){0};
}

/* ---- the shard's ---- */

static uint32_t buffers_of(const struct tls_config *config) { return 2 * config->connections_max + TLS_EXTRA_BUFFERS; }

size_t tls_bytes(const struct tls_config *config)
{
    return sizeof(struct tls) + 2 * TLS_CONTENT + pool_bytes(sizeof(struct tls_buffer), buffers_of(config)) +
           tls_sessions_bytes(config->sessions_max) + 1024;
}

struct tls *tls_open(struct arena *arena, const struct tls_config *config)
{
    struct tls *tls = arena_take(arena, sizeof *tls, 64);
    if (!tls)
        return NULL;
    *tls = (struct tls){.io = config->io,
                        .ca = config->ca,
                        .cert = config->cert,
                        .key = config->key,
                        .connections_max = config->connections_max};
    tls->content = arena_take(arena, TLS_CONTENT, 64);
    tls->gather = arena_take(arena, TLS_CONTENT, 64);
    bool had = tls->content && tls->gather && tls_sessions_open(&tls->sessions, arena, config->sessions_max) &&
               pool_open(&tls->buffers, arena, sizeof(struct tls_buffer), buffers_of(config));
    return had ? tls : NULL;
}

void tls_close(struct tls *tls)
{
    if (!tls)
        return;
    while (tls->links) {
        tls->links->flying = 0; /* the io is gone, and what it had been lent with it */
        tls_link_close(tls->links);
    }
    tls_sessions_close(&tls->sessions);
    for (size_t i = 0; i < countof(tls->contexts); i++)
        SSL_CTX_free(tls->contexts[i]);
    BIO_meth_free(tls->bio);
    EVP_MD_CTX_free(tls->digest);
    EVP_MD_free(tls->sha256);
    OSSL_LIB_CTX_free(tls->library);
}

struct tls_counts tls_counts(const struct tls *tls)
{
    struct tls_counts counts = tls->counts;
    counts.buffers = pool_in_use(&tls->buffers);
    counts.sessions = tls->sessions.count;
    return counts;
}
