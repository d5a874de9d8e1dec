/* resolver.h - the second seam: DNS answers, with their times to live.
 *
 * Two implementations, chosen by the linker: dns.c (c-ares, one channel per shard, raw answers parsed here because
 * c-ares 1.18 gives no TTL for MX) and sim/ (a zone held in memory, with faults). No cache at this level: route.c keeps
 * one. Names are compared without case and passed without a trailing dot.
 *
 * Every answer says whether it is *secure*: the server that was asked has validated all of it by DNSSEC, CNAMEs
 * included, and says so by the AD bit (RFC 4035 §3.2.3), which every query asks for (RFC 6840 §5.7). The bit is worth
 * what the way to that server is worth: only a validating resolver on loopback, or on a network that one trusts, makes
 * DANE more than decoration. What does not validate ("bogus") is answered with SERVFAIL by such a server, and so is a
 * failure here, never the absence of a record.
 *
 * The rules of io.h hold: `done` is called exactly once, in a turn, never inside a call that submits. */
#ifndef SLUICE_RESOLVER_H
#define SLUICE_RESOLVER_H

#include "io/io.h"
#include "sluice/base.h"
#include "sluice/limits.h"
#include "sluice/slice.h"

struct resolver;

enum resolver_status {
    RESOLVER_BROKEN = 0,
    RESOLVER_OK,       /* at least one record */
    RESOLVER_NODATA,   /* the name exists without such a record */
    RESOLVER_NXDOMAIN, /* the name does not exist (RFC 8020) */
    RESOLVER_SERVFAIL, /* the server failed, refused, or answered rubbish: retry later */
    RESOLVER_TIMEOUT,  /* nobody answered: retry later */
    RESOLVER_CANCELED,
};

enum resolver_kind { RESOLVER_MX = 1, RESOLVER_ADDRESSES, RESOLVER_TXT, RESOLVER_TLSA };

enum { RESOLVER_RECORDS = 32, RESOLVER_TEXT = 4096 }; /* TXT or TLSA records of one answer; octets of all TXT */

struct resolver_mx {
    uint16_t preference;
    char host[LIMIT_DOMAIN + 1]; /* lower case; "" is the root, a null MX (RFC 7505) */
};

/* Borrowed until the callback returns. */
struct resolver_answer {
    enum resolver_status status;
    uint32_t ttl_s; /* the smallest of the records used, CNAMEs included; for NODATA and NXDOMAIN the SOA's negative
                       TTL (RFC 2308), 0 when none was given */
    bool secure;    /* of OK, NODATA and NXDOMAIN; else false. Addresses: those that were found, of both families */
    char name[LIMIT_DOMAIN + 1]; /* OK: whose records these are, the end of the CNAMEs; lower case */
    unsigned mx_count;           /* <= LIMIT_MX_HOSTS; the best preferences are kept when there are more */
    struct resolver_mx mx[LIMIT_MX_HOSTS];
    unsigned address_count;                            /* <= LIMIT_HOST_ADDRESSES */
    struct io_address addresses[LIMIT_HOST_ADDRESSES]; /* in the server's order, IPv6 and IPv4 as they came; port 0 */
    unsigned record_count;                             /* <= RESOLVER_RECORDS */
    bool records_left_out;                             /* there were more than fit */
    struct slice records[RESOLVER_RECORDS]; /* TXT: each with its strings put together; TLSA: the data, RFC 6698 §2.1 */
    char text[RESOLVER_TEXT];               /* private: where TXT stands */
};

struct resolver_query {
    void (*done)(struct resolver_query *query, const struct resolver_answer *answer); /* set by the owner */
    /* private to the implementation */
    struct resolver *resolver;
    struct resolver_query *next, *prev;
    uint8_t kind, state;
    void *scratch[4];
};

struct resolver_config {
    const char *servers; /* "127.0.0.1:5353,[::1]:53"; NULL or "": the machine's resolv.conf */
    nsec timeout;        /* for one try; doubled with each round over all servers */
    unsigned tries;
    unsigned queries_max; /* in flight at once; more wait inside */
};

/* NULL on failure with a sentence in `error`. */
must_use struct resolver *resolver_open(struct io *io, const struct resolver_config *config, char *error,
                                        size_t error_cap);
/* Forgets every query without calling `done`, frees. At any moment, also inside a `done`; before io_close_all. */
void resolver_close(struct resolver *resolver);

/* `name` is borrowed until return. */
void resolver_mx_query(struct resolver *resolver, struct resolver_query *query, struct slice name);
/* A and AAAA together: OK if either has a record; NXDOMAIN only if both say so; a failure only if nothing was found. */
void resolver_address_query(struct resolver *resolver, struct resolver_query *query, struct slice name, bool want_ipv4,
                            bool want_ipv6);
void resolver_txt_query(struct resolver *resolver, struct resolver_query *query, struct slice name);
void resolver_tlsa_query(struct resolver *resolver, struct resolver_query *query, struct slice name);
void resolver_cancel(struct resolver *resolver, struct resolver_query *query); /* done follows with CANCELED */

#endif
