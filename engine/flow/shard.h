/* shard.h - one thread, its ring and all that it owns: the flow from Redis to the mail exchangers and back.
 *
 * shard.c is its life: start, turns, heartbeat, end. carry.c is its work: from an attempt to a lane, a session and an
 * outcome. Together they are the only place that knows lanes and sessions both.
 *
 * Everything lives in one arena and in what io, resolver, store and campaigns own: a crash is shard_crash, a restart is
 * shard_open, and all that counts comes from Redis. */
#ifndef FLOW_SHARD_H
#define FLOW_SHARD_H

#include "control/config.h"
#include "control/log.h"
#include "control/metrics.h"
#include "flow/adapt.h"
#include "flow/budget.h"
#include "flow/crowd.h"
#include "flow/events.h"
#include "flow/hand.h"
#include "flow/intake.h"
#include "flow/lack.h"
#include "flow/lane.h"
#include "flow/ledger.h"
#include "flow/press.h"
#include "flow/promise.h"
#include "flow/relay.h"
#include "flow/route.h"
#include "flow/session.h"
#include "flow/total.h"
#include "flow/suppress.h"
#include "io/arena.h"
#include "io/io.h"
#include "net/resolver.h"
#include "net/tls.h"
#include "sign/published.h"
#include "store/store.h"

enum shard_phase {
    SHARD_BROKEN = 0,
    SHARD_RUNNING,
    SHARD_FINISHING, /* no new messages; those that are open may end */
    SHARD_RETURNING, /* what has not started goes back to Redis */
    SHARD_LEAVING,   /* shard 0: gives up sources and heartbeat once the others are gone */
    SHARD_GONE,
};

/* What the shard of an engine that holds a source asks Redis for, again and again; shard 0 only. */
struct shard_source {
    struct store_request request;
    struct shard *shard;
    nsec asked_at;
    bool released;   /* it was given up, by a reload or at the end, and Redis was told */
    unsigned parted; /* shards that have begun to end and have no session of it any more */
    struct log_trouble trouble;
};

/* Since a reload: whether the shards have let go of what others are to have now. */
struct shard_reloading {
    uint64_t *let_go; /* by shard: the latest generation of the configuration that nothing it has open goes beyond */
    nsec told_at, looked_at;
    struct store_request ops; /* shard 0: the entry in sluice:ops */
};

struct shard {
    struct io *io; /* owned: the caller opened it, shard_close ends it */
    struct resolver *resolver;
    struct sts *sts;           /* NULL: MTA-STS is not in use */
    struct sts_desk *sts_desk; /* owned; NULL if sts is */
    struct store *store;
    struct tls *tls;
    const struct config *config;
    struct metrics_shard *metrics;
    struct log log;
    unsigned index, shards;
    struct rule_reader rules; /* this thread's eyes for the configuration's rules */
    struct arena arena;
    struct intake intake;
    struct route route;
    struct relays *relays; /* the engine's; NULL where there are none */
    struct relay_table relay_table;
    struct security security;
    struct lanes lanes;
    struct hand hand;
    struct adaptation adaptation;
    struct budget budget;
    struct store_request durability; /* shard 0: how Redis writes to its disk */
    bool asked_durability;
    struct ledger ledger;
    struct events events;
    struct press press;
    struct suppress suppress;
    struct pool session_pool;
    struct session *sessions; /* all */
    unsigned session_count;
    struct crowd crowd;
    unsigned sessions_most; /* that descriptors allow, and sessions_max */
    struct lack lack;
    unsigned carried;       /* attempts that sessions carry */
    struct backlog *marked; /* their lanes are to be looked at at the end of the turn */
    bool starved;           /* the press had no room: nothing starts until something was given back */
    size_t starved_at;
    bool could_start; /* shard_may_start, at the end of the last turn */
    nsec alive_until; /* the engine's heartbeat grants starts until then */

    enum shard_phase phase;
    nsec opened_at, finish_by, board_at;
    nsec busy, busy_since; /* what the turns took since the board was last published */
    unsigned gone;    /* shard 0: others that have left */
    bool redis_there; /* by the last turn */
    bool redis_left;  /* it was gone since it was last said how things are */
    char redis_said[192];
    struct log_trouble redis_trouble, sign_trouble, list_trouble;

    struct shard_source *sources; /* shard 0: one for each of the configuration's */
    bool *parted;       /* by source: this shard ends, and has told shard 0 that its last session of the source has */
    unsigned parted_at; /* when it had so many sessions and one more; 0: not yet, or not all was told */
    struct shard_reloading reload;
    struct totals totals;
    struct promise_watch promised; /* shard 0 */
    struct published published;   /* shard 0: what DNS holds for the keys */
    struct neighbours neighbours;
    struct store_request heartbeat;
    bool lapsed; /* others may think us dead */
    struct log_trouble twin_trouble; /* another engine has our id */
    nsec heartbeat_asked, beat_at, lapse_at;
    uint64_t previous; /* the engine's incarnation before this one, which is dead; 0: not known */
    unsigned leaving; /* requests of the farewell in flight */
};

struct shard_config {
    struct io *io;
    const struct config *config; /* held until shard_close or the next reload */
    struct metrics_shard *metrics;
    const struct log *log;  /* copied; NULL: silent */
    const char *redis;      /* URL; borrows until shard_close */
    struct sts *sts;        /* the engine's; borrows until shard_close. NULL: MTA-STS is not in use */
    struct sign_keys *keys; /* whose keys sign; the shard holds the set. NULL: nothing is signed */
    struct relays *relays;  /* all shards'; borrows until shard_close. May be NULL where the configuration has none */
    unsigned index, shards;
    unsigned sessions_most; /* this shard may have open, for want of descriptors; 0: as many as sessions_max */
    uint64_t incarnation; /* the engine's; the same for all its shards */
    uint64_t previous;    /* its incarnation before that, which is known to be dead; 0: not known */
};

/* NULL with a sentence in `error`; the io is closed then. */
must_use struct shard *shard_open(const struct shard_config *config, char *error, size_t error_cap);
/* One turn of the ring and the work that follows from it. Returns until when the next may sleep. */
nsec shard_turn(struct shard *shard, nsec until);
static inline nsec shard_now(const struct shard *shard) { return io_now(shard->io); }
/* SIGTERM: finishes open messages until `by`, gives the rest back, and leaves. Turn it until shard_is_gone. Asked
 * again, it hurries if `by` is earlier. */
void shard_finish(struct shard *shard, nsec by);
static inline bool shard_is_gone(const struct shard *shard) { return shard->phase == SHARD_GONE; }
/* A reload: these keys sign from now on, and the shard holds them. */
void shard_rekey(struct shard *shard, struct sign_keys *keys);
/* A reload, between two turns: `config` is aligned with the one that it replaces (config_align.h), and is held. Limits
 * hold at once; what is open beyond them ends with its message; never is one exceeded, neither as it was nor as it is:
 * in an interval with the change in it the formula of throttle_change holds. `relays` are of the new configuration, and
 * the shard knows the old ones no more. */
void shard_reload(struct shard *shard, const struct config *config, struct relays *relays);
/* Is anything here still as before the last reload, which another shard may be waiting for? */
static inline bool shard_settles(const struct shard *shard) { return shard->lanes.settling; }
/* Ends the io by `end` (io_close_all; in the simulation also a crash) and frees everything, at any moment and without a
 * word to anybody: what is owed is in Redis. */
void shard_close(struct shard *shard, void (*end)(struct io *io));

/* ---- between shard.c, admit.c, carry.c and smarthost.c ---- */

must_use bool carry_open_route(struct shard *shard);
/* May anything be started now? Redis is there and keeps up, the press has room, the heartbeat holds, nobody said to
 * stop. */
bool carry_may_start(struct shard *shard);
/* At the end of the turn the lanes of this backlog are looked at; of all backlogs. */
void carry_mark(struct shard *shard, struct backlog *backlog);
void carry_mark_all(struct shard *shard);
void carry_pump(struct shard *shard);
/* A session that would have a message: must it not, because somebody of priority high waits elsewhere? */
must_use bool carry_yields(struct shard *shard, struct lane *lane, struct session *session);
void carry_end_idle(struct shard *shard, struct session *session);
/* A new attempt: the suppression list is asked about it, then it is routed, and then it waits. */
void carry_admit(struct shard *shard, struct attempt *attempt);
void carry_route(struct shard *shard, struct attempt *attempt);
/* One that is about to start: if the list was asked more than a minute ago it is asked again, and comes back to the
 * front of its place. True: it may not start now. */
must_use bool carry_set_aside(struct shard *shard, struct attempt *attempt);
must_use bool carry_open_list(struct shard *shard);
/* Where the campaign's mail goes now: another pool may be another relay's. */
void carry_place_anew(struct shard *shard, struct attempt *attempt, bool front);
/* A routed attempt waits here, at the front if it was here before; or, if it cannot start soon or not here, in Redis.
 */
void carry_place(struct shard *shard, struct attempt *attempt, bool front);
/* Sees to it that an attempt, which a session of the lane is about to carry to the site, has its message: press.h. */
must_use enum press_result carry_press(struct shard *shard, const struct lane *lane, const struct site *site,
                                       struct attempt *attempt, struct slice *reason);
/* Ends an attempt with its outcome; `lane`: the one that carried it, NULL: none; `session`: the
 * one that did, whose lane hears of it. Returns its event's type. */
enum event_type carry_end(struct shard *shard, struct attempt *attempt, const struct outcome *outcome,
                          const struct lane *lane, struct session *session);
void carry_settle(struct shard *shard, struct attempt *attempt, const struct outcome *outcome);
/* Ends what may not be started any more (fenced, cancelled, paused): true if it did. */
must_use bool carry_stopped(struct shard *shard, struct attempt *attempt);
/* Parks what has no room any more because it goes more slowly than it did. */
void carry_shed(struct shard *shard);
/* All that waits of this campaign here is ended, or placed anew. */
void carry_stop(struct shard *shard, struct campaign *campaign);
/* Sessions turned away in a row before a lane gives up. */
enum { CARRY_TURNED_AWAY = 3 };
/* The lane cannot bring anything to the site now. What waits for it is left to those of its pool that can; where nobody
 * can, all get the same outcome. NULL: no host of the site is alive, and they get what is known of that. */
void carry_give_up(struct shard *shard, struct lane *lane, struct site *site, const struct outcome *outcome);
/* What waits for this lane alone is left to all of its pools. */
void carry_leave_lane(struct shard *shard, struct lane *lane);
/* Begins a session, whether or not it is of use; `probes`: it is to find out whether a relay takes us again. False: no
 * host, no place or no socket is there; the lane is woken when that may be otherwise. */
bool carry_open_session(struct shard *shard, struct lane *lane, struct site *site, bool probes);
/* The lane is looked at again at `when`, unless it is before; NSEC_NEVER: never by itself. */
void carry_wake_at(struct shard *shard, struct lane *lane, nsec when);
/* On what terms a session is begun (terms.c): what its server is asked for, by what is configured, demanded by DNS and
 * known of it. Requires site and target. */
void carry_terms(struct shard *shard, const struct lane *lane, struct session *session, struct session_config *config);
/* What a session has learned about its server is remembered. True: it cannot stand a way of sending that is not used
 * there from now on. */
bool carry_learn(struct shard *shard, struct session *session);
/* The same of a session that was not encrypted as it should have been. */
enum carry_insecure {
    CARRY_SECURE = 0,      /* it did not end for that */
    CARRY_INSECURE_LOCAL,  /* we could not */
    CARRY_INSECURE_BROKEN, /* it goes again, in plain text, at once */
    CARRY_INSECURE_UNFIT,  /* the site's other hosts are tried; this one later */
};
enum carry_insecure carry_learn_tls(struct shard *shard, struct session *session, const struct outcome *why);

/* Sets aside what must not start because its campaign, or its From domain, is held at its ISP: true if it did. With
 * `probe` it would start now. */
must_use bool carry_held(struct shard *shard, struct attempt *attempt, bool probe);
/* How an ISP took what a session brought (adapt.c): after the end of each of its messages, and when it was turned away
 * before it had one (`attempt` NULL). The lane, and whatever else the verdict names, goes slower or faster from then on.
 */
void carry_adapt(struct shard *shard, struct session *session, const struct attempt *attempt,
                 const struct outcome *outcome, const struct verdict *verdict);

/* Signing in at a relay (smarthost.c): what a session that is about to be opened says there, held until
 * carry_relay_signed_in, which _ready and _closed call too; NULL: nothing. */
const struct client_credentials *carry_relay_credentials(struct shard *shard, struct session *session);
void carry_relay_signed_in(struct session *session);
/* What a relay says. A message has ended: true if the reply was about us and not about it, so that it is as good as
 * untouched. A session has become ready; has closed: true if the lane knows already all that there is to know. May a
 * session be begun there; may this one, which probes, take a message although the relay has stopped? */
bool carry_relay_objects(struct shard *shard, struct session *session, const struct outcome *outcome);
void carry_relay_ready(struct shard *shard, struct session *session);
bool carry_relay_closed(struct shard *shard, struct session *session, const struct outcome *why);
bool carry_relay_may(struct shard *shard, const struct site *site);
bool carry_relay_probes(struct shard *shard, const struct session *session);
/* To be called about once a second. */
void carry_probe_relays(struct shard *shard);
/* warm.c: sources that are warmed up. */
must_use bool carry_open_budget(struct shard *shard);
/* Somebody waits for the lane, and its warm-up has nothing left for now: it is woken when it has. */
bool carry_warm_waits(struct shard *shard, struct lane *lane);
/* Is one more session of use? */
bool carry_warm_has_place(struct shard *shard, struct lane *lane);
/* A message that had started has ended; `verdict` NULL: it was given back. */
void carry_warm_ended(struct shard *shard, struct attempt *attempt, const struct outcome *outcome,
                      const struct verdict *verdict);
/* A session has ended; whether it worked or not. */
void carry_warm_closed(struct shard *shard, const struct lane *lane, const struct outcome *why);
/* Where sources of the pool warm up with overflow = wait, recipients are dealt evenly among its sources by their seq.
 * The source that this one is dealt to and waits for; -1: it waits with the others of the pool. */
int carry_dealt(const struct shard *shard, const struct attempt *attempt);
/* Where it waits here; NULL: not here. */
struct backlog *carry_dealt_backlog(struct shard *shard, struct backlog *backlog, unsigned source);
/* The name of the parked list that the attempt goes to; carry_room for one of "isp@source". */
void carry_list_name(const struct shard *shard, const struct attempt *attempt, char to[LIMIT_LIST_NAME + 1]);
unsigned carry_dealt_room(struct shard *shard, const struct campaign *campaign, struct slice list);
/* For the board. False: the lane is not warmed up. */
bool carry_warm_say(const struct shard *shard, const struct lane *lane, char *text, size_t cap, int64_t *next_ms);
void carry_warm_tick(struct shard *shard); /* about once a second */
/* How many from a parked list may be here, those in sessions included. */
unsigned carry_room(struct shard *shard, const struct campaign *campaign, struct slice list);
/* Quits idle sessions and ends those that are not let in yet; with `now`, ends all. */
void carry_finish(struct shard *shard, bool now);
/* The board for `sluice status`. */
void carry_publish(struct shard *shard);
/* Shard 0: writes the campaign's phase when it has changed (phase.c). */
void carry_say_phase(struct shard *shard, struct campaign *campaign);
/* It takes no further message, and ends when it is idle. */
void carry_send_away(struct shard *shard, struct session *session);
/* reload.c: once a turn; returns when it wants to be called again. */
nsec shard_settle(struct shard *shard, nsec now);
/* Shard 0: true for a source that a reload took away, and sees to it that Redis hears of that. */
bool shard_let_go_of_source(struct shard *shard, unsigned index);

/* Posts between shards. */
enum shard_post {
    SHARD_POST_BROKEN = 0,
    SHARD_POST_LOOK,   /* bytes: a campaign's id, or none: look at it, there may be something for you */
    SHARD_POST_ALIVE,  /* nsec: the engine may start until then */
    SHARD_POST_SOURCE, /* uint32_t index, nsec: held until */
    SHARD_POST_GONE,
    SHARD_POST_LET_GO, /* uint64_t: nothing of mine goes beyond this generation of the configuration */
    SHARD_POST_PARTED,  /* uint64_t index: I end, and have no session of this source any more */
    SHARD_POST_CONTROL, /* read anew what people said by hand */
    SHARD_POST_ADAPT,   /* adapt_post.c: this and those behind it */
    SHARD_POST_ADAPT_LAST = SHARD_POST_ADAPT + 3,
};
/* beat.c: the engine's heartbeat and its sources. */
must_use bool beat_open(struct shard *shard);
void beat_keep(struct shard *shard, nsec now); /* shard 0, every beat_at */
void beat_told(struct shard *shard, const void *bytes); /* of SHARD_POST_SOURCE */
void beat_part(struct shard *shard); /* each turn of a shard that ends */
void beat_parted(struct shard *shard, const void *bytes); /* shard 0, of SHARD_POST_PARTED */
void beat_end(struct shard *shard);            /* shard 0: gives up both */
/* May a body leave by this session now? Not when others may think us dead, or may have its source. */
bool beat_may_leave(const struct shard *shard, const struct session *session);
/* Once a turn: sessions end that must not go on, and whoever else has leases is watched. Returns when it wants to be
 * called again. */
nsec beat_watch(struct shard *shard, nsec now);
/* To every shard; what is lost is repeated every second or two. */
void shard_post_all(struct shard *shard, enum shard_post kind, const void *bytes, size_t n);
/* False: the ring is full, and the post is lost. */
bool shard_post(struct shard *shard, unsigned to, enum shard_post kind, const void *bytes, size_t n);

#endif
