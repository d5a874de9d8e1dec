/* The little that words say in any server's mouth. It stands below the rules, which know servers by name, and above the
 * numbers, which every server uses as it likes. */
#include "proto/policy/wording.h"

/* In the order of enum wording_hint. Each begins where a word begins; one that ends in '*' may go on, any other ends
 * where a word ends. */
static const struct {
    enum wording_hint hint;
    const char *words;
} rows[] = {
    {WORDING_AUTHENTICATION, "spf"},
    {WORDING_AUTHENTICATION, "dkim"},
    {WORDING_AUTHENTICATION, "dmarc"},
    {WORDING_AUTHENTICATION, "unauthenticated"},
    {WORDING_AUTHENTICATION, "not authenticated"},
    {WORDING_AUTHENTICATION, "spoof*"},
    {WORDING_BLOCK, "spamhaus"},
    {WORDING_BLOCK, "spamcop"},
    {WORDING_BLOCK, "cloudmark"},
    {WORDING_BLOCK, "dnsbl*"},
    {WORDING_BLOCK, "rbl"},
    {WORDING_BLOCK, "blacklist*"},
    {WORDING_BLOCK, "black list*"},
    {WORDING_BLOCK, "black-list*"},
    {WORDING_BLOCK, "blocklist*"},
    {WORDING_BLOCK, "block list*"},
    {WORDING_BLOCK, "block-list*"},
    {WORDING_BLOCK, "denylist*"},
    {WORDING_BLOCK, "blocked using"},
    {WORDING_BLOCK, "blocked by"},
    {WORDING_BLOCK, "blocked for spam*"},
    {WORDING_BLOCK, "client host"},
    {WORDING_BLOCK, "reputation"},
    {WORDING_BLOCK, "banned"},
    {WORDING_BLOCK, "reverse dns"},
    {WORDING_BLOCK, "rdns"},
    {WORDING_BLOCK, "ptr"},
    {WORDING_BLOCK, "your ip"},
    {WORDING_BLOCK, "sending ip"},
    {WORDING_BLOCK, "envelope blocked"},
    {WORDING_BLOCK, "prohibition"},
    {WORDING_BLOCK, "firewall"},
    {WORDING_BLOCK, "rate limit*"},
    {WORDING_BLOCK, "frequency limited"},
    {WORDING_SPAM, "spam"},
    {WORDING_SPAM, "unsolicited"},
    {WORDING_SPAM, "virus"},
    {WORDING_SPAM, "malware"},
    {WORDING_SPAM, "phishing"},
    {WORDING_SENDER, "sender address"},
    {WORDING_SENDER, "sender rejected"},
    {WORDING_SENDER, "sender denied"},
    {WORDING_SENDER, "sender domain"},
    {WORDING_SENDER, "sender verif*"},
    {WORDING_SENDER, "invalid sender"},
    {WORDING_SENDER, "mailfrom"},
    {WORDING_SENDER, "return path"},
    {WORDING_LATER, "try again"},
    {WORDING_LATER, "try later"},
    {WORDING_LATER, "temporar*"},
    {WORDING_LATER, "greylist*"},
    {WORDING_LATER, "graylist*"},
    {WORDING_LATER, "too quickly"},
    {WORDING_LATER, "at a rate"},
    {WORDING_LATER, "too many"},
    {WORDING_FULL, "quota"},
    {WORDING_FULL, "overquota"},
    {WORDING_FULL, "over quota"},
    {WORDING_FULL, "mailbox full"},
    {WORDING_FULL, "mailbox is full"},
    {WORDING_FULL, "storage allocation"},
    {WORDING_FULL, "out of storage"},
    {WORDING_FULL, "size limit exceeded"},
    {WORDING_UNKNOWN, "user unknown"},
    {WORDING_UNKNOWN, "unknown user"},
    {WORDING_UNKNOWN, "unknown recipient"},
    {WORDING_UNKNOWN, "recipient unknown"},
    {WORDING_UNKNOWN, "unknown address"},
    {WORDING_UNKNOWN, "no such user*"},
    {WORDING_UNKNOWN, "no such mailbox"},
    {WORDING_UNKNOWN, "no such recipient"},
    {WORDING_UNKNOWN, "no such address"},
    {WORDING_UNKNOWN, "no such person"},
    {WORDING_UNKNOWN, "no mailbox*"},
    {WORDING_UNKNOWN, "invalid mailbox"},
    {WORDING_UNKNOWN, "invalid recipient"},
    {WORDING_UNKNOWN, "mailbox not found"},
    {WORDING_UNKNOWN, "user not found"},
    {WORDING_UNKNOWN, "recipient not found"},
    {WORDING_UNKNOWN, "user does not exist"},
    {WORDING_UNKNOWN, "mailbox does not exist"},
    {WORDING_UNKNOWN, "account does not exist"},
    {WORDING_UNKNOWN, "account that you tried to reach does not exist"},
    {WORDING_UNKNOWN, "user doesn't exist"},
    {WORDING_UNKNOWN, "recipient does not exist"},
    {WORDING_UNKNOWN, "address does not exist"},
    {WORDING_UNKNOWN, "not a valid mailbox"},
    {WORDING_UNKNOWN, "not a valid user"},
    {WORDING_UNKNOWN, "not our customer"},
    {WORDING_UNKNOWN, "account is disabled"},
    {WORDING_UNKNOWN, "mailbox is disabled"},
    {WORDING_MAILBOX, "mailbox*"},
    {WORDING_MAILBOX, "user*"},
    {WORDING_MAILBOX, "recipient*"},
    {WORDING_MAILBOX, "address*"},
    {WORDING_MAILBOX, "account*"},
    {WORDING_MAILBOX, "addressee*"},
    {WORDING_MAILBOX, "unknown"},
    {WORDING_MAILBOX, "not found"},
    {WORDING_MAILBOX, "exist*"},
};

static bool is_in_word(char c) { return ascii_is_alnum(c) || c == '@' || c == '_'; }

/* Not within a host's name or a link: "spf.example.net", "?p=NoSuchUser". */
static bool stands_apart(struct slice text, size_t at, size_t n, bool goes_on)
{
    char before = at ? text.p[at - 1] : ' ', after = at + n < text.n ? text.p[at + n] : ' ';
    char beyond = at + n + 1 < text.n ? text.p[at + n + 1] : ' ';
    if (is_in_word(before) || before == '.' || before == '/' || before == '=' || before == '-')
        return false;
    return goes_on || !(is_in_word(after) || (after == '.' && ascii_is_alnum(beyond)));
}

static bool speaks_of(struct slice text, const char *words)
{
    size_t n = strlen(words);
    bool goes_on = words[n - 1] == '*';
    n -= goes_on;
    for (size_t at = 0; at + n <= text.n; at++)
        if (ascii_lower(text.p[at]) == words[0] &&
            slice_equal_nocase((struct slice){text.p + at, n}, (struct slice){words, n}) &&
            stands_apart(text, at, n, goes_on))
            return true;
    return false;
}

enum wording_hint wording_hint(struct slice text)
{
    for (size_t i = 0; i < countof(rows); i++)
        if (speaks_of(text, rows[i].words))
            return rows[i].hint;
    return WORDING_NOTHING;
}
