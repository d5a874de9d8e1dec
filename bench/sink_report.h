/* sink_report.h - what a run of sluice-sink came to, over all of its threads, for people and for scripts. */
#ifndef BENCH_SINK_REPORT_H
#define BENCH_SINK_REPORT_H

#include "bench/mx.h"

struct sink_total {
    char name[MX_NAME_MAX];
    uint32_t open_peak; /* of one thread and, second, of one client address */
    uint32_t source_peak;
    uint64_t connections, refused, mails, accepted, bytes, limited, replies_4, replies_5, resets;
    uint64_t tls_full, tls_resumed, tls_failed, tls_nameless; /* handshakes */
    uint64_t accepted_tls, accepted_chunked, accepted_authenticated;
    uint64_t logins, logins_refused, probes;
};

struct sink_sum {
    struct sink_total *totals; /* by personality */
    uint64_t violations[MX_VIOLATION_COUNT];
    char first_violation[512];
};

void sink_report_add(struct sink_total *total, const struct mx_server *server);
/* On stdout: one line of JSON, or a table. `count` ISPs; seconds of the clock and of CPU since the start. */
void sink_report_print(const struct sink_sum *sum, unsigned count, double seconds, double cpu, bool json);

#endif
