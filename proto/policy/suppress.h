/* suppress.h - whom nobody should send to any more: the names and values of the list, and what puts an address on it.
 *
 * An address is looked up as its *key*: local part, '@' and domain as A-labels, ASCII letters in lower case. Local
 * parts are case-sensitive by RFC 5321 §2.4; hardly a mailbox is, and whoever asks to be left alone means all
 * spellings.
 *
 * The list is 256 buckets, sluice:suppressed:00 .. ff, so that a cluster can spread it. An address is in the bucket of
 * the lowest byte of its key's CRC-32 (of zlib, PNG, Ethernet), two hexadecimal digits: crc32(key) & 255 in whatever
 * language.
 *
 * A value is "reason campaign seq when", as "bad-mailbox spring-2026 4711 1795309200000": why, by which recipient of
 * which campaign ("-" for what is known of none), and when in milliseconds since the Unix epoch, UTC. The reason is a
 * word, a bounce class mostly. Whatever else stands there suppresses just as well, and is its own reason. */
#ifndef PROTO_POLICY_SUPPRESS_H
#define PROTO_POLICY_SUPPRESS_H

#include "proto/policy/verdict.h"
#include "sluice/limits.h"
#include "sluice/slice.h"

enum {
    SUPPRESS_BUCKETS = 256,
    SUPPRESS_REASON = 64, /* bytes of one, [A-Za-z0-9._:-] */
    SUPPRESS_VALUE = SUPPRESS_REASON + LIMIT_CAMPAIGN_ID + 2 * 20 + 4,
};

/* Writes the key of local@domain; returns its bytes. Requires local.n + 1 + domain.n <= LIMIT_ADDRESS. */
size_t suppress_key(char key[LIMIT_ADDRESS + 1], struct slice local, struct slice domain);
uint8_t suppress_bucket(struct slice key);
/* The local part of an address that was parsed: all before its last '@'. */
struct slice suppress_local(struct slice address);

struct suppress_entry {
    struct slice reason;   /* a word; "" : "listed" */
    struct slice campaign; /* "" : none */
    bool has_seq;
    uint64_t seq;
    int64_t when_ms; /* UTC; 0: not known */
};
/* With a zero byte behind it; returns its bytes. */
size_t suppress_write(char value[SUPPRESS_VALUE + 1], const struct suppress_entry *entry);
/* Borrows the value. One of another form becomes the reason as a whole. */
void suppress_read(struct slice value, struct suppress_entry *entry);
bool suppress_is_reason(struct slice word);

/* How many refusals of a class, within which time, put an address on the list. */
struct suppress_policy {
    unsigned after; /* 0: never */
    nsec within;
};
/* By class; `hard`, if it is given, instead of the defaults of classes that are not given themselves. */
struct suppress_policies {
    struct suppress_policy classes[BOUNCE_CLASS_COUNT], hard;
    bool given[BOUNCE_CLASS_COUNT], hard_given;
};
/* bad-mailbox, inactive-mailbox and bad-domain at once, quota-issues after three times in 14 days, nothing else. */
struct suppress_policies suppress_defaults(void);
/* May refusals of this class ever count against an address? Those for who sends or what is sent may not. */
bool suppress_may_count(enum bounce_class class_);

/* What a recipient's last outcome does to its address: `after` refusals within `within` suppress it, this one among
 * them; 0: it does not count. `type` is its event, which is final.
 *
 * **No 4yz, no block, no authentication failure ever counts.** What does: a reply of 5yz to RCPT, DATA or the body,
 * and what DNS says of the domain (it does not exist, RFC 2308 §2.1; null MX, RFC 7505). A soft one (a full mailbox)
 * counts only where it takes more than one. */
struct suppress_policy suppress_counts(const struct suppress_policies *policies, enum event_type type,
                                       const struct bounce *bounce, const struct outcome *outcome);

#endif
