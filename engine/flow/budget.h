/* budget.h - what this shard may still start today for sources that are warmed up (proto/policy/warmup.h).
 *
 * A *counter* is (source, ISP), (source, `other`) or (source, `all`); it is shared by shards and engines through Redis
 * alone (store/warmup.h). Each shard fetches *pieces* of a counter's day ahead while a lane waits for it. A *unit* of a
 * piece is reserved before a message is pressed, committed when its end is known or its connection is lost, and
 * released only if its MAIL was never handed to the ring.
 *
 * Guarantee, for each counter, at every instant, over all shards and engines:
 *     committed + reserved  <=  granted by Redis in that day  <=  the day's cap
 * also when Redis loses its last seconds: a piece is *settled*, and so of use, when the same server process that
 * granted it was alive `warmup_settle` after its answer; with appendfsync everysec it is on the disk then. Pieces are
 * thrown away when the server is another one before they are settled, at the end of their day (by our monotonic clock
 * from the question on, a second early), when this engine loses the source, and when the stage falls. What is thrown
 * away is never sent: too little, never too much.
 *
 * Units of a piece become free one after another, at the pace that the piece was asked for. A counter that nobody waits
 * for costs nothing; one that waits, nothing between its times. */
#ifndef FLOW_BUDGET_H
#define FLOW_BUDGET_H

#include "control/config.h"
#include "control/log.h"
#include "control/metrics.h"
#include "flow/lane.h"
#include "io/arena.h"
#include "io/io.h"
#include "io/pool.h"
#include "io/table.h"
#include "store/warmup.h"

enum { BUDGET_PIECES = 6 };

struct budget;

struct budget_piece {
    uint64_t epoch; /* of the server that granted it */
    uint32_t serial;
    bool settled;
    uint64_t units, used;
    int64_t day;
    nsec answered_at;
    nsec opens_at, interval; /* settled: the first unit is free at opens_at, the next one each interval */
    nsec ends_at;            /* from then on it is of no use */
};

/* One conversation with Redis; a counter has one at a time. */
struct budget_talk {
    struct store_request request;
    struct budget_counter *counter, *all; /* all: NULL where there is none */
    struct store_warmup_view view;
    struct store_warmup_swap swap;
    struct warmup_turned turned;
    struct zone_day day;
    nsec asked_at, interval;
    unsigned part; /* that is swapped or told */
    bool struck;   /* it was asked because of a block */
    char told[STORE_WARMUP_TOLD], history[256];
};

struct budget_counter {
    struct table_link link;
    struct budget_counter *next; /* all */
    struct budget *budget;
    unsigned source; /* index into config.sources */
    uint32_t number; /* in the order in which they were made */
    char name[LIMIT_ISP_NAME + 1];
    const struct warmup_plan *plan; /* of the configuration in force; NULL: it has none any more */
    struct budget_counter *all;     /* that every unit counts for, too; NULL: there is none, or this is it */
    nsec gate;                      /* no unit is free before; NSEC_NEVER: it is not known when */
    struct lane_line line;          /* lanes that wait for a unit */
    struct io_timer timer;
    struct budget_talk *talk; /* under way; NULL: none */
    struct budget_piece pieces[BUDGET_PIECES];
    unsigned piece_count;
    bool known;  /* the record is as Redis had it last */
    bool struck; /* the ISP blocks us: a step back is to be made, and nothing starts before */
    struct warmup_record record;
    struct warmup_counts counts; /* not reported yet */
    uint64_t give_back;          /* units of `give_back_day` that are to be given back */
    int64_t give_back_day;
    nsec ask_at;    /* not asked for a piece before */
    nsec report_at; /* NSEC_NEVER: nothing is to be reported */
    nsec used_at;   /* a unit was taken last */
    nsec woken_at;
    uint64_t reserved; /* units of messages under way */
};

struct budget {
    struct io *io;
    struct store *store;
    const struct config *config;
    const struct log *log;
    const struct lanes *lanes;                      /* which sources are ours, until when */
    void (*wake)(void *context, struct lane *lane); /* there may be a unit for it: it is looked at again */
    void *context;
    struct budget_counter *counters; /* those that a lane was made for */
    struct table table;
    struct pool counter_pool, talks;
    nsec never;       /* the gate of lanes whose counter there was no room for */
    nsec redis_ahead; /* Redis' wall clock less our monotonic one, as it was told last; 0: not yet */
    uint64_t calls;
    uint32_t serials;
    bool finishing;
    struct log_trouble trouble;
    uint64_t granted, used, returned, thrown_away; /* units, in its life */
};

struct budget_config {
    struct io *io;
    struct store *store;
    const struct config *config;
    const struct log *log;
    const struct lanes *lanes;
    void (*wake)(void *context, struct lane *lane);
    void *context;
};
/* Borrows all until it is no longer used. False: the arena is too small. */
must_use bool budget_open(struct budget *budget, struct arena *arena, const struct budget_config *config);
/* A lane begins: from now on its counter's gate is its LANE_WARMUP. Also of one whose configuration has changed. */
void budget_lane_made(struct budget *budget, struct lane *lane);
/* Another configuration is in force: curves may be others, and sources be warm now. Then budget_lane_made of each. */
void budget_reload(struct budget *budget, const struct config *config);
/* The lane has somebody waiting and its gate is shut: it is woken when there may be a unit. True: it stands in line. */
bool budget_wait(struct lane *lane, nsec now);
/* How many units are free for it now, or within two seconds; UINT_MAX where it is not warmed up. */
unsigned budget_ahead(struct lane *lane, nsec now);

/* A unit for a message that is about to start, noted in the attempt. False: there is none. True also where the lane is
 * not warmed up. */
must_use bool budget_reserve(struct lane *lane, struct attempt *attempt, nsec now);
/* What it had reserved, if anything: MAIL was never handed to the ring. */
void budget_release(struct attempt *attempt, nsec now);
/* The same: it was, whatever came of it. */
void budget_commit(struct attempt *attempt);
/* What became of a message (or of a session that was turned away), for the record's counts. */
enum budget_end {
    BUDGET_END_BROKEN = 0,
    BUDGET_ACCEPTED,
    BUDGET_DEFERRED,
    BUDGET_BLOCKED,
    BUDGET_STRUCK, /* blocked, and that is the source's doing: a step back at once, and nothing starts before */
    BUDGET_BOUNCED,
    BUDGET_OTHER
};
void budget_count(struct budget_counter *counter, enum budget_end end, nsec now);

/* This engine has lost the source, or holds it anew. */
void budget_source(struct budget *budget, unsigned source, bool ours);
/* People may have changed something: those that wait ask again. */
void budget_wake(struct budget *budget);
/* Gives back what nobody will use and asks for nothing more. */
void budget_finish(struct budget *budget);
bool budget_owes(const struct budget *budget); /* something is not reported, or a step is unanswered */

/* For people: "warm-up: 3120 of 5000 today", and when the next unit may be free (NSEC_NEVER: not known). */
nsec budget_say(const struct lane *lane, char *text, size_t cap, nsec now);
unsigned budget_waiting(const struct budget *budget); /* lanes in line */

/* ---- between budget.c and budget_talk.c ---- */

nsec budget_guard(void);
bool budget_is_ours(const struct budget_counter *counter, nsec now);
bool budget_is_wanted(const struct budget_counter *counter, nsec now); /* units are, now or soon */
/* Looks at everything of the counter and sets its timer; talks to Redis if that is due. */
void budget_look(struct budget_counter *counter, nsec now);
void budget_add_piece(struct budget_counter *counter, const struct budget_piece *piece);
void budget_drop_pieces(struct budget_counter *counter);
/* Begins a conversation if there is one to be had: to ask for a piece, to report, or to step back. */
void budget_talk_begin(struct budget_counter *counter, nsec now, bool piece);

#endif
