/* left.h - memory whose owner has closed while the kernel still holds operations in it.
 *
 * Only for what belongs to the kernel's backend itself: everybody else waits for `done` before he frees. */
#ifndef IO_LEFT_H
#define IO_LEFT_H

struct io;

/* The head of a block from malloc. */
struct io_left {
    struct io_left *next, **at;
};

void left_leave(struct io *io, struct io_left *left); /* io_close_all frees the block, unless left_take comes first */
void left_take(struct io_left *left);                 /* the caller's again, when no operation in it is busy any more */

#endif
