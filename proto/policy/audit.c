/* Whoever says that no limit was exceeded in any interval must look at all of them; this looks at each start once. */
#include "proto/policy/audit.h"

static const nsec owed_most = (nsec)1 << 61, idle_least = 60 * NSEC_PER_S;

void audit_begin(struct audit *audit, nsec interval_ns, uint32_t burst, nsec grain_ns, unsigned skew_ppm)
{
    sluice_assert(interval_ns >= 0 && interval_ns < owed_most && skew_ppm < 1000000 && grain_ns >= 0);
    *audit = (struct audit){.burst = burst ? burst : 1, .grain_ns = grain_ns};
    audit->interval_ns = interval_ns - (nsec)((__int128)interval_ns * skew_ppm / 1000000);
    audit->idle_ns = nsec_max(idle_least, interval_ns > owed_most / 16 ? owed_most : 10 * interval_ns);
}

static nsec times(uint64_t n, nsec interval_ns)
{
    __int128 product = (__int128)n * interval_ns;
    return product > owed_most ? owed_most : (nsec)product;
}

/* The worst interval that ends with this start. */
static void look(struct audit *audit, nsec at)
{
    nsec early = audit->owed - times(audit->burst, audit->interval_ns);
    if (audit->worst.starts && early <= audit->worst.early)
        return;
    audit->worst = (struct audit_window){.from = audit->from,
                                         .to = at,
                                         .starts = audit->since,
                                         .allowed = audit->burst + (uint64_t)((at - audit->from) / audit->interval_ns),
                                         .early = early};
}

void audit_start(struct audit *audit, nsec at)
{
    sluice_assert(at >= 0 && (audit->starts == 0 || at >= audit->last));
    nsec gap = audit->starts ? at - audit->last : 0;
    audit->starts++;
    if (audit->starts == 1)
        audit->first = at;
    else if (gap <= audit->idle_ns) {
        audit->paced++;
        audit->busy += gap;
    }
    audit->last = at;
    if (!audit->interval_ns)
        return;
    audit->owed = audit->owed > gap ? audit->owed - gap : 0;
    if (!audit->owed) { /* all before it is paid for: an interval that began earlier would only be longer */
        audit->from = at;
        audit->since = 0;
    }
    audit->owed = nsec_min(audit->owed + audit->interval_ns, owed_most);
    audit->since++;
    look(audit, at);
}

bool audit_exceeded(const struct audit *audit)
{
    return audit->worst.starts > 0 && audit->worst.early > audit->grain_ns;
}

unsigned audit_reached(const struct audit *audit)
{
    if (!audit->interval_ns || !audit->busy)
        return 0;
    __int128 used = (__int128)audit->paced * audit->interval_ns * 1000 / audit->busy;
    return used > 1000000 ? 1000000 : (unsigned)used;
}

/* ---- days of a warm-up ---- */

static void recorded(struct audit_day *days, size_t count, const struct warmup_past *past)
{
    for (size_t i = 0; i < count; i++)
        if (days[i].day == past->day) {
            bool more = !days[i].known || past->cap > days[i].cap;
            days[i].cap = more ? past->cap : days[i].cap;
            days[i].granted = past->granted > days[i].granted ? past->granted : days[i].granted;
            days[i].known = true;
        }
}

void audit_days_recorded(struct audit_day *days, size_t count, const struct warmup_past *now, struct slice history)
{
    struct warmup_past past;
    recorded(days, count, now);
    while (warmup_history_next(&history, &past))
        recorded(days, count, &past);
}

uint64_t audit_day_allowed(const struct audit_day *day)
{
    if (!day->known)
        return WARMUP_UNLIMITED;
    return day->granted > day->cap ? day->granted : day->cap;
}

bool audit_day_exceeded(const struct audit_day *day) { return day->starts > audit_day_allowed(day); }
