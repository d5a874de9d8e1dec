/* The fake Redis: commands on hashes, lists, sets and sorted sets. */
#include "fake_command.h"

#include <math.h>
#include <stdlib.h>

static void not_integer(struct fake_buffer *out) { fake_say_error(out, "ERR value is not an integer or out of range"); }

/* ---- hashes ---- */

static void say_field(const struct fake_value *hash, struct slice field, struct fake_buffer *out)
{
    const struct fake_entry *entry = hash ? fake_dict_find(&hash->dict, field) : NULL;
    if (entry)
        fake_say_text(out, fake_text_slice(entry->value));
    else
        fake_say_nil(out);
}

static void run_hset(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *hash;
    int64_t added = 0;
    if (count % 2) {
        fake_say_error(out, "ERR wrong number of arguments for 'hset' command");
        return;
    }
    if (!fake_key_make(fake, args[1], FAKE_HASH, &hash, out))
        return;
    for (unsigned i = 2; i < count; i += 2)
        added += fake_hash_set(hash, args[i], args[i + 1]);
    fake_say_number(out, added);
}

static void run_hsetnx(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *hash;
    (void)count;
    if (!fake_key_make(fake, args[1], FAKE_HASH, &hash, out))
        return;
    bool is_new = !fake_dict_find(&hash->dict, args[2]);
    if (is_new)
        fake_hash_set(hash, args[2], args[3]);
    fake_say_number(out, is_new);
}

static void run_hget(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *hash;
    (void)count;
    if (fake_key(fake, args[1], FAKE_HASH, &hash, out))
        say_field(hash, args[2], out);
}

static void run_hmget(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *hash;
    if (!fake_key(fake, args[1], FAKE_HASH, &hash, out))
        return;
    fake_say_array(out, count - 2);
    for (unsigned i = 2; i < count; i++)
        say_field(hash, args[i], out);
}

static void say_hash(struct fake_redis *fake, struct slice key, bool fields, struct fake_buffer *out)
{
    struct fake_value *hash;
    if (!fake_key(fake, key, FAKE_HASH, &hash, out))
        return;
    fake_say_array(out, hash ? (fields ? 2 : 1) * (size_t)hash->dict.live : 0);
    if (!hash)
        return;
    FAKE_DICT_EACH(&hash->dict, entry)
    {
        if (fields)
            fake_say_text(out, fake_text_slice(entry->key));
        fake_say_text(out, fake_text_slice(entry->value));
    }
}

static void run_hgetall(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)count;
    say_hash(fake, args[1], true, out);
}

static void run_hvals(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)count;
    say_hash(fake, args[1], false, out);
}

/* A bucket of so many as COUNT says at a time; the cursor is the place in the order of insertion. */
static void run_hscan(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *hash;
    struct fake_buffer text = {0};
    int64_t cursor, most = 10;
    if (!fake_integer(args[2], &cursor) || cursor < 0) {
        fake_say_error(out, "ERR invalid cursor");
        return;
    }
    if (count == 5 && (!fake_word(args[3], "COUNT") || !fake_integer(args[4], &most) || most < 1)) {
        fake_say_error(out, "ERR syntax error");
        return;
    }
    if (!fake_key(fake, args[1], FAKE_HASH, &hash, out))
        return;
    uint32_t used = hash ? hash->dict.used : 0, from = cursor < used ? (uint32_t)cursor : used;
    uint32_t to = most < used - from ? from + (uint32_t)most : used, found = 0;
    for (uint32_t i = from; i < to; i++)
        found += hash->dict.entries[i].key != NULL;
    fake_say_array(out, 2);
    fake_say_number(&text, to < used ? to : 0); /* ":5\r\n" */
    fake_say_text(out, (struct slice){text.p + 1, text.n - 3});
    free(text.p);
    fake_say_array(out, 2 * (size_t)found);
    for (uint32_t i = from; i < to; i++)
        if (hash->dict.entries[i].key) {
            fake_say_text(out, fake_text_slice(hash->dict.entries[i].key));
            fake_say_text(out, fake_text_slice(hash->dict.entries[i].value));
        }
}

/* So many different ones, whichever: others each second. */
static void run_hrandfield(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *hash;
    int64_t most;
    (void)count;
    if (!fake_integer(args[2], &most) || most < 0) {
        not_integer(out);
        return;
    }
    if (!fake_key(fake, args[1], FAKE_HASH, &hash, out))
        return;
    int64_t live = hash ? hash->dict.live : 0, n = most < live ? most : live;
    int64_t skip = live > n ? fake->now_ms / 1000 % (live - n + 1) : 0;
    fake_say_array(out, (size_t)n);
    if (!n)
        return;
    FAKE_DICT_EACH(&hash->dict, entry)
    {
        if (skip-- > 0)
            continue;
        if (n-- > 0)
            fake_say_text(out, fake_text_slice(entry->key));
    }
}

static void run_hdel(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *hash;
    int64_t removed = 0;
    if (!fake_key(fake, args[1], FAKE_HASH, &hash, out))
        return;
    for (unsigned i = 2; hash && i < count; i++)
        removed += fake_hash_remove(hash, args[i]);
    fake->changes += removed > 0;
    fake_key_settle(fake, args[1]);
    fake_say_number(out, removed);
}

static void run_hlen(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *hash;
    (void)count;
    if (fake_key(fake, args[1], FAKE_HASH, &hash, out))
        fake_say_number(out, hash ? hash->dict.live : 0);
}

static void run_hexists(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *hash;
    (void)count;
    if (fake_key(fake, args[1], FAKE_HASH, &hash, out))
        fake_say_number(out, hash && fake_dict_find(&hash->dict, args[2]));
}

static void run_hincrby(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *hash;
    struct fake_buffer text = {0};
    int64_t by, old = 0;
    (void)count;
    if (!fake_integer(args[3], &by)) {
        not_integer(out);
        return;
    }
    if (!fake_key_make(fake, args[1], FAKE_HASH, &hash, out))
        return;
    const struct fake_entry *entry = fake_dict_find(&hash->dict, args[2]);
    if (entry && !fake_integer(fake_text_slice(entry->value), &old)) {
        fake_say_error(out, "ERR hash value is not an integer");
        return;
    }
    fake_say_number(&text, old + by); /* ":5\r\n" */
    fake_hash_set(hash, args[2], (struct slice){text.p + 1, text.n - 3});
    free(text.p);
    fake_say_number(out, old + by);
}

/* ---- lists ---- */

static void run_rpush(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *list;
    if (!fake_key_make(fake, args[1], FAKE_LIST, &list, out))
        return;
    for (unsigned i = 2; i < count; i++)
        fake_list_push(list, args[i]);
    fake_say_number(out, (int64_t)list->count);
}

static void run_llen(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *list;
    (void)count;
    if (fake_key(fake, args[1], FAKE_LIST, &list, out))
        fake_say_number(out, list ? (int64_t)list->count : 0);
}

static void run_lrange(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *list;
    int64_t start, stop;
    (void)count;
    if (!fake_integer(args[2], &start) || !fake_integer(args[3], &stop)) {
        not_integer(out);
        return;
    }
    if (!fake_key(fake, args[1], FAKE_LIST, &list, out))
        return;
    fake_range(&start, &stop, list ? list->count : 0);
    fake_say_array(out, (size_t)(stop - start + 1));
    for (; start <= stop; start++)
        fake_say_text(out, fake_text_slice(fake_list_at(list, (size_t)start)));
}

static void run_ltrim(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *list;
    int64_t start, stop;
    (void)count;
    if (!fake_integer(args[2], &start) || !fake_integer(args[3], &stop)) {
        not_integer(out);
        return;
    }
    if (!fake_key(fake, args[1], FAKE_LIST, &list, out))
        return;
    if (list) {
        fake_range(&start, &stop, list->count);
        fake_list_trim(list, (size_t)start, (size_t)(stop - start + 1));
        fake->changes++;
        fake_key_settle(fake, args[1]);
    }
    fake_say_status(out, "OK");
}

/* ---- sets ---- */

static void run_sadd(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *set;
    if (!fake_key_make(fake, args[1], FAKE_SET, &set, out))
        return;
    uint32_t before = set->dict.live;
    for (unsigned i = 2; i < count; i++)
        fake_dict_put(&set->dict, args[i]);
    fake_say_number(out, set->dict.live - before);
}

static void run_srem(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *set;
    void *nothing;
    int64_t removed = 0;
    if (!fake_key(fake, args[1], FAKE_SET, &set, out))
        return;
    for (unsigned i = 2; set && i < count; i++)
        removed += fake_dict_take(&set->dict, args[i], &nothing);
    fake->changes += removed > 0;
    fake_key_settle(fake, args[1]);
    fake_say_number(out, removed);
}

static void run_smove(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *from, *to;
    void *nothing;
    (void)count;
    if (!fake_key(fake, args[1], FAKE_SET, &from, out) || !fake_key(fake, args[2], FAKE_SET, &to, out))
        return;
    if (!from || !fake_dict_take(&from->dict, args[3], &nothing)) {
        fake_say_number(out, 0);
        return;
    }
    fake->changes++;
    fake_key_settle(fake, args[1]);
    if (fake_key_make(fake, args[2], FAKE_SET, &to, out)) {
        fake_dict_put(&to->dict, args[3]);
        fake_say_number(out, 1);
    }
}

static void run_scard(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *set;
    (void)count;
    if (fake_key(fake, args[1], FAKE_SET, &set, out))
        fake_say_number(out, set ? set->dict.live : 0);
}

static void run_sismember(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *set;
    (void)count;
    if (fake_key(fake, args[1], FAKE_SET, &set, out))
        fake_say_number(out, set && fake_dict_find(&set->dict, args[2]));
}

/* SMEMBERS and SUNION. */
static void run_sunion(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *both = fake_value_new(FAKE_SET), *set;
    for (unsigned i = 1; i < count; i++) {
        if (!fake_key(fake, args[i], FAKE_SET, &set, out)) {
            fake_value_free(both);
            return;
        }
        if (set)
            FAKE_DICT_EACH(&set->dict, entry)
        fake_dict_put(&both->dict, fake_text_slice(entry->key));
    }
    fake_say_array(out, both->dict.live);
    FAKE_DICT_EACH(&both->dict, entry)
    fake_say_text(out, fake_text_slice(entry->key));
    fake_value_free(both);
}

/* ---- sorted sets ---- */

static bool read_score(struct slice text, double *score)
{
    char copy[64], *end;
    if (!text.n || text.n >= sizeof copy)
        return false;
    slice_copy(copy, sizeof copy, text);
    *score = strtod(copy, &end);
    return !*end && !isnan(*score);
}

static void run_zadd(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *zset;
    int64_t added = 0;
    double score;
    for (unsigned i = 2; i < count; i += 2)
        if (count % 2 || !read_score(args[i], &score)) {
            fake_say_error(out, count % 2 ? "ERR syntax error" : "ERR value is not a valid float");
            return;
        }
    if (!fake_key_make(fake, args[1], FAKE_ZSET, &zset, out))
        return;
    for (unsigned i = 2; i < count; i += 2)
        if (read_score(args[i], &score))
            added += fake_zset_set(zset, args[i + 1], score);
    fake_say_number(out, added);
}

static void run_zcard(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *zset;
    (void)count;
    if (fake_key(fake, args[1], FAKE_ZSET, &zset, out))
        fake_say_number(out, zset ? (int64_t)zset->count : 0);
}

static void run_zrem(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *zset;
    int64_t removed = 0;
    if (!fake_key(fake, args[1], FAKE_ZSET, &zset, out))
        return;
    for (unsigned i = 2; zset && i < count; i++)
        removed += fake_zset_remove(zset, args[i]);
    fake->changes += removed > 0;
    fake_key_settle(fake, args[1]);
    fake_say_number(out, removed);
}

/* ZRANGE key start stop [WITHSCORES] */
static void run_zrange(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *zset;
    int64_t start, stop;
    bool scores = count == 5 && fake_word(args[4], "WITHSCORES");
    if (!fake_integer(args[2], &start) || !fake_integer(args[3], &stop) || (count > 4 && !scores)) {
        fake_say_error(out, "ERR syntax error");
        return;
    }
    if (!fake_key(fake, args[1], FAKE_ZSET, &zset, out))
        return;
    fake_range(&start, &stop, zset ? zset->count : 0);
    fake_say_array(out, (scores ? 2 : 1) * (size_t)(stop - start + 1));
    for (; start <= stop; start++) {
        fake_say_text(out, fake_text_slice(zset->sorted[start].text));
        if (scores)
            fake_say_score(out, zset->sorted[start].score);
    }
}

/* ZRANGEBYSCORE key min max [LIMIT offset count] */
static void run_zrangebyscore(struct fake_redis *fake, const struct slice *args, unsigned count,
                              struct fake_buffer *out)
{
    struct fake_value *zset;
    double low, high;
    int64_t offset = 0, most = INT64_MAX;
    bool limit =
        count == 7 && fake_word(args[4], "LIMIT") && fake_integer(args[5], &offset) && fake_integer(args[6], &most);
    if (!read_score(args[2], &low) || !read_score(args[3], &high) || (count > 4 && !limit)) {
        fake_say_error(out, "ERR syntax error");
        return;
    }
    if (!fake_key(fake, args[1], FAKE_ZSET, &zset, out))
        return;
    size_t from = 0, to = 0;
    while (zset && from < zset->count && zset->sorted[from].score < low)
        from++;
    for (to = from; zset && to < zset->count && zset->sorted[to].score <= high;)
        to++;
    from = from + (size_t)offset > to ? to : from + (size_t)offset;
    if (to - from > (size_t)most)
        to = from + (size_t)most;
    fake_say_array(out, to - from);
    for (; from < to; from++)
        fake_say_text(out, fake_text_slice(zset->sorted[from].text));
}

static void run_zremrangebyrank(struct fake_redis *fake, const struct slice *args, unsigned count,
                                struct fake_buffer *out)
{
    struct fake_value *zset;
    int64_t start, stop;
    (void)count;
    if (!fake_integer(args[2], &start) || !fake_integer(args[3], &stop)) {
        not_integer(out);
        return;
    }
    if (!fake_key(fake, args[1], FAKE_ZSET, &zset, out))
        return;
    fake_range(&start, &stop, zset ? zset->count : 0);
    for (int64_t i = start; i <= stop; i++) {
        struct fake_text *member = zset->sorted[start].text;
        fake_zset_remove(zset, fake_text_slice(member));
        fake->changes++;
    }
    fake_key_settle(fake, args[1]);
    fake_say_number(out, stop - start + 1);
}

const struct fake_command fake_type_commands[] = {
    {"HSET", -4, FAKE_WRITES | FAKE_DENY_OOM, run_hset},
    {"HSETNX", 4, FAKE_WRITES | FAKE_DENY_OOM, run_hsetnx},
    {"HGET", 3, 0, run_hget},
    {"HMGET", -3, 0, run_hmget},
    {"HGETALL", 2, 0, run_hgetall},
    {"HVALS", 2, 0, run_hvals},
    {"HSCAN", -3, 0, run_hscan},
    {"HRANDFIELD", 3, 0, run_hrandfield},
    {"HDEL", -3, FAKE_WRITES, run_hdel},
    {"HLEN", 2, 0, run_hlen},
    {"HEXISTS", 3, 0, run_hexists},
    {"HINCRBY", 4, FAKE_WRITES | FAKE_DENY_OOM, run_hincrby},
    {"RPUSH", -3, FAKE_WRITES | FAKE_DENY_OOM, run_rpush},
    {"LLEN", 2, 0, run_llen},
    {"LRANGE", 4, 0, run_lrange},
    {"LTRIM", 4, FAKE_WRITES, run_ltrim},
    {"SADD", -3, FAKE_WRITES | FAKE_DENY_OOM, run_sadd},
    {"SREM", -3, FAKE_WRITES, run_srem},
    {"SMOVE", 4, FAKE_WRITES, run_smove},
    {"SCARD", 2, 0, run_scard},
    {"SISMEMBER", 3, 0, run_sismember},
    {"SMEMBERS", 2, 0, run_sunion},
    {"SUNION", -2, 0, run_sunion},
    {"ZADD", -4, FAKE_WRITES | FAKE_DENY_OOM, run_zadd},
    {"ZCARD", 2, 0, run_zcard},
    {"ZREM", -3, FAKE_WRITES, run_zrem},
    {"ZRANGE", -4, 0, run_zrange},
    {"ZRANGEBYSCORE", -4, 0, run_zrangebyscore},
    {"ZREMRANGEBYRANK", 4, FAKE_WRITES, run_zremrangebyrank},
    {NULL, 0, 0, NULL},
};
