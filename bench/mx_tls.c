/* mx_tls.c - contexts for as many kinds of TLS as there are personalities, and the layer over memory that lets one
 * state machine be driven by sockets and by a simulation alike. */
#include "bench/mx_tls.h"

#include "bench/mx_certificate.h"
#include "bench/mx_private.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SESSION_LIFE_S = 24 * 3600,
    SESSIONS_KEPT = 4096, /* of a context without tickets */
};

struct context {
    struct context *next;
    struct mx_tls_settings settings; /* with the names that were chosen */
    SSL_CTX *ssl;
};

struct mx_tls {
    struct mx_authority authority;
    pthread_mutex_t mutex; /* over what follows, and what of the authority is made late */
    struct context *contexts;
    char *ca;
};

struct mx_link {
    SSL *ssl;
    BIO *in, *out; /* owned by `ssl` */
};

/* ---- contexts ---- */

/* A server mx1.big.example whose banner says mx.big.example is right as well. */
static void choose_names(const struct mx_personality *personality, char names[static MX_NAMES_MAX])
{
    const char *banner = personality->banner, *dot = strchr(banner, '.');
    if (personality->tls.names[0])
        snprintf(names, MX_NAMES_MAX, "%s", personality->tls.names);
    else if (dot && dot[1])
        snprintf(names, MX_NAMES_MAX, "%s %s *.%s", banner, dot + 1, dot + 1);
    else
        snprintf(names, MX_NAMES_MAX, "%s", banner);
}

static bool settings_equal(const struct mx_tls_settings *a, const struct mx_tls_settings *b)
{
    return a->key_kind == b->key_kind && a->issue == b->issue && a->version_min == b->version_min &&
           a->version_max == b->version_max && a->no_resumption == b->no_resumption && a->no_tickets == b->no_tickets &&
           strcmp(a->names, b->names) == 0 && strcmp(a->certificate_file, b->certificate_file) == 0 &&
           strcmp(a->key_file, b->key_file) == 0;
}

static bool load_files(SSL_CTX *ssl, const struct mx_tls_settings *settings, char *error, size_t cap)
{
    const char *key = settings->key_file[0] ? settings->key_file : settings->certificate_file;
    const char *wrong = NULL;
    if (SSL_CTX_use_certificate_chain_file(ssl, settings->certificate_file) != 1)
        wrong = settings->certificate_file;
    else if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ssl) != 1)
        wrong = key;
    if (wrong) {
        const char *reason = ERR_reason_error_string(ERR_peek_last_error());
        snprintf(error, cap, "%s: %s", wrong, reason ? reason : "cannot be used");
        ERR_clear_error();
    }
    return !wrong;
}

static void add_chain(SSL_CTX *ssl, X509 *certificate)
{
    bool added = SSL_CTX_add1_chain_cert(ssl, certificate);
    sluice_assert(added);
}

static void make_certificate(struct mx_authority *authority, SSL_CTX *ssl, const struct mx_tls_settings *settings)
{
    X509 *certificate = mx_certificate_new(authority, settings, settings->names);
    bool used = SSL_CTX_use_certificate(ssl, certificate) == 1 &&
                SSL_CTX_use_PrivateKey(ssl, mx_certificate_key(authority, settings->key_kind)) == 1;
    sluice_assert(used);
    X509_free(certificate);
    if (settings->issue == MX_ISSUE_CHAIN)
        add_chain(ssl, authority->intermediate);
    /* The CA too: who trusts it by a TLSA record alone needs to be shown it (RFC 7672 §3.1.2). */
    if (settings->issue == MX_ISSUE_STRANGER)
        add_chain(ssl, authority->stranger);
    else if (settings->issue != MX_ISSUE_SELF && settings->issue != MX_ISSUE_BROKEN)
        add_chain(ssl, authority->ca);
}

static void set_sessions(SSL_CTX *ssl, const struct mx_tls_settings *settings)
{
    static const unsigned char id[] = "sluice-sink";
    SSL_CTX_set_session_id_context(ssl, id, sizeof id - 1);
    SSL_CTX_set_timeout(ssl, SESSION_LIFE_S);
    SSL_CTX_set_session_cache_mode(ssl, settings->no_tickets && !settings->no_resumption ? SSL_SESS_CACHE_SERVER
                                                                                         : SSL_SESS_CACHE_OFF);
    SSL_CTX_sess_set_cache_size(ssl, SESSIONS_KEPT);
    if (settings->no_tickets || settings->no_resumption)
        SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
    if (settings->no_resumption)
        SSL_CTX_set_num_tickets(ssl, 0);
}

static SSL_CTX *context_new(struct mx_authority *authority, const struct mx_tls_settings *settings, char *error,
                            size_t cap)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    sluice_assert(ssl);
    bool old = settings->version_max && settings->version_max < TLS1_2_VERSION;
    if (old) { /* its digests are too weak for OpenSSL's usual level */
        SSL_CTX_set_security_level(ssl, 0);
        bool set = SSL_CTX_set_cipher_list(ssl, "ALL:@SECLEVEL=0");
        sluice_assert(set);
    }
    bool set = SSL_CTX_set_min_proto_version(ssl, settings->version_min ? settings->version_min
                                                  : old                 ? settings->version_max
                                                                        : TLS1_2_VERSION) &&
               SSL_CTX_set_max_proto_version(ssl, settings->version_max);
    sluice_assert(set);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION);
    set_sessions(ssl, settings);
    if (!settings->certificate_file[0])
        make_certificate(authority, ssl, settings);
    else if (!load_files(ssl, settings, error, cap)) {
        SSL_CTX_free(ssl);
        return NULL;
    }
    return ssl;
}

/* The one context of these settings. NULL with a sentence, which only files can be the reason for. */
static SSL_CTX *find_context(struct mx_tls *tls, const struct mx_personality *personality, char *error, size_t cap)
{
    struct mx_tls_settings settings = personality->tls;
    SSL_CTX *ssl = NULL;
    choose_names(personality, settings.names);
    pthread_mutex_lock(&tls->mutex);
    for (struct context *context = tls->contexts; context && !ssl; context = context->next)
        if (settings_equal(&context->settings, &settings))
            ssl = context->ssl;
    if (!ssl && (ssl = context_new(&tls->authority, &settings, error, cap)) != NULL) {
        struct context *context = malloc(sizeof *context);
        sluice_assert(context);
        *context = (struct context){.next = tls->contexts, .settings = settings, .ssl = ssl};
        tls->contexts = context;
    }
    pthread_mutex_unlock(&tls->mutex);
    return ssl;
}

static SSL_CTX *context_of(struct mx_tls *tls, const struct mx_personality *personality)
{
    char error[512];
    SSL_CTX *ssl = find_context(tls, personality, error, sizeof error);
    if (!ssl)
        fprintf(stderr, "%s\n", error);
    sluice_assert(ssl); /* mx_tls_prepare was there to ask */
    return ssl;
}

static char *pem_text(BIO *bio)
{
    char *from;
    long n = BIO_get_mem_data(bio, &from);
    char *text = malloc((size_t)n + 1);
    sluice_assert(text && n > 0);
    slice_copy(text, (size_t)n + 1, (struct slice){from, (size_t)n});
    BIO_free(bio);
    return text;
}

static void write_pem(BIO *bio, X509 *certificate)
{
    bool written = bio && PEM_write_bio_X509(bio, certificate);
    sluice_assert(written);
}

struct mx_tls *mx_tls_new(void)
{
    struct mx_tls *tls = calloc(1, sizeof *tls);
    sluice_assert(tls);
    mx_authority_init(&tls->authority);
    pthread_mutex_init(&tls->mutex, NULL);
    BIO *bio = BIO_new(BIO_s_mem());
    write_pem(bio, tls->authority.ca);
    tls->ca = pem_text(bio);
    return tls;
}

void mx_tls_free(struct mx_tls *tls)
{
    if (!tls)
        return;
    for (struct context *context = tls->contexts, *next; context; context = next) {
        next = context->next;
        SSL_CTX_free(context->ssl);
        free(context);
    }
    mx_authority_free(&tls->authority);
    pthread_mutex_destroy(&tls->mutex);
    free(tls->ca);
    free(tls);
}

bool mx_tls_prepare(struct mx_tls *tls, const struct mx_personality *personality, char *error, size_t cap)
{
    return find_context(tls, personality, error, cap) != NULL;
}

const char *mx_tls_ca(const struct mx_tls *tls) { return tls->ca; }

char *mx_tls_chain(struct mx_tls *tls, const struct mx_personality *personality)
{
    SSL_CTX *ssl = context_of(tls, personality);
    STACK_OF(X509) *chain = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    write_pem(bio, SSL_CTX_get0_certificate(ssl));
    SSL_CTX_get0_chain_certs(ssl, &chain);
    for (int i = 0; i < sk_X509_num(chain); i++)
        write_pem(bio, sk_X509_value(chain, i));
    return pem_text(bio);
}

void mx_tls_digest(struct mx_tls *tls, const struct mx_personality *personality, enum mx_tlsa which,
                   uint8_t digest[static 32])
{
    SSL_CTX *ssl = context_of(tls, personality);
    X509 *certificate = SSL_CTX_get0_certificate(ssl);
    unsigned n = 0;
    if (which == MX_TLSA_CA || which == MX_TLSA_CA_KEY) {
        STACK_OF(X509) *chain = NULL;
        SSL_CTX_get0_chain_certs(ssl, &chain);
        int count = sk_X509_num(chain);
        certificate = count > 0 ? sk_X509_value(chain, count - 1) : tls->authority.ca;
    }
    sluice_assert(which);
    if (which == MX_TLSA_LEAF || which == MX_TLSA_CA) {
        bool made = X509_digest(certificate, EVP_sha256(), digest, &n);
        sluice_assert(made && n == 32);
        return;
    }
    /* The whole of SubjectPublicKeyInfo, not the bits of the key alone (RFC 6698 §2.1.2). */
    unsigned char *der = NULL;
    int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    bool made = length > 0 && EVP_Digest(der, (size_t)length, digest, &n, EVP_sha256(), NULL);
    sluice_assert(made && n == 32);
    OPENSSL_free(der);
}

/* ---- one connection's layer ---- */

struct mx_link *mx_link_new(struct mx_tls *tls, const struct mx_personality *personality)
{
    sluice_assert(tls); /* mx_server.tls must be set where the personality has TLS */
    struct mx_link *link = malloc(sizeof *link);
    sluice_assert(link);
    *link = (struct mx_link){
        .ssl = SSL_new(context_of(tls, personality)), .in = BIO_new(BIO_s_mem()), .out = BIO_new(BIO_s_mem())};
    sluice_assert(link->ssl && link->in && link->out);
    SSL_set_bio(link->ssl, link->in, link->out);
    SSL_set_accept_state(link->ssl);
    return link;
}

void mx_link_free(struct mx_link *link)
{
    if (!link)
        return;
    /* Who closes without a word may come again nevertheless: OpenSSL would forget the session. */
    SSL_set_shutdown(link->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(link->ssl);
    free(link);
}

void mx_link_feed(struct mx_link *link, struct slice ciphertext)
{
    int n = BIO_write(link->in, ciphertext.p, (int)ciphertext.n);
    sluice_assert(n == (int)ciphertext.n);
}

static enum mx_link_result result_of(struct mx_link *link, int result)
{
    int error = result > 0 ? SSL_ERROR_NONE : SSL_get_error(link->ssl, result);
    ERR_clear_error();
    switch (error) {
    case SSL_ERROR_NONE:
        return MX_LINK_DONE;
    case SSL_ERROR_WANT_READ:
        return MX_LINK_MORE;
    case SSL_ERROR_ZERO_RETURN:
        return MX_LINK_OVER;
    default:
        return MX_LINK_FAILED;
    }
}

enum mx_link_result mx_link_shake(struct mx_link *link)
{
    ERR_clear_error(); /* what another library left here would be taken for ours */
    return result_of(link, SSL_do_handshake(link->ssl));
}

bool mx_link_resumed(const struct mx_link *link) { return SSL_session_reused(link->ssl); }

bool mx_link_named(const struct mx_link *link)
{
    return SSL_get_servername(link->ssl, TLSEXT_NAMETYPE_host_name) != NULL;
}

enum mx_link_result mx_link_read(struct mx_link *link, char *to, size_t cap, size_t *n)
{
    *n = 0;
    ERR_clear_error();
    return result_of(link, SSL_read_ex(link->ssl, to, cap, n));
}

void mx_link_write(struct mx_link *link, struct slice plain)
{
    ERR_clear_error();
    size_t n = 0;
    /* Memory takes everything; what fails is a layer that has failed before, and its connection is at its end. */
    if (SSL_write_ex(link->ssl, plain.p, plain.n, &n) == 1)
        sluice_assert(n == plain.n);
    ERR_clear_error();
}

void mx_link_end(struct mx_link *link)
{
    ERR_clear_error();
    (void)SSL_shutdown(link->ssl);
    ERR_clear_error();
}

size_t mx_link_take(struct mx_link *link, char *to, size_t cap)
{
    int n = BIO_read(link->out, to, cap < INT32_MAX ? (int)cap : INT32_MAX);
    return n > 0 ? (size_t)n : 0;
}
