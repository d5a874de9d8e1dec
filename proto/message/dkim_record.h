/* dkim_record.h - is what is published for a selector the key that signs? (RFC 6376 §3.6.1, §3.6.2.2, RFC 8463 §4)
 *
 * Read as strictly as the strictest verifiers do: what some would not take is unusable. */
#ifndef PROTO_MESSAGE_DKIM_RECORD_H
#define PROTO_MESSAGE_DKIM_RECORD_H

#include "proto/message/dkim.h"

enum { DKIM_RECORD_MAX = 4096 }; /* bytes of one record that are looked at; more is unusable */

enum dkim_record {
    DKIM_RECORD_BROKEN = 0,
    DKIM_RECORD_OK,
    DKIM_RECORD_MISSING,   /* there is no key record */
    DKIM_RECORD_REVOKED,   /* p= is empty */
    DKIM_RECORD_OTHER_KEY, /* it is another's */
    DKIM_RECORD_UNUSABLE,  /* nobody can verify by it */
};

/* Compares the TXT records of SELECTOR._domainkey.DOMAIN, each with its strings put together, with a key whose public
 * half is `public`: DER of SubjectPublicKeyInfo, or the 32 octets of an Ed25519 key. For RSA the DER of RSAPublicKey is
 * taken too: the RFC's grammar asks for that, and verifiers know both. Records that are no key records are passed over;
 * two key records are unusable, for a verifier may take either. `why` is a constant, what is to be said beyond the
 * result, "" when nothing is. */
enum dkim_record dkim_record_check(const struct slice *records, unsigned count, enum dkim_algorithm algorithm,
                                   struct slice public, const char **why);
/* "ok", "missing", "revoked", "other key", "unusable". */
const char *dkim_record_name(enum dkim_record result);

#endif
