/* slot.h - which of a cluster's slots a key is in, and how a server says that a slot is elsewhere.
 *
 * Redis Cluster specification, "Key distribution model" and "Hash tags": CRC16 (XMODEM) of the key modulo 16384, of
 * what is between the first { and the next } alone where there is something between them. */
#ifndef STORE_SLOT_H
#define STORE_SLOT_H

#include "sluice/slice.h"

enum { SLOT_COUNT = 16384, SLOT_NONE = SLOT_COUNT };

unsigned slot_of(struct slice key);

enum slot_answer {
    SLOT_BROKEN = 0,
    SLOT_ANSWER, /* no error, or none that is about where the slot is */
    SLOT_MOVED,  /* it is there now */
    SLOT_ASK,    /* this time only, behind ASKING */
    SLOT_AGAIN,  /* TRYAGAIN, CLUSTERDOWN: it is between two servers, or nowhere; the same once more, later */
};
struct slot_place {
    unsigned slot;
    struct slice host; /* borrowed from the error; empty: the host that answered */
    uint16_t port;
};
/* What an error says; `place` is set for MOVED and ASK. Such an error that cannot be read is SLOT_AGAIN. */
enum slot_answer slot_error(struct slice error, struct slot_place *place);

#endif
