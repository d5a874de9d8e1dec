/* judge.h - what the providers' ledger says of the promises: how many copies, and whether every limit held. */
#ifndef TESTS_SIM_JUDGE_H
#define TESTS_SIM_JUDGE_H

#include "sim_mx.h"

/* Accepted copies by seq of one campaign, counted by the token in the message and not by address. */
struct judge_copies {
    uint32_t *copies;   /* [seq]; owned */
    uint64_t count;     /* seqs 0 .. count - 1 */
    uint64_t strangers; /* accepted of this campaign with a seq beyond */
};
must_use struct judge_copies judge_copies(const struct sim_mail *mail, const char *campaign, uint64_t count);
void judge_copies_free(struct judge_copies *copies);
uint64_t judge_accepted(const struct sim_isp *isp);    /* recipients */
uint64_t judge_tokenless(const struct sim_mail *mail); /* accepted messages that carried no token */

/* Starts (MAIL) of one source at one ISP, in the order in which the client handed them over; owned by the caller
 * (free). `count` may be 0. */
must_use nsec *judge_starts(const struct sim_isp *isp, const char *source, size_t *count);

/* The formula of a lane: for every closed interval [a, b], starts <= burst + (b - a) / interval. Returns the number of
 * starts by which the worst interval exceeds it (0: it holds), and that interval. */
struct judge_window {
    nsec from, to;
    uint64_t starts;
    uint64_t excess;
};
struct judge_window judge_rate(const nsec *starts, size_t count, uint64_t burst, nsec interval);
/* How much of what the formula allowed between the first start and the last was used, in parts per thousand. */
unsigned judge_rate_reached(const nsec *starts, size_t count, uint64_t burst, nsec interval);

/* Most connections that this source had open to the ISP at once, by its own view. */
unsigned judge_connections_peak(const struct sim_isp *isp, const char *source);
/* Most starts that the ISP saw on one connection. */
unsigned judge_messages_peak(const struct sim_isp *isp);

#endif
