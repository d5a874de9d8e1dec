/* dkim_judge.h - does a message's signature verify? RFC 6376 as a receiver reads it, sharing nothing with who signs.
 *
 * Knows relaxed/relaxed alone. Keys are the two of RFC 8463 §A.2, whose private halves are public: good for tests and
 * for nothing else. */
#ifndef TESTS_SIM_DKIM_JUDGE_H
#define TESTS_SIM_DKIM_JUDGE_H

#include "sluice/slice.h"

enum dkim_judge_key { DKIM_JUDGE_RSA = 1, DKIM_JUDGE_ED25519 };

/* The private key in PEM, as a file of it holds. */
const char *dkim_judge_pem(enum dkim_judge_key key);

struct dkim_judge_result {
    unsigned signatures;   /* fields DKIM-Signature */
    unsigned rsa, ed25519; /* of them, with each key */
    uint64_t signed_s;     /* t= of the last */
    char fault[128];       /* what is wrong first; "": each verifies, and covers what bulk senders have to cover */
};
/* `message`: with CRLF, without stuffed dots. */
struct dkim_judge_result dkim_judge(struct slice message);

/* How often a field stands in the message's header. */
unsigned dkim_judge_count(struct slice message, const char *name);

#endif
