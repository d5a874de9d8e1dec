/* judge.c - reads the providers' ledger with no knowledge of how the engine keeps its promises. */
#include "judge.h"

#include <stdlib.h>
#include <string.h>

/* ---- copies ---- */

struct judge_copies judge_copies(const struct sim_mail *mail, const char *campaign, uint64_t count)
{
    struct judge_copies found = {.copies = calloc(count ? count : 1, sizeof *found.copies), .count = count};
    const struct mx_ledger *ledger = &mail->ledger;
    sluice_assert(found.copies);
    for (size_t i = 0; i < ledger->accepted_count; i++) {
        const struct mx_accepted *a = &ledger->accepted[i];
        if (a->seq == UINT64_MAX || strcmp(mx_ledger_campaign(ledger, a), campaign) != 0)
            continue;
        if (a->seq < count)
            found.copies[a->seq]++;
        else
            found.strangers++;
    }
    return found;
}

void judge_copies_free(struct judge_copies *copies)
{
    free(copies->copies);
    *copies = (struct judge_copies){0};
}

uint64_t judge_accepted(const struct sim_isp *isp) { return isp->server.accepted; }

uint64_t judge_tokenless(const struct sim_mail *mail)
{
    uint64_t n = 0;
    for (size_t i = 0; i < mail->ledger.accepted_count; i++)
        n += mail->ledger.accepted[i].seq == UINT64_MAX;
    return n;
}

/* ---- rates ---- */

static struct mx_ip ip_of(const char *source)
{
    struct io_address address;
    bool parsed = io_address_parse(&address, source, 0);
    sluice_assert(parsed);
    return sim_mx_ip(&address);
}

static int earlier(const void *a, const void *b)
{
    nsec x = *(const nsec *)a, y = *(const nsec *)b;
    return (x > y) - (x < y);
}

nsec *judge_starts(const struct sim_isp *isp, const char *source, size_t *count)
{
    const struct mx_ledger *ledger = &isp->mail->ledger;
    struct mx_ip ip = ip_of(source);
    nsec *starts = malloc((ledger->start_count + 1) * sizeof *starts);
    sluice_assert(starts);
    *count = 0;
    for (size_t i = 0; i < ledger->start_count; i++) {
        const struct mx_start *s = &ledger->starts[i];
        if (s->server == isp->server.number && memcmp(&isp->server.sources[s->source].ip, &ip, sizeof ip) == 0)
            starts[(*count)++] = s->at;
    }
    qsort(starts, *count, sizeof *starts, earlier);
    return starts;
}

/* The worst interval begins and ends with a start. With g(i) = t(i) - i * interval, starts i .. j exceed the formula
 * if and only if g(j) < g(i) - (burst - 1) * interval, so the worst partner of each j is the i with the largest g. */
struct judge_window judge_rate(const nsec *starts, size_t count, uint64_t burst, nsec interval)
{
    struct judge_window worst = {0};
    __int128 most = 0;
    size_t first = 0;
    for (size_t j = 0; j < count; j++) {
        __int128 g = (__int128)starts[j] - (__int128)j * interval;
        if (j == 0 || g > most) {
            most = g;
            first = j;
        }
        uint64_t n = j - first + 1, allowed = burst + (uint64_t)((starts[j] - starts[first]) / interval);
        if (n > allowed && n - allowed > worst.excess)
            worst = (struct judge_window){starts[first], starts[j], n, n - allowed};
    }
    return worst;
}

unsigned judge_rate_reached(const nsec *starts, size_t count, uint64_t burst, nsec interval)
{
    if (!count)
        return 0;
    uint64_t allowed = burst + (uint64_t)((starts[count - 1] - starts[0]) / interval);
    return (unsigned)(count * 1000 / allowed);
}

/* ---- connections ---- */

unsigned judge_connections_peak(const struct sim_isp *isp, const char *source)
{
    struct mx_ip ip = ip_of(source);
    for (unsigned i = 0; i < isp->caller_count; i++)
        if (memcmp(&isp->callers[i].ip, &ip, sizeof ip) == 0)
            return isp->callers[i].peak;
    return 0;
}

unsigned judge_messages_peak(const struct sim_isp *isp)
{
    const struct mx_ledger *ledger = &isp->mail->ledger;
    unsigned *starts = calloc(ledger->connections + 1, sizeof *starts), peak = 0;
    sluice_assert(starts);
    for (size_t i = 0; i < ledger->start_count; i++) {
        const struct mx_start *s = &ledger->starts[i];
        if (s->server == isp->server.number && ++starts[s->connection] > peak)
            peak = starts[s->connection];
    }
    free(starts);
    return peak;
}
