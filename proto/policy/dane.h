/* dane.h - which TLSA records may authenticate a mail server (RFC 6698 §2.1, RFC 7671, RFC 7672 §3.1).
 *
 * Pure: the data of a record as DNS has it comes in. Usable for SMTP are certificate usages DANE-TA(2) and DANE-EE(3)
 * alone (RFC 7672 §3.1.3), with a selector and a matching type that RFC 6698 defines and data of the right length. What
 * is not usable still says that the server speaks TLS (RFC 7672 §2.2).
 *
 * A record with the whole certificate or key, matching type Full(0), is turned into the one with its SHA-256: both
 * match the same, for a mail server must send the certificate of its trust anchor itself (RFC 7672 §3.1.2). So a usable
 * record is small, whatever was published. */
#ifndef PROTO_POLICY_DANE_H
#define PROTO_POLICY_DANE_H

#include "sluice/base.h"
#include "sluice/slice.h"

enum { DANE_TA = 2, DANE_EE = 3 };                        /* usage, RFC 7218 §2.1 */
enum { DANE_CERTIFICATE = 0, DANE_KEY = 1 };              /* selector: Cert(0), SPKI(1) */
enum { DANE_FULL = 0, DANE_SHA256 = 1, DANE_SHA512 = 2 }; /* matching type */

/* Usable, with the values that SSL_dane_tlsa_add takes. */
struct dane_record {
    uint8_t usage;    /* DANE_TA, DANE_EE */
    uint8_t selector; /* DANE_CERTIFICATE, DANE_KEY */
    uint8_t matching; /* DANE_SHA256, DANE_SHA512 */
    uint8_t n;        /* 32 or 64 */
    uint8_t data[64];
};

/* False: the record is not usable, for it is malformed or of a kind that mail does not know. */
must_use bool dane_read(struct slice data, struct dane_record *record);

/* Adds the usable ones of `count` records to `records`, each once, until there are `most`: DANE-EE before DANE-TA. A
 * record that finds no room is lost, which may refuse a server and never lets a wrong one pass. Returns their number.
 */
unsigned dane_read_all(const struct slice *data, unsigned count, struct dane_record *records, unsigned most);

/* "_25._tcp.mx.example" (RFC 7672 §2.2.3). False: the name would be longer than DNS allows; nobody can have records
 * there. `name` holds 256 bytes. */
must_use bool dane_name(struct slice base, uint16_t port, char name[256]);

#endif
