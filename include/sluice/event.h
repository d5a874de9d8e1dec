/* event.h - the record that leaves the engine: one entry of sluice:{C}:events.
 *
 * The fields and their order are the public contract (README, "events"); proto/event.c turns one into fields and
 * back. Times in microseconds are UTC. Empty fields are left out on the wire. */
#ifndef SLUICE_EVENT_H
#define SLUICE_EVENT_H

#include "sluice/base.h"
#include "sluice/slice.h"

enum event_type {
    EVENT_BROKEN = 0,
    EVENT_DELIVERED, /* 2xx after the dot */
    EVENT_DEFERRED,  /* will be tried again at next_at */
    EVENT_BOUNCED,   /* refused for good */
    EVENT_EXPIRED,   /* given up after the schedule's end, or past not_after */
    EVENT_SUPPRESSED,
    EVENT_INVALID,   /* the entry is no recipient */
    EVENT_CANCELLED,
    EVENT_IN_DOUBT,  /* a copy may have been accepted without our knowing */
    EVENT_TYPE_COUNT
};

/* Borrows every slice until return of the call it is passed to. */
struct event {
    enum event_type type;
    uint64_t seq;
    struct slice id, to;
    struct slice source, isp;
    struct slice status;   /* enhanced status, "5.1.1" */
    uint16_t code;         /* 0: left out */
    uint64_t ms;           /* from MAIL to the end; left out when it never started */
    uint64_t started_us;   /* UTC; 0: left out */
    uint32_t attempt;      /* 1 for the first */
    bool final;
    /* all below: not in the brief form of a `delivered` */
    struct slice stage, class_, kind, rule, reply, mx, ip, tls;
    uint64_t bytes;        /* 0: left out */
    struct slice message_id;
    uint64_t next_at_ms;   /* UTC; 0: left out */
};

#endif
