/* store_fixture.h - a real Redis and two engines' stores on it, and short words for what is done with them. */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include "asker.h"
#include "real_redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define C           SLICE("news-1")
#define INCARNATION 1795285488057000000ull /* as large as a wall clock in nanoseconds */
#define KEY(name)   "sluice:{news-1}:" name

struct fixture {
    struct real_redis *redis;
    struct asker *a, *b; /* two engines */
};

/* Setup and teardown of cmocka. */
int fixture_open(void **state);
int fixture_close(void **state);
/* One command of redis-cli; an error ends the test. */
printf_like(2, 3) void do_ok(struct fixture *f, const char *format, ...);
/* Recipients "r<from>@x.example" and so on. */
void push_numbers(struct fixture *f, unsigned from, unsigned count);
void assert_text(struct slice text, const char *expected);
void assert_result(const struct asker *asker, enum store_result expected);
/* A command that answers with a number. */
void assert_number(struct fixture *f, const char *command, long long expected);
struct event event_of(enum event_type type, uint64_t seq);
struct store_record record_of(uint64_t seq);
/* Ends indices [from, to) of a lease whose first seq is `first` as delivered. */
void end_range(struct asker *asker, const char *lease, uint64_t first, unsigned from, unsigned to, bool close);

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)

#endif
