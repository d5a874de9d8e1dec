/* sink_shard.h - one thread of sluice-sink: its ring, its connections, its own part of the ledger.
 *
 * Threads share nothing but the listening addresses; limits and rates of a personality hold for each thread. */
#ifndef BENCH_SINK_SHARD_H
#define BENCH_SINK_SHARD_H

#include "bench/mx_tls.h"
#include "bench/sink_report.h"
#include "io/io.h"

struct sink_options {
    const struct mx_config *config;
    unsigned threads;
    unsigned connections; /* of one thread; more are closed as they come */
    uint64_t seed;
    int ledger_fd, starts_fd; /* appended to in whole lines; -1: none */
    int signal_fd;            /* SIGTERM and SIGINT end, SIGUSR1 reports; watched by thread 0 */
    bool json;
    struct mx_tls *tls; /* shared; NULL: no ISP has TLS */
    const char *store;  /* directory for messages as they came, see sink_store.h; NULL: they are not kept */
};

struct sink_shard;

/* Opens the ring and every listener on the calling thread, which must be the one that runs it. NULL with a sentence. */
must_use struct sink_shard *sink_shard_open(const struct sink_options *options, struct io_group *group, unsigned shard,
                                            char *error, size_t error_cap);
/* Serves until told to end; then all lines are written. `report` is called on SIGUSR1, in thread 0. */
void sink_shard_run(struct sink_shard *shard, void (*report)(void *context, const struct sink_shard *shard),
                    void *context);
void sink_shard_close(struct sink_shard *shard); /* by the thread that opened it */

/* Adds what this shard counted; for the shard's own thread. */
void sink_shard_add(const struct sink_shard *shard, struct sink_sum *sum);

#endif
