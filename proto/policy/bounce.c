/* bounce.c - reads a refusal's meaning off its stage and numbers, for lack of anything better to go by. */
#include "proto/policy/bounce.h"

#include "proto/policy/wording.h"

const char *const bounce_class_names[BOUNCE_CLASS_COUNT] = {
    [BOUNCE_NONE] = "",
    [BOUNCE_BAD_MAILBOX] = "bad-mailbox",
    [BOUNCE_INACTIVE_MAILBOX] = "inactive-mailbox",
    [BOUNCE_BAD_DOMAIN] = "bad-domain",
    [BOUNCE_QUOTA_ISSUES] = "quota-issues",
    [BOUNCE_SPAM_RELATED] = "spam-related",
    [BOUNCE_POLICY_RELATED] = "policy-related",
    [BOUNCE_CONTENT_RELATED] = "content-related",
    [BOUNCE_ROUTING_ERRORS] = "routing-errors",
    [BOUNCE_RELAYING_ISSUES] = "relaying-issues",
    [BOUNCE_PROTOCOL_ERRORS] = "protocol-errors",
    [BOUNCE_NO_ANSWER_FROM_HOST] = "no-answer-from-host",
    [BOUNCE_BAD_CONNECTION] = "bad-connection",
    [BOUNCE_BAD_CONFIGURATION] = "bad-configuration",
    [BOUNCE_INVALID_SENDER] = "invalid-sender",
    [BOUNCE_MESSAGE_EXPIRED] = "message-expired",
    [BOUNCE_VIRUS_RELATED] = "virus-related",
    [BOUNCE_OTHER] = "other",
};

const char *bounce_class_name(enum bounce_class class_)
{
    sluice_assert(class_ > BOUNCE_BROKEN && class_ < BOUNCE_CLASS_COUNT);
    return bounce_class_names[class_];
}

const char *const bounce_kind_names[BOUNCE_KIND_COUNT] = {[BOUNCE_KIND_NONE] = "",
                                                          [BOUNCE_KIND_HARD] = "hard",
                                                          [BOUNCE_KIND_SOFT] = "soft",
                                                          [BOUNCE_KIND_BLOCK] = "block"};

const char *bounce_kind_name(enum bounce_kind kind)
{
    sluice_assert(kind > BOUNCE_KIND_BROKEN && kind < BOUNCE_KIND_COUNT);
    return bounce_kind_names[kind];
}

/* ---- by enhanced status ---- */

enum { ANY = -1 };

/* RFC 3463 §3 and the registry of RFC 5248; the first row that fits decides. */
struct status_row {
    int subject, detail;
    enum bounce_class class_;
    const char *rule;
};
static const struct status_row status_rows[] = {
    {1, 2, BOUNCE_BAD_DOMAIN, "x.1.2"},
    {1, 7, BOUNCE_INVALID_SENDER, "x.1.7"},
    {1, 8, BOUNCE_INVALID_SENDER, "x.1.8"},
    {1, 9, BOUNCE_ROUTING_ERRORS, "x.1.9"},
    {1, 10, BOUNCE_BAD_DOMAIN, "x.1.10"}, /* RFC 7505 §4.2 */
    {1, ANY, BOUNCE_BAD_MAILBOX, "x.1.x"},
    {2, 1, BOUNCE_INACTIVE_MAILBOX, "x.2.1"},
    {2, 2, BOUNCE_QUOTA_ISSUES, "x.2.2"},
    {2, 3, BOUNCE_CONTENT_RELATED, "x.2.3"},
    {2, ANY, BOUNCE_OTHER, "x.2.x"},
    {3, 1, BOUNCE_QUOTA_ISSUES, "x.3.1"},
    {3, 3, BOUNCE_PROTOCOL_ERRORS, "x.3.3"},
    {3, 4, BOUNCE_CONTENT_RELATED, "x.3.4"},
    {3, 5, BOUNCE_BAD_CONFIGURATION, "x.3.5"},
    {3, ANY, BOUNCE_OTHER, "x.3.x"},
    {4, 1, BOUNCE_NO_ANSWER_FROM_HOST, "x.4.1"},
    {4, 2, BOUNCE_BAD_CONNECTION, "x.4.2"},
    {4, 7, BOUNCE_MESSAGE_EXPIRED, "x.4.7"},
    {4, ANY, BOUNCE_ROUTING_ERRORS, "x.4.x"},
    {5, ANY, BOUNCE_PROTOCOL_ERRORS, "x.5.x"},
    {6, ANY, BOUNCE_CONTENT_RELATED, "x.6.x"},
    {7, 8, BOUNCE_BAD_CONFIGURATION, "x.7.8"}, /* credentials, RFC 4954 §6 */
    {7, 9, BOUNCE_POLICY_RELATED, "x.7.9"},
    {7, 17, BOUNCE_BAD_MAILBOX, "x.7.17"},    /* the mailbox has a new owner, RFC 7293 §14 */
    {7, 18, BOUNCE_BAD_DOMAIN, "x.7.18"},     /* the domain has a new owner */
    {7, 27, BOUNCE_INVALID_SENDER, "x.7.27"}, /* the sender's domain has a null MX, RFC 7505 §4.2 */
    {7, ANY, BOUNCE_POLICY_RELATED, "x.7.x"},
};

static const struct status_row *find_status(const char *status)
{
    unsigned class_, subject, detail;
    if (!wording_status(status, &class_, &subject, &detail))
        return NULL;
    for (size_t i = 0; i < countof(status_rows); i++)
        if (status_rows[i].subject == (int)subject &&
            (status_rows[i].detail == ANY || status_rows[i].detail == (int)detail))
            return &status_rows[i];
    return NULL; /* x.0.x, and what the registry does not know, says nothing */
}

/* ---- by basic code ---- */

#define AT(stage)  (1u << (stage))
#define SESSION    (AT(STAGE_GREETING) | AT(STAGE_EHLO) | AT(STAGE_STARTTLS) | AT(STAGE_AUTH))
#define CONTENT    (AT(STAGE_DATA) | AT(STAGE_BODY))
#define EVERYWHERE (~0u)

struct code_row {
    uint16_t code;
    unsigned stages;
    enum bounce_class class_;
    const char *rule;
};
static const struct code_row code_rows[] = {
    {421, EVERYWHERE, BOUNCE_BAD_CONNECTION, "421"}, /* "service not available, closing", RFC 5321 §3.8 */
    {452, AT(STAGE_RCPT) | CONTENT, BOUNCE_QUOTA_ISSUES, "452"},
    {454, AT(STAGE_STARTTLS) | AT(STAGE_AUTH), BOUNCE_BAD_CONFIGURATION, "454"}, /* RFC 3207 §4, RFC 4954 §6 */
    {455, EVERYWHERE, BOUNCE_PROTOCOL_ERRORS, "455"},
    {500, EVERYWHERE, BOUNCE_PROTOCOL_ERRORS, "500"},
    {501, EVERYWHERE, BOUNCE_PROTOCOL_ERRORS, "501"},
    {502, EVERYWHERE, BOUNCE_PROTOCOL_ERRORS, "502"},
    {503, EVERYWHERE, BOUNCE_PROTOCOL_ERRORS, "503"},
    {504, EVERYWHERE, BOUNCE_PROTOCOL_ERRORS, "504"},
    {555, EVERYWHERE, BOUNCE_PROTOCOL_ERRORS, "555"},
    {530, EVERYWHERE, BOUNCE_BAD_CONFIGURATION, "530"}, /* authentication, RFC 4954 §6 */
    {534, EVERYWHERE, BOUNCE_BAD_CONFIGURATION, "534"},
    {535, EVERYWHERE, BOUNCE_BAD_CONFIGURATION, "535"},
    {538, EVERYWHERE, BOUNCE_BAD_CONFIGURATION, "538"},
    {521, SESSION | AT(STAGE_MAIL), BOUNCE_ROUTING_ERRORS, "521"}, /* this host takes no mail, RFC 7504 §3 */
    {521, AT(STAGE_RCPT) | CONTENT, BOUNCE_BAD_DOMAIN, "rcpt-521"},
    {556, AT(STAGE_RCPT) | CONTENT, BOUNCE_BAD_DOMAIN, "rcpt-556"}, /* the domain takes no mail, RFC 7504 §4 */
    {550, SESSION | AT(STAGE_MAIL), BOUNCE_POLICY_RELATED, "550"},
    {550, AT(STAGE_RCPT), BOUNCE_BAD_MAILBOX, "rcpt-550"},
    {550, CONTENT, BOUNCE_POLICY_RELATED, "body-550"},         /* RFC 5321 §4.3.2: "rejected for policy reasons" */
    {551, AT(STAGE_RCPT), BOUNCE_RELAYING_ISSUES, "rcpt-551"}, /* RFC 5321 §3.4 */
    {552, AT(STAGE_MAIL), BOUNCE_CONTENT_RELATED, "mail-552"}, /* the declared size, RFC 1870 §6.1 */
    {552, AT(STAGE_RCPT) | CONTENT, BOUNCE_QUOTA_ISSUES, "552"},
    {553, AT(STAGE_MAIL), BOUNCE_INVALID_SENDER, "mail-553"},
    {553, AT(STAGE_RCPT), BOUNCE_BAD_MAILBOX, "rcpt-553"},
    {553, CONTENT, BOUNCE_POLICY_RELATED, "body-553"},
    {554, EVERYWHERE, BOUNCE_POLICY_RELATED, "554"}, /* in the greeting: "no SMTP service here", for us */
};

/* ---- */

static bool is_about_recipient(enum bounce_class class_)
{
    return class_ == BOUNCE_BAD_MAILBOX || class_ == BOUNCE_INACTIVE_MAILBOX || class_ == BOUNCE_BAD_DOMAIN;
}

static enum bounce_kind kind_of(uint16_t code, enum bounce_class class_)
{
    if (code < 500)
        return BOUNCE_KIND_SOFT;
    if (is_about_recipient(class_))
        return BOUNCE_KIND_HARD;
    switch (class_) {
    case BOUNCE_QUOTA_ISSUES:
    case BOUNCE_ROUTING_ERRORS:
    case BOUNCE_NO_ANSWER_FROM_HOST:
    case BOUNCE_BAD_CONNECTION:
    case BOUNCE_MESSAGE_EXPIRED:
    case BOUNCE_OTHER:
        return BOUNCE_KIND_SOFT;
    default:
        return BOUNCE_KIND_BLOCK;
    }
}

/* What the words say against the numbers. */
static void correct(struct bounce *bounce, enum stage stage, const char *status, enum wording_hint hint)
{
    bool dead = is_about_recipient(bounce->class_), numbered = bounce->rule[0] == 'x';
    bool policy = bounce->class_ == BOUNCE_POLICY_RELATED || bounce->class_ == BOUNCE_OTHER;
    switch (hint) {
    case WORDING_AUTHENTICATION:
    case WORDING_BLOCK:
        if (dead)
            bounce->class_ = BOUNCE_POLICY_RELATED, bounce->rule = "words-block";
        break;
    case WORDING_SPAM:
        if (dead || policy)
            bounce->class_ = BOUNCE_SPAM_RELATED, bounce->rule = "words-spam";
        break;
    case WORDING_SENDER:
        if (dead)
            bounce->class_ = BOUNCE_INVALID_SENDER, bounce->rule = "words-sender";
        break;
    case WORDING_LATER:
        if (dead)
            bounce->class_ = BOUNCE_OTHER, bounce->rule = "words-later";
        break;
    case WORDING_FULL:
        if (dead || policy)
            bounce->class_ = BOUNCE_QUOTA_ISSUES, bounce->rule = "words-full";
        break;
    case WORDING_UNKNOWN:
        if (stage >= STAGE_RCPT && !dead && (policy || bounce->class_ == BOUNCE_QUOTA_ISSUES))
            bounce->class_ = BOUNCE_BAD_MAILBOX, bounce->rule = "words-unknown";
        break;
    case WORDING_MAILBOX: /* Microsoft's edge: "Recipient address rejected: Access denied", which is no routing */
        if (stage >= STAGE_RCPT && strcmp(status, "5.4.1") == 0)
            bounce->class_ = BOUNCE_BAD_MAILBOX, bounce->rule = "x.4.1-recipient";
        break;
    default: /* a bare 550 with words, none of which is about a mailbox */
        if (bounce->class_ == BOUNCE_BAD_MAILBOX && !numbered)
            bounce->class_ = BOUNCE_OTHER, bounce->rule = "words-nothing";
        break;
    }
}

struct bounce bounce_fitting(struct bounce bounce, enum stage stage, uint16_t code)
{
    /* Before RCPT the server has not heard of the recipient: an address or a domain that it finds wrong is ours. */
    if (stage < STAGE_RCPT && is_about_recipient(bounce.class_))
        bounce.class_ = stage == STAGE_MAIL ? BOUNCE_INVALID_SENDER : BOUNCE_POLICY_RELATED;
    if (bounce.kind == BOUNCE_KIND_HARD && code < 500)
        bounce.kind = BOUNCE_KIND_SOFT;
    if (bounce.kind == BOUNCE_KIND_HARD && stage < STAGE_RCPT)
        bounce.kind = BOUNCE_KIND_BLOCK;
    return bounce;
}

struct bounce bounce_classify(enum stage stage, uint16_t code, const char *status, struct slice text)
{
    sluice_assert(stage >= STAGE_GREETING && stage < STAGE_COUNT && code >= 400 && code <= 599);
    struct bounce bounce = {.class_ = BOUNCE_OTHER, .rule = code < 500 ? "4yz" : "5yz"};
    const struct status_row *by_status = find_status(status);
    if (by_status) {
        bounce.class_ = by_status->class_;
        bounce.rule = by_status->rule;
    } else {
        for (size_t i = 0; i < countof(code_rows); i++)
            if (code_rows[i].code == code && (code_rows[i].stages & AT(stage))) {
                bounce.class_ = code_rows[i].class_;
                bounce.rule = code_rows[i].rule;
                break;
            }
    }
    if (text.n)
        correct(&bounce, stage, status, wording_hint(text));
    bounce = bounce_fitting(bounce, stage, code);
    bounce.kind = kind_of(code, bounce.class_);
    return bounce;
}
