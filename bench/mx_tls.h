/* mx_tls.h - TLS for the exchangers of mx.h: certificates made at start, and the layer of ciphertext over memory.
 *
 * One mx_tls serves any number of servers, in any number of threads: it holds a CA of its own, made when it is made,
 * one RSA and one ECDSA key, and a context for each different mx_tls_settings, made when it is first asked for and kept
 * to the end. Its certificates have fixed serial numbers and are valid from 2000 to 2049; with RSA keys all that leaves
 * in a handshake has the same length in every run, except session tickets, which mx_tls_settings.no_tickets avoids.
 *
 * Whether a certificate is right for a name is the client's question: SNI is counted and otherwise ignored. */
#ifndef BENCH_MX_TLS_H
#define BENCH_MX_TLS_H

#include "bench/mx.h"

must_use struct mx_tls *mx_tls_new(void); /* makes keys: a fraction of a second of CPU */
void mx_tls_free(struct mx_tls *tls);     /* behind the last connection */

/* Makes the personality's context now. False with a sentence: its files cannot be read, or do not fit. A personality
 * that was not prepared and has files that are wrong ends the process at its first handshake. */
must_use bool mx_tls_prepare(struct mx_tls *tls, const struct mx_personality *personality, char *error, size_t cap);

/* The CA's certificate as PEM, for clients that shall trust it; lives as long as `tls`. */
const char *mx_tls_ca(const struct mx_tls *tls);
/* What the personality sends, as PEM, the leaf first; owned by the caller, who frees it. */
must_use char *mx_tls_chain(struct mx_tls *tls, const struct mx_personality *personality);

/* What a TLSA record says (RFC 6698 §2.1) of the personality's certificates, by SHA-256 (matching type 1). */
enum mx_tlsa {
    MX_TLSA_BROKEN = 0,
    MX_TLSA_LEAF_KEY, /* for "3 1 1" */
    MX_TLSA_LEAF,     /* for "3 0 1" */
    MX_TLSA_CA_KEY,   /* for "2 1 1": the last of the chain that is sent, where that is a CA, else the test's CA */
    MX_TLSA_CA,       /* for "2 0 1": the same */
};
void mx_tls_digest(struct mx_tls *tls, const struct mx_personality *personality, enum mx_tlsa which,
                   uint8_t digest[static 32]);

#endif
