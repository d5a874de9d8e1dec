/* dane.c - sorts TLSA records, so that nobody is authenticated by one that mail must not believe. */
#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_*, the interface that proto/ may call */
#include "proto/policy/dane.h"

#include <openssl/sha.h>

#include "proto/number.h"

enum { SHA256_OCTETS = 32, SHA512_OCTETS = 64, FIELDS = 3, DNS_NAME = 253 };

/* One DER SEQUENCE that fills the data, as a certificate and a key do (RFC 5280 §4.1). What is inside is compared, not
 * read. */
static bool is_sequence(const uint8_t *p, size_t n)
{
    enum { SEQUENCE = 0x30, LONG = 0x80 };
    if (n < 2 || p[0] != SEQUENCE)
        return false;
    if (p[1] < LONG)
        return n - 2 == p[1];
    size_t octets = p[1] - LONG, length = 0;
    if (octets < 1 || octets > 3 || n < 2 + octets)
        return false;
    for (size_t i = 0; i < octets; i++)
        length = length << 8 | p[2 + i];
    return n - 2 - octets == length;
}

bool dane_read(struct slice data, struct dane_record *record)
{
    const uint8_t *p = (const uint8_t *)data.p;
    if (data.n <= FIELDS)
        return false;
    size_t n = data.n - FIELDS;
    *record = (struct dane_record){.usage = p[0], .selector = p[1], .matching = p[2]};
    /* RFC 7672 §3.1.3: PKIX-TA(0) and PKIX-EE(1) "SHOULD" be treated as unusable, for there is no PKI of mail. */
    if ((record->usage != DANE_TA && record->usage != DANE_EE) ||
        (record->selector != DANE_CERTIFICATE && record->selector != DANE_KEY))
        return false;
    p += FIELDS;
    switch (record->matching) {
    case DANE_FULL:
        if (!is_sequence(p, n))
            return false;
        SHA256_CTX sha;
        SHA256_Init(&sha);
        SHA256_Update(&sha, p, n);
        SHA256_Final(record->data, &sha);
        record->matching = DANE_SHA256;
        record->n = SHA256_OCTETS;
        return true;
    case DANE_SHA256:
    case DANE_SHA512:
        record->n = record->matching == DANE_SHA256 ? SHA256_OCTETS : SHA512_OCTETS;
        if (n != record->n)
            return false;
        memcpy(record->data, p, n);
        return true;
    default:
        return false;
    }
}

static bool is_among(const struct dane_record *record, const struct dane_record *records, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (memcmp(record, &records[i], sizeof *record) == 0)
            return true;
    return false;
}

unsigned dane_read_all(const struct slice *data, unsigned count, struct dane_record *records, unsigned most)
{
    unsigned kept = 0;
    for (uint8_t usage = DANE_EE; usage >= DANE_TA; usage--)
        for (unsigned i = 0; i < count && kept < most; i++) {
            struct dane_record record;
            if (dane_read(data[i], &record) && record.usage == usage && !is_among(&record, records, kept))
                records[kept++] = record;
        }
    return kept;
}

bool dane_name(struct slice base, uint16_t port, char name[256])
{
    static const struct slice middle = {"._tcp.", 6};
    size_t n = 0;
    name[n++] = '_';
    n += number_write(name + n, port);
    if (base.n == 0 || n + middle.n + base.n > DNS_NAME)
        return false;
    memcpy(name + n, middle.p, middle.n);
    slice_copy(name + n + middle.n, 256 - n - middle.n, base);
    return true;
}
