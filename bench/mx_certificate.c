/* mx_certificate.c - makes the certificates here, because a test that waits for real ones to expire would take a year.
 */
#include "bench/mx_certificate.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

enum { RSA_BITS = 2048 };

static const char since[] = "20000101000000Z", until[] = "20491231235959Z", long_ago[] = "20010101000000Z";

static EVP_PKEY *rsa_new(void)
{
    EVP_PKEY *key = EVP_RSA_gen(RSA_BITS);
    sluice_assert(key);
    return key;
}

static void extend(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    sluice_assert(extension && X509_add_ext(certificate, extension, -1));
    X509_EXTENSION_free(extension);
}

/* Of one length, and another one for another subject: an issuer may not give one twice (RFC 5280 §4.1.2.2). */
static uint32_t serial_of(const char *subject, bool valid)
{
    uint32_t hash = valid ? 0x811c9dc5u : 0x811c9dc6u;
    for (; *subject; subject++)
        hash = (hash ^ (unsigned char)*subject) * 0x01000193u;
    return (hash & 0x3fffffff) | 0x40000000;
}

/* Everything but the extensions and the signature. `issuer` NULL: the certificate's own name. */
static X509 *begin(const char *subject, EVP_PKEY *key, X509 *issuer, bool valid)
{
    X509 *certificate = X509_new();
    X509_NAME *name = X509_NAME_new();
    bool made = certificate && name && X509_set_version(certificate, X509_VERSION_3) &&
                ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial_of(subject, valid)) &&
                ASN1_TIME_set_string_X509(X509_getm_notBefore(certificate), since) &&
                ASN1_TIME_set_string_X509(X509_getm_notAfter(certificate), valid ? until : long_ago) &&
                X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)subject, -1, -1, 0) &&
                X509_set_subject_name(certificate, name) && X509_set_pubkey(certificate, key) &&
                X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : name);
    sluice_assert(made);
    X509_NAME_free(name);
    return certificate;
}

static X509 *authority_new(const char *subject, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
    X509 *certificate = begin(subject, key, issuer, true);
    extend(certificate, issuer ? issuer : certificate, NID_basic_constraints, "critical,CA:TRUE");
    extend(certificate, issuer ? issuer : certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
    extend(certificate, issuer ? issuer : certificate, NID_subject_key_identifier, "hash");
    bool made = X509_sign(certificate, issuer_key, EVP_sha256());
    sluice_assert(made);
    return certificate;
}

void mx_authority_init(struct mx_authority *authority)
{
    *authority = (struct mx_authority){.rsa = rsa_new(), .ca_key = rsa_new(), .ecdsa = EVP_EC_gen("P-256")};
    sluice_assert(authority->ecdsa);
    authority->ca = authority_new("Sluice test CA", authority->ca_key, NULL, authority->ca_key);
}

void mx_authority_free(struct mx_authority *authority)
{
    EVP_PKEY_free(authority->rsa);
    EVP_PKEY_free(authority->ecdsa);
    EVP_PKEY_free(authority->ca_key);
    EVP_PKEY_free(authority->intermediate_key);
    EVP_PKEY_free(authority->stranger_key);
    X509_free(authority->ca);
    X509_free(authority->intermediate);
    X509_free(authority->stranger);
    *authority = (struct mx_authority){0};
}

EVP_PKEY *mx_certificate_key(const struct mx_authority *authority, enum mx_key_kind kind)
{
    return kind == MX_KEY_ECDSA ? authority->ecdsa : authority->rsa;
}

/* "a b" becomes "DNS:a,DNS:b" (RFC 6125 §6.4: what names a server stands here and not in its subject). */
static void alternative_names(X509 *certificate, X509 *issuer, const char *names)
{
    char list[MX_NAMES_MAX * 4];
    size_t used = 0;
    for (const char *name = names; *name;) {
        size_t n = strcspn(name, " ");
        if (n)
            used += (size_t)snprintf(list + used, sizeof list - used, "%sDNS:%.*s", used ? "," : "", (int)n, name);
        name += n + (name[n] == ' ');
    }
    sluice_assert(used < sizeof list);
    extend(certificate, issuer, NID_subject_alt_name, list);
}

static void find_issuer(struct mx_authority *authority, enum mx_issue issue, X509 **issuer, EVP_PKEY **key)
{
    *issuer = authority->ca;
    *key = authority->ca_key;
    if (issue == MX_ISSUE_CHAIN || issue == MX_ISSUE_BROKEN) {
        if (!authority->intermediate) {
            authority->intermediate_key = rsa_new();
            authority->intermediate = authority_new("Sluice test intermediate", authority->intermediate_key,
                                                    authority->ca, authority->ca_key);
        }
        *issuer = authority->intermediate;
        *key = authority->intermediate_key;
    } else if (issue == MX_ISSUE_STRANGER) {
        if (!authority->stranger) {
            authority->stranger_key = rsa_new();
            authority->stranger = authority_new("Nobody's CA", authority->stranger_key, NULL, authority->stranger_key);
        }
        *issuer = authority->stranger;
        *key = authority->stranger_key;
    }
}

X509 *mx_certificate_new(struct mx_authority *authority, const struct mx_tls_settings *settings, const char *names)
{
    EVP_PKEY *key = mx_certificate_key(authority, settings->key_kind), *issuer_key;
    X509 *issuer;
    char subject[64 + 1]; /* RFC 5280 appendix A.1: ub-common-name */
    if (settings->issue == MX_ISSUE_WRONG_NAME)
        names = "wrong.invalid";
    slice_copy(subject, sizeof subject, (struct slice){names, strcspn(names, " ")});
    find_issuer(authority, settings->issue, &issuer, &issuer_key);
    if (settings->issue == MX_ISSUE_SELF) {
        issuer = NULL;
        issuer_key = key;
    }
    X509 *certificate = begin(subject, key, issuer, settings->issue != MX_ISSUE_EXPIRED);
    if (!issuer)
        issuer = certificate;
    extend(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE");
    extend(certificate, issuer, NID_key_usage, "critical,digitalSignature");
    extend(certificate, issuer, NID_ext_key_usage, "serverAuth");
    extend(certificate, issuer, NID_subject_key_identifier, "hash");
    alternative_names(certificate, issuer, names);
    bool made = X509_sign(certificate, issuer_key, EVP_sha256());
    sluice_assert(made);
    return certificate;
}
