/* What the tests of the store over a real Redis have in common. */
#include "store_fixture.h"

#include <stdio.h>
#include <stdlib.h>

int fixture_open(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->redis = real_redis_start(true);
    f->a = asker_open(real_redis_url(f->redis), "one", INCARNATION, NULL);
    f->b = asker_open(real_redis_url(f->redis), "two", 3, NULL);
    *state = f;
    return 0;
}

int fixture_close(void **state)
{
    struct fixture *f = *state;
    asker_close(f->a);
    asker_close(f->b);
    real_redis_stop(f->redis);
    free(f);
    return 0;
}

void do_ok(struct fixture *f, const char *format, ...)
{
    va_list args;
    char command[512];
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    redisReply *reply = real_redis_do(f->redis, command);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply->str);
    freeReplyObject(reply);
}

void push_numbers(struct fixture *f, unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count; i++)
        do_ok(f, "RPUSH " KEY("recipients") " r%u@x.example", i);
}

void assert_text(struct slice text, const char *expected)
{
    if (!slice_equal(text, slice_of(expected)))
        fail_msg("\"" SLICE_FORMAT "\" instead of \"%s\"", SLICE_ARGS(text), expected);
}

void assert_result(const struct asker *asker, enum store_result expected)
{
    if (asker->answer.result != expected)
        fail_msg("result %d instead of %d (%s)", asker->answer.result, expected, asker->error);
}

void assert_number(struct fixture *f, const char *command, long long expected)
{
    long long number = real_redis_number(f->redis, command);
    if (number != expected)
        fail_msg("%s: %lld instead of %lld", command, number, expected);
}

struct event event_of(enum event_type type, uint64_t seq)
{
    return (struct event){.type = type,
                          .seq = seq,
                          .to = SLICE("r@x.example"),
                          .attempt = 1,
                          .final = type != EVENT_DEFERRED,
                          .stage = SLICE("body")};
}

struct store_record record_of(uint64_t seq)
{
    return (struct store_record){
        .seq = seq, .attempt = 1, .first_ms = 1000, .source = SLICE("s1"), .raw = SLICE("{\"to\": \"r@x\"}")};
}

void end_range(struct asker *asker, const char *lease, uint64_t first, unsigned from, unsigned to, bool close)
{
    struct event events[256];
    struct store_end ends[256];
    for (unsigned i = from; i < to; i++) {
        events[i - from] = event_of(EVENT_DELIVERED, first + i);
        ends[i - from] = (struct store_end){.kind = STORE_END_EVENT, .index = i, .event = &events[i - from]};
    }
    ASK(asker, store_end, C, slice_of(lease), ends, to - from, close);
}
