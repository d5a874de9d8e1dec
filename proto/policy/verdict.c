/* verdict.c - decides what an outcome means in one place, so that no two parts of the engine can disagree about it. */
#include "proto/policy/verdict.h"

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
        if (row->happening == happening && (row->stages & AT(stage)))
            return (struct verdict){.type = row->type,
                                    .bounce = {row->class_, row->kind, happening_name(happening)},
                                    .trouble = row->trouble,
                                    .counts = row->counts,
                                    .status = row->status};
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

static struct verdict of_refusal(enum stage stage, uint16_t code, const char *status)
{
    struct verdict verdict = {.type = EVENT_DEFERRED, .bounce = bounce_classify(stage, code, status), .status = ""};
    verdict.trouble = trouble_of(stage, verdict.bounce.class_);
    verdict.counts = stage >= STAGE_MAIL;
    if (code == 421) { /* RFC 5321 §3.8: the server shuts down, whatever it was asked */
        verdict.counts = false;
        verdict.trouble = stage < STAGE_MAIL ? TROUBLE_HOST : TROUBLE_LANE;
        return verdict;
    }
    if (code < 500 || stage < STAGE_MAIL)
        return verdict;
    /* RFC 3207 §4, RFC 4954 §6: the server wants TLS or credentials first: no recipient's fault. */
    if (code == 530 && stage == STAGE_MAIL) {
        verdict.bounce.kind = BOUNCE_KIND_SOFT;
        return verdict;
    }
    /* RFC 5321 §4.5.3.1.10: "Clients SHOULD treat a 552 code in this case as a temporary, rather than permanent,
     * failure". And "bad sequence of commands" for a body that was asked for speaks of what stood behind its dot
     * (RFC 2920 §3.1 allows it, some servers do not): another try, without that, tells what the server thinks of it. */
    if ((code == 552 && stage == STAGE_RCPT) || (code == 503 && stage == STAGE_BODY)) {
        verdict.bounce.kind = BOUNCE_KIND_SOFT;
        return verdict;
    }
    verdict.type = EVENT_BOUNCED;
    if (stage == STAGE_MAIL)
        verdict.bounce.kind = BOUNCE_KIND_BLOCK;
    return verdict;
}

static struct verdict of_reply(const struct outcome *outcome)
{
    if (outcome->stage < STAGE_GREETING)
        return (struct verdict){.type = EVENT_BROKEN};
    if (is_refusal(outcome->code))
        return of_refusal(outcome->stage, outcome->code, outcome->status);
    if (outcome->stage == STAGE_BODY && outcome->body_left && is_success(outcome->code))
        return (struct verdict){.type = EVENT_DELIVERED,
                                .bounce = {BOUNCE_NONE, BOUNCE_KIND_NONE, ""},
                                .trouble = TROUBLE_NONE,
                                .counts = true,
                                .status = ""};
    return (struct verdict){.type = EVENT_DEFERRED,
                            .bounce = {BOUNCE_PROTOCOL_ERRORS, BOUNCE_KIND_SOFT, "unexpected-reply"},
                            .trouble = TROUBLE_HOST,
                            .counts = outcome->stage >= STAGE_MAIL,
                            .status = "4.5.0"};
}

/* Did the server say what became of the body? */
static bool is_answered(const struct outcome *outcome)
{
    return outcome->stage == STAGE_BODY && outcome->happening == HAPPENING_REPLY &&
           (is_success(outcome->code) || is_refusal(outcome->code));
}

struct verdict verdict_of(const struct rule_reader *reader, struct slice isp, const struct outcome *outcome)
{
    (void)reader, (void)isp;
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
        return of_reply(outcome);
    return of_happening(outcome->stage, outcome->happening);
}
