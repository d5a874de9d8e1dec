/* Providers say the same few things to their customers in different numbers; this file knows which numbers and words.
 */
#include "proto/policy/relay.h"

#include "sluice/slice.h"

/* The first row that fits decides: quotas before rates, for their texts speak of sending limits too. */
struct row {
    uint16_t least, most; /* codes */
    const char *status;   /* enhanced status; "": any */
    const char *words;    /* somewhere in the text, without case; "": any */
    enum relay_word word;
};

static const struct row rows[] = {
    {400, 599, "", "message quota exceeded", RELAY_WORD_QUOTA}, /* SES: 454 Throttling failure: Daily ... */
    {400, 599, "", "sending quota exceeded", RELAY_WORD_QUOTA}, /* Gmail: 550 5.4.5 Daily ...; a mailbox has one too */
    {400, 599, "", "quotaexceeded", RELAY_WORD_QUOTA},      /* Microsoft: 554 5.2.0 SubmissionQuotaExceededException */
    {400, 599, "", "credits exceeded", RELAY_WORD_QUOTA},   /* SendGrid: 451 Maximum credits exceeded */
    {400, 599, "", "daily smtp relay", RELAY_WORD_QUOTA},   /* Gmail's relay: 550 5.4.5, 550 5.7.1 */
    {400, 599, "", "daily user sending", RELAY_WORD_QUOTA}, /* Gmail: 550 5.4.5 */
    {400, 599, "", "daily limit", RELAY_WORD_QUOTA},        /* Microsoft: 550 5.1.90 */
    {432, 432, "", "", RELAY_WORD_FEWER},                   /* Microsoft: 432 4.3.2 Concurrent connections limit */
    {400, 499, "", "concurrent", RELAY_WORD_FEWER},         /* "... connections limit exceeded" */
    {400, 499, "", "too many connections", RELAY_WORD_FEWER}, /* 421 of many */
    {400, 599, "", "sending rate exceeded", RELAY_WORD_SLOW}, /* SES: Maximum sending rate exceeded */
    {400, 599, "", "throttling failure", RELAY_WORD_SLOW},    /* SES */
    {400, 499, "", "peak smtp relay", RELAY_WORD_SLOW},       /* Gmail's relay: 450 4.2.1 */
    {400, 499, "4.7.0", "", RELAY_WORD_SLOW},
    {454, 454, "", "", RELAY_WORD_SLOW}, /* RFC 4954 §6: temporary authentication failure */
};

static bool contains(const char *text, const char *words)
{
    size_t n = strlen(words);
    for (; strlen(text) >= n; text++)
        if (slice_equal_nocase((struct slice){text, n}, (struct slice){words, n}))
            return true;
    return false;
}

/* A number alone speaks of us only while no recipient was named. Behind RCPT the very same may mean that one address
 * (454 4.7.1 relay access denied, 451 4.7.0 greylisted): taken for ours, it would come back first in line for ever. */
static bool is_ours(const struct row *row, const struct outcome *o)
{
    return row->words[0] || row->word == RELAY_WORD_FEWER || o->stage < STAGE_RCPT;
}

static bool is_stranger(const struct outcome *o)
{
    if (o->code == 530 || o->code == 534 || o->code == 535 || o->code == 538)
        return true;
    return o->stage == STAGE_AUTH && o->code >= 500;
}

enum relay_word relay_word_of(const struct outcome *outcome)
{
    const struct outcome *o = outcome;
    if (o->stage == STAGE_AUTH && o->happening == HAPPENING_NOT_OFFERED)
        return RELAY_WORD_STOP;
    /* What is said before EHLO's reply is not said to us as a customer; STARTTLS has refusals of its own (454). */
    if (o->happening != HAPPENING_REPLY || o->stage < STAGE_AUTH || o->code < 400 || o->code > 599)
        return RELAY_WORD_NONE;
    for (size_t i = 0; i < countof(rows); i++) {
        const struct row *row = &rows[i];
        if (o->code >= row->least && o->code <= row->most && (!row->status[0] || strcmp(o->status, row->status) == 0) &&
            contains(o->reply, row->words) && is_ours(row, o))
            return row->word;
    }
    return is_stranger(o) ? RELAY_WORD_STOP : RELAY_WORD_NONE;
}

const char *relay_word_text(enum relay_word word)
{
    static const char *const texts[RELAY_WORD_COUNT] = {
        [RELAY_WORD_BROKEN] = "broken",
        [RELAY_WORD_NONE] = "",
        [RELAY_WORD_STOP] = "the relay refused our credentials",
        [RELAY_WORD_SLOW] = "the relay said that this is too fast",
        [RELAY_WORD_QUOTA] = "the relay said that its quota is used up",
        [RELAY_WORD_FEWER] = "the relay said that these are too many connections",
    };
    sluice_assert(word < RELAY_WORD_COUNT);
    return texts[word];
}
