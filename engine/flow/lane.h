/* lane.h - one source towards one ISP: what may start now, or when, and why not (lane.c); and who waits for it
 * (backlog.c).
 *
 * Recipients wait in a *backlog*, one for each (pool, ISP), from which all lanes of the pool's sources take; a retry
 * waits in the backlog of its last source's lane first (greylisting remembers the address that asked before).
 * Within a backlog those of one site (MX set) stand together, because a session serves one site; of a site those of one
 * campaign stand in a row. Which row is next, turns.h says.
 *
 * Guarantees, per lane and shard share: sessions open <= connections; starts obey throttle.h's formula; a lane whose
 * source is not held by this engine starts nothing. */
#ifndef FLOW_LANE_H
#define FLOW_LANE_H

#include "control/config.h"
#include "flow/turns.h"
#include "io/arena.h"
#include "io/pool.h"
#include "io/table.h"
#include "proto/policy/isp.h"
#include "proto/policy/throttle.h"
#include "sluice/attempt.h"

struct lanes;
struct lane;

enum { LANES_OF_POOL = 64, POOLS_OF_LANE = 16 };

/* Attempts of one campaign within one queue, in the order in which they came. */
struct row {
    struct row *next;
    struct turn *turn; /* its campaign's in the ISP's turns */
    struct attempt *first, *last;
    unsigned count;
};

/* Attempts of one site within one backlog. */
struct queue {
    struct queue *next, *prev; /* in the backlog, in turn */
    struct site *site;
    struct row *rows;
    unsigned count;
};

struct backlog {
    struct table_link link;
    struct backlog *next, *prev; /* all */
    unsigned pool;
    uint64_t isp_hash;
    char isp[LIMIT_ISP_NAME + 1];
    struct lane *owner;   /* a lane's own, for retries; NULL: the pool's */
    struct queue *queues; /* round robin: the head is next */
    struct turns *turns;  /* held; of its ISP. A lane's own borrows its pool's */
    unsigned waiting;     /* attempts in it */
    unsigned high;        /* of them, those of campaigns of priority high */
    unsigned taken, rate; /* starts in this second, and in the last */
    nsec second;
    nsec moved_at; /* something started, or began to wait where nobody waited */
    bool marked;   /* its lanes are to be looked at this turn */
    struct backlog *marked_next;
    unsigned lane_count; /* of its pool and ISP; the pool's backlogs only */
    struct lane *lanes[LANES_OF_POOL];
    nsec made_at, used_at;
};

enum lane_why {
    LANE_BROKEN = 0,
    LANE_READY,
    LANE_IDLE,        /* nobody waits */
    LANE_SOURCE,      /* the source works on another engine, or is not held yet */
    LANE_ABSENT,      /* the source's address is not on this machine */
    LANE_CONNECTIONS, /* all sessions are open and busy */
    LANE_RATE,        /* its throttle */
    LANE_HELD,        /* the ISP turned its sessions away, and none works */
    LANE_SLOW,        /* the relay said that it goes too fast */
    LANE_QUOTA,       /* the relay said that what we may send in a day is used up */
    LANE_STOPPED,     /* the relay does not know us (relays.h) */
    /* Gates, shut by lane_gate: */
    LANE_PAUSED,  /* by hand */
    LANE_BACKOFF, /* the ISP's replies ask for silence */
    LANE_WARMUP,  /* its warm-up has nothing left for now */
    LANE_TOTAL,   /* what all sources together may send there */
    LANE_RELOAD,  /* the limits have changed, and not every shard keeps the new ones yet */
    LANE_WHY_COUNT
};

/* What all lanes to an ISP may do together, or this engine's share of that (total.h). */
struct lane_total {
    nsec until;                      /* nothing is begun from then on */
    unsigned connections;            /* open at once */
    unsigned open;                   /* of all its lanes */
    unsigned ending;                 /* of them, those that take no further message */
    struct throttle starts, connects;
};

/* Who may slow a lane down below what is configured (effective.h). */
enum lane_slower { LANE_BY_HAND = 0, LANE_BY_REPLIES, LANE_SLOWERS };

/* Lanes that wait for something that they share, in the order in which they came (lane_line.c). A lane stands in one at
 * most, and leaves it when it is forgotten. */
struct lane_line {
    struct lane *first, *last;
    unsigned count;
};

struct lane {
    struct table_link link;
    unsigned backlog_count;                  /* a source may stand in several pools: it is one lane all the same */
    struct backlog *backlogs[POOLS_OF_LANE]; /* in turn: the first is next */
    struct backlog own;                      /* retries that prefer this source */
    unsigned source;                         /* index into config.sources */
    const struct config_limits *limits;
    unsigned connections; /* this shard's share */
    unsigned allowed;     /* sessions that may be open now: <= connections, fewer while it backs off */
    struct throttle throttle;
    struct throttle connects; /* of connections begun */
    struct lane_total *total; /* NULL: its ISP has none */
    nsec gates[LANE_WHY_COUNT]; /* shut until then, each for its own reason */
    struct budget_counter *counter; /* budget.h; NULL: its source is not warmed up there */
    const nsec *shared_gate;        /* LANE_WARMUP is shut until then, too, for all lanes of the counter; NULL: none */
    bool apart;                     /* what is dealt to it waits in its own backlog, and it takes nothing else */
    struct lane_line *waits;        /* the line that it stands in; NULL: none */
    struct lane *wait_next, *wait_prev;
    struct throttle_limits configured; /* this shard's share of what is configured */
    struct {
        unsigned percent;     /* of the rate, or, without one, of the connections; 0: all */
        unsigned connections; /* at most; 0: all */
    } slowed[LANE_SLOWERS];   /* effective.h alone writes it */
    nsec learned_interval_ns; /* effective.h's too: of a lane that has no rate by configuration; 0: none */
    unsigned open, connecting; /* sessions */
    unsigned working;          /* of them, those in which a message had an answer */
    unsigned failures;         /* sessions in a row that were turned away before they were ready */
    unsigned let_in;           /* sessions that worked then: so many the provider allows */
    nsec held_until;
    nsec lacks_until; /* no session is begun before: this machine has no port for it (lack.h) */
    nsec slow_until, slow_for; /* told so by the relay, and how long that was */
    enum lane_why slow_why;
    int relay;                                      /* index into config.relays; -1: none */
    uint64_t started, delivered, deferred, bounced; /* in its life here */
    struct {
        nsec since, before; /* adapt.c's: `count` messages taken since, `earlier` between before and since */
        uint32_t count, earlier;
    } pace;
    bool alone; /* it asks with one message at a time whether it is welcome again (adapt.h) */
    uint64_t counted;                               /* `started` when the board was last published */
    nsec counted_at;
    struct { /* where its time went, for `sluice why`; in its life here */
        nsec waited[LANE_WHY_COUNT]; /* while somebody waited: by what was found about once a second (board.c) */
        nsec messages_ns, connects_ns; /* from MAIL to the reply to the dot; from the socket to a session that is ready */
        uint64_t messages, connects;
    } account;
    bool splits;  /* this is one shard's share of it */
    bool settles; /* since a reload: begins empty once all shards have let go of what they had */
    bool is_left; /* out of all backlogs; goes when it holds nothing */
    struct lane *left_next;
    /* The shard's: */
    unsigned ending; /* of `sessions`, those that take no further message because they are too many */
    struct session *sessions, *idle;
    struct lane *line_next; /* crowd.h */
    bool in_line, in_line_high, called;
    struct io_timer timer; /* when it may start again */
    void *context;
};

struct lanes {
    const struct config *config; /* borrows until replaced */
    unsigned shard, shards;
    struct pool lane_pool, backlog_pool, queue_pool, row_pool;
    struct turns_set turns;
    struct table lane_table, backlog_table;
    struct backlog *backlogs;
    unsigned waiting;
    struct lane_total *(*total_of)(void *context, const struct config *config, struct slice isp); /* NULL: none has */
    void *total_context;
    struct lane *left; /* lanes that a reload took out of all backlogs */
    bool settling;     /* after a reload, until all shards have let go */
    void (*made)(void *context, struct lane *lane); /* a lane begins, or begins anew after it was forgotten: whoever
                                                       shuts gates or slows lanes tells it what holds. May be NULL */
    void *made_context;
    nsec *held_until; /* by source: this engine holds it until then; 0: it is another's */
    nsec *absent_until; /* by source: its address was not on this machine, and is not looked for before (lack.h) */
    bool *stopped;    /* by relay: nothing goes there */
};

/* False: the arena is too small. */
must_use bool lanes_open(struct lanes *lanes, struct arena *arena, const struct config *config, unsigned shard,
                         unsigned shards, unsigned attempts_max);

/* home.c: a lane is split over all shards, or it is whole on its ISP's home shard. Of a pool some lanes may be split and
 * others not: all shards serve it then, the home shard with all its lanes, the others with those that are split. */
bool lanes_splits(const struct lanes *lanes, unsigned source, struct slice isp);
/* This shard's share of a lane's limits. False: the lane is not here. `bucket`: isp_bucket of isp_hash. */
must_use bool lanes_share(const struct lanes *lanes, unsigned source, struct slice isp, unsigned bucket,
                          struct throttle_limits *share);
/* Which shard serves a pool's mail to an ISP: its number, or -1 when all do. */
int lanes_shard_of(const struct lanes *lanes, unsigned pool, struct slice isp, unsigned bucket);

/* Is any source of the pool not another engine's? */
bool lanes_serve(const struct lanes *lanes, unsigned pool);
/* The backlog of (pool, ISP), made with its lanes when there is none. NULL: too many are in use. */
must_use struct backlog *lanes_backlog(struct lanes *lanes, unsigned pool, struct slice isp, uint64_t isp_hash,
                                       nsec now);
/* Adds at the end, or, where it was before, at the front. Requires attempt->site. False: no room for another site. */
must_use bool backlog_add(struct lanes *lanes, struct backlog *backlog, struct attempt *attempt, bool front, nsec now);
/* The lane among the backlog's whose source has this name, or NULL. */
struct lane *backlog_lane(const struct lanes *lanes, const struct backlog *backlog, struct slice source);
/* The next attempt for a session of `lane` at `site`: of the campaign whose turn it is, in its own backlog first; NULL:
 * none. */
must_use struct attempt *lane_take(struct lanes *lanes, struct lane *lane, const struct site *site, nsec now);
/* The site that waits for a session of this lane next, of those that `wanted` approves of; NULL: none. */
struct site *lane_site(struct lane *lane,
                       bool (*wanted)(void *context, struct lane *lane, struct site *site, unsigned waiting),
                       void *context);
/* The queue of a site, or NULL. */
struct queue *backlog_queue(const struct backlog *backlog, const struct site *site);
struct row *queue_next(const struct queue *queue); /* whose turn it is; there is one */
/* Of whom waits for this lane at the site, whose turn it is; NULL: nobody does. */
const struct turn *lane_turn_at(const struct lane *lane, const struct site *site);
/* Somebody of priority high waits for this lane; at this site. */
bool lane_waits_high(const struct lane *lane);
bool lane_waits_high_at(const struct lane *lane, const struct site *site);
/* One of it is about to start: the pace of the last second is what its room follows. */
void backlog_count_start(struct backlog *backlog, nsec now);
/* Takes an attempt out of wherever it waits. */
void backlog_remove(struct lanes *lanes, struct backlog *backlog, struct queue *queue, struct attempt *attempt);
/* Any attempt that waits here for `site` (NULL: for any), the youngest of its row; its queue in *queue. */
struct attempt *backlog_last(struct backlog *backlog, const struct site *site, struct queue **queue);

/* How many may wait here in memory: what started in the last second twice over, and at least twice the connections, but
 * never more than the rates allow soon, and hardly any where nothing starts although somebody waits. A lane's own
 * backlog has its part of that besides. */
unsigned backlog_open(const struct backlog *backlog); /* sessions of its lanes */
unsigned backlog_room(const struct backlog *backlog, nsec now);
/* One that was never parked, the youngest of the campaign that has most there for its weight and is not of priority
 * high if another is; taken out of its queue. NULL: none. For a backlog that has more than its room: what waits long
 * keeps a lease open, and leases are few. */
struct attempt *backlog_shed(struct lanes *lanes, struct backlog *backlog);
/* The same, but only of a campaign that would still have as much as `campaign` with one more. */
struct attempt *backlog_yield(struct lanes *lanes, struct backlog *backlog, const struct campaign *campaign);

/* May this lane open a session or start a message now? LANE_READY, or why not; *when: the instant at which to ask
 * again, NSEC_NEVER when something else must happen first. */
enum lane_why lane_ask(const struct lanes *lanes, const struct lane *lane, nsec now, nsec *when);
/* The same as if no relay had stopped: may a probe start now? */
bool lane_may_probe(const struct lanes *lanes, const struct lane *lane, nsec now);
/* May a session be opened now? A throttled lane opens a little ahead of its time. */
bool lane_may_open(const struct lanes *lanes, const struct lane *lane, nsec now, nsec *when);
bool lane_waited_for(const struct lane *lane); /* does anybody wait for it? */
unsigned lane_waiting_at(const struct lane *lane, const struct site *site);
/* All attempts of this campaign (NULL: of all) that wait here, taken out of their queues and chained by `next`; NULL: none. */
struct attempt *lanes_take_of(struct lanes *lanes, const struct campaign *campaign);
/* How many sessions at one site may be on their way or idle before another one is begun: with a rate, as many as may
 * start something within a second, or as are busy already, for then each message takes its time; one, while the lane
 * is being turned away. */
unsigned lane_sessions_ahead(const struct lane *lane);
/* MAIL is handed to the ring: requires throttle readiness. */
void lane_start(struct lane *lane, nsec now);
/* It was one of this campaign's: its next turn is later. */
static inline void lane_charge(struct lane *lane, const struct campaign *campaign)
{
    turns_charge(lane->own.turns, campaign);
}
/* Messages an hour, by what was taken in the last minute or two. */
uint64_t lane_pace(const struct lane *lane, nsec now);
/* A connection is begun: requires that lane_may_begin. */
void lane_opened(struct lane *lane, nsec now);
/* Has it a place for one more session, and may one be begun now? If not, *when as with lane_ask. */
bool lane_may_begin(const struct lane *lane, nsec now, nsec *when);
void lane_ready(struct lane *lane); /* the session was let in */
/* The first message of a session had an answer: if that is more than were let in before, all is well again. */
void lane_worked(struct lane *lane);
/* A session that was open has closed; `was_ready`: it had been let in; `worked`: lane_worked was called for it. */
void lane_closed(struct lane *lane, bool was_ready, bool worked);
/* It was turned away: no session is begun for a while, longer each time in a row. Returns until when. */
nsec lane_turned_away(struct lane *lane, nsec now);
/* The relay said LANE_SLOW or LANE_QUOTA: nothing starts for a while, twice as long when it says so again within as
 * long as that was. Returns until when. */
nsec lane_slow_down(struct lane *lane, enum lane_why why, nsec now);
/* Nothing starts before `until`, for this reason, which no other lifts; 0 opens the gate again, NSEC_NEVER leaves it
 * shut until that is done. Whoever opens one earlier than was said marks the lane's backlogs (carry_mark). Messages
 * that have started go on. */
void lane_gate(struct lane *lane, enum lane_why why, nsec until);
/* Until when a gate is shut. */
nsec lane_gate_until(const struct lane *lane, enum lane_why why);
/* Goes to the end of the line, unless it stands in one; leaves the one that it stands in, if it does. */
void lane_line_add(struct lane_line *line, struct lane *lane);
void lane_line_leave(struct lane *lane);
/* Sessions of this lane and shard from now on: at least 1, at most `connections`. Those that are open beyond it end
 * when their message does. */
void lane_allow(struct lane *lane, unsigned sessions);
/* Another interval from now on, by throttle_change's formula. */
void lane_set_rate(struct lane *lane, nsec interval_ns, unsigned burst, nsec now);
/* A reload; `config` is aligned with the one before (config_align.h). Requires that nobody waits: lanes_take_of(lanes, NULL). A lane
 * of which another shard may still have open what this one is to have now, or whose hosts another lane served, is shut
 * (LANE_RELOAD) until lanes_settle. */
void lanes_reload(struct lanes *lanes, const struct config *config, nsec now);
/* Has no lane here more open than its new limits leave to this shard, where other shards wait for that? */
bool lanes_let_go(const struct lanes *lanes);
/* All shards have let go: those lanes begin, empty. */
void lanes_settle(struct lanes *lanes, nsec now);
/* The source is ours from now on, and was or may have been another engine's until now: what its lanes saved up while
 * they waited is nothing that they may spend. They begin empty. */
void lanes_begin(struct lanes *lanes, unsigned source, nsec now);
/* Forgets lanes and backlogs that hold nothing and owe nothing. Returns how many. */
unsigned lanes_forget(struct lanes *lanes, nsec now);
const char *lane_why_text(enum lane_why why);
const char *lane_why_key(enum lane_why why); /* one word, for programs */

#endif
