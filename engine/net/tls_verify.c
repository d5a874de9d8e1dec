/* Turns what a demand asks of the peer's certificate into OpenSSL's terms, and OpenSSL's refusal into people's. */
#include "net/tls_private.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

/* ---- which demands are equal ---- */

static bool hash_bytes(struct tls *tls, const void *bytes, size_t n)
{
    uint64_t length = n; /* before the bytes, so that no two rows of fields look alike */
    return EVP_DigestUpdate(tls->digest, &length, sizeof length) && (n == 0 || EVP_DigestUpdate(tls->digest, bytes, n));
}

static bool hash_number(struct tls *tls, uint64_t number) { return hash_bytes(tls, &number, sizeof number); }

static bool hash_text(struct tls *tls, const char *text)
{
    struct slice s = slice_of(text);
    return hash_bytes(tls, s.p, s.n);
}

bool tls_identity(struct tls *tls, const struct tls_demand *demand, uint8_t identity[32])
{
    bool ok = EVP_DigestInit_ex2(tls->digest, tls->sha256, NULL) && hash_number(tls, demand->check) &&
              hash_number(tls, demand->key) && hash_text(tls, demand->server_name) &&
              hash_number(tls, demand->name_count);
    for (unsigned i = 0; ok && i < demand->name_count; i++)
        ok = hash_text(tls, demand->names[i]);
    ok = ok && hash_number(tls, demand->tlsa_count);
    for (unsigned i = 0; ok && i < demand->tlsa_count; i++) {
        const struct tls_tlsa *tlsa = &demand->tlsa[i];
        ok = hash_number(tls, tlsa->usage) && hash_number(tls, tlsa->selector) && hash_number(tls, tlsa->matching) &&
             hash_bytes(tls, tlsa->data.p, tlsa->data.n);
    }
    return ok && EVP_DigestFinal_ex(tls->digest, identity, NULL);
}

/* ---- what is asked ---- */

/* Data in full is a certificate or a key; one that OpenSSL cannot read could never match. */
static bool is_whole(const struct tls_tlsa *tlsa)
{
    const unsigned char *at = (const unsigned char *)tlsa->data.p, *end = at + tlsa->data.n;
    bool whole;
    if (tlsa->selector == 0) {
        X509 *certificate = d2i_X509(NULL, &at, (long)tlsa->data.n);
        whole = certificate && at == end;
        X509_free(certificate);
    } else {
        EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)tlsa->data.n);
        whole = key && at == end;
        EVP_PKEY_free(key);
    }
    ERR_clear_error();
    return whole;
}

bool tls_tlsa_usable(const struct tls_tlsa *tlsa)
{
    if ((tlsa->usage != 2 && tlsa->usage != 3) || tlsa->selector > 1)
        return false;
    switch (tlsa->matching) { /* RFC 6698 §2.1.3 */
    case 0:
        return tlsa->data.n > 0 && tlsa->data.n <= UINT16_MAX && is_whole(tlsa);
    case 1:
        return tlsa->data.n == 32;
    case 2:
        return tlsa->data.n == 64;
    default:
        return false;
    }
}

static const char *add_records(SSL *ssl, const struct tls_demand *demand)
{
    unsigned added = 0;
    SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS); /* RFC 7672 §3.1.1 */
    for (unsigned i = 0; i < demand->tlsa_count; i++) {
        const struct tls_tlsa *tlsa = &demand->tlsa[i];
        sluice_assert(tlsa->usage == 2 || tlsa->usage == 3); /* RFC 7672 §3.1.3, and tls_tlsa_usable */
        added += SSL_dane_tlsa_add(ssl, tlsa->usage, tlsa->selector, tlsa->matching, (const uint8_t *)tlsa->data.p,
                                   tlsa->data.n) == 1;
    }
    /* Without any, OpenSSL would check as if there were no DANE. */
    return added ? NULL : "no TLSA record can be used";
}

const char *tls_verify_demand(SSL *ssl, const struct tls_demand *demand, nsec wall)
{
    struct io_address address;
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    bool verified = demand->check != TLS_CHECK_ANY;
    sluice_assert(!verified || demand->name_count);
    sluice_assert(demand->name_count <= TLS_NAMES && demand->tlsa_count <= TLS_TLSA_RECORDS);
    /* RFC 6066 §3: literal addresses are not permitted. */
    if (demand->server_name && demand->server_name[0] && !io_address_parse(&address, demand->server_name, 0) &&
        !SSL_set_tlsext_host_name(ssl, demand->server_name))
        return "the server's name does not fit in TLS";
    if (!verified)
        return NULL;
    if (demand->check == TLS_CHECK_DANE && SSL_dane_enable(ssl, demand->names[0]) <= 0)
        return "DANE cannot be had";
    X509_VERIFY_PARAM_set_time(param, (time_t)(wall / NSEC_PER_S));
    /* RFC 9525 §6.3: a wildcard is a whole label. §2: the subject's common name says nothing any more; DANE-TA goes by
     * it where there is no alternative name (RFC 7672 §3.2.3). */
    X509_VERIFY_PARAM_set_hostflags(param,
                                    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                        (demand->check == TLS_CHECK_PKIX ? X509_CHECK_FLAG_NEVER_CHECK_SUBJECT : 0));
    if (!SSL_set1_host(ssl, demand->names[0]))
        return "no memory for a name to check";
    for (unsigned i = 1; i < demand->name_count; i++)
        if (!SSL_add1_host(ssl, demand->names[i]))
            return "no memory for a name to check";
    return demand->check == TLS_CHECK_DANE ? add_records(ssl, demand) : NULL;
}

/* OpenSSL would keep the chain that it has built for as long as the connection lasts. */
static int check_chain(X509_STORE_CTX *store, void *context)
{
    int result = X509_verify_cert(store);
    (void)context;
    X509_STORE_CTX_set0_verified_chain(store, NULL);
    return result;
}

static int accept_any(X509_STORE_CTX *store, void *context)
{
    (void)context;
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

const char *tls_verify_context(SSL_CTX *context, enum tls_check check, const char *ca)
{
    if (check == TLS_CHECK_ANY) {
        /* SSL_VERIFY_NONE alone would still build the chain. What would be too weak to trust is better than nothing
         * (RFC 7435 §3), and nobody trusts it. */
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
        SSL_CTX_set_cert_verify_callback(context, accept_any, NULL);
        SSL_CTX_set_security_level(context, 1);
        return NULL;
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(context, check_chain, NULL);
    if (check == TLS_CHECK_DANE)
        return SSL_CTX_dane_enable(context) > 0 ? NULL : "DANE cannot be had";
    if (ca && ca[0])
        return SSL_CTX_load_verify_file(context, ca) == 1 ? NULL : "the file of trusted certificates cannot be read";
    return SSL_CTX_set_default_verify_paths(context) == 1 ? NULL : "the system's trusted certificates cannot be read";
}

bool tls_ca_usable(const char *what, const char *ca, char *error, size_t error_cap)
{
    X509_STORE *store = X509_STORE_new();
    bool usable = store && X509_STORE_load_file(store, ca) == 1;
    X509_STORE_free(store);
    if (!usable)
        snprintf(error, error_cap, "%s: %s holds no certificate that can be read, in PEM", what, ca);
    ERR_clear_error();
    return usable;
}

const char *tls_verify_show(SSL_CTX *context, const char *cert, const char *key)
{
    if (SSL_CTX_use_certificate_chain_file(context, cert) != 1)
        return "holds no certificate that can be read, in PEM";
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        return "has no key that can be read, in PEM and without a password, or one of another certificate";
    return NULL;
}

bool tls_cert_usable(const char *what, const char *cert, const char *key, char *error, size_t error_cap)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    const char *why = context ? tls_verify_show(context, cert, key) : "cannot be looked at: no memory";
    SSL_CTX_free(context);
    if (why)
        snprintf(error, error_cap, "%s: %s %s", what, cert, why);
    ERR_clear_error();
    return !why;
}

void tls_verify_trim(const SSL *ssl)
{
    STACK_OF(X509) *sent = SSL_get_peer_cert_chain(ssl); /* the server's own is the first */
    while (sent && sk_X509_num(sent) > 1)
        X509_free(sk_X509_pop(sent));
}

nsec tls_verify_lasts(const SSL *ssl, enum tls_check check, nsec wall)
{
    const X509 *certificate = SSL_get0_peer_certificate(ssl);
    int days = 0, seconds = 0;
    if (check == TLS_CHECK_ANY)
        return NSEC_NEVER;
    ASN1_TIME *now = ASN1_TIME_set(NULL, (time_t)(wall / NSEC_PER_S));
    bool known = certificate && now && ASN1_TIME_diff(&days, &seconds, now, X509_get0_notAfter(certificate));
    ASN1_TIME_free(now);
    if (!known)
        return 0;
    return days > 366 ? NSEC_NEVER : ((nsec)days * 86400 + seconds) * NSEC_PER_S;
}

/* ---- what was wrong ---- */

void tls_say(struct tls_result *result, const char *reason)
{
    slice_copy(result->reason, sizeof result->reason, slice_of(reason));
    for (char *p = result->reason; *p; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
}

void tls_explain(const SSL *ssl, enum tls_check check, struct tls_result *result)
{
    char reason[TLS_REASON];
    long verified = SSL_get_verify_result(ssl);
    const char *said = ERR_reason_error_string(ERR_peek_last_error());
    if (check != TLS_CHECK_ANY && verified != X509_V_OK) {
        result->certificate = true;
        snprintf(reason, sizeof reason, "certificate: %s", X509_verify_cert_error_string(verified));
    } else {
        snprintf(reason, sizeof reason, "handshake: %s", said ? said : "it broke off");
    }
    tls_say(result, reason);
    ERR_clear_error();
}
