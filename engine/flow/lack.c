/* A machine that runs short must not be taken for a provider that refuses: whoever waits has to wait, not to bounce. */
#include "flow/lack.h"

#include "flow/shard.h"

#include <errno.h>
#include <stdio.h>

static const nsec pause = NSEC_PER_S, pause_of_source = 10 * NSEC_PER_S, quiet = 60 * NSEC_PER_S;

static const struct {
    enum metric metric;
    const char *begins, *over;
} words[LACK_KINDS] = {
    [LACK_DESCRIPTORS] = {METRIC_LACKED_DESCRIPTORS,
                          "no file descriptor for a session: recipients wait, what is open goes on; raise LimitNOFILE "
                          "(ulimit -n, fs.file-max) or lower sessions_max",
                          "there are file descriptors for sessions again"},
    [LACK_MEMORY] =
        {METRIC_LACKED_MEMORY,
         "no memory for a session: recipients wait, what is open goes on; give this machine memory or lower "
         "sessions_max",
         "there is memory for sessions again"},
    [LACK_PORTS] = {METRIC_LACKED_PORTS,
                    "a source has no port left for a session: recipients wait; widen net.ipv4.ip_local_port_range, add "
                    "sources or lower connections",
                    "there are ports for sessions again"},
    [LACK_SOURCE] =
        {METRIC_LACKED_SOURCE,
         "a source cannot be used and rests: put its address on an interface (ip address add ... dev ...) or "
         "take it out of the configuration",
         "a source can be used again"},
};

enum lack_kind lack_of_socket(int result)
{
    switch (result) {
    case -EMFILE:
    case -ENFILE:
        return LACK_DESCRIPTORS;
    case -ENOBUFS:
    case -ENOMEM:
        return LACK_MEMORY;
    default: /* EADDRNOTAVAIL: with IP_BIND_ADDRESS_NO_PORT a bind takes no port, so it is the address */
        return LACK_SOURCE;
    }
}

enum lack_kind lack_of_connection(int result)
{
    switch (result) {
    case -EADDRNOTAVAIL: /* every port of the source is in use towards that host */
    case -EADDRINUSE:
        return LACK_PORTS;
    case -EMFILE:
    case -ENFILE:
        return LACK_DESCRIPTORS;
    case -ENOBUFS:
    case -ENOMEM:
    case -EAGAIN:
        return LACK_MEMORY;
    default:
        return LACK_NOTHING;
    }
}

static struct lack_trouble *trouble_of(struct lack *lack, enum lack_kind kind, unsigned source)
{
    return kind == LACK_SOURCE ? &lack->sources[source] : &lack->troubles[kind];
}

static void tell(struct shard *shard, const struct lane *lane, enum lack_kind kind, int result)
{
    struct lack_trouble *trouble = trouble_of(&shard->lack, kind, lane->source);
    nsec now = io_now(shard->io);
    if (!trouble->trouble.count)
        snprintf(trouble->said, sizeof trouble->said, "source %s, isp %s: %s",
                 shard->config->sources[lane->source].name, lane->own.isp, strerror(-result));
    trouble->met_at = now;
    log_trouble(&shard->log, &trouble->trouble, now, 60 * NSEC_PER_S, words[kind].begins, trouble->said);
    metrics_add(shard->metrics, words[kind].metric, 1);
}

/* ---- what follows ---- */

static void on_timer(struct io_timer *timer)
{
    struct shard *shard = container_of(timer, struct shard, lack.timer);
    shard->crowd.most = shard->sessions_most;
    carry_mark_all(shard);
}

/* Whoever has no session stands in line for those that there are: one that ends leaves its descriptor to the next.
 * Whoever has some looks again when the pause is over. */
static void share_what_is_open(struct shard *shard, struct lane *lane)
{
    shard->crowd.most = pool_in_use(&shard->session_pool);
    bool may = crowd_may_open(&shard->crowd, lane, lane_waits_high(lane));
    sluice_assert(!may);
}

static void begin_none(struct shard *shard, enum lack_kind kind, int result, struct lane *lane)
{
    nsec until = io_now(shard->io) + pause;
    if (kind == LACK_DESCRIPTORS && result == -EMFILE)
        share_what_is_open(shard, lane);
    else
        shard->lack.until = until; /* to end sessions would help nobody */
    if (!io_timer_is_set(&shard->lack.timer))
        io_timer_set(shard->io, &shard->lack.timer, until);
}

bool lack_may_begin(struct shard *shard, struct lane *lane)
{
    if (shard->lack.until <= io_now(shard->io))
        return true;
    carry_wake_at(shard, lane, shard->lack.until);
    return false;
}

static void rest(struct shard *shard, unsigned source)
{
    nsec until = io_now(shard->io) + pause_of_source;
    shard->lanes.absent_until[source] = until;
    for (struct backlog *backlog = shard->lanes.backlogs; backlog; backlog = backlog->next)
        for (unsigned i = 0; i < backlog->lane_count; i++)
            if (backlog->lanes[i]->source == source) {
                carry_leave_lane(shard, backlog->lanes[i]);
                carry_wake_at(shard, backlog->lanes[i], until);
            }
}

void lack_met(struct shard *shard, struct lane *lane, enum lack_kind kind, int result)
{
    sluice_assert(kind > LACK_NOTHING && kind < LACK_KINDS);
    tell(shard, lane, kind, result);
    if (kind == LACK_SOURCE) {
        rest(shard, lane->source);
    } else if (kind == LACK_PORTS) {
        lane->lacks_until = io_now(shard->io) + pause;
        carry_wake_at(shard, lane, lane->lacks_until);
    } else {
        begin_none(shard, kind, result, lane);
    }
}

/* ---- when it is over ---- */

static void over(struct shard *shard, struct lack_trouble *trouble, enum lack_kind kind)
{
    log_trouble_over(&shard->log, &trouble->trouble, io_now(shard->io), words[kind].over);
}

void lack_begun(struct shard *shard, unsigned source) { over(shard, &shard->lack.sources[source], LACK_SOURCE); }

/* A machine at its limit has a descriptor now and none a moment later, so that one session proves nothing. */
void lack_tick(struct shard *shard)
{
    for (enum lack_kind kind = LACK_DESCRIPTORS; kind < LACK_SOURCE; kind++)
        if (io_now(shard->io) - shard->lack.troubles[kind].met_at >= quiet)
            over(shard, &shard->lack.troubles[kind], kind);
}

bool lack_open(struct shard *shard)
{
    shard->lack.timer.fire = on_timer;
    shard->lack.sources = arena_take(&shard->arena, CONFIG_SOURCES_MAX * sizeof *shard->lack.sources, sizeof(void *));
    shard->crowd.most = shard->sessions_most;
    return shard->lack.sources != NULL;
}
