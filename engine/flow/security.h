/* security.h - how a session must be encrypted, and where TLS is known to be broken.
 *
 * What is demanded is the most that anybody asks for: the ISP's or relay's `tls`, the recipients' domain (MTA-STS,
 * RFC 8461) and the server's own TLSA records (DANE, RFC 7672). DANE goes before MTA-STS (RFC 8461 §2), for a host
 * that has TLSA records is authenticated by them. Nothing lowers what another demands.
 *
 * Opportunistic encryption (RFC 7435) takes any certificate, and plain text where TLS does not work: a host that
 * refuses STARTTLS, or fails in the handshake, is remembered for `tls_broken_for` and has its mail in plain text until
 * then. Guarantee: what is remembered has no effect where encryption is demanded. */
#ifndef FLOW_SECURITY_H
#define FLOW_SECURITY_H

#include "control/config.h"
#include "flow/site.h"
#include "io/arena.h"
#include "net/tls.h"

/* Hosts where TLS is broken, of one shard. Bounded: when a place is taken, what expires first gives way, which costs
 * one more failed handshake. */
enum { SECURITY_SETS = 1024, SECURITY_WAYS = 4 };
struct security {
    struct security_broken {
        uint64_t host; /* hash of name and port */
        nsec until;
    } (*broken)[SECURITY_WAYS];
};

/* What one session must have. Borrows site and host until the session has closed, limits likewise. */
struct session_security {
    struct tls *tls;      /* NULL: plain text */
    bool starttls;        /* by STARTTLS, where it is offered */
    bool required;        /* never in plain text */
    bool implicit;        /* from the first byte (RFC 8314 §3) */
    enum tls_check check; /* TLS_CHECK_BROKEN in plain text */
    const struct site *site;
    const struct host *host;
    uint16_t port;
};

/* False: the arena is too small. */
must_use bool security_open(struct security *security, struct arena *arena);
/* Decides for a session that is about to be opened. `implicit`: the port speaks TLS from the first byte. */
struct session_security security_of(const struct security *security, struct tls *tls,
                                    const struct config_limits *limits, const struct site *site,
                                    const struct host *host, uint16_t port, bool implicit, nsec now);
/* May the session still carry mail? Not if DNS has come to demand more of its host since it was opened, or is not
 * believed any more about what it said then. What was proved by DANE stays proved, whatever the records are now. */
must_use bool security_suffices(const struct session_security *had);
/* What the handshake must come to. False: what was to be checked is not there any more, for DNS has answered since:
 * the session is to end as failed. The demand borrows what `need` does. */
must_use bool security_demand(const struct session_security *need, struct tls_demand *demand);
/* A session has ended at STAGE_STARTTLS. True: it need not have been encrypted; TLS is remembered as broken there until
 * `until`, and another session, in plain text, may begin at once. False: nothing goes to this host now. */
bool security_failed(struct security *security, const struct session_security *need, nsec now, nsec until);
/* The host has refused mail because it was not encrypted (530, RFC 3207 §4): that TLS was broken there counts no more.
 */
void security_wanted(struct security *security, const struct host *host, uint16_t port);
/* "verified", "dane" or "": what a good handshake proved, for people. */
const char *security_proof(const struct session_security *need);

#endif
