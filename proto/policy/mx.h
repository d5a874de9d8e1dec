/* mx.h - to which hosts, and in which order, does mail for a domain go? (RFC 5321 §5.1, RFC 7505)
 *
 * Pure: DNS answers come in as values. The route holds positions in the caller's array of records instead of names,
 * so it is small, and worth nothing without that array.
 *
 * Guarantees:
 *  - the domain's own address is used only if it has no MX record at all, never because its MX are of no use;
 *  - preferences ascend; among equal ones mx_shuffle makes every order equally likely;
 *  - a null MX counts only when it stands alone; beside others it is ignored (RFC 7505 §3);
 *  - a host that cannot be the name of a host (an address, "localhost", a malformed name) is left out and counted;
 *  - `set` is the same for the same set of (preference, host), in whatever order, letter case and repetition. */
#ifndef PROTO_POLICY_MX_H
#define PROTO_POLICY_MX_H

#include "sluice/base.h"
#include "sluice/limits.h"
#include "sluice/slice.h"

/* What the MX query came to. */
enum mx_answer {
    MX_ANSWER_BROKEN = 0,
    MX_ANSWER_OK,       /* at least one record */
    MX_ANSWER_NODATA,   /* the name exists without MX */
    MX_ANSWER_NXDOMAIN, /* the name does not exist */
    MX_ANSWER_FAILED,   /* SERVFAIL, refused, rubbish, nobody answered */
};

struct mx_record {
    uint16_t preference;
    struct slice host; /* with or without a trailing dot; "" or "." is the root */
};

enum mx_verdict {
    MX_BROKEN = 0,
    MX_HOSTS,    /* `order` holds them */
    MX_IMPLICIT, /* no MX: the domain itself is the only host, with preference 0 (RFC 5321 §5.1) */
    MX_NULL,     /* the domain takes no mail: hard, at once (RFC 7505 §3) */
    MX_NXDOMAIN, /* hard */
    MX_FAILED,   /* retry later (RFC 5321 §5.1: "MUST be queued") */
    MX_UNUSABLE, /* MX records, none of which names a host: an error, not a reason to use the domain's own address */
};

struct mx_route {
    enum mx_verdict verdict;
    uint8_t count;                 /* of hosts in `order` */
    uint8_t left_out;              /* records that name no host */
    uint8_t order[LIMIT_MX_HOSTS]; /* MX_HOSTS: positions in the caller's records, best preference first */
    uint64_t set;                  /* key of the MX set; of the domain's name for MX_IMPLICIT; else 0 */
};

/* `domain` is the name that was asked for, as A-labels. `records` may be NULL when count is 0; more than
 * LIMIT_MX_HOSTS: the best are kept. Equal preferences are in the order of their names, so that the same set always
 * gives the same route; shuffle it for use. A host that occurs twice is used once, at its best preference. */
void mx_read(struct mx_route *route, enum mx_answer answer, struct slice domain, const struct mx_record *records,
             unsigned count);

/* Shuffles hosts of equal preference (RFC 5321 §5.1 "MUST randomize"); to be called for each use. */
void mx_shuffle(struct mx_route *route, const struct mx_record *records, uint64_t random);

/* Are the two routes the same, host by host? A key can be forged by whoever writes both zones: before two domains
 * share a session, this must hold as well. Both in the order that mx_read left. */
must_use bool mx_same(const struct mx_route *a, const struct mx_record *a_records, const struct mx_route *b,
                      const struct mx_record *b_records);

/* Can this be the name of a mail host? False for "192.0.2.1", "[192.0.2.1]", "::1", "localhost", "x.localhost", an
 * empty or malformed name. */
must_use bool mx_host_is_name(struct slice host);

/* What kind of address a host turned out to have. 4 or 16 bytes in network order; IPv4-mapped IPv6 counts as IPv4. */
enum mx_address_kind {
    MX_ADDRESS_BROKEN = 0,
    MX_ADDRESS_PUBLIC,
    MX_ADDRESS_PRIVATE,  /* RFC 1918, RFC 6598, RFC 4193, link-local */
    MX_ADDRESS_LOOPBACK, /* 127.0.0.0/8, ::1: somebody else's MX there would be ourselves */
    MX_ADDRESS_UNUSABLE, /* 0.0.0.0/8, ::, multicast, class E, broadcast: nobody can be there */
};
enum mx_address_kind mx_address_kind(const uint8_t *bytes, size_t length);

/* One step of the walk over a route's hosts and their addresses. */
struct mx_target {
    uint8_t host;    /* position in `order`; 0 for MX_IMPLICIT */
    uint8_t address; /* position among that host's addresses */
};
enum { MX_ADDRESSES_PER_HOST = 4, MX_TARGETS = LIMIT_MX_HOSTS * MX_ADDRESSES_PER_HOST };

/* The order of attempts: hosts in route order, of each its first MX_ADDRESSES_PER_HOST addresses in the resolver's
 * order (RFC 5321 §5.1: all in turn, at least two). `address_counts[i]` belongs to host i of the route. Returns how
 * many targets were written, 0 when no host has an address. The caller passes over hosts it holds dead, and should
 * try at least two of what remains before it defers. */
unsigned mx_targets(const struct mx_route *route, const unsigned *address_counts, struct mx_target targets[MX_TARGETS]);

#endif
