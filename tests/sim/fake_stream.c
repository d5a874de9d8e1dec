/* The fake Redis: commands on streams and on the groups of their consumers. */
#include "fake_command.h"

#include <stdio.h>
#include <stdlib.h>

enum { NODE_ENTRIES = 100 }; /* stream-node-max-entries: what ~ trims by */

/* "12-3", "12" */
static bool read_id(struct slice text, uint64_t seq_default, struct fake_id *id)
{
    char copy[48];
    int end = 0;
    slice_copy(copy, sizeof copy, text);
    unsigned long long ms, seq = seq_default;
    if (sscanf(copy, "%llu-%llu%n", &ms, &seq, &end) < 2 || copy[end])
        if (sscanf(copy, "%llu%n", &ms, &end) < 1 || copy[end])
            return false;
    *id = (struct fake_id){ms, seq};
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

/* XRANGE key - + [COUNT n] */
static void run_xrange(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *stream;
    int64_t most = INT64_MAX;
    if (!slice_equal(args[2], SLICE("-")) || !slice_equal(args[3], SLICE("+")) ||
        (count > 4 && (count != 6 || !fake_word(args[4], "COUNT") || !fake_integer(args[5], &most)))) {
        fake_say_error(out, "ERR Invalid stream ID specified as stream command argument");
        return;
    }
    if (!fake_key(fake, args[1], FAKE_STREAM, &stream, out))
        return;
    size_t found = !stream ? 0 : stream->count < (uint64_t)most ? stream->count : (size_t)most;
    fake_say_array(out, found);
    for (size_t i = 0; i < found; i++)
        say_record(out, &stream->stream[i]);
}

static bool is_before(const struct fake_record *record, struct fake_id id)
{
    return record->ms < id.ms || (record->ms == id.ms && record->seq < id.seq);
}

/* XTRIM key MINID id */
static void run_xtrim(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *stream;
    struct fake_id first;
    if (count != 4 || !fake_word(args[2], "MINID") || !read_id(args[3], 0, &first)) {
        fake_say_error(out, "ERR syntax error");
        return;
    }
    if (!fake_key(fake, args[1], FAKE_STREAM, &stream, out))
        return;
    size_t n = 0;
    while (stream && n < stream->count && is_before(&stream->stream[n], first))
        n++;
    if (n) {
        fake_stream_drop(stream, n);
        fake->changes++;
    }
    fake_say_number(out, (int64_t)n);
}

/* The place of the first entry behind an id. */
static size_t first_after(const struct fake_value *stream, struct fake_id id)
{
    size_t first = stream ? stream->count : 0;
    id.seq++;
    while (first > 0 && !is_before(&stream->stream[first - 1], id))
        first--;
    return first;
}

static void say_entries(struct fake_buffer *out, struct slice key, const struct fake_value *stream, size_t first,
                        size_t count)
{
    fake_say_array(out, 1);
    fake_say_array(out, 2);
    fake_say_text(out, key);
    fake_say_array(out, count);
    for (size_t i = first; i < first + count; i++)
        say_record(out, &stream->stream[i]);
}

/* XREAD [COUNT n] [BLOCK ms] STREAMS key id */
static void run_xread(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    int64_t most = INT64_MAX, wait_ms = -1;
    struct fake_value *stream;
    struct fake_id after;
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
    size_t first = first_after(stream, after);
    size_t found = stream ? stream->count - first : 0;
    if (found > (uint64_t)most)
        found = (size_t)most;
    if (!found) {
        if (wait_ms < 0 || !fake_block(fake, args, count, wait_ms))
            fake_say_nil_array(out);
        return;
    }
    say_entries(out, args[at + 1], stream, first, found);
}

/* ---- consumer groups ---- */

/* The group of a stream; false: an error was said. */
static bool find_group(struct fake_redis *fake, struct slice key, struct slice name, struct fake_value **stream,
                       struct fake_group **group, struct fake_buffer *out)
{
    if (!fake_key(fake, key, FAKE_STREAM, stream, out))
        return false;
    *group = *stream ? fake_group_find(*stream, name) : NULL;
    if (!*group)
        fake_say_error(out, "NOGROUP No such key '" SLICE_FORMAT "' or consumer group '" SLICE_FORMAT "'",
                       SLICE_ARGS(key), SLICE_ARGS(name));
    return *group != NULL;
}

/* XGROUP CREATE key group id */
static void run_xgroup(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *stream;
    struct fake_id last;
    if (count != 5 || !fake_word(args[1], "CREATE") || !read_id(args[4], 0, &last)) {
        fake_say_error(out, "ERR syntax error");
        return;
    }
    if (!fake_key(fake, args[2], FAKE_STREAM, &stream, out))
        return;
    if (!stream) {
        fake_say_error(out, "ERR The XGROUP subcommand requires the key to exist.");
    } else if (fake_group_find(stream, args[3])) {
        fake_say_error(out, "BUSYGROUP Consumer Group name already exists");
    } else {
        fake_group_new(stream, args[3], last);
        fake->changes++;
        fake_say_status(out, "OK");
    }
}

/* XREADGROUP GROUP group consumer COUNT n STREAMS key > */
static void run_xreadgroup(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *stream;
    struct fake_group *group;
    int64_t most;
    if (count != 9 || !fake_word(args[1], "GROUP") || !fake_word(args[4], "COUNT") || !fake_integer(args[5], &most) ||
        !fake_word(args[6], "STREAMS") || !slice_equal(args[8], SLICE(">"))) {
        fake_say_error(out, "ERR syntax error");
        return;
    }
    if (!find_group(fake, args[7], args[2], &stream, &group, out))
        return;
    size_t first = first_after(stream, group->last), found = stream->count - first;
    found = found < (uint64_t)most ? found : (size_t)most;
    if (!found) {
        fake_say_nil_array(out);
        return;
    }
    for (size_t i = first; i < first + found; i++) {
        group->last = (struct fake_id){stream->stream[i].ms, stream->stream[i].seq};
        fake_group_owe(group, group->last);
    }
    fake->changes++;
    say_entries(out, args[7], stream, first, found);
}

/* XACK key group id ... */
static void run_xack(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *stream;
    int64_t acknowledged = 0;
    if (!fake_key(fake, args[1], FAKE_STREAM, &stream, out))
        return;
    struct fake_group *group = stream ? fake_group_find(stream, args[2]) : NULL;
    for (unsigned i = 3; group && i < count; i++) {
        struct fake_id id;
        if (!read_id(args[i], 0, &id)) {
            fake_say_error(out, "ERR Invalid stream ID specified as stream command argument");
            return;
        }
        acknowledged += fake_group_acknowledge(group, id);
    }
    fake->changes += acknowledged > 0;
    fake_say_number(out, acknowledged);
}

/* XPENDING key group: how many, the first and the last. Who has them is left out. */
static void run_xpending(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *stream;
    struct fake_group *group;
    (void)count;
    if (!find_group(fake, args[1], args[2], &stream, &group, out))
        return;
    fake_say_array(out, 3);
    fake_say_number(out, (int64_t)group->count);
    if (!group->count) {
        fake_say_nil(out);
        fake_say_nil(out);
        return;
    }
    say_id(out, group->pending[0].ms, group->pending[0].seq);
    say_id(out, group->pending[group->count - 1].ms, group->pending[group->count - 1].seq);
}

/* XINFO GROUPS key: of each the fields that the steps look at. */
static void run_xinfo(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *stream;
    size_t groups = 0;
    (void)count;
    if (!fake_word(args[1], "GROUPS")) {
        fake_say_error(out, "ERR syntax error");
        return;
    }
    if (!fake_key(fake, args[2], FAKE_STREAM, &stream, out))
        return;
    if (!stream) {
        fake_say_error(out, "ERR no such key");
        return;
    }
    for (const struct fake_group *group = stream->groups; group; group = group->next)
        groups++;
    fake_say_array(out, groups);
    for (const struct fake_group *group = stream->groups; group; group = group->next) {
        fake_say_array(out, 6);
        fake_say_text(out, SLICE("name"));
        fake_say_text(out, fake_text_slice(group->name));
        fake_say_text(out, SLICE("pending"));
        fake_say_number(out, (int64_t)group->count);
        fake_say_text(out, SLICE("last-delivered-id"));
        say_id(out, group->last.ms, group->last.seq);
    }
}

const struct fake_command fake_stream_commands[] = {
    {"XADD", -5, FAKE_WRITES | FAKE_DENY_OOM, run_xadd},
    {"XLEN", 2, 0, run_xlen},
    {"XRANGE", -4, 0, run_xrange},
    {"XREAD", -4, 0, run_xread},
    {"XTRIM", -4, FAKE_WRITES, run_xtrim},
    {"XGROUP", -2, FAKE_WRITES | FAKE_DENY_OOM, run_xgroup},
    {"XREADGROUP", -7, FAKE_WRITES, run_xreadgroup},
    {"XACK", -4, FAKE_WRITES, run_xack},
    {"XPENDING", -3, 0, run_xpending},
    {"XINFO", 3, 0, run_xinfo},
    {NULL, 0, 0, NULL},
};
