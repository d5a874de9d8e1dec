/* fuzz_sts.c - whatever a domain publishes of MTA-STS, it is a whole policy or none, and TLSA data is a record or none.
 */
#include "proto/policy/dane.h"
#include "proto/policy/sts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_policy(struct slice file)
{
    struct sts_policy policy;
    const char *why;
    if (!sts_policy_read(file, &policy, &why)) {
        sluice_assert(why[0]);
        return;
    }
    sluice_assert(policy.mode >= STS_NONE && policy.mode <= STS_ENFORCE && policy.max_age_s <= STS_MAX_AGE_S);
    sluice_assert(policy.mx_octets <= sizeof policy.mx && (policy.mx_octets > 0 || policy.mode == STS_NONE));
    for (size_t at = 0; at < policy.mx_octets;) {
        struct slice pattern = slice_of(policy.mx + at);
        at += pattern.n + 1;
        sluice_assert(pattern.n > 0 && at <= policy.mx_octets);
        if (pattern.p[0] !=
            '*') /* a host of that name is allowed, one below it is not unless another pattern says so */
            sluice_assert(sts_policy_allows(&policy, pattern));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = {(const char *)data, size};
    char id[STS_ID + 1];
    struct dane_record record;
    check_policy(bytes);
    if (sts_record_read(bytes, id))
        sluice_assert(id[0] && strnlen(id, sizeof id) <= STS_ID);
    if (dane_read(bytes, &record))
        sluice_assert((record.usage == DANE_TA || record.usage == DANE_EE) && (record.n == 32 || record.n == 64));
    return 0;
}
