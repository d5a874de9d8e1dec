/* contract.h - what the parts of the io contract suite share: a stage that watches when callbacks run, and the ends of
 * connections that check every byte they are given.
 *
 * The bytes that go through a connection are a fixed pattern by position (pattern_at), so that a byte lost, doubled or
 * out of order is seen at once. */
#ifndef TESTS_IO_CONTRACT_H
#define TESTS_IO_CONTRACT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

struct stage {
    struct backend *backend;
    struct io *io;
    bool turning;   /* a callback may run now */
    unsigned depth; /* callbacks that are running: 0 or 1 */
    uint64_t random;
};

/* Shard 0 of `shards`. Every callback of a test says where it begins and ends, which is where the suite sees one that
 * runs inside a call. */
void stage_open(struct stage *stage, unsigned shards);
void stage_close(struct stage *stage);
void stage_enter(struct stage *stage);
void stage_leave(struct stage *stage);
unsigned stage_turn(struct stage *stage, nsec until);
void stage_until(struct stage *stage, bool (*condition)(void *context), void *context); /* fails the test if not */
void stage_wait(struct stage *stage, nsec duration);                                    /* turns for so long */
uint64_t stage_random(struct stage *stage);                                             /* its seed was printed */

/* One operation that must be done exactly once for each time it was submitted. */
struct single {
    struct io_op op;
    struct stage *stage;
    unsigned done;
    int result;
};
void single_init(struct single *single, struct stage *stage);
bool single_is_done(void *single);

struct end {
    struct stage *stage;
    int fd;
    struct io_op connect;
    struct io_recv recv;
    struct io_send send;
    unsigned connected, ended, sent; /* how many times done was called */
    int connect_result, end_result, send_result;
    uint64_t received, written; /* positions in the pattern */
    unsigned chunks;
    uint64_t wanted;                   /* for end_has_wanted */
    void (*on_bytes)(struct end *end); /* after `received` has grown */
    void (*on_sent)(struct end *end);
    void *context;
};

char pattern_at(uint64_t position);
/* Bytes [0, n) of the pattern; freed by test_free. */
char *pattern_new(size_t n);

void end_init(struct end *end, struct stage *stage, int fd);
void end_recv(struct end *end);
/* Sends the next `n` bytes of the pattern from `pattern`, which begins at position 0. */
void end_send(struct end *end, const char *pattern, size_t n);
bool end_is_connected(void *end);
bool end_has_wanted(void *end);
bool end_is_ended(void *end);
bool end_is_sent(void *end); /* no send is busy */
bool end_is_idle(void *end);
/* Cancels what is busy, waits for it, closes. */
void end_close(struct end *end);

struct listener {
    struct stage *stage;
    int fd;
    struct io_address at;
    struct io_accept accept;
    int accepted[1024];
    unsigned count, wanted;
    unsigned ended;
    int result;
};
void listener_open(struct listener *listener, struct stage *stage, int family);
bool listener_has_wanted(void *listener);
void listener_close(struct listener *listener);

/* Two ends of one connection over `family`; both connected, neither receiving. */
void pair_open(struct stage *stage, int family, struct end *a, struct end *b);

/* The parts of the suite. */
enum { CONTRACT_TESTS_MAX = 32 };
extern const struct CMUnitTest contract_time[CONTRACT_TESTS_MAX], contract_bytes[CONTRACT_TESTS_MAX],
    contract_ends[CONTRACT_TESTS_MAX], contract_cancel[CONTRACT_TESTS_MAX], contract_post[CONTRACT_TESTS_MAX],
    contract_stream[CONTRACT_TESTS_MAX];

#endif
