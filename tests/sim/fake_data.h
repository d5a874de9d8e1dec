/* fake_data.h - what the fake Redis holds: keys with values of Redis' six types. Test equipment: it allocates as it
 * likes. */
#ifndef FAKE_DATA_H
#define FAKE_DATA_H

#include "sluice/slice.h"

/* Bytes that their holder owns. */
struct fake_text {
    size_t n;
    char p[];
};
struct fake_text *fake_text_new(struct slice bytes);
static inline struct slice fake_text_slice(const struct fake_text *text) { return (struct slice){text->p, text->n}; }

/* A dictionary that remembers the order of insertion. */
struct fake_entry {
    struct fake_text *key; /* NULL: removed */
    uint64_t hash;
    void *value;
    double score; /* of sorted sets */
};
struct fake_dict {
    struct fake_entry *entries; /* `used` of them, those removed included */
    uint32_t *index;            /* open addressing; place + 1 in `entries`, 0: free */
    uint32_t used, live, cap;   /* cap: of entries; the index has twice as many */
};
struct fake_entry *fake_dict_find(const struct fake_dict *dict, struct slice key); /* NULL: none */
struct fake_entry *fake_dict_put(struct fake_dict *dict, struct slice key);        /* finds or adds, value NULL */
/* Takes an entry out; its value is the caller's. False: there was none. */
bool fake_dict_take(struct fake_dict *dict, struct slice key, void **value);
#define FAKE_DICT_EACH(dict, entry)                                                                                    \
    for (struct fake_entry *entry = (dict)->entries, *end_ = entry ? entry + (dict)->used : NULL; entry != end_;       \
         entry++)                                                                                                      \
        if (entry->key)

enum fake_type { FAKE_NONE = 0, FAKE_STRING, FAKE_HASH, FAKE_LIST, FAKE_SET, FAKE_ZSET, FAKE_STREAM };
const char *fake_type_name(enum fake_type type); /* as TYPE answers */

struct fake_member {
    double score;
    struct fake_text *text; /* borrowed from the dictionary's entry */
};
struct fake_record {
    uint64_t ms, seq;
    unsigned count; /* fields and values */
    struct fake_text **fields;
};
struct fake_id {
    uint64_t ms, seq;
};
struct fake_group { /* of a stream's consumers */
    struct fake_group *next;
    struct fake_text *name;
    struct fake_id last;     /* delivered */
    struct fake_id *pending; /* `count`, oldest first: delivered and not acknowledged */
    size_t count, cap;
};

struct fake_value {
    enum fake_type type;
    int64_t expires_ms;         /* UTC; 0: never */
    struct fake_dict dict;      /* HASH: values are texts; SET; ZSET: scores */
    struct fake_text *text;     /* STRING */
    struct fake_text **list;    /* LIST: `count` from `first` on, room for `cap` */
    struct fake_member *sorted; /* ZSET: `count` by score, then by member */
    struct fake_record *stream; /* STREAM: `count` */
    size_t first, count, cap;
    uint64_t last_ms, last_seq; /* STREAM */
    struct fake_group *groups;
};
struct fake_value *fake_value_new(enum fake_type type);
void fake_value_free(struct fake_value *value);
size_t fake_value_size(const struct fake_value *value); /* members; an empty one may not stay a key */

void fake_string_set(struct fake_value *value, struct slice bytes);
struct fake_text *fake_list_at(const struct fake_value *value, size_t i);
void fake_list_push(struct fake_value *value, struct slice item);
void fake_list_trim(struct fake_value *value, size_t from, size_t count);            /* keeps [from, from + count) */
void fake_list_remove(struct fake_value *value, size_t i);
bool fake_hash_set(struct fake_value *value, struct slice field, struct slice text); /* true: it is new */
bool fake_hash_remove(struct fake_value *value, struct slice field);
bool fake_zset_set(struct fake_value *value, struct slice member, double score); /* true: it is new */
bool fake_zset_remove(struct fake_value *value, struct slice member);
void fake_stream_add(struct fake_value *value, uint64_t ms, uint64_t seq, const struct slice *fields, unsigned count);
struct fake_group *fake_group_find(const struct fake_value *value, struct slice name); /* NULL: none */
struct fake_group *fake_group_new(struct fake_value *value, struct slice name, struct fake_id last);
void fake_group_owe(struct fake_group *group, struct fake_id id);         /* later than all that are pending */
bool fake_group_acknowledge(struct fake_group *group, struct fake_id id); /* false: it is not pending */
void fake_stream_drop(struct fake_value *value, size_t count);            /* the oldest */

/* Keys: a dictionary of values. */
void fake_keys_free(struct fake_dict *keys);
struct fake_dict fake_keys_copy(const struct fake_dict *keys);

#endif
