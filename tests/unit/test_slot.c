/* Tests slot.c: keys to slots as Redis counts them (CLUSTER KEYSLOT of a redis-server 7.0.15), and its redirections. */
#include "store/slot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_keys(void **state)
{
    static const struct {
        const char *key;
        unsigned slot;
    } rows[] = {{"foo", 12182},
                {"123456789", 12739},
                {"sluice:campaigns", 3923},
                {"sluice:{spring}:campaign", 2169},
                {"{}a", 10875},
                {"{a", 10276},
                {"a}b{c}", 7365},
                {"a{{b}}c", 6215},
                {"{sluice:campaigns}:ending", 3923},
                {"x{}{y}", 14166}};
    (void)state;
    for (unsigned i = 0; i < countof(rows); i++)
        if (slot_of(slice_of(rows[i].key)) != rows[i].slot)
            fail_msg("%s: %u", rows[i].key, slot_of(slice_of(rows[i].key)));
    assert_int_equal(slot_of(SLICE("")), 0);
}

/* All keys of a campaign, and the two sets that SUNION reads, are of one slot. */
static void test_tags(void **state)
{
    (void)state;
    assert_int_equal(slot_of(SLICE("sluice:{spring}:campaign")), slot_of(SLICE("spring")));
    assert_int_equal(slot_of(SLICE("sluice:{spring}:ledger:7")), slot_of(SLICE("spring")));
    assert_int_equal(slot_of(SLICE("{sluice:campaigns}:ending")), slot_of(SLICE("sluice:campaigns")));
}

static void test_redirections(void **state)
{
    static const struct {
        const char *error, *host;
        enum slot_answer answer;
        unsigned slot;
        uint16_t port;
    } rows[] = {
        {"MOVED 3999 127.0.0.1:6381", "127.0.0.1", SLOT_MOVED, 3999, 6381},
        {"ASK 16383 ::1:6381", "::1", SLOT_ASK, 16383, 6381},
        {"MOVED 0 :7000", "", SLOT_MOVED, 0, 7000},
        {"ASK 0 redis-1.example:1", "redis-1.example", SLOT_ASK, 0, 1},
        {"MOVED 16384 h:1", NULL, SLOT_AGAIN, 0, 0},
        {"MOVED x h:1", NULL, SLOT_AGAIN, 0, 0},
        {"MOVED 1 h:0", NULL, SLOT_AGAIN, 0, 0},
        {"MOVED 1 h:65536", NULL, SLOT_AGAIN, 0, 0},
        {"MOVED 1 h", NULL, SLOT_AGAIN, 0, 0},
        {"MOVED 1 h:1 more", NULL, SLOT_AGAIN, 0, 0},
        {"MOVED", NULL, SLOT_AGAIN, 0, 0},
        {"TRYAGAIN Multiple keys request during rehashing of slot", NULL, SLOT_AGAIN, 0, 0},
        {"CLUSTERDOWN The cluster is down", NULL, SLOT_AGAIN, 0, 0},
        {"CLUSTERDOWN Hash slot not served", NULL, SLOT_AGAIN, 0, 0},
        {"ERR MOVED", NULL, SLOT_ANSWER, 0, 0},
        {"MOVEDX 1 h:1", NULL, SLOT_ANSWER, 0, 0},
        {"WRONGTYPE Operation", NULL, SLOT_ANSWER, 0, 0},
        {"", NULL, SLOT_ANSWER, 0, 0},
    };
    (void)state;
    for (unsigned i = 0; i < countof(rows); i++) {
        struct slot_place place = {0};
        if (slot_error(slice_of(rows[i].error), &place) != rows[i].answer)
            fail_msg("%s", rows[i].error);
        if (rows[i].host) {
            assert_true(slice_equal(place.host, slice_of(rows[i].host)));
            assert_int_equal(place.slot, rows[i].slot);
            assert_int_equal(place.port, rows[i].port);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_redirections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
