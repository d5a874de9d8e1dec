/* limits.h - sizes that the standards or the contract fix. */
#ifndef SLUICE_LIMITS_H
#define SLUICE_LIMITS_H

enum {
    LIMIT_LOCAL_PART = 64,      /* octets, RFC 5321 §4.5.3.1.1 */
    LIMIT_DOMAIN = 255,         /* octets, RFC 5321 §4.5.3.1.2 */
    LIMIT_ADDRESS = 254,        /* a path is 256 with its angle brackets, RFC 5321 §4.5.3.1.3 */
    LIMIT_COMMAND_LINE = 512,   /* with CRLF, RFC 5321 §4.5.3.1.4; what extensions add is on top */
    LIMIT_REPLY_LINE = 2048,    /* four times RFC 5321 §4.5.3.1.5: providers' texts with links overrun 512 */
    LIMIT_REPLY = 8192,         /* all lines of one reply; more is a broken peer */
    LIMIT_TEXT_LINE = 998,      /* octets without CRLF, RFC 5322 §2.1.1 */
    LIMIT_CAMPAIGN_ID = 64,     /* [A-Za-z0-9._-] */
    LIMIT_ISP_NAME = 64,
    LIMIT_SOURCE_NAME = 64,
    LIMIT_POOL_NAME = 64,
    LIMIT_LIST_NAME = LIMIT_ISP_NAME + 1 + LIMIT_SOURCE_NAME, /* of a parked list: "isp" or "isp@source" */
    LIMIT_WARMUP_NAME = 64,
    LIMIT_RULE_NAME = 64,
    LIMIT_DKIM_NAME = 128, /* of a block; its domain, mostly */
    LIMIT_RECIPIENT = 64 * 1024, /* bytes of one recipient's entry; longer is invalid */
    LIMIT_RECIPIENT_ID = 128,   /* bytes of a recipient's "id" */
    LIMIT_LEASE_RECIPIENTS = 1000,
    LIMIT_LEASE_BYTES = 1024 * 1024,
    LIMIT_LEASE_ID = 96,
    LIMIT_MX_HOSTS = 16,        /* MX records of a domain that are looked at, best preference first */
    LIMIT_HOST_ADDRESSES = 16,  /* addresses of one MX host that are looked at */
    LIMIT_TLSA = 16,            /* usable TLSA records of one MX host that are kept */
    LIMIT_EVENT_REPLY = 1000,   /* bytes of a server's reply that an event carries */
    LIMIT_MESSAGE = 50 * 1024 * 1024, /* bytes of one rendered message */
    LIMIT_MESSAGE_ID = LIMIT_CAMPAIGN_ID + LIMIT_DOMAIN + 64, /* with its angle brackets; ours, so never longer */
};

#endif
