/* sts.h - MTA-STS: what a domain's TXT record and its policy file say (RFC 8461 §3), and whether they allow a host.
 *
 * Pure and bounded: any bytes may come in. What breaks the grammar is no record and no policy, never half of one;
 * fields that are not known are passed over, as both sections demand. */
#ifndef PROTO_POLICY_STS_H
#define PROTO_POLICY_STS_H

#include "sluice/base.h"
#include "sluice/slice.h"

enum {
    STS_ID = 32,              /* octets, §3.1 */
    STS_FILE = 64 * 1024,     /* octets of a policy file that are read, §3.3 */
    STS_MX = 2048,            /* octets of all patterns of a policy, each with its zero byte */
    STS_MAX_AGE_S = 31557600, /* about a year, §3.2 */
};

enum sts_mode {
    STS_BROKEN = 0,
    STS_NONE,    /* as if there were no policy */
    STS_TESTING, /* what would be refused is told, and sent */
    STS_ENFORCE, /* only to hosts that match, by TLS, with a certificate that verifies (§5) */
};

struct sts_policy {
    enum sts_mode mode;
    uint32_t max_age_s; /* <= STS_MAX_AGE_S */
    uint16_t mx_octets; /* used of `mx` */
    char mx[STS_MX];    /* patterns in lower case, each with a zero byte behind: "mx.example", "*.mx.example" */
};

/* The id of a TXT record "v=STSv1; id=20190429T010101;". False: it is none of MTA-STS, or malformed. */
must_use bool sts_record_read(struct slice text, char id[STS_ID + 1]);
/* The same for all TXT records of a name: exactly one of them must begin with "v=STSv1;" (§3.1). */
must_use bool sts_records_read(const struct slice *texts, unsigned count, char id[STS_ID + 1]);

/* Reads a policy file. False: it is malformed (§3.2), names no host though its mode is not none, or names more than
 * fit; `why` says what is wrong in a few words. The first of a field that is given twice counts, but for mx. */
must_use bool sts_policy_read(struct slice file, struct sts_policy *policy, const char **why);

/* Does a host match one of the patterns (§4.1)? A "*" stands for exactly one label, the leftmost. `host` is a name as
 * A-labels, with or without a trailing dot. */
must_use bool sts_policy_allows(const struct sts_policy *policy, struct slice host);

const char *sts_mode_name(enum sts_mode mode); /* "enforce", as in the file */

#endif
