/* What the steps that are kept take of memory: sizes change with the campaigns, and what lies free of one size is not
 * held beside what is needed of another. */
#include "store/replay_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LARGEST = 4 << 20 };

static void no_more_is_held_than_may_be_kept(void **unused)
{
    (void)unused;
    struct replay replay = {.alone = false};
    char *text = calloc(1, LARGEST);
    assert_non_null(text);
    struct store store = {.replay = &replay, .command = {.p = text, .args = 1}};
    struct replay_track track = {.store = &store};
    replay.store = &store;
    for (size_t n = 1000; n < LARGEST; n *= 2) {
        struct replay_entry *kept = NULL;
        store.command.n = n;
        while (replay.bytes + 2 * (n + sizeof(struct replay_bytes)) <= REPLAY_BYTES) {
            struct replay_entry *entry = replay_entry_take(&track, REPLAY_WORK, NULL);
            entry->next = kept;
            kept = entry;
            assert_in_range(replay.held, replay.bytes, REPLAY_BYTES);
        }
        assert_true(replay.bytes > REPLAY_BYTES / 2);
        while (kept) {
            struct replay_entry *next = kept->next;
            replay_entry_give(&replay, kept);
            kept = next;
        }
        assert_int_equal(replay.bytes, 0);
    }
    replay_memory_free(&replay);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_more_is_held_than_may_be_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
