/* sim_mx.h - the mailbox providers of a simulated world: exchangers driven by bench/mx.c over the world's pipes, whose
 * personalities change with time, and one ledger of all that they accepted.
 *
 * The ledger's starts carry the instant at which the client handed over the last byte of its MAIL, not the one at
 * which it arrived: a throttle is judged by what the client did. judge.h asks the questions.
 *
 * Lifetimes: the mail outlives the engine under test (its processes have crashed or closed before sim_mail_free), and
 * the world outlives the mail. */
#ifndef TESTS_SIM_MX_H
#define TESTS_SIM_MX_H

#include "bench/mx_tls.h"
#include "sim/sim.h"

enum {
    SIM_ISP_HOSTS = 8,
    SIM_ISP_MOODS = 32,
    SIM_ISPS = 200,
};

struct sim_mail;
struct sim_isp;

/* One exchanger: a machine with a process that serves its addresses. */
struct sim_exchanger {
    struct sim_isp *isp;
    struct sim_host *host;
    struct io_group *group;
    struct io *io;           /* NULL: it is down */
    struct io_address at[2]; /* IPv4, IPv6 */
    struct io_accept accept[2];
    struct sim_session *sessions;
    char name[MX_NAME_MAX];
};

/* From `at` on the ISP is of this mind. */
struct sim_mood {
    struct sim_isp *isp;
    struct io_timer timer;
    struct mx_personality personality;
};

/* How many connections a client address has open to an ISP, by the client's own view. */
struct sim_caller {
    struct mx_ip ip;
    unsigned open, peak;
    uint64_t connections;
    nsec *begun; /* when each of them was */
};

struct sim_isp {
    struct sim_mail *mail;
    struct sim_isp *next;
    char name[MX_NAME_MAX];
    unsigned number;
    struct mx_server server; /* shared by its exchangers: limits and rates are the ISP's */
    struct mx_personality personality;
    struct sim_exchanger exchangers[SIM_ISP_HOSTS];
    unsigned exchanger_count;
    struct sim_mood *moods[SIM_ISP_MOODS];
    unsigned mood_count;
    struct sim_caller *callers;
    unsigned caller_count;
    unsigned open, peak; /* of all callers together */
};

struct sim_mail {
    struct sim_world *world;
    struct mx_ledger ledger;
    struct sim_isp *isps;
    unsigned isp_count;
    uint16_t port;
    struct mx_tls *tls; /* NULL: nobody has needed it yet */
    bool tls_borrowed;
    struct sim_host *director_host; /* where the clock of the moods stands */
    struct io *director;
};

/* Exchangers will listen on `port`. */
must_use struct sim_mail *sim_mail_new(struct sim_world *world, uint16_t port);
void sim_mail_free(struct sim_mail *mail);
/* The CA and the keys of all ISPs, which are made when they are first needed: by this, or by an ISP that has TLS.
 * Making them takes a fraction of a second, so who builds many worlds lends each the same before its first such ISP,
 * and frees it behind the last world. Sessions are remembered in it, not in tickets, and keys are RSA: for the trace's
 * sake. */
struct mx_tls *sim_mail_tls(struct sim_mail *mail);
void sim_mail_lend_tls(struct sim_mail *mail, struct mx_tls *tls);

/* An ISP of 1 .. SIM_ISP_HOSTS exchangers mx1.NAME, mx2.NAME ... with an IPv4 address each, and IPv6 where `ipv6`; the
 * zone knows their names. */
struct sim_isp *sim_isp_new(struct sim_mail *mail, const char *name, const struct mx_personality *personality,
                            unsigned exchangers, bool ipv6);
/* Gives `domain` an MX record for each exchanger: preference 10 for the first `best`, 20 for the others. */
void sim_isp_domain(struct sim_isp *isp, const char *domain, uint32_t ttl_s, unsigned best);
/* One that has the domain of its name, all exchangers at the same preference, and takes `body` to accept a message. */
struct sim_isp *sim_isp_plain(struct sim_mail *mail, const char *name, nsec body, unsigned exchangers);
/* From `at` on the ISP behaves so; at or before now: at once. Connections that are open go on under it. */
void sim_isp_mood(struct sim_isp *isp, nsec at, const struct mx_personality *personality);
/* The exchanger dies with all its sessions, or is started again. */
void sim_isp_stop(struct sim_isp *isp, unsigned exchanger);
void sim_isp_start(struct sim_isp *isp, unsigned exchanger);
struct sim_isp *sim_isp_find(struct sim_mail *mail, const char *name); /* NULL: none */

struct mx_ip sim_mx_ip(const struct io_address *address);

#endif
