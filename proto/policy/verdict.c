/* verdict.c - decides what an outcome means in one place, so that no two parts of the engine can disagree about it. */
#include "proto/policy/verdict.h"

#include "proto/policy/wording.h"

const char *stage_name(enum stage stage)
{
    static const char *const names[STAGE_COUNT] = {
        [STAGE_BROKEN] = "broken",     [STAGE_RECIPIENT] = "recipient", [STAGE_ROUTE] = "route",
        [STAGE_CONNECT] = "connect",   [STAGE_GREETING] = "greeting",   [STAGE_EHLO] = "ehlo",
        [STAGE_STARTTLS] = "starttls", [STAGE_AUTH] = "auth",           [STAGE_MAIL] = "mail",
        [STAGE_RCPT] = "rcpt",         [STAGE_DATA] = "data",           [STAGE_BODY] = "body",
    };
    sluice_assert(stage < STAGE_COUNT);
    return names[stage];
}

const char *happening_name(enum happening happening)
{
    static const char *const names[HAPPENING_COUNT] = {
        [HAPPENING_BROKEN] = "broken",
        [HAPPENING_REPLY] = "reply",
        [HAPPENING_CLOSED] = "closed",
        [HAPPENING_RESET] = "reset",
        [HAPPENING_TIMEOUT] = "timeout",
        [HAPPENING_REFUSED] = "refused",
        [HAPPENING_UNREACHABLE] = "unreachable",
        [HAPPENING_GARBAGE] = "garbage",
        [HAPPENING_LOCAL] = "local",
        [HAPPENING_NXDOMAIN] = "nxdomain",
        [HAPPENING_NULL_MX] = "null-mx",
        [HAPPENING_NO_ADDRESS] = "no-address",
        [HAPPENING_DNS_FAILURE] = "dns-failure",
        [HAPPENING_STS] = "mta-sts",
        [HAPPENING_SIZE] = "size",
        [HAPPENING_EIGHT_BIT] = "eight-bit",
        [HAPPENING_INVALID] = "invalid",
        [HAPPENING_DUPLICATE] = "duplicate",
        [HAPPENING_SUPPRESSED] = "suppressed",
        [HAPPENING_CANCELLED] = "cancelled",
        [HAPPENING_EXPIRED] = "expired",
        [HAPPENING_IN_DOUBT] = "in-doubt",
        [HAPPENING_TLS] = "tls",
        [HAPPENING_NOT_OFFERED] = "not-offered",
    };
    sluice_assert(happening < HAPPENING_COUNT);
    return names[happening];
}

const char *verdict_trouble_name(enum verdict_trouble trouble)
{
    static const char *const names[TROUBLE_COUNT] = {
        [TROUBLE_BROKEN] = "broken",   [TROUBLE_NONE] = "none", [TROUBLE_RECIPIENT] = "recipient",
        [TROUBLE_MESSAGE] = "message", [TROUBLE_HOST] = "host", [TROUBLE_LANE] = "lane",
        [TROUBLE_LOCAL] = "local",
    };
    sluice_assert(trouble < TROUBLE_COUNT);
    return names[trouble];
}

/* ---- what we saw happen: one row for each happening and the stages it may come at ---- */

#define AT(stage) (1u << (stage))
#define SESSION   (AT(STAGE_GREETING) | AT(STAGE_EHLO) | AT(STAGE_STARTTLS) | AT(STAGE_AUTH))
#define NAMED     (AT(STAGE_RCPT) | AT(STAGE_DATA)) /* the peer has heard of this recipient */
#define ENTRY     (AT(STAGE_RECIPIENT) | AT(STAGE_ROUTE))
#define ANY_STAGE (AT(STAGE_COUNT) - 2) /* all but STAGE_BROKEN */

enum { COUNTS = true, FREE = false };

struct row {
    enum happening happening;
    unsigned stages;
    enum event_type type;
    enum bounce_class class_;
    enum bounce_kind kind;
    enum verdict_trouble trouble;
    bool counts;
    const char *status;
};

static const struct row rows[] = {
    /* A peer that closes before the body is no refusal. At MAIL, or while a body waits for its permit, it is the silent
     * close between two messages and nobody's fault; once it has heard of the recipient it counts, lest one that
     * closes at the same recipient again and again is asked without end. */
    {HAPPENING_CLOSED, AT(STAGE_CONNECT) | SESSION, EVENT_DEFERRED, BOUNCE_BAD_CONNECTION, BOUNCE_KIND_SOFT,
     TROUBLE_HOST, FREE, "4.4.2"},
    {HAPPENING_CLOSED, AT(STAGE_MAIL) | AT(STAGE_BODY), EVENT_DEFERRED, BOUNCE_BAD_CONNECTION, BOUNCE_KIND_SOFT,
     TROUBLE_NONE, FREE, "4.4.2"},
    {HAPPENING_CLOSED, NAMED, EVENT_DEFERRED, BOUNCE_BAD_CONNECTION, BOUNCE_KIND_SOFT, TROUBLE_HOST, COUNTS, "4.4.2"},
    {HAPPENING_RESET, AT(STAGE_CONNECT) | SESSION, EVENT_DEFERRED, BOUNCE_BAD_CONNECTION, BOUNCE_KIND_SOFT,
     TROUBLE_HOST, FREE, "4.4.2"},
    {HAPPENING_RESET, AT(STAGE_MAIL) | AT(STAGE_BODY), EVENT_DEFERRED, BOUNCE_BAD_CONNECTION, BOUNCE_KIND_SOFT,
     TROUBLE_NONE, FREE, "4.4.2"},
    {HAPPENING_RESET, NAMED, EVENT_DEFERRED, BOUNCE_BAD_CONNECTION, BOUNCE_KIND_SOFT, TROUBLE_HOST, COUNTS, "4.4.2"},
    {HAPPENING_TIMEOUT, AT(STAGE_CONNECT), EVENT_DEFERRED, BOUNCE_NO_ANSWER_FROM_HOST, BOUNCE_KIND_SOFT, TROUBLE_HOST,
     COUNTS, "4.4.1"},
    {HAPPENING_TIMEOUT, SESSION | AT(STAGE_MAIL) | AT(STAGE_BODY), EVENT_DEFERRED, BOUNCE_BAD_CONNECTION,
     BOUNCE_KIND_SOFT, TROUBLE_HOST, FREE, "4.4.2"},
    {HAPPENING_TIMEOUT, NAMED, EVENT_DEFERRED, BOUNCE_BAD_CONNECTION, BOUNCE_KIND_SOFT, TROUBLE_HOST, COUNTS, "4.4.2"},
    {HAPPENING_REFUSED, AT(STAGE_CONNECT), EVENT_DEFERRED, BOUNCE_NO_ANSWER_FROM_HOST, BOUNCE_KIND_SOFT, TROUBLE_HOST,
     COUNTS, "4.4.1"},
    {HAPPENING_UNREACHABLE, AT(STAGE_ROUTE) | AT(STAGE_CONNECT), EVENT_DEFERRED, BOUNCE_NO_ANSWER_FROM_HOST,
     BOUNCE_KIND_SOFT, TROUBLE_HOST, COUNTS, "4.4.1"},
    {HAPPENING_GARBAGE, SESSION, EVENT_DEFERRED, BOUNCE_PROTOCOL_ERRORS, BOUNCE_KIND_SOFT, TROUBLE_HOST, FREE, "4.5.0"},
    {HAPPENING_GARBAGE, AT(STAGE_MAIL) | NAMED | AT(STAGE_BODY), EVENT_DEFERRED, BOUNCE_PROTOCOL_ERRORS,
     BOUNCE_KIND_SOFT, TROUBLE_HOST, COUNTS, "4.5.0"},
    {HAPPENING_LOCAL, ANY_STAGE, EVENT_DEFERRED, BOUNCE_OTHER, BOUNCE_KIND_SOFT, TROUBLE_LOCAL, FREE, "4.3.0"},
    {HAPPENING_NXDOMAIN, AT(STAGE_ROUTE), EVENT_BOUNCED, BOUNCE_BAD_DOMAIN, BOUNCE_KIND_HARD, TROUBLE_RECIPIENT, COUNTS,
     "5.1.2"},
    /* RFC 7505 §3 and §4.2: at once, without a retry, 5.1.10 "recipient address has null MX". */
    {HAPPENING_NULL_MX, AT(STAGE_ROUTE), EVENT_BOUNCED, BOUNCE_BAD_DOMAIN, BOUNCE_KIND_HARD, TROUBLE_RECIPIENT, COUNTS,
     "5.1.10"},
    /* RFC 5321 §5.1: neither MX nor address, or MX of no use, "MUST be reported as an error". */
    {HAPPENING_NO_ADDRESS, AT(STAGE_ROUTE), EVENT_BOUNCED, BOUNCE_BAD_DOMAIN, BOUNCE_KIND_HARD, TROUBLE_RECIPIENT,
     COUNTS, "5.4.4"},
    /* RFC 5321 §5.1: a temporary error of DNS "MUST" be queued and retried. */
    {HAPPENING_DNS_FAILURE, AT(STAGE_ROUTE), EVENT_DEFERRED, BOUNCE_ROUTING_ERRORS, BOUNCE_KIND_SOFT, TROUBLE_RECIPIENT,
     COUNTS, "4.4.3"},
    /* RFC 8461 §5: "MUST NOT be delivered" there, and the domain's administrator can mend it. */
    {HAPPENING_STS, AT(STAGE_ROUTE), EVENT_DEFERRED, BOUNCE_ROUTING_ERRORS, BOUNCE_KIND_SOFT, TROUBLE_RECIPIENT, COUNTS,
     "4.4.4"},
    /* RFC 1870 §6.1: a message larger than the announced SIZE is not offered. */
    {HAPPENING_SIZE, AT(STAGE_EHLO) | AT(STAGE_MAIL), EVENT_BOUNCED, BOUNCE_CONTENT_RELATED, BOUNCE_KIND_BLOCK,
     TROUBLE_MESSAGE, COUNTS, "5.3.4"},
    /* RFC 6152 §3: what would need a conversion that we do not do. */
    {HAPPENING_EIGHT_BIT, AT(STAGE_EHLO) | AT(STAGE_MAIL), EVENT_BOUNCED, BOUNCE_CONTENT_RELATED, BOUNCE_KIND_BLOCK,
     TROUBLE_MESSAGE, COUNTS, "5.6.3"},
    {HAPPENING_INVALID, ENTRY, EVENT_INVALID, BOUNCE_NONE, BOUNCE_KIND_NONE, TROUBLE_RECIPIENT, FREE, ""},
    {HAPPENING_DUPLICATE, ENTRY, EVENT_SUPPRESSED, BOUNCE_NONE, BOUNCE_KIND_NONE, TROUBLE_RECIPIENT, FREE, ""},
    {HAPPENING_SUPPRESSED, ENTRY, EVENT_SUPPRESSED, BOUNCE_NONE, BOUNCE_KIND_NONE, TROUBLE_RECIPIENT, FREE, ""},
    {HAPPENING_CANCELLED, ANY_STAGE, EVENT_CANCELLED, BOUNCE_NONE, BOUNCE_KIND_NONE, TROUBLE_NONE, FREE, ""},
    {HAPPENING_EXPIRED, ANY_STAGE, EVENT_EXPIRED, BOUNCE_MESSAGE_EXPIRED, BOUNCE_KIND_SOFT, TROUBLE_RECIPIENT, FREE,
     "5.4.7"},
    /* What a policy of ours, or of the recipient's domain, demands and the server has not: the server's administrator
     * can mend that, so it waits until it expires. X.7.5 is a cryptographic failure (RFC 3463 §3.8). */
    {HAPPENING_TLS, AT(STAGE_STARTTLS), EVENT_DEFERRED, BOUNCE_BAD_CONNECTION, BOUNCE_KIND_SOFT, TROUBLE_HOST, FREE,
     "4.7.5"},
    {HAPPENING_NOT_OFFERED, AT(STAGE_STARTTLS) | AT(STAGE_AUTH), EVENT_DEFERRED, BOUNCE_BAD_CONFIGURATION,
     BOUNCE_KIND_SOFT, TROUBLE_HOST, FREE, "4.7.4"},
    {HAPPENING_IN_DOUBT, ANY_STAGE, EVENT_IN_DOUBT, BOUNCE_NONE, BOUNCE_KIND_NONE, TROUBLE_NONE, COUNTS, ""},
};

static struct verdict of_happening(enum stage stage, enum happening happening)
{
    for (size_t i = 0; i < countof(rows); i++) {
        const struct row *row = &rows[i];
        bool hard = row->kind == BOUNCE_KIND_HARD;
        if (row->happening == happening && (row->stages & AT(stage)))
            return (struct verdict){.type = row->type,
                                    .bounce = {row->class_, row->kind, happening_name(happening)},
                                    .trouble = row->trouble,
                                    .counts = row->counts,
                                    .status = row->status,
                                    .scope = hard ? RULE_RECIPIENT : RULE_SCOPE_NONE,
                                    .action = hard ? RULE_SUPPRESS : RULE_NONE,
                                    .suppress = hard};
    }
    return (struct verdict){.type = EVENT_BROKEN};
}

/* ---- what the server said ---- */

static bool is_refusal(uint16_t code) { return code >= 400 && code <= 599; }
static bool is_success(uint16_t code) { return code >= 200 && code <= 299; }

static enum verdict_trouble trouble_of(enum stage stage, enum bounce_class class_)
{
    if (stage < STAGE_MAIL)
        return TROUBLE_LANE;
    switch (class_) {
    case BOUNCE_INVALID_SENDER:
    case BOUNCE_CONTENT_RELATED:
    case BOUNCE_VIRUS_RELATED:
        return TROUBLE_MESSAGE;
    case BOUNCE_SPAM_RELATED:
    case BOUNCE_POLICY_RELATED:
        return stage >= STAGE_DATA ? TROUBLE_MESSAGE : TROUBLE_LANE;
    case BOUNCE_BAD_CONFIGURATION:
        return TROUBLE_LANE;
    case BOUNCE_PROTOCOL_ERRORS:
    case BOUNCE_BAD_CONNECTION:
        return TROUBLE_HOST;
    default:
        return stage == STAGE_MAIL ? TROUBLE_LANE : TROUBLE_RECIPIENT;
    }
}

static enum verdict_trouble trouble_by_rule(const struct rule *rule)
{
    switch (rule->scope) {
    case RULE_RECIPIENT:
        return TROUBLE_RECIPIENT;
    case RULE_MESSAGE:
    case RULE_CAMPAIGN:
    case RULE_FROM_DOMAIN:
        return TROUBLE_MESSAGE;
    default:
        return TROUBLE_LANE;
    }
}

/* Whatever the numbers and the rules say, a text that speaks of a list of bad addresses or of authentication does not
 * condemn a mailbox. */
static void doubt_words(struct bounce *bounce, enum wording_hint hint)
{
    if (bounce->kind == BOUNCE_KIND_HARD && (hint == WORDING_AUTHENTICATION || hint == WORDING_BLOCK)) {
        bounce->class_ = BOUNCE_POLICY_RELATED;
        bounce->kind = BOUNCE_KIND_BLOCK;
    }
}

/* Bounced, or to be tried again? A refusal in the session is never the end of a recipient. */
static enum event_type type_of(enum stage stage, uint16_t code, const struct bounce *bounce, const struct rule *rule)
{
    if (code < 500 || stage < STAGE_MAIL || (rule && rule->defer))
        return EVENT_DEFERRED;
    /* RFC 3207 §4, RFC 4954 §6: the server wants TLS or credentials first: no recipient's fault. */
    if (code == 530 && stage == STAGE_MAIL)
        return EVENT_DEFERRED;
    /* RFC 5321 §4.5.3.1.10: "Clients SHOULD treat a 552 code in this case as a temporary, rather than permanent,
     * failure", unless its words are about something else. */
    if (code == 552 && stage == STAGE_RCPT && !(rule && bounce->kind == BOUNCE_KIND_HARD))
        return EVENT_DEFERRED;
    /* "Bad sequence of commands" for a body that was asked for speaks of what stood behind its dot (RFC 2920 §3.1
     * allows it, some servers do not): another try, without that, tells what the server thinks of it. */
    if (code == 503 && stage == STAGE_BODY)
        return EVENT_DEFERRED;
    return EVENT_BOUNCED;
}

/* ---- what follows from it ---- */

static void follow(struct verdict *v, enum rule_scope scope, enum rule_action action)
{
    v->scope = scope;
    v->action = action;
}

static void follow_rule(struct verdict *v, const struct rule *rule, nsec named)
{
    follow(v, rule->scope, rule->action);
    v->wait = rule->wait;
    v->factor = rule->factor;
    v->connections = rule->connections;
    v->alert = rule->alert;
    if (rule->action == RULE_RETRY && named)
        v->wait = named;
    if (v->type == EVENT_DEFERRED && !named && (rule->action == RULE_RETRY || rule->defer))
        named = rule->wait;
    v->retry_after = v->type == EVENT_DEFERRED ? named : 0;
    /* A rule that was overruled asks for nothing. */
    if (rule->action == RULE_SUPPRESS && v->bounce.kind != BOUNCE_KIND_HARD)
        v->action = v->type == EVENT_DEFERRED ? RULE_RETRY : RULE_NONE;
}

/* Where no rule says what to do, little is done: a lane is slowed by what closes it, and left by what shuts the door.
 */
static void follow_numbers(struct verdict *v, enum stage stage, uint16_t code, nsec named)
{
    enum { FACTOR = 50 };
    v->retry_after = v->type == EVENT_DEFERRED ? named : 0;
    if (stage < STAGE_MAIL) {
        follow(v, RULE_LANE, code >= 500 ? RULE_OTHER_SOURCE : RULE_NONE);
    } else if (v->bounce.kind == BOUNCE_KIND_HARD) {
        follow(v, RULE_RECIPIENT, RULE_SUPPRESS);
    } else if (v->bounce.class_ == BOUNCE_PROTOCOL_ERRORS) {
        follow(v, RULE_SCOPE_NONE, RULE_NONE);
    } else if (code == 421 && v->trouble == TROUBLE_LANE) {
        follow(v, RULE_LANE, RULE_SLOW);
        v->factor = FACTOR;
    } else if (v->type == EVENT_DEFERRED) {
        follow(v, RULE_RECIPIENT, RULE_RETRY);
        v->wait = named;
    } else if (v->bounce.class_ == BOUNCE_INVALID_SENDER) {
        follow(v, RULE_FROM_DOMAIN, RULE_NONE);
    } else if (v->trouble == TROUBLE_MESSAGE) {
        follow(v, RULE_MESSAGE, RULE_NONE);
    } else {
        follow(v, v->trouble == TROUBLE_RECIPIENT ? RULE_RECIPIENT : RULE_LANE, RULE_NONE);
    }
}

static struct verdict of_refusal(const struct rule_reader *reader, struct slice isp, const struct outcome *o)
{
    struct wording wording;
    wording_read(&wording, o->code, o->status, slice_of(o->reply));
    struct slice text = wording_text(&wording, false);
    const struct rule *rule = rule_find(reader, isp, slice_of(o->mx), o->stage, &wording);
    struct verdict v = {.rule = rule, .status = ""};
    v.bounce = rule ? bounce_fitting((struct bounce){rule->class_, rule->kind, rule->id}, o->stage, o->code)
                    : bounce_classify(o->stage, o->code, wording.status, text);
    if (o->stage == STAGE_STARTTLS && v.bounce.class_ == BOUNCE_INVALID_SENDER)
        v.bounce.class_ = BOUNCE_BAD_CONFIGURATION; /* no sender was named yet: its own TLS is what is wrong */
    if (v.bounce.kind == BOUNCE_KIND_HARD)
        doubt_words(&v.bounce, wording_hint(text));
    v.type = type_of(o->stage, o->code, &v.bounce, rule);
    if (v.type == EVENT_DEFERRED && (v.bounce.kind == BOUNCE_KIND_HARD || (!rule && o->stage >= STAGE_MAIL)))
        v.bounce.kind = BOUNCE_KIND_SOFT;
    if (v.type == EVENT_BOUNCED && o->stage == STAGE_MAIL)
        v.bounce.kind = BOUNCE_KIND_BLOCK;
    v.trouble = rule && o->stage >= STAGE_MAIL ? trouble_by_rule(rule) : trouble_of(o->stage, v.bounce.class_);
    v.counts = o->stage >= STAGE_MAIL;
    if (o->code == 421) { /* RFC 5321 §3.8: the server shuts down, whatever it was asked */
        v.counts = false;
        v.trouble = o->stage < STAGE_MAIL ? TROUBLE_HOST : TROUBLE_LANE;
    }
    nsec named = wording_retry_after(text);
    if (rule)
        follow_rule(&v, rule, named);
    else
        follow_numbers(&v, o->stage, o->code, named);
    v.suppress = v.action == RULE_SUPPRESS && v.bounce.kind == BOUNCE_KIND_HARD;
    /* What no rule may break. */
    sluice_assert(!v.suppress || (v.type == EVENT_BOUNCED && o->code >= 500 && o->stage >= STAGE_RCPT));
    sluice_assert(v.bounce.kind != BOUNCE_KIND_HARD || v.type == EVENT_BOUNCED);
    return v;
}

static struct verdict of_reply(const struct rule_reader *reader, struct slice isp, const struct outcome *outcome)
{
    if (outcome->stage < STAGE_GREETING)
        return (struct verdict){.type = EVENT_BROKEN};
    if (is_refusal(outcome->code))
        return of_refusal(reader, isp, outcome);
    if (outcome->stage == STAGE_BODY && outcome->body_left && is_success(outcome->code))
        return (struct verdict){.type = EVENT_DELIVERED,
                                .bounce = {BOUNCE_NONE, BOUNCE_KIND_NONE, ""},
                                .trouble = TROUBLE_NONE,
                                .counts = true,
                                .status = "",
                                .scope = RULE_SCOPE_NONE,
                                .action = RULE_NONE};
    return (struct verdict){.type = EVENT_DEFERRED,
                            .bounce = {BOUNCE_PROTOCOL_ERRORS, BOUNCE_KIND_SOFT, "unexpected-reply"},
                            .trouble = TROUBLE_HOST,
                            .counts = outcome->stage >= STAGE_MAIL,
                            .status = "4.5.0",
                            .scope = RULE_SCOPE_NONE,
                            .action = RULE_NONE};
}

/* Did the server say what became of the body? */
static bool is_answered(const struct outcome *outcome)
{
    return outcome->stage == STAGE_BODY && outcome->happening == HAPPENING_REPLY &&
           (is_success(outcome->code) || is_refusal(outcome->code));
}

struct verdict verdict_of(const struct rule_reader *reader, struct slice isp, const struct outcome *outcome)
{
    if (outcome->stage <= STAGE_BROKEN || outcome->stage >= STAGE_COUNT || outcome->happening <= HAPPENING_BROKEN ||
        outcome->happening >= HAPPENING_COUNT)
        return (struct verdict){.type = EVENT_BROKEN};
    if (outcome->body_left && !is_answered(outcome)) {
        /* RFC 5321 §4.1.1.4: the server may have taken the message over without our hearing of it. */
        struct verdict verdict = of_happening(STAGE_BODY, HAPPENING_IN_DOUBT);
        verdict.bounce.rule = happening_name(outcome->happening);
        return verdict;
    }
    if (outcome->happening == HAPPENING_REPLY)
        return of_reply(reader, isp, outcome);
    return of_happening(outcome->stage, outcome->happening);
}
