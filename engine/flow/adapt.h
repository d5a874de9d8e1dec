/* adapt.h - lanes of a shard react to what ISPs reply (proto/policy/adapt.h).
 *
 * A *scope* is what a reply is about: a lane; or all mail of a From domain, or of a campaign, to one ISP. What is said
 * of an ISP or a source as a whole is said to each lane there is of it. Of a lane that is split over shards the state
 * is its ISP's home shard's, the *owner*: the others post it what they are told, and take from it what holds. In the
 * silence and while it probes such a lane is the owner's alone. A From domain and a campaign are held by each shard for
 * itself.
 *
 * Guarantees: no lane starts anything before it is known what Redis remembers of it, after a start and after its source
 * was taken over; a change stands in Redis within a second, by one write at most in a second; each change of the mode,
 * and each fall or rise, is an entry of sluice:ops, the last one at least where they come faster than Redis answers. */
#ifndef FLOW_ADAPT_H
#define FLOW_ADAPT_H

#include "flow/lane.h"
#include "io/arena.h"
#include "io/pool.h"
#include "io/table.h"
#include "proto/policy/adapt.h"
#include "proto/policy/verdict.h"
#include "store/store.h"

struct shard;
struct session;
struct campaign;

enum { ADAPT_SCOPES = 8192, ADAPT_REPLY = 200 };

struct adapt_scope {
    struct table_link link;
    struct adapt_scope *next, *prev; /* all */
    struct shard *shard;
    enum rule_scope kind; /* RULE_LANE, RULE_FROM_DOMAIN, RULE_CAMPAIGN */
    unsigned source;      /* RULE_LANE: index into config.sources */
    char isp[LIMIT_ISP_NAME + 1];
    char tail[LIMIT_DOMAIN + 1]; /* the domain, or the campaign's id */
    bool mine;                   /* this shard decides */
    struct adapt state;          /* the owner's */
    struct adapt_effect effect;  /* what holds */
    uint64_t version;            /* of both; UTC in milliseconds, or more */
    bool unwritten, unsaid, unposted;
    bool alert;
    nsec written_at;
    nsec asking_since, hit_at; /* of those that are no lanes */
    unsigned hits;
    struct store_request write, say;
    enum adapt_mode said;
    unsigned said_percent, said_sessions, said_messages;
    uint64_t accepted, refused;     /* since it was said last */
    char rule[LIMIT_RULE_NAME + 1]; /* that decided last */
    char reply[ADAPT_REPLY + 1];    /* "421 4.7.28 ..." */
};

/* What Redis remembers of one source, or, behind the last source, of none. */
struct adapt_memory {
    struct store_request request;
    struct shard *shard;
    bool known, again; /* again: to be asked for as soon as the request is free */
};

struct adaptation {
    struct pool pool;
    struct table table;
    struct adapt_scope *first;
    unsigned wide;                                   /* scopes that are no lanes */
    struct adapt_memory *sources;                    /* CONFIG_SOURCES_MAX + 1 */
    char reasons[ADAPT_REPLY + LIMIT_RULE_NAME + 2]; /* that came with a post, for the word behind it */
};

/* False: the arena is too small. */
must_use bool adapt_open(struct shard *shard);
/* A lane has begun. */
void adapt_lane_made(struct shard *shard, struct lane *lane);
/* The lanes' limits have changed. */
void adapt_reconfigure(struct shard *shard);
/* A source has become ours: what is remembered of it is read (again). */
void adapt_source_ours(struct shard *shard, unsigned source);
/* About once a second. */
void adapt_turn(struct shard *shard);
/* From another shard. */
void adapt_post(struct shard *shard, unsigned kind, const void *bytes, size_t n);
/* Is a step of this part unanswered? */
bool adapt_is_busy(const struct shard *shard);

/* ---- for carry.c, admit.c, terms.c and board.c ---- */

/* Does the lane ask with one message at a time, and is one on its way? */
bool adapt_waits(const struct lane *lane);
/* Is the campaign, or its From domain, held at this ISP? Then none of it may start. With `probe`: one would start now.
 */
bool adapt_holds(struct shard *shard, const struct campaign *campaign, struct slice isp, bool probe);
/* The message was not to blame: the connection had had its number. It is as good as untouched, and that is learned. */
bool adapt_objects(struct shard *shard, struct session *session, const struct outcome *outcome);
/* A session has closed, after lane_closed. */
void adapt_session_closed(struct shard *shard, struct session *session, const struct outcome *why);
/* Is every lane of the backlog shut out, for longer than anybody should wait? Says why. */
bool adapt_shuts_out(struct shard *shard, const struct backlog *backlog, struct outcome *outcome);
/* Messages that a connection of the lane may carry: `configured`, or fewer, as was learned. */
unsigned adapt_per_connection(struct shard *shard, const struct lane *lane, unsigned configured);
/* "silent until 10:42 UTC: 421 4.7.28 ...", or "" where it goes as configured. */
void adapt_say(const struct shard *shard, const struct lane *lane, char *text, size_t cap);

/* ---- between adapt.c, adapt_keep.c and adapt_post.c ---- */

/* NULL: there is none; of _get: there are too many, and what was said is not heeded. */
struct adapt_scope *adapt_find(const struct shard *shard, enum rule_scope kind, unsigned source, struct slice isp,
                               struct slice tail);
struct adapt_scope *adapt_get(struct shard *shard, enum rule_scope kind, unsigned source, struct slice isp,
                              struct slice tail);
/* The state has changed: it is applied, and told to Redis, people and shards. */
void adapt_changed(struct adapt_scope *scope);
void adapt_flush(struct adapt_scope *scope, nsec now);
bool adapt_tick_scope(struct adapt_scope *scope, nsec now); /* true: it has changed */
void adapt_apply_scope(struct adapt_scope *scope);
void adapt_apply_source(struct shard *shard, unsigned source); /* CONFIG_SOURCES_MAX: all lanes */

/* What is asked of a lane, or of all of an ISP or a source. */
struct adapt_word {
    struct adapt_ask ask;
    nsec started;
    uint64_t rate;    /* of the lane where it was said, as that shard sees it */
    const char *rule; /* "" : none */
    const char *reply;
    bool alert;
};
void adapt_ask_lane(struct shard *shard, struct lane *lane, const struct adapt_word *word);
/* The same of a lane that this shard decides for and has not: it has been split, and nothing of it is here. */
void adapt_ask_absent(struct shard *shard, unsigned source, struct slice isp, const struct adapt_word *word);
void adapt_ask_all(struct shard *shard, int source, struct slice isp, const struct adapt_word *word);
/* Which shard decides for a lane. */
unsigned adapt_owner(const struct shard *shard, const struct lane *lane);

void adapt_remember(struct adapt_scope *scope, const struct adapt_word *word);
/* Of a campaign, or its From domain, at an ISP; and when a message of it has ended. */
void adapt_ask_wide(struct shard *shard, const struct campaign *campaign, struct slice isp, enum rule_scope kind,
                    const struct adapt_word *word);
void adapt_end_wide(struct shard *shard, const struct campaign *campaign, struct slice isp, bool accepted);

enum adapt_sign { ADAPT_SIGN_BROKEN = 0, ADAPT_SIGN_ACCEPTED, ADAPT_SIGN_ENDED };
void adapt_post_word(struct shard *shard, unsigned to, int source, struct slice isp, const struct adapt_word *word);
void adapt_post_sign(struct shard *shard, const struct lane *lane, enum adapt_sign sign);
must_use bool adapt_post_effect(const struct adapt_scope *scope); /* to all others; false: to be tried again */
void adapt_take_sign(struct shard *shard, unsigned source, struct slice isp, enum adapt_sign sign);

#endif
