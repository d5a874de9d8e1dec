/* The fake Redis: commands on keys and strings, and what every command needs of both. */
#include "fake_command.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

#define WRONGTYPE "WRONGTYPE Operation against a key holding the wrong kind of value"

bool fake_word(struct slice arg, const char *word) { return slice_equal_nocase(arg, slice_of(word)); }

bool fake_integer(struct slice text, int64_t *number)
{
    char copy[32], back[32];
    char *end;
    if (!text.n || text.n >= sizeof copy)
        return false;
    slice_copy(copy, sizeof copy, text);
    *number = strtoll(copy, &end, 10);
    snprintf(back, sizeof back, "%lld", (long long)*number);
    return strcmp(copy, back) == 0; /* no sign, space or zero too many, and in range */
}

void fake_range(int64_t *start, int64_t *stop, size_t size)
{
    int64_t n = (int64_t)size;
    *start = *start < 0 ? (*start + n < 0 ? 0 : *start + n) : *start;
    *stop = *stop < 0 ? *stop + n : *stop >= n ? n - 1 : *stop;
    if (*start > *stop || *start >= n) {
        *start = 0;
        *stop = -1;
    }
}

/* ---- keys ---- */

bool fake_key_delete(struct fake_redis *fake, struct slice key)
{
    void *value;
    if (!fake_dict_take(&fake->keys, key, &value))
        return false;
    fake_value_free(value);
    fake->changes++;
    return true;
}

struct fake_value *fake_key_any(struct fake_redis *fake, struct slice key)
{
    struct fake_entry *entry = fake_dict_find(&fake->keys, key);
    struct fake_value *value = entry ? entry->value : NULL;
    if (value && value->expires_ms && value->expires_ms <= fake->now_ms) {
        fake_key_delete(fake, key);
        fake->counts.expired++;
        return NULL;
    }
    return value;
}

bool fake_key(struct fake_redis *fake, struct slice key, enum fake_type type, struct fake_value **value,
              struct fake_buffer *out)
{
    *value = fake_key_any(fake, key);
    if (!*value || (*value)->type == type)
        return true;
    fake_say_error(out, WRONGTYPE);
    return false;
}

bool fake_key_make(struct fake_redis *fake, struct slice key, enum fake_type type, struct fake_value **value,
                   struct fake_buffer *out)
{
    if (!fake_key(fake, key, type, value, out))
        return false;
    if (!*value) {
        *value = fake_value_new(type);
        fake_dict_put(&fake->keys, key)->value = *value;
    }
    fake->changes++;
    return true;
}

void fake_key_settle(struct fake_redis *fake, struct slice key)
{
    const struct fake_value *value = fake_key_any(fake, key);
    if (value && fake_value_size(value) == 0)
        fake_key_delete(fake, key);
}

void fake_keys_expire(struct fake_redis *fake)
{
    for (uint32_t i = 0; i < fake->keys.used; i++)
        if (fake->keys.entries[i].key)
            (void)fake_key_any(fake, fake_text_slice(fake->keys.entries[i].key));
}

static void run_del(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    int64_t deleted = 0;
    for (unsigned i = 1; i < count; i++)
        deleted += fake_key_any(fake, args[i]) && fake_key_delete(fake, args[i]);
    fake_say_number(out, deleted);
}

static void run_exists(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    int64_t found = 0;
    for (unsigned i = 1; i < count; i++)
        found += fake_key_any(fake, args[i]) != NULL;
    fake_say_number(out, found);
}

static void run_type(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    const struct fake_value *value = fake_key_any(fake, args[1]);
    (void)count;
    fake_say_status(out, fake_type_name(value ? value->type : FAKE_NONE));
}

static void expire(struct fake_redis *fake, const struct slice *args, int64_t unit_ms, struct fake_buffer *out)
{
    struct fake_value *value = fake_key_any(fake, args[1]);
    int64_t time;
    if (!fake_integer(args[2], &time)) {
        fake_say_error(out, "ERR value is not an integer or out of range");
    } else if (!value) {
        fake_say_number(out, 0);
    } else {
        fake->changes++;
        if (time <= 0)
            fake_key_delete(fake, args[1]);
        else
            value->expires_ms = fake->now_ms + time * unit_ms;
        fake_say_number(out, 1);
    }
}

static void run_expire(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)count;
    expire(fake, args, 1000, out);
}

static void run_pexpire(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)count;
    expire(fake, args, 1, out);
}

static void run_persist(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *value = fake_key_any(fake, args[1]);
    bool was = value && value->expires_ms;
    (void)count;
    if (was) {
        value->expires_ms = 0;
        fake->changes++;
    }
    fake_say_number(out, was);
}

static int64_t left_ms(struct fake_redis *fake, struct slice key)
{
    const struct fake_value *value = fake_key_any(fake, key);
    return !value ? -2 : !value->expires_ms ? -1 : value->expires_ms - fake->now_ms;
}

static void run_pttl(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)count;
    fake_say_number(out, left_ms(fake, args[1]));
}

static void run_ttl(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    int64_t left = left_ms(fake, args[1]);
    (void)count;
    fake_say_number(out, left < 0 ? left : (left + 500) / 1000);
}

static void say_matching(struct fake_redis *fake, struct slice pattern, struct fake_buffer *out)
{
    size_t found = 0;
    char glob[256];
    slice_copy(glob, sizeof glob, pattern);
    fake_keys_expire(fake);
    FAKE_DICT_EACH(&fake->keys, entry)
    found += fnmatch(glob, entry->key->p, 0) == 0;
    fake_say_array(out, found);
    FAKE_DICT_EACH(&fake->keys, entry)
    if (fnmatch(glob, entry->key->p, 0) == 0)
        fake_say_text(out, fake_text_slice(entry->key));
}

static void run_keys(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)count;
    say_matching(fake, args[1], out);
}

/* All in one go: a scan may return as much as it likes. */
static void run_scan(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct slice pattern = SLICE("*");
    for (unsigned i = 2; i + 1 < count; i += 2)
        if (fake_word(args[i], "MATCH"))
            pattern = args[i + 1];
    fake_say_array(out, 2);
    fake_say_text(out, SLICE("0"));
    say_matching(fake, pattern, out);
}

static void run_dbsize(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)args;
    (void)count;
    fake_keys_expire(fake);
    fake_say_number(out, fake->keys.live);
}

static void run_flushall(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)args;
    (void)count;
    fake_keys_free(&fake->keys);
    fake->changes++;
    fake_say_status(out, "OK");
}

/* ---- strings ---- */

static void run_get(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *value;
    (void)count;
    if (!fake_key(fake, args[1], FAKE_STRING, &value, out))
        return;
    if (value)
        fake_say_text(out, fake_text_slice(value->text));
    else
        fake_say_nil(out);
}

static void run_set(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    int64_t life_ms = 0;
    bool only_new = false;
    for (unsigned i = 3; i < count; i++) {
        bool is_px = fake_word(args[i], "PX"), is_ex = fake_word(args[i], "EX");
        if ((is_px || is_ex) && i + 1 < count && fake_integer(args[i + 1], &life_ms) && life_ms > 0) {
            life_ms *= is_ex ? 1000 : 1;
            i++;
        } else if (fake_word(args[i], "NX")) {
            only_new = true;
        } else {
            fake_say_error(out, "ERR syntax error");
            return;
        }
    }
    if (only_new && fake_key_any(fake, args[1])) {
        fake_say_nil(out);
        return;
    }
    struct fake_value *value = fake_value_new(FAKE_STRING);
    fake_key_delete(fake, args[1]);
    fake_dict_put(&fake->keys, args[1])->value = value;
    fake_string_set(value, args[2]);
    value->expires_ms = life_ms ? fake->now_ms + life_ms : 0;
    fake->changes++;
    fake_say_status(out, "OK");
}

/* The string of a key, made and filled up with zero bytes to at least `size`. */
static struct fake_text *string_room(struct fake_redis *fake, struct slice key, size_t size, struct fake_buffer *out)
{
    struct fake_value *value;
    if (!fake_key_make(fake, key, FAKE_STRING, &value, out))
        return NULL;
    size_t n = value->text ? value->text->n : 0;
    char *bytes = calloc(1, (n > size ? n : size) + 1);
    sluice_assert(bytes);
    if (n)
        memcpy(bytes, value->text->p, n);
    fake_string_set(value, (struct slice){bytes, n > size ? n : size});
    free(bytes);
    return value->text;
}

static void run_setrange(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    int64_t at;
    (void)count;
    if (!fake_integer(args[2], &at) || at < 0) {
        fake_say_error(out, "ERR offset is out of range");
        return;
    }
    struct fake_text *text = string_room(fake, args[1], (size_t)at + args[3].n, out);
    if (!text)
        return;
    if (args[3].n)
        memcpy(text->p + at, args[3].p, args[3].n);
    fake_say_number(out, (int64_t)text->n);
}

static void run_setbit(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    int64_t at, on;
    (void)count;
    if (!fake_integer(args[2], &at) || at < 0 || !fake_integer(args[3], &on) || (on & ~1)) {
        fake_say_error(out, "ERR bit offset is not an integer or out of range");
        return;
    }
    struct fake_text *text = string_room(fake, args[1], (size_t)at / 8 + 1, out);
    if (!text)
        return;
    unsigned mask = 128u >> (at % 8);
    unsigned byte = (unsigned char)text->p[at / 8];
    text->p[at / 8] = (char)(on ? byte | mask : byte & ~mask);
    fake_say_number(out, (byte & mask) != 0);
}

static void run_getbit(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *value;
    int64_t at;
    (void)count;
    if (!fake_integer(args[2], &at) || at < 0) {
        fake_say_error(out, "ERR bit offset is not an integer or out of range");
        return;
    }
    if (!fake_key(fake, args[1], FAKE_STRING, &value, out))
        return;
    bool within = value && (size_t)at / 8 < value->text->n;
    fake_say_number(out, within && ((unsigned char)value->text->p[at / 8] & (128u >> (at % 8))));
}

static void run_bitcount(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *value;
    int64_t bits = 0;
    (void)count;
    if (!fake_key(fake, args[1], FAKE_STRING, &value, out))
        return;
    for (size_t i = 0; value && i < value->text->n; i++)
        bits += __builtin_popcount((unsigned char)value->text->p[i]);
    fake_say_number(out, bits);
}

const struct fake_command fake_key_commands[] = {
    {"DEL", -2, FAKE_WRITES, run_del},
    {"EXISTS", -2, 0, run_exists},
    {"TYPE", 2, 0, run_type},
    {"EXPIRE", 3, FAKE_WRITES, run_expire},
    {"PEXPIRE", 3, FAKE_WRITES, run_pexpire},
    {"PERSIST", 2, FAKE_WRITES, run_persist},
    {"TTL", 2, 0, run_ttl},
    {"PTTL", 2, 0, run_pttl},
    {"KEYS", 2, 0, run_keys},
    {"SCAN", -2, 0, run_scan},
    {"DBSIZE", 1, 0, run_dbsize},
    {"FLUSHALL", -1, FAKE_WRITES, run_flushall},
    {"GET", 2, 0, run_get},
    {"SET", -3, FAKE_WRITES | FAKE_DENY_OOM, run_set},
    {"SETRANGE", 4, FAKE_WRITES | FAKE_DENY_OOM, run_setrange},
    {"SETBIT", 4, FAKE_WRITES | FAKE_DENY_OOM, run_setbit},
    {"GETBIT", 3, 0, run_getbit},
    {"BITCOUNT", 2, 0, run_bitcount},
    {NULL, 0, 0, NULL},
};
