/* metrics.h - what a shard counts, and what others may read of it while it runs.
 *
 * One block per shard. The shard is its only writer and writes with relaxed atomics and no locked instruction; any
 * thread may read at any time. A counter never goes back while the engine lives. Exposition is Prometheus' text
 * format 0.0.4, made from one table (metrics.c), summed over the shards.
 *
 * The board is the answer to `sluice status`: a fixed table where a shard publishes, about once a second, one row per
 * (pool, ISP, source) that goes or waits, and why. A reader gets one consistent board, never a mixture of two.
 *
 * Everything is allocated by metrics_create and owned by the struct metrics. */
#ifndef CONTROL_METRICS_H
#define CONTROL_METRICS_H

#include "sluice/base.h"
#include "sluice/event.h"
#include "sluice/limits.h"

enum metric {
    METRIC_BROKEN = 0,
    /* counters: one per event type, in the order of enum event_type. Use metrics_event. */
    METRIC_DELIVERED,
    METRIC_DEFERRED,
    METRIC_BOUNCED,
    METRIC_EXPIRED,
    METRIC_SUPPRESSED,
    METRIC_INVALID,
    METRIC_CANCELLED,
    METRIC_IN_DOUBT,
    /* counters */
    METRIC_LEASED_LIST,    /* recipients leased from a campaign's list */
    METRIC_LEASED_PARKED,  /* from parked lists */
    METRIC_LEASED_RETRY,   /* from the retry set */
    METRIC_LEASED_ADOPTED, /* taken over from a lease of an earlier engine */
    METRIC_PARKED,         /* recipients moved to a parked list */
    METRIC_STARTED,        /* MAIL handed to the ring */
    METRIC_BODY_BYTES,     /* bytes of bodies handed to the ring */
    METRIC_PERMITS_GRANTED,
    METRIC_PERMITS_REFUSED,
    METRIC_PERMITS_WITHDRAWN,
    METRIC_SESSIONS_OPENED,         /* greeted and ready */
    METRIC_SESSIONS_FAILED_CONNECT, /* ended before they were ready, by what failed */
    METRIC_SESSIONS_FAILED_GREETING,
    METRIC_SESSIONS_FAILED_TLS,
    METRIC_SESSIONS_LOST, /* ended by the peer or a time-out after they were ready */
    METRIC_DNS_CACHED,    /* look-ups answered from the cache */
    METRIC_DNS_OK,
    METRIC_DNS_NEGATIVE, /* NXDOMAIN, no data, null MX */
    METRIC_DNS_FAILED,   /* SERVFAIL, time-outs */
    METRIC_DANE_OK,      /* TLSA look-ups of mail hosts: there are secure records */
    METRIC_DANE_NONE,    /* there are none */
    METRIC_DANE_FAILED,  /* no answer, or one that does not validate: the host is passed over */
    METRIC_STS_FETCHES,  /* MTA-STS policies asked for */
    METRIC_STS_LEFT_OUT, /* look-ups of domains with MX hosts that their policy does not allow: mode enforce, testing */
    METRIC_STS_WOULD_LEAVE_OUT,
    METRIC_STEPS_FENCED,
    METRIC_REDIS_LOST,  /* times that the connection to Redis was lost */
    METRIC_RENDERED,    /* messages that were pressed */
    METRIC_SIGNATURES,  /* DKIM signatures that were computed for them */
    METRIC_SIGNED_IN_LANES,
    METRIC_SIGNED_AGAIN, /* signatures that a lane got wrong */
    METRIC_THROWN_AWAY, /* of the messages, those that were not sent */
    METRIC_UNSIGNED,    /* messages that were not sent because they could not be signed */
    METRIC_LIST_ASKED,   /* recipients that the suppression list was asked about */
    METRIC_LIST_FOUND,   /* of them, those that are on it */
    METRIC_LIST_AGAIN,   /* of them, those that had waited for more than a minute */
    METRIC_LIST_STRIKES, /* refusals that count against an address */
    METRIC_LIST_ADDED,   /* addresses that came on the list by one */
    METRIC_ADAPT_WORDS, /* replies that asked a lane, or more, to be slower or silent */
    METRIC_WARMUP_GRANTED, /* units of warm-up counters, by what became of them */
    METRIC_WARMUP_USED,
    METRIC_WARMUP_RETURNED,
    METRIC_WARMUP_THROWN_AWAY,
    METRIC_LOG_LOST,       /* lines of the log that could not be written */
    METRIC_RELOADS_FAILED, /* configurations that were read again and not taken */
    METRIC_LACKED_DESCRIPTORS, /* sessions that could not be begun, or go on, for a lack of this machine */
    METRIC_LACKED_MEMORY,
    METRIC_LACKED_PORTS,
    METRIC_LACKED_SOURCE,
    METRIC_TURNS,       /* turns of the shard's loop */
    METRIC_POSTS_RECEIVED,
    METRIC_POSTS_DROPPED, /* the ring was full: hints, which are repeated */
    /* gauges */
    METRIC_SESSIONS, /* open now */
    METRIC_SESSIONS_BUSY,
    METRIC_CONNECTING,
    METRIC_LANES,
    METRIC_CAMPAIGNS,
    METRIC_LEASES,
    METRIC_ATTEMPTS_WAITING, /* in memory, not started */
    METRIC_ATTEMPTS_OPEN,    /* started, without an outcome */
    METRIC_PERMITS_WAITING,  /* asked for, not answered */
    METRIC_PRESS_BYTES,
    METRIC_REDIS_CONNECTED, /* shards connected to Redis */
    METRIC_LANES_SILENT,
    METRIC_LANES_SLOWED,
    METRIC_LANES_HELD,
    METRIC_WARMUP_WAITING,  /* lanes that wait for a unit */
    METRIC_BUSY_PERMILLE,   /* of the last second, what each shard worked, added up */
    METRIC_REDIS_US,        /* what the last small step took, added up over the shards */
    METRIC_DNS_WAITING,     /* attempts that wait for DNS */
    METRIC_DKIM_WRONG,      /* keys whose published record does not fit, or was not found */
    METRIC_CONFIG_GENERATION, /* reloads that were taken */
    METRIC_COUNT
};

enum metrics_histogram {
    METRICS_HISTOGRAM_BROKEN = 0,
    METRICS_MESSAGE, /* from MAIL to the reply to the dot */
    METRICS_CONNECT, /* from the socket to a session that is ready */
    METRICS_TURN,    /* one turn's work, without its sleep */
    METRICS_HISTOGRAM_COUNT
};
enum { METRICS_BUCKETS = 16 }; /* the last is +Inf */

/* One line of the board. Text ends with a zero byte. */
enum { METRICS_WHY = 96, METRICS_WAITS = 24 };
struct metrics_row {
    char pool[LIMIT_POOL_NAME + 8];
    char isp[LIMIT_ISP_NAME + 8];
    char source[LIMIT_SOURCE_NAME + 8];
    char why[METRICS_WHY]; /* why it does not go faster: "rate 500/min", "connection refused by ..."; "": it goes */
    uint64_t sessions;     /* open */
    uint64_t connecting;
    uint64_t waiting; /* attempts in memory that wait to start */
    uint64_t parked;  /* recipients parked in Redis, as last seen; known per ISP: in one row of it, 0 in others */
    uint64_t open;    /* attempts started, without an outcome */
    uint64_t started; /* since the engine began */
    uint64_t delivered, deferred, bounced; /* likewise */
    uint64_t started_per_ks;               /* starts in a thousand seconds, at the pace of the last interval */
    uint64_t allowed;    /* sessions that may be open now */
    uint64_t percent;    /* of the configured rate or connections that is in force */
    uint64_t message_us; /* mean time from MAIL to the reply to the dot; 0: none yet */
    uint64_t connect_us; /* ... from the socket to a session that is ready */
    uint64_t wait;       /* enum lane_why: what it waits for now */
    uint64_t waited_ms[METRICS_WAITS]; /* by enum lane_why: how long somebody waited for that, since the lane began */
    int64_t next_ms; /* UTC at which the next start is allowed, when that is not now; 0: now or unknown */
};
_Static_assert(sizeof(struct metrics_row) % sizeof(uint64_t) == 0, "the board is copied in words");

enum { METRICS_BOARD_ROWS = 512 }; /* of one shard; what does not fit is counted in `left_out` */

/* The shard's block. All fields are private. */
struct metrics_shard {
    uint64_t values[METRIC_COUNT];
    struct {
        uint64_t buckets[METRICS_BUCKETS];
        uint64_t sum_ns;
    } histograms[METRICS_HISTOGRAM_COUNT];
    struct {
        uint64_t version; /* odd while it is written */
        uint64_t count, left_out;
        int64_t wall_ms;
        uint64_t rows[METRICS_BOARD_ROWS * (sizeof(struct metrics_row) / sizeof(uint64_t))];
    } board;
} __attribute__((aligned(64)));

struct metrics;

/* NULL: no memory. */
must_use struct metrics *metrics_create(unsigned shards);
void metrics_free(struct metrics *metrics);
unsigned metrics_shards(const struct metrics *metrics);
/* The block of one shard; borrows until metrics_free. */
struct metrics_shard *metrics_of(struct metrics *metrics, unsigned shard);
/* The same for those who only read. */
const struct metrics_shard *metrics_look(const struct metrics *metrics, unsigned shard);

/* ---- for the shard alone ---- */

static inline void metrics_add(struct metrics_shard *shard, enum metric metric, uint64_t n)
{
    uint64_t *value = &shard->values[metric];
    __atomic_store_n(value, __atomic_load_n(value, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void metrics_set(struct metrics_shard *shard, enum metric metric, uint64_t n)
{
    __atomic_store_n(&shard->values[metric], n, __ATOMIC_RELAXED);
}

static inline void metrics_event(struct metrics_shard *shard, enum event_type type)
{
    metrics_add(shard, (enum metric)(METRIC_DELIVERED + (type - EVENT_DELIVERED)), 1);
}

/* Negative durations count as zero. */
void metrics_observe(struct metrics_shard *shard, enum metrics_histogram histogram, nsec value);

/* begin, put each row, end. Rows past METRICS_BOARD_ROWS are counted only. `wall_ms`: UTC now. */
void metrics_board_begin(struct metrics_shard *shard);
void metrics_board_put(struct metrics_shard *shard, const struct metrics_row *row);
void metrics_board_end(struct metrics_shard *shard, int64_t wall_ms);

/* ---- for any thread ---- */

static inline uint64_t metrics_get(const struct metrics_shard *shard, enum metric metric)
{
    return __atomic_load_n(&shard->values[metric], __ATOMIC_RELAXED);
}
uint64_t metrics_total(const struct metrics *metrics, enum metric metric);

/* Copies the shard's board: at most METRICS_BOARD_ROWS rows to `rows`. False: it was being written every time that we
 * looked; try again. */
struct metrics_board {
    unsigned count;
    uint64_t left_out;
    int64_t wall_ms; /* when it was published; 0: never yet */
};
must_use bool metrics_board_read(const struct metrics_shard *shard, struct metrics_row *rows,
                                 struct metrics_board *board);

/* When the board was published, UTC; 0: never yet. */
static inline int64_t metrics_board_time(const struct metrics_shard *shard)
{
    return __atomic_load_n(&shard->board.wall_ms, __ATOMIC_RELAXED);
}

/* Prometheus' text, line by line without the line's end. */
void metrics_expose(const struct metrics *metrics, void (*line)(void *context, const char *text), void *context);

#endif
