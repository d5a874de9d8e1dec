/* event.h - an event as the fields of a stream entry, and back.
 *
 * The names and their order are the public contract (README, "events"). Values are text: numbers in decimal, `final`
 * 0 or 1, `started` in microseconds and `next_at` in milliseconds since the Unix epoch, UTC. What is empty or zero is
 * left out, but for `type`, `seq` and `final`, which are always there, and `ms`, which is there whenever `started` is.
 *
 *   always           type seq id to source isp status code ms started attempt final
 *   unless a brief   stage class kind rule reply mx ip tls bytes message_id next_at
 *   `delivered`
 */
#ifndef PROTO_EVENT_H
#define PROTO_EVENT_H

#include "sluice/event.h"
#include "sluice/slice.h"

enum {
    EVENT_FIELDS_MAX = 23,   /* fields of one event */
    EVENT_SCRATCH_MAX = 128, /* bytes that the digits of all its numbers take */
};

struct event_field {
    struct slice name, value;
};

/* Fills `fields` and returns how many. Requires cap >= EVENT_FIELDS_MAX and scratch_cap >= EVENT_SCRATCH_MAX. The
 * fields borrow from `event`'s slices and from `scratch` until either changes. `full` adds the second row also to a
 * plain `delivered`. */
unsigned event_fields(const struct event *event, bool full, struct event_field *fields, unsigned cap, char *scratch,
                      size_t scratch_cap);

/* The event that these fields describe, in any order. The event borrows the values. Fields of other names are passed
 * over: a later engine may write more. False if type or seq is missing or unknown, a field comes twice, or a number is
 * none or out of range. */
must_use bool event_parse(const struct event_field *fields, unsigned n, struct event *event);

struct slice event_type_name(enum event_type type);  /* "in_doubt"; "broken" for what is no type */
enum event_type event_type_parse(struct slice name); /* EVENT_BROKEN if there is none of that name */

#endif
