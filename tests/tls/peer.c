/* Makes the servers and certificates that the TLS tests talk to. */
#include "peer.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void peer_check(bool held, const char *what)
{
    if (held)
        return;
    fprintf(stderr, "peer: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* ---- certificates ---- */

static void set_time(ASN1_TIME *field, nsec at)
{
    peer_check(ASN1_TIME_set(field, (time_t)(at / NSEC_PER_S)), "ASN1_TIME_set");
}

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    peer_check(extension && X509_add_ext(certificate, extension, -1), value);
    X509_EXTENSION_free(extension);
}

void party_open(struct party *party, const struct party_config *config)
{
    X509 *certificate = X509_new();
    uint64_t serial;
    *party = (struct party){.key = config->rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256"),
                            .certificate = certificate,
                            .issuer = config->issuer ? config->issuer : party};
    peer_check(party->key && certificate && getentropy(&serial, sizeof serial) == 0, "a key");
    X509_NAME *name = X509_get_subject_name(certificate);
    peer_check(X509_set_version(certificate, 2) &&
                   ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1 | 1) &&
                   X509_set_pubkey(certificate, party->key),
               "a certificate");
    if (config->common_name[0])
        peer_check(
            X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)config->common_name, -1, -1, 0),
            "a name");
    set_time(X509_getm_notBefore(certificate), config->from);
    set_time(X509_getm_notAfter(certificate), config->until);
    X509 *issuer = party->issuer->certificate;
    peer_check(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)), "an issuer");
    add_extension(certificate, issuer, NID_basic_constraints, config->authority ? "critical,CA:TRUE" : "CA:FALSE");
    add_extension(certificate, issuer, NID_subject_key_identifier, "hash");
    if (config->names[0])
        add_extension(certificate, issuer, NID_subject_alt_name, config->names);
    peer_check(X509_sign(certificate, party->issuer->key, EVP_sha256()), "a signature");
}

void party_close(struct party *party)
{
    X509_free(party->certificate);
    EVP_PKEY_free(party->key);
    *party = (struct party){0};
}

void party_save(const struct party *party, char *path, size_t cap)
{
    snprintf(path, cap, "/tmp/sluice-tls-XXXXXX");
    int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    peer_check(file && PEM_write_X509(file, party->certificate) && fclose(file) == 0, path);
}

void party_digest(const struct party *party, unsigned selector, uint8_t digest[32])
{
    unsigned char *der = NULL;
    int n = selector ? i2d_PUBKEY(party->key, &der) : i2d_X509(party->certificate, &der);
    peer_check(n > 0 && EVP_Digest(der, (size_t)n, digest, NULL, EVP_sha256(), NULL), "a digest");
    OPENSSL_free(der);
}

/* ---- servers ---- */

/* Tickets by a key of our own; 1: good as it is, so no other is given. */
static int lasting_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                          int making)
{
    static unsigned char key[32] = "no secret, and the same for ever";
    static char digest[] = "SHA256";
    OSSL_PARAM of_mac[] = {OSSL_PARAM_octet_string(OSSL_MAC_PARAM_KEY, key, sizeof key),
                           OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, sizeof digest - 1), OSSL_PARAM_END};
    (void)ssl;
    if (making) {
        memset(name, 'n', 16);
        memset(iv, 'i', 16);
    }
    return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key, iv, making) && EVP_MAC_CTX_set_params(mac, of_mac);
}

SSL_CTX *server_new(const struct server_config *config)
{
    SSL_CTX *server = SSL_CTX_new(TLS_server_method());
    peer_check(server, "SSL_CTX_new");
    SSL_CTX_set_security_level(server, 0); /* so that it speaks what nobody should */
    peer_check(SSL_CTX_set_min_proto_version(server, config->least ? config->least : TLS1_VERSION) &&
                   SSL_CTX_set_max_proto_version(server, config->most) &&
                   SSL_CTX_use_certificate(server, config->party->certificate) &&
                   SSL_CTX_use_PrivateKey(server, config->party->key) &&
                   SSL_CTX_set_num_tickets(server, config->tickets) &&
                   SSL_CTX_set_session_id_context(server, (const unsigned char *)"peer", 4),
               "a server");
    if (config->ciphers)
        peer_check(SSL_CTX_set_cipher_list(server, config->ciphers), config->ciphers);
    if (config->lasting)
        SSL_CTX_set_tlsext_ticket_key_evp_cb(server, lasting_ticket);
    if (config->stateful)
        SSL_CTX_set_options(server, SSL_OP_NO_TICKET);
    for (unsigned i = 0; i < config->chain; i++)
        peer_check(SSL_CTX_add1_chain_cert(server, config->party->issuer->certificate), "a chain");
    return server;
}

void peer_open(struct peer *peer, SSL_CTX *server)
{
    *peer = (struct peer){.ssl = SSL_new(server), .in = BIO_new(BIO_s_mem()), .out = BIO_new(BIO_s_mem())};
    peer_check(peer->ssl && peer->in && peer->out, "a connection");
    BIO_set_mem_eof_return(peer->in, -1);
    SSL_set_bio(peer->ssl, peer->in, peer->out);
    SSL_set_accept_state(peer->ssl);
}

void peer_close(struct peer *peer)
{
    /* A server that keeps sessions would forget the one of a connection that ended without close_notify. */
    SSL_set_shutdown(peer->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(peer->ssl);
    free(peer->got);
    *peer = (struct peer){0};
}

static void take_plain(struct peer *peer)
{
    for (;;) {
        size_t n;
        if (peer->got_cap - peer->got_n < 16384) {
            peer->got_cap = 2 * peer->got_cap + 32768;
            peer->got = realloc(peer->got, peer->got_cap);
            peer_check(peer->got, "memory");
        }
        int read = SSL_read_ex(peer->ssl, peer->got + peer->got_n, 16384, &n);
        if (read == 1) {
            peer->got_n += n;
            continue;
        }
        int error = SSL_get_error(peer->ssl, read);
        peer->said_goodbye |= error == SSL_ERROR_ZERO_RETURN;
        peer->failed |= error != SSL_ERROR_ZERO_RETURN && error != SSL_ERROR_WANT_READ;
        break;
    }
}

void peer_feed(struct peer *peer, const void *bytes, size_t n)
{
    ERR_clear_error();
    peer_check(BIO_write(peer->in, bytes, (int)n) == (int)n, "memory");
    if (!peer->secured && !peer->failed) {
        int done = SSL_do_handshake(peer->ssl);
        peer->secured = done == 1;
        peer->failed = done != 1 && SSL_get_error(peer->ssl, done) != SSL_ERROR_WANT_READ;
    }
    if (peer->secured && !peer->failed)
        take_plain(peer);
    ERR_clear_error();
}

void peer_say(struct peer *peer, const void *bytes, size_t n)
{
    size_t written;
    peer_check(SSL_write_ex(peer->ssl, bytes, n, &written) == 1 && written == n, "SSL_write_ex");
}

size_t peer_pending(struct peer *peer) { return BIO_ctrl_pending(peer->out); }

size_t peer_take(struct peer *peer, void *bytes, size_t cap)
{
    int n = BIO_read(peer->out, bytes, (int)cap);
    return n > 0 ? (size_t)n : 0;
}
