/* fuzz_dns_answer.c - whatever bytes come for a DNS answer, nothing outside of them is read, and what is found is
 * whole. The first byte of the input chooses the type that was asked for. */
#include "net/dns_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_hosts(const struct resolver_answer *answer)
{
    sluice_assert(answer->mx_count >= 1 && answer->mx_count <= LIMIT_MX_HOSTS && answer->address_count == 0);
    for (unsigned i = 0; i < answer->mx_count; i++) {
        const struct resolver_mx *mx = &answer->mx[i];
        sluice_assert(i == 0 || answer->mx[i - 1].preference <= mx->preference);
        size_t n = strnlen(mx->host, sizeof mx->host);
        sluice_assert(n <= LIMIT_DOMAIN);
        for (size_t at = 0; at < n; at++)
            sluice_assert(mx->host[at] > ' ' && mx->host[at] < 0x7f && ascii_lower(mx->host[at]) == mx->host[at]);
        sluice_assert(n == 0 || (mx->host[0] != '.' && mx->host[n - 1] != '.'));
    }
}

static void check_addresses(const struct resolver_answer *answer, int family)
{
    sluice_assert(answer->address_count >= 1 && answer->address_count <= LIMIT_HOST_ADDRESSES);
    sluice_assert(answer->mx_count == 0);
    for (unsigned i = 0; i < answer->address_count; i++) {
        sluice_assert(answer->addresses[i].storage.ss_family == family);
        sluice_assert(io_address_port(&answer->addresses[i]) == 0);
    }
    struct io_address joined[LIMIT_HOST_ADDRESSES];
    unsigned count = dns_answer_join(joined, 0, answer);
    sluice_assert(count == answer->address_count);
    sluice_assert(dns_answer_join(joined, count, answer) <= LIMIT_HOST_ADDRESSES);
}

static void check_records(const struct resolver_answer *answer, struct slice packet, enum dns_type type)
{
    const char *from = type == DNS_TYPE_TXT ? answer->text : packet.p;
    size_t n = type == DNS_TYPE_TXT ? sizeof answer->text : packet.n, total = 0;
    sluice_assert(answer->record_count <= RESOLVER_RECORDS && (answer->record_count || answer->records_left_out));
    for (unsigned i = 0; i < answer->record_count; i++) {
        sluice_assert(answer->records[i].p >= from && answer->records[i].p + answer->records[i].n <= from + n);
        total += answer->records[i].n;
    }
    sluice_assert(total <= n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = {DNS_TYPE_MX, DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_TXT, DNS_TYPE_TLSA};
    struct resolver_answer answer;
    if (size == 0)
        return 0;
    enum dns_type type = types[data[0] % countof(types)];
    struct slice packet = {(const char *)data + 1, size - 1};
    dns_answer_read(packet, type, &answer);
    switch (answer.status) {
    case RESOLVER_OK:
        if (type == DNS_TYPE_MX)
            check_hosts(&answer);
        else if (type == DNS_TYPE_TXT || type == DNS_TYPE_TLSA)
            check_records(&answer, packet, type);
        else
            check_addresses(&answer, type == DNS_TYPE_A ? AF_INET : AF_INET6);
        sluice_assert(answer.ttl_s <= INT32_MAX);
        return 0;
    case RESOLVER_NODATA:
    case RESOLVER_NXDOMAIN:
    case RESOLVER_SERVFAIL:
        sluice_assert(answer.mx_count == 0 && answer.address_count == 0 && answer.record_count == 0);
        sluice_assert(!answer.secure || answer.status != RESOLVER_SERVFAIL);
        sluice_assert(answer.ttl_s <= INT32_MAX);
        return 0;
    default:
        sluice_assert(!"a status that an answer can have");
    }
    return 0;
}
