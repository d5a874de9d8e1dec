/* mx_client.h - a TLS client over memory for the tests of bench/mx.c: OpenSSL's own, against which the judge's server
 * is judged. */
#ifndef TESTS_MX_CLIENT_H
#define TESTS_MX_CLIENT_H

#include "bench/mx_tls.h"
#include "mx_scene.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

struct tls_client {
    SSL_CTX *context;
    SSL *ssl;
    BIO *in, *out;
    SSL_SESSION *session; /* the newest ticket */
    long verified;        /* X509_V_OK, or what was wrong */
    size_t flown;         /* bytes of the server's in this connection */
};

static inline int tls_client_ticket(SSL *ssl, SSL_SESSION *session)
{
    struct tls_client *client = SSL_get_app_data(ssl);
    SSL_SESSION_free(client->session);
    client->session = session;
    return 1;
}

static inline int tls_client_any(int good, X509_STORE_CTX *store)
{
    (void)good, (void)store; /* what was wrong is asked for behind the handshake */
    return 1;
}

/* Trusts the CA that is given as PEM. */
static inline void tls_client_init(struct tls_client *client, const char *ca)
{
    *client = (struct tls_client){.context = SSL_CTX_new(TLS_client_method())};
    BIO *bio = BIO_new_mem_buf(ca, -1);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    assert_non_null(certificate);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(client->context), certificate);
    X509_free(certificate);
    BIO_free(bio);
    SSL_CTX_set_verify(client->context, SSL_VERIFY_PEER, tls_client_any);
    SSL_CTX_set_session_cache_mode(client->context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(client->context, tls_client_ticket);
}

static inline void tls_client_begin(struct tls_client *client, const char *name, bool resume)
{
    client->ssl = SSL_new(client->context);
    client->in = BIO_new(BIO_s_mem());
    client->out = BIO_new(BIO_s_mem());
    client->flown = 0;
    SSL_set_bio(client->ssl, client->in, client->out);
    SSL_set_app_data(client->ssl, client);
    SSL_set_connect_state(client->ssl);
    if (name) {
        SSL_set_tlsext_host_name(client->ssl, name);
        SSL_set1_host(client->ssl, name);
    }
    if (resume && client->session)
        SSL_set_session(client->ssl, client->session);
}

static inline void tls_client_end(struct tls_client *client)
{
    if (!client->ssl)
        return;
    SSL_set_shutdown(client->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else its session is thrown away */
    SSL_free(client->ssl);
    client->ssl = NULL;
}

static inline void tls_client_free(struct tls_client *client)
{
    SSL_SESSION_free(client->session);
    SSL_CTX_free(client->context);
}

/* Carries ciphertext to the server, in pieces of `cut` bytes, and back. */
static inline void tls_client_carry(struct tls_client *client, struct scene *s, size_t cut)
{
    char bytes[8192];
    for (int n; (n = BIO_read(client->out, bytes, (int)cut)) > 0;)
        mx_conn_input(&s->conn, s->now, (struct slice){bytes, (size_t)n});
    size_t n;
    while ((s->act = mx_conn_take(&s->conn, s->now, bytes, 97, &n)) == MX_SEND) {
        client->flown += n;
        BIO_write(client->in, bytes, (int)n);
    }
}

/* True: the handshake ended well, on this side. */
static inline bool tls_client_shake(struct tls_client *client, struct scene *s, size_t cut)
{
    for (int round = 0; round < 10; round++) {
        ERR_clear_error();
        int result = SSL_do_handshake(client->ssl);
        int error = SSL_get_error(client->ssl, result); /* asked before the memory behind it is written to */
        tls_client_carry(client, s, cut);
        if (result == 1) {
            client->verified = SSL_get_verify_result(client->ssl);
            return true;
        }
        if (error != SSL_ERROR_WANT_READ)
            break;
    }
    ERR_clear_error();
    return false;
}

/* Says a text and hears what comes back. */
static inline const char *tls_client_say(struct tls_client *client, struct scene *s, const char *text)
{
    size_t used = 0, n;
    if (*text)
        assert_int_equal(SSL_write(client->ssl, text, (int)strlen(text)), (int)strlen(text));
    tls_client_carry(client, s, 8192);
    while (SSL_read_ex(client->ssl, s->heard + used, sizeof s->heard - 1 - used, &n) == 1)
        used += n;
    ERR_clear_error();
    s->heard[used] = 0;
    return s->heard;
}

#endif
