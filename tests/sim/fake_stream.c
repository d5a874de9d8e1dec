/* The fake Redis: commands on streams. */
#include "fake_command.h"

#include <stdio.h>
#include <stdlib.h>

enum { NODE_ENTRIES = 100 }; /* stream-node-max-entries: what ~ trims by */

struct id {
    uint64_t ms, seq;
};

/* "12-3", "12" */
static bool read_id(struct slice text, uint64_t seq_default, struct id *id)
{
    char copy[48];
    int end = 0;
    slice_copy(copy, sizeof copy, text);
    unsigned long long ms, seq = seq_default;
    if (sscanf(copy, "%llu-%llu%n", &ms, &seq, &end) < 2 || copy[end])
        if (sscanf(copy, "%llu%n", &ms, &end) < 1 || copy[end])
            return false;
    *id = (struct id){ms, seq};
    return true;
}

static void say_id(struct fake_buffer *out, uint64_t ms, uint64_t seq)
{
    char text[48];
    int n = snprintf(text, sizeof text, "%llu-%llu", (unsigned long long)ms, (unsigned long long)seq);
    fake_say_text(out, (struct slice){text, (size_t)n});
}

static void say_record(struct fake_buffer *out, const struct fake_record *record)
{
    fake_say_array(out, 2);
    say_id(out, record->ms, record->seq);
    fake_say_array(out, record->count);
    for (unsigned i = 0; i < record->count; i++)
        fake_say_text(out, fake_text_slice(record->fields[i]));
}

/* XADD key [MAXLEN [~] n] * field value ... */
static void run_xadd(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *stream;
    int64_t most = INT64_MAX;
    bool about = false;
    unsigned at = 2;
    if (fake_word(args[at], "MAXLEN")) {
        about = at + 1 < count && fake_word(args[at + 1], "~");
        at += about ? 3 : 2;
        if (at > count || !fake_integer(args[at - 1], &most)) {
            fake_say_error(out, "ERR value is not an integer or out of range");
            return;
        }
    }
    if (at + 2 >= count || (count - at) % 2 == 0 || !slice_equal(args[at], SLICE("*"))) {
        fake_say_error(out, "ERR wrong number of arguments for 'xadd' command");
        return;
    }
    if (!fake_key_make(fake, args[1], FAKE_STREAM, &stream, out))
        return;
    uint64_t ms = (uint64_t)fake->now_ms, seq = 0;
    if (ms <= stream->last_ms) {
        ms = stream->last_ms;
        seq = stream->last_seq + 1;
    }
    fake_stream_add(stream, ms, seq, &args[at + 1], count - at - 1);
    size_t over = stream->count > (uint64_t)most ? stream->count - (size_t)most : 0;
    if (about)
        over -= over % NODE_ENTRIES;
    if (over)
        fake_stream_drop(stream, over);
    say_id(out, ms, seq);
}

static void run_xlen(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *stream;
    (void)count;
    if (fake_key(fake, args[1], FAKE_STREAM, &stream, out))
        fake_say_number(out, stream ? (int64_t)stream->count : 0);
}

/* XRANGE key - + : all of it. */
static void run_xrange(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *stream;
    (void)count;
    if (!slice_equal(args[2], SLICE("-")) || !slice_equal(args[3], SLICE("+"))) {
        fake_say_error(out, "ERR Invalid stream ID specified as stream command argument");
        return;
    }
    if (!fake_key(fake, args[1], FAKE_STREAM, &stream, out))
        return;
    fake_say_array(out, stream ? stream->count : 0);
    for (size_t i = 0; stream && i < stream->count; i++)
        say_record(out, &stream->stream[i]);
}

/* XREAD [COUNT n] [BLOCK ms] STREAMS key id */
static void run_xread(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    int64_t most = INT64_MAX, wait_ms = -1;
    struct fake_value *stream;
    struct id after;
    unsigned at = 1;
    for (; at + 1 < count && !fake_word(args[at], "STREAMS"); at += 2) {
        int64_t *to = fake_word(args[at], "COUNT") ? &most : fake_word(args[at], "BLOCK") ? &wait_ms : NULL;
        if (!to || !fake_integer(args[at + 1], to)) {
            fake_say_error(out, "ERR syntax error");
            return;
        }
    }
    if (at + 3 != count || !read_id(args[at + 2], 0, &after)) {
        fake_say_error(out, "ERR Invalid stream ID specified as stream command argument");
        return;
    }
    if (!fake_key(fake, args[at + 1], FAKE_STREAM, &stream, out))
        return;
    size_t first = stream ? stream->count : 0;
    while (first > 0 && (stream->stream[first - 1].ms > after.ms ||
                         (stream->stream[first - 1].ms == after.ms && stream->stream[first - 1].seq > after.seq)))
        first--;
    size_t found = stream ? stream->count - first : 0;
    if (found > (uint64_t)most)
        found = (size_t)most;
    if (!found) {
        if (wait_ms < 0 || !fake_block(fake, args, count, wait_ms))
            fake_say_nil_array(out);
        return;
    }
    fake_say_array(out, 1);
    fake_say_array(out, 2);
    fake_say_text(out, args[at + 1]);
    fake_say_array(out, found);
    for (size_t i = first; i < first + found; i++)
        say_record(out, &stream->stream[i]);
}

const struct fake_command fake_stream_commands[] = {
    {"XADD", -5, FAKE_WRITES | FAKE_DENY_OOM, run_xadd},
    {"XLEN", 2, 0, run_xlen},
    {"XRANGE", -4, 0, run_xrange},
    {"XREAD", -4, 0, run_xread},
    {NULL, 0, 0, NULL},
};
