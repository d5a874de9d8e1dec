/* sink_report.c - adds up what the threads' servers counted and prints it. */
#include "bench/sink_report.h"

#include <stdio.h>

void sink_report_add(struct sink_total *total, const struct mx_server *server)
{
    slice_copy(total->name, sizeof total->name, slice_of(server->personality->name));
    total->connections += server->connections;
    total->refused += server->connections_refused;
    total->mails += server->mails;
    total->accepted += server->accepted;
    total->bytes += server->bytes;
    total->limited += server->limited;
    total->resets += server->aborts;
    total->tls_full += server->tls_full;
    total->tls_resumed += server->tls_resumed;
    total->tls_failed += server->tls_failed;
    total->tls_nameless += server->tls_nameless;
    total->accepted_tls += server->accepted_tls;
    total->accepted_chunked += server->accepted_chunked;
    total->accepted_authenticated += server->accepted_authenticated;
    total->logins += server->logins;
    total->logins_refused += server->logins_refused;
    total->probes += server->probes;
    if (server->open_peak > total->open_peak)
        total->open_peak = server->open_peak;
    for (unsigned i = 0; i < server->source_count; i++)
        if (server->sources[i].open_peak > total->source_peak)
            total->source_peak = server->sources[i].open_peak;
    for (unsigned stage = 0; stage < MX_STAGE_COUNT; stage++) {
        total->replies_4 += server->replies[stage][4];
        total->replies_5 += server->replies[stage][5];
    }
}

static uint64_t violations_in(const struct sink_sum *sum)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < MX_VIOLATION_COUNT; i++)
        total += sum->violations[i];
    return total;
}

/* Names come from a file of ours or are our own; what would break the JSON is left out of them. */
static void print_json_text(const char *text)
{
    putchar('"');
    for (; *text; text++)
        if ((unsigned char)*text >= 0x20 && *text != '"' && *text != '\\')
            putchar(*text);
    putchar('"');
}

static void print_json(const struct sink_sum *sum, unsigned count, double seconds, double cpu)
{
    printf("{\"seconds\":%.3f,\"cpu_seconds\":%.6f,\"isps\":[", seconds, cpu);
    for (unsigned i = 0; i < count; i++) {
        const struct sink_total *t = &sum->totals[i];
        printf("%s{\"isp\":", i ? "," : "");
        print_json_text(t->name);
        printf(",\"connections\":%llu,\"refused\":%llu,\"open_peak\":%u,\"source_peak\":%u,\"mails\":%llu,"
               "\"accepted\":%llu,\"bytes\":%llu,\"limited\":%llu,\"replies_4\":%llu,\"replies_5\":%llu,"
               "\"resets\":%llu",
               (unsigned long long)t->connections, (unsigned long long)t->refused, t->open_peak, t->source_peak,
               (unsigned long long)t->mails, (unsigned long long)t->accepted, (unsigned long long)t->bytes,
               (unsigned long long)t->limited, (unsigned long long)t->replies_4, (unsigned long long)t->replies_5,
               (unsigned long long)t->resets);
        printf(",\"tls_full\":%llu,\"tls_resumed\":%llu,\"tls_failed\":%llu,\"tls_nameless\":%llu,"
               "\"accepted_tls\":%llu,\"accepted_chunked\":%llu,\"accepted_authenticated\":%llu,\"logins\":%llu,"
               "\"logins_refused\":%llu,\"probes\":%llu}",
               (unsigned long long)t->tls_full, (unsigned long long)t->tls_resumed, (unsigned long long)t->tls_failed,
               (unsigned long long)t->tls_nameless, (unsigned long long)t->accepted_tls,
               (unsigned long long)t->accepted_chunked, (unsigned long long)t->accepted_authenticated,
               (unsigned long long)t->logins, (unsigned long long)t->logins_refused, (unsigned long long)t->probes);
    }
    printf("],\"violation_total\":%llu,\"violations\":{", (unsigned long long)violations_in(sum));
    bool first = true;
    for (unsigned i = 1; i < MX_VIOLATION_COUNT; i++) {
        if (!sum->violations[i])
            continue;
        printf("%s\"%s\":%llu", first ? "" : ",", mx_violation_name((enum mx_violation)i),
               (unsigned long long)sum->violations[i]);
        first = false;
    }
    printf("},\"first_violation\":");
    print_json_text(sum->first_violation);
    printf("}\n");
}

static void print_table(const struct sink_sum *sum, unsigned count, double seconds, double cpu)
{
    uint64_t accepted = 0, tls = 0, full = 0, resumed = 0;
    printf("%-20s %10s %10s %8s %12s %6s %10s %10s %14s\n", "isp", "mail", "accepted", "limited", "connections", "peak",
           "4xx", "5xx", "bytes");
    for (unsigned i = 0; i < count; i++) {
        const struct sink_total *t = &sum->totals[i];
        printf("%-20s %10llu %10llu %8llu %12llu %6u %10llu %10llu %14llu\n", t->name, (unsigned long long)t->mails,
               (unsigned long long)t->accepted, (unsigned long long)t->limited, (unsigned long long)t->connections,
               t->open_peak, (unsigned long long)t->replies_4, (unsigned long long)t->replies_5,
               (unsigned long long)t->bytes);
        accepted += t->accepted;
        tls += t->accepted_tls;
        full += t->tls_full;
        resumed += t->tls_resumed;
    }
    printf("%llu accepted in %.1f s, CPU %.2f s (%.1f us each), %llu breaches of the protocol\n",
           (unsigned long long)accepted, seconds, cpu, accepted ? cpu * 1e6 / (double)accepted : 0.0,
           (unsigned long long)violations_in(sum));
    if (full + resumed)
        printf("%llu of them by TLS, in %llu sessions that were new and %llu that were resumed\n",
               (unsigned long long)tls, (unsigned long long)full, (unsigned long long)resumed);
    for (unsigned i = 1; i < MX_VIOLATION_COUNT; i++)
        if (sum->violations[i])
            printf("  %s: %llu\n", mx_violation_name((enum mx_violation)i), (unsigned long long)sum->violations[i]);
    if (sum->first_violation[0])
        printf("  the first: %s\n", sum->first_violation);
}

void sink_report_print(const struct sink_sum *sum, unsigned count, double seconds, double cpu, bool json)
{
    if (json)
        print_json(sum, count, seconds, cpu);
    else
        print_table(sum, count, seconds, cpu);
    fflush(stdout);
}
