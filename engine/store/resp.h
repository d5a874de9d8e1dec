/* resp.h - Redis' wire format (RESP2): commands out, replies in.
 *
 * Everything here grows to what the busiest moment needs and is kept: in steady state nothing is allocated. */
#ifndef STORE_RESP_H
#define STORE_RESP_H

#include "sluice/base.h"
#include "sluice/slice.h"

/* ---- one command while it is being written; the number of its arguments need not be known before ---- */

struct resp_command {
    char *p;
    size_t n, cap;
    unsigned args;
};
void resp_begin(struct resp_command *command);
void resp_text(struct resp_command *command, struct slice arg);
void resp_joined(struct resp_command *command, const struct slice *parts, unsigned count); /* one argument */
void resp_raw(struct resp_command *command, struct slice encoded, unsigned args); /* so many, encoded before */
void resp_number(struct resp_command *command, int64_t arg);
void resp_unsigned(struct resp_command *command, uint64_t arg);
void resp_command_free(struct resp_command *command);

/* ---- encoded commands in their order, from the oldest that is still needed to the newest ---- */

enum { RESP_CHUNK = 64 * 1024 };

/* Bytes stand at offsets counted from the first ever written. They never move, so they may be lent to a send until
 * they are dropped. */
struct resp_out {
    char **chunks; /* a ring of `cap` pointers */
    unsigned first, count, cap;
    char *spare;    /* one chunk that was dropped */
    uint64_t start; /* offset of the first chunk */
    uint64_t end;   /* offset behind the last byte */
};
/* Appends; returns the number of bytes it took. */
size_t resp_out_command(struct resp_out *out, const struct resp_command *command);
void resp_out_append(struct resp_out *out, struct slice bytes);
/* The bytes of [from, to) as at most `cap` slices; `*to` becomes where they end. */
unsigned resp_out_parts(const struct resp_out *out, uint64_t from, uint64_t *to, struct slice *parts, unsigned cap);
void resp_out_drop(struct resp_out *out, uint64_t before); /* bytes below this offset are needed no more */
void resp_out_free(struct resp_out *out);

/* ---- replies ---- */

enum resp_type { RESP_BROKEN = 0, RESP_STRING, RESP_STATUS, RESP_ERROR, RESP_NUMBER, RESP_NIL, RESP_ARRAY };

/* A reply is a tree, laid flat: each array's node is followed by those of its members. */
struct resp_node {
    enum resp_type type;
    unsigned count;    /* ARRAY: members */
    unsigned size;     /* nodes that this one takes, itself included: how far its next sibling is */
    int64_t number;    /* NUMBER */
    struct slice text; /* STRING, STATUS, ERROR */
};

struct resp_in;
must_use struct resp_in *resp_in_open(void);
void resp_in_free(struct resp_in *in);
/* Forgets what was fed: the connection is another one. */
void resp_in_reset(struct resp_in *in);
void resp_in_feed(struct resp_in *in, struct slice bytes);
/* 1: a whole reply, borrowed until the next call of any resp_in function; 0: more bytes are needed; -1: this is no
 * RESP, and nothing but resp_in_reset may follow. */
must_use int resp_in_next(struct resp_in *in, const struct resp_node **nodes, unsigned *count);

/* Member `i` of an array; NULL if it has none, or is no array. */
const struct resp_node *resp_member(const struct resp_node *array, unsigned i);
/* A number, also one given as digits; 0 for anything else, one that is out of range, and NULL. */
int64_t resp_to_number(const struct resp_node *node);
uint64_t resp_to_unsigned(const struct resp_node *node);
struct slice resp_to_text(const struct resp_node *node); /* empty for anything but text, and for NULL */

#endif
