/* config.h - the configuration file as one immutable struct.
 *
 * Read by libConfuse; every key is one row of a table {name, type, min, max, default, doc} (config_table.c) from which
 * parsing, `sluice config --print` and the manual all come. An unknown key, a key given twice, or a value out of range
 * is refused with file, line and what is allowed. A reload makes a new struct; nobody changes one.
 *
 *     redis = "unix:/run/redis/redis.sock"
 *     include = "isp/gmail.conf"                  # in the same syntax; relative to the file that names them
 *     defaults { connections = 10  rate = none } # ISPs without a block, and what a block leaves out
 *     pool marketing { source 203.0.113.10 { ehlo = m1.example.com } }
 *     isp gmail { mx = {.google.com, .googlemail.com}  rate = 500/min }
 *     relay ses { host = email-smtp.eu-west-1.amazonaws.com  auth = plain  user = AKIA  password_file = /etc/ses }
 *     route { pool = marketing  domain = {.example.com}  relay = ses }
 *     suppress quota-issues { after = 5  within = 30d }
 *     dkim shop.example { selector = s1  key = /etc/sluice/dkim/s1.pem }
 *
 * Everything is owned by the config and lives until config_free. */
#ifndef CONTROL_CONFIG_H
#define CONTROL_CONFIG_H

#include "control/log.h"
#include "io/io.h"
#include "proto/policy/isp.h"
#include "proto/policy/warmup.h"
#include "proto/zone.h"
#include "proto/policy/adapt.h"
#include "proto/policy/rule.h"
#include "store/access.h"
#include "sluice/base.h"
#include "sluice/limits.h"

#include <stdatomic.h>

enum {
    CONFIG_RETRY_STEPS = 32,
    /* Most there may be, those included that a reload took away: what shards keep by index has this many places. */
    CONFIG_SOURCES_MAX = 4096,
    CONFIG_POOLS_MAX = 256,
    CONFIG_ISPS_MAX = 512,
    CONFIG_RELAYS_MAX = 128,
    CONFIG_ROUTES_MAX = 1024
};

/* Whether sessions are encrypted, from an ISP's or the defaults' `tls`. */
enum config_tls {
    CONFIG_TLS_BROKEN = 0,
    CONFIG_TLS_OFF,
    CONFIG_TLS_OPPORTUNISTIC, /* where it is offered, with any certificate; in plain text where TLS is broken */
    CONFIG_TLS_REQUIRED,      /* with any certificate, never in plain text */
    CONFIG_TLS_VERIFIED,      /* with a certificate that a trusted authority gave to the host's name */
};

/* What holds for one lane. Rates are exact fractions: `rate` starts in `rate_per`; 0: no limit. Of two places that name
 * a lane the more specific one wins, key by key: defaults, isp or relay, source, isp within the source. */
struct config_limits {
    uint64_t given;          /* which keys this block gave itself: bit i is the i-th row of CONFIG_LIMITS */
    unsigned connections;    /* sessions open at once */
    unsigned per_connection; /* messages; 0: no limit */
    uint64_t rate;
    nsec rate_per;
    unsigned burst; /* starts allowed at one instant */
    uint64_t connection_rate; /* connections begun; the same formula, a throttle of its own */
    nsec connection_rate_per;
    unsigned connection_burst;
    nsec retry[CONFIG_RETRY_STEPS]; /* delays after the 1st, 2nd... deferral; the last repeats */
    unsigned retry_count;
    nsec expire; /* given up this long after the first attempt */
    nsec timeout_connect, timeout_greeting, timeout_ehlo, timeout_mail, timeout_rcpt, timeout_data, timeout_body,
        timeout_quit;
    nsec idle;               /* an idle session is ended after this */
    bool pipelining, across; /* may be used at all */
    enum config_tls tls;
    const char **chunking; /* mail exchangers that BDAT is tried with: suffixes or whole host names; owned by `defaults`
                              where it is the same list */
    unsigned chunking_count;
    unsigned in_flight; /* messages of one session by BDAT whose reply is outstanding */
    struct adapt_limits adapt;
};

/* What holds for all sources together towards one ISP, over all shards and all engines of one Redis. */
struct config_total {
    unsigned connections; /* 0: no limit */
    uint64_t rate;
    nsec rate_per;
    unsigned burst;
    uint64_t connection_rate;
    nsec connection_rate_per;
};

/* What refusals mean, as the file says it; struct rule is what comes of it (rules.h). */
struct config_rule {
    char name[LIMIT_RULE_NAME + 1];
    const char **stages; /* "rcpt" */
    unsigned stage_count;
    const char **codes; /* "421", "5yz" */
    unsigned code_count;
    const char **statuses; /* "4.7.28", "x.7.28" */
    unsigned status_count;
    const char **texts; /* patterns */
    unsigned text_count;
    enum bounce_class class_;
    enum bounce_kind kind;
    enum rule_scope scope;
    enum rule_action action;
    nsec wait;
    unsigned factor, connections;
    bool defer, alert;
};

/* Which part of an ISP's replies is read. */
enum config_reply_line {
    CONFIG_REPLY_BROKEN = 0,
    CONFIG_REPLY_JOINED, /* all lines together */
    CONFIG_REPLY_LAST,   /* the last line */
};

struct config_isp {
    bool removed; /* by a reload: it keeps its place, and nothing is of it */
    char name[LIMIT_ISP_NAME + 1];
    const char **mx; /* suffixes (".google.com") or whole host names */
    unsigned mx_count;
    enum config_reply_line reply_line;
    struct config_rule *rules; /* its own; owned */
    unsigned rule_count;
    struct config_limits limits;
    struct config_total total;
};

enum config_auth {
    CONFIG_AUTH_BROKEN = 0,
    CONFIG_AUTH_NONE,
    CONFIG_AUTH_PLAIN,   /* RFC 4616 */
    CONFIG_AUTH_LOGIN,   /* draft-murchison-sasl-login-00 */
    CONFIG_AUTH_XOAUTH2, /* a bearer token, as Google and Microsoft take it */
};

/* A smarthost: an ISP of its name for all that `routes` send there. */
struct config_relay {
    bool removed;
    char name[LIMIT_ISP_NAME + 1];
    char *host; /* its addresses are looked up, no MX */
    uint16_t port;
    bool implicit_tls; /* TLS from the first byte, RFC 8314 §3.3 */
    enum config_auth auth;
    char *user, *password_file, *token_file; /* "" : none */
    bool auth_plain_text;                    /* AUTH although tls is off */
    struct config_limits limits;
    struct config_total total;
    char *secret_file; /* which of the two files holds the secret; NULL: none. Borrows from them */
    char *file;        /* where secret_file was named, for errors when it is read */
    unsigned line;
};

/* All conditions that are given must hold; the first route of the file that fits decides. */
struct config_route {
    char *pool;           /* "" : every pool */
    const char **domains; /* suffixes (".example.com") or whole domains; none: every domain */
    unsigned domain_count;
    char *relay_name; /* "none": by MX, as if there were no routes */
    struct isp_table table; /* of `domains`; without rows where it takes every domain */
    int pool_index;   /* -1: every pool */
    int relay;        /* index into config.relays; -1: by MX */
};

/* How many refusals of a class put an address on the suppression list. */
struct config_suppress {
    char name[32];   /* "hard", or a class of bounce.h */
    unsigned class_; /* enum bounce_class; 0: all hard refusals whose class has no block */
    unsigned after;  /* 0: never */
    nsec within;
};

/* What computes RSA signatures. */
enum config_dkim_engine {
    CONFIG_DKIM_BROKEN = 0,
    CONFIG_DKIM_AUTO, /* lanes of sign/rsa_lanes.h where there are any, for batches */
    CONFIG_DKIM_OPENSSL,
};

/* A key that signs (RFC 6376): for mail whose From is of this domain or, where that has no block, of one below it. */
struct config_dkim {
    char name[LIMIT_DKIM_NAME + 1];
    char *domain;   /* d=, lower case; the block's name unless it is given */
    char *selector; /* s= */
    char *key;      /* file of the private key */
    bool always;    /* signs all mail, whatever its From */
    bool ed25519;   /* the key may be of that type */
    bool enabled;
    nsec expire;   /* x= is this long after t=; 0: no x= */
    char *file;    /* where the key was named, for errors when it is read */
    unsigned line;
};

/* `isp NAME { }` within a source. */
struct config_source_isp {
    char name[LIMIT_ISP_NAME + 1]; /* of an ISP or a relay */
    struct config_limits limits;   /* the keys in `given` alone */
    char *file;                    /* where it stands */
    unsigned line;
};

/* What one counter of a curve follows (proto/policy/warmup.h). */
struct config_warmup_part {
    char name[LIMIT_ISP_NAME + 1]; /* of an ISP, or `other` */
    struct warmup_plan plan;
};

/* A warm-up: caps for each ISP, `other` ISPs together, and all. */
struct config_warmup {
    char name[LIMIT_WARMUP_NAME + 1];
    struct warmup_plan plan; /* of each counter without a part of its own */
    struct config_warmup_part *parts;
    unsigned part_count;
    struct warmup_plan all; /* over all ISPs; kind none: without */
};

/* What becomes of mail that a warming source has no room for. */
enum config_overflow {
    CONFIG_OVERFLOW_BROKEN = 0,
    CONFIG_OVERFLOW_SPILL, /* the pool's warm sources take it */
    CONFIG_OVERFLOW_WAIT,  /* its part of the pool's mail waits for it */
};

struct config_source {
    bool removed;
    char name[LIMIT_SOURCE_NAME + 1]; /* the address's text unless `name` is given */
    struct io_address address;
    char ehlo[LIMIT_DOMAIN + 1];
    struct config_limits limits; /* the keys in `given` alone; config_lane_limits says what holds */
    struct config_source_isp *isps;
    unsigned isp_count;
    char warmup_name[LIMIT_WARMUP_NAME + 1]; /* "" : it is warm */
    int warmup;                              /* index into config.warmups; -1: it is warm */
    int64_t since;                           /* the date on which it begins; INT64_MIN: with the first message */
    enum config_overflow overflow;
};

struct config_pool {
    bool removed;
    char name[LIMIT_POOL_NAME + 1];
    unsigned source_count;
    unsigned sources[64]; /* indices into config.sources */
};

struct config {
    char *file;      /* where it was read */
    char *redis;     /* "" : embedded */
    struct access redis_access;
    char *prefix;    /* "sluice" */
    char *engine;    /* this engine's id; default: the host's name */
    char *state_dir; /* lock file, embedded redis */
    unsigned shards; /* 0 in the file: one per usable core */
    char *resolver;  /* "127.0.0.1:5353, ..."; "": resolv.conf */
    nsec resolver_timeout;
    unsigned resolver_tries;
    nsec tls_broken_for; /* a host that fails at TLS has its mail in plain text so long, where that is allowed */
    char *tls_ca; /* file of trusted authorities; "": the system's */
    uint16_t smtp_port;
    uint16_t sts_port;  /* of policy hosts */
    bool mta_sts, dane; /* are in use */
    bool ipv4, ipv6;       /* address families of MX hosts that are used, each where a source of it exists */
    char *http;            /* "127.0.0.1:9125"; "": none */
    bool http_public;      /* http may be another address than one of loopback */
    char *default_pool;    /* for campaigns that name none; "" : the only pool there is, else none */
    char *hostname;        /* the EHLO name of sources that name none */
    nsec shutdown;         /* SIGTERM: open messages may take this long */
    unsigned sessions_max; /* of one shard */
    size_t press_bytes;    /* of one shard */
    char *token_key;       /* file of the secrets of VERP tokens (sign/token.h); "": none */
    uint64_t events_max;
    uint64_t keep_s; /* keys of a done campaign; a campaign's own `keep` wins */
    nsec poll;       /* idle look at sluice:campaigns */
    enum log_level log_level;
    struct config_limits defaults; /* of ISPs without an entry */
    struct config_isp *isps;
    unsigned isp_count;
    struct isp_table mx_table; /* which of them a mail exchanger belongs to */
    struct config_relay *relays;
    unsigned relay_count;
    struct config_route *routes; /* in the order of the file */
    unsigned route_count;
    bool suppression; /* the suppression list is asked, and added to */
    struct config_suppress *suppresses;
    unsigned suppress_count;
    enum config_dkim_engine dkim_engine;
    struct config_dkim *dkims; /* in the order of the file */
    unsigned dkim_count;
    struct config_source *sources;
    unsigned source_count;
    struct config_pool *pools;
    unsigned pool_count;
    char *zone_name;
    unsigned day_starts; /* o'clock */
    nsec day_length;     /* 0: civil days */
    nsec redis_keeps;    /* what it acknowledged so long ago is not forgotten */
    nsec warmup_settle;  /* a piece is used so long after Redis acknowledged it */
    struct zone_days days; /* made of these */
    char *zone_bytes;      /* that its zone is read from */
    struct config_warmup *warmups;
    unsigned warmup_count;
    struct config_rule *phrases; /* the rules at the top, for every ISP; in the order of the file */
    unsigned phrase_count;
    bool shipped_rules;
    struct rules *rules; /* what refusals mean, compiled; NULL until rules_load (rules.h). Owned */
    const struct config_limits **lanes; /* of each source, of each config_isp_index: what holds for the lane */
    struct config_limits *lane_limits;  /* of those lanes for which it is not what holds for the ISP */
    unsigned lane_limit_count;
    uint64_t generation; /* how many reloads came before it */
    _Atomic unsigned holders;
};

/* NULL on failure; `error` holds "FILE:LINE: what is wrong; what is allowed". One thread at a time: libConfuse's lexer
 * is global. */
must_use struct config *config_load(const char *file, char *error, size_t error_cap);
/* The same of a text in memory; `file` is what errors and relative includes name. */
must_use struct config *config_parse(const char *file, struct slice text, char *error, size_t error_cap);
/* Who keeps a config past the call holds it; the last to release it frees it. config_free releases what load gave. */
const struct config *config_hold(const struct config *config);
void config_release(const struct config *config);
void config_free(struct config *config);
/* The file as it is in force, every key with its value, in the file's own syntax: read again, it gives the same. */
void config_print(const struct config *config, void (*line)(void *context, const char *text), void *context);
/* sluice.conf(5), made from the table. */
void config_manual(void (*line)(void *context, const char *text), void *context);
/* May whoever reaches `http` read it? On loopback always, elsewhere with http_public. */
bool config_http_allowed(const struct config *config);
/* Reads "address", "address:port" or "[address]:port"; `port` is that of a text without one, 0: it needs one. */
must_use bool config_at(struct slice text, uint16_t port, struct io_address *address);
/* Limits of an ISP or a relay by name; the defaults for one without an entry. */
const struct config_limits *config_limits_for(const struct config *config, struct slice isp);
/* What holds for all sources together; NULL: nothing, no such key was given. */
const struct config_total *config_total_of(const struct config *config, struct slice isp);
/* The position of an ISP or a relay by its name: index into config.isps; isp_count + index into config.relays; or
 * isp_count + relay_count, which stands for all others. */
unsigned config_isp_index(const struct config *config, struct slice isp);
/* What holds for a source's lane to an ISP, each key from the most specific place that gives it. */
const struct config_limits *config_lane_limits(const struct config *config, unsigned source, struct slice isp);
/* The relay of this name, an index into config.relays; -1: it is no relay's. */
int config_relay_of(const struct config *config, struct slice isp);
/* What holds a source back at an ISP; NULL: nothing, for it is warm, a relay's, or has no cap there. */
const struct warmup_plan *config_warmup_plan(const struct config *config, unsigned source, struct slice isp);
/* The same over all ISPs. */
const struct warmup_plan *config_warmup_all(const struct config *config, unsigned source);
/* The counter that an ISP's mail counts for: its name, or `other` for one without a block. */
struct slice config_warmup_counter(const struct config *config, struct slice isp);
/* What a counter of that name follows: an ISP's or `other`, or `all`; NULL: nothing. */
const struct warmup_plan *config_warmup_of(const struct config *config, unsigned source, struct slice counter);
/* The day (of config.days) on which the source's warm-up begins; INT64_MIN: with its first message. */
int64_t config_warmup_since(const struct config *config, unsigned source);
const struct config_pool *config_pool_find(const struct config *config, struct slice name);
unsigned config_pools(const struct config *config); /* that are not removed */
/* The pool that a campaign means which gives this name; "": default_pool's (then *name is that), else the only one there
 * is. NULL: there is none. */
const struct config_pool *config_pool_meant(const struct config *config, struct slice *name);

#endif
