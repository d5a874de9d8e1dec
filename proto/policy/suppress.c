/* The one place that decides whether a refusal may ever count against an address: what gets past it keeps a person from
 * mail for good, so it trusts nobody's classification alone. */
#include "proto/policy/suppress.h"

#include "proto/number.h"

/* ---- keys ---- */

static size_t put_lower(char *to, struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        to[i] = ascii_lower(text.p[i]);
    return text.n;
}

size_t suppress_key(char key[LIMIT_ADDRESS + 1], struct slice local, struct slice domain)
{
    sluice_assert(local.n + 1 + domain.n <= LIMIT_ADDRESS);
    size_t n = put_lower(key, local);
    key[n++] = '@';
    n += put_lower(key + n, domain);
    key[n] = 0;
    return n;
}

struct slice suppress_local(struct slice address)
{
    size_t n = address.n;
    while (n && address.p[n - 1] != '@')
        n--;
    return (struct slice){address.p, n ? n - 1 : 0};
}

/* CRC-32 as in ISO 3309 and RFC 1952 §8, by nibbles: the remainders of 0 .. 15. */
uint8_t suppress_bucket(struct slice key)
{
    static const uint32_t remainders[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = ~(uint32_t)0;
    for (size_t i = 0; i < key.n; i++) {
        crc ^= (unsigned char)key.p[i];
        crc = crc >> 4 ^ remainders[crc & 15];
        crc = crc >> 4 ^ remainders[crc & 15];
    }
    return (uint8_t)(~crc & 255);
}

/* ---- values ---- */

bool suppress_is_reason(struct slice word)
{
    for (size_t i = 0; i < word.n; i++)
        if (!ascii_is_alnum(word.p[i]) && !memchr("._:-", word.p[i], 4))
            return false;
    return word.n > 0 && word.n <= SUPPRESS_REASON && !slice_equal(word, SLICE("-"));
}

static size_t put(char *to, struct slice text)
{
    memcpy(to, text.p, text.n);
    return text.n;
}

size_t suppress_write(char value[SUPPRESS_VALUE + 1], const struct suppress_entry *entry)
{
    sluice_assert(!entry->reason.n || suppress_is_reason(entry->reason));
    sluice_assert(entry->campaign.n <= LIMIT_CAMPAIGN_ID && entry->when_ms >= 0);
    size_t n = put(value, entry->reason.n ? entry->reason : SLICE("listed"));
    value[n++] = ' ';
    n += put(value + n, entry->campaign.n ? entry->campaign : SLICE("-"));
    value[n++] = ' ';
    n += entry->has_seq ? number_write(value + n, entry->seq) : put(value + n, SLICE("-"));
    value[n++] = ' ';
    n += number_write(value + n, (uint64_t)entry->when_ms);
    value[n] = 0;
    return n;
}

/* Takes a word and the space behind it off the front. */
static struct slice take_word(struct slice *text)
{
    size_t n = 0;
    while (n < text->n && text->p[n] != ' ')
        n++;
    struct slice word = {text->p, n};
    n += n < text->n;
    *text = (struct slice){text->p + n, text->n - n};
    return word;
}

void suppress_read(struct slice value, struct suppress_entry *entry)
{
    struct slice rest = value, reason = take_word(&rest), campaign = take_word(&rest), seq = take_word(&rest);
    bool none = slice_equal(seq, SLICE("-"));
    uint64_t when = 0, number = 0;
    *entry = (struct suppress_entry){.reason = value, .campaign = SLICE("")};
    if (!suppress_is_reason(reason) || !campaign.n || campaign.n > LIMIT_CAMPAIGN_ID ||
        (!none && !number_parse(seq, UINT64_MAX, &number)) || !number_parse(rest, INT64_MAX, &when))
        return;
    *entry = (struct suppress_entry){.reason = reason,
                                     .campaign = slice_equal(campaign, SLICE("-")) ? SLICE("") : campaign,
                                     .has_seq = !none,
                                     .seq = number,
                                     .when_ms = (int64_t)when};
}

/* ---- policy ---- */

static const nsec day = 86400 * NSEC_PER_S;

struct suppress_policies suppress_defaults(void)
{
    static const enum bounce_class dead[] = {BOUNCE_BAD_MAILBOX, BOUNCE_INACTIVE_MAILBOX, BOUNCE_BAD_DOMAIN};
    struct suppress_policies policies = {.hard = {0}};
    for (size_t i = 0; i < countof(dead); i++)
        policies.classes[dead[i]] = (struct suppress_policy){1, 14 * day};
    policies.classes[BOUNCE_QUOTA_ISSUES] = (struct suppress_policy){3, 14 * day};
    return policies;
}

bool suppress_may_count(enum bounce_class class_)
{
    switch (class_) {
    case BOUNCE_BAD_MAILBOX:
    case BOUNCE_INACTIVE_MAILBOX:
    case BOUNCE_BAD_DOMAIN:
    case BOUNCE_QUOTA_ISSUES:
    case BOUNCE_ROUTING_ERRORS:
    case BOUNCE_OTHER:
        return true;
    default:
        return false;
    }
}

/* Credentials, and what X.7.8 and above say (RFC 4954 §6, RFC 7372, RFC 7489, the registry of RFC 5248): SPF, DKIM and
 * DMARC that failed, addresses without a name, floods of mail. X.7.0 to X.7.7 are given for anything. */
static bool is_authentication(const struct outcome *outcome)
{
    struct slice status = slice_of(outcome->status);
    uint64_t detail;
    if (outcome->code >= 530 && outcome->code <= 538)
        return true;
    return slice_starts_with(status, SLICE("5.7.")) &&
           (!number_parse((struct slice){status.p + 4, status.n - 4}, 999, &detail) || detail >= 8);
}

static bool said_of_the_recipient(enum event_type type, const struct bounce *bounce, const struct outcome *outcome)
{
    if (outcome->happening == HAPPENING_NXDOMAIN || outcome->happening == HAPPENING_NULL_MX)
        return type == EVENT_BOUNCED && bounce->kind == BOUNCE_KIND_HARD;
    if (outcome->happening != HAPPENING_REPLY || outcome->stage < STAGE_RCPT || outcome->code < 500 ||
        outcome->code > 599 || is_authentication(outcome))
        return false;
    /* A 5yz that means "later" (552 at RCPT) ends as expired, and is no less a full mailbox for that. */
    return type == EVENT_BOUNCED || (type == EVENT_EXPIRED && bounce->kind == BOUNCE_KIND_SOFT);
}

struct suppress_policy suppress_counts(const struct suppress_policies *policies, enum event_type type,
                                       const struct bounce *bounce, const struct outcome *outcome)
{
    static const struct suppress_policy never = {0, 0};
    bool hard = bounce->kind == BOUNCE_KIND_HARD;
    if (!hard && bounce->kind != BOUNCE_KIND_SOFT)
        return never;
    if (!suppress_may_count(bounce->class_) || !said_of_the_recipient(type, bounce, outcome))
        return never;
    struct suppress_policy policy = policies->classes[bounce->class_];
    if (hard && policies->hard_given && !policies->given[bounce->class_])
        policy = policies->hard;
    return hard || policy.after > 1 ? policy : never;
}
