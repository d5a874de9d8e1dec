/* rule.h - what providers say in their refusals, as data: which words mean what, and what is to be done about them.
 *
 * A rule fits a refusal when all that it names fits: stage, basic code, enhanced status, and one of its patterns
 * anywhere in the text. Of the rules that are asked the first that fits decides: the ISP's own (those of the
 * configuration's isp block, then those shipped for the MX host), then the general phrases (again the configuration's
 * before the shipped). Whatever a rule says, verdict.h keeps its promises: no 4yz, no refusal before RCPT and nothing
 * but a hard one suppresses a recipient.
 *
 * Pure but for PCRE2's matching, whose patterns the engine has compiled (control/rules.h). `struct rules` never changes
 * and all threads read it; a `struct rule_reader` belongs to one thread. */
#ifndef PROTO_POLICY_RULE_H
#define PROTO_POLICY_RULE_H

#include "proto/policy/bounce.h"
#include "proto/policy/isp.h"
#include "proto/policy/wording.h"
#include "sluice/base.h"
#include "sluice/limits.h"
#include "sluice/outcome.h"
#include "sluice/slice.h"

/* To whom it applies from now on. */
enum rule_scope {
    RULE_SCOPE_BROKEN = 0,
    RULE_RECIPIENT,
    RULE_MESSAGE,     /* this one copy */
    RULE_CAMPAIGN,    /* what is said in it: others of the campaign would fare alike */
    RULE_SOURCE,      /* this source, at every ISP */
    RULE_LANE,        /* this source at this ISP */
    RULE_ISP,         /* every source at this ISP */
    RULE_FROM_DOMAIN, /* who the mail says that it is from, at this ISP */
    RULE_SCOPE_NONE,  /* of a verdict: nothing follows. Never a rule's */
    RULE_SCOPE_COUNT
};

enum rule_action {
    RULE_ACTION_BROKEN = 0,
    RULE_NONE,         /* this reply alone is judged */
    RULE_RETRY,        /* the recipient is tried again, after `wait` or the time that the text names */
    RULE_SLOW,         /* the rate falls to `factor` percent */
    RULE_CONNECTIONS,  /* at most `connections` at once, or `factor` percent of those that are open */
    RULE_PAUSE,        /* nothing for `wait` */
    RULE_PROBE,        /* nothing for `wait`, then one connection; Google's procedure */
    RULE_OTHER_SOURCE, /* another source of the pool is tried; this one rests here for `wait` */
    RULE_HOLD,         /* nothing until people have seen to it */
    RULE_LEARN,        /* so many messages a connection are too many */
    RULE_SUPPRESS,     /* the address is dead */
    RULE_ACTION_COUNT
};

const char *rule_scope_name(enum rule_scope scope);    /* "from-domain"; "" for RULE_SCOPE_NONE */
const char *rule_action_name(enum rule_action action); /* "other-source" */
extern const char *const rule_scope_names[RULE_SCOPE_COUNT];
extern const char *const rule_action_names[RULE_ACTION_COUNT];

enum { RULE_CODES = 8, RULE_STATUSES = 16 };
enum { RULE_ANY = -1 };

struct rule_codes {
    uint16_t least, most;
};

/* "4.7.28"; each number may be RULE_ANY. */
struct rule_status {
    int16_t class_, subject, detail;
};

struct pcre2_real_code_8; /* PCRE2's pcre2_code */

struct rule {
    char id[LIMIT_RULE_NAME + 1];
    uint32_t stages; /* bit 1 << stage; 0: any */
    struct rule_codes codes[RULE_CODES];
    unsigned code_count; /* 0: any */
    struct rule_status statuses[RULE_STATUSES];
    unsigned status_count;                        /* 0: any, and none */
    const struct pcre2_real_code_8 *const *texts; /* compiled without case; any of them; owned by `struct rules` */
    unsigned text_count;                          /* 0: any */
    enum bounce_class class_;
    enum bounce_kind kind;
    enum rule_scope scope;
    enum rule_action action;
    nsec wait;            /* how long it lasts, or until the next try; 0: not said */
    unsigned factor;      /* SLOW, CONNECTIONS: to so many percent of what there is, 1 .. 99; 0: not said */
    unsigned connections; /* CONNECTIONS: at most so many; 0: not said, then `factor` is */
    bool defer;           /* a 5yz that means "later": the recipient is deferred */
    bool alert;           /* people are told */
};

struct rule_list {
    const struct rule *rules;
    unsigned count;
};

/* What one ISP says. */
struct rule_isp {
    char name[LIMIT_ISP_NAME + 1];
    struct rule_list list;
    bool last_line; /* the last line of its replies decides, not all of them together */
};

struct rules {
    const struct rule_isp *configured; /* of the configuration's isp blocks */
    unsigned configured_count;
    const struct rule_isp *shipped; /* found by MX host */
    unsigned shipped_count;
    struct isp_table hosts;      /* MX host -> index into `shipped` */
    struct rule_list general[2]; /* the configuration's, the shipped */
};

struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;

/* One thread's: the rules, borrowed until others take their place, and memory for matching. */
struct rule_reader {
    const struct rules *rules; /* NULL: there are none */
    struct pcre2_real_match_data_8 *match;
    struct pcre2_real_match_context_8 *context; /* what a match may cost */
};

/* The first rule that fits, or NULL. `isp`: the name of the configuration's ISP, `mx` the host that spoke; either may
 * be empty, and without a host the shipped ISP of that name is asked. STAGE_BROKEN: any stage fits. A pattern that
 * would cost more than `context` allows does not fit. */
const struct rule *rule_find(const struct rule_reader *reader, struct slice isp, struct slice mx, enum stage stage,
                             const struct wording *wording);
/* The shipped ISP of a host, or NULL. */
const struct rule_isp *rule_isp_of(const struct rules *rules, struct slice mx);

#endif
