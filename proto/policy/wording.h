/* wording.h - a reply in the form in which its words are compared: one line of text, its codes read.
 *
 * Replies come from the parser (proto/smtp/reply.h: lines joined by " / ", codes and statuses taken off), and from
 * people who copied them out of a log, with "smtp;" in front and the code of every line still in the middle. Both give
 * the same wording:
 *  - lines are joined by one blank, and blanks are never two;
 *  - an address is "x@x", lest its own words (spam@, unknown@) be taken for the server's;
 *  - the enhanced status is the one behind the code, else one that stands in the text by itself ("(#5.1.1)"), never a
 *    part of an IPv4 address (5.7.1.100). */
#ifndef PROTO_POLICY_WORDING_H
#define PROTO_POLICY_WORDING_H

#include "sluice/base.h"
#include "sluice/limits.h"
#include "sluice/slice.h"

enum { WORDING_STATUS = 12 };

struct wording {
    uint16_t code;               /* 0: there is none */
    char status[WORDING_STATUS]; /* "5.1.1"; "": there is none */
    size_t n;                    /* bytes of text */
    size_t last;                 /* where its last line begins */
    char text[LIMIT_EVENT_REPLY + 1];
};

/* Of a reply that was parsed: text as outcome.reply has it. */
void wording_read(struct wording *wording, uint16_t code, const char *status, struct slice text);
/* Of a reply as it was copied; any bytes. Without a code in front, the enhanced status tells its class: "4.7.32 ..." is
 * a 400 of that status; without either, the code is 0. */
void wording_scan(struct wording *wording, struct slice raw);
/* What is compared: all of it, or its last line. */
static inline struct slice wording_text(const struct wording *w, bool last_line)
{
    size_t from = last_line ? w->last : 0;
    return (struct slice){w->text + from, w->n - from};
}

/* The three numbers of a status. False: it is none. */
must_use bool wording_status(const char *status, unsigned *class_, unsigned *subject, unsigned *detail);

enum { WORDING_SECONDS_LEAST = 30, WORDING_SECONDS_MOST = 24 * 3600 };
/* How long the server asks us to wait: "try again in 15 minutes", "greylisted for 300 seconds". 0: it does not say.
 * What is named lies within WORDING_SECONDS_LEAST and _MOST, whatever stands there. */
nsec wording_retry_after(struct slice text);

/* What a text speaks of, by words that few would use for anything else: for refusals that no rule knows, and against
 * rules that know too much. Of several the first in this order, for whoever refuses us may also name the recipient. */
enum wording_hint {
    WORDING_BROKEN = 0,
    WORDING_NOTHING,
    WORDING_AUTHENTICATION, /* SPF, DKIM, DMARC */
    WORDING_BLOCK,          /* a list of bad addresses, reverse DNS, "blocked", "banned" */
    WORDING_SPAM,
    WORDING_SENDER,  /* the address in MAIL FROM */
    WORDING_LATER,   /* "try again", "temporarily" */
    WORDING_FULL,    /* a mailbox without room */
    WORDING_UNKNOWN, /* no such mailbox */
    WORDING_MAILBOX, /* a mailbox, whatever is the matter with it */
    WORDING_HINT_COUNT
};
enum wording_hint wording_hint(struct slice text);

#endif
