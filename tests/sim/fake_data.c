/* Holds what the fake Redis is told to hold, in the plainest way that a simulated week can afford. */
#include "fake_data.h"

#include <stdlib.h>

static void *grown(void *p, size_t count, size_t size)
{
    void *q = realloc(p, count * size);
    sluice_assert(q);
    return q;
}

struct fake_text *fake_text_new(struct slice bytes)
{
    struct fake_text *text = malloc(sizeof *text + bytes.n + 1);
    sluice_assert(text);
    text->n = bytes.n;
    if (bytes.n)
        memcpy(text->p, bytes.p, bytes.n);
    text->p[bytes.n] = 0;
    return text;
}

/* ---- dictionaries ---- */

static uint64_t hash_of(struct slice key)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < key.n; i++)
        hash = (hash ^ (unsigned char)key.p[i]) * 0x100000001b3u;
    return hash;
}

static uint32_t *place_of(const struct fake_dict *dict, struct slice key, uint64_t hash)
{
    uint32_t mask = 2 * dict->cap - 1;
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        const struct fake_entry *entry = dict->index[i] ? &dict->entries[dict->index[i] - 1] : NULL;
        if (!entry || (entry->key && entry->hash == hash && slice_equal(fake_text_slice(entry->key), key)))
            return &dict->index[i];
    }
}

/* Leaves out what was removed, with room for as many again. */
static void rebuild(struct fake_dict *dict)
{
    struct fake_dict fresh = {.cap = 8};
    while (fresh.cap < 2 * (dict->live + 1))
        fresh.cap *= 2;
    fresh.entries = grown(NULL, fresh.cap, sizeof *fresh.entries);
    fresh.index = calloc(2 * fresh.cap, sizeof *fresh.index);
    sluice_assert(fresh.index);
    FAKE_DICT_EACH(dict, entry)
    {
        fresh.entries[fresh.used++] = *entry;
        *place_of(&fresh, fake_text_slice(entry->key), entry->hash) = fresh.used;
    }
    fresh.live = fresh.used;
    free(dict->entries);
    free(dict->index);
    *dict = fresh;
}

struct fake_entry *fake_dict_find(const struct fake_dict *dict, struct slice key)
{
    if (!dict->live)
        return NULL;
    uint32_t at = *place_of(dict, key, hash_of(key));
    return at ? &dict->entries[at - 1] : NULL;
}

struct fake_entry *fake_dict_put(struct fake_dict *dict, struct slice key)
{
    struct fake_entry *entry = fake_dict_find(dict, key);
    if (entry)
        return entry;
    if (dict->used == dict->cap)
        rebuild(dict);
    uint64_t hash = hash_of(key);
    uint32_t *place = place_of(dict, key, hash);
    entry = &dict->entries[dict->used];
    *entry = (struct fake_entry){.key = fake_text_new(key), .hash = hash};
    *place = ++dict->used;
    dict->live++;
    return entry;
}

bool fake_dict_take(struct fake_dict *dict, struct slice key, void **value)
{
    struct fake_entry *entry = fake_dict_find(dict, key);
    if (!entry)
        return false;
    *value = entry->value;
    free(entry->key);
    entry->key = NULL; /* its place in the index stays taken until the next rebuild */
    dict->live--;
    return true;
}

static void dict_free(struct fake_dict *dict, bool texts)
{
    FAKE_DICT_EACH(dict, entry)
    {
        free(entry->key);
        if (texts)
            free(entry->value);
    }
    free(dict->entries);
    free(dict->index);
    *dict = (struct fake_dict){0};
}

/* ---- values ---- */

const char *fake_type_name(enum fake_type type)
{
    static const char *const names[] = {"none", "string", "hash", "list", "set", "zset", "stream"};
    return names[type];
}

struct fake_value *fake_value_new(enum fake_type type)
{
    struct fake_value *value = calloc(1, sizeof *value);
    sluice_assert(value);
    value->type = type;
    return value;
}

static void record_free(struct fake_record *record)
{
    for (unsigned i = 0; i < record->count; i++)
        free(record->fields[i]);
    free(record->fields);
}

static void group_free(struct fake_group *group)
{
    free(group->name);
    free(group->pending);
    free(group);
}

void fake_value_free(struct fake_value *value)
{
    while (value->groups) {
        struct fake_group *group = value->groups;
        value->groups = group->next;
        group_free(group);
    }
    dict_free(&value->dict, value->type == FAKE_HASH);
    free(value->text);
    for (size_t i = 0; value->list && i < value->count; i++)
        free(fake_list_at(value, i));
    for (size_t i = 0; value->stream && i < value->count; i++)
        record_free(&value->stream[i]);
    free(value->list);
    free(value->sorted);
    free(value->stream);
    free(value);
}

size_t fake_value_size(const struct fake_value *value)
{
    switch (value->type) {
    case FAKE_STRING:
    case FAKE_STREAM: /* may be empty, and stay */
        return 1;
    case FAKE_HASH:
    case FAKE_SET:
        return value->dict.live;
    default:
        return value->count;
    }
}

void fake_string_set(struct fake_value *value, struct slice bytes)
{
    struct fake_text *text = fake_text_new(bytes);
    free(value->text);
    value->text = text;
}

struct fake_text *fake_list_at(const struct fake_value *value, size_t i) { return value->list[value->first + i]; }

void fake_list_push(struct fake_value *value, struct slice item)
{
    if (value->first + value->count == value->cap) {
        if (value->first > value->count) {
            memmove(value->list, value->list + value->first, value->count * sizeof *value->list);
            value->first = 0;
        } else {
            value->cap = value->cap ? 2 * value->cap : 8;
            value->list = grown(value->list, value->cap, sizeof *value->list);
        }
    }
    value->list[value->first + value->count++] = fake_text_new(item);
}

void fake_list_trim(struct fake_value *value, size_t from, size_t count)
{
    for (size_t i = 0; i < value->count; i++)
        if (i < from || i >= from + count)
            free(fake_list_at(value, i));
    value->first += from;
    value->count = count;
}

void fake_list_remove(struct fake_value *value, size_t i)
{
    struct fake_text **at = &value->list[value->first + i];
    free(*at);
    memmove(at, at + 1, (value->count - i - 1) * sizeof *at);
    value->count--;
}

bool fake_hash_set(struct fake_value *value, struct slice field, struct slice text)
{
    struct fake_entry *entry = fake_dict_put(&value->dict, field);
    struct fake_text *fresh = fake_text_new(text);
    bool is_new = entry->value == NULL;
    free(entry->value);
    entry->value = fresh;
    return is_new;
}

bool fake_hash_remove(struct fake_value *value, struct slice field)
{
    void *text = NULL;
    bool was = fake_dict_take(&value->dict, field, &text);
    free(text);
    return was;
}

/* Where a member stands, or would stand. */
static size_t sorted_place(const struct fake_value *value, double score, struct slice member)
{
    size_t low = 0, high = value->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct fake_member *at = &value->sorted[middle];
        size_t n = at->text->n < member.n ? at->text->n : member.n;
        int order = n ? memcmp(at->text->p, member.p, n) : 0;
        bool before =
            at->score < score || (at->score == score && (order < 0 || (order == 0 && at->text->n < member.n)));
        if (before)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void sorted_remove(struct fake_value *value, double score, struct slice member)
{
    size_t at = sorted_place(value, score, member);
    memmove(&value->sorted[at], &value->sorted[at + 1], (value->count - at - 1) * sizeof *value->sorted);
    value->count--;
}

bool fake_zset_set(struct fake_value *value, struct slice member, double score)
{
    bool is_new = !fake_dict_find(&value->dict, member);
    struct fake_entry *entry = fake_dict_put(&value->dict, member);
    if (!is_new)
        sorted_remove(value, entry->score, member);
    if (value->count == value->cap) {
        value->cap = value->cap ? 2 * value->cap : 8;
        value->sorted = grown(value->sorted, value->cap, sizeof *value->sorted);
    }
    size_t at = sorted_place(value, score, member);
    memmove(&value->sorted[at + 1], &value->sorted[at], (value->count - at) * sizeof *value->sorted);
    value->sorted[at] = (struct fake_member){score, entry->key};
    value->count++;
    entry->score = score;
    return is_new;
}

bool fake_zset_remove(struct fake_value *value, struct slice member)
{
    void *nothing;
    const struct fake_entry *entry = fake_dict_find(&value->dict, member);
    if (!entry)
        return false;
    sorted_remove(value, entry->score, member);
    return fake_dict_take(&value->dict, member, &nothing);
}

void fake_stream_add(struct fake_value *value, uint64_t ms, uint64_t seq, const struct slice *fields, unsigned count)
{
    if (value->count == value->cap) {
        value->cap = value->cap ? 2 * value->cap : 8;
        value->stream = grown(value->stream, value->cap, sizeof *value->stream);
    }
    struct fake_record *record = &value->stream[value->count++];
    *record = (struct fake_record){.ms = ms, .seq = seq, .count = count};
    record->fields = grown(NULL, count, sizeof *record->fields);
    for (unsigned i = 0; i < count; i++)
        record->fields[i] = fake_text_new(fields[i]);
    value->last_ms = ms;
    value->last_seq = seq;
}

void fake_stream_drop(struct fake_value *value, size_t count)
{
    for (size_t i = 0; i < count; i++)
        record_free(&value->stream[i]);
    value->count -= count;
    memmove(value->stream, value->stream + count, value->count * sizeof *value->stream);
}

struct fake_group *fake_group_find(const struct fake_value *value, struct slice name)
{
    for (struct fake_group *group = value->groups; group; group = group->next)
        if (slice_equal(fake_text_slice(group->name), name))
            return group;
    return NULL;
}

struct fake_group *fake_group_new(struct fake_value *value, struct slice name, struct fake_id last)
{
    struct fake_group *group = calloc(1, sizeof *group);
    sluice_assert(group);
    *group = (struct fake_group){.next = value->groups, .name = fake_text_new(name), .last = last};
    value->groups = group;
    return group;
}

void fake_group_owe(struct fake_group *group, struct fake_id id)
{
    if (group->count == group->cap) {
        group->cap = group->cap ? 2 * group->cap : 8;
        group->pending = grown(group->pending, group->cap, sizeof *group->pending);
    }
    group->pending[group->count++] = id;
}

bool fake_group_acknowledge(struct fake_group *group, struct fake_id id)
{
    for (size_t i = 0; i < group->count; i++)
        if (group->pending[i].ms == id.ms && group->pending[i].seq == id.seq) {
            group->count--;
            memmove(&group->pending[i], &group->pending[i + 1], (group->count - i) * sizeof id);
            return true;
        }
    return false;
}

/* ---- keys ---- */

void fake_keys_free(struct fake_dict *keys)
{
    FAKE_DICT_EACH(keys, entry)
    fake_value_free(entry->value);
    dict_free(keys, false);
}

static struct fake_value *value_copy(const struct fake_value *from)
{
    struct fake_value *to = fake_value_new(from->type);
    to->expires_ms = from->expires_ms;
    if (from->text)
        fake_string_set(to, fake_text_slice(from->text));
    FAKE_DICT_EACH(&from->dict, entry)
    {
        struct slice key = fake_text_slice(entry->key);
        if (from->type == FAKE_HASH)
            fake_hash_set(to, key, fake_text_slice(entry->value));
        else if (from->type == FAKE_ZSET)
            fake_zset_set(to, key, entry->score);
        else
            fake_dict_put(&to->dict, key);
    }
    for (size_t i = 0; from->list && i < from->count; i++)
        fake_list_push(to, fake_text_slice(fake_list_at(from, i)));
    for (size_t i = 0; from->stream && i < from->count; i++) {
        const struct fake_record *record = &from->stream[i];
        struct slice fields[256];
        sluice_assert(record->count <= countof(fields));
        for (unsigned k = 0; k < record->count; k++)
            fields[k] = fake_text_slice(record->fields[k]);
        fake_stream_add(to, record->ms, record->seq, fields, record->count);
    }
    for (const struct fake_group *group = from->groups; group; group = group->next) {
        struct fake_group *copy = fake_group_new(to, fake_text_slice(group->name), group->last);
        for (size_t i = 0; i < group->count; i++)
            fake_group_owe(copy, group->pending[i]);
    }
    to->last_ms = from->last_ms;
    to->last_seq = from->last_seq;
    return to;
}

struct fake_dict fake_keys_copy(const struct fake_dict *keys)
{
    struct fake_dict copy = {0};
    FAKE_DICT_EACH(keys, entry)
    fake_dict_put(&copy, fake_text_slice(entry->key))->value = value_copy(entry->value);
    return copy;
}
