/* adapt.h - how a lane, or something wider, reacts to what an ISP replies: it slows down, falls silent, asks with one
 * connection whether it is welcome again, and comes back step by step.
 *
 * Pure: `now` is any clock that does not go back; the engine turns instants into UTC for what it keeps (adapt_write).
 * One struct adapt is the state of one scope: of (source, ISP), or of all of a source or an ISP, or of (From domain,
 * ISP) and (campaign, ISP), of which only silence and probe are used.
 *
 * Silence (`pause`, `probe`, `hold`, `other-source`): nothing may start or be open before `until`. Whatever still ends
 * in the silence (a message or a connection that was there before) lets it begin anew, so that its length is counted
 * from the last sign of us. Behind it ONE connection asks, with one message at a time:
 *     refused: the next silence; accepted: one connection more per success, up to the number there was before
 * which is what Google publishes for 4.7.28 (support.google.com/a/answer/81126, 2026-03-21: at least ten minutes, then
 * one connection; ten more if it fails; connections one at a time if it does not). Lengths:
 *     probe  max(10 min, wait), always the same          pause  wait, doubling to pause_max while it is repeated
 *     hold   the longer of hold and wait                 other-source  shut_out, twice that, then shut_out_max
 *
 * Rate (`slow`): percent := max(floor, percent * factor / 100), once for all messages that had started before it fell,
 * and at most once in `settle`. It rises by at most `step` in each `interval` in which something was accepted and
 * nothing asked to be slower; half-way only, where it comes near the percentage at which that was asked last. A lane
 * without a rate gets one: what it had started of late.
 * Connections (`connections`): cap := those said, or half of those there are, at least 1, for `wait` (fewer_for); then
 * one more an interval. The rate stays.
 * Messages per connection (`learn`, or the same number of messages thrice behind which the server closes without a
 * word): that number, for a week. */
#ifndef PROTO_POLICY_ADAPT_H
#define PROTO_POLICY_ADAPT_H

#include "sluice/base.h"
#include "sluice/slice.h"

enum { ADAPT_TEXT = 400, ADAPT_SILENT_CLOSES = 3 };

/* Numbers of the configuration. */
struct adapt_limits {
    bool on;
    nsec interval;        /* > 0 */
    unsigned step, floor; /* percent, 1 .. 100 */
    nsec settle;
    nsec silence; /* of a probe, where the rule has no `wait`: at least ADAPT_SILENCE_LEAST */
    nsec pause, pause_max;
    nsec hold;
    nsec shut_out, shut_out_max;
    nsec fewer_for;
};
#define ADAPT_SILENCE_LEAST (600 * NSEC_PER_S)

enum adapt_what {
    ADAPT_WHAT_BROKEN = 0,
    ADAPT_SLOW,
    ADAPT_FEWER,
    ADAPT_PAUSE,
    ADAPT_PROBE,
    ADAPT_HOLD,
    ADAPT_SHUT_OUT,
    ADAPT_LEARN,
    ADAPT_REFUSED, /* no rule says what to do about it, but it is no welcome: it matters to who probes alone */
    ADAPT_WHAT_COUNT
};

/* What a reply asks for. 0: the configuration's number. */
struct adapt_ask {
    enum adapt_what what;
    nsec wait;
    unsigned factor;      /* SLOW: percent to slow down to, 1 .. 99 */
    unsigned connections; /* FEWER */
    unsigned messages;    /* LEARN: those that the connection had carried with success */
};

/* What else there is to know when it is asked. */
struct adapt_lane {
    unsigned connections; /* of the whole lane, as configured; >= 1 */
    unsigned open;        /* sessions that are open now, of them */
    uint64_t rate;        /* messages an hour that were started of late */
    bool has_rate;        /* by configuration */
    nsec started;         /* of the message that was answered; of a session: when it was begun */
};

enum adapt_mode {
    ADAPT_BROKEN = 0,
    ADAPT_OPEN,      /* goes, with `percent` of its rate and `cap` connections */
    ADAPT_SILENT,    /* nothing before `until` */
    ADAPT_PROBING,   /* one connection, one message */
    ADAPT_RETURNING, /* `sessions`, one more per success */
    ADAPT_MODE_COUNT
};

struct adapt {
    enum adapt_mode mode;
    enum adapt_what cause; /* of the last silence: PAUSE, PROBE, HOLD or SHUT_OUT; 0: none yet */
    nsec since;            /* the mode began; OPEN: the last silence was over for good */
    nsec until, wait;      /* SILENT; and how long it is */
    unsigned times;        /* silences in a row */
    unsigned sessions, former;
    unsigned percent; /* of the rate, 1 .. 100 */
    unsigned ceiling; /* percentage at which it was too fast last; 0: not known */
    nsec fell_at, rose_at;
    bool well;                  /* something was accepted since then */
    uint64_t rate, rate_before; /* an hour, learned for a lane without; rate_before: when it was; 0: none */
    unsigned cap;               /* connections; 0: none */
    nsec capped_at, cap_until;
    unsigned per_connection; /* messages; 0: not known */
    nsec learned_at;
    unsigned closed_behind, closes; /* messages; how often in a row */
    nsec closed_at;
};

void adapt_init(struct adapt *a);
/* Each returns true when something has changed that is to be kept and to be applied. */
bool adapt_asked(struct adapt *a, const struct adapt_limits *limits, const struct adapt_ask *ask,
                 const struct adapt_lane *lane, nsec now);
bool adapt_accepted(struct adapt *a, const struct adapt_limits *limits, unsigned connections, nsec now);
/* A message has ended otherwise, or a connection, and so has its right to be there in the silence. */
bool adapt_ended(struct adapt *a, nsec now);
/* A connection was closed without a word behind so many messages, or (`messages` 0) in another way. */
bool adapt_closed(struct adapt *a, unsigned messages, nsec now);
/* What time brings. `open`: sessions that are still open in the silence. To be called about once a second while not
 * adapt_is_idle. */
bool adapt_tick(struct adapt *a, const struct adapt_limits *limits, unsigned connections, unsigned open, nsec now);
/* Nothing is to be remembered: it goes as configured. */
bool adapt_is_idle(const struct adapt *a, nsec now);

/* What holds at this moment. */
struct adapt_effect {
    nsec silent_until;       /* 0: not silent */
    bool one_message;        /* of one connection at a time: it probes */
    unsigned percent;        /* 1 .. 100 */
    unsigned sessions;       /* at most; 0: as configured */
    uint64_t rate;           /* an hour, for a lane without; 0: none */
    unsigned per_connection; /* 0: as configured */
};
struct adapt_effect adapt_effect(const struct adapt *a);

/* As a text of one line without its end, and back. Instants are kept in milliseconds; `wall` is UTC at `now`. Reading a
 * text of an unknown version, or anything else: false. An instant that would lie further ahead than its silence is long
 * (a clock was moved) is brought back to that. */
size_t adapt_write(const struct adapt *a, nsec now, nsec wall, char *text, size_t cap);
must_use bool adapt_read(struct adapt *a, struct slice text, nsec now, nsec wall);

const char *adapt_mode_name(enum adapt_mode mode); /* "silent" */
const char *adapt_what_name(enum adapt_what what); /* "probe" */

#endif
