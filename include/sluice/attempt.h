/* attempt.h - one try to deliver to one recipient, from its lease to its outcome.
 *
 * Lives in its shard's pool; borrows its bytes from its lease, which stays until all of it has ended. */
#ifndef SLUICE_ATTEMPT_H
#define SLUICE_ATTEMPT_H

#include "sluice/base.h"
#include "sluice/slice.h"

struct campaign;
struct lease;

enum permit {
    PERMIT_NONE = 0,
    PERMIT_ASKED,   /* on its way to Redis */
    PERMIT_GRANTED, /* acknowledged: the body may leave */
    PERMIT_REFUSED, /* fenced: the lease is another's, the body must not leave */
};

struct attempt {
    struct attempt *next, *prev; /* in the one queue that it stands in */
    struct campaign *campaign;
    struct lease *lease;
    uint32_t index;    /* within the lease */
    uint32_t number;   /* of this attempt, 1 for the first */
    uint64_t seq;
    int64_t first_ms;  /* UTC of the recipient's first attempt; 0: this is it */
    struct slice raw;  /* the recipient's entry as it was pushed */
    struct slice to;   /* the address as it was given */
    struct slice id;   /* the recipient's own id; may be empty */
    struct slice last_source; /* name of the source of the attempt before; may be empty */
    enum permit permit;
    bool withdrawn;    /* its permit is being given back */
    nsec started;      /* io_now when MAIL was handed to the ring */
    nsec started_wall;
};

#endif
