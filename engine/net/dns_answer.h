/* dns_answer.h - reads the bytes of a DNS answer (RFC 1035 §4, RFC 2308).
 *
 * Pure and bounded: any bytes may come in, none outside of them is looked at, and the work is at most a fixed number of
 * passes over them. c-ares has matched the answer to its question by then. */
#ifndef NET_DNS_ANSWER_H
#define NET_DNS_ANSWER_H

#include "net/resolver.h"

enum dns_type {
    DNS_TYPE_A = 1,
    DNS_TYPE_NS = 2,
    DNS_TYPE_CNAME = 5,
    DNS_TYPE_SOA = 6,
    DNS_TYPE_MX = 15,
    DNS_TYPE_TXT = 16,
    DNS_TYPE_AAAA = 28,
    DNS_TYPE_TLSA = 52,
};

/* Reads the answer to a question for `type` (A, AAAA, MX, TXT or TLSA), following CNAMEs within it. Fills all of
 * `answer` but what it counts as none; TLSA records are borrowed from the packet.
 *
 *  - The TTL is the smallest of the records used; one with its highest bit set counts as 0 (RFC 2181 §8).
 *  - NODATA and NXDOMAIN: the smaller of the SOA's own TTL and its minimum field (RFC 2308 §5), 0 without an SOA.
 *  - A referral, an error, a truncated or malformed answer: SERVFAIL, never NODATA, for nobody's mail may bounce
 *    because a server spoke badly.
 *  - `secure` is the AD bit, which covers all of the answer, CNAMEs and the proof of a negative one included
 *    (RFC 4035 §3.2.3). A failure is never secure.
 *  - A byte that cannot be in a host name stands as '?' in an MX host: the record is there, though of no use. */
void dns_answer_read(struct slice packet, enum dns_type type, struct resolver_answer *answer);

/* The answer that says no more than its status. */
void dns_answer_plain(struct resolver_answer *answer, enum resolver_status status);

/* Adds the addresses of one answer behind the `count` of another (A and AAAA are asked apart). Where there are too
 * many, neither crowds out more than half. Returns how many there are now. */
unsigned dns_answer_join(struct io_address addresses[LIMIT_HOST_ADDRESSES], unsigned count,
                         const struct resolver_answer *more);

#endif
