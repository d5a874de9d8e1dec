/* Commands on single members of lists and sorted sets. */
#include "fake_command.h"

#include <stdio.h>
#include <stdlib.h>

/* LREM key 1 element: the first one from the head. */
static void run_lrem(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *list;
    int64_t most, removed = 0;
    (void)count;
    if (!fake_integer(args[2], &most) || most != 1) {
        fake_say_error(out, "ERR the fake Redis removes one from the head, and nothing else");
        return;
    }
    if (!fake_key(fake, args[1], FAKE_LIST, &list, out))
        return;
    for (size_t i = 0; list && i < list->count && !removed; i++)
        if (slice_equal(fake_text_slice(fake_list_at(list, i)), args[3])) {
            fake_list_remove(list, i);
            removed = 1;
        }
    fake->changes += removed > 0;
    fake_key_settle(fake, args[1]);
    fake_say_number(out, removed);
}

static void run_zscore(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    struct fake_value *zset;
    char text[40];
    (void)count;
    if (!fake_key(fake, args[1], FAKE_ZSET, &zset, out))
        return;
    const struct fake_entry *entry = zset ? fake_dict_find(&zset->dict, args[2]) : NULL;
    if (!entry) {
        fake_say_nil(out);
        return;
    }
    int n = snprintf(text, sizeof text, "%.17g", entry->score);
    fake_say_text(out, (struct slice){text, (size_t)n});
}

const struct fake_command fake_member_commands[] = {
    {"LREM", 4, FAKE_WRITES, run_lrem},
    {"ZSCORE", 3, 0, run_zscore},
    {NULL, 0, 0, NULL},
};
