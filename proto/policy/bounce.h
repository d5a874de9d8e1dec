/* bounce.h - the trade's names for what a refusal means, and the classifier of replies that no rule knows.
 *
 * It goes by enhanced status (RFC 3463, RFC 5248 registry), then by basic code (RFC 5321 §4.2.3), both corrected by the
 * few words that mean the same in any server's mouth (wording_hint): what speaks of a block or of authentication says
 * nothing about the mailbox, whatever its numbers; "no such user" does, though it be a 5.7.1. Rules (rule.h) stand in
 * front of it and give the same three values. */
#ifndef PROTO_POLICY_BOUNCE_H
#define PROTO_POLICY_BOUNCE_H

#include "sluice/base.h"
#include "sluice/outcome.h"
#include "sluice/slice.h"

/* PowerMTA's bounce categories. */
enum bounce_class {
    BOUNCE_BROKEN = 0,
    BOUNCE_NONE, /* nothing was refused */
    BOUNCE_BAD_MAILBOX,
    BOUNCE_INACTIVE_MAILBOX,
    BOUNCE_BAD_DOMAIN,
    BOUNCE_QUOTA_ISSUES,
    BOUNCE_SPAM_RELATED,
    BOUNCE_POLICY_RELATED,
    BOUNCE_CONTENT_RELATED,
    BOUNCE_ROUTING_ERRORS,
    BOUNCE_RELAYING_ISSUES,
    BOUNCE_PROTOCOL_ERRORS,
    BOUNCE_NO_ANSWER_FROM_HOST,
    BOUNCE_BAD_CONNECTION,
    BOUNCE_BAD_CONFIGURATION,
    BOUNCE_INVALID_SENDER,
    BOUNCE_MESSAGE_EXPIRED,
    BOUNCE_VIRUS_RELATED,
    BOUNCE_OTHER,
    BOUNCE_CLASS_COUNT
};

enum bounce_kind {
    BOUNCE_KIND_BROKEN = 0,
    BOUNCE_KIND_NONE,
    BOUNCE_KIND_HARD,  /* the address or its domain is dead: never send there again */
    BOUNCE_KIND_SOFT,  /* nothing is said against the address: may pass another day */
    BOUNCE_KIND_BLOCK, /* refused for who sends or what is sent; the address may be fine */
    BOUNCE_KIND_COUNT
};

struct bounce {
    enum bounce_class class_;
    enum bounce_kind kind;
    const char *rule; /* a constant: which row decided, "x.1.1", "rcpt-550" */
};

const char *bounce_class_name(enum bounce_class class_); /* "bad-mailbox"; "" for BOUNCE_NONE */
const char *bounce_kind_name(enum bounce_kind kind);     /* "hard"; "" for BOUNCE_KIND_NONE */
extern const char *const bounce_class_names[BOUNCE_CLASS_COUNT];
extern const char *const bounce_kind_names[BOUNCE_KIND_COUNT];

/* What a refusal means: code 400 .. 599, any stage from STAGE_GREETING on. `status` is "" when there was none; one that
 * is malformed counts as none. `text` as struct wording has it; empty: the numbers alone decide. Whether to try again follows the basic code, the reason follows the status, for the two
 * can disagree ("421 5.7.32"). A refusal before RCPT, and any 4yz, is never hard. */
struct bounce bounce_classify(enum stage stage, uint16_t code, const char *status, struct slice text);

/* The same three values, made fit for the stage and the code: before RCPT nothing is about the recipient, and nothing
 * temporary is hard. */
struct bounce bounce_fitting(struct bounce bounce, enum stage stage, uint16_t code);

#endif
