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
    nsec written_at, posted_at, asking_since;
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

/* Sessions that are more than the lane may have: idle ones end now, others when their message does. */
void adapt_trim(struct shard *shard, struct lane *lane);
/* May the session take a message? No: it is one too many, or the lane asks with another message. */
bool adapt_lets(const struct lane *lane, const struct session *session);
/* Is the attempt's From domain or campaign held at this ISP? Then it must not start; `probe`: it would start now. */
bool adapt_holds(struct shard *shard, const struct attempt *attempt, const char *isp, bool probe);
/* The message was not to blame: the connection had had its number. It is as good as untouched, and that is learned. */
bool adapt_objects(struct shard *shard, struct session *session, const struct outcome *outcome);
/* A session has closed, after lane_closed. */
void adapt_session_closed(struct shard *shard, struct session *session, const struct outcome *why);
/* Is every lane of the backlog shut out, for longer than anybody should wait? Says why. */
bool adapt_shuts_out(struct shard *shard, const struct backlog *backlog, struct outcome *outcome);
/* Messages that a connection of the lane may carry: `configured`, or fewer, as was learned. */
unsigned adapt_per_connection(struct shard *shard, const struct lane *lane, unsigned configured);
/* "silent until 10:42 UTC: 421 4.7.28 ...", or "" where it goes as configured. */
void adapt_say(struct shard *shard, const struct lane *lane, char *text, size_t cap);

#endif
