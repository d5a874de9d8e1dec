/* classify.h - what does this reply mean, for people who have nothing but the reply?
 *
 * The engine knows the stage and the host of every reply; a line out of a log often says neither. Then all is assumed
 * that the text allows: the stage from what a mail program wrote around it ("in reply to RCPT TO"), else that of the
 * rule that fits, else RCPT; the ISP from the hosts that it names. Without either, general phrases are asked first and
 * then every ISP's own texts. From there on it is verdict_of, with all of its promises. */
#ifndef PROTO_POLICY_CLASSIFY_H
#define PROTO_POLICY_CLASSIFY_H

#include "proto/policy/verdict.h"
#include "proto/policy/wording.h"

struct classify_question {
    enum stage stage;     /* STAGE_BROKEN: not known */
    struct slice isp, mx; /* may be empty; `isp` is a name of the configuration's or of the shipped */
    struct slice reply;   /* as it was copied, any bytes */
};

struct classified {
    enum stage stage;
    char isp[LIMIT_ISP_NAME + 1]; /* "": not known */
    struct wording wording;       /* code and status as they stand there */
    bool is_reply;                /* it says something: a code, a status or words. Otherwise the verdict says nothing */
    struct verdict verdict;
    nsec named; /* the time after which the text asks us to come back; 0: it does not say */
};

void classify_reply(const struct rule_reader *reader, const struct classify_question *question,
                    struct classified *classified);

#endif
