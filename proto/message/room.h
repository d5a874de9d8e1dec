/* room.h - memory of the caller's, taken piece by piece from its beginning and never given back. */
#ifndef PROTO_MESSAGE_ROOM_H
#define PROTO_MESSAGE_ROOM_H

#include "proto/message/out.h"

enum { ROOM_ALIGN = 16 };

struct room {
    char *p;
    size_t cap, n;
    bool full; /* something did not fit: what was made is not whole */
};

/* Aligned for any type and zeroed; NULL if it does not fit. */
static inline void *room_take(struct room *room, size_t size)
{
    size_t start = (room->n + ROOM_ALIGN - 1) & ~(size_t)(ROOM_ALIGN - 1);
    if (room->full || start > room->cap || size > room->cap - start) {
        room->full = true;
        return NULL;
    }
    room->n = start + size;
    memset(room->p + start, 0, size);
    return room->p + start;
}

/* Writes of unknown length: `out` takes all that is left until room_close says how much of it was used. */
static inline struct out room_open(const struct room *room)
{
    return (struct out){.p = room->p + room->n, .cap = room->full ? 0 : room->cap - room->n};
}
static inline struct slice room_close(struct room *room, const struct out *out)
{
    if (room->full || out->n > out->cap) {
        room->full = true;
        return (struct slice){"", 0};
    }
    room->n += out->n;
    return (struct slice){out->p, out->n};
}

#endif
