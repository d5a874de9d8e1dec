/* isp.h - which ISP do these mail hosts belong to?
 *
 * An ISP is a group of mail exchangers run by one mailbox provider, known by MX host suffix. The table is made once per
 * configuration in memory that the caller lends, and then only read. Host names are compared without case; a trailing
 * dot is ignored.
 *
 * A suffix that begins with a dot matches what stands below it: ".google.com" matches mx.google.com, but neither
 * google.com nor xgoogle.com. One without a dot in front matches that host alone. The longest match wins, a whole host
 * before any suffix. */
#ifndef PROTO_POLICY_ISP_H
#define PROTO_POLICY_ISP_H

#include "proto/policy/mx.h"
#include "sluice/base.h"
#include "sluice/limits.h"
#include "sluice/slice.h"

#define ISP_NONE UINT32_MAX

struct isp_suffix {
    struct slice suffix; /* ".google.com" or "mx1.free.fr" */
    uint32_t isp;        /* the caller's number; not ISP_NONE */
};

struct isp_table {
    const struct isp_suffix *rows;
    uint32_t *slots;
    uint32_t mask;
};

/* How many slots a table of `count` rows needs: a power of two, at least twice the rows. */
uint32_t isp_slots(uint32_t count);

/* Borrows rows and slots (isp_slots(count) of them) as long as the table is used. Returns the position of the first row
 * whose suffix stood there before, or -1 when there is none; the table is usable either way, the earlier row wins. */
int isp_table_init(struct isp_table *table, const struct isp_suffix *rows, uint32_t count, uint32_t *slots);

/* The ISP of one host, or ISP_NONE. */
uint32_t isp_of_host(const struct isp_table *table, struct slice host);

/* The ISP of a domain is decided by its hosts of best preference. If those belong to several ISPs, it is the one with
 * most of them, of equals the smaller number; if they belong to none, ISP_NONE: the domain's own MX set is its ISP.
 *
 * `usable` has bit i set when host i of the route may be used by a lane of that ISP: when it belongs to that ISP or
 * to none. A host of another ISP is left out, though the domain names it as a fallback: its limits are kept by
 * another lane, and no limit is ever exceeded. At least one host stays. For MX_IMPLICIT pass the domain. Call it on the
 * route as mx_read left it, and then isp_keep. */
struct isp_choice {
    uint32_t isp; /* or ISP_NONE */
    uint16_t usable;
};
struct isp_choice isp_of_route(const struct isp_table *table, const struct mx_route *route, struct slice domain,
                               const struct mx_record *records);
/* Takes the hosts that are not `usable` out of the route. `set` stays. */
void isp_keep(struct mx_route *route, uint16_t usable);

/* Where an ISP without an entry is parked: one of 256 lists, by the key of its MX set. */
enum { ISP_BUCKETS = 256 };
unsigned isp_bucket(uint64_t set);

/* The name of an ISP without an entry: "mx:" and its best host in lower case. A longer name than LIMIT_ISP_NAME keeps
 * its end and gets a hash in front, so that two long ones stay two. */
void isp_own_name(char name[LIMIT_ISP_NAME + 1], struct slice best_host);

#endif
