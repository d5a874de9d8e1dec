/* mx_certificate.h - keys and certificates for servers that need to be right, or wrong in one chosen way.
 *
 * Serial numbers and validity are fixed, so that with RSA keys a certificate has the same length in every run. Running
 * out of memory, or an OpenSSL that cannot do RSA, ends the process. */
#ifndef BENCH_MX_CERTIFICATE_H
#define BENCH_MX_CERTIFICATE_H

#include "bench/mx.h"

#include <openssl/x509.h>

/* The keys and authorities of one test. */
struct mx_authority {
    EVP_PKEY *rsa, *ecdsa; /* of every server */
    EVP_PKEY *ca_key;
    X509 *ca;
    EVP_PKEY *intermediate_key; /* made when they are first needed, as the next two are */
    X509 *intermediate;
    EVP_PKEY *stranger_key;
    X509 *stranger;
};

void mx_authority_init(struct mx_authority *authority);
void mx_authority_free(struct mx_authority *authority);

EVP_PKEY *mx_certificate_key(const struct mx_authority *authority, enum mx_key_kind kind); /* borrowed */
/* For one server; `names` by spaces, the first is its subject. The caller frees it. */
must_use X509 *mx_certificate_new(struct mx_authority *authority, const struct mx_tls_settings *settings,
                                  const char *names);

#endif
